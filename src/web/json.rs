//! What the pages show, as JSON: times in RFC 3339, ids as texts, lists a page at a time with an opaque cursor.
//!
//! [`ROUTES`] is the list: `/api/v1` answers with it, and a test holds `docs/api.md` against it.

mod own;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::api::{problem, shown};
use super::model::{BootFull, BootLine, MessageLine, ReportLine, Unread, Words};
use super::pages::{
    Asked, MOST, NO_CURSOR, OfZone, Site, alert_state, cursor, cursor_behind, limit, line_of,
    rfc3339, sentence,
};
use crate::core::alert::Incident;
use crate::core::event::Timestamp;
use crate::core::state::Source;

/// Every path, with what it tells.
pub(super) const ROUTES: &[(&str, &str)] = &[
    ("GET /api/v1", "this list"),
    (
        "GET /api/v1/state",
        "how things stand: state, cause, since when",
    ),
    (
        "GET /api/v1/boots",
        "boots, newest first; vm_type, outcome, failure, origin, image, from, to, cursor, limit",
    ),
    (
        "GET /api/v1/boots/{id}",
        "one boot: stages, attempts, lines, what speaks for and against its verdict",
    ),
    (
        "GET /api/v1/incidents",
        "open incidents, as operators see them",
    ),
    (
        "GET /api/v1/incidents/past",
        "all incidents, newest first; cursor, limit",
    ),
    (
        "GET /api/v1/incidents/{id}",
        "one incident: words, members, boots, messages, acts",
    ),
    ("POST /api/v1/incidents/{id}/ack", "take an incident"),
    ("GET /api/v1/alerts", "every rule's state for each subject"),
    ("GET /api/v1/silences", "silences"),
    ("POST /api/v1/silences", "a new silence"),
    ("DELETE /api/v1/silences/{id}", "end a silence"),
    ("GET /api/v1/maintenance", "maintenance"),
    ("POST /api/v1/maintenance", "start a maintenance"),
    ("DELETE /api/v1/maintenance/{id}", "end a maintenance"),
    (
        "GET /api/v1/messages",
        "what was sent to whom, newest first; incident, cursor, limit",
    ),
    (
        "GET /api/v1/synthetic",
        "boots that bootwatch makes itself, newest first, what runs, what would forbid one; cursor, limit",
    ),
    ("POST /api/v1/synthetic/runs", "a synthetic boot now"),
    ("POST /api/v1/fixes", "mark a fix"),
    ("GET /api/v1/image", "the golden image as last audited"),
    ("GET /api/v1/reports", "the archive of weekly reports"),
    (
        "GET /api/v1/reports/{week}",
        "one archived report, such as 2025-W42, with all its figures; zone",
    ),
    (
        "GET /api/v1/system",
        "sources, channels, store, findings, configuration with secrets masked",
    ),
];

const PAGE: u16 = 100;

type Known = Shared<Arc<Site>>;

pub(super) fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/api/v1", get(index))
        .route("/api/v1/state", get(state))
        .route("/api/v1/boots", get(boots))
        .route("/api/v1/boots/{id}", get(boot))
        .route("/api/v1/incidents/past", get(past))
        .route("/api/v1/incidents/{id}", get(incident))
        .route("/api/v1/alerts", get(alerts))
        .route("/api/v1/messages", get(messages))
        .route("/api/v1/synthetic", get(own::runs))
        .route("/api/v1/image", get(image))
        .route("/api/v1/reports", get(reports))
        .route("/api/v1/reports/{week}", get(report))
        .route("/api/v1/system", get(system))
        .with_state(site)
}

fn said(value: &Value) -> Response {
    let text = format!("{value}\n");
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

fn unread(why: &Unread) -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, &why.0)
}

fn at(moment: Option<Timestamp>) -> Value {
    moment.map_or(Value::Null, |moment| json!(rfc3339(moment)))
}

async fn index() -> Response {
    let routes = ROUTES
        .iter()
        .map(|(route, tells)| json!({ "route": route, "tells": tells }));
    said(&json!({ "routes": routes.collect::<Vec<_>>() }))
}

async fn state(Shared(site): Known) -> Response {
    said(&site.with_page(|page| {
        let (text, detail) = sentence(page);
        let verdict = &page.verdict;
        json!({
            "host": page.host,
            "state": verdict.state,
            "since": at(verdict.since),
            "text": text,
            "detail": detail,
            "looked_at": at(page.live.at),
            "now": rfc3339(page.now),
            "sources": page.live.sources.iter().map(|one| source(one, page.now)).collect::<Vec<_>>(),
            "kinds": page.live.kinds.iter().map(|kind| json!({
                "vm_type": kind.vm_type,
                "in_flight": kind.in_flight,
                "overdue": kind.overdue,
                "budget": {
                    "failed": kind.budget.bad,
                    "boots": kind.budget.of,
                    "tolerated": kind.tolerated,
                    "left": kind.budget_left(),
                },
            })).collect::<Vec<_>>(),
        })
    }))
}

fn source(source: &Source, now: Timestamp) -> Value {
    json!({
        "name": source.name,
        "decides": source.weight,
        "seen_at": at(source.seen_at),
        "newest_at": at(source.newest_at),
        "every_seconds": source.every_ms as f64 / 1000.0,
        "stale": source.is_stale(now),
        "note": source.note,
    })
}

/// What [`Asked`] has.
const OF_BOOTS: &[&str] = &[
    "vm_type", "outcome", "failure", "origin", "image", "from", "to", "cursor", "limit",
];

async fn boots(Shared(site): Known, Query(given): Given, Query(asked): Query<Asked>) -> Response {
    if let Err(why) = only(&given, OF_BOOTS) {
        return refused(&why);
    }
    let wanted = match asked.wanted(PAGE, &site.faces.zone) {
        Ok(wanted) => wanted,
        Err(why) => return refused(&why),
    };
    let limit = usize::from(wanted.limit);
    match site.past().boots(wanted).await {
        Ok(boots) => {
            let next = boots.last().filter(|_| boots.len() >= limit);
            said(&json!({
                "boots": boots.iter().map(line).collect::<Vec<_>>(),
                "next": next.map(cursor_behind),
            }))
        }
        Err(why) => unread(&why),
    }
}

fn line(boot: &BootLine) -> Value {
    json!({
        "boot_id": boot.boot_id,
        "vm_id": boot.vm,
        "session_id": boot.session,
        "vm_type": boot.vm_type,
        "origin": boot.origin,
        "outcome": boot.outcome,
        "failure": boot.failure,
        "failed_stage": boot.failed_stage,
        "started_at": rfc3339(boot.started_at),
        "ended_at": at(boot.ended_at),
        "ready_seconds": boot.ready_ms.map(|ms| f64::from(ms) / 1000.0),
        "image": boot.image,
    })
}

async fn boot(Shared(site): Known, Path(id): Path<String>) -> Response {
    match site.boot(&id).await {
        Ok(Some(boot)) => said(&full(&boot)),
        Ok(None) => problem(StatusCode::NOT_FOUND, "no such boot in the store"),
        Err(why) => unread(&why),
    }
}

fn full(boot: &BootFull) -> Value {
    let mut value = line(&boot.line);
    let seconds = |ms: u32| f64::from(ms) / 1000.0;
    let more = json!({
        "vm_ip": boot.ip,
        "stages": boot.stages.iter().map(|(stage, span)| json!({
            "stage": stage,
            "started_at": rfc3339(span.started_at),
            "seconds": seconds(span.ms),
            "outcome": span.outcome,
            "coarse": span.coarse,
        })).collect::<Vec<_>>(),
        "attempts": boot.ladder.iter().map(|rung| json!({
            "result": rung.result,
            "count": rung.count,
            "first_seconds": seconds(rung.first_ms),
            "last_seconds": seconds(rung.last_ms),
        })).collect::<Vec<_>>(),
        "deadline_seconds": boot.limits.and_then(|limits| limits.deadline_ms).map(seconds),
        "agent_injected": boot.injected,
        "error": boot.error,
        "lines": boot.evidence,
        "console": boot.console,
        "console_marks": boot.marks.iter().map(|mark| json!({
            "mark": mark.mark,
            "count": mark.count,
            "first_at": rfc3339(mark.first_at),
        })).collect::<Vec<_>>(),
        "maintenance": boot.maintenance,
        "diagnosis": boot.diagnosis.as_ref().map(shown::diagnosis),
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

/// A question's parameters, as they were written.
type Given = Query<Vec<(String, String)>>;

/// What every list takes.
const PAGED: &[&str] = &["cursor", "limit"];

/// A word that nobody knows asks for nothing, and of one that comes twice half would be unheard: who wrote it should know.
fn only(given: &[(String, String)], known: &[&str]) -> Result<(), String> {
    let twice = given.iter().enumerate().find(|(at, (name, _))| {
        let before = &given[..*at];
        before.iter().any(|(other, _)| other == name)
    });
    if let Some((_, (name, _))) = twice {
        return Err(format!("{:?} is given twice", line_of(name)));
    }
    match given
        .iter()
        .find(|(name, _)| !known.contains(&name.as_str()))
    {
        None => Ok(()),
        Some((name, _)) => Err(format!(
            "{:?} is none of what this takes: {}",
            line_of(name),
            known.join(", ")
        )),
    }
}

/// What was given under a name.
fn value<'a>(given: &'a [(String, String)], wanted: &str) -> Option<&'a str> {
    let found = given.iter().find(|(name, _)| name == wanted);
    found.map(|(_, value)| value.as_str())
}

/// Where a list goes on, and how much of it is wanted.
#[derive(Debug)]
struct Paged<'a> {
    cursor: &'a str,
    limit: u16,
}

impl Paged<'_> {
    fn read<'a>(given: &'a [(String, String)], known: &[&str]) -> Result<Paged<'a>, String> {
        only(given, known)?;
        Ok(Paged {
            cursor: value(given, "cursor").unwrap_or_default(),
            limit: limit(value(given, "limit").unwrap_or_default(), PAGE)?,
        })
    }
}

fn refused(why: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, why)
}

async fn past(Shared(site): Known, Query(given): Given) -> Response {
    let read = Paged::read(&given, PAGED);
    let (before, limit) = match read.and_then(|paged| Ok((cursor(paged.cursor)?, paged.limit))) {
        Ok(read) => read,
        Err(why) => return refused(&why),
    };
    match site.past().incidents(before, limit).await {
        Ok(incidents) => {
            let next = incidents
                .last()
                .filter(|_| incidents.len() >= usize::from(limit));
            said(&json!({
                "incidents": incidents.iter().map(|one| told(one, &(site.faces.tell)(one, None))).collect::<Vec<_>>(),
                "next": next.map(|last| format!("{}.{}", last.fired_at.0, last.key)),
            }))
        }
        Err(why) => unread(&why),
    }
}

fn told(incident: &Incident, words: &Words) -> Value {
    json!({
        "id": incident.key,
        "host": incident.host,
        "subject": incident.subject,
        "family": incident.family.as_str(),
        "cause": incident.cause.as_str(),
        "severity": incident.severity().as_str(),
        "title": words.title,
        "first_bad_at": rfc3339(incident.first_bad_at),
        "fired_at": rfc3339(incident.fired_at),
        "resolved_at": at(incident.resolved_at),
        "good_since": at(incident.good_since),
        "diagnosis": incident.diagnosis.as_ref().map(shown::diagnosis),
        "fix": incident.fix.as_ref().map(shown::fix),
    })
}

async fn incident(Shared(site): Known, Path(key): Path<String>) -> Response {
    let open = site.with_page(|page| page.incident(&key).cloned());
    let found = match open {
        Some(open) => Ok(Some(open)),
        None => site.past().incident(key.clone()).await,
    };
    let incident = match found {
        Ok(Some(incident)) => incident,
        Ok(None) => return problem(StatusCode::NOT_FOUND, "no such incident in the store"),
        Err(why) => return unread(&why),
    };
    let messages = site.past().messages(Some(key.clone()), None, MOST).await;
    let acts = site.past().acts(Some(key), MOST).await;
    let (messages, acts) = match (messages, acts) {
        (Ok(messages), Ok(acts)) => (messages, acts),
        (Err(why), _) | (_, Err(why)) => return unread(&why),
    };
    let words = site.with_page(|page| page.words(&incident));
    let mut value = told(&incident, &words);
    let more = json!({
        "summary": words.summary,
        "not_affected": words.not_affected,
        "do_first": words.first_step,
        "runbook": words.runbook,
        "lines": words.evidence,
        "members": incident.members.iter().map(|member| json!({
            "rule": member.rule.as_str(),
            "severity": member.severity.as_str(),
            "fired_at": rfc3339(member.fired_at),
            "resolved_at": at(member.resolved_at),
            "reading": member.reading,
        })).collect::<Vec<_>>(),
        "boots": incident.boots.iter().map(|boot| json!({
            "vm_id": boot.vm.map(|vm| vm.to_string()),
            "started_at": rfc3339(boot.started_at),
            "failure": boot.failure,
        })).collect::<Vec<_>>(),
        "messages": messages.iter().map(message).collect::<Vec<_>>(),
        "acts": acts.iter().map(|act| json!({
            "at": rfc3339(act.at),
            "action": act.action,
            "author": act.author,
            "reason": act.reason,
        })).collect::<Vec<_>>(),
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    said(&value)
}

fn message(message: &MessageLine) -> Value {
    json!({
        "id": message.id.to_string(),
        "incident": message.incident,
        "transition": message.transition,
        "channel": message.receiver,
        "created_at": rfc3339(message.created_at),
        "state": message.state,
        "status": message.last_status,
        "attempts": message.attempts,
        "ended_at": at(message.ended_at),
    })
}

async fn messages(Shared(site): Known, Query(given): Given) -> Response {
    let paged = match Paged::read(&given, &["incident", "cursor", "limit"]) {
        Ok(paged) => paged,
        Err(why) => return refused(&why),
    };
    let limit = paged.limit;
    let before = match paged.cursor {
        "" => None,
        text => match text.parse() {
            Ok(id) => Some(id),
            Err(_) => return refused(NO_CURSOR),
        },
    };
    let incident = value(&given, "incident").map(str::to_owned);
    match site.past().messages(incident, before, limit).await {
        Ok(messages) => {
            let next = messages
                .last()
                .filter(|_| messages.len() >= usize::from(limit));
            said(&json!({
                "messages": messages.iter().map(message).collect::<Vec<_>>(),
                "next": next.map(|last| last.id.to_string()),
            }))
        }
        Err(why) => unread(&why),
    }
}

async fn alerts(Shared(site): Known) -> Response {
    said(&site.with_page(|page| {
        let alerts = page.live.alerts.iter().map(|alert| {
            json!({
                "rule": alert.rule.as_str(),
                "subject": alert.subject,
                "severity": alert.severity.as_str(),
                "state": alert_state(alert),
                "unknown": alert.unknown,
                "fired_at": at(alert.fired_at),
            })
        });
        json!({ "alerts": alerts.collect::<Vec<_>>() })
    }))
}

async fn image(Shared(site): Known) -> Response {
    said(&site.with_page(|page| match &page.live.image {
        None => json!({ "image": null }),
        Some(image) => json!({ "image": {
            "path": image.path,
            "verdict": image.verdict,
            "audited_at": rfc3339(image.audited_at),
            "generation": image.generation.as_ref().map(|one| json!({
                "id": one.to_string(),
                "modified_at": rfc3339(one.modified_at),
                "size_bytes": one.size,
                "uuid": one.uuid,
            })),
            "findings": image.findings,
        } }),
    }))
}

async fn reports(Shared(site): Known) -> Response {
    match site.past().reports().await {
        Ok(reports) => said(&json!({
            "reports": reports.iter().map(archived).collect::<Vec<_>>(),
        })),
        Err(why) => unread(&why),
    }
}

fn archived(report: &ReportLine) -> Value {
    json!({
        "week": report.week,
        "zone": report.zone,
        "revision": report.revision,
        "headline": report.headline,
        "made_at": rfc3339(report.made_at),
    })
}

/// As the archive has it: nothing is reckoned anew.
async fn report(
    Shared(site): Known,
    Path(week): Path<String>,
    Query(of): Query<OfZone>,
) -> Response {
    let found = match site.past().report(week, of.zone).await {
        Ok(Some(found)) => found,
        Ok(None) => return problem(StatusCode::NOT_FOUND, "no such report in the archive"),
        Err(why) => return unread(&why),
    };
    let Ok(figures) = serde_json::from_str::<Value>(&found.json) else {
        return problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the archived report cannot be read",
        );
    };
    let mut value = archived(&found.line);
    value["report"] = figures;
    said(&value)
}

async fn system(Shared(site): Known) -> Response {
    let settings = &site.faces.settings;
    said(&site.with_page(|page| {
        json!({
            "version": page.version,
            "host": page.host,
            "sources": page.live.sources.iter().map(|one| source(one, page.now)).collect::<Vec<_>>(),
            "store": { "failing_since": at(page.live.store_failing) },
            "channels": page.live.channels.iter().map(|channel| json!({
                "name": channel.name,
                "tried": channel.tried,
                "failing_since": at(channel.failing.map(|(since, _)| since)),
                "last": channel.failing.map(|(_, how)| how),
            })).collect::<Vec<_>>(),
            "findings": page.live.findings.iter().map(|line| json!({
                "kind": line.kind.as_str(),
                "text": line.text,
                "count": line.count,
                "of": line.whom,
            })).collect::<Vec<_>>(),
            "settings": settings.iter().map(|setting| json!({
                "key": setting.key,
                "value": setting.value,
                "default": setting.is_default,
            })).collect::<Vec<_>>(),
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_documented_and_nothing_else_is() {
        let documented: Vec<String> = include_str!("../../docs/api.md")
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .filter_map(|line| Some(line.split_once('`')?.0.to_owned()))
            .collect();
        let routes: Vec<String> = ROUTES
            .iter()
            .map(|(route, _)| (*route).to_owned())
            .collect();
        assert_eq!(documented, routes);
    }
}

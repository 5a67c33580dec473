//! The state as Alertmanager's API v2 takes it. Pure.
//!
//! Labels are an alert's identity: closed words and the host's name, none of them empty, since Alertmanager drops empty
//! ones and would then know another alert. The cause and the incident's key are annotations: a cause may become
//! clearer, and must not make a second alert of the first. An alert that fires again after its end has the same labels,
//! so of two only the newer is told.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Rhythm, State};
use crate::clock;
use crate::core::alert::{Incident, Kind, Member, Notification, Reason, Remarks};
use crate::core::event::Timestamp;
use crate::notify::page::{Context, Page};

/// Alerts in one request.
const BATCH: usize = 64;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    labels: BTreeMap<&'static str, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator_url: Option<String>,
}

/// Everything to be told at `now`, in requests of at most 64 alerts.
pub(super) fn batches(
    state: &State,
    context: &Context,
    rhythm: Rhythm,
    now: Timestamp,
) -> Vec<Vec<u8>> {
    let mut newest: BTreeMap<Vec<String>, (Timestamp, Alert)> = BTreeMap::new();
    for incident in &state.incidents {
        let page = page(incident, context, now);
        for (member, figure) in incident.members.iter().zip(&page.figures) {
            let Some(span) = span(incident, member, rhythm, now) else {
                continue;
            };
            let alert = alert(incident, (member, figure), &page, context, span);
            let identity = alert.labels.values().cloned().collect();
            let older = newest.get(&identity).map(|(fired_at, _)| *fired_at);
            if older.is_none_or(|older| older < member.fired_at) {
                newest.insert(identity, (member.fired_at, alert));
            }
        }
    }
    let alerts: Vec<Alert> = newest.into_values().map(|(_, alert)| alert).collect();
    alerts.chunks(BATCH).map(json).collect()
}

fn alert(
    incident: &Incident,
    (member, figure): (&Member, &str),
    page: &Page,
    context: &Context,
    (starts_at, ends_at): (Timestamp, Timestamp),
) -> Alert {
    Alert {
        labels: labels(incident, member),
        annotations: annotations(incident, member, page, figure, context),
        starts_at: moment(starts_at),
        ends_at: moment(ends_at),
        generator_url: page.main_url().map(str::to_owned),
    }
}

/// One message of a drill: its alerts bear a label that says so, and end by themselves if nothing follows.
pub(super) fn drill(notification: &Notification, context: &Context, rhythm: Rhythm) -> Vec<u8> {
    let incident = &notification.incident;
    let page = Page::of(notification, context);
    let told = incident.members.iter().zip(&page.figures);
    let alerts: Vec<Alert> = told
        .filter_map(|(member, figure)| {
            let span = span(incident, member, rhythm, notification.at)?;
            let mut alert = alert(incident, (member, figure), &page, context, span);
            alert.labels.insert("drill", "true".to_owned());
            Some(alert)
        })
        .collect();
    json(&alerts)
}

/// When the alert begins and ends, or `None` once its end is old news.
///
/// Timers follow a clock that was set back only slowly. Alertmanager refuses an alert that ends before it begins, and one
/// that ends after `now` still fires to it; so nothing that has happened lies after `now`.
fn span(
    incident: &Incident,
    member: &Member,
    rhythm: Rhythm,
    now: Timestamp,
) -> Option<(Timestamp, Timestamp)> {
    let began = member.fired_at.min(now);
    let Some(ended) = member.resolved_at.or(incident.resolved_at) else {
        return Some((began, now.plus_ms(clock::millis(rhythm.hold))));
    };
    let is_news = now.since(ended) <= clock::millis(rhythm.resolved);
    is_news.then_some((began, ended.min(now).max(began)))
}

/// The words of the incident as they are now.
fn page(incident: &Incident, context: &Context, now: Timestamp) -> Page {
    let (kind, reason) = match incident.is_firing() {
        // How it stands, which is news to nobody.
        true => (Kind::Update, Reason::FirstAlert),
        false => (Kind::Resolved, Reason::AllResolved),
    };
    let notification = Notification {
        kind,
        reason,
        at: incident.resolved_at.unwrap_or(now),
        incident: incident.clone(),
        remarks: Remarks::default(),
    };
    Page::of(&notification, context)
}

fn labels(incident: &Incident, member: &Member) -> BTreeMap<&'static str, String> {
    filled([
        ("alertname", member.rule.as_str().to_owned()),
        ("cause_family", incident.family.as_str().to_owned()),
        ("host", incident.host.clone()),
        ("severity", member.severity.as_str().to_owned()),
        (
            "vm_type",
            incident
                .subject
                .vm_type()
                .map_or_else(String::new, |vm_type| vm_type.to_string()),
        ),
    ])
}

fn annotations(
    incident: &Incident,
    member: &Member,
    page: &Page,
    figure: &str,
    context: &Context,
) -> BTreeMap<&'static str, String> {
    filled([
        ("summary", page.title.clone()),
        ("description", page.body()),
        ("figures", figure.to_owned()),
        ("cause", incident.cause.as_str().to_owned()),
        ("incident", incident.key.clone()),
        ("first_bad_at", moment(page.starts_at)),
        (
            "not_affected",
            page.not_affected.clone().unwrap_or_default(),
        ),
        ("diagnosis", page.diagnosis.join("\n")),
        ("fix", page.fix.clone().unwrap_or_default()),
        ("evidence", page.evidence.join("\n")),
        ("do_first", page.first_step.unwrap_or_default().to_owned()),
        (
            "runbook_url",
            context.runbook_of(member, incident).unwrap_or_default(),
        ),
        (
            "incident_url",
            page.incident_url.clone().unwrap_or_default(),
        ),
        (
            "dashboard_url",
            page.dashboard_url.clone().unwrap_or_default(),
        ),
    ])
}

/// An alert of no rule that says that it is a test, and ends a minute after `at`.
pub(super) fn test(host: &str, channel: &str, at: Timestamp) -> Vec<u8> {
    let summary = format!(
        "[TEST] bootwatch on {host} reaches this Alertmanager (channel {channel}); nothing is wrong"
    );
    json(&[Alert {
        labels: filled([
            ("alertname", "BootwatchTest".to_owned()),
            ("host", host.to_owned()),
            ("severity", "ticket".to_owned()),
            ("test", "true".to_owned()),
        ]),
        annotations: filled([("summary", summary)]),
        starts_at: moment(at),
        ends_at: moment(at.plus_ms(60_000)),
        generator_url: None,
    }])
}

/// Without what is empty.
fn filled<const N: usize>(pairs: [(&'static str, String); N]) -> BTreeMap<&'static str, String> {
    pairs
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

fn json(alerts: &[Alert]) -> Vec<u8> {
    serde_json::to_vec(alerts).expect("strings always have a JSON form")
}

fn moment(at: Timestamp) -> String {
    at.utc().unwrap_or_default().to_string()
}

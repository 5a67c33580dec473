//! The incidents, and one of them: what happened when, who was told, what it rests on, and that it is over.

use std::sync::Arc;

use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::model::{ActLine, MessageLine, Words};
use super::layout::{self, tag};
use super::text::{self, ago};
use super::{Page, Site, boots, operate, page, sorry, unread, why};
use crate::core::alert::{Cause, HeldBack, Incident};
use crate::core::desk::Standing;
use crate::core::event::Timestamp;
use crate::core::fix::What;
use crate::core::rule::Severity;

const PAGE: u16 = 30;
/// Messages and acts of one incident that are shown.
const MOST: u16 = 200;

pub(super) fn severity(incident: &Incident) -> Markup {
    match (incident.is_firing(), incident.severity()) {
        (false, _) => tag("unknown", "resolved"),
        (true, Severity::Page) => tag("down", "page"),
        (true, Severity::Ticket) => tag("degraded", "ticket"),
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Cursor {
    #[serde(default)]
    cursor: String,
}

pub(super) async fn list(
    Shared(site): Shared<Arc<Site>>,
    Query(Cursor { cursor }): Query<Cursor>,
    headers: HeaderMap,
) -> Response {
    // A reader whose address is spoilt sees the newest.
    let before = boots::cursor(&cursor).unwrap_or_default();
    match site.past().incidents(before, PAGE).await {
        Ok(incidents) => {
            let html = site.whole("Incidents", "/incidents", |page| listed(page, &incidents));
            page(html, &headers)
        }
        Err(why) => unread(&site, "/incidents", &why),
    }
}

/// The open ones as they stand now; the store may be a second behind.
fn listed(page: &Page<'_>, incidents: &[Incident]) -> Markup {
    html! {
        h1 { "Incidents" }
        section.card id="incidents" aria-label="Incidents, newest first" data-live {
            @if incidents.is_empty() { p.soft { "None is known." } }
            ul.plain.list {
                @for kept in incidents {
                    @let incident = page.incident(&kept.key).unwrap_or(kept);
                    @let words = page.words(incident);
                    li {
                        (severity(incident)) " "
                        a.title href={ "/incidents/" (incident.key) } { (super::capital(&words.title)) }
                        p.small.soft {
                            "fired " (page.moment(incident.fired_at)) " · "
                            @match incident.resolved_at {
                                Some(at) => { "lasted " (text::length(incident.over_since(at).since(incident.first_bad_at))) }
                                None => { "open for " (text::length(page.now.since(incident.first_bad_at))) }
                            }
                            " · " (incident.cause.as_str())
                        }
                    }
                }
            }
            @if incidents.len() >= usize::from(PAGE) && let Some(last) = incidents.last() {
                nav.pager aria-label="Pages" {
                    a href={ "/incidents?cursor=" (last.fired_at.0) "." (last.key) } rel="next" { "Older incidents" }
                }
            }
        }
    }
}

pub(super) async fn one(
    Shared(site): Shared<Arc<Site>>,
    Path(key): Path<String>,
    Query(done): Query<operate::Done>,
    headers: HeaderMap,
) -> Response {
    let stored = site.past().incident(key.clone()).await;
    // One that has just fired may not be in the store yet.
    let open = site.with_page(|page| page.incident(&key).cloned());
    let incident = match (open, stored) {
        (Some(open), _) => open,
        (None, Ok(Some(stored))) => stored,
        (None, Ok(None)) => {
            return sorry(
                &site,
                StatusCode::NOT_FOUND,
                "/incidents",
                "No such incident",
                "It is not in the store: it never was, or it is older than store.keep_incidents.",
            );
        }
        (None, Err(why)) => return unread(&site, "/incidents", &why),
    };
    let told = site.past().messages(Some(key.clone()), None, MOST).await;
    let acts = site.past().acts(Some(key), MOST).await.unwrap_or_default();
    match told {
        Ok(messages) => {
            let html = site.with_page(|page| {
                let title = super::capital(&page.words(&incident).title);
                let body = body(page, &incident, &messages, &acts, &done);
                layout::whole(page, &title, "/incidents", body)
            });
            page(html, &headers)
        }
        Err(why) => unread(&site, "/incidents", &why),
    }
}

fn body(
    page: &Page<'_>,
    incident: &Incident,
    messages: &[MessageLine],
    acts: &[ActLine],
    done: &operate::Done,
) -> Markup {
    let words = page.words(incident);
    let standing = page.standing(&incident.key);
    // It is about what its incidents' own pages tell.
    let own = standing.is_none_or(|standing| standing.digest.is_none());
    html! {
        h1 { (super::capital(&words.title)) }
        (operate::notice(done))
        div id="incident" data-live {
            section.card aria-label="Summary" {
                p { (severity(incident)) " " (words.summary) }
                @if let Some(well) = &words.not_affected { p { strong { "Not affected: " } (well) "." } }
                @if let Some(step) = &words.first_step { p { strong { "Do first: " } (step) } }
                @if words.runbook.is_some() || incident.is_firing() {
                    p {
                        @if let Some(runbook) = &words.runbook { a href=(runbook) rel="noreferrer" { "Runbook" } " " }
                        @if incident.is_firing() && page.operable { a href="#h-ack" { "Take it" } }
                    }
                }
                @if let Some(standing) = standing { (stands(page, standing)) }
            }
            @if incident.diagnosis.is_some() || words.fix.is_some() {
                section.card aria-labelledby="h-why" {
                    h2 id="h-why" { "Why" }
                    @if let Some(found) = &incident.diagnosis {
                        (why::shown(page, found))
                        p.small.soft { "As of " (page.moment(found.at)) "." }
                    }
                    @if let Some(fix) = &words.fix { p { strong { "Fix: " } (text::line(fix)) } }
                }
            }
            div.grid {
                section.card.w6 aria-labelledby="h-time" {
                    h2 id="h-time" { "Timeline" }
                    (timeline(page, incident, messages, acts))
                }
                @if own {
                    section.card.w6 aria-labelledby="h-evidence" {
                        h2 id="h-evidence" { "What it rests on" }
                        (evidence(incident, &words))
                    }
                }
            }
            section.card aria-labelledby="h-told" {
                h2 id="h-told" { "What was sent to whom" }
                (told(page, messages))
            }
        }
        @if incident.is_firing() { (operate::acknowledge(page, incident)) (operate::silence(page, own.then_some(incident))) }
    }
}

fn stands(page: &Page<'_>, standing: &Standing) -> Markup {
    html! {
        @if let Some(taken) = &standing.acknowledged {
            p { "Taken by " strong { (text::line(&taken.author)) } " " (ago(taken.at, page.now))
                @if !taken.note.is_empty() { ": " (text::line(&taken.note)) } }
        }
        @if let Some(held) = &standing.held { p { (tag("maintenance", "held back")) " " (held_back(held)) } }
    }
}

/// Why nobody is told, in words.
pub(super) fn held_back(held: &HeldBack) -> Markup {
    html! {
        @match held {
            HeldBack::Silenced { id, author, reason } => {
                a href="/alerts#silences" { "silence " (id) } " by " (text::line(author)) ": " (text::line(reason))
            }
            HeldBack::Inhibited { by } => { "it follows from " a href={ "/incidents/" (by) } { "another incident" } ", which is told" }
            HeldBack::Waiting => { "it waits a moment whether its cause shows itself" }
            HeldBack::Storm => { "many began at once: they are told together" }
        }
    }
}

/// What happened, in its order.
fn timeline(
    page: &Page<'_>,
    incident: &Incident,
    messages: &[MessageLine],
    acts: &[ActLine],
) -> Markup {
    let mut steps: Vec<(Timestamp, String)> = vec![
        (incident.first_bad_at, "it began".to_owned()),
        (incident.fired_at, "it fired".to_owned()),
    ];
    for member in &incident.members {
        if member.fired_at != incident.fired_at {
            steps.push((member.fired_at, format!("{} joined", member.rule.as_str())));
        }
        if let Some(at) = member.resolved_at {
            steps.push((at, format!("{} resolved", member.rule.as_str())));
        }
    }
    if let Some((before, at)) = &incident.before {
        steps.push((
            *at,
            format!("it was put down to {} before", before.as_str()),
        ));
    }
    for message in messages {
        if let (Some(at), "sent") = (message.ended_at, message.state) {
            steps.push((
                at,
                format!(
                    "{} was told ({})",
                    text::line(&message.receiver),
                    message.transition
                ),
            ));
        }
    }
    for act in acts {
        steps.push((
            act.at,
            format!(
                "{}: {} by {}",
                act.action,
                text::line(&act.reason),
                text::line(&act.author)
            ),
        ));
    }
    if let Some(at) = incident.good_since {
        let over = match (incident.is_about_boots(), incident.cause) {
            (true, Cause::Slowness(_)) => "boots were as quick as usual again",
            (true, _) => "boots were ready again",
            (false, _) => "it did not hold any more",
        };
        steps.push((at, over.to_owned()));
    }
    if let Some(fix) = &incident.fix {
        steps.push((
            fix.at,
            match &fix.what {
                What::Image => "the golden image became another one".to_owned(),
                What::Marked { author, note } => {
                    format!("{} marked a fix: {}", text::line(author), text::line(note))
                }
            },
        ));
        if let Some(at) = fix.decided_at {
            steps.push((at, format!("the fix is {}", fix.confirmation())));
        }
    }
    if let Some(at) = incident.resolved_at {
        steps.push((at, "it was closed".to_owned()));
    }
    steps.sort_by_key(|(at, _)| *at);
    html! {
        ol.plain.small {
            @for (at, text) in &steps { li { (page.moment(*at)) " " (text) } }
        }
        @if incident.is_firing() && incident.fix.is_none() { p.small.soft { (ends(incident)) } }
    }
}

/// What ends it: of boots that fail a run of good ones, of boots that are slow quicker ones, of what holds its own count.
fn ends(incident: &Incident) -> String {
    let boots = "a run of good boots that would be improbable had the fault lasted";
    match incident.cause {
        Cause::Failure(_) => format!("No fix is confirmed yet: it resolves after {boots}."),
        Cause::Slowness(_) => "It resolves once boots take as long as usual again.".to_owned(),
        Cause::Condition(condition) => {
            let also = match incident.is_about_boots() {
                true => format!(", and after {boots}"),
                false => String::new(),
            };
            format!(
                "It resolves by itself once {}, and stays so for a while{also}.",
                condition.over_once()
            )
        }
    }
}

fn evidence(incident: &Incident, words: &Words) -> Markup {
    html! {
        @if !words.figures.is_empty() { ul.small { @for figure in &words.figures { li { (text::line(figure)) } } } }
        @for line in &words.evidence { pre { (text::line(line)) } }
        @if !incident.boots.is_empty() {
            h3 { "Boots" }
            ul.small {
                @for boot in &incident.boots {
                    li {
                        @match boot.vm {
                            Some(vm) => a href={ "/boots/" (format!("{:032x}", vm.0)) } { code { (vm) } },
                            None => "no VM was begun",
                        }
                        @if let Some(failure) = boot.failure { " " (failure.as_str()) }
                    }
                }
            }
        }
        p.small.soft { "key " code { (incident.key) } }
    }
}

fn told(page: &Page<'_>, messages: &[MessageLine]) -> Markup {
    html! {
        @if messages.is_empty() { p.soft { "Nothing was sent." } }
        @else {
            table.stack {
                thead { tr { th scope="col" { "channel" } th scope="col" { "what" } th scope="col" { "decided" } th scope="col" { "state" } th scope="col" { "ended" } } }
                tbody { @for message in messages { (message_row(page, message, html! { (message.transition) })) } }
            }
        }
    }
}

/// `what` was sent, in the words of the page that it stands on.
pub(super) fn message_row(page: &Page<'_>, message: &MessageLine, what: Markup) -> Markup {
    let family = match message.state {
        "sent" => "ok",
        "dead" => "down",
        "dropped" => "unknown",
        _ => "degraded",
    };
    html! {
        tr {
            th scope="row" { (text::line(&message.receiver)) }
            td { (what) }
            td { span.phone { "decided " } (page.moment(message.created_at)) }
            td { (tag(family, message.state)) @if let Some(status) = message.last_status.as_deref().filter(|status| *status != message.state) { " " span.small.soft { (text::line(status)) } } }
            td { @if let Some(at) = message.ended_at { span.phone { "ended " } (page.moment(at)) span.soft { " (" (text::length(at.since(message.created_at))) ")" } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::alert::Family;
    use crate::core::condition::Condition;

    #[test]
    fn why_nobody_is_told_is_said_in_words_and_leads_to_what_holds_it_back() {
        let silenced = HeldBack::Silenced {
            id: 3,
            author: "ada".to_owned(),
            reason: "<rebuild>".to_owned(),
        };
        let inhibited = HeldBack::Inhibited {
            by: "k1".to_owned(),
        };
        for (held, said) in [
            (silenced, "silence 3</a> by ada: &lt;rebuild&gt;"),
            (inhibited, "href=\"/incidents/k1\""),
            (HeldBack::Waiting, "waits a moment"),
            (HeldBack::Storm, "told together"),
        ] {
            let shown = held_back(&held).into_string();
            assert!(shown.contains(said), "{shown}");
        }
    }

    #[test]
    fn what_ends_an_incident_is_said_by_its_kind() {
        let mut incident = Incident::test("host-1", Timestamp(0), false);
        assert!(ends(&incident).contains("a run of good boots"));
        for condition in Condition::ALL {
            incident.cause = (*condition).into();
            incident.family = Family::of_condition(*condition);
            let said = ends(&incident);
            assert!(!said.contains("good boots"), "{condition}: {said}");
            assert!(said.starts_with("It resolves by itself once "), "{said}");
        }
    }
}

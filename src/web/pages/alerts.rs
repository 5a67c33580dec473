//! Every rule's state for each subject, and what operators hold against them.

use std::sync::Arc;

use axum::extract::{Query, State as Shared};
use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};

use super::layout::tag;
use super::{Page, Site, operate, page, text};
use crate::core::alert::AlertView;
use crate::core::desk::{Maintenance, Silence};

pub(super) async fn list(
    Shared(site): Shared<Arc<Site>>,
    Query(done): Query<operate::Done>,
    headers: HeaderMap,
) -> Response {
    let html = site.whole("Alerts", "/alerts", |page| body(page, &done));
    page(html, &headers)
}

/// The alert's state in a word; what is blind is not `inactive`.
pub(in crate::web) fn state(alert: &AlertView) -> &'static str {
    match alert {
        AlertView { firing: true, .. } => "firing",
        AlertView { unknown: true, .. } => "unknown",
        AlertView { pending: true, .. } => "pending",
        _ => "inactive",
    }
}

fn mark(alert: &AlertView) -> Markup {
    let family = match state(alert) {
        "firing" => "down",
        "unknown" => "unknown",
        "pending" => "degraded",
        _ => "ok",
    };
    html! {
        (tag(family, state(alert)))
        @if alert.firing && alert.unknown { " " (tag("unknown", "unknown now")) }
    }
}

fn body(page: &Page<'_>, done: &operate::Done) -> Markup {
    html! {
        h1 { "Alerts" }
        (operate::notice(done))
        section.card id="alerts" aria-label="Every rule's state" data-live {
            @if page.live.alerts.is_empty() { p.soft { "Nothing was judged yet." } }
            @else {
                table.stack.three {
                    thead { tr { th scope="col" { "rule" } th scope="col" { "about" } th scope="col" { "severity" } th scope="col" { "state" } th scope="col" { "since" } } }
                    tbody { @for alert in sorted(page) { (row(page, alert)) } }
                }
            }
        }
        section.card id="silences" aria-labelledby="h-silences" data-live {
            h2 id="h-silences" { "Silences" }
            @let held: Vec<&Silence> = page.view.silences.iter().filter(|one| !one.has_ended(page.now)).collect();
            @if held.is_empty() { p.soft { "None holds." } }
            ul.plain { @for silence in held { li { (silenced(page, silence)) } } }
        }
        section.card id="maintenances" aria-labelledby="h-maintenances" data-live {
            h2 id="h-maintenances" { "Maintenance" }
            @let held: Vec<&Maintenance> = page.view.maintenance.iter().filter(|one| page.now < one.ends_at).collect();
            @if held.is_empty() && page.view.windows.is_empty() { p.soft { "None is under way." } }
            ul.plain {
                @for one in held { li { (maintained(page, one)) } }
                @for (written, span) in &page.view.windows {
                    li { code { (text::line(written)) } " " @if span.is_some() { (tag("maintenance", "now")) } @else { span.soft { "not now" } } }
                }
            }
        }
        (operate::silence(page, None))
        (operate::maintenance(page))
    }
}

/// What fires first.
fn sorted<'a>(page: &Page<'a>) -> Vec<&'a AlertView> {
    let mut alerts: Vec<&AlertView> = page.live.alerts.iter().collect();
    alerts.sort_by_key(|alert| {
        (
            !alert.firing,
            !alert.pending,
            !alert.unknown,
            alert.rule,
            alert.subject,
        )
    });
    alerts
}

fn row(page: &Page<'_>, alert: &AlertView) -> Markup {
    html! {
        tr {
            th scope="row" { (alert.rule.as_str()) }
            td { (alert.subject.as_str()) }
            td { (alert.severity.as_str()) }
            td { (mark(alert)) }
            td { @if let Some(at) = alert.fired_at { (page.moment(at)) } }
        }
    }
}

fn silenced(page: &Page<'_>, silence: &Silence) -> Markup {
    html! {
        @for matcher in &silence.matchers { code { (text::line(&matcher.to_string())) } " " }
        (tag("maintenance", silence.state(page.now)))
        p.small { (text::line(&silence.reason)) " (" (text::line(&silence.author)) ")" span.soft { ", until " (page.moment(silence.ends_at)) } }
        (operate::end(page, &format!("/alerts/silence/{}/expire", silence.id), "End this silence"))
    }
}

fn maintained(page: &Page<'_>, one: &Maintenance) -> Markup {
    html! {
        (text::line(&one.reason)) " (" (text::line(&one.author)) ")"
        p.small.soft { (page.moment(one.starts_at)) " to " (page.moment(one.ends_at)) }
        (operate::end(page, &format!("/alerts/maintenance/{}/end", one.id), "End this maintenance"))
    }
}

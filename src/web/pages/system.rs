//! bootwatch itself: what it sees, stores, sends and was told; and the archive of reports.

use std::sync::Arc;

use axum::extract::{Path, Query, State as Shared};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::super::model::{FindingLine, MessageLine, ReportLine};
use super::layout::tag;
use super::now::{seen, verdict_tag};
use super::text::{self, ago};
use super::{HTML, Page, Site, incidents, page, sorry, synthetic, unread};
use crate::config::Shown;
use crate::core::inventory::Addresses;

/// A report is one file that is also mailed and kept: its style is in it, and so are its drawings. It runs nothing.
const REPORT: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; \
                      frame-ancestors 'none'; base-uri 'none'";
/// Messages that are shown.
const MESSAGES: u16 = 20;

pub(super) async fn system(Shared(site): Shared<Arc<Site>>, headers: HeaderMap) -> Response {
    let messages = site.past().messages(None, None, MESSAGES).await;
    let html = site.whole("System", "/system", |page| {
        let messages = messages.as_deref().map_err(ToString::to_string);
        body(page, messages, &site.faces.settings)
    });
    page(html, &headers)
}

fn body(page: &Page<'_>, messages: Result<&[MessageLine], String>, settings: &[Shown]) -> Markup {
    html! {
        h1 { "System" }
        div id="system" data-live {
            section.card aria-labelledby="h-sources" {
                h2 id="h-sources" { "Sources" }
                (sources(page))
            }
            div.grid {
                section.card.w6 aria-labelledby="h-store" {
                    h2 id="h-store" { "Store" }
                    @match page.live.store_failing {
                        Some(since) => p { (tag("down", "cannot be written")) " since " (page.moment(since)) },
                        None => p { (tag("ok", "written")) },
                    }
                    @if let Some(Addresses { used, ghost, free }) = page.live.addresses {
                        p.small { "The controller's pool: " (used) " in use, " (free) " free, " (ghost) " held by ghosts." }
                    }
                }
                section.card.w6 aria-labelledby="h-channels" {
                    h2 id="h-channels" { "Channels" }
                    @if page.live.channels.is_empty() { p.soft { "None is configured: nobody is told." } }
                    ul.plain {
                        @for channel in &page.live.channels {
                            li {
                                (text::line(&channel.name)) " "
                                @match (channel.failing, channel.tried) {
                                    (Some((since, how)), _) => { (tag("down", how)) " since " (page.moment(since)) }
                                    (None, true) => (tag("ok", "delivers")),
                                    (None, false) => (tag("unknown", "not tried since the start")),
                                }
                            }
                        }
                    }
                }
            }
            @if !page.live.findings.is_empty() {
                section.card aria-labelledby="h-findings" {
                    h2 id="h-findings" { "Where log, rows and processes do not fit together" }
                    ul.small { @for finding in &page.live.findings { (finding_row(finding)) } }
                }
            }
            (image(page))
            (synthetic::system(page, page.synthetic, settings))
            section.card aria-labelledby="h-outbox" {
                h2 id="h-outbox" { "The last messages" }
                @match messages {
                    Err(why) => p.notice.bad { "The store cannot be read: " (why) },
                    Ok(messages) if messages.is_empty() => p.soft { "Nothing was sent." },
                    Ok(messages) => table.stack {
                        thead { tr { th scope="col" { "channel" } th scope="col" { "what" } th scope="col" { "decided" } th scope="col" { "state" } th scope="col" { "ended" } } }
                        tbody { @for message in messages { (incidents::message_row(page, message, sent(message))) } }
                    },
                }
            }
        }
        section.card aria-labelledby="h-settings" {
            h2 id="h-settings" { "Configuration" }
            (configuration(settings))
        }
    }
}

/// What somebody wrote can be read at once; the many keys that nobody did are a step away.
fn configuration(settings: &[Shown]) -> Markup {
    let (usual, written): (Vec<&Shown>, Vec<&Shown>) =
        settings.iter().partition(|one| one.is_default);
    html! {
        p.small.soft { "What somebody wrote, with secrets masked." }
        (listed(&written))
        details {
            summary { (text::count(usual.len() as u64, "key")) " that nobody wrote, with what holds instead" }
            (listed(&usual))
        }
    }
}

fn listed(settings: &[&Shown]) -> Markup {
    html! {
        dl.facts.small {
            @for setting in settings {
                dt { code { (setting.key) } }
                dd { (text::line(&setting.value)) }
            }
        }
    }
}

fn finding_row(finding: &FindingLine) -> Markup {
    html! {
        li {
            @if finding.count > 1 { strong { (finding.count) " × " } }
            (finding.kind.as_str()) ": " (text::line(&finding.text))
            @if !finding.whom.is_empty() {
                p.soft {
                    @for (place, whom) in finding.whom.iter().enumerate() {
                        @if place > 0 { ", " }
                        code { (whom) }
                    }
                    @if finding.unnamed() > 0 { " and " (finding.unnamed()) " more" }
                }
            }
        }
    }
}

fn sources(page: &Page<'_>) -> Markup {
    html! {
        @if page.live.sources.is_empty() { p.soft { "Nothing was looked at yet." } }
        dl.facts {
            @for source in &page.live.sources {
                dt { (source.name) }
                dd {
                    (seen(page, source))
                    " " (source.seen_at.map_or_else(|| "never".to_owned(), |at| ago(at, page.now)))
                    span.soft { ", looked at every " (text::length(source.every_ms)) }
                    p.small { (text::line(&source.note)) }
                }
            }
        }
    }
}

fn image(page: &Page<'_>) -> Markup {
    html! {
        @if let Some(image) = &page.live.image {
            section.card id="image" aria-labelledby="h-audit" {
                h2 id="h-audit" { "Golden image" }
                p.small { code { (text::line(&image.path)) } " audited " (page.moment(image.audited_at)) }
                table.stack {
                    thead { tr { th scope="col" { "check" } th scope="col" { "verdict" } th scope="col" { "where and why" } } }
                    tbody {
                        @for finding in &image.findings {
                            tr {
                                th scope="row" { (finding.check.as_str()) }
                                td { (verdict_tag(finding.verdict)) }
                                td.full { code { (finding.path) } " " span.small { (finding.reason) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(super) async fn reports(Shared(site): Shared<Arc<Site>>, headers: HeaderMap) -> Response {
    match site.past().reports().await {
        Ok(reports) => {
            let html = site.whole("Reports", "/reports", |page| archive(page, &reports));
            page(html, &headers)
        }
        Err(why) => unread(&site, "/reports", &why),
    }
}

fn archive(page: &Page<'_>, reports: &[ReportLine]) -> Markup {
    html! {
        h1 { "Reports" }
        section.card id="reports" aria-label="Weekly reports" data-live {
            @if reports.is_empty() { p.soft { "No report is in the archive yet: the one of each week is kept where " code { "report.schedule" } " says when it is made. " code { "bootwatch report" } " makes one now." } }
            ul.plain.list {
                @for report in reports {
                    li { a.title href=(address(report, reports)) { "Week " (report.week) } p.small { (report.headline) }
                        p.small.soft {
                            "made " (page.moment(report.made_at)) ", days of " (report.zone)
                            @if report.revision > 1 { ", revision " (report.revision) }
                        } }
                }
            }
        }
    }
}

/// A week alone, or with the zone where it was reported by the days of several.
fn address(report: &ReportLine, all: &[ReportLine]) -> String {
    let ReportLine { week, zone, .. } = report;
    if all.iter().filter(|one| one.week == *week).count() < 2 {
        return format!("/reports/{week}");
    }
    let zone = serde_urlencoded::to_string([("zone", zone)]).unwrap_or_default();
    format!("/reports/{week}?{zone}")
}

/// Of which days, where a week was reported by the days of more than one zone.
#[derive(Debug, Deserialize)]
pub(in crate::web) struct OfZone {
    pub(in crate::web) zone: Option<String>,
}

/// What was sent, and of which incident: a drill, a test and a digest of many have no page of their own.
fn sent(message: &MessageLine) -> Markup {
    let key = &message.incident;
    let short: String = key.chars().take(8).collect();
    let has_page = key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    html! {
        (message.transition) " "
        @if has_page { a.small href={ "/incidents/" (key) } { span.away { "of incident " } code { (short) } } }
    }
}

pub(super) async fn report(
    Shared(site): Shared<Arc<Site>>,
    Path(week): Path<String>,
    Query(of): Query<OfZone>,
) -> Response {
    match site.past().report(week, of.zone).await {
        Ok(Some(report)) => (
            [(CONTENT_TYPE, HTML), (CONTENT_SECURITY_POLICY, REPORT)],
            report.html,
        )
            .into_response(),
        Ok(None) => sorry(
            &site,
            StatusCode::NOT_FOUND,
            "/reports",
            "No such report",
            "It is not in the archive.",
        ),
        Err(why) => unread(&site, "/reports", &why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::Timestamp;

    #[test]
    fn what_somebody_wrote_stands_before_what_nobody_did() {
        let setting = |key: &str, is_default| Shown {
            key: key.to_owned(),
            value: "<x>".to_owned(),
            is_default,
        };
        let shown = configuration(&[setting("a", true), setting("b", false)]).into_string();
        let (at_once, folded) = shown.split_once("<details>").unwrap();
        assert!(
            at_once.contains("<code>b</code></dt><dd>&lt;x&gt;"),
            "{shown}"
        );
        assert!(folded.contains("1 key that nobody wrote") && folded.contains("<code>a</code>"));
    }

    #[test]
    fn a_message_leads_to_its_incident_where_that_has_a_page() {
        let of = |incident: &str| {
            let message = MessageLine {
                id: 1,
                incident: incident.to_owned(),
                transition: "firing".to_owned(),
                receiver: "mail".to_owned(),
                created_at: Timestamp(0),
                attempts: 1,
                state: "sent",
                last_status: None,
                ended_at: None,
            };
            sent(&message).into_string()
        };
        let key = "6009505c3f4a87642af15ecd1f30637b";
        let shown = of(key);
        assert!(
            shown.contains(&format!("href=\"/incidents/{key}\"")),
            "{shown}"
        );
        assert!(shown.contains("<code>6009505c</code>"), "{shown}");
        for other in [&format!("storm-{key}"), "drill-1", "<b>"] {
            assert_eq!(of(other), "firing ");
        }
    }

    #[test]
    fn reports_of_one_week_have_addresses_of_their_own() {
        let line = |week: &str, zone: &str| ReportLine {
            zone: zone.to_owned(),
            week: week.to_owned(),
            revision: 1,
            made_at: Timestamp(0),
            headline: String::new(),
        };
        let all = [
            line("2025-W42", "Europe/Berlin"),
            line("2025-W42", "Europe/Berlin, all hosts"),
            line("2025-W41", "Europe/Berlin"),
        ];
        let addresses: Vec<String> = all.iter().map(|one| address(one, &all)).collect();
        assert_eq!(
            addresses,
            [
                "/reports/2025-W42?zone=Europe%2FBerlin",
                "/reports/2025-W42?zone=Europe%2FBerlin%2C+all+hosts",
                "/reports/2025-W41",
            ]
        );
    }
}

//! The report as a mail: short, under the size at which readers clip it, its charts inside.
//!
//! A mail's HTML is a table of one column with its styles on each element, as mail readers want; a picture is named by
//! its `cid` and travels along. What does not fit is on the page that the mail speaks of.
//!
//! Light is written into the elements, since many readers drop a style sheet; those that keep it get dark from it. The
//! pictures stay light, each on a ground of its own.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::charts;
use super::words::{self, Voice};
use crate::core::event::VmType;
use crate::core::report::Report;

/// A mail's words and pictures; addresses and headers are the channel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    pub subject: String,
    pub text: String,
    pub html: String,
    pub pictures: Vec<Picture>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub cid: String,
    pub png: Vec<u8>,
}

/// Bytes of its text, of the 100,000 that HTML and text may have.
const MOST_TEXT: usize = 90_000;
/// Gaps and silences that it tells; the report has all.
const GAPS: usize = 10;
const SECTION: &str = "padding:20px 22px;overflow-wrap:anywhere;font:15px/1.5 Arial,Helvetica,sans-serif;color:#222a33";
const H2: &str = "margin:14px 0 4px;font:bold 17px/1.3 Arial,Helvetica,sans-serif;color:#222a33";
const P: &str = "margin:6px 0";
const CELL: &str = "padding:3px 10px 3px 0;border-bottom:1px solid #e8ebee;font:13px/1.4 Arial,Helvetica,sans-serif;color:#222a33;text-align:left;vertical-align:top";
/// Of words and figures of ours, which are broken between words only: on a phone a column would be cut into letters.
const SHORT: &str = "padding:3px 10px 3px 0;border-bottom:1px solid #e8ebee;font:13px/1.4 Arial,Helvetica,sans-serif;color:#222a33;text-align:left;vertical-align:top;overflow-wrap:normal";

const DARK: &str = ":root{color-scheme:light dark}@media (prefers-color-scheme:dark){\
.b{background:#15181c!important}.c{background:#1f2429!important}\
.c td,.c th,.c h1,.c h2,.c p,.c li,.c strong{color:#e8eaed!important;border-color:#363d45!important}\
.c .m{color:#a4acb5!important}.c img{border-radius:6px}}";

/// Lays it out.
#[must_use]
pub fn letter(report: &Report, voice: &Voice) -> Letter {
    let charts = charts(report);
    let pictures: Vec<(Picture, &str, &str)> = charts
        .iter()
        .map(|chart| {
            let picture = Picture {
                cid: format!("{}-{}@bootwatch", chart.name, report.week),
                png: chart.png(),
            };
            (picture, chart.title, chart.says.as_str())
        })
        .filter(|(picture, ..)| !picture.png.is_empty())
        .collect();
    let page = page(report, voice, &pictures).into_string();
    Letter {
        subject: subject(report, voice),
        text: bounded(super::markdown(report, voice)),
        html: page,
        pictures: pictures.into_iter().map(|(picture, ..)| picture).collect(),
    }
}

/// Whole lines of it: no server refuses a mail for its length, and nobody reads on for ever.
fn bounded(mut text: String) -> String {
    let Some(head) = text.as_bytes().get(..MOST_TEXT) else {
        return text;
    };
    let end = memchr::memrchr(b'\n', head).map_or(0, |at| at + 1);
    text.truncate(end);
    text.push_str("\nThis mail is cut here; the rest stands in the report itself.\n");
    text
}

fn subject(report: &Report, voice: &Voice) -> String {
    let partial = if report.coverage.partial {
        " (partial)"
    } else {
        ""
    };
    let week = match report.hosts.len() {
        hosts if report.of_fleet => {
            let many = if hosts == 1 { "" } else { "s" };
            format!(
                "{}, {} host{many}",
                report.week,
                words::grouped(hosts as u64)
            )
        }
        _ => format!("{}, {}", report.week, voice.host),
    };
    match report.kind(VmType::Browser).map(|kind| kind.rate.ready) {
        Some(ready) if ready.n > 0 => format!(
            "Boot reliability {week}: {} of browser boots ready, {}{partial}",
            words::value(ready),
            words::count(ready)
        ),
        _ => format!("Boot reliability {week}: no browser boot{partial}"),
    }
}

fn page(report: &Report, voice: &Voice, pictures: &[(Picture, &str, &str)]) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="supported-color-schemes" content="light dark";
                title { (subject(report, voice)) }
                style { (PreEscaped(DARK)) }
            }
            body.b style="margin:0;padding:0;background:#f4f5f7" {
                table role="presentation" width="100%" cellpadding="0" cellspacing="0" { tr { td align="center" style="padding:16px 8px" {
                    table.c role="presentation" width="100%" cellpadding="0" cellspacing="0" style="max-width:680px;background:#ffffff" { tr { td style=(SECTION) {
                        p.m style="margin:0;font:12px/1.4 Arial,Helvetica,sans-serif;color:#56606b" {
                            "Weekly boot reliability"
                            @if !report.of_fleet { " of " (voice.host) }
                            ", " (report.zone)
                        }
                        h1 style="margin:0;font:bold 26px/1.3 Arial,Helvetica,sans-serif;color:#222a33" { "Week " (report.week) }
                        p style="margin:10px 0;font-size:16px" { (words::headline(report)) }
                        (advice(report))
                        @for (picture, title, says) in pictures {
                            h2 style=(H2) { (title) }
                            img src={ "cid:" (picture.cid) } alt=(says) width="636" style="display:block;width:100%;max-width:636px;height:auto;border:0";
                        }
                        h2 style=(H2) { "Budget" }
                        p style=(P) { (words::budget(report)) }
                        (rates(report))
                        (hosts(report))
                        (incidents(report, voice))
                        h2 style=(H2) { "What was seen, and what does not count" }
                        p style=(P) { "All sources were fresh for " (words::value(report.coverage.seconds)) " of " (words::the_week(report)) "." }
                        @for said in words::not_fresh(report, voice).iter().take(GAPS) { p style=(P) { (said) } }
                        @for one in &report.exclusions {
                            p style=(P) { (words::exclusion(one)) }
                        }
                    } } }
                } } }
            }
        }
    }
}

fn advice(report: &Report) -> Markup {
    html! {
        h2 style=(H2) { "What to do next week" }
        @if report.advice.is_empty() { p style=(P) { "Nothing in the figures asks for anything." } }
        @else {
            ol style="margin:6px 0;padding-left:22px" {
                @for (what, why) in report.advice.iter().map(words::advice) {
                    li style="margin:4px 0" { strong { (what) } " " (why) }
                }
            }
        }
    }
}

fn rates(report: &Report) -> Markup {
    html! {
        h2 style=(H2) { "Boots" }
        table cellpadding="0" cellspacing="0" width="100%" {
            tr { @for title in ["Kind", "Ready", "Share", "Time to ready p50, p95"] { th style=(SHORT) { strong { (title) } } } }
            @for kind in &report.kinds {
                tr {
                    td style=(SHORT) { (words::kind(kind.vm_type)) }
                    td style=(SHORT) { (words::count(kind.rate.ready)) }
                    td style=(SHORT) {
                        @if kind.judged { (words::value(kind.rate.ready)) " (" (words::interval(kind.rate.ready).unwrap_or_default()) ")" }
                        @else { "not judged" }
                    }
                    td style=(SHORT) { (words::quantile(kind.time_to_ready.p50)) ", " (words::quantile(kind.time_to_ready.p95)) }
                }
            }
        }
    }
}

/// Of a fleet: how each host's browser boots went.
fn hosts(report: &Report) -> Markup {
    html! {
        @if report.hosts.len() > 1 {
            h2 style=(H2) { "Browser boots by host" @if report.hosts.len() > words::HOSTS { ", the least reliable first" } }
            table cellpadding="0" cellspacing="0" width="100%" {
                tr { @for title in ["Host", "Ready", "Share", "p50, p95", "Why they failed", "Seen"] { th style=(SHORT) { strong { (title) } } } }
                @for host in words::hosts(report) {
                    tr {
                        td style=(CELL) { (host.host) }
                        td style=(SHORT) { (words::count(host.ready)) }
                        td style=(SHORT) { (words::value(host.ready)) }
                        td style=(SHORT) { (words::quantile(host.time_to_ready.p50)) ", " (words::quantile(host.time_to_ready.p95)) }
                        td style=(CELL) { (words::classes(host)) }
                        td style=(SHORT) { (host.seen.map_or_else(|| "–".to_owned(), words::value)) }
                    }
                }
            }
            @if report.hosts.len() > words::HOSTS {
                p style=(P) { "and " (words::grouped((report.hosts.len() - words::HOSTS) as u64)) " more hosts, which the JSON lists." }
            }
        }
    }
}

fn incidents(report: &Report, voice: &Voice) -> Markup {
    const SHOWN: usize = 20;
    html! {
        h2 style=(H2) { "Incidents" }
        p style=(P) { (words::detection(report)) }
        @if !report.incidents.is_empty() {
            table cellpadding="0" cellspacing="0" width="100%" {
                tr { @for title in ["What", "First bad boot", "To the page", "To the end", "Boots hit"] { th style=(SHORT) { strong { (title) } } } }
                @for incident in report.incidents.iter().take(SHOWN) {
                    tr {
                        td style=(CELL) {
                            (words::incident(incident)) @if !incident.page { " (ticket)" }
                            @if let Some(fix) = &incident.fix { br; (fix) }
                        }
                        td style=(SHORT) { (voice.time(incident.first_bad_at)) }
                        td style=(SHORT) { (incident.detect_seconds.map_or_else(|| "never".to_owned(), words::length)) }
                        td style=(SHORT) { (incident.resolve_seconds.map_or_else(|| "still open".to_owned(), words::length)) }
                        td style=(SHORT) { (words::grouped(incident.boots_hit)) }
                    }
                }
            }
            @if report.incidents.len() > SHOWN { p style=(P) { "and " (report.incidents.len() - SHOWN) " more." } }
        }
    }
}

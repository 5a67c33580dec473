//! Boots that bootwatch makes itself: how the latest went, on the first page and in full on the system's.
//!
//! What is shown is the same text-and-numbers that `/api/v1/synthetic` answers with; what is missing in it is not known,
//! and drawn grey.

use maud::{Markup, html};
use serde_json::Value;

use super::Page;
use super::layout::tag;
use super::text::{self, ago, percent};
use crate::config::Shown;
use crate::core::event::Timestamp;
use crate::core::report::share::Share;

/// Runs in the strip of the first page.
const STRIP: usize = 12;

fn word<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value[key].as_str()
}

fn moment(value: &Value, key: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = word(value, key)?.parse().ok()?;
    Some(Timestamp(at.as_millisecond()))
}

fn runs(view: &Value) -> &[Value] {
    view["runs"].as_array().map_or(&[], Vec::as_slice)
}

/// Only what a VM did counts: what was our own fault or was not begun says nothing about VMs.
fn available(view: &Value) -> Share {
    let of = |result: &str| {
        let all = runs(view).iter();
        all.filter(|run| word(run, "result") == Some(result))
            .count() as u64
    };
    Share::new(of("passed"), of("passed") + of("failed"))
}

fn result_tag(run: &Value) -> Markup {
    match word(run, "result") {
        Some("passed") => tag("ok", "passed"),
        Some("failed") => tag("down", "failed"),
        Some(result) => tag("unknown", &result.replace('_', " ")),
        None => tag("unknown", "not judged"),
    }
}

/// Why a run ended as it did, as far as it was said.
fn why(run: &Value) -> String {
    let said = word(run, "failure").filter(|failure| *failure != "none");
    let said = said.or_else(|| word(run, "reason")).unwrap_or_default();
    text::line(&said.replace('_', " "))
}

/// How long the boot took, and how long its clean-up, which waits for the controller's own limits. `None`: it is not known, or
/// has not begun.
pub fn took(run: &Value) -> (Option<String>, Option<String>) {
    let spoken = |seconds: f64| format!("{seconds:.1} s");
    let cleanup = run["phases"]["cleanup"].as_f64();
    let boot = run["total_seconds"].as_f64();
    let boot = boot.map(|total| (total - cleanup.unwrap_or(0.0)).max(0.0));
    (boot.map(spoken), cleanup.map(spoken))
}

pub(super) fn card(page: &Page<'_>, view: &Value) -> Markup {
    html! {
        h2 id="h-synthetic" { "Synthetic boots" }
        @if view["enabled"] != true {
            p { (tag("unknown", "off")) }
            p.soft.small { "bootwatch makes no boots of its own: without users nobody knows whether a VM would be ready." }
        } @else {
            (latest(page, view))
            (availability(view))
            @if !runs(view).is_empty() {
                p.small {
                    span.soft { "Newest first: " }
                    @for run in runs(view).iter().take(STRIP) { (result_tag(run)) " " }
                }
            }
            p.small.soft { (next(page, view)) " " a href="/system#synthetic" { "All of them" } }
        }
    }
}

fn latest(page: &Page<'_>, view: &Value) -> Markup {
    let begun = |run: &Value| moment(run, "started_at").map(|at| ago(at, page.now));
    let judged = runs(view)
        .iter()
        .find(|run| matches!(word(run, "result"), Some("passed" | "failed" | "errored")));
    html! {
        @if view["running"].is_object() {
            p { (tag("maintenance", "running")) " " span.small.soft { "since " (begun(&view["running"]).unwrap_or_default()) } }
        }
        @match judged {
            Some(run) => p {
                "Last: " (result_tag(run)) " " (why(run)) " "
                span.small.soft {
                    (begun(run).unwrap_or_default())
                    @if let (Some(boot), cleanup) = took(run) {
                        ", took " (boot)
                        @if let Some(cleanup) = cleanup { ", its clean-up " (cleanup) }
                    }
                }
            },
            None => p { (tag("unknown", "none yet")) },
        }
    }
}

fn availability(view: &Value) -> Markup {
    let share = available(view);
    html! {
        @if let (Some(value), Some(interval)) = (share.value(), share.interval()) {
            p {
                strong { (percent(value)) } " ready: " (share.k) " of " (share.n) " "
                span.small.soft { "(95 % interval " (percent(interval.low)) " to " (percent(interval.high)) ")" }
            }
        }
    }
}

fn next(page: &Page<'_>, view: &Value) -> Markup {
    html! {
        @if let Some(at) = moment(view, "next_run_at") { "Next " (page.moment(at)) "." }
        @if let Some(reason) = word(view, "blocked_by") { " Held back now: " (text::line(&reason.replace('_', " "))) "." }
    }
}

pub(super) fn system(page: &Page<'_>, view: &Value, settings: &[Shown]) -> Markup {
    let setting = |key: &str| {
        let setting = settings.iter().find(|setting| setting.key == key);
        setting.map(|setting| text::line(&setting.value))
    };
    html! {
        section.card id="synthetic" aria-labelledby="h-synthetic" {
            h2 id="h-synthetic" { "Synthetic boots" }
            @if view["enabled"] != true { p.soft { "None are made: there is no section [synthetic]." } }
            @else {
                dl.facts {
                    dt { "Schedule" } dd { "every " (setting("synthetic.interval").unwrap_or_default()) }
                    dt { "Budget" } dd { (setting("synthetic.budget").unwrap_or_default()) " a day" }
                    dt { "Now" } dd { (next(page, view)) }
                }
                (availability(view))
                @if runs(view).is_empty() { p.soft { "None was made yet." } }
                @else {
                    table.stack {
                        thead { tr {
                            th scope="col" { "begun" } th scope="col" { "result" } th scope="col" { "why" }
                            th scope="col" { "stopped in" } th scope="col" { "took" } th scope="col" { "cleaned up" }
                        } }
                        tbody { @for run in runs(view) { (row(page, run)) } }
                    }
                }
            }
        }
    }
}

fn row(page: &Page<'_>, run: &Value) -> Markup {
    let skipped = word(run, "result") == Some("skipped");
    let (boot, cleanup) = took(run);
    html! {
        tr {
            th scope="row" { @if let Some(at) = moment(run, "started_at") { (page.moment(at)) } }
            td { (result_tag(run)) }
            td.full { (why(run)) }
            td { span.phone { "stopped in " } (word(run, "stopped_in").unwrap_or("–").replace('_', " ")) }
            td { span.phone { "took " } (boot.as_deref().unwrap_or("–")) }
            td {
                span.phone { "cleaned up " }
                @if skipped { "–" }
                @else if run["cleaned_up"] == true {
                    @match cleanup {
                        Some(cleanup) => { "in " (cleanup) }
                        None => "yes",
                    }
                }
                @else { (tag("degraded", "not yet")) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clean_up_is_no_part_of_what_a_boot_took() {
        let run = serde_json::json!({
            "total_seconds": 303.0, "phases": { "request": 0.4, "agent": 2.1, "cleanup": 300.5 },
        });
        let told = |text: &str| Some(text.to_owned());
        assert_eq!(took(&run), (told("2.5 s"), told("300.5 s")));
        let run = serde_json::json!({ "total_seconds": 2.5, "phases": { "request": 2.5 } });
        assert_eq!(took(&run), (told("2.5 s"), None));
        assert_eq!(took(&Value::Null), (None, None));
    }
}

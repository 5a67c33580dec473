//! One boot: its stages and attempts in time, what the log and the guest said, and what speaks for and against the verdict.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use maud::{Markup, html};

use super::super::model::{BootFull, BootLine};
use super::chart::{self, Stretch};
use super::layout::tag;
use super::text::{self, seconds};
use super::{Page, Site, outcome, page, sorry, unread, why};
use crate::core::boot::StageSpan;
use crate::core::event::{AttemptError, AttemptResult, Stage, StageOutcome, Timestamp};
use crate::core::failure::Rung;

pub(super) async fn one(
    Shared(site): Shared<Arc<Site>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let past = site.boot(&id).await;
    if let Ok(Some(boot)) = &past {
        let html = site.whole(&title(&boot.line), "/boots", |page| body(page, boot));
        return page(html, &headers);
    }
    let flying = site.with_page(|page| {
        let mut flying = page.live.flying.iter();
        flying.find(|boot| boot.boot_id == id).cloned()
    });
    match (flying, past) {
        (Some(line), _) => {
            let html = site.whole(&title(&line), "/boots", |page| in_flight(page, &line));
            page(html, &headers)
        }
        (None, Ok(_)) => sorry(
            &site,
            StatusCode::NOT_FOUND,
            "/boots",
            "No such boot",
            "It is neither in flight nor in the store: it never was, or it is older than store.keep_boots.",
        ),
        (None, Err(why)) => unread(&site, "/boots", &why),
    }
}

fn title(line: &BootLine) -> String {
    format!("Boot {}", line.vm.as_deref().unwrap_or(&line.boot_id))
}

fn heading(line: &BootLine) -> Markup {
    html! {
        h1 {
            (super::capital(line.vm_type.spoken())) " boot " code { (line.vm.as_deref().unwrap_or(&line.boot_id)) }
        }
    }
}

/// What is known before it has ended; all of it takes this one's place by itself when it has.
fn in_flight(page: &Page<'_>, line: &BootLine) -> Markup {
    html! {
        (heading(line))
        div id="boot" data-live {
            (first_cards(
                &html! {
                    p { (outcome::mark(None)) " for " (text::length(page.now.since(line.started_at))) }
                    p.small.soft { "Its stages, its attempts and its verdict appear here once it has ended." }
                },
                &html! {
                    dl.facts {
                        dt { "began" } dd { (page.moment(line.started_at)) }
                        dt { "asked for by" } dd { (line.origin.as_str()) }
                        @if let Some(session) = &line.session { dt { "session" } dd { code { (session) } } }
                        @if let Some(image) = &line.image { dt { "golden image" } dd { (image_link(image)) } }
                        dt { "boot id" } dd { code { (line.boot_id) } }
                    }
                },
            ))
        }
    }
}

fn first_cards(verdict: &Markup, facts: &Markup) -> Markup {
    html! {
        div.grid {
            section.card.w6 aria-labelledby="h-verdict" {
                h2 id="h-verdict" { "Verdict" }
                (verdict)
            }
            section.card.w6 aria-labelledby="h-facts" {
                h2 id="h-facts" { "What is known" }
                (facts)
            }
        }
    }
}

fn image_link(image: &str) -> Markup {
    html! { a href={ "/boots?image=" (image) } { code { (text::line(image)) } } }
}

fn body(page: &Page<'_>, boot: &BootFull) -> Markup {
    let line = &boot.line;
    html! {
        (heading(line))
        div id="boot" data-live {
            (first_cards(&verdict(page, boot), &facts(page, boot)))
            section.card aria-labelledby="h-fall" {
                h2 id="h-fall" { "Stages and attempts" }
                (waterfall(boot))
            }
            div.grid {
                section.card.w6 aria-labelledby="h-lines" {
                    h2 id="h-lines" { "Lines of the controller's log" }
                    (lines(&boot.evidence, "No line of trouble was kept."))
                }
                section.card.w6 aria-labelledby="h-console" {
                    h2 id="h-console" { "End of the guest's console" }
                    (marks(page, boot))
                    (lines(&boot.console, "Nothing of it was kept."))
                }
            }
        }
    }
}

fn verdict(page: &Page<'_>, boot: &BootFull) -> Markup {
    let line = &boot.line;
    html! {
        p {
            (outcome::mark(line.outcome))
            @if let Some(failure) = line.failure { " " strong { (failure.as_str()) } ": " (failure.meaning()) }
        }
        @if boot.maintenance { p.small { "It touched a maintenance: it counts neither for nor against." } }
        @if let Some(error) = &boot.error { p.small { "The controller said: " code { (text::line(error)) } } }
        @if let Some(found) = &boot.diagnosis {
            (why::shown(page, found))
            p.small.soft { "By this boot alone: its incident knows what surrounds it." }
        }
    }
}

fn facts(page: &Page<'_>, boot: &BootFull) -> Markup {
    let line = &boot.line;
    html! {
        dl.facts {
            dt { "began" } dd { (page.moment(line.started_at)) }
            @if let Some(ended) = line.ended_at { dt { "ended" } dd { (page.moment(ended)) " (" (text::length(ended.since(line.started_at))) ")" } }
            @if let Some(ms) = line.ready_ms { dt { "time to ready" } dd { (seconds(ms)) } }
            dt { "asked for by" } dd { (line.origin.as_str()) }
            @if let Some(ip) = boot.ip { dt { "address" } dd { code { (ip) } } }
            @if let Some(session) = &line.session { dt { "session" } dd { code { (session) } } }
            @if let Some(limits) = boot.limits {
                dt { "deadline" }
                dd { (limits.deadline_ms.map_or_else(|| "none, so nothing is tried".to_owned(), seconds)) }
            }
            dt { "agent put into the copy" } dd { (if boot.injected { "yes" } else { "no" }) }
            @if let Some(image) = &line.image { dt { "golden image" } dd { (image_link(image)) } }
            @if let Some(build) = &boot.build { dt { "controller's build" } dd { code { (text::line(build)) } } }
            @if !boot.attempts.is_empty() {
                dt { "attempts" }
                dd { @for (place, (result, times)) in boot.attempts.iter().enumerate() { @if place > 0 { ", " } (times) " × " (result) } }
            }
            dt { "boot id" } dd { code { (line.boot_id) } }
        }
    }
}

/// How far the guest came, by its own word.
fn marks(page: &Page<'_>, boot: &BootFull) -> Markup {
    html! {
        @if !boot.marks.is_empty() {
            ul.plain.small {
                @for mark in &boot.marks {
                    li { (page.moment(mark.first_at)) " " (mark.mark) @if mark.count > 1 { " " span.soft { (mark.count) " ×" } } }
                }
            }
        }
    }
}

fn lines(lines: &[String], none: &str) -> Markup {
    html! {
        @if lines.is_empty() { p.soft { (none) } }
        @else { @for line in lines { pre { (text::line(line)) } } }
    }
}

/// When the wait for the agent began: its attempts are told from there.
fn wait_began(boot: &BootFull) -> Timestamp {
    let stage = |wanted| boot.stages.iter().find(|(stage, _)| *stage == wanted);
    match (stage(Stage::GuestNetwork), stage(Stage::StartFirecracker)) {
        (Some((_, span)), _) => span.started_at,
        (None, Some((_, span))) => end_of(span),
        (None, None) => boot.line.started_at,
    }
}

fn end_of(span: &StageSpan) -> Timestamp {
    span.started_at.plus_ms(i64::from(span.ms))
}

fn waterfall(boot: &BootFull) -> Markup {
    let began = boot.line.started_at;
    let wait = wait_began(boot);
    let last_attempt = boot
        .ladder
        .last()
        .map(|rung| wait.plus_ms(i64::from(rung.last_ms)));
    let ends = boot.stages.iter().map(|(_, span)| end_of(span));
    let end = ends
        .chain(last_attempt)
        .chain(boot.line.ended_at)
        .max()
        .unwrap_or(began);
    let whole = end.since(began).max(1);
    let offset = |at: Timestamp| at.since(began).max(0) as f64;
    html! {
        @if boot.stages.is_empty() && boot.ladder.is_empty() { p.soft { "No stage of it was seen." } }
        @else {
            div.scroll tabindex="0" role="region" aria-label="Table of stages and attempts" {
                table.fall {
                    caption.away { "Each stage with when it began, how long it took and how it ended; then the runs of health checks." }
                    thead { tr { th scope="col" { "stage" } th scope="col" { "from 0 to " (text::length(whole)) } th.num scope="col" { "took" } th scope="col" { "ended" } } }
                    tbody {
                        @for (stage, span) in &boot.stages {
                            tr {
                                th scope="row" { @if *stage == Stage::InjectAgent { span.soft { "in it: " } } (stage.as_str()) }
                                td.bar { (chart::track(whole as f64, &[Stretch {
                                    class: stage_class(span),
                                    from: offset(span.started_at),
                                    length: f64::from(span.ms),
                                    label: format!("{stage}: {}", seconds(span.ms)),
                                }])) }
                                td.num { @if span.coarse { "≈ " } (seconds(span.ms)) }
                                td { (ended(span.outcome)) }
                            }
                        }
                        @for rung in &boot.ladder {
                            tr {
                                th scope="row" { "attempts: " (rung.result) }
                                td.bar { (chart::track(whole as f64, &[Stretch {
                                    class: rung_class(rung.result),
                                    from: offset(wait.plus_ms(i64::from(rung.first_ms))),
                                    length: f64::from(rung.last_ms.saturating_sub(rung.first_ms)),
                                    label: rung_label(rung),
                                }])) }
                                td.num { (rung.count) " ×" }
                                td.small.nowrap { (seconds(rung.first_ms)) " to " (seconds(rung.last_ms)) }
                            }
                        }
                    }
                }
            }
            p.small.soft { "≈: known from the lines' clock only, to a second. Attempts are told from the wait's begin." }
        }
    }
}

fn rung_label(rung: &Rung) -> String {
    format!(
        "{} × {} from {} to {}",
        rung.count,
        rung.result,
        seconds(rung.first_ms),
        seconds(rung.last_ms)
    )
}

fn stage_class(span: &StageSpan) -> &'static str {
    match (span.outcome, span.coarse) {
        (StageOutcome::Completed, false) => "c-span",
        (StageOutcome::Completed, true) => "c-coarse",
        (StageOutcome::Failed | StageOutcome::TimedOut, _) => "c-failed",
        (StageOutcome::Abandoned, _) => "c-lost",
    }
}

fn rung_class(result: AttemptResult) -> &'static str {
    match result {
        AttemptResult::Ok => "c-ready",
        AttemptResult::Error(AttemptError::Refused) => "c-failed",
        _ => "c-in_progress",
    }
}

fn ended(outcome: StageOutcome) -> Markup {
    let family = match outcome {
        StageOutcome::Completed => "ok",
        StageOutcome::Failed | StageOutcome::TimedOut => "down",
        StageOutcome::Abandoned => "unknown",
    };
    tag(family, outcome.as_str())
}

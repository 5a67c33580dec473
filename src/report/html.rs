//! The page: a whole HTML document that prints well and loads nothing.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::{Chart, charts};
use super::words::{self, Voice};
use crate::core::event::VmType;
use crate::core::report::Report;
use crate::core::report::incident::IncidentFigures;

const STYLE: &str = include_str!("assets/report.css");

pub(super) fn page(report: &Report, voice: &Voice) -> String {
    let charts = charts(report);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                title { "Boot reliability, " (report.week) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (head(report, voice))
                    (cards(report))
                    (advice(report))
                    section aria-labelledby="boots" {
                        h2 id="boots" { "Boots" }
                        (figure(&charts, "days"))
                        (kinds(report))
                        (apart(report))
                        (hosts(report))
                        (figure(&charts, "time-to-ready"))
                    }
                    section aria-labelledby="failures" {
                        h2 id="failures" { "Why boots failed" }
                        @if report.causes.is_empty() { p { (words::no_failure(report)) } }
                        @else { (figure(&charts, "causes")) (causes(report, voice)) }
                    }
                    section aria-labelledby="budget" {
                        h2 id="budget" { "Budget" }
                        p { (words::budget(report)) }
                        (figure(&charts, "budget"))
                    }
                    section aria-labelledby="stages" {
                        h2 id="stages" { "Stages" }
                        (figure(&charts, "stages"))
                        (stages(report))
                    }
                    (incidents(report, voice))
                    (synthetic(report))
                    (images(report, voice))
                    (coverage(report, voice))
                    (exclusions(report))
                    (method())
                }
            }
        }
    };
    markup.into_string()
}

fn head(report: &Report, voice: &Voice) -> Markup {
    html! {
        header {
            p.kicker { "Weekly boot reliability" }
            h1 { "Week " (report.week) }
            p.dates {
                (report.week.monday().strftime("%-d %B %Y").to_string()) " to "
                (report.week.sunday().strftime("%-d %B %Y").to_string())
                ", " (report.zone)
                @if !report.of_fleet { ", host " (voice.host) }
                @if report.hosts.len() > 1 { ", " (words::grouped(report.hosts.len() as u64)) " hosts" }
            }
            p.headline { (words::headline(report)) }
            @if report.coverage.partial {
                p.partial role="note" {
                    "Partial: all sources were fresh for " (words::fresh(report)) " of " (words::the_week(report)) ". "
                    "Gaps are listed below; last shown until " (voice.time(report.to)) "."
                }
            }
        }
    }
}

fn cards(report: &Report) -> Markup {
    let ready = report.kind(VmType::Browser).map(|kind| kind.rate.ready);
    let card = |title: &str, value: String, below: String| {
        html! { div.card { p.what { (title) } p.value { (value) } p.below { (below) } } }
    };
    let budget = report.budget;
    html! {
        div.cards {
            @if let Some(ready) = ready {
                (card("Browser boots ready", words::value(ready), words::count(ready)))
            }
            (card(
                "Budget left",
                budget.left_share.map_or_else(|| "–".to_owned(), |left| format!("{:.0} %", left * 100.0)),
                format!("{} of {} failed boots", words::tenths(budget.left), words::tenths(budget.allowed)),
            ))
            (card(
                "Incidents that paged",
                words::pages(report),
                words::watch(report),
            ))
            (card(
                "Sources fresh",
                words::value(report.coverage.seconds),
                words::gaps((report.coverage.gaps.len() + report.coverage.silences.len()) as u64),
            ))
        }
    }
}

fn advice(report: &Report) -> Markup {
    html! {
        section aria-labelledby="next" {
            h2 id="next" { "What to do next week" }
            @if report.advice.is_empty() { p { "Nothing in the figures asks for anything." } }
            @else {
                ol.advice {
                    @for (what, why) in report.advice.iter().map(words::advice) {
                        li { strong { (what) } " " (why) }
                    }
                }
            }
        }
    }
}

fn figure(charts: &[Chart], name: &str) -> Markup {
    let Some(chart) = charts.iter().find(|chart| chart.name == name) else {
        return html! {};
    };
    html! {
        figure {
            figcaption { (chart.title) }
            (wide(chart.title, &html! {
                div.chart role="img" aria-label=(chart.says) { (PreEscaped(chart.svg())) }
            }))
        }
    }
}

/// What may be wider than a phone: it is moved sideways, by keyboard too.
fn wide(name: &str, inner: &Markup) -> Markup {
    html! { div.scroll tabindex="0" role="region" aria-label=(name) { (inner) } }
}

fn table(caption: &str, rows: &Markup) -> Markup {
    wide(caption, &html! { table { caption { (caption) } (rows) } })
}

fn kinds(report: &Report) -> Markup {
    html! {
        (table("Boots that became ready, of those that count", &html! {
            thead { tr {
                th scope="col" { "Kind" } th.n scope="col" { "Ready" } th.n scope="col" { "Share" }
                th.n scope="col" { "95 % interval" } th scope="col" { "Against last week" }
            } }
            tbody {
                @for kind in &report.kinds {
                    tr {
                        th scope="row" { (words::kind(kind.vm_type)) }
                        td.n { (words::count(kind.rate.ready)) }
                        @if kind.judged {
                            td.n { (words::value(kind.rate.ready)) }
                            td.n { (words::interval(kind.rate.ready).unwrap_or_default()) }
                            td { (words::moved(&kind.rate)) }
                        } @else {
                            td colspan="3" { "not judged: none was ever ready, which a controller without an agent in CLI VMs never sees" }
                        }
                    }
                }
                tr.total {
                    th scope="row" { "all that are judged" }
                    td.n { (words::count(report.total.ready)) }
                    td.n { (words::value(report.total.ready)) }
                    td.n { (words::interval(report.total.ready).unwrap_or_default()) }
                    td { (words::moved(&report.total)) }
                }
            }
        }))
        @for kind in &report.kinds {
            p {
                (words::kind(kind.vm_type)) ", time to ready: " (words::quantiles(kind.time_to_ready)) ". "
                "To ready or to being given up: " (words::quantiles(kind.time_to_end)) ". "
                "p95 against last week: " (words::grown(kind.time_to_ready, kind.time_to_ready_before)) "."
            }
            @if let Some(with) = kind.with_maintenance {
                p { "With the boots of maintenances: " (words::full(with)) "." }
            }
        }
    }
}

fn apart(report: &Report) -> Markup {
    html! {
        @for one in &report.apart {
            p.note { "The total hides this: " (one.segment) " were ready in " (words::full(one.ready))
                ", all together in " (words::value(one.total)) "." }
        }
    }
}

fn hosts(report: &Report) -> Markup {
    html! {
        @if report.hosts.len() > 1 {
            (wide("Browser boots by host", &html! {
                table.hosts {
                    caption { "Browser boots by host" @if report.hosts.len() > words::HOSTS { ", the least reliable first" } }
                    thead { tr {
                        th scope="col" { "Host" } th.n scope="col" { "Ready" } th.n scope="col" { "Share" }
                        th.n scope="col" { "95 % interval" } th.n scope="col" { "p50" } th.n scope="col" { "p95" }
                        th scope="col" { "Why they failed" } th.n scope="col" { "Incidents" } th.n scope="col" { "Seen" }
                    } }
                    tbody {
                        @for host in words::hosts(report) {
                            tr {
                                th scope="row" { (host.host) }
                                td.n { (words::count(host.ready)) }
                                td.n { (words::value(host.ready)) }
                                td.n { (words::interval(host.ready).unwrap_or_default()) }
                                td.n.q { (words::quantile(host.time_to_ready.p50)) }
                                td.n.q { (words::quantile(host.time_to_ready.p95)) }
                                td { (words::classes(host)) }
                                td.n { (words::grouped(host.incidents)) }
                                td.n { (host.seen.map_or_else(|| "–".to_owned(), words::value)) }
                            }
                        }
                    }
                }
            }))
            @if report.hosts.len() > words::HOSTS {
                p { "and " (words::grouped((report.hosts.len() - words::HOSTS) as u64)) " more hosts, which the JSON lists." }
            }
        }
    }
}

fn causes(report: &Report, voice: &Voice) -> Markup {
    html! {
        (table("Failure classes, the most frequent first", &html! {
            thead { tr {
                th scope="col" { "Class" } th scope="col" { "Kind" } th.n scope="col" { "Boots" }
                th.n scope="col" { "Share" } th.n scope="col" { "Last week" } th scope="col" { "Change" }
            } }
            tbody {
                @for cause in &report.causes {
                    tr {
                        th scope="row" {
                            @match &voice.runbook_base {
                                Some(base) => a href={ (base.trim_end_matches('/')) "/causes#" (cause.failure.as_str()) } { (words::plain(cause.failure.as_str())) },
                                None => (words::plain(cause.failure.as_str())),
                            }
                        }
                        td { (cause.vm_type.spoken()) }
                        td.n { (words::count(cause.failed)) }
                        td.n { (words::value(cause.failed)) }
                        td.n { (words::count(cause.before)) }
                        td { (words::change(cause.change).unwrap_or_else(|| "–".to_owned())) }
                    }
                }
            }
        }))
    }
}

fn stages(report: &Report) -> Markup {
    html! {
        @if report.stages.is_empty() { p { "No stage was seen." } }
        @else {
            (table("Completed stages (nearest rank; p95 of at least 20, p99 of at least 100), and boots whose stage did not complete", &html! {
                thead { tr {
                    th scope="col" { "Stage" } th scope="col" { "Kind" } th.n scope="col" { "n" } th.n scope="col" { "p50" }
                    th.n scope="col" { "p95" } th.n scope="col" { "p99" } th.n scope="col" { "p95 last week" }
                    th.n scope="col" { "Change" } th.n scope="col" { "Broken" }
                } }
                tbody {
                    @for stage in &report.stages {
                        tr {
                            th scope="row" { (words::plain(stage.stage.as_str())) }
                            td { (stage.vm_type.spoken()) }
                            td.n { (words::grouped(stage.completed.n)) }
                            td.n { (words::quantile(stage.completed.p50)) }
                            td.n { (words::quantile(stage.completed.p95)) }
                            td.n { (words::quantile(stage.completed.p99)) }
                            td.n { (words::quantile(stage.before.p95)) }
                            td.n { (words::grown(stage.completed, stage.before)) }
                            td.n { (words::grouped(stage.broken)) }
                        }
                    }
                }
            }))
        }
    }
}

fn incidents(report: &Report, voice: &Voice) -> Markup {
    html! {
        section aria-labelledby="incidents" {
            h2 id="incidents" { "Incidents" }
            p { (words::detection(report)) }
            @for incident in &report.incidents { (one_incident(incident, voice)) }
        }
    }
}

fn one_incident(incident: &IncidentFigures, voice: &Voice) -> Markup {
    let after = |seconds: Option<f64>| seconds.map_or_else(|| "–".to_owned(), words::length);
    html! {
        article {
            h3 { (words::incident(incident)) }
            p.below {
                @if incident.page { "paged" } @else { "ticket" } " on " (incident.host) ", " (incident.key)
            }
            dl {
                dt { "First bad boot" } dd { (voice.time(incident.first_bad_at)) }
                dt { "Page taken" } dd {
                    @match incident.delivered_at {
                        Some(at) => { (voice.time(at)) ", " (after(incident.detect_seconds)) " later" },
                        None => "never",
                    }
                }
                dt { "Acknowledged" } dd {
                    @match incident.acknowledged_at {
                        Some(at) => { (voice.time(at)) ", " (after(incident.acknowledge_seconds)) " after the page" },
                        None => "–",
                    }
                }
                dt { "Over" } dd {
                    @match incident.resolved_at {
                        Some(at) => { (voice.time(at)) ", " (after(incident.resolve_seconds)) " after the first bad boot" },
                        None => "still open",
                    }
                }
                dt { "Boots hit" } dd { (words::grouped(incident.boots_hit)) }
                @if let Some(fix) = &incident.fix { dt { "Fix" } dd { (fix) } }
            }
        }
    }
}

fn synthetic(report: &Report) -> Markup {
    let synthetic = &report.synthetic;
    html! {
        section aria-labelledby="synthetic" {
            h2 id="synthetic" { "Synthetic boots" }
            @if synthetic.ready.n == 0 && synthetic.runs.is_empty() { p { "None were made." } }
            @else {
                p { "Ready: " (words::full(synthetic.ready)) "." }
                @if !synthetic.runs.is_empty() {
                    p { "Runs: " (list(synthetic.runs.iter().map(|(word, count)| format!("{} {}", words::plain(word), count)))) "." }
                }
            }
        }
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<String>>().join(", ")
}

fn images(report: &Report, voice: &Voice) -> Markup {
    html! {
        @if !report.images.is_empty() {
            section aria-labelledby="images" {
                h2 id="images" { "Golden images" }
                (table("Failed browser boots by the image they were cloned from", &html! {
                    thead { tr { th scope="col" { "Image" } th scope="col" { "First boot" } th.n scope="col" { "Failed" } th.n scope="col" { "Share" } th.n scope="col" { "95 % interval" } } }
                    tbody {
                        @for image in &report.images {
                            tr {
                                th scope="row" { code { (image.image) } }
                                td { (voice.time(image.first_boot_at)) }
                                td.n { (words::count(image.failed)) }
                                td.n { (words::value(image.failed)) }
                                td.n { (words::interval(image.failed).unwrap_or_default()) }
                            }
                        }
                    }
                }))
            }
        }
    }
}

fn coverage(report: &Report, voice: &Voice) -> Markup {
    let not_fresh = words::not_fresh(report, voice);
    html! {
        section aria-labelledby="coverage" {
            h2 id="coverage" { "What was seen" }
            p { "All sources were fresh for " (words::value(report.coverage.seconds)) " of " (words::the_week(report)) "." }
            @if !not_fresh.is_empty() {
                ul {
                    @for said in not_fresh.iter().take(20) { li { (said) } }
                }
                @if not_fresh.len() > 20 { p { "and " (not_fresh.len() - 20) " more." } }
            }
        }
    }
}

fn exclusions(report: &Report) -> Markup {
    html! {
        section aria-labelledby="exclusions" {
            h2 id="exclusions" { "What does not count" }
            @if report.exclusions.is_empty() { p { (words::no_exclusion(report)) } }
            @else {
                ul {
                    @for one in &report.exclusions {
                        li { (words::exclusion(one)) }
                    }
                }
            }
        }
    }
}

fn method() -> Markup {
    html! {
        footer {
            p {
                "Shares are k of n with 95 % intervals by Wilson (1927). Two weeks are compared where both have at least 20 "
                "boots and were seen for 95 %; they differ where Newcombe's interval (1998, method 10) of the difference "
                "leaves out zero. Quantiles are of nearest rank over all durations. A boot belongs to the week in which it began."
            }
        }
    }
}

//! How things stand now: the sentence, then what it rests on.

use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::super::model::{BootLine, Cell, ImageNow, KindNow};
use super::chart::{self, Bar};
use super::layout::tag;
use super::outcome::{self, ORDER};
use super::text::{self, ago, count, percent, seconds};
use super::{DAYS, Day, HOUR_MS, Month, Page, banner, synthetic};
use crate::core::desk::Standing;
use crate::core::digits::grouped;
use crate::core::event::{Origin, Outcome, Timestamp, VmType};
use crate::core::image::{Finding, Verdict, by_check};
use crate::core::state::{Because, Source, Weight};

/// Below so many boots a percentile is no more than one boot's time.
const LEAST_TIMES: usize = 5;

pub(super) fn body(page: &Page<'_>, day: &Day, month: &Month) -> Markup {
    html! {
        (banner(page))
        div id="now" data-live {
            (incidents(page))
            div.grid {
                section.card.w8 aria-labelledby="h-day" { (last_day(page, day)) }
                section.card.w4 aria-labelledby="h-budget" { (budget(page)) }
            }
            div.grid {
                section.card.w4 aria-labelledby="h-ready" { (time_to_ready(day, month)) }
                section.card.w4 aria-labelledby="h-image" { (image(page)) }
                section.card.w4 aria-labelledby="h-synthetic" { (synthetic::card(page, page.synthetic)) }
            }
            div.grid {
                section.card.w6 aria-labelledby="h-sources" { (sources(page)) }
                section.card.w6 aria-labelledby="h-flying" { (flying(page)) }
            }
            section.card aria-labelledby="h-days" { (days(page, month)) }
        }
    }
}

fn incidents(page: &Page<'_>) -> Markup {
    let open: Vec<&Standing> = page
        .view
        .incidents
        .iter()
        .filter(|standing| standing.incident.is_firing())
        .collect();
    html! {
        @if !open.is_empty() {
            section.card aria-labelledby="h-incidents" {
                h2 id="h-incidents" { "Open incidents" }
                ul.plain.list { @for standing in open { li { (incident(page, standing)) } } }
            }
        }
    }
}

fn incident(page: &Page<'_>, standing: &Standing) -> Markup {
    let incident = &standing.incident;
    let words = page.words(incident);
    html! {
        (super::incidents::severity(incident)) " "
        a.title href={ "/incidents/" (incident.key) } { (super::capital(&words.title)) }
        p.small.soft {
            "fired " (ago(incident.fired_at, page.now))
            @match &standing.acknowledged {
                Some(taken) => { " · taken by " (text::line(&taken.author)) }
                None => { " · nobody has taken it" }
            }
            @if let Some(held) = &standing.held { " · held back: " (super::incidents::held_back(held)) }
        }
        @if let Some(well) = &words.not_affected { p.small { "Not affected: " (well) } }
        // The banner has said that of its own incident.
        @if let Some(step) = &words.first_step && page.verdict.because != Because::Incident(incident.key.clone()) {
            p.small { strong { "Do first: " } (step) }
        }
    }
}

/// How many boots ended so.
fn sum<'a>(cells: impl Iterator<Item = &'a Cell>, outcome: Option<Outcome>) -> u64 {
    cells
        .filter(|cell| cell.outcome == outcome)
        .map(|cell| cell.boots)
        .sum()
}

/// How many boots touched a maintenance.
fn maintained<'a>(cells: impl Iterator<Item = &'a Cell>) -> u64 {
    cells
        .filter(|cell| cell.maintained)
        .map(|cell| cell.boots)
        .sum()
}

fn last_day(page: &Page<'_>, day: &Day) -> Markup {
    let hours: Vec<Timestamp> = (0..24)
        .map(|hour| day.from.plus_ms(hour * HOUR_MS))
        .collect();
    let of_hour = |from: Timestamp, outcome| {
        sum(
            day.cells.iter().filter(move |cell| cell.from == from),
            outcome,
        )
    };
    let name = |from: Timestamp| {
        from.in_zone(page.zone)
            .map_or_else(String::new, |at| at.strftime("%H:%M").to_string())
    };
    let bars: Vec<Bar> = hours
        .iter()
        .map(|from| {
            let told: Vec<String> = ORDER
                .iter()
                .map(|outcome| (of_hour(*from, *outcome), outcome::word(*outcome)))
                .filter(|(boots, _)| *boots > 0)
                .map(|(boots, word)| format!("{} {word}", grouped(boots)))
                .collect();
            let told = if told.is_empty() {
                "no boot".to_owned()
            } else {
                told.join(", ")
            };
            Bar {
                label: format!("{} {told}", name(*from)),
                parts: ORDER
                    .iter()
                    .map(|outcome| (outcome::class(*outcome), of_hour(*from, *outcome)))
                    .collect(),
            }
        })
        .collect();
    let totals: Vec<(Option<Outcome>, u64)> = ORDER
        .iter()
        .map(|outcome| (*outcome, sum(day.cells.iter(), *outcome)))
        .filter(|(_, boots)| *boots > 0)
        .collect();
    let all: u64 = totals.iter().map(|(_, boots)| boots).sum();
    let told: Vec<String> = totals
        .iter()
        .map(|(outcome, boots)| format!("{} {}", grouped(*boots), outcome::word(*outcome)))
        .collect();
    let about = match all {
        0 => "No boot in the last 24 hours.".to_owned(),
        all => format!(
            "Boots of the last 24 hours by hour: {all}, of them {}.",
            told.join(", ")
        ),
    };
    html! {
        h2 id="h-day" { "Boots of the last 24 hours" }
        @if let Some(unread) = &day.unread {
            p.notice.bad { "The store cannot be read: " (unread) ". What stands here is older." }
        }
        (chart::bars(&bars, &about))
        div.axis aria-hidden="true" {
            @for place in [0, 6, 12, 18] { span { (hours.get(place).map(|at| name(*at)).unwrap_or_default()) } }
            span { "now" }
        }
        @if all == 0 { p.soft { "None." } }
        @let maintained = maintained(day.cells.iter());
        @if maintained > 0 { p.small.soft { (count(maintained, "boot")) " of them under maintenance: counted neither for nor against." } }
        ul.legend {
            @for (outcome, boots) in &totals {
                li {
                    (chart::swatch(outcome::class(*outcome)))
                    a href={ "/boots?outcome=" (outcome.map_or("in_progress", Outcome::as_str)) } { (grouped(*boots)) " " (outcome::word(*outcome)) }
                }
            }
        }
        @if all > 0 { (hours_table(&bars)) }
        (by_kind(day))
    }
}

/// The drawing once more, for whoever reads or hears it.
fn hours_table(bars: &[Bar]) -> Markup {
    html! {
        details {
            summary { "By hour, as text" }
            ul.small { @for bar in bars.iter().filter(|bar| bar.parts.iter().any(|(_, boots)| *boots > 0)) { li { (bar.label) } } }
        }
    }
}

fn by_kind(day: &Day) -> Markup {
    let kinds: Vec<(VmType, u64, u64)> = VmType::ALL
        .iter()
        .map(|kind| {
            let cells = || {
                let counting = day.cells.iter().filter(|cell| !cell.maintained);
                counting.filter(|cell| cell.vm_type == *kind)
            };
            (
                *kind,
                sum(cells(), Some(Outcome::Ready)),
                sum(cells(), Some(Outcome::Failed)),
            )
        })
        .filter(|(_, ready, failed)| ready + failed > 0)
        .collect();
    html! {
        @if !kinds.is_empty() {
            p.small {
                @for (place, (kind, ready, failed)) in kinds.iter().enumerate() {
                    @if place > 0 { " · " }
                    (kind.spoken()) ": " strong { (grouped(*ready)) " of " (grouped(ready + failed)) } " ready"
                }
            }
        }
    }
}

fn budget(page: &Page<'_>) -> Markup {
    let kinds: Vec<&KindNow> = page
        .live
        .kinds
        .iter()
        .filter(|kind| kind.budget.of > 0)
        .collect();
    html! {
        h2 id="h-budget" { "Budget left" }
        @if kinds.is_empty() { p.soft { "No boot in the last 30 days." } }
        @for kind in kinds {
            @let left = kind.budget_left().unwrap_or(0.0);
            @let class = if left <= 0.0 { "c-failed" } else if left < 0.25 { "c-in_progress" } else { "c-ready" };
            p.figure { @if left < 0.0 { "used up" } @else { (percent(left)) } " " small { (kind.vm_type.spoken()) } }
            (chart::meter(class, if left < 0.0 { 1.0 } else { left }, &format!("{} of the budget is left", percent(left.max(0.0)))))
            p.small.soft {
                (grouped(u64::from(kind.budget.bad))) " of " (count(u64::from(kind.budget.of), "boot")) " of 30 days failed; "
                (percent(kind.tolerated)) " may."
            }
        }
    }
}

/// A kind, the times to ready of its last day, and of the week before.
type Times<'a> = (VmType, &'a [u32], Option<&'a Vec<u32>>);

fn time_to_ready(day: &Day, month: &Month) -> Markup {
    let rows: Vec<Times<'_>> = day
        .times
        .iter()
        .filter(|(_, times)| !times.is_empty())
        .map(|(kind, times)| (*kind, times.as_slice(), month.usual.get(kind)))
        .collect();
    html! {
        h2 id="h-ready" { "Time to ready" }
        @if rows.is_empty() { p.soft { "No ready boot in the last 24 hours." } }
        @for (kind, times, usual) in rows {
            @let usual = usual.filter(|usual| usual.len() >= LEAST_TIMES);
            p.figure { (quantile(times, 50).map(seconds).unwrap_or_default()) " " small { "median, " (kind.spoken()) } }
            p.small {
                @if times.len() >= LEAST_TIMES { "95 % within " strong { (quantile(times, 95).map(seconds).unwrap_or_default()) } " · " }
                (count(times.len() as u64, "boot"))
            }
            p.small.soft {
                @match usual {
                    Some(usual) => {
                        "the week before: " (quantile(usual, 50).map(seconds).unwrap_or_default())
                        ", 95 % within " (quantile(usual, 95).map(seconds).unwrap_or_default())
                    }
                    None if month.is_unread => { "the week before cannot be read at present" }
                    None => { "too few boots in the week before to compare with" }
                }
            }
        }
    }
}

/// Nearest rank, from the times themselves.
fn quantile(times: &[u32], percent: usize) -> Option<u32> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn image(page: &Page<'_>) -> Markup {
    html! {
        h2 id="h-image" { "Golden image" }
        @match &page.live.image {
            None => p.soft { "No image is audited. " code { "image.path" } " in the configuration names one." },
            Some(image) => (audited(page, image)),
        }
    }
}

pub(super) fn verdict_tag(verdict: Verdict) -> Markup {
    let family = match verdict {
        Verdict::Pass => "ok",
        Verdict::Warn => "degraded",
        Verdict::Unknown => "unknown",
        Verdict::Fail => "down",
    };
    tag(family, verdict.as_str())
}

/// How many checks passed: one may say several things, and "findings" are elsewhere what does not fit together.
fn checked(findings: &[Finding]) -> String {
    let checks = by_check(findings);
    let passed = checks
        .iter()
        .filter(|(_, worst)| *worst == Verdict::Pass)
        .count();
    match checks.len() {
        all if all == passed => format!("{} passed", count(all as u64, "check")),
        all => format!("{passed} of {} passed", count(all as u64, "check")),
    }
}

fn audited(page: &Page<'_>, image: &ImageNow) -> Markup {
    let worst = image
        .findings
        .iter()
        .filter(|one| one.verdict == Verdict::Fail);
    html! {
        p { (verdict_tag(image.verdict)) " " span.small.soft { "audited " (ago(image.audited_at, page.now)) } }
        @if let Some(generation) = &image.generation {
            p.small { "built " (page.moment(generation.modified_at)) " (" (ago(generation.modified_at, page.now)) ")" }
        }
        ul.small { @for finding in worst.take(3) { li { strong { (finding.check.as_str()) } ": " (finding.reason) } } }
        p.small { a href="/system#image" { (checked(&image.findings)) } }
    }
}

fn sources(page: &Page<'_>) -> Markup {
    html! {
        h2 id="h-sources" { "Sources" }
        table {
            thead { tr { th scope="col" { "source" } th scope="col" { "seen" } th scope="col" { "newest in it" } } }
            tbody { @for source in &page.live.sources { (source_row(page, source)) } }
        }
        @if page.live.sources.is_empty() { p.soft { "Nothing was looked at yet." } }
        @if let Some(since) = page.live.store_failing {
            p { (tag("down", "store")) " cannot be written since " (page.moment(since)) }
        }
    }
}

/// Whether a source is seen; without one that only adds, no more is lost than what it adds.
pub(super) fn seen(page: &Page<'_>, source: &Source) -> Markup {
    match (source.is_stale(page.now), source.weight) {
        (false, _) => tag("ok", "seen"),
        (true, Weight::Decides) => tag("down", "not seen"),
        (true, Weight::Adds) => tag("unknown", "not seen"),
    }
}

fn source_row(page: &Page<'_>, source: &Source) -> Markup {
    html! {
        tr {
            th.nowrap scope="row" { (source.name) }
            td { (seen(page, source)) " " (source.seen_at.map_or_else(|| "never".to_owned(), |at| ago(at, page.now))) }
            td { (source.newest_at.map_or_else(|| "nothing".to_owned(), |at| ago(at, page.now))) }
        }
    }
}

fn flying(page: &Page<'_>) -> Markup {
    let overdue: usize = page.live.kinds.iter().map(|kind| kind.overdue).sum();
    // Users' alone, with those that only rows tell of; the list has the log's, and ours among them.
    let all: usize = page.live.kinds.iter().map(|kind| kind.in_flight).sum();
    let shown = page.live.flying.get(..6).unwrap_or(&page.live.flying);
    let is_users = |boot: &&BootLine| boot.origin == Origin::User;
    let more = all.saturating_sub(shown.iter().filter(is_users).count());
    html! {
        h2 id="h-flying" { "In flight" }
        @if all == 0 && shown.is_empty() { p.soft { "No boot is in flight." } }
        @if overdue > 0 {
            p { (tag("down", &format!("{} overdue", grouped(overdue as u64)))) span.small.soft { " waiting longer than healthy boots do" } }
        }
        @if !shown.is_empty() {
            table {
                thead { tr { th scope="col" { "boot" } th scope="col" { "kind" } th.num scope="col" { "for" } } }
                tbody {
                    @for boot in shown {
                        tr {
                            th scope="row" { (outcome::name(boot)) }
                            td { (boot.vm_type.spoken()) }
                            td.num { (text::length(page.now.since(boot.started_at))) }
                        }
                    }
                }
            }
        }
        @match (more as u64, shown.is_empty()) {
            (0, _) => {}
            (more, false) => p.small.soft { "and " (grouped(more)) " more" },
            (more, true) => p.soft { (count(more, "boot")) ", of which only the database tells." },
        }
    }
}

/// The parts of a day's bar from the ground up: the class that colours each, and its word.
const DAY_PARTS: [(&str, &str); 4] = [
    ("c-ready", "ready"),
    (chart::FAILED, "failed"),
    ("c-lost", "lost"),
    ("c-maintained", "under maintenance"),
];

/// A day's name and how its boots ended.
struct DayBar {
    name: String,
    ready: u64,
    failed: u64,
    lost: u64,
    maintained: u64,
}

impl DayBar {
    /// Whether anything is known of it.
    fn is_known(&self) -> bool {
        self.ready + self.failed + self.lost + self.maintained > 0
    }
}

/// The last days of the zone, each as long as it is: a day of 25 hours has its 25.
fn days_of(now: Timestamp, zone: &TimeZone, cells: &[Cell]) -> Vec<DayBar> {
    let Some(today) = now.in_zone(zone) else {
        return Vec::new();
    };
    let mut days = Vec::new();
    for back in (0..DAYS).rev() {
        let date = today.date().saturating_sub(jiff::Span::new().days(back));
        let bounds = (
            date.to_zoned_datetime(zone.clone()),
            date.saturating_add(jiff::Span::new().days(1))
                .to_zoned_datetime(zone.clone()),
        );
        let (Ok(from), Ok(to)) = bounds else { continue };
        let span = from.timestamp().as_millisecond()..to.timestamp().as_millisecond();
        let cells = || cells.iter().filter(|cell| span.contains(&cell.from.0));
        let counting = || cells().filter(|cell| !cell.maintained);
        days.push(DayBar {
            name: from.strftime("%b %-d").to_string(),
            ready: sum(counting(), Some(Outcome::Ready)),
            failed: sum(counting(), Some(Outcome::Failed)),
            lost: sum(counting(), Some(Outcome::Lost)),
            maintained: maintained(cells()),
        });
    }
    days
}

pub(super) fn days(page: &Page<'_>, month: &Month) -> Markup {
    let days = days_of(page.now, page.zone, &month.cells);
    let bars: Vec<Bar> = days
        .iter()
        .map(|day| Bar {
            label: match (day.is_known(), day.maintained) {
                (false, _) if month.is_unread => format!("{}: nothing is known", day.name),
                (false, _) => format!("{}: no boot, so nothing is known", day.name),
                (true, maintained) => {
                    let told = [day.ready, day.failed, day.lost].map(grouped);
                    let [ready, failed, lost] = told;
                    let also = match maintained {
                        0 => String::new(),
                        boots => format!("; {} under maintenance", grouped(boots)),
                    };
                    format!(
                        "{}: {ready} ready, {failed} failed, {lost} lost{also}",
                        day.name
                    )
                }
            },
            parts: DAY_PARTS
                .iter()
                .map(|(class, _)| *class)
                .zip([day.ready, day.failed, day.lost, day.maintained])
                .collect(),
        })
        .collect();
    let silent = days.iter().filter(|day| !day.is_known()).count();
    let failed: u64 = days.iter().map(|day| day.failed).sum();
    let all: u64 = days.iter().map(|day| day.ready + day.failed).sum();
    let about = match days.len() - silent {
        0 => "No boot in 30 days, so nothing is known.".to_owned(),
        _ => {
            let unknown = match silent {
                0 => String::new(),
                silent => format!("; on {} nothing is known", count(silent as u64, "day")),
            };
            let (failed, all) = (grouped(failed), grouped(all));
            format!("Boots by day: {failed} of {all} failed in 30 days{unknown}.")
        }
    };
    let parts = || bars.iter().flat_map(|bar| &bar.parts);
    let totals: Vec<(&str, &str, u64)> = DAY_PARTS
        .iter()
        .map(|(class, word)| {
            let of_class = parts().filter(|(part, _)| part == class);
            (*class, *word, of_class.map(|(_, boots)| boots).sum())
        })
        .filter(|(_, _, boots)| *boots > 0)
        .collect();
    html! {
        h2 id="h-days" { "30 days" }
        @if month.is_unread {
            p.notice.bad { "These days cannot be read at present. What stands here is older." }
        }
        (chart::bars(&bars, &about))
        div.axis aria-hidden="true" {
            @for place in [0, 10, 20] { span { (days.get(place).map_or("", |day| day.name.as_str())) } }
            span { "today" }
        }
        ul.legend { @for (class, word, boots) in totals { li { (chart::swatch(class)) (grouped(boots)) " " (word) } } }
        p.small.soft { (about) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_25_hours_has_them_all_and_maintained_boots_stand_apart() {
        let at = |text: &str| Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        let cell = |from: &str, outcome, maintained| Cell {
            from: at(from),
            vm_type: VmType::Browser,
            outcome: Some(outcome),
            failure: None,
            maintained,
            boots: 1,
        };
        // 26 October lasts from 22:00 of the day before to 23:00.
        let cells = [
            cell("2025-10-25T21:45:00Z", Outcome::Ready, false),
            cell("2025-10-25T22:00:00Z", Outcome::Failed, false),
            cell("2025-10-26T22:45:00Z", Outcome::Ready, false),
            cell("2025-10-26T22:45:00Z", Outcome::Failed, true),
            cell("2025-10-26T23:00:00Z", Outcome::Lost, false),
        ];
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let days = days_of(at("2025-10-27T12:00:00Z"), &zone, &cells);
        assert_eq!(days.len(), 30);
        let told: Vec<(&str, [u64; 4])> = days[26..]
            .iter()
            .map(|day| {
                let counts = [day.ready, day.failed, day.lost, day.maintained];
                (day.name.as_str(), counts)
            })
            .collect();
        let expected = [
            ("Oct 24", [0, 0, 0, 0]),
            ("Oct 25", [1, 0, 0, 0]),
            ("Oct 26", [1, 1, 0, 1]),
            ("Oct 27", [0, 0, 1, 0]),
        ];
        assert_eq!(told, expected);
        assert!(!days[26].is_known() && days[27].is_known());
    }
}

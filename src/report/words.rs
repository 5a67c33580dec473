//! Figures and findings in words, the same in every form of the report.

use jiff::tz::TimeZone;

pub(super) use crate::core::digits::{grouped, tenths};
use crate::core::event::{Timestamp, VmType};
use crate::core::report::advice::Advice;
use crate::core::report::incident::IncidentFigures;
use crate::core::report::sample::{Quantile, Quantiles};
use crate::core::report::share::{Change, Share};
use crate::core::report::{ExclusionFigures, HostFigures, Rate, Report, growth};

/// How times and links are written.
#[derive(Clone, Debug)]
pub struct Voice {
    /// Whose report it is, where it is of one host.
    pub host: String,
    pub zone: TimeZone,
    /// Where runbooks are; nothing is linked without.
    pub runbook_base: Option<String>,
}

impl Voice {
    /// `Sat 18 Oct 01:52`.
    pub(super) fn time(&self, at: Timestamp) -> String {
        match at.in_zone(&self.zone) {
            Some(at) => at.strftime("%a %-d %b %H:%M").to_string(),
            None => "?".to_owned(),
        }
    }
}

/// `87.8 %`.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    // 99.96 must not be written as all of it.
    let shown = match percent {
        p if p > 99.9 && p < 100.0 => 99.9,
        p if p > 0.0 && p < 0.1 => 0.1,
        p => p,
    };
    format!("{shown:.1} %")
}

/// `87.8 %`, or that there is nothing.
pub(super) fn value(share: Share) -> String {
    share.value().map_or_else(|| "no boots".to_owned(), percent)
}

/// `216 of 246`.
pub(super) fn count(share: Share) -> String {
    format!("{} of {}", grouped(share.k), grouped(share.n))
}

/// `83.1 to 91.3 %`, the 95 % interval.
pub(super) fn interval(share: Share) -> Option<String> {
    let interval = share.interval()?;
    Some(format!(
        "{:.1} to {:.1} %",
        interval.low * 100.0,
        interval.high * 100.0
    ))
}

/// `216 of 246 (87.8 %, 83.1 to 91.3 %)`.
pub(super) fn full(share: Share) -> String {
    match interval(share) {
        Some(interval) => format!("{} ({}, {interval})", count(share), value(share)),
        None => "no boots".to_owned(),
    }
}

/// A length of time, in the unit that suits it.
pub(super) fn length(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1000.0),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 119.5 => format!("{s:.0} s"),
        s if s < 599.5 => in_minutes(s),
        s if s < 7_170.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// A few minutes are told to the second: a deadline of three is not met by two and a half.
fn in_minutes(seconds: f64) -> String {
    let seconds = seconds.round();
    match seconds % 60.0 {
        0.0 => format!("{:.0} min", seconds / 60.0),
        rest => format!("{:.0} min {rest:.0} s", (seconds - rest) / 60.0),
    }
}

pub(super) fn milliseconds(ms: u32) -> String {
    length(f64::from(ms) / 1000.0)
}

pub(super) fn quantile(quantile: Quantile) -> String {
    match quantile {
        Quantile::Ms(ms) => milliseconds(ms),
        Quantile::TooFew => "n too small".to_owned(),
        Quantile::Above(ms) => format!("over {}", milliseconds(ms)),
    }
}

/// `p50 35 s, p95 44 s, p99 n too small (n = 90)`.
pub(super) fn quantiles(quantiles: Quantiles) -> String {
    format!(
        "p50 {}, p95 {}, p99 {} (n = {})",
        quantile(quantiles.p50),
        quantile(quantiles.p95),
        quantile(quantiles.p99),
        grouped(quantiles.n)
    )
}

/// `2.1 points less than last week`; silent where nothing is compared.
pub(super) fn change(change: Option<Change>) -> Option<String> {
    let change = change?;
    let points = change.points * 100.0;
    let direction = if points < 0.0 { "less" } else { "more" };
    Some(match change.differs {
        true => format!(
            "{:.1} points {direction} than last week's {} (95 % interval {:+.1} to {:+.1})",
            points.abs(),
            value(change.before),
            change.interval.low * 100.0,
            change.interval.high * 100.0
        ),
        false => format!(
            "no more than chance away from last week's {}",
            value(change.before)
        ),
    })
}

/// The growth of a p95, where both weeks have one.
pub(super) fn grown(now: Quantiles, before: Quantiles) -> String {
    match growth(now.p95, before.p95) {
        // Nothing is never less than nothing.
        Some(growth) => format!("{:+.0} %", (growth * 100.0).round() + 0.0),
        None => "–".to_owned(),
    }
}

pub(super) fn kind(vm_type: VmType) -> String {
    format!("{} VMs", vm_type.spoken())
}

/// `1 browser VM: had not ended yet`.
pub(super) fn exclusion(one: &ExclusionFigures) -> String {
    let many = if one.boots == 1 { "" } else { "s" };
    format!(
        "{} {} VM{many}: {}",
        grouped(one.boots),
        one.vm_type.spoken(),
        one.reason.meaning()
    )
}

/// What is said where no class of failure is listed.
pub(super) fn no_failure(report: &Report) -> &'static str {
    match report.kinds.is_empty() {
        true => "No boot was seen.",
        false => "No boot that counts failed.",
    }
}

/// What is said where nothing is left out.
pub(super) fn no_exclusion(report: &Report) -> &'static str {
    match report.kinds.is_empty() {
        true => "No boot was seen.",
        false => "Every boot counts.",
    }
}

/// A word of a vocabulary as people write it.
pub(super) fn plain(word: &str) -> String {
    word.replace('_', " ")
}

/// Hosts that are told of by themselves: mails are clipped.
pub(super) const HOSTS: usize = 50;

/// By name; of a large fleet the least reliable ones.
pub(super) fn hosts(report: &Report) -> Vec<&HostFigures> {
    let mut hosts: Vec<&HostFigures> = report.hosts.iter().collect();
    if hosts.len() > HOSTS {
        let share = |host: &HostFigures| host.ready.value().unwrap_or(1.0);
        hosts.sort_by(|a, b| {
            let by_share = share(a).total_cmp(&share(b));
            by_share.then_with(|| a.host.cmp(&b.host))
        });
        hosts.truncate(HOSTS);
    }
    hosts
}

/// How many of those that paged were told late, or to nobody.
pub(super) fn late_pages(pages: u64, late: u64, untold: u64) -> String {
    const LATE: &str = "more than 10 min after the first bad boot";
    let were = |count: u64| if count == 1 { "was" } else { "were" };
    match (pages, late, untold) {
        (1, _, 0) => format!("The one incident that paged was told {LATE}."),
        (1, ..) => "The one incident that paged was told to nobody.".to_owned(),
        (_, _, 0) => format!(
            "Of {pages} incidents that paged, {late} {} told {LATE}.",
            were(late)
        ),
        (_, 0, _) => format!(
            "Of {pages} incidents that paged, {untold} {} told to nobody.",
            were(untold)
        ),
        _ => format!(
            "Of {pages} incidents that paged, {late} {} told {LATE}, and {untold} to nobody.",
            were(late)
        ),
    }
}

/// `agent refused 12, guest died 1`: the most frequent three.
pub(super) fn classes(host: &HostFigures) -> String {
    let mut classes: Vec<(u64, &str)> = host
        .causes
        .iter()
        .map(|(failure, boots)| (*boots, failure.as_str()))
        .collect();
    classes.sort_by(|a, b| (b.0, a.1).cmp(&(a.0, b.1)));
    let told = classes.iter().take(3);
    let told: Vec<String> = told
        .map(|(boots, failure)| format!("{} {}", plain(failure), grouped(*boots)))
        .collect();
    match told.is_empty() {
        true => "–".to_owned(),
        false => told.join(", "),
    }
}

/// The week in a sentence or two.
pub(super) fn headline(report: &Report) -> String {
    let mut text = match report.kind(VmType::Browser) {
        Some(browsers) if browsers.rate.ready.n == 0 => {
            "No browser boot that counts was seen.".to_owned()
        }
        Some(browsers) => format!(
            "{} became ready{}.",
            boots(browsers.rate.ready),
            objective(report)
        ),
        None if report.kinds.is_empty() => "No boot was seen.".to_owned(),
        None => "No browser VM was asked for.".to_owned(),
    };
    if let Some(browsers) = report.kind(VmType::Browser)
        && let Some(change) = change(browsers.rate.change)
    {
        text.push_str(&format!(" That is {change}."));
    }
    if report.so_far.is_some() {
        text.push_str(" The week is not over: this is what was so far.");
    }
    if report.coverage.partial {
        text.push_str(&format!(
            " The report is partial: all sources were fresh for {} of {}.",
            report
                .coverage
                .seconds
                .value()
                .map_or_else(|| "nothing".to_owned(), percent),
            the_week(report)
        ));
    }
    text
}

/// What of it could be seen by now.
pub(super) fn the_week(report: &Report) -> &'static str {
    match report.so_far {
        Some(_) => "what has gone of the week",
        None => "the week",
    }
}

fn boots(ready: Share) -> String {
    format!(
        "{} browser boots ({}; {})",
        count(ready),
        value(ready),
        interval(ready).unwrap_or_default()
    )
}

fn objective(report: &Report) -> String {
    let objective = report.budget.objective;
    let ready = report.kind(VmType::Browser).map(|kind| kind.rate.ready);
    match ready.and_then(Share::value) {
        Some(share) => {
            let side = if share >= objective { "above" } else { "below" };
            let of = percent(objective);
            if percent(share) == of {
                // Rounded alike, and not the same: on which side it lies must be seen.
                let finer = |digits: usize| {
                    (
                        format!("{:.digits$}", share * 100.0),
                        format!("{:.digits$}", objective * 100.0),
                    )
                };
                let told = (2..=4)
                    .map(finer)
                    .find(|(share, objective)| share != objective);
                match told {
                    Some((share, _)) => format!(", just {side} the objective of {of} ({share} %)"),
                    None => format!(", which is the objective of {of}"),
                }
            } else {
                format!(", {side} the objective of {of}")
            }
        }
        None => String::new(),
    }
}

/// The budget in a sentence.
pub(super) fn budget(report: &Report) -> String {
    let budget = report.budget;
    if budget.judged == 0 {
        return "No boot counted in the 30 days that end with the week: the budget is untouched and untested."
            .to_owned();
    }
    let used = format!(
        "In the 30 days that end with the week {} browser boots failed; the objective of {} allows {}.",
        count(Share::new(budget.failed, budget.judged)),
        percent(budget.objective),
        tenths(budget.allowed)
    );
    let left = match budget.left {
        left if left <= 0.0 => format!(" The budget is overspent by {} boots.", tenths(-left)),
        left => format!(
            " {} are left, {} of the budget.",
            tenths(left),
            budget.left_share.map_or_else(|| "all".to_owned(), percent)
        ),
    };
    let pace = budget.weeks_left.map_or_else(String::new, |weeks| {
        format!(
            " At this week's pace they last {}.",
            length(weeks * 7.0 * 86_400.0)
        )
    });
    used + &left + &pace
}

/// For how long all sources were fresh.
pub(super) fn fresh(report: &Report) -> String {
    let seconds = report.coverage.seconds;
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds of a week are far below 2^53"
    )]
    let told = length(seconds.k as f64);
    match seconds.k {
        0 => "nothing".to_owned(),
        _ => format!("{told} ({})", value(seconds)),
    }
}

/// Whether bootwatch watched all the week: what it read as history, or never, paged nobody whatever it held.
pub(super) fn is_watched(report: &Report) -> bool {
    report.coverage.watched.rest().k == 0
}

/// For how long it did not.
fn unwatched(report: &Report) -> Option<String> {
    let seconds = report.coverage.watched.rest().k;
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds of a week are far below 2^53"
    )]
    let told = length(seconds as f64);
    (seconds > 0).then(|| {
        format!(
            "For {told} of the week bootwatch was not watching: whether somebody had to be paged then is not known."
        )
    })
}

/// What the figure of pages is about, in short.
pub(super) fn watch(report: &Report) -> String {
    let watched = report.coverage.watched;
    match report.detection.detect_seconds_p50 {
        Some(seconds) => format!("median to the page {}", length(seconds)),
        None if watched.k == 0 => "bootwatch was not watching".to_owned(),
        None if report.detection.pages > 0 => "no page was delivered".to_owned(),
        None if is_watched(report) => "nobody had to be paged".to_owned(),
        None => format!("{} of the week was watched", value(watched)),
    }
}

/// How many paged; nothing where nobody would have been.
pub(super) fn pages(report: &Report) -> String {
    match (report.detection.pages, report.coverage.watched.k) {
        (0, 0) => "–".to_owned(),
        (pages, _) => pages.to_string(),
    }
}

/// What was not seen and when a controller wrote nothing, a line each.
pub(super) fn not_fresh(report: &Report, voice: &Voice) -> Vec<String> {
    let span = |from, to| format!("from {} to {}", voice.time(from), voice.time(to));
    let gaps = report.coverage.gaps.iter();
    let gaps = gaps.map(|gap| (gap.from, format!("not seen {}", span(gap.from, gap.to))));
    let silences = report.coverage.silences.iter().map(|one| {
        let whose = one.host.as_ref();
        let whose = whose.map_or_else(String::new, |host| format!("{host}: "));
        let said = format!(
            "{whose}the controller wrote nothing {}",
            span(one.from, one.to)
        );
        (one.from, said)
    });
    let mut all: Vec<(Timestamp, String)> = gaps.chain(silences).collect();
    all.sort();
    all.into_iter().map(|(_, said)| said).collect()
}

/// How good the watch was, in a sentence.
pub(super) fn detection(report: &Report) -> String {
    let detection = report.detection;
    let blind = unwatched(report);
    let blind = |before: &str| blind.map_or_else(String::new, |blind| format!("{before}{blind}"));
    match detection.pages {
        0 if report.coverage.watched.k == 0 => {
            "bootwatch was not watching in this week: whether somebody had to be paged is not known."
                .to_owned()
        }
        0 if is_watched(report) => "Nobody had to be paged.".to_owned(),
        0 => format!("Nobody was paged.{}", blind(" ")),
        pages => {
            let median =
                |seconds: Option<f64>| seconds.map_or_else(|| "unknown".to_owned(), length);
            format!(
                "{} of {pages} incidents that paged reached somebody. From the first bad boot to the page: median {}; to \
                 the end: median {}.{}",
                detection.delivered,
                median(detection.detect_seconds_p50),
                median(detection.resolve_seconds_p50),
                blind(" ")
            )
        }
    }
}

/// One thing to do, as an imperative and its reason.
pub(super) fn advice(advice: &Advice) -> (String, String) {
    match advice {
        Advice::EndIncident { key, cause } => (
            format!("End the incident {key}."),
            format!("It still goes on: {}.", plain(cause)),
        ),
        Advice::SpareBudget {
            left,
            allowed,
            weeks_left,
        } => {
            let why = match weeks_left {
                Some(weeks) if *left > 0.0 => format!(
                    "{} of {} failed boots are left; at this week's pace they last {}.",
                    tenths(*left),
                    tenths(*allowed),
                    length(weeks * 7.0 * 86_400.0)
                ),
                _ => format!(
                    "The 30 days' budget of {} failed boots is overspent by {}.",
                    tenths(*allowed),
                    tenths(-left)
                ),
            };
            (
                "Spare the budget: hold back image and controller changes that can wait."
                    .to_owned(),
                why,
            )
        }
        Advice::LookAtImage {
            image,
            failed,
            others,
        } => (
            format!("Look at the golden image {image}."),
            format!(
                "{} of its boots failed, of the others' {}.",
                full(*failed),
                full(*others)
            ),
        ),
        Advice::RemoveCause {
            vm_type,
            failure,
            failed,
            of_failures,
            change: since,
        } => {
            let since = change(*since).map_or_else(String::new, |change| format!("; {change}"));
            (
                format!(
                    "Remove the cause of {} ({}).",
                    plain(failure.as_str()),
                    kind(*vm_type)
                ),
                format!(
                    "{} failed boots ended so, {} of all that count{since}.",
                    count(*of_failures),
                    value(*failed)
                ),
            )
        }
        Advice::SpeedUp {
            vm_type,
            stage,
            p95_ms,
            before_ms,
        } => (
            format!(
                "Find out why {} became slower ({}).",
                plain(stage.as_str()),
                kind(*vm_type)
            ),
            format!(
                "Its p95 went from {} to {}.",
                milliseconds(*before_ms),
                milliseconds(*p95_ms)
            ),
        ),
        Advice::SpeedUpDetection {
            late,
            untold,
            pages,
        } => (
            "Make pages arrive sooner: look at the channels, thresholds and synthetic boots."
                .to_owned(),
            late_pages(*pages, *late, *untold),
        ),
        Advice::CloseGaps { seen, gaps } => (
            "Close the gaps in what is watched.".to_owned(),
            format!(
                "All sources were fresh for {} of the time; what was not seen is listed below ({}).",
                value(*seen),
                self::gaps(*gaps)
            ),
        ),
        Advice::EndSilences { silences, seconds } => (
            "Find out why the controller wrote nothing to its log.".to_owned(),
            format!(
                "{} of {} in all; one that runs writes at least every five minutes.",
                match silences {
                    1 => "1 silence".to_owned(),
                    number => format!("{} silences", grouped(*number)),
                },
                length(*seconds)
            ),
        ),
        Advice::RunSynthetics { user_boots } => (
            "Let bootwatch make boots of its own.".to_owned(),
            format!(
                "Users made {user_boots} boots that count, less than one an hour: an outage can pass unnoticed for long."
            ),
        ),
    }
}

/// `1 gap`.
pub(super) fn gaps(number: u64) -> String {
    match number {
        1 => "1 gap".to_owned(),
        number => format!("{} gaps", grouped(number)),
    }
}

/// How a rate moved, for a table: empty where nothing is compared.
pub(super) fn moved(rate: &Rate) -> String {
    change(rate.change).unwrap_or_else(|| "–".to_owned())
}

/// What an incident was about.
pub(super) fn incident(incident: &IncidentFigures) -> String {
    let subject = match VmType::from_word(&incident.subject) {
        Some(vm_type) => kind(vm_type),
        None => plain(&incident.subject),
    };
    match &incident.diagnosis {
        Some(diagnosis) => format!("{subject}: {diagnosis}"),
        None => format!("{subject}: {}", plain(&incident.cause)),
    }
}

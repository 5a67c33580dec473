//! The week's arithmetic: boots, incidents and sight of one ISO week into the figures of the reliability report.
//!
//! What is promised:
//!
//! - Everything is k of n with its interval, per kind of VM first and in total last; a ratio of sums, never a mean of ratios.
//! - A boot belongs to the week in which it began. `lost`, cancelled, maintained, unfinished and synthetic boots count
//!   neither for nor against, and each exclusion is counted and listed. A CLI rate is judged only where a CLI boot was ready.
//! - Quantiles are of all durations, with floors ([`sample`]); beside the time to ready stands the time to ready or to
//!   being given up, so that an outage does not make boots look quicker.
//! - Two weeks are compared only where both were seen ([`coverage`]) and both have enough boots ([`share`]).
//! - The same facts give the same report, in whatever order they come: nothing here reads a clock.
//!
//! The shell brings the facts ([`BootFact`], [`IncidentFact`], stretches of sight) and renders what comes out.

pub mod advice;
pub mod coverage;
pub mod figures;
pub mod incident;
pub mod sample;
pub mod schedule;
pub mod share;
pub mod week;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use crate::core::event::{Failure, Stage, Timestamp, VmType};
use advice::Advice;
use coverage::Coverage;
use figures::{Figures, HostTally, Kind};
use incident::{IncidentFact, IncidentFigures};
use sample::{Quantile, Quantiles};
use share::{COMPARED, Change, Share};
use week::Week;

pub use figures::{BootFact, Exclusion};

/// A segment that differs from the whole by more points than this is pointed out: a mixture hides it.
const APART: f64 = 0.2;
/// Upper edges of the distribution of times to ready, in milliseconds; beyond the last is one more.
pub const EDGES: [u32; 13] = [
    5_000, 10_000, 15_000, 20_000, 25_000, 30_000, 45_000, 60_000, 90_000, 120_000, 180_000,
    240_000, 300_000,
];

/// What the report judges by.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The share of boots that shall succeed.
    pub objective: f64,
}

/// What is known of the 30 days that end with the week: the budget's period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Month {
    pub failed: u64,
    pub judged: u64,
}

/// Everything that a report is made of.
#[derive(Clone, Debug)]
pub struct Facts {
    pub week: Week,
    /// Until when the week has gone, where it is not over: what is still to come was neither seen nor missed.
    pub so_far: Option<Timestamp>,
    pub zone: TimeZone,
    pub zone_name: String,
    pub terms: Terms,
    pub this: Figures,
    pub before: Figures,
    /// In which stretches of this week, and of the one before, all that the sources held was read.
    pub seen: Sight,
    pub seen_before: Sight,
    /// Those of this week that were no history to who read them: somebody would have been paged.
    pub watched: Vec<Range<Timestamp>>,
    /// Where a controller wrote nothing for longer than one does that runs, in either week: its log was not fresh then.
    pub silences: Vec<Silence>,
    pub month: Month,
    pub incidents: Vec<IncidentFact>,
    /// What became of synthetic runs, by word; empty where none are made.
    pub synthetic_runs: BTreeMap<String, u64>,
}

/// The stretches of a week in which everything was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// On the only host.
    Own(Vec<Range<Timestamp>>),
    /// On each host of a fleet.
    Fleet(BTreeMap<String, Vec<Range<Timestamp>>>),
}

impl Sight {
    /// Where everybody saw everything.
    fn together(&self) -> Vec<Range<Timestamp>> {
        match self {
            Sight::Own(seen) => seen.clone(),
            Sight::Fleet(hosts) => coverage::together(hosts.values()),
        }
    }

    /// What is left of it where no controller was silent.
    fn fresh(&self, silences: &[Silence]) -> Sight {
        let without = |seen: &Vec<Range<Timestamp>>, host: Option<&str>| {
            let of = silences.iter().filter(|one| one.host.as_deref() == host);
            let holes: Vec<_> = of.map(|one| one.from..one.to).collect();
            coverage::without(seen, &holes)
        };
        match self {
            Sight::Own(seen) => Sight::Own(without(seen, None)),
            Sight::Fleet(hosts) => {
                let fresh = hosts.iter();
                Sight::Fleet(
                    fresh
                        .map(|(host, seen)| (host.clone(), without(seen, Some(host))))
                        .collect(),
                )
            }
        }
    }

    fn of_hosts(self) -> Option<BTreeMap<String, Vec<Range<Timestamp>>>> {
        match self {
            Sight::Own(_) => None,
            Sight::Fleet(hosts) => Some(hosts),
        }
    }
}

/// The report of one week, as figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Whether it is over all hosts of a fleet.
    #[serde(skip)]
    pub of_fleet: bool,
    pub week: Week,
    pub zone: String,
    #[serde(serialize_with = "rfc3339")]
    pub from: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    pub to: Timestamp,
    /// When it was made, where the week was not over.
    #[serde(serialize_with = "rfc3339_or_null")]
    pub so_far: Option<Timestamp>,
    pub coverage: CoverageFigures,
    /// By kind of VM, browsers first.
    pub kinds: Vec<KindFigures>,
    /// All kinds that are judged.
    pub total: Rate,
    /// Segments that the total hides.
    pub apart: Vec<Apart>,
    pub hosts: Vec<HostFigures>,
    pub days: Vec<DayFigures>,
    pub budget: Budget,
    pub causes: Vec<CauseFigures>,
    pub stages: Vec<StageFigures>,
    pub exclusions: Vec<ExclusionFigures>,
    pub incidents: Vec<IncidentFigures>,
    pub detection: incident::Detection,
    pub synthetic: Synthetic,
    pub images: Vec<ImageFigures>,
    pub advice: Vec<Advice>,
}

/// A controller wrote nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// Of a fleet.
    pub host: Option<String>,
    #[serde(serialize_with = "rfc3339")]
    pub from: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    pub to: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CoverageFigures {
    /// In which all sources were fresh.
    #[serde(flatten)]
    pub seconds: Share,
    pub partial: bool,
    /// Seconds in which bootwatch watched: what it read as history is not among them.
    pub watched: Share,
    /// What was not seen.
    pub gaps: Vec<GapFigures>,
    pub silences: Vec<Silence>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GapFigures {
    #[serde(serialize_with = "rfc3339")]
    pub from: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    pub to: Timestamp,
}

/// A rate of success.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// Boots that became ready, of those that are judged.
    pub ready: Share,
    pub interval: Option<share::Interval>,
    pub change: Option<Change>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KindFigures {
    pub vm_type: VmType,
    /// Whether its rate is judged: of CLI VMs only where one was ever ready.
    pub judged: bool,
    #[serde(flatten)]
    pub rate: Rate,
    /// The rate with the boots of maintenances, where there were any.
    pub with_maintenance: Option<Share>,
    pub time_to_ready: Quantiles,
    pub time_to_ready_before: Quantiles,
    /// With the boots that were given up.
    pub time_to_end: Quantiles,
    /// How many became ready within each of [`EDGES`], and beyond the last.
    pub distribution: Vec<u64>,
}

/// A segment that differs much from the whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Apart {
    pub segment: String,
    pub ready: Share,
    pub total: Share,
}

/// One host of a fleet, or the only one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostFigures {
    pub host: String,
    /// Of browser boots.
    pub ready: Share,
    pub interval: Option<share::Interval>,
    pub cli_ready: Share,
    pub time_to_ready: Quantiles,
    /// Failed browser boots by class.
    pub causes: BTreeMap<Failure, u64>,
    pub incidents: u64,
    /// Seconds of the week that were seen of it; `None` where it is the only one.
    pub seen: Option<Share>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DayFigures {
    #[serde(serialize_with = "written")]
    pub date: Date,
    pub kinds: Vec<(VmType, Share)>,
    /// Seconds of the day that were seen.
    pub seen: Share,
}

/// The budget of failures: what the objective allows over the 30 days that end with the week.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Budget {
    pub objective: f64,
    pub failed: u64,
    pub judged: u64,
    /// (1 - objective) x judged boots.
    pub allowed: f64,
    /// Allowed less failed; below zero it is overspent.
    pub left: f64,
    /// What is left, as a share of what is allowed; `None` where nothing was judged.
    pub left_share: Option<f64>,
    /// Weeks until it is used up if every week fails like this one; `None` where this week alone would not use it up in
    /// the period, or nothing is left.
    pub weeks_left: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CauseFigures {
    pub vm_type: VmType,
    pub failure: Failure,
    /// Of the kind's judged boots.
    pub failed: Share,
    pub change: Option<Change>,
    pub before: Share,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageFigures {
    pub vm_type: VmType,
    pub stage: Stage,
    pub completed: Quantiles,
    pub before: Quantiles,
    /// Boots whose stage did not complete.
    pub broken: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ExclusionFigures {
    pub vm_type: VmType,
    pub reason: Exclusion,
    pub boots: u64,
}

/// bootwatch's own boots: a rate of their own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Synthetic {
    pub ready: Share,
    pub interval: Option<share::Interval>,
    pub runs: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImageFigures {
    pub image: String,
    #[serde(serialize_with = "rfc3339")]
    pub first_boot_at: Timestamp,
    pub failed: Share,
    pub interval: Option<share::Interval>,
}

/// The times of JSON.
pub(super) fn rfc3339<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    match at.utc() {
        Some(at) => serializer.collect_str(&at),
        None => serializer.serialize_none(),
    }
}

fn written<S: Serializer>(date: &Date, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(date)
}

pub(super) fn rfc3339_or_null<S: Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => rfc3339(at, serializer),
        None => serializer.serialize_none(),
    }
}

impl Report {
    /// Reckons the week.
    #[must_use]
    pub fn of(facts: Facts) -> Report {
        let range = facts.week.range(&facts.zone);
        let so_far = facts.so_far.filter(|until| *until < range.end);
        let gone = range.start..so_far.map_or(range.end, |until| until.max(range.start));
        let unseen = Coverage::of(&gone, facts.seen.together());
        let watched = Coverage::of(&gone, facts.watched).seconds;
        let fresh = facts.seen.fresh(&facts.silences);
        let coverage = Coverage::of(&gone, fresh.together());
        let fresh_of = fresh.of_hosts();
        let before = facts.week.previous().range(&facts.zone);
        let fresh_before = facts.seen_before.fresh(&facts.silences).together();
        let comparable = coverage.is_whole() && Coverage::of(&before, fresh_before).is_whole();
        let silences = silent(facts.silences, &range);
        let Figures {
            kinds: mut these,
            hosts,
            images,
            synthetic,
            ..
        } = facts.this;
        let mut those = facts.before.kinds;

        let mut kinds = Vec::new();
        let mut causes = Vec::new();
        let mut stages = Vec::new();
        let mut exclusions = Vec::new();
        let (mut total, mut total_before) = (Share::default(), Share::default());
        for vm_type in [VmType::Browser, VmType::Cli] {
            let mut this = these.remove(&vm_type).unwrap_or_default();
            let mut then = those.remove(&vm_type).unwrap_or_default();
            exclusions.extend(excluded(vm_type, &this));
            if this.is_empty() && then.is_empty() {
                these.insert(vm_type, this);
                continue;
            }
            let judged = vm_type == VmType::Browser || this.share().k > 0;
            if judged {
                total += this.share();
                total_before += then.share();
                causes.extend(caused(vm_type, &this, &then, comparable));
            }
            stages.extend(staged(vm_type, &mut this, &mut then));
            kinds.push(kind(vm_type, judged, &mut this, &mut then, comparable));
            these.insert(vm_type, this);
        }
        causes.sort_by(|a: &CauseFigures, b| {
            (b.failed.k, a.vm_type, a.failure).cmp(&(a.failed.k, b.vm_type, b.failure))
        });
        let total = rate(total, total_before, comparable);
        let incidents: Vec<IncidentFigures> = incident::figures(facts.incidents);
        let of_fleet = fresh_of.is_some();
        let hosts = hosted(hosts, &incidents, fresh_of, &gone);
        let mut report = Report {
            of_fleet,
            week: facts.week,
            zone: facts.zone_name,
            from: range.start,
            to: range.end,
            so_far,
            coverage: CoverageFigures {
                seconds: coverage.seconds,
                partial: !coverage.is_whole(),
                watched,
                silences,
                gaps: unseen
                    .gaps
                    .iter()
                    .map(|gap| GapFigures {
                        from: gap.from,
                        to: gap.to,
                    })
                    .collect(),
            },
            apart: apart(&kinds, &hosts, total.ready),
            days: days(facts.week, &facts.zone, &these, (&coverage, gone.end)),
            budget: budget(&facts.terms, facts.month, &kinds),
            kinds,
            total,
            hosts,
            causes,
            stages,
            exclusions,
            detection: incident::Detection::of(&incidents),
            incidents,
            synthetic: Synthetic {
                ready: synthetic,
                interval: synthetic.interval(),
                runs: facts.synthetic_runs,
            },
            images: images
                .into_iter()
                .map(|(image, seen)| ImageFigures {
                    image,
                    first_boot_at: seen.first,
                    failed: seen.failed,
                    interval: seen.failed.interval(),
                })
                .collect(),
            advice: Vec::new(),
        };
        report
            .images
            .sort_by(|a, b| (a.first_boot_at, &a.image).cmp(&(b.first_boot_at, &b.image)));
        report.advice = advice::of(&report);
        report
    }

    /// Of one kind.
    #[must_use]
    pub fn kind(&self, vm_type: VmType) -> Option<&KindFigures> {
        self.kinds.iter().find(|kind| kind.vm_type == vm_type)
    }
}

/// What of them lies in the week, in their order.
fn silent(all: Vec<Silence>, week: &Range<Timestamp>) -> Vec<Silence> {
    let mut by_host: BTreeMap<Option<String>, Vec<Range<Timestamp>>> = BTreeMap::new();
    for one in all {
        let within = one.from.max(week.start)..one.to.min(week.end);
        if within.start < within.end {
            by_host.entry(one.host).or_default().push(within);
        }
    }
    // A silence that two runs met, or that a record ended later, may be there twice.
    let of_host = by_host.into_iter().flat_map(|(host, within)| {
        let joined = coverage::joined(&within).into_iter();
        joined.map(move |one| Silence {
            host: host.clone(),
            from: one.start,
            to: one.end,
        })
    });
    let mut silences: Vec<Silence> = of_host.collect();
    silences.sort_by(|a, b| (a.from, &a.host).cmp(&(b.from, &b.host)));
    silences
}

fn rate(ready: Share, before: Share, comparable: bool) -> Rate {
    Rate {
        ready,
        interval: ready.interval(),
        change: comparable.then(|| ready.since(before)).flatten(),
    }
}

fn kind(
    vm_type: VmType,
    judged: bool,
    this: &mut Kind,
    then: &mut Kind,
    comparable: bool,
) -> KindFigures {
    let with_maintenance = (this.maintained.n > 0).then(|| {
        let mut share = this.share();
        share += this.maintained;
        share
    });
    KindFigures {
        vm_type,
        judged,
        rate: rate(this.share(), then.share(), comparable && judged),
        with_maintenance,
        time_to_end: sample::censored(&mut this.ready_ms, &mut this.given_up_ms),
        distribution: this.ready_ms.histogram(&EDGES),
        time_to_ready: this.ready_ms.quantiles(),
        time_to_ready_before: then.ready_ms.quantiles(),
    }
}

/// Every host that had a boot that counts, an incident or a sidecar.
fn hosted(
    mut tallies: BTreeMap<String, HostTally>,
    incidents: &[IncidentFigures],
    seen: Option<BTreeMap<String, Vec<Range<Timestamp>>>>,
    week: &Range<Timestamp>,
) -> Vec<HostFigures> {
    let is_fleet = seen.is_some();
    let mut seen = seen.unwrap_or_default();
    let of_seen = seen.keys().map(String::as_str);
    let of_incidents = incidents.iter().map(|incident| incident.host.as_str());
    for host in of_seen.chain(of_incidents.filter(|_| is_fleet)) {
        if !tallies.contains_key(host) {
            tallies.insert(host.to_owned(), HostTally::default());
        }
    }
    tallies
        .into_iter()
        .map(|(host, mut tally)| HostFigures {
            ready: tally.ready,
            interval: tally.ready.interval(),
            cli_ready: tally.cli,
            time_to_ready: tally.ready_ms.quantiles(),
            causes: tally.failures,
            incidents: incidents.iter().filter(|one| one.host == host).count() as u64,
            seen: is_fleet
                .then(|| Coverage::of(week, seen.remove(&host).unwrap_or_default()).seconds),
            host,
        })
        .collect()
}

fn excluded(vm_type: VmType, kind: &Kind) -> Vec<ExclusionFigures> {
    let all = kind.excluded.iter();
    all.map(|(reason, boots)| ExclusionFigures {
        vm_type,
        reason: *reason,
        boots: *boots,
    })
    .collect()
}

fn caused(vm_type: VmType, this: &Kind, then: &Kind, comparable: bool) -> Vec<CauseFigures> {
    let of = |kind: &Kind, failure: &Failure| {
        let k = kind.failures.get(failure).copied().unwrap_or(0);
        Share::new(k, kind.share().n)
    };
    let mut all: Vec<Failure> = this.failures.keys().copied().collect();
    // What has gone away is worth a line, too, where it can be told.
    if comparable {
        all.extend(
            then.failures
                .keys()
                .filter(|gone| !this.failures.contains_key(gone)),
        );
    }
    all.iter()
        .map(|failure| {
            let (failed, before) = (of(this, failure), of(then, failure));
            CauseFigures {
                vm_type,
                failure: *failure,
                failed,
                change: comparable.then(|| failed.since(before)).flatten(),
                before,
            }
        })
        .collect()
}

fn staged(vm_type: VmType, this: &mut Kind, then: &mut Kind) -> Vec<StageFigures> {
    let samples = this.stages.iter_mut().zip(&mut then.stages);
    Stage::ALL
        .iter()
        .zip(samples)
        .filter_map(|(stage, (completed, before))| {
            let broken = this.broken.get(stage).copied().unwrap_or(0);
            let completed = completed.quantiles();
            let before = before.quantiles();
            (completed.n + broken > 0).then_some(StageFigures {
                vm_type,
                stage: *stage,
                completed,
                before,
                broken,
            })
        })
        .collect()
}

fn days(
    week: Week,
    zone: &TimeZone,
    kinds: &BTreeMap<VmType, Kind>,
    (coverage, until): (&Coverage, Timestamp),
) -> Vec<DayFigures> {
    let days = week.days(zone);
    days.iter()
        .enumerate()
        .map(|(number, (date, range))| DayFigures {
            date: *date,
            kinds: kinds
                .iter()
                .map(|(vm_type, kind)| (*vm_type, kind.days[number]))
                .collect(),
            seen: coverage.within(&(range.start.min(until)..range.end.min(until))),
        })
        .collect()
}

/// Of the browsers: the objective is theirs.
fn budget(terms: &Terms, month: Month, kinds: &[KindFigures]) -> Budget {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of boots stay far below 2^53"
    )]
    let float = |count: u64| count as f64;
    let allowed = (1.0 - terms.objective) * float(month.judged);
    let left = allowed - float(month.failed);
    let browsers = kinds.iter().find(|kind| kind.vm_type == VmType::Browser);
    let failed = browsers.map_or(0, |kind| kind.rate.ready.rest().k);
    Budget {
        objective: terms.objective,
        failed: month.failed,
        judged: month.judged,
        allowed,
        left,
        left_share: (allowed > 0.0).then(|| left / allowed),
        weeks_left: (left > 0.0 && failed > 0)
            .then(|| left / float(failed))
            .filter(|weeks| *weeks < 30.0 / 7.0),
    }
}

fn apart(kinds: &[KindFigures], hosts: &[HostFigures], total: Share) -> Vec<Apart> {
    let Some(whole) = total.value() else {
        return Vec::new();
    };
    let kinds = kinds.iter().filter(|kind| kind.judged);
    let kinds = kinds.map(|kind| (format!("{} VMs", kind.vm_type.spoken()), kind.rate.ready));
    let hosts = hosts.iter().map(|host| (host.host.clone(), host.ready));
    kinds
        .chain(hosts)
        .filter(|(_, ready)| ready.n >= COMPARED)
        .filter(|(_, ready)| {
            ready
                .value()
                .is_some_and(|share| (share - whole).abs() > APART)
        })
        .map(|(segment, ready)| Apart {
            segment,
            ready,
            total,
        })
        .collect()
}

/// By how much a quantile grew, as a share of what it was; `None` where either is of too few.
#[must_use]
pub fn growth(now: Quantile, before: Quantile) -> Option<f64> {
    let (now, before) = (now.ms()?, before.ms()?);
    (before > 0).then(|| f64::from(now) / f64::from(before) - 1.0)
}

//! A week reckoned: from this host's store, or over all hosts from the fleet's database.
//!
//! Both ask the same questions and differ in who answers; what is made of the answers is the core's.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use jiff::tz::TimeZone;

use crate::app::sight::{HISTORY, SILENT};
use crate::clock;
use crate::config::{Config, Secret, Zone};
use crate::core::alert::{Incident, Subject};
use crate::core::diagnosis::Diagnosis;
use crate::core::event::{Origin, Outcome, Timestamp, VmType};
use crate::core::fix::Fix;
use crate::core::report::coverage;
use crate::core::report::figures::Figures;
use crate::core::report::incident::IncidentFact;
use crate::core::report::share::Share;
use crate::core::report::week::Week;
use crate::core::report::{BootFact, Facts, Month, Report, Sight, Silence, Terms};
use crate::core::rule::Severity;
use crate::store::{FleetHistory, History, MessageState, Tally};

const MONTH_MS: i64 = 30 * 86_400_000;
/// So long after a week somebody may still be told of its incidents, or acknowledge one.
const FOLLOWS_MS: i64 = 86_400_000;
/// A fleet's database that has not told the weeks by then has been lost on the way.
const FLEET_PATIENCE: Duration = Duration::from_secs(1_800);

/// The zone of the report's weeks, and what it is called.
#[must_use]
pub fn zone_of(config: &Config) -> (TimeZone, String) {
    let zone = match &config.report.timezone {
        Zone::Named(zone) => zone.clone(),
        Zone::Auto => TimeZone::system(),
    };
    let name = zone.iana_name().unwrap_or("local time").to_owned();
    (zone, name)
}

/// Reckons a week from the store at `path`.
///
/// # Errors
/// The store cannot be read.
pub async fn reckon(config: &Config, path: &Path, week: Week) -> anyhow::Result<Report> {
    let mut history = History::open(path).await.context("open the store")?;
    let mut span = Span::of(config, week);
    let mut hits = Hits::of(incidents(&mut history, &span.range).await?);
    let range = span.range.clone();
    history
        .facts(range.clone(), |boot| {
            hits.boot(boot);
            span.this.add(boot);
        })
        .await
        .context("read the week's boots")?;
    history
        .facts(span.range_before.clone(), |boot| span.before.add(boot))
        .await
        .context("read last week's boots")?;
    let tally = history.tally(span.earlier()).await;
    let tally = tally.context("count the month's boots")?;
    let synthetic_runs = history.synthetic_runs(range.clone()).await;
    let synthetic_runs = synthetic_runs.context("count the week's synthetic runs")?;
    let seen = history.seen().await.context("read what was seen")?;
    let silent = history.stretches(SILENT).await;
    let silent = silent.context("read when the controller was silent")?;
    let unwatched = history.stretches(HISTORY).await;
    let unwatched = unwatched.context("read what was history")?;
    let before = overlapping(&seen, &span.range_before);
    let seen = overlapping(&seen, &range);
    Ok(span.report(Found {
        watched: coverage::without(&seen, &unwatched),
        silences: silences(None, &silent),
        seen: Sight::Own(seen),
        seen_before: Sight::Own(before),
        month: tally,
        incidents: hits.incidents,
        synthetic_runs,
    }))
}

/// Reckons a week over all hosts, from the fleet's database. A host counts as part of the fleet in a week in which
/// something of it was seen or begun, and the week as seen where it was seen of each.
///
/// # Errors
/// The database cannot be read, or has not answered in half an hour.
pub async fn reckon_fleet(config: &Config, url: &Secret, week: Week) -> anyhow::Result<Report> {
    tokio::time::timeout(FLEET_PATIENCE, reckon_hosts(config, url, week))
        .await
        .context("the fleet's database does not answer in time")?
}

async fn reckon_hosts(config: &Config, url: &Secret, week: Week) -> anyhow::Result<Report> {
    let mut history = FleetHistory::open(url).await?;
    let mut span = Span::of(config, week);
    let range = span.range.clone();
    let rows = history.incidents(range.clone()).await;
    let rows = rows.context("the week's incidents")?.into_iter();
    let mut hits = Hits::of(
        rows.map(|row| {
            let fact = incident_fact(&row.incident.0, row.delivered_at, row.acknowledged_at);
            (row.incident.0, fact)
        })
        .collect(),
    );
    history
        .facts(range.clone(), |boot| {
            hits.boot(boot);
            span.this.add(boot);
        })
        .await
        .context("the week's boots")?;
    history
        .facts(span.range_before.clone(), |boot| span.before.add(boot))
        .await
        .context("last week's boots")?;
    let month = history.tally(span.earlier()).await;
    let month = month.context("the month's boots")?;
    let synthetic_runs = history.synthetic_runs(range.clone()).await;
    let synthetic_runs = synthetic_runs.context("the week's synthetic runs")?;
    let seen = history.seen(range.clone()).await;
    let seen = seen.context("what was seen")?;
    let before = history.seen(span.range_before.clone()).await;
    let before = before.context("what was seen of last week")?;
    let both = span.range_before.start..range.end;
    let silent = history.stretches(both, SILENT).await;
    let silent = silent.context("when controllers were silent")?;
    let unwatched = history.stretches(range, HISTORY).await;
    let unwatched = unwatched.context("what was history")?;
    history.close().await;
    let of_host = silent.iter();
    Ok(span.report(Found {
        watched: coverage::together(&less(&seen, &unwatched)),
        silences: of_host
            .flat_map(|(host, silent)| silences(Some(host), silent))
            .collect(),
        seen: Sight::Fleet(seen),
        seen_before: Sight::Fleet(before),
        month,
        incidents: hits.incidents,
        synthetic_runs,
    }))
}

/// A week, and its boots as they are counted.
struct Span {
    week: Week,
    zone: TimeZone,
    zone_name: String,
    objective: f64,
    range: Range<Timestamp>,
    range_before: Range<Timestamp>,
    this: Figures,
    before: Figures,
}

/// What is known of it besides its boots.
struct Found {
    seen: Sight,
    seen_before: Sight,
    watched: Vec<Range<Timestamp>>,
    silences: Vec<Silence>,
    /// The boots of [`Span::earlier`].
    month: Vec<Tally>,
    incidents: Vec<IncidentFact>,
    synthetic_runs: BTreeMap<String, u64>,
}

impl Span {
    fn of(config: &Config, week: Week) -> Span {
        let (zone, zone_name) = zone_of(config);
        let ends = |week: Week| week.days(&zone).map(|(_, day)| day.end);
        Span {
            week,
            objective: objective(config),
            range: week.range(&zone),
            range_before: week.previous().range(&zone),
            this: Figures::new(ends(week)),
            before: Figures::new(ends(week.previous())),
            zone,
            zone_name,
        }
    }

    /// What the budget's period has before the two weeks, whose boots are read anyway.
    fn earlier(&self) -> Range<Timestamp> {
        self.range.end.plus_ms(-MONTH_MS)..self.range_before.start
    }

    fn report(self, found: Found) -> Report {
        let month = month(&self.this, &self.before, &found.month);
        Report::of(Facts {
            week: self.week,
            so_far: Some(clock::now()),
            zone: self.zone,
            zone_name: self.zone_name,
            terms: Terms {
                objective: self.objective,
            },
            this: self.this,
            before: self.before,
            seen: found.seen,
            seen_before: found.seen_before,
            watched: found.watched,
            silences: found.silences,
            month,
            incidents: found.incidents,
            synthetic_runs: found.synthetic_runs,
        })
    }
}

fn overlapping(seen: &[Range<Timestamp>], range: &Range<Timestamp>) -> Vec<Range<Timestamp>> {
    let within = seen
        .iter()
        .filter(|stretch| stretch.end > range.start && stretch.start < range.end);
    within.cloned().collect()
}

fn silences(host: Option<&String>, silent: &[Range<Timestamp>]) -> Vec<Silence> {
    let of = silent.iter().map(|silence| Silence {
        host: host.cloned(),
        from: silence.start,
        to: silence.end,
    });
    of.collect()
}

/// Each host's stretches outside its others.
fn less(
    all: &BTreeMap<String, Vec<Range<Timestamp>>>,
    holes: &BTreeMap<String, Vec<Range<Timestamp>>>,
) -> Vec<Vec<Range<Timestamp>>> {
    let of = |host| holes.get(host).map_or(&[][..], Vec::as_slice);
    let all = all.iter();
    all.map(|(host, stretches)| coverage::without(stretches, of(host)))
        .collect()
}

/// The share of boots that shall succeed, as the rules have it.
pub(in crate::app) fn objective(config: &Config) -> f64 {
    let rules = &config.rules;
    let budget = rules.boot_budget_burn.as_ref().map(|rule| rule.objective);
    let rate = rules.boot_failure_rate.as_ref().map(|rule| rule.objective);
    budget.or(rate).unwrap_or(0.95)
}

/// The browser boots that count, of the 30 days that end with the week: those of this week and the last were counted
/// already.
fn month(this: &Figures, before: &Figures, earlier: &[Tally]) -> Month {
    let mut own = Share::default();
    for week in [this, before] {
        if let Some(kind) = week.kinds.get(&VmType::Browser) {
            own += kind.share();
        }
    }
    let mut month = Month {
        failed: own.n - own.k,
        judged: own.n,
    };
    for one in earlier {
        if one.vm_type != VmType::Browser || one.origin != Origin::User {
            continue;
        }
        match one.outcome {
            Some(Outcome::Ready) => month.judged += one.boots,
            Some(Outcome::Failed) => {
                month.judged += one.boots;
                month.failed += one.boots;
            }
            Some(Outcome::Cancelled | Outcome::Lost) | None => {}
        }
    }
    month
}

async fn incidents(
    history: &mut History,
    range: &Range<Timestamp>,
) -> anyhow::Result<Vec<(Incident, IncidentFact)>> {
    let rows = history.incidents(range.clone()).await;
    let rows = rows.context("read the week's incidents")?;
    // What follows on the week's end: a page may be on its way for as long as it is worth anything.
    let followed = range.start..range.end.plus_ms(FOLLOWS_MS);
    let messages = history.messages(followed.clone()).await;
    let messages = messages.context("read the week's messages")?;
    let operations = history.operations(followed).await;
    let operations = operations.context("read what operators did")?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let incident = row.0;
            let delivered_at = messages
                .iter()
                .filter(|message| message.incident == incident.key)
                // Whoever was away when it fired was paged by its next state.
                .filter(|message| {
                    message.state == MessageState::Sent && message.transition != "resolved"
                })
                .filter_map(|message| message.ended_at)
                .min();
            let acknowledged_at = operations
                .iter()
                .filter(|one| one.action == "acknowledge" && one.subject == incident.key)
                .map(|one| one.at)
                .min();
            let fact = incident_fact(&incident, delivered_at, acknowledged_at);
            (incident, fact)
        })
        .collect())
}

fn incident_fact(
    incident: &Incident,
    delivered_at: Option<Timestamp>,
    acknowledged_at: Option<Timestamp>,
) -> IncidentFact {
    let mut members = incident.members.iter();
    IncidentFact {
        key: incident.key.clone(),
        host: incident.host.clone(),
        subject: incident.subject.as_str().to_owned(),
        cause: incident.cause.as_str().to_owned(),
        page: members.any(|member| member.severity == Severity::Page),
        first_bad_at: incident.first_bad_at,
        fired_at: incident.fired_at,
        delivered_at,
        acknowledged_at,
        resolved_at: incident.resolved_at,
        boots_hit: 0,
        diagnosis: incident.diagnosis.as_ref().and_then(Diagnosis::summary),
        fix: incident.fix.as_ref().map(Fix::confirmation),
    }
}

/// The week's incidents, and how many boots each hit.
struct Hits {
    spans: Vec<(Option<VmType>, Range<Timestamp>)>,
    incidents: Vec<IncidentFact>,
}

impl Hits {
    fn of(incidents: Vec<(Incident, IncidentFact)>) -> Hits {
        let spans = incidents
            .iter()
            .map(|(incident, _)| {
                let vm_type = match incident.subject {
                    Subject::Boots(vm_type) => Some(vm_type),
                    Subject::Host => None,
                };
                let end = incident.good_since.or(incident.resolved_at);
                (
                    vm_type,
                    incident.first_bad_at..end.unwrap_or(Timestamp(i64::MAX)),
                )
            })
            .collect();
        Hits {
            spans,
            incidents: incidents.into_iter().map(|(_, fact)| fact).collect(),
        }
    }

    fn boot(&mut self, boot: &BootFact<'_>) {
        if boot.outcome != Some(Outcome::Failed) || boot.origin != Origin::User {
            return;
        }
        for ((vm_type, span), incident) in self.spans.iter().zip(&mut self.incidents) {
            let its = *vm_type == Some(boot.vm_type) && incident.host == boot.host;
            if its && span.contains(&boot.started_at) {
                incident.boots_hit += 1;
            }
        }
    }
}

/// A week of which nothing is known: it was before the first start, or nothing of it was copied yet.
#[must_use]
pub fn is_unknown(report: &Report) -> bool {
    report.kinds.is_empty() && report.coverage.seconds.k == 0
}

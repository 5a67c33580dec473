//! `bootwatch backtest`: what a configuration would have paged over logs of the past.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use super::Status;
use super::past;
use super::verdict::{Alerts, FiredAlert};
use crate::config::{Config, Surroundings, Zone};
use crate::controller::excerpt::excerpt;
use crate::core::alert::{Cause, Kind, Notification, Subject};
use crate::core::boot::{Observation, Tracker};
use crate::core::desk::Desk;
use crate::core::digits::grouped;
use crate::core::event::Timestamp;
use crate::core::rule::Severity;

const WEEK_MS: f64 = 7.0 * 86_400_000.0;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration whose rules are tried
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/bootwatch/bootwatch.toml"
    )]
    config: PathBuf,
    /// Logs in any order, as `analyze` takes them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The zone of the log's time stamps, by IANA name; by default the configuration's
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// What would have happened.
#[derive(Serialize)]
struct Backtest {
    boots: u64,
    days: f64,
    pages: u64,
    /// Null where the logs span less than a day.
    pages_per_week: Option<f64>,
    tickets: u64,
    tickets_per_week: Option<f64>,
    /// Of the pages; null where there is none.
    detection: Option<Detection>,
    incidents: Vec<IncidentRow>,
    /// Log records read: where there are none, no page says nothing.
    records: u64,
    notes: Vec<String>,
    problems: Vec<String>,
}

/// How soon the pages came, from the start of the first bad boot, and which rule was first how often.
#[derive(Serialize)]
struct Detection {
    median_seconds: f64,
    longest_seconds: f64,
    first_rules: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct IncidentRow {
    severity: &'static str,
    first_rule: &'static str,
    vm_type: Subject,
    cause: Cause,
    first_bad_at: Moment,
    fired_at: Moment,
    resolved_at: Option<Moment>,
    /// From the start of the first bad boot to the page.
    seconds_to_page: f64,
    /// Bad boots that the first rule had counted by then, those in flight among them.
    bad_boots: u32,
    updates: u64,
    rules: Vec<RuleRow>,
    #[serde(skip)]
    summary: String,
}

#[derive(Serialize)]
struct RuleRow {
    rule: &'static str,
    fired_at: Moment,
    resolved_at: Option<Moment>,
}

/// RFC 3339 and UTC to programs; to people, as the log's own stamps are.
#[derive(Clone, Copy, Debug)]
struct Moment(Timestamp);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&past::rfc3339(self.0))
    }
}

pub(super) fn run(
    arguments: &Arguments,
    surroundings: &Surroundings,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let Some(config) = super::load(&arguments.config, surroundings, err)? else {
        return Ok(Status::Misused);
    };
    let Ok(named) = past::zone_of(arguments.timezone.as_deref(), err)? else {
        return Ok(Status::Misused);
    };
    let zone = named.or_else(|| configured_zone(&config));
    let Some((inputs, problems)) = past::open(&arguments.files, err)? else {
        return Ok(Status::Misused);
    };

    let mut tracker = Tracker::new(excerpt);
    if let Some(synthetic) = &config.synthetic {
        tracker.set_synthetic(BTreeSet::from([synthetic.user_key()]));
    }
    // Nobody was there who would have started a maintenance by hand.
    let desk = Desk::new(crate::app::desk_settings(&config));
    let mut alerts = Alerts::new(crate::app::engine_settings(&config));
    let mut observations: Vec<Observation> = Vec::new();
    let mut boots = 0u64;
    let mut span: Option<(Timestamp, Timestamp)> = None;
    let mut take = |observations: &mut Vec<Observation>| {
        for observation in observations.drain(..) {
            if matches!(observation, Observation::BootEnded(_)) {
                boots += 1;
            }
            alerts.take(&observation, !desk.sets_aside(&observation));
        }
    };
    let read = past::replay(inputs, problems, zone, &mut |event| {
        let (first, last) = span.get_or_insert((event.at, event.at));
        *first = (*first).min(event.at);
        *last = (*last).max(event.at);
        tracker.observe(event, &mut observations);
        take(&mut observations);
    });
    tracker.finish(&mut observations);
    take(&mut observations);
    let (fired, sent) = alerts.finish_with_notifications();
    let backtest = Backtest {
        records: read.records,
        notes: read.notes.clone(),
        problems: read.told_problems(),
        ..Backtest::of(boots, span, &fired, &sent)
    };
    match arguments.format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &backtest)?;
            writeln!(out)?;
        }
        Format::Text => backtest.write(out, span, &read.zone)?,
    }
    Ok(read.status())
}

fn configured_zone(config: &Config) -> Option<TimeZone> {
    match &config.log.timezone {
        Zone::Named(zone) => Some(zone.clone()),
        Zone::Auto => None,
    }
}

impl Backtest {
    fn of(
        boots: u64,
        span: Option<(Timestamp, Timestamp)>,
        fired: &[FiredAlert],
        sent: &[Notification],
    ) -> Backtest {
        let length = span.map_or(0, |(first, last)| last.since(first));
        let incidents: Vec<IncidentRow> = sent
            .iter()
            .filter(|notification| notification.kind == Kind::Firing)
            .filter_map(|page| IncidentRow::of(page, fired, sent))
            .collect();
        let of = |severity: Severity| {
            let wanted = incidents
                .iter()
                .filter(|row| row.severity == severity.as_str());
            wanted.count() as u64
        };
        let (pages, tickets) = (of(Severity::Page), of(Severity::Ticket));
        // Less than a day says nothing about a week.
        let weeks = as_f64(length) / WEEK_MS;
        let per_week = |count: u64| {
            let count = as_f64(i64::try_from(count).unwrap_or(i64::MAX));
            (length >= 86_400_000).then(|| count / weeks)
        };
        Backtest {
            boots,
            days: as_f64(length) / 86_400_000.0,
            pages,
            pages_per_week: per_week(pages),
            tickets,
            tickets_per_week: per_week(tickets),
            detection: Detection::of(&incidents),
            incidents,
            records: 0,
            notes: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn write(
        &self,
        out: &mut dyn Write,
        span: Option<(Timestamp, Timestamp)>,
        zone: &TimeZone,
    ) -> anyhow::Result<()> {
        let told = |at: Moment| past::long_moment(at.0, zone);
        let rate = self
            .pages_per_week
            .map_or(String::new(), |rate| format!(", {rate:.1} a week"));
        let (pages, length) = (self.pages, length(self.days));
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        if self.records == 0 {
            writeln!(
                out,
                "No record of the master-controller was read: what would have been paged is not known."
            )?;
            return self.write_unread(out);
        }
        writeln!(
            out,
            "{} boot{} in {length}: {pages} page{}{rate}; {} ticket{}",
            grouped(self.boots),
            plural(self.boots),
            plural(pages),
            self.tickets,
            plural(self.tickets)
        )?;
        if let Some((first, last)) = span {
            let (from, to) = (told(Moment(first)), told(Moment(last)));
            writeln!(
                out,
                "from {from} to {to} ({})",
                past::zone_name(zone, first)
            )?;
        }
        if let Some(detection) = &self.detection {
            detection.write(out)?;
        }
        for incident in &self.incidents {
            writeln!(out)?;
            writeln!(out, "{}  {}", told(incident.fired_at), incident.summary)?;
            writeln!(
                out,
                "  {} by {} {:.0} s after the first bad boot began, with {} bad boot{}",
                if incident.severity == Severity::Page.as_str() {
                    "paged"
                } else {
                    "ticket"
                },
                incident.first_rule,
                incident.seconds_to_page,
                incident.bad_boots,
                plural(incident.bad_boots.into())
            )?;
            for rule in incident
                .rules
                .iter()
                .filter(|rule| rule.rule != incident.first_rule)
            {
                writeln!(out, "  then {} at {}", rule.rule, told(rule.fired_at))?;
            }
            match &incident.resolved_at {
                Some(at) => writeln!(out, "  resolved at {}", told(*at))?,
                None => writeln!(out, "  not resolved when the log ended")?,
            }
        }
        self.write_unread(out)
    }

    fn write_unread(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        for note in &self.notes {
            writeln!(out, "note: {note}")?;
        }
        for problem in &self.problems {
            writeln!(out, "not read: {problem}")?;
        }
        Ok(())
    }
}

impl Detection {
    fn of(incidents: &[IncidentRow]) -> Option<Detection> {
        let pages = || {
            incidents
                .iter()
                .filter(|row| row.severity == Severity::Page.as_str())
        };
        let mut seconds: Vec<f64> = pages().map(|row| row.seconds_to_page).collect();
        seconds.sort_by(f64::total_cmp);
        let mut first_rules = BTreeMap::new();
        for row in pages() {
            *first_rules.entry(row.first_rule).or_default() += 1;
        }
        Some(Detection {
            median_seconds: *seconds.get(seconds.len() / 2)?,
            longest_seconds: *seconds.last()?,
            first_rules,
        })
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let first: Vec<String> = self
            .first_rules
            .iter()
            .map(|(rule, pages)| format!("{rule} {pages}"))
            .collect();
        writeln!(
            out,
            "from the first bad boot to the page: {:.0} s at the median, {:.0} s at most; first: {}",
            self.median_seconds,
            self.longest_seconds,
            first.join(", ")
        )
    }
}

impl IncidentRow {
    fn of(page: &Notification, fired: &[FiredAlert], sent: &[Notification]) -> Option<IncidentRow> {
        let incident = &page.incident;
        let first = incident.members.first()?;
        let of_incident = |other: &&Notification| other.incident.key == incident.key;
        let resolved = sent
            .iter()
            .filter(of_incident)
            .find(|other| other.kind == Kind::Resolved);
        let rules: Vec<&FiredAlert> = fired
            .iter()
            .filter(|alert| alert.incident.key == incident.key)
            .collect();
        let updates = sent
            .iter()
            .filter(of_incident)
            .filter(|other| other.kind == Kind::Update)
            .count();
        Some(IncidentRow {
            severity: incident.severity().as_str(),
            first_rule: first.rule.as_str(),
            vm_type: incident.subject,
            cause: incident.cause,
            first_bad_at: Moment(incident.first_bad_at),
            fired_at: Moment(page.at),
            resolved_at: resolved.map(|resolved| Moment(resolved.at)),
            seconds_to_page: as_f64(page.at.since(incident.first_bad_at)) / 1000.0,
            bad_boots: first.reading.bad(),
            updates: updates as u64,
            summary: rules
                .first()
                .map(|alert| alert.summary())
                .unwrap_or_default(),
            rules: rules
                .into_iter()
                .map(|alert| RuleRow {
                    rule: alert.rule.as_str(),
                    fired_at: Moment(alert.fired_at),
                    resolved_at: alert.resolved_at.map(Moment),
                })
                .collect(),
        })
    }
}

/// A stretch of time in the unit that fits it.
fn length(days: f64) -> String {
    if days >= 2.0 {
        return format!("{days:.1} days");
    }
    if days * 24.0 >= 2.0 {
        return format!("{:.1} hours", days * 24.0);
    }
    format!("{:.0} minutes", days * 1440.0)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of decades fit a double"
)]
fn as_f64(number: i64) -> f64 {
    number as f64
}

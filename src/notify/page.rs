//! The words of a page: what an engineer woken at three understands in ten seconds.
//!
//! Pure: a notification and the reader's context in, text out. The title names the cause and since when; the summary
//! counts as k of n; then what is *not* affected, the figures, the boots and at most three lines of evidence. Every
//! channel says these words and only lays them out differently. Text from logs came redacted; it is not escaped here,
//! since only the channel knows for whom.

#[cfg(test)]
mod tests;

use std::fmt::Write;

use jiff::tz::TimeZone;

use crate::config::Links;
use crate::core::alert::{Incident, Member, Notification, Other, Reason};
use crate::core::event::Timestamp;
use crate::core::rule::Stretch;

const EVIDENCE_LINES: usize = 3;
/// A line of evidence, in characters.
const EVIDENCE_CHARS: usize = 500;
/// Another kind of VM with a larger share of failures than this is not called unaffected.
const UNAFFECTED_SHARE: f64 = 0.05;
/// From this share on a title says that boots fail, and not how many of them.
const MOST_OF_THEM: f64 = 0.5;

/// Where the reader is, and where a page leads.
#[derive(Clone, Debug)]
pub struct Context {
    pub zone: TimeZone,
    /// A rule's runbook is at this URL with the rule's name behind it.
    pub runbook_base: Option<String>,
    pub dashboard: Option<String>,
}

impl Context {
    #[must_use]
    pub fn new(zone: TimeZone, links: &Links) -> Context {
        Context {
            zone,
            runbook_base: links.runbook_base.as_ref().map(ToString::to_string),
            dashboard: links.dashboard.as_ref().map(ToString::to_string),
        }
    }

    #[must_use]
    pub fn runbook(&self, rule: &str) -> Option<String> {
        let base = self.runbook_base.as_ref()?;
        Some(format!("{}/{rule}", base.trim_end_matches('/')))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Firing,
    Resolved,
}

impl Status {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Firing => "firing",
            Status::Resolved => "resolved",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub status: Status,
    pub title: String,
    pub summary: String,
    /// How the other kinds of VM do, where they do well.
    pub not_affected: Option<String>,
    /// One line a member of the incident, in their order.
    pub figures: Vec<String>,
    pub evidence: Vec<String>,
    pub boots: Vec<String>,
    pub runbook_url: Option<String>,
    pub dashboard_url: Option<String>,
    /// When the first bad boot began.
    pub starts_at: Timestamp,
    /// When boots were ready again, once it is over.
    pub ends_at: Option<Timestamp>,
}

impl Page {
    #[must_use]
    pub fn of(notification: &Notification, context: &Context) -> Page {
        let incident = &notification.incident;
        let words = Words {
            notification,
            incident,
            zone: &context.zone,
        };
        let resolved = !incident.is_firing();
        let (title, summary) = if resolved {
            (words.resolved_title(), words.resolved_summary())
        } else {
            (words.firing_title(), words.firing_summary())
        };
        let (well, _) = words.others();
        let rule = incident.strongest().map(|member| member.rule);
        Page {
            status: if resolved {
                Status::Resolved
            } else {
                Status::Firing
            },
            title,
            summary,
            not_affected: (!resolved && !well.is_empty()).then(|| well.join("; ")),
            figures: incident
                .members
                .iter()
                .map(|member| words.figure(member))
                .collect(),
            evidence: incident
                .evidence
                .iter()
                .take(EVIDENCE_LINES)
                .map(|line| clipped(line, EVIDENCE_CHARS))
                .collect(),
            boots: words.boots(),
            runbook_url: rule.and_then(|rule| context.runbook(rule.as_str())),
            dashboard_url: context.dashboard.clone(),
            starts_at: incident.first_bad_at,
            ends_at: incident.resolved_at.map(|at| words.over_since(at)),
        }
    }

    /// Without the lines that were not written by us.
    #[must_use]
    pub fn reduced(&self) -> Page {
        Page {
            evidence: Vec::new(),
            boots: Vec::new(),
            ..self.clone()
        }
    }

    /// Everything below the title, as plain text.
    #[must_use]
    pub fn body(&self) -> String {
        let mut out = self.summary.clone();
        if let Some(well) = &self.not_affected {
            out.push_str("\nNot affected: ");
            out.push_str(well);
            out.push('.');
        }
        for (head, lines) in [
            ("Rules", &self.figures),
            ("Boots", &self.boots),
            ("Evidence", &self.evidence),
        ] {
            if !lines.is_empty() {
                out.push_str("\n\n");
                out.push_str(head);
                out.push(':');
            }
            for line in lines {
                out.push_str("\n  ");
                out.push_str(line);
            }
        }
        let links = [
            ("Runbook", &self.runbook_url),
            ("Dashboard", &self.dashboard_url),
        ];
        let mut gap = "\n\n";
        for (name, url) in links {
            if let Some(url) = url {
                out.push_str(gap);
                out.push_str(name);
                out.push_str(": ");
                out.push_str(url);
                gap = "\n";
            }
        }
        out
    }
}

/// The sentences of one notification.
struct Words<'a> {
    notification: &'a Notification,
    incident: &'a Incident,
    zone: &'a TimeZone,
}

impl Words<'_> {
    fn kind(&self) -> &'static str {
        self.incident.vm_type.spoken()
    }

    fn firing_title(&self) -> String {
        let kind = self.kind();
        let verb = if self.all_in_flight() {
            "do not become ready"
        } else {
            "fail"
        };
        let who = match self.incident.strongest().map(|member| member.reading.count) {
            Some(count) if count.share() < MOST_OF_THEM => {
                format!("{} of {} {kind} boots", count.bad, count.of)
            }
            _ => format!("{kind} boots"),
        };
        let cause = self.incident.cause;
        let mixed = self
            .incident
            .boots
            .iter()
            .any(|boot| boot.failure.is_some_and(|failure| failure != cause));
        let mostly = if mixed { ", mostly" } else { "" };
        let since = self.moment(self.incident.first_bad_at);
        format!("{who} {verb}{mostly}: {}, since {since}", cause.meaning())
    }

    fn firing_summary(&self) -> String {
        let mut out = String::with_capacity(256);
        if let Some(member) = self.incident.strongest() {
            let reading = &member.reading;
            let verb = if self.all_in_flight() {
                "do not become ready"
            } else {
                "failed"
            };
            append(
                &mut out,
                format_args!(
                    "{} on {} {verb}{}. If all were as usual, the chance of that would be {}.",
                    self.count_of_boots(member),
                    self.incident.host,
                    in_flight(reading.overdue, reading.count.bad),
                    odds(reading.chance)
                ),
            );
        }
        let (_, ill) = self.others();
        for line in ill {
            append(&mut out, format_args!(" Failing too: {line}."));
        }
        if self.notification.reason == Reason::Flapping {
            out.push_str(
                " It comes and goes, so it is held open until it has been calm for a while.",
            );
        }
        out
    }

    fn resolved_title(&self) -> String {
        if self.notification.reason == Reason::RuleRemoved {
            return format!(
                "{} boots are not judged any more, the rule was removed; it was: {}",
                self.kind(),
                self.incident.cause.meaning()
            );
        }
        let over = self.over_since(self.notification.at);
        format!(
            "{} boots are ready again since {}; for {} it was: {}",
            self.kind(),
            self.moment(over),
            length(over.since(self.incident.first_bad_at)),
            self.incident.cause.meaning()
        )
    }

    fn resolved_summary(&self) -> String {
        if self.notification.reason == Reason::RuleRemoved {
            return format!(
                "{} boots on {} failed from {}. Whether they are ready again is not known: the rule that fired was \
                 removed or switched off, which closed the alert at {}.",
                self.kind(),
                self.incident.host,
                self.moment(self.incident.first_bad_at),
                self.moment(self.notification.at)
            );
        }
        let over = self.over_since(self.notification.at);
        let mut out = format!(
            "{} boots on {} failed from {} to {}, for {}.",
            self.kind(),
            self.incident.host,
            self.moment(self.incident.first_bad_at),
            self.moment(over),
            length(over.since(self.incident.first_bad_at))
        );
        if self.incident.good_since.is_some() {
            append(
                &mut out,
                format_args!(
                    " They have been ready since, and the alert was closed at {}.",
                    self.moment(self.notification.at)
                ),
            );
        }
        out
    }

    /// When it was over: the first good boot's end, or where none is known, `closed`.
    fn over_since(&self, closed: Timestamp) -> Timestamp {
        self.incident
            .good_since
            .unwrap_or(closed)
            .max(self.incident.first_bad_at)
    }

    /// Nothing has failed yet; the boots in flight are hopeless.
    fn all_in_flight(&self) -> bool {
        self.incident.strongest().is_some_and(|member| {
            member.reading.count.bad > 0 && member.reading.overdue >= member.reading.count.bad
        })
    }

    /// `3 of the last 3 browser boots`, `30 of 200 browser boots in the last hour`.
    fn count_of_boots(&self, member: &Member) -> String {
        let count = member.reading.count;
        let kind = self.kind();
        match member.reading.stretch {
            Stretch::Last(_) => format!("{} of the last {} {kind} boots", count.bad, count.of),
            Stretch::Span(_) => format!(
                "{} of {} {kind} boots in the {}",
                count.bad, count.of, member.reading.stretch
            ),
        }
    }

    fn figure(&self, member: &Member) -> String {
        let reading = &member.reading;
        let mut out = format!(
            "{}: {}{}, firing since {}",
            member.rule.as_str(),
            self.count_of_boots(member),
            in_flight(reading.overdue, reading.count.bad),
            self.moment(member.fired_at)
        );
        if let Some(at) = member.resolved_at {
            append(&mut out, format_args!(", resolved {}", self.moment(at)));
        }
        out
    }

    /// The other kinds of VM: those that do well, and those that do not.
    fn others(&self) -> (Vec<String>, Vec<String>) {
        let (well, ill): (Vec<&Other>, Vec<&Other>) = self
            .incident
            .others
            .iter()
            .partition(|other| other.count.share() <= UNAFFECTED_SHARE);
        let when = |other: &Other| match other.stretch {
            Stretch::Span(_) => format!("in the {}", other.stretch),
            Stretch::Last(_) => format!("at last, the newest {}", self.moment(other.newest_at)),
        };
        let well = well.into_iter().map(|other| {
            let count = other.count;
            format!(
                "{} boots, {} of {} ready {}",
                other.vm_type.spoken(),
                count.of.saturating_sub(count.bad),
                count.of,
                when(other)
            )
        });
        let ill = ill.into_iter().map(|other| {
            let count = other.count;
            format!(
                "{} boots, {} of {} failed {}",
                other.vm_type.spoken(),
                count.bad,
                count.of,
                when(other)
            )
        });
        (well.collect(), ill.collect())
    }

    fn boots(&self) -> Vec<String> {
        self.incident
            .boots
            .iter()
            .map(|boot| {
                let mut out = match boot.vm {
                    Some(vm) => vm.to_string(),
                    None => "no VM".to_owned(),
                };
                append(
                    &mut out,
                    format_args!(" began {}", self.moment(boot.started_at)),
                );
                if let Some(failure) = boot.failure {
                    append(&mut out, format_args!(", {failure}"));
                }
                if let Some(session) = boot.session {
                    append(&mut out, format_args!(", session {session}"));
                }
                out
            })
            .collect()
    }

    /// The time of day, with the date where it is another day than the notification's.
    fn moment(&self, at: Timestamp) -> String {
        let zoned = |at: Timestamp| {
            jiff::Timestamp::from_millisecond(at.0)
                .ok()
                .map(|at| at.to_zoned_datetime(self.zone.clone()))
        };
        let Some(shown) = zoned(at) else {
            return "an unknown time".to_owned();
        };
        let today = zoned(self.notification.at).is_some_and(|now| now.date() == shown.date());
        let form = if today {
            "%H:%M:%S %Z"
        } else {
            "%Y-%m-%d %H:%M:%S %Z"
        };
        shown.strftime(form).to_string()
    }
}

fn in_flight(overdue: u32, bad: u32) -> String {
    match overdue {
        0 => String::new(),
        _ if overdue >= bad => " (still waiting, longer than healthy boots take)".to_owned(),
        _ => format!(" ({overdue} of them still waiting, longer than healthy boots take)"),
    }
}

/// A chance as people say it: `1 in 8,000`.
fn odds(chance: f64) -> String {
    if chance < 1e-9 {
        return "less than 1 in 1,000,000,000".to_owned();
    }
    let times = 1.0 / chance.min(1.0);
    let unit = 10f64.powf(times.log10().floor() - 1.0).max(1.0);
    let digits = format!("{:.0}", (times / unit).round() * unit);
    let mut out = String::from("1 in ");
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A length of time, in its two largest units.
fn length(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=7_199 => format!("{} min {} s", seconds / 60, seconds % 60),
        7_200..=172_799 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} days {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

fn clipped(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn append(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("a String takes whatever is written to it");
}

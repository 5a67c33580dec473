//! The words of a page: what an engineer woken at three understands in ten seconds.
//!
//! Pure: a notification and the reader's context in, text out. The title names the cause and since when; the summary
//! counts as k of n against what is usual; then what is *not* affected, at most three lines of evidence, what to do
//! first, and the boots and rules in detail. Every channel says these words and only lays them out differently. Text from logs came redacted; it is not escaped here,
//! since only the channel knows for whom.

#[cfg(test)]
mod tests;

mod burn;
mod conditions;
mod remarks;
mod slowness;
mod steps;

use std::fmt::Write;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::config::Links;
use crate::core::alert::{Cause, Incident, Kind, Member, Notification, Other, Reason, Remarks};
use crate::core::condition::Condition;
use crate::core::event::{Timestamp, VmType};
use crate::core::rule::{Reading, Said, Severity, Stretch};
use crate::core::slowness::Slowness;

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

    /// The time of day, with the date where it is another day than `today`'s.
    fn moment(&self, at: Timestamp, today: Timestamp) -> String {
        let zoned = |at: Timestamp| {
            jiff::Timestamp::from_millisecond(at.0)
                .ok()
                .map(|at| at.to_zoned_datetime(self.zone.clone()))
        };
        let Some(shown) = zoned(at) else {
            return "an unknown time".to_owned();
        };
        let same = zoned(today).is_some_and(|today| today.date() == shown.date());
        let form = if same {
            "%H:%M:%S %Z"
        } else {
            "%Y-%m-%d %H:%M:%S %Z"
        };
        shown.strftime(form).to_string()
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
    /// It is about nothing that happened, and every channel says so.
    pub is_test: bool,
    /// Nothing happened either, but it looks and is sent as if it had.
    pub is_drill: bool,
    pub severity: Severity,
    pub title: String,
    /// What stays the same from the first message to the last: a mail's subject.
    pub subject: String,
    /// Which controller host.
    pub host: String,
    pub summary: String,
    /// How the other kinds of VM do, where they do well.
    pub not_affected: Option<String>,
    /// One line a member of the incident, in their order.
    pub figures: Vec<String>,
    pub evidence: Vec<String>,
    /// What to do first, while it lasts.
    pub first_step: Option<&'static str>,
    pub boots: Vec<String>,
    pub runbook_url: Option<String>,
    pub dashboard_url: Option<String>,
    /// When the first bad boot began.
    pub starts_at: Timestamp,
    /// When boots were ready again, once it is over.
    pub ends_at: Option<Timestamp>,
}

/// The end of a summary that could not be stored.
const UNSAVED: &str =
    " bootwatch could not store this message before it left; after a restart it may come again.";

/// The end of a summary whose beginning was not told.
const UNHEARD: &str =
    " Its beginning was not told here, since this channel could not be reached while it lasted.";

impl Page {
    #[must_use]
    pub fn of(notification: &Notification, context: &Context) -> Page {
        let incident = &notification.incident;
        let words = Words {
            notification,
            incident,
            context,
        };
        let resolved = !incident.is_firing();
        let (title, summary) = match (incident.cause, resolved) {
            (Cause::Failure(_), true) => (words.resolved_title(), words.resolved_summary()),
            (Cause::Failure(_), false) => (words.firing_title(), words.firing_summary()),
            (Cause::Condition(condition), true) => words.over(condition),
            (Cause::Condition(condition), false) => words.holds(condition),
            (Cause::Slowness(_), true) => words.no_longer_slow(),
            (Cause::Slowness(slowness), false) => words.slow(slowness),
        };
        let (well, _) = words.others();
        // What holds has a runbook of its own, whatever boots failed of it.
        let holding = incident
            .members
            .iter()
            .find(|member| incident.cause.failure().is_none() && member.reading.boots().is_none());
        let rule = holding.or(incident.strongest()).map(|member| member.rule);
        let mut page = Page {
            status: if resolved {
                Status::Resolved
            } else {
                Status::Firing
            },
            is_test: false,
            is_drill: false,
            severity: incident.severity(),
            title,
            subject: words.subject(),
            host: incident.host.clone(),
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
                .chain(&incident.console)
                .map(|line| clipped(line, EVIDENCE_CHARS))
                .collect(),
            first_step: (!resolved).then(|| match incident.cause {
                Cause::Failure(failure) => steps::first_step(failure),
                Cause::Condition(condition) => conditions::first_step(condition),
                Cause::Slowness(slowness) => slowness::first_step(slowness),
            }),
            boots: words.boots(),
            runbook_url: rule
                .and_then(|rule| context.runbook(rule.as_str()))
                .map(|runbook| format!("{runbook}#{}", incident.cause.as_str())),
            dashboard_url: context.dashboard.clone(),
            starts_at: incident.first_bad_at,
            ends_at: incident.resolved_at.map(|at| words.over_since(at)),
        };
        remarks::apply(&mut page, notification, context);
        page
    }

    /// It leaves so long after it was decided on, and says so.
    #[must_use]
    pub fn late(mut self, age: Duration) -> Page {
        let ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        append(
            &mut self.summary,
            format_args!(
                " This message is {} late: this channel could not be reached before.",
                length(ms)
            ),
        );
        self
    }

    /// It ends what was never told here.
    #[must_use]
    pub fn unheard(mut self) -> Page {
        self.summary.push_str(UNHEARD);
        self
    }

    /// It leaves although it could not be stored, and says so.
    #[must_use]
    pub fn unsaved(mut self) -> Page {
        self.summary.push_str(UNSAVED);
        self
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
        let listed = |out: &mut String, head: &str, lines: &[String]| {
            if !lines.is_empty() {
                append(out, format_args!("\n\n{head}:"));
            }
            for line in lines {
                append(out, format_args!("\n  {line}"));
            }
        };
        listed(&mut out, "Evidence", &self.evidence);
        if let Some(step) = self.first_step {
            append(&mut out, format_args!("\n\nDo first: {step}"));
        }
        listed(&mut out, "Boots", &self.boots);
        listed(&mut out, "Rules", &self.figures);
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

/// A test's message and its end: pages that say that they are none.
pub(super) fn test(host: &str, channel: &str, at: Timestamp) -> [(Notification, Page); 2] {
    let of = |kind: Kind, at: Timestamp| {
        let resolved = kind == Kind::Resolved;
        let incident = Incident::test(host, at, resolved);
        let (status, title, summary) = if resolved {
            (
                Status::Resolved,
                format!("[TEST] the test of bootwatch on {host} is over"),
                format!("This ends the test of the channel {channel}. Nothing happened."),
            )
        } else {
            (
                Status::Firing,
                format!("[TEST] bootwatch on {host} reaches this channel"),
                format!(
                    "This is a test of the channel {channel}, sent by a person with \"bootwatch notify test {channel}\". \
                     Nothing is wrong, and nobody need do anything."
                ),
            )
        };
        let page = Page {
            status,
            is_test: true,
            is_drill: false,
            severity: Severity::Ticket,
            title,
            subject: format!("[TEST] bootwatch on {host} reaches this channel"),
            host: host.to_owned(),
            summary,
            not_affected: None,
            figures: Vec::new(),
            evidence: Vec::new(),
            first_step: None,
            boots: Vec::new(),
            runbook_url: None,
            dashboard_url: None,
            starts_at: at,
            ends_at: resolved.then_some(at),
        };
        let reason = match kind {
            Kind::Resolved => Reason::AllResolved,
            Kind::Firing | Kind::Update => Reason::FirstAlert,
        };
        let notification = Notification {
            kind,
            reason,
            at,
            incident,
            remarks: Remarks::default(),
        };
        (notification, page)
    };
    [of(Kind::Firing, at), of(Kind::Resolved, at)]
}

/// The sentences of one notification.
struct Words<'a> {
    notification: &'a Notification,
    incident: &'a Incident,
    context: &'a Context,
}

impl Words<'_> {
    fn kind(&self) -> &'static str {
        self.incident.subject.vm_type().map_or("", VmType::spoken)
    }

    /// The trouble without its figures, which change.
    fn subject(&self) -> String {
        let (kind, host) = (self.kind(), &self.incident.host);
        let cause = self.incident.cause.meaning();
        match self.incident.cause {
            Cause::Failure(_) => {}
            Cause::Condition(_) => return format!("{host}: {cause}"),
            Cause::Slowness(_) => return format!("{kind} boots are slower on {host}: {cause}"),
        }
        format!("{kind} boots fail on {host}: {cause}")
    }

    fn firing_title(&self) -> String {
        let kind = self.kind();
        let verb = if self.all_in_flight() {
            "do not become ready"
        } else {
            "fail"
        };
        let who = match self.strongest().map(|(_, reading)| reading.count) {
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
            .any(|boot| boot.failure.is_some_and(|failure| cause != failure));
        let mostly = if mixed { ", mostly" } else { "" };
        let since = self.moment(self.incident.first_bad_at);
        format!("{who} {verb}{mostly}: {}, since {since}", cause.meaning())
    }

    fn firing_summary(&self) -> String {
        let mut out = String::with_capacity(256);
        if let Some((_, reading)) = self.strongest() {
            let verb = if self.all_in_flight() {
                "do not become ready"
            } else {
                "failed"
            };
            append(
                &mut out,
                format_args!(
                    "{} on {} {verb}{}; usual is at most {}. If all were as usual, the chance of that would be {}.",
                    self.count_of_boots(reading),
                    self.incident.host,
                    in_flight(reading.overdue, reading.count.bad),
                    share(reading.usual),
                    odds(reading.chance)
                ),
            );
        }
        if let Some((before, _)) = self.incident.before {
            append(
                &mut out,
                format_args!(" At first it was: {}.", before.meaning()),
            );
        }
        if let Some(said) = self.burns() {
            append(&mut out, format_args!(" {said}"));
        }
        self.append_image(&mut out);
        self.append_company(&mut out);
        out
    }

    /// What is said of the budget, if the incident is about it.
    fn burns(&self) -> Option<String> {
        let members = self.incident.members.iter();
        let mut readings = members.filter_map(|member| member.reading.boots());
        readings.find_map(burn::sentence)
    }

    /// Title and summary of boots that take longer.
    fn slow(&self, slowness: Slowness) -> (String, String) {
        let (kind, host) = (self.kind(), &self.incident.host);
        let since = self.moment(self.incident.first_bad_at);
        let said = self.strongest().map(|(_, reading)| reading);
        let slow = said.and_then(slowness::slow);
        let mut summary = String::new();
        if let Some((reading, slow)) = said.zip(slow) {
            append(
                &mut summary,
                format_args!(
                    "{} on {host} {}. If nothing had changed, the chance of that would be {}. ",
                    self.count_of_boots(reading),
                    slowness::counted(slow),
                    odds(reading.chance)
                ),
            );
        }
        summary.push_str(slowness::consequence(slowness));
        self.append_company(&mut summary);
        let title = slowness::title(kind, slowness, slow);
        (format!("{title}, since {since}"), summary)
    }

    fn no_longer_slow(&self) -> (String, String) {
        let (kind, host) = (self.kind(), &self.incident.host);
        let cause = self.incident.cause.meaning();
        let (from, closed) = (
            self.moment(self.incident.first_bad_at),
            self.moment(self.notification.at),
        );
        if self.notification.reason == Reason::RuleRemoved {
            return (
                format!(
                    "{kind} boots are not timed any more, the rule was removed; it was: {cause}"
                ),
                format!(
                    "It began on {host} at {from}. The rule that fired was removed or switched off, which closed the \
                     alert at {closed}."
                ),
            );
        }
        let lasted = length(self.notification.at.since(self.incident.first_bad_at));
        (
            format!("{kind} boots are as quick as usual again; for {lasted} it was: {cause}"),
            format!("On {host} it lasted from {from} until {closed} at most."),
        )
    }

    /// The golden image beside the first failure, where it changed before.
    fn append_image(&self, out: &mut String) {
        let Some(change) = &self.incident.image else {
            return;
        };
        append(
            out,
            format_args!(
                " The golden image changed {}, {} before its first failed boot: of its boots {} of {} failed",
                self.moment(change.changed_at),
                length(change.to_first_failure_ms),
                change.since.bad,
                change.since.of
            ),
        );
        match change.before {
            Some(before) => append(
                out,
                format_args!(
                    ", of the image's before it {} of {}.",
                    before.bad, before.of
                ),
            ),
            None => out.push('.'),
        }
    }

    fn append_company(&self, out: &mut String) {
        let (_, ill) = self.others();
        for line in ill {
            append(out, format_args!(" Failing too: {line}."));
        }
        if self.notification.reason == Reason::Flapping {
            out.push_str(
                " It comes and goes, so it is held open until it has been calm for a while.",
            );
        }
    }

    /// Title and summary of what holds now.
    fn holds(&self, condition: Condition) -> (String, String) {
        let members = self.incident.members.iter();
        let mut levels = members.filter_map(|member| match &member.reading {
            Said::Level(level) => Some((member.rule, level)),
            Said::Boots(_) => None,
        });
        let level = levels.next();
        let (host, since) = (&self.incident.host, self.moment(self.incident.first_bad_at));
        let what = conditions::title(condition, level.map(|(_, level)| level));
        let mut summary = format!("On {host}, since {since}");
        if let Some((rule, level)) = level {
            append(
                &mut summary,
                format_args!(": {}", conditions::figure(rule, level)),
            );
        }
        append(
            &mut summary,
            format_args!(". {}", conditions::consequence(condition)),
        );
        if let Some((_, reading)) = self.strongest() {
            append(
                &mut summary,
                format_args!(" {} failed.", self.count_of_boots(reading)),
            );
        }
        self.append_image(&mut summary);
        self.append_company(&mut summary);
        (format!("{what}, since {since}"), summary)
    }

    /// Title and summary of what held, and does no more.
    fn over(&self, condition: Condition) -> (String, String) {
        let (host, cause) = (&self.incident.host, condition.meaning());
        let (from, closed) = (
            self.moment(self.incident.first_bad_at),
            self.moment(self.notification.at),
        );
        if self.notification.reason == Reason::RuleRemoved {
            return (
                format!("the rule was removed, whether it is over is not known; it was: {cause}"),
                format!(
                    "It began on {host} at {from}. The rule that fired was removed or switched off, which closed the \
                     alert at {closed}."
                ),
            );
        }
        let over = self.over_since(self.notification.at);
        let lasted = length(over.since(self.incident.first_bad_at));
        let until = self.moment(over);
        (
            format!("over since {until}; for {lasted} it was: {cause}"),
            format!(
                "On {host} it lasted from {from} to {until}, for {lasted}, and the alert was closed at {closed}."
            ),
        )
    }

    /// The member that says most of boots, and what it says.
    fn strongest(&self) -> Option<(&Member, &Reading)> {
        let member = self.incident.strongest()?;
        Some((member, member.reading.boots()?))
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
        self.strongest().is_some_and(|(_, reading)| {
            reading.count.bad > 0 && reading.overdue >= reading.count.bad
        })
    }

    /// `3 of the last 3 browser boots`, `30 of 200 browser boots in the last hour`.
    fn count_of_boots(&self, reading: &Reading) -> String {
        let count = reading.count;
        let kind = self.kind();
        match reading.stretch {
            Stretch::Last(_) => format!("{} of the last {} {kind} boots", count.bad, count.of),
            Stretch::Span(_) => format!(
                "{} of {} {kind} boots in the {}",
                count.bad, count.of, reading.stretch
            ),
        }
    }

    fn figure(&self, member: &Member) -> String {
        let said = match &member.reading {
            Said::Boots(reading) => format!(
                "{}{}{}",
                self.count_of_boots(reading),
                in_flight(reading.overdue, reading.count.bad),
                match (slowness::slow(reading), burn::figure(reading)) {
                    (Some(slow), _) => format!(" {}", slowness::counted(slow)),
                    (None, Some(figure)) => figure,
                    (None, None) => String::new(),
                }
            ),
            Said::Level(level) => conditions::figure(member.rule, level),
        };
        let mut out = format!(
            "{}: {said}, firing since {}",
            member.rule.as_str(),
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

    fn moment(&self, at: Timestamp) -> String {
        self.context.moment(at, self.notification.at)
    }
}

fn in_flight(overdue: u32, bad: u32) -> String {
    match overdue {
        0 => String::new(),
        _ if overdue >= bad => " (still waiting, longer than healthy boots take)".to_owned(),
        _ => format!(" ({overdue} of them still waiting, longer than healthy boots take)"),
    }
}

/// A share as people say it: `5 %`, `0.5 %`.
fn share(share: f64) -> String {
    let percent = (share * 1000.0).round() / 10.0;
    format!("{percent} %")
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

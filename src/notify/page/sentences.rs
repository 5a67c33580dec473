//! An incident in sentences: its title, its summary and what is said beside them.

use super::figures::{bad_of, length, odds, share};
use super::{Context, append, burn, conditions, diagnosis, slowness};
use crate::core::alert::{Cause, Incident, Member, Notification, Other, Reason};
use crate::core::condition::{Condition, Level};
use crate::core::digits::grouped;
use crate::core::event::{Failure, Timestamp, VmType};
use crate::core::rule::{Reading, Said, Stretch};
use crate::core::slowness::Slowness;

/// Another kind of VM with a larger share of failures than this is not called unaffected.
const UNAFFECTED_SHARE: f64 = 0.05;
/// From this share on a title says that boots fail, and not how many of them.
const MOST_OF_THEM: f64 = 0.5;

/// The sentences of one notification.
pub(super) struct Words<'a> {
    pub(super) notification: &'a Notification,
    pub(super) incident: &'a Incident,
    pub(super) context: &'a Context,
}

impl Words<'_> {
    pub(super) fn kind(&self) -> &'static str {
        self.incident.subject.vm_type().map_or("", VmType::spoken)
    }

    /// The trouble as it was told first, without its figures: both change, and a thread of mails has one subject.
    pub(super) fn subject(&self) -> String {
        let (kind, host) = (self.kind(), &self.incident.host);
        let first = self.incident.first_cause();
        let cause = first.meaning();
        match first {
            Cause::Failure(_) => {}
            Cause::Condition(_) => return format!("{host}: {cause}"),
            Cause::Slowness(_) => return format!("{kind} boots are slower on {host}: {cause}"),
        }
        format!("{kind} boots fail on {host}: {cause}")
    }

    pub(super) fn firing_title(&self) -> String {
        let kind = self.kind();
        let verb = if self.all_in_flight() {
            "do not become ready"
        } else {
            "fail"
        };
        let who = match self.strongest().map(|(_, reading)| reading.count) {
            Some(count) if count.share() < MOST_OF_THEM => {
                format!("{} {kind} boots", bad_of(count))
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
        let why = diagnosis::cause(self.incident).unwrap_or(cause.meaning());
        format!("{who} {verb}{mostly}: {why}, since {since}")
    }

    pub(super) fn firing_summary(&self) -> String {
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
        if diagnosis::cause(self.incident).is_some() {
            let cause = self.incident.cause;
            append(&mut out, format_args!(" Seen: {}.", cause.meaning()));
        }
        self.append_before(&mut out);
        if let Some(said) = self.burns() {
            append(&mut out, format_args!(" {said}"));
        }
        self.append_image(&mut out);
        self.append_company(&mut out);
        out
    }

    /// What is said of the budget, if the incident is about it.
    pub(super) fn burns(&self) -> Option<String> {
        let members = self.incident.members.iter();
        let mut readings = members.filter_map(|member| member.reading.boots());
        readings.find_map(burn::sentence)
    }

    /// Title and summary of boots that take longer.
    pub(super) fn slow(&self, slowness: Slowness) -> (String, String) {
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

    pub(super) fn no_longer_slow(&self) -> (String, String) {
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
    pub(super) fn append_image(&self, out: &mut String) {
        let Some(change) = &self.incident.image else {
            return;
        };
        append(
            out,
            format_args!(
                " The golden image changed {}, {} before its first failed boot: of its boots {} failed",
                self.moment(change.changed_at),
                length(change.to_first_failure_ms),
                bad_of(change.since)
            ),
        );
        match change.before {
            Some(before) => append(
                out,
                format_args!(", of the image's before it {}.", bad_of(before)),
            ),
            None => out.push('.'),
        }
    }

    pub(super) fn append_company(&self, out: &mut String) {
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
    pub(super) fn holds(&self, condition: Condition) -> (String, String) {
        let holding = self.holding();
        let began = self.incident.first_bad_at;
        let since = holding.map_or(began, |(member, _)| self.incident.since(member));
        let (host, since) = (&self.incident.host, self.moment(since));
        let what = conditions::title(condition, holding.map(|(_, level)| level));
        let mut summary = format!("On {host}, since {since}");
        if let Some((member, level)) = holding {
            append(
                &mut summary,
                format_args!(": {}", conditions::figure(member.rule, level)),
            );
        }
        append(
            &mut summary,
            format_args!(". {}", conditions::consequence(condition)),
        );
        if let Some(Cause::Condition(_)) = self.incident.before.map(|(before, _)| before) {
            self.append_before(&mut summary);
        }
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
    pub(super) fn over(&self, condition: Condition) -> (String, String) {
        let host = &self.incident.host;
        let cause = match self.incident.before {
            Some((Cause::Condition(before), _)) => {
                format!("{}, then: {}", before.meaning(), condition.meaning())
            }
            _ => condition.meaning().to_owned(),
        };
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

    /// The member about the condition that is the cause, and what it found.
    pub(super) fn holding(&self) -> Option<(&Member, &Level)> {
        let Cause::Condition(condition) = self.incident.cause else {
            return None;
        };
        let mut members = self.incident.members.iter();
        let member = members.find(|member| member.rule == condition.rule())?;
        match &member.reading {
            Said::Level(level) => Some((member, level)),
            Said::Boots(_) => None,
        }
    }

    /// What it was put down to before; the end of a summary.
    fn append_before(&self, out: &mut String) {
        if let Some((before, at)) = self.incident.before {
            let (before, at) = (before.meaning(), self.moment(at));
            append(out, format_args!(" Until {at} it was: {before}."));
        }
    }

    /// The member that says most, and what it says of boots: nothing where that is a condition.
    pub(super) fn strongest(&self) -> Option<(&Member, &Reading)> {
        let member = self.incident.strongest()?;
        Some((member, member.reading.boots()?))
    }

    pub(super) fn resolved_title(&self) -> String {
        if self.notification.reason == Reason::RuleRemoved {
            return format!(
                "{} boots are not judged any more, the rule was removed; it was: {}",
                self.kind(),
                self.incident.cause.meaning()
            );
        }
        let over = self.over_since(self.notification.at);
        let lasted = length(over.since(self.incident.first_bad_at));
        let why = match (diagnosis::cause(self.incident), self.incident.cause) {
            (Some(cause), _) => format!("it was: {cause}"),
            (None, Cause::Failure(Failure::Unknown)) => {
                "they failed, and the log does not say why".to_owned()
            }
            (None, cause) => format!("it was: {}", cause.meaning()),
        };
        format!(
            "{} boots are ready again since {}; for {lasted} {why}",
            self.kind(),
            self.moment(over)
        )
    }

    pub(super) fn resolved_summary(&self) -> String {
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
    pub(super) fn over_since(&self, closed: Timestamp) -> Timestamp {
        self.incident.over_since(closed)
    }

    /// Nothing has failed yet; the boots in flight are hopeless.
    pub(super) fn all_in_flight(&self) -> bool {
        self.strongest().is_some_and(|(_, reading)| {
            reading.count.bad > 0 && reading.overdue >= reading.count.bad
        })
    }

    /// `3 of the last 3 browser boots`, `30 of 200 browser boots in the last hour`.
    pub(super) fn count_of_boots(&self, reading: &Reading) -> String {
        let count = reading.count;
        let kind = self.kind();
        match reading.stretch {
            Stretch::Last(_) => format!(
                "{} of the last {} {kind} boots",
                grouped(count.bad.into()),
                grouped(count.of.into())
            ),
            Stretch::Span(_) => {
                format!("{} {kind} boots in the {}", bad_of(count), reading.stretch)
            }
        }
    }

    pub(super) fn figure(&self, member: &Member) -> String {
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
    pub(super) fn others(&self) -> (Vec<String>, Vec<String>) {
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
                grouped(count.of.saturating_sub(count.bad).into()),
                grouped(count.of.into()),
                when(other)
            )
        });
        // What is over is no company.
        let ill = ill.into_iter().filter(|other| !other.recovered);
        let ill = ill.map(|other| {
            format!(
                "{} boots, {} failed {}",
                other.vm_type.spoken(),
                bad_of(other.count),
                when(other)
            )
        });
        (well.collect(), ill.collect())
    }

    pub(super) fn boots(&self) -> Vec<String> {
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

    pub(super) fn moment(&self, at: Timestamp) -> String {
        self.context.moment(at, self.notification.at)
    }
}

fn in_flight(overdue: u32, bad: u32) -> String {
    match overdue {
        0 => String::new(),
        _ if overdue >= bad => " (still waiting, longer than healthy boots take)".to_owned(),
        _ => format!(
            " ({} of them still waiting, longer than healthy boots take)",
            grouped(overdue.into())
        ),
    }
}

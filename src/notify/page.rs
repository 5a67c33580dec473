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
mod diagnosis;
mod figures;
mod remarks;
mod sentences;
mod slowness;
mod steps;

use std::fmt::Write;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::clock;
use crate::config::Links;
use crate::core::alert::{Cause, Incident, Kind, Member, Notification, Reason, Remarks};
use crate::core::event::Timestamp;
use crate::core::rule::Severity;
use figures::length;
use sentences::Words;

const EVIDENCE_LINES: usize = 3;
/// A line of evidence, in characters.
const EVIDENCE_CHARS: usize = 500;

/// Where the reader is, and where a page leads.
#[derive(Clone, Debug)]
pub struct Context {
    pub zone: TimeZone,
    /// A rule's runbook is at this URL with the rule's name behind it.
    pub runbook_base: Option<String>,
    pub dashboard: Option<String>,
    /// Where our own pages are reached.
    pub pages: Option<String>,
}

impl Context {
    #[must_use]
    pub fn new(zone: TimeZone, links: &Links) -> Context {
        Context {
            zone,
            runbook_base: links.runbook_base.as_ref().map(ToString::to_string),
            dashboard: links.dashboard.as_ref().map(ToString::to_string),
            pages: links.pages.as_ref().map(ToString::to_string),
        }
    }

    #[must_use]
    pub fn runbook(&self, rule: &str) -> Option<String> {
        let base = self.runbook_base.as_ref()?;
        Some(format!("{}/{rule}", base.trim_end_matches('/')))
    }

    /// A member's runbook, at the section about the incident's cause if it has one: what holds has its own in its own
    /// runbook alone, and what boots fail of in those of rules about boots.
    #[must_use]
    pub fn runbook_of(&self, member: &Member, incident: &Incident) -> Option<String> {
        let runbook = self.runbook(member.rule.as_str())?;
        let of_boots = member.reading.boots().is_some();
        let has_section = match incident.cause {
            Cause::Failure(_) => of_boots,
            Cause::Condition(condition) => condition.rule() == member.rule,
            Cause::Slowness(_) => true,
        };
        Some(match has_section {
            true => format!("{runbook}#{}", incident.cause.as_str()),
            false => runbook,
        })
    }

    /// The incident's own page; the first one for what has none: a drill, and a digest of many.
    fn incident(&self, notification: &Notification) -> Option<String> {
        let base = self.pages.as_ref()?.trim_end_matches('/');
        let remarks = &notification.remarks;
        Some(match remarks.is_drill || remarks.digest.is_some() {
            true => format!("{base}/"),
            false => format!("{base}/incidents/{}", notification.incident.key),
        })
    }

    /// The time of day, with the date where it is another day than `today`'s.
    #[must_use]
    pub fn moment(&self, at: Timestamp, today: Timestamp) -> String {
        let Some(shown) = at.in_zone(&self.zone) else {
            return "an unknown time".to_owned();
        };
        let same = today
            .in_zone(&self.zone)
            .is_some_and(|today| today.date() == shown.date());
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
    /// Nothing of its incident came before it: a mail is no answer to another.
    pub is_first: bool,
    pub severity: Severity,
    pub title: String,
    /// What stays the same from the first message to the last: a mail's subject.
    pub subject: String,
    /// Which controller host.
    pub host: String,
    pub summary: String,
    /// What is new since the first message, as its summary begins with it, if behind the word that it is a drill.
    pub news: Option<String>,
    /// How the other kinds of VM do, where they do well.
    pub not_affected: Option<String>,
    /// One line a member of the incident, in their order.
    pub figures: Vec<String>,
    pub evidence: Vec<String>,
    /// What it is put down to: the verdict, what speaks for and against it, what else it may be.
    pub diagnosis: Vec<String>,
    /// How a fix stands.
    pub fix: Option<String>,
    /// What to do first, while it lasts.
    pub first_step: Option<&'static str>,
    pub boots: Vec<String>,
    pub incident_url: Option<String>,
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
        let holding = words.holding().map(|(member, _)| member);
        let rule = holding.or(incident.strongest()).map(|member| member.rule);
        let mut page = Page {
            status: if resolved {
                Status::Resolved
            } else {
                Status::Firing
            },
            is_test: false,
            is_drill: false,
            is_first: notification.kind == Kind::Firing,
            severity: incident.severity(),
            title,
            subject: words.subject(),
            host: incident.host.clone(),
            summary,
            news: None,
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
            diagnosis: diagnosis::lines(incident, context),
            fix: incident.fix.as_ref().map(|fix| {
                let first = incident.first_bad_at;
                diagnosis::fix(fix, notification.kind, first, |at| words.moment(at))
            }),
            first_step: (!resolved).then(|| match incident.cause {
                Cause::Failure(failure) => steps::first_step(failure, incident.diagnosis.as_ref()),
                Cause::Condition(condition) => conditions::first_step(condition),
                Cause::Slowness(slowness) => slowness::first_step(slowness),
            }),
            boots: words.boots(),
            runbook_url: rule
                .and_then(|rule| context.runbook(rule.as_str()))
                .map(|runbook| format!("{runbook}#{}", incident.cause.as_str())),
            incident_url: context.incident(notification),
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
        let ms = clock::millis(age);
        append(
            &mut self.summary,
            format_args!(
                " This message is {} late: this channel could not be reached before.",
                length(ms)
            ),
        );
        self
    }

    /// What came before it was never told here.
    #[must_use]
    pub fn first(mut self) -> Page {
        self.is_first = true;
        // To whom nothing was told, nothing of it is new.
        if let Some(news) = self.news.take() {
            self.summary = self.summary.replacen(&news, "", 1);
        }
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
            diagnosis: Vec::new(),
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
        if let Some(fix) = &self.fix {
            out.push('\n');
            out.push_str(fix);
        }
        if !self.diagnosis.is_empty() {
            out.push('\n');
        }
        for line in &self.diagnosis {
            append(&mut out, format_args!("\n{line}"));
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
        let mut gap = "\n\n";
        for (name, url) in self.links() {
            append(&mut out, format_args!("{gap}{name}: {url}"));
            gap = "\n";
        }
        out
    }

    /// Where it leads, the nearest first.
    pub(super) fn links(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let links = [
            ("Incident", &self.incident_url),
            ("Runbook", &self.runbook_url),
            ("Dashboard", &self.dashboard_url),
        ];
        links
            .into_iter()
            .filter_map(|(name, url)| Some((name, url.as_deref()?)))
    }

    /// The one place for a channel that has room for one.
    pub(super) fn main_url(&self) -> Option<&str> {
        let url = self.incident_url.as_deref();
        url.or(self.dashboard_url.as_deref())
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
            is_first: !resolved,
            severity: Severity::Ticket,
            title,
            subject: format!("[TEST] bootwatch on {host} reaches this channel"),
            host: host.to_owned(),
            summary,
            news: None,
            not_affected: None,
            figures: Vec::new(),
            evidence: Vec::new(),
            diagnosis: Vec::new(),
            fix: None,
            first_step: None,
            boots: Vec::new(),
            incident_url: None,
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

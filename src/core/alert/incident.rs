//! Incidents: what one page is about, from its first alert to its end.

use serde::{Deserialize, Serialize};

use super::diagnose::News;
use super::keep::Place;
use super::notification::notify;
use super::trouble::{EVIDENCE, Trouble};
use super::{Cause, Effect, Engine, Family, Kind, Reason, Subject};
use crate::core::boot::Boot;
use crate::core::condition::Condition;
use crate::core::diagnosis::{Diagnosis, Verdict};
use crate::core::event::{Failure, SessionId, Timestamp, UserKey, VmId, VmType};
use crate::core::fix::Fix;
use crate::core::generations::ImageChange;
use crate::core::rule::{Reading, RuleName, Said, Severity, Stretch};
use crate::core::window::Count;

/// Resolved incidents kept.
pub(super) const CLOSED: usize = 200;

/// One alert within an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub rule: RuleName,
    pub severity: Severity,
    pub fired_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    pub reading: Said,
    /// Since when that holds, where it does not since the incident began: of a condition that joined, or that became
    /// another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// A boot named in a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedBoot {
    pub vm: Option<VmId>,
    pub session: Option<SessionId>,
    pub started_at: Timestamp,
    pub failure: Option<Failure>,
}

/// How another kind of VM did meanwhile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Other {
    pub vm_type: VmType,
    pub count: Count,
    /// The last hour, or where it holds no boot, the last few.
    pub stretch: Stretch,
    /// When its newest boot ended.
    pub newest_at: Timestamp,
    /// Its boots failed, and since the end of that they do no more: the count still holds what is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Stable for the incident's life; every notification about it carries it.
    pub key: String,
    pub host: String,
    #[serde(alias = "vm_type")]
    pub subject: Subject,
    pub family: Family,
    /// What most of the bad boots died of, or what holds.
    pub cause: Cause,
    /// When the first bad boot of the present run began, or since when it holds.
    pub first_bad_at: Timestamp,
    pub fired_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    /// When the first good boot after it ended, of what is about boots; else since when it does not hold any more.
    pub good_since: Option<Timestamp>,
    pub members: Vec<Member>,
    /// Other kinds of VM and their latest boots.
    pub others: Vec<Other>,
    pub evidence: Vec<String>,
    pub boots: Vec<NamedBoot>,
    /// When what was held back is to be sent.
    pub(super) update_due: Option<Timestamp>,
    /// It is a verdict or a cause alone, of which nothing may be left by then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) may_lapse: bool,
    pub(super) flapping: bool,
    /// What it was put down to at first, if that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) at_first: Option<Cause>,
    /// What it was put down to before, and since when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<(Cause, Timestamp)>,
    /// The audit's line, where the golden image is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) image_line: Option<String>,
    /// Whose console is shown, and what it said; told later than the incident, and of no weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) console_of: Option<VmId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub console: Vec<String>,
    /// What is known of the image that its boots were copied from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageChange>,
    /// What its rule finds instead of what it is put down to, and since when: not for long enough yet.
    #[serde(skip)]
    pub(super) instead: Option<(Condition, Timestamp)>,
    /// Nobody was told yet that the cause is another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) turned: bool,
    /// The cause that was told last, and what was told of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cause_told: Option<(Cause, Option<(Cause, Timestamp)>)>,
    /// Why, as far as is known; of boots that fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
    /// The verdict that was told last, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) verdict_told: Option<Verdict>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) verdict_told_at: Option<Timestamp>,
    /// What nobody was told yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) news: Option<News>,
    /// What may have helped, and the boots since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
}

impl Engine {
    pub(super) fn alert_fired(
        &mut self,
        rule: RuleName,
        vm_type: VmType,
        reading: Reading,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let trouble = if rule.times() {
            self.slower(rule, vm_type, now)
        } else {
            Trouble::of_boots(rule, &self.bad_boots(rule, vm_type, reading), now)
        };
        self.fired(
            rule,
            vm_type.into(),
            Said::Boots(reading),
            trouble,
            now,
            out,
        );
    }

    /// Joins the open incident, or opens one and notifies.
    pub(super) fn fired(
        &mut self,
        rule: RuleName,
        subject: Subject,
        reading: Said,
        trouble: Trouble,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let severity = rule.severity();
        let mut member = Member {
            rule,
            severity,
            fired_at: now,
            resolved_at: None,
            reading,
            since: None,
        };
        let Trouble {
            cause,
            family,
            first_bad_at,
            boots,
            evidence,
        } = trouble;
        let others = self.others(subject, now);
        let change = self.image_beside(subject, family, first_bad_at);
        let wait = self.settings.group_wait_ms;
        let flapping = self
            .alerts
            .get(&(rule, subject))
            .is_some_and(|state| state.is_flapping());
        self.touched.mark(Place::Incident(subject, family));
        if let Some(incident) = self.incidents.get_mut(&(subject, family)) {
            // An image is named with the boots that fail of it: since they do, not since it was written.
            let holds = reading.boots().is_none() && !is_image(cause);
            member.since = holds.then_some(first_bad_at);
            // One that fires again keeps its place: the first is what the first message told.
            match incident.members.iter_mut().find(|known| known.rule == rule) {
                Some(known) => *known = member,
                None => incident.members.push(member),
            }
            incident.others = others;
            if !boots.is_empty() {
                incident.boots = boots;
            }
            if is_image(cause) {
                incident.image_line = evidence.into_iter().next();
                if incident.cause != cause {
                    incident.turns(cause, now, wait);
                }
                incident.evidence = incident.with_image_line(incident.evidence.clone());
            } else if !evidence.is_empty() && (reading.boots().is_some() || incident.cause == cause)
            {
                incident.evidence = incident.with_image_line(evidence);
            }
            incident.image = change;
            incident.flapping |= flapping;
            // A symptom of what is known already is no news.
            if !rule.burns() || flapping {
                incident.holds(now.plus_ms(wait));
            }
            return;
        }
        let mut incident = Incident {
            first_bad_at,
            members: vec![member],
            others,
            boots,
            flapping,
            image_line: is_image(cause).then(|| evidence.first().cloned()).flatten(),
            evidence,
            image: change,
            ..Incident::begun(
                self.key(subject, family, now),
                &self.settings.host,
                (subject, family, cause),
                now,
            )
        };
        if let Some(vm_type) = subject.vm_type().filter(|_| incident.asks_why()) {
            incident.diagnosis = self.diagnosed(vm_type, first_bad_at, now);
        }
        let reason = if flapping {
            Reason::Flapping
        } else {
            Reason::FirstAlert
        };
        incident.tells(now);
        notify(Kind::Firing, reason, now, &incident, out);
        self.incidents.insert((subject, family), incident);
    }

    pub(super) fn alert_resolved(
        &mut self,
        rule: RuleName,
        subject: Subject,
        good_since: Option<Timestamp>,
        reason: Reason,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let touched = &mut self.touched;
        let over: Vec<(Subject, Family)> = self
            .incidents
            .iter_mut()
            .filter(|((about, _), _)| *about == subject)
            .filter_map(|(place, incident)| {
                let member = incident
                    .members
                    .iter_mut()
                    .find(|m| m.rule == rule && m.resolved_at.is_none())?;
                member.resolved_at = Some(now);
                touched.mark(Place::Incident(place.0, place.1));
                // An audit of the image comes later than the boots that were ready again, and says nothing of them.
                let of_boots = member.reading.boots().is_some();
                if of_boots || !incident.is_about_boots() {
                    incident.good_since = incident.good_since.max(good_since);
                }
                incident
                    .members
                    .iter()
                    .all(|member| member.resolved_at.is_some())
                    .then_some(*place)
            })
            .collect();
        for place in over {
            let Some(mut incident) = self.incidents.remove(&place) else {
                continue;
            };
            incident.resolved_at = Some(now);
            incident.update_due = None;
            incident.others = self.others(subject, now);
            let (family, first) = (incident.family, incident.first_bad_at);
            incident.image = self.image_beside(subject, family, first).or(incident.image);
            notify(Kind::Resolved, reason, now, &incident, out);
            if self.closed.len() == CLOSED {
                self.closed.pop_front();
            }
            self.touched.mark(Place::closed(self.closed_ever));
            self.closed_ever += 1;
            self.closed.push_back(incident);
            self.company_left(subject, now);
        }
    }

    /// What is shown of others beside those that are still open must not say that these boots fail.
    fn company_left(&mut self, over: Subject, now: Timestamp) {
        let Some(vm_type) = over.vm_type() else {
            return;
        };
        let beside: Vec<(Subject, Family)> = self
            .incidents
            .iter()
            .filter(|((subject, _), incident)| {
                let mut others = incident.others.iter();
                *subject != over && others.any(|other| other.vm_type == vm_type)
            })
            .map(|(place, _)| *place)
            .collect();
        for place in beside {
            let others = self.others(place.0, now);
            if let Some(incident) = self.incidents.get_mut(&place) {
                incident.others = others;
                self.learned += 1;
                self.touched.mark(Place::Incident(place.0, place.1));
            }
        }
    }

    /// Of what was read so far, and not of the moment at which it is: whoever dies before it could save a page and
    /// reads the same log again makes the same key of it. What is not about boots has only the moment.
    fn key(&self, subject: Subject, family: Family, now: Timestamp) -> String {
        let of_type = subject
            .vm_type()
            .and_then(|vm_type| self.types.get(&vm_type));
        let newest = of_type.and_then(|of_type| of_type.newest).unwrap_or(now);
        let boots = of_type.map_or(0, |of_type| of_type.window.added());
        let counts = [boots, self.closed_ever];
        key(&self.settings.host, subject, family, newest, counts)
    }

    /// Sends what was held back and is due, with the figures of now.
    pub(super) fn send_updates(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let due = |incident: &Incident| incident.update_due.is_some_and(|due| due <= now);
        let due: Vec<(Subject, Family)> = self
            .incidents
            .iter()
            .filter(|(_, incident)| due(incident))
            .map(|(place, _)| *place)
            .collect();
        for (subject, family) in due {
            let (readings, others) = (self.readings(subject, now), self.others(subject, now));
            let Some(incident) = self.incidents.get_mut(&(subject, family)) else {
                continue;
            };
            incident.update_due = None;
            self.touched.mark(Place::Incident(subject, family));
            let lapsed = std::mem::take(&mut incident.may_lapse);
            let reason = match (incident.flapping, incident.turned, incident.news) {
                (_, false, None) if lapsed => continue,
                (true, _, _) => Reason::Flapping,
                (false, true, _) => Reason::CauseChanged,
                (false, false, Some(News::Fix)) => Reason::FixNotConfirmed,
                (false, false, Some(News::Verdict)) => Reason::VerdictChanged,
                (false, false, None) => Reason::FurtherAlert,
            };
            incident.turned = false;
            incident.others = others;
            incident.tells(now);
            // What it keeps is what its alerts said as they fired.
            let mut told = incident.clone();
            told.reads(&readings);
            notify(Kind::Update, reason, now, &told, out);
        }
    }
}

impl Engine {
    /// What is known of the image beside a trouble of that kind.
    fn image_beside(
        &self,
        subject: Subject,
        family: Family,
        first_bad_at: Timestamp,
    ) -> Option<ImageChange> {
        let of_guests = subject == Subject::Boots(VmType::Browser) && family == Family::Guest;
        of_guests
            .then(|| self.generations.beside(first_bad_at))
            .flatten()
    }

    /// A failed boot's evidence grew: the incident that names it shows it, and nobody is told anew.
    pub(super) fn evidence_grew(&mut self, boot: &Boot) {
        let console = console_lines(boot);
        let subject = Subject::Boots(boot.kind());
        if console.is_empty() {
            return;
        }
        for (place, incident) in &mut self.incidents {
            let named = incident.boots.iter().any(|known| known.vm == boot.vm);
            if place.0 != subject
                || !named
                || incident.console_of.is_some_and(|vm| Some(vm) != boot.vm)
            {
                continue;
            }
            incident.console_of = boot.vm;
            incident.console.clone_from(&console);
            self.learned += 1;
            self.touched.mark(Place::Incident(place.0, place.1));
        }
    }
}

/// Lines of one console that an incident shows.
const CONSOLE_LINES: usize = 4;

/// What a boot's console said, and its last words: redacted.
fn console_lines(boot: &Boot) -> Vec<String> {
    let Some(console) = &boot.console else {
        return Vec::new();
    };
    let tail = &console.tail.console;
    let said = console.sentence().into_iter();
    let last = tail
        .iter()
        .skip(tail.len().saturating_sub(CONSOLE_LINES - 1));
    said.chain(last.map(|line| format!("console: {line}")))
        .collect()
}

pub(super) fn is_image(cause: Cause) -> bool {
    matches!(cause, Cause::Condition(Condition::GoldenImageBroken))
}

impl Incident {
    /// The audit's line before the boots' own.
    pub(super) fn with_image_line(&self, evidence: Vec<String>) -> Vec<String> {
        let line = self.image_line.iter().cloned();
        let others = evidence
            .into_iter()
            .filter(|other| Some(other) != self.image_line.as_ref());
        line.chain(others).take(EVIDENCE).collect()
    }

    /// One that begins now, of which nothing more is known.
    pub(super) fn begun(
        key: String,
        host: &str,
        (subject, family, cause): (Subject, Family, Cause),
        at: Timestamp,
    ) -> Incident {
        Incident {
            key,
            host: host.to_owned(),
            subject,
            family,
            cause,
            first_bad_at: at,
            fired_at: at,
            resolved_at: None,
            good_since: None,
            members: Vec::new(),
            others: Vec::new(),
            evidence: Vec::new(),
            boots: Vec::new(),
            update_due: None,
            may_lapse: false,
            flapping: false,
            at_first: None,
            before: None,
            image_line: None,
            console_of: None,
            console: Vec::new(),
            image: None,
            instead: None,
            turned: false,
            cause_told: None,
            diagnosis: None,
            verdict_told: None,
            verdict_told_at: None,
            news: None,
            fix: None,
        }
    }

    /// About nothing: what a channel's test is about.
    #[must_use]
    pub fn test(host: &str, at: Timestamp, resolved: bool) -> Incident {
        let (subject, cause) = (Subject::Boots(VmType::Browser), Failure::Unknown);
        let family = Family::of(cause);
        let key = format!("test-{}", key(host, subject, family, at, [0, 0]));
        Incident {
            resolved_at: resolved.then_some(at),
            ..Incident::begun(key, host, (subject, family, cause.into()), at)
        }
    }

    /// What stands for it and for others, under another key: nothing that only it knows.
    #[must_use]
    pub fn for_many(&self, key: String) -> Incident {
        Incident {
            first_bad_at: self.first_bad_at,
            members: self.members.clone(),
            ..Incident::begun(
                key,
                &self.host,
                (self.subject, self.family, self.cause),
                self.fired_at,
            )
        }
    }

    /// Whether boots are what it is about, alone or with what holds beside them.
    #[must_use]
    pub fn is_about_boots(&self) -> bool {
        let mut members = self.members.iter();
        members.any(|member| member.reading.boots().is_some())
    }

    /// What it was put down to when it was first told.
    #[must_use]
    pub fn first_cause(&self) -> Cause {
        self.at_first.unwrap_or(self.cause)
    }

    /// Since when that holds which a member of it found.
    #[must_use]
    pub fn since(&self, member: &Member) -> Timestamp {
        let with_it = member.fired_at == self.fired_at || is_image(self.cause);
        let known = if with_it {
            self.first_bad_at
        } else {
            member.fired_at
        };
        member.since.unwrap_or(known)
    }

    /// When it was over: the first good boot's end, or where none is known, `closed`.
    #[must_use]
    pub fn over_since(&self, closed: Timestamp) -> Timestamp {
        self.good_since.unwrap_or(closed).max(self.first_bad_at)
    }

    #[must_use]
    pub fn is_firing(&self) -> bool {
        self.resolved_at.is_none()
    }

    /// Those of its alerts that fire.
    pub fn firing(&self) -> impl Iterator<Item = &Member> {
        let members = self.members.iter();
        members.filter(|member| member.resolved_at.is_none())
    }

    /// The member that says most: of those that fire, if any still does, the one with the most bad boots.
    #[must_use]
    pub fn strongest(&self) -> Option<&Member> {
        self.members.iter().max_by_key(|member| {
            let fires = member.resolved_at.is_none();
            let bad = member.reading.bad();
            (fires, bad, std::cmp::Reverse(member.rule))
        })
    }

    #[must_use]
    pub fn severity(&self) -> Severity {
        self.members
            .iter()
            .map(|member| member.severity)
            .min()
            .unwrap_or(Severity::Ticket)
    }
}

/// 32 hex digits of host, subject, family, and what had been read when it fired: the newest boot's end, how many boots
/// there were, and how many incidents had closed.
pub(super) fn key(
    host: &str,
    subject: Subject,
    family: Family,
    at: Timestamp,
    counts: [u64; 2],
) -> String {
    let (family, [boots, closed]) = (family.as_str(), counts);
    let place = format!("{host}\0{subject}\0{family}\0{}\0{boots}\0{closed}", at.0);
    format!("{:032x}", UserKey::from_text(place.as_bytes()).0)
}

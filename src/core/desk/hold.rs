//! What keeps an incident quiet: a silence, a cause of which it is a symptom, or a cause that may still come.

use super::{Desk, Labels, Silence, Told, inhibit};
use crate::core::alert::{HeldBack, Incident, Member};
use crate::core::event::{Timestamp, VmType};
use crate::core::rule::Severity;

impl Desk {
    /// What keeps an incident quiet, if something does.
    pub(super) fn hold(&self, told: &Told, now: Timestamp) -> Option<HeldBack> {
        let incident = &told.latest.incident;
        if let Some(silence) = self.silence_on(told, now) {
            return Some(HeldBack::Silenced {
                id: silence.id,
                author: silence.author.clone(),
                reason: silence.reason.clone(),
            });
        }
        if told.sent || self.storm.has_told(&incident.key) || told.is_digest(&self.storm) {
            return None;
        }
        if let Some(cause) = self.cause_of(incident) {
            return Some(HeldBack::Inhibited {
                by: cause.key.clone(),
            });
        }
        let waits = told.waits_until.is_some_and(|until| now < until);
        let is_ticket = incident.severity() == Severity::Ticket;
        (waits && is_ticket && inhibit::may_be_symptom(incident)).then_some(HeldBack::Waiting)
    }

    /// As `hold`, for whoever looks: also what is told by a digest.
    pub(super) fn standing_hold(&self, told: &Told, now: Timestamp) -> Option<HeldBack> {
        self.hold(told, now).or_else(|| told.held.clone())
    }

    /// The silence that keeps it quiet: of a digest, where there is one for each incident of it that fires.
    pub(super) fn silence_on(&self, told: &Told, now: Timestamp) -> Option<&Silence> {
        let Some(open) = self.storm.digest(&told.latest.incident.key) else {
            return self.silence_of(&told.latest.incident, now);
        };
        let of = |key: &String| self.silence_of(&self.told.get(key)?.latest.incident, now);
        let found: Option<Vec<&Silence>> = open.firing().map(of).collect();
        found?.into_iter().min_by_key(|one| one.ends_at)
    }

    /// The silence, if there is one for each alert of it that fires: the one that ends last.
    fn silence_of(&self, incident: &Incident, now: Timestamp) -> Option<&Silence> {
        let active: Vec<&Silence> = self
            .silences
            .values()
            .filter(|one| one.is_active(now))
            .collect();
        let of = |labels: Labels<'_>| {
            let matching = active.iter().filter(|one| one.matches(&labels));
            matching.max_by_key(|one| one.ends_at).copied()
        };
        let mut members = incident.firing().peekable();
        members.peek()?;
        let found: Option<Vec<&Silence>> = members
            .map(|member| of(labels_of(incident, member)))
            .collect();
        found?.into_iter().min_by_key(|one| one.ends_at)
    }

    /// What explains an incident: another that fires, or did until a moment ago, and is explained by nothing itself.
    fn cause_of(&self, incident: &Incident) -> Option<&Incident> {
        // A digest bears the words of its first incident, which may be over.
        let told = self.told.values();
        let told = told.filter(|told| !told.is_digest(&self.storm));
        let firing = told.map(|told| &told.latest.incident);
        let gone = self.gone.iter().map(|gone| &gone.incident);
        let all = || firing.clone().chain(gone.clone());
        all().find(|cause| {
            inhibit::explains(cause, incident)
                && !all().any(|other| inhibit::explains(other, cause))
        })
    }
}

/// The labels by which a silence knows an alert.
fn labels_of<'a>(incident: &'a Incident, member: &Member) -> Labels<'a> {
    Labels {
        rule: member.rule.as_str(),
        severity: member.severity.as_str(),
        vm_type: incident.subject.vm_type().map_or("", VmType::as_str),
        host: &incident.host,
        cause: incident.cause.as_str(),
    }
}

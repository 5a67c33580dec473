//! The course of an incident that goes on: most boots may come to fail of something else.
//!
//! The incident stays the same, with its key and its family: whoever was paged is at it, and what it was put down to
//! first may have hidden the other. But it says so, in an update.

use super::incident::{lines, named};
use super::keep::Place;
use super::state::AlertState;
use super::{Cause, Engine, Incident, Subject};
use crate::core::event::{Failure, Timestamp, VmType};
use crate::core::rule::{Reading, RuleName, Said};
use crate::core::window::Judged;

/// Of so many last bad boots,
const LATEST: usize = 6;
/// so many must have failed of the same: two causes side by side are told as one and "mostly".
pub(super) const MOST: usize = 5;
/// What a probe says of boots is no coincidence of two causes: all that there are must agree, and be so many.
pub(super) const LEAST_AMENDED: usize = 2;
/// It is told no more often than this.
pub(super) const INTERVAL_MS: i64 = 5 * 60_000;

impl Engine {
    /// Looks at the open incidents after a bad boot, or after one is known better: `least` of the last ones, or nearly all,
    /// must agree.
    pub(super) fn follow_cause(&mut self, vm_type: VmType, least: usize, now: Timestamp) {
        let subject = Subject::Boots(vm_type);
        let turned: Vec<_> = self
            .incidents
            .iter()
            .filter(|((about, _), incident)| {
                *about == subject && incident.cause.failure().is_some()
            })
            .filter_map(|(place, incident)| {
                let open = incident
                    .members
                    .iter()
                    .filter(|member| member.resolved_at.is_none());
                let rules: Vec<RuleName> = open.map(|member| member.rule).collect();
                let bad = self.latest_bad(vm_type, &rules);
                let cause = most(&bad, least).filter(|cause| incident.cause != *cause)?;
                Some((*place, cause, bad.into_iter().cloned().collect::<Vec<_>>()))
            })
            .collect();
        let wait = self.settings.group_wait_ms;
        for (place, cause, bad) in turned {
            let readings = self.readings(place.0, now);
            let Some(incident) = self.incidents.get_mut(&place) else {
                continue;
            };
            let told = incident.before.map_or(Timestamp::MIN, |(_, at)| at);
            incident.before = Some((incident.cause, now));
            incident.cause = Cause::Failure(cause);
            incident.turned = true;
            // It turned, and turned back before anybody was told.
            if let Some((_, before)) = incident
                .cause_told
                .filter(|(told, _)| *told == incident.cause)
            {
                incident.before = before;
                incident.turned = false;
            }
            incident.boots = named(&bad);
            incident.evidence = incident.with_image_line(lines(&bad));
            incident.reads(&readings);
            if incident.turned {
                incident.holds_for_now(now.plus_ms(wait).max(told.plus_ms(INTERVAL_MS)));
            }
            self.touched.mark(Place::Incident(place.0, place.1));
        }
    }

    /// The last bad boots that any of the rules counts, newest first.
    fn latest_bad(&self, vm_type: VmType, rules: &[RuleName]) -> Vec<&Judged> {
        let counted = |failure: Failure| rules.iter().any(|rule| rule.counts(failure));
        let last = self
            .types
            .get(&vm_type)
            .map(|of_type| of_type.window.last(Timestamp::MIN));
        last.into_iter()
            .flatten()
            .filter(|boot| boot.failure.is_some_and(counted))
            .take(LATEST)
            .collect()
    }

    /// An open incident with the figures of now: what is told again, or late, tells none of when it fired.
    #[must_use]
    pub fn as_of(&self, key: &str, now: Timestamp) -> Option<Incident> {
        let mut open = self.incidents.iter();
        let (place, incident) = open.find(|(_, incident)| incident.key == key)?;
        let mut incident = incident.clone();
        incident.reads(&self.readings(place.0, now));
        incident.others = self.others(place.0, now);
        Some(incident)
    }

    /// What the rules that fire say now.
    pub(super) fn readings(&self, subject: Subject, now: Timestamp) -> Vec<(RuleName, Said)> {
        let firing = self.alerts.iter();
        let firing = firing.filter(|((_, about), state)| *about == subject && state.is_firing());
        firing
            .filter_map(|((rule, _), state)| {
                let said = match self.levels.get(rule) {
                    Some(level) => Said::Level(*level),
                    None => Said::Boots(self.reads_of_boots(*rule, subject, state, now)?),
                };
                Some((*rule, said))
            })
            .collect()
    }

    fn reads_of_boots(
        &self,
        rule: RuleName,
        subject: Subject,
        state: &AlertState,
        now: Timestamp,
    ) -> Option<Reading> {
        let of_type = self.types.get(&subject.vm_type()?)?;
        let settings = self.settings.rules.get(&rule)?;
        let overdue = of_type.overdue_by(rule, settings);
        let newest = of_type.newest.unwrap_or(now);
        let reading = of_type.reading(rule, settings, overdue, state, 0.0, newest);
        // Hardly any more bad than usual, it fires on: told is what there is.
        (reading.bad || reading.count.bad > 0).then_some(reading)
    }
}

impl Incident {
    /// Takes what rules say now into the alerts that still fire.
    pub(super) fn reads(&mut self, readings: &[(RuleName, Said)]) {
        for member in &mut self.members {
            let reading = readings.iter().find(|(rule, _)| *rule == member.rule);
            if let Some((_, reading)) = reading.filter(|_| member.resolved_at.is_none()) {
                member.reading = *reading;
            }
        }
    }
}

/// What nearly all of them died of.
fn most(bad: &[&Judged], least: usize) -> Option<Failure> {
    let wanted = least.max(bad.len().saturating_sub(1)).min(MOST);
    let mut failures = bad.iter().filter_map(|boot| boot.failure);
    failures.find(|failure| {
        let same = bad.iter().filter(|boot| boot.failure == Some(*failure));
        same.count() >= wanted
    })
}

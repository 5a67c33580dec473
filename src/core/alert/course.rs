//! The course of an incident that goes on: most boots may come to fail of something else, and what it was put down to may
//! be over while what joined it holds.
//!
//! The incident stays the same, with its key and its family: whoever was paged is at it, and what it was put down to
//! first may have hidden the other. But it says so, in an update.

use super::incident::is_image;
use super::keep::Place;
use super::state::AlertState;
use super::trouble::{cause_of, lines, named, shown};
use super::{Cause, Engine, Incident, Subject};
use crate::core::condition::{Condition, Fact};
use crate::core::event::{Failure, Timestamp, VmType};
use crate::core::rule::{Besides, Reading, RuleName, Said};
use crate::core::window::Judged;

/// Of so many last bad boots,
const LATEST: usize = 6;
/// so many must have failed of the same: two causes side by side are told as one and "mostly".
pub(super) const MOST: usize = 5;
/// What a probe says of boots is no coincidence of two causes: all that there are must agree, and be so many.
pub(super) const LEAST_AMENDED: usize = 2;
/// A rule that finds something else must find it for so long: a database that starts shows this and that.
const LASTS_MS: i64 = 60_000;
/// It is told no more often than this.
pub(super) const INTERVAL_MS: i64 = 5 * 60_000;

/// An alert that fires, and what is known of its condition now.
pub(super) struct Holding<'a> {
    pub(super) rule: RuleName,
    pub(super) subject: Subject,
    pub(super) fact: &'a Fact,
}

impl Engine {
    /// Looks at the open incidents about conditions, after these rules were judged: what one was put down to may be over
    /// while what joined it goes on, or may have become something else, as when a database answers again and hides its
    /// rows.
    pub(super) fn follow_conditions(
        &mut self,
        judged: impl Fn(RuleName) -> bool,
        holding: &[Holding<'_>],
        now: Timestamp,
    ) {
        let wait = self.settings.group_wait_ms;
        for ((subject, family), incident) in &mut self.incidents {
            let Cause::Condition(cause) = incident.cause else {
                continue;
            };
            // What cannot be seen now says neither that it holds nor that it is another one.
            if !judged(cause.rule()) || self.unseen.contains(&cause.rule()) {
                continue;
            }
            let known = incident.instead.take();
            let Some(heir) = incident.heir(cause, *subject, holding) else {
                continue;
            };
            let (condition, same) = (heir.fact.condition, incident.goes_on());
            let known = known.filter(|(known, _)| *known == condition);
            let since = known.map_or(now, |(_, since)| since);
            if same && now.since(since) < LASTS_MS {
                incident.instead = Some((condition, since));
                continue;
            }
            incident.turns(condition.into(), now, wait);
            incident.evidence = shown(heir.fact);
            let mut members = incident.members.iter_mut();
            if let Some(member) = members.find(|one| same && one.rule == heir.rule) {
                member.since = Some(since);
            }
            self.learned += 1;
            self.touched.mark(Place::Incident(*subject, *family));
        }
    }

    /// Looks at the open incidents after a bad boot, or after one is known better: `least` of the last ones, or nearly all,
    /// must agree.
    pub(super) fn follow_cause(&mut self, vm_type: VmType, least: usize, now: Timestamp) {
        let subject = Subject::Boots(vm_type);
        let turned: Vec<_> = self
            .incidents
            .iter()
            .filter(|((about, _), incident)| {
                *about == subject && incident.asks_why() && !incident.goes_on()
            })
            .filter_map(|(place, incident)| {
                let rules: Vec<RuleName> = incident.firing().map(|member| member.rule).collect();
                let whole_since = incident.image_whole_since();
                let mut bad = self.latest_bad(vm_type, &rules);
                // Those before it failed of what it lacked.
                bad.retain(|boot| whole_since.is_none_or(|whole| boot.started_at >= whole));
                let cause = match whole_since {
                    // Whatever they fail of, it is not that.
                    Some(_) if bad.len() < MOST => None,
                    Some(_) => Some(cause_of(RuleName::BootFailureRate, bad.iter().copied())),
                    None => most(&bad, least),
                };
                let cause = cause.filter(|cause| incident.cause != *cause)?;
                Some((*place, cause, bad.into_iter().cloned().collect::<Vec<_>>()))
            })
            .collect();
        let wait = self.settings.group_wait_ms;
        for (place, cause, bad) in turned {
            let readings = self.readings(place.0, now);
            let Some(incident) = self.incidents.get_mut(&place) else {
                continue;
            };
            incident.turns(Cause::Failure(cause), now, wait);
            incident.image_line = None;
            incident.boots = named(&bad);
            incident.evidence = lines(&bad);
            incident.reads(&readings);
            self.learned += 1;
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
        let reading = of_type.reading(
            rule,
            settings,
            Besides::overdue(overdue),
            state,
            0.0,
            newest,
        );
        // Hardly any more bad than usual, it fires on: told is what there is.
        (reading.bad || reading.count.bad > 0).then_some(reading)
    }
}

impl Incident {
    /// Puts it down to another cause, which is told after that wait.
    pub(super) fn turns(&mut self, cause: Cause, now: Timestamp, wait_ms: i64) {
        let last = self.before.map_or(Timestamp::MIN, |(_, at)| at);
        let (told, before) = self.cause_told.unwrap_or((self.cause, self.before));
        self.at_first.get_or_insert(self.cause);
        self.cause = cause;
        // It may have turned, and turned back, before anybody was told.
        self.turned = cause != told;
        self.before = match self.turned {
            true => Some((told, now)),
            false => before,
        };
        if self.turned {
            self.holds_for_now(now.plus_ms(wait_ms).max(last.plus_ms(INTERVAL_MS)));
        }
    }

    /// Since when the image that it is put down to lacks nothing.
    fn image_whole_since(&self) -> Option<Timestamp> {
        let mut members = self.members.iter().filter(|_| is_image(self.cause));
        let image = members.find(|one| one.rule == RuleName::GoldenImageBroken)?;
        image.resolved_at
    }

    /// Whether the condition that it is put down to has an alert that fires.
    fn goes_on(&self) -> bool {
        let rule = match self.cause {
            Cause::Condition(condition) => condition.rule(),
            Cause::Failure(_) | Cause::Slowness(_) => return false,
        };
        self.firing().any(|one| one.rule == rule)
    }

    /// What it is to be put down to, of what holds now: where its cause is over, what joined it first; where the same
    /// rule finds something else by now, that.
    fn heir<'a>(
        &self,
        cause: Condition,
        subject: Subject,
        holding: &'a [Holding<'a>],
    ) -> Option<&'a Holding<'a>> {
        let of = |rule: RuleName| {
            let mut held = holding.iter();
            held.find(|held| held.subject == subject && held.rule == rule)
        };
        let found = match self.goes_on() {
            true => of(cause.rule()),
            false => self.firing().find_map(|one| of(one.rule)),
        };
        found.filter(|held| held.fact.condition != cause)
    }

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

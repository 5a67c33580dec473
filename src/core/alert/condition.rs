//! The rules about what holds now: facts in, alerts out, with the same states as the rules about boots.
//!
//! A fact that is missing is blindness: its alert keeps its state, and its waits stop. Facts are told again and again
//! by one clock, which alone moves these alerts: nothing of the past can fire one. How boots end the engine knows by
//! itself (`OWN`), and judges as soon as it is told.

use super::course::Holding;
use super::judge::changed;
use super::keep::Place;
use super::state::{Seen, Transition, Waits};
use super::trouble::Trouble;
use super::{Effect, Engine, Reason, Subject};
use crate::core::condition::{self, Fact, Facts, Level};
use crate::core::event::Timestamp;
use crate::core::rule::{RuleName, Said};

/// What the engine knows by itself.
const OWN: [RuleName; 2] = [RuleName::SyntheticFailing, RuleName::BootsUntold];

impl Engine {
    /// Takes what is known now. To be told at most once a second, and whenever it has changed.
    pub fn facts(&mut self, facts: &Facts, now: Timestamp, out: &mut Vec<Effect>) {
        let own: Facts = OWN
            .iter()
            .filter_map(|rule| Some((*rule, self.own(*rule)?)))
            .collect();
        let fact = |rule| match OWN.contains(&rule) {
            true => own.get(&rule),
            false => facts.get(&rule),
        };
        self.hold(|_| true, fact, now, out);
    }

    pub(super) fn own(&self, rule: RuleName) -> Option<Fact> {
        match rule {
            RuleName::SyntheticFailing => self.synthetic.fact(),
            RuleName::BootsUntold => self.untold.fact(),
            _ => None,
        }
    }

    /// What the engine knows by itself of one rule has changed.
    pub(super) fn told(
        &mut self,
        rule: RuleName,
        place: Place,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        self.touched.mark(place);
        let fact = self.own(rule);
        self.hold(|judged| judged == rule, |_| fact.as_ref(), now, out);
    }

    /// Judges some of the rules by what is known now.
    fn hold<'a>(
        &mut self,
        judged: impl Fn(RuleName) -> bool,
        known: impl Fn(RuleName) -> Option<&'a Fact>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let mut fired = Vec::new();
        let mut resolved = Vec::new();
        let mut holding = Vec::new();
        for ((rule, subject), state) in &mut self.alerts {
            let Some(settings) = self.settings.conditions.get(rule).filter(|_| judged(*rule))
            else {
                continue;
            };
            let fact = known(*rule);
            match fact {
                Some(_) => self.unseen.remove(rule),
                None => self.unseen.insert(*rule),
            };
            let verdict = fact.map(|fact| (fact, condition::read(settings, fact)));
            let bad = verdict.is_some_and(|(_, verdict)| verdict.bad);
            if !bad && !state.is_active() {
                continue;
            }
            if let Some((_, verdict)) = verdict
                && !verdict.recovered
            {
                self.levels.insert(*rule, verdict.level);
            }
            let seen = Seen {
                bad,
                recovered: verdict.is_some_and(|(_, verdict)| verdict.recovered),
                share: 1.0,
                at: now,
            };
            let waits = Waits {
                for_ms: settings.for_ms,
                keep_firing_ms: settings.keep_firing_ms,
            };
            let before = state.clone();
            let transition = state.step(seen, waits, now, fact.is_none(), self.catching_up);
            if *state != before {
                self.touched.mark(Place::Alert(*rule, *subject));
            }
            // Between its limits it is not over.
            let holds = verdict
                .is_some_and(|(fact, verdict)| verdict.bad || fact.settles && !verdict.recovered);
            if let (Some(fact), true, true) = (fact, holds, state.is_firing()) {
                holding.push(Holding {
                    rule: *rule,
                    subject: *subject,
                    fact,
                });
            }
            let Some(transition) = transition else {
                continue;
            };
            match (transition, verdict) {
                (Transition::Fired | Transition::Flapping, Some((fact, verdict))) => {
                    fired.push((*rule, *subject, fact, verdict.level, before.pending()));
                }
                (Transition::Resolved, _) => {
                    resolved.push((*rule, *subject, before.clear_since().unwrap_or(now)));
                }
                _ => {}
            }
            out.push(changed(*rule, *subject, transition, now));
        }
        for (rule, subject, fact, level, pending) in fired {
            let since = pending.unwrap_or(now);
            self.condition_fired((rule, subject), (fact, level), since, now, out);
        }
        for (rule, subject, over) in resolved {
            self.alert_resolved(rule, subject, Some(over), Reason::AllResolved, now, out);
        }
        self.follow_conditions(judged, &holding, now);
        self.send_updates(now, out);
    }

    fn condition_fired(
        &mut self,
        (rule, subject): (RuleName, Subject),
        (fact, level): (&Fact, Level),
        seen_since: Timestamp,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let began = fact.since.map_or(seen_since, |since| since.min(now));
        let trouble = Trouble::of_condition(fact, began);
        self.fired(rule, subject, Said::Level(level), trouble, now, out);
    }
}

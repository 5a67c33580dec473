//! Readings of the rules that have mathematics of their own: the budget's burn, and how long boots take.

use super::state::AlertState;
use super::trouble::{Trouble, named};
use super::{Engine, Family, PerType, Subject};
use crate::core::burn::{self, Look, PAIRS, Pair, Terms};
use crate::core::event::{Timestamp, VmType};
use crate::core::rule::{
    self, Besides, Burn, Detail, HYSTERESIS, LAST_BOOTS_SPAN_MS, LEAST_GOOD, Reading, RuleName,
    RuleSettings, Stretch,
};
use crate::core::slowness::{self, Found, Slow, Slowness};
use crate::core::window::{Count, Judged};

impl PerType {
    /// The burn of the pair of windows that fires, or else of the one that is nearest to it.
    pub(super) fn burn(
        &self,
        rule: RuleName,
        settings: &RuleSettings,
        besides: Besides,
        state: &AlertState,
        worst: f64,
        now: Timestamp,
    ) -> Reading {
        let worst = match rule {
            RuleName::BootBudgetBurn => state.worst().max(worst),
            _ => state.worst(),
        };
        let terms = Terms {
            tolerated: settings.tolerated,
            alpha: settings.alpha,
        };
        let since = self
            .window
            .since(state.settled(), |failure| rule.counts(failure))
            .and_bad(besides.ended);
        let looks: Vec<Look> = PAIRS
            .iter()
            .zip(settings.burns)
            .map(|(pair, factor)| Pair { factor, ..*pair })
            .filter(|pair| pair.severity == rule.severity())
            .map(|pair| self.look(pair, since, settings.last, besides.ended, now))
            .collect();
        let firing = looks.iter().find(|look| look.exceeds(terms));
        // At every failed boot of a time that is well: nobody asks how near it was.
        if firing.is_none() && !state.is_active() {
            return Reading::of_nothing();
        }
        let share = |look: &&Look| look.burn(terms) / look.pair.factor;
        let nearest = looks
            .iter()
            .max_by(|a, b| share(a).total_cmp(&share(b)))
            .copied();
        let Some(look) = firing.copied().or(nearest) else {
            return Reading::of_nothing();
        };
        let (good, _) = self.good_run(rule, state);
        let good = u32::try_from(good).unwrap_or(u32::MAX);
        let calm = looks.iter().all(|look| look.is_calm(terms));
        let spent = self.budget.within(now, burn::PERIOD_MS);
        Reading {
            bad: firing.is_some(),
            recovered: good >= LEAST_GOOD && (rule::has_faded(worst, good) || calm),
            count: look.long,
            stretch: match look.widened {
                true => Stretch::Last(look.long.of),
                false => Stretch::Span(look.pair.long_ms),
            },
            chance: look.chance(terms),
            usual: terms.tolerated,
            overdue: 0,
            detail: Some(Detail::Burn(Burn {
                burn: look.burn(terms),
                factor: look.pair.factor,
                short: look.short,
                short_ms: look.pair.short_ms,
                left: burn::left(spent, &look, terms),
            })),
        }
    }

    /// Both windows of a pair; where the long one holds few boots, the last ones of a day in its place.
    fn look(&self, pair: Pair, since: Count, last: u32, ended: u32, now: Timestamp) -> Look {
        // Of a window's boots and those since the resolve, the fewer ones are both.
        let fewer = |count: Count| if since.of < count.of { since } else { count };
        let within = |span: i64| match span {
            ..=burn::FINE_MS => self.window.within(now, span, |_| true),
            _ => self.budget.within(now, span),
        };
        let within = |span: i64| fewer(within(span).and_bad(ended));
        let mut look = Look {
            pair,
            long: within(pair.long_ms),
            widened: false,
            short: within(pair.short_ms),
        };
        if look.long.of < last && pair.long_ms < LAST_BOOTS_SPAN_MS {
            let from = now.plus_ms(-LAST_BOOTS_SPAN_MS);
            let bad = |boot: &Judged| boot.failure.is_some();
            let wider = rule::count_last(
                &self.window,
                from,
                last.min(since.of),
                &bad,
                Besides::ended(ended),
            );
            if wider.of > look.long.of {
                look.long = wider;
                look.widened = true;
            }
        }
        look
    }

    /// The stage that is slowest against what is usual, or the time to ready against its deadline.
    pub(super) fn slow(
        &self,
        rule: RuleName,
        settings: &RuleSettings,
        state: &AlertState,
        now: Timestamp,
    ) -> Reading {
        let found = self.slowest(rule, settings, state, now);
        let Some(worst) = found.first() else {
            return Reading::of_nothing();
        };
        let terms = &settings.slow;
        let over = |found: &Found| {
            let cleared = found.chance > (terms.alpha * HYSTERESIS).min(0.5);
            found.good >= LEAST_GOOD && (rule::has_faded(state.worst(), found.good) || cleared)
        };
        Reading {
            bad: worst.is_bad(terms),
            recovered: found
                .iter()
                .all(|found| !found.is_bad(terms) || over(found))
                && over(worst),
            count: worst.count,
            stretch: Stretch::Last(worst.count.of),
            chance: worst.chance,
            usual: slowness::BEYOND,
            overdue: 0,
            detail: Some(Detail::Slow(worst.slow)),
        }
    }

    /// Everything that the rule times, the most improbable first.
    pub(super) fn slowest(
        &self,
        rule: RuleName,
        settings: &RuleSettings,
        state: &AlertState,
        now: Timestamp,
    ) -> Vec<Found> {
        let boots = self.window.added();
        let since = slowness::Since {
            settled: state.settled().boots,
            fired: boots - state.boots_since(boots),
        };
        let asked = slowness::Asked {
            ready: rule == RuleName::ReadinessHeadroomLow,
            only_bad: !state.is_active(),
        };
        let mut found = slowness::look(&self.times, asked, &settings.slow, since, now);
        found.sort_by(|a, b| a.chance.total_cmp(&b.chance));
        found
    }
}

/// Lines that say what is slow.
const EVIDENCE: usize = 3;

impl Engine {
    /// What an alert about time is about: the slow boots, and a line for each thing that is slow.
    pub(super) fn slower(&self, rule: RuleName, vm_type: VmType, now: Timestamp) -> Trouble {
        let subject = Subject::Boots(vm_type);
        let found = self.types.get(&vm_type).and_then(|of_type| {
            let settings = self.settings.rules.get(&rule)?;
            let state = self.alerts.get(&(rule, subject))?;
            let newest = of_type.newest.unwrap_or(now);
            let mut found = of_type.slowest(rule, settings, state, newest);
            found.retain(|found| found.is_bad(&settings.slow));
            Some((of_type, found))
        });
        let (boots, evidence) = found.map_or_else(Default::default, |(of_type, found)| {
            let slow = found.first().map_or(&[][..], |worst| &worst.boots);
            let boots: Vec<Judged> = of_type
                .window
                .numbered()
                // The first boot is number 0 there, and 1 among those that are timed.
                .filter(|(number, _)| slow.contains(&(number + 1)))
                .map(|(_, boot)| boot.clone())
                .collect();
            let evidence = found.iter().take(EVIDENCE).map(line).collect();
            (boots, evidence)
        });
        let newest_first: Vec<Judged> = boots.into_iter().rev().collect();
        Trouble {
            cause: match rule {
                RuleName::ReadinessHeadroomLow => Slowness::Headroom,
                _ => Slowness::Stage,
            }
            .into(),
            family: Family::Slowness,
            first_bad_at: newest_first
                .iter()
                .map(|boot| boot.started_at)
                .min()
                .unwrap_or(now),
            boots: named(&newest_first),
            evidence,
        }
    }
}

/// `clone_snapshot: 7 of the last 20 boots took longer than 4.8 s; p95 9.1 s, 3.2 s was usual`
fn line(found: &Found) -> String {
    let Slow {
        stage,
        p95_ms,
        against_ms,
        limit_ms,
    } = found.slow;
    let seconds = |ms: u32| format!("{:.1} s", f64::from(ms) / 1000.0);
    let Count { bad, of } = found.count;
    let (what, against) = match stage {
        Some(stage) => (stage.as_str(), "was usual"),
        None => ("time to ready", "is the deadline"),
    };
    format!(
        "{what}: {bad} of the last {of} boots took longer than {}; p95 {}, {} {against}",
        seconds(limit_ms),
        seconds(p95_ms),
        seconds(against_ms)
    )
}

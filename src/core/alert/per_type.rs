//! What the engine holds of one kind of VM: its last boots, those in flight that wait too long, and what is usual.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::state::AlertState;
use super::trouble::class_of;
use crate::core::boot::{Boot, Lines};
use crate::core::burn::Budget;
use crate::core::diagnosis;
use crate::core::event::{AttemptResult, Failure, Origin, Outcome, Timestamp, VmId};
use crate::core::readiness::Readiness;
use crate::core::rule::{self, Besides, Reading, RuleName, RuleSettings, Sight};
use crate::core::slowness::Times;
use crate::core::window::{Judged, Window};

/// What is usual fades over about so many boots.
const USUAL_BOOTS: f64 = 500.0;
/// However usual failures have become, more than this is not accepted as such.
const MOST_USUAL: f64 = 0.3;

/// A boot in flight that has waited longer than healthy boots do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Overdue {
    pub(super) result: AttemptResult,
    pub(super) began: Timestamp,
    pub(super) waited_ms: u32,
    pub(super) deadline_ms: Option<u32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) died: bool,
}

impl Overdue {
    /// The class that it would fail with.
    pub(super) fn failure(&self) -> Failure {
        match self.died {
            true => Failure::GuestDied,
            false => class_of(self.result),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PerType {
    pub(super) window: Window,
    pub(super) ever_ready: bool,
    pub(super) readiness: Readiness,
    pub(super) overdue: HashMap<VmId, Overdue>,
    /// How long the controller waits for a VM, as it last said in this run.
    pub(super) deadline_ms: Option<u32>,
    pub(super) budget: Budget,
    pub(super) times: Times,
    /// The newest boot's end: windows are judged as of then.
    pub(super) newest: Option<Timestamp>,
    /// The same, with boots of the past.
    pub(super) last_ended: Option<Timestamp>,
    /// The share of boots that each rule usually counts as bad.
    pub(super) usual: BTreeMap<RuleName, f64>,
}

/// Whether a sample of the time-to-ready began a new generation of them.
pub(super) type NewGeneration = bool;

impl PerType {
    /// Learns from a boot what is usual; a rule that is firing learns nothing.
    pub(super) fn learn(
        &mut self,
        boot: &Boot,
        judged: &Judged,
        learns: impl Fn(RuleName) -> bool,
    ) -> Option<NewGeneration> {
        self.last_ended = self.last_ended.max(Some(judged.ended_at));
        let mut learnt = None;
        if judged.failure.is_none() {
            self.ever_ready = true;
            if let Some(waited) = boot.waited_ms() {
                learnt = Some(self.readiness.learn(waited));
            }
        }
        for rule in RuleName::BOOTS {
            if rule.learns() && learns(*rule) {
                let bad = judged.failure.is_some_and(|failure| rule.counts(failure));
                let usual = self.usual.entry(*rule).or_insert(0.0);
                *usual += (f64::from(u8::from(bad)) - *usual) / USUAL_BOOTS;
            }
        }
        learnt
    }

    pub(super) fn reading(
        &self,
        rule: RuleName,
        settings: &RuleSettings,
        besides: Besides,
        state: &AlertState,
        worst: f64,
        now: Timestamp,
    ) -> Reading {
        if rule.burns() {
            return self.burn(rule, settings, besides, state, worst, now);
        }
        if rule.times() {
            return self.slow(rule, settings, state, now);
        }
        let learnt = self.usual.get(&rule).copied().unwrap_or(0.0);
        let sight = Sight {
            window: &self.window,
            besides,
            settled: state.settled(),
            now,
            usual: learnt.min(MOST_USUAL).max(settings.tolerated),
            worst: state.worst(),
            since_fired: state.boots_since(self.window.added()),
        };
        rule::read(rule, settings, sight)
    }

    /// How many boots in flight count against the rule.
    pub(super) fn overdue_by(&self, rule: RuleName, settings: &RuleSettings) -> u32 {
        let overdue = self.overdue.values().filter(|overdue| {
            rule.counts_overdue(overdue.result) && self.is_overdue(overdue, settings)
        });
        u32::try_from(overdue.count()).unwrap_or(u32::MAX)
    }

    /// Whether a boot in flight has waited longer than healthy boots do, by this rule's factor.
    pub(super) fn is_overdue(&self, boot: &Overdue, settings: &RuleSettings) -> bool {
        self.readiness
            .overdue_after_ms(settings.min_ready, settings.factor, boot.deadline_ms)
            .is_some_and(|limit| f64::from(boot.waited_ms) > limit)
    }

    /// The present run of good boots, of those since the alert fired: how many, and when its first one ended. What the
    /// window holds is known best; where it holds good ones only, the run may be longer.
    pub(super) fn good_run(&self, rule: RuleName, state: &AlertState) -> (u64, Option<Timestamp>) {
        let since_fired = state.boots_since(self.window.added());
        let held = || self.window.last(Timestamp::MIN);
        let bad = |boot: &&Judged| boot.failure.is_some_and(|failure| rule.counts(failure));
        if let Some(run) = state.good()
            && !held().any(|boot| bad(&boot))
        {
            return (run.boots.min(since_fired), Some(run.since));
        }
        held()
            .take_while(|boot| !bad(boot))
            .take(usize::try_from(since_fired).unwrap_or(usize::MAX))
            .fold((0, None), |(good, _), boot| (good + 1, Some(boot.ended_at)))
    }
}

/// A boot that counts for or against: lost and cancelled ones do neither, synthetic ones are judged by themselves.
pub(super) fn judged(boot: &Boot) -> Option<Judged> {
    if boot.origin == Origin::Synthetic {
        return None;
    }
    let failure = match boot.outcome? {
        Outcome::Ready => None,
        Outcome::Failed => Some(boot.failure.unwrap_or(Failure::Unknown)),
        Outcome::Cancelled | Outcome::Lost => return None,
    };
    Some(Judged {
        vm: boot.vm,
        session: boot.session,
        started_at: boot.started_at,
        ended_at: boot.ended_at?,
        failure,
        evidence: if failure.is_some() {
            boot.evidence.clone()
        } else {
            Lines::default()
        },
        signs: diagnosis::of_boot(boot),
    })
}

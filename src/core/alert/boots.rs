//! What boots and their health checks do to the rules about them, as each ends.

use super::judge::Again;
use super::keep::Place;
use super::per_type::{Overdue, judged};
use super::{AHEAD_MS, Effect, Engine, Family, Subject, course};
use crate::core::boot::{AttemptEnded, Boot};
use crate::core::event::{AttemptResult, Origin, Timestamp, VmId, VmType};
use crate::core::rule::RuleName;
use crate::core::slowness::Learns;

const MAX_OVERDUE: usize = 10_000;

impl Engine {
    pub(super) fn landed(&mut self, vm: Option<VmId>) {
        let Some(vm) = vm else { return };
        // Its kind may have become known only at its end.
        for (vm_type, of_type) in &mut self.types {
            if of_type.overdue.remove(&vm).is_some() {
                self.touched.mark(Place::Overdue(*vm_type, vm));
            }
        }
    }

    pub(super) fn boot_ended(&mut self, boot: &Boot, now: Timestamp, out: &mut Vec<Effect>) {
        let vm_type = boot.kind();
        self.landed(boot.vm);
        self.count_generation(boot);
        if boot.origin == Origin::User {
            let to_judge = self.untold.boot(boot);
            self.touched.mark(Place::Untold);
            if to_judge {
                self.told(RuleName::BootsUntold, Place::Untold, now, out);
            }
        }
        if boot.origin == Origin::Synthetic {
            if self.synthetic.boot(boot) {
                self.told(RuleName::SyntheticFailing, Place::Synthetic, now, out);
            }
            return;
        }
        let Some(of_type) = self.types.get_mut(&vm_type) else {
            return;
        };
        let judged = judged(boot);
        let counted = judged.is_some();
        let failure = judged.as_ref().and_then(|judged| judged.failure);
        if let Some(mut judged) = judged {
            let latest = now.plus_ms(AHEAD_MS);
            judged.ended_at = judged.ended_at.min(latest);
            let alerts = &self.alerts;
            let learnt = of_type.learn(boot, &judged, |rule| {
                alerts
                    .get(&(rule, vm_type.into()))
                    .is_none_or(|state| !state.is_firing())
            });
            of_type.newest = of_type.newest.max(Some(judged.ended_at));
            let cells = of_type
                .budget
                .add(judged.ended_at, judged.failure.is_some());
            let number = of_type.window.added() + 1;
            let learns = Learns {
                // What is held to be slow is not usual.
                stages: alerts
                    .get(&(RuleName::BootStageSlow, Subject::Boots(vm_type)))
                    .is_none_or(|state| !state.is_active()),
            };
            let timed = of_type.times.add(boot, judged.ended_at, number, learns);
            let ended_at = judged.ended_at;
            let added = of_type.window.add(judged);
            for ((rule, about), state) in &mut self.alerts {
                if *about == vm_type.into() && state.is_firing() {
                    let bad = failure.is_some_and(|failure| rule.counts(failure));
                    state.boot_ended(bad, ended_at);
                }
            }
            self.touch_measured(vm_type, &timed, cells);
            self.touched.mark(Place::Bucket(vm_type, added.bucket));
            self.touched.mark(Place::Boot(vm_type, added.place));
            self.touch_learnt(vm_type, learnt);
        }
        self.prove_fixes(vm_type, now);
        // What is opened now is diagnosed as it is opened.
        let open: Vec<(Subject, Family)> = match failure {
            Some(_) => self.incidents.keys().copied().collect(),
            None => Vec::new(),
        };
        self.judge(
            vm_type,
            |rule| counted && rule.times() || failure.is_some_and(|failure| rule.counts(failure)),
            Again::Always,
            now,
            out,
        );
        if failure.is_some() {
            self.follow_cause(vm_type, course::MOST, now);
            self.diagnose(&open, now);
        }
        self.send_updates(now, out);
    }

    /// Why a boot that has been counted failed is known better: it is not counted again, but an open incident may turn
    /// out to be about something else.
    pub(super) fn boot_amended(&mut self, boot: &Boot, now: Timestamp, out: &mut Vec<Effect>) {
        let vm_type = boot.kind();
        let Some(of_type) = self.types.get_mut(&vm_type) else {
            return;
        };
        let (Some(vm), Some(failure)) = (boot.vm, boot.failure) else {
            return;
        };
        let Some(place) = of_type.window.amend(vm, failure, boot.evidence.clone()) else {
            return;
        };
        self.touched.mark(Place::Boot(vm_type, place));
        for ((rule, about), state) in &mut self.alerts {
            if *about == vm_type.into() {
                state.judge_anew();
                self.touched.mark(Place::Alert(*rule, *about));
            }
        }
        self.follow_cause(vm_type, course::LEAST_AMENDED, now);
        self.send_updates(now, out);
    }

    pub(super) fn attempt_ended(
        &mut self,
        attempt: &AttemptEnded,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let (Some(vm), Some(waited)) = (attempt.vm, attempt.waited_ms) else {
            return;
        };
        // Trials are judged by themselves, when they have ended.
        if attempt.origin == Origin::Synthetic {
            return;
        }
        // Only browser VMs are asked for their health.
        let vm_type = VmType::Browser;
        let Some(of_type) = self.types.get_mut(&vm_type) else {
            return;
        };
        of_type.deadline_ms = attempt.deadline_ms.or(of_type.deadline_ms);
        let settings = self.settings.rules.values();
        let overdue = Overdue {
            result: attempt.result,
            began: attempt.at.plus_ms(-i64::from(waited)),
            waited_ms: waited,
            deadline_ms: attempt.deadline_ms,
            died: attempt.died,
        };
        let hopeless = attempt.result != AttemptResult::Ok
            && settings
                .into_iter()
                .any(|rule| of_type.is_overdue(&overdue, rule));
        let before = match hopeless {
            true if of_type.overdue.len() < MAX_OVERDUE => of_type
                .overdue
                .insert(vm, overdue)
                .map(|before| before.result),
            true => return,
            false => of_type.overdue.remove(&vm).map(|before| before.result),
        };
        if hopeless || before.is_some() {
            self.touched.mark(Place::Overdue(vm_type, vm));
            self.touched.mark(Place::Figures(vm_type));
            of_type.newest = of_type
                .newest
                .max(Some(attempt.at.min(now.plus_ms(AHEAD_MS))));
            self.judge(
                vm_type,
                |rule| rule.counts_overdue(attempt.result),
                // A hopeless boot is told of every few seconds, and mostly nothing has changed.
                Again::IfChanged,
                now,
                out,
            );
            self.send_updates(now, out);
        }
    }
}

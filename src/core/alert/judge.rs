//! The rules about boots, judged: when one fires, clears and resolves.

use serde::{Deserialize, Serialize};

use super::keep::Place;
use super::state::{AlertState, Seen, Transition, Waits};
use super::{AlertChanged, Effect, Engine, Reason, Subject};
use crate::core::event::{Timestamp, VmType};
use crate::core::rule::{Besides, RuleName, Severity};
use crate::core::window::Settled;

/// Windows move with the time: what else is the same is judged again after so long.
const AGAIN_MS: i64 = 10_000;

/// What makes a rule about boots say something else than before: boots that have ended, boots in flight that are
/// overdue, and the time, by and by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JudgedBy {
    ended: u64,
    overdue: u32,
    /// Unix time over `AGAIN_MS`.
    at: i64,
}

/// Whether a rule is judged again by what it was judged by last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Always,
    IfChanged,
}

impl Engine {
    /// Judges the rules about one kind of VM: those that something has just counted against, and those that are
    /// firing already. No other can have changed.
    pub(super) fn judge(
        &mut self,
        vm_type: VmType,
        worse: impl Fn(RuleName) -> bool,
        again: Again,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let Some(of_type) = self.types.get(&vm_type) else {
            return;
        };
        let Some(newest) = of_type.newest else { return };
        // A CLI rate says something only where a CLI boot was ever ready.
        if vm_type == VmType::Cli && !of_type.ever_ready {
            return;
        }
        let subject = Subject::Boots(vm_type);
        let mut fired = Vec::new();
        let mut resolved = Vec::new();
        let mut paged = self.is_paging(vm_type);
        let worst = self.worst(vm_type);
        let held = self.held_until(vm_type).is_some();
        for ((rule, about), state) in &mut self.alerts {
            let active = state.is_active();
            if *about != subject || !(active || worse(*rule)) {
                continue;
            }
            // What pages needs no ticket.
            if paged && !active && *rule == RuleName::BootBudgetBurnTicket {
                continue;
            }
            let Some(settings) = self.settings.rules.get(rule) else {
                continue;
            };
            let boots = of_type.window.added();
            let overdue = of_type.overdue_by(*rule, settings);
            if again == Again::IfChanged {
                let by = JudgedBy {
                    ended: boots,
                    overdue,
                    at: newest.0.div_euclid(AGAIN_MS),
                };
                // What is pending or clearing waits for time to pass.
                let waits = state.is_pending() || state.clear_since().is_some();
                if !state.is_news(by) && !waits {
                    continue;
                }
            }
            if active || again == Again::IfChanged {
                self.touched.mark(Place::Alert(*rule, subject));
            }
            let reading = of_type.reading(
                *rule,
                settings,
                Besides::overdue(overdue),
                state,
                worst,
                newest,
            );
            let (blind, behind) = (self.blind, self.catching_up);
            let seen = Seen {
                bad: reading.bad,
                recovered: reading.recovered && !held,
                share: reading.count.share(),
                at: newest,
            };
            let waits = Waits {
                for_ms: settings.for_ms,
                keep_firing_ms: settings.keep_firing_ms,
            };
            let Some(transition) = state.step(seen, waits, now, blind, behind) else {
                continue;
            };
            self.touched.mark(Place::Alert(*rule, subject));
            match transition {
                Transition::Pending | Transition::Inactive => {}
                Transition::Fired | Transition::Flapping => {
                    state.fired_after(boots);
                    paged |= rule.severity() == Severity::Page;
                    fired.push((*rule, reading));
                }
                Transition::Resolved => {
                    let (good, since_good) = match rule.times() {
                        // Boots that failed say nothing of it: what it saw is settled, all of it.
                        true => (0, None),
                        false => of_type.good_run(*rule, state),
                    };
                    state.settle(Settled {
                        boots: boots - good,
                        bad: of_type.window.bad_ever(|failure| rule.counts(failure)),
                    });
                    resolved.push((*rule, since_good));
                }
            }
            out.push(changed(*rule, subject, transition, now));
        }
        for (rule, reading) in fired {
            self.alert_fired(rule, vm_type, reading, now, out);
        }
        if resolved
            .iter()
            .any(|(rule, _)| rule.severity() == Severity::Page)
        {
            self.settle_ticket(vm_type);
        }
        for (rule, since_good) in resolved {
            self.alert_resolved(rule, subject, since_good, Reason::AllResolved, now, out);
        }
    }

    /// Whether failures of this kind's boots have paged somebody who is still at it.
    pub(super) fn is_paging(&self, vm_type: VmType) -> bool {
        self.pages_about(vm_type).any(AlertState::is_firing)
    }

    /// The worst share of bad boots that any page about them has seen: what ends one ends the others.
    fn worst(&self, vm_type: VmType) -> f64 {
        self.pages_about(vm_type)
            .map(AlertState::worst)
            .fold(0.0, f64::max)
    }

    fn pages_about(&self, vm_type: VmType) -> impl Iterator<Item = &AlertState> {
        let subject = Subject::Boots(vm_type);
        self.alerts
            .iter()
            .filter(move |((rule, about), _)| {
                *about == subject
                    && rule.severity() == Severity::Page
                    && RuleName::BOOTS.contains(rule)
            })
            .map(|(_, state)| state)
    }

    /// What was paged and is over needs no ticket either.
    pub(super) fn settle_ticket(&mut self, vm_type: VmType) {
        let rule = RuleName::BootBudgetBurnTicket;
        let place = (rule, Subject::Boots(vm_type));
        let (Some(of_type), Some(state)) = (self.types.get(&vm_type), self.alerts.get_mut(&place))
        else {
            return;
        };
        if !state.is_active() {
            state.settle(Settled {
                boots: of_type.window.added(),
                bad: of_type.window.bad_ever(|failure| rule.counts(failure)),
            });
            self.touched.mark(Place::Alert(place.0, place.1));
        }
    }
}

pub(super) fn changed(
    rule: RuleName,
    subject: Subject,
    transition: Transition,
    at: Timestamp,
) -> Effect {
    Effect::AlertChanged(AlertChanged {
        rule,
        subject,
        severity: rule.severity(),
        to: transition.as_str(),
        at,
    })
}

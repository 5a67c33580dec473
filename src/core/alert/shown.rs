//! What others see of the engine: alerts, incidents, what is usual. Nothing here changes it.

use super::state::AlertState;
use super::{Engine, Incident, Subject};
use crate::core::burn::PERIOD_MS;
use crate::core::event::{AttemptError, AttemptResult, Timestamp, VmType};
use crate::core::rule::{Besides, RuleName, RuleSettings, Severity};
use crate::core::window::{Count, bucket};

/// A page is near that so many bad boots more may bring.
pub const NEAR: u32 = 2;

/// How many boots there were that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootsSoFar {
    pub ended: u64,
    /// Of those that ended.
    pub bad: u64,
    /// Still in flight.
    pub overdue: usize,
}

/// One alert as others see it.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertView {
    pub rule: RuleName,
    pub subject: Subject,
    pub severity: Severity,
    pub firing: bool,
    pub pending: bool,
    pub unknown: bool,
    pub fired_at: Option<Timestamp>,
}

impl Engine {
    pub fn alerts(&self) -> impl Iterator<Item = AlertView> + '_ {
        self.alerts
            .iter()
            .map(|((rule, subject), state)| AlertView {
                rule: *rule,
                subject: *subject,
                severity: rule.severity(),
                firing: state.is_firing(),
                pending: state.is_pending(),
                unknown: match RuleName::CONDITIONS.contains(rule) {
                    false => self.blind,
                    true => self.unseen.contains(rule),
                },
                fired_at: state.fired_at(),
            })
    }

    pub fn incidents(&self) -> impl Iterator<Item = &Incident> + Clone {
        self.incidents.values()
    }

    /// Resolved incidents, oldest first; bounded.
    pub fn closed_incidents(&self) -> impl Iterator<Item = &Incident> {
        self.closed.iter()
    }

    /// Boots in flight that have waited too long, by kind and result.
    pub fn overdue(&self) -> impl Iterator<Item = (VmType, AttemptResult)> + '_ {
        self.types.iter().flat_map(|(vm_type, of_type)| {
            of_type
                .overdue
                .values()
                .map(|overdue| (*vm_type, overdue.result))
        })
    }

    /// The learnt 99th percentile of the time from the wait's start to ready, in milliseconds.
    #[must_use]
    pub fn time_to_ready_p99_ms(&self, vm_type: VmType) -> Option<u32> {
        self.types.get(&vm_type)?.readiness.p99_ms()
    }

    /// At which waits, in milliseconds, a boot in flight whose health checks end so begins to count, and so can make an
    /// alert fire: where nobody knows when the controller gives up, and where it does so as late as it last said.
    /// `None`: at none, since nothing counts it or what does fires already.
    #[must_use]
    pub fn may_fire_at_ms(&self, error: AttemptError) -> Option<(u32, u32)> {
        // Only browser VMs are asked for their health.
        let vm_type = VmType::Browser;
        let of_type = self.types.get(&vm_type)?;
        self.settings
            .rules
            .iter()
            .filter(|(rule, _)| {
                let alert = (**rule, Subject::Boots(vm_type));
                rule.counts_overdue(AttemptResult::Error(error))
                    && self
                        .alerts
                        .get(&alert)
                        .is_some_and(|state| !state.is_firing())
            })
            .flat_map(|(_, rule)| {
                [None, of_type.deadline_ms].map(|deadline| {
                    let readiness = &of_type.readiness;
                    readiness.overdue_after_ms(rule.min_ready, rule.factor, deadline)
                })
            })
            .flatten()
            .map(whole_ms)
            .fold(None, |points, at| {
                let (first, last) = points.unwrap_or((at, at));
                Some((at.min(first), at.max(last)))
            })
    }

    #[must_use]
    pub fn boots_so_far(&self) -> BootsSoFar {
        let mut boots = BootsSoFar::default();
        for of_type in self.types.values() {
            boots.ended += of_type.window.added();
            boots.bad += of_type.window.bad_ever(|_| true);
            boots.overdue += of_type.overdue.len();
        }
        boots
    }

    /// Whether up to [`NEAR`] bad boots more could page somebody `now` (the log's time), at their end or while they wait.
    /// What counts how long boots take is not asked, since it is good boots that tell of it.
    #[must_use]
    pub fn is_near_a_page(&self, now: Timestamp) -> bool {
        // They are made one at a time, and do not page by the first that fails.
        let fails_already = || {
            self.own(RuleName::SyntheticFailing)
                .is_some_and(|fact| fact.value > 0)
        };
        self.alerts.iter().any(|((rule, subject), state)| {
            if *rule == RuleName::SyntheticFailing {
                return !state.is_firing() && fails_already();
            }
            self.is_near(*rule, *subject, state, now) == Some(true)
        })
    }

    fn is_near(
        &self,
        rule: RuleName,
        subject: Subject,
        state: &AlertState,
        now: Timestamp,
    ) -> Option<bool> {
        if rule.severity() != Severity::Page || rule.times() || state.is_firing() {
            return None;
        }
        let vm_type = subject.vm_type()?;
        let of_type = self.types.get(&vm_type)?;
        let settings = self.settings.rules.get(&rule)?;
        // Before the first boot that counts two are not enough.
        let newest = of_type.newest?;
        let overdue = of_type.overdue_by(rule, settings);
        // What is judged depends on how many there are, so that two may be less than one.
        let more =
            (1..=NEAR).flat_map(|all| (0..=all).map(move |waiting| (waiting, all - waiting)));
        let errors = [AttemptError::Refused, AttemptError::Timeout].map(AttemptResult::Error);
        let counts_waiting = errors.iter().any(|error| rule.counts_overdue(*error));
        let mut more = more
            .filter(|(waiting, _)| counts_waiting || *waiting == 0)
            .map(|(waiting, ended)| Besides {
                overdue: overdue.saturating_add(waiting),
                ended,
            });
        // They end now, where windows may hold less than when the newest ended.
        let later = Some(now).filter(|now| bucket(*now) > bucket(newest));
        let ends = || [Some(newest), later].into_iter().flatten();
        Some(more.any(|besides| {
            ends().any(|at| {
                let reading = of_type.reading(rule, settings, besides, state, 0.0, at);
                reading.bad
            })
        }))
    }

    /// The boots of the budget's period, and the share of them that may fail.
    #[must_use]
    pub fn budget(&self, vm_type: VmType, now: Timestamp) -> (Count, f64) {
        let of_type = self.types.get(&vm_type);
        let count = of_type.map(|of_type| of_type.budget.within(now, PERIOD_MS));
        (count.unwrap_or_default(), self.tolerated())
    }

    /// The share of boots that may fail, as the rules have it.
    pub(super) fn tolerated(&self) -> f64 {
        let rules = [RuleName::BootBudgetBurn, RuleName::BootFailureRate];
        let settings = rules.iter().find_map(|rule| self.settings.rules.get(rule));
        settings.map_or_else(|| RuleSettings::default().tolerated, |one| one.tolerated)
    }

    /// When the newest boot that counts ended, of those before the first start, too.
    #[must_use]
    pub fn last_boot(&self) -> Option<Timestamp> {
        let ends = self.types.values();
        ends.filter_map(|of_type| of_type.newest.max(of_type.last_ended))
            .max()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that is too large or negative becomes the nearest whole number"
)]
fn whole_ms(ms: f64) -> u32 {
    ms as u32
}

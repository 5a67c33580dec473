//! What others see of the engine: alerts, incidents, what is usual. Nothing here changes it.

use super::{Engine, Incident, Subject};
use crate::core::burn::PERIOD_MS;
use crate::core::event::{AttemptError, AttemptResult, Timestamp, VmType};
use crate::core::rule::{RuleName, RuleSettings, Severity};
use crate::core::window::Count;

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

//! Notifications for tests, made by the engine that makes the real ones.

pub(super) mod server;
pub(super) mod smtp;
pub(super) mod tls;

use crate::core::alert::{Effect, Engine, Notification, Settings};
use crate::core::boot::{Boot, Observation};
use crate::core::event::{Failure, Outcome, Provenance, SessionId, Timestamp, VmId, VmType};
use crate::core::rule::RuleName;

/// 2025-10-18 18:24:13 UTC: the first bad boot begins.
pub(super) const FIRST_BAD: Timestamp = Timestamp(1_760_811_853_000);
const MINUTE: i64 = 60_000;

/// An incident of one class from its first page to its end. The other kind of VM is well.
pub(super) fn incident(vm_type: VmType, failure: Failure) -> Vec<Notification> {
    incident_with(vm_type, failure, |boot| {
        vec![
            format!("18:24:{boot:02} [ERROR]: VM health check {failure}"),
            format!("18:26:{boot:02} [ERROR]: VM not ready after 120000ms"),
        ]
    })
}

pub(super) fn incident_with(
    vm_type: VmType,
    failure: Failure,
    evidence: impl Fn(u32) -> Vec<String>,
) -> Vec<Notification> {
    let other = match vm_type {
        VmType::Browser => VmType::Cli,
        VmType::Cli => VmType::Browser,
    };
    let mut settings = Settings {
        host: "controller-1".to_owned(),
        ..Settings::default()
    };
    // Four boots are no budget.
    settings.rules.remove(&RuleName::BootBudgetBurn);
    let mut engine = Engine::new(settings);
    let mut out = Vec::new();
    let mut vm = 0u128;
    let mut tell = |engine: &mut Engine, vm_type, started_at: Timestamp, bad: Option<u32>| {
        vm += 1;
        let mut boot = Boot::new(Some(VmId(vm)), Provenance::default(), started_at);
        boot.vm_type = Some(vm_type);
        boot.session = Some(SessionId(vm << 64));
        let ended_at = started_at.plus_ms(20_000);
        boot.ended_at = Some(ended_at);
        boot.outcome = Some(Outcome::Ready);
        if let Some(number) = bad {
            boot.outcome = Some(Outcome::Failed);
            boot.failure = Some(failure);
            boot.evidence = evidence(number).into();
        }
        engine.observe(&Observation::BootEnded(Box::new(boot)), ended_at, &mut out);
    };
    for n in (0..18).rev() {
        tell(
            &mut engine,
            other,
            FIRST_BAD.plus_ms(-MINUTE * (n + 1)),
            None,
        );
    }
    tell(&mut engine, vm_type, FIRST_BAD.plus_ms(-MINUTE), None);
    for (n, number) in (0..3).zip(1..) {
        tell(
            &mut engine,
            vm_type,
            FIRST_BAD.plus_ms(10_000 * n),
            Some(number),
        );
    }
    for n in 0..6 {
        tell(
            &mut engine,
            vm_type,
            FIRST_BAD.plus_ms(MINUTE * (28 + n)),
            None,
        );
    }
    engine.tick(FIRST_BAD.plus_ms(MINUTE * 60), &mut out);
    out.into_iter()
        .filter_map(|effect| match effect {
            Effect::Notify(notification) => Some(*notification),
            Effect::AlertChanged(_) => None,
        })
        .collect()
}

//! Any subset, order and repetition of a boot's events ends in at most one state, and nothing panics.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Everything that can be said of three users' boots on two addresses.
pub(super) fn any_event() -> impl Strategy<Value = (i64, EventKind<'static>)> {
    let who = 0u128..3;
    let address = 2u8..4;
    let elapsed = prop_oneof![Just(0u32), 0u32..40_000, Just(u32::MAX)];
    let error = prop_oneof![
        Just(&b"VM not ready after 15000ms"[..]),
        Just(&b"VM not ready after undefinedms"[..]),
        Just(&b"IP pool exhausted"[..]),
        Just(&b"OAuth timeout: nobody came"[..]),
        Just(&b""[..]),
    ];
    let kind = (who, address, elapsed, 0u8..7, error, 0u8..36).prop_map(
        |(who, address, elapsed_ms, step, error, kind)| {
            let (vm, user, session, ip) = (vm(who), user(who % 2), session(who), ip(address));
            let some_ip = Some(ip);
            let deadline_ms = (step > 0).then_some(15_000);
            let limits = WaitLimits {
                deadline_ms,
                initial_delay_ms: 0,
            };
            let vm_type = if step == 6 {
                VmType::Cli
            } else {
                VmType::Browser
            };
            match kind {
                0 => EventKind::ControllerStarting,
                1 => EventKind::ControllerStopping,
                33 => EventKind::ControllerStarted,
                34 => EventKind::ControllerCrashed,
                35 => EventKind::CliReused {
                    user,
                    vm: (step > 3).then_some(vm),
                },
                2 if step > 4 => EventKind::RequestLetIn { user },
                2 if step > 2 => EventKind::StartFailed {
                    error,
                    rejected: step == 3,
                },
                2 => EventKind::RequestAccepted { user },
                3 if step > 3 => EventKind::SessionNamed { user, session },
                3 => EventKind::SessionOpened { user, session },
                4 => EventKind::RequestFailed {
                    user,
                    session: (step > 3).then_some(session),
                    error,
                    rejected: step == 0,
                },
                5 => EventKind::CreateStarted {
                    vm,
                    user,
                    vm_type,
                    started_at: (step > 2).then_some(Timestamp(START + i64::from(elapsed_ms))),
                },
                6 => EventKind::StepStarted { vm, step },
                7..=9 => EventKind::StepDone {
                    vm,
                    step,
                    elapsed_ms: Some(elapsed_ms),
                    ip: (step == 1).then_some(ip),
                },
                10 => EventKind::InjectStarted { vm },
                11 => EventKind::InjectDone { vm },
                12 => EventKind::InjectFailed { vm },
                13 => EventKind::Created {
                    vm,
                    ip: some_ip,
                    vm_type: Some(vm_type),
                    total_ms: Some(elapsed_ms),
                },
                14 => EventKind::CreateFailed {
                    vm,
                    user: Some(user),
                    vm_type: None,
                    error,
                    elapsed_ms: Some(elapsed_ms),
                    failed_at: None,
                },
                15 => EventKind::HandedOver {
                    vm,
                    user,
                    session,
                    ip: some_ip,
                },
                16 => EventKind::HandOverFailed {
                    user,
                    session,
                    error: b"x",
                },
                17..=18 => EventKind::WaitStarted { ip, limits },
                19..=20 => EventKind::AttemptStarted {
                    ip,
                    elapsed_ms: (step < 6).then_some(elapsed_ms),
                },
                21..=22 => EventKind::AttemptFailed {
                    ip,
                    error: AttemptError::ALL[usize::from(step)],
                    elapsed_ms: (step < 6).then_some(elapsed_ms),
                },
                23 => EventKind::AttemptAnswered { ip, status: 200 },
                24 => EventKind::AttemptRejected { ip, status: 503 },
                25 => EventKind::VncNotReady { ip },
                26 => EventKind::WaitReady { ip },
                27 => EventKind::WaitTimedOut { ip, deadline_ms },
                28 => EventKind::CliReady { ip },
                29 => EventKind::OauthStarted {
                    session,
                    ip: some_ip,
                },
                30 => EventKind::FlowFailed {
                    session,
                    user,
                    error,
                },
                31 => EventKind::SessionCancelled { session },
                _ if step < 3 => EventKind::Destroying { vm },
                _ => EventKind::ProcessExited {
                    vm,
                    code: None,
                    signalled: true,
                },
            }
        },
    );
    // Within the time that an ended boot is remembered.
    (0i64..600_000, kind)
}

fn holds(story: &Story) -> Result<(), TestCaseError> {
    let mut ended = BTreeMap::new();
    let mut settled = BTreeMap::new();
    for said in &story.said {
        match said {
            Observation::BootEnded(boot) => *ended.entry(boot.vm).or_insert(0) += 1,
            Observation::BootSettled(boot) => {
                *settled.entry(boot.vm).or_insert(0) += 1;
                let known = ended.get(&boot.vm).copied().unwrap_or(0);
                if boot.vm.is_some() {
                    prop_assert_eq!(known, i32::from(boot.outcome.is_some()));
                }
                prop_assert_eq!(boot.outcome.is_some(), boot.ended_at.is_some());
                let judged = matches!(boot.outcome, Some(Outcome::Failed | Outcome::Lost));
                prop_assert_eq!(
                    judged,
                    boot.failure.is_some(),
                    "a class exactly where it failed"
                );
                let later = boot.ended_at.is_none_or(|end| end >= boot.started_at);
                prop_assert!(later, "a boot does not end before it began");
            }
            _ => {}
        }
    }
    let once = settled
        .iter()
        .all(|(vm, count)| vm.is_none() || *count == 1);
    prop_assert!(once, "each VM's boot is handed out once");
    prop_assert_eq!(story.tracker.sizes(), Default::default());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_events_in_any_order_end_each_boot_at_most_once(
        events in prop::collection::vec(any_event(), 0..80),
        in_order in any::<bool>(),
    ) {
        let mut events = events;
        if in_order {
            events.sort_by_key(|(at, _)| *at);
        }
        let mut story = Story::new();
        for (at, kind) in events {
            story.tell(at, kind);
        }
        story.finish();
        holds(&story)?;
    }

    #[test]
    fn any_part_of_a_good_boot_in_any_order_is_never_a_failure(
        picks in prop::collection::vec(0usize..15, 0..40),
    ) {
        let mut whole = Recorder::default();
        whole.good_boot();
        let mut story = Story::new();
        for pick in picks {
            let (at, kind) = whole.events[pick % whole.events.len()];
            story.tell(at, kind);
        }
        for boot in story.finish() {
            prop_assert_ne!(boot.outcome, Some(Outcome::Failed));
        }
        holds(&story)?;
    }
}

/// The events of one good boot, to be picked from.
#[derive(Default)]
struct Recorder {
    events: Vec<(i64, EventKind<'static>)>,
}

impl Recorder {
    fn good_boot(&mut self) {
        let (vm, user, session, ip) = (vm(1), user(1), session(1), ip(2));
        let mut say = |at, kind| self.events.push((at, kind));
        say(0, EventKind::RequestAccepted { user });
        say(10, EventKind::SessionOpened { user, session });
        let started_at = Some(Timestamp(START + 20));
        let vm_type = VmType::Browser;
        say(
            20,
            EventKind::CreateStarted {
                vm,
                user,
                vm_type,
                started_at,
            },
        );
        for (step, elapsed) in (1..).zip(STEPS) {
            let elapsed_ms = Some(elapsed);
            let ip = (step == 1).then_some(ip);
            say(
                20 + i64::from(elapsed),
                EventKind::StepDone {
                    vm,
                    step,
                    elapsed_ms,
                    ip,
                },
            );
        }
        say(
            1_450,
            EventKind::HandedOver {
                vm,
                user,
                session,
                ip: Some(ip),
            },
        );
        let limits = WaitLimits {
            deadline_ms: Some(15_000),
            initial_delay_ms: 0,
        };
        say(1_500, EventKind::WaitStarted { ip, limits });
        say(
            1_500,
            EventKind::AttemptStarted {
                ip,
                elapsed_ms: Some(0),
            },
        );
        say(1_520, EventKind::AttemptAnswered { ip, status: 200 });
        say(1_520, EventKind::WaitReady { ip });
        say(
            1_600,
            EventKind::OauthStarted {
                session,
                ip: Some(ip),
            },
        );
    }
}

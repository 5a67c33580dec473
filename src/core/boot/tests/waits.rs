//! The health wait: whose line it is, and what the results say.

use super::*;
use crate::core::event::{FlowEnd, Stage};

#[test]
fn a_boot_climbs_through_refusals_to_ready() {
    let mut story = Story::new();
    story
        .created(0, 1, 2)
        .wait(1_500, 2)
        .refusals(1_500, 2, 3)
        .answers(1_500, 2, 6_010);
    assert_eq!(story.outcome(1), READY);
    let boot = story.settled(1);
    assert_eq!(count(&boot, AttemptResult::Error(REFUSED)), 3);
    assert_eq!(count(&boot, AttemptResult::Ok), 1);
    let rungs: Vec<u32> = boot.ladder.iter().map(|rung| rung.count).collect();
    assert_eq!(rungs, [3, 1], "runs of the same result are one rung");
    assert!(
        boot.stage(Stage::GuestNetwork)
            .is_some_and(|span| span.ms < 1_500)
    );
    assert!(
        boot.stage(Stage::AgentStart)
            .is_some_and(|span| (5_000..7_500).contains(&span.ms))
    );
}

#[test]
fn a_wait_that_times_out_is_judged_by_its_ladder() {
    let mut story = Story::new();
    story
        .created(0, 1, 2)
        .wait(1_500, 2)
        .refusals(1_500, 2, 8)
        .timed_out(17_500, 2);
    assert_eq!(story.outcome(1), failed(Failure::AgentRefused));
    story.flow_failed(17_500, 1, "VM not ready after 15000ms");
    assert_eq!(story.settled(1).failed_stage, Some(Stage::AgentStart));
}

#[test]
fn interleaved_boots_on_their_own_addresses_do_not_mix() {
    let mut story = Story::new();
    story.created(0, 1, 2).created(300, 2, 3);
    story.wait(1_500, 2).wait(1_800, 3);
    for round in 0..8 {
        story.fails(1_500, 2, round * 2_000, REFUSED);
        story.fails(1_800, 3, round * 2_000, AttemptError::HostUnreachable);
    }
    story.timed_out(17_600, 2).timed_out(17_900, 3);
    assert_eq!(story.outcome(1), failed(Failure::AgentRefused));
    assert_eq!(story.outcome(2), failed(Failure::GuestUnreachable));
}

#[test]
fn a_cancelled_boots_wait_does_not_mix_with_the_next_one_on_its_address() {
    let mut story = Story::new();
    story
        .created(0, 1, 2)
        .wait(1_500, 2)
        .fails(1_500, 2, 0, REFUSED);
    story.tell(
        2_500,
        EventKind::SessionCancelled {
            session: session(1),
        },
    );
    story.tell(2_500, EventKind::Destroying { vm: vm(1) });
    story.fails(1_500, 2, 2_000, AttemptError::HostUnreachable);
    // The address is given to another VM at once, and both waits poll it.
    story.created(4_000, 2, 2).wait(5_500, 2);
    story
        .fails(5_500, 2, 0, REFUSED)
        .fails(1_500, 2, 4_010, REFUSED);
    story
        .fails(5_500, 2, 2_000, REFUSED)
        .fails(1_500, 2, 6_020, REFUSED);
    story.answers(5_500, 2, 4_000);
    assert_eq!(story.outcome(1), CANCELLED);
    assert_eq!(story.outcome(2), READY);
    let boots = story.finish();
    let refused: Vec<u32> = boots
        .iter()
        .map(|boot| count(boot, AttemptResult::Error(REFUSED)))
        .collect();
    assert_eq!(refused, [3, 2], "each line is its own wait's");
    assert_eq!(count(&boots[1], AttemptResult::Ok), 1);
}

#[test]
fn lines_on_an_address_that_nobody_holds_are_counted_and_blame_nobody() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2);
    story.refusals(1_500, 9, 5);
    assert_eq!(count(&story.settled(1), AttemptResult::Error(REFUSED)), 0);
    assert!(story.tracker.counts().unattributed >= 5);
}

#[test]
fn a_wait_whose_first_line_was_lost_is_found_by_its_attempts() {
    let mut story = Story::new();
    story
        .created(0, 1, 2)
        .fails(1_500, 2, 2_000, REFUSED)
        .answers(1_500, 2, 4_000);
    assert_eq!(story.outcome(1), READY);
    assert_eq!(count(&story.settled(1), AttemptResult::Error(REFUSED)), 1);
}

#[test]
fn a_boot_whose_ready_line_was_lost_is_ready_when_its_sign_in_goes_on() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 2);
    let kind = EventKind::OauthStarted {
        session: session(1),
        ip: Some(ip(2)),
    };
    story.tell(6_000, kind);
    assert_eq!(story.outcome(1), READY);
}

#[test]
fn a_boot_whose_timeout_line_was_lost_fails_with_its_flow() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 8);
    story.flow_failed(17_500, 1, "VM not ready after 15000ms");
    assert_eq!(story.outcome(1), failed(Failure::AgentRefused));
}

#[test]
fn a_user_who_never_signs_in_is_no_boot_failure() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2);
    story.flow_failed(
        302_000,
        1,
        "OAuth timeout: User did not complete authentication",
    );
    assert_eq!(story.outcome(1), READY);
}

#[test]
fn a_wait_without_limit_and_attempt_is_the_controllers_own_fault() {
    let mut story = Story::new();
    let limits = WaitLimits::default();
    story
        .created(0, 1, 2)
        .tell(1_500, EventKind::WaitStarted { ip: ip(2), limits });
    let kind = EventKind::WaitTimedOut {
        ip: ip(2),
        deadline_ms: None,
    };
    story.tell(1_500, kind);
    assert_eq!(story.outcome(1), failed(Failure::NoAttempt));
    // The same where only the flow's last line is left.
    story
        .created(5_000, 2, 3)
        .flow_failed(6_500, 2, "VM not ready after undefinedms");
    assert_eq!(story.outcome(2), failed(Failure::NoAttempt));
}

#[test]
fn attempts_that_the_log_lost_are_not_attempts_that_were_never_made() {
    let mut story = Story::new();
    story
        .created(0, 1, 2)
        .flow_failed(17_500, 1, "VM not ready after 15000ms");
    assert_eq!(story.outcome(1), failed(Failure::Unknown));
}

#[test]
fn a_process_that_ends_while_its_boot_waits_is_a_dead_guest() {
    let mut story = Story::new();
    let exited = |number| EventKind::ProcessExited {
        vm: vm(number),
        code: Some(0),
        signalled: false,
    };
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 2);
    story.tell(5_000, exited(1)).timed_out(17_500, 2);
    assert_eq!(story.outcome(1), failed(Failure::GuestDied));
    // One that was destroyed before did not die.
    story.created(20_000, 2, 3).wait(21_500, 3);
    story
        .tell(22_000, EventKind::Destroying { vm: vm(2) })
        .tell(22_000, exited(2));
    story.timed_out(37_500, 3);
    assert_eq!(story.outcome(2), CANCELLED);
}

#[test]
fn an_agent_without_vnc_is_its_own_class() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 2);
    for elapsed in [4_000, 6_000, 8_000] {
        story.attempt(1_500, 2, elapsed);
        let at = 1_500 + i64::from(elapsed) + 30;
        let address = ip(2);
        story.tell(
            at,
            EventKind::AttemptAnswered {
                ip: address,
                status: 200,
            },
        );
        story.tell(at, EventKind::VncNotReady { ip: address });
        // The misleading line that follows in those versions says nothing new.
        story.tell(
            at,
            EventKind::AttemptRejected {
                ip: address,
                status: 200,
            },
        );
    }
    story.timed_out(17_500, 2);
    assert_eq!(story.outcome(1), failed(Failure::VncNotReady));
    assert_eq!(count(&story.settled(1), AttemptResult::VncNotReady), 3);
}

/// The hour by which a zone's summer time sets the stamps, either way.
const HOUR: [i64; 2] = [-3_600_000, 3_600_000];

/// A boot whose wait began 1.5 s after it, and whose agent answered 10.03 s later.
fn assert_lengths(boot: &Boot, step: i64) {
    let ms = |stage| boot.stage(stage).map(|span| span.ms);
    let ready_ms = boot.ready_ms.expect("its lines have `elapsed`");
    assert!((11_400..12_100).contains(&ready_ms), "{step}: {ready_ms}");
    let network = ms(Stage::GuestNetwork);
    assert!(network.is_some_and(|ms| ms < 700), "{step}: {network:?}");
    let agent = ms(Stage::AgentStart);
    let exact = 10_030 - 3;
    assert!(
        agent.is_some_and(|ms| ms.abs_diff(exact) < 1_000),
        "{step}: {agent:?}"
    );
    let ended_at = boot.ended_at.expect("it has ended");
    assert_eq!(ended_at.since(boot.started_at), i64::from(ready_ms));
}

#[test]
fn that_a_session_is_ready_is_told_when_it_is_known_and_once() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 3);
    story.answers(1_500, 2, 10_030);
    for _ in 0..2 {
        let kind = EventKind::OauthStarted {
            session: session(1),
            ip: Some(ip(2)),
        };
        story.tell(13_530, kind);
    }
    let told: Vec<_> = story
        .said
        .iter()
        .filter_map(|said| match said {
            Observation::BootCompleted(boot) => boot.stage(Stage::SessionReady),
            _ => None,
        })
        .collect();
    let [stage] = told[..] else {
        panic!("{told:?}");
    };
    assert!((1_000..3_000).contains(&stage.ms), "{stage:?}");
}

#[test]
fn a_clock_that_is_set_during_a_wait_loses_no_attempt_and_no_length() {
    for step in HOUR {
        let mut story = Story::new();
        story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 3);
        let from = 1_500 + step;
        story
            .fails(from, 2, 6_010, REFUSED)
            .fails(from, 2, 8_020, REFUSED);
        story.answers(from, 2, 10_030);
        let kind = EventKind::OauthStarted {
            session: session(1),
            ip: Some(ip(2)),
        };
        story.tell(from + 12_030, kind);
        assert_eq!(story.outcome(1), READY, "step {step}");
        let boot = story.settled(1);
        assert_eq!(
            count(&boot, AttemptResult::Error(REFUSED)),
            5,
            "step {step}"
        );
        assert_lengths(&boot, step);
        let session_ready = boot.stage(Stage::SessionReady).map(|span| span.ms);
        assert!(session_ready.is_some_and(|ms| (1_000..3_000).contains(&ms)));
        let last = boot.attempts_in_order().last().map(|(at, _)| at);
        let waited = last.map(|at| at.since(boot.started_at));
        assert!(waited.is_some_and(|ms| (11_400..12_100).contains(&ms)));
        assert_eq!(story.tracker.counts().absurd_durations, 0);
    }
}

/// The controller takes its `elapsed` from the same clock, so it is negative from then on.
#[test]
fn a_clock_that_is_set_back_behind_a_waits_beginning_loses_no_attempt_and_no_outcome() {
    let hour = 3_600_000;
    let negative = |story: &mut Story, ms: i64| {
        let attempt = EventKind::AttemptStarted {
            ip: ip(2),
            elapsed_ms: None,
        };
        story.tell(1_500 + ms - hour, attempt);
    };
    for is_ready in [true, false] {
        let mut story = Story::new();
        story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 3);
        for ms in [6_010, 8_020] {
            negative(&mut story, ms);
            let kind = EventKind::AttemptFailed {
                ip: ip(2),
                error: REFUSED,
                elapsed_ms: None,
            };
            story.tell(1_500 + ms + 3 - hour, kind);
        }
        negative(&mut story, 10_030);
        let at = 1_500 + 10_050 - hour;
        let outcome = match is_ready {
            true => {
                let kind = EventKind::AttemptAnswered {
                    ip: ip(2),
                    status: 200,
                };
                story
                    .tell(at, kind)
                    .tell(at, EventKind::WaitReady { ip: ip(2) });
                READY
            }
            false => {
                // It waits on until the clock is where the wait was to end.
                story.timed_out(1_500 + 16_000, 2);
                failed(Failure::AgentRefused)
            }
        };
        assert_eq!(story.outcome(1), outcome);
        let boot = story.settled(1);
        assert_eq!(count(&boot, AttemptResult::Error(REFUSED)), 5);
        assert_eq!(boot.ready_ms, None, "nobody knows how long it took");
    }
}

#[test]
fn a_clock_that_is_set_between_an_attempt_and_its_answer_takes_no_length() {
    for step in HOUR {
        let mut story = Story::new();
        story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 5);
        story.attempt(1_500, 2, 10_030);
        let at = 1_500 + 10_050 + step;
        let kind = EventKind::AttemptAnswered {
            ip: ip(2),
            status: 200,
        };
        story
            .tell(at, kind)
            .tell(at, EventKind::WaitReady { ip: ip(2) });
        assert_eq!(story.outcome(1), READY, "step {step}");
        assert_lengths(&story.settled(1), step);
    }
}

#[test]
fn a_clock_that_is_set_back_before_a_wait_takes_no_length() {
    let mut story = Story::new();
    let from = 1_500 - 3_600_000;
    story.created(0, 1, 2).wait(from, 2).refusals(from, 2, 5);
    story.answers(from, 2, 10_030);
    assert_eq!(story.outcome(1), READY);
    assert_lengths(&story.settled(1), from);
}

#[test]
fn a_clock_that_is_set_during_a_wait_that_fails_leaves_it_as_long_as_it_was() {
    for step in HOUR {
        let mut story = Story::new();
        story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 4);
        let from = 1_500 + step;
        for elapsed in [8_000, 10_000, 12_000, 14_000] {
            story.fails(from, 2, elapsed, REFUSED);
        }
        story.timed_out(from + 16_000, 2).flow_failed(
            from + 16_000,
            1,
            "VM not ready after 15000ms",
        );
        assert_eq!(story.outcome(1), failed(Failure::AgentRefused));
        let boot = story.settled(1);
        let lasted = boot.ended_at.map(|end| end.since(boot.started_at));
        assert!(lasted.is_some_and(|ms| (16_000..18_500).contains(&ms)));
        let stage = boot.stage(Stage::AgentStart).map(|span| span.ms);
        assert!(stage.is_some_and(|ms| (15_000..17_000).contains(&ms)));
        assert_eq!(story.tracker.counts().absurd_durations, 0);
    }
}

#[test]
fn where_only_stamps_tell_and_the_clock_was_set_a_boot_has_no_length() {
    for step in HOUR {
        let mut story = Story::new();
        story
            .made(0, 1, VmType::Cli, 2)
            .tell(9_000 + step, EventKind::CliReady { ip: ip(2) });
        assert_eq!(story.outcome(1), READY, "step {step}");
        let boot = story.settled(1);
        assert_eq!((boot.ready_ms, boot.untimed), (None, true));
        assert_eq!(story.tracker.counts().absurd_durations, 1);
    }
    let mut story = Story::new();
    let cancelled = EventKind::SessionCancelled {
        session: session(1),
    };
    story.created(0, 1, 2).tell(9_000 - 3_600_000, cancelled);
    assert_eq!(story.outcome(1), CANCELLED);
    let boot = story.settled(1);
    assert!(boot.untimed);
    let known = boot.ended_at.map(|end| end.since(boot.started_at));
    assert_eq!(known, Some(1_410), "what its creation's lines tell");
}

#[test]
fn a_log_that_tells_each_line_twice_tells_no_attempt_twice() {
    let mut story = Story::new();
    story.created(0, 1, 2);
    let at = |elapsed| Some(elapsed);
    let refused = |elapsed_ms| EventKind::AttemptFailed {
        ip: ip(2),
        error: AttemptError::Refused,
        elapsed_ms,
    };
    let started = |elapsed_ms| EventKind::AttemptStarted {
        ip: ip(2),
        elapsed_ms,
    };
    let unhealthy = EventKind::AttemptRejected {
        ip: ip(2),
        status: 503,
    };
    let answered = EventKind::AttemptAnswered {
        ip: ip(2),
        status: 503,
    };
    story.wait(1_430, 2);
    // The first attempt ends in the millisecond in which it began.
    for (ms, kind) in [
        (0, started(at(0))),
        (0, refused(at(0))),
        (2_000, started(at(2_000))),
        (2_001, refused(at(2_001))),
        (4_001, started(at(4_001))),
        (4_003, answered),
        (4_003, unhealthy),
        (6_003, started(at(6_003))),
        (6_003, refused(at(6_003))),
    ] {
        story.tell(1_430 + ms, kind).tell(1_430 + ms, kind);
    }
    story.timed_out(17_430, 2);
    let boot = story.settled(1);
    assert_eq!(count(&boot, AttemptResult::Error(REFUSED)), 3);
    assert_eq!(count(&boot, AttemptResult::Http(503)), 1);
}

/// At `LOG_LEVEL=warn`, or where journald dropped lines.
#[test]
fn rejections_whose_attempts_are_not_in_the_log_count_each_and_their_copies_do_not() {
    let vnc = EventKind::VncNotReady { ip: ip(2) };
    let rejected = |status| EventKind::AttemptRejected { ip: ip(2), status };
    let cases: [(AttemptResult, &[EventKind<'_>]); 2] = [
        (AttemptResult::Http(503), &[rejected(503)]),
        (AttemptResult::VncNotReady, &[vnc, rejected(200)]),
    ];
    for (result, lines) in cases {
        // Stamps of whole seconds say of 2,004 ms that they are two seconds; the lines of one attempt may cross a second.
        for grain in [1, 1_000] {
            let mut story = Story::new();
            story.created(0, 1, 2).wait(1_430, 2);
            for round in 0..5 {
                let at = 1_990 + round * 2_004;
                for (line, ms) in lines.iter().zip([0, 12]) {
                    let at = (at + ms) / grain * grain;
                    story.tell(at, *line).tell(at, *line);
                }
            }
            story.timed_out(17_430, 2);
            assert_eq!(count(&story.settled(1), result), 5, "{result:?} {grain}");
        }
    }
}

#[test]
fn of_two_cli_vms_on_one_address_each_ready_line_is_of_one_that_waits() {
    let mut story = Story::new();
    let ready = EventKind::CliReady { ip: ip(2) };
    story.made(0, 1, VmType::Cli, 2);
    // The pool gives the address again, to one that is still made when the first is ready.
    story
        .create_started(4_000, 2, VmType::Cli)
        .step(4_010, 2, 1, 10, Some(2))
        .tell(5_000, ready);
    assert_eq!(story.outcome(1), READY);
    assert_eq!(story.outcome(2), None);
    story.made(6_000, 3, VmType::Cli, 2);
    story.made(6_500, 4, VmType::Cli, 2);
    story.tell(9_000, ready).tell(9_000, ready);
    assert_eq!((story.outcome(3), story.outcome(4)), (READY, READY));
}

#[test]
fn a_cli_vm_is_ready_by_its_one_line_and_has_no_attempts() {
    let mut story = Story::new();
    story
        .made(0, 1, VmType::Cli, 2)
        .tell(9_000, EventKind::CliReady { ip: ip(2) });
    assert_eq!(story.outcome(1), READY);
    assert!(story.settled(1).attempts.is_empty());
}

/// The agent's 200 is there, and the lines after it are lost.
fn answered(story: &mut Story) {
    story
        .created(0, 1, 2)
        .wait(1_500, 2)
        .refusals(1_500, 2, 3)
        .attempt(1_500, 2, 6_010);
    let kind = EventKind::AttemptAnswered {
        ip: ip(2),
        status: 200,
    };
    story.tell(7_600, kind);
}

/// Other boots, for long enough that a silent one is given up.
fn time_passes(story: &mut Story) {
    for minute in 1..16 {
        story.created(
            400_000 + minute * 50_000,
            10 + minute.unsigned_abs() as u128,
            20,
        );
    }
}

/// The lines that tell a wait's end are lost.
#[test]
fn a_boot_that_was_destroyed_ended_as_its_other_lines_tell_and_else_nobody_knows() {
    const UNKNOWN: Option<(Outcome, Option<Failure>)> =
        Some((Outcome::Lost, Some(Failure::Unknown)));
    let refused = failed(Failure::AgentRefused);
    let over = |end| EventKind::FlowOver {
        session: session(1),
        vm: vm(1),
        end,
    };
    let goes_on = EventKind::OauthGoesOn {
        session: session(1),
    };
    let cases = [
        (8, None, refused),
        (8, Some(over(FlowEnd::Failed)), refused),
        (8, Some(over(FlowEnd::AfterReady)), READY),
        (3, None, UNKNOWN),
        (3, Some(over(FlowEnd::Failed)), failed(Failure::Unknown)),
        (3, Some(over(FlowEnd::AfterReady)), READY),
        (3, Some(over(FlowEnd::Cancelled)), CANCELLED),
        (3, Some(goes_on), READY),
    ];
    for (refusals, said, outcome) in cases {
        let what = format!("{refusals} {said:?}");
        let mut story = Story::new();
        story
            .created(0, 1, 2)
            .wait(1_500, 2)
            .refusals(1_500, 2, refusals);
        if let Some(said) = said {
            story.tell(17_000, said);
        }
        story.tell(19_000, EventKind::Destroying { vm: vm(1) });
        time_passes(&mut story);
        assert_eq!(story.outcome(1), outcome, "{what}");
    }
    // The wait for a VM that somebody took away goes on.
    let mut story = Story::new();
    story
        .created(0, 1, 2)
        .wait(1_500, 2)
        .refusals(1_500, 2, 3)
        .tell(6_600, EventKind::Destroying { vm: vm(1) });
    story.fails(1_500, 2, 6_000, REFUSED);
    time_passes(&mut story);
    assert_eq!(story.outcome(1), CANCELLED);
}

#[test]
fn a_boot_whose_ready_line_was_lost_is_ready_since_its_agents_answer() {
    let destroying = EventKind::Destroying { vm: vm(1) };
    for (later, outcome) in [(5_000, READY), (300_000, READY)] {
        let mut story = Story::new();
        answered(&mut story);
        story.tell(7_600 + later, destroying);
        time_passes(&mut story);
        assert_eq!(story.outcome(1), outcome);
    }
    // The controller that would have gone on with it ended, or its process did.
    let died = EventKind::ProcessExited {
        vm: vm(1),
        code: Some(0),
        signalled: false,
    };
    for end in [EventKind::ControllerStarting, died] {
        let mut story = Story::new();
        answered(&mut story);
        story.tell(12_000, end).tell(40_000, destroying);
        story.advance(900_000);
        assert_ne!(story.outcome(1), READY, "{end:?}");
    }
    let mut story = Story::new();
    answered(&mut story);
    story.flow_failed(307_600, 1, "OAuth flow timeout");
    assert_eq!(story.outcome(1), READY);
    let ready_ms = story.settled(1).ready_ms;
    assert!(ready_ms.is_some_and(|ms| ms < 8_000), "{ready_ms:?}");
}

#[test]
fn a_clock_that_is_set_back_while_the_controller_waits_before_its_first_attempt_loses_none() {
    let mut story = Story::new();
    let hour = 3_600_000;
    story.created(0, 1, 2);
    let limits = WaitLimits {
        deadline_ms: Some(120_000),
        initial_delay_ms: 45_000,
    };
    let kind = EventKind::WaitStarted { ip: ip(2), limits };
    story.tell(1_500, kind);
    for attempt in 0..10 {
        story.fails(1_500 - hour, 2, 45_000 + attempt * 2_000, REFUSED);
    }
    story.timed_out(121_500 - hour, 2);
    let boot = story.settled(1);
    assert_eq!(boot.failure, Some(Failure::AgentRefused));
    assert_eq!(count(&boot, AttemptResult::Error(REFUSED)), 10);
}

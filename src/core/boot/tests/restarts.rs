//! The controller goes away, and time passes.

use super::*;

const BANNER: EventKind<'static> = EventKind::ControllerStarting;

#[test]
fn a_restart_ends_the_boots_that_say_no_more_as_lost() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 3);
    story.tell(9_000, BANNER);
    assert_eq!(story.outcome(1), None, "not before the grace is over");
    story.created(45_000, 2, 3);
    assert_eq!(story.outcome(1), None, "it may speak now, too");
    story.created(56_000, 3, 4);
    assert_eq!(story.outcome(1), RESTARTED);
    assert_eq!(story.tracker.counts().controller_starts, 1);
}

#[test]
fn after_a_restart_a_boot_has_half_a_minute_in_which_others_speak() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 3);
    story.tell(9_000, BANNER);
    for (number, ms) in (20..).zip([12_000, 17_000, 22_000, 27_000, 32_000, 38_500]) {
        story.create_started(ms, number, VmType::Cli);
        assert_eq!(story.outcome(1), None, "{ms}");
    }
    story.create_started(43_000, 30, VmType::Cli);
    assert_eq!(story.outcome(1), RESTARTED);
}

#[test]
fn where_nothing_is_written_after_a_restart_its_boots_are_lost_when_no_copy_takes_so_long() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 3);
    story.tell(9_000, BANNER).advance(98_000);
    assert_eq!(story.outcome(1), None);
    story.advance(99_000);
    assert_eq!(story.outcome(1), RESTARTED);
}

#[test]
fn a_second_instance_that_finds_its_port_taken_ends_nothing() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 2);
    story.tell(4_000, BANNER);
    story
        .fails(1_500, 2, 4_000, REFUSED)
        .fails(1_500, 2, 6_000, REFUSED);
    story.advance(60_000);
    assert_eq!(story.outcome(1), None);
    story.answers(1_500, 2, 8_000);
    assert_eq!(story.outcome(1), READY);
}

#[test]
fn a_restart_after_a_long_downtime_is_still_why_its_boots_are_lost() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 3);
    let later = 3 * 3_600_000;
    story.tell(later, BANNER).created(later + 60_000, 2, 3);
    story.advance(later + 70_000);
    assert_eq!(story.outcome(1), RESTARTED);
}

#[test]
fn a_log_that_ends_after_a_restart_leaves_no_boot_in_flight() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2).tell(5_000, BANNER);
    let boot = story.settled(1);
    assert_eq!(boot.outcome, Some(Outcome::Lost));
    assert_eq!(boot.failure, Some(Failure::ControllerRestarted));
}

#[test]
fn a_log_that_ends_in_mid_boot_leaves_the_boot_in_flight() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 3);
    assert_eq!(story.settled(1).outcome, None);
}

#[test]
fn a_boot_may_end_well_while_the_controller_shuts_down() {
    let mut story = Story::new();
    story
        .created(0, 1, 2)
        .wait(1_500, 2)
        .tell(3_000, EventKind::ControllerStopping);
    story.answers(1_500, 2, 4_000);
    assert_eq!(story.outcome(1), READY);
}

#[test]
fn after_a_restart_answers_belong_to_the_new_wait_on_the_address() {
    let mut story = Story::new();
    // The first controller died in the middle of an attempt.
    story.created(0, 1, 2).wait(1_500, 2).attempt(1_500, 2, 0);
    story.tell(8_000, BANNER);
    story
        .created(9_000, 2, 2)
        .wait(10_500, 2)
        .fails(10_500, 2, 0, REFUSED);
    story.answers(10_500, 2, 2_000);
    assert_eq!(story.outcome(2), READY);
    story.advance(98_000);
    assert_eq!(story.outcome(1), RESTARTED);
}

#[test]
fn a_boot_that_says_nothing_for_long_is_lost_and_never_ready() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 2);
    // Others go on speaking.
    for minute in 1..8 {
        story.created(minute * 50_000, 10 + minute.unsigned_abs() as u128, 20);
    }
    assert_eq!(
        story.outcome(1),
        Some((Outcome::Lost, Some(Failure::Unknown)))
    );
}

#[test]
fn a_reader_that_stalls_ends_nothing() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 2);
    // The log has been read up to here and no further, however often one looks.
    for _ in 0..1_000 {
        story.advance(4_000);
    }
    assert_eq!(story.outcome(1), None);
}

#[test]
fn a_gap_in_the_log_is_no_reason_to_give_up_a_boot_that_speaks_after_it() {
    let mut story = Story::new();
    story.created(0, 1, 2);
    // The image is copied with the whole process blocked: nothing is logged for ten minutes.
    story.wait(600_000, 2).answers(600_000, 2, 10);
    assert_eq!(story.outcome(1), READY);
}

#[test]
fn a_start_whose_first_line_was_torn_is_known_by_the_next_and_counted_once() {
    for torn in [false, true] {
        let mut story = Story::new();
        story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 3);
        if !torn {
            story.tell(9_000, BANNER);
        }
        story.tell(10_000, EventKind::ControllerStarted);
        story.created(45_000, 2, 3).advance(55_000);
        assert_eq!(story.outcome(1), RESTARTED, "torn: {torn}");
        assert_eq!(story.tracker.counts().controller_starts, 1);
        // Again soon after: what started has listened, so this is another one.
        story.tell(58_000, EventKind::ControllerStarted);
        assert_eq!(story.tracker.counts().controller_starts, 2);
    }
    let mut slow = Story::new();
    slow.tell(0, BANNER)
        .tell(70_000, EventKind::ControllerStarted);
    assert_eq!(slow.tracker.counts().controller_starts, 1);
}

#[test]
fn the_crash_of_a_second_instance_is_not_the_first_ones() {
    let mut story = Story::new();
    story
        .tell(0, BANNER)
        .tell(500, EventKind::ControllerStarted);
    story
        .created(1_000, 1, 2)
        .wait(2_500, 2)
        .tell(3_000, BANNER);
    story.fails(2_500, 2, 1_000, REFUSED);
    story.tell(4_000, EventKind::ControllerCrashed);
    story.fails(2_500, 2, 3_000, REFUSED);
    assert_eq!(story.settled(1).outcome, None);
}

#[test]
fn what_a_controller_says_while_it_ends_takes_nothing_back() {
    for (end, takes_ms) in [
        (EventKind::ControllerStopping, 35_000),
        (EventKind::ControllerCrashed, 5_000),
    ] {
        for (survives, outcome) in [(false, Some(Outcome::Lost)), (true, None)] {
            let mut story = Story::new();
            story.created(0, 1, 2).wait(1_500, 2).tell(3_000, end);
            story.fails(1_500, 2, 4_000, REFUSED);
            if survives {
                story.fails(1_500, 2, 2_000 + takes_ms, REFUSED);
            }
            assert_eq!(story.settled(1).outcome, outcome, "{end:?}");
        }
    }
}

#[test]
fn a_boot_whose_copy_froze_the_controller_is_heard_before_it_is_given_up() {
    let mut story = Story::new();
    story.create_started(0, 1, VmType::Browser);
    story.created(0, 2, 3).wait(1_500, 3).refusals(1_500, 3, 1);
    // A second instance, whose port is taken.
    story.tell(2_000, BANNER);
    // All that time nothing is written, and the log is read all the same.
    for ms in [20_000, 40_000, 49_000] {
        story.advance(ms);
    }
    story.step(49_000, 1, 3, 49_000, None);
    story.fails(1_500, 3, 48_000, REFUSED);
    story.advance(61_000);
    assert_eq!((story.outcome(1), story.outcome(2)), (None, None));
}

#[test]
fn a_guest_that_is_ended_with_its_controller_did_not_die() {
    for (signalled, outcome) in [(true, RESTARTED), (false, failed(Failure::GuestDied))] {
        let mut story = Story::new();
        story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 2);
        story.tell(5_000, EventKind::ControllerStopping);
        let exited = EventKind::ProcessExited {
            vm: vm(1),
            code: (!signalled).then_some(1),
            signalled,
        };
        story.tell(5_000, exited).timed_out(17_500, 2);
        assert_eq!(story.outcome(1), outcome);
    }
    // Its line may be the earlier one.
    for (before, outcome) in [(1_000, RESTARTED), (3_000, failed(Failure::GuestDied))] {
        let mut story = Story::new();
        story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 1);
        let exited = EventKind::ProcessExited {
            vm: vm(1),
            code: None,
            signalled: true,
        };
        story
            .tell(6_000 - before, exited)
            .tell(6_000, EventKind::ControllerStopping)
            .timed_out(17_500, 2);
        assert_eq!(story.outcome(1), outcome);
    }
}

#[test]
fn boots_after_a_clock_that_was_set_back_are_judged_as_ever() {
    let hour = 3_600_000;
    let mut story = Story::new();
    story.created(hour, 1, 2).wait(hour + 1_500, 2);
    story.answers(hour + 1_500, 2, 8_000);
    story.created(0, 2, 3).wait(1_500, 3);
    // Time passes with nothing else to hear.
    story.advance(9_000);
    story.refusals(1_500, 3, 7).advance(30_000);
    assert_eq!(story.outcome(2), None);
    let timeout = EventKind::WaitTimedOut {
        ip: ip(3),
        deadline_ms: Some(15_000),
    };
    story.tell(16_500, timeout);
    assert_eq!(
        story.outcome(2),
        Some((Outcome::Failed, Some(Failure::AgentRefused)))
    );
}

#[test]
fn one_record_that_is_stamped_ahead_ends_no_other_boot() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2);
    story.create_started(20 * 3_600_000, 9, VmType::Browser);
    story.refusals(1_500, 2, 3).advance(20_000);
    story.answers(1_500, 2, 8_000);
    assert_eq!(story.outcome(1), READY);
    // Its own boot says no more, and is given up in its time.
    story.advance(20 * 60_000);
    assert_eq!(
        story.outcome(9),
        Some((Outcome::Lost, Some(Failure::Unknown)))
    );
}

#[test]
fn what_was_begun_before_the_clock_was_set_back_is_given_up_in_its_time() {
    let hour = 3_600_000;
    let mut story = Story::new();
    story.created(hour, 1, 2).wait(hour + 1_500, 2);
    story.tell(hour + 5_000, BANNER);
    story.created(0, 2, 3);
    assert_eq!(story.outcome(1), None, "it may speak now");
    story.advance(100_000);
    assert_eq!(story.outcome(1), RESTARTED);
}

#[test]
fn what_concerns_no_boot_tells_the_time() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 3);
    story.tell(9_000, BANNER);
    for second in 10..60 {
        let at = Timestamp(START + second * 1_000);
        story.tracker.goes_on(at, &mut story.said);
    }
    assert_eq!(story.outcome(1), RESTARTED);
}

#[test]
fn one_record_that_is_stamped_behind_ends_nothing() {
    for (behind, silent) in [(6 * 60_000, 40_000), (59 * 60_000, 70_000)] {
        let mut story = Story::new();
        story.made(0, 1, VmType::Cli, 2);
        story.tell(5_000 - behind, EventKind::Destroyed { vm: vm(77) });
        story.advance(silent);
        story.tell(silent, EventKind::Destroyed { vm: vm(78) });
        story.tell(silent + 12_000, EventKind::Destroyed { vm: vm(78) });
        assert_eq!(story.outcome(1), None, "{behind}");
    }
}

#[test]
fn nothing_is_given_up_while_it_is_in_doubt_which_time_it_is() {
    let hour = 3_600_000;
    let mut story = Story::new();
    story.created(hour, 1, 2).wait(hour + 1_500, 2);
    story.answers(hour + 1_500, 2, 8_000);
    // The clock was set back, and so far one record says so.
    story.create_started(0, 2, VmType::Browser);
    story.advance(hour + 30_000);
    assert_eq!(story.outcome(2), None);
}

/// Another boot's lines, each of which may be the one that lets time end what was silent.
fn others_speak(story: &mut Story, from: i64) {
    for (number, ms) in (20..).zip([5_000, 16_000, 27_000, 38_000]) {
        story.create_started(from + ms, number, VmType::Cli);
    }
}

#[test]
fn boots_that_wait_silently_while_the_clock_is_set_forward_are_heard_before_they_are_given_up() {
    let hour = 3_600_000;
    let mut story = Story::new();
    let limits = WaitLimits {
        deadline_ms: Some(120_000),
        initial_delay_ms: 45_000,
    };
    story
        .created(0, 1, 2)
        .tell(1_500, EventKind::WaitStarted { ip: ip(2), limits })
        .made(0, 2, VmType::Cli, 3)
        .tell(2_000, EventKind::RequestAccepted { user: user(3) });
    others_speak(&mut story, hour);
    story.fails(1_500 + hour, 2, 45_000, REFUSED);
    story
        .answers(1_500 + hour, 2, 47_000)
        .tell(hour + 55_000, EventKind::CliReady { ip: ip(3) })
        .created(hour + 60_000, 3, 4);
    assert_eq!((story.outcome(1), story.outcome(2)), (READY, READY));
    let boots = story.finish();
    assert_eq!(boots.iter().filter(|boot| boot.vm.is_none()).count(), 0);
    assert_eq!(count(&boots[0], AttemptResult::Error(REFUSED)), 1);
}

#[test]
fn boots_that_say_nothing_after_a_gap_either_are_given_up_since_their_silence() {
    let hour = 3_600_000;
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 2);
    story.made(4_000, 2, VmType::Cli, 3);
    others_speak(&mut story, hour);
    assert_eq!(story.outcome(1), None, "it may speak now");
    story.advance(hour + 96_000);
    let lost = Some((Outcome::Lost, Some(Failure::Unknown)));
    assert_eq!((story.outcome(1), story.outcome(2)), (lost, lost));
    let ended_at = story.end_of(1).and_then(|boot| boot.ended_at);
    assert!(ended_at.is_some_and(|at| at < Timestamp(START + 400_000)));
}

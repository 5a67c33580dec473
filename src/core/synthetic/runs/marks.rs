//! Which session is ours: the mark of a request, and what others of the account ask for meanwhile.

use super::*;

#[test]
fn a_request_that_never_arrived_proves_nothing_against_others_of_the_account() {
    let mut story = Story::resume(left(TrialState::Intent, None));
    story.log(&[
        EventKind::RequestAccepted { user: OURS },
        EventKind::SessionOpened {
            user: OURS,
            session: FOREIGN,
        },
        handed_over(FOREIGN, FOREIGN_VM),
    ]);
    story.passes(10 * MINUTE);
    assert!(story.cancelled().is_empty());
    assert_eq!(story.done(), Some(true));
}

#[test]
fn two_requests_that_cannot_be_told_apart_are_both_left_alone() {
    let mut story = Story::resume(left(TrialState::Intent, None));
    story.log(&[
        EventKind::RequestMarked { mark: MARK },
        EventKind::RequestAccepted { user: OURS },
        EventKind::RequestAccepted { user: OURS },
        EventKind::SessionOpened {
            user: OURS,
            session: FOREIGN,
        },
        EventKind::SessionOpened {
            user: OURS,
            session: SESSION,
        },
        handed_over(SESSION, VM),
    ]);
    story.passes(7 * MINUTE);
    assert!(story.cancelled().is_empty());
    assert!(story.done().is_some());
}

/// Its request is accepted, and ours is not even sent: the mark must not wait for the next request of our account.
#[test]
fn a_mark_of_another_bootwatch_goes_with_its_own_request() {
    let other = UserKey(8);
    let mut traces = Traces::new(OURS);
    let mut at = NOON;
    let mut log = |kinds: &[EventKind<'static>]| {
        at = at.plus_ms(20_000);
        for kind in kinds {
            traces.observe(&event(at, *kind));
        }
        traces.all().to_vec()
    };
    log(&[
        EventKind::RequestMarked { mark: 0xbad },
        EventKind::RequestAccepted { user: other },
    ]);
    let accepted = EventKind::RequestAccepted { user: OURS };
    let opened = |session| EventKind::SessionOpened {
        user: OURS,
        session,
    };
    let all = log(&[EventKind::RequestUnmarked, accepted, opened(FOREIGN)]);
    assert_eq!(all[0].mark, None);
    let all = log(&[
        EventKind::RequestMarked { mark: MARK },
        accepted,
        opened(SESSION),
    ]);
    assert_eq!(all[1].mark, Some(MARK));
    assert!(!all[1].is_doubtful(), "{all:?}");
}

#[test]
fn somebody_elses_request_is_over_by_the_logs_clock_also_where_that_is_ahead_of_ours() {
    let mut traces = Traces::new(OURS);
    let ahead = NOON.plus_ms(60 * MINUTE);
    traces.observe(&event(ahead, EventKind::RequestAccepted { user: OURS }));
    let opened = EventKind::SessionOpened {
        user: OURS,
        session: FOREIGN,
    };
    traces.observe(&event(ahead, opened));
    assert!(traces.all()[0].is_in_the_way(NOON));
    let gone_on = EventKind::Destroyed { vm: FOREIGN_VM };
    traces.observe(&event(ahead.plus_ms(6_000), gone_on));
    assert!(!traces.all()[0].is_in_the_way(NOON));
}

#[test]
fn traces_survive_a_restart_and_another_account_starts_anew() {
    let mut story = Story::begin();
    story.created();
    let text = serde_json::to_string(&story.traces).unwrap();
    assert_eq!(Traces::restore(OURS, Some(&text)), story.traces);
    let other = UserKey(8);
    assert_eq!(Traces::restore(other, Some(&text)), Traces::new(other));
    assert_eq!(Traces::restore(OURS, Some("{")), Traces::new(OURS));
}

#[test]
fn a_session_that_may_be_of_an_older_request_of_the_account_is_left_alone() {
    let mut story = Story::resume(left(TrialState::Intent, None));
    // Somebody's request waits for its session for a minute; ours comes meanwhile.
    story.log(&[accepted()]);
    story.passes(MINUTE);
    story.log(&[EventKind::RequestMarked { mark: MARK }, accepted()]);
    story.log(&[opened(FOREIGN)]);
    story.passes(MINUTE).log(&[opened(SESSION)]);
    story.passes(10 * MINUTE);
    assert!(story.cancelled().is_empty(), "{:?}", story.cancelled());
    assert!(story.done().is_some());
}

#[test]
fn a_later_request_makes_ours_ambiguous_only_while_ours_has_no_session() {
    for (bound, cancelled) in [(true, vec![SESSION]), (false, vec![])] {
        let mut story = Story::resume(left(TrialState::Intent, None));
        story.log(&[EventKind::RequestMarked { mark: MARK }, accepted()]);
        if bound {
            story.log(&[opened(SESSION)]);
        }
        story.now = story.now.plus_ms(MINUTE);
        story.log(&[accepted(), opened(FOREIGN)]);
        story.passes(2 * MINUTE);
        story.answer_cancellations();
        let all = story.cancelled();
        assert!(!all.contains(&FOREIGN), "{all:?}");
        assert_eq!(all.is_empty(), cancelled.is_empty(), "{all:?}");
    }
}

#[test]
fn a_mark_that_waited_or_was_followed_by_another_proves_nothing() {
    let marked = |mark| EventKind::RequestMarked { mark };
    let mut late = Story::resume(left(TrialState::Intent, None));
    late.log(&[marked(MARK)]).passes(30_000);
    late.log(&[accepted(), opened(FOREIGN)]);
    let mut crowded = Story::resume(left(TrialState::Intent, None));
    crowded.log(&[marked(1), marked(MARK), accepted(), opened(FOREIGN)]);
    for mut story in [late, crowded] {
        story.passes(10 * MINUTE);
        assert!(story.cancelled().is_empty(), "{:?}", story.cancelled());
    }
}

/// It copies an image meanwhile.
#[test]
fn what_a_slow_controller_accepts_is_ours_still() {
    for (seconds, cancelled) in [(4, true), (6, true), (19, true), (21, false)] {
        let mut story = Story::resume(left(TrialState::Intent, None));
        story.log(&[EventKind::RequestMarked { mark: MARK }]);
        story.passes(seconds * 1_000);
        story.log(&[accepted(), opened(SESSION)]);
        story.passes(10 * MINUTE);
        assert_eq!(!story.cancelled().is_empty(), cancelled, "{seconds} s");
    }
}

#[test]
fn nothing_is_cancelled_by_a_mark_before_the_log_has_gone_on() {
    let mut story = Story::resume(left(TrialState::Intent, None));
    story.log(&[
        EventKind::RequestMarked { mark: MARK },
        accepted(),
        opened(SESSION),
    ]);
    assert!(story.cancelled().is_empty());
    story.passes(6_000);
    assert_eq!(story.cancelled(), [SESSION]);
}

#[test]
fn two_of_our_own_one_after_the_other_are_told_apart() {
    let mut traces = Traces::new(OURS);
    for (mark, session) in [(1, FOREIGN), (2, SESSION)] {
        let marked = EventKind::RequestMarked { mark };
        for kind in [marked, accepted(), opened(session), REQUEST_FAILS] {
            traces.observe(&event(NOON, kind));
        }
    }
    let all = traces.all();
    assert_eq!((all[0].mark, all[1].mark), (Some(1), Some(2)));
    assert!(all.iter().all(|trace| !trace.ambiguous), "{all:?}");
}

/// Ours was given up before it reached the controller, or is only slower: what arrived beside it may be what was accepted.
#[test]
fn an_unmarked_request_that_arrived_before_ours_was_accepted_may_be_the_one() {
    let marked = EventKind::RequestMarked { mark: MARK };
    let unmarked = EventKind::RequestUnmarked;
    for arrivals in [[marked, unmarked], [unmarked, marked]] {
        let mut story = Story::resume(left(TrialState::Intent, None));
        story.log(&arrivals);
        story.log(&[
            accepted(),
            opened(FOREIGN),
            handed_over(FOREIGN, FOREIGN_VM),
        ]);
        story.passes(10 * MINUTE);
        assert!(story.cancelled().is_empty(), "{:?}", story.cancelled());
        assert!(story.effects.contains(&Effect::LeftAlone));
        let reason = story.running.trial.reason.clone().unwrap();
        assert!(reason.contains("neither is touched"), "{reason}");
        assert_eq!(story.done(), Some(false), "a VM stands, and may be ours");
    }
}

#[test]
fn an_unmarked_request_that_was_accepted_for_another_account_casts_no_doubt() {
    let other = EventKind::RequestAccepted { user: UserKey(8) };
    let marked = EventKind::RequestMarked { mark: MARK };
    let unmarked = EventKind::RequestUnmarked;
    for kinds in [
        [marked, unmarked, accepted(), other],
        [unmarked, marked, other, accepted()],
        [unmarked, other, marked, accepted()],
    ] {
        let mut story = Story::resume(left(TrialState::Intent, None));
        story.log(&kinds).log(&[opened(SESSION)]).passes(6_000);
        assert_eq!(story.cancelled(), [SESSION], "{kinds:?}");
    }
}

#[test]
fn an_unmarked_request_of_long_ago_was_refused_and_casts_no_doubt() {
    let mut story = Story::resume(left(TrialState::Intent, None));
    story.log(&[EventKind::RequestUnmarked]);
    story.now = story.now.plus_ms(2 * MINUTE);
    story.log(&[
        EventKind::RequestMarked { mark: MARK },
        accepted(),
        opened(SESSION),
    ]);
    story.passes(6_000);
    assert_eq!(story.cancelled(), [SESSION]);
}

/// What the answer names needs no mark.
#[test]
fn a_session_that_the_answer_named_is_ours_whatever_arrived_beside_it() {
    let mut story = Story::begin();
    story.told(Told::Journalled(true));
    story.log(&[EventKind::RequestUnmarked]);
    story.created().looks(&[AGENT]).ready().passes(1_000);
    assert_eq!(story.ended().unwrap().result, SyntheticResult::Passed);
    assert_eq!(story.running.trial.vm, Some(VM));
}

#[test]
fn nothing_is_begun_while_somebody_else_uses_the_account() {
    let settings = daily(96);
    let room = Room {
        followed: true,
        sighted: true,
        ..Room::default()
    };
    let mut traces = Traces::new(OURS);
    traces.observe(&event(NOON, accepted()));
    let mut canary = Canary::new(settings, Vec::new(), NOON);
    canary.sees(traces.all(), room, NOON, &mut Vec::new());
    assert_eq!(
        canary.forbidden(NOON.plus_ms(MINUTE)),
        Some(SkipReason::Account)
    );
    traces.observe(&event(NOON, opened(FOREIGN)));
    canary.sees(traces.all(), room, NOON, &mut Vec::new());
    assert_eq!(
        canary.forbidden(NOON),
        Some(SkipReason::Account),
        "too near"
    );
    assert_eq!(canary.forbidden(NOON.plus_ms(6_000)), None);
}

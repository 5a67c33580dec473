//! What is taken up again after a crash of ours.

use super::*;

#[test]
fn after_a_crash_what_the_journal_names_is_cancelled() {
    let mut story = Story::resume(left(TrialState::Following, Some(SESSION)));
    story.sees();
    assert_eq!(story.cancelled(), [SESSION]);
}

#[test]
fn after_a_crash_before_the_answer_the_log_joins_the_mark_to_its_session() {
    let mut story = Story::resume(left(TrialState::Intent, None));
    // Somebody else uses the account, before and after.
    let foreign = |session| {
        [
            EventKind::RequestAccepted { user: OURS },
            EventKind::SessionOpened {
                user: OURS,
                session,
            },
            handed_over(session, FOREIGN_VM),
        ]
    };
    story.now = NOON.plus_ms(-MINUTE);
    story.log(&foreign(FOREIGN));
    story.now = NOON.plus_ms(50);
    story.log(&ASKED);
    story.now = NOON.plus_ms(MINUTE);
    story.log(&foreign(SessionId(0xf2)));
    assert_eq!(story.cancelled(), [SESSION]);
    story.answer_cancellations();
    story
        .log(&[handed_over(SESSION, VM)])
        .log(&GONE)
        .log(&[FLOW_ENDS]);
    assert_eq!(story.done(), Some(true));
}

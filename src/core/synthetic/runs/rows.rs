//! What the session's row says of its VM, read before or after the log, or not at all.

use super::*;
use crate::core::row::{Provider, Row, SessionRow};

fn session_row(status: SessionStatus, filled: bool) -> Row {
    Row::Session(SessionRow {
        session: SESSION,
        user: Some(OURS),
        provider: Provider::Codex,
        status,
        vm: filled.then_some(VM),
        ip: filled.then_some(IP),
        has_auth_url: false,
        error: None,
        created_at: NOON,
        timeout_at: None,
        version: 1,
    })
}

/// A row that does not change is told once; the log may be read later.
#[test]
fn a_row_that_is_read_before_the_log_tells_of_its_session_counts() {
    let mut story = Story::begin();
    story.rows = RowsSeen::Seen;
    let Row::Session(ours) = session_row(SessionStatus::AwaitingUserAuth, true) else {
        unreachable!();
    };
    let other = |id| SessionRow {
        session: SessionId(id),
        ..ours.clone()
    };
    let theirs = SessionRow {
        user: None,
        ..other(1)
    };
    assert!(!story.traces.row(&Row::Session(theirs)));
    assert!(story.traces.row(&Row::Session(ours.clone())));
    for id in 1..16 {
        story.traces.row(&Row::Session(other(id)));
    }
    let text = serde_json::to_string(&story.traces).unwrap();
    story.traces = Traces::restore(OURS, Some(&text));
    story.created().passes(900);
    story.looks(&[AGENT]).ready();
    story.sees().passes(1_000);
    assert_eq!(story.ended().unwrap().result, SyntheticResult::Passed);

    // Of very many the oldest is forgotten, and what is kept can be read again.
    let mut traces = Traces::new(OURS);
    for id in 0..1_000 {
        traces.row(&Row::Session(other(id)));
    }
    let text = serde_json::to_string(&traces).unwrap();
    assert!(text.len() < 16 * 400, "{}", text.len());
    assert_eq!(Traces::restore(OURS, Some(&text)), traces);
}

/// The controller's memory has VM and address, whatever its row says: that is what users met.
#[test]
fn fields_that_the_row_leaves_empty_fail_the_run_in_their_phase() {
    for (status, filled, result) in [
        (
            SessionStatus::AwaitingUserAuth,
            true,
            SyntheticResult::Passed,
        ),
        (
            SessionStatus::AwaitingUserAuth,
            false,
            SyntheticResult::Failed,
        ),
        (SessionStatus::Ready, false, SyntheticResult::Failed),
        (SessionStatus::VmCreated, false, SyntheticResult::Failed),
    ] {
        let mut story = Story::begin();
        story.rows = RowsSeen::Seen;
        story.created().passes(900);
        story.looks(&[AGENT]).ready();
        assert!(story.ended().is_none(), "the row was not seen yet");
        story.traces.row(&session_row(status, filled));
        story.sees().passes(1_000);
        if status == SessionStatus::VmCreated {
            assert!(story.ended().is_none(), "they may come yet");
            story.passes(MINUTE);
        }
        let run = story.ended().unwrap();
        assert_eq!(run.result, result, "{status} {filled}: {run:?}");
        let stopped = story.running.trial.phases.stopped();
        let failed = result == SyntheticResult::Failed;
        assert_eq!(stopped, failed.then_some(TrialPhase::SessionFields));
        assert_eq!(
            run.evidence.first().map(String::as_str) == Some("the session's VM fields stay empty"),
            failed
        );
    }
}

#[test]
fn a_session_without_a_row_fails_and_rows_that_cannot_be_seen_blame_nobody() {
    for (rows, result) in [
        (RowsSeen::Seen, SyntheticResult::Failed),
        (RowsSeen::Hidden, SyntheticResult::Errored),
        (RowsSeen::NoDatabase, SyntheticResult::Passed),
    ] {
        let mut story = Story::begin();
        story.rows = rows;
        story.created().passes(900);
        story.looks(&[AGENT]).ready().passes(MINUTE + 1_000);
        assert_eq!(story.ended().unwrap().result, result, "{rows}");
    }
}

#[test]
fn an_interface_that_names_no_vm_fails_where_there_is_nothing_else() {
    let mut story = Story::begin();
    story.created().passes(900);
    story
        .looks(&[AGENT])
        .log(&[EventKind::WaitReady { ip: IP }]);
    story.told(Told::Session(Ok(SessionAnswer {
        status: Some(SessionStatus::Ready),
        ..SessionAnswer::default()
    })));
    story.passes(MINUTE + 1_000);
    let run = story.ended().unwrap();
    assert_eq!(run.result, SyntheticResult::Failed);
    assert_eq!(
        story.running.trial.phases.stopped(),
        Some(TrialPhase::SessionFields)
    );
}

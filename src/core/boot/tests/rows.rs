//! What rows do to boots: they open those that nobody else tells of, fill fields, and decide nothing else.

use proptest::prelude::*;

use super::super::rows::{LogSight, ROWS, RowsSaid};
use super::*;
use crate::core::event::Origin;
use crate::core::row::{Provider, Row, RowKey, SessionRow, SessionStatus, VmRow, VmStatus};

const MINUTE: i64 = 60_000;

fn vm_row(number: u128, vm_type: VmType, status: VmStatus) -> VmRow {
    VmRow {
        vm: vm(number),
        user: Some(user(number)),
        vm_type: Some(vm_type),
        status,
        ip: Some(ip(2)),
        has_process: true,
        created_at: Timestamp(START + 900),
        destroyed_at: None,
        last_heartbeat: None,
        memory_mb: None,
        version: 1,
    }
}

fn session_row(number: u128, status: SessionStatus, error: Option<&str>) -> SessionRow {
    SessionRow {
        session: session(number),
        user: Some(user(number)),
        provider: Provider::Codex,
        status,
        vm: Some(vm(number)),
        ip: Some(ip(2)),
        has_auth_url: false,
        error: error.map(str::to_owned),
        created_at: Timestamp(START),
        timeout_at: None,
        version: 1 + status as u64,
    }
}

fn watching() -> Story {
    let mut story = Story::new();
    story.tracker.watch_rows(None);
    story
}

impl Story {
    fn row(&mut self, row: &Row) -> &mut Story {
        self.tracker.row(row, false);
        self
    }

    fn judge(&mut self, ms: i64, blind: bool) -> RowsSaid {
        let as_of = Timestamp(START + ms);
        let log = match blind {
            true => LogSight::Blind,
            false => LogSight::ReadTo(as_of),
        };
        told(&mut self.tracker, as_of, log)
    }
}

fn told(tracker: &mut Tracker, as_of: Timestamp, log: LogSight) -> RowsSaid {
    let mut said = RowsSaid::default();
    tracker.judge_rows(as_of, log, &mut |observation, live| match live {
        true => said.live.push(observation),
        false => said.past.push(observation),
    });
    said
}

fn ended(said: &[Observation]) -> Vec<Boot> {
    let ended = said.iter().filter_map(|said| match said {
        Observation::BootEnded(boot) => Some((**boot).clone()),
        _ => None,
    });
    ended.collect()
}

fn settled(said: &[Observation]) -> Vec<Boot> {
    let settled = said.iter().filter_map(|said| match said {
        Observation::BootSettled(boot) => Some((**boot).clone()),
        _ => None,
    });
    settled.collect()
}

fn browser(status: SessionStatus, error: Option<&str>) -> [Row; 2] {
    [
        Row::Vm(vm_row(1, VmType::Browser, VmStatus::Running)),
        Row::Session(session_row(1, status, error)),
    ]
}

#[test]
fn a_boot_that_only_rows_tell_of_ends_as_they_say() {
    use Outcome::{Failed, Lost, Ready};
    use SessionStatus as S;
    let not_ready = Some("VM not ready after 180000ms");
    let never_tried = Some("VM not ready after undefinedms");
    let table = [
        (S::Ready, None, Some((Ready, None))),
        (S::AwaitingUserAuth, None, Some((Ready, None))),
        (S::Completed, None, Some((Ready, None))),
        (S::Failed, not_ready, Some((Failed, Some(Failure::Unknown)))),
        (
            S::Failed,
            never_tried,
            Some((Failed, Some(Failure::NoAttempt))),
        ),
        (
            S::Timeout,
            Some("OAuth timeout: nobody came"),
            Some((Ready, None)),
        ),
        (S::Started, None, None),
        (S::VmCreated, None, None),
        (S::Cancelled, not_ready, None),
    ];
    for (status, error, wanted) in table {
        let mut story = watching();
        for row in browser(status, error) {
            story.row(&row);
        }
        assert_eq!(
            story.judge(29_000, false),
            RowsSaid::default(),
            "the log has its time"
        );
        let said = story.judge(2 * MINUTE, false);
        let found = ended(&said.live);
        let told: Vec<_> = found
            .iter()
            .map(|boot| (boot.outcome.unwrap(), boot.failure))
            .collect();
        assert_eq!(told, Vec::from_iter(wanted), "{status} {error:?}");
        assert_eq!(settled(&said.live), found);
        let later = ended(&story.judge(20 * MINUTE, false).live);
        let lost = wanted.is_none().then_some((Lost, Some(Failure::Unknown)));
        let told: Vec<_> = later
            .iter()
            .map(|boot| (boot.outcome.unwrap(), boot.failure))
            .collect();
        assert_eq!(told, Vec::from_iter(lost), "{status} {error:?}");
        let boot = found.iter().chain(&later).next().unwrap();
        assert_eq!(
            (boot.vm, boot.session, boot.ip),
            (Some(vm(1)), Some(session(1)), Some(ip(2)))
        );
        assert_eq!(
            (boot.vm_type, boot.first.source),
            (Some(VmType::Browser), ROWS)
        );
        assert_eq!(boot.ready_ms, None, "rows tell no durations");
    }
}

#[test]
fn a_vm_without_a_process_after_a_minute_never_started() {
    for vm_type in VmType::ALL {
        let mut row = vm_row(1, *vm_type, VmStatus::Running);
        row.has_process = false;
        let mut story = watching();
        story.row(&Row::Vm(row.clone()));
        assert_eq!(ended(&story.judge(59_000, false).live), []);
        assert_eq!(
            story.tracker.users_in_flight().collect::<Vec<_>>(),
            [*vm_type]
        );
        let said = story.judge(MINUTE + 1_000, false);
        assert_eq!(
            ended(&said.live)[0].failure,
            Some(Failure::FirecrackerFailed)
        );
        assert_eq!(story.tracker.in_flight().count(), 0);
        // A destroyed row decides nothing.
        row.status = VmStatus::Destroyed;
        let mut story = watching();
        story.row(&Row::Vm(row));
        let said = story.judge(20 * MINUTE, false);
        assert_eq!(ended(&said.live)[0].outcome, Some(Outcome::Lost));
    }
}

#[test]
fn a_vm_that_was_there_before_anybody_watched_is_no_lost_boot() {
    for (past, wanted) in [(true, 0), (false, 1)] {
        let mut story = watching();
        let row = Row::Vm(vm_row(1, VmType::Cli, VmStatus::Running));
        story.tracker.row(&row, past);
        let said = story.judge(20 * MINUTE, false);
        assert_eq!(ended(&said.past).len() + ended(&said.live).len(), wanted);
        assert_eq!(ended(&story.judge(21 * MINUTE, false).past), []);
    }
    // How it went is told where that is known.
    let mut story = watching();
    let mut row = vm_row(1, VmType::Browser, VmStatus::Running);
    row.has_process = false;
    story.tracker.row(&Row::Vm(row), true);
    let said = story.judge(20 * MINUTE, false);
    assert_eq!(ended(&said.past)[0].outcome, Some(Outcome::Failed));
}

#[test]
fn a_cli_vm_was_ready_if_its_request_went_on_to_a_browser_vm() {
    let mut request = session_row(2, SessionStatus::VmCreated, None);
    request.user = Some(user(1));
    for (asked_before_ms, made, wanted) in [
        (10_000, true, Outcome::Ready),
        (10_000, false, Outcome::Lost),
        // A later request may have found it broken: it takes what is there.
        (-10_000, true, Outcome::Lost),
    ] {
        let mut story = watching();
        story.row(&Row::Vm(vm_row(1, VmType::Cli, VmStatus::Running)));
        request.created_at = Timestamp(START + 900 - asked_before_ms);
        request.vm = made.then_some(vm(2));
        story.row(&Row::Session(request.clone()));
        let said = story.judge(20 * MINUTE, false);
        let cli = ended(&said.live)
            .into_iter()
            .find(|boot| boot.vm == Some(vm(1)));
        assert_eq!(
            cli.unwrap().outcome,
            Some(wanted),
            "{asked_before_ms} {made}"
        );
    }
}

#[test]
fn a_creation_that_failed_is_one_boot_whichever_rows_it_left() {
    let named = format!("[{}] startFirecracker timed out after 25000ms", vm(1));
    let exited = "Firecracker exited with code 1: no";
    for (error, failure) in [
        (named.as_str(), Failure::StepTimeout),
        (exited, Failure::FirecrackerFailed),
        ("no idea", Failure::FirecrackerFailed),
    ] {
        let mut row = vm_row(1, VmType::Browser, VmStatus::Running);
        row.has_process = false;
        let mut failed = session_row(1, SessionStatus::Failed, Some(error));
        failed.vm = None;
        let mut rows = [Row::Vm(row), Row::Session(failed)];
        for _ in 0..2 {
            rows.reverse();
            let mut story = watching();
            story.row(&rows[0]).row(&rows[1]);
            let said = story.judge(2 * MINUTE, false);
            let [boot] = &ended(&said.live)[..] else {
                panic!("{error}: {said:?}");
            };
            assert_eq!(
                (boot.vm, boot.failure),
                (Some(vm(1)), Some(failure)),
                "{error}"
            );
            assert_eq!(boot.error.as_deref(), Some(error));
        }
    }
    // Nothing but the session.
    let mut failed = session_row(1, SessionStatus::Failed, Some("IP pool exhausted"));
    failed.vm = None;
    let mut story = watching();
    story.row(&Row::Session(failed));
    let said = story.judge(MINUTE, false);
    let boot = &ended(&said.live)[0];
    assert_eq!(
        (boot.vm, boot.failure),
        (None, Some(Failure::IpPoolExhausted))
    );
}

#[test]
fn a_session_gets_its_boot_when_it_gets_its_vm() {
    let mut started = session_row(1, SessionStatus::Started, None);
    started.vm = None;
    let mut story = watching();
    story.row(&Row::Session(started));
    assert_eq!(story.judge(MINUTE, false), RowsSaid::default());
    for row in browser(SessionStatus::Ready, None) {
        story.row(&row);
    }
    let said = story.judge(2 * MINUTE, false);
    assert_eq!(ended(&said.live).len(), 1);
    assert_eq!(story.judge(30 * MINUTE, false), RowsSaid::default());
}

#[test]
fn the_log_decides_whatever_rows_say_before_and_after() {
    for rows_first in [true, false] {
        let mut story = watching();
        let rows = browser(SessionStatus::Completed, None);
        if rows_first {
            story.row(&rows[0]).row(&rows[1]);
            assert_eq!(story.judge(20_000, false), RowsSaid::default());
        }
        story.created(0, 1, 2).wait(1_500, 2);
        story.attempt(1_500, 2, 0);
        story.row(&rows[0]).row(&rows[1]);
        assert_eq!(story.judge(MINUTE, false), RowsSaid::default());
        let kind = EventKind::WaitTimedOut {
            ip: ip(2),
            deadline_ms: Some(15_000),
        };
        story.tell(17_500, kind);
        story.row(&rows[0]).row(&rows[1]);
        assert_eq!(story.judge(5 * MINUTE, false), RowsSaid::default());
        story.tracker.finish(&mut story.said);
        for row in &rows {
            story.tracker.row(row, false);
        }
        assert_eq!(
            story.judge(40 * MINUTE, true),
            RowsSaid::default(),
            "settled and remembered"
        );
        let boots = settled(&story.said);
        assert_eq!((boots.len(), boots[0].outcome), (1, Some(Outcome::Failed)));
    }
}

#[test]
fn rows_fill_what_the_log_did_not_say() {
    let mut story = watching();
    let rows = browser(SessionStatus::Failed, Some("VM not ready after 15000ms"));
    story.row(&rows[0]).row(&rows[1]);
    // The log begins in the middle of the boot.
    let kind = EventKind::StepDone {
        vm: vm(1),
        step: 6,
        elapsed_ms: Some(1_400),
        ip: None,
    };
    story.tell(1_400, kind);
    story.tracker.finish(&mut story.said);
    let boot = &settled(&story.said)[0];
    assert_eq!(
        (boot.user, boot.session, boot.ip),
        (Some(user(1)), Some(session(1)), Some(ip(2)))
    );
    assert_eq!(boot.first.source, 0, "the log's");
}

#[test]
fn while_the_log_is_blind_rows_do_and_what_was_told_is_not_told_again() {
    let mut story = watching();
    for row in browser(SessionStatus::Failed, Some("VM not ready after 15000ms")) {
        story.row(&row);
    }
    let catching_up = LogSight::ReadTo(Timestamp(START - 1));
    let said = told(&mut story.tracker, Timestamp(START + MINUTE), catching_up);
    assert_eq!(
        said,
        RowsSaid::default(),
        "the log is behind: it may tell yet"
    );
    let said = story.judge(MINUTE, true);
    assert_eq!(ended(&said.live).len(), 1);
    // The log comes back, and says why.
    story.created(0, 1, 2).wait(1_500, 2);
    story.attempt(1_500, 2, 0);
    let error = REFUSED;
    let kind = EventKind::AttemptFailed {
        ip: ip(2),
        error,
        elapsed_ms: Some(3),
    };
    story.tell(1_500, kind);
    let waits =
        |said: &Observation| matches!(said, Observation::AttemptEnded(a) if a.waited_ms.is_some());
    assert!(
        !story.said.iter().any(waits),
        "it is not in flight for the rules"
    );
    let kind = EventKind::WaitTimedOut {
        ip: ip(2),
        deadline_ms: Some(15_000),
    };
    story.tell(17_500, kind);
    story.tracker.finish(&mut story.said);
    assert_eq!(ended(&story.said), [], "told once");
    let boots = settled(&story.said);
    assert_eq!(
        boots[0].failure,
        Some(Failure::AgentRefused),
        "and kept as the log has it"
    );
}

#[test]
fn rows_of_the_first_window_are_the_past() {
    let mut story = watching();
    for row in browser(SessionStatus::Failed, None) {
        story.tracker.row(&row, true);
    }
    let said = story.judge(MINUTE, false);
    assert_eq!((ended(&said.past).len(), said.live.len()), (1, 0));
    // One that was in flight then, and ended since, is not.
    let mut story = watching();
    for row in browser(SessionStatus::VmCreated, None) {
        story.tracker.row(&row, true);
    }
    assert_eq!(ended(&story.judge(MINUTE, false).past), []);
    for row in browser(SessionStatus::Failed, None) {
        story.row(&row);
    }
    assert_eq!(ended(&story.judge(2 * MINUTE, false).live).len(), 1);
}

#[test]
fn rows_that_are_too_old_or_gone_open_nothing() {
    let mut story = watching();
    let rows = browser(SessionStatus::Failed, None);
    story.row(&rows[0]).row(&rows[1]);
    story.tracker.row_vanished(RowKey::Session(session(1)));
    assert_eq!(
        story.judge(20 * MINUTE, false),
        RowsSaid::default(),
        "both were one boot's"
    );
    let mut story = watching();
    for _ in 0..2 {
        story.row(&rows[0]).row(&rows[1]);
        assert_eq!(story.judge(49 * 60 * MINUTE, false), RowsSaid::default());
    }
}

#[test]
fn without_watching_nothing_is_remembered() {
    let mut story = Story::new();
    story.created(0, 1, 2);
    assert_eq!(
        story.tracker.row_changes().parts.len(),
        1,
        "how much there is: nothing"
    );
}

fn saved(tracker: &mut Tracker) -> Vec<(String, String)> {
    let parts = tracker.row_changes().parts.into_iter();
    parts
        .filter_map(|part| Some((part.key, part.value?)))
        .collect()
}

#[test]
fn what_is_remembered_survives_a_restart_and_only_changes_are_saved() {
    let mut story = watching();
    story.created(0, 1, 2);
    story.tracker.finish(&mut story.said);
    let mut other = browser(SessionStatus::Ready, None);
    if let [Row::Vm(vm_row), Row::Session(session_row)] = &mut other {
        (vm_row.vm, session_row.vm, session_row.session) = (vm(2), Some(vm(2)), session(2));
    }
    story.row(&other[0]).row(&other[1]);
    assert_eq!(ended(&story.judge(MINUTE, false).live).len(), 1);
    let parts = saved(&mut story.tracker);
    assert_eq!(parts.len(), 5, "two heard, two told, and their number");
    for row in &other {
        story.tracker.row(row, false);
    }
    assert_eq!(story.tracker.row_changes().parts, [], "read again");
    let mut again = watching();
    again.tracker.restore_rows(parts.clone()).unwrap();
    for row in browser(SessionStatus::Ready, None).iter().chain(&other) {
        again.row(row);
    }
    assert_eq!(again.judge(2 * MINUTE, true), RowsSaid::default());
    assert_eq!(again.tracker.row_changes().parts, []);
    assert!(
        watching()
            .tracker
            .restore_rows(parts.into_iter().skip(1))
            .is_err()
    );
}

fn any_row() -> impl Strategy<Value = Row> {
    let error = prop_oneof![
        Just(None),
        Just(Some("VM not ready after 15000ms".to_owned())),
        Just(Some(format!(
            "[{}] allocateIP timed out after 5000ms",
            vm(2)
        ))),
        Just(Some("IP pool exhausted".to_owned())),
    ];
    // A row's creation never changes.
    const AGES: [i64; 4] = [0, 70_000, -50 * 60 * MINUTE, i64::MAX / 4];
    let numbers = (0u128..4, 0u128..4, 0usize..9, 0u8..8, any::<bool>());
    (numbers, error).prop_map(|((number, other, status, bits, of_vm), error)| {
        let age = AGES[usize::try_from(number).unwrap()];
        let created_at = Timestamp(START.saturating_add(age));
        if of_vm {
            let vm_type = VmType::ALL[usize::from(bits & 1)];
            let mut row = vm_row(number, vm_type, VmStatus::ALL[status % VmStatus::ALL.len()]);
            row.has_process = bits & 2 != 0;
            row.user = (bits & 4 != 0).then_some(user(other % 2));
            row.created_at = created_at;
            return Row::Vm(row);
        }
        let mut row = session_row(number, SessionStatus::ALL[status], error.as_deref());
        row.vm = (bits & 1 != 0).then_some(vm(other));
        row.has_auth_url = bits & 2 != 0;
        row.user = (bits & 4 != 0).then_some(user(other % 2));
        row.created_at = created_at;
        Row::Session(row)
    })
}

/// The boots of one log, with rows told before its lines, among them or after them.
fn told_with(rows: &[Row], place: usize) -> Vec<Boot> {
    let mut story = watching();
    let mut step = 0;
    let mut at_place = |story: &mut Story| {
        if step == place {
            for row in rows {
                story.row(row);
            }
        }
        step += 1;
    };
    at_place(&mut story);
    story.created(0, 1, 2).wait(1_500, 2);
    at_place(&mut story);
    story.attempt(1_500, 2, 0);
    let kind = EventKind::WaitTimedOut {
        ip: ip(2),
        deadline_ms: Some(15_000),
    };
    story.tell(17_500, kind);
    at_place(&mut story);
    story.made(18_000, 2, VmType::Cli, 3);
    story.tell(20_000, EventKind::CliReady { ip: ip(3) });
    at_place(&mut story);
    story.tracker.finish(&mut story.said);
    settled(&story.said)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn when_rows_are_read_makes_no_difference_to_the_logs_boots(
        statuses in prop::collection::vec((0usize..9, any::<bool>()), 1..4),
        place in 1usize..4,
    ) {
        let mut rows = vec![Row::Vm(vm_row(2, VmType::Cli, VmStatus::Destroyed))];
        for (status, ready) in statuses {
            let status = SessionStatus::ALL[status];
            rows.extend(browser(status, ready.then_some("VM not ready after 15000ms")));
        }
        let first = told_with(&rows, 0);
        prop_assert_eq!(first.len(), 2);
        prop_assert_eq!(&first, &told_with(&rows, place));
        let alone = told_with(&[], 0);
        for (with, without) in first.iter().zip(&alone) {
            prop_assert_eq!(with.outcome, without.outcome);
            prop_assert_eq!(with.failure, without.failure);
            prop_assert_eq!(with.ended_at, without.ended_at);
        }
    }

    /// Whatever rows come, in whatever order and however often: each VM is told at most once, and a second reading of
    /// them all says nothing.
    #[test]
    fn any_rows_end_each_boot_at_most_once(
        rows in prop::collection::vec(any_row(), 0..40),
        polls in prop::collection::vec(0i64..40 * MINUTE, 1..6),
        blind in any::<bool>(),
    ) {
        let mut story = watching();
        let mut polls = polls;
        polls.sort_unstable();
        let mut told = Vec::new();
        for (index, at) in polls.iter().enumerate() {
            for row in rows.iter().skip(index).step_by(polls.len()) {
                story.tracker.row(row, index % 2 == 0);
            }
            let said = story.judge(*at, blind);
            told.extend(ended(&said.past));
            told.extend(ended(&said.live));
        }
        for _ in 0..2 {
            for row in &rows {
                story.row(row);
            }
            let said = story.judge(41 * MINUTE, blind);
            told.extend(ended(&said.past));
            told.extend(ended(&said.live));
        }
        let mut vms: Vec<_> = told.iter().filter_map(|boot| boot.vm).collect();
        let all = vms.len();
        vms.sort_unstable();
        vms.dedup();
        prop_assert_eq!(vms.len(), all, "{:?}", told);
        for boot in &told {
            let failed = matches!(boot.outcome, Some(Outcome::Failed | Outcome::Lost));
            prop_assert_eq!(failed, boot.failure.is_some());
            prop_assert!(boot.ended_at.is_some_and(|at| at >= boot.started_at));
        }
        let parts = saved(&mut story.tracker);
        let mut again = watching();
        again.tracker.restore_rows(parts).unwrap();
        prop_assert_eq!(again.judge(41 * MINUTE, blind), RowsSaid::default());
    }
}

/// Of whoever asks for many boots of its own a busy controller must not be made.
#[test]
fn our_own_boots_in_flight_are_none_of_users() {
    let mut story = watching();
    let row = vm_row(1, VmType::Browser, VmStatus::Running);
    let user = row.user.expect("it has one");
    story.tracker.set_synthetic([user].into());
    story.row(&Row::Vm(VmRow {
        has_process: false,
        ..row
    }));
    story.judge(59_000, false);
    let all: Vec<_> = story.tracker.in_flight().collect();
    assert_eq!(all, [(VmType::Browser, Origin::Synthetic)]);
    assert_eq!(story.tracker.users_in_flight().count(), 0);
}

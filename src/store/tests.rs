//! The store on real files.

mod ahead;
mod corrupt;
mod large;
mod outbox;
mod place;
mod upgrade;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::core::alert::{Family, Incident};
use crate::core::event::{Failure, Origin, Outcome, Stage, StageOutcome, VmId, VmType};

pub(super) const DAY: i64 = 86_400_000;
/// 2025-10-18 01:52:07 UTC.
pub(super) const NOW: Timestamp = Timestamp(1_760_752_327_000);

pub(super) fn settings(folder: &Path) -> Settings {
    Settings {
        path: folder.join("bootwatch.db"),
        host: "host-1".to_owned(),
        keep_boots: Duration::from_secs(400 * 86_400),
        keep_incidents: Duration::from_secs(800 * 86_400),
    }
}

pub(super) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(super) async fn open(folder: &Path) -> Opened {
    Store::open(settings(folder), NOW).await.unwrap()
}

pub(super) fn boot(number: u128, started_at: Timestamp) -> BootRow {
    let stage = |ms| crate::core::boot::StageSpan {
        started_at,
        ms,
        outcome: StageOutcome::Completed,
        coarse: false,
        by_console: false,
    };
    BootRow {
        boot_id: format!("{number:032x}"),
        host: "host-1".to_owned(),
        vm: Some(VmId(number)),
        session: None,
        vm_type: VmType::Browser,
        origin: Origin::User,
        outcome: Some(Outcome::Failed),
        failure: Some(Failure::AgentRefused),
        failed_stage: Some(Stage::AgentStart),
        started_at,
        ended_at: Some(started_at.plus_ms(120_000)),
        ready_ms: None,
        image: None,
        build: None,
        detail: BootDetail {
            ip: Some([192, 168, 100, 17].into()),
            stages: vec![(Stage::CloneSnapshot, stage(4_211))],
            attempts: vec![(crate::core::event::AttemptResult::Http(502), 3)],
            error: Some("connect ECONNREFUSED".to_owned()),
            evidence: vec!["a \"line\"\u{1b}[31m \u{1f980}".to_owned()],
            ..BootDetail::default()
        },
    }
}

pub(super) fn incident(key: &str, fired_at: Timestamp) -> IncidentRow {
    let value = serde_json::json!({
        "key": key, "host": "host-1", "vm_type": "browser", "family": Family::Guest, "cause": "agent_refused",
        "first_bad_at": fired_at, "fired_at": fired_at, "resolved_at": null, "good_since": null, "members": [],
        "others": [], "evidence": ["x"], "boots": [], "update_due": null, "flapping": false,
    });
    let incident: Incident = serde_json::from_value(value).unwrap();
    IncidentRow(incident)
}

pub(super) fn message(incident: &str, transition: &str) -> NewMessage {
    NewMessage {
        incident: incident.to_owned(),
        transition: transition.to_owned(),
        receiver: "ops".to_owned(),
        dedup_key: format!("bootwatch/{incident}"),
        payload: "{\"title\":\"browser VMs fail\"}".to_owned(),
        created_at: NOW,
        due: NOW,
        state: MessageState::Queued,
        ended_at: None,
        tried: Tried::default(),
    }
}

pub(super) fn state(key: &str, value: Option<&str>) -> StateChange {
    StateChange {
        kind: "tracker",
        key: key.to_owned(),
        value: value.map(str::to_owned),
    }
}

pub(super) async fn history(store: &Store) -> History {
    History::open(store.path()).await.unwrap()
}

pub(super) const EVER: std::ops::Range<Timestamp> = Timestamp(0)..Timestamp(i64::MAX);

fn trial(id: i64, state: &str, ended_at: Option<Timestamp>) -> TrialRow {
    TrialRow {
        id,
        state: state.to_owned(),
        intent: format!("{{\"mark\":{id}}}"),
        vm_id: None,
        session_id: None,
        started_at: NOW.plus_ms(id),
        ended_at,
    }
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let folder = folder();
    let Opened {
        mut store, saved, ..
    } = open(folder.path()).await;
    assert!(saved.is_empty());
    let first = Batch {
        forgotten: Vec::new(),
        state: vec![
            state("a", Some("1")),
            state("b", Some("{\"x\":\"\\u0000\"}")),
        ],
        boots: vec![boot(1, NOW), boot(2, NOW.plus_ms(1))],
        incidents: vec![incident("i-1", NOW)],
        outbox: vec![message("i-1", "firing")],
        marks: Vec::new(),
        operations: vec![operation("1"), operation("2")],
        trials: vec![trial(5, "intent", None)],
    };
    let committed = store.commit(&first).await.unwrap();
    assert_eq!(committed.messages, [1]);
    let second = Batch {
        state: vec![state("a", None), state("c", Some("3"))],
        trials: vec![trial(5, "done", Some(NOW)), trial(6, "requested", None)],
        ..Batch::default()
    };
    store.commit(&second).await.unwrap();
    let skipped = TrialRow {
        intent: r#"{"reason":"slots"}"#.to_owned(),
        ..trial(7, SKIPPED, Some(NOW))
    };
    let third = Batch {
        trials: vec![skipped],
        ..Batch::default()
    };
    store.commit(&third).await.unwrap();
    // Not closed: as if the process had been killed.
    drop(store);

    let Opened { store, saved, .. } = open(folder.path()).await;
    assert_eq!(
        saved.of_kind("tracker").collect::<Vec<_>>(),
        [("b", "{\"x\":\"\\u0000\"}"), ("c", "3")]
    );
    assert_eq!(saved.value("tracker", "a"), None);
    assert_eq!(saved.unsent.len(), 1);
    assert_eq!(saved.unsent[0].payload, first.outbox[0].payload);
    assert_eq!((saved.created_at, saved.host.as_str()), (NOW, "host-1"));
    assert_eq!(saved.trials, second.trials, "and no skip");
    let mut history = history(&store).await;
    let runs = history.synthetic_runs(EVER).await.unwrap();
    assert_eq!(runs, [("skipped_slots".to_owned(), 1)].into());
    let mut told = Vec::new();
    for behind in 0..4 {
        let at = NOW.plus_ms(7);
        let place = (behind > 0).then_some(TrialPlace { at, behind });
        let page = history.newest_trials(place, 1).await.unwrap();
        told.extend(page.into_iter().map(|row| row.id));
    }
    assert_eq!(told, [7, 6, 5]);
    let mut boots = Vec::new();
    history.boots(EVER, |boot| boots.push(boot)).await.unwrap();
    assert_eq!(boots, first.boots);
    assert_eq!(history.operations(EVER).await.unwrap(), first.operations);
    assert_eq!(
        history.boot(&boots[0].boot_id).await.unwrap().as_ref(),
        Some(&boots[0])
    );
    assert_eq!(history.incidents(EVER).await.unwrap(), first.incidents);
    assert_eq!(history.messages(EVER).await.unwrap(), saved.unsent);
    history.check().await.unwrap();
}

#[tokio::test]
async fn what_a_report_reads_follows_its_boot_as_it_changes_moves_and_is_forgotten() {
    let folder = folder();
    let mut store = open(folder.path()).await.store;
    let hour = 3_600_000;
    let mut boots: Vec<BootRow> = (0..5)
        .map(|number| boot(number, NOW.plus_ms(i64::try_from(number).unwrap() * hour)))
        .collect();
    let commit = async |store: &mut Store, boots: &[BootRow]| {
        let batch = Batch {
            boots: boots.to_vec(),
            ..Batch::default()
        };
        store.commit(&batch).await.unwrap();
    };
    commit(&mut store, &boots).await;
    boots[1].started_at = NOW.plus_ms(-90_000);
    boots[2].ready_ms = Some(77);
    boots[3].detail.maintenance = true;
    commit(&mut store, &boots[1..4]).await;
    let read = async |store: &Store| {
        let mut read = Vec::new();
        let mut history = history(store).await;
        let week = NOW.plus_ms(-hour)..NOW.plus_ms(100 * hour);
        let count = history.facts(week, |fact| {
            assert_eq!(fact.host, "host-1");
            read.push((fact.started_at, fact.ready_ms, fact.maintenance));
        });
        assert_eq!(count.await.unwrap(), read.len() as u64);
        read
    };
    let told = |boot: &BootRow| (boot.started_at, boot.ready_ms, boot.detail.maintenance);
    let expected = [1, 0, 2, 4, 3].map(|number: usize| told(&boots[number]));
    assert_eq!(read(&store).await, expected, "that of a maintenance last");
    store.upkeep(NOW.plus_ms(400 * DAY + 1)).await.unwrap();
    let expected = [2, 4, 3].map(|number: usize| told(&boots[number]));
    assert_eq!(read(&store).await, expected);
}

#[tokio::test]
async fn a_boot_that_changes_stays_one_boot() {
    let folder = folder();
    let mut store = open(folder.path()).await.store;
    let mut changed = boot(1, NOW);
    for started_at in [NOW, NOW.plus_ms(-5)] {
        changed.started_at = started_at;
        changed.detail.late_marks += 1;
        let batch = Batch {
            boots: vec![changed.clone()],
            ..Batch::default()
        };
        store.commit(&batch).await.unwrap();
    }
    let mut boots = Vec::new();
    let mut history = history(&store).await;
    history.boots(EVER, |boot| boots.push(boot)).await.unwrap();
    assert_eq!(boots, [changed]);
    let tally = history.tally(EVER).await.unwrap();
    assert_eq!(tally.len(), 1);
    assert_eq!(tally[0].failure, Some(Failure::AgentRefused));
    assert_eq!(tally[0].boots, 1);
}

#[tokio::test]
async fn a_range_is_read_page_by_page_and_in_order() {
    let folder = folder();
    let mut store = open(folder.path()).await.store;
    // Many boots of one millisecond, more than a page of them.
    let boots = (0..2_500)
        .map(|number: i64| boot(number.unsigned_abs().into(), NOW.plus_ms(number / 1_200)));
    let batch = Batch {
        boots: boots.collect(),
        ..Batch::default()
    };
    store.commit(&batch).await.unwrap();
    let mut history = history(&store).await;
    let mut ids = Vec::new();
    let count = history
        .boots(NOW..NOW.plus_ms(2), |boot| {
            ids.push((boot.started_at, boot.boot_id))
        })
        .await
        .unwrap();
    assert_eq!(count, 2_400);
    assert!(ids.is_sorted() && ids.len() == 2_400);
}

#[tokio::test]
async fn the_files_are_this_users_alone() {
    let folder = folder();
    let path = folder.path().join("state/deep/bootwatch.db");
    let settings = Settings {
        path: path.clone(),
        ..settings(folder.path())
    };
    let mut store = Store::open(settings.clone(), NOW).await.unwrap().store;
    let batch = Batch {
        state: vec![state("a", Some("1"))],
        ..Batch::default()
    };
    store.commit(&batch).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for part in ["", "-wal", "-shm", ".lock"] {
        assert_eq!(mode(&file::beside(&path, part)), 0o600, "{part:?}");
    }
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    store.close().await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let _store = Store::open(settings, NOW).await.unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[tokio::test]
async fn a_second_one_is_refused_and_told_who_has_it() {
    let folder = folder();
    let first = open(folder.path()).await;
    let refused = Store::open(settings(folder.path()), NOW).await.unwrap_err();
    assert!(!refused.is_passing());
    assert_eq!(
        refused.to_string(),
        format!(
            "the store {} is in use by another bootwatch (process {}); stop that one, or write another store.path for \
             this one",
            first.store.path().display(),
            std::process::id()
        )
    );
    drop(first);
    open(folder.path()).await;
}

fn operation(subject: &str) -> OperationRow {
    OperationRow {
        at: NOW,
        action: "silence".to_owned(),
        subject: subject.to_owned(),
        author: "ada".to_owned(),
        reason: "image rebuild".to_owned(),
        starts_at: Some(NOW),
        ends_at: None,
    }
}

/// A real failure at each row that a batch writes: nothing of the batch is there, and the next commit works.
#[tokio::test]
async fn a_batch_that_fails_at_any_row_leaves_nothing() {
    let batch = Batch {
        forgotten: Vec::new(),
        state: vec![state("a", Some("new")), state("gone", None)],
        boots: vec![boot(7, NOW), boot(8, NOW)],
        incidents: vec![incident("i-7", NOW)],
        outbox: vec![message("i-7", "firing"), message("i-7", "update")],
        marks: vec![Mark::Sent {
            id: 1,
            status: "200".to_owned(),
            provider_ref: None,
            at: NOW,
        }],
        operations: vec![operation("7")],
        trials: vec![trial(7, "intent", None)],
    };
    for (table, when) in [
        ("operation", "BEFORE INSERT"),
        ("synthetic", "BEFORE INSERT"),
        ("state", "BEFORE INSERT"),
        ("state", "BEFORE DELETE"),
        ("boot", "BEFORE INSERT"),
        ("boot", "AFTER INSERT"),
        ("boot_detail", "BEFORE INSERT"),
        ("incident", "BEFORE INSERT"),
        ("meta", "BEFORE UPDATE"),
        ("outbox", "BEFORE INSERT"),
        ("outbox", "BEFORE UPDATE"),
    ] {
        let folder = folder();
        let mut store = open(folder.path()).await.store;
        let before = Batch {
            state: vec![state("a", Some("old")), state("gone", Some("still here"))],
            outbox: vec![message("i-0", "firing")],
            ..Batch::default()
        };
        store.commit(&before).await.unwrap();
        store.settle().await.unwrap();
        let dump = dump(&store).await;
        let trigger = format!(
            "CREATE TRIGGER broken {when} ON {table} BEGIN SELECT RAISE(ABORT, 'this row cannot be written'); END"
        );
        statement(&mut store, trigger).await;
        let error = store.commit(&batch).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Other, "{table} {when}");
        statement(&mut store, "DROP TRIGGER broken".to_owned()).await;
        assert_eq!(self::dump(&store).await, dump, "{table} {when}");
        let committed = store.commit(&batch).await.unwrap();
        assert_eq!(committed.messages, [2, 3]);
        assert_ne!(self::dump(&store).await, dump);
    }
}

async fn statement(store: &mut Store, statement: String) {
    let raw = store.connection.raw("write").await.unwrap();
    let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(raw)
        .await;
    done.unwrap();
}

/// All that a reader beside the store sees.
async fn dump(store: &Store) -> String {
    let mut history = history(store).await;
    let mut boots = Vec::new();
    history.boots(EVER, |boot| boots.push(boot)).await.unwrap();
    let saved = saved::read_in_distress(store.path()).await;
    format!(
        "{boots:?} {:?} {:?} {saved:?}",
        history.incidents(EVER).await.unwrap(),
        history.messages(EVER).await.unwrap()
    )
}

/// The future of a commit is dropped at each place where it waits: the next commit works, and the batch is there whole
/// or not at all.
#[tokio::test]
async fn a_commit_that_is_given_up_leaves_no_transaction_behind() {
    let folder = folder();
    let mut store = open(folder.path()).await.store;
    for polls in 0..40 {
        let batch = Batch {
            state: vec![state("a", Some("x")), state("b", Some("x"))],
            boots: vec![boot(polls, NOW)],
            outbox: vec![message("i", "firing")],
            ..Batch::default()
        };
        {
            let mut commit = std::pin::pin!(store.commit(&batch));
            for _ in 0..polls {
                let waker = std::task::Waker::noop();
                let mut context = std::task::Context::from_waker(waker);
                if commit.as_mut().poll(&mut context).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let next = Batch {
            state: vec![state("c", Some(&polls.to_string()))],
            ..Batch::default()
        };
        store.commit(&next).await.unwrap();
    }
    let mut history = history(&store).await;
    let boots = history.boots(EVER, |_| {}).await.unwrap();
    let messages = history.messages(EVER).await.unwrap();
    assert_eq!(boots, messages.len() as u64);
    history.check().await.unwrap();
}

#[tokio::test]
async fn old_rows_go_in_steps_and_what_is_open_stays() {
    let folder = folder();
    let mut store = open(folder.path()).await.store;
    let old = NOW.plus_ms(-1_000 * DAY);
    let mut closed = incident("old", old);
    closed.0.resolved_at = Some(old.plus_ms(DAY));
    let ended = |state, days: i64| {
        let mut one = message("old", "resolved");
        one.state = state;
        one.created_at = NOW.plus_ms(-days * DAY);
        one
    };
    let mut queued = message("old", "firing");
    queued.created_at = old;
    let batch = Batch {
        boots: (0..1_200)
            .map(|number| boot(number, old))
            .chain([boot(9_999, NOW)])
            .collect(),
        incidents: vec![closed, incident("open", old)],
        outbox: vec![
            queued,
            ended(MessageState::Sent, 91),
            ended(MessageState::Sent, 89),
            ended(MessageState::Dead, 181),
            ended(MessageState::Dead, 179),
            ended(MessageState::Dropped, 179),
        ],
        ..Batch::default()
    };
    store.commit(&batch).await.unwrap();
    let mut steps = Vec::new();
    loop {
        let step = store.upkeep(NOW).await.unwrap();
        steps.push(step.pruned);
        if !step.more {
            break;
        }
    }
    assert_eq!(steps, [503, 500, 200]);
    let mut history = history(&store).await;
    assert_eq!(history.boots(EVER, |_| {}).await.unwrap(), 1);
    let details: i64 = sqlx::query_scalar("SELECT count(*) FROM boot_detail")
        .fetch_one(store.connection.raw("read").await.unwrap())
        .await
        .unwrap();
    assert_eq!(details, 1);
    let incidents = history.incidents(EVER).await.unwrap();
    assert_eq!(incidents.len(), 1);
    assert_eq!(incidents[0].0.key, "open");
    let states: Vec<MessageState> = history
        .messages(EVER)
        .await
        .unwrap()
        .iter()
        .map(|message| message.state)
        .collect();
    let expected = [
        MessageState::Queued,
        MessageState::Sent,
        MessageState::Dead,
        MessageState::Dropped,
    ];
    assert_eq!(states, expected);
}

#[tokio::test]
async fn pruned_pages_go_back_to_the_disk() {
    let folder = folder();
    let mut store = open(folder.path()).await.store;
    let old = NOW.plus_ms(-1_000 * DAY);
    let batch = Batch {
        boots: (0..20_000).map(|number| boot(number, old)).collect(),
        ..Batch::default()
    };
    store.commit(&batch).await.unwrap();
    store.upkeep(NOW.plus_ms(-999 * DAY)).await.unwrap();
    let length = || {
        fs::metadata(folder.path().join("bootwatch.db"))
            .unwrap()
            .len()
    };
    let full = length();
    for _ in 0..120 {
        store.upkeep(NOW).await.unwrap();
    }
    assert!(length() < full / 2, "{} of {full}", length());
}

use super::known::Known;
use super::state::Sight;
use super::*;
use crate::config::{Database, Secret, Tls};
use crate::core::event::{SessionId, VmId};
use crate::core::query::{Cells, NoLayout, Place, Statement};
use crate::core::row::{Provider, SessionRow, SessionStatus, VmRow, VmStatus};

fn vm(id: u128, status: VmStatus, version: u64) -> Row {
    Row::Vm(VmRow {
        vm: VmId(id),
        user: None,
        vm_type: None,
        status,
        ip: None,
        has_process: false,
        created_at: Timestamp(1_000),
        destroyed_at: None,
        last_heartbeat: None,
        memory_mb: None,
        version,
    })
}

fn session(id: u128, status: SessionStatus) -> Row {
    Row::Session(SessionRow {
        session: SessionId(id),
        user: None,
        provider: Provider::Codex,
        status,
        vm: None,
        ip: None,
        has_auth_url: false,
        error: None,
        created_at: Timestamp(1_000),
        timeout_at: None,
        version: 1,
    })
}

fn at(row: &Row, created_us: i64) -> Place {
    let key = row.key().to_string();
    Place { created_us, key }
}

#[test]
fn a_row_is_delivered_when_it_is_new_or_has_changed() {
    let mut known = Known::new(&[]);
    let mut see = |row: &Row| known.see(row, &at(row, 5), 0);
    assert!(see(&vm(1, VmStatus::Running, 7)));
    assert!(!see(&vm(1, VmStatus::Running, 7)));
    assert!(see(&vm(1, VmStatus::Destroyed, 8)));
    assert!(see(&vm(2, VmStatus::Destroyed, 8)), "another row");
}

#[test]
fn only_rows_that_may_change_are_asked_for_by_key_and_sessions_not_for_ever() {
    let mut known = Known::new(&[]);
    known.begin_round();
    for row in [
        vm(1, VmStatus::Running, 1),
        vm(2, VmStatus::Destroyed, 1),
        vm(3, VmStatus::Other, 1),
        session(1, SessionStatus::Started),
        session(2, SessionStatus::Failed),
    ] {
        known.see(&row, &at(&row, 50), 10);
    }
    let stuck = session(3, SessionStatus::Started);
    known.see(&stuck, &at(&stuck, 9), 10);
    assert!(known.unseen(Table::Vms).is_empty(), "just seen");
    known.begin_round();
    let mut vms = known.unseen(Table::Vms);
    vms.sort();
    assert_eq!(vms, [VmId(1).to_string(), VmId(3).to_string()]);
    assert_eq!(known.unseen(Table::Sessions), [SessionId(1).to_string()]);
    assert_eq!(known.open(), 3);
}

#[test]
fn what_an_earlier_run_left_open_is_asked_for_and_told_when_it_is_gone() {
    let key = RowKey::Vm(VmId(9));
    let mut known = Known::new(&[key]);
    known.begin_round();
    known.prune(1_000_000);
    let keys = known.unseen(Table::Vms);
    assert_eq!(keys, [VmId(9).to_string()]);
    let missed = keys.into_iter().collect();
    assert_eq!(known.named(Table::Vms, &missed), [key]);
    known.forget(&[key]);
    assert_eq!(known.open(), 0);
}

#[test]
fn a_row_that_is_over_is_missed_only_within_the_window() {
    let mut known = Known::new(&[]);
    known.begin_round();
    for (id, created_us) in [(1, 100), (2, 200)] {
        let row = vm(id, VmStatus::Destroyed, 1);
        known.see(&row, &at(&row, created_us), 0);
    }
    known.begin_round();
    assert_eq!(known.unseen_since(Table::Vms, 150), [RowKey::Vm(VmId(2))]);
    known.prune(150);
    let old = vm(1, VmStatus::Destroyed, 1);
    assert!(
        known.see(&old, &at(&old, 100), 0),
        "forgotten, and told once more"
    );
}

#[test]
fn versions_mean_nothing_on_another_server() {
    let mut known = Known::new(&[]);
    let row = vm(1, VmStatus::Running, 7);
    known.see(&row, &at(&row, 5), 0);
    known.forget_versions();
    assert!(known.see(&row, &at(&row, 5), 0));
}

#[test]
fn blind_is_nothing_where_there_is_something_or_less_than_half_by_policy() {
    let sight = |seen, estimate, filtered| {
        Sight {
            seen,
            estimate,
            filtered,
        }
        .is_blind()
    };
    for (seen, estimate, filtered, blind) in [
        (0, 5, false, true),
        (0, 5, true, true),
        (0, 0, true, false),
        (5, 5, true, false),
        (2, 5, true, true),
        (2, 5, false, false),
        (1_000, 1_000_000, true, false),
    ] {
        assert_eq!(
            sight(seen, estimate, filtered),
            blind,
            "{seen} of {estimate}, {filtered}"
        );
    }
}

/// Tables that nobody asks about.
struct NoTables;

impl Tables for NoTables {
    fn probe(&self) -> Statement {
        unreachable!("nothing is connected")
    }

    fn layout(&self, _: &[Cells]) -> Result<Box<dyn Layout>, NoLayout> {
        unreachable!("nothing is connected")
    }
}

fn watch() -> Watch {
    let options = DatabaseOptions::new(&Database {
        url: Secret::new("postgres://me:hunter2@127.0.0.1:1/app"),
        schema: "public".to_owned(),
        poll: Duration::from_secs(5),
        tls: Tls::Verify,
        ca_file: None,
    });
    Watch {
        options: options.unwrap(),
        tables: Arc::new(NoTables),
        events: mpsc::channel(1).0,
        memory: Memory::new(None),
        chance: Chance(7),
        trouble: None,
        up: false,
        failures: 0,
        again: false,
    }
}

/// Many sidecars that were started at once do not ask at once for long, and a look that was slow is made up for by none.
#[tokio::test(start_paused = true)]
async fn looks_are_made_at_odd_times_and_one_that_overruns_is_followed_by_a_pause() {
    let mut watch = watch();
    let poll = watch.options.poll;
    let mut pauses = Vec::new();
    for _ in 0..500 {
        let started = clock::monotonic();
        pauses.push(watch.next_look(started) - started);
        tokio::time::advance(7 * poll / 2).await;
        let next = watch.next_look(started);
        let pause = next - clock::monotonic();
        assert!(!pause.is_zero() && pause <= 2 * poll, "{pause:?}");
    }
    let (shortest, longest) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
    assert!(*shortest >= poll && *longest < 2 * poll);
    assert!(
        *longest - *shortest > poll / 2,
        "{shortest:?} to {longest:?}"
    );
}

#[test]
fn a_pause_is_anywhere_up_to_a_bound_that_doubles_and_a_refusal_waits_far_longer() {
    let mut watch = watch();
    let silent = DatabaseError::Silent { action: "connect" };
    let refused = DatabaseError::Refused {
        source: sqlx::Error::WorkerCrashed,
    };
    let silent_bounds = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0];
    let refused_bounds = [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0];
    for (error, bounds) in [(silent, silent_bounds), (refused, refused_bounds)] {
        for (before, bound) in (0u32..).zip(bounds).chain([(u32::MAX - 1, bounds[7])]) {
            let (mut shortest, mut longest) = (f64::MAX, 0f64);
            for _ in 0..500 {
                watch.failures = before;
                let pause = watch.pause(&error).as_secs_f64();
                assert_eq!(watch.failures, before + 1, "each try counts");
                shortest = shortest.min(pause);
                longest = longest.max(pause);
            }
            let what = format!("{error}, {before} before: {shortest} to {longest}");
            assert!(
                (0.05..0.05f64.max(bound / 20.0) + 0.01).contains(&shortest),
                "{what}"
            );
            assert!(longest > 0.95 * bound && longest < bound, "{what}");
        }
    }
}

//! The rows that the real controller left behind, beside its log: the log decides, and rows alone never say otherwise.
//!
//! `tests/fixtures/controller/rows.tsv` are the rows of the boots of all stretches, as its database held them at the
//! run's end: the columns that the watch reads.

use std::collections::BTreeMap;

use bootwatch::controller::clock::Zone;
use bootwatch::controller::excerpt::excerpt;
use bootwatch::controller::reader::Reader;
use bootwatch::core::boot::{Boot, LogSight, Observation, ROWS, Tracker};
use bootwatch::core::event::{Event, Outcome, SessionId, Timestamp, UserKey, VmId, VmType};
use bootwatch::core::finding::{FindingKind, Findings};
use bootwatch::core::inventory::{Inventory, Poll};
use bootwatch::core::row::{Provider, Row, SessionRow, SessionStatus, VmRow, VmStatus};
use serde_json::Value;

use crate::program::bytes;

const STRETCHES: &[&str] = &[
    "startup",
    "concurrent",
    "create_failures",
    "healthy",
    "database",
    "agents",
    "missing",
    "incident",
    "unreachable",
    "slow_clone",
    "killed_and_reused",
    "rejection",
];
/// Long after the run's end.
const AFTER_MS: i64 = 3_600_000;

fn at(text: &str) -> Timestamp {
    let text = text.replace(' ', "T").replace("+00", "Z");
    let at: jiff::Timestamp = text.parse().expect("a time");
    Timestamp(at.as_millisecond())
}

fn some(cell: &str) -> Option<&str> {
    Some(cell).filter(|cell| *cell != "\\N")
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.split('\t').collect();
    let user = some(cells[2]).map(|user| UserKey::from_text(user.as_bytes()));
    if cells[0] == "vm" {
        return Row::Vm(VmRow {
            vm: VmId::parse(cells[1].as_bytes()).unwrap(),
            user,
            vm_type: VmType::from_word(cells[3]),
            status: VmStatus::from_word(cells[4]).unwrap(),
            ip: some(cells[5]).map(|ip| ip.parse().unwrap()),
            has_process: cells[6] == "t",
            created_at: at(cells[7]),
            destroyed_at: some(cells[8]).map(at),
            last_heartbeat: None,
            memory_mb: None,
            version: 1,
        });
    }
    Row::Session(SessionRow {
        session: SessionId::parse(cells[1].as_bytes()).unwrap(),
        user,
        provider: Provider::from_word(cells[3]).unwrap(),
        status: SessionStatus::from_word(cells[4]).unwrap(),
        vm: some(cells[5]).and_then(|vm| VmId::parse(vm.as_bytes())),
        ip: some(cells[6]).map(|ip| ip.parse().unwrap()),
        has_auth_url: cells[7] == "t",
        error: some(cells[8]).map(str::to_owned),
        created_at: at(cells[9]),
        timeout_at: some(cells[10]).map(at),
        version: 1,
    })
}

fn all_rows() -> Vec<Row> {
    let text = bytes("rows.tsv");
    let text = std::str::from_utf8(&text).unwrap();
    text.lines().map(row).collect()
}

struct Truth {
    /// By VM: the outcome, as the run's own ground truth has it.
    outcomes: BTreeMap<VmId, Outcome>,
    sessions: Vec<SessionId>,
    boots: usize,
}

fn truth(stretch: &str) -> Truth {
    let text = bytes(&format!("{stretch}.jsonl"));
    let lines: Vec<Value> = std::str::from_utf8(&text)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let outcome = |line: &Value| Outcome::from_word(line["outcome"].as_str()?);
    let vm = |line: &Value| VmId::parse(line["vm_id"].as_str()?.as_bytes());
    let session = |line: &Value| SessionId::parse(line["session_id"].as_str()?.as_bytes());
    Truth {
        outcomes: lines
            .iter()
            .filter_map(|line| Some((vm(line)?, outcome(line)?)))
            .collect(),
        sessions: lines.iter().filter_map(session).collect(),
        boots: lines.len(),
    }
}

/// The rows of a stretch's boots.
fn rows_of(truth: &Truth) -> Vec<Row> {
    let mut rows = all_rows();
    rows.retain(|row| match row {
        Row::Vm(row) => truth.outcomes.contains_key(&row.vm),
        Row::Session(row) => {
            let of_vm = row.vm.is_some_and(|vm| truth.outcomes.contains_key(&vm));
            of_vm || truth.sessions.contains(&row.session)
        }
    });
    rows
}

fn boots_of(said: &[Observation]) -> impl Iterator<Item = &Boot> {
    said.iter().filter_map(|said| match said {
        Observation::BootSettled(boot) => Some(&**boot),
        _ => None,
    })
}

/// The boots of a stretch's log with rows read after so many events, and at the end again; and what rows alone opened.
fn told_with(stretch: &str, rows: &[Row], place: u64) -> (Vec<Boot>, Vec<Observation>) {
    let mut reader = Reader::new(0, Zone::Named(jiff::tz::TimeZone::UTC));
    let mut tracker = Tracker::new(excerpt);
    tracker.watch_rows(None);
    let (mut said, mut by_rows) = (Vec::new(), Vec::new());
    let mut events = 0;
    let mut sink = |tracker: &mut Tracker, event: &Event<'_>, said: &mut Vec<_>| {
        if events == place {
            for row in rows {
                tracker.row(row, true);
            }
        }
        events += 1;
        tracker.observe(event, said);
        let now = event.at;
        tracker.judge_rows(now, LogSight::ReadTo(now), &mut |said, _| {
            by_rows.push(said)
        });
    };
    reader.push(&bytes(&format!("{stretch}.log")), &mut |event| {
        sink(&mut tracker, event, &mut said);
    });
    reader.finish(&mut |event| sink(&mut tracker, event, &mut said));
    tracker.finish(&mut said);
    for row in rows {
        tracker.row(row, true);
    }
    let after = reader.newest().unwrap().plus_ms(AFTER_MS);
    tracker.judge_rows(after, LogSight::ReadTo(after), &mut |said, _| {
        by_rows.push(said)
    });
    (boots_of(&said).cloned().collect(), by_rows)
}

#[test]
fn no_row_overrules_the_log_and_no_boot_is_told_twice() {
    let mut boots = 0;
    for stretch in STRETCHES {
        let truth = truth(stretch);
        let rows = rows_of(&truth);
        let (alone, _) = told_with(stretch, &[], 0);
        for place in [0, 40, u64::MAX] {
            let (with, by_rows) = told_with(stretch, &rows, place);
            assert_eq!(by_rows, [], "{stretch} at {place}");
            assert_eq!(with.len(), truth.boots, "{stretch} at {place}");
            for (with, without) in with.iter().zip(&alone) {
                assert_eq!(with.outcome, without.outcome, "{stretch}: {:?}", with.vm);
                assert_eq!(with.failure, without.failure, "{stretch}: {:?}", with.vm);
                assert_eq!(with.ended_at, without.ended_at, "{stretch}: {:?}", with.vm);
            }
        }
        boots += alone.len();
    }
    assert!(boots > 60, "{boots}");
}

#[test]
fn rows_alone_say_nothing_that_is_not_so() {
    let (mut right, mut lost) = (0, 0);
    for stretch in STRETCHES {
        let truth = truth(stretch);
        let mut tracker = Tracker::new(excerpt);
        tracker.watch_rows(None);
        let rows = rows_of(&truth);
        let newest = rows.iter().map(Row::created_at).max().unwrap();
        for row in &rows {
            tracker.row(row, false);
        }
        let mut said = Vec::new();
        let blind = LogSight::Blind;
        tracker.judge_rows(newest.plus_ms(AFTER_MS), blind, &mut |observation, live| {
            assert!(live, "{observation:?}");
            said.push(observation);
        });
        for boot in boots_of(&said) {
            assert_eq!(boot.first.source, ROWS);
            let Some(wanted) = boot.vm.and_then(|vm| truth.outcomes.get(&vm)) else {
                continue;
            };
            match boot.outcome {
                Some(Outcome::Lost) => lost += 1,
                told => {
                    // A user who cancelled is not told from a boot that failed, or was ready, by rows.
                    if *wanted != Outcome::Cancelled {
                        assert_eq!(told, Some(*wanted), "{stretch}: {boot:#?}");
                        right += 1;
                    }
                }
            }
        }
    }
    assert!(right > 40 && lost < right / 2, "{right} right, {lost} lost");
}

#[test]
fn the_run_leaves_ghosts_and_no_disagreement() {
    let rows = all_rows();
    let mut inventory = Inventory::new();
    let mut findings = Findings::default();
    for row in &rows {
        inventory.row(row, true);
    }
    for stretch in STRETCHES {
        for boot in told_with(stretch, &[], 0).0 {
            findings.boot(&boot);
        }
    }
    let end = rows
        .iter()
        .map(Row::created_at)
        .max()
        .unwrap()
        .plus_ms(120_000);
    for look in 0..2 {
        let as_of = end.plus_ms(look * 60_000);
        inventory.polled(Poll {
            as_of,
            full_since: Some(Timestamp(0)),
            lag_ms: None,
            ahead_ms: 0,
        });
        findings.tick(as_of, &inventory, &|_| false);
    }
    let of = |kind| findings.iter().filter(move |finding| finding.kind == kind);
    let never_started = |row: &&Row| matches!(row, Row::Vm(row) if row.never_started(end));
    let wanted = rows.iter().filter(never_started).count();
    assert!(wanted > 0);
    assert_eq!(
        of(FindingKind::Ghost).count(),
        wanted,
        "no process was ever noted of these"
    );
    let told: Vec<_> = of(FindingKind::DbDisagrees).collect();
    assert!(
        told.iter().all(|finding| finding.session.is_none()),
        "{told:#?}"
    );
}

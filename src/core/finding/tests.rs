use super::*;
use crate::core::event::{Provenance, UserKey, VmType};
use crate::core::row::{Provider, Row, SessionStatus};

const NOW: Timestamp = Timestamp(1_760_752_327_000);
const LONG_AGO: Timestamp = Timestamp(NOW.0 - 10 * 60_000);
const VM: VmId = VmId(1);

fn vm_row(vm: VmId, status: VmStatus) -> VmRow {
    VmRow {
        vm,
        user: Some(UserKey(1)),
        vm_type: Some(VmType::Browser),
        status,
        ip: Some(Ipv4Addr::new(192, 168, 100, 7)),
        has_process: true,
        created_at: LONG_AGO,
        destroyed_at: (status == VmStatus::Destroyed).then_some(LONG_AGO.plus_ms(60_000)),
        last_heartbeat: None,
        memory_mb: None,
        version: 1,
    }
}

fn session_row(status: SessionStatus, error: Option<&str>) -> SessionRow {
    SessionRow {
        session: SessionId(1),
        user: Some(UserKey(1)),
        provider: Provider::Codex,
        status,
        vm: Some(VM),
        ip: None,
        has_auth_url: false,
        error: error.map(str::to_owned),
        created_at: LONG_AGO,
        timeout_at: None,
        version: 1,
    }
}

fn ended(outcome: Outcome) -> Boot {
    let mut boot = Boot::new(Some(VM), Provenance::default(), LONG_AGO);
    boot.session = Some(SessionId(1));
    boot.ended_at = Some(LONG_AGO.plus_ms(90_000));
    boot.outcome = Some(outcome);
    boot.failure = (outcome == Outcome::Failed).then_some(Failure::AgentRefused);
    boot
}

fn process(vm: VmId) -> Process {
    Process {
        vm,
        pid: 77,
        started_at: LONG_AGO,
    }
}

/// Sources as they stand, looked at again and again.
struct World {
    inventory: Inventory,
    findings: Findings,
    processes: Option<(bool, Vec<Process>)>,
    in_flight: bool,
    now: Timestamp,
}

impl World {
    fn new() -> World {
        World {
            inventory: Inventory::new(),
            findings: Findings::default(),
            processes: Some((true, Vec::new())),
            in_flight: false,
            now: NOW,
        }
    }

    fn row(mut self, row: VmRow) -> World {
        self.inventory.row(&Row::Vm(row), false);
        self
    }

    fn session(mut self, row: SessionRow) -> World {
        self.inventory.row(&Row::Session(row), false);
        self
    }

    fn poll(&mut self, lag_ms: Option<i64>) {
        self.inventory.polled(Poll {
            as_of: self.now,
            full_since: Some(LONG_AGO),
            lag_ms,
            ahead_ms: 0,
        });
    }

    fn look(&mut self) -> Vec<FindingChange> {
        if let Some((whole, list)) = self.processes.clone() {
            let at = self.now;
            self.findings.processes(Processes { at, whole, list });
        }
        let in_flight = self.in_flight;
        let changes = self
            .findings
            .tick(self.now, &self.inventory, &|_| in_flight);
        self.now = self.now.plus_ms(TICK_MS);
        changes
    }

    /// Two looks over fresh rows.
    fn seen(&mut self) -> Vec<FindingKind> {
        for _ in 0..2 {
            self.poll(None);
            self.look();
        }
        self.findings.iter().map(|finding| finding.kind).collect()
    }
}

#[test]
fn the_matrix_of_eight() {
    use FindingKind::{DbDisagrees, Ghost, Orphan};
    let (failed, ready) = (Some(Outcome::Failed), Some(Outcome::Ready));
    // Process, row, log: finding.
    let table: [(bool, bool, Option<Outcome>, Option<FindingKind>); 12] = [
        (false, false, None, None),
        (false, false, failed, None),
        (false, true, None, Some(Ghost)),
        (false, true, failed, Some(Ghost)),
        (true, false, None, Some(Orphan)),
        (true, false, failed, Some(Orphan)),
        (true, true, None, None),
        (true, true, failed, Some(DbDisagrees)),
        (false, false, ready, None),
        (false, true, ready, Some(Ghost)),
        (true, false, ready, Some(Orphan)),
        (true, true, ready, None),
    ];
    for (runs, row, log, wanted) in table {
        let mut world = World::new();
        if row {
            world = world.row(vm_row(VM, VmStatus::Running));
        }
        if runs {
            world.processes = Some((true, vec![process(VM)]));
        }
        if let Some(outcome) = log {
            world.findings.boot(&ended(outcome));
        }
        let case = format!("process {runs}, row {row}, log {log:?}");
        assert_eq!(world.seen(), Vec::from_iter(wanted), "{case}");
        for finding in world.findings.iter() {
            let spoken = log.is_some_and(|outcome| finding.text.contains(outcome.as_str()));
            assert_eq!(spoken, log.is_some(), "{case}: {}", finding.text);
        }
    }
}

#[test]
fn a_row_has_a_process_only_while_it_runs() {
    use VmStatus::*;
    for (status, wanted) in [
        (Creating, Some(FindingKind::Ghost)),
        (Running, Some(FindingKind::Ghost)),
        (Hibernated, None),
        (Stopped, None),
        (Failed, Some(FindingKind::ProcessLost)),
        (Destroyed, None),
        (Other, None),
    ] {
        let seen = World::new().row(vm_row(VM, status)).seen();
        assert_eq!(seen, Vec::from_iter(wanted), "{status}");
    }
}

#[test]
fn where_processes_cannot_be_seen_only_a_row_or_the_log_tells_a_ghost() {
    let row = vm_row(VM, VmStatus::Running);
    for hidden in [None, Some((false, Vec::new()))] {
        let mut world = World::new().row(row.clone());
        world.processes = hidden.clone();
        assert_eq!(world.seen(), [], "nothing is known of its process");
        world.findings.process_exited(VM, world.now);
        assert_eq!(world.seen(), [FindingKind::Ghost], "the log saw it exit");

        let mut never = row.clone();
        never.has_process = false;
        let mut world = World::new().row(never);
        world.processes = hidden;
        assert_eq!(world.seen(), [FindingKind::Ghost]);
    }
}

#[test]
fn what_is_young_has_its_minute() {
    let mut row = vm_row(VM, VmStatus::Running);
    row.created_at = NOW.plus_ms(-30_000);
    let mut world = World::new().row(row);
    world.poll(None);
    world.look();
    assert_eq!(world.findings.suspects.len(), 0);

    let mut young = World::new();
    let started_at = NOW.plus_ms(-30_000);
    young.processes = Some((
        true,
        vec![Process {
            started_at,
            ..process(VM)
        }],
    ));
    young.poll(None);
    young.look();
    assert_eq!(young.findings.suspects.len(), 0);

    let mut world = World::new();
    world.processes = Some((true, vec![process(VM)]));
    world.in_flight = true;
    assert_eq!(world.seen(), [], "its record is being written");
}

#[test]
fn what_is_missing_once_may_come_and_what_comes_back_is_over() {
    let mut world = World::new().row(vm_row(VM, VmStatus::Running));
    world.poll(None);
    assert_eq!(world.look(), []);
    world.poll(None);
    let changes = world.look();
    let [FindingChange::Opened(ghost)] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert!(world.findings.is_ghost(VM));
    assert_eq!(ghost.vm, Some(VM));
    assert_eq!(world.findings.counts()[..6], [1, 0, 0, 0, 0, 0]);
    world.poll(None);
    assert_eq!(world.look(), [], "told once");
    world.processes = Some((true, vec![process(VM)]));
    world.poll(None);
    assert!(matches!(world.look()[..], [FindingChange::Closed(_)]));
    assert_eq!(world.findings.counts(), [0; FindingKind::ALL.len()]);
    assert_eq!(world.findings.closed().count(), 1);
}

/// D13, D16: what cannot be seen neither opens nor closes.
#[test]
fn a_database_that_is_down_or_lags_is_no_evidence() {
    let blind: [fn(&mut World); 2] = [
        |world| world.inventory.down(),
        |world| world.poll(Some(120_000)),
    ];
    for make_blind in blind {
        let mut world = World::new();
        world.processes = Some((true, vec![process(VM)]));
        world.poll(None);
        world.look();
        make_blind(&mut world);
        for _ in 0..3 {
            assert_eq!(world.look(), [], "the row may only not be there yet");
        }
        assert_eq!(world.seen(), [FindingKind::Orphan], "it is not there");
        world
            .inventory
            .row(&Row::Vm(vm_row(VM, VmStatus::Running)), false);
        make_blind(&mut world);
        assert_eq!(world.look(), []);
        assert_eq!(world.seen(), [], "it came");
    }
    // Before the whole window was read, nothing is missing.
    let mut world = World::new();
    world.processes = Some((true, vec![process(VM)]));
    for _ in 0..3 {
        world.inventory.polled(Poll {
            as_of: world.now,
            full_since: None,
            lag_ms: None,
            ahead_ms: 0,
        });
        assert_eq!(world.look(), []);
    }
}

#[test]
fn a_ghost_stays_one_while_processes_cannot_be_seen() {
    let mut world = World::new().row(vm_row(VM, VmStatus::Running));
    assert_eq!(world.seen(), [FindingKind::Ghost]);
    world.processes = None;
    world.now = world.now.plus_ms(PROCESSES_MS);
    assert_eq!(world.seen(), [FindingKind::Ghost]);
    world
        .inventory
        .row(&Row::Vm(vm_row(VM, VmStatus::Destroyed)), false);
    assert_eq!(world.seen(), []);
}

#[test]
fn a_sessions_row_disagrees_only_where_it_can_mean_nothing_else() {
    use Outcome::{Cancelled, Failed, Lost, Ready};
    let not_ready = Some("VM not ready after 180000ms");
    let table = [
        (Failed, SessionStatus::Completed, None, true),
        (Failed, SessionStatus::Ready, None, true),
        (Failed, SessionStatus::Failed, not_ready, false),
        (Ready, SessionStatus::Failed, not_ready, true),
        (Ready, SessionStatus::Failed, Some("write EBADF"), false),
        (
            Ready,
            SessionStatus::Failed,
            Some("Failed to start codex CLI: HTTP 500"),
            false,
        ),
        (Ready, SessionStatus::Timeout, None, false),
        (Ready, SessionStatus::Cancelled, not_ready, false),
        (Failed, SessionStatus::VmCreated, None, false),
        // A cancelled flow goes on, and may end on another VM's agent.
        (Cancelled, SessionStatus::Completed, None, false),
        (Lost, SessionStatus::Completed, None, false),
    ];
    for (log, status, error, wanted) in table {
        let mut world = World::new().session(session_row(status, error));
        world.findings.boot(&ended(log));
        let wanted = Vec::from_iter(wanted.then_some(FindingKind::DbDisagrees));
        assert_eq!(world.seen(), wanted, "{log} {status} {error:?}");
    }
    let mut rows_only = ended(Outcome::Failed);
    rows_only.first.source = ROWS;
    let mut world = World::new().session(session_row(SessionStatus::Ready, None));
    world.findings.boot(&rows_only);
    assert_eq!(world.seen(), [], "rows do not disagree with themselves");
}

#[test]
fn a_disagreement_about_an_outcome_is_told_for_an_hour() {
    let mut world = World::new().session(session_row(SessionStatus::Completed, None));
    world.findings.boot(&ended(Outcome::Failed));
    assert_eq!(world.seen(), [FindingKind::DbDisagrees]);
    world.now = world.now.plus_ms(WORD_MS);
    assert_eq!(world.seen(), []);
}

#[test]
fn a_vm_that_lives_on_after_its_failure_disagrees_as_long_as_it_lives() {
    let mut world = World::new().row(vm_row(VM, VmStatus::Running));
    world.processes = Some((true, vec![process(VM)]));
    world.findings.boot(&ended(Outcome::Failed));
    assert_eq!(world.seen(), [FindingKind::DbDisagrees]);
    world.now = world.now.plus_ms(2 * WORD_MS);
    assert_eq!(world.seen(), [FindingKind::DbDisagrees]);
    world
        .inventory
        .row(&Row::Vm(vm_row(VM, VmStatus::Destroyed)), false);
    world.processes = Some((true, Vec::new()));
    assert_eq!(world.seen(), []);
}

#[test]
fn sessions_without_a_vm_and_addresses_with_two_are_told() {
    let mut session = session_row(SessionStatus::Started, None);
    session.vm = None;
    let mut world = World::new()
        .session(session)
        .row(vm_row(VM, VmStatus::Running))
        .row(vm_row(VmId(2), VmStatus::Running));
    world.processes = Some((true, vec![process(VM), process(VmId(2))]));
    let seen = world.seen();
    assert_eq!(
        seen,
        [FindingKind::SessionIncomplete, FindingKind::AddressShared]
    );
    // One of the two is a ghost: the address is not shared, it is held.
    world.processes = Some((true, vec![process(VM)]));
    assert_eq!(
        world.seen(),
        [FindingKind::Ghost, FindingKind::SessionIncomplete]
    );
    let ghost = |vm| world.findings.is_ghost(vm);
    assert_eq!(
        world.inventory.addresses(ghost),
        Some(crate::core::inventory::Addresses {
            used: 1,
            ghost: 0,
            free: 252
        })
    );
}

#[test]
fn more_than_can_be_kept_are_counted() {
    let mut world = World::new();
    let many = 2 * MAX_OPEN;
    world.processes = Some((true, (1..=many as u128).map(|n| process(VmId(n))).collect()));
    assert_eq!(world.seen().len(), MAX_OPEN);
    assert_eq!(world.findings.overflow(), MAX_OPEN);
    assert_eq!(world.findings.counts()[FindingKind::Orphan as usize], many);
    world.processes = Some((true, Vec::new()));
    assert_eq!(world.seen(), []);
    assert_eq!(world.findings.closed().count(), MAX_CLOSED);
    assert_eq!(world.findings.counts(), [0; FindingKind::ALL.len()]);
}

#[test]
fn open_findings_survive_a_restart_and_are_not_told_again() {
    let mut world = World::new().row(vm_row(VM, VmStatus::Running));
    world.findings.boot(&ended(Outcome::Ready));
    assert_eq!(world.seen(), [FindingKind::Ghost]);
    let changes = world.findings.changes();
    assert!(changes.whole);
    let parts = changes
        .parts
        .into_iter()
        .filter_map(|part| Some((part.key, part.value?)));
    let parts: Vec<(String, String)> = parts.collect();
    assert_eq!(world.findings.changes(), Changes::default());
    world.findings = Findings::restore(parts.clone()).unwrap();
    assert_eq!(world.findings.changes(), Changes::default());
    for _ in 0..3 {
        world.poll(None);
        assert_eq!(world.look(), []);
    }
    assert_eq!(world.findings.words.len(), 1);
    world.processes = Some((true, vec![process(VM)]));
    assert_eq!(world.seen(), []);
    let gone = world.findings.changes().parts;
    assert!(
        gone.iter()
            .any(|part| part.key.starts_with(FINDING) && part.value.is_none())
    );
    assert!(Findings::restore(parts.into_iter().skip(1)).is_err());
}

fn counted(world: &mut World, taps: &[String], room: Option<Room>) -> Vec<String> {
    let census = Census {
        taps: Some(taps.to_vec()),
        room,
    };
    world.poll(None);
    world.findings.census(census, world.now);
    world.look();
    let open = world.findings.iter();
    open.filter(|finding| finding.kind != FindingKind::Orphan)
        .map(|finding| finding.text.clone())
        .collect()
}

#[test]
fn a_device_that_belongs_to_no_vm_at_two_looks_was_left_behind() {
    let mut world = World::new().row(vm_row(VM, VmStatus::Running));
    world.processes = Some((true, vec![process(VM)]));
    let (own, left, young) = (
        tap_of(VM),
        "fc-vm-abcde".to_owned(),
        "fc-vm-12345".to_owned(),
    );
    assert_eq!(own, "fc-vm-00000");
    let all = [own.clone(), left.clone()];
    assert!(counted(&mut world, &all, None).is_empty(), "seen once");
    assert_eq!(
        counted(&mut world, &[own.clone(), left.clone(), young], None),
        ["1 of 3 TAP devices belong to no VM: fc-vm-abcde"]
    );
    // Without a view of all processes nobody knows whose it is.
    world.processes = Some((false, Vec::new()));
    assert_eq!(
        counted(&mut world, std::slice::from_ref(&own), None).len(),
        1
    );
    world.processes = Some((true, vec![process(VM)]));
    assert!(counted(&mut world, &[own], None).is_empty());
}

#[test]
fn two_vms_whose_ids_begin_alike_want_one_device() {
    let other = VmId(2);
    let mut twin = vm_row(other, VmStatus::Running);
    twin.ip = Some(Ipv4Addr::new(192, 168, 100, 8));
    let mut world = World::new().row(vm_row(VM, VmStatus::Running)).row(twin);
    world.processes = Some((true, vec![process(VM), process(other)]));
    let taps = [tap_of(VM)];
    counted(&mut world, &taps, None);
    let text = format!("the VM's TAP device has the name of that of {VM}, which lives too");
    assert_eq!(counted(&mut world, &taps, None), [text]);
    assert_eq!(world.findings.iter().next().unwrap().vm, Some(other));
}

#[test]
fn the_next_copy_must_fit_unless_it_shares_its_blocks() {
    let room = |free_bytes, shares_blocks| {
        Some(Room {
            place: "/users".to_owned(),
            free_bytes,
            copy_bytes: 2 << 30,
            shares_blocks,
        })
    };
    let mut world = World::new();
    assert!(counted(&mut world, &[], room(3 << 30, Some(false))).is_empty());
    assert_eq!(
        counted(&mut world, &[], room(1 << 30, Some(false))),
        [
            "/users has 1024 MB free, and one copy of the golden image takes 2048 MB; its file system cannot share \
             blocks between copies"
        ]
    );
    assert_eq!(counted(&mut world, &[], None).len(), 0);
    assert!(counted(&mut world, &[], room(1 << 30, Some(true))).is_empty());
}

#[test]
fn a_census_that_is_old_neither_opens_nor_closes() {
    let room = Room {
        place: "/users".to_owned(),
        free_bytes: 0,
        copy_bytes: 1,
        shares_blocks: None,
    };
    let mut world = World::new();
    assert_eq!(counted(&mut world, &[], Some(room)).len(), 1);
    for _ in 0..5 {
        world.poll(None);
        world.look();
    }
    assert_eq!(world.findings.iter().count(), 1);
    assert!(counted(&mut world, &[], None).is_empty());
}

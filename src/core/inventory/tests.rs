use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp(1_760_752_327_000);

fn vm(number: u128, status: VmStatus, age_ms: i64) -> Row {
    Row::Vm(VmRow {
        vm: VmId(number),
        user: Some(UserKey(number)),
        vm_type: Some(VmType::Browser),
        status,
        ip: Some(Ipv4Addr::from(u32::try_from(number % 250).unwrap())),
        has_process: true,
        created_at: NOW.plus_ms(-age_ms),
        destroyed_at: (status == VmStatus::Destroyed).then_some(NOW),
        last_heartbeat: None,
        memory_mb: None,
        version: 1,
    })
}

fn session(number: u128, status: SessionStatus, age_ms: i64) -> Row {
    Row::Session(SessionRow {
        session: SessionId(number),
        user: None,
        provider: Provider::ClaudeCode,
        status,
        vm: None,
        ip: None,
        has_auth_url: false,
        error: None,
        created_at: NOW.plus_ms(-age_ms),
        timeout_at: None,
        version: 1 + status as u64,
    })
}

fn poll(as_of: Timestamp) -> Poll {
    Poll {
        as_of,
        full_since: Some(Timestamp(0)),
        lag_ms: None,
        ahead_ms: 0,
    }
}

fn total(inventory: &Inventory, status: SessionStatus) -> u64 {
    inventory.session_totals().0[Provider::ClaudeCode as usize][status as usize]
}

fn saved(inventory: &mut Inventory) -> Vec<(String, String)> {
    inventory.save_everything();
    let parts = inventory.changes().parts.into_iter();
    parts
        .filter_map(|part| Some((part.key, part.value?)))
        .collect()
}

#[test]
fn a_session_reaches_each_status_once_whatever_is_read_again() {
    use SessionStatus::{Cancelled, Failed, Started};
    let mut inventory = Inventory::new();
    for _ in 0..3 {
        for status in [Started, Failed, Cancelled, Failed] {
            inventory.row(&session(1, status, 1_000), false);
            inventory.polled(poll(NOW));
        }
    }
    for status in [Started, Failed, Cancelled] {
        assert_eq!(total(&inventory, status), 1, "{status}");
    }
    let mut again = Inventory::restore(saved(&mut inventory)).unwrap();
    assert!(!again.row(&session(1, Failed, 1_000), true));
    assert!(again.row(&session(1, Started, 1_000), false));
    assert_eq!(again.session_totals(), inventory.session_totals());
}

#[test]
fn rows_of_synthetic_boots_take_an_address_and_count_for_nothing_else() {
    let mut inventory = Inventory::new();
    inventory.set_synthetic(BTreeSet::from([UserKey(7)]));
    inventory.row(&vm(7, VmStatus::Running, 1_000), false);
    inventory.row(&vm(8, VmStatus::Running, 1_000), false);
    for (number, user) in [(1, Some(UserKey(7))), (2, Some(UserKey(8)))] {
        let mut row = session(number, SessionStatus::Started, 3_600_000);
        if let Row::Session(row) = &mut row {
            row.user = user;
        }
        inventory.row(&row, false);
    }
    inventory.polled(poll(NOW));
    assert_eq!(total(&inventory, SessionStatus::Started), 1);
    assert_eq!(inventory.incomplete().count(), 1);
    let counts: usize = inventory
        .vm_counts()
        .iter()
        .map(|(_, _, count)| count)
        .sum();
    assert_eq!(counts, 1);
    assert_eq!(inventory.addresses(|_| false).unwrap().used, 2);
    assert_eq!(inventory.running_browsers(|_| false), 2);
    assert_eq!(
        inventory.running_browsers(|vm| vm == VmId(8)),
        1,
        "a ghost runs nowhere"
    );
}

#[test]
fn a_session_s_deadline_is_by_the_controller_s_clock_whatever_the_database_s_shows() {
    const HOUR: i64 = 3_600_000;
    let incomplete = |ahead_ms: i64, timeout_in_ms: i64| {
        let Row::Session(row) = session(1, SessionStatus::Started, 0) else {
            unreachable!("a session")
        };
        let row = SessionRow {
            created_at: NOW.plus_ms(ahead_ms - 60_000),
            timeout_at: Some(NOW.plus_ms(timeout_in_ms)),
            ..row
        };
        let mut inventory = Inventory::new();
        inventory.row(&Row::Session(row), false);
        inventory.polled(Poll {
            ahead_ms,
            ..poll(NOW.plus_ms(ahead_ms))
        });
        inventory.incomplete().count()
    };
    for ahead_ms in [0, HOUR, -HOUR] {
        assert_eq!(incomplete(ahead_ms, 240_000), 0, "{ahead_ms}");
        assert_eq!(incomplete(ahead_ms, -240_000), 1, "{ahead_ms}");
    }
}

#[test]
fn sessions_of_the_first_window_are_the_past() {
    let mut inventory = Inventory::new();
    inventory.row(&session(1, SessionStatus::Ready, 1_000), true);
    assert_eq!(total(&inventory, SessionStatus::Ready), 0);
    inventory.row(&session(1, SessionStatus::Ready, 1_000), false);
    inventory.row(&session(1, SessionStatus::Completed, 1_000), false);
    assert_eq!(total(&inventory, SessionStatus::Ready), 0);
    assert_eq!(total(&inventory, SessionStatus::Completed), 1);
}

#[test]
fn closed_rows_are_let_go_of_by_age_and_not_counted_again() {
    let mut inventory = Inventory::new();
    let open = vm(1, VmStatus::Running, KEEP_MS);
    let gone = vm(2, VmStatus::Destroyed, KEEP_MS);
    let over = session(3, SessionStatus::Failed, KEEP_MS);
    let fresh = vm(4, VmStatus::Destroyed, KEEP_MS - 1);
    for _ in 0..3 {
        for row in [&open, &gone, &over, &fresh] {
            inventory.row(row, false);
        }
        inventory.polled(poll(NOW));
        assert_eq!(inventory.sizes(), (2, 0));
        assert_eq!(total(&inventory, SessionStatus::Failed), 1);
    }
    assert_eq!(
        inventory.open_keys().collect::<Vec<_>>(),
        [RowKey::Vm(VmId(1))]
    );
    let counts = inventory.vm_counts();
    assert_eq!(
        counts,
        [
            (Some(VmType::Browser), VmStatus::Running, 1),
            (Some(VmType::Browser), VmStatus::Destroyed, 1)
        ]
    );
}

#[test]
fn beyond_the_bound_the_oldest_closed_rows_go_first_and_stay_gone() {
    let mut inventory = Inventory::new();
    let all = i64::try_from(MAX_ROWS).unwrap() + 100;
    let row = |number: i64| match number {
        0..200 if number % 2 == 0 => vm(
            number.unsigned_abs().into(),
            VmStatus::Running,
            all - number,
        ),
        _ => vm(
            number.unsigned_abs().into(),
            VmStatus::Destroyed,
            all - number,
        ),
    };
    for number in 0..all {
        inventory.row(&row(number), false);
    }
    assert_eq!(inventory.sizes(), (MAX_ROWS, 100));
    let open = inventory.vms().filter(|row| row.stands()).count();
    assert_eq!(open, 100, "open rows stay");
    for number in 0..all {
        inventory.row(&row(number), false);
    }
    assert_eq!(
        inventory.sizes(),
        (MAX_ROWS, 100),
        "what was let go of stays gone"
    );
}

#[test]
fn absence_is_evidence_only_in_full_sight() {
    let mut inventory = Inventory::new();
    assert_eq!(inventory.sight(), None);
    let partial = Poll {
        full_since: None,
        ..poll(NOW)
    };
    inventory.polled(partial);
    assert_eq!(inventory.sight(), None, "the window was never read in full");
    inventory.polled(poll(NOW));
    assert!(inventory.sight().is_some());
    inventory.polled(Poll {
        lag_ms: Some(30_000),
        ..partial
    });
    assert_eq!(inventory.sight(), None, "the replica lags");
    inventory.polled(Poll {
        lag_ms: Some(29_999),
        ..partial
    });
    assert!(inventory.sight().is_some());
    inventory.down();
    assert_eq!(inventory.sight(), None);
    inventory.polled(partial);
    assert!(inventory.sight().is_some());
}

#[test]
fn the_pool_counts_addresses_not_rows() {
    let mut inventory = Inventory::new();
    assert_eq!(inventory.addresses(|_| false), None, "nothing was read yet");
    inventory.polled(poll(NOW));
    for (number, status) in [
        (1, VmStatus::Running),
        (2, VmStatus::Hibernated),
        (3, VmStatus::Failed),
        (4, VmStatus::Destroyed),
        // The same address as the first.
        (251, VmStatus::Running),
        (5, VmStatus::Running),
    ] {
        inventory.row(&vm(number, status, 1_000), false);
    }
    let ghost = |vm: VmId| vm == VmId(1) || vm == VmId(5);
    assert_eq!(
        inventory.addresses(ghost),
        Some(Addresses {
            used: 3,
            ghost: 1,
            free: 249
        })
    );
    inventory.vanished(RowKey::Vm(VmId(5)));
    assert_eq!(
        inventory.addresses(ghost),
        Some(Addresses {
            used: 3,
            ghost: 0,
            free: 250
        })
    );
}

#[test]
fn a_pool_is_not_free_because_no_row_tells_an_address() {
    let mut inventory = Inventory::new();
    inventory.polled(poll(NOW));
    let free = |inventory: &Inventory| inventory.addresses(|_| false).map(|pool| pool.free);
    assert_eq!(free(&inventory), Some(253), "no VM stands");
    for (number, ip) in [(1, None), (2, Some(Ipv4Addr::new(192, 168, 100, 2)))] {
        let mut row = vm(number, VmStatus::Running, 1_000);
        if let Row::Vm(row) = &mut row {
            row.ip = ip;
        }
        inventory.row(&row, false);
        assert_eq!(free(&inventory), ip.map(|_| 252));
    }
}

#[test]
fn only_what_changed_is_saved_and_a_part_that_is_missing_is_noticed() {
    let mut inventory = Inventory::new();
    for number in 0..5 {
        inventory.row(&vm(number, VmStatus::Running, 1_000), false);
    }
    assert!(inventory.changes().whole);
    assert_eq!(inventory.changes(), Changes::default());
    inventory.row(&vm(1, VmStatus::Running, 1_000), false);
    assert_eq!(inventory.changes(), Changes::default(), "read again");
    inventory.row(&vm(1, VmStatus::Destroyed, 1_000), false);
    inventory.vanished(RowKey::Vm(VmId(2)));
    let keys: Vec<(String, bool)> = inventory
        .changes()
        .parts
        .into_iter()
        .map(|part| (part.key, part.value.is_some()))
        .collect();
    assert_eq!(
        keys,
        [
            (format!("vm/{}", VmId(1)), true),
            (format!("vm/{}", VmId(2)), false),
            ("rest".to_owned(), true)
        ]
    );
    let parts = saved(&mut inventory);
    let restored = Inventory::restore(parts.clone()).unwrap();
    assert_eq!(restored.vms, inventory.vms);
    assert!(Inventory::restore(parts.into_iter().skip(1)).is_err());
}

fn any_row() -> impl Strategy<Value = Row> {
    let age = prop_oneof![
        0..1_000i64,
        Just(KEEP_MS),
        Just(i64::MIN / 8),
        Just(i64::MAX / 8)
    ];
    (any::<bool>(), 0u128..6, 0usize..9, age).prop_map(|(of_vm, number, status, age)| match of_vm {
        true => vm(number, VmStatus::ALL[status % VmStatus::ALL.len()], age),
        false => session(number, SessionStatus::ALL[status], age),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_rows_read_again_change_nothing_and_are_restored_as_they_were(
        rows in prop::collection::vec(any_row(), 0..60),
    ) {
        let mut inventory = Inventory::new();
        inventory.polled(poll(NOW));
        for row in &rows {
            inventory.row(row, false);
            inventory.row(row, false);
        }
        inventory.polled(poll(NOW));
        let held: Vec<Row> = inventory
            .vms()
            .cloned()
            .map(Row::Vm)
            .chain(inventory.sessions().cloned().map(Row::Session))
            .collect();
        prop_assert_eq!(held.len(), inventory.sizes().0);
        let totals = inventory.session_totals();
        for row in &held {
            prop_assert!(!inventory.row(row, false));
        }
        prop_assert_eq!(inventory.session_totals(), totals);
        let restored = Inventory::restore(saved(&mut inventory)).unwrap();
        prop_assert_eq!(&restored.vms, &inventory.vms);
        prop_assert_eq!(&restored.sessions, &inventory.sessions);
        prop_assert_eq!(&restored.by_age, &inventory.by_age);
        prop_assert_eq!(restored.session_totals(), totals);
    }
}

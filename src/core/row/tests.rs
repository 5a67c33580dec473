use super::*;

fn session(status: SessionStatus, error: Option<&str>) -> SessionRow {
    SessionRow {
        session: SessionId(1),
        user: Some(UserKey(1)),
        provider: Provider::Codex,
        status,
        vm: Some(VmId(1)),
        ip: None,
        has_auth_url: false,
        error: error.map(str::to_owned),
        created_at: Timestamp(0),
        timeout_at: Some(Timestamp(300_000)),
        version: 1,
    }
}

#[test]
fn a_session_is_judged_by_its_status_and_its_error() {
    use Failure::{FirecrackerFailed, NoAttempt, StepTimeout, Unknown};
    use SessionStatus as S;
    // Status, error, has a VM, has an auth URL: outcome, class, surely.
    let ready = Some((Outcome::Ready, None, true));
    let failed = |failure, sure| Some((Outcome::Failed, Some(failure), sure));
    let exited = Some("Firecracker exited with code 1: no");
    let limit =
        Some("[vm-00000000-0000-0000-0000-000000000007] startFirecracker timed out after 25000ms");
    let table = [
        (S::Started, None, false, false, None),
        (S::VmCreated, None, true, false, None),
        (S::Ready, None, true, false, ready),
        (S::AwaitingUserAuth, None, true, true, ready),
        (S::Completed, None, true, true, ready),
        (
            S::Failed,
            Some("VM not ready after 180000ms"),
            true,
            false,
            failed(Unknown, true),
        ),
        (
            S::Failed,
            Some("VM not ready after undefinedms"),
            true,
            false,
            failed(NoAttempt, true),
        ),
        (
            S::Failed,
            exited,
            false,
            false,
            failed(FirecrackerFailed, true),
        ),
        (S::Failed, limit, false, false, failed(StepTimeout, true)),
        (S::Failed, None, false, false, failed(Unknown, true)),
        (S::Failed, None, true, false, failed(Unknown, false)),
        (
            S::Failed,
            Some("write EBADF"),
            true,
            false,
            failed(Unknown, false),
        ),
        // After the boot.
        (
            S::Failed,
            Some("CLI VM not found after authentication"),
            true,
            true,
            ready,
        ),
        (
            S::Failed,
            Some("Failed to start codex CLI: HTTP 404 Not Found"),
            true,
            false,
            ready,
        ),
        (
            S::Failed,
            Some("Request timeout after 10000ms"),
            true,
            false,
            ready,
        ),
        (
            S::Timeout,
            Some("OAuth timeout: User did not complete"),
            true,
            false,
            ready,
        ),
        // The hourly clean-up.
        (S::Timeout, None, false, false, None),
        (S::Timeout, None, true, false, None),
        // Written over every outcome.
        (
            S::Cancelled,
            Some("VM not ready after 180000ms"),
            true,
            true,
            None,
        ),
        (S::Other, None, true, true, None),
    ];
    for (status, error, made, has_auth_url, wanted) in table {
        let mut row = session(status, error);
        row.vm = row.vm.filter(|_| made);
        row.has_auth_url = has_auth_url;
        let got = row.verdict().map(|v| (v.outcome, v.failure, v.sure));
        assert_eq!(got, wanted, "{status} {error:?} {made} {has_auth_url}");
    }
}

#[test]
fn an_error_names_the_vm_whose_creation_failed_or_none() {
    let named = |error| session(SessionStatus::Failed, Some(error)).failed_vm();
    assert_eq!(
        named("[vm-00000000-0000-0000-0000-000000000007] allocateIP timed out after 5000ms"),
        Some(VmId(7))
    );
    for other in [
        "",
        "[",
        "[vm-1] x",
        "IP pool exhausted",
        "[ü-00000000-0000-0000-0000-0000000000ü] x",
    ] {
        assert_eq!(named(other), None, "{other}");
    }
}

#[test]
fn a_session_is_incomplete_past_its_deadline_without_a_vm_and_without_an_end() {
    let late = Timestamp(330_000);
    let mut row = session(SessionStatus::Started, None);
    assert!(!row.is_incomplete(late), "its VM is told");
    row.vm = None;
    assert!(row.is_incomplete(late));
    assert!(!row.is_incomplete(Timestamp(329_999)), "clocks differ");
    row.timeout_at = None;
    assert!(
        row.is_incomplete(late),
        "five minutes where no deadline is told"
    );
    for status in SessionStatus::ALL {
        row.status = *status;
        assert_eq!(row.is_incomplete(late), !status.is_final(), "{status}");
    }
}

#[test]
fn a_vm_without_a_process_has_a_minute_to_get_one() {
    let mut row = VmRow {
        vm: VmId(1),
        user: None,
        vm_type: Some(VmType::Browser),
        status: VmStatus::Running,
        ip: None,
        has_process: false,
        created_at: Timestamp(0),
        destroyed_at: None,
        last_heartbeat: None,
        memory_mb: None,
        version: 1,
    };
    assert!(!row.never_started(Timestamp(59_999)));
    assert!(row.never_started(Timestamp(60_000)));
    for status in VmStatus::ALL {
        row.status = *status;
        let claims = matches!(status, VmStatus::Running | VmStatus::Creating);
        assert_eq!(row.never_started(Timestamp(60_000)), claims, "{status}");
    }
    row.status = VmStatus::Running;
    row.has_process = true;
    assert!(!row.never_started(Timestamp(60_000)));
    row.has_process = false;
    row.destroyed_at = Some(Timestamp(1));
    assert!(!row.never_started(Timestamp(60_000)));
}

#[test]
fn a_rows_key_is_read_as_it_is_written() {
    for key in [RowKey::Vm(VmId(u128::MAX)), RowKey::Session(SessionId(3))] {
        assert_eq!(RowKey::parse(&key.to_string()), Some(key));
    }
    assert_eq!(RowKey::parse("vm-"), None);
}

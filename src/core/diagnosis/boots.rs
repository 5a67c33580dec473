//! A boot into the signs that it shows.
//!
//! The words of errors are the controller's and its tools', redacted before they come here; a table says which of them
//! are a sign. Only the controller's own error text is looked at, never what a guest said over HTTP.

use super::sign::{Sign, Signs};
use crate::core::boot::Boot;
use crate::core::console::{ConsoleEvidence, GuestMark};
use crate::core::event::{
    AttemptError, AttemptResult, Failure, Outcome, Stage, StageOutcome, VmType,
};
use crate::core::failure::{self, CreationState, Rung, is_answer};
use crate::core::probe::Answerer;

/// Each class of failure that is a sign by itself, and the others of its kind that it excludes.
const CLASSES: &[(Failure, Sign)] = &[
    (Failure::AgentRefused, Sign::RefusedToEnd),
    (Failure::GuestUnreachable, Sign::UnreachableToEnd),
    (Failure::AgentTimeout, Sign::TimeoutsToEnd),
    (Failure::AgentReset, Sign::Resets),
    (Failure::VncNotReady, Sign::VncSilent),
    (Failure::GuestDied, Sign::Died),
    (Failure::NoAttempt, Sign::NeverTried),
    (Failure::AgentLate, Sign::CameLate),
    (Failure::NotStarted, Sign::BeforeAnyVm),
    (Failure::IpPoolExhausted, Sign::PoolEmpty),
    (Failure::TapFailed, Sign::TapFailed),
    (Failure::AgentInjectionFailed, Sign::InjectionFailed),
    (Failure::RecordFailed, Sign::RecordLost),
];

/// Words of an error, all of which must be in it, of the classes in which they can mean something.
const WORDS: &[(&[Failure], &[&str], Sign)] = &[
    (CLONE, &["cannot stat"], Sign::ImageAbsent),
    (ANY, &["No space left on device"], Sign::NoSpace),
    (ANY, &["ENOSPC"], Sign::NoSpace),
    (TAP, &["Operation not permitted"], Sign::TapDenied),
    (INJECT, &["loop device"], Sign::LoopDevice),
    (INJECT, &["server.js not found"], Sign::AgentSourceAbsent),
    (INJECT, &["node binary not found"], Sign::AgentSourceAbsent),
    (FIRECRACKER, &["spawn ", "ENOENT"], Sign::BinaryAbsent),
    (FIRECRACKER, &["LoggerUpdateError"], Sign::LogPathAbsent),
    (FIRECRACKER, &["FailedToBindSocket"], Sign::SocketTaken),
    (FIRECRACKER, &["Error creating KVM object"], Sign::KvmDenied),
    (FIRECRACKER, &["/dev/kvm"], Sign::KvmDenied),
    (
        FIRECRACKER,
        &["Firecracker exited with code"],
        Sign::FirecrackerExited,
    ),
    (CONFIG, &["getProxyEnvVars"], Sign::ProxyFailed),
    (RECORD, &["violates"], Sign::RowRefused),
    (RECORD, &["duplicate key"], Sign::RowRefused),
    (RECORD, &["could not extend file"], Sign::RowRefused),
    (RECORD, &["read-only transaction"], Sign::RowRefused),
    (RECORD, &["permission denied"], Sign::RowRefused),
    (RECORD, &["invalid input syntax"], Sign::RowRefused),
    (REQUEST, &["is required"], Sign::CodeError),
    (REQUEST, &["console.log", "ENOENT"], Sign::StaleCli),
    (
        DATABASE,
        &["Could not connect with the database"],
        Sign::DatabaseAway,
    ),
    (DATABASE, &["fetch failed"], Sign::DatabaseAway),
    (DATABASE, &["ECONNREFUSED"], Sign::DatabaseAway),
    (DATABASE, &["connection", "terminat"], Sign::DatabaseAway),
    (DATABASE, &["timeout", "connect"], Sign::DatabaseAway),
];

const ANY: &[Failure] = Failure::ALL;
const CLONE: &[Failure] = &[Failure::SnapshotCloneFailed];
const TAP: &[Failure] = &[Failure::TapFailed];
const INJECT: &[Failure] = &[Failure::AgentInjectionFailed];
const FIRECRACKER: &[Failure] = &[Failure::FirecrackerFailed];
const CONFIG: &[Failure] = &[Failure::ConfigFailed];
const RECORD: &[Failure] = &[Failure::RecordFailed];
const REQUEST: &[Failure] = &[Failure::NotStarted];
const DATABASE: &[Failure] = &[Failure::NotStarted, Failure::RecordFailed];

/// Whether a sign says no more than the class of the failure does.
pub(super) fn is_class(sign: Sign) -> bool {
    CLASSES.iter().any(|(_, class)| *class == sign)
}

/// What each mark on a console, or each of several, is a sign of.
const MARKS: &[(GuestMark, Sign)] = &[
    (GuestMark::LoginPrompt, Sign::ConsoleLogin),
    (GuestMark::MultiUserTarget, Sign::ConsoleLogin),
    (GuestMark::IpConfigComplete, Sign::ConsoleNetwork),
    (GuestMark::NetworkSetupComplete, Sign::ConsoleNetwork),
    (GuestMark::InterfaceSeen, Sign::ConsoleInterface),
    (GuestMark::IpConfigFailed, Sign::ConsoleNoAddress),
    (GuestMark::NetworkOnline, Sign::NetworkOnline),
    (GuestMark::WaitingForNetwork, Sign::WaitsForNetwork),
    (GuestMark::GatewayPingFailed, Sign::GatewayLost),
    (GuestMark::AgentUnitStarted, Sign::UnitStarted),
    (GuestMark::AgentUnitFailed, Sign::UnitFailed),
    (GuestMark::AgentUnitBlocked, Sign::UnitBlocked),
    (GuestMark::EnvironmentFileMissing, Sign::EnvironmentUnread),
    (GuestMark::AgentExecFailed, Sign::ExecFailed),
    (GuestMark::Supervisor, Sign::SupervisorSpoke),
    (GuestMark::AgentDied, Sign::AgentDied),
    (GuestMark::AgentCrashed, Sign::AgentDied),
    (GuestMark::AgentListening, Sign::AgentListens),
    (GuestMark::AgentBindFailed, Sign::AgentBindFailed),
    (GuestMark::VncUnitFailed, Sign::VncUnitFailed),
    (GuestMark::KernelPanic, Sign::Panicked),
    (GuestMark::OutOfMemory, Sign::OutOfMemory),
    (GuestMark::RootDeviceMissing, Sign::RootAbsent),
    (GuestMark::FilesystemError, Sign::DiskErrors),
    (GuestMark::DmaFailed, Sign::DmaFailed),
    (GuestMark::InitFailed, Sign::InitFailed),
    (GuestMark::VcpuFault, Sign::VcpuFault),
    (GuestMark::KvmDenied, Sign::KvmDenied),
    (GuestMark::VmmLoggerMissing, Sign::LogPathAbsent),
    (GuestMark::VmmSocketTaken, Sign::SocketTaken),
];

/// What of a boot tells signs, whoever remembers it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub vm_type: VmType,
    pub outcome: Option<Outcome>,
    pub failure: Option<Failure>,
    pub failed_stage: Option<Stage>,
    pub ladder: &'a [Rung],
    pub attempts: &'a [(AttemptResult, u32)],
    /// Who answered with 200, and how far its clock was ahead.
    pub answerer: Option<Answerer>,
    pub guest_ahead_ms: Option<i64>,
    pub error: Option<&'a str>,
    pub console: Option<&'a ConsoleEvidence>,
    pub injected: bool,
    /// The copy of its image was made.
    pub copied: bool,
}

impl<'a> From<&'a Boot> for Record<'a> {
    fn from(boot: &'a Boot) -> Record<'a> {
        Record {
            vm_type: boot.kind(),
            outcome: boot.outcome,
            failure: boot.failure,
            failed_stage: boot.failed_stage,
            ladder: &boot.ladder,
            attempts: &boot.attempts,
            answerer: boot.answerer,
            guest_ahead_ms: boot.guest_ahead_ms,
            error: boot.error.as_deref(),
            console: boot.console.as_deref(),
            injected: boot.injected,
            copied: boot
                .stage(Stage::CloneSnapshot)
                .is_some_and(|stage| stage.outcome == StageOutcome::Completed),
        }
    }
}

/// The signs of a boot that has ended.
#[must_use]
pub fn of_boot(boot: &Boot) -> Signs {
    of_record(&Record::from(boot))
}

/// The same of what was kept of one.
#[must_use]
pub fn of_record(boot: &Record<'_>) -> Signs {
    let mut signs = Signs::default();
    let Some(failure) = failure_of(boot) else {
        injection(boot, &mut signs);
        return signs;
    };
    let (shown, stage) = of_cli(boot, failure).unwrap_or((failure, boot.failed_stage));
    let is = |class: &Failure| failure == *class || shown == *class;
    for (class, sign) in CLASSES {
        signs.set(*sign, is(class));
    }
    attempts(boot, failure, &mut signs);
    limits(stage.filter(|_| shown == Failure::StepTimeout), &mut signs);
    words(boot, is, &mut signs);
    cli_wait(boot, failure, &mut signs);
    injection(boot, &mut signs);
    answers(boot, &mut signs);
    console(boot, &mut signs);
    signs
}

/// A request that begins no VM ends in the error of its user's CLI VM, if that one failed: the class of that failure, and
/// the stage.
fn of_cli(boot: &Record<'_>, failure: Failure) -> Option<(Failure, Option<Stage>)> {
    let error = boot.error.filter(|_| failure == Failure::NotStarted)?;
    let (class, stage, _) = failure::of_creation(error.as_bytes(), CreationState::default());
    (class != Failure::Unknown).then_some((class, stage))
}

/// What is off by more than a stamp's grain and a few seconds. Off by whole quarters of an hour is the log's zone, and no
/// guest's clock.
const CLOCK_OFF_MS: i64 = 6_000;
const QUARTER_MS: i64 = 900_000;

fn answers(boot: &Record<'_>, signs: &mut Signs) {
    match boot.answerer {
        Some(Answerer::Agent) => signs.set(Sign::Placeholder, false),
        Some(Answerer::Placeholder | Answerer::Stub) => signs.set(Sign::Placeholder, true),
        Some(Answerer::Unknown) | None => {}
    }
    if let Some(ahead) = boot.guest_ahead_ms {
        let beside = (ahead + QUARTER_MS / 2).rem_euclid(QUARTER_MS) - QUARTER_MS / 2;
        let is_zone = ahead.abs() >= QUARTER_MS / 2 && beside.abs() <= CLOCK_OFF_MS;
        if !is_zone {
            signs.set(Sign::ClockOff, ahead.abs() > CLOCK_OFF_MS);
        }
    }
}

/// What a console says of the agent's unit, in the order in which it comes to it.
const OF_THE_UNIT: &[GuestMark] = &[
    GuestMark::AgentUnitStarted,
    GuestMark::AgentUnitFailed,
    GuestMark::AgentUnitBlocked,
    GuestMark::EnvironmentFileMissing,
    GuestMark::AgentExecFailed,
    GuestMark::Supervisor,
    GuestMark::AgentDied,
    GuestMark::AgentCrashed,
    GuestMark::AgentListening,
    GuestMark::AgentBindFailed,
];

/// What is missing on a console says something only where all of it was read, and where the guest came to it: one that was
/// given up on its way to the prompt has not come to the agent's unit yet.
fn console(boot: &Record<'_>, signs: &mut Signs) {
    let Some(evidence) = boot.console else {
        return;
    };
    let mut arrives = [GuestMark::LoginPrompt, GuestMark::MultiUserTarget]
        .iter()
        .chain(OF_THE_UNIT);
    let arrived = arrives.any(|mark| evidence.has(*mark));
    for (mark, sign) in MARKS {
        let came_to = arrived || !OF_THE_UNIT.contains(mark);
        if evidence.has(*mark) {
            signs.set(*sign, true);
        } else if evidence.lacks(*mark) && came_to && !signs.has(*sign) {
            signs.set(*sign, false);
        }
    }
}

/// What the last attempt of a boot in flight says, which has waited longer than healthy ones do.
#[must_use]
pub fn in_flight(failure: Failure) -> Signs {
    let mut signs = Signs::default();
    for (class, sign) in CLASSES {
        signs.set(*sign, failure == *class);
    }
    signs
}

fn failure_of(boot: &Record<'_>) -> Option<Failure> {
    match boot.outcome? {
        Outcome::Failed => Some(boot.failure.unwrap_or(Failure::Unknown)),
        Outcome::Ready | Outcome::Cancelled | Outcome::Lost => None,
    }
}

fn attempts(boot: &Record<'_>, failure: Failure, signs: &mut Signs) {
    if boot.ladder.is_empty() {
        return;
    }
    let any =
        |wanted: fn(AttemptResult) -> bool| boot.attempts.iter().any(|(result, _)| wanted(*result));
    let unhealthy = failure == Failure::AgentUnhealthy;
    let server_error = any(|result| matches!(result, AttemptResult::Http(500..=599)));
    signs.set(Sign::ServerError, unhealthy && server_error);
    let not_found = any(|result| result == AttemptResult::Http(404));
    signs.set(Sign::NotFound, unhealthy && not_found);
    let garbage = any(|result| {
        matches!(
            result,
            AttemptResult::Error(AttemptError::BadHttp | AttemptError::BadHttpOther)
        )
    });
    signs.set(Sign::NotHttp, unhealthy && garbage);
    signs.set(
        Sign::FetchFailed,
        any(|result| result == AttemptResult::Error(AttemptError::FetchFailed)),
    );
    let silence = boot.ladder.iter().position(|rung| {
        matches!(
            rung.result,
            AttemptResult::Error(AttemptError::HostUnreachable | AttemptError::NetUnreachable)
        )
    });
    let answered =
        silence.is_some_and(|at| boot.ladder[at..].iter().any(|rung| is_answer(rung.result)));
    signs.set(Sign::NetworkCameUp, answered);
}

/// Which of the controller's own limits a step ran into: that of this stage, if of any.
fn limits(stage: Option<Stage>, signs: &mut Signs) {
    for (limited, sign) in [
        (Stage::CloneSnapshot, Sign::CloneTimedOut),
        (Stage::CreateRecord, Sign::RecordTimedOut),
        (Stage::StartFirecracker, Sign::FirecrackerTimedOut),
    ] {
        signs.set(sign, stage == Some(limited));
    }
}

fn words(boot: &Record<'_>, is: impl Fn(&Failure) -> bool, signs: &mut Signs) {
    let Some(error) = boot.error else {
        return;
    };
    for (classes, words, sign) in WORDS {
        let said = classes.iter().any(&is) && words.iter().all(|word| error.contains(word));
        // Several rows may say the same.
        signs.set(*sign, said || signs.has(*sign));
    }
    let may_be = is(&Failure::NotStarted) || is(&Failure::Unknown);
    let of_code = may_be && failure::is_code_error(error.as_bytes());
    signs.set(Sign::CodeError, of_code || signs.has(Sign::CodeError));
}

/// A CLI VM that does not get ready shows by the end of the controller's wait for it, of which the log has no attempts; and
/// so does the request that it was for.
fn cli_wait(boot: &Record<'_>, failure: Failure, signs: &mut Signs) {
    let may_be = match failure {
        Failure::NotStarted => true,
        Failure::Unknown => boot.vm_type == VmType::Cli,
        _ => false,
    };
    let waited = boot
        .error
        .is_some_and(|error| failure::is_wait_over(error.as_bytes()));
    signs.set(Sign::CliNotReady, may_be && waited);
}

/// Only a boot whose copy was made shows whether something is put into it.
fn injection(boot: &Record<'_>, signs: &mut Signs) {
    if boot.vm_type == VmType::Browser && (boot.copied || boot.injected) {
        signs.set(Sign::Injected, boot.injected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::console::{ConsoleSource, Seen};
    use crate::core::event::{Provenance, Timestamp};

    fn failed(failure: Failure, error: &str) -> Boot {
        let mut boot = Boot::new(None, Provenance::default(), Timestamp(0));
        boot.outcome = Some(Outcome::Failed);
        boot.failure = Some(failure);
        boot.error = Some(error.to_owned());
        boot
    }

    #[test]
    fn an_errors_words_are_signs_only_where_they_can_mean_it() {
        let stat = "Snapshot cloning failed: cp: cannot stat 'x': No such file or directory";
        let signs = of_boot(&failed(Failure::SnapshotCloneFailed, stat));
        assert_eq!(signs.of(Sign::ImageAbsent), Some(true));
        assert_eq!(signs.of(Sign::NoSpace), Some(false));
        let signs = of_boot(&failed(Failure::TapFailed, stat));
        assert_eq!(signs.of(Sign::ImageAbsent), Some(false));
        assert_eq!(signs.of(Sign::TapFailed), Some(true));
        let spawn = "spawn /opt/firecracker/firecracker ENOENT";
        let signs = of_boot(&failed(Failure::FirecrackerFailed, spawn));
        assert_eq!(signs.of(Sign::BinaryAbsent), Some(true));
        assert_eq!(signs.of(Sign::FirecrackerExited), Some(false));
    }

    #[test]
    fn a_request_without_a_vm_shows_what_its_cli_vm_failed_of() {
        let signs = |error| of_boot(&failed(Failure::NotStarted, error));
        let image =
            signs("Snapshot cloning failed: cp: cannot stat 'x': No such file or directory");
        assert_eq!(image.of(Sign::ImageAbsent), Some(true));
        assert_eq!(image.of(Sign::BeforeAnyVm), Some(true));
        assert_eq!(image.of(Sign::CliNotReady), Some(false));
        let pool = signs("IP pool exhausted");
        assert_eq!(pool.of(Sign::PoolEmpty), Some(true));
        let slow = signs(
            "[vm-6bf20a77-114e-4e70-a984-63e67661589e] startFirecracker timed out after 25000ms",
        );
        assert_eq!(slow.of(Sign::FirecrackerTimedOut), Some(true));
        assert_eq!(slow.of(Sign::CloneTimedOut), Some(false));
        let waited = signs("VM not ready after 60000ms");
        assert_eq!(waited.of(Sign::CliNotReady), Some(true));
        assert_eq!(waited.of(Sign::ImageAbsent), Some(false));
        // Words that a step's error has, too, are no class.
        let other = signs("cannot stat 'x'");
        assert_eq!(other.of(Sign::ImageAbsent), Some(false));
    }

    #[test]
    fn a_wait_that_ends_is_a_cli_vms_where_it_can_be_one() {
        for (vm_type, failure, seen) in [
            (VmType::Cli, Failure::Unknown, true),
            (VmType::Browser, Failure::NotStarted, true),
            (VmType::Browser, Failure::Unknown, false),
            (VmType::Browser, Failure::AgentRefused, false),
        ] {
            let mut boot = failed(failure, "VM not ready after 60000ms");
            boot.vm_type = Some(vm_type);
            assert_eq!(
                of_boot(&boot).of(Sign::CliNotReady),
                Some(seen),
                "{failure}"
            );
        }
    }

    #[test]
    fn an_answers_body_tells_a_placeholder_and_a_clock_that_is_off() {
        let signs = |answerer, guest_ahead_ms| {
            let mut boot = failed(Failure::VncNotReady, "");
            (boot.answerer, boot.guest_ahead_ms) = (answerer, guest_ahead_ms);
            let signs = of_boot(&boot);
            (signs.of(Sign::Placeholder), signs.of(Sign::ClockOff))
        };
        assert_eq!(signs(None, None), (None, None));
        assert_eq!(
            signs(Some(Answerer::Agent), Some(900)),
            (Some(false), Some(false))
        );
        assert_eq!(signs(Some(Answerer::Placeholder), None), (Some(true), None));
        assert_eq!(
            signs(Some(Answerer::Stub), Some(-90_000)),
            (Some(true), Some(true))
        );
        // The log's zone is another than was thought.
        assert_eq!(signs(None, Some(7_200_000 + 800)), (None, None));
        assert_eq!(signs(None, Some(7_260_000)), (None, Some(true)));
    }

    #[test]
    fn what_the_unit_does_is_missed_only_on_a_console_that_came_to_it() {
        let told = |mark: GuestMark| {
            let mut console = ConsoleEvidence::new(ConsoleSource::Live);
            console.whole = true;
            for mark in [GuestMark::KernelStarted, mark] {
                console.take(Seen {
                    mark,
                    at: Timestamp(0),
                    uptime_ms: None,
                });
            }
            let mut boot = failed(Failure::AgentRefused, "");
            boot.console = Some(Box::new(console));
            let signs = of_boot(&boot);
            (signs.of(Sign::UnitStarted), signs.of(Sign::SupervisorSpoke))
        };
        assert_eq!(told(GuestMark::IpConfigComplete), (None, None));
        for end in [GuestMark::LoginPrompt, GuestMark::MultiUserTarget] {
            assert_eq!(told(end), (Some(false), Some(false)), "{end:?}");
        }
        let started = told(GuestMark::AgentUnitStarted);
        assert_eq!(started, (Some(true), Some(false)));
    }

    #[test]
    fn a_boot_that_is_well_tells_only_of_injection() {
        let mut boot = failed(Failure::Unknown, "x");
        boot.outcome = Some(Outcome::Ready);
        assert!(of_boot(&boot).is_empty());
        boot.set_stage(Stage::CloneSnapshot, Timestamp(0), 900);
        assert_eq!(of_boot(&boot), Signs::default().with(Sign::Injected, false));
    }
}

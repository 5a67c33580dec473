//! Decoding: each message that matters, in each form.

mod doubtful;

use std::net::Ipv4Addr;

use super::*;
use crate::controller::clock::iso_utc;
use crate::controller::framing::Framer;
use crate::core::event::{FlowEnd, UserKey, VmType};

const VM: &str = "vm-70fa35e6-87ef-44c1-b852-d1de3517af9c";
const USER: &str = "03a074cc-0db3-45c5-af42-5b655cb70f83";
const SESSION: &str = "a30944b3-916c-4eec-a152-85f2c6f2e5ac";

fn vm() -> VmId {
    VmId::parse(VM.as_bytes()).unwrap()
}

fn user() -> UserKey {
    UserKey::from_text(USER.as_bytes())
}

fn session() -> SessionId {
    SessionId::parse(SESSION.as_bytes()).unwrap()
}

fn ip() -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 100, 17)
}

/// Frames one record and hands what it decodes to, to `check`.
fn with(log: &str, check: impl Fn(Decoded<'_>)) {
    let mut seen = 0;
    let mut framer = Framer::default();
    let mut sink = |record: Record<'_>| {
        seen += 1;
        check(decode(&record));
    };
    framer.push(log.as_bytes(), &mut sink);
    framer.finish(&mut sink);
    assert_eq!(seen, 1, "{log}");
}

fn file(message: &str) -> String {
    format!("2025-10-18 01:52:07 [INFO]: {message}\n")
}

/// The same line as the console shows it.
fn console(message: &str) -> String {
    let (text, metadata) = message.split_once(" {").expect("metadata");
    format!(
        "2025-10-18 01:52:07 [\u{1b}[32MINFO\u{1b}[39M]: {text} {{\"metadata\":{{{metadata}}}\n"
    )
}

/// The same as the incident's report printed it.
fn pretty(message: &str) -> String {
    let (text, metadata) = message.split_once(" {").expect("metadata");
    let value: serde_json::Value = serde_json::from_str(&format!("{{{metadata}")).unwrap();
    format!(
        "2025-10-18 01:52:07 [INFO]: {text}\n{}\n",
        serde_json::to_string_pretty(&value).unwrap()
    )
}

/// Fills in the ids: `V`, `U`, `S` and `I` stand for them in the tables below.
fn fill(metadata: &str) -> String {
    let value = |id: &str| format!("\"{id}\"");
    metadata
        .replace("$V", &value(VM))
        .replace("$U", &value(USER))
        .replace("$S", &value(SESSION))
        .replace("$I", &value("192.168.100.17"))
}

#[test]
fn every_message_that_matters_is_its_event_in_every_form() {
    use EventKind as E;
    let (vm, user, session, ip) = (vm(), user(), session(), ip());
    let started_at = iso_utc(b"2025-10-18T01:52:07.123Z");
    let step_done = |step, elapsed, ip| E::StepDone {
        vm,
        step,
        elapsed_ms: Some(elapsed),
        ip,
    };
    let error = b"no space";
    let table: Vec<(&str, E<'_>)> = vec![
        (
            r#"Starting Master Controller... {"module":"server","env":"production","port":4000}"#,
            E::ControllerStarting,
        ),
        (
            r#"Master Controller started {"module":"server","http":"http://0.0.0.0:4000","ws":"ws://0.0.0.0:4000"}"#,
            E::ControllerStarted,
        ),
        (
            r#"SIGTERM received, shutting down gracefully... {"module":"server"}"#,
            E::ControllerStopping,
        ),
        (
            r#"Uncaught exception {"module":"server","error":"x","stack":"x"}"#,
            E::ControllerCrashed,
        ),
        (
            r#"[REQUEST-ENTRY] Incoming request {"module":"server","requestId":"r","method":"POST","url":"/api/auth/start?bootwatch=00000000000000ff","ip":"127.0.0.1"}"#,
            E::RequestMarked { mark: 0xff },
        ),
        (
            r#"[REQUEST-ENTRY] Incoming request {"module":"server","requestId":"r","method":"POST","url":"/api/auth/start","ip":"127.0.0.1"}"#,
            E::RequestUnmarked,
        ),
        (
            r#"[REQUEST-ENTRY] Incoming request {"module":"server","requestId":"r","method":"POST","url":"/api/auth/start?bootwatch=ff","ip":"127.0.0.1"}"#,
            E::RequestUnmarked,
        ),
        (
            r#"Starting authentication {"module":"browser-auth","userId":$U,"provider":"codex"}"#,
            E::RequestAccepted { user },
        ),
        (
            r#"Starting authentication {"module":"routes:auth","userId":$U,"provider":"codex"}"#,
            E::RequestLetIn { user },
        ),
        (
            r#"Start authentication failed {"module":"routes:auth","error":"no space"}"#,
            E::StartFailed {
                error,
                rejected: false,
            },
        ),
        (
            r#"Creating browser VM for OAuth {"module":"browser-auth","userId":$U,"provider":"codex","sessionId":$S}"#,
            E::SessionOpened { user, session },
        ),
        (
            r#"[BACKGROUND] Creating browser VM for OAuth {"module":"browser-auth","userId":$U,"sessionId":$S}"#,
            E::SessionOpened { user, session },
        ),
        (
            r#"[BACKGROUND] Starting VM creation for session {"module":"browser-auth","sessionId":$S,"userId":$U,"provider":"codex"}"#,
            E::SessionNamed { user, session },
        ),
        (
            r#"Authentication failed {"module":"browser-auth","userId":$U,"provider":"codex","error":"no space"}"#,
            E::RequestFailed {
                user,
                session: None,
                error,
                rejected: false,
            },
        ),
        (
            r#"[BACKGROUND] VM creation and OAuth flow failed {"module":"browser-auth","sessionId":$S,"userId":$U,"error":"no space"}"#,
            E::RequestFailed {
                user,
                session: Some(session),
                error,
                rejected: false,
            },
        ),
        (
            r#"[VM-CREATE] Starting VM creation {"module":"vm-manager","vmId":$V,"userId":$U,"vmType":"browser","startTime":"2025-10-18T01:52:07.123Z"}"#,
            E::CreateStarted {
                vm,
                user,
                vm_type: VmType::Browser,
                started_at,
            },
        ),
        (
            r#"[VM-CREATE] Step 0: Getting user proxy configuration {"module":"vm-manager","vmId":$V}"#,
            E::StepStarted { vm, step: 0 },
        ),
        (
            r#"[VM-CREATE] Step 1: Allocating IP {"module":"vm-manager","vmId":$V}"#,
            E::StepStarted { vm, step: 1 },
        ),
        (
            r#"[VM-CREATE] Step 1: IP allocated {"module":"vm-manager","vmId":$V,"ipAddress":$I,"elapsed":3}"#,
            step_done(1, 3, Some(ip)),
        ),
        (
            r#"[VM-CREATE] Step 1: IP allocated {"module":"vm-manager","vmId":$V,"internalIP":$I,"elapsed":3}"#,
            step_done(1, 3, Some(ip)),
        ),
        (
            r#"[VM-CREATE] Step 2: TAP device created {"module":"vm-manager","vmId":$V,"tapDevice":"fc-vm-70fa3","elapsed":12}"#,
            step_done(2, 12, None),
        ),
        (
            r#"[VM-CREATE] Step 3: Snapshot cloned {"module":"vm-manager","vmId":$V,"elapsed":840}"#,
            step_done(3, 840, None),
        ),
        (
            r#"[VM-CREATE] Step 4: Config created {"module":"vm-manager","vmId":$V,"configPath":"/x","elapsed":841}"#,
            step_done(4, 841, None),
        ),
        (
            r#"[VM-CREATE] Step 5: Database record created {"module":"vm-manager","vmId":$V,"elapsed":900}"#,
            step_done(5, 900, None),
        ),
        (
            r#"[VM-CREATE] Step 6: Firecracker started {"module":"vm-manager","vmId":$V,"elapsed":1400}"#,
            step_done(6, 1400, None),
        ),
        (
            r#"[INJECT-AGENT] Starting OAuth agent injection {"module":"vm-manager","vmId":$V}"#,
            E::InjectStarted { vm },
        ),
        (
            r#"[INJECT-AGENT] OAuth agent injection complete {"module":"vm-manager","vmId":$V}"#,
            E::InjectDone { vm },
        ),
        (
            r#"[INJECT-AGENT] Failed to inject OAuth agent {"module":"vm-manager","vmId":$V,"error":"x","stack":"x"}"#,
            E::InjectFailed { vm },
        ),
        (
            r#"[VM-CREATE] VM created successfully {"module":"vm-manager","vmId":$V,"ipAddress":$I,"vmType":"cli","totalTime":3536}"#,
            E::Created {
                vm,
                ip: Some(ip),
                vm_type: Some(VmType::Cli),
                total_ms: Some(3536),
            },
        ),
        (
            r#"[VM-CREATE] VM creation failed {"module":"vm-manager","vmId":$V,"userId":$U,"vmType":"browser","error":"no space","stack":"x","elapsed":95,"failedAt":"2025-10-18T01:52:07.123Z"}"#,
            E::CreateFailed {
                vm,
                user: Some(user),
                vm_type: Some(VmType::Browser),
                error,
                elapsed_ms: Some(95),
                failed_at: started_at,
            },
        ),
        (
            r#"Browser VM created successfully {"module":"browser-auth","userId":$U,"provider":"codex","sessionId":$S,"browserVMId":$V,"browserVMIP":$I}"#,
            E::HandedOver {
                vm,
                user,
                session,
                ip: Some(ip),
            },
        ),
        (
            r#"Browser VM created successfully with WebRTC {"module":"browser-auth","userId":$U,"sessionId":$S,"browserVMId":$V,"browserVMIP":$I}"#,
            E::HandedOver {
                vm,
                user,
                session,
                ip: Some(ip),
            },
        ),
        (
            r#"BROWSER VM CREATION FAILED {"module":"browser-auth","userId":$U,"provider":"codex","sessionId":$S,"error":"x"}"#,
            E::HandOverFailed {
                user,
                session,
                error: b"x",
            },
        ),
        (
            r#"[WAIT-VM-READY] Starting health check {"module":"browser-auth","vmIP":$I,"maxWaitMs":15000}"#,
            E::WaitStarted {
                ip,
                limits: WaitLimits {
                    deadline_ms: Some(15_000),
                    initial_delay_ms: 0,
                },
            },
        ),
        (
            r#"[WAIT-VM-READY] Starting health check {"module":"browser-auth","vmIP":$I}"#,
            E::WaitStarted {
                ip,
                limits: WaitLimits::default(),
            },
        ),
        (
            r#"[WAIT-VM-READY] Starting health check {"module":"browser-auth","vmIP":$I,"maxWaitMs":180000,"initialDelayMs":45000}"#,
            E::WaitStarted {
                ip,
                limits: WaitLimits {
                    deadline_ms: Some(180_000),
                    initial_delay_ms: 45_000,
                },
            },
        ),
        (
            r#"[WAIT-VM-READY] Attempting health check {"module":"browser-auth","vmIP":$I,"elapsed":9030,"url":"http://192.168.100.17:8080/health"}"#,
            E::AttemptStarted {
                ip,
                elapsed_ms: Some(9030),
            },
        ),
        (
            // The clock was set back meanwhile.
            r#"[WAIT-VM-READY] Attempting health check {"module":"browser-auth","vmIP":$I,"elapsed":-3591000,"url":"http://192.168.100.17:8080/health"}"#,
            E::AttemptStarted {
                ip,
                elapsed_ms: None,
            },
        ),
        (
            r#"[WAIT-VM-READY] Got response {"module":"browser-auth","vmIP":$I,"status":200,"ok":true}"#,
            E::AttemptAnswered { ip, status: 200 },
        ),
        (
            r#"[WAIT-VM-READY] Response not OK {"module":"browser-auth","vmIP":$I,"status":503,"body":"{}"}"#,
            E::AttemptRejected { ip, status: 503 },
        ),
        (
            r#"[WAIT-VM-READY] OAuth ready but VNC not responding with RFB protocol yet {"module":"browser-auth","vmIP":$I,"error":"x"}"#,
            E::VncNotReady { ip },
        ),
        (
            r#"[WAIT-VM-READY] VM ready! {"module":"browser-auth","vmIP":$I}"#,
            E::WaitReady { ip },
        ),
        (
            r#"[WAIT-VM-READY] VM fully ready! {"module":"browser-auth","vmIP":$I}"#,
            E::WaitReady { ip },
        ),
        (
            r#"[WAIT-VM-READY] Timeout exceeded {"module":"browser-auth","vmIP":$I,"maxWaitMs":15000}"#,
            E::WaitTimedOut {
                ip,
                deadline_ms: Some(15_000),
            },
        ),
        (
            r#"[WAIT-VM-READY] Timeout exceeded {"module":"browser-auth","vmIP":$I}"#,
            E::WaitTimedOut {
                ip,
                deadline_ms: None,
            },
        ),
        (
            r#"Reusing existing CLI VM {"module":"browser-auth","userId":$U,"vmId":$V,"status":"failed","vmIP":$I}"#,
            E::CliReused { user, vm: Some(vm) },
        ),
        (
            r#"VM ready {"module":"cli-streaming","vmIP":$I}"#,
            E::CliReady { ip },
        ),
        (
            r#"Executing OAuth flow {"module":"browser-auth","sessionId":$S,"provider":"codex","vmIP":$I}"#,
            E::OauthStarted {
                session,
                ip: Some(ip),
            },
        ),
        (
            r#"CLI OAuth flow started {"module":"browser-auth","sessionId":$S,"provider":"codex","hasOAuthUrl":false}"#,
            E::OauthGoesOn { session },
        ),
        (
            r#"Authentication completed {"module":"browser-auth","userId":$U,"provider":"codex","sessionId":$S}"#,
            E::OauthGoesOn { session },
        ),
        (
            r#"Scheduling browser VM cleanup {"module":"browser-auth","sessionId":$S,"vmId":$V,"finalStatus":"timeout","gracePeriodMs":3000}"#,
            E::FlowOver {
                session,
                vm,
                end: FlowEnd::AfterReady,
            },
        ),
        (
            r#"Destroying browser VM immediately {"module":"browser-auth","sessionId":$S,"vmId":$V,"finalStatus":"failed","gracePeriodMs":10000}"#,
            E::FlowOver {
                session,
                vm,
                end: FlowEnd::Failed,
            },
        ),
        (
            r#"Authentication flow failed {"module":"browser-auth","userId":$U,"sessionId":$S,"error":"no space"}"#,
            E::FlowFailed {
                session,
                user,
                error,
            },
        ),
        (
            r#"Auth session cancelled {"module":"routes:auth","sessionId":$S}"#,
            E::SessionCancelled { session },
        ),
        (
            r#"Destroying VM {"module":"vm-manager","vmId":$V,"preserveLogs":true}"#,
            E::Destroying { vm },
        ),
        (
            r#"[SPAWN-EXIT] Firecracker process exited {"module":"vm-manager","vmId":$V,"code":1,"signal":null,"pid":7,"elapsed":0}"#,
            E::ProcessExited {
                vm,
                code: Some(1),
                signalled: false,
            },
        ),
        (
            r#"[SPAWN-EXIT] Firecracker process exited {"module":"vm-manager","vmId":$V,"code":null,"signal":"SIGTERM","pid":7}"#,
            E::ProcessExited {
                vm,
                code: None,
                signalled: true,
            },
        ),
    ];
    for (message, wanted) in table {
        let message = fill(message);
        for form in [file(&message), console(&message), pretty(&message)] {
            with(&form, |decoded| {
                assert_eq!(decoded, Decoded::Event(wanted), "{form}");
            });
        }
    }
}

#[test]
fn each_attempt_error_is_its_code_or_else_its_text() {
    for (fields, wanted) in [
        (
            r#""error":"connect ECONNREFUSED 192.168.100.17:8080","code":"ECONNREFUSED""#,
            AttemptError::Refused,
        ),
        (
            r#""error":"read ECONNREFUSED","code":"ECONNREFUSED""#,
            AttemptError::Refused,
        ),
        (
            r#""error":"connect EHOSTUNREACH 192.168.100.17:8080 - Local (0.0.0.0:0)","code":"EHOSTUNREACH""#,
            AttemptError::HostUnreachable,
        ),
        (
            r#""error":"connect ENETUNREACH","code":"ENETUNREACH""#,
            AttemptError::NetUnreachable,
        ),
        (r#""error":"Request timeout""#, AttemptError::Timeout),
        (
            r#""error":"socket hang up","code":"ECONNRESET""#,
            AttemptError::Reset,
        ),
        (r#""error":"socket hang up""#, AttemptError::Reset),
        (
            r#""error":"connect ECONNREFUSED 192.168.100.17:8080""#,
            AttemptError::Refused,
        ),
        (
            r#""error":"connect EHOSTUNREACH 192.168.100.17:8080 - Local (0.0.0.0:0)""#,
            AttemptError::HostUnreachable,
        ),
        (r#""error":"read ECONNRESET""#, AttemptError::Reset),
        (
            r#""error":"Parse Error: Expected HTTP/, RTSP/ or ICE/""#,
            AttemptError::BadHttp,
        ),
        (r#""error":"no such thing""#, AttemptError::Other),
        (
            r#""error":"Parse Error: Expected HTTP/, RTSP/ or ICE/","code":"HPE_INVALID_CONSTANT""#,
            AttemptError::BadHttp,
        ),
        (
            r#""error":"Parse Error","code":"HPE_HEADER_OVERFLOW""#,
            AttemptError::BadHttpOther,
        ),
        (
            r#""error":"write EBADF","code":"EBADF""#,
            AttemptError::BadDescriptor,
        ),
        (r#""error":"fetch failed""#, AttemptError::FetchFailed),
        (
            r#""error":"getaddrinfo ENOTFOUND x","code":"ENOTFOUND""#,
            AttemptError::NotFound,
        ),
        (r#""error":"what","code":"EWHAT""#, AttemptError::Other),
        (r#""error":"","code":null"#, AttemptError::Other),
    ] {
        let line = file(&format!(
            r#"[WAIT-VM-READY] Health check failed {{"module":"browser-auth","vmIP":"192.168.100.17",{fields},"elapsed":9035}}"#
        ));
        with(&line, |decoded| {
            let Decoded::Event(EventKind::AttemptFailed {
                error, elapsed_ms, ..
            }) = decoded
            else {
                panic!("{line}: {decoded:?}");
            };
            assert_eq!((error, elapsed_ms), (wanted, Some(9035)), "{line}");
        });
    }
}

#[test]
fn the_incidents_own_block_parses() {
    let seed = "2025-10-18 01:52:07 [WARN]: [WAIT-VM-READY] Health check failed\n{\n  \"module\": \"browser-auth\",\n  \
                \"vmIP\": \"192.168.100.17\",\n  \"error\": \"connect ECONNREFUSED 192.168.100.17:8080\",\n  \
                \"code\": \"ECONNREFUSED\",\n  \"elapsed\": 9035\n}\n";
    with(seed, |decoded| {
        let wanted = EventKind::AttemptFailed {
            ip: ip(),
            error: AttemptError::Refused,
            elapsed_ms: Some(9035),
        };
        assert_eq!(decoded, Decoded::Event(wanted));
    });
}

#[test]
fn the_same_words_of_another_module_mean_something_else() {
    for line in [
        fill(r#"Starting authentication {"module":"elsewhere","userId":$U,"provider":"codex"}"#),
        r#"Start authentication failed {"module":"elsewhere","error":"no"}"#.to_owned(),
        r#"VM ready {"module":"somewhere","vmIP":"192.168.100.17"}"#.to_owned(),
        r#"Firecracker started {"module":"vm-manager","pid":7}"#.to_owned(),
        r#"[INJECT-AGENT] Starting OAuth agent + WebRTC injection {"mountPoint":"/tmp/x"}"#.to_owned(),
        r#"OAuth URL proxy HTTP request failed {"module":"routes:auth","vmIP":"192.168.100.17","error":"connect ECONNREFUSED 192.168.100.17:8080"}"#.to_owned(),
    ] {
        with(&file(&line), |decoded| assert_eq!(decoded, Decoded::Ignored, "{line}"));
    }
}

#[test]
fn the_cancel_requests_access_line_is_a_cancel_only_when_it_was_granted() {
    let line = |method: &str, status: u16| {
        file(&format!(
            r#"{method} /session/{SESSION}/cancel {status} {{"duration":3}}"#
        ))
    };
    let cancelled = EventKind::SessionCancelled { session: session() };
    with(&line("POST", 200), |decoded| {
        assert_eq!(decoded, Decoded::Event(cancelled))
    });
    for other in [line("POST", 500), line("GET", 200)] {
        with(&other, |decoded| assert_eq!(decoded, Decoded::Ignored));
    }
}

#[test]
fn a_crash_record_is_the_controllers_end() {
    let log = "2025-10-18 10:20:00 [ERROR]: uncaughtException: boom\nError: boom\n    at f {\"exception\":true}\n";
    with(log, |decoded| {
        assert_eq!(decoded, Decoded::Event(EventKind::ControllerCrashed))
    });
    let log = "2025-10-18 10:20:00 [ERROR]: unhandledRejection: read ECONNRESET\n  No stack trace {\"rejection\":true}\n";
    with(log, |decoded| {
        assert_eq!(decoded, Decoded::Event(EventKind::ControllerCrashed))
    });
    let log = "2025-10-18 10:20:00 [ERROR]: uncaughtException: bad {\"a\":1}\n";
    with(log, |decoded| {
        assert_eq!(decoded, Decoded::Event(EventKind::ControllerCrashed))
    });
}

#[test]
fn an_unknown_message_is_counted_by_its_text_and_is_no_error() {
    with(
        &file(r#"[NEW-TAG] Something happened {"a":1}"#),
        |decoded| {
            assert_eq!(decoded, Decoded::Unknown(b"[NEW-TAG] Something happened"));
        },
    );
    // A longer message that begins like a known one is another message.
    with(
        &file(r#"[WAIT-VM-READY] VM ready! Or is it? {"vmIP":"192.168.100.17"}"#),
        |decoded| {
            assert!(matches!(decoded, Decoded::Unknown(_)), "{decoded:?}");
        },
    );
}

const STARTING: Decoded<'_> = Decoded::Event(EventKind::ControllerStarting);

#[test]
fn a_failed_process_quotes_its_console_and_only_marks_are_taken() {
    use crate::core::console::{GuestMark, MarkSet};
    let message = fill(
        r#"[SPAWN-EXIT] Firecracker exited with error {"module":"vm-manager","vmId":$V,"code":1,"signal":null,"errorLog":"vcpu 0: KVM_EXIT_SHUTDOWN: unexpected triple fault\n","consoleLog":"[    0.000000] Linux version 5.10.0 (guest)\n[    1.1] Kernel panic - not syncing: System is deadlocked on memory\n"}"#,
    );
    let said = MarkSet::from_iter([
        GuestMark::KernelStarted,
        GuestMark::KernelPanic,
        GuestMark::OutOfMemory,
        GuestMark::VcpuFault,
    ]);
    for form in [file(&message), console(&message)] {
        with(&form, |decoded| match decoded {
            Decoded::Event(EventKind::ConsoleQuoted { said: marks, .. }) => assert_eq!(marks, said),
            other => panic!("{other:?}"),
        });
    }
}

#[test]
fn a_request_says_when_it_came() {
    let line = r#"[REQUEST-ENTRY] Incoming request {"module":"server","requestId":"r","method":"POST","url":"/api/auth/start?x=\"timestamp\":\"2020-01-01T00:00:00.000Z\"","ip":"127.0.0.1","timestamp":"2025-10-18T01:52:07.123Z"}"#;
    for log in [file(line), console(line)] {
        let mut framer = Framer::default();
        let mut told = None;
        let mut sink = |record: Record<'_>| {
            if let Decoded::Event(kind) = decode(&record) {
                told = own_instant(&kind, &record);
            }
        };
        framer.push(log.as_bytes(), &mut sink);
        framer.finish(&mut sink);
        assert_eq!(told, iso_utc(b"2025-10-18T01:52:07.123Z"), "{log}");
    }
}

//! A record into an event: which message it is, and the few fields that its event needs.
//!
//! Looks at bytes before it parses: two records in three are noise that its first bytes give away, and a message that
//! matters must be the whole text before the metadata, so that a message quoted inside another one is never taken for
//! it. Messages are a catalogue of known patterns, not a grammar: an unknown one is counted by its shape, and one that
//! is known but lacks a field is counted as unparsed. Neither is an error.
//!
//! Later versions' wording is accepted beside the earlier one: a variant is one more pattern here and nothing elsewhere.

mod glued;
mod metadata;

use memchr::memmem;

pub use glued::{glued, glued_to_noise};
use metadata::Fields;

use crate::controller::catalogue;
use crate::controller::clock::iso_utc;
use crate::controller::console;
use crate::controller::fields;
use crate::controller::framing::Record;
use crate::core::console::MarkSet;
use crate::core::event::{
    AttemptError, EventKind, FlowEnd, SessionId, Timestamp, VmId, WaitLimits,
};
use crate::core::probe::{Answerer, Body};

/// The controller quotes 500 characters of each.
const MAX_QUOTED: usize = 2_048;

/// What a record turned out to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decoded<'a> {
    Event(EventKind<'a>),
    /// A known message that says nothing about a boot.
    Ignored,
    /// A message of no known pattern: the text before its metadata.
    Unknown(&'a [u8]),
    /// A message that matters, torn or without a field it must have.
    Unparsed,
}

/// Decides one record. `record` may hold a second one glued to a torn first: see `reader`.
#[must_use]
pub fn decode<'a>(record: &Record<'a>) -> Decoded<'a> {
    let message = record.message();
    match message.first() {
        Some(b'[') => tagged(message),
        Some(_) => plain(message),
        None => Decoded::Ignored,
    }
}

/// The UTC instant that a record carries beside its local stamp, if it is one of those that do.
#[must_use]
pub fn own_instant(kind: &EventKind<'_>, record: &Record<'_>) -> Option<Timestamp> {
    match kind {
        EventKind::RequestMarked { .. } | EventKind::RequestUnmarked => entered_at(record),
        EventKind::CreateStarted { started_at, .. } => *started_at,
        EventKind::CreateFailed { failed_at, .. } => *failed_at,
        _ => None,
    }
}

fn tagged(message: &[u8]) -> Decoded<'_> {
    match message.get(1) {
        Some(b'W') if message.starts_with(b"[WAIT-VM-READY] ") => return wait(&message[16..]),
        Some(b'V') if message.starts_with(b"[VM-CREATE] ") => return create(&message[12..]),
        Some(b'R') if message.starts_with(b"[REQUEST-ENTRY]") => return entry(message),
        Some(b'I') if message.starts_with(b"[INJECT-AGENT] ") => return inject(&message[15..]),
        Some(b'S') => {
            if let Some(metadata) = exact(message, b"[SPAWN-EXIT] Firecracker process exited") {
                return need(metadata, |f| {
                    Some(EventKind::ProcessExited {
                        vm: f.vm?,
                        code: f.code_number,
                        signalled: f.signalled,
                    })
                });
            }
            if let Some(metadata) = exact(message, b"[SPAWN-EXIT] Firecracker exited with error") {
                return quoted(metadata);
            }
        }
        Some(b'C') => {
            if let Some(metadata) = exact(message, b"[CLEANUP] Console log preserved for debugging")
            {
                return need(metadata, |f| {
                    Some(EventKind::ConsoleArchived {
                        vm: f.vm?,
                        path: f.archived?,
                    })
                });
            }
        }
        Some(b'B') => {
            if let Some(rest) = message.strip_prefix(b"[BACKGROUND] ") {
                if let Some(metadata) = exact(rest, b"Creating browser VM for OAuth") {
                    return session_opened(metadata);
                }
                if let Some(metadata) = exact(rest, b"Starting VM creation for session") {
                    return said_of_session(metadata, |session, f| {
                        let user = f.user()?;
                        Some(EventKind::SessionNamed { user, session })
                    });
                }
                if let Some(metadata) = exact(rest, b"VM creation and OAuth flow failed") {
                    return request_failed(metadata);
                }
            }
        }
        _ => {}
    }
    if catalogue::is_known_tag(message) {
        Decoded::Ignored
    } else {
        unknown(message)
    }
}

/// Requests say nothing of boots, but ours to start bear a number that only we know; and those that bear none may be of
/// the same account. The controller takes a path in capitals as well, and with a slash behind it.
fn entry(message: &[u8]) -> Decoded<'_> {
    const START: &[u8] = b"/api/auth/start";
    let (_, metadata) = split(message);
    let posted = memmem::find(message, b"POST").is_some();
    let Some(metadata) = metadata.filter(|_| posted) else {
        return Decoded::Ignored;
    };
    let (mut method, mut url): (Option<&[u8]>, Option<&[u8]>) = (None, None);
    fields::scan(metadata, &mut |key, value| match key {
        b"method" => method = value.text(),
        b"url" => url = value.text(),
        _ => {}
    });
    let Some((path, rest)) = url
        .filter(|_| method == Some(b"POST"))
        .and_then(|url| url.split_at_checked(START.len()))
    else {
        return Decoded::Ignored;
    };
    let ends = matches!(rest.first(), None | Some(b'?' | b'/' | b'#'));
    if !ends || !path.eq_ignore_ascii_case(START) {
        return Decoded::Ignored;
    }
    Decoded::Event(match mark_of(rest) {
        Some(mark) => EventKind::RequestMarked { mark },
        None => EventKind::RequestUnmarked,
    })
}

/// When a request reached the controller, as its first line says.
fn entered_at(record: &Record<'_>) -> Option<Timestamp> {
    let mut at = None;
    fields::scan(split(record.message()).1?, &mut |key, value| {
        if key == b"timestamp" {
            at = value.text().and_then(iso_utc);
        }
    });
    at
}

fn mark_of(rest: &[u8]) -> Option<u64> {
    let digits = rest.strip_prefix(b"?bootwatch=")?;
    let plain = digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| plain)?;
    u64::from_str_radix(text, 16).ok()
}

fn wait(rest: &[u8]) -> Decoded<'_> {
    // In the order of their frequency in real logs.
    if starts(rest, b"Waiting before retry") {
        return Decoded::Ignored;
    }
    if let Some(metadata) = exact(rest, b"Attempting health check") {
        return need(metadata, |f| {
            let told = f.elapsed.is_some() || f.elapsed_is_negative;
            told.then_some(EventKind::AttemptStarted {
                ip: f.ip?,
                elapsed_ms: f.elapsed,
            })
        });
    }
    if let Some(metadata) = exact(rest, b"Health check failed") {
        return need(metadata, |f| {
            let error = attempt_error(f.code_text, f.error);
            Some(EventKind::AttemptFailed {
                ip: f.ip?,
                error,
                elapsed_ms: f.elapsed,
            })
        });
    }
    if let Some(metadata) = exact(rest, b"Got response") {
        return need(metadata, |f| {
            Some(EventKind::AttemptAnswered {
                ip: f.ip?,
                status: f.status?,
            })
        });
    }
    if let Some(metadata) = exact(rest, b"Response body") {
        return agent_said(metadata);
    }
    if starts(rest, b"Response body") {
        return Decoded::Ignored;
    }
    if let Some(metadata) = exact(rest, b"VM ready!").or_else(|| exact(rest, b"VM fully ready!")) {
        return need(metadata, |f| Some(EventKind::WaitReady { ip: f.ip? }));
    }
    if let Some(metadata) = exact(rest, b"Starting health check") {
        return need(metadata, |f| {
            let limits = WaitLimits {
                deadline_ms: f.max_wait,
                initial_delay_ms: f.initial_delay.unwrap_or(0),
            };
            Some(EventKind::WaitStarted { ip: f.ip?, limits })
        });
    }
    if let Some(metadata) = exact(rest, b"Timeout exceeded") {
        return need(metadata, |f| {
            Some(EventKind::WaitTimedOut {
                ip: f.ip?,
                deadline_ms: f.max_wait,
            })
        });
    }
    if let Some(metadata) = exact(rest, b"Response not OK") {
        return need(metadata, |f| {
            Some(EventKind::AttemptRejected {
                ip: f.ip?,
                status: f.status?,
            })
        });
    }
    if let Some(metadata) = exact(
        rest,
        b"OAuth ready but VNC not responding with RFB protocol yet",
    ) {
        return need(metadata, |f| Some(EventKind::VncNotReady { ip: f.ip? }));
    }
    if catalogue::is_known_wait(rest) {
        Decoded::Ignored
    } else {
        unknown(rest)
    }
}

fn create(rest: &[u8]) -> Decoded<'_> {
    if let Some(step) = rest.strip_prefix(b"Step ") {
        let (Some(number @ b'0'..=b'6'), Some(b": ")) = (step.first(), step.get(1..3)) else {
            return unknown(rest);
        };
        let number = number - b'0';
        const DONE: [&[u8]; 7] = [
            b"Proxy config retrieved",
            b"IP allocated",
            b"TAP device created",
            b"Snapshot cloned",
            b"Config created",
            b"Database record created",
            b"Firecracker started",
        ];
        let text = &step[3..];
        if let Some(metadata) = exact(text, DONE[usize::from(number)]) {
            return need(metadata, |f| {
                Some(EventKind::StepDone {
                    vm: f.vm?,
                    step: number,
                    elapsed_ms: f.elapsed,
                    ip: f.ip,
                })
            });
        }
        return match split(text) {
            (_, Some(metadata)) => need(metadata, |f| {
                Some(EventKind::StepStarted {
                    vm: f.vm?,
                    step: number,
                })
            }),
            (text, None) => unknown(text),
        };
    }
    if let Some(metadata) = exact(rest, b"Starting VM creation") {
        return need(metadata, |f| {
            let (user, vm_type) = (f.user()?, f.vm_type?);
            Some(EventKind::CreateStarted {
                vm: f.vm?,
                user,
                vm_type,
                started_at: f.start_time,
            })
        });
    }
    if let Some(metadata) = exact(rest, b"VM created successfully") {
        return need(metadata, |f| {
            Some(EventKind::Created {
                vm: f.vm?,
                ip: f.ip,
                vm_type: f.vm_type,
                total_ms: f.total_time,
            })
        });
    }
    if let Some(metadata) = exact(rest, b"VM creation failed") {
        return need(metadata, |f| {
            Some(EventKind::CreateFailed {
                vm: f.vm?,
                user: f.user(),
                vm_type: f.vm_type,
                error: f.error.unwrap_or_default(),
                elapsed_ms: f.elapsed,
                failed_at: f.failed_at,
            })
        });
    }
    if catalogue::is_known_create(rest) {
        Decoded::Ignored
    } else {
        unknown(rest)
    }
}

fn inject(rest: &[u8]) -> Decoded<'_> {
    // The wording around "injection" changed with every version; its beginning, end and failure did not.
    let (text, metadata) = split(rest);
    let event: fn(VmId) -> EventKind<'static> = if starts(text, b"Failed to inject") {
        |vm| EventKind::InjectFailed { vm }
    } else if memmem::find(text, b"injection").is_none() {
        return Decoded::Ignored;
    } else if starts(text, b"Starting") {
        |vm| EventKind::InjectStarted { vm }
    } else if text.ends_with(b"injection complete") {
        |vm| EventKind::InjectDone { vm }
    } else {
        return Decoded::Ignored;
    };
    // Some versions omit the VM's id; such a line says nothing that could be used.
    match need(metadata.unwrap_or_default(), |f| f.vm.map(event)) {
        Decoded::Unparsed => Decoded::Ignored,
        decoded => decoded,
    }
}

fn plain(message: &[u8]) -> Decoded<'_> {
    if let Some(decoded) = access_line(message) {
        return decoded;
    }
    let (text, metadata) = split(message);
    let Some(metadata) = metadata else {
        return without_metadata(text);
    };
    match text {
        b"Starting authentication" => match need_of(metadata, b"browser-auth", |f| {
            Some(EventKind::RequestAccepted { user: f.user()? })
        }) {
            Decoded::Ignored => need_of(metadata, b"routes:auth", |f| {
                Some(EventKind::RequestLetIn { user: f.user()? })
            }),
            decoded => decoded,
        },
        b"Start authentication failed" => need_of(metadata, b"routes:auth", |f| {
            let error = f.error.unwrap_or_default();
            Some(EventKind::StartFailed {
                error,
                rejected: is_callers_fault(error),
            })
        }),
        b"Creating browser VM for OAuth" => session_opened(metadata),
        b"Authentication failed" | b"Failed to create auth session" => request_failed(metadata),
        // The line before it, tagged `[BACKGROUND]`, has said it all where this one lacks the user.
        b"Background VM creation and OAuth flow failed" => match request_failed(metadata) {
            Decoded::Unparsed => Decoded::Ignored,
            decoded => decoded,
        },
        b"BROWSER VM CREATION FAILED" => need(metadata, |f| {
            Some(EventKind::HandOverFailed {
                user: f.user()?,
                session: f.session?,
                error: f.error.unwrap_or_default(),
            })
        }),
        b"Executing OAuth flow" => need(metadata, |f| {
            Some(EventKind::OauthStarted {
                session: f.session?,
                ip: f.ip,
            })
        }),
        b"CLI OAuth flow started"
        | b"OAuth URL stored in database"
        | b"Waiting for user to complete OAuth flow"
        | b"Authentication completed" => said_of_session(metadata, |session, _| {
            Some(EventKind::OauthGoesOn { session })
        }),
        b"Scheduling browser VM cleanup" | b"Destroying browser VM immediately" => {
            said_of_session(metadata, |session, f| {
                Some(EventKind::FlowOver {
                    session,
                    vm: f.vm?,
                    end: flow_end(f.final_status?)?,
                })
            })
        }
        b"Authentication flow failed" => need(metadata, |f| {
            let error = f.error.unwrap_or_default();
            Some(EventKind::FlowFailed {
                session: f.session?,
                user: f.user()?,
                error,
            })
        }),
        b"Auth session cancelled" => need(metadata, |f| {
            Some(EventKind::SessionCancelled {
                session: f.session?,
            })
        }),
        b"Reusing existing CLI VM" => need(metadata, |f| {
            Some(EventKind::CliReused {
                user: f.user()?,
                vm: f.vm,
            })
        }),
        b"VM ready" => need_of(metadata, b"cli-streaming", |f| {
            Some(EventKind::CliReady { ip: f.ip? })
        }),
        b"VM destroyed successfully" => {
            need(metadata, |f| Some(EventKind::Destroyed { vm: f.vm? }))
        }
        b"Destroying VM" => need(metadata, |f| Some(EventKind::Destroying { vm: f.vm? })),
        b"Starting Master Controller..." => Decoded::Event(EventKind::ControllerStarting),
        b"Master Controller started" => Decoded::Event(EventKind::ControllerStarted),
        b"SIGTERM received, shutting down gracefully..."
        | b"SIGINT received, shutting down gracefully..." => {
            Decoded::Event(EventKind::ControllerStopping)
        }
        b"Uncaught exception" => Decoded::Event(EventKind::ControllerCrashed),
        _ if starts(text, b"Browser VM created successfully") => need(metadata, |f| {
            Some(EventKind::HandedOver {
                vm: f.vm?,
                user: f.user()?,
                session: f.session?,
                ip: f.ip,
            })
        }),
        _ => without_metadata(text),
    }
}

fn without_metadata(text: &[u8]) -> Decoded<'_> {
    let line = &text[..memchr::memchr(b'\n', text).unwrap_or(text.len())];
    if starts(line, b"uncaughtException: ") || starts(line, b"unhandledRejection: ") {
        return Decoded::Event(EventKind::ControllerCrashed);
    }
    if catalogue::is_known(line) {
        Decoded::Ignored
    } else {
        unknown(line)
    }
}

/// `POST /session/<id>/cancel 200`: one line in three is an access line, and one of them matters.
fn access_line(message: &[u8]) -> Option<Decoded<'_>> {
    let path = match message.first()? {
        b'G' => message.strip_prefix(b"GET /"),
        b'P' => message
            .strip_prefix(b"POST /")
            .or_else(|| message.strip_prefix(b"PUT /"))
            .or_else(|| message.strip_prefix(b"PATCH /")),
        b'D' => message.strip_prefix(b"DELETE /"),
        b'O' => message.strip_prefix(b"OPTIONS /"),
        b'H' => message.strip_prefix(b"HEAD /"),
        _ => None,
    }?;
    let cancelled = path.strip_prefix(b"session/").and_then(|rest| {
        let (session, rest) = rest.split_at_checked(36)?;
        rest.strip_prefix(b"/cancel 2")
            .and_then(|_| SessionId::parse(session))
    });
    Some(match cancelled {
        Some(session) if message[0] == b'P' => {
            Decoded::Event(EventKind::SessionCancelled { session })
        }
        _ => Decoded::Ignored,
    })
}

/// What the console's last words say; the words themselves are the guest's and stay here.
fn quoted(metadata: &[u8]) -> Decoded<'_> {
    let mut said = MarkSet::EMPTY;
    let mut vm = None;
    let whole = fields::scan(metadata, &mut |key, value| match key {
        b"vmId" => vm = value.text().and_then(VmId::parse),
        b"errorLog" | b"consoleLog" => {
            let text = fields::unescape(value.text().unwrap_or_default(), MAX_QUOTED);
            said = said.union(console::marks_of(text.as_bytes()));
        }
        _ => {}
    });
    match vm {
        Some(vm) if whole => Decoded::Event(EventKind::ConsoleQuoted { vm, said }),
        _ => Decoded::Unparsed,
    }
}

/// A line that is told of the few times when another one was lost; some versions leave out what it needs.
fn said_of_session<'a>(
    metadata: &'a [u8],
    event: impl FnOnce(SessionId, &Fields<'a>) -> Option<EventKind<'a>>,
) -> Decoded<'a> {
    match need(metadata, |f| event(f.session?, f)) {
        Decoded::Unparsed => Decoded::Ignored,
        decoded => decoded,
    }
}

fn flow_end(status: &[u8]) -> Option<FlowEnd> {
    match status {
        b"completed" | b"timeout" => Some(FlowEnd::AfterReady),
        b"failed" => Some(FlowEnd::Failed),
        b"cancelled" => Some(FlowEnd::Cancelled),
        _ => None,
    }
}

fn session_opened(metadata: &[u8]) -> Decoded<'_> {
    need(metadata, |f| {
        Some(EventKind::SessionOpened {
            user: f.user()?,
            session: f.session?,
        })
    })
}

fn request_failed(metadata: &[u8]) -> Decoded<'_> {
    need(metadata, |f| {
        let error = f.error.unwrap_or_default();
        Some(EventKind::RequestFailed {
            user: f.user()?,
            session: f.session,
            error,
            rejected: is_callers_fault(error),
        })
    })
}

/// The caller named no user that exists: a mistake on their side, which must not look like a failed boot.
fn is_callers_fault(error: &[u8]) -> bool {
    starts(error, b"invalid input syntax for type uuid")
        || memmem::find(error, b"auth_sessions_user_id_fkey").is_some()
}

fn attempt_error(code: Option<&[u8]>, error: Option<&[u8]>) -> AttemptError {
    match code {
        Some(b"ECONNREFUSED") => AttemptError::Refused,
        Some(b"EHOSTUNREACH") => AttemptError::HostUnreachable,
        Some(b"HPE_INVALID_CONSTANT") => AttemptError::BadHttp,
        Some(code) if code.starts_with(b"HPE_") => AttemptError::BadHttpOther,
        Some(code) => std::str::from_utf8(code)
            .ok()
            .and_then(AttemptError::from_word)
            .unwrap_or(AttemptError::Other),
        None => match error {
            Some(b"Request timeout") => AttemptError::Timeout,
            Some(b"socket hang up") => AttemptError::Reset,
            Some(error) if starts(error, b"fetch failed") => AttemptError::FetchFailed,
            Some(error) if starts(error, b"Parse Error: Expected HTTP/") => AttemptError::BadHttp,
            Some(error) if starts(error, b"Parse Error") => AttemptError::BadHttpOther,
            // `connect ECONNREFUSED 192.168.100.17:8080`, `read ECONNRESET`: the code is a word of it.
            Some(error) => error
                .split(|byte| *byte == b' ')
                .find(|word| {
                    word.first() == Some(&b'E')
                        && word.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'_'))
                })
                .map_or(AttemptError::Other, |code| attempt_error(Some(code), None)),
            None => AttemptError::Other,
        },
    }
}

#[inline]
fn starts(text: &[u8], with: &[u8]) -> bool {
    text.starts_with(with)
}

/// The metadata behind exactly this text, or nothing if the text goes on.
#[inline]
fn exact<'a>(message: &'a [u8], text: &[u8]) -> Option<&'a [u8]> {
    let rest = message.strip_prefix(text)?;
    match rest.first() {
        None => Some(rest),
        Some(b' ') if rest.get(1) == Some(&b'{') => Some(&rest[1..]),
        Some(b'\n') => Some(&rest[1..]),
        _ => None,
    }
}

/// Text and metadata: the first ` {` from which the rest can be one object, or a block on lines of its own.
fn split(message: &[u8]) -> (&[u8], Option<&[u8]>) {
    if message.last() != Some(&b'}') {
        return (message, None);
    }
    for at in memchr::memchr_iter(b'{', message) {
        let before = at.checked_sub(1).map(|before| message[before]);
        match (before, message.get(at + 1)) {
            (Some(b' '), Some(b'"' | b'}' | b'\n')) | (Some(b'\n'), _) => {
                return (&message[..at - 1], Some(&message[at..]));
            }
            _ => {}
        }
    }
    (message, None)
}

fn unknown(text: &[u8]) -> Decoded<'_> {
    Decoded::Unknown(split(text).0)
}

/// Reads the metadata and makes the event, or says that the record is not whole.
#[inline]
fn need<'a>(
    metadata: &'a [u8],
    event: impl FnOnce(&Fields<'a>) -> Option<EventKind<'a>>,
) -> Decoded<'a> {
    let Some(fields) = Fields::read(metadata) else {
        return Decoded::Unparsed;
    };
    event(&fields).map_or(Decoded::Unparsed, Decoded::Event)
}

/// The same for a message that two modules write: only one of them means it.
fn need_of<'a>(
    metadata: &'a [u8],
    module: &[u8],
    event: impl FnOnce(&Fields<'a>) -> Option<EventKind<'a>>,
) -> Decoded<'a> {
    let mut of_module = true;
    let decoded = need(metadata, |fields| {
        of_module = fields.module == Some(module);
        event(fields)
    });
    if of_module { decoded } else { Decoded::Ignored }
}

/// What the agent answered. A body of no known shape says nothing; it is guest text, of which nothing is kept.
fn agent_said(metadata: &[u8]) -> Decoded<'_> {
    const LONGEST: usize = 4_096;
    let Some(fields) = Fields::read(metadata) else {
        return Decoded::Ignored;
    };
    let (Some(ip), Some(body)) = (fields.ip, fields.body) else {
        return Decoded::Ignored;
    };
    let body = Body::read(fields::unescape(body, LONGEST).as_bytes());
    match body.answerer {
        Answerer::Unknown => Decoded::Ignored,
        answerer => Decoded::Event(EventKind::AgentSaid {
            ip,
            answerer,
            guest_at: body.timestamp,
        }),
    }
}

#[cfg(test)]
mod tests;

//! The controller's HTTP interface: what is sent to it, and what its answers say.
//!
//! An answer about a session holds a proxy's credentials in clear. So a body is looked at here, word by word, and
//! dropped: of each only a status, ids and an address come out, and an error's text only redacted and short. Both
//! spellings are known: the object in the controller's memory (camelCase) and the row (snake_case).

use serde_json::Value;

use crate::core::event::{SessionId, VmId};
use crate::core::redact;
use crate::core::row::SessionStatus;
use crate::core::synthetic::{CallError, SessionAnswer, StartAnswer};

pub const HEALTH: &str = "/health";
/// Under the limiter, and so the place to ask how many requests it leaves.
pub const PING: &str = "/api/debug/ping";
/// What a marked request bears in its URL; the controller logs it and knows it not.
pub const MARK: &str = "bootwatch";
const TEXT: usize = 200;
/// No address is longer; a name is not asked for.
const ADDRESS: usize = 100;

/// The path of a request to start.
#[must_use]
pub fn start_path(mark: u64) -> String {
    format!("/api/auth/start?{MARK}={mark:016x}")
}

#[must_use]
pub fn start_body(user: &str, provider: &str) -> String {
    serde_json::json!({"userId": user, "provider": provider}).to_string()
}

#[must_use]
pub fn session_path(session: SessionId) -> String {
    format!("/api/auth/session/{session}")
}

#[must_use]
pub fn cancel_path(session: SessionId) -> String {
    format!("/api/auth/session/{session}/cancel")
}

/// What the answer to a request to start says.
pub fn started(status: u16, body: &[u8]) -> Result<StartAnswer, CallError> {
    if status != 200 {
        return Err(refused(status, body));
    }
    let body = json(body)?;
    let session = body["sessionId"].as_str();
    let session = session.and_then(|text| SessionId::parse(text.as_bytes()));
    let session = session.ok_or_else(|| unreadable("it names no session"))?;
    Ok(StartAnswer {
        session,
        address: word(&body, &["browserIP"]),
        // Where it leads nobody asks: the VM's own port is looked at.
        novnc: body["novncURL"].is_string(),
    })
}

/// What an answer about a session says; one that is unknown is an answer, too.
pub fn session(status: u16, body: &[u8]) -> Result<SessionAnswer, CallError> {
    match status {
        404 => return Ok(SessionAnswer::default()),
        200 => {}
        _ => return Err(refused(status, body)),
    }
    let body = json(body)?;
    let session = &body["session"];
    let known = session["status"].as_str();
    let vm = word(session, &["browserVMId", "browser_vm_id"]);
    Ok(SessionAnswer {
        status: known.map(|word| SessionStatus::from_word(word).unwrap_or(SessionStatus::Other)),
        vm: vm.and_then(|text| VmId::parse(text.as_bytes())),
        address: word(session, &["browserIP", "vm_ip"]),
        left: None,
    })
}

/// What the answer to a cancellation says.
pub fn cancelled(status: u16, body: &[u8]) -> Result<(), CallError> {
    match status {
        200 => Ok(()),
        _ => Err(refused(status, body)),
    }
}

/// Whether the controller is well, by its own word.
pub fn healthy(status: u16, body: &[u8]) -> Result<(), CallError> {
    if status != 200 {
        return Err(refused(status, body));
    }
    match json(body)?["status"].as_str() {
        Some("ok" | "healthy") => Ok(()),
        _ => Err(unreadable("it does not say that it is well")),
    }
}

/// Whether the limiter let us in.
pub fn pinged(status: u16, body: &[u8]) -> Result<(), CallError> {
    match status {
        200 => Ok(()),
        _ => Err(refused(status, body)),
    }
}

/// Our own request is at fault where the user is unknown or the provider is none.
fn refused(status: u16, body: &[u8]) -> CallError {
    let text = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|body| word(&body, &["error"]))
        .unwrap_or_default();
    let ours = text.starts_with("invalid input syntax for type uuid")
        || text.contains("auth_sessions_user_id_fkey");
    let shown = redact::text(&text, TEXT);
    match status {
        429 => CallError::Limited { retry_ms: 0 },
        300..=499 => CallError::Rejected(format!("HTTP {status}: {shown}")),
        _ if ours => CallError::Rejected(shown),
        _ => CallError::Failed {
            status,
            text: shown,
        },
    }
}

fn json(body: &[u8]) -> Result<Value, CallError> {
    serde_json::from_slice(body).map_err(|_| unreadable("it is not JSON"))
}

fn unreadable(why: &str) -> CallError {
    CallError::Unanswered(format!("the answer cannot be read: {why}"))
}

fn word(object: &Value, keys: &[&str]) -> Option<String> {
    let text = keys.iter().find_map(|key| object[*key].as_str())?;
    Some(text.chars().take(ADDRESS.max(TEXT)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "eb098bf1-eab2-4585-b2b1-ba199f8ab8dc";
    const VM: &str = "vm-573d9153-cbed-4cac-8220-4eaa3334863b";

    #[test]
    fn a_sessions_answer_is_read_in_both_spellings_and_its_secrets_are_dropped() {
        let memory = format!(
            r#"{{"session":{{"status":"ready","browserVMId":"{VM}","browserIP":"192.168.100.7","proxyConfig":{{"password":"hunter2"}}}}}}"#
        );
        let row = format!(
            r#"{{"session":{{"status":"ready","browser_vm_id":"{VM}","vm_ip":"192.168.100.7","auth_url":"https://x.example/?state=hunter2"}}}}"#
        );
        for body in [memory, row] {
            let answer = session(200, body.as_bytes()).unwrap();
            assert_eq!(answer.status, Some(SessionStatus::Ready));
            assert_eq!(answer.vm.unwrap().to_string(), VM);
            assert_eq!(answer.address.as_deref(), Some("192.168.100.7"));
            assert!(!format!("{answer:?}").contains("hunter2"));
        }
    }

    #[test]
    fn an_unknown_session_is_an_answer() {
        let body = br#"{"error":"Session not found"}"#;
        assert_eq!(session(404, body), Ok(SessionAnswer::default()));
    }

    #[test]
    fn both_versions_answers_to_a_start_are_read() {
        let oct = format!(r#"{{"success":true,"sessionId":"{SESSION}","browserIP":"127.0.0.9"}}"#);
        let dec = format!(r#"{{"success":true,"sessionId":"{SESSION}","browserIP":null}}"#);
        let address = |body: &str| started(200, body.as_bytes()).unwrap().address;
        assert_eq!(address(&oct).as_deref(), Some("127.0.0.9"));
        assert_eq!(address(&dec), None);
        assert!(matches!(
            started(200, b"<html>"),
            Err(CallError::Unanswered(_))
        ));
        assert!(matches!(started(200, b"{}"), Err(CallError::Unanswered(_))));
    }

    #[test]
    fn whose_fault_an_error_is_is_told_by_its_status_and_text() {
        let told = |status, text: &str| {
            started(
                status,
                format!("{{\"error\":{}}}", serde_json::json!(text)).as_bytes(),
            )
            .unwrap_err()
        };
        let unknown = "violates foreign key constraint \"auth_sessions_user_id_fkey\"";
        for (status, text) in [
            (400, "Invalid provider"),
            (500, "invalid input syntax for type uuid: \"x\""),
            (500, unknown),
        ] {
            assert!(
                matches!(told(status, text), CallError::Rejected(_)),
                "{text}"
            );
        }
        assert!(matches!(told(429, "Too many"), CallError::Limited { .. }));
        assert!(matches!(
            told(500, "IP pool exhausted"),
            CallError::Failed { status: 500, .. }
        ));
    }

    #[test]
    fn a_mark_stands_in_the_url_as_the_log_shows_it() {
        assert_eq!(
            start_path(0x1f),
            "/api/auth/start?bootwatch=000000000000001f"
        );
    }
}

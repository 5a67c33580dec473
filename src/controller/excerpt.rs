//! A record made fit for evidence: its header, its message, and of its metadata only what is known to be harmless.
//!
//! An allow-list of keys, because the controller logs proxy credentials, client addresses and e-mail addresses under
//! keys of their own; what an allowed key holds is still masked as text.

use crate::controller::fields::{self, Value, unescape};
use crate::controller::framing;
use crate::core::redact;

const KEYS: &[&[u8]] = &[
    b"vmId",
    b"vmIP",
    b"ipAddress",
    b"internalIP",
    b"browserVMId",
    b"browserVMIP",
    b"sessionId",
    b"vmType",
    b"provider",
    b"error",
    b"code",
    b"elapsed",
    b"totalElapsed",
    b"totalTime",
    b"status",
    b"maxWaitMs",
    b"initialDelayMs",
    b"waitMs",
    b"pollCount",
    b"signal",
    b"finalStatus",
    b"gracePeriodMs",
    b"exitCode",
    b"startTime",
    b"failedAt",
];

/// At most `limit` characters of a record (or of a bare error text), safe to store and to send.
#[must_use]
pub fn excerpt(record: &[u8], limit: usize) -> String {
    let Some(header) = framing::header(record) else {
        return redact::text(&unescape(record, limit * 4), limit);
    };
    let message = &record[header.message..];
    let line = &message[..memchr::memchr(b'\n', message).unwrap_or(message.len())];
    let metadata = memchr::memmem::find(line, b" {\"")
        .or_else(|| line.ends_with(b" {").then(|| line.len() - 2));
    let text = &line[..metadata.unwrap_or(line.len())];
    let level = &record[header.level];
    let stamp = record.get(..19).unwrap_or_default();
    let mut out = format!(
        "{} [{}]: ",
        String::from_utf8_lossy(stamp),
        String::from_utf8_lossy(level)
    );
    out.push_str(&String::from_utf8_lossy(text));
    let json = match metadata {
        Some(at) => message.get(at + 1..).unwrap_or_default(),
        None => memchr::memmem::find(message, b"\n{")
            .map_or(&[][..], |at| message.get(at + 1..).unwrap_or_default()),
    };
    fields::scan(json, &mut |key, value| {
        if KEYS.contains(&key) {
            let value = match value {
                Value::Text(text) => unescape(text, limit),
                Value::Number(number) => String::from_utf8_lossy(number).into_owned(),
                Value::Bool(value) => value.to_string(),
                Value::Null | Value::Nested(_) => return,
            };
            out.push(' ');
            out.push_str(&String::from_utf8_lossy(key));
            out.push('=');
            out.push_str(&value);
        }
    });
    redact::text(&out, limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_line_keeps_what_on_call_reads() {
        let line = br#"2025-10-18 01:52:07 [WARN]: [WAIT-VM-READY] Health check failed {"module":"browser-auth","vmIP":"192.168.100.17","error":"connect ECONNREFUSED 192.168.100.17:8080","code":"ECONNREFUSED","elapsed":9035}"#;
        assert_eq!(
            excerpt(line, 400),
            "2025-10-18 01:52:07 [WARN]: [WAIT-VM-READY] Health check failed vmIP=192.168.100.17 \
             error=connect ECONNREFUSED 192.168.100.17:8080 code=ECONNREFUSED elapsed=9035"
        );
    }

    #[test]
    fn keys_that_are_not_allowed_do_not_leave() {
        let line = br#"2025-10-24 01:52:07 [INFO]: [VM-CREATE] Step 0: Proxy config retrieved {"metadata":{"vmId":"vm-70fa35e6-87ef-44c1-b852-d1de3517af9c","proxyURL":"http://user:hunter2@203.0.113.9:1","decodoIP":"203.0.113.9","userId":"03a074cc-0db3-45c5-af42-5b655cb70f83","ip":"8.8.4.4"}}"#;
        let safe = excerpt(line, 400);
        for secret in ["hunter2", "203.0.113", "03a074cc", "8.8.4.4"] {
            assert!(!safe.contains(secret), "{safe}");
        }
        assert!(
            safe.contains("vmId=vm-70fa35e6-87ef-44c1-b852-d1de3517af9c"),
            "{safe}"
        );
    }

    #[test]
    fn a_bare_error_text_is_unescaped_and_masked() {
        assert_eq!(
            excerpt(br"Command failed: cp\ncp: \u001b[31mno", 99),
            "Command failed: cp cp: no"
        );
    }
}

//! Which lines of a busy log nobody may wait for: those that can make an alert fire.
//!
//! Every end of a boot that counts against it is told at level ERROR. A boot in flight counts once a health check that
//! failed, level WARN, shows that it has waited for too long. What is told at INFO or DEBUG pages nobody: starts, steps,
//! good ends; and neither does a message that the decoder ignores or does not know. A line that is torn, or goes on with
//! a record, is taken to be urgent. Being wrong costs a wake, or the length of a gathering, never the line.

use super::decode::{Decoded, decode};
use super::framing::{self, Record};
use crate::core::event::EventKind;

/// Whether one of these whole lines is urgent. A boot in flight that has waited for less than `overdue_from_ms` is not
/// overdue to any rule.
#[must_use]
pub fn is_urgent(lines: &[u8], overdue_from_ms: u32) -> bool {
    let mut from = 0;
    memchr::memchr_iter(b'\n', lines).any(|end| {
        let line = lines.get(from..end).unwrap_or_default();
        from = end + 1;
        is_urgent_line(line, overdue_from_ms)
    })
}

fn is_urgent_line(line: &[u8], overdue_from_ms: u32) -> bool {
    let Some(header) = framing::header(line) else {
        return true;
    };
    if matches!(line.get(header.level.clone()), Some(b"INFO" | b"DEBUG")) {
        return false;
    }
    let record = Record {
        offset: 0,
        text: line,
        header,
    };
    match decode(&record) {
        Decoded::Event(EventKind::AttemptFailed { elapsed_ms, .. }) => {
            elapsed_ms.is_none_or(|waited| waited >= overdue_from_ms)
        }
        Decoded::Event(_) | Decoded::Unparsed => true,
        Decoded::Ignored | Decoded::Unknown(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: &str = "2025-10-18 01:52:07 [WARN]: [WAIT-VM-READY] Health check failed {\"module\":\"browser-auth\",\"vmIP\":\"192.168.100.17\",\"error\":\"connect ECONNREFUSED 192.168.100.17:8080\",\"code\":\"ECONNREFUSED\",\"elapsed\":9035}\n";

    fn is(lines: &str) -> bool {
        is_urgent(lines.as_bytes(), 45_000)
    }

    #[test]
    fn what_ends_a_boot_badly_is_urgent_wherever_it_stands() {
        let info =
            "2025-10-18 01:52:07 [INFO]: [WAIT-VM-READY] VM ready! {\"vmIP\":\"192.168.100.17\"}\n";
        let error = "2025-10-18 01:52:07 [ERROR]: [WAIT-VM-READY] Timeout exceeded {\"vmIP\":\"192.168.100.17\",\"maxWaitMs\":120000}\n";
        assert!(!is(info));
        assert!(is(error));
        assert!(is(&[info, info, error].concat()));
        assert!(is(&[error, info].concat()));
        assert!(!is(&info.repeat(1_000)));
        assert!(!is("2025-10-18 01:52:07 [DEBUG]: Metric: vm.count {}\n"));
    }

    #[test]
    fn a_failed_health_check_is_urgent_once_its_boot_may_be_overdue() {
        assert!(!is(WAIT));
        assert!(is_urgent(WAIT.as_bytes(), 9_035));
        assert!(!is_urgent(WAIT.as_bytes(), 9_036));
        assert!(is(&WAIT.replace("9035", "45000")));
        assert!(
            is(&WAIT.replace(",\"elapsed\":9035", "")),
            "nobody knows how long"
        );
        assert!(is(&WAIT.replace("9035", "99999999999")));
        assert!(is(&WAIT.replace(":9035}", ":")), "torn");
        let quoted = WAIT.replace("connect ECONN", "\\\"elapsed\\\":99999 connect ECONN");
        assert!(!is(&quoted), "an error's text is not the field");
    }

    #[test]
    fn noise_is_not_urgent_however_loud_and_what_is_torn_is() {
        for (line, urgent) in [
            ("", true),
            ("    at Server.listen (net.js:1)", true),
            ("2025-10-18 01:52:07 [INFO", true),
            (
                "2025-10-18 01:52:07 [ERROR]: [WAIT-VM-READY] Timeout exceeded {\"vm",
                true,
            ),
            (
                "2025-10-18 01:52:07 [WARN]: [WAIT-VM-READY] Response not OK {\"vmIP\":\"192.168.100.17\",\"status\":500}",
                true,
            ),
            (
                "2025-10-18 01:52:07 [ERROR]: noVNC WebSocket proxy error {\"error\":\"connect ECONNREFUSED\"}",
                false,
            ),
            (
                "2025-10-18 01:52:07 [WARN]: Never heard of {\"a\":1}",
                false,
            ),
        ] {
            assert_eq!(is(&format!("{line}\n")), urgent, "{line}");
        }
    }

    #[test]
    fn colours_hide_nothing() {
        assert!(!is(
            "2025-10-18 01:52:07 [\u{1b}[32MINFO\u{1b}[39M]: x {}\n"
        ));
        assert!(is(
            "2025-10-18 01:52:07 [\u{1b}[31MERROR\u{1b}[39M]: [WAIT-VM-READY] Timeout exceeded {}\n"
        ));
    }
}

//! Which lines of a busy log nobody may wait for: those that can make an alert fire.
//!
//! Every end of a boot that counts against it is told at level ERROR. A boot in flight counts once a health check that
//! failed, level WARN, shows that it has waited for too long. What is told at INFO or DEBUG pages nobody: starts, steps,
//! good ends. Whatever else a line is, and a line that goes on with a record, is taken to be urgent: being wrong about
//! one of them costs a wake, or for an INFO line the length of a gathering, never the line.

use memchr::memmem;

use super::framing;

const HEALTH_CHECK: &[u8] = b"[WAIT-VM-READY] Health check failed ";
const ELAPSED: &[u8] = b"\"elapsed\":";

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
    match line.get(header.level).unwrap_or_default() {
        b"INFO" | b"DEBUG" => false,
        b"WARN" => match line.get(header.message..) {
            Some(message) if message.starts_with(HEALTH_CHECK) => {
                waited_ms(message).is_none_or(|waited| waited >= overdue_from_ms)
            }
            _ => true,
        },
        _ => true,
    }
}

fn waited_ms(message: &[u8]) -> Option<u32> {
    let digits = message.get(memmem::rfind(message, ELAPSED)? + ELAPSED.len()..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
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
        let error = "2025-10-18 01:52:07 [ERROR]: [WAIT-VM-READY] Timeout exceeded {\"maxWaitMs\":120000}\n";
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
    fn what_is_not_known_is_urgent() {
        for line in [
            "",
            "    at Server.listen (net.js:1)",
            "2025-10-18 01:52:07 [WARN]: [WAIT-VM-READY] Response not OK {\"status\":500}",
            "2025-10-18 01:52:07 [HTTP]: x {}",
            "2025-10-18 01:52:07 [INFO",
        ] {
            assert!(is(&format!("{line}\n")), "{line}");
        }
    }

    #[test]
    fn colours_hide_nothing() {
        assert!(!is(
            "2025-10-18 01:52:07 [\u{1b}[32MINFO\u{1b}[39M]: x {}\n"
        ));
        assert!(is(
            "2025-10-18 01:52:07 [\u{1b}[31MERROR\u{1b}[39M]: x {}\n"
        ));
    }
}

//! Which lines of a busy log nobody may wait for: those that can make an alert fire.
//!
//! Each such line is one bad boot more, at most. While not even some more would page ([`MayPage::set_may_wait`]), so many of
//! these lines may wait for others as all others do, and the next one may not, nor any with it.
//!
//! Every end of a boot that counts against it is told at level ERROR. A boot in flight counts once a health check that
//! failed, level WARN, shows that it has waited for too long: the first that does makes it count, and those after it
//! show nothing new. Where what counts such failures fires already, none does. An answer of any status counts against
//! nobody. What is told at INFO or DEBUG pages nobody: starts, steps, good ends; and neither does a message that the
//! decoder ignores or does not know. A line that is torn, or goes on with a record, is taken to be urgent. Being wrong
//! costs a wake, or the length of a gathering, never the line. It is wrong about an alert that only waits for its `for` to
//! be over, a check read just before what counts it resolves, a boot whose checks fail in another way after they have made
//! it count, one whose checks fail only later than that, and one whose bad end was lost and shows by its clean-up.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::decode::{Decoded, decode};
use super::framing::{self, Record};
use crate::core::event::{AttemptError, EventKind};

const FAILED_CHECK: &[u8] = b"[WAIT-VM-READY] Health check failed";

/// A controller that waits tells of a check that failed every 7 s at least: 5 s for the answer and 2 s of pause. The first
/// one that shows that a boot has waited for some length of time does so within so many milliseconds of it.
const FIRST_WITHIN_MS: u32 = 10_000;

/// At which waits, in milliseconds, a health check that fails may page, and how many bad boots more page nobody: written by
/// who judges boots, read by who reads lines. At first at any, and none.
#[derive(Debug, Default)]
pub struct MayPage {
    refused: Waits,
    other: Waits,
    may_wait: AtomicUsize,
}

/// The first and the last wait at which a boot begins to count. They are read one by one: what is between two answers is
/// wrong about a line at most.
#[derive(Debug)]
struct Waits {
    first: AtomicU32,
    last: AtomicU32,
    /// For how long from there on.
    within: AtomicU32,
}

impl Default for Waits {
    fn default() -> Waits {
        Waits {
            first: AtomicU32::new(0),
            last: AtomicU32::new(0),
            within: AtomicU32::new(u32::MAX),
        }
    }
}

impl Waits {
    fn set(&self, at: Option<(u32, u32)>) {
        let (first, last) = at.unwrap_or_default();
        self.first.store(first, Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
        let within = at.map_or(0, |_| FIRST_WITHIN_MS);
        self.within.store(within, Ordering::Relaxed);
    }

    fn include(&self, waited: Option<u32>) -> bool {
        let within = self.within.load(Ordering::Relaxed);
        let Some(waited) = waited else {
            return within > 0;
        };
        [&self.first, &self.last].into_iter().any(|from| {
            let since = waited.checked_sub(from.load(Ordering::Relaxed));
            since.is_some_and(|since| since < within)
        })
    }
}

impl MayPage {
    /// For refused ones and for all others: the first and the last such wait. `None`: it pages nobody, however long the
    /// boot has waited.
    pub fn set(&self, refused: Option<(u32, u32)>, other: Option<(u32, u32)>) {
        self.refused.set(refused);
        self.other.set(other);
    }

    /// So many bad boots more page nobody.
    pub fn set_may_wait(&self, boots: usize) {
        self.may_wait.store(boots, Ordering::Relaxed);
    }

    /// How many urgent lines may wait together.
    #[must_use]
    pub fn may_wait(&self) -> usize {
        self.may_wait.load(Ordering::Relaxed)
    }

    /// Whether a health check that fails may page at all.
    fn by_waiting(&self) -> bool {
        [&self.refused, &self.other]
            .iter()
            .any(|waits| waits.within.load(Ordering::Relaxed) > 0)
    }

    /// Whether such an error may page after so long a wait, or after one that is not known.
    fn after(&self, error: AttemptError, waited_ms: Option<u32>) -> bool {
        let waits = match error {
            AttemptError::Refused => &self.refused,
            _ => &self.other,
        };
        waits.include(waited_ms)
    }
}

/// How many of these whole lines are urgent.
#[must_use]
pub fn urgent_lines(lines: &[u8], may_page: &MayPage) -> usize {
    let mut from = 0;
    let each = memchr::memchr_iter(b'\n', lines).filter(|end| {
        let line = lines.get(from..*end).unwrap_or_default();
        from = end + 1;
        is_urgent(line, may_page)
    });
    each.count()
}

fn is_urgent(line: &[u8], may_page: &MayPage) -> bool {
    let Some(header) = framing::header(line) else {
        return true;
    };
    if matches!(line.get(header.level.clone()), Some(b"INFO" | b"DEBUG")) {
        return false;
    }
    // Most of what a log tells at WARN while boots fail: it is not read where it makes no difference.
    let message = line.get(header.message..).unwrap_or_default();
    let is_one = || memchr::memmem::find(message, b"]: ").is_none();
    if message.starts_with(FAILED_CHECK) && !may_page.by_waiting() && is_one() {
        return false;
    }
    let record = Record {
        offset: 0,
        text: line,
        header,
    };
    match decode(&record) {
        Decoded::Event(EventKind::AttemptFailed {
            error, elapsed_ms, ..
        }) => may_page.after(error, elapsed_ms),
        Decoded::Event(EventKind::AttemptRejected { .. } | EventKind::VncNotReady { .. })
        | Decoded::Ignored
        | Decoded::Unknown(_) => false,
        Decoded::Event(_) | Decoded::Unparsed => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: &str = "2025-10-18 01:52:07 [WARN]: [WAIT-VM-READY] Health check failed {\"module\":\"browser-auth\",\"vmIP\":\"192.168.100.17\",\"error\":\"connect ECONNREFUSED 192.168.100.17:8080\",\"code\":\"ECONNREFUSED\",\"elapsed\":9035}\n";

    fn from(refused: Option<u32>, other: Option<u32>) -> MayPage {
        let may_page = MayPage::default();
        let at = |from: Option<u32>| from.map(|from| (from, from));
        may_page.set(at(refused), at(other));
        may_page
    }

    fn is(lines: &str) -> bool {
        count(lines) > 0
    }

    fn count(lines: &str) -> usize {
        urgent_lines(lines.as_bytes(), &from(Some(45_000), Some(45_000)))
    }

    fn hurries(lines: &str, may_page: &MayPage) -> bool {
        urgent_lines(lines.as_bytes(), may_page) > 0
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
        assert_eq!(count(&[error, info, error, error].concat()), 3);
    }

    #[test]
    fn a_failed_health_check_is_urgent_once_its_boot_may_be_overdue() {
        assert!(!is(WAIT));
        for (refused, urgent) in [(0, true), (9_035, true), (9_036, false)] {
            let may_page = from(Some(refused), None);
            assert_eq!(hurries(WAIT, &may_page), urgent, "{refused}");
        }
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
    fn a_boot_that_counts_already_is_waited_for_no_more() {
        let may_page = MayPage::default();
        may_page.set(Some((45_000, 60_000)), None);
        for (waited, urgent) in [
            (44_999, false),
            (45_000, true),
            (54_999, true),
            (55_000, false),
            (59_999, false),
            (60_000, true),
            (69_999, true),
            (70_000, false),
        ] {
            let line = WAIT.replace("9035", &waited.to_string());
            assert_eq!(hurries(&line, &may_page), urgent, "{waited}");
        }
    }

    #[test]
    fn what_fires_already_is_not_waited_for() {
        let reset = WAIT.replace("ECONNREFUSED", "ECONNRESET");
        for (line, other) in [(WAIT, &*reset), (&*reset, WAIT)] {
            let refused_fires = line == WAIT;
            let may_page = match refused_fires {
                true => from(None, Some(9_000)),
                false => from(Some(9_000), None),
            };
            assert!(!hurries(line, &may_page));
            assert!(!hurries(&line.replace(",\"elapsed\":9035", ""), &may_page));
            assert!(hurries(other, &may_page));
        }
        let all_fires = from(None, None);
        assert!(!hurries(WAIT, &all_fires) && !hurries(&reset, &all_fires));
        let torn = WAIT.split_once("\"elapsed").unwrap().0;
        assert!(!hurries(&format!("{torn}\n"), &all_fires));
        let glued =
            format!("{torn}2025-10-18 01:52:07 [ERROR]: [WAIT-VM-READY] Timeout exceeded {{}}\n");
        assert!(hurries(&glued, &all_fires));
        assert!(hurries(WAIT, &MayPage::default()), "at first");
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
                false,
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

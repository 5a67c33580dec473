//! Whether the controller stood still: told from a hole in the lines of boots that wait for health.
//!
//! Such a boot writes regularly: a check every two seconds or so, each of which may itself take as long as its time-out.
//! Where it is silent for longer and nobody else wrote either, and the very same boot goes on afterwards, it was not the
//! guest that was slow, but the controller that did nothing (it copies images while everything else waits). A wait that
//! simply ends without a word, which happens, is no hole: it does not go on.
//!
//! Pure: the log's own time decides, so history shows the same stalls.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::core::event::{Event, EventKind, Timestamp};

/// The controller waits two seconds between checks and stamps whole seconds.
const BETWEEN_MS: i64 = 3_000;
/// A check may take ten seconds in later versions.
const CHECK_MS: i64 = 12_000;
/// A longer hole is a log that was not written, or a clock that was set.
const LONGEST_MS: i64 = 60_000;
/// A wait that goes on so long after the hole's end was in it.
const GOES_ON_MS: i64 = 3_000;
/// Waits that are followed.
const MOST: usize = 256;

/// The controller did nothing from then until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    pub from: Timestamp,
    pub until: Timestamp,
}

/// A boot's wait: its last line, and how long it may be silent then.
#[derive(Clone, Copy, Debug)]
struct Wait {
    last: Timestamp,
    quiet_ms: i64,
}

/// Follows the waits.
#[derive(Debug, Default)]
pub struct Stalls {
    newest: Option<Timestamp>,
    waits: BTreeMap<Ipv4Addr, Wait>,
    /// A hole that is a stall if one of its waits goes on.
    hole: Option<Stall>,
}

impl Stalls {
    /// What was read before says nothing of what follows: part of the log is missing.
    pub fn interrupted(&mut self) {
        *self = Stalls::default();
    }

    pub fn observe(&mut self, event: &Event<'_>) -> Option<Stall> {
        if matches!(
            event.kind,
            EventKind::ControllerStarting
                | EventKind::ControllerStarted
                | EventKind::ControllerStopping
                | EventKind::ControllerCrashed
        ) {
            self.interrupted();
            return None;
        }
        let at = event.at;
        if let Some(newest) = self.newest
            && at.since(newest) > BETWEEN_MS
        {
            self.hole = Some(Stall {
                from: newest,
                until: at,
            });
        }
        self.newest = self.newest.max(Some(at));
        let (ip, quiet_ms) = next_of(&event.kind)?;
        let before = self.waits.remove(&ip);
        if let Some(quiet_ms) = quiet_ms {
            let forgotten = |wait: &Wait| at.since(wait.last) <= LONGEST_MS;
            if self.waits.len() >= MOST {
                self.waits.retain(|_, wait| forgotten(wait));
            }
            if self.waits.len() < MOST {
                self.waits.insert(ip, Wait { last: at, quiet_ms });
            }
        }
        let (hole, before) = (self.hole?, before?);
        if matches!(event.kind, EventKind::WaitStarted { .. }) {
            // Another boot at the same address.
            return None;
        }
        let was_in_it = before.last <= hole.from
            && at.since(before.last) <= LONGEST_MS
            && hole.until.since(before.last) > before.quiet_ms
            && at.since(hole.until) <= GOES_ON_MS;
        if was_in_it {
            self.hole = None;
        }
        was_in_it.then_some(hole)
    }
}

/// Whose wait an event belongs to, and how long it may be silent afterwards; `None`: it is over.
fn next_of(kind: &EventKind<'_>) -> Option<(Ipv4Addr, Option<i64>)> {
    match kind {
        EventKind::WaitStarted { ip, limits } => {
            let delay = i64::from(limits.initial_delay_ms);
            Some((*ip, Some(CHECK_MS + delay)))
        }
        // What follows an answer is a check of VNC in later versions.
        EventKind::AttemptStarted { ip, .. } | EventKind::AttemptAnswered { ip, .. } => {
            Some((*ip, Some(CHECK_MS)))
        }
        EventKind::AttemptFailed { ip, .. }
        | EventKind::AttemptRejected { ip, .. }
        | EventKind::VncNotReady { ip } => Some((*ip, Some(BETWEEN_MS))),
        EventKind::WaitReady { ip } | EventKind::WaitTimedOut { ip, .. } => Some((*ip, None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{AttemptError, Provenance, VmId};

    const ONE: Ipv4Addr = Ipv4Addr::new(192, 168, 100, 2);
    const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 100, 3);

    fn started(ip: Ipv4Addr) -> EventKind<'static> {
        EventKind::AttemptStarted {
            ip,
            elapsed_ms: Some(0),
        }
    }

    fn failed(ip: Ipv4Addr) -> EventKind<'static> {
        EventKind::AttemptFailed {
            ip,
            error: AttemptError::Refused,
            elapsed_ms: None,
        }
    }

    /// The stalls in a log of seconds and what was written then.
    fn stalls(log: &[(i64, EventKind<'static>)]) -> Vec<(i64, i64)> {
        let mut stalls = Stalls::default();
        log.iter()
            .filter_map(|(second, kind)| {
                stalls.observe(&Event {
                    at: Timestamp(second * 1_000),
                    provenance: Provenance::default(),
                    kind: *kind,
                    record: b"",
                })
            })
            .map(|stall| (stall.from.0 / 1_000, stall.until.0 / 1_000))
            .collect()
    }

    fn copied() -> EventKind<'static> {
        EventKind::StepDone {
            vm: VmId(9),
            step: 3,
            elapsed_ms: None,
            ip: None,
        }
    }

    #[test]
    fn a_wait_that_goes_on_after_a_silence_of_all_shows_a_stall() {
        let log = [
            (0, started(ONE)),
            (0, failed(ONE)),
            (2, started(ONE)),
            (2, failed(ONE)),
            (13, copied()),
            (13, started(ONE)),
            (13, failed(ONE)),
            (15, started(ONE)),
        ];
        assert_eq!(stalls(&log), [(2, 13)]);
    }

    #[test]
    fn two_boots_that_met_the_same_stall_show_it_once() {
        let log = [
            (0, failed(ONE)),
            (1, failed(OTHER)),
            (9, started(ONE)),
            (9, started(OTHER)),
        ];
        assert_eq!(stalls(&log), [(1, 9)]);
    }

    #[test]
    fn a_request_that_times_out_is_no_stall() {
        let log: Vec<_> = (0..8)
            .flat_map(|round| [(round * 12, started(ONE)), (round * 12 + 10, failed(ONE))])
            .collect();
        assert_eq!(stalls(&log), []);
    }

    #[test]
    fn a_wait_that_ends_without_a_word_is_no_stall() {
        let log = [
            (0, started(ONE)),
            (0, failed(ONE)),
            (20, copied()),
            (20, started(OTHER)),
            (20, failed(OTHER)),
        ];
        assert_eq!(stalls(&log), []);
    }

    #[test]
    fn silence_while_nobody_waits_a_restart_and_a_jump_are_no_stalls() {
        let over = EventKind::WaitReady { ip: ONE };
        assert_eq!(
            stalls(&[(0, started(ONE)), (0, over), (30, started(ONE))]),
            []
        );
        let restarted = [
            (0, failed(ONE)),
            (9, EventKind::ControllerStarting),
            (9, started(ONE)),
        ];
        assert_eq!(stalls(&restarted), []);
        assert_eq!(stalls(&[(0, failed(ONE)), (3_600, started(ONE))]), []);
        assert_eq!(stalls(&[(3_600, failed(ONE)), (0, started(ONE))]), []);
    }
}

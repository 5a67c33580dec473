//! The tracker's rules, one test each; events are built directly, no log is needed.

mod bounds;
mod creation;
mod guest;
mod keep;
mod probed;
mod properties;
mod requests;
mod restarts;
mod rows;
mod waits;

use std::net::Ipv4Addr;

use super::{Boot, Observation, Tracker};
use crate::core::event::{
    AttemptError, AttemptResult, Event, EventKind, Failure, Outcome, Provenance, SessionId,
    Timestamp, UserKey, VmId, VmType, WaitLimits,
};

/// 2025-10-18 01:52:07 UTC.
const START: i64 = 1_760_752_327_000;
const REFUSED: AttemptError = AttemptError::Refused;
/// `elapsed` of the six steps in `Story::created`.
const STEPS: [u32; 6] = [5, 12, 840, 850, 900, 1_400];

fn vm(number: u128) -> VmId {
    VmId(number)
}

fn user(number: u128) -> UserKey {
    UserKey(number)
}

fn session(number: u128) -> SessionId {
    SessionId(number)
}

fn ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 100, number)
}

/// A tracker, what it was told and what it said.
struct Story {
    tracker: Tracker,
    said: Vec<Observation>,
    told: u64,
}

fn create_failed<'a>(number: u128, error: &'a str, elapsed: u32) -> EventKind<'a> {
    EventKind::CreateFailed {
        vm: vm(number),
        user: Some(user(number)),
        vm_type: Some(VmType::Browser),
        error: error.as_bytes(),
        elapsed_ms: Some(elapsed),
        failed_at: None,
    }
}

impl Story {
    fn new() -> Story {
        let tracker = Tracker::new(|record, limit| {
            String::from_utf8_lossy(record)
                .chars()
                .take(limit)
                .collect()
        });
        Story {
            tracker,
            said: Vec::new(),
            told: 0,
        }
    }

    /// One event, `ms` after the story's start; its line's stamp has whole seconds, as in a log.
    fn tell(&mut self, ms: i64, kind: EventKind<'_>) -> &mut Story {
        self.told += 1;
        let event = Event {
            at: Timestamp(START + ms.div_euclid(1000) * 1000),
            provenance: Provenance {
                offset: self.told,
                ..Provenance::default()
            },
            kind,
            record: b"a record",
        };
        self.tracker.observe(&event, &mut self.said);
        self
    }

    fn create_started(&mut self, ms: i64, number: u128, vm_type: VmType) -> &mut Story {
        let kind = EventKind::CreateStarted {
            vm: vm(number),
            user: user(number),
            vm_type,
            started_at: Some(Timestamp(START + ms)),
        };
        self.tell(ms, kind)
    }

    fn step(
        &mut self,
        ms: i64,
        number: u128,
        step: u8,
        elapsed: u32,
        at: Option<u8>,
    ) -> &mut Story {
        let kind = EventKind::StepDone {
            vm: vm(number),
            step,
            elapsed_ms: Some(elapsed),
            ip: at.map(ip),
        };
        self.tell(ms, kind)
    }

    /// All of a creation up to `VM created successfully`, which comes 1,410 ms after `ms`.
    fn made(&mut self, ms: i64, number: u128, vm_type: VmType, address: u8) -> &mut Story {
        self.create_started(ms, number, vm_type);
        for (step, elapsed) in (1..).zip(STEPS) {
            let at = (step == 1).then_some(address);
            self.step(ms + i64::from(elapsed), number, step, elapsed, at);
        }
        let kind = EventKind::Created {
            vm: vm(number),
            ip: Some(ip(address)),
            vm_type: Some(vm_type),
            total_ms: Some(1_410),
        };
        self.tell(ms + 1_410, kind)
    }

    /// A browser VM created and handed over to its session, 1,420 ms after `ms`.
    fn created(&mut self, ms: i64, number: u128, address: u8) -> &mut Story {
        self.made(ms, number, VmType::Browser, address);
        let kind = EventKind::HandedOver {
            vm: vm(number),
            user: user(number),
            session: session(number),
            ip: Some(ip(address)),
        };
        self.tell(ms + 1_420, kind)
    }

    fn wait(&mut self, ms: i64, address: u8) -> &mut Story {
        let limits = WaitLimits {
            deadline_ms: Some(15_000),
            initial_delay_ms: 0,
        };
        let kind = EventKind::WaitStarted {
            ip: ip(address),
            limits,
        };
        self.tell(ms, kind)
    }

    /// An attempt begun `elapsed` after its wait's start at `from`.
    fn attempt(&mut self, from: i64, address: u8, elapsed: u32) -> &mut Story {
        let kind = EventKind::AttemptStarted {
            ip: ip(address),
            elapsed_ms: Some(elapsed),
        };
        self.tell(from + i64::from(elapsed), kind)
    }

    fn fails(&mut self, from: i64, address: u8, elapsed: u32, error: AttemptError) -> &mut Story {
        self.attempt(from, address, elapsed);
        let kind = EventKind::AttemptFailed {
            ip: ip(address),
            error,
            elapsed_ms: Some(elapsed + 3),
        };
        self.tell(from + i64::from(elapsed) + 3, kind)
    }

    /// Refusals every two seconds, `count` of them from the wait's start at `from`.
    fn refusals(&mut self, from: i64, address: u8, count: u32) -> &mut Story {
        for number in 0..count {
            self.fails(from, address, number * 2_000, REFUSED);
        }
        self
    }

    /// An attempt that gets 200 and ends the wait.
    fn answers(&mut self, from: i64, address: u8, elapsed: u32) -> &mut Story {
        self.attempt(from, address, elapsed);
        let at = from + i64::from(elapsed) + 20;
        let address = ip(address);
        self.tell(
            at,
            EventKind::AttemptAnswered {
                ip: address,
                status: 200,
            },
        );
        self.tell(at, EventKind::WaitReady { ip: address })
    }

    fn timed_out(&mut self, ms: i64, address: u8) -> &mut Story {
        let kind = EventKind::WaitTimedOut {
            ip: ip(address),
            deadline_ms: Some(15_000),
        };
        self.tell(ms, kind)
    }

    fn flow_failed(&mut self, ms: i64, number: u128, error: &str) -> &mut Story {
        let kind = EventKind::FlowFailed {
            session: session(number),
            user: user(number),
            error: error.as_bytes(),
        };
        self.tell(ms, kind)
    }

    fn advance(&mut self, ms: i64) -> &mut Story {
        self.tracker.advance(Timestamp(START + ms), &mut self.said);
        self
    }

    /// The boot's end, if it has been told.
    fn end_of(&self, number: u128) -> Option<&Boot> {
        let mut ends = self.said.iter().filter_map(|said| match said {
            Observation::BootEnded(boot) if boot.vm == Some(vm(number)) => Some(&**boot),
            _ => None,
        });
        let first = ends.next();
        assert!(ends.next().is_none(), "a boot ends once");
        first
    }

    fn outcome(&self, number: u128) -> Option<(Outcome, Option<Failure>)> {
        let boot = self.end_of(number)?;
        Some((boot.outcome.expect("an ended boot has one"), boot.failure))
    }

    /// Ends the log and hands out the boots in the order of their first record.
    fn finish(&mut self) -> Vec<Boot> {
        self.tracker.finish(&mut self.said);
        let mut boots: Vec<Boot> = self
            .said
            .iter()
            .filter_map(|said| match said {
                Observation::BootSettled(boot) => Some((**boot).clone()),
                _ => None,
            })
            .collect();
        boots.sort_by_key(|boot| boot.first);
        boots
    }

    fn settled(&mut self, number: u128) -> Boot {
        let mut boots = self.finish();
        boots.retain(|boot| boot.vm == Some(vm(number)));
        assert_eq!(boots.len(), 1, "the boot is handed out once");
        boots.remove(0)
    }
}

fn count(boot: &Boot, result: AttemptResult) -> u32 {
    boot.attempts
        .iter()
        .find(|(known, _)| *known == result)
        .map_or(0, |(_, count)| *count)
}

const READY: Option<(Outcome, Option<Failure>)> = Some((Outcome::Ready, None));
const CANCELLED: Option<(Outcome, Option<Failure>)> = Some((Outcome::Cancelled, None));
const RESTARTED: Option<(Outcome, Option<Failure>)> =
    Some((Outcome::Lost, Some(Failure::ControllerRestarted)));

fn failed(failure: Failure) -> Option<(Outcome, Option<Failure>)> {
    Some((Outcome::Failed, Some(failure)))
}

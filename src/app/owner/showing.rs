//! What the owner shows of how things stand: to operators, the web, our own account's task, and the metrics.

use std::sync::Arc;

use super::{Owner, SOURCE};
use crate::app::database::Existing;
use crate::app::facts::Sighted;
use crate::app::{alertmanager, live};
use crate::clock;
use crate::core::event::VmType;
use crate::core::synthetic::{Room, RowsSeen};
use crate::export::{ReadFigures, SourceFigures};

impl Owner {
    /// Shows operators, and those that are shown the state, how things stand.
    pub(super) fn show_operators(&mut self) {
        self.operators_due = false;
        let now = self.clock.now();
        let (silences, acknowledged) = self.desk.figures(now);
        let maintenance = self.desk.maintenance_at(now).is_some();
        self.recorder.operators(silences, acknowledged, maintenance);
        let mut view = self.desk.view(now);
        view.update(self.engine.incidents());
        self.shown_as_of = self.engine.learned();
        self.reach.view.send_replace(Arc::new(view));
        if let Some(shown) = &self.reach.shown {
            shown.send_replace(alertmanager::state(&self.engine, &self.desk, now));
        }
    }

    /// Ready is who has found the log and read it to its end once, can read on, and can keep what follows.
    pub(super) fn show_readiness(&self) {
        let (path, error) = &self.log.cause;
        let unwritable = self.reach.health.store_failing().is_some();
        let missing = self.log.was_caught_up && !self.log.trouble && !self.log.is_there();
        let log = self.reach.known.log();
        let reasons = [
            (
                !self.log.was_caught_up && !self.log.trouble,
                "the log is not read to its end yet".to_owned(),
            ),
            (
                missing,
                format!("the log does not exist: {log} (check log.file)"),
            ),
            (
                self.log.trouble,
                format!("the log cannot be read: {path}: {error}"),
            ),
            (
                self.log.is_read_without_a_name(),
                format!(
                    "the log was moved or removed: {log} (put it back, or restart the controller; what it still writes is \
                     read until then)"
                ),
            ),
            (unwritable, "the store cannot be written".to_owned()),
        ];
        let reasons = reasons.into_iter().filter(|(holds, _)| *holds);
        self.reach
            .ready_unless(reasons.map(|(_, reason)| reason).collect());
    }

    /// Shows the web how things stand.
    pub(super) fn show_live(&mut self) {
        self.live_due = false;
        let tail = self.log.stats.borrow().clone();
        let note = match (self.log.trouble, self.log.up, self.log.caught_up.is_some()) {
            (true, ..) => format!("cannot be read: {}", self.log.cause.1),
            _ if self.log.is_read_without_a_name() => {
                "moved or removed; what is still written to it is read".to_owned()
            }
            (false, false, _) => "does not exist yet".to_owned(),
            (false, true, true) => "read to its end".to_owned(),
            (false, true, false) => format!("{} bytes behind", tail.lag_bytes),
        };
        let live = live::of(
            &self.reach.known,
            live::Standing {
                at: self.clock.now(),
                now: clock::monotonic(),
                log_seen: self.log.seen_at,
                log_newest: self.reader.newest(),
                log_note: note,
                tracker: &self.tracker,
                ended: self.gather.ended_lately().cloned().collect(),
                engine: &self.engine,
                existing: self.existing.as_ref(),
                image: self.image.told(),
                health: &self.reach.health,
            },
        );
        self.reach.live.send_replace(Arc::new(live));
    }

    /// Shows what the log tells of our own account, and the room that there is for another boot.
    pub(super) fn show_own(&mut self) {
        let now = self.clock.now();
        let running = match &self.existing {
            Some(existing) => existing.running(),
            // Without rows only boots in flight are known.
            None => self
                .tracker
                .in_flight()
                .filter(|(kind, _)| *kind == VmType::Browser)
                .count(),
        };
        let room = Room {
            followed: self.log.is_followed(clock::monotonic()),
            sighted: self.log.is_seen(),
            rows: match self.existing.as_ref().map(Existing::sighted) {
                None => RowsSeen::NoDatabase,
                Some(Sighted::Fully) => RowsSeen::Seen,
                Some(Sighted::Unknown | Sighted::Not(_)) => RowsSeen::Hidden,
            },
            maintenance: self.desk.maintenance_at(now).is_some(),
            running: running as u64,
            free: self.existing.as_ref().and_then(Existing::free),
        };
        if let Some(own) = &mut self.own {
            own.show(room);
        }
    }

    pub(super) fn show_gauges(&mut self) {
        let Owner {
            recorder,
            tracker,
            engine,
            reader,
            log,
            before,
            ..
        } = self;
        recorder.tracker(&tracker.counts(), !log.history);
        recorder.in_flight(tracker.users_in_flight(), engine.overdue());
        recorder.alerts(engine.alerts());
        let reads = reader.counts();
        recorder.reads(
            SOURCE,
            &ReadFigures {
                unparsed: reads.unparsed - before.1.unparsed,
                unknown: reads.unknown - before.1.unknown,
                newest: reader.newest(),
            },
        );
        let tail = log.stats.borrow().clone();
        recorder.source(
            SOURCE,
            &SourceFigures {
                up: log.up,
                lines: tail.lines,
                bytes: tail.bytes,
                rotations: tail.rotations,
                truncations: tail.truncations,
                losses: tail.losses,
                lag_bytes: tail.lag_bytes,
            },
        );
    }
}

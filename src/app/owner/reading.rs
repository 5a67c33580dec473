//! The log as it is read: its records through the core, and how far and how well it can be read.

use super::hearing::Apart;
use super::{Owner, SILENCE};
use crate::app::place::SourceEvent;
use crate::clock::{self, millis};
use crate::controller::reader::Reader;
use crate::core::boot::{LogSight, Observation};
use crate::core::event::{Event, Timestamp};

impl Owner {
    /// Takes what the log's source tells.
    pub(super) fn source_event(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Chunk {
                generation,
                offset,
                bytes,
                after,
                history,
            } => {
                self.chunk(generation, offset, &bytes, history);
                self.gather.read_to(after);
            }
            SourceEvent::EndOfFile { generation } if self.generation == Some(generation) => {
                self.read(|reader, mut sink| reader.finish(&mut sink));
            }
            SourceEvent::EndOfFile { .. } | SourceEvent::Rotated { .. } => {}
            SourceEvent::CaughtUp { after } => {
                // A first start is over when there was nothing to read, too.
                if let Some(after) = after {
                    self.gather.read_to(after);
                }
                self.caught_up();
            }
            SourceEvent::Truncated {
                generation,
                becomes,
                read_to,
            } => {
                tracing::warn!(
                    generation,
                    becomes,
                    read_to,
                    "the log was truncated; what it held unread is lost"
                );
                self.part_is_lost();
            }
            SourceEvent::Lost { after, reason } => {
                tracing::warn!(
                    ?after,
                    reason = reason.as_str(),
                    "part of the log vanished unread"
                );
                self.part_is_lost();
            }
            SourceEvent::Trouble { path, error } => {
                tracing::error!(path = %path.display(), error, "the log cannot be read; retrying");
                self.log.cause = (path.display().to_string(), error);
                self.log_can_be_read(false);
            }
            SourceEvent::Recovered => {
                tracing::info!("the log can be read again");
                self.log_can_be_read(true);
            }
        }
    }

    fn chunk(&mut self, generation: u32, offset: u64, bytes: &[u8], history: bool) {
        let (live, newest) = (
            !history && self.log.caught_up.is_some(),
            self.reader.newest(),
        );
        self.log.history = history;
        self.log.up = true;
        self.log.falls_behind(clock::monotonic());
        if !history {
            self.watch.heard(clock::monotonic());
        }
        if self.generation != Some(generation) {
            self.generation = Some(generation);
            self.read(|reader, mut sink| reader.begin_file(generation, offset, &mut sink));
        }
        self.read(|reader, mut sink| reader.push(bytes, &mut sink));
        if let Some(at) = self.reader.passed_at() {
            self.tracker.goes_on(at, &mut self.observations);
            self.observed();
        }
        if let Some(at) = self
            .reader
            .newest()
            .filter(|at| live && Some(*at) != newest)
        {
            self.watch.stamped(at.since(clock::now()));
        }
        self.flush_at = self
            .reader
            .has_pending()
            .then(|| clock::monotonic() + SILENCE);
    }

    /// The log is read to its end.
    fn caught_up(&mut self) {
        self.log.caught_up = Some(clock::monotonic());
        self.log.history = false;
        self.gather.caught_up();
        // An earlier run may have left a record that waited for more.
        if self.flush_at.is_none() && self.reader.has_pending() {
            self.flush_at = Some(clock::monotonic() + SILENCE);
        }
        self.caught_up_with_downtime();
        // Caught up with a log that is not there: it may come, or its name is wrong.
        let exists = self.log.is_there();
        if !exists {
            tracing::warn!(
                path = self.reach.known.log(),
                "the log does not exist yet; waiting for it (check log.file)"
            );
        }
        self.log.up = exists;
        if exists {
            self.log.seen_at = Some(self.clock.now());
        }
        self.log.was_caught_up = true;
        self.show_readiness();
    }

    fn part_is_lost(&mut self) {
        self.seen.lost();
        self.stalls.interrupted();
    }

    fn log_can_be_read(&mut self, can: bool) {
        self.log.up = can;
        self.log.trouble = !can;
        self.show_readiness();
        self.engine
            .set_blind(!can, self.clock.now(), &mut self.effects);
    }

    /// Lets the reader work and takes every event through the core at once.
    pub(super) fn read(&mut self, work: impl FnOnce(&mut Reader, &mut dyn FnMut(&Event<'_>))) {
        let (apart, mut hearing) = self.apart();
        let Apart {
            reader,
            tracker,
            existing,
            stalls,
            seen,
            observations,
        } = apart;
        reader.reads_at(clock::now());
        work(reader, &mut |event| {
            seen.read(event.at, !hearing.live);
            if let Some(stall) = stalls.observe(event) {
                hearing.stalled(stall);
            }
            tracker.observe(event, observations);
            if let Some(existing) = existing {
                existing.log_says(event);
            }
            hearing.log_says(event);
            for observation in observations.drain(..) {
                hearing.trace(&observation);
                hearing.hear(&observation, existing.as_mut());
            }
        });
    }

    /// Takes on what the tracker says without a record.
    pub(super) fn observed(&mut self) {
        let (apart, mut hearing) = self.apart();
        for observation in apart.observations.drain(..) {
            // Of our own account's boots only those of a VM: a request that never had one could be taken for a newer one.
            if matches!(&observation, Observation::BootEnded(boot) if boot.vm.is_some()) {
                hearing.trace(&observation);
            }
            hearing.hear(&observation, apart.existing.as_mut());
        }
    }

    /// How far the log was read, for rows that wait for its word.
    pub(super) fn log_sight(&self) -> LogSight {
        match self.log.looked_at() {
            _ if self.log.trouble => LogSight::Blind,
            Some(_) if !self.log.up => LogSight::Blind,
            Some(at) => {
                let ago = millis(clock::monotonic().saturating_duration_since(at));
                LogSight::ReadTo(self.clock.now().plus_ms(-ago))
            }
            None => LogSight::ReadTo(self.reader.newest().unwrap_or(Timestamp::MIN)),
        }
    }
}

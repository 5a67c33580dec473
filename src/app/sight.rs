//! What was seen: the stretches of time of which everything that the log held was read, for the report's coverage.
//!
//! ```text
//!   read to its end ─► a stretch begins, or goes on ─► (every minute) it reaches until now
//!                            ▲                                │
//!                            └── behind, away, down: waits ◄──┤  what is read later was seen, too
//!                                                             └─► lost, or no rows seen: it ends
//! ```
//!
//! A stretch goes on over a time in which nothing ran, if the log of that time was read whole afterwards. It ends where
//! part of the log vanished unread, and where the controller's rows could not be seen for longer than [`PATIENCE_MS`].

use std::ops::Range;

use crate::core::event::Timestamp;
use crate::store::{Saved, StateChange};

/// The kind of state in the store: by where a stretch begins, where it ends.
pub(super) const SEEN: &str = "seen";
/// A stretch is written this often.
const WRITTEN_MS: i64 = 60_000;
const PATIENCE_MS: i64 = 120_000;
/// Older stretches than this many go: years of weekly gaps.
const MOST: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Where stretches begin, oldest first; the last is the present one where `open`.
    begins: Vec<Timestamp>,
    open: Option<Range<Timestamp>>,
    /// Where the oldest record lies that was read before the log was read to its end for the first time.
    oldest: Option<Timestamp>,
    blind_since: Option<Timestamp>,
    written: Option<Timestamp>,
}

impl Seen {
    pub(super) fn restore(saved: &Saved) -> Seen {
        let moment = |text: &str| text.parse().ok().map(Timestamp);
        let stretches = saved.of_kind(SEEN);
        let mut stretches: Vec<Range<Timestamp>> = stretches
            .filter_map(|(since, until)| Some(moment(since)?..moment(until)?))
            .collect();
        stretches.sort_by_key(|stretch| stretch.start);
        Seen {
            begins: stretches.iter().map(|stretch| stretch.start).collect(),
            open: stretches.pop(),
            ..Seen::default()
        }
    }

    /// A record was read; the first ones say how far back the log goes.
    pub(super) fn read(&mut self, at: Timestamp) {
        if self.open.is_none() && self.oldest.is_none_or(|oldest| at < oldest) {
            self.oldest = Some(at);
        }
    }

    /// Part of the log vanished unread: what comes is another stretch.
    pub(super) fn lost(&mut self) {
        self.open = None;
        self.oldest = None;
    }

    /// What holds now; what is to be written, if anything.
    pub(super) fn look(
        &mut self,
        now: Timestamp,
        read_to_its_end: bool,
        rows_hidden: bool,
    ) -> Vec<StateChange> {
        match (rows_hidden, self.blind_since) {
            (false, _) => self.blind_since = None,
            (true, None) => self.blind_since = Some(now),
            (true, Some(since)) if now.since(since) > PATIENCE_MS => {
                self.lost();
                return Vec::new();
            }
            (true, Some(_)) => {}
        }
        if !read_to_its_end {
            return Vec::new();
        }
        let mut changes = Vec::new();
        let fresh = self.open.is_none();
        let stretch = self.open.get_or_insert_with(|| {
            let begin = self.oldest.unwrap_or(now).min(now);
            begin..now
        });
        // A clock that is set back takes nothing back.
        stretch.end = stretch.end.max(now);
        if fresh {
            self.begins.push(stretch.start);
            if self.begins.len() > MOST {
                changes.push(change(self.begins.remove(0), None));
            }
        }
        let behind = |written: Timestamp| now.since(written) >= WRITTEN_MS || now < written;
        if fresh || self.written.is_none_or(behind) {
            self.written = Some(now);
            changes.push(change(stretch.start, Some(stretch.end)));
        }
        changes
    }

    /// Everything, for a store that was begun anew: the present stretch, as nothing else is in memory.
    pub(super) fn save_everything(&mut self) {
        self.written = None;
    }
}

fn change(begin: Timestamp, end: Option<Timestamp>) -> StateChange {
    StateChange {
        kind: SEEN,
        key: begin.0.to_string(),
        value: end.map(|end| end.0.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const START: Timestamp = Timestamp(1_760_000_000_000);

    fn after(minutes: i64) -> Timestamp {
        START.plus_ms(minutes * MINUTE)
    }

    fn stretches(changes: &[StateChange]) -> Vec<(i64, Option<i64>)> {
        let minutes = |text: &str| (text.parse::<i64>().unwrap() - START.0) / MINUTE;
        changes
            .iter()
            .map(|change| (minutes(&change.key), change.value.as_deref().map(minutes)))
            .collect()
    }

    fn saved(stretches: &[(i64, i64)]) -> Saved {
        let mut saved = Saved::default();
        for (since, until) in stretches {
            saved
                .state
                .entry(SEEN.to_owned())
                .or_default()
                .insert(after(*since).0.to_string(), after(*until).0.to_string());
        }
        saved
    }

    #[test]
    fn a_first_start_has_seen_as_far_back_as_the_log_goes() {
        let mut seen = Seen::default();
        seen.read(after(-300));
        seen.read(after(-10));
        assert!(
            seen.look(after(0), false, false).is_empty(),
            "not read to its end"
        );
        let changes = seen.look(after(1), true, false);
        assert_eq!(stretches(&changes), [(-300, Some(1))]);
        assert!(seen.look(after(1).plus_ms(30_000), true, false).is_empty());
        assert_eq!(
            stretches(&seen.look(after(2), true, false)),
            [(-300, Some(2))]
        );
    }

    #[test]
    fn what_is_read_later_was_seen_too_and_what_was_lost_was_not() {
        let mut seen = Seen::restore(&saved(&[(-100, -60)]));
        seen.read(after(-59));
        let changes = seen.look(after(0), true, false);
        assert_eq!(
            stretches(&changes),
            [(-100, Some(0))],
            "an hour off, and read whole"
        );
        let mut seen = Seen::restore(&saved(&[(-100, -60)]));
        seen.lost();
        seen.read(after(-5));
        let changes = seen.look(after(0), true, false);
        assert_eq!(stretches(&changes), [(-5, Some(0))], "a gap of 55 minutes");
    }

    #[test]
    fn rows_that_are_hidden_end_a_stretch_only_when_it_lasts() {
        let mut seen = Seen::default();
        seen.look(after(0), true, false);
        seen.look(after(10), true, true);
        assert_eq!(
            stretches(&seen.look(after(11), true, true)),
            [(0, Some(11))]
        );
        assert!(seen.look(after(13), true, true).is_empty());
        let changes = seen.look(after(30), true, false);
        assert_eq!(stretches(&changes), [(30, Some(30))]);
    }

    #[test]
    fn a_clock_that_is_set_back_takes_nothing_back() {
        let mut seen = Seen::default();
        seen.look(after(60), true, false);
        let changes = seen.look(after(0), true, false);
        assert_eq!(stretches(&changes), [(60, Some(60))]);
    }
}

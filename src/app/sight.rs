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
//!
//! Two more kinds stand beside it, as neither is all well. What was read as history, before a first start, was seen, but
//! nobody would have been paged then. And a controller that runs writes every few minutes: where it wrote nothing for
//! longer than its silence is tolerated, history was not seen, and live it is known to have been silent.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::core::event::Timestamp;
use crate::store::{Saved, StateChange};

/// The kind of state in the store: by where a stretch begins, where it ends.
pub(super) const SEEN: &str = "seen";
/// The same of what was history to this sidecar, and of the controller's silences.
pub(super) const HISTORY: &str = "history";
pub(super) const SILENT: &str = "silent";
/// A stretch is written this often.
const WRITTEN_MS: i64 = 60_000;
const PATIENCE_MS: i64 = 120_000;
/// Older stretches than this many go: years of weekly gaps.
const MOST: usize = 1_000;

#[derive(Debug)]
pub(super) struct Seen {
    /// The longest silence that is none; `None`: whoever turned the rule off expects any.
    tolerated_ms: Option<i64>,
    seen: Kept,
    unwatched: Kept,
    silent: Kept,
    open: Option<Range<Timestamp>>,
    /// What was read before the log was read to its end for the first time: of history one for each time between two
    /// silences.
    runs: Vec<Range<Timestamp>>,
    /// Some of it was history.
    history: bool,
    /// The last record's time.
    last: Option<Timestamp>,
    /// Silences that are over and not written yet.
    over: Vec<Range<Timestamp>>,
    blind_since: Option<Timestamp>,
    written: Option<Timestamp>,
    /// The store was begun anew, and has none of it.
    anew: bool,
}

/// The stretches of a kind that the store has: by where each begins, where it ends.
#[derive(Debug)]
struct Kept {
    kind: &'static str,
    stretches: BTreeMap<Timestamp, Timestamp>,
}

impl Kept {
    fn restore(saved: &Saved, kind: &'static str) -> Kept {
        let moment = |text: &str| text.parse().ok().map(Timestamp);
        let stretches = saved.of_kind(kind);
        Kept {
            kind,
            stretches: stretches
                .filter_map(|(since, until)| Some((moment(since)?, moment(until)?)))
                .collect(),
        }
    }

    fn write(&mut self, one: &Range<Timestamp>, out: &mut Vec<StateChange>) {
        self.stretches.insert(one.start, one.end);
        out.push(change(self.kind, one.start, Some(one.end)));
        if self.stretches.len() > MOST
            && let Some((oldest, _)) = self.stretches.pop_first()
        {
            out.push(change(self.kind, oldest, None));
        }
    }

    fn write_all(&self, out: &mut Vec<StateChange>) {
        let all = self.stretches.iter();
        out.extend(all.map(|(since, until)| change(self.kind, *since, Some(*until))));
    }
}

impl Seen {
    /// `last` is the last record that was read, `tolerated_ms` how long the controller may be silent.
    pub(super) fn restore(
        saved: &Saved,
        last: Option<Timestamp>,
        tolerated_ms: Option<i64>,
    ) -> Seen {
        let seen = Kept::restore(saved, SEEN);
        let open = seen.stretches.last_key_value();
        Seen {
            tolerated_ms,
            open: open.map(|(since, until)| *since..*until),
            seen,
            unwatched: Kept::restore(saved, HISTORY),
            silent: Kept::restore(saved, SILENT),
            runs: Vec::new(),
            history: false,
            last,
            over: Vec::new(),
            blind_since: None,
            written: None,
            anew: false,
        }
    }

    fn is_silence(&self, ms: i64) -> bool {
        self.tolerated_ms.is_some_and(|tolerated| ms > tolerated)
    }

    /// A record was read; the first ones say how far back the log goes.
    pub(super) fn read(&mut self, at: Timestamp, history: bool) {
        let silence = self.last.replace(at).map(|last| last..at);
        let silence = silence.filter(|one| self.is_silence(one.end.since(one.start)));
        let Some(open) = &self.open else {
            self.history |= history;
            let splits = self.history && silence.is_some();
            match self.runs.last_mut().filter(|_| !splits) {
                Some(run) => *run = run.start.min(at)..run.end.max(at),
                None => self.runs.push(at..at),
            }
            if self.runs.len() > MOST {
                self.runs.remove(0);
            }
            if !self.history {
                self.over.extend(silence);
            }
            return;
        };
        // What of it lies before the stretch was history's, and not seen.
        let silence = silence.map(|one| one.start.max(open.start)..one.end);
        let silence = silence.filter(|one| self.is_silence(one.end.since(one.start)));
        self.over.extend(silence);
    }

    /// Part of the log vanished unread: what comes is another stretch.
    pub(super) fn lost(&mut self) {
        self.open = None;
        self.runs.clear();
        // What vanished was no silence.
        self.last = None;
    }

    /// What holds now; what is to be written, if anything. `silent_ms`: so long the log has been silent, as far as this
    /// run knows.
    pub(super) fn look(
        &mut self,
        now: Timestamp,
        read_to_its_end: bool,
        rows_hidden: bool,
        silent_ms: i64,
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
        for silence in std::mem::take(&mut self.over) {
            let silence = silence.start..silence.end.min(now);
            if silence.start < silence.end {
                self.silent.write(&silence, &mut changes);
            }
        }
        let fresh = self.open.is_none();
        let mut stretch = match self.open.take() {
            Some(stretch) => stretch,
            None => self.begin(now, &mut changes)..now,
        };
        // A clock that is set back takes nothing back.
        stretch.end = stretch.end.max(now);
        self.open = Some(stretch.clone());
        let behind = |written: Timestamp| now.since(written) >= WRITTEN_MS || now < written;
        if fresh || self.written.is_none_or(behind) {
            self.written = Some(now);
            self.seen.write(&stretch, &mut changes);
            if std::mem::take(&mut self.anew) {
                for kept in [&self.seen, &self.unwatched, &self.silent] {
                    kept.write_all(&mut changes);
                }
            }
            if self.is_silence(silent_ms) {
                let silence = now.plus_ms(-silent_ms)..now;
                self.silent_since(silence, &mut changes);
            }
        }
        changes
    }

    /// The one that goes on keeps its beginning, although two clocks tell it.
    fn silent_since(&mut self, mut silence: Range<Timestamp>, changes: &mut Vec<StateChange>) {
        let near = silence.start.plus_ms(-WRITTEN_MS)..=silence.start.plus_ms(WRITTEN_MS);
        if let Some((begin, _)) = self.silent.stretches.range(near).next_back() {
            silence.start = *begin;
        }
        self.silent.write(&silence, changes);
    }

    /// When a stretch begins: with what was read up to now.
    fn begin(&mut self, now: Timestamp, changes: &mut Vec<StateChange>) -> Timestamp {
        let mut runs = std::mem::take(&mut self.runs);
        let from = runs.iter().map(|run| run.start).min().unwrap_or(now);
        let history = std::mem::take(&mut self.history);
        let went_on = |run: &Range<Timestamp>| !history || !self.is_silence(now.since(run.end));
        let begin = match runs.last().filter(|run| went_on(run)) {
            Some(run) => {
                let begin = run.start.min(now);
                runs.pop();
                begin
            }
            None => now,
        };
        for run in runs.iter().filter(|run| run.start < run.end.min(now)) {
            self.seen.write(&(run.start..run.end.min(now)), changes);
        }
        if history && from < now {
            self.unwatched.write(&(from..now), changes);
        }
        begin
    }

    /// Everything, for a store that was begun anew.
    pub(super) fn save_everything(&mut self) {
        self.written = None;
        self.anew = true;
    }
}

fn change(kind: &'static str, begin: Timestamp, end: Option<Timestamp>) -> StateChange {
    StateChange {
        kind,
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

    fn first(tolerated_ms: Option<i64>) -> Seen {
        Seen::restore(&Saved::default(), None, tolerated_ms)
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
        let mut seen = first(None);
        seen.read(after(-300), false);
        seen.read(after(-10), false);
        assert!(
            seen.look(after(0), false, false, 0).is_empty(),
            "not read to its end"
        );
        let changes = seen.look(after(1), true, false, 0);
        assert_eq!(stretches(&changes), [(-300, Some(1))]);
        assert!(
            seen.look(after(1).plus_ms(30_000), true, false, 0)
                .is_empty()
        );
        assert_eq!(
            stretches(&seen.look(after(2), true, false, 0)),
            [(-300, Some(2))]
        );
    }

    #[test]
    fn what_is_read_later_was_seen_too_and_what_was_lost_was_not() {
        let mut seen = Seen::restore(&saved(&[(-100, -60)]), None, None);
        seen.read(after(-59), false);
        let changes = seen.look(after(0), true, false, 0);
        assert_eq!(
            stretches(&changes),
            [(-100, Some(0))],
            "an hour off, and read whole"
        );
        let mut seen = Seen::restore(&saved(&[(-100, -60)]), None, None);
        seen.lost();
        seen.read(after(-5), false);
        let changes = seen.look(after(0), true, false, 0);
        assert_eq!(stretches(&changes), [(-5, Some(0))], "a gap of 55 minutes");
    }

    #[test]
    fn rows_that_are_hidden_end_a_stretch_only_when_it_lasts() {
        let mut seen = first(None);
        seen.look(after(0), true, false, 0);
        seen.look(after(10), true, true, 0);
        assert_eq!(
            stretches(&seen.look(after(11), true, true, 0)),
            [(0, Some(11))]
        );
        assert!(seen.look(after(13), true, true, 0).is_empty());
        let changes = seen.look(after(30), true, false, 0);
        assert_eq!(stretches(&changes), [(30, Some(30))]);
    }

    #[test]
    fn a_clock_that_is_set_back_takes_nothing_back() {
        let mut seen = first(None);
        seen.look(after(60), true, false, 0);
        let changes = seen.look(after(0), true, false, 0);
        assert_eq!(stretches(&changes), [(60, Some(60))]);
    }

    fn of_kind(changes: &[StateChange], kind: &str) -> Vec<(i64, Option<i64>)> {
        let changes = changes.iter().filter(|change| change.kind == kind);
        stretches(&changes.cloned().collect::<Vec<_>>())
    }

    fn tolerant(minutes: i64) -> Seen {
        first(Some(minutes * MINUTE))
    }

    #[test]
    fn history_was_not_watched_and_its_silences_were_not_seen() {
        let mut seen = tolerant(11);
        for minute in [-300, -290, -120, -110, -100, -3] {
            seen.read(after(minute), true);
        }
        let changes = seen.look(after(0), true, false, 0);
        let expected = [(-300, Some(-290)), (-120, Some(-100)), (-3, Some(0))];
        assert_eq!(of_kind(&changes, SEEN), expected);
        assert_eq!(of_kind(&changes, HISTORY), [(-300, Some(0))]);
        assert!(of_kind(&changes, SILENT).is_empty());
        // A log that ended days before the first start.
        let mut seen = tolerant(11);
        seen.read(after(-300), true);
        seen.read(after(-295), true);
        let changes = seen.look(after(0), true, false, 0);
        let expected = [(-300, Some(-295)), (0, Some(0))];
        assert_eq!(of_kind(&changes, SEEN), expected);
        // Of the silence that a first live record ends, only what was watched is one.
        let mut soon = tolerant(11);
        soon.read(after(-300), true);
        soon.look(after(0), true, false, 0);
        soon.read(after(10), false);
        let changes = soon.look(after(10), true, false, 0);
        assert!(of_kind(&changes, SILENT).is_empty());
        seen.read(after(30), false);
        let changes = seen.look(after(30), true, false, 0);
        assert_eq!(of_kind(&changes, SILENT), [(0, Some(30))]);
        // And one that comes before the first look after history belongs to neither of its ends.
        let mut seen = tolerant(11);
        seen.read(after(-300), true);
        seen.read(after(-295), true);
        seen.read(after(-1), false);
        let changes = seen.look(after(0), true, false, 0);
        let expected = [(-300, Some(-295)), (-1, Some(0))];
        assert_eq!(of_kind(&changes, SEEN), expected);
        assert!(of_kind(&changes, SILENT).is_empty());
    }

    #[test]
    fn a_store_that_was_begun_anew_is_told_what_was_not_watched_too() {
        let mut seen = tolerant(11);
        for minute in [-300, -10] {
            seen.read(after(minute), true);
        }
        seen.look(after(0), true, false, 0);
        seen.read(after(30), false);
        seen.look(after(30), true, false, 0);
        seen.save_everything();
        let changes = seen.look(after(31), true, false, 0);
        assert_eq!(of_kind(&changes, HISTORY), [(-300, Some(0))]);
        assert_eq!(of_kind(&changes, SILENT), [(-10, Some(30))]);
        assert!(of_kind(&changes, SEEN).contains(&(-10, Some(31))));
        // Once.
        let changes = seen.look(after(33), true, false, 0);
        assert_eq!(stretches(&changes), [(-10, Some(33))]);
    }

    #[test]
    fn what_is_read_after_a_checkpoint_was_watched_and_its_silences_are_known() {
        let saved = saved(&[(-100, -60)]);
        let mut seen = Seen::restore(&saved, Some(after(-61)), Some(11 * MINUTE));
        for minute in [-55, -30, -20] {
            seen.read(after(minute), false);
        }
        let changes = seen.look(after(0), true, false, 0);
        assert_eq!(of_kind(&changes, SEEN), [(-100, Some(0))]);
        assert_eq!(of_kind(&changes, SILENT), [(-55, Some(-30))]);
        assert!(of_kind(&changes, HISTORY).is_empty());
        // One that goes on is one, until a record ends it.
        let changes = seen.look(after(12), true, false, 12 * MINUTE);
        assert_eq!(of_kind(&changes, SILENT), [(0, Some(12))]);
        let changes = seen.look(after(14), true, false, 14 * MINUTE + 1);
        assert_eq!(of_kind(&changes, SILENT), [(0, Some(14))]);
        seen.read(after(15), false);
        let changes = seen.look(after(16), true, false, 0);
        assert_eq!(of_kind(&changes, SILENT), [(-20, Some(15))]);
        // What vanished unread was no silence.
        seen.lost();
        seen.read(after(90), false);
        let changes = seen.look(after(90), true, false, 0);
        assert!(of_kind(&changes, SILENT).is_empty());
    }
}

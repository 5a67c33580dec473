//! What is known of the log: whether it can be read, and up to when it was read to its end.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::core::event::Timestamp;
use crate::source::tail::TailStats;

/// For so long the pages, too, call a log seen that is not read to its end.
const USUAL_LAG: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(super) struct Log {
    pub(super) stats: watch::Receiver<TailStats>,
    /// Records are being read that were there before the first start.
    pub(super) history: bool,
    /// Read to the log's end: since when, on the runtime's clock.
    pub(super) caught_up: Option<Instant>,
    /// It was read to its end until then; what came since is being read.
    behind: Option<Instant>,
    /// It was read to its end once.
    pub(super) was_caught_up: bool,
    pub(super) up: bool,
    /// It cannot be read.
    pub(super) trouble: bool,
    /// What could not be read last, and why.
    pub(super) cause: (String, String),
    /// When it was last read to its end.
    pub(super) seen_at: Option<Timestamp>,
}

impl Log {
    pub(super) fn new(stats: watch::Receiver<TailStats>) -> Log {
        Log {
            stats,
            history: false,
            caught_up: None,
            behind: None,
            was_caught_up: false,
            up: false,
            trouble: false,
            cause: Default::default(),
            seen_at: None,
        }
    }

    /// Something of it was found in this run; that an earlier one knew it says nothing of the name it has now.
    pub(super) fn is_there(&self) -> bool {
        self.up || self.stats.borrow().generation.is_some()
    }

    /// Its name has no file any more, and what its writer still writes to the one that had it is read.
    pub(super) fn is_read_without_a_name(&self) -> bool {
        self.up && !self.trouble && self.stats.borrow().away
    }

    /// It can be read, and is read to its end.
    pub(super) fn is_seen(&self) -> bool {
        self.caught_up.is_some() && self.up && !self.trouble
    }

    /// Something came: it is not read to its end until that was read.
    pub(super) fn falls_behind(&mut self, now: Instant) {
        if self.caught_up.take().is_some() {
            self.behind = Some(now);
        }
    }

    /// It is read as it is written: to its end, or to less than `USUAL_LAG` ago. Each record puts it behind for a moment, and a
    /// burst for longer; who may wait that long for its word is not blind.
    pub(super) fn is_followed(&self, now: Instant) -> bool {
        let lags_as_usual = |since: Instant| now.saturating_duration_since(since) <= USUAL_LAG;
        self.up
            && !self.trouble
            && (self.caught_up.is_some() || self.behind.is_some_and(lags_as_usual))
    }

    /// When it, read to its end, was last found to hold nothing more. Of the time since then, in which the process stood
    /// still or could not read, nothing is known.
    pub(super) fn looked_at(&self) -> Option<Instant> {
        let caught_up = self.caught_up?;
        Some(self.stats.borrow().looked_at?.max(caught_up))
    }

    /// How long it has been silent since it was read to its end.
    pub(super) fn silent_for(&self) -> Option<Duration> {
        Some(self.looked_at()?.duration_since(self.caught_up?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn silence_is_known_as_far_as_somebody_looked() {
        let (stats_tx, stats) = watch::channel(TailStats::default());
        let mut log = Log::new(stats);
        let began = clock::monotonic();
        let after = |seconds| began + Duration::from_secs(seconds);
        let looks_at = |at| stats_tx.send_modify(|stats| stats.looked_at = Some(at));
        assert_eq!(log.silent_for(), None);
        looks_at(after(1));
        assert_eq!(log.silent_for(), None, "it is not read to its end");
        log.caught_up = Some(after(2));
        assert_eq!(
            log.silent_for(),
            Some(Duration::ZERO),
            "nobody has looked since"
        );
        looks_at(after(9));
        assert_eq!(log.silent_for(), Some(Duration::from_secs(7)));
        assert!(!log.is_seen(), "it is not up");
        log.up = true;
        assert!(log.is_seen());
        log.trouble = true;
        assert!(!log.is_seen() && log.is_there());
    }

    #[test]
    fn a_burst_on_a_log_that_is_read_makes_nobody_blind() {
        let mut log = Log::new(watch::channel(TailStats::default()).1);
        let began = clock::monotonic();
        let after = |seconds| began + Duration::from_secs(seconds);
        log.up = true;
        log.falls_behind(after(1));
        assert!(!log.is_followed(after(1)), "it never was read to its end");
        log.caught_up = Some(after(2));
        log.falls_behind(after(100));
        log.falls_behind(after(114));
        assert!(!log.is_seen() && log.is_followed(after(115)));
        assert!(
            !log.is_followed(after(116)),
            "it lags for longer than usual"
        );
        log.caught_up = Some(after(117));
        log.falls_behind(after(118));
        assert!(log.is_followed(after(118)));
        log.trouble = true;
        assert!(!log.is_followed(after(118)), "it cannot be read");
    }
}

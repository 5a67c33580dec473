//! The beat at which a busy log is read.
//!
//! A log that is written in bursts is read at each of them, when the kernel tells of it: that costs a third of a timer
//! that goes off while the machine is idle, and nothing waits. Writes that come faster than twice a window are not
//! waited for: what the kernel tells is left untaken, so that it merges the next write with it and wakes nobody, and
//! the log is read at the end of the window. Now and then a burst is waited for again.

use std::time::Duration;

/// So many writes in a row that come too early are a stream.
const EARLY: u32 = 4;
/// A stream is read at the end of so many windows before a burst is waited for again.
const WINDOWS: u32 = 50;

/// When to read, decided without timers or channels.
#[derive(Debug)]
pub(super) struct Rhythm {
    window: Duration,
    /// A burst that follows on the last one after longer than this is not waited for.
    patience: Duration,
    beat: Beat,
    read_at: Option<Duration>,
    /// The last read was not made at a write, so that it does not tell how close the next one follows.
    by_timer: bool,
    delivered_at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beat {
    /// The log is not busy.
    Rest,
    /// At the next write; so many before it came too early.
    Write { early: u32 },
    /// At the end of the window, since the last write came too early.
    Window { early: u32 },
    /// At the end of this window and so many more.
    Windows { left: u32 },
}

impl Rhythm {
    /// `patience` is how long what was read may be kept from those who wait for it. With a `window` of zero a log is
    /// never busy.
    pub(super) fn new(window: Duration, patience: Duration) -> Rhythm {
        Rhythm {
            window,
            patience: patience.max(2 * window),
            beat: Beat::Rest,
            read_at: None,
            by_timer: false,
            delivered_at: Duration::ZERO,
        }
    }

    /// The log is busy.
    pub(super) fn is_beating(&self) -> bool {
        self.beat != Beat::Rest
    }

    /// It is not busy any more.
    pub(super) fn rest(&mut self) {
        self.beat = Beat::Rest;
    }

    /// Something of the log was delivered.
    pub(super) fn delivered(&mut self, now: Duration) {
        self.delivered_at = now;
    }

    /// Something was written: whether to read it at once. If not, nothing is asked before the window's end.
    pub(super) fn written(&mut self, now: Duration) -> bool {
        let since = self.read_at.map(|at| now.saturating_sub(at));
        let early = match self.beat {
            Beat::Write { early } => early,
            _ if since.is_none_or(|since| since >= 2 * self.window) => {
                self.by_timer = false;
                self.read_at = Some(now);
                return true;
            }
            _ => {
                self.delivered_at = now;
                0
            }
        };
        let by_timer = std::mem::take(&mut self.by_timer);
        if by_timer || since.is_none_or(|since| since >= self.window / 2) {
            let early = if by_timer { early } else { 0 };
            self.beat = Beat::Write { early };
            self.read_at = Some(now);
            return true;
        }
        self.beat = match early + 1 {
            EARLY.. => Beat::Windows { left: WINDOWS },
            early => Beat::Window { early },
        };
        false
    }

    /// The time is over that [`Rhythm::until`] gave: the log is read.
    pub(super) fn over(&mut self, now: Duration) {
        self.read_at = Some(now);
        self.by_timer = true;
        self.beat = match self.beat {
            Beat::Window { early } => Beat::Write { early },
            // The next one that is early makes it a stream again.
            Beat::Windows { left: 0 } => Beat::Write { early: EARLY - 1 },
            Beat::Windows { left } => Beat::Windows { left: left - 1 },
            other => other,
        };
    }

    /// How long the next write is waited for, or no write at all.
    pub(super) fn until(&self) -> Option<Duration> {
        match self.beat {
            Beat::Rest => None,
            Beat::Write { .. } => Some(self.delivered_at + self.patience),
            Beat::Window { .. } | Beat::Windows { .. } => Some(self.read_at? + self.window),
        }
    }

    /// The next write is waited for, and there is time left.
    pub(super) fn is_patient(&self, now: Duration) -> bool {
        self.waits_for_writes() && self.until().is_some_and(|until| now < until)
    }

    pub(super) fn waits_for_writes(&self) -> bool {
        matches!(self.beat, Beat::Write { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(20);

    fn rhythm() -> Rhythm {
        Rhythm::new(WINDOW, Duration::from_millis(250))
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_log_at_rest_is_read_at_once_and_rests_on() {
        let mut rhythm = rhythm();
        for ms in [0, 40, 1_000, 1_040] {
            assert!(rhythm.written(at(ms)), "{ms}");
            assert_eq!(rhythm.until(), None, "{ms}");
        }
    }

    #[test]
    fn without_a_window_a_log_is_never_busy() {
        let mut rhythm = Rhythm::new(Duration::ZERO, Duration::from_millis(250));
        for ms in [0, 0, 1, 1, 2] {
            assert!(rhythm.written(at(ms)) && !rhythm.is_beating(), "{ms}");
        }
    }

    #[test]
    fn bursts_are_read_at_once_and_the_timer_only_ends_the_waiting_for_them() {
        let mut rhythm = rhythm();
        for ms in (0..2_000).step_by(20) {
            assert!(rhythm.written(at(ms)), "{ms}");
        }
        assert!(rhythm.waits_for_writes());
        rhythm.delivered(at(1_900));
        assert_eq!(rhythm.until(), Some(at(2_150)));
    }

    #[test]
    fn a_write_that_comes_too_early_is_read_at_the_end_of_the_window() {
        let mut rhythm = rhythm();
        assert!(rhythm.written(at(100)));
        assert!(!rhythm.written(at(109)));
        assert!(!rhythm.waits_for_writes());
        assert_eq!(rhythm.until(), Some(at(120)));
        rhythm.over(at(120));
        assert!(rhythm.waits_for_writes());
        assert!(
            rhythm.written(at(123)),
            "the timer's read tells nothing of the writer"
        );
        assert!(!rhythm.written(at(124)));
        rhythm.over(at(143));
        assert!(rhythm.written(at(144)) && rhythm.written(at(164)));
        assert_eq!(rhythm.beat, Beat::Write { early: 0 });
    }

    /// A write a millisecond, for two seconds.
    #[test]
    fn a_stream_is_read_once_a_window_and_wakes_nobody_in_between() {
        let mut rhythm = rhythm();
        let (mut reads, mut wakes) = (Vec::new(), 0);
        for ms in 0..2_000 {
            if rhythm.until() == Some(at(ms)) {
                wakes += 1;
                rhythm.over(at(ms));
                reads.push(ms);
            }
            if rhythm.beat == Beat::Rest || rhythm.waits_for_writes() {
                wakes += 1;
                if rhythm.written(at(ms)) {
                    reads.push(ms);
                }
            }
        }
        let furthest = reads.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert_eq!(furthest, Some(20), "{reads:?}");
        // One a window, and those made at writes to find out that it is a stream: at first, and once a second.
        assert!(reads.len() <= 101 + 6, "{}", reads.len());
        assert!(wakes <= reads.len() + 6, "{wakes} wakes, {}", reads.len());
    }

    #[test]
    fn a_stream_that_becomes_bursts_is_noticed() {
        let mut rhythm = rhythm();
        for ms in 0..200 {
            if rhythm.until() == Some(at(ms)) {
                rhythm.over(at(ms));
            }
            if rhythm.beat == Beat::Rest || rhythm.waits_for_writes() {
                rhythm.written(at(ms));
            }
        }
        let mut ms = 200;
        while !rhythm.waits_for_writes() {
            ms += 20;
            assert!(ms < 2_000, "{rhythm:?}");
            rhythm.over(at(ms));
        }
        for _ in 0..10 {
            ms += 20;
            assert!(rhythm.written(at(ms)));
        }
        assert!(rhythm.waits_for_writes());
    }
}

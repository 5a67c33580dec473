//! The only file that reads a clock. Everything else is told what time it is.

use std::time::{Duration, Instant};

use crate::core::event::Timestamp;

/// The wall clock, in whole milliseconds of UTC.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this file is the door to the clock"
)]
pub fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// The clock for lengths of time: it never steps, and stands still in a test whose runtime is paused.
#[must_use]
pub fn monotonic() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// How long something took: does not step back when the time of day does.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this file is the door to the clock"
    )]
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// The wall clock without its steps: the time of day at the start, moved on by the monotonic clock.
///
/// Timers run on it, so that setting the clock neither fires them all at once nor holds them back.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    started: tokio::time::Instant,
    at: Timestamp,
}

impl SteadyClock {
    #[must_use]
    pub fn start() -> SteadyClock {
        SteadyClock {
            started: monotonic(),
            at: now(),
        }
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.at
            .plus_ms(i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// The moment on the runtime's clock at which `at` is reached.
    #[must_use]
    pub fn instant_of(&self, at: Timestamp) -> tokio::time::Instant {
        self.started + Duration::from_millis(u64::try_from(at.since(self.at)).unwrap_or(0))
    }
}

//! The only file that reads a clock.

use crate::core::event::Timestamp;

/// The wall clock: when something was learned, in UTC.
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

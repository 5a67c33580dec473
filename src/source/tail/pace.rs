//! The windows of a busy log, one after the other.
//!
//! The window after the next one is set in advance. A timer that is earlier than every other makes the runtime
//! interrupt its own wait to look at it, two system calls each; set this way, none ever is.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Sleep, sleep_until};

use crate::clock;

/// A log is busy until so many windows in a row brought nothing: a writer's pauses are not in step with them.
pub(super) const EMPTY_WINDOWS: u32 = 3;

pub(super) struct Pace {
    window: Duration,
    next: Pin<Box<Sleep>>,
    after: Pin<Box<Sleep>>,
    /// Windows in a row that brought nothing.
    pub(super) empty: u32,
}

impl Pace {
    /// The first window begins now.
    pub(super) fn new(window: Duration) -> Pace {
        let end = clock::monotonic() + window;
        Pace {
            window,
            next: Box::pin(sleep_until(end)),
            after: Box::pin(sleep_until(end + window)),
            empty: 0,
        }
    }

    /// Waits for the window's end; the next one has begun then. Dropping the future loses nothing.
    pub(super) async fn end(&mut self) {
        poll_fn(|context| {
            // Asked only so that it is set: it is due later than the other.
            if self.after.as_mut().poll(context).is_ready() {
                context.waker().wake_by_ref();
            }
            self.next.as_mut().poll(context)
        })
        .await;
        std::mem::swap(&mut self.next, &mut self.after);
        // A window that was over before it began is skipped.
        let now = clock::monotonic();
        if self.next.deadline() <= now {
            self.next.as_mut().reset(now + self.window);
        }
        let after = self.next.deadline() + self.window;
        self.after.as_mut().reset(after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn windows_follow_each_other_and_late_ones_are_skipped() {
        let window = Duration::from_millis(20);
        let began = clock::monotonic();
        let mut pace = Pace::new(window);
        for number in 1..=3 {
            pace.end().await;
            assert_eq!(began.elapsed().as_millis(), number * 20);
        }
        tokio::time::advance(Duration::from_millis(100)).await;
        pace.end().await;
        assert_eq!(began.elapsed().as_millis(), 160);
        pace.end().await;
        assert_eq!(began.elapsed().as_millis(), 180);
    }
}

//! A provider's limit, kept on our side: a bucket of tokens, one a message.
//!
//! A provider that is asked too often answers 429, and some cut off who goes on. Pure: `now` comes in, a wait goes out.

use std::time::Duration;

use tokio::time::Instant;

/// So many at once, and after them one in each `every`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) burst: u32,
    pub(super) every: Duration,
}

/// The tokens of one receiver, counted as the moment at which the bucket will be full again.
#[derive(Debug)]
pub(super) struct Bucket {
    pace: Pace,
    full_at: Option<Instant>,
}

impl Bucket {
    pub(super) fn new(pace: Pace) -> Bucket {
        Bucket {
            pace,
            full_at: None,
        }
    }

    /// When the next message may leave; `None`: now.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let room = self.pace.every * self.pace.burst.saturating_sub(1);
        let at = self.full_at?.checked_sub(room)?;
        (at > now).then_some(at)
    }

    /// A message leaves.
    pub(super) fn take(&mut self, now: Instant) {
        self.full_at = Some(self.full_at.unwrap_or(now).max(now) + self.pace.every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_leaves_at_once_and_the_rest_one_by_one() {
        let pace = Pace {
            burst: 3,
            every: Duration::from_secs(1),
        };
        let start = Instant::now();
        let (mut bucket, mut now) = (Bucket::new(pace), start);
        let mut left = Vec::new();
        for _ in 0..6 {
            now = bucket.next(now).unwrap_or(now);
            bucket.take(now);
            left.push(now.duration_since(start).as_secs());
        }
        assert_eq!(left, [0, 0, 0, 1, 2, 3]);
        // After a quiet time the burst is there again, and no more than that.
        now += Duration::from_secs(60);
        for _ in 0..3 {
            assert_eq!(bucket.next(now), None);
            bucket.take(now);
        }
        assert_eq!(bucket.next(now), Some(now + pace.every));
    }
}

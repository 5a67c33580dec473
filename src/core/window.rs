//! The boots that rules judge: counts by time in a ring of buckets, and the last boots one by one.
//!
//! Counts in buckets and not a list, because an hour may hold any number of boots; the last boots beside them, because
//! quiet nights are judged by number and a page names them. Time is event time.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::core::event::{Failure, SessionId, Timestamp, VmId};

pub const BUCKET_MS: i64 = 10_000;
const BUCKETS: usize = 360;
/// The longest window, an hour.
pub const SPAN_MS: i64 = BUCKET_MS * 360;
/// Boots kept one by one.
const RECENT: usize = 64;

/// A boot that counts for or against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    pub vm: Option<VmId>,
    pub session: Option<SessionId>,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    /// `None`: it became ready.
    pub failure: Option<Failure>,
    /// Redacted lines of a failed boot.
    pub evidence: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Bucket {
    /// Which stretch of `BUCKET_MS` since the epoch this bucket counts.
    number: i64,
    ready: u32,
    failed: u32,
    by_class: [u32; Failure::ALL.len()],
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    buckets: Vec<Bucket>,
    recent: VecDeque<Judged>,
    /// Boots ever added.
    added: u64,
}

/// How many boots counted, and how many of them against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub bad: u32,
    pub of: u32,
}

impl Count {
    #[must_use]
    pub fn share(self) -> f64 {
        if self.of == 0 {
            0.0
        } else {
            f64::from(self.bad) / f64::from(self.of)
        }
    }
}

impl Window {
    pub fn add(&mut self, boot: Judged) {
        let number = boot.ended_at.0.div_euclid(BUCKET_MS);
        if self.buckets.is_empty() {
            self.buckets = vec![
                Bucket {
                    number: i64::MIN,
                    ..Bucket::default()
                };
                BUCKETS
            ];
        }
        let index = usize::try_from(number.rem_euclid(BUCKETS as i64)).unwrap_or(0);
        let bucket = &mut self.buckets[index];
        if bucket.number < number {
            *bucket = Bucket {
                number,
                ..Bucket::default()
            };
        }
        // A boot that ended more than the ring's span before the newest one has no bucket any more.
        if bucket.number == number {
            match boot.failure {
                None => bucket.ready += 1,
                Some(failure) => {
                    bucket.failed += 1;
                    bucket.by_class[failure as usize] += 1;
                }
            }
        }
        self.added += 1;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(boot);
    }

    /// Boots that ended within `span_ms` before `now`, and not before `from`.
    #[must_use]
    pub fn within(
        &self,
        now: Timestamp,
        span_ms: i64,
        from: Timestamp,
        bad: impl Fn(Failure) -> bool,
    ) -> Count {
        let oldest = (now.0 - span_ms.min(SPAN_MS)).max(from.0);
        // A bucket counts when its whole stretch lies inside; the newest is still being filled.
        let numbers = oldest.div_euclid(BUCKET_MS) + i64::from(oldest.rem_euclid(BUCKET_MS) > 0)
            ..=now.0.div_euclid(BUCKET_MS);
        let (mut ready, mut failed, mut counted) = (0, 0, 0);
        let classes = || Failure::ALL.iter().filter(|failure| bad(**failure));
        // A rule about every class needs no look at single ones, and most stretches hold no failed boot.
        let every = classes().count() == Failure::ALL.len();
        let places: Vec<usize> = if every {
            Vec::new()
        } else {
            classes().map(|failure| *failure as usize).collect()
        };
        for bucket in self
            .buckets
            .iter()
            .filter(|bucket| numbers.contains(&bucket.number))
        {
            ready += bucket.ready;
            failed += bucket.failed;
            if bucket.failed > 0 {
                counted += places
                    .iter()
                    .map(|place| bucket.by_class[*place])
                    .sum::<u32>();
            }
        }
        Count {
            bad: if every { failed } else { counted },
            of: ready + failed,
        }
    }

    /// The last boots that ended at or after `from`, the last to be heard of first: one that is heard of late hides
    /// none before it.
    pub fn last(&self, from: Timestamp) -> impl Iterator<Item = &Judged> {
        self.recent
            .iter()
            .rev()
            .filter(move |boot| boot.ended_at >= from)
    }

    /// How many boots were ever added.
    #[must_use]
    pub fn added(&self) -> u64 {
        self.added
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(ended_s: i64, failure: Option<Failure>) -> Judged {
        let at = Timestamp(ended_s * 1000);
        Judged {
            vm: None,
            session: None,
            started_at: at,
            ended_at: at,
            failure,
            evidence: Vec::new(),
        }
    }

    #[test]
    fn a_window_counts_what_lies_in_it_and_forgets_the_rest() {
        let mut window = Window::default();
        let refused = |failure| failure == Failure::AgentRefused;
        for second in 0..7_200 {
            let failure = (second % 10 == 0).then_some(Failure::AgentRefused);
            window.add(boot(second, failure));
        }
        let hour = window.within(Timestamp(7_200_000), SPAN_MS, Timestamp::MIN, refused);
        assert_eq!(
            hour,
            Count {
                bad: 360,
                of: 3_600
            }
        );
        let minute = window.within(Timestamp(7_200_000), 60_000, Timestamp::MIN, refused);
        assert_eq!(minute, Count { bad: 6, of: 60 });
        assert_eq!(
            window
                .within(Timestamp(7_200_000), SPAN_MS, Timestamp(7_190_000), refused)
                .of,
            10
        );
        assert_eq!(
            window.within(Timestamp(99_999_000), SPAN_MS, Timestamp::MIN, refused),
            Count::default()
        );
    }

    #[test]
    fn a_late_boot_beyond_the_ring_disturbs_nothing() {
        let mut window = Window::default();
        window.add(boot(10_000, None));
        window.add(boot(10_000 - 3_600, Some(Failure::GuestDied)));
        let count = window.within(Timestamp(10_000_999), SPAN_MS, Timestamp::MIN, |_| true);
        assert_eq!(count, Count { bad: 0, of: 1 });
    }

    #[test]
    fn a_boot_heard_of_late_hides_none_before_it() {
        let mut window = Window::default();
        for ended_s in [100, 110, 50, 120] {
            window.add(boot(ended_s, Some(Failure::AgentRefused)));
        }
        assert_eq!(window.last(Timestamp(90_000)).count(), 3);
    }
}

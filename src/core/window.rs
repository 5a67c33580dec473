//! The boots that rules judge: counts by time in a ring of buckets, and the last boots one by one.
//!
//! Counts in buckets and not a list, because an hour may hold any number of boots; the last boots beside them, because
//! quiet nights are judged by number and a page names them. Time is event time. Which boots an alert's resolve has
//! settled is told by their number (`since`), because a log's clock may be set back.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::core::boot::Lines;
use crate::core::diagnosis::Signs;
use crate::core::event::{Failure, SessionId, Timestamp, VmId};

pub const BUCKET_MS: i64 = 10_000;
const BUCKETS: usize = 360;
/// The longest window, an hour.
pub const SPAN_MS: i64 = BUCKET_MS * 360;

/// The bucket that counts what ends then.
#[must_use]
pub fn bucket(at: Timestamp) -> i64 {
    at.0.div_euclid(BUCKET_MS)
}
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
    /// Lines of a failed boot.
    pub evidence: Lines,
    /// What it tells of its cause.
    #[serde(default, skip_serializing_if = "Signs::is_empty")]
    pub signs: Signs,
}

/// A bucket as it is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::core) struct Bucket {
    /// Which stretch of `BUCKET_MS` since the epoch this bucket counts.
    number: i64,
    ready: u32,
    failed: u32,
    #[serde(with = "by_class")]
    by_class: [u32; Failure::ALL.len()],
}

/// All boots that were ever added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::core) struct Ever {
    pub(in crate::core) boots: u64,
    #[serde(with = "by_class")]
    by_class: [u64; Failure::ALL.len()],
}

/// What every rule counts of a bucket. What only few need lies apart, so that an hour is 6 kB to read and not 35.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Head {
    number: i64,
    ready: u32,
    failed: u32,
}

impl Head {
    fn empty(number: i64) -> Head {
        Head {
            number,
            ready: 0,
            failed: 0,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// Empty, or a ring of `BUCKETS`.
    heads: Vec<Head>,
    /// The same buckets' failed boots by class.
    by_class: Vec<[u32; Failure::ALL.len()]>,
    recent: VecDeque<Judged>,
    ever: Ever,
}

/// Boots up to here are settled: an alert about them was resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// How many boots there had been.
    pub boots: u64,
    /// How many of them were bad, as the alert's rule counts.
    pub bad: u64,
}

/// Where a boot was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    pub bucket: usize,
    /// Its place among the last boots.
    pub place: usize,
}

/// How many boots counted, and how many of them against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub bad: u32,
    pub of: u32,
}

impl Count {
    /// Of these boots: those that failed.
    #[must_use]
    pub fn of<'a>(boots: impl IntoIterator<Item = &'a Judged>) -> Count {
        let mut count = Count::default();
        for boot in boots {
            count.of += 1;
            count.bad += u32::from(boot.failure.is_some());
        }
        count
    }

    /// Of both together.
    #[must_use]
    pub fn and(self, other: Count) -> Count {
        Count {
            bad: self.bad.saturating_add(other.bad),
            of: self.of.saturating_add(other.of),
        }
    }

    /// With so many more, all of them bad.
    #[must_use]
    pub fn and_bad(self, more: u32) -> Count {
        self.and(Count {
            bad: more,
            of: more,
        })
    }

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
    pub fn add(&mut self, boot: Judged) -> Added {
        let number = bucket(boot.ended_at);
        self.make_buckets();
        let index = place_of(number);
        let (head, by_class) = (&mut self.heads[index], &mut self.by_class[index]);
        if head.number < number {
            *head = Head::empty(number);
            *by_class = Default::default();
        }
        // A boot that ended more than the ring's span before the newest one has no bucket any more.
        if head.number == number {
            match boot.failure {
                None => head.ready += 1,
                Some(failure) => {
                    head.failed += 1;
                    by_class[failure as usize] += 1;
                }
            }
        }
        let place = self.place(self.ever.boots);
        self.ever.boots += 1;
        if let Some(failure) = boot.failure {
            self.ever.by_class[failure as usize] += 1;
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(boot);
        Added {
            bucket: index,
            place,
        }
    }

    /// A boot among the last ones failed of something else than it was counted for: where it is, if it is there still.
    /// The counts by time stay as they were made; the last boots, which pages name and quiet nights are judged by, tell
    /// the better.
    pub fn amend(&mut self, vm: VmId, failure: Failure, evidence: Lines) -> Option<usize> {
        let (number, _) = self
            .numbered()
            .filter(|(_, boot)| boot.vm == Some(vm) && boot.failure.is_some())
            .last()?;
        let first = self.ever.boots - self.recent.len() as u64;
        let index = usize::try_from(number - first).ok()?;
        let boot = self.recent.get_mut(index)?;
        boot.failure = Some(failure);
        boot.evidence = evidence;
        Some(self.place(number))
    }

    fn make_buckets(&mut self) {
        if self.heads.is_empty() {
            self.heads = vec![Head::empty(i64::MIN); BUCKETS];
            self.by_class = vec![Default::default(); BUCKETS];
        }
    }

    /// The place of the boot of this number among the last ones.
    fn place(&self, number: u64) -> usize {
        usize::try_from(number % RECENT as u64).unwrap_or(0)
    }

    /// Boots that ended within `span_ms` before `now`.
    #[must_use]
    pub fn within(&self, now: Timestamp, span_ms: i64, bad: impl Fn(Failure) -> bool) -> Count {
        let oldest = now.0 - span_ms.min(SPAN_MS);
        // A bucket counts when its whole stretch lies inside; the newest is still being filled.
        let numbers = oldest.div_euclid(BUCKET_MS) + i64::from(oldest.rem_euclid(BUCKET_MS) > 0)
            ..=bucket(now);
        // A rule about every class needs no look at single ones, and most stretches hold no failed boot.
        let every = Failure::ALL.iter().all(|failure| bad(*failure));
        let (mut ready, mut failed, mut counted) = (0, 0, 0);
        for index in self.ring(&numbers) {
            let head = &self.heads[index];
            if !numbers.contains(&head.number) {
                continue;
            }
            ready += head.ready;
            failed += head.failed;
            if head.failed > 0 && !every {
                counted += Failure::ALL
                    .iter()
                    .filter(|failure| bad(**failure))
                    .map(|failure| self.by_class[index][*failure as usize])
                    .sum::<u32>();
            }
        }
        Count {
            bad: if every { failed } else { counted },
            of: ready + failed,
        }
    }

    /// The buckets that these stretches have in the ring: at most once around.
    fn ring(&self, numbers: &RangeInclusive<i64>) -> impl Iterator<Item = usize> {
        let stretches = numbers.end().saturating_sub(*numbers.start()) + 1;
        let most = usize::try_from(stretches).unwrap_or(0);
        let first = place_of(*numbers.start());
        (first..self.heads.len())
            .chain(0..first.min(self.heads.len()))
            .take(most)
    }

    /// The last boots that ended at or after `from`, the last to be heard of first: one that is heard of late hides
    /// none before it.
    pub fn last(&self, from: Timestamp) -> impl Iterator<Item = &Judged> {
        self.recent
            .iter()
            .rev()
            .filter(move |boot| boot.ended_at >= from)
    }

    /// One of the last boots, about to be told more of, and its place.
    pub(in crate::core) fn of_vm(&mut self, vm: VmId) -> Option<(usize, &mut Judged)> {
        let from_newest = self
            .recent
            .iter()
            .rev()
            .position(|boot| boot.vm == Some(vm))?;
        let index = self.recent.len() - 1 - from_newest;
        let first = self.ever.boots - self.recent.len() as u64;
        let place = self.place(first + index as u64);
        Some((place, self.recent.get_mut(index)?))
    }

    /// How many boots were ever added.
    #[must_use]
    pub fn added(&self) -> u64 {
        self.ever.boots
    }

    /// How many bad ones were ever added.
    #[must_use]
    pub fn bad_ever(&self, bad: impl Fn(Failure) -> bool) -> u64 {
        Failure::ALL
            .iter()
            .filter(|failure| bad(**failure))
            .map(|failure| self.ever.by_class[*failure as usize])
            .sum()
    }

    /// The boots that are not settled yet.
    #[must_use]
    pub fn since(&self, settled: Settled, bad: impl Fn(Failure) -> bool) -> Count {
        let count =
            |now: u64, then: u64| u32::try_from(now.saturating_sub(then)).unwrap_or(u32::MAX);
        Count {
            bad: count(self.bad_ever(bad), settled.bad),
            of: count(self.ever.boots, settled.boots),
        }
    }
}

/// What is saved of a window: its buckets and last boots one by one, and the count of all.
impl Window {
    pub(in crate::core) fn ever(&self) -> Ever {
        self.ever
    }

    pub(in crate::core) fn bucket(&self, index: usize) -> Option<Bucket> {
        let head = self.heads.get(index)?;
        (head.number != i64::MIN).then(|| Bucket {
            number: head.number,
            ready: head.ready,
            failed: head.failed,
            by_class: self.by_class[index],
        })
    }

    /// The indices of buckets in use.
    pub(in crate::core) fn used(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.heads.len()).filter(|index| self.bucket(*index).is_some())
    }

    /// The last boots with their numbers.
    pub(in crate::core) fn numbered(&self) -> impl Iterator<Item = (u64, &Judged)> {
        (self.ever.boots - self.recent.len() as u64..).zip(&self.recent)
    }

    /// The last boots' places.
    pub(in crate::core) fn places(&self) -> impl Iterator<Item = usize> + '_ {
        self.numbered().map(|(number, _)| self.place(number))
    }

    pub(in crate::core) fn at_place(&self, place: usize) -> Option<(u64, &Judged)> {
        self.numbered()
            .find(|(number, _)| self.place(*number) == place)
    }

    /// Takes back a saved bucket; false if it cannot be one.
    pub(in crate::core) fn restore_bucket(&mut self, index: usize, bucket: Bucket) -> bool {
        self.make_buckets();
        let known = bucket.number != i64::MIN && place_of(bucket.number) == index;
        if known {
            self.heads[index] = Head {
                number: bucket.number,
                ready: bucket.ready,
                failed: bucket.failed,
            };
            self.by_class[index] = bucket.by_class;
        }
        known
    }

    /// Takes back the last boots and the count of all; false if they do not fit together.
    pub(in crate::core) fn restore_boots(
        &mut self,
        mut boots: Vec<(u64, Judged)>,
        ever: Ever,
    ) -> bool {
        boots.sort_by_key(|(number, _)| *number);
        let last = boots.len() as u64;
        let bad = ever
            .by_class
            .iter()
            .fold(0, |sum: u64, count| sum.saturating_add(*count));
        let all = bad <= ever.boots
            && last == ever.boots.min(RECENT as u64)
            && (ever.boots.saturating_sub(last)..)
                .zip(&boots)
                .all(|(wanted, (number, _))| wanted == *number);
        self.recent = boots.into_iter().map(|(_, boot)| boot).collect();
        self.ever = ever;
        all
    }
}

fn place_of(number: i64) -> usize {
    usize::try_from(number.rem_euclid(BUCKETS as i64)).unwrap_or(0)
}

/// Counts by class, saved by the classes' names so that a new class changes nothing of what was saved.
mod by_class {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::core::event::Failure;

    const CLASSES: usize = Failure::ALL.len();

    pub(super) fn serialize<T, S>(counts: &[T; CLASSES], serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Copy + Default + PartialEq + Serialize,
        S: Serializer,
    {
        serializer.collect_map(
            Failure::ALL
                .iter()
                .map(|failure| (failure, counts[*failure as usize]))
                .filter(|(_, count)| *count != T::default()),
        )
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<[T; CLASSES], D::Error>
    where
        T: Copy + Default + Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let mut counts = [T::default(); CLASSES];
        for (failure, count) in BTreeMap::<Failure, T>::deserialize(deserializer)? {
            counts[failure as usize] = count;
        }
        Ok(counts)
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
            evidence: Lines::default(),
            signs: Signs::default(),
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
        let hour = window.within(Timestamp(7_200_000), SPAN_MS, refused);
        assert_eq!(
            hour,
            Count {
                bad: 360,
                of: 3_600
            }
        );
        let minute = window.within(Timestamp(7_200_000), 60_000, refused);
        assert_eq!(minute, Count { bad: 6, of: 60 });
        let settled = Settled {
            boots: 7_190,
            bad: 719,
        };
        assert_eq!(window.since(settled, refused), Count { bad: 1, of: 10 });
        assert_eq!(
            window.within(Timestamp(99_999_000), SPAN_MS, refused),
            Count::default()
        );
    }

    #[test]
    fn a_window_is_all_its_buckets_wherever_in_the_ring_they_lie() {
        let mut window = Window::default();
        let ended: Vec<i64> = (0..9_000).filter(|second| second % 7 < 3).collect();
        for second in &ended {
            let failed = (second % 3 == 0).then_some(Failure::GuestDied);
            window.add(boot(*second, failed));
        }
        // The ring is not filled at first, and holds the last hour then.
        let held = 9_000 - SPAN_MS / 1_000;
        for now in (held..13_000).step_by(10) {
            for span in [-10, 0, 10, 300, 3_590, 3_600] {
                let inside = |second: &&i64| (now - span..now + 10).contains(*second);
                let wanted: Vec<&i64> = ended.iter().filter(inside).collect();
                let wanted: Vec<_> = wanted
                    .into_iter()
                    .filter(|second| **second >= held)
                    .collect();
                let bad = wanted.iter().filter(|second| **second % 3 == 0).count();
                let found = window.within(Timestamp(now * 1_000), span * 1_000, |failure| {
                    failure == Failure::GuestDied
                });
                let found = (found.bad as usize, found.of as usize);
                assert_eq!(found, (bad, wanted.len()), "{now} s, {span} s");
            }
        }
    }

    #[test]
    fn a_late_boot_beyond_the_ring_disturbs_nothing() {
        let mut window = Window::default();
        window.add(boot(10_000, None));
        window.add(boot(10_000 - 3_600, Some(Failure::GuestDied)));
        let count = window.within(Timestamp(10_000_999), SPAN_MS, |_| true);
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

//! When a synthetic boot is due, and what stands in its way.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::event::{Timestamp, words};

/// A run is moved by up to this share of the interval, so that no other clock keeps step with it.
const JITTER: f64 = 0.05;
const DAY_MS: i64 = 86_400_000;

words! {
    /// Why a synthetic boot was not begun.
    SkipReason {
        /// The one before is not cleaned up yet, or cannot be.
        Previous = "previous",
        /// The log cannot be read, or is not read to its end; or the rows cannot be seen.
        Blind = "blind",
        Maintenance = "maintenance",
        /// Somebody else's request of our account is under way: ours could not be told from it.
        Account = "account",
        /// As many as a day may have were begun in the last 24 hours.
        Budget = "budget",
        /// Users' VMs take the place.
        Slots = "slots",
        /// Too few addresses would remain in the controller's pool.
        Pool = "pool",
        /// The controller does not answer, or not as a healthy one does.
        Controller = "controller",
        /// The controller's limiter has too few requests left for us.
        Limited = "limited",
        /// What was to be done could not be written down first.
        Journal = "journal",
    }
}

/// Runs at a point of each interval that a seed chooses, so that checks of one fleet do not meet; a restart changes
/// nothing of it.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    interval_ms: i64,
    seed: u64,
}

impl Schedule {
    #[must_use]
    pub fn new(interval_ms: i64, seed: u64) -> Schedule {
        Schedule {
            interval_ms: interval_ms.max(1),
            seed,
        }
    }

    fn run(&self, number: i64) -> i64 {
        let interval = self.interval_ms;
        let offset = mixed(self.seed, 0).rem_euclid(u64::try_from(interval).unwrap_or(1));
        // Between -1 and 1.
        let lot = f64::from(u32::try_from(mixed(self.seed, number) >> 32).unwrap_or(0));
        let lot = lot / f64::from(u32::MAX) * 2.0 - 1.0;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a twentieth of an interval of days fits"
        )]
        let jitter = (lot * JITTER * interval as f64) as i64;
        number * interval + i64::try_from(offset).unwrap_or(0) + jitter
    }

    /// The first moment after `now` at which a run is due. What was missed is not made up for.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Timestamp {
        let from = now.0.div_euclid(self.interval_ms) - 2;
        let due = (from..)
            .map(|number| self.run(number))
            .find(|at| *at > now.0);
        Timestamp(due.unwrap_or(i64::MAX / 4))
    }
}

/// A well-mixed number of a seed and a counter (splitmix64).
fn mixed(seed: u64, number: i64) -> u64 {
    let mut z = seed.wrapping_add((number.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What the guards are set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Synthetic boots in 24 hours.
    pub budget: u64,
    /// With so many browser VMs running none is added.
    pub busy: u64,
    /// Addresses that must remain in the pool.
    pub reserve: u64,
}

words! {
    /// Whether the controller's rows can be seen.
    RowsSeen {
        /// Nobody configured a database.
        NoDatabase = "no_database",
        /// What they told is old, or nothing was asked yet.
        Hidden = "hidden",
        Seen = "seen",
    }
}

/// What is known of the place when a run is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The log is read as it is written, with no more than its usual lag: a boot would be told of soon.
    pub followed: bool,
    /// It is read to its end at this very moment: what it does not tell has not been written.
    pub sighted: bool,
    pub rows: RowsSeen,
    pub maintenance: bool,
    /// Browser VMs that run; ghosts are none.
    pub running: u64,
    /// Free addresses, where the rows tell.
    pub free: Option<u64>,
}

/// Nothing is known.
impl Default for Room {
    fn default() -> Room {
        Room {
            followed: false,
            sighted: false,
            rows: RowsSeen::NoDatabase,
            maintenance: false,
            running: 0,
            free: None,
        }
    }
}

impl Limits {
    /// The first guard that forbids a run; `began` are the starts of earlier ones.
    #[must_use]
    pub fn forbid(
        &self,
        room: &Room,
        began: impl Iterator<Item = Timestamp>,
        now: Timestamp,
    ) -> Option<SkipReason> {
        if !room.followed || room.rows == RowsSeen::Hidden {
            return Some(SkipReason::Blind);
        }
        if room.maintenance {
            return Some(SkipReason::Maintenance);
        }
        // What was begun by a clock that was ahead says nothing of today.
        let today = began.filter(|at| now.since(*at).abs() < DAY_MS).count() as u64;
        if today >= self.budget {
            return Some(SkipReason::Budget);
        }
        if room.running >= self.busy {
            return Some(SkipReason::Slots);
        }
        match room.free {
            Some(free) if free <= self.reserve => Some(SkipReason::Pool),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp(1_760_788_800_000);
    const MINUTE: i64 = 60_000;

    #[test]
    fn the_first_run_is_anywhere_in_the_interval_and_the_next_ones_keep_the_phase() {
        let interval = 15 * MINUTE;
        let mut tenths = [0u32; 10];
        for seed in 0..2_000u64 {
            let schedule = Schedule::new(interval, seed.wrapping_mul(0x1234_5678_9abc_def1));
            let first = schedule.next(NOON);
            let tenth = usize::try_from(first.since(NOON) * 10 / (interval + 2)).unwrap();
            tenths[tenth.min(9)] += 1;
            let mut at = first;
            for _ in 0..20 {
                let next = schedule.next(at);
                let gap = next.since(at);
                assert!(
                    gap >= interval * 9 / 10 && gap <= interval * 11 / 10,
                    "{gap}"
                );
                at = next;
            }
            let drift = (at.since(first) - 20 * interval).abs();
            assert!(drift <= interval / 10 + 1, "{drift}");
        }
        assert!(
            tenths.iter().all(|count| (120..=290).contains(count)),
            "{tenths:?}"
        );
    }

    #[test]
    fn what_was_missed_is_not_made_up_for() {
        let schedule = Schedule::new(15 * MINUTE, 7);
        let late = schedule.next(NOON).plus_ms(10 * 60 * MINUTE);
        let next = schedule.next(late);
        assert!(next > late && next.since(late) <= 17 * MINUTE);
        assert_eq!(schedule.next(late), next, "a restart changes nothing");
    }

    #[test]
    fn each_guard_forbids_by_itself() {
        let limits = Limits {
            budget: 2,
            busy: 2,
            reserve: 5,
        };
        let room = Room {
            followed: true,
            sighted: true,
            rows: RowsSeen::Seen,
            maintenance: false,
            running: 1,
            free: Some(6),
        };
        let forbid = |room: Room, began: &[i64]| {
            let began = began.iter().map(|minutes| NOON.plus_ms(-minutes * MINUTE));
            limits.forbid(&room, began, NOON)
        };
        assert_eq!(forbid(room, &[30]), None);
        assert_eq!(forbid(Room { free: None, ..room }, &[]), None);
        let bursts = Room {
            sighted: false,
            ..room
        };
        assert_eq!(forbid(bursts, &[]), None, "a run due in a burst is made");
        assert_eq!(
            forbid(room, &[30, 24 * 60]),
            None,
            "a day ago is another day"
        );
        assert_eq!(forbid(room, &[30, 60]), Some(SkipReason::Budget));
        assert_eq!(
            forbid(
                Room {
                    followed: false,
                    ..room
                },
                &[]
            ),
            Some(SkipReason::Blind)
        );
        assert_eq!(
            forbid(
                Room {
                    rows: RowsSeen::Hidden,
                    ..room
                },
                &[]
            ),
            Some(SkipReason::Blind)
        );
        assert_eq!(
            forbid(
                Room {
                    maintenance: true,
                    ..room
                },
                &[]
            ),
            Some(SkipReason::Maintenance)
        );
        assert_eq!(
            forbid(Room { running: 2, ..room }, &[]),
            Some(SkipReason::Slots)
        );
        assert_eq!(
            forbid(
                Room {
                    free: Some(5),
                    ..room
                },
                &[]
            ),
            Some(SkipReason::Pool)
        );
    }
}

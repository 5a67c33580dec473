//! Boots by the golden image that they were copied from: what came with a new image, and what was there before.
//!
//! "The first failure came 38 minutes after the image changed" is a fact about times; "6 of 6 boots of this image failed,
//! 1 of 240 of the one before did" is one about counts. Both are said together, and what they mean is left to whoever
//! reads them: the diagnosis, or a human.
//!
//! Bounded: the last few images. Only browser boots of users count, and of those that count for or against.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::boot::Boot;
use super::event::{Origin, Outcome, Timestamp, VmType};
use super::image::Sighting;
use super::window::Count;

/// Images that are remembered.
pub const KEPT: usize = 6;
/// A change longer before the first failure is no news of it.
const RECENT_MS: i64 = 7 * 86_400_000;

/// One image, and how its boots went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    pub image: String,
    /// When the file was written, or put there.
    pub changed_at: Timestamp,
    pub ready: u32,
    pub failed: u32,
    /// When its first failed boot began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_failure_at: Option<Timestamp>,
    /// When its last boot ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_boot_at: Option<Timestamp>,
}

impl Generation {
    /// Failed boots of all that count.
    #[must_use]
    pub fn count(&self) -> Count {
        Count {
            bad: self.failed,
            of: self.failed.saturating_add(self.ready),
        }
    }
}

/// The last few images, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generations {
    list: VecDeque<Generation>,
}

/// What an incident says of the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageChange {
    pub image: String,
    pub changed_at: Timestamp,
    /// From the change to the first failure of a boot of it, in milliseconds.
    pub to_first_failure_ms: i64,
    /// Its boots.
    pub since: Count,
    /// Those of the image before it, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Count>,
}

impl Generations {
    /// The image that stands now.
    pub fn sighted(&mut self, sighting: &Sighting) {
        if let Some(image) = &sighting.image {
            self.entry(image, sighting.since);
        }
    }

    fn entry(&mut self, image: &str, changed_at: Timestamp) -> &mut Generation {
        let known = self.list.iter().position(|known| known.image == image);
        let at = known.unwrap_or_else(|| {
            if self.list.len() == KEPT {
                self.list.pop_front();
            }
            self.list.push_back(Generation {
                image: image.to_owned(),
                changed_at,
                ready: 0,
                failed: 0,
                first_failure_at: None,
                last_boot_at: None,
            });
            self.list.len() - 1
        });
        &mut self.list[at]
    }

    /// Takes a boot that ended; whether anything changed.
    pub fn take(&mut self, boot: &Boot) -> bool {
        let Some(failed) = counted(boot) else {
            return false;
        };
        let Some(known) = self.of_mut(boot.image.as_deref()) else {
            return false;
        };
        match failed {
            true => {
                known.failed = known.failed.saturating_add(1);
                known.first_failure_at = Some(
                    known
                        .first_failure_at
                        .map_or(boot.started_at, |first| first.min(boot.started_at)),
                );
            }
            false => known.ready = known.ready.saturating_add(1),
        }
        known.last_boot_at = known.last_boot_at.max(boot.ended_at);
        true
    }

    /// Takes a boot that was counted before as one of the image `from`: another one stood there when it was copied.
    pub fn moved(&mut self, boot: &Boot, from: Option<&str>) -> bool {
        let Some(failed) = counted(boot) else {
            return false;
        };
        if let Some(before) = self.of_mut(from) {
            match failed {
                true => before.failed = before.failed.saturating_sub(1),
                false => before.ready = before.ready.saturating_sub(1),
            }
            before.first_failure_at = before.first_failure_at.filter(|_| before.failed > 0);
        }
        self.take(boot)
    }

    fn of_mut(&mut self, image: Option<&str>) -> Option<&mut Generation> {
        let mut known = self.list.iter_mut();
        known.find(|known| Some(known.image.as_str()) == image)
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Generation> {
        self.list.iter()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// More than are ever kept were not written by this program.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.list.len() <= KEPT
    }

    /// What is to be said beside a trouble whose first boot began then: the newest image, if it was there by then and
    /// its own boots fail.
    #[must_use]
    pub fn beside(&self, first_bad_at: Timestamp) -> Option<ImageChange> {
        let (at, newest) = self
            .list
            .iter()
            .enumerate()
            .rev()
            .find(|(_, known)| known.changed_at <= first_bad_at)?;
        let first_failure = newest.first_failure_at?;
        let after = first_failure.since(newest.changed_at);
        if after < 0 || first_bad_at.since(newest.changed_at) > RECENT_MS {
            return None;
        }
        let before = at
            .checked_sub(1)
            .and_then(|before| self.list.get(before))
            .map(Generation::count)
            .filter(|count| count.of > 0);
        Some(ImageChange {
            image: newest.image.clone(),
            changed_at: newest.changed_at,
            to_first_failure_ms: after,
            since: newest.count(),
            before,
        })
    }
}

/// Whether a boot failed, if it is one that counts.
fn counted(boot: &Boot) -> Option<bool> {
    let counts = boot.kind() == VmType::Browser && boot.origin == Origin::User;
    match boot.outcome.filter(|_| counts)? {
        Outcome::Ready => Some(false),
        Outcome::Failed => Some(true),
        Outcome::Cancelled | Outcome::Lost => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{Failure, Provenance};

    const MINUTE: i64 = 60_000;

    fn sighting(image: &str, minute: i64) -> Sighting {
        Sighting {
            image: Some(image.to_owned()),
            since: Timestamp(minute * MINUTE),
        }
    }

    fn boot(image: &str, minute: i64, failed: bool) -> Boot {
        let mut boot = Boot::new(None, Provenance::default(), Timestamp(minute * MINUTE));
        boot.vm_type = Some(VmType::Browser);
        boot.image = Some(image.to_owned());
        boot.ended_at = Some(boot.started_at.plus_ms(30_000));
        boot.outcome = Some(if failed {
            Outcome::Failed
        } else {
            Outcome::Ready
        });
        boot.failure = failed.then_some(Failure::AgentRefused);
        boot
    }

    #[test]
    fn the_first_failure_is_told_beside_the_change_with_the_numbers() {
        let mut generations = Generations::default();
        generations.sighted(&sighting("old", 0));
        for minute in 1..=240 {
            generations.take(&boot("old", minute, minute == 100));
        }
        generations.sighted(&sighting("new", 300));
        for minute in 338..344 {
            generations.take(&boot("new", minute, true));
        }
        let change = generations.beside(Timestamp(338 * MINUTE)).unwrap();
        assert_eq!(change.to_first_failure_ms, 38 * MINUTE);
        assert_eq!(change.since, Count { bad: 6, of: 6 });
        assert_eq!(change.before, Some(Count { bad: 1, of: 240 }));
    }

    #[test]
    fn a_change_after_the_trouble_began_is_not_told_beside_it() {
        let mut generations = Generations::default();
        generations.sighted(&sighting("old", 0));
        generations.take(&boot("old", 10, false));
        generations.sighted(&sighting("new", 50));
        generations.take(&boot("new", 60, true));
        assert_eq!(generations.beside(Timestamp(40 * MINUTE)), None);
    }

    #[test]
    fn only_a_users_browser_boots_that_count_are_counted() {
        let mut generations = Generations::default();
        generations.sighted(&sighting("new", 0));
        let mut cli = boot("new", 1, true);
        cli.vm_type = Some(VmType::Cli);
        let mut synthetic = boot("new", 1, true);
        synthetic.origin = Origin::Synthetic;
        let mut lost = boot("new", 1, true);
        lost.outcome = Some(Outcome::Lost);
        let mut unknown = boot("new", 1, true);
        unknown.image = None;
        for boot in [cli, synthetic, lost, unknown, boot("another", 1, true)] {
            assert!(!generations.take(&boot));
        }
        assert_eq!(generations.iter().next().unwrap().count(), Count::default());
    }

    #[test]
    fn a_boot_that_was_credited_to_the_image_before_is_moved() {
        let mut generations = Generations::default();
        generations.sighted(&sighting("broken", 0));
        generations.take(&boot("broken", 1, true));
        generations.take(&boot("broken", 11, false));
        generations.sighted(&sighting("mended", 10));
        assert!(generations.moved(&boot("mended", 11, false), Some("broken")));
        let counts: Vec<Count> = generations.iter().map(Generation::count).collect();
        assert_eq!(counts, [Count { bad: 1, of: 1 }, Count { bad: 0, of: 1 }]);
    }

    #[test]
    fn the_same_image_again_goes_on_and_old_ones_are_forgotten() {
        let mut generations = Generations::default();
        for number in 0..20 {
            generations.sighted(&sighting(&number.to_string(), number));
            generations.sighted(&sighting(&number.to_string(), number));
        }
        assert_eq!(generations.iter().count(), KEPT);
        assert_eq!(generations.iter().next_back().unwrap().image, "19");
    }
}

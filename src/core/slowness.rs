//! Whether boots become slower: stages against what was learnt of them, the time to ready against the controller's
//! deadline.
//!
//! Both questions are about a 95th percentile, and both are answered by counting, so that few boots are judged as
//! rightly as many and no distribution is assumed.
//!
//! *A stage.* What is learnt of it are m durations. Their 95th percentile is the r-th smallest, r = ⌈0.95 m⌉. Of n later
//! boots, k take longer than it, by a margin that would matter (`factor`, `slack`). If these were drawn from the same
//! distribution, the number beyond the r-th smallest would be beta-binomial with α = m − r + 1 and β = r, whatever the
//! distribution is (E. J. Gumbel, H. von Schelling, *The Distribution of the Number of Exceedances*, 1950): the
//! uncertainty of a percentile that was itself learnt from m boots is in the formula. The margin makes the test stricter,
//! never looser, and so do ties.
//!
//! *The deadline.* That the 95th percentile lies beyond a limit means that more than 5 % do: k of n is held against the
//! binomial distribution with p = 0.05 (the quantile test: W. J. Conover, *Practical Nonparametric Statistics*, 3rd
//! edition, 3.2).
//!
//! A boot is judged among the last ones first and learnt only when it leaves them, so that what is judged and what it is
//! held against are never the same boots; and what an alert holds to be slow is not learnt at all.
//!
//! Memory is bounded: `LAST` boots one by one, and durations counted in buckets of 5 % width, in two generations so that
//! old boots fade.

mod learnt;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::binomial;
use crate::core::boot::Boot;
use crate::core::event::{Stage, StageOutcome, Timestamp, VmType, words};
use crate::core::rule;
use crate::core::window::Count;

pub use learnt::{Learnt, Percentile, exceedances};

words! {
    /// What takes too long.
    Slowness { Stage = "stage_slow", Headroom = "headroom_low", }
}

impl Slowness {
    /// What it means, as the end of a sentence.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Slowness::Stage => "a stage takes longer than it did",
            Slowness::Headroom => "they are ready only shortly before the controller gives them up",
        }
    }
}

/// The share of boots that lie beyond a 95th percentile.
pub const BEYOND: f64 = 0.05;
const LEAST_BAD: u32 = 3;
/// Boots kept one by one: as many as may be judged.
pub const LAST: usize = 60;
/// Boots further back than this are not "the last ones".
const LAST_SPAN_MS: i64 = 24 * 3_600_000;
/// All that are kept of so long are.
const RECENT_MS: i64 = 15 * 60_000;

/// Stages that are judged: those that end before the boot does.
pub const STAGES: &[Stage] = &[
    Stage::AllocateIp,
    Stage::CreateTap,
    Stage::CloneSnapshot,
    Stage::InjectAgent,
    Stage::WriteConfig,
    Stage::CreateRecord,
    Stage::StartFirecracker,
    Stage::GuestNetwork,
    Stage::AgentStart,
];

/// One boot's duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// How many boots of its kind had ended with this one.
    pub boot: u64,
    pub at: Timestamp,
    pub ms: u32,
    /// What it is held against, where each boot has its own: the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_ms: Option<u32>,
}

/// The last boots one by one, and what was learnt of those before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    learnt: Learnt,
    last: VecDeque<Sample>,
}

impl Track {
    /// The oldest of the last boots is learnt, unless what they show is not usual (`learns`).
    fn add(&mut self, sample: Sample, learns: bool) {
        if self.last.len() == LAST
            && let Some(oldest) = self.last.pop_front()
            && learns
        {
            self.learnt.add(oldest.ms);
        }
        self.last.push_back(sample);
    }

    /// The last `least` boots after the `settled` first, newest first, and all of the last minutes: where boots are many,
    /// a few of them would say one thing now and another in a minute. Those of another day not.
    fn last(&self, least: u32, settled: u64, now: Timestamp) -> impl Iterator<Item = &Sample> {
        let (from, recent) = (now.plus_ms(-LAST_SPAN_MS), now.plus_ms(-RECENT_MS));
        self.last
            .iter()
            .rev()
            .take_while(move |sample| sample.boot > settled)
            .filter(move |sample| sample.at >= from)
            .enumerate()
            .take_while(move |(n, sample)| *n < least as usize || sample.at >= recent)
            .map(|(_, sample)| sample)
    }

    /// What is usual of a stage, and from where on a boot is slow; `None` until enough boots taught it.
    fn usual(&self, terms: &Terms) -> Option<(Percentile, f64)> {
        if self.learnt.boots() < terms.min_boots {
            return None;
        }
        let usual = self.learnt.p95()?;
        let limit = (usual.ms * terms.factor).max(usual.ms + f64::from(terms.slack_ms));
        Some((usual, limit))
    }

    pub(in crate::core) fn is_sound(&self) -> bool {
        let last: Vec<u64> = self.last.iter().map(|sample| sample.boot).collect();
        self.learnt.is_sound() && last.len() <= LAST && last.is_sorted_by(|a, b| a < b)
    }
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::core) enum Timed {
    Stage(Stage),
    /// The wait of a ready boot, against its deadline.
    Ready,
}

impl Timed {
    pub(in crate::core) fn as_str(self) -> &'static str {
        match self {
            Timed::Stage(stage) => stage.as_str(),
            Timed::Ready => "ready",
        }
    }

    pub(in crate::core) fn from_word(word: &str) -> Option<Timed> {
        match word {
            "ready" => Some(Timed::Ready),
            _ => Stage::from_word(word)
                .filter(|stage| STAGES.contains(stage))
                .map(Timed::Stage),
        }
    }
}

/// Everything timed of one kind of VM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    tracks: BTreeMap<Timed, Track>,
}

/// Whether the boots that leave the last ones are learnt.
#[derive(Clone, Copy, Debug)]
pub struct Learns {
    pub stages: bool,
}

impl Times {
    /// Takes a boot that is ready or failed, the `number`-th of its kind. Returns what it changed.
    pub(in crate::core) fn add(
        &mut self,
        boot: &Boot,
        at: Timestamp,
        number: u64,
        learns: Learns,
    ) -> Vec<Timed> {
        let mut changed = Vec::new();
        let samples = samples(boot).map(|(timed, ms, limit_ms)| {
            let sample = Sample {
                boot: number,
                at,
                ms,
                limit_ms,
            };
            (timed, sample)
        });
        for (timed, sample) in samples {
            self.tracks
                .entry(timed)
                .or_default()
                .add(sample, learns.stages);
            changed.push(timed);
        }
        changed
    }

    /// Takes a boot of the past: it is learnt at once, and not judged.
    pub(in crate::core) fn learn(&mut self, boot: &Boot) -> Vec<Timed> {
        let mut changed = Vec::new();
        for (timed, ms, _) in samples(boot).filter(|(timed, ..)| *timed != Timed::Ready) {
            self.tracks.entry(timed).or_default().learnt.add(ms);
            changed.push(timed);
        }
        changed
    }

    pub(in crate::core) fn track(&self, timed: Timed) -> Option<&Track> {
        self.tracks.get(&timed)
    }

    pub(in crate::core) fn timed(&self) -> impl Iterator<Item = Timed> + '_ {
        self.tracks.keys().copied()
    }

    /// Takes back what was saved; false if it cannot have been.
    pub(in crate::core) fn restore(&mut self, timed: Timed, track: Track) -> bool {
        let sound = track.is_sound();
        if sound {
            self.tracks.insert(timed, track);
        }
        sound
    }
}

/// The durations of a boot: completed stages, and how long it waited if it became ready before a deadline.
fn samples(boot: &Boot) -> impl Iterator<Item = (Timed, u32, Option<u32>)> {
    let stages = STAGES.iter().filter_map(|stage| {
        let span = boot.stage(*stage)?;
        (span.outcome == StageOutcome::Completed).then_some((Timed::Stage(*stage), span.ms, None))
    });
    let deadline = boot
        .limits
        .and_then(|limits| limits.deadline_ms)
        .filter(|ms| *ms > 0);
    let ready = boot
        .waited_ms()
        .zip(deadline)
        .filter(|_| boot.kind() == VmType::Browser)
        .map(|(waited, deadline)| (Timed::Ready, waited, Some(deadline)));
    stages.chain(ready)
}

/// What a rule about time may be told in the configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// How improbable the slow boots must be.
    pub alpha: f64,
    /// How many last boots are judged.
    pub last: u32,
    /// So many boots teach what is usual.
    pub min_boots: u32,
    /// A boot's stage is slow beyond this multiple of the usual 95th percentile,
    pub factor: f64,
    /// and by at least so much.
    pub slack_ms: u32,
    /// The share of the deadline that should be left when a boot is ready.
    pub headroom: f64,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            alpha: 0.001,
            last: 20,
            min_boots: 100,
            factor: 1.5,
            slack_ms: 1_000,
            headroom: 0.2,
        }
    }
}

/// How slow the last boots are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slow {
    /// `None`: the whole time to ready.
    pub stage: Option<Stage>,
    /// Of the last boots.
    pub p95_ms: u32,
    /// What is usual; of the time to ready, the deadline.
    pub against_ms: u32,
    /// From where on a boot counted as slow.
    pub limit_ms: u32,
}

/// What was found of one thing that is timed.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub slow: Slow,
    pub count: Count,
    /// The chance of so many slow boots if nothing has changed.
    pub chance: f64,
    /// The run of boots, up to the newest, that are not slow.
    pub good: u32,
    /// The slow ones, by number.
    pub boots: Vec<u64>,
}

impl Found {
    /// So many are slow that it is no chance, and nothing says that it is over: a burst of boots that queue for the same
    /// disk is among the last ones for long.
    #[must_use]
    pub fn is_bad(&self, terms: &Terms) -> bool {
        self.count.bad >= LEAST_BAD
            && self.chance <= terms.alpha
            && !rule::has_faded(self.count.share(), self.good)
    }
}

/// Which boots count, by their number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// Boots up to here count no more: an alert about them was resolved.
    pub settled: u64,
    /// Only boots after this can say that an alert is over.
    pub fired: u64,
}

/// What is judged, and how far.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The time to ready, and not the stages.
    pub ready: bool,
    /// Only what may be bad: nothing fires, so nobody asks how near the others are.
    pub only_bad: bool,
}

/// Judges every stage, or the time to ready.
#[must_use]
pub fn look(
    times: &Times,
    asked: Asked,
    terms: &Terms,
    since: Since,
    now: Timestamp,
) -> Vec<Found> {
    let of = |samples: &mut dyn Iterator<Item = &Sample>, slow: &dyn Fn(&Sample) -> bool| {
        let seen = Seen::of(samples, since, slow);
        let may_fire = seen.count.bad >= LEAST_BAD || !asked.only_bad;
        (may_fire && seen.count.of > 0).then_some(seen)
    };
    times
        .tracks
        .iter()
        .filter(|(timed, _)| (**timed == Timed::Ready) == asked.ready)
        .filter_map(|(timed, track)| {
            let last = || track.last(terms.last, since.settled, now);
            match timed {
                Timed::Stage(stage) => {
                    let (usual, limit) = track.usual(terms)?;
                    let seen = of(&mut last(), &|sample| f64::from(sample.ms) > limit)?;
                    let chance = exceedances(seen.count.bad, seen.count.of, usual);
                    Some(seen.found(Some(*stage), usual.ms, limit, chance))
                }
                Timed::Ready => {
                    let deadline = f64::from(track.last.back()?.limit_ms?);
                    let part = 1.0 - terms.headroom;
                    let seen = of(&mut last(), &|sample| {
                        let own = sample.limit_ms.map_or(deadline, f64::from);
                        f64::from(sample.ms) > own * part
                    })?;
                    let chance = binomial::tail(seen.count.bad, seen.count.of, BEYOND);
                    Some(seen.found(None, deadline, deadline * part, chance))
                }
            }
        })
        .collect()
}

/// What the last boots show.
struct Seen {
    count: Count,
    good: u32,
    slow: Vec<u64>,
    durations: [u32; LAST],
}

impl Seen {
    fn of<'a>(
        last: &mut dyn Iterator<Item = &'a Sample>,
        since: Since,
        slow: &dyn Fn(&Sample) -> bool,
    ) -> Seen {
        let mut seen = Seen {
            count: Count::default(),
            good: 0,
            slow: Vec::new(),
            durations: [0; LAST],
        };
        for (place, sample) in seen.durations.iter_mut().zip(last) {
            let is_slow = slow(sample);
            seen.count.of += 1;
            seen.count.bad += u32::from(is_slow);
            seen.good += u32::from(seen.count.bad == 0 && sample.boot > since.fired);
            *place = sample.ms;
            if is_slow {
                seen.slow.push(sample.boot);
            }
        }
        seen
    }

    fn p95_ms(&mut self) -> u32 {
        let all = self.durations.get_mut(..self.count.of as usize);
        let all = all.unwrap_or_default();
        let rank = all.len() - all.len() / 20;
        match rank.checked_sub(1) {
            Some(place) => *all.select_nth_unstable(place).1,
            None => 0,
        }
    }

    fn found(mut self, stage: Option<Stage>, against: f64, limit: f64, chance: f64) -> Found {
        Found {
            slow: Slow {
                stage,
                p95_ms: self.p95_ms(),
                against_ms: whole(against),
                limit_ms: whole(limit),
            },
            count: self.count,
            chance,
            good: self.good,
            boots: self.slow,
        }
    }
}

fn whole(ms: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast saturates, and durations are not negative"
    )]
    let ms = ms.round() as u32;
    ms
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generator of our own: what is judged must be the same on every machine.
    fn random(seed: &mut u64) -> u64 {
        *seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *seed >> 33
    }

    #[test]
    fn without_a_change_as_many_alarms_come_as_the_chance_says() {
        // 20,000 times: learn 100 durations, look at 20 of the same distribution, without the margin.
        let fires = |k: u32, p95| exceedances(k, 20, p95) <= 0.01;
        let (mut seed, mut alarms) = (7, 0);
        let mut wanted = 0.0;
        for _ in 0..20_000 {
            let mut draw = || u32::try_from(random(&mut seed) % 4_000_000).unwrap_or(0);
            let mut all: Vec<u32> = (0..100).map(|_| draw()).collect();
            all.sort_unstable();
            let p95 = Percentile {
                ms: f64::from(all[94]),
                rank: 95,
                of: 100,
            };
            let beyond = (0..20).filter(|_| f64::from(draw()) > p95.ms).count();
            alarms += u32::from(fires(u32::try_from(beyond).unwrap_or(0), p95));
            // Counts are whole, so the chance that is reached lies below the one that is allowed.
            let least = (1..20).find(|k| fires(*k, p95)).expect("some count fires");
            wanted = 20_000.0 * exceedances(least, 20, p95);
        }
        let near = (f64::from(alarms) - wanted).abs() < 4.0 * wanted.sqrt();
        assert!(near && wanted > 20.0, "{alarms} of 20,000 for {wanted}");
    }

    fn all_of(ready: bool) -> Asked {
        Asked {
            ready,
            only_bad: false,
        }
    }

    /// Stage durations in their order: the last ones are judged, those before were learnt.
    fn found(durations: &[u32]) -> Option<Found> {
        let mut times = Times::default();
        let track = times
            .tracks
            .entry(Timed::Stage(Stage::CloneSnapshot))
            .or_default();
        for (boot, ms) in (1..).zip(durations) {
            let at = Timestamp(i64::try_from(boot).unwrap_or(0) * 60_000);
            track.add(
                Sample {
                    boot,
                    at,
                    ms: *ms,
                    limit_ms: None,
                },
                true,
            );
        }
        let now = Timestamp(i64::try_from(durations.len()).unwrap_or(0) * 60_000);
        look(
            &times,
            all_of(false),
            &Terms::default(),
            Since::default(),
            now,
        )
        .pop()
    }

    #[test]
    fn a_stage_is_slow_when_enough_boots_take_clearly_longer() {
        let bad = |tail: &[u32]| {
            let mut all: Vec<u32> = (0..200).map(|n| 2_000 + n % 40 * 50).collect();
            all.extend(tail);
            found(&all).is_some_and(|found| found.is_bad(&Terms::default()))
        };
        assert!(!bad(&[]));
        assert!(!bad(&[60_000, 60_000]), "two say nothing");
        assert!(!bad(&[4_500; 20]), "slower, but not by what would matter");
        assert!(bad(&[9_000; 7]));
        assert!(bad(&[
            9_000, 2_000, 9_000, 2_000, 9_000, 9_000, 2_000, 9_000, 9_000, 9_000
        ]));
        let over: Vec<u32> = [9_000; 10].into_iter().chain([2_000; 6]).collect();
        assert!(!bad(&over), "it is over");
    }

    #[test]
    fn before_enough_boots_taught_it_no_stage_is_slow() {
        assert_eq!(found(&[2_000; LAST + 99]), None);
        assert!(found(&[2_000; LAST + 100]).is_some());
    }

    #[test]
    fn the_deadline_is_each_boots_own() {
        let mut times = Times::default();
        let track = times.tracks.entry(Timed::Ready).or_default();
        for boot in 1..=30 {
            // Half the deadline, whatever it is; then 85 % of a shorter one.
            let (ms, limit) = if boot <= 20 {
                (90_000, 180_000)
            } else {
                (51_000, 60_000)
            };
            let sample = Sample {
                boot,
                at: Timestamp(i64::try_from(boot).unwrap_or(0) * 60_000),
                ms,
                limit_ms: Some(limit),
            };
            track.add(sample, true);
        }
        let terms = Terms::default();
        let found = look(
            &times,
            all_of(true),
            &terms,
            Since::default(),
            Timestamp(30 * 60_000),
        )
        .pop()
        .expect("boots");
        assert_eq!(found.count, Count { bad: 10, of: 20 });
        assert!(found.is_bad(&terms));
        assert_eq!(
            (found.slow.against_ms, found.slow.limit_ms),
            (60_000, 48_000)
        );
        let since = Since {
            settled: 27,
            fired: 0,
        };
        let settled = look(&times, all_of(true), &terms, since, Timestamp(30 * 60_000))
            .pop()
            .expect("boots");
        assert_eq!(settled.count, Count { bad: 3, of: 3 });
    }
}

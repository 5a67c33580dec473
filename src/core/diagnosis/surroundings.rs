//! What surrounds the boots of a host: its golden images as audited, the controller's starts and stalls.
//!
//! Kept over a restart, so that a verdict does not lose its reasons with it. Of images the last few are kept, because
//! boots that failed are judged by the image that they were cloned from and not by the one that was put in its place.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::sign::{Sign, Signs};
use crate::core::event::{Failure, Timestamp};
use crate::core::image::{Check, Finding, Generation, GoldenImage, Verdict, by_check};
use crate::core::synthetic::{SyntheticResult, SyntheticRun};

/// Images that are remembered.
const KEPT: usize = 4;
/// Stalls that are remembered: a dozen in each of the boots that are looked at.
const KEPT_STALLS: usize = 128;
/// A boot was stalled if the controller stood still for one part in so many of its time: what is shorter explains a check
/// or two that timed out, and not all of them.
const SHARE: i64 = 3;
/// A shorter one makes no request of five seconds time out. The controller stands still for a second or four whenever it
/// copies an image, which is no trouble.
const TIMES_OUT_MS: i64 = 5_000;
/// A change of the image longer before the first failure says nothing.
const CHANGED_WITHIN_MS: i64 = 24 * 3_600_000;
/// A restart of the controller longer after the last boot began did not meet it.
const MET_WITHIN_MS: i64 = 180_000;

/// Which verdict of which check is which sign; any better verdict means that the sign is missing.
const CHECKS: &[(Check, Verdict, Sign)] = &[
    (Check::Agent, Verdict::Fail, Sign::ImageLacksAgent),
    (Check::Agent, Verdict::Warn, Sign::ImageObsolete),
    (Check::AgentCurrent, Verdict::Warn, Sign::ImageStale),
    (Check::Unit, Verdict::Fail, Sign::ImageLacksUnit),
    (Check::Enabled, Verdict::Fail, Sign::ImageNotEnabled),
    (Check::Interpreter, Verdict::Fail, Sign::ImageLacksProgram),
    (Check::Script, Verdict::Fail, Sign::ImageLacksProgram),
    (
        Check::WorkingDirectory,
        Verdict::Fail,
        Sign::ImageLacksProgram,
    ),
    (Check::Account, Verdict::Fail, Sign::ImageLacksProgram),
    (Check::Preconditions, Verdict::Fail, Sign::ImageLacksProgram),
    (Check::Ordering, Verdict::Fail, Sign::ImageWaits),
    (Check::Environment, Verdict::Fail, Sign::ImageEnvironment),
    (Check::KernelModules, Verdict::Fail, Sign::ImageLacksModules),
    (Check::Network, Verdict::Warn, Sign::ImageNetworkOdd),
    (Check::ClonedFrom, Verdict::Warn, Sign::ImageOfOther),
    (Check::Filesystem, Verdict::Fail, Sign::ImageDamaged),
    (Check::Vnc, Verdict::Warn, Sign::ImageLacksVnc),
];

/// One image as it was audited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Audited {
    generation: Generation,
    /// Since when it stands there, where that is known apart from when it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    signs: Signs,
    details: Vec<(String, String)>,
}

impl Audited {
    fn since(&self) -> Timestamp {
        self.since.unwrap_or(self.generation.modified_at)
    }
}

/// What surrounds the boots.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Surroundings {
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    images: VecDeque<Audited>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restarted_at: Option<Timestamp>,
    /// What our own synthetic boots met, and when they began.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    trials: VecDeque<(Timestamp, Signs)>,
    /// From when to when the controller stood still.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    stalls: VecDeque<(Timestamp, Timestamp)>,
}

/// The bad boots that are to be explained.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// When the first and the last of them began.
    pub first: Timestamp,
    pub last: Timestamp,
    /// When the last boot before them began that became ready.
    pub good: Option<Timestamp>,
}

impl Surroundings {
    /// Takes an audit; says whether anything is new in it.
    pub fn image(&mut self, image: &GoldenImage) -> bool {
        let Some(generation) = image.generation.clone() else {
            return false;
        };
        let mut audited = Audited {
            generation,
            since: image.since,
            signs: signs_of(&image.findings),
            details: details_of(&image.findings),
        };
        let standing = self.images.iter().max_by_key(|image| image.since());
        // One that was put back stands there anew; one that was only touched stands there as before.
        if let Some(standing) = standing.filter(|one| one.generation == audited.generation) {
            audited.since = standing.since;
        }
        let known = self.images.iter_mut();
        let mut same = known.filter(|known| known.generation == audited.generation);
        if let Some(known) = same.next() {
            let is_new = *known != audited;
            *known = audited;
            return is_new;
        }
        self.images.push_back(audited);
        if self.images.len() > KEPT {
            self.images.pop_front();
        }
        true
    }

    pub fn restarted(&mut self, at: Timestamp) {
        self.restarted_at = self.restarted_at.max(Some(at));
    }

    /// A synthetic boot of ours, with our own look at its VM; says whether it tells anything.
    pub fn trial(&mut self, run: &SyntheticRun) -> bool {
        let signs = of_trial(run);
        if signs.is_empty() {
            return false;
        }
        self.trials.push_back((run.started_at, signs));
        if self.trials.len() > KEPT {
            self.trials.pop_front();
        }
        true
    }

    /// What those synthetic boots met that began while boots failed, the latest last. One that failed soon after the last
    /// boot did met the same; one that passed then may have met the fix, and says nothing of the boots before it.
    #[must_use]
    pub fn trials(&self, span: Span) -> Signs {
        let mut signs = Signs::default();
        for (began, met) in &self.trials {
            let passed = met.of(Sign::AllFail) == Some(false);
            let until = match passed {
                true => span.last,
                false => span.last.plus_ms(MET_WITHIN_MS),
            };
            if (span.first..=until).contains(began) {
                signs.take(*met);
            }
        }
        signs
    }

    /// The controller stood still, as long gaps in its regular lines show.
    pub fn stalled(&mut self, from: Timestamp, until: Timestamp) {
        self.stalls.push_back((from, until));
        if self.stalls.len() > KEPT_STALLS {
            self.stalls.pop_front();
        }
    }

    /// Since when the image stands there that was put there last, if it is known.
    #[must_use]
    pub fn image_since(&self) -> Option<Timestamp> {
        self.images.iter().map(Audited::since).max()
    }

    /// The signs for bad boots of that time, and more about some of them in words.
    #[must_use]
    pub fn around(&self, span: Span) -> (Signs, Vec<(Sign, String)>) {
        let mut signs = Signs::default();
        let mut details = Vec::new();
        let before = self.images.iter();
        let before = before.filter(|image| image.since() <= span.last);
        if let Some(image) = before.max_by_key(|image| image.since()) {
            signs.take(image.signs);
            let named = image.details.iter();
            details.extend(
                named.filter_map(|(sign, text)| Some((Sign::from_word(sign)?, text.clone()))),
            );
            let changed_at = image.since();
            let age = span.first.since(changed_at);
            let good_since = span.good.is_some_and(|good| good > changed_at);
            let changed = (0..=CHANGED_WITHIN_MS).contains(&age) && !good_since;
            signs.set(Sign::ImageChanged, changed);
            if changed {
                details.push((Sign::ImageChanged, when(changed_at, age)));
            }
        }
        // Boots that began after it are not its victims.
        let restarted = self
            .restarted_at
            .is_some_and(|at| at >= span.last && at.since(span.last) <= MET_WITHIN_MS);
        signs.set(Sign::AfterRestart, restarted);
        (signs, details)
    }

    /// Whether the controller stood still for so much of a boot that its checks timed out by that; `None`: it never was
    /// seen to stand still, which says little.
    #[must_use]
    pub fn stalled_during(&self, began: Timestamp, ended: Timestamp) -> Option<bool> {
        let long = self.stalls.iter();
        let long = long.filter(|(from, until)| until.since(*from) >= TIMES_OUT_MS);
        let within = long.map(|(from, until)| (*until).min(ended).since((*from).max(began)).max(0));
        let stood: i64 = within.sum();
        (!self.stalls.is_empty()).then(|| stood > 0 && stood * SHARE >= ended.since(began))
    }
}

/// One that passed shows that not every boot fails; one that failed has looked at its VM as a probe does.
fn of_trial(run: &SyntheticRun) -> Signs {
    let signs = Signs::default();
    match (run.result, run.failure) {
        (SyntheticResult::Passed, _) => signs
            .with(Sign::AllFail, false)
            .with(Sign::ProbeRefused, false),
        (SyntheticResult::Failed, Some(Failure::AgentRefused)) => {
            signs.with(Sign::ProbeRefused, true)
        }
        (SyntheticResult::Failed, Some(Failure::AgentTimeout)) => signs.with(Sign::ProbeHung, true),
        (SyntheticResult::Failed, Some(Failure::VncNotReady)) => signs
            .with(Sign::ProbeRefused, false)
            .with(Sign::VncAnswered, false),
        (SyntheticResult::Failed | SyntheticResult::Skipped | SyntheticResult::Errored, _) => signs,
    }
}

/// What the audit of a VM's own copy says: the image and whatever was put into it since.
#[must_use]
pub fn of_clone(clone: &GoldenImage) -> Signs {
    let mut signs = Signs::default();
    let worst = by_check(&clone.findings);
    let of = |check: Check| worst.iter().find(|(known, _)| *known == check);
    let verdicts = [Check::Agent, Check::Unit].map(|check| of(check).map(|(_, verdict)| *verdict));
    if verdicts.contains(&Some(Verdict::Fail)) {
        signs.set(Sign::CloneLacksAgent, true);
    } else if !verdicts.contains(&Some(Verdict::Unknown)) && !verdicts.contains(&None) {
        signs.set(Sign::CloneLacksAgent, false);
    }
    signs
}

fn signs_of(findings: &[Finding]) -> Signs {
    let worst = by_check(findings);
    let mut signs = Signs::default();
    for (check, bad, sign) in CHECKS {
        let found = worst.iter().find(|(known, _)| known == check);
        match found.map(|(_, verdict)| *verdict) {
            None | Some(Verdict::Unknown) => {}
            Some(verdict) => {
                let is_seen = verdict == *bad || signs.has(*sign);
                signs.set(*sign, is_seen);
            }
        }
    }
    signs
}

/// The first finding behind each sign, in its own words.
fn details_of(findings: &[Finding]) -> Vec<(String, String)> {
    let mut details: Vec<(String, String)> = Vec::new();
    for (check, bad, sign) in CHECKS {
        let mut those = findings
            .iter()
            .filter(|finding| finding.check == *check && finding.verdict == *bad);
        let known = details.iter().any(|(word, _)| word == sign.as_str());
        if let (Some(finding), false) = (those.next(), known) {
            let text = match finding.path.is_empty() {
                true => finding.reason.clone(),
                false => format!("{}: {}", finding.path, finding.reason),
            };
            details.push((sign.as_str().to_owned(), text));
        }
    }
    details
}

/// `at 2025-10-18T01:14:00Z, 38 min before`
fn when(at: Timestamp, before_ms: i64) -> String {
    let minutes = before_ms / 60_000;
    let before = match minutes {
        0 => format!("{} s", before_ms / 1000),
        1..=119 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    };
    match Timestamp(at.0 - at.0.rem_euclid(1000)).utc() {
        Some(at) => format!("at {at}, {before} before"),
        None => format!("{before} before"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fastest fix is yesterday's image, whose own time is older than that of the broken one.
    #[test]
    fn an_older_image_that_is_put_back_stands_there_from_then_on() {
        let image = |inode: u64, written: i64, since: i64, agent: Verdict| GoldenImage {
            path: "/x".to_owned(),
            generation: Some(Generation {
                inode,
                size: 1,
                modified_at: Timestamp(written),
                uuid: None,
            }),
            since: Some(Timestamp(since)),
            findings: vec![Finding::new(Check::Agent, agent, "/a", "b")],
            audited_at: Timestamp(since),
        };
        let mut around = Surroundings::default();
        let lacks = |around: &Surroundings, at: i64| {
            let span = Span {
                first: Timestamp(at),
                last: Timestamp(at),
                good: None,
            };
            around.around(span).0.of(Sign::ImageLacksAgent)
        };
        assert!(around.image(&image(1, 100, 100, Verdict::Pass)));
        assert!(around.image(&image(2, 900, 1_000, Verdict::Fail)));
        assert_eq!(lacks(&around, 1_500), Some(true));
        assert!(around.image(&image(1, 100, 2_000, Verdict::Pass)));
        assert_eq!(around.image_since(), Some(Timestamp(2_000)));
        assert_eq!(lacks(&around, 1_500), Some(true), "of boots before it");
        assert_eq!(lacks(&around, 2_500), Some(false));
        // A change of its rights is no change of the image.
        assert!(!around.image(&image(1, 100, 3_000, Verdict::Pass)));
        assert_eq!(around.image_since(), Some(Timestamp(2_000)));
    }

    #[test]
    fn a_synthetic_boot_speaks_of_the_boots_that_failed_beside_it() {
        let run = |at: i64, result, failure| SyntheticRun {
            vm: None,
            session: None,
            started_at: Timestamp(at),
            ended_at: Timestamp(at + 50_000),
            result,
            failure,
            evidence: Vec::new(),
        };
        let span = Span {
            first: Timestamp(1_000_000),
            last: Timestamp(1_100_000),
            good: None,
        };
        let refused = Some(Failure::AgentRefused);
        let mut around = Surroundings::default();
        assert!(!around.trial(&run(1_050_000, SyntheticResult::Skipped, None)));
        assert!(around.trial(&run(900_000, SyntheticResult::Passed, None)));
        assert!(around.trials(span).is_empty(), "before it began");
        assert!(around.trial(&run(1_050_000, SyntheticResult::Failed, refused)));
        assert_eq!(around.trials(span).of(Sign::ProbeRefused), Some(true));
        assert_eq!(around.trials(span).of(Sign::AllFail), None);
        // After the last failure: it may have met the fix.
        assert!(around.trial(&run(1_200_000, SyntheticResult::Passed, None)));
        assert_eq!(around.trials(span).of(Sign::AllFail), None);
        assert_eq!(around.trials(span).of(Sign::ProbeRefused), Some(true));
        assert!(around.trial(&run(1_100_000, SyntheticResult::Passed, None)));
        assert_eq!(around.trials(span).of(Sign::AllFail), Some(false));
        assert_eq!(around.trials(span).of(Sign::ProbeRefused), Some(false));
    }

    #[test]
    fn a_copy_says_whether_the_agent_came_into_it_only_where_it_could_be_read() {
        let clone = |agent: Verdict, unit: Verdict| GoldenImage {
            path: "/users/vm/rootfs.ext4".to_owned(),
            since: None,
            generation: None,
            findings: [(Check::Agent, agent), (Check::Unit, unit)]
                .map(|(check, verdict)| Finding::new(check, verdict, "/x", "y"))
                .to_vec(),
            audited_at: Timestamp(0),
        };
        for (agent, unit, lacks) in [
            (Verdict::Fail, Verdict::Pass, Some(true)),
            (Verdict::Pass, Verdict::Fail, Some(true)),
            (Verdict::Pass, Verdict::Pass, Some(false)),
            (Verdict::Warn, Verdict::Pass, Some(false)),
            (Verdict::Unknown, Verdict::Pass, None),
        ] {
            let signs = of_clone(&clone(agent, unit));
            assert_eq!(signs.of(Sign::CloneLacksAgent), lacks, "{agent} {unit}");
        }
    }
}

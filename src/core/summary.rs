//! What a stretch of log says in figures: boots by outcome, stages, health checks, and each boot if asked.
//!
//! Fed with the tracker's observations; memory does not grow with the log unless the list of boots is kept.

use std::collections::BTreeMap;

use crate::core::boot::{Boot, Observation};
use crate::core::event::{AttemptResult, Failure, Outcome, Stage, StageOutcome, Timestamp, VmType};
use crate::core::sketch::Sketch;

/// Failed boots kept as examples for the text, the first and the last ones.
const EXAMPLES: usize = 3;

/// Starts and crashes of the controller that are kept.
const MOST_TIMES: usize = 1_000;
const SAME_CRASH_MS: i64 = 5_000;

#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    pub ready: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub lost: u64,
    pub in_progress: u64,
}

impl Outcomes {
    #[must_use]
    pub fn total(&self) -> u64 {
        self.ready + self.failed + self.cancelled + self.lost + self.in_progress
    }

    /// Boots that count for or against: `lost` and cancelled ones do neither.
    #[must_use]
    pub fn judged(&self) -> u64 {
        self.ready + self.failed
    }

    fn add(&mut self, outcome: Option<Outcome>) {
        match outcome {
            Some(Outcome::Ready) => self.ready += 1,
            Some(Outcome::Failed) => self.failed += 1,
            Some(Outcome::Cancelled) => self.cancelled += 1,
            Some(Outcome::Lost) => self.lost += 1,
            None => self.in_progress += 1,
        }
    }
}

/// A class of failures: how many boots, when, and a few of them.
#[derive(Clone, Debug)]
pub struct Failures {
    pub count: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// The first few and the last.
    pub examples: Vec<Boot>,
    /// Images without injected agent among them.
    pub not_injected: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Summary {
    keep_boots: bool,
    pub boots: Vec<Boot>,
    pub outcomes: Outcomes,
    pub by_type: BTreeMap<VmType, Outcomes>,
    pub failures: BTreeMap<(VmType, Failure), Failures>,
    pub stages: BTreeMap<Stage, Sketch>,
    /// Boots whose stage did not complete.
    pub stages_broken: BTreeMap<Stage, u64>,
    pub time_to_ready: BTreeMap<VmType, Sketch>,
    pub attempts: BTreeMap<AttemptResult, u64>,
    pub attempt_ms: Sketch,
    pub controller_starts: Vec<Timestamp>,
    pub controller_crashes: Vec<Timestamp>,
    /// First and last boot.
    pub span: Option<(Timestamp, Timestamp)>,
    /// The last ready boot of each type, to say since when it is well again.
    pub last_ready: BTreeMap<VmType, Timestamp>,
}

impl Summary {
    #[must_use]
    pub fn new(keep_boots: bool) -> Summary {
        Summary {
            keep_boots,
            ..Summary::default()
        }
    }

    pub fn add(&mut self, observation: &Observation) {
        match observation {
            Observation::StageEnded {
                stage, outcome, ms, ..
            } => match outcome {
                StageOutcome::Completed => {
                    self.stages.entry(*stage).or_default().add(*ms);
                }
                StageOutcome::Failed | StageOutcome::TimedOut | StageOutcome::Abandoned => {
                    *self.stages_broken.entry(*stage).or_default() += 1;
                }
            },
            Observation::AttemptEnded(attempt) => {
                *self.attempts.entry(attempt.result).or_default() += 1;
                if let Some(ms) = attempt.ms {
                    self.attempt_ms.add(ms);
                }
            }
            Observation::BootSettled(boot) => self.boot(boot),
            Observation::ControllerStarted { at } => {
                if self.controller_starts.len() < MOST_TIMES {
                    self.controller_starts.push(*at);
                }
            }
            Observation::ControllerCrashed { at } => self.crashed(*at),
            Observation::BootStarted { .. }
            | Observation::BootEnded(_)
            | Observation::BootAmended(_)
            | Observation::BootEvidence(_)
            | Observation::BootCompleted(_)
            | Observation::BootCredited { .. } => {}
        }
    }

    /// The controller crashed. One crash may write several lines within the seconds that it takes to end.
    fn crashed(&mut self, at: Timestamp) {
        let told = |last: &Timestamp| at.since(*last).abs() <= SAME_CRASH_MS;
        let crashes = &mut self.controller_crashes;
        if crashes.len() < MOST_TIMES && !crashes.last().is_some_and(told) {
            crashes.push(at);
        }
    }

    fn boot(&mut self, boot: &Boot) {
        let vm_type = boot.kind();
        self.outcomes.add(boot.outcome);
        self.by_type.entry(vm_type).or_default().add(boot.outcome);
        let span = self.span.get_or_insert((boot.started_at, boot.started_at));
        span.0 = span.0.min(boot.started_at);
        span.1 = span.1.max(boot.started_at);
        match boot.outcome {
            Some(Outcome::Ready) => {
                if let Some(ms) = boot.ready_ms {
                    self.time_to_ready.entry(vm_type).or_default().add(ms);
                }
                let last = self.last_ready.entry(vm_type).or_insert(boot.started_at);
                *last = (*last).max(boot.started_at);
            }
            Some(Outcome::Failed) => self.failure(boot),
            Some(Outcome::Cancelled | Outcome::Lost) | None => {}
        }
        if self.keep_boots {
            self.boots.push(boot.clone());
        }
    }

    fn failure(&mut self, boot: &Boot) {
        let Some(failure) = boot.failure else { return };
        let failures = self
            .failures
            .entry((boot.kind(), failure))
            .or_insert_with(|| Failures {
                count: 0,
                first_at: boot.started_at,
                last_at: boot.started_at,
                examples: Vec::new(),
                not_injected: 0,
            });
        failures.count += 1;
        failures.first_at = failures.first_at.min(boot.started_at);
        failures.last_at = failures.last_at.max(boot.started_at);
        failures.not_injected += u64::from(!boot.injected);
        if failures.examples.len() == EXAMPLES {
            failures.examples.pop();
        }
        failures.examples.push(boot.clone());
    }

    /// The boots in the order of their start.
    #[must_use]
    pub fn boots_in_order(&self) -> Vec<&Boot> {
        let mut boots: Vec<&Boot> = self.boots.iter().collect();
        boots.sort_by_key(|boot| (boot.started_at, boot.first));
        boots
    }

    #[must_use]
    pub fn failures_by_class(&self) -> BTreeMap<Failure, u64> {
        let mut classes = BTreeMap::new();
        for ((_, failure), failures) in &self.failures {
            *classes.entry(*failure).or_default() += failures.count;
        }
        classes
    }
}

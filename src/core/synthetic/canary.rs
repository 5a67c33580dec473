//! Synthetic boots on their schedule: one at a time, behind guards, and whatever an earlier process left first.

use serde::Serialize;

use super::plan::{Limits, Room, Schedule, SkipReason};
use super::trace::Trace;
use super::trial::{CallError, Effect, Running, Told, Trial, TrialSettings};
use super::{SyntheticResult, SyntheticRun};
use crate::core::event::Timestamp;

/// Trials that are shown and counted against the budget.
const KEPT: usize = 200;
/// A skipped run by schedule is not tried again before its next point.
const LEAST_LEFT: u32 = 15;
/// An unclean one forbids others for so long at most: the controller's own limit ends every VM after five minutes, and
/// no accident may forbid them for ever.
const FORGIVEN_MS: i64 = 30 * 60_000;

#[derive(Clone, Debug)]
pub struct Settings {
    pub trial: TrialSettings,
    pub limits: Limits,
    pub schedule: Schedule,
}

/// Who wants a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Scheduled,
    Asked,
}

/// What is to be done beside a trial's own effects.
#[derive(Clone, Debug, PartialEq)]
pub enum CanaryEffect {
    /// Ask the controller whether it is well; a run waits for it.
    AskHealth,
    Skipped(SkipReason, Box<SyntheticRun>),
    Trial(Effect),
}

/// What is shown of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Shown {
    Trial(Box<Trial>),
    Skipped { at: Timestamp, reason: SkipReason },
}

/// One that was not begun after all is shown as a skip, while it is remembered.
fn is_begun(trial: &Trial) -> bool {
    trial.result != Some(SyntheticResult::Skipped)
}

impl Shown {
    fn began_at(&self) -> Timestamp {
        match self {
            Shown::Trial(trial) => trial.started_at,
            Shown::Skipped { at, .. } => *at,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Canary {
    settings: Settings,
    due: Timestamp,
    running: Option<Running>,
    /// What an earlier process left, to be cleaned up one after the other.
    left: Vec<Trial>,
    /// Newest last.
    past: Vec<Shown>,
    /// A run that waits for the controller's health.
    asked: Option<Wish>,
    traces: Vec<Trace>,
    room: Room,
    last_skip: Option<SkipReason>,
    /// The last one is not cleaned up and never was.
    unclean: bool,
}

impl Canary {
    /// `saved` is what the journal holds, oldest first.
    #[must_use]
    pub fn new(settings: Settings, saved: Vec<Trial>, now: Timestamp) -> Canary {
        let begun = saved.into_iter().filter(is_begun);
        let (over, left): (Vec<_>, Vec<_>) = begun.partition(|trial| trial.done_at.is_some());
        let unclean = over.last().is_some_and(|trial| trial.clean == Some(false));
        let mut past: Vec<Shown> = over
            .into_iter()
            .map(|trial| Shown::Trial(Box::new(trial)))
            .collect();
        past.drain(..past.len().saturating_sub(KEPT));
        Canary {
            due: settings.schedule.next(now),
            settings,
            running: None,
            left,
            past,
            asked: None,
            traces: Vec::new(),
            room: Room::default(),
            last_skip: None,
            unclean,
        }
    }

    /// Every trial that a journal must hold, oldest first.
    pub fn trials(&self) -> impl Iterator<Item = &Trial> {
        let past = self.past.iter().filter_map(|shown| match shown {
            Shown::Trial(trial) => Some(trial.as_ref()),
            Shown::Skipped { .. } => None,
        });
        past.chain(&self.left).chain(self.running())
    }

    /// What a journal holds that could only be read now, oldest first. Of those that are known, more is known here.
    pub fn found(&mut self, saved: Vec<Trial>, now: Timestamp) {
        for trial in saved.into_iter().filter(is_begun) {
            if self.trials().any(|known| known.mark == trial.mark) {
                continue;
            }
            if trial.done_at.is_none() {
                self.left.push(trial);
                continue;
            }
            let before = |shown: &Shown| shown.began_at() <= trial.started_at.min(now);
            let at = self.past.partition_point(before);
            self.past.insert(at, Shown::Trial(Box::new(trial)));
        }
        let surplus = self.past.len().saturating_sub(KEPT);
        self.past.drain(..surplus);
    }

    /// What log and rows tell.
    pub fn sees(
        &mut self,
        traces: &[Trace],
        room: Room,
        now: Timestamp,
        out: &mut Vec<CanaryEffect>,
    ) {
        self.traces = traces.to_vec();
        self.room = room;
        self.with(now, out, |running, traces, room, now, out| {
            running.sees(traces, room, now, out);
        });
    }

    /// An answer for the trial that runs.
    pub fn told(&mut self, told: Told, now: Timestamp, out: &mut Vec<CanaryEffect>) {
        self.with(now, out, |running, _, _, now, out| {
            running.told(told, now, out);
        });
    }

    /// Somebody wants a run now; the guards hold all the same.
    pub fn wanted(&mut self, now: Timestamp, out: &mut Vec<CanaryEffect>) -> Option<SkipReason> {
        self.consider(Wish::Asked, now, out)
    }

    /// How the controller is; requests left in its limiter's window, where it says so.
    pub fn health(
        &mut self,
        answer: Result<Option<u32>, CallError>,
        mark: u64,
        now: Timestamp,
        out: &mut Vec<CanaryEffect>,
    ) {
        if self.asked.take().is_none() {
            return;
        }
        let reason = match answer {
            Ok(Some(left)) if left < LEAST_LEFT => Some(SkipReason::Limited),
            Err(CallError::Limited { .. }) => Some(SkipReason::Limited),
            Ok(_) => self.forbidden(now),
            Err(_) => Some(SkipReason::Controller),
        };
        if let Some(reason) = reason {
            self.skip(reason, now, out);
            return;
        }
        let mut effects = Vec::new();
        let settings = self.settings.trial.clone();
        self.running = Some(Running::begin(mark, settings, now, &mut effects));
        self.take(effects, out);
    }

    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<CanaryEffect>) {
        if self.running.is_none()
            && let Some(trial) = self.left.pop()
        {
            let mut effects = Vec::new();
            let settings = self.settings.trial.clone();
            let mut running = Running::resume(trial, settings, now, &mut effects);
            running.sees(&self.traces, self.room, now, &mut effects);
            self.running = Some(running);
            self.take(effects, out);
        }
        self.with(now, out, |running, _, _, now, out| running.tick(now, out));
        if now >= self.due {
            self.due = self.settings.schedule.next(now);
            self.consider(Wish::Scheduled, now, out);
        }
    }

    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.running.is_none() && !self.left.is_empty() {
            return Some(Timestamp::MIN);
        }
        let running = self.running.as_ref().and_then(Running::next_due);
        Some(running.map_or(self.due, |due| due.min(self.due)))
    }

    /// When the next run is due by schedule.
    #[must_use]
    pub fn next_run(&self) -> Timestamp {
        self.due
    }

    #[must_use]
    pub fn last_skip(&self) -> Option<SkipReason> {
        self.last_skip
    }

    #[must_use]
    pub fn running(&self) -> Option<&Trial> {
        self.running.as_ref().map(|running| &running.trial)
    }

    /// The latest runs, newest first.
    pub fn past(&self) -> impl Iterator<Item = &Shown> {
        self.past.iter().rev()
    }

    /// The guard that would forbid a run now.
    #[must_use]
    pub fn forbidden(&self, now: Timestamp) -> Option<SkipReason> {
        if self.running.is_some() || !self.left.is_empty() || self.unclean && !self.is_forgiven(now)
        {
            return Some(SkipReason::Previous);
        }
        if self.traces.iter().any(|trace| trace.is_in_the_way(now)) {
            return Some(SkipReason::Account);
        }
        let began = self.past.iter().filter_map(|shown| match shown {
            Shown::Trial(trial) if trial.result != Some(SyntheticResult::Skipped) => {
                Some(trial.started_at)
            }
            _ => None,
        });
        self.settings.limits.forbid(&self.room, began, now)
    }

    /// What is left of an unclean one shows in its trace: once it is gone, the way is free, and after half an
    /// hour in any case.
    fn is_forgiven(&self, now: Timestamp) -> bool {
        let last = self.past.iter().rev().find_map(|shown| match shown {
            Shown::Trial(trial) => Some(trial),
            Shown::Skipped { .. } => None,
        });
        last.is_none_or(|trial| {
            let done_at = trial.done_at.unwrap_or(trial.started_at);
            if now.since(done_at).abs() >= FORGIVEN_MS {
                return true;
            }
            let mut traces = self.traces.iter();
            let trace = traces.find(|trace| trace.vm.is_some() && trace.vm == trial.vm);
            trace.is_some_and(Trace::is_gone)
        })
    }

    fn consider(
        &mut self,
        wish: Wish,
        now: Timestamp,
        out: &mut Vec<CanaryEffect>,
    ) -> Option<SkipReason> {
        let forbidden = match self.asked {
            Some(_) => Some(SkipReason::Previous),
            None => self.forbidden(now),
        };
        match forbidden {
            // Who asks is told; what the schedule skips is counted.
            Some(reason) if wish == Wish::Asked => return Some(reason),
            Some(reason) => self.skip(reason, now, out),
            None => {
                self.asked = Some(wish);
                out.push(CanaryEffect::AskHealth);
            }
        }
        None
    }

    fn skip(&mut self, reason: SkipReason, now: Timestamp, out: &mut Vec<CanaryEffect>) {
        self.last_skip = Some(reason);
        self.keep(Shown::Skipped { at: now, reason });
        let run = SyntheticRun {
            vm: None,
            session: None,
            started_at: now,
            ended_at: now,
            result: SyntheticResult::Skipped,
            failure: None,
            evidence: vec![format!("skipped: {reason}")],
        };
        out.push(CanaryEffect::Skipped(reason, Box::new(run)));
    }

    fn keep(&mut self, shown: Shown) {
        self.past.push(shown);
        if self.past.len() > KEPT {
            self.past.remove(0);
        }
    }

    fn with(
        &mut self,
        now: Timestamp,
        out: &mut Vec<CanaryEffect>,
        work: impl FnOnce(&mut Running, &[Trace], Room, Timestamp, &mut Vec<Effect>),
    ) {
        let Some(running) = &mut self.running else {
            return;
        };
        let mut effects = Vec::new();
        work(running, &self.traces, self.room, now, &mut effects);
        if running.is_done()
            && let Some(running) = self.running.take()
        {
            if let Some(reason) = running.not_begun() {
                self.take(effects, out);
                self.skip(reason, now, out);
                return;
            }
            self.unclean = running.trial.clean == Some(false);
            self.keep(Shown::Trial(Box::new(running.trial)));
        }
        self.take(effects, out);
    }

    fn take(&mut self, effects: Vec<Effect>, out: &mut Vec<CanaryEffect>) {
        out.extend(effects.into_iter().map(CanaryEffect::Trial));
    }
}

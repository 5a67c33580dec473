//! The alert engine: observations into alerts, incidents and what to notify.
//!
//! ```text
//!               bad                    `for` over
//!   inactive ────────► pending ───────────────────► firing ◄─────┐
//!      ▲                  │ not bad, with data         │          │ bad again: nothing is sent
//!      └──────────────────┘                            │ recovered│
//!      ▲                                               ▼          │
//!      └──────────────── keep_firing over ◄──────── clearing ─────┘
//! ```
//!
//! Driven by events: the observation that crosses a threshold fires. Time (`tick`) only lets `keep_firing` and grouping
//! waits run out. While the source is blind an alert neither resolves nor clears (`unknown`), and without boots there
//! is no data, which is not recovery. Boots of the past (`history`) teach what is usual and page nobody.
//!
//! The first alert of an incident pages at once; alerts that fire later within it are updates under the same key, held
//! back for `group_wait_ms` so that several make one. An alert that flaps is held open and says so once.
//!
//! Pure: the same observations and times give the same notifications.
//!
//! What the engine knows survives a restart (`keep`). A restored engine is told when the log has been caught up with;
//! until then alerts fire and none resolves.

mod boots;
mod condition;
mod course;
mod diagnose;
mod drill;
mod family;
mod incident;
mod judge;
mod keep;
mod measure;
mod notification;
mod others;
mod per_type;
mod remarks;
mod shown;
mod state;
mod subject;
mod trouble;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use drill::drill;
pub use family::Family;
pub use incident::{Incident, Member, NamedBoot, Other};
use judge::Again;
use keep::Place;
pub use notification::{Kind, Notification, Reason};
use per_type::{NewGeneration, Overdue, PerType, judged};
pub use remarks::{Acknowledged, Digest, HeldBack, Remarks, SilenceEnds};
pub use shown::{AlertView, BootsSoFar, NEAR};
use state::AlertState;
pub use subject::{Cause, Subject};

use crate::core::boot::{Boot, Observation};
use crate::core::condition::{ConditionSettings, Level};
use crate::core::diagnosis::{self, Surroundings};
use crate::core::event::{AttemptResult, Timestamp, VmType};
use crate::core::generations::Generations;
use crate::core::image::Sighting;
use crate::core::rule::{RuleName, RuleSettings, Severity};
use crate::core::saved::Touched;
use crate::core::synthetic::{SyntheticBoots, SyntheticRun};
use crate::core::untold::Untold;

/// A record may be stamped a little ahead; more than this is a wrong clock and would stretch the windows.
const AHEAD_MS: i64 = 120_000;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub host: String,
    /// The rules about boots.
    pub rules: BTreeMap<RuleName, RuleSettings>,
    /// The rules about what holds now.
    pub conditions: BTreeMap<RuleName, ConditionSettings>,
    pub group_wait_ms: i64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            host: String::new(),
            rules: RuleName::BOOTS
                .iter()
                .map(|rule| (*rule, RuleSettings::usual(*rule)))
                .collect(),
            conditions: RuleName::CONDITIONS
                .iter()
                .map(|rule| (*rule, ConditionSettings::usual(*rule)))
                .collect(),
            group_wait_ms: 30_000,
        }
    }
}

/// A change of an alert's state, for metrics and the record.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertChanged {
    pub rule: RuleName,
    pub subject: Subject,
    pub severity: Severity,
    pub to: &'static str,
    pub at: Timestamp,
}

/// What the engine wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Notify(Box<Notification>),
    AlertChanged(AlertChanged),
}

#[derive(Clone, Debug)]
pub struct Engine {
    settings: Settings,
    types: BTreeMap<VmType, PerType>,
    alerts: BTreeMap<(RuleName, Subject), AlertState>,
    incidents: BTreeMap<(Subject, Family), Incident>,
    closed: VecDeque<Incident>,
    /// Incidents ever closed.
    closed_ever: u64,
    /// What surrounds the boots, for their diagnosis.
    surroundings: Surroundings,
    /// What became known of open incidents, counted; not saved.
    learned: u64,
    blind: bool,
    /// Rules about what holds now, and cannot be seen.
    unseen: BTreeSet<RuleName>,
    /// What they last found while it fired; not saved, as it is soon told again.
    levels: BTreeMap<RuleName, Level>,
    synthetic: SyntheticBoots,
    /// Boots by the golden image that they were copied from.
    generations: Generations,
    untold: Untold,
    /// What was written while nobody ran is still being read.
    catching_up: bool,
    /// What changed since it was last saved.
    touched: Touched<Place>,
}

impl Engine {
    #[must_use]
    pub fn new(settings: Settings) -> Engine {
        let rules = settings.rules.iter().filter(|(_, rule)| rule.enabled);
        let conditions = settings.conditions.iter().filter(|(_, rule)| rule.enabled);
        let alerts = rules
            .map(|(rule, _)| *rule)
            .chain(conditions.map(|(rule, _)| *rule))
            .flat_map(|rule| Subject::ALL.iter().map(move |subject| (rule, *subject)))
            .filter(|(rule, subject)| rule.judges(*subject))
            .map(|key| (key, AlertState::default()))
            .collect();
        Engine {
            unseen: settings.conditions.keys().copied().collect(),
            levels: BTreeMap::new(),
            settings,
            types: VmType::ALL
                .iter()
                .map(|vm_type| (*vm_type, PerType::default()))
                .collect(),
            alerts,
            incidents: BTreeMap::new(),
            closed: VecDeque::new(),
            closed_ever: 0,
            surroundings: Surroundings::default(),
            learned: 0,
            blind: false,
            synthetic: SyntheticBoots::default(),
            generations: Generations::default(),
            untold: Untold::default(),
            catching_up: false,
            touched: Touched::default(),
        }
    }

    /// Boots read before a first start: they teach what is usual, and nothing else.
    pub fn observe_history(&mut self, observation: &Observation) {
        if let Observation::BootCredited { boot, from } = observation {
            self.credit(boot, from.as_deref());
        }
        let Observation::BootEnded(boot) = observation else {
            return;
        };
        self.count_generation(boot);
        if let Some(judged) = judged(boot)
            && let Some(of_type) = self.types.get_mut(&boot.kind())
        {
            let learnt = of_type.learn(boot, &judged, |_| true);
            let timed = of_type.times.learn(boot);
            let cells = of_type
                .budget
                .add(judged.ended_at, judged.failure.is_some());
            self.touch_learnt(boot.kind(), learnt);
            self.touch_measured(boot.kind(), &timed, cells);
        }
    }

    /// Takes one observation at `now`.
    pub fn observe(&mut self, observation: &Observation, now: Timestamp, out: &mut Vec<Effect>) {
        match observation {
            Observation::BootEnded(boot) => self.boot_ended(boot, now, out),
            Observation::BootAmended(boot) => self.boot_amended(boot, now, out),
            Observation::AttemptEnded(attempt) => self.attempt_ended(attempt, now, out),
            Observation::BootEvidence(boot) => self.told_more(boot, now, out),
            Observation::BootCredited { boot, from } => {
                self.credit(boot, from.as_deref());
                self.told_more(boot, now, out);
            }
            Observation::ControllerStarted { at } => self.controller_started(*at),
            Observation::StageEnded { .. }
            | Observation::BootStarted { .. }
            | Observation::BootCompleted(_)
            | Observation::BootSettled(_)
            | Observation::ControllerCrashed { .. } => {}
        }
    }

    /// Of a boot that has ended more is known than was counted.
    fn told_more(&mut self, boot: &Boot, now: Timestamp, out: &mut Vec<Effect>) {
        self.evidence_grew(boot);
        if let Some(vm) = boot.vm {
            self.learn(vm, diagnosis::of_boot(boot), now, out);
        }
    }

    /// Takes an observation of a maintenance: it counts neither for nor against, but a boot that has ended is no longer
    /// in flight.
    pub fn observe_uncounted(&mut self, observation: &Observation) {
        match observation {
            Observation::BootEnded(boot) => self.landed(boot.vm),
            Observation::AttemptEnded(attempt) if attempt.result == AttemptResult::Ok => {
                self.landed(attempt.vm);
            }
            Observation::AttemptEnded(_)
            | Observation::StageEnded { .. }
            | Observation::BootStarted { .. }
            | Observation::BootAmended(_)
            | Observation::BootEvidence(_)
            | Observation::BootCompleted(_)
            | Observation::BootCredited { .. }
            | Observation::BootSettled(_)
            | Observation::ControllerCrashed { .. }
            | Observation::ControllerStarted { .. } => {}
        }
    }

    /// The golden image as it stands.
    pub fn image_sighted(&mut self, sighting: &Sighting) {
        self.generations.sighted(sighting);
        self.touched.mark(Place::Generations);
    }

    /// A boot that has ended was copied from another image than the one it was counted for.
    fn credit(&mut self, boot: &Boot, from: Option<&str>) {
        if self.generations.moved(boot, from) {
            self.touched.mark(Place::Generations);
        }
    }

    /// Boots by golden image, oldest image first.
    #[must_use]
    pub fn generations(&self) -> &Generations {
        &self.generations
    }

    fn count_generation(&mut self, boot: &Boot) {
        if self.generations.take(boot) {
            self.touched.mark(Place::Generations);
        }
    }

    /// The source of boots can, or cannot, be read.
    pub fn set_blind(&mut self, blind: bool, now: Timestamp, out: &mut Vec<Effect>) {
        if self.blind != blind {
            self.blind = blind;
            self.tick(now, out);
        }
    }

    /// Whether what was written while nobody ran is still being read. Until it is, alerts fire and none resolves: what
    /// is not read yet may say that it is bad again.
    pub fn set_catching_up(&mut self, catching_up: bool, now: Timestamp, out: &mut Vec<Effect>) {
        if self.catching_up != catching_up {
            self.catching_up = catching_up;
            self.tick(now, out);
        }
    }

    /// Lets pass what time alone changes.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.give_up(now);
        for vm_type in VmType::ALL {
            // Time alone makes nothing worse.
            self.judge(*vm_type, |_| false, Again::Always, now, out);
        }
        self.send_updates(now, out);
    }

    /// When `tick` next has work to do.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        // What fires is of an incident, and so is what is held back of it.
        if self.incidents.is_empty() {
            return None;
        }
        // What holds now is told again and again: `facts`.
        let clearing = self
            .alerts
            .iter()
            .filter(|(_, state)| state.is_firing())
            .filter_map(|((rule, _), state)| {
                let settings = self.settings.rules.get(rule)?;
                state.next_due(settings.keep_firing_ms)
            })
            .filter(|_| !self.blind && !self.catching_up);
        let updates = self
            .incidents
            .values()
            .filter_map(|incident| incident.update_due);
        let held = VmType::ALL
            .iter()
            .filter_map(|vm_type| self.held_until(*vm_type));
        clearing.chain(updates).chain(held).min()
    }

    /// Takes the end of a synthetic boot, as whoever asked for it saw it. What the log says of the same boot comes as
    /// an observation; in which order does not matter.
    pub fn synthetic(&mut self, run: &SyntheticRun, now: Timestamp, out: &mut Vec<Effect>) {
        self.synthetic.run(run);
        self.told(RuleName::SyntheticFailing, Place::Synthetic, now, out);
        self.tried(run, now);
        self.send_updates(now, out);
    }
}

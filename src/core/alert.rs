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

mod condition;
mod course;
mod diagnose;
mod drill;
mod family;
mod incident;
mod keep;
mod measure;
mod notification;
mod per_type;
mod remarks;
mod shown;
mod state;
mod subject;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use drill::drill;
pub use family::Family;
pub use incident::{Incident, Member, NamedBoot, Other};
use keep::Place;
pub use notification::{Kind, Notification, Reason};
use per_type::{NewGeneration, Overdue, PerType, judged};
pub use remarks::{Acknowledged, Digest, HeldBack, Remarks, SilenceEnds};
pub use shown::AlertView;
use state::{AlertState, Seen, Transition, Waits};
pub use subject::{Cause, Subject};

use crate::core::boot::{AttemptEnded, Boot, Observation};
use crate::core::condition::ConditionSettings;
use crate::core::diagnosis::{self, Surroundings};
use crate::core::event::{AttemptResult, Origin, Timestamp, VmId, VmType};
use crate::core::generations::Generations;
use crate::core::image::Sighting;
use crate::core::rule::{RuleName, RuleSettings, Severity, Stretch};
use crate::core::saved::Touched;
use crate::core::slowness::Learns;
use crate::core::synthetic::{SyntheticBoots, SyntheticRun};
use crate::core::untold::Untold;
use crate::core::window::{Count, Settled};

/// A record may be stamped a little ahead; more than this is a wrong clock and would stretch the windows.
const AHEAD_MS: i64 = 120_000;
const MAX_OVERDUE: usize = 10_000;
/// How far back boots of the other kinds are counted, and how many where that holds none.
const OTHERS_MS: i64 = 3_600_000;
const OTHERS_LAST: usize = 20;
/// A kind of VM of whose boots no more than this share failed since an incident's end is well again.
const RECOVERED_SHARE: f64 = 0.05;

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

/// What makes a rule about boots say something else than before: boots that have ended, and boots in flight that are
/// overdue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct JudgedBy {
    ended: u64,
    overdue: u32,
}

/// Whether a rule is judged again by what it was judged by last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Always,
    IfChanged,
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
    synthetic: SyntheticBoots,
    /// Boots by the golden image that they were copied from.
    generations: Generations,
    untold: Untold,
    /// What was written while nobody ran is still being read.
    catching_up: bool,
    /// What each rule about boots was last judged by; not saved.
    judged_by: BTreeMap<(RuleName, Subject), JudgedBy>,
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
            judged_by: BTreeMap::new(),
            touched: Touched::default(),
        }
    }

    /// Boots read before a first start: they teach what is usual, and nothing else.
    pub fn observe_history(&mut self, observation: &Observation) {
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
            Observation::BootEvidence(boot) => {
                self.evidence_grew(boot);
                if let Some(vm) = boot.vm {
                    self.learn(vm, diagnosis::of_boot(boot), now, out);
                }
            }
            Observation::ControllerStarted { at } => self.controller_started(*at),
            Observation::StageEnded { .. }
            | Observation::BootStarted { .. }
            | Observation::BootCompleted(_)
            | Observation::BootSettled(_) => {}
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
            | Observation::BootSettled(_)
            | Observation::ControllerStarted { .. } => {}
        }
    }

    /// The golden image as it stands.
    pub fn image_sighted(&mut self, sighting: &Sighting) {
        self.generations.sighted(sighting);
        self.touched.mark(Place::Generations);
    }

    /// A boot that has ended was copied from another image than the one it was counted for.
    pub fn image_corrected(&mut self, boot: &Boot, from: Option<&str>) {
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

    fn landed(&mut self, vm: Option<VmId>) {
        let Some(vm) = vm else { return };
        // Its kind may have become known only at its end.
        for (vm_type, of_type) in &mut self.types {
            if of_type.overdue.remove(&vm).is_some() {
                self.touched.mark(Place::Overdue(*vm_type, vm));
            }
        }
    }

    fn boot_ended(&mut self, boot: &Boot, now: Timestamp, out: &mut Vec<Effect>) {
        let vm_type = boot.kind();
        self.landed(boot.vm);
        self.count_generation(boot);
        if boot.origin == Origin::User {
            let to_judge = self.untold.boot(boot);
            self.touched.mark(Place::Untold);
            if to_judge {
                self.told(RuleName::BootsUntold, Place::Untold, now, out);
            }
        }
        if boot.origin == Origin::Synthetic {
            if self.synthetic.boot(boot) {
                self.told(RuleName::SyntheticFailing, Place::Synthetic, now, out);
            }
            return;
        }
        let Some(of_type) = self.types.get_mut(&vm_type) else {
            return;
        };
        let judged = judged(boot);
        let counted = judged.is_some();
        let failure = judged.as_ref().and_then(|judged| judged.failure);
        if let Some(mut judged) = judged {
            let latest = now.plus_ms(AHEAD_MS);
            judged.ended_at = judged.ended_at.min(latest);
            let alerts = &self.alerts;
            let learnt = of_type.learn(boot, &judged, |rule| {
                alerts
                    .get(&(rule, vm_type.into()))
                    .is_none_or(|state| !state.is_firing())
            });
            of_type.newest = of_type.newest.max(Some(judged.ended_at));
            let cells = of_type
                .budget
                .add(judged.ended_at, judged.failure.is_some());
            let number = of_type.window.added() + 1;
            let learns = Learns {
                // What is held to be slow is not usual.
                stages: alerts
                    .get(&(RuleName::BootStageSlow, Subject::Boots(vm_type)))
                    .is_none_or(|state| !state.is_active()),
            };
            let timed = of_type.times.add(boot, judged.ended_at, number, learns);
            let ended_at = judged.ended_at;
            let added = of_type.window.add(judged);
            for ((rule, about), state) in &mut self.alerts {
                if *about == vm_type.into() && state.is_firing() {
                    let bad = failure.is_some_and(|failure| rule.counts(failure));
                    state.boot_ended(bad, ended_at);
                }
            }
            self.touch_measured(vm_type, &timed, cells);
            self.touched.mark(Place::Bucket(vm_type, added.bucket));
            self.touched.mark(Place::Boot(vm_type, added.place));
            self.touch_learnt(vm_type, learnt);
        }
        self.prove_fixes(vm_type, now);
        // What is opened now is diagnosed as it is opened.
        let open: Vec<(Subject, Family)> = match failure {
            Some(_) => self.incidents.keys().copied().collect(),
            None => Vec::new(),
        };
        self.judge(
            vm_type,
            |rule| counted && rule.times() || failure.is_some_and(|failure| rule.counts(failure)),
            Again::Always,
            now,
            out,
        );
        if failure.is_some() {
            self.follow_cause(vm_type, course::MOST, now);
            self.diagnose(&open, now);
        }
        self.send_updates(now, out);
    }

    /// Why a boot that has been counted failed is known better: it is not counted again, but an open incident may turn
    /// out to be about something else.
    fn boot_amended(&mut self, boot: &Boot, now: Timestamp, out: &mut Vec<Effect>) {
        let vm_type = boot.kind();
        let Some(of_type) = self.types.get_mut(&vm_type) else {
            return;
        };
        let (Some(vm), Some(failure)) = (boot.vm, boot.failure) else {
            return;
        };
        let Some(place) = of_type.window.amend(vm, failure, boot.evidence.clone()) else {
            return;
        };
        self.touched.mark(Place::Boot(vm_type, place));
        self.judged_by.clear();
        self.follow_cause(vm_type, course::LEAST_AMENDED, now);
        self.send_updates(now, out);
    }

    fn attempt_ended(&mut self, attempt: &AttemptEnded, now: Timestamp, out: &mut Vec<Effect>) {
        let (Some(vm), Some(waited)) = (attempt.vm, attempt.waited_ms) else {
            return;
        };
        // Trials are judged by themselves, when they have ended.
        if attempt.origin == Origin::Synthetic {
            return;
        }
        // Only browser VMs are asked for their health.
        let vm_type = VmType::Browser;
        let Some(of_type) = self.types.get_mut(&vm_type) else {
            return;
        };
        let settings = self.settings.rules.values();
        let overdue = Overdue {
            result: attempt.result,
            began: attempt.at.plus_ms(-i64::from(waited)),
            waited_ms: waited,
            deadline_ms: attempt.deadline_ms,
            died: attempt.died,
        };
        let hopeless = attempt.result != AttemptResult::Ok
            && settings
                .into_iter()
                .any(|rule| of_type.is_overdue(&overdue, rule));
        let before = match hopeless {
            true if of_type.overdue.len() < MAX_OVERDUE => of_type
                .overdue
                .insert(vm, overdue)
                .map(|before| before.result),
            true => return,
            false => of_type.overdue.remove(&vm).map(|before| before.result),
        };
        if hopeless || before.is_some() {
            self.touched.mark(Place::Overdue(vm_type, vm));
            self.touched.mark(Place::Figures(vm_type));
            of_type.newest = of_type
                .newest
                .max(Some(attempt.at.min(now.plus_ms(AHEAD_MS))));
            self.judge(
                vm_type,
                |rule| rule.counts_overdue(attempt.result),
                // A hopeless boot is told of every few seconds, and mostly nothing has changed.
                Again::IfChanged,
                now,
                out,
            );
            self.send_updates(now, out);
        }
    }

    /// Judges the rules about one kind of VM: those that something has just counted against, and those that are
    /// firing already. No other can have changed.
    fn judge(
        &mut self,
        vm_type: VmType,
        worse: impl Fn(RuleName) -> bool,
        again: Again,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let Some(of_type) = self.types.get(&vm_type) else {
            return;
        };
        let Some(newest) = of_type.newest else { return };
        // A CLI rate says something only where a CLI boot was ever ready.
        if vm_type == VmType::Cli && !of_type.ever_ready {
            return;
        }
        let subject = Subject::Boots(vm_type);
        let mut fired = Vec::new();
        let mut resolved = Vec::new();
        let mut paged = self.is_paging(vm_type);
        let worst = self.worst(vm_type);
        let held = self.held_until(vm_type).is_some();
        for ((rule, about), state) in &mut self.alerts {
            let active = state.is_active();
            if *about != subject || !(active || worse(*rule)) {
                continue;
            }
            // What pages needs no ticket.
            if paged && !active && *rule == RuleName::BootBudgetBurnTicket {
                continue;
            }
            let Some(settings) = self.settings.rules.get(rule) else {
                continue;
            };
            let boots = of_type.window.added();
            let by = JudgedBy {
                ended: boots,
                overdue: of_type.overdue_by(*rule, settings),
            };
            let same = self.judged_by.insert((*rule, subject), by) == Some(by);
            // What is pending or clearing waits for time to pass.
            let waits = state.is_pending() || state.clear_since().is_some();
            if again == Again::IfChanged && same && !waits {
                continue;
            }
            if active {
                self.touched.mark(Place::Alert(*rule, subject));
            }
            let reading = of_type.reading(*rule, settings, state, worst, newest);
            let (blind, behind) = (self.blind, self.catching_up);
            let seen = Seen {
                bad: reading.bad,
                recovered: reading.recovered && !held,
                share: reading.count.share(),
                at: newest,
            };
            let waits = Waits {
                for_ms: settings.for_ms,
                keep_firing_ms: settings.keep_firing_ms,
            };
            let Some(transition) = state.step(seen, waits, now, blind, behind) else {
                continue;
            };
            self.touched.mark(Place::Alert(*rule, subject));
            match transition {
                Transition::Pending | Transition::Inactive => {}
                Transition::Fired | Transition::Flapping => {
                    state.fired_after(boots);
                    paged |= rule.severity() == Severity::Page;
                    fired.push((*rule, reading));
                }
                Transition::Resolved => {
                    let (good, since_good) = match rule.times() {
                        // Boots that failed say nothing of it: what it saw is settled, all of it.
                        true => (0, None),
                        false => of_type.good_run(*rule, state),
                    };
                    state.settle(Settled {
                        boots: boots - good,
                        bad: of_type.window.bad_ever(|failure| rule.counts(failure)),
                    });
                    resolved.push((*rule, since_good));
                }
            }
            out.push(changed(*rule, subject, transition, now));
        }
        for (rule, reading) in fired {
            self.alert_fired(rule, vm_type, reading, now, out);
        }
        if resolved
            .iter()
            .any(|(rule, _)| rule.severity() == Severity::Page)
        {
            self.settle_ticket(vm_type);
        }
        for (rule, since_good) in resolved {
            self.alert_resolved(rule, subject, since_good, Reason::AllResolved, now, out);
        }
    }

    /// Whether failures of this kind's boots have paged somebody who is still at it.
    fn is_paging(&self, vm_type: VmType) -> bool {
        self.pages_about(vm_type).any(AlertState::is_firing)
    }

    /// The worst share of bad boots that any page about them has seen: what ends one ends the others.
    fn worst(&self, vm_type: VmType) -> f64 {
        self.pages_about(vm_type)
            .map(AlertState::worst)
            .fold(0.0, f64::max)
    }

    fn pages_about(&self, vm_type: VmType) -> impl Iterator<Item = &AlertState> {
        let subject = Subject::Boots(vm_type);
        self.alerts
            .iter()
            .filter(move |((rule, about), _)| {
                *about == subject
                    && rule.severity() == Severity::Page
                    && RuleName::BOOTS.contains(rule)
            })
            .map(|(_, state)| state)
    }

    /// What was paged and is over needs no ticket either.
    fn settle_ticket(&mut self, vm_type: VmType) {
        let rule = RuleName::BootBudgetBurnTicket;
        let place = (rule, Subject::Boots(vm_type));
        let (Some(of_type), Some(state)) = (self.types.get(&vm_type), self.alerts.get_mut(&place))
        else {
            return;
        };
        if !state.is_active() {
            state.settle(Settled {
                boots: of_type.window.added(),
                bad: of_type.window.bad_ever(|failure| rule.counts(failure)),
            });
            self.touched.mark(Place::Alert(place.0, place.1));
        }
    }

    /// Boots of the other kinds, or of all where it is about none, to say what is not affected.
    fn others(&self, subject: Subject, now: Timestamp) -> Vec<Other> {
        self.types
            .iter()
            .filter(|(other, of_type)| subject.vm_type() != Some(**other) && of_type.ever_ready)
            .filter_map(|(other, of_type)| {
                let newest_at = of_type.newest?;
                let hour = of_type
                    .window
                    .within(newest_at.max(now), OTHERS_MS, |_| true);
                let (count, stretch) = if hour.of > 0 {
                    (hour, Stretch::Span(OTHERS_MS))
                } else {
                    let mut count = Count::default();
                    for boot in of_type.window.last(Timestamp::MIN).take(OTHERS_LAST) {
                        count.of += 1;
                        count.bad += u32::from(boot.failure.is_some());
                    }
                    (count, Stretch::Last(count.of))
                };
                (count.of > 0).then_some(Other {
                    vm_type: *other,
                    count,
                    stretch,
                    newest_at,
                    recovered: self.has_recovered(*other, of_type),
                })
            })
            .collect()
    }
}

impl Engine {
    /// Whether boots of that kind failed, and do no more: no incident about it is open, and since the end of the last one
    /// hardly any failed.
    fn has_recovered(&self, vm_type: VmType, of_type: &PerType) -> bool {
        let fails = |incident: &&Incident| {
            incident.subject == Subject::Boots(vm_type) && incident.asks_why()
        };
        if self.incidents.values().any(|incident| fails(&incident)) {
            return false;
        }
        let over = self.closed.iter().filter(fails);
        let over = over.filter_map(|incident| Some(incident.over_since(incident.resolved_at?)));
        let Some(over) = over.max() else { return false };
        let mut count = Count::default();
        for boot in of_type.window.last(over) {
            count.of += 1;
            count.bad += u32::from(boot.failure.is_some());
        }
        count.share() <= RECOVERED_SHARE
    }
}

fn changed(rule: RuleName, subject: Subject, transition: Transition, at: Timestamp) -> Effect {
    Effect::AlertChanged(AlertChanged {
        rule,
        subject,
        severity: rule.severity(),
        to: transition.as_str(),
        at,
    })
}

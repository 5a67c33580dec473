//! The engine over a restart: its parts, and what became of rules that are gone.
//!
//! Whether the source can be read is not kept: a new run's source says so itself, and until it does it is not blind.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::course;
use super::incident::CLOSED;
use super::state::AlertState;
use super::{
    AlertChanged, Effect, Engine, Family, Incident, NewGeneration, Overdue, PerType, Reason,
    Settings, Subject,
};
use crate::core::burn::Grain;
use crate::core::diagnosis::Surroundings;
use crate::core::event::{Timestamp, VmId, VmType};
use crate::core::rule::RuleName;
use crate::core::saved::{Changes, MAX_NUMBER, REST, RestoreError, Saved, Touched};
use crate::core::sketch::Sketch;
use crate::core::slowness::Timed;
use crate::core::window::{Ever, Judged};

/// Of what is saved; a newer one is refused.
const VERSION: u32 = 2;

/// What is saved under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    Figures(VmType),
    /// The times that boots took to become ready, of this generation or of the one before.
    Readiness(VmType, Generation),
    Bucket(VmType, usize),
    Boot(VmType, usize),
    Overdue(VmType, VmId),
    Budget(VmType, Grain, usize),
    Times(VmType, Timed),
    Alert(RuleName, Subject),
    Incident(Subject, Family),
    Closed(usize),
    Surroundings,
    Synthetic,
    Generations,
    Untold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Generation {
    Recent,
    Before,
}

impl Place {
    /// Where the closed incident of this number is.
    pub(super) fn closed(number: u64) -> Place {
        Place::Closed(usize::try_from(number % CLOSED as u64).unwrap_or(0))
    }

    fn parse(key: &str) -> Option<Place> {
        let mut words = key.split('/');
        let mut next = || words.next();
        let kind = next()?;
        let place = match kind {
            "alert" => {
                let rule = next()?;
                let rule = RuleName::ALL.iter().find(|known| known.key() == rule)?;
                Place::Alert(*rule, Subject::from_word(next()?)?)
            }
            "closed" => Place::Closed(next()?.parse().ok()?),
            "surroundings" => Place::Surroundings,
            "synthetic" => Place::Synthetic,
            "generations" => Place::Generations,
            "untold" => Place::Untold,
            "incident" => {
                let subject = Subject::from_word(next()?)?;
                let family = next()?;
                let known = Family::ALL.iter().find(|known| known.as_str() == family)?;
                Place::Incident(subject, *known)
            }
            _ => {
                let vm_type = VmType::from_word(next()?)?;
                match kind {
                    "figures" => Place::Figures(vm_type),
                    "readiness" => Place::Readiness(
                        vm_type,
                        match next()? {
                            "recent" => Generation::Recent,
                            "before" => Generation::Before,
                            _ => return None,
                        },
                    ),
                    "bucket" => Place::Bucket(vm_type, next()?.parse().ok()?),
                    "boot" => Place::Boot(vm_type, next()?.parse().ok()?),
                    "overdue" => Place::Overdue(vm_type, VmId::parse(next()?.as_bytes())?),
                    "budget" => {
                        let grain = next()?;
                        let known = Grain::ALL.iter().find(|known| known.as_str() == grain)?;
                        Place::Budget(vm_type, *known, next()?.parse().ok()?)
                    }
                    "times" => Place::Times(vm_type, Timed::from_word(next()?)?),
                    _ => return None,
                }
            }
        };
        // One key a place.
        (place.to_string() == key).then_some(place)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Figures(vm_type) => write!(f, "figures/{vm_type}"),
            Place::Readiness(vm_type, Generation::Recent) => {
                write!(f, "readiness/{vm_type}/recent")
            }
            Place::Readiness(vm_type, Generation::Before) => {
                write!(f, "readiness/{vm_type}/before")
            }
            Place::Bucket(vm_type, index) => write!(f, "bucket/{vm_type}/{index}"),
            Place::Boot(vm_type, place) => write!(f, "boot/{vm_type}/{place}"),
            Place::Overdue(vm_type, vm) => write!(f, "overdue/{vm_type}/{vm}"),
            Place::Budget(vm_type, grain, place) => {
                write!(f, "budget/{vm_type}/{}/{place}", grain.as_str())
            }
            Place::Times(vm_type, timed) => write!(f, "times/{vm_type}/{}", timed.as_str()),
            Place::Alert(rule, subject) => write!(f, "alert/{}/{subject}", rule.key()),
            Place::Incident(subject, family) => write!(f, "incident/{subject}/{}", family.as_str()),
            Place::Closed(place) => write!(f, "closed/{place}"),
            Place::Surroundings => f.write_str("surroundings"),
            Place::Synthetic => f.write_str("synthetic"),
            Place::Generations => f.write_str("generations"),
            Place::Untold => f.write_str("untold"),
        }
    }
}

/// What belongs to no single place.
#[derive(Debug, Serialize, Deserialize)]
struct Rest {
    version: u32,
    closed_ever: u64,
    /// How many other parts there are.
    parts: usize,
}

/// What is known of one kind of VM, without what is saved piece by piece.
#[derive(Debug, Serialize, Deserialize)]
struct Figures {
    ever_ready: bool,
    newest: Option<Timestamp>,
    #[serde(default)]
    last_ended: Option<Timestamp>,
    usual: BTreeMap<RuleName, f64>,
    p99_ms: Option<u32>,
    ever: Ever,
}

impl Figures {
    fn of(of_type: &PerType) -> Figures {
        Figures {
            ever_ready: of_type.ever_ready,
            newest: of_type.newest,
            last_ended: of_type.last_ended,
            usual: of_type.usual.clone(),
            p99_ms: of_type.readiness.p99_ms,
            ever: of_type.window.ever(),
        }
    }
}

/// One of a row, with its number in it.
#[derive(Serialize)]
struct Numbered<'a, T>(u64, &'a T);

impl Engine {
    /// What has changed since the last call, all of it at the first one.
    pub fn changes(&mut self) -> Changes {
        let whole = self.touched.is_everything();
        let mut changes = Changes {
            whole,
            ..Changes::default()
        };
        let all = if whole { self.places() } else { Vec::new() };
        for place in self.touched.take(all) {
            self.save(place, &mut changes);
        }
        if whole || !changes.parts.is_empty() {
            changes.put(REST, &self.rest());
        }
        changes
    }

    /// The next `changes` hands out everything: what the last ones told was not kept.
    pub fn save_everything(&mut self) {
        self.touched = Touched::default();
    }

    /// An engine as it was when these parts, keys and texts, were the last of `changes`; no part at all makes a new
    /// one. An alert keeps its state whatever its rule's settings are now; one whose rule is gone or switched off is
    /// over, and so is its incident when nothing else of it fires: `out` gets what follows from that.
    pub fn restore<K: Into<String>, V: Into<String>>(
        parts: impl IntoIterator<Item = (K, V)>,
        settings: Settings,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) -> Result<Engine, RestoreError> {
        let mut engine = Engine::new(settings);
        let mut saved = Saved::new("alert engine", parts);
        let Some(rest) = saved.rest::<Rest>(VERSION)? else {
            return Ok(engine);
        };
        saved.counts(rest.parts)?;
        saved.ensure(
            rest.closed_ever < MAX_NUMBER,
            REST,
            "it has counted too far",
        )?;
        engine.closed_ever = rest.closed_ever;
        engine.touched = Touched::nothing();
        let mut pieces = Pieces::default();
        for (key, text) in saved.iter() {
            let Some(place) = Place::parse(key) else {
                return Err(saved.contradiction(key, "it names no part of an alert engine"));
            };
            engine.take_back(place, &saved, (key, text), &mut pieces)?;
        }
        engine.put_together(&saved, pieces, now, out)?;
        Ok(engine)
    }

    pub(super) fn touch_learnt(&mut self, vm_type: VmType, learnt: Option<NewGeneration>) {
        self.touched.mark(Place::Figures(vm_type));
        if let Some(new_generation) = learnt {
            self.touched
                .mark(Place::Readiness(vm_type, Generation::Recent));
            if new_generation {
                self.touched
                    .mark(Place::Readiness(vm_type, Generation::Before));
            }
        }
    }

    pub(super) fn touch_measured(
        &mut self,
        vm_type: VmType,
        timed: &[Timed],
        cells: [(Grain, usize); 2],
    ) {
        for timed in timed {
            self.touched.mark(Place::Times(vm_type, *timed));
        }
        for (grain, place) in cells {
            self.touched.mark(Place::Budget(vm_type, grain, place));
        }
    }

    fn rest(&self) -> Rest {
        let of_types: usize = self
            .types
            .values()
            .map(|of_type| {
                let window = &of_type.window;
                let measured = Grain::ALL
                    .iter()
                    .map(|grain| of_type.budget.places(*grain).count())
                    .sum::<usize>()
                    + of_type.times.timed().count();
                3 + window.used().count()
                    + window.places().count()
                    + of_type.overdue.len()
                    + measured
            })
            .sum();
        Rest {
            version: VERSION,
            closed_ever: self.closed_ever,
            parts: of_types
                + self.alerts.len()
                + self.incidents.len()
                + self.closed.len()
                + usize::from(self.has_surroundings())
                + usize::from(!self.synthetic.is_empty())
                + usize::from(!self.generations.is_empty())
                + usize::from(!self.untold.is_empty()),
        }
    }

    /// Every place that has a part.
    fn places(&self) -> Vec<Place> {
        let mut all = Vec::new();
        for (vm_type, of_type) in &self.types {
            let vm_type = *vm_type;
            all.push(Place::Figures(vm_type));
            all.push(Place::Readiness(vm_type, Generation::Recent));
            all.push(Place::Readiness(vm_type, Generation::Before));
            let window = &of_type.window;
            all.extend(window.used().map(|index| Place::Bucket(vm_type, index)));
            all.extend(window.places().map(|place| Place::Boot(vm_type, place)));
            all.extend(
                of_type
                    .overdue
                    .keys()
                    .map(|vm| Place::Overdue(vm_type, *vm)),
            );
        }
        for (vm_type, of_type) in &self.types {
            for grain in Grain::ALL {
                let places = of_type.budget.places(grain);
                all.extend(places.map(|place| Place::Budget(*vm_type, grain, place)));
            }
            let timed = of_type.times.timed();
            all.extend(timed.map(|timed| Place::Times(*vm_type, timed)));
        }
        all.extend(self.alerts.keys().map(|key| Place::Alert(key.0, key.1)));
        all.extend(
            self.incidents
                .keys()
                .map(|key| Place::Incident(key.0, key.1)),
        );
        all.extend(
            self.numbered_closed()
                .map(|(number, _)| Place::closed(number)),
        );
        if self.has_surroundings() {
            all.push(Place::Surroundings);
        }
        all.extend((!self.synthetic.is_empty()).then_some(Place::Synthetic));
        all.extend((!self.generations.is_empty()).then_some(Place::Generations));
        all.extend((!self.untold.is_empty()).then_some(Place::Untold));
        all
    }

    /// Those of whom nothing was told are not kept.
    fn has_surroundings(&self) -> bool {
        self.surroundings != Surroundings::default()
    }

    fn numbered_closed(&self) -> impl Iterator<Item = (u64, &Incident)> {
        (self.closed_ever - self.closed.len() as u64..).zip(&self.closed)
    }

    fn save(&self, place: Place, changes: &mut Changes) {
        let key = place.to_string();
        let of = |vm_type| self.types.get(&vm_type);
        match place {
            Place::Figures(vm_type) => {
                changes.put_or_remove(key, of(vm_type).map(Figures::of).as_ref());
            }
            Place::Readiness(vm_type, generation) => {
                let sketch = of(vm_type).map(|of_type| match generation {
                    Generation::Recent => &of_type.readiness.recent,
                    Generation::Before => &of_type.readiness.before,
                });
                changes.put_or_remove(key, sketch);
            }
            Place::Bucket(vm_type, index) => {
                let bucket = of(vm_type).and_then(|of_type| of_type.window.bucket(index));
                changes.put_or_remove(key, bucket.as_ref());
            }
            Place::Boot(vm_type, place) => {
                let boot = of(vm_type).and_then(|of_type| of_type.window.at_place(place));
                let numbered = boot.map(|(number, boot)| Numbered(number, boot));
                changes.put_or_remove(key, numbered.as_ref());
            }
            Place::Overdue(vm_type, vm) => {
                changes.put_or_remove(
                    key,
                    of(vm_type).and_then(|of_type| of_type.overdue.get(&vm)),
                );
            }
            Place::Budget(vm_type, grain, place) => {
                let cell = of(vm_type).and_then(|of_type| of_type.budget.cell(grain, place));
                changes.put_or_remove(key, cell);
            }
            Place::Times(vm_type, timed) => {
                let track = of(vm_type).and_then(|of_type| of_type.times.track(timed));
                changes.put_or_remove(key, track);
            }
            Place::Alert(rule, subject) => {
                changes.put_or_remove(key, self.alerts.get(&(rule, subject)));
            }
            Place::Incident(subject, family) => {
                changes.put_or_remove(key, self.incidents.get(&(subject, family)));
            }
            Place::Closed(_) => {
                let closed = self
                    .numbered_closed()
                    .find(|(number, _)| Place::closed(*number) == place)
                    .map(|(number, incident)| Numbered(number, incident));
                changes.put_or_remove(key, closed.as_ref());
            }
            Place::Generations => {
                let known = Some(&self.generations).filter(|known| !known.is_empty());
                changes.put_or_remove(key, known);
            }
            Place::Surroundings => {
                let known = self.has_surroundings().then_some(&self.surroundings);
                changes.put_or_remove(key, known);
            }
            Place::Untold => {
                let known = Some(&self.untold).filter(|known| !known.is_empty());
                changes.put_or_remove(key, known);
            }
            Place::Synthetic => {
                let known = Some(&self.synthetic).filter(|known| !known.is_empty());
                changes.put_or_remove(key, known);
            }
        }
    }

    fn take_back(
        &mut self,
        place: Place,
        saved: &Saved,
        (key, text): (&str, &str),
        pieces: &mut Pieces,
    ) -> Result<(), RestoreError> {
        match place {
            Place::Figures(vm_type) => {
                pieces.figures.insert(vm_type, saved.read(key, text)?);
            }
            Place::Readiness(vm_type, generation) => {
                let sketch: Sketch = saved.read(key, text)?;
                saved.ensure(sketch.is_sound(), key, "it counts what it does not hold")?;
                let readiness = &mut self.types.entry(vm_type).or_default().readiness;
                match generation {
                    Generation::Recent => readiness.recent = sketch,
                    Generation::Before => readiness.before = sketch,
                }
            }
            Place::Bucket(vm_type, index) => {
                let bucket = saved.read(key, text)?;
                let of_type = self.types.entry(vm_type).or_default();
                let fits = of_type.window.restore_bucket(index, bucket);
                saved.ensure(fits, key, "it counts another time")?;
            }
            Place::Boot(vm_type, _) => {
                let boot = saved.read(key, text)?;
                pieces.boots.entry(vm_type).or_default().push(boot);
            }
            Place::Overdue(vm_type, vm) => {
                let overdue: Overdue = saved.read(key, text)?;
                let of_type = self.types.entry(vm_type).or_default();
                of_type.overdue.insert(vm, overdue);
            }
            Place::Budget(vm_type, grain, place) => {
                let cell = saved.read(key, text)?;
                let of_type = self.types.entry(vm_type).or_default();
                let fits = of_type.budget.restore(grain, place, cell);
                saved.ensure(fits, key, "it counts another time")?;
            }
            Place::Times(vm_type, timed) => {
                let track = saved.read(key, text)?;
                let of_type = self.types.entry(vm_type).or_default();
                let fits = of_type.times.restore(timed, track);
                saved.ensure(fits, key, "it holds what was never timed")?;
            }
            Place::Alert(rule, subject) => {
                pieces
                    .alerts
                    .insert((rule, subject), saved.read(key, text)?);
            }
            Place::Incident(subject, family) => {
                let incident: Incident = saved.read(key, text)?;
                let its = incident.subject == subject && incident.family == family;
                saved.ensure(its, key, "the incident is another one")?;
                self.incidents.insert((subject, family), incident);
            }
            Place::Closed(_) => pieces.closed.push(saved.read(key, text)?),
            Place::Generations => {
                self.generations = saved.read(key, text)?;
                saved.ensure(self.generations.is_sound(), key, "it holds too many")?;
            }
            Place::Surroundings => self.surroundings = saved.read(key, text)?,
            Place::Untold => {
                self.untold = saved.read(key, text)?;
                saved.ensure(self.untold.is_sound(), key, "it holds too many")?;
            }
            Place::Synthetic => {
                self.synthetic = saved.read(key, text)?;
                saved.ensure(self.synthetic.is_sound(), key, "it holds too many")?;
            }
        }
        Ok(())
    }

    /// What can be put in its place only once every part is read.
    fn put_together(
        &mut self,
        saved: &Saved,
        mut pieces: Pieces,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) -> Result<(), RestoreError> {
        for (vm_type, of_type) in &mut self.types {
            let key = Place::Figures(*vm_type).to_string();
            let Some(figures) = pieces.figures.remove(vm_type) else {
                return Err(saved.contradiction(&key, "it is missing"));
            };
            let boots = pieces.boots.remove(vm_type).unwrap_or_default();
            let counted = figures.ever.boots < MAX_NUMBER;
            let fit = counted && of_type.window.restore_boots(boots, figures.ever);
            saved.ensure(fit, &key, "the last boots do not fit its count")?;
            of_type.ever_ready = figures.ever_ready;
            of_type.newest = figures.newest;
            of_type.last_ended = figures.last_ended;
            of_type.usual = figures.usual;
            of_type.readiness.p99_ms = figures.p99_ms;
        }
        pieces.closed.sort_by_key(|(number, _)| *number);
        let first = self.closed_ever.checked_sub(pieces.closed.len() as u64);
        let in_a_row = first.is_some_and(|first| {
            (first..)
                .zip(&pieces.closed)
                .all(|(wanted, (number, _))| wanted == *number)
        });
        let bounded = pieces.closed.len() <= CLOSED;
        saved.ensure(
            in_a_row && bounded,
            "closed",
            "closed incidents are missing",
        )?;
        self.closed = pieces
            .closed
            .into_iter()
            .map(|(_, incident)| incident)
            .collect();
        self.not_after(&mut pieces.alerts, now);
        self.match_rules(pieces.alerts, now, out);
        Ok(())
    }

    /// The wall clock was set back while nobody ran: nothing was seen later than now.
    fn not_after(
        &mut self,
        alerts: &mut BTreeMap<(RuleName, Subject), AlertState>,
        now: Timestamp,
    ) {
        for ((rule, subject), state) in alerts {
            state.not_after(now);
            if *subject == Subject::Host {
                state.pending_since(now);
            }
            self.touched.mark(Place::Alert(*rule, *subject));
        }
        if !self.synthetic.is_empty() {
            self.synthetic.not_after(now);
            self.touched.mark(Place::Synthetic);
        }
        let latest = now.plus_ms(self.settings.group_wait_ms.max(course::INTERVAL_MS));
        for ((subject, family), incident) in &mut self.incidents {
            incident.update_due = incident.update_due.map(|due| due.min(latest));
            incident.before = incident.before.map(|(cause, at)| (cause, at.min(now)));
            self.touched.mark(Place::Incident(*subject, *family));
        }
    }

    /// Gives the configured rules their saved states; what was saved of others is over.
    fn match_rules(
        &mut self,
        saved: BTreeMap<(RuleName, Subject), AlertState>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        for (rule, subject) in self.alerts.keys() {
            self.touched.mark(Place::Alert(*rule, *subject));
        }
        let mut gone = Vec::new();
        for (key, state) in saved {
            match self.alerts.get_mut(&key) {
                Some(known) => *known = state,
                None => gone.push((key, state)),
            }
        }
        for ((rule, subject), state) in gone {
            if !state.is_active() {
                continue;
            }
            let firing = state.is_firing();
            out.push(Effect::AlertChanged(AlertChanged {
                rule,
                subject,
                severity: rule.severity(),
                to: if firing { "resolved" } else { "inactive" },
                at: now,
            }));
            if firing {
                self.alert_resolved(rule, subject, None, Reason::RuleRemoved, now, out);
            }
        }
    }
}

/// What is read piece by piece and put together at the end.
#[derive(Default)]
struct Pieces {
    figures: BTreeMap<VmType, Figures>,
    boots: BTreeMap<VmType, Vec<(u64, Judged)>>,
    alerts: BTreeMap<(RuleName, Subject), AlertState>,
    closed: Vec<(u64, Incident)>,
}

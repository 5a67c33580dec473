//! The desk over a restart: its parts by key.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Desk, Gone, Settings};
use crate::core::event::Timestamp;
use crate::core::saved::{Changes, MAX_NUMBER, REST, RestoreError, Saved, Touched};

/// Of what is saved; a newer one is refused.
const VERSION: u32 = 1;

/// What is saved under one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    Silence(u64),
    Maintenance(u64),
    /// An incident, by its key.
    Told(String),
    Storm,
    Gone,
}

impl Place {
    fn parse(key: &str) -> Option<Place> {
        let place = match key.split_once('/') {
            None if key == "storm" => Place::Storm,
            None if key == "gone" => Place::Gone,
            Some(("silence", id)) => Place::Silence(id.parse().ok()?),
            Some(("maintenance", id)) => Place::Maintenance(id.parse().ok()?),
            Some(("told", incident)) => Place::Told(incident.to_owned()),
            _ => return None,
        };
        // One key a place.
        (place.to_string() == key).then_some(place)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Silence(id) => write!(f, "silence/{id}"),
            Place::Maintenance(id) => write!(f, "maintenance/{id}"),
            Place::Told(incident) => write!(f, "told/{incident}"),
            Place::Storm => f.write_str("storm"),
            Place::Gone => f.write_str("gone"),
        }
    }
}

/// What belongs to no single place.
#[derive(Debug, Serialize, Deserialize)]
struct Rest {
    version: u32,
    last_id: u64,
    quiet: VecDeque<String>,
    /// How many other parts there are.
    parts: usize,
}

impl Desk {
    /// What has changed since the last call, all of it at the first one.
    pub fn changes(&mut self) -> Changes {
        let whole = self.touched.is_everything();
        let mut changes = Changes {
            whole,
            ..Changes::default()
        };
        let all = if whole { self.places() } else { Vec::new() };
        for place in self.touched.take(all) {
            self.save(&place, &mut changes);
        }
        if whole || !changes.parts.is_empty() {
            let rest = Rest {
                version: VERSION,
                last_id: self.last_id,
                quiet: self.quiet.clone(),
                parts: self.places().len(),
            };
            changes.put(REST, &rest);
        }
        changes
    }

    /// The next `changes` hands out everything: what the last ones told was not kept.
    pub fn save_everything(&mut self) {
        self.touched = Touched::default();
    }

    /// A desk as it was when these parts, keys and texts, were the last of `changes`; no part at all makes a new one.
    pub fn restore<K: Into<String>, V: Into<String>>(
        parts: impl IntoIterator<Item = (K, V)>,
        settings: Settings,
        now: Timestamp,
    ) -> Result<Desk, RestoreError> {
        let mut desk = Desk::new(settings);
        let mut saved = Saved::new("desk", parts);
        let Some(rest) = saved.rest::<Rest>(VERSION)? else {
            return Ok(desk);
        };
        saved.counts(rest.parts)?;
        saved.ensure(rest.last_id < MAX_NUMBER, REST, "it has counted too far")?;
        desk.last_id = rest.last_id;
        desk.quiet = rest.quiet;
        desk.touched = Touched::nothing();
        for (key, text) in saved.iter() {
            let place = Place::parse(key);
            let place =
                place.ok_or_else(|| saved.contradiction(key, "it names no part of a desk"))?;
            desk.take_back(place, &saved, (key, text))?;
        }
        desk.not_after(now);
        // What was in the way of messages may have been mended.
        for told in desk.told.values_mut() {
            told.lost = told.lost.min(1);
        }
        Ok(desk)
    }

    fn places(&self) -> Vec<Place> {
        let silences = self.silences.keys().map(|id| Place::Silence(*id));
        let maintenance = self.maintenance.keys().map(|id| Place::Maintenance(*id));
        let told = self.told.keys().map(|key| Place::Told(key.clone()));
        silences
            .chain(maintenance)
            .chain(told)
            .chain([Place::Storm, Place::Gone])
            .collect()
    }

    fn save(&self, place: &Place, changes: &mut Changes) {
        let key = place.to_string();
        match place {
            Place::Silence(id) => changes.put_or_remove(key, self.silences.get(id)),
            Place::Maintenance(id) => changes.put_or_remove(key, self.maintenance.get(id)),
            Place::Told(incident) => changes.put_or_remove(key, self.told.get(incident)),
            Place::Storm => changes.put(key, &self.storm),
            Place::Gone => changes.put(key, &self.gone),
        }
    }

    fn take_back(
        &mut self,
        place: Place,
        saved: &Saved,
        (key, text): (&str, &str),
    ) -> Result<(), RestoreError> {
        match place {
            Place::Silence(id) => {
                let silence: super::Silence = saved.read(key, text)?;
                saved.ensure(silence.id == id, key, "the silence is another one")?;
                self.silences.insert(id, silence);
            }
            Place::Maintenance(id) => {
                let one: super::Maintenance = saved.read(key, text)?;
                saved.ensure(one.id == id, key, "the maintenance is another one")?;
                self.maintenance.insert(id, one);
            }
            Place::Told(incident) => {
                let told: super::Told = saved.read(key, text)?;
                let its = told.latest.incident.key == incident;
                saved.ensure(its, key, "the incident is another one")?;
                self.told.insert(incident, told);
            }
            Place::Storm => self.storm = saved.read(key, text)?,
            Place::Gone => self.gone = saved.read::<VecDeque<Gone>>(key, text)?,
        }
        Ok(())
    }

    /// The wall clock was set back while nobody ran: nothing was done later than now.
    fn not_after(&mut self, now: Timestamp) {
        for silence in self.silences.values_mut() {
            silence.not_after(now);
            self.touched.mark(Place::Silence(silence.id));
        }
        let longest = now.plus_ms(super::LONGEST_MAINTENANCE_MS);
        for one in self.maintenance.values_mut() {
            one.ends_at = one.ends_at.min(longest);
            self.touched.mark(Place::Maintenance(one.id));
        }
        let latest = now.plus_ms(self.settings.group_wait_ms);
        for (key, told) in &mut self.told {
            told.told_at = told.told_at.min(now);
            told.waits_until = told.waits_until.map(|until| until.min(latest));
            self.touched.mark(Place::Told(key.clone()));
        }
        for gone in &mut self.gone {
            gone.at = gone.at.min(now);
        }
        self.storm.not_after(now);
        self.touched.mark(Place::Storm);
        self.touched.mark(Place::Gone);
    }
}

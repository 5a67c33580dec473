//! What an earlier run knew, taken back from the store.
//!
//! Each machine is taken back by itself: one whose saved state cannot be read starts anew, loudly, and the others go
//! on. The place in the log is taken back in any case: records that were read are not read again.

use super::database::Remembered;
use super::gather::{
    DATABASE, DESK, ENGINE, FINDINGS, INVENTORY, LOOKED, PLACE, READER, ROWS, SOURCE, TRACKER,
};
use super::place::Place;
use super::sight::Seen;
use super::{desk_settings, engine_settings};
use crate::clock;
use crate::config::Config;
use crate::controller::clock::Zone;
use crate::controller::excerpt::excerpt;
use crate::controller::reader::Reader;
use crate::core::alert::{self, Effect, Engine, Incident};
use crate::core::boot::Tracker;
use crate::core::desk::Desk;
use crate::core::finding::Findings;
use crate::core::inventory::Inventory;
use crate::core::rule::RuleName;
use crate::core::saved::RestoreError;
use crate::store::Saved;

pub(super) struct Restored {
    pub(super) reader: Reader,
    pub(super) tracker: Tracker,
    pub(super) engine: Engine,
    pub(super) desk: Desk,
    pub(super) place: Option<Place>,
    /// What earlier runs have seen.
    pub(super) seen: Seen,
    /// What an earlier run knew of the database.
    pub(super) remembered: Remembered,
    /// An earlier run watched a database, and this one does not.
    pub(super) forgets_database: bool,
    /// What follows from rules that are gone.
    pub(super) effects: Vec<Effect>,
}

pub(super) fn restore(saved: &Saved, config: &Config, zone: Zone) -> Restored {
    let place = saved.value(SOURCE, PLACE).and_then(|text| {
        serde_json::from_str(text)
            .inspect_err(
                |error| tracing::error!(%error, "the saved place in the log cannot be read"),
            )
            .ok()
    });
    let mut effects = Vec::new();
    let reader = Reader::restore(saved.of_kind(READER), 0, zone.clone())
        .unwrap_or_else(|error| anew(&error, || Reader::new(0, zone)));
    let mut tracker = Tracker::restore(saved.of_kind(TRACKER), excerpt)
        .unwrap_or_else(|error| anew(&error, || Tracker::new(excerpt)));
    let watched = saved.state.contains_key(ROWS);
    if config.database.is_some() {
        restore_rows(saved, watched, &reader, &mut tracker);
    }
    let settings = engine_settings(config);
    let tolerated_ms = tolerated_ms(&settings);
    let engine = Engine::restore(
        saved.of_kind(ENGINE),
        settings.clone(),
        clock::now(),
        &mut effects,
    )
    .unwrap_or_else(|error| anew(&error, || Engine::new(settings)));
    let settings = desk_settings(config);
    let mut desk = Desk::restore(saved.of_kind(DESK), settings.clone(), clock::now())
        .unwrap_or_else(|error| anew(&error, || Desk::new(settings)));
    let ending: Vec<&Incident> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Notify(notification) => Some(&notification.incident),
            Effect::AlertChanged(_) => None,
        })
        .collect();
    // What ends with the start is told like any other end.
    desk.agree_with(engine.incidents().chain(ending), clock::now());
    let last = reader.newest();
    Restored {
        reader,
        tracker,
        engine,
        desk,
        place,
        seen: Seen::restore(saved, last, tolerated_ms),
        remembered: remembered(saved),
        forgets_database: watched && config.database.is_none(),
        effects,
    }
}

/// How long the controller may write nothing; `None`: its rule is off, so any time.
fn tolerated_ms(settings: &alert::Settings) -> Option<i64> {
    let rule = settings.conditions.get(&RuleName::ControllerSilent);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a limit of time is a whole number of milliseconds, far below 2^53"
    )]
    rule.filter(|rule| rule.enabled)
        .map(|rule| rule.limit as i64)
}

/// Where the log was read while no rows were watched, nobody remembers of which VMs it spoke.
fn restore_rows(saved: &Saved, watched: bool, reader: &Reader, tracker: &mut Tracker) {
    let mut unheard = !watched;
    if let Err(error) = tracker.restore_rows(saved.of_kind(ROWS)) {
        anew(&error, || unheard = true);
    }
    tracker.watch_rows(reader.newest().filter(|_| unheard));
}

fn remembered(saved: &Saved) -> Remembered {
    let inventory = Inventory::restore(saved.of_kind(INVENTORY));
    let findings = Findings::restore(saved.of_kind(FINDINGS));
    let looked = inventory.is_ok() && saved.value(DATABASE, LOOKED).is_some();
    Remembered {
        inventory: inventory.unwrap_or_else(|error| anew(&error, Inventory::new)),
        findings: findings.unwrap_or_else(|error| anew(&error, Findings::default)),
        looked,
    }
}

fn anew<T>(error: &RestoreError, make: impl FnOnce() -> T) -> T {
    tracing::error!(
        %error,
        "what an earlier run knew cannot be taken back; this part starts anew"
    );
    make()
}

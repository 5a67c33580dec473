//! Shows the present state to every instance of Alertmanager: a task each, and what the engine holds for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio::time::Instant;

use super::delivery::{Reporting, end_of};
use super::keeper::Shown;
use super::supervisor::Supervisor;
use crate::clock;
use crate::core::alert::Engine;
use crate::core::desk::Desk;
use crate::core::event::Timestamp;
use crate::notify::{Outcome, Publisher, Round, State};

/// Longer than an end is told of.
const LATELY_MS: i64 = 20 * 60_000;

pub(super) fn start(
    publisher: Publisher,
    shown: &watch::Sender<Arc<State>>,
    reporting: &Reporting,
    ends: &watch::Receiver<Option<Instant>>,
    tasks: &mut Supervisor,
) {
    let name = publisher.name().to_owned();
    let instances = publisher.into_instances();
    // A channel is broken when one of its instances is: only a person can mend that.
    let broken: Arc<[AtomicBool]> = instances.iter().map(|_| AtomicBool::new(false)).collect();
    for (place, instance) in instances.into_iter().enumerate() {
        let task = format!("notify.{name} at {}", instance.place());
        let (recorder, channel) = (Arc::clone(&reporting.recorder), name.clone());
        // Of several instances each is a channel of its own: one may still be told what the other is not.
        let (health, one) = (Arc::clone(&reporting.health), task.clone());
        health.expect(&one);
        let broken = Arc::clone(&broken);
        let resort = Arc::clone(&reporting.resort);
        let outcomes = Arc::clone(&reporting.outcomes);
        let report = move |Round { report, first }: Round| {
            for (incident, fired_at) in first {
                let (channel, at) = (channel.clone(), clock::now());
                outcomes.note_shown(Shown {
                    channel,
                    incident,
                    fired_at,
                    at,
                });
            }
            // One instance that takes alerts is enough: they tell each other.
            resort.tried(&channel, report.outcome == Outcome::Sent);
            health.channel(&one, report.outcome);
            // A round is no delivery: what it tells may be old.
            recorder.notification(&channel, report.outcome.as_str(), None);
            broken[place].store(report.broken, Ordering::SeqCst);
            let any = broken.iter().any(|broken| broken.load(Ordering::SeqCst));
            recorder.broken(&channel, any);
        };
        tasks.start(
            task,
            instance.run(shown.subscribe(), report, end_of(ends.clone())),
        );
    }
}

/// What is to be shown: the open incidents of which somebody was told, and those that ended lately.
pub(super) fn state(engine: &Engine, desk: &Desk, now: Timestamp) -> Arc<State> {
    let lately = engine.closed_incidents().filter(|incident| {
        incident
            .resolved_at
            .is_some_and(|at| now.since(at) <= LATELY_MS)
    });
    Arc::new(State {
        incidents: engine
            .incidents()
            .filter(|incident| !desk.hides(&incident.key))
            .chain(lately.filter(|incident| !desk.kept_quiet(&incident.key)))
            .cloned()
            .collect(),
    })
}

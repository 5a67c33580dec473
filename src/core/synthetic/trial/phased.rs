//! Which phase a run is in, and how long each took.

use super::{Running, Seen};
use crate::core::event::Timestamp;
use crate::core::synthetic::phases::TrialPhase;

impl Running {
    /// Phases follow one another: each that was reached ends now, unless an earlier one is still awaited.
    pub(super) fn phases_to(&mut self, now: Timestamp) {
        let vnc = self.seen.vnc || self.waits_for_vnc();
        let Seen {
            answered,
            created,
            network,
            agent,
            ready,
            vnc: vnc_seen,
            fields,
        } = self.seen;
        let later = agent || ready;
        let steps = [
            (TrialPhase::Request, answered, true),
            (TrialPhase::Created, created, true),
            // Where neither log nor look told of it, it is not measured.
            (TrialPhase::GuestNetwork, network, !later || network),
            (TrialPhase::Agent, agent, !ready || agent),
            (TrialPhase::Vnc, vnc_seen, vnc),
            (TrialPhase::SessionFields, ready && fields.is_some(), true),
        ];
        let (mut phases, started) = (self.trial.phases, self.trial.started_at);
        for (phase, reached, applies) in steps {
            if !applies || phases.of(phase).is_some() {
                continue;
            }
            if !reached {
                break;
            }
            // The fields may have been there long before VNC was given up.
            let at = match (phase, fields) {
                (TrialPhase::SessionFields, Some(at)) => at,
                _ => now,
            };
            phases.end(phase, at.since(started));
        }
        self.trial.phases = phases;
    }

    /// The phase in which it stopped, with the time it took.
    pub(super) fn stop_phase(&mut self, stopped: Option<TrialPhase>, now: Timestamp) {
        self.phases_to(now);
        let seen = self.seen;
        let reached = [
            (TrialPhase::Request, seen.answered),
            (TrialPhase::Created, seen.created),
            (
                TrialPhase::GuestNetwork,
                seen.network || seen.agent || seen.ready,
            ),
            (TrialPhase::Agent, seen.agent || seen.ready),
            (TrialPhase::Vnc, seen.vnc || !self.waits_for_vnc()),
            (TrialPhase::SessionFields, seen.fields.is_some()),
        ];
        let unreached = reached.into_iter().find(|(_, reached)| !reached);
        if let Some(phase) = stopped.or(unreached.map(|(phase, _)| phase)) {
            let elapsed = now.since(self.trial.started_at);
            self.trial.phases.end(phase, elapsed);
            self.trial.phases.stopped_in(phase);
        }
    }
}

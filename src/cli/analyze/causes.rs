//! What a log's failed boots are put down to, by the log alone: no audit, no console, no probe.

use std::collections::{BTreeMap, VecDeque};

use crate::core::boot::{Boot, Observation};
use crate::core::diagnosis::{
    self, Diagnosis, Evidence, Sign, Signs, Span, Surroundings, diagnose,
};
use crate::core::event::{Failure, Origin, Outcome, Timestamp, VmType};

/// The last boots of each class that are looked at.
const LOOKED_AT: usize = 10;

#[derive(Default)]
struct Seen {
    last: VecDeque<Signs>,
    span: Option<(Timestamp, Timestamp)>,
}

/// What boots showed, by kind and class.
#[derive(Default)]
pub(super) struct Causes {
    seen: BTreeMap<(VmType, Failure), Seen>,
    ready: BTreeMap<VmType, VecDeque<Timestamp>>,
    surroundings: Surroundings,
}

/// Ready boots remembered: enough to know whether one fell between failures.
const READY: usize = 10_000;

impl Causes {
    pub(super) fn observe(&mut self, observation: &Observation) {
        match observation {
            Observation::BootEnded(boot) if boot.origin == Origin::User => self.boot(boot),
            Observation::ControllerStarted { at } => self.surroundings.restarted(*at),
            _ => {}
        }
    }

    fn boot(&mut self, boot: &Boot) {
        match (boot.outcome, boot.failure) {
            (Some(Outcome::Ready), _) => {
                let ready = self.ready.entry(boot.kind()).or_default();
                ready.push_back(boot.started_at);
                if ready.len() > READY {
                    ready.pop_front();
                }
            }
            (Some(Outcome::Failed), Some(failure)) => {
                let seen = self.seen.entry((boot.kind(), failure)).or_default();
                seen.last.push_back(diagnosis::of_boot(boot));
                if seen.last.len() > LOOKED_AT {
                    seen.last.pop_front();
                }
                let (first, last) = seen.span.unwrap_or((boot.started_at, boot.started_at));
                seen.span = Some((first.min(boot.started_at), last.max(boot.started_at)));
            }
            _ => {}
        }
    }

    /// Of the boots that failed so; `None`: there are none.
    pub(super) fn of(&self, vm_type: VmType, failure: Failure) -> Option<Diagnosis> {
        let seen = self.seen.get(&(vm_type, failure))?;
        let (first, last) = seen.span?;
        let ready = self.ready.get(&vm_type);
        let ready = || ready.into_iter().flatten().copied();
        let span = Span {
            first,
            last,
            good: ready().filter(|at| *at < first).max(),
        };
        let (mut around, details) = self.surroundings.around(span);
        if ready().any(|at| (first..=last).contains(&at)) {
            around.set(Sign::AllFail, false);
        } else if seen.last.len() >= 3 {
            around.set(Sign::AllFail, true);
        }
        let boots = seen.last.iter().copied().collect();
        let evidence = Evidence {
            boots,
            around,
            details,
        };
        Some(diagnose(&evidence, last))
    }
}

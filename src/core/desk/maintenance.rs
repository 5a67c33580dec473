//! Maintenance: which boots count neither for nor against.

use serde::{Deserialize, Serialize};

use super::{Desk, Span};
use crate::core::boot::Observation;
use crate::core::event::Timestamp;

/// A maintenance that somebody started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Maintenance {
    pub id: u64,
    pub author: String,
    pub reason: String,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    #[serde(default)]
    pub ended_by: Option<String>,
}

impl Maintenance {
    fn span(&self) -> Span {
        Span {
            from: self.starts_at,
            to: self.ends_at,
        }
    }
}

impl Desk {
    /// Why a maintenance is under way at that time, if one is.
    #[must_use]
    pub fn maintenance_at(&self, at: Timestamp) -> Option<&str> {
        let by_hand = self.maintenance.values();
        let mut by_hand = by_hand.filter(|one| one.span().holds(at));
        let mut windows = self.settings.maintenance.iter();
        by_hand.next().map(|one| one.reason.as_str()).or_else(|| {
            let window = windows.find(|window| window.around(at).is_some());
            window.map(|window| window.reason.as_str())
        })
    }

    /// Whether a boot that began and ended then counts neither for nor against: it touched a maintenance.
    #[must_use]
    pub fn excludes(&self, began: Timestamp, ended: Timestamp) -> bool {
        self.maintenance_at(began).is_some() || self.maintenance_at(ended).is_some()
    }

    /// Whether it counts neither for nor against, because of a maintenance.
    #[must_use]
    pub fn sets_aside(&self, observation: &Observation) -> bool {
        match observation {
            Observation::BootEnded(boot)
            | Observation::BootAmended(boot)
            | Observation::BootEvidence(boot)
            | Observation::BootCompleted(boot)
            | Observation::BootCredited { boot, .. }
            | Observation::BootSettled(boot) => {
                self.excludes(boot.started_at, boot.ended_at.unwrap_or(boot.started_at))
            }
            Observation::AttemptEnded(attempt) => self.maintenance_at(attempt.at).is_some(),
            Observation::StageEnded { .. }
            | Observation::BootStarted { .. }
            | Observation::ControllerCrashed { .. }
            | Observation::ControllerStarted { .. } => false,
        }
    }
}

//! Notifications: what is told of an incident, and why now.

use serde::{Deserialize, Serialize};

use super::remarks::Remarks;
use super::{Effect, Incident};
use crate::core::event::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Firing,
    Update,
    Resolved,
}

/// Why a notification is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    FirstAlert,
    FurtherAlert,
    Flapping,
    /// Most boots fail of something else now, or what it was put down to is over while what joined it holds.
    CauseChanged,
    /// More is known, and something else is likelier than what was told.
    VerdictChanged,
    /// Boots fail as before, although something was fixed.
    FixNotConfirmed,
    AllResolved,
    /// The last of its alerts belongs to a rule that was removed or switched off: nobody looks any more.
    RuleRemoved,
    /// It still fires, and nobody acknowledged it.
    Repeat,
    /// What held it back has ended.
    HeldBack,
    /// A silence that still silences something ends soon.
    SilenceEnding,
    Acknowledged,
    /// Too many incidents at once.
    Storm,
}

impl Reason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::FirstAlert => "first_alert",
            Reason::FurtherAlert => "further_alert",
            Reason::Flapping => "flapping",
            Reason::CauseChanged => "cause_changed",
            Reason::VerdictChanged => "verdict_changed",
            Reason::FixNotConfirmed => "fix_not_confirmed",
            Reason::AllResolved => "all_resolved",
            Reason::RuleRemoved => "rule_removed",
            Reason::Repeat => "repeat",
            Reason::HeldBack => "held_back",
            Reason::SilenceEnding => "silence_ending",
            Reason::Acknowledged => "acknowledged",
            Reason::Storm => "storm",
        }
    }

    /// Whether it is for those who read along, and must wake nobody.
    #[must_use]
    pub fn is_notice(self) -> bool {
        matches!(self, Reason::SilenceEnding | Reason::Acknowledged)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    pub kind: Kind,
    pub reason: Reason,
    pub at: Timestamp,
    pub incident: Incident,
    #[serde(default, skip_serializing_if = "Remarks::is_empty")]
    pub remarks: Remarks,
}

impl Notification {
    /// It tells of an incident again, or late: what its rules said when they fired is old by then.
    #[must_use]
    pub fn is_told_again(&self) -> bool {
        self.reason.is_notice() || matches!(self.reason, Reason::Repeat | Reason::HeldBack)
    }
}

pub(super) fn notify(
    kind: Kind,
    reason: Reason,
    at: Timestamp,
    incident: &Incident,
    out: &mut Vec<Effect>,
) {
    out.push(Effect::Notify(Box::new(Notification {
        kind,
        reason,
        at,
        incident: incident.clone(),
        remarks: Remarks::default(),
    })));
}

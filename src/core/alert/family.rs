//! Families of causes: what is one trouble, and so one incident, to whoever is paged.

use serde::{Deserialize, Serialize};

use crate::core::condition::Condition;
use crate::core::event::Failure;
use crate::core::rule::RuleName;

/// Causes that are one trouble to whoever is paged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// The VM was made and did not become ready.
    Guest,
    /// The VM could not be made.
    Creation,
    /// The controller itself.
    Controller,
    /// The budget of failures is used up slowly: a ticket of its own, so that it neither hides a page nor holds one open.
    Budget,
    /// Boots become slower.
    Slowness,
    /// Sessions that came to nothing.
    Sessions,
    /// The pool of addresses, and what holds them without need.
    Addresses,
    /// The controller's database.
    Database,
    /// The reading of the controller's log.
    Log,
    /// bootwatch's own store.
    Store,
    /// The delivery of messages.
    Notifiers,
    /// The understanding of the log.
    Records,
    /// Synthetic boots.
    Synthetic,
    /// Faults of the golden image that are not known to be fatal.
    Image,
}

impl Family {
    #[must_use]
    pub fn of(failure: Failure) -> Family {
        match failure {
            Failure::GuestDied
            | Failure::GuestUnreachable
            | Failure::AgentRefused
            | Failure::AgentTimeout
            | Failure::AgentReset
            | Failure::AgentUnhealthy
            | Failure::VncNotReady
            | Failure::AgentLate
            | Failure::Unknown => Family::Guest,
            Failure::IpPoolExhausted
            | Failure::TapFailed
            | Failure::SnapshotCloneFailed
            | Failure::AgentInjectionFailed
            | Failure::ConfigFailed
            | Failure::RecordFailed
            | Failure::FirecrackerFailed
            | Failure::StepTimeout => Family::Creation,
            Failure::NotStarted | Failure::NoAttempt | Failure::ControllerRestarted => {
                Family::Controller
            }
        }
    }

    /// Pages and tickets have no family in common: a page never joins an incident that woke nobody.
    #[must_use]
    pub fn of_condition(condition: Condition) -> Family {
        match condition {
            Condition::SessionsIncomplete => Family::Sessions,
            Condition::IpPoolLow | Condition::GhostVms => Family::Addresses,
            Condition::ControllerSilent => Family::Controller,
            Condition::DatabaseUnreachable
            | Condition::DatabaseRefuses
            | Condition::DatabaseBlind
            | Condition::DatabaseBehind => Family::Database,
            Condition::LogUnreadable | Condition::LogLagging => Family::Log,
            Condition::StoreUnwritable => Family::Store,
            Condition::NotifierFailing => Family::Notifiers,
            Condition::RecordsUnparsed | Condition::BootsUntold | Condition::LogClockWrong => {
                Family::Records
            }
            Condition::SyntheticFailing => Family::Synthetic,
            // Why the boots fail that are of this family.
            Condition::GoldenImageBroken => Family::Guest,
            Condition::GoldenImageSuspect => Family::Image,
        }
    }

    /// Of boots that failed so, by the rule that says it.
    pub(super) fn under(rule: RuleName, failure: Failure) -> Family {
        match rule {
            RuleName::BootBudgetBurnTicket => Family::Budget,
            _ => Family::of(failure),
        }
    }

    pub(super) const ALL: [Family; 14] = [
        Family::Guest,
        Family::Creation,
        Family::Controller,
        Family::Budget,
        Family::Slowness,
        Family::Sessions,
        Family::Addresses,
        Family::Database,
        Family::Log,
        Family::Store,
        Family::Notifiers,
        Family::Records,
        Family::Synthetic,
        Family::Image,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Guest => "guest",
            Family::Creation => "creation",
            Family::Controller => "controller",
            Family::Budget => "budget",
            Family::Slowness => "slowness",
            Family::Sessions => "sessions",
            Family::Addresses => "addresses",
            Family::Database => "database",
            Family::Log => "log",
            Family::Store => "store",
            Family::Notifiers => "notifiers",
            Family::Records => "records",
            Family::Synthetic => "synthetic",
            Family::Image => "image",
        }
    }
}

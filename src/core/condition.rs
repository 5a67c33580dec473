//! Conditions: what holds now, whatever boots do. The other half of the rules.
//!
//! The shell tells what is known as [`Facts`], a figure for each rule; what cannot be seen is not among them, and says
//! nothing: neither that it is bad nor that it is well. A figure is bad at its limit, and well again only at some
//! distance from it, so that one that dwells at the limit does not flap. How long it must be bad (`for`), how long the
//! alert is held (`keep_firing`) and what is sent is the engine's part, as for the rules about boots.

mod image;
mod rows;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::event::{Timestamp, words};
use crate::core::rule::RuleName;

pub use image::of_image;
pub use rows::of_rows;

words! {
    /// What does not hold as it should.
    Condition {
        SessionsIncomplete = "sessions_incomplete",
        IpPoolLow = "ip_pool_low",
        GhostVms = "ghost_vms",
        ControllerSilent = "controller_silent",
        DatabaseUnreachable = "database_unreachable",
        /// It answers, and refuses what is asked.
        DatabaseRefuses = "database_refuses",
        DatabaseBlind = "database_blind",
        DatabaseBehind = "database_behind",
        LogUnreadable = "log_unreadable",
        LogLagging = "log_lagging",
        StoreUnwritable = "store_unwritable",
        NotifierFailing = "notifier_failing",
        RecordsUnparsed = "records_unparsed",
        SyntheticFailing = "synthetic_failing",
        /// The image alone decides, and lacks something.
        GoldenImageBroken = "golden_image_broken",
        /// It lacks something, and whether that decides is not known.
        GoldenImageSuspect = "golden_image_suspect",
        BootsUntold = "boots_untold",
        LogClockWrong = "log_clock_wrong",
    }
}

impl Condition {
    /// What it means, as the end of a sentence.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Condition::SessionsIncomplete => "sessions are past their deadline and have no VM",
            Condition::IpPoolLow => "hardly an address is left in the controller's pool",
            Condition::GhostVms => "the database calls VMs running that have no process",
            Condition::ControllerSilent => "the controller writes nothing to its log",
            Condition::DatabaseUnreachable => "the controller's database does not answer",
            Condition::DatabaseRefuses => {
                "the controller's database answers, and does not let bootwatch read its rows"
            }
            Condition::DatabaseBlind => "the controller's rows are hidden from bootwatch's role",
            Condition::DatabaseBehind => "the controller's database is a replica that is behind",
            Condition::LogUnreadable => "the controller's log cannot be read",
            Condition::LogLagging => "the controller's log is read too slowly",
            Condition::StoreUnwritable => "bootwatch cannot write its store",
            Condition::NotifierFailing => "bootwatch cannot deliver its messages",
            Condition::RecordsUnparsed => "bootwatch cannot read many of the log's records",
            Condition::SyntheticFailing => "bootwatch's own trial boots fail",
            Condition::GoldenImageBroken => "the golden image lacks what a browser VM needs",
            Condition::GoldenImageSuspect => {
                "the golden image has faults that boots do not show to be fatal"
            }
            Condition::BootsUntold => "the log does not tell how boots end",
            Condition::LogClockWrong => "the times in the controller's log are wrong",
        }
    }
}

impl Condition {
    /// The rule that says it.
    #[must_use]
    pub fn rule(self) -> RuleName {
        match self {
            Condition::SessionsIncomplete => RuleName::SessionsIncomplete,
            Condition::IpPoolLow => RuleName::IpPoolLow,
            Condition::GhostVms => RuleName::GhostVms,
            Condition::ControllerSilent => RuleName::ControllerSilent,
            Condition::DatabaseUnreachable
            | Condition::DatabaseRefuses
            | Condition::DatabaseBlind
            | Condition::DatabaseBehind => RuleName::DatabaseUnreachable,
            Condition::LogUnreadable | Condition::LogLagging => RuleName::LogLagging,
            Condition::StoreUnwritable => RuleName::StoreUnwritable,
            Condition::NotifierFailing => RuleName::NotifierFailing,
            Condition::RecordsUnparsed => RuleName::RecordsUnparsed,
            Condition::SyntheticFailing => RuleName::SyntheticFailing,
            Condition::GoldenImageBroken => RuleName::GoldenImageBroken,
            Condition::GoldenImageSuspect => RuleName::GoldenImageBrokenTicket,
            Condition::BootsUntold => RuleName::BootsUntold,
            Condition::LogClockWrong => RuleName::LogClockWrong,
        }
    }
}

impl Condition {
    /// When it is over: the end of a sentence. Each ends by its own count, and by no run of good boots.
    #[must_use]
    pub fn over_once(self) -> &'static str {
        match self {
            Condition::SessionsIncomplete => "few enough sessions are past their deadline",
            Condition::IpPoolLow => "enough addresses are free again",
            Condition::GhostVms => "few enough VMs of the database lack a process",
            Condition::ControllerSilent => "the controller writes to its log again",
            Condition::DatabaseUnreachable => "the database answers again",
            Condition::DatabaseRefuses => "the database lets its rows be read again",
            Condition::DatabaseBlind => "the controller's rows are seen again",
            Condition::DatabaseBehind => "the replica shows the controller's rows of now again",
            Condition::LogUnreadable => "the log can be read again",
            Condition::LogLagging => "the log is read as fast as it is written again",
            Condition::StoreUnwritable => "the store can be written again",
            Condition::NotifierFailing => "messages are delivered again",
            Condition::RecordsUnparsed => "nearly all records of the log can be read again",
            Condition::SyntheticFailing => "a trial boot passes again",
            Condition::GoldenImageBroken | Condition::GoldenImageSuspect => {
                "an audit finds the image whole again"
            }
            Condition::BootsUntold => "the log tells how boots end again",
            Condition::LogClockWrong => "the log's times are right again",
        }
    }
}

/// Below so many records a share of them says nothing.
pub const LEAST_UNPARSED: u64 = 20;

/// What is known of one rule's condition now.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    pub condition: Condition,
    /// A number of things, or of milliseconds.
    pub value: u64,
    /// Of so many.
    pub of: Option<u64>,
    /// Since when it is so, where that is known.
    pub since: Option<Timestamp>,
    /// A good figure means that it is well, and not only that it has not become bad again yet.
    pub settles: bool,
    /// Lines that show it; redacted.
    pub evidence: Vec<String>,
}

/// What is known now. What is not among them cannot be seen.
pub type Facts = BTreeMap<RuleName, Fact>;

/// A figure as it was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    pub value: u64,
    pub of: Option<u64>,
    /// From where on it is bad.
    pub limit: u64,
}

/// What a rule about a condition may be told in the configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConditionSettings {
    pub enabled: bool,
    /// A number of things, of milliseconds, or a share.
    pub limit: f64,
    /// The condition must hold this long.
    pub for_ms: i64,
    /// An alert whose condition has cleared stays this long.
    pub keep_firing_ms: i64,
}

impl ConditionSettings {
    /// What holds where nothing is configured.
    #[must_use]
    pub fn usual(rule: RuleName) -> ConditionSettings {
        let (limit, for_ms) = match rule {
            RuleName::SessionsIncomplete => (1.0, 120_000),
            RuleName::IpPoolLow => (25.0, 60_000),
            RuleName::GhostVms => (5.0, 300_000),
            RuleName::ControllerSilent => (660_000.0, 0),
            RuleName::NotifierFailing => (1.0, 60_000),
            RuleName::RecordsUnparsed => (0.01, 300_000),
            RuleName::SyntheticFailing => (2.0, 0),
            RuleName::GoldenImageBroken | RuleName::GoldenImageBrokenTicket => (1.0, 0),
            RuleName::BootsUntold => (3.0, 0),
            RuleName::LogClockWrong => (120_000.0, 0),
            _ => (60_000.0, 0),
        };
        ConditionSettings {
            enabled: true,
            limit,
            for_ms,
            keep_firing_ms: 120_000,
        }
    }
}

/// What a rule says of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub bad: bool,
    /// So far from the limit that it is over.
    pub recovered: bool,
    pub level: Level,
}

/// Judges one fact.
#[must_use]
pub fn read(settings: &ConditionSettings, fact: &Fact) -> Verdict {
    let (value, limit) = (fact.value, settings.limit);
    let (bad, recovered, limit) = match fact.condition {
        // The fewer the worse.
        Condition::IpPoolLow => {
            let limit = whole(limit);
            (value <= limit, value > limit + limit.div_ceil(4), limit)
        }
        Condition::SessionsIncomplete | Condition::GhostVms | Condition::BootsUntold => {
            let limit = whole(limit).max(1);
            (value >= limit, value <= limit / 2, limit)
        }
        Condition::RecordsUnparsed => {
            let of = fact.of.unwrap_or(0) as f64;
            let bad = whole((limit * of).ceil()).max(LEAST_UNPARSED);
            (value >= bad, value <= bad / 2, bad)
        }
        Condition::ControllerSilent
        | Condition::DatabaseUnreachable
        | Condition::DatabaseRefuses
        | Condition::DatabaseBlind
        | Condition::DatabaseBehind
        | Condition::LogUnreadable
        | Condition::LogLagging
        | Condition::StoreUnwritable
        | Condition::NotifierFailing
        | Condition::SyntheticFailing
        | Condition::GoldenImageBroken
        | Condition::GoldenImageSuspect
        | Condition::LogClockWrong => {
            let limit = whole(limit).max(1);
            (value >= limit, value < limit, limit)
        }
    };
    Verdict {
        bad,
        recovered: recovered && fact.settles,
        level: Level {
            value,
            of: fact.of,
            limit,
        },
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is not below zero, and a count that a double holds"
)]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(rule: RuleName, condition: Condition, value: u64, of: u64) -> (bool, bool) {
        let fact = Fact {
            condition,
            value,
            of: Some(of),
            since: None,
            settles: true,
            evidence: Vec::new(),
        };
        let verdict = read(&ConditionSettings::usual(rule), &fact);
        assert!(!(verdict.bad && verdict.recovered), "{condition} {value}");
        (verdict.bad, verdict.recovered)
    }

    #[test]
    fn a_figure_is_bad_at_its_limit_and_well_only_at_a_distance() {
        use Condition as C;
        use RuleName as R;
        for (rule, condition, of, bad, between, well) in [
            (R::IpPoolLow, C::IpPoolLow, 253, 25, Some(30), 33),
            (R::GhostVms, C::GhostVms, 40, 5, Some(3), 2),
            (R::SessionsIncomplete, C::SessionsIncomplete, 9, 1, None, 0),
            (
                R::RecordsUnparsed,
                C::RecordsUnparsed,
                10_000,
                100,
                Some(60),
                50,
            ),
            (R::RecordsUnparsed, C::RecordsUnparsed, 30, 20, Some(15), 10),
            (
                R::ControllerSilent,
                C::ControllerSilent,
                0,
                660_000,
                None,
                1,
            ),
            (R::NotifierFailing, C::NotifierFailing, 3, 1, None, 0),
            (R::SyntheticFailing, C::SyntheticFailing, 0, 2, None, 0),
            (R::GoldenImageBroken, C::GoldenImageBroken, 15, 1, None, 0),
            (R::BootsUntold, C::BootsUntold, 20, 3, Some(2), 1),
            (R::LogClockWrong, C::LogClockWrong, 0, 120_000, None, 1),
        ] {
            assert_eq!(verdict(rule, condition, bad, of), (true, false), "{rule:?}");
            assert_eq!(
                verdict(rule, condition, well, of),
                (false, true),
                "{rule:?}"
            );
            if let Some(between) = between {
                assert_eq!(verdict(rule, condition, between, of), (false, false));
            }
        }
    }
}

//! The settings of the rules, checked for what could never fire.

mod boots;

use std::time::Duration;

use super::document::Settings;
use super::problem::Problems;

pub use boots::{BootBudgetBurn, BootStageSlow, ReadinessHeadroomLow};

/// Every rule; one that is switched off is absent.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    pub boot_failure_rate: Option<BootFailureRate>,
    pub connection_refused_spike: Option<ConnectionSpike>,
    pub connection_error_spike: Option<ConnectionSpike>,
    pub boot_budget_burn: Option<BootBudgetBurn>,
    pub boot_stage_slow: Option<BootStageSlow>,
    pub readiness_headroom_low: Option<ReadinessHeadroomLow>,
    /// The rules about what holds now, by name; those that are switched off too.
    pub conditions: Vec<(&'static str, Option<ConditionRule>)>,
}

/// A rule about what holds now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConditionRule {
    pub limit: Limit,
    /// How long it must hold.
    pub wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    Count(u64),
    Share(f64),
    Time(Duration),
}

/// What must be configured, so that anything is ever known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Nothing,
    Database,
    /// An image that is audited.
    Image,
    /// Boots of our own.
    Synthetic,
}

impl Needs {
    fn are_there(self, settings: &Settings) -> bool {
        match self {
            Needs::Nothing => true,
            Needs::Database => super::database::is_watched(settings),
            Needs::Image => settings.maybe::<std::path::PathBuf>("image.path").is_some(),
            Needs::Synthetic => super::synthetic::is_configured(settings),
        }
    }
}

/// The key of each one's limit, one without is about any at all, and what it needs.
const CONDITIONS: [(&str, Option<&str>, Needs); 13] = [
    ("SessionsIncomplete", Some("sessions"), Needs::Database),
    ("IpPoolLow", Some("free"), Needs::Database),
    ("GhostVms", Some("vms"), Needs::Database),
    ("ControllerSilent", Some("silence"), Needs::Nothing),
    ("DatabaseUnreachable", Some("after"), Needs::Database),
    ("LogLagging", Some("after"), Needs::Nothing),
    ("StoreUnwritable", Some("after"), Needs::Nothing),
    ("NotifierFailing", None, Needs::Nothing),
    ("RecordsUnparsed", Some("share"), Needs::Nothing),
    ("SyntheticFailing", Some("runs"), Needs::Synthetic),
    ("BootsUntold", Some("boots"), Needs::Nothing),
    ("LogClockWrong", Some("offset"), Needs::Nothing),
    ("GoldenImageBroken", None, Needs::Image),
];

/// Being several is a wait already, and so is the time for which an image must rest.
const AT_ONCE: [&str; 3] = ["SyntheticFailing", "BootsUntold", "GoldenImageBroken"];

#[derive(Clone, Debug, PartialEq)]
pub struct BootFailureRate {
    /// The share of boots that should become ready.
    pub objective: f64,
    pub alpha: f64,
    pub window: Duration,
    /// So many last boots are judged where the window holds fewer.
    pub last: u64,
    /// So many failures in a row page at once.
    pub consecutive: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionSpike {
    pub alpha: f64,
    /// The share of boots that may end so in normal operation.
    pub baseline: f64,
    pub window: Duration,
    /// So many ready boots teach the time to ready.
    pub min_ready: u64,
    /// Times the learned p99 of the time to ready.
    pub factor: f64,
}

impl Rules {
    /// In the words of the configuration, those that are switched on and those that are not.
    #[must_use]
    pub fn names(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let all = [
            ("BootFailureRate", self.boot_failure_rate.is_some()),
            (
                "ConnectionRefusedSpike",
                self.connection_refused_spike.is_some(),
            ),
            (
                "ConnectionErrorSpike",
                self.connection_error_spike.is_some(),
            ),
            ("BootBudgetBurn", self.boot_budget_burn.is_some()),
            ("BootStageSlow", self.boot_stage_slow.is_some()),
            (
                "ReadinessHeadroomLow",
                self.readiness_headroom_low.is_some(),
            ),
        ];
        let conditions = self.conditions.iter();
        let all: Vec<(&'static str, bool)> = all
            .into_iter()
            .chain(conditions.map(|(name, rule)| (*name, rule.is_some())))
            .collect();
        let named = |wanted: bool| {
            all.iter()
                .filter(|(_, on)| *on == wanted)
                .map(|(name, _)| *name)
                .collect()
        };
        (named(true), named(false))
    }

    /// What is allowed and hardly meant.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let burn = self.boot_budget_burn.iter();
        burn.flat_map(BootBudgetBurn::notes).collect()
    }

    pub(super) fn read(settings: &Settings) -> Self {
        Self {
            boot_failure_rate: enabled(settings, "BootFailureRate")
                .then(|| BootFailureRate::read(settings)),
            connection_refused_spike: spike(settings, "ConnectionRefusedSpike"),
            connection_error_spike: spike(settings, "ConnectionErrorSpike"),
            boot_budget_burn: BootBudgetBurn::read(settings),
            boot_stage_slow: BootStageSlow::read(settings),
            readiness_headroom_low: ReadinessHeadroomLow::read(settings),
            conditions: CONDITIONS
                .iter()
                .map(|(rule, limit, needs)| (*rule, condition(settings, rule, *limit, *needs)))
                .collect(),
        }
    }
}

fn condition(
    settings: &Settings,
    rule: &str,
    limit: Option<&str>,
    needs: Needs,
) -> Option<ConditionRule> {
    if !needs.are_there(settings) || !enabled(settings, rule) {
        return None;
    }
    let key = |name: &str| format!("rules.{rule}.{name}");
    let limit = match limit {
        None => Limit::Count(1),
        Some(name @ ("silence" | "after" | "offset")) => Limit::Time(settings.read(&key(name))),
        Some(name @ "share") => Limit::Share(settings.read(&key(name))),
        Some(name) => Limit::Count(settings.read(&key(name))),
    };
    let wait = match limit {
        Limit::Time(_) => Duration::ZERO,
        Limit::Count(_) if AT_ONCE.contains(&rule) => Duration::ZERO,
        Limit::Count(_) | Limit::Share(_) => settings.read(&key("for")),
    };
    Some(ConditionRule { limit, wait })
}

impl BootFailureRate {
    fn read(settings: &Settings) -> Self {
        let key = |name: &str| format!("rules.BootFailureRate.{name}");
        Self {
            objective: settings.read(&key("objective")),
            alpha: settings.read(&key("alpha")),
            window: settings.read(&key("window")),
            last: settings.read(&key("last")),
            consecutive: settings.read(&key("consecutive")),
        }
    }
}

fn enabled(settings: &Settings, rule: &str) -> bool {
    settings.read(&format!("rules.{rule}.enabled"))
}

fn spike(settings: &Settings, rule: &str) -> Option<ConnectionSpike> {
    let key = |name: &str| format!("rules.{rule}.{name}");
    enabled(settings, rule).then(|| ConnectionSpike {
        alpha: settings.read(&key("alpha")),
        baseline: settings.read(&key("baseline")),
        window: settings.read(&key("window")),
        min_ready: settings.read(&key("min_ready")),
        factor: settings.read(&key("factor")),
    })
}

/// A rule that can never fire is worse than none. If even `last` failures of `last` are likelier than alpha, the
/// judgement of the last boots is one.
pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    boots::check(settings, problems);
    check_failure_rate(settings, problems);
}

fn check_failure_rate(settings: &Settings, problems: &mut Problems) {
    const RULE: &str = "rules.BootFailureRate";
    if !settings.is_sound(RULE) || !enabled(settings, "BootFailureRate") {
        return;
    }
    let rule = BootFailureRate::read(settings);
    let likelihood =
        |failures: u64| (1.0 - rule.objective).powi(i32::try_from(failures).unwrap_or(i32::MAX));
    if likelihood(rule.last) <= rule.alpha {
        return;
    }
    let enough = (rule.last..=1_000)
        .find(|failures| likelihood(*failures) <= rule.alpha)
        .unwrap_or(1_000);
    problems.add(
        format!("{RULE}.last"),
        format!(
            "{last} is too few to ever page: with objective {} even {last} failures of {last} have a probability of {:.2}, \
             above alpha {}; write {enough} or more",
            rule.objective,
            likelihood(rule.last),
            rule.alpha,
            last = rule.last,
        ),
    );
}

//! The rules about the budget of failures and about how long boots take: read, and checked for what could never fire.

use std::time::Duration;

use super::super::document::Settings;
use super::super::problem::Problems;
use super::enabled;

#[derive(Clone, Debug, PartialEq)]
pub struct BootBudgetBurn {
    /// The share of boots that should become ready, over 30 days.
    pub objective: f64,
    pub alpha: f64,
    /// So many last boots are judged where a window holds fewer.
    pub last: u64,
    /// How many times too fast the budget may burn: over 1 h, 6 h (pages), 1 day, 3 days (tickets).
    pub burns: [f64; 4],
}

#[derive(Clone, Debug, PartialEq)]
pub struct BootStageSlow {
    pub alpha: f64,
    pub last: u64,
    /// So many boots teach what is usual.
    pub min_boots: u64,
    /// Times the learned p95.
    pub factor: f64,
    /// At least so much beyond it.
    pub slack: Duration,
    /// How long it must hold.
    pub wait: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ReadinessHeadroomLow {
    pub alpha: f64,
    pub last: u64,
    /// The share of the deadline that should be left.
    pub headroom: f64,
    /// How long it must hold.
    pub wait: Duration,
}

const BURNS: [&str; 4] = ["page_1h", "page_6h", "ticket_1d", "ticket_3d"];
/// A burn that needs more than this share of boots to fail hardly ever fires.
const HARDLY: f64 = 0.8;
/// The share of boots beyond a 95th percentile.
const BEYOND: f64 = 0.05;

impl BootBudgetBurn {
    pub(super) fn read(settings: &Settings) -> Option<Self> {
        let key = |name: &str| format!("rules.BootBudgetBurn.{name}");
        enabled(settings, "BootBudgetBurn").then(|| Self {
            objective: settings.read(&key("objective")),
            alpha: settings.read(&key("alpha")),
            last: settings.read(&key("last")),
            burns: BURNS.map(|name| settings.read(&key(name))),
        })
    }

    /// Burns that can fire, but only when nearly every boot fails.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> + '_ {
        let tolerated = 1.0 - self.objective;
        let needed = move |burn: f64| burn * tolerated;
        BURNS
            .iter()
            .zip(self.burns)
            .filter(move |(_, burn)| needed(*burn) > HARDLY)
            .map(move |(name, burn)| {
                format!(
                    "rules.BootBudgetBurn.{name}: {burn} x (1 - {}) = {}: it fires only when more than {:.0} % of boots fail",
                    self.objective,
                    short(needed(burn)),
                    needed(burn) * 100.0
                )
            })
    }
}

impl BootStageSlow {
    pub(super) fn read(settings: &Settings) -> Option<Self> {
        let key = |name: &str| format!("rules.BootStageSlow.{name}");
        enabled(settings, "BootStageSlow").then(|| Self {
            alpha: settings.read(&key("alpha")),
            last: settings.read(&key("last")),
            min_boots: settings.read(&key("min_boots")),
            factor: settings.read(&key("factor")),
            slack: settings.read(&key("slack")),
            wait: settings.read(&key("for")),
        })
    }
}

impl ReadinessHeadroomLow {
    pub(super) fn read(settings: &Settings) -> Option<Self> {
        let key = |name: &str| format!("rules.ReadinessHeadroomLow.{name}");
        enabled(settings, "ReadinessHeadroomLow").then(|| Self {
            alpha: settings.read(&key("alpha")),
            last: settings.read(&key("last")),
            headroom: settings.read(&key("headroom")),
            wait: settings.read(&key("for")),
        })
    }
}

/// A rule that can never fire is worse than none.
pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    let sound = |rule: &str| settings.is_sound(&format!("rules.{rule}"));
    if sound("BootBudgetBurn")
        && let Some(rule) = BootBudgetBurn::read(settings)
    {
        check_burns(&rule, problems);
    }
    if sound("BootStageSlow")
        && let Some(rule) = BootStageSlow::read(settings)
    {
        check_last("BootStageSlow", rule.last, rule.alpha, problems);
    }
    if sound("ReadinessHeadroomLow")
        && let Some(rule) = ReadinessHeadroomLow::read(settings)
    {
        check_last("ReadinessHeadroomLow", rule.last, rule.alpha, problems);
    }
}

/// A burn is the share of failures over the tolerated one, and no share is above 1.
fn check_burns(rule: &BootBudgetBurn, problems: &mut Problems) {
    let tolerated = 1.0 - rule.objective;
    for (name, burn) in BURNS.iter().zip(rule.burns) {
        let needed = burn * tolerated;
        // What a decimal fraction cannot say exactly must not decide.
        if needed < 1.0 - 1e-9 {
            continue;
        }
        problems.add(
            format!("rules.BootBudgetBurn.{name}"),
            format!(
                "can never fire: {burn} x (1 - {}) = {}, so more than {:.0} % of boots would have to fail; write less than \
                 {}, or an objective above {}",
                rule.objective,
                short(needed),
                needed * 100.0,
                short(floor(1.0 / tolerated, 100.0)),
                short(1.0 - floor(1.0 / burn, 10_000.0)),
            ),
        );
    }
}

/// Even if every one of the last boots is slow, that must be improbable enough.
fn check_last(rule: &str, last: u64, alpha: f64, problems: &mut Problems) {
    let chance = |boots: u64| BEYOND.powi(i32::try_from(boots).unwrap_or(i32::MAX));
    if chance(last) <= alpha {
        return;
    }
    let enough = (last..=1_000)
        .find(|boots| chance(*boots) <= alpha)
        .unwrap_or(1_000);
    problems.add(
        format!("rules.{rule}.last"),
        format!(
            "{last} is too few to ever fire: even {last} slow boots of {last} have a probability of {:e}, above alpha \
             {alpha}; write {enough} or more",
            chance(last)
        ),
    );
}

fn floor(number: f64, steps: f64) -> f64 {
    (number * steps).floor() / steps
}

/// A figure as a person writes it: at most four decimals.
fn short(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}

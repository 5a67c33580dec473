//! The configured rules as the engine's settings.

use std::collections::BTreeMap;

use crate::clock::millis;
use crate::config::{Config, ConnectionSpike, Limit};
use crate::core::alert::Settings;
use crate::core::condition::ConditionSettings;
use crate::core::desk;
use crate::core::rule::{RuleName, RuleSettings};
use crate::core::slowness;

/// The engine's settings of a configuration.
#[must_use]
pub fn settings(config: &Config) -> Settings {
    let defaults = RuleSettings {
        keep_firing_ms: millis(config.alerts.keep_firing),
        ..RuleSettings::default()
    };
    let mut rules = BTreeMap::new();
    if let Some(rate) = &config.rules.boot_failure_rate {
        rules.insert(
            RuleName::BootFailureRate,
            RuleSettings {
                tolerated: 1.0 - rate.objective,
                alpha: rate.alpha,
                window_ms: millis(rate.window),
                last: count(rate.last),
                consecutive: count(rate.consecutive),
                ..defaults
            },
        );
    }
    let spikes = [
        (
            RuleName::ConnectionRefusedSpike,
            &config.rules.connection_refused_spike,
        ),
        (
            RuleName::ConnectionErrorSpike,
            &config.rules.connection_error_spike,
        ),
    ];
    for (rule, spike) in spikes {
        if let Some(spike) = spike {
            rules.insert(rule, of_spike(spike, defaults));
        }
    }
    measured(config, defaults, &mut rules);
    Settings {
        host: config.host.clone(),
        rules,
        conditions: conditions(config),
        group_wait_ms: millis(config.alerts.group_wait),
    }
}

/// The desk's settings of a configuration.
#[must_use]
pub fn desk_settings(config: &Config) -> desk::Settings {
    desk::Settings {
        repeat_page_ms: millis(config.alerts.repeat),
        repeat_ticket_ms: millis(config.alerts.repeat_ticket),
        group_wait_ms: millis(config.alerts.group_wait),
        maintenance: config.maintenance.clone(),
        reaches_somebody: !config.notifiers.is_empty(),
    }
}

/// The rules with mathematics of their own.
fn measured(config: &Config, defaults: RuleSettings, rules: &mut BTreeMap<RuleName, RuleSettings>) {
    if let Some(burn) = &config.rules.boot_budget_burn {
        let settings = RuleSettings {
            tolerated: 1.0 - burn.objective,
            alpha: burn.alpha,
            last: count(burn.last),
            burns: burn.burns,
            ..defaults
        };
        rules.insert(RuleName::BootBudgetBurn, settings);
        rules.insert(RuleName::BootBudgetBurnTicket, settings);
    }
    if let Some(slow) = &config.rules.boot_stage_slow {
        let terms = slowness::Terms {
            alpha: slow.alpha,
            last: count(slow.last),
            min_boots: count(slow.min_boots),
            factor: slow.factor,
            slack_ms: count(slow.slack.as_millis().try_into().unwrap_or(u64::MAX)),
            ..slowness::Terms::default()
        };
        let settings = RuleSettings {
            slow: terms,
            for_ms: millis(slow.wait),
            ..defaults
        };
        rules.insert(RuleName::BootStageSlow, settings);
    }
    if let Some(headroom) = &config.rules.readiness_headroom_low {
        let terms = slowness::Terms {
            alpha: headroom.alpha,
            last: count(headroom.last),
            headroom: headroom.headroom,
            ..slowness::Terms::default()
        };
        let settings = RuleSettings {
            slow: terms,
            for_ms: millis(headroom.wait),
            ..defaults
        };
        rules.insert(RuleName::ReadinessHeadroomLow, settings);
    }
}

/// Rules that nothing could tell anything are left out: their alerts would say for ever that nothing is known.
fn conditions(config: &Config) -> BTreeMap<RuleName, ConditionSettings> {
    // Two rules of one name differ in their severity.
    let named = |name: &'static str| {
        let known = RuleName::CONDITIONS.iter().copied();
        known.filter(move |rule| rule.as_str() == name)
    };
    let configured = config.rules.conditions.iter();
    configured
        .filter_map(|(name, rule)| Some((*name, rule.as_ref()?)))
        .flat_map(|(name, configured)| {
            let limit = match configured.limit {
                Limit::Count(count) => count as f64,
                Limit::Share(share) => share,
                Limit::Time(time) => millis(time) as f64,
            };
            let settings = ConditionSettings {
                enabled: true,
                limit,
                for_ms: millis(configured.wait),
                keep_firing_ms: millis(config.alerts.keep_firing),
            };
            named(name).map(move |rule| (rule, settings))
        })
        .collect()
}

fn of_spike(spike: &ConnectionSpike, defaults: RuleSettings) -> RuleSettings {
    RuleSettings {
        tolerated: spike.baseline,
        alpha: spike.alpha,
        window_ms: millis(spike.window),
        min_ready: spike.min_ready,
        factor: spike.factor,
        ..defaults
    }
}

fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

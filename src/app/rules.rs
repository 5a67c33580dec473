//! The configured rules as the engine's settings.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{Config, ConnectionSpike};
use crate::core::alert::Settings;
use crate::core::desk;
use crate::core::rule::{RuleName, RuleSettings};

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
    Settings {
        host: config.host.clone(),
        rules,
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
    }
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

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn count(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

//! What the rules are told: the configuration's thresholds, and how Prometheus calls bootwatch.

use std::time::Duration;

use crate::config::{Config, Limit};

const MINUTE: Duration = Duration::from_secs(60);

/// Of a rule that counts bad boots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Count {
    /// The share of boots that may be bad.
    pub tolerated: f64,
    pub alpha: f64,
    pub window: Duration,
    /// Where the window has fewer boots than this, a longer one is judged.
    pub last: u64,
    pub consecutive: u64,
}

/// Of a rule about a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// A number of things, of seconds, or a share.
    pub limit: f64,
    /// How long it must be bad.
    pub hold: Duration,
}

/// Of the rules about stages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    /// Times the baseline, or the share of the deadline.
    pub factor: f64,
    pub window: Duration,
    /// Fewer say nothing.
    pub least: u64,
}

/// Of one pair of windows of the error budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burn {
    pub factor: f64,
    pub long: Duration,
    pub short: Duration,
    pub pages: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    pub objective: f64,
    pub alpha: f64,
    pub burns: [Burn; 4],
}

/// Every threshold; a rule that is switched off has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// The job under which Prometheus scrapes bootwatch.
    pub job: String,
    pub runbook_base: Option<String>,
    pub keep_firing: Duration,
    pub failure_rate: Option<Count>,
    pub refused: Option<Count>,
    pub errors: Option<Count>,
    pub budget: Option<Budget>,
    pub stage_slow: Option<Quantile>,
    pub headroom: Option<Quantile>,
    pub sessions: Option<Level>,
    pub pool: Option<Level>,
    pub ghosts: Option<Level>,
    pub silent: Option<Level>,
    pub database: Option<Level>,
    pub lagging: Option<Level>,
    pub store: Option<Level>,
    pub notifier: Option<Level>,
    pub unparsed: Option<Level>,
}

impl Parameters {
    /// The thresholds of a configuration; what PromQL judges otherwise than the engine (windows, for quantiles) is fixed.
    #[must_use]
    pub fn of(config: &Config, job: &str) -> Parameters {
        let spike = |spike: &Option<crate::config::ConnectionSpike>| {
            spike.as_ref().map(|spike| Count {
                tolerated: spike.baseline,
                alpha: spike.alpha,
                window: spike.window,
                last: 20,
                consecutive: 3,
            })
        };
        // A limit that is a time is, where the metric is 0 or 1, how long it must be so.
        let level = |name: &str| {
            let mut rules = config.rules.conditions.iter();
            let rule = rules.find(|(rule, _)| *rule == name)?.1?;
            Some(match rule.limit {
                Limit::Count(count) => Level {
                    limit: u32::try_from(count).unwrap_or(u32::MAX).into(),
                    hold: rule.wait,
                },
                Limit::Share(limit) => Level {
                    limit,
                    hold: rule.wait,
                },
                Limit::Time(time) => Level {
                    limit: time.as_secs_f64(),
                    hold: Duration::ZERO,
                },
            })
        };
        let held = |name: &str| {
            level(name).map(|level| Level {
                limit: 1.0,
                hold: Duration::from_secs_f64(level.limit),
            })
        };
        Parameters {
            job: job.to_owned(),
            runbook_base: config.links.runbook_base.as_ref().map(ToString::to_string),
            keep_firing: config.alerts.keep_firing,
            failure_rate: config.rules.boot_failure_rate.as_ref().map(|rate| Count {
                tolerated: 1.0 - rate.objective,
                alpha: rate.alpha,
                window: rate.window,
                last: rate.last,
                consecutive: rate.consecutive,
            }),
            refused: spike(&config.rules.connection_refused_spike),
            errors: spike(&config.rules.connection_error_spike),
            budget: config.rules.boot_budget_burn.as_ref().map(|budget| {
                let mut burns = BURNS;
                for (burn, factor) in burns.iter_mut().zip(budget.burns) {
                    burn.factor = factor;
                }
                Budget {
                    objective: budget.objective,
                    alpha: budget.alpha,
                    burns,
                }
            }),
            stage_slow: config.rules.boot_stage_slow.as_ref().map(|slow| Quantile {
                factor: slow.factor,
                window: 60 * MINUTE,
                least: slow.last,
            }),
            headroom: config
                .rules
                .readiness_headroom_low
                .as_ref()
                .map(|low| Quantile {
                    factor: 1.0 - low.headroom,
                    window: 60 * MINUTE,
                    least: low.last,
                }),
            sessions: level("SessionsIncomplete"),
            pool: level("IpPoolLow"),
            ghosts: level("GhostVms"),
            silent: level("ControllerSilent"),
            database: held("DatabaseUnreachable"),
            // Not before the engine, which knows since when: whoever is paged by it is not paged by its twin as well.
            lagging: level("LogLagging").map(|level| Level {
                hold: Duration::from_secs_f64(level.limit),
                ..level
            }),
            store: held("StoreUnwritable"),
            notifier: level("NotifierFailing"),
            unparsed: level("RecordsUnparsed"),
        }
    }

    /// Where a rule's runbook is: as pages link to it, or in bootwatch's own sources.
    #[must_use]
    pub fn runbook(&self, rule: &str) -> String {
        match &self.runbook_base {
            Some(base) => format!("{}/{rule}", base.trim_end_matches('/')),
            None => format!("docs/runbooks/{rule}.md"),
        }
    }
}

/// The pairs that burn 2, 5, 10 and 10 % of a month's budget.
const BURNS: [Burn; 4] = [
    burn(14.4, 60, 5, true),
    burn(6.0, 360, 30, true),
    burn(3.0, 1_440, 120, false),
    burn(1.0, 4_320, 360, false),
];

const fn burn(factor: f64, long: u64, short: u64, pages: bool) -> Burn {
    Burn {
        factor,
        long: Duration::from_secs(60 * long),
        short: Duration::from_secs(60 * short),
        pages,
    }
}

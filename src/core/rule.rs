//! The rules by name, and those that judge boots: when a count of bad boots is too much to be chance.
//!
//! The three here count boots, never lines, per kind of VM, and share one test: among the last few boots, or among the last
//! hour's (the last 20 where an hour has fewer), at least three are bad, and so many are improbable if each boot were
//! bad with the probability that is tolerated. They differ in which boots are bad: all failed ones, those refused to
//! the end, those that met other connection errors. The latter two also count boots in flight that have met such an
//! error for longer than any healthy boot takes, so that a hopeless boot counts before the controller gives it up. The
//! others have mathematics of their own: `burn`, `slowness`.

use serde::{Deserialize, Serialize};

use crate::core::alert::Subject;
use crate::core::binomial;
use crate::core::burn;
use crate::core::condition::Level;
use crate::core::event::{AttemptError, AttemptResult, Failure, Timestamp, VmType};
use crate::core::slowness::{self, Slow};
use crate::core::window::{Count, Judged, Settled, Window};

/// A single bad boot says nothing, and neither do two.
const LEAST_BAD: u32 = 3;
/// Boots further back than this are not "the last ones".
pub(in crate::core) const LAST_BOOTS_SPAN_MS: i64 = 24 * 3_600_000;
/// So many boots in a row without a bad one must have been seen before a rule is clear again.
pub(in crate::core) const LEAST_GOOD: u32 = 3;
/// A run of good boots this improbable, had the fault lasted, ends it.
const RECOVERY_ALPHA: f64 = 0.05;
/// Or else a window this much more probable than the one that fires.
pub(in crate::core) const HYSTERESIS: f64 = 10.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RuleName {
    BootFailureRate,
    ConnectionRefusedSpike,
    ConnectionErrorSpike,
    BootBudgetBurn,
    /// The same rule's slow windows, of another severity.
    BootBudgetBurnTicket,
    BootStageSlow,
    ReadinessHeadroomLow,
    SessionsIncomplete,
    IpPoolLow,
    GhostVms,
    ControllerSilent,
    DatabaseUnreachable,
    LogLagging,
    StoreUnwritable,
    NotifierFailing,
    RecordsUnparsed,
    SyntheticFailing,
    BootsUntold,
    LogClockWrong,
    /// Where boots show that the image alone decides.
    GoldenImageBroken,
    /// The same audit where they do not, or do not yet.
    GoldenImageBrokenTicket,
}

impl RuleName {
    pub const ALL: &'static [RuleName] = &[
        RuleName::BootFailureRate,
        RuleName::ConnectionRefusedSpike,
        RuleName::ConnectionErrorSpike,
        RuleName::BootBudgetBurn,
        RuleName::BootBudgetBurnTicket,
        RuleName::BootStageSlow,
        RuleName::ReadinessHeadroomLow,
        RuleName::SessionsIncomplete,
        RuleName::IpPoolLow,
        RuleName::GhostVms,
        RuleName::ControllerSilent,
        RuleName::DatabaseUnreachable,
        RuleName::LogLagging,
        RuleName::StoreUnwritable,
        RuleName::NotifierFailing,
        RuleName::RecordsUnparsed,
        RuleName::SyntheticFailing,
        RuleName::BootsUntold,
        RuleName::LogClockWrong,
        RuleName::GoldenImageBroken,
        RuleName::GoldenImageBrokenTicket,
    ];

    /// The rules that judge the boots of each kind of VM.
    pub const BOOTS: &'static [RuleName] = &[
        RuleName::BootFailureRate,
        RuleName::ConnectionRefusedSpike,
        RuleName::ConnectionErrorSpike,
        RuleName::BootBudgetBurn,
        RuleName::BootBudgetBurnTicket,
        RuleName::BootStageSlow,
        RuleName::ReadinessHeadroomLow,
    ];

    /// The rules about what holds now, once for the host: `core::condition`.
    pub const CONDITIONS: &'static [RuleName] = &[
        RuleName::SessionsIncomplete,
        RuleName::IpPoolLow,
        RuleName::GhostVms,
        RuleName::ControllerSilent,
        RuleName::DatabaseUnreachable,
        RuleName::LogLagging,
        RuleName::StoreUnwritable,
        RuleName::NotifierFailing,
        RuleName::RecordsUnparsed,
        RuleName::SyntheticFailing,
        RuleName::BootsUntold,
        RuleName::LogClockWrong,
        RuleName::GoldenImageBroken,
        RuleName::GoldenImageBrokenTicket,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RuleName::BootFailureRate => "BootFailureRate",
            RuleName::ConnectionRefusedSpike => "ConnectionRefusedSpike",
            RuleName::ConnectionErrorSpike => "ConnectionErrorSpike",
            RuleName::BootBudgetBurn | RuleName::BootBudgetBurnTicket => "BootBudgetBurn",
            RuleName::BootStageSlow => "BootStageSlow",
            RuleName::ReadinessHeadroomLow => "ReadinessHeadroomLow",
            RuleName::SessionsIncomplete => "SessionsIncomplete",
            RuleName::IpPoolLow => "IpPoolLow",
            RuleName::GhostVms => "GhostVms",
            RuleName::ControllerSilent => "ControllerSilent",
            RuleName::DatabaseUnreachable => "DatabaseUnreachable",
            RuleName::LogLagging => "LogLagging",
            RuleName::StoreUnwritable => "StoreUnwritable",
            RuleName::NotifierFailing => "NotifierFailing",
            RuleName::RecordsUnparsed => "RecordsUnparsed",
            RuleName::SyntheticFailing => "SyntheticFailing",
            RuleName::GoldenImageBroken | RuleName::GoldenImageBrokenTicket => "GoldenImageBroken",
            RuleName::BootsUntold => "BootsUntold",
            RuleName::LogClockWrong => "LogClockWrong",
        }
    }

    /// What no other has: the name, and where two severities share it, the severity.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            RuleName::BootBudgetBurnTicket => "BootBudgetBurn.ticket",
            RuleName::GoldenImageBrokenTicket => "GoldenImageBroken.ticket",
            other => other.as_str(),
        }
    }

    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            RuleName::BootFailureRate
            | RuleName::ConnectionRefusedSpike
            | RuleName::ConnectionErrorSpike
            | RuleName::BootBudgetBurn
            | RuleName::ControllerSilent
            | RuleName::LogLagging
            | RuleName::SyntheticFailing
            | RuleName::GoldenImageBroken => Severity::Page,
            RuleName::BootBudgetBurnTicket
            | RuleName::BootStageSlow
            | RuleName::ReadinessHeadroomLow
            | RuleName::SessionsIncomplete
            | RuleName::IpPoolLow
            | RuleName::GhostVms
            | RuleName::DatabaseUnreachable
            | RuleName::StoreUnwritable
            | RuleName::NotifierFailing
            | RuleName::RecordsUnparsed
            | RuleName::GoldenImageBrokenTicket
            | RuleName::BootsUntold
            | RuleName::LogClockWrong => Severity::Ticket,
        }
    }

    /// Whether a boot that failed so counts against this rule.
    #[must_use]
    pub fn counts(self, failure: Failure) -> bool {
        match self {
            RuleName::BootFailureRate
            | RuleName::BootBudgetBurn
            | RuleName::BootBudgetBurnTicket => true,
            RuleName::BootStageSlow | RuleName::ReadinessHeadroomLow => false,
            RuleName::ConnectionRefusedSpike => failure == Failure::AgentRefused,
            RuleName::ConnectionErrorSpike => {
                matches!(
                    failure,
                    Failure::GuestUnreachable | Failure::AgentTimeout | Failure::AgentReset
                )
            }
            _ => false,
        }
    }

    /// Whether a boot in flight whose attempts end so counts once it is overdue.
    #[must_use]
    pub fn counts_overdue(self, result: AttemptResult) -> bool {
        let AttemptResult::Error(error) = result else {
            return false;
        };
        match self {
            RuleName::ConnectionRefusedSpike => error == AttemptError::Refused,
            RuleName::ConnectionErrorSpike => error != AttemptError::Refused,
            _ => false,
        }
    }

    /// Whether it is about how long boots take: then any boot may change it, not only a bad one.
    #[must_use]
    pub fn times(self) -> bool {
        matches!(
            self,
            RuleName::BootStageSlow | RuleName::ReadinessHeadroomLow
        )
    }

    /// Whether it is about how fast the budget of failures is used up.
    #[must_use]
    pub fn burns(self) -> bool {
        matches!(
            self,
            RuleName::BootBudgetBurn | RuleName::BootBudgetBurnTicket
        )
    }

    /// Whether it learns which share of bad boots is usual: an objective is an objective.
    #[must_use]
    pub fn learns(self) -> bool {
        !self.times() && !self.burns()
    }

    /// Whether the rule says anything about this: only browser VMs are asked on port 8080.
    #[must_use]
    pub fn judges(self, subject: Subject) -> bool {
        let Subject::Boots(vm_type) = subject else {
            return RuleName::CONDITIONS.contains(&self) && self != RuleName::GoldenImageBroken;
        };
        match self {
            // It is why browser boots fail: one incident with them, whichever is seen first.
            RuleName::GoldenImageBroken => vm_type == VmType::Browser,
            RuleName::ConnectionRefusedSpike
            | RuleName::ConnectionErrorSpike
            | RuleName::ReadinessHeadroomLow => vm_type == VmType::Browser,
            other => RuleName::BOOTS.contains(&other),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    Page,
    Ticket,
}

impl Severity {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Page => "page",
            Severity::Ticket => "ticket",
        }
    }
}

/// What a rule may be told in the configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RuleSettings {
    pub enabled: bool,
    /// The share of boots that may be bad: 1 minus the objective.
    pub tolerated: f64,
    /// How improbable a count must be.
    pub alpha: f64,
    pub window_ms: i64,
    /// Where a window has fewer boots than this, the last so many are judged.
    pub last: u32,
    /// So many bad boots in a row fire at once.
    pub consecutive: u32,
    /// The condition must hold this long, in event time.
    pub for_ms: i64,
    /// An alert whose condition has cleared stays this long.
    pub keep_firing_ms: i64,
    /// Ready boots that teach the time-to-ready before boots in flight count.
    pub min_ready: u64,
    /// How far beyond the learnt p99 a boot in flight is overdue.
    pub factor: f64,
    /// The burn that each pair of windows (`burn::PAIRS`) must exceed.
    pub burns: [f64; 4],
    /// Of the rules about time.
    pub slow: slowness::Terms,
}

impl Default for RuleSettings {
    fn default() -> RuleSettings {
        RuleSettings {
            enabled: true,
            tolerated: 0.05,
            alpha: 0.001,
            window_ms: 3_600_000,
            last: 20,
            consecutive: 3,
            for_ms: 0,
            keep_firing_ms: 120_000,
            min_ready: 20,
            factor: 1.5,
            burns: burn::PAIRS.map(|pair| pair.factor),
            slow: slowness::Terms::default(),
        }
    }
}

impl Reading {
    /// No boots, no data.
    pub(in crate::core) fn of_nothing() -> Reading {
        Reading {
            bad: false,
            recovered: false,
            count: Count::default(),
            stretch: Stretch::Last(0),
            chance: 1.0,
            usual: 0.0,
            overdue: 0,
            detail: None,
        }
    }
}

impl RuleSettings {
    /// What holds where nothing is configured.
    #[must_use]
    pub fn usual(rule: RuleName) -> RuleSettings {
        let for_ms = if rule.times() { 15 * 60_000 } else { 0 };
        RuleSettings {
            for_ms,
            ..RuleSettings::default()
        }
    }
}

/// Which boots a reading is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stretch {
    /// The last so many boots.
    Last(u32),
    /// The boots of so many milliseconds.
    Span(i64),
}

/// The stretch of boots in words: `last 20 boots`, `last hour`.
impl std::fmt::Display for Stretch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stretch::Last(boots) => write!(f, "last {boots} boots"),
            Stretch::Span(3_600_000) => f.write_str("last hour"),
            Stretch::Span(86_400_000) => f.write_str("last day"),
            Stretch::Span(ms) if ms % 86_400_000 == 0 => {
                write!(f, "last {} days", ms / 86_400_000)
            }
            Stretch::Span(ms) if ms % 3_600_000 == 0 => {
                write!(f, "last {} hours", ms / 3_600_000)
            }
            Stretch::Span(ms) => write!(f, "last {} min", ms / 60_000),
        }
    }
}

/// What a rule says at a moment, with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub bad: bool,
    /// Enough good boots have been seen that the fault cannot have lasted.
    pub recovered: bool,
    pub count: Count,
    pub stretch: Stretch,
    /// The chance of so many bad boots, or more, if all were as it should be.
    pub chance: f64,
    /// The share that is taken as usual: what is tolerated, or what was learnt.
    pub usual: f64,
    /// Boots in flight among them.
    pub overdue: u32,
    /// What a rule with mathematics of its own found beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
}

/// What is said of a reading beyond its count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Detail {
    Burn(Burn),
    Slow(Slow),
}

/// How fast the budget of failures is used up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Burn {
    /// 1 uses it up in its period.
    pub burn: f64,
    /// More than this fires.
    pub factor: f64,
    pub short: Count,
    pub short_ms: i64,
    pub left: burn::Left,
}

/// What an alert said when it fired.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Said {
    /// Of boots.
    Boots(Reading),
    /// Of a figure that is beyond its limit.
    Level(Level),
}

impl Said {
    /// What was said of boots.
    #[must_use]
    pub fn boots(&self) -> Option<&Reading> {
        match self {
            Said::Boots(reading) => Some(reading),
            Said::Level(_) => None,
        }
    }

    /// How many boots were bad.
    #[must_use]
    pub fn bad(&self) -> u32 {
        self.boots().map_or(0, |reading| reading.count.bad)
    }
}

/// Bad boots that no window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Besides {
    /// Overdue ones in flight that count against the rule.
    pub overdue: u32,
    /// Such as may end next: what if they had?
    pub ended: u32,
}

impl Besides {
    #[must_use]
    pub fn overdue(overdue: u32) -> Besides {
        Besides { overdue, ended: 0 }
    }

    #[must_use]
    pub fn ended(ended: u32) -> Besides {
        Besides { overdue: 0, ended }
    }

    fn all(self) -> u32 {
        self.overdue.saturating_add(self.ended)
    }
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    pub window: &'a Window,
    pub besides: Besides,
    /// Boots up to here count no more: an alert about them was resolved.
    pub settled: Settled,
    /// Event time.
    pub now: Timestamp,
    /// The tolerated share, raised to what was learnt as usual.
    pub usual: f64,
    /// The worst share seen while the alert was firing.
    pub worst: f64,
    /// So many boots have ended since the alert fired: only they can say that it is over.
    pub since_fired: u64,
}

/// Judges one rule.
#[must_use]
pub fn read(rule: RuleName, settings: &RuleSettings, sight: Sight<'_>) -> Reading {
    let from = sight.now.plus_ms(-LAST_BOOTS_SPAN_MS);
    let Besides { overdue, ended } = sight.besides;
    let since = sight
        .window
        .since(sight.settled, |failure| rule.counts(failure))
        .and_bad(ended);
    let bad = |boot: &Judged| boot.failure.is_some_and(|failure| rule.counts(failure));
    // The last few: boots in flight are the newest.
    let few = settings.consecutive.max(1);
    let ended_of_few = ended.min(few.saturating_sub(overdue));
    let row = count_last(
        sight.window,
        from,
        few.saturating_sub(overdue).min(since.of),
        &bad,
        Besides {
            overdue: overdue.min(few),
            ended: ended_of_few,
        },
    );
    let in_a_row = row.of == few && row.bad == few && row.bad >= LEAST_BAD;
    // The window, or the last boots where it is thin.
    let hour = sight
        .window
        .within(sight.now, settings.window_ms, |failure| {
            rule.counts(failure)
        })
        .and_bad(ended);
    // Of the hour's boots and those since the resolve, the fewer ones are both.
    let hour = if since.of < hour.of { since } else { hour };
    let (wide, stretch) = if hour.of >= settings.last {
        (hour.and_bad(overdue), Stretch::Span(settings.window_ms))
    } else {
        let last = settings.last.min(since.of);
        let count = count_last(sight.window, from, last, &bad, sight.besides);
        (count, Stretch::Last(count.of))
    };
    let chance = binomial::tail(wide.bad, wide.of, sight.usual);
    let improbable = wide.bad >= LEAST_BAD && chance <= settings.alpha;
    let good = u32::try_from(
        sight
            .window
            .last(from)
            .take_while(|boot| !bad(boot))
            .take(usize::try_from(sight.since_fired.min(u64::from(since.of))).unwrap_or(usize::MAX))
            .count(),
    )
    .unwrap_or(u32::MAX);
    let faded = has_faded(sight.worst, good);
    let cleared = chance > (settings.alpha * HYSTERESIS).min(0.5);
    let recovered = overdue == 0 && good >= LEAST_GOOD && !in_a_row && (faded || cleared);
    let (count, stretch, chance) = match in_a_row && !improbable {
        true => (
            row,
            Stretch::Last(few),
            binomial::tail(row.bad, row.of, sight.usual),
        ),
        false => (wide, stretch, chance),
    };
    Reading {
        bad: in_a_row || improbable,
        recovered,
        count,
        stretch,
        chance,
        usual: sight.usual,
        overdue,
        detail: None,
    }
}

/// A run of so many good boots is improbable, had a fault lasted that takes this share of boots.
pub(in crate::core) fn has_faded(worst: f64, good: u32) -> bool {
    (1.0 - worst.min(1.0)).powi(i32::try_from(good).unwrap_or(i32::MAX)) <= RECOVERY_ALPHA
}

pub(in crate::core) fn count_last(
    window: &Window,
    from: Timestamp,
    most: u32,
    bad: &impl Fn(&Judged) -> bool,
    besides: Besides,
) -> Count {
    let mut count = Count::default().and_bad(besides.all());
    let rest = most.saturating_sub(besides.ended);
    for boot in window.last(from).take(rest as usize) {
        count.of += 1;
        count.bad += u32::from(bad(boot));
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::boot::Lines;

    /// `r` became ready, `x` was refused, `u` was unreachable; a boot a minute.
    fn reading(rule: RuleName, boots: &str, overdue: u32) -> Reading {
        let mut window = Window::default();
        let mut at = Timestamp(0);
        for c in boots.chars() {
            at = at.plus_ms(if boots.len() > 60 { 10_000 } else { 60_000 });
            let failure = match c {
                'x' => Some(Failure::AgentRefused),
                'u' => Some(Failure::GuestUnreachable),
                _ => None,
            };
            window.add(Judged {
                vm: None,
                session: None,
                started_at: at,
                ended_at: at,
                failure,
                evidence: Lines::default(),
                signs: crate::core::diagnosis::Signs::default(),
            });
        }
        let usual = RuleSettings::default().tolerated;
        let sight = Sight {
            window: &window,
            besides: Besides::overdue(overdue),
            settled: Settled::default(),
            now: at,
            usual,
            worst: 1.0,
            since_fired: u64::MAX,
        };
        read(rule, &RuleSettings::default(), sight)
    }

    #[test]
    fn the_documented_counts_fire_and_do_not() {
        let rate = |boots: &str| reading(RuleName::BootFailureRate, boots, 0).bad;
        assert!(rate("xxx"));
        assert!(!rate("xrr"));
        assert!(!rate("xx"));
        assert!(!rate(&format!("{}x{}", "r".repeat(15), "r".repeat(14))));
        assert!(!rate("rrrrrrxrrrrrxrrrrrrrxrr"), "3 of 23");
        let spread: String = (0..200)
            .map(|i| if i % 20 < 3 && i % 20 != 1 { 'x' } else { 'r' })
            .collect();
        assert!(!rate(&spread.replace('x', "r")));
        let thirty: String = (0..200)
            .map(|i| {
                if i % 20 == 3 || i % 20 == 9 || i % 20 == 15 {
                    'x'
                } else {
                    'r'
                }
            })
            .collect();
        assert_eq!(thirty.matches('x').count(), 30);
        assert!(rate(&thirty), "30 of 200");
        assert!(rate(&format!("{}xxx", "r".repeat(50))), "the last three");
    }

    #[test]
    fn spikes_count_their_own_class_and_hopeless_boots_in_flight() {
        assert!(reading(RuleName::ConnectionRefusedSpike, "xxx", 0).bad);
        assert!(!reading(RuleName::ConnectionErrorSpike, "xxx", 0).bad);
        assert!(reading(RuleName::ConnectionErrorSpike, "uuu", 0).bad);
        assert!(!reading(RuleName::ConnectionRefusedSpike, "xux", 0).bad);
        let healthy = "r".repeat(20);
        assert!(!reading(RuleName::ConnectionRefusedSpike, &healthy, 2).bad);
        let hopeless = reading(RuleName::ConnectionRefusedSpike, &healthy, 3);
        assert!(hopeless.bad && hopeless.count == Count { bad: 3, of: 3 });
        assert!(reading(RuleName::ConnectionRefusedSpike, "rrrrrxx", 1).bad);
    }

    #[test]
    fn one_good_boot_does_not_recover_and_enough_do() {
        let recovered = |boots: &str| reading(RuleName::BootFailureRate, boots, 0).recovered;
        assert!(!recovered("xxxxr"));
        assert!(!recovered("xxxxrr"));
        assert!(recovered("xxxxrrr"));
        assert!(!recovered(""), "no data is not recovery");
        assert!(!recovered("xxx"));
    }
}

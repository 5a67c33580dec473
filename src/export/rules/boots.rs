//! The rules that count bad boots: how many of how many, in windows from a twelfth of the configured one to four times it.
//!
//! The engine looks at the last boots; PromQL only at the last minutes. So "the last three boots all failed" becomes
//! "there are three in some window, and no other", "it is over" becomes "there are enough good ones in some window, and
//! no bad one", and the windows double so that one of them fits any traffic.
//!
//! Boots that touched a maintenance count neither for nor against: they are in `boots_total`, and are taken off again.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use super::document::{Alert, Recording, duration};
use super::improbable::Bound;
use super::parameters::{Budget, Burn};
use super::{Count, Judge, Parameters, Row, Words, asked};
use crate::core::event::{AttemptError, AttemptResult, Failure};
use crate::core::rule::{RuleName, Severity};

pub(super) const FAILURE_RATE: Row = Row {
    name: "BootFailureRate",
    judge: Judge::Prometheus,
    severity: Some(Severity::Page),
    write: |row, parameters| counted(row, parameters, FAILED),
};

pub(super) const REFUSED: Row = Row {
    name: "ConnectionRefusedSpike",
    judge: Judge::Prometheus,
    severity: Some(Severity::Page),
    write: |row, parameters| counted(row, parameters, REFUSALS),
};

pub(super) const ERRORS: Row = Row {
    name: "ConnectionErrorSpike",
    judge: Judge::Prometheus,
    severity: Some(Severity::Page),
    write: |row, parameters| counted(row, parameters, UNANSWERED),
};

pub(super) const BURN: Row = Row {
    name: "BootBudgetBurn",
    judge: Judge::Prometheus,
    severity: Some(Severity::Page),
    write: burning,
};

/// Which boots are bad.
#[derive(Clone, Copy)]
struct Kind {
    rule: RuleName,
    /// In the names of recordings.
    stem: &'static str,
    /// In summaries.
    verb: &'static str,
    settings: fn(&Parameters) -> Option<Count>,
}

const FAILED: Kind = Kind {
    rule: RuleName::BootFailureRate,
    stem: "failed",
    verb: "fail",
    settings: |parameters| parameters.failure_rate,
};
const REFUSALS: Kind = Kind {
    rule: RuleName::ConnectionRefusedSpike,
    stem: "refused",
    verb: "are refused on port 8080",
    settings: |parameters| parameters.refused,
};
const UNANSWERED: Kind = Kind {
    rule: RuleName::ConnectionErrorSpike,
    stem: "unanswered",
    verb: "cannot be reached or do not answer",
    settings: |parameters| parameters.errors,
};
const KINDS: [Kind; 3] = [FAILED, REFUSALS, UNANSWERED];

/// Of the configured window: the shortest, by which it still goes on; the window itself is the fourth.
const LADDER: [f64; 6] = [1.0 / 12.0, 0.25, 0.5, 1.0, 2.0, 4.0];

const BY: &str = "instance, vm_type";

struct Windows {
    short: Duration,
    /// A quarter.
    middle: Duration,
    whole: Duration,
    /// Four times, for thin traffic.
    wide: Duration,
    all: [Duration; 6],
}

impl Windows {
    fn of(window: Duration) -> Windows {
        let all = LADDER.map(|times| window.mul_f64(times));
        let all = all.map(|length| {
            Duration::from_millis(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
        });
        let [short, middle, _, whole, _, wide] = all;
        Windows {
            short,
            middle,
            whole,
            wide,
            all,
        }
    }
}

impl Kind {
    fn bad(self, window: Duration) -> String {
        format!("bootwatch:boots_{}:{}", self.stem, duration(window))
    }

    fn of(self, window: Duration) -> String {
        format!("bootwatch:boots_{}_of:{}", self.stem, duration(window))
    }

    fn share(self, window: Duration) -> String {
        format!("bootwatch:boots_{}_share:{}", self.stem, duration(window))
    }

    /// The last boots as far back as they are all bad, or good.
    fn run(self, which: &str) -> String {
        format!("bootwatch:boots_{}_{which}_run", self.stem)
    }

    /// The runs: of the widest window that holds no others.
    fn runs(self, windows: &Windows) -> [Recording; 2] {
        let widest = |of_window: &dyn Fn(Duration) -> String| {
            let parts: Vec<String> = windows
                .all
                .iter()
                .rev()
                .map(|window| of_window(*window))
                .collect();
            parts.join("\nor ")
        };
        [
            Recording {
                name: self.run("bad"),
                expr: widest(&|window| format!("{} == {}", self.bad(window), self.of(window))),
            },
            Recording {
                name: self.run("good"),
                expr: widest(&|window| {
                    format!("({} and {} == 0)", self.of(window), self.bad(window))
                }),
            },
        ]
    }

    /// The boots that count against the rule, as labels of `boots_total`.
    fn selector(self) -> String {
        let counted: Vec<&str> = Failure::ALL
            .iter()
            .filter(|failure| self.rule.counts(**failure))
            .map(|failure| failure.as_str())
            .collect();
        match counted.len() == Failure::ALL.len() {
            true => "outcome=\"failed\"".to_owned(),
            false => format!("outcome=\"failed\",failure=~\"{}\"", counted.join("|")),
        }
    }

    /// The results with which a boot in flight counts.
    fn overdue(self) -> Option<String> {
        let counted: Vec<&str> = AttemptError::ALL
            .iter()
            .filter(|error| self.rule.counts_overdue(AttemptResult::Error(**error)))
            .map(|error| error.as_str())
            .collect();
        (!counted.is_empty()).then(|| {
            format!(
                "sum by (instance, vm_type) (bootwatch_boots_overdue{{vm_type=\"browser\",result=~\"{}\"}})",
                counted.join("|")
            )
        })
    }

    fn recordings(self, window: Duration) -> [Recording; 2] {
        let overdue = self.overdue();
        // Only browser VMs are asked on port 8080.
        let vms = if overdue.is_some() {
            ",vm_type=\"browser\""
        } else {
            ""
        };
        let counted = |selector: &str| {
            let mut expr = outside_maintenance(&format!("{vms},{selector}"), window);
            if let Some(overdue) = &overdue {
                append(&mut expr, format_args!("\n+ {overdue}"));
            }
            expr
        };
        [
            Recording {
                name: self.bad(window),
                expr: counted(&self.selector()),
            },
            Recording {
                name: self.of(window),
                expr: counted("outcome=~\"ready|failed\""),
            },
        ]
    }
}

/// Users' boots of a window without those that touched a maintenance. Where nobody counts the latter (the sidecar is of
/// before they were), there are none. An older sidecar counts them without an origin, which is as good.
fn outside_maintenance(selector: &str, window: Duration) -> String {
    let window = duration(window);
    let counted = |name: &str, origin: &str| {
        format!("sum by ({BY}) (increase(bootwatch_{name}{{{origin}{selector}}}[{window}]))")
    };
    let all = counted("boots_total", "origin=\"user\"");
    let aside = counted("boots_in_maintenance_total", "origin!=\"synthetic\"");
    format!("round(\n  {all}\n  - ({aside}\n    or 0 * {all})\n)")
}

/// Every window that any rule asks for, each once.
pub(super) fn recordings(parameters: &Parameters) -> Vec<Recording> {
    let mut out = Vec::new();
    for kind in KINDS {
        let settings = (kind.settings)(parameters);
        let mut windows: BTreeSet<Duration> = BTreeSet::new();
        if let Some(count) = settings {
            windows.extend(Windows::of(count.window).all);
        }
        if let (RuleName::BootFailureRate, Some(budget)) = (kind.rule, parameters.budget) {
            windows.extend(budget.burns.iter().flat_map(|burn| [burn.long, burn.short]));
        }
        for window in windows {
            out.extend(kind.recordings(window));
        }
        if let Some(count) = settings {
            let whole = Windows::of(count.window).whole;
            out.push(Recording {
                name: kind.share(whole),
                expr: format!("{} / ({} > 0)", kind.bad(whole), kind.of(whole)),
            });
            out.extend(kind.runs(&Windows::of(count.window)));
        }
    }
    out
}

fn counted(row: &Row, parameters: &Parameters, kind: Kind) -> Vec<Alert> {
    let Some(count) = (kind.settings)(parameters) else {
        return Vec::new();
    };
    let windows = Windows::of(count.window);
    let bound = Bound::new(count.tolerated, count.alpha);
    let goes_on = |window: Duration| {
        format!(
            "{} > {:.4} * {}",
            kind.bad(window),
            count.tolerated,
            kind.of(window)
        )
    };
    let improbable = |window: Duration| bound.promql(&kind.bad(window), &kind.of(window));
    let mut fires = format!(
        "# so many cannot be chance, and it still goes on\n  ({} and {})\nor\n  ({} and {} < {} and {})\n\
         # the last {few} all\nor\n  {} >= {few}\n",
        improbable(windows.whole),
        goes_on(windows.short),
        improbable(windows.wide),
        kind.of(windows.whole),
        count.last,
        goes_on(windows.middle),
        kind.run("bad"),
        few = count.consecutive,
    );
    if kind.rule == RuleName::BootFailureRate {
        fires = format!(
            "(\n{fires})\n# a CLI rate says something only where a CLI boot was ever ready\n\
             unless sum by (instance, vm_type) (max_over_time(bootwatch_boots_total{{vm_type=\"cli\",outcome=\"ready\"}}[1d])) == 0\n"
        );
    }
    let over = recovered(kind, &windows);
    let expr = row.held(fires.trim_end(), row.severity(), BY, &over, parameters);
    let mut alert = row.alert(parameters, expr, words(kind, windows.whole));
    alert.keep = parameters.keep_firing;
    vec![alert]
}

/// Enough good boots and no bad one: improbable had it lasted, at the worst share seen.
fn recovered(kind: Kind, windows: &Windows) -> String {
    let good = kind.run("good");
    format!(
        "on ({BY}) (\n      {good} >= 3\n      and ({good} * ln(1 - clamp_max(max_over_time({}[{}]), 0.99)) <= -3 or {} == 0)\n    )",
        kind.share(windows.whole),
        duration(windows.wide),
        kind.bad(windows.wide)
    )
}

fn words(kind: Kind, window: Duration) -> Words {
    let count = k_of_n(kind, window);
    Words {
        summary: format!(
            "{{{{ $labels.vm_type }}}} boots on {{{{ $labels.instance }}}} {}: {count}",
            kind.verb
        ),
        description: format!(
            "{count}. Too many for chance, or the last ones all. bootwatch's own page and its log on that host name the \
             cause; /metrics has it as bootwatch_boots_total by failure."
        ),
    }
}

/// "7 of 20 in the last 1h", asked when the text is written.
fn k_of_n(kind: Kind, window: Duration) -> String {
    let ask = |series: String| asked(&series, &["instance", "vm_type"], "%.0f");
    format!(
        "{} of {} in the last {}",
        ask(kind.bad(window)),
        ask(kind.of(window)),
        duration(window)
    )
}

fn burning(row: &Row, parameters: &Parameters) -> Vec<Alert> {
    let Some(budget) = parameters.budget else {
        return Vec::new();
    };
    let [page, ticket] = [true, false].map(|pages| {
        let pairs: Vec<Burn> = budget
            .burns
            .into_iter()
            .filter(|burn| burn.pages == pages)
            .collect();
        let severity = if pages {
            Severity::Page
        } else {
            Severity::Ticket
        };
        burn_alert(row, severity, &pairs, budget, parameters)
    });
    [page, ticket].into_iter().flatten().collect()
}

/// The pairs of one severity; what could never burn so fast is left out.
fn burn_alert(
    row: &Row,
    severity: Severity,
    pairs: &[Burn],
    budget: Budget,
    parameters: &Parameters,
) -> Option<Alert> {
    let allowed = 1.0 - budget.objective;
    let bound = Bound::new(allowed, budget.alpha);
    let reachable = pairs.iter().filter(|burn| burn.factor * allowed < 1.0);
    let conditions: Vec<String> = reachable
        .clone()
        .map(|burn| {
            let limit = burn.factor * allowed;
            let above = |window| {
                format!(
                    "{} > {limit:.4} * {}",
                    FAILED.bad(window),
                    FAILED.of(window)
                )
            };
            format!(
                "# {} times as fast as the budget allows\n  ({}\n  and {}\n  and {})",
                burn.factor,
                above(burn.long),
                above(burn.short),
                bound.promql(&FAILED.bad(burn.long), &FAILED.of(burn.long))
            )
        })
        .collect();
    let widest = reachable.clone().map(|burn| burn.short).max()?;
    let longest = reachable.map(|burn| burn.long).max()?;
    // No boots, no data.
    let over = format!("on ({BY}) {} > 0", FAILED.of(widest));
    let expr = row.held(
        &conditions.join("\nor\n"),
        severity.as_str(),
        BY,
        &over,
        parameters,
    );
    let count = k_of_n(FAILED, longest);
    let words = Words {
        summary: format!(
            "{{{{ $labels.vm_type }}}} boots on {{{{ $labels.instance }}}} burn the error budget: {count}"
        ),
        description: format!(
            "{count}, against an objective of {}. Both a long and a short window burn the budget faster than allowed.",
            budget.objective
        ),
    };
    let mut alert = row.alert_of(severity.as_str(), parameters, expr, words);
    alert.keep = parameters.keep_firing;
    Some(alert)
}

fn append(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("a String takes whatever is written to it");
}

//! The engine's rules as Prometheus rules, for a fleet.
//!
//! Each rule of the engine has a row, and each row says who judges: `Prometheus` (a *twin*: the condition can be said in
//! PromQL, and Prometheus judges by itself, from the metrics alone) or `Bootwatch` (engine-only: it cannot, and what
//! bootwatch itself says in `alerts_firing` is passed on). A third kind is about bootwatch itself, which must not be the
//! only one to notice that it is gone. A test refuses a rule of the engine that has no row here.
//!
//! What every rule keeps to:
//!
//! - Windows are of `increase`, which knows counters that began anew; sums come after it, never before.
//! - Nothing is divided by what may be zero; a comparison with a quantile of nothing (NaN) is false.
//! - Absent is unknown, and unknown is not well: an alert that fires goes on (`ALERTS`, looked at by the rule itself)
//!   until there is data that says otherwise, or its target was taken out of the scrape configuration.
//! - It counts boots, and says k of n.

mod boots;
mod document;
mod fleet;
mod improbable;
mod levels;
mod parameters;
mod stages;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::core::rule::Severity;
use document::{Alert, Recording};

pub use parameters::{Count, Level, Parameters};

/// Who judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// A twin of the engine's rule.
    Prometheus,
    /// The engine alone; Prometheus passes on what it says.
    Bootwatch,
    /// Prometheus, about bootwatch itself: the engine has no such rule.
    Fleet,
}

impl Judge {
    /// The value of the label `judged_by`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Judge::Prometheus | Judge::Fleet => "prometheus",
            Judge::Bootwatch => "bootwatch",
        }
    }
}

/// A rule and what it becomes.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub judge: Judge,
    /// `None`: a heartbeat, which is neither.
    pub severity: Option<Severity>,
    write: fn(&Row, &Parameters) -> Vec<Alert>,
}

/// Every rule, in the order of the file.
pub const ROWS: &[Row] = &[
    boots::FAILURE_RATE,
    boots::REFUSED,
    boots::ERRORS,
    boots::BURN,
    stages::SLOW,
    stages::HEADROOM,
    levels::SESSIONS,
    levels::POOL,
    levels::GHOSTS,
    levels::SILENT,
    levels::DATABASE,
    levels::LAGGING,
    levels::STORE,
    levels::NOTIFIER,
    levels::UNPARSED,
    fleet::SYNTHETIC,
    fleet::UNTOLD,
    fleet::CLOCK,
    fleet::IMAGE,
    fleet::DOWN,
    fleet::ABSENT,
    fleet::RESTARTING,
    fleet::HEARTBEAT,
];

/// The row of a rule of the engine.
#[must_use]
pub fn row(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

impl Row {
    fn severity(&self) -> &'static str {
        self.severity.map_or("none", Severity::as_str)
    }

    /// An alert of this row's name and severity.
    fn alert(&self, parameters: &Parameters, expr: String, words: Words) -> Alert {
        self.alert_of(self.severity(), parameters, expr, words)
    }

    fn alert_of(
        &self,
        severity: &'static str,
        parameters: &Parameters,
        expr: String,
        words: Words,
    ) -> Alert {
        Alert {
            name: self.name,
            expr,
            hold: Duration::ZERO,
            keep: Duration::ZERO,
            severity,
            judged_by: self.judge.as_str(),
            summary: words.summary,
            description: words.description,
            runbook_url: parameters.runbook(self.name),
        }
    }

    /// The condition; or that it fires by `labels`, unless it is `over` (which says by what it is matched); all of it only
    /// for targets that Prometheus still has, up or not: of one that was taken out nobody will ever say that it is over.
    fn held(
        &self,
        condition: &str,
        severity: &str,
        labels: &str,
        over: &str,
        parameters: &Parameters,
    ) -> String {
        let (name, judged_by) = (self.name, self.judge.as_str());
        let indented: String = condition
            .lines()
            .map(|line| format!("  {line}\n"))
            .collect();
        format!(
            "(\n{indented}  # it fires, and nothing says that it is over\n  or\n    \
             max by ({labels}) (ALERTS{{alertname=\"{name}\",alertstate=\"firing\",judged_by=\"{judged_by}\",severity=\"{severity}\"}})\n    \
             unless {over}\n)\n# of a target that was taken out nobody will say so\n\
             and on (instance) up{{job=\"{}\"}}",
            parameters.job
        )
    }

    /// The condition, or that it fires and what would say otherwise is not seen.
    fn until_seen(&self, condition: &str, sight: Sight, parameters: &Parameters) -> String {
        let over = sight.promql(parameters);
        self.held(condition, self.severity(), "instance", &over, parameters)
    }
}

/// What must be seen for an alert to end where its condition does not hold. A series that is there whenever bootwatch is
/// says so itself; where the configuration has no such thing any more (a channel, the database, a rule), nothing will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// bootwatch, which always shows the figure.
    Itself,
    /// A source that is away now and then, and the figure with it.
    Source(&'static str),
    /// The figure itself, which its source need not have.
    Figure {
        series: &'static str,
        source: &'static str,
    },
}

impl Sight {
    /// By what it is matched, and what it is.
    fn promql(self, parameters: &Parameters) -> String {
        let itself = format!("up{{job=\"{}\"}} == 1", parameters.job);
        let up = |source: &str| format!("bootwatch_source_up{{source=\"{source}\"}}");
        let (seen, source) = match self {
            Sight::Itself => return format!("on (instance) {itself}"),
            Sight::Source(source) => (format!("{} == 1", up(source)), source),
            Sight::Figure { series, source } => (series.to_owned(), source),
        };
        format!(
            "on (instance) ({seen} or {itself} unless on (instance) {})",
            up(source)
        )
    }
}

/// A figure as of when the text is written: a series of the alert's own labels, which `$value` need not be. `series` may
/// bring labels of its own.
fn asked(series: &str, labels: &[&str], form: &str) -> String {
    let (name, own) = match series.split_once('{') {
        Some((name, own)) => (name, format!("{},", own.trim_end_matches('}'))),
        None => (series, String::new()),
    };
    let matchers: Vec<String> = labels.iter().map(|label| format!("{label}='%s'")).collect();
    let values: Vec<String> = labels
        .iter()
        .map(|label| format!("$labels.{label}"))
        .collect();
    format!(
        "{{{{ with printf \"{name}{{{own}{}}}\" {} | query }}}}{{{{ . | first | value | printf \"{form}\" }}}}\
         {{{{ else }}}}an unknown number{{{{ end }}}}",
        matchers.join(","),
        values.join(" ")
    )
}

/// What people read.
struct Words {
    summary: String,
    description: String,
}

/// The rule file.
#[must_use]
pub fn file(parameters: &Parameters) -> String {
    let groups = [Judge::Prometheus, Judge::Bootwatch, Judge::Fleet].map(|judge| {
        let rows = ROWS.iter().filter(|row| row.judge == judge);
        let alerts = rows.flat_map(|row| (row.write)(row, parameters)).collect();
        (judge, alerts)
    });
    let recordings: Vec<Recording> = [
        boots::recordings(parameters),
        stages::recordings(parameters),
    ]
    .concat();
    document::write(&recordings, &groups)
}

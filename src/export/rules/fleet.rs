//! Engine-only rules, passed on; and the rules about bootwatch itself.

use super::document::Alert;
use super::{Judge, Parameters, Row, Sight, Words, asked};
use crate::core::rule::Severity;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// What bootwatch says, while it can be asked; and what it said last, while it cannot.
const fn passed_on(name: &'static str, severity: Severity) -> Row {
    Row {
        name,
        judge: Judge::Bootwatch,
        severity: Some(severity),
        write: |row, parameters| vec![said(row, parameters)],
    }
}

fn said(row: &Row, parameters: &Parameters) -> Alert {
    let (name, severity) = (row.name, row.severity());
    let series = format!("bootwatch_alerts_firing{{rule=\"{name}\",severity=\"{severity}\"}}");
    let seen = format!("max by (instance) ({series})");
    let expr = row.until_seen(&format!("{seen} > 0"), Sight::Itself, parameters);
    let told = asked(
        &format!("bootwatch_alerts_firing{{rule='{name}',severity='{severity}'}}"),
        &["instance"],
        "%.0f",
    );
    let words = Words {
        summary: format!("bootwatch on {{{{ $labels.instance }}}} says {name}"),
        description: format!(
            "{told} alerts of {name} fire there, judged by bootwatch itself; its own page has the cause, the figures \
             and the evidence."
        ),
    };
    row.alert(parameters, expr, words)
}

pub(super) const SYNTHETIC: Row = passed_on("SyntheticFailing", Severity::Page);
pub(super) const UNTOLD: Row = passed_on("BootsUntold", Severity::Ticket);
pub(super) const CLOCK: Row = passed_on("LogClockWrong", Severity::Ticket);
/// A page where the image alone decides, else a ticket.
pub(super) const IMAGE: Row = Row {
    write: |row, parameters| {
        let of = |severity| Row {
            severity: Some(severity),
            ..*row
        };
        let both = [Severity::Page, Severity::Ticket];
        both.map(|severity| said(&of(severity), parameters)).into()
    },
    ..passed_on("GoldenImageBroken", Severity::Page)
};

const fn itself(
    name: &'static str,
    severity: Option<Severity>,
    write: fn(&Row, &Parameters) -> Vec<Alert>,
) -> Row {
    Row {
        name,
        judge: Judge::Fleet,
        severity,
        write,
    }
}

pub(super) const DOWN: Row = itself("BootwatchDown", Some(Severity::Page), |row, parameters| {
    let words = Words {
        summary: "bootwatch on {{ $labels.instance }} cannot be scraped".to_owned(),
        description: "Nobody watches the controller there: no page about its VMs can come from that host. Alerts that \
                      fired go on, since nothing says that they are over."
            .to_owned(),
    };
    let up = format!("max by (instance) (up{{job=\"{}\"}}) == 0", parameters.job);
    let mut alert = row.alert(parameters, up, words);
    alert.hold = 2 * MINUTE;
    vec![alert]
});

pub(super) const ABSENT: Row = itself(
    "BootwatchAbsent",
    Some(Severity::Page),
    |row, parameters| {
        let job = &parameters.job;
        let words = Words {
            summary: format!("No bootwatch is scraped at all: the job {job} has no target"),
            description: format!(
                "Prometheus knows no target of the job {job}. Its scrape configuration or its service discovery has lost them; \
             none of these rules can fire."
            ),
        };
        let mut alert = row.alert(parameters, format!("absent(up{{job=\"{job}\"}})"), words);
        alert.hold = 5 * MINUTE;
        vec![alert]
    },
);

/// A service manager's restarts after a deployment are one or two.
const RESTARTS: u32 = 3;

pub(super) const RESTARTING: Row = itself(
    "BootwatchRestarting",
    Some(Severity::Ticket),
    |row, parameters| {
        let restarts = format!(
            "max by (instance) (changes(process_start_time_seconds{{job=\"{}\"}}[1h]))",
            parameters.job
        );
        let words = Words {
        summary: "bootwatch on {{ $labels.instance }} restarts again and again: {{ $value | printf \"%.0f\" }} times in 1h".to_owned(),
        description: "{{ $value | printf \"%.0f\" }} starts in the last 1h. Each is blind for a moment; its own log says why it ends."
            .to_owned(),
    };
        vec![row.alert(parameters, format!("{restarts} >= {RESTARTS}"), words)]
    },
);

pub(super) const HEARTBEAT: Row = itself("BootwatchHeartbeat", None, |row, parameters| {
    let words = Words {
        summary: "This alert always fires: Prometheus, its rules and Alertmanager are alive".to_owned(),
        description: "Sent on to a receiver that pages when it stops coming. If it is missing, no other alert of this file would come."
            .to_owned(),
    };
    vec![row.alert(parameters, "vector(1)".to_owned(), words)]
});

//! The rules about a figure that the metrics show as it is.

use super::document::Alert;
use super::{Judge, Level, Parameters, Row, Sight, Words, asked};
use crate::core::rule::Severity;

const fn row(
    name: &'static str,
    severity: Severity,
    write: fn(&Row, &Parameters) -> Vec<Alert>,
) -> Row {
    Row {
        name,
        judge: Judge::Prometheus,
        severity: Some(severity),
        write,
    }
}

pub(super) const SESSIONS: Row = row("SessionsIncomplete", Severity::Ticket, |row, parameters| {
    let level = parameters.sessions;
    let sessions = "max by (instance) (bootwatch_sessions_incomplete)";
    let count = asked("bootwatch_sessions_incomplete", &["instance"], "%.0f");
    written(row, parameters, level, DATABASE_SEEN, |level| {
        (
            format!("{sessions} >= {}", level.limit),
            Words {
                summary: format!(
                    "{count} sessions on {{{{ $labels.instance }}}} are past their deadline and have no VM"
                ),
                description: format!(
                    "{count} sessions passed their deadline while their VM's fields are still NULL: their users wait for nothing."
                ),
            },
        )
    })
});

pub(super) const POOL: Row = row("IpPoolLow", Severity::Ticket, |row, parameters| {
    let of = |state: &str| {
        format!("max by (instance) (bootwatch_ip_pool_addresses{{state=\"{state}\"}})")
    };
    let asked = |state: &str| {
        asked(
            &format!("bootwatch_ip_pool_addresses{{state='{state}'}}"),
            &["instance"],
            "%.0f",
        )
    };
    let (free, used, ghosts) = (asked("free"), asked("used"), asked("ghost"));
    // Rows may be seen that tell no address.
    let seen = Sight::Figure {
        series: "bootwatch_ip_pool_addresses{state=\"free\"}",
        source: "database",
    };
    written(row, parameters, parameters.pool, seen, |level| {
        (
            format!("{} <= {}", of("free"), level.limit),
            Words {
                summary: format!(
                    "{free} addresses are left in the pool of {{{{ $labels.instance }}}}"
                ),
                description: format!(
                    "{free} addresses are free, {used} are used, and {ghosts} are held by rows without a VM. With none left, every boot fails."
                ),
            },
        )
    })
});

pub(super) const GHOSTS: Row = row("GhostVms", Severity::Ticket, |row, parameters| {
    let count = asked("bootwatch_findings{kind='ghost'}", &["instance"], "%.0f");
    let running = "{{ with printf \"sum(bootwatch_database_vms{status='running',instance='%s'})\" $labels.instance | query }}\
                   {{ . | first | value | printf \"%.0f\" }}{{ else }}an unknown number{{ end }}";
    written(row, parameters, parameters.ghosts, DATABASE_SEEN, |level| {
        (
            format!(
                "max by (instance) (bootwatch_findings{{kind=\"ghost\"}}) >= {}",
                level.limit
            ),
            Words {
                summary: format!(
                    "{count} of {running} VMs that the database of {{{{ $labels.instance }}}} calls running have no process"
                ),
                description: format!(
                    "{count} of {running} rows say running and no Firecracker process is theirs. They hold addresses, and nothing ends them."
                ),
            },
        )
    })
});

pub(super) const SILENT: Row = row("ControllerSilent", Severity::Page, |row, parameters| {
    let newest = "max by (instance) (bootwatch_log_last_record_timestamp_seconds{source=\"log\"})";
    written(row, parameters, parameters.silent, LOG_SEEN, |level| {
        (
            format!(
                "time() - {newest} >= {}\n  and on (instance) bootwatch_source_up{{source=\"log\"}} == 1\n  unless on (instance) bootwatch_log_lag_bytes{{source=\"log\"}} > 0",
                level.limit
            ),
            Words {
                summary: "The controller on {{ $labels.instance }} writes nothing to its log"
                    .to_owned(),
                description: format!(
                    "The newest record is more than {} s old, and the log can be read to its end. A controller that runs \
                     writes every few minutes.",
                    level.limit
                ),
            },
        )
    })
});

pub(super) const DATABASE: Row = row(
    "DatabaseUnreachable",
    Severity::Ticket,
    |row, parameters| {
        down(
            row,
            parameters,
            parameters.database,
            "database",
            "The controller's database of {{ $labels.instance }} does not answer",
            "What only rows tell (sessions, addresses, ghosts) is unknown until it does. Alerts about boots come from the log and go on.",
        )
    },
);

pub(super) const LAGGING: Row = row("LogLagging", Severity::Page, |row, parameters| {
    let Some(level) = parameters.lagging else {
        return Vec::new();
    };
    let limit = level.limit;
    let newest = "max by (instance) (bootwatch_log_last_record_timestamp_seconds{source=\"log\"})";
    let condition = format!(
        "# it cannot be read\nmax by (instance) (bootwatch_source_up{{source=\"log\"}}) == 0\n\
         # or the newest record that was read is old, and there are newer ones\n\
         or\n  time() - {newest} >= {limit}\n  and on (instance) bootwatch_log_lag_bytes{{source=\"log\"}} > 0"
    );
    let bytes = asked("bootwatch_log_lag_bytes", &["instance"], "%.0f");
    let words = Words {
        summary: "bootwatch on {{ $labels.instance }} cannot read the controller's log, or reads it too slowly".to_owned(),
        description: format!(
            "Read up to {limit} s ago at best, and {bytes} bytes wait. Pages come late by as much, or not at all: while the \
             log cannot be read no alert about boots fires, and none resolves."
        ),
    };
    let mut alert = row.alert(
        parameters,
        row.until_seen(&condition, Sight::Itself, parameters),
        words,
    );
    alert.hold = level.hold;
    alert.keep = parameters.keep_firing;
    vec![alert]
});

pub(super) const STORE: Row = row("StoreUnwritable", Severity::Ticket, |row, parameters| {
    down(
        row,
        parameters,
        parameters.store,
        "store",
        "bootwatch on {{ $labels.instance }} cannot write its store",
        "Pages leave all the same, and say so; but a restart now would forget what is not written, and may page again.",
    )
});

pub(super) const NOTIFIER: Row = row("NotifierFailing", Severity::Ticket, |row, parameters| {
    let broken = asked(
        "bootwatch_notification_channel_broken",
        &["instance", "channel"],
        "%.0f",
    );
    let Some(level) = parameters.notifier else {
        return Vec::new();
    };
    let labels = "instance, channel";
    let seen = format!("max by ({labels}) (bootwatch_notification_channel_broken)");
    let condition = format!(
        "# refused, so that only a person can help, or waiting for too long\n\
         {seen} >= {}\nor\nmin by ({labels}) (min_over_time(bootwatch_notifications_waiting[10m])) > 0",
        level.limit
    );
    let over = Sight::Itself.promql(parameters);
    let expr = row.held(&condition, row.severity(), labels, &over, parameters);
    let words = Words {
        summary: "bootwatch on {{ $labels.instance }} cannot deliver to {{ $labels.channel }}"
            .to_owned(),
        description: format!(
            "Broken: {broken} of 1 (1: the receiver refuses us, and only a person can make it work again). Waiting: {}. \
             Another channel must carry the pages until it works.",
            asked(
                "bootwatch_notifications_waiting",
                &["instance", "channel"],
                "%.0f"
            )
        ),
    };
    let mut alert = row.alert(parameters, expr, words);
    alert.hold = level.hold;
    alert.keep = parameters.keep_firing;
    vec![alert]
});

/// Fewer records that cannot be read are no change of the controller's messages.
const LEAST_UNPARSED: u32 = 20;

pub(super) const UNPARSED: Row = row("RecordsUnparsed", Severity::Ticket, |row, parameters| {
    let lately = |name: &str| format!("sum by (instance) (increase(bootwatch_{name}[10m]))");
    let (unparsed, lines) = (
        lately("log_records_unparsed_total"),
        lately("log_lines_total"),
    );
    let asked = |name: &str| {
        format!(
            "{{{{ with printf \"sum(increase(bootwatch_{name}{{instance='%s'}}[10m]))\" $labels.instance | query }}}}\
             {{{{ . | first | value | printf \"%.0f\" }}}}{{{{ else }}}}an unknown number{{{{ end }}}}"
        )
    };
    let count = format!(
        "{} of {} lines",
        asked("log_records_unparsed_total"),
        asked("log_lines_total")
    );
    written(row, parameters, parameters.unparsed, LOG_SEEN, |level| {
        (
            format!(
                "{unparsed} >= {LEAST_UNPARSED}\n  and {unparsed} >= {} * {lines}",
                level.limit
            ),
            Words {
                summary: format!(
                    "bootwatch on {{{{ $labels.instance }}}} cannot read {count} of the last 10 minutes"
                ),
                description: format!(
                    "{count} hold records that matter and could not be read. The controller's messages may have changed; boots may be missed."
                ),
            },
        )
    })
});

const DATABASE_SEEN: Sight = Sight::Source("database");
const LOG_SEEN: Sight = Sight::Source("log");

/// An alert about an instance, that goes on while what it looks at is not seen.
fn written(
    row: &Row,
    parameters: &Parameters,
    level: Option<Level>,
    sight: Sight,
    of: impl FnOnce(Level) -> (String, Words),
) -> Vec<Alert> {
    let Some(level) = level else {
        return Vec::new();
    };
    let (condition, words) = of(level);
    let expr = row.until_seen(&condition, sight, parameters);
    let mut alert = row.alert(parameters, expr, words);
    alert.hold = level.hold;
    alert.keep = parameters.keep_firing;
    vec![alert]
}

/// A source is down. Where bootwatch itself is gone nothing is known of it.
fn down(
    row: &Row,
    parameters: &Parameters,
    level: Option<Level>,
    source: &str,
    summary: &str,
    description: &str,
) -> Vec<Alert> {
    let up = format!("max by (instance) (bootwatch_source_up{{source=\"{source}\"}})");
    written(row, parameters, level, Sight::Itself, |_| {
        (
            format!("{up} == 0"),
            Words {
                summary: summary.to_owned(),
                description: description.to_owned(),
            },
        )
    })
}

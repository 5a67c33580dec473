//! The tables behind the story: boots by outcome and failure, stages, health checks, alerts, and every boot.

use std::io::Write;

use jiff::tz::TimeZone;

use super::words::{duration, long_moment, moment, percent};
use crate::cli::analyze::Analysis;
use crate::core::boot::Boot;
use crate::core::digits::grouped;
use crate::core::event::Stage;
use crate::core::sketch::Sketch;
use crate::core::summary::{Outcomes, Summary};

/// A long log may hold many; the first ones say enough.
const MOST_ALERTS: usize = 20;

pub(super) fn outcomes(summary: &Summary, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut rows = vec![
        [
            "vm_type",
            "boots",
            "ready",
            "failed",
            "cancelled",
            "lost",
            "in progress",
        ]
        .map(String::from),
    ];
    let row = |name: &str, o: &Outcomes| {
        let counts = [
            o.total(),
            o.ready,
            o.failed,
            o.cancelled,
            o.lost,
            o.in_progress,
        ];
        let [a, b, c, d, e, f] = counts.map(grouped);
        [name.to_owned(), a, b, c, d, e, f]
    };
    rows.extend(
        summary
            .by_type
            .iter()
            .map(|(vm_type, outcomes)| row(vm_type.as_str(), outcomes)),
    );
    if summary.by_type.len() > 1 {
        rows.push(row("all", &summary.outcomes));
    }
    table(&rows, out)
}

pub(super) fn failures(
    summary: &Summary,
    zone: &TimeZone,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if summary.failures.is_empty() {
        return Ok(());
    }
    let mut rows = vec![["failure", "vm_type", "boots", "first", "last"].map(String::from)];
    let mut classes: Vec<_> = summary.failures.iter().collect();
    classes.sort_by_key(|((vm_type, failure), failures)| {
        (std::cmp::Reverse(failures.count), *failure, *vm_type)
    });
    for ((vm_type, failure), failures) in classes {
        rows.push([
            failure.to_string(),
            vm_type.to_string(),
            grouped(failures.count),
            long_moment(failures.first_at, zone),
            moment(failures.last_at, failures.first_at, zone),
        ]);
    }
    table(&rows, out)
}

pub(super) fn stages(summary: &Summary, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut rows =
        vec![["stage", "completed", "p50", "p95", "p99", "not completed"].map(String::from)];
    for stage in Stage::ALL {
        let broken = summary.stages_broken.get(stage).copied().unwrap_or(0);
        let sketch = summary.stages.get(stage);
        if sketch.is_none() && broken == 0 {
            continue;
        }
        let [p50, p95, p99] = quantiles(sketch);
        rows.push([
            stage.to_string(),
            grouped(sketch.map_or(0, Sketch::count)),
            p50,
            p95,
            p99,
            grouped(broken),
        ]);
    }
    for (vm_type, sketch) in &summary.time_to_ready {
        let [p50, p95, p99] = quantiles(Some(sketch));
        rows.push([
            format!("ready ({vm_type})"),
            grouped(sketch.count()),
            p50,
            p95,
            p99,
            String::new(),
        ]);
    }
    if rows.len() > 1 {
        table(&rows, out)?;
    }
    Ok(())
}

pub(super) fn attempts(summary: &Summary, out: &mut dyn Write) -> anyhow::Result<()> {
    if summary.attempts.is_empty() {
        return Ok(());
    }
    let total: u64 = summary.attempts.values().sum();
    let mut rows = vec![["health check", "attempts", "share"].map(String::from)];
    let mut results: Vec<_> = summary.attempts.iter().collect();
    results.sort_by_key(|(result, count)| (std::cmp::Reverse(**count), **result));
    for (result, count) in results {
        rows.push([result.to_string(), grouped(*count), percent(*count, total)]);
    }
    table(&rows, out)
}

/// What would have been said while it happened.
pub(super) fn alerts(analysis: &Analysis, out: &mut dyn Write) -> anyhow::Result<()> {
    if analysis.alerts.is_empty() {
        return Ok(());
    }
    let zone = &analysis.read.zone;
    let mut rows = vec![
        [
            "alert that would have fired",
            "vm_type",
            "cause",
            "at",
            "resolved",
        ]
        .map(String::from),
    ];
    for alert in analysis.alerts.iter().take(MOST_ALERTS) {
        let resolved = alert.resolved_at.map(|at| moment(at, alert.fired_at, zone));
        rows.push([
            alert.rule.as_str().to_owned(),
            alert.incident.subject.to_string(),
            alert.incident.cause.to_string(),
            long_moment(alert.fired_at, zone),
            resolved.unwrap_or_else(|| "not when the log ended".to_owned()),
        ]);
    }
    table(&rows, out)?;
    if let Some(more) = analysis
        .alerts
        .len()
        .checked_sub(MOST_ALERTS)
        .filter(|more| *more > 0)
    {
        writeln!(out, "and {more} more; --format json lists all")?;
        writeln!(out)?;
    }
    Ok(())
}

pub(super) fn boots(analysis: &Analysis, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut rows = vec![
        [
            "started", "vm", "type", "address", "outcome", "failure", "ready", "attempts",
        ]
        .map(String::from),
    ];
    for boot in analysis.summary.boots_in_order() {
        let attempts: Vec<String> = boot
            .attempts
            .iter()
            .map(|(result, count)| format!("{count} {result}"))
            .collect();
        rows.push([
            long_moment(boot.started_at, &analysis.read.zone),
            boot.vm
                .map_or_else(|| "none".to_owned(), |vm| vm.to_string()),
            boot.kind().to_string(),
            boot.ip.map(|ip| ip.to_string()).unwrap_or_default(),
            boot.outcome
                .map_or("in_progress", |outcome| outcome.as_str())
                .to_owned(),
            failure_and_stage(boot),
            boot.ready_ms
                .map(|ms| duration(u64::from(ms)))
                .unwrap_or_default(),
            attempts.join(", "),
        ]);
    }
    table(&rows, out)
}

fn failure_and_stage(boot: &Boot) -> String {
    match (boot.failure, boot.failed_stage) {
        (Some(failure), Some(stage)) => format!("{failure} ({stage})"),
        (Some(failure), None) => failure.to_string(),
        (None, _) => String::new(),
    }
}

fn quantiles(sketch: Option<&Sketch>) -> [String; 3] {
    [500, 950, 990].map(|per_mille| {
        sketch
            .and_then(|sketch| sketch.quantile_ms(per_mille))
            .map(|ms| duration(u64::from(ms)))
            .unwrap_or_default()
    })
}

/// Columns as wide as their widest cell; the first to the left, figures to the right.
fn table<const N: usize>(rows: &[[String; N]], out: &mut dyn Write) -> anyhow::Result<()> {
    let widths: Vec<usize> = (0..N)
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let figures: Vec<bool> = (0..N)
        .map(|column| {
            rows.iter().skip(1).all(|row| {
                row[column].is_empty() || row[column].starts_with(|c: char| c.is_ascii_digit())
            })
        })
        .collect();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| {
                let width = widths[column];
                if column > 0 && figures[column] {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            })
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    writeln!(out)?;
    Ok(())
}

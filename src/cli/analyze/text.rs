//! The analysis for people: what happened, since when, what is not affected; then the tables.

use std::io::Write;

use jiff::tz::TimeZone;

use super::Analysis;
use crate::core::boot::Boot;
use crate::core::diagnosis::{Diagnosis, Point, Ranked};
use crate::core::event::{Failure, Stage, Timestamp, VmType};
use crate::core::sketch::Sketch;
use crate::core::summary::{Failures, Outcomes, Summary};

/// A long log may hold many; the first ones say enough.
const MOST_ALERTS: usize = 20;

pub(super) fn write(analysis: &Analysis, boots: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let summary = &analysis.summary;
    header(analysis, out)?;
    crashes(analysis, out)?;
    if summary.outcomes.total() == 0 {
        nothing_found(analysis, out)?;
    } else {
        story(analysis, out)?;
        analysis.images.write(&analysis.read.zone, out)?;
        outcome_table(summary, out)?;
        failure_table(summary, &analysis.read.zone, out)?;
        stage_table(summary, out)?;
        attempt_table(summary, out)?;
        alert_table(analysis, out)?;
    }
    if boots {
        boot_table(analysis, out)?;
    }
    not_read(analysis, out)
}

fn header(analysis: &Analysis, out: &mut dyn Write) -> anyhow::Result<()> {
    let bytes: u64 = analysis.read.files.iter().map(|file| file.bytes).sum();
    let files = match analysis.read.files.as_slice() {
        [file] => file.name.clone(),
        files => format!("{} files", files.len()),
    };
    writeln!(
        out,
        "{files}, {}, {} records",
        size(bytes),
        grouped(analysis.read.records)
    )?;
    if let Some((first, last)) = analysis.summary.span {
        let zone = zone_name(&analysis.read.zone, first);
        let ended = moment(last, first, &analysis.read.zone);
        let length = span(last.since(first));
        writeln!(
            out,
            "boots from {} to {ended} ({zone}, {length})",
            long_moment(first, &analysis.read.zone)
        )?;
    }
    writeln!(out)?;
    Ok(())
}

fn nothing_found(analysis: &Analysis, out: &mut dyn Write) -> anyhow::Result<()> {
    if analysis.read.records == 0 {
        writeln!(
            out,
            "No record of the master-controller was found. Its lines begin like this:"
        )?;
        writeln!(
            out,
            "  2025-10-18 01:52:07 [INFO]: Master Controller started {{\"module\":\"server\"}}"
        )?;
    } else {
        writeln!(
            out,
            "The log is the controller's, but no boot and no request for one is in it."
        )?;
    }
    Ok(())
}

/// That the controller crashed is told first: nobody asks a log of a crash whether its other boots were well.
fn crashes(analysis: &Analysis, out: &mut dyn Write) -> anyhow::Result<()> {
    let zone = &analysis.read.zone;
    let (first, last, count) = match analysis.summary.controller_crashes.as_slice() {
        [] => return Ok(()),
        [at] => (*at, *at, 1),
        [first, .., last] => (*first, *last, analysis.summary.controller_crashes.len()),
    };
    let when = long_moment(first, zone);
    match count {
        1 => writeln!(
            out,
            "The controller crashed at {when}: an error that nobody caught."
        )?,
        _ => writeln!(
            out,
            "The controller crashed {count} times by errors that nobody caught: first at {when}, last at {}.",
            moment(last, first, zone)
        )?,
    }
    writeln!(out)?;
    Ok(())
}

/// Boots of which nobody knows how they ended: they count for nothing, and are not well.
fn lost(summary: &Summary, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut any = false;
    for vm_type in VmType::ALL {
        let Some(outcomes) = summary.by_type.get(vm_type).filter(|one| one.lost > 0) else {
            continue;
        };
        any = true;
        let (name, lost, total) = (vm_type.spoken(), outcomes.lost, outcomes.total());
        let were = if lost == 1 { "was" } else { "were" };
        write!(
            out,
            "{lost} of {total} {name} boot{} {were} lost: nobody knows how {} ended.",
            plural(total),
            if lost == 1 { "it" } else { "they" }
        )?;
        match (outcomes.failed, outcomes.judged()) {
            // Those that failed were told of.
            (1.., _) => writeln!(out)?,
            (0, 0) => writeln!(out, " No other one ended.")?,
            (0, judged) => writeln!(
                out,
                " Of the others, {} of {judged} became ready.",
                outcomes.ready
            )?,
        }
    }
    if any {
        writeln!(out)?;
    }
    Ok(())
}

/// What on-call wants to know, in a few sentences.
fn story(analysis: &Analysis, out: &mut dyn Write) -> anyhow::Result<()> {
    let summary = &analysis.summary;
    for vm_type in VmType::ALL {
        let Some(outcomes) = summary.by_type.get(vm_type) else {
            continue;
        };
        if outcomes.failed == 0 {
            continue;
        }
        let name = vm_type.spoken();
        writeln!(
            out,
            "{} of {} {name} boot{} failed ({}).",
            outcomes.failed,
            outcomes.judged(),
            plural(outcomes.judged()),
            percent(outcomes.failed, outcomes.judged())
        )?;
        let mut classes: Vec<(Failure, &Failures)> = summary
            .failures
            .iter()
            .filter(|((failed_type, _), _)| failed_type == vm_type)
            .map(|((_, failure), failures)| (*failure, failures))
            .collect();
        classes.sort_by_key(|(failure, failures)| (std::cmp::Reverse(failures.count), *failure));
        let Some((failure, failures)) = classes.first() else {
            continue;
        };
        let share = if outcomes.failed == 1 {
            "Why"
        } else if failures.count == outcomes.failed {
            "All of them"
        } else {
            "Most often"
        };
        writeln!(
            out,
            "{share}: {} ({} boot{}).",
            failure.meaning(),
            failures.count,
            plural(failures.count)
        )?;
        let zone = &analysis.read.zone;
        let first = failures.first_at;
        if failures.count > 1 {
            let last = moment(failures.last_at, first, zone);
            writeln!(
                out,
                "The first began at {}, the last at {last}.",
                long_moment(first, zone)
            )?;
        } else {
            writeln!(out, "It began at {}.", long_moment(first, zone))?;
        }
        if let Some(found) = analysis.causes.of(*vm_type, *failure) {
            cause(&found, out)?;
        }
        if let Some(hint) = hint(*failure, failures) {
            writeln!(out, "{hint}")?;
        }
        if let Some(ready) = summary
            .last_ready
            .get(vm_type)
            .filter(|ready| **ready > failures.last_at)
        {
            writeln!(
                out,
                "Since then {name} boots became ready again (the last at {}).",
                moment(*ready, first, zone)
            )?;
        } else if outcomes.ready > 0 {
            let ready = summary
                .last_ready
                .get(vm_type)
                .map(|ready| moment(*ready, first, zone))
                .unwrap_or_default();
            writeln!(
                out,
                "No {name} boot became ready after that; the last ready one began at {ready}."
            )?;
        } else {
            writeln!(out, "No {name} boot became ready at all.")?;
        }
        if let Some(line) = failures
            .examples
            .last()
            .and_then(|boot| boot.evidence.last())
        {
            writeln!(out, "  {line}")?;
        }
        writeln!(out)?;
    }
    lost(summary, out)?;
    let well: Vec<String> = VmType::ALL
        .iter()
        .filter_map(|vm_type| {
            summary
                .by_type
                .get(vm_type)
                .map(|outcomes| (*vm_type, outcomes))
        })
        .filter(|(_, outcomes)| outcomes.failed + outcomes.lost == 0 && outcomes.ready > 0)
        .map(|(vm_type, outcomes)| {
            format!(
                "{} boots ({} of {} ready)",
                vm_type.spoken(),
                outcomes.ready,
                outcomes.judged()
            )
        })
        .collect();
    if !well.is_empty() {
        let all = &summary.outcomes;
        let word = if all.failed + all.lost > 0 || !summary.controller_crashes.is_empty() {
            "Not affected"
        } else {
            "All is well"
        };
        writeln!(out, "{word}: {}.", well.join(", "))?;
        writeln!(out)?;
    }
    if !summary.controller_starts.is_empty() {
        let count = summary.controller_starts.len();
        writeln!(
            out,
            "The controller started {count} time{}.",
            plural(count as u64)
        )?;
        writeln!(out)?;
    }
    Ok(())
}

/// The likely cause with its reasons, or what it may be.
fn cause(found: &Diagnosis, out: &mut dyn Write) -> anyhow::Result<()> {
    let percent = |one: &Ranked| (u32::from(one.chance) + 5) / 10;
    let others: Vec<String> = found
        .others()
        .take(2)
        .map(|other| format!("{} ({} %)", other.verdict.meaning(), percent(other)))
        .collect();
    let Some(first) = found.verdict() else {
        if !others.is_empty() {
            let others = others.join(", or ");
            writeln!(
                out,
                "The log alone is not enough to name the cause; it may be: {others}."
            )?;
        }
        return Ok(());
    };
    let word = match found.sure() {
        Some(_) => "Cause",
        None => "Probable cause",
    };
    let meaning = first.verdict.meaning();
    writeln!(out, "{word} ({} %): {meaning}.", percent(first).min(99))?;
    for (word, points) in [
        ("for it", &first.speaks_for),
        ("against it", &first.against),
    ] {
        let spoken: Vec<String> = points.iter().take(3).map(Point::spoken).collect();
        if !spoken.is_empty() {
            writeln!(out, "  {word}: {}", spoken.join("; "))?;
        }
    }
    writeln!(out, "  refuted, if {}", first.verdict.row().refuted_by)?;
    if !others.is_empty() {
        writeln!(out, "  else it may be: {}", others.join(", or "))?;
    }
    Ok(())
}

fn outcome_table(summary: &Summary, out: &mut dyn Write) -> anyhow::Result<()> {
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

fn failure_table(summary: &Summary, zone: &TimeZone, out: &mut dyn Write) -> anyhow::Result<()> {
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

fn stage_table(summary: &Summary, out: &mut dyn Write) -> anyhow::Result<()> {
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

fn attempt_table(summary: &Summary, out: &mut dyn Write) -> anyhow::Result<()> {
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
fn alert_table(analysis: &Analysis, out: &mut dyn Write) -> anyhow::Result<()> {
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

fn boot_table(analysis: &Analysis, out: &mut dyn Write) -> anyhow::Result<()> {
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

/// What could not be read or told: nothing is left out in silence.
fn not_read(analysis: &Analysis, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut lines = analysis.read.told_problems();
    lines.extend(analysis.read.notes.iter().cloned());
    if analysis.read.reads.unparsed > 0 {
        let count = analysis.read.reads.unparsed;
        lines.push(format!(
            "{} record{} torn or without a field that {} must have",
            grouped(count),
            plural(count),
            if count == 1 { "it" } else { "they" }
        ));
    }
    if analysis.tracker.unattributed > 0 {
        let count = analysis.tracker.unattributed;
        lines.push(format!(
            "{} health line{} on addresses of unknown VMs",
            grouped(count),
            plural(count)
        ));
    }
    if analysis.read.orphan_lines > 0 {
        let count = analysis.read.orphan_lines;
        lines.push(format!(
            "{} line{} belong{} to no record (raw console output)",
            grouped(count),
            plural(count),
            if count == 1 { "s" } else { "" }
        ));
    }
    if analysis.read.reads.unknown > 0 {
        lines.push(format!(
            "{} record{} of {} unknown shape{}, most often:",
            grouped(analysis.read.reads.unknown),
            plural(analysis.read.reads.unknown),
            analysis.read.shapes.distinct(),
            plural(analysis.read.shapes.distinct() as u64)
        ));
        for (shape, count) in analysis.read.shapes.top(3) {
            lines.push(format!("  {} x {shape}", grouped(count)));
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out, "Not read, or not told apart:")?;
    for line in lines {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

/// Where to look first.
fn hint(failure: Failure, failures: &Failures) -> Option<String> {
    Some(match failure {
        Failure::AgentRefused if failures.not_injected == failures.count => {
            "No agent was injected at clone time in these boots: look into the golden image for the agent, its unit and \
             the unit's enable link."
                .to_owned()
        }
        Failure::AgentRefused => {
            "The controller injected its agent into the copied images: look at the guest's console for why it does not \
             start (unit, interpreter, order)."
                .to_owned()
        }
        Failure::NoAttempt => "Set the controller's health-check limit (the line has no maxWaitMs).".to_owned(),
        Failure::NotStarted | Failure::RecordFailed => {
            failures.examples.last().and_then(|boot| boot.error.as_ref()).map(|error| format!("The error: {error}"))?
        }
        _ => return None,
    })
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

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let per_mille = (u128::from(part) * 1000 + u128::from(whole) / 2) / u128::from(whole);
    format!("{}.{} %", per_mille / 10, per_mille % 10)
}

/// 1234567 as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} bytes"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

fn duration(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=119_999 => format!("{}.{:02} s", ms / 1000, ms % 1000 / 10),
        _ => format!("{} min {:02} s", ms / 60_000, ms / 1000 % 60),
    }
}

pub(super) fn span(ms: i64) -> String {
    let minutes = ms / 60_000;
    match minutes {
        0 => format!("{} s", ms / 1000),
        1..=119 => format!("{minutes} min"),
        120..=2_879 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} days", minutes / 1440),
    }
}

fn zoned(at: Timestamp, zone: &TimeZone) -> Option<jiff::ZonedDateTime> {
    Some(
        jiff::Timestamp::from_millisecond(at.0)
            .ok()?
            .to_zoned_datetime(zone.clone()),
    )
}

pub(super) fn long_moment(at: Timestamp, zone: &TimeZone) -> String {
    zoned(at, zone)
        .map(|at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default()
}

/// The time of day, with the date only where it is another than `day`'s.
fn moment(at: Timestamp, day: Timestamp, zone: &TimeZone) -> String {
    match (zoned(at, zone), zoned(day, zone)) {
        (Some(at), Some(day)) if at.date() == day.date() => at.strftime("%H:%M:%S").to_string(),
        _ => long_moment(at, zone),
    }
}

fn zone_name(zone: &TimeZone, at: Timestamp) -> String {
    zone.iana_name().map_or_else(
        || {
            zoned(at, zone)
                .map(|at| format!("UTC{}", at.strftime("%:z")))
                .unwrap_or_default()
        },
        str::to_owned,
    )
}

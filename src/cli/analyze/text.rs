//! The analysis for people: what happened, since when, what is not affected; then the tables.

mod story;
mod tables;
mod words;

use std::io::Write;

use super::Analysis;

use crate::core::digits::grouped;
pub(super) use words::{long_moment, percent, span};
use words::{moment, plural, size, zone_name};

pub(super) fn write(analysis: &Analysis, boots: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let summary = &analysis.summary;
    header(analysis, out)?;
    story::crashes(analysis, out)?;
    if summary.outcomes.total() == 0 {
        nothing_found(analysis, out)?;
    } else {
        story::tell(analysis, out)?;
        analysis.images.write(&analysis.read.zone, out)?;
        tables::outcomes(summary, out)?;
        tables::failures(summary, &analysis.read.zone, out)?;
        tables::stages(summary, out)?;
        tables::attempts(summary, out)?;
        tables::alerts(analysis, out)?;
    }
    if boots {
        tables::boots(analysis, out)?;
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

//! What happened, since when, why, and what is not affected, in a few sentences.

use std::io::Write;

use super::words::{long_moment, moment, percent, plural};
use crate::cli::analyze::Analysis;
use crate::core::diagnosis::{Diagnosis, Point, Ranked};
use crate::core::digits::grouped;
use crate::core::event::{Failure, VmType};
use crate::core::summary::{Failures, Outcomes, Summary};

/// That the controller crashed is told first: nobody asks a log of a crash whether its other boots were well.
pub(super) fn crashes(analysis: &Analysis, out: &mut dyn Write) -> anyhow::Result<()> {
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
pub(super) fn tell(analysis: &Analysis, out: &mut dyn Write) -> anyhow::Result<()> {
    let summary = &analysis.summary;
    for vm_type in VmType::ALL {
        let outcomes = summary.by_type.get(vm_type);
        if let Some(outcomes) = outcomes.filter(|outcomes| outcomes.failed > 0) {
            failed(*vm_type, outcomes, analysis, out)?;
        }
    }
    lost(summary, out)?;
    well(summary, out)?;
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

/// How many of a kind failed, mostly of what, since when and why.
fn failed(
    vm_type: VmType,
    outcomes: &Outcomes,
    analysis: &Analysis,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let summary = &analysis.summary;
    let name = vm_type.spoken();
    writeln!(
        out,
        "{} of {} {name} boot{} failed ({}).",
        grouped(outcomes.failed),
        grouped(outcomes.judged()),
        plural(outcomes.judged()),
        percent(outcomes.failed, outcomes.judged())
    )?;
    let mut classes: Vec<(Failure, &Failures)> = summary
        .failures
        .iter()
        .filter(|((failed_type, _), _)| *failed_type == vm_type)
        .map(|((_, failure), failures)| (*failure, failures))
        .collect();
    classes.sort_by_key(|(failure, failures)| (std::cmp::Reverse(failures.count), *failure));
    let Some((failure, failures)) = classes.first() else {
        return Ok(());
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
        grouped(failures.count),
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
    if let Some(found) = analysis.causes.of(vm_type, *failure) {
        cause(&found, out)?;
    }
    if let Some(hint) = hint(*failure, failures) {
        writeln!(out, "{hint}")?;
    }
    since_then(vm_type, outcomes, failures, analysis, out)?;
    if let Some(line) = failures
        .examples
        .last()
        .and_then(|boot| boot.evidence.last())
    {
        writeln!(out, "  {line}")?;
    }
    writeln!(out)?;
    Ok(())
}

/// Whether boots of the kind became ready after the last of these failures.
fn since_then(
    vm_type: VmType,
    outcomes: &Outcomes,
    failures: &Failures,
    analysis: &Analysis,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let (name, zone, first) = (vm_type.spoken(), &analysis.read.zone, failures.first_at);
    let summary = &analysis.summary;
    if let Some(ready) = summary
        .last_ready
        .get(&vm_type)
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
            .get(&vm_type)
            .map(|ready| moment(*ready, first, zone))
            .unwrap_or_default();
        writeln!(
            out,
            "No {name} boot became ready after that; the last ready one began at {ready}."
        )?;
    } else {
        writeln!(out, "No {name} boot became ready at all.")?;
    }
    Ok(())
}

/// What is not affected.
fn well(summary: &Summary, out: &mut dyn Write) -> anyhow::Result<()> {
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
                grouped(outcomes.ready),
                grouped(outcomes.judged())
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

//! A look for people: a line each check.

use std::io::Write;
use std::time::Duration;

use console::Style;

use super::{complaints, offset};
use crate::cli::past::rfc3339;
use crate::core::probe::{Checked, Look, Verdict};

const CHECK: usize = 8;

pub(super) fn look(look: &Look, out: &mut dyn Write) -> anyhow::Result<()> {
    write!(out, "{}, {}", look.ip, rfc3339(look.at))?;
    match look.resolved_in {
        Some(took) => writeln!(out, ", resolved in {}", ms(took))?,
        None => writeln!(out)?,
    }
    writeln!(out)?;
    for checked in &look.checks {
        writeln!(
            out,
            "{}  {:CHECK$}  {:>6}  {:>10}  {}",
            painted(checked.result.verdict()),
            checked.check.as_str(),
            format!(":{}", checked.port),
            ms(checked.total()),
            details(checked)
        )?;
    }
    if let Some(neighbour) = look.neighbour {
        let mac = neighbour
            .mac
            .map_or_else(String::new, |mac| format!(", {mac}"));
        writeln!(out)?;
        writeln!(out, "on the link: {}{mac}", neighbour.state)?;
    }
    writeln!(out)?;
    let complaints = complaints(look);
    if complaints.is_empty() {
        writeln!(
            out,
            "The agent is healthy, and everything that was looked at is as it must be."
        )?;
    }
    for complaint in complaints {
        writeln!(out, "{complaint}")?;
    }
    Ok(())
}

/// How it ended, what it found, and its phases. All of it is ours: no word of the guest's is in it.
fn details(checked: &Checked) -> String {
    let mut details = vec![checked.result.to_string()];
    if let Some(phase) = checked.failed_in {
        details.push(format!("in {phase}"));
    }
    if let Some(status) = checked.status {
        details.push(format!("status {status}"));
    }
    if let Some(answerer) = checked.answerer {
        details.push(format!("by {answerer}"));
    }
    if let Some(skew) = checked.skew {
        details.push(format!("clock {}", offset(skew)));
    }
    let phases: Vec<String> = checked
        .phases
        .iter()
        .map(|(phase, took)| format!("{phase} {}", ms(took)))
        .collect();
    if phases.len() > 1 {
        details.push(format!("[{}]", phases.join(", ")));
    }
    details.join(" ")
}

fn ms(took: Duration) -> String {
    format!("{:.3} ms", took.as_secs_f64() * 1_000.0)
}

/// Colour only on a terminal that wants it; the word says it without.
fn painted(verdict: Verdict) -> String {
    let style = match verdict {
        Verdict::Passed => Style::new().green(),
        Verdict::Skipped => Style::new().cyan(),
        Verdict::Errored => Style::new().yellow(),
        Verdict::Failed => Style::new().red().bold(),
    };
    let word = format!("{:7}", verdict.as_str());
    style
        .force_styling(console::colors_enabled())
        .apply_to(word)
        .to_string()
}

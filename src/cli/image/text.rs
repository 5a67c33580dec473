//! An audit for people: a line each finding, the worst first.

use std::io::Write;

use console::Style;

use super::Judged;
use super::json::turned;
use crate::cli::past::rfc3339;
use crate::core::image::{Verdict, is_injected};
use crate::image::{Change, Diff};

/// More changes than a person reads.
const MOST: usize = 200;
const WIDTH: usize = 17;

pub(super) fn audit(judged: &Judged, out: &mut dyn Write) -> anyhow::Result<()> {
    let image = &judged.image;
    let path = printable(&image.path);
    match &image.generation {
        Some(generation) => writeln!(
            out,
            "{path}, written {}, {} bytes, {}",
            rfc3339(generation.modified_at),
            generation.size,
            generation.uuid.as_deref().unwrap_or("no ext4")
        )?,
        None => writeln!(out, "{path}")?,
    }
    writeln!(out)?;
    let mut findings: Vec<_> = judged.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
    for finding in findings {
        writeln!(
            out,
            "{}  {:WIDTH$}  {}: {}",
            painted(finding.verdict),
            finding.check.as_str(),
            finding.path,
            finding.reason
        )?;
    }
    writeln!(out)?;
    conclude(judged, out)
}

fn conclude(judged: &Judged, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "{}", conclusion(judged))?;
    let mut findings = judged.findings.iter();
    if findings.any(|finding| finding.verdict == Verdict::Fail && is_injected(finding.check)) {
        writeln!(
            out,
            "If the controller puts an agent into each copy at clone time, say --injected: the agent's files do not decide \
             then; say --injected=all if it puts the unit and a Node.js there, too."
        )?;
    }
    Ok(())
}

/// Colour only on a terminal that wants it; the word says it without.
fn painted(verdict: Verdict) -> String {
    let style = match verdict {
        Verdict::Pass => Style::new().green(),
        Verdict::Warn => Style::new().yellow(),
        Verdict::Unknown => Style::new().cyan(),
        Verdict::Fail => Style::new().red().bold(),
    };
    let word = format!("{:7}", verdict.as_str());
    style
        .force_styling(console::colors_enabled())
        .apply_to(word)
        .to_string()
}

fn conclusion(judged: &Judged) -> String {
    let count = |verdict| {
        let of_it = |finding: &&crate::core::image::Finding| finding.verdict == verdict;
        judged.findings.iter().filter(of_it).count()
    };
    match judged.verdict() {
        Verdict::Fail => format!(
            "Browser VMs cannot become healthy from this image: {} to repair.",
            count(Verdict::Fail)
        ),
        Verdict::Unknown => "Nothing certain can be said of this image.".to_owned(),
        Verdict::Warn => format!(
            "Nothing keeps a browser VM from becoming healthy; {} worth a look.",
            count(Verdict::Warn)
        ),
        Verdict::Pass => "Everything is there that was looked for.".to_owned(),
    }
}

pub(super) fn diff(
    old: &Judged,
    new: &Judged,
    diff: &Diff,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    for (check, from, to) in turned(old, new) {
        writeln!(
            out,
            "{}  {:WIDTH$}  was {from}",
            painted(to),
            check.as_str()
        )?;
        for finding in new.findings.iter().filter(|finding| finding.check == check) {
            writeln!(out, "         {}: {}", finding.path, finding.reason)?;
        }
    }
    if old.image.generation == new.image.generation {
        writeln!(out, "It is one and the same image.")?;
    }
    for change in diff.changes.iter().take(MOST) {
        writeln!(out, "{}", line(change))?;
    }
    let rest = diff.changes.len().saturating_sub(MOST) + diff.more;
    if rest > 0 {
        writeln!(out, "and {rest} more; --format json lists them")?;
    }
    if diff.changes.is_empty() && diff.unread.is_empty() {
        writeln!(
            out,
            "No name, size, mode or link differs, and no content that starts a VM."
        )?;
    }
    for unread in &diff.unread {
        writeln!(out, "not compared: {}", printable(unread))?;
    }
    writeln!(out)?;
    conclude(new, out)
}

fn line(change: &Change) -> String {
    let path = printable(&change.path);
    let from = change.from.as_deref().map(printable);
    let to = change.to.as_deref().map(printable);
    match (from, to) {
        (Some(from), Some(to)) => format!("{:8}  {path}: {from} -> {to}", change.what),
        (Some(only), None) | (None, Some(only)) => format!("{:8}  {path}: {only}", change.what),
        (None, None) => format!("{:8}  {path}", change.what),
    }
}

/// Names in an image are a stranger's: no control characters reach a terminal.
fn printable(text: &str) -> String {
    let shown = |character: char| match character.is_control() {
        true => '\u{fffd}',
        false => character,
    };
    text.chars().map(shown).collect()
}

//! An audit for programs: see `docs/image-audit.md` for every field.

use std::io::Write;

use serde::Serialize;

use super::Judged;
use crate::cli::past::rfc3339;
use crate::core::image::{Check, Finding, Verdict, by_check};
use crate::image::{Change, Diff};

#[derive(Serialize)]
struct Audit<'a> {
    path: &'a str,
    verdict: Verdict,
    audited_at: String,
    generation: Option<Generation<'a>>,
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct Generation<'a> {
    uuid: Option<&'a str>,
    inode: u64,
    size: u64,
    modified_at: String,
}

#[derive(Serialize)]
struct Comparison<'a> {
    old: Audit<'a>,
    new: Audit<'a>,
    /// Checks whose verdict is another.
    verdicts: Vec<Turned>,
    changes: &'a [Change],
    more_changes: usize,
    unread: &'a [String],
}

#[derive(Serialize)]
struct Turned {
    check: Check,
    from: Verdict,
    to: Verdict,
}

fn of(judged: &Judged) -> Audit<'_> {
    let generation = judged
        .image
        .generation
        .as_ref()
        .map(|generation| Generation {
            uuid: generation.uuid.as_deref(),
            inode: generation.inode,
            size: generation.size,
            modified_at: rfc3339(generation.modified_at),
        });
    Audit {
        path: &judged.image.path,
        verdict: judged.verdict(),
        audited_at: rfc3339(judged.image.audited_at),
        generation,
        findings: &judged.findings,
    }
}

pub(super) fn audit(judged: &Judged, out: &mut dyn Write) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &of(judged))?;
    writeln!(out)?;
    Ok(())
}

pub(super) fn diff(
    old: &Judged,
    new: &Judged,
    diff: &Diff,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let verdicts = turned(old, new)
        .map(|(check, from, to)| Turned { check, from, to })
        .collect();
    let comparison = Comparison {
        old: of(old),
        new: of(new),
        verdicts,
        changes: &diff.changes,
        more_changes: diff.more,
        unread: &diff.unread,
    };
    serde_json::to_writer_pretty(&mut *out, &comparison)?;
    writeln!(out)?;
    Ok(())
}

pub(super) fn turned(
    old: &Judged,
    new: &Judged,
) -> impl Iterator<Item = (Check, Verdict, Verdict)> {
    let before = by_check(&old.findings);
    by_check(&new.findings)
        .into_iter()
        .filter_map(move |(check, to)| {
            let (_, from) = before.iter().find(|(other, _)| *other == check)?;
            (*from != to).then_some((check, *from, to))
        })
}

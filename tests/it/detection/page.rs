//! `docs/detection.md`, made of what was found.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use bootwatch::core::event::Failure;

use super::Findings;
use super::corpus::{HARMLESS, MODES, QUIET_DAYS, QUIET_RATE, RATES, SLOWER};

/// The documentation says what was found, or is written anew.
pub(super) fn holds(found: &Findings) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/detection.md");
    let text = page(found).unwrap();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "docs/detection.md is not what was found; write it anew with BLESS=1\n{text}"
    );
}

fn page(found: &Findings) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    head(&mut out, found)?;
    faults(&mut out, found)?;
    matrix(&mut out, found)?;
    others(&mut out, found)?;
    Ok(out)
}

fn head(out: &mut String, found: &Findings) -> std::fmt::Result {
    let (right, total) = found.right();
    let pages = found
        .faults
        .iter()
        .flatten()
        .filter(|case| case.page.is_some());
    let again: usize = found.faults.iter().flatten().map(|case| case.again).sum();
    let meanwhile: usize = found
        .faults
        .iter()
        .flatten()
        .map(|case| case.false_pages.len())
        .sum();
    writeln!(
        out,
        "<!-- Written by `BLESS=1 cargo test --test it detection`, which also checks it. -->\n\n\
         # How well the rules detect\n\n\
         The simulated controller suffers {} kinds of failure at {} boots an hour each, with the figures of the\n\
         real hosts. Its log is read and judged as `bootwatch run` does, with the rules' defaults. Before and after each fault, and\n\
         everywhere else, one boot in fifty fails at random. Numbers are those of the controller's known failures. The seeds are\n\
         fixed, so everybody finds the same.\n\n\
         | | found | wanted |\n| --- | --- | --- |\n\
         | incidents detected | {} of {total} | all |\n\
         | bad boots that had ended when the page was sent, at the median | {} | at most 3 |\n\
         | first page names the right cause | {right} of {total} ({:.0} %) | 95 % |\n\
         | pages about anything else meanwhile | {} | 0 |\n\
         | second pages about the same fault: three good boots by chance resolved the first | {} | |\n\
         | pages in {QUIET_DAYS} days without an incident ({} boots, {} failed) | {} | at most 1 |\n\
         | pages about what is no boot's fault ({} cases) | {} | 0 |\n",
        MODES.len(),
        rates(),
        pages.count(),
        found.median_after(),
        right as f64 / total as f64 * 100.0,
        meanwhile,
        again,
        found.quiet.boots,
        found.quiet.failed,
        found.quiet.pages,
        found.harmless.iter().flatten().count(),
        found.harmless.iter().flatten().sum::<usize>(),
    )
}

/// The head of a table with a column a rate.
fn by_rate(out: &mut String, head: &str, line: &str) -> std::fmt::Result {
    let columns: String = RATES
        .iter()
        .map(|rate| format!(" {rate} boots an hour |"))
        .collect();
    writeln!(
        out,
        "{head}{columns}\n{line}{}",
        " --- |".repeat(RATES.len())
    )
}

fn rates() -> String {
    let [low, middle, high] = RATES;
    format!("{low}, {middle} and {high}")
}

fn faults(out: &mut String, found: &Findings) -> std::fmt::Result {
    writeln!(
        out,
        "## Time to detect\n\n\
         Bad boots that had ended when the page was sent, and the time since the first of them began; boots in flight may page\n\
         before any has ended. Which rule was first.\n"
    )?;
    by_rate(out, "| failure | cause |", "| --- | --- |")?;
    for (mode, row) in MODES.iter().zip(&found.faults) {
        write!(out, "| {} {} | `{}` |", mode.number, mode.name, mode.cause)?;
        for case in row {
            match &case.page {
                Some(page) => write!(
                    out,
                    " {}, {}, {} |",
                    page.after,
                    length(page.seconds),
                    short(page.rule)
                )?,
                None => write!(out, " never |")?,
            }
        }
        writeln!(out)?;
    }
    writeln!(
        out,
        "\nRate: `BootFailureRate`; refused, errors: `ConnectionRefusedSpike`, `ConnectionErrorSpike`; burn: \
         `BootBudgetBurn`.\n\n\
         The recorded incident of a real controller (an image without the agent, one boot in four healthy): paged by {}\n\
         with the bad boot number {}, {} after the first began, as `{}`.\n",
        short(found.sample.rule),
        found.sample.after,
        length(found.sample.seconds),
        found.sample.cause
    )
}

/// What was, and what the first page said.
fn matrix(out: &mut String, found: &Findings) -> std::fmt::Result {
    let mut counts: BTreeMap<(Failure, Option<Failure>), usize> = BTreeMap::new();
    for (mode, row) in MODES.iter().zip(&found.faults) {
        for case in row {
            let said = case.page.as_ref().map(|page| page.cause);
            *counts.entry((mode.cause, said)).or_default() += 1;
        }
    }
    let mut said: Vec<Option<Failure>> = counts.keys().map(|(_, said)| *said).collect();
    said.sort();
    said.dedup();
    let mut causes: Vec<Failure> = counts.keys().map(|(cause, _)| *cause).collect();
    causes.dedup();
    writeln!(
        out,
        "## Confusion matrix\n\nRows: the cause. Columns: what the first page named.\n"
    )?;
    write!(out, "| |")?;
    for said in &said {
        write!(out, " {} |", said.map_or("no page", Failure::as_str))?;
    }
    writeln!(out, " no page |")?;
    writeln!(out, "| --- |{}", " --- |".repeat(said.len() + 1))?;
    for cause in causes {
        write!(out, "| `{cause}` |")?;
        for said in &said {
            match counts.get(&(cause, *said)) {
                Some(count) => write!(out, " {count} |")?,
                None => write!(out, " |")?,
            }
        }
        writeln!(out, " |")?;
    }
    let calm = found
        .harmless
        .iter()
        .flatten()
        .filter(|pages| **pages == 0)
        .count();
    writeln!(out, "| nothing |{} {calm} |\n", " |".repeat(said.len()))
}

fn others(out: &mut String, found: &Findings) -> std::fmt::Result {
    writeln!(
        out,
        "## What must not page\n\n| what | pages at {} boots an hour |\n| --- | --- |",
        rates()
    )?;
    for (harmless, row) in HARMLESS.iter().zip(&found.harmless) {
        let pages: Vec<String> = row.iter().map(ToString::to_string).collect();
        writeln!(
            out,
            "| {} {} | {} |",
            harmless.number,
            harmless.name,
            pages.join(", ")
        )?;
    }
    writeln!(
        out,
        "| {QUIET_DAYS} days at {QUIET_RATE} boots an hour, one in fifty bad | {} (tickets: {}) |\n\n\
         ## Slower boots\n\nThe rules that write a ticket. A stage is learnt from a hundred boots first.\n",
        found.quiet.pages, found.quiet.tickets,
    )?;
    by_rate(out, "| what |", "| --- |")?;
    for (slower, row) in SLOWER.iter().zip(&found.slower) {
        write!(out, "| {} |", slower.name)?;
        for rules in row {
            write!(out, " {} |", rules.join(", "))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn length(seconds: i64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        _ => format!("{:.1} h", seconds as f64 / 3_600.0),
    }
}

fn short(rule: &str) -> &str {
    match rule {
        "BootFailureRate" => "rate",
        "ConnectionRefusedSpike" => "refused",
        "ConnectionErrorSpike" => "errors",
        "BootBudgetBurn" => "burn",
        other => other,
    }
}

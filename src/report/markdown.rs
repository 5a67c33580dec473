//! The report as Markdown: the same figures and sentences, without charts.

use std::fmt::Write;

use super::words::{self, Voice};
use crate::core::report::Report;

pub(super) fn page(report: &Report, voice: &Voice) -> String {
    let mut text = String::new();
    // Writing to a text cannot fail.
    write(&mut text, report, voice).ok();
    text
}

/// Words of the log and of operators as words, whatever they hold.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => plain.push(' '),
            c if c.is_control() => {}
            '<' => plain.push_str("&lt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' => {
                plain.push('\\');
                plain.push(c);
            }
            c => plain.push(c),
        }
    }
    plain
}

fn write(text: &mut String, report: &Report, voice: &Voice) -> std::fmt::Result {
    writeln!(text, "# Boot reliability, week {}\n", report.week)?;
    writeln!(
        text,
        "{} to {}, {}{}\n",
        report.week.monday(),
        report.week.sunday(),
        plain(&report.zone),
        match report.of_fleet {
            true => String::new(),
            false => format!(", host {}", plain(&voice.host)),
        }
    )?;
    writeln!(text, "**{}**\n", words::headline(report))?;
    writeln!(text, "{}\n", words::budget(report))?;
    writeln!(text, "## What to do next week\n")?;
    if report.advice.is_empty() {
        writeln!(text, "Nothing in the figures asks for anything.")?;
    }
    for (number, (what, why)) in (1..).zip(report.advice.iter().map(words::advice)) {
        writeln!(text, "{number}. **{}** {}", plain(&what), plain(&why))?;
    }
    boots(text, report)?;
    causes(text, report)?;
    stages(text, report)?;
    incidents(text, report, voice)?;
    rest(text, report, voice)
}

fn boots(text: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(text, "\n## Boots\n")?;
    writeln!(
        text,
        "| kind | ready | share | 95 % interval | against last week |"
    )?;
    writeln!(text, "| --- | ---: | ---: | ---: | --- |")?;
    let rows = report
        .kinds
        .iter()
        .filter(|kind| kind.judged)
        .map(|kind| (words::kind(kind.vm_type), &kind.rate));
    for (name, rate) in rows.chain([("all that are judged".to_owned(), &report.total)]) {
        writeln!(
            text,
            "| {name} | {} | {} | {} | {} |",
            words::count(rate.ready),
            words::value(rate.ready),
            words::interval(rate.ready).unwrap_or_default(),
            words::moved(rate)
        )?;
    }
    writeln!(text)?;
    for kind in &report.kinds {
        let name = words::kind(kind.vm_type);
        if !kind.judged {
            writeln!(
                text,
                "- {name}: {} ready; not judged, as none was.",
                words::count(kind.rate.ready)
            )?;
        }
        writeln!(
            text,
            "- {name}, time to ready: {}",
            words::quantiles(kind.time_to_ready)
        )?;
        writeln!(
            text,
            "- {name}, to ready or to being given up: {}",
            words::quantiles(kind.time_to_end)
        )?;
        if let Some(with) = kind.with_maintenance {
            writeln!(
                text,
                "- {name}, with the boots of maintenances: {}",
                words::full(with)
            )?;
        }
    }
    for one in &report.apart {
        writeln!(
            text,
            "- The total hides this: {} were ready in {}, all together in {}.",
            plain(&one.segment),
            words::full(one.ready),
            words::value(one.total)
        )?;
    }
    if report.hosts.len() > 1 {
        hosts(text, report)?;
    }
    writeln!(text, "\n| day | browser boots ready |\n| --- | ---: |")?;
    for day in &report.days {
        let ready = day
            .kinds
            .first()
            .map_or_else(|| "–".to_owned(), |(_, share)| words::full(*share));
        writeln!(text, "| {} | {ready} |", day.date)?;
    }
    Ok(())
}

fn hosts(text: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        text,
        "\n| host | browser boots ready | p50 | p95 | why they failed | incidents | seen |\n\
         | --- | ---: | ---: | ---: | --- | ---: | ---: |"
    )?;
    for host in words::hosts(report) {
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            plain(&host.host),
            words::full(host.ready),
            words::quantile(host.time_to_ready.p50),
            words::quantile(host.time_to_ready.p95),
            words::classes(host),
            host.incidents,
            host.seen.map_or_else(|| "–".to_owned(), words::value)
        )?;
    }
    match report.hosts.len().checked_sub(words::HOSTS + 1) {
        Some(more) => writeln!(text, "\nand {} more hosts, which the JSON lists.", more + 1),
        None => Ok(()),
    }
}

fn causes(text: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(text, "\n## Why boots failed\n")?;
    if report.causes.is_empty() {
        return writeln!(text, "{}", words::no_failure(report));
    }
    writeln!(
        text,
        "| class | kind | boots | share | last week |\n| --- | --- | ---: | ---: | ---: |"
    )?;
    for cause in &report.causes {
        writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            words::plain(cause.failure.as_str()),
            cause.vm_type.spoken(),
            words::count(cause.failed),
            words::value(cause.failed),
            words::count(cause.before)
        )?;
    }
    Ok(())
}

fn stages(text: &mut String, report: &Report) -> std::fmt::Result {
    if report.stages.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## Stages\n")?;
    writeln!(
        text,
        "| stage | kind | n | p50 | p95 | p99 | p95 last week | broken |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    )?;
    for stage in &report.stages {
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            words::plain(stage.stage.as_str()),
            stage.vm_type.spoken(),
            words::grouped(stage.completed.n),
            words::quantile(stage.completed.p50),
            words::quantile(stage.completed.p95),
            words::quantile(stage.completed.p99),
            words::quantile(stage.before.p95),
            words::grouped(stage.broken)
        )?;
    }
    Ok(())
}

fn incidents(text: &mut String, report: &Report, voice: &Voice) -> std::fmt::Result {
    writeln!(text, "\n## Incidents\n\n{}", words::detection(report))?;
    let time = |at: Option<_>| at.map_or_else(|| "–".to_owned(), |at| voice.time(at));
    for incident in &report.incidents {
        writeln!(
            text,
            "\n### {}\n\n- {} on {}, `{}`\n- first bad boot {}, page taken {}, acknowledged {}, over {}\n- boots hit: {}",
            plain(&words::incident(incident)),
            if incident.page { "paged" } else { "ticket" },
            plain(&incident.host),
            incident.key.replace('`', ""),
            voice.time(incident.first_bad_at),
            time(incident.delivered_at),
            time(incident.acknowledged_at),
            time(incident.resolved_at),
            incident.boots_hit
        )?;
        if let Some(fix) = &incident.fix {
            writeln!(text, "- fix: {}", plain(fix))?;
        }
    }
    Ok(())
}

fn rest(text: &mut String, report: &Report, voice: &Voice) -> std::fmt::Result {
    writeln!(text, "\n## Synthetic boots\n")?;
    let synthetic = &report.synthetic;
    match synthetic.ready.n {
        0 if synthetic.runs.is_empty() => writeln!(text, "None were made.")?,
        _ => writeln!(text, "Ready: {}.", words::full(synthetic.ready))?,
    }
    for (word, count) in &synthetic.runs {
        writeln!(text, "- {}: {count}", plain(&words::plain(word)))?;
    }
    if !report.images.is_empty() {
        writeln!(text, "\n## Golden images\n")?;
        for image in &report.images {
            writeln!(
                text,
                "- {}, first boot {}: failed {}",
                plain(&image.image),
                voice.time(image.first_boot_at),
                words::full(image.failed)
            )?;
        }
    }
    writeln!(
        text,
        "\n## What was seen\n\nAll sources were fresh for {} of {}.",
        words::value(report.coverage.seconds),
        words::the_week(report)
    )?;
    for said in words::not_fresh(report, voice) {
        writeln!(text, "- {}", plain(&said))?;
    }
    writeln!(text, "\n## What does not count\n")?;
    if report.exclusions.is_empty() {
        writeln!(text, "{}", words::no_exclusion(report))?;
    }
    for one in &report.exclusions {
        writeln!(text, "- {}", words::exclusion(one))?;
    }
    writeln!(
        text,
        "\nShares are k of n with 95 % intervals by Wilson; two weeks differ where Newcombe's interval of the difference \
         leaves out zero; quantiles are of nearest rank."
    )
}

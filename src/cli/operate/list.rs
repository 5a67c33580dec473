//! What the lists of the operators' commands say to people; `--format json` prints the API's answer as it is.

use std::io::Write;

use serde_json::Value;

use crate::web;

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

/// How a list is printed
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Printed {
    /// Output for people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
}

/// What comes from the sidecar moves no terminal.
pub(super) fn plain(text: &str) -> String {
    let odd = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(odd).collect()
}

/// One list in words.
pub(super) type Tell = fn(&Value, &mut dyn Write) -> std::io::Result<()>;

/// A text of the sidecar's; empty where there is none.
fn word(of: &Value, key: &str) -> String {
    plain(of[key].as_str().unwrap_or_default())
}

/// A moment of the API's, to the second.
fn at(of: &Value, key: &str) -> String {
    let written = word(of, key);
    match written.parse::<jiff::Timestamp>() {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => written,
    }
}

fn all<'a>(answer: &'a Value, key: &str) -> &'a [Value] {
    answer[key].as_array().map_or(&[], Vec::as_slice)
}

fn words(of: &Value, key: &str, between: &str) -> String {
    let words: Vec<String> = all(of, key)
        .iter()
        .filter_map(Value::as_str)
        .map(plain)
        .collect();
    words.join(between)
}

/// `: text`, where there is one.
fn after_colon(text: &str) -> String {
    match text {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

pub(super) fn incidents(answer: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    if all(answer, "incidents").is_empty() {
        return writeln!(out, "No incident is open.");
    }
    for incident in all(answer, "incidents") {
        let many = incident["digest"]["firing"].as_u64();
        let (subject, cause) = match many {
            None => (
                word(incident, "subject"),
                word(incident, "cause").replace('_', " "),
            ),
            Some(many) => ("many".to_owned(), format!("{many} were told at once")),
        };
        writeln!(
            out,
            "{}  {} since {} (fired {}), {} on {}{}",
            word(incident, "id"),
            word(incident, "severity"),
            at(incident, "first_bad_at"),
            at(incident, "fired_at"),
            subject,
            word(incident, "host"),
            after_colon(&cause)
        )?;
        if many.is_none() {
            writeln!(out, "  rules: {}", words(incident, "rules", ", "))?;
        }
        let diagnosis = &incident["diagnosis"];
        let first = &diagnosis["ranked"][0];
        if diagnosis["verdict"].is_string() && first["meaning"].is_string() {
            let chance = first["chance"].as_f64().unwrap_or(0.0) * 100.0;
            let meaning = word(first, "meaning");
            writeln!(out, "  why: {meaning} ({:.0} %)", chance.min(99.0))?;
        }
        let taken = &incident["acknowledged"];
        if taken.is_object() {
            let (author, note) = (word(taken, "author"), word(taken, "note"));
            let when = at(taken, "at");
            writeln!(
                out,
                "  acknowledged by {author}, {when}{}",
                after_colon(&note)
            )?;
        }
        let held = &incident["held"];
        if held.is_object() {
            let by = match word(held, "by").as_str() {
                "" => String::new(),
                by => format!(" by {by}"),
            };
            writeln!(out, "  held back: {}{by}", word(held, "why"))?;
        } else if incident["told"] == false {
            writeln!(out, "  nobody was told yet")?;
        }
    }
    Ok(())
}

pub(super) fn silences(answer: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    if all(answer, "silences").is_empty() {
        return writeln!(out, "There is no silence, and none ended within a week.");
    }
    for silence in all(answer, "silences") {
        writeln!(
            out,
            "{}  {} where {}",
            word(silence, "id"),
            word(silence, "state"),
            words(silence, "matchers", " and ")
        )?;
        span(silence, "expired_by", out)?;
    }
    Ok(())
}

/// What a new silence keeps quiet and until when, as the sidecar understood it. Standard output has its id alone.
pub(super) fn new_silence(id: &Value, list: &Value, err: &mut dyn Write) -> std::io::Result<()> {
    let Some(silence) = all(list, "silences").iter().find(|one| one["id"] == *id) else {
        return Ok(());
    };
    writeln!(
        err,
        "silenced where {}, from {} until {}",
        words(silence, "matchers", " and "),
        word(silence, "starts_at"),
        word(silence, "ends_at")
    )
}

pub(super) fn maintenance(answer: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let (started, windows) = (all(answer, "maintenance"), all(answer, "windows"));
    if started.is_empty() && windows.is_empty() {
        return writeln!(out, "There is no maintenance, and no window is configured.");
    }
    for one in started {
        writeln!(out, "{}  {}", word(one, "id"), word(one, "state"))?;
        span(one, "ended_by", out)?;
    }
    for window in windows {
        let now = match window["now"].is_object() {
            true => format!("now, until {}", at(&window["now"], "to")),
            false => "not now".to_owned(),
        };
        writeln!(out, "window {:?}: {now}", word(window, "window"))?;
    }
    Ok(())
}

/// From when to when, by whom and why.
fn span(of: &Value, ended_by: &str, out: &mut dyn Write) -> std::io::Result<()> {
    let ended = match word(of, ended_by).as_str() {
        "" => String::new(),
        by => format!(", ended by {by}"),
    };
    writeln!(
        out,
        "  from {} until {}{ended}, by {}{}",
        at(of, "starts_at"),
        at(of, "ends_at"),
        word(of, "author"),
        after_colon(&word(of, "reason"))
    )
}

pub(super) fn synthetic(answer: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    if answer["enabled"] != true {
        return writeln!(
            out,
            "No synthetic boots are made: there is no section [synthetic]."
        );
    }
    let blocked = match word(answer, "blocked_by").replace('_', " ").as_str() {
        "" => String::new(),
        reason => format!("; held back now: {reason}"),
    };
    writeln!(out, "next at {}{blocked}", at(answer, "next_run_at"))?;
    let running = &answer["running"];
    if running.is_object() {
        writeln!(out, "running since {}", at(running, "started_at"))?;
    }
    all(answer, "runs").iter().try_for_each(|one| run(one, out))
}

/// One synthetic boot in a line.
pub(super) fn run(run: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let said = [word(run, "failure"), word(run, "reason")];
    let why = said
        .iter()
        .find(|said| !["", "none"].contains(&said.as_str()));
    let (took, cleanup) = web::took(run);
    let took = took.map(|took| format!(", took {took}"));
    let cleanup = cleanup.map(|took| format!(", its clean-up {took}"));
    writeln!(
        out,
        "{}  {}{}{}{}",
        at(run, "started_at"),
        match word(run, "result").as_str() {
            "" => "not judged",
            result => result,
        },
        after_colon(&why.map(|why| why.replace('_', " ")).unwrap_or_default()),
        took.unwrap_or_default(),
        cleanup.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(tell: Tell, answer: &Value) -> String {
        let mut out = Vec::new();
        tell(answer, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_incident_is_told_with_when_what_why_and_who() {
        let answer = json!({ "incidents": [{
            "id": "05dbae7e", "host": "h\u{1b}[1", "subject": "browser", "cause": "agent_refused", "severity": "page",
            "rules": ["BootFailureRate", "BootBudgetBurn"],
            "first_bad_at": "2025-10-18T18:15:07.12Z", "fired_at": "2025-10-18T18:24:53.12Z",
            "diagnosis": { "verdict": "x", "ranked": [{ "meaning": "the agent is not there", "chance": 0.98 }] },
            "acknowledged": { "author": "ada", "at": "2025-10-18T18:30:00Z", "note": "rolling back" },
            "held": { "why": "silenced", "by": "3" }, "told": false,
        }]});
        assert_eq!(
            told(incidents, &answer),
            "05dbae7e  page since 2025-10-18 18:15:07 UTC (fired 2025-10-18 18:24:53 UTC), browser on h\u{fffd}[1: agent refused\n  \
             rules: BootFailureRate, BootBudgetBurn\n  why: the agent is not there (98 %)\n  \
             acknowledged by ada, 2025-10-18 18:30:00 UTC: rolling back\n  held back: silenced by 3\n"
        );
        let digest = json!({ "incidents": [{
            "id": "storm-05db", "host": "h", "subject": "cli", "cause": "tap_failed", "severity": "page",
            "rules": ["BootFailureRate"], "digest": { "firing": 3, "resolved": 1 },
            "first_bad_at": "2025-10-18T18:15:07Z", "fired_at": "2025-10-18T18:24:53Z", "told": true,
        }]});
        let said = told(incidents, &digest);
        assert!(said.ends_with("many on h: 3 were told at once\n"), "{said}");
        assert_eq!(
            told(incidents, &json!({ "incidents": [] })),
            "No incident is open.\n"
        );
    }

    #[test]
    fn silences_maintenance_and_runs_say_until_when_and_who() {
        let answer = json!({ "silences": [{
            "id": "3", "state": "active", "matchers": ["vm_type=\"browser\"", "host=\"a\""], "author": "ada",
            "reason": "rebuild", "starts_at": "2025-10-18T18:00:00Z", "ends_at": "2025-10-18T20:00:00Z",
        }]});
        assert_eq!(
            told(silences, &answer),
            "3  active where vm_type=\"browser\" and host=\"a\"\n  \
             from 2025-10-18 18:00:00 UTC until 2025-10-18 20:00:00 UTC, by ada: rebuild\n"
        );
        let answer = json!({ "maintenance": [{
            "id": "4", "state": "ended", "author": "bob", "reason": "disks", "ended_by": "ada",
            "starts_at": "2025-10-18T18:00:00Z", "ends_at": "2025-10-18T20:00:00Z",
        }], "windows": [{ "window": "Mon 02:00-03:00", "now": null }] });
        assert_eq!(
            told(maintenance, &answer),
            "4  ended\n  from 2025-10-18 18:00:00 UTC until 2025-10-18 20:00:00 UTC, ended by ada, by bob: disks\n\
             window \"Mon 02:00-03:00\": not now\n"
        );
        let answer = json!({ "enabled": true, "next_run_at": "2025-10-18T18:00:00Z", "blocked_by": "maintenance",
            "running": null, "runs": [{ "started_at": "2025-10-18T17:00:00Z", "result": "failed",
            "failure": "agent_refused", "total_seconds": 303.0, "phases": { "cleanup": 300.5 } }] });
        assert_eq!(
            told(synthetic, &answer),
            "next at 2025-10-18 18:00:00 UTC; held back now: maintenance\n\
             2025-10-18 17:00:00 UTC  failed: agent refused, took 2.5 s, its clean-up 300.5 s\n"
        );
    }
}

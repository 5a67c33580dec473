//! `GET /api/v1/synthetic`: how bootwatch's own runs go now, and how all of them went, a page at a time.
//!
//! The journal has them all, and the one that makes them knows the latest better: what it shows stands in the place of
//! their entries, and before them where the journal is behind. Where the journal cannot be read, the latest are told
//! without a way on.

use axum::extract::{Query, State as Shared};
use axum::response::Response;
use serde_json::{Value, json};

use super::{Given, Known, NO_CURSOR, PAGED, Paged, refused, said, unread};
use crate::core::event::Timestamp;
use crate::web::model::RunLine;

pub(super) async fn runs(Shared(site): Known, Query(given): Given) -> Response {
    let paged = match Paged::read(&given, PAGED) {
        Ok(paged) => paged,
        Err(why) => return refused(&why),
    };
    let limit = paged.limit;
    let from = match (paged.cursor, place(paged.cursor)) {
        ("", _) => None,
        (_, None) => return refused(NO_CURSOR),
        (_, place) => place,
    };
    let told = site.past().runs(from, limit).await;
    let mut view = site.with_page(|page| page.synthetic.clone());
    if view["enabled"] != true {
        return said(&view);
    }
    let latest = match view["runs"].take() {
        Value::Array(latest) => latest,
        _ => Vec::new(),
    };
    let (runs, next) = match told {
        Ok(lines) => {
            let next = next(&lines, from, limit);
            let lines = lines.into_iter().map(|line| line.shown).collect();
            let runs = match from {
                None => together(latest, lines, &view["running"]),
                Some(_) => lines,
            };
            (runs, next)
        }
        Err(_) if from.is_none() => (latest, None),
        Err(why) => return unread(&why),
    };
    view["runs"] = json!(runs);
    view["next"] = json!(next);
    said(&view)
}

/// A moment, and how many that began at it were told.
fn place(cursor: &str) -> Option<(Timestamp, u32)> {
    let (at, behind) = cursor.split_once('.')?;
    Some((Timestamp(at.parse().ok()?), behind.parse().ok()?))
}

fn next(lines: &[RunLine], from: Option<(Timestamp, u32)>, limit: u16) -> Option<String> {
    let last = lines.last().filter(|_| lines.len() >= usize::from(limit))?;
    let at = last.started_at;
    let same = lines.iter().rev().take_while(|line| line.started_at == at);
    let before = from.filter(|(from, _)| *from == at);
    let behind = before.map_or(0, |(_, behind)| behind as usize) + same.count();
    Some(format!("{}.{behind}", at.0))
}

/// The first page: `lines` are the journal's. The one that runs is shown by itself.
fn together(mut latest: Vec<Value>, lines: Vec<Value>, running: &Value) -> Vec<Value> {
    let skipped = |run: &Value| run["result"] == "skipped";
    let same =
        |a: &Value, b: &Value| a["started_at"] == b["started_at"] && skipped(a) == skipped(b);
    if lines.is_empty() {
        return latest;
    }
    let mut runs = Vec::new();
    for line in lines {
        if running.is_object() && same(&line, running) {
            continue;
        }
        if let Some(at) = latest.iter().position(|run| same(run, &line)) {
            // What is newer than that and not in the journal yet goes before it.
            runs.extend(latest.drain(..=at));
        } else {
            runs.push(line);
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(at: &str, result: &str, more: &str) -> Value {
        json!({ "started_at": at, "result": result, "reason": more })
    }

    #[test]
    fn what_is_known_better_stands_in_the_place_of_its_entry() {
        let latest = vec![
            run("5", "passed", "not written yet"),
            run("4", "failed", "known"),
            run("2", "passed", "known"),
        ];
        let lines = vec![
            json!({ "started_at": "6", "result": null }),
            run("4", "skipped", "slots"),
            json!({ "started_at": "4", "result": null }),
            run("3", "skipped", "budget"),
            run("2", "passed", "written"),
            run("1", "passed", "written"),
        ];
        let running = json!({ "started_at": "6", "result": null });
        let runs = together(latest, lines, &running);
        let told: Vec<_> = runs
            .iter()
            .map(|run| run["reason"].as_str().unwrap())
            .collect();
        let expected = [
            "slots",
            "not written yet",
            "known",
            "budget",
            "known",
            "written",
        ];
        assert_eq!(told, expected);
        let alone = vec![json!({ "started_at": "6", "result": null })];
        let only = vec![run("5", "passed", "known")];
        assert!(
            together(only.clone(), alone, &running).is_empty(),
            "a page of what runs now"
        );
        assert_eq!(together(only.clone(), Vec::new(), &Value::Null), only);
    }

    #[test]
    fn a_cursor_leads_past_those_that_began_at_the_same_moment() {
        let line = |at| RunLine {
            started_at: Timestamp(at),
            shown: Value::Null,
        };
        let lines = [line(9), line(7), line(7)];
        assert_eq!(next(&lines, None, 4), None, "there is no more");
        assert_eq!(next(&lines, None, 3).as_deref(), Some("7.2"));
        let from = place("7.2");
        assert_eq!(from, Some((Timestamp(7), 2)));
        assert_eq!(next(&[line(7), line(7)], from, 2).as_deref(), Some("7.4"));
        assert_eq!(next(&[line(7), line(5)], from, 2).as_deref(), Some("5.1"));
        assert_eq!(place("no cursor"), None);
    }
}

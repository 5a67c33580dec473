//! The walls between the rooms of `src/`, kept by reading the source.
//!
//! `core` decides and touches nothing; a shell room touches the world and knows only `core`, `clock`, `dial` and its
//! part of the configuration; only `app` and `cli` know everyone; only `src/clock.rs` reads a clock. Test modules are judged
//! like the rest, with two exceptions: tests of a pure room may read fixtures from files, and tests of a shell room may
//! read a clock, since waiting for a real socket needs a deadline.

mod paths;

use crate::tree;
use paths::{Mention, mentions};

/// Rooms that touch the world, and never each other.
const SHELL: &[&str] = &[
    "controller",
    "export",
    "image",
    "notify",
    "probe",
    "report",
    "simulator",
    "source",
    "store",
    "web",
];
/// Rooms that know everyone.
const WIRING: &[&str] = &["app", "cli", "lib", "main"];
/// The part of `controller` that speaks to the controller's API; the rest of it only decodes.
const CONTROLLER_FACES: &[&str] = &["api"];

/// Crates that touch the world or watch us doing it.
const WORLDLY_CRATES: &[&str] = &[
    "axum",
    "hyper",
    "lettre",
    "log",
    "notify",
    "opentelemetry",
    "opentelemetry_otlp",
    "opentelemetry_proto",
    "opentelemetry_sdk",
    "prometheus",
    "prometheus_client",
    "rand",
    "reqwest",
    "rusqlite",
    "rustix",
    "sqlx",
    "tokio",
    "tokio_postgres",
    "tonic",
    "tonic_types",
    "tracing",
    "tracing_subscriber",
];
/// What of std does. A trailing `*` stands for any ending; a whole module is refused where part of it is.
const WORLDLY_STD: &[&str] = &[
    "std::env",
    "std::fs",
    "std::os",
    "std::process",
    "std::thread",
    "std::net",
    "std::net::Tcp*",
    "std::net::Udp*",
    "std::net::ToSocketAddrs",
    "std::time",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
];

/// Why one mention is on the wrong side of a wall, if it is. `file` is relative to `src/`.
fn objection(file: &str, mention: &Mention) -> Option<String> {
    let module = module_of(file);
    let room = module.first().copied().unwrap_or_default();
    let path = mention.segments.join("::");
    if let [first, target, ..] = &mention.segments[..]
        && first == "crate"
        && let Some(reason) = wrong_neighbour(&module, target, &path)
    {
        return Some(reason);
    }
    if is_pure(&module)
        && let Some(reason) = worldly(mention, &path)
    {
        return Some(format!(
            "{room} is pure here and may not name {path}: {reason}"
        ));
    }
    let reads_clock = mention.segments.last().is_some_and(|last| last == "now")
        && !mention
            .segments
            .iter()
            .any(|segment| segment == "clock" || segment == "Clock");
    let excused = file == "clock.rs" || (mention.in_test && !is_pure(&module));
    (reads_clock && !excused).then(|| {
        format!("{path} reads a clock, and only src/clock.rs does; take `now` as an argument")
    })
}

fn wrong_neighbour(module: &[&str], target: &str, path: &str) -> Option<String> {
    let room = module.first().copied().unwrap_or_default();
    let allowed: &[&str] = match room {
        _ if WIRING.contains(&room) => return None,
        "core" => &["core"],
        "config" | "clock" => &[room, "core"],
        "controller" if is_pure(module) => &["controller", "core", "config"],
        "dial" => &["dial", "core", "clock"],
        _ if SHELL.contains(&room) => &[room, "core", "clock", "config", "dial"],
        _ => {
            return Some(format!(
                "{room} is not a room this test knows; give it its place in SHELL or WIRING"
            ));
        }
    };
    if !allowed.contains(&target) {
        return Some(format!(
            "{room} may import {}, but names {path}",
            allowed.join(", ")
        ));
    }
    (target == "config" && room != "config" && path.ends_with("::load"))
        .then(|| format!("{room} takes checked values from app; only app and cli call {path}"))
}

fn worldly(mention: &Mention, path: &str) -> Option<&'static str> {
    let first = mention
        .segments
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    if WORLDLY_CRATES.contains(&first) {
        return Some("the crate does I/O, runs tasks, logs or measures");
    }
    if mention.in_test && path.starts_with("std::fs") {
        return None;
    }
    let refused = WORLDLY_STD
        .iter()
        .any(|banned| match banned.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None if matches!(*banned, "std::net" | "std::time") => {
                path == *banned || path == format!("{banned}::*")
            }
            None => path == *banned || path.starts_with(&format!("{banned}::")),
        });
    if refused {
        return Some("this part of std touches the world");
    }
    match path.rsplit("::").next() {
        Some("now") => Some("the time is an argument"),
        Some("system") if path.contains("TimeZone") => Some("the machine's zone is an argument"),
        _ => None,
    }
}

fn is_pure(module: &[&str]) -> bool {
    match module {
        ["core", ..] => true,
        ["controller", part, ..] => !CONTROLLER_FACES.contains(part),
        _ => false,
    }
}

/// `core/boot/lease.rs` is `core::boot::lease`.
fn module_of(file: &str) -> Vec<&str> {
    file.trim_end_matches(".rs").split('/').collect()
}

/// Every objection to one file, as `src/file:line: reason`.
fn judge(file: &str, source: &str) -> Vec<String> {
    let module = module_of(file);
    let place: Vec<&str> = if matches!(module[..], ["lib" | "main"]) {
        Vec::new()
    } else {
        module.clone()
    };
    let found = match mentions(source, &place) {
        Ok(found) => found,
        Err(error) => return vec![format!("src/{file}: not Rust: {error}")],
    };
    found
        .iter()
        .filter_map(|mention| {
            objection(file, mention).map(|reason| format!("src/{file}:{}: {reason}", mention.line))
        })
        .collect()
}

#[test]
fn the_rooms_keep_their_walls() {
    let mut judged = Vec::new();
    let mut objections = Vec::new();
    for path in tree::files() {
        let Some(file) = path
            .strip_prefix("src/")
            .filter(|file| file.ends_with(".rs"))
        else {
            continue;
        };
        objections.extend(judge(file, &tree::read(&path)));
        judged.push(file.to_owned());
    }
    assert!(
        judged.iter().any(|file| file == "core.rs"),
        "src/ was not found: {judged:?}"
    );
    assert!(objections.is_empty(), "\n{}", objections.join("\n"));
}

#[test]
fn every_room_is_known() {
    let unknown: Vec<String> = tree::files()
        .into_iter()
        .filter_map(|path| path.strip_prefix("src/").map(str::to_owned))
        .filter(|file| {
            let room = module_of(file)[0];
            !SHELL.contains(&room)
                && !WIRING.contains(&room)
                && !["core", "config", "clock", "dial"].contains(&room)
        })
        .collect();
    assert!(
        unknown.is_empty(),
        "no wall is known for {unknown:?}; place them in SHELL or WIRING"
    );
}

/// A guard that cannot fail guards nothing: each wall, broken once.
#[test]
fn each_broken_wall_is_named_with_its_line() {
    let broken = [
        (
            "core/boot.rs",
            "\nuse tokio::time;",
            "src/core/boot.rs:2: core is pure here and may not name tokio::time: ",
        ),
        (
            "core/boot.rs",
            "fn f() { tracing::warn!(\"x\") }",
            "src/core/boot.rs:1: core is pure here and may not name tracing::warn: ",
        ),
        (
            "core.rs",
            "use std::{fmt, fs};",
            "src/core.rs:1: core is pure here and may not name std::fs: ",
        ),
        (
            "core/rule.rs",
            "use std::net::TcpStream;",
            "may not name std::net::TcpStream: ",
        ),
        ("core/rule.rs", "use std::net;", "may not name std::net: "),
        (
            "core/rule.rs",
            "use std::time::{Duration, SystemTime};",
            "may not name std::time::SystemTime: ",
        ),
        (
            "core/rule.rs",
            "fn f() { let _ = std::env::var(\"X\"); }",
            "may not name std::env::var: ",
        ),
        (
            "core/rule.rs",
            "fn f() { jiff::Timestamp::now(); }",
            "jiff::Timestamp::now: the time is an argument",
        ),
        (
            "core/rule.rs",
            "use crate::clock::Clock;",
            "core may import core, but names crate::clock::Clock",
        ),
        (
            "core/rule.rs",
            "use super::super::web::Page;",
            "core may import core, but names crate::web::Page",
        ),
        (
            "core/rule.rs",
            "#[cfg(test)] mod tests { use crate::store::Row; }",
            "but names crate::store::Row",
        ),
        (
            "core/rule/tests.rs",
            "#[tokio::test] async fn f() {}",
            "may not name tokio::test: ",
        ),
        (
            "controller/tables/layout.rs",
            "use sqlx::PgPool;",
            "controller is pure here and may not name sqlx::PgPool: ",
        ),
        (
            "controller/decode.rs",
            "use tokio::fs::File;",
            "controller is pure here and may not name tokio::fs::File: ",
        ),
        (
            "controller/decode.rs",
            "use crate::clock::Clock;",
            "controller may import controller, core, config, but names",
        ),
        (
            "web/page.rs",
            "use crate::store::Boots;",
            "web may import web, core, clock, config, dial, but names crate::store::Boots",
        ),
        (
            "dial.rs",
            "use crate::config::Email;",
            "dial may import dial, core, clock, but names crate::config::Email",
        ),
        (
            "web.rs",
            "#[cfg(test)] mod tests { use crate::simulator::World; }",
            "but names crate::simulator::World",
        ),
        (
            "store.rs",
            "use crate::app::Wiring;",
            "but names crate::app::Wiring",
        ),
        (
            "source/tail.rs",
            "fn f() { crate::config::load(1); }",
            "only app and cli call crate::config::load",
        ),
        (
            "config/text.rs",
            "use crate::notify::KINDS;",
            "config may import config, core, but names crate::notify::KINDS",
        ),
        (
            "probe/http.rs",
            "fn f() { Instant::now(); }",
            "src/probe/http.rs:1: Instant::now reads a clock, and only src/clock.rs does; ",
        ),
        (
            "app.rs",
            "fn f() { std::time::SystemTime::now(); }",
            "std::time::SystemTime::now reads a clock",
        ),
        (
            "helpers.rs",
            "use crate::core::event::VmId;",
            "helpers is not a room this test knows",
        ),
    ];
    for (file, source, expected) in broken {
        let objections = judge(file, source);
        assert!(
            objections
                .iter()
                .any(|objection| objection.contains(expected)),
            "{file} with {source:?} should be refused with {expected:?}, got {objections:?}"
        );
    }
}

#[test]
fn what_is_allowed_passes() {
    let fine = [
        (
            "core/event.rs",
            "use std::net::Ipv4Addr; use std::time::Duration; use serde::Serialize;",
        ),
        (
            "core/event.rs",
            "/// Like `tokio::spawn` and std::fs.\nconst A: &str = \"std::env::var\"; // sqlx::query",
        ),
        (
            "core/boot/tests.rs",
            "use super::*; use super::lease::Lease; fn f() { std::fs::read(\"x\"); }",
        ),
        (
            "core/alert.rs",
            "use crate::core::event::Timestamp; fn f(now: Timestamp) { now.since(now); }",
        ),
        (
            "controller/decode.rs",
            "use super::framing::Record; use crate::core::event::VmId;",
        ),
        (
            "controller/api.rs",
            "use reqwest::Client; use crate::clock::Clock;",
        ),
        (
            "web.rs",
            "use crate::config::Web; use axum::Router; mod page;",
        ),
        (
            "web.rs",
            "#[cfg(test)] mod tests { fn f() { std::time::Instant::now(); } }",
        ),
        (
            "web/tests/model.rs",
            "fn f() { tokio::time::Instant::now(); }",
        ),
        ("clock.rs", "fn f() { std::time::SystemTime::now(); }"),
        (
            "source/tail.rs",
            "use crate::clock; fn f() { clock::now(); Clock::now(); }",
        ),
        (
            "app.rs",
            "use crate::{cli, core, store, web}; use tokio::task;",
        ),
    ];
    for (file, source) in fine {
        assert_eq!(
            judge(file, source),
            Vec::<String>::new(),
            "{file} with {source:?}"
        );
    }
}

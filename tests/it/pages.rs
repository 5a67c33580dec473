//! The pages in a real browser, while the whole sidecar watches a simulated controller's incident.
//!
//! Chromium looks at each page at phone and desktop width, light and dark, with and without script: axe-core finds no
//! serious fault, nothing is on the console, nothing overflows, nothing is fetched from elsewhere, and what a hostile log
//! says is text. Then an operator takes the incident without script, and a page that is open with script says so. Last, the
//! server hangs, goes and refuses, and what an open page shows is grey meanwhile.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use bootwatch::app::Start;
use bootwatch::clock;
use bootwatch::core::report::week::Week;
use bootwatch::simulator::plan::{Figures, Happening, Injection, Phase, Plan};
use bootwatch::simulator::scenario;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::mailserver::MailServer;
use crate::report::{filled, scheduled};
use crate::run_pages::play;
use crate::sidecar::{Pager, Sidecar, eventually, log};

const MINUTE: i64 = 60_000;
const TOKEN: &str = "0123456789abcdef0123";
const HOSTILE: &str =
    "<script>window.pwned=1</script><img src=x onerror=window.pwned=1>{{7*7}}</pre><h1>owned</h1>";

fn tools() -> &'static Path {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages");
        let there = |name: &str| folder.join("node_modules").join(name).exists();
        if !there("playwright-core") || !there("axe-core") {
            let done = Command::new("npm")
                .args(["ci", "--no-audit", "--no-fund"])
                .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1")
                .current_dir(&folder)
                .stdout(std::process::Stdio::null())
                .status()
                .expect("npm is installed; scripts/test installs it");
            assert!(done.success(), "npm ci in {}", folder.display());
        }
        folder
    })
}

fn chromium() -> String {
    let found = Command::new("sh")
        .args(["-c", "command -v chromium"])
        .output()
        .unwrap();
    let path = String::from_utf8(found.stdout).unwrap().trim().to_owned();
    assert!(
        !path.is_empty(),
        "chromium is missing; scripts/test installs it"
    );
    path
}

/// Runs one of the scripts with what it is asked, and reads what it found.
fn browse(script: &str, mut asked: Value) -> Value {
    asked["chromium"] = json!(chromium());
    let ran = Command::new("node")
        .arg(tools().join(script))
        .arg(asked.to_string())
        .output()
        .expect("node is installed; scripts/test installs it");
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    serde_json::from_slice(&ran.stdout).unwrap()
}

fn phase(from: i64, lasts: i64, mix: Vec<(u32, &'static scenario::Scenario)>) -> Phase {
    Phase {
        from,
        rate: 120,
        boots: None,
        lasts: Some(lasts),
        mix,
    }
}

/// Healthy for 20 minutes, then an image without its agent, until about now.
fn incident() -> Plan {
    let mix = vec![
        (6, scenario::row("healthy")),
        (1, scenario::row("cli-fresh")),
    ];
    Plan::new(11, clock::now().plus_ms(-40 * MINUTE))
        .figures(Figures::sample())
        .injection(Injection::Never)
        .phase(phase(0, 38 * MINUTE, mix))
        .at(20 * MINUTE, Happening::ImageRebuilt { with_agent: false })
}

/// A boot whose error is what an attacker would have it be.
fn hostile(folder: &Path) -> String {
    let aside = folder.join("hostile.log");
    let mix = vec![(1, scenario::row("tap-fails"))];
    let plan = Plan::new(12, clock::now().plus_ms(-MINUTE))
        .figures(Figures::sample())
        .phase(Phase {
            boots: Some(1),
            ..phase(0, MINUTE, mix)
        });
    play(&aside, u64::MAX, plan);
    let text = std::fs::read_to_string(&aside).unwrap();
    assert!(text.contains("Device or resource busy"), "{text}");
    text.replace("Device or resource busy", HOSTILE)
}

struct Watched {
    sidecar: Sidecar,
    _pager: Pager,
    _folder: tempfile::TempDir,
}

fn api(sidecar: &Sidecar, path: &str) -> Value {
    serde_json::from_str(&sidecar.get(path).1).unwrap()
}

/// A sidecar in the middle of the incident.
fn watched() -> Watched {
    let (folder, log) = log();
    let token = folder.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let pager = Pager::start();
    let quick = "[alerts]\nkeep_firing = \"1s\"\ngroup_wait = \"1s\"\n";
    let sidecar = Sidecar::start_with_token(&log, pager.address, quick, &token, Start::default());
    sidecar.wait_until_ready();
    play(&log, u64::MAX, incident());
    let mut file = std::fs::File::options().append(true).open(&log).unwrap();
    file.write_all(hostile(folder.path()).as_bytes()).unwrap();
    eventually("the state is down", || {
        api(&sidecar, "/api/v1/state")["state"] == "down"
    });
    eventually("the hostile boot is in the store", || {
        let boots = api(&sidecar, "/api/v1/boots?failure=tap_failed");
        boots["boots"]
            .as_array()
            .is_some_and(|boots| boots.len() == 1)
    });
    eventually("the page was delivered", || {
        let messages = api(&sidecar, "/api/v1/messages");
        messages["messages"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["state"] == "sent"))
    });
    Watched {
        sidecar,
        _pager: pager,
        _folder: folder,
    }
}

fn first(sidecar: &Sidecar, path: &str, list: &str, id: &str) -> String {
    api(sidecar, path)[list][0][id].as_str().unwrap().to_owned()
}

#[test]
fn every_page_is_accessible_quiet_and_harmless_in_a_browser() {
    let Watched {
        sidecar,
        _pager,
        _folder,
    } = watched();
    let refused = first(
        &sidecar,
        "/api/v1/boots?failure=agent_refused",
        "boots",
        "boot_id",
    );
    let hostile = first(
        &sidecar,
        "/api/v1/boots?failure=tap_failed",
        "boots",
        "boot_id",
    );
    let incident = first(&sidecar, "/api/v1/incidents", "incidents", "id");
    let [refused, hostile] = [refused, hostile].map(|id| format!("/boots/{id}"));
    let incident = format!("/incidents/{incident}");
    let mut shows = serde_json::Map::new();
    shows.insert(
        "/".to_owned(),
        json!(["nothing listens on port 8080", "Budget left"]),
    );
    shows.insert(refused.clone(), json!(["agent_refused", "ECONNREFUSED"]));
    shows.insert(
        hostile.clone(),
        json!(["<script>window.pwned=1</script>", "<img src=x onerror="]),
    );
    shows.insert(incident.clone(), json!(["oncall", "Timeline"]));
    shows.insert("/system".to_owned(), json!(["web.token", "***"]));
    let paths = [
        "/",
        "/boots",
        "/boots?outcome=failed&vm_type=browser",
        &refused,
        &hostile,
        "/incidents",
        &incident,
        "/alerts",
        "/reports",
        "/system",
    ];
    all_is_well(&sidecar, &paths, &[], &json!(shows));
    sidecar.stop().unwrap();
}

/// Looks at each path in every way: it shows what it should, and nothing is wrong with it. `alone`: those outside the frame.
fn all_is_well(sidecar: &Sidecar, paths: &[&str], alone: &[&str], shows: &Value) {
    let found = browse(
        "look.js",
        json!({
            "base": format!("http://{}", sidecar.address),
            "paths": paths,
            "alone": alone,
            "shows": shows,
        }),
    );
    assert_eq!(found["problems"], json!([]), "{found:#}");
    assert_eq!(found["looks"], json!(paths.len() * 8));
}

/// What stands alone: an archived report, and the page that everybody may see.
#[test]
fn a_report_and_the_page_for_everybody_are_accessible_and_quiet_too() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (folder, log) = log();
    let last = Week::of(clock::now(), &TimeZone::UTC).previous();
    runtime.block_on(filled(folder.path(), last, 2));
    let made = folder.path().join("bootwatch.db");
    if made != log.with_extension("db") {
        std::fs::rename(&made, log.with_extension("db")).unwrap();
    }
    let server = MailServer::start();
    let more = scheduled(&server);
    let pager = Pager::start();
    let web = "public = true\n";
    let sidecar = Sidecar::start_with(&log, pager.address, web, &more, Start::default());
    eventually("the report is in the archive", || {
        let reports = api(&sidecar, "/api/v1/reports");
        reports["reports"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    });
    let report = format!("/reports/{last}");
    let paths = [report.as_str(), "/public"];
    let shows = json!({
        report.as_str(): ["Against last week", "Weekly boot reliability".to_uppercase()],
    });
    all_is_well(&sidecar, &paths, &paths, &shows);
    sidecar.stop().unwrap();
}

#[test]
fn an_operator_acts_without_script_and_an_open_page_follows() {
    let Watched {
        sidecar,
        _pager,
        _folder,
    } = watched();
    let incident = first(&sidecar, "/api/v1/incidents", "incidents", "id");
    let found = browse(
        "act.js",
        json!({
            "base": format!("http://{}", sidecar.address),
            "incident": incident,
            "token": TOKEN,
        }),
    );
    assert_eq!(found["problems"], json!([]), "{found:#}");
    let taken = api(&sidecar, "/api/v1/incidents");
    assert_eq!(taken["incidents"][0]["acknowledged"]["author"], "ada");
    sidecar.stop().unwrap();
}

#[test]
fn an_open_page_is_grey_while_nobody_answers_it_and_recovers() {
    let Watched {
        sidecar,
        _pager,
        _folder,
    } = watched();
    let base = format!("http://{}", sidecar.address);
    let found = browse("follow.js", json!({ "base": base }));
    assert_eq!(found["problems"], json!([]), "{found:#}");
    sidecar.stop().unwrap();
}

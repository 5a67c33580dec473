//! Why boots fail, through the whole sidecar: a golden image that loses its agent, and consoles that vanish with their VM.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bootwatch::app::Start;
use bootwatch::clock;
use bootwatch::config::Secret;
use bootwatch::core::event::Outcome;
use bootwatch::core::report::week::Week;
use bootwatch::simulator::console::Directories;
use bootwatch::simulator::log::LogFiles;
use bootwatch::simulator::plan::{Figures, Happening, Injection, Phase, Plan};
use bootwatch::simulator::player::{Face, Player, Speed};
use bootwatch::simulator::scenario;
use bootwatch::simulator::simulation::{Happened, Moment, Simulation};
use bootwatch::simulator::truth::Truth;
use bootwatch::simulator::{Schema, Tables};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::image::build::{AGENT, Tree, UNIT, WANTS};
use crate::sidecar::{Pager, Sidecar, eventually, log};

const SECOND: i64 = 1_000;
/// The played log is not in step with this machine's clock.
const QUICK: &str =
    "[alerts]\nkeep_firing = \"1s\"\ngroup_wait = \"1s\"\n[rules.LogClockWrong]\nenabled = false\n";
/// How long a directory outlives the line that says that its boot failed.
const VANISHES_AFTER: Duration = Duration::from_millis(50);

/// Plays line by line, so that each is in the file when the next thing happens.
fn play(plan: Plan, log: &Path, other: &mut dyn Face, times: f64) -> Vec<Truth> {
    let mut files = LogFiles::open(log, u64::MAX, TimeZone::UTC).unwrap();
    let mut truths = Vec::new();
    let mut truth = |truth| {
        truths.push(truth);
        Ok(())
    };
    let faces: &mut [&mut dyn Face] = &mut [&mut files, other];
    let mut simulation = Simulation::new(plan);
    let player = Player::new(Speed::Times(times));
    if times > 1_000.0 {
        player
            .play_with(&mut simulation, faces, &mut truth, &mut |_| true)
            .unwrap();
    } else {
        player.play(&mut simulation, faces, &mut truth).unwrap();
    }
    truths
}

/// The VMs' directories, which go a moment after the failure line and not with it.
struct Vanishing(Directories);

impl Face for Vanishing {
    fn show(&mut self, moment: &Moment) -> io::Result<()> {
        if matches!(moment.what, Happened::DirectoryRemoved { .. }) {
            // The controller's own pace, which is what is tested.
            std::thread::sleep(VANISHES_AFTER);
        }
        self.0.show(moment)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn evidence_is_kept_though_the_directory_vanishes_50_ms_after_the_failure() {
    const BOOTS: u32 = 20;
    let (folder, log) = log();
    std::fs::write(&log, "").unwrap();
    let users = folder.path().join("users");
    let pager = Pager::start();
    let more = format!(
        "{QUICK}[console]\nusers_dir = {:?}\narchive_dir = {:?}\n",
        users.display().to_string(),
        folder.path().join("archive").display().to_string()
    );
    let mut directories = Vanishing(Directories::open(&users, None).unwrap());
    let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
    sidecar.wait_until_ready();
    let phase = Phase {
        from: 0,
        rate: 900,
        boots: Some(BOOTS),
        lasts: None,
        mix: vec![(1, scenario::row("agent-missing"))],
    };
    let mut plan = Plan::new(11, clock::now().plus_ms(-180 * SECOND))
        .figures(Figures::sample())
        .phase(phase);
    plan.consoles = true;
    plan.noise = false;
    let truths = play(plan, &log, &mut directories, 40.0);
    let failed = truths
        .iter()
        .filter(|truth| truth.outcome == Some(Outcome::Failed))
        .count();
    assert_eq!(failed, BOOTS as usize);
    let asked = |result: &str| sidecar.metric("bootwatch_console_evidence_total", result);
    eventually("every failed boot's console was asked for", || {
        asked("") >= f64::from(BOOTS)
    });
    assert_eq!(
        std::fs::read_dir(&users).unwrap().count(),
        cli_directories(&truths)
    );
    sidecar.stop().unwrap();
    let kept = kept_consoles(&log.with_extension("db"));
    println!("kept {} of {BOOTS}", kept.len());
    assert!(kept.len() >= 19, "kept {} of {BOOTS}", kept.len());
    for console in &kept {
        assert_eq!(console["source"], "live");
        assert_eq!(console["whole"], true);
        let tail = console["tail"]["console"].to_string();
        assert!(tail.contains("vm login:"), "{tail}");
        let marks = console["marks"].to_string();
        assert!(
            marks.contains("kernel_started")
                && marks.contains("login_prompt")
                && !marks.contains("agent_unit_started")
        );
    }
    // What was kept reached the incident, of which nobody was told anew.
    let pages = pager.so_far();
    let keys: std::collections::BTreeSet<String> = pages
        .iter()
        .map(|page| page["groupKey"].to_string())
        .collect();
    assert_eq!(keys.len(), 1, "one incident");
}

/// CLI VMs live on.
fn cli_directories(truths: &[Truth]) -> usize {
    truths
        .iter()
        .filter(|truth| truth.outcome == Some(Outcome::Ready))
        .count()
}

/// The consoles in the store's history of failed boots.
fn kept_consoles(store: &Path) -> Vec<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let details: Vec<String> = runtime.block_on(async {
        use sqlx::Connection;
        let url = format!("sqlite:{}", store.display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::query_scalar(
            "select detail from boot join boot_detail using (boot_id) where outcome = 'failed' and vm_type = 'browser'",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap()
    });
    details
        .iter()
        .map(|detail| serde_json::from_str::<Value>(detail).unwrap()["console"].clone())
        .filter(|console| console["tail"]["console"].is_array())
        .collect()
}

/// The build's side of the story: puts a file in the image's place, and goes on when it was audited.
struct Builder<'a> {
    sidecar: &'a Sidecar,
    image: PathBuf,
    without_agent: PathBuf,
    fixed: PathBuf,
}

impl Face for Builder<'_> {
    fn show(&mut self, moment: &Moment) -> io::Result<()> {
        let Happened::Befell(Happening::ImageRebuilt { with_agent }) = moment.what else {
            return Ok(());
        };
        // That nothing is injected is known from the boots before.
        eventually("boots before are read", || {
            let ready = "outcome=\"ready\",vm_type=\"browser\"";
            self.sidecar.metric("bootwatch_boots_total", ready) >= 3.0
        });
        let (built, verdict) = match with_agent {
            true => (&self.fixed, 1.0),
            false => (&self.without_agent, 0.0),
        };
        if with_agent {
            // In the log's time, which is ahead of this machine's: boots since are counted by it.
            let at = Duration::from_millis(moment.at.0.unsigned_abs());
            let file = std::fs::File::options().write(true).open(built)?;
            file.set_modified(std::time::UNIX_EPOCH + at)?;
        }
        std::fs::rename(built, &self.image)?;
        let agent = "check=\"agent\"";
        eventually("the new image is audited", || {
            let (_, metrics) = self.sidecar.get("/metrics");
            let line = format!("bootwatch_golden_image_check{{{agent}}} {verdict}");
            metrics.lines().any(|found| found == line)
        });
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The seed's incident: healthy boots, an image rebuilt without the agent, refusals, the fixed image, recovery.
fn incident() -> Plan {
    let mix = vec![
        (6, scenario::row("healthy")),
        (1, scenario::row("cli-fresh")),
    ];
    let mut plan = Plan::new(7, clock::now())
        .figures(Figures::sample())
        .injection(Injection::Never)
        .phase(Phase {
            from: SECOND,
            rate: 900,
            boots: None,
            lasts: Some(150 * SECOND),
            mix,
        })
        .at(40 * SECOND, Happening::ImageRebuilt { with_agent: false })
        .at(90 * SECOND, Happening::ImageRebuilt { with_agent: true });
    plan.noise = false;
    plan
}

#[test]
fn an_image_without_the_agent_is_one_page_that_names_what_is_missing() {
    let tree = Tree::healthy();
    let image = tree.image();
    let fixed = tree.image_called("fixed", "8M");
    for path in [AGENT, WANTS, UNIT] {
        tree.remove(path);
    }
    let without_agent = tree.image_called("built", "8M");
    let (_folder, log) = log();
    std::fs::write(&log, "").unwrap();
    let pager = Pager::start();
    let more = format!(
        "{QUICK}[console]\nenabled = false\n[image]\npath = {:?}\nquiet = \"1s\"\n",
        image.display().to_string()
    );
    let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
    sidecar.wait_until_ready();
    let agent = "bootwatch_golden_image_check{check=\"agent\"} 1";
    eventually("the image is audited", || {
        sidecar.get("/metrics").1.lines().any(|line| line == agent)
    });
    let mut builder = Builder {
        sidecar: &sidecar,
        image: image.clone(),
        without_agent,
        fixed,
    };
    let truths = play(incident(), &log, &mut builder, 1e9);
    assert!(
        truths
            .iter()
            .any(|truth| truth.outcome == Some(Outcome::Failed))
    );

    let page = pager.next();
    assert_eq!(page["status"], "firing");
    let labels = &page["alerts"][0]["labels"];
    assert_eq!(labels["cause"], "golden_image_broken", "{page:#}");
    assert_eq!(labels["vm_type"], "browser");
    assert_eq!(labels["severity"], "page");
    let text = page.to_string();
    for said in [
        AGENT,
        UNIT,
        "written 20",
        image.to_str().unwrap(),
        "CLI boots",
    ] {
        assert!(text.contains(said), "no {said} in {page:#}");
    }
    let mut told = vec![page.clone()];
    while told.last().is_none_or(|last| last["status"] != "resolved") {
        told.push(pager.next());
    }
    for other in &told {
        assert_eq!(
            other["groupKey"], page["groupKey"],
            "one incident: {other:#}"
        );
    }
    // Boots that failed meanwhile joined it: refused, and with the numbers of the image.
    let all: String = told.iter().map(ToString::to_string).collect();
    assert!(all.contains("agent_refused"), "{all}");
    assert!(all.contains("The golden image changed"), "{all}");
    // It closed as confirmed, and says why it was.
    let last = told.last().unwrap().to_string();
    assert!(last.contains("confirmed, 0 of "), "{last}");
    let key = page["groupKey"].as_str().unwrap();
    // A page does not wait for what is shown.
    let mut shown = Value::Null;
    eventually("the incident's end is shown", || {
        let (_, text) = sidecar.get(&format!("/api/v1/incidents/{key}"));
        shown = serde_json::from_str(&text).unwrap();
        !shown["resolved_at"].is_null()
    });
    assert_eq!(shown["diagnosis"]["verdict"], "agent_missing", "{shown:#}");
    assert_eq!(shown["fix"]["standing"], "confirmed", "{shown:#}");
    assert_eq!(shown["fix"]["failed_since"], 0, "{shown:#}");
    let (_, html) = sidecar.get(&format!("/incidents/{key}"));
    for said in [
        "the agent is missing from the golden image",
        "the golden image lacks the agent",
        "Refuted, if ",
        "confirmed, 0 of ",
    ] {
        assert!(html.contains(said), "no {said} in {html}");
    }
    a_failed_boots_page_says_why(&sidecar);
    sidecar.stop().unwrap();
    assert!(pager.so_far().is_empty());
    let report = this_weeks_report(&log);
    for said in [
        "browser VMs: the agent is missing from the golden image (",
        "- fix: confirmed: 0 of ",
    ] {
        assert!(report.contains(said), "no {said} in {report}");
    }
}

fn a_failed_boots_page_says_why(sidecar: &Sidecar) {
    let (_, text) = sidecar.get("/api/v1/boots?outcome=failed&vm_type=browser");
    let boots: Value = serde_json::from_str(&text).unwrap();
    let id = boots["boots"][0]["boot_id"].as_str().unwrap().to_owned();
    let (_, text) = sidecar.get(&format!("/api/v1/boots/{id}"));
    let boot: Value = serde_json::from_str(&text).unwrap();
    let ranked = &boot["diagnosis"]["ranked"][0];
    assert_eq!(ranked["verdict"], "agent_missing", "{boot:#}");
    let speaks = ranked["for"].to_string();
    assert!(speaks.contains("the image alone decides"), "{boot:#}");
    let (_, html) = sidecar.get(&format!("/boots/{id}"));
    assert!(html.contains("By this boot alone"), "{html}");
    assert!(html.contains("no agent is put into the copies"), "{html}");
}

fn this_weeks_report(log: &Path) -> String {
    let config = log.with_file_name("report.toml");
    let text = format!(
        "[host]\nname = \"host-1\"\n[log]\nfile = {:?}\ntimezone = \"UTC\"\n[store]\npath = {:?}\n[report]\ntimezone = \"UTC\"\n",
        log.display().to_string(),
        log.with_extension("db").display().to_string()
    );
    std::fs::write(&config, text).unwrap();
    let week = Week::of(clock::now(), &TimeZone::UTC).to_string();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["report", "--week", &week, "--config"])
        .arg(&config)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_controller_that_stands_still_while_a_boot_waits_is_seen() {
    let (_folder, log) = log();
    let pager = Pager::start();
    let sidecar = Sidecar::start(&log, pager.address, QUICK, Start::default());
    sidecar.wait_until_ready();
    let began = clock::now().plus_ms(-60 * SECOND);
    let lines = |second: i64, is_next: bool| {
        let at = jiff::Timestamp::from_millisecond(began.plus_ms(second * SECOND).0).unwrap();
        let at = at.strftime("%Y-%m-%d %H:%M:%S");
        let attempt = r#"[WAIT-VM-READY] Attempting health check {"module":"browser-auth","vmIP":"192.168.100.9","elapsed":0,"url":"http://192.168.100.9:8080/health"}"#;
        let failed = r#"[WAIT-VM-READY] Health check failed {"module":"browser-auth","vmIP":"192.168.100.9","error":"Request timeout","elapsed":5000}"#;
        match is_next {
            true => format!("{at} [INFO]: {attempt}\n"),
            false => format!("{at} [WARN]: {failed}\n"),
        }
    };
    // Slow checks first, which are none; then eleven seconds between two checks.
    let told: String = [
        (0, true),
        (5, false),
        (7, true),
        (12, false),
        (23, true),
        (28, false),
    ]
    .into_iter()
    .map(|(second, is_next)| lines(second, is_next))
    .collect();
    std::fs::write(&log, told).unwrap();
    eventually("the stall is counted", || {
        sidecar.metric("bootwatch_controller_stalls_total", "") >= 1.0
    });
    assert_eq!(sidecar.metric("bootwatch_controller_stalls_total", ""), 1.0);
    sidecar.stop().unwrap();
}

#[test]
fn a_rows_memory_speaks_in_the_diagnosis() {
    let (folder, log) = log();
    std::fs::write(&log, "").unwrap();
    let database = folder.path().join("controller.db");
    let url = format!("sqlite:{}", database.display());
    let file = folder.path().join("database-url");
    std::fs::write(&file, format!("sqlite://{}", database.display())).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let more = format!(
        "{QUICK}[console]\nenabled = false\n[database]\nurl_file = {:?}\npoll = \"1s\"\n",
        file.display().to_string()
    );
    let mut tables = Tables::create(&Secret::new(url.as_str()), Schema::Production).unwrap();
    // A controller that gives each VM too little.
    write(
        &url,
        "create trigger small after insert on vms begin update vms set memory_mb = 256 where vm_id = new.vm_id; end",
    );
    let pager = Pager::start();
    let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
    sidecar.wait_until_ready();
    let seen = |rows: f64| {
        eventually("the rows are seen", || {
            sidecar.metric("bootwatch_source_up", "database") >= 1.0
                && sidecar.metric("bootwatch_database_vms", "browser") >= rows
        });
    };
    seen(0.0);
    let phase = Phase {
        from: 0,
        rate: 900,
        boots: Some(5),
        lasts: None,
        mix: vec![(1, scenario::row("guest-panic"))],
    };
    let mut plan = Plan::new(5, clock::now().plus_ms(-180 * SECOND))
        .figures(Figures::sample())
        .phase(phase);
    plan.noise = false;
    play(plan, &log, &mut tables, 1e9);
    seen(5.0);
    assert_eq!(pager.next()["status"], "firing");
    eventually("the rows speak for too little memory", || {
        incident_shown(&sidecar).is_some_and(|incident| {
            says(
                &incident,
                "guest_memory",
                "for",
                "less than 512 MB in 5 of 5 failed boots",
            )
        })
    });
    sidecar.stop().unwrap();
}

fn write(url: &str, statement: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        use sqlx::Connection;
        let mut connection = sqlx::SqliteConnection::connect(url).await.unwrap();
        sqlx::query(statement)
            .execute(&mut connection)
            .await
            .unwrap();
    });
}

/// What stands in each VM's directory from the moment that it is made: the copy of an image.
struct Copies {
    users: PathBuf,
    image: PathBuf,
}

impl Face for Copies {
    fn show(&mut self, moment: &Moment) -> io::Result<()> {
        if let Happened::DirectoryMade { vm } = &moment.what {
            let folder = self.users.join(vm.to_string());
            std::fs::create_dir_all(&folder)?;
            std::fs::copy(&self.image, folder.join("rootfs.ext4"))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The open incident about boots, as the API shows it.
fn incident_shown(sidecar: &Sidecar) -> Option<Value> {
    let (_, text) = sidecar.get("/api/v1/incidents");
    let shown: Value = serde_json::from_str(&text).ok()?;
    let open = shown["incidents"].as_array()?.iter();
    open.rev().find(|one| !one["diagnosis"].is_null()).cloned()
}

fn says(incident: &Value, verdict: &str, side: &str, words: &str) -> bool {
    let ranked = incident["diagnosis"]["ranked"].as_array().unwrap();
    ranked
        .iter()
        .filter(|one| one["verdict"] == verdict)
        .any(|one| one[side].to_string().contains(words))
}

#[test]
fn an_injection_that_never_reached_the_copy_is_told_by_the_copy_itself() {
    let tree = Tree::healthy();
    let image = tree.image();
    // What the log calls complete went elsewhere: the image has no agent of its own, and the copy got none.
    for path in [AGENT, WANTS, UNIT] {
        tree.remove(path);
    }
    let copy = tree.image_called("copy", "8M");
    let (folder, log) = log();
    std::fs::write(&log, "").unwrap();
    let users = folder.path().join("users");
    std::fs::create_dir(&users).unwrap();
    let more = format!(
        "{QUICK}[console]\nusers_dir = {:?}\n[image]\npath = {:?}\nquiet = \"1s\"\n",
        users.display().to_string(),
        image.display().to_string()
    );
    let pager = Pager::start();
    let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
    sidecar.wait_until_ready();
    let phase = Phase {
        from: 0,
        rate: 900,
        boots: Some(5),
        lasts: None,
        mix: vec![(1, scenario::row("agent-missing"))],
    };
    let mut plan = Plan::new(5, clock::now())
        .figures(Figures::sample())
        .injection(Injection::AtClone)
        .phase(phase);
    plan.consoles = true;
    plan.noise = false;
    let mut copies = Copies { users, image: copy };
    play(plan, &log, &mut copies, 1e9);
    eventually("the copy speaks for a lost injection", || {
        incident_shown(&sidecar).is_some_and(|incident| {
            incident["diagnosis"]["verdict"] == "injection_lost"
                && says(&incident, "injection_lost", "for", "own copy of the image")
        })
    });
    sidecar.stop().unwrap();
}

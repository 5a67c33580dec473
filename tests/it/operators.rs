//! What operators do to the whole sidecar, through its API and the commands, and over restarts.

use std::path::{Path, PathBuf};
use std::process::Command;

use bootwatch::app::Start;
use serde_json::Value;

use crate::otlp::secure::make_keys;
use crate::run_ends::play;
use crate::sidecar::{Pager, Sidecar, eventually, log};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A file with the token, and what a configuration says of it.
fn with_token(folder: &Path) -> (PathBuf, String) {
    use std::os::unix::fs::PermissionsExt;
    let file = folder.join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let more =
        "[alerts]\nkeep_firing = \"1s\"\ngroup_wait = \"1s\"\n[shutdown]\ndeadline = \"2s\"\n"
            .to_owned();
    (file, more)
}

/// Runs a command against a sidecar: its status, and what it wrote.
fn bootwatch(sidecar: &Sidecar, token: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(arguments)
        .args(["--url", &format!("http://{}", sidecar.address)])
        .arg("--token-file")
        .arg(token)
        .output()
        .unwrap();
    let text = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8(text).unwrap())
}

fn incidents(sidecar: &Sidecar) -> Vec<Value> {
    let (_, text) = sidecar.get("/api/v1/incidents");
    let value: Value = serde_json::from_str(&text).unwrap();
    value["incidents"].as_array().unwrap().clone()
}

fn start(log: &Path, pager: &Pager, token: &Path, more: &str) -> Sidecar {
    let sidecar = Sidecar::start_with_token(log, pager.address, more, token, Start::default());
    sidecar.wait_until_ready();
    sidecar
}

/// Commands of somebody without a name, and without a token.
fn nobody_is_told_what_else_is_wrong(sidecar: &Sidecar, token: &Path) {
    let url = format!("http://{}", sidecar.address);
    let said = |arguments: &[&str], more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootwatch"));
        command.args(arguments).args(["--url", &url]).args(more);
        let done = command.env_remove("USER").env_remove("SUDO_USER").output();
        let done = done.unwrap();
        assert_eq!(done.status.code(), Some(2), "{arguments:?}");
        String::from_utf8(done.stderr).unwrap()
    };
    let token = token.display().to_string();
    let with = ["--token-file", &token];
    let silence = ["silence", "add", "--for", "1h", "--reason", "x"];
    for (arguments, wrong) in [
        (
            &[&silence[..], &["rule=BootFailurRate"]].concat()[..],
            "did you mean",
        ),
        (&["silence", "expire", "99"], "there is no 99"),
        (&["maintenance", "end", "7"], "there is no 7"),
        (&["ack", "zz"], "no open incident begins with zz"),
        (
            &["maintenance", "start", "--for", "1h", "--reason", "x"],
            "",
        ),
    ] {
        let said = said(arguments, &with);
        assert!(said.contains(wrong) && said.contains("--author"), "{said}");
    }
    let silence = [&silence[..], &["vm_type=browser", "--author", "ada"]].concat();
    let said = said(&silence, &["--config", "/nonexistent/bootwatch.toml"]);
    assert!(
        said.starts_with("no token: ") && said.contains("--token-file"),
        "{said}"
    );
}

#[test]
fn a_silence_outlives_a_restart_and_the_page_comes_when_it_is_expired() {
    let (folder, log) = log();
    let (token, more) = with_token(folder.path());
    let pager = Pager::start();
    let first = start(&log, &pager, &token, &more);
    let add = [
        "silence",
        "add",
        "vm_type=browser",
        "--for",
        "2h",
        "--reason",
        "rebuild",
        "--author",
        "ada",
    ];
    let misspelt = add.map(|word| {
        if word == "vm_type=browser" {
            "rule=BootFailurRate"
        } else {
            word
        }
    });
    let (status, said) = bootwatch(&first, &token, &misspelt);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("did you mean \"BootFailureRate\"?"), "{said}");
    let (status, said) = bootwatch(&first, &token, &add);
    let told = said.strip_prefix("1\nsilenced where vm_type=\"browser\", from ");
    assert!(
        status == Some(0) && told.is_some_and(|told| told.contains(" until ")),
        "{said}"
    );
    play(&log, 1, "agent-missing", 3);
    eventually("the alert fires", || {
        first.metric("bootwatch_alerts_firing", "BootFailureRate") >= 1.0
    });
    eventually("the incident is shown as held", || {
        incidents(&first)
            .iter()
            .any(|one| one["held"]["why"] == "silenced" && one["told"] == false)
    });
    assert_eq!(first.metric("bootwatch_silences_active", ""), 1.0);
    play(&log, 2, "agent-missing", 3);
    eventually("more boots have failed", || {
        first.metric("bootwatch_boots_total", "agent_refused") >= 6.0
    });
    first.stop().unwrap();
    assert!(pager.so_far().is_empty(), "it is silenced");

    let second = start(&log, &pager, &token, &more);
    assert_eq!(second.metric("bootwatch_silences_active", ""), 1.0);
    let (status, list) = bootwatch(&second, &token, &["silence", "list"]);
    assert!(
        status == Some(0) && list.contains(" until ") && list.contains("by ada: rebuild"),
        "{list}"
    );
    let as_json = ["silence", "list", "--format", "json"];
    let (status, list) = bootwatch(&second, &token, &as_json);
    assert!(
        status == Some(0) && list.contains("\"reason\": \"rebuild\""),
        "{list}"
    );
    nobody_is_told_what_else_is_wrong(&second, &token);
    let (status, said) = bootwatch(&second, &token, &["ack"]);
    assert!(
        status == Some(0) && said.contains("held back: silenced by 1") && said.contains(" since "),
        "{said}"
    );
    let expire = ["silence", "expire", "1", "--author", "bob"];
    assert_eq!(bootwatch(&second, &token, &expire).0, Some(0));
    let page = pager.next();
    assert_eq!(page["status"], "firing");
    for said in ["silenced by ada", "6 of the last 6 browser boots"] {
        assert!(page.to_string().contains(said), "{page}");
    }

    // Acknowledged by the beginning of its key; over another restart that stays so, and its end arrives.
    let key = incidents(&second)[0]["id"].as_str().unwrap().to_owned();
    let ack = [
        "ack",
        key.get(..8).unwrap(),
        "--author",
        "ada",
        "--note",
        "rolling back",
    ];
    assert_eq!(
        bootwatch(&second, &token, &ack),
        (Some(0), format!("{key}\n"))
    );
    second.stop().unwrap();
    let third = start(&log, &pager, &token, &more);
    assert_eq!(incidents(&third)[0]["acknowledged"]["author"], "ada");
    play(&log, 3, "healthy", 40);
    loop {
        let next = pager.next();
        assert_eq!(next["groupKey"], page["groupKey"]);
        if next["status"] == "resolved" {
            break;
        }
    }
    third.stop().unwrap();
    assert!(pager.so_far().is_empty());
}

#[test]
fn a_marked_fix_is_in_the_message_that_ends_the_incident() {
    let (folder, log) = log();
    let (token, more) = with_token(folder.path());
    let pager = Pager::start();
    let first = start(&log, &pager, &token, &more);
    play(&log, 1, "agent-missing", 3);
    let page = pager.next();
    assert_eq!(page["status"], "firing");
    let why = page["commonAnnotations"]["diagnosis"].as_str().unwrap();
    assert!(why.contains("the agent's files are not in the VM"), "{why}");

    let nothing = ["fix", "mark", " ", "--author", "ada"];
    let (status, refused) = bootwatch(&first, &token, &nothing);
    assert_eq!(status, Some(2), "{refused}");
    assert!(refused.contains("say what was fixed"), "{refused}");
    let mark = ["fix", "mark", "put the old image back", "--author", "ada"];
    assert_eq!(
        bootwatch(&first, &token, &mark),
        (Some(0), "1\n".to_owned())
    );
    first.stop().unwrap();

    // It outlives a restart.
    let second = start(&log, &pager, &token, &more);
    play(&log, 2, "healthy", 40);
    let end = loop {
        let next = pager.next();
        if next["status"] == "resolved" {
            break next;
        }
    };
    let fix = end["commonAnnotations"]["fix"].as_str().unwrap();
    assert!(fix.contains("The fix that ada marked at"), "{fix}");
    assert!(fix.contains("put the old image back"), "{fix}");
    second.stop().unwrap();
}

#[test]
fn boots_of_a_maintenance_page_nobody_and_are_counted() {
    let (folder, log) = log();
    let (token, more) = with_token(folder.path());
    let pager = Pager::start();
    let more = format!(
        "{more}[maintenance]\nwindows = [\"daily 00:00-23:59 UTC rebuild\", \"daily 12:00-11:59 UTC rebuild\"]\n"
    );
    let sidecar = start(&log, &pager, &token, &more);
    play(&log, 1, "agent-missing", 4);
    eventually("the boots are counted", || {
        sidecar.metric("bootwatch_boots_in_maintenance_total", "failed") >= 4.0
    });
    // Under the labels of the boots that the exported rules take them off.
    let (_, text) = sidecar.get("/metrics");
    let refused = |name: &str| {
        format!(
            "{name}{{failure=\"agent_refused\",origin=\"user\",outcome=\"failed\",vm_type=\"browser\"}} 4"
        )
    };
    for name in [
        "bootwatch_boots_total",
        "bootwatch_boots_in_maintenance_total",
    ] {
        assert!(text.lines().any(|line| line == refused(name)), "{text}");
    }
    assert_eq!(sidecar.metric("bootwatch_boots_total", "failed"), 4.0);
    assert_eq!(sidecar.metric("bootwatch_alerts_firing", ""), 0.0);
    assert_eq!(sidecar.metric("bootwatch_maintenance_active", ""), 1.0);
    eventually("the first page sets them apart", || {
        let (_, page) = sidecar.get("/");
        page.contains("4 boots of them under maintenance")
    });
    let (_, page) = sidecar.get("/");
    assert!(!page.contains("of 4</strong> ready"), "{page}");
    let begin = [
        "maintenance",
        "start",
        "--for",
        "1h",
        "--reason",
        "kernel",
        "--author",
        "ada",
    ];
    assert_eq!(
        bootwatch(&sidecar, &token, &begin),
        (Some(0), "1\n".to_owned())
    );
    let end = ["maintenance", "end", "1", "--author", "ada"];
    assert_eq!(bootwatch(&sidecar, &token, &end).0, Some(0));
    assert_eq!(bootwatch(&sidecar, &token, &end).0, Some(1), "it has ended");
    sidecar.stop().unwrap();
    assert!(pager.so_far().is_empty());
}

#[test]
fn boots_of_a_maintenance_before_the_first_start_teach_nothing() {
    let whole_day = "[maintenance]\nwindows = [\"daily 00:00-23:59 UTC rebuild\", \"daily 12:00-11:59 UTC rebuild\"]\n";
    for (more, boots) in [(whole_day, 0), ("", 4)] {
        let (_folder, log) = log();
        play(&log, 1, "agent-missing", 4);
        let sidecar = Sidecar::start_unheard(&log, more, Start::default());
        eventually("the log's boots are read", || {
            let (_, boots) = sidecar.get("/api/v1/boots");
            boots.matches("\"agent_refused\"").count() >= 4
        });
        let (_, state) = sidecar.get("/api/v1/state");
        let state: Value = serde_json::from_str(&state).unwrap();
        let browser = &state["kinds"][0];
        assert_eq!(browser["vm_type"], "browser", "{state}");
        assert_eq!(browser["budget"]["boots"], boots, "{state}");
        sidecar.stop().unwrap();
    }
}

#[test]
fn who_has_no_token_changes_nothing() {
    let (folder, log) = log();
    let (token, more) = with_token(folder.path());
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "another-token-of-its-own\n").unwrap();
    let pager = Pager::start();
    let sidecar = start(&log, &pager, &token, &more);
    let add = [
        "silence",
        "add",
        "vm_type=browser",
        "--for",
        "2h",
        "--reason",
        "x",
        "--author",
        "eve",
    ];
    let (status, said) = bootwatch(&sidecar, &wrong, &add);
    assert!(
        status == Some(1) && said.contains("refused (401)"),
        "{said}"
    );
    let empty = [
        "silence",
        "add",
        "vm_type!=x",
        "--for",
        "2h",
        "--reason",
        "x",
        "--author",
        "ada",
    ];
    let (status, said) = bootwatch(&sidecar, &token, &empty);
    assert!(
        status == Some(2) && said.contains("silences everything"),
        "{said}"
    );
    let (_, list) = sidecar.get("/api/v1/silences");
    assert_eq!(list, "{\"silences\":[]}\n");
    sidecar.stop().unwrap();
}

#[test]
fn where_there_are_users_a_list_shows_the_token_too_and_without_one_it_is_said_what_to_name() {
    let (folder, log) = log();
    let (token, more) = with_token(folder.path());
    let users = folder.path().join("web.yml");
    let hash = bcrypt::hash("secret", 4).unwrap();
    std::fs::write(&users, format!("basic_auth_users:\n  ada: {hash}\n")).unwrap();
    let web = format!("token_file = {token:?}\nconfig_file = {users:?}\n");
    let pager = Pager::start();
    let sidecar = Sidecar::start_with(&log, pager.address, &web, &more, Start::default());
    for list in [
        &["silence", "list"][..],
        &["maintenance", "list"],
        &["synthetic", "list"],
        &["ack"],
    ] {
        let (status, said) = bootwatch(&sidecar, &token, list);
        assert_eq!(status, Some(0), "{list:?}: {said}");
    }
    let url = format!("http://{}", sidecar.address);
    let done = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["silence", "list", "--url", &url])
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(
        said.contains("refused (401)") && said.contains("--token-file"),
        "{said}"
    );
    sidecar.stop().unwrap();
}

#[test]
fn where_the_web_has_tls_the_commands_speak_it_and_say_what_else_to_name() {
    let (folder, log) = log();
    let (token, more) = with_token(folder.path());
    let at = |name: &str| folder.path().join(name);
    make_keys(folder.path());
    std::fs::write(
        at("web.yml"),
        "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n",
    )
    .unwrap();
    let web = format!(
        "token_file = {token:?}\nconfig_file = {:?}\n",
        at("web.yml")
    );
    let pager = Pager::start();
    let sidecar = Sidecar::start_with(&log, pager.address, &web, &more, Start::default());
    let address = sidecar.address;
    let config = format!(
        "[host]\nname = \"host-1\"\n[log]\nfile = {log:?}\n[web]\nlisten = \"{address}\"\n{web}"
    );
    std::fs::write(at("bootwatch.toml"), config).unwrap();
    let ask = |more: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
            .args(["silence", "list", "--config"])
            .arg(at("bootwatch.toml"))
            .args(more)
            .output()
            .unwrap();
        let text = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8(text).unwrap())
    };
    let authority = at("server.pem").display().to_string();
    let (status, said) = ask(&["--ca-file", &authority]);
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = ask(&[]);
    assert_ne!(status, Some(0), "nobody vouches for it");
    assert!(said.contains("--ca-file"), "{said}");
    let (status, said) = ask(&["--url", &format!("http://{address}")]);
    assert_ne!(status, Some(0), "{said}");
    assert!(said.contains("https://"), "{said}");
    for bare in [address.to_string(), format!("localhost:{}", address.port())] {
        let remedy = format!("--url {bare}: write http:// or https:// before it\n");
        assert_eq!(ask(&["--url", &bare]), (Some(2), remedy));
    }
    sidecar.stop().unwrap();
}

#[test]
fn a_drill_is_a_whole_incident_that_says_that_it_is_none() {
    let (folder, _) = log();
    let pager = Pager::start();
    let config = folder.path().join("bootwatch.toml");
    let text = format!(
        "[host]\nname = \"host-1\"\n[log]\nfile = \"/tmp/none.log\"\n[notify.oncall]\ntype = \"webhook\"\nurl = \"http://{}/page\"\n",
        pager.address
    );
    std::fs::write(&config, text).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["notify", "drill", "--pause", "0", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stdout)
    );
    let told: Vec<Value> = (0..3).map(|_| pager.next()).collect();
    let statuses: Vec<&Value> = told.iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, ["firing", "firing", "resolved"]);
    for one in &told {
        assert!(one["groupKey"].as_str().unwrap().starts_with("drill-"));
        assert_eq!(one["groupKey"], told[0]["groupKey"]);
        for alert in one["alerts"].as_array().unwrap() {
            assert_eq!(alert["labels"]["drill"], "true");
            let summary = alert["annotations"]["summary"].as_str().unwrap();
            assert!(summary.starts_with("[DRILL] "), "{summary}");
        }
    }
}

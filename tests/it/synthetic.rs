//! Synthetic boots from end to end: the built program against a simulated controller's real interface.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod journal;
mod killed;
mod world;

use bootwatch::simulator::{Habit, Version};
use serde_json::Value;

use world::{ACCOUNT, Program, World};

/// One run from the wish to the proof that nothing is left.
fn played(version: Version, habit: Habit, scenario: &str) -> (World, Value) {
    played_for(60_000, version, habit, scenario)
}

/// The controller keeps VMs for so long whose user does not log in, in its milliseconds.
fn played_for(oauth_limit: i64, version: Version, habit: Habit, scenario: &str) -> (World, Value) {
    let world = World::start(version, habit, scenario, oauth_limit);
    let mut program = world.program("one", ACCOUNT);
    program.wants_a_run();
    let run = program.eventually("the run is over", |view| {
        let over = view["running"].is_null() && !view["runs"][0].is_null();
        over.then(|| view["runs"][0].clone())
    });
    (world, run)
}

fn milliseconds(run: &Value, key: &str) -> i64 {
    let text = run[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} in {run}"));
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// The phases leave no gap from the wish to the end.
fn sums_up(run: &Value) {
    let phases = run["phases"].as_object().unwrap();
    let sum: f64 = phases.values().map(|took| took.as_f64().unwrap()).sum();
    let whole = milliseconds(run, "cleaned_up_at") - milliseconds(run, "started_at");
    let whole = whole as f64 / 1_000.0;
    assert!((sum - whole).abs() <= 0.005, "{sum} of {whole}: {run}");
}

#[test]
fn one_that_is_made_by_hand_is_waited_for_and_told_in_words_or_as_json() {
    let world = World::start(Version::Oct, Habit::Usual, "healthy", 60_000);
    let mut program = world.program("one", ACCOUNT);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let done = program.runs_by_hand(&[]);
    let (said, beside) = (text(&done.stdout), text(&done.stderr));
    assert!(done.status.success(), "{said}{beside}");
    assert!(said.contains(" UTC  passed, took "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(beside.contains("waits for its verdict"), "{beside}");
    let done = program.runs_by_hand(&["--format", "json"]);
    let run: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(run["result"], "passed", "{run}");
}

fn passes(version: Version, habit: Habit) -> (World, Value) {
    let (world, run) = played(version, habit, "healthy");
    assert_eq!(run["result"], "passed", "{run}");
    assert_eq!(run["cleaned_up"], true, "{run}");
    assert_eq!(run["answerer"], "agent", "{run}");
    assert!(run["clock_skew_seconds"].as_f64().unwrap().abs() < 5.0);
    let phases = [
        "request",
        "created",
        "agent",
        "vnc",
        "session_fields",
        "cleanup",
    ];
    for phase in phases {
        assert!(run["phases"][phase].is_number(), "{phase}: {run}");
    }
    sums_up(&run);
    assert_eq!(world.standing(ACCOUNT, &[]), Vec::<String>::new());
    (world, run)
}

#[test]
fn octobers_controller_answers_with_the_vm_and_the_boot_passes() {
    passes(Version::Oct, Habit::Usual);
}

#[test]
fn decembers_controller_works_in_the_background_and_the_boot_passes() {
    let (world, run) = passes(Version::Dec, Habit::Usual);
    assert!(run["vm_id"].is_string());
    drop(world);
}

#[test]
fn a_slow_interface_is_waited_for() {
    passes(Version::Oct, Habit::Slow(4_000));
}

#[test]
fn a_cancellation_that_destroys_nothing_is_tried_again_and_judged_by_what_is_there() {
    let (world, run) = passes(Version::Oct, Habit::CancelsNothing);
    assert!(!world.cancelled().is_empty());
    drop(run);
}

/// What only a look of our own can tell: the controller calls each of these ready.
fn fails_by_our_own_look(version: Version, scenario: &str, found: [&str; 3]) {
    let (world, run) = played_for(900_000, version, Habit::Usual, scenario);
    let [failure, phase, why] = found;
    assert_eq!(run["result"], "failed", "{run}");
    assert_eq!(run["failure"], failure, "{run}");
    assert_eq!(run["stopped_in"], phase, "{run}");
    assert!(run["reason"].as_str().unwrap().contains(why), "{run}");
    assert_eq!(run["cleaned_up"], true, "{run}");
    assert_eq!(world.standing(ACCOUNT, &[]), Vec::<String>::new());
}

#[test]
fn a_placeholder_that_answers_200_is_no_ready_vm() {
    let found = ["agent_unhealthy", "agent", "placeholder"];
    fails_by_our_own_look(Version::Oct, "placeholder-agent", found);
}

#[test]
fn a_guest_with_another_time_is_no_ready_vm() {
    let found = ["unknown", "agent", "clock is +600."];
    fails_by_our_own_look(Version::Dec, "clock-ahead", found);
}

/// October's controller does not wait for VNC.
#[test]
fn a_vm_without_a_display_is_no_ready_vm_where_one_is_required() {
    let found = ["vnc_not_ready", "vnc", "VNC does not answer"];
    fails_by_our_own_look(Version::Oct, "vnc-missing", found);
}

/// The controller's answers name the VM; its row, which is what users are shown, does not.
#[test]
fn a_session_whose_row_stays_empty_fails_in_that_phase() {
    for version in [Version::Oct, Version::Dec] {
        let (world, run) = played(version, Habit::EmptyFields, "healthy");
        assert_eq!(run["result"], "failed", "{run}");
        assert_eq!(run["stopped_in"], "session_fields", "{run}");
        assert_eq!(run["reason"], "the session's VM fields stay empty");
        assert_eq!(run["cleaned_up"], true, "{run}");
        assert_eq!(world.standing(ACCOUNT, &[]), Vec::<String>::new());
    }
}

#[test]
fn a_limiter_with_few_requests_left_is_left_to_the_users() {
    let (world, run) = played(Version::Oct, Habit::Limited(12, 600_000), "healthy");
    assert_eq!(
        (&run["result"], &run["reason"]),
        (&"skipped".into(), &"limited".into()),
        "{run}"
    );
    assert!(world.sessions(ACCOUNT).is_empty());
}

#[test]
fn an_error_of_the_controller_is_a_failed_boot_without_a_vm() {
    let (world, run) = played(Version::Oct, Habit::Broken, "healthy");
    assert_eq!(
        (&run["result"], &run["failure"]),
        (&"failed".into(), &"not_started".into()),
        "{run}"
    );
    assert_eq!(run["cleaned_up"], true, "{run}");
    assert!(world.cancelled().is_empty());
}

/// Where it leads (203.0.113.77, documentation's) is no controller's, and is not asked.
#[test]
fn a_redirect_on_start_is_not_followed_but_counted_and_reported_and_blames_no_vm() {
    let world = World::start(Version::Oct, Habit::RedirectsStart, "healthy", 60_000);
    let mut program = world.program("one", ACCOUNT);
    program.wants_a_run();
    let run = program.eventually("the run is over", |view| {
        let over = view["running"].is_null() && !view["runs"][0].is_null();
        over.then(|| view["runs"][0].clone())
    });
    assert_eq!(run["result"], "errored", "{run}");
    assert_eq!(
        run["reason"],
        "the controller's answer is a redirect to http://203.0.113.77/login, which is not followed"
    );
    assert_eq!(run["addresses_refused"], 1, "{run}");
    assert_eq!(run["cleaned_up"], true, "{run}");
    assert!(run["failure"].is_null() && run["session_id"].is_null());
    // Sent once, and nothing came of it.
    let asked = world.log().matches("/api/auth/start?bootwatch=").count();
    assert_eq!(asked, 1);
    assert!(world.sessions(ACCOUNT).is_empty());
    assert!(world.cancelled().is_empty());
    let text = program.metrics();
    for count in [
        "bootwatch_synthetic_addresses_refused_total 1",
        "bootwatch_synthetic_runs_total{result=\"errored\"} 1",
        "bootwatch_synthetic_runs_total{result=\"failed\"} 0",
    ] {
        assert!(text.contains(count), "{count}: {text}");
    }
    let said = "what answers at synthetic.controller redirects; no redirect is followed";
    assert!(program.errors().contains(said), "{}", program.errors());
}

#[test]
fn an_agent_that_is_missing_fails_the_boot_and_says_where_it_stopped() {
    for version in [Version::Oct, Version::Dec] {
        let (world, run) = played(version, Habit::Usual, "agent-missing");
        assert_eq!(run["result"], "failed", "{run}");
        assert_eq!(run["failure"], "agent_refused", "{run}");
        assert_eq!(run["stopped_in"], "agent", "{run}");
        assert_eq!(run["cleaned_up"], true, "{run}");
        assert_eq!(world.standing(ACCOUNT, &[]), Vec::<String>::new());
    }
}

#[test]
fn a_user_that_the_controller_does_not_know_is_our_own_mistake() {
    let world = World::start(Version::Oct, Habit::Usual, "healthy", 60_000);
    let mut program = world.program("one", "5e1f0000-0000-4000-8000-00000000dead");
    program.wants_a_run();
    let run = program.eventually("the run is over", |view| {
        (!view["runs"][0].is_null()).then(|| view["runs"][0].clone())
    });
    assert_eq!(run["result"], "errored", "{run}");
    assert_eq!(run["cleaned_up"], true, "{run}");
    let text = program.metrics();
    let count = "bootwatch_synthetic_runs_total{result=\"errored\"} 1";
    assert!(text.contains(count), "{text}");
}

/// The address is documentation's (203.0.113.77): a probe of it would leave this machine, and there is none.
#[test]
fn an_address_outside_the_networks_is_reported_counted_and_never_contacted() {
    let world = World::start(Version::Oct, Habit::NamesForeignAddress, "healthy", 60_000);
    let mut program = world.program("one", ACCOUNT);
    program.wants_a_run();
    let run = program.eventually("the run is over", |view| {
        let over = view["running"].is_null() && !view["runs"][0].is_null();
        over.then(|| view["runs"][0].clone())
    });
    assert_eq!(run["result"], "errored", "{run}");
    assert!(
        run["reason"].as_str().unwrap().contains("203.0.113.77"),
        "{run}"
    );
    assert!(run["addresses_refused"].as_u64().unwrap() >= 1, "{run}");
    assert_eq!(run["cleaned_up"], true, "{run}");
    let text = program.metrics();
    assert!(
        text.contains("bootwatch_synthetic_addresses_refused_total 1"),
        "{text}"
    );
}

#[test]
fn synthetic_boots_are_no_users_and_users_no_synthetic_ones() {
    let world = World::start(Version::Oct, Habit::Usual, "healthy", 60_000);
    let mut program = world.program("one", ACCOUNT);
    let foreign = world.boots(world::OTHER);
    program.wants_a_run();
    let counted = |text: &str, origin: &str| {
        let series = format!(
            "bootwatch_boots_total{{failure=\"none\",origin=\"{origin}\",outcome=\"ready\",vm_type=\"browser\"}} 1"
        );
        text.contains(&series)
    };
    program.eventually("both are counted", |_| None::<()>.or(Some(())));
    world::eventually("both are counted", || {
        let text = program.metrics();
        counted(&text, "user") && counted(&text, "synthetic")
    });
    assert!(!world.cancelled().contains(&foreign));
}

#[test]
fn nobody_without_the_token_begins_a_run_and_the_guards_hold_for_those_who_have_it() {
    let world = World::start(Version::Oct, Habit::Usual, "healthy", 3_600_000);
    let program = world.program("one", ACCOUNT);
    assert_eq!(program.ask_with("wrong-token-of-sixteen").0, 401);
    // Two browser VMs of users run already.
    let users = [world.boots(world::OTHER), world.boots(world::OTHER)];
    program.eventually("the slots are taken", |view| {
        (view["blocked_by"] == "slots").then_some(())
    });
    let (status, body) = program.ask_with(world::TOKEN);
    assert_eq!((status, &body["error"]), (409, &"not now: slots".into()));
    assert_eq!(world.sessions(ACCOUNT).len(), 0);
    assert!(
        users
            .iter()
            .all(|session| !world.cancelled().contains(session))
    );
}

/// A creation that fails is cleaned up by the controller without a word of a destruction: the next run is free.
#[test]
fn a_creation_that_fails_is_a_failed_boot_of_its_class_and_the_next_run_follows() {
    for (scenario, failure) in [
        ("clone-fails", "snapshot_clone_failed"),
        ("tap-fails", "tap_failed"),
    ] {
        for version in [Version::Oct, Version::Dec] {
            let world = World::start(version, Habit::Usual, scenario, 60_000);
            let mut program = world.program("one", ACCOUNT);
            for runs in 1..=2 {
                program.wants_a_run();
                let run = program.eventually("the run is over", |view| {
                    let over = view["running"].is_null()
                        && view["runs"].as_array().is_some_and(|all| all.len() == runs);
                    over.then(|| view["runs"][0].clone())
                });
                assert_eq!(run["result"], "failed", "{run}");
                assert_eq!(run["failure"], failure, "{run}");
                assert_eq!(run["cleaned_up"], true, "{run}");
            }
            assert_eq!(world.standing(ACCOUNT, &[]), Vec::<String>::new());
            told_a_page_at_a_time(&program);
        }
    }
}

/// Both runs, one after the other, and what was skipped beside them.
fn told_a_page_at_a_time(program: &Program) {
    let all = program.eventually("the journal has both", |view| {
        let runs = view["runs"].as_array()?;
        (view["next"].is_null() && runs.len() >= 2).then(|| runs.clone())
    });
    let mut told = Vec::new();
    let mut query = "?limit=1".to_owned();
    loop {
        let page = program.view_of(&query);
        told.extend(page["runs"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else {
            break;
        };
        query = format!("?limit=1&cursor={next}");
    }
    let begun = |runs: &[Value]| -> Vec<Value> {
        runs.iter().map(|run| run["started_at"].clone()).collect()
    };
    assert_eq!(begun(&told), begun(&all));
    assert_eq!(told[1]["cleaned_up"], true, "{told:?}");
}

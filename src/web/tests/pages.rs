//! The pages in bytes: tags, events, forms, and what is answered where nothing is known.

use super::super::model::{BootFull, BootLine, EndedBoot, KindNow, MOST_FLYING};
use super::*;
use crate::core::alert::{Digest, Incident};
use crate::core::desk::{Standing, View};
use crate::core::event::{Failure, Origin, Outcome, Timestamp, VmType};
use crate::core::finding::FindingKind;
use crate::core::inventory::Addresses;
use crate::core::state::{Source, Weight};
use crate::core::window::Count;

const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

async fn send_form(server: &Server, path: &str, head: &str, body: &str) -> String {
    let mut stream = connect(server.address).await;
    let length = body.len();
    let text = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{head}\r\n{body}"
    );
    send(&mut stream, &text).await;
    read_all(&mut stream).await
}

#[tokio::test]
async fn the_first_page_is_grey_while_nobody_has_looked() {
    let server = start(Limits::default(), two_lines()).await;
    let answer = ask(&server, "GET", "/").await;
    assert!(answer.contains("class=\"state s-unknown\""), "{answer}");
    assert!(answer.contains("does not look any more"), "{answer}");
    assert!(answer.contains("The store cannot be read: there is no store"));
    let answer = ask(&server, "GET", "/api/v1/state").await;
    assert!(answer.contains("\"state\":\"unknown\""), "{answer}");
}

#[tokio::test]
async fn a_look_that_grows_old_turns_the_page_grey_by_itself() {
    let now = crate::clock::now();
    let live = |at: Timestamp| Live {
        at: Some(at),
        sources: vec![Source {
            name: "log".to_owned(),
            weight: Weight::Decides,
            every_ms: 5_000,
            seen_at: Some(at),
            newest_at: None,
            note: String::new(),
        }],
        last_boot: Some(at),
        ..Live::default()
    };
    // A minute ahead is fresh for as long as this test runs; a minute ago is old.
    for (at, state) in [
        (now.plus_ms(60_000), "ok"),
        (now.plus_ms(-60_000), "unknown"),
    ] {
        let mut faces = faces(
            two_lines(),
            watch::channel(Readiness::ready()).1,
            operators(None).0,
        );
        faces.live = watch::channel(Arc::new(live(at))).1;
        let server = start_with(Limits::default(), faces).await;
        let answer = ask(&server, "GET", "/").await;
        assert!(
            answer.contains(&format!("class=\"state s-{state}\"")),
            "{answer}"
        );
        // In words as well, also for who sees the tab alone.
        let (word, log) = match state {
            "ok" => ("OK", "seen"),
            _ => ("Unknown", "not seen"),
        };
        assert!(answer.contains(&format!("<title>{word} · controller")));
        assert!(answer.contains(&format!(">{log}</span>")), "{answer}");
    }
}

#[tokio::test]
async fn before_the_first_boot_nothing_is_said_of_a_day_that_nobody_watched() {
    let now = crate::clock::now();
    let live = |last_boot| Live {
        at: Some(now.plus_ms(60_000)),
        last_boot,
        ..Live::default()
    };
    let page = page_of(live(None), "/").await;
    assert!(page.contains("no boot was seen to end yet"), "{page}");
    let long_ago = now.plus_ms(-2 * 86_400_000);
    let page = page_of(live(Some(long_ago)), "/").await;
    assert!(
        page.contains("no boot ended in the last 24 hours"),
        "{page}"
    );
}

#[tokio::test]
async fn forty_ghosts_are_one_line_that_names_them() {
    let live = Live {
        findings: vec![FindingLine {
            kind: FindingKind::Ghost,
            text: "nobody <is> there".to_owned(),
            count: 40,
            whom: vec!["vm-1".to_owned(), "vm-2".to_owned()],
        }],
        ..Live::default()
    };
    let answer = page_of(live.clone(), "/system").await;
    let line = "<strong>40 × </strong>ghost: nobody &lt;is&gt; there";
    assert!(answer.contains(line), "{answer}");
    let whom = "<code>vm-1</code>, <code>vm-2</code> and 38 more";
    assert!(answer.contains(whom), "{answer}");
    let answer = page_of(live, "/api/v1/system").await;
    assert!(answer.contains("\"count\":40"), "{answer}");
}

async fn page_of(live: Live, path: &str) -> String {
    let mut faces = faces(
        two_lines(),
        watch::channel(Readiness::ready()).1,
        operators(None).0,
    );
    faces.live = watch::channel(Arc::new(live)).1;
    let server = start_with(Limits::default(), faces).await;
    ask(&server, "GET", path).await
}

#[tokio::test]
async fn the_pool_is_told_with_each_number_at_its_word() {
    let live = Live {
        addresses: Some(Addresses {
            used: 10,
            ghost: 40,
            free: 203,
        }),
        ..Live::default()
    };
    let answer = page_of(live, "/system").await;
    let told = "The controller's pool: 10 in use, 203 free, 40 held by ghosts.";
    assert!(answer.contains(told), "{answer}");
}

/// A boot that has not ended.
fn begun(started_at: Timestamp) -> BootLine {
    BootLine {
        boot_id: "b-1".to_owned(),
        vm: Some("vm-<1>".to_owned()),
        session: None,
        vm_type: VmType::Browser,
        origin: Origin::User,
        outcome: None,
        failure: None,
        failed_stage: None,
        started_at,
        ended_at: None,
        ready_ms: None,
        image: None,
    }
}

#[tokio::test]
async fn a_boot_that_ended_a_moment_ago_is_told_whole_before_the_store_has_it() {
    let now = crate::clock::now();
    let ended = BootFull {
        line: BootLine {
            outcome: Some(Outcome::Failed),
            failure: Some(Failure::AgentRefused),
            ended_at: Some(now),
            ..begun(now.plus_ms(-90_000))
        },
        ip: None,
        stages: Vec::new(),
        attempts: Vec::new(),
        ladder: Vec::new(),
        limits: None,
        injected: false,
        error: None,
        evidence: vec!["a line <of> trouble".to_owned()],
        marks: Vec::new(),
        console: Vec::new(),
        maintenance: false,
        build: None,
        diagnosis: None,
    };
    let live = Live {
        at: Some(now),
        ended: Arc::new([Arc::new(EndedBoot::new(ended.line.clone(), || ended))]),
        ..Live::default()
    };
    let page = page_of(live.clone(), "/boots/b-1").await;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("<strong>agent_refused</strong>"), "{page}");
    assert!(page.contains("a line &lt;of&gt; trouble"), "{page}");
    let json = page_of(live, "/api/v1/boots/b-1").await;
    assert!(json.contains("\"failure\":\"agent_refused\""), "{json}");
}

#[tokio::test]
async fn a_boot_in_flight_has_its_page_and_says_that_it_is() {
    let now = crate::clock::now();
    let line = begun(now.plus_ms(-90_000));
    let live = Live {
        at: Some(now),
        flying: vec![line],
        ..Live::default()
    };
    let page = page_of(live, "/boots/b-1").await;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(
        page.contains("Browser boot <code>vm-&lt;1&gt;</code>"),
        "{page}"
    );
    assert!(page.contains("in progress</span> for 1 min 30 s"), "{page}");
    assert!(page.contains("<div id=\"boot\" data-live>"), "{page}");
}

/// A row may tell of a boot that the log does not, and of our own boots none is a user's.
#[tokio::test]
async fn what_is_in_flight_is_told_whoever_tells_of_it() {
    let now = crate::clock::now();
    let of_users = |in_flight| {
        vec![KindNow {
            vm_type: VmType::Browser,
            in_flight,
            overdue: 0,
            budget: Count::default(),
            tolerated: 0.05,
        }]
    };
    let ours = BootLine {
        origin: Origin::Synthetic,
        ..begun(now)
    };
    let none = "No boot is in flight.";
    for (kinds, flying, said, unsaid) in [
        (of_users(0), vec![], none, "of which only"),
        (
            of_users(1),
            vec![],
            "1 boot, of which only the database tells.",
            none,
        ),
        (of_users(0), vec![ours.clone()], "vm-&lt;1", none),
        (of_users(1), vec![begun(now)], "vm-&lt;1", "more</p>"),
        (of_users(2), vec![ours, begun(now)], "and 1 more</p>", none),
    ] {
        let live = Live {
            at: Some(now),
            kinds,
            flying,
            ..Live::default()
        };
        let page = page_of(live, "/").await;
        let (_, card) = page.split_once("h-flying\">").unwrap();
        let (card, _) = card.split_once("</section>").unwrap();
        assert!(
            card.contains(said) && !card.contains(unsaid),
            "{said}: {card}"
        );
    }
}

/// A message that stands for many is no incident: its own are there, or over.
#[tokio::test]
async fn a_digest_is_shown_in_its_own_words_and_judges_nothing() {
    let now = crate::clock::now();
    let digest = Digest {
        firing: 2,
        resolved: 1,
        ..Digest::default()
    };
    let view = View {
        incidents: vec![Standing {
            incident: Incident::test("controller-1", now, false).for_many("storm-1".to_owned()),
            acknowledged: None,
            held: None,
            is_told: true,
            digest: Some(digest),
        }],
        ..View::default()
    };
    let mut faces = faces(
        two_lines(),
        watch::channel(Readiness::ready()).1,
        operators(None).0,
    );
    faces.operators.view = watch::channel(Arc::new(view)).1;
    faces.live = watch::channel(Arc::new(Live {
        at: Some(now),
        last_boot: Some(now),
        ..Live::default()
    }))
    .1;
    let server = start_with(Limits::default(), faces).await;
    let page = ask(&server, "GET", "/").await;
    let (head, list) = page.split_once("id=\"h-incidents\"").unwrap();
    assert!(head.contains("VMs boot as they should."), "{head}");
    assert!(
        list.contains("href=\"/incidents/storm-1\">2 at once</a>"),
        "{list}"
    );
    let state = ask(&server, "GET", "/api/v1/state").await;
    assert!(state.contains("\"state\":\"ok\""), "{state}");
    let listed = ask(&server, "GET", "/api/v1/incidents").await;
    let digest = "\"digest\":{\"firing\":2,\"resolved\":1}";
    assert!(listed.contains(digest), "{listed}");
}

/// Of very many in flight not all have a line, and the list says so.
#[tokio::test]
async fn the_list_of_boots_says_how_many_in_flight_it_leaves_out() {
    let now = crate::clock::now();
    let of = |vm_type, in_flight| KindNow {
        vm_type,
        in_flight,
        overdue: 0,
        budget: Count::default(),
        tolerated: 0.05,
    };
    let live = |listed: usize| Live {
        at: Some(now),
        kinds: vec![of(VmType::Browser, 4_990), of(VmType::Cli, 10)],
        flying: vec![begun(now); listed],
        ..Live::default()
    };
    let more = "and 4,940 more in flight, which began later";
    for (path, listed, said) in [
        (
            "/boots?outcome=in_progress",
            MOST_FLYING,
            "and 4,950 more in flight",
        ),
        (
            "/boots?outcome=in_progress&vm_type=browser",
            MOST_FLYING,
            more,
        ),
        (
            "/boots?outcome=in_progress&vm_type=cli",
            MOST_FLYING,
            "and 10 more in flight",
        ),
        (
            "/boots?outcome=in_progress&origin=synthetic",
            MOST_FLYING,
            "No boot fits.",
        ),
        ("/boots?outcome=in_progress", MOST_FLYING - 1, "in progress"),
    ] {
        let page = page_of(live(listed), path).await;
        assert!(page.contains(said), "{path}: {page}");
        let leaves_out = page.contains("more in flight");
        assert_eq!(
            leaves_out,
            said.contains("more in flight"),
            "{path}: {page}"
        );
    }
}

#[tokio::test]
async fn a_page_that_the_client_has_is_not_sent_again() {
    let server = start(Limits::default(), two_lines()).await;
    let answer = ask(&server, "GET", "/reports/none").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let answer = ask(&server, "GET", "/alerts").await;
    let tag = answer
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .unwrap()
        .to_owned();
    let mut stream = connect(server.address).await;
    let request = format!(
        "GET /alerts HTTP/1.1\r\nhost: x\r\nconnection: close\r\nif-none-match: {tag}\r\n\r\n"
    );
    send(&mut stream, &request).await;
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 304 "), "{answer}");
    assert!(answer.contains("content-security-policy: "), "{answer}");
}

#[tokio::test]
async fn events_begin_at_once_and_end_with_the_server() {
    let server = start(Limits::default(), two_lines()).await;
    let mut stream = connect(server.address).await;
    send(&mut stream, "GET /events HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut text = String::new();
    let mut buffer = [0; 1024];
    while !text.contains("event: changed") {
        let read = soon(stream.read(&mut buffer)).await.unwrap();
        assert!(read > 0, "{text}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    assert!(text.contains("content-type: text/event-stream"), "{text}");
    // A proxy that gathers answers passes it on all the same.
    assert!(text.contains("x-accel-buffering: no"), "{text}");
    server.stop.cancel();
    soon(server.serving).await.unwrap();
}

#[tokio::test]
async fn there_are_places_left_while_many_pages_follow() {
    let server = start(Limits::default(), two_lines()).await;
    let mut following = Vec::new();
    let mut buffer = [0; 4096];
    for _ in 0..events::MOST {
        let mut stream = connect(server.address).await;
        send(&mut stream, "GET /events HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(soon(stream.read(&mut buffer)).await.unwrap() > 0);
        following.push(stream);
    }
    let answer = ask(&server, "GET", "/events").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let answer = ask(&server, "GET", "/alerts").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_form_needs_the_token_and_must_come_from_here() {
    let server = start(Limits::default(), two_lines()).await;
    let body = "token=0123456789abcdef&author=ada&reason=why&matchers=rule%3Dx&expires_in=2h";
    let json = "content-type: application/json\r\n";
    let foreign = format!("{FORM}origin: http://evil\r\n");
    for (head, status, says) in [
        (FORM.to_owned(), 403, "No token is configured"),
        (json.to_owned(), 415, "takes a form"),
        (foreign, 403, "from another page"),
    ] {
        let answer = send_form(&server, "/alerts/silence", &head, body).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains(says), "{answer}");
    }
    let answer = ask(&server, "GET", "/alerts/silence").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

/// Runs as the one that makes them shows them.
fn runs() -> serde_json::Value {
    let run = |result: &str, more: serde_json::Value| {
        let mut run = serde_json::json!({
            "started_at": "2025-10-18T01:52:07Z", "result": result, "failure": null, "reason": null,
            "stopped_in": null, "total_seconds": 38.25, "cleaned_up": true,
        });
        for (key, value) in more.as_object().unwrap() {
            run[key] = value.clone();
        }
        run
    };
    let mut runs = vec![
        run(
            "skipped",
            serde_json::json!({ "reason": "slots", "total_seconds": null }),
        ),
        run(
            "failed",
            serde_json::json!({ "failure": "agent_refused", "stopped_in": "agent_start", "cleaned_up": false }),
        ),
        run("errored", serde_json::json!({ "reason": "<b>odd</b>" })),
    ];
    runs.extend((0..7).map(|_| run("passed", serde_json::json!({}))));
    serde_json::json!({
        "enabled": true, "next_run_at": "2025-10-18T02:52:07Z", "blocked_by": "maintenance", "running": null,
        "runs": runs,
    })
}

/// One whose bootwatch has made [`runs`].
async fn with_runs() -> Server {
    let mut operators = operators(None).0;
    operators.synthetic.view = watch::channel(Arc::new(runs())).1;
    let faces = faces(two_lines(), watch::channel(Readiness::ready()).1, operators);
    start_with(Limits::default(), faces).await
}

#[tokio::test]
async fn the_latest_synthetic_boots_are_told_without_a_store_and_older_ones_are_not() {
    let server = with_runs().await;
    let answer = ask(&server, "GET", "/api/v1/synthetic?limit=5").await;
    assert!(answer.contains("\"next\":null") && answer.contains("\"agent_refused\""));
    let answer = ask(&server, "GET", "/api/v1/synthetic?cursor=1760752327000.1").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let server = start(Limits::default(), two_lines()).await;
    let answer = ask(&server, "GET", "/api/v1/synthetic").await;
    assert!(answer.ends_with("{\"enabled\":false}\n"), "{answer}");
}

#[tokio::test]
async fn synthetic_boots_are_shown_by_result_and_what_was_not_begun_says_nothing_of_vms() {
    let server = with_runs().await;
    let now = ask(&server, "GET", "/").await;
    // 7 passed and 1 failed; Wilson of 7 of 8.
    assert!(
        now.contains("<strong>87.5 %</strong> ready: 7 of 8"),
        "{now}"
    );
    assert!(now.contains("52.9 % to 97.8 %"), "{now}");
    assert!(now.contains("agent refused") && now.contains("Held back now: maintenance"));
    let system = ask(&server, "GET", "/system").await;
    assert!(system.contains("id=\"synthetic\"") && system.contains("Schedule"));
    assert!(system.contains("not yet"), "one is not cleaned up");
    assert!(system.contains("&lt;b&gt;odd") && !system.contains("<b>odd"));

    let server = start(Limits::default(), two_lines()).await;
    let now = ask(&server, "GET", "/").await;
    assert!(now.contains("makes no boots of its own"), "{now}");
}

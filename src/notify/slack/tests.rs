use std::net::SocketAddr;

use serde_json::Value;

use super::*;
use crate::core::event::{Failure, VmType};
use crate::notify::fixture::server::{Reply, receiver, requests};
use crate::notify::tests::conformance::hostile_page;
use crate::notify::tests::{sender, slack, slack_bot};
use crate::notify::{Sender, Trouble, fixture};

fn nowhere() -> SocketAddr {
    "127.0.0.1:9".parse().unwrap()
}

/// Slack's documented limits, and what would wake a channel.
fn within_limits(body: &[u8]) {
    let payload: Value = serde_json::from_slice(body).unwrap();
    let fallback = payload["text"].as_str().unwrap();
    assert!((1..4_000).contains(&fallback.chars().count()));
    let blocks = payload["blocks"].as_array().unwrap();
    assert!((1..=50).contains(&blocks.len()));
    assert!(serde_json::to_string(blocks).unwrap().chars().count() <= 10_000);
    for block in blocks {
        let (texts, most) = match block["type"].as_str().unwrap() {
            "header" => (vec![&block["text"]], 150),
            "section" => (vec![&block["text"]], 3_000),
            "context" => (
                block["elements"].as_array().unwrap().iter().collect(),
                2_000,
            ),
            other => panic!("{other}"),
        };
        assert!(texts.len() <= 10);
        for text in texts {
            let said = text["text"].as_str().unwrap();
            assert!(
                (1..=most).contains(&said.chars().count()),
                "{}: {said}",
                said.chars().count()
            );
            if text["type"] == "mrkdwn" {
                assert_eq!(text["verbatim"], true);
                harmless(said);
            }
        }
    }
    harmless(fallback);
}

/// No mention, no markup that was not ours, no way out of a block of code.
fn harmless(text: &str) {
    for (at, _) in text.match_indices('<') {
        let rest = text.get(at..).unwrap();
        assert!(rest.starts_with("<https://"), "{text}");
    }
    let fences = text.matches("```").count();
    assert!(fences == 0 || fences == 2, "{text}");
    for (at, _) in text.match_indices('&') {
        let rest = text.get(at..).unwrap();
        let escape = ["&amp;", "&lt;", "&gt;"]
            .iter()
            .any(|escape| rest.starts_with(escape));
        assert!(escape, "{text}");
    }
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
}

#[test]
fn every_page_is_within_slacks_limits_and_wakes_nobody_by_itself() {
    let sender = sender(slack("https", nowhere()));
    for failure in Failure::ALL {
        for notification in fixture::incident(VmType::Browser, *failure) {
            within_limits(&sender.render(&notification).body);
        }
    }
    let hostile = sender.render(&hostile_page());
    within_limits(&hostile.body);
    let said = String::from_utf8(hostile.body).unwrap();
    assert!(
        said.contains("&lt;!channel&gt; &lt;@U1&gt; &amp;"),
        "{said}"
    );
}

#[test]
fn a_text_is_escaped_before_it_is_cut_and_no_escape_is_halved() {
    for host in ["&", "é", "x"] {
        within_limits(&page_of(host.repeat(4_000)));
    }
}

#[test]
fn seven_long_lines_of_evidence_are_all_there() {
    let mut notification = fixture::incident(VmType::Browser, Failure::AgentRefused).remove(0);
    let line = |n: u32| format!("{n}{}", "&".repeat(600));
    notification.incident.evidence = (0..3).map(line).collect();
    notification.incident.console = (3..7).map(line).collect();
    let body = sender(slack("https", nowhere())).render(&notification).body;
    within_limits(&body);
    let text = String::from_utf8(body).unwrap();
    for n in 0..7 {
        assert!(text.contains(&format!("{n}&amp;")), "{n}: {text}");
    }
}

/// A quote is two characters of JSON: no part is too long by itself, and all of them together are.
#[test]
fn what_is_too_long_together_is_cut_in_each_part_and_none_is_missing() {
    let body = page_of("\"".repeat(4_000));
    within_limits(&body);
    let parts = |body: &[u8]| {
        let page: Value = serde_json::from_slice(body).unwrap();
        page["blocks"].as_array().unwrap().len()
    };
    // Evidence, diagnosis and boots are left out of what is too long; the long title has a part of its own.
    assert_eq!(parts(&body), 8);
}

fn page_of(host: String) -> Vec<u8> {
    let mut notification = fixture::incident(VmType::Browser, Failure::AgentRefused).remove(0);
    notification.incident.host = host;
    sender(slack("https", nowhere())).render(&notification).body
}

async fn said(sender: impl Fn(SocketAddr) -> Sender, reply: Reply) -> Result<(), NotifyError> {
    let (address, _) = receiver(vec![reply]);
    let sender = sender(address);
    let story = fixture::incident(VmType::Browser, Failure::AgentRefused);
    sender.send(&sender.render(&story[0])).await.map(drop)
}

#[tokio::test]
async fn a_webhook_is_judged_by_its_word() {
    let table: &[(&str, &str, bool, Trouble, bool)] = &[
        ("400 Bad", "invalid_blocks", false, Trouble::Client, false),
        ("400 Bad", "invalid_payload", false, Trouble::Client, false),
        ("403 No", "action_prohibited", false, Trouble::Auth, true),
        ("403 No", "invalid_token", false, Trouble::Auth, true),
        ("404 No", "no_service", false, Trouble::Auth, true),
        ("404 No", "channel_not_found", false, Trouble::Auth, true),
        (
            "410 Gone",
            "channel_is_archived",
            false,
            Trouble::Auth,
            true,
        ),
        ("500 Oh", "rollup_error", true, Trouble::Server, false),
        ("200 OK", "no_service", false, Trouble::Auth, true),
        (
            "200 OK",
            "<html>Welcome to this hotel</html>",
            true,
            Trouble::Client,
            false,
        ),
    ];
    for (status, word, again, trouble, breaks) in table {
        let reply = Reply::Answer(status, "", word);
        let error = said(|address| sender(slack("http", address)), reply)
            .await
            .unwrap_err();
        let transient = matches!(error, NotifyError::Transient { .. });
        let found = (transient, error.trouble(), error.breaks_receiver());
        assert_eq!(
            found,
            (*again, *trouble, *breaks),
            "{status} {word}: {error}"
        );
    }
    let cut = said(|address| sender(slack("http", address)), Reply::SlowBody).await;
    assert_eq!(cut.unwrap_err().kind(), "timeout");
}

#[tokio::test]
async fn a_bot_is_judged_by_ok_whatever_the_status() {
    let table: &[(&str, &str, bool, Trouble)] = &[
        (
            "200 OK",
            "{\"ok\":false,\"error\":\"invalid_auth\"}",
            false,
            Trouble::Auth,
        ),
        (
            "200 OK",
            "{\"ok\":false,\"error\":\"not_in_channel\"}",
            false,
            Trouble::Auth,
        ),
        (
            "200 OK",
            "{\"ok\":false,\"error\":\"is_archived\"}",
            false,
            Trouble::Auth,
        ),
        (
            "200 OK",
            "{\"ok\":false,\"error\":\"msg_too_long\"}",
            false,
            Trouble::Client,
        ),
        (
            "200 OK",
            "{\"ok\":false,\"error\":\"ratelimited\"}",
            true,
            Trouble::Rate,
        ),
        (
            "200 OK",
            "{\"ok\":false,\"error\":\"internal_error\"}",
            true,
            Trouble::Server,
        ),
        (
            "200 OK",
            "{\"ok\":false,\"error\":\"hunter2\"}",
            false,
            Trouble::Client,
        ),
        (
            "200 OK",
            "{\"ok\":false,\"error\":\"thread_not_found\"}",
            true,
            Trouble::Client,
        ),
        ("200 OK", "[]", true, Trouble::Client),
        ("429 Often", "", true, Trouble::Rate),
    ];
    for (status, body, again, trouble) in table {
        let reply = Reply::Answer(status, "", body);
        let error = said(|address| sender(slack_bot("http", address)), reply)
            .await
            .unwrap_err();
        let transient = matches!(error, NotifyError::Transient { .. });
        assert_eq!(
            (transient, error.trouble()),
            (*again, *trouble),
            "{body}: {error}"
        );
        assert!(!error.chain().contains("hunter2"));
    }
}

#[tokio::test]
async fn a_bot_answers_in_the_incidents_thread_and_a_new_incident_begins_one() {
    let ok = |ts: &'static str| Reply::Answer("200 OK", "", ts);
    let (address, thread) = receiver(vec![
        ok("{\"ok\":true,\"ts\":\"100.1\"}"),
        ok("{\"ok\":true,\"ts\":\"100.2\"}"),
        ok("{\"ok\":true,\"ts\":\"100.3\"}"),
        ok("{\"ok\":true,\"ts\":\"200.1\"}"),
    ]);
    let sender = sender(slack_bot("http", address));
    let mut story = fixture::incident(VmType::Browser, Failure::AgentRefused);
    story.push(fixture::incident(VmType::Browser, Failure::TapFailed).remove(0));
    assert_eq!(
        story.len(),
        4,
        "a firing, an update, a resolve, another firing"
    );
    for notification in &story {
        sender.send(&sender.render(notification)).await.unwrap();
    }
    drop(sender);
    let got = requests(thread).await;
    let bodies: Vec<Value> = got
        .iter()
        .map(|request| serde_json::from_slice(&request.body).unwrap())
        .collect();
    let threads: Vec<Option<&str>> = bodies
        .iter()
        .map(|body| body["thread_ts"].as_str())
        .collect();
    assert_eq!(threads, [None, Some("100.1"), Some("100.1"), None]);
    assert_eq!(bodies[2]["reply_broadcast"], true);
    for (request, body) in got.iter().zip(&bodies) {
        assert!(
            request.head.starts_with("POST /api/chat.postMessage "),
            "{}",
            request.head
        );
        assert_eq!(request.header("authorization"), Some("Bearer hunter2"));
        assert_eq!(body["channel"], "C0123456789");
    }
}

/// Each time another process, with what was stored of the message before.
#[tokio::test]
async fn a_restart_does_not_lose_the_thread() {
    let ok = |ts: &'static str| Reply::Answer("200 OK", "", ts);
    let (address, thread) = receiver(vec![
        ok("{\"ok\":true,\"ts\":\"100.1\"}"),
        ok("{\"ok\":true,\"ts\":\"100.2\"}"),
        ok("{\"ok\":true,\"ts\":\"100.3\"}"),
    ]);
    let mut kept: Option<String> = None;
    for notification in fixture::incident(VmType::Browser, Failure::AgentRefused) {
        let sender = sender(slack_bot("http", address));
        if let Some(receipt) = &kept {
            sender.recall(&notification.incident.key, receipt);
        }
        let taken = sender.send(&sender.render(&notification)).await.unwrap();
        kept = taken.receipt;
    }
    let got = requests(thread).await;
    let bodies = got
        .iter()
        .map(|one| serde_json::from_slice(&one.body).unwrap());
    let bodies: Vec<Value> = bodies.collect();
    let threads: Vec<_> = bodies
        .iter()
        .map(|body| body["thread_ts"].as_str())
        .collect();
    assert_eq!(threads, [None, Some("100.1"), Some("100.1")]);
    assert_eq!(bodies[2]["reply_broadcast"], true);
    // Where the bot writes into another channel by now, the thread is nobody's.
    assert_eq!(kept.as_deref(), Some("C0123456789 100.1"));
    let (address, thread) = receiver(vec![ok("{\"ok\":true,\"ts\":\"200.1\"}")]);
    let end = fixture::incident(VmType::Browser, Failure::AgentRefused).remove(2);
    let sender = sender(slack_bot("http", address));
    sender.recall(&end.incident.key, "C9876543210 100.1");
    sender.send(&sender.render(&end)).await.unwrap();
    drop(sender);
    let got = requests(thread).await;
    let body: Value = serde_json::from_slice(&got[0].body).unwrap();
    assert_eq!(body["thread_ts"], Value::Null);
}

#[tokio::test]
async fn where_the_thread_is_gone_the_message_stands_alone() {
    let (address, thread) = receiver(vec![
        Reply::Answer("200 OK", "", "{\"ok\":true,\"ts\":\"100.1\"}"),
        Reply::Answer(
            "200 OK",
            "",
            "{\"ok\":false,\"error\":\"thread_not_found\"}",
        ),
        Reply::Answer("200 OK", "", "{\"ok\":true,\"ts\":\"200.1\"}"),
        Reply::Answer("200 OK", "", "{\"ok\":true,\"ts\":\"200.2\"}"),
    ]);
    let sender = sender(slack_bot("http", address));
    let story = fixture::incident(VmType::Browser, Failure::AgentRefused);
    let mut failed = 0;
    for notification in [&story[0], &story[1], &story[1], &story[2]] {
        failed += u32::from(sender.send(&sender.render(notification)).await.is_err());
    }
    drop(sender);
    let got = requests(thread).await;
    let thread_of = |body: &[u8]| {
        let body: Value = serde_json::from_slice(body).unwrap();
        body["thread_ts"].as_str().map(str::to_owned)
    };
    let threads: Vec<_> = got.iter().map(|request| thread_of(&request.body)).collect();
    let own = |ts: &str| Some(ts.to_owned());
    assert_eq!(threads, [None, own("100.1"), None, own("200.1")]);
    assert_eq!(failed, 1);
}

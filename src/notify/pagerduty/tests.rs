use std::net::SocketAddr;

use serde_json::Value;

use super::*;
use crate::core::alert::Notification;
use crate::core::event::{Failure, VmType};
use crate::notify::fixture::server::{Reply, receiver, requests};
use crate::notify::tests::conformance::hostile_page;
use crate::notify::tests::{HIDDEN, pagerduty, sender};
use crate::notify::{Trouble, fixture};

const ACCEPTED: Reply = Reply::Answer(
    "202 Accepted",
    "",
    "{\"status\":\"success\",\"message\":\"Event processed\",\"dedup_key\":\"x\"}",
);

/// The event as PagerDuty's documentation wants it.
fn checked(body: &[u8]) -> Value {
    assert!(body.len() <= 512 * 1024);
    let event: Value = serde_json::from_slice(body).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert_eq!(text(&event["routing_key"]), HIDDEN.repeat(5));
    let key = text(&event["dedup_key"]);
    assert!((1..=255).contains(&key.chars().count()));
    match text(&event["event_action"]).as_str() {
        "resolve" => assert_eq!(event.get("payload"), None),
        "trigger" => {
            let payload = &event["payload"];
            assert!((1..=1024).contains(&text(&payload["summary"]).chars().count()));
            assert!(!text(&payload["source"]).is_empty());
            let severity = text(&payload["severity"]);
            assert!(["critical", "error", "warning", "info"].contains(&severity.as_str()));
            let at: jiff::Timestamp = text(&payload["timestamp"]).parse().unwrap();
            assert!(at.as_second() > 0);
            assert!(payload["custom_details"].is_object());
            for link in event["links"].as_array().into_iter().flatten() {
                assert!(text(&link["href"]).starts_with("https://"));
            }
        }
        other => panic!("event_action {other:?}"),
    }
    event
}

async fn sent(notifications: &[Notification]) -> Vec<Value> {
    let (address, thread) = receiver(vec![ACCEPTED; notifications.len()]);
    let sender = sender(pagerduty("http", address));
    for notification in notifications {
        sender.send(&sender.render(notification)).await.unwrap();
    }
    drop(sender);
    let got = requests(thread).await;
    for request in &got {
        assert!(
            request.head.starts_with("POST /v2/enqueue HTTP/1.1\r\n"),
            "{}",
            request.head
        );
    }
    got.iter().map(|request| checked(&request.body)).collect()
}

#[tokio::test]
async fn an_incident_is_triggered_updated_and_resolved_under_one_key() {
    let story = fixture::incident(VmType::Browser, Failure::AgentRefused);
    let events = sent(&story).await;
    let actions: Vec<&str> = events
        .iter()
        .map(|event| event["event_action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["trigger", "trigger", "resolve"]);
    for event in &events {
        assert_eq!(event["dedup_key"], story[0].incident.key.as_str());
    }
    assert_eq!(events[0]["payload"]["severity"], "critical");
}

#[tokio::test]
async fn what_is_too_long_is_cut_between_characters() {
    let mut notification = hostile_page();
    notification.incident.host = "é🔥".repeat(2_000);
    let events = sent(&[notification]).await;
    // The summary names the cause and not the host, so it is whole; the source is the host.
    assert!(
        events[0]["payload"]["summary"]
            .as_str()
            .unwrap()
            .chars()
            .count()
            <= 1024
    );
    let page = Page {
        title: "é🔥".repeat(2_000),
        ..Page::of(&hostile_page(), &crate::notify::tests::context())
    };
    let body = event(
        &Draft {
            id: "one",
            notification: &hostile_page(),
            page: &page,
            context: &crate::notify::tests::context(),
        },
        &page,
    );
    let body = with_key(&body, &Secret::new(HIDDEN.repeat(5))).unwrap();
    let summary = checked(&body)["payload"]["summary"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(summary.chars().count(), 1024);
    assert!(summary.ends_with('…'));
}

async fn refused(reply: Reply) -> NotifyError {
    let (address, _): (SocketAddr, _) = receiver(vec![reply]);
    let sender = sender(pagerduty("http", address));
    let story = fixture::incident(VmType::Browser, Failure::AgentRefused);
    sender.send(&sender.render(&story[0])).await.unwrap_err()
}

#[tokio::test]
async fn a_wrong_key_breaks_the_receiver_and_a_wrong_event_does_not() {
    let key = "{\"status\":\"invalid event\",\"message\":\"Event object is invalid\",\"errors\":[\"Invalid routing key\"]}";
    let error = refused(Reply::Answer("400 Bad", "", key)).await;
    assert_eq!(
        (error.trouble(), error.breaks_receiver()),
        (Trouble::Auth, true)
    );
    let event = "{\"status\":\"invalid event\",\"errors\":[\"Length of 'summary' is incorrect\"]}";
    let error = refused(Reply::Answer("400 Bad", "", event)).await;
    assert_eq!(
        (error.fault(), error.breaks_receiver()),
        (Fault::Answered(400), false)
    );
}

#[tokio::test]
async fn too_many_events_wait_a_minute_unless_told_otherwise() {
    for (headers, seconds) in [("", 60), ("Retry-After: 7\r\n", 7)] {
        let error = refused(Reply::Answer("429 Often", headers, "")).await;
        let NotifyError::Transient { retry_after, .. } = error else {
            panic!("429 passes");
        };
        assert_eq!(retry_after, Some(Duration::from_secs(seconds)));
    }
}

#[tokio::test]
async fn a_success_that_is_not_pagerdutys_is_none() {
    let error = refused(Reply::Answer(
        "200 OK",
        "",
        "<html>Welcome to this hotel</html>",
    ))
    .await;
    assert!(matches!(error, NotifyError::Transient { .. }), "{error}");
}

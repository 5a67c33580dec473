use std::net::{SocketAddr, TcpListener};

use jiff::tz::TimeZone;
use serde_json::Value;

use super::*;
use crate::config::{Endpoint, Secret};
use crate::core::alert::Notification;
use crate::core::event::{Failure, VmType};
use crate::notify::fixture::server::{OK, Reply, Request, receiver, requests};
use crate::notify::page::{Context, Page};
use crate::notify::{Fault, NotifyError, Sender, fixture};

fn settings(address: SocketAddr) -> Webhook {
    let url = format!("http://me:hunter2@{address}/services/hunter2?token=hunter2");
    Webhook {
        url: Endpoint::parse(&url).unwrap(),
        timeout: Duration::from_secs(5),
        headers: vec![("X-Team".to_owned(), Secret::new("hunter2"))],
        authorization: None,
    }
}

fn sender_of(settings: Webhook) -> Sender {
    let notifier = Notifier {
        name: "ops".to_owned(),
        channel: Channel::Webhook(settings),
    };
    Sender::new(&notifier, context()).unwrap()
}

fn context() -> Context {
    Context {
        zone: TimeZone::UTC,
        runbook_base: Some("https://wiki.example/runbooks".to_owned()),
        dashboard: Some("https://grafana.example/d/bootwatch".to_owned()),
        pages: Some("https://bootwatch.example".to_owned()),
    }
}

fn story() -> Vec<Notification> {
    fixture::incident(VmType::Browser, Failure::AgentRefused)
}

/// One try against a receiver that answers so, and what it got.
async fn one_try(reply: Reply) -> (Result<(), NotifyError>, Vec<Request>) {
    let (address, thread) = receiver(vec![reply]);
    let mut settings = settings(address);
    if let Reply::Hang = reply {
        settings.timeout = Duration::from_millis(200);
    }
    let sender = sender_of(settings);
    let result = sender.send(&sender.render(&story()[0])).await;
    drop(sender);
    if let Err(error) = &result {
        let shown = format!("{error} {error:?} {}", error.chain());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!shown.contains("bWU6aHVudGVyMg"), "{shown}");
    }
    (result.map(drop), requests(thread).await)
}

#[tokio::test]
async fn a_page_arrives_as_json_with_its_headers() {
    let (result, got) = one_try(OK).await;
    result.unwrap();
    let request = &got[0];
    let start = "POST /services/hunter2?token=hunter2 HTTP/1.1\r\n";
    assert!(request.head.starts_with(start), "{}", request.head);
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("x-team"), Some("hunter2"));
    assert_eq!(
        request.header("authorization"),
        Some("Basic bWU6aHVudGVyMg==")
    );
    let page = &story()[0];
    let id = format!("{}-firing", page.incident.key);
    assert_eq!(request.header("idempotency-key"), Some(id.as_str()));
    let payload: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(payload["groupKey"], page.incident.key.as_str());
}

#[tokio::test]
async fn an_authorization_is_sent_as_configured() {
    let (address, thread) = receiver(vec![OK]);
    let mut settings = settings(address);
    settings.url = Endpoint::parse(&format!("http://{address}/")).unwrap();
    settings.authorization = Some(Secret::new("Bearer hunter2"));
    let sender = sender_of(settings);
    sender.send(&sender.render(&story()[0])).await.unwrap();
    let got = requests(thread).await;
    assert_eq!(got[0].header("authorization"), Some("Bearer hunter2"));
}

#[tokio::test]
async fn the_next_message_uses_the_same_connection() {
    let (address, thread) = receiver(vec![OK, Reply::Answer("503 Busy", "", "later"), OK]);
    let sender = sender_of(settings(address));
    let message = sender.render(&story()[0]);
    let mut results = Vec::new();
    for _ in 0..3 {
        results.push(sender.send(&message).await.is_ok());
    }
    assert_eq!(results, [true, false, true]);
    let connections: Vec<usize> = requests(thread)
        .await
        .iter()
        .map(|r| r.connection)
        .collect();
    assert_eq!(connections, [1, 1, 1]);
}

#[tokio::test]
async fn a_wish_in_seconds_is_heard() {
    let (result, _) = one_try(Reply::Answer("429 Slow", "Retry-After: 17\r\n", "")).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), "rate");
    let NotifyError::Transient { retry_after, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(retry_after, Some(Duration::from_secs(17)));
}

#[tokio::test]
async fn a_wish_as_a_date_is_heard() {
    let headers = "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let (result, _) = one_try(Reply::Answer("503 Busy", headers, "")).await;
    let NotifyError::Transient { retry_after, .. } = result.unwrap_err() else {
        panic!("503 is transient");
    };
    assert_eq!(retry_after, Some(Duration::from_secs(1)));
}

#[tokio::test]
async fn a_refusal_is_final_and_does_not_repeat_what_the_receiver_said() {
    let (result, _) = one_try(Reply::Answer("403 No", "", "hunter2 is not welcome")).await;
    let error = result.unwrap_err();
    assert!(matches!(error, NotifyError::Permanent { .. }));
    assert_eq!(
        error.to_string(),
        "send the notification: the receiver answered 403"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let headers = "Location: http://127.0.0.1:1/hunter2\r\n";
    let (result, got) = one_try(Reply::Answer("307 There", headers, "")).await;
    let error = result.unwrap_err();
    assert_eq!((error.fault(), got.len()), (Fault::Answered(307), 1));
    assert!(matches!(error, NotifyError::Permanent { .. }));
}

#[tokio::test]
async fn no_answer_is_a_timeout_and_transient() {
    let (result, _) = one_try(Reply::Hang).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), "timeout");
    assert!(matches!(error, NotifyError::Transient { .. }));
}

#[tokio::test]
async fn a_reset_is_transient() {
    let (result, _) = one_try(Reply::Reset).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), "network");
    assert!(matches!(error, NotifyError::Transient { .. }));
}

#[tokio::test]
async fn nobody_listening_is_transient() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let sender = sender_of(settings(free));
    let error = sender.send(&sender.render(&story()[0])).await.unwrap_err();
    assert_eq!(error.kind(), "network");
    assert!(!error.chain().contains("hunter2"), "{}", error.chain());
}

#[tokio::test]
async fn a_body_that_does_not_end_does_not_undo_the_answer() {
    one_try(Reply::SlowBody).await.0.unwrap();
}

#[tokio::test]
async fn an_endless_body_is_not_read() {
    one_try(Reply::EndlessBody).await.0.unwrap();
}

#[tokio::test]
async fn proxy_variables_of_the_environment_are_ignored() {
    const RECEIVER: &str = "BOOTWATCH_TEST_RECEIVER";
    if let Ok(address) = std::env::var(RECEIVER) {
        let sender = sender_of(settings(address.parse().unwrap()));
        sender.send(&sender.render(&story()[0])).await.unwrap();
        return;
    }
    let (address, thread) = receiver(vec![OK]);
    let nobody = "http://127.0.0.1:1";
    let name = "notify::webhook::tests::proxy_variables_of_the_environment_are_ignored";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(RECEIVER, address.to_string())
        .envs(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"].map(|key| (key, nobody)))
        .output()
        .unwrap();
    assert!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stdout)
    );
    assert_eq!(requests(thread).await.len(), 1);
}

#[test]
fn what_cannot_be_sent_is_refused_at_the_start_without_its_secret() {
    let mut settings = settings("127.0.0.1:1".parse().unwrap());
    settings.authorization = Some(Secret::new("hunter2\n"));
    let notifier = Notifier {
        name: "ops".to_owned(),
        channel: Channel::Webhook(settings),
    };
    let error = Sender::new(&notifier, context()).unwrap_err();
    assert_eq!(error.to_string(), "notify.ops: a header cannot be sent");
    assert!(!format!("{error:?}").contains("hunter2"));
}

fn payload(notification: &Notification) -> Value {
    let sender = sender_of(settings("127.0.0.1:1".parse().unwrap()));
    serde_json::from_slice(&sender.render(notification).body).unwrap()
}

#[test]
fn the_payload_is_alertmanagers() {
    let story = story();
    let payload = payload(&story[0]);
    let mut keys: Vec<&str> = payload
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    let expected = [
        "alerts",
        "commonAnnotations",
        "commonLabels",
        "externalURL",
        "groupKey",
        "groupLabels",
        "receiver",
        "status",
        "truncatedAlerts",
        "version",
    ];
    assert_eq!(keys, expected);
    assert_eq!(payload["version"], "4");
    assert_eq!(payload["status"], "firing");
    assert_eq!(payload["receiver"], "ops");
    assert_eq!(payload["truncatedAlerts"], 0);
    let alert = &payload["alerts"][0];
    assert_eq!(alert["status"], "firing");
    assert_eq!(alert["endsAt"], "0001-01-01T00:00:00Z");
    assert_eq!(alert["startsAt"], "2025-10-18T18:24:53Z");
    assert_eq!(alert["fingerprint"].as_str().unwrap().len(), 16);
    let labels = &alert["labels"];
    assert_eq!(labels["alertname"], "BootFailureRate");
    assert_eq!(labels["cause"], "agent_refused");
    assert_eq!(labels["cause_family"], "guest");
    assert_eq!(labels["host"], "controller-1");
    assert_eq!(labels["severity"], "page");
    assert_eq!(labels["vm_type"], "browser");
    let annotations = &alert["annotations"];
    let well = "CLI boots, 18 of 18 ready in the last hour";
    assert_eq!(annotations["not_affected"], well);
    let url = "https://wiki.example/runbooks/BootFailureRate#agent_refused";
    assert_eq!(annotations["runbook_url"], url);
    assert_eq!(annotations["first_bad_at"], "2025-10-18T18:24:13Z");
    assert_eq!(payload["commonLabels"], *labels);
    assert_eq!(payload["commonAnnotations"], *annotations);
}

#[test]
fn an_incident_keeps_its_key_and_its_alerts_fingerprints_to_the_end() {
    let story = story();
    let payloads: Vec<Value> = story.iter().map(payload).collect();
    let [first, .., last] = &payloads[..] else {
        panic!("a firing and a resolve");
    };
    for payload in &payloads {
        assert_eq!(payload["groupKey"], first["groupKey"]);
        assert_eq!(payload["groupLabels"], first["groupLabels"]);
        assert_eq!(payload["commonLabels"]["incident"], first["groupKey"]);
        let print = &payload["alerts"][0]["fingerprint"];
        assert_eq!(*print, first["alerts"][0]["fingerprint"]);
    }
    assert_eq!(last["status"], "resolved");
    let alerts = last["alerts"].as_array().unwrap();
    assert!(alerts.len() >= 2, "the refusals' own rule joined");
    for alert in alerts {
        assert_eq!(alert["status"], "resolved");
        assert_ne!(alert["endsAt"], "0001-01-01T00:00:00Z");
    }
    assert_eq!(last["commonLabels"].get("alertname"), None);
}

#[test]
fn what_is_said_of_a_group_holds_of_each_of_its_alerts() {
    let sender = sender_of(settings("127.0.0.1:1".parse().unwrap()));
    let tests = sender.render_test("controller-1", fixture::FIRST_BAD);
    let told = story().into_iter().map(|one| sender.render(&one));
    for message in tests.into_iter().chain(told) {
        let payload: Value = serde_json::from_slice(&message.body).unwrap();
        let group = payload["groupLabels"].as_object().unwrap();
        let common = payload["commonLabels"].as_object().unwrap();
        let alerts = payload["alerts"].as_array().unwrap();
        assert!(!group.is_empty() && !alerts.is_empty());
        for alert in alerts {
            for (name, value) in group.iter().chain(common) {
                assert_eq!(alert["labels"][name], *value, "{name} of {}", message.title);
            }
        }
        let fires = alerts.iter().any(|alert| alert["status"] == "firing");
        assert_eq!(payload["status"] == "firing", fires, "{}", message.title);
    }
}

#[test]
fn hostile_evidence_stays_text() {
    let hostile =
        "\"}],\"status\":\"resolved\",\"x\":[{\"\u{0}\u{1b}[2J\r\n</script>\u{2028}\\ \u{1f525}";
    let story = fixture::incident_with(VmType::Browser, Failure::AgentRefused, |_| {
        vec![hostile.to_owned()]
    });
    let payload = payload(&story[0]);
    assert_eq!(payload["status"], "firing");
    assert_eq!(payload["alerts"].as_array().unwrap().len(), 1);
    let evidence = payload["alerts"][0]["annotations"]["evidence"].as_str();
    assert_eq!(evidence, Some(hostile), "the same words once");
}

#[test]
fn a_payload_that_is_too_large_loses_its_evidence_first() {
    let notifier = Notifier {
        name: "ops".to_owned(),
        channel: Channel::Webhook(settings("127.0.0.1:1".parse().unwrap())),
    };
    let transport = open(&notifier).unwrap();
    let notification = &story()[0];
    let mut page = Page::of(notification, &context());
    page.evidence = vec!["x".repeat(MOST_BYTES)];
    let body = transport.render(&Draft {
        id: "one",
        notification,
        page: &page,
        context: &context(),
    });
    assert!(body.len() < 10_000, "{}", body.len());
    let payload: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(payload["alerts"][0]["annotations"].get("evidence"), None);
    assert_eq!(
        payload["alerts"][0]["annotations"]["summary"],
        page.title.as_str()
    );
}

#[tokio::test]
async fn what_is_too_large_even_so_is_not_sent() {
    let sender = sender_of(settings("127.0.0.1:1".parse().unwrap()));
    let mut notification = story().remove(0);
    notification.incident.host = "x".repeat(MOST_BYTES);
    let error = sender
        .send(&sender.render(&notification))
        .await
        .unwrap_err();
    assert!(matches!(error.fault(), Fault::TooLarge(_)), "{error}");
}

/// A receiver closes what it opened by the alerts: their count is the same from the first message to the last.
#[test]
fn a_digest_has_its_alerts_to_the_end() {
    use crate::core::alert::Digest;
    let mut story = story();
    let last = story.len() - 1;
    let shape = |notification: &mut Notification, firing| {
        notification.remarks.digest = Some(Digest {
            firing,
            resolved: 3 - firing,
            ..Digest::default()
        });
        let page = Page::of(notification, &context());
        let body = payload::render("ops", notification, &page, &context());
        serde_json::from_slice::<Value>(&body).unwrap()
    };
    let first = shape(&mut story[0], 3);
    assert_eq!(
        (&first["status"], first["alerts"].as_array().unwrap().len()),
        (&"firing".into(), 1)
    );
    assert_eq!(
        first["alerts"][0]["annotations"]["runbook_url"],
        Value::Null
    );
    let end = shape(&mut story[last], 0);
    assert_eq!(end["status"], "resolved");
    let alerts = end["alerts"].as_array().unwrap();
    assert!(
        !alerts.is_empty() && alerts.iter().all(|alert| alert["status"] == "resolved"),
        "{end}"
    );
}

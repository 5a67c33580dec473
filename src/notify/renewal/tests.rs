use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::Channel;
use crate::core::event::{Failure, VmType};
use crate::notify::fixture::server::{OK, Reply, Request, receiver, requests};
use crate::notify::fixture::{self, smtp};
use crate::notify::tests::{
    HIDDEN, context, email, notifier, pagerduty, slack, slack_bot, webhook,
};
use crate::notify::{NotifyError, Sender};

const NO: Reply = Reply::Answer("401 Unauthorized", "", "{}");

fn holds(path: &Path, secret: &str) {
    fs::write(path, secret).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn sender(channel: Channel, file: &Path) -> Sender {
    Sender::new(&notifier(channel).with_secret_in(file), context()).unwrap()
}

async fn one_try(sender: &Sender) -> Result<(), NotifyError> {
    let told = fixture::incident(VmType::Browser, Failure::AgentRefused);
    sender.send(&sender.render(&told[0])).await.map(drop)
}

/// One message to a receiver that answers so, whose secret is another one by now; and a second message, if there are
/// answers left.
async fn refused_at_first(
    channel: fn(&str, std::net::SocketAddr) -> Channel,
    replies: [Reply; 3],
    secret: &str,
) -> Vec<Request> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    holds(&file, secret);
    let (address, thread) = receiver(replies.into());
    let sender = sender(channel("http", address), &file);
    one_try(&sender).await.unwrap();
    one_try(&sender).await.unwrap();
    drop(sender);
    requests(thread).await
}

#[tokio::test]
async fn a_refused_message_is_tried_again_with_the_secret_that_the_file_holds_now() {
    let got = refused_at_first(webhook, [NO, OK, OK], "hunter3").await;
    let sent: Vec<_> = got.iter().map(|got| got.header("authorization")).collect();
    assert_eq!(sent, [Some(HIDDEN), Some("hunter3"), Some("hunter3")]);
    assert_eq!(
        got[0].header("idempotency-key"),
        got[1].header("idempotency-key")
    );
    assert_eq!(got[0].body, got[1].body);
}

#[tokio::test]
async fn slack_and_pagerduty_say_in_words_that_the_secret_is_old() {
    let no = Reply::Answer("200 OK", "", "{\"ok\":false,\"error\":\"invalid_auth\"}");
    let ok = Reply::Answer("200 OK", "", "{\"ok\":true,\"ts\":\"1.2\"}");
    let got = refused_at_first(slack_bot, [no, ok, ok], "hunter3").await;
    let sent: Vec<_> = got.iter().map(|got| got.header("authorization")).collect();
    let new = Some("Bearer hunter3");
    assert_eq!(sent, [Some("Bearer hunter2"), new, new]);

    let body = "{\"status\":\"invalid event\",\"errors\":[\"Invalid routing key\"]}";
    let no = Reply::Answer("400 Bad Request", "", body);
    let ok = Reply::Answer("202 Accepted", "", "{\"status\":\"success\"}");
    let key = "0123456789abcdef0123456789abcdef";
    let got = refused_at_first(pagerduty, [no, ok, ok], key).await;
    let has = |body: &[u8]| String::from_utf8_lossy(body).contains(key);
    let sent: Vec<bool> = got.iter().map(|got| has(&got.body)).collect();
    assert_eq!(sent, [false, true, true]);
}

/// A webhook whose address has moved, and Slack's, whose address is the secret.
#[tokio::test]
async fn a_receiver_that_is_elsewhere_by_now_is_tried_where_the_file_says() {
    let gone = Reply::Answer("404 Not Found", "", "no_service");
    let moved = Reply::Answer("308 Moved", "Location: /elsewhere\r\n", "");
    let ok = Reply::Answer("200 OK", "", "ok");
    for (channel, no) in [
        (webhook as fn(&str, std::net::SocketAddr) -> Channel, moved),
        (slack, gone),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("url");
        let (old, at_old) = receiver(vec![no]);
        let (new, at_new) = receiver(vec![ok, ok]);
        holds(&file, &format!("http://{new}/hunter3"));
        let notifier = notifier(channel("http", old)).with_url_in(&file);
        let sender = Sender::new(&notifier, context()).unwrap();
        one_try(&sender).await.unwrap();
        one_try(&sender).await.unwrap();
        drop(sender);
        assert_eq!(requests(at_old).await.len(), 1);
        let got = requests(at_new).await;
        assert_eq!(got.len(), 2);
        assert!(got[0].head.starts_with("POST /hunter3 "), "{}", got[0].head);
    }
}

#[tokio::test]
async fn a_mail_server_is_logged_into_with_the_new_password() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    holds(&file, "hunter3");
    // It refuses the first password by its bytes: PLAIN of bootwatch and hunter2.
    let script = &[("AUTH PLAIN AGJvb3R3YXRjaABodW50ZXIy", "535 wrong password")];
    let (address, transcript) = smtp::server(script);
    let sender = sender(email(crate::config::Security::None, address), &file);
    one_try(&sender).await.unwrap();
    let logins = transcript.lock().unwrap();
    let logins = logins.iter().filter(|line| line.starts_with("AUTH"));
    assert_eq!(logins.count(), 2);
}

#[tokio::test]
async fn the_same_secret_or_none_that_can_be_read_leaves_the_refusal() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    let (address, thread) = receiver(vec![NO; 3]);
    let sender = sender(webhook("http", address), &file);
    for secret in [None, Some(HIDDEN), Some("")] {
        if let Some(secret) = secret {
            holds(&file, secret);
        }
        let error = one_try(&sender).await.unwrap_err();
        assert!(error.breaks_receiver(), "{secret:?}");
    }
    drop(sender);
    assert_eq!(requests(thread).await.len(), 3, "each was tried once");
}

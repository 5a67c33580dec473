//! What each kind sends, for each cause, from the first page to the end. With BLESS set the files are written anew, to
//! be read before they are committed.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::core::event::{Failure, VmType};

fn nowhere() -> SocketAddr {
    "127.0.0.1:9".parse().unwrap()
}

fn equal(name: &str, found: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/notify")
        .join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let line = found
        .lines()
        .zip(expected.lines())
        .position(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "tests/fixtures/notify/{name} differs from line {line:?}; run BLESS=1 cargo test notify::tests::golden and read it"
    );
}

/// The first page, an update and the end of an incident of this cause.
fn story(failure: Failure) -> [Notification; 3] {
    let told = fixture::incident(VmType::Browser, failure);
    let first = told.first().unwrap().clone();
    let update = told
        .iter()
        .find(|notification| notification.kind == alert::Kind::Update)
        .cloned()
        .unwrap_or_else(|| Notification {
            kind: alert::Kind::Update,
            reason: alert::Reason::FurtherAlert,
            at: first.at.plus_ms(30_000),
            ..first.clone()
        });
    [first, update, told.last().unwrap().clone()]
}

/// Every message of every cause, each shown by `show`.
fn all(channel: Channel, show: impl Fn(&Message) -> String) -> String {
    let sender = sender(channel);
    let mut found = String::new();
    for failure in Failure::ALL {
        for notification in story(*failure) {
            let message = sender.render(&notification);
            let kind = kind_word(message.kind);
            found.push_str(&format!("# {failure}, {kind}\n{}\n\n", show(&message)));
        }
    }
    let [test, end] = sender.render_test("controller-1", fixture::FIRST_BAD);
    found.push_str(&format!(
        "# a test\n{}\n\n# its end\n{}\n",
        show(&test),
        show(&end)
    ));
    found
}

fn pretty(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap();
    serde_json::to_string_pretty(&value).unwrap()
}

#[test]
fn what_a_webhook_gets() {
    let found = all(webhook("https", nowhere()), |message| pretty(&message.body));
    equal("webhook.txt", &found);
}

#[test]
fn what_pagerduty_gets() {
    let found = all(pagerduty("https", nowhere()), |message| {
        pretty(&message.body)
    });
    equal("pagerduty.txt", &found);
}

#[test]
fn what_slack_gets() {
    let found = all(slack("https", nowhere()), |message| pretty(&message.body));
    equal("slack.txt", &found);
}

#[test]
fn what_mail_says() {
    let channel = || email(Security::StartTls, nowhere());
    let found = all(channel(), |message| {
        let (head, text, _) = mail_parts(&message.body);
        format!("{head}\n\n{text}")
    });
    equal("email.txt", &found);
    let sender = sender(channel());
    for notification in story(Failure::AgentRefused) {
        let message = sender.render(&notification);
        let (_, _, html) = mail_parts(&message.body);
        equal(&format!("email-{}.html", kind_word(message.kind)), &html);
    }
}

#[test]
fn what_alertmanager_is_told() {
    let mut found = String::new();
    for failure in Failure::ALL {
        for notification in story(*failure) {
            let at = notification.at;
            let state = State {
                incidents: vec![notification.incident],
            };
            let batches = super::super::alertmanager::batches_of(&state, &context(), at);
            let kind = kind_word(notification.kind);
            found.push_str(&format!("# {failure}, {kind}\n{}\n\n", pretty(&batches[0])));
        }
    }
    equal("alertmanager.txt", &found);
}

/// A mail's headers, its text and its HTML.
pub(in crate::notify) fn mail_parts(mail: &[u8]) -> (String, String, String) {
    let mail = String::from_utf8(mail.to_vec()).unwrap();
    let (head, rest) = mail.split_once("\r\n\r\n").unwrap();
    let boundary = head
        .split_once("boundary=\"")
        .and_then(|(_, rest)| rest.split('"').next())
        .unwrap();
    let edge = format!("--{boundary}");
    let mut parts = rest.split(&edge).skip(1).map(|part| {
        let (_, body) = part.split_once("\r\n\r\n").unwrap_or_default();
        decoded(body.trim_end_matches("\r\n"))
    });
    let (text, html) = (parts.next().unwrap(), parts.next().unwrap());
    (head.replace("\r\n", "\n"), text, html)
}

/// Quoted-printable, as text.
fn decoded(text: &str) -> String {
    let text = text.replace("=\r\n", "").replace("\r\n", "\n");
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if *first == b'=' {
            let digits = std::str::from_utf8(&more[..2]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &more[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap().replace('\r', "")
}

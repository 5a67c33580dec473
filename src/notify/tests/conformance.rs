//! One suite over every kind: hostile text, secrets, and what each failure means.

use super::*;
use crate::clock;
use crate::core::event::{Failure, VmType};
use crate::notify::fixture::server::{Reply, receiver};
use crate::notify::fixture::{smtp, tls};

/// How a kind is reached in clear and by TLS, and what its server answers when all is well.
struct Specimen {
    name: &'static str,
    plain: fn(SocketAddr) -> Channel,
    tls: fn(SocketAddr) -> Channel,
    /// `None`: it does not speak HTTP.
    success: Option<Reply>,
}

const SPECIMENS: &[Specimen] = &[
    Specimen {
        name: "webhook",
        plain: |address| webhook("http", address),
        tls: |address| webhook("https", address),
        success: Some(Reply::Answer("200 OK", "", "{}")),
    },
    Specimen {
        name: "pagerduty",
        plain: |address| pagerduty("http", address),
        tls: |address| pagerduty("https", address),
        success: Some(Reply::Answer(
            "202 Accepted",
            "",
            "{\"status\":\"success\",\"message\":\"Event processed\"}",
        )),
    },
    Specimen {
        name: "slack",
        plain: |address| slack("http", address),
        tls: |address| slack("https", address),
        success: Some(Reply::Answer("200 OK", "", "ok")),
    },
    Specimen {
        name: "slack",
        plain: |address| slack_bot("http", address),
        tls: |address| slack_bot("https", address),
        success: Some(Reply::Answer("200 OK", "", "{\"ok\":true,\"ts\":\"1.2\"}")),
    },
    Specimen {
        name: "email",
        plain: |address| email(Security::None, address),
        tls: |address| email(Security::Tls, address),
        success: None,
    },
];

fn first_page() -> Notification {
    fixture::incident(VmType::Browser, Failure::AgentRefused).remove(0)
}

/// A try against a server; nothing secret is in what comes of it.
async fn attempt(channel: Channel) -> Result<(), NotifyError> {
    let sender = sender(channel);
    let message = sender.render(&first_page());
    let body = String::from_utf8_lossy(&message.body);
    assert!(!body.contains(HIDDEN), "a secret is in what is stored");
    let result = sender.send(&message).await.map(drop);
    let mut shown = format!("{sender:?} {message:?}");
    if let Err(error) = &result {
        shown.push_str(&format!("{error} {error:?} {}", error.chain()));
    }
    assert!(!shown.contains(HIDDEN), "{shown}");
    result
}

fn limited(channel: Channel, timeout: Duration) -> Channel {
    match channel {
        Channel::Webhook(it) => Channel::Webhook(Webhook { timeout, ..it }),
        Channel::PagerDuty(it) => Channel::PagerDuty(PagerDuty { timeout, ..it }),
        Channel::Slack(it) => Channel::Slack(Slack { timeout, ..it }),
        Channel::Email(it) => Channel::Email(Box::new(Email { timeout, ..*it })),
        Channel::Alertmanager(it) => Channel::Alertmanager(Alertmanager { timeout, ..it }),
    }
}

#[test]
fn every_kind_that_takes_messages_is_in_this_suite() {
    for kind in KINDS {
        let tells = matches!(kind.duty, Duty::Tell(_));
        let here = SPECIMENS.iter().any(|specimen| specimen.name == kind.name);
        assert_eq!(tells, here, "{}", kind.name);
    }
}

#[tokio::test]
async fn a_success_is_one() {
    for specimen in SPECIMENS {
        let address = match specimen.success {
            Some(reply) => receiver(vec![reply]).0,
            None => smtp::server(&[]).0,
        };
        let result = attempt((specimen.plain)(address)).await;
        assert!(result.is_ok(), "{}: {result:?}", specimen.name);
    }
}

#[tokio::test]
async fn each_status_means_the_same_to_every_kind() {
    let table: &[(&str, bool, &str, bool)] = &[
        ("302 Found", false, "client", true),
        ("400 Bad", false, "client", false),
        ("401 No", false, "auth", true),
        ("403 No", false, "auth", true),
        ("404 Nothing", false, "client", true),
        ("408 Slow", true, "timeout", false),
        ("413 Large", false, "client", false),
        ("429 Often", true, "rate", false),
        ("500 Oh", true, "server", false),
        ("503 Busy", true, "server", false),
    ];
    for specimen in SPECIMENS.iter().filter(|one| one.success.is_some()) {
        for (status, again, kind, breaks) in table {
            let headers = "Retry-After: 17\r\nLocation: http://127.0.0.1:1/hunter2\r\n";
            let (address, _) = receiver(vec![Reply::Answer(status, headers, "hunter2 says no")]);
            let error = attempt((specimen.plain)(address)).await.unwrap_err();
            let about = format!("{}, {status}", specimen.name);
            let wish = match &error {
                NotifyError::Transient { retry_after, .. } => *retry_after,
                NotifyError::Partly { .. } | NotifyError::Permanent { .. } => None,
            };
            assert_eq!(wish, again.then(|| Duration::from_secs(17)), "{about}");
            assert_eq!(
                (error.kind(), error.breaks_receiver()),
                (*kind, *breaks),
                "{about}"
            );
        }
    }
}

#[tokio::test]
async fn each_reply_of_a_mail_server_has_its_meaning() {
    let table: &[(&str, &str, bool, &str, bool)] = &[
        ("greeting", "421 too busy", true, "server", false),
        ("greeting", "554 go away", false, "client", false),
        ("EHLO", "250 mail.example", false, "auth", true),
        ("AUTH", "535 wrong hunter2", false, "auth", true),
        ("AUTH", "454 not now", true, "server", false),
        ("MAIL", "530 log in first", false, "auth", true),
        ("MAIL", "452 full", true, "server", false),
        ("RCPT", "550 nobody", false, "client", false),
        ("RCPT", "450 later", true, "server", false),
        ("DATA", "451 not now", true, "server", false),
        (".", "552 too large", false, "client", false),
        (".", "451 not now", true, "server", false),
        (".", smtp::CLOSE, true, "network", false),
    ];
    for (command, reply, again, kind, breaks) in table {
        let script: smtp::Script = Box::leak(Box::new([(*command, *reply)]));
        let (address, _) = smtp::server(script);
        let error = attempt(email(Security::None, address)).await.unwrap_err();
        let transient = matches!(error, NotifyError::Transient { .. });
        let found = (transient, error.kind(), error.breaks_receiver());
        assert_eq!(
            found,
            (*again, *kind, *breaks),
            "{command}: {reply}: {error:?}"
        );
    }
}

#[tokio::test]
async fn nobody_there_and_a_reset_are_transient() {
    for specimen in SPECIMENS {
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let error = attempt((specimen.plain)(free)).await.unwrap_err();
        assert_eq!(error.kind(), "network", "{}: {error:?}", specimen.name);
        assert!(
            error.chain().contains("refused"),
            "{}: {}",
            specimen.name,
            error.chain()
        );
        assert!(matches!(error, NotifyError::Transient { .. }));
        let address = match specimen.success {
            Some(_) => receiver(vec![Reply::Reset]).0,
            None => smtp::server(&[("EHLO", smtp::CLOSE)]).0,
        };
        let error = attempt((specimen.plain)(address)).await.unwrap_err();
        assert_eq!(error.kind(), "network", "{}: {error:?}", specimen.name);
        assert!(matches!(error, NotifyError::Transient { .. }));
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left_in_time() {
    let limit = Duration::from_millis(300);
    for specimen in SPECIMENS {
        let scripts: Vec<SocketAddr> = match specimen.success {
            Some(_) => vec![receiver(vec![Reply::Hang]).0],
            None => vec![
                smtp::server(&[("greeting", smtp::HANG)]).0,
                smtp::server(&[("AUTH", smtp::HANG)]).0,
                smtp::server(&[("RCPT", smtp::HANG)]).0,
                smtp::server(&[(".", smtp::HANG)]).0,
            ],
        };
        for address in scripts {
            let began = clock::monotonic();
            let error = attempt(limited((specimen.plain)(address), limit))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), "timeout", "{}: {error:?}", specimen.name);
            assert!(matches!(error, NotifyError::Transient { .. }));
            assert!(
                began.elapsed() < Duration::from_secs(4),
                "{}",
                specimen.name
            );
        }
    }
}

/// A server without TLS on a TLS port, and one that takes the handshake and says nothing: both ends are bounded and
/// nothing secret was sent in clear.
#[tokio::test]
async fn without_tls_nothing_is_sent() {
    for specimen in SPECIMENS {
        let (address, transcript) = smtp::server(&[]);
        let channel = limited((specimen.tls)(address), Duration::from_secs(2));
        let error = attempt(channel).await.unwrap_err();
        assert!(
            matches!(error, NotifyError::Transient { .. }),
            "{}",
            specimen.name
        );
        let heard = transcript.lock().unwrap().join("\n");
        assert!(
            !heard.contains(HIDDEN) && !heard.contains("POST"),
            "{heard}"
        );
    }
}

/// A server whose certificate nobody vouches for: it gets no further than the handshake, and the reason is said.
#[tokio::test]
async fn a_strange_certificate_is_refused_and_said() {
    for specimen in SPECIMENS {
        let (address, heard) = tls::server();
        let error = attempt((specimen.tls)(address)).await.unwrap_err();
        assert_eq!(error.kind(), "network", "{}: {error:?}", specimen.name);
        assert!(matches!(error, NotifyError::Transient { .. }));
        assert!(
            error.chain().contains("certificate"),
            "{}: {}",
            specimen.name,
            error.chain()
        );
        assert!(
            !heard.join().unwrap(),
            "{}: something was sent",
            specimen.name
        );
    }
}

const HOSTILE: &str = "\r\nBcc: all@example.org\r\n\r\n<!channel> <@U1> & </td><script>alert(1)</script> \u{1b}[2J\u{0}\u{202e} \
                       \"}],\"x\":[{ ``` --=_bootwatch_ \\ \u{1f525}";

pub(in crate::notify) fn hostile_page() -> Notification {
    let long = format!("{HOSTILE}{}", "é<".repeat(500_000));
    let mut told = fixture::incident_with(VmType::Browser, Failure::AgentRefused, |_| {
        vec![long.clone()]
    });
    let mut page = told.remove(0);
    page.incident.host = HOSTILE.to_owned();
    page
}

#[test]
fn a_megabyte_of_hostile_evidence_stays_small_and_harmless() {
    let address = "127.0.0.1:9".parse().unwrap();
    for specimen in SPECIMENS {
        let message = sender((specimen.plain)(address)).render(&hostile_page());
        assert!(
            message.body.len() < 60_000,
            "{}: {}",
            specimen.name,
            message.body.len()
        );
        if specimen.success.is_some() {
            let value: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
            assert_eq!(value.get("x"), None, "{}", specimen.name);
        }
    }
}

#[test]
fn every_test_says_that_it_is_one() {
    let address = "127.0.0.1:9".parse().unwrap();
    for specimen in SPECIMENS {
        let messages =
            sender((specimen.plain)(address)).render_test("controller-1", fixture::FIRST_BAD);
        for message in messages {
            let body = String::from_utf8_lossy(&message.body);
            assert!(message.title.starts_with("[TEST] "), "{}", message.title);
            let closes = body.contains("\"event_action\":\"resolve\"");
            assert!(
                closes || body.contains("[TEST]"),
                "{}: {body}",
                specimen.name
            );
            assert!(message.incident.starts_with("test-"));
        }
    }
}

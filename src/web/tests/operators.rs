//! Changes over HTTP: who may make one, of what form, and what is answered.

use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::config::Secret;
use crate::core::desk::{Command, Done, Refused, View};

const TOKEN: &str = "0123456789abcdef0123";
const SILENCE: &str = r#"{"matchers":["rule=x"],"author":"ada","reason":"why","expires_in":"2h"}"#;

pub(in crate::web) fn operators(token: Option<&str>) -> (Operators, mpsc::Receiver<Ask>) {
    let (asks, asked) = mpsc::channel(2);
    let operators = Operators {
        token: token.map(Secret::new),
        asks,
        view: watch::channel(Arc::new(View::default())).1,
        synthetic: crate::web::Synthetic::off(),
    };
    (operators, asked)
}

struct Desk {
    server: Server,
    commands: Arc<Mutex<Vec<Command>>>,
}

/// A server whose owner answers every wish so.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's server has no supervisor"
)]
async fn desk(token: Option<&str>, answer: Answer) -> Desk {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (operators, mut asked) = operators(token);
    let commands: Arc<Mutex<Vec<Command>>> = Arc::default();
    let kept = Arc::clone(&commands);
    tokio::spawn(async move {
        while let Some(Ask {
            command,
            answer: to,
        }) = asked.recv().await
        {
            kept.lock().unwrap().push(command);
            to.send(answer.clone()).unwrap();
        }
    });
    let faces = faces(two_lines(), watch::channel(Readiness::ready()).1, operators);
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, faces, Limits::default(), stop.clone()));
    Desk {
        server: Server {
            address,
            ready: None,
            stop,
            serving,
        },
        commands,
    }
}

fn done() -> Answer {
    Answer {
        done: Ok(Done::Silenced(7)),
        saved: true,
    }
}

impl Desk {
    async fn send(&self, method: &str, path: &str, head: &str, body: &str) -> (u16, String) {
        let mut stream = connect(self.server.address).await;
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n{body}"
        );
        send(&mut stream, &text).await;
        let answer = read_all(&mut stream).await;
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    async fn change(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let head = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
        self.send(method, path, &head, body).await
    }

    fn asked(&self) -> usize {
        self.commands.lock().unwrap().len()
    }
}

#[tokio::test]
async fn without_a_configured_token_nothing_can_be_changed() {
    let desk = desk(None, done()).await;
    let (status, answer) = desk.change("POST", "/api/v1/silences", SILENCE).await;
    assert_eq!(status, 403);
    assert!(answer.contains("set web.token_file"), "{answer}");
    let (status, _) = desk.send("GET", "/api/v1/silences", "", "").await;
    assert_eq!((status, desk.asked()), (200, 0));
}

#[tokio::test]
async fn a_change_needs_the_token_and_says_what_it_is() {
    let desk = desk(Some(TOKEN), done()).await;
    let json = "Content-Type: application/json\r\n";
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    for (head, status) in [
        (json.to_owned(), 401),
        (format!("Authorization: Bearer \r\n{json}"), 401),
        (format!("Authorization: Bearer {TOKEN}x\r\n{json}"), 401),
        (format!("Authorization: Basic {TOKEN}\r\n{json}"), 401),
        (format!("Authorization: {TOKEN}\r\n{json}"), 401),
        (bearer.clone(), 415),
        (format!("{bearer}Content-Type: text/plain\r\n"), 415),
        (
            format!("{bearer}Content-Type: application/x-www-form-urlencoded\r\n"),
            415,
        ),
    ] {
        let (found, answer) = desk.send("POST", "/api/v1/silences", &head, SILENCE).await;
        assert_eq!(found, status, "{head}");
        assert_eq!(
            status == 401,
            answer.contains("www-authenticate: Bearer"),
            "{head}"
        );
        assert!(!answer.contains(TOKEN));
    }
    assert_eq!(desk.asked(), 0);
    let head = format!(
        "authorization: bearer {TOKEN}\r\ncontent-type: application/json; charset=utf-8\r\n"
    );
    let (status, answer) = desk.send("POST", "/api/v1/silences", &head, SILENCE).await;
    assert_eq!((status, desk.asked()), (201, 1), "{answer}");
    assert!(
        answer.ends_with("{\"id\":\"7\",\"saved\":true}\n"),
        "{answer}"
    );
    assert!(
        answer.contains("x-content-type-options: nosniff"),
        "{answer}"
    );
}

#[tokio::test]
async fn each_change_becomes_its_command() {
    let desk = desk(Some(TOKEN), done()).await;
    let author = r#"{"author":"ada"}"#;
    for (method, path, body) in [
        ("POST", "/api/v1/silences", SILENCE),
        ("DELETE", "/api/v1/silences/12", author),
        (
            "POST",
            "/api/v1/incidents/abcd/ack",
            r#"{"author":"ada","note":"mine"}"#,
        ),
        (
            "POST",
            "/api/v1/maintenance",
            r#"{"author":"ada","reason":"kernel","for":"1h"}"#,
        ),
        ("DELETE", "/api/v1/maintenance/3", author),
    ] {
        let (status, answer) = desk.change(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {answer}");
    }
    let author = || "ada".to_owned();
    assert_eq!(
        *desk.commands.lock().unwrap(),
        [
            Command::AddSilence {
                matchers: vec!["rule=x".parse().unwrap()],
                author: author(),
                reason: "why".to_owned(),
                starts_at: None,
                lasts_ms: 7_200_000,
            },
            Command::ExpireSilence {
                id: 12,
                author: author()
            },
            Command::Acknowledge {
                incident: "abcd".to_owned(),
                author: author(),
                note: "mine".to_owned(),
            },
            Command::StartMaintenance {
                author: author(),
                reason: "kernel".to_owned(),
                lasts_ms: 3_600_000,
            },
            Command::EndMaintenance {
                id: 3,
                author: author()
            },
        ]
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_said_and_reaches_nobody() {
    let desk = desk(Some(TOKEN), done()).await;
    let with = |what: &str, by: &str| SILENCE.replace(what, by);
    for (body, said) in [
        (String::new(), "the body:"),
        ("[]".to_owned(), "the body:"),
        (with("rule=x", "rule"), "matchers:"),
        (with("rule=x", "rule=~("), "matchers:"),
        (with("2h", "2"), "expires_in:"),
        (with("2h", "-2h"), "expires_in:"),
        (with("\"reason\":\"why\",", ""), "reason"),
        (with("reason", "because"), "because"),
        (with("}", ",\"starts_at\":\"soon\"}"), "starts_at:"),
    ] {
        let (status, answer) = desk.change("POST", "/api/v1/silences", &body).await;
        assert_eq!(status, 400, "{body}");
        assert!(answer.contains(said), "{answer}");
    }
    let (status, _) = desk
        .change("DELETE", "/api/v1/silences/x", r#"{"author":"a"}"#)
        .await;
    assert_eq!(status, 400);
    let large = with("why", &"x".repeat(17 << 10));
    let (status, _) = desk.change("POST", "/api/v1/silences", &large).await;
    assert_eq!((status, desk.asked()), (413, 0));
}

#[tokio::test]
async fn nothing_changes_by_get_and_other_methods_are_refused() {
    let desk = desk(Some(TOKEN), done()).await;
    for (method, path) in [
        ("GET", "/api/v1/incidents/abcd/ack"),
        ("GET", "/api/v1/silences/1"),
        ("PUT", "/api/v1/silences"),
        ("DELETE", "/api/v1/silences"),
        ("POST", "/api/v1/incidents"),
        ("POST", "/metrics"),
    ] {
        let (status, _) = desk.change(method, path, SILENCE).await;
        assert_eq!(status, 405, "{method} {path}");
    }
    assert_eq!(desk.asked(), 0);
}

#[tokio::test]
async fn what_is_refused_has_its_status_and_what_is_not_saved_says_so() {
    for (answer, status) in [
        (Err(Refused::Unknown("silence")), 404),
        (Err(Refused::Ambiguous), 409),
        (Err(Refused::Full("silences")), 409),
        (
            Err(Refused::Invalid {
                field: "author",
                why: "say who",
            }),
            400,
        ),
        (Ok(Done::Silenced(1)), 202),
    ] {
        let answer = Answer {
            done: answer,
            saved: false,
        };
        let desk = desk(Some(TOKEN), answer).await;
        let (found, text) = desk.change("POST", "/api/v1/silences", SILENCE).await;
        assert_eq!(found, status, "{text}");
    }
}

#[tokio::test]
async fn an_owner_that_is_busy_or_gone_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (operators, asked) = operators(Some(TOKEN));
    let filled: Vec<_> = (0..2)
        .map(|_| {
            let (answer, answered) = oneshot::channel();
            let command = Command::ExpireSilence {
                id: 1,
                author: "a".to_owned(),
            };
            operators.asks.try_send(Ask { command, answer }).unwrap();
            answered
        })
        .collect();
    let faces = faces(two_lines(), watch::channel(Readiness::ready()).1, operators);
    let stop = CancellationToken::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's server has no supervisor"
    )]
    let serving = tokio::spawn(serve(listener, faces, Limits::default(), stop.clone()));
    let desk = Desk {
        server: Server {
            address,
            ready: None,
            stop,
            serving,
        },
        commands: Arc::default(),
    };
    let (status, answer) = desk.change("POST", "/api/v1/silences", SILENCE).await;
    assert_eq!(status, 503);
    assert!(answer.contains("retry-after: 1"), "{answer}");
    drop((asked, filled));
    let (status, _) = desk.change("POST", "/api/v1/silences", SILENCE).await;
    assert_eq!(status, 503);
}

#[tokio::test]
async fn a_form_that_is_refused_comes_back_as_it_was_typed_without_the_token() {
    let desk = desk(Some(TOKEN), done()).await;
    let head = "Content-Type: application/x-www-form-urlencoded\r\n";
    let typed = |token: &str, lasts: &str| {
        format!(
            "token={token}&author=ada&reason=a+%22long%22+%3Cstory%3E&matchers=rule%3DBootFailureRate&expires_in={lasts}"
        )
    };
    for (token, lasts, status, says) in [
        (TOKEN, "2+moons", 400, "How long"),
        ("fedcba9876543210fedc", "2h", 401, "missing or wrong"),
    ] {
        let (found, page) = desk
            .send("POST", "/alerts/silence", head, &typed(token, lasts))
            .await;
        assert_eq!(found, status, "{page}");
        let value = |text: &str| format!("value=\"{text}\"");
        for part in [
            says,
            "action=\"/alerts/silence\"",
            "name=\"token\" type=\"password\"",
            &value("ada"),
            &value("a &quot;long&quot; &lt;story&gt;"),
            &value("rule=BootFailureRate"),
            &value(&lasts.replace('+', " ")),
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains(token), "{page}");
    }
    let (found, page) = desk
        .send("POST", "/alerts/silence", head, &typed(TOKEN, "2h"))
        .await;
    assert_eq!((found, desk.asked()), (303, 1), "{page}");
}

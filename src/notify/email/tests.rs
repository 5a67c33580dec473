use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::*;
use crate::config::Secret;
use crate::core::alert::Notification;
use crate::core::event::{Failure, VmType};
use crate::notify::fixture::smtp;
use crate::notify::fixture::tls::{self, Keys};
use crate::notify::tests::conformance::hostile_page;
use crate::notify::tests::{HIDDEN, email, sender};
use crate::notify::{Sender, fixture};

/// A real mail server (Debian's aiosmtpd) on a free port, which prints what it took as its own strict reader sees it.
struct Server {
    child: Child,
    address: SocketAddr,
    lines: BufReader<std::process::ChildStdout>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Server {
    /// `mode`: starttls, tls or plain.
    fn start(mode: &str, keys: &Keys) -> Server {
        Server::start_saying(mode, keys, 0)
    }

    /// It answers so many more lines to what is said in private.
    fn start_saying(mode: &str, keys: &Keys, more_lines: usize) -> Server {
        let program = which("aiosmtpd").expect("aiosmtpd is installed (scripts/test installs it)");
        let program = std::fs::read_to_string(program).unwrap();
        // The interpreter that has the library.
        let python = program
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("#!"));
        let mut words = python.unwrap().split_whitespace();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mailserver.py");
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .arg(script)
            .args([mode, HIDDEN])
            .arg(keys.at("server.pem"))
            .arg(keys.at("server.key"))
            .arg(more_lines.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        let address = format!("127.0.0.1:{}", first.trim()).parse().unwrap();
        Server {
            child,
            address,
            lines,
        }
    }

    /// The next mail that it took.
    fn took(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

fn which(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

fn changed(security: Security, address: SocketAddr, change: impl FnOnce(&mut Email)) -> Sender {
    let Channel::Email(mut settings) = email(security, address) else {
        panic!("a mail")
    };
    change(&mut settings);
    sender(Channel::Email(settings))
}

fn story() -> Vec<Notification> {
    fixture::incident(VmType::Browser, Failure::AgentRefused)
}

#[tokio::test]
async fn a_real_server_takes_mails_by_starttls_and_login_and_they_thread() {
    let keys = Keys::new();
    for (mode, security) in [("starttls", Security::StartTls), ("tls", Security::Tls)] {
        let mut server = Server::start(mode, &keys);
        let sender = changed(security, server.address, |email| {
            email.ca_file = Some(keys.at("server.pem"));
        });
        let mut mails = Vec::new();
        for notification in story() {
            sender.send(&sender.render(&notification)).await.unwrap();
            mails.push(server.took());
        }
        let [first, update, end] = &mails[..] else {
            panic!("a firing, an update, a resolve")
        };
        for mail in &mails {
            assert_eq!(mail["defects"], serde_json::json!([]), "{mode}");
            assert_eq!(mail["login"], "bootwatch");
            assert_eq!(mail["encrypted"], true);
            assert_eq!(mail["from"], "bootwatch@example.org");
            assert_eq!(
                mail["to"],
                serde_json::json!(["oncall@example.org", "lead@example.org"])
            );
            assert_eq!(
                mail["types"],
                serde_json::json!(["text/plain", "text/html"])
            );
            assert_eq!(mail["headers"]["Auto-Submitted"], "auto-generated");
            assert_eq!(
                mail["headers"]["List-Id"],
                "<controller-1.bootwatch.example.org>"
            );
            assert!(mail["longest_line"].as_u64().unwrap() <= 998);
            assert!(mail["bytes"].as_u64().unwrap() < 100 * 1024);
            assert!(
                !mail["html"].as_str().unwrap().contains("src="),
                "nothing is fetched"
            );
        }
        let root = &first["headers"]["Message-ID"];
        let incident = &story()[0].incident.key;
        assert_eq!(*root, format!("<{incident}@example.org>"));
        assert_eq!(first["headers"].get("In-Reply-To"), None);
        for later in [update, end] {
            assert_eq!(later["headers"]["In-Reply-To"], *root);
            assert_eq!(later["headers"]["References"], *root);
            assert_ne!(later["headers"]["Message-ID"], *root);
        }
        assert_ne!(
            update["headers"]["Message-ID"],
            end["headers"]["Message-ID"]
        );
        let base = "browser boots fail on controller-1: the guest is up, but nothing listens on port 8080 \
                    (ECONNREFUSED to the end)";
        assert_eq!(first["headers"]["Subject"], format!("[FIRING] {base}"));
        assert_eq!(update["headers"]["Subject"], format!("Re: [FIRING] {base}"));
        assert_eq!(end["headers"]["Subject"], format!("Re: [RESOLVED] {base}"));
        let text = first["text"].as_str().unwrap();
        assert!(
            text.contains("\nNot affected: CLI boots, 18 of 18 ready"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_repeated_try_is_the_same_mail() {
    let keys = Keys::new();
    let mut server = Server::start("starttls", &keys);
    let sender = || {
        changed(Security::StartTls, server.address, |email| {
            email.ca_file = Some(keys.at("server.pem"));
        })
    };
    // Another process after a restart, with what was stored.
    let message = sender().render(&story()[1]);
    sender().send(&message).await.unwrap();
    sender().send(&message).await.unwrap();
    let (one, two) = (server.took(), server.took());
    assert_eq!(one["headers"]["Message-ID"], two["headers"]["Message-ID"]);
}

#[tokio::test]
async fn hostile_text_adds_no_header_no_part_and_no_markup() {
    let keys = Keys::new();
    let mut server = Server::start("starttls", &keys);
    let sender = changed(Security::StartTls, server.address, |email| {
        email.ca_file = Some(keys.at("server.pem"));
    });
    for notification in [hostile_page(), {
        let mut page = hostile_page();
        page.incident.key.push_str("-2");
        page.incident.host = "é🔥\u{202e}".repeat(300);
        page
    }] {
        sender.send(&sender.render(&notification)).await.unwrap();
        let mail = server.took();
        assert_eq!(mail["defects"], serde_json::json!([]));
        assert_eq!(
            mail["types"],
            serde_json::json!(["text/plain", "text/html"])
        );
        assert_eq!(mail["headers"].get("Bcc"), None);
        assert!(mail["longest_line"].as_u64().unwrap() <= 998);
        assert!(mail["headers"]["Subject"].as_str().unwrap().chars().count() <= 180);
        let html = mail["html"].as_str().unwrap();
        assert!(!html.contains("<script") && !html.contains("</td><script"));
        let controls = |text: &str| text.chars().any(|c| c.is_control() && c != '\n');
        assert!(!controls(html) && !controls(mail["text"].as_str().unwrap()));
    }
}

#[tokio::test]
async fn a_wrong_password_a_strange_certificate_and_a_server_without_starttls_are_refused() {
    let keys = Keys::new();
    let server = Server::start("starttls", &keys);
    let trusted = |email: &mut Email| email.ca_file = Some(keys.at("server.pem"));
    let wrong = changed(Security::StartTls, server.address, |email| {
        trusted(email);
        email.login = Some(("bootwatch".to_owned(), Secret::new("wrong")));
    });
    let error = wrong.send(&wrong.render(&story()[0])).await.unwrap_err();
    assert_eq!(
        (error.fault(), error.breaks_receiver()),
        (Fault::Replied(535), true)
    );
    let strange = changed(Security::StartTls, server.address, |_| {});
    let error = strange
        .send(&strange.render(&story()[0]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), "network");
    assert!(error.chain().contains("certificate"), "{}", error.chain());
    // The name in the certificate is not the one that was configured.
    let other = changed(Security::StartTls, server.address, |email| {
        trusted(email);
        email.server = "localhost".to_owned();
    });
    let error = other.send(&other.render(&story()[0])).await.unwrap_err();
    assert!(error.chain().contains("certificate"), "{}", error.chain());
    let plain = Server::start("plain", &keys);
    let sender = changed(Security::StartTls, plain.address, trusted);
    let error = sender.send(&sender.render(&story()[0])).await.unwrap_err();
    assert_eq!(
        (error.fault(), error.breaks_receiver()),
        (Fault::Unusable(NO_STARTTLS), true)
    );
}

/// A way of being logged in is offered behind the consent to TLS, in clear, and none by the server itself.
#[tokio::test]
async fn what_came_in_clear_is_no_answer_to_what_is_said_in_private() {
    let keys = Keys::new();
    let config = tls::config(&keys);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sender = changed(
        Security::StartTls,
        listener.local_addr().unwrap(),
        |email| email.ca_file = Some(keys.at("server.pem")),
    );
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for says in [
            "220 mail.example\r\n",
            "250-mail.example\r\n250 STARTTLS\r\n",
            "220 go on\r\n250-mail.example\r\n250 AUTH PLAIN\r\n",
        ] {
            stream.write_all(says.as_bytes()).unwrap();
            if !says.contains("AUTH") {
                let mut said = [0; 100];
                assert!(stream.read(&mut said).unwrap() > 0);
            }
        }
        let mut session = rustls::ServerConnection::new(config).unwrap();
        let mut private = rustls::Stream::new(&mut session, &mut stream);
        let mut said = [0; 100];
        assert!(private.read(&mut said).unwrap() > 0);
        private.write_all(b"250 mail.example\r\n").unwrap();
        let read = private.read(&mut said).unwrap();
        String::from_utf8_lossy(&said[..read]).into_owned()
    });
    let error = sender.send(&sender.render(&story()[0])).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Unusable(NO_LOGIN));
    assert_eq!(server.join().unwrap(), "QUIT\r\n");
}

fn heard(transcript: &smtp::Transcript, begin: &str) -> Vec<String> {
    let lines = transcript.lock().unwrap();
    lines
        .iter()
        .filter(|line| line.starts_with(begin))
        .cloned()
        .collect()
}

#[tokio::test]
async fn one_recipient_who_is_refused_does_not_keep_the_mail_from_the_others() {
    let (address, transcript) = smtp::server(&[("RCPT TO:<lead@", "550 nobody")]);
    let sender = sender(email(Security::None, address));
    let taken = sender.send(&sender.render(&story()[0])).await.unwrap();
    assert_eq!(heard(&transcript, ".").len(), 1);
    assert_eq!(taken.refused, [(2, Fault::Replied(550))]);
}

#[tokio::test]
async fn one_recipient_who_is_put_off_is_tried_again_alone() {
    let (address, transcript) = smtp::server(&[("RCPT TO:<lead@", "450 greylisted")]);
    let sender = sender(email(Security::None, address));
    let message = sender.render(&story()[0]);
    for _ in 0..2 {
        let error = sender.send(&message).await.unwrap_err();
        assert!(matches!(error, NotifyError::Partly { .. }));
    }
    assert_eq!(
        heard(&transcript, "RCPT TO:<oncall@").len(),
        1,
        "once is enough"
    );
    assert_eq!(heard(&transcript, "RCPT TO:<lead@").len(), 2);
    assert_eq!(heard(&transcript, ".").len(), 1, "one mail went out");
}

/// One of three has it at once, one is put off, and one is refused.
#[tokio::test]
async fn one_recipient_who_is_refused_is_not_asked_again_for_those_who_are_put_off() {
    let (address, transcript) = smtp::server(&[
        ("RCPT TO:<lead@", "550 nobody"),
        ("RCPT TO:<late@", "450 greylisted"),
    ]);
    let sender = changed(Security::None, address, |settings| {
        settings.to.push("late@example.test".parse().unwrap());
    });
    let message = sender.render(&story()[0]);
    for _ in 0..3 {
        let error = sender.send(&message).await.unwrap_err();
        assert!(matches!(error, NotifyError::Partly { .. }));
    }
    assert_eq!(heard(&transcript, "RCPT TO:<late@").len(), 3);
    assert_eq!(
        heard(&transcript, "RCPT TO:<lead@").len(),
        1,
        "once is enough"
    );
    assert_eq!(heard(&transcript, ".").len(), 1, "one mail went out");
}

/// Who has a mail is not sent the shorter form of it, which is made when the server refuses the whole one.
#[tokio::test]
async fn who_has_a_mail_does_not_get_its_shorter_form() {
    let (address, transcript) = smtp::server(&[("RCPT TO:<lead@", "450 greylisted")]);
    let sender = sender(email(Security::None, address));
    let mut message = sender.render(&story()[0]);
    sender.send(&message).await.unwrap_err();
    message.id += crate::notify::REDUCED;
    let error = sender.send(&message).await.unwrap_err();
    assert!(matches!(error, NotifyError::Partly { .. }));
    assert_eq!(heard(&transcript, "RCPT TO:<oncall@").len(), 1);
    assert_eq!(heard(&transcript, ".").len(), 1, "one mail went out");
}

/// Another process after a restart, with what was stored beside the message.
#[tokio::test]
async fn who_has_a_mail_does_not_get_it_again_after_a_restart() {
    let (address, transcript) = smtp::server(&[("RCPT TO:<lead@", "450 greylisted")]);
    let message = sender(email(Security::None, address)).render(&story()[0]);
    let mut kept: Option<String> = None;
    for _ in 0..3 {
        let sender = sender(email(Security::None, address));
        if let Some(receipt) = &kept {
            sender.recall(&message.id, receipt);
        }
        let Err(NotifyError::Partly { receipt, .. }) = sender.send(&message).await else {
            panic!("one has it, and one is put off")
        };
        kept = Some(receipt);
    }
    assert_eq!(heard(&transcript, ".").len(), 1, "one mail went out");
    assert_eq!(heard(&transcript, "RCPT TO:<lead@").len(), 3);
}

#[tokio::test]
async fn nobody_who_takes_it_is_a_failure() {
    let (address, transcript) = smtp::server(&[("RCPT", "550 nobody")]);
    let sender = sender(email(Security::None, address));
    let message = sender.render(&story()[0]);
    for _ in 0..2 {
        let error = sender.send(&message).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Replied(550));
    }
    assert!(heard(&transcript, "DATA").is_empty());
    // Whoever tries what failed for good has another form of it.
    assert_eq!(heard(&transcript, "RCPT").len(), 4);
}

/// A server that looks into each mail for longer than a try may take would deliver it at each try.
#[tokio::test]
async fn a_mail_that_was_given_whole_is_waited_for_and_not_sent_again() {
    let (address, transcript) = smtp::server(&[(".", smtp::LATE)]);
    let timeout = smtp::LATE_AFTER - Duration::from_millis(500);
    let sender = changed(Security::None, address, |email| email.timeout = timeout);
    sender.send(&sender.render(&story()[0])).await.unwrap();
    assert_eq!(heard(&transcript, ".").len(), 1);
}

#[tokio::test]
async fn a_good_bye_that_fails_does_not_undo_the_mail() {
    for reply in [smtp::HANG, smtp::CLOSE, smtp::LINES, "500 what"] {
        let script: smtp::Script = Box::leak(Box::new([("QUIT", reply)]));
        let (address, _) = smtp::server(script);
        let sender = sender(email(Security::None, address));
        sender.send(&sender.render(&story()[0])).await.unwrap();
    }
}

fn scripted(steps: &[&'static str], reply: &str) -> SocketAddr {
    let reply: &str = Box::leak(reply.to_owned().into_boxed_str());
    let script: Vec<_> = steps.iter().map(|step| (*step, reply)).collect();
    smtp::server(Box::leak(script.into_boxed_slice())).0
}

const TOO_MANY_LINES: &str = "send the notification: the receiver could not be spoken to: the mail server's answer has more \
                              than 512 lines";

#[tokio::test]
async fn an_answer_without_an_end_is_left_and_holds_up_no_other_mail() {
    let too_long = TOO_MANY_LINES.replace("has more than 512 lines", "is longer than 64 KiB");
    for (reply, said) in [(smtp::LINES, TOO_MANY_LINES), (smtp::NO_LINE, &*too_long)] {
        for step in ["greeting", "EHLO", "RCPT", "."] {
            let flooding = sender(email(Security::None, scripted(&[step], reply)));
            let healthy = sender(email(Security::None, smtp::server(&[]).0));
            let message = healthy.render(&story()[0]);
            let (left, sent) = tokio::join!(flooding.send(&message), healthy.send(&message));
            sent.unwrap();
            let error = left.unwrap_err();
            assert_eq!(error.chain(), said, "{step}");
            assert!(matches!(error, NotifyError::Transient { .. }));
        }
    }
}

/// Each answer counts for itself.
#[tokio::test]
async fn answers_that_are_long_and_end_are_taken() {
    let long = format!("{}250 fine", "250-and moreover\r\n".repeat(400));
    let address = scripted(&["EHLO", "MAIL", "RCPT", "."], &long);
    let sender = changed(Security::None, address, |email| email.login = None);
    sender.send(&sender.render(&story()[0])).await.unwrap();
}

/// What is said in private is counted as it is said; a certificate as long as TLS has them does not count.
#[tokio::test]
async fn the_bound_of_an_answer_is_within_tls() {
    let keys = Keys::with_names(3_000);
    for (mode, security) in [("starttls", Security::StartTls), ("tls", Security::Tls)] {
        for (more_lines, taken) in [(400, true), (600, false)] {
            let server = Server::start_saying(mode, &keys, more_lines);
            let sender = changed(security, server.address, |email| {
                email.ca_file = Some(keys.at("server.pem"));
            });
            let sent = sender.send(&sender.render(&story()[0])).await;
            let said = sent.map(drop).map_err(|error| error.chain());
            let expected = if taken {
                Ok(())
            } else {
                Err(TOO_MANY_LINES.to_owned())
            };
            assert_eq!(said, expected, "{mode}");
        }
    }
}

#[test]
fn a_file_that_holds_no_certificate_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    for there in [false, true] {
        if there {
            std::fs::write(&path, "hunter2").unwrap();
        }
        let Channel::Email(mut settings) = email(Security::Tls, "127.0.0.1:9".parse().unwrap())
        else {
            panic!("a mail")
        };
        settings.ca_file = Some(path.clone());
        let notifier = Notifier {
            name: "ops".to_owned(),
            channel: Channel::Email(settings),
        };
        let error = open(&notifier).err().unwrap();
        assert_eq!(
            error.to_string(),
            "notify.ops: its ca_file cannot be read as PEM certificates"
        );
    }
}

#[test]
fn a_mail_before_which_none_came_is_no_answer() {
    use crate::notify::Form;
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let sender = changed(Security::None, nowhere, |_| ());
    let subject = |first| {
        let form = Form {
            first,
            ..Form::default()
        };
        let body = sender.render_as(&story()[1], form).body;
        let mail = String::from_utf8_lossy(&body).into_owned();
        let (_, subject) = mail.split_once("Subject: ").unwrap();
        subject.chars().take(15).collect::<String>()
    };
    assert_eq!(subject(false), "Re: [FIRING] br");
    assert_eq!(subject(true), "[FIRING] browse");
}

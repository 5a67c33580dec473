//! `bootwatch notify test`: what a person sees who asks whether a channel works, and what arrives.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// A receiver that answers everything alike and keeps what it got.
fn receiver(reply: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let got: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&got);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            loop {
                let (mut length, mut line) = (0, String::new());
                while stream.read_line(&mut line).unwrap_or(0) > 2 {
                    let lower = line.to_ascii_lowercase();
                    if let Some(value) = lower.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    line.clear();
                }
                if length == 0 {
                    break;
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                kept.lock().unwrap().push(String::from_utf8(body).unwrap());
                stream.get_mut().write_all(reply.as_bytes()).unwrap();
            }
        }
    });
    (address, got)
}

fn test(channel: &str, notifiers: &str) -> (i32, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bootwatch.toml");
    let key = directory.path().join("key");
    std::fs::write(&key, "0123456789abcdef0123456789abcdef").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!("[host]\nname = \"h-1\"\n[log]\nfile = \"/nowhere/x.log\"\n{notifiers}");
    std::fs::write(&path, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bootwatch"))
        .args(["notify", "test", channel, "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let said = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        said(output.stdout),
        said(output.stderr),
    )
}

#[test]
fn a_channel_that_works_gets_a_marked_message_and_its_end() {
    let (address, got) = receiver("HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}");
    let config = format!(
        "[notify.night]\ntype = \"pagerduty\"\nrouting_key_file = \"key\"\nbase_url = \"http://{address}\"\n"
    );
    let (status, out, err) = test("night", &config);
    assert_eq!((status, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "night: the test message: taken\nnight: the test's end: taken\n"
    );
    let got = got.lock().unwrap();
    let events: Vec<serde_json::Value> = got
        .iter()
        .map(|body| serde_json::from_str(body).unwrap())
        .collect();
    assert_eq!(
        events[0]["payload"]["summary"],
        "[TEST] bootwatch on h-1 reaches this channel"
    );
    assert_eq!(events[0]["payload"]["severity"], "info");
    assert_eq!(events[1]["event_action"], "resolve");
    assert_eq!(events[0]["dedup_key"], events[1]["dedup_key"]);
}

#[test]
fn a_channel_that_refuses_us_is_said_with_its_remedy_and_status_1() {
    let (address, got) = receiver("HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nno_service");
    let config =
        format!("[notify.chat]\ntype = \"slack\"\nurl = \"http://{address}/services/hunter2\"\n");
    let (status, out, err) = test("chat", &config);
    assert_eq!((status, err.as_str()), (1, ""));
    let said = "chat: the test message: not taken: send the notification: Slack says no_service: the webhook was removed or \
                disabled; make a new one\n  no further try can help; correct notify.chat\n";
    assert_eq!(out, said);
    assert_eq!(got.lock().unwrap().len(), 1, "no end without a beginning");
}

#[test]
fn every_instance_of_an_alertmanager_is_told_and_named() {
    let (up, got) = receiver("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let down = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let config = format!(
        "[notify.am]\ntype = \"alertmanager\"\nurls = [\"http://{up}\", \"http://{down}\"]\n"
    );
    let (status, out, _) = test("am", &config);
    assert_eq!(status, 1);
    assert!(
        out.starts_with(&format!("am: the test alert to {up}: taken\n")),
        "{out}"
    );
    let refused = format!(
        "am: the test alert to {down}: not taken: send the notification: the receiver could not be spoken to"
    );
    assert!(out.contains(&refused), "{out}");
    let alerts: serde_json::Value = serde_json::from_str(&got.lock().unwrap()[0]).unwrap();
    assert_eq!(alerts[0]["labels"]["alertname"], "BootwatchTest");
}

/// The others have it, and whoever asks must know of the one who has not.
#[test]
fn a_recipient_who_is_refused_is_said_with_status_1() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut in_mail, mut line) = (false, String::new());
            stream.get_mut().write_all(b"220 mail.example\r\n").unwrap();
            while stream.read_line(&mut line).unwrap_or(0) > 0 {
                let reply = match line.trim_end() {
                    "." => "250 taken",
                    _ if in_mail => "",
                    "DATA" => "354 go on",
                    "RCPT TO:<gone@example.org>" => "550 nobody",
                    _ => "250 fine",
                };
                in_mail = matches!(reply, "" | "354 go on");
                if !reply.is_empty() {
                    write!(stream.get_mut(), "{reply}\r\n").unwrap();
                }
                line.clear();
            }
        }
    });
    let config = format!(
        "[notify.mail]\ntype = \"email\"\nserver = \"127.0.0.1\"\nport = {port}\nsecurity = \"none\"\n\
         from = \"b@example.org\"\nto = [\"oncall@example.org\", \"gone@example.org\"]\n"
    );
    let (status, out, err) = test("mail", &config);
    assert_eq!((status, err.as_str()), (1, ""));
    let refused = "  recipient 2 of notify.mail.to was refused: the mail server replied 550\n";
    let said = format!(
        "mail: the test message: taken, but not for all\n{refused}\
         mail: the test's end: taken, but not for all\n{refused}"
    );
    assert_eq!(out, said);
}

#[test]
fn a_channel_that_is_not_there_is_status_2_and_the_others_are_named() {
    let config = "[notify.chat]\ntype = \"slack\"\nurl = \"http://127.0.0.1:9/\"\n";
    let (status, out, err) = test("caht", config);
    assert_eq!((status, out.as_str()), (2, ""));
    assert_eq!(err, "no channel is called \"caht\"; configured are: chat\n");
    let (_, _, err) = test("chat", "");
    assert_eq!(err, "no channel is called \"chat\"; none is configured\n");
}

//! A real mail server without secrets; it ends with the test.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::Value;

use crate::sidecar::DEADLINE;

pub(crate) struct MailServer {
    child: Child,
    port: u16,
    mails: mpsc::Receiver<Value>,
}

impl MailServer {
    pub(crate) fn start() -> MailServer {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mailserver.py");
        let mut child = Command::new("/usr/bin/python3")
            .arg(script)
            .args(["plain", "-", "-", "-"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 with aiosmtpd runs (scripts/test installs it)");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines
            .next()
            .expect("the mail server says its port (scripts/test installs python3-aiosmtpd)")
            .unwrap()
            .parse()
            .unwrap();
        let (tell, mails) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if tell.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        MailServer { child, port, mails }
    }

    pub(crate) fn next(&self) -> Value {
        self.mails.recv_timeout(DEADLINE).expect("a mail arrives")
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.mails.try_recv().is_err()
    }

    pub(crate) fn notifier(&self, to: &str) -> String {
        format!(
            "[notify.team]\ntype = \"email\"\nserver = \"127.0.0.1\"\nport = {}\nsecurity = \"none\"\n\
             from = \"bootwatch@ops.example\"\nto = [{to}]\n",
            self.port
        )
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

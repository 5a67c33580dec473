//! When no channel takes a page, or none is configured: the journal, at the level that every terminal shows, and a program
//! of the operator's. A ticket that no channel is there for is a warning in the log: nobody is woken by one.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{Access, access};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::core::alert::Notification;
use crate::core::rule::Severity;
use crate::export::Recorder;
use crate::notify::{self, Page};

/// Where journald listens.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// What a program is given before it is ended.
const PROGRAM: Duration = Duration::from_secs(30);

/// By which the program tells what wakes somebody from what does not, and a beginning from an end.
const SEVERITY: &str = "BOOTWATCH_SEVERITY";
const STATUS: &str = "BOOTWATCH_STATUS";

/// What the workers, the keeper and the one who shouts know together; held for a moment at a time.
#[derive(Debug)]
pub(super) struct LastResort {
    known: Mutex<notify::Resort>,
    changed: Notify,
}

impl LastResort {
    pub(super) fn new(channels: impl IntoIterator<Item = String>) -> LastResort {
        LastResort {
            known: Mutex::new(notify::Resort::new(channels)),
            changed: Notify::new(),
        }
    }

    pub(super) fn leaves(&self, notification: &Arc<Notification>) {
        self.with(|known| known.leaves(notification, clock::monotonic()));
        self.changed.notify_one();
    }

    /// A try of a channel's ended.
    pub(super) fn tried(&self, channel: &str, arrived: bool) {
        self.with(|known| known.tried(channel, arrived, clock::monotonic()));
        self.changed.notify_one();
    }

    fn with<T>(&self, work: impl FnOnce(&mut notify::Resort) -> T) -> T {
        // Nothing can be half done in it.
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How the last resort speaks.
pub(super) struct Voice {
    pub(super) context: notify::Context,
    pub(super) program: Option<PathBuf>,
    pub(super) recorder: Arc<Recorder>,
}

/// Shouts what must be shouted, until `stop`.
pub(super) async fn run(resort: Arc<LastResort>, voice: Voice, stop: CancellationToken) {
    loop {
        let due = resort.with(|known| known.next_due());
        let reached = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = resort.changed.notified() => continue,
            () = reached => {}
        }
        let (taken, why) = resort.with(|known| {
            let why = match known.has_channels() {
                true => Why::Unreachable,
                false => Why::NoneConfigured,
            };
            (known.take(clock::monotonic()), why)
        });
        for notification in taken {
            voice.shout(&notification, why, Path::new(JOURNAL)).await;
        }
    }
}

/// Why nobody else is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Unreachable,
    NoneConfigured,
}

impl Why {
    fn as_str(self) -> &'static str {
        match self {
            Why::Unreachable => "no channel can be reached",
            Why::NoneConfigured => "no channel is configured",
        }
    }
}

impl Voice {
    async fn shout(&self, notification: &Notification, why: Why, journal: &Path) {
        let page = Page::of(notification, &self.context);
        let incident = &notification.incident.key;
        let is_ticket = notification.incident.severity() == Severity::Ticket;
        // Whoever reads our own output sees it, too: where there is no channel, that is the only place for the text.
        match why {
            Why::Unreachable if is_ticket => tracing::warn!(
                incident,
                title = page.title,
                "no channel can be reached: this ticket is told to nobody else"
            ),
            Why::Unreachable => tracing::error!(
                incident,
                title = page.title,
                "no channel can be reached: this page is told to nobody else"
            ),
            Why::NoneConfigured if is_ticket => tracing::warn!(
                incident,
                title = page.title,
                text = page.body(),
                "no channel is configured: this ticket is told to nobody else"
            ),
            Why::NoneConfigured => tracing::error!(
                incident,
                title = page.title,
                text = page.body(),
                "no channel is configured: this page is told to nobody else"
            ),
        }
        if !is_ticket {
            let heard = tell_journal(journal, why, &page.title);
            self.recorder.last_resort("journal", heard);
        }
        let Some(program) = &self.program else { return };
        let text = format!("{}\n\n{}\n", page.title, page.body());
        let about = [
            (SEVERITY, notification.incident.severity().as_str()),
            (STATUS, page.status.as_str()),
        ];
        let done = tokio::time::timeout(PROGRAM, start(program, &text, about)).await;
        let heard = match done {
            Ok(Ok(true)) => true,
            Ok(Ok(false)) => false,
            Ok(Err(error)) => {
                tracing::error!(program = %program.display(), %error, "alerts.last_resort cannot be started");
                false
            }
            Err(_) => {
                tracing::error!(program = %program.display(), "alerts.last_resort took too long and was ended");
                false
            }
        };
        self.recorder.last_resort("program", heard);
    }
}

/// One line at level emerg, in the journal's own protocol: journald shows it on every terminal.
fn tell_journal(journal: &Path, why: Why, title: &str) -> bool {
    let line: String = title
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    let entry = format!(
        "PRIORITY=0\nSYSLOG_IDENTIFIER=bootwatch\nMESSAGE={}: {line}\n",
        why.as_str()
    );
    UnixDatagram::unbound()
        .and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.send_to(entry.as_bytes(), journal)
        })
        .is_ok()
}

/// Why a program could not be started for a page, if that can be seen before there is one.
#[must_use]
pub fn trouble_with(program: &Path) -> Option<String> {
    let what = match std::fs::metadata(program) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        Err(error) => format!("cannot be seen: {error}"),
        Ok(facts) if !facts.is_file() => "is no file".to_owned(),
        Ok(_) => match access(program, Access::EXEC_OK) {
            Ok(()) => return None,
            Err(_) => "cannot be executed by this user (chmod +x)".to_owned(),
        },
    };
    Some(format!(
        "{} {what}; a page that no channel takes would reach the journal alone",
        program.display()
    ))
}

/// Gives a program the page on its standard input; whether it ended well. It sees nothing of our environment, which may
/// hold secrets, but what the page is `about`.
async fn start(
    program: &Path,
    text: &str,
    about: [(&'static str, &'static str); 2],
) -> std::io::Result<bool> {
    let mut child = Command::new(program)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .envs(about)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read is judged by how it ends.
        input.write_all(text.as_bytes()).await.ok();
    }
    Ok(child.wait().await?.success())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::core::alert::drill;
    use crate::core::event::Timestamp;
    use crate::export;
    use crate::notify::tests as notifying;

    #[test]
    fn the_journal_gets_one_line_at_level_emerg() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("socket");
        let journal = UnixDatagram::bind(&place).unwrap();
        for (why, said) in [
            (Why::Unreachable, "no channel can be reached"),
            (Why::NoneConfigured, "no channel is configured"),
        ] {
            assert!(tell_journal(&place, why, "boots fail\nPRIORITY=7\u{1b}[2J"));
            let mut bytes = [0; 512];
            let length = journal.recv(&mut bytes).unwrap();
            assert_eq!(
                std::str::from_utf8(&bytes[..length]).unwrap(),
                format!(
                    "PRIORITY=0\nSYSLOG_IDENTIFIER=bootwatch\n\
                     MESSAGE={said}: boots fail\u{fffd}PRIORITY=7\u{fffd}[2J\n"
                )
            );
        }
        let nobody = folder.path().join("nobody");
        assert!(!tell_journal(&nobody, Why::Unreachable, "x"));
    }

    #[test]
    fn a_program_that_cannot_be_started_is_known_before_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("sms");
        let what = || {
            let trouble = trouble_with(&program)?;
            let (place, rest) = trouble.split_once(" a page that").unwrap();
            assert_eq!(rest, " no channel takes would reach the journal alone");
            let named = format!("{} ", program.display());
            Some(place.strip_prefix(&named).unwrap().to_owned())
        };
        assert_eq!(what().unwrap(), "does not exist;");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        let cannot = "cannot be executed by this user (chmod +x);";
        assert_eq!(what().unwrap(), cannot);
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(what(), None);
        std::fs::remove_file(&program).unwrap();
        std::fs::create_dir(&program).unwrap();
        assert_eq!(what().unwrap(), "is no file;");
    }

    #[tokio::test]
    async fn a_program_gets_the_page_and_nothing_of_our_environment() {
        let folder = tempfile::tempdir().unwrap();
        let (program, heard) = (folder.path().join("sms"), folder.path().join("heard"));
        let script = format!(
            "#!/bin/sh\ncat > {heard:?}\nenv | grep -c CARGO >> {heard:?}\nenv | grep BOOTWATCH >> {heard:?}\nexit 0\n",
            heard = heard.display().to_string()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let about = [(SEVERITY, "page"), (STATUS, "firing")];
        assert!(start(&program, "boots fail\n", about).await.unwrap());
        let said = std::fs::read_to_string(&heard).unwrap();
        let said: Vec<&str> = said.lines().collect();
        assert_eq!(said[..2], ["boots fail", "0"]);
        assert!(said.contains(&"BOOTWATCH_SEVERITY=page"), "{said:?}");
        assert!(said.contains(&"BOOTWATCH_STATUS=firing"), "{said:?}");
        assert!(!start(Path::new("/bin/false"), "x", about).await.unwrap());
        let nothing = folder.path().join("nothing");
        assert!(start(&nothing, "x", about).await.is_err());
    }

    #[tokio::test]
    async fn a_ticket_is_not_shown_on_every_terminal_whyever_nobody_else_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("socket");
        let journal = UnixDatagram::bind(&place).unwrap();
        journal.set_nonblocking(true).unwrap();
        let voice = Voice {
            context: notifying::context(),
            program: None,
            recorder: Arc::new(Recorder::new(&export::Setup::default())),
        };
        let [page, ..] = drill("h", [Timestamp(0); 3]);
        let mut ticket = page.clone();
        for member in &mut ticket.incident.members {
            member.severity = Severity::Ticket;
        }
        let mut bytes = [0; 1024];
        for why in [Why::Unreachable, Why::NoneConfigured] {
            voice.shout(&ticket, why, &place).await;
            assert!(journal.recv(&mut bytes).is_err(), "{why:?}");
            voice.shout(&page, why, &place).await;
            assert!(journal.recv(&mut bytes).is_ok(), "{why:?}");
        }
    }
}

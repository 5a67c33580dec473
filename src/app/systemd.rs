//! Telling systemd: that it runs, how it is, that it ends, and, again and again, that nothing hangs.
//!
//! The protocol is a datagram of lines to the socket that `NOTIFY_SOCKET` names (sd_notify(3)); that is all of it, so no
//! library is needed. Nothing here waits: what cannot be sent at once is not sent.
//!
//! The watchdog is told only while the follower, the owner who judges, and the keeper who has the outbox have each
//! ticked of late. Whoever blocks the thread they share silences it, too.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::health::Health;

/// The service manager, where there is one.
#[derive(Debug, Default)]
pub struct Systemd {
    manager: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Systemd {
    /// As the environment says (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`); a watchdog of another process is
    /// none of ours.
    #[must_use]
    pub fn of(variable: impl Fn(&str) -> Option<String>, process: u32) -> Systemd {
        let manager = variable("NOTIFY_SOCKET")
            .filter(|name| !name.is_empty())
            .and_then(|name| match open(&name) {
                Ok(manager) => Some(manager),
                Err(error) => {
                    tracing::warn!(%error, "NOTIFY_SOCKET cannot be used; systemd is told nothing");
                    None
                }
            });
        let ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == process.to_string());
        let micros = variable("WATCHDOG_USEC").and_then(|micros| micros.parse().ok());
        let watchdog = micros
            .filter(|micros| ours && *micros > 0)
            .map(Duration::from_micros);
        Systemd { manager, watchdog }
    }

    /// Everything is started.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    pub(super) fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=shutting down");
    }

    fn tell(&self, lines: &str) {
        if let Some((socket, manager)) = &self.manager
            && let Err(error) = socket.send_to_addr(lines.as_bytes(), manager)
        {
            tracing::debug!(%error, "systemd could not be told");
        }
    }

    /// Tells the watchdog that nothing hangs, as long as that is so; ends with `stop`.
    pub(super) async fn watch(self: Arc<Self>, health: Arc<Health>, stop: CancellationToken) {
        let Some(limit) = self.watchdog.filter(|_| self.manager.is_some()) else {
            stop.cancelled().await;
            return;
        };
        let beats = async {
            // Two beats may be lost.
            let mut pace = tokio::time::interval(limit / 3);
            let mut hung = None;
            loop {
                pace.tick().await;
                let hangs = health.hangs();
                if hangs != hung {
                    match hangs {
                        Some(part) => {
                            tracing::error!(part, "hangs; the watchdog is told nothing more");
                            self.status(&format!("{part} hangs"));
                        }
                        None => tracing::info!("nothing hangs any more"),
                    }
                    hung = hangs;
                }
                if hangs.is_none() {
                    self.tell("WATCHDOG=1");
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = beats => {}
        }
    }
}

/// A name that begins with `@` is in the abstract namespace.
fn open(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let manager = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, manager))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::app::health::Part;

    fn of(pairs: &[(&str, &str)]) -> Systemd {
        let pairs: Vec<(String, String)> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let variable = move |wanted: &str| {
            let found = pairs.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        };
        Systemd::of(variable, 7)
    }

    fn heard(manager: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn manager(folder: &tempfile::TempDir) -> (UnixDatagram, String) {
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        (manager, path.display().to_string())
    }

    #[test]
    fn the_manager_hears_of_the_start_and_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let (manager, path) = manager(&folder);
        let systemd = of(&[("NOTIFY_SOCKET", &path)]);
        systemd.ready("reading the log");
        systemd.stopping();
        assert_eq!(heard(&manager).unwrap(), "READY=1\nSTATUS=reading the log");
        assert_eq!(heard(&manager).unwrap(), "STOPPING=1\nSTATUS=shutting down");
    }

    #[test]
    fn an_abstract_socket_is_one_too_and_a_wrong_name_is_nobody() {
        let name = format!("bootwatch-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        manager.set_nonblocking(true).unwrap();
        of(&[("NOTIFY_SOCKET", &format!("@{name}"))]).stopping();
        assert!(heard(&manager).unwrap().starts_with("STOPPING=1"));
        for nobody in ["", "/nowhere/at/all"] {
            of(&[("NOTIFY_SOCKET", nobody)]).ready("");
        }
        of(&[]).ready("");
    }

    #[test]
    fn a_watchdog_of_another_process_is_none() {
        let limit = |pairs: &[(&str, &str)]| of(pairs).watchdog;
        let thirty = ("WATCHDOG_USEC", "30000000");
        assert_eq!(limit(&[thirty]), Some(Duration::from_secs(30)));
        assert!(limit(&[thirty, ("WATCHDOG_PID", "7")]).is_some());
        assert_eq!(limit(&[thirty, ("WATCHDOG_PID", "8")]), None);
        for none in ["", "0", "soon"] {
            assert_eq!(limit(&[("WATCHDOG_USEC", none)]), None);
        }
    }

    /// The clock is a test's own: nothing here waits for anything real.
    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_told_only_while_every_part_ticks() {
        let folder = tempfile::tempdir().unwrap();
        let (manager, path) = manager(&folder);
        let systemd = of(&[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "30000000")]);
        let health = Arc::new(Health::default());
        let stop = CancellationToken::new();
        let watch = Arc::new(systemd).watch(Arc::clone(&health), stop.clone());
        let story = async {
            for hanging in Part::ALL {
                for part in Part::ALL {
                    health.ticked(part);
                }
                while heard(&manager).is_some() {}
                // One of them never ticks again; the others do each second.
                for _ in 0..60 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    for part in Part::ALL.into_iter().filter(|part| *part != hanging) {
                        health.ticked(part);
                    }
                }
                let told: Vec<String> = std::iter::from_fn(|| heard(&manager)).collect();
                let pings = told.iter().filter(|told| *told == "WATCHDOG=1").count();
                assert!((1..=2).contains(&pings), "{hanging:?}: {told:?}");
                let why = format!("STATUS={} hangs", hanging.as_str());
                assert_eq!(told.last(), Some(&why));
            }
            for part in Part::ALL {
                health.ticked(part);
            }
            tokio::time::sleep(Duration::from_secs(11)).await;
            assert_eq!(heard(&manager).unwrap(), "WATCHDOG=1", "it ticks again");
            stop.cancel();
        };
        tokio::join!(watch, story);
    }
}

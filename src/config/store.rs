//! Where what is known outlives the process, and where it is copied to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::database::{UNREAD, is_of_postgres, is_read};
use super::document::Settings;
use super::environment::Surroundings;
use super::problem::Problems;
use super::secret::Secret;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Absolute.
    pub path: PathBuf,
    pub keep_boots: Duration,
    pub keep_incidents: Duration,
    /// The PostgreSQL URL of the fleet's history, if there is one.
    pub fleet: Option<Secret>,
}

const FILE: &str = "bootwatch.db";
/// The folder's name where many programs keep theirs.
const OURS: &str = "bootwatch";

pub(super) fn read(settings: &Settings, surroundings: &Surroundings) -> Store {
    Store {
        path: settings
            .maybe("store.path")
            .unwrap_or_else(|| usual_path(surroundings)),
        keep_boots: settings.read("store.keep_boots"),
        keep_incidents: settings.read("store.keep_incidents"),
        fleet: settings.maybe("store.fleet.url"),
    }
}

/// In the first of the folders that systemd gave the service for its state, else where this user keeps the state of
/// programs, else where a machine does; never in whatever folder one stands in.
fn usual_path(surroundings: &Surroundings) -> PathBuf {
    let absolute = |name: &str| {
        let folder = surroundings.variable(name).map(Path::new)?;
        folder.is_absolute().then_some(folder)
    };
    let of_service = surroundings.state_directory().map(Path::to_owned);
    let of_user = || {
        let state = absolute("XDG_STATE_HOME").map(Path::to_owned);
        let state = state.or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
        Some(state.join(OURS))
    };
    let folder = of_service
        .or_else(of_user)
        .unwrap_or_else(|| Path::new("/var/lib").join(OURS));
    let path = folder.join(FILE);
    std::path::absolute(&path).unwrap_or(path)
}

pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    if settings.is_written("store.fleet.url") && settings.is_written("store.fleet.url_file") {
        problems.add("store.fleet", "both url and url_file are set; keep one");
    }
    if !settings.is_sound("store.fleet") {
        return;
    }
    let url: Option<Secret> = settings.maybe("store.fleet.url");
    if let Some(url) = &url
        && is_of_postgres(url.expose())
        && !is_read(url.expose())
    {
        problems.add("store.fleet.url", UNREAD);
    } else if let Some(url) = url
        && !is_of_postgres(url.expose())
    {
        problems.add(
            "store.fleet.url",
            "not a PostgreSQL URL (not shown, it is a secret); write one such as \
             \"postgres://bootwatch:password@history.example/fleet\"",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_where_state_is_kept_and_never_where_one_stands() {
        let with = |environment: &[(&str, &str)]| {
            let environment = environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            usual_path(&Surroundings {
                environment,
                host_name: None,
            })
        };
        let state = with(&[("STATE_DIRECTORY", "/var/lib/bootwatch:/var/lib/other")]);
        assert_eq!(state, PathBuf::from("/var/lib/bootwatch/bootwatch.db"));
        let home = ("HOME", "/home/ops");
        let of_user = PathBuf::from("/home/ops/.local/state/bootwatch/bootwatch.db");
        assert_eq!(with(&[home]), of_user);
        assert_eq!(with(&[home, ("STATE_DIRECTORY", "")]), of_user);
        assert_eq!(with(&[home, ("XDG_STATE_HOME", "not/absolute")]), of_user);
        assert_eq!(
            with(&[home, ("XDG_STATE_HOME", "/state")]),
            PathBuf::from("/state/bootwatch/bootwatch.db")
        );
        assert_eq!(
            with(&[]),
            PathBuf::from("/var/lib/bootwatch/bootwatch.db"),
            "a service without a home"
        );
    }
}

//! Where what is known outlives the process, and where it is copied to.

use std::path::PathBuf;
use std::time::Duration;

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

/// In the first of the folders that systemd gave the service for its state, else in the present folder.
fn usual_path(surroundings: &Surroundings) -> PathBuf {
    let folder = surroundings
        .state_directory()
        .map_or_else(PathBuf::new, PathBuf::from);
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
    let known = ["postgres://", "postgresql://"];
    if let Some(url) = url
        && !known.iter().any(|scheme| url.expose().starts_with(scheme))
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
    fn the_store_is_where_systemd_keeps_state_or_here() {
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
        let here = std::env::current_dir().unwrap().join("bootwatch.db");
        assert_eq!(with(&[]), here);
        assert_eq!(with(&[("STATE_DIRECTORY", "")]), here);
    }
}

//! `type = "alertmanager"`: the firing alerts, told to each instance of Alertmanager again and again.

use std::time::Duration;

use super::super::document::Settings;
use super::super::keys::{Fallback, Key};
use super::super::problem::Problems;
use super::super::secret::{Endpoint, Secret};
use super::super::shape::Shape;
use super::{Channel, Kind, TIMEOUT};

#[derive(Clone, Debug, PartialEq)]
pub struct Alertmanager {
    pub urls: Vec<Endpoint>,
    /// The value of the Authorization header.
    pub authorization: Option<Secret>,
    pub timeout: Duration,
}

pub(super) const KIND: Kind = Kind {
    name: "alertmanager",
    keys: &[
        Key {
            path: "urls",
            shape: Shape::Endpoints,
            default: Fallback::Needed {
                example: "[\"http://alertmanager-1.example:9093\"]",
            },
            doc: "Every instance, without `/api/v2`; each is told everything, never a load balancer before them.",
        },
        Key {
            path: "authorization",
            shape: Shape::Secret,
            default: Fallback::Absent {
                example: "\"Bearer 0123\"",
                otherwise: "none is sent",
            },
            doc: "The whole value of the Authorization header, such as `Bearer` and a token.",
        },
        TIMEOUT,
    ],
    check,
    read,
};

fn check(settings: &Settings, section: &str, problems: &mut Problems) {
    let key = format!("{section}.urls");
    if !settings.is_written(&key) || !settings.is_sound(&key) {
        return;
    }
    let urls: Vec<Endpoint> = settings.read(&key);
    // It would be asked for twice, and nobody answers there.
    let is_whole = |url: &Endpoint| {
        let path = url.expose().path().trim_end_matches('/');
        let path = path.strip_suffix("/alerts").unwrap_or(path);
        path.ends_with("/api/v2") || path.ends_with("/api/v1")
    };
    if urls.iter().any(is_whole) {
        problems.add(key, "leave out /api/v2 and what follows; bootwatch adds it");
    }
}

fn read(settings: &Settings, section: &str) -> Channel {
    Channel::Alertmanager(Alertmanager {
        urls: settings.read(&format!("{section}.urls")),
        authorization: settings.maybe(&format!("{section}.authorization")),
        timeout: settings.read(&format!("{section}.timeout")),
    })
}

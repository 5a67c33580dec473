//! `type = "webhook"`: a POST of Alertmanager's webhook payload.

use std::time::Duration;

use super::super::document::Settings;
use super::super::keys::{Fallback, Key};
use super::super::problem::Problems;
use super::super::secret::{Endpoint, Secret};
use super::super::shape::Shape;
use super::{Channel, Kind};

#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    pub url: Endpoint,
    pub timeout: Duration,
    /// Names and values as written.
    pub headers: Vec<(String, Secret)>,
    /// The value of the Authorization header.
    pub authorization: Option<Secret>,
}

pub(super) const KIND: Kind = Kind {
    name: "webhook",
    keys: &[
        Key {
            path: "url",
            shape: Shape::Endpoint,
            default: Fallback::Needed {
                example: "\"https://alerts.example/hook\"",
            },
            doc: "Where the payload is sent. A URL with a password or token belongs into `url_file`.",
        },
        Key {
            path: "timeout",
            shape: Shape::Duration {
                min: Duration::from_millis(100),
                max: Duration::from_secs(60),
            },
            default: Fallback::Value("\"5s\""),
            doc: "How long one try may take, from connecting to the answer.",
        },
        Key {
            path: "headers",
            shape: Shape::Headers,
            default: Fallback::Value("{}"),
            doc: "Added to each request.",
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
    ],
    check,
    read,
};

/// Headers that are about one request: another value breaks it, or is overwritten.
const OURS: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "idempotency-key",
    "transfer-encoding",
];

fn check(settings: &Settings, section: &str, problems: &mut Problems) {
    let path = format!("{section}.headers");
    if !settings.is_sound(&path) {
        return;
    }
    let headers: Vec<(String, Secret)> = settings.read(&path);
    for (name, _) in headers {
        if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            problems.add(
                format!("{path}.{name}"),
                "bootwatch sets it for each request; leave it out",
            );
        }
        if name.eq_ignore_ascii_case("authorization") {
            problems.add(
                format!("{path}.{name}"),
                "a secret in the configuration file; write authorization_file = \"/path/to/it\" in its place",
            );
        }
    }
}

fn read(settings: &Settings, section: &str) -> Channel {
    Channel::Webhook(Webhook {
        url: settings.read(&format!("{section}.url")),
        timeout: settings.read(&format!("{section}.timeout")),
        headers: settings.read(&format!("{section}.headers")),
        authorization: settings.maybe(&format!("{section}.authorization")),
    })
}

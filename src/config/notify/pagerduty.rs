//! `type = "pagerduty"`: an incident of PagerDuty, by its Events API v2.

use std::time::Duration;

use super::super::document::Settings;
use super::super::keys::{Fallback, Key};
use super::super::problem::Problems;
use super::super::secret::{Endpoint, Secret};
use super::super::shape::Shape;
use super::{Channel, Kind, TIMEOUT};

#[derive(Clone, Debug, PartialEq)]
pub struct PagerDuty {
    pub routing_key: Secret,
    pub base_url: Endpoint,
    pub timeout: Duration,
}

pub(super) const KIND: Kind = Kind {
    name: "pagerduty",
    keys: &[
        Key {
            path: "routing_key",
            shape: Shape::Secret,
            default: Fallback::Needed {
                example: "\"0123456789abcdef0123456789abcdef\"",
            },
            doc: "The integration key of the service that is paged: 32 characters.",
        },
        Key {
            path: "base_url",
            shape: Shape::Endpoint,
            default: Fallback::Value("\"https://events.pagerduty.com\""),
            doc: "Where PagerDuty takes events; `https://events.eu.pagerduty.com` for accounts in Europe.",
        },
        TIMEOUT,
    ],
    check,
    read,
};

fn check(settings: &Settings, section: &str, problems: &mut Problems) {
    const LENGTH: usize = 32;
    let path = format!("{section}.routing_key");
    if !settings.is_sound(&path) || !settings.is_sound(&format!("{path}_file")) {
        return;
    }
    let key: Option<Secret> = settings.maybe(&path);
    let fits = |key: &Secret| {
        key.expose().len() == LENGTH
            && key
                .expose()
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric())
    };
    if key.is_some_and(|key| !fits(&key)) {
        problems.add(
            path,
            "not a routing key (not shown, it is a secret); copy the 32 letters and digits of an Events API v2 integration",
        );
    }
}

fn read(settings: &Settings, section: &str) -> Channel {
    Channel::PagerDuty(PagerDuty {
        routing_key: settings.read(&format!("{section}.routing_key")),
        base_url: settings.read(&format!("{section}.base_url")),
        timeout: settings.read(&format!("{section}.timeout")),
    })
}

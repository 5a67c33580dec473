//! `type = "slack"`: a message in a channel, by an incoming webhook or by a bot.

use std::time::Duration;

use super::super::document::Settings;
use super::super::keys::{Fallback, Key};
use super::super::problem::Problems;
use super::super::secret::{Endpoint, Secret};
use super::super::shape::Shape;
use super::{Channel, Kind, TIMEOUT};

#[derive(Clone, Debug, PartialEq)]
pub struct Slack {
    pub target: SlackTarget,
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SlackTarget {
    /// Each message stands alone: an incoming webhook cannot answer in a thread.
    Webhook(Endpoint),
    /// Updates and the end are answers in the thread of the first message.
    Bot {
        token: Secret,
        channel: String,
        api_url: Endpoint,
    },
}

pub(super) const KIND: Kind = Kind {
    name: "slack",
    keys: &[
        Key {
            path: "url",
            shape: Shape::Endpoint,
            default: Fallback::Absent {
                example: "\"https://hooks.slack.example/services/T0/B0/x\"",
                otherwise: "`token` and `channel` are needed",
            },
            doc: "The incoming webhook. It is a secret, so it belongs into `url_file`. A webhook cannot answer in a thread.",
        },
        Key {
            path: "token",
            shape: Shape::Secret,
            default: Fallback::Absent {
                example: "\"xoxb-0123\"",
                otherwise: "`url` is needed",
            },
            doc: "A bot's token with the scope `chat:write`; updates then answer in the first message's thread.",
        },
        Key {
            path: "channel",
            shape: Shape::Text,
            default: Fallback::Absent {
                example: "\"C0123456789\"",
                otherwise: "`url` is needed",
            },
            doc: "The channel's id that the bot, a member of it, writes to.",
        },
        Key {
            path: "api_url",
            shape: Shape::Endpoint,
            default: Fallback::Value("\"https://slack.com/api\""),
            doc: "Where Slack's Web API is.",
        },
        TIMEOUT,
    ],
    check,
    read,
};

/// One of the two ways, and all of it.
fn check(settings: &Settings, section: &str, problems: &mut Problems) {
    let is = |name: &str| {
        settings.is_written(&format!("{section}.{name}"))
            || settings.is_written(&format!("{section}.{name}_file"))
    };
    match (is("url"), is("token"), is("channel")) {
        (true, false, false) | (false, true, true) => {}
        (true, _, _) => problems.add(
            section,
            "both url and token or channel are set; keep the webhook's url, or the bot's token and channel",
        ),
        (false, false, false) => problems.add(
            section,
            "names no way to Slack; write url_file = \"/path/to/it\", or token_file and channel",
        ),
        (false, true, false) => problems.add(section, "channel is not set; write channel = \"C0123456789\""),
        (false, false, true) => {
            problems.add(section, "token is not set; write token_file = \"/path/to/it\"");
        }
    }
    if settings.is_written(&format!("{section}.url"))
        && settings.is_written(&format!("{section}.url_file"))
    {
        problems.add(section, "both url and url_file are set; keep one");
    }
}

fn read(settings: &Settings, section: &str) -> Channel {
    let webhook: Option<Endpoint> = settings.maybe(&format!("{section}.url"));
    let target = match webhook {
        Some(url) => SlackTarget::Webhook(url),
        None => SlackTarget::Bot {
            token: settings.read(&format!("{section}.token")),
            channel: settings.read(&format!("{section}.channel")),
            api_url: settings.read(&format!("{section}.api_url")),
        },
    };
    Channel::Slack(Slack {
        target,
        timeout: settings.read(&format!("{section}.timeout")),
    })
}

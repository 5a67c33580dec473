//! Whom to tell: `[notify.<name>]` tables, each of a kind.

mod alertmanager;
mod email;
mod pagerduty;
mod slack;
mod webhook;

use std::time::Duration;

use super::document::Settings;
use super::keys::{Fallback, Key};
use super::problem::Problems;
use super::secret::{Endpoint, Secret};
use super::shape::Shape;

pub use alertmanager::Alertmanager;
pub use email::{Email, Security};
pub use pagerduty::PagerDuty;
pub use slack::{Slack, SlackTarget};
pub use webhook::Webhook;

/// One configured notifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Notifier {
    /// As written behind `notify.`; the label `channel` of metrics.
    pub name: String,
    pub channel: Channel,
}

/// What a notifier of each kind needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Channel {
    Webhook(Webhook),
    Email(Box<Email>),
    PagerDuty(PagerDuty),
    Slack(Slack),
    Alertmanager(Alertmanager),
}

/// A kind of notifier as the configuration sees it.
pub(super) struct Kind {
    /// What `type` says.
    pub(super) name: &'static str,
    /// Its keys, relative to `notify.<name>`.
    pub(super) keys: &'static [Key],
    /// What single keys cannot tell.
    pub(super) check: fn(&Settings, &str, &mut Problems),
    pub(super) read: fn(&Settings, &str) -> Channel,
}

/// Every kind. A new one is a file, a `mod` line, a row, and a variant of [`Channel`].
pub(super) const KINDS: &[Kind] = &[
    webhook::KIND,
    email::KIND,
    pagerduty::KIND,
    slack::KIND,
    alertmanager::KIND,
];

/// How long one try may take, where a kind has no reason for another limit.
const TIMEOUT: Key = Key {
    path: "timeout",
    shape: Shape::Duration {
        min: Duration::from_millis(100),
        max: Duration::from_secs(60),
    },
    default: Fallback::Value("\"15s\""),
    doc: "How long one try may take, from connecting to the answer.",
};

/// The key that every kind has.
pub(super) const TYPE: Key = Key {
    path: "type",
    shape: Shape::Name(kind_names, "kind"),
    default: Fallback::Needed {
        example: "\"webhook\"",
    },
    doc: "The kind of notifier, which decides the other keys.",
};

impl Notifier {
    /// With its secret and its URL read again, if a file holds another one by now.
    ///
    /// # Errors
    /// A file cannot be used as it is; the message does not hold what is secret.
    pub fn renewed(&self) -> Result<Option<Notifier>, String> {
        let mut notifier = self.clone();
        let mut is_new = false;
        if let Some(secret) = notifier.channel.secret()
            && let Some(renewed) = secret.renewed()?
        {
            *secret = renewed;
            is_new = true;
        }
        if let Some(url) = notifier.channel.url()
            && let Some(renewed) = url.renewed()?
        {
            *url = renewed;
            is_new = true;
        }
        Ok(is_new.then_some(notifier))
    }

    /// As if its URL had come from this file.
    #[cfg(test)]
    pub(crate) fn with_url_in(mut self, path: &std::path::Path) -> Notifier {
        if let Some(url) = self.channel.url() {
            *url = url.clone().kept_in(path.to_owned());
        }
        self
    }

    /// As if its secret had come from this file.
    #[cfg(test)]
    pub(crate) fn with_secret_in(mut self, path: &std::path::Path) -> Notifier {
        if let Some(secret) = self.channel.secret() {
            *secret = secret.clone().kept_in(path.to_owned());
        }
        self
    }
}

impl Channel {
    /// By which its receiver knows us, beside its URL.
    fn secret(&mut self) -> Option<&mut Secret> {
        match self {
            Channel::Webhook(webhook) => webhook.authorization.as_mut(),
            Channel::Email(email) => email.login.as_mut().map(|(_, password)| password),
            Channel::PagerDuty(pagerduty) => Some(&mut pagerduty.routing_key),
            Channel::Slack(slack) => match &mut slack.target {
                SlackTarget::Webhook(_) => None,
                SlackTarget::Bot { token, .. } => Some(token),
            },
            Channel::Alertmanager(alertmanager) => alertmanager.authorization.as_mut(),
        }
    }

    /// Its URL, where that may hold what is secret.
    fn url(&mut self) -> Option<&mut Endpoint> {
        match self {
            Channel::Webhook(webhook) => Some(&mut webhook.url),
            Channel::Slack(slack) => match &mut slack.target {
                SlackTarget::Webhook(url) => Some(url),
                SlackTarget::Bot { .. } => None,
            },
            Channel::Email(_) | Channel::PagerDuty(_) | Channel::Alertmanager(_) => None,
        }
    }

    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Channel::Webhook(_) => webhook::KIND.name,
            Channel::Email(_) => email::KIND.name,
            Channel::PagerDuty(_) => pagerduty::KIND.name,
            Channel::Slack(_) => slack::KIND.name,
            Channel::Alertmanager(_) => alertmanager::KIND.name,
        }
    }

    /// The hosts and ports that must take a connection.
    #[must_use]
    pub fn places(&self) -> Vec<(String, u16)> {
        match self {
            Channel::Webhook(webhook) => vec![webhook.url.place()],
            Channel::Email(email) => vec![(email.server.clone(), email.port)],
            Channel::PagerDuty(pagerduty) => vec![pagerduty.base_url.place()],
            Channel::Slack(slack) => match &slack.target {
                SlackTarget::Webhook(url) => vec![url.place()],
                SlackTarget::Bot { api_url, .. } => vec![api_url.place()],
            },
            Channel::Alertmanager(alertmanager) => {
                alertmanager.urls.iter().map(Endpoint::place).collect()
            }
        }
    }
}

pub(super) fn kind_names() -> Vec<&'static str> {
    KINDS.iter().map(|kind| kind.name).collect()
}

/// Names become metric labels and parts of variables.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    !name.is_empty() && name.len() <= 32 && name.chars().all(plain) && !name.contains("__")
}

pub(super) fn read(settings: &Settings) -> Vec<Notifier> {
    settings
        .notifiers()
        .map(|name| {
            let section = format!("notify.{name}");
            let channel = (kind_of(settings, &section).read)(settings, &section);
            Notifier {
                name: name.to_owned(),
                channel,
            }
        })
        .collect()
}

pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    for name in settings.notifiers() {
        let section = format!("notify.{name}");
        if !settings.is_sound(&format!("{section}.type")) {
            continue;
        }
        let kind = kind_of(settings, &section);
        for key in kind.keys {
            require(settings, &section, key, problems);
        }
        (kind.check)(settings, &section, problems);
    }
}

fn kind_of(settings: &Settings, section: &str) -> &'static Kind {
    let written: String = settings.read(&format!("{section}.type"));
    KINDS
        .iter()
        .find(|kind| kind.name == written)
        .expect("the kind was checked against this list")
}

/// A key without a default must be there, in one of its two ways, and never in both.
fn require(settings: &Settings, section: &str, key: &Key, problems: &mut Problems) {
    let name = key.path;
    let plain = settings.is_written(&format!("{section}.{name}"));
    let in_file = settings.is_written(&format!("{section}.{name}_file"));
    if plain && in_file {
        problems.add(
            section,
            format!("both {name} and {name}_file are set; keep one"),
        );
    }
    if let (Fallback::Needed { example }, false, false) = (key.default, plain, in_file) {
        let remedy = match key.shape {
            Shape::Secret => format!("{name}_file = \"/path/to/it\""),
            shape if shape.may_be_in_a_file() => {
                format!("{name} = {example} or {name}_file = \"/path/to/it\"")
            }
            _ => format!("{name} = {example}"),
        };
        problems.add(section, format!("{name} is not set; write {remedy}"));
    }
}

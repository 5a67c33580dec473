//! Ways to page: the words of a page, the channels, and the worker that sends in order and tries again.
//!
//! A channel only lays out and sends one message, and says whether another try could help. Order, retries, waits and
//! what is counted wrap all kinds alike: `worker` for the queue, `retry` for when. A message is rendered when it is
//! accepted and is a value of its own, so that an outbox can keep it before it is sent.

mod error;
#[cfg(test)]
mod fixture;
mod page;
mod queue;
mod retry;
mod webhook;
mod worker;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

pub use error::{Fault, NotifyError, Trouble};
pub use page::{Context, Page, Status};
pub use worker::{Notice, Outcome, Report, Unsent, run};

use crate::config::Notifier;
use crate::core::alert::{self, Notification};

/// Every way bootwatch can page someone. A new one is a file, a `mod` line and a row.
pub(crate) const KINDS: &[Kind] = &[webhook::KIND];

/// A kind of notifier.
pub(crate) struct Kind {
    /// What `type` says in the configuration.
    name: &'static str,
    open: fn(&Notifier) -> Result<Box<dyn Transport>, Unusable>,
}

type Attempt<'a> = Pin<Box<dyn Future<Output = Result<(), NotifyError>> + Send + 'a>>;

/// What a kind does: it lays out a page, and tries once to send it.
trait Transport: Send + Sync {
    fn render(&self, notification: &Notification, page: &Page, context: &Context) -> Vec<u8>;
    fn send<'a>(&'a self, message: &'a Message) -> Attempt<'a>;
}

/// A configured notifier that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("notify.{notifier}: {what}")]
pub struct Unusable {
    notifier: String,
    what: &'static str,
    source: Option<reqwest::Error>,
}

/// One notification, laid out for one receiver.
#[derive(Clone, PartialEq)]
pub struct Message {
    /// The same for each try, and for no other message.
    pub id: String,
    /// The incident's key.
    pub incident: String,
    pub kind: alert::Kind,
    pub title: String,
    pub body: Vec<u8>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({}, {} bytes)", self.id, self.body.len())
    }
}

/// One receiver: turns notifications into messages and sends them.
pub struct Sender {
    name: String,
    context: Context,
    transport: Box<dyn Transport>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({})", self.name)
    }
}

impl Sender {
    pub fn new(notifier: &Notifier, context: Context) -> Result<Sender, Unusable> {
        let name = notifier.channel.kind();
        let kind = KINDS
            .iter()
            .find(|kind| kind.name == name)
            .expect("every kind that can be configured has its row");
        Ok(Sender {
            name: notifier.name.clone(),
            context,
            transport: (kind.open)(notifier)?,
        })
    }

    /// The label `channel` of metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn render(&self, notification: &Notification) -> Message {
        let page = Page::of(notification, &self.context);
        self.lay_out(notification, &page, "")
    }

    /// Without what a receiver may choke on.
    fn render_reduced(&self, notification: &Notification) -> Message {
        let page = Page::of(notification, &self.context).reduced();
        self.lay_out(notification, &page, "-reduced")
    }

    fn lay_out(&self, notification: &Notification, page: &Page, form: &str) -> Message {
        let incident = &notification.incident.key;
        let kind = kind_word(notification.kind);
        Message {
            id: format!("{incident}-{kind}-{}{form}", notification.at.0),
            incident: incident.clone(),
            kind: notification.kind,
            title: page.title.clone(),
            body: self.transport.render(notification, page, &self.context),
        }
    }

    /// Tries once.
    pub async fn send(&self, message: &Message) -> Result<(), NotifyError> {
        self.transport.send(message).await
    }
}

fn kind_word(kind: alert::Kind) -> &'static str {
    match kind {
        alert::Kind::Firing => "firing",
        alert::Kind::Update => "update",
        alert::Kind::Resolved => "resolved",
    }
}

/// Makes ring the process's cryptography; the HTTP client brings none of its own. More than once does no harm.
pub fn install_tls() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let installed = rustls::crypto::ring::default_provider().install_default();
        if installed.is_err() {
            tracing::debug!("another thread was first to install the cryptography");
        }
    }
}

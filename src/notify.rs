//! Ways to page: the words of a page, the channels, and the worker that sends in order and tries again.
//!
//! A channel only lays out and sends one message, and says whether another try could help. Order, retries, waits and
//! what is counted wrap all kinds alike: `worker` for the queue, `retry` for when. A message is rendered when it is
//! accepted and is a value of its own, so that an outbox can keep it before it is sent.

mod alertmanager;
mod email;
mod error;
#[cfg(test)]
mod fixture;
mod heartbeat;
mod http;
mod pace;
mod page;
mod pagerduty;
mod queue;
mod renewal;
mod resort;
mod retry;
mod slack;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod webhook;
mod worker;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub use alertmanager::{Instance, Publisher, Round, State};
pub use email::{Letter, Postman};
pub use error::{Cause, Fault, NotifyError, Trouble};
pub use heartbeat::{Beat, Heartbeat};
pub use page::{Context, Page, Status};
pub use resort::Resort;
pub use worker::{Notice, Outcome, Report, Unsent, run};

use serde::{Deserialize, Serialize};

use crate::config::Notifier;
use crate::core::alert::{self, Notification};
use crate::core::event::Timestamp;
use pace::Pace;
use renewal::Renewing;

/// Every way bootwatch can page someone. A new one is a file, a `mod` line and a row.
pub(crate) const KINDS: &[Kind] = &[
    webhook::KIND,
    email::KIND,
    pagerduty::KIND,
    slack::KIND,
    alertmanager::KIND,
];

/// A kind of notifier.
pub(crate) struct Kind {
    /// What `type` says in the configuration.
    name: &'static str,
    duty: Duty,
}

/// What a kind wants to be told.
enum Duty {
    /// Each notification, once.
    Tell(Habits),
    /// The present state, again and again, as its protocol wants: nothing of it waits in a queue.
    Show,
}

/// How messages of a kind are sent; the worker keeps to it.
struct Habits {
    open: fn(&Notifier) -> Result<Box<dyn Transport>, Unusable>,
    /// What the provider takes.
    pace: Pace,
    /// A message older than this is given up.
    max_age: Duration,
    /// It is read by people: what wakes nobody is for it, too. A machine would take it for an alert that never ends.
    takes_notices: bool,
}

type Attempt<'a> = Pin<Box<dyn Future<Output = Result<Taken, NotifyError>> + Send + 'a>>;

/// What became of a message that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Of several recipients, those who were refused for good and do not have it: their places in the configuration,
    /// from 1, and why.
    pub refused: Vec<(usize, Fault)>,
    /// What a run after this one must know to tell more of the incident.
    pub receipt: Option<String>,
}

/// What a message is made of.
struct Draft<'a> {
    /// The message's id; in the reduced form it is the same.
    id: &'a str,
    notification: &'a Notification,
    page: &'a Page,
    context: &'a Context,
}

/// What a kind does: it lays out a page, and tries once to send it.
trait Transport: Send + Sync {
    /// Everything that `send` needs, also after a restart, and nothing secret. Empty: it could not be laid out.
    fn render(&self, draft: &Draft<'_>) -> Vec<u8>;
    fn send<'a>(&'a self, message: &'a Message) -> Attempt<'a>;
    /// Takes back what an earlier run was given as a receipt: `of` a message that only some have, by its id, or of one
    /// that was taken, by its incident's key.
    fn recall(&self, _of: &str, _receipt: &str) {}
}

/// A configured notifier that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("notify.{notifier}: {what}")]
pub struct Unusable {
    notifier: String,
    what: &'static str,
    source: Option<Cause>,
}

impl Unusable {
    fn new(notifier: &str, what: &'static str) -> Unusable {
        Unusable {
            notifier: notifier.to_owned(),
            what,
            source: None,
        }
    }

    fn because(self, cause: impl Into<Cause>) -> Unusable {
        Unusable {
            source: Some(cause.into()),
            ..self
        }
    }
}

/// A configured notifier, ready to be used.
#[derive(Debug)]
pub enum Opened {
    /// To be given messages.
    Sender(Sender),
    /// To be shown the state.
    Publisher(Publisher),
}

/// Makes what a notifier needs.
///
/// # Errors
/// Its settings passed the configuration's check and still cannot be used, as a certificate that is none.
pub fn open(notifier: &Notifier, context: Context) -> Result<Opened, Unusable> {
    match &kind_of(notifier).duty {
        Duty::Tell(_) => Sender::new(notifier, context).map(Opened::Sender),
        Duty::Show => Publisher::new(notifier, context).map(Opened::Publisher),
    }
}

fn kind_of(notifier: &Notifier) -> &'static Kind {
    let name = notifier.channel.kind();
    KINDS
        .iter()
        .find(|kind| kind.name == name)
        .expect("every kind that can be configured has its row")
}

/// One notification, laid out for one receiver.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The same for each try, and for no other message.
    pub id: String,
    /// The incident's key.
    pub incident: String,
    pub kind: alert::Kind,
    pub title: String,
    pub body: Vec<u8>,
}

/// What the id of a message's shorter form ends with.
const REDUCED: &str = "-reduced";

/// The id of what a message tells, which is the same in both forms of it.
fn told(id: &str) -> &str {
    id.strip_suffix(REDUCED).unwrap_or(id)
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({}, {} bytes)", self.id, self.body.len())
    }
}

/// How a message is laid out, beside what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Form {
    /// It leaves although it could not be stored.
    unsaved: bool,
    /// Without what a receiver may choke on.
    reduced: bool,
    /// It is the first that the receiver hears of its incident, though another was to come before it.
    first: bool,
    /// It is the end of something of which the receiver never heard.
    unheard: bool,
    /// It leaves so long after it was made.
    late: Option<Duration>,
}

/// One receiver: turns notifications into messages and sends them.
pub struct Sender {
    name: String,
    context: Context,
    transport: Box<dyn Transport>,
    pace: Pace,
    max_age: Duration,
    takes_notices: bool,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({})", self.name)
    }
}

impl Sender {
    /// # Errors
    /// As [`open`]; and for a kind that is shown the state and takes no messages.
    pub fn new(notifier: &Notifier, context: Context) -> Result<Sender, Unusable> {
        let Duty::Tell(habits) = &kind_of(notifier).duty else {
            return Err(Unusable::new(&notifier.name, "it takes no messages"));
        };
        Ok(Sender {
            name: notifier.name.clone(),
            context,
            transport: Box::new(Renewing::open(notifier, habits.open)?),
            pace: habits.pace,
            max_age: habits.max_age,
            takes_notices: habits.takes_notices,
        })
    }

    /// The label `channel` of metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is also told what wakes nobody, as that somebody has acknowledged an incident.
    #[must_use]
    pub fn takes_notices(&self) -> bool {
        self.takes_notices
    }

    #[must_use]
    pub fn render(&self, notification: &Notification) -> Message {
        self.render_as(notification, Form::default())
    }

    fn render_as(&self, notification: &Notification, form: Form) -> Message {
        let mut page = Page::of(notification, &self.context);
        if form.unsaved {
            page = page.unsaved();
        }
        if form.first {
            page = page.first();
        }
        if form.unheard {
            page = page.unheard();
        }
        if let Some(age) = form.late {
            page = page.late(age);
        }
        match form.reduced {
            false => self.lay_out(notification, &page, ""),
            true => self.lay_out(notification, &page.reduced(), REDUCED),
        }
    }

    /// What `bootwatch notify test` sends: a page marked as a test, and its end, so that nothing stays open.
    #[must_use]
    pub fn render_test(&self, host: &str, at: Timestamp) -> [Message; 2] {
        page::test(host, &self.name, at)
            .map(|(notification, page)| self.lay_out(&notification, &page, ""))
    }

    fn lay_out(&self, notification: &Notification, page: &Page, form: &str) -> Message {
        let incident = &notification.incident.key;
        let kind = kind_word(notification.kind);
        // An incident begins once and ends once; updates are told apart by their time.
        let id = match notification.kind {
            alert::Kind::Firing | alert::Kind::Resolved => format!("{incident}-{kind}"),
            alert::Kind::Update => format!("{incident}-{kind}-{}", notification.at.0),
        };
        let body = self.transport.render(&Draft {
            id: &id,
            notification,
            page,
            context: &self.context,
        });
        Message {
            id: id + form,
            incident: incident.clone(),
            kind: notification.kind,
            title: page.title.clone(),
            body,
        }
    }

    /// Takes back a receipt that an earlier run was given: of a message that waits, by its id, or of one that arrived, by
    /// its incident's key.
    pub fn recall(&self, of: &str, receipt: &str) {
        self.transport.recall(of, receipt);
    }

    /// Tries once.
    pub async fn send(&self, message: &Message) -> Result<Taken, NotifyError> {
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

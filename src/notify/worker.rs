//! One receiver's worker: takes notifications, sends them one at a time and in order, tries again.
//!
//! ```text
//!   receive ──► queue ──► try ──► sent
//!                 ▲        │ transient
//!                 └─ wait ─┘             permanent: once more in short if the payload was refused, else failed
//! ```
//!
//! The provider's limit is kept before a try, and its wish (`Retry-After`) holds for the whole receiver. A receiver that
//! refuses us is marked broken until it takes a message again.
//!
//! It starts no task: the caller's supervisor runs the future. While a try or a wait is under way it keeps receiving,
//! so that a newer state replaces an older one. At least once: a try without an answer is tried again under the same
//! id. A restart forgets what waits here; what must survive one is kept by whoever feeds the channel.
//!
//! It ends when the channel is closed and everything was sent or given up, or at the deadline that `stop` gives. From
//! `stop` on, waits that the receiver did not ask for are cut short once.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::error::{NotifyError, Trouble};
use super::pace::Bucket;
use super::queue::{Displaced, Entry, Queue};
use super::retry::{self, Jitter, Next, Progress};
use super::{Form, Message, Sender, Taken, kind_word};
use crate::clock;
use crate::core::alert::{Kind, Notification};

#[cfg(test)]
mod tests;

/// A message older than this says how late it is.
const LATE: Duration = Duration::from_secs(600);

/// What became of a message, or of one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    Sent,
    /// A try failed; another follows.
    Retrying(Trouble),
    /// Some of its recipients have it; the others are tried again.
    Partly,
    /// No further try follows.
    Failed(Trouble),
    /// It was tried for as long as it is worth.
    Expired,
    /// A newer state of the incident took its place.
    Replaced,
    /// Too much waited.
    Overflow,
    /// The end came first.
    Unsent,
}

impl Outcome {
    /// Every outcome, for series that exist from the start.
    pub fn all() -> impl Iterator<Item = Outcome> {
        let troubles = Trouble::ALL;
        [
            Outcome::Sent,
            Outcome::Partly,
            Outcome::Expired,
            Outcome::Replaced,
            Outcome::Overflow,
            Outcome::Unsent,
        ]
        .into_iter()
        .chain(troubles.iter().map(|trouble| Outcome::Retrying(*trouble)))
        .chain(troubles.iter().map(|trouble| Outcome::Failed(*trouble)))
    }

    /// The label `result` of metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Sent => "sent",
            Outcome::Partly => "partly",
            Outcome::Expired => "expired",
            Outcome::Replaced => "replaced",
            Outcome::Overflow => "overflow",
            Outcome::Unsent => "unsent",
            Outcome::Failed(trouble) => match trouble {
                Trouble::Client => "failed_client",
                Trouble::Auth => "failed_auth",
                Trouble::Rate => "failed_rate",
                Trouble::Server => "failed_server",
                Trouble::Timeout => "failed_timeout",
                Trouble::Network => "failed_network",
            },
            Outcome::Retrying(trouble) => match trouble {
                Trouble::Client => "retrying_client",
                Trouble::Auth => "retrying_auth",
                Trouble::Rate => "retrying_rate",
                Trouble::Server => "retrying_server",
                Trouble::Timeout => "retrying_timeout",
                Trouble::Network => "retrying_network",
            },
        }
    }
}

/// A notification on its way to one receiver.
#[derive(Clone, Debug)]
pub struct Notice {
    pub notification: Arc<Notification>,
    /// By which its outcome is told.
    pub ticket: u64,
    /// It could not be stored before it left.
    pub unsaved: bool,
    /// How old it was already: an earlier run owed it.
    pub age: Duration,
    /// As [`Sender::render`] lays it out, where there was time for that before it left.
    pub message: Option<Message>,
    /// What an earlier run was told of it: the last [`Report`]'s that had one.
    pub receipt: Option<String>,
    /// An earlier run owed it, and its receiver has no word of its incident.
    pub begins: bool,
}

impl From<Arc<Notification>> for Notice {
    fn from(notification: Arc<Notification>) -> Notice {
        Notice {
            notification,
            ticket: 0,
            unsaved: false,
            age: Duration::ZERO,
            message: None,
            receipt: None,
            begins: false,
        }
    }
}

/// For metrics: one a try, and one for each message that ends otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The notice's.
    pub ticket: u64,
    pub outcome: Outcome,
    /// How long the try took; nothing where there was none.
    pub took: Duration,
    /// Since the message was made.
    pub age: Duration,
    /// How many messages wait now, this one too where it is to be tried again.
    pub waiting: usize,
    /// How old the oldest of them is.
    pub oldest: Option<Duration>,
    /// Only a person can make the receiver work again: it refuses us, or is not there. What comes is still tried, so
    /// that a correction at the receiver is noticed.
    pub broken: bool,
    /// What a later run must know of the message, if this one cannot bring it to its end.
    pub receipt: Option<String>,
}

/// What was left when the deadline came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsent {
    pub incident: String,
    pub kind: Kind,
    pub title: String,
}

/// Runs one receiver's worker. `stop` yields the moment by which it must have ended.
pub async fn run(
    sender: Arc<Sender>,
    notifications: mpsc::Receiver<Notice>,
    report: impl FnMut(Report) + Send,
    stop: impl Future<Output = Instant> + Send,
) -> Vec<Unsent> {
    let mut jitter = Jitter::new();
    Worker::new(&sender, notifications, report, move || jitter.draw())
        .run(stop)
        .await
}

struct Worker<'a, R, D> {
    sender: &'a Sender,
    notifications: mpsc::Receiver<Notice>,
    /// The channel may still bring something.
    open: bool,
    queue: Queue,
    wait: Wait,
    bucket: Bucket,
    broken: bool,
    report: R,
    draw: D,
}

/// The receiver's own wait: it holds for whatever is sent next, not for one message.
#[derive(Default)]
struct Wait {
    /// Failed tries in a row.
    tries: u32,
    until: Option<Instant>,
    asked: bool,
}

impl<'a, R: FnMut(Report), D: FnMut() -> f64> Worker<'a, R, D> {
    fn new(sender: &'a Sender, notifications: mpsc::Receiver<Notice>, report: R, draw: D) -> Self {
        Worker {
            sender,
            notifications,
            open: true,
            queue: Queue::default(),
            wait: Wait::default(),
            bucket: Bucket::new(sender.pace),
            broken: false,
            report,
            draw,
        }
    }

    async fn run(mut self, stop: impl Future<Output = Instant>) -> Vec<Unsent> {
        let mut stop = pin!(stop);
        let mut deadline: Option<Instant> = None;
        while self.open || !self.queue.is_done() {
            let now = clock::monotonic();
            self.queue.rejoin(now);
            let apart = self.queue.next_apart();
            let waits = self.wait.until.max(self.bucket.next(now));
            let waits = waits.filter(|until| *until > now);
            let idle = self.queue.is_empty();
            if let (false, None) = (idle, waits) {
                if !self.try_first(stop.as_mut(), &mut deadline).await {
                    break;
                }
                continue;
            }
            // No try before the end: nothing is gained by waiting for it.
            let too_late = |end| waits.is_some_and(|until| until >= end);
            if !idle && deadline.is_some_and(too_late) {
                break;
            }
            let apart_too_late = |end| apart.is_some_and(|due| due >= end);
            if idle && !self.open && deadline.is_some_and(apart_too_late) {
                break;
            }
            tokio::select! {
                biased;
                () = reached(deadline) => break,
                end = &mut stop, if deadline.is_none() => {
                    deadline = Some(end);
                    self.cut_short();
                }
                next = self.notifications.recv(), if self.open => self.accept(next),
                () = reached(waits), if !idle => {}
                () = reached(apart) => {}
            }
        }
        self.leave()
    }

    /// Tries the first message once; false if the deadline came before the answer.
    async fn try_first(
        &mut self,
        mut stop: Pin<&mut impl Future<Output = Instant>>,
        deadline: &mut Option<Instant>,
    ) -> bool {
        let Some(mut entry) = self.queue.pop() else {
            return true;
        };
        let began = clock::monotonic();
        let age = entry.age(began);
        let mut form = entry.form;
        if age >= LATE {
            form.late.get_or_insert(age);
        }
        // It took the place of the message that was to begin its incident.
        form.first = entry.begins && entry.message.kind != Kind::Firing;
        form.unheard |= form.first && entry.message.kind == Kind::Resolved;
        if form != entry.form {
            entry.form = form;
            entry.message = self.sender.render_as(&entry.notice.notification, form);
        }
        self.bucket.take(began);
        let mut stopped = false;
        let result = {
            let sender = self.sender;
            let mut sending = pin!(sender.send(&entry.message));
            loop {
                tokio::select! {
                    biased;
                    result = &mut sending => break Some(result),
                    () = reached(*deadline) => break None,
                    end = &mut stop, if deadline.is_none() => {
                        *deadline = Some(end);
                        stopped = true;
                    }
                    next = self.notifications.recv(), if self.open => self.accept(next),
                }
            }
        };
        let answered = result.is_some();
        match result {
            Some(result) => self.tried(entry, began, result),
            None => self.back(entry),
        }
        if stopped {
            self.cut_short();
        }
        answered
    }

    fn accept(&mut self, next: Option<Notice>) {
        let Some(mut notice) = next else {
            self.open = false;
            return;
        };
        let laid_out = notice.message.take();
        let notification = &notice.notification;
        let form = Form {
            unsaved: notice.unsaved,
            // It ends before its receiver could be told of it.
            unheard: notification.kind == Kind::Resolved
                && self.queue.holds_beginning_of(&notification.incident.key),
            ..Form::default()
        };
        let message = match laid_out {
            Some(message) if form == Form::default() => message,
            _ => self.sender.render_as(notification, form),
        };
        let receipt = notice.receipt.take();
        if let Some(receipt) = &receipt {
            self.sender.recall(&message.id, receipt);
        }
        let entry = Entry {
            begins: (notification.kind == Kind::Firing || notice.begins) && receipt.is_none(),
            message,
            notice,
            accepted: clock::monotonic(),
            form,
            // Some have it already.
            put_off: u32::from(receipt.is_some()),
        };
        let displaced = self.queue.push(entry);
        self.displaced(displaced);
    }

    /// All that is not asked to wait is tried at once: the end comes.
    fn cut_short(&mut self) {
        self.wait.cut_short();
        self.queue.hurry(clock::monotonic());
    }

    fn displaced(&mut self, displaced: Displaced) {
        match displaced {
            Displaced::Nothing => {}
            Displaced::Replaced(older) => self.say(Outcome::Replaced, Duration::ZERO, &older),
            Displaced::Overflow(oldest) => {
                tracing::error!(
                    channel = self.sender.name(),
                    incident = oldest.message.incident,
                    "too many notifications wait, the oldest was dropped"
                );
                self.say(Outcome::Overflow, Duration::ZERO, &oldest);
            }
        }
    }

    fn arrived(&mut self, entry: &Entry, took: Duration, taken: Taken) {
        self.wait = Wait::default();
        if std::mem::take(&mut self.broken) {
            tracing::info!(channel = self.sender.name(), "the receiver works again");
        }
        self.say_with(taken.receipt, Outcome::Sent, took, entry);
    }

    fn tried(&mut self, mut entry: Entry, began: Instant, result: Result<Taken, NotifyError>) {
        let now = clock::monotonic();
        let took = now.duration_since(began);
        let error = match result {
            Ok(taken) => return self.arrived(&entry, took, taken),
            Err(error) => error,
        };
        if let NotifyError::Partly { receipt, .. } = &error {
            self.wait = Wait::default();
            self.broken = false;
            return self.partly(entry, took, &error, receipt.clone());
        }
        self.broken |= error.breaks_receiver();
        let age = entry.age(now);
        let tries = self.wait.tries.saturating_add(1);
        let trouble = error.trouble();
        let channel = self.sender.name();
        let incident = entry.message.incident.clone();
        let kind = kind_word(entry.message.kind);
        let error_text = error.chain();
        let progress = Progress {
            tries,
            age,
            max_age: self.sender.max_age,
            reduced: entry.form.reduced,
        };
        match retry::next(&error, progress, (self.draw)()) {
            Next::Again { after, asked } => {
                tracing::warn!(
                    channel,
                    incident,
                    kind,
                    error = error_text,
                    again_after_ms = after.as_millis(),
                    "notification not sent, will be tried again"
                );
                self.wait = Wait {
                    tries,
                    until: Some(now + after),
                    asked,
                };
                self.say(Outcome::Retrying(trouble), took, &entry);
                self.back(entry);
            }
            Next::Reduced => {
                tracing::warn!(
                    channel,
                    incident,
                    kind,
                    error = error_text,
                    "notification refused, will be tried without evidence"
                );
                self.say(Outcome::Retrying(trouble), took, &entry);
                entry.form.reduced = true;
                entry.message = self
                    .sender
                    .render_as(&entry.notice.notification, entry.form);
                self.back(entry);
            }
            Next::GiveUp => {
                let broken = self.broken;
                tracing::error!(
                    channel,
                    incident,
                    kind,
                    error = error_text,
                    broken,
                    "notification not sent, and no further try can help"
                );
                // It answers, so the next message need not wait.
                self.wait = Wait::default();
                self.say(Outcome::Failed(trouble), took, &entry);
            }
            Next::Expired => {
                tracing::error!(
                    channel,
                    incident,
                    kind,
                    error = error_text,
                    "notification not sent, and too old by now"
                );
                self.say(Outcome::Expired, took, &entry);
            }
        }
    }

    /// Who has it is not told again, and nobody waits for who has not.
    fn partly(&mut self, mut entry: Entry, took: Duration, error: &NotifyError, receipt: String) {
        let now = clock::monotonic();
        entry.put_off = entry.put_off.saturating_add(1);
        entry.begins = false;
        let progress = Progress {
            tries: entry.put_off,
            age: entry.age(now),
            max_age: self.sender.max_age,
            reduced: entry.form.reduced,
        };
        let (channel, incident) = (self.sender.name(), entry.message.incident.as_str());
        let why = error.chain();
        if let Next::Again { after, .. } = retry::next(error, progress, (self.draw)()) {
            tracing::warn!(
                channel,
                incident,
                error = why,
                again_after_ms = after.as_millis(),
                "notification sent to some of its recipients, the others will be tried again"
            );
            self.say_with(Some(receipt), Outcome::Partly, took, &entry);
            let displaced = self.queue.set_apart(now + after, entry);
            return self.displaced(displaced);
        }
        tracing::error!(
            channel,
            incident,
            error = why,
            "notification sent to some of its recipients only, and too old by now for the others"
        );
        self.say(Outcome::Expired, took, &entry);
    }

    /// Puts back what was not sent, unless a newer state is there.
    fn back(&mut self, entry: Entry) {
        if let Some(older) = self.queue.give_back(entry) {
            self.say(Outcome::Replaced, Duration::ZERO, &older);
        }
    }

    fn say(&mut self, outcome: Outcome, took: Duration, entry: &Entry) {
        self.say_with(None, outcome, took, entry);
    }

    fn say_with(
        &mut self,
        receipt: Option<String>,
        outcome: Outcome,
        took: Duration,
        entry: &Entry,
    ) {
        let now = clock::monotonic();
        let age = entry.age(now);
        // It is told of before it is back in the queue.
        let goes_on = matches!(outcome, Outcome::Retrying(_) | Outcome::Partly);
        (self.report)(Report {
            ticket: entry.notice.ticket,
            outcome,
            took,
            age,
            waiting: self.queue.len() + usize::from(goes_on),
            oldest: self.queue.oldest(now).max(goes_on.then_some(age)),
            broken: self.broken,
            receipt,
        });
    }

    /// Says what was left.
    fn leave(mut self) -> Vec<Unsent> {
        self.notifications.close();
        while let Ok(notice) = self.notifications.try_recv() {
            self.accept(Some(notice));
        }
        let mut left = Vec::new();
        let entries: Vec<Entry> = self.queue.drain().collect();
        for entry in entries {
            tracing::error!(
                channel = self.sender.name(),
                incident = entry.message.incident,
                kind = kind_word(entry.message.kind),
                title = entry.message.title,
                "notification not sent before the end"
            );
            self.say(Outcome::Unsent, Duration::ZERO, &entry);
            left.push(Unsent {
                incident: entry.message.incident,
                kind: entry.message.kind,
                title: entry.message.title,
            });
        }
        left
    }
}

impl Wait {
    /// Tries at once, where the receiver did not ask to be left alone.
    fn cut_short(&mut self) {
        if !self.asked {
            self.until = None;
        }
    }
}

async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

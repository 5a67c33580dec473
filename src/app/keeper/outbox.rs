//! What is owed to the receivers, and an ear for the owner while the store is asked for something.
//!
//! A disk may hang for minutes, and whoever waits for it cannot be woken. So the owner is listened to beside every
//! question to the store: a page that came meanwhile leaves after [`PAGE_WAITS`], and what belongs to it is put by and
//! committed when the disk has answered. After [`HANGS`] the store counts as one that cannot be written: it is said, it is
//! told as an alert, and nobody waits for it any more.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::leaving::{self, Leaving, lay_out, send, send_one};
use super::pending::{Pending, Ticketed};
use super::shelf::Shelf;
use super::{Answering, Handed, Receiver, TICK};
use crate::app::health::{Health, Part};
use crate::app::or_never;
use crate::app::resort::LastResort;
use crate::clock;
use crate::core::alert::Notification;
use crate::export::Recorder;
use crate::notify::Notice;
use crate::store::{MessageId, StoredMessage};

/// A page does not wait longer for the disk.
const PAGE_WAITS: Duration = Duration::from_secs(1);
/// A disk that has not answered for so long is in nobody's way any more.
const HANGS: Duration = Duration::from_secs(10);

/// A message that is not known to have arrived: its worker has it, or had no room.
struct Owed {
    /// The receiver's.
    place: usize,
    notification: Arc<Notification>,
    /// Where the store has it; `None`: it has not.
    stored: Option<MessageId>,
}

/// Messages that wait for the disk.
struct Waiting {
    leaving: Vec<Leaving>,
    until: Instant,
    /// What they follow from is being written.
    begun: bool,
    /// They are laid out while it is.
    lays_out: bool,
}

/// What an outbox begins with.
pub(super) struct Begin {
    pub(super) receivers: Vec<Receiver>,
    pub(super) resort: Arc<LastResort>,
    pub(super) orders: mpsc::Receiver<Handed>,
    pub(super) anew: watch::Receiver<u64>,
    pub(super) unwritten: watch::Sender<usize>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) health: Arc<Health>,
}

pub(super) struct Outbox {
    pub(super) receivers: Vec<Receiver>,
    resort: Arc<LastResort>,
    /// `None`: the owner is done.
    orders: Option<mpsc::Receiver<Handed>>,
    /// Everything will be handed over anew: what came before is of another file.
    anew: watch::Receiver<u64>,
    /// Boots that were handed over and are not written yet, as the owner is told: it waits for a disk that is slow.
    unwritten: watch::Sender<usize>,
    /// How many of them are being written.
    being_written: usize,
    recorder: Arc<Recorder>,
    health: Arc<Health>,
    /// Every receiver's name.
    channels: Vec<String>,
    next_ticket: u64,
    owed: BTreeMap<u64, Owed>,
    /// What was handed over and is not on the shelf yet.
    handed: Pending,
    waiting: Vec<Waiting>,
    /// Operators who wait for what is being written, and for what will be.
    begun: Vec<Answering>,
    answers: Vec<Answering>,
    /// Damaged files renamed, as the shelf last said.
    set_aside: u64,
    /// The disk has not answered for long.
    hangs: bool,
}

impl Outbox {
    pub(super) fn new(begin: Begin) -> Outbox {
        let names = begin.receivers.iter().map(|receiver| receiver.name.clone());
        Outbox {
            channels: names.collect(),
            receivers: begin.receivers,
            resort: begin.resort,
            orders: Some(begin.orders),
            anew: begin.anew,
            unwritten: begin.unwritten,
            being_written: 0,
            recorder: begin.recorder,
            health: begin.health,
            next_ticket: 0,
            owed: BTreeMap::new(),
            handed: Pending::default(),
            waiting: Vec::new(),
            begun: Vec::new(),
            answers: Vec::new(),
            set_aside: 0,
            hangs: false,
        }
    }

    /// Takes what the owner hands over next.
    pub(super) async fn listen(&mut self) {
        match heard(&mut self.orders).await {
            Some(handed) => self.set_down(handed),
            None => self.orders = None,
        }
    }

    /// The owner is done.
    pub(super) fn is_closed(&self) -> bool {
        self.orders.is_none()
    }

    /// Waits for what the store was asked, and listens to the owner meanwhile.
    pub(super) async fn meanwhile<T>(&mut self, asked: impl Future<Output = T>) -> T {
        let mut asked = pin!(asked);
        let hangs_at = clock::monotonic() + HANGS;
        loop {
            self.health.ticked(Part::Keeper);
            let lays_out = self.waiting.iter().any(|one| one.lays_out);
            let leaves_at = self.waiting.iter().map(|one| one.until).min();
            let closed = self.is_closed();
            if closed && self.waiting.is_empty() {
                // Nothing more leaves, whatever the disk does: the workers need not wait for it to see their end.
                self.receivers.clear();
            }
            tokio::select! {
                biased;
                answer = asked.as_mut() => return answer,
                // While the disk is at it there is time for that.
                () = std::future::ready(()), if lays_out => self.lay_out(),
                () = or_never(leaves_at.map(tokio::time::sleep_until)) => self.leave_unsaved(),
                () = self.listen(), if !closed => {}
                () = tokio::time::sleep_until(hangs_at), if !self.hangs => self.hang(),
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// What was handed over goes to the shelf, which nobody may touch while the store is asked; whether there is something
    /// to commit.
    pub(super) fn put_by(&mut self, shelf: &mut Shelf) -> bool {
        self.set_aside = shelf.set_aside;
        self.forget_old();
        let more = shelf.pending.follow(&mut self.handed);
        more || !self.waiting.is_empty() || !self.answers.is_empty()
    }

    /// A commit of so many boots begins; whether a notification waits for it. Of late the store did not take anything:
    /// most likely they will have to say so, and their workers lay them out then.
    pub(super) fn begin(&mut self, is_well: bool, boots: usize) -> bool {
        self.being_written = if is_well { boots } else { 0 };
        self.show_unwritten();
        for one in &mut self.waiting {
            (one.begun, one.lays_out) = (true, is_well);
        }
        self.begun.append(&mut self.answers);
        !self.waiting.is_empty()
    }

    /// The commit has ended.
    pub(super) async fn end(&mut self, saved: bool) {
        self.being_written = 0;
        self.show_unwritten();
        let done: Vec<Waiting> = self.waiting.extract_if(.., |one| one.begun).collect();
        if !done.is_empty() {
            for one in done {
                self.send(one.leaving, !saved);
            }
            // They leave before anything else is done about them.
            tokio::task::yield_now().await;
        }
        for answer in self.begun.drain(..) {
            answer.give(saved);
        }
    }

    /// Whether the disk had not answered for long, asked once.
    pub(super) fn has_hung(&mut self) -> bool {
        std::mem::take(&mut self.hangs)
    }

    fn set_down(&mut self, handed: Handed) {
        let Handed {
            ahead,
            batch,
            notices,
            answers,
        } = handed;
        self.forget_old();
        let leaving = self.owe(notices);
        let tickets: Vec<u64> = leaving.iter().map(|one| one.ticket).collect();
        let messages = self.messages(&tickets);
        if ahead {
            // Nothing is written down that they would wait for.
            self.send(leaving, true);
            self.handed.hold(messages);
            self.show();
            return;
        }
        self.handed.add(batch, messages);
        self.show_unwritten();
        if self.hangs {
            self.send(leaving, true);
            self.show();
            for answer in answers {
                answer.give(false);
            }
            return;
        }
        self.answers.extend(answers);
        if !leaving.is_empty() {
            self.waiting.push(Waiting {
                leaving,
                until: clock::monotonic() + PAGE_WAITS,
                begun: false,
                lays_out: false,
            });
        }
    }

    /// Another file stands in the store's place: what is put by is parts of a whole that it lacks.
    fn forget_old(&mut self) {
        if self.anew.has_changed().unwrap_or(false) {
            self.anew.mark_unchanged();
            self.handed.forget_state();
        }
    }

    fn lay_out(&mut self) {
        for one in self.waiting.iter_mut().filter(|one| one.lays_out) {
            one.lays_out = false;
            lay_out(&self.receivers, &mut one.leaving);
        }
    }

    /// The page does not wait for a disk that hangs, but what was begun is not given up halfway.
    fn leave_unsaved(&mut self) {
        let now = clock::monotonic();
        let late: Vec<Waiting> = self
            .waiting
            .extract_if(.., |one| one.until <= now)
            .collect();
        for one in late {
            self.send(one.leaving, true);
        }
    }

    /// Nobody waits for a disk that does not answer or does not take anything.
    fn show_unwritten(&self) {
        let waits = !self.hangs && self.health.store_failing().is_none();
        let boots = self.being_written + self.handed.boots();
        self.unwritten.send_replace(if waits { boots } else { 0 });
    }

    fn hang(&mut self) {
        self.hangs = true;
        tracing::error!(
            "the store's disk does not answer; alerting goes on from memory, look at the kernel's log"
        );
        self.recorder.store(false, self.set_aside);
        self.health.store(false);
        self.show_unwritten();
        // Whatever comes now leaves at once, and must overtake nothing.
        for one in std::mem::take(&mut self.waiting) {
            self.send(one.leaving, true);
        }
        for answer in self.begun.drain(..).chain(self.answers.drain(..)) {
            answer.give(false);
        }
    }

    fn send(&self, mut leaving: Vec<Leaving>, unsaved: bool) {
        send(
            &self.receivers,
            &mut leaving,
            unsaved,
            &self.recorder,
            &self.health,
        );
    }

    /// Every receiver that takes it is owed each notification.
    fn owe(&mut self, notices: Vec<Arc<Notification>>) -> Vec<Leaving> {
        let mut leaving = Vec::new();
        for notification in notices {
            self.resort.leaves(&notification);
            for place in 0..self.receivers.len() {
                if notification.reason.is_notice() && !self.receivers[place].takes_notices {
                    continue;
                }
                let ticket = self.ticket();
                self.owed.insert(
                    ticket,
                    Owed {
                        place,
                        notification: Arc::clone(&notification),
                        stored: None,
                    },
                );
                leaving.push(Leaving {
                    place,
                    ticket,
                    notification: Arc::clone(&notification),
                    message: None,
                });
            }
        }
        leaving
    }

    /// What the store keeps of messages that are owed.
    fn messages(&self, tickets: &[u64]) -> Vec<Ticketed> {
        let mut messages = Vec::new();
        // Messages of one notification stand side by side: it is written once.
        let mut written: Option<(&Arc<Notification>, String)> = None;
        for ticket in tickets {
            let Some(owed) = self.owed.get(ticket) else {
                continue;
            };
            let Some(channel) = self.channels.get(owed.place) else {
                continue;
            };
            let notification = &owed.notification;
            let payload = match written.take() {
                Some((same, payload)) if Arc::ptr_eq(same, notification) => payload,
                _ => match serde_json::to_string(&**notification) {
                    Ok(payload) => payload,
                    Err(_) => {
                        tracing::error!(
                            "a notification cannot be written; it is sent and not kept"
                        );
                        continue;
                    }
                },
            };
            messages.push(Ticketed {
                ticket: *ticket,
                message: leaving::owed(notification, channel, payload.clone()),
            });
            written = Some((notification, payload));
        }
        messages
    }

    /// Where the store has messages now.
    pub(super) fn stored(&mut self, committed: impl Iterator<Item = (u64, MessageId)>) {
        for (ticket, id) in committed {
            if let Some(owed) = self.owed.get_mut(&ticket) {
                owed.stored = Some(id);
            }
        }
    }

    /// The messages that the store had, and has no more.
    pub(super) fn not_stored(&mut self) -> Vec<Ticketed> {
        let lost: Vec<u64> = self
            .owed
            .iter_mut()
            .filter_map(|(ticket, owed)| owed.stored.take().map(|_| *ticket))
            .collect();
        self.messages(&lost)
    }

    pub(super) fn show(&self) {
        self.recorder.outbox(self.owed.values().filter_map(|owed| {
            let channel = self.channels.get(owed.place)?;
            let state = if owed.stored.is_some() {
                "saved"
            } else {
                "unsaved"
            };
            Some((channel.as_str(), state))
        }));
    }

    /// Takes up a message that an earlier run did not get rid of; whether that could be done.
    pub(super) fn owed_still(&mut self, message: StoredMessage) -> bool {
        let place = self
            .receivers
            .iter()
            .position(|receiver| receiver.name == message.receiver);
        let notification = serde_json::from_str::<Notification>(&message.payload);
        let (Some(place), Ok(notification)) = (place, notification) else {
            tracing::error!(
                receiver = message.receiver,
                incident = message.incident,
                "a message of an earlier run cannot be sent: its receiver is gone, or it cannot be read"
            );
            return false;
        };
        let notification = Arc::new(notification);
        let ticket = self.ticket();
        let owed = Owed {
            place,
            notification: Arc::clone(&notification),
            stored: Some(message.id),
        };
        self.owed.insert(ticket, owed);
        self.resort.leaves(&notification);
        let age = clock::now().since(message.created_at);
        let notice = Notice {
            notification,
            ticket,
            unsaved: false,
            age: Duration::from_millis(u64::try_from(age).unwrap_or(0)),
            message: None,
            receipt: message.provider_ref,
            begins: !message.heard,
        };
        send_one(&self.receivers[place], notice, &self.recorder, &self.health);
        true
    }

    /// A message's receiver and its incident.
    pub(super) fn about(&self, ticket: u64) -> Option<(String, String)> {
        let owed = self.owed.get(&ticket)?;
        let channel = self.channels.get(owed.place).cloned().unwrap_or_default();
        Some((channel, owed.notification.incident.key.clone()))
    }

    /// Where the store has a message that is owed.
    pub(super) fn stored_as(&self, ticket: u64) -> Option<MessageId> {
        self.owed.get(&ticket)?.stored
    }

    /// Nothing more is owed; where the store has the message.
    pub(super) fn ended(&mut self, ticket: u64) -> Option<MessageId> {
        self.owed.remove(&ticket)?.stored
    }

    pub(super) fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }
}

async fn heard(orders: &mut Option<mpsc::Receiver<Handed>>) -> Option<Handed> {
    orders.as_mut()?.recv().await
}

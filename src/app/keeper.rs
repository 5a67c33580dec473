//! The one task that owns the store: what the owner hands over is committed, and then its notifications leave.
//!
//! ```text
//!   owner ──(bounded: the owner gathers while it is full)──► keeper ──(bounded: counted when full)──► one worker a channel
//!                                                              ▲ └── store                                  │
//!                                                              └──────────── what became of them ◄──────────┘
//! ```
//!
//! A notification is on the disk before it leaves. If the store cannot commit, or takes longer than anyone on call
//! should wait, it leaves all the same and says so; everything that was not committed is kept, merged by what it is
//! about, and tried again, so that nothing is lost once the disk has room again. A store that turns out to be damaged is
//! set aside, and the owner is asked to hand over everything anew; messages that only the old file held are owed by the
//! new one. A while after the start every page of the file is read once, beside all this, to find damage where nobody
//! looks.

mod leaving;
mod outcomes;
mod pending;
mod shelf;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use leaving::{Leaving, lay_out, send, send_one};
pub(super) use outcomes::{Outcomes, Shown};
use pending::{Pending, Ticketed};
use shelf::{OK, Shelf, Trouble};
pub(super) use shelf::{Opened, open};

use super::health::{Health, Part};
use super::or_never;
use super::resort::LastResort;
use crate::clock;
use crate::core::alert::Notification;
use crate::core::desk::{Done, Refused};
use crate::export::Recorder;
use crate::notify::{self, Notice, Outcome};
use crate::store::{
    self, Batch, History, Mark, MessageId, MessageState, Store, StoreError, StoredMessage, TrialRow,
};
use crate::web::Answer;

/// A page does not wait longer for the disk.
const PAGE_WAITS: Duration = Duration::from_secs(1);
/// Between two small steps of pruning; and while there is more to prune.
const UPKEEP: Duration = Duration::from_secs(10);
const UPKEEP_MORE: Duration = Duration::from_millis(100);
/// Reading the whole file competes with a start for the disk.
const CHECK_AFTER: Duration = Duration::from_secs(10);

/// It says at least so often that it goes on.
const TICK: Duration = Duration::from_secs(5);

/// What follows from a stretch of the log.
#[derive(Debug, Default)]
pub(super) struct Handed {
    /// The notifications go ahead of their batch, which is in the next one: the store cannot be written.
    pub(super) ahead: bool,
    pub(super) batch: Batch,
    /// Each goes to every receiver.
    pub(super) notices: Vec<Arc<Notification>>,
    /// Each is given when the batch is on the disk.
    pub(super) answers: Vec<Answering>,
}

/// Entries of the synthetic journal; the answer says whether they are on the disk.
#[derive(Debug)]
pub(super) struct JournalOrder {
    pub(super) rows: Vec<TrialRow>,
    pub(super) answer: oneshot::Sender<bool>,
}

/// What the task of synthetic boots is told of its journal: another file stands in the old one's place.
#[derive(Clone, Debug, Default)]
pub(super) struct JournalAnew {
    /// What files that were opened late held.
    pub(super) found: Vec<TrialRow>,
}

/// An operator who waits.
#[derive(Debug)]
pub(super) struct Answering {
    pub(super) done: Result<Done, Refused>,
    pub(super) to: oneshot::Sender<Answer>,
}

impl Answering {
    fn give(self, saved: bool) {
        let answer = Answer {
            done: self.done,
            saved,
        };
        // Who has gone away is answered by the list.
        drop(self.to.send(answer));
    }
}

/// One receiver, as the keeper knows it.
pub(super) struct Receiver {
    pub(super) name: String,
    pub(super) worker: mpsc::Sender<Notice>,
    /// Lays its messages out.
    pub(super) sender: Arc<notify::Sender>,
    /// Also of what wakes nobody.
    pub(super) takes_notices: bool,
}

/// What became of messages, for the owner. When its channel is full it is dropped: a repeat then counts from when the
/// message left, and a dead letter is in the log, the store and the metrics all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Feedback {
    /// A message about this incident arrived somewhere.
    Delivered { incident: String },
    /// No further try of it follows, and nobody was told by it.
    Dead {
        channel: String,
        incident: String,
        outcome: Outcome,
    },
}

/// What a keeper begins with.
pub(super) struct Begin {
    pub(super) settings: store::Settings,
    /// `None`: it could not be opened, which is tried again.
    pub(super) store: Option<Store>,
    /// Damaged files renamed so far: what is there holds nothing yet.
    pub(super) set_aside: u64,
    /// What an earlier run owed.
    pub(super) unsent: Vec<StoredMessage>,
    pub(super) receivers: Vec<Receiver>,
    pub(super) feedback: mpsc::Sender<Feedback>,
    pub(super) resort: Arc<LastResort>,
    pub(super) outcomes: Arc<Outcomes>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) health: Arc<Health>,
    /// Counts how often everything must be handed over anew.
    pub(super) anew: watch::Sender<u64>,
    /// The same for the synthetic journal, with what was found in the file.
    pub(super) journal_anew: watch::Sender<JournalAnew>,
    /// What synthetic boots set out to do.
    pub(super) journal: mpsc::Receiver<JournalOrder>,
    /// Closes when every worker has ended.
    pub(super) workers: mpsc::Receiver<()>,
}

pub(super) struct Keeper {
    shelf: Shelf,
    receivers: Vec<Receiver>,
    feedback: mpsc::Sender<Feedback>,
    resort: Arc<LastResort>,
    outcomes: Arc<Outcomes>,
    recorder: Arc<Recorder>,
    health: Arc<Health>,
    journal: mpsc::Receiver<JournalOrder>,
    workers: mpsc::Receiver<()>,
    /// Every receiver's name.
    channels: Vec<String>,
    next_ticket: u64,
    owed: BTreeMap<u64, Owed>,
    upkeep_at: Instant,
    /// When the whole file is read, once.
    check_at: Option<Instant>,
    check: Option<Check>,
}

type Check = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// A message that is not known to have arrived: its worker has it, or had no room.
struct Owed {
    /// The receiver's.
    place: usize,
    notification: Arc<Notification>,
    /// Where the store has it; `None`: it has not.
    stored: Option<MessageId>,
}

impl Keeper {
    pub(super) fn new(begin: Begin) -> Keeper {
        let (recorder, health) = (Arc::clone(&begin.recorder), Arc::clone(&begin.health));
        let mut keeper = Keeper {
            shelf: Shelf {
                trouble: begin.store.is_none().then(Trouble::new),
                settings: begin.settings,
                store: begin.store,
                pending: Pending::default(),
                set_aside: begin.set_aside,
                fresh: begin.set_aside > 0,
                recorder: begin.recorder,
                health: begin.health,
                anew: begin.anew,
                journal_anew: begin.journal_anew,
            },
            channels: begin
                .receivers
                .iter()
                .map(|receiver| receiver.name.clone())
                .collect(),
            receivers: begin.receivers,
            feedback: begin.feedback,
            resort: begin.resort,
            outcomes: begin.outcomes,
            recorder,
            health,
            journal: begin.journal,
            workers: begin.workers,
            next_ticket: 0,
            owed: BTreeMap::new(),
            upkeep_at: clock::monotonic() + UPKEEP,
            check_at: Some(clock::monotonic() + CHECK_AFTER),
            check: None,
        };
        let set_aside = keeper.shelf.set_aside;
        keeper
            .recorder
            .store(keeper.shelf.trouble.is_none(), set_aside);
        keeper.shelf.health.store(keeper.shelf.trouble.is_none());
        for message in begin.unsent {
            keeper.owed(message);
        }
        if set_aside > 0 {
            // The machines were taken back from a file that is not there any more.
            keeper.shelf.begin_anew(Vec::new());
        }
        keeper.remember(None);
        keeper
    }

    /// Runs until the owner is done, the workers are done, and what became of their messages is noted.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Handed>) {
        let mut open = true;
        loop {
            let wake = self.next_wake();
            self.shelf.health.ticked(Part::Keeper);
            let outcomes = Arc::clone(&self.outcomes);
            tokio::select! {
                biased;
                handed = orders.recv(), if open => match handed {
                    Some(handed) => self.take(handed).await,
                    None => {
                        open = false;
                        // Now the workers see their channels close.
                        self.receivers.clear();
                    }
                },
                Some(order) = self.journal.recv() => self.note(order).await,
                () = outcomes.changed() => self.note_outcomes().await,
                _ = self.workers.recv(), if !open => break,
                found = or_never(self.check.as_mut()) => self.checked(found).await,
                () = tokio::time::sleep_until(wake) => self.time_passed().await,
                // Nothing is to be done, which is a sign of life all the same.
                () = tokio::time::sleep(TICK) => {}
            }
        }
        while let Ok(order) = self.journal.try_recv() {
            self.note(order).await;
        }
        self.note_outcomes().await;
        if !self.shelf.pending.is_empty() {
            // However long the next try was put off: there is no later one.
            self.shelf.commit_now().await;
        }
        if let Some(store) = self.shelf.store.take() {
            store.close().await;
        }
    }

    fn next_wake(&self) -> Instant {
        match &self.shelf.trouble {
            Some(trouble) => trouble.retry_at,
            None => self.upkeep_at.min(self.check_at.unwrap_or(self.upkeep_at)),
        }
    }

    async fn time_passed(&mut self) {
        if self.shelf.trouble.is_some() {
            let committed = self.shelf.commit_now().await;
            self.remember(committed);
            return;
        }
        if self.check_at.is_some_and(|at| at <= clock::monotonic()) {
            self.check_at = None;
            self.check = Some(Box::pin(check(self.shelf.settings.path.clone())));
            return;
        }
        let more = self.shelf.upkeep().await;
        self.remember(None);
        self.upkeep_at = clock::monotonic() + if more { UPKEEP_MORE } else { UPKEEP };
    }

    async fn take(&mut self, handed: Handed) {
        let Handed {
            ahead,
            batch,
            notices,
            answers,
        } = handed;
        let mut leaving = self.owe(notices);
        let tickets: Vec<u64> = leaving.iter().map(|one| one.ticket).collect();
        if ahead {
            // Nothing is written down that they would wait for.
            self.send(&mut leaving, true).await;
            let messages = self.messages(&tickets);
            self.shelf.pending.hold(messages);
            self.remember(None);
            return;
        }
        let messages = self.messages(&tickets);
        self.shelf.pending.add(batch, messages);
        if leaving.is_empty() {
            let committed = self.shelf.commit().await;
            for answer in answers {
                answer.give(committed.is_some());
            }
            self.remember(committed);
            return;
        }
        let Keeper {
            shelf, receivers, ..
        } = self;
        let saves = shelf.trouble.is_none();
        let mut unsaved = None;
        let committed = {
            let mut commit = pin!(shelf.commit());
            let in_time = tokio::time::timeout(PAGE_WAITS, commit.as_mut());
            // While the disk is at it there is time to lay them out. Of late it was not: most likely they will say so, and
            // their workers lay them out then.
            let laid_out = async {
                if saves {
                    lay_out(receivers, &mut leaving);
                }
            };
            match tokio::join!(biased; in_time, laid_out).0 {
                Ok(committed) => committed,
                // The disk hangs. The page does not wait for it, but what was begun is not given up halfway.
                Err(_) => {
                    send(receivers, &mut leaving, true, &self.recorder, &self.health);
                    unsaved = Some(());
                    commit.await
                }
            }
        };
        let saved = committed.is_some();
        if unsaved.is_none() {
            self.send(&mut leaving, !saved).await;
        }
        for answer in answers {
            answer.give(saved);
        }
        self.remember(committed);
        if saved && !self.shelf.settle().await {
            self.remember(None);
        }
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

    /// They leave before anything else is done about them.
    async fn send(&mut self, leaving: &mut Vec<Leaving>, unsaved: bool) {
        send(
            &self.receivers,
            leaving,
            unsaved,
            &self.recorder,
            &self.health,
        );
        tokio::task::yield_now().await;
    }

    /// Writes entries of the synthetic journal, and says whether they are on the disk.
    async fn note(&mut self, order: JournalOrder) {
        let JournalOrder { rows, answer } = order;
        let batch = Batch {
            trials: rows,
            ..Batch::default()
        };
        self.shelf.pending.add(batch, Vec::new());
        let committed = self.shelf.commit().await;
        // Whoever has gone away has no use for it.
        answer.send(committed.is_some()).ok();
        self.remember(committed);
    }

    /// What a try to commit changed about the messages.
    fn remember(&mut self, committed: Option<Vec<(u64, MessageId)>>) {
        for (ticket, id) in committed.into_iter().flatten() {
            if let Some(owed) = self.owed.get_mut(&ticket) {
                owed.stored = Some(id);
            }
        }
        if std::mem::take(&mut self.shelf.fresh) {
            // Whatever is being checked is the old file.
            self.check = None;
            self.owe_again();
        }
        self.show();
    }

    /// The new file holds none of the messages that the old one held.
    fn owe_again(&mut self) {
        let lost: Vec<u64> = self
            .owed
            .iter_mut()
            .filter_map(|(ticket, owed)| owed.stored.take().map(|_| *ticket))
            .collect();
        let messages = self.messages(&lost);
        self.shelf.pending.add_older(messages);
    }

    fn show(&self) {
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

    /// Every page of the file was read.
    async fn checked(&mut self, found: Result<(), StoreError>) {
        self.check = None;
        let Err(error) = found else {
            tracing::info!("every page of the store was read and is sound");
            self.recorder.store_check(OK);
            return;
        };
        let kind = error.kind();
        self.recorder.store_check(kind.as_str());
        tracing::error!(
            error = format!("{:#}", anyhow::Error::new(error)),
            "the store was checked"
        );
        if kind == store::Kind::Corrupt {
            self.shelf.renew().await;
            self.remember(None);
        }
    }

    /// A message that an earlier run did not get rid of.
    fn owed(&mut self, message: StoredMessage) {
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
            self.shelf.pending.mark(Mark::Dead {
                id: message.id,
                status: "undeliverable".to_owned(),
                at: clock::now(),
            });
            return;
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
        };
        send_one(&self.receivers[place], notice, &self.recorder, &self.health);
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Tells the owner what it must know of a message that has ended.
    fn feed_back(&mut self, ticket: u64, state: MessageState, outcome: Outcome) {
        let Some(owed) = self.owed.get(&ticket) else {
            return;
        };
        let incident = owed.notification.incident.key.clone();
        let feedback = match state {
            MessageState::Sent => Feedback::Delivered { incident },
            MessageState::Dead => Feedback::Dead {
                channel: self.channels.get(owed.place).cloned().unwrap_or_default(),
                incident,
                outcome,
            },
            MessageState::Queued | MessageState::Sending | MessageState::Dropped => return,
        };
        if self.feedback.try_send(feedback).is_err() {
            tracing::debug!("the owner did not hear what became of a message");
        }
    }

    /// What became of messages, into the store.
    async fn note_outcomes(&mut self) {
        for (ticket, (tries, outcome)) in self.outcomes.take() {
            let stored = self.owed.get(&ticket).and_then(|owed| owed.stored);
            if let Some(id) = stored.filter(|_| tries > 0) {
                let status = outcome.as_str().to_owned();
                self.shelf.pending.mark(Mark::Tried { id, tries, status });
            }
            let Some(state) = outcomes::ended(outcome) else {
                continue;
            };
            self.feed_back(ticket, state, outcome);
            let at = clock::now();
            let status = outcome.as_str().to_owned();
            match self.owed.remove(&ticket).and_then(|owed| owed.stored) {
                Some(id) => self.shelf.pending.mark(match state {
                    MessageState::Sent => Mark::Sent {
                        id,
                        status,
                        provider_ref: None,
                        at,
                    },
                    MessageState::Dropped => Mark::Dropped { id, status, at },
                    _ => Mark::Dead { id, status, at },
                }),
                // It left before it could be committed.
                None => self.shelf.pending.ended(ticket, state),
            }
        }
        for shown in self.outcomes.shown() {
            let (ticket, message) = (self.ticket(), shown.message());
            self.shelf.pending.add_shown(Ticketed { ticket, message });
        }
        let committed = self.shelf.commit().await;
        self.remember(committed);
    }
}

async fn check(path: PathBuf) -> Result<(), StoreError> {
    History::open(&path).await?.check().await
}

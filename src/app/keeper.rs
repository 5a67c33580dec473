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
mod outbox;
mod outcomes;
mod pending;
mod shelf;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use outbox::Outbox;
use outcomes::Newest;
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
    self, Batch, History, Mark, MessageId, MessageState, Receipt, Store, StoreError, StoredMessage,
    TrialRow, Tried,
};
use crate::web::Answer;

/// Between two small steps of pruning, each of which waits for the disk; and while there is more to prune.
const UPKEEP: Duration = Duration::from_secs(60);
const UPKEEP_MORE: Duration = Duration::from_millis(100);
/// Both that and reading the whole file compete with a start for the disk.
const FIRST_AFTER: Duration = Duration::from_secs(10);

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
    /// What its receivers said of incidents lately.
    pub(super) receipts: Vec<Receipt>,
    pub(super) receivers: Vec<Receiver>,
    pub(super) feedback: mpsc::Sender<Feedback>,
    pub(super) resort: Arc<LastResort>,
    pub(super) outcomes: Arc<Outcomes>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) health: Arc<Health>,
    pub(super) orders: mpsc::Receiver<Handed>,
    /// Boots that were handed over and are not written yet; 0 while the store takes none.
    pub(super) unwritten: watch::Sender<usize>,
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
    outbox: Outbox,
    feedback: mpsc::Sender<Feedback>,
    outcomes: Arc<Outcomes>,
    recorder: Arc<Recorder>,
    health: Arc<Health>,
    journal: mpsc::Receiver<JournalOrder>,
    workers: mpsc::Receiver<()>,
    upkeep_at: Instant,
    /// When the whole file is read, once.
    check_at: Option<Instant>,
    check: Option<Check>,
}

type Check = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// Whether a commit that was put off is tried all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Try {
    IfDue,
    Now,
}

impl Keeper {
    pub(super) fn new(begin: Begin) -> Keeper {
        let (recorder, health) = (Arc::clone(&begin.recorder), Arc::clone(&begin.health));
        let outbox = Outbox::new(outbox::Begin {
            receivers: begin.receivers,
            resort: begin.resort,
            orders: begin.orders,
            anew: begin.anew.subscribe(),
            unwritten: begin.unwritten,
            recorder: Arc::clone(&recorder),
            health: Arc::clone(&health),
        });
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
            outbox,
            feedback: begin.feedback,
            outcomes: begin.outcomes,
            recorder,
            health,
            journal: begin.journal,
            workers: begin.workers,
            upkeep_at: clock::monotonic() + FIRST_AFTER,
            check_at: Some(clock::monotonic() + FIRST_AFTER),
            check: None,
        };
        keeper.shelf.show();
        for Receipt {
            receiver,
            incident,
            provider_ref,
        } in begin.receipts
        {
            let mut known = keeper.outbox.receivers.iter();
            if let Some(known) = known.find(|one| one.name == receiver) {
                known.sender.recall(&incident, &provider_ref);
            }
        }
        for message in begin.unsent {
            keeper.owed(message);
        }
        if keeper.shelf.set_aside > 0 {
            // The machines were taken back from a file that is not there any more.
            keeper.shelf.begin_anew(Vec::new());
        }
        keeper.remember(None);
        keeper
    }

    /// Runs until the owner is done, the workers are done, and what became of their messages is noted.
    pub(super) async fn run(mut self) {
        loop {
            self.catch_up().await;
            if self.outbox.is_closed() {
                // Now the workers see their channels close.
                self.outbox.receivers.clear();
            }
            let wake = self.next_wake();
            self.health.ticked(Part::Keeper);
            let outcomes = Arc::clone(&self.outcomes);
            let closed = self.outbox.is_closed();
            tokio::select! {
                biased;
                () = self.outbox.listen(), if !closed => tokio::task::yield_now().await,
                Some(order) = self.journal.recv() => self.note(order).await,
                () = outcomes.changed() => self.note_outcomes().await,
                _ = self.workers.recv(), if closed => break,
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
            self.commit(Try::Now).await;
        }
        if let Some(store) = self.shelf.store.take() {
            store.close().await;
        }
    }

    /// Writes what was handed over, and what was handed over meanwhile.
    async fn catch_up(&mut self) {
        while self.outbox.put_by(&mut self.shelf) {
            self.commit(Try::IfDue).await;
        }
    }

    /// Commits what waits; its notifications leave as soon as it is on the disk, or as soon as that takes too long.
    async fn commit(&mut self, when: Try) {
        self.outbox.put_by(&mut self.shelf);
        let is_well = self.shelf.trouble.is_none();
        let pages = self.outbox.begin(is_well, self.shelf.pending.boots());
        let committed = match when {
            Try::IfDue => self.outbox.meanwhile(self.shelf.commit()).await,
            Try::Now => self.outbox.meanwhile(self.shelf.commit_now()).await,
        };
        let saved = committed.is_some();
        self.outbox.end(saved).await;
        self.remember(committed);
        if saved && pages && !self.outbox.meanwhile(self.shelf.settle()).await {
            self.remember(None);
        }
        self.breathe();
    }

    /// The disk has answered.
    fn breathe(&mut self) {
        if self.outbox.has_hung() {
            self.shelf.answered();
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
            self.commit(Try::Now).await;
            return;
        }
        if self.check_at.is_some_and(|at| at <= clock::monotonic()) {
            self.check_at = None;
            self.check = Some(Box::pin(check(self.shelf.settings.path.clone())));
            return;
        }
        let more = self.outbox.meanwhile(self.shelf.upkeep()).await;
        self.breathe();
        self.remember(None);
        self.upkeep_at = clock::monotonic() + if more { UPKEEP_MORE } else { UPKEEP };
    }

    /// Writes entries of the synthetic journal, and says whether they are on the disk.
    async fn note(&mut self, order: JournalOrder) {
        let JournalOrder { rows, answer } = order;
        let batch = Batch {
            trials: rows,
            ..Batch::default()
        };
        self.shelf.pending.add(batch, Vec::new());
        let committed = self.outbox.meanwhile(self.shelf.commit()).await;
        // Whoever has gone away has no use for it.
        answer.send(committed.is_some()).ok();
        self.remember(committed);
        self.breathe();
    }

    /// What a try to commit changed about the messages.
    fn remember(&mut self, committed: Option<Vec<(u64, MessageId)>>) {
        self.outbox.stored(committed.into_iter().flatten());
        if std::mem::take(&mut self.shelf.fresh) {
            // Whatever is being checked is the old file.
            self.check = None;
            // The new file holds none of the messages that the old one held.
            self.shelf.pending.add_older(self.outbox.not_stored());
        }
        self.outbox.show();
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
            self.outbox.meanwhile(self.shelf.renew()).await;
            self.breathe();
            self.remember(None);
        }
    }

    /// A message that an earlier run did not get rid of.
    fn owed(&mut self, message: StoredMessage) {
        let id = message.id;
        let (channel, incident) = (message.receiver.clone(), message.incident.clone());
        if !self.outbox.owed_still(message) {
            self.shelf.pending.mark(Mark::Dead {
                id,
                status: "undeliverable".to_owned(),
                at: clock::now(),
            });
            // If nobody else has it either, whoever is configured now is told.
            self.give_back(Feedback::Dead {
                channel,
                incident,
                outcome: Outcome::Unsent,
            });
        }
    }

    /// Tells the owner what it must know of a message that has ended.
    fn feed_back(&mut self, ticket: u64, state: MessageState, outcome: Outcome) {
        let Some((channel, incident)) = self.outbox.about(ticket) else {
            return;
        };
        let feedback = match state {
            MessageState::Sent => Feedback::Delivered { incident },
            MessageState::Dead => Feedback::Dead {
                channel,
                incident,
                outcome,
            },
            MessageState::Queued | MessageState::Sending | MessageState::Dropped => return,
        };
        self.give_back(feedback);
    }

    fn give_back(&self, feedback: Feedback) {
        if self.feedback.try_send(feedback).is_err() {
            tracing::debug!("the owner did not hear what became of a message");
        }
    }

    /// What became of messages, into the store.
    async fn note_outcomes(&mut self) {
        for (ticket, newest) in self.outcomes.take() {
            let Newest {
                tries,
                outcome,
                receipt,
            } = newest;
            let (state, at) = (outcomes::ended(outcome), clock::now());
            let status = outcome.as_str().to_owned();
            let tried = Tried {
                attempts: tries,
                last_status: Some(status.clone()),
                provider_ref: receipt.clone(),
            };
            match self.outbox.stored_as(ticket) {
                Some(id) if tries > 0 => self.shelf.pending.mark(Mark::Tried { id, tried }),
                Some(_) => {}
                // It left before it could be committed.
                None => {
                    let end = state.map(|state| (state, at));
                    self.shelf.pending.tried(ticket, tried, end);
                }
            }
            let Some(state) = state else { continue };
            self.feed_back(ticket, state, outcome);
            if let Some(id) = self.outbox.ended(ticket) {
                self.shelf.pending.mark(match state {
                    MessageState::Sent => Mark::Sent {
                        id,
                        status,
                        provider_ref: receipt,
                        at,
                    },
                    MessageState::Dropped => Mark::Dropped { id, status, at },
                    _ => Mark::Dead { id, status, at },
                });
            }
        }
        for shown in self.outcomes.shown() {
            let (ticket, message) = (self.outbox.ticket(), shown.message());
            self.shelf.pending.add_shown(Ticketed { ticket, message });
        }
        self.commit(Try::IfDue).await;
    }
}

async fn check(path: PathBuf) -> Result<(), StoreError> {
    History::open(&path).await?.check().await
}

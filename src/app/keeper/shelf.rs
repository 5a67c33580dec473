//! The store, and what waits for it while it cannot be written: tried again, set aside where it is damaged.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::JournalAnew;
use super::pending::Pending;
use crate::app::health::Health;
use crate::clock::{self, Stopwatch};
use crate::export::Recorder;
use crate::store::{self, MessageId, OpenError, Store, StoreError, TrialRow};

/// How a commit is counted, or a check, that went well.
pub(super) const OK: &str = "ok";
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// The store and what waits for it.
pub(super) struct Shelf {
    pub(super) settings: store::Settings,
    pub(super) store: Option<Store>,
    pub(super) pending: Pending,
    pub(super) trouble: Option<Trouble>,
    /// Damaged files renamed.
    pub(super) set_aside: u64,
    /// A new file stands in the place of another.
    pub(super) fresh: bool,
    pub(super) recorder: Arc<Recorder>,
    pub(super) health: Arc<Health>,
    pub(super) anew: watch::Sender<u64>,
    pub(super) journal_anew: watch::Sender<JournalAnew>,
}

pub(super) struct Trouble {
    kind: store::Kind,
    pub(super) retry_at: Instant,
    delay: Duration,
}

impl Trouble {
    pub(super) fn new() -> Trouble {
        Trouble {
            kind: store::Kind::Other,
            retry_at: clock::monotonic() + FIRST_RETRY,
            delay: FIRST_RETRY,
        }
    }

    fn again(&mut self) {
        self.delay = (self.delay * 2).min(LAST_RETRY);
        self.retry_at = clock::monotonic() + self.delay;
    }
}

impl Shelf {
    /// Commits what waits, unless the store is known to be in trouble. The messages that are kept now, or `None`: they
    /// are not.
    pub(super) async fn commit(&mut self) -> Option<Vec<(u64, MessageId)>> {
        match &self.trouble {
            Some(trouble) if clock::monotonic() < trouble.retry_at => None,
            _ => self.commit_now().await,
        }
    }

    pub(super) async fn commit_now(&mut self) -> Option<Vec<(u64, MessageId)>> {
        if self.store.is_none() && !self.reopen().await {
            return None;
        }
        if self.pending.is_empty() {
            return self.settle().await.then(Vec::new);
        }
        let store = self.store.as_mut()?;
        let taken = self.pending.take();
        let watch = Stopwatch::start();
        let done = store.commit(&taken.batch).await;
        let result = match &done {
            Ok(_) => OK,
            Err(error) => error.kind().as_str(),
        };
        self.recorder.store_write(result, watch.elapsed());
        match done {
            Ok(committed) => {
                self.well();
                let tickets = taken.tickets.into_iter();
                Some(tickets.zip(committed.messages).collect())
            }
            Err(error) => {
                self.pending.put_back(taken);
                self.broke(error).await;
                None
            }
        }
    }

    /// Writes what was committed ahead of the tables to them; whether that went well. It is safe where it is: that
    /// another program holds the file for a moment is no trouble of ours, and the next step of upkeep tries again.
    pub(super) async fn settle(&mut self) -> bool {
        let Some(store) = &mut self.store else {
            return false;
        };
        match store.settle().await {
            Err(error) if error.kind() == store::Kind::Locked && self.trouble.is_none() => false,
            Ok(()) => {
                self.well();
                true
            }
            Err(error) => {
                self.broke(error).await;
                false
            }
        }
    }

    /// Opens the store that could not be opened before.
    async fn reopen(&mut self) -> bool {
        match Store::open(self.settings.clone(), clock::now()).await {
            Ok(opened) => {
                self.fresh |= opened.set_aside.is_some();
                self.set_aside += u64::from(opened.set_aside.is_some());
                // What it holds is older than what we know; but of synthetic boots that an earlier process left, it alone
                // knows.
                self.store = Some(opened.store);
                self.begin_anew(opened.saved.trials);
                true
            }
            Err(error) => {
                self.failed(error.kind(), &why(error).0);
                false
            }
        }
    }

    pub(super) async fn renew(&mut self) {
        let Some(store) = &mut self.store else { return };
        match store.renew(clock::now()).await {
            Ok(aside) => {
                tracing::error!(aside = %aside.display(), "the damaged store was set aside and a new one begun");
                self.set_aside += 1;
                self.fresh = true;
                self.recorder.store(self.trouble.is_none(), self.set_aside);
                self.begin_anew(Vec::new());
            }
            Err(error) => self.failed(error.kind(), &anyhow::Error::new(error)),
        }
    }

    /// The parts that wait are parts of a whole that the new file lacks.
    pub(super) fn begin_anew(&mut self, trials: Vec<TrialRow>) {
        self.pending.forget_state();
        self.anew.send_modify(|times| *times += 1);
        // Whoever has not looked since finds all of it.
        self.journal_anew
            .send_modify(|journal| journal.found.extend(trials));
    }

    fn well(&mut self) {
        if self.trouble.take().is_some() {
            tracing::info!("the store can be written again");
            self.show();
        }
    }

    /// A disk that hung has answered, whatever it said.
    pub(super) fn answered(&self) {
        if self.trouble.is_none() {
            tracing::info!("the store's disk answers again");
            self.show();
        }
    }

    /// Says whether the store can be written.
    pub(super) fn show(&self) {
        let well = self.trouble.is_none();
        self.recorder.store(well, self.set_aside);
        self.health.store(well);
    }

    /// It did not take what it was given; a damaged one is set aside at once.
    async fn broke(&mut self, error: StoreError) {
        let corrupt = error.kind() == store::Kind::Corrupt;
        self.failed(error.kind(), &anyhow::Error::new(error));
        if corrupt {
            self.renew().await;
        }
    }

    fn failed(&mut self, kind: store::Kind, error: &anyhow::Error) {
        self.recorder.store(false, self.set_aside);
        self.health.store(false);
        match &mut self.trouble {
            Some(trouble) if trouble.kind == kind => trouble.again(),
            trouble => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "alerting goes on from memory; the store is tried again"
                );
                let delay = trouble.take().map_or(FIRST_RETRY, |known| known.delay);
                *trouble = Some(Trouble {
                    kind,
                    retry_at: clock::monotonic() + delay,
                    delay,
                });
            }
        }
    }

    pub(super) async fn upkeep(&mut self) -> bool {
        let Some(store) = &mut self.store else {
            return false;
        };
        match store.upkeep(clock::now()).await {
            Ok(done) => done.more,
            Err(error) => {
                self.broke(error).await;
                false
            }
        }
    }
}

/// What a start begins with.
pub(in crate::app) struct Opened {
    pub(in crate::app) store: Option<Store>,
    pub(in crate::app) saved: store::Saved,
    pub(in crate::app) set_aside: u64,
}

/// Why there is no store, each cause once, and what could be read of it all the same.
fn why(error: OpenError) -> (anyhow::Error, Option<store::Saved>) {
    match error {
        OpenError::Unusable { error, saved } => (error.into(), saved.map(|saved| *saved)),
        OpenError::InUse { .. } | OpenError::Newer { .. } | OpenError::Foreign { .. } => {
            (error.into(), None)
        }
    }
}

/// Opens the store, or says why to go on without it.
///
/// # Errors
/// Somebody has to decide: another bootwatch holds it, or it is not ours, or it is a newer one's.
pub(in crate::app) async fn open(settings: &store::Settings) -> Result<Opened, OpenError> {
    match Store::open(settings.clone(), clock::now()).await {
        Ok(opened) => {
            if let Some(aside) = &opened.set_aside {
                tracing::error!(aside = %aside.display(), "the store was damaged; it was set aside and a new one begun");
            }
            if let Some(copy) = &opened.copy {
                tracing::info!(copy = %copy.display(), "the store was brought up to date; a copy of the old one is kept");
            }
            Ok(Opened {
                set_aside: opened.set_aside.is_some().into(),
                store: Some(opened.store),
                saved: opened.saved,
            })
        }
        Err(error) if error.is_passing() => {
            let (error, saved) = why(error);
            tracing::error!(
                error = format!("{error:#}"),
                "going on from memory; the store is tried again"
            );
            Ok(Opened {
                store: None,
                saved: saved.unwrap_or_default(),
                set_aside: 0,
            })
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn why_there_is_no_store_is_told_with_its_cause_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let day = Duration::from_secs(86_400);
        let settings = store::Settings {
            path: folder.path().join("state"),
            host: "h".to_owned(),
            keep_boots: day,
            keep_incidents: day,
        };
        std::fs::create_dir(&settings.path).unwrap();
        let error = Store::open(settings, clock::now()).await.unwrap_err();
        let told = format!("{:#}", why(error).0);
        assert_eq!(told.matches("it is a folder").count(), 1, "{told}");
        assert!(told.contains("os error"), "{told}");
    }
}

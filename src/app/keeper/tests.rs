//! The keeper as a whole, with a real store, or none yet, and a receiver's worker that is asked what it was given.

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::core::alert::drill;
use crate::core::boot::Boot;
use crate::core::event::{Provenance, Timestamp, VmId};
use crate::export;
use crate::notify::tests as notifying;
use crate::store::{BootRow, IncidentRow};

/// All of the time there is here.
const ALL: std::ops::Range<Timestamp> = Timestamp(0)..Timestamp(10);
/// Where the store lies.
const FOLDER: &str = "state";
/// A disk that says nothing for so long hangs.
const HANGS_SURELY: Duration = Duration::from_secs(11);
const DEADLINE: Duration = Duration::from_secs(30);

/// A keeper that runs, and everybody around it.
struct Scene {
    folder: TempDir,
    path: PathBuf,
    orders: mpsc::Sender<Handed>,
    given: mpsc::Receiver<Notice>,
    outcomes: Arc<Outcomes>,
    feedback: mpsc::Receiver<Feedback>,
    working: mpsc::Sender<()>,
    health: Arc<Health>,
    unwritten: watch::Receiver<usize>,
    has_store: bool,
    running: JoinHandle<()>,
}

impl Scene {
    /// With a store, or with none, because a file stands where its folder should be.
    async fn new(has_store: bool) -> Scene {
        Scene::asking(has_store, std::future::ready(())).await
    }

    /// The store has been asked something, and answers when it pleases.
    async fn asking(has_store: bool, asked: impl Future<Output = ()> + Send + 'static) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        if !has_store {
            std::fs::write(folder.path().join(FOLDER), "").unwrap();
        }
        let scene = Scene::start(folder, "ops", asked).await;
        assert_eq!(scene.has_store, has_store);
        scene
    }

    /// With whatever is in the folder.
    #[expect(clippy::disallowed_methods, reason = "a test supervises its own task")]
    async fn start(
        folder: TempDir,
        channel: &str,
        asked: impl Future<Output = ()> + Send + 'static,
    ) -> Scene {
        let path = folder.path().join(FOLDER).join("bootwatch.db");
        let day = Duration::from_secs(86_400);
        let settings = store::Settings {
            path: path.clone(),
            host: "h".to_owned(),
            keep_boots: day,
            keep_incidents: day,
        };
        let opened = open(&settings).await.unwrap();
        let has_store = opened.store.is_some();
        let (worker, given) = mpsc::channel(8);
        // Nobody is sent anything here.
        let nowhere = notifying::webhook("http", ([127, 0, 0, 1], 9).into());
        let receiver = Receiver {
            name: channel.to_owned(),
            worker,
            sender: Arc::new(notifying::sender(nowhere)),
            takes_notices: true,
        };
        let (fed_back, feedback) = mpsc::channel(8);
        let outcomes = Arc::new(Outcomes::default());
        let (working, workers) = mpsc::channel(1);
        let (orders, handed) = mpsc::channel(1);
        let (unwritten_tx, unwritten) = watch::channel(0);
        let health = Arc::new(Health::default());
        let mut keeper = Keeper::new(Begin {
            settings,
            store: opened.store,
            set_aside: opened.set_aside,
            unsent: opened.saved.unsent,
            receipts: opened.saved.receipts,
            receivers: vec![receiver],
            feedback: fed_back,
            resort: Arc::new(LastResort::new([channel.to_owned()])),
            outcomes: Arc::clone(&outcomes),
            recorder: Arc::new(Recorder::new(&export::Setup::default())),
            health: Arc::clone(&health),
            orders: handed,
            unwritten: unwritten_tx,
            anew: watch::channel(0).0,
            journal_anew: watch::channel(JournalAnew::default()).0,
            journal: mpsc::channel(1).1,
            workers,
        });
        Scene {
            folder,
            path,
            orders,
            given,
            outcomes,
            feedback,
            working,
            health,
            unwritten,
            has_store,
            running: tokio::spawn(async move {
                keeper.outbox.meanwhile(asked).await;
                keeper.breathe();
                keeper.run().await;
            }),
        }
    }

    async fn hand(&self, handed: Handed) {
        self.orders.send(handed).await.unwrap();
    }

    /// What the worker is given of a page that the owner hands over.
    async fn page(&mut self) -> Notice {
        let (firing, batch) = page();
        self.hand(Handed {
            batch,
            notices: vec![firing],
            ..Handed::default()
        })
        .await;
        self.given().await
    }

    /// So many boots.
    async fn boots(&self, count: u128) {
        let boot = |number| Boot::new(Some(VmId(number)), Provenance::default(), Timestamp(0));
        let boots = (0..count).map(|number| BootRow::of(&boot(number), "h"));
        let batch = Batch {
            boots: boots.collect(),
            ..Batch::default()
        };
        self.hand(Handed {
            batch,
            ..Handed::default()
        })
        .await;
    }

    /// Waits until the owner is told of so many boots that are not written yet.
    async fn unwritten(&mut self, boots: usize) {
        let told = self.unwritten.wait_for(|told| *told == boots);
        let told = tokio::time::timeout(DEADLINE, told).await;
        told.expect("it is told").unwrap();
    }

    async fn given(&mut self) -> Notice {
        let given = tokio::time::timeout(DEADLINE, self.given.recv()).await;
        given.expect("a page leaves").unwrap()
    }

    /// Ends it as the program does, first the owner, then the workers; then the messages and the incidents that the
    /// store holds.
    async fn end(self) -> (Vec<StoredMessage>, Vec<IncidentRow>) {
        let (_folder, messages, incidents) = self.end_and_keep().await;
        (messages, incidents)
    }

    /// The same, with the folder that holds the store.
    async fn end_and_keep(self) -> (TempDir, Vec<StoredMessage>, Vec<IncidentRow>) {
        drop((self.orders, self.working));
        let ended = tokio::time::timeout(DEADLINE, self.running).await;
        ended.expect("it ends").unwrap();
        let mut history = History::open(&self.path).await.unwrap();
        let incidents = history.incidents(ALL).await.unwrap();
        let messages = history.messages(ALL).await.unwrap();
        (self.folder, messages, incidents)
    }
}

/// A page, and the incident that it tells of.
fn page() -> (Arc<Notification>, Batch) {
    let [firing, ..] = drill("h", [Timestamp(0); 3]);
    let batch = Batch {
        incidents: vec![IncidentRow(firing.incident.clone())],
        ..Batch::default()
    };
    (Arc::new(firing), batch)
}

#[tokio::test]
async fn a_page_that_the_store_took_leaves_laid_out_and_is_kept() {
    let mut scene = Scene::new(true).await;
    let notice = scene.page().await;
    assert!(!notice.unsaved && notice.message.is_some());
    let (messages, incidents) = scene.end().await;
    let [message] = messages.try_into().unwrap();
    assert_eq!(message.receiver, "ops");
    assert_eq!((message.state, incidents.len()), (MessageState::Queued, 1));
}

#[tokio::test]
async fn who_has_a_message_is_known_to_the_next_run() {
    let mut scene = Scene::new(true).await;
    let notice = scene.page().await;
    let receipt = Some("oncall@example.org".to_owned());
    let outcomes = Arc::clone(&scene.outcomes);
    outcomes.note(notice.ticket, Outcome::Partly, receipt.clone());
    // The other one's mail server is away by now.
    let timeout = Outcome::Retrying(notify::Trouble::Timeout);
    outcomes.note(notice.ticket, timeout, None);
    let (folder, messages, _) = scene.end_and_keep().await;
    assert_eq!(messages[0].state, MessageState::Queued);
    let mut next = Scene::start(folder, "ops", std::future::ready(())).await;
    assert_eq!(next.given().await.receipt, receipt);
    next.end().await;
}

#[tokio::test]
async fn boots_that_a_slow_disk_has_not_taken_are_told_until_it_has_or_hangs() {
    let (answer, answered) = oneshot::channel::<()>();
    let asked = async {
        answered.await.ok();
    };
    let mut scene = Scene::asking(true, asked).await;
    tokio::time::pause();
    scene.boots(7).await;
    scene.unwritten(7).await;
    scene.boots(9).await;
    // They are the same boots, but for two.
    scene.unwritten(9).await;
    tokio::time::sleep(HANGS_SURELY).await;
    scene.unwritten(0).await;
    scene.boots(11).await;
    scene.unwritten(0).await;
    tokio::time::resume();
    answer.send(()).unwrap();
    let (mut told, path) = (scene.unwritten.clone(), scene.path.clone());
    let (_folder, ..) = scene.end_and_keep().await;
    assert_eq!(*told.borrow_and_update(), 0);
    let mut history = History::open(&path).await.unwrap();
    assert_eq!(history.boots(ALL, |_| {}).await.unwrap(), 11);
}

#[tokio::test]
async fn nobody_waits_for_a_store_that_takes_nothing() {
    let mut scene = Scene::new(false).await;
    scene.boots(7).await;
    scene.boots(9).await;
    scene.unwritten(0).await;
    std::fs::remove_file(scene.folder.path().join(FOLDER)).unwrap();
    scene.end().await;
}

#[tokio::test]
async fn workers_see_their_end_while_the_disk_hangs() {
    let (answer, answered) = oneshot::channel::<()>();
    let asked = async {
        answered.await.ok();
    };
    let mut scene = Scene::asking(true, asked).await;
    tokio::time::pause();
    let (firing, batch) = page();
    scene
        .hand(Handed {
            batch,
            notices: vec![firing],
            ..Handed::default()
        })
        .await;
    scene.orders = mpsc::channel(1).0;
    assert!(scene.given().await.unsaved, "what waited is sent before");
    let end = tokio::time::timeout(DEADLINE, scene.given.recv()).await;
    assert!(end.expect("they are not kept waiting").is_none());
    tokio::time::resume();
    answer.send(()).unwrap();
    let (messages, _) = scene.end().await;
    assert_eq!(messages.len(), 1);
}

/// As when a channel that does not work is mended under another name.
#[tokio::test]
async fn a_page_of_a_channel_that_is_gone_is_given_up_and_the_owner_hears_of_it() {
    let mut scene = Scene::new(true).await;
    let incident = scene.page().await.notification.incident.key.clone();
    let (folder, ..) = scene.end_and_keep().await;
    let mut next = Scene::start(folder, "other", std::future::ready(())).await;
    let heard = tokio::time::timeout(DEADLINE, next.feedback.recv()).await;
    let expected = Feedback::Dead {
        channel: "ops".to_owned(),
        incident,
        outcome: Outcome::Unsent,
    };
    assert_eq!(heard.unwrap(), Some(expected));
    let (messages, _) = next.end().await;
    assert_eq!(messages[0].state, MessageState::Dead);
}

#[tokio::test]
async fn without_a_store_a_page_goes_ahead_and_is_kept_later_as_it_has_ended() {
    for (outcome, state) in [
        (Some(Outcome::Sent), MessageState::Sent),
        (Some(Outcome::Expired), MessageState::Dead),
        (None, MessageState::Queued),
    ] {
        let mut scene = Scene::new(false).await;
        let (firing, batch) = page();
        scene
            .hand(Handed {
                ahead: true,
                notices: vec![firing],
                ..Handed::default()
            })
            .await;
        let notice = scene.given().await;
        assert!(notice.unsaved, "nobody is told that it is not kept");
        if let Some(outcome) = outcome {
            let receipt = Some("thread".to_owned());
            scene.outcomes.note(notice.ticket, outcome, receipt);
            let told = tokio::time::timeout(DEADLINE, scene.feedback.recv()).await;
            let incident = notice.notification.incident.key.clone();
            let expected = match state {
                MessageState::Sent => Feedback::Delivered { incident },
                _ => Feedback::Dead {
                    channel: "ops".to_owned(),
                    incident,
                    outcome,
                },
            };
            assert_eq!(told.unwrap(), Some(expected));
        }
        scene
            .hand(Handed {
                batch,
                ..Handed::default()
            })
            .await;
        std::fs::remove_file(scene.folder.path().join(FOLDER)).unwrap();
        assert!(
            scene.given.try_recv().is_err(),
            "the page left a second time"
        );
        let (messages, incidents) = scene.end().await;
        let [message] = messages.try_into().unwrap();
        assert_eq!((message.state, incidents.len()), (state, 1));
        let receipt = outcome.map(|_| "thread");
        assert_eq!(message.provider_ref.as_deref(), receipt);
    }
}

#[tokio::test]
async fn a_page_leaves_while_the_disk_hangs_and_is_kept_once_it_answers() {
    let (answer, answered) = oneshot::channel::<()>();
    let asked = async {
        answered.await.ok();
    };
    let mut scene = Scene::asking(true, asked).await;
    // Nothing of the store is touched meanwhile.
    tokio::time::pause();
    let began = clock::monotonic();
    let (firing, batch) = page();
    let handed = |batch| Handed {
        batch,
        notices: vec![Arc::clone(&firing)],
        ..Handed::default()
    };
    scene.hand(Handed::default()).await;
    scene.hand(handed(batch)).await;
    let notice = scene.given().await;
    assert!(notice.unsaved, "nobody is told that it is not kept");
    assert_eq!(began.elapsed().as_secs(), 1);
    assert_eq!(scene.health.store_failing(), None, "it may be slow");

    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(scene.health.store_failing().is_some());
    let hung = clock::monotonic();
    scene.hand(handed(Batch::default())).await;
    assert!(scene.given().await.unsaved);
    assert_eq!(
        hung.elapsed().as_millis(),
        0,
        "nobody waits for it any more"
    );
    assert_eq!(scene.health.hangs(), None, "the outbox is kept");

    tokio::time::resume();
    answer.send(()).unwrap();
    let health = Arc::clone(&scene.health);
    let (messages, incidents) = scene.end().await;
    assert_eq!((messages.len(), incidents.len()), (2, 1));
    assert_eq!(health.store_failing(), None);
}

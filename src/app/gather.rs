//! What the owner has for the keeper: gathered until it is worth a commit, handed over as one.
//!
//! Everything that follows from what was read up to the checkpoint is in the same batch as the checkpoint, and nothing
//! that follows from later. A notification is handed over at once; the rest when nothing was added for
//! [`COMMIT_AFTER`], or when it has waited for [`COMMIT_EVERY`]. While the store cannot be written a notification is
//! handed over by itself, and the rest as soon as the keeper has taken it: nothing is written down before it leaves.
//! The keeper's channel holds one batch: while it is full the owner goes on gathering, so the disk's pace is never the
//! log's.
//!
//! A past with more boots than a disk writes in that time is read at the disk's pace all the same: beyond
//! [`MOST_UNWRITTEN`] the rest of the log waits in its file, where it takes no memory and nothing of it can be lost. A
//! disk that hangs or refuses is not waited for, nor is any for long where somebody may have to be paged.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::database::Existing;
use super::keeper::{Answering, Handed};
use super::past;
use super::place::Place;
use super::synthetic::Own;
use crate::clock;
use crate::controller::reader::Reader;
use crate::core::alert::{Engine, Incident, Notification};
use crate::core::boot::{Boot, Tracker};
use crate::core::desk::{Desk, Operation};
use crate::core::saved::Changes;
use crate::store::{Batch, BootRow, IncidentRow, OperationRow, StateChange};
use crate::web::EndedBoot;

/// How much of the log is read again after a crash, at most: a commit costs as much as the reading of seconds.
const COMMIT_EVERY: Duration = Duration::from_secs(20);
/// What was gathered when the log fell silent does not wait for more.
const COMMIT_AFTER: Duration = Duration::from_secs(1);

/// So many boots are worth a commit by themselves: one of many more would hold up an end.
const ENOUGH: usize = 512;
/// While so many are on their way to a store that takes them, no more of the log is read.
const MOST_UNWRITTEN: usize = 2 * ENOUGH;
/// A page that is still in the log is held up so long by a store that is far behind; then boots may be lost to history.
const PATIENCE: Duration = Duration::from_secs(30);

/// A boot is looked for among so many that wait for the same commit.
const LATELY: usize = 32;

/// So many boots that ended last are shown until the store has them.
const SHOWN: usize = 50;

/// Kinds of state in the store.
pub(super) const SOURCE: &str = "source";
pub(super) const READER: &str = "reader";
pub(super) const TRACKER: &str = "tracker";
pub(super) const ENGINE: &str = "engine";
pub(super) const DESK: &str = "desk";
pub(super) const ROWS: &str = "rows";
pub(super) const INVENTORY: &str = "inventory";
pub(super) const FINDINGS: &str = "findings";
pub(super) const DATABASE: &str = "database";
pub(super) const SYNTHETIC: &str = "synthetic";
/// The one key of `source`.
pub(super) const PLACE: &str = "place";
/// The one key of `database`: a look was complete.
pub(super) const LOOKED: &str = "looked";
/// The one key of `synthetic`: what the log told of our own account.
pub(super) const TRACES: &str = "traces";

/// What is kept over a restart, where its owner can be asked for it.
pub(super) struct Machines<'a> {
    pub(super) reader: &'a mut Reader,
    pub(super) tracker: &'a mut Tracker,
    pub(super) engine: &'a mut Engine,
    pub(super) desk: &'a mut Desk,
    pub(super) existing: Option<&'a mut Existing>,
    pub(super) own: Option<&'a mut Own>,
}

pub(super) struct Gather {
    host: String,
    keeper: mpsc::Sender<Handed>,
    anew: watch::Receiver<u64>,
    /// Boots that the keeper has, and a store that takes them has not; 0 while it takes none.
    unwritten: watch::Receiver<usize>,
    /// How long reading was held up before now, and since when it is.
    held: Duration,
    held_since: Option<Instant>,
    /// Up to where the log was read, in this run or an earlier one.
    place: Option<Place>,
    state: Vec<StateChange>,
    boots: Vec<BootRow>,
    /// The boots that ended last, the newest end first: the store may not have them yet.
    lately: VecDeque<Arc<EndedBoot>>,
    notices: Vec<Arc<Notification>>,
    /// Incidents that are over, told or not.
    ended: Vec<Incident>,
    operations: Vec<OperationRow>,
    /// Operators who wait until what they did is on the disk.
    answers: Vec<Answering>,
    /// Since when something waits, and when something was added last.
    waits: Option<Waits>,
    /// The open incidents' rows are behind.
    incidents: bool,
    /// An earlier run watched a database, and this one does not.
    forgets_database: bool,
}

#[derive(Clone, Copy, Debug)]
struct Waits {
    since: Instant,
    newest: Instant,
    /// A notification went ahead of what belongs to it.
    at_once: bool,
}

impl Waits {
    fn until(self) -> Instant {
        match self.at_once {
            true => self.since,
            false => (self.since + COMMIT_EVERY).min(self.newest + COMMIT_AFTER),
        }
    }
}

impl Gather {
    pub(super) fn new(
        host: String,
        keeper: mpsc::Sender<Handed>,
        anew: watch::Receiver<u64>,
        unwritten: watch::Receiver<usize>,
        place: Option<Place>,
    ) -> Gather {
        Gather {
            host,
            keeper,
            anew,
            unwritten,
            held: Duration::ZERO,
            held_since: None,
            place,
            state: Vec::new(),
            boots: Vec::new(),
            lately: VecDeque::new(),
            notices: Vec::new(),
            ended: Vec::new(),
            operations: Vec::new(),
            answers: Vec::new(),
            waits: None,
            incidents: false,
            forgets_database: false,
        }
    }

    pub(super) fn forget_database(&mut self) {
        self.forgets_database = true;
        self.touched();
    }

    /// The log was read up to there.
    pub(super) fn read_to(&mut self, place: Place) {
        self.place = Some(place);
        self.touched();
    }

    /// Some state that its owner has written down.
    pub(super) fn state(&mut self, changes: Vec<StateChange>) {
        if !changes.is_empty() {
            self.state.extend(changes);
            self.touched();
        }
    }

    pub(super) fn boot(&mut self, boot: &Boot, maintenance: bool) {
        let mut row = BootRow::of(boot, &self.host);
        row.detail.maintenance = maintenance;
        self.show(row.clone());
        // More is told of a boot shortly after its end; one that only rows tell of settles at once.
        let mut lately = self.boots.iter_mut().rev().take(LATELY);
        match lately.find(|known| known.boot_id == row.boot_id) {
            Some(known) => *known = row,
            None => self.boots.push(row),
        }
        self.touched();
    }

    fn show(&mut self, row: BootRow) {
        let mut lately = self.lately.iter();
        let known = lately.position(|shown| shown.line.boot_id == row.boot_id);
        let boot = Arc::new(EndedBoot::new(past::line(&row), || past::full(row)));
        match known.and_then(|at| self.lately.get_mut(at)) {
            Some(known) => *known = boot,
            None => {
                self.lately.truncate(SHOWN - 1);
                self.lately.push_front(boot);
            }
        }
    }

    /// The boots that ended last, the newest end first.
    pub(super) fn ended_lately(&self) -> impl Iterator<Item = &Arc<EndedBoot>> {
        self.lately.iter()
    }

    pub(super) fn notify(&mut self, notification: Arc<Notification>) {
        self.notices.push(notification);
        self.incidents_changed();
    }

    pub(super) fn ended(&mut self, incident: Incident) {
        self.ended.push(incident);
        self.incidents_changed();
    }

    pub(super) fn operation(&mut self, operation: Operation) {
        self.operations.push(operation.into());
        self.touched();
    }

    /// It is answered when what was done so far is on the disk.
    pub(super) fn answer(&mut self, answer: Answering) {
        self.answers.push(answer);
        self.touched();
    }

    pub(super) fn incidents_changed(&mut self) {
        self.incidents = true;
        self.touched();
    }

    pub(super) fn touched(&mut self) {
        let now = clock::monotonic();
        let waits = self.waits.get_or_insert(Waits {
            since: now,
            newest: now,
            at_once: false,
        });
        waits.newest = now;
    }

    /// When something is to be handed over that can wait until then.
    pub(super) fn next_due(&self) -> Option<Instant> {
        // While the keeper is busy, its readiness wakes, not the time.
        (self.keeper.capacity() > 0).then_some(self.waits?.until())
    }

    /// Completes when the keeper takes a batch again that could not be handed over in time.
    pub(super) fn room(&self) -> impl Future<Output = ()> + use<> {
        let waits = self.is_due() && self.keeper.capacity() == 0;
        let keeper = self.keeper.clone();
        async move {
            if !waits || keeper.reserve().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Completes when the keeper wants everything anew.
    pub(super) async fn wanted_anew(&mut self) {
        if self.anew.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn is_due(&self) -> bool {
        let over = |waits: Waits| clock::monotonic() >= waits.until();
        !self.notices.is_empty()
            || !self.answers.is_empty()
            || self.boots.len() >= ENOUGH
            || self.waits.is_some_and(over)
    }

    /// What reading on waits for while the store is far behind. Where a page may be in what is still to be read
    /// (`hurries`), no longer than [`PATIENCE`] in all before the log's end.
    pub(super) fn hold(&mut self, hurries: bool) -> Option<impl Future<Output = ()> + use<>> {
        // A keeper that is gone writes nothing more.
        let is_full =
            self.unwritten.has_changed().is_ok() && *self.unwritten.borrow() >= MOST_UNWRITTEN;
        if !is_full {
            if let Some(since) = self.held_since.take() {
                self.held += clock::monotonic() - since;
            }
            return None;
        }
        let now = clock::monotonic();
        let since = *self.held_since.get_or_insert(now);
        let until = since + PATIENCE.saturating_sub(self.held);
        if hurries && until <= now {
            return None;
        }
        let mut unwritten = self.unwritten.clone();
        Some(async move {
            let relief = unwritten.wait_for(|boots| *boots < MOST_UNWRITTEN);
            match hurries {
                true => drop(tokio::time::timeout_at(until, relief).await),
                false => drop(relief.await),
            }
        })
    }

    /// The log was read to its end.
    pub(super) fn caught_up(&mut self) {
        (self.held, self.held_since) = (Duration::ZERO, None);
    }

    /// Hands over what is due, if the keeper has room; whether a notification is among it. `away`: the store cannot be
    /// written.
    pub(super) fn hand_over(&mut self, machines: Machines<'_>, away: bool) -> bool {
        if !self.is_due() {
            return false;
        }
        let Ok(permit) = self.keeper.clone().try_reserve_owned() else {
            return false;
        };
        let notifies = !self.notices.is_empty();
        permit.send(match away && notifies {
            true => self.ahead(),
            false => self.taken(machines),
        });
        notifies
    }

    /// Hands over what is left, however long that takes.
    pub(super) async fn finish(mut self, machines: Machines<'_>) {
        if self.waits.is_none() {
            return;
        }
        let handed = self.taken(machines);
        if self.keeper.send(handed).await.is_err() {
            tracing::error!("the keeper ended before the last of the log was handed over");
        }
    }

    /// The notifications alone; the rest follows at once.
    fn ahead(&mut self) -> Handed {
        if let Some(waits) = &mut self.waits {
            waits.at_once = true;
        }
        Handed {
            ahead: true,
            notices: std::mem::take(&mut self.notices),
            ..Handed::default()
        }
    }

    fn taken(&mut self, machines: Machines<'_>) -> Handed {
        let Machines {
            reader,
            tracker,
            engine,
            desk,
            existing,
            own,
        } = machines;
        let mut batch = Batch {
            state: std::mem::take(&mut self.state),
            boots: std::mem::take(&mut self.boots),
            operations: std::mem::take(&mut self.operations),
            ..Batch::default()
        };
        add(&mut batch, READER, reader.changes());
        add(&mut batch, TRACKER, tracker.changes());
        add(&mut batch, ENGINE, engine.changes());
        add(&mut batch, DESK, desk.changes());
        match existing {
            Some(existing) => {
                add(&mut batch, ROWS, tracker.row_changes());
                add(&mut batch, INVENTORY, existing.inventory.changes());
                add(&mut batch, FINDINGS, existing.findings.changes());
                batch.state.push(StateChange {
                    kind: DATABASE,
                    key: LOOKED.to_owned(),
                    value: existing.looked.then(|| "true".to_owned()),
                });
            }
            // What was known of a database that is not watched any more is not true any more.
            None if std::mem::take(&mut self.forgets_database) => {
                batch
                    .forgotten
                    .extend([ROWS, INVENTORY, FINDINGS, DATABASE]);
            }
            None => {}
        }
        if let Some(traces) = own.and_then(Own::unsaved) {
            batch.state.push(StateChange {
                kind: SYNTHETIC,
                key: TRACES.to_owned(),
                value: Some(traces),
            });
        }
        if let Some(place) = &self.place {
            batch.state.push(StateChange {
                kind: SOURCE,
                key: PLACE.to_owned(),
                value: serde_json::to_string(place).ok(),
            });
        }
        let notices = std::mem::take(&mut self.notices);
        if std::mem::take(&mut self.incidents) {
            let ended = std::mem::take(&mut self.ended).into_iter();
            let rows = ended.chain(engine.incidents().cloned());
            batch.incidents = rows.map(IncidentRow).collect();
        }
        self.waits = None;
        Handed {
            ahead: false,
            batch,
            notices,
            answers: std::mem::take(&mut self.answers),
        }
    }
}

fn add(batch: &mut Batch, kind: &'static str, changes: Changes) {
    if changes.whole {
        batch.forgotten.push(kind);
    }
    batch
        .state
        .extend(changes.parts.into_iter().map(|part| StateChange {
            kind,
            key: part.key,
            value: part.value,
        }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::clock::Zone;
    use crate::core::alert::drill;
    use crate::core::event::{Provenance, Timestamp, VmId};
    use crate::core::{alert, desk};

    struct Scene {
        gather: Gather,
        handed: mpsc::Receiver<Handed>,
        reader: Reader,
        tracker: Tracker,
        engine: Engine,
        desk: Desk,
        _anew: watch::Sender<u64>,
        unwritten: watch::Sender<usize>,
    }

    impl Scene {
        fn new() -> Scene {
            let (keeper, handed) = mpsc::channel(1);
            let (anew, wanted) = watch::channel(0);
            let (unwritten, boots) = watch::channel(0);
            let zone = Zone::Named(jiff::tz::TimeZone::UTC);
            let mut scene = Scene {
                gather: Gather::new("h".to_owned(), keeper, wanted, boots, None),
                handed,
                reader: Reader::new(0, zone),
                tracker: Tracker::new(|_, _| String::new()),
                engine: Engine::new(alert::Settings::default()),
                desk: Desk::new(desk::Settings::default()),
                _anew: anew,
                unwritten,
            };
            let [firing, ..] = drill("h", [Timestamp(0); 3]);
            scene.gather.notify(Arc::new(firing));
            scene
        }

        /// Whether a notification left, and what did: notifications, parts of the state.
        fn hand_over(&mut self, away: bool) -> (bool, Option<(usize, usize)>) {
            let machines = Machines {
                reader: &mut self.reader,
                tracker: &mut self.tracker,
                engine: &mut self.engine,
                desk: &mut self.desk,
                existing: None,
                own: None,
            };
            let notifies = self.gather.hand_over(machines, away);
            let handed = self.handed.try_recv().ok();
            let what = handed.map(|handed| (handed.notices.len(), handed.batch.state.len()));
            (notifies, what)
        }
    }

    #[test]
    fn a_notification_is_handed_over_with_what_belongs_to_it() {
        let mut scene = Scene::new();
        let (notifies, what) = scene.hand_over(false);
        assert!(notifies && what.is_some_and(|(notices, state)| notices == 1 && state > 0));
        assert_eq!(scene.gather.next_due(), None);
        assert_eq!(scene.hand_over(false), (false, None));
    }

    #[test]
    fn without_a_store_it_goes_ahead_and_the_rest_follows_at_once() {
        for away in [true, false] {
            let mut scene = Scene::new();
            assert_eq!(scene.hand_over(true), (true, Some((1, 0))));
            let due = scene.gather.next_due();
            assert!(due.is_some_and(|at| at <= clock::monotonic()), "{due:?}");
            let (notifies, what) = scene.hand_over(away);
            assert!(!notifies && what.is_some_and(|(notices, state)| notices == 0 && state > 0));
            assert_eq!(scene.gather.next_due(), None);
        }
    }

    fn boot(number: u128, late_marks: u32) -> Boot {
        let mut boot = Boot::new(Some(VmId(number)), Provenance::default(), Timestamp(0));
        boot.late_marks = late_marks;
        boot
    }

    #[tokio::test(start_paused = true)]
    async fn many_boots_are_handed_over_at_once_and_few_wait_for_more() {
        let mut scene = Scene::new();
        scene.hand_over(false);
        for number in 1..ENOUGH as u128 {
            scene.gather.boot(&boot(number, 0), false);
        }
        assert_eq!(scene.hand_over(false), (false, None));
        scene.gather.boot(&boot(0, 0), false);
        assert!(scene.hand_over(false).1.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_read_while_the_store_is_far_behind() {
        let mut scene = Scene::new();
        assert!(scene.gather.hold(false).is_none());
        scene.unwritten.send_replace(MOST_UNWRITTEN);
        let hold = scene.gather.hold(false).expect("it is far behind");
        let relief = tokio::time::timeout(10 * PATIENCE, hold);
        assert!(relief.await.is_err(), "it is as far behind as before");
        let hold = scene.gather.hold(false).expect("it still is");
        scene.unwritten.send_replace(MOST_UNWRITTEN - 1);
        hold.await;
        assert!(scene.gather.hold(false).is_none());
        // A keeper that has ended is not waited for.
        scene.unwritten.send_replace(MOST_UNWRITTEN);
        let hold = scene.gather.hold(false).expect("it is far behind again");
        let Scene {
            mut gather,
            unwritten,
            ..
        } = scene;
        drop(unwritten);
        hold.await;
        assert!(gather.hold(false).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_is_still_in_the_log_is_not_held_up_for_long() {
        let mut scene = Scene::new();
        let began = clock::monotonic();
        for _ in 0..2 {
            scene.unwritten.send_replace(MOST_UNWRITTEN);
            let hold = scene.gather.hold(true).expect("it is far behind");
            let held = tokio::time::timeout(PATIENCE / 3, hold);
            assert!(held.await.is_err());
            scene.unwritten.send_replace(0);
            assert!(scene.gather.hold(true).is_none());
        }
        scene.unwritten.send_replace(MOST_UNWRITTEN);
        scene.gather.hold(true).expect("it is far behind").await;
        assert_eq!(began.elapsed(), PATIENCE);
        assert!(scene.gather.hold(true).is_none());
        // Another backlog is another matter.
        scene.gather.caught_up();
        assert!(scene.gather.hold(true).is_some());
    }

    #[test]
    fn a_boot_of_which_more_is_told_is_written_once() {
        let mut scene = Scene::new();
        for told in [boot(1, 0), boot(2, 0), boot(1, 7)] {
            scene.gather.boot(&told, false);
        }
        let late: Vec<u32> = scene
            .gather
            .boots
            .iter()
            .map(|row| row.detail.late_marks)
            .collect();
        assert_eq!(late, [7, 0]);
    }

    #[test]
    fn boots_that_ended_lately_are_shown_before_and_while_the_keeper_has_them() {
        let mut scene = Scene::new();
        let end = |scene: &mut Scene, number: u128| {
            let boot = Boot::new(Some(VmId(number)), Provenance::default(), Timestamp(0));
            scene.gather.boot(&boot, false);
        };
        let shown = |scene: &Scene| -> Vec<Option<String>> {
            let lately = scene.gather.ended_lately();
            lately.map(|boot| boot.line.vm.clone()).collect()
        };
        let vm = |number| Some(VmId(number).to_string());
        end(&mut scene, 1);
        assert_eq!(shown(&scene), [vm(1)]);
        assert!(scene.hand_over(false).0, "it goes with the notification");
        end(&mut scene, 2);
        end(&mut scene, 1);
        assert_eq!(shown(&scene), [vm(2), vm(1)], "each once");
        for number in 3..=60 {
            end(&mut scene, number);
        }
        let lately = shown(&scene);
        assert_eq!(lately.len(), SHOWN);
        assert_eq!(lately.first(), Some(&vm(60)));
    }
}

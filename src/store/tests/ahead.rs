//! A batch that lies ahead of the tables.

use sqlx::ConnectOptions;

use super::*;

/// What is known before, settled; and a batch that touches all of it, which is not.
async fn laid(folder: &Path) -> (Store, [Batch; 2]) {
    let mut store = open(folder).await.store;
    let known = Batch {
        state: vec![
            state("a", Some("1")),
            state("b", Some("2")),
            state("c", Some("3")),
            StateChange {
                kind: "rows",
                ..state("d", Some("4"))
            },
        ],
        boots: vec![boot(1, NOW)],
        incidents: vec![incident("i-1", NOW)],
        outbox: vec![message("i-1", "firing")],
        trials: vec![trial(5, "intent", None)],
        ..Batch::default()
    };
    store.commit(&known).await.unwrap();
    store.settle().await.unwrap();
    let mut changed = boot(1, NOW);
    changed.ready_ms = Some(77);
    let page = Batch {
        forgotten: vec!["rows"],
        state: vec![
            state("a", Some("{\"x\":\"\\u0000\"}")),
            state("b", None),
            state("e", Some("5")),
        ],
        boots: vec![changed, boot(2, NOW.plus_ms(1))],
        incidents: vec![incident("i-1", NOW), incident("i-2", NOW.plus_ms(5))],
        outbox: vec![message("i-2", "firing"), message("i-1", "resolved")],
        operations: vec![operation("1")],
        trials: vec![trial(5, "done", Some(NOW)), trial(6, "requested", None)],
        ..Batch::default()
    };
    let committed = store.commit(&page).await.unwrap();
    assert_eq!(committed.messages, [2, 3]);
    (store, [known, page])
}

/// Boots, incidents, operations and messages as a reader finds them.
async fn read(store: &Store) -> (Vec<BootRow>, Vec<IncidentRow>, Vec<OperationRow>, usize) {
    let mut history = history(store).await;
    let mut boots = Vec::new();
    history.boots(EVER, |boot| boots.push(boot)).await.unwrap();
    (
        boots,
        history.incidents(EVER).await.unwrap(),
        history.operations(EVER).await.unwrap(),
        history.messages(EVER).await.unwrap().len(),
    )
}

async fn lying(path: &Path) -> i64 {
    let options = connection::options(path).read_only(true);
    let mut raw = options.connect().await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM ahead")
        .fetch_one(&mut raw)
        .await
        .unwrap()
}

#[tokio::test]
async fn it_is_kept_at_once_and_in_its_tables_when_it_is_settled() {
    let folder = folder();
    let (mut store, [known, page]) = laid(folder.path()).await;
    assert_eq!(
        read(&store).await,
        (known.boots, known.incidents, known.operations, 1)
    );
    store.settle().await.unwrap();
    let settled = (page.boots, page.incidents, page.operations, 3);
    assert_eq!(read(&store).await, settled);
    store.settle().await.unwrap();
    assert_eq!(read(&store).await, settled, "once");
}

#[tokio::test]
async fn whatever_is_committed_next_finds_it_in_its_tables() {
    let folder = folder();
    let (mut store, [_, page]) = laid(folder.path()).await;
    let sent = Mark::Sent {
        id: 2,
        status: "200".to_owned(),
        provider_ref: None,
        at: NOW,
    };
    store.mark(sent).await.unwrap();
    assert_eq!(read(&store).await.0, page.boots);
    let unsent = store.unsent().await.unwrap();
    let ids: Vec<MessageId> = unsent.iter().map(|message| message.id).collect();
    assert_eq!(ids, [1, 3], "and the mark has found its message");
}

#[tokio::test]
async fn it_outlives_the_process() {
    let folder = folder();
    let (store, [_, page]) = laid(folder.path()).await;
    // Not closed: as if the process had been killed.
    drop(store);
    let Opened { store, saved, .. } = open(folder.path()).await;
    assert_eq!(
        saved.of_kind("tracker").collect::<Vec<_>>(),
        [("a", "{\"x\":\"\\u0000\"}"), ("c", "3"), ("e", "5")]
    );
    assert_eq!(saved.of_kind("rows").count(), 0);
    assert_eq!(saved.unsent.len(), 3);
    assert_eq!(saved.trials, page.trials);
    assert_eq!(
        read(&store).await,
        (page.boots, page.incidents, page.operations, 3)
    );
}

#[tokio::test]
async fn closing_settles_it() {
    let folder = folder();
    let (store, _) = laid(folder.path()).await;
    let path = store.path().to_owned();
    assert_eq!(lying(&path).await, 1);
    store.close().await;
    assert_eq!(lying(&path).await, 0);
}

#[tokio::test]
async fn where_nothing_can_be_written_it_is_read_all_the_same() {
    let folder = folder();
    let (store, _) = laid(folder.path()).await;
    let path = store.path().to_owned();
    drop(store);
    let found = saved::read_in_distress(&path).await.unwrap();
    let salvaged = saved::salvage(&path).await.unwrap();
    assert_eq!(lying(&path).await, 1, "nothing was written");
    let opened = open(folder.path()).await;
    assert_eq!(found, opened.saved);
    assert_eq!(salvaged, opened.saved);
}

#[tokio::test]
async fn what_fits_in_no_table_is_no_batch_of_ours() {
    let folder = folder();
    let (mut store, _) = laid(folder.path()).await;
    statement(&mut store, "UPDATE ahead SET boots = '[{'".to_owned()).await;
    assert!(store.settle().await.is_err());
    drop(store);
    let opened = open(folder.path()).await;
    assert!(opened.set_aside.is_some());
    let known = opened.saved.of_kind("tracker").collect::<Vec<_>>();
    assert_eq!(
        known,
        [("a", "1"), ("b", "2"), ("c", "3")],
        "what was whole"
    );
    assert_eq!(opened.saved.unsent.len(), 1);
}

#[tokio::test]
async fn upkeep_finds_it_in_its_tables() {
    let folder = folder();
    let (mut store, [_, page]) = laid(folder.path()).await;
    store.upkeep(NOW).await.unwrap();
    assert_eq!(read(&store).await.0, page.boots);
}

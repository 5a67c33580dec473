//! Large batches, and those that are not: in how many trips they go, and that all of one is there or nothing.

use super::*;

/// What most logs leave between two commits: one trip, and none that waits for tables and indexes where a page is beside it.
#[test]
fn a_batch_that_is_not_large_is_one_row() {
    let mut batch = awaited(40, 2_000, 40);
    let written = Written::of(&batch, 0, 0);
    assert!(written.may_lie_ahead() && written.ahead().next().is_none());
    batch.outbox.clear();
    let written = Written::of(&batch, 0, 0);
    assert!(!written.may_lie_ahead() && written.ahead().next().is_none());
}

/// What a busy log leaves between two commits is in one row where a page waits for it, and else in slices.
#[test]
fn a_busy_logs_batch_is_one_row_where_somebody_waits_for_it() {
    let mut batch = awaited(400, 1_000, 300);
    assert!(Written::of(&batch, 0, 0).may_lie_ahead());
    batch.outbox.clear();
    assert!(Written::of(&batch, 0, 0).ahead().count() > 20);
}

/// A text of all of it would be most of the memory; who waits for it waits for fewer trips.
#[test]
fn a_large_batch_goes_in_smaller_slices_where_nobody_waits_for_it() {
    let mut batch = large();
    let awaited = Written::of(&batch, 0, 0).ahead().count();
    batch.outbox.clear();
    let trips = Written::of(&batch, 0, 0).ahead().count();
    assert!(awaited > 10 && trips > 2 * awaited, "{awaited}, {trips}");
    // Either alone is enough.
    batch.boots.clear();
    assert!(Written::of(&batch, 0, 0).ahead().count() > 20);
    batch.boots = large().boots;
    batch.state.clear();
    assert!(Written::of(&batch, 0, 0).ahead().count() > 20);
}

#[tokio::test]
async fn a_batch_of_many_texts_is_one_commit_in_their_order() {
    let folder = folder();
    let mut store = open(folder.path()).await.store;
    let before = Batch {
        state: vec![state("older", Some("1"))],
        boots: vec![boot(10_000, NOW)],
        ..Batch::default()
    };
    store.commit(&before).await.unwrap();
    let dump = dump(&store).await;
    let batch = large();
    assert!(Written::of(&batch, 0, 0).ahead().count() > 10);

    // The last of its rows fails, long after the first trips.
    let trigger =
        "CREATE TRIGGER trap BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'no'); END";
    statement(&mut store, trigger.to_owned()).await;
    store.commit(&batch).await.unwrap_err();
    assert_eq!(self::dump(&store).await, dump, "nothing of it is there");
    statement(&mut store, "DROP TRIGGER trap".to_owned()).await;
    assert_eq!(store.commit(&batch).await.unwrap().messages, [1]);

    let saved = saved::read_in_distress(store.path()).await.unwrap();
    assert_eq!(saved.of_kind("tracker").count(), 500);
    assert_eq!(saved.value("tracker", "older"), None);
    assert_eq!(saved.value("tracker", "part 1"), Some("again"));
    assert_eq!(
        saved.value("tracker", "part 2"),
        batch.state[2].value.as_deref()
    );
    let raw = store.connection.raw("read").await.unwrap();
    let numbers: Vec<i64> = sqlx::query_scalar(
        "SELECT changed FROM boot UNION ALL SELECT changed FROM incident UNION ALL SELECT sequence FROM meta",
    )
    .fetch_all(raw)
    .await
    .unwrap();
    // One was written before, then these boots, then the incident: the last number there is.
    let (boots, others) = numbers.split_at(BOOTS + 1);
    let mut boots = boots.to_vec();
    boots.sort_unstable();
    let last = i64::try_from(BOOTS + 2).unwrap();
    assert_eq!(boots, (1..last).collect::<Vec<_>>());
    assert_eq!(others, [last, last]);
}

#[tokio::test]
async fn a_large_commit_that_is_given_up_leaves_nothing_of_it() {
    let folder = folder();
    let mut store = open(folder.path()).await.store;
    let dump = dump(&store).await;
    let batch = large();
    for trips in 1..8 {
        {
            // Dropped while it waits for one of its first trips: the last is far away.
            let mut commit = std::pin::pin!(store.commit(&batch));
            for _ in 0..trips {
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                assert!(commit.as_mut().poll(&mut context).is_pending());
            }
        }
        let marker = Batch {
            state: vec![state("c", None)],
            ..Batch::default()
        };
        store.commit(&marker).await.unwrap();
        assert_eq!(self::dump(&store).await, dump);
    }
}

/// So many parts of state of such a length, and boots, with a page.
fn awaited(parts: usize, length: usize, boots: u128) -> Batch {
    let value = "x".repeat(length);
    Batch {
        state: (0..parts)
            .map(|number| state(&format!("part {number}"), Some(&value)))
            .collect(),
        boots: (0..boots).map(|number| boot(number, NOW)).collect(),
        outbox: vec![message("i", "firing")],
        ..Batch::default()
    }
}

const BOOTS: usize = 1_100;

/// More than one text takes: state that was forgotten, set, set again and removed, and boots with their numbers.
fn large() -> Batch {
    let value = "x".repeat(1_000);
    let mut all: Vec<StateChange> = (0..5_000)
        .map(|number| {
            state(
                &format!("part {number}"),
                Some(&format!("\"{value}\\u0000{number}\"")),
            )
        })
        .collect();
    all.push(state("part 1", Some("again")));
    all.extend((500..5_000).map(|number| state(&format!("part {number}"), None)));
    Batch {
        forgotten: vec!["tracker"],
        state: all,
        boots: (0..BOOTS as u128).map(|number| boot(number, NOW)).collect(),
        incidents: vec![incident("i", NOW)],
        outbox: vec![message("i", "firing")],
        ..Batch::default()
    }
}

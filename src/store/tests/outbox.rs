//! The life of a message.

use super::*;

async fn queued(store: &mut Store, transitions: &[&str]) -> Vec<MessageId> {
    let batch = Batch {
        outbox: transitions
            .iter()
            .map(|transition| message("i-1", transition))
            .collect(),
        ..Batch::default()
    };
    store.commit(&batch).await.unwrap().messages
}

#[tokio::test]
async fn a_message_is_owed_until_it_was_sent() {
    let folder = folder();
    let mut store = open(folder.path()).await.store;
    let ids = queued(&mut store, &["firing", "update"]).await;
    let tried = |tries, reference: Option<&str>| Mark::Tried {
        id: ids[0],
        tried: Tried {
            attempts: tries,
            last_status: Some("503".to_owned()),
            provider_ref: reference.map(str::to_owned),
        },
    };
    store.mark(tried(1, Some("p-0"))).await.unwrap();
    store.mark(tried(2, None)).await.unwrap();
    drop(store);

    // What was being sent when the process ended is owed still.
    let Opened {
        mut store, saved, ..
    } = open(folder.path()).await;
    let seen: Vec<_> = saved
        .unsent
        .iter()
        .map(|message| (message.id, message.state, message.attempts))
        .collect();
    assert_eq!(
        seen,
        [
            (ids[0], MessageState::Queued, 3),
            (ids[1], MessageState::Queued, 0)
        ]
    );
    let heard: Vec<bool> = saved.unsent.iter().map(|one| one.heard).collect();
    assert_eq!(heard, [false, true], "the first is to arrive before");
    assert_eq!(saved.unsent[0].last_status.as_deref(), Some("503"));
    assert_eq!(saved.unsent[0].provider_ref.as_deref(), Some("p-0"));
    store
        .mark(Mark::Sent {
            id: ids[0],
            status: "200".to_owned(),
            provider_ref: Some("p-1".to_owned()),
            at: NOW.plus_ms(6_000),
        })
        .await
        .unwrap();
    let unsent = store.unsent().await.unwrap();
    assert_eq!(unsent.len(), 1);
    assert_eq!((unsent[0].id, unsent[0].heard), (ids[1], true));
    drop(store);
    // What its receiver said of the incident is known to the next start.
    let receipts = open(folder.path()).await.saved.receipts;
    let said: Vec<&str> = receipts
        .iter()
        .map(|one| one.provider_ref.as_str())
        .collect();
    assert_eq!(said, ["p-1"]);
}

#[tokio::test]
async fn a_receipt_is_found_behind_any_number_of_messages_without_one_and_as_it_was_before_its_commit()
 {
    let folder = folder();
    let mut store = open(folder.path()).await.store;
    let sent = |seconds: i64, tried| NewMessage {
        state: MessageState::Sent,
        ended_at: Some(NOW.plus_ms(1_000 * seconds)),
        tried,
        ..message("i", "firing")
    };
    let told = Tried {
        attempts: 2,
        last_status: Some("sent".to_owned()),
        provider_ref: Some("thread".to_owned()),
    };
    let others = (1..=300).map(|seconds| sent(seconds, Tried::default()));
    let outbox = [sent(0, told)].into_iter().chain(others).collect();
    let batch = Batch {
        outbox,
        ..Batch::default()
    };
    store.commit(&batch).await.unwrap();
    drop(store);
    let receipts = open(folder.path()).await.saved.receipts;
    assert_eq!(receipts.len(), 1);
    assert_eq!(receipts[0].provider_ref, "thread");
}

#[tokio::test]
async fn an_update_takes_the_place_of_an_unsent_one_in_one_commit() {
    let folder = folder();
    let mut store = open(folder.path()).await.store;
    let old = queued(&mut store, &["update"]).await[0];
    let replacing = Batch {
        outbox: vec![message("i-1", "resolved")],
        marks: vec![Mark::Dropped {
            id: old,
            status: "replaced".to_owned(),
            at: NOW,
        }],
        ..Batch::default()
    };
    let new = store.commit(&replacing).await.unwrap().messages[0];
    let unsent = store.unsent().await.unwrap();
    assert_eq!(
        unsent.iter().map(|message| message.id).collect::<Vec<_>>(),
        [new]
    );
    assert!(!unsent[0].heard, "what it replaced has not arrived");
    let all = history(&store).await.messages(EVER).await.unwrap();
    assert_eq!(all[0].state, MessageState::Dropped);
    assert_eq!(all[0].last_status.as_deref(), Some("replaced"));
}

#[tokio::test]
async fn what_has_ended_stays_as_it_ended() {
    let folder = folder();
    let mut store = open(folder.path()).await.store;
    let id = queued(&mut store, &["firing"]).await[0];
    let status = || "x".to_owned();
    store
        .mark(Mark::Dead {
            id,
            status: "404".to_owned(),
            at: NOW,
        })
        .await
        .unwrap();
    let ended = history(&store).await.messages(EVER).await.unwrap();
    let at = NOW.plus_ms(1);
    for mark in [
        Mark::Tried {
            id,
            tried: Tried {
                attempts: 1,
                last_status: Some(status()),
                provider_ref: None,
            },
        },
        Mark::Sent {
            id,
            status: status(),
            provider_ref: None,
            at,
        },
        Mark::Dead {
            id,
            status: status(),
            at,
        },
        Mark::Dropped {
            id,
            status: status(),
            at,
        },
    ] {
        store.mark(mark).await.unwrap();
    }
    assert_eq!(history(&store).await.messages(EVER).await.unwrap(), ended);
    assert_eq!(ended[0].state, MessageState::Dead);
}

/// The page that left while the disk was full is in the history as what it was.
#[tokio::test]
async fn a_page_that_left_before_it_could_be_committed_is_not_owed() {
    let folder = folder();
    let mut store = open(folder.path()).await.store;
    let mut gone = message("i-1", "firing");
    gone.state = MessageState::Sent;
    let batch = Batch {
        outbox: vec![gone],
        ..Batch::default()
    };
    store.commit(&batch).await.unwrap();
    assert!(store.unsent().await.unwrap().is_empty());
    let all = history(&store).await.messages(EVER).await.unwrap();
    assert_eq!(
        (all[0].state, all[0].ended_at),
        (MessageState::Sent, Some(NOW))
    );
}

#[tokio::test]
async fn no_id_is_given_twice() {
    let folder = folder();
    let mut store = open(folder.path()).await.store;
    assert_eq!(queued(&mut store, &["firing", "update"]).await, [1, 2]);
    let raw = store.connection.raw("write").await.unwrap();
    sqlx::query("DELETE FROM outbox")
        .execute(raw)
        .await
        .unwrap();
    drop(store);
    let mut store = open(folder.path()).await.store;
    assert_eq!(queued(&mut store, &["firing"]).await, [3]);
    // A new file goes on where the old one was.
    store.renew(NOW).await.unwrap();
    assert_eq!(queued(&mut store, &["firing"]).await, [4]);
}

#[tokio::test]
async fn what_a_receiver_is_shown_counts_once_an_incident_and_when_it_first_took_it() {
    let folder = folder();
    let mut store = open(folder.path()).await.store;
    let shown = |incident: &str, receiver: &str, seconds: i64| NewMessage {
        receiver: receiver.to_owned(),
        payload: SHOWN.to_owned(),
        state: MessageState::Sent,
        ended_at: Some(NOW.plus_ms(1_000 * seconds)),
        ..message(incident, "firing")
    };
    // Two instances of one Alertmanager, another receiver's message beside them, and a later start.
    for outbox in [
        vec![shown("i-1", "am", 2)],
        vec![shown("i-1", "am", 3)],
        vec![message("i-1", "firing"), shown("i-2", "am", 4)],
        vec![shown("i-1", "am", 500), shown("i-1", "other", 600)],
    ] {
        let batch = Batch {
            outbox,
            ..Batch::default()
        };
        store.commit(&batch).await.unwrap();
    }
    // An id is not used twice.
    queued(&mut store, &["update"]).await;
    store.settle().await.unwrap();
    let all = history(&store).await.messages(EVER).await.unwrap();
    let all: Vec<_> = all
        .iter()
        .map(|one| {
            let after = one.ended_at.map(|at| at.since(NOW) / 1_000);
            (one.incident.as_str(), one.receiver.as_str(), after)
        })
        .collect();
    assert_eq!(
        all,
        [
            ("i-1", "am", Some(2)),
            ("i-1", "ops", None),
            ("i-2", "am", Some(4)),
            ("i-1", "other", Some(600)),
            ("i-1", "ops", None),
        ]
    );
}

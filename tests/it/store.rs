//! Rows for tests of the store, and a store to put them into.

use std::path::Path;
use std::time::Duration;

use bootwatch::core::event::{Failure, Origin, Outcome, Timestamp, VmId, VmType};
use bootwatch::store::{
    Batch, BootDetail, BootRow, IncidentRow, MessageState, NewMessage, Opened, Settings,
    StateChange, Store, Tried,
};

pub(crate) const NOW: Timestamp = Timestamp(1_760_752_327_000);

pub(crate) fn settings(folder: &Path) -> Settings {
    Settings {
        path: folder.join("bootwatch.db"),
        host: "host-1".to_owned(),
        keep_boots: Duration::from_secs(400 * 86_400),
        keep_incidents: Duration::from_secs(800 * 86_400),
    }
}

pub(crate) async fn open(folder: &Path) -> Opened {
    Store::open(settings(folder), NOW).await.unwrap()
}

pub(crate) fn boot(host: &str, number: u32) -> BootRow {
    let started_at = NOW.plus_ms(i64::from(number));
    BootRow {
        boot_id: format!("{number:032x}"),
        host: host.to_owned(),
        vm: Some(VmId(u128::from(number))),
        session: None,
        vm_type: VmType::Browser,
        origin: Origin::User,
        outcome: Some(Outcome::Failed),
        failure: Some(Failure::AgentRefused),
        failed_stage: None,
        started_at,
        ended_at: Some(started_at.plus_ms(120_000)),
        ready_ms: None,
        image: None,
        build: None,
        detail: BootDetail {
            evidence: vec!["connect ECONNREFUSED \"x\" \0 \u{1b}[31m \u{1f980}".to_owned()],
            ..BootDetail::default()
        },
    }
}

pub(crate) fn incident(number: u32) -> IncidentRow {
    let at = NOW.plus_ms(i64::from(number));
    let value = serde_json::json!({
        "key": format!("i-{number}"), "host": "host-1", "vm_type": "browser", "family": "Guest",
        "cause": "agent_refused", "first_bad_at": at, "fired_at": at, "resolved_at": null, "good_since": null,
        "members": [], "others": [], "evidence": ["a\0b"], "boots": [], "update_due": null, "flapping": false,
    });
    IncidentRow(serde_json::from_value(value).unwrap())
}

/// Everything that follows from record `number`.
pub(crate) fn batch(number: u32) -> Batch {
    Batch {
        forgotten: Vec::new(),
        state: ["place", "tracker", "engine"]
            .map(|key| StateChange {
                kind: "test",
                key: key.to_owned(),
                value: Some(number.to_string()),
            })
            .into(),
        boots: vec![boot("host-1", number)],
        incidents: vec![incident(number)],
        outbox: vec![NewMessage {
            incident: format!("i-{number}"),
            transition: "firing".to_owned(),
            receiver: "ops".to_owned(),
            dedup_key: format!("i-{number}"),
            payload: "{}".to_owned(),
            created_at: NOW,
            due: NOW,
            state: MessageState::Queued,
            ended_at: None,
            tried: Tried::default(),
        }],
        marks: Vec::new(),
        operations: Vec::new(),
        trials: Vec::new(),
    }
}

//! What a store tells of the past, and whether two of them tell the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bootwatch::core::event::Timestamp;
use bootwatch::store::{BootRow, History};
use serde_json::{Map, Value};

/// Boots and incidents without what is the wall clock's.
pub(super) struct Told {
    boots: BTreeMap<String, BootRow>,
    incidents: Vec<Value>,
    pub(super) keys: BTreeSet<String>,
}

/// Of a store whose program has ended.
pub(super) fn told(store: &Path) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut history = History::open(store).await.unwrap();
        history.check().await.unwrap();
        let ever = Timestamp(0)..Timestamp(i64::MAX);
        let mut boots = BTreeMap::new();
        let each = |boot: BootRow| {
            boots.insert(boot.boot_id.clone(), boot);
        };
        history.boots(ever.clone(), each).await.unwrap();
        let rows = history.incidents(ever).await.unwrap();
        let keys = rows.iter().map(|row| row.0.key.clone()).collect();
        let mut incidents: Vec<Value> = rows
            .iter()
            .map(|row| without_wall_times(serde_json::to_value(&row.0).unwrap()))
            .collect();
        incidents.sort_by_key(|incident| incident["first_bad_at"].as_i64());
        Told {
            boots,
            incidents,
            keys,
        }
    })
}

/// When it was noticed and diagnosed, and how other VMs did at that moment, is the wall clock's.
fn without_wall_times(mut incident: Value) -> Value {
    let fields = incident.as_object_mut().unwrap();
    for name in ["fired_at", "update_due", "others"] {
        assert!(fields.remove(name).is_some(), "{name}");
    }
    if let Some(diagnosis) = fields.get_mut("diagnosis").and_then(Value::as_object_mut) {
        diagnosis.remove("at");
    }
    let ended = |fields: &mut Map<String, Value>| {
        let at = fields.get_mut("resolved_at").unwrap();
        *at = Value::Bool(!at.is_null());
    };
    ended(fields);
    for member in fields["members"].as_array_mut().unwrap() {
        let member = member.as_object_mut().unwrap();
        member.remove("fired_at");
        ended(member);
    }
    incident
}

impl Told {
    pub(super) fn boots(&self) -> usize {
        self.boots.len()
    }

    /// All of them are over.
    pub(super) fn incidents(&self) -> usize {
        for incident in &self.incidents {
            assert_eq!(incident["resolved_at"], true, "{incident}");
        }
        self.incidents.len()
    }

    pub(super) fn assert_same(&self, clean: &Told, what: &str) {
        for (id, boot) in &clean.boots {
            assert_eq!(self.boots.get(id), Some(boot), "{what}: boot {id}");
        }
        let more: Vec<_> = self
            .boots
            .values()
            .filter(|boot| !clean.boots.contains_key(&boot.boot_id))
            .collect();
        assert!(more.is_empty(), "{what}: boots that are not: {more:#?}");
        assert_eq!(self.incidents, clean.incidents, "{what}");
    }
}

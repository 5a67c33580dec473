//! How things stand, for the web: made by the owner once a second and whenever an alert changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::database::Existing;
use super::health::Health;
use crate::clock;
use crate::config::{Config, LogSource};
use crate::core::alert::Engine;
use crate::core::boot::{Boot, Tracker};
use crate::core::event::{Timestamp, VmType};
use crate::core::finding::Finding;
use crate::core::state::{Source, Weight};
use crate::web::{
    BootLine, ChannelNow, EndedBoot, FindingLine, ImageNow, KindNow, Live, MOST_FLYING, MOST_NAMED,
};

/// A busy log is hardly ever read to its end; it is behind only after a few of these.
const LOG_LOOKS: Duration = Duration::from_secs(5);
/// Findings are shown, not listed in full.
const MOST_FINDINGS: usize = 50;

/// What does not change while it runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    host: String,
    log: String,
    log_every: Duration,
    database_every: Option<Duration>,
}

impl Known {
    /// The log's path, or whose journal it is.
    pub(super) fn log(&self) -> &str {
        &self.log
    }

    pub(super) fn of(config: &Config) -> Known {
        let log = match &config.log.source {
            LogSource::File(path) => path.display().to_string(),
            LogSource::Journal(unit) => format!("journal of {unit}"),
        };
        Known {
            host: config.host.clone(),
            log,
            log_every: config.log.follow.poll_idle.max(LOG_LOOKS),
            database_every: config
                .database
                .as_ref()
                .map(|database| database.poll.max(Duration::from_secs(1))),
        }
    }
}

/// What the owner has, at a moment.
pub(super) struct Standing<'a> {
    pub(super) at: Timestamp,
    pub(super) now: Instant,
    /// When the log was last read to its end.
    pub(super) log_seen: Option<Timestamp>,
    pub(super) log_newest: Option<Timestamp>,
    pub(super) log_note: String,
    pub(super) tracker: &'a Tracker,
    pub(super) ended: Arc<[Arc<EndedBoot>]>,
    pub(super) engine: &'a Engine,
    pub(super) existing: Option<&'a Existing>,
    pub(super) image: Option<Arc<ImageNow>>,
    pub(super) health: &'a Health,
}

pub(super) fn of(known: &Known, standing: Standing<'_>) -> Live {
    let Standing {
        at,
        now,
        log_seen,
        log_newest,
        log_note,
        tracker,
        ended,
        engine,
        existing,
        image,
        health,
    } = standing;
    let ago = |since: Instant| {
        let ms = now.saturating_duration_since(since).as_millis();
        at.plus_ms(-i64::try_from(ms).unwrap_or(i64::MAX))
    };
    let mut sources = vec![Source {
        name: "log".to_owned(),
        weight: Weight::Decides,
        every_ms: clock::millis(known.log_every),
        seen_at: log_seen,
        newest_at: log_newest,
        note: format!("{}: {log_note}", known.log),
    }];
    if let (Some(every), Some(existing)) = (known.database_every, existing) {
        sources.push(Source {
            name: "database".to_owned(),
            weight: Weight::Adds,
            every_ms: clock::millis(every),
            seen_at: existing.seen_at(),
            newest_at: existing.inventory.as_of(),
            note: existing.note().to_owned(),
        });
    }
    if let Some(image) = &image {
        sources.push(Source {
            name: "golden image".to_owned(),
            weight: Weight::Adds,
            // It is audited when it changes, and daily.
            every_ms: 86_400_000,
            seen_at: Some(image.audited_at),
            newest_at: image.generation.as_ref().map(|one| one.modified_at),
            note: image.path.clone(),
        });
    }
    let mut flying: Vec<&Boot> = tracker.open_iter().collect();
    flying.sort_by_key(|boot| boot.started_at);
    flying.truncate(MOST_FLYING);
    let findings = existing.map(|existing| existing.findings.iter());
    Live {
        at: Some(at),
        sources,
        kinds: VmType::ALL
            .iter()
            .map(|vm_type| kind(*vm_type, tracker, engine, at))
            .collect(),
        flying: flying
            .into_iter()
            .map(|boot| BootLine {
                origin: tracker.origin_of(boot.user),
                ..line(boot, &known.host)
            })
            .collect(),
        ended,
        alerts: engine.alerts().collect(),
        image,
        channels: health
            .channels()
            .into_iter()
            .map(|(name, channel)| ChannelNow {
                name,
                tried: channel.tried,
                failing: channel.failing.map(|(since, how)| (ago(since), how)),
            })
            .collect(),
        store_failing: health.store_failing().map(ago),
        last_boot: engine.last_boot(),
        addresses: existing.and_then(Existing::addresses),
        findings: findings.map(grouped).unwrap_or_default(),
    }
}

/// Those of one kind and sentence in a line, in the order of the first of each.
fn grouped<'a>(findings: impl Iterator<Item = &'a Finding>) -> Vec<FindingLine> {
    let mut lines: Vec<FindingLine> = Vec::new();
    for finding in findings {
        let whom = finding.vm.map(|vm| vm.to_string());
        let whom = whom.or_else(|| finding.session.map(|session| session.to_string()));
        let same = |line: &FindingLine| line.kind == finding.kind && line.text == finding.text;
        match lines.iter().position(same) {
            Some(place) => {
                let line = &mut lines[place];
                line.count += 1;
                let named = line.whom.len();
                line.whom.extend(whom.filter(|_| named < MOST_NAMED));
            }
            None if lines.len() < MOST_FINDINGS => lines.push(FindingLine {
                kind: finding.kind,
                text: finding.text.clone(),
                count: 1,
                whom: whom.into_iter().collect(),
            }),
            None => {}
        }
    }
    lines
}

fn kind(vm_type: VmType, tracker: &Tracker, engine: &Engine, at: Timestamp) -> KindNow {
    let (budget, tolerated) = engine.budget(vm_type, at);
    KindNow {
        vm_type,
        in_flight: tracker
            .users_in_flight()
            .filter(|flying| *flying == vm_type)
            .count(),
        overdue: engine
            .overdue()
            .filter(|(overdue, _)| *overdue == vm_type)
            .count(),
        budget,
        tolerated,
    }
}

fn line(boot: &Boot, host: &str) -> BootLine {
    BootLine {
        boot_id: boot.id(host),
        vm: boot.vm.map(|vm| vm.to_string()),
        session: boot.session.map(|session| session.to_string()),
        vm_type: boot.kind(),
        origin: boot.origin,
        outcome: boot.outcome,
        failure: boot.failure,
        failed_stage: boot.failed_stage,
        started_at: boot.started_at,
        ended_at: boot.ended_at,
        ready_ms: boot.ready_ms,
        image: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::VmId;

    #[test]
    fn findings_of_one_sentence_are_one_line_that_names_their_vms() {
        let finding = |kind: &str, vm: Option<u128>, text: &str| -> Finding {
            serde_json::from_value(serde_json::json!({
                "kind": kind, "vm": vm.map(VmId), "since": 0, "opened_at": 0, "text": text, "basis": "rows",
            }))
            .unwrap()
        };
        let mut all: Vec<Finding> = (1..=40)
            .map(|vm| finding("ghost", Some(vm), "nobody is there"))
            .collect();
        all.push(finding("orphan", Some(99), "nobody ends it"));
        all.push(finding("room_low", None, "no room"));
        let lines = grouped(all.iter());
        let told: Vec<_> = lines
            .iter()
            .map(|line| {
                (
                    line.kind.as_str(),
                    line.count,
                    line.whom.len(),
                    line.unnamed(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("ghost", 40, MOST_NAMED, 40 - MOST_NAMED),
                ("orphan", 1, 1, 0),
                ("room_low", 1, 0, 0)
            ]
        );
        assert_eq!(lines[0].whom[0], VmId(1).to_string());
    }
}

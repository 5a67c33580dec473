//! The week's incidents: how soon they were found, told and over.
//!
//! The time to detect is from the beginning of the first bad boot to the first page that a channel took; a page that
//! nobody took told nobody.

use serde::Serialize;

use super::{rfc3339, rfc3339_or_null};
use crate::core::event::Timestamp;

/// What is known of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentFact {
    pub key: String,
    pub host: String,
    /// Whom it was about, such as `browser`.
    pub subject: String,
    /// What it was put down to, as a word.
    pub cause: String,
    /// Whether somebody was paged, and not only sent a ticket.
    pub page: bool,
    pub first_bad_at: Timestamp,
    pub fired_at: Timestamp,
    /// When the first channel took the first message.
    pub delivered_at: Option<Timestamp>,
    pub acknowledged_at: Option<Timestamp>,
    pub resolved_at: Option<Timestamp>,
    /// Failed boots of its subject from the first bad one to its end.
    pub boots_hit: u64,
    /// The diagnosis in a sentence, where there is one.
    pub diagnosis: Option<String>,
    /// What confirmed that it is mended, where that is known.
    pub fix: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentFigures {
    pub key: String,
    pub host: String,
    pub subject: String,
    pub cause: String,
    pub page: bool,
    #[serde(serialize_with = "rfc3339")]
    pub first_bad_at: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    pub fired_at: Timestamp,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub delivered_at: Option<Timestamp>,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub acknowledged_at: Option<Timestamp>,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub resolved_at: Option<Timestamp>,
    /// Seconds from the first bad boot to the first page that was taken.
    pub detect_seconds: Option<f64>,
    /// Seconds from there to somebody's word.
    pub acknowledge_seconds: Option<f64>,
    /// Seconds from the first bad boot to the end.
    pub resolve_seconds: Option<f64>,
    pub boots_hit: u64,
    pub diagnosis: Option<String>,
    pub fix: Option<String>,
}

/// Over the incidents that paged: medians (nearest rank), with how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Detection {
    pub pages: u64,
    pub delivered: u64,
    pub detect_seconds_p50: Option<f64>,
    pub resolve_seconds_p50: Option<f64>,
}

fn seconds(from: Timestamp, to: Option<Timestamp>) -> Option<f64> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds of a week are far below 2^53"
    )]
    to.map(|to| to.since(from).max(0) as f64 / 1000.0)
}

/// In the order in which they fired.
pub(super) fn figures(mut facts: Vec<IncidentFact>) -> Vec<IncidentFigures> {
    facts.sort_by(|a, b| (a.fired_at, &a.host, &a.key).cmp(&(b.fired_at, &b.host, &b.key)));
    facts
        .into_iter()
        .map(|fact| IncidentFigures {
            detect_seconds: seconds(fact.first_bad_at, fact.delivered_at),
            acknowledge_seconds: fact
                .delivered_at
                .and_then(|at| seconds(at, fact.acknowledged_at)),
            resolve_seconds: seconds(fact.first_bad_at, fact.resolved_at),
            key: fact.key,
            host: fact.host,
            subject: fact.subject,
            cause: fact.cause,
            page: fact.page,
            first_bad_at: fact.first_bad_at,
            fired_at: fact.fired_at,
            delivered_at: fact.delivered_at,
            acknowledged_at: fact.acknowledged_at,
            resolved_at: fact.resolved_at,
            boots_hit: fact.boots_hit,
            diagnosis: fact.diagnosis,
            fix: fact.fix,
        })
        .collect()
}

impl Detection {
    pub(super) fn of(incidents: &[IncidentFigures]) -> Detection {
        let pages: Vec<&IncidentFigures> = incidents.iter().filter(|one| one.page).collect();
        let median = |of: fn(&IncidentFigures) -> Option<f64>| {
            let mut all: Vec<f64> = pages.iter().filter_map(|one| of(one)).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len().saturating_sub(1) / 2).copied()
        };
        Detection {
            pages: pages.len() as u64,
            delivered: pages
                .iter()
                .filter(|one| one.delivered_at.is_some())
                .count() as u64,
            detect_seconds_p50: median(|one| one.detect_seconds),
            resolve_seconds_p50: median(|one| one.resolve_seconds),
        }
    }
}

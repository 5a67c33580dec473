//! What operators see, as JSON: times in RFC 3339, ids as texts.

use serde_json::{Value, json};

use crate::core::alert::HeldBack;
use crate::core::desk::{Maintenance, Silence, Span, View};
use crate::core::diagnosis::{Diagnosis, Point};
use crate::core::event::Timestamp;
use crate::core::fix::{Fix, What};
use crate::web::pages::rfc3339;

pub(super) fn incidents(view: &View) -> Value {
    let all = view.incidents.iter().map(|standing| {
        let incident = &standing.incident;
        let taken = standing.acknowledged.as_ref();
        json!({
            "id": incident.key,
            "host": incident.host,
            "subject": incident.subject.as_str(),
            "vm_type": incident.subject.vm_type().map(|vm_type| vm_type.as_str()),
            "cause": incident.cause.as_str(),
            "severity": incident.severity().as_str(),
            "rules": incident.firing().map(|member| member.rule.as_str()).collect::<Vec<_>>(),
            "first_bad_at": rfc3339(incident.first_bad_at),
            "fired_at": rfc3339(incident.fired_at),
            "diagnosis": incident.diagnosis.as_ref().map(diagnosis),
            "fix": incident.fix.as_ref().map(fix),
            "digest": standing.digest.as_ref().map(|digest| json!({
                "firing": digest.firing,
                "resolved": digest.resolved,
            })),
            "told": standing.is_told,
            "held": standing.held.as_ref().map(held),
            "acknowledged": taken.map(|taken| json!({
                "author": taken.author,
                "at": rfc3339(taken.at),
                "note": taken.note,
            })),
        })
    });
    json!({ "incidents": all.collect::<Vec<_>>() })
}

/// The verdict, or null where there is not enough evidence for one; chances from 0 to 1.
pub(in crate::web) fn diagnosis(found: &Diagnosis) -> Value {
    let points = |points: &[Point]| points.iter().map(Point::spoken).collect::<Vec<_>>();
    let ranked = found.ranked.iter().map(|one| {
        json!({
            "verdict": one.verdict.as_str(),
            "meaning": one.verdict.meaning(),
            "chance": f64::from(one.chance) / 1000.0,
            "for": points(&one.speaks_for),
            "against": points(&one.against),
            "refuted_by": one.verdict.row().refuted_by,
        })
    });
    json!({
        "verdict": found.verdict().map(|first| first.verdict.as_str()),
        "at": rfc3339(found.at),
        "ranked": ranked.collect::<Vec<_>>(),
    })
}

pub(in crate::web) fn fix(fix: &Fix) -> Value {
    let (by, note) = match &fix.what {
        What::Marked { author, note } => (Some(author), Some(note)),
        What::Image => (None, None),
    };
    json!({
        "what": if by.is_some() { "marked" } else { "image" },
        "author": by,
        "note": note,
        "at": rfc3339(fix.at),
        "standing": fix.standing.as_str(),
        "failed_since": fix.since.bad,
        "boots_since": fix.since.of,
        "upper_bound": fix.upper_bound(),
        "decided_at": fix.decided_at.map(rfc3339),
    })
}

fn held(why: &HeldBack) -> Value {
    match why {
        HeldBack::Silenced { id, .. } => json!({ "why": why.as_str(), "by": id.to_string() }),
        HeldBack::Inhibited { by } => json!({ "why": why.as_str(), "by": by }),
        HeldBack::Waiting | HeldBack::Storm => json!({ "why": why.as_str() }),
    }
}

pub(super) fn silences(view: &View, now: Timestamp) -> Value {
    let all = view.silences.iter().map(|silence: &Silence| {
        json!({
            "id": silence.id.to_string(),
            "state": silence.state(now),
            "matchers": silence.matchers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "author": silence.author,
            "reason": silence.reason,
            "created_at": rfc3339(silence.created_at),
            "starts_at": rfc3339(silence.starts_at),
            "ends_at": rfc3339(silence.ends_at),
            "expired_by": silence.expired_by,
        })
    });
    json!({ "silences": all.collect::<Vec<_>>() })
}

pub(super) fn maintenance(view: &View, now: Timestamp) -> Value {
    let all = view.maintenance.iter().map(|one: &Maintenance| {
        json!({
            "id": one.id.to_string(),
            "state": if one.ends_at > now { "active" } else { "ended" },
            "author": one.author,
            "reason": one.reason,
            "starts_at": rfc3339(one.starts_at),
            "ends_at": rfc3339(one.ends_at),
            "ended_by": one.ended_by,
        })
    });
    let windows = view
        .windows
        .iter()
        .map(|(written, span): &(String, Option<Span>)| {
            let now =
                span.map(|span| json!({ "from": rfc3339(span.from), "to": rfc3339(span.to) }));
            json!({ "window": written, "now": now })
        });
    json!({ "maintenance": all.collect::<Vec<_>>(), "windows": windows.collect::<Vec<_>>() })
}

//! A whole incident that did not happen: its first page, an update and its end, for people to practise with.

use super::incident::key;
use super::{Family, Incident, Kind, Member, NamedBoot, Notification, Other, Reason, Remarks};
use crate::core::binomial;
use crate::core::event::{Failure, Timestamp, VmId, VmType};
use crate::core::rule::{Reading, RuleName, RuleSettings, Said, Stretch};
use crate::core::window::Count;

const MINUTE: i64 = 60_000;

/// The three messages, of these moments. Its key and everything shown of it say that it is a drill.
#[must_use]
pub fn drill(host: &str, moments: [Timestamp; 3]) -> [Notification; 3] {
    let [fired, updated, resolved] = moments;
    let mut incident = first(host, fired);
    let first = said(Kind::Firing, Reason::FirstAlert, fired, &incident);
    let further = member(RuleName::BootFailureRate, Count { bad: 6, of: 20 }, updated);
    incident.members.push(further);
    let update = said(Kind::Update, Reason::FurtherAlert, updated, &incident);
    for member in &mut incident.members {
        member.resolved_at = Some(resolved);
    }
    incident.resolved_at = Some(resolved);
    incident.good_since = Some(resolved);
    let end = said(Kind::Resolved, Reason::AllResolved, resolved, &incident);
    [first, update, end]
}

fn said(kind: Kind, reason: Reason, at: Timestamp, incident: &Incident) -> Notification {
    Notification {
        kind,
        reason,
        at,
        incident: incident.clone(),
        remarks: Remarks {
            is_drill: true,
            ..Remarks::default()
        },
    }
}

fn first(host: &str, at: Timestamp) -> Incident {
    let (vm_type, cause) = (VmType::Browser, Failure::AgentRefused);
    let family = Family::of(cause);
    let began = |minutes: i64| at.plus_ms(-minutes * MINUTE);
    let subject = vm_type.into();
    let key = format!("drill-{}", key(host, subject, family, at, [0; 2]));
    Incident {
        first_bad_at: began(8),
        members: vec![member(
            RuleName::ConnectionRefusedSpike,
            Count { bad: 3, of: 3 },
            at,
        )],
        others: vec![Other {
            vm_type: VmType::Cli,
            count: Count { bad: 0, of: 18 },
            stretch: Stretch::Span(60 * MINUTE),
            newest_at: began(1),
            recovered: false,
        }],
        evidence: vec!["[DRILL] VM health check ECONNREFUSED on port 8080".to_owned()],
        boots: (0..3)
            .map(|n| NamedBoot {
                vm: Some(VmId(n)),
                session: None,
                started_at: began(8 - i64::try_from(n).unwrap_or(0) * 3),
                failure: Some(cause),
            })
            .collect(),
        ..Incident::begun(key, host, (subject, family, cause.into()), at)
    }
}

fn member(rule: RuleName, count: Count, fired_at: Timestamp) -> Member {
    let usual = RuleSettings::default().tolerated;
    Member {
        rule,
        severity: rule.severity(),
        fired_at,
        resolved_at: None,
        since: None,
        reading: Said::Boots(Reading {
            bad: true,
            recovered: false,
            count,
            stretch: Stretch::Last(count.of),
            chance: binomial::tail(count.bad, count.of, usual),
            usual,
            overdue: 0,
            detail: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_of_a_drill_would_fire_its_rule() {
        let moments = [0, 1, 2].map(|minute| Timestamp(minute * MINUTE));
        let settings = RuleSettings::default();
        for notification in drill("host-1", moments) {
            for member in &notification.incident.members {
                let reading = member.reading.boots().unwrap();
                let Count { bad, of } = reading.count;
                let chance = binomial::tail(bad, of, settings.tolerated);
                assert!((reading.chance - chance).abs() < 1e-12, "{reading:?}");
                assert!(chance <= settings.alpha, "{reading:?}");
            }
        }
    }
}

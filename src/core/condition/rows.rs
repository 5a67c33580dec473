//! What the controller's rows say now.

use super::{Condition, Fact, Facts};
use crate::core::finding::{FindingKind, Findings};
use crate::core::inventory::{Addresses, Inventory};
use crate::core::rule::RuleName;

/// Lines of evidence.
const NAMED: usize = 3;

/// Adds what the rows say; nothing where the database cannot be seen, was not read in full, or is a replica that lags.
pub fn of_rows(inventory: &Inventory, findings: &Findings, facts: &mut Facts) {
    if inventory.sight().is_none() {
        return;
    }
    let number = |things: usize| u64::try_from(things).unwrap_or(u64::MAX);
    let fact = |condition, value: usize, of: usize| Fact {
        condition,
        value: number(value),
        of: Some(number(of)),
        since: None,
        settles: true,
        evidence: Vec::new(),
    };
    let counts = findings.counts();
    let open_sessions = inventory.sessions().filter(|row| !row.status.is_final());
    facts.insert(
        RuleName::SessionsIncomplete,
        shown(
            fact(
                Condition::SessionsIncomplete,
                inventory.incomplete().count(),
                open_sessions.count(),
            ),
            findings,
            FindingKind::SessionIncomplete,
        ),
    );
    let standing = inventory.vms().filter(|row| row.stands());
    facts.insert(
        RuleName::GhostVms,
        shown(
            fact(
                Condition::GhostVms,
                counts[FindingKind::Ghost as usize],
                standing.count(),
            ),
            findings,
            FindingKind::Ghost,
        ),
    );
    if let Some(Addresses { used, ghost, free }) = inventory.addresses(|vm| findings.is_ghost(vm)) {
        let mut pool = fact(Condition::IpPoolLow, free, used + ghost + free);
        pool.evidence.push(format!(
            "{used} addresses are held by VMs, {ghost} by rows without a VM, {free} are free"
        ));
        facts.insert(
            RuleName::IpPoolLow,
            shown(pool, findings, FindingKind::Ghost),
        );
    }
}

/// Names the oldest findings; a condition holds no longer than the oldest of them.
fn shown(mut fact: Fact, findings: &Findings, kind: FindingKind) -> Fact {
    let mut open: Vec<_> = findings
        .iter()
        .filter(|finding| finding.kind == kind)
        .collect();
    open.sort_by_key(|finding| (finding.since, finding.vm, finding.session));
    let lines = open.iter().take(NAMED).map(|finding| {
        let vm = finding.vm.map(|vm| vm.to_string());
        let session = finding.session.map(|session| format!("session {session}"));
        let name = vm.or(session).unwrap_or_default();
        format!("{name}: {}", finding.text)
    });
    fact.evidence.extend(lines);
    fact
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::core::condition::{ConditionSettings, read};
    use crate::core::event::{SessionId, Timestamp, VmId, VmType};
    use crate::core::finding::Processes;
    use crate::core::inventory::Poll;
    use crate::core::row::{Provider, Row, SessionRow, SessionStatus, VmRow, VmStatus};

    const NOW: Timestamp = Timestamp(1_760_752_327_000);
    const LONG_AGO: Timestamp = Timestamp(NOW.0 - 30 * 60_000);

    fn vm(number: u8) -> Row {
        Row::Vm(VmRow {
            vm: VmId(number.into()),
            user: None,
            vm_type: Some(VmType::Browser),
            status: VmStatus::Running,
            ip: Some(Ipv4Addr::new(192, 168, 100, number)),
            has_process: true,
            created_at: LONG_AGO,
            destroyed_at: None,
            last_heartbeat: None,
            memory_mb: None,
            version: 1,
        })
    }

    fn session(number: u128, status: SessionStatus) -> Row {
        Row::Session(SessionRow {
            session: SessionId(number),
            user: None,
            provider: Provider::Codex,
            status,
            vm: None,
            ip: None,
            has_auth_url: false,
            error: None,
            created_at: LONG_AGO,
            timeout_at: Some(LONG_AGO),
            version: 1,
        })
    }

    fn look(inventory: &mut Inventory, findings: &mut Findings, at: Timestamp) -> Facts {
        inventory.polled(Poll {
            as_of: at,
            full_since: Some(Timestamp(0)),
            lag_ms: None,
            ahead_ms: 0,
        });
        findings.processes(Processes {
            at,
            whole: true,
            list: Vec::new(),
        });
        findings.tick(at, inventory, &|_| false);
        let mut facts = Facts::new();
        of_rows(inventory, findings, &mut facts);
        facts
    }

    #[test]
    fn ghosts_hold_the_pool_and_sessions_without_a_vm_are_named() {
        let (mut inventory, mut findings) = (Inventory::new(), Findings::default());
        for number in 2..232 {
            inventory.row(&vm(number), false);
        }
        inventory.row(&session(1, SessionStatus::Started), false);
        inventory.row(&session(2, SessionStatus::Failed), false);
        look(&mut inventory, &mut findings, NOW);
        let facts = look(&mut inventory, &mut findings, NOW.plus_ms(60_000));
        let figures = |rule: RuleName| (facts[&rule].value, facts[&rule].of);
        assert_eq!(figures(RuleName::GhostVms), (230, Some(230)));
        assert_eq!(figures(RuleName::IpPoolLow), (23, Some(253)));
        assert_eq!(figures(RuleName::SessionsIncomplete), (1, Some(1)));
        for fact in facts.values() {
            assert!(!fact.evidence.is_empty() && fact.evidence.len() <= 4);
        }
        let ghost = &facts[&RuleName::GhostVms].evidence[0];
        assert!(ghost.starts_with(&VmId(2).to_string()), "{ghost}");
        let session = &facts[&RuleName::SessionsIncomplete].evidence[0];
        assert!(session.starts_with("session "), "{session}");
        for (rule, fact) in &facts {
            assert!(read(&ConditionSettings::usual(*rule), fact).bad, "{rule:?}");
        }
    }

    #[test]
    fn a_database_that_cannot_be_seen_says_nothing() {
        let (mut inventory, mut findings) = (Inventory::new(), Findings::default());
        let mut facts = Facts::new();
        of_rows(&inventory, &findings, &mut facts);
        assert!(facts.is_empty(), "before anything was read");
        inventory.row(&session(1, SessionStatus::Started), false);
        assert_eq!(look(&mut inventory, &mut findings, NOW).len(), 3);
        inventory.down();
        of_rows(&inventory, &findings, &mut facts);
        assert!(facts.is_empty(), "what is held says nothing of now");
    }
}

//! What single facts say, as findings with their sentences: the pieces that `Findings::tick` puts together.

use hashbrown::HashSet;

use super::{Basis, FAILED_GRACE_MS, Finding, FindingKind, GRACE_MS, Process, View, Word};
use crate::core::event::{Outcome, Timestamp, VmId};
use crate::core::row::{SessionRow, VmRow};

pub(super) fn finding(
    view: View<'_>,
    kind: FindingKind,
    vm: Option<VmId>,
    since: Timestamp,
    text: String,
) -> Finding {
    Finding {
        kind,
        vm,
        session: None,
        ip: None,
        since,
        opened_at: view.now,
        closed_at: None,
        text,
        basis: Basis::Rows,
    }
}

pub(super) fn spoken(word: &Word) -> String {
    match word.failure {
        Some(failure) => format!("{} ({failure})", word.outcome),
        None => word.outcome.to_string(),
    }
}

/// The log's last word of a VM, as an addition to a sentence.
pub(super) fn and_the_log(word: Option<&Word>) -> String {
    word.map_or_else(String::new, |word| {
        format!("; the log says that its boot was {}", spoken(word))
    })
}

/// A row that claims a process which is not among those seen.
pub(super) fn ghost(
    view: View<'_>,
    row: &VmRow,
    whole: bool,
    exited: bool,
    word: Option<&Word>,
) -> Option<Finding> {
    if !row.claims_process() || view.poll.as_of.since(row.created_at) < GRACE_MS {
        return None;
    }
    let (basis, since, why) = if !row.has_process {
        (Basis::Rows, row.created_at, "never got a process")
    } else if whole {
        (Basis::Processes, view.now, "has no process on this host")
    } else if exited {
        (Basis::Exit, view.now, "lost its process, as the log says")
    } else {
        return None;
    };
    let text = format!(
        "the row of the VM says `{}`, but the VM {why}{}",
        row.status,
        and_the_log(word)
    );
    Some(Finding {
        ip: row.ip,
        basis,
        ..finding(view, FindingKind::Ghost, Some(row.vm), since, text)
    })
}

/// A VM that lives although the log says that its boot failed.
pub(super) fn failed_but_lives(
    view: View<'_>,
    row: &VmRow,
    runs: bool,
    whole: bool,
    word: Option<&Word>,
) -> Option<Finding> {
    let word = word.filter(|word| word.outcome == Outcome::Failed)?;
    let lives = runs || !whole && row.has_process;
    let late = view.poll.as_of.since(word.ended_at) >= FAILED_GRACE_MS;
    if !row.claims_process() || !lives || !late {
        return None;
    }
    let text = format!(
        "the log says that the boot {}, but the row of the VM says `{}`{}",
        spoken(word),
        row.status,
        if runs { " and its process runs" } else { "" }
    );
    Some(Finding {
        ip: row.ip,
        ..finding(
            view,
            FindingKind::DbDisagrees,
            Some(row.vm),
            word.ended_at,
            text,
        )
    })
}

pub(super) fn process_lost(view: View<'_>, row: &VmRow, runs: bool) -> Finding {
    let but = if runs { ", but it runs" } else { "" };
    let text = format!("the controller lost the VM's process (its row says `failed`){but}");
    let since = row.last_heartbeat.unwrap_or(row.created_at);
    Finding {
        ip: row.ip,
        ..finding(view, FindingKind::ProcessLost, Some(row.vm), since, text)
    }
}

pub(super) fn orphan(view: View<'_>, process: &Process, word: Option<&Word>) -> Option<Finding> {
    let row = view.inventory.vm(process.vm);
    let young = view.now.since(process.started_at) < GRACE_MS
        || row
            .and_then(|row| row.destroyed_at)
            .is_some_and(|at| view.now.since(at) < GRACE_MS);
    if row.is_some_and(VmRow::stands) || young || (view.in_flight)(process.vm) {
        return None;
    }
    let why = match row {
        Some(_) => "its row says that it was destroyed",
        None => "it has no row",
    };
    let text = format!(
        "a Firecracker process (pid {}) of the VM runs, but {why}{}",
        process.pid,
        and_the_log(word)
    );
    Some(Finding {
        ip: row.and_then(|row| row.ip),
        basis: Basis::Processes,
        ..finding(
            view,
            FindingKind::Orphan,
            Some(process.vm),
            process.started_at,
            text,
        )
    })
}

/// Addresses of more than one VM that is thought to live: told of the newer ones.
pub(super) fn shared_addresses(view: View<'_>, ghosts: &HashSet<VmId>) -> Vec<Finding> {
    let mut living: Vec<&VmRow> = view
        .inventory
        .vms()
        .filter(|row| row.claims_process() && row.ip.is_some() && !ghosts.contains(&row.vm))
        .collect();
    living.sort_unstable_by_key(|row| (row.ip, row.created_at, row.vm));
    living
        .windows(2)
        .filter(|pair| pair[0].ip == pair[1].ip)
        .map(|pair| {
            let text = format!("the VM has the address of {}, which runs too", pair[0].vm);
            Finding {
                ip: pair[1].ip,
                ..finding(
                    view,
                    FindingKind::AddressShared,
                    Some(pair[1].vm),
                    pair[1].created_at,
                    text,
                )
            }
        })
        .collect()
}

pub(super) fn incomplete(view: View<'_>, row: &SessionRow) -> Finding {
    let since = row.timeout_at.unwrap_or(row.created_at);
    let text = format!(
        "the session is past its deadline, has no VM, and its row still says `{}`",
        row.status
    );
    Finding {
        session: Some(row.session),
        ip: row.ip,
        ..finding(view, FindingKind::SessionIncomplete, None, since, text)
    }
}

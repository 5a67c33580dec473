//! Every check, as a table: what it asks, what it accepts, what an objection is called, and who judges.

use std::collections::BTreeSet;

use super::facts::{Desk, Facts, Look};
use super::{Check, Finding, UNREAD, Verdict};
use super::{account, agent, conditions, guest, needs, network, start, system};

/// Is what a check asks for put anew into each copy, where an agent is injected at clone time?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    Never,
    /// Together with the unit and a Node.js.
    WithAll,
    /// Also where only the agent's files are injected; of what it may be, what lies there.
    WithFiles(&'static str),
}

/// Where an agent's files are put, and which of them is started.
const INJECTED: &str = "/opt/vm-browser-agent";
const INJECTED_SCRIPT: &str = agent::AGENTS[0];

/// One check. A new one is a word in [`Check`] and a row here.
pub struct Row {
    pub check: Check,
    pub asks: &'static str,
    /// What is accepted: any one of these.
    pub accepts: &'static [&'static str],
    /// The verdict where it is not so, and when it is another.
    pub otherwise: &'static str,
    pub injected: Injected,
    judge: fn(&mut Desk<'_>) -> Vec<Finding>,
}

pub const TABLE: &[Row] = &[
    Row {
        check: Check::Filesystem,
        asks: "the file is a whole ext4 file system at rest",
        accepts: &["clean, as long as it says, undamaged where it was read"],
        otherwise: "`fail` truncated or damaged; `warn` errors on record; `unknown` mounted or not unmounted cleanly, \
                    a feature that is not read, or written to while it was read",
        injected: Injected::Never,
        judge: system::filesystem,
    },
    Row {
        check: Check::ClonedFrom,
        asks: "browser VMs are cloned from this image, and the last build wrote this one",
        accepts: &["one file under both names", "a build that is not newer"],
        otherwise: "`warn`",
        injected: Injected::Never,
        judge: system::cloned_from,
    },
    Row {
        check: Check::Agent,
        asks: "the agent is there",
        accepts: agent::AGENTS,
        otherwise: "`fail`, for what is no JavaScript, is cut off, or may not be read by the unit's user, too; `warn` a placeholder, or the obsolete place",
        injected: Injected::WithFiles(INJECTED_SCRIPT),
        judge: agent::agent,
    },
    Row {
        check: Check::AgentCurrent,
        asks: "the agent's files equal the host's source",
        accepts: &["the same bytes; the bundled `node` by its size"],
        otherwise: "`warn`; `unknown` without a source to compare with",
        injected: Injected::WithFiles(INJECTED),
        judge: agent::is_current,
    },
    Row {
        check: Check::Unit,
        asks: "a unit starts the agent",
        accepts: start::UNITS,
        otherwise: "`fail`, for more than one `ExecStart`, too; `warn` another enabled unit that wants port 8080",
        injected: Injected::WithAll,
        judge: start::unit,
    },
    Row {
        check: Check::Enabled,
        asks: "the unit is wanted by multi-user.target",
        accepts: &[
            "a link of its name in `multi-user.target.wants` or `.requires`, wherever systemd looks for units",
        ],
        otherwise: "`fail`, for a copied file, too; `warn` another target, or another file of that name",
        injected: Injected::WithAll,
        judge: start::enabled,
    },
    Row {
        check: Check::Interpreter,
        asks: "what `ExecStart` runs exists, is whole, may be run, and is of this machine and of the image's C library",
        accepts: start::PROGRAMS,
        otherwise: "`fail`",
        injected: Injected::WithAll,
        judge: start::interpreter,
    },
    Row {
        check: Check::Script,
        asks: "the script that it is given exists",
        accepts: &["any file; none where the program is a script itself"],
        otherwise: "`fail`; `warn` the obsolete place",
        injected: Injected::WithFiles(INJECTED_SCRIPT),
        judge: start::script,
    },
    Row {
        check: Check::WorkingDirectory,
        asks: "`WorkingDirectory` exists",
        accepts: &[
            "none",
            "a folder",
            "one that the unit has made (`StateDirectory` and its like)",
            "`-` before it",
        ],
        otherwise: "`fail`; `unknown` below `/run` and its like",
        injected: Injected::WithFiles(INJECTED),
        judge: needs::working_directory,
    },
    Row {
        check: Check::Account,
        asks: "whom it runs as exists",
        accepts: &[
            "root",
            "a number",
            "a name in `/etc/passwd` or `/etc/group`",
            "one that `sysusers.d` makes",
            "`DynamicUser`",
        ],
        otherwise: "`fail`",
        injected: Injected::WithAll,
        judge: account::account,
    },
    Row {
        check: Check::Preconditions,
        asks: "what the unit asks for before its start holds",
        accepts: &[
            "no condition",
            "paths that are as it says",
            "programs of `ExecStartPre` and `ExecCondition` that can be run",
            "`-` before them",
        ],
        otherwise: "`fail`; `unknown` conditions that are not about the image's files",
        injected: Injected::WithAll,
        judge: conditions::preconditions,
    },
    Row {
        check: Check::Ordering,
        asks: "nothing is waited for that never comes",
        accepts: &[
            "no `network-online.target`, or an enabled unit that waits for the network and can work",
            "each required service is there",
        ],
        otherwise: "`fail`",
        injected: Injected::WithAll,
        judge: needs::ordering,
    },
    Row {
        check: Check::Environment,
        asks: "each `EnvironmentFile` exists and can be read by who reads it",
        accepts: &["none", "a file of settings", "`-` before it"],
        otherwise: "`fail`, also for comments where a supervisor script reads it, by the unit or by itself; `warn` a line that is no setting; `unknown` below `/run` and its like",
        injected: Injected::Never,
        judge: needs::environment,
    },
    Row {
        check: Check::Network,
        asks: "one way, and only one, brings the network up",
        accepts: &[
            "networkd",
            "netplan",
            "ifupdown",
            "NetworkManager",
            "`ip=` on the kernel's line",
        ],
        otherwise: "`warn` several, an address that every copy would have, or files that nothing applies (networkd masked or not \
                    enabled, another interface's); `unknown` none in the image",
        injected: Injected::Never,
        judge: network::network,
    },
    Row {
        check: Check::KernelModules,
        asks: "the guest's kernel has its network driver",
        accepts: &["`virtio_net` in `/lib/modules`", "built into the kernel"],
        otherwise: "`fail` where the kernel is known; else `unknown`",
        injected: Injected::Never,
        judge: guest::kernel_modules,
    },
    Row {
        check: Check::Vnc,
        asks: "the display's services are there",
        accepts: guest::DISPLAYS,
        otherwise: "`warn`: not needed for port 8080",
        injected: Injected::Never,
        judge: guest::vnc,
    },
    Row {
        check: Check::Browser,
        asks: "a browser is there, and not only a stub",
        accepts: guest::BROWSERS,
        otherwise: "`warn`: not needed for port 8080",
        injected: Injected::Never,
        judge: guest::browser,
    },
];

/// Findings, and what should be looked at before they are final.
#[derive(Debug)]
pub struct Judged {
    pub findings: Vec<Finding>,
    pub wanted: Vec<Look>,
}

/// Judges what is known. As long as something is wanted, the findings are not final.
#[must_use]
pub fn judge(facts: &Facts) -> Judged {
    let mut desk = Desk {
        facts,
        wanted: BTreeSet::new(),
        unread: Vec::new(),
    };
    let mut findings: Vec<Finding> = Vec::new();
    for row in TABLE {
        desk.unread.clear();
        let mut found = (row.judge)(&mut desk);
        if let Some(unread) = desk.unread.first() {
            found.iter_mut().for_each(|one| one.rest_on(unread));
        }
        findings.extend(bounded(row.check, found));
    }
    if facts.disk.needs_recovery {
        findings.iter_mut().for_each(Finding::unsettle);
    }
    Judged {
        findings,
        wanted: desk.wanted.into_iter().collect(),
    }
}

/// Of one check's findings so many are told; a hostile unit makes thousands.
const MAX_FINDINGS: usize = 20;

/// Each finding once, the worst ones where there are too many, and how many more there were.
fn bounded(check: Check, mut findings: Vec<Finding>) -> Vec<Finding> {
    let mut met = BTreeSet::new();
    findings.retain(|one| met.insert((one.verdict, one.path.clone(), one.reason.clone())));
    if findings.len() <= MAX_FINDINGS {
        return findings;
    }
    findings.sort_by_key(|one| std::cmp::Reverse(one.verdict));
    let rest = findings.split_off(MAX_FINDINGS - 1);
    if let Some(worst) = rest.first() {
        let reason = format!(
            "and {} more of this check, which are not listed",
            rest.len()
        );
        findings.push(Finding::new(
            check,
            worst.verdict,
            worst.path.as_str(),
            reason,
        ));
    }
    findings
}

/// What is said of a file that could not be looked into: nothing else is known.
#[must_use]
pub fn unreadable(verdict: Verdict, path: &str, reason: &str) -> Vec<Finding> {
    TABLE
        .iter()
        .map(|row| match row.check {
            Check::Filesystem => Finding::new(Check::Filesystem, verdict, path, reason),
            other => Finding::new(other, Verdict::Unknown, path, "the image could not be read"),
        })
        .collect()
}

/// A finding's beginning: of this check, there.
pub(super) fn says(
    check: Check,
    verdict: Verdict,
    path: impl Into<String>,
    reason: impl Into<String>,
) -> Vec<Finding> {
    vec![Finding::new(check, verdict, path, reason)]
}

/// That what is there cannot be looked at.
pub(super) fn cannot_read(check: Check, path: impl Into<String>) -> Vec<Finding> {
    says(check, Verdict::Unknown, path, UNREAD)
}

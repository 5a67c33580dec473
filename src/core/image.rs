//! Is everything in the golden image that a browser VM needs?
//!
//! The room `image` looks at an ext4 file and hands over [`Facts`]; [`judge`] turns them into findings. What is looked
//! at is decided here, too: a judgement that misses a fact says so ([`Judged::wanted`]), the room looks, and judges
//! again until nothing is wanted. So there is one list of what matters, the [`TABLE`] of checks, and it is pure.
//!
//! A verdict is `unknown` wherever the image alone cannot decide: nothing that was not seen is called right or wrong.
//! Whether an agent is put into each copy at clone time is no property of the image: [`GoldenImage::given`] says what
//! the findings mean once that is known.

mod account;
mod agent;
mod conditions;
mod facts;
mod guest;
mod javascript;
mod needs;
mod network;
mod online;
mod reach;
mod rivals;
mod sight;
mod start;
mod system;
mod table;
mod unit;
mod units;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::event::{Timestamp, words};
use crate::core::rule::Severity;

pub use facts::{
    Astray, Content, Disk, Facts, File, Guard, Host, How, Kernel, Look, MAX_LIST, MAX_TEXT,
    Machine, Seen, Source, Stamp, Trouble,
};
pub use sight::{InjectionSight, SourceSight};
pub use table::{Injected, Judged, Row, TABLE, judge, unreadable};

words! {
    /// What a check found, from fine to bad.
    Verdict {
        Pass = "pass",
        /// Worth a look, and no reason for a browser VM not to become healthy.
        Warn = "warn",
        /// The image alone cannot decide, or could not be read.
        Unknown = "unknown",
        /// A browser VM cannot become healthy like this.
        Fail = "fail",
    }
}

words! {
    /// What is looked at; a label of metrics, so the words stay.
    Check {
        Filesystem = "filesystem",
        ClonedFrom = "cloned_from",
        Agent = "agent",
        AgentCurrent = "agent_current",
        Unit = "unit",
        Enabled = "enabled",
        Interpreter = "interpreter",
        Script = "script",
        WorkingDirectory = "working_directory",
        Account = "account",
        Preconditions = "preconditions",
        Ordering = "ordering",
        Environment = "environment",
        Network = "network",
        KernelModules = "kernel_modules",
        Vnc = "vnc",
        Browser = "browser",
    }
}

/// One thing that was found, with where and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub check: Check,
    pub verdict: Verdict,
    /// In the image, or on the host where the check is about the host.
    pub path: String,
    pub reason: String,
}

/// Longer texts come from hostile images.
const MAX_WORDS: usize = 400;

impl Finding {
    /// Paths and reasons quote the image: one line, bounded, without control characters.
    #[must_use]
    pub fn new(
        check: Check,
        verdict: Verdict,
        path: impl Into<String>,
        reason: impl Into<String>,
    ) -> Finding {
        Finding {
            check,
            verdict,
            path: tidy(&path.into()),
            reason: tidy(&reason.into()),
        }
    }
}

impl Finding {
    /// What is missing may be in the journal: it is not known to be missing.
    fn unsettle(&mut self) {
        if self.verdict == Verdict::Fail {
            self.verdict = Verdict::Unknown;
            self.reason = tidy(&format!("by what is in place so far: {}", self.reason));
        }
    }
}

/// What is said of a path that cannot be looked at; `Finding::rest_on` knows it by this.
const UNREAD: &str = "cannot be read";

impl Finding {
    /// A check that met what it could not read says nothing for certain: neither that something is missing nor, where
    /// it counts what is there, that this is all.
    fn rest_on(&mut self, unread: &str) {
        let counts = matches!(
            self.check,
            Check::Unit | Check::Network | Check::KernelModules
        );
        let is_sure = match self.verdict {
            Verdict::Pass => !counts || self.check == Check::KernelModules,
            Verdict::Unknown => !counts || self.reason.ends_with(UNREAD),
            Verdict::Warn | Verdict::Fail => false,
        };
        if !is_sure {
            self.verdict = Verdict::Unknown;
            self.reason = tidy(&format!("{unread} {UNREAD}; by the rest: {}", self.reason));
        }
    }
}

fn tidy(text: &str) -> String {
    let shown = |character: char| match character {
        character if character.is_control() || is_direction(character) => '\u{fffd}',
        character => character,
    };
    let mut tidied: String = text.chars().take(MAX_WORDS).map(shown).collect();
    if text.chars().nth(MAX_WORDS).is_some() {
        tidied.push('…');
    }
    tidied
}

/// Characters that turn the direction of what follows them.
fn is_direction(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Which image it is: a boot that was cloned from the same one has the same generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    pub inode: u64,
    pub size: u64,
    pub modified_at: Timestamp,
    /// The file system's own id; `None` where the file is no ext4.
    pub uuid: Option<String>,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uuid = self.uuid.as_deref().unwrap_or("no ext4");
        write!(
            f,
            "{uuid}/{}/{}/{}",
            self.inode, self.size, self.modified_at.0
        )
    }
}

/// Since when a boot is copied from which image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its generation in words; `None`: there was no file, or it could not be read.
    pub image: Option<String>,
    /// When the file was last written or put there, whichever was later.
    pub since: Timestamp,
}

/// What is known of an agent being put into each copy of the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Injection {
    /// No boot told yet.
    #[default]
    Unknown,
    /// Recent boots of browser VMs show none: the image alone decides.
    Absent,
    /// The agent's files alone are put anew: the unit and the program are the image's, and decide.
    Files,
    /// Recent boots show it: the image's own agent decides nothing.
    Present,
}

/// An audit's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoldenImage {
    pub path: String,
    /// `None`: there is no such file, or it may not be read.
    pub generation: Option<Generation>,
    /// When it was last written or put there, whichever was later: an older image that is put back is another one since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    pub findings: Vec<Finding>,
    pub audited_at: Timestamp,
}

impl GoldenImage {
    /// The findings under what is known of injection: what injection replaces cannot fail an image.
    #[must_use]
    pub fn given(&self, injection: Injection) -> Vec<Finding> {
        let decided = |finding: &Finding| {
            !is_replaced(finding, injection) || finding.verdict == Verdict::Pass
        };
        let mut findings = self.findings.clone();
        for finding in findings.iter_mut().filter(|finding| !decided(finding)) {
            finding.verdict = Verdict::Unknown;
            finding.reason = tidy(&format!(
                "does not decide, an agent is put into each copy at clone time; in the image itself: {}",
                finding.reason
            ));
        }
        findings
    }

    /// What is to be told of it, and how loudly: somebody is woken only where boots show that the image decides.
    #[must_use]
    pub fn alarm(&self, injection: Injection) -> Option<(Severity, Vec<Finding>)> {
        let broken = self.broken(injection);
        let severity = match injection {
            Injection::Absent => Severity::Page,
            Injection::Unknown | Injection::Files | Injection::Present => Severity::Ticket,
        };
        (!broken.is_empty()).then_some((severity, broken))
    }

    /// What keeps browser VMs from becoming healthy.
    #[must_use]
    pub fn broken(&self, injection: Injection) -> Vec<Finding> {
        let mut findings = self.given(injection);
        findings.retain(|finding| finding.verdict == Verdict::Fail);
        findings
    }
}

/// Is it put anew into each copy, where an agent is injected with all that it needs?
#[must_use]
pub fn is_injected(check: Check) -> bool {
    injected(check) != Injected::Never
}

fn injected(check: Check) -> Injected {
    let row = TABLE.iter().find(|row| row.check == check);
    row.map_or(Injected::Never, |row| row.injected)
}

/// Is what was found of the image put anew into each copy? Of the agent's files only what lies in their own place is.
fn is_replaced(finding: &Finding, injection: Injection) -> bool {
    match (injection, injected(finding.check)) {
        (Injection::Unknown | Injection::Absent, _) => false,
        (Injection::Present, injected) => injected != Injected::Never,
        (Injection::Files, Injected::WithFiles(place)) => {
            finding.path.trim_end_matches('/') == place
        }
        (Injection::Files, _) => false,
    }
}

/// The worst verdict of each check that said anything, in the table's order.
#[must_use]
pub fn by_check(findings: &[Finding]) -> Vec<(Check, Verdict)> {
    let worst = |check: &Check| {
        findings
            .iter()
            .filter(|finding| finding.check == *check)
            .map(|finding| finding.verdict)
            .max()
    };
    Check::ALL
        .iter()
        .filter_map(|check| Some((*check, worst(check)?)))
        .collect()
}

/// Of the whole: fails if anything fails, and is unknown where the file itself could not be read.
#[must_use]
pub fn overall(findings: &[Finding]) -> Verdict {
    let blind = findings
        .iter()
        .any(|finding| finding.check == Check::Filesystem && finding.verdict == Verdict::Unknown);
    let worst = findings.iter().map(|finding| finding.verdict);
    let worst = worst
        .filter(|verdict| blind || *verdict != Verdict::Unknown)
        .max();
    worst.unwrap_or(Verdict::Unknown)
}

//! What the pages and the JSON show: plain values, made by whoever knows them.
//!
//! Two kinds. [`Live`] is how things stand, shown by their owner over a `watch`: whoever looks at it delays nobody. The
//! past is asked for ([`Past`]) and read beside the store's writer. The web knows neither room; `app` fills both in.

use std::fmt;
use std::future::Future;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::core::alert::{AlertView, Digest, Incident};
use crate::core::boot::StageSpan;
use crate::core::diagnosis::Diagnosis;
use crate::core::event::{
    AttemptResult, Failure, Origin, Outcome, Stage, Timestamp, VmType, WaitLimits,
};
use crate::core::failure::Rung;
use crate::core::finding::FindingKind;
use crate::core::image::{Finding, Generation, Verdict};
use crate::core::inventory::Addresses;
use crate::core::state::Source;
use crate::core::window::Count;

/// How things stand. What is not known yet is empty.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// When its owner looked; `None`: not yet.
    pub at: Option<Timestamp>,
    pub sources: Vec<Source>,
    pub kinds: Vec<KindNow>,
    /// Boots in flight, oldest first, at most [`MOST_FLYING`].
    pub flying: Vec<BootLine>,
    /// Boots that ended last, the newest end first: the store may not have them yet.
    pub ended: Arc<[Arc<EndedBoot>]>,
    pub alerts: Vec<AlertView>,
    pub image: Option<Arc<ImageNow>>,
    pub channels: Vec<ChannelNow>,
    /// Since when the store cannot be written.
    pub store_failing: Option<Timestamp>,
    /// When the newest boot that counted ended.
    pub last_boot: Option<Timestamp>,
    /// What rows say of the controller's pool.
    pub addresses: Option<Addresses>,
    /// Where log, rows and processes do not fit together.
    pub findings: Vec<FindingLine>,
}

/// What does not fit, said once however many it is about: forty ghosts tell one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingLine {
    pub kind: FindingKind,
    pub text: String,
    pub count: usize,
    /// VMs, else sessions: the first ones, at most [`MOST_NAMED`].
    pub whom: Vec<String>,
}

impl FindingLine {
    /// How many of those that it is about are not named.
    #[must_use]
    pub fn unnamed(&self) -> usize {
        match self.whom.len() {
            // Such as too little room: it is about nobody.
            0 => 0,
            named => self.count.saturating_sub(named),
        }
    }
}

pub const MOST_NAMED: usize = 12;

pub const MOST_FLYING: usize = 50;

/// One kind of VM now.
#[derive(Clone, Debug, PartialEq)]
pub struct KindNow {
    pub vm_type: VmType,
    pub in_flight: usize,
    /// In flight for longer than the learnt time to ready allows.
    pub overdue: usize,
    /// Boots of the budget's period, and the share that may fail.
    pub budget: Count,
    pub tolerated: f64,
}

impl KindNow {
    /// The share of the budget that is left; below 0 where more is used than there is, `None` without boots.
    #[must_use]
    pub fn budget_left(&self) -> Option<f64> {
        let allowed = f64::from(self.budget.of) * self.tolerated;
        (self.budget.of > 0 && allowed > 0.0).then(|| 1.0 - f64::from(self.budget.bad) / allowed)
    }
}

/// The golden image as last audited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageNow {
    pub path: String,
    pub generation: Option<Generation>,
    pub audited_at: Timestamp,
    pub verdict: Verdict,
    /// Under what is known of agents put into copies.
    pub findings: Vec<Finding>,
}

/// One channel of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelNow {
    pub name: String,
    pub tried: bool,
    /// Since when no try has succeeded, and how the last one ended.
    pub failing: Option<(Timestamp, &'static str)>,
}

/// One boot in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct BootLine {
    pub boot_id: String,
    pub vm: Option<String>,
    pub session: Option<String>,
    pub vm_type: VmType,
    pub origin: Origin,
    /// `None`: it has not ended.
    pub outcome: Option<Outcome>,
    pub failure: Option<Failure>,
    pub failed_stage: Option<Stage>,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub ready_ms: Option<u32>,
    pub image: Option<String>,
}

/// A boot that ended lately; told whole when somebody asks, which costs more than keeping it.
#[derive(Debug)]
pub struct EndedBoot {
    pub line: BootLine,
    told: LazyLock<BootFull, Box<dyn FnOnce() -> BootFull + Send>>,
}

impl EndedBoot {
    pub fn new(line: BootLine, tell: impl FnOnce() -> BootFull + Send + 'static) -> EndedBoot {
        EndedBoot {
            line,
            told: LazyLock::new(Box::new(tell)),
        }
    }

    #[must_use]
    pub fn told(&self) -> &BootFull {
        &self.told
    }
}

/// All that is known of one boot.
#[derive(Clone, Debug, PartialEq)]
pub struct BootFull {
    pub line: BootLine,
    pub ip: Option<Ipv4Addr>,
    pub stages: Vec<(Stage, StageSpan)>,
    pub attempts: Vec<(AttemptResult, u32)>,
    pub ladder: Vec<Rung>,
    pub limits: Option<WaitLimits>,
    pub injected: bool,
    pub error: Option<String>,
    /// Redacted lines of the log.
    pub evidence: Vec<String>,
    /// What its console told of the guest's start, in order.
    pub marks: Vec<MarkLine>,
    /// The end of the guest's console, redacted.
    pub console: Vec<String>,
    pub maintenance: bool,
    pub build: Option<String>,
    /// Why it failed, as far as it tells by itself.
    pub diagnosis: Option<Diagnosis>,
}

/// Something that a guest told on its console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkLine {
    pub mark: &'static str,
    pub count: u32,
    pub first_at: Timestamp,
}

/// Boots of one stretch of time that ended alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// When the stretch begins.
    pub from: Timestamp,
    pub vm_type: VmType,
    pub outcome: Option<Outcome>,
    pub failure: Option<Failure>,
    /// They touched a maintenance, and count neither for nor against.
    pub maintained: bool,
    pub boots: u64,
}

/// Which boots are wanted, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    pub vm_type: Option<VmType>,
    pub outcome: Option<Outcome>,
    pub failure: Option<Failure>,
    pub origin: Option<Origin>,
    pub image: Option<String>,
    /// Behind this boot of an earlier page.
    pub after: Option<(Timestamp, String)>,
    pub limit: u16,
}

/// A message to a channel, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageLine {
    pub id: i64,
    pub incident: String,
    pub transition: String,
    pub receiver: String,
    pub created_at: Timestamp,
    pub attempts: u32,
    pub state: &'static str,
    pub last_status: Option<String>,
    pub ended_at: Option<Timestamp>,
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActLine {
    pub at: Timestamp,
    pub action: String,
    pub subject: String,
    pub author: String,
    pub reason: String,
}

/// One report of the archive, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFull {
    pub line: ReportLine,
    pub html: String,
    /// As text.
    pub json: String,
}

/// A report in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportLine {
    /// Such as `2025-W42`.
    pub week: String,
    pub zone: String,
    /// Above 1 where a later reading of the week said something else.
    pub revision: i64,
    pub made_at: Timestamp,
    /// What it says in a sentence.
    pub headline: String,
}

/// A boot that bootwatch made itself, or did not begin.
#[derive(Clone, Debug, PartialEq)]
pub struct RunLine {
    pub started_at: Timestamp,
    /// As it is shown.
    pub shown: Value,
}

/// The past cannot be read; why, for whoever looks after bootwatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread(pub String);

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub type Answered<T> = Pin<Box<dyn Future<Output = Result<T, Unread>> + Send>>;

/// What is asked of the store: bounded in size, and in time by whoever asks.
pub trait Past: fmt::Debug + Send + Sync {
    fn boots(&self, wanted: Wanted) -> Answered<Vec<BootLine>>;
    fn boot(&self, boot_id: String) -> Answered<Option<BootFull>>;
    /// Boots that began in `range`, counted by stretches of `width_ms`.
    fn cells(&self, range: Range<Timestamp>, width_ms: i64) -> Answered<Vec<Cell>>;
    /// The times to ready of the newest boots of `range`, in no order, at most so many.
    fn ready_times(
        &self,
        range: Range<Timestamp>,
        vm_type: VmType,
        most: u32,
    ) -> Answered<Vec<u32>>;
    /// Incidents, newest first, that fired before that one.
    fn incidents(&self, before: Option<(Timestamp, String)>, limit: u16)
    -> Answered<Vec<Incident>>;
    fn incident(&self, key: String) -> Answered<Option<Incident>>;
    /// Messages, newest first: of one incident, or all.
    fn messages(
        &self,
        incident: Option<String>,
        before: Option<i64>,
        limit: u16,
    ) -> Answered<Vec<MessageLine>>;
    fn acts(&self, subject: Option<String>, limit: u16) -> Answered<Vec<ActLine>>;
    /// bootwatch's own runs, newest first: from that moment back, behind so many that began at it.
    fn runs(&self, place: Option<(Timestamp, u32)>, limit: u16) -> Answered<Vec<RunLine>>;
    fn reports(&self) -> Answered<Vec<ReportLine>>;
    /// One archived report: of that zone, or the one made last.
    fn report(&self, week: String, zone: Option<String>) -> Answered<Option<ReportFull>>;
}

/// There is no store: every question is answered with that.
#[derive(Clone, Copy, Debug)]
pub struct NoPast;

impl NoPast {
    fn says<T: Send + 'static>() -> Answered<T> {
        Box::pin(std::future::ready(Err(Unread(
            "there is no store".to_owned(),
        ))))
    }
}

impl Past for NoPast {
    fn boots(&self, _: Wanted) -> Answered<Vec<BootLine>> {
        NoPast::says()
    }

    fn boot(&self, _: String) -> Answered<Option<BootFull>> {
        NoPast::says()
    }

    fn cells(&self, _: Range<Timestamp>, _: i64) -> Answered<Vec<Cell>> {
        NoPast::says()
    }

    fn ready_times(&self, _: Range<Timestamp>, _: VmType, _: u32) -> Answered<Vec<u32>> {
        NoPast::says()
    }

    fn incidents(&self, _: Option<(Timestamp, String)>, _: u16) -> Answered<Vec<Incident>> {
        NoPast::says()
    }

    fn incident(&self, _: String) -> Answered<Option<Incident>> {
        NoPast::says()
    }

    fn messages(&self, _: Option<String>, _: Option<i64>, _: u16) -> Answered<Vec<MessageLine>> {
        NoPast::says()
    }

    fn acts(&self, _: Option<String>, _: u16) -> Answered<Vec<ActLine>> {
        NoPast::says()
    }

    fn runs(&self, _: Option<(Timestamp, u32)>, _: u16) -> Answered<Vec<RunLine>> {
        NoPast::says()
    }

    fn reports(&self) -> Answered<Vec<ReportLine>> {
        NoPast::says()
    }

    fn report(&self, _: String, _: Option<String>) -> Answered<Option<ReportFull>> {
        NoPast::says()
    }
}

/// How an incident is told, in the words that its pages have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    pub title: String,
    pub summary: String,
    pub not_affected: Option<String>,
    pub figures: Vec<String>,
    pub evidence: Vec<String>,
    pub first_step: Option<String>,
    pub boots: Vec<String>,
    pub runbook: Option<String>,
    /// How a fix stands.
    pub fix: Option<String>,
}

/// Makes the words of an incident.
pub type Tell = Arc<dyn Fn(&Incident, Option<&Digest>) -> Words + Send + Sync>;

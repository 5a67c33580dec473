//! Boots of one week, counted.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::sample::Sample;
use super::share::Share;
use crate::core::event::{Failure, Origin, Outcome, Stage, Timestamp, VmType, words};

/// Images told apart; boots of further ones are counted with the kind only.
const MAX_IMAGES: usize = 100;

/// What a report knows of one boot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BootFact<'a> {
    pub host: &'a str,
    pub vm_type: VmType,
    pub origin: Origin,
    /// `None`: it has not ended.
    pub outcome: Option<Outcome>,
    pub failure: Option<Failure>,
    pub failed_stage: Option<Stage>,
    /// It touched a maintenance.
    pub maintenance: bool,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub ready_ms: Option<u32>,
    /// Of the stages that completed.
    pub stages: [Option<u32>; 10],
    pub image: Option<&'a str>,
}

words! {
    /// Why a boot counts neither for nor against.
    Exclusion {
        Synthetic = "synthetic",
        Maintenance = "maintenance",
        Cancelled = "cancelled",
        Lost = "lost",
        InProgress = "in_progress",
    }
}

impl Exclusion {
    /// As the end of a sentence.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Exclusion::Synthetic => "made by bootwatch itself (a rate of their own)",
            Exclusion::Maintenance => "touched a maintenance",
            Exclusion::Cancelled => "cancelled before the outcome was decided",
            Exclusion::Lost => "how the boot ended is not known",
            Exclusion::InProgress => "had not ended yet",
        }
    }
}

/// Boots of one kind of VM.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kind {
    pub ready: u64,
    pub failed: u64,
    /// What maintenances would have added: ready boots of those that ended ready or failed.
    pub maintained: Share,
    pub excluded: BTreeMap<Exclusion, u64>,
    pub failures: BTreeMap<Failure, u64>,
    pub ready_ms: Sample,
    /// How long failed boots took until they were given up.
    pub given_up_ms: Sample,
    /// Of the stages that completed, in their order.
    pub stages: [Sample; 10],
    pub broken: BTreeMap<Stage, u64>,
    /// Ready boots of those judged, by the week's days.
    pub days: [Share; 7],
}

impl Kind {
    /// Ready boots of those that are judged.
    #[must_use]
    pub fn share(&self) -> Share {
        Share::new(self.ready, self.ready + self.failed)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.share().n == 0 && self.excluded.is_empty()
    }
}

/// What one host's boots did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostTally {
    /// Ready browser boots of those judged.
    pub ready: Share,
    /// The same of CLI boots.
    pub cli: Share,
    /// Of browser boots.
    pub ready_ms: Sample,
    pub failures: BTreeMap<Failure, u64>,
}

impl HostTally {
    fn add(&mut self, boot: &BootFact<'_>, share: Share) {
        if boot.vm_type == VmType::Cli {
            self.cli += share;
            return;
        }
        self.ready += share;
        if share.k == 1 {
            boot.ready_ms
                .into_iter()
                .for_each(|ms| self.ready_ms.add(ms));
        } else {
            let failure = boot.failure.unwrap_or(Failure::Unknown);
            *self.failures.entry(failure).or_default() += 1;
        }
    }
}

/// What an image's boots did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageTally {
    /// Its first boot within the week.
    pub first: Timestamp,
    /// Failed of those judged.
    pub failed: Share,
}

/// One week's boots.
#[derive(Clone, PartialEq)]
pub struct Figures {
    /// Ends of the week's days.
    day_ends: [Timestamp; 7],
    pub kinds: BTreeMap<VmType, Kind>,
    pub hosts: BTreeMap<String, HostTally>,
    pub images: BTreeMap<String, ImageTally>,
    /// Ready of bootwatch's own boots that ended.
    pub synthetic: Share,
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Figures")
            .field("hosts", &self.hosts)
            .field("images", &self.images)
            .field("synthetic", &self.synthetic)
            .finish_non_exhaustive()
    }
}

impl Figures {
    /// Of a week, whose days end so.
    #[must_use]
    pub fn new(day_ends: [Timestamp; 7]) -> Figures {
        Figures {
            day_ends,
            kinds: BTreeMap::new(),
            hosts: BTreeMap::new(),
            images: BTreeMap::new(),
            synthetic: Share::default(),
        }
    }

    /// Counts one boot that began within the week.
    pub fn add(&mut self, boot: &BootFact<'_>) {
        let kind = self.kinds.entry(boot.vm_type).or_default();
        let ended = match boot.outcome {
            Some(Outcome::Ready) => Some(Share::new(1, 1)),
            Some(Outcome::Failed) => Some(Share::new(0, 1)),
            Some(Outcome::Cancelled | Outcome::Lost) | None => None,
        };
        let excluded = match boot.outcome {
            _ if boot.origin == Origin::Synthetic => Some(Exclusion::Synthetic),
            _ if boot.maintenance => Some(Exclusion::Maintenance),
            Some(Outcome::Cancelled) => Some(Exclusion::Cancelled),
            Some(Outcome::Lost) => Some(Exclusion::Lost),
            None => Some(Exclusion::InProgress),
            Some(Outcome::Ready | Outcome::Failed) => None,
        };
        if let Some(reason) = excluded {
            *kind.excluded.entry(reason).or_default() += 1;
            match (reason, ended) {
                (Exclusion::Synthetic, Some(share)) => self.synthetic += share,
                (Exclusion::Maintenance, Some(share)) => kind.maintained += share,
                _ => {}
            }
            return;
        }
        let Some(share) = ended else { return };
        let day = self.day_ends.partition_point(|end| *end <= boot.started_at);
        kind.days[day.min(6)] += share;
        if share.k == 1 {
            kind.ready += 1;
            boot.ready_ms
                .into_iter()
                .for_each(|ms| kind.ready_ms.add(ms));
        } else {
            kind.failed += 1;
            let failure = boot.failure.unwrap_or(Failure::Unknown);
            *kind.failures.entry(failure).or_default() += 1;
            let took = boot.ended_at.map(|end| end.since(boot.started_at).max(0));
            let took = took.and_then(|ms| u32::try_from(ms).ok());
            took.into_iter().for_each(|ms| kind.given_up_ms.add(ms));
            if let Some(stage) = boot.failed_stage {
                *kind.broken.entry(stage).or_default() += 1;
            }
        }
        for (stage, ms) in kind.stages.iter_mut().zip(boot.stages) {
            ms.into_iter().for_each(|ms| stage.add(ms));
        }
        self.host(boot, share);
        if boot.vm_type == VmType::Browser {
            self.image(boot, share.rest());
        }
    }

    fn host(&mut self, boot: &BootFact<'_>, share: Share) {
        if let Some(host) = self.hosts.get_mut(boot.host) {
            return host.add(boot, share);
        }
        let mut host = HostTally::default();
        host.add(boot, share);
        self.hosts.insert(boot.host.to_owned(), host);
    }

    fn image(&mut self, boot: &BootFact<'_>, failed: Share) {
        let Some(image) = boot.image else { return };
        if let Some(tally) = self.images.get_mut(image) {
            tally.first = tally.first.min(boot.started_at);
            tally.failed += failed;
        } else if self.images.len() < MAX_IMAGES {
            let tally = ImageTally {
                first: boot.started_at,
                failed,
            };
            self.images.insert(image.to_owned(), tally);
        }
    }
}

//! What does not come from the log: the guest's console, and which golden image there was when a boot copied it.
//!
//! Neither decides anything. A console's mark gives the time of what the controller's own checks confirm: a stage ends
//! when an attempt shows it, and then by the console's clock if the mark lies where the stage does. Console news move no
//! event time: a guest that talks says nothing of how far the log was read.

use super::{Entry, Observation, Tracker};
use crate::core::console::{ConsoleEvidence, ConsoleNews, ConsoleSource, GuestMark, MarkSet, Seen};
use crate::core::event::{Stage, Timestamp, VmId, VmType};
use crate::core::image::Sighting;
use crate::core::lease::Slot;

/// Images that are remembered: a boot may have been copied from one before the present one.
const SIGHTINGS: usize = 8;
/// A line's stamp is in whole seconds.
const STAMP_MS: i64 = 1_000;

/// What says that the guest's network is there.
const NETWORK: [GuestMark; 3] = [
    GuestMark::IpConfigComplete,
    GuestMark::NetworkSetupComplete,
    GuestMark::NetworkOnline,
];

impl Tracker {
    /// Takes what a VM's console said. An ended boot's evidence grows, and is told again.
    pub fn console(&mut self, news: &ConsoleNews, out: &mut Vec<Observation>) {
        let Some(slot) = self.by_vm.get(&news.vm).copied() else {
            return;
        };
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        let evidence = entry.boot.console.get_or_insert_with(|| {
            let evidence = ConsoleEvidence::new(news.source);
            Box::new(evidence)
        });
        let before = evidence.clone();
        // A record's few words give way to the whole.
        if evidence.source == ConsoleSource::ExitRecord && news.source != evidence.source {
            **evidence = ConsoleEvidence::new(news.source);
        }
        for seen in &news.seen {
            evidence.take(*seen);
        }
        evidence.clock_ahead_ms = news.clock_ahead_ms.or(evidence.clock_ahead_ms);
        if let Some(end) = &news.end {
            if !end.marks.is_empty() {
                evidence.marks.clone_from(&end.marks);
            }
            evidence.tail = end.tail.clone();
            evidence.whole = end.whole;
        }
        if before != *evidence {
            self.evidence_grew(slot, out);
        }
    }

    /// What the controller quoted of the console when the process ended.
    pub(super) fn quoted(
        &mut self,
        vm: VmId,
        said: MarkSet,
        at: Timestamp,
        out: &mut Vec<Observation>,
    ) {
        let Some(slot) = self.by_vm.get(&vm).copied() else {
            return;
        };
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        let evidence = entry
            .boot
            .console
            .get_or_insert_with(|| Box::new(ConsoleEvidence::new(ConsoleSource::ExitRecord)));
        if evidence.source != ConsoleSource::ExitRecord {
            return;
        }
        let before = evidence.marks.len();
        for mark in said.iter() {
            if !evidence.has(mark) {
                evidence.take(Seen {
                    mark,
                    at,
                    uptime_ms: None,
                });
            }
        }
        if evidence.marks.len() > before {
            self.evidence_grew(slot, out);
        }
    }

    fn evidence_grew(&mut self, slot: Slot, out: &mut Vec<Observation>) {
        if let Some(entry) = self.entry(slot).filter(|entry| !entry.boot.is_open()) {
            let boot = self.handed_out(entry.boot.clone());
            out.push(Observation::BootEvidence(boot));
        }
    }

    /// When the console says that the network, or the agent, was there: of marks between two times, the first.
    pub(super) fn said_between(
        &self,
        slot: Slot,
        stage: Stage,
        from: Timestamp,
        to: Timestamp,
    ) -> Option<Timestamp> {
        let marks: &[GuestMark] = match stage {
            Stage::GuestNetwork => &NETWORK,
            Stage::AgentStart => &[GuestMark::AgentListening],
            _ => return None,
        };
        let evidence = self.entry(slot)?.boot.console.as_ref()?;
        // Only what was read as it was written has a time of its own.
        if evidence.source != ConsoleSource::Live {
            return None;
        }
        marks
            .iter()
            .filter_map(|mark| evidence.mark(*mark))
            .map(|marked| marked.first_at)
            .filter(|at| *at >= from && *at <= to)
            .min()
    }

    /// The golden image as it stands since `sighting.since`; boots that copied it are told apart by that. A file is called
    /// another one only once it stands, so quick boots of it may have ended by then: they are credited anew.
    pub fn image_sighted(&mut self, sighting: Sighting, out: &mut Vec<Observation>) {
        if self.sightings.back() == Some(&sighting) {
            return;
        }
        self.sightings.push_back(sighting.clone());
        if self.sightings.len() > SIGHTINGS {
            self.sightings.pop_front();
        }
        let open: Vec<Slot> = self.open.values().copied().collect();
        for slot in open {
            self.attribute_image(slot);
        }
        let ended: Vec<Slot> = self.ended.values().map(|(_, slot)| *slot).collect();
        for slot in ended {
            self.credit_late(slot, &sighting, out);
        }
    }

    /// Of a boot that has ended only what the sighting itself says is believed: what stood before may have been told to
    /// an earlier run.
    fn credit_late(&mut self, slot: Slot, sighting: &Sighting, out: &mut Vec<Observation>) {
        let is_its = |entry: &Entry| {
            let copied_at = entry.copied_at;
            entry.boot.kind() == VmType::Browser
                && copied_at.is_some_and(|at| sighting.since <= at.plus_ms(STAMP_MS))
                && sighting.image.is_some()
                && entry.boot.image != sighting.image
        };
        if !self.entry(slot).is_some_and(is_its) {
            return;
        }
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        let from = std::mem::replace(&mut entry.boot.image, sighting.image.clone());
        let credited = entry.boot.clone();
        let boot = self.handed_out(credited);
        out.push(Observation::BootCredited { boot, from });
    }

    /// The copy began, or may have.
    pub(super) fn copied_at(&mut self, slot: Slot, at: Timestamp) {
        if let Some(entry) = self.entry_mut(slot)
            && entry.copied_at.is_none()
        {
            entry.copied_at = Some(at);
            self.attribute_image(slot);
        }
    }

    fn attribute_image(&mut self, slot: Slot) {
        let Some((Some(copied_at), VmType::Browser)) = self
            .entry(slot)
            .map(|entry| (entry.copied_at, entry.boot.kind()))
        else {
            return;
        };
        let image = self
            .sightings
            .iter()
            .rev()
            .find(|sighting| sighting.since <= copied_at.plus_ms(STAMP_MS))
            .and_then(|sighting| sighting.image.clone());
        if let Some(entry) = self.entry_mut(slot) {
            entry.boot.image = image;
        }
    }
}

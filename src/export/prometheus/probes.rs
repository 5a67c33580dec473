//! Our own looks at VMs.

use ::prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use super::family::{Family, PROBE_SECONDS, SKEW_SECONDS};
use super::table::{Table, words};
use crate::core::event::{Origin, VmType};
use crate::core::probe::{Check, Look, Phase, ProbeResult};

#[derive(Debug)]
pub(super) struct Probes {
    probes: Table<IntCounterVec, 2>,
    duration: Table<HistogramVec, 3>,
    skew: Table<HistogramVec, 0>,
    sound: Table<IntGaugeVec, 0>,
    overrun: Table<IntCounterVec, 0>,
    late: Table<IntCounterVec, 2>,
}

impl Probes {
    pub(super) fn new(family: &Family<'_>) -> Probes {
        let checks = words(Check::ALL.iter().map(|check| check.as_str()));
        let phases = words(Phase::ALL.iter().map(|phase| phase.as_str()));
        let results = words(ProbeResult::ALL.iter().map(|result| result.as_str()));
        let vm_types = words(VmType::ALL.iter().map(|vm_type| vm_type.as_str()));
        let origins = words(Origin::ALL.iter().map(|origin| origin.as_str()));
        Probes {
            probes: Table::new(
                family.counter(
                    "probes_total",
                    "Checks of VMs by bootwatch itself, by how they ended; of negative, ok says that the port is closed.",
                    &["check", "result"],
                ),
                [checks.clone(), results.clone()],
            ),
            duration: Table::new(
                family.histogram(
                    "probe_duration_seconds",
                    "How long each phase of a check took; the result is the phase's, and all but the last ended ok.",
                    PROBE_SECONDS,
                    &["check", "phase", "result"],
                ),
                [checks, phases, results],
            ),
            skew: Table::new(
                family.histogram(
                    "probe_clock_skew_seconds",
                    "How far a guest's clock was off ours, ahead or behind.",
                    SKEW_SECONDS,
                    &[],
                ),
                [],
            ),
            sound: Table::new(
                family.gauge(
                    "prober_sound",
                    "1 while probes can tell something of VMs; 0 where the host's own network is away, or a port that \
                     must be closed is open.",
                    &[],
                ),
                [],
            ),
            overrun: Table::new(
                family.counter(
                    "probe_overruns_total",
                    "Looks at a VM that were let pass because the one before was still under way.",
                    &[],
                ),
                [],
            ),
            late: Table::new(
                family.counter(
                    "boots_late_total",
                    "Failed boots whose agent a probe found healthy after the controller had given up; boots_total has \
                     them under what the log saw.",
                    &["vm_type", "origin"],
                ),
                [vm_types, origins],
            ),
        }
    }

    pub(super) fn looked(&self, look: &Look) {
        for checked in &look.checks {
            let check = checked.check as usize;
            self.probes.at([check, checked.result as usize]).inc();
            for (phase, took, result) in checked.course() {
                self.duration
                    .at([check, phase as usize, result as usize])
                    .observe(took.as_secs_f64());
            }
            if let Some(skew) = checked.skew {
                let off = std::time::Duration::from_millis(skew.ms.unsigned_abs());
                self.skew.at([]).observe(off.as_secs_f64());
            }
        }
    }

    pub(super) fn sound(&self, sound: bool) {
        // Said only where VMs are looked at: there, what may come exists at zero.
        for origin in 0..Origin::ALL.len() {
            self.late.make([VmType::Browser as usize, origin]);
        }
        self.sound.at([]).set(sound.into());
    }

    pub(super) fn overrun(&self, looks: u64) {
        self.overrun.at([]).inc_by(looks);
    }

    pub(super) fn late(&self, vm_type: VmType, origin: Origin) {
        self.late.at([vm_type as usize, origin as usize]).inc();
    }
}

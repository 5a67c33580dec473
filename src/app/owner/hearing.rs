//! One observation through everything that hears of it, the same way whoever made the tracker say it.

use super::{Ended, Owner};
use crate::app::console::Consoles;
use crate::app::database::Existing;
use crate::app::gather::Gather;
use crate::app::image::Audited;
use crate::app::sight::Seen;
use crate::app::synthetic::Own;
use crate::controller::reader::Reader;
use crate::core::alert::{Effect, Engine};
use crate::core::boot::{Observation, Tracker};
use crate::core::desk::Desk;
use crate::core::diagnosis::{Homes, Looks, Signs};
use crate::core::event::{Event, Timestamp};
use crate::core::stall::{Stall, Stalls};
use crate::export::Recorder;

/// What makes observations.
pub(super) struct Apart<'a> {
    pub(super) reader: &'a mut Reader,
    pub(super) tracker: &'a mut Tracker,
    pub(super) existing: &'a mut Option<Existing>,
    pub(super) stalls: &'a mut Stalls,
    pub(super) seen: &'a mut Seen,
    pub(super) observations: &'a mut Vec<Observation>,
}

/// What hears of them.
pub(super) struct Hearing<'a> {
    desk: &'a Desk,
    engine: &'a mut Engine,
    consoles: Option<&'a Consoles>,
    own: Option<&'a mut Own>,
    image: &'a mut Audited,
    looks: &'a mut Looks,
    homes: &'a mut Homes,
    recorder: &'a Recorder,
    gather: &'a mut Gather,
    ended: &'a mut Ended,
    effects: &'a mut Vec<Effect>,
    now: Timestamp,
    /// It is no history.
    pub(super) live: bool,
}

impl Owner {
    /// Who makes observations, and who hears of them, so that both can work at once.
    pub(super) fn apart(&mut self) -> (Apart<'_>, Hearing<'_>) {
        let apart = Apart {
            reader: &mut self.reader,
            tracker: &mut self.tracker,
            existing: &mut self.existing,
            stalls: &mut self.stalls,
            seen: &mut self.seen,
            observations: &mut self.observations,
        };
        let hearing = Hearing {
            desk: &self.desk,
            engine: &mut self.engine,
            consoles: self.consoles.as_ref(),
            own: self.own.as_mut(),
            image: &mut self.image,
            looks: &mut self.looks,
            homes: &mut self.reach.homes,
            recorder: &self.recorder,
            gather: &mut self.gather,
            ended: &mut self.ended,
            effects: &mut self.effects,
            now: self.clock.now(),
            live: !self.log.history,
        };
        (apart, hearing)
    }
}

impl Hearing<'_> {
    /// What a record says to those who wait for more than boots.
    pub(super) fn log_says(&mut self, event: &Event<'_>) {
        if let Some(consoles) = self.consoles {
            consoles.log_says(&event.kind);
        }
        // A copy of the past is gone.
        if self.live {
            self.image.log_says(&event.kind);
        }
        if let Some(own) = &mut self.own {
            own.event(event);
        }
    }

    /// What the tracker says of our own account's boots.
    pub(super) fn trace(&mut self, observation: &Observation) {
        if let Some(own) = &mut self.own {
            own.observation(observation);
        }
    }

    pub(super) fn stalled(&mut self, stall: Stall) {
        self.engine.stalled(stall.from, stall.until, self.now);
        if self.live {
            self.recorder.stalled();
        }
    }

    /// What the log, the time or a look of ours made the tracker say.
    pub(super) fn hear(&mut self, observation: &Observation, existing: Option<&mut Existing>) {
        self.image.observe(observation);
        if let Some(consoles) = self.consoles {
            consoles.observe(observation);
        }
        let told = self.told_of(observation, existing.as_deref());
        self.count(observation, existing);
        if let Observation::BootEnded(boot) = observation
            && let Some(vm) = boot.vm
        {
            for signs in told {
                self.engine.learn(vm, signs, self.now, self.effects);
            }
        }
    }

    /// What anything made it say, rows too: of a boot that only they tell of nobody knows whether an agent was put into
    /// its image, and no console and no look of ours is its.
    pub(super) fn count(&mut self, observation: &Observation, existing: Option<&mut Existing>) {
        let maintenance = self.desk.sets_aside(observation);
        self.keep(observation, maintenance, existing);
        self.judge(observation, maintenance);
    }

    /// A boot's row as of its end, again when more of it is known, and once nothing of it changes any more.
    fn keep(
        &mut self,
        observation: &Observation,
        maintenance: bool,
        existing: Option<&mut Existing>,
    ) {
        if let Observation::BootEnded(boot)
        | Observation::BootAmended(boot)
        | Observation::BootEvidence(boot)
        | Observation::BootCompleted(boot)
        | Observation::BootCredited { boot, .. }
        | Observation::BootSettled(boot) = observation
        {
            self.gather.boot(boot, maintenance);
            if let Some(existing) = existing {
                existing.boot(boot);
            }
        }
        if matches!(observation, Observation::BootEnded(_)) {
            self.ended.boots_ended += 1;
        }
    }

    fn judge(&mut self, observation: &Observation, maintenance: bool) {
        // First: a scrape between the two must not see a boot that nothing is taken off for.
        if let (Observation::BootEnded(boot), true, true) = (observation, self.live, maintenance) {
            self.recorder.boot_in_maintenance(boot);
        }
        self.recorder.observe(observation, self.live);
        match (maintenance, self.live) {
            (true, _) => self.engine.observe_uncounted(observation),
            (false, true) => self.engine.observe(observation, self.now, self.effects),
            (false, false) => self.engine.observe_history(observation),
        }
    }

    /// What others than the log know of a boot that has ended: its row, our own looks, its copy of the image.
    fn told_of(&mut self, observation: &Observation, existing: Option<&Existing>) -> Vec<Signs> {
        let Observation::BootEnded(boot) = observation else {
            return Vec::new();
        };
        let row = boot.vm.and_then(|vm| existing?.inventory.vm(vm));
        let mut told = vec![self.homes.boot(boot, row)];
        if let Some(vm) = boot.vm {
            told.extend(self.looks.ended(vm, self.now));
            told.extend(self.image.ended(vm));
        }
        told
    }
}

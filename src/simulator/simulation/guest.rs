//! The guests' consoles and directories, where they are part of the play.
//!
//! Nothing here draws from the plan's chances or waits: a play with consoles has the same lines as one without.

use super::{Event, Happened, Simulation, Who};
use crate::core::event::{VmId, VmType};
use crate::simulator::console::{Guest, Stream, Times, script};
use crate::simulator::fate::Agent;
use crate::simulator::line::iso;

impl Simulation {
    pub(super) fn directory_made(&mut self, vm: VmId) {
        if self.plan.consoles {
            self.emit(Happened::DirectoryMade { vm });
        }
    }

    pub(super) fn files_opened(&mut self, vm: VmId) {
        if self.plan.consoles {
            self.emit(Happened::FilesOpened { vm });
        }
    }

    pub(super) fn vm_says(&mut self, vm: VmId, stream: Stream, text: &str) {
        if self.plan.consoles {
            let text = text.to_owned();
            self.emit(Happened::Said { vm, stream, text });
        }
    }

    pub(super) fn directory_removed(&mut self, vm: VmId) {
        if self.plan.consoles {
            let kept_as = self.is_dec().then(|| self.archive_name(vm));
            self.emit(Happened::DirectoryRemoved { vm, kept_as });
        }
    }

    pub(super) fn archive_name(&self, vm: VmId) -> String {
        let time = iso(self.now).replace([':', '.'], "-");
        format!("{vm}-console-{time}.log")
    }

    /// The guest begins to speak.
    pub(super) fn guest_starts(&mut self, who: &Who, agent: Agent, listens_at: Option<i64>) {
        if !self.plan.consoles {
            return;
        }
        let figures = &self.plan.figures;
        let network = self
            .world
            .machine(who.vm)
            .map_or(0, |machine| machine.network_at())
            .checked_sub(self.now)
            .filter(|after| *after < figures.wait_limit)
            .unwrap_or(figures.guest_network.1);
        let usual = network + (figures.agent.0 + figures.agent.1) / 2;
        let dies = who.fate.guest_dies;
        let decided = match who.vm_type {
            // The scenario is the browser VM's.
            VmType::Cli => None,
            // An image without the agent has no unit, whatever else was to go wrong with it.
            VmType::Browser if agent == Agent::Missing && who.fate.agent != agent => None,
            VmType::Browser => who.fate.guest,
        };
        let guest = decided.unwrap_or_else(|| Guest::of(who.vm_type, agent, dies.is_some()));
        let times = Times {
            began: self.now,
            network,
            agent: listens_at.map_or(usual, |at| at - self.now),
            death: dies,
            until: figures.wait_limit,
        };
        let lines = script(guest, who.ip, times);
        if let Some(machine) = self.world.machine_mut(who.vm) {
            machine.console = lines;
        }
        self.next_line(who.vm, 0, self.now);
    }

    pub(super) fn guest_says(&mut self, vm: VmId, line: usize) {
        let Some(machine) = self.world.machine(vm) else {
            return; // It is gone.
        };
        let Some(said) = machine.console.get(line) else {
            return;
        };
        let (text, began) = (said.text.clone(), machine.began);
        self.vm_says(vm, Stream::Console, &text);
        self.next_line(vm, line + 1, began);
    }

    fn next_line(&mut self, vm: VmId, line: usize, began: i64) {
        let next = self.world.machine(vm).and_then(|machine| {
            let said = machine.console.get(line)?;
            Some(began + said.after)
        });
        if let Some(at) = next {
            self.schedule(at, Event::GuestSays(vm, line));
        }
    }
}

//! The simulated VMs' directories: their consoles say what real guests say, and they go as the controller removes them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bootwatch::controller::console::ConsoleReader;
use bootwatch::core::console::{GuestMark, MarkSet};
use bootwatch::core::event::VmId;
use bootwatch::simulator::console::{Directories, Stream};
use bootwatch::simulator::player::Face;
use bootwatch::simulator::{Happened, Moment, Player, Simulation, Speed, Version};

use crate::simulator::{Lines, order, play, scenario, scenarios};

const QUOTED: &str = include_str!("../fixtures/shapes/console.txt");

fn quoted() -> BTreeSet<&'static str> {
    QUOTED
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("# "))
        .collect()
}

/// A line without its colours, numbers as `#`.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for part in text.chars() {
        match part {
            '0'..='9' if shape.ends_with('#') => {}
            '0'..='9' => shape.push('#'),
            other => shape.push(other),
        }
    }
    shape
}

/// Everything that a VM wrote, and what became of its directory.
#[derive(Default)]
struct Vm {
    console: String,
    errors: String,
    made: bool,
    removed: bool,
    kept_as: Option<String>,
}

#[derive(Default)]
struct Vms(BTreeMap<VmId, Vm>);

impl Face for Vms {
    fn show(&mut self, moment: &Moment) -> std::io::Result<()> {
        match &moment.what {
            Happened::DirectoryMade { vm } => self.0.entry(*vm).or_default().made = true,
            Happened::Said { vm, stream, text } => {
                let of_vm = self.0.entry(*vm).or_default();
                match stream {
                    Stream::Console => of_vm.console.push_str(text),
                    Stream::Errors => of_vm.errors.push_str(text),
                }
            }
            Happened::DirectoryRemoved { vm, kept_as } => {
                let of_vm = self.0.entry(*vm).or_default();
                of_vm.removed = true;
                of_vm.kept_as.clone_from(kept_as);
            }
            _ => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn consoles(name: &str, version: Version, boots: u32) -> Vms {
    let mut plan = scenario(name).plan(&order(7, version, boots));
    plan.consoles = true;
    let mut vms = Vms::default();
    Player::new(Speed::Max)
        .play(&mut Simulation::new(plan), &mut [&mut vms], &mut |_| Ok(()))
        .unwrap();
    vms
}

/// The lines of a console as a terminal shows them, and its marks.
fn read(text: &str) -> (Vec<String>, MarkSet) {
    let (mut lines, mut marks) = (Vec::new(), MarkSet::EMPTY);
    let mut reader = ConsoleReader::default();
    let mut sink = |line: bootwatch::controller::console::Line<'_>| {
        marks = marks.union(line.marks);
        if !line.pending {
            lines.push(line.text.to_owned());
        }
    };
    reader.push(text.as_bytes(), &mut sink);
    reader.finish(&mut sink);
    (lines, marks)
}

#[test]
fn every_line_of_a_console_is_one_that_real_guests_write() {
    let quoted = quoted();
    for version in [Version::Oct, Version::Dec] {
        for row in scenarios(version) {
            for vm in consoles(row.name, version, 6).0.values() {
                for text in [&vm.console, &vm.errors] {
                    for line in read(text).0 {
                        let shape = shape(&line);
                        let known = quoted.iter().any(|quoted| shape.contains(quoted));
                        assert!(known, "{}: {line}", row.name);
                    }
                }
            }
        }
    }
}

#[test]
fn a_console_agrees_with_what_its_boot_meets() {
    use GuestMark as M;
    for (name, has, lacks) in [
        (
            "healthy",
            vec![M::LoginPrompt, M::AgentUnitStarted, M::AgentListening],
            vec![],
        ),
        (
            "agent-missing",
            vec![M::LoginPrompt, M::IpConfigComplete],
            vec![M::AgentUnitStarted],
        ),
        (
            "network-down",
            vec![M::InterfaceSeen, M::LoginPrompt],
            vec![M::IpConfigComplete],
        ),
        (
            "guest-panic",
            vec![M::KernelStarted, M::KernelPanic],
            vec![M::LoginPrompt],
        ),
    ] {
        let mut seen = 0;
        let mut plan = scenario(name).plan(&order(7, Version::Oct, 4));
        plan.consoles = true;
        let mut simulation = Simulation::new(plan);
        let (mut vms, mut browsers) = (Vms::default(), BTreeSet::new());
        Player::new(Speed::Max)
            .play(&mut simulation, &mut [&mut vms], &mut |truth| {
                if truth.vm_type.as_str() == "browser" {
                    browsers.extend(truth.vm_id);
                }
                Ok(())
            })
            .unwrap();
        for (_, vm) in vms.0.iter().filter(|(vm, _)| browsers.contains(vm)) {
            let marks = read(&vm.console).1;
            for mark in &has {
                assert!(marks.contains(*mark), "{name}: {mark} in {}", vm.console);
            }
            for mark in &lacks {
                assert!(!marks.contains(*mark), "{name}: {mark} in {}", vm.console);
            }
            assert!(vm.made && vm.removed, "{name}");
            seen += 1;
        }
        assert!(seen > 0, "{name}");
    }
}

#[test]
fn consoles_change_no_line_of_the_log() {
    for version in [Version::Oct, Version::Dec] {
        let (without, _) = play(scenario("mixed"), &order(3, version, 40));
        let mut plan = scenario("mixed").plan(&order(3, version, 40));
        plan.consoles = true;
        let mut lines = Lines::default();
        Player::new(Speed::Max)
            .play(&mut Simulation::new(plan), &mut [&mut lines], &mut |_| {
                Ok(())
            })
            .unwrap();
        assert!(lines.0 == without, "the same bytes");
    }
}

#[test]
fn directories_go_and_only_decembers_consoles_are_kept() {
    for (version, kept) in [(Version::Oct, false), (Version::Dec, true)] {
        let folder = tempfile::tempdir().unwrap();
        let (users, archive) = (folder.path().join("users"), folder.path().join("archive"));
        let mut plan = scenario("agent-missing").plan(&order(7, version, 3));
        plan.consoles = true;
        let mut directories = Directories::open(&users, Some(&archive)).unwrap();
        let mut vms = Vms::default();
        let faces: &mut [&mut dyn Face] = &mut [&mut directories, &mut vms];
        Player::new(Speed::Max)
            .play(&mut Simulation::new(plan), faces, &mut |_| Ok(()))
            .unwrap();
        let names = |path: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(path).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        };
        let left: Vec<String> = names(&users);
        for (vm, of_vm) in &vms.0 {
            assert_eq!(left.contains(&vm.to_string()), !of_vm.removed);
            assert_eq!(of_vm.kept_as.is_some(), kept && of_vm.removed);
            if let Some(name) = of_vm.kept_as.as_ref().filter(|_| !of_vm.console.is_empty()) {
                let copy = std::fs::read_to_string(archive.join(name)).unwrap();
                assert_eq!(copy, of_vm.console);
            }
        }
        assert!(vms.0.values().any(|vm| vm.removed));
    }
}

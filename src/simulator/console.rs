//! What a guest writes to its serial console while it boots, and the VM directories that it is written to.
//!
//! A script is a table: for each way in which a guest comes up, what its console says and when, in the words of real
//! guests (`tests/fixtures/shapes/console.txt` is the independent list). The moments are the simulation's, so that the
//! console agrees with what the health checks meet.
//!
//! `Directories` is the face: a folder a VM with `console.log` and `firecracker-error.log`, there from the copy of the
//! image until the controller destroys the VM. Later controllers copy the console away before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::fate::Agent;
use super::line::iso;
use super::player::Face;
use super::simulation::{Happened, Moment};
use crate::core::event::{VmId, VmType};

/// How a guest comes up, as its console tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guest {
    /// Network, prompt, unit, agent.
    Usual,
    /// All but the unit: the image has no agent, or nothing starts it.
    NoUnit,
    /// The unit is started again and again, and what it runs is not there.
    UnitCannotRun,
    /// The unit waits for `network-online.target`, which never comes.
    WaitsForNetwork,
    /// The unit is started and its supervisor script dies without a word.
    SupervisorDies,
    /// The supervisor starts an agent that dies again and again.
    AgentDies,
    /// The agent cannot bind its port, and its process lives on.
    PortTaken,
    /// The guest has a network device and no address.
    NoAddress,
    /// The image has no driver: there is no network device.
    NoDriver,
    /// The kernel cannot do DMA with the device, though it has an address.
    NoDma,
    /// Packets leave and none come back.
    NoGateway,
    /// Too little memory: the kernel panics.
    OutOfMemory,
    /// The kernel finds no root device and panics.
    NoRootDevice,
    /// The file system is damaged, and the kernel panics.
    Damaged,
}

impl Guest {
    pub const ALL: &'static [Guest] = &[
        Guest::Usual,
        Guest::NoUnit,
        Guest::UnitCannotRun,
        Guest::WaitsForNetwork,
        Guest::SupervisorDies,
        Guest::AgentDies,
        Guest::PortTaken,
        Guest::NoAddress,
        Guest::NoDriver,
        Guest::NoDma,
        Guest::NoGateway,
        Guest::OutOfMemory,
        Guest::NoRootDevice,
        Guest::Damaged,
    ];

    /// What a guest's console looks like where only its agent's behaviour is known.
    pub(crate) fn of(vm_type: VmType, agent: Agent, dies: bool) -> Guest {
        match (vm_type, agent) {
            (VmType::Cli, _) => Guest::NoUnit,
            (VmType::Browser, Agent::Missing) if dies => Guest::OutOfMemory,
            (VmType::Browser, Agent::Missing) => Guest::NoUnit,
            (VmType::Browser, Agent::CrashLoops) => Guest::AgentDies,
            (VmType::Browser, Agent::NoNetwork) => Guest::NoAddress,
            (VmType::Browser, _) => Guest::Usual,
        }
    }

    /// The kernel does not live to start anything.
    fn panics(self) -> bool {
        matches!(
            self,
            Guest::OutOfMemory | Guest::NoRootDevice | Guest::Damaged
        )
    }
}

/// When things happen in a guest, in milliseconds since Firecracker started it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The simulated time of the start.
    pub(crate) began: i64,
    pub(crate) network: i64,
    /// When the agent listens, or would.
    pub(crate) agent: i64,
    /// When the guest dies, if it does.
    pub(crate) death: Option<i64>,
    /// Repeated lines come until then.
    pub(crate) until: i64,
}

/// One line of a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) after: i64,
    pub(crate) text: String,
}

/// What the console says, in order.
pub(crate) fn script(guest: Guest, ip: std::net::Ipv4Addr, times: Times) -> Vec<Said> {
    let mut said = Vec::new();
    let mut say = |after: i64, text: String| {
        said.push(Said {
            after,
            text: text + "\r\n",
        });
    };
    let kernel = |after: i64, text: &str| {
        let micros = after * 1_000 + 345;
        format!(
            "[{:>5}.{:06}] {text}",
            micros / 1_000_000,
            micros % 1_000_000
        )
    };
    let green = |text: &str| format!("[\x1b[0;32m  OK  \x1b[0m] {text}");
    let red = |text: &str| format!("[\x1b[0;1;31mFAILED\x1b[0m] {text}");
    let network = times.network.min(times.agent);
    let between = |share: i64| network + (times.agent - network) * share / 100;

    say(0, "[    0.000000] Linux version 5.10.0 (guest)".to_owned());
    if guest.panics() {
        // The last words are out before the process is.
        let death = times.death.unwrap_or(times.agent) - 100;
        let lines: &[&str] = match guest {
            Guest::NoRootDevice => &[
                "VFS: Cannot open root device \"vda\" or unknown-block(0,0): error -6",
                "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(254,0)",
            ],
            Guest::Damaged => &[
                "EXT4-fs error (device vda): ext4_dirblock_csum_verify:377: inode #2: comm systemd: No space for directory leaf checksum",
                "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000007",
            ],
            _ => &[
                "Out of memory and no killable processes...",
                "Kernel panic - not syncing: System is deadlocked on memory",
            ],
        };
        for text in lines {
            say(death, kernel(death, text));
        }
        return said;
    }
    if guest != Guest::NoDriver {
        let up = kernel(network / 2, &format!("virtio_net eth0: up {ip}"));
        say(network / 2, up);
    }
    if guest == Guest::NoDma {
        let text = "virtio_net virtio0: Failed to enable 64-bit or 32-bit DMA.  Trying to continue, but this might not work.";
        say(network / 2, kernel(network / 2, text));
    }
    match guest {
        Guest::NoAddress => {}
        Guest::NoDriver => say(
            network,
            kernel(network, "IP-Config: No network devices available"),
        ),
        _ => say(network, kernel(network, "IP-Config: Complete:")),
    }
    let root = "VFS: Mounted root (ext4 filesystem) readonly on device 254:0.";
    say(network, kernel(network, root));
    say(
        between(20),
        green("Reached target \x1b[0;1;39mNetwork\x1b[0m."),
    );
    match guest {
        Guest::NoAddress | Guest::NoDriver => {}
        Guest::NoGateway => say(between(25), "Gateway ping failed".to_owned()),
        _ => say(between(25), "Network setup complete".to_owned()),
    }
    let started = green("Started \x1b[0;1;39mVM Browser Services\x1b[0m.");
    match guest {
        Guest::NoUnit | Guest::WaitsForNetwork => {}
        _ => say(between(60), started.clone()),
    }
    say(
        between(80),
        "\r\nUbuntu 22.04.3 LTS vm ttyS0\r\n\r\nvm login: ".to_owned(),
    );
    // The unit's own restarts, and the supervisor's, come every five seconds.
    let again = (1..).map(|n| between(80) + n * 5_000);
    let again = again.take_while(|at| *at < times.until);
    match guest {
        Guest::Usual | Guest::NoDma | Guest::NoGateway => {
            let at = iso(times.began + times.agent);
            let line = format!(
                "{{\"level\":\"info\",\"msg\":\"VM Browser Agent started\",\"port\":8080,\"vmIP\":\"{ip}\",\"timestamp\":\"{at}\"}}"
            );
            say(times.agent, line);
        }
        Guest::PortTaken => {
            let line = "{\"level\":\"error\",\"msg\":\"HTTP server error\",\"error\":\"listen EADDRINUSE: address already in use 0.0.0.0:8080\"}";
            say(times.agent, line.to_owned());
        }
        Guest::UnitCannotRun => {
            for at in again {
                say(
                    at,
                    red("Failed to start \x1b[0;1;39mVM Browser Services\x1b[0m."),
                );
                say(at, started.clone());
            }
        }
        Guest::AgentDies => {
            for (n, at) in again.enumerate() {
                let pid = 412 + n;
                say(
                    at,
                    format!("[SUPERVISOR] OAuth agent died (PID {pid}), restarting..."),
                );
            }
        }
        _ => {}
    }
    said
}

/// What dies with Firecracker, on its error output.
pub(crate) const TRIPLE_FAULT: &str = "vcpu 0: KVM_EXIT_SHUTDOWN: unexpected triple fault\n";

/// Which of a VM's two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Console,
    Errors,
}

impl Stream {
    fn file(self) -> &'static str {
        match self {
            Stream::Console => "console.log",
            Stream::Errors => "firecracker-error.log",
        }
    }
}

/// The VMs' directories on a disk.
#[derive(Debug)]
pub struct Directories {
    users: PathBuf,
    archive: Option<PathBuf>,
}

impl Directories {
    /// Directories below `users`, which is made if it is not there.
    ///
    /// # Errors
    /// The folders cannot be made.
    pub fn open(users: &Path, archive: Option<&Path>) -> io::Result<Directories> {
        fs::create_dir_all(users)?;
        if let Some(archive) = archive {
            fs::create_dir_all(archive)?;
        }
        Ok(Directories {
            users: users.to_owned(),
            archive: archive.map(Path::to_owned),
        })
    }

    fn path(&self, vm: VmId) -> PathBuf {
        self.users.join(vm.to_string())
    }

    fn append(&self, vm: VmId, stream: Stream, text: &str) -> io::Result<()> {
        let path = self.path(vm).join(stream.file());
        match OpenOptions::new().append(true).open(&path) {
            Ok(mut file) => file.write_all(text.as_bytes()),
            // Destroyed meanwhile: the guest writes into a file that has no name any more.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Face for Directories {
    fn show(&mut self, moment: &Moment) -> io::Result<()> {
        match &moment.what {
            Happened::DirectoryMade { vm } => fs::create_dir_all(self.path(*vm)),
            Happened::FilesOpened { vm } => {
                for stream in [Stream::Console, Stream::Errors] {
                    File::create(self.path(*vm).join(stream.file()))?;
                }
                Ok(())
            }
            Happened::Said { vm, stream, text } => self.append(*vm, *stream, text),
            Happened::DirectoryRemoved { vm, kept_as } => {
                let path = self.path(*vm);
                if let (Some(archive), Some(name)) = (&self.archive, kept_as) {
                    match fs::copy(path.join(Stream::Console.file()), archive.join(name)) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                }
                match fs::remove_dir_all(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

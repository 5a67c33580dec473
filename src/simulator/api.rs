//! The API face: the controller's HTTP interface, as far as a synthetic boot uses it, on a real socket.
//!
//! A request that comes in is an event of the same world: it opens a session, boots a VM, writes lines and rows, as a
//! boot of the world's own traffic does. What it is answered is a moment like any other. The server is one thread a
//! connection; each waits for the moment that bears its ticket. If the controller dies first, the connection closes
//! without a word, as a real one's would.

mod server;

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::player::Face;
use super::scenario::Scenario;
use super::simulation::{Happened, Moment};
use server::Server;

/// How the interface behaves beyond its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// As its version does.
    Usual,
    /// Every answer takes this long, in milliseconds.
    Slow(i64),
    /// So few requests a window of that many milliseconds.
    Limited(u32, i64),
    /// The request to start is answered with an error text of the controller's own, before any VM.
    Broken,
    /// The request to start is answered with a redirect to an address that is no controller's.
    RedirectsStart,
    /// A cancellation is answered with success, and nothing is destroyed.
    CancelsNothing,
    /// The answers and the session's row name an address that is no VM's.
    NamesForeignAddress,
    /// The session's row is never given VM and address, whatever the answers from memory say.
    EmptyFields,
}

/// The habits by name, for the command line.
pub const HABITS: &[(&str, Habit, &str)] = &[
    ("usual", Habit::Usual, "as the version does"),
    (
        "slow",
        Habit::Slow(4_000),
        "every answer takes four seconds",
    ),
    (
        "limited",
        Habit::Limited(12, 60_000),
        "twelve requests a minute, then 429",
    ),
    (
        "broken",
        Habit::Broken,
        "a request to start is answered with 500",
    ),
    (
        "redirect-start",
        Habit::RedirectsStart,
        "a request to start is sent elsewhere with 302",
    ),
    (
        "cancels-nothing",
        Habit::CancelsNothing,
        "a cancellation destroys nothing",
    ),
    (
        "foreign-address",
        Habit::NamesForeignAddress,
        "answers and rows name an address that is no VM's",
    ),
    (
        "empty-fields",
        Habit::EmptyFields,
        "a session's row never names VM and address",
    ),
];

/// What the interface of a simulated controller is to be.
#[derive(Clone, Debug)]
pub struct ApiPlan {
    /// Accounts that only the interface uses; each has a CLI VM.
    pub accounts: Vec<u128>,
    /// What boots meet that are asked for here.
    pub scenario: &'static Scenario,
    pub habit: Habit,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Start { user: String, provider: String },
    Session(String),
    Cancel(String),
    Vms { undestroyed: bool },
    Health,
    Ping,
    Unknown,
}

/// A request on its way into the world.
#[derive(Clone, Debug)]
pub struct Asked {
    pub ticket: u64,
    pub method: &'static str,
    /// As it stands in the request, which is what the controller logs.
    pub url: String,
    pub request: Request,
}

/// What a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// The interface on a socket: a face that shows answers, and the inbox of what is asked.
#[derive(Debug)]
pub struct Api {
    server: Server,
    inbox: Receiver<Asked>,
}

impl Api {
    pub fn bind(address: SocketAddr) -> io::Result<(Api, SocketAddr)> {
        let (server, inbox) = Server::start(address)?;
        let address = server.address();
        Ok((Api { server, inbox }, address))
    }

    /// Apart, because whoever plays asks the one while it shows the other.
    #[must_use]
    pub fn split(self) -> (ApiFace, Inbox) {
        (ApiFace(self.server), Inbox(self.inbox))
    }
}

/// Shows answers to those who wait for them.
#[derive(Debug)]
pub struct ApiFace(Server);

/// What clients ask.
#[derive(Debug)]
pub struct Inbox(Receiver<Asked>);

impl Inbox {
    /// The next request, waited for as long as that.
    pub fn next(&self, wait: Duration) -> Option<Asked> {
        match self.0.recv_timeout(wait) {
            Ok(asked) => Some(asked),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(wait);
                None
            }
        }
    }
}

impl Face for ApiFace {
    fn show(&mut self, moment: &Moment) -> io::Result<()> {
        match &moment.what {
            Happened::Answered { ticket, response } => self.0.answer(*ticket, response.clone()),
            // What an earlier process was asked it will never answer.
            Happened::Opens => self.0.drop_all(),
            _ => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! A master-controller that behaves like the real one, for the demo and the tests.
//!
//! One world model and its faces. `Simulation` is pure: it plays a `Plan` in its own time and yields moments, the same
//! for the same plan at any speed. The faces show them: `LogFiles` and `Console` write the lines as winston does,
//! `Tables` writes the rows that the lines tell of, `Agents` puts real servers on the VMs' loopback addresses,
//! `Directories` writes their consoles, `Api` takes requests as the controller does. `Player` decides when. Beside the
//! moments stands the
//! `Truth` of each boot.
//!
//! It is no parody: the controller's worse habits are all here, because they are what a reader must survive.

pub mod agent;
pub mod api;
pub mod console;
pub mod fate;
pub mod line;
pub mod log;
pub mod plan;
pub mod player;
mod random;
pub mod scenario;
pub mod shapes;
pub mod simulation;
pub mod tables;
pub mod truth;
mod vnc;
mod world;

pub use agent::{Agents, Display};
pub use api::{Api, ApiPlan, HABITS, Habit};
pub use console::Directories;
pub use log::{Console, LogFiles};
pub use plan::{Figures, Happening, Injection, Phase, Plan, Version};
pub use player::{Player, Speed};
pub use scenario::{Order, Scenario};
pub use simulation::{Happened, Moment, Simulation};
pub use tables::{Schema, TableOp, Tables};
pub use truth::Truth;

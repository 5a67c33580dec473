//! All that knows the master-controller's words: how its log is framed and what its messages mean.
//!
//! If the controller changes a message, this room alone changes. Everything here is pure: bytes in, events out.

mod catalogue;
pub mod clock;
pub mod console;
pub mod decode;
pub mod excerpt;
pub mod fields;
pub mod framing;
pub mod journal;
pub mod reader;
pub mod shapes;
pub mod tables;

//! Over OTLP, to a receiver that decodes with the protocol's official types: what arrives, and what a receiver that is
//! slow, silent, wrong or away does to the sidecar.

mod faults;
mod limits;
pub(crate) mod receiver;
pub(crate) mod secure;
mod settings;
mod traces;

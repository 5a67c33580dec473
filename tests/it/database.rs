//! The database watch on a real PostgreSQL (and on SQLite, the demo's): what it sees, and what it does when the database
//! hides, hangs or goes away.

mod faults;
pub(crate) mod grants;
mod layouts;
mod reading;
mod watched;

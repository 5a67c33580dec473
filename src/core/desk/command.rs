//! What operators may say, and what is answered.

use super::matcher::Matcher;
use super::silence::{LONGEST_MS, SHORTEST_MS};
use crate::core::event::Timestamp;

/// An author, in characters.
pub const MOST_AUTHOR: usize = 64;
/// A reason or a note, in characters.
const MOST_TEXT: usize = 500;
pub(super) const MOST_MATCHERS: usize = 16;
/// Silences, or maintenances, that have not ended.
pub(super) const MOST_OPEN: usize = 200;
/// A maintenance that somebody starts by hand.
pub const LONGEST_MAINTENANCE_MS: i64 = 7 * 86_400_000;

#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    AddSilence {
        matchers: Vec<Matcher>,
        author: String,
        reason: String,
        /// `None`: now.
        starts_at: Option<Timestamp>,
        lasts_ms: i64,
    },
    ExpireSilence {
        id: u64,
        author: String,
    },
    /// `incident`: its key, or the beginning of it where that is enough.
    Acknowledge {
        incident: String,
        author: String,
        note: String,
    },
    StartMaintenance {
        author: String,
        reason: String,
        lasts_ms: i64,
    },
    EndMaintenance {
        id: u64,
        author: String,
    },
    /// Something was fixed just now: the boots from here on prove it, or do not.
    MarkFix {
        author: String,
        note: String,
    },
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    Silenced(u64),
    Expired(u64),
    /// The incident's whole key.
    Acknowledged(String),
    MaintenanceStarted(u64),
    MaintenanceEnded(u64),
    FixMarked(u64),
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{field}: {why}")]
    Invalid {
        field: &'static str,
        why: &'static str,
    },
    /// A silence of what cannot be.
    #[error("matchers: {0}")]
    Misspelt(String),
    #[error("there is no {0} of that name that has not ended")]
    Unknown(&'static str),
    #[error("more than one incident begins with that; write more of its key")]
    Ambiguous,
    #[error("too many {0} are open; end some first")]
    Full(&'static str),
}

/// One act of an operator, as the record keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub at: Timestamp,
    /// `silence`, `expire`, `acknowledge`, `maintenance`, `maintenance_end` or `fix`.
    pub action: &'static str,
    /// A number, or an incident's key.
    pub subject: String,
    pub author: String,
    pub reason: String,
    pub starts_at: Option<Timestamp>,
    pub ends_at: Option<Timestamp>,
}

impl Command {
    /// Whether all of it is within bounds.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), Refused> {
        match self {
            Command::AddSilence {
                matchers,
                author,
                reason,
                starts_at,
                lasts_ms,
            } => {
                author_is_sound(author)?;
                reason_is_sound(reason)?;
                matchers_are_sound(matchers)?;
                if !(SHORTEST_MS..=LONGEST_MS).contains(lasts_ms) {
                    return Err(Refused::Invalid {
                        field: "expires_in",
                        why: "a silence lasts from 1m to 30d",
                    });
                }
                let latest = now.plus_ms(LONGEST_MS);
                if starts_at.is_some_and(|at| at > latest) {
                    return Err(Refused::Invalid {
                        field: "starts_at",
                        why: "a silence begins within 30d",
                    });
                }
                Ok(())
            }
            Command::ExpireSilence { author, .. } | Command::EndMaintenance { author, .. } => {
                author_is_sound(author)
            }
            Command::Acknowledge { author, note, .. } => {
                author_is_sound(author)?;
                match is_line(note, MOST_TEXT) || note.is_empty() {
                    true => Ok(()),
                    false => Err(Refused::Invalid {
                        field: "note",
                        why: "write one line of at most 500 characters",
                    }),
                }
            }
            Command::MarkFix { author, note } => {
                author_is_sound(author)?;
                match is_line(note, MOST_TEXT) {
                    true => Ok(()),
                    false => Err(Refused::Invalid {
                        field: "note",
                        why: "say what was fixed, in one line of at most 500 characters",
                    }),
                }
            }
            Command::StartMaintenance {
                author,
                reason,
                lasts_ms,
            } => {
                author_is_sound(author)?;
                reason_is_sound(reason)?;
                if !(SHORTEST_MS..=LONGEST_MAINTENANCE_MS).contains(lasts_ms) {
                    return Err(Refused::Invalid {
                        field: "for",
                        why: "a maintenance lasts from 1m to 7d",
                    });
                }
                Ok(())
            }
        }
    }
}

fn author_is_sound(author: &str) -> Result<(), Refused> {
    match is_line(author, MOST_AUTHOR) {
        true => Ok(()),
        false => Err(Refused::Invalid {
            field: "author",
            why: "say who you are, in one line of at most 64 characters",
        }),
    }
}

fn reason_is_sound(reason: &str) -> Result<(), Refused> {
    match is_line(reason, MOST_TEXT) {
        true => Ok(()),
        false => Err(Refused::Invalid {
            field: "reason",
            why: "say why, in one line of at most 500 characters",
        }),
    }
}

/// Whether an alert could be what these say, and not any.
pub fn matchers_are_sound(matchers: &[Matcher]) -> Result<(), Refused> {
    let why = match matchers.len() {
        0 => "name at least one, such as rule=BootFailureRate",
        1..=MOST_MATCHERS if matchers.iter().all(Matcher::takes_nothing) => {
            "they only say what an alert is not, which silences everything; add one that says what it is"
        }
        1..=MOST_MATCHERS => {
            let misspelt = matchers.iter().find_map(Matcher::misspelt);
            return misspelt.map_or(Ok(()), |said| Err(Refused::Misspelt(said)));
        }
        _ => "write at most 16",
    };
    Err(Refused::Invalid {
        field: "matchers",
        why,
    })
}

/// One line that says something, without what moves a terminal or turns the direction of writing.
fn is_line(text: &str, most: usize) -> bool {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    !text.trim().is_empty() && text.chars().nth(most).is_none() && !text.contains(odd)
}

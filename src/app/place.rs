//! How far the log was read, whichever kind of log it is.

use serde::{Deserialize, Serialize};

use crate::source::journal::JournalCheckpoint;
use crate::source::tail::{self, Checkpoint};

/// Where the next run goes on. The store keeps it as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    File(Checkpoint),
    Journal(JournalCheckpoint),
}

/// What a source says, with places of either kind.
pub(super) type SourceEvent = tail::TailEvent<Place>;

impl From<Checkpoint> for Place {
    fn from(checkpoint: Checkpoint) -> Place {
        Place::File(checkpoint)
    }
}

impl Place {
    pub(super) fn file(self) -> Option<Checkpoint> {
        match self {
            Place::File(checkpoint) => Some(checkpoint),
            Place::Journal(_) => None,
        }
    }

    pub(super) fn journal(self) -> Option<JournalCheckpoint> {
        match self {
            Place::Journal(checkpoint) => Some(checkpoint),
            Place::File(_) => None,
        }
    }
}

//! What a notification says beside its incident: what operators did about it, and why it comes now.

use serde::{Deserialize, Serialize};

use super::{Cause, Subject};
use crate::core::event::Timestamp;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Remarks {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledged>,
    /// It comes late, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldBack>,
    /// Why a maintenance is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<String>,
    /// It stands for many incidents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The silence that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<SilenceEnds>,
    /// Nothing happened: somebody tries out what would.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_drill: bool,
}

/// Who has taken an incident upon himself; it ends with the incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    pub author: String,
    pub at: Timestamp,
    #[serde(default)]
    pub note: String,
}

/// Why a notification was not sent when it was due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeldBack {
    /// By this silence.
    Silenced {
        id: u64,
        author: String,
        reason: String,
    },
    /// Another incident, of this key, is its cause.
    Inhibited { by: String },
    /// It waits whether its cause shows itself.
    Waiting,
    /// Too many at once: it is told in a digest.
    Storm,
}

impl HeldBack {
    pub const WORDS: &'static [&'static str] = &["silenced", "inhibited", "waiting", "storm"];

    /// The label `reason` of metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            HeldBack::Silenced { .. } => "silenced",
            HeldBack::Inhibited { .. } => "inhibited",
            HeldBack::Waiting => "waiting",
            HeldBack::Storm => "storm",
        }
    }
}

/// Many incidents, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    pub firing: u32,
    pub resolved: u32,
    /// The firing ones by what they are about and cause, most first; what is left out is in `others`.
    pub causes: Vec<(Subject, Cause, u32)>,
    pub others: u32,
}

/// A silence whose end is near while something it silences still fires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceEnds {
    pub id: u64,
    pub author: String,
    pub reason: String,
    pub ends_at: Timestamp,
}

impl Remarks {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Remarks::default()
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference over"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

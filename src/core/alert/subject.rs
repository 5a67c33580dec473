//! What an alert is about, and what it is put down to.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::condition::Condition;
use crate::core::event::{Failure, VmType};
use crate::core::slowness::Slowness;

/// What an alert is about: the boots of one kind of VM, or the host as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    Boots(VmType),
    Host,
}

impl Subject {
    pub const ALL: &'static [Subject] = &[
        Subject::Boots(VmType::Browser),
        Subject::Boots(VmType::Cli),
        Subject::Host,
    ];

    /// One word: the kind of VM, or `host`. It is part of saved keys and of an incident's key.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Subject::Boots(vm_type) => vm_type.as_str(),
            Subject::Host => "host",
        }
    }

    #[must_use]
    pub fn from_word(word: &str) -> Option<Subject> {
        Subject::ALL
            .iter()
            .copied()
            .find(|subject| subject.as_str() == word)
    }

    /// The kind of VM whose boots it is about.
    #[must_use]
    pub fn vm_type(self) -> Option<VmType> {
        match self {
            Subject::Boots(vm_type) => Some(vm_type),
            Subject::Host => None,
        }
    }
}

impl From<VmType> for Subject {
    fn from(vm_type: VmType) -> Subject {
        Subject::Boots(vm_type)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Subject {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let word = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Self::from_word(&word).ok_or_else(|| serde::de::Error::custom("unknown Subject"))
    }
}

/// What an incident is put down to. The words of all kinds are distinct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cause {
    /// What most of the bad boots died of.
    Failure(Failure),
    /// What holds now, whatever boots do.
    Condition(Condition),
    /// Boots are ready, and later than they were.
    Slowness(Slowness),
}

impl Cause {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Failure(failure) => failure.as_str(),
            Cause::Condition(condition) => condition.as_str(),
            Cause::Slowness(slowness) => slowness.as_str(),
        }
    }

    /// What it means, as the end of a sentence.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Cause::Failure(failure) => failure.meaning(),
            Cause::Condition(condition) => condition.meaning(),
            Cause::Slowness(slowness) => slowness.meaning(),
        }
    }

    /// The class of the boots' failure, if it is one.
    #[must_use]
    pub fn failure(self) -> Option<Failure> {
        match self {
            Cause::Failure(failure) => Some(failure),
            Cause::Condition(_) | Cause::Slowness(_) => None,
        }
    }
}

impl From<Failure> for Cause {
    fn from(failure: Failure) -> Cause {
        Cause::Failure(failure)
    }
}

impl From<Condition> for Cause {
    fn from(condition: Condition) -> Cause {
        Cause::Condition(condition)
    }
}

impl From<Slowness> for Cause {
    fn from(slowness: Slowness) -> Cause {
        Cause::Slowness(slowness)
    }
}

impl PartialEq<Failure> for Cause {
    fn eq(&self, failure: &Failure) -> bool {
        self.failure() == Some(*failure)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_means_both_a_failure_and_a_condition() {
        for failure in Failure::ALL {
            assert_eq!(Condition::from_word(failure.as_str()), None);
            assert_eq!(Slowness::from_word(failure.as_str()), None);
        }
        for subject in Subject::ALL {
            assert_eq!(Subject::from_word(subject.as_str()), Some(*subject));
        }
    }
}

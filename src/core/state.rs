//! How things stand, in one word with its cause: what the first page says before anything else.
//!
//! ```text
//!   unknown      the log cannot be read, is behind, or nothing ended for a day: green would be a guess
//!   down         an incident wakes somebody, and most boots of a kind fail
//!   maintenance  somebody works on it; boots count neither for nor against
//!   degraded     an incident is open that is not `down`
//!   ok           none of these
//! ```
//!
//! The first that holds is the state. Blindness comes first, since what was last known may be over; maintenance comes
//! behind `down`, since planned work must not hide that nobody gets a VM. Pure: the same look and time give the same
//! word; whoever shows it asks again with a later `now`, and a look that grows old becomes `unknown` by itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::alert::{Incident, Subject};
use crate::core::event::{Timestamp, words};
use crate::core::rule::{Said, Severity, Stretch};

words! {
    /// The word.
    State {
        Ok = "ok",
        Degraded = "degraded",
        Down = "down",
        Unknown = "unknown",
        Maintenance = "maintenance",
    }
}

words! {
    /// What the log, a table, a file is to the watch.
    Weight {
        /// Without it nothing is known of boots.
        Decides = "decides",
        /// It adds evidence.
        Adds = "adds",
    }
}

/// After so many intervals without a look, what was seen is no longer what is.
pub const STALE_INTERVALS: i64 = 3;
/// The shell looks so often.
pub const LOOK_MS: i64 = 1_000;
/// Without a boot for so long nobody knows whether one would be ready.
pub const QUIET_MS: i64 = 24 * 3_600_000;
/// From this share of failed boots on, a kind of VM is down.
const DOWN_SHARE: f64 = 0.5;

/// Something that is looked at again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    pub name: String,
    pub weight: Weight,
    pub every_ms: i64,
    /// When it was last seen whole: read to its end, answered, audited.
    pub seen_at: Option<Timestamp>,
    /// The time of the newest thing in it.
    pub newest_at: Option<Timestamp>,
    /// What it says of itself, in a few words.
    pub note: String,
}

impl Source {
    /// What was seen is no longer what is.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        is_old(self.seen_at, self.every_ms, now)
    }
}

fn is_old(seen_at: Option<Timestamp>, every_ms: i64, now: Timestamp) -> bool {
    seen_at.is_none_or(|at| now.since(at) > every_ms.saturating_mul(STALE_INTERVALS))
}

/// What the word is made of.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// When it was taken.
    pub at: Option<Timestamp>,
    pub sources: &'a [Source],
    pub incidents: &'a [&'a Incident],
    /// Since when somebody works on it.
    pub maintenance: Option<Timestamp>,
    /// When the newest boot that counted ended; `None`: there was none.
    pub last_boot: Option<Timestamp>,
}

/// Why the state is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    Well,
    /// The incident of this key.
    Incident(String),
    /// This source was not seen for too long.
    Blind(String),
    /// Nobody looks any more.
    Hung,
    /// No boot for a day.
    Quiet,
    Maintenance,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub state: State,
    pub because: Because,
    /// `None`: always, as far as is known.
    pub since: Option<Timestamp>,
}

/// How things stand at `now`.
#[must_use]
pub fn judge(look: &Look<'_>, now: Timestamp) -> Verdict {
    let verdict = |state, because, since| Verdict {
        state,
        because,
        since,
    };
    if is_old(look.at, LOOK_MS, now) {
        return verdict(State::Unknown, Because::Hung, look.at);
    }
    let blind = look
        .sources
        .iter()
        .find(|source| source.weight == Weight::Decides && source.is_stale(now));
    if let Some(source) = blind {
        let because = Because::Blind(source.name.clone());
        return verdict(State::Unknown, because, source.seen_at);
    }
    let of = |incident: &Incident| Because::Incident(incident.key.clone());
    let mut incidents: Vec<&Incident> = look.incidents.to_vec();
    // The one that wakes somebody first, then the oldest.
    incidents.sort_by_key(|incident| (!is_down(incident), incident.severity(), incident.fired_at));
    let worst = incidents.first();
    if let Some(worst) = worst.filter(|incident| is_down(incident)) {
        return verdict(State::Down, of(worst), Some(worst.first_bad_at));
    }
    if let Some(since) = look.maintenance {
        return verdict(State::Maintenance, Because::Maintenance, Some(since));
    }
    if let Some(worst) = worst {
        return verdict(State::Degraded, of(worst), Some(worst.first_bad_at));
    }
    match look.last_boot {
        Some(at) if now.since(at) <= QUIET_MS => verdict(State::Ok, Because::Well, None),
        last => verdict(State::Unknown, Because::Quiet, last),
    }
}

/// It wakes somebody, and most boots of its kind fail.
fn is_down(incident: &Incident) -> bool {
    if incident.severity() != Severity::Page || incident.subject == Subject::Host {
        return false;
    }
    incident.members.iter().any(|member| {
        let Said::Boots(reading) = member.reading else {
            return false;
        };
        let in_a_row = matches!(reading.stretch, Stretch::Last(_)) && reading.count.share() >= 1.0;
        member.resolved_at.is_none() && (in_a_row || reading.count.share() >= DOWN_SHARE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::alert::Member;
    use crate::core::rule::{Reading, RuleName};
    use crate::core::window::Count;

    const NOW: Timestamp = Timestamp(1_760_781_730_000);

    fn log(age_ms: i64) -> Source {
        Source {
            name: "log".to_owned(),
            weight: Weight::Decides,
            every_ms: 5_000,
            seen_at: Some(NOW.plus_ms(-age_ms)),
            newest_at: None,
            note: String::new(),
        }
    }

    fn incident(rule: RuleName, bad: u32, of: u32) -> Incident {
        let mut incident = Incident::test("host-1", NOW.plus_ms(-60_000), false);
        incident.members = vec![Member {
            rule,
            severity: rule.severity(),
            fired_at: NOW.plus_ms(-60_000),
            resolved_at: None,
            since: None,
            reading: Said::Boots(Reading {
                bad: true,
                count: Count { bad, of },
                stretch: Stretch::Last(of),
                ..Reading::of_nothing()
            }),
        }];
        incident
    }

    struct Seen {
        age_ms: i64,
        looked_ms: i64,
        incidents: Vec<Incident>,
        maintenance: bool,
        boot_ms: Option<i64>,
    }

    impl Seen {
        fn well() -> Seen {
            Seen {
                age_ms: 0,
                looked_ms: 500,
                incidents: Vec::new(),
                maintenance: false,
                boot_ms: Some(60_000),
            }
        }

        fn judged(&self) -> Verdict {
            let incidents: Vec<&Incident> = self.incidents.iter().collect();
            let look = Look {
                at: Some(NOW.plus_ms(-self.looked_ms)),
                sources: &[log(self.age_ms)],
                incidents: &incidents,
                maintenance: self.maintenance.then(|| NOW.plus_ms(-1_000)),
                last_boot: self.boot_ms.map(|ms| NOW.plus_ms(-ms)),
            };
            judge(&look, NOW)
        }
    }

    #[test]
    fn each_word_has_its_cause_and_the_first_that_holds_is_the_state() {
        let down = || incident(RuleName::BootFailureRate, 3, 3);
        let some = || incident(RuleName::BootFailureRate, 5, 20);
        let slow = || incident(RuleName::BootStageSlow, 5, 20);
        let well = Seen::well;
        for (what, seen, state) in [
            ("all well", well(), State::Ok),
            (
                "three of three",
                Seen {
                    incidents: vec![down()],
                    ..well()
                },
                State::Down,
            ),
            (
                "some fail",
                Seen {
                    incidents: vec![some()],
                    ..well()
                },
                State::Degraded,
            ),
            (
                "slower",
                Seen {
                    incidents: vec![slow()],
                    ..well()
                },
                State::Degraded,
            ),
            (
                "the worst counts",
                Seen {
                    incidents: vec![slow(), down()],
                    ..well()
                },
                State::Down,
            ),
            (
                "planned work",
                Seen {
                    maintenance: true,
                    ..well()
                },
                State::Maintenance,
            ),
            (
                "it hides what is slow",
                Seen {
                    maintenance: true,
                    incidents: vec![slow()],
                    ..well()
                },
                State::Maintenance,
            ),
            (
                "and not what is down",
                Seen {
                    maintenance: true,
                    incidents: vec![down()],
                    ..well()
                },
                State::Down,
            ),
            (
                "no boot for a day",
                Seen {
                    boot_ms: Some(QUIET_MS + 1),
                    ..well()
                },
                State::Unknown,
            ),
            (
                "no boot ever",
                Seen {
                    boot_ms: None,
                    ..well()
                },
                State::Unknown,
            ),
            (
                "three intervals are young",
                Seen {
                    age_ms: 15_000,
                    ..well()
                },
                State::Ok,
            ),
            (
                "more are old",
                Seen {
                    age_ms: 15_001,
                    incidents: vec![down()],
                    ..well()
                },
                State::Unknown,
            ),
            (
                "nobody looks",
                Seen {
                    looked_ms: 3_001,
                    ..well()
                },
                State::Unknown,
            ),
        ] {
            assert_eq!(seen.judged().state, state, "{what}");
        }
    }

    #[test]
    fn a_state_says_since_when_and_why() {
        let down = incident(RuleName::BootFailureRate, 3, 3);
        let (key, since) = (down.key.clone(), down.first_bad_at);
        let seen = Seen {
            incidents: vec![down],
            ..Seen::well()
        };
        let verdict = seen.judged();
        assert_eq!(verdict.because, Because::Incident(key));
        assert_eq!(verdict.since, Some(since));
        let blind = Seen {
            age_ms: 20_000,
            ..Seen::well()
        };
        assert_eq!(blind.judged().because, Because::Blind("log".to_owned()));
        assert_eq!(blind.judged().since, Some(NOW.plus_ms(-20_000)));
    }

    #[test]
    fn a_source_that_only_adds_evidence_blinds_nobody() {
        let image = Source {
            weight: Weight::Adds,
            ..log(1_000_000)
        };
        let look = Look {
            at: Some(NOW),
            sources: &[log(0), image],
            incidents: &[],
            maintenance: None,
            last_boot: Some(NOW),
        };
        assert_eq!(judge(&look, NOW).state, State::Ok);
    }
}

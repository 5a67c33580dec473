//! One alert's state: inactive, pending, firing, clearing, and whether it flaps.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::judge::JudgedBy;
use crate::core::event::Timestamp;
use crate::core::window::Settled;

/// So many changes within `FLAP_SPAN_MS` are flapping.
const FLAP_CHANGES: usize = 4;
const FLAP_SPAN_MS: i64 = 30 * 60_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    #[default]
    Inactive,
    /// `since` is in the time of what is judged: event time for boots.
    Pending { since: Timestamp },
    /// `clear_since` is the shell's clock.
    Firing {
        fired_at: Timestamp,
        clear_since: Option<Timestamp>,
    },
}

/// What a rule says at a moment, as far as the state goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) bad: bool,
    pub(super) recovered: bool,
    /// How much of what is judged is bad.
    pub(super) share: f64,
    /// The time that `for` is counted in.
    pub(super) at: Timestamp,
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    pub(super) for_ms: i64,
    pub(super) keep_firing_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    Pending,
    Inactive,
    Fired,
    Resolved,
    /// It fired once too often: held open from here on.
    Flapping,
}

/// Good boots without a bad one between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GoodRun {
    pub(super) boots: u64,
    /// When the first of them ended.
    pub(super) since: Timestamp,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct AlertState {
    phase: Phase,
    /// Boots up to here belong to what was resolved.
    settled: Settled,
    /// The worst share of bad boots while firing.
    worst: f64,
    /// How many boots its kind had had when it fired.
    boots_before: u64,
    /// The present run of good boots, of those since it fired: it can be longer than what the window holds.
    #[serde(default)]
    good: Option<GoodRun>,
    /// When it fired and resolved lately.
    changes: VecDeque<Timestamp>,
    /// Held open until this long without a change.
    flapping_until: Option<Timestamp>,
    /// What it was judged by when an attempt was last taken into account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    judged_by: Option<JudgedBy>,
}

impl Transition {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Transition::Pending => "pending",
            Transition::Inactive => "inactive",
            Transition::Fired => "firing",
            Transition::Resolved => "resolved",
            Transition::Flapping => "flapping",
        }
    }
}

impl AlertState {
    pub(super) fn is_firing(&self) -> bool {
        matches!(self.phase, Phase::Firing { .. })
    }

    /// Pending or firing: what happens next may change it.
    pub(super) fn is_active(&self) -> bool {
        self.phase != Phase::Inactive
    }

    pub(super) fn is_pending(&self) -> bool {
        matches!(self.phase, Phase::Pending { .. })
    }

    pub(super) fn fired_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Firing { fired_at, .. } => Some(fired_at),
            Phase::Inactive | Phase::Pending { .. } => None,
        }
    }

    pub(super) fn is_flapping(&self) -> bool {
        self.flapping_until.is_some()
    }

    pub(super) fn settled(&self) -> Settled {
        self.settled
    }

    pub(super) fn settle(&mut self, settled: Settled) {
        self.settled = settled;
    }

    /// The shell's clock was set back while nobody ran: what it never showed has not been yet.
    pub(super) fn not_after(&mut self, now: Timestamp) {
        if let Phase::Firing {
            fired_at,
            clear_since,
        } = &mut self.phase
        {
            *fired_at = now.min(*fired_at);
            *clear_since = clear_since.map(|since| since.min(now));
        }
        for at in &mut self.changes {
            *at = now.min(*at);
        }
        let latest = now.plus_ms(FLAP_SPAN_MS);
        self.flapping_until = self.flapping_until.map(|until| until.min(latest));
    }

    /// Since when it is pending.
    pub(super) fn pending(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Pending { since } => Some(since),
            Phase::Inactive | Phase::Firing { .. } => None,
        }
    }

    /// Since when it has been clear.
    pub(super) fn clear_since(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Firing { clear_since, .. } => clear_since,
            Phase::Inactive | Phase::Pending { .. } => None,
        }
    }

    /// Nobody looked for a while: what is pending begins anew.
    pub(super) fn pending_since(&mut self, now: Timestamp) {
        if let Phase::Pending { since } = &mut self.phase {
            *since = now;
        }
    }

    /// Whether it has been judged by something else so far.
    pub(super) fn is_news(&mut self, by: JudgedBy) -> bool {
        self.judged_by.replace(by) != Some(by)
    }

    /// What it was judged by says something else now.
    pub(super) fn judge_anew(&mut self) {
        self.judged_by = None;
    }

    pub(super) fn worst(&self) -> f64 {
        self.worst
    }

    /// It fired when its kind had had so many boots.
    pub(super) fn fired_after(&mut self, boots: u64) {
        self.boots_before = boots;
    }

    /// A boot that ended while it was firing.
    pub(super) fn boot_ended(&mut self, bad: bool, at: Timestamp) {
        self.good = match (bad, self.good) {
            (true, _) => None,
            (false, None) => Some(GoodRun {
                boots: 1,
                since: at,
            }),
            (false, Some(run)) => Some(GoodRun {
                boots: run.boots + 1,
                ..run
            }),
        };
    }

    pub(super) fn good(&self) -> Option<GoodRun> {
        self.good
    }

    /// Of `boots` ever, those since it fired.
    pub(super) fn boots_since(&self, boots: u64) -> u64 {
        boots.saturating_sub(self.boots_before)
    }

    /// When time alone changes this alert.
    pub(super) fn next_due(&self, keep_firing_ms: i64) -> Option<Timestamp> {
        match self.phase {
            Phase::Firing {
                clear_since: Some(since),
                ..
            } => Some(
                since
                    .plus_ms(keep_firing_ms)
                    .max(self.flapping_until.unwrap_or(Timestamp::MIN)),
            ),
            Phase::Firing { .. } | Phase::Inactive | Phase::Pending { .. } => None,
        }
    }

    /// Takes what is seen. `now` is the shell's clock. What was written while nobody ran is not read to its end yet
    /// when `catching_up`: it may say that it is bad again.
    pub(super) fn step(
        &mut self,
        seen: Seen,
        waits: Waits,
        now: Timestamp,
        blind: bool,
        catching_up: bool,
    ) -> Option<Transition> {
        match self.phase {
            Phase::Inactive if seen.bad => {
                if waits.for_ms > 0 {
                    self.phase = Phase::Pending { since: seen.at };
                    return Some(Transition::Pending);
                }
                Some(self.fire(seen.share, now))
            }
            Phase::Inactive => None,
            Phase::Pending { since } => {
                if seen.bad {
                    return (seen.at.since(since) >= waits.for_ms)
                        .then(|| self.fire(seen.share, now));
                }
                if blind {
                    return None;
                }
                self.phase = Phase::Inactive;
                Some(Transition::Inactive)
            }
            Phase::Firing {
                fired_at,
                clear_since,
            } => {
                if seen.bad {
                    self.worst = self.worst.max(seen.share);
                }
                if seen.bad && !seen.recovered && self.flapping_until.is_some() {
                    self.flapping_until = Some(now.plus_ms(FLAP_SPAN_MS));
                }
                // A run of good boots that ends the fault outweighs what the window still holds of it; what cannot be
                // seen has not recovered.
                let clear_since = (seen.recovered && !blind).then(|| clear_since.unwrap_or(now));
                self.phase = Phase::Firing {
                    fired_at,
                    clear_since,
                };
                let since = clear_since?;
                let held = self.flapping_until.is_some_and(|until| now < until);
                if held || catching_up || now.since(since) < waits.keep_firing_ms {
                    return None;
                }
                self.phase = Phase::Inactive;
                self.worst = 0.0;
                self.flapping_until = None;
                self.changed(now);
                Some(Transition::Resolved)
            }
        }
    }

    fn fire(&mut self, share: f64, now: Timestamp) -> Transition {
        self.phase = Phase::Firing {
            fired_at: now,
            clear_since: None,
        };
        self.worst = share;
        self.good = None;
        self.changed(now);
        if self.changes.len() > FLAP_CHANGES {
            self.flapping_until = Some(now.plus_ms(FLAP_SPAN_MS));
            return Transition::Flapping;
        }
        Transition::Fired
    }

    fn changed(&mut self, now: Timestamp) {
        self.changes.push_back(now);
        while self
            .changes
            .front()
            .is_some_and(|at| now.since(*at) > FLAP_SPAN_MS)
        {
            self.changes.pop_front();
        }
    }
}

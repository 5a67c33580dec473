//! What the alert engine would have said over a log of the past.

use crate::core::alert::{
    AlertChanged, Cause, Effect, Engine, Incident, Notification, Settings, Subject,
};
use crate::core::boot::Observation;
use crate::core::event::Timestamp;
use crate::core::rule::RuleName;

/// One alert of an incident that is over, or was not when the log ended.
#[derive(Clone, Debug)]
pub(super) struct FiredAlert {
    pub(super) rule: RuleName,
    pub(super) incident: Incident,
    pub(super) fired_at: Timestamp,
    pub(super) resolved_at: Option<Timestamp>,
}

impl FiredAlert {
    /// One sentence: what is wrong, and the count that says so.
    pub(super) fn summary(&self) -> String {
        let Incident {
            subject,
            cause,
            members,
            ..
        } = &self.incident;
        let count = members
            .iter()
            .find(|member| member.rule == self.rule)
            .and_then(|member| member.reading.boots());
        let figures = count.map_or_else(String::new, |reading| {
            format!(
                ": {} of {} boots ({})",
                reading.count.bad, reading.count.of, reading.stretch
            )
        });
        let what = match cause {
            Cause::Slowness(_) => "are slower",
            Cause::Failure(_) | Cause::Condition(_) => "fail",
        };
        format!("{subject} boots {what}, {}{figures}", cause.meaning())
    }
}

/// The engine on the log's own time.
pub(super) struct Alerts {
    engine: Engine,
    effects: Vec<Effect>,
    fired: Vec<FiredAlert>,
    sent: Vec<Notification>,
    now: Timestamp,
}

impl Alerts {
    pub(super) fn new(settings: Settings) -> Alerts {
        Alerts {
            engine: Engine::new(settings),
            effects: Vec::new(),
            fired: Vec::new(),
            sent: Vec::new(),
            now: Timestamp::MIN,
        }
    }

    pub(super) fn observe(&mut self, observation: &Observation) {
        self.take(observation, true);
    }

    /// The same; `counts` is whether it speaks for or against anything.
    pub(super) fn take(&mut self, observation: &Observation, counts: bool) {
        let at = match observation {
            Observation::BootEnded(boot) => boot.ended_at.unwrap_or(boot.started_at),
            Observation::AttemptEnded(attempt) => attempt.at,
            _ => return,
        };
        self.now = self.now.max(at);
        // What time alone would have changed before this.
        while let Some(due) = self.engine.next_due().filter(|due| *due <= self.now) {
            self.engine.tick(due, &mut self.effects);
            self.apply();
            if self.engine.next_due() == Some(due) {
                break;
            }
        }
        match counts {
            true => self
                .engine
                .observe(observation, self.now, &mut self.effects),
            false => self.engine.observe_uncounted(observation),
        }
        self.apply();
    }

    fn apply(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Notify(notification) => {
                    self.sent.push(*notification);
                }
                Effect::AlertChanged(change) => self.changed(&change),
            }
        }
    }

    fn changed(&mut self, change: &AlertChanged) {
        match change.to {
            "firing" | "flapping" => {
                let incident = self
                    .engine
                    .incidents()
                    .find(|incident| holds(incident, change.rule, change.subject));
                if let Some(incident) = incident {
                    self.fired.push(FiredAlert {
                        rule: change.rule,
                        incident: incident.clone(),
                        fired_at: change.at,
                        resolved_at: None,
                    });
                }
            }
            "resolved" => {
                let open = self.fired.iter_mut().rev().find(|alert| {
                    alert.rule == change.rule
                        && alert.incident.subject == change.subject
                        && alert.resolved_at.is_none()
                });
                if let Some(alert) = open {
                    alert.resolved_at = Some(change.at);
                }
            }
            _ => {}
        }
    }

    /// Every alert that fired, in order. The log has ended, and nothing more is known.
    pub(super) fn finish(self) -> Vec<FiredAlert> {
        self.fired
    }

    /// The alerts and every notification that would have been sent.
    pub(super) fn finish_with_notifications(self) -> (Vec<FiredAlert>, Vec<Notification>) {
        (self.fired, self.sent)
    }
}

fn holds(incident: &Incident, rule: RuleName, subject: Subject) -> bool {
    incident.subject == subject
        && incident
            .members
            .iter()
            .any(|member| member.rule == rule && member.resolved_at.is_none())
}

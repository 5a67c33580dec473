//! What operators want, what became of messages, and what the desk wants done about both.

use std::sync::Arc;

use super::Owner;
use crate::app::keeper::{Answering, Feedback};
use crate::core::desk::{self, Desk};
use crate::web::{Answer, Ask};

impl Owner {
    /// Does what an operator wants; he is answered when it is on the disk.
    pub(super) fn asked(&mut self, ask: Ask) {
        let now = self.clock.now();
        let Ask {
            command,
            answer: to,
        } = ask;
        let marked = match &command {
            desk::Command::MarkFix { author, note } => Some((author.clone(), note.clone())),
            _ => None,
        };
        let mut done = None;
        self.at_desk(|desk, out| done = Some(desk.command(command, now, out)));
        match done {
            Some(Err(refused)) => {
                let answer = Answer {
                    done: Err(refused),
                    saved: true,
                };
                // Who has gone away wants no answer.
                drop(to.send(answer));
            }
            Some(Ok(done)) => {
                if let Some((author, note)) = marked {
                    let waiting = self.engine.fix_marked(&author, &note, now);
                    tracing::info!(incidents = waiting, "a fix was marked");
                    self.gather.incidents_changed();
                }
                self.gather.answer(Answering { done: Ok(done), to });
            }
            None => {}
        }
    }

    pub(super) fn heard(&mut self, feedback: Feedback) {
        match feedback {
            Feedback::Delivered { incident } => {
                self.desk.delivered(&incident, self.clock.now());
                self.gather.touched();
            }
            Feedback::Dead {
                channel,
                incident,
                outcome,
            } => {
                tracing::error!(
                    channel,
                    incident,
                    outcome = outcome.as_str(),
                    "nobody was told by this channel"
                );
                self.desk.given_up(&incident);
                self.gather.touched();
            }
        }
    }

    /// Lets the desk work, and does what it wants.
    pub(super) fn at_desk(&mut self, work: impl FnOnce(&mut Desk, &mut Vec<desk::Effect>)) {
        let mut effects = Vec::new();
        work(&mut self.desk, &mut effects);
        for effect in effects {
            match effect {
                desk::Effect::Send(mut notification) => {
                    if notification.is_told_again() {
                        let key = &notification.incident.key;
                        let present = self.engine.as_of(key, self.clock.now());
                        notification.incident = present.unwrap_or(notification.incident);
                    }
                    self.ended.notifications += 1;
                    self.gather.notify(Arc::new(*notification));
                }
                desk::Effect::Held { incident, why } => {
                    tracing::info!(incident, why = why.as_str(), "a notification is held back");
                    self.recorder.held(why.as_str());
                }
                desk::Effect::Noted(operation) => {
                    tracing::info!(
                        action = operation.action,
                        subject = operation.subject,
                        author = operation.author,
                        reason = operation.reason,
                        "an operator acted"
                    );
                    self.gather.operation(operation);
                }
            }
        }
        self.gather.touched();
        self.operators_due = true;
    }
}

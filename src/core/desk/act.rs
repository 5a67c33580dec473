//! What operators do, done.

use super::command::{self, Command, Done, Operation, Refused};
use super::keep::Place;
use super::{Desk, Effect, Maintenance, Silence};
use crate::core::alert::{Acknowledged, Kind, Notification, Reason};
use crate::core::event::Timestamp;

impl Desk {
    /// Does what an operator says, or nothing of it.
    pub fn command(
        &mut self,
        command: Command,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) -> Result<Done, Refused> {
        command.check(now)?;
        let (done, operation) = match command {
            Command::AddSilence {
                matchers,
                author,
                reason,
                starts_at,
                lasts_ms,
            } => {
                let open = self.silences.values().filter(|one| !one.has_ended(now));
                if open.count() >= command::MOST_OPEN {
                    return Err(Refused::Full("silences"));
                }
                let id = self.next_id();
                let starts_at = starts_at.unwrap_or(now).max(now);
                let silence = Silence {
                    id,
                    matchers,
                    author,
                    reason,
                    created_at: now,
                    starts_at,
                    ends_at: starts_at.plus_ms(lasts_ms),
                    expired_by: None,
                    noticed: false,
                };
                let noted = noted(now, "silence", id, &silence.author, &silence.reason)
                    .over(silence.starts_at, silence.ends_at);
                self.touched.mark(Place::Silence(id));
                self.silences.insert(id, silence);
                (Done::Silenced(id), noted)
            }
            Command::ExpireSilence { id, author } => {
                let silence = self.silences.get_mut(&id);
                let silence = silence.filter(|one| !one.has_ended(now));
                let silence = silence.ok_or(Refused::Unknown("silence"))?;
                silence.starts_at = silence.starts_at.min(now);
                silence.ends_at = now;
                silence.expired_by = Some(author.clone());
                self.touched.mark(Place::Silence(id));
                (Done::Expired(id), noted(now, "expire", id, &author, ""))
            }
            Command::Acknowledge {
                incident,
                author,
                note,
            } => self.acknowledge(&incident, author, note, now, out)?,
            Command::StartMaintenance {
                author,
                reason,
                lasts_ms,
            } => {
                let open = self.maintenance.values().filter(|one| one.ends_at > now);
                if open.count() >= command::MOST_OPEN {
                    return Err(Refused::Full("maintenances"));
                }
                let id = self.next_id();
                let one = Maintenance {
                    id,
                    author,
                    reason,
                    starts_at: now,
                    ends_at: now.plus_ms(lasts_ms),
                    ended_by: None,
                };
                let noted = noted(now, "maintenance", id, &one.author, &one.reason)
                    .over(one.starts_at, one.ends_at);
                self.touched.mark(Place::Maintenance(id));
                self.maintenance.insert(id, one);
                (Done::MaintenanceStarted(id), noted)
            }
            Command::MarkFix { author, note } => {
                let id = self.next_id();
                (Done::FixMarked(id), noted(now, "fix", id, &author, &note))
            }
            Command::EndMaintenance { id, author } => {
                let one = self.maintenance.get_mut(&id);
                let one = one.filter(|one| one.ends_at > now);
                let one = one.ok_or(Refused::Unknown("maintenance"))?;
                one.ends_at = now;
                one.ended_by = Some(author.clone());
                self.touched.mark(Place::Maintenance(id));
                let noted = noted(now, "maintenance_end", id, &author, "");
                (Done::MaintenanceEnded(id), noted)
            }
        };
        out.push(Effect::Noted(operation));
        self.tick(now, out);
        Ok(done)
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn acknowledge(
        &mut self,
        incident: &str,
        author: String,
        note: String,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) -> Result<(Done, Operation), Refused> {
        let known = self.told.keys();
        let mut named = known.filter(|key| *key == incident || key.starts_with(incident));
        let found = named.next().filter(|_| incident.len() >= 4).cloned();
        let key = found.ok_or(Refused::Unknown("incident"))?;
        if key != incident && named.next().is_some() {
            return Err(Refused::Ambiguous);
        }
        let operation = noted(now, "acknowledge", &key, &author, &note);
        let Some(told) = self.told.get_mut(&key) else {
            return Err(Refused::Unknown("incident"));
        };
        told.acknowledged = Some(Acknowledged {
            author,
            at: now,
            note,
        });
        self.touched.mark(Place::Told(key.clone()));
        if told.sent {
            let notice = Notification {
                kind: Kind::Update,
                reason: Reason::Acknowledged,
                at: now,
                ..told.latest.clone()
            };
            let notice = self.remarked(notice, &key, None, now);
            out.push(Effect::Send(Box::new(notice)));
        }
        Ok((Done::Acknowledged(key), operation))
    }
}

fn noted(
    at: Timestamp,
    action: &'static str,
    subject: impl ToString,
    author: &str,
    reason: &str,
) -> Operation {
    Operation {
        at,
        action,
        subject: subject.to_string(),
        author: author.to_owned(),
        reason: reason.to_owned(),
        starts_at: None,
        ends_at: None,
    }
}

impl Operation {
    fn over(self, starts_at: Timestamp, ends_at: Timestamp) -> Operation {
        Operation {
            starts_at: Some(starts_at),
            ends_at: Some(ends_at),
            ..self
        }
    }
}

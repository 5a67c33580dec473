//! What was handed over and is not committed yet: merged by what it is about, so that an outage of the store keeps one
//! value of each thing and not one of each change.

use std::collections::HashMap;

use crate::core::event::Timestamp;
use crate::store::{Batch, Mark, MessageState, NewMessage, Tried};

/// Boots kept while the store cannot be written: weeks of them. Beyond it the oldest go, and it is said.
const MAX_BOOTS: usize = 20_000;

/// A message and the number by which its outcome is told.
#[derive(Debug)]
pub(super) struct Ticketed {
    pub(super) ticket: u64,
    pub(super) message: NewMessage,
}

#[derive(Debug, Default)]
pub(super) struct Pending {
    batch: Batch,
    /// Of the batch's messages, in their order.
    tickets: Vec<u64>,
    /// Messages that are committed with the next batch that is added, and not before: they follow from it.
    held: Vec<Ticketed>,
}

/// What is being committed.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) batch: Batch,
    pub(super) tickets: Vec<u64>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    pub(super) fn boots(&self) -> usize {
        self.batch.boots.len()
    }

    pub(super) fn add(&mut self, newer: Batch, messages: Vec<Ticketed>) {
        if self.batch.is_empty() {
            self.batch = newer;
        } else if !newer.is_empty() {
            let older = std::mem::take(&mut self.batch);
            self.batch = merged(older, newer);
        }
        let held = std::mem::take(&mut self.held);
        for Ticketed { ticket, message } in held.into_iter().chain(messages) {
            self.tickets.push(ticket);
            self.batch.outbox.push(message);
        }
    }

    /// That an incident was shown, unless that is to be written already.
    pub(super) fn add_shown(&mut self, shown: Ticketed) {
        let new = &shown.message;
        let same = |one: &NewMessage| {
            one.payload == new.payload
                && one.incident == new.incident
                && one.receiver == new.receiver
        };
        if !self.batch.outbox.iter().any(same) {
            // What is held follows from a batch that is still to come.
            self.tickets.push(shown.ticket);
            self.batch.outbox.push(shown.message);
        }
    }

    pub(super) fn hold(&mut self, messages: Vec<Ticketed>) {
        self.held.extend(messages);
    }

    /// Adds what was handed over while this could not be touched; whether something can be committed by it.
    pub(super) fn follow(&mut self, later: &mut Pending) -> bool {
        let Pending {
            mut batch,
            tickets,
            held,
        } = std::mem::take(later);
        let more = !batch.is_empty();
        if more {
            let messages = tickets.into_iter().zip(std::mem::take(&mut batch.outbox));
            let messages = messages.map(|(ticket, message)| Ticketed { ticket, message });
            self.add(batch, messages.collect());
        }
        self.hold(held);
        more
    }

    /// Messages that were made before all those that wait.
    pub(super) fn add_older(&mut self, messages: Vec<Ticketed>) {
        let newer = std::mem::take(&mut self.batch.outbox);
        let tickets = std::mem::take(&mut self.tickets);
        for Ticketed { ticket, message } in messages {
            self.tickets.push(ticket);
            self.batch.outbox.push(message);
        }
        self.tickets.extend(tickets);
        self.batch.outbox.extend(newer);
    }

    /// However often a message is tried while nothing can be written, one mark says it.
    pub(super) fn mark(&mut self, mark: Mark) {
        if let Mark::Tried { id, tried } = &mark {
            let known = self.batch.marks.iter_mut().find_map(|known| match known {
                Mark::Tried { id: same, tried } if same == id => Some(tried),
                _ => None,
            });
            if let Some(known) = known {
                known.add(tried.clone());
                return;
            }
        }
        self.batch.marks.push(mark);
    }

    /// A message was tried that is not in the store yet: it will be there as one that was, and that has ended if `end`
    /// says how.
    pub(super) fn tried(
        &mut self,
        ticket: u64,
        tried: Tried,
        end: Option<(MessageState, Timestamp)>,
    ) {
        let place = self.tickets.iter().position(|known| *known == ticket);
        let message = match place {
            Some(place) => self.batch.outbox.get_mut(place),
            None => self
                .held
                .iter_mut()
                .find(|held| held.ticket == ticket)
                .map(|held| &mut held.message),
        };
        let Some(message) = message else { return };
        message.tried.add(tried);
        if let Some((state, at)) = end {
            message.state = state;
            message.ended_at = Some(at);
        }
    }

    pub(super) fn take(&mut self) -> Taken {
        Taken {
            batch: std::mem::take(&mut self.batch),
            tickets: std::mem::take(&mut self.tickets),
        }
    }

    /// It was not committed. Nothing was added meanwhile: what is handed over is put by until it is.
    pub(super) fn put_back(&mut self, taken: Taken) {
        self.batch = taken.batch;
        self.tickets = taken.tickets;
    }

    pub(super) fn forget_state(&mut self) {
        self.batch.state.clear();
        self.batch.forgotten.clear();
        // They were of the old file.
        self.batch.marks.clear();
    }
}

fn merged(older: Batch, newer: Batch) -> Batch {
    let mut state: Vec<_> = older.state;
    let forgotten = |kind: &str| newer.forgotten.contains(&kind);
    state.retain(|change| !forgotten(change.kind));
    let mut all_forgotten = older.forgotten;
    all_forgotten.extend(
        newer
            .forgotten
            .iter()
            .copied()
            .filter(|kind| !all_forgotten.contains(kind))
            .collect::<Vec<_>>(),
    );
    let state = latest(state, newer.state, |change| {
        (change.kind, change.key.clone())
    });
    let mut boots = latest(older.boots, newer.boots, |boot| boot.boot_id.clone());
    let surplus = boots.len().saturating_sub(MAX_BOOTS);
    if surplus > 0 {
        tracing::error!(
            surplus,
            "the store has been away for too long; the oldest boots are lost to history"
        );
        boots.drain(..surplus);
    }
    let trials = latest(older.trials, newer.trials, |row| row.id);
    let mut outbox = older.outbox;
    outbox.extend(newer.outbox);
    let mut marks = older.marks;
    marks.extend(newer.marks);
    let mut operations = older.operations;
    operations.extend(newer.operations);
    Batch {
        forgotten: all_forgotten,
        state,
        boots,
        incidents: latest(older.incidents, newer.incidents, |row| row.0.key.clone()),
        outbox,
        marks,
        operations,
        trials,
    }
}

/// Of each key the newest value, in the order in which the keys came first.
fn latest<T, K: std::hash::Hash + Eq>(
    older: Vec<T>,
    newer: Vec<T>,
    key: impl Fn(&T) -> K,
) -> Vec<T> {
    let mut all = older;
    let mut places: HashMap<K, usize> = all
        .iter()
        .enumerate()
        .map(|(place, value)| (key(value), place))
        .collect();
    for value in newer {
        match places.get(&key(&value)) {
            Some(place) => all[*place] = value,
            None => {
                places.insert(key(&value), all.len());
                all.push(value);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StateChange;

    fn message(ticket: u64) -> Ticketed {
        let message = NewMessage {
            incident: "i".to_owned(),
            transition: "firing".to_owned(),
            receiver: format!("r{ticket}"),
            dedup_key: "i".to_owned(),
            payload: String::new(),
            created_at: Timestamp(0),
            due: Timestamp(0),
            state: MessageState::Queued,
            ended_at: None,
            tried: Tried::default(),
        };
        Ticketed { ticket, message }
    }

    fn batch(key: &str) -> Batch {
        Batch {
            state: vec![StateChange {
                kind: "engine",
                key: key.to_owned(),
                value: None,
            }],
            ..Batch::default()
        }
    }

    #[test]
    fn what_is_held_comes_with_the_next_batch_as_it_has_ended_by_then() {
        let mut pending = Pending::default();
        pending.add(batch("a"), vec![message(1)]);
        pending.hold(vec![message(2), message(3)]);
        let tried = |receipt: Option<&str>| Tried {
            attempts: 1,
            last_status: None,
            provider_ref: receipt.map(str::to_owned),
        };
        pending.tried(3, tried(Some("a")), None);
        pending.tried(3, tried(None), Some((MessageState::Sent, Timestamp(9))));
        let taken = pending.take();
        assert_eq!(
            (taken.tickets.as_slice(), taken.batch.state.len()),
            (&[1][..], 1)
        );
        pending.put_back(taken);
        pending.add(batch("b"), vec![message(4)]);
        let Taken { batch, tickets } = pending.take();
        assert_eq!(tickets, [1, 2, 3, 4]);
        let states: Vec<_> = batch.outbox.iter().map(|one| one.state).collect();
        let queued = MessageState::Queued;
        assert_eq!(states, [queued, queued, MessageState::Sent, queued]);
        let ended = &batch.outbox[2];
        assert_eq!(ended.ended_at, Some(Timestamp(9)));
        assert_eq!(
            (ended.tried.attempts, ended.tried.provider_ref.as_deref()),
            (2, Some("a"))
        );
        assert_eq!(batch.state.len(), 2);
        assert!(pending.is_empty());
    }
}

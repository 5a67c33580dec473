//! What waits to be sent to one receiver, in order.
//!
//! A newer state of an incident takes the place of an unsent older one, so that a receiver that was away is told how
//! things are and not how they were: what is over by the time that it can be sent pages nobody, and its end tells the
//! whole. An end is never overtaken by what came before it. What only some of its recipients could be given waits apart, each
//! for its own time, and delays nothing. Bounded; beyond the bound the oldest goes, and is said.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::worker::Notice;
use super::{Form, Message};
use crate::core::alert::Kind;

/// An incident takes one place, so this is a day of a receiver that is away in the worst of storms.
pub(super) const MOST: usize = 256;

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) notice: Notice,
    pub(super) message: Message,
    pub(super) accepted: Instant,
    /// How it is laid out.
    pub(super) form: Form,
    /// No message of its incident has left before it.
    pub(super) begins: bool,
    /// So often some of its recipients were put off.
    pub(super) put_off: u32,
}

impl Entry {
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.notice.age + now.duration_since(self.accepted)
    }

    /// Both say how one incident stands.
    fn is_older_state_of(&self, newer: &Entry) -> bool {
        self.message.incident == newer.message.incident && self.message.kind != Kind::Resolved
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    /// What some of its recipients have, and when the others are tried again.
    apart: Vec<(Instant, Entry)>,
}

/// What a new entry cost.
#[derive(Debug)]
pub(super) enum Displaced {
    Nothing,
    /// An older state of the same incident.
    Replaced(Entry),
    /// There was no room.
    Overflow(Entry),
}

impl Queue {
    pub(super) fn push(&mut self, mut entry: Entry) -> Displaced {
        let older = |(_, older): &(Instant, Entry)| older.is_older_state_of(&entry);
        if let Some(at) = self.apart.iter().position(older) {
            let (_, older) = self.apart.swap_remove(at);
            self.entries.push_back(entry);
            return Displaced::Replaced(older);
        }
        if let Some(older) = self
            .entries
            .iter_mut()
            .find(|older| older.is_older_state_of(&entry))
        {
            entry.begins |= older.begins;
            return Displaced::Replaced(std::mem::replace(older, entry));
        }
        let overflow = if self.entries.len() >= MOST {
            self.entries.pop_front()
        } else {
            None
        };
        // Before those of which somebody has heard already.
        let heard = self.entries.iter().position(|entry| entry.put_off > 0);
        let place = heard.unwrap_or(self.entries.len());
        self.entries.insert(place, entry);
        overflow.map_or(Displaced::Nothing, Displaced::Overflow)
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        self.entries.pop_front()
    }

    /// All that is left, what waits apart last.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Entry> {
        let apart = self.apart.drain(..).map(|(_, entry)| entry);
        self.entries.drain(..).chain(apart)
    }

    /// Back to the front, unless a newer state of its incident came meanwhile: then it is handed back.
    pub(super) fn give_back(&mut self, entry: Entry) -> Option<Entry> {
        if let Some(at) = self
            .entries
            .iter()
            .position(|newer| entry.is_older_state_of(newer))
        {
            // The newer state takes over the place, not only the content.
            if let Some(mut newer) = self.entries.remove(at) {
                newer.begins |= entry.begins;
                self.entries.push_front(newer);
            }
            return Some(entry);
        }
        self.entries.push_front(entry);
        None
    }

    /// To be tried again at `due`, whatever else is sent until then; given back where a newer state of its incident waits,
    /// or too much.
    pub(super) fn set_apart(&mut self, due: Instant, entry: Entry) -> Displaced {
        let newer = |newer: &Entry| entry.is_older_state_of(newer);
        if self.entries.iter().any(newer) {
            return Displaced::Replaced(entry);
        }
        if self.apart.len() >= MOST {
            return Displaced::Overflow(entry);
        }
        self.apart.push((due, entry));
        Displaced::Nothing
    }

    /// What waits apart, and is due, is next but for what waits already.
    pub(super) fn rejoin(&mut self, now: Instant) {
        let due = self.apart.extract_if(.., |(due, _)| *due <= now);
        self.entries.extend(due.map(|(_, entry)| entry));
    }

    /// When something that waits apart is due.
    pub(super) fn next_apart(&self) -> Option<Instant> {
        self.apart.iter().map(|(due, _)| *due).min()
    }

    /// All of it is due.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.apart.iter_mut().for_each(|(due, _)| *due = now);
    }

    /// Whether an incident's first page waits: its receiver has not heard of it.
    pub(super) fn holds_beginning_of(&self, incident: &str) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.message.incident == incident && entry.begins)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() + self.apart.len()
    }

    /// How old the oldest of all that waits is.
    pub(super) fn oldest(&self, now: Instant) -> Option<Duration> {
        let apart = self.apart.iter().map(|(_, entry)| entry);
        let all = self.entries.iter().chain(apart);
        all.map(|entry| entry.age(now)).max()
    }

    /// Nothing waits at all.
    pub(super) fn is_done(&self) -> bool {
        self.entries.is_empty() && self.apart.is_empty()
    }

    /// Nothing waits to be sent now.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::core::event::{Failure, VmType};
    use crate::notify::fixture;

    /// A receiver's worker, as far as order goes; its incidents by number, its messages by theirs.
    #[derive(Default)]
    struct Model {
        queue: Queue,
        under_way: Option<Entry>,
        /// Messages of each incident that were made, and the newest of them that was tried.
        made: BTreeMap<String, Vec<u64>>,
        tried: BTreeMap<String, u64>,
        /// What the receiver has, in order: the incident, what it is, which message.
        has: Vec<(String, Kind, u64)>,
        replaced: Vec<u64>,
    }

    impl Model {
        fn make(&mut self, incident: u8, kind: Kind) {
            let key = incident.to_string();
            let numbers = self.made.entry(key.clone()).or_default();
            let number = u64::from(incident) << 32 | numbers.len() as u64;
            numbers.push(number);
            let firing = fixture::incident(VmType::Browser, Failure::AgentRefused).remove(0);
            let mut notice = Notice::from(Arc::new(firing));
            notice.ticket = number;
            let entry = Entry {
                notice,
                message: Message {
                    id: number.to_string(),
                    incident: key,
                    kind,
                    title: String::new(),
                    body: Vec::new(),
                },
                accepted: Instant::now(),
                form: Form::default(),
                begins: kind == Kind::Firing,
                put_off: 0,
            };
            let displaced = self.queue.push(entry);
            self.gone(displaced);
        }

        fn gone(&mut self, displaced: Displaced) {
            match displaced {
                Displaced::Nothing => {}
                Displaced::Replaced(older) => {
                    assert_ne!(older.message.kind, Kind::Resolved, "an end is told");
                    self.replaced.push(older.notice.ticket);
                }
                Displaced::Overflow(_) => panic!("so few never overflow"),
            }
        }

        fn begin(&mut self) {
            if self.under_way.is_some() {
                return;
            }
            self.queue.rejoin(Instant::now());
            let Some(entry) = self.queue.pop() else {
                return;
            };
            let number = entry.notice.ticket;
            let before = self.tried.insert(entry.message.incident.clone(), number);
            assert!(
                before <= Some(number),
                "an older state is tried after a newer one"
            );
            self.under_way = Some(entry);
        }

        /// How a try ends: it is taken, it is not, or only some of its recipients have it.
        fn end(&mut self, how: u8) {
            let Some(mut entry) = self.under_way.take() else {
                return self.begin();
            };
            match how {
                0 => {
                    let Message { incident, kind, .. } = entry.message;
                    self.has.push((incident, kind, entry.notice.ticket));
                }
                1 => {
                    if let Some(older) = self.queue.give_back(entry) {
                        self.gone(Displaced::Replaced(older));
                    }
                }
                _ => {
                    (entry.put_off, entry.begins) = (entry.put_off + 1, false);
                    let displaced = self.queue.set_apart(Instant::now(), entry);
                    self.gone(displaced);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn whatever_comes_between_the_newest_state_is_told_last_and_nothing_is_lost(
            steps in proptest::collection::vec((0..7u8, 0..3u8), 1..80),
        ) {
            let mut model = Model::default();
            let mut open = [false; 3];
            for (what, which) in steps {
                let is_open = &mut open[usize::from(which)];
                // An incident that is over is never heard of again: its key is its own.
                let begun = model.made.contains_key(&which.to_string());
                match what {
                    0 | 1 if !begun => {
                        *is_open = true;
                        model.make(which, Kind::Firing);
                    }
                    0 | 1 if *is_open => model.make(which, Kind::Update),
                    2 if *is_open => {
                        *is_open = false;
                        model.make(which, Kind::Resolved);
                    }
                    3 => model.begin(),
                    how => model.end(how.saturating_sub(4)),
                }
            }
            while model.under_way.is_some() || !model.queue.is_done() {
                model.end(0);
            }
            for (incident, made) in &model.made {
                let has: Vec<_> = model.has.iter().filter(|(of, ..)| of == incident).collect();
                let numbers: Vec<u64> = has.iter().map(|(.., number)| *number).collect();
                prop_assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
                prop_assert_eq!(numbers.last(), made.last(), "the newest state is told last");
            }
            let all: usize = model.made.values().map(Vec::len).sum();
            prop_assert_eq!(model.has.len() + model.replaced.len(), all);
        }
    }
}

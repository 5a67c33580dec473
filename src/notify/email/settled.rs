//! Whom no further try of a message is for, while the process runs.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use lettre::Address;

use crate::notify::error::Fault;
use crate::notify::told;

/// Messages of which it is remembered who has them, or never will: more than wait.
const REMEMBERED: usize = 512;

/// By what a message tells, so that its shorter form is the same.
#[derive(Debug, Default)]
pub(super) struct Settled(Mutex<VecDeque<(String, Recipients)>>);

/// Of one message.
#[derive(Clone, Debug, Default)]
pub(super) struct Recipients {
    pub(super) with_it: Vec<Address>,
    /// Refused for good: their places among all, from 1, and why.
    pub(super) refused: Vec<(usize, Fault)>,
}

impl Recipients {
    pub(super) fn include(&self, place: usize, address: &Address) -> bool {
        let is_refused = self.refused.iter().any(|(at, _)| *at == place);
        is_refused || self.with_it.contains(address)
    }
}

impl Settled {
    pub(super) fn of(&self, id: &str) -> Recipients {
        self.with(|known| {
            let found = known.iter().find(|(known, _)| known == told(id));
            found.map(|(_, who)| who.clone()).unwrap_or_default()
        })
    }

    pub(super) fn note(&self, id: &str, what: impl FnOnce(&mut Recipients)) {
        self.with(|known| {
            if let Some((_, who)) = known.iter_mut().find(|(known, _)| known == told(id)) {
                return what(who);
            }
            let mut who = Recipients::default();
            what(&mut who);
            if known.len() == REMEMBERED {
                // To ask somebody again is less than to mail somebody again.
                let least = known.iter().position(|(_, who)| who.with_it.is_empty());
                known.remove(least.unwrap_or(0));
            }
            known.push_back((told(id).to_owned(), who));
        });
    }

    /// It failed for good, and may come again in its shorter form: for all but those who have it.
    pub(super) fn failed(&self, id: &str) {
        self.with(|known| {
            known.retain_mut(|(known, who)| {
                if known != told(id) {
                    return true;
                }
                who.refused.clear();
                !who.with_it.is_empty()
            });
        });
    }

    /// Nobody is tried again for it.
    pub(super) fn forget(&self, id: &str) {
        self.with(|known| known.retain(|(known, _)| known != told(id)));
    }

    fn with<T>(&self, work: impl FnOnce(&mut VecDeque<(String, Recipients)>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oncall() -> Address {
        "oncall@example.test".parse().unwrap()
    }

    fn has(settled: &Settled, id: &str) {
        settled.note(id, |who| who.with_it.push(oncall()));
    }

    fn refuses(settled: &Settled, id: &str) {
        settled.note(id, |who| who.refused.push((2, Fault::Replied(550))));
    }

    fn is_known(settled: &Settled, id: &str) -> bool {
        let who = settled.of(id);
        !who.with_it.is_empty() || !who.refused.is_empty()
    }

    #[test]
    fn of_a_message_that_failed_for_good_only_those_who_have_it_are_known() {
        let settled = Settled::default();
        has(&settled, "1-firing");
        refuses(&settled, "1-firing");
        refuses(&settled, "2-firing");
        settled.failed("1-firing-reduced");
        settled.failed("2-firing");
        let who = settled.of("1-firing");
        assert!(who.include(1, &oncall()) && who.refused.is_empty());
        assert!(!is_known(&settled, "2-firing"));
    }

    #[test]
    fn who_would_only_be_asked_again_is_forgotten_before_who_would_be_mailed_again() {
        let settled = Settled::default();
        for n in 0..REMEMBERED {
            match n {
                7 => refuses(&settled, &n.to_string()),
                _ => has(&settled, &n.to_string()),
            }
        }
        has(&settled, "one more");
        assert!(is_known(&settled, "0") && is_known(&settled, "one more"));
        assert!(!is_known(&settled, "7"));
        has(&settled, "another");
        assert!(!is_known(&settled, "0"), "the oldest");
    }
}

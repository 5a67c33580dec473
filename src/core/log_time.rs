//! What time it is by a log, whose clock may be set back and whose records may be stamped wrongly.
//!
//! The newest stamp is the time. A record that is a minute older is a late one, or one of another clock; two in a row are
//! the clock set back: by a person, by a machine that starts, by a zone that was guessed wrong and is learnt, or because
//! the one before them was stamped ahead.

use crate::core::event::Timestamp;

/// A record that is older than the newest by more is no late one.
const BACK_MS: i64 = 60_000;

/// The time by a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogTime {
    pub newest: Timestamp,
    /// The last record was of another time: the next one tells which of the two it is.
    pub in_doubt: bool,
}

/// What a record's stamp says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Time goes on.
    On,
    /// The record stands far behind the others; nobody knows yet why.
    Behind,
    /// The clock was set back.
    Back,
}

impl Default for LogTime {
    fn default() -> LogTime {
        LogTime {
            newest: Timestamp::MIN,
            in_doubt: false,
        }
    }
}

impl LogTime {
    /// Takes a record's stamp.
    pub fn take(&mut self, at: Timestamp) -> Step {
        if self.newest.since(at) <= BACK_MS {
            self.newest = self.newest.max(at);
            self.in_doubt = false;
            return Step::On;
        }
        self.in_doubt = !self.in_doubt;
        if self.in_doubt {
            return Step::Behind;
        }
        self.newest = at;
        Step::Back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_records_in_a_row_set_the_clock_back_and_one_does_not() {
        let hour = 3_600_000;
        let mut time = LogTime::default();
        let mut take = |ms: i64| {
            let step = time.take(Timestamp(ms));
            (step, time.newest.0)
        };
        assert_eq!(take(0), (Step::On, 0));
        assert_eq!(take(hour), (Step::On, hour));
        assert_eq!(take(hour - 60_000), (Step::On, hour), "a late one");
        assert_eq!(take(5), (Step::Behind, hour));
        assert_eq!(take(hour + 5), (Step::On, hour + 5), "that one was wrong");
        assert_eq!(take(5), (Step::Behind, hour + 5));
        assert_eq!(take(6), (Step::Back, 6));
        assert_eq!(take(7), (Step::On, 7));
        assert_eq!(take(300_000), (Step::On, 300_000));
        assert_eq!(take(239_999), (Step::Behind, 300_000));
        assert_eq!(take(239_999), (Step::Back, 239_999), "a minute and more");
    }
}

//! What the body of `/health` tells: who answered, and what time the guest thinks it is.
//!
//! The body is guest text: nothing of it is kept but a word of a closed set and a number.

use serde::Deserialize;
use serde_json::Value;

use super::{Answerer, Skew};
use crate::core::event::Timestamp;

/// What was read of a 200's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    pub answerer: Answerer,
    /// The guest's time.
    pub timestamp: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Health {
    status: Value,
    timestamp: Option<Value>,
    #[serde(rename = "activeSessions")]
    active_sessions: Option<Value>,
}

impl Body {
    #[must_use]
    pub fn read(bytes: &[u8]) -> Body {
        let Ok(health) = serde_json::from_slice::<Health>(bytes) else {
            return Body {
                answerer: of_other(bytes),
                timestamp: None,
            };
        };
        let timestamp = health.timestamp.as_ref().and_then(Value::as_str);
        let timestamp = timestamp.and_then(time);
        let is_ok = health.status.as_str() == Some("ok");
        let counts = health.active_sessions.as_ref().map(Value::is_u64);
        let answerer = match (is_ok, timestamp, counts) {
            (true, Some(_), Some(true)) => Answerer::Agent,
            (true, _, None) => Answerer::Placeholder,
            _ => Answerer::Unknown,
        };
        Body {
            answerer,
            timestamp,
        }
    }
}

/// A body without a status: a stub's are short (`OK`, `{}`, nothing at all).
fn of_other(bytes: &[u8]) -> Answerer {
    const STUB: usize = 64;
    let is_text = |text: &str| !text.chars().any(|char| char.is_control() && char != '\n');
    match std::str::from_utf8(bytes) {
        Ok(text) if text.len() <= STUB && is_text(text) => Answerer::Stub,
        _ => Answerer::Unknown,
    }
}

fn time(text: &str) -> Option<Timestamp> {
    const LONGEST: usize = 40;
    let text = (text.len() <= LONGEST).then_some(text)?;
    let at: jiff::Timestamp = text.parse().ok()?;
    Timestamp::try_from(at.as_millisecond()).ok()
}

/// The guest's clock against ours, at the middle of a request that was sent at `sent` and took `round_trip_ms`.
#[must_use]
pub fn skew(guest: Timestamp, sent: Timestamp, round_trip_ms: i64) -> Skew {
    let half = round_trip_ms.max(0) / 2;
    Skew {
        ms: guest.since(sent.plus_ms(half)),
        within_ms: round_trip_ms.max(0) - half,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_of_the_body_says_who_answered() {
        let time = "2025-10-18T02:14:07.000Z";
        let table = [
            (
                format!(r#"{{"status":"ok","timestamp":"{time}","activeSessions":2}}"#),
                Answerer::Agent,
            ),
            (
                format!(r#"{{"activeSessions":0,"more":[1],"timestamp":"{time}","status":"ok"}}"#),
                Answerer::Agent,
            ),
            (r#"{"status":"ok"}"#.to_owned(), Answerer::Placeholder),
            (
                format!(r#"{{"status":"ok","timestamp":"{time}"}}"#),
                Answerer::Placeholder,
            ),
            (
                format!(r#"{{"status":"bad","timestamp":"{time}","activeSessions":2}}"#),
                Answerer::Unknown,
            ),
            (
                format!(r#"{{"status":"ok","timestamp":"{time}","activeSessions":"2"}}"#),
                Answerer::Unknown,
            ),
            (
                r#"{"status":"ok","timestamp":"soon","activeSessions":2}"#.to_owned(),
                Answerer::Unknown,
            ),
            (String::new(), Answerer::Stub),
            ("OK\n".to_owned(), Answerer::Stub),
            ("{}".to_owned(), Answerer::Stub),
            ("<html>".repeat(40), Answerer::Unknown),
            ("\u{1b}[2J".to_owned(), Answerer::Unknown),
            ("[".repeat(60_000), Answerer::Unknown),
        ];
        for (body, answerer) in table {
            let start: String = body.chars().take(60).collect();
            assert_eq!(Body::read(body.as_bytes()).answerer, answerer, "{start}");
        }
        assert_eq!(Body::read(&[0xff, 0xfe]).answerer, Answerer::Unknown);
    }

    #[test]
    fn the_guests_time_is_held_against_the_middle_of_the_request() {
        let sent = Timestamp(1_000_000);
        assert_eq!(
            skew(Timestamp(1_000_050), sent, 100),
            Skew {
                ms: 0,
                within_ms: 50
            }
        );
        assert_eq!(
            skew(Timestamp(1_007_050), sent, 101),
            Skew {
                ms: 7_000,
                within_ms: 51
            }
        );
        assert_eq!(
            skew(Timestamp(990_000), sent, 0),
            Skew {
                ms: -10_000,
                within_ms: 0
            }
        );
        assert_eq!(
            skew(Timestamp(1_000_000), sent, -5),
            Skew {
                ms: 0,
                within_ms: 0
            }
        );
    }

    #[test]
    fn a_time_beyond_all_times_is_none() {
        for text in ["9999999-01-01T00:00:00Z", "2025-10-18", &"9".repeat(500)] {
            let body = format!(r#"{{"status":"ok","timestamp":"{text}","activeSessions":0}}"#);
            assert_eq!(Body::read(body.as_bytes()).timestamp, None, "{text}");
        }
    }
}

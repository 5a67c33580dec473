//! Torn lines: a crash leaves half a line, and what is written next is glued to it.

use memchr::memmem;

use super::{Decoded, decode, split};
use crate::controller::framing::{self, Record};

/// So many headers are tried in one torn line: a tear leaves one, and hostile text must not make it a long search.
const MAX_GLUED: usize = 16;

/// A header inside a record's text: where a torn line and the next one were glued together.
#[must_use]
pub fn glued<'a>(record: &Record<'a>) -> Option<Record<'a>> {
    let text = record.text;
    let mut from = text.len();
    let mut tried = 0;
    while let Some(at) = memmem::rfind(&text[20..from.max(20)], b" [").map(|at| at + 20) {
        from = at;
        let Some(start) = at.checked_sub(19) else {
            break;
        };
        if start == 0 {
            break;
        }
        let Some(header) = framing::header(&text[start..]) else {
            continue;
        };
        let inner = Record {
            offset: record.offset + start as u64,
            text: &text[start..],
            header,
        };
        if matches!(decode(&inner), Decoded::Event(_)) {
            return Some(inner);
        }
        tried += 1;
        if tried == MAX_GLUED {
            break;
        }
    }
    None
}

/// The same behind a record that says nothing of boots: two in three do not, and a crash tears one as soon as another.
/// What is whole may quote whatever it likes, and is asked no more than whether a header's end is in it.
#[must_use]
pub fn glued_to_noise<'a>(record: &Record<'a>) -> Option<Record<'a>> {
    let message = record.message();
    if !memchr::memchr_iter(b']', message).any(|at| message[at..].starts_with(b"]: ")) {
        return None;
    }
    let torn = split(message).1?;
    (!closes(torn)).then(|| glued(record)).flatten()
}

/// Whether the object that begins there ends, whatever follows it.
fn closes(text: &[u8]) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_i32, false, false);
    for byte in text {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

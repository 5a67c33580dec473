//! journald's export forms into the controller's own bytes.
//!
//! `journalctl -o export` writes an entry as `NAME=value` lines and, where a value holds other than printable text
//! (the controller's colour codes), as `NAME`, a newline, the length in eight little-endian bytes, the bytes and a
//! newline; an empty line ends the entry (systemd, "Journal Export Formats"). `-o json` writes an object a line, with
//! `MESSAGE` as text, as an array of byte numbers, or as null where it was too long and `--all` was not given. Only
//! `MESSAGE` is kept; an entry that journald split (`_LINE_BREAK=line-max`) is joined with the next.

use crate::controller::fields::{self, Value};

/// A larger field is no log line: it is stepped over, not kept.
const MAX_FIELD: usize = 2 << 20;

#[derive(Debug, Default)]
enum State {
    /// Between fields: reading a line.
    #[default]
    Line,
    /// In an entry whose beginning is not there: no line means anything before the next entry's first.
    Torn,
    /// Reading the eight bytes of a binary field's length.
    Length { message: bool },
    /// Reading a binary field's bytes and the newline behind them.
    Bytes { message: bool, left: usize },
}

/// A streaming decoder of the export form.
#[derive(Debug, Default)]
pub struct Export {
    state: State,
    line: Vec<u8>,
    message: Vec<u8>,
    has_message: bool,
    /// Some field of the present entry was read.
    begun: bool,
    split: bool,
    /// Entries whose message journald did not give.
    pub missing: u64,
}

/// An entry's first field, in the export form.
const FIRST: &[u8] = b"__CURSOR=";

/// Whether these first bytes are the export form.
#[must_use]
pub fn is_export(head: &[u8]) -> bool {
    head.starts_with(FIRST)
}

/// Whether they are the export form from the middle of an entry on, as `tail -c` leaves it.
#[must_use]
pub fn is_torn_export(head: &[u8]) -> bool {
    memchr::memmem::find(head, b"\n\n__CURSOR=").is_some()
}

/// Whether a line is journald's JSON, an object a line.
#[must_use]
pub fn is_json(line: &[u8]) -> bool {
    line.starts_with(b"{")
        && ["\"__CURSOR\"", "\"MESSAGE\"", "\"__REALTIME_TIMESTAMP\""]
            .iter()
            .any(|key| memchr::memmem::find(line, key.as_bytes()).is_some())
}

impl Export {
    /// A decoder of what begins in the middle of an entry.
    #[must_use]
    pub fn torn() -> Export {
        Export {
            state: State::Torn,
            ..Export::default()
        }
    }

    /// Takes the next bytes and hands the messages' bytes, newlines added, to `sink`.
    pub fn push(&mut self, mut bytes: &[u8], sink: &mut impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            match self.state {
                State::Line | State::Torn => {
                    let end = memchr::memchr(b'\n', bytes);
                    let piece = &bytes[..end.unwrap_or(bytes.len())];
                    if self.line.len() + piece.len() <= MAX_FIELD {
                        self.line.extend_from_slice(piece);
                    }
                    bytes = &bytes[end.map_or(bytes.len(), |end| end + 1)..];
                    if end.is_some() {
                        self.field(sink);
                    }
                }
                State::Length { message } => {
                    let take = (8 - self.line.len()).min(bytes.len());
                    self.line.extend_from_slice(&bytes[..take]);
                    bytes = &bytes[take..];
                    if let Some(length) = self.line.first_chunk::<8>() {
                        let left =
                            usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
                        self.line.clear();
                        if message {
                            self.message.clear();
                            self.has_message = true;
                        }
                        self.state = State::Bytes {
                            message,
                            left: left.saturating_add(1),
                        };
                    }
                }
                State::Bytes { message, left } => {
                    let take = left.min(bytes.len());
                    // The last byte is the newline behind the field, not part of it.
                    let value = &bytes[..if take == left { take - 1 } else { take }];
                    if message && self.message.len() + value.len() <= MAX_FIELD {
                        self.message.extend_from_slice(value);
                    }
                    bytes = &bytes[take..];
                    self.state = if take == left {
                        State::Line
                    } else {
                        State::Bytes {
                            message,
                            left: left - take,
                        }
                    };
                }
            }
        }
    }

    /// The export has ended: an entry without its empty line is an entry.
    pub fn finish(&mut self, sink: &mut impl FnMut(&[u8])) {
        if !self.line.is_empty() {
            self.field(sink);
        }
        self.entry(sink);
    }

    fn field(&mut self, sink: &mut impl FnMut(&[u8])) {
        let line = std::mem::take(&mut self.line);
        if matches!(self.state, State::Torn) {
            if line.starts_with(FIRST) {
                self.state = State::Line;
            } else {
                self.line = line;
                self.line.clear();
                return;
            }
        }
        self.begun |= !line.is_empty();
        match memchr::memchr(b'=', &line) {
            _ if line.is_empty() => self.entry(sink),
            Some(equals) => match &line[..equals] {
                b"MESSAGE" => {
                    self.message.clear();
                    self.message.extend_from_slice(&line[equals + 1..]);
                    self.has_message = true;
                }
                b"_LINE_BREAK" => self.split = &line[equals + 1..] == b"line-max",
                _ => {}
            },
            None => {
                self.state = State::Length {
                    message: line == b"MESSAGE",
                }
            }
        }
        self.line = line;
        self.line.clear();
    }

    fn entry(&mut self, sink: &mut impl FnMut(&[u8])) {
        if self.has_message {
            if !self.split {
                self.message.push(b'\n');
            }
            sink(&self.message);
        } else if self.begun {
            self.missing += 1;
        }
        self.message.clear();
        self.has_message = false;
        self.begun = false;
        self.split = false;
    }
}

/// One line of the JSON form: its message's bytes into `out`, newline added. False if journald gave none.
pub fn json_message(line: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let mut message = None;
    let mut split = false;
    let whole = fields::scan(line, &mut |key, value| match key {
        b"MESSAGE" => message = Some(value),
        b"_LINE_BREAK" => split = value == Value::Text(b"line-max"),
        _ => {}
    });
    match message {
        Some(Value::Text(text)) if whole => {
            let json = [b"\"", text, b"\""].concat();
            match serde_json::from_slice::<String>(&json) {
                Ok(text) => out.extend_from_slice(text.as_bytes()),
                Err(_) => out.extend_from_slice(fields::unescape(text, usize::MAX).as_bytes()),
            }
        }
        Some(Value::Nested(array)) if whole => match serde_json::from_slice::<Vec<u8>>(array) {
            Ok(bytes) => out.extend_from_slice(&bytes),
            Err(_) => return false,
        },
        _ => return false,
    }
    if !split {
        out.push(b'\n');
    }
    true
}

/// Steps over what `journalctl`'s ordinary output puts before a controller's line (`Oct 18 01:52:07 host name[1]: `).
#[must_use]
pub fn without_prefix(line: &[u8]) -> Option<&[u8]> {
    let head = &line[..line.len().min(200)];
    memchr::memmem::find_iter(head, b"]: ")
        .map(|at| &line[at + 3..])
        .find(|rest| crate::controller::framing::header(rest).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(export: &[u8], chunk: usize) -> String {
        let mut decoder = Export::default();
        let mut out = Vec::new();
        for piece in export.chunks(chunk) {
            decoder.push(piece, &mut |bytes| out.extend_from_slice(bytes));
        }
        decoder.finish(&mut |bytes| out.extend_from_slice(bytes));
        String::from_utf8_lossy(&out).into_owned()
    }

    fn binary(name: &str, value: &[u8]) -> Vec<u8> {
        [
            name.as_bytes(),
            b"\n",
            &(value.len() as u64).to_le_bytes(),
            value,
            b"\n",
        ]
        .concat()
    }

    #[test]
    fn text_binary_and_split_messages_come_out_as_lines_at_any_chunking() {
        let export = [
            b"__CURSOR=s=1\nMESSAGE=plain\n_PID=1\n\n__CURSOR=s=2\n".as_slice(),
            &binary("MESSAGE", b"col\x1b[32Moured\nwith newline"),
            b"_PID=1\n\n",
            b"__CURSOR=s=3\nMESSAGE=first half, \n_LINE_BREAK=line-max\n\n__CURSOR=s=4\nMESSAGE=second half\n\n",
            b"__CURSOR=s=5\n",
            &binary("OTHER", b"MESSAGE=not this\n\n"),
            b"MESSAGE=last",
        ]
        .concat();
        let wanted = "plain\ncol\x1b[32Moured\nwith newline\nfirst half, second half\nlast\n";
        for chunk in 1..40 {
            assert_eq!(messages(&export, chunk), wanted, "chunks of {chunk}");
        }
    }

    #[test]
    fn an_export_cut_anywhere_gives_every_entry_behind_the_cut() {
        let entries = |number: usize| {
            [
                format!("__CURSOR=s={number}\n").into_bytes(),
                binary("MESSAGE", format!("\x1b[32M{number}").as_bytes()),
                b"_PID=1\n\n".to_vec(),
            ]
            .concat()
        };
        let (first, rest) = (entries(1), [entries(2), entries(3)].concat());
        for cut in 1..first.len() - 1 {
            let left = [&first[cut..], &rest].concat();
            assert!(!is_export(&left) && is_torn_export(&left), "cut at {cut}");
            let mut decoder = Export::torn();
            let mut out = Vec::new();
            for piece in left.chunks(7) {
                decoder.push(piece, &mut |bytes| out.extend_from_slice(bytes));
            }
            decoder.finish(&mut |bytes| out.extend_from_slice(bytes));
            assert_eq!(out, b"\x1b[32M2\n\x1b[32M3\n", "cut at {cut}");
            assert_eq!(decoder.missing, 0);
        }
    }

    #[test]
    fn json_gives_text_bytes_or_nothing() {
        let mut out = Vec::new();
        assert!(json_message(
            br#"{"__CURSOR":"a","MESSAGE":"a\u00e9\"b"}"#,
            &mut out
        ));
        assert_eq!(out, "aé\"b\n".as_bytes());
        assert!(json_message(
            br#"{"MESSAGE":[27,91,51,50,77,120],"_LINE_BREAK":"line-max"}"#,
            &mut out
        ));
        assert_eq!(out, b"\x1b[32Mx");
        assert!(!json_message(br#"{"MESSAGE":null}"#, &mut out));
        assert!(!json_message(br#"{"MESSAGE":"torn"#, &mut out));
    }

    #[test]
    fn a_length_beyond_reason_keeps_nothing_and_does_not_panic() {
        let mut export = b"__CURSOR=x\nMESSAGE\n".to_vec();
        export.extend_from_slice(&u64::MAX.to_le_bytes());
        export.extend_from_slice(&vec![b'x'; 3 << 20]);
        assert!(messages(&export, 1 << 16).len() <= MAX_FIELD + 1);
    }

    #[test]
    fn an_entry_without_a_message_is_counted_once() {
        let mut decoder = Export::default();
        decoder.push(
            b"__CURSOR=a\n_PID=1\n\n__CURSOR=b\nMESSAGE=x\n\n\n",
            &mut |_| {},
        );
        decoder.finish(&mut |_| {});
        assert_eq!(decoder.missing, 1);
    }
}

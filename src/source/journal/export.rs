//! Where entries end in the journal's export format. A field is a line `NAME=value`, or, if its value holds what a line
//! cannot, the line `NAME`, eight bytes of length (little-endian), the value and a newline. An empty line ends an entry.
//! Only that framing tells an empty line inside a value from the end of an entry.

use std::collections::VecDeque;

use crate::core::event::Timestamp;

/// An entry beyond this is dropped; a log line of 1 MiB with journald's own fields is far below.
pub(super) const MAX_ENTRY: usize = 8 * 1024 * 1024;

/// Whole entries that belong together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entries {
    pub(super) bytes: Vec<u8>,
    pub(super) count: u64,
    pub(super) oversized: u64,
    /// The last one's.
    pub(super) cursor: Option<String>,
    pub(super) history: bool,
}

#[derive(Default)]
pub(super) struct Splitter {
    /// Whole entries, then the fields of the one that is coming in.
    buffer: Vec<u8>,
    ends: VecDeque<End>,
    /// Where the coming entry begins.
    begin: usize,
    /// Where its next field begins.
    field: usize,
    cursor: Option<String>,
    at: Option<Timestamp>,
    /// The coming entry is too large: its fields are dropped as they come.
    dropping: bool,
    /// Bytes of a dropped value still to come.
    skip: u64,
    /// A dropped line's end is still to come.
    skip_line: bool,
}

struct End {
    end: usize,
    cursor: Option<String>,
    at: Option<Timestamp>,
    oversized: bool,
}

/// What stands at the beginning of some bytes.
enum Field {
    /// Ends an entry.
    Empty,
    /// This many bytes, as a line.
    Line(usize),
    /// This many bytes, with a value given by length. More than there are if the rest is still to come.
    Value(u64),
    Incomplete,
}

const LENGTH: usize = 8;

impl Field {
    fn at_start(bytes: &[u8]) -> Field {
        let Some(line) = memchr::memchr(b'\n', bytes) else {
            return Field::Incomplete;
        };
        if line == 0 {
            return Field::Empty;
        }
        let (name, rest) = bytes.split_at(line + 1);
        if memchr::memchr(b'=', name).is_some() {
            return Field::Line(line + 1);
        }
        match rest.first_chunk::<LENGTH>() {
            Some(length) => {
                let around = (name.len() + LENGTH + 1) as u64;
                Field::Value(u64::from_le_bytes(*length).saturating_add(around))
            }
            None => Field::Incomplete,
        }
    }
}

impl Splitter {
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        if self.skip > 0 {
            let skipped =
                usize::try_from(self.skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
            self.skip -= skipped as u64;
            bytes = bytes.split_at(skipped).1;
        }
        if self.skip_line {
            let Some(line) = memchr::memchr(b'\n', bytes) else {
                return;
            };
            self.skip_line = false;
            bytes = bytes.split_at(line + 1).1;
        }
        self.buffer.extend_from_slice(bytes);
        self.scan();
        if self.dropping {
            self.buffer.drain(self.begin..self.field);
            self.field = self.begin;
        }
        if self.buffer.len() - self.begin > MAX_ENTRY {
            self.drop_coming_entry();
        }
    }

    /// Takes the next whole entries that are all history, or all not.
    pub(super) fn take(&mut self, history_before: Option<Timestamp>) -> Option<Entries> {
        let is_history = |end: &End| match (end.at, history_before) {
            (Some(at), Some(start)) => at < start,
            _ => false,
        };
        let history = is_history(self.ends.front()?);
        let mut taken = Entries {
            bytes: Vec::new(),
            count: 0,
            oversized: 0,
            cursor: None,
            history,
        };
        let mut length = 0;
        while let Some(end) = self.ends.pop_front_if(|end| is_history(end) == history) {
            match end.oversized {
                true => taken.oversized += 1,
                false => taken.count += 1,
            }
            length = end.end;
            taken.cursor = end.cursor.or(taken.cursor);
        }
        let rest = self.buffer.split_off(length);
        taken.bytes = std::mem::replace(&mut self.buffer, rest);
        self.begin -= length;
        self.field -= length;
        for end in &mut self.ends {
            end.end -= length;
        }
        Some(taken)
    }

    fn scan(&mut self) {
        loop {
            let rest = self.buffer.get(self.field..).unwrap_or_default();
            match Field::at_start(rest) {
                Field::Empty => self.end_entry(),
                Field::Line(length) => {
                    let line = rest.get(..length - 1).unwrap_or_default();
                    if let Some(cursor) = line.strip_prefix(b"__CURSOR=") {
                        self.cursor = Some(String::from_utf8_lossy(cursor).into_owned());
                    } else if let Some(at) = line.strip_prefix(b"__REALTIME_TIMESTAMP=") {
                        let micros = std::str::from_utf8(at)
                            .ok()
                            .and_then(|at| at.parse::<i64>().ok());
                        self.at = micros.map(|micros| Timestamp(micros / 1000));
                    }
                    self.field += length;
                }
                Field::Value(length) => match usize::try_from(length) {
                    Ok(length) if length <= rest.len() => self.field += length,
                    _ => return,
                },
                Field::Incomplete => return,
            }
        }
    }

    fn end_entry(&mut self) {
        let oversized = std::mem::take(&mut self.dropping);
        match oversized {
            true => {
                self.buffer.drain(self.begin..=self.field);
                self.field = self.begin;
            }
            false => self.field += 1,
        }
        self.begin = self.field;
        self.ends.push_back(End {
            end: self.begin,
            cursor: self.cursor.take(),
            at: self.at.take(),
            oversized,
        });
    }

    /// Forgets what came of the coming entry, but not where in it we are.
    fn drop_coming_entry(&mut self) {
        self.dropping = true;
        self.buffer.drain(self.begin..self.field);
        self.field = self.begin;
        let rest = self.buffer.get(self.field..).unwrap_or_default();
        if rest.len() <= LENGTH + MAX_NAME {
            return;
        }
        match Field::at_start(rest) {
            Field::Value(length) => self.skip = length - rest.len() as u64,
            // A line whose end has not come.
            _ => self.skip_line = true,
        }
        self.buffer.truncate(self.field);
    }
}

/// Field names have at most 64 bytes.
const MAX_NAME: usize = 65;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u64, message: &[u8]) -> Vec<u8> {
        let mut bytes =
            format!("__CURSOR=c{n}\n__REALTIME_TIMESTAMP={n}000000\nPRIORITY=6\nMESSAGE\n")
                .into_bytes();
        bytes.extend_from_slice(&(message.len() as u64).to_le_bytes());
        bytes.extend_from_slice(message);
        bytes.extend_from_slice(b"\nSYSLOG_IDENTIFIER=master-controller\n\n");
        bytes
    }

    #[test]
    fn entries_are_whole_however_the_bytes_arrive() {
        let hostile = b"line\n\n__CURSOR=no\n\nMESSAGE\n\0\0\0\0\0\0\0\0\n\n";
        let stream = [entry(1, b"\x1b[32Mone"), entry(2, hostile), entry(3, b"")].concat();
        for size in [1, 2, 3, 7, 64, stream.len()] {
            let mut splitter = Splitter::default();
            let (mut came, mut count, mut cursor) = (Vec::new(), 0, None);
            for piece in stream.chunks(size) {
                splitter.push(piece);
                while let Some(entries) = splitter.take(None) {
                    assert!(entries.bytes.ends_with(b"\n\n"));
                    came.extend_from_slice(&entries.bytes);
                    count += entries.count;
                    cursor = entries.cursor;
                }
            }
            assert_eq!(
                (came, count, cursor.as_deref()),
                (stream.clone(), 3, Some("c3"))
            );
        }
    }

    #[test]
    fn half_an_entry_is_kept_back() {
        let mut splitter = Splitter::default();
        let (one, two) = (entry(1, b"one"), entry(2, b"two"));
        splitter.push(&[one.as_slice(), two.get(..20).unwrap()].concat());
        let entries = splitter.take(None).unwrap();
        assert_eq!(
            (entries.bytes, entries.cursor.as_deref()),
            (one, Some("c1"))
        );
        assert_eq!(splitter.take(None), None);
    }

    #[test]
    fn history_and_live_entries_do_not_share_a_chunk() {
        let mut splitter = Splitter::default();
        splitter.push(&[entry(1, b"old"), entry(2, b"old"), entry(3, b"new")].concat());
        let start = Some(Timestamp(3000));
        let old = splitter.take(start).unwrap();
        assert_eq!(
            (old.count, old.history, old.cursor.as_deref()),
            (2, true, Some("c2"))
        );
        let new = splitter.take(start).unwrap();
        assert_eq!(
            (new.count, new.history, new.cursor.as_deref()),
            (1, false, Some("c3"))
        );
    }

    #[test]
    fn an_entry_beyond_the_limit_is_dropped_and_the_next_one_whole() {
        let huge = vec![b'\n'; 3 * MAX_ENTRY];
        let mut long_line = b"__CURSOR=c2\nMESSAGE=".to_vec();
        long_line.extend(std::iter::repeat_n(b'=', 2 * MAX_ENTRY));
        long_line.extend_from_slice(b"\nPRIORITY=6\n\n");
        let mut many_fields = b"__CURSOR=c2\n".to_vec();
        many_fields.extend(b"FIELD=some value\n".repeat(MAX_ENTRY / 10));
        many_fields.push(b'\n');
        for oversized in [entry(2, &huge), long_line, many_fields] {
            let stream = [entry(1, b"one"), oversized, entry(3, b"three")].concat();
            for size in [65_536, 1_000_003] {
                let mut splitter = Splitter::default();
                let (mut came, mut count, mut dropped) = (Vec::new(), 0, 0);
                for piece in stream.chunks(size) {
                    splitter.push(piece);
                    assert!(splitter.buffer.len() <= MAX_ENTRY + size);
                    while let Some(entries) = splitter.take(None) {
                        came.extend_from_slice(&entries.bytes);
                        count += entries.count;
                        dropped += entries.oversized;
                    }
                }
                assert_eq!((count, dropped), (2, 1));
                assert_eq!(came, [entry(1, b"one"), entry(3, b"three")].concat());
            }
        }
    }
}

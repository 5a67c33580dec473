//! Bytes into records: one log entry each, whatever chunks the bytes come in.
//!
//! A record starts at a header (`2025-10-18 01:52:07 [WARN]: `, or the console's form with colour codes around the
//! level). A header line that ends in `}` carries its metadata and is a whole record at once; that is every line the
//! application writes. A header line without metadata may be followed by more: an indented JSON block (`{` … `}` on
//! lines of their own), or a crash's stack whose last line ends in the metadata. Such a record ends at that point, at
//! the next header, or when the caller flushes after silence.
//!
//! Promises: no byte sequence panics or grows memory beyond `MAX_RECORD`; every header line yields exactly one record,
//! in order; lines that belong to none (raw console output, a flushed record's late rest) are counted, never parsed.

mod keep;

use std::collections::VecDeque;
use std::ops::Range;

pub(super) use keep::KeptFramer;

/// Lines up to this length are kept whole: the controller writes lines of 50 KB and more.
pub const MAX_LINE: usize = 1 << 20;
/// What is kept of a longer line.
pub const KEPT_OF_LONG_LINE: usize = 8 << 10;
/// A record keeps its first lines and, beyond the cap, its last ones.
const HEAD_LINES: usize = 450;
const TAIL_LINES: usize = 50;
const MAX_TAIL_LINE: usize = 16 << 10;
pub const MAX_RECORD: usize = MAX_LINE + TAIL_LINES * MAX_TAIL_LINE;

/// The header's parts: where the level and the message stand in the line. The time stamp is the first 19 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub level: Range<usize>,
    pub message: usize,
}

/// A framed log entry. `text` is the header line and, after newlines, what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Byte offset of the record's first byte in its stream.
    pub offset: u64,
    pub text: &'a [u8],
    pub header: Header,
}

impl<'a> Record<'a> {
    #[must_use]
    pub fn stamp(&self) -> &'a [u8] {
        &self.text[..19]
    }

    #[must_use]
    pub fn level(&self) -> &'a [u8] {
        &self.text[self.header.level.clone()]
    }

    /// Message and metadata, as written.
    #[must_use]
    pub fn message(&self) -> &'a [u8] {
        &self.text[self.header.message..]
    }
}

/// So ends a line that holds more than plain text, in what `journalctl` prints for people: `[220B blob data]`.
const WITHHELD: &[u8] = b"B blob data]";

/// What was seen that is no record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FramingCounts {
    pub lines: u64,
    pub records: u64,
    /// Lines that belong to no record: raw console output, rests of flushed records.
    pub orphan_lines: u64,
    /// Lines of which `journalctl` says only how long they are.
    #[serde(default)]
    pub withheld_lines: u64,
    /// Lines longer than `MAX_LINE`, kept in part.
    pub long_lines: u64,
    pub nul_bytes: u64,
    /// Lines dropped from the middle of records beyond the cap.
    pub dropped_lines: u64,
}

/// Reads a header. The plain form is decided by fixed positions; nothing here allocates.
#[must_use]
pub fn header(line: &[u8]) -> Option<Header> {
    if let Some(fixed) = line.first_chunk::<30>() {
        if fixed[19] != b' ' || fixed[20] != b'[' || !is_stamp(fixed.first_chunk()?) {
            return None;
        }
        let level = u32::from_le_bytes([fixed[21], fixed[22], fixed[23], fixed[24]]);
        if (level == INFO || level == WARN)
            && fixed[25] == b']'
            && fixed[26] == b':'
            && fixed[27] == b' '
        {
            return Some(Header {
                level: 21..25,
                message: 28,
            });
        }
        if level == ERRO
            && fixed[25] == b'R'
            && fixed[26] == b']'
            && fixed[27] == b':'
            && fixed[28] == b' '
        {
            return Some(Header {
                level: 21..26,
                message: 29,
            });
        }
    }
    any_header(line)
}

const INFO: u32 = u32::from_le_bytes(*b"INFO");
const WARN: u32 = u32::from_le_bytes(*b"WARN");
const ERRO: u32 = u32::from_le_bytes(*b"ERRO");

/// Any level, with or without colour codes, and lines too short for the fixed form.
fn any_header(line: &[u8]) -> Option<Header> {
    let fixed = line.first_chunk::<21>()?;
    if fixed[19] != b' ' || fixed[20] != b'[' || !is_stamp(fixed.first_chunk()?) {
        return None;
    }
    let start = skip_colour(line, 21)?;
    let mut end = start;
    while end - start <= 8 && line.get(end).is_some_and(u8::is_ascii_uppercase) {
        end += 1;
    }
    if end == start {
        return None;
    }
    let close = skip_colour(line, end)?;
    line.get(close..)?.starts_with(b"]: ").then_some(Header {
        level: start..end,
        message: close + 3,
    })
}

/// `YYYY-MM-DD HH:MM:SS`: each byte's distance from the form's is at most 9 at a digit, and 0 elsewhere.
#[inline]
fn is_stamp(stamp: &[u8; 19]) -> bool {
    const FORM: &[u8; 19] = b"0000-00-00 00:00:00";
    let mut bad = 0u8;
    for (byte, form) in stamp.iter().zip(FORM) {
        let distance = byte.wrapping_sub(*form);
        bad |= u8::from(distance > if *form == b'0' { 9 } else { 0 });
    }
    bad == 0
}

/// Steps over one colour sequence, whatever its final letter: the controller upper-cases it, which makes it none.
fn skip_colour(line: &[u8], at: usize) -> Option<usize> {
    if *line.get(at)? != 0x1b {
        return Some(at);
    }
    if *line.get(at + 1)? != b'[' {
        return None;
    }
    let mut end = at + 2;
    while line
        .get(end)
        .is_some_and(|byte| byte.is_ascii_digit() || *byte == b';')
    {
        end += 1;
    }
    line.get(end)?.is_ascii_alphabetic().then_some(end + 1)
}

#[derive(Debug, Default)]
struct Pending {
    open: bool,
    offset: u64,
    text: Vec<u8>,
    header: Option<Header>,
    lines: usize,
    /// Inside an indented JSON block.
    block: bool,
    tail: VecDeque<Vec<u8>>,
}

/// The streaming framer of one source. Feed it bytes in order; it keeps the unfinished line and record.
#[derive(Debug, Default)]
pub struct Framer {
    offset: u64,
    partial: Vec<u8>,
    /// Where the unfinished line began.
    partial_at: u64,
    /// The unfinished line is beyond `MAX_LINE`: the rest, up to its newline, is dropped.
    skipping: bool,
    pending: Pending,
    counts: FramingCounts,
}

impl Framer {
    /// A framer whose first byte stands at `offset` of its stream.
    #[must_use]
    pub fn at(offset: u64) -> Framer {
        Framer {
            offset,
            ..Framer::default()
        }
    }

    /// The next byte stands at `offset` of another file; call `finish` first.
    pub fn continue_at(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// Where the next byte stands.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    #[must_use]
    pub fn counts(&self) -> FramingCounts {
        self.counts
    }

    /// Whether a record waits for its end: the caller flushes after 250 ms without bytes.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.pending.open
    }

    /// Takes the next bytes and hands every record that is now complete to `sink`.
    pub fn push(&mut self, bytes: &[u8], sink: &mut impl FnMut(Record<'_>)) {
        let base = self.offset;
        self.offset += bytes.len() as u64;
        let mut start = 0;
        if !self.partial.is_empty() || self.skipping {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.hold(bytes, base);
                return;
            };
            self.hold(&bytes[..end], base);
            let mut line = std::mem::take(&mut self.partial);
            self.skipping = false;
            self.line(&line, self.partial_at, sink);
            line.clear();
            self.partial = line;
            start = end + 1;
        }
        let rest = &bytes[start..];
        let rest_at = base + start as u64;
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', rest) {
            self.line(&rest[from..end], rest_at + from as u64, sink);
            from = end + 1;
        }
        if from < rest.len() {
            self.hold(&rest[from..], rest_at + from as u64);
        }
    }

    /// No more bytes will follow for now: the pending record is what it is.
    pub fn flush(&mut self, sink: &mut impl FnMut(Record<'_>)) {
        self.emit(sink);
    }

    /// The stream has ended for good: an unfinished last line counts as a line.
    pub fn finish(&mut self, sink: &mut impl FnMut(Record<'_>)) {
        if !self.partial.is_empty() {
            let mut line = std::mem::take(&mut self.partial);
            self.skipping = false;
            self.line(&line, self.partial_at, sink);
            line.clear();
            self.partial = line;
        }
        self.emit(sink);
    }

    /// Keeps a piece of an unfinished line, bounded.
    fn hold(&mut self, piece: &[u8], at: u64) {
        if self.partial.is_empty() && !self.skipping {
            self.partial_at = at;
        }
        if self.skipping {
            return;
        }
        if self.partial.len() + piece.len() <= MAX_LINE {
            self.partial.extend_from_slice(piece);
            return;
        }
        let room = KEPT_OF_LONG_LINE.saturating_sub(self.partial.len());
        self.partial
            .extend_from_slice(&piece[..room.min(piece.len())]);
        self.partial.truncate(KEPT_OF_LONG_LINE);
        self.partial.shrink_to(KEPT_OF_LONG_LINE);
        self.skipping = true;
        self.counts.long_lines += 1;
    }

    fn line(&mut self, line: &[u8], at: u64, sink: &mut impl FnMut(Record<'_>)) {
        self.counts.lines += 1;
        let mut line = line;
        if line.len() > MAX_LINE {
            self.counts.long_lines += 1;
            line = &line[..KEPT_OF_LONG_LINE];
        }
        // The controller ends no line so; what copied it may have (a terminal pads, an editor writes `\r`).
        line = line.trim_ascii_end();
        if let Some(header) = header(line) {
            self.head(line, at, header, sink);
            return;
        }
        // A crash can leave a run of zeros where bytes never reached the disk.
        let zeros = line.iter().take_while(|byte| **byte == 0).count();
        if zeros > 0 {
            self.counts.nul_bytes += zeros as u64;
            line = &line[zeros..];
            if let Some(header) = header(line) {
                self.head(line, at + zeros as u64, header, sink);
                return;
            }
        }
        self.counts.withheld_lines += u64::from(line.ends_with(WITHHELD));
        if !self.pending.open {
            self.counts.orphan_lines += 1;
            return;
        }
        self.append(line);
        let ends = if self.pending.block {
            line == b"}"
        } else {
            ends_with_metadata(line)
        };
        if ends {
            self.emit(sink);
        }
    }

    fn head(&mut self, line: &[u8], at: u64, header: Header, sink: &mut impl FnMut(Record<'_>)) {
        self.emit(sink);
        if line.last() == Some(&b'}') {
            self.counts.records += 1;
            sink(Record {
                offset: at,
                text: line,
                header,
            });
            return;
        }
        let pending = &mut self.pending;
        pending.open = true;
        pending.offset = at;
        pending.text.clear();
        pending.text.extend_from_slice(line);
        pending.header = Some(header);
        pending.lines = 1;
        pending.block = line.ends_with(b" {");
    }

    fn append(&mut self, line: &[u8]) {
        let pending = &mut self.pending;
        pending.lines += 1;
        if pending.lines == 2 && line == b"{" {
            pending.block = true;
        }
        if pending.lines <= HEAD_LINES && pending.text.len() + line.len() < MAX_LINE {
            pending.text.push(b'\n');
            pending.text.extend_from_slice(line);
            return;
        }
        if pending.tail.len() == TAIL_LINES {
            pending.tail.pop_front();
            self.counts.dropped_lines += 1;
        }
        pending
            .tail
            .push_back(line[..line.len().min(MAX_TAIL_LINE)].to_vec());
    }

    fn emit(&mut self, sink: &mut impl FnMut(Record<'_>)) {
        let pending = &mut self.pending;
        let Some(header) = pending.header.take() else {
            return;
        };
        for line in pending.tail.drain(..) {
            pending.text.push(b'\n');
            pending.text.extend_from_slice(&line);
        }
        pending.open = false;
        self.counts.records += 1;
        sink(Record {
            offset: pending.offset,
            text: &pending.text,
            header,
        });
        if pending.text.capacity() > MAX_LINE / 4 {
            pending.text = Vec::new();
        }
    }
}

/// The last line of a crash record: `    at <last frame> {"error":…}`.
fn ends_with_metadata(line: &[u8]) -> bool {
    line.last() == Some(&b'}') && memchr::memmem::find(line, b" {\"").is_some()
}

#[cfg(test)]
mod tests;

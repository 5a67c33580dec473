//! The framer over a restart: the line and the record that were not whole yet.

use serde::{Deserialize, Serialize};

use super::{
    Framer, FramingCounts, KEPT_OF_LONG_LINE, MAX_LINE, MAX_RECORD, MAX_TAIL_LINE, Pending,
    TAIL_LINES, header,
};

/// What a framer keeps.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::controller) struct KeptFramer {
    offset: u64,
    partial: Hex,
    partial_at: u64,
    skipping: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<KeptRecord>,
    counts: FramingCounts,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptRecord {
    offset: u64,
    text: Hex,
    lines: usize,
    block: bool,
    tail: Vec<Hex>,
}

/// Bytes as text, two digits each: a log may hold any.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
struct Hex(Vec<u8>);

impl From<Hex> for String {
    fn from(bytes: Hex) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        bytes
            .0
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .map(|digit| char::from(DIGITS[usize::from(digit)]))
            .collect()
    }
}

impl TryFrom<String> for Hex {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Hex, &'static str> {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs
            .iter()
            .map(|[high, low]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok())
            .collect();
        bytes
            .filter(|_| rest.is_empty())
            .map(Hex)
            .ok_or("not bytes in hexadecimal digits")
    }
}

impl Framer {
    pub(in crate::controller) fn keep(&self) -> KeptFramer {
        let pending = &self.pending;
        KeptFramer {
            offset: self.offset,
            partial: Hex(self.partial.clone()),
            partial_at: self.partial_at,
            skipping: self.skipping,
            pending: pending.open.then(|| KeptRecord {
                offset: pending.offset,
                text: Hex(pending.text.clone()),
                lines: pending.lines,
                block: pending.block,
                tail: pending.tail.iter().cloned().map(Hex).collect(),
            }),
            counts: self.counts,
        }
    }

    /// The framer as it was; `None` if it cannot have been so.
    pub(in crate::controller) fn restore(kept: KeptFramer) -> Option<Framer> {
        let longest = if kept.skipping {
            KEPT_OF_LONG_LINE
        } else {
            MAX_LINE
        };
        if kept.partial.0.len() > longest {
            return None;
        }
        let pending = match kept.pending {
            Some(record) => record.restore()?,
            None => Pending::default(),
        };
        Some(Framer {
            offset: kept.offset,
            partial: kept.partial.0,
            partial_at: kept.partial_at,
            skipping: kept.skipping,
            pending,
            counts: kept.counts,
        })
    }
}

impl KeptRecord {
    fn restore(self) -> Option<Pending> {
        let text = self.text.0;
        let first = text.split(|byte| *byte == b'\n').next()?;
        let header = header(first)?;
        let bounded = text.len() <= MAX_RECORD
            && self.tail.len() <= TAIL_LINES
            && self.tail.iter().all(|line| line.0.len() <= MAX_TAIL_LINE);
        bounded.then(|| Pending {
            open: true,
            offset: self.offset,
            header: Some(header),
            lines: self.lines,
            block: self.block,
            tail: self.tail.into_iter().map(|line| line.0).collect(),
            text,
        })
    }
}

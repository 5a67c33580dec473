//! How the controller's lines are wrapped in a file, and how they are had out of it.

use crate::controller::{framing, journal};

/// How the controller's lines are wrapped in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Lines,
    Export,
    /// From the middle of an entry on.
    TornExport,
    Json,
    Prefixed,
}

pub(super) enum Unwrap {
    Lines,
    Export(journal::Export),
    /// Line by line, each unwrapped by the function.
    ByLine {
        partial: Vec<u8>,
        out: Vec<u8>,
        json: bool,
        /// Entries without a message.
        missing: u64,
    },
}

impl Form {
    pub(super) fn of(head: &[u8]) -> Form {
        if journal::is_export(head) {
            return Form::Export;
        }
        let lines = || head.split(|byte| *byte == b'\n').take(200);
        if lines().any(|line| framing::header(line).is_some()) {
            return Form::Lines;
        }
        // Whatever it is may begin in the middle of a line.
        if lines().any(journal::is_json) {
            return Form::Json;
        }
        if journal::is_torn_export(head) {
            return Form::TornExport;
        }
        match lines().any(|line| journal::without_prefix(line).is_some()) {
            true => Form::Prefixed,
            false => Form::Lines,
        }
    }

    pub(super) fn decoder(self) -> Unwrap {
        match self {
            Form::Lines => Unwrap::Lines,
            Form::Export => Unwrap::Export(journal::Export::default()),
            Form::TornExport => Unwrap::Export(journal::Export::torn()),
            Form::Json => Unwrap::ByLine {
                partial: Vec::new(),
                out: Vec::new(),
                json: true,
                missing: 0,
            },
            Form::Prefixed => Unwrap::ByLine {
                partial: Vec::new(),
                out: Vec::new(),
                json: false,
                missing: 0,
            },
        }
    }
}

impl Unwrap {
    pub(super) fn push(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[u8])) {
        match self {
            Unwrap::Lines => sink(bytes),
            Unwrap::Export(export) => export.push(bytes, sink),
            Unwrap::ByLine {
                partial,
                out,
                json,
                missing,
            } => {
                let mut rest = bytes;
                while let Some(end) = memchr::memchr(b'\n', rest) {
                    partial.extend_from_slice(&rest[..end]);
                    rest = &rest[end + 1..];
                    *missing += u64::from(!unwrap_line(partial, out, *json, sink));
                    partial.clear();
                }
                if partial.len() < 8 << 20 {
                    partial.extend_from_slice(rest);
                }
            }
        }
    }

    pub(super) fn finish(&mut self, sink: &mut impl FnMut(&[u8])) {
        match self {
            Unwrap::Lines => {}
            Unwrap::Export(export) => export.finish(sink),
            Unwrap::ByLine {
                partial,
                out,
                json,
                missing,
            } => {
                if !partial.is_empty() {
                    *missing += u64::from(!unwrap_line(partial, out, *json, sink));
                }
            }
        }
    }

    pub(super) fn missing(&self) -> u64 {
        match self {
            Unwrap::Lines => 0,
            Unwrap::Export(export) => export.missing,
            Unwrap::ByLine { missing, .. } => *missing,
        }
    }
}

/// False if the line held no message.
fn unwrap_line(line: &[u8], out: &mut Vec<u8>, json: bool, sink: &mut impl FnMut(&[u8])) -> bool {
    if json {
        if !journal::json_message(line, out) {
            return false;
        }
        sink(out);
    } else {
        sink(journal::without_prefix(line).unwrap_or(line));
        sink(b"\n");
    }
    true
}

//! Logs of the past, read in their order: what `analyze` and `backtest` share.

use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use hashbrown::HashSet;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::tz::TimeZone;

use crate::clock;
use crate::controller::clock::{LocalClock, Zone};
use crate::controller::journal;
use crate::controller::reader::{ReadCounts, Reader};
use crate::controller::shapes::Shapes;
use crate::core::event::{Event, EventKind, Timestamp, VmId};
use crate::source::archive::{self, Input, Problem};

const CHUNK: usize = 128 << 10;
/// Creations remembered to notice that a second file tells the same boots again.
const MAX_SEEN: usize = 200_000;

pub(super) struct FileRead {
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// What was read, and what was not.
pub(super) struct Replayed {
    pub(super) files: Vec<FileRead>,
    pub(super) problems: Vec<Problem>,
    pub(super) notes: Vec<String>,
    pub(super) records: u64,
    pub(super) orphan_lines: u64,
    pub(super) reads: ReadCounts,
    pub(super) shapes: Shapes,
    /// The zone to show times in: the log's own.
    pub(super) zone: TimeZone,
}

/// Opens every file, and complains of each that cannot be. `None` if none can.
pub(super) fn open(
    paths: &[PathBuf],
    err: &mut dyn Write,
) -> anyhow::Result<Option<(Vec<Input>, Vec<Problem>)>> {
    let mut inputs = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        match Input::open(path) {
            Ok(input) => inputs.push(input),
            Err(problem) => problems.push(problem),
        }
    }
    for problem in &problems {
        writeln!(err, "bootwatch: {}: {}", problem.name, problem.reason)?;
    }
    Ok((!inputs.is_empty()).then_some((inputs, problems)))
}

/// A zone given by name, or the complaint about it.
pub(super) fn zone_of(
    name: Option<&str>,
    err: &mut dyn Write,
) -> anyhow::Result<Result<Option<TimeZone>, ()>> {
    match name.map(TimeZone::get).transpose() {
        Ok(zone) => Ok(Ok(zone)),
        Err(error) => {
            writeln!(
                err,
                "bootwatch: --timezone: {error}; use an IANA name such as UTC or Europe/Berlin"
            )?;
            Ok(Err(()))
        }
    }
}

/// Reads every input, oldest first, and hands its events to `take`.
pub(super) fn replay(
    inputs: Vec<Input>,
    problems: Vec<Problem>,
    named: Option<TimeZone>,
    take: &mut dyn FnMut(&Event<'_>),
) -> Replayed {
    let mut notes = Vec::new();
    let mut kept: Vec<Input> = Vec::new();
    let mut repeats = Vec::new();
    for input in &inputs {
        repeats.push(archive::repeats_another(input, &inputs));
    }
    for (input, repeats) in inputs.into_iter().zip(repeats) {
        match repeats {
            Some(main) => {
                notes.push(format!(
                    "{}: skipped: the controller writes its lines to {main} as well",
                    input.name()
                ));
            }
            None if kept.iter().any(|other| archive::same(other, &input)) => {
                notes.push(format!("{}: skipped: it was given twice", input.name()));
            }
            None => kept.push(input),
        }
    }
    let looked: Vec<Peek> = kept
        .iter()
        .map(|input| peek(&input.head, &input.tail))
        .collect();
    let mains: Vec<Option<String>> = kept
        .iter()
        .zip(&looked)
        .map(|(input, one)| {
            let mut others = kept.iter().zip(&looked);
            let (main, _) = others.find(|(main, other)| {
                one.is_errors_of(other) && !archive::is_one_family(input, main)
            })?;
            Some(main.name())
        })
        .collect();
    let mut peeks: Vec<(Option<PathBuf>, Peek)> = Vec::new();
    let mut told: Vec<Input> = Vec::new();
    for ((input, peek), main) in kept.into_iter().zip(looked).zip(mains) {
        match main {
            Some(main) => notes.push(format!(
                "{}: skipped: it holds nothing but errors, which the controller writes to {main} as well",
                input.name()
            )),
            None => {
                peeks.push((input.path.clone(), peek));
                told.push(input);
            }
        }
    }
    let kept = told;
    let ordered = archive::in_order(kept, |input| {
        // Of two that begin alike the longer one goes first: the other repeats it.
        peek(&input.head, &[])
            .first
            .map(|first| (first, std::cmp::Reverse(input.size)))
    });
    let learnt = peeks.iter().find_map(|(_, peek)| peek.offset_ms);
    let named = named.filter(|zone| {
        let wrong = learnt.is_some() && is_contradicted(zone, &peeks);
        if wrong {
            notes.push(format!(
                "the log's own UTC instants say that its stamps are {0}, not {1}: read as {0}",
                offset_name(learnt.unwrap_or_default()),
                zone.iana_name().unwrap_or("the zone given")
            ));
        }
        !wrong
    });
    let system = TimeZone::system();
    let zone = match (&named, learnt) {
        (Some(zone), _) => Zone::Named(zone.clone()),
        (None, Some(offset_ms)) => Zone::Learnt {
            offset_ms,
            told: true,
        },
        (None, None) => Zone::Named(system.clone()),
    };
    let shown = match (&named, learnt) {
        (Some(zone), _) => zone.clone(),
        (None, Some(offset_ms)) => fixed_zone(offset_ms).unwrap_or(system),
        (None, None) => system,
    };

    let mut reader = Reader::new(0, zone);
    // A record stamped long after the last one is a glitch, and would make an incident years long.
    let lasts: Option<Vec<Timestamp>> = peeks.iter().map(|(_, peek)| peek.last).collect();
    let end = lasts.and_then(|lasts| lasts.into_iter().max());
    reader.reads_at(end.unwrap_or_else(clock::now));
    let mut seen: HashSet<VmId> = HashSet::new();
    let total: Option<u64> = ordered.iter().map(|input| input.size).sum();
    let progress = progress(total);
    let mut files = Vec::new();
    let mut problems = problems;
    for (generation, input) in (0u32..).zip(ordered) {
        let name = input.name();
        progress.set_message(short(&name));
        let looked = peek(&input.head, &input.tail);
        // A VM is created once: a file that tells of one again is another form of what has been read.
        let repeats = looked.created.iter().any(|vm| seen.contains(vm));
        let repeated = reader.counts().repeated;
        let mut noted = |event: &Event<'_>| {
            if let EventKind::CreateStarted { vm, .. } = event.kind
                && seen.len() < MAX_SEEN
            {
                seen.insert(vm);
            }
            take(event);
        };
        reader.begin_file(generation, 0, &mut noted);
        if repeats {
            reader.skip_repeated();
        }
        let (bytes, missing, error) = read(input, &mut reader, &mut noted, &progress);
        let repeated = reader.counts().repeated - repeated;
        if repeated > 0 {
            notes.push(format!(
                "{name}: {repeated} records skipped: they tell again what the files before told"
            ));
        }
        if missing > 0 {
            notes.push(format!(
                "{name}: {missing} journal entries have no message; export with `journalctl -o export`, or `-o json --all`"
            ));
        }
        if let Some(error) = error {
            let reason = match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    format!(
                        "ends in the middle of its compressed data; the first {bytes} bytes of text were read"
                    )
                }
                _ => format!("{error}; the first {bytes} bytes of text were read"),
            };
            problems.push(Problem {
                name: name.clone(),
                reason,
            });
        }
        files.push(FileRead { name, bytes });
    }
    reader.finish(&mut |event| take(event));
    progress.finish_and_clear();

    if let Some(offset) = reader.clock().wrong_by() {
        notes.push(format!(
            "the log's own UTC instants say that its stamps are {}, not the zone given: times may be wrong",
            offset_name(offset)
        ));
    }
    if reader.clock().counts().nonexistent > 0 {
        let count = reader.clock().counts().nonexistent;
        notes.push(format!(
            "{count} stamps fall into the hour that summer time skips; shifted forward"
        ));
    }
    let ahead = reader.counts().ahead;
    if ahead > 0 {
        notes.push(format!(
            "{ahead} records are stamped more than a day after the log's end: taken to be as old as those before them"
        ));
    }
    Replayed {
        files,
        problems,
        notes,
        records: reader.framing().records,
        orphan_lines: reader.framing().orphan_lines,
        reads: reader.counts(),
        shapes: reader.shapes().clone(),
        zone: shown,
    }
}

/// Reads one input to its end; says how much, how many journal entries were empty, and what stopped it if not the end.
fn read(
    input: Input,
    reader: &mut Reader,
    take: &mut dyn FnMut(&Event<'_>),
    progress: &ProgressBar,
) -> (u64, u64, Option<io::Error>) {
    let form = Form::of(&input.head);
    let size = input.size;
    let compressed = input.compressed;
    let mut source = input.into_reader();
    let mut chunk = vec![0; CHUNK];
    let mut bytes = 0u64;
    let mut told = 0;
    let mut decoder = form.decoder();
    let error = loop {
        match source.read(&mut chunk) {
            Ok(0) => break None,
            Ok(length) => {
                bytes += length as u64;
                decoder.push(&chunk[..length], &mut |text| {
                    reader.push(text, &mut |event| take(event))
                });
                // Compressed text does not tell how much of the file is done; about a tenth is usual.
                let done =
                    if compressed { bytes / 10 } else { bytes }.min(size.unwrap_or(u64::MAX));
                if done - told >= 4 << 20 {
                    progress.inc(done - told);
                    told = done;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Some(error),
        }
    };
    decoder.finish(&mut |text| reader.push(text, &mut |event| take(event)));
    progress.inc(size.unwrap_or(told).saturating_sub(told));
    (bytes, decoder.missing(), error)
}

/// How the controller's lines are wrapped in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Lines,
    Export,
    Json,
    Prefixed,
}

enum Unwrap {
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
    fn of(head: &[u8]) -> Form {
        if journal::is_export(head) {
            return Form::Export;
        }
        if journal::is_json(head) {
            return Form::Json;
        }
        let mut lines = head.split(|byte| *byte == b'\n').take(200);
        let plain = head
            .split(|byte| *byte == b'\n')
            .take(200)
            .any(|line| crate::controller::framing::header(line).is_some());
        match !plain && lines.any(|line| journal::without_prefix(line).is_some()) {
            true => Form::Prefixed,
            false => Form::Lines,
        }
    }

    fn decoder(self) -> Unwrap {
        match self {
            Form::Lines => Unwrap::Lines,
            Form::Export => Unwrap::Export(journal::Export::default()),
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
    fn push(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[u8])) {
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

    fn finish(&mut self, sink: &mut impl FnMut(&[u8])) {
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

    fn missing(&self) -> u64 {
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

/// What a file's ends tell without reading it all.
struct Peek {
    first: Option<[u8; 19]>,
    offset_ms: Option<i64>,
    /// A local stamp, and the UTC instant that the same record carries.
    told: Option<(Vec<u8>, Timestamp)>,
    /// VMs whose creation begins there.
    created: Vec<VmId>,
    /// The first and the last record's time, as if their stamps were UTC.
    began: Option<Timestamp>,
    last: Option<Timestamp>,
    /// There are records, and all of them are errors.
    only_errors: bool,
}

impl Peek {
    /// Whether this is an error log, by whatever name, beside a log of all levels that tells of the same time.
    fn is_errors_of(&self, other: &Peek) -> bool {
        let meet = || {
            // Pieces of one log meet in a second at most.
            let before = self.began? < other.last?;
            let after = other.began? < self.last?;
            Some(before && after)
        };
        self.only_errors && !other.only_errors && meet() == Some(true)
    }
}

fn peek(head: &[u8], tail: &[u8]) -> Peek {
    let mut text = Vec::new();
    let mut decoder = Form::of(head).decoder();
    decoder.push(head, &mut |bytes| text.extend_from_slice(bytes));
    decoder.finish(&mut |bytes| text.extend_from_slice(bytes));
    let stamp = |line: &[u8]| {
        crate::controller::framing::header(line).and_then(|_| line.first_chunk::<19>().copied())
    };
    let first = text.split(|byte| *byte == b'\n').find_map(stamp);
    let mut levels = [text.as_slice(), tail]
        .into_iter()
        .flat_map(|text| text.split(|byte| *byte == b'\n'))
        .filter_map(|line| line.get(crate::controller::framing::header(line)?.level));
    let only_errors = first.is_some() && levels.all(|level| level == b"ERROR");
    let mut created = Vec::new();
    let mut told = None;
    let mut look = |bytes: &[u8]| {
        let mut reader = Reader::new(
            0,
            Zone::Learnt {
                offset_ms: 0,
                told: false,
            },
        );
        let mut take = |event: &Event<'_>| {
            if let EventKind::CreateStarted { vm, started_at, .. } = event.kind {
                created.push(vm);
                if let (Some(utc), Some(local)) = (started_at, event.record.get(..19)) {
                    told.get_or_insert((local.to_vec(), utc));
                }
            }
        };
        reader.push(bytes, &mut take);
        reader.finish(&mut take);
    };
    look(&text);
    look(tail);
    let mut utc = LocalClock::new(Zone::Learnt {
        offset_ms: 0,
        told: false,
    });
    // Only the file's end tells; what is shorter than a head is all of it.
    let end = match tail.is_empty() && head.len() < archive::HEAD {
        true => &text,
        false => tail,
    };
    let last = end.rsplit(|byte| *byte == b'\n').find_map(stamp);
    let offset_ms = told
        .as_ref()
        .and_then(|(local, utc)| offset_between(local, *utc));
    Peek {
        first,
        offset_ms,
        told,
        created,
        began: first.and_then(|stamp| utc.read(&stamp)),
        last: last.and_then(|stamp| utc.read(&stamp)),
        only_errors,
    }
}

/// Whether every file's own instants say that its stamps are not this zone's.
fn is_contradicted(zone: &TimeZone, peeks: &[(Option<PathBuf>, Peek)]) -> bool {
    let mut told = peeks.iter().filter_map(|(_, peek)| peek.told.as_ref());
    let contradicts = |(local, utc): &(Vec<u8>, Timestamp)| {
        let mut clock = LocalClock::new(Zone::Named(zone.clone()));
        clock.learn(local, *utc);
        clock.counts().contradictions > 0
    };
    told.clone().next().is_some() && told.all(contradicts)
}

/// The zone's offset that a record with both a local stamp and a UTC instant tells.
fn offset_between(local: &[u8], utc: Timestamp) -> Option<i64> {
    let mut clock = LocalClock::new(Zone::Learnt {
        offset_ms: 0,
        told: false,
    });
    let naive = clock.read(local)?;
    clock.learn(local, utc);
    Some(naive.since(clock.read(local)?))
}

fn fixed_zone(offset_ms: i64) -> Option<TimeZone> {
    let seconds = i32::try_from(offset_ms / 1000).ok()?;
    if seconds == 0 {
        return Some(TimeZone::UTC);
    }
    Some(TimeZone::fixed(
        jiff::tz::Offset::from_seconds(seconds).ok()?,
    ))
}

fn offset_name(offset_ms: i64) -> String {
    let minutes = offset_ms / 60_000;
    if minutes == 0 {
        return "UTC".to_owned();
    }
    let sign = if minutes < 0 { '-' } else { '+' };
    format!(
        "UTC{sign}{:02}:{:02}",
        minutes.abs() / 60,
        minutes.abs() % 60
    )
}

fn progress(total: Option<u64>) -> ProgressBar {
    // Small logs are read before a bar could be seen.
    let worth_it = total.is_none_or(|total| total > 64 << 20);
    if !worth_it || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = match total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::new_spinner(),
    };
    let template = match total {
        Some(_) => "reading {msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        None => "{spinner} reading {msg} {bytes} {bytes_per_sec}",
    };
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar
}

fn short(name: &str) -> String {
    Path::new(name).file_name().map_or_else(
        || name.to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

pub(super) fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map_or_else(|_| String::from("invalid"), |at| format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_from_the_far_future_makes_nothing_years_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let line = |stamp: &str, n: u32| {
            format!(
                "{stamp} [INFO]: [VM-CREATE] Starting VM creation {{\"vmId\":\"vm-00000000-0000-4000-8000-{n:012x}\",\"userId\":\"u\",\"vmType\":\"browser\"}}\n"
            )
        };
        let text = [
            line("2025-10-18 01:52:07", 1),
            line("2025-12-24 01:52:08", 2),
            line("2025-10-18 01:52:09", 3),
        ];
        std::fs::write(&path, text.concat()).unwrap();
        let inputs = vec![Input::open(&path).unwrap()];
        let mut times = Vec::new();
        let replayed = replay(inputs, Vec::new(), Some(TimeZone::UTC), &mut |event| {
            times.push(event.at.0);
        });
        let first = 1_760_752_327_000;
        assert_eq!(times, [first, first, first + 2_000]);
        assert_eq!(replayed.reads.ahead, 1);
        assert_eq!(replayed.notes.len(), 1, "{:?}", replayed.notes);
    }
}

//! Logs of the past, read in their order: what `analyze` and `backtest` share.

mod chosen;
mod form;
mod peek;
mod zone;

use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use hashbrown::HashSet;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::tz::TimeZone;

use super::Status;
use crate::clock;
use crate::controller::reader::{ReadCounts, Reader};
use crate::controller::shapes::Shapes;
use crate::core::event::{Event, EventKind, Timestamp, VmId};
use crate::source::archive::{self, Input, Problem};
use chosen::chosen;
use form::Form;
use peek::{Peek, mark, peek};
use zone::offset_name;
pub(super) use zone::{against, long_moment, zone_name, zone_of};

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

impl Replayed {
    /// Everything was read, a part of it, or nothing.
    pub(super) fn status(&self) -> Status {
        match (self.problems.is_empty(), self.records) {
            (true, _) => Status::Fine,
            (false, 0) => Status::Misused,
            (false, _) => Status::Wrong,
        }
    }

    /// What could not be read, and why.
    pub(super) fn told_problems(&self) -> Vec<String> {
        let told = |problem: &Problem| format!("{}: {}", problem.name, problem.reason);
        self.problems.iter().map(told).collect()
    }
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

/// Reads every input, oldest first, and hands its events to `take`.
pub(super) fn replay(
    inputs: Vec<Input>,
    problems: Vec<Problem>,
    named: Option<TimeZone>,
    take: &mut dyn FnMut(&Event<'_>),
) -> Replayed {
    let mut notes = Vec::new();
    let (kept, peeks): (Vec<Input>, Vec<Peek>) = chosen(inputs, &mut notes).into_iter().unzip();
    let ordered = archive::in_order(kept, |input| {
        // Of two that begin alike the longer one goes first: the other repeats it.
        peek(&input.head, &[])
            .first
            .map(|first| (first, std::cmp::Reverse(input.size)))
    });
    let (zone, shown) = zone::zones(named, &peeks, &mut notes);
    let mut reader = Reader::new(0, zone);
    if ordered.len() > 1 {
        reader.may_be_repeated();
    }
    // A record stamped long after the last one is a glitch, and would make an incident years long.
    let lasts: Option<Vec<Timestamp>> = peeks.iter().map(|peek| peek.last).collect();
    let end = lasts.and_then(|lasts| lasts.into_iter().max());
    reader.reads_at(end.unwrap_or_else(clock::now));
    let mut seen: HashSet<VmId> = HashSet::new();
    // Of what files begin with, what others have said before.
    let begins: HashSet<u64> = match ordered.len() {
        0 | 1 => HashSet::new(),
        _ => peeks.iter().flat_map(|peek| &peek.says).copied().collect(),
    };
    let mut said: HashSet<u64> = HashSet::new();
    let total: Option<u64> = ordered.iter().map(|input| input.size).sum();
    let progress = progress(total);
    let mut files = Vec::new();
    let mut problems = problems;
    for (generation, input) in (0u32..).zip(ordered) {
        let name = input.name();
        progress.set_message(short(&name));
        let looked = peek(&input.head, &input.tail);
        if looked.newest_first {
            let reason = "tells what is newest first; write it oldest first, such as with `tac`, or `journalctl` \
                          without --reverse";
            problems.push(Problem {
                name,
                reason: reason.to_owned(),
            });
            continue;
        }
        // A VM is created once: a file that tells of one again is another form of what has been read. So is one that
        // begins with what was said, where it tells of no creation.
        let repeats =
            looked.created.iter().any(|vm| seen.contains(vm)) || looked.is_told_again(&said);
        let repeated = reader.counts().repeated;
        let mut noted = |event: &Event<'_>| {
            if let EventKind::CreateStarted { vm, .. } = event.kind
                && seen.len() < MAX_SEEN
            {
                seen.insert(vm);
            }
            if !begins.is_empty() {
                said.extend(mark(event).filter(|mark| begins.contains(mark)));
            }
            take(event);
        };
        reader.begin_file(generation, 0, &mut noted);
        if repeats {
            reader.skip_repeated();
        }
        let wide = is_utf16(&input.head);
        let before = reader.framing();
        let (bytes, missing, error) = read(input, &mut reader, &mut noted, &progress);
        reader.finish(&mut noted);
        let lines = reader.framing().lines - before.lines;
        let records = reader.framing().records - before.records;
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
        } else if bytes == 0 {
            // One that was just rotated is so.
            notes.push(format!("{name} is empty: there is nothing to read in it"));
        } else if records == 0 {
            problems.push(Problem {
                name: name.clone(),
                reason: no_record(lines, wide),
            });
        }
        files.push(FileRead { name, bytes });
    }
    progress.finish_and_clear();

    note_unread(&reader, &mut notes);
    note_doubtful_times(&reader, &mut notes);
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

/// Why nothing of a file that is not empty was taken.
fn no_record(lines: u64, wide: bool) -> String {
    if wide {
        return "is UTF-16; write it as UTF-8, such as with `iconv -f UTF-16 -t UTF-8`".to_owned();
    }
    match lines {
        0 => "no record of the master-controller is in it".to_owned(),
        1 => "its only line is no record of the master-controller".to_owned(),
        lines => format!("none of its {lines} lines is a record of the master-controller"),
    }
}

/// By its mark, or by every other byte of its first ones being zero.
fn is_utf16(head: &[u8]) -> bool {
    let marked = head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]);
    let zeros = head
        .first_chunk()
        .map(|first: &[u8; 4]| first.map(|byte| byte == 0));
    marked
        || matches!(
            zeros,
            Some([false, true, false, true] | [true, false, true, false])
        )
}

/// What is no record at all, for programs, too, which read the notes.
fn note_unread(reader: &Reader, notes: &mut Vec<String>) {
    let framing = reader.framing();
    if framing.withheld_lines > 0 {
        notes.push(format!(
            "journalctl withheld {} lines (\"blob data\": they hold colours); export the journal with `-o export`, or \
             `-o json --all`",
            framing.withheld_lines
        ));
    }
    match framing.long_lines {
        0 => {}
        1 => notes.push("1 line is longer than 1 MiB: read in part, or not at all".to_owned()),
        lines => notes.push(format!(
            "{lines} lines are longer than 1 MiB: read in part, or not at all"
        )),
    }
}

fn note_doubtful_times(reader: &Reader, notes: &mut Vec<String>) {
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
    at.utc()
        .map_or_else(|| String::from("invalid"), |at| format!("{at:.3}"))
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

    #[test]
    fn what_journalctl_withheld_is_said_with_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.txt");
        let line = "Nov 20 10:00:01 host master-controller[123]: [220B blob data]\n";
        std::fs::write(&path, line.repeat(3)).unwrap();
        let inputs = vec![Input::open(&path).unwrap()];
        let replayed = replay(inputs, Vec::new(), Some(TimeZone::UTC), &mut |_| ());
        let notes = replayed.notes.join("\n");
        assert!(
            notes.contains("withheld 3 lines") && notes.contains("-o export"),
            "{notes}"
        );
        let problems = replayed.told_problems().join("\n");
        assert!(
            problems.contains("none of its 3 lines is a record"),
            "{problems}"
        );
        assert!(matches!(replayed.status(), Status::Misused));
    }
}

//! Logs of the past: files in any order, compressed or not, and standard input.
//!
//! The order of a rotated family is found from the files themselves: within `x4.log … x1.log, x.log` by the number
//! (never by modification time), between families by the time stamp of the first record. Compression is recognised by
//! its first bytes, not by the name.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

/// What is read of a file's beginning, decompressed, to recognise and order it.
pub const HEAD: usize = 256 << 10;
const TAIL: u64 = 256 << 10;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// One input, looked at but not read.
pub struct Input {
    /// `None` is standard input.
    pub path: Option<PathBuf>,
    /// Bytes on disk; unknown for a pipe.
    pub size: Option<u64>,
    pub compressed: bool,
    /// The first bytes, decompressed.
    pub head: Vec<u8>,
    /// The last bytes, where they can be had without reading everything.
    pub tail: Vec<u8>,
    rest: Option<Box<dyn Read>>,
}

/// An input that could not be used, and why.
#[derive(Debug)]
pub struct Problem {
    pub name: String,
    pub reason: String,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input")
            .field("path", &self.path)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Input {
    #[must_use]
    pub fn name(&self) -> String {
        self.path.as_ref().map_or_else(
            || "standard input".to_owned(),
            |path| path.display().to_string(),
        )
    }

    /// Looks at a file, or at standard input for `-`.
    ///
    /// # Errors
    /// The file cannot be opened or read, or is a directory; the reason says what to do.
    pub fn open(path: &Path) -> Result<Input, Problem> {
        if path.as_os_str() == "-" {
            return Input::from_reader(Box::new(io::stdin()), None).map_err(|error| Problem {
                name: "standard input".to_owned(),
                reason: error.to_string(),
            });
        }
        let problem = |reason: String| Problem {
            name: path.display().to_string(),
            reason,
        };
        let metadata = std::fs::metadata(path).map_err(|error| problem(plain(&error)))?;
        if metadata.is_dir() {
            let example = path.join("master-controller*.log");
            return Err(problem(format!(
                "is a directory; name the log files in it, such as {}",
                example.display()
            )));
        }
        let mut file = File::open(path).map_err(|error| problem(plain(&error)))?;
        let mut tail = Vec::new();
        let mut magic = [0; 2];
        let compressed = file
            .read(&mut magic)
            .map_err(|error| problem(plain(&error)))?
            == 2
            && magic == GZIP;
        let regular = metadata.is_file();
        if regular {
            if !compressed && metadata.len() > HEAD as u64 {
                let from = metadata.len().saturating_sub(TAIL);
                file.seek(SeekFrom::Start(from))
                    .map_err(|error| problem(plain(&error)))?;
                (&file)
                    .take(TAIL)
                    .read_to_end(&mut tail)
                    .map_err(|error| problem(plain(&error)))?;
            }
            file.rewind().map_err(|error| problem(plain(&error)))?;
            let mut input = Input::from_reader(Box::new(file), Some(metadata.len()))
                .map_err(|error| problem(format!("cannot be read: {error}")))?;
            input.path = Some(path.to_owned());
            input.tail = tail;
            return Ok(input);
        }
        // A pipe cannot be rewound: what was read goes in front again.
        let again: Box<dyn Read> = Box::new(io::Cursor::new(magic).chain(file));
        let mut input =
            Input::from_reader(again, None).map_err(|error| problem(error.to_string()))?;
        input.path = Some(path.to_owned());
        Ok(input)
    }

    fn from_reader(mut raw: Box<dyn Read>, size: Option<u64>) -> io::Result<Input> {
        let mut magic = Vec::new();
        raw.by_ref().take(2).read_to_end(&mut magic)?;
        let compressed = magic == GZIP;
        let raw: Box<dyn Read> = Box::new(io::Cursor::new(magic).chain(raw));
        let mut reader: Box<dyn Read> = if compressed {
            Box::new(MultiGzDecoder::new(BufReader::with_capacity(HEAD, raw)))
        } else {
            raw
        };
        let mut head = Vec::new();
        // A torn archive still gives what precedes the tear; the tear is met again, and told, when it is read.
        let mut torn = None;
        let mut chunk = vec![0; 64 << 10];
        while head.len() < HEAD {
            match reader.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => head.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    torn = Some(error);
                    break;
                }
            }
        }
        let rest: Box<dyn Read> = match torn {
            Some(error) => Box::new(Torn(Some(error))),
            None => reader,
        };
        Ok(Input {
            path: None,
            size,
            compressed,
            head,
            tail: Vec::new(),
            rest: Some(rest),
        })
    }

    /// The whole input, decompressed, from its first byte.
    pub fn into_reader(mut self) -> impl Read {
        let rest = self.rest.take().unwrap_or_else(|| Box::new(io::empty()));
        io::Cursor::new(std::mem::take(&mut self.head)).chain(rest)
    }
}

struct Torn(Option<io::Error>);

impl Read for Torn {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "may not be read by this user; run as one who may, or copy it".to_owned()
        }
        _ => error.to_string(),
    }
}

/// A file's place in a rotated family: the family's name and how many rotations ago it was the newest.
#[must_use]
pub fn family(path: &Path) -> Option<(PathBuf, u32)> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let stem = name.strip_suffix(".log")?;
    let digits = stem.len() - stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (base, number) = stem.split_at(stem.len() - digits);
    // The rotation writes x1.log: no separator and no leading zero. Anything else is a name of its own.
    let rotated =
        digits > 0 && !number.starts_with('0') && base.ends_with(|c: char| c.is_alphanumeric());
    let (base, number) = if rotated {
        (base, number.parse().ok()?)
    } else {
        (stem, 0)
    };
    Some((path.with_file_name(base), number))
}

/// Oldest first. `first` gives an input's first time stamp, in any unit.
#[must_use]
pub fn in_order<T: Ord + Copy>(
    inputs: Vec<Input>,
    first: impl Fn(&Input) -> Option<T>,
) -> Vec<Input> {
    let mut families: Vec<(PathBuf, Vec<(u32, Input)>)> = Vec::new();
    for (index, input) in inputs.into_iter().enumerate() {
        let (name, number) = input
            .path
            .as_deref()
            .and_then(family)
            .unwrap_or_else(|| (PathBuf::from(format!("\0{index}")), 0));
        match families.iter_mut().find(|(known, members)| {
            *known == name && members.iter().all(|(other, _)| *other != number)
        }) {
            Some((_, members)) => members.push((number, input)),
            None => families.push((name, vec![(number, input)])),
        }
    }
    for (_, members) in &mut families {
        members.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        // Without the one that has no number they need not be of a rotation: somebody numbers pieces from the oldest on.
        let is_whole = members.last().is_some_and(|(number, _)| *number == 0);
        let backwards = members.windows(2).all(|pair| {
            let stamps = (first(&pair[0].1), first(&pair[1].1));
            matches!(stamps, (Some(older), Some(newer)) if older > newer)
        });
        if !is_whole && backwards {
            members.reverse();
        }
    }
    // Between families the older head goes first; a member without any stamp stays with its elders.
    let mut queues: Vec<std::collections::VecDeque<Input>> = families
        .into_iter()
        .map(|(_, members)| members.into_iter().map(|(_, input)| input).collect())
        .collect();
    let mut ordered = Vec::new();
    loop {
        let next = queues
            .iter()
            .enumerate()
            .filter_map(|(index, queue)| queue.front().map(|input| (first(input), index)))
            .min();
        let Some((_, index)) = next else {
            return ordered;
        };
        if let Some(input) = queues[index].pop_front() {
            ordered.push(input);
        }
    }
}

/// Whether two inputs are one file, or copies of one.
#[must_use]
pub fn same(one: &Input, other: &Input) -> bool {
    let (Some(path), Some(other_path)) = (&one.path, &other.path) else {
        return false;
    };
    path == other_path
        || one.size.is_some()
            && one.size != Some(0)
            && (one.size, &one.head, &one.tail) == (other.size, &other.head, &other.tail)
}

/// Error logs repeat lines of the main log: their family's name is the main family's and `-error`.
#[must_use]
pub fn repeats_another(input: &Input, others: &[Input]) -> Option<String> {
    let (name, _) = input.path.as_deref().and_then(family)?;
    let main = name.to_str()?.strip_suffix("-error")?;
    others
        .iter()
        .find(|other| {
            other
                .path
                .as_deref()
                .and_then(family)
                .is_some_and(|(name, _)| name.to_str() == Some(main))
        })
        .map(Input::name)
}

/// Whether two inputs are pieces of one rotated log, by their names.
#[must_use]
pub fn is_one_family(one: &Input, other: &Input) -> bool {
    let name = |input: &Input| input.path.as_deref().and_then(family).map(|(name, _)| name);
    name(one).is_some() && name(one) == name(other)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn order(names: &[(&str, i64)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let inputs: Vec<Input> = names
            .iter()
            .map(|(name, first)| {
                let path = folder.path().join(name);
                std::fs::write(&path, first.to_string()).unwrap();
                Input::open(&path).unwrap()
            })
            .collect();
        let ordered = in_order(inputs, |input| {
            std::str::from_utf8(&input.head)
                .unwrap()
                .parse::<i64>()
                .ok()
        });
        ordered
            .iter()
            .map(|i| {
                i.path
                    .as_ref()
                    .unwrap()
                    .file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn a_rotated_family_is_ordered_by_number_even_where_stamps_lie() {
        assert_eq!(
            order(&[
                ("x.log", 5),
                ("x1.log", 6),
                ("x2.log", 4),
                ("x10.log", 1),
                ("x3.log", 3)
            ]),
            ["x10.log", "x3.log", "x2.log", "x1.log", "x.log"]
        );
    }

    #[test]
    fn pieces_and_families_are_ordered_by_their_first_stamp() {
        assert_eq!(
            order(&[
                ("m.log", 40),
                ("m1.log", 30),
                ("m-piece-0002.log", 20),
                ("m-piece-0001.log", 10)
            ]),
            ["m-piece-0001.log", "m-piece-0002.log", "m1.log", "m.log"]
        );
    }

    #[test]
    fn pieces_numbered_from_the_oldest_on_are_ordered_by_their_stamps() {
        let pieces = [("part3.log", 30), ("part1.log", 10), ("part2.log", 20)];
        assert_eq!(order(&pieces), ["part1.log", "part2.log", "part3.log"]);
        let rotated = [("x1.log", 30), ("x3.log", 10), ("x2.log", 20)];
        assert_eq!(order(&rotated), ["x3.log", "x2.log", "x1.log"]);
    }

    #[test]
    fn a_family_is_known_by_its_name() {
        let of = |name: &str| {
            family(Path::new(name)).map(|(base, number)| (base.display().to_string(), number))
        };
        assert_eq!(of("/l/x.log"), Some(("/l/x".into(), 0)));
        assert_eq!(of("/l/x4.log.gz"), Some(("/l/x".into(), 4)));
        assert_eq!(of("/l/x-error1.log"), Some(("/l/x-error".into(), 1)));
        assert_eq!(
            of("/l/x-2025-10-18.log"),
            Some(("/l/x-2025-10-18".into(), 0))
        );
        assert_eq!(of("/l/x.txt"), None);
    }

    #[test]
    fn compressed_members_are_read_as_one_and_a_tear_is_told() {
        let gz = |text: &[u8]| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anything");
        std::fs::write(&path, [gz(b"one "), gz(b"two")].concat()).unwrap();
        let input = Input::open(&path).unwrap();
        assert!(input.compressed);
        let mut text = String::new();
        input.into_reader().read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two");
        let whole = gz(&[b'x'; 100_000]);
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let mut bytes = Vec::new();
        let error = Input::open(&path)
            .unwrap()
            .into_reader()
            .read_to_end(&mut bytes)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(bytes.len(), 100_000);
    }

    #[test]
    fn what_cannot_be_opened_is_named_with_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            Input::open(&folder.path().join("no.log"))
                .unwrap_err()
                .reason,
            "does not exist"
        );
        assert!(
            Input::open(folder.path())
                .unwrap_err()
                .reason
                .starts_with("is a directory; name the log files")
        );
    }
}

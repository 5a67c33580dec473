//! The log faces: the two rotating files as winston keeps them, and standard output.
//!
//! Rotation is winston's with `tailable`: once a write has brought the file to its limit, the file is closed, 3 becomes
//! 4 (the old 4 is gone), 2 becomes 3, 1 becomes 2, the base becomes 1, and a new base is opened. By renaming, never by
//! copying; the base is absent between rename and open, and a piece is never written again. The error file repeats
//! every error and rotates on its own count.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::line::{Level, Stamp};
use super::player::Face;
use super::simulation::{Happened, Moment};

/// The controller's own limit.
pub const MAX_SIZE: u64 = 10_485_760;
const FILES: usize = 5;
const BUFFER: usize = 1 << 16;

/// The main log and its error log.
#[derive(Debug)]
pub struct LogFiles {
    main: Rotating,
    errors: Rotating,
    stamp: Stamp,
    line: Vec<u8>,
}

impl LogFiles {
    /// Opens `x.log` and `x-error.log`, to append.
    pub fn open(path: &Path, max_size: u64, zone: TimeZone) -> io::Result<LogFiles> {
        Ok(LogFiles {
            main: Rotating::open(path.to_owned(), max_size)?,
            errors: Rotating::open(beside(path, "-error"), max_size)?,
            stamp: Stamp::new(zone),
            line: Vec::new(),
        })
    }
}

impl Face for LogFiles {
    fn show(&mut self, moment: &Moment) -> io::Result<()> {
        match &moment.what {
            Happened::Line(record) => {
                self.line.clear();
                record.write_plain(&mut self.line, self.stamp.of(moment.at));
                self.main.write(&self.line)?;
                if record.shape.level == Level::Error {
                    self.errors.write(&self.line)?;
                }
                Ok(())
            }
            Happened::Opens => {
                self.main.reopen()?;
                self.errors.reopen()
            }
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.main.flush()?;
        self.errors.flush()
    }
}

/// Standard output's form of the same lines.
#[derive(Debug)]
pub struct Console<W> {
    out: W,
    stamp: Stamp,
    line: Vec<u8>,
}

impl<W: Write> Console<W> {
    pub fn new(out: W, zone: TimeZone) -> Console<W> {
        Console {
            out,
            stamp: Stamp::new(zone),
            line: Vec::new(),
        }
    }
}

impl<W: Write> Face for Console<W> {
    fn show(&mut self, moment: &Moment) -> io::Result<()> {
        let Happened::Line(record) = &moment.what else {
            return Ok(());
        };
        self.line.clear();
        record.write_console(&mut self.line, self.stamp.of(moment.at));
        self.out.write_all(&self.line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[derive(Debug)]
struct Rotating {
    path: PathBuf,
    /// Absent only while the file rotates.
    file: Option<BufWriter<File>>,
    size: u64,
    max_size: u64,
}

impl Rotating {
    fn open(path: PathBuf, max_size: u64) -> io::Result<Rotating> {
        let mut rotating = Rotating {
            path,
            file: None,
            size: 0,
            max_size: max_size.max(1),
        };
        rotating.open_base()?;
        Ok(rotating)
    }

    fn open_base(&mut self) -> io::Result<()> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.path)?;
        self.size = file.metadata()?.len();
        self.file = Some(BufWriter::with_capacity(BUFFER, file));
        Ok(())
    }

    /// As a new process does: appends, or rotates first if the file is already full.
    fn reopen(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file = None;
        self.open_base()?;
        if self.size >= self.max_size {
            self.rotate()?;
        }
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(line)?;
            self.size += line.len() as u64;
        }
        if self.size >= self.max_size {
            self.rotate()?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file = None;
        for n in (1..FILES - 1).rev() {
            let from = beside(&self.path, &n.to_string());
            match std::fs::rename(&from, beside(&self.path, &(n + 1).to_string())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, beside(&self.path, "1"))?;
        self.open_base()
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.flush(),
            None => Ok(()),
        }
    }
}

/// `x.log` with something before its extension: `x1.log`, `x-error.log`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default();
    let mut name = stem.to_os_string();
    name.push(suffix);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

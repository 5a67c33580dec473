//! The names of a rotated log: `x.log` is number 0, `x1.log` number 1 and so on, a higher number being older.
//! `x-error.log` and `x1-error.log` are other logs: their lines are copies, and reading them would count twice.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Beyond this a number is taken for a date or an id in some other file's name, not for a rotation.
const MAX_NUMBER: u32 = 999;

/// A log file's name, and those which rotation gives it.
#[derive(Clone, Debug)]
pub(super) struct Family {
    directory: PathBuf,
    stem: Vec<u8>,
    /// With its dot, or empty. As Node's `path.extname`, which winston uses.
    extension: Vec<u8>,
}

impl Family {
    pub(super) fn new(directory: &Path, path: &Path) -> Family {
        let stem = path.file_stem().unwrap_or_default().as_bytes().to_vec();
        let extension = match path.extension() {
            Some(extension) => [b".", extension.as_bytes()].concat(),
            None => Vec::new(),
        };
        Family {
            directory: directory.to_owned(),
            stem,
            extension,
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn member(&self, number: u32) -> PathBuf {
        let mut name = self.stem.clone();
        if number > 0 {
            name.extend_from_slice(number.to_string().as_bytes());
        }
        name.extend_from_slice(&self.extension);
        self.directory.join(std::ffi::OsString::from_vec(name))
    }

    /// The rotation number of a file name, if it is of this family.
    pub(super) fn number(&self, name: &OsStr) -> Option<u32> {
        let digits = name
            .as_bytes()
            .strip_prefix(self.stem.as_slice())?
            .strip_suffix(self.extension.as_slice())?;
        if digits.is_empty() {
            return Some(0);
        }
        if digits.first() == Some(&b'0') || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let number: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        (number <= MAX_NUMBER).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_rotated_names_and_never_the_error_log() {
        let family = Family::new(Path::new("/logs"), Path::new("/logs/x.log"));
        let number = |name: &str| family.number(OsStr::new(name));
        assert_eq!(number("x.log"), Some(0));
        assert_eq!(number("x1.log"), Some(1));
        assert_eq!(number("x4.log"), Some(4));
        assert_eq!(number("x12.log"), Some(12));
        for other in [
            "x-error.log",
            "x1-error.log",
            "x-error1.log",
            "x.log.1",
            "x.log1",
            "x01.log",
            "x20251018.log",
            "y.log",
            "x1.log.gz",
            "x",
            ".log",
            "",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn names_round_trip_with_and_without_an_extension() {
        for path in ["/logs/x.log", "/logs/x", "/logs/a.b.log", "/logs/.log"] {
            let family = Family::new(Path::new("/logs"), Path::new(path));
            assert_eq!(family.member(0), Path::new(path));
            for n in [0, 1, 4, 10] {
                let member = family.member(n);
                assert_eq!(family.number(member.file_name().unwrap()), Some(n));
            }
        }
    }
}

//! What is wrong with a configuration: all of it at once, one line each, with the remedy.

use std::fmt;

/// One thing to correct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `shutdown.deadline`; empty if the file as a whole is meant.
    pub path: String,
    /// What was found and what to write instead.
    pub text: String,
}

/// Everything wrong with one configuration file and the environment over it; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    file: String,
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            list: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.list.push(Problem {
            path: path.into(),
            text: text.into(),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.list
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.list.len();
        write!(
            f,
            "{}: {count} problem{}",
            self.file,
            if count == 1 { "" } else { "s" }
        )?;
        for problem in &self.list {
            match problem.path.as_str() {
                "" => write!(f, "\n  {}", problem.text)?,
                path => write!(f, "\n  {path}: {}", problem.text)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

//! Who does it: a name that is kept with every change, and what is said to those who give none.

use std::io::Write;

use serde_json::Value;

use super::INCIDENTS;
use super::list::plain;
use super::reach::Reach;
use crate::cli::Status;
use crate::config::Surroundings;
use crate::core::desk;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct By {
    /// Who you are; else the name by which you are logged in
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
}

impl By {
    /// `None`: nobody says who it is.
    pub(super) fn name(&self, surroundings: &Surroundings) -> Option<String> {
        let variable = |wanted: &str| {
            let mut all = surroundings.environment.iter();
            let found = all.find(|(name, value)| name == wanted && !value.is_empty());
            found.map(|(_, value)| value.clone())
        };
        self.author
            .clone()
            .or_else(|| variable("SUDO_USER"))
            .or_else(|| variable("USER"))
            .filter(|name| !name.trim().is_empty())
    }
}

/// What a command without an author names: it is judged all the same, since who is told one mistake at a time asks thrice.
pub(super) enum Known<'a> {
    Nothing,
    Matchers(&'a [String]),
    /// The list that it must be in, what that calls its rows, and the row's number.
    Id(&'static str, &'static str, u64),
    /// An incident by the beginning of its key.
    Incident(&'a str),
}

/// What the sidecar would say of these matchers.
fn misspelt(texts: &[String]) -> Option<String> {
    match desk::matchers_of(texts) {
        Err(error) => Some(error),
        Ok(matchers) => desk::matchers_are_sound(&matchers)
            .err()
            .map(|refused| refused.to_string()),
    }
}

impl Reach {
    /// Refuses what has no author, and says what else is wrong with it.
    pub(super) fn nameless(
        &self,
        known: &Known<'_>,
        surroundings: &Surroundings,
        err: &mut dyn Write,
    ) -> anyhow::Result<Status> {
        let list = match known {
            Known::Id(path, _, _) => Some(*path),
            Known::Incident(_) => Some(INCIDENTS),
            Known::Nothing | Known::Matchers(_) => None,
        };
        let answer = match list {
            None => Value::Null,
            Some(path) => match self.ask(path, surroundings, err)? {
                None => return Ok(Status::Misused),
                Some((_, 200, answer)) => answer,
                Some(_) => Value::Null,
            },
        };
        let holds = |rows: &str, fits: &dyn Fn(&str) -> bool| {
            // What could not be asked is not called wrong.
            let rows = answer[rows].as_array();
            rows.is_none_or(|rows| rows.iter().any(|row| row["id"].as_str().is_some_and(fits)))
        };
        let wrong = match known {
            Known::Nothing => None,
            Known::Matchers(matchers) => misspelt(matchers),
            Known::Id(_, rows, id) => {
                let id = id.to_string();
                (!holds(rows, &|row| row == id)).then(|| format!("there is no {id}"))
            }
            Known::Incident(key) => (!holds("incidents", &|row| row.starts_with(key)))
                .then(|| format!("no open incident begins with {key}")),
        };
        if let Some(wrong) = wrong {
            writeln!(err, "{}", plain(&wrong))?;
        }
        writeln!(
            err,
            "author: say who you are, with --author NAME: neither SUDO_USER nor USER is set"
        )?;
        Ok(Status::Misused)
    }
}

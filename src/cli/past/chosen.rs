//! Which of the given files are read: one that tells again what another tells is passed over.

use super::peek::{Peek, peek};
use crate::source::archive::{self, Input};

/// Those that are read, with what their ends tell; `notes` says of the others why not.
pub(super) fn chosen(inputs: Vec<Input>, notes: &mut Vec<String>) -> Vec<(Input, Peek)> {
    let repeats: Vec<Option<String>> = inputs
        .iter()
        .map(|input| archive::repeats_another(input, &inputs))
        .collect();
    let mut single: Vec<Input> = Vec::new();
    for (input, repeats) in inputs.into_iter().zip(repeats) {
        match repeats {
            Some(main) => notes.push(format!(
                "{}: skipped: the controller writes its lines to {main} as well",
                input.name()
            )),
            None if single.iter().any(|other| archive::same(other, &input)) => {
                notes.push(format!("{}: skipped: it was given twice", input.name()));
            }
            None => single.push(input),
        }
    }
    without_error_logs(single, notes)
}

/// An error log, by whatever name, holds nothing that the log of all levels does not.
fn without_error_logs(inputs: Vec<Input>, notes: &mut Vec<String>) -> Vec<(Input, Peek)> {
    let looked: Vec<(Input, Peek)> = inputs
        .into_iter()
        .map(|input| {
            let peek = peek(&input.head, &input.tail);
            (input, peek)
        })
        .collect();
    let mains: Vec<Option<String>> = looked
        .iter()
        .map(|(input, one)| {
            let (main, _) = looked.iter().find(|(main, other)| {
                one.is_errors_of(other) && !archive::is_one_family(input, main)
            })?;
            Some(main.name())
        })
        .collect();
    let mut kept = Vec::new();
    for (one, main) in looked.into_iter().zip(mains) {
        match main {
            Some(main) => notes.push(format!(
                "{}: skipped: it holds nothing but errors, which the controller writes to {main} as well",
                one.0.name()
            )),
            None => kept.push(one),
        }
    }
    kept
}

//! Where to begin: a family as found on disk, newest first, meets what a checkpoint says was read of it.

use std::io;

use super::checkpoint::{Checkpoint, Mark, Position};
use super::generation::Generation;
use super::identity::{FileId, pairs};
use super::options::StartAt;
use super::walk::Found;

/// The generations to read, oldest first.
#[derive(Default)]
pub(super) struct Start {
    pub(super) generations: Vec<Generation>,
    pub(super) next_generation: u32,
    pub(super) history_end: Option<Position>,
    /// Files that were read to their end and are not in the family, or are older than those marked.
    pub(super) finished: Vec<Mark>,
    /// The newest generation that the checkpoint knew, if its file is gone.
    pub(super) lost_after: Option<u32>,
    pub(super) rewritten: Vec<Rewritten>,
}

/// A known file whose content is not what was read.
pub(super) struct Rewritten {
    pub(super) generation: u32,
    pub(super) becomes: u32,
    pub(super) read_to: u64,
}

/// Generation numbers begin here.
const FIRST: u32 = 1;

pub(super) fn first_start(found: Vec<Found>, start: StartAt) -> io::Result<Start> {
    let mut generations = Vec::new();
    let mut next_generation = FIRST;
    let mut history_end = None;
    for file in found.into_iter().rev() {
        let mut generation = Generation::new(next_generation, file.handle, &file.stat);
        match start {
            StartAt::Beginning => {
                generation.history_end = file.stat.size;
                history_end = Some(Position {
                    generation: next_generation,
                    offset: file.stat.size,
                });
            }
            StartAt::End => generation.skip(file.number == 0)?,
        }
        generations.push(generation);
        next_generation += 1;
    }
    Ok(Start {
        generations,
        next_generation,
        history_end,
        ..Start::default()
    })
}

/// Whether this is the log of which the checkpoint says that nothing of it was read.
pub(super) fn is_that_empty_log(checkpoint: &Checkpoint, found: &[Found]) -> bool {
    checkpoint
        .empty
        .is_some_and(|(id, born)| found.iter().any(|file| is_same_file(id, born, file)))
}

pub(super) fn resume(found: Vec<Found>, checkpoint: Checkpoint) -> io::Result<Start> {
    let Checkpoint {
        files: mut marks,
        empty: _,
        next_generation,
        history_end,
    } = checkpoint;
    marks.reverse();
    let pairs = pairs(marks.iter(), &found)?;

    let mut start = Start {
        next_generation: next_generation.max(FIRST),
        history_end,
        ..Start::default()
    };
    let newest_known = pairs.first().map_or(found.len(), |&(_, file)| file);
    let is_paired = |mark: usize| pairs.iter().any(|&(paired, _)| paired == mark);
    start.finished = marks
        .iter()
        .enumerate()
        .filter(|&(index, _)| !is_paired(index))
        .map(|(_, mark)| mark.clone())
        .rev()
        .collect();
    // If the family is nothing but the log itself, or an elder proves that it did not rotate away, then a file with a
    // known inode and other content was rewritten in place. Otherwise its inode was reused.
    let alone = matches!(found.as_slice(), [only] if only.number == 0);
    let stayed = alone || !pairs.is_empty();
    let known_as = |file: &Found| {
        let mut marks = marks.iter().filter(|_| stayed);
        marks.find(|mark| is_same_file(mark.file, mark.born, file))
    };
    let newest_rewritten = found
        .iter()
        .take(newest_known)
        .position(|file| known_as(file).is_some());
    for (index, file) in found.into_iter().enumerate().rev() {
        let mark = pairs
            .iter()
            .find(|&&(_, paired)| paired == index)
            .and_then(|&(mark, _)| marks.get(mark));
        if let Some(mark) = mark {
            let mut generation = Generation::resumed(file.handle, &file.stat, mark)?;
            generation.history_end = history_in(mark.generation, history_end);
            start.generations.push(generation);
        } else if index < newest_known {
            let known = known_as(&file);
            let is_behind = newest_rewritten.is_some_and(|newest| index > newest);
            if is_behind && known.is_none() && file.stat.size == 0 {
                // It was passed before the rewritten one was begun, and leaves no mark.
                continue;
            }
            let number = start.next_generation;
            start.next_generation += 1;
            start.rewritten.extend(known.map(|mark| Rewritten {
                generation: mark.generation,
                becomes: number,
                read_to: mark.offset,
            }));
            let mut generation = Generation::new(number, file.handle, &file.stat);
            generation.history_end = history_in(number, history_end);
            start.generations.push(generation);
        }
        // What lies behind the newest known file was read before that one was begun.
    }
    // The file read last is gone, with what it held behind the place reached, and perhaps others after it.
    let newest = marks.first().map(|mark| mark.generation);
    let is_there = is_paired(0)
        || start
            .rewritten
            .iter()
            .any(|rewritten| Some(rewritten.generation) == newest);
    start.lost_after = newest.filter(|_| !is_there);
    Ok(start)
}

fn is_same_file(id: FileId, born: Option<i64>, file: &Found) -> bool {
    let born_alike = match (born, file.stat.born) {
        (Some(then), Some(now)) => then == now,
        _ => true,
    };
    id == file.stat.id && born_alike
}

/// How far into a generation the history of the first start reaches.
fn history_in(generation: u32, end: Option<Position>) -> u64 {
    match end {
        Some(end) if generation < end.generation => u64::MAX,
        Some(end) if generation == end.generation => end.offset,
        _ => 0,
    }
}

//! Arbitrary bytes through all that reads a log, for as long as `FUZZ_SECONDS` says: seeds and samples of the controller's
//! log, torn, repeated, spliced and overwritten. The fuzzer proper (`fuzz/`) needs a nightly compiler; this does not.

use std::path::Path;
use std::time::Duration;

use bootwatch::clock::Stopwatch;

use crate::program::fixture;
use crate::torture::dice::{Dice, seed};

#[path = "../../fuzz/through.rs"]
mod body;

use body::through;

/// Without `FUZZ_SECONDS`: a look, no search.
const BRIEFLY: Duration = Duration::from_secs(2);
const LARGEST: usize = 16 << 10;

/// What parsers trip over.
const WORDS: [&[u8]; 16] = [
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff\xfe",
    b"\x1b[31M",
    b"2025-10-18 01:52:07 [ERROR]: ",
    b"2025-10-26 02:30:00 [INFO]: ",
    b"9999-12-31 23:59:59 [INFO]: ",
    b"0000-00-00 00:00:00 [WARN]: ",
    b" {\"",
    b"{\n",
    b"\n}\n",
    b"\"elapsed\":-1",
    b"\"elapsed\":18446744073709551616",
    b"{\"metadata\":{",
    b"uncaughtException: ",
];

fn seeds() -> Vec<Vec<u8>> {
    let folders = [
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/framing_decode"),
        fixture(""),
    ];
    let mut files: Vec<_> = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none_or(|it| it == "log"))
        .filter(|path| path.is_file())
        .collect();
    // A folder has no order, and a seed of chance must mean the same everywhere.
    files.sort();
    files
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

fn piece<'a>(of: &'a [u8], dice: &mut Dice, most: usize) -> &'a [u8] {
    let from = dice.below(of.len());
    let length = dice.below(most.min(of.len() - from)) + 1;
    &of[from..(from + length).min(of.len())]
}

/// The first byte chooses how it is read.
fn input(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut log = piece(&seeds[dice.below(seeds.len())], dice, LARGEST).to_vec();
    for _ in 0..dice.below(8) {
        let at = dice.below(log.len() + 1);
        let until = (at + dice.below(64)).min(log.len());
        match dice.below(6) {
            0 => drop(log.drain(at..until)),
            1 => drop(log.splice(at..until, log[at..until].to_vec().repeat(3))),
            2 => {
                let other = &seeds[dice.below(seeds.len())];
                drop(log.splice(at..until, piece(other, dice, 2_048).to_vec()));
            }
            3 => drop(log.splice(at..at, WORDS[dice.below(WORDS.len())].to_vec())),
            4 => log.truncate(at),
            _ => {
                for byte in &mut log[at..until] {
                    *byte = u8::try_from(dice.below(256)).unwrap();
                }
            }
        }
    }
    log.truncate(LARGEST);
    log.insert(0, u8::try_from(dice.below(256)).unwrap());
    log
}

#[test]
fn no_bytes_stop_whoever_reads_them() {
    let seconds = std::env::var("FUZZ_SECONDS").ok();
    let lasts = seconds.map_or(BRIEFLY, |seconds| {
        Duration::from_secs(seconds.parse().expect("FUZZ_SECONDS is a number"))
    });
    let (seeds, seed) = (seeds(), seed());
    assert!(seeds.len() > 7, "the seeds are there");
    let mut dice = Dice::new(seed);
    let (watch, mut rounds) = (Stopwatch::start(), 0_u64);
    while watch.elapsed() < lasts {
        let log = input(&seeds, &mut dice);
        if std::panic::catch_unwind(|| through(&log)).is_err() {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-input");
            std::fs::write(&kept, &log).unwrap();
            panic!(
                "SEED={seed}, round {rounds}: the input is {}",
                kept.display()
            );
        }
        rounds += 1;
    }
    assert!(rounds > 10, "{rounds} inputs in {lasts:?}");
    println!("{rounds} inputs by SEED={seed}");
}

//! Killed at every system call by which SQLite changes a file: `strace` kills the program when it is about to make the
//! nth one. What the calls are is not told by anything in the program, so that what is tested is what is shipped.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::desk::Desk;
use super::program::Program;
use super::stream::{Stream, Writer, place};
use super::told::{Told, told};

/// Every call that changes what a file of the store holds, or that it is there.
const CALLS: &str = "pwrite64,fdatasync,fsync,ftruncate,unlink";
/// The program waits more than it works.
const AT_ONCE: usize = 12;

/// `nth`: the call at which it is killed; `None`: all are counted and none is stopped.
fn under(program: &Program, nth: Option<usize>) -> Vec<String> {
    let store = program.store().display().to_string();
    let words = ["strace", "-f", "-qq", "-e", "signal=none", "-o", "calls"];
    let mut line: Vec<String> = words.map(str::to_owned).into();
    for part in ["", "-wal"] {
        line.extend(["-P".to_owned(), format!("{store}{part}")]);
    }
    line.extend(["-e".to_owned(), format!("trace={CALLS}")]);
    if let Some(nth) = nth {
        line.push("-e".to_owned());
        line.push(format!("inject={CALLS}:signal=KILL:when={nth}"));
    }
    line
}

struct Ended {
    told: Told,
    desk: Desk,
    deaths: usize,
}

/// A first start, an incident, its end and a restart in between; killed once, or not at all.
fn play(folder: &Path, stream: &Stream, nth: Option<usize>) -> Ended {
    fs::create_dir_all(folder.join("store")).unwrap();
    let mut program = Program::new(folder);
    program.under = under(&program, nth);
    program.under_once = true;
    let desk = Desk::start(|_, _| {});
    program.configure(desk.address);
    let mut writer = Writer::new(&program.log());
    let [first, last] = [stream.live, stream.over[0]];
    let mut write = |records: &[super::stream::Record]| {
        for record in records {
            writer.write(&record.bytes);
        }
        writer.place()
    };
    let read_to = |program: &mut Program, wanted| {
        program.until(&format!("the log is read to {wanted:?}"), |program| {
            place(&program.store()) == Some(wanted)
        });
    };
    let history = write(&stream.records[..first]);
    program.start();
    read_to(&mut program, history);
    write(&stream.records[first..last]);
    program.until("the incident fires", |_| desk.firing() == 1);
    let rest = write(&stream.records[last..]);
    program.until("the incident is over", |_| desk.resolved() == 1);
    read_to(&mut program, rest);
    // The end writes, too; one that was killed in it begins again.
    if program.end_or_die() {
        program.start();
        read_to(&mut program, rest);
        assert!(!program.end_or_die(), "{}", program.errors());
    }
    Ended {
        told: told(&program.store()),
        desk,
        deaths: program.deaths.load(Ordering::SeqCst),
    }
}

#[test]
fn an_abort_at_every_statement_of_the_store_changes_nothing() {
    let stream = Stream::short();
    let folder = tempfile::tempdir().unwrap();
    let clean = play(&folder.path().join("clean"), &stream, None);
    assert_eq!(clean.deaths, 0);
    assert_eq!(clean.told.incidents(), 1);
    clean.desk.assert_exactly_once(&clean.told.keys, "clean");
    let calls = fs::read_to_string(folder.path().join("clean/calls")).unwrap();
    // A call that another thread interrupted is written in two halves.
    let calls = calls
        .lines()
        .filter(|line| !line.contains("resumed>"))
        .count();
    assert!((40..800).contains(&calls), "{calls} calls");

    // A few more than there were: when what waits is written is the clock's matter.
    let next = AtomicUsize::new(1);
    let killed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, Ordering::SeqCst);
                    if nth > calls {
                        return;
                    }
                    let what = format!("killed at call {nth} of {calls}");
                    let own = folder.path().join(nth.to_string());
                    let run = play(&own, &stream, Some(nth));
                    assert!(run.deaths <= 1, "{what}: {}", run.deaths);
                    killed.fetch_add(run.deaths, Ordering::SeqCst);
                    assert_eq!(run.told.incidents(), 1, "{what}");
                    run.desk.assert_exactly_once(&run.told.keys, &what);
                    run.told.assert_same(&clean.told, &what);
                    fs::remove_dir_all(own).unwrap();
                }
            });
        }
    });
    let killed = killed.load(Ordering::SeqCst);
    println!("{calls} calls, {killed} kills");
    assert!(killed * 10 >= calls * 8, "{killed} of {calls}");
}

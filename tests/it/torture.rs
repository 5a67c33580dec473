//! What survives what: the whole program, killed at any moment and at every statement of its store, beside a clean run.
//!
//! A failing seed is printed and plays the same script again: `SEED=… cargo test --test it torture`.

mod desk;
pub(crate) mod dice;
mod program;
mod script;
mod statements;
mod stream;
mod told;
pub(crate) mod trouble;

use std::sync::Arc;

use script::Script;
use stream::Stream;

/// What a log tells is told once, however often the program dies over it.
#[test]
fn two_hundred_kills_leave_the_history_and_the_pages_of_a_run_without_any() {
    let seed = dice::seed();
    println!("SEED={seed}");
    let stream = Arc::new(Stream::long(seed));
    assert!(stream.lines() >= 20_000, "{} lines", stream.lines());
    let folder = tempfile::tempdir().unwrap();
    let play = |name: &str, deadly: bool| {
        let script = Script::new(&stream, seed);
        script::play(&folder.path().join(name), &stream, script, deadly)
    };
    let (clean, tortured) = std::thread::scope(|scope| {
        let clean = scope.spawn(|| play("clean", false));
        let tortured = play("tortured", true);
        (clean.join().unwrap(), tortured)
    });
    let what = format!("SEED={seed}");
    assert_eq!(clean.deaths, 0);
    assert!(
        tortured.deaths >= script::KILLS,
        "{what}: {}",
        tortured.deaths
    );
    for run in [&clean, &tortured] {
        assert_eq!((run.rotations, run.truncations), (30, 4), "{what}");
        assert_eq!(run.told.incidents(), 2, "{what}");
        run.desk.assert_exactly_once(&run.told.keys, &what);
    }
    // Each message killed the program before it was answered, when it came for the first time.
    for (id, times) in tortured.desk.times() {
        assert!(times >= 2, "{what}: {id} came {times} times");
    }
    assert_eq!(clean.told.boots(), stream.boots, "{what}");
    tortured.told.assert_same(&clean.told, &what);
}

//! Lines of a busy log that wait for more, and what ends their waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::source::tail::generation::Gathered::{Kept, Nothing, Speaks};
use crate::source::tail::generation::{MOST_GATHERED, READ};

/// A line with an exclamation mark is urgent; others wait for a second.
fn busy() -> (Log, Tail) {
    busy_with(|| 0)
}

/// So many urgent lines may wait.
fn busy_with(may_wait: impl Fn() -> usize + Send + Sync + 'static) -> (Log, Tail) {
    let log = Log::new();
    log.write("0\n");
    let mut options = log.options();
    options.gather_for = seconds(1);
    options.urgent = Urgent::new(|lines| memchr::memchr_iter(b'!', lines).count(), may_wait);
    let mut tail = Tail::with(options, None, Box::new(Disk));
    tail.forget();
    (log, tail)
}

#[test]
fn lines_wait_until_an_urgent_one_comes_and_keep_their_order() {
    let (log, mut tail) = busy();
    log.write("1\n2\n");
    assert_eq!(tail.beat(), Kept);
    log.write("3\nhal");
    assert_eq!(tail.beat(), Kept);
    assert_eq!(tail.text(), "");
    assert_eq!(tail.stats().lag_bytes, 9);
    log.write("f!\n4\nha");
    assert_eq!(tail.beat(), Speaks);
    assert_eq!(tail.text(), "1\n2\n3\nhalf!\n4\n");
}

#[test]
fn of_urgent_lines_no_more_wait_than_may() {
    let may_wait = Arc::new(AtomicUsize::new(2));
    let asked = Arc::clone(&may_wait);
    let (log, mut tail) = busy_with(move || asked.load(Ordering::Relaxed));
    log.write("1!\n2\n");
    assert_eq!(tail.beat(), Kept);
    log.write("3!\n");
    assert_eq!(tail.beat(), Kept, "two of them");
    log.write("4\n5!");
    assert_eq!(tail.beat(), Kept, "the third is not whole yet");
    log.write("\n");
    assert_eq!(tail.beat(), Speaks);
    assert_eq!(tail.text(), "1!\n2\n3!\n4\n5!\n");
    log.write("6!\n");
    assert_eq!(tail.beat(), Kept, "they are counted anew");
    may_wait.store(0, Ordering::Relaxed);
    log.write("7\n");
    assert_eq!(tail.beat(), Speaks, "none may by now");
    assert_eq!(tail.text(), "6!\n7\n");
    may_wait.store(1, Ordering::Relaxed);
    log.write("8!\n");
    assert_eq!(tail.beat(), Kept);
    assert_eq!(tail.beat(), Nothing);
    may_wait.store(0, Ordering::Relaxed);
    assert_eq!(tail.beat(), Speaks, "though nothing came");
    assert_eq!(tail.text(), "8!\n");
}

#[test]
fn an_urgent_line_is_noticed_once_it_is_whole() {
    let (log, mut tail) = busy();
    log.write("1\nfire! fire");
    assert_eq!(tail.beat(), Kept);
    log.write("\n");
    assert_eq!(tail.beat(), Speaks);
    assert_eq!(tail.text(), "1\nfire! fire\n");
}

#[test]
fn lines_wait_no_longer_than_they_are_told_to() {
    let (log, mut tail) = busy();
    log.write("1\n");
    tail.now += Duration::from_millis(999);
    assert_eq!(tail.beat(), Kept);
    log.write("2\n");
    tail.now += Duration::from_millis(1);
    assert_eq!(tail.beat(), Speaks);
    assert_eq!(tail.text(), "1\n2\n");
}

#[test]
fn where_nothing_came_it_waits_on_until_the_time_is_over() {
    let (log, mut tail) = busy();
    log.write("1\n");
    assert_eq!(tail.beat(), Kept);
    tail.now += Duration::from_millis(999);
    assert_eq!(tail.beat(), Nothing);
    assert_eq!(tail.text(), "");
    tail.now += Duration::from_millis(1);
    assert_eq!(tail.beat(), Speaks);
    assert_eq!(tail.text(), "1\n");
}

#[test]
fn a_look_at_the_folder_that_finds_nothing_does_not_end_it() {
    let (log, mut tail) = busy();
    log.write("1\n");
    assert_eq!(tail.beat(), Kept);
    tail.follower.look(tail.now);
    assert_eq!(tail.beat(), Nothing);
    log.write("2\n");
    tail.follower.look(tail.now);
    assert_eq!(tail.beat(), Kept);
    log.rotate();
    log.write("3\n");
    tail.follower.look(tail.now);
    assert_eq!(tail.beat(), Speaks);
    assert_eq!(tail.text(), "1\n2\n3\n");
}

#[test]
fn while_a_rotated_file_may_get_late_writes_a_look_ends_it() {
    let (log, mut tail) = busy();
    log.rotate();
    log.write("1\n");
    assert_eq!(tail.look().text(), "1\n");
    log.write("2\n");
    assert_eq!(tail.beat(), Kept);
    append(&log.path(1), "0!\n");
    tail.follower.look(tail.now);
    assert_eq!(tail.beat(), Speaks);
    assert_eq!(tail.text(), "0!\n2\n");
}

#[test]
fn what_is_much_does_not_wait() {
    let (log, mut tail) = busy();
    let line = "x".repeat(READ / 2 - 1) + "\n";
    for _ in 1..MOST_GATHERED / line.len() {
        log.write(&line);
        assert_eq!(tail.beat(), Kept);
    }
    log.write(&line);
    assert_eq!(tail.beat(), Speaks);
    assert_eq!(tail.text().len(), MOST_GATHERED);
    log.write(line.repeat(5));
    assert_eq!(
        tail.beat(),
        Speaks,
        "and neither does what one read cannot take"
    );
    assert_eq!(tail.text().len(), READ / 2 * 5);
}

#[test]
fn what_waits_is_not_covered_by_the_checkpoint() {
    let (log, mut tail) = busy();
    log.write("1\n");
    assert_eq!(tail.beat(), Kept);
    let mut tail = tail.restart(&log);
    assert_eq!(tail.text(), "1\n");
}

#[test]
fn what_waits_outlives_a_rotation_and_a_truncation() {
    let (log, mut tail) = busy();
    log.write("1\n");
    assert_eq!(tail.beat(), Kept);
    log.write("2\n");
    log.rotate();
    log.write("3\n");
    assert_eq!(tail.look().text(), "1\n2\n3\n");
    log.write("4\n");
    assert_eq!(tail.beat(), Kept);
    log.truncate();
    assert_eq!(tail.beat(), Speaks);
    log.write("5\n");
    assert_eq!(tail.wake().text(), "4\n5\n");
}

#[test]
fn by_default_nothing_waits() {
    let log = Log::new();
    log.write("0\n");
    let mut tail = Tail::start(&log, None);
    tail.forget();
    log.write("1\n");
    assert_eq!(tail.beat(), Speaks);
    assert_eq!(tail.text(), "1\n");
}

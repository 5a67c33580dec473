//! Lines of a busy log that wait for more, and what ends their waiting.

use super::*;
use crate::source::tail::generation::READ;

/// A line with an exclamation mark is urgent; others wait for a second.
fn patient(log: &Log) -> Tail {
    let mut options = log.options();
    options.gather_for = seconds(1);
    options.urgent = Urgent::new(|lines| lines.contains(&b'!'));
    let mut tail = Tail::with(options, None, Box::new(Disk));
    tail.forget();
    tail
}

fn busy() -> (Log, Tail) {
    let log = Log::new();
    log.write("0\n");
    let tail = patient(&log);
    (log, tail)
}

#[test]
fn lines_wait_until_an_urgent_one_comes_and_keep_their_order() {
    let (log, mut tail) = busy();
    log.write("1\n2\n");
    assert!(!tail.beat());
    log.write("3\nhal");
    assert!(!tail.beat());
    assert_eq!(tail.text(), "");
    assert_eq!(tail.stats().lag_bytes, 9);
    log.write("f!\n4\nha");
    assert!(tail.beat());
    assert_eq!(tail.text(), "1\n2\n3\nhalf!\n4\n");
}

#[test]
fn an_urgent_line_is_noticed_once_it_is_whole() {
    let (log, mut tail) = busy();
    log.write("1\nfire! fire");
    assert!(!tail.beat());
    log.write("\n");
    assert!(tail.beat());
    assert_eq!(tail.text(), "1\nfire! fire\n");
}

#[test]
fn lines_wait_no_longer_than_they_are_told_to() {
    let (log, mut tail) = busy();
    log.write("1\n");
    tail.now += Duration::from_millis(999);
    assert!(!tail.beat());
    log.write("2\n");
    tail.now += Duration::from_millis(1);
    assert!(tail.beat());
    assert_eq!(tail.text(), "1\n2\n");
}

#[test]
fn silence_ends_the_waiting() {
    let (log, mut tail) = busy();
    log.write("1\n");
    assert!(!tail.beat());
    assert!(tail.beat());
    assert_eq!(tail.text(), "1\n");
}

#[test]
fn a_look_at_the_folder_ends_it() {
    let (log, mut tail) = busy();
    log.write("1\n");
    assert!(!tail.beat());
    assert_eq!(tail.look().text(), "1\n");
}

#[test]
fn what_is_much_does_not_wait() {
    let (log, mut tail) = busy();
    let line = "x".repeat(READ / 2 - 1) + "\n";
    log.write(&line);
    assert!(!tail.beat());
    log.write(&line);
    assert!(tail.beat());
    assert_eq!(tail.text().len(), READ);
    log.write(line.repeat(5));
    assert!(tail.beat(), "and neither does what one read cannot take");
    assert_eq!(tail.text().len(), READ / 2 * 5);
}

#[test]
fn what_waits_is_not_covered_by_the_checkpoint() {
    let (log, mut tail) = busy();
    log.write("1\n");
    assert!(!tail.beat());
    let mut tail = tail.restart(&log);
    assert_eq!(tail.text(), "1\n");
}

#[test]
fn what_waits_outlives_a_rotation_and_a_truncation() {
    let (log, mut tail) = busy();
    log.write("1\n");
    assert!(!tail.beat());
    log.write("2\n");
    log.rotate();
    log.write("3\n");
    assert_eq!(tail.look().text(), "1\n2\n3\n");
    log.write("4\n");
    assert!(!tail.beat());
    log.truncate();
    assert!(tail.beat());
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
    assert!(tail.beat());
    assert_eq!(tail.text(), "1\n");
}

//! Which file is which after a restart: inode, head, guard and order, each alike or not. The file system of these tests
//! gives inodes by name, so that after a full round of rotations every one has come back, and no times of birth.

use super::faults::Faulty;
use super::*;

fn names_have_inodes() -> Box<Faulty> {
    let (faulty, faults) = Faulty::new();
    faults.lock().unwrap().inode_of_name = true;
    Box::new(faulty)
}

fn start(log: &Log, checkpoint: Option<Checkpoint>) -> Tail {
    Tail::with(log.options(), checkpoint, names_have_inodes())
}

fn again(log: &Log, tail: &Tail) -> Tail {
    start(log, tail.kept())
}

#[test]
fn same_inode_and_same_head_is_the_same_file() {
    let log = Log::new();
    log.write("head\n1\n");
    let tail = start(&log, None);
    log.write("2\n");
    let mut tail = again(&log, &tail);
    assert_eq!(tail.text(), "2\n");
    assert_eq!((tail.stats().losses, tail.stats().truncations), (0, 0));
}

#[test]
fn same_inode_and_a_new_head_is_a_new_file() {
    let log = Log::new();
    log.write("head\n1\n");
    let tail = start(&log, None);
    fs::write(log.path(0), "other head\n1\n2\n").unwrap();
    let mut tail = again(&log, &tail);
    assert_eq!(tail.text(), "other head\n1\n2\n");
    assert_eq!(
        tail.stats().truncations,
        1,
        "alone in its family, it was rewritten"
    );
}

#[test]
fn a_new_inode_and_the_same_head_is_a_new_file() {
    let log = Log::new();
    log.write("head\n1\n");
    let tail = start(&log, None);
    log.rotate_without_new_base();
    fs::remove_file(log.path(1)).unwrap();
    append(&log.path(2), "head\n2\n3\n");
    let mut tail = again(&log, &tail);
    assert_eq!(tail.text(), "head\n2\n3\n");
    assert_eq!(
        tail.stats().losses,
        1,
        "what the vanished file still held is unknown"
    );
}

#[test]
fn both_new_is_a_new_file_and_a_loss() {
    let log = Log::new();
    log.write("head\n1\n");
    let tail = start(&log, None);
    fs::remove_file(log.path(0)).unwrap();
    append(&log.path(1), "another\n");
    let mut tail = again(&log, &tail);
    assert_eq!(tail.text(), "another\n");
    assert_eq!(tail.stats().losses, 1);
}

#[test]
fn five_rotations_while_stopped_bring_every_inode_back_and_every_surviving_line_is_read_once() {
    for (stat, files) in [("invented inodes", true), ("the real ones", false)] {
        let log = Log::new();
        for n in 0..5 {
            log.rotate_without_new_base();
            log.write(format!("banner\n{n} old\n"));
        }
        let start = |checkpoint| match files {
            true => start(&log, checkpoint),
            false => Tail::start(&log, checkpoint),
        };
        let tail = start(None);
        log.write("unread\n");
        for n in 5..10 {
            log.rotate_without_new_base();
            log.write(format!("banner\n{n} new\n"));
        }
        let mut tail = start(tail.kept());
        let expected: String = (5..10).map(|n| format!("banner\n{n} new\n")).collect();
        assert_eq!(
            tail.stats().losses,
            1,
            "{stat}: the rest of the last file is gone"
        );
        assert_eq!(tail.text(), expected, "{stat}");
    }
}

#[test]
fn three_rotations_while_stopped_lose_nothing() {
    for n_rotations in 0..5 {
        let log = Log::new();
        for n in 0..5 {
            log.rotate_without_new_base();
            log.write(format!("banner\n{n} old\n"));
        }
        let tail = Tail::start(&log, None);
        log.write("unread\n");
        let mut expected = "unread\n".to_owned();
        for n in 0..n_rotations {
            log.rotate_without_new_base();
            let text = format!("banner\n{n} new\n");
            log.write(&text);
            expected += &text;
        }
        let mut tail = tail.restart(&log);
        assert_eq!(tail.text(), expected);
        assert_eq!(tail.stats().losses, 0);
    }
}

#[test]
fn equal_heads_guards_and_inodes_are_told_apart_by_what_lies_behind() {
    // The log is stopped within the banner that every file begins with; five rotations later a file with that inode
    // and that banner is there again, but its elders are others.
    let log = Log::new();
    let banner = "banner, first line\nbanner, second line\n".repeat(4);
    for n in 0..4 {
        log.rotate_without_new_base();
        log.write(format!("{banner}{n} old\n"));
    }
    log.rotate_without_new_base();
    log.write(&banner);
    let tail = start(&log, None);
    for n in 5..10 {
        log.rotate_without_new_base();
        log.write(format!("{banner}{n} new\n"));
    }
    let mut tail = again(&log, &tail);
    let expected: String = (5..10).map(|n| format!("{banner}{n} new\n")).collect();
    assert_eq!(tail.text(), expected);
}

#[test]
fn files_that_all_begin_alike_are_resumed_by_order_and_guard() {
    let log = Log::new();
    for n in 0..3 {
        log.rotate_without_new_base();
        log.write(format!("banner\n{n}\n"));
    }
    let tail = Tail::start(&log, None);
    log.rotate_without_new_base();
    log.write("banner\n");
    assert_eq!(tail.restart(&log).text(), "banner\n");
}

#[test]
fn the_oldest_generation_deleted_while_stopped_is_a_loss_only_if_it_was_not_read() {
    let log = Log::new();
    for n in 0..3 {
        log.rotate_without_new_base();
        log.write(format!("{n}\n"));
    }
    let tail = Tail::start(&log, None);
    fs::remove_file(log.path(2)).unwrap();
    let tail = tail.restart(&log);
    assert_eq!(tail.stats().losses, 0, "it was read");

    let tail = Tail::with(
        log.options(),
        Some(tail.checkpoint.clone().unwrap()),
        Box::new(Disk),
    );
    log.write("unread\n");
    log.rotate_without_new_base();
    log.write("new\n");
    fs::remove_file(log.path(2)).unwrap();
    fs::remove_file(log.path(1)).unwrap();
    let mut tail = tail.restart(&log);
    assert_eq!(tail.stats().losses, 1);
    assert!(
        tail.words()
            .contains(&"lost Some(3) rotated_away".to_owned())
    );
}

#[test]
fn a_checkpoint_outlives_a_log_that_is_not_mounted_yet() {
    let log = Log::new();
    log.write("1\n");
    let tail = Tail::start(&log, None);
    let aside = log.directory.path().join("aside");
    fs::rename(log.path(0), &aside).unwrap();
    let mut tail = tail.restart(&log);
    tail.pass(seconds(30));
    fs::rename(&aside, log.path(0)).unwrap();
    log.write("2\n");
    assert_eq!(tail.pass(seconds(1)).text(), "2\n");
    assert_eq!(tail.stats().losses, 0);
}

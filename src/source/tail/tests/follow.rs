//! Lines, rotation, truncation, absence, on real files.

use super::*;
use crate::source::tail::generation::MAX_LINE;

#[test]
fn lines_come_once_in_order_and_then_the_follower_is_caught_up() {
    let log = Log::new();
    log.write("a\nb\n");
    let mut tail = Tail::start(&log, None);
    assert_eq!(tail.text(), "a\nb\n");
    log.write("c\n");
    tail.wake();
    assert!(matches!(
        tail.events.as_slice(),
        [
            TailEvent::Chunk { offset: 4, .. },
            TailEvent::CaughtUp { after: None }
        ]
    ));
    assert_eq!(tail.text(), "c\n");
    tail.wake().look();
    assert!(tail.events.is_empty(), "idle says nothing twice");
}

#[test]
fn a_half_line_is_held_until_its_newline_comes() {
    let log = Log::new();
    log.write("whole\nhal");
    let mut tail = Tail::start(&log, None);
    assert_eq!(tail.text(), "whole\n");
    log.write("f and");
    assert_eq!(tail.wake().text(), "");
    log.write(" rest\nnext");
    assert_eq!(tail.wake().text(), "half and rest\n");
}

#[test]
fn a_half_line_is_released_when_its_file_is_finished_for_good() {
    let log = Log::new();
    log.write("whole\nhalf");
    let mut tail = Tail::start(&log, None);
    log.rotate();
    log.write("new\n");
    assert_eq!(tail.look().text(), "whole\nnew\n");
    tail.pass(seconds(4));
    assert_eq!(tail.text(), "");
    tail.pass(seconds(3));
    assert_eq!(tail.stats().open_files, 1);
    assert_eq!(tail.text(), "half");
}

#[test]
fn a_held_half_line_is_not_covered_by_the_checkpoint() {
    let log = Log::new();
    log.write("whole\nhal");
    let mut tail = Tail::start(&log, None);
    assert_eq!(tail.text(), "whole\n");
    let mut tail = tail.restart(&log);
    log.write("f\n");
    assert_eq!(tail.wake().text(), "half\n");
}

#[test]
fn a_file_that_grows_byte_by_byte_keeps_one_identity() {
    let log = Log::new();
    let mut tail = Tail::start(&log, None);
    let mut text = String::new();
    for byte in "a first line\nand a second\n".bytes() {
        log.write([byte]);
        tail.look();
        text += &tail.text();
        // Also across restarts, while the head is still provisional.
        tail = tail.restart(&log);
        text += &tail.text();
    }
    assert_eq!(text, "a first line\nand a second\n");
    assert_eq!(tail.stats().generation, Some(1));
}

#[test]
fn rotations_are_followed_oldest_to_newest() {
    let log = Log::new();
    log.write("1\n");
    let mut tail = Tail::start(&log, None);
    tail.forget();
    for n in 2..5 {
        log.write(format!("{n} before\n"));
        log.rotate();
        log.write(format!("{n}\n"));
    }
    tail.look();
    assert_eq!(tail.stats().rotations, 3);
    let generations: Vec<u32> = tail
        .events
        .iter()
        .filter_map(|event| match event {
            TailEvent::Chunk { generation, .. } => Some(*generation),
            _ => None,
        })
        .collect();
    assert_eq!(generations, [1, 2, 3, 4]);
    assert_eq!(tail.text(), "2 before\n2\n3 before\n3\n4 before\n4\n");
}

#[test]
fn the_whole_family_is_read_by_number_whatever_its_times_say() {
    let log = Log::new();
    // Written newest first, so that modification times run against the numbers.
    for number in [0, 1, 2, 3, 4] {
        append(&log.path(number), format!("{number}\n"));
    }
    append(&log.directory.path().join("x-error.log"), "no\n");
    append(&log.directory.path().join("x1-error.log"), "no\n");
    let mut tail = Tail::start(&log, None);
    assert_eq!(tail.text(), "4\n3\n2\n1\n0\n");
}

#[test]
fn what_was_there_before_the_first_start_is_history_and_nothing_else() {
    let log = Log::new();
    append(&log.path(1), "old\n");
    log.write("old\nha");
    let mut follower = Follower::new(log.options(), None, Box::new(Disk));
    follower.look(Duration::ZERO);
    // Written after the start, though before the first read.
    log.write("lf\nlive\n");
    let mut told = Vec::new();
    while let Some(event) = follower.next(Duration::ZERO) {
        if let TailEvent::Chunk { bytes, history, .. } = event {
            told.push((String::from_utf8(bytes).unwrap(), history));
        }
    }
    let expected = [
        ("old\n", true),
        ("old\n", true),
        ("half\n", true),
        ("live\n", false),
    ];
    assert_eq!(
        told,
        expected.map(|(text, history)| (text.to_owned(), history))
    );
}

#[test]
fn history_stays_history_across_a_restart_and_live_stays_live() {
    let log = Log::new();
    append(&log.path(1), "one\n");
    log.write("two\n");
    let mut follower = Follower::new(log.options(), None, Box::new(Disk));
    follower.look(Duration::ZERO);
    let Some(TailEvent::Chunk { after, .. }) = follower.next(Duration::ZERO) else {
        panic!("no first chunk");
    };
    log.write("three\n");
    let tail = Tail::start(&log, Some(after));
    let told: Vec<(u32, u64, bool)> = tail
        .events
        .iter()
        .filter_map(|event| match event {
            TailEvent::Chunk {
                generation,
                offset,
                history,
                ..
            } => Some((*generation, *offset, *history)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(2, 0, true), (2, 4, false)]);
}

#[test]
fn a_first_start_at_the_end_skips_what_is_there_and_reads_later_files_whole() {
    let log = Log::new();
    append(&log.path(1), "older");
    log.write("old\nha");
    let mut options = log.options();
    options.start = StartAt::End;
    let mut tail = Tail::with(options, None, Box::new(Disk));
    assert_eq!(tail.words(), ["caught up"]);
    log.write("lf\n");
    assert_eq!(tail.wake().text(), "half\n");
    log.rotate();
    log.write("first of the new file\n");
    assert_eq!(tail.look().text(), "first of the new file\n");
    assert_eq!(tail.pass(seconds(10)).text(), "");
}

#[test]
fn a_write_after_the_rename_is_read() {
    let log = Log::new();
    log.write("1\n");
    let mut tail = Tail::start(&log, None);
    let mut old = File::options().append(true).open(log.path(0)).unwrap();
    log.rotate();
    log.write("2\n");
    assert_eq!(tail.look().text(), "1\n2\n");
    tail.pass(seconds(4));
    tail.forget();
    old.write_all(b"late\n").unwrap();
    tail.pass(seconds(1));
    let late = tail.events.iter().find_map(|event| match event {
        TailEvent::Chunk {
            generation, offset, ..
        } => Some((*generation, *offset)),
        _ => None,
    });
    assert_eq!(late, Some((1, 2)));
    assert_eq!(tail.words(), ["end of 1", "caught up"]);
    // The five seconds begin anew.
    tail.pass(seconds(4));
    assert_eq!(tail.stats().open_files, 2);
    tail.pass(seconds(3));
    assert_eq!(tail.stats().open_files, 1);
}

/// logrotate's `create`, under a name of its own or of the family's.
#[test]
fn a_writer_that_is_not_told_of_the_rotation_is_followed_until_the_new_file_is_written() {
    for own in [true, false] {
        let log = Log::new();
        log.write("1\n");
        let mut tail = Tail::start(&log, None);
        let mut old = File::options().append(true).open(log.path(0)).unwrap();
        match own {
            true => log.rotate_without_new_base(),
            false => fs::rename(log.path(0), log.path(0).with_extension("log.1")).unwrap(),
        }
        for text in ["2\n", "3\n"] {
            // What came into its place is empty, also where that was rotated in its turn.
            File::create(log.path(0)).unwrap();
            tail.pass(seconds(3600)).forget();
            old.write_all(text.as_bytes()).unwrap();
            assert_eq!(tail.pass(seconds(1)).text(), text);
            log.rotate();
        }
        log.write("4\n");
        assert_eq!(tail.pass(seconds(10)).text(), "4\n");
        assert_eq!(tail.stats().open_files, 1);
    }
}

#[test]
fn a_late_write_while_stopped_is_read_at_the_next_start() {
    let log = Log::new();
    log.write("1\n");
    let mut tail = Tail::start(&log, None);
    log.rotate();
    log.write("2\n");
    assert_eq!(tail.look().text(), "1\n2\n");
    append(&log.path(1), "late\n");
    log.write("3\n");
    assert_eq!(tail.restart(&log).text(), "late\n3\n");
}

#[test]
fn a_file_that_appears_after_a_minute_is_read_from_its_start_as_live() {
    let log = Log::new();
    let mut tail = Tail::start(&log, None);
    assert_eq!(tail.pass(seconds(60)).words(), ["caught up"]);
    log.write("1\n");
    tail.pass(seconds(1));
    assert!(matches!(
        tail.events.first(),
        Some(TailEvent::Chunk {
            history: false,
            offset: 0,
            ..
        })
    ));
}

#[test]
fn a_folder_in_the_place_of_the_log_is_a_trouble_that_passes() {
    let log = Log::new();
    fs::create_dir(log.path(0)).unwrap();
    let mut tail = Tail::start(&log, None);
    tail.pass(seconds(5));
    assert_eq!(tail.words(), ["trouble x.log"]);
    fs::remove_dir(log.path(0)).unwrap();
    log.write("1\n");
    tail.pass(seconds(1));
    assert_eq!(tail.words(), ["recovered", "caught up"]);
    assert_eq!(tail.stats().lines, 1);
}

#[test]
fn a_truncation_restarts_at_zero_under_a_new_number() {
    let log = Log::new();
    log.write("one\ntwo\n");
    let mut tail = Tail::start(&log, None);
    tail.forget();
    log.truncate();
    log.write("new\n");
    tail.look();
    assert_eq!(tail.stats().truncations, 1);
    assert!(tail.events.iter().any(|event| matches!(
        event,
        TailEvent::Chunk {
            generation: 2,
            offset: 0,
            ..
        }
    )));
    assert_eq!(
        tail.words(),
        ["end of 1", "truncated 1 at 8 to 2", "caught up"]
    );
}

#[test]
fn a_truncation_that_regrew_past_the_old_place_is_seen_by_the_guard() {
    let log = Log::new();
    log.write("same head\nsecond\n");
    let mut tail = Tail::start(&log, None);
    tail.forget();
    log.truncate();
    log.write("same head\nother, and longer than before\n");
    assert_eq!(
        tail.wake().text(),
        "same head\nother, and longer than before\n"
    );
    assert_eq!(tail.stats().truncations, 1);
}

#[test]
fn a_truncation_while_stopped_is_counted_and_read_from_zero() {
    for regrown in ["n\n", "same head\nother, and longer than before\n"] {
        let log = Log::new();
        log.write("same head\nsecond\n");
        let tail = Tail::start(&log, None);
        log.truncate();
        log.write(regrown);
        let mut tail = tail.restart(&log);
        assert_eq!(tail.stats().truncations, 1);
        assert_eq!(tail.text(), regrown);
    }
}

#[test]
fn a_truncation_before_a_rotation_keeps_the_order_of_the_numbers() {
    let log = Log::new();
    log.write("one\n");
    let mut tail = Tail::start(&log, None);
    tail.forget();
    log.truncate();
    log.write("another\n");
    log.rotate();
    log.write("two\n");
    tail.look();
    let chunks = tail.chunks();
    assert_eq!(chunks, [(2, "another\n".into()), (3, "two\n".into())]);
    let mut tail = tail.restart(&log);
    log.write("three\n");
    assert_eq!(tail.look().chunks(), [(3, "three\n".into())]);
}

#[test]
fn a_rotated_file_that_is_truncated_does_not_bring_its_successor_again() {
    let log = Log::new();
    log.write("one\n");
    let mut tail = Tail::start(&log, None);
    log.rotate();
    log.write("two\n");
    tail.look().forget();
    File::create(log.path(1)).unwrap();
    append(&log.path(1), "late, and longer\n");
    assert_eq!(tail.look().text(), "late, and longer\n");
    for pass in [Duration::ZERO, seconds(10)] {
        tail.pass(pass);
        log.write("more\n");
        tail.look();
        assert_eq!(tail.text(), "more\n");
        tail = tail.restart(&log);
        assert_eq!(tail.text(), "");
    }
}

#[test]
fn empty_files_behind_a_truncated_one_take_no_numbers() {
    let log = Log::new();
    log.write("one\n");
    let mut tail = Tail::start(&log, None);
    for _ in 0..3 {
        log.rotate();
        append(&log.path(0), "");
    }
    log.write("four\n");
    assert_eq!(tail.look().chunks().last().unwrap().0, 4);
    log.truncate();
    log.write("five, and longer\n");
    let mut tail = tail.restart(&log);
    assert_eq!(tail.chunks(), [(5, "five, and longer\n".into())]);
    assert_eq!(tail.stats().truncations, 1);
}

#[test]
fn a_log_that_comes_late_with_nothing_new_is_told_to_be_read_to_its_end() {
    let log = Log::new();
    log.write("one\n");
    let tail = Tail::start(&log, None);
    let aside = log.directory.path().join("aside");
    fs::rename(log.path(0), &aside).unwrap();
    let mut tail = tail.restart(&log);
    assert_eq!(tail.words(), ["caught up"]);
    fs::rename(&aside, log.path(0)).unwrap();
    assert_eq!(
        tail.look().words(),
        ["caught up"],
        "it was not there before"
    );
    assert_eq!(tail.look().words(), [""; 0]);

    let log = Log::new();
    let mut tail = Tail::start(&log, None);
    assert_eq!(tail.words(), ["caught up"]);
    append(&log.path(0), "");
    assert_eq!(tail.look().words(), ["caught up"]);
}

#[test]
fn a_half_line_cut_off_by_truncation_is_released_before_it() {
    let log = Log::new();
    log.write("one\nha");
    let mut tail = Tail::start(&log, None);
    log.truncate();
    log.write("new\n");
    assert_eq!(tail.look().text(), "one\nhanew\n");
}

#[test]
fn a_copy_truncate_rotation_while_stopped_goes_on_inside_the_copy() {
    let log = Log::new();
    let banner = format!("{}\n", "b".repeat(100));
    log.write(format!("{banner}one {}\n", "1".repeat(80)));
    let mut tail = Tail::start(&log, None);
    tail.forget();
    log.write("two\n");
    fs::copy(log.path(0), log.path(1)).unwrap();
    log.truncate();
    log.write("three\n");
    assert_eq!(tail.restart(&log).text(), "two\nthree\n");
}

#[test]
fn a_ten_megabyte_line_comes_in_pieces_and_stops_nothing() {
    let log = Log::new();
    let huge = vec![b'x'; 10 << 20];
    log.write(&huge);
    log.write("\nnormal\n");
    let mut tail = Tail::start(&log, None);
    let mut expected = 0;
    for event in &tail.events {
        if let TailEvent::Chunk { offset, bytes, .. } = event {
            assert_eq!(*offset, expected);
            assert!(bytes.len() <= MAX_LINE + 2 * 64 * 1024);
            expected += bytes.len() as u64;
        }
    }
    let text = tail.text();
    assert_eq!(text.len(), huge.len() + 8);
    assert!(text.ends_with("x\nnormal\n"));
    assert_eq!(tail.stats().lines, 2);
}

#[test]
fn a_stop_inside_a_long_line_resumes_at_the_byte() {
    let log = Log::new();
    let huge = "y".repeat(3 << 20);
    log.write(format!("{huge}\n"));
    let mut follower = Follower::new(log.options(), None, Box::new(Disk));
    follower.look(Duration::ZERO);
    let Some(TailEvent::Chunk { bytes, after, .. }) = follower.next(Duration::ZERO) else {
        panic!("no first piece");
    };
    let mut tail = Tail::start(&log, Some(after));
    assert_eq!(bytes.len() + tail.text().len(), huge.len() + 1);
}

#[test]
fn nul_runs_are_passed_on() {
    let log = Log::new();
    log.write("a\n");
    log.write([0; 4096]);
    log.write("\nb\n");
    let mut tail = Tail::start(&log, None);
    assert_eq!(tail.text().len(), 2 + 4096 + 1 + 2);
}

#[test]
fn a_flooded_late_file_and_the_live_one_take_turns() {
    let log = Log::new();
    log.write("1\n");
    let mut tail = Tail::start(&log, None);
    log.rotate();
    tail.look().forget();
    let flood = format!("{}\n", "f".repeat(1023)).repeat(1024);
    append(&log.path(1), &flood);
    log.write(&flood);
    tail.look();
    let order: Vec<u32> = tail
        .events
        .iter()
        .filter_map(|event| match event {
            TailEvent::Chunk { generation, .. } => Some(*generation),
            _ => None,
        })
        .collect();
    assert_eq!(order.get(..6), Some([1, 2, 1, 2, 1, 2].as_slice()));
}

#[test]
fn a_piece_that_fell_off_between_two_looks_is_reported_lost() {
    let log = Log::new();
    log.write("1\n");
    let mut tail = Tail::start(&log, None);
    tail.forget();
    for n in 2..=7 {
        log.rotate();
        log.write(format!("{n}\n"));
    }
    tail.look();
    assert_eq!(tail.stats().losses, 1);
    let words = tail.words();
    assert!(
        words.contains(&"lost Some(1) rotated_away".to_owned()),
        "{words:?}"
    );
    let mut tail = Tail::start(&log, None);
    assert_eq!(tail.text(), "3\n4\n5\n6\n7\n");
}

#[test]
fn a_handle_outlives_the_name_of_its_file() {
    let log = Log::new();
    log.write("1\n");
    let mut tail = Tail::start(&log, None);
    tail.forget();
    for n in 2..=12 {
        log.rotate();
        log.write(format!("{n}\n"));
        // Opened by a look, not read.
        tail.follower.look(tail.now);
    }
    assert_eq!(
        tail.drain().text(),
        (2..=12).map(|n| format!("{n}\n")).collect::<String>()
    );
    assert_eq!(tail.stats().losses, 0);
}

#[test]
fn open_files_are_bounded_and_what_waits_on_disk_is_read_later() {
    let log = Log::new();
    log.write("1\n");
    let mut options = log.options();
    options.max_open_files = 2;
    let mut tail = Tail::with(options, None, Box::new(Disk));
    tail.forget();
    for n in 2..=4 {
        log.rotate();
        log.write(format!("{n}\n"));
        tail.follower.look(tail.now);
        assert!(tail.stats().open_files <= 2);
    }
    tail.drain().look().look();
    assert_eq!(tail.text(), "2\n3\n4\n");
    assert_eq!(tail.stats().losses, 0);
}

//! A copy takes the log's place, and what only looks like one.

use super::*;

#[test]
fn a_copy_in_the_place_of_the_log_is_read_on_where_the_log_was() {
    let text = lines(0..9);
    for (held, copied) in [
        ("", text.len()),
        ("half a ", text.len()),
        ("", text.len() - 30),
    ] {
        let log = Log::new();
        log.write(&text);
        log.write(held);
        let mut tail = Tail::start(&log, None);
        assert_eq!(tail.text(), text);
        let copy = log.path(0).with_extension("copy");
        append(&copy, text.get(..copied).unwrap());
        append(&copy, held);
        fs::rename(copy, log.path(0)).unwrap();
        tail.pass(seconds(1));
        log.write("line\n");
        assert_eq!(tail.pass(seconds(30)).text(), format!("{held}line\n"));
        log.write("4\n");
        let mut tail = tail.restart(&log);
        assert_eq!(tail.text(), "4\n", "the place in the copy is kept");
    }
}

/// By hand or by a nightly job: what was written since the copy before is in the next one, too.
#[test]
fn each_copy_in_the_place_of_the_log_is_read_on() {
    let log = Log::new();
    log.write(lines(0..9));
    let mut tail = Tail::start(&log, None);
    assert_eq!(tail.text(), lines(0..9));
    let copy = log.path(0).with_extension("copy");
    // No copy gets the inode of one before.
    let mut held = Vec::new();
    for more in [9..29, 29..49, 49..69] {
        held.push(File::open(log.path(0)).unwrap());
        fs::copy(log.path(0), &copy).unwrap();
        fs::rename(&copy, log.path(0)).unwrap();
        assert_eq!(tail.pass(seconds(30)).text(), "", "{more:?}");
        log.write(lines(more.clone()));
        assert_eq!(tail.pass(seconds(30)).text(), lines(more));
    }
}

/// From another disk a file comes piece by piece under its own name.
#[test]
fn a_copy_that_is_still_being_made_is_waited_for() {
    for (pieces, last) in [(4, seconds(1)), (2, seconds(30))] {
        let log = Log::new();
        let text = lines(0..40);
        log.write(&text);
        let mut tail = Tail::start(&log, None);
        assert_eq!(tail.text(), text);
        fs::remove_file(log.path(0)).unwrap();
        log.write("");
        tail.pass(seconds(3));
        for piece in 0..pieces {
            let [from, to] = [piece, piece + 1].map(|one| text.len() * one / 4);
            log.write(text.get(from..to).unwrap());
            assert_eq!(tail.wake().text(), "", "{piece}");
            tail.pass(seconds(3));
        }
        // One that is never whole is all there will be of it.
        tail.pass(last);
        log.write("new\n");
        assert_eq!(tail.pass(seconds(1)).text(), "new\n");
        assert_eq!(tail.stats().losses, 0);
    }
}

/// A controller that starts anew while its log is copied writes on at once.
#[test]
fn a_copy_that_is_written_on_before_it_is_whole_is_read_from_there() {
    let log = Log::new();
    log.write(lines(0..40));
    let mut tail = Tail::start(&log, None);
    fs::remove_file(log.path(0)).unwrap();
    log.write(lines(0..20));
    tail.pass(seconds(1)).forget();
    log.write("new\n");
    assert_eq!(tail.wake().text(), "new\n");

    // Begun anew instead, it is another log.
    fs::remove_file(log.path(0)).unwrap();
    log.write(lines(0..20));
    tail.pass(seconds(1)).forget();
    fs::write(log.path(0), lines(50..80)).unwrap();
    assert_eq!(tail.pass(seconds(1)).text(), lines(50..80));
}

/// It was written to the file that was copied, after the copy was made.
#[test]
fn a_half_line_that_the_copy_lacks_is_not_dropped() {
    let log = Log::new();
    log.write(lines(0..9));
    let mut tail = Tail::start(&log, None);
    tail.forget();
    let copy = log.path(0).with_extension("copy");
    fs::copy(log.path(0), &copy).unwrap();
    log.write("half");
    tail.wake();
    fs::rename(copy, log.path(0)).unwrap();
    tail.pass(seconds(1));
    log.write("new\n");
    let told = tail.pass(seconds(30)).text();
    assert!(told.contains("half") && told.contains("new\n"), "{told}");
}

/// What each start writes first may be long, and bear no time.
#[test]
fn a_rotated_logs_successor_is_read_whole_however_alike_they_begin() {
    let banner = "Boot controller, a line of a banner without any time stamp at all\n".repeat(18);
    let started = |day| {
        format!(
            "2025-10-{day} 00:00:01 [INFO]: Server listens on port 3000, the pool of size 4 is being prepared now\n"
        )
    };
    let log = Log::new();
    log.write(format!("{banner}{}{}", started(25), lines(0..40)));
    let mut tail = Tail::start(&log, None);
    tail.forget();
    log.rotate();
    let second = format!("{banner}{}", started(26));
    log.write(&second);
    assert_eq!(tail.pass(seconds(1)).text(), second);
    // Nor is one waited for that grows as the first did.
    log.rotate();
    tail.pass(seconds(1)).forget();
    log.write(&banner);
    assert_eq!(tail.pass(seconds(1)).text(), banner);
}

/// Two logs that begin with the same line are two.
#[test]
fn a_new_log_with_the_same_first_line_is_read_whole() {
    let log = Log::new();
    let banner = "a banner that each start writes, long enough for a guard behind it: ".repeat(2);
    log.write(format!("{banner}\n1\n"));
    let mut tail = Tail::start(&log, None);
    tail.forget();
    log.rotate();
    log.write(format!("{banner}\n2\n3\n"));
    assert_eq!(tail.pass(seconds(1)).text(), format!("{banner}\n2\n3\n"));
}

fn lines(which: std::ops::Range<usize>) -> String {
    which
        .map(|n| format!("2025-10-25 10:00:{n:02} [INFO]: a line long enough to be told apart\n"))
        .collect()
}

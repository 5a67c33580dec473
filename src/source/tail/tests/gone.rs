//! The log's name goes, by hand or with its folder or disk, and comes back.

use super::*;

#[test]
fn the_base_name_may_be_absent_for_a_moment_or_for_good() {
    let log = Log::new();
    log.write("1\n");
    let mut tail = Tail::start(&log, None);
    log.write("2\n");
    log.rotate_without_new_base();
    assert_eq!(tail.look().text(), "1\n2\n");
    append(&log.path(1), "3\n");
    assert_eq!(tail.wake().text(), "3\n");
    tail.pass(seconds(60));
    assert_eq!(tail.words(), Vec::<String>::new());
    log.write("4\n");
    assert_eq!(tail.pass(seconds(1)).text(), "4\n");
}

/// The whole folder is moved away, which is what an unmounted disk looks like, and comes back as it was or made anew.
#[test]
fn a_log_that_is_gone_is_told_once_and_followed_again_when_it_comes_back() {
    for same in [true, false] {
        let log = Log::new();
        let folder = log.path(0).parent().unwrap().to_owned();
        let aside = folder.with_extension("aside");
        log.write("1\n");
        let mut tail = Tail::start(&log, None);
        log.write("2\n");
        assert_eq!(tail.wake().text(), "1\n2\n");
        fs::rename(&folder, &aside).unwrap();
        tail.pass(seconds(4));
        assert!(!tail.stats().away, "a rotation may take as long");
        assert_eq!(tail.words(), Vec::<String>::new());
        tail.pass(seconds(60));
        assert_eq!(tail.words(), ["trouble x.log"]);
        assert!(tail.stats().away && !tail.follower.is_at_rest());

        match same {
            true => {
                fs::rename(&aside, &folder).unwrap();
                tail.pass(seconds(1));
                assert_eq!(tail.words(), ["recovered"]);
            }
            false => {
                fs::create_dir(&folder).unwrap();
                log.write("3\n");
                tail.pass(seconds(1));
                let events = tail.events.clone();
                assert_eq!(tail.text(), "3\n");
                tail.events = events;
                let words = ["recovered", "rotated to 2", "end of 1", "caught up"];
                assert_eq!(tail.words(), words);
            }
        }
        assert!(!tail.stats().away && tail.follower.is_at_rest());
        log.write("4\n");
        assert_eq!(tail.pass(seconds(1)).text(), "4\n");
        assert_eq!(tail.stats().losses, 0);
        fs::remove_dir_all(aside).ok();
    }
}

#[test]
fn a_writer_that_keeps_a_removed_log_is_read_on() {
    let log = Log::new();
    log.write("1\n");
    let mut writer = File::options().append(true).open(log.path(0)).unwrap();
    let mut tail = Tail::start(&log, None);
    fs::remove_file(log.path(0)).unwrap();
    tail.pass(seconds(60));
    assert_eq!(tail.words(), ["caught up", "trouble x.log"]);
    writer.write_all(b"2\n").unwrap();
    assert_eq!(tail.wake().words(), ["recovered", "caught up"]);
    writer.write_all(b"3\n").unwrap();
    assert_eq!(tail.wake().text(), "3\n");
    tail.pass(seconds(600));
    assert_eq!(tail.words(), Vec::<String>::new(), "it is told once");
    assert!(tail.stats().away && tail.follower.is_at_rest());
    log.write("4\n");
    assert_eq!(tail.pass(seconds(1)).text(), "4\n");
    assert!(!tail.stats().away);
}

/// What was there when the name went is no sign that anybody still writes.
#[test]
fn what_was_still_to_be_read_does_not_hide_that_the_log_is_gone() {
    let log = Log::new();
    log.write("1\n");
    let mut tail = Tail::start(&log, None);
    log.write("2\n");
    fs::remove_file(log.path(0)).unwrap();
    tail.follower.look(tail.now);
    assert_eq!(tail.wake().text(), "1\n2\n");
    tail.pass(seconds(60));
    assert_eq!(tail.words(), ["trouble x.log"]);
}

/// First a file lies where the log's folder was, then nothing does; or the other way.
#[test]
fn of_two_troubles_that_follow_each_other_none_outlives_its_cause() {
    for away_first in [false, true] {
        let log = Log::new();
        log.write("1\n");
        let mut writer = File::options().append(true).open(log.path(0)).unwrap();
        let mut tail = Tail::start(&log, None);
        let folder = log.path(0).parent().unwrap().to_owned();
        let aside = folder.with_extension("aside");
        fs::rename(&folder, &aside).unwrap();
        if away_first {
            tail.pass(seconds(60));
        }
        fs::write(&folder, "no folder").unwrap();
        tail.pass(seconds(60));
        fs::remove_file(&folder).unwrap();
        tail.pass(seconds(60)).forget();
        assert!(!tail.follower.is_at_rest());
        writer.write_all(b"2\n").unwrap();
        assert_eq!(tail.wake().words(), ["recovered", "caught up"]);
        tail.pass(seconds(60));
        assert_eq!(tail.words(), Vec::<String>::new());
        assert!(tail.follower.is_at_rest());
        fs::rename(&aside, &folder).unwrap();
        writer.write_all(b"3\n").unwrap();
        assert_eq!(tail.pass(seconds(60)).text(), "3\n");
        assert!(tail.follower.is_at_rest() && !tail.stats().away);
    }
}

/// `nocreate` of logrotate at night, under a name of its own or of the family's.
#[test]
fn a_log_that_was_rotated_and_is_not_written_since_is_not_gone() {
    for own in [true, false] {
        let log = Log::new();
        log.write("1\n");
        let mut tail = Tail::start(&log, None);
        match own {
            true => log.rotate_without_new_base(),
            false => fs::rename(log.path(0), log.path(0).with_extension("log.1")).unwrap(),
        }
        tail.pass(seconds(3600));
        assert_eq!(tail.words(), ["caught up"]);
        assert!(tail.follower.is_at_rest() && !tail.stats().away);
        log.write("2\n");
        assert_eq!(tail.pass(seconds(1)).text(), "2\n");
    }
}

/// A deploy that is taken back, a disk that is mounted again over a log that was begun meanwhile.
#[test]
fn a_log_that_comes_back_in_the_place_of_its_successor_is_read_on() {
    for kept in [false, true] {
        let log = Log::new();
        let [first, second] = ["first", "second"].map(|name| log.path(0).with_extension(name));
        log.write("1\n");
        let mut tail = Tail::start(&log, None);
        fs::rename(log.path(0), &first).unwrap();
        log.write("2\n");
        assert_eq!(tail.pass(seconds(30)).text(), "1\n2\n");
        fs::rename(log.path(0), &second).unwrap();
        append(&first, "3\n");
        fs::rename(&first, log.path(0)).unwrap();
        assert_eq!(tail.pass(seconds(30)).text(), "3\n");
        log.write("4\n");
        tail = match kept {
            true => tail.restart(&log),
            false => tail,
        };
        assert_eq!(tail.pass(seconds(1)).text(), "4\n");
        // And once more the other way.
        fs::rename(log.path(0), &first).unwrap();
        fs::rename(&second, log.path(0)).unwrap();
        tail.pass(seconds(30));
        log.write("5\n");
        assert_eq!(tail.pass(seconds(1)).text(), "5\n");
        assert_eq!(tail.stats().losses, 0);
    }
}

/// As with a link to the folder of the newest deploy.
#[test]
fn what_was_rotated_in_a_folder_that_takes_the_place_of_another_is_not_the_logs_past() {
    let log = Log::new();
    let folder = log.path(0).parent().unwrap().to_owned();
    let (first, second) = (
        folder.with_extension("first"),
        folder.with_extension("second"),
    );
    log.write("1\n");
    let mut tail = Tail::start(&log, None);
    fs::create_dir(&second).unwrap();
    append(&second.join("x1.log"), "of another log\n");
    append(&second.join("x.log"), "2\n");
    fs::rename(&folder, &first).unwrap();
    fs::rename(&second, &folder).unwrap();
    assert_eq!(tail.pass(seconds(30)).text(), "1\n2\n");
    log.rotate();
    log.write("3\n");
    assert_eq!(tail.pass(seconds(30)).text(), "3\n");
    assert_eq!(tail.stats().losses, 0);
    let mut tail = tail.restart(&log);
    log.write("4\n");
    assert_eq!(tail.pass(seconds(1)).text(), "4\n");
    fs::remove_dir_all(first).unwrap();
}

#[test]
fn the_log_removed_by_hand_does_not_make_its_elders_new() {
    let log = Log::new();
    log.write("1\n");
    let mut tail = Tail::start(&log, None);
    log.rotate();
    log.write("2\n");
    tail.look().pass(seconds(20)).forget();
    fs::remove_file(log.path(0)).unwrap();
    log.write("3\n");
    assert_eq!(tail.look().text(), "3\n");
    assert_eq!(tail.stats().losses, 0);
}

//! [`run`] itself: its channel, its stop, its wakes.

use std::thread::{self, ThreadId};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::source::tail::run;

struct Live {
    events: mpsc::Receiver<TailEvent>,
    stats: watch::Receiver<TailStats>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

#[expect(clippy::disallowed_methods, reason = "a test supervises its own task")]
fn follow(options: TailOptions, places: usize) -> Live {
    let (sender, events) = mpsc::channel(places);
    let (figures, stats) = watch::channel(TailStats::default());
    let stop = CancellationToken::new();
    let task = tokio::spawn(run(options, None, sender, figures, stop.clone()));
    Live {
        events,
        stats,
        stop,
        task,
    }
}

impl Live {
    /// The next chunk's text, within a deadline.
    async fn text(&mut self) -> String {
        let deadline = seconds(20);
        loop {
            match tokio::time::timeout(deadline, self.events.recv()).await {
                Ok(Some(TailEvent::Chunk { bytes, .. })) => {
                    return String::from_utf8(bytes).unwrap();
                }
                Ok(Some(_)) => {}
                Ok(None) => panic!("the follower ended"),
                Err(_) => panic!("nothing came"),
            }
        }
    }

    async fn until(&mut self, what: impl FnMut(&TailStats) -> bool) {
        tokio::time::timeout(seconds(20), self.stats.wait_for(what))
            .await
            .expect("within the deadline")
            .unwrap();
    }
}

fn polled(log: &Log) -> TailOptions {
    let mut options = log.options();
    options.inotify = false;
    options
}

#[tokio::test(start_paused = true)]
async fn polling_alone_follows_writes_rotations_and_truncations() {
    let log = Log::new();
    let mut live = follow(polled(&log), 8);
    log.write("1\n");
    assert_eq!(live.text().await, "1\n");
    log.rotate();
    log.write("2\n");
    assert_eq!(live.text().await, "2\n");
    log.truncate();
    log.write("3\n");
    assert_eq!(live.text().await, "3\n");
    assert!(!live.stats.borrow().inotify);
}

#[tokio::test(start_paused = true)]
async fn a_log_was_looked_at_only_while_it_can_be_read() {
    let log = Log::new();
    log.write("1\n");
    let mut live = follow(polled(&log), 8);
    let later = |at: Option<Instant>| move |stats: &TailStats| stats.looked_at > at;
    live.until(later(None)).await;
    let first = live.stats.borrow().looked_at;
    // Nothing comes, and that is known.
    live.until(later(first)).await;

    log.rotate_without_new_base();
    fs::create_dir(log.path(0)).unwrap();
    live.until(|stats| stats.troubles == 1).await;
    let before = live.stats.borrow().looked_at;
    let polls = tokio::time::timeout(seconds(300), live.stats.wait_for(later(before)));
    assert!(polls.await.is_err(), "nobody can say that nothing came");
    fs::remove_dir(log.path(0)).unwrap();
    log.write("2\n");
    live.until(later(before)).await;
}

#[tokio::test]
async fn inotify_follows_writes_rotations_and_truncations() {
    let log = Log::new();
    let mut options = log.options();
    // No poll will help.
    options.poll_active = seconds(3600);
    options.poll_idle = seconds(3600);
    let mut live = follow(options, 8);
    live.until(|stats| stats.inotify).await;
    log.write("1\n");
    assert_eq!(live.text().await, "1\n");
    for n in 2..10 {
        log.rotate();
        log.write(format!("{n}\n"));
        assert_eq!(live.text().await, format!("{n}\n"));
    }
    log.truncate();
    log.write("and\n");
    assert_eq!(live.text().await, "and\n");
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_watched_again() {
    let log = Log::new();
    let folder = log.directory.path().join("logs");
    let path = folder.join("y.log");
    fs::create_dir(&folder).unwrap();
    append(&path, "1\n");
    let mut live = follow(TailOptions::new(&path).unwrap(), 8);
    assert_eq!(live.text().await, "1\n");
    fs::rename(&folder, log.directory.path().join("aside")).unwrap();
    fs::create_dir(&folder).unwrap();
    append(&path, "2\n");
    assert_eq!(live.text().await, "2\n");
}

#[tokio::test]
async fn a_full_channel_stops_the_reading_but_not_the_watching() {
    let log = Log::new();
    let mut options = log.options();
    options.poll_active = seconds(3600);
    options.poll_idle = seconds(3600);
    log.write("1\n");
    let mut live = follow(options, 1);
    live.until(|stats| stats.inotify && stats.generation == Some(1))
        .await;
    for n in 2..=30 {
        // Far more rotations than the family has names for, and nobody takes an event off the channel.
        log.rotate();
        log.write(format!("{n}\n"));
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }
    for n in 1..=30 {
        assert_eq!(live.text().await, format!("{n}\n"));
    }
    live.until(|stats| stats.lines == 30 && stats.lag_bytes == 0)
        .await;
    assert_eq!(live.stats.borrow().losses, 0);
}

#[tokio::test(start_paused = true)]
async fn lag_is_what_exists_and_is_not_delivered() {
    let log = Log::new();
    log.write("1\n");
    let mut live = follow(polled(&log), 8);
    assert_eq!(live.text().await, "1\n");
    log.write("half");
    live.until(|stats| stats.lag_bytes == 4).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_follower_also_when_the_channel_is_full() {
    for places in [1, 8] {
        let log = Log::new();
        log.write("1\n2\nhalf");
        let live = follow(polled(&log), places);
        tokio::task::yield_now().await;
        live.stop.cancel();
        live.task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_gone_ends_the_follower() {
    let log = Log::new();
    let live = follow(polled(&log), 1);
    drop(live.events);
    live.task.await.unwrap();
}

#[tokio::test]
async fn a_log_that_is_busy_and_then_silent_is_followed_through_both() {
    let log = Log::new();
    let mut options = log.options();
    // No poll will help: what the beat of a busy log leaves unread, only the next wake brings.
    options.poll_active = seconds(3600);
    options.poll_idle = seconds(3600);
    let window = options.batch_window;
    let mut live = follow(options, 8);
    live.until(|stats| stats.inotify).await;
    for n in 0..60 {
        log.write(format!("{n}\n"));
        assert_eq!(live.text().await, format!("{n}\n"));
        match n % 10 {
            // A silence of every length around a beat's.
            7 => tokio::time::sleep(window * (n / 10) / 2).await,
            8 => log.rotate(),
            9 => log.truncate(),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_busy_logs_urgent_line_takes_along_those_that_waited() {
    let log = Log::new();
    let mut options = log.options();
    // Neither a poll nor the end of the gathering will help.
    options.poll_active = seconds(3600);
    options.poll_idle = seconds(3600);
    options.gather_for = seconds(3600);
    options.urgent = Urgent::new(|lines| memchr::memchr_iter(b'!', lines).count(), || 0);
    let mut live = follow(options, 8);
    live.until(|stats| stats.inotify).await;
    let (mut written, mut came) = (String::new(), String::new());
    let follow = async {
        while !came.ends_with("!\n") {
            let line = if written.len() % 200 == 198 {
                "!\n"
            } else {
                "x\n"
            };
            log.write(line);
            written += line;
            // What comes is not waited for: the log stays busy.
            let event = tokio::time::timeout(Duration::from_millis(1), live.events.recv()).await;
            if let Ok(Some(TailEvent::Chunk { bytes, .. })) = event {
                came += std::str::from_utf8(&bytes).unwrap();
            }
        }
    };
    let done = tokio::time::timeout(seconds(20), follow).await;
    done.expect("within the deadline");
    assert!(written.starts_with(&came));
}

/// A log whose lines wait, for as long as a test takes, and that tells on which thread each beat asked about them.
fn beating(log: &Log) -> (TailOptions, mpsc::Receiver<ThreadId>) {
    let (told, beats) = mpsc::channel(1);
    let mut options = log.options();
    options.poll_active = seconds(60);
    options.poll_idle = seconds(60);
    options.gather_for = seconds(60);
    let count = move |_: &[u8]| {
        told.try_send(thread::current().id()).ok();
        0
    };
    options.urgent = Urgent::new(count, || 0);
    (options, beats)
}

impl Log {
    /// Writes until a beat reads some of it, and says on which thread it did.
    async fn keep_busy(&self, beats: &mut mpsc::Receiver<ThreadId>) -> ThreadId {
        let writes = async {
            loop {
                self.write("x\n");
                if let Ok(beat) = tokio::time::timeout(Duration::from_millis(1), beats.recv()).await
                {
                    return beat.expect("somebody follows");
                }
            }
        };
        let read = tokio::time::timeout(seconds(20), writes).await;
        read.expect("within the deadline")
    }
}

#[tokio::test]
async fn a_busy_log_beats_on_another_thread_where_a_rotation_is_noticed() {
    let log = Log::new();
    let (options, mut beats) = beating(&log);
    let mut live = follow(options, 8);
    live.until(|stats| stats.inotify).await;
    for n in 0..5 {
        assert_ne!(log.keep_busy(&mut beats).await, thread::current().id());
        log.rotate();
        log.write(format!("{n}\n"));
        let mut text = live.text().await;
        while !text.ends_with(&format!("x\n{n}\n")) {
            text += &live.text().await;
        }
    }
    live.until(|stats| stats.rotations >= 5).await;
}

#[tokio::test]
async fn a_busy_log_that_nobody_follows_any_more_is_let_go_at_once() {
    let ends: [fn(Live); 3] = [
        |live| live.task.abort(),
        |live| live.stop.cancel(),
        |live| drop(live.events),
    ];
    for end in ends {
        let log = Log::new();
        let (options, mut beats) = beating(&log);
        let mut live = follow(options, 8);
        live.until(|stats| stats.inotify).await;
        log.keep_busy(&mut beats).await;
        end(live);
        // The thread holds the other end.
        let let_go = async { while beats.recv().await.is_some() {} };
        let gone = tokio::time::timeout(seconds(20), let_go).await;
        gone.expect("within the deadline");
    }
}

#[tokio::test]
async fn a_panic_on_the_thread_is_one_of_the_follower() {
    let log = Log::new();
    let (mut options, _) = beating(&log);
    options.urgent = Urgent::new(|_| panic!("as a test wants"), || 0);
    let mut live = follow(options, 8);
    live.until(|stats| stats.inotify).await;
    let writes = async {
        while !live.task.is_finished() {
            log.write("x\n");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let ended = tokio::time::timeout(seconds(20), writes).await;
    ended.expect("within the deadline");
    assert!(live.task.await.unwrap_err().is_panic());
}

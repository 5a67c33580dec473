//! The real `journalctl` over a real journal, which `systemd-journal-remote` writes as it would another machine's.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;

/// A journal in a folder of its own, and the program that adds to it.
struct Journal {
    folder: tempfile::TempDir,
    writer: Child,
}

/// Debian keeps systemd's own programs out of `PATH`.
fn writer() -> &'static Path {
    ["/usr/lib/systemd", "/lib/systemd"]
        .into_iter()
        .map(|folder| Path::new(folder).join("systemd-journal-remote"))
        .find(|program| program.exists())
        .map(|program| &*Box::leak(program.into_boxed_path()))
        .expect("systemd-journal-remote is installed; on Debian: apt-get install systemd-journal-remote")
}

impl Journal {
    fn new() -> Journal {
        let folder = tempfile::tempdir().unwrap();
        let writer = Command::new(writer())
            .arg(format!(
                "--output={}",
                folder.path().join("remote.journal").display()
            ))
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let journal = Journal { folder, writer };
        let at = journal.folder.path().display();
        // The program that is followed, told only where this journal is.
        let script = format!("#!/bin/sh\nexec journalctl --directory='{at}' \"$@\"\n");
        fs::write(journal.program(), script).unwrap();
        fs::set_permissions(journal.program(), fs::Permissions::from_mode(0o755)).unwrap();
        journal
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("of-this-folder")
    }

    /// An entry whose message may hold any bytes, newlines among them.
    fn write(&mut self, second: u64, identifier: &str, message: &[u8]) {
        let mut entry = format!(
            "__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID=3ad0a1a3c8f84b8d8b1e6d3a4ff0e1aa\nSYSLOG_IDENTIFIER={identifier}\nMESSAGE\n",
            1_760_000_000_000_000 + second * 1_000_000,
            second * 1_000_000,
        )
        .into_bytes();
        entry.extend((message.len() as u64).to_le_bytes());
        entry.extend(message);
        entry.extend(b"\n\n");
        let input = self.writer.stdin.as_mut().unwrap();
        input.write_all(&entry).unwrap();
        input.flush().unwrap();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // At the end of its input it is done; killed if it is not.
        drop(self.writer.stdin.take());
        self.writer.kill().ok();
        self.writer.wait().ok();
    }
}

/// Takes chunks until all of `wanted` came, in order and nothing between; the cursor behind them.
async fn expect(live: &mut Live, wanted: &[&str], ignored: &str) -> Option<String> {
    let (mut text, mut at) = (String::new(), None);
    while !wanted.iter().all(|message| text.contains(message)) {
        let (more, cursor, ..) = live.chunk().await;
        text += &more;
        at = cursor;
    }
    let places: Vec<usize> = wanted.iter().filter_map(|word| text.find(word)).collect();
    assert!(places.is_sorted(), "out of order: {text}");
    for message in wanted {
        assert_eq!(text.matches(message).count(), 1, "twice: {message}");
    }
    assert!(
        !text.contains(ignored),
        "of another or read before: {ignored}"
    );
    at
}

#[tokio::test]
async fn a_real_journal_is_followed_live_and_resumed_behind_its_cursor() {
    let mut journal = Journal::new();
    journal.write(1, "master-controller", b"first words");
    journal.write(2, "another-service", b"not ours");
    journal.write(3, "master-controller", b"two\nlines, \xe2\x82\xac");
    let mut live = follow(journal.program(), StartAt::Beginning, None);
    expect(&mut live, &["first words", "two\nlines, €"], "not ours").await;
    journal.write(4, "master-controller", b"written while followed");
    let cursor = expect(&mut live, &["written while followed"], "first words").await;
    live.stop.cancel();
    live.task.await.unwrap();

    journal.write(5, "master-controller", b"written while away");
    let kept = JournalCheckpoint {
        cursor,
        history_before: None,
    };
    let mut live = follow(journal.program(), StartAt::Beginning, Some(kept));
    expect(&mut live, &["written while away"], "while followed").await;
    journal.write(6, "master-controller", b"and after");
    expect(&mut live, &["and after"], "while away").await;
    live.stop.cancel();
    live.task.await.unwrap();
}

impl Journal {
    /// Stops the program that follows this journal, as SIGSTOP or a disk that hangs does.
    fn stop_the_follower(&self) {
        let at = self.folder.path().display().to_string();
        let follows = |process: &Path| {
            let line = fs::read_to_string(process.join("cmdline")).unwrap_or_default();
            line.contains(&at) && line.contains("--follow")
        };
        let processes = fs::read_dir("/proc").unwrap();
        let process = processes
            .map(|entry| entry.unwrap().path())
            .find(|process| follows(process))
            .expect("it follows");
        let stopped = Command::new("kill")
            .arg("-STOP")
            .arg(process.file_name().unwrap())
            .status()
            .unwrap();
        assert!(stopped.success());
    }
}

#[tokio::test]
async fn a_real_one_that_is_stopped_is_replaced_and_an_idle_one_is_left_alone() {
    let mut journal = Journal::new();
    journal.write(1, "master-controller", b"first words");
    let mut live = follow(journal.program(), StartAt::Beginning, None);
    expect(&mut live, &["first words"], "nothing").await;
    let starts = live.stats.borrow().starts;
    // Long enough to be asked some times.
    tokio::time::timeout(Duration::from_millis(300), live.events.recv())
        .await
        .expect_err("an idle journal is no trouble");
    assert_eq!(live.stats.borrow().starts, starts);
    journal.stop_the_follower();
    journal.write(2, "master-controller", b"meanwhile");
    let (text, _, _, words) = live.chunk().await;
    assert!(text.contains("meanwhile") && !text.contains("first words"));
    assert!(
        words[0].ends_with("hangs: it does not give what is in the journal"),
        "{words:?}"
    );
    live.stop.cancel();
    live.task.await.unwrap();
}

/// What is asked after a cursor that was vacuumed away is answered, and a trouble ends once.
#[tokio::test]
async fn a_real_one_whose_cursor_was_vacuumed_away_recovers_once() {
    let mut journal = Journal::new();
    journal.write(1, "master-controller", b"first words");
    let mut live = follow(journal.program(), StartAt::Beginning, None);
    let cursor = expect(&mut live, &["first words"], "nothing").await;
    live.stop.cancel();
    live.task.await.unwrap();

    let mut vacuumed = Journal::new();
    vacuumed.write(2, "another-service", b"not ours");
    let kept = JournalCheckpoint {
        cursor,
        history_before: None,
    };
    let program = vacuumed.program();
    let written = async {
        let read = || Command::new(&program).arg("--quiet").output().unwrap();
        while read().stdout.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), written)
        .await
        .unwrap();
    let aside = vacuumed.folder.path().join("aside");
    fs::rename(&program, &aside).unwrap();
    let mut live = follow(program.clone(), StartAt::Beginning, Some(kept));
    assert!(matches!(live.event().await, JournalEvent::Trouble { .. }));
    fs::rename(&aside, &program).unwrap();
    assert_eq!(live.event().await, JournalEvent::Recovered);
    // Long enough to be asked some times.
    tokio::time::timeout(Duration::from_millis(300), live.events.recv())
        .await
        .expect_err("nothing changes any more");
    live.stop.cancel();
    live.task.await.unwrap();
}

//! A scripted `journalctl`: its nth start prints the nth part and ends, its last one stays. It notes how it was called. One
//! that does not follow runs what a test writes to `asked`, and ends.

mod real;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tokio::task::JoinHandle;

use super::*;

struct Script {
    folder: tempfile::TempDir,
}

impl Script {
    fn new(parts: &[String]) -> Script {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let script = format!(
            "#!/bin/sh\ncd '{at}'\ncase \"$*\" in *--follow*) ;; *) echo \"$@\" >> asks; if [ -e asked ]; then . ./asked; fi; exit;; esac\necho \"$@\" >> calls\nn=$(wc -l < calls)\ncat part$n\n[ -e part$((n + 1)) ] && exit 3\n: > stays\nexec sleep 600\n"
        );
        fs::write(folder.path().join("journalctl"), script).unwrap();
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path().join("journalctl"), executable).unwrap();
        for (n, part) in parts.iter().enumerate() {
            fs::write(folder.path().join(format!("part{}", n + 1)), part).unwrap();
        }
        Script { folder }
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.folder.path().join("calls")).unwrap();
        calls.lines().map(str::to_owned).collect()
    }
}

struct Live {
    events: mpsc::Receiver<JournalEvent>,
    stats: watch::Receiver<JournalStats>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

#[expect(clippy::disallowed_methods, reason = "a test supervises its own task")]
fn follow(program: PathBuf, start: StartAt, checkpoint: Option<JournalCheckpoint>) -> Live {
    let options = JournalOptions {
        program,
        start,
        first_retry: Duration::from_millis(1),
        settled: Duration::from_millis(1),
        quiet: Duration::from_millis(20),
        patience: Duration::from_millis(500),
        ..JournalOptions::default()
    };
    let (sender, events) = mpsc::channel(4);
    let (figures, stats) = watch::channel(JournalStats::default());
    let stop = CancellationToken::new();
    let task = tokio::spawn(run(options, checkpoint, sender, figures, stop.clone()));
    Live {
        events,
        stats,
        stop,
        task,
    }
}

impl Live {
    async fn event(&mut self) -> JournalEvent {
        let event = tokio::time::timeout(Duration::from_secs(20), self.events.recv()).await;
        event.expect("within the deadline").expect("it follows")
    }

    /// The next chunk's text, cursor and history, and the words before it.
    async fn chunk(&mut self) -> (String, Option<String>, bool, Vec<String>) {
        let mut words = Vec::new();
        loop {
            match self.event().await {
                JournalEvent::Chunk {
                    bytes,
                    after,
                    history,
                } => {
                    return (
                        String::from_utf8(bytes).unwrap(),
                        after.cursor,
                        history,
                        words,
                    );
                }
                JournalEvent::Trouble { error } => words.push(error),
                JournalEvent::Recovered => words.push("recovered".to_owned()),
            }
        }
    }
}

fn entry(n: u32) -> String {
    format!("__CURSOR=s=1;i={n}\n__REALTIME_TIMESTAMP=1760000000000000\nMESSAGE=line {n}\n\n")
}

#[tokio::test]
async fn entries_are_followed_across_the_end_of_the_program_by_their_cursor() {
    let half = "__CURSOR=s=1;i=2\nMESSAGE=li".to_owned();
    let script = Script::new(&[entry(1) + &half, entry(2), entry(3)]);
    let program = script.folder.path().join("journalctl");
    let mut live = follow(program.clone(), StartAt::Beginning, None);
    let cursor = |n| Some(format!("s=1;i={n}"));
    let (text, at, history, _) = live.chunk().await;
    assert_eq!((text, at, history), (entry(1), cursor(1), true));
    let (text, at, _, words) = live.chunk().await;
    assert_eq!((text, at), (entry(2), cursor(2)));
    let ended = format!("{} ended: exit status 3", program.display());
    assert_eq!(words, [ended.as_str(), "recovered"]);
    let (text, at, ..) = live.chunk().await;
    assert_eq!((text, at), (entry(3), cursor(3)));
    assert_eq!(
        (live.stats.borrow().starts, live.stats.borrow().entries),
        (3, 3)
    );
    live.stop.cancel();
    live.task.await.unwrap();

    let common = "--follow --output=export --all --quiet --no-pager --identifier=master-controller --no-tail";
    assert_eq!(
        script.calls(),
        [
            common.to_owned(),
            format!("{common} --after-cursor=s=1;i=1"),
            format!("{common} --after-cursor=s=1;i=2"),
        ]
    );
}

#[tokio::test]
async fn a_checkpoint_resumes_after_its_cursor_and_what_comes_is_live() {
    let script = Script::new(&[entry(8)]);
    let kept = JournalCheckpoint {
        cursor: Some("s=1;i=7".to_owned()),
        history_before: Some(Timestamp(1_700_000_000_000)),
    };
    let program = script.folder.path().join("journalctl");
    let mut live = follow(program, StartAt::End, Some(kept));
    let (_, _, history, _) = live.chunk().await;
    assert!(!history);
    assert!(
        script
            .calls()
            .iter()
            .all(|call| call.ends_with("--no-tail --after-cursor=s=1;i=7"))
    );
}

#[tokio::test]
async fn a_first_start_at_the_end_asks_for_no_old_entry() {
    let script = Script::new(&[entry(1)]);
    let program = script.folder.path().join("journalctl");
    let mut live = follow(program, StartAt::End, None);
    live.chunk().await;
    assert!(
        script
            .calls()
            .iter()
            .all(|call| call.ends_with("--lines=0"))
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_is_said_once_and_tried_again() {
    let script = Script::new(&[entry(1)]);
    let program = script.folder.path().join("journalctl");
    let aside = script.folder.path().join("aside");
    fs::rename(&program, &aside).unwrap();
    let mut live = follow(program.clone(), StartAt::Beginning, None);
    assert!(matches!(live.event().await, JournalEvent::Trouble { .. }));
    fs::rename(&aside, &program).unwrap();
    let (text, _, _, words) = live.chunk().await;
    assert_eq!((text, words), (entry(1), vec!["recovered".to_owned()]));
}

#[tokio::test]
async fn a_restart_that_is_followed_by_silence_is_a_recovery() {
    let script = Script::new(&[entry(1), String::new()]);
    let program = script.folder.path().join("journalctl");
    let mut live = follow(program, StartAt::Beginning, None);
    live.chunk().await;
    assert!(matches!(live.event().await, JournalEvent::Trouble { .. }));
    assert_eq!(live.event().await, JournalEvent::Recovered);
}

#[tokio::test(start_paused = true)]
async fn a_program_has_recovered_once_it_stayed_and_not_before() {
    let options = JournalOptions {
        // Without an entry to ask by, to stay is all that can be known.
        start: StartAt::End,
        ..JournalOptions::default()
    };
    let settled = options.settled;
    let (sender, mut events) = mpsc::channel(4);
    let (stats, _) = watch::channel(JournalStats::default());
    let mut journal = Journal {
        place: JournalCheckpoint::first(),
        events: sender,
        stats,
        trouble: Some("it ended".to_owned()),
        fruitful: false,
        unanswered: false,
    };
    // It stays for almost as long, and ends.
    let (held, output) = tokio::io::duplex(64);
    let (ended, ()) = tokio::join!(journal.pass_on(output, &options, settled), async move {
        tokio::time::sleep(settled - Duration::from_millis(1)).await;
        drop(held);
    });
    assert!(ended.is_ok() && events.is_empty() && !journal.fruitful);
    // It stays.
    let (_held, output) = tokio::io::duplex(64);
    let stays = journal.pass_on(output, &options, settled);
    let stays = tokio::time::timeout(settled * 100, stays).await;
    assert!(stays.is_err());
    assert_eq!(events.try_recv(), Ok(JournalEvent::Recovered));
    assert!(events.is_empty(), "said once");
    assert!(
        !journal.fruitful,
        "it gave nothing: one that ends again and again is asked ever more rarely"
    );
}

/// As after a SIGSTOP: it lives, and says nothing of what the journal has.
#[tokio::test]
async fn a_program_that_hangs_is_told_and_started_again_and_nothing_is_lost() {
    let script = Script::new(&[entry(1)]);
    let at = script.folder.path();
    let mut live = follow(at.join("journalctl"), StartAt::Beginning, None);
    live.chunk().await;
    let stays = async {
        while !at.join("stays").exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), stays)
        .await
        .unwrap();
    // Its successor gives what came meanwhile.
    fs::write(at.join("part2"), entry(2)).unwrap();
    fs::write(at.join("asked"), "cat part2").unwrap();
    let (text, at, _, words) = live.chunk().await;
    assert_eq!((text, at), (entry(2), Some("s=1;i=2".to_owned())));
    assert!(
        words[0].ends_with("journalctl hangs: it does not give what is in the journal"),
        "{words:?}"
    );
    assert_eq!(words[1..], ["recovered"]);
    let asks = fs::read_to_string(script.folder.path().join("asks")).unwrap();
    let asked = "--output=export --all --quiet --no-pager --identifier=master-controller --after-cursor=s=1;i=1";
    assert!(asks.lines().any(|call| call == asked), "{asks}");
}

/// The one that follows and the one that is asked are the same program: a wrapper that never prints hangs as both.
#[tokio::test]
async fn a_program_that_never_answers_stays_in_trouble() {
    let script = Script::new(&[entry(1)]);
    let at = script.folder.path();
    fs::write(at.join("asked"), "exec sleep 600").unwrap();
    let mut live = follow(at.join("journalctl"), StartAt::Beginning, None);
    live.chunk().await;
    let JournalEvent::Trouble { error } = live.event().await else {
        panic!("it hangs");
    };
    assert!(
        error.ends_with("journalctl hangs: asked anew, it neither answers nor ends"),
        "{error}"
    );
    // To be started again, and to stay, proves nothing any more; an answer does.
    let again = async {
        while live.stats.borrow().starts < 3 {
            live.stats.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), again)
        .await
        .unwrap();
    assert!(live.events.is_empty());
    fs::write(at.join("asked"), "").unwrap();
    assert_eq!(live.event().await, JournalEvent::Recovered);
}

#[tokio::test]
async fn a_silent_journal_is_asked_again_and_again_and_is_no_trouble() {
    let script = Script::new(&[entry(1)]);
    let at = script.folder.path();
    let mut live = follow(at.join("journalctl"), StartAt::Beginning, None);
    live.chunk().await;
    script.is_asked(4).await;
    assert!(live.events.is_empty());
    assert_eq!(live.stats.borrow().starts, 1);
}

impl Script {
    /// Comes back once so many more were asked.
    async fn is_asked(&self, more: usize) {
        let asks = || {
            let asks = fs::read_to_string(self.folder.path().join("asks"));
            asks.unwrap_or_default().lines().count()
        };
        let wanted = asks() + more;
        let asked = async {
            while asks() < wanted {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asked)
            .await
            .unwrap();
    }
}

/// Who fails has proved nothing: what is silent is not in trouble for it, and what is in trouble stays so.
#[tokio::test]
async fn an_asked_one_that_fails_neither_begins_a_trouble_nor_ends_one() {
    for fails in ["exit 1", "kill -9 $$"] {
        let script = Script::new(&[entry(1), String::new()]);
        let at = script.folder.path();
        fs::write(at.join("asked"), fails).unwrap();
        let mut live = follow(at.join("journalctl"), StartAt::Beginning, None);
        live.chunk().await;
        assert!(matches!(live.event().await, JournalEvent::Trouble { .. }));
        script.is_asked(4).await;
        assert!(live.events.is_empty(), "{fails}");
        // The next one that is asked answers.
        fs::write(at.join("asked"), "").unwrap();
        assert_eq!(live.event().await, JournalEvent::Recovered);
        fs::write(at.join("now"), fails).unwrap();
        fs::rename(at.join("now"), at.join("asked")).unwrap();
        script.is_asked(4).await;
        assert!(live.events.is_empty(), "{fails}");
        assert_eq!(live.stats.borrow().starts, 2);
    }
}

/// As where no descriptor or process is left for it.
#[tokio::test]
async fn an_asked_one_that_cannot_be_started_has_told_nothing() {
    let options = JournalOptions {
        program: PathBuf::from("/nobody/can/be/asked"),
        ..JournalOptions::default()
    };
    let cursor = Some("s=1;i=1".to_owned());
    let answer = ask(&options, cursor, Duration::ZERO).await;
    assert!(
        matches!(&answer, Answer::Unknown(error) if error.starts_with("start it: ")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_receiver_that_is_gone_ends_it() {
    let script = Script::new(&[String::new()]);
    let live = follow(
        script.folder.path().join("journalctl"),
        StartAt::Beginning,
        None,
    );
    drop(live.events);
    live.task.await.unwrap();
}

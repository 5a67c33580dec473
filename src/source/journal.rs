//! The systemd journal as a stream, for a controller whose lines only go there: `journalctl --follow --output=export`
//! as a child process, started again with back-off whenever it ends.
//!
//! # What is promised
//!
//! - **Order and delivery**: entries come whole and in the journal's order. A [`Chunk`](JournalEvent::Chunk) carries the
//!   [`JournalCheckpoint`] that is valid once it was processed; resumed from there, no entry comes twice and none that
//!   the journal still holds is skipped.
//! - **Loss**: what journald dropped or vacuumed away before it was read is not visible here. An entry beyond 8 MiB is
//!   dropped and counted.
//! - **A `journalctl` that hangs** is told from a controller that is silent by asking a second one, which does not follow:
//!   after a minute without an entry, and every minute of such silence, it is asked for what comes after the last one. If
//!   there is something and the first does not give it, or if the second does not answer, that is trouble, and the first
//!   is started again. A second one that cannot be started or fails has told nothing of the first: that neither begins a
//!   trouble nor ends one, is logged, and another is asked later. One whose first start is at the journal's end has no last
//!   entry to ask by, until there is one.
//! - **Back-pressure**: a full channel stops the reading, and the pipe stops `journalctl`. Nothing is dropped.
//!
//! The bytes are passed on as they are; what they mean is `controller`'s.

mod export;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::tail::StartAt;
use crate::clock;
use crate::core::event::Timestamp;
use export::Splitter;

#[derive(Clone, Debug)]
pub struct JournalOptions {
    pub program: PathBuf,
    /// The controller's `SYSLOG_IDENTIFIER`.
    pub identifier: String,
    /// Where a first start (no checkpoint) begins.
    pub start: StartAt,
    /// Sleep before the program is started again; doubled up to half a minute while it neither gives anything nor stays.
    pub first_retry: Duration,
    /// A program that was started again and stayed for so long follows the journal, where there is nothing to read.
    pub settled: Duration,
    /// After so long without an entry another program is asked whether there is none.
    pub quiet: Duration,
    /// It hangs that has not answered for so long, or not given what there is.
    pub patience: Duration,
}

impl Default for JournalOptions {
    fn default() -> JournalOptions {
        JournalOptions {
            program: PathBuf::from("journalctl"),
            identifier: "master-controller".to_owned(),
            start: StartAt::Beginning,
            first_retry: Duration::from_millis(250),
            settled: Duration::from_secs(2),
            quiet: Duration::from_secs(60),
            patience: Duration::from_secs(20),
        }
    }
}

/// Where to resume, as a value: kept by the caller, handed to the next [`run`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalCheckpoint {
    /// The last entry's, in journald's words; none before the first entry.
    pub cursor: Option<String>,
    /// Entries from before the first start are history.
    pub history_before: Option<Timestamp>,
}

impl JournalCheckpoint {
    /// Where a first start begins: what is there by now is history.
    #[must_use]
    pub fn first() -> JournalCheckpoint {
        JournalCheckpoint {
            cursor: None,
            history_before: Some(clock::now()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalEvent {
    /// Whole entries in the export format.
    Chunk {
        bytes: Vec<u8>,
        /// Valid once these bytes are processed.
        after: JournalCheckpoint,
        /// The entries are from before the first start: they fill reports and page nobody.
        history: bool,
    },
    /// `journalctl` could not be started, or ended; sent once per change. It is tried again.
    Trouble { error: String },
    /// Entries come again, or would if there were any.
    Recovered,
}

/// Figures of a followed journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    pub bytes: u64,
    pub entries: u64,
    /// Entries that were too large, and dropped.
    pub oversized: u64,
    /// How often the program was started.
    pub starts: u64,
    /// Whether it runs now.
    pub running: bool,
}

const LAST_RETRY: Duration = Duration::from_secs(30);

/// Why following stopped for now.
enum Ended {
    /// Asked to, or nobody listens any more.
    Stopped,
    Failed(String),
}

/// Follows the journal until `stop` is cancelled or the receiver is gone.
pub async fn run(
    options: JournalOptions,
    checkpoint: Option<JournalCheckpoint>,
    events: mpsc::Sender<JournalEvent>,
    stats: watch::Sender<JournalStats>,
    stop: CancellationToken,
) {
    let following = follow(options, checkpoint, events, stats);
    // Dropping the future kills the child.
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = following => {}
    }
}

async fn follow(
    options: JournalOptions,
    checkpoint: Option<JournalCheckpoint>,
    events: mpsc::Sender<JournalEvent>,
    stats: watch::Sender<JournalStats>,
) {
    let mut journal = Journal {
        place: checkpoint.unwrap_or_else(JournalCheckpoint::first),
        events,
        stats,
        trouble: None,
        fruitful: false,
        unanswered: false,
    };
    let mut delay = options.first_retry;
    loop {
        journal.fruitful = false;
        // One that ends again and again must stay for longer than it is waited for.
        let ended = journal
            .listen(&options, options.settled.max(2 * delay))
            .await;
        journal.stats.send_modify(|stats| stats.running = false);
        let Ended::Failed(error) = ended else {
            return;
        };
        if journal.trouble.as_ref() != Some(&error) {
            journal.trouble = Some(error.clone());
            let trouble = JournalEvent::Trouble { error };
            if journal.events.send(trouble).await.is_err() {
                return;
            }
        }
        if journal.fruitful {
            delay = options.first_retry;
        }
        tokio::select! {
            () = journal.events.closed() => return,
            () = tokio::time::sleep(delay) => {}
        }
        delay = (delay * 2).min(LAST_RETRY);
    }
}

struct Journal {
    /// After the last entry delivered.
    place: JournalCheckpoint,
    events: mpsc::Sender<JournalEvent>,
    stats: watch::Sender<JournalStats>,
    trouble: Option<String>,
    /// This start gave entries.
    fruitful: bool,
    /// Who was asked last could not answer, and the log says so.
    unanswered: bool,
}

impl Journal {
    /// Starts the program and delivers what it prints until it ends.
    async fn listen(&mut self, options: &JournalOptions, settled: Duration) -> Ended {
        let program = options.program.display();
        let child = Command::new(&options.program)
            .args(arguments(options, &self.place))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let (mut child, output) = match child {
            Ok(mut child) => match child.stdout.take() {
                Some(output) => (child, output),
                None => return Ended::Failed(format!("{program} has no output")),
            },
            Err(error) => return Ended::Failed(format!("start {program}: {error}")),
        };
        self.stats.send_modify(|stats| {
            stats.starts += 1;
            stats.running = true;
        });
        match self.pass_on(output, options, settled).await {
            Ok(()) => Ended::Failed(format!("{program} ended: {}", spoken(child.wait().await))),
            Err(ended) => ended,
        }
    }

    async fn pass_on(
        &mut self,
        mut output: impl AsyncRead + Unpin,
        options: &JournalOptions,
        settled: Duration,
    ) -> Result<(), Ended> {
        let mut splitter = Splitter::default();
        let mut buffer = vec![0; 64 * 1024];
        // Of one that takes the place of another in trouble it is known soon.
        let first = match self.trouble {
            Some(_) => settled,
            None => options.quiet,
        };
        let mut asked = pin!(ask(options, self.place.cursor.clone(), first));
        loop {
            let read = tokio::select! {
                () = self.events.closed() => return Err(Ended::Stopped),
                read = output.read(&mut buffer) => read,
                // An idle controller writes every few minutes: silence is no reason to be blind for as long.
                answer = &mut asked => {
                    match answer {
                        Answer::Sound => {
                            self.unanswered = false;
                            self.recovers().await?;
                        }
                        Answer::Hangs(error) => return Err(Ended::Failed(error)),
                        Answer::Unknown(error) => self.nobody_answers(&options.program, &error),
                    }
                    asked.set(ask(options, self.place.cursor.clone(), options.quiet));
                    continue;
                }
            };
            let n = read.map_err(|error| Ended::Failed(format!("read the journal: {error}")))?;
            if n == 0 {
                // Half an entry is not delivered: its cursor was not passed, so it comes again.
                return Ok(());
            }
            splitter.push(buffer.get(..n).unwrap_or_default());
            while let Some(entries) = splitter.take(self.place.history_before) {
                self.deliver(entries).await?;
            }
            asked.set(ask(options, self.place.cursor.clone(), options.quiet));
        }
    }

    async fn deliver(&mut self, entries: export::Entries) -> Result<(), Ended> {
        self.fruitful = true;
        self.recovers().await?;
        if entries.cursor.is_some() {
            self.place.cursor = entries.cursor;
        }
        self.stats.send_modify(|stats| {
            stats.bytes += entries.bytes.len() as u64;
            stats.entries += entries.count;
            stats.oversized += entries.oversized;
        });
        if entries.bytes.is_empty() {
            return Ok(());
        }
        self.send(JournalEvent::Chunk {
            bytes: entries.bytes,
            after: self.place.clone(),
            history: entries.history,
        })
        .await
    }

    /// What is silent may be sound or hang: whoever looks into it should know that it is not watched.
    fn nobody_answers(&mut self, program: &Path, error: &str) {
        if !std::mem::replace(&mut self.unanswered, true) {
            let program = program.display();
            tracing::warn!(%program, error, "the journal is silent, and whether there is more in it cannot be asked");
        }
    }

    async fn recovers(&mut self) -> Result<(), Ended> {
        match self.trouble.take() {
            Some(_) => self.send(JournalEvent::Recovered).await,
            None => Ok(()),
        }
    }

    async fn send(&self, event: JournalEvent) -> Result<(), Ended> {
        let sent = self.events.send(event).await;
        sent.map_err(|_| Ended::Stopped)
    }
}

/// What is known of a program that gives nothing for a while.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// There is nothing to give.
    Sound,
    Hangs(String),
    /// Who was asked failed, for its own reasons or for those of the first: it has proved nothing.
    Unknown(String),
}

/// Waits for `quiet`, and asks another whether there is anything after the cursor.
async fn ask(options: &JournalOptions, cursor: Option<String>, quiet: Duration) -> Answer {
    tokio::time::sleep(quiet).await;
    if cursor.is_none() && options.start == StartAt::End {
        return Answer::Sound;
    }
    let (program, patience) = (options.program.display(), options.patience);
    match tokio::time::timeout(patience, has_more(options, cursor.as_deref())).await {
        Ok(Ok(false)) => Answer::Sound,
        Ok(Err(error)) => Answer::Unknown(error),
        // It may be on its way; whoever gets it forgets that this was asked.
        Ok(Ok(true)) => {
            tokio::time::sleep(patience).await;
            Answer::Hangs(format!(
                "{program} hangs: it does not give what is in the journal"
            ))
        }
        Err(_) => Answer::Hangs(format!(
            "{program} hangs: asked anew, it neither answers nor ends"
        )),
    }
}

/// Whether the journal has anything after the cursor. It has nothing where the one who is asked says nothing and ends with
/// success, as `journalctl` does with a cursor that was vacuumed away.
async fn has_more(options: &JournalOptions, cursor: Option<&str>) -> Result<bool, String> {
    let mut asked = Command::new(&options.program);
    asked.args(what(options));
    asked.args(cursor.map(|cursor| format!("--after-cursor={cursor}")));
    let mut child = asked
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("start it: {error}"))?;
    let mut output = child.stdout.take().ok_or("it has no output")?;
    let read = output.read(&mut [0; 64]).await;
    // The rest is not wanted.
    if read.map_err(|error| format!("read it: {error}"))? > 0 {
        return Ok(true);
    }
    match child.wait().await {
        Ok(status) if status.success() => Ok(false),
        ended => Err(format!("it ended: {}", spoken(ended))),
    }
}

/// Which entries are asked for, and in which form.
fn what(options: &JournalOptions) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["--output=export", "--all", "--quiet", "--no-pager"]
        .map(OsString::from)
        .into();
    arguments.push(format!("--identifier={}", options.identifier).into());
    arguments
}

fn arguments(options: &JournalOptions, place: &JournalCheckpoint) -> Vec<OsString> {
    let mut arguments = what(options);
    arguments.insert(0, "--follow".into());
    match (&place.cursor, options.start) {
        (Some(cursor), _) => {
            arguments.push("--no-tail".into());
            arguments.push(format!("--after-cursor={cursor}").into());
        }
        (None, StartAt::Beginning) => arguments.push("--no-tail".into()),
        (None, StartAt::End) => arguments.push("--lines=0".into()),
    }
    arguments
}

/// How a program ended.
fn spoken(ended: io::Result<ExitStatus>) -> String {
    match ended.map(|status| status.code()) {
        Ok(Some(code)) => format!("exit status {code}"),
        Ok(None) => "killed by a signal".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests;

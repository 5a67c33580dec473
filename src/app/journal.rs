//! The journal in place of a log file: its export, unwrapped into the bytes that a file would hold.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::place::{Place, SourceEvent};
use crate::clock;
use crate::controller::journal::Export;
use crate::source::journal::{self, JournalCheckpoint, JournalEvent, JournalOptions, JournalStats};
use crate::source::tail::TailStats;

/// Exported entries on their way to be unwrapped; when it is full, `journalctl` waits.
const ENTRIES: usize = 16;
/// So long without an entry, and the journal has been read to its end.
const SILENCE: Duration = Duration::from_millis(500);

/// Follows the journal of one identifier until `stop`, as if it were a file of a single generation.
pub(super) async fn run(
    identifier: String,
    checkpoint: Option<JournalCheckpoint>,
    events: mpsc::Sender<SourceEvent>,
    stats: watch::Sender<TailStats>,
    stop: CancellationToken,
) {
    // One endless generation, there from the start.
    stats.send_modify(|stats| stats.generation = Some(0));
    let options = JournalOptions {
        identifier,
        ..JournalOptions::default()
    };
    let (entries_tx, entries) = mpsc::channel(ENTRIES);
    let (figures_tx, figures) = watch::channel(JournalStats::default());
    tokio::join!(
        journal::run(options, checkpoint.clone(), entries_tx, figures_tx, stop),
        unwrap(checkpoint, entries, &figures, events, &stats),
    );
}

/// Passes on what comes of the journal until nothing more does, or nobody takes it.
async fn unwrap(
    checkpoint: Option<JournalCheckpoint>,
    mut entries: mpsc::Receiver<JournalEvent>,
    figures: &watch::Receiver<JournalStats>,
    events: mpsc::Sender<SourceEvent>,
    stats: &watch::Sender<TailStats>,
) {
    // The place to go on from, should nothing come.
    let mut nothing = Some(checkpoint.unwrap_or_else(JournalCheckpoint::first));
    let mut export = Export::default();
    let mut offset = 0u64;
    let mut lines = 0u64;
    let mut caught_up = false;
    let mut trouble = false;
    loop {
        let event = match tokio::time::timeout(SILENCE, entries.recv()).await {
            Ok(Some(event)) => event,
            Ok(None) => return,
            Err(_) if trouble || !figures.borrow().running => continue,
            Err(_) => {
                stats.send_modify(|stats| stats.looked_at = Some(clock::monotonic()));
                if std::mem::replace(&mut caught_up, true) {
                    continue;
                }
                let after = nothing.take().map(Place::Journal);
                if events.send(SourceEvent::CaughtUp { after }).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let sent = match event {
            JournalEvent::Chunk {
                bytes,
                after,
                history,
            } => {
                let mut text = Vec::new();
                export.push(&bytes, &mut |message| text.extend_from_slice(message));
                lines += memchr::memchr_iter(b'\n', &text).count() as u64;
                let at = offset;
                offset += text.len() as u64;
                let entries = figures.borrow().clone();
                stats.send_modify(|stats| {
                    stats.bytes = entries.bytes;
                    stats.lines = lines;
                });
                let chunk = SourceEvent::Chunk {
                    generation: 0,
                    offset: at,
                    bytes: text,
                    after: Place::Journal(after),
                    history,
                };
                caught_up = false;
                nothing = None;
                events.send(chunk).await
            }
            JournalEvent::Trouble { error } => {
                trouble = true;
                events
                    .send(SourceEvent::Trouble {
                        path: PathBuf::from("the journal"),
                        error,
                    })
                    .await
            }
            JournalEvent::Recovered => {
                // Up to where it was read is not known to be its end any more.
                (trouble, caught_up) = (false, false);
                events.send(SourceEvent::Recovered).await
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_recovery_that_is_followed_by_silence_has_caught_up_again() {
        let (told, entries) = mpsc::channel(4);
        let (events_tx, mut events) = mpsc::channel(4);
        let (stats, _) = watch::channel(TailStats::default());
        let (_figures, figures) = watch::channel(JournalStats {
            running: true,
            ..JournalStats::default()
        });
        let hear = async {
            assert!(matches!(
                events.recv().await,
                Some(SourceEvent::CaughtUp { after: Some(_) })
            ));
            let trouble = JournalEvent::Trouble {
                error: "journalctl ended".to_owned(),
            };
            told.send(trouble).await.unwrap();
            let heard = events.recv().await;
            assert!(matches!(heard, Some(SourceEvent::Trouble { .. })));
            // It runs again, and whether it works is not known yet.
            tokio::time::sleep(SILENCE * 3).await;
            assert!(events.is_empty());
            told.send(JournalEvent::Recovered).await.unwrap();
            assert_eq!(events.recv().await, Some(SourceEvent::Recovered));
            assert_eq!(
                events.recv().await,
                Some(SourceEvent::CaughtUp { after: None })
            );
            tokio::time::sleep(SILENCE * 3).await;
            assert!(events.is_empty(), "it is said once");
            drop(told);
        };
        let both = async {
            tokio::join!(unwrap(None, entries, &figures, events_tx, &stats), hear);
        };
        let done = tokio::time::timeout(SILENCE * 100, both).await;
        done.expect("each word comes");
    }
}

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
    let (entries_tx, mut entries) = mpsc::channel(ENTRIES);
    let (figures_tx, figures) = watch::channel(JournalStats::default());
    // The place to go on from, should nothing come.
    let mut nothing = Some(checkpoint.clone().unwrap_or_else(JournalCheckpoint::first));
    let unwrap = async {
        let mut export = Export::default();
        let mut offset = 0u64;
        let mut lines = 0u64;
        let mut caught_up = false;
        loop {
            let event = match tokio::time::timeout(SILENCE, entries.recv()).await {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(_) if !figures.borrow().running => continue,
                Err(_) if caught_up => {
                    stats.send_modify(|stats| stats.looked_at = Some(clock::monotonic()));
                    continue;
                }
                Err(_) => {
                    caught_up = true;
                    stats.send_modify(|stats| stats.looked_at = Some(clock::monotonic()));
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
                    events
                        .send(SourceEvent::Trouble {
                            path: PathBuf::from("the journal"),
                            error,
                        })
                        .await
                }
                JournalEvent::Recovered => events.send(SourceEvent::Recovered).await,
            };
            if sent.is_err() {
                return;
            }
        }
    };
    tokio::join!(
        journal::run(options, checkpoint, entries_tx, figures_tx, stop),
        unwrap
    );
}

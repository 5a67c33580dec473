//! Every task is started here, with a name, and noticed when it ends.
//!
//! One that ends by itself ends the whole, which is begun anew by whoever started it: what follows, decides and pages
//! holds state that a panic may have left half done. What only reads and writes beside that is begun anew by itself, so
//! that a week that no report can be made of stops no page.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

/// A task that panicked begins anew after so long, and after twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

#[derive(Default)]
pub(super) struct Supervisor {
    tasks: JoinSet<()>,
    names: HashMap<Id, String>,
}

impl Supervisor {
    pub(super) fn start(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(task);
        self.names.insert(handle.id(), name.into());
    }

    /// Starts a task that is begun anew where it panics, until `stop`.
    pub(super) fn keep<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        name: &'static str,
        stop: CancellationToken,
        mut begin: impl FnMut() -> F + Send + 'static,
    ) {
        self.start(name, async move {
            let mut pause = FIRST_PAUSE;
            loop {
                let mut one = JoinSet::new();
                one.spawn(begin());
                match one.join_next().await {
                    Some(Err(error)) if error.is_panic() => {}
                    Some(Ok(()) | Err(_)) | None => return,
                }
                tracing::error!(
                    task = name,
                    again_after_s = pause.as_secs(),
                    "a task panicked; it begins anew, and all else goes on"
                );
                let paused = stop.run_until_cancelled(tokio::time::sleep(pause));
                if paused.await.is_none() {
                    return;
                }
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
        });
    }

    /// The name of the next task that ends; never, if there is none. A panic is logged by its task's name.
    pub(super) async fn next_end(&mut self) -> String {
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => self.names.remove(&id).unwrap_or_default(),
            Some(Err(error)) => {
                let name = self.names.remove(&error.id()).unwrap_or_default();
                if error.is_panic() {
                    tracing::error!(task = name, "a task panicked");
                }
                name
            }
            None => std::future::pending().await,
        }
    }

    pub(super) async fn all_ended(&mut self) {
        while !self.tasks.is_empty() {
            self.next_end().await;
        }
    }

    /// Ends what did not end by itself, and names it.
    pub(super) async fn abort_all(&mut self) -> Vec<String> {
        let mut late: Vec<String> = self.names.values().cloned().collect();
        late.sort();
        self.tasks.shutdown().await;
        self.names.clear();
        late
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_kept_begins_anew_ever_more_rarely_and_ends_with_the_others() {
        let mut tasks = Supervisor::default();
        let stop = CancellationToken::new();
        let begun = Arc::new(AtomicU32::new(0));
        let (count, until) = (Arc::clone(&begun), stop.clone());
        tasks.keep("report", stop.clone(), move || {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let until = until.clone();
            async move {
                assert!(number >= 3, "a panic of a test");
                until.cancelled().await;
            }
        });
        let began = tokio::time::Instant::now();
        let fourth = async {
            while begun.load(Ordering::SeqCst) < 4 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = fourth => {}
            name = tasks.next_end() => panic!("{name} ended"),
        }
        let pauses = Duration::from_secs(10 + 20 + 40);
        assert!((pauses..pauses + Duration::from_secs(2)).contains(&began.elapsed()));
        stop.cancel();
        assert_eq!(tasks.next_end().await, "report");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_a_task_that_waits_to_begin_anew() {
        let mut tasks = Supervisor::default();
        let stop = CancellationToken::new();
        tasks.keep("report", stop.clone(), || async { panic!("of a test") });
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stop.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            name = tasks.next_end() => assert_eq!(name, "report"),
            () = stopping => {}
        }
    }
}

//! Every task is started here, with a name, and noticed when it ends.

use std::collections::HashMap;
use std::future::Future;

use tokio::task::{Id, JoinSet};

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

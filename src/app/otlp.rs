//! The exporter of traces and metrics on its thread: whatever happens there stays there.
//!
//! A panic in it begins it anew and is logged; it is no reason to end a sidecar that pages. At the end it is given three
//! seconds, or what the shutdown has left, and is then left behind: a name server that does not answer holds up nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::clock;
use crate::config::Config;
use crate::export::Recorder;
use crate::export::otlp::{Exporter, Resource, instance_id};

const FLUSH: Duration = Duration::from_secs(3);
/// What it takes to tell that the time is over.
const GRACE: Duration = Duration::from_millis(100);
/// Before it begins anew.
const AFTER_PANIC: Duration = Duration::from_secs(10);
const MACHINE: &str = "/etc/machine-id";

pub(super) struct Otlp {
    ends: watch::Sender<Option<Instant>>,
    ended: oneshot::Receiver<()>,
}

impl Otlp {
    /// `None`: nothing is sent over OTLP.
    pub(super) fn start(config: &Config, recorder: &Arc<Recorder>) -> anyhow::Result<Option<Otlp>> {
        let Some(settings) = &config.otlp else {
            return Ok(None);
        };
        let machine = std::fs::read_to_string(MACHINE).ok();
        let resource = Resource {
            instance: instance_id(machine.as_deref(), &config.host, &config.store.path),
            host: config.host.clone(),
            environment: settings.environment.clone(),
        };
        let exporter = Exporter::open(settings, &resource, Arc::clone(recorder))?;
        let (ends, watched) = watch::channel(None);
        let (tell, ended) = oneshot::channel::<()>();
        let work = move || {
            // Dropped with the thread.
            let _tell = tell;
            run(&exporter, &watched);
        };
        thread::Builder::new()
            .name("otlp".to_owned())
            .spawn(work)
            .context("start the thread for OTLP")?;
        tracing::info!(
            endpoint = %settings.endpoint,
            protocol = settings.protocol.as_str(),
            instance = resource.instance,
            "traces and metrics are sent over OTLP"
        );
        Ok(Some(Otlp { ends, ended }))
    }

    /// Gives it a moment to send what waits.
    pub(super) async fn end(self, deadline: Instant) {
        let now = clock::monotonic();
        let at = deadline.clamp(now, now + FLUSH);
        self.ends.send_replace(Some(at));
        if tokio::time::timeout_at(at + GRACE, self.ended)
            .await
            .is_err()
        {
            tracing::warn!("the thread for OTLP did not end in time and is left behind");
        }
    }
}

fn run(exporter: &Exporter, ends: &watch::Receiver<Option<Instant>>) {
    loop {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "no runtime for OTLP; nothing is sent");
                return;
            }
        };
        let work = || runtime.block_on(exporter.run(ends.clone()));
        let ended = catch_unwind(AssertUnwindSafe(work));
        if ended.is_err() {
            tracing::error!("what sends over OTLP panicked; it begins anew");
            let mut ends = ends.clone();
            let stopped = runtime.block_on(async {
                let end = ends.wait_for(Option::is_some);
                tokio::time::timeout(AFTER_PANIC, end).await.is_ok()
            });
            if !stopped {
                continue;
            }
        }
        // A name that is still being looked up is not waited for.
        runtime.shutdown_background();
        return;
    }
}

//! Traces and metrics over OTLP, to a collector that may be slow, silent, wrong or away.
//!
//! ```text
//!   owner ── Recorder ──► Traces (bounded, the oldest go) ──┐
//!                └──────► Prometheus' registry ── gathered ─┴─► Exporter, on a thread of its own ──► gRPC or HTTP
//! ```
//!
//! Whoever records only ever puts a value into a queue in memory; names, sockets, TLS and waiting belong to the
//! exporter's own thread, so that a collector that hangs costs nothing. Traces and metrics go their ways apart: neither
//! waits for the other.
//!
//! What cannot be sent now waits, and is tried again as the protocol says (`retry`); when the queue is full the oldest
//! traces go, and are counted. Of metrics only the present matters: each try takes a new snapshot, and one that could
//! not be sent before the next was due is counted as dropped. An end is given three seconds, and no more.
//!
//! The messages are those of `opentelemetry-proto`, OpenTelemetry's own Rust types of the protocol. Its exporters
//! (`opentelemetry-otlp`) are not used, for three reasons: an SDK's `ResourceMetrics` cannot be made of figures that
//! exist already, so there would have to be a second set of instruments, and two truths; their errors are texts, from
//! which nobody can tell whether to try again, or when; and what was partly refused they only log.

mod client;
mod convert;
mod exporter;
mod queue;
mod resource;
mod retry;

use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::config::Otlp;
use crate::core::boot::Boot;
use crate::core::event::{Timestamp, words};
use crate::core::image::Generation;
use crate::core::trace::{self, Images, Trace};
use queue::Queue;

pub(super) use convert::metrics;
pub use convert::name_of;
pub use exporter::{Exporter, Unusable};
pub use opentelemetry_proto::tonic::metrics::v1::Metric;
pub use resource::{Resource, instance_id};

/// Traces that wait to be sent. At a boot every three seconds this is an hour.
const WAITING: usize = 1_024;

words! {
    /// What is sent.
    Signal { Traces = "traces", Metrics = "metrics", }
}

words! {
    /// What became of a trace, or of a snapshot of the metrics.
    Sent {
        Exported = "exported",
        /// The collector took the request and left out part of it: spans and data points are counted.
        Rejected = "rejected",
        /// The collector refused the request, and would again.
        Refused = "refused",
        /// It waited until there was no room, no time, or a newer one.
        Dropped = "dropped",
    }
}

/// Whether what the configuration names can be used, as a start finds it; nothing is connected. The process's cryptography
/// must be there.
///
/// # Errors
/// It cannot.
pub fn usable(settings: &Otlp) -> Result<(), Unusable> {
    client::Way::open(settings).map(drop)
}

/// Boots on their way to be sent, and what must be known to make traces of them.
#[derive(Debug)]
pub(super) struct Traces {
    host: String,
    images: Mutex<Images>,
    queue: Queue<Trace>,
}

impl Traces {
    pub(super) fn new(host: &str) -> Traces {
        Traces {
            host: host.to_owned(),
            images: Mutex::new(Images::default()),
            queue: Queue::new(WAITING),
        }
    }

    pub(super) fn see_image(&self, generation: Option<&Generation>, now: Timestamp) {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.see(generation, now);
    }

    /// Has the boot sent; says how many older ones that pushed out.
    pub(super) fn tell(&self, boot: &Boot) -> usize {
        let trace = {
            let images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
            trace::of_boot(boot, &self.host, &images)
        };
        trace.map_or(0, |trace| self.queue.push(trace))
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }
}

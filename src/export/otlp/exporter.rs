//! The exporter: traces as they come, metrics at their pace, each with its own patience.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource as Sender;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::{Client, Way};
use super::convert;
use super::resource::Resource;
use super::retry::Answer;
use super::{Sent, Signal, Traces};
use crate::clock;
use crate::config::Otlp;
use crate::core::backoff::{Jitter, jittered};
use crate::core::trace::Trace;
use crate::export::Recorder;

pub use super::client::Unusable;

/// A boot seldom ends alone: what else comes within this time goes along.
const GATHER: Duration = Duration::from_secs(1);
/// Traces in one request: at some twelve spans and a hundred events each, a quarter of what a collector takes.
const BATCH: usize = 64;
/// A collector that was away for long is missed for a minute at most once it is back.
const LONGEST: Duration = Duration::from_secs(60);
/// The first snapshot of the metrics does not wait for a whole interval.
const FIRST: Duration = Duration::from_secs(5);

pub struct Exporter {
    recorder: Arc<Recorder>,
    way: Way,
    sender: Sender,
    /// How often metrics are sent; `None`: they are not.
    interval: Option<Duration>,
    /// Traces in the request that is under way.
    under_way: AtomicUsize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// What was sent is gone.
    Refused,
    /// It waits.
    Later,
}

/// What one signal's collector was last heard to say, so that a change is logged, and only a change.
struct Course {
    signal: Signal,
    /// The trouble that was told; the other kind is worth a line of its own, as only one of them loses anything.
    told: Option<Trouble>,
    tries: u32,
    jitter: Jitter,
}

impl Course {
    fn new(signal: Signal) -> Course {
        Course {
            signal,
            told: None,
            tries: 0,
            jitter: Jitter::new(),
        }
    }

    fn is_new(&mut self, trouble: Trouble) -> bool {
        self.told.replace(trouble) != Some(trouble)
    }

    /// Takes what a request came to; how long to wait, where another try may help.
    fn heard(&mut self, answer: &Answer) -> Option<Duration> {
        let signal = self.signal.as_str();
        match answer {
            Answer::Taken { rejected, why } => {
                if self.told.take().is_some() {
                    tracing::info!(signal, "the OTLP collector takes what is sent again");
                }
                if *rejected > 0 || !why.is_empty() {
                    tracing::warn!(
                        signal,
                        rejected,
                        why,
                        "the OTLP collector left out part of what was sent"
                    );
                }
                self.tries = 0;
                None
            }
            Answer::Refused { why } => {
                if self.is_new(Trouble::Refused) {
                    tracing::error!(
                        signal,
                        why,
                        "the OTLP collector refuses what is sent, which is lost; check otlp.endpoint, protocol and headers"
                    );
                }
                self.tries = 0;
                None
            }
            Answer::Later { after, why } => {
                if self.is_new(Trouble::Later) {
                    tracing::warn!(
                        signal,
                        why,
                        "the OTLP collector cannot be told; trying again"
                    );
                }
                self.tries = self.tries.saturating_add(1);
                let chance = || jittered(self.tries, self.jitter.draw()).min(LONGEST);
                Some(after.unwrap_or_else(chance))
            }
        }
    }
}

impl Exporter {
    /// The process's cryptography must be there, as for every client over HTTP.
    ///
    /// # Errors
    /// What the configuration names cannot be used.
    pub fn open(
        settings: &Otlp,
        resource: &Resource,
        recorder: Arc<Recorder>,
    ) -> Result<Exporter, Unusable> {
        Ok(Exporter {
            recorder,
            way: Way::open(settings)?,
            sender: convert::sender(resource),
            interval: settings.metrics.then_some(settings.interval),
            under_way: AtomicUsize::new(0),
        })
    }

    /// Sends until a moment is set at which it must have ended; what waits then is sent once more, until that moment.
    pub async fn run(&self, mut ends: watch::Receiver<Option<Instant>>) {
        let client = self.way.client();
        let stop = CancellationToken::new();
        let work = async {
            tokio::join!(self.traces(&client, &stop), self.metrics(&client, &stop));
        };
        let end = async {
            let at = ends.wait_for(Option::is_some).await.ok().and_then(|at| *at);
            stop.cancel();
            tokio::time::sleep_until(at.unwrap_or_else(clock::monotonic)).await;
        };
        let in_time = tokio::select! {
            biased;
            () = work => true,
            () = end => false,
        };
        let waiting = self.recorder.traces.as_ref().map_or(0, Traces::waiting);
        let left = waiting + self.under_way.load(Ordering::SeqCst);
        if left > 0 || !in_time {
            tracing::warn!(
                traces = left,
                in_time,
                "bootwatch ends before the OTLP collector has taken everything"
            );
        }
    }

    async fn traces(&self, client: &Client, stop: &CancellationToken) {
        let Some(traces) = &self.recorder.traces else {
            return;
        };
        let mut course = Course::new(Signal::Traces);
        loop {
            tokio::select! {
                biased;
                () = traces.queue.filled() => {}
                () = stop.cancelled() => return,
            }
            pause(GATHER, stop).await;
            let batch = traces.queue.take(BATCH);
            self.under_way.store(batch.len(), Ordering::SeqCst);
            let answer = client.traces(self.trace_request(&batch)).await;
            self.under_way.store(0, Ordering::SeqCst);
            let wait = course.heard(&answer);
            match &answer {
                Answer::Taken { rejected, .. } => {
                    self.sent(Signal::Traces, Sent::Exported, batch.len());
                    self.rejected(Signal::Traces, *rejected);
                }
                Answer::Refused { .. } => self.sent(Signal::Traces, Sent::Refused, batch.len()),
                Answer::Later { .. } => {
                    let over = traces.queue.put_back(batch);
                    self.sent(Signal::Traces, Sent::Dropped, over);
                }
            }
            self.recorder.otlp_waiting(traces.waiting());
            if let Some(wait) = wait {
                if stop.is_cancelled() {
                    return;
                }
                pause(wait, stop).await;
                // Who asked to be left alone is not called at the end either.
                if stop.is_cancelled() && matches!(answer, Answer::Later { after: Some(_), .. }) {
                    return;
                }
            }
        }
    }

    async fn metrics(&self, client: &Client, stop: &CancellationToken) {
        let Some(interval) = self.interval else {
            return;
        };
        let mut course = Course::new(Signal::Metrics);
        let mut due = clock::monotonic() + interval.min(FIRST);
        let mut left_alone = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = stop.cancelled() => if left_alone { return },
            }
            left_alone = false;
            // A clock that was stopped for long makes up for nothing.
            due = clock::monotonic() + interval;
            loop {
                let last = stop.is_cancelled();
                let answer = client.metrics(self.metrics_request()).await;
                let wait = course.heard(&answer);
                match (&answer, wait) {
                    (Answer::Later { after, .. }, Some(wait)) => {
                        let now = clock::monotonic();
                        if last || now + wait >= due {
                            self.sent(Signal::Metrics, Sent::Dropped, 1);
                            due = not_before(due, now, *after);
                            left_alone = after.is_some();
                            break;
                        }
                        pause(wait, stop).await;
                        if stop.is_cancelled() && after.is_some() {
                            return;
                        }
                    }
                    (Answer::Taken { rejected, .. }, _) => {
                        self.sent(Signal::Metrics, Sent::Exported, 1);
                        self.rejected(Signal::Metrics, *rejected);
                        break;
                    }
                    (Answer::Refused { .. } | Answer::Later { .. }, _) => {
                        self.sent(Signal::Metrics, Sent::Refused, 1);
                        break;
                    }
                }
            }
            if stop.is_cancelled() {
                return;
            }
        }
    }

    fn sent(&self, signal: Signal, sent: Sent, items: usize) {
        self.recorder.otlp_sent(signal, sent, items);
    }

    fn rejected(&self, signal: Signal, rejected: u64) {
        let rejected = usize::try_from(rejected).unwrap_or(usize::MAX);
        self.sent(signal, Sent::Rejected, rejected);
    }

    fn trace_request(&self, traces: &[Trace]) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.sender.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(convert::scope()),
                    spans: traces.iter().flat_map(convert::spans).collect(),
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        }
    }

    fn metrics_request(&self) -> ExportMetricsServiceRequest {
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.sender.clone()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(convert::scope()),
                    metrics: self.recorder.otlp_metrics(),
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        }
    }
}

/// Who asked to be left alone for longer is not sent a newer snapshot before that.
fn not_before(due: Instant, now: Instant, after: Option<Duration>) -> Instant {
    after.map_or(due, |after| due.max(now + after))
}

/// Waits so long, or until the end.
async fn pause(wait: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = stop.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// What is logged, line by line.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn take(&self) -> String {
            let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
            String::from_utf8(all).unwrap()
        }
    }

    #[test]
    fn a_newer_snapshot_waits_as_long_as_the_collector_asked_to_be_left_alone() {
        let now = clock::monotonic();
        let seconds = Duration::from_secs;
        let due = now + seconds(5);
        assert_eq!(not_before(due, now, Some(seconds(7))), now + seconds(7));
        assert_eq!(not_before(due, now, Some(seconds(3))), due);
        assert_eq!(not_before(due, now, None), due, "it said nothing");
    }

    #[test]
    fn each_kind_of_trouble_is_told_once_whatever_came_before() {
        let later = |status: u16| Answer::Later {
            after: None,
            why: format!("HTTP {status}"),
        };
        let refused = |status: u16| Answer::Refused {
            why: format!("HTTP {status}"),
        };
        let taken = Answer::Taken {
            rejected: 0,
            why: String::new(),
        };
        let course = [
            (later(503), "trying again"),
            (later(429), ""),
            (refused(307), "lost"),
            (refused(400), ""),
            (later(503), "trying again"),
            (refused(404), "lost"),
            (taken.clone(), "again"),
            (taken, ""),
            (refused(400), "lost"),
        ];
        let lines = Lines::default();
        let written = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || written.clone())
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let mut heard = Course::new(Signal::Traces);
            for (number, (answer, says)) in course.iter().enumerate() {
                heard.heard(answer);
                let told = lines.take();
                assert_eq!(told.is_empty(), says.is_empty(), "{number}: {told}");
                assert!(told.contains(says), "{number}: {told}");
            }
        });
    }
}

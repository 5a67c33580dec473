//! Families of metrics: named, described and registered, with the edges of their buckets.

use ::prometheus::core::Collector;
use ::prometheus::proto::MetricFamily;
use ::prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
};

use super::table::Followed;

/// An edge at every limit in use, or a quantile near it is a guess: 5, 15, 25, 30, 60, 120 and 180 s.
pub(super) const BOOT_SECONDS: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0,
    60.0, 90.0, 120.0, 180.0, 300.0,
];
/// The controller's own time-out of one health check is 5 s, 10 s in later versions.
pub(super) const ATTEMPT_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0,
];
/// At one attempt each 2 s: from at once to ten minutes.
pub(super) const ATTEMPTS: &[f64] = &[
    0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 45.0, 60.0, 90.0, 150.0, 300.0,
];
/// From a page on loopback to one that was retried for an hour.
pub(super) const DELIVERY_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0,
    300.0, 3600.0,
];
/// From a look at a few rows to the server's own limit of 5 s, and ours of 10 s.
pub(super) const QUERY_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// From loopback's tenths of a millisecond to the limit of a check.
pub(super) const PROBE_SECONDS: &[f64] = &[0.000_5, 0.002, 0.01, 0.05, 0.25, 1.0, 2.0, 4.0, 5.0];
/// More than 5 s is too much.
pub(super) const SKEW_SECONDS: &[f64] = &[
    0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 600.0, 3_600.0, 86_400.0,
];

/// From a commit that the kernel has, through one that a disk has, to one that waited for another program.
pub(super) const WRITE_SECONDS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Makes and registers families. All of them are named here, once, so that neither step can fail.
#[derive(Debug)]
pub(super) struct Family<'a>(&'a Registry);

impl<'a> Family<'a> {
    pub(super) fn new(registry: &'a Registry) -> Family<'a> {
        Family(registry)
    }

    pub(super) fn counter(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.registered(IntCounterVec::new(opts(name, help), labels))
    }

    pub(super) fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.registered(IntGaugeVec::new(opts(name, help), labels))
    }

    pub(super) fn real_gauge(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.registered(GaugeVec::new(opts(name, help), labels))
    }

    pub(super) fn histogram(
        &self,
        name: &str,
        help: &str,
        edges: &[f64],
        labels: &[&str],
    ) -> HistogramVec {
        let opts = HistogramOpts::from(opts(name, help)).buckets(edges.to_vec());
        self.registered(HistogramVec::new(opts, labels))
    }

    /// A counter without labels that follows a total kept elsewhere.
    pub(super) fn single(&self, name: &str, help: &str) -> Followed {
        Followed::new(self.registered(IntCounter::with_opts(opts(name, help))))
    }

    pub(super) fn build_info(&self, version: &str) {
        let opts = opts(
            "build_info",
            "What was built; the value says nothing and is 1.",
        )
        .const_label("version", version);
        self.registered(IntGauge::with_opts(opts)).set(1);
    }

    /// A figure that holds as long as the process.
    pub(super) fn constant(&self, name: &str, help: &str, value: f64) {
        self.registered(Gauge::with_opts(opts(name, help)))
            .set(value);
    }

    fn registered<C: Collector + Clone + 'static>(&self, made: ::prometheus::Result<C>) -> C {
        let family = made.expect("names and labels are valid, as the tests show");
        self.0
            .register(Box::new(family.clone()))
            .expect("each name is given once, as the tests show");
        family
    }
}

const NAMESPACE: &str = "bootwatch";

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(NAMESPACE)
}

/// Whether a gathered family is the one that was made with this name.
pub(super) fn is_called(family: &MetricFamily, name: &str) -> bool {
    let called = family.name().strip_prefix(NAMESPACE);
    called.and_then(|called| called.strip_prefix('_')) == Some(name)
}

//! What the sources did: a followed log's totals, its lag, and what of it could not be read.

use ::prometheus::proto::MetricFamily;
use ::prometheus::{GaugeVec, IntCounterVec, IntGaugeVec};

use super::family::{Family, is_called};
use super::table::Followed;
use crate::export::{ReadFigures, SourceFigures};

#[derive(Debug)]
pub(super) struct Logs {
    sources: Vec<Log>,
    up: IntGaugeVec,
    lag_bytes: IntGaugeVec,
    last_record: GaugeVec,
}

/// One source. Those that were not named beforehand have no series: totals of several sources under one name would go
/// up and down.
#[derive(Debug)]
struct Log {
    name: String,
    lines: Followed,
    bytes: Followed,
    rotations: Followed,
    truncations: Followed,
    losses: Followed,
    unparsed: Followed,
    unknown: Followed,
}

const UP: &str = "source_up";

/// Whether the source can be read, as these families say.
pub(super) fn is_up(families: &[MetricFamily], source: &str) -> bool {
    let up = |family: &&MetricFamily| is_called(family, UP);
    let series = families.iter().find(up).map(MetricFamily::get_metric);
    series.unwrap_or_default().iter().any(|series| {
        series
            .get_label()
            .iter()
            .any(|label| label.value() == source)
            && series.get_gauge().get_value() == 1.0
    })
}

impl Logs {
    pub(super) fn new(family: &Family<'_>, names: &[String]) -> Logs {
        let counter = |name: &str, help: &str| family.counter(name, help, &["source"]);
        let lines = counter("log_lines_total", "Lines read of the controller's log.");
        let bytes = counter("log_bytes_total", "Bytes read of the controller's log.");
        let rotations = counter(
            "log_rotations_total",
            "Rotations of the controller's log that were followed.",
        );
        let truncations = counter(
            "log_truncations_total",
            "Times that the controller's log shrank or was written anew in place.",
        );
        let losses = counter(
            "log_losses_total",
            "Times that bytes of the controller's log vanished unread.",
        );
        let unparsed = counter(
            "log_records_unparsed_total",
            "Records that matter but are torn, lack a field, or bear an impossible date.",
        );
        let unknown = counter(
            "log_records_unknown_total",
            "Records of no known message: the controller may be of another version.",
        );
        let logs = Logs {
            sources: names
                .iter()
                .map(|name| Log {
                    name: name.clone(),
                    lines: followed(&lines, name),
                    bytes: followed(&bytes, name),
                    rotations: followed(&rotations, name),
                    truncations: followed(&truncations, name),
                    losses: followed(&losses, name),
                    unparsed: followed(&unparsed, name),
                    unknown: followed(&unknown, name),
                })
                .collect(),
            up: family.gauge(
                UP,
                "Whether the source of events can be read, or the store or the fleet's database written.",
                &["source"],
            ),
            lag_bytes: family.gauge(
                "log_lag_bytes",
                "Bytes of the controller's log that exist and are not read yet; absent while it cannot be read.",
                &["source"],
            ),
            last_record: family.real_gauge(
                "log_last_record_timestamp_seconds",
                "The time that the newest record of the controller's log bears.",
                &["source"],
            ),
        };
        for name in names {
            logs.set_up(name, false);
        }
        logs
    }

    /// The family `source_up`, for sources that are no logs.
    pub(super) fn up(&self) -> IntGaugeVec {
        self.up.clone()
    }

    /// Says whether a source can be read; the caller's names are few and its own.
    pub(super) fn set_up(&self, name: &str, up: bool) {
        self.up.with_label_values(&[name]).set(up.into());
    }

    /// Says whether the source is one that was named.
    pub(super) fn source(&self, name: &str, figures: &SourceFigures) -> bool {
        let Some(log) = self.find(name) else {
            return false;
        };
        log.lines.follow(figures.lines);
        log.bytes.follow(figures.bytes);
        log.rotations.follow(figures.rotations);
        log.truncations.follow(figures.truncations);
        log.losses.follow(figures.losses);
        self.set_up(name, figures.up);
        if figures.up {
            let lag = i64::try_from(figures.lag_bytes).unwrap_or(i64::MAX);
            self.lag_bytes.with_label_values(&[name]).set(lag);
        } else {
            // A gauge that stands still looks healthy. It may not be there yet, which is just as well.
            drop(self.lag_bytes.remove_label_values(&[name]));
        }
        true
    }

    pub(super) fn reads(&self, name: &str, figures: &ReadFigures) -> bool {
        let Some(log) = self.find(name) else {
            return false;
        };
        log.unparsed.follow(figures.unparsed);
        log.unknown.follow(figures.unknown);
        if let Some(newest) = figures.newest {
            self.last_record
                .with_label_values(&[name])
                .set(newest.0 as f64 / 1_000.0);
        }
        true
    }

    fn find(&self, name: &str) -> Option<&Log> {
        self.sources.iter().find(|log| log.name == name)
    }
}

fn followed(family: &IntCounterVec, name: &str) -> Followed {
    Followed::new(family.with_label_values(&[name]))
}

//! The same figures over OTLP, as a receiver decodes them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bootwatch::config::{self, Surroundings};
use bootwatch::export::otlp::{Exporter, Resource, instance_id, name_of};
use bootwatch::export::{OtlpSetup, Recorder, Setup};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint};
use tokio::sync::watch;

use super::exercise::{exercise, setup};
use super::exposition::{Sample, families, samples};
use super::text;
use crate::otlp::receiver::{Protocol, Receiver};

/// Series by name and labels.
type Series = BTreeMap<(String, BTreeMap<String, String>), f64>;

/// The name that Prometheus gives to what it receives over OTLP: dots become underscores, unit and kind are put behind.
fn prometheus_name(metric: &Metric) -> String {
    let unit = match &*metric.unit {
        "" => "",
        "s" => "_seconds",
        "By" => "_bytes",
        other => panic!("{other}"),
    };
    let total = match &metric.data {
        Some(Data::Sum(sum)) if sum.is_monotonic => "_total",
        _ => "",
    };
    format!("{}{unit}{total}", metric.name.replace('.', "_"))
}

fn labels(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let label = |pair: &KeyValue| match pair.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => (pair.key.clone(), text),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(label).collect()
}

fn add(series: &mut Series, name: &str, labels: BTreeMap<String, String>, value: f64) {
    let before = series.insert((name.to_owned(), labels), value);
    assert!(before.is_none(), "{name} is there twice");
}

fn numbers(series: &mut Series, name: &str, points: &[NumberDataPoint], since: Option<u64>) {
    for point in points {
        let Some(Number::AsDouble(value)) = point.value else {
            panic!("{name}: {point:?}");
        };
        assert_eq!(point.start_time_unix_nano, since.unwrap_or(0), "{name}");
        add(series, name, labels(&point.attributes), value);
    }
}

/// As a scrape would show it.
fn scraped(metrics: &[Metric], since: u64) -> Series {
    const CUMULATIVE: i32 = 2;
    let mut series = Series::new();
    for metric in metrics {
        let name = prometheus_name(metric);
        match metric.data.as_ref().unwrap() {
            Data::Gauge(gauge) => numbers(&mut series, &name, &gauge.data_points, None),
            Data::Sum(sum) => {
                assert_eq!(sum.aggregation_temporality, CUMULATIVE);
                numbers(&mut series, &name, &sum.data_points, Some(since));
            }
            Data::Histogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality, CUMULATIVE);
                for point in &histogram.data_points {
                    assert_eq!(point.start_time_unix_nano, since);
                    let edges = point.explicit_bounds.iter().map(f64::to_string);
                    let edges = edges.chain(["+Inf".to_owned()]);
                    let mut below = 0;
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                    for (edge, count) in edges.zip(&point.bucket_counts) {
                        below += count;
                        let mut labels = labels(&point.attributes);
                        labels.insert("le".to_owned(), edge);
                        add(&mut series, &format!("{name}_bucket"), labels, below as f64);
                    }
                    let labels = labels(&point.attributes);
                    let (sum, count) = (point.sum.unwrap(), point.count as f64);
                    add(&mut series, &format!("{name}_sum"), labels.clone(), sum);
                    add(&mut series, &format!("{name}_count"), labels, count);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    series
}

#[test]
fn every_series_has_the_same_name_labels_and_value_over_otlp_as_when_scraped() {
    bootwatch::notify::install_tls();
    let nanos = || u64::try_from(bootwatch::clock::now().0).unwrap() * 1_000_000;
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let receiver = Receiver::start(protocol);
        let earliest = nanos();
        let recorder = Arc::new(Recorder::new(&setup()));
        let latest = nanos();
        exercise(&recorder);
        let config = format!(
            "[host]\nname = \"h\"\n[log]\nfile = \"/x\"\n{}",
            receiver.settings()
        );
        let surroundings = Surroundings::default();
        let config = config::parse("t", &config, Path::new("."), &surroundings).unwrap();
        let resource = Resource {
            instance: instance_id(None, "h", Path::new("/x")),
            host: "h".to_owned(),
            environment: None,
        };
        let settings = config.otlp.unwrap();
        let exporter = Exporter::open(&settings, &resource, Arc::clone(&recorder)).unwrap();
        let (ends, watched) = watch::channel(None);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (before, told, after) = std::thread::scope(|scope| {
            let before = samples(&text(&recorder));
            scope.spawn(|| runtime.block_on(exporter.run(watched)));
            let told = receiver.metrics();
            let after = samples(&text(&recorder));
            ends.send_replace(Some(bootwatch::clock::monotonic()));
            (before, told, after)
        });
        let metrics = &told.resource_metrics[0].scope_metrics[0].metrics;
        let counter = metrics.iter().find_map(|metric| match &metric.data {
            Some(Data::Sum(sum)) => Some(sum.data_points[0].clone()),
            _ => None,
        });
        let counter = counter.unwrap();
        // Each start of the process has a start time of its own, by which a receiver tells that counters began anew.
        let since = counter.start_time_unix_nano;
        assert!((earliest..=latest).contains(&since), "{since}");
        assert!(since <= counter.time_unix_nano);
        let received = scraped(metrics, since);

        // What sending itself and the process change between two looks is compared by name and labels only.
        let moving = |name: &str| name.starts_with("process_") || name.contains("_otlp_");
        let key = |sample: &Sample| (sample.name.clone(), sample.labels.clone());
        let keys: Vec<_> = before.iter().map(key).collect();
        let mut got: Vec<_> = received.keys().cloned().collect();
        let mut wanted = keys.clone();
        wanted.sort();
        got.sort();
        assert_eq!(got, wanted);
        let mut compared = 0;
        for (sample, later) in before.iter().zip(&after) {
            assert_eq!(key(sample), key(later));
            if moving(&sample.name) {
                continue;
            }
            assert_eq!(sample.value, later.value, "{}", sample.series);
            assert_eq!(received[&key(sample)], sample.value, "{}", sample.series);
            compared += 1;
        }
        assert!(compared > 1_000, "{compared} series");
    }
}

#[test]
fn names_over_otlp_are_unique_and_turn_back_into_themselves() {
    let recorder = Recorder::new(&setup());
    exercise(&recorder);
    let mut seen = BTreeMap::new();
    for (name, family) in families(&text(&recorder)) {
        let counter = family.kind == "counter";
        let (dotted, unit) = name_of(&name, counter);
        assert!(!dotted.contains('_'), "{dotted}");
        let unit = match unit {
            "" => "",
            "s" => "_seconds",
            "By" => "_bytes",
            other => panic!("{other}"),
        };
        let total = if counter { "_total" } else { "" };
        assert_eq!(format!("{}{unit}{total}", dotted.replace('.', "_")), name);
        let other = seen.insert(dotted.clone(), name.clone());
        assert_eq!(other, None, "{dotted} would be {name}, too");
    }
    assert_eq!(
        name_of("bootwatch_boot_stage_duration_seconds", false),
        ("bootwatch.boot.stage.duration".to_owned(), "s")
    );
    assert_eq!(
        name_of("bootwatch_log_bytes_total", true),
        ("bootwatch.log".to_owned(), "By")
    );
}

#[test]
fn where_nothing_is_sent_over_otlp_nothing_is_said_of_it() {
    let fresh = |otlp| text(&Recorder::new(&Setup { otlp, ..setup() }));
    assert!(!fresh(None).contains("otlp"));
    let on = OtlpSetup {
        host: "h".to_owned(),
        traces: true,
    };
    assert!(fresh(Some(on)).contains("bootwatch_otlp_traces_waiting 0"));
}

//! Our values in the protocol's types.

use ::prometheus::proto::{MetricFamily, MetricType};
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyOf;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource as Sender;
use opentelemetry_proto::tonic::trace::v1 as proto;

use super::resource::Resource;
use crate::core::event::Timestamp;
use crate::core::trace::{Attribute, Link, Span, SpanEvent, Status, Trace, Value};

pub(super) fn sender(resource: &Resource) -> Sender {
    let attributes = resource.attributes();
    Sender {
        attributes: attributes
            .into_iter()
            .map(|(key, value)| pair(key, AnyOf::StringValue(value)))
            .collect(),
        ..Sender::default()
    }
}

pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "bootwatch".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

fn pair(key: &str, value: AnyOf) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.0).unwrap_or(0).saturating_mul(1_000_000)
}

pub(super) fn spans(trace: &Trace) -> impl Iterator<Item = proto::Span> + '_ {
    trace.spans.iter().map(|span| of_span(trace, span))
}

fn of_span(trace: &Trace, span: &Span) -> proto::Span {
    proto::Span {
        trace_id: trace.id.bytes().to_vec(),
        span_id: span.id.bytes().to_vec(),
        parent_span_id: span.parent.map_or_else(Vec::new, |id| id.bytes().to_vec()),
        name: span.name.to_owned(),
        kind: proto::span::SpanKind::Internal.into(),
        start_time_unix_nano: nanos(span.started_at),
        end_time_unix_nano: nanos(span.ended_at),
        attributes: attributes(&span.attributes),
        events: span.events.iter().map(of_event).collect(),
        links: span.links.iter().map(of_link).collect(),
        status: Some(of_status(&span.status)),
        ..proto::Span::default()
    }
}

fn of_event(event: &SpanEvent) -> proto::span::Event {
    proto::span::Event {
        time_unix_nano: nanos(event.at),
        name: event.name.to_owned(),
        attributes: attributes(&event.attributes),
        ..proto::span::Event::default()
    }
}

fn of_link(link: &Link) -> proto::span::Link {
    proto::span::Link {
        trace_id: link.trace.bytes().to_vec(),
        span_id: link.span.bytes().to_vec(),
        attributes: attributes(&link.attributes),
        ..proto::span::Link::default()
    }
}

fn of_status(status: &Status) -> proto::Status {
    use proto::status::StatusCode;
    let (code, message) = match status {
        Status::Unset => (StatusCode::Unset, String::new()),
        Status::Ok => (StatusCode::Ok, String::new()),
        Status::Failed(message) => (StatusCode::Error, message.clone()),
    };
    proto::Status {
        code: code.into(),
        message,
    }
}

fn attributes(attributes: &[Attribute]) -> Vec<KeyValue> {
    let value = |value: &Value| match value {
        Value::Text(text) => AnyOf::StringValue(text.clone()),
        Value::Whole(number) => AnyOf::IntValue(*number),
        Value::Real(number) => AnyOf::DoubleValue(*number),
        Value::Flag(flag) => AnyOf::BoolValue(*flag),
    };
    let pairs = attributes.iter();
    pairs.map(|(key, told)| pair(key, value(told))).collect()
}

/// A Prometheus metric's name and unit over OTLP: the ending `_total` of a counter goes, an ending `_seconds` or
/// `_bytes` becomes the unit, and what separates words is a dot. Prometheus' own rule for OTLP turns it back into the
/// very name, so that one dashboard serves both ways.
#[must_use]
pub fn name_of(prometheus: &str, counter: bool) -> (String, &'static str) {
    let name = match counter {
        true => prometheus.strip_suffix("_total").unwrap_or(prometheus),
        false => prometheus,
    };
    let units = [("_seconds", "s"), ("_bytes", "By")];
    let (name, unit) = units
        .iter()
        .find_map(|(ending, unit)| Some((name.strip_suffix(ending)?, *unit)))
        .unwrap_or((name, ""));
    (name.replace('_', "."), unit)
}

/// Every series, with the figures that a scrape at this moment would show.
pub(in crate::export) fn metrics(
    families: &[MetricFamily],
    since: Timestamp,
    now: Timestamp,
) -> Vec<Metric> {
    let times = Times {
        since: nanos(since),
        now: nanos(now.max(since)),
    };
    families
        .iter()
        .filter_map(|family| of_family(family, times))
        .collect()
}

#[derive(Clone, Copy)]
struct Times {
    since: u64,
    now: u64,
}

/// `None`: of a kind that is not recorded here.
fn of_family(family: &MetricFamily, times: Times) -> Option<Metric> {
    let kind = family.get_field_type();
    let (name, unit) = name_of(family.name(), kind == MetricType::COUNTER);
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match kind {
        MetricType::COUNTER => Data::Sum(Sum {
            data_points: numbers(family, times.since, times, |metric| {
                metric.get_counter().get_value()
            }),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        // A gauge holds now, since no time in particular.
        MetricType::GAUGE => Data::Gauge(Gauge {
            data_points: numbers(family, 0, times, |metric| metric.get_gauge().get_value()),
        }),
        MetricType::HISTOGRAM => Data::Histogram(Histogram {
            data_points: family
                .get_metric()
                .iter()
                .map(|metric| histogram(metric, times))
                .collect(),
            aggregation_temporality: cumulative,
        }),
        MetricType::SUMMARY | MetricType::UNTYPED => return None,
    };
    Some(Metric {
        name,
        description: family.help().to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

fn labels(metric: &::prometheus::proto::Metric) -> Vec<KeyValue> {
    let labels = metric.get_label().iter();
    labels
        .map(|label| pair(label.name(), AnyOf::StringValue(label.value().to_owned())))
        .collect()
}

fn numbers(
    family: &MetricFamily,
    since: u64,
    times: Times,
    value: impl Fn(&::prometheus::proto::Metric) -> f64,
) -> Vec<NumberDataPoint> {
    let series = family.get_metric().iter();
    series
        .map(|metric| NumberDataPoint {
            attributes: labels(metric),
            start_time_unix_nano: since,
            time_unix_nano: times.now,
            value: Some(Number::AsDouble(value(metric))),
            ..NumberDataPoint::default()
        })
        .collect()
}

/// Prometheus counts what lies below each edge, OTLP what lies between two.
fn histogram(metric: &::prometheus::proto::Metric, times: Times) -> HistogramDataPoint {
    let told = metric.get_histogram();
    let buckets = told.get_bucket().iter();
    let finite: Vec<(f64, u64)> = buckets
        .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
        .filter(|(edge, _)| edge.is_finite())
        .collect();
    let mut counts = Vec::with_capacity(finite.len() + 1);
    let mut below = 0;
    for (_, cumulative) in &finite {
        counts.push(cumulative.saturating_sub(below));
        below = below.max(*cumulative);
    }
    // Buckets are read one after the other while others count on: the whole is what they sum up to, or more.
    let count = told.get_sample_count().max(below);
    counts.push(count - below);
    HistogramDataPoint {
        attributes: labels(metric),
        start_time_unix_nano: times.since,
        time_unix_nano: times.now,
        count,
        sum: Some(told.get_sample_sum()),
        bucket_counts: counts,
        explicit_bounds: finite.iter().map(|(edge, _)| *edge).collect(),
        ..HistogramDataPoint::default()
    }
}

//! Boots as traces, compared with what the simulator knows to be true of them.

use std::collections::BTreeMap;
use std::path::Path;

use bootwatch::app::Start;
use bootwatch::clock;
use bootwatch::core::event::{Outcome, Timestamp, VmType};
use bootwatch::simulator::log::LogFiles;
use bootwatch::simulator::plan::{Figures, Phase, Plan};
use bootwatch::simulator::scenario;
use bootwatch::simulator::{Player, Simulation, Speed, Truth};
use jiff::tz::TimeZone;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use super::receiver::{Protocol, Receiver};
use crate::sidecar::{DEADLINE, Pager, Sidecar, eventually, log};

/// What the log's stamps, which tell whole seconds, may hide.
const SECOND: i64 = 1_000;

/// Plays boots that begin so many hours ago; says what is true of each.
pub(super) fn play(log: &Path, hours_ago: i64, mix: &[&'static str], boots: u32) -> Vec<Truth> {
    let phase = Phase {
        from: 0,
        rate: 900,
        boots: Some(boots),
        lasts: None,
        mix: mix.iter().map(|name| (1, scenario::row(name))).collect(),
    };
    let start = Timestamp(clock::now().0 / 3_600_000 * 3_600_000);
    let plan = Plan::new(
        u64::try_from(hours_ago).unwrap(),
        start.plus_ms(-3_600_000 * hours_ago),
    )
    .figures(Figures::sample())
    .phase(phase);
    let mut files = LogFiles::open(log, u64::MAX, TimeZone::UTC).unwrap();
    let mut truths = Vec::new();
    Player::new(Speed::Max)
        .play(
            &mut Simulation::new(plan),
            &mut [&mut files],
            &mut |truth| {
                truths.push(truth);
                Ok(())
            },
        )
        .unwrap();
    truths
}

/// Traces by id, until there are so many.
pub(super) fn traces(receiver: &Receiver, wanted: usize) -> BTreeMap<Vec<u8>, Vec<Span>> {
    let mut traces: BTreeMap<Vec<u8>, Vec<Span>> = BTreeMap::new();
    let began = clock::Stopwatch::start();
    while traces.len() < wanted {
        assert!(began.elapsed() < DEADLINE, "{} of {wanted}", traces.len());
        let told = receiver.traces();
        for resource in told.message.resource_spans {
            check_resource(&resource.resource.unwrap().attributes);
            for scope in resource.scope_spans {
                assert_eq!(scope.scope.unwrap().name, "bootwatch");
                let mut seen = BTreeMap::new();
                for span in scope.spans {
                    let id = span.trace_id.clone();
                    seen.entry(id).or_insert_with(Vec::new).push(span);
                }
                for (id, spans) in seen {
                    assert!(traces.insert(id, spans).is_none(), "sent twice");
                }
            }
        }
    }
    traces
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|pair| pair.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        other => panic!("{key}: {other:?}"),
    }
}

fn check_resource(attributes: &[KeyValue]) {
    let value = |key| text(attributes, key).unwrap_or_else(|| panic!("no {key}"));
    assert_eq!(value("service.name"), "bootwatch");
    assert_eq!(value("service.version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(value("service.instance.id").len(), 36);
    assert_eq!(value("host.name"), "host-1");
    assert_eq!(value("deployment.environment.name"), "test");
}

fn ms(nanos: u64) -> i64 {
    i64::try_from(nanos / 1_000_000).unwrap()
}

/// The trace of one boot against its truth.
fn check(truth: &Truth, spans: &[Span]) {
    let about = format!("{truth:?}\n{spans:#?}");
    let root: Vec<&Span> = spans
        .iter()
        .filter(|span| span.parent_span_id.is_empty())
        .collect();
    let [root] = root[..] else {
        panic!("not one root: {about}");
    };
    assert_eq!(root.name, "boot", "{about}");
    let vm = truth.vm_id.unwrap();
    assert_eq!(root.trace_id, vm.0.to_be_bytes(), "{about}");
    let of_root = |key| text(&root.attributes, key);
    assert_eq!(
        of_root("bootwatch.vm_id"),
        Some(&*vm.to_string()),
        "{about}"
    );
    assert_eq!(
        of_root("bootwatch.vm_type"),
        Some(truth.vm_type.as_str()),
        "{about}"
    );
    let outcome = truth.outcome.unwrap();
    assert_eq!(
        of_root("bootwatch.outcome"),
        Some(outcome.as_str()),
        "{about}"
    );
    let failure = truth.failure.map(|failure| failure.as_str());
    assert_eq!(of_root("bootwatch.failure"), failure, "{about}");

    let status = root.status.as_ref().unwrap();
    let (code, class) = match outcome {
        Outcome::Ready => (StatusCode::Ok, None),
        Outcome::Failed => (StatusCode::Error, failure),
        Outcome::Cancelled | Outcome::Lost => (StatusCode::Unset, None),
    };
    assert_eq!(status.code, i32::from(code), "{about}");
    assert_eq!(of_root("error.type"), class, "{about}");
    if let Some(class) = class {
        assert!(status.message.starts_with(class), "{about}");
    }

    let start = ms(root.start_time_unix_nano);
    assert_eq!(start, truth.started_at.0, "{about}");
    let end = ms(root.end_time_unix_nano);
    let off = end - truth.ended_at.unwrap().0;
    assert!(off.abs() <= SECOND, "ends {off} ms off: {about}");

    let ids: Vec<&[u8]> = spans.iter().map(|span| &*span.span_id).collect();
    for span in spans {
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
        assert!(
            span.start_time_unix_nano <= span.end_time_unix_nano,
            "{about}"
        );
        assert!(ms(span.start_time_unix_nano) >= start - SECOND, "{about}");
        if span.parent_span_id.is_empty() {
            continue;
        }
        assert!(ids.contains(&&*span.parent_span_id), "{about}");
        if span.name != "session_ready" {
            let after = ms(span.end_time_unix_nano) - end;
            assert!(after <= SECOND, "{} outlives its boot: {about}", span.name);
        }
    }

    // Those of a cancelled boot's wait go on after its end.
    if outcome != Outcome::Cancelled {
        let mut told: BTreeMap<String, u32> = BTreeMap::new();
        for event in spans.iter().flat_map(|span| &span.events) {
            assert_eq!(event.name, "health_check");
            let result = text(&event.attributes, "bootwatch.result").unwrap();
            *told.entry(result.to_owned()).or_default() += 1;
            let at = ms(event.time_unix_nano);
            assert!(
                (start..=end + SECOND).contains(&at),
                "an attempt at {at}: {about}"
            );
        }
        let known: BTreeMap<String, u32> = truth
            .attempts
            .iter()
            .map(|(result, count)| (result.to_string(), *count))
            .collect();
        assert_eq!(told, known, "{about}");
    }

    let session = truth
        .session_id
        .map(|session| session.0.to_be_bytes().to_vec());
    let linked = root.links.first().map(|link| link.trace_id.clone());
    if truth.vm_type == VmType::Browser {
        assert_eq!(linked, session, "{about}");
    }
}

const MIX: &[&str] = &[
    "healthy",
    "agent-missing",
    "cancel",
    "clone-fails",
    "guest-panic",
    "http-500",
];

#[test]
fn boots_arrive_once_as_traces_with_their_real_times_parents_status_and_attempts() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let (_folder, log) = log();
        let (pager, receiver) = (Pager::start(), Receiver::start(protocol));
        let more = receiver.settings();
        let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
        sidecar.wait_until_ready();
        let truths = play(&log, 4, MIX, 40);
        // An hour later all is settled.
        play(&log, 3, &["healthy"], 1);
        let of_browsers: Vec<&Truth> = truths
            .iter()
            .filter(|truth| truth.vm_id.is_some() && truth.outcome.is_some())
            .collect();
        let traces = traces(&receiver, of_browsers.len());
        for truth in &of_browsers {
            let id = truth.vm_id.unwrap().0.to_be_bytes();
            check(truth, &traces[&id[..]]);
        }
        let failed = of_browsers
            .iter()
            .filter(|truth| truth.outcome == Some(Outcome::Failed));
        assert!(failed.count() >= 10, "the mix has failures");
        crate::sidecar::eventually("they are counted as exported", || {
            let exported = "signal=\"traces\"";
            let items = sidecar.metric("bootwatch_otlp_items_total", exported);
            items >= of_browsers.len() as f64
        });
        assert_eq!(sidecar.metric("bootwatch_otlp_traces_waiting", ""), 0.0);
        sidecar.stop().unwrap();
    }
}

#[test]
fn the_same_boots_told_again_and_another_way_are_the_very_same_traces() {
    let all: Vec<BTreeMap<Vec<u8>, Vec<Span>>> = [Protocol::Grpc, Protocol::Http]
        .map(|protocol| {
            let (_folder, log) = log();
            let (pager, receiver) = (Pager::start(), Receiver::start(protocol));
            let more = receiver.settings();
            let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
            sidecar.wait_until_ready();
            let truths = play(&log, 4, MIX, 20);
            play(&log, 3, &["healthy"], 1);
            let with_vm = truths.iter().filter(|truth| truth.vm_id.is_some());
            let traces = traces(&receiver, with_vm.count());
            sidecar.stop().unwrap();
            traces
        })
        .into();
    assert_eq!(all[0], all[1]);
}

#[test]
fn requests_are_packed_where_that_is_asked_for() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        for (asked, packed) in [("none", None), ("gzip", Some("gzip"))] {
            let (_folder, log) = log();
            let (pager, receiver) = (Pager::start(), Receiver::start(protocol));
            let more = format!("{}compression = \"{asked}\"\n", receiver.settings());
            let sidecar = Sidecar::start(&log, pager.address, &more, Start::default());
            sidecar.wait_until_ready();
            play(&log, 4, &["healthy"], 2);
            play(&log, 3, &["healthy"], 1);
            let told = receiver.traces();
            assert_eq!(told.packed.as_deref(), packed, "{protocol:?}");
            assert!(!told.message.resource_spans.is_empty());
            assert!(!receiver.metrics().resource_metrics.is_empty());
            eventually("what was taken is counted as taken", || {
                let counted = |signal: &str| {
                    let labels = format!("result=\"exported\",signal=\"{signal}\"");
                    sidecar.metric("bootwatch_otlp_items_total", &labels)
                };
                counted("traces") > 0.0 && counted("metrics") > 0.0
            });
            sidecar.stop().unwrap();
        }
    }
}

//! Receivers that are full, away or refuse: what is tried again, when, and what is not.

use std::time::Duration;

use bootwatch::app::Start;
use bootwatch::clock::Stopwatch;
use tonic::Code;

use super::receiver::{Protocol, Receiver, Reply};
use super::traces::play;
use crate::sidecar::{Pager, Sidecar, eventually, log};

/// A sidecar that has boots to tell to this receiver.
fn telling(receiver: &Receiver) -> (tempfile::TempDir, Pager, Sidecar) {
    let (folder, log) = log();
    let pager = Pager::start();
    let sidecar = Sidecar::start(&log, pager.address, &receiver.settings(), Start::default());
    sidecar.wait_until_ready();
    play(&log, 4, &["healthy"], 3);
    play(&log, 3, &["healthy"], 1);
    (folder, pager, sidecar)
}

fn items(sidecar: &Sidecar, result: &str) -> f64 {
    let labels = format!("result=\"{result}\",signal=\"traces\"");
    sidecar.metric("bootwatch_otlp_items_total", &labels)
}

#[test]
fn what_a_full_or_absent_collector_does_not_take_is_sent_again_when_it_says_so() {
    let second = Duration::from_secs(1);
    let http = |number| match number {
        0 => Reply::Http(503, Some("1")),
        1 => Reply::Http(429, None),
        2 => Reply::Http(502, None),
        3 => Reply::Http(504, None),
        _ => Reply::Take,
    };
    let grpc = |number| match number {
        0 => Reply::Grpc(Code::ResourceExhausted, Some(Duration::from_secs(1))),
        1 => Reply::Grpc(Code::Unavailable, None),
        2 => Reply::Grpc(Code::DeadlineExceeded, None),
        3 => Reply::Grpc(Code::Aborted, None),
        _ => Reply::Take,
    };
    for receiver in [
        Receiver::answering(Protocol::Http, http),
        Receiver::answering(Protocol::Grpc, grpc),
    ] {
        let (_folder, _pager, sidecar) = telling(&receiver);
        let first = receiver.traces();
        assert!(!first.taken);
        let waited = Stopwatch::start();
        assert!(!receiver.traces().taken);
        // Less the time in which its answer was on its way.
        assert!(waited.elapsed() > second / 2, "{:?}", waited.elapsed());
        let mut told = receiver.traces();
        while !told.taken {
            told = receiver.traces();
        }
        let boots = |message: &opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest| {
            message.resource_spans[0].scope_spans[0].spans.len()
        };
        assert!(
            boots(&told.message) >= boots(&first.message),
            "nothing was left out"
        );
        eventually("they are counted", || items(&sidecar, "exported") >= 3.0);
        for result in ["refused", "dropped", "rejected"] {
            assert_eq!(items(&sidecar, result), 0.0, "{result}");
        }
        sidecar.stop().unwrap();
    }
}

#[test]
fn what_a_collector_refuses_is_counted_and_not_sent_again() {
    for receiver in [
        Receiver::answering(Protocol::Http, |_| Reply::Http(400, None)),
        Receiver::answering(Protocol::Http, |_| Reply::Http(500, None)),
        Receiver::answering(Protocol::Grpc, |_| Reply::Grpc(Code::InvalidArgument, None)),
        // Full, and it does not say for how long: as the protocol has it, for good.
        Receiver::answering(Protocol::Grpc, |_| {
            Reply::Grpc(Code::ResourceExhausted, None)
        }),
    ] {
        let (_folder, _pager, sidecar) = telling(&receiver);
        eventually("they are counted", || items(&sidecar, "refused") >= 3.0);
        assert_eq!(sidecar.metric("bootwatch_otlp_traces_waiting", ""), 0.0);
        let mut seen = std::collections::BTreeSet::new();
        for told in receiver.so_far() {
            for span in &told.message.resource_spans[0].scope_spans[0].spans {
                let id = (span.trace_id.clone(), span.span_id.clone());
                assert!(seen.insert(id), "sent twice");
            }
        }
        sidecar.stop().unwrap();
    }
}

#[test]
fn what_is_left_out_of_a_request_that_was_taken_is_counted_and_not_sent_again() {
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let receiver = Receiver::answering(protocol, |number| match number {
            0 => Reply::Partly(2),
            _ => Reply::Take,
        });
        let (_folder, _pager, sidecar) = telling(&receiver);
        eventually("they are counted", || {
            items(&sidecar, "exported") >= 3.0 && items(&sidecar, "rejected") == 2.0
        });
        sidecar.stop().unwrap();
        let spans = receiver.so_far().into_iter().flat_map(|told| {
            let spans = told.message.resource_spans[0].scope_spans[0].spans.clone();
            spans.into_iter().map(|span| (span.trace_id, span.span_id))
        });
        let all: Vec<_> = spans.collect();
        let mut once = all.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), all.len());
    }
}

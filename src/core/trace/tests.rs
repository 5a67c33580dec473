//! Ids, times, parents, and what says that a boot failed.

use super::*;
use crate::core::event::{AttemptError, AttemptResult, Provenance, VmId};
use crate::core::failure::Rung;

const VM: u128 = 0x1234_5678_9abc_4def_8123_4567_89ab_cdef;
const T0: Timestamp = Timestamp(1_760_000_000_000);

fn refused() -> AttemptResult {
    AttemptResult::Error(AttemptError::Refused)
}

/// Ready after two refusals.
fn ready() -> Boot {
    let mut boot = Boot::new(Some(VmId(VM)), Provenance::default(), T0);
    boot.vm_type = Some(VmType::Browser);
    boot.session = Some(SessionId(7));
    boot.set_stage(Stage::CloneSnapshot, T0.plus_ms(20), 1_000);
    boot.set_stage(Stage::InjectAgent, T0.plus_ms(30), 500);
    boot.set_stage(Stage::GuestNetwork, T0.plus_ms(2_000), 1_000);
    boot.set_stage(Stage::AgentStart, T0.plus_ms(3_000), 4_000);
    boot.outcome = Some(Outcome::Ready);
    boot.ended_at = Some(T0.plus_ms(7_000));
    boot.ready_ms = Some(7_000);
    boot.waited_from = Some(T0.plus_ms(2_500));
    boot.attempt_ms = vec![100, 500, 2_500, 4_500];
    let unreachable = AttemptResult::Error(AttemptError::HostUnreachable);
    boot.ladder = [(unreachable, 1), (refused(), 2), (AttemptResult::Ok, 1)]
        .map(|(result, count)| Rung {
            result,
            count,
            first_ms: 0,
            last_ms: 0,
        })
        .to_vec();
    boot.attempts = vec![(unreachable, 1), (refused(), 2), (AttemptResult::Ok, 1)];
    boot
}

fn failed() -> Boot {
    let mut boot = ready();
    boot.outcome = Some(Outcome::Failed);
    boot.failure = Some(Failure::AgentRefused);
    boot.failed_stage = Some(Stage::AgentStart);
    boot.error = Some("VM not ready after 120000ms".to_owned());
    boot.stages[Stage::AgentStart as usize] = Some(StageSpan {
        started_at: T0.plus_ms(3_000),
        ms: 4_000,
        outcome: StageOutcome::TimedOut,
        coarse: true,
        by_console: false,
    });
    boot
}

fn trace(boot: &Boot) -> Trace {
    of_boot(boot, "host-1", &Images::default()).unwrap()
}

fn span<'a>(trace: &'a Trace, name: &str) -> &'a Span {
    trace.spans.iter().find(|span| span.name == name).unwrap()
}

fn fact<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    let found = span.attributes.iter().find(|(known, _)| *known == key);
    found.map(|(_, value)| value)
}

#[test]
fn the_trace_has_the_boots_own_number() {
    let boot = ready();
    let trace = trace(&boot);
    assert_eq!(trace.id.bytes(), VM.to_be_bytes());
    let id = fact(&trace.spans[0], "bootwatch.boot_id").unwrap();
    assert_eq!(id, &Value::Text(format!("{VM:032x}")));
}

#[test]
fn ids_depend_on_the_boot_alone_and_differ_within_it() {
    let once = trace(&ready());
    assert_eq!(once, trace(&ready()));
    let of_failed: Vec<SpanId> = trace(&failed()).spans.iter().map(|span| span.id).collect();
    let mut ids: Vec<SpanId> = once.spans.iter().map(|span| span.id).collect();
    assert_eq!(
        ids, of_failed,
        "told again with another end, it is the same trace"
    );
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), once.spans.len());
    let other = TraceId::of_number(VM + 1);
    let again = Stage::ALL
        .iter()
        .map(|stage| SpanId::of(other, stage.as_str()));
    assert!(again.into_iter().all(|id| !ids.contains(&id)));
}

#[test]
fn no_id_is_zero() {
    let zero = TraceId::of_number(0);
    assert_ne!(zero.bytes(), [0; 16]);
    assert_eq!(zero, TraceId::of_number(0));
    let mut boot = ready();
    boot.vm = Some(VmId(0));
    assert_eq!(trace(&boot).id, zero);
}

#[test]
fn a_request_without_a_vm_is_a_trace_of_its_own_by_host_and_place() {
    let mut boot = failed();
    boot.vm = None;
    let of = |boot: &Boot, host| of_boot(boot, host, &Images::default()).unwrap().id;
    assert_eq!(of(&boot, "host-1"), of(&boot, "host-1"));
    assert_ne!(of(&boot, "host-1"), of(&boot, "host-2"));
    let here = of(&boot, "host-1");
    boot.first.offset += 1;
    assert_ne!(here, of(&boot, "host-1"));
}

#[test]
fn a_boot_in_flight_has_no_trace() {
    let mut boot = ready();
    boot.outcome = None;
    assert_eq!(of_boot(&boot, "host-1", &Images::default()), None);
}

#[test]
fn spans_have_the_times_of_what_they_are_and_their_parents() {
    let trace = trace(&ready());
    let root = &trace.spans[0];
    assert_eq!((root.name, root.parent), ("boot", None));
    assert_eq!((root.started_at, root.ended_at), (T0, T0.plus_ms(7_000)));
    assert_eq!(root.status, Status::Ok);
    let clone = span(&trace, "clone_snapshot");
    assert_eq!(clone.parent, Some(root.id));
    assert_eq!(clone.started_at, T0.plus_ms(20));
    assert_eq!(clone.ended_at, T0.plus_ms(1_020));
    assert_eq!(span(&trace, "inject_agent").parent, Some(clone.id));
    assert_eq!(span(&trace, "agent_start").parent, Some(root.id));
}

#[test]
fn an_injection_lies_within_the_copy_that_it_is_part_of() {
    let clone = (T0.plus_ms(20), T0.plus_ms(1_020));
    for (began, took, from, to) in [
        (-900, 500, 20, 520),
        (900, 500, 520, 1_020),
        (0, 3_000, 20, 1_020),
        (100, 500, 100, 600),
    ] {
        let mut boot = ready();
        boot.set_stage(Stage::InjectAgent, T0.plus_ms(began), took);
        let trace = trace(&boot);
        let inject = span(&trace, "inject_agent");
        let found = (inject.started_at, inject.ended_at);
        assert_eq!(found, (T0.plus_ms(from), T0.plus_ms(to)), "{began}");
        assert!(clone.0 <= found.0 && found.1 <= clone.1);
    }
}

#[test]
fn attempts_are_events_of_the_stage_in_which_they_ended() {
    let trace = trace(&ready());
    let told = |name: &str| -> Vec<(i64, String)> {
        let events = span(&trace, name).events.iter();
        let told = events.map(|event| match &event.attributes[..] {
            [("bootwatch.result", Value::Text(result))] => (event.at.since(T0), result.clone()),
            other => panic!("{other:?}"),
        });
        told.collect()
    };
    let told_as = |told: &[(i64, &str)]| -> Vec<(i64, String)> {
        told.iter()
            .map(|(at, result)| (*at, (*result).to_owned()))
            .collect()
    };
    assert_eq!(told("guest_network"), told_as(&[(2_600, "EHOSTUNREACH")]));
    assert_eq!(
        told("agent_start"),
        told_as(&[
            // At the edge: what ended the one stage began the other.
            (3_000, "ECONNREFUSED"),
            (5_000, "ECONNREFUSED"),
            (7_000, "ok"),
        ])
    );
    assert!(trace.spans[0].events.is_empty());
}

#[test]
fn a_failure_is_a_status_with_its_class() {
    let trace = trace(&failed());
    let root = &trace.spans[0];
    let class = Value::from("agent_refused");
    assert_eq!(
        root.status,
        Status::Failed("agent_refused: VM not ready after 120000ms".to_owned())
    );
    assert_eq!(fact(root, "error.type"), Some(&class));
    let stage = span(&trace, "agent_start");
    assert_eq!(stage.status, Status::Failed("agent_refused".to_owned()));
    assert_eq!(fact(stage, "error.type"), Some(&class));
    assert_eq!(fact(stage, "bootwatch.coarse"), Some(&Value::Flag(true)));
    assert_eq!(span(&trace, "clone_snapshot").status, Status::Unset);
}

#[test]
fn a_stage_says_who_told_its_end_and_nothing_where_it_is_as_usual() {
    let mut boot = ready();
    if let Some(stage) = &mut boot.stages[Stage::AgentStart as usize] {
        stage.by_console = true;
    }
    let trace = trace(&boot);
    let told = |stage, key| fact(span(&trace, stage), key);
    assert_eq!(
        told("agent_start", "bootwatch.by_console"),
        Some(&Value::Flag(true))
    );
    assert_eq!(told("agent_start", "bootwatch.coarse"), None);
    assert_eq!(told("guest_network", "bootwatch.by_console"), None);
}

#[test]
fn what_was_cancelled_or_lost_is_neither_well_nor_an_error() {
    for outcome in [Outcome::Cancelled, Outcome::Lost] {
        let mut boot = failed();
        boot.outcome = Some(outcome);
        let trace = trace(&boot);
        assert_eq!(trace.spans[0].status, Status::Unset);
        assert_eq!(fact(&trace.spans[0], "error.type"), None);
        let told = fact(&trace.spans[0], "bootwatch.outcome");
        assert_eq!(told, Some(&outcome.as_str().into()));
    }
}

fn generation(inode: u64, modified_at: i64) -> Generation {
    Generation {
        inode,
        size: 1,
        modified_at: Timestamp(modified_at),
        uuid: None,
    }
}

#[test]
fn a_boot_links_to_its_session_and_to_the_image_it_was_cloned_from() {
    let mut images = Images::default();
    let image = generation(1, T0.0 - 5_000);
    images.see(Some(&image), T0.plus_ms(-1_000));
    let trace = |boot: &Boot| of_boot(boot, "host-1", &images).unwrap();
    let kinds = |trace: &Trace| -> Vec<Value> {
        let links = trace.spans[0].links.iter();
        links.map(|link| link.attributes[0].1.clone()).collect()
    };
    let one = trace(&ready());
    assert_eq!(kinds(&one), ["session".into(), "image".into()]);
    let mut other = ready();
    other.vm = Some(VmId(VM + 1));
    assert_eq!(trace(&other).spans[0].links, one.spans[0].links);
    let mut cli = ready();
    cli.vm_type = Some(VmType::Cli);
    assert_eq!(kinds(&trace(&cli)), ["session".into()]);
}

#[test]
fn an_image_that_was_put_back_is_there_since_it_was_seen() {
    let (old, new) = (generation(1, 100), generation(2, 500));
    let mut images = Images::default();
    images.see(Some(&old), Timestamp(300));
    images.see(Some(&new), Timestamp(600));
    images.see(Some(&old), Timestamp(900));
    images.see(Some(&old), Timestamp(950));
    images.see(None, Timestamp(1_200));
    for (time, there) in [
        (99, None),
        (100, Some(&old)),
        (499, Some(&old)),
        (500, Some(&new)),
        (899, Some(&new)),
        (900, Some(&old)),
        (1_200, None),
    ] {
        assert_eq!(images.at(Timestamp(time)), there, "at {time}");
    }
    for inode in 0..100 {
        images.see(Some(&generation(inode, 0)), Timestamp(2_000));
    }
    assert_eq!(images.seen.len(), GENERATIONS);
}

//! What our own look at the VM proves, and what it does not.

use super::*;

/// Ready by the controller and looked at by us until the checks are over: how they ended, and in which phase it stopped.
fn judged(
    vnc: VncMatters,
    results: &[(Check, ProbeResult)],
    answerer: Answerer,
    skew_ms: i64,
) -> (SyntheticRun, Option<TrialPhase>) {
    let mut story = Story::begin_with(vnc);
    story.created().passes(900);
    story.looks_as(results, answerer, skew_ms).ready();
    for _ in 0..70 {
        story.passes(1_000);
        if story.ended().is_some() {
            break;
        }
        story.looks_as(results, answerer, skew_ms);
    }
    let stopped = story.running.trial.phases.stopped();
    (story.ended().unwrap().clone(), stopped)
}

#[test]
fn a_200_of_anybody_but_the_real_agent_is_no_success() {
    for (answerer, result) in [
        (Answerer::Agent, SyntheticResult::Passed),
        (Answerer::Placeholder, SyntheticResult::Failed),
        (Answerer::Stub, SyntheticResult::Failed),
        (Answerer::Unknown, SyntheticResult::Failed),
    ] {
        let (run, stopped) = judged(VncMatters::Off, &[AGENT], answerer, 0);
        assert_eq!(run.result, result, "{answerer}: {run:?}");
        if result == SyntheticResult::Failed {
            assert_eq!(run.failure, Some(Failure::AgentUnhealthy));
            assert_eq!(stopped, Some(TrialPhase::Agent));
            assert!(run.evidence[0].contains(answerer.as_str()), "{run:?}");
        }
    }
}

#[test]
fn a_guest_whose_clock_is_off_is_no_success() {
    for (skew_ms, result) in [
        (4_900, SyntheticResult::Passed),
        (-4_900, SyntheticResult::Passed),
        (7_000, SyntheticResult::Failed),
        (-90_000, SyntheticResult::Failed),
    ] {
        let (run, _) = judged(VncMatters::Off, &[AGENT], Answerer::Agent, skew_ms);
        assert_eq!(run.result, result, "{skew_ms}: {run:?}");
    }
    let (run, stopped) = judged(VncMatters::Off, &[AGENT], Answerer::Agent, 7_000);
    assert_eq!(run.evidence[0], "the guest's clock is +7.0 s off ours");
    assert_eq!(stopped, Some(TrialPhase::Agent));
}

#[test]
fn what_our_own_look_meets_is_the_class_it_would_be_to_the_controller() {
    for (result, failure) in [
        (ProbeResult::Refused, Failure::AgentRefused),
        (ProbeResult::HostUnreachable, Failure::GuestUnreachable),
        (ProbeResult::Timeout, Failure::AgentTimeout),
        (ProbeResult::Reset, Failure::AgentReset),
        (ProbeResult::ServerError, Failure::AgentUnhealthy),
        (ProbeResult::NotHttp, Failure::AgentUnhealthy),
    ] {
        let looks = [(Check::Health, result)];
        let (run, _) = judged(VncMatters::Off, &looks, Answerer::Agent, 0);
        assert_eq!(run.result, SyntheticResult::Failed, "{result}");
        assert_eq!(run.failure, Some(failure), "{result}");
    }
}

#[test]
fn a_look_that_went_wrong_by_our_own_fault_is_never_the_vms() {
    for result in [
        ProbeResult::Error,
        ProbeResult::Skipped,
        ProbeResult::Unresolved,
    ] {
        let looks = [(Check::Health, result)];
        let (run, stopped) = judged(VncMatters::Off, &looks, Answerer::Agent, 0);
        assert_eq!(run.result, SyntheticResult::Errored, "{result}: {run:?}");
        assert_eq!((run.failure, stopped), (None, None), "{run:?}");
    }
    // What else is known to be wrong stays wrong.
    let looks = [AGENT, (Check::Vnc, ProbeResult::Error)];
    let (run, _) = judged(VncMatters::Required, &looks, Answerer::Agent, 0);
    assert_eq!(run.result, SyntheticResult::Errored, "{run:?}");
    let (run, _) = judged(VncMatters::Required, &looks, Answerer::Stub, 0);
    assert_eq!(run.result, SyntheticResult::Failed, "{run:?}");
}

#[test]
fn a_prober_that_cannot_see_red_proves_nothing_by_green() {
    let looks = [AGENT, (Check::Negative, ProbeResult::Open)];
    let (run, _) = judged(VncMatters::Off, &looks, Answerer::Agent, 0);
    assert_eq!(run.result, SyntheticResult::Errored, "{run:?}");
    assert!(run.evidence[0].contains("must be closed"), "{run:?}");
    let looks = [AGENT, (Check::Negative, ProbeResult::Ok)];
    let (run, _) = judged(VncMatters::Off, &looks, Answerer::Agent, 0);
    assert_eq!(run.result, SyntheticResult::Passed, "{run:?}");
}

#[test]
fn vnc_is_judged_on_both_ports_as_far_as_it_matters() {
    let (fine, refused) = (ProbeResult::Ok, ProbeResult::Refused);
    for (vnc, web, matters, result) in [
        (fine, fine, VncMatters::Required, SyntheticResult::Passed),
        (refused, fine, VncMatters::Required, SyntheticResult::Failed),
        (fine, refused, VncMatters::Required, SyntheticResult::Failed),
        (
            refused,
            refused,
            VncMatters::Measured,
            SyntheticResult::Passed,
        ),
        (refused, refused, VncMatters::Off, SyntheticResult::Passed),
    ] {
        let looks = [AGENT, (Check::Vnc, vnc), (Check::VncWeb, web)];
        let (run, stopped) = judged(matters, &looks, Answerer::Agent, 0);
        assert_eq!(run.result, result, "{matters} {vnc} {web}: {run:?}");
        if result == SyntheticResult::Failed {
            assert_eq!(run.failure, Some(Failure::VncNotReady));
            assert_eq!(stopped, Some(TrialPhase::Vnc));
        }
    }
}

#[test]
fn without_a_page_of_novnc_only_vnc_itself_is_needed() {
    let mut story = Story::begin_with(VncMatters::Required);
    story.told(Told::Journalled(true)).passes(100);
    // December's controller bridges to VNC itself.
    story.log(&[
        EventKind::RequestMarked { mark: MARK },
        accepted(),
        opened(SESSION),
    ]);
    story.told(Told::Started(Ok(StartAnswer {
        session: SESSION,
        address: None,
        novnc: false,
    })));
    story.log(&[handed_over(SESSION, VM)]);
    let looks = [
        AGENT,
        (Check::Vnc, ProbeResult::Ok),
        (Check::VncWeb, ProbeResult::Refused),
    ];
    story.passes(900).looks(&looks).ready().passes(1_000);
    assert_eq!(story.ended().unwrap().result, SyntheticResult::Passed);
}

/// TigerVNC shuts out whoever connects five times without logging in: two are ours, two are the cadence's.
#[test]
fn vnc_is_connected_to_twice_at_most_and_refusals_are_free() {
    for (result, most) in [(ProbeResult::NotVnc, 2), (ProbeResult::Refused, 20)] {
        let mut story = Story::begin_with(VncMatters::Required);
        story.created();
        for _ in 0..20 {
            story.passes(1_000).looks(&[AGENT, (Check::Vnc, result)]);
        }
        let asked = |check| {
            story
                .wanted()
                .iter()
                .filter(|checks| checks.contains(&check))
                .count()
        };
        assert!(asked(Check::Vnc) >= 2, "{result}");
        assert!(
            asked(Check::Vnc) <= most + 1,
            "{result}: {}",
            asked(Check::Vnc)
        );
        assert_eq!(asked(Check::Negative), story.wanted().len());
        if result == ProbeResult::NotVnc {
            assert_eq!(asked(Check::Vnc), most);
        }
    }
}

/// Where its OAuth fails, the controller destroys the VM at once: whether VNC came is not known then, and no fault.
#[test]
fn a_vm_that_was_ready_and_well_may_be_destroyed_before_vnc_is_there() {
    let mut story = Story::begin_with(VncMatters::Measured);
    story.created().passes(900);
    let without_vnc = (Check::Vnc, ProbeResult::Refused);
    story.looks(&[AGENT, without_vnc]).ready().passes(1_000);
    let filled = story.running.trial.phases;
    story.log(&[EventKind::Destroying { vm: VM }]);
    for _ in 0..40 {
        story.passes(1_000);
        story.looks(&[(Check::Health, ProbeResult::Refused), without_vnc]);
    }
    let run = story.ended().expect("it is judged");
    assert_eq!(run.result, SyntheticResult::Passed, "{run:?}");
    assert_eq!(filled.of(TrialPhase::SessionFields), None);
    let fields = story.running.trial.phases.of(TrialPhase::SessionFields);
    assert!(
        fields.is_some_and(|took| took < 2_000),
        "VNC's time is not the fields': {fields:?}"
    );
}

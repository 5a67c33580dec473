//! A synthetic boot told step by step, on a clock that only the tests move.

mod crash;
mod failed;
mod judged;
mod marks;
mod rows;

use std::net::Ipv4Addr;

use super::trial::{Effect, Told};
use super::*;
use crate::core::event::{Event, EventKind, Provenance, UserKey};
use crate::core::probe::{Answerer, Check, Checked, Look, Network, Networks, ProbeResult, Skew};
use crate::core::row::SessionStatus;

const NOON: Timestamp = Timestamp(1_760_788_800_000);
const OURS: UserKey = UserKey(7);
const MARK: u64 = 0xfeed;
const SESSION: SessionId = SessionId(0x51);
const FOREIGN: SessionId = SessionId(0xf0);
const VM: VmId = VmId(0xa1);
const FOREIGN_VM: VmId = VmId(0xf1);
const IP: Ipv4Addr = Ipv4Addr::new(127, 0, 100, 9);
const MINUTE: i64 = 60_000;

struct Story {
    now: Timestamp,
    traces: Traces,
    running: Running,
    effects: Vec<Effect>,
    rows: RowsSeen,
}

fn settings(vnc: VncMatters) -> TrialSettings {
    let network: Network = "127.0.100.0/24".parse().unwrap();
    TrialSettings {
        networks: Networks::new(vec![network]),
        vnc,
    }
}

fn event(at: Timestamp, kind: EventKind<'static>) -> Event<'static> {
    Event {
        at,
        provenance: Provenance::default(),
        kind,
        record: b"",
    }
}

impl Story {
    fn begin() -> Story {
        Story::begin_with(VncMatters::Off)
    }

    fn begin_with(vnc: VncMatters) -> Story {
        let mut effects = Vec::new();
        let running = Running::begin(MARK, settings(vnc), NOON, &mut effects);
        Story {
            now: NOON,
            traces: Traces::new(OURS),
            running,
            effects,
            rows: RowsSeen::NoDatabase,
        }
    }

    /// An earlier process left this.
    fn resume(trial: Trial) -> Story {
        let mut effects = Vec::new();
        let settings = settings(VncMatters::Off);
        let running = Running::resume(trial, settings, NOON.plus_ms(MINUTE), &mut effects);
        Story {
            now: NOON.plus_ms(MINUTE),
            traces: Traces::new(OURS),
            running,
            effects,
            rows: RowsSeen::NoDatabase,
        }
    }

    fn told(&mut self, told: Told) -> &mut Story {
        self.running.told(told, self.now, &mut self.effects);
        self
    }

    fn log(&mut self, kinds: &[EventKind<'static>]) -> &mut Story {
        for kind in kinds {
            self.traces.observe(&event(self.now, *kind));
        }
        self.sees()
    }

    fn sees(&mut self) -> &mut Story {
        let traces = self.traces.all();
        let room = Room {
            followed: true,
            sighted: true,
            rows: self.rows,
            ..Room::default()
        };
        self.running.sees(traces, room, self.now, &mut self.effects);
        self
    }

    /// Time passes, and every timer on the way goes off.
    fn passes(&mut self, ms: i64) -> &mut Story {
        let until = self.now.plus_ms(ms);
        while let Some(due) = self.running.next_due()
            && due <= until
            && self.now < until
        {
            self.now = due.max(self.now.plus_ms(1));
            self.running.tick(self.now, &mut self.effects);
            self.answer_cancellations();
        }
        self.now = self.now.max(until);
        self.running.tick(self.now, &mut self.effects);
        self
    }

    fn answer_cancellations(&mut self) {
        if matches!(self.effects.last(), Some(Effect::Cancel(_))) {
            self.told(Told::Cancelled(Ok(())));
        }
    }

    fn cancelled(&self) -> Vec<SessionId> {
        let cancels = self.effects.iter().filter_map(|effect| match effect {
            Effect::Cancel(session) => Some(*session),
            _ => None,
        });
        cancels.collect()
    }

    fn ended(&self) -> Option<&SyntheticRun> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Ended(run) => Some(run.as_ref()),
            _ => None,
        })
    }

    fn done(&self) -> Option<bool> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Done { clean } => Some(*clean),
            _ => None,
        })
    }

    fn state(&self) -> TrialState {
        self.running.trial.state
    }

    /// Up to the VM, as October's controller answers.
    fn created(&mut self) -> &mut Story {
        self.told(Told::Journalled(true));
        self.passes(100);
        self.log(&ASKED).log(&[CREATING]);
        self.passes(3_000);
        self.log(&[handed_over(SESSION, VM)]);
        self.told(Told::Started(Ok(StartAnswer {
            session: SESSION,
            address: Some(IP.to_string()),
            novnc: true,
        })))
    }

    /// On to the end of its checks, with a VM that is healthy.
    fn passed(&mut self) -> &mut Story {
        self.created().passes(900);
        self.looks(&[(Check::Health, ProbeResult::Refused)]);
        self.passes(30_000);
        self.looks(&[AGENT]);
        self.passes(1_000).ready()
    }

    /// The controller calls it ready.
    fn ready(&mut self) -> &mut Story {
        self.log(&[EventKind::WaitReady { ip: IP }]);
        self.told(Told::Session(Ok(SessionAnswer {
            status: Some(SessionStatus::Ready),
            vm: Some(VM),
            address: Some(IP.to_string()),
            left: None,
        })))
    }

    /// A look of ours finds this; the agent, where it is well, is the real one.
    fn looks(&mut self, results: &[(Check, ProbeResult)]) -> &mut Story {
        self.looks_as(results, Answerer::Agent, 40)
    }

    fn looks_as(
        &mut self,
        results: &[(Check, ProbeResult)],
        answerer: Answerer,
        skew_ms: i64,
    ) -> &mut Story {
        let checked = |(check, result): &(Check, ProbeResult)| {
            let mut checked = Checked::without_contact(*check, 1, *result);
            if (*check, *result) == AGENT {
                checked.answerer = Some(answerer);
                checked.skew = Some(Skew {
                    ms: skew_ms,
                    within_ms: 5,
                });
            }
            checked
        };
        let look = Look {
            ip: IP,
            at: self.now,
            resolved_in: None,
            checks: results.iter().map(checked).collect(),
            neighbour: None,
        };
        self.told(Told::Looked(Box::new(Looked::from(&look))))
    }

    /// The checks of every look that was wanted.
    fn wanted(&self) -> Vec<&[Check]> {
        let looks = self.effects.iter().filter_map(|effect| match effect {
            Effect::Look(_, checks) => Some(checks.as_slice()),
            _ => None,
        });
        looks.collect()
    }
}

const AGENT: (Check, ProbeResult) = (Check::Health, ProbeResult::Ok);

fn handed_over(session: SessionId, vm: VmId) -> EventKind<'static> {
    EventKind::HandedOver {
        vm,
        user: OURS,
        session,
        ip: Some(IP),
    }
}

/// Our request, up to its session.
const ASKED: [EventKind<'static>; 3] = [
    EventKind::RequestMarked { mark: MARK },
    EventKind::RequestAccepted { user: OURS },
    EventKind::SessionOpened {
        user: OURS,
        session: SESSION,
    },
];
const CREATING: EventKind<'static> = EventKind::CreateStarted {
    vm: VM,
    user: OURS,
    vm_type: VmType::Browser,
    started_at: None,
};
const GONE: [EventKind<'static>; 2] = [
    EventKind::Destroying { vm: VM },
    EventKind::Destroyed { vm: VM },
];
const FLOW_ENDS: EventKind<'static> = EventKind::FlowFailed {
    session: SESSION,
    user: OURS,
    error: b"OAuth timeout",
};

#[test]
fn nothing_is_sent_before_the_intent_is_on_the_disk() {
    let mut story = Story::begin();
    assert!(matches!(story.effects[..], [Effect::Journal(_)]));
    story.told(Told::Journalled(true));
    assert!(matches!(story.effects[1..], [Effect::Start { mark: MARK }]));
    let mut story = Story::begin();
    story.told(Told::Journalled(false));
    assert_eq!(story.running.not_begun(), Some(SkipReason::Journal));
    assert!(story.running.is_done());
    let Some(Effect::Journal(last)) = story.effects.last() else {
        panic!("{:?}", story.effects);
    };
    assert!(
        last.done_at.is_some(),
        "no start takes it for one that was left"
    );
}

/// So many boots a day, and hardly any schedule.
fn daily(budget: u64) -> Settings {
    Settings {
        trial: settings(VncMatters::Off),
        limits: Limits {
            budget,
            busy: 2,
            reserve: 0,
        },
        schedule: Schedule::new(24 * 60 * MINUTE, 7),
    }
}

fn quiet(saved: Vec<Trial>) -> Canary {
    let settings = daily(3);
    let mut canary = Canary::new(settings, saved, NOON);
    let room = Room {
        followed: true,
        sighted: true,
        ..Room::default()
    };
    canary.sees(&[], room, NOON, &mut Vec::new());
    canary
}

#[test]
fn a_run_that_cannot_be_written_down_is_skipped_with_that_reason() {
    let mut canary = quiet(Vec::new());
    let mut out = Vec::new();
    assert_eq!(canary.wanted(NOON, &mut out), None);
    canary.health(Ok(None), MARK, NOON, &mut out);
    out.clear();
    canary.told(Told::Journalled(false), NOON, &mut out);
    let [
        CanaryEffect::Trial(Effect::Journal(_)),
        CanaryEffect::Skipped(reason, run),
    ] = &out[..]
    else {
        panic!("{out:?}");
    };
    assert_eq!(*reason, SkipReason::Journal);
    assert_eq!(run.result, SyntheticResult::Skipped);
    assert!(canary.running().is_none());
    assert_eq!(canary.last_skip(), Some(SkipReason::Journal));
    assert_eq!(canary.forbidden(NOON), None, "nothing is left of it");
}

#[test]
fn a_lost_journal_is_written_again_whole() {
    let mut done = left(TrialState::Done, Some(FOREIGN));
    (done.mark, done.done_at) = (1, Some(NOON));
    let mut open = left(TrialState::Following, Some(SESSION));
    open.mark = 2;
    let mut canary = quiet(vec![done, open]);
    let marks = |canary: &Canary| canary.trials().map(|trial| trial.mark).collect::<Vec<_>>();
    assert_eq!(marks(&canary), [1, 2]);
    canary.tick(NOON, &mut Vec::new());
    assert_eq!(marks(&canary), [1, 2], "also the one that runs");
}

#[test]
fn what_a_journal_held_that_was_opened_late_is_cleaned_up_and_counts() {
    let mut canary = quiet(Vec::new());
    let mut over = left(TrialState::Done, Some(FOREIGN));
    over.mark = 1;
    over.done_at = Some(NOON.plus_ms(-MINUTE));
    over.ended_at = over.done_at;
    over.started_at = NOON.plus_ms(-10 * MINUTE);
    let mut open = left(TrialState::Following, Some(SESSION));
    open.mark = 2;
    for _ in 0..2 {
        canary.found(vec![over.clone(), open.clone()], NOON);
    }
    assert_eq!(canary.trials().count(), 2);
    assert_eq!(canary.forbidden(NOON), Some(SkipReason::Previous));
    let mut out = Vec::new();
    canary.tick(NOON, &mut out);
    let cancel = CanaryEffect::Trial(Effect::Cancel(SESSION));
    canary.tick(NOON, &mut out);
    assert!(out.contains(&cancel), "{out:?}");
}

#[test]
fn a_healthy_boot_passes_and_its_phases_sum_to_the_whole() {
    let mut story = Story::begin();
    story.passed();
    let run = story.ended().unwrap().clone();
    assert_eq!(run.result, SyntheticResult::Passed, "{run:?}");
    assert_eq!((run.vm, run.session), (Some(VM), Some(SESSION)));
    let phases = story.running.trial.phases;
    assert_eq!(phases.total_ms(), run.ended_at.since(run.started_at));
    assert_eq!(phases.of(TrialPhase::Request), Some(3_100));
    assert_eq!(phases.of(TrialPhase::Created), Some(0));
    assert_eq!(phases.of(TrialPhase::Vnc), None, "nobody asked");
    assert!(phases.of(TrialPhase::Agent) >= Some(30_000));
    story.answer_cancellations();
    story.passes(100).log(&GONE);
    assert_eq!(story.done(), None, "the flow goes on");
    story.passes(299_000).log(&[FLOW_ENDS]).log(&GONE);
    assert_eq!(story.done(), Some(true));
    let trial = &story.running.trial;
    let whole = trial.done_at.unwrap().since(trial.started_at);
    assert_eq!(trial.phases.total_ms(), whole);
}

#[test]
fn a_clean_up_is_judged_after_six_minutes_where_no_second_end_is_seen() {
    let mut story = Story::begin();
    story.passed().answer_cancellations();
    story.log(&GONE);
    story.passes(FLOW_MS - 1_000);
    assert_eq!((story.done(), story.state()), (None, TrialState::Verifying));
    story.passes(1_000);
    assert_eq!(story.done(), Some(true));
    assert_eq!(story.cancelled(), [SESSION]);
}

#[test]
fn a_vm_that_survives_its_cancellation_is_cancelled_again_and_told_in_the_end() {
    let mut story = Story::begin();
    story.passed().answer_cancellations();
    story.passes(30 * MINUTE);
    assert_eq!(story.done(), Some(false));
    assert!(story.cancelled().len() > 3);
    assert!(story.cancelled().iter().all(|session| *session == SESSION));
}

#[test]
fn a_vm_that_is_created_after_the_cancellation_is_cancelled_as_well() {
    let mut story = Story::begin();
    story.told(Told::Journalled(true));
    story.log(&[
        EventKind::RequestMarked { mark: MARK },
        EventKind::RequestAccepted { user: OURS },
    ]);
    // December's answer comes before the VM.
    story.told(Told::Started(Ok(StartAnswer {
        session: SESSION,
        address: None,
        novnc: false,
    })));
    story.passes(151_000);
    assert_eq!(story.ended().unwrap().result, SyntheticResult::Failed);
    story.answer_cancellations();
    assert_eq!(story.cancelled().len(), 1);
    story.log(&[
        EventKind::SessionOpened {
            user: OURS,
            session: SESSION,
        },
        handed_over(SESSION, VM),
    ]);
    story.passes(2 * MINUTE).answer_cancellations();
    assert!(story.cancelled().len() >= 2, "{:?}", story.cancelled());
    story.log(&GONE).log(&[FLOW_ENDS]);
    assert_eq!(story.done(), Some(true));
}

#[test]
fn a_boot_that_the_controller_gave_up_and_destroyed_itself_needs_no_cancellation() {
    let mut story = Story::begin();
    story.created();
    let mut boot = Boot::new(Some(VM), Provenance::default(), story.now);
    boot.user = Some(OURS);
    boot.vm_type = Some(VmType::Browser);
    boot.outcome = Some(Outcome::Failed);
    boot.failure = Some(Failure::AgentRefused);
    story.log(&[FLOW_ENDS]).log(&GONE);
    story.passes(5_000);
    story.traces.boot(&boot);
    story.sees();
    let run = story.ended().unwrap();
    assert_eq!(run.failure, Some(Failure::AgentRefused));
    assert!(
        run.evidence
            .iter()
            .any(|line| line.contains("stopped in guest_network"))
    );
    story.passes(1_000);
    assert_eq!(story.done(), Some(true));
    assert!(story.cancelled().is_empty());
}

#[test]
fn our_own_mistake_says_nothing_about_vms() {
    for (error, result) in [
        (
            CallError::Rejected("unknown user".to_owned()),
            SyntheticResult::Errored,
        ),
        (
            CallError::Unreachable("no connection".to_owned()),
            SyntheticResult::Errored,
        ),
        (
            CallError::Redirected {
                to: "http://203.0.113.77/".to_owned(),
            },
            SyntheticResult::Errored,
        ),
    ] {
        let mut story = Story::begin();
        story
            .told(Told::Journalled(true))
            .sees()
            .told(Told::Started(Err(error)));
        assert_eq!(story.ended().unwrap().result, result);
        story.passes(4 * MINUTE);
        assert_eq!(story.done(), Some(true));
    }
}

#[test]
fn an_address_outside_the_networks_is_never_looked_at() {
    for named in [
        "203.0.113.77",
        "::ffff:169.254.169.254",
        "metadata.example",
        "127.0.100.255",
    ] {
        let mut story = Story::begin();
        story.told(Told::Journalled(true));
        story.log(&[
            EventKind::RequestMarked { mark: MARK },
            EventKind::RequestAccepted { user: OURS },
        ]);
        story.told(Told::Started(Ok(StartAnswer {
            session: SESSION,
            address: Some(named.to_owned()),
            novnc: true,
        })));
        // The log names the right one: which is right nobody can tell.
        story.log(&[
            EventKind::SessionOpened {
                user: OURS,
                session: SESSION,
            },
            handed_over(SESSION, VM),
        ]);
        story
            .passes(10_000)
            .log(&[EventKind::WaitReady { ip: IP }])
            .passes(5_000);
        assert!(
            !story
                .effects
                .iter()
                .any(|effect| matches!(effect, Effect::Look(..)))
        );
        let refused = Effect::Refused(named.to_owned());
        assert!(story.effects.contains(&refused));
        let run = story.ended().unwrap();
        assert_eq!(run.result, SyntheticResult::Errored);
        assert!(run.evidence[0].contains(named), "{run:?}");
        assert_eq!(
            story.cancelled(),
            [SESSION],
            "it is cleaned up all the same"
        );
    }
}

fn left(state: TrialState, session: Option<SessionId>) -> Trial {
    let mut story = Story::begin();
    story.running.trial.state = state;
    story.running.trial.session = session;
    story.running.trial.clone()
}

#[test]
fn what_was_never_seen_to_go_forbids_others_for_half_an_hour_and_no_longer() {
    let mut trial = left(TrialState::Done, Some(SESSION));
    trial.vm = Some(VM);
    trial.result = Some(SyntheticResult::Failed);
    trial.clean = Some(false);
    trial.ended_at = Some(NOON);
    trial.done_at = Some(NOON);
    let settings = daily(96);
    let mut canary = Canary::new(settings, vec![trial], NOON);
    let room = Room {
        followed: true,
        sighted: true,
        ..Room::default()
    };
    canary.sees(&[], room, NOON, &mut Vec::new());
    let forbidden = |minutes| canary.forbidden(NOON.plus_ms(minutes * MINUTE));
    assert_eq!(forbidden(29), Some(SkipReason::Previous));
    assert_eq!(forbidden(30), None);
}

const REQUEST_FAILS: EventKind<'static> = EventKind::RequestFailed {
    user: OURS,
    session: None,
    error: b"No space left on device",
    rejected: false,
};

fn accepted() -> EventKind<'static> {
    EventKind::RequestAccepted { user: OURS }
}

fn opened(session: SessionId) -> EventKind<'static> {
    EventKind::SessionOpened {
        user: OURS,
        session,
    }
}

#[test]
fn a_clean_up_that_nobody_could_see_is_not_called_clean() {
    let mut story = Story::resume(left(TrialState::Following, Some(SESSION)));
    let (now, effects) = (story.now, &mut story.effects);
    story.running.sees(&[], Room::default(), now, effects);
    story.answer_cancellations();
    story.passes(FLOW_MS + MINUTE);
    assert_eq!(story.done(), None);
    story.passes(FLOW_MS);
    assert_eq!(story.done(), Some(false));
}

#[test]
fn a_run_that_was_taken_over_is_told_once_as_our_own_mistake() {
    let story = Story::resume(left(TrialState::Following, Some(SESSION)));
    assert_eq!(story.ended().unwrap().result, SyntheticResult::Errored);
    let mut trial = left(TrialState::Verifying, Some(SESSION));
    trial.ended_at = Some(NOON);
    trial.result = Some(SyntheticResult::Passed);
    assert!(Story::resume(trial).ended().is_none());
}

#[test]
fn a_request_that_the_limiter_turned_away_is_a_skip() {
    let mut canary = quiet(Vec::new());
    let mut out = Vec::new();
    canary.wanted(NOON, &mut out);
    canary.health(Ok(None), MARK, NOON, &mut out);
    canary.told(Told::Journalled(true), NOON, &mut out);
    out.clear();
    let limited = CallError::Limited { retry_ms: 9_000 };
    canary.told(Told::Started(Err(limited)), NOON, &mut out);
    let skipped =
        |effect: &CanaryEffect| matches!(effect, CanaryEffect::Skipped(SkipReason::Limited, _));
    assert_eq!(
        out.iter().filter(|effect| skipped(effect)).count(),
        1,
        "{out:?}"
    );
    assert!(canary.running().is_none());
    assert_eq!(canary.trials().count(), 0, "it is none that was begun");
}

#[test]
fn a_redirect_is_counted_and_told_once_and_the_boot_is_not_blamed() {
    let to = "http://203.0.113.77/".to_owned();
    let mut story = Story::begin();
    story.created();
    for _ in 0..3 {
        let to = to.clone();
        story.told(Told::Session(Err(CallError::Redirected { to })));
    }
    let told = |effect: &&Effect| **effect == Effect::Redirected(to.clone());
    assert_eq!(story.effects.iter().filter(told).count(), 1);
    assert_eq!(story.running.trial.refused, 3);
    story.passes(900).looks(&[AGENT]).ready().passes(1_000);
    assert_eq!(story.ended().unwrap().result, SyntheticResult::Errored);
    assert_eq!(story.cancelled(), [SESSION]);
}

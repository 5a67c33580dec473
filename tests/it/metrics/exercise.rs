//! A recorder that is told everything that can be told.

use std::time::Duration;

use bootwatch::controller::clock::Zone;
use bootwatch::controller::excerpt::excerpt;
use bootwatch::controller::reader::Reader;
use bootwatch::core::alert::{AlertChanged, AlertView, Effect};
use bootwatch::core::boot::{AttemptEnded, Observation, Tracker, TrackerCounts};
use bootwatch::core::event::{
    AttemptError, AttemptResult, Origin, Stage, StageOutcome, Timestamp, VmType,
};
use bootwatch::core::image::{Check as ImageCheck, Finding, Generation, Verdict};
use bootwatch::core::inventory::{Addresses, SessionTotals};
use bootwatch::core::probe::{Check, Checked, Laps, Look, Phase, ProbeResult, Skew};
use bootwatch::core::row::VmStatus;
use bootwatch::core::rule::RuleName;
use bootwatch::core::synthetic::{SkipReason, SyntheticResult, TrialPhase};
use bootwatch::export::{OtlpSetup, ReadFigures, Recorder, Setup, SourceFigures};
use bootwatch::simulator::Version;
use bootwatch::source::database::Query;

use crate::simulator::{order, play, scenarios};

pub(super) fn setup() -> Setup {
    Setup {
        sources: vec!["log".to_owned()],
        queries: Query::ALL.map(Query::as_str).to_vec(),
        channels: vec!["ops".to_owned()],
        results: vec!["sent", "expired", "failed_server"],
        otlp: Some(OtlpSetup {
            host: "host-1".to_owned(),
            traces: true,
        }),
        ..Setup::default()
    }
}

pub(super) fn attempt(result: AttemptResult) -> Observation {
    Observation::AttemptEnded(AttemptEnded {
        vm: None,
        result,
        at: Timestamp(0),
        ms: Some(3),
        waited_ms: None,
        deadline_ms: Some(120_000),
        died: false,
        origin: Origin::User,
    })
}

/// What the tracker says about a log.
pub(super) fn observations(log: &[u8]) -> Vec<Observation> {
    let mut reader = Reader::new(0, Zone::Named(jiff::tz::TimeZone::UTC));
    let mut tracker = Tracker::new(excerpt);
    let mut said = Vec::new();
    reader.push(log, &mut |event| tracker.observe(event, &mut said));
    reader.finish(&mut |event| tracker.observe(event, &mut said));
    tracker.finish(&mut said);
    said
}

/// Every way in which a check can end, and the phase in which it does.
fn endings(check: Check) -> Vec<(Phase, ProbeResult)> {
    use ProbeResult as R;
    let connecting = [
        R::Ok,
        R::Refused,
        R::HostUnreachable,
        R::NetUnreachable,
        R::Timeout,
        R::Error,
    ];
    let silent = [
        R::Timeout,
        R::Reset,
        R::Closed,
        R::NotHttp,
        R::TooLarge,
        R::Error,
    ];
    let status = [R::Redirect, R::ClientError, R::ServerError, R::OtherStatus];
    let of = |phase: Phase, results: &[R]| -> Vec<(Phase, R)> {
        results.iter().map(|result| (phase, *result)).collect()
    };
    let answered = |status: &[R]| {
        [
            of(Phase::Connect, &connecting),
            of(Phase::Processing, &silent),
            of(Phase::Transfer, &silent),
            of(Phase::Transfer, status),
            of(Phase::Transfer, &[R::Ok]),
        ]
        .concat()
    };
    match check {
        Check::Connect => of(Phase::Connect, &connecting),
        Check::Negative => of(Phase::Connect, &[R::Ok, R::Open, R::Error]),
        Check::Health => answered(&status),
        Check::VncWeb => answered(&[R::ServerError]),
        Check::Vnc => answered(&[R::NotVnc]),
    }
}

fn look(check: Check, phase: Phase, result: ProbeResult) -> Look {
    let mut checked = Checked::without_contact(check, 8_080, result);
    let mut laps = Laps::default();
    let course = [Phase::Connect, Phase::Processing, Phase::Transfer];
    for (ms, begun) in (1..).zip(course).filter(|(_, begun)| *begun <= phase) {
        laps.end(begun, Duration::from_millis(ms));
    }
    checked.phases = laps.phases();
    checked.failed_in = (result != ProbeResult::Ok).then_some(phase);
    checked.skew = Some(Skew {
        ms: -7,
        within_ms: 1,
    });
    look_of(checked)
}

fn look_of(checked: Checked) -> Look {
    Look {
        ip: std::net::Ipv4Addr::LOCALHOST,
        at: Timestamp(0),
        resolved_in: None,
        checks: vec![checked],
        neighbour: None,
    }
}

/// Tells the recorder everything that can be told, each word of each vocabulary.
pub(super) fn exercise(recorder: &Recorder) {
    recorder.prober_sound(true);
    recorder.looks_overrun(2);
    for check in Check::ALL {
        for (phase, result) in endings(*check) {
            recorder.probed(&look(*check, phase, result));
        }
        for result in [ProbeResult::Foreign, ProbeResult::Skipped] {
            recorder.probed(&look_of(Checked::without_contact(*check, 1, result)));
        }
    }
    recorder.held("silenced");
    recorder.stalled();
    recorder.operators(1, 1, true);
    recorder.last_resort("journal", true);
    for row in scenarios(Version::Oct) {
        let (log, _) = play(row, &order(7, Version::Oct, 12));
        for observation in observations(&log) {
            recorder.observe(&observation, true);
            if let Observation::BootEnded(boot) = &observation {
                recorder.boot_in_maintenance(boot);
            }
        }
    }
    for vm_type in VmType::ALL {
        for stage in Stage::ALL {
            for outcome in StageOutcome::ALL {
                let ended = Observation::StageEnded {
                    vm_type: *vm_type,
                    origin: Origin::User,
                    stage: *stage,
                    outcome: *outcome,
                    ms: 15_000,
                };
                recorder.observe(&ended, true);
            }
        }
    }
    let errors = AttemptError::ALL
        .iter()
        .map(|error| AttemptResult::Error(*error));
    let results: Vec<AttemptResult> = errors
        .chain([AttemptResult::Ok, AttemptResult::VncNotReady])
        .chain([100, 204, 302, 404, 500].map(AttemptResult::Http))
        .collect();
    for result in &results {
        recorder.observe(&attempt(*result), true);
    }
    for rule in RuleName::ALL {
        for to in ["inactive", "pending", "firing", "flapping", "resolved"] {
            recorder.effect(&Effect::AlertChanged(AlertChanged {
                rule: *rule,
                subject: VmType::Browser.into(),
                severity: rule.severity(),
                to,
                at: Timestamp(0),
            }));
        }
    }
    recorder.alerts([view(RuleName::BootFailureRate, true)]);
    recorder.in_flight(
        [VmType::Browser, VmType::Cli, VmType::Browser],
        results.iter().map(|result| (VmType::Browser, *result)),
    );
    recorder.tracker(
        &TrackerCounts {
            unattributed: 1,
            ..TrackerCounts::default()
        },
        true,
    );
    recorder.source(
        "log",
        &SourceFigures {
            up: true,
            lines: 10,
            bytes: 1_000,
            rotations: 1,
            lag_bytes: 7,
            ..SourceFigures::default()
        },
    );
    recorder.reads(
        "log",
        &ReadFigures {
            unparsed: 1,
            unknown: 2,
            newest: Some(Timestamp(1_767_599_400_500)),
        },
    );
    recorder.notification("ops", "sent", Some(Duration::from_millis(2)));
    recorder.waiting("ops", 3, Some(Timestamp(1_767_599_400_500)));
    for result in [
        "ok",
        "full",
        "locked",
        "read_only",
        "corrupt",
        "io",
        "other",
    ] {
        recorder.store_write(result, Duration::from_millis(2));
    }
    recorder.store(true, 1);
    recorder.store_check("ok");
    recorder.outbox([("ops", "saved"), ("ops", "unsaved")]);
    recorder.fleet(true, 7, 1);
    recorder.broken("ops", true);
    for result in ["sent", "failed", "withheld", "other"] {
        recorder.heartbeat(result);
    }
    let vm_types = VmType::ALL.iter().copied().map(Some).chain([None]);
    let vms: Vec<_> = vm_types
        .flat_map(|vm_type| {
            VmStatus::ALL
                .iter()
                .map(move |status| (vm_type, *status, 2))
        })
        .collect();
    recorder.vms(&vms);
    recorder.sessions(&SessionTotals([[1; 9]; 4]), true);
    recorder.sessions_incomplete(1);
    recorder.database_clock(-90_000);
    recorder.findings(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    recorder.addresses(Some(Addresses {
        used: 3,
        ghost: 1,
        free: 249,
    }));
    recorder.database_up(true);
    for query in Query::ALL {
        recorder.database_asked(query.as_str(), Duration::from_millis(3));
    }
    let findings: Vec<Finding> = ImageCheck::ALL
        .iter()
        .map(|check| Finding::new(*check, Verdict::Warn, "/opt", "looks odd"))
        .collect();
    let generation = Generation {
        inode: 7,
        size: 8 << 30,
        modified_at: Timestamp(1_767_599_400_500),
        uuid: None,
    };
    for result in ["whole", "partial", "archived", "none"] {
        recorder.console_evidence(result);
    }
    recorder.golden_image(Some(&generation), &findings);
    for result in SyntheticResult::ALL {
        recorder.synthetic_run(*result);
    }
    for reason in SkipReason::ALL {
        recorder.synthetic_skipped(*reason);
    }
    for phase in TrialPhase::ALL {
        recorder.synthetic_phase(*phase, 1_500);
    }
    recorder.synthetic_succeeded(Some(Timestamp(1_767_599_400_500)));
    recorder.synthetic_cleaned(true);
    recorder.synthetic_cleaned(false);
    recorder.synthetic_address_refused();
}

pub(super) fn view(rule: RuleName, firing: bool) -> AlertView {
    AlertView {
        rule,
        subject: VmType::Browser.into(),
        severity: rule.severity(),
        firing,
        pending: false,
        unknown: false,
        fired_at: None,
    }
}

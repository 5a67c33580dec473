//! The analysis for programs: see `docs/analyze.md` for every field.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use super::{Analysis, images};
use crate::cli::past::rfc3339;
use crate::cli::verdict::FiredAlert;
use crate::core::alert::{Cause, Subject};
use crate::core::boot::Boot;
use crate::core::event::{Failure, Stage, VmType};
use crate::core::generations::Generation;
use crate::core::sketch::Sketch;
use crate::core::summary::Outcomes;

#[derive(Serialize)]
struct Output<'a> {
    records: Records,
    boots: Counts,
    by_vm_type: BTreeMap<VmType, Counts>,
    failures: BTreeMap<Failure, u64>,
    stages: BTreeMap<&'static str, StageFigures>,
    health_checks: HealthChecks,
    controller: Controller,
    alerts: Vec<AlertRow>,
    images: Vec<ImageRow<'a>>,
    unknown_messages: Vec<UnknownMessage<'a>>,
    notes: &'a [String],
    problems: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_list: Option<Vec<BootRow>>,
}

#[derive(Serialize)]
struct Records {
    total: u64,
    unparsed: u64,
    unknown: u64,
    unattributed: u64,
}

#[derive(Serialize)]
struct Counts {
    total: u64,
    ready: u64,
    failed: u64,
    cancelled: u64,
    lost: u64,
    in_progress: u64,
}

impl From<&Outcomes> for Counts {
    fn from(outcomes: &Outcomes) -> Counts {
        Counts {
            total: outcomes.total(),
            ready: outcomes.ready,
            failed: outcomes.failed,
            cancelled: outcomes.cancelled,
            lost: outcomes.lost,
            in_progress: outcomes.in_progress,
        }
    }
}

#[derive(Serialize)]
struct StageFigures {
    count: u64,
    p50_seconds: Option<f64>,
    p95_seconds: Option<f64>,
    p99_seconds: Option<f64>,
}

#[derive(Serialize)]
struct HealthChecks {
    total: u64,
    by_result: BTreeMap<String, u64>,
    p50_seconds: Option<f64>,
    p95_seconds: Option<f64>,
}

/// The first thousand times of each.
#[derive(Serialize)]
struct Controller {
    started_at: Vec<String>,
    crashed_at: Vec<String>,
}

#[derive(Serialize)]
struct AlertRow {
    rule: &'static str,
    severity: &'static str,
    vm_type: Subject,
    first_bad_at: String,
    fired_at: String,
    resolved_at: Option<String>,
    cause: Cause,
    summary: String,
}

impl From<&FiredAlert> for AlertRow {
    fn from(alert: &FiredAlert) -> AlertRow {
        AlertRow {
            rule: alert.rule.as_str(),
            severity: alert.rule.severity().as_str(),
            vm_type: alert.incident.subject,
            first_bad_at: rfc3339(alert.incident.first_bad_at),
            fired_at: rfc3339(alert.fired_at),
            resolved_at: alert.resolved_at.map(rfc3339),
            cause: alert.incident.cause,
            summary: alert.summary(),
        }
    }
}

#[derive(Serialize)]
struct ImageRow<'a> {
    image: &'a str,
    changed_at: Option<String>,
    failed: u32,
    boots: u32,
    first_failure_at: Option<String>,
    seconds_to_first_failure: Option<f64>,
}

impl<'a> From<&'a Generation> for ImageRow<'a> {
    fn from(known: &'a Generation) -> ImageRow<'a> {
        let count = known.count();
        ImageRow {
            image: &known.image,
            changed_at: (known.image != images::BEFORE).then(|| rfc3339(known.changed_at)),
            failed: count.bad,
            boots: count.of,
            first_failure_at: known.first_failure_at.map(rfc3339),
            seconds_to_first_failure: images::to_first_failure_ms(known)
                .map(|ms| std::time::Duration::from_millis(ms.unsigned_abs()).as_secs_f64()),
        }
    }
}

#[derive(Serialize)]
struct UnknownMessage<'a> {
    shape: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct BootRow {
    boot_id: String,
    vm_id: Option<String>,
    vm_type: VmType,
    vm_ip: Option<String>,
    session_id: Option<String>,
    started_at: String,
    ended_at: Option<String>,
    outcome: &'static str,
    failure: Option<Failure>,
    failed_stage: Option<Stage>,
    ready_seconds: Option<f64>,
    attempts: BTreeMap<String, u32>,
    stages: BTreeMap<&'static str, f64>,
    error: Option<String>,
}

pub(super) fn write(analysis: &Analysis, boots: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let summary = &analysis.summary;
    let output = Output {
        records: Records {
            total: analysis.read.records,
            unparsed: analysis.read.reads.unparsed,
            unknown: analysis.read.reads.unknown,
            unattributed: analysis.tracker.unattributed,
        },
        boots: Counts::from(&summary.outcomes),
        by_vm_type: summary
            .by_type
            .iter()
            .map(|(vm_type, outcomes)| (*vm_type, Counts::from(outcomes)))
            .collect(),
        failures: summary.failures_by_class(),
        stages: summary
            .stages
            .iter()
            .map(|(stage, sketch)| (stage.as_str(), figures(sketch)))
            .collect(),
        health_checks: HealthChecks {
            total: summary.attempts.values().sum(),
            by_result: summary
                .attempts
                .iter()
                .map(|(result, count)| (result.to_string(), *count))
                .collect(),
            p50_seconds: quantile(&summary.attempt_ms, 500),
            p95_seconds: quantile(&summary.attempt_ms, 950),
        },
        controller: Controller {
            started_at: summary
                .controller_starts
                .iter()
                .copied()
                .map(rfc3339)
                .collect(),
            crashed_at: summary
                .controller_crashes
                .iter()
                .copied()
                .map(rfc3339)
                .collect(),
        },
        alerts: analysis.alerts.iter().map(AlertRow::from).collect(),
        images: analysis.images.iter().map(ImageRow::from).collect(),
        unknown_messages: analysis
            .read
            .shapes
            .top(50)
            .into_iter()
            .map(|(shape, count)| UnknownMessage { shape, count })
            .collect(),
        notes: &analysis.read.notes,
        problems: analysis.read.told_problems(),
        boot_list: boots.then(|| {
            summary
                .boots_in_order()
                .into_iter()
                .map(|boot| row(boot, &analysis.host))
                .collect()
        }),
    };
    serde_json::to_writer_pretty(&mut *out, &output)?;
    out.write_all(b"\n")?;
    Ok(())
}

fn row(boot: &Boot, host: &str) -> BootRow {
    BootRow {
        boot_id: boot.id(host),
        vm_id: boot.vm.map(|vm| vm.to_string()),
        vm_type: boot.kind(),
        vm_ip: boot.ip.map(|ip| ip.to_string()),
        session_id: boot.session.map(|session| session.to_string()),
        started_at: rfc3339(boot.started_at),
        ended_at: boot.ended_at.map(rfc3339),
        outcome: boot
            .outcome
            .map_or("in_progress", |outcome| outcome.as_str()),
        failure: boot.failure,
        failed_stage: boot.failed_stage,
        ready_seconds: boot.ready_ms.map(seconds),
        attempts: boot
            .attempts
            .iter()
            .map(|(result, count)| (result.to_string(), *count))
            .collect(),
        stages: boot
            .completed_stages()
            .map(|(stage, span)| (stage.as_str(), seconds(span.ms)))
            .collect(),
        error: boot.error.clone(),
    }
}

fn figures(sketch: &Sketch) -> StageFigures {
    StageFigures {
        count: sketch.count(),
        p50_seconds: quantile(sketch, 500),
        p95_seconds: quantile(sketch, 950),
        p99_seconds: quantile(sketch, 990),
    }
}

fn quantile(sketch: &Sketch, per_mille: u32) -> Option<f64> {
    sketch.quantile_ms(per_mille).map(seconds)
}

fn seconds(ms: u32) -> f64 {
    f64::from(ms) / 1000.0
}

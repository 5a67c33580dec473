//! What to do next week, drawn from the figures: each piece names the figures that ask for it, and where nothing does,
//! nothing is said.

use serde::Serialize;

use super::share::{Change, Share};
use super::{Report, growth};
use crate::core::event::{Failure, Stage, VmType};

/// More of them are not done in a week.
const MOST: usize = 5;
/// A cause of fewer boots is no task.
const CAUSE: u64 = 3;
/// A stage that grew by less is no task, nor one that takes less than a second.
const GROWTH: f64 = 0.25;
const SHORT_MS: u32 = 1_000;
/// A page later than this after the first bad boot came late.
const LATE_SECONDS: f64 = 600.0;

/// One thing to do, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Advice {
    /// It still goes on.
    EndIncident { key: String, cause: String },
    /// The budget is overspent, or will be within its period.
    SpareBudget {
        left: f64,
        allowed: f64,
        weeks_left: Option<f64>,
    },
    /// Boots of this image fail more than the others'.
    LookAtImage {
        image: String,
        failed: Share,
        others: Share,
    },
    /// The cause of most failures.
    RemoveCause {
        vm_type: VmType,
        failure: Failure,
        failed: Share,
        of_failures: Share,
        change: Option<Change>,
    },
    /// A stage became slower.
    SpeedUp {
        vm_type: VmType,
        stage: Stage,
        p95_ms: u32,
        before_ms: u32,
    },
    /// Nobody was told, or late.
    SpeedUpDetection { late: u64, untold: u64, pages: u64 },
    /// Too much of the week was not seen.
    CloseGaps { seen: Share, gaps: u64 },
    /// A controller that writes nothing is down, or cannot write.
    EndSilences { silences: u64, seconds: f64 },
    /// No boot of bootwatch's own ended.
    RunSynthetics { user_boots: u64 },
}

/// What stands out, the most urgent first.
#[must_use]
pub(super) fn of(report: &Report) -> Vec<Advice> {
    let mut all = Vec::new();
    for incident in &report.incidents {
        if incident.resolved_at.is_none() && incident.page {
            all.push(Advice::EndIncident {
                key: incident.key.clone(),
                cause: incident.cause.clone(),
            });
        }
    }
    let budget = report.budget;
    if budget.judged > 0 && (budget.left <= 0.0 || budget.weeks_left.is_some()) {
        all.push(Advice::SpareBudget {
            left: budget.left,
            allowed: budget.allowed,
            weeks_left: budget.weeks_left,
        });
    }
    all.extend(image(report));
    all.extend(cause(report));
    all.extend(stage(report));
    all.extend(detection(report));
    let silences = &report.coverage.silences;
    if !silences.is_empty() {
        let ms: i64 = silences.iter().map(|one| one.to.since(one.from)).sum();
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds of weeks are far below 2^53"
        )]
        all.push(Advice::EndSilences {
            silences: silences.len() as u64,
            seconds: ms as f64 / 1000.0,
        });
    }
    if report.coverage.partial && !report.coverage.gaps.is_empty() {
        all.push(Advice::CloseGaps {
            seen: report.coverage.seconds,
            gaps: report.coverage.gaps.len() as u64,
        });
    }
    if report.synthetic.ready.n == 0 && report.synthetic.runs.is_empty() {
        let user_boots = report.total.ready.n;
        // Where hardly anybody boots, an outage is noticed late.
        if user_boots < 7 * 24 {
            all.push(Advice::RunSynthetics { user_boots });
        }
    }
    all.truncate(MOST);
    all
}

fn image(report: &Report) -> Option<Advice> {
    let mut whole = Share::default();
    report.images.iter().for_each(|image| whole += image.failed);
    report
        .images
        .iter()
        .filter_map(|image| {
            let others = Share::new(whole.k - image.failed.k, whole.n - image.failed.n);
            let change = image.failed.since(others)?;
            (change.differs && change.points > 0.0).then_some((change.points, image, others))
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, image, others)| Advice::LookAtImage {
            image: image.image.clone(),
            failed: image.failed,
            others,
        })
}

fn cause(report: &Report) -> Option<Advice> {
    let first = report
        .causes
        .first()
        .filter(|cause| cause.failed.k >= CAUSE)?;
    let failures = report
        .causes
        .iter()
        .filter(|cause| cause.vm_type == first.vm_type)
        .map(|cause| cause.failed.k)
        .sum();
    Some(Advice::RemoveCause {
        vm_type: first.vm_type,
        failure: first.failure,
        failed: first.failed,
        of_failures: Share::new(first.failed.k, failures),
        change: first.change,
    })
}

fn stage(report: &Report) -> Option<Advice> {
    report
        .stages
        .iter()
        .filter_map(|stage| {
            let grew = growth(stage.completed.p95, stage.before.p95)?;
            let (now, before) = (stage.completed.p95.ms()?, stage.before.p95.ms()?);
            let slower = grew >= GROWTH && now >= SHORT_MS;
            slower.then(|| (now - before, stage, now, before))
        })
        .max_by_key(|(longer, ..)| *longer)
        .map(|(_, stage, p95_ms, before_ms)| Advice::SpeedUp {
            vm_type: stage.vm_type,
            stage: stage.stage,
            p95_ms,
            before_ms,
        })
}

fn detection(report: &Report) -> Option<Advice> {
    let pages: Vec<_> = report.incidents.iter().filter(|one| one.page).collect();
    let untold = pages
        .iter()
        .filter(|one| one.delivered_at.is_none())
        .count() as u64;
    let late = pages
        .iter()
        .filter(|one| {
            one.detect_seconds
                .is_some_and(|seconds| seconds > LATE_SECONDS)
        })
        .count() as u64;
    (late + untold > 0).then_some(Advice::SpeedUpDetection {
        late,
        untold,
        pages: pages.len() as u64,
    })
}

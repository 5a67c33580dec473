//! The rules about how long boots take, from the histograms' quantiles.

use super::document::{Alert, Recording, duration};
use super::{Judge, Parameters, Row, Words, asked};
use crate::core::rule::Severity;
use std::time::Duration;

pub(super) const SLOW: Row = Row {
    name: "BootStageSlow",
    judge: Judge::Prometheus,
    severity: Some(Severity::Ticket),
    write: slow,
};

pub(super) const HEADROOM: Row = Row {
    name: "ReadinessHeadroomLow",
    judge: Judge::Prometheus,
    severity: Some(Severity::Ticket),
    write: headroom,
};

/// What a stage is compared with: a day, and as many observations as a quantile needs.
const BASELINE: &str = "1d";
const BASELINE_LEAST: u32 = 100;
/// A stage of milliseconds that takes twice as many is nobody's trouble.
const LEAST_SECONDS: u32 = 1;

/// A slow minute is no trend.
const HOLD: Duration = Duration::from_secs(15 * 60);

/// Durations cannot be taken off a histogram again, as boots are off a count: while a window holds some maintenance,
/// nothing is known.
fn outside_maintenance(seen: &str, window: &str) -> String {
    format!("{seen} unless on (instance) max_over_time(bootwatch_maintenance_active[{window}]) > 0")
}

const STAGE: &str = "instance, vm_type, boot_stage";
/// Stages that ran into a limit took that long, and count.
const ENDED: &str = "outcome=~\"completed|timed_out\"";

pub(super) fn recordings(parameters: &Parameters) -> Vec<Recording> {
    let mut out = Vec::new();
    if let Some(slow) = parameters.stage_slow {
        for window in [duration(slow.window), BASELINE.to_owned()] {
            out.push(Recording {
                name: format!("bootwatch:boot_stage_seconds:p95_{window}"),
                expr: format!(
                    "histogram_quantile(0.95, sum by ({STAGE}, le) (rate(bootwatch_boot_stage_duration_seconds_bucket{{{ENDED}}}[{window}])))"
                ),
            });
            out.push(Recording {
                name: format!("bootwatch:boot_stages:{window}"),
                expr: format!(
                    "round(sum by ({STAGE}) (increase(bootwatch_boot_stage_duration_seconds_count{{{ENDED}}}[{window}])))"
                ),
            });
        }
    }
    if let Some(headroom) = parameters.headroom {
        let window = duration(headroom.window);
        let ready = "vm_type=\"browser\",origin=\"user\",outcome=\"ready\"";
        out.push(Recording {
            name: format!("bootwatch:boot_ready_seconds:p95_{window}"),
            expr: format!(
                "histogram_quantile(0.95, sum by (instance, vm_type, le) (rate(bootwatch_boot_duration_seconds_bucket{{{ready}}}[{window}])))"
            ),
        });
        out.push(Recording {
            name: format!("bootwatch:boots_ready:{window}"),
            expr: format!(
                "round(sum by (instance, vm_type) (increase(bootwatch_boot_duration_seconds_count{{{ready}}}[{window}])))"
            ),
        });
    }
    out
}

fn slow(row: &Row, parameters: &Parameters) -> Vec<Alert> {
    let Some(slow) = parameters.stage_slow else {
        return Vec::new();
    };
    let window = duration(slow.window);
    let now = format!("bootwatch:boot_stage_seconds:p95_{window}");
    let usual = format!("bootwatch:boot_stage_seconds:p95_{BASELINE} offset {window}");
    let seen = outside_maintenance(
        &format!("bootwatch:boot_stages:{window} >= {}", slow.least),
        &window,
    );
    let condition = format!(
        "{now} > {} * ({usual})\nand {now} - ({usual}) > {LEAST_SECONDS}\nand ({seen})\n\
         and (bootwatch:boot_stages:{BASELINE} offset {window}) >= {BASELINE_LEAST}",
        slow.factor
    );
    // Too few to say that it is over.
    let expr = row.held(
        &condition,
        row.severity(),
        STAGE,
        &format!("on ({STAGE}) ({seen})"),
        parameters,
    );
    let labels = ["instance", "vm_type", "boot_stage"];
    let figures = format!(
        "95 % of {} took up to {} s",
        asked(&format!("bootwatch:boot_stages:{window}"), &labels, "%.0f"),
        asked(&now, &labels, "%.1f")
    );
    let words = Words {
        summary: format!(
            "{{{{ $labels.boot_stage }}}} of {{{{ $labels.vm_type }}}} boots on {{{{ $labels.instance }}}} has become slow: {figures}"
        ),
        description: format!(
            "{figures} in the last {window}, more than {} times the day before.",
            slow.factor
        ),
    };
    let mut alert = row.alert(parameters, expr, words);
    alert.hold = HOLD;
    alert.keep = parameters.keep_firing;
    vec![alert]
}

fn headroom(row: &Row, parameters: &Parameters) -> Vec<Alert> {
    let Some(headroom) = parameters.headroom else {
        return Vec::new();
    };
    let window = duration(headroom.window);
    let seen = outside_maintenance(
        &format!("bootwatch:boots_ready:{window} >= {}", headroom.least),
        &window,
    );
    let condition = format!(
        "bootwatch:boot_ready_seconds:p95_{window}\n  > on (instance) group_left () \
         {} * sum by (instance) (bootwatch_boot_ready_deadline_seconds)\nand ({seen})",
        headroom.factor
    );
    let expr = row.held(
        &condition,
        row.severity(),
        "instance, vm_type",
        &format!("on (instance, vm_type) ({seen})"),
        parameters,
    );
    let labels = ["instance", "vm_type"];
    let figures = format!(
        "95 % of {} ready boots took up to {} s",
        asked(&format!("bootwatch:boots_ready:{window}"), &labels, "%.0f"),
        asked(
            &format!("bootwatch:boot_ready_seconds:p95_{window}"),
            &labels,
            "%.0f"
        )
    );
    let words = Words {
        summary: format!(
            "{{{{ $labels.vm_type }}}} boots on {{{{ $labels.instance }}}} come near the controller's deadline: {figures}"
        ),
        description: format!(
            "{figures} in the last {window}: more than {} of the deadline (bootwatch_boot_ready_deadline_seconds), \
             beyond which the controller gives up VMs that would have become ready.",
            headroom.factor
        ),
    };
    let mut alert = row.alert(parameters, expr, words);
    alert.hold = HOLD;
    alert.keep = parameters.keep_firing;
    vec![alert]
}

//! The rules as a rule file: YAML that Prometheus reads and people can, too.

use std::fmt::Write;
use std::time::Duration;

use super::Judge;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Recording {
    pub(super) name: String,
    pub(super) expr: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Alert {
    pub(super) name: &'static str,
    pub(super) expr: String,
    /// How long the condition must hold.
    pub(super) hold: Duration,
    /// How long it goes on firing when it does no longer.
    pub(super) keep: Duration,
    pub(super) severity: &'static str,
    pub(super) judged_by: &'static str,
    pub(super) summary: String,
    pub(super) description: String,
    pub(super) runbook_url: String,
}

const HEAD: &str = "\
# Rules for a fleet of controllers that bootwatch watches. Written by `bootwatch rules export`; edit the configuration,
# not this file. alerts/README.md says what they need and how they differ from bootwatch's own judgement.
";

pub(super) fn write(recordings: &[Recording], groups: &[(Judge, Vec<Alert>)]) -> String {
    let mut out = HEAD.to_owned();
    out.push_str("groups:\n");
    for (judge, alerts) in groups {
        let (name, about) = match judge {
            Judge::Prometheus => (
                "bootwatch-twins",
                "Twins of bootwatch's own rules: Prometheus judges from the metrics alone.",
            ),
            Judge::Bootwatch => (
                "bootwatch-engine",
                "Engine-only: PromQL cannot say them, so what bootwatch says is passed on.",
            ),
            Judge::Fleet => (
                "bootwatch-itself",
                "About bootwatch itself, and a heartbeat that must never stop.",
            ),
        };
        line(
            &mut out,
            format_args!("# {about}\n- name: {name}\n  rules:"),
        );
        if *judge == Judge::Prometheus {
            for recording in recordings {
                line(&mut out, format_args!("  - record: {}", recording.name));
                block(&mut out, &recording.expr);
            }
        }
        for alert in alerts {
            write_alert(&mut out, alert);
        }
    }
    out
}

fn write_alert(out: &mut String, alert: &Alert) {
    line(out, format_args!("  - alert: {}", alert.name));
    block(out, &alert.expr);
    for (key, length) in [("for", alert.hold), ("keep_firing_for", alert.keep)] {
        if !length.is_zero() {
            line(out, format_args!("    {key}: {}", duration(length)));
        }
    }
    line(out, format_args!("    labels:"));
    line(out, format_args!("      severity: {}", alert.severity));
    line(out, format_args!("      judged_by: {}", alert.judged_by));
    if alert.expr.contains("instance") {
        // As bootwatch's own alerts call it, so that one inhibits the other.
        let host = "{{ reReplaceAll \":[0-9]+$\" \"\" $labels.instance }}";
        line(out, format_args!("      host: {}", quoted(host)));
    }
    line(out, format_args!("    annotations:"));
    for (key, value) in [
        ("summary", &alert.summary),
        ("description", &alert.description),
        ("runbook_url", &alert.runbook_url),
    ] {
        line(out, format_args!("      {key}: {}", quoted(value)));
    }
}

fn block(out: &mut String, expr: &str) {
    out.push_str("    expr: |\n");
    for text in expr.lines() {
        line(out, format_args!("      {text}"));
    }
}

/// JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// In the largest unit that says it in a whole number.
pub(super) fn duration(length: Duration) -> String {
    let ms = length.as_millis();
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let (unit, size) = units
        .into_iter()
        .find(|(_, size)| ms.is_multiple_of(*size))
        .unwrap_or(("ms", 1));
    format!("{}{unit}", ms / size)
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("a String takes whatever is written to it");
    out.push('\n');
}

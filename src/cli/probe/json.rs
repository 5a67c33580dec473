//! A look for programs: see `docs/probes.md` for every field.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use super::complaints;
use crate::cli::past::rfc3339;
use crate::core::probe::{
    Answerer, Check, Checked, Look, NeighbourState, Phase, ProbeResult, Skew, Verdict,
};

#[derive(Serialize)]
struct Shown {
    ip: String,
    at: String,
    resolve_seconds: Option<f64>,
    healthy: bool,
    complaints: Vec<String>,
    checks: Vec<ShownCheck>,
    neighbour: Option<ShownNeighbour>,
}

#[derive(Serialize)]
struct ShownCheck {
    check: Check,
    port: u16,
    verdict: Verdict,
    result: ProbeResult,
    failed_in: Option<Phase>,
    seconds: f64,
    phases: BTreeMap<Phase, f64>,
    status: Option<u16>,
    answerer: Option<Answerer>,
    clock_skew_seconds: Option<f64>,
    clock_skew_within_seconds: Option<f64>,
}

#[derive(Serialize)]
struct ShownNeighbour {
    state: NeighbourState,
    mac: Option<String>,
}

impl From<&Checked> for ShownCheck {
    fn from(checked: &Checked) -> ShownCheck {
        let seconds = |ms: i64| ms as f64 / 1_000.0;
        let skew = |part: fn(Skew) -> i64| checked.skew.map(|skew| seconds(part(skew)));
        ShownCheck {
            check: checked.check,
            port: checked.port,
            verdict: checked.result.verdict(),
            result: checked.result,
            failed_in: checked.failed_in,
            seconds: checked.total().as_secs_f64(),
            phases: checked
                .phases
                .iter()
                .map(|(phase, took)| (phase, took.as_secs_f64()))
                .collect(),
            status: checked.status,
            answerer: checked.answerer,
            clock_skew_seconds: skew(|skew| skew.ms),
            clock_skew_within_seconds: skew(|skew| skew.within_ms),
        }
    }
}

pub(super) fn look(look: &Look, out: &mut dyn Write) -> anyhow::Result<()> {
    let shown = Shown {
        ip: look.ip.to_string(),
        at: rfc3339(look.at),
        resolve_seconds: look.resolved_in.map(|took| took.as_secs_f64()),
        healthy: look.is_healthy(),
        complaints: complaints(look),
        checks: look.checks.iter().map(ShownCheck::from).collect(),
        neighbour: look.neighbour.map(|neighbour| ShownNeighbour {
            state: neighbour.state,
            mac: neighbour.mac.map(|mac| mac.to_string()),
        }),
    };
    serde_json::to_writer_pretty(&mut *out, &shown)?;
    writeln!(out)?;
    Ok(())
}

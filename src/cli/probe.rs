//! `bootwatch probe`: one look at one VM, each phase timed.

mod json;
mod text;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;

use super::Status;
use crate::config::{self, Surroundings};
use crate::core::probe::{Answerer, Check, Look, Network, Networks, Skew, Verdict};
use crate::probe::{Prober, Settings};

/// Looks at one VM: its agent's port and health, noVNC, VNC, and a port that must be closed
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The VM's address, or a name that has one; contacted only if it lies in the VM networks
    #[arg(value_name = "VM_IP")]
    target: String,
    /// The configuration, whose section [probe] says where VMs are and which ports they use; unless it or a network is
    /// told, /etc/bootwatch/bootwatch.toml, if it is there
    #[arg(long, value_name = "FILE", conflicts_with = "network")]
    config: Option<PathBuf>,
    /// A network in which VMs are, instead of 192.168.100.0/24; may be given again
    #[arg(long, value_name = "NETWORK")]
    network: Vec<Network>,
    /// The port of the agent
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    agent_port: Option<u16>,
    /// How long one check may take
    #[arg(long, value_name = "TIME", value_parser = time_limit)]
    timeout: Option<Duration>,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// The configuration of a sidecar on this machine.
const USUAL: &str = "/etc/bootwatch/bootwatch.toml";

/// Of what a browser VM is asked, in the order in which it is shown.
const CHECKS: &[Check] = Check::ALL;

fn time_limit(text: &str) -> Result<Duration, String> {
    let most = Duration::from_secs(60);
    match config::parse_duration(text)? {
        limit if limit >= Duration::from_millis(10) && limit <= most => Ok(limit),
        _ => Err("write one from 10ms to 60s".to_owned()),
    }
}

/// Writes what was seen to `out`: status 0 if the VM is fine, 1 if something is wrong with it, 2 if it was not contacted.
pub(super) fn run(
    arguments: &Arguments,
    surroundings: &Surroundings,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let Some(settings) = settings(arguments, Path::new(USUAL), surroundings, err)? else {
        return Ok(Status::Misused);
    };
    let prober = Prober::new(settings);
    let runtime = super::runtime()?;
    let look = runtime.block_on(async {
        let (vm, resolved_in) = prober.resolve(&arguments.target).await?;
        let look = prober.look(vm, CHECKS).await;
        Ok(Look {
            resolved_in,
            ..look
        })
    });
    // A resolver that hangs is not waited for.
    runtime.shutdown_background();
    let look = match look {
        Ok(look) => look,
        Err(error) => {
            refuse(&error, &prober, err)?;
            return Ok(Status::Misused);
        }
    };
    match arguments.format {
        Format::Text => text::look(&look, out)?,
        Format::Json => json::look(&look, out)?,
    }
    Ok(match complaints(&look).is_empty() {
        true => Status::Fine,
        false => Status::Wrong,
    })
}

fn settings(
    arguments: &Arguments,
    usual: &Path,
    surroundings: &Surroundings,
    err: &mut dyn Write,
) -> anyhow::Result<Option<Settings>> {
    // A machine without a sidecar probes as well. What is there and may not be looked at is not passed over in silence.
    let usual = || {
        let wanted = arguments.network.is_empty() && !matches!(usual.try_exists(), Ok(false));
        wanted.then_some(usual)
    };
    let mut settings = match arguments.config.as_deref().or_else(usual) {
        Some(path) => match super::load(path, surroundings, err)? {
            Some(config) => Settings::from(&config.probe),
            None => return Ok(None),
        },
        None => Settings::new(Networks::new(arguments.network.clone()).unwrap_or_default()),
    };
    settings.agent_port = arguments.agent_port.unwrap_or(settings.agent_port);
    if let Some(limit) = arguments.timeout {
        settings.timeout = limit;
        settings.connect_timeout = settings.connect_timeout.min(limit);
    }
    Ok(Some(settings))
}

fn refuse(
    error: &crate::probe::NotAdmitted,
    prober: &Prober,
    err: &mut dyn Write,
) -> anyhow::Result<()> {
    match std::error::Error::source(error) {
        Some(cause) => writeln!(err, "not contacted: {error} ({cause})")?,
        None => writeln!(err, "not contacted: {error}")?,
    }
    writeln!(
        err,
        "VMs are looked for in {} only; name another network with --network or in the configuration's [probe]",
        prober.settings().networks
    )?;
    Ok(())
}

/// What is wrong, a sentence each; nothing if the VM is fine.
fn complaints(look: &Look) -> Vec<String> {
    let mut complaints = Vec::new();
    if !look.is_credible() {
        complaints.push(
            "a port that must be closed is open: something answers for everyone, and nothing here can be believed"
                .to_owned(),
        );
    }
    for checked in &look.checks {
        let (check, result) = (checked.check, checked.result);
        match result.verdict() {
            Verdict::Failed => complaints.push(format!("{check} failed: {result}")),
            Verdict::Errored if check != Check::Negative => {
                complaints.push(format!("{check} could not be tried: {result}"));
            }
            _ => {}
        }
    }
    if let Some(health) = look.of(Check::Health) {
        match health.answerer {
            None | Some(Answerer::Agent) => {}
            Some(Answerer::Placeholder) => {
                complaints.push("/health is answered by an old or placeholder agent".to_owned())
            }
            Some(Answerer::Stub | Answerer::Unknown) => {
                complaints.push("/health is answered by something that is no agent".to_owned());
            }
        }
        if let Some(skew) = health.skew.filter(|skew| skew.is_off()) {
            complaints.push(format!("the guest's clock is off by {}", offset(skew)));
        }
    }
    complaints
}

/// `+12 ms (±1 ms)`, `-7.5 s (±1 ms)`.
fn offset(skew: Skew) -> String {
    let sign = if skew.ms < 0 { '-' } else { '+' };
    let ms = skew.ms.unsigned_abs();
    let off = match ms {
        0..=9_999 => format!("{ms} ms"),
        _ => format!("{} s", ms / 1_000),
    };
    format!("{sign}{off} (±{} ms)", skew.within_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::Timestamp;
    use crate::core::probe::{Checked, ProbeResult};

    fn look(results: &[(Check, ProbeResult)]) -> Look {
        Look {
            ip: std::net::Ipv4Addr::new(192, 168, 100, 7),
            at: Timestamp(1_760_752_327_000),
            resolved_in: None,
            checks: results
                .iter()
                .map(|(check, result)| Checked::without_contact(*check, 1, *result))
                .collect(),
            neighbour: None,
        }
    }

    #[test]
    fn the_configuration_that_is_there_is_taken_unless_something_else_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("bootwatch.toml");
        let text = "[host]\nname = \"here\"\n[log]\nfile = \"/nowhere/x.log\"\n[probe]\nnetworks = [\"10.9.0.0/24\"]\n";
        std::fs::write(&there, text).unwrap();
        let surroundings = Surroundings {
            environment: Vec::new(),
            host_name: None,
        };
        let networks = |usual: &str, network: &[&str]| {
            let network = network.iter().map(|text| text.parse().unwrap());
            let arguments = Arguments {
                target: "10.9.0.2".to_owned(),
                config: None,
                network: network.collect(),
                agent_port: None,
                timeout: None,
                format: Format::Text,
            };
            let usual = folder.path().join(usual);
            let settings = settings(&arguments, &usual, &surroundings, &mut Vec::new());
            settings.unwrap().unwrap().networks.to_string()
        };
        assert_eq!(networks("bootwatch.toml", &[]), "10.9.0.0/24");
        assert_eq!(networks("bootwatch.toml", &["10.8.0.0/24"]), "10.8.0.0/24");
        assert_eq!(networks("none.toml", &[]), "192.168.100.0/24");
    }

    #[test]
    fn each_thing_that_is_wrong_is_said_once() {
        let fine = look(&[
            (Check::Connect, ProbeResult::Ok),
            (Check::Negative, ProbeResult::Ok),
        ]);
        assert!(complaints(&fine).is_empty());
        let refused = look(&[(Check::Health, ProbeResult::Refused)]);
        assert_eq!(complaints(&refused), ["health failed: ECONNREFUSED"]);
        let ours = look(&[(Check::Health, ProbeResult::Error)]);
        assert_eq!(complaints(&ours), ["health could not be tried: error"]);
        let open = look(&[(Check::Negative, ProbeResult::Open)]);
        assert_eq!(complaints(&open).len(), 1);
        let mut placeholder = look(&[(Check::Health, ProbeResult::Ok)]);
        placeholder.checks[0].answerer = Some(Answerer::Placeholder);
        placeholder.checks[0].skew = Some(Skew {
            ms: -7_000,
            within_ms: 3,
        });
        assert_eq!(
            complaints(&placeholder),
            [
                "/health is answered by an old or placeholder agent",
                "the guest's clock is off by -7000 ms (±3 ms)"
            ]
        );
    }
}

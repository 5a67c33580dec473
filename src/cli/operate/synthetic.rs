//! `bootwatch synthetic`: a boot of bootwatch's own, now, and how the latest went.

use std::io::Write;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::list::{self, Format, Printed};
use super::reach::{Call, Reach, Sidecar};
use crate::cli::{Status, runtime};
use crate::clock::Stopwatch;
use crate::config::Surroundings;

const PATH: &str = "/api/v1/synthetic";
/// A boot that is neither ready nor given up by then is told as it stands.
const PATIENCE: Duration = Duration::from_secs(600);
const AGAIN: Duration = Duration::from_millis(500);
/// A person who waits is told so.
const TELLS: Duration = Duration::from_secs(15);

/// Makes a synthetic boot now, through the sidecar that runs, or shows the latest
#[derive(Clone, Debug, clap::Args)]
pub struct Synthetic {
    #[command(subcommand)]
    act: Act,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Act {
    /// Makes one, behind the same guards, and waits for its verdict: 0 passed, 1 anything else
    Run {
        #[command(flatten)]
        printed: Printed,
        #[command(flatten)]
        reach: Reach,
    },
    /// Shows the latest, what runs now, and what would forbid the next
    List {
        #[command(flatten)]
        printed: Printed,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(in crate::cli) fn synthetic(
    arguments: &Synthetic,
    surroundings: &Surroundings,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let (printed, reach) = match &arguments.act {
        Act::List { printed, reach } => {
            return reach.list(PATH, *printed, list::synthetic, surroundings, out, err);
        }
        Act::Run { printed, reach } => (*printed, reach),
    };
    let Some(sidecar) = reach.prepare(true, surroundings, err)? else {
        return Ok(Status::Misused);
    };
    runtime()?.block_on(async {
        let before = newest(&sidecar).await?;
        let wish = Call::change(Method::POST, format!("{PATH}/runs"), json!({}));
        let (status, answer) = sidecar.speak(wish).await?;
        if !(200..300).contains(&status) {
            return sidecar.show(status, &answer, out, err);
        }
        let watch = Stopwatch::start();
        let mut told = Duration::ZERO;
        writeln!(err, "a synthetic boot begins; this waits for its verdict")?;
        loop {
            tokio::time::sleep(AGAIN).await;
            let run = newest(&sidecar).await?;
            let is_new = run["started_at"] != before["started_at"];
            let waited = watch.elapsed();
            if (is_new && !run["result"].is_null()) || waited > PATIENCE {
                if !is_new {
                    writeln!(err, "no boot began within {} s", PATIENCE.as_secs())?;
                    return Ok(Status::Wrong);
                }
                match printed.format {
                    Format::Json => drop(sidecar.show(200, &run, out, err)?),
                    Format::Text => list::run(&run, out)?,
                }
                return Ok(match run["result"].as_str() {
                    Some("passed") => Status::Fine,
                    _ => Status::Wrong,
                });
            }
            if waited >= told + TELLS {
                told = waited;
                writeln!(err, "no verdict after {} s", waited.as_secs())?;
            }
        }
    })
}

/// The run that is under way, else the last one.
async fn newest(sidecar: &Sidecar) -> anyhow::Result<Value> {
    let (_, view) = sidecar.speak(Call::list(PATH)).await?;
    Ok(match view["running"].is_null() {
        true => view["runs"][0].clone(),
        false => view["running"].clone(),
    })
}

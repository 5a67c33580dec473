//! `bootwatch image audit`: is everything in a golden image that a browser VM needs, and what changed between two?

mod json;
mod text;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::Status;
use crate::core::image::{Finding, GoldenImage, Injection, Verdict, overall};
use crate::image::{self, Diff, Places};

/// Looks into golden images, without mounting them
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Checks an image; exits 0 if nothing in it keeps a browser VM from becoming healthy, else 1
    Audit(Audit),
}

#[derive(Clone, Debug, clap::Args)]
struct Audit {
    /// The image, an ext4 file; with --diff the old one and the new one
    #[arg(required = true, num_args = 1..=2, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Say what changed from the first image to the second, and judge the second
    #[arg(long)]
    diff: bool,
    /// The controller puts an agent into each copy at clone time: what it puts anew does not decide. Without a value the
    /// agent's files alone
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "files"
    )]
    injected: Option<Injected>,
    /// The agent's source on this host, to compare with
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "/opt/master-controller/vm-browser-agent"
    )]
    agent_source: PathBuf,
    /// The guests' kernel, to tell whether the image must bring its network driver
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The controller's file of settings, whose GOLDEN_BROWSER_ROOTFS names what browser VMs are cloned from
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What a controller puts anew into each copy.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Injected {
    /// server.js and package.json: unit, link and program are the image's, and decide
    Files,
    /// The unit, its link and a Node.js, too
    All,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// An image with its findings, under what is known of injection.
struct Judged {
    image: GoldenImage,
    findings: Vec<Finding>,
}

impl Judged {
    fn verdict(&self) -> Verdict {
        overall(&self.findings)
    }
}

pub(super) fn run(
    arguments: &Arguments,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let Command::Audit(audit) = &arguments.command;
    match (audit.diff, audit.files.as_slice()) {
        (false, [file]) => one(audit, file, out, err),
        (true, [old, new]) => two(audit, [old, new], out, err),
        (false, _) => {
            writeln!(
                err,
                "one image is audited at a time; write --diff OLD NEW to compare two"
            )?;
            Ok(Status::Misused)
        }
        (true, _) => {
            writeln!(err, "--diff compares two images; write --diff OLD NEW")?;
            Ok(Status::Misused)
        }
    }
}

fn judged(audit: &Audit, file: &Path, err: &mut dyn Write) -> anyhow::Result<Option<Judged>> {
    let places = Places {
        image: file.to_owned(),
        settings: audit.settings.clone(),
        source: Some(audit.agent_source.clone()),
        kernel: audit.kernel.clone(),
    };
    let injection = match audit.injected {
        Some(Injected::All) => Injection::Present,
        Some(Injected::Files) => Injection::Files,
        None => Injection::Unknown,
    };
    match image::audit(&places) {
        Ok(image) => Ok(Some(Judged {
            findings: image.given(injection),
            image,
        })),
        Err(error) => {
            complain(&error, err)?;
            Ok(None)
        }
    }
}

fn complain(error: &image::ImageError, err: &mut dyn Write) -> anyhow::Result<()> {
    match std::error::Error::source(error) {
        Some(cause) => writeln!(err, "{error} ({cause})")?,
        None => writeln!(err, "{error}")?,
    }
    Ok(())
}

fn status(verdict: Verdict) -> Status {
    match verdict {
        Verdict::Pass | Verdict::Warn => Status::Fine,
        Verdict::Unknown | Verdict::Fail => Status::Wrong,
    }
}

fn one(
    audit: &Audit,
    file: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let Some(judged) = judged(audit, file, err)? else {
        return Ok(Status::Misused);
    };
    match audit.format {
        Format::Text => text::audit(&judged, out)?,
        Format::Json => json::audit(&judged, out)?,
    }
    Ok(status(judged.verdict()))
}

fn two(
    audit: &Audit,
    [old, new]: [&Path; 2],
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let (Some(before), Some(after)) = (judged(audit, old, err)?, judged(audit, new, err)?) else {
        return Ok(Status::Misused);
    };
    let diff: Diff = match image::diff(old, new) {
        Ok(diff) => diff,
        Err(error) => {
            complain(&error, err)?;
            return Ok(Status::Misused);
        }
    };
    match audit.format {
        Format::Text => text::diff(&before, &after, &diff, out)?,
        Format::Json => json::diff(&before, &after, &diff, out)?,
    }
    Ok(match diff.unread.is_empty() {
        true => status(after.verdict()),
        false => Status::Wrong,
    })
}

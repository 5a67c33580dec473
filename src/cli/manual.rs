//! `bootwatch completions` and `bootwatch man`: what a package installs beside the program, made from the commands
//! themselves.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Status};

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Args)]
pub struct Man {
    /// Write a page for each command into this folder, instead of the first one to standard output
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

pub(super) fn completions(arguments: &Completions, out: &mut dyn Write) -> anyhow::Result<Status> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "bootwatch", &mut text);
    out.write_all(&text)?;
    Ok(Status::Fine)
}

pub(super) fn man(arguments: &Man, out: &mut dyn Write) -> anyhow::Result<Status> {
    let command = Cli::command().disable_help_subcommand(true);
    match &arguments.folder {
        // Every command that is shown, with its full name.
        Some(folder) => clap_mangen::generate_to(command, folder)
            .with_context(|| format!("write into {}", folder.display()))?,
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command)
                .render(&mut page)
                .context("write the page")?;
            out.write_all(&page)?;
        }
    }
    Ok(Status::Fine)
}

//! `bootwatch db`: what a database administrator needs.

use std::io::Write;

use clap::{Args, Subcommand};

use super::Status;
use crate::controller::tables::grants::{Grants, is_plain_name, script};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints SQL that gives bootwatch a role which can read two views and do nothing else
    Grants(GrantsArguments),
}

#[derive(Debug, Args)]
struct GrantsArguments {
    /// The schema that holds the controller's tables
    #[arg(long, default_value = "public", value_parser = plain_name)]
    schema: String,
    /// The role that bootwatch logs in as; it is made if it does not exist
    #[arg(long, default_value = "bootwatch", value_parser = plain_name)]
    role: String,
    /// The schema that is made for the views; `database.schema` in the configuration
    #[arg(long, default_value = "bootwatch", value_parser = plain_name)]
    views: String,
}

fn plain_name(name: &str) -> Result<String, String> {
    match is_plain_name(name) {
        true => Ok(name.to_owned()),
        false => Err("write letters, digits, - and _, at most 63 of them".to_owned()),
    }
}

pub(super) fn run(
    arguments: Arguments,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let Command::Grants(asked) = arguments.command;
    if asked.schema == asked.views {
        writeln!(
            err,
            "--views {}: the tables are there; name a schema of its own",
            asked.views
        )?;
        return Ok(Status::Misused);
    }
    let grants = Grants {
        schema: asked.schema,
        role: asked.role,
        views: asked.views,
    };
    write!(out, "{}", script(&grants))?;
    Ok(Status::Fine)
}

//! `bootwatch db`: what a database administrator needs.

use std::io::Write;

use clap::{Args, Subcommand};

use super::Status;
use crate::controller::tables::grants::{Grants, is_plain_name, script};
use crate::store::fleet_grants;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints SQL that gives bootwatch a role which can read two views and do nothing else, or with --fleet one that
    /// can fill the fleet's tables
    Grants(GrantsArguments),
}

#[derive(Debug, Args)]
struct GrantsArguments {
    /// The schema that holds the controller's tables
    #[arg(long, default_value = "public", value_parser = plain_name)]
    schema: String,
    /// The role that bootwatch logs in as, bootwatch or with --fleet bootwatch_fleet unless told; it is made if it does
    /// not exist
    #[arg(long, value_parser = plain_name)]
    role: Option<String>,
    /// The schema that is made for the views; `database.schema` in the configuration
    #[arg(long, default_value = "bootwatch", value_parser = plain_name)]
    views: String,
    /// For the database of `store.fleet` instead of the controller's: its tables, a role, and what that may do
    #[arg(long, conflicts_with_all = ["schema", "views"])]
    fleet: bool,
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
    let role = |usual: &str| asked.role.clone().unwrap_or_else(|| usual.to_owned());
    if asked.fleet {
        // Not the role that watches: it cannot write.
        write!(out, "{}", fleet_grants(&role("bootwatch_fleet")))?;
        return Ok(Status::Fine);
    }
    if asked.schema == asked.views {
        writeln!(
            err,
            "--views {}: the tables are there; name a schema of its own",
            asked.views
        )?;
        return Ok(Status::Misused);
    }
    let grants = Grants {
        role: role("bootwatch"),
        schema: asked.schema,
        views: asked.views,
    };
    write!(out, "{}", script(&grants))?;
    Ok(Status::Fine)
}

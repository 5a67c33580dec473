//! `bootwatch silence`, `ack`, `maintenance`, `fix`: what operators do, through the API of the sidecar that runs.

mod author;
mod list;
mod reach;
mod synthetic;

use std::io::Write;

use reqwest::Method;
use serde_json::json;

use super::Status;
use crate::config::Surroundings;

use author::{By, Known};
use list::Printed;
pub(super) use reach::here;
use reach::{Call, Reach};
pub use synthetic::Synthetic;
pub(super) use synthetic::synthetic;

const SILENCES: &str = "/api/v1/silences";
const INCIDENTS: &str = "/api/v1/incidents";
const MAINTENANCE: &str = "/api/v1/maintenance";

/// Keeps alerts quiet for a while: they change, are counted and shown, and page nobody until it ends
#[derive(Clone, Debug, clap::Args)]
pub struct Silence {
    #[command(subcommand)]
    act: SilenceAct,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum SilenceAct {
    /// Begins a silence; all matchers must match
    Add {
        /// LABEL=VALUE, LABEL!=VALUE, LABEL=~PATTERN, LABEL!~PATTERN; labels: rule, severity, vm_type, host, cause
        #[arg(required = true, value_name = "MATCHER")]
        matchers: Vec<String>,
        /// How long, from 1m to 30d
        #[arg(long = "for", value_name = "DURATION")]
        lasts: String,
        /// Why
        #[arg(long)]
        reason: String,
        /// When it begins, as 2025-10-18T18:00:00Z; else now
        #[arg(long, value_name = "TIME")]
        starts_at: Option<String>,
        #[command(flatten)]
        by: By,
        #[command(flatten)]
        reach: Reach,
    },
    /// Lists silences, and those that ended within a week
    List {
        #[command(flatten)]
        printed: Printed,
        #[command(flatten)]
        reach: Reach,
    },
    /// Ends a silence now
    Expire {
        id: u64,
        #[command(flatten)]
        by: By,
        #[command(flatten)]
        reach: Reach,
    },
}

/// Acknowledges an incident: it is told no more until it ends
#[derive(Clone, Debug, clap::Args)]
pub struct Ack {
    /// Its key, or the beginning of it; without one, the open incidents are listed
    incident: Option<String>,
    /// A word to those who read along
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    printed: Printed,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    reach: Reach,
}

/// Starts and ends maintenance: boots that touch it count neither for nor against
#[derive(Clone, Debug, clap::Args)]
pub struct Maintenance {
    #[command(subcommand)]
    act: MaintenanceAct,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum MaintenanceAct {
    /// Starts one now
    Start {
        /// How long, from 1m to 7d
        #[arg(long = "for", value_name = "DURATION")]
        lasts: String,
        /// Why
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        by: By,
        #[command(flatten)]
        reach: Reach,
    },
    /// Lists maintenance, and the configured windows
    List {
        #[command(flatten)]
        printed: Printed,
        #[command(flatten)]
        reach: Reach,
    },
    /// Ends one now
    End {
        id: u64,
        #[command(flatten)]
        by: By,
        #[command(flatten)]
        reach: Reach,
    },
}

/// Says what was fixed, so that the boots from here on prove it or do not
#[derive(Clone, Debug, clap::Args)]
pub struct Fix {
    #[command(subcommand)]
    act: FixAct,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum FixAct {
    /// Marks a fix made just now; open incidents are closed as confirmed once enough boots after it are well
    Mark {
        /// What was fixed, in one line
        note: String,
        #[command(flatten)]
        by: By,
        #[command(flatten)]
        reach: Reach,
    },
}

pub(super) fn silence(
    arguments: &Silence,
    surroundings: &Surroundings,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let (reach, call) = match &arguments.act {
        SilenceAct::Add {
            matchers,
            lasts,
            reason,
            starts_at,
            by,
            reach,
        } => {
            let Some(author) = by.name(surroundings) else {
                return reach.nameless(&Known::Matchers(matchers), surroundings, err);
            };
            let mut body = json!({
                "matchers": matchers,
                "author": author,
                "reason": reason,
                "expires_in": lasts,
            });
            if let Some(at) = starts_at {
                body["starts_at"] = json!(at);
            }
            (reach, Call::change(Method::POST, SILENCES, body))
        }
        SilenceAct::List { printed, reach } => {
            let tell = list::silences;
            return reach.list(SILENCES, *printed, tell, surroundings, out, err);
        }
        SilenceAct::Expire { id, by, reach } => {
            let Some(author) = by.name(surroundings) else {
                let known = Known::Id(SILENCES, "silences", *id);
                return reach.nameless(&known, surroundings, err);
            };
            let body = json!({ "author": author });
            let path = format!("{SILENCES}/{id}");
            (reach, Call::change(Method::DELETE, path, body))
        }
    };
    reach.make(call, surroundings, out, err)
}

pub(super) fn ack(
    arguments: &Ack,
    surroundings: &Surroundings,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let call = match &arguments.incident {
        None => {
            let (reach, tell) = (&arguments.reach, list::incidents);
            return reach.list(INCIDENTS, arguments.printed, tell, surroundings, out, err);
        }
        Some(incident) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
            if incident.is_empty() || !incident.chars().all(plain) {
                writeln!(
                    err,
                    "{incident:?} is no incident's key; `bootwatch ack` lists them"
                )?;
                return Ok(Status::Misused);
            }
            let Some(author) = arguments.by.name(surroundings) else {
                let known = Known::Incident(incident);
                return arguments.reach.nameless(&known, surroundings, err);
            };
            let body = json!({ "author": author, "note": arguments.note });
            let path = format!("{INCIDENTS}/{incident}/ack");
            Call::change(Method::POST, path, body)
        }
    };
    arguments.reach.make(call, surroundings, out, err)
}

pub(super) fn maintenance(
    arguments: &Maintenance,
    surroundings: &Surroundings,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let (reach, call) = match &arguments.act {
        MaintenanceAct::Start {
            lasts,
            reason,
            by,
            reach,
        } => {
            let Some(author) = by.name(surroundings) else {
                return reach.nameless(&Known::Nothing, surroundings, err);
            };
            let body = json!({ "author": author, "reason": reason, "for": lasts });
            let call = Call::change(Method::POST, MAINTENANCE, body);
            (reach, call)
        }
        MaintenanceAct::List { printed, reach } => {
            let tell = list::maintenance;
            return reach.list(MAINTENANCE, *printed, tell, surroundings, out, err);
        }
        MaintenanceAct::End { id, by, reach } => {
            let Some(author) = by.name(surroundings) else {
                let known = Known::Id(MAINTENANCE, "maintenance", *id);
                return reach.nameless(&known, surroundings, err);
            };
            let body = json!({ "author": author });
            let path = format!("{MAINTENANCE}/{id}");
            (reach, Call::change(Method::DELETE, path, body))
        }
    };
    reach.make(call, surroundings, out, err)
}

pub(super) fn fix(
    arguments: &Fix,
    surroundings: &Surroundings,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    let FixAct::Mark { note, by, reach } = &arguments.act;
    let Some(author) = by.name(surroundings) else {
        return reach.nameless(&Known::Nothing, surroundings, err);
    };
    let body = json!({ "author": author, "note": note });
    let call = Call::change(Method::POST, "/api/v1/fixes", body);
    reach.make(call, surroundings, out, err)
}

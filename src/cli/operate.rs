//! `bootwatch silence`, `ack`, `maintenance`, `fix`: what operators do, through the API of the sidecar that runs.

mod list;
mod synthetic;

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};

use super::Status;
use crate::clock;
use crate::config::{Config, Surroundings};
use crate::core::desk::{self, Command, Desk, Matcher, SHORTEST_MS};
use crate::{notify, web};

use list::{Format, Printed, Tell};
pub use synthetic::Synthetic;
pub(super) use synthetic::synthetic;

const SILENCES: &str = "/api/v1/silences";
const INCIDENTS: &str = "/api/v1/incidents";
const MAINTENANCE: &str = "/api/v1/maintenance";
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the sidecar is, and the token that it wants; what is not given comes from the configuration
#[derive(Clone, Debug, clap::Args)]
struct Reach {
    /// The sidecar's URL; else `web.listen` of the configuration
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Certificates in PEM that vouch for the sidecar's own, instead of this machine's authorities
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The file that holds the token; else `web.token_file` of the configuration
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/bootwatch/bootwatch.toml"
    )]
    config: PathBuf,
}

#[derive(Clone, Debug, clap::Args)]
struct By {
    /// Who you are; else the name by which you are logged in
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
}

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

/// What is asked of the API.
struct Call {
    method: Method,
    path: String,
    body: Option<Value>,
}

impl Call {
    fn list(path: &str) -> Call {
        Call {
            method: Method::GET,
            path: path.to_owned(),
            body: None,
        }
    }

    fn change(method: Method, path: impl Into<String>, body: Value) -> Call {
        Call {
            method,
            path: path.into(),
            body: Some(body),
        }
    }
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
            if !by.is_known(surroundings) {
                return reach.nameless(&Known::Matchers(matchers), surroundings, err);
            }
            let mut body = json!({
                "matchers": matchers,
                "author": by.name(surroundings),
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
            let body = json!({ "author": by.name(surroundings) });
            if !by.is_known(surroundings) {
                let known = Known::Id(SILENCES, "silences", *id);
                return reach.nameless(&known, surroundings, err);
            }
            let path = format!("/api/v1/silences/{id}");
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
            if !arguments.by.is_known(surroundings) {
                let known = Known::Incident(incident);
                return arguments.reach.nameless(&known, surroundings, err);
            }
            let author = arguments.by.name(surroundings);
            let body = json!({ "author": author, "note": arguments.note });
            let path = format!("/api/v1/incidents/{incident}/ack");
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
            if !by.is_known(surroundings) {
                return reach.nameless(&Known::Nothing, surroundings, err);
            }
            let author = by.name(surroundings);
            let body = json!({ "author": author, "reason": reason, "for": lasts });
            let call = Call::change(Method::POST, MAINTENANCE, body);
            (reach, call)
        }
        MaintenanceAct::List { printed, reach } => {
            let tell = list::maintenance;
            return reach.list(MAINTENANCE, *printed, tell, surroundings, out, err);
        }
        MaintenanceAct::End { id, by, reach } => {
            if !by.is_known(surroundings) {
                let known = Known::Id(MAINTENANCE, "maintenance", *id);
                return reach.nameless(&known, surroundings, err);
            }
            let body = json!({ "author": by.name(surroundings) });
            let path = format!("/api/v1/maintenance/{id}");
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
    if !by.is_known(surroundings) {
        return reach.nameless(&Known::Nothing, surroundings, err);
    }
    let body = json!({ "author": by.name(surroundings), "note": note });
    let call = Call::change(Method::POST, "/api/v1/fixes", body);
    reach.make(call, surroundings, out, err)
}

/// What a command without an author names: it is judged all the same, since who is told one mistake at a time asks thrice.
enum Known<'a> {
    Nothing,
    Matchers(&'a [String]),
    /// The list that it must be in, what that calls its rows, and the row's number.
    Id(&'static str, &'static str, u64),
    /// An incident by the beginning of its key.
    Incident(&'a str),
}

/// What the sidecar would say of these matchers.
fn misspelt(matchers: &[String]) -> Option<String> {
    let parsed: Result<Vec<Matcher>, _> = matchers.iter().map(|text| text.parse()).collect();
    let command = match parsed {
        Err(error) => return Some(format!("matchers: {error}")),
        Ok(matchers) => Command::AddSilence {
            matchers,
            author: "nobody".to_owned(),
            reason: "none".to_owned(),
            starts_at: None,
            lasts_ms: SHORTEST_MS,
        },
    };
    let mut desk = Desk::new(desk::Settings::default());
    let refused = desk.command(command, clock::now(), &mut Vec::new()).err();
    refused.map(|refused| refused.to_string())
}

impl By {
    fn is_known(&self, surroundings: &Surroundings) -> bool {
        !self.name(surroundings).trim().is_empty()
    }

    fn name(&self, surroundings: &Surroundings) -> String {
        let variable = |wanted: &str| {
            let mut all = surroundings.environment.iter();
            let found = all.find(|(name, value)| name == wanted && !value.is_empty());
            found.map(|(_, value)| value.clone())
        };
        self.author
            .clone()
            .or_else(|| variable("SUDO_USER"))
            .or_else(|| variable("USER"))
            .unwrap_or_default()
    }
}

impl Reach {
    /// Shows a list, in words or as it came.
    fn list(
        &self,
        path: &str,
        printed: Printed,
        tell: Tell,
        surroundings: &Surroundings,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> anyhow::Result<Status> {
        let Some((sidecar, status, answer)) = self.ask(path, surroundings, err)? else {
            return Ok(Status::Misused);
        };
        if status != 200 || matches!(printed.format, Format::Json) {
            return sidecar.show(status, &answer, out, err);
        }
        tell(&answer, out)?;
        Ok(Status::Fine)
    }

    /// Refuses what has no author, and says what else is wrong with it.
    fn nameless(
        &self,
        known: &Known<'_>,
        surroundings: &Surroundings,
        err: &mut dyn Write,
    ) -> anyhow::Result<Status> {
        let list = match known {
            Known::Id(path, _, _) => Some(*path),
            Known::Incident(_) => Some(INCIDENTS),
            Known::Nothing | Known::Matchers(_) => None,
        };
        let answer = match list {
            None => Value::Null,
            Some(path) => match self.ask(path, surroundings, err)? {
                None => return Ok(Status::Misused),
                Some((_, 200, answer)) => answer,
                Some(_) => Value::Null,
            },
        };
        let holds = |rows: &str, fits: &dyn Fn(&str) -> bool| {
            // What could not be asked is not called wrong.
            let rows = answer[rows].as_array();
            rows.is_none_or(|rows| rows.iter().any(|row| row["id"].as_str().is_some_and(fits)))
        };
        let wrong = match known {
            Known::Nothing => None,
            Known::Matchers(matchers) => misspelt(matchers),
            Known::Id(_, rows, id) => {
                let id = id.to_string();
                (!holds(rows, &|row| row == id)).then(|| format!("there is no {id}"))
            }
            Known::Incident(key) => (!holds("incidents", &|row| row.starts_with(key)))
                .then(|| format!("no open incident begins with {key}")),
        };
        if let Some(wrong) = wrong {
            writeln!(err, "{}", plain(&wrong))?;
        }
        writeln!(
            err,
            "author: say who you are, with --author NAME: neither SUDO_USER nor USER is set"
        )?;
        Ok(Status::Misused)
    }

    /// Asks for a list; `None`: something is wrong, and was told.
    fn ask(
        &self,
        path: &str,
        surroundings: &Surroundings,
        err: &mut dyn Write,
    ) -> anyhow::Result<Option<(Sidecar, u16, Value)>> {
        let Some(sidecar) = self.prepare(false, surroundings, err)? else {
            return Ok(None);
        };
        let runtime = runtime()?;
        let (status, answer) = runtime.block_on(sidecar.speak(Call::list(path)))?;
        Ok(Some((sidecar, status, answer)))
    }

    /// Calls the API and shows the answer: 0 done, 1 refused, 2 wrong use.
    fn make(
        &self,
        call: Call,
        surroundings: &Surroundings,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> anyhow::Result<Status> {
        let changes = call.body.is_some();
        let Some(sidecar) = self.prepare(changes, surroundings, err)? else {
            return Ok(Status::Misused);
        };
        let runtime = runtime()?;
        let begins_silence = call.method == Method::POST && call.path == SILENCES;
        let (status, answer, list) = runtime.block_on(async {
            let (status, answer) = sidecar.speak(call).await?;
            let list = match begins_silence && answer["id"].is_string() {
                true => sidecar.speak(Call::list(SILENCES)).await.ok(),
                false => None,
            };
            anyhow::Ok((status, answer, list))
        })?;
        let ended = sidecar.show(status, &answer, out, err)?;
        if let Some((200, list)) = list {
            tell_silence(&answer["id"], &list, err)?;
        }
        Ok(ended)
    }

    /// Where the sidecar is, and the token that it is shown; `None`: something is wrong, and was told.
    fn prepare(
        &self,
        changes: bool,
        surroundings: &Surroundings,
        err: &mut dyn Write,
    ) -> anyhow::Result<Option<Sidecar>> {
        let needs_config = self.url.is_none() || (changes && self.token_file.is_none());
        if self.url.is_some() && needs_config && !self.config.exists() {
            // Who named the sidecar need not have its configuration.
            writeln!(
                err,
                "no token: name the file that holds it with --token-file ({} is not there to tell)",
                self.config.display()
            )?;
            return Ok(None);
        }
        let config = match needs_config {
            true => match super::load(&self.config, surroundings, err)? {
                Some(config) => Some(config),
                None => return Ok(None),
            },
            false => None,
        };
        let token = self.token(config.as_ref())?;
        if changes && token.is_none() {
            writeln!(
                err,
                "no token: set web.token_file in {}, or name the file with --token-file",
                self.config.display()
            )?;
            return Ok(None);
        }
        match self.base(config.as_ref()) {
            Ok(base) => {
                let client = self.client(&base)?;
                Ok(Some(Sidecar {
                    base,
                    client,
                    token,
                }))
            }
            Err(problem) => {
                writeln!(err, "{problem}")?;
                Ok(None)
            }
        }
    }

    fn token(&self, config: Option<&Config>) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.token_file else {
            let token = config.and_then(|config| config.web.token.as_ref());
            return Ok(token.map(|token| token.expose().to_owned()));
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("read the token from {} (--token-file)", path.display()))?;
        Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
    }

    /// Its URL, or what to write for one.
    fn base(&self, config: Option<&Config>) -> Result<String, String> {
        if let Some(url) = &self.url {
            let known = ["http://", "https://"];
            return match known.iter().any(|scheme| url.starts_with(scheme)) {
                true => Ok(url.trim_end_matches('/').to_owned()),
                false => Err(format!("--url {url}: write http:// or https:// before it")),
            };
        }
        let file = config.and_then(|config| config.web.config_file.as_deref());
        let has_tls = file.map_or(Ok(false), web::has_tls);
        let scheme = match has_tls.map_err(|error| error.to_string())? {
            true => "https",
            false => "http",
        };
        let listen = config.map(|config| config.web.listen);
        let listen = here(listen.unwrap_or_else(|| ([127, 0, 0, 1], 9644).into()));
        Ok(format!("{scheme}://{listen}"))
    }

    fn client(&self, base: &str) -> anyhow::Result<reqwest::Client> {
        notify::install_tls();
        let builder = reqwest::Client::builder()
            .timeout(PATIENCE)
            // The token goes to nobody else.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        let builder = match (&self.ca_file, base.starts_with("https://")) {
            (Some(path), true) => {
                let what = || format!("read certificates from {} (--ca-file)", path.display());
                let pem = std::fs::read(path).with_context(what)?;
                let known = reqwest::Certificate::from_pem_bundle(&pem).with_context(what)?;
                anyhow::ensure!(!known.is_empty(), "{}: there is none in it", what());
                builder.tls_certs_only(known)
            }
            (None, true) => builder,
            // The machine's certificates are neither needed nor, on a bare one, there.
            (_, false) => builder.tls_certs_only([]),
        };
        builder.build().context("prepare the call")
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")
}

/// Where who listens so is reached from this host: who listens everywhere listens here.
pub(super) fn here(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(match listen.ip() {
            IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        });
    }
    address
}

/// The sidecar that is spoken to.
struct Sidecar {
    base: String,
    client: reqwest::Client,
    /// Shown with whatever is asked: where there are users, nothing is told without it.
    token: Option<String>,
}

impl Sidecar {
    async fn speak(&self, call: Call) -> anyhow::Result<(u16, Value)> {
        let base = &self.base;
        let url = format!("{base}{}", call.path);
        let mut request = self.client.request(call.method, url);
        if let Some(token) = &self.token {
            let mut value = reqwest::header::HeaderValue::from_str(&format!("Bearer {token}"))
                .context("the token cannot be sent: it is one line of plain text")?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(body) = call.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        let answer = request
            .send()
            .await
            .with_context(|| match base.starts_with("https://") {
                true => format!(
                    "speak to the sidecar at {base}; does it run, is its certificate for that name (--url), and is \
                     its authority known here (--ca-file)?"
                ),
                false => format!(
                    "speak to the sidecar at {base}; does it run, and without TLS? Else write https:// (--url)"
                ),
            })?;
        let status = answer.status().as_u16();
        let text = answer.text().await.context("read the answer")?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    fn show(
        &self,
        status: u16,
        answer: &Value,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> anyhow::Result<Status> {
        if status == 401 {
            let remedy = match self.token {
                Some(_) => {
                    "the token that was sent is not the sidecar's, which was read when it started from its \
                     web.token_file; name that file with --token-file"
                }
                None => {
                    "it tells nothing without its token; name the file that its web.token_file names with --token-file"
                }
            };
            writeln!(err, "refused (401): {remedy}")?;
            return Ok(Status::Wrong);
        }
        show(status, answer, out, err)
    }
}

/// What comes from the sidecar moves no terminal.
fn plain(text: &str) -> String {
    let odd = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(odd).collect()
}

/// What a new silence keeps quiet and until when, as the sidecar understood it. Standard output has its id alone.
fn tell_silence(id: &Value, list: &Value, err: &mut dyn Write) -> anyhow::Result<()> {
    let mut all = list["silences"].as_array().into_iter().flatten();
    let Some(silence) = all.find(|one| one["id"] == *id) else {
        return Ok(());
    };
    let matchers = silence["matchers"].as_array().into_iter().flatten();
    let matchers: Vec<String> = matchers.filter_map(Value::as_str).map(plain).collect();
    let moment = |name: &str| plain(silence[name].as_str().unwrap_or_default());
    writeln!(
        err,
        "silenced where {}, from {} until {}",
        matchers.join(" and "),
        moment("starts_at"),
        moment("ends_at")
    )?;
    Ok(())
}

fn show(
    status: u16,
    answer: &Value,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Status> {
    if !(200..300).contains(&status) {
        let error = answer["error"].as_str().unwrap_or("it did not say why");
        writeln!(err, "refused ({status}): {}", plain(error))?;
        return Ok(match status {
            400 => Status::Misused,
            _ => Status::Wrong,
        });
    }
    if let Some(id) = answer["id"].as_str() {
        writeln!(out, "{}", plain(id))?;
        if answer["saved"] == json!(false) {
            writeln!(
                err,
                "it holds, but the store cannot be written: a restart would forget it"
            )?;
        }
        return Ok(Status::Fine);
    }
    // serde escapes what moves a terminal.
    writeln!(out, "{answer:#}")?;
    Ok(Status::Fine)
}

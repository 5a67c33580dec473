//! The way to the sidecar that runs: where it is, the token that it wants, one call of its API, and what came of it.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};

use super::SILENCES;
use super::list::{self, Format, Printed, Tell, plain};
use crate::cli::{Status, load, runtime};
use crate::config::{Config, Surroundings};
use crate::{notify, web};

const PATIENCE: Duration = Duration::from_secs(20);

/// Where the sidecar is, and the token that it wants; what is not given comes from the configuration
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Reach {
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

/// What is asked of the API.
pub(super) struct Call {
    method: Method,
    path: String,
    body: Option<Value>,
}

impl Call {
    pub(super) fn list(path: &str) -> Call {
        Call {
            method: Method::GET,
            path: path.to_owned(),
            body: None,
        }
    }

    pub(super) fn change(method: Method, path: impl Into<String>, body: Value) -> Call {
        Call {
            method,
            path: path.into(),
            body: Some(body),
        }
    }
}

impl Reach {
    /// Shows a list, in words or as it came.
    pub(super) fn list(
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

    /// Asks for a list; `None`: something is wrong, and was told.
    pub(super) fn ask(
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
    pub(super) fn make(
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
            list::new_silence(&answer["id"], &list, err)?;
        }
        Ok(ended)
    }

    /// Where the sidecar is, and the token that it is shown; `None`: something is wrong, and was told.
    pub(super) fn prepare(
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
            true => match load(&self.config, surroundings, err)? {
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

/// Where who listens so is reached from this host: who listens everywhere listens here.
pub(in crate::cli) fn here(listen: SocketAddr) -> SocketAddr {
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
pub(super) struct Sidecar {
    base: String,
    client: reqwest::Client,
    /// Shown with whatever is asked: where there are users, nothing is told without it.
    token: Option<String>,
}

impl Sidecar {
    pub(super) async fn speak(&self, call: Call) -> anyhow::Result<(u16, Value)> {
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

    pub(super) fn show(
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
}

//! `[otlp]`: where traces and metrics are sent, for those who collect them so. Without an endpoint nothing is sent.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::document::Settings;
use super::problem::Problems;
use super::secret::{self, Endpoint, Secret};

#[derive(Clone, Debug, PartialEq)]
pub struct Otlp {
    pub endpoint: Endpoint,
    pub protocol: OtlpProtocol,
    /// Names and values, both sound.
    pub headers: Vec<(String, Secret)>,
    /// Further roots to trust, beside the machine's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key.
    pub client_file: Option<PathBuf>,
    pub compression: OtlpCompression,
    pub timeout: Duration,
    pub traces: bool,
    pub metrics: bool,
    /// How often metrics are sent.
    pub interval: Duration,
    /// `deployment.environment.name`.
    pub environment: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    Grpc,
    /// Protobuf in a POST; `/v1/traces` and `/v1/metrics` stand behind the endpoint.
    Http,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpCompression {
    None,
    Gzip,
}

const COMPRESSIONS: [(&str, OtlpCompression); 2] = [
    ("none", OtlpCompression::None),
    ("gzip", OtlpCompression::Gzip),
];

pub(super) fn compression_names() -> Vec<&'static str> {
    COMPRESSIONS.iter().map(|(name, _)| *name).collect()
}

fn compression(settings: &Settings) -> OtlpCompression {
    let written: String = settings.read("otlp.compression");
    let known = COMPRESSIONS.iter().find(|(name, _)| *name == written);
    known.map_or(OtlpCompression::None, |(_, compression)| *compression)
}

const PROTOCOLS: [(&str, OtlpProtocol); 2] =
    [("grpc", OtlpProtocol::Grpc), ("http", OtlpProtocol::Http)];

pub(super) fn protocol_names() -> Vec<&'static str> {
    PROTOCOLS.iter().map(|(name, _)| *name).collect()
}

impl OtlpProtocol {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            OtlpProtocol::Grpc => "grpc",
            OtlpProtocol::Http => "http",
        }
    }
}

fn protocol(settings: &Settings) -> OtlpProtocol {
    let written: String = settings.read("otlp.protocol");
    let known = PROTOCOLS.iter().find(|(name, _)| *name == written);
    known.map_or(OtlpProtocol::Grpc, |(_, protocol)| *protocol)
}

pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    if settings.is_written("otlp.endpoint") && settings.is_written("otlp.endpoint_file") {
        problems.add("otlp", "both endpoint and endpoint_file are set; keep one");
    }
    if !settings.is_sound("otlp") {
        return;
    }
    if let Some(secret) = settings.maybe::<Secret>("otlp.headers")
        && let Err(problem) = headers(&secret)
    {
        problems.add("otlp.headers", problem);
    }
    // It holds a private key.
    if let Some(path) = settings.maybe::<PathBuf>("otlp.client_file")
        && let Err(problem) = secret::closed(&path)
    {
        problems.add("otlp.client_file", problem);
    }
    let Some(endpoint) = settings.maybe::<Endpoint>("otlp.endpoint") else {
        return;
    };
    if endpoint.has_credentials() {
        problems.add(
            "otlp.endpoint",
            "carries a user name or password, which no collector reads there; write them into headers_file as \
             authorization=Basic%20...",
        );
    }
    if protocol(settings) == OtlpProtocol::Grpc && !matches!(endpoint.expose().path(), "" | "/") {
        problems.add(
            "otlp.endpoint",
            "has a path, which gRPC does not know; remove it, or write protocol = \"http\"",
        );
    }
    let in_clear = endpoint.expose().scheme_str() == Some("http");
    if in_clear && !is_here(&endpoint) && !settings.read::<bool>("otlp.insecure") {
        problems.add(
            "otlp.endpoint",
            "is on another machine and without TLS, so that headers and traces could be read on the way; write https, \
             or insecure = true where the network may be trusted",
        );
    }
}

/// What is sent there does not leave this machine.
fn is_here(endpoint: &Endpoint) -> bool {
    let (host, _) = endpoint.place();
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// As OTEL_EXPORTER_OTLP_HEADERS has them: `name=value,name=value`, the values percent-encoded where they must be.
/// The message shows none of it.
fn headers(secret: &Secret) -> Result<Vec<(String, Secret)>, String> {
    const REMEDY: &str = "(not shown, it is a secret); write name=value, several of them with a comma between, a comma or \
                          percent sign in a value as %2C or %25";
    let pairs = secret.expose().split(',').map(str::trim);
    pairs
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("holds a header without a value {REMEDY}"))?;
            let name = name.trim().to_ascii_lowercase();
            if name.starts_with("grpc-") || name == "content-type" || name.ends_with("-bin") {
                return Err(format!(
                    "holds a header that the protocol sets itself {REMEDY}"
                ));
            }
            let value = decoded(value.trim())
                .filter(|value| HeaderValue::from_str(value).is_ok())
                .filter(|_| HeaderName::from_bytes(name.as_bytes()).is_ok())
                .ok_or_else(|| format!("holds what is no header {REMEDY}"))?;
            Ok((name, Secret::new(value)))
        })
        .collect()
}

/// `None`: a percent sign begins no byte, or the bytes are no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// `None`: nothing is sent.
pub(super) fn read(settings: &Settings) -> Option<Otlp> {
    let sent = settings.maybe::<Secret>("otlp.headers");
    Some(Otlp {
        endpoint: settings.maybe("otlp.endpoint")?,
        protocol: protocol(settings),
        headers: sent
            .and_then(|secret| headers(&secret).ok())
            .unwrap_or_default(),
        ca_file: settings.maybe("otlp.ca_file"),
        client_file: settings.maybe("otlp.client_file"),
        compression: compression(settings),
        timeout: settings.read("otlp.timeout"),
        traces: settings.read("otlp.traces"),
        metrics: settings.read("otlp.metrics"),
        interval: settings.read("otlp.interval"),
        environment: settings.maybe("otlp.environment"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_every_exporter_reads_them_and_never_shown() {
        let read = |text: &str| headers(&Secret::new(text));
        let pairs = |text: &str| -> Vec<(String, String)> {
            let pairs = read(text).unwrap().into_iter();
            pairs
                .map(|(name, value)| (name, value.expose().to_owned()))
                .collect()
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            pairs("Authorization=Bearer%20hunter2, x-scope-orgid = team%2Ca ,"),
            [
                pair("authorization", "Bearer hunter2"),
                pair("x-scope-orgid", "team,a")
            ]
        );
        assert_eq!(pairs("k=a=b"), [pair("k", "a=b")]);
        for bad in [
            "hunter2",
            "k=hunter2%",
            "k=hunter2%zz",
            "k=hunter2%0a",
            "k=hunter2%ff",
            "hunter 2=x",
            "grpc-timeout=hunter2",
            "Content-Type=hunter2",
            "trace-bin=hunter2",
        ] {
            let problem = read(bad).unwrap_err();
            assert!(!problem.contains("hunter"), "{problem}");
            assert!(problem.contains("name=value"), "{problem}");
        }
    }
}

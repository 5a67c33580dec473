//! The web configuration of exporter-toolkit as it is written, and what bootwatch makes of it.
//!
//! Every key of the format is known. What rustls cannot do and only makes the door narrower (old versions of TLS, weak
//! suites) is left out with a note; what would leave it wider than written is refused with the key's name.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{
    CONTENT_SECURITY_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    X_XSS_PROTECTION,
};
use axum::http::{HeaderName, HeaderValue};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;

/// The file, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(default)]
    pub(super) tls_server_config: Option<TlsDocument>,
    #[serde(default)]
    http_server_config: Option<HttpDocument>,
    #[serde(default)]
    pub(super) basic_auth_users: BTreeMap<String, String>,
    #[serde(default)]
    rate_limit: Option<LimitDocument>,
}

/// Its key, and what it says, are shown in no message.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct TlsDocument {
    cert: Option<String>,
    key: Option<String>,
    client_ca: Option<String>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    client_auth_type: Option<String>,
    client_ca_file: Option<PathBuf>,
    client_allowed_sans: Option<Vec<String>>,
    min_version: Option<String>,
    max_version: Option<String>,
    cipher_suites: Vec<String>,
    prefer_server_cipher_suites: Option<bool>,
    curve_preferences: Vec<String>,
}

impl fmt::Debug for TlsDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsDocument").finish_non_exhaustive()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpDocument {
    http2: Option<bool>,
    headers: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitDocument {
    interval: Written,
    #[serde(default)]
    burst: u32,
}

/// Go reads a bare number as nanoseconds.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Written {
    Nanoseconds(u64),
    Text(String),
}

/// One request an interval, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limit {
    pub(super) interval: Duration,
    pub(super) burst: u32,
}

/// The headers that the toolkit knows, with the values that it allows, and whether bootwatch has a stricter one of its own.
const HEADERS: &[(HeaderName, &[&str], bool)] = &[
    (CONTENT_SECURITY_POLICY, &[], true),
    (X_FRAME_OPTIONS, &["deny", "sameorigin"], true),
    (X_CONTENT_TYPE_OPTIONS, &["nosniff"], true),
    (X_XSS_PROTECTION, &[], false),
    (STRICT_TRANSPORT_SECURITY, &[], false),
];

impl Document {
    pub(super) fn parse(text: &str) -> Result<Document, String> {
        if text.trim().is_empty() {
            return Ok(Document::default());
        }
        serde_saphyr::from_str(text).map_err(|error| {
            format!(
                "is not a web configuration of the exporter-toolkit, which has tls_server_config, http_server_config, \
                 basic_auth_users and rate_limit: {error}"
            )
        })
    }

    /// What each answer is to say besides.
    pub(super) fn headers(
        &self,
        notes: &mut Vec<String>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        let Some(http) = &self.http_server_config else {
            return Ok(Vec::new());
        };
        if http.http2 == Some(true) {
            notes.push("http_server_config.http2: HTTP/1.1 alone is spoken".to_owned());
        }
        let mut wanted = Vec::new();
        for (name, value) in &http.headers {
            let known = HEADERS
                .iter()
                .find(|(known, _, _)| name.eq_ignore_ascii_case(known.as_str()));
            let Some((known, values, has_own)) = known else {
                let all: Vec<&str> = HEADERS.iter().map(|(name, _, _)| name.as_str()).collect();
                return Err(format!(
                    "headers: {name:?} cannot be set; those that can: {}",
                    all.join(", ")
                ));
            };
            if value.is_empty() {
                continue;
            }
            if !values.is_empty() && !values.contains(&value.as_str()) {
                return Err(format!(
                    "headers.{name}: {value:?} is none of {}",
                    values.join(", ")
                ));
            }
            if *has_own {
                notes.push(format!(
                    "http_server_config.headers.{name}: the pages keep their own, which is as strict or stricter"
                ));
                continue;
            }
            let value = HeaderValue::from_str(value)
                .map_err(|_| format!("headers.{name}: {value:?} is no header's value"))?;
            wanted.push((known.clone(), value));
        }
        Ok(wanted)
    }

    /// An interval of nothing limits nothing.
    pub(super) fn limit(&self) -> Result<Option<Limit>, String> {
        let Some(limit) = &self.rate_limit else {
            return Ok(None);
        };
        let interval = match &limit.interval {
            Written::Nanoseconds(ns) => Duration::from_nanos(*ns),
            Written::Text(text) if text == "0" => Duration::ZERO,
            Written::Text(text) => text
                .parse::<jiff::SignedDuration>()
                .ok()
                .and_then(|span| Duration::try_from(span).ok())
                .ok_or_else(|| {
                    format!("interval: {text:?} is no duration; write one such as 100ms or 1s")
                })?,
        };
        if interval.is_zero() {
            return Ok(None);
        }
        if limit.burst == 0 {
            return Err(
                "burst: with 0 nobody would ever be answered; write how many may come at once"
                    .to_owned(),
            );
        }
        Ok(Some(Limit {
            interval,
            burst: limit.burst,
        }))
    }
}

impl TlsDocument {
    /// The files that it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.cert_file, &self.key_file, &self.client_ca_file]
            .into_iter()
            .flatten()
    }

    pub(super) fn acceptor(
        &self,
        beside: &Path,
        notes: &mut Vec<String>,
    ) -> Result<TlsAcceptor, String> {
        let chain = match (&self.cert, &self.cert_file) {
            (Some(text), None) => {
                certificates(text.as_bytes()).map_err(|error| format!("cert: {error}"))?
            }
            (None, Some(file)) => read(&beside.join(file))
                .and_then(|text| certificates(&text))
                .map_err(|error| format!("cert_file {}: {error}", named(beside, file)))?,
            _ => return Err("cert_file: name the certificate, here or in cert".to_owned()),
        };
        let key = match (&self.key, &self.key_file) {
            (Some(text), None) => PrivateKeyDer::from_pem_slice(text.as_bytes())
                .map_err(|error| format!("key: {error}"))?,
            (None, Some(file)) => PrivateKeyDer::from_pem_file(beside.join(file))
                .map_err(|error| format!("key_file {}: {error}", named(beside, file)))?,
            _ => return Err("key_file: name the private key, here or in key".to_owned()),
        };
        let provider = Arc::new(self.provider(notes)?);
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions(notes)?)
            .map_err(|error| error.to_string())?;
        let config = match self.clients(beside, provider)? {
            None => config.with_no_client_auth(),
            Some(verifier) => config.with_client_cert_verifier(verifier),
        };
        let mut config = config
            .with_single_cert(chain, key)
            .map_err(|error| format!("certificate and key do not go together: {error}"))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ignore_client_order = self.prefer_server_cipher_suites == Some(true);
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn versions(
        &self,
        notes: &mut Vec<String>,
    ) -> Result<&'static [&'static SupportedProtocolVersion], String> {
        const ALL: &[&SupportedProtocolVersion] =
            &[&rustls::version::TLS13, &rustls::version::TLS12];
        const NEW: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
        const OLD: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
        let newest_only = match self.min_version.as_deref() {
            None | Some("TLS12") => false,
            Some("TLS13") => true,
            Some(old @ ("TLS10" | "TLS11")) => {
                notes.push(format!(
                    "tls_server_config.min_version: nothing older than TLS12 is spoken, {old} neither"
                ));
                false
            }
            Some(other) => return Err(format!("min_version: {other:?} is none of TLS12, TLS13")),
        };
        match self.max_version.as_deref() {
            None | Some("TLS13") => Ok(if newest_only { NEW } else { ALL }),
            Some("TLS12") if !newest_only => Ok(OLD),
            Some("TLS12") => Err("max_version: TLS12 is older than min_version".to_owned()),
            Some(other) => Err(format!("max_version: {other:?} is none of TLS12, TLS13")),
        }
    }

    /// The suites of TLS 1.2 and the curves in the order that is written; TLS 1.3 has its own suites, as in Go.
    fn provider(&self, notes: &mut Vec<String>) -> Result<CryptoProvider, String> {
        let mut provider = rustls::crypto::ring::default_provider();
        if !self.cipher_suites.is_empty() {
            let (mut suites, old): (Vec<_>, Vec<_>) = provider
                .cipher_suites
                .into_iter()
                .partition(|suite| suite.tls13().is_some());
            let new = suites.len();
            for name in &self.cipher_suites {
                let known = old
                    .iter()
                    .find(|suite| suite.suite().as_str() == Some(name));
                match known {
                    Some(suite) => suites.push(*suite),
                    // Those of TLS 1.3 are named without it.
                    None if name.starts_with("TLS_AES_") || name.starts_with("TLS_CHACHA20_") => {}
                    None if name.starts_with("TLS_") => notes.push(format!(
                        "tls_server_config.cipher_suites: {name} is not spoken"
                    )),
                    None => {
                        return Err(format!("cipher_suites: {name:?} is no name of a suite"));
                    }
                }
            }
            if suites.len() == new && self.min_version.as_deref() != Some("TLS13") {
                let known: Vec<&str> = old
                    .iter()
                    .filter_map(|suite| suite.suite().as_str())
                    .collect();
                return Err(format!(
                    "cipher_suites: none of them is spoken for TLS12; those that are: {}",
                    known.join(", ")
                ));
            }
            provider.cipher_suites = suites;
        }
        if !self.curve_preferences.is_empty() {
            use rustls::crypto::ring::kx_group::{SECP256R1, SECP384R1, X25519};
            provider.kx_groups.clear();
            for name in &self.curve_preferences {
                match name.as_str() {
                    "X25519" => provider.kx_groups.push(X25519),
                    "CurveP256" => provider.kx_groups.push(SECP256R1),
                    "CurveP384" => provider.kx_groups.push(SECP384R1),
                    other @ ("CurveP521" | "X25519MLKEM768") => notes.push(format!(
                        "tls_server_config.curve_preferences: {other} is not spoken"
                    )),
                    other => {
                        return Err(format!(
                            "curve_preferences: {other:?} is none of X25519, CurveP256, CurveP384"
                        ));
                    }
                }
            }
            if provider.kx_groups.is_empty() {
                return Err(
                    "curve_preferences: none of them is spoken; those that are: X25519, CurveP256, CurveP384"
                        .to_owned(),
                );
            }
        }
        Ok(provider)
    }

    /// Whose certificates are asked for; `None`: nobody's.
    fn clients(
        &self,
        beside: &Path,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn rustls::server::danger::ClientCertVerifier>>, String> {
        if self.client_allowed_sans.is_some() {
            return Err(
                "client_allowed_sans: names in clients' certificates are not looked at, so that everybody whom \
                 client_ca_file vouches for would be let in; give these clients an authority of their own"
                    .to_owned(),
            );
        }
        let is_needed = match self.client_auth_type.as_deref() {
            None | Some("" | "NoClientCert") => {
                return match self.client_ca.is_none() && self.client_ca_file.is_none() {
                    true => Ok(None),
                    false => Err(
                        "client_auth_type: nobody is asked for a certificate, though client_ca_file vouches for some; \
                         write RequireAndVerifyClientCert"
                            .to_owned(),
                    ),
                };
            }
            Some("RequireAndVerifyClientCert") => true,
            Some("VerifyClientCertIfGiven") => false,
            Some(other) => {
                return Err(format!(
                    "client_auth_type: {other:?} is none of NoClientCert, VerifyClientCertIfGiven, \
                     RequireAndVerifyClientCert"
                ));
            }
        };
        let (whence, read) = match (&self.client_ca, &self.client_ca_file) {
            (Some(text), None) => ("client_ca".to_owned(), certificates(text.as_bytes())),
            (None, Some(file)) => (
                format!("client_ca_file {}", named(beside, file)),
                read(&beside.join(file)).and_then(|text| certificates(&text)),
            ),
            _ => {
                return Err(
                    "client_auth_type asks for certificates of clients; name their client_ca_file"
                        .to_owned(),
                );
            }
        };
        let said = |error: String| format!("{whence}: {error}");
        let mut roots = RootCertStore::empty();
        for certificate in read.map_err(said)? {
            roots
                .add(certificate)
                .map_err(|error| said(error.to_string()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = match is_needed {
            true => verifier,
            false => verifier.allow_unauthenticated(),
        };
        let verifier = verifier.build().map_err(|error| said(error.to_string()))?;
        Ok(Some(verifier))
    }
}

/// As a message names it.
fn named(beside: &Path, file: &Path) -> String {
    format!("{:?}", beside.join(file).display().to_string())
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| error.to_string())
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let all = all.map_err(|error| error.to_string())?;
    match all.is_empty() {
        true => Err("holds no certificate".to_owned()),
        false => Ok(all),
    }
}

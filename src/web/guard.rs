//! Who may look: TLS and users, from a file in the form that Prometheus' exporters share (exporter-toolkit's web
//! configuration), so that one file and one habit serve them all.
//!
//! ```yaml
//! tls_server_config:
//!   cert_file: server.crt
//!   key_file: server.key
//! basic_auth_users:
//!   ada: $2b$12$...          # a bcrypt hash
//! ```
//!
//! The file, certificate and key are looked at with every connection, and read again where their time has changed: a
//! renewed certificate needs no restart, and one that cannot be read changes nothing and is told once. What bcrypt said
//! is remembered, for it is slow on purpose; a user that nobody knows takes as long as one that somebody does; at most
//! one password is tried at a time, so that guessing takes one core's half and not the watch's.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::api::is_same;
use crate::config::Secret;

/// What bcrypt said that is remembered.
const REMEMBERED: usize = 100;
/// Work for a user that nobody knows, where no user tells a cost.
const USUAL_COST: u32 = 10;
const MOST_COST: u32 = 15;
const MOST_BYTES: u64 = 256 << 10;

/// The file, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    tls_server_config: Option<TlsDocument>,
    #[serde(default)]
    basic_auth_users: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsDocument {
    cert_file: PathBuf,
    key_file: PathBuf,
    #[serde(default)]
    client_auth_type: Option<String>,
    #[serde(default)]
    client_ca_file: Option<PathBuf>,
    #[serde(default)]
    min_version: Option<String>,
}

/// The file cannot be used; says what to write instead.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct GuardError {
    path: String,
    problem: String,
}

/// When each of the files last changed.
type Stamps = Vec<(PathBuf, Option<SystemTime>)>;

struct Loaded {
    stamps: Stamps,
    /// Why the state that is there could not be used, which was told. It may name other files than the last one that
    /// could, so it is tried whenever somebody comes.
    refused: Option<String>,
    tls: Option<TlsAcceptor>,
    users: Arc<BTreeMap<String, String>>,
}

/// Whether a client may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum May {
    Look,
    /// It did not say who it is, or wrongly.
    Not,
}

pub struct Guard {
    /// `None`: everybody who reaches the port may look, in the clear.
    path: Option<PathBuf>,
    loaded: Mutex<Loaded>,
    remembered: Mutex<HashMap<[u8; 32], bool>>,
    trying: Semaphore,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Guard {
    /// Nobody is asked who he is: the listener is on loopback, or behind something that asks.
    #[must_use]
    pub fn open_to_all() -> Guard {
        Guard::with(
            None,
            Loaded {
                stamps: Stamps::new(),
                refused: None,
                tls: None,
                users: Arc::default(),
            },
        )
    }

    /// Reads the file, and the certificate and key that it names.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn read(path: &Path) -> Result<Guard, GuardError> {
        let loaded = load(path)?;
        Ok(Guard::with(Some(path.to_owned()), loaded))
    }

    fn with(path: Option<PathBuf>, loaded: Loaded) -> Guard {
        Guard {
            path,
            loaded: Mutex::new(loaded),
            remembered: Mutex::default(),
            trying: Semaphore::new(1),
        }
    }

    /// What a new connection begins with; `None`: it is in the clear.
    pub(super) fn tls(&self) -> Option<TlsAcceptor> {
        self.fresh().tls.clone()
    }

    /// The state of the files as they are now, or as they could last be used.
    fn fresh(&self) -> MutexGuard<'_, Loaded> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = &self.path else {
            return loaded;
        };
        let now = stamps(loaded.stamps.iter().map(|(path, _)| path.clone()));
        if now == loaded.stamps {
            loaded.refused = None;
            return loaded;
        }
        match load(path) {
            Ok(new) => {
                tracing::info!(file = %path.display(), "the web's certificate and users were read anew");
                *loaded = new;
            }
            Err(error) => {
                let why = error.to_string();
                if loaded.refused.as_ref() != Some(&why) {
                    tracing::error!(%error, "the web goes on with the certificate and users that it has");
                    loaded.refused = Some(why);
                }
            }
        }
        loaded
    }

    /// Whether whoever sends these headers may look: as one of the users, or as an operator with the token.
    pub(super) async fn may(&self, headers: &HeaderMap, token: Option<&Secret>) -> May {
        let users = Arc::clone(&self.fresh().users);
        if users.is_empty() {
            return May::Look;
        }
        let Some(shown) = headers.get(AUTHORIZATION).map(|value| value.as_bytes()) else {
            return May::Not;
        };
        if let (Some(token), Some(bearer)) = (token, after(shown, b"Bearer ")) {
            return match is_same(bearer, token.expose().as_bytes()) {
                true => May::Look,
                false => May::Not,
            };
        }
        let Some((user, password)) = credentials(shown) else {
            return May::Not;
        };
        match self.is_right(&users, &user, password).await {
            true => May::Look,
            false => May::Not,
        }
    }

    async fn is_right(
        &self,
        users: &BTreeMap<String, String>,
        user: &str,
        password: Vec<u8>,
    ) -> bool {
        let hash = users.get(user).cloned();
        let mut whole = digest::Context::new(&digest::SHA256);
        for part in [
            user.as_bytes(),
            hash.as_deref().unwrap_or("").as_bytes(),
            &password,
        ] {
            whole.update(&part.len().to_le_bytes());
            whole.update(part);
        }
        let mut key = [0; 32];
        key.copy_from_slice(whole.finish().as_ref());
        let remembered = || {
            self.remembered
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(right) = remembered().get(&key) {
            return *right;
        }
        let Ok(_turn) = self.trying.acquire().await else {
            return false;
        };
        let usual = users.values().filter_map(|hash| cost(hash)).max();
        let usual = usual.unwrap_or(USUAL_COST);
        let tried = tokio::task::spawn_blocking(move || match hash {
            Some(hash) => bcrypt::verify(&password, &hash).unwrap_or(false),
            // As much work as for one who is known.
            None => {
                std::hint::black_box(bcrypt::hash_with_salt(&password, usual, [0; 16]).is_ok());
                false
            }
        });
        let right = tried.await.unwrap_or(false);
        if !right {
            tracing::warn!("somebody who is not known, or with a wrong password, asked for a page");
        }
        let mut remembered = remembered();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, right);
        right
    }
}

fn after<'a>(shown: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = shown.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// User and password of `Basic`.
fn credentials(shown: &[u8]) -> Option<(String, Vec<u8>)> {
    let plain = STANDARD
        .decode(after(shown, b"Basic ")?.trim_ascii())
        .ok()?;
    let colon = plain.iter().position(|byte| *byte == b':')?;
    let (user, password) = plain.split_at(colon);
    Some((
        String::from_utf8(user.to_vec()).ok()?,
        password.get(1..)?.to_vec(),
    ))
}

/// The cost that a hash tells, `$2b$12$...`.
fn cost(hash: &str) -> Option<u32> {
    hash.split('$').nth(2)?.parse().ok()
}

fn stamps(paths: impl Iterator<Item = PathBuf>) -> Stamps {
    paths
        .map(|path| {
            let changed = std::fs::metadata(&path).and_then(|facts| facts.modified());
            (path, changed.ok())
        })
        .collect()
}

/// Whether the web speaks TLS, for a client that has the same file; certificate and key are not read, for who calls need
/// not be allowed to.
///
/// # Errors
/// The file cannot be used.
pub fn has_tls(path: &Path) -> Result<bool, GuardError> {
    let document = document(path)?;
    Ok(document.tls_server_config.is_some())
}

fn wrong(path: &Path, problem: String) -> GuardError {
    GuardError {
        path: path.display().to_string(),
        problem,
    }
}

fn document(path: &Path) -> Result<Document, GuardError> {
    let wrong = |problem: String| wrong(path, problem);
    let size = std::fs::metadata(path).map_or(0, |facts| facts.len());
    if size > MOST_BYTES {
        return Err(wrong(
            "is larger than 256 KiB; is it the right file?".to_owned(),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        wrong(format!(
            "cannot be read: {error}; correct web.config_file or the permissions"
        ))
    })?;
    match text.trim().is_empty() {
        true => Ok(Document::default()),
        false => serde_saphyr::from_str(&text).map_err(|error| {
            wrong(format!(
                "is not a web configuration of the exporter-toolkit, of which tls_server_config and basic_auth_users are known: {error}"
            ))
        }),
    }
}

fn load(path: &Path) -> Result<Loaded, GuardError> {
    let wrong = |problem: String| wrong(path, problem);
    // Stamps first: what changes while it is read is read again.
    let own = stamps(std::iter::once(path.to_owned()));
    let document = document(path)?;
    for (user, hash) in &document.basic_auth_users {
        let sound = hash.parse::<bcrypt::HashParts>().is_ok();
        if !sound || cost(hash).is_none_or(|cost| cost > MOST_COST) {
            return Err(wrong(format!(
                "basic_auth_users.{user}: is no bcrypt hash of a cost up to {MOST_COST}; make one with `htpasswd -nBC 12 {user}`"
            )));
        }
    }
    let beside = path.parent().unwrap_or(Path::new(""));
    let mut all = own;
    let tls = match &document.tls_server_config {
        None => None,
        Some(tls) => {
            let files = [
                Some(&tls.cert_file),
                Some(&tls.key_file),
                tls.client_ca_file.as_ref(),
            ];
            all.extend(stamps(
                files.into_iter().flatten().map(|file| beside.join(file)),
            ));
            Some(
                acceptor(tls, beside)
                    .map_err(|problem| wrong(format!("tls_server_config: {problem}")))?,
            )
        }
    };
    Ok(Loaded {
        stamps: all,
        refused: None,
        tls,
        users: Arc::new(document.basic_auth_users),
    })
}

fn acceptor(tls: &TlsDocument, beside: &Path) -> Result<TlsAcceptor, String> {
    let named = |file: &Path| format!("{:?}", beside.join(file).display().to_string());
    let chain = certificates(&beside.join(&tls.cert_file))
        .map_err(|error| format!("cert_file {}: {error}", named(&tls.cert_file)))?;
    let key = PrivateKeyDer::from_pem_file(beside.join(&tls.key_file))
        .map_err(|error| format!("key_file {}: {error}", named(&tls.key_file)))?;
    const ALL: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
    const NEW: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
    let versions = match tls.min_version.as_deref() {
        None | Some("TLS12") => ALL,
        Some("TLS13") => NEW,
        Some(other) => return Err(format!("min_version: {other:?} is none of TLS12, TLS13")),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?;
    let config = match tls.client_auth_type.as_deref() {
        None | Some("" | "NoClientCert") => config.with_no_client_auth(),
        Some("RequireAndVerifyClientCert") => {
            let file = tls.client_ca_file.as_deref().ok_or(
                "client_auth_type asks for certificates of clients; name their client_ca_file",
            )?;
            let mut roots = RootCertStore::empty();
            let said = |error: String| format!("client_ca_file {}: {error}", named(file));
            for certificate in certificates(&beside.join(file)).map_err(said)? {
                roots
                    .add(certificate)
                    .map_err(|error| said(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| said(error.to_string()))?;
            config.with_client_cert_verifier(verifier)
        }
        Some(other) => {
            return Err(format!(
                "client_auth_type: {other:?} is none of NoClientCert, RequireAndVerifyClientCert"
            ));
        }
    };
    let mut config = config
        .with_single_cert(chain, key)
        .map_err(|error| format!("certificate and key do not go together: {error}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())?;
    let all: Result<Vec<_>, _> = read.collect();
    let all = all.map_err(|error| error.to_string())?;
    match all.is_empty() {
        true => Err("holds no certificate".to_owned()),
        false => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn basic(user: &str, password: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let shown = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        headers.insert(AUTHORIZATION, shown.parse().unwrap());
        headers
    }

    #[test]
    fn what_cannot_be_used_says_what_to_write() {
        for (text, says) in [
            ("basic_auth_users:\n  ada: secret\n", "htpasswd"),
            ("tls_server:\n  a: b\n", "basic_auth_users are known"),
            (
                "tls_server_config:\n  cert_file: a\n  key_file: b\n",
                "cert_file",
            ),
            ("- 1\n", "web configuration"),
        ] {
            let (_folder, path) = written(text);
            let error = Guard::read(&path).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let error = Guard::read(Path::new("/nowhere/web.yml")).unwrap_err();
        assert!(error.to_string().contains("web.config_file"), "{error}");
    }

    #[tokio::test]
    async fn a_user_looks_with_the_password_and_an_operator_with_the_token() {
        let hash = bcrypt::hash("right", 4).unwrap();
        let (_folder, path) = written(&format!("basic_auth_users:\n  ada: {hash}\n"));
        let guard = Guard::read(&path).unwrap();
        let token = Secret::new("0123456789abcdef");
        let mut bearer = HeaderMap::new();
        bearer.insert(AUTHORIZATION, "Bearer 0123456789abcdef".parse().unwrap());
        let mut wrong = HeaderMap::new();
        wrong.insert(AUTHORIZATION, "Bearer 0123456789abcdeX".parse().unwrap());
        for (headers, may) in [
            (HeaderMap::new(), May::Not),
            (basic("ada", "right"), May::Look),
            (basic("ada", "right"), May::Look),
            (basic("ada", "wrong"), May::Not),
            (basic("eve", "right"), May::Not),
            (basic("", ""), May::Not),
            (bearer.clone(), May::Look),
            (wrong, May::Not),
        ] {
            assert_eq!(guard.may(&headers, Some(&token)).await, may, "{headers:?}");
        }
        assert_eq!(guard.may(&bearer, None).await, May::Not);
        assert_eq!(
            guard.remembered.lock().unwrap().len(),
            4,
            "each was tried once"
        );
        let open = Guard::open_to_all();
        assert_eq!(open.may(&HeaderMap::new(), None).await, May::Look);
    }

    #[tokio::test]
    async fn the_file_is_read_again_when_it_changes_and_a_broken_one_changes_nothing() {
        let first = bcrypt::hash("first", 4).unwrap();
        let second = bcrypt::hash("second", 4).unwrap();
        let (_folder, path) = written(&format!("basic_auth_users:\n  ada: {first}\n"));
        let guard = Guard::read(&path).unwrap();
        // Each file is dated by hand: two writes may fall into one tick of the file system's clock.
        let write = |text: String, seconds: u64| {
            std::fs::write(&path, text).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            file.set_modified(at).unwrap();
        };
        write("basic_auth_users: [".to_owned(), 1);
        assert_eq!(guard.may(&basic("ada", "first"), None).await, May::Look);
        write(format!("basic_auth_users:\n  ada: {second}\n"), 2);
        assert_eq!(guard.may(&basic("ada", "first"), None).await, May::Not);
        assert_eq!(guard.may(&basic("ada", "second"), None).await, May::Look);
    }
}

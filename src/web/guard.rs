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
//! The whole format is taken: what of it is not done is said once at the start where leaving it out weakens nothing, and
//! refused by name where it would ([`toolkit`]).
//!
//! The file, certificate and key are looked at with every connection, and read again where their time has changed: a
//! renewed certificate needs no restart, and one that cannot be read changes nothing and is told once. What bcrypt said
//! is remembered, for it is slow on purpose; a user that nobody knows takes as long as one that somebody does; at most
//! one password is tried at a time, so that guessing takes one core's half and not the watch's.

mod toolkit;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use toolkit::{Document, Limit};

use super::api::is_same;
use crate::clock;
use crate::config::Secret;

/// What bcrypt said that is remembered.
const REMEMBERED: usize = 100;
/// Work for a user that nobody knows, where no user tells a cost.
const USUAL_COST: u32 = 10;
const MOST_COST: u32 = 15;
const MOST_BYTES: u64 = 256 << 10;

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
    /// What each answer says besides.
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What of the file is not done, where that weakens nothing.
    notes: Vec<String>,
    bucket: Option<Bucket>,
    users: Arc<BTreeMap<String, String>>,
}

/// Go's token bucket: one request an interval, and so many at once.
#[derive(Debug)]
struct Bucket {
    limit: Limit,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn full(limit: Limit) -> Bucket {
        Bucket {
            limit,
            tokens: f64::from(limit.burst),
            at: clock::monotonic(),
        }
    }

    fn takes(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at);
        let more = passed.as_secs_f64() / self.limit.interval.as_secs_f64();
        self.tokens = (self.tokens + more).min(f64::from(self.limit.burst));
        self.at = now;
        let takes = self.tokens >= 1.0;
        if takes {
            self.tokens -= 1.0;
        }
        takes
    }
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
                headers: Vec::new(),
                notes: Vec::new(),
                bucket: None,
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
        tell(&loaded.notes);
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

    /// Whether the web speaks TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.fresh().tls.is_some()
    }

    /// What the file asks for and is not done, where that weakens nothing; each names its key.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.fresh().notes.clone()
    }

    /// What the file wants each answer to say.
    pub(super) fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        self.fresh().headers.clone()
    }

    /// Whether one request more is within the file's limit.
    pub(super) fn takes_one_more(&self) -> bool {
        let bucket = &mut self.fresh().bucket;
        bucket
            .as_mut()
            .is_none_or(|bucket| bucket.takes(clock::monotonic()))
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
                if new.notes != loaded.notes {
                    tell(&new.notes);
                }
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

/// Says what is not done.
fn tell(notes: &[String]) {
    for note in notes {
        tracing::warn!(note, "part of web.config_file is not done");
    }
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
    Document::parse(&text).map_err(wrong)
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
    let mut notes = Vec::new();
    let headers = document
        .headers(&mut notes)
        .map_err(|problem| wrong(format!("http_server_config: {problem}")))?;
    let limit = document
        .limit()
        .map_err(|problem| wrong(format!("rate_limit: {problem}")))?;
    let tls = match &document.tls_server_config {
        None => None,
        Some(tls) => {
            all.extend(stamps(tls.files().map(|file| beside.join(file))));
            Some(
                tls.acceptor(beside, &mut notes)
                    .map_err(|problem| wrong(format!("tls_server_config: {problem}")))?,
            )
        }
    };
    Ok(Loaded {
        stamps: all,
        refused: None,
        tls,
        headers,
        notes,
        bucket: limit.map(Bucket::full),
        users: Arc::new(document.basic_auth_users),
    })
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

    #[tokio::test(start_paused = true)]
    async fn a_limit_lets_so_many_through_at_once_and_then_one_an_interval() {
        let (_folder, path) = written("rate_limit:\n  interval: 100ms\n  burst: 3\n");
        let guard = Guard::read(&path).unwrap();
        let through = || (0..10).filter(|_| guard.takes_one_more()).count();
        assert_eq!(through(), 3);
        tokio::time::advance(std::time::Duration::from_millis(200)).await;
        assert_eq!(through(), 2);
        tokio::time::advance(std::time::Duration::from_secs(60)).await;
        assert_eq!(through(), 3);
        for text in ["rate_limit:\n  interval: 0\n", "basic_auth_users: {}\n"] {
            let (_folder, path) = written(text);
            let guard = Guard::read(&path).unwrap();
            assert!((0..1_000).all(|_| guard.takes_one_more()), "{text}");
        }
    }

    #[test]
    fn headers_are_added_and_ours_that_are_stricter_stay() {
        let (_folder, path) = written(
            "http_server_config:\n  http2: true\n  headers:\n    Strict-Transport-Security: max-age=600\n    \
             X-XSS-Protection: \"\"\n    X-Frame-Options: sameorigin\n    Content-Security-Policy: default-src *\n",
        );
        let guard = Guard::read(&path).unwrap();
        let headers: Vec<String> = guard
            .headers()
            .iter()
            .map(|(name, _)| name.to_string())
            .collect();
        assert_eq!(headers, ["strict-transport-security"]);
        let notes = guard.notes();
        for key in ["http2", "X-Frame-Options", "Content-Security-Policy"] {
            assert!(
                notes.iter().any(|note| note.contains(key)),
                "{key}: {notes:?}"
            );
        }
        assert_eq!(notes.len(), 3);
    }

    #[test]
    fn what_cannot_be_used_says_what_to_write() {
        for (text, says) in [
            ("basic_auth_users:\n  ada: secret\n", "htpasswd"),
            ("tls_server:\n  a: b\n", "basic_auth_users"),
            (
                "tls_server_config:\n  cert_file: a\n  key_file: b\n",
                "cert_file",
            ),
            ("- 1\n", "web configuration"),
            ("rate_limit:\n  interval: soon\n", "interval"),
            ("rate_limit:\n  interval: 1s\n", "burst"),
            (
                "http_server_config:\n  headers:\n    Server: x\n",
                "\"Server\" cannot be set",
            ),
            (
                "http_server_config:\n  headers:\n    X-Frame-Options: allow\n",
                "none of deny, sameorigin",
            ),
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

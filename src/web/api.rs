//! What operators do over HTTP: silences, acknowledgements, maintenance.
//!
//! Whoever may read the metrics may read these; whoever changes something shows the configured token, and where none is
//! configured nobody can. Nothing changes by `GET`; a change is JSON that says so in its content type, so that no form
//! and no foreign page can make one; it has a size and a time. It goes to the one that owns the state and is answered
//! once it is on the disk, or says that it is not.

mod runs;
pub(super) mod shown;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::clock;
use crate::config::{Secret, parse_duration};
use crate::core::desk::{Command, Done, Refused, View, matchers_of};
use crate::core::event::Timestamp;

pub use runs::{RunAsk, Synthetic};

const MOST_BYTES: usize = 16 << 10;
/// For a body to come, and for an answer of the one that owns the state.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way to the one that owns the state.
#[derive(Clone, Debug)]
pub struct Operators {
    /// `None`: nothing can be changed.
    pub token: Option<Secret>,
    /// When it is full, an operator is told to come again.
    pub asks: mpsc::Sender<Ask>,
    pub view: watch::Receiver<Arc<View>>,
    pub synthetic: Synthetic,
}

/// An operator's wish, and whom to answer.
#[derive(Debug)]
pub struct Ask {
    pub command: Command,
    pub answer: oneshot::Sender<Answer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub done: Result<Done, Refused>,
    /// It outlives a restart.
    pub saved: bool,
}

type Known = State<Arc<Operators>>;

pub(super) fn router(operators: Operators) -> Router {
    Router::new()
        .route("/api/v1/incidents", get(incidents))
        .route("/api/v1/incidents/{id}/ack", post(acknowledge))
        .route("/api/v1/silences", get(silences).post(silence))
        .route("/api/v1/silences/{id}", delete(expire))
        .route("/api/v1/maintenance", get(maintenance).post(start))
        .route("/api/v1/maintenance/{id}", delete(end))
        .route("/api/v1/synthetic/runs", post(runs::wanted))
        .route("/api/v1/fixes", post(mark))
        .with_state(Arc::new(operators))
}

async fn incidents(State(known): Known) -> Response {
    let view = Arc::clone(&known.view.borrow());
    said(StatusCode::OK, &shown::incidents(&view))
}

async fn silences(State(known): Known) -> Response {
    let view = Arc::clone(&known.view.borrow());
    said(StatusCode::OK, &shown::silences(&view, clock::now()))
}

async fn maintenance(State(known): Known) -> Response {
    let view = Arc::clone(&known.view.borrow());
    said(StatusCode::OK, &shown::maintenance(&view, clock::now()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSilence {
    matchers: Vec<String>,
    author: String,
    reason: String,
    expires_in: String,
    starts_at: Option<String>,
}

async fn silence(State(known): Known, request: Request<Body>) -> Response {
    change(&known, request, |new: NewSilence| {
        Ok(Command::AddSilence {
            matchers: matchers_of(&new.matchers)?,
            author: new.author,
            reason: new.reason,
            starts_at: new.starts_at.as_deref().map(moment).transpose()?,
            lasts_ms: length("expires_in", &new.expires_in)?,
        })
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Author {
    author: String,
}

async fn expire(State(known): Known, Path(id): Path<String>, request: Request<Body>) -> Response {
    change(&known, request, |Author { author }| {
        Ok(Command::ExpireSilence {
            id: number(&id)?,
            author,
        })
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAcknowledgement {
    author: String,
    #[serde(default)]
    note: String,
}

async fn acknowledge(
    State(known): Known,
    Path(incident): Path<String>,
    request: Request<Body>,
) -> Response {
    change(&known, request, |new: NewAcknowledgement| {
        Ok(Command::Acknowledge {
            incident,
            author: new.author,
            note: new.note,
        })
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewMaintenance {
    author: String,
    reason: String,
    #[serde(rename = "for")]
    lasts: String,
}

async fn start(State(known): Known, request: Request<Body>) -> Response {
    change(&known, request, |new: NewMaintenance| {
        Ok(Command::StartMaintenance {
            author: new.author,
            reason: new.reason,
            lasts_ms: length("for", &new.lasts)?,
        })
    })
    .await
}

async fn end(State(known): Known, Path(id): Path<String>, request: Request<Body>) -> Response {
    change(&known, request, |Author { author }| {
        Ok(Command::EndMaintenance {
            id: number(&id)?,
            author,
        })
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewFix {
    author: String,
    note: String,
}

async fn mark(State(known): Known, request: Request<Body>) -> Response {
    change(&known, request, |new: NewFix| {
        Ok(Command::MarkFix {
            author: new.author,
            note: new.note,
        })
    })
    .await
}

/// One change, from the one who asks to the answer.
async fn change<T: DeserializeOwned>(
    known: &Operators,
    request: Request<Body>,
    command: impl FnOnce(T) -> Result<Command, String>,
) -> Response {
    let (head, body) = request.into_parts();
    if let Err(refusal) = may(known.token.as_ref(), &head.headers) {
        return refusal;
    }
    if !is_json(&head.headers) {
        return problem(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a change is JSON; send it with the header Content-Type: application/json",
        );
    }
    let Some(read) = in_time(to_bytes(body, MOST_BYTES)).await else {
        return problem(StatusCode::REQUEST_TIMEOUT, "the body did not come in time");
    };
    let Ok(bytes) = read else {
        return problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is larger than 16 KiB, or broke off",
        );
    };
    let command = serde_json::from_slice(&bytes)
        .map_err(|error| format!("the body: {error}"))
        .and_then(command);
    match command {
        Ok(command) => ask(known, command).await,
        Err(error) => problem(StatusCode::BAD_REQUEST, &error),
    }
}

async fn ask(known: &Operators, command: Command) -> Response {
    match asked(known, command).await {
        Ok(answer) => answer_of(answer),
        Err((StatusCode::SERVICE_UNAVAILABLE, why)) => {
            let busy = problem(StatusCode::SERVICE_UNAVAILABLE, &why);
            ([(RETRY_AFTER, "1")], busy).into_response()
        }
        Err((status, why)) => problem(status, &why),
    }
}

/// Hands a wish to the one that owns the state; what was answered, or why nothing was.
pub(super) async fn asked(
    known: &Operators,
    command: Command,
) -> Result<Answer, (StatusCode, String)> {
    let (answer, answered) = oneshot::channel();
    if known.asks.try_send(Ask { command, answer }).is_err() {
        return Err((
            StatusCode::SERVICE_UNAVAILABLE,
            "too much is asked at once, or bootwatch is stopping; try again".to_owned(),
        ));
    }
    match in_time(answered).await {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(_)) => Err((
            StatusCode::SERVICE_UNAVAILABLE,
            "bootwatch is stopping".to_owned(),
        )),
        None => Err((
            StatusCode::GATEWAY_TIMEOUT,
            "no answer in time; look whether it was done before you try again".to_owned(),
        )),
    }
}

fn answer_of(answer: Answer) -> Response {
    let done = match answer.done {
        Ok(done) => done,
        Err(refused) => {
            let status = match refused {
                Refused::Invalid { .. } | Refused::Misspelt(_) => StatusCode::BAD_REQUEST,
                Refused::Unknown(_) => StatusCode::NOT_FOUND,
                Refused::Ambiguous | Refused::Full(_) => StatusCode::CONFLICT,
            };
            return problem(status, &refused.to_string());
        }
    };
    let (status, id) = match done {
        Done::Silenced(id) | Done::MaintenanceStarted(id) | Done::FixMarked(id) => {
            (StatusCode::CREATED, id.to_string())
        }
        Done::Expired(id) | Done::MaintenanceEnded(id) => (StatusCode::OK, id.to_string()),
        Done::Acknowledged(incident) => (StatusCode::OK, incident),
    };
    let status = match answer.saved {
        true => status,
        // It holds, and a restart would forget it.
        false => StatusCode::ACCEPTED,
    };
    said(status, &json!({ "id": id, "saved": answer.saved }))
}

/// Whether this client may change something.
#[expect(clippy::result_large_err, reason = "the error is what is answered")]
fn may(token: Option<&Secret>, headers: &HeaderMap) -> Result<(), Response> {
    let Some(token) = token else {
        return Err(problem(
            StatusCode::FORBIDDEN,
            "no token is configured, so nothing can be changed; set web.token_file and restart",
        ));
    };
    let shown = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.as_bytes().split_at_checked(7))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
    let shown = shown.map_or(&b""[..], |(_, token)| token);
    if is_same(shown, token.expose().as_bytes()) {
        return Ok(());
    }
    tracing::warn!("a change was refused: its token is missing or wrong");
    let refusal = problem(
        StatusCode::UNAUTHORIZED,
        "the token is missing or wrong; send the header Authorization: Bearer TOKEN",
    );
    Err(([(WWW_AUTHENTICATE, "Bearer realm=\"bootwatch\"")], refusal).into_response())
}

/// Takes as long wherever two texts differ, and whatever their lengths: as long as the shown one is.
pub(super) fn is_same(shown: &[u8], known: &[u8]) -> bool {
    let mut differs = u8::from(shown.len() != known.len());
    for (place, byte) in shown.iter().enumerate() {
        let other = known.get(place % known.len().max(1)).copied();
        differs = std::hint::black_box(differs | (byte ^ other.unwrap_or(!byte)));
    }
    differs == 0 && !known.is_empty()
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "the id is a number, as the list shows it".to_owned())
}

fn length(field: &str, text: &str) -> Result<i64, String> {
    let length = parse_duration(text).map_err(|error| format!("{field}: {error}"))?;
    Ok(clock::millis(length))
}

fn moment(text: &str) -> Result<Timestamp, String> {
    let at: jiff::Timestamp = text
        .parse()
        .map_err(|_| "starts_at: write a time such as 2025-10-18T18:00:00Z".to_owned())?;
    Ok(Timestamp(at.as_millisecond()))
}

pub(super) async fn in_time<T>(work: impl Future<Output = T>) -> Option<T> {
    timeout(PATIENCE, work).await.ok()
}

pub(super) fn problem(status: StatusCode, error: &str) -> Response {
    said(status, &json!({ "error": error }))
}

fn said(status: StatusCode, value: &Value) -> Response {
    let text = format!("{value}\n");
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token() {
        for (shown, same) in [
            ("secret-of-sixteen", true),
            ("secret-of-sixteeN", false),
            ("secret-of-sixtee", false),
            ("secret-of-sixteensecret-of-sixteen", false),
            ("", false),
            ("Secret-of-sixteen", false),
        ] {
            assert_eq!(
                is_same(shown.as_bytes(), b"secret-of-sixteen"),
                same,
                "{shown}"
            );
        }
        assert!(!is_same(b"", b""), "no token opens nothing");
    }
}

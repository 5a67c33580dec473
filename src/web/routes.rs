//! Which path shows what, and the headers that every answer bears.

use std::io::Write;
use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, VARY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::events::Events;
use super::guard::{Guard, May};
use super::pages::Site;
use super::{Faces, api, json, pages};
use crate::config::Secret;

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// What the pages need and nothing else: our own style, script and icon, and forms that come back to us.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const GUARDS: [(HeaderName, HeaderValue); 6] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    // Not `no-referrer`: a form would then say that it comes from nowhere.
    (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// What the pages are drawn with; it is in the program.
const ASSETS: [(&str, &str, &str); 3] = [
    (
        pages::STYLE,
        "text/css; charset=utf-8",
        include_str!("assets/style.css"),
    ),
    (
        pages::SCRIPT,
        "text/javascript; charset=utf-8",
        include_str!("assets/live.js"),
    ),
    (
        pages::ICON,
        "image/svg+xml",
        include_str!("assets/icon.svg"),
    ),
];

struct Shown {
    faces: Faces,
    events: Events,
    /// One scrape is written at a time: a hundred at once would take every core from the watch.
    writing: Semaphore,
}

pub(super) fn router(faces: Faces, stop: CancellationToken) -> Router {
    let api = api::router(faces.operators.clone());
    let site = Site::new(faces.clone());
    let door = Door {
        guard: Arc::clone(&faces.guard),
        token: faces.operators.token.clone(),
        public: faces.public,
    };
    let shown = Shown {
        events: Events::new(faces.live.clone(), stop),
        faces,
        writing: Semaphore::new(1),
    };
    let assets = ASSETS
        .into_iter()
        .fold(Router::new(), |router, (path, kind, text)| {
            router.route(
                path,
                get(move || async move { ([(CONTENT_TYPE, kind)], text) }),
            )
        });
    Router::new()
        .route("/events", get(events))
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .with_state(Arc::new(shown))
        .merge(assets)
        .merge(api)
        .merge(json::router(Arc::clone(&site)))
        .merge(pages::router(Arc::clone(&site)))
        .fallback(unknown)
        .layer(from_fn_with_state((door.clone(), site), in_html))
        .layer(from_fn_with_state(door, admit))
        .layer(from_fn(in_json))
        .layer(map_response(guard))
}

/// Who stands at it.
#[derive(Clone)]
struct Door {
    guard: Arc<Guard>,
    token: Option<Secret>,
    /// [`pages::PUBLIC`] is for everybody.
    public: bool,
}

impl Door {
    /// The page for everybody and what it is drawn with; nothing else.
    fn stands_open(&self, path: &str) -> bool {
        self.public && [pages::PUBLIC, pages::STYLE, pages::SCRIPT, pages::ICON].contains(&path)
    }
}

/// Nothing is told to whoever may not look, not even what there is; and nobody is told more often than the file allows.
async fn admit(State(door): State<Door>, request: Request, next: Next) -> Response {
    let mut response = match door.guard.takes_one_more() {
        true => look(&door, request, next).await,
        false => plain(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests\n".to_owned(),
        ),
    };
    response.headers_mut().extend(door.guard.headers());
    response
}

async fn look(door: &Door, request: Request, next: Next) -> Response {
    if door.stands_open(request.uri().path()) {
        return next.run(request).await;
    }
    match door.guard.may(request.headers(), door.token.as_ref()).await {
        May::Look => next.run(request).await,
        May::Not => {
            let refusal = plain(StatusCode::UNAUTHORIZED, "who are you?\n".to_owned());
            ([(WWW_AUTHENTICATE, "Basic realm=\"bootwatch\"")], refusal).into_response()
        }
    }
}

async fn events(State(shown): State<Arc<Shown>>) -> Response {
    shown.events.answer()
}

/// Written on a thread of its own, so that a scrape does not hold up the way of a page.
async fn metrics(State(shown): State<Arc<Shown>>, headers: HeaderMap) -> Response {
    let Ok(_turn) = shown.writing.acquire().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let render = Arc::clone(&shown.faces.metrics);
    let pack = takes_gzip(&headers);
    let written = tokio::task::spawn_blocking(move || {
        let text = render();
        let packed = pack.then(|| gzip(&text)).and_then(Result::ok);
        // Into memory nothing fails; if it did, the plain text is as good.
        packed.map_or((text, false), |packed| (packed, true))
    });
    let about = [(CONTENT_TYPE, METRICS), (VARY, "accept-encoding")];
    match written.await {
        Ok((text, false)) => (about, text).into_response(),
        Ok((packed, true)) => (about, [(CONTENT_ENCODING, "gzip")], packed).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Whether the client names gzip, and not with a weight of nothing.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let named = headers.get_all(ACCEPT_ENCODING).iter();
    named
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|one| {
            let (coding, weight) = one.split_once(';').unwrap_or((one, "q=1"));
            let weight = weight.trim().trim_start_matches("q=").parse::<f64>();
            coding.trim().eq_ignore_ascii_case("gzip") && weight.is_ok_and(|weight| weight > 0.0)
        })
}

fn gzip(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(text)?;
    packer.finish()
}

async fn healthy() -> Response {
    plain(StatusCode::OK, "healthy\n".to_owned())
}

async fn ready(State(shown): State<Arc<Shown>>) -> Response {
    let ready = &shown.faces.ready;
    if ready.has_changed().is_err() {
        return not_ready(["the watch has stopped".to_owned()].iter());
    }
    let state = ready.borrow().clone();
    if state.is_ready() {
        plain(StatusCode::OK, "ready\n".to_owned())
    } else {
        not_ready(state.reasons.iter())
    }
}

fn not_ready<'a>(reasons: impl Iterator<Item = &'a String>) -> Response {
    let mut text = "not ready\n".to_owned();
    for reason in reasons {
        text.push_str("- ");
        // A reason may quote what the machine said, and this is read in terminals.
        text.extend(
            reason
                .chars()
                .map(|c| if c.is_control() { '\u{fffd}' } else { c }),
        );
        text.push('\n');
    }
    plain(StatusCode::SERVICE_UNAVAILABLE, text)
}

async fn unknown() -> Response {
    plain(
        StatusCode::NOT_FOUND,
        "nothing is here; / lists what is\n".to_owned(),
    )
}

/// A refusal is a line or two.
const MOST_REFUSAL: usize = 4 << 10;

/// Who asks a program's interface is answered as programs read, also where nobody of it was reached.
async fn in_json(request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let response = next.run(request).await;
    let said = response.headers().get(CONTENT_TYPE);
    let is_json = said.is_some_and(|said| said.as_bytes().starts_with(b"application/json"));
    let failed = response.status().is_client_error() || response.status().is_server_error();
    if !is_api || is_json || !failed {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = to_bytes(body, MOST_REFUSAL).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let error = match text.trim() {
        "" => parts.status.canonical_reason().unwrap_or("refused"),
        text => text,
    };
    reworded(api::problem(parts.status, error), &mut parts.headers)
}

/// Who reads in a browser is answered with a page, where nobody was reached. It says how things stand, so that whoever came
/// through the open part of the door does not get it.
async fn in_html(
    State((door, site)): State<(Door, Arc<Site>)>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let is_for_programs = path.starts_with("/api/") || door.stands_open(path);
    let accepts = request.headers().get(ACCEPT);
    let reads_html = accepts.is_some_and(|kinds| {
        kinds
            .to_str()
            .is_ok_and(|kinds| kinds.contains("text/html"))
    });
    let mut response = next.run(request).await;
    let (title, why) = match response.status() {
        StatusCode::NOT_FOUND => ("Nothing is here", "The address names no page."),
        StatusCode::METHOD_NOT_ALLOWED => (
            "This address does not take that",
            "Nothing was changed. A form's address is no page: go to where the form is.",
        ),
        _ => return response,
    };
    let said = response.headers().get(CONTENT_TYPE);
    let is_html = said.is_some_and(|said| said.as_bytes().starts_with(b"text/html"));
    if is_for_programs || !reads_html || is_html {
        return response;
    }
    let refusal = pages::sorry(&site, response.status(), "", title, why);
    reworded(refusal, response.headers_mut())
}

/// The same refusal in other words: what else the first answer's head says stays.
fn reworded(mut refusal: Response, said: &mut HeaderMap) -> Response {
    for of_body in [CONTENT_LENGTH, CONTENT_TYPE] {
        said.remove(of_body);
    }
    refusal.headers_mut().extend(std::mem::take(said));
    refusal
}

fn plain(status: StatusCode, text: String) -> Response {
    (status, [(CONTENT_TYPE, TEXT)], text).into_response()
}

async fn guard(mut response: Response) -> Response {
    for (name, value) in GUARDS {
        // An archived report has a policy of its own.
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

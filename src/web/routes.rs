//! Which path shows what, and the headers that every answer bears.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;

use super::{Faces, api, page};

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

const GUARDS: [(HeaderName, HeaderValue); 5] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
    ),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

struct Shown {
    faces: Faces,
    index: String,
    /// One scrape is written at a time: a hundred at once would take every core from the watch.
    writing: Semaphore,
}

pub(super) fn router(faces: Faces) -> Router {
    let api = api::router(faces.operators.clone());
    let shown = Shown {
        index: page::index(faces.version, &faces.host),
        faces,
        writing: Semaphore::new(1),
    };
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .fallback(unknown)
        .layer(map_response(guard))
        .with_state(Arc::new(shown))
        .merge(api.layer(map_response(guard)))
}

async fn index(State(shown): State<Arc<Shown>>) -> Response {
    ([(CONTENT_TYPE, HTML)], shown.index.clone()).into_response()
}

/// Written on a thread of its own, so that a scrape does not hold up the way of a page.
async fn metrics(State(shown): State<Arc<Shown>>) -> Response {
    let Ok(_turn) = shown.writing.acquire().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let render = Arc::clone(&shown.faces.metrics);
    match tokio::task::spawn_blocking(move || render()).await {
        Ok(text) => ([(CONTENT_TYPE, METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
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

fn plain(status: StatusCode, text: String) -> Response {
    (status, [(CONTENT_TYPE, TEXT)], text).into_response()
}

async fn guard(mut response: Response) -> Response {
    for (name, value) in GUARDS {
        response.headers_mut().insert(name, value);
    }
    response
}

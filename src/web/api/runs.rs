//! Synthetic boots over HTTP: what is shown of them, and one now.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Known, in_time, may, problem, said};
use crate::core::synthetic::SkipReason;

/// The way to the one that makes synthetic boots.
#[derive(Clone, Debug)]
pub struct Synthetic {
    /// What is shown, as it is shown.
    pub view: watch::Receiver<Arc<Value>>,
    /// `None`: none are made.
    pub asks: Option<mpsc::Sender<RunAsk>>,
}

impl Synthetic {
    /// None are made, and that is shown.
    #[must_use]
    pub fn off() -> Synthetic {
        let (_, view) = watch::channel(Arc::new(json!({ "enabled": false })));
        Synthetic { view, asks: None }
    }
}

/// Somebody wants a run now.
#[derive(Debug)]
pub struct RunAsk {
    /// The guard that forbids it; `None`: it begins, if the controller is well.
    pub answer: oneshot::Sender<Option<SkipReason>>,
}

pub(super) async fn wanted(State(known): Known, request: Request<Body>) -> Response {
    if let Err(refusal) = may(known.token.as_ref(), request.headers()) {
        return refusal;
    }
    let Some(asks) = &known.synthetic.asks else {
        let text = "no synthetic boots are configured; write a section [synthetic] and restart";
        return problem(StatusCode::CONFLICT, text);
    };
    let (answer, answered) = oneshot::channel();
    if asks.try_send(RunAsk { answer }).is_err() {
        let text = "others are asking; come again";
        return problem(StatusCode::SERVICE_UNAVAILABLE, text);
    }
    match in_time(answered).await {
        Some(Ok(None)) => {
            let body = json!({"accepted": true, "shown_at": "/api/v1/synthetic"});
            said(StatusCode::ACCEPTED, &body)
        }
        Some(Ok(Some(reason))) => problem(StatusCode::CONFLICT, &format!("not now: {reason}")),
        Some(Err(_)) => problem(StatusCode::SERVICE_UNAVAILABLE, "bootwatch is stopping"),
        None => problem(StatusCode::GATEWAY_TIMEOUT, "no answer in time"),
    }
}

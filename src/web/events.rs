//! Tells pages that something has changed, so that they fetch themselves anew.
//!
//! Server-sent events carry no content, only the word: what is shown has one way to the browser, and its escaping. A
//! stream ends by itself after a while, as every connection does, and the browser asks again; there are at most
//! [`MOST`] of them, so that they never take the places of those who look once.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::model::Live;

/// Streams at a time.
pub(super) const MOST: usize = 40;
/// Pages look so often at most.
const PACE: Duration = Duration::from_secs(2);
/// After this, and [`PACE`], the page is told that all is still here: it looks then, as the state may have changed by
/// nothing being seen. A page that has seen nothing for 20 s says that it is not live (`assets/live.js`).
const SILENCE: Duration = Duration::from_secs(8);
const LIFETIME: Duration = Duration::from_secs(240);

const BEGIN: &str = "retry: 3000\nevent: changed\ndata: now\n\n";
const CHANGED: &str = "event: changed\ndata: now\n\n";
/// An event and no comment, since script does not see comments.
const STILL: &str = "event: still\ndata: now\n\n";

pub(super) struct Events {
    places: Arc<Semaphore>,
    live: watch::Receiver<Arc<Live>>,
    stop: CancellationToken,
}

impl Events {
    pub(super) fn new(live: watch::Receiver<Arc<Live>>, stop: CancellationToken) -> Events {
        Events {
            places: Arc::new(Semaphore::new(MOST)),
            live,
            stop,
        }
    }

    pub(super) fn answer(&self) -> Response {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n").into_response();
        };
        let stream = Stream {
            waiting: Some(Box::pin(std::future::ready(Some((
                BEGIN,
                self.live.clone(),
            ))))),
            stop: self.stop.clone(),
            until: Box::pin(sleep(LIFETIME)),
            _place: place,
        };
        let about = [
            (CONTENT_TYPE, "text/event-stream"),
            // nginx gathers answers as it comes configured, and would hand on none of it before the end.
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ];
        (about, Body::new(stream)).into_response()
    }
}

type Next =
    Pin<Box<dyn Future<Output = Option<(&'static str, watch::Receiver<Arc<Live>>)>> + Send>>;

struct Stream {
    waiting: Option<Next>,
    stop: CancellationToken,
    until: Pin<Box<tokio::time::Sleep>>,
    _place: OwnedSemaphorePermit,
}

/// Waits for the next thing to say; `None`: nothing comes any more.
async fn next(
    mut live: watch::Receiver<Arc<Live>>,
    stop: CancellationToken,
) -> Option<(&'static str, watch::Receiver<Arc<Live>>)> {
    let said = async {
        sleep(PACE).await;
        match timeout(SILENCE, live.changed()).await {
            Ok(Ok(())) => Some(CHANGED),
            Ok(Err(_)) => None,
            Err(_) => Some(STILL),
        }
    };
    let said = stop.run_until_cancelled(said).await??;
    live.mark_unchanged();
    Some((said, live))
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.until.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        let Some(waiting) = self.waiting.as_mut() else {
            return Poll::Ready(None);
        };
        match waiting.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.waiting = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some((said, live))) => {
                self.waiting = Some(Box::pin(next(live, self.stop.clone())));
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(said.as_bytes())))))
            }
        }
    }
}

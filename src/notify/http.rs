//! A POST as every receiver over HTTP gets it.
//!
//! The connection is kept, so that a page need not wait for a handshake, and watched by the kernel, so that one that a
//! firewall has forgotten is not found out by a page. Proxy variables of the environment are ignored: the controller's
//! environment carries its users' proxy. Redirects are not followed: a page goes where it was told to, or it says so.

use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url, redirect};

use super::error::{Fault, NotifyError};
use super::{Message, Unusable, retry};
use crate::clock;
use crate::config::{Endpoint, Secret};

const CONNECT: Duration = Duration::from_secs(5);
/// An answer's body is read so far, and so long.
const ANSWER_BYTES: usize = 64 * 1024;
const ANSWER_TIME: Duration = Duration::from_millis(500);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// One receiver's address, and the connection to it.
pub(super) struct Post {
    client: Client,
    url: Url,
}

/// What a receiver answered.
pub(super) struct Answer {
    pub(super) status: u16,
    /// Its wish to be left alone for so long.
    pub(super) wish: Option<Duration>,
    /// `None`: it did not end in time, or was too long.
    pub(super) body: Option<Vec<u8>>,
}

impl Answer {
    /// What the status says, where the body has no say.
    pub(super) fn by_status(&self) -> Result<(), NotifyError> {
        NotifyError::of_status(self.status, self.wish).map_or(Ok(()), Err)
    }
}

impl Post {
    /// `path` is put behind what is configured.
    pub(super) fn open(
        notifier: &str,
        endpoint: &Endpoint,
        path: &str,
        timeout: Duration,
        mut headers: HeaderMap,
    ) -> Result<Post, Unusable> {
        let whole = endpoint.expose().to_string();
        let whole = match path {
            "" => whole,
            _ => format!("{}{path}", whole.trim_end_matches('/')),
        };
        // Never with the reason: it would quote the URL.
        let url =
            Url::parse(&whole).map_err(|_| Unusable::new(notifier, "its url cannot be used"))?;
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        super::install_tls();
        let mut client = Client::builder()
            .user_agent(concat!("bootwatch/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT.min(timeout))
            .timeout(timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(30))
            .tcp_keepalive_interval(Duration::from_secs(5))
            .tcp_keepalive_retries(3)
            .pool_idle_timeout(None)
            .pool_max_idle_per_host(1);
        if url.scheme() == "http" {
            // The machine's certificates are neither needed nor, on a bare one, there.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| {
            Unusable::new(notifier, "its client cannot be made").because(error.without_url())
        })?;
        Ok(Post { client, url })
    }

    /// Tries once. The message's id goes along as the key by which a receiver knows a repetition.
    pub(super) async fn message(
        &self,
        message: &Message,
        body: Vec<u8>,
        most_bytes: usize,
    ) -> Result<Answer, NotifyError> {
        let id = HeaderValue::from_str(&message.id)
            .map_err(|_| NotifyError::permanent(Fault::Request))?;
        if body.len() > most_bytes {
            return Err(NotifyError::permanent(Fault::TooLarge(body.len())));
        }
        self.answer(
            self.client
                .post(self.url.clone())
                .header(IDEMPOTENCY_KEY, id),
            body,
        )
        .await
    }

    /// Tries once, with what has no id.
    pub(super) async fn state(&self, body: Vec<u8>) -> Result<Answer, NotifyError> {
        self.answer(self.client.post(self.url.clone()), body).await
    }

    async fn answer(
        &self,
        request: reqwest::RequestBuilder,
        body: Vec<u8>,
    ) -> Result<Answer, NotifyError> {
        let answer = request
            .body(body)
            .send()
            .await
            .map_err(NotifyError::of_client)?;
        let status = answer.status().as_u16();
        let wish = answer
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry::retry_after(value, clock::now()));
        // A body that does not end costs the connection and nothing else.
        let body = tokio::time::timeout(ANSWER_TIME, whole(answer))
            .await
            .ok()
            .flatten();
        Ok(Answer { status, wish, body })
    }
}

async fn whole(mut answer: Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Ok(chunk) = answer.chunk().await {
        let Some(chunk) = chunk else {
            return Some(body);
        };
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES {
            return None;
        }
    }
    None
}

/// A header's value that logs do not show.
pub(super) fn secret_value(secret: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(secret.expose()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

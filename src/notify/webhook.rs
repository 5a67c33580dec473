//! `type = "webhook"`: a POST of Alertmanager's payload.
//!
//! The connection is kept, so that a page need not wait for a handshake, and watched by the kernel, so that one that a
//! firewall has forgotten is not found out by a page. Proxy variables of the environment are ignored: the controller's
//! environment carries its users' proxy. Redirects are not followed: a page goes where it was told to, or it says so.

mod payload;

#[cfg(test)]
mod tests;

use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url, redirect};

use super::error::{Fault, NotifyError};
use super::page::{Context, Page};
use super::{Attempt, Kind, Message, Transport, Unusable, retry};
use crate::clock;
use crate::config::{Channel, Notifier, Secret, Webhook};
use crate::core::alert::Notification;

pub(super) const KIND: Kind = Kind {
    name: "webhook",
    open,
};

const CONNECT: Duration = Duration::from_secs(5);
/// No receiver is asked to take more.
const MOST_BYTES: usize = 256 * 1024;
/// An answer's body is read so far, and so long, only to keep the connection.
const ANSWER_BYTES: usize = 64 * 1024;
const ANSWER_TIME: Duration = Duration::from_millis(500);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

struct Receiver {
    name: String,
    client: Client,
    url: Url,
}

fn open(notifier: &Notifier) -> Result<Box<dyn Transport>, Unusable> {
    let Channel::Webhook(settings) = &notifier.channel;
    let unusable = |what: &'static str| Unusable {
        notifier: notifier.name.clone(),
        what,
        source: None,
    };
    // Never with the reason: it would quote the URL.
    let url = Url::parse(&settings.url.expose().to_string())
        .map_err(|_| unusable("its url cannot be used"))?;
    let headers = headers(settings).ok_or_else(|| unusable("a header cannot be sent"))?;
    super::install_tls();
    let mut client = Client::builder()
        .user_agent(concat!("bootwatch/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT.min(settings.timeout))
        .timeout(settings.timeout)
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
    let client = client.build().map_err(|error| Unusable {
        source: Some(error.without_url()),
        ..unusable("its client cannot be made")
    })?;
    Ok(Box::new(Receiver {
        name: notifier.name.clone(),
        client,
        url,
    }))
}

fn headers(settings: &Webhook) -> Option<HeaderMap> {
    let value = |secret: &Secret| {
        let mut value = HeaderValue::from_str(secret.expose()).ok()?;
        value.set_sensitive(true);
        Some(value)
    };
    let mut headers = HeaderMap::new();
    for (name, secret) in &settings.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, value(secret)?);
    }
    if let Some(secret) = &settings.authorization {
        headers.insert(header::AUTHORIZATION, value(secret)?);
    }
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    Some(headers)
}

impl Transport for Receiver {
    fn render(&self, notification: &Notification, page: &Page, context: &Context) -> Vec<u8> {
        let body = payload::render(&self.name, notification, page, context);
        if body.len() <= MOST_BYTES {
            return body;
        }
        payload::render(&self.name, notification, &page.reduced(), context)
    }

    fn send<'a>(&'a self, message: &'a Message) -> Attempt<'a> {
        Box::pin(self.post(message))
    }
}

impl Receiver {
    async fn post(&self, message: &Message) -> Result<(), NotifyError> {
        let id = HeaderValue::from_str(&message.id).map_err(|_| NotifyError::Permanent {
            fault: Fault::Request,
            source: None,
        })?;
        if message.body.len() > MOST_BYTES {
            return Err(NotifyError::Permanent {
                fault: Fault::TooLarge(message.body.len()),
                source: None,
            });
        }
        let answer = self
            .client
            .post(self.url.clone())
            .header(IDEMPOTENCY_KEY, id)
            .body(message.body.clone())
            .send()
            .await
            .map_err(NotifyError::of_client)?;
        let status = answer.status().as_u16();
        let wish = answer
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry::retry_after(value, clock::now()));
        // The status is the answer; a body that does not end costs the connection and nothing else.
        let drained = tokio::time::timeout(ANSWER_TIME, drain(answer)).await;
        if drained.is_err() {
            tracing::debug!(channel = self.name, "the answer's body did not end");
        }
        NotifyError::of_status(status, wish).map_or(Ok(()), Err)
    }
}

async fn drain(mut answer: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = answer.chunk().await {
        read += chunk.len();
        if read > ANSWER_BYTES {
            return;
        }
    }
}

//! Calls of the controller's interface for synthetic boots.
//!
//! Each is one request on a connection of its own, without redirects or proxies; of an answer at most
//! [`MOST_BODY`] bytes are read, given to `reading`, and dropped: they hold credentials. Nothing is tried twice here.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Method, Url, redirect};

use crate::core::synthetic::CallError;

pub const MOST_BODY: usize = 64 << 10;
const CONNECT: Duration = Duration::from_secs(5);
/// October's controller answers a request to start when the VM is there, or its CLI VM has failed to come.
const START: Duration = Duration::from_secs(150);
const OTHERS: Duration = Duration::from_secs(30);

/// One controller.
#[derive(Clone, Debug)]
pub struct Controller {
    client: Client,
    base: Url,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    pub path: String,
    /// With one it is a POST.
    pub body: Option<String>,
    pub patience: Patience,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// For a VM to be made.
    Long,
    Usual,
}

/// An answer's outside: its status, and what the limiter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub left: Option<u32>,
    pub retry_ms: Option<i64>,
}

impl Controller {
    /// # Errors
    /// The client cannot be made, or the URL is none.
    pub fn new(base: &str) -> Result<Controller, String> {
        let base = Url::parse(base).map_err(|error| error.to_string())?;
        let mut client = Client::builder()
            .user_agent(concat!("bootwatch/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(0);
        if base.scheme() == "http" {
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| error.to_string())?;
        Ok(Controller { client, base })
    }

    /// Asks once. `reading` sees status and body, and nobody else does.
    ///
    /// # Errors
    /// What [`CallError`] tells apart.
    pub async fn ask<T>(
        &self,
        ask: Ask,
        reading: impl FnOnce(u16, &[u8]) -> Result<T, CallError>,
    ) -> Result<(T, Head), CallError> {
        let url = self
            .base
            .join(&ask.path)
            .map_err(|error| CallError::Unreachable(error.to_string()))?;
        let patience = match ask.patience {
            Patience::Long => START,
            Patience::Usual => OTHERS,
        };
        let request = match ask.body {
            Some(body) => self
                .client
                .request(Method::POST, url)
                .header(CONTENT_TYPE, "application/json")
                .body(body),
            None => self.client.get(url),
        };
        let mut answer = request
            .timeout(patience)
            .send()
            .await
            .map_err(|error| of_client(&error))?;
        let head = head(answer.status().as_u16(), answer.headers());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| of_client(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_BODY {
                let why = format!("the answer is longer than {MOST_BODY} bytes");
                return Err(CallError::Unanswered(why));
            }
        }
        match reading(head.status, &body) {
            Ok(read) => Ok((read, head)),
            Err(CallError::Limited { .. }) => Err(CallError::Limited {
                retry_ms: head.retry_ms.unwrap_or(0),
            }),
            Err(error) => Err(error),
        }
    }
}

fn head(status: u16, headers: &HeaderMap) -> Head {
    let number = |name: &str| {
        let text = headers.get(name)?.to_str().ok()?;
        text.trim().parse::<u32>().ok()
    };
    Head {
        status,
        left: number("x-ratelimit-remaining").or_else(|| number("ratelimit-remaining")),
        // More than an hour is no wish but a mistake.
        retry_ms: number("retry-after").map(|seconds| i64::from(seconds.min(3_600)) * 1_000),
    }
}

/// Never with the URL, which bears the mark.
fn of_client(error: &reqwest::Error) -> CallError {
    match error.is_connect() || error.is_builder() {
        true => CallError::Unreachable("no connection".to_owned()),
        false if error.is_timeout() => CallError::Unanswered("it took too long".to_owned()),
        false => CallError::Unanswered("the connection was closed".to_owned()),
    }
}

//! Calls of the controller's interface for synthetic boots.
//!
//! Each is one request on a connection of its own, without redirects or proxies; of an answer at most
//! [`MOST_BODY`] bytes are read, given to `reading`, and dropped: they hold credentials. Nothing is tried twice here.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION};
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
        let mut base = Url::parse(base).map_err(|error| error.to_string())?;
        // What is asked lies beneath it, wherever that is.
        let beneath = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&beneath);
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

    fn url_of(&self, path: &str) -> Result<Url, CallError> {
        self.base
            .join(path.trim_start_matches('/'))
            .map_err(|error| CallError::Unreachable(error.to_string()))
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
        let url = self.url_of(&ask.path)?;
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
        if answer.status().is_redirection() {
            let to = leads_to(answer.headers());
            return Err(CallError::Redirected { to });
        }
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

/// Where a redirect leads, to be shown: without what may be secret in it.
fn leads_to(headers: &HeaderMap) -> String {
    const SHOWN: usize = 80;
    let text = headers.get(LOCATION).map(|value| value.as_bytes());
    let text = String::from_utf8_lossy(text.unwrap_or_default());
    let place = text.split(['?', '#']).next().unwrap_or_default();
    // A name and a password before the host.
    let shown = match place.split_once("//") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("{scheme}//{host}/{path}")
        }
        None => place.to_owned(),
    };
    let shown = shown.escape_debug().take(SHOWN).collect();
    match text.is_empty() {
        true => "nowhere".to_owned(),
        false => shown,
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Answers every request with this, and counts them.
    fn answering(head: &'static str) -> (String, std::thread::JoinHandle<u32>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let mut asked = 0;
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut part = [0; 1_024];
                let read = stream.read(&mut part).unwrap();
                if part[..read].starts_with(b"GET /end ") {
                    break;
                }
                asked += 1;
                stream.write_all(head.as_bytes()).unwrap();
            }
            asked
        });
        (base, thread)
    }

    #[tokio::test]
    async fn a_redirect_is_followed_nowhere_and_told_without_its_secrets() {
        let (base, thread) = answering(
            "HTTP/1.1 302 Found\r\nLocation: http://me:hunter2@203.0.113.77:9/login?token=hunter2\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        drop(rustls::crypto::ring::default_provider().install_default());
        let controller = Controller::new(&base).unwrap();
        let ask = |path: &str| Ask {
            path: path.to_owned(),
            body: Some("{}".to_owned()),
            patience: Patience::Usual,
        };
        let answer = controller.ask(ask("/api/auth/start"), |_, _| Ok(())).await;
        let to = "http://203.0.113.77:9/login".to_owned();
        assert_eq!(answer, Err(CallError::Redirected { to }));
        let ask = Ask {
            body: None,
            ..ask("/end")
        };
        assert!(controller.ask(ask, |_, _| Ok(())).await.is_err());
        assert_eq!(thread.join().unwrap(), 1);
    }

    #[tokio::test]
    async fn what_is_asked_lies_beneath_the_controllers_path() {
        drop(rustls::crypto::ring::default_provider().install_default());
        for (base, asked) in [
            ("http://127.0.0.1:4000", "http://127.0.0.1:4000/api/x?a=b"),
            (
                "http://127.0.0.1:4000/ctl",
                "http://127.0.0.1:4000/ctl/api/x?a=b",
            ),
            (
                "http://127.0.0.1:4000/ctl/?t=1",
                "http://127.0.0.1:4000/ctl/api/x?a=b",
            ),
        ] {
            let controller = Controller::new(base).unwrap();
            assert_eq!(controller.url_of("/api/x?a=b").unwrap().as_str(), asked);
        }
    }

    #[test]
    fn wherever_it_leads_can_be_shown() {
        for (location, shown) in [
            ("/login", "/login"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000/"),
            ("//203.0.113.77/x#y", "//203.0.113.77/x"),
            ("", "nowhere"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, location.parse().unwrap());
            assert_eq!(leads_to(&headers), shown);
        }
        assert_eq!(leads_to(&HeaderMap::new()), "nowhere");
    }
}

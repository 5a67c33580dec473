//! Whether the web could listen where it should, or already does.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use reqwest::header::{CONTENT_SECURITY_POLICY, WWW_AUTHENTICATE};
use reqwest::{Client, StatusCode};

use crate::app;
use crate::cli::operate;
use crate::notify;

/// Who listens on this host answers in this time, or is no bootwatch that does.
const ANSWER: Duration = Duration::from_secs(5);

pub(super) fn try_web(listen: SocketAddr) -> Result<String, String> {
    match TcpListener::bind(listen) {
        Ok(_) => Ok(format!("{listen} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match is_bootwatch(listen) {
            true => Ok(format!("{listen} is in use by the bootwatch that runs")),
            false => Err(format!(
                "{listen}: {error}; what has it does not answer as bootwatch does (one that hangs does not \
                 either): see what it is (ss -ltnp), or choose another web.listen"
            )),
        },
        Err(error) => Err(format!("{listen}: {error}; {}", app::listen_remedy(&error))),
    }
}

/// Asks in the clear and by TLS; nothing secret is said, so whose certificate it is does not matter.
pub(super) fn is_bootwatch(listen: SocketAddr) -> bool {
    notify::install_tls();
    let address = operate::here(listen);
    let asked = async {
        let client = Client::builder()
            .timeout(ANSWER)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tls_danger_accept_invalid_certs(true)
            .build()
            .ok()?;
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{address}/-/healthy");
            let ours = match client.get(url).send().await {
                Ok(answer) => is_ours(answer).await,
                Err(error) => asks_for_a_certificate(&error),
            };
            if ours {
                return Some(());
            }
        }
        None
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.is_ok_and(|runtime| runtime.block_on(asked).is_some())
}

/// Others have a `/-/healthy`, too; none has this word with a page's policy, or asks who one is in this name.
async fn is_ours(answer: reqwest::Response) -> bool {
    match answer.status() {
        StatusCode::UNAUTHORIZED => answer
            .headers()
            .get(WWW_AUTHENTICATE)
            .is_some_and(|asks| asks == "Basic realm=\"bootwatch\""),
        StatusCode::TOO_MANY_REQUESTS => answer.headers().contains_key(CONTENT_SECURITY_POLICY),
        StatusCode::OK if answer.headers().contains_key(CONTENT_SECURITY_POLICY) => {
            answer.text().await.is_ok_and(|said| said == "healthy\n")
        }
        _ => false,
    }
}

/// Where clients need a certificate, whoever has none is told so by the TLS of who listens: it is there and awake.
fn asks_for_a_certificate(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("CertificateRequired") {
            return true;
        }
        cause = error.source();
    }
    false
}

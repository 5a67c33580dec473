//! The sign of life: a POST at a regular pace for as long as all is well, to somebody who tells when none comes.
//!
//! Silence is all that a dead program can say, so silence is what tells: nothing is sent while the caller's own check
//! fails, and a ping that fails is not made up for. Its address may hold a token and is never shown whole.

use std::future::Future;
use std::time::Duration;

use reqwest::header::HeaderMap;
use tokio::time::MissedTickBehavior;

use super::http::Post;
use super::{NotifyError, Unusable};
use crate::config;

/// What became of one beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    Sent,
    Failed,
    /// bootwatch is not well, so nothing was sent.
    Withheld,
}

impl Beat {
    pub const ALL: [Beat; 3] = [Beat::Sent, Beat::Failed, Beat::Withheld];

    /// The label `result` of metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Beat::Sent => "sent",
            Beat::Failed => "failed",
            Beat::Withheld => "withheld",
        }
    }
}

/// Where it is sent, and how often.
pub struct Heartbeat {
    post: Post,
    interval: Duration,
    body: Vec<u8>,
}

impl Heartbeat {
    /// # Errors
    /// The address passed the configuration's check and still cannot be used.
    pub fn open(settings: &config::Heartbeat, host: &str) -> Result<Heartbeat, Unusable> {
        let body = serde_json::json!({
            "host": host,
            "service": "bootwatch",
            "version": env!("CARGO_PKG_VERSION"),
        });
        Ok(Heartbeat {
            post: Post::open(
                "heartbeat",
                &settings.url,
                "",
                settings.timeout,
                HeaderMap::new(),
            )?,
            interval: settings.interval,
            body: body.to_string().into_bytes(),
        })
    }

    /// Beats until `stop` completes. `unwell` says why not to; `report` is told what became of each.
    pub async fn run(
        self,
        mut unwell: impl FnMut() -> Option<&'static str> + Send,
        mut report: impl FnMut(Beat) + Send,
        stop: impl Future<Output = ()> + Send,
    ) {
        let beats = async {
            // The first one comes when there has been time to look.
            let first = crate::clock::monotonic() + self.interval.min(Duration::from_secs(5));
            let mut pace = tokio::time::interval_at(first, self.interval);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut last = Beat::Sent;
            loop {
                pace.tick().await;
                let (beat, why) = match unwell() {
                    Some(why) => (Beat::Withheld, why.to_owned()),
                    None => match self.beat().await {
                        Ok(()) => (Beat::Sent, String::new()),
                        Err(error) => (Beat::Failed, error.chain()),
                    },
                };
                if beat != last {
                    match beat {
                        Beat::Sent => tracing::info!("the heartbeat is sent again"),
                        Beat::Failed => tracing::error!(error = why, "the heartbeat was not taken"),
                        Beat::Withheld => tracing::error!(why, "the heartbeat is withheld"),
                    }
                }
                last = beat;
                report(beat);
            }
        };
        tokio::select! {
            biased;
            () = stop => {}
            () = beats => {}
        }
    }

    async fn beat(&self) -> Result<(), NotifyError> {
        self.post.state(self.body.clone()).await?.by_status()
    }
}

//! `type = "slack"`: a message in a channel, by an incoming webhook or by a bot.
//!
//! Slack's markup is dangerous in what we quote: `<!channel>` wakes everybody. So `& < >` are escaped before anything is
//! counted, every text is `verbatim`, and evidence cannot leave its block of code. A bot answers in the thread of an
//! incident's first message, which is a message's receipt, so that a restart does not lose it; a webhook cannot, and each
//! of its messages stands alone. Slack says what is wrong by a word in the body, sometimes with status 200: the body is
//! judged.

mod blocks;
mod words;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap};

use super::error::{Fault, NotifyError};
use super::http::{Answer, Post, secret_value};
use super::pace::Pace;
use super::{Attempt, Draft, Duty, Habits, Kind, Message, Taken, Transport, Unusable};
use crate::config::{Channel, Notifier, Secret, SlackTarget};
use crate::core::alert;

pub(super) const KIND: Kind = Kind {
    name: "slack",
    duty: Duty::Tell(Habits {
        open,
        pace: Pace {
            burst: 3,
            every: Duration::from_secs(1),
        },
        max_age: Duration::from_secs(6 * 3600),
        takes_notices: true,
    }),
};

/// No message of ours comes near it.
const MOST_BYTES: usize = 64 * 1024;
/// Incidents whose thread is remembered.
const THREADS: usize = 64;

struct Receiver {
    post: Post,
    /// Where a bot writes; a webhook knows by itself.
    channel: Option<String>,
    threads: Mutex<VecDeque<(String, String)>>,
}

fn open(notifier: &Notifier) -> Result<Box<dyn Transport>, Unusable> {
    let Channel::Slack(settings) = &notifier.channel else {
        return Err(Unusable::new(&notifier.name, "it is no Slack"));
    };
    let name = &notifier.name;
    let mut headers = HeaderMap::new();
    let (endpoint, path, channel) = match &settings.target {
        SlackTarget::Webhook(url) => (url, "", None),
        SlackTarget::Bot {
            token,
            channel,
            api_url,
        } => {
            let bearer = Secret::new(format!("Bearer {}", token.expose()));
            let value = secret_value(&bearer)
                .ok_or_else(|| Unusable::new(name, "its token cannot be sent"))?;
            headers.insert(AUTHORIZATION, value);
            (api_url, "/chat.postMessage", Some(channel.clone()))
        }
    };
    Ok(Box::new(Receiver {
        post: Post::open(name, endpoint, path, settings.timeout, headers)?,
        channel,
        threads: Mutex::default(),
    }))
}

impl Transport for Receiver {
    fn render(&self, draft: &Draft<'_>) -> Vec<u8> {
        blocks::render(draft)
    }

    fn recall(&self, of: &str, receipt: &str) {
        // A thread is its channel's: another one's would hide the message, or refuse it.
        if let Some((channel, thread)) = receipt.split_once(' ')
            && self.channel.as_deref() == Some(channel)
        {
            self.forget(of);
            self.remember(of, thread.to_owned());
        }
    }

    fn send<'a>(&'a self, message: &'a Message) -> Attempt<'a> {
        Box::pin(async {
            let Some(channel) = &self.channel else {
                let answer = self
                    .post
                    .message(message, message.body.clone(), MOST_BYTES)
                    .await?;
                judge_webhook(&answer)?;
                return Ok(Taken::default());
            };
            let body = self
                .addressed(message, channel)
                .ok_or_else(|| NotifyError::permanent(Fault::Request))?;
            let answer = self.post.message(message, body, MOST_BYTES).await?;
            match judge_api(&answer) {
                Ok(thread) => {
                    if let Some(thread) = thread
                        && self.thread_of(&message.incident).is_none()
                    {
                        self.remember(&message.incident, thread);
                    }
                    let thread = self.thread_of(&message.incident);
                    Ok(Taken {
                        receipt: thread.map(|thread| format!("{channel} {thread}")),
                        ..Taken::default()
                    })
                }
                Err(error) => {
                    if matches!(error.fault(), Fault::Said(NO_THREAD)) {
                        self.forget(&message.incident);
                    }
                    Err(error)
                }
            }
        })
    }
}

impl Receiver {
    /// The message with its channel and, where there is one, its thread.
    fn addressed(&self, message: &Message, channel: &str) -> Option<Vec<u8>> {
        let rest = message.body.strip_prefix(b"{")?;
        let mut whole = format!("{{\"channel\":{},", serde_json::to_string(channel).ok()?);
        if message.kind != alert::Kind::Firing
            && let Some(thread) = self.thread_of(&message.incident)
        {
            // What ends an incident is also for those who do not follow its thread.
            let broadcast = message.kind == alert::Kind::Resolved;
            whole.push_str(&format!(
                "\"thread_ts\":{},\"reply_broadcast\":{broadcast},",
                serde_json::to_string(&thread).ok()?
            ));
        }
        let mut whole = whole.into_bytes();
        whole.extend_from_slice(rest);
        Some(whole)
    }

    fn thread_of(&self, incident: &str) -> Option<String> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads
            .iter()
            .find(|(known, _)| known == incident)
            .map(|(_, thread)| thread.clone())
    }

    /// The next message of it stands alone, and is a thread.
    fn forget(&self, incident: &str) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|(known, _)| known != incident);
    }

    /// The first message of an incident is its thread.
    fn remember(&self, incident: &str, thread: String) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if threads.len() == THREADS {
            threads.pop_front();
        }
        threads.push_back((incident.to_owned(), thread));
    }
}

const NO_THREAD: &str = "that the incident's thread cannot be answered in";
const UNKNOWN: &str = "no, by a word that bootwatch does not know";

/// A webhook says `ok`, or a word.
fn judge_webhook(answer: &Answer) -> Result<(), NotifyError> {
    let said = answer.body.as_deref().map(<[u8]>::trim_ascii);
    match (answer.status, said) {
        (200, Some(b"ok")) => Ok(()),
        // Taken or not, nobody knows.
        (200, None) => Err(NotifyError::transient(Fault::Timeout)),
        (_, said) => Err(refusal(answer, said.unwrap_or_default())),
    }
}

/// The Web API says `{"ok":true,"ts":...}` or `{"ok":false,"error":...}`, both with status 200.
fn judge_api(answer: &Answer) -> Result<Option<String>, NotifyError> {
    #[derive(serde::Deserialize)]
    struct Said {
        ok: bool,
        #[serde(default)]
        error: String,
        ts: Option<String>,
    }
    let body = match (answer.status, answer.body.as_deref()) {
        (200, None) => return Err(NotifyError::transient(Fault::Timeout)),
        (_, body) => body.unwrap_or_default(),
    };
    match serde_json::from_slice::<Said>(body) {
        Ok(said) if said.ok && answer.status == 200 => Ok(said.ts),
        Ok(said) if words::is_of_thread(said.error.as_bytes()) => {
            Err(NotifyError::transient(Fault::Said(NO_THREAD)))
        }
        Ok(said) => match (
            answer.status,
            words::meaning(said.error.as_bytes(), answer.wish),
        ) {
            // It is Slack that refuses, if by a word that is not known here: to say it again would not help.
            (200, None) if !said.ok => Err(NotifyError::permanent(Fault::Said(UNKNOWN))),
            _ => Err(refusal(answer, said.error.as_bytes())),
        },
        Err(_) => Err(refusal(answer, b"")),
    }
}

fn refusal(answer: &Answer, word: &[u8]) -> NotifyError {
    if let Some(known) = words::meaning(word, answer.wish) {
        return known;
    }
    match NotifyError::of_status(answer.status, answer.wish) {
        Some(error) => error,
        // A success that is none, by something that is not Slack or speaks in words of its own.
        None => NotifyError::transient(Fault::Said("a success that is none of Slack's")),
    }
}

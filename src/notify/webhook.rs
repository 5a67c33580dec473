//! `type = "webhook"`: a POST of Alertmanager's payload.

mod payload;

#[cfg(test)]
mod tests;

use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderName};

use super::http::{Post, secret_value};
use super::pace::Pace;
use super::{Attempt, Draft, Duty, Habits, Kind, Message, Taken, Transport, Unusable};
use crate::config::{Channel, Notifier, Webhook};

pub(super) const KIND: Kind = Kind {
    name: "webhook",
    duty: Duty::Tell(Habits {
        open,
        pace: Pace {
            burst: 60,
            every: Duration::from_millis(100),
        },
        max_age: Duration::from_secs(6 * 3600),
        takes_notices: false,
    }),
};

/// No receiver is asked to take more.
const MOST_BYTES: usize = 256 * 1024;

struct Receiver {
    name: String,
    post: Post,
}

fn open(notifier: &Notifier) -> Result<Box<dyn Transport>, Unusable> {
    let Channel::Webhook(settings) = &notifier.channel else {
        return Err(Unusable::new(&notifier.name, "it is no webhook"));
    };
    let name = notifier.name.clone();
    let headers =
        headers(settings).ok_or_else(|| Unusable::new(&name, "a header cannot be sent"))?;
    let post = Post::open(&name, &settings.url, "", settings.timeout, headers)?;
    Ok(Box::new(Receiver { name, post }))
}

fn headers(settings: &Webhook) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, secret) in &settings.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, secret_value(secret)?);
    }
    if let Some(secret) = &settings.authorization {
        headers.insert(header::AUTHORIZATION, secret_value(secret)?);
    }
    Some(headers)
}

impl Transport for Receiver {
    fn render(&self, draft: &Draft<'_>) -> Vec<u8> {
        let body = payload::render(&self.name, draft.notification, draft.page, draft.context);
        if body.len() <= MOST_BYTES {
            return body;
        }
        payload::render(
            &self.name,
            draft.notification,
            &draft.page.reduced(),
            draft.context,
        )
    }

    fn send<'a>(&'a self, message: &'a Message) -> Attempt<'a> {
        Box::pin(async {
            let body = message.body.clone();
            // The status is the answer.
            self.post
                .message(message, body, MOST_BYTES)
                .await?
                .by_status()
                .map(|()| Taken::default())
        })
    }
}

//! `type = "pagerduty"`: an incident of PagerDuty, by its Events API v2.
//!
//! Our incident's key is PagerDuty's `dedup_key`: an update is the same trigger again and becomes a note in its log, the
//! resolve closes it. A resolve for a key that PagerDuty does not know is dropped there, so order matters and is the
//! worker's duty. The routing key is put in when a message leaves: what is stored holds no secret.

#[cfg(test)]
mod tests;

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde::Serialize;

use super::error::{Fault, NotifyError};
use super::http::{Answer, Post};
use super::pace::Pace;
use super::page::{Page, Status};
use super::text::{clipped, lines, one_line};
use super::{Attempt, Draft, Duty, Habits, Kind, Message, Taken, Transport, Unusable};
use crate::config::{Channel, Notifier, Secret};
use crate::core::rule::Severity;

pub(super) const KIND: Kind = Kind {
    name: "pagerduty",
    duty: Duty::Tell(Habits {
        open,
        // 100 a minute; about 120 are taken.
        pace: Pace {
            burst: 10,
            every: Duration::from_millis(600),
        },
        max_age: Duration::from_secs(6 * 3600),
        takes_notices: false,
    }),
};

/// What PagerDuty takes: bytes of an event, characters of its summary and key.
const MOST_BYTES: usize = 512 * 1024;
const SUMMARY_CHARS: usize = 1024;
const KEY_CHARS: usize = 255;
/// The limit is by the minute, and the answer does not always say so.
const LIMITED: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Event<'a> {
    event_action: &'static str,
    dedup_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<Link<'a>>,
}

#[derive(Serialize)]
struct Payload<'a> {
    summary: String,
    source: &'a str,
    severity: &'static str,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    custom_details: Details<'a>,
}

/// Names as a reader sees them, in the order of a page.
#[derive(Serialize)]
struct Details<'a> {
    summary: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_affected: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    diagnosis: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    do_first: Option<&'static str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    boots: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    rules: &'a [String],
}

#[derive(Serialize)]
struct Link<'a> {
    href: &'a str,
    text: &'static str,
}

struct Receiver {
    routing_key: Secret,
    post: Post,
}

fn open(notifier: &Notifier) -> Result<Box<dyn Transport>, Unusable> {
    let Channel::PagerDuty(settings) = &notifier.channel else {
        return Err(Unusable::new(&notifier.name, "it is no PagerDuty"));
    };
    Ok(Box::new(Receiver {
        routing_key: settings.routing_key.clone(),
        post: Post::open(
            &notifier.name,
            &settings.base_url,
            "/v2/enqueue",
            settings.timeout,
            HeaderMap::new(),
        )?,
    }))
}

impl Transport for Receiver {
    fn render(&self, draft: &Draft<'_>) -> Vec<u8> {
        let body = event(draft, draft.page);
        if body.len() < MOST_BYTES {
            return body;
        }
        event(draft, &draft.page.reduced())
    }

    fn send<'a>(&'a self, message: &'a Message) -> Attempt<'a> {
        Box::pin(async {
            let body = with_key(&message.body, &self.routing_key)
                .ok_or_else(|| NotifyError::permanent(Fault::Request))?;
            judge(&self.post.message(message, body, MOST_BYTES).await?)?;
            Ok(Taken::default())
        })
    }
}

fn event(draft: &Draft<'_>, page: &Page) -> Vec<u8> {
    let incident = &draft.notification.incident;
    let key = clipped(&incident.key, KEY_CHARS).into_owned();
    let event = match page.status {
        Status::Resolved => Event {
            event_action: "resolve",
            dedup_key: key,
            client: None,
            client_url: None,
            payload: None,
            links: Vec::new(),
        },
        Status::Firing => Event {
            event_action: "trigger",
            dedup_key: key,
            client: Some("bootwatch"),
            client_url: page.main_url(),
            payload: Some(payload(draft, page)),
            links: links(page),
        },
    };
    serde_json::to_vec(&event).expect("strings always have a JSON form")
}

fn payload<'a>(draft: &Draft<'a>, page: &'a Page) -> Payload<'a> {
    let incident = &draft.notification.incident;
    let about = |word: &'static str| (!page.is_test).then_some(word);
    Payload {
        summary: clipped(&one_line(&page.title), SUMMARY_CHARS).into_owned(),
        source: &page.host,
        severity: match page.severity {
            _ if page.is_test => "info",
            Severity::Page => "critical",
            Severity::Ticket => "warning",
        },
        timestamp: page.starts_at.utc().unwrap_or_default().to_string(),
        component: about(incident.subject.as_str()),
        group: match page.is_drill {
            true => Some("drill"),
            false => about(incident.family.as_str()),
        },
        class: about(incident.cause.as_str()),
        custom_details: Details {
            summary: lines(&page.summary).into_owned(),
            not_affected: page.not_affected.as_deref(),
            fix: page.fix.as_deref(),
            diagnosis: &page.diagnosis,
            evidence: page
                .evidence
                .iter()
                .map(|line| one_line(line).into_owned())
                .collect(),
            do_first: page.first_step,
            boots: &page.boots,
            rules: &page.figures,
        },
    }
}

fn links(page: &Page) -> Vec<Link<'_>> {
    page.links()
        .map(|(text, href)| Link { href, text })
        .collect()
}

/// The event with its routing key before everything else.
fn with_key(body: &[u8], key: &Secret) -> Option<Vec<u8>> {
    let rest = body.strip_prefix(b"{")?;
    let key = serde_json::to_string(key.expose()).ok()?;
    let mut whole = format!("{{\"routing_key\":{key},").into_bytes();
    whole.extend_from_slice(rest);
    Some(whole)
}

/// 202 is the one success. Another 2xx comes from something that is not PagerDuty, which may go away.
fn judge(answer: &Answer) -> Result<(), NotifyError> {
    let fault = Fault::Answered(answer.status);
    match answer.status {
        202 => Ok(()),
        200..=299 => Err(NotifyError::transient(fault)),
        400 if blames_the_key(answer) => Err(NotifyError::permanent(Fault::Unusable(
            "PagerDuty does not know the routing key; configure the one of an Events API v2 integration",
        ))),
        429 => Err(NotifyError::Transient {
            fault,
            retry_after: Some(answer.wish.unwrap_or(LIMITED)),
            source: None,
        }),
        _ => answer.by_status(),
    }
}

fn blames_the_key(answer: &Answer) -> bool {
    #[derive(serde::Deserialize)]
    struct Refusal {
        #[serde(default)]
        errors: Vec<String>,
    }
    let body = answer.body.as_deref().unwrap_or_default();
    serde_json::from_slice::<Refusal>(body).is_ok_and(|refusal| {
        refusal.errors.iter().any(|error| {
            let error = error.to_ascii_lowercase();
            error.contains("routing key") || error.contains("routing_key")
        })
    })
}

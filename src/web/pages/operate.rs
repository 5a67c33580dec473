//! What operators do from a page: silence, acknowledge, maintenance. Forms, so that they work without script.
//!
//! The token is a field of the form. Nothing is remembered: there is no cookie and no session, so a foreign page that
//! makes a browser send a form has nothing to send it with; one that says where it comes from, and it is not here, is
//! refused before anything is read. What is done is answered by a redirect, so that reloading does it once; what is not,
//! by the form with what was typed, all but the token.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State as Shared};
use axum::http::header::{CONTENT_TYPE, HOST, LOCATION, ORIGIN};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use maud::{Markup, html};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::api;
use super::{Page, Site, sorry_and};
use crate::clock;
use crate::config::parse_duration;
use crate::core::alert::Incident;
use crate::core::desk::{Command, MOST_AUTHOR, Matcher};

const MOST_BYTES: usize = 16 << 10;
const FORM: &str = "application/x-www-form-urlencoded";

pub(super) fn router() -> Router<Arc<Site>> {
    Router::new()
        .route("/alerts/silence", post(silenced))
        .route("/alerts/silence/{id}/expire", post(expired))
        .route("/alerts/maintenance", post(started))
        .route("/alerts/maintenance/{id}/end", post(ended))
        .route("/incidents/{key}/ack", post(acknowledged))
}

/// What a page says after a redirect: one of a closed set of words.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Done {
    #[serde(default)]
    done: String,
}

pub(super) fn notice(done: &Done) -> Markup {
    let said = match done.done.as_str() {
        "silence" => Some("The silence holds."),
        "expire" => Some("The silence has ended."),
        "ack" => Some("You have taken the incident: its repeats stop."),
        "maintenance" => Some("The maintenance has begun: boots count neither for nor against."),
        "end" => Some("The maintenance has ended."),
        "unsaved" => Some("It holds, but could not be stored: a restart would forget it."),
        _ => None,
    };
    html! { @if let Some(said) = said { p.notice role="status" { (said) } } }
}

#[derive(Deserialize)]
struct Silence {
    token: String,
    author: String,
    reason: String,
    matchers: String,
    expires_in: String,
}

#[derive(Deserialize)]
struct Author {
    token: String,
    author: String,
}

#[derive(Deserialize)]
struct Acknowledgement {
    token: String,
    author: String,
    #[serde(default)]
    note: String,
}

#[derive(Deserialize)]
struct Maintenance {
    token: String,
    author: String,
    reason: String,
    #[serde(rename = "for")]
    lasts: String,
}

type Known = Shared<Arc<Site>>;
/// The token, and what is wanted or what is wrong with it.
type Read = (String, Result<Command, String>);

async fn silenced(Shared(site): Known, request: Request<Body>) -> Response {
    act(&site, request, "/alerts", "silence", |form: Silence| {
        let matchers: Result<Vec<Matcher>, _> =
            form.matchers.split_whitespace().map(str::parse).collect();
        let command = matchers
            .map_err(|error| format!("What to silence: {error}"))
            .and_then(|matchers| {
                Ok(Command::AddSilence {
                    matchers,
                    author: form.author,
                    reason: form.reason,
                    starts_at: None,
                    lasts_ms: lasts(&form.expires_in)?,
                })
            });
        (form.token, command)
    })
    .await
}

async fn expired(Shared(site): Known, Path(id): Path<u64>, request: Request<Body>) -> Response {
    act(&site, request, "/alerts", "expire", |form: Author| {
        let author = form.author;
        (form.token, Ok(Command::ExpireSilence { id, author }))
    })
    .await
}

async fn started(Shared(site): Known, request: Request<Body>) -> Response {
    act(
        &site,
        request,
        "/alerts",
        "maintenance",
        |form: Maintenance| {
            let command = lasts(&form.lasts).map(|lasts_ms| Command::StartMaintenance {
                author: form.author,
                reason: form.reason,
                lasts_ms,
            });
            (form.token, command)
        },
    )
    .await
}

async fn ended(Shared(site): Known, Path(id): Path<u64>, request: Request<Body>) -> Response {
    act(&site, request, "/alerts", "end", |form: Author| {
        let author = form.author;
        (form.token, Ok(Command::EndMaintenance { id, author }))
    })
    .await
}

async fn acknowledged(
    Shared(site): Known,
    Path(incident): Path<String>,
    request: Request<Body>,
) -> Response {
    let known = site.with_page(|page| page.incident(&incident).map(|one| one.key.clone()));
    let back = known.map_or_else(
        || "/incidents".to_owned(),
        |key| format!("/incidents/{key}"),
    );
    act(&site, request, &back, "ack", |form: Acknowledgement| {
        let command = Command::Acknowledge {
            incident,
            author: form.author,
            note: form.note,
        };
        (form.token, Ok(command))
    })
    .await
}

fn lasts(text: &str) -> Result<i64, String> {
    let length = parse_duration(text.trim()).map_err(|error| format!("How long: {error}"))?;
    Ok(clock::millis(length))
}

/// One change, from the form to the redirect.
async fn act<T: DeserializeOwned>(
    site: &Site,
    request: Request<Body>,
    back: &str,
    done: &str,
    read: impl FnOnce(T) -> Read,
) -> Response {
    let refuse_and = |status, why: &str, remedy: &Markup| {
        sorry_and(site, status, "/alerts", "Nothing was changed", why, remedy)
    };
    let refuse = |status, why: &str| refuse_and(status, why, &html! {});
    let (head, body) = request.into_parts();
    if is_foreign(&head.headers, site.faces.reached_at.as_deref()) {
        tracing::warn!("a form from another page was refused");
        return refuse(StatusCode::FORBIDDEN, "The form came from another page.");
    }
    let kind = head.headers.get(CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(FORM.as_bytes())) {
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "This takes a form; JSON goes to /api/v1.",
        );
    }
    let Some(Ok(bytes)) = api::in_time(to_bytes(body, MOST_BYTES)).await else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "The form is larger than 16 KiB, or did not come in time.",
        );
    };
    let Ok(form) = serde_urlencoded::from_bytes(&bytes) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "A field of the form is missing or not text.",
        );
    };
    let hand_back = |status, why: &str| refuse_and(status, why, &again(head.uri.path(), &bytes));
    let (token, command) = read(form);
    let operators = &site.faces.operators;
    match &operators.token {
        None => {
            return refuse(
                StatusCode::FORBIDDEN,
                "No token is configured, so nothing can be changed: set web.token_file and restart.",
            );
        }
        Some(known) if !api::is_same(token.trim().as_bytes(), known.expose().as_bytes()) => {
            tracing::warn!("a change was refused: its token is missing or wrong");
            return hand_back(StatusCode::UNAUTHORIZED, "The token is missing or wrong.");
        }
        Some(_) => {}
    }
    let command = match command {
        Ok(command) => command,
        Err(problem) => return hand_back(StatusCode::BAD_REQUEST, &problem),
    };
    match api::asked(operators, command).await {
        Err((status, why)) => hand_back(status, &why),
        Ok(answer) => match answer.done {
            Err(refused) => hand_back(StatusCode::CONFLICT, &refused.to_string()),
            Ok(_) => {
                let done = if answer.saved { done } else { "unsaved" };
                (
                    StatusCode::SEE_OTHER,
                    [(LOCATION, format!("{back}?done={done}"))],
                )
                    .into_response()
            }
        },
    }
}

/// Browsers say where a form comes from. What says nothing is no browser, and needs the token like the rest.
fn is_foreign(headers: &HeaderMap, reached_at: Option<&str>) -> bool {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &axum::http::HeaderValue| value.to_str().ok())
    };
    // A proxy may have asked under another name than the browser's, which the browser knows better.
    match text(axum::http::HeaderName::from_static("sec-fetch-site")) {
        Some("same-origin") => return false,
        Some("none") | None => {}
        Some(_) => return true,
    }
    let origin = text(ORIGIN).map(|origin| origin.split_once("://").map_or("", |(_, host)| host));
    // A browser says no more than this to a page without TLS.
    origin.is_some_and(|origin| {
        let ours = [text(HOST), reached_at];
        let mut ours = ours.into_iter().flatten();
        !ours.any(|name| origin.eq_ignore_ascii_case(name))
    })
}

/// A field of a form by its name, with what stands in it. A token is never filled in.
fn field(name: &str, value: &str) -> Markup {
    html! {
        @match name {
            "matchers" => label.wide { "What (label=value, all must match)" input name=(name) value=(value) required placeholder="rule=BootFailureRate"; },
            "expires_in" | "for" => label { "For how long" input name=(name) value=(value) required; },
            "reason" => label { "Why" input name=(name) value=(value) required maxlength="500"; },
            "note" => label { "Note" input name=(name) value=(value) maxlength="500"; },
            "author" => label { "Your name" input name=(name) value=(value) required maxlength=(MOST_AUTHOR) autocomplete="username"; },
            "token" => label { "Token" input name=(name) type="password" required autocomplete="off"; },
            _ => {},
        }
    }
}

fn who() -> Markup {
    html! { (field("author", "")) (field("token", "")) }
}

/// A form that was refused, as it was sent: nobody types at night what was typed already.
fn again(action: &str, sent: &[u8]) -> Markup {
    let fields: Vec<(String, String)> = serde_urlencoded::from_bytes(sent).unwrap_or_default();
    html! {
        section.card aria-labelledby="h-again" {
            h2 id="h-again" { "Try again" }
            form method="post" action=(action) {
                div.fields { @for (name, value) in &fields { (field(name, value)) } }
                button type="submit" { "Send" }
            }
        }
    }
}

fn closed() -> Markup {
    html! { p.soft { "Nothing can be changed from here: no token is configured (" code { "web.token_file" } ")." } }
}

pub(super) fn acknowledge(page: &Page<'_>, incident: &Incident) -> Markup {
    html! {
        section.card aria-labelledby="h-ack" {
            h2 id="h-ack" { "Take it" }
            @if !page.operable { (closed()) } @else {
                form method="post" action={ "/incidents/" (incident.key) "/ack" } {
                    div.fields { (who()) (field("note", "")) }
                    button type="submit" { "Acknowledge" }
                }
            }
        }
    }
}

pub(super) fn silence(page: &Page<'_>, incident: Option<&Incident>) -> Markup {
    let matchers = incident.map_or_else(String::new, |incident| {
        let cause = format!("cause={}", incident.cause.as_str());
        match incident.subject.vm_type() {
            Some(vm_type) => format!("{cause} vm_type={vm_type}"),
            None => cause,
        }
    });
    html! {
        section.card aria-labelledby="h-silence" {
            h2 id="h-silence" { "Silence" }
            @if !page.operable { (closed()) } @else {
                form method="post" action="/alerts/silence" {
                    div.fields {
                        (field("matchers", &matchers))
                        (field("expires_in", "2h"))
                        (field("reason", ""))
                        (who())
                    }
                    button type="submit" { "Silence" }
                }
            }
        }
    }
}

pub(super) fn maintenance(page: &Page<'_>) -> Markup {
    html! {
        section.card aria-labelledby="h-maintenance" {
            h2 id="h-maintenance" { "Start a maintenance" }
            @if !page.operable { (closed()) } @else {
                form method="post" action="/alerts/maintenance" {
                    div.fields {
                        (field("for", "30m"))
                        (field("reason", ""))
                        (who())
                    }
                    button type="submit" { "Start" }
                }
            }
        }
    }
}

/// Ends a silence or a maintenance before its time.
pub(super) fn end(page: &Page<'_>, action: &str, what: &str) -> Markup {
    html! {
        @if page.operable {
            // Named, so that an open page that follows keeps this one open, and not the one that took its place.
            details id=(action) {
                summary { (what) }
                form method="post" action=(action) { div.fields { (who()) } button type="submit" { (what) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_from_another_page_is_told_by_what_the_browser_says() {
        for (headers, foreign) in [
            (vec![], false),
            (vec![("host", "a:1"), ("origin", "http://a:1")], false),
            (vec![("host", "a:1"), ("origin", "http://evil")], true),
            (vec![("host", "a:1"), ("origin", "null")], true),
            (vec![("sec-fetch-site", "same-origin")], false),
            (vec![("sec-fetch-site", "cross-site")], true),
            (vec![("sec-fetch-site", "same-site")], true),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in &headers {
                map.insert(*name, value.parse().unwrap());
            }
            assert_eq!(is_foreign(&map, None), foreign, "{headers:?}");
        }
    }

    #[test]
    fn a_form_comes_from_here_under_the_name_that_people_know() {
        for (origin, foreign) in [
            ("http://pages.example", false),
            ("http://127.0.0.1:9644", false),
            ("http://pages.example:81", true),
            ("http://evil.example", true),
            ("null", true),
        ] {
            // As nginx and Apache ask, if nobody tells them to keep the browser's.
            let headers = [(HOST, "127.0.0.1:9644"), (ORIGIN, origin)];
            let headers = headers.map(|(name, value)| (name, value.parse().unwrap()));
            let headers = HeaderMap::from_iter(headers);
            assert_eq!(
                is_foreign(&headers, Some("pages.example")),
                foreign,
                "{origin}"
            );
        }
    }
}

//! A page as a mail: headers by which readers thread and machines keep quiet, then the words as text and as HTML.
//!
//! An incident's first mail has a `Message-ID` made of the incident's key, and every later one refers to it, also where
//! the first was never sent: readers thread by what is referred to. The subject is the same from the first to the last
//! but for its sign in brackets and its `Re:`, which readers take off before they compare. The first that arrives has no
//! `Re:`, whichever it is.

use std::time::{Duration, UNIX_EPOCH};

use lettre::Message;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, MultiPart, SinglePart};

use super::html;
use crate::config::Email;
use crate::core::alert::Kind;
use crate::core::rule::Severity;
use crate::notify::Draft;
use crate::notify::page::{Page, Status};
use crate::notify::text::{clipped, lines, one_line};

const SUBJECT_CHARS: usize = 180;

/// The mail as its bytes; empty where it cannot be made.
pub(super) fn mail(draft: &Draft<'_>, page: &Page, settings: &Email) -> Vec<u8> {
    let domain = settings.from.email.domain();
    let incident = &draft.notification.incident.key;
    let ms = u64::try_from(draft.notification.at.0);
    let root = format!("<{incident}@{domain}>");
    let mut builder = Message::builder()
        .from(settings.from.clone())
        .subject(subject(page))
        .date(UNIX_EPOCH + Duration::from_millis(ms.unwrap_or_default()));
    for recipient in &settings.to {
        builder = builder.to(recipient.clone());
    }
    builder = match draft.notification.kind {
        Kind::Firing => builder.message_id(Some(root)),
        Kind::Update | Kind::Resolved => builder
            .message_id(Some(format!("<{}@{domain}>", draft.id)))
            .in_reply_to(root.clone())
            .references(root),
    };
    let host = label(&page.host);
    let fixed = [
        // Nobody's holiday answers, and no list takes it for a person's mail.
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Auto-Response-Suppress", "All".to_owned()),
        ("Precedence", "list".to_owned()),
        ("List-Id", format!("<{host}.bootwatch.{domain}>")),
        ("X-Bootwatch-Incident", incident.clone()),
        ("X-Bootwatch-Status", page.status.as_str().to_owned()),
        ("X-Bootwatch-Severity", page.severity.as_str().to_owned()),
    ];
    for (name, value) in fixed {
        builder = builder.raw_header(header(name, value));
    }
    if page.is_drill {
        builder = builder.raw_header(header("X-Bootwatch-Drill", "true".to_owned()));
    }
    if page.severity == Severity::Page && page.status == Status::Firing {
        builder = builder.raw_header(header("Importance", "high".to_owned()));
    }
    let parts = MultiPart::alternative()
        // Quoted-printable never holds "=_", so that nothing in the text can end a part.
        .boundary(format!("=_bootwatch_{incident}"))
        .singlepart(part(ContentType::TEXT_PLAIN, text(page)))
        .singlepart(part(ContentType::TEXT_HTML, html::page(page)));
    match builder.multipart(parts) {
        Ok(mail) => mail.formatted(),
        Err(error) => {
            tracing::error!(%error, "a mail cannot be made");
            Vec::new()
        }
    }
}

fn subject(page: &Page) -> String {
    let sign = match page.status {
        Status::Firing => "[FIRING]",
        Status::Resolved => "[RESOLVED]",
    };
    let answer = if page.is_first { "" } else { "Re: " };
    let subject = format!("{answer}{sign} {}", one_line(&page.subject));
    clipped(&subject, SUBJECT_CHARS).into_owned()
}

/// A name as a part of a header's identifier.
fn label(host: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let label: String = host.chars().filter(|c| plain(*c)).take(60).collect();
    match label.as_str() {
        "" => "host".to_owned(),
        _ => label,
    }
}

pub(super) fn header(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

pub(super) fn part(kind: ContentType, text: String) -> SinglePart {
    let text = text.replace('\n', "\r\n");
    let encoded = Body::new_with_encoding(text, ContentTransferEncoding::QuotedPrintable);
    // Quoted-printable takes every text.
    let body = encoded.unwrap_or_else(Body::new);
    SinglePart::builder().header(kind).body(body)
}

/// The words alone.
fn text(page: &Page) -> String {
    format!("{}\n\n{}\n", one_line(&page.title), lines(&page.body()))
}

//! The weekly report as people read it: HTML that prints well, Markdown, JSON and a mail, of what `core::report` reckoned.
//!
//! Nothing is reckoned here: a figure is laid out, with its k of n and its interval beside it, and a sentence says what
//! it means. The same report gives the same bytes. Charts are drawn once, for an HTML page as SVG and for a mail as PNG;
//! no page loads anything from elsewhere.

mod chart;
mod html;
mod letter;
mod markdown;
mod words;

#[cfg(test)]
mod tests;

use crate::core::event::VmType;
use crate::core::report::Report;
use crate::core::report::share::Share;

pub use chart::{Chart, charts};
pub use letter::{Letter, Picture, letter};
pub use words::Voice;

/// The page, by itself: styles and charts are in it.
#[must_use]
pub fn html(report: &Report, voice: &Voice) -> String {
    html::page(report, voice)
}

/// For a wiki or a chat.
#[must_use]
pub fn markdown(report: &Report, voice: &Voice) -> String {
    markdown::page(report, voice)
}

/// The week in a sentence or two.
#[must_use]
pub fn headline(report: &Report) -> String {
    words::headline(report)
}

/// Whether a report that was kept as [`json`] says something else at its head than `now`: by a point of the rate of browser
/// boots, or of all where there was none, in what it covers, or in the number of incidents. One that cannot be read says
/// something else.
#[must_use]
pub fn headline_differs(kept: &str, now: &Report) -> bool {
    let Ok(kept) = serde_json::from_str::<serde_json::Value>(kept) else {
        return true;
    };
    let told = |rate: Option<&serde_json::Value>| {
        let ready = rate?.get("ready")?;
        Some(Share::new(
            ready.get("k")?.as_u64()?,
            ready.get("n")?.as_u64()?,
        ))
    };
    let kinds = kept.get("kinds").and_then(serde_json::Value::as_array);
    let browsers = kinds.into_iter().flatten();
    let browsers = browsers
        .filter(|kind| kind["vm_type"] == VmType::Browser.as_str())
        .find_map(|kind| told(Some(kind)));
    let Some(total) = told(kept.get("total")) else {
        return true;
    };
    let of_browsers = now.kind(VmType::Browser).map(|kind| kind.rate.ready);
    let moved = match (browsers, of_browsers) {
        (Some(before), Some(after)) => differ(before, after),
        (None, None) => differ(total, now.total.ready),
        _ => true,
    };
    let incidents = kept.pointer("/incidents").and_then(|all| all.as_array());
    moved
        || kept
            .pointer("/coverage/partial")
            .and_then(serde_json::Value::as_bool)
            != Some(now.coverage.partial)
        || incidents.map(Vec::len) != Some(now.incidents.len())
}

fn differ(before: Share, after: Share) -> bool {
    match (before.value(), after.value()) {
        (Some(before), Some(after)) => (before - after).abs() >= 0.01,
        (None, None) => false,
        _ => true,
    }
}

/// For machines; documented in `docs/report.md`.
#[must_use]
pub fn json(report: &Report) -> String {
    // Numbers, texts and lists: nothing in it can fail to be written.
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    text.push('\n');
    text
}

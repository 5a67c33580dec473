//! Outcomes and failures as marks: a word, and a colour that only repeats it.

use maud::{Markup, html};

use super::super::model::BootLine;
use super::layout::tag;
use crate::core::event::{Origin, Outcome};

/// The outcomes in the order in which they are stacked, with their colour's family.
pub(super) const ORDER: [Option<Outcome>; 5] = [
    Some(Outcome::Ready),
    Some(Outcome::Failed),
    Some(Outcome::Cancelled),
    Some(Outcome::Lost),
    None,
];

pub(super) fn word(outcome: Option<Outcome>) -> &'static str {
    outcome.map_or("in progress", Outcome::as_str)
}

/// The class that colours a drawing.
pub(super) fn class(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Ready) => "c-ready",
        Some(Outcome::Failed) => "c-failed",
        Some(Outcome::Cancelled) => "c-cancelled",
        Some(Outcome::Lost) => "c-lost",
        None => "c-in_progress",
    }
}

pub(super) fn mark(outcome: Option<Outcome>) -> Markup {
    let family = match outcome {
        Some(Outcome::Ready) => "ok",
        Some(Outcome::Failed) => "down",
        Some(Outcome::Cancelled) => "maintenance",
        Some(Outcome::Lost) => "unknown",
        None => "degraded",
    };
    tag(family, word(outcome))
}

/// The boot's name in a list: its VM, or where none was begun, its own id.
pub(super) fn name(boot: &BootLine) -> Markup {
    let shown = boot.vm.as_deref().unwrap_or(&boot.boot_id);
    let short: String = shown.chars().take(16).collect();
    html! {
        a href={ "/boots/" (boot.boot_id) } { code { (short) "…" } span.away { " " (boot.vm_type.spoken()) " boot" } }
        @if boot.origin == Origin::Synthetic { " " (tag("maintenance", "synthetic")) }
    }
}

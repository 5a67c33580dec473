//! A diagnosis as it is shown: the verdict with what speaks for it and against it, what would refute it, what else it may be.

use maud::{Markup, html};

use super::{Page, text};
use crate::core::diagnosis::{Diagnosis, Point, Ranked};

pub(super) fn shown(page: &Page<'_>, found: &Diagnosis) -> Markup {
    html! {
        @match found.verdict() {
            Some(first) => {
                p {
                    (if found.sure().is_some() { "Cause" } else { "Probable cause" }) " (" (first.percent()) "): "
                    strong { (first.verdict.meaning()) } ". "
                    @if let Some(causes) = page.causes {
                        a href={ (causes) "#" (first.verdict) } rel="noreferrer" { "What to do" }
                    }
                }
                (reasons(first))
            }
            None => p { "There is not enough evidence to name the cause." }
        }
        @for other in found.others() {
            details {
                summary { "It may be (" (other.percent()) "): " (other.verdict.meaning()) }
                (reasons(other))
            }
        }
    }
}

fn reasons(one: &Ranked) -> Markup {
    html! {
        ul.plain.small {
            @for point in &one.speaks_for { (reason("for", "for it: ", point)) }
            @for point in &one.against { (reason("against", "against it: ", point)) }
        }
        p.small.soft { "Refuted, if " (text::line(one.verdict.row().refuted_by)) "." }
    }
}

/// Which side, in words, for whoever does not see the column.
fn reason(side: &str, words: &str, point: &Point) -> Markup {
    html! { li class=(side) { span.away { (words) } (text::line(&point.spoken())) } }
}

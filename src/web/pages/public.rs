//! What anybody may see: whether VMs boot, since when, and how the last 30 days went.
//!
//! No id, no address, no name of a machine and no text that a log, a guest or an operator wrote is in it: each sentence is
//! one of ours, chosen by the state alone. It leads nowhere else. With script it stays as of now: it is looked at every so
//! often, and holds no stream, since a place for one is not everybody's to take. Without script it says of when it is: a
//! page that loads itself anew takes a reader's place from him.

use maud::{DOCTYPE, Markup, html};

use super::now::days;
use super::{Month, Page, layout, text};
use crate::core::alert::Subject;
use crate::core::event::VmType;
use crate::core::state::{Because, State};

/// Seconds from look to look.
const EVERY: u32 = 30;

fn sentence(page: &Page<'_>) -> &'static str {
    match &page.verdict.because {
        Because::Well => "VMs boot as they should.",
        Because::Incident(key) => match page.incident(key).map(|incident| incident.subject) {
            Some(Subject::Boots(VmType::Browser)) => {
                "Browser VMs fail to boot, or do so less reliably than they should."
            }
            Some(Subject::Boots(VmType::Cli)) => {
                "CLI VMs fail to boot, or do so less reliably than they should."
            }
            Some(Subject::Host) | None => "Something around VMs is broken.",
        },
        Because::Blind(_) | Because::Hung | Because::Quiet => {
            "Nobody knows: it cannot be seen at present."
        }
        Because::Maintenance => "Somebody works on it.",
    }
}

pub(super) fn body(page: &Page<'_>, month: &Month) -> String {
    let state: State = page.verdict.state;
    let markup: Markup = html! {
        (DOCTYPE)
        html lang="en" data-every=(EVERY) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (layout::word(state)) " · VM boots" }
                link rel="icon" href=(layout::ICON);
                link rel="stylesheet" href=(layout::STYLE);
                script src=(layout::SCRIPT) defer {}
            }
            body {
                main id="main" {
                    section id="state" class={ "state s-" (state.as_str()) } data-live {
                        p id="not-live" role="status" {}
                        div id="said" data-live role="status" aria-live="polite" aria-atomic="true" {
                            div.word { span.dot {} (layout::word(state)) }
                            h1 { (sentence(page)) }
                        }
                        div id="since" data-live { @if let Some(since) = page.verdict.since {
                            p.soft { "Since " (page.moment(since)) " (" (text::length(page.now.since(since))) ")" }
                        } }
                    }
                    section.card id="days" aria-labelledby="h-days" data-live { (days(page, month)) }
                }
                footer {
                    p {
                        "times in " (page.zone_name()) " · "
                        span id="live" data-zone=(page.zone_name()) { "as of " (page.moment(page.now)) }
                        noscript { " · " a href=(super::PUBLIC) { "as of now" } }
                    }
                }
            }
        }
    };
    markup.into_string()
}

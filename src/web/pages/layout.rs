//! The frame of every page: head, navigation, landmarks.

use maud::{DOCTYPE, Markup, html};

use super::Page;
use crate::core::state::State;

pub(super) struct Section {
    pub(super) path: &'static str,
    pub(super) name: &'static str,
}

/// The navigation, in its order.
pub(super) const SECTIONS: [Section; 6] = [
    Section {
        path: "/",
        name: "Now",
    },
    Section {
        path: "/boots",
        name: "Boots",
    },
    Section {
        path: "/incidents",
        name: "Incidents",
    },
    Section {
        path: "/alerts",
        name: "Alerts",
    },
    Section {
        path: "/reports",
        name: "Reports",
    },
    Section {
        path: "/system",
        name: "System",
    },
];

pub(in crate::web) const STYLE: &str = "/assets/style.css";
pub(in crate::web) const ICON: &str = "/assets/icon.svg";
pub(in crate::web) const SCRIPT: &str = "/assets/live.js";

pub(super) fn whole(page: &Page<'_>, title: &str, at: &str, body: Markup) -> String {
    let host = page.host;
    let state = page.verdict.state;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) " · " (host) " · bootwatch" }
                link rel="icon" href=(ICON);
                link rel="stylesheet" href=(STYLE);
                script src=(SCRIPT) defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header.bar {
                    div {
                        a.brand href="/" {
                            span id="brand" class={ "s-" (state.as_str()) } data-live { span.dot {} span.away { "state: " (state.as_str()) } }
                            b { "bootwatch" } " " span.host { (host) }
                        }
                        nav aria-label="Sections" {
                            ul {
                                @for section in &SECTIONS {
                                    li {
                                        a href=(section.path) aria-current=[(section.path == at).then_some("page")] { (section.name) }
                                    }
                                }
                            }
                        }
                    }
                }
                main id="main" tabindex="-1" { (body) }
                footer {
                    p {
                        "bootwatch " (page.version) " · times in " (page.zone_name()) " · "
                        span id="live" data-zone=(page.zone_name()) { "as of " (page.moment(page.now)) " " (page.zone_name()) }
                        " · " a href="/api/v1" { "JSON" } " · " a href="/metrics" { "metrics" }
                    }
                }
            }
        }
    }
    .into_string()
}

/// A colour of the state's family for a word that is none of it.
pub(super) fn tag(class: &str, text: &str) -> Markup {
    html! { span class={ "tag t-" (class) } { (text) } }
}

pub(super) fn word(state: State) -> &'static str {
    match state {
        State::Ok => "OK",
        State::Degraded => "Degraded",
        State::Down => "Down",
        State::Unknown => "Unknown",
        State::Maintenance => "Maintenance",
    }
}

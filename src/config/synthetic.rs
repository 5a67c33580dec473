//! `[synthetic]`: bootwatch's own boots. Without a user they are off.

use std::time::Duration;

use http::Uri;

use super::document::Settings;
use super::problem::Problems;
use super::secret::Secret;
use crate::core::event::{UserKey, parse_uuid};
use crate::core::synthetic::VncMatters;

const PROVIDERS: [&str; 3] = ["codex", "claude_code", "gemini_cli"];

/// Who boots, where, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct Synthetic {
    /// The account's id, of which logs and pages know nothing.
    pub user: Secret,
    pub provider: String,
    pub controller: Uri,
    pub interval: Duration,
    pub budget: u64,
    pub busy: u64,
    pub reserve: u64,
    pub vnc: VncMatters,
}

impl Synthetic {
    /// The account as logs and rows join by it.
    #[must_use]
    pub fn user_key(&self) -> UserKey {
        UserKey::from_text(self.user.expose().as_bytes())
    }
}

pub(super) fn providers() -> Vec<&'static str> {
    PROVIDERS.to_vec()
}

pub(super) fn vnc_words() -> Vec<&'static str> {
    VncMatters::ALL.iter().map(|word| word.as_str()).collect()
}

pub(super) fn check(settings: &Settings, problems: &mut Problems) {
    let user: Option<String> = settings.maybe("synthetic.user_id");
    if user.is_some_and(|user| parse_uuid(user.as_bytes()).is_none()) {
        problems.add(
            "synthetic.user_id",
            "is no user_id; write a UUID such as \"5e1f0000-0000-4000-8000-000000000001\"",
        );
    }
}

pub(super) fn is_configured(settings: &Settings) -> bool {
    settings.maybe::<String>("synthetic.user_id").is_some()
}

/// `None`: no synthetic boot is made.
pub(super) fn read(settings: &Settings) -> Option<Synthetic> {
    let vnc: String = settings.read("synthetic.vnc");
    Some(Synthetic {
        user: Secret::new(settings.maybe::<String>("synthetic.user_id")?),
        provider: settings.read("synthetic.provider"),
        controller: settings.read("synthetic.controller"),
        interval: settings.read("synthetic.interval"),
        budget: settings.read("synthetic.budget"),
        busy: settings.read("synthetic.busy"),
        reserve: settings.read("synthetic.reserve"),
        vnc: VncMatters::from_word(&vnc).unwrap_or(VncMatters::Measured),
    })
}

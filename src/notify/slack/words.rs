//! The words by which Slack refuses, as it documents them, and what each means for us.

use std::time::Duration;

use crate::notify::error::{Fault, NotifyError};

/// This very payload; a shorter one may pass.
const PAYLOAD: &[&str] = &[
    "invalid_payload",
    "invalid_blocks",
    "invalid_blocks_format",
    "invalid_arguments",
    "invalid_attachments",
    "too_many_attachments",
    "msg_too_long",
    "msg_blocks_too_long",
    "no_text",
];

/// The receiver, as it is configured: the word and the remedy.
const RECEIVER: &[(&str, &str)] = &[
    (
        "no_service",
        "Slack says no_service: the webhook was removed or disabled; make a new one",
    ),
    (
        "no_service_id",
        "Slack says no_service_id: the webhook's URL is not whole; copy it again",
    ),
    (
        "no_team",
        "Slack says no_team: the webhook's workspace is gone; make a new one",
    ),
    (
        "team_disabled",
        "Slack says team_disabled: the webhook's workspace is disabled",
    ),
    (
        "invalid_token",
        "Slack says invalid_token: the webhook's URL is not valid any more; make a new one",
    ),
    (
        "action_prohibited",
        "Slack says action_prohibited: an administrator forbids the webhook; ask for it",
    ),
    (
        "posting_to_general_channel_denied",
        "Slack says posting_to_general_channel_denied: name another channel",
    ),
    (
        "channel_not_found",
        "Slack says channel_not_found: name a channel that exists, by its id",
    ),
    (
        "channel_is_archived",
        "Slack says channel_is_archived: name a channel that is in use",
    ),
    (
        "is_archived",
        "Slack says is_archived: name a channel that is in use",
    ),
    (
        "not_in_channel",
        "Slack says not_in_channel: invite the bot to the channel",
    ),
    (
        "user_not_found",
        "Slack says user_not_found: name a channel that exists",
    ),
    (
        "restricted_action",
        "Slack says restricted_action: let the bot write to the channel",
    ),
    (
        "restricted_action_read_only_channel",
        "Slack says restricted_action_read_only_channel: name a channel in which the bot may write",
    ),
    (
        "restricted_action_thread_only_channel",
        "Slack says restricted_action_thread_only_channel: name a channel that takes messages of its own",
    ),
    (
        "team_access_not_granted",
        "Slack says team_access_not_granted: give the bot access to the workspace",
    ),
    (
        "access_denied",
        "Slack says access_denied: let the bot write to the channel",
    ),
    (
        "ekm_access_denied",
        "Slack says ekm_access_denied: an administrator has suspended it; ask for it",
    ),
    (
        "not_allowed_token_type",
        "Slack says not_allowed_token_type: configure a bot's token (xoxb-)",
    ),
    (
        "not_authed",
        "Slack says not_authed: configure the bot's token",
    ),
    (
        "invalid_auth",
        "Slack says invalid_auth: configure a valid token of the bot",
    ),
    (
        "account_inactive",
        "Slack says account_inactive: the token's bot is gone; make a new one",
    ),
    (
        "token_revoked",
        "Slack says token_revoked: configure a new token of the bot",
    ),
    (
        "token_expired",
        "Slack says token_expired: configure a new token of the bot",
    ),
    (
        "missing_scope",
        "Slack says missing_scope: give the bot the scope chat:write",
    ),
    (
        "no_permission",
        "Slack says no_permission: give the bot the scope chat:write",
    ),
];

/// Slack itself; another try may help.
const PASSING: &[(&str, Fault)] = &[
    ("ratelimited", Fault::Answered(429)),
    ("rate_limited", Fault::Answered(429)),
    ("rollup_error", Fault::Answered(500)),
    ("internal_error", Fault::Answered(500)),
    ("fatal_error", Fault::Answered(500)),
    ("service_unavailable", Fault::Answered(503)),
    ("request_timeout", Fault::Answered(408)),
];

/// The thread cannot be answered in, and the channel can.
const THREAD: &[&str] = &[
    "thread_not_found",
    "cannot_reply_to_message",
    "restricted_action_thread_locked",
    "restricted_action_non_threadable_channel",
];

/// Whether the word is about the thread alone.
pub(super) fn is_of_thread(said: &[u8]) -> bool {
    THREAD.iter().any(|word| word.as_bytes() == said)
}

/// What a word means, if it is one of Slack's.
pub(super) fn meaning(said: &[u8], wish: Option<Duration>) -> Option<NotifyError> {
    let is = |word: &str| word.as_bytes() == said;
    if let Some(word) = PAYLOAD.iter().find(|word| is(word)) {
        return Some(NotifyError::permanent(Fault::Said(word)));
    }
    if let Some((_, remedy)) = RECEIVER.iter().find(|(word, _)| is(word)) {
        return Some(NotifyError::permanent(Fault::Unusable(remedy)));
    }
    let (_, fault) = PASSING.iter().find(|(word, _)| is(word))?;
    Some(NotifyError::Transient {
        fault: *fault,
        retry_after: wish,
        source: None,
    })
}

//! What the controller's interface answers, as far as a trial cares, and why a call of it told nothing.

use crate::core::event::{SessionId, VmId};
use crate::core::row::SessionStatus;

/// Why a call of the controller's interface told nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The limiter; come again after so long.
    Limited { retry_ms: i64 },
    /// Our request is at fault.
    Rejected(String),
    /// It was sent elsewhere, where nobody goes: whoever answers is not the controller.
    Redirected { to: String },
    /// The controller answered with an error of its own.
    Failed { status: u16, text: String },
    /// It was never sent.
    Unreachable(String),
    /// It may have arrived.
    Unanswered(String),
}

impl CallError {
    pub(super) fn said(&self) -> String {
        match self {
            CallError::Limited { .. } => "the controller's rate limiter refused it".to_owned(),
            CallError::Redirected { to } => {
                format!("the controller's answer is a redirect to {to}, which is not followed")
            }
            CallError::Rejected(text) => format!("the controller refuses our request: {text}"),
            CallError::Failed { status, text } => format!("HTTP {status}: {text}"),
            CallError::Unreachable(text) => format!("the controller cannot be reached: {text}"),
            CallError::Unanswered(text) => format!("the controller gave no answer: {text}"),
        }
    }
}

/// What the controller answered to the request to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartAnswer {
    pub session: SessionId,
    /// As it was named, whatever it is.
    pub address: Option<String>,
    /// It names a page of noVNC, so something is to answer on its port: later controllers have none.
    pub novnc: bool,
}

/// What the controller answered about the session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionAnswer {
    /// `None`: it knows no such session, which is usual while it works in the background.
    pub status: Option<SessionStatus>,
    pub vm: Option<VmId>,
    pub address: Option<String>,
    /// Requests left in the limiter's window.
    pub left: Option<u32>,
}

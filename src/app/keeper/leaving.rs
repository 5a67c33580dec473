//! Messages on their way: what the store keeps of one, and how each comes to its receiver's worker.

use std::sync::Arc;
use std::time::Duration;

use super::Receiver;
use crate::app::health::Health;
use crate::core::alert::{Kind, Notification};
use crate::export::Recorder;
use crate::notify::{Message, Notice};
use crate::store::{MessageState, NewMessage, Tried};

/// A message on its way to its receiver's worker.
pub(super) struct Leaving {
    /// The receiver's.
    pub(super) place: usize,
    pub(super) ticket: u64,
    pub(super) notification: Arc<Notification>,
    pub(super) message: Option<Message>,
}

pub(super) fn lay_out(receivers: &[Receiver], leaving: &mut [Leaving]) {
    for one in leaving {
        if let Some(receiver) = receivers.get(one.place) {
            one.message = Some(receiver.sender.render(&one.notification));
        }
    }
}

/// Gives each message to its worker; one that has no room for it is too far behind for this one to matter.
pub(super) fn send(
    receivers: &[Receiver],
    leaving: &mut Vec<Leaving>,
    unsaved: bool,
    recorder: &Recorder,
    health: &Health,
) {
    for one in leaving.drain(..) {
        let Some(receiver) = receivers.get(one.place) else {
            continue;
        };
        let notice = Notice {
            notification: one.notification,
            ticket: one.ticket,
            unsaved,
            age: Duration::ZERO,
            message: one.message,
            receipt: None,
            begins: false,
        };
        send_one(receiver, notice, recorder, health);
    }
}

pub(super) fn send_one(receiver: &Receiver, notice: Notice, recorder: &Recorder, health: &Health) {
    let Receiver { name, worker, .. } = receiver;
    if worker.try_send(notice).is_err() {
        tracing::error!(
            receiver = name,
            "too many notifications wait; one is sent after a restart"
        );
        recorder.notification(name, "dropped", None);
        health.dropped(name);
    }
}

/// What the store keeps of a message that is owed.
pub(super) fn owed(notification: &Notification, receiver: &str, payload: String) -> NewMessage {
    NewMessage {
        incident: notification.incident.key.clone(),
        transition: match notification.kind {
            Kind::Firing => "firing",
            Kind::Update => "update",
            Kind::Resolved => "resolved",
        }
        .to_owned(),
        receiver: receiver.to_owned(),
        dedup_key: notification.incident.key.clone(),
        payload,
        created_at: notification.at,
        due: notification.at,
        state: MessageState::Queued,
        ended_at: None,
        tried: Tried::default(),
    }
}

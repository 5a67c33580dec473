//! A channel whose secret, or whose URL, is changed while it is open.
//!
//! A receiver that refuses us is what shows that a secret is old. Its file is then read again, and if it holds another one,
//! the same message is tried at once with that; only what a new secret does not mend is a refusal. A file is looked at only
//! then, so that one that is being written does no harm to a channel that works. What the channel remembered (Slack's
//! threads, who has a mail) is forgotten with the old secret.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use super::{Attempt, Draft, Message, NotifyError, Transport, Unusable};
use crate::config::Notifier;

type Open = fn(&Notifier) -> Result<Box<dyn Transport>, Unusable>;

/// Opened again with the secret that its file holds now, if that is another one.
pub(super) async fn renewed<T: Send + 'static>(
    notifier: Notifier,
    open: impl FnOnce(&Notifier) -> Result<T, Unusable> + Send + 'static,
) -> Option<(Notifier, T)> {
    let channel = notifier.name.clone();
    let anew = tokio::task::spawn_blocking(move || {
        let Some(notifier) = notifier.renewed()? else {
            return Ok(None);
        };
        let opened = open(&notifier).map_err(|error| error.to_string())?;
        Ok::<_, String>(Some((notifier, opened)))
    });
    match anew.await.ok()? {
        Ok(Some(renewed)) => {
            tracing::info!(
                channel,
                "the receiver refused us; trying what its secret's file holds now"
            );
            Some(renewed)
        }
        Ok(None) => None,
        Err(problem) => {
            tracing::warn!(channel, problem, "the secret cannot be read again");
            None
        }
    }
}

pub(super) struct Renewing {
    open: Open,
    now: Mutex<(Notifier, Arc<dyn Transport>)>,
}

impl Renewing {
    pub(super) fn open(notifier: &Notifier, open: Open) -> Result<Renewing, Unusable> {
        let transport = Arc::from(open(notifier)?);
        Ok(Renewing {
            open,
            now: Mutex::new((notifier.clone(), transport)),
        })
    }

    fn now(&self) -> (Notifier, Arc<dyn Transport>) {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.clone()
    }

    fn set(&self, notifier: Notifier, transport: Arc<dyn Transport>) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = (notifier, transport);
    }
}

impl Transport for Renewing {
    fn render(&self, draft: &Draft<'_>) -> Vec<u8> {
        self.now().1.render(draft)
    }

    fn recall(&self, of: &str, receipt: &str) {
        self.now().1.recall(of, receipt);
    }

    fn send<'a>(&'a self, message: &'a Message) -> Attempt<'a> {
        Box::pin(async {
            let (notifier, known) = self.now();
            let refused = match known.send(message).await {
                Err(error) if error.breaks_receiver() => error,
                result => return result,
            };
            let before = notifier.clone();
            let Some((notifier, transport)) = renewed(notifier, self.open).await else {
                return Err(refused);
            };
            let transport: Arc<dyn Transport> = Arc::from(transport);
            self.set(notifier, Arc::clone(&transport));
            // With its connection.
            drop(known);
            let result = transport.send(message).await;
            // What is refused as well is no better: the known one may be right, and something else in the way.
            if result.as_ref().is_err_and(NotifyError::breaks_receiver)
                && let Ok(again) = (self.open)(&before)
            {
                self.set(before, Arc::from(again));
            }
            result
        })
    }
}

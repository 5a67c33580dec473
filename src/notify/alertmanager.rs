//! `type = "alertmanager"`: the present state, told to Alertmanager's API v2 again and again.
//!
//! Alertmanager forgets an alert that it is not told of, so this is no queue of messages: whenever something changes,
//! and each minute, every firing alert is sent with an end four minutes ahead. Three lost posts change nothing; if we
//! go away for good, the alerts end by themselves. What was resolved is sent with its real end for a quarter of an hour
//! more, so that an Alertmanager that was restarted meanwhile still learns it.
//!
//! Each configured instance has a loop of its own and is told everything, as Alertmanager's cluster wants: one that is
//! down delays no other. A `400` means that some alert was invalid and the valid ones were taken, so it is not repeated
//! before the next round. Grouping is Alertmanager's work; our own waits do not apply here.

mod payload;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap};
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::NotifyError;
use super::http::{Post, secret_value};
use super::page::Context;
use super::retry::{self, Jitter};
use super::worker::{Outcome, Report};
use super::{Duty, Kind, Unusable, renewal};
use crate::clock;
use crate::config::{Alertmanager, Channel, Notifier};
use crate::core::alert::{Incident, Notification};
use crate::core::event::Timestamp;

pub(super) const KIND: Kind = Kind {
    name: "alertmanager",
    duty: Duty::Show,
};

const API: &str = "/api/v2/alerts";

/// What holds now: incidents that are open, and those that ended lately.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub incidents: Vec<Incident>,
}

/// What became of telling an instance everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    pub report: Report,
    /// Incidents that are open and that it took for the first time since it is told of any: their keys, and when they
    /// fired.
    pub first: Vec<(String, Timestamp)>,
}

/// How often and for how long an alert is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rhythm {
    resend: Duration,
    /// How far ahead the end of a firing alert is: four rounds.
    hold: Duration,
    /// How long a resolved alert is told; at least five minutes are documented.
    resolved: Duration,
}

const RHYTHM: Rhythm = Rhythm {
    resend: Duration::from_secs(60),
    hold: Duration::from_secs(4 * 60),
    resolved: Duration::from_secs(15 * 60),
};

/// One notifier: all instances of an Alertmanager.
#[derive(Debug)]
pub struct Publisher {
    name: String,
    instances: Vec<Instance>,
}

/// One instance, which is told by itself.
pub struct Instance {
    channel: String,
    notifier: Notifier,
    /// Its place among the notifier's.
    at: usize,
    /// Host and port, for logs.
    place: String,
    post: Post,
    context: Context,
    rhythm: Rhythm,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Instance({} at {})", self.channel, self.place)
    }
}

impl Publisher {
    /// # Errors
    /// A URL or the authorization cannot be used, or the notifier is of another kind.
    pub fn new(notifier: &Notifier, context: Context) -> Result<Publisher, Unusable> {
        let name = &notifier.name;
        let Channel::Alertmanager(settings) = &notifier.channel else {
            return Err(Unusable::new(name, "it is no Alertmanager"));
        };
        let instances = (0..settings.urls.len())
            .map(|at| Instance::open(notifier, settings, at, context.clone()))
            .collect::<Result<_, _>>()?;
        Ok(Publisher {
            name: name.clone(),
            instances,
        })
    }

    /// The label `channel` of metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Each to be run by itself.
    #[must_use]
    pub fn into_instances(self) -> Vec<Instance> {
        self.instances
    }

    /// Tells each instance of an alert that is marked as a test and ends by itself a minute later.
    pub async fn test(&self, host: &str, at: Timestamp) -> Vec<(String, Result<(), NotifyError>)> {
        let mut told = Vec::new();
        for instance in &self.instances {
            let result = instance.tell(payload::test(host, &self.name, at)).await;
            told.push((instance.place.clone(), result));
        }
        told
    }
}

impl Publisher {
    /// Tells each instance one message of a drill.
    pub async fn drill(
        &self,
        notification: &Notification,
    ) -> Vec<(String, Result<(), NotifyError>)> {
        let mut told = Vec::new();
        for instance in &self.instances {
            let batch = payload::drill(notification, &instance.context, instance.rhythm);
            told.push((instance.place.clone(), instance.tell(batch).await));
        }
        told
    }
}

impl Instance {
    fn open(
        notifier: &Notifier,
        settings: &Alertmanager,
        at: usize,
        context: Context,
    ) -> Result<Instance, Unusable> {
        let (host, port) = settings.urls[at].place();
        Ok(Instance {
            channel: notifier.name.clone(),
            notifier: notifier.clone(),
            at,
            place: format!("{host}:{port}"),
            post: post(notifier, settings, at)?,
            context,
            rhythm: RHYTHM,
        })
    }

    /// Host and port.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Tells the instance whatever is shown, until nobody shows anything any more and the last was told. `stop` yields
    /// the moment by which it must have ended. Nothing is resolved at the end: a restart is no recovery.
    pub async fn run(
        mut self,
        state: watch::Receiver<Arc<State>>,
        report: impl FnMut(Round) + Send,
        stop: impl Future<Output = Instant> + Send,
    ) {
        let deadline = async {
            let at = stop.await;
            tokio::time::sleep_until(at).await;
        };
        tokio::select! {
            biased;
            () = self.publish(state, report) => {}
            () = deadline => {
                tracing::debug!(channel = self.channel, place = self.place, "the last state may not have been told");
            }
        }
    }

    async fn publish(
        &mut self,
        mut state: watch::Receiver<Arc<State>>,
        mut report: impl FnMut(Round) + Send,
    ) {
        let mut jitter = Jitter::new();
        let mut health = Health::default();
        let mut open = true;
        loop {
            let shown = Arc::clone(&state.borrow_and_update());
            let due = self
                .round(&shown, &mut health, &mut report, &mut jitter)
                .await;
            tokio::select! {
                biased;
                changed = state.changed(), if open => open = changed.is_ok(),
                () = at(due), if open || health.tries > 0 => {}
                // Nobody shows anything any more, and the last was told.
                else => return,
            }
            if !open && health.tries == 0 {
                return;
            }
        }
    }

    /// Tells all of it once, and says when the next round is due.
    async fn round(
        &mut self,
        shown: &State,
        health: &mut Health,
        report: &mut (impl FnMut(Round) + Send),
        jitter: &mut Jitter,
    ) -> Option<Instant> {
        let batches = payload::batches(shown, &self.context, self.rhythm, clock::now());
        if batches.is_empty() {
            health.tries = 0;
            return None;
        }
        let began = clock::monotonic();
        let mut result = Ok(());
        for batch in batches {
            // What one batch meets is no reason to keep the next back.
            let mut told = self.tell(batch.clone()).await;
            if let Err(error) = &told
                && error.breaks_receiver()
                && self.renew().await
            {
                told = self.tell(batch).await;
            }
            if result.is_ok() || matches!(told, Err(NotifyError::Transient { .. })) {
                result = told.and(result);
            }
        }
        let now = clock::monotonic();
        let outcome = health.judge(&result, &self.channel, &self.place);
        let first = match result {
            Ok(()) => health.first(shown),
            Err(_) => Vec::new(),
        };
        report(Round {
            report: Report {
                ticket: 0,
                outcome,
                took: now.duration_since(began),
                age: Duration::ZERO,
                waiting: 0,
                oldest: None,
                broken: health.broken,
                receipt: None,
            },
            first,
        });
        let wait = match &result {
            Err(NotifyError::Transient { retry_after, .. }) => {
                // Well within the time that an alert lives without news.
                let wish =
                    retry_after.unwrap_or_else(|| retry::jittered(health.tries, jitter.draw()));
                wish.min(self.rhythm.resend)
            }
            Ok(()) | Err(NotifyError::Partly { .. } | NotifyError::Permanent { .. }) => {
                self.rhythm.resend
            }
        };
        Some(now + wait)
    }

    /// Takes the authorization that its file holds now; false where that is no other one.
    async fn renew(&mut self) -> bool {
        let at = self.at;
        let open = move |notifier: &Notifier| match &notifier.channel {
            Channel::Alertmanager(settings) => post(notifier, settings, at),
            _ => Err(Unusable::new(&notifier.name, "it is no Alertmanager")),
        };
        let Some((notifier, post)) = renewal::renewed(self.notifier.clone(), open).await else {
            return false;
        };
        (self.notifier, self.post) = (notifier, post);
        true
    }

    async fn tell(&self, batch: Vec<u8>) -> Result<(), NotifyError> {
        self.post.state(batch).await?.by_status()
    }
}

fn post(notifier: &Notifier, settings: &Alertmanager, at: usize) -> Result<Post, Unusable> {
    let name = &notifier.name;
    let mut headers = HeaderMap::new();
    if let Some(secret) = &settings.authorization {
        let value = secret_value(secret)
            .ok_or_else(|| Unusable::new(name, "its authorization cannot be sent"))?;
        headers.insert(AUTHORIZATION, value);
    }
    Post::open(name, &settings.urls[at], API, settings.timeout, headers)
}

/// How an instance does, so that each change is said once.
#[derive(Default)]
struct Health {
    /// Failed rounds in a row that another try may mend.
    tries: u32,
    ill: bool,
    broken: bool,
    /// What it took, of what is open.
    taken: BTreeSet<String>,
}

impl Health {
    /// It took all that is shown: what of it was new to it.
    fn first(&mut self, shown: &State) -> Vec<(String, Timestamp)> {
        let open = shown.incidents.iter();
        let open: Vec<&Incident> = open.filter(|one| one.resolved_at.is_none()).collect();
        let taken = open.iter().map(|one| one.key.clone()).collect();
        let before = std::mem::replace(&mut self.taken, taken);
        let new = open.into_iter().filter(|one| !before.contains(&one.key));
        new.map(|one| (one.key.clone(), one.fired_at)).collect()
    }

    fn judge(&mut self, result: &Result<(), NotifyError>, channel: &str, place: &str) -> Outcome {
        let was_ill = std::mem::replace(&mut self.ill, result.is_err());
        let Err(error) = result else {
            self.tries = 0;
            self.broken = false;
            if was_ill {
                tracing::info!(channel, place, "this Alertmanager takes alerts again");
            }
            return Outcome::Sent;
        };
        if !was_ill {
            tracing::error!(
                channel,
                place,
                error = error.chain(),
                "this Alertmanager does not take the alerts"
            );
        }
        self.broken |= error.breaks_receiver();
        match error {
            NotifyError::Transient { .. } => {
                self.tries = self.tries.saturating_add(1);
                Outcome::Retrying(error.trouble())
            }
            // It has one recipient.
            NotifyError::Partly { .. } | NotifyError::Permanent { .. } => {
                self.tries = 0;
                Outcome::Failed(error.trouble())
            }
        }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What is told at `now`, for tests of every kind's payload.
#[cfg(test)]
pub(super) fn batches_of(state: &State, context: &Context, now: Timestamp) -> Vec<Vec<u8>> {
    payload::batches(state, context, RHYTHM, now)
}

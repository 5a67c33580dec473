//! Requests over a restart: one part a user.

use serde::{Deserialize, Serialize};

use super::{MAX_PER_USER, Request, Requests};
use crate::core::event::{SessionId, UserKey};
use crate::core::lease::Slot;
use crate::core::saved::{Changes, RestoreError, Saved, Touched};

const USER: &str = "user/";

/// One user's requests and newest CLI boot.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    requests: Vec<Request>,
    /// Which of their sessions are found by name: another user may have taken one over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sessions: Vec<SessionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cli: Option<Slot>,
}

impl Requests {
    pub(in crate::core::boot) fn all_touched(&self) -> bool {
        self.touched.is_everything()
    }

    pub(in crate::core::boot) fn touch_all(&mut self) {
        self.touched = Touched::default();
    }

    /// The number of the next request.
    pub(in crate::core::boot) fn next(&self) -> u64 {
        self.next
    }

    /// Users with a request, and users with a CLI boot.
    pub(in crate::core::boot) fn users(&self) -> (usize, usize) {
        (self.by_user.len(), self.cli.len())
    }

    pub(in crate::core::boot) fn save(&mut self, changes: &mut Changes) {
        let all = self.by_user.keys().chain(self.cli.keys()).copied();
        let mut users = self.touched.take(all);
        users.dedup();
        for user in users {
            let kept = self.kept(user);
            changes.put_or_remove(format!("{USER}{:032x}", user.0), kept.as_ref());
        }
    }

    fn kept(&self, user: UserKey) -> Option<Kept> {
        let requests = self.of(user).to_vec();
        let cli = self.cli.get(&user).copied();
        if requests.is_empty() && cli.is_none() {
            return None;
        }
        let named = |session: &SessionId| self.by_session.get(session) == Some(&user);
        let sessions = requests
            .iter()
            .filter_map(Request::known_session)
            .filter(named)
            .collect();
        Some(Kept {
            requests,
            sessions,
            cli,
        })
    }

    /// Takes back one saved user; false if the key is not one's.
    pub(in crate::core::boot) fn restore(
        &mut self,
        saved: &Saved,
        key: &str,
        text: &str,
        slots: Slot,
        next: u64,
    ) -> Result<bool, RestoreError> {
        let Some(user) = key.strip_prefix(USER) else {
            return Ok(false);
        };
        let user = u128::from_str_radix(user, 16).ok().map(UserKey);
        let user = user.filter(|user| key == format!("{USER}{:032x}", user.0));
        let Some(user) = user else {
            return Err(saved.contradiction(key, "it names no user"));
        };
        let kept: Kept = saved.read(key, text)?;
        let bounded = kept.requests.len() <= MAX_PER_USER;
        saved.ensure(bounded, key, "it has more requests than are ever kept")?;
        for request in &kept.requests {
            saved.ensure(
                request.number < next,
                key,
                "a request's number was never given",
            )?;
            let possible = request.slot.is_none_or(|slot| slot < slots);
            saved.ensure(possible, key, "a request belongs to a boot that cannot be")?;
            let other = self.order.insert(request.number, user).is_some();
            saved.ensure(!other, key, "two requests have the same number")?;
        }
        for session in kept.sessions {
            let other = self.by_session.insert(session, user).is_some();
            saved.ensure(!other, key, "another user has its session")?;
        }
        if let Some(slot) = kept.cli {
            saved.ensure(slot < slots, key, "its CLI boot cannot be")?;
            self.cli.insert(user, slot);
        }
        if !kept.requests.is_empty() {
            self.by_user.insert(user, kept.requests);
        }
        Ok(true)
    }

    pub(in crate::core::boot) fn restored(&mut self, next: u64) {
        self.next = next;
        self.touched = Touched::nothing();
    }
}

//! The desk: what operators have said, and what it makes of the engine's notifications.
//!
//! ```text
//!   engine ──► notification ──► silenced? ─► inhibited? ─► storm? ──► sent
//!                                  └─────────────┴────────────┴────► held: counted, shown, and looked at again
//! ```
//!
//! The engine decides what holds; the desk decides what is said about it, and never the other way round: a silenced
//! alert changes its state, is counted and shown. What holds back a first page ends some time, and then an incident that
//! still fires is paged, with why it comes late. An inhibition hides only what was not sent yet; a silence hides updates
//! and repeats, too, and what they would have said is said once when it ends. An end goes to whoever got the beginning,
//! whatever holds, and to nobody else.
//!
//! Acknowledging an incident stops its repeats and ends with it. A repeat is due so long after the last message that was
//! delivered, exactly, and over restarts.
//!
//! Boots of a maintenance count neither for nor against; an alert that fires all the same pages, and says that there is
//! one.
//!
//! Pure: the same notifications, commands and times give the same effects.

mod act;
mod again;
mod calendar;
mod command;
mod hold;
mod inhibit;
mod keep;
mod maintenance;
mod matcher;
mod silence;
mod storm;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

pub use calendar::{NoWindow, Recurring, Span};
pub use command::{
    Command, Done, LONGEST_MAINTENANCE_MS, MOST_AUTHOR, Operation, Refused, matchers_are_sound,
};
use keep::Place;
pub use maintenance::Maintenance;
pub use matcher::{Label, Labels, Matcher, NoMatcher, matchers_of};
pub use silence::{LONGEST_MS, SHORTEST_MS, Silence};
use storm::Storm;

use crate::core::alert::{
    Acknowledged, Digest, HeldBack, Incident, Kind, Notification, Reason, Remarks,
};
use crate::core::event::Timestamp;
use crate::core::saved::Touched;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// So long after the last delivered message an incident that nobody acknowledged is told again.
    pub repeat_page_ms: i64,
    pub repeat_ticket_ms: i64,
    pub group_wait_ms: i64,
    pub maintenance: Vec<Recurring>,
    /// What is sent goes to somebody: a channel is configured.
    pub reaches_somebody: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            repeat_page_ms: 4 * 3_600_000,
            repeat_ticket_ms: 24 * 3_600_000,
            group_wait_ms: 30_000,
            maintenance: Vec::new(),
            reaches_somebody: true,
        }
    }
}

/// Incidents that nobody heard of, remembered for those that are shown what ended lately.
const MOST_QUIET: usize = 200;

/// What the desk wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Send(Box<Notification>),
    /// It is not sent now.
    Held {
        incident: String,
        why: HeldBack,
    },
    /// For the record.
    Noted(Operation),
}

/// Whether the engine has just said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Fresh,
    None,
}

/// An open incident, and what was said of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Told {
    /// What the engine said last.
    latest: Notification,
    /// Its first page has left.
    sent: bool,
    /// When a message about it was last delivered, or left where that is not known yet.
    told_at: Timestamp,
    /// What keeps back what is to be said; `None`: all is said.
    held: Option<HeldBack>,
    /// It waits until then whether its cause shows itself.
    waits_until: Option<Timestamp>,
    acknowledged: Option<Acknowledged>,
    /// Somebody got a message about it; of what an earlier version saved that is not known, and taken so.
    #[serde(default = "known")]
    heard: bool,
    /// So often was it told to nobody, and when it was last that.
    #[serde(default)]
    lost: u32,
    #[serde(default)]
    lost_at: Option<Timestamp>,
}

fn known() -> bool {
    true
}

impl Told {
    /// One of which nothing was said yet.
    fn new(latest: Notification, told_at: Timestamp) -> Told {
        Told {
            latest,
            sent: false,
            told_at,
            held: None,
            waits_until: None,
            acknowledged: None,
            heard: false,
            lost: 0,
            lost_at: None,
        }
    }

    fn is_digest(&self, storm: &Storm) -> bool {
        storm.digest(&self.latest.incident.key).is_some()
    }

    /// Nobody knows of it: what was sent was given up.
    fn is_lost(&self) -> bool {
        self.lost > 0 && !self.heard
    }
}

/// An incident that ended lately: its symptoms get a moment to end, too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Gone {
    incident: Incident,
    at: Timestamp,
}

/// How an incident stands, for whoever looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub incident: Incident,
    pub acknowledged: Option<Acknowledged>,
    pub held: Option<HeldBack>,
    /// Somebody was told of it.
    pub is_told: bool,
    /// It is no incident, but a message that stands for many.
    pub digest: Option<Digest>,
}

impl View {
    /// What was told is what was known then: shown is what is known now.
    pub fn update<'a>(&mut self, present: impl Iterator<Item = &'a Incident> + Clone) {
        for standing in &mut self.incidents {
            let mut present = present.clone();
            if let Some(now) = present.find(|now| now.key == standing.incident.key) {
                standing.incident = now.clone();
            }
        }
    }
}

/// What operators see.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    pub incidents: Vec<Standing>,
    pub silences: Vec<Silence>,
    pub maintenance: Vec<Maintenance>,
    /// The configured windows, with the occurrence that is under way.
    pub windows: Vec<(String, Option<Span>)>,
}

#[derive(Clone, Debug)]
pub struct Desk {
    settings: Settings,
    silences: BTreeMap<u64, Silence>,
    maintenance: BTreeMap<u64, Maintenance>,
    told: BTreeMap<String, Told>,
    gone: VecDeque<Gone>,
    /// The last incidents that ended without anybody having been told.
    quiet: VecDeque<String>,
    storm: Storm,
    /// When a configured window next begins or ends.
    window_change: Option<Timestamp>,
    /// What was due by then has been done; nothing yet after a start.
    ticked_at: Timestamp,
    /// The last number that was given to a silence or maintenance.
    last_id: u64,
    touched: Touched<Place>,
}

impl Desk {
    #[must_use]
    pub fn new(settings: Settings) -> Desk {
        Desk {
            settings,
            silences: BTreeMap::new(),
            maintenance: BTreeMap::new(),
            told: BTreeMap::new(),
            gone: VecDeque::new(),
            quiet: VecDeque::new(),
            storm: Storm::default(),
            window_change: None,
            ticked_at: Timestamp::MIN,
            last_id: 0,
            touched: Touched::default(),
        }
    }

    /// After a start: incidents of which the desk does not know were told by a run that had none; those that the engine
    /// does not have are over.
    pub fn agree_with<'a>(&mut self, open: impl Iterator<Item = &'a Incident>, now: Timestamp) {
        let mut known = std::mem::take(&mut self.told);
        for incident in open {
            let told = known.remove(&incident.key).unwrap_or_else(|| {
                let latest = Notification {
                    kind: Kind::Firing,
                    reason: Reason::FirstAlert,
                    at: incident.fired_at,
                    incident: incident.clone(),
                    remarks: Remarks::default(),
                };
                Told {
                    sent: true,
                    heard: true,
                    ..Told::new(latest, incident.fired_at.min(now))
                }
            });
            self.touched.mark(Place::Told(incident.key.clone()));
            self.told.insert(incident.key.clone(), told);
        }
        let open = &self.told;
        self.storm.agrees_with(|key| open.contains_key(key));
        self.touched.mark(Place::Storm);
        for (key, told) in known {
            self.touched.mark(Place::Told(key.clone()));
            // A digest is no incident of the engine's.
            if self.storm.digest(&key).is_some() {
                self.told.insert(key, told);
            }
        }
    }

    /// Takes a notification of the engine's.
    pub fn take(&mut self, notification: Notification, now: Timestamp, out: &mut Vec<Effect>) {
        match notification.kind {
            Kind::Resolved => self.ended(notification, now, out),
            Kind::Firing | Kind::Update => {
                let key = notification.incident.key.clone();
                let wait = self.settings.group_wait_ms;
                let told = self.told.entry(key.clone()).or_insert_with(|| Told {
                    waits_until: Some(now.plus_ms(wait)),
                    ..Told::new(notification.clone(), now)
                });
                told.latest = notification;
                self.say(&key, News::Fresh, now, out);
                // What is held back may have another reason to be, or none.
                self.look_again(|_, told| told.held.is_some(), now, out);
            }
        }
    }

    /// Says of these what is to be said by now, though nothing is new of them.
    fn look_again(
        &mut self,
        wanted: impl Fn(&Desk, &Told) -> bool,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        for key in self.told.keys().cloned().collect::<Vec<_>>() {
            if self.told.get(&key).is_some_and(|told| wanted(self, told)) {
                self.say(&key, News::None, now, out);
            }
        }
    }

    /// A message about an incident was delivered: its repeat counts from there.
    pub fn delivered(&mut self, incident: &str, at: Timestamp) {
        if let Some(told) = self.told.get_mut(incident)
            && (told.told_at < at || !told.heard)
        {
            told.told_at = told.told_at.max(at);
            (told.heard, told.lost) = (true, 0);
            self.touched.mark(Place::Told(incident.to_owned()));
        }
    }

    /// A message about an incident was given up. One of which nobody has got a word is told again soon.
    pub fn given_up(&mut self, incident: &str) {
        if let Some(told) = self.told.get_mut(incident)
            && !told.heard
            // Each channel says so of the same message.
            && told.lost_at != Some(told.told_at)
        {
            told.lost_at = Some(told.told_at);
            told.lost = told.lost.saturating_add(1);
            self.touched.mark(Place::Told(incident.to_owned()));
        }
    }

    /// Lets pass what time alone changes.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.forget(now);
        if self.window_change.is_none_or(|at| at <= now) {
            let windows = self.settings.maintenance.iter();
            self.window_change = windows.filter_map(|window| window.next_change(now)).min();
        }
        self.give_notice(now, out);
        // What is silenced while it fires is told once when the silence ends.
        let silenced = |desk: &Desk, told: &Told| desk.silence_on(told, now).is_some();
        self.look_again(
            |desk, told| told.held.is_some() || silenced(desk, told),
            now,
            out,
        );
        self.repeat(now, out);
        self.tell_digests(now, out);
        self.ticked_at = now;
    }

    /// When `tick` next has work to do: what has come due since the last one stays due, however late one asks.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let done = self.ticked_at;
        let silences = self.silences.values().filter(|one| !one.has_ended(done));
        let silences = silences.map(|one| one.next_change(done));
        let told = self.told.values().flat_map(|told| {
            let waits = told.held.as_ref().and(told.waits_until);
            let repeats = self.repeats_at(told);
            [waits.filter(|until| *until > done), repeats]
        });
        let grace = self.settings.group_wait_ms;
        let gone = self.gone.iter().map(|gone| gone.at.plus_ms(grace));
        let digest = self.storm.next_due();
        let by_hand = self.maintenance.values().map(|one| one.ends_at);
        silences
            .chain(told.flatten())
            .chain(gone)
            .chain(digest)
            .chain(self.window_change)
            .chain(by_hand.filter(|at| *at > done))
            .min()
    }

    /// Whether nobody was told of an incident, since something holds it back. What has joined a digest is no secret any
    /// more, whatever holds that back.
    #[must_use]
    pub fn hides(&self, incident: &str) -> bool {
        let told = self.told.get(incident);
        told.is_some_and(|told| !told.sent) && !self.storm.holds(incident)
    }

    /// Whether an incident that is over was told to nobody.
    #[must_use]
    pub fn kept_quiet(&self, incident: &str) -> bool {
        self.quiet.iter().any(|key| key == incident)
    }

    #[must_use]
    pub fn view(&self, now: Timestamp) -> View {
        let standing = |told: &Told| Standing {
            incident: told.latest.incident.clone(),
            acknowledged: told.acknowledged.clone(),
            held: self.standing_hold(told, now),
            is_told: self.settings.reaches_somebody && told.sent && !told.is_lost(),
            digest: self.digest(&told.latest.incident.key),
        };
        let windows = self.settings.maintenance.iter();
        View {
            incidents: self.told.values().map(standing).collect(),
            silences: self.silences.values().cloned().collect(),
            maintenance: self.maintenance.values().cloned().collect(),
            windows: windows
                .map(|window| (window.to_string(), window.around(now)))
                .collect(),
        }
    }

    fn digest(&self, key: &str) -> Option<Digest> {
        self.storm.digest(key).map(storm::Open::counted)
    }

    /// Silences that hold now, and acknowledged incidents.
    #[must_use]
    pub fn figures(&self, now: Timestamp) -> (usize, usize) {
        let silences = self.silences.values().filter(|one| one.is_active(now));
        let told = self.told.values();
        (
            silences.count(),
            told.filter(|told| told.acknowledged.is_some()).count(),
        )
    }

    /// Says what is to be said about an open incident, or holds it back.
    fn say(&mut self, key: &str, news: News, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(told) = self.told.get(key) else {
            return;
        };
        let before = told.held.clone();
        if let Some(why) = self.hold(told, now) {
            self.hold_back(key, why, news, out);
            return;
        }
        // A digest has a time of its own; what kept it back is over.
        if told.is_digest(&self.storm) {
            self.storm.is_due(key, now);
            self.touched.mark(Place::Storm);
            return;
        }
        let in_digest = self.storm.holds(key);
        // What kept it back beside the digest, and is over, is not what keeps it back now.
        if in_digest && news == News::None && before == Some(HeldBack::Storm) {
            return;
        }
        if !told.sent && (in_digest || !self.storm.is_calm(now)) {
            let incident = told.latest.incident.clone();
            self.storm.join(&incident, now, self.settings.group_wait_ms);
            self.touched.mark(Place::Storm);
            self.hold_back(key, HeldBack::Storm, news, out);
            return;
        }
        self.send(key, before, now, out);
    }

    /// Whether it is held by one silence or by another is no news.
    fn hold_back(&mut self, key: &str, why: HeldBack, news: News, out: &mut Vec<Effect>) {
        let Some(told) = self.told.get_mut(key) else {
            return;
        };
        let before = told.held.replace(why.clone());
        if before.as_ref() != Some(&why) || news == News::Fresh {
            self.touched.mark(Place::Told(key.to_owned()));
        }
        if before.is_none_or(|before| before.as_str() != why.as_str()) || news == News::Fresh {
            out.push(Effect::Held {
                incident: key.to_owned(),
                why,
            });
        }
    }

    fn send(&mut self, key: &str, held: Option<HeldBack>, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(told) = self.told.get_mut(key) else {
            return;
        };
        let first = !std::mem::replace(&mut told.sent, true);
        // What it waited for did not come: that is no reason of its own.
        let held = held.filter(|why| *why != HeldBack::Waiting);
        let mut notification = told.latest.clone();
        if first {
            notification.kind = Kind::Firing;
        }
        if held.is_some() {
            notification.at = now;
            notification.reason = Reason::HeldBack;
            if !first {
                notification.kind = Kind::Update;
            }
        }
        told.held = None;
        told.told_at = now;
        self.touched.mark(Place::Told(key.to_owned()));
        self.leaves(notification, key, held, now, out);
    }

    fn leaves(
        &mut self,
        notification: Notification,
        key: &str,
        held: Option<HeldBack>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        self.storm.sent(now);
        self.touched.mark(Place::Storm);
        let notification = self.remarked(notification, key, held, now);
        out.push(Effect::Send(Box::new(notification)));
    }

    fn remarked(
        &self,
        mut notification: Notification,
        key: &str,
        held: Option<HeldBack>,
        now: Timestamp,
    ) -> Notification {
        let told = self.told.get(key);
        let remarks = &mut notification.remarks;
        remarks.acknowledged = told.and_then(|told| told.acknowledged.clone());
        remarks.held = held;
        remarks.digest = self.digest(key);
        remarks.maintenance = self.maintenance_at(now).map(str::to_owned);
        notification
    }

    /// An incident's end: for whoever got its beginning.
    fn ended(&mut self, notification: Notification, now: Timestamp, out: &mut Vec<Effect>) {
        let key = notification.incident.key.clone();
        let told = self.told.remove(&key);
        self.touched.mark(Place::Told(key.clone()));
        self.touched.mark(Place::Gone);
        let mut cause = notification.incident.clone();
        for member in &mut cause.members {
            // As it was while it fired.
            member.resolved_at = None;
        }
        self.gone.push_back(Gone {
            incident: cause,
            at: now,
        });
        let in_digest = self.storm.holds(&key);
        if in_digest {
            self.touched.mark(Place::Storm);
            let wait = self.settings.group_wait_ms;
            for severity in self.storm.resolved(&key, now, wait) {
                self.end_digest(severity, now, out);
            }
        }
        // One that the desk does not know was told by a run that had none.
        let Some(told) = told else {
            out.push(Effect::Send(Box::new(notification)));
            return;
        };
        if told.sent {
            let mut notification = notification;
            notification.remarks.acknowledged = told.acknowledged;
            out.push(Effect::Send(Box::new(notification)));
        } else if !in_digest {
            if self.quiet.len() == MOST_QUIET {
                self.quiet.pop_front();
            }
            self.quiet.push_back(key);
        }
    }

    /// What is long over.
    fn forget(&mut self, now: Timestamp) {
        let grace = self.settings.group_wait_ms;
        while self
            .gone
            .front()
            .is_some_and(|gone| gone.at.plus_ms(grace) <= now)
        {
            self.gone.pop_front();
            self.touched.mark(Place::Gone);
        }
        let long_ago = now.plus_ms(-silence::REMEMBERED_MS);
        let old = |ended: &Timestamp| *ended <= long_ago;
        let silences = self.silences.values().filter(|one| old(&one.ends_at));
        for id in silences.map(|one| one.id).collect::<Vec<_>>() {
            self.silences.remove(&id);
            self.touched.mark(Place::Silence(id));
        }
        let maintenance = self.maintenance.values().filter(|one| old(&one.ends_at));
        for id in maintenance.map(|one| one.id).collect::<Vec<_>>() {
            self.maintenance.remove(&id);
            self.touched.mark(Place::Maintenance(id));
        }
    }
}

//! What is said again, or of something else: repeats, notices and digests.

use super::keep::Place;
use super::{Desk, Effect, News, Told};
use crate::core::alert::{Kind, Notification, Reason, Remarks};
use crate::core::event::Timestamp;
use crate::core::rule::Severity;

/// What nobody could be told is told again after so long, and after twice as long each time.
const LOST_MS: i64 = 5 * 60_000;

impl Desk {
    /// Says that silences end, where something that they silence still fires.
    pub(super) fn give_notice(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let due: Vec<u64> = self
            .silences
            .values()
            .filter(|one| one.is_active(now) && !one.noticed && one.notice_at() <= now)
            .map(|one| one.id)
            .collect();
        for id in due {
            let silenced = self.told.iter().find(|(_, told)| {
                let by = self.silence_on(told, now);
                by.is_some_and(|one| one.id == id)
            });
            let key = silenced.map(|(key, _)| key.clone());
            let Some(silence) = self.silences.get_mut(&id) else {
                continue;
            };
            // What begins to fire later is told at the end.
            silence.noticed = true;
            let ends = silence.ends();
            self.touched.mark(Place::Silence(id));
            let Some(told) = key.as_ref().and_then(|key| self.told.get(key)) else {
                continue;
            };
            let mut notice = Notification {
                kind: Kind::Update,
                reason: Reason::SilenceEnding,
                at: now,
                ..told.latest.clone()
            };
            notice.remarks.silence = Some(ends);
            out.push(Effect::Send(Box::new(notice)));
        }
    }

    /// When an incident is told again; `None`: somebody has it, or it is held back.
    pub(super) fn repeats_at(&self, told: &Told) -> Option<Timestamp> {
        if !told.sent || told.acknowledged.is_some() || told.held.is_some() {
            return None;
        }
        let mut every = match told.latest.incident.severity() {
            Severity::Page => self.settings.repeat_page_ms,
            Severity::Ticket => self.settings.repeat_ticket_ms,
        };
        if told.is_lost() {
            every = every.min(LOST_MS << (told.lost - 1).min(16));
        }
        Some(told.told_at.plus_ms(every))
    }

    pub(super) fn repeat(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let due: Vec<String> = self
            .told
            .iter()
            .filter(|(_, told)| self.repeats_at(told).is_some_and(|at| at <= now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            let Some(told) = self.told.get_mut(&key) else {
                continue;
            };
            let mut notification = told.latest.clone();
            notification.kind = match told.is_lost() {
                true => Kind::Firing,
                false => Kind::Update,
            };
            notification.reason = Reason::Repeat;
            notification.at = now;
            told.told_at = now;
            self.touched.mark(Place::Told(key.clone()));
            let held = self.told.get(&key).and_then(|told| self.hold(told, now));
            match held {
                // Told once when what holds it back has ended.
                Some(why) => self.hold_back(&key, why, News::Fresh, out),
                None => self.leaves(notification, &key, None, now, out),
            }
        }
    }

    pub(super) fn tell_digests(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        for severity in [Severity::Page, Severity::Ticket] {
            self.tell_digest(severity, now, out);
        }
    }

    fn tell_digest(&mut self, severity: Severity, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(open) = self.storm.digests.get_mut(&severity) else {
            return;
        };
        if open.due.is_none_or(|due| due > now) {
            return;
        }
        open.due = None;
        let key = open.incident.key.clone();
        let notification = Notification {
            kind: match open.told_at {
                None => Kind::Firing,
                Some(_) => Kind::Update,
            },
            reason: Reason::Storm,
            at: now,
            incident: open.incident.clone(),
            remarks: Remarks::default(),
        };
        // From here on it is an incident like others: it can be acknowledged, and is told again.
        let told = self.told.entry(key.clone());
        let told = told.or_insert_with(|| Told::new(notification.clone(), now));
        told.latest = notification.clone();
        self.touched.mark(Place::Told(key.clone()));
        self.touched.mark(Place::Storm);
        if let Some(why) = self.told.get(&key).and_then(|told| self.hold(told, now)) {
            self.hold_back(&key, why, News::Fresh, out);
            return;
        }
        if let Some(open) = self.storm.digests.get_mut(&severity) {
            open.told_at = Some(now);
        }
        let held = self.told.get_mut(&key).and_then(|told| {
            (told.sent, told.told_at) = (true, now);
            told.held.take()
        });
        self.leaves(notification, &key, held, now, out);
    }

    pub(super) fn end_digest(&mut self, severity: Severity, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(open) = self.storm.digests.remove(&severity) else {
            return;
        };
        let key = &open.incident.key;
        let told = self.told.remove(key);
        self.touched.mark(Place::Told(key.clone()));
        if open.told_at.is_none() {
            return;
        }
        let mut incident = open.incident.clone();
        incident.resolved_at = Some(now);
        let remarks = Remarks {
            acknowledged: told.and_then(|told| told.acknowledged),
            digest: Some(open.counted()),
            ..Remarks::default()
        };
        out.push(Effect::Send(Box::new(Notification {
            kind: Kind::Resolved,
            reason: Reason::AllResolved,
            at: now,
            incident,
            remarks,
        })));
    }
}

//! What an open incident is put down to, and whether a fix has helped it.
//!
//! When an incident opens, it is diagnosed by what is known then; nothing is waited for. Whatever is learnt later (an
//! audit, a console, one more boot) diagnoses it anew. A verdict that was told stays what was told until another one is
//! likelier by a margin; then it is told once, in an update under the same key, and no more often than every five
//! minutes. That a verdict has lost its ground is not worth waking anybody: it is shown with whatever is told next.

use super::incident::is_image;
use super::keep::Place;
use super::{Effect, Engine, Family, Incident, Subject, course};
use crate::core::diagnosis::{
    self, Diagnosis, Evidence, FLOOR, Sign, Signs, Span, Verdict, diagnose,
};
use crate::core::event::{Timestamp, VmId, VmType};
use crate::core::fix::{Fix, Standing, What};
use crate::core::image::GoldenImage;
use crate::core::synthetic::SyntheticRun;
use crate::core::window::{Count, Judged};

/// The last bad boots, which are looked at.
const LOOKED_AT: usize = 10;
/// Boots that must all have failed before it is said that none became ready meanwhile.
const ALL: usize = 3;
/// Another verdict must be likelier than the floor by so many thousandths to be told.
const MARGIN: u16 = 100;
/// An incident whose boots are well again waits this long for its fix to be confirmed.
pub(super) const HOLD_MS: i64 = 30 * 60_000;

impl Engine {
    /// The golden image as it was audited.
    pub fn image(&mut self, image: &GoldenImage, now: Timestamp, out: &mut Vec<Effect>) {
        if !self.surroundings.image(image) {
            return;
        }
        self.touched.mark(Place::Surroundings);
        if let Some(changed_at) = self.surroundings.image_since() {
            // It boots browser VMs only.
            self.fixed(VmType::Browser, &What::Image, changed_at, now);
        }
        self.diagnose_anew(now);
        self.send_updates(now, out);
    }

    /// The controller stood still from then until then.
    pub fn stalled(&mut self, from: Timestamp, until: Timestamp, now: Timestamp) {
        self.surroundings.stalled(from, until);
        self.touched.mark(Place::Surroundings);
        self.diagnose_anew(now);
    }

    /// A synthetic boot's own look is evidence for the boots that fail beside it.
    pub(super) fn tried(&mut self, run: &SyntheticRun, now: Timestamp) {
        if self.surroundings.trial(run) {
            self.touched.mark(Place::Surroundings);
            self.diagnose_anew(now);
        }
    }

    pub(super) fn controller_started(&mut self, at: Timestamp) {
        self.surroundings.restarted(at);
        self.touched.mark(Place::Surroundings);
    }

    /// More about a boot that has ended.
    pub fn learn(&mut self, vm: VmId, signs: Signs, now: Timestamp, out: &mut Vec<Effect>) {
        let known = self.types.iter_mut().find_map(|(vm_type, of_type)| {
            let (place, boot) = of_type.window.of_vm(vm)?;
            let before = boot.signs;
            boot.signs.take(signs);
            (boot.failure.is_some() && boot.signs != before).then_some((*vm_type, place))
        });
        if let Some((vm_type, place)) = known {
            self.touched.mark(Place::Boot(vm_type, place));
            self.diagnose_anew(now);
            self.send_updates(now, out);
        }
    }

    /// An operator says that something was fixed just now. Says how many incidents wait for its proof.
    pub fn fix_marked(&mut self, author: &str, note: &str, now: Timestamp) -> usize {
        let what = What::Marked {
            author: author.to_owned(),
            note: note.to_owned(),
        };
        VmType::ALL
            .iter()
            .map(|vm_type| self.fixed(*vm_type, &what, now, now))
            .sum()
    }

    /// Open incidents about such boots, which began before it, wait for its proof from now on. One that was marked
    /// later is not forgotten for an image that changed before.
    fn fixed(&mut self, vm_type: VmType, what: &What, at: Timestamp, now: Timestamp) -> usize {
        let places: Vec<(Subject, Family)> = self
            .incidents
            .iter()
            .filter(|((subject, _), incident)| {
                *subject == Subject::Boots(vm_type)
                    && incident.asks_why()
                    && incident.first_bad_at < at
                    && incident.fix.as_ref().is_none_or(|known| known.at < at)
            })
            .map(|(place, _)| *place)
            .collect();
        for place in &places {
            let Some(first) = self.incidents.get(place).map(|one| one.first_bad_at) else {
                continue;
            };
            let before = self.count(vm_type, |boot| {
                boot.started_at >= first && boot.started_at < at
            });
            if let Some(incident) = self.incidents.get_mut(place) {
                incident.fix = Some(Fix::new(what.clone(), at, before));
                self.learned += 1;
                self.touched.mark(Place::Incident(place.0, place.1));
            }
        }
        self.prove_fixes(vm_type, now);
        places.len()
    }

    /// Counts the boots since each fix.
    pub(super) fn prove_fixes(&mut self, vm_type: VmType, now: Timestamp) {
        let about = |subject: Subject| subject == Subject::Boots(vm_type);
        let watched: Vec<((Subject, Family), Timestamp)> = self
            .incidents
            .iter()
            .filter(|((subject, _), _)| about(*subject))
            .filter_map(|(place, incident)| Some((*place, incident.fix.as_ref()?.at)))
            .collect();
        for (place, at) in watched {
            let since = self.count(vm_type, |boot| boot.started_at >= at);
            let usual = self.tolerated();
            let wait = self.settings.group_wait_ms;
            let Some(incident) = self.incidents.get_mut(&place) else {
                continue;
            };
            let Some(fix) = &mut incident.fix else {
                continue;
            };
            if fix.since == since {
                continue;
            }
            let decided = fix.take(since, usual, now);
            self.learned += 1;
            if decided && fix.standing == Standing::NotConfirmed {
                incident.news = Some(News::Fix);
                incident.holds(now.plus_ms(wait));
            }
            self.touched.mark(Place::Incident(place.0, place.1));
        }
    }

    /// Until when boots are to be watched at most although they are well: a fix is being proved.
    pub(super) fn held_until(&self, vm_type: VmType) -> Option<Timestamp> {
        let about = self.incidents.iter();
        let about = about.filter(|((subject, _), _)| *subject == Subject::Boots(vm_type));
        let fixes = about.filter_map(|(_, incident)| incident.fix.as_ref());
        fixes
            .filter(|fix| is_proving(fix))
            .filter_map(|fix| self.waits_until(vm_type, fix))
            .max()
    }

    /// Half an hour after the first boot since has ended.
    fn waits_until(&self, vm_type: VmType, fix: &Fix) -> Option<Timestamp> {
        let last = self.types.get(&vm_type)?.window.last(Timestamp::MIN);
        let since = last.filter(|boot| boot.started_at >= fix.at);
        Some(since.map(|boot| boot.ended_at).min()?.plus_ms(HOLD_MS))
    }

    /// Gives up on the fixes whose proof has taken too long.
    pub(super) fn give_up(&mut self, now: Timestamp) {
        let over: Vec<(Subject, Family)> = self
            .incidents
            .iter()
            .filter_map(|(place, incident)| {
                let fix = incident.fix.as_ref().filter(|fix| is_proving(fix))?;
                let until = self.waits_until(place.0.vm_type()?, fix)?;
                (until <= now).then_some(*place)
            })
            .collect();
        for place in over {
            if let Some(fix) = self
                .incidents
                .get_mut(&place)
                .and_then(|incident| incident.fix.as_mut())
            {
                fix.given_up = true;
                self.learned += 1;
                self.touched.mark(Place::Incident(place.0, place.1));
            }
        }
    }

    fn count(&self, vm_type: VmType, which: impl Fn(&Judged) -> bool) -> Count {
        let window = self.types.get(&vm_type).map(|of_type| &of_type.window);
        let last = window
            .into_iter()
            .flat_map(|window| window.last(Timestamp::MIN));
        Count::of(last.filter(|boot| which(boot)))
    }

    /// Diagnoses every open incident about boots anew.
    pub(super) fn diagnose_anew(&mut self, now: Timestamp) {
        let all: Vec<(Subject, Family)> = self.incidents.keys().copied().collect();
        self.diagnose(&all, now);
    }

    /// Diagnoses some anew: those of them that are open and about boots.
    pub(super) fn diagnose(&mut self, places: &[(Subject, Family)], now: Timestamp) {
        for place in places {
            let asking = self.incidents.get(place);
            let asking = asking.filter(|incident| incident.asks_why());
            let found = asking.and_then(|incident| {
                self.diagnosed(place.0.vm_type()?, incident.first_bad_at, now)
            });
            let wait = self.settings.group_wait_ms;
            let (Some(found), Some(incident)) = (found, self.incidents.get_mut(place)) else {
                continue;
            };
            let known = incident.diagnosis.as_ref();
            if known.is_some_and(|known| known.ranked == found.ranked) {
                continue;
            }
            if incident.is_news(&found) {
                let told = incident.verdict_told_at.unwrap_or(Timestamp::MIN);
                let due = now.plus_ms(wait).max(told.plus_ms(course::INTERVAL_MS));
                incident.news.get_or_insert(News::Verdict);
                incident.holds_for_now(due);
            } else if incident.news == Some(News::Verdict) {
                incident.news = None;
            }
            incident.diagnosis = Some(found);
            self.touched.mark(Place::Incident(place.0, place.1));
            self.learned += 1;
        }
    }

    /// Goes up with whatever becomes known of an open incident, told or not: who shows incidents is behind then.
    #[must_use]
    pub fn learned(&self) -> u64 {
        self.learned
    }

    /// What bad boots since then are put down to; `None`: there are none.
    pub(super) fn diagnosed(
        &self,
        vm_type: VmType,
        first_bad_at: Timestamp,
        now: Timestamp,
    ) -> Option<Diagnosis> {
        let of_type = self.types.get(&vm_type)?;
        let ended = || of_type.window.last(Timestamp::MIN);
        let all_bad =
            || ended().filter(|boot| boot.failure.is_some() && boot.started_at >= first_bad_at);
        let bad: Vec<&Judged> = all_bad().take(LOOKED_AT).collect();
        // An incident that the image's audit opened began with the image, and not with a boot.
        let mut first = all_bad().map(|boot| boot.started_at).min();
        let mut boots: Vec<Signs> = bad
            .iter()
            .map(|boot| {
                let stalled = self
                    .surroundings
                    .stalled_during(boot.started_at, boot.ended_at);
                let signs = boot.signs;
                stalled.map_or(signs, |stalled| signs.with(Sign::Stalled, stalled))
            })
            .collect();
        let mut last = bad.iter().map(|boot| boot.started_at).max();
        if boots.is_empty() {
            // Nothing has failed yet: those in flight are hopeless.
            let flying = of_type.overdue.values().take(LOOKED_AT);
            boots = flying
                .map(|overdue| diagnosis::in_flight(overdue.failure()))
                .collect();
            last = of_type.overdue.values().map(|overdue| overdue.began).max();
            first = of_type.overdue.values().map(|overdue| overdue.began).min();
        }
        let span = Span {
            first: first?.max(first_bad_at),
            last: last?,
            good: ended()
                .filter(|boot| boot.failure.is_none() && boot.started_at < first_bad_at)
                .map(|boot| boot.started_at)
                .max(),
        };
        let (mut around, details) = self.surroundings.around(span);
        if vm_type == VmType::Browser {
            around.take(self.surroundings.trials(span));
        }
        let mut since = ended().filter(|boot| (span.first..=span.last).contains(&boot.started_at));
        if since.any(|boot| boot.failure.is_none()) {
            around.set(Sign::AllFail, false);
        } else if boots.len() >= ALL && around.of(Sign::AllFail).is_none() {
            around.set(Sign::AllFail, true);
        }
        let evidence = Evidence {
            boots,
            around,
            details,
        };
        Some(diagnose(&evidence, now))
    }
}

/// Nothing speaks against it yet, and too little for it.
fn is_proving(fix: &Fix) -> bool {
    fix.standing == Standing::Undecided && fix.since.bad == 0 && !fix.given_up
}

/// What an update is about, beside alerts and the class of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum News {
    Verdict,
    Fix,
}

impl Incident {
    /// Whether it is about boots that fail, or about an image of which they will.
    pub(super) fn asks_why(&self) -> bool {
        self.subject.vm_type().is_some() && (self.cause.failure().is_some() || is_image(self.cause))
    }

    /// Whether another verdict is likelier now than what was told.
    fn is_news(&self, found: &Diagnosis) -> bool {
        let Some(first) = found.verdict() else {
            return false;
        };
        self.verdict_told != Some(first.verdict) && first.chance >= FLOOR + MARGIN
    }

    /// Something is to be told at that time at the latest.
    pub(super) fn holds(&mut self, due: Timestamp) {
        self.update_due = Some(self.update_due.map_or(due, |known| known.min(due)));
        self.may_lapse = false;
    }

    /// The same of what is told only if it still is so by then.
    pub(super) fn holds_for_now(&mut self, due: Timestamp) {
        self.may_lapse = self.may_lapse || self.update_due.is_none();
        self.update_due = Some(self.update_due.map_or(due, |known| known.min(due)));
    }

    /// What is about to be told of the cause and the verdict.
    pub(super) fn tells(&mut self, now: Timestamp) {
        let verdict: Option<Verdict> = self
            .diagnosis
            .as_ref()
            .and_then(|found| Some(found.verdict()?.verdict));
        if verdict.is_some() && self.verdict_told != verdict {
            self.verdict_told = verdict;
            self.verdict_told_at = Some(now);
        }
        self.cause_told = Some((self.cause, self.before));
        self.news = None;
    }
}

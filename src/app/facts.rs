//! What is known now, as facts for the engine: the log's silence and lag, the database, the store, the channels.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::health::Health;
use crate::controller::reader::ReadCounts;
use crate::core::condition::{Condition, Fact, Facts, LEAST_UNPARSED};
use crate::core::event::Timestamp;
use crate::core::rule::RuleName;

/// Over so long the share of unread records is judged, in steps of a minute.
const SHARE_STEPS: usize = 10;
const STEP: Duration = Duration::from_secs(60);
/// A controller that runs says something known at least every five minutes.
const SPEAKS_WITHIN: Duration = Duration::from_secs(6 * 60);
/// So many times must records have come before their times are judged.
const STAMPS: usize = 20;
/// A log that is further off than any zone is replayed, and no clock's fault.
const NO_CLOCK_MS: i64 = 26 * 3_600_000;

/// Whether the controller's rows can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sighted {
    /// Nothing was asked yet.
    Unknown,
    Fully,
    Not(Condition),
}

/// What the owner sees at a moment.
pub(super) struct Sight<'a> {
    pub(super) now: Instant,
    /// The same moment on the owner's clock.
    pub(super) at: Timestamp,
    /// What is read was there before the first start.
    pub(super) history: bool,
    /// The log is read to its end, and held nothing more at this moment.
    pub(super) looked_at: Option<Instant>,
    /// It is looked at more often than this, or it is not known how things stand.
    pub(super) looks_within: Duration,
    /// The log can be read.
    pub(super) up: bool,
    pub(super) reads: ReadCounts,
    /// Lines that belong to no record.
    pub(super) stray_lines: u64,
    /// `None`: it is not watched.
    pub(super) database: Option<Sighted>,
    /// What the database said, or what said for it that it does not answer.
    pub(super) database_trouble: Option<&'a str>,
    pub(super) health: &'a Health,
}

impl Sight<'_> {
    /// The log was read to its end until a moment ago.
    fn is_at_the_end(&self) -> bool {
        let looked_at = self.looked_at;
        looked_at.is_some_and(|at| self.now < at + self.looks_within)
    }
}

/// What must be remembered from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The log has been waited for since, and when something came last.
    listening: Option<Instant>,
    heard: Option<Instant>,
    behind: Option<Instant>,
    unreadable: Option<Instant>,
    database_down: Option<Instant>,
    /// What had been read, at times.
    reads: VecDeque<(Instant, Reading)>,
    /// How far ahead of this machine's clock the records were that came last.
    ahead_ms: VecDeque<i64>,
}

impl Watch {
    /// Something was read that the controller has just written.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// A record was read as it was written, and bears a time so far ahead of this machine's.
    pub(super) fn stamped(&mut self, ahead_ms: i64) {
        self.ahead_ms.push_back(ahead_ms);
        if self.ahead_ms.len() > STAMPS {
            self.ahead_ms.pop_front();
        }
    }

    /// Since when the log cannot be read.
    pub(super) fn unreadable(&self) -> Option<Instant> {
        self.unreadable
    }

    /// What is known now of everything but the rows.
    pub(super) fn look(&mut self, sight: &Sight<'_>) -> Facts {
        let mut facts = Facts::new();
        self.log(sight, &mut facts);
        self.silence(sight, &mut facts);
        self.records(sight, &mut facts);
        self.clock(&mut facts);
        self.database(sight, &mut facts);
        let since = sight.health.store_failing();
        let fact = lasting(Condition::StoreUnwritable, since, sight);
        facts.insert(RuleName::StoreUnwritable, fact);
        channels(sight.health, sight.now, &mut facts);
        facts
    }

    fn database(&mut self, sight: &Sight<'_>, facts: &mut Facts) {
        let condition = match sight.database {
            None | Some(Sighted::Unknown) => return,
            Some(Sighted::Fully) => None,
            Some(Sighted::Not(condition)) => Some(condition),
        };
        hold(&mut self.database_down, condition.is_some(), sight.now);
        let condition = condition.unwrap_or(Condition::DatabaseUnreachable);
        let said = sight
            .database_trouble
            .map(|said| format!("database: {said}"));
        let fact = Fact {
            evidence: said.into_iter().collect(),
            ..lasting(condition, self.database_down, sight)
        };
        facts.insert(RuleName::DatabaseUnreachable, fact);
    }

    fn log(&mut self, sight: &Sight<'_>, facts: &mut Facts) {
        hold(&mut self.unreadable, !sight.up && !sight.history, sight.now);
        let behind = !(sight.history || sight.up && sight.is_at_the_end());
        hold(&mut self.behind, behind, sight.now);
        if sight.history {
            return;
        }
        let (condition, since) = match self.unreadable {
            Some(since) => (Condition::LogUnreadable, Some(since)),
            None => (Condition::LogLagging, self.behind),
        };
        facts.insert(RuleName::LogLagging, lasting(condition, since, sight));
    }

    /// While the log is not read to its end, whether the controller writes is not known.
    fn silence(&mut self, sight: &Sight<'_>, facts: &mut Facts) {
        let Some(looked_at) = sight.looked_at.filter(|_| !sight.history && sight.up) else {
            return;
        };
        let listening = *self.listening.get_or_insert(looked_at);
        let since = self.heard.unwrap_or(listening);
        // Whoever stood still, with all of bootwatch or for a disk, heard nothing and cannot say that nothing was said.
        let unheard = sight.now.saturating_duration_since(looked_at);
        let fact = lasting(Condition::ControllerSilent, Some(since), sight);
        let fact = Fact {
            value: fact.value.saturating_sub(millis(unheard)),
            // Silence that is still short says nothing of before this run.
            settles: self.heard.is_some(),
            ..fact
        };
        facts.insert(RuleName::ControllerSilent, fact);
    }

    fn records(&mut self, sight: &Sight<'_>, facts: &mut Facts) {
        if sight.history {
            self.reads.clear();
            return;
        }
        let reading = Reading::of(sight);
        let newest = self.reads.back();
        if newest.is_none_or(|(at, _)| sight.now.duration_since(*at) >= STEP) {
            self.reads.push_back((sight.now, reading));
            if self.reads.len() > SHARE_STEPS {
                self.reads.pop_front();
            }
        }
        let Some((since, before)) = self.reads.front() else {
            return;
        };
        let new = reading.after(*before);
        let long = sight.now.duration_since(*since) > SPEAKS_WITHIN;
        let (value, of) = match new.foreign() {
            Some(foreign) if long => (foreign, foreign),
            _ => (new.unparsed, new.events + new.unparsed),
        };
        if of > 0 {
            let fact = Fact {
                condition: Condition::RecordsUnparsed,
                value,
                of: Some(of),
                since: None,
                settles: true,
                evidence: Vec::new(),
            };
            facts.insert(RuleName::RecordsUnparsed, fact);
        }
    }
}

/// What was read of the log until a moment, or between two.
#[derive(Clone, Copy, Debug)]
struct Reading {
    events: u64,
    unparsed: u64,
    /// Records of known messages that say nothing of boots.
    noise: u64,
    /// Records of messages that are not known, and lines of no record.
    strange: u64,
}

impl Reading {
    fn of(sight: &Sight<'_>) -> Reading {
        let reads = sight.reads;
        Reading {
            events: reads.events,
            unparsed: reads.unparsed,
            noise: reads.noise,
            strange: reads.unknown + sight.stray_lines,
        }
    }

    fn after(self, before: Reading) -> Reading {
        Reading {
            events: self.events - before.events,
            unparsed: self.unparsed - before.unparsed,
            noise: self.noise - before.noise,
            strange: self.strange - before.strange,
        }
    }

    /// How much was written where nothing of it was understood: the controller's words or the form of its lines are
    /// others than before, and boots could fail unseen.
    fn foreign(self) -> Option<u64> {
        let written = self.strange + self.unparsed;
        (self.events == 0 && self.noise == 0 && written >= LEAST_UNPARSED).then_some(written)
    }
}

impl Watch {
    /// Late is what a busy host or a held record may be, now and then; never all of them, and never early.
    fn clock(&self, facts: &mut Facts) {
        let (Some(least), Some(most)) = (self.ahead_ms.iter().min(), self.ahead_ms.iter().max())
        else {
            return;
        };
        if self.ahead_ms.len() < STAMPS || *least < -NO_CLOCK_MS || *most > NO_CLOCK_MS {
            return;
        }
        let (off, side) = match (*least > 0, *most < 0) {
            (true, _) => (*least, "ahead of"),
            (_, true) => (most.saturating_neg(), "behind"),
            _ => (0, "beside"),
        };
        let fact = Fact {
            condition: Condition::LogClockWrong,
            value: u64::try_from(off).unwrap_or(0),
            of: None,
            since: None,
            settles: true,
            evidence: vec![format!(
                "the last {STAMPS} times that records came, their times were at least {} s {side} this machine's clock",
                off / 1_000
            )],
        };
        facts.insert(RuleName::LogClockWrong, fact);
    }
}

fn hold(since: &mut Option<Instant>, holds: bool, now: Instant) {
    match holds {
        true => *since = Some(since.unwrap_or(now)),
        false => *since = None,
    }
}

/// A condition that has held since then, or does not.
fn lasting(condition: Condition, since: Option<Instant>, sight: &Sight<'_>) -> Fact {
    let ms = since.map_or(0, |since| {
        millis(sight.now.saturating_duration_since(since))
    });
    Fact {
        condition,
        value: ms,
        of: None,
        since: since.map(|_| sight.at.plus_ms(-i64::try_from(ms).unwrap_or(i64::MAX))),
        settles: true,
        evidence: Vec::new(),
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// What a label of `bootwatch_notifications_total` means to whoever is woken by it.
fn spoken(how: &str) -> &'static str {
    match how.rsplit('_').next() {
        Some("client") => "it refuses what is sent",
        Some("auth") => "it refuses us, by key, password or address",
        Some("rate") => "it wants fewer messages",
        Some("server") => "it answers with an error of its own",
        Some("timeout") => "it does not answer in time",
        Some("network") => "no connection to it",
        _ => "it does not take what is sent",
    }
}

fn channels(health: &Health, now: Instant, facts: &mut Facts) {
    let channels = health.channels();
    if channels.is_empty() {
        return;
    }
    let failing: Vec<String> = channels
        .iter()
        .filter_map(|(name, channel)| {
            let how = channel.trouble(now)?;
            Some(match channel.failing {
                Some(_) => format!("{name}: {} (the last try ended as {how})", spoken(how)),
                None => format!("{name}: a message was given up as {how}; it delivers others"),
            })
        })
        .collect();
    let fact = Fact {
        condition: Condition::NotifierFailing,
        value: failing.len() as u64,
        of: Some(channels.len() as u64),
        since: None,
        // One that was not tried since the start may still be as broken as before.
        settles: channels.iter().all(|(_, channel)| channel.tried),
        evidence: failing,
    };
    facts.insert(RuleName::NotifierFailing, fact);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::notify::{Outcome, Trouble};

    const START: Timestamp = Timestamp(1_760_752_327_000);

    /// A watch and what it is shown; time passes by hand.
    struct Scene {
        watch: Watch,
        health: Health,
        began: Instant,
        passed: Duration,
        history: bool,
        caught_up: bool,
        /// How long ago the log was looked at.
        ago: Duration,
        up: bool,
        reads: ReadCounts,
        stray_lines: u64,
        database: Option<Sighted>,
        database_trouble: Option<&'static str>,
    }

    impl Scene {
        fn new() -> Scene {
            Scene {
                watch: Watch::default(),
                health: Health::default(),
                began: clock::monotonic(),
                passed: Duration::ZERO,
                history: false,
                caught_up: true,
                ago: Duration::ZERO,
                up: true,
                reads: ReadCounts::default(),
                stray_lines: 0,
                database: None,
                database_trouble: None,
            }
        }

        fn after(&mut self, seconds: u64) -> Facts {
            self.passed += Duration::from_secs(seconds);
            let now = self.began + self.passed;
            let sight = Sight {
                now,
                at: START.plus_ms(i64::try_from(self.passed.as_millis()).unwrap()),
                history: self.history,
                looked_at: self.caught_up.then(|| now - self.ago),
                looks_within: Duration::from_secs(5),
                up: self.up,
                reads: self.reads,
                stray_lines: self.stray_lines,
                database: self.database,
                database_trouble: self.database_trouble,
                health: &self.health,
            };
            self.watch.look(&sight)
        }
    }

    fn seconds(facts: &Facts, rule: RuleName) -> Option<u64> {
        facts.get(&rule).map(|fact| fact.value / 1_000)
    }

    #[test]
    fn silence_is_counted_from_the_last_word_and_only_while_it_would_be_heard() {
        let mut scene = Scene::new();
        scene.history = true;
        assert!(scene.after(500).is_empty_of(RuleName::ControllerSilent));
        scene.history = false;
        scene.after(0);
        let facts = scene.after(30);
        assert_eq!(seconds(&facts, RuleName::ControllerSilent), Some(30));
        let fact = &facts[&RuleName::ControllerSilent];
        assert!(!fact.settles, "nothing was heard in this run");
        assert_eq!(fact.since, Some(START.plus_ms(500_000)));
        scene.watch.heard(scene.began + scene.passed);
        let facts = scene.after(7);
        assert_eq!(seconds(&facts, RuleName::ControllerSilent), Some(7));
        assert!(facts[&RuleName::ControllerSilent].settles);
        scene.caught_up = false;
        assert!(scene.after(60).is_empty_of(RuleName::ControllerSilent));
    }

    #[test]
    fn who_stood_still_has_heard_no_silence() {
        let mut scene = Scene::new();
        scene.after(0);
        scene.watch.heard(scene.began + scene.passed);
        scene.ago = Duration::from_secs(690);
        let facts = scene.after(700);
        assert_eq!(seconds(&facts, RuleName::ControllerSilent), Some(10));
        scene.ago = Duration::ZERO;
        let facts = scene.after(1);
        assert_eq!(seconds(&facts, RuleName::ControllerSilent), Some(701));
    }

    #[test]
    fn a_log_that_nobody_looked_at_for_a_while_lags() {
        let mut scene = Scene::new();
        scene.ago = Duration::from_secs(4);
        assert_eq!(seconds(&scene.after(4), RuleName::LogLagging), Some(0));
        scene.ago = Duration::from_secs(5);
        scene.after(1);
        scene.ago = Duration::from_secs(65);
        assert_eq!(seconds(&scene.after(60), RuleName::LogLagging), Some(60));
    }

    #[test]
    fn a_log_lags_from_when_it_was_last_read_to_its_end() {
        let mut scene = Scene::new();
        assert_eq!(seconds(&scene.after(5), RuleName::LogLagging), Some(0));
        scene.caught_up = false;
        scene.after(0);
        let facts = scene.after(61);
        assert_eq!(seconds(&facts, RuleName::LogLagging), Some(61));
        assert_eq!(
            facts[&RuleName::LogLagging].condition,
            Condition::LogLagging
        );
        scene.up = false;
        scene.after(0);
        let facts = scene.after(9);
        assert_eq!(seconds(&facts, RuleName::LogLagging), Some(9));
        assert_eq!(
            facts[&RuleName::LogLagging].condition,
            Condition::LogUnreadable
        );
        (scene.up, scene.caught_up) = (true, true);
        assert_eq!(seconds(&scene.after(1), RuleName::LogLagging), Some(0));
        scene.history = true;
        scene.caught_up = false;
        assert!(scene.after(600).is_empty_of(RuleName::LogLagging));
    }

    #[test]
    fn a_database_that_is_not_watched_or_not_asked_yet_says_nothing() {
        let mut scene = Scene::new();
        assert!(scene.after(1).is_empty_of(RuleName::DatabaseUnreachable));
        scene.database = Some(Sighted::Unknown);
        assert!(scene.after(99).is_empty_of(RuleName::DatabaseUnreachable));
        scene.database = Some(Sighted::Not(Condition::DatabaseBlind));
        scene.after(0);
        let down = seconds(&scene.after(61), RuleName::DatabaseUnreachable);
        assert_eq!(down, Some(61));
        scene.database = Some(Sighted::Not(Condition::DatabaseUnreachable));
        let facts = scene.after(5);
        let fact = &facts[&RuleName::DatabaseUnreachable];
        assert_eq!(fact.condition, Condition::DatabaseUnreachable);
        assert!(fact.evidence.is_empty());
        scene.database = Some(Sighted::Not(Condition::DatabaseRefuses));
        scene.database_trouble = Some("too many connections");
        let facts = scene.after(0);
        let fact = &facts[&RuleName::DatabaseUnreachable];
        assert_eq!(fact.condition, Condition::DatabaseRefuses);
        assert_eq!(fact.evidence, ["database: too many connections"]);
        assert_eq!(fact.value, 66_000, "however it cannot be seen");
        scene.database = Some(Sighted::Fully);
        let up = seconds(&scene.after(1), RuleName::DatabaseUnreachable);
        assert_eq!(up, Some(0));
    }

    #[test]
    fn records_are_judged_over_ten_minutes_and_the_past_is_not() {
        let mut scene = Scene::new();
        scene.history = true;
        (scene.reads.events, scene.reads.unparsed) = (0, 1_000);
        scene.after(1);
        scene.history = false;
        assert!(scene.after(1).is_empty_of(RuleName::RecordsUnparsed));
        for _ in 0..30 {
            scene.reads.events += 90;
            scene.reads.unparsed += 10;
            scene.after(60);
        }
        let facts = scene.after(1);
        let fact = &facts[&RuleName::RecordsUnparsed];
        assert_eq!((fact.value, fact.of), (90, Some(900)));
        for _ in 0..10 {
            scene.after(60);
        }
        assert!(
            scene.after(1).is_empty_of(RuleName::RecordsUnparsed),
            "no records is no data"
        );
    }

    #[test]
    fn a_log_of_which_nothing_is_understood_is_one_that_cannot_be_read() {
        let foreign = |known: fn(&mut Scene, u64)| {
            let mut scene = Scene::new();
            let mut found = Vec::new();
            for minute in 1..=20 {
                scene.reads.unknown += 3;
                scene.stray_lines += 2;
                known(&mut scene, minute);
                let facts = scene.after(60);
                let fact = facts.get(&RuleName::RecordsUnparsed);
                found.push(fact.map_or((0, None), |fact| (fact.value, fact.of)));
            }
            found
        };
        let found = foreign(|_, _| {});
        assert_eq!(found[4], (0, None), "it may say something yet");
        assert_eq!(found[7], (35, Some(35)));
        assert_eq!(found[19], (45, Some(45)), "of ten minutes");
        let every_five = foreign(|scene, minute| scene.reads.noise += u64::from(minute % 5 == 0));
        assert!(every_five.iter().all(|(value, _)| *value == 0));
        let boots = foreign(|scene, minute| scene.reads.events += u64::from(minute % 4 == 0));
        assert!(boots.iter().all(|(value, _)| *value == 0), "{boots:?}");
    }

    #[test]
    fn a_log_in_another_zone_is_off_and_one_that_is_only_late_or_replayed_is_not() {
        let clock = |ahead: &[i64]| {
            let mut scene = Scene::new();
            for ms in ahead {
                scene.watch.stamped(*ms);
            }
            let facts = scene.after(1);
            facts.get(&RuleName::LogClockWrong).map(|fact| fact.value)
        };
        const HOUR: i64 = 3_600_000;
        assert_eq!(clock(&[-HOUR; 19]), None, "too few to say");
        assert_eq!(clock(&[-HOUR; 20]), Some(3_600_000));
        let mut ahead = [HOUR - 900; 20];
        ahead[7] = HOUR - 30_000;
        assert_eq!(clock(&ahead), Some(3_570_000), "the least of them");
        let mut late = [-HOUR; 20];
        late[19] = -400;
        assert_eq!(clock(&late), Some(400), "one came in time");
        late[3] = 50;
        assert_eq!(clock(&late), Some(0));
        assert_eq!(
            clock(&[-400 * 24 * HOUR; 20]),
            None,
            "somebody replays a log"
        );
        let mut set_right = vec![HOUR; 40];
        set_right.extend([-300; 20]);
        assert_eq!(clock(&set_right), Some(300));
    }

    #[test]
    fn a_channel_that_was_not_tried_again_settles_nothing() {
        let mut scene = Scene::new();
        assert!(scene.after(1).is_empty_of(RuleName::NotifierFailing));
        scene.health.expect("oncall");
        scene.health.expect("team");
        let facts = scene.after(1);
        assert!(!facts[&RuleName::NotifierFailing].settles);
        scene.health.channel("team", Outcome::Sent);
        scene
            .health
            .channel("oncall", Outcome::Failed(Trouble::Auth));
        let facts = scene.after(1);
        let fact = &facts[&RuleName::NotifierFailing];
        assert_eq!((fact.value, fact.of), (1, Some(2)));
        let said = "oncall: it refuses us, by key, password or address (the last try ended as failed_auth)";
        assert_eq!(fact.evidence, [said]);
        // Each way in which a try can end has words of its own.
        let plain = "it does not take what is sent";
        let ends = Outcome::all().filter(|end| spoken(end.as_str()) == plain);
        let ends: Vec<&str> = ends.map(Outcome::as_str).collect();
        assert_eq!(
            ends,
            [
                "sent", "partly", "expired", "replaced", "overflow", "unsent"
            ]
        );
        scene.health.channel("oncall", Outcome::Sent);
        let facts = scene.after(1);
        let fact = &facts[&RuleName::NotifierFailing];
        assert!(fact.value == 0 && fact.settles);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_in_trouble_is_counted_from_its_first_failed_commit() {
        let mut scene = Scene::new();
        scene.health.store(true);
        assert_eq!(seconds(&scene.after(1), RuleName::StoreUnwritable), Some(0));
        scene.health.store(false);
        let began = scene.health.store_failing();
        scene.health.store(false);
        assert_eq!(scene.health.store_failing(), began);
        let failing = seconds(&scene.after(70), RuleName::StoreUnwritable);
        assert!(failing >= Some(70), "{failing:?}");
    }

    trait Lacks {
        fn is_empty_of(&self, rule: RuleName) -> bool;
    }

    impl Lacks for Facts {
        fn is_empty_of(&self, rule: RuleName) -> bool {
            !self.contains_key(&rule)
        }
    }
}

//! The desk with an invented clock.

mod held;
mod keep;
mod repeats;
mod storm;

use super::*;
use crate::core::alert::{Family, Member, Other};
use crate::core::event::{Failure, VmType};
use crate::core::rule::{Reading, RuleName, Said, Severity, Stretch};
use crate::core::window::Count;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// Saturday, 2025-10-18 18:26:40 UTC.
const START: Timestamp = Timestamp(1_760_812_000_000);

fn incident(key: &str, rule: RuleName, vm_type: VmType, cause: Failure) -> Incident {
    let mut incident = Incident::test("host-1", START, false);
    incident.key = key.to_owned();
    incident.subject = vm_type.into();
    incident.cause = cause.into();
    incident.family = Family::of(cause);
    incident.members = vec![member(rule)];
    incident.others = Vec::<Other>::new();
    incident
}

fn member(rule: RuleName) -> Member {
    Member {
        rule,
        severity: rule.severity(),
        fired_at: START,
        resolved_at: None,
        since: None,
        reading: Said::Boots(Reading {
            bad: true,
            recovered: false,
            count: Count { bad: 3, of: 3 },
            stretch: Stretch::Last(3),
            chance: 1e-4,
            usual: 0.05,
            overdue: 0,
            detail: None,
        }),
    }
}

fn refused(key: &str) -> Incident {
    incident(
        key,
        RuleName::ConnectionRefusedSpike,
        VmType::Browser,
        Failure::AgentRefused,
    )
}

/// A desk, the time, and what it did: `firing a`, `update a repeat`, `held a silenced`.
struct Story {
    desk: Desk,
    now: Timestamp,
    open: BTreeMap<String, Incident>,
    done: Vec<String>,
    sent: Vec<Notification>,
}

impl Story {
    fn new() -> Story {
        Story::with(Settings::default())
    }

    fn with(settings: Settings) -> Story {
        Story {
            desk: Desk::new(settings),
            now: START,
            open: BTreeMap::new(),
            done: Vec::new(),
            sent: Vec::new(),
        }
    }

    fn take_down(&mut self, out: Vec<Effect>) {
        for effect in out {
            match effect {
                Effect::Send(notification) => {
                    let kind = match notification.kind {
                        Kind::Firing => "firing",
                        Kind::Update => "update",
                        Kind::Resolved => "resolved",
                    };
                    let key = &notification.incident.key;
                    let reason = match notification.reason {
                        Reason::FirstAlert | Reason::FurtherAlert | Reason::AllResolved => "",
                        reason => reason.as_str(),
                    };
                    let said = format!("{kind} {key} {reason}");
                    self.done.push(said.trim_end().to_owned());
                    self.sent.push(*notification);
                }
                Effect::Held { incident, why } => {
                    self.done.push(format!("held {incident} {}", why.as_str()));
                }
                Effect::Noted(operation) => self.done.push(format!(
                    "noted {} {} by {}",
                    operation.action, operation.subject, operation.author
                )),
            }
        }
    }

    fn tell(&mut self, kind: Kind, reason: Reason, incident: Incident) {
        let mut out = Vec::new();
        let notification = Notification {
            kind,
            reason,
            at: self.now,
            incident,
            remarks: Remarks::default(),
        };
        self.desk.take(notification, self.now, &mut out);
        self.take_down(out);
    }

    fn fire(&mut self, mut incident: Incident) {
        incident.fired_at = self.now;
        for member in &mut incident.members {
            member.fired_at = self.now;
        }
        self.open.insert(incident.key.clone(), incident.clone());
        self.tell(Kind::Firing, Reason::FirstAlert, incident);
    }

    fn update(&mut self, key: &str, rule: RuleName) {
        let incident = self.open.get_mut(key).unwrap();
        incident.members.push(member(rule));
        let incident = incident.clone();
        self.tell(Kind::Update, Reason::FurtherAlert, incident);
    }

    fn resolve(&mut self, key: &str) {
        let mut incident = self.open.remove(key).unwrap();
        for member in &mut incident.members {
            member.resolved_at = Some(self.now);
        }
        incident.resolved_at = Some(self.now);
        self.tell(Kind::Resolved, Reason::AllResolved, incident);
    }

    fn command(&mut self, command: Command) -> Result<Done, Refused> {
        let mut out = Vec::new();
        let done = self.desk.command(command, self.now, &mut out);
        self.take_down(out);
        done
    }

    fn silence(&mut self, matchers: &[&str], lasts_ms: i64) -> Result<Done, Refused> {
        let command = silence(matchers, lasts_ms);
        self.command(command)
    }

    fn acknowledge(&mut self, incident: &str) -> Result<Done, Refused> {
        self.command(Command::Acknowledge {
            incident: incident.to_owned(),
            author: "ada".to_owned(),
            note: "looking".to_owned(),
        })
    }

    fn tick(&mut self) {
        let mut out = Vec::new();
        self.desk.tick(self.now, &mut out);
        self.take_down(out);
    }

    /// Time passes; the desk is woken whenever it wants to be, and never otherwise.
    fn pass(&mut self, ms: i64) {
        let end = self.now.plus_ms(ms);
        while let Some(due) = self.desk.next_due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.tick();
            let next = self.desk.next_due();
            assert!(next.is_none_or(|next| next > self.now), "it does not rest");
        }
        self.now = end;
    }

    fn done(&mut self) -> Vec<String> {
        std::mem::take(&mut self.done)
    }
}

fn silence(matchers: &[&str], lasts_ms: i64) -> Command {
    Command::AddSilence {
        matchers: matchers.iter().map(|text| text.parse().unwrap()).collect(),
        author: "ada".to_owned(),
        reason: "image rebuild".to_owned(),
        starts_at: None,
        lasts_ms,
    }
}

#[test]
fn without_operators_everything_leaves_as_the_engine_said() {
    let mut story = Story::new();
    story.fire(refused("a"));
    story.update("a", RuleName::BootFailureRate);
    story.resolve("a");
    story.pass(30 * 24 * HOUR);
    assert_eq!(story.done(), ["firing a", "update a", "resolved a"]);
    assert!(story.sent.iter().all(|one| one.remarks.is_empty()));
}

#[test]
fn commands_out_of_bounds_change_nothing() {
    let mut story = Story::new();
    let field = |refused: Result<Done, Refused>| match refused {
        Err(Refused::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    for (matchers, lasts, wanted) in [
        (&[][..], HOUR, "matchers"),
        (&["rule!=x"][..], HOUR, "matchers"),
        (&["rule=~.*"][..], HOUR, "matchers"),
        (&["host=x"; 17][..], HOUR, "matchers"),
        (&["host=x"][..], 59 * SECOND, "expires_in"),
        (&["host=x"][..], 30 * 24 * HOUR + 1, "expires_in"),
        (&["host=x"][..], i64::MAX, "expires_in"),
    ] {
        assert_eq!(
            field(story.silence(matchers, lasts)),
            wanted,
            "{matchers:?} {lasts}"
        );
    }
    assert_eq!(
        story.silence(&["host=x", "vm_type=brwser"], HOUR),
        Err(Refused::Misspelt(
            "no alert has vm_type \"brwser\"; did you mean \"browser\"?".to_owned()
        ))
    );
    let long = "x".repeat(501);
    for (author, reason, wanted) in [
        ("", "why", "author"),
        (" ", "why", "author"),
        ("ada\n", "why", "author"),
        ("ada", "", "reason"),
        ("ada", "a\u{1b}[2J", "reason"),
        ("ada", "\u{202e}why", "reason"),
        ("ada", &long, "reason"),
    ] {
        let command = Command::AddSilence {
            matchers: vec!["host=x".parse().unwrap()],
            author: author.to_owned(),
            reason: reason.to_owned(),
            starts_at: None,
            lasts_ms: HOUR,
        };
        assert_eq!(
            field(story.command(command)),
            wanted,
            "{author:?} {reason:?}"
        );
    }
    let nothing = Command::ExpireSilence {
        id: 1,
        author: "ada".to_owned(),
    };
    assert_eq!(story.command(nothing), Err(Refused::Unknown("silence")));
    assert_eq!(
        story.acknowledge("nothing"),
        Err(Refused::Unknown("incident"))
    );
    assert!(story.done().is_empty());
    for _ in 0..200 {
        story.silence(&["host=x"], HOUR).unwrap();
    }
    assert_eq!(
        story.silence(&["host=x"], HOUR),
        Err(Refused::Full("silences"))
    );
    story.pass(HOUR);
    story.silence(&["host=x"], HOUR).unwrap();
}

#[test]
fn where_no_channel_is_configured_nothing_is_called_told() {
    for reaches_somebody in [true, false] {
        let mut story = Story::with(Settings {
            reaches_somebody,
            ..Settings::default()
        });
        story.fire(refused("a"));
        let view = story.desk.view(story.now);
        assert_eq!(view.incidents[0].is_told, reaches_somebody);
    }
}

#[test]
fn boots_that_touch_a_maintenance_are_excluded_and_pages_say_that_there_is_one() {
    let window = "Sat 19:00-20:00 UTC rebuild".parse().unwrap();
    let mut story = Story::with(Settings {
        maintenance: vec![window],
        ..Settings::default()
    });
    let at = |minutes: i64| START.plus_ms(minutes * MINUTE);
    // The window is from 33 min 20 s to 93 min 20 s after the start.
    for (began, ended, excluded) in [
        (30, 33, false),
        (33, 34, true),
        (40, 41, true),
        (92, 94, true),
        (94, 95, false),
    ] {
        assert_eq!(
            story.desk.excludes(at(began), at(ended)),
            excluded,
            "{began} to {ended}"
        );
    }
    story.fire(refused("a"));
    story.pass(34 * MINUTE);
    story.update("a", RuleName::BootFailureRate);
    story.resolve("a");
    let said: Vec<Option<&str>> = story
        .sent
        .iter()
        .map(|one| one.remarks.maintenance.as_deref())
        .collect();
    assert_eq!(said, [None, Some("rebuild"), None]);

    let start = |lasts_ms| Command::StartMaintenance {
        author: "ada".to_owned(),
        reason: "new kernel".to_owned(),
        lasts_ms,
    };
    story.pass(2 * HOUR);
    assert!(matches!(
        story.command(start(8 * 24 * HOUR)),
        Err(Refused::Invalid { field: "for", .. })
    ));
    assert_eq!(story.command(start(HOUR)), Ok(Done::MaintenanceStarted(1)));
    let now = story.now;
    assert_eq!(story.desk.maintenance_at(now), Some("new kernel"));
    story.pass(10 * MINUTE);
    let end = Command::EndMaintenance {
        id: 1,
        author: "bob".to_owned(),
    };
    assert_eq!(story.command(end.clone()), Ok(Done::MaintenanceEnded(1)));
    assert_eq!(story.command(end), Err(Refused::Unknown("maintenance")));
    // What was is not forgotten: a boot of those ten minutes that is read late is excluded all the same.
    assert!(story.desk.excludes(now, now) && !story.desk.excludes(story.now, story.now));
}

//! The console and the image beside the log: they refine and are kept; they decide nothing.

use super::*;
use crate::core::console::{
    ConsoleEnd, ConsoleNews, ConsoleSource, ConsoleTail, GuestMark, MarkSet, Seen,
};
use crate::core::event::{Origin, Stage};
use crate::core::image::Sighting;

fn says(number: u128, source: ConsoleSource, marks: &[(i64, GuestMark)]) -> ConsoleNews {
    let seen = marks.iter().map(|(ms, mark)| Seen {
        mark: *mark,
        at: Timestamp(START + ms),
        uptime_ms: None,
    });
    ConsoleNews {
        vm: vm(number),
        source,
        seen: seen.collect(),
        clock_ahead_ms: None,
        end: None,
    }
}

fn end(number: u128, line: &str) -> ConsoleNews {
    ConsoleNews {
        end: Some(ConsoleEnd {
            marks: Vec::new(),
            tail: ConsoleTail {
                console: vec![line.to_owned()],
                errors: Vec::new(),
            },
            whole: true,
        }),
        ..says(number, ConsoleSource::Live, &[])
    }
}

impl Story {
    fn hear(&mut self, news: &ConsoleNews) -> &mut Story {
        self.tracker.console(news, &mut self.said);
        self
    }

    fn sighted(&mut self, sighting: Sighting) -> &mut Story {
        self.tracker.image_sighted(sighting, &mut self.said);
        self
    }
}

fn stage(boot: &Boot, stage: Stage) -> (u32, bool) {
    let span = boot.stage(stage).expect("it ended");
    (span.ms, span.by_console)
}

#[test]
fn the_console_gives_the_time_of_what_an_attempt_confirms() {
    let mut story = Story::new();
    let live = ConsoleSource::Live;
    story.created(0, 1, 2).wait(1_500, 2);
    story.fails(1_500, 2, 0, AttemptError::HostUnreachable);
    story.hear(&says(1, live, &[(1_740, GuestMark::IpConfigComplete)]));
    story.fails(1_500, 2, 3_000, REFUSED);
    story.hear(&says(1, live, &[(8_150, GuestMark::AgentListening)]));
    story.answers(1_500, 2, 8_000);
    assert_eq!(story.outcome(1), READY);
    let boot = story.settled(1);
    assert_eq!(stage(&boot, Stage::GuestNetwork), (340, true));
    assert_eq!(stage(&boot, Stage::AgentStart), (6_410, true));
}

#[test]
fn without_a_console_the_ladder_tells_and_says_so() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 4);
    story.answers(1_500, 2, 8_000);
    let boot = story.settled(1);
    assert!(!stage(&boot, Stage::GuestNetwork).1);
    assert!(!stage(&boot, Stage::AgentStart).1);
    assert_eq!(boot.console, None);
}

#[test]
fn a_mark_that_no_attempt_confirms_ends_no_stage() {
    let mut story = Story::new();
    let marks = [
        (1_740, GuestMark::IpConfigComplete),
        (2_000, GuestMark::AgentListening),
    ];
    story.created(0, 1, 2).wait(1_500, 2);
    story.hear(&says(1, ConsoleSource::Live, &marks));
    for elapsed in [0, 3_000, 6_000] {
        story.fails(1_500, 2, elapsed, AttemptError::HostUnreachable);
    }
    story.timed_out(17_500, 2);
    assert_eq!(story.outcome(1), failed(Failure::GuestUnreachable));
    let boot = story.settled(1);
    let network = boot.stage(Stage::GuestNetwork).expect("it was under way");
    assert!(!network.by_console);
    assert_eq!(boot.stage(Stage::AgentStart), None);
}

#[test]
fn a_mark_outside_of_its_stage_gives_no_time() {
    let mut story = Story::new();
    // A guest whose words were read late, and one that was there before its VM was.
    for (number, at) in [(1, 900_000), (2, -900_000)] {
        let address = u8::try_from(number).unwrap() + 1;
        story.created(0, number, address).wait(1_500, address);
        let marks = [(at, GuestMark::IpConfigComplete)];
        story.hear(&says(number, ConsoleSource::Live, &marks));
        story.refusals(1_500, address, 2);
        story.answers(1_500, address, 4_000);
    }
    for boot in story.finish() {
        assert!(!stage(&boot, Stage::GuestNetwork).1);
    }
}

#[test]
fn what_comes_after_the_end_is_kept_and_told_and_changes_nothing_else() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 7);
    story.timed_out(17_500, 2);
    let ended = story.end_of(1).unwrap().clone();
    let news = end(1, "vm login:");
    story.hear(&news).hear(&news);
    let told: Vec<&Boot> = story
        .said
        .iter()
        .filter_map(|said| match said {
            Observation::BootEvidence(boot) => Some(&**boot),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), 1, "the same again is no news");
    let console = told[0].console.clone().unwrap();
    assert_eq!(console.tail.console, ["vm login:"]);
    assert!(console.lacks(GuestMark::AgentUnitStarted));
    let bare = Boot {
        console: None,
        ..told[0].clone()
    };
    assert_eq!(bare, ended);
}

#[test]
fn a_boot_in_flight_is_told_of_at_its_end_only_and_a_strangers_console_never() {
    let mut story = Story::new();
    story.created(0, 1, 2);
    let before = story.said.len();
    story.hear(&end(1, "x")).hear(&end(77, "y"));
    assert_eq!(story.said.len(), before);
}

#[test]
fn the_records_few_words_give_way_to_the_console_itself() {
    let mut story = Story::new();
    let said = MarkSet::from_iter([GuestMark::KernelPanic]);
    story.created(0, 1, 2);
    story.tell(2_000, EventKind::ConsoleQuoted { vm: vm(1), said });
    let live = says(1, ConsoleSource::Live, &[(1_900, GuestMark::KernelStarted)]);
    story.hear(&live);
    story.tell(3_000, EventKind::ConsoleQuoted { vm: vm(1), said });
    let console = story.settled(1).console.unwrap();
    assert_eq!(console.source, ConsoleSource::Live);
    assert!(console.has(GuestMark::KernelStarted) && !console.has(GuestMark::KernelPanic));
}

#[test]
fn a_console_that_talks_moves_no_event_time() {
    let mut story = Story::new();
    story.created(0, 1, 2).wait(1_500, 2);
    let marks = [(3_600_000, GuestMark::LoginPrompt)];
    story.hear(&says(1, ConsoleSource::Live, &marks));
    story.advance(2_000);
    assert_eq!(story.outcome(1), None, "an hour has not passed");
}

#[test]
fn a_boot_belongs_to_the_image_that_was_there_when_its_copy_began() {
    let image = |name: &str, ms| Sighting {
        image: Some(name.to_owned()),
        since: Timestamp(START + ms),
    };
    let mut story = Story::new();
    story.sighted(image("old", -500_000));
    story.created(0, 1, 2);
    // Told late: the copy of the second boot had begun by then, that of the first long before.
    story.created(30_000, 2, 3);
    story.sighted(image("new", 29_000));
    story.created(60_000, 3, 4);
    story.made(70_000, 4, VmType::Cli, 5);
    let images: Vec<Option<String>> = story.finish().into_iter().map(|boot| boot.image).collect();
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(images, [named("old"), named("new"), named("new"), None]);
}

#[test]
fn a_boot_that_ended_before_its_image_was_sighted_is_handed_out_under_it() {
    let image = |name: &str, ms| Sighting {
        image: Some(name.to_owned()),
        since: Timestamp(START + ms),
    };
    for origin in [Origin::User, Origin::Synthetic] {
        let mut story = Story::new();
        if origin == Origin::Synthetic {
            story.tracker.set_synthetic([user(2)].into());
        }
        story.sighted(image("broken", -500_000));
        story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 7);
        story.timed_out(17_500, 2);
        story
            .created(21_000, 2, 3)
            .wait(22_500, 3)
            .answers(22_500, 3, 1_000);
        // It was written before the second boot's copy began, and is called another one only once it stands.
        for _ in 0..2 {
            story.sighted(image("mended", 20_400));
        }
        let told: Vec<_> = story
            .said
            .iter()
            .filter_map(|said| match said {
                Observation::BootCredited { boot, from } => {
                    Some((boot.vm, boot.origin, boot.image.as_deref(), from.as_deref()))
                }
                _ => None,
            })
            .collect();
        assert_eq!(
            told,
            [(Some(vm(2)), origin, Some("mended"), Some("broken"))]
        );
    }
}

#[test]
fn a_copy_older_than_any_sighting_belongs_to_no_known_image() {
    let mut story = Story::new();
    story.sighted(Sighting {
        image: Some("new".to_owned()),
        since: Timestamp(START + 60_000),
    });
    story.created(0, 1, 2);
    assert_eq!(story.settled(1).image, None);
}

#[test]
fn marks_that_came_before_the_log_told_of_the_vm_come_with_the_consoles_end() {
    use crate::core::console::{ConsoleEvidence, ConsoleSource};
    let mut story = Story::new();
    let early = [(100, GuestMark::KernelStarted)];
    story.hear(&says(1, ConsoleSource::Live, &early));
    story.created(0, 1, 2).wait(1_500, 2).refusals(1_500, 2, 7);
    story.timed_out(17_500, 2);
    let mut all = ConsoleEvidence::new(ConsoleSource::Live);
    all.take(Seen {
        mark: GuestMark::KernelStarted,
        at: Timestamp(START + 100),
        uptime_ms: Some(0),
    });
    let mut news = end(1, "vm login:");
    if let Some(end) = &mut news.end {
        end.marks = all.marks;
    }
    story.hear(&news);
    let console = story.settled(1).console.unwrap();
    assert!(console.has(GuestMark::KernelStarted));
}

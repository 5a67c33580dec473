//! Silences and inhibition.

use super::*;
use crate::core::saved::Shelf;

#[test]
fn a_silenced_alert_is_paged_when_the_silence_ends_while_it_still_fires() {
    let mut story = Story::new();
    story
        .silence(&["rule=~Connection.*", "vm_type=browser"], HOUR)
        .unwrap();
    story.pass(5 * MINUTE);
    story.fire(refused("a"));
    assert!(
        story.desk.hides("a"),
        "it is shown to nobody as if it were told"
    );
    story.pass(54 * MINUTE);
    assert_eq!(
        story.done(),
        [
            "noted silence 1 by ada",
            "held a silenced",
            "update a silence_ending"
        ]
    );
    let notice = story.sent.last().unwrap();
    assert!(notice.reason.is_notice());
    assert_eq!(notice.at, START.plus_ms(48 * MINUTE), "at 80 % of its time");
    story.pass(MINUTE);
    assert_eq!(story.done(), ["firing a held_back"]);
    let page = story.sent.last().unwrap();
    assert_eq!(page.at, START.plus_ms(HOUR));
    assert_eq!(
        page.remarks.held,
        Some(HeldBack::Silenced {
            id: 1,
            author: "ada".to_owned(),
            reason: "image rebuild".to_owned()
        })
    );
    story.resolve("a");
    assert_eq!(story.done(), ["resolved a"]);
}

#[test]
fn what_came_due_stays_due_however_late_one_wakes() {
    for restarts in [false, true] {
        let mut story = Story::new();
        story.silence(&["vm_type=browser"], HOUR).unwrap();
        story.fire(refused("a"));
        story.done();
        // Nobody asks while it ends.
        story.now = story.now.plus_ms(HOUR + 7);
        if restarts {
            keep::restart(&mut story, &mut Shelf::default());
        }
        let due = story.desk.next_due();
        assert!(due.is_some_and(|due| due <= story.now), "{due:?}");
        story.tick();
        assert!(story.done().contains(&"firing a held_back".to_owned()));
        assert!(story.desk.next_due().is_none_or(|due| due > story.now));
    }
}

#[test]
fn what_is_over_before_the_silence_ends_is_told_to_nobody() {
    let mut story = Story::new();
    story.silence(&["cause=agent_refused"], HOUR).unwrap();
    story.fire(refused("a"));
    story.resolve("a");
    story.pass(HOUR);
    assert_eq!(story.done(), ["noted silence 1 by ada", "held a silenced"]);
}

#[test]
fn the_end_goes_to_whoever_got_the_beginning_whatever_is_silenced() {
    for (told_before, silenced_at_end) in
        [(true, true), (true, false), (false, true), (false, false)]
    {
        let mut story = Story::new();
        if !told_before {
            story.silence(&["host=host-1"], HOUR).unwrap();
        }
        story.fire(refused("a"));
        if silenced_at_end && told_before {
            story.silence(&["host=host-1"], HOUR).unwrap();
        }
        if !silenced_at_end && !told_before {
            // It is paged at the end of the silence, late.
            story.pass(HOUR);
        }
        story.resolve("a");
        let resolved = story.done().contains(&"resolved a".to_owned());
        assert_eq!(
            resolved,
            told_before || !silenced_at_end,
            "{told_before} {silenced_at_end}"
        );
    }
}

#[test]
fn an_update_that_was_silenced_is_told_once_at_the_end() {
    let mut story = Story::new();
    story.fire(refused("a"));
    story.silence(&["host=host-1"], 8 * HOUR).unwrap();
    story.update("a", RuleName::BootFailureRate);
    story.pass(9 * HOUR);
    let done = story.done();
    let told: Vec<&String> = done
        .iter()
        .filter(|said| !said.starts_with("held"))
        .collect();
    // The repeat that was due meanwhile is in it.
    assert_eq!(
        told,
        [
            "firing a",
            "noted silence 1 by ada",
            "update a silence_ending",
            "update a held_back"
        ]
    );
    story.pass(3 * HOUR);
    assert_eq!(
        story.done(),
        ["update a repeat"],
        "four hours after the last message"
    );
}

#[test]
fn a_silence_must_match_each_alert_of_an_incident() {
    let mut story = Story::new();
    story
        .silence(&["rule=ConnectionRefusedSpike"], HOUR)
        .unwrap();
    story.fire(refused("a"));
    story.done();
    story.update("a", RuleName::BootFailureRate);
    assert_eq!(story.done(), ["firing a held_back"]);
}

#[test]
fn a_silence_that_is_expired_or_not_begun_silences_nothing() {
    let mut story = Story::new();
    let mut later = silence(&["host=host-1"], HOUR);
    if let Command::AddSilence { starts_at, .. } = &mut later {
        *starts_at = Some(START.plus_ms(HOUR));
    }
    assert_eq!(story.command(later), Ok(Done::Silenced(1)));
    story.fire(refused("a"));
    assert_eq!(story.done(), ["noted silence 1 by ada", "firing a"]);
    story.pass(HOUR);
    assert_eq!(story.done(), ["held a silenced"]);
    let expire = Command::ExpireSilence {
        id: 1,
        author: "bob".to_owned(),
    };
    assert_eq!(story.command(expire.clone()), Ok(Done::Expired(1)));
    assert_eq!(
        story.done(),
        ["noted expire 1 by bob", "update a held_back"]
    );
    assert_eq!(story.command(expire), Err(Refused::Unknown("silence")));
    let silence = &story.desk.view(story.now).silences[0];
    assert_eq!(silence.state(story.now), "expired");
    assert_eq!(silence.expired_by.as_deref(), Some("bob"));
    // Remembered for a week, and then gone.
    story.resolve("a");
    story.pass(8 * 24 * HOUR);
    let mut out = Vec::new();
    story.desk.tick(story.now, &mut out);
    assert!(story.desk.view(story.now).silences.is_empty());
}

#[test]
fn two_silences_hold_as_long_as_the_longer_one() {
    let mut story = Story::new();
    story.silence(&["host=host-1"], HOUR).unwrap();
    story.silence(&["vm_type=browser"], 2 * HOUR).unwrap();
    story.fire(refused("a"));
    story.pass(110 * MINUTE);
    let done = story.done();
    assert!(!done.contains(&"firing a held_back".to_owned()), "{done:?}");
    story.pass(10 * MINUTE);
    assert_eq!(story.done(), ["firing a held_back"]);
}

fn pool_empty(key: &str, vm_type: VmType) -> Incident {
    incident(
        key,
        RuleName::BootFailureRate,
        vm_type,
        Failure::IpPoolExhausted,
    )
}

#[test]
fn a_shared_cause_is_paged_once_for_both_kinds_of_vm() {
    let mut story = Story::new();
    story.fire(pool_empty("browser", VmType::Browser));
    story.pass(10 * SECOND);
    story.fire(pool_empty("cli", VmType::Cli));
    assert_eq!(story.done(), ["firing browser", "held cli inhibited"]);
    // Both end: of the symptom nobody heard.
    story.resolve("browser");
    story.pass(10 * SECOND);
    story.resolve("cli");
    assert_eq!(story.done(), ["resolved browser"]);
}

#[test]
fn requests_that_begin_no_vm_are_explained_by_cli_vms_that_fail_and_by_nothing_else() {
    let failed =
        |key: &str, vm_type, cause| incident(key, RuleName::BootFailureRate, vm_type, cause);
    let unbegun = failed("unbegun", VmType::Browser, Failure::NotStarted);
    let clones = |vm_type| failed("clones", vm_type, Failure::SnapshotCloneFailed);

    let mut story = Story::new();
    story.fire(clones(VmType::Cli));
    story.fire(unbegun.clone());
    assert_eq!(story.done(), ["firing clones", "held unbegun inhibited"]);
    story.resolve("clones");
    story.done();
    story.pass(30 * SECOND);
    assert_eq!(story.done(), ["firing unbegun held_back"], "it goes on");

    let mut story = Story::new();
    story.fire(clones(VmType::Browser));
    story.fire(unbegun);
    assert_eq!(story.done(), ["firing clones", "firing unbegun"]);

    let mut story = Story::new();
    story.fire(clones(VmType::Cli));
    story.fire(refused("refused"));
    assert_eq!(story.done(), ["firing clones", "firing refused"]);
}

#[test]
fn what_fails_of_one_kind_of_vm_hides_nothing_of_the_other() {
    let slow =
        |key: &str, vm_type| incident(key, RuleName::BootStageSlow, vm_type, Failure::Unknown);
    let mut story = Story::new();
    story.fire(refused("image"));
    story.pass(10 * SECOND);
    story.fire(slow("browser", VmType::Browser));
    story.fire(slow("cli", VmType::Cli));
    story.pass(MINUTE);
    let done = story.done();
    assert!(
        done.contains(&"held browser inhibited".to_owned()),
        "{done:?}"
    );
    assert!(!done.contains(&"held cli inhibited".to_owned()), "{done:?}");
    assert!(
        done.iter().any(|done| done.starts_with("firing cli")),
        "{done:?}"
    );
}

#[test]
fn a_symptom_that_outlives_its_cause_is_paged_after_a_moment() {
    let mut story = Story::new();
    story.fire(pool_empty("browser", VmType::Browser));
    story.fire(pool_empty("cli", VmType::Cli));
    story.resolve("browser");
    story.done();
    story.pass(29 * SECOND);
    assert!(story.done().is_empty(), "its end has the same grace");
    story.pass(SECOND);
    assert_eq!(story.done(), ["firing cli held_back"]);
    let held = story.sent.last().unwrap().remarks.held.clone();
    assert_eq!(
        held,
        Some(HeldBack::Inhibited {
            by: "browser".to_owned()
        })
    );
}

#[test]
fn inhibition_hides_only_what_was_not_sent_yet_and_no_other_cause() {
    let mut story = Story::new();
    story.fire(pool_empty("cli", VmType::Cli));
    story.pass(SECOND);
    story.fire(pool_empty("browser", VmType::Browser));
    assert_eq!(story.done(), ["firing cli", "held browser inhibited"]);
    story.update("cli", RuleName::BootFailureRate);
    assert_eq!(story.done(), ["update cli"]);
    story.fire(refused("guest"));
    assert_eq!(story.done(), ["firing guest"]);
    let mut elsewhere = pool_empty("elsewhere", VmType::Cli);
    elsewhere.host = "host-2".to_owned();
    story.fire(elsewhere);
    assert_eq!(story.done(), ["firing elsewhere"]);
}

#[test]
fn what_was_sent_is_not_hidden_by_a_cause_that_shows_itself_later() {
    let mut story = Story::new();
    let slow = RuleName::BootStageSlow;
    story.fire(incident("slow", slow, VmType::Browser, Failure::Unknown));
    story.pass(MINUTE);
    story.fire(refused("image"));
    assert_eq!(
        story.done(),
        ["held slow waiting", "firing slow", "firing image"]
    );
    story.update("slow", slow);
    assert_eq!(story.done(), ["update slow"]);
}

#[test]
fn a_silenced_cause_still_explains_its_symptoms() {
    let mut story = Story::new();
    story.silence(&["vm_type=browser"], HOUR).unwrap();
    story.fire(pool_empty("browser", VmType::Browser));
    story.fire(pool_empty("cli", VmType::Cli));
    let done = story.done();
    assert_eq!(done[1..], ["held browser silenced", "held cli inhibited"]);
}

#[test]
fn what_is_urgent_is_never_hidden_by_what_is_not() {
    let mut ticket = pool_empty("ticket", VmType::Browser);
    ticket.members[0].severity = Severity::Ticket;
    let mut story = Story::new();
    story.fire(ticket.clone());
    story.pass(MINUTE);
    story.fire(pool_empty("page", VmType::Cli));
    assert!(story.done().contains(&"firing page".to_owned()));
    // And a ticket waits a moment for its cause, so that which came first by a second decides nothing.
    let mut story = Story::new();
    story.fire(ticket);
    story.pass(5 * SECOND);
    story.fire(pool_empty("page", VmType::Cli));
    story.pass(HOUR);
    assert_eq!(
        story.done(),
        [
            "held ticket waiting",
            "firing page",
            "held ticket inhibited"
        ]
    );
}

mod digits;
mod remarks;

use std::fs;
use std::path::Path;

use super::figures::odds;
use super::*;
use crate::core::alert::{Effect, Engine, Settings};
use crate::core::boot::{Boot, Observation};
use crate::core::burn::Left;
use crate::core::condition::{Condition, Fact, Facts};
use crate::core::event::{Failure, Outcome, Provenance, VmId, VmType};
use crate::core::rule::{Burn, Detail, RuleName, Said, Stretch};
use crate::core::slowness::{Slow, Slowness};
use crate::core::synthetic::{SyntheticResult, SyntheticRun};
use crate::notify::fixture;

#[test]
fn chances_are_said_in_two_digits() {
    for (chance, said) in [
        (0.05f64.powi(3), "1 in 8,000"),
        (0.000_81, "1 in 1,200"),
        (0.5, "1 in 2"),
        (1.0, "1 in 1"),
        (3.3e-7, "1 in 3,000,000"),
        (0.0, "less than 1 in 1,000,000,000"),
    ] {
        assert_eq!(odds(chance), said);
    }
}

#[test]
fn lengths_are_said_in_two_units() {
    for (ms, said) in [
        (-5, "0 s"),
        (59_999, "59 s"),
        (1_677_000, "27 min 57 s"),
        (7_200_000, "2 h 0 min"),
        (183_600_000, "2 days 3 h"),
    ] {
        assert_eq!(length(ms), said);
    }
}

#[test]
fn a_rule_has_its_runbook_behind_the_base() {
    let mut context = Context {
        zone: TimeZone::UTC,
        runbook_base: Some("https://wiki.example/runbooks/".to_owned()),
        dashboard: None,
        pages: None,
    };
    let url = context.runbook("BootFailureRate");
    assert_eq!(
        url.as_deref(),
        Some("https://wiki.example/runbooks/BootFailureRate")
    );
    context.runbook_base = None;
    assert_eq!(context.runbook("BootFailureRate"), None);
}

#[test]
fn a_long_line_is_cut_between_characters() {
    assert_eq!(clipped(&"é".repeat(9), 3), "ééé…");
    assert_eq!(clipped("ééé", 3), "ééé");
}

fn context() -> Context {
    Context {
        zone: TimeZone::UTC,
        runbook_base: Some("https://wiki.example/runbooks".to_owned()),
        dashboard: Some("https://grafana.example/d/bootwatch".to_owned()),
        pages: Some("https://bootwatch.example".to_owned()),
    }
}

/// Word for word, each class once firing and once resolved, and one of them whole. With BLESS set the file is written
/// anew, to be read before it is committed.
#[test]
fn the_words_of_each_class() {
    let mut found = String::new();
    for failure in Failure::ALL {
        let story = fixture::incident(VmType::Browser, *failure);
        let ends = [story.first(), story.last()];
        for notification in ends.into_iter().flatten() {
            let page = Page::of(notification, &context());
            let (status, title, body) = (page.status.as_str(), &page.title, page.body());
            let whole = *failure == Failure::AgentRefused;
            let shown = if whole { &body } else { &page.summary };
            append(
                &mut found,
                format_args!("# {failure}, {status}\n{title}\n{shown}\n\n"),
            );
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pages.txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    assert!(
        found == expected,
        "tests/fixtures/pages.txt differs; found\n{found}"
    );
}

#[test]
fn times_are_the_readers_and_name_the_day_where_it_is_another() {
    let mut story = fixture::incident(VmType::Browser, Failure::AgentRefused);
    let mut context = context();
    context.zone = TimeZone::get("Europe/Berlin").unwrap();
    let page = Page::of(&story[0], &context);
    assert!(
        page.title.ends_with(", since 20:24:13 CEST"),
        "{}",
        page.title
    );
    story[0].at = story[0].at.plus_ms(86_400_000);
    let page = Page::of(&story[0], &context);
    assert!(
        page.title.ends_with(", since 2025-10-18 20:24:13 CEST"),
        "{}",
        page.title
    );
}

#[test]
fn another_kind_that_fails_too_is_not_called_unaffected() {
    let mut story = fixture::incident(VmType::Browser, Failure::AgentRefused);
    story[0].incident.others[0].count.bad = 3;
    let page = Page::of(&story[0], &context());
    assert_eq!(page.not_affected, None);
    let said = " Failing too: CLI boots, 3 of 18 failed in the last hour.";
    assert!(page.summary.ends_with(said), "{}", page.summary);
    // What is over is no company, and was not unaffected either.
    story[0].incident.others[0].recovered = true;
    let page = Page::of(&story[0], &context());
    assert_eq!(page.not_affected, None);
    assert!(!page.summary.contains("Failing too"), "{}", page.summary);
}

#[test]
fn what_to_do_first_follows_the_verdict_and_where_there_is_none_the_injection() {
    use crate::core::diagnosis::{Evidence, Sign, Signs, diagnose};
    let mut story = fixture::incident(VmType::Browser, Failure::AgentRefused);
    let mut step = |signs: Signs| {
        let evidence = Evidence {
            boots: vec![signs; 10],
            ..Evidence::default()
        };
        let found = diagnose(&evidence, story[0].at);
        let verdict = found.verdict().map(|first| first.verdict.as_str());
        story[0].incident.diagnosis = Some(found);
        let page = Page::of(&story[0], &context());
        (verdict, page.first_step.unwrap())
    };
    let refused = Signs::default().with(Sign::RefusedToEnd, true);
    let (_, alone) = step(refused);
    assert!(alone.contains("check in the image"), "{alone}");
    let (verdict, image) = step(refused.with(Sign::Injected, false));
    assert_eq!(verdict, Some("agent_missing"));
    assert!(image.contains("bootwatch image audit FILE"), "{image}");
    let (_, injected) = step(refused.with(Sign::Injected, true));
    assert!(
        injected.contains("console.log") && !injected.contains("check in the image"),
        "{injected}"
    );
    let crashed = refused.with(Sign::AgentDied, true);
    let (verdict, crashes) = step(crashed.with(Sign::Injected, true));
    assert_eq!(verdict, Some("agent_crash_loop"));
    assert!(crashes.contains("crash loop"), "{crashes}");
}

#[test]
fn a_share_a_mixture_and_boots_in_flight_are_said_as_they_are() {
    let mut story = fixture::incident(VmType::Browser, Failure::AgentRefused);
    let incident = &mut story[0].incident;
    let mut reading = *incident.members[0].reading.boots().unwrap();
    reading.count = crate::core::window::Count { bad: 30, of: 200 };
    reading.stretch = Stretch::Span(3_600_000);
    reading.overdue = 2;
    incident.members[0].reading = Said::Boots(reading);
    incident.boots[0].failure = Some(Failure::GuestDied);
    let page = Page::of(&story[0], &context());
    assert!(
        page.title
            .starts_with("30 of 200 browser boots fail, mostly: the guest is up")
    );
    let said = "30 of 200 browser boots in the last hour on controller-1 failed (2 of them still waiting, ";
    assert!(page.summary.starts_with(said), "{}", page.summary);
    reading.overdue = 30;
    story[0].incident.members[0].reading = Said::Boots(reading);
    let page = Page::of(&story[0], &context());
    assert!(
        page.title
            .starts_with("30 of 200 browser boots do not become ready, mostly: ")
    );
}

#[test]
fn slower_boots_are_said_with_the_stage_and_what_was_usual() {
    let mut story = fixture::incident(VmType::Browser, Failure::AgentRefused);
    let incident = &mut story[0].incident;
    incident.cause = Slowness::Stage.into();
    incident.members.truncate(1);
    let mut reading = *incident.members[0].reading.boots().expect("of boots");
    reading.count = crate::core::window::Count { bad: 7, of: 20 };
    reading.stretch = Stretch::Last(20);
    let mut slow = Slow {
        stage: Some(crate::core::event::Stage::CloneSnapshot),
        p95_ms: 9_100,
        against_ms: 3_200,
        limit_ms: 4_800,
    };
    reading.detail = Some(Detail::Slow(slow));
    incident.members[0].reading = Said::Boots(reading);
    let page = Page::of(&story[0], &context());
    assert!(
        page.title.starts_with(
            "browser boots are slower: clone_snapshot takes 9.1 s at p95, 3.2 s was usual, since 18:24:13"
        ),
        "{}",
        page.title
    );
    assert!(
        page.summary.starts_with(
            "7 of the last 20 browser boots on controller-1 took longer than 4.8 s in clone_snapshot. If nothing"
        ),
        "{}",
        page.summary
    );
    assert!(page.first_step.is_some());
    let incident = &mut story[0].incident;
    incident.cause = Slowness::Headroom.into();
    slow = Slow {
        stage: None,
        p95_ms: 171_000,
        against_ms: 180_000,
        limit_ms: 144_000,
    };
    reading.detail = Some(Detail::Slow(slow));
    incident.members[0].reading = Said::Boots(reading);
    let page = Page::of(&story[0], &context());
    assert!(
        page.title.starts_with(
            "browser boots are ready hardly in time: after 171 s at p95, and the controller gives them up after 180 s"
        ),
        "{}",
        page.title
    );
    story[0].incident.resolved_at = Some(story[0].at);
    let page = Page::of(&story[0], &context());
    assert!(
        page.title
            .starts_with("browser boots are as quick as usual again; "),
        "{}",
        page.title
    );
}

#[test]
fn a_burn_says_how_fast_and_how_long_the_budget_lasts() {
    let mut story = fixture::incident(VmType::Browser, Failure::AgentRefused);
    let incident = &mut story[0].incident;
    let mut reading = *incident.members[0].reading.boots().expect("of boots");
    reading.count = crate::core::window::Count { bad: 40, of: 100 };
    reading.stretch = Stretch::Span(6 * 3_600_000);
    reading.detail = Some(Detail::Burn(Burn {
        burn: 8.0,
        factor: 6.0,
        short: crate::core::window::Count { bad: 5, of: 10 },
        short_ms: 30 * 60_000,
        left: Left {
            allowed: 50.0,
            spent: crate::core::window::Count { bad: 35, of: 1_000 },
            lasts_ms: Some(9_257_000),
        },
    }));
    incident.members[0].reading = Said::Boots(reading);
    let mut few = story.clone();
    let page = Page::of(&story[0], &context());
    assert!(
        page.summary.contains(
            " The budget of failures burns 8.0 times too fast (50 % of them lately, 5 of 10): of 50 that 30 days tolerate 35 \
             are spent, and at this pace the rest lasts 2 h 34 min."
        ),
        "{}",
        page.summary
    );
    let figure = "40 of 100 browser boots in the last 6 hours, 8.0 times what the objective allows (limit 6), ";
    assert!(page.figures[0].contains(figure), "{:?}", page.figures);
    if let Some(Detail::Burn(burn)) = &mut reading.detail {
        burn.left = Left {
            allowed: 0.4,
            spent: crate::core::window::Count { bad: 3, of: 8 },
            lasts_ms: Some(0),
        };
    }
    few[0].incident.members[0].reading = Said::Boots(reading);
    let page = Page::of(&few[0], &context());
    let said = "5 of 10): 30 days tolerate less than one failed boot, 3 failed, and it is used up.";
    assert!(page.summary.contains(said), "{}", page.summary);
}

#[test]
fn what_it_was_at_first_is_said_when_the_cause_changed() {
    let mut story = fixture::incident(VmType::Browser, Failure::SnapshotCloneFailed);
    story[0].incident.before = Some((Failure::AgentRefused.into(), story[0].at));
    story[0].reason = Reason::CauseChanged;
    let page = Page::of(&story[0], &context());
    assert!(
        page.summary.contains(" UTC it was: the guest is up"),
        "{}",
        page.summary
    );
}

/// What the engine says of a condition that begins and ends.
fn condition(rule: RuleName, fact: &Fact) -> Vec<Notification> {
    let mut engine = Engine::new(Settings {
        host: "controller-1".to_owned(),
        ..Settings::default()
    });
    let mut out = Vec::new();
    let well = Fact {
        value: if rule == RuleName::IpPoolLow { 253 } else { 0 },
        since: None,
        ..fact.clone()
    };
    for second in 0..1_200 {
        let fact = if second < 600 { fact } else { &well };
        let facts = Facts::from([(rule, fact.clone())]);
        let now = fixture::FIRST_BAD.plus_ms(second * 1_000);
        engine.facts(&facts, now, &mut out);
    }
    let notices = out.into_iter().filter_map(|effect| match effect {
        Effect::Notify(notification) => Some(*notification),
        Effect::AlertChanged(_) => None,
    });
    notices.collect()
}

#[test]
fn every_condition_is_told_in_a_sentence_with_its_figure_and_what_to_do() {
    for (rule, condition_, value, of, title) in [
        (
            RuleName::SessionsIncomplete,
            Condition::SessionsIncomplete,
            1,
            Some(9),
            "1 session is past the deadline without a VM, since 18:24:13 UTC",
        ),
        (
            RuleName::IpPoolLow,
            Condition::IpPoolLow,
            12,
            Some(253),
            "only 12 of 253 addresses are left in the controller's pool, since 18:24:13 UTC",
        ),
        (
            RuleName::GhostVms,
            Condition::GhostVms,
            6,
            Some(40),
            "6 VMs have no process, and the database calls them running, since 18:24:13 UTC",
        ),
        (
            RuleName::ControllerSilent,
            Condition::ControllerSilent,
            660_000,
            None,
            "the controller writes nothing to its log, since 18:24:13 UTC",
        ),
        (
            RuleName::DatabaseUnreachable,
            Condition::DatabaseUnreachable,
            60_000,
            None,
            "the controller's database does not answer, since 18:24:13 UTC",
        ),
        (
            RuleName::LogLagging,
            Condition::LogUnreadable,
            60_000,
            None,
            "the controller's log cannot be read, since 18:24:13 UTC",
        ),
        (
            RuleName::LogLagging,
            Condition::LogLagging,
            60_000,
            None,
            "the controller's log is read too slowly, since 18:24:13 UTC",
        ),
        (
            RuleName::StoreUnwritable,
            Condition::StoreUnwritable,
            60_000,
            None,
            "bootwatch cannot write its store, since 18:24:13 UTC",
        ),
        (
            RuleName::NotifierFailing,
            Condition::NotifierFailing,
            1,
            Some(3),
            "1 of 3 notifiers does not deliver, since 18:24:13 UTC",
        ),
        (
            RuleName::RecordsUnparsed,
            Condition::RecordsUnparsed,
            214,
            Some(10_000),
            "214 of 10,000 log records that matter cannot be read, since 18:24:13 UTC",
        ),
        (
            RuleName::LogClockWrong,
            Condition::LogClockWrong,
            3_600_000,
            None,
            "the times in the controller's log are wrong, since 18:24:13 UTC",
        ),
    ] {
        let fact = Fact {
            condition: condition_,
            value,
            of,
            since: Some(fixture::FIRST_BAD),
            settles: true,
            evidence: vec!["what shows it".into()],
        };
        let story = condition(rule, &fact);
        assert_eq!(story.len(), 2, "{rule:?}");
        let page = Page::of(&story[0], &context());
        assert_eq!(page.title, title);
        assert_eq!(page.severity, rule.severity());
        assert!(page.subject.starts_with("controller-1: "));
        assert!(
            page.summary
                .starts_with("On controller-1, since 18:24:13 UTC: "),
            "{}",
            page.summary
        );
        assert!(page.figures[0].starts_with(rule.as_str()));
        assert_eq!(page.evidence, ["what shows it"]);
        assert!(page.first_step.is_some_and(|step| !step.is_empty()));
        let over = Page::of(&story[1], &context());
        assert_eq!(over.subject, page.subject, "one thread of mails");
        assert!(
            over.title
                .starts_with("over since 18:34:13 UTC; for 10 min 0 s it was: "),
            "{}",
            over.title
        );
        assert!(over.first_step.is_none());
    }
}

/// Ghosts take the pool's addresses: one incident, and each rule's figures are its own.
#[test]
fn what_holds_is_told_with_its_own_figures_and_since_when_also_where_it_joined() {
    let fact = |condition, value, of| Fact {
        condition,
        value,
        of: Some(of),
        since: Some(fixture::FIRST_BAD),
        settles: true,
        evidence: Vec::new(),
    };
    let mut story = condition(RuleName::IpPoolLow, &fact(Condition::IpPoolLow, 3, 253));
    let ghosts = condition(RuleName::GhostVms, &fact(Condition::GhostVms, 7, 40));
    let over = fixture::FIRST_BAD.plus_ms(600_000);
    for notification in &mut story {
        let incident = &mut notification.incident;
        incident.members.extend(ghosts[0].incident.members.clone());
        incident.members[0].resolved_at = Some(over);
        incident.members[1].since = Some(fixture::FIRST_BAD.plus_ms(60_000));
    }
    let page = Page::of(&story[0], &context());
    assert_eq!(
        page.title,
        "only 3 of 253 addresses are left in the controller's pool, since 18:24:13 UTC"
    );
    for notification in &mut story {
        let incident = &mut notification.incident;
        incident.before = Some((incident.cause, over));
        incident.cause = Condition::GhostVms.into();
    }
    let page = Page::of(&story[0], &context());
    assert_eq!(
        page.title,
        "7 VMs have no process, and the database calls them running, since 18:25:13 UTC"
    );
    assert_eq!(
        page.summary,
        "On controller-1, since 18:25:13 UTC: 7 of 40 VMs without a process (limit 5). Each keeps an address of the pool, \
         and its user a VM that is gone. Until 18:34:13 UTC it was: hardly an address is left in the controller's pool."
    );
    assert_eq!(page.starts_at, fixture::FIRST_BAD, "the incident's own");
    let page = Page::of(&story[1], &context());
    assert!(
        page.title.ends_with(
            " it was: hardly an address is left in the controller's pool, then: the database calls VMs running that \
             have no process"
        ),
        "{}",
        page.title
    );
}

#[test]
fn trials_that_fail_and_boots_that_nobody_tells_of_are_said_with_each_one() {
    let mut engine = Engine::new(Settings {
        host: "controller-1".to_owned(),
        ..Settings::default()
    });
    let mut out = Vec::new();
    for minute in [0i64, 5] {
        let started_at = fixture::FIRST_BAD.plus_ms(minute * 60_000);
        let run = SyntheticRun {
            vm: Some(VmId(minute.unsigned_abs().into())),
            session: None,
            started_at,
            ended_at: started_at.plus_ms(30_000),
            result: SyntheticResult::Failed,
            failure: Some(Failure::VncNotReady),
            evidence: vec!["6080 did not answer within 5 s".to_owned()],
        };
        engine.synthetic(&run, run.ended_at, &mut out);
    }
    for minute in 10i64..13 {
        let at = fixture::FIRST_BAD.plus_ms(minute * 60_000);
        let mut boot = Boot::new(
            Some(VmId(minute.unsigned_abs().into())),
            Provenance::default(),
            at,
        );
        boot.outcome = Some(Outcome::Lost);
        boot.failure = Some(Failure::Unknown);
        boot.ended_at = Some(at);
        engine.observe(&Observation::BootEnded(Box::new(boot)), at, &mut out);
    }
    let pages: Vec<Page> = out
        .iter()
        .filter_map(|effect| match effect {
            Effect::Notify(notification) => Some(Page::of(notification, &context())),
            Effect::AlertChanged(_) => None,
        })
        .collect();
    let titles: Vec<&str> = pages.iter().map(|page| page.title.as_str()).collect();
    assert_eq!(
        titles,
        [
            "the last 2 trial boots of bootwatch itself failed, since 18:24:13 UTC",
            "the log does not tell how 3 of the last 3 boots ended, since 18:34:13 UTC"
        ]
    );
    assert_eq!(
        pages[0].evidence,
        [5, 0].map(|vm| format!(
            "{}: vnc_not_ready: 6080 did not answer within 5 s",
            VmId(vm)
        ))
    );
    assert_eq!(pages[1].evidence.len(), 3);
    assert_eq!(
        pages[0].figures,
        [
            "SyntheticFailing: 2 synthetic boots failed in a row (limit 2), firing since 18:29:43 UTC"
        ]
    );
}

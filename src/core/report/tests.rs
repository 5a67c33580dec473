//! Awkward weeks, with figures reckoned by hand.

use super::*;
use crate::core::event::{Origin, Outcome};

const HOUR: i64 = 3_600_000;
const MINUTE: i64 = 60_000;

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

/// A week that was seen whole, like the one before it.
struct Story {
    facts: Facts,
}

fn ends(week: Week, zone: &TimeZone) -> [Timestamp; 7] {
    week.days(zone).map(|(_, range)| range.end)
}

fn week(week: &str, zone: &str) -> Story {
    let zone_name = zone.to_owned();
    let zone = TimeZone::get(zone).unwrap();
    let week = Week::parse(week).unwrap();
    Story {
        facts: Facts {
            week,
            so_far: None,
            this: Figures::new(ends(week, &zone)),
            before: Figures::new(ends(week.previous(), &zone)),
            seen: Sight::Own(vec![week.range(&zone)]),
            seen_before: Sight::Own(vec![week.previous().range(&zone)]),
            watched: vec![week.range(&zone)],
            silences: Vec::new(),
            zone,
            zone_name,
            terms: Terms { objective: 0.95 },
            month: Month::default(),
            incidents: Vec::new(),
            synthetic_runs: BTreeMap::new(),
        },
    }
}

fn boot(started_at: Timestamp) -> BootFact<'static> {
    BootFact {
        host: "h1",
        vm_type: VmType::Browser,
        origin: Origin::User,
        outcome: Some(Outcome::Ready),
        failure: None,
        failed_stage: None,
        maintenance: false,
        started_at,
        ended_at: Some(started_at.plus_ms(40_000)),
        ready_ms: Some(40_000),
        stages: [None; 10],
        image: None,
    }
}

fn failed(started_at: Timestamp, failure: Failure) -> BootFact<'static> {
    BootFact {
        outcome: Some(Outcome::Failed),
        failure: Some(failure),
        failed_stage: Some(Stage::AgentStart),
        ended_at: Some(started_at.plus_ms(190_000)),
        ready_ms: None,
        ..boot(started_at)
    }
}

impl Story {
    fn start(&self) -> Timestamp {
        self.facts.week.range(&self.facts.zone).start
    }

    fn boots(&mut self, n: i64, of: impl Fn(Timestamp) -> BootFact<'static>) {
        let start = self.start();
        (0..n).for_each(|i| self.facts.this.add(&of(start.plus_ms(HOUR + i * MINUTE))));
    }

    fn boots_before(&mut self, n: i64, of: impl Fn(Timestamp) -> BootFact<'static>) {
        let start = self.start().plus_ms(-7 * 24 * HOUR);
        (0..n).for_each(|i| self.facts.before.add(&of(start.plus_ms(HOUR + i * MINUTE))));
    }

    fn report(self) -> Report {
        Report::of(self.facts)
    }
}

fn browsers(report: &Report) -> &KindFigures {
    report.kind(VmType::Browser).unwrap()
}

#[test]
fn a_week_without_boots_has_no_rate_and_is_not_perfect() {
    let report = week("2025-W42", "UTC").report();
    assert!(report.kinds.is_empty() && report.causes.is_empty());
    assert_eq!(report.total.ready, Share::new(0, 0));
    assert_eq!(report.total.interval, None);
    assert_eq!(report.budget.left_share, None);
    assert!(!report.coverage.partial);
    assert_eq!(report.days.len(), 7);
    assert_eq!(report.advice, [Advice::RunSynthetics { user_boots: 0 }]);
}

#[test]
fn one_boot_is_one_of_one_and_says_little() {
    let mut story = week("2025-W42", "UTC");
    story.boots(1, boot);
    let report = story.report();
    let browsers = browsers(&report);
    assert_eq!(browsers.rate.ready, Share::new(1, 1));
    let interval = browsers.rate.interval.unwrap();
    assert!((interval.low - 0.2065).abs() < 1e-3 && interval.high == 1.0);
    assert_eq!(browsers.time_to_ready.p50, Quantile::Ms(40_000));
    assert_eq!(browsers.time_to_ready.p95, Quantile::TooFew);
    assert_eq!(browsers.rate.change, None);
    assert_eq!(browsers.distribution[6], 1, "30 to 45 s");
}

#[test]
fn the_incident_s_week_says_k_of_n_with_its_interval() {
    let mut story = week("2025-W42", "Europe/Berlin");
    story.boots(216, boot);
    story.boots(30, |at| failed(at, Failure::AgentRefused));
    story.facts.month = Month {
        failed: 30,
        judged: 900,
    };
    let report = story.report();
    let ready = report.total.ready;
    assert_eq!((ready.rest().k, ready.n), (30, 246));
    let interval = ready.rest().interval().unwrap();
    assert!((interval.low - 0.087).abs() < 5e-4 && (interval.high - 0.169).abs() < 5e-4);
    // 5 % of 900 are 45; 30 are used.
    assert!((report.budget.allowed - 45.0).abs() < 1e-9);
    assert!((report.budget.left - 15.0).abs() < 1e-9);
    // 15 left at 30 a week: half a week.
    assert!((report.budget.weeks_left.unwrap() - 0.5).abs() < 1e-9);
    assert_eq!(report.causes[0].failure, Failure::AgentRefused);
    assert_eq!(report.causes[0].failed, Share::new(30, 246));
    let cause = report.advice.iter().find_map(|advice| match advice {
        Advice::RemoveCause { of_failures, .. } => Some(*of_failures),
        _ => None,
    });
    assert_eq!(cause, Some(Share::new(30, 30)));
}

#[test]
fn the_longest_and_the_shortest_week_have_their_hours() {
    for (name, hours, sunday) in [("2025-W43", 169, 25), ("2026-W13", 167, 23)] {
        let mut story = week(name, "Europe/Berlin");
        let end = story.facts.week.range(&story.facts.zone).end;
        // In the last minute of the week, and so of its Sunday.
        story.facts.this.add(&boot(end.plus_ms(-MINUTE)));
        let report = story.report();
        assert_eq!(report.to.since(report.from), hours * HOUR, "{name}");
        assert_eq!(
            report.coverage.seconds.n,
            u64::try_from(hours * 3600).unwrap()
        );
        assert_eq!(
            report.days[6].seen,
            Share::new(sunday * 3600, sunday * 3600)
        );
        assert_eq!(report.days[6].kinds[0].1, Share::new(1, 1), "{name}");
    }
}

#[test]
fn a_repeated_hour_holds_the_boots_of_both_its_runs() {
    let mut story = week("2025-W43", "Europe/Berlin");
    // 02:30 comes twice on 2025-10-26.
    story.facts.this.add(&boot(at("2025-10-26T00:30:00Z")));
    story.facts.this.add(&boot(at("2025-10-26T01:30:00Z")));
    let report = story.report();
    assert_eq!(report.days[6].kinds[0].1, Share::new(2, 2));
}

#[test]
fn a_year_ends_within_its_week() {
    let mut story = week("2026-W53", "UTC");
    story.facts.this.add(&boot(at("2026-12-31T23:59:59Z")));
    story.facts.this.add(&boot(at("2027-01-01T00:00:00Z")));
    let report = story.report();
    assert_eq!(report.from, at("2026-12-28T00:00:00Z"));
    assert_eq!(report.to, at("2027-01-04T00:00:00Z"));
    assert_eq!(report.days[3].kinds[0].1, Share::new(1, 1), "Thursday");
    assert_eq!(report.days[4].kinds[0].1, Share::new(1, 1), "Friday");
}

#[test]
fn twelve_hours_without_sight_make_the_week_partial_and_compare_with_nothing() {
    let mut story = week("2025-W42", "UTC");
    let range = story.facts.week.range(&TimeZone::UTC);
    story.facts.seen = Sight::Own(vec![
        range.start..range.start.plus_ms(60 * HOUR),
        range.start.plus_ms(72 * HOUR)..range.end,
    ]);
    story.boots(30, boot);
    story.boots_before(30, boot);
    let report = story.report();
    assert!(report.coverage.partial);
    assert_eq!(report.coverage.seconds, Share::new(156 * 3600, 168 * 3600));
    assert_eq!(report.coverage.gaps.len(), 1);
    assert_eq!(
        report.days[2].seen,
        Share::new(12 * 3600, 24 * 3600),
        "Wednesday"
    );
    assert_eq!(report.total.change, None);
    assert!(
        report
            .advice
            .iter()
            .any(|advice| matches!(advice, Advice::CloseGaps { gaps: 1, .. }))
    );
}

#[test]
fn a_boot_belongs_to_the_week_in_which_it_began() {
    // Sunday 23:59:58 to Monday: the boot ends in the next week, and is counted in this one.
    let mut story = week("2025-W42", "UTC");
    let began = at("2025-10-19T23:59:58Z");
    story.facts.this.add(&boot(began));
    let report = story.report();
    assert!(began < report.to && boot(began).ended_at.unwrap() > report.to);
    assert_eq!(report.days[6].kinds[0].1, Share::new(1, 1));
    assert_eq!(Week::of(began, &TimeZone::UTC), report.week);
}

#[test]
fn what_counts_neither_for_nor_against_is_listed_and_has_no_say() {
    let mut story = week("2025-W42", "UTC");
    story.boots(19, boot);
    story.boots(1, |at| failed(at, Failure::AgentRefused));
    let outcomes = [Some(Outcome::Cancelled), Some(Outcome::Lost), None];
    for (n, outcome) in (2..).zip(outcomes) {
        story.boots(n, move |at| BootFact {
            outcome,
            ..boot(at)
        });
    }
    story.boots(5, |at| BootFact {
        maintenance: true,
        ..failed(at, Failure::GuestDied)
    });
    story.boots(6, |at| BootFact {
        origin: Origin::Synthetic,
        ..boot(at)
    });
    let report = story.report();
    assert_eq!(report.total.ready, Share::new(19, 20));
    let listed: Vec<(&str, u64)> = report
        .exclusions
        .iter()
        .map(|one| (one.reason.as_str(), one.boots))
        .collect();
    assert_eq!(
        listed,
        [
            ("synthetic", 6),
            ("maintenance", 5),
            ("cancelled", 2),
            ("lost", 3),
            ("in_progress", 4)
        ]
    );
    assert_eq!(browsers(&report).with_maintenance, Some(Share::new(19, 25)));
    assert_eq!(report.synthetic.ready, Share::new(6, 6));
    assert_eq!(report.causes.len(), 1, "no maintained boot has a cause");
}

#[test]
fn a_mixture_that_hides_an_outage_is_pointed_out() {
    let mut story = week("2025-W42", "UTC");
    story.boots(20, |at| failed(at, Failure::AgentRefused));
    story.boots(20, boot);
    story.boots(60, |at| BootFact {
        vm_type: VmType::Cli,
        ..boot(at)
    });
    let report = story.report();
    assert_eq!(report.kinds[0].vm_type, VmType::Browser, "browsers first");
    assert_eq!(report.total.ready, Share::new(80, 100));
    let segments: Vec<&str> = report
        .apart
        .iter()
        .map(|one| one.segment.as_str())
        .collect();
    assert_eq!(segments, ["browser VMs", "h1"], "50 % beside 80 %");
}

#[test]
fn a_cli_rate_is_judged_only_where_one_was_ready() {
    let cli = |outcome| {
        move |at| BootFact {
            vm_type: VmType::Cli,
            outcome: Some(outcome),
            failure: (outcome == Outcome::Failed).then_some(Failure::Unknown),
            ..boot(at)
        }
    };
    let mut story = week("2025-W42", "UTC");
    story.boots(10, boot);
    story.boots(8, cli(Outcome::Failed));
    let report = story.report();
    let kind = report.kind(VmType::Cli).unwrap();
    assert!(!kind.judged);
    assert_eq!(report.total.ready, Share::new(10, 10));
    assert!(report.causes.is_empty());
    let mut story = week("2025-W42", "UTC");
    story.boots(8, cli(Outcome::Failed));
    story.boots(1, cli(Outcome::Ready));
    let report = story.report();
    assert!(report.kind(VmType::Cli).unwrap().judged);
    assert_eq!(report.total.ready, Share::new(1, 9));
}

#[test]
fn what_failed_stands_beside_the_times_and_not_within_them() {
    let mut story = week("2025-W42", "UTC");
    story.boots(90, boot);
    story.boots(10, |at| failed(at, Failure::AgentRefused));
    let report = story.report();
    let browsers = browsers(&report);
    assert_eq!(browsers.time_to_ready.n, 90);
    assert_eq!(browsers.time_to_ready.p95, Quantile::Ms(40_000));
    assert_eq!(browsers.time_to_end.n, 100);
    assert_eq!(browsers.time_to_end.p95, Quantile::Above(190_000));
    assert_eq!(browsers.time_to_end.p50, Quantile::Ms(40_000));
}

#[test]
fn two_weeks_are_compared_where_both_say_enough() {
    let of = |now: (i64, i64), before: (i64, i64)| {
        let mut story = week("2025-W42", "UTC");
        story.boots(now.0, |at| failed(at, Failure::AgentRefused));
        story.boots(now.1 - now.0, boot);
        story.boots_before(before.0, |at| failed(at, Failure::AgentRefused));
        story.boots_before(before.1 - before.0, boot);
        story.report()
    };
    assert_eq!(of((1, 3), (0, 3)).total.change, None, "1 of 3 and 0 of 3");
    let worse = of((30, 100), (2, 100)).total.change.unwrap();
    assert!(worse.differs && (worse.points + 0.28).abs() < 1e-9);
    let same = of((3, 100), (2, 100));
    assert!(!same.total.change.unwrap().differs);
    assert_eq!(same.causes[0].before, Share::new(2, 100));
}

#[test]
fn a_cause_that_went_away_is_still_told() {
    let mut story = week("2025-W42", "UTC");
    story.boots(100, boot);
    story.boots_before(70, boot);
    story.boots_before(30, |at| failed(at, Failure::AgentRefused));
    let report = story.report();
    assert_eq!(report.causes.len(), 1);
    assert_eq!(report.causes[0].failed, Share::new(0, 100));
    assert!(report.causes[0].change.unwrap().differs);
}

#[test]
fn stages_are_compared_by_their_p95_and_the_slowest_growth_is_a_task() {
    let mut story = week("2025-W42", "UTC");
    let staged = |ms: u32| {
        move |at| {
            let mut stages = [None; 10];
            stages[Stage::CloneSnapshot as usize] = Some(ms);
            stages[Stage::WriteConfig as usize] = Some(10);
            BootFact { stages, ..boot(at) }
        }
    };
    story.boots(20, staged(9_000));
    story.boots_before(20, staged(3_000));
    let report = story.report();
    let clone = &report.stages[0];
    assert_eq!(
        (clone.stage, clone.completed.p95),
        (Stage::CloneSnapshot, Quantile::Ms(9_000))
    );
    assert_eq!(clone.before.p95, Quantile::Ms(3_000));
    assert_eq!(clone.completed.p99, Quantile::TooFew);
    assert!(report.advice.contains(&Advice::SpeedUp {
        vm_type: VmType::Browser,
        stage: Stage::CloneSnapshot,
        p95_ms: 9_000,
        before_ms: 3_000
    }));
    // A week that was quicker asks for nothing.
    let mut story = week("2025-W42", "UTC");
    story.boots(20, staged(3_000));
    story.boots_before(20, staged(9_000));
    let advice = story.report().advice;
    let speeds_up = |one: &Advice| matches!(one, Advice::SpeedUp { .. });
    assert!(!advice.iter().any(speeds_up), "{advice:?}");
}

#[test]
fn an_incident_is_detected_when_a_page_was_taken() {
    let mut story = week("2025-W42", "UTC");
    let start = story.start();
    let fact = |key: &str, delivered: Option<i64>, resolved: Option<i64>| IncidentFact {
        key: key.to_owned(),
        host: "h1".to_owned(),
        subject: "browser".to_owned(),
        cause: "agent_refused".to_owned(),
        page: true,
        first_bad_at: start,
        fired_at: start.plus_ms(10 * MINUTE),
        delivered_at: delivered.map(|minutes| start.plus_ms(minutes * MINUTE)),
        acknowledged_at: delivered.map(|minutes| start.plus_ms((minutes + 2) * MINUTE)),
        resolved_at: resolved.map(|minutes| start.plus_ms(minutes * MINUTE)),
        boots_hit: 12,
        diagnosis: None,
        fix: None,
    };
    story.facts.incidents = vec![
        fact("b", None, None),
        fact("a", Some(11), Some(71)),
        fact("c", Some(3), Some(13)),
    ];
    let report = story.report();
    let first = &report.incidents[0];
    assert_eq!(first.key, "a");
    assert_eq!(first.detect_seconds, Some(660.0));
    assert_eq!(first.acknowledge_seconds, Some(120.0));
    assert_eq!(first.resolve_seconds, Some(4_260.0));
    assert_eq!(report.incidents[1].detect_seconds, None, "nobody was told");
    assert_eq!((report.detection.pages, report.detection.delivered), (3, 2));
    assert_eq!(
        report.detection.detect_seconds_p50,
        Some(180.0),
        "nearest rank of two"
    );
    assert!(report.advice.contains(&Advice::SpeedUpDetection {
        late: 1,
        untold: 1,
        pages: 3
    }));
    assert!(matches!(&report.advice[0], Advice::EndIncident { key, .. } if key == "b"));
}

#[test]
fn an_image_whose_boots_fail_more_is_named() {
    let mut story = week("2025-W42", "UTC");
    story.boots(40, |at| BootFact {
        image: Some("old"),
        ..boot(at)
    });
    story.boots(30, |at| BootFact {
        image: Some("new"),
        ..failed(at.plus_ms(HOUR), Failure::AgentRefused)
    });
    let report = story.report();
    let images: Vec<(&str, Share)> = report
        .images
        .iter()
        .map(|image| (image.image.as_str(), image.failed))
        .collect();
    assert_eq!(
        images,
        [("old", Share::new(0, 40)), ("new", Share::new(30, 30))]
    );
    assert!(report.advice.contains(&Advice::LookAtImage {
        image: "new".to_owned(),
        failed: Share::new(30, 30),
        others: Share::new(0, 40)
    }));
}

#[test]
fn the_order_of_the_facts_changes_nothing() {
    let of = |backwards: bool| {
        let mut story = week("2025-W42", "UTC");
        let start = story.start();
        let mut facts: Vec<BootFact<'_>> = (0..200)
            .map(|i| {
                let at = start.plus_ms(i * 40 * MINUTE);
                match i % 7 {
                    0 => failed(at, Failure::AgentRefused),
                    1 => failed(at, Failure::GuestDied),
                    _ => BootFact {
                        ready_ms: u32::try_from(30_000 + i * 10).ok(),
                        ..boot(at)
                    },
                }
            })
            .collect();
        if backwards {
            facts.reverse();
        }
        facts.iter().for_each(|fact| story.facts.this.add(fact));
        serde_json::to_string(&story.report()).unwrap()
    };
    assert_eq!(of(false), of(true));
}

#[test]
fn a_silence_of_the_controller_is_listed_and_no_freshness() {
    let mut story = week("2025-W42", "UTC");
    let start = at("2025-10-13T00:00:00Z");
    let silence = |from: i64, to: i64| Silence {
        host: None,
        from: start.plus_ms(from * 3_600_000),
        to: start.plus_ms(to * 3_600_000),
    };
    // Two runs met it, and it began before the week.
    story.facts.silences = vec![silence(54, 66), silence(54, 60), silence(-5, 1)];
    let report = Report::of(story.facts);
    let coverage = &report.coverage;
    assert_eq!(coverage.seconds, Share::new(155 * 3_600, 168 * 3_600));
    assert!(coverage.partial && coverage.gaps.is_empty());
    assert_eq!(coverage.silences, [silence(0, 1), silence(54, 66)]);
    assert_eq!(coverage.watched.rest().k, 0, "it would have paged");
    let silent = |one: &Advice| matches!(one, Advice::EndSilences { silences: 2, seconds } if *seconds > 46_000.0);
    assert!(report.advice.iter().any(silent), "{:?}", report.advice);
}

#[test]
fn a_fleet_s_silence_is_that_of_a_host() {
    let mut story = week("2025-W42", "UTC");
    let range = at("2025-10-13T00:00:00Z")..at("2025-10-20T00:00:00Z");
    let of = |host: &str| (host.to_owned(), vec![range.clone()]);
    story.facts.seen = Sight::Fleet(BTreeMap::from([of("h1"), of("h2")]));
    story.facts.silences = vec![Silence {
        host: Some("h2".to_owned()),
        from: range.start,
        to: range.start.plus_ms(12 * 3_600_000),
    }];
    let report = Report::of(story.facts);
    assert_eq!(report.coverage.seconds.k, 156 * 3_600);
    let seen = |at: usize| report.hosts[at].seen.unwrap().k;
    assert_eq!((seen(0), seen(1)), (168 * 3_600, 156 * 3_600));
}

/// Whether it was the host's own controller, or that of one host of a fleet.
#[test]
fn a_silence_of_the_week_before_leaves_nothing_to_compare_with() {
    let monday = at("2025-10-06T00:00:00Z");
    let report = |host: Option<&str>, hours: i64| {
        let mut story = week("2025-W42", "UTC");
        story.boots(30, boot);
        story.boots_before(30, boot);
        story.facts.silences = vec![Silence {
            host: host.map(str::to_owned),
            from: monday,
            to: monday.plus_ms(hours * HOUR),
        }];
        if let (Some(host), Sight::Own(seen)) = (host, story.facts.seen_before.clone()) {
            story.facts.seen_before = Sight::Fleet(BTreeMap::from([(host.to_owned(), seen)]));
        }
        story.report()
    };
    for host in [None, Some("h1")] {
        assert!(report(host, 1).total.change.is_some());
        let silent = report(host, 12);
        assert_eq!(silent.total.change, None);
        assert!(silent.coverage.silences.is_empty(), "it was last week's");
    }
}

/// What is still to come was neither missed nor watched in vain.
#[test]
fn of_a_week_that_is_not_over_only_what_has_gone_counts() {
    let mut story = week("2025-W42", "UTC");
    let now = at("2025-10-15T12:00:00Z");
    let gone = at("2025-10-13T00:00:00Z")..now;
    story.facts.seen = Sight::Own(vec![gone.clone()]);
    story.facts.watched = vec![gone];
    story.facts.so_far = Some(now);
    let report = story.report();
    assert_eq!(report.so_far, Some(now));
    let coverage = &report.coverage;
    assert_eq!(coverage.seconds, Share::new(60 * 3_600, 60 * 3_600));
    assert_eq!(
        (coverage.watched.n, coverage.partial, coverage.gaps.len()),
        (60 * 3_600, false, 0)
    );
    let seen: Vec<u64> = report.days.iter().map(|day| day.seen.n / 3_600).collect();
    assert_eq!(seen, [24, 24, 12, 0, 0, 0, 0]);
    // Once it is over, when it was made is of no interest.
    let mut over = week("2025-W42", "UTC");
    over.facts.so_far = Some(at("2025-10-20T00:00:00Z"));
    assert_eq!(over.report().so_far, None);
}

//! Golden weeks: the same figures give the same bytes, and nothing that a log or an operator wrote becomes markup.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::*;
use crate::core::event::{Failure, Origin, Outcome, Stage, Timestamp, VmType};
use crate::core::report::figures::{BootFact, Figures};
use crate::core::report::incident::{Detection, IncidentFact};
use crate::core::report::sample::{Quantile, Quantiles};
use crate::core::report::week::Week;
use crate::core::report::{Facts, Month, Sight, Silence, Terms};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

fn voice() -> Voice {
    Voice {
        host: "host-1".to_owned(),
        zone: TimeZone::get("Europe/Berlin").unwrap(),
        runbook_base: Some("https://wiki.example/runbooks/".to_owned()),
    }
}

/// The incident's week: from Wednesday to Saturday morning the image has no agent.
fn golden() -> Report {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let week = Week::parse("2025-W42").unwrap();
    let range = week.range(&zone);
    let start = range.start;
    let ends = |week: Week| week.days(&zone).map(|(_, range)| range.end);
    let mut this = Figures::new(ends(week));
    let mut before = Figures::new(ends(week.previous()));
    let (bad_from, bad_to) = (start.plus_ms(60 * HOUR), start.plus_ms(130 * HOUR));
    for number in 0..246_i64 {
        let at = start.plus_ms(number * 40 * MINUTE);
        let bad = at >= bad_from && at < bad_to && number % 3 == 0;
        this.add(&fact(at, number, bad.then_some(Failure::AgentRefused)));
        this.add(&BootFact {
            vm_type: VmType::Cli,
            ready_ms: Some(9_000),
            stages: [None; 10],
            ..fact(at.plus_ms(MINUTE), number, None)
        });
        let then = at.plus_ms(-7 * 24 * HOUR);
        let failed = (number % 60 == 0).then_some(Failure::GuestUnreachable);
        before.add(&fact(then, number, failed));
    }
    for (number, outcome) in (0..).zip([Some(Outcome::Cancelled), Some(Outcome::Lost), None]) {
        this.add(&BootFact {
            outcome,
            ..fact(start.plus_ms(HOUR), number, None)
        });
    }
    for number in 0..12 {
        this.add(&BootFact {
            origin: Origin::Synthetic,
            ..fact(start.plus_ms(number * 14 * HOUR), number, None)
        });
    }
    Report::of(Facts {
        week,
        so_far: None,
        zone: zone.clone(),
        zone_name: "Europe/Berlin".to_owned(),
        terms: Terms { objective: 0.95 },
        this,
        before,
        seen: Sight::Own(vec![
            range.start..start.plus_ms(100 * HOUR),
            start.plus_ms(103 * HOUR)..range.end,
        ]),
        seen_before: Sight::Own(vec![week.previous().range(&zone)]),
        watched: vec![range.clone()],
        silences: Vec::new(),
        month: Month {
            failed: 49,
            judged: 1_000,
        },
        incidents: vec![incident(bad_from, bad_to)],
        synthetic_runs: BTreeMap::from([("ready".to_owned(), 12), ("skipped_slots".to_owned(), 3)]),
    })
}

fn fact(at: Timestamp, number: i64, failure: Option<Failure>) -> BootFact<'static> {
    let jitter = u32::try_from(number * 37 % 900).unwrap();
    let mut stages = [None; 10];
    stages[Stage::AllocateIp as usize] = Some(4 + jitter % 5);
    stages[Stage::CloneSnapshot as usize] = Some(2_400 + jitter);
    stages[Stage::StartFirecracker as usize] = Some(600 + jitter / 9);
    stages[Stage::GuestNetwork as usize] = Some(5_000 + jitter * 3);
    if failure.is_none() {
        stages[Stage::AgentStart as usize] = Some(28_000 + jitter * 9);
    }
    BootFact {
        host: "vmhost-1",
        vm_type: VmType::Browser,
        origin: Origin::User,
        outcome: Some(match failure {
            Some(_) => Outcome::Failed,
            None => Outcome::Ready,
        }),
        failure,
        failed_stage: failure.map(|_| Stage::AgentStart),
        maintenance: false,
        started_at: at,
        ended_at: Some(at.plus_ms(if failure.is_some() { 184_000 } else { 39_000 })),
        ready_ms: failure.is_none().then_some(36_000 + jitter * 12),
        stages,
        image: Some(if failure.is_some() {
            "2025-10-15 23:14 a1b2"
        } else {
            "2025-10-08 10:02 77fe"
        }),
    }
}

fn incident(from: Timestamp, to: Timestamp) -> IncidentFact {
    IncidentFact {
        key: "bw-5f2c0a".to_owned(),
        host: "vmhost-1".to_owned(),
        subject: "browser".to_owned(),
        cause: "agent_refused".to_owned(),
        page: true,
        first_bad_at: from,
        fired_at: from.plus_ms(6 * MINUTE),
        delivered_at: Some(from.plus_ms(6 * MINUTE + 40)),
        acknowledged_at: Some(from.plus_ms(9 * MINUTE)),
        resolved_at: Some(to),
        boots_hit: 35,
        diagnosis: Some("the agent is missing from the golden image".to_owned()),
        fix: Some("confirmed: 0 of 20 failed since, upper bound 14 %".to_owned()),
    }
}

fn fixture(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/report")
        .join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == text,
        "{} differs; look at it with BLESS=1 cargo test --lib report::tests",
        path.display()
    );
}

#[test]
fn a_golden_week_gives_the_same_bytes() {
    let report = golden();
    fixture("2025-W42.html", &html(&report, &voice()));
    fixture("2025-W42.md", &markdown(&report, &voice()));
    fixture("2025-W42.json", &json(&report));
    let letter = letter(&report, &voice());
    fixture("2025-W42-mail.html", &letter.html);
    assert_eq!(html(&report, &voice()), html(&golden(), &voice()));
}

#[test]
fn every_colour_of_a_chart_has_one_for_the_dark() {
    let css = include_str!("assets/report.css");
    let page = html(&golden(), &voice());
    let mut charts = page.split("<svg").skip(1);
    let fills = charts.by_ref().flat_map(|chart| {
        let chart = chart.split("</svg>").next().unwrap_or_default();
        let fills = chart.split("fill=\"").skip(1);
        fills.filter_map(|rest| rest.split('"').next())
    });
    let fills: std::collections::BTreeSet<&str> = fills.collect();
    assert!(fills.len() >= 5, "{fills:?}");
    for fill in fills {
        assert!(css.contains(&format!(".chart [fill=\"{fill}\"]")), "{fill}");
    }
}

#[test]
fn a_mail_stays_below_the_size_at_which_it_is_clipped_and_brings_its_pictures() {
    let letter = letter(&golden(), &voice());
    assert!(letter.html.len() < 100_000 && letter.text.len() < 100_000);
    assert_eq!(letter.pictures.len(), 5);
    for picture in &letter.pictures {
        assert!(picture.png.starts_with(b"\x89PNG\r\n"), "{}", picture.cid);
        assert!(letter.html.contains(&format!("cid:{}", picture.cid)));
    }
    assert!(!letter.html.contains("http://") && !letter.html.contains("src=\"https"));
    assert_eq!(
        letter.subject,
        "Boot reliability 2025-W42, host-1: 85.8 % of browser boots ready, 211 of 246"
    );
}

#[test]
fn what_others_wrote_is_text_in_every_form() {
    let mut report = golden();
    let poison = "<script>alert(1)</script> | `x` [a](http://e.example) \u{1b}[2J";
    poison.clone_into(&mut report.incidents[0].cause);
    report.incidents[0].diagnosis = Some(poison.to_owned());
    report.incidents[0].fix = Some(poison.to_owned());
    poison.clone_into(&mut report.incidents[0].host);
    poison.clone_into(&mut report.images[0].image);
    let page = html(&report, &voice());
    let letter = letter(&report, &voice());
    for text in [&page, &letter.html] {
        assert!(!text.contains("<script") && text.contains("&lt;script&gt;"));
    }
    let text = markdown(&report, &voice());
    assert!(
        !text.contains("<script") && !text.contains("[a](http"),
        "{text}"
    );
}

#[test]
fn an_empty_week_is_laid_out_too() {
    let zone = TimeZone::UTC;
    let week = Week::parse("2026-W53").unwrap();
    let ends = |week: Week| week.days(&zone).map(|(_, range)| range.end);
    let report = Report::of(Facts {
        this: Figures::new(ends(week)),
        before: Figures::new(ends(week.previous())),
        seen: Sight::Own(Vec::new()),
        seen_before: Sight::Own(Vec::new()),
        watched: Vec::new(),
        silences: Vec::new(),
        week,
        so_far: None,
        zone: zone.clone(),
        zone_name: "UTC".to_owned(),
        terms: Terms { objective: 0.95 },
        month: Month::default(),
        incidents: Vec::new(),
        synthetic_runs: BTreeMap::new(),
    });
    let page = html(&report, &voice());
    assert!(page.contains("No boot was seen.") && page.contains("The report is partial"));
    for said in ["No boot that counts failed", "Every boot counts", "0 ms"] {
        assert!(!page.contains(said), "of nothing it says: {said}");
    }
    assert!(charts(&report).is_empty());
    assert_eq!(
        letter(&report, &voice()).subject,
        "Boot reliability 2026-W53, host-1: no browser boot (partial)"
    );
}

#[test]
fn a_late_outcome_is_news_only_by_a_point() {
    let of = |ready: u64| {
        let mut report = golden();
        let browsers = report
            .kinds
            .iter_mut()
            .find(|kind| kind.vm_type == VmType::Browser);
        browsers.unwrap().rate.ready = Share::new(ready, 1_000);
        report
    };
    let kept = json(&of(950));
    assert!(!headline_differs(&kept, &of(941)), "0.9 points");
    assert!(headline_differs(&kept, &of(940)), "a point");
    assert!(headline_differs("{}", &of(950)) && headline_differs("torn", &of(950)));
    let mut another = of(950);
    another.incidents.clear();
    assert!(headline_differs(&kept, &another));
    // Where there is no browser boot, all count.
    let without = |ready: u64| {
        let mut report = golden();
        report.kinds.retain(|kind| kind.vm_type != VmType::Browser);
        report.total.ready = Share::new(ready, 1_000);
        report
    };
    assert!(!headline_differs(&json(&without(950)), &without(941)));
    assert!(headline_differs(&json(&without(950)), &without(940)));
    assert!(headline_differs(&json(&without(950)), &of(950)));
}

/// In every form.
fn everywhere(report: &Report) -> [String; 4] {
    let letter = letter(report, &voice());
    [
        html(report, &voice()),
        markdown(report, &voice()),
        letter.html,
        letter.text,
    ]
}

#[test]
fn who_was_not_watching_does_not_say_that_all_was_well() {
    let mut report = golden();
    report.incidents.clear();
    report.detection = Detection::default();
    let whole = report.coverage.watched.n;
    for (watched, says) in [
        (whole, "Nobody had to be paged."),
        (
            whole - 7_200,
            "Nobody was paged. For 2.0 h of the week bootwatch was not watching",
        ),
        (0, "bootwatch was not watching in this week"),
    ] {
        report.coverage.watched = Share::new(watched, whole);
        for text in everywhere(&report) {
            assert!(text.contains(says), "{text}");
            let well = text.contains("Nobody had to be paged");
            assert_eq!(well, watched == whole, "{text}");
        }
    }
    let page = html(&report, &voice());
    assert!(page.contains("<p class=\"value\">–</p>"), "{page}");
    // What it did see it tells, with what it did not.
    let mut report = golden();
    report.coverage.watched = Share::new(whole - 7_200, whole);
    for text in everywhere(&report) {
        assert!(text.contains("incidents that paged reached somebody"));
        assert!(text.contains("For 2.0 h of the week bootwatch was not watching"));
    }
}

#[test]
fn silences_of_the_controller_are_told_in_every_form() {
    let mut report = golden();
    report.coverage.silences = vec![Silence {
        host: None,
        from: report.from.plus_ms(6 * HOUR),
        to: report.from.plus_ms(18 * HOUR),
    }];
    for text in everywhere(&report) {
        let says = "the controller wrote nothing from Mon 13 Oct 06:00 to Mon 13 Oct 18:00";
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn a_mail_s_text_is_bounded_whatever_the_week_holds() {
    let mut report = golden();
    let incident = report.incidents[0].clone();
    report.incidents = vec![incident; 2_000];
    let voice = voice();
    let letter = letter(&report, &voice);
    assert!(letter.text.len() < 100_000, "{}", letter.text.len());
    assert!(
        letter
            .text
            .ends_with("the rest stands in the report itself.\n")
    );
    assert!(
        markdown(&report, &voice).len() > 100_000,
        "the report is whole"
    );
}

#[test]
fn a_growth_that_is_rounded_to_nothing_has_one_sign() {
    let of = |ms| Quantiles {
        n: 100,
        p50: Quantile::Ms(ms),
        p95: Quantile::Ms(ms),
        p99: Quantile::Ms(ms),
    };
    for (before, says) in [(859, "+0 %"), (856, "+0 %"), (853, "+0 %"), (1712, "-50 %")] {
        assert_eq!(words::grown(of(856), of(before)), says, "{before}");
    }
}

#[test]
fn late_pages_are_told_in_words_that_fit_their_number() {
    for (counts, says) in [
        ((1, 1, 0), "The one incident that paged was told more than"),
        ((1, 0, 1), "The one incident that paged was told to nobody."),
        ((3, 1, 0), "Of 3 incidents that paged, 1 was told more than"),
        (
            (3, 0, 2),
            "Of 3 incidents that paged, 2 were told to nobody.",
        ),
        (
            (5, 2, 1),
            "Of 5 incidents that paged, 2 were told more than",
        ),
    ] {
        let told = super::words::late_pages(counts.0, counts.1, counts.2);
        assert!(told.starts_with(says), "{told}");
    }
}

#[test]
fn a_few_minutes_are_told_to_the_second_and_a_share_on_its_own_side_of_the_objective() {
    for (seconds, told) in [
        (119.4, "119 s"),
        (119.6, "2 min"),
        (151.2, "2 min 31 s"),
        (180.0, "3 min"),
        (599.4, "9 min 59 s"),
        (900.0, "15 min"),
        (7_180.0, "2.0 h"),
    ] {
        assert_eq!(words::length(seconds), told, "{seconds}");
    }
    let mut report = golden();
    let mut told = |k, n| {
        report.kinds[0].rate.ready = Share::new(k, n);
        words::headline(&report)
    };
    let just = told(9_809, 10_328);
    assert!(
        just.contains(", just below the objective of 95.0 % (94.97 %)."),
        "{just}"
    );
    assert!(told(9_500, 10_000).contains(", which is the objective of 95.0 %."));
    assert!(told(96, 100).contains(", above the objective of 95.0 %."));
    assert!(!report.coverage.partial && report.so_far.is_none());
    report.so_far = Some(Timestamp(0));
    assert!(words::headline(&report).contains(" The week is not over: this is what was so far."));
}

#[test]
fn a_mail_is_dark_where_its_reader_is() {
    let page = letter(&golden(), &voice()).html;
    for said in [
        "prefers-color-scheme:dark",
        "<body class=\"b\"",
        "<table class=\"c\"",
    ] {
        assert!(page.contains(said), "{said}");
    }
}

#[test]
fn what_is_overspent_is_told_in_tenths() {
    use crate::core::report::advice::Advice;
    let spare = Advice::SpareBudget {
        left: -56.099_999_999_995_8,
        allowed: 4_670.9,
        weeks_left: None,
    };
    let (_, why) = words::advice(&spare);
    assert_eq!(
        why,
        "The 30 days' budget of 4,670.9 failed boots is overspent by 56.1."
    );
}

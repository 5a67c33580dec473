//! Whatever is counted is read by its digits.

use super::*;

#[test]
fn digits_are_grouped_in_whatever_is_counted() {
    use crate::core::fix::{Fix, Standing, What};
    use crate::core::generations::ImageChange;
    use crate::core::window::Count;
    let many = Count {
        bad: 4_870,
        of: 97_134,
    };
    let mut story = fixture::incident(VmType::Browser, Failure::AgentRefused);
    let at = story[0].at;
    let incident = &mut story[0].incident;
    let mut reading = *incident.members[0].reading.boots().unwrap();
    reading.count = many;
    reading.overdue = 1_024;
    reading.stretch = Stretch::Last(97_134);
    incident.members[0].reading = Said::Boots(reading);
    incident.others[0].count = Count { bad: 4_770, ..many };
    incident.fix = Some(Fix {
        what: What::Image,
        at,
        before: many,
        since: many,
        standing: Standing::Undecided,
        decided_at: None,
        given_up: false,
    });
    incident.image = Some(ImageChange {
        image: "/images/golden.ext4".to_owned(),
        changed_at: at,
        to_first_failure_ms: 0,
        since: many,
        before: Some(many),
    });
    let page = Page::of(&story[0], &context());
    assert!(
        page.title.starts_with("4,870 of 97,134 browser boots fail"),
        "{}",
        page.title
    );
    let body = page.body();
    for said in [
        "4,870 of the last 97,134 browser boots on controller-1 failed (1,024 of them still waiting",
        "of its boots 4,870 of 97,134 failed, of the image's before it 4,870 of 97,134.",
        ": not decided yet, 4,870 of 97,134 boots failed since",
        "; before it 4,870 of 97,134 failed.",
    ] {
        assert!(body.contains(said), "{said}: {body}");
    }
    let figure = "4,870 of the last 97,134 browser boots (1,024 of them";
    assert!(page.figures[0].contains(figure), "{:?}", page.figures);
    let other = page.not_affected.expect("a small share");
    assert!(other.contains("92,364 of 97,134 ready"), "{other}");
    story[0].incident.others[0].count.bad = 9_870;
    let body = Page::of(&story[0], &context()).body();
    assert!(body.contains("CLI boots, 9,870 of 97,134 failed"), "{body}");
    for left in ["4870", "4770", "9870", "97134", "1024"] {
        assert!(!body.contains(left), "{left}: {body}");
    }
    reading.stretch = Stretch::Span(3_600_000);
    story[0].incident.members[0].reading = Said::Boots(reading);
    let body = Page::of(&story[0], &context()).body();
    let said = "4,870 of 97,134 browser boots in the last hour";
    assert!(body.contains(said), "{body}");
}

#[test]
fn digits_are_grouped_in_the_figures_of_what_holds() {
    use crate::core::condition::Level;
    let mut level = Level {
        value: 1_234,
        of: Some(65_534),
        limit: 2_000,
    };
    assert_eq!(
        conditions::figure(RuleName::IpPoolLow, &level),
        "1,234 of 65,534 addresses free (limit 2,000)"
    );
    assert_eq!(
        conditions::title(Condition::RecordsUnparsed, Some(&level)),
        "1,234 of 65,534 log records that matter cannot be read"
    );
    level.of = None;
    assert_eq!(
        conditions::title(Condition::GhostVms, Some(&level)),
        "1,234 VMs have no process, and the database calls them running"
    );
}

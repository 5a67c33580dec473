use super::*;
use crate::core::event::{Failure, Outcome, VmType};
use crate::core::image::Verdict as Found;
use crate::core::image::{Check, Finding, Generation, GoldenImage};

fn boots(n: usize, signs: &[(Sign, bool)]) -> Vec<Signs> {
    let one = signs.iter().fold(Signs::default(), |all, (sign, is_seen)| {
        all.with(*sign, *is_seen)
    });
    vec![one; n]
}

fn of_boots(n: usize, signs: &[(Sign, bool)]) -> Diagnosis {
    let evidence = Evidence {
        boots: boots(n, signs),
        ..Evidence::default()
    };
    diagnose(&evidence, Timestamp(0))
}

#[test]
fn each_verdict_has_its_row_in_the_vocabularys_order() {
    assert_eq!(TABLE.len(), Verdict::ALL.len());
    for (row, verdict) in TABLE.iter().zip(Verdict::ALL) {
        assert_eq!(row.verdict, *verdict);
        assert!(!row.needs.is_empty() && row.prior > 0.0, "{verdict}");
        assert!(
            !row.means.is_empty() && !row.refuted_by.is_empty(),
            "{verdict}"
        );
        for (place, weight) in row.weights.iter().enumerate() {
            assert!(
                weight.seen > 0.0 && weight.unseen > 0.0,
                "{verdict}: {}",
                weight.sign
            );
            // A sign and its absence cannot both speak for the same.
            assert!(
                weight.seen >= 1.0 && weight.unseen <= 1.0
                    || weight.seen <= 1.0 && weight.unseen >= 1.0
                    || weight.unseen == 1.0
                    || weight.seen == 1.0,
                "{verdict}: {}",
                weight.sign
            );
            let again = &row.weights[place + 1..];
            assert!(
                again.iter().all(|other| other.sign != weight.sign),
                "{verdict}: {}",
                weight.sign
            );
        }
    }
}

#[test]
fn every_sign_weighs_in_some_verdict() {
    for sign in Sign::ALL {
        let used = TABLE.iter().any(|row| {
            row.needs.contains(sign) || row.weights.iter().any(|weight| weight.sign == *sign)
        });
        assert!(used || *sign == Sign::NetworkCameUp, "{sign}");
    }
}

#[test]
fn no_evidence_is_no_verdict() {
    let nothing = diagnose(&Evidence::default(), Timestamp(0));
    assert_eq!(nothing.ranked, []);
    assert_eq!(nothing.verdict(), None);
    // Boots that failed, and of which nothing tells why.
    assert_eq!(
        of_boots(3, &[(Sign::Died, false), (Sign::RefusedToEnd, false)]).ranked,
        []
    );
}

#[test]
fn a_chance_is_the_odds_of_one_against_all_and_none() {
    // `AgentHangs` alone of those that need time-outs: 1.5, thrashing 0.7, offload 0.3, stalled 0.2, none 1.
    let found = of_boots(3, &[(Sign::TimeoutsToEnd, true)]);
    assert_eq!(found.ranked[0].verdict, Verdict::AgentHangs);
    assert_eq!(found.ranked[0].chance, thousandths(1.5 / 3.7));
    assert_eq!(found.verdict(), None, "that is not enough");
    assert_eq!(found.others().count(), 3);
}

#[test]
fn refused_in_a_world_without_injection_is_probably_the_image_and_sure_with_its_audit() {
    let seen = [(Sign::RefusedToEnd, true), (Sign::Injected, false)];
    let found = of_boots(3, &seen);
    let first = found.verdict().unwrap();
    assert_eq!(first.verdict, Verdict::AgentMissing);
    assert_eq!(found.sure(), None, "the log alone does not show the image");

    let mut surroundings = Surroundings::default();
    surroundings.image(&GoldenImage {
        path: "/golden".to_owned(),
        since: None,
        generation: Some(Generation {
            inode: 1,
            size: 2,
            modified_at: Timestamp(1_000_000),
            uuid: None,
        }),
        findings: vec![Finding::new(
            Check::Agent,
            Found::Fail,
            "/opt/vm-browser-agent/server.js",
            "is missing",
        )],
        audited_at: Timestamp(1_060_000),
    });
    let span = surroundings::Span {
        first: Timestamp(1_000_000 + 38 * 60_000),
        last: Timestamp(1_000_000 + 60 * 60_000),
        good: Some(Timestamp(900_000)),
    };
    let (around, details) = surroundings.around(span);
    let evidence = Evidence {
        boots: boots(3, &seen),
        around,
        details,
    };
    let found = diagnose(&evidence, Timestamp(0));
    let first = found.sure().unwrap();
    assert_eq!(first.verdict, Verdict::AgentMissing);
    let spoken: Vec<String> = first.speaks_for.iter().map(Point::spoken).collect();
    assert_eq!(
        spoken[0],
        "the golden image lacks the agent (/opt/vm-browser-agent/server.js: is missing)"
    );
    assert!(
        spoken.contains(&"port 8080 was refused to the end in 3 of 3 failed boots".to_owned()),
        "{spoken:#?}"
    );
    assert!(
        spoken.iter().any(|line| line.contains("38 min before")),
        "{spoken:#?}"
    );
    // An image that was put in place after the last of them explains none of them.
    let earlier = surroundings::Span {
        first: Timestamp(10),
        last: Timestamp(20),
        good: None,
    };
    assert_eq!(
        surroundings.around(earlier).0.of(Sign::ImageLacksAgent),
        None
    );
}

#[test]
fn one_boot_alone_says_what_it_can_and_one_that_is_well_nothing() {
    let record = |outcome| Record {
        vm_type: VmType::Browser,
        outcome: Some(outcome),
        failure: Some(Failure::SnapshotCloneFailed),
        failed_stage: None,
        ladder: &[],
        attempts: &[],
        answerer: None,
        guest_ahead_ms: None,
        error: Some("cp: cannot stat '/base/golden.ext4': No such file or directory"),
        console: None,
        injected: false,
        copied: false,
    };
    let found = alone(&record(Outcome::Failed), Timestamp(7)).unwrap();
    assert_eq!(found.at, Timestamp(7));
    assert_eq!(
        found.summary().unwrap(),
        "the golden image is not there; is it being rebuilt? (98 %)"
    );
    assert_eq!(alone(&record(Outcome::Ready), Timestamp(7)), None);
    assert_eq!(diagnose(&Evidence::default(), Timestamp(0)).summary(), None);
}

#[test]
fn an_agent_that_is_injected_is_not_missing_from_the_image() {
    let found = of_boots(3, &[(Sign::RefusedToEnd, true), (Sign::Injected, true)]);
    assert_eq!(
        found.verdict(),
        None,
        "the log alone cannot tell which it is"
    );
    assert_ne!(found.ranked[0].verdict, Verdict::AgentMissing);
}

#[test]
fn what_most_of_the_boots_show_is_seen_and_a_stray_one_says_nothing() {
    let mut evidence = Evidence {
        boots: boots(3, &[(Sign::RefusedToEnd, true)]),
        ..Evidence::default()
    };
    evidence
        .boots
        .extend(boots(2, &[(Sign::RefusedToEnd, false)]));
    assert!(evidence.of(Sign::RefusedToEnd).unwrap().0);
    evidence
        .boots
        .extend(boots(3, &[(Sign::RefusedToEnd, false)]));
    assert_eq!(evidence.of(Sign::RefusedToEnd), None);
}

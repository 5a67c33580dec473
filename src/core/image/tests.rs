//! What the findings mean together.

use super::*;

fn image(findings: &[(Check, Verdict)]) -> GoldenImage {
    GoldenImage {
        path: "/golden.ext4".to_owned(),
        since: None,
        generation: None,
        findings: findings
            .iter()
            .map(|(check, verdict)| Finding::new(*check, *verdict, "/x", "because"))
            .collect(),
        audited_at: Timestamp(0),
    }
}

#[test]
fn injection_takes_what_it_replaces_out_of_the_judgement_and_nothing_else() {
    let image = image(&[
        (Check::Agent, Verdict::Fail),
        (Check::Unit, Verdict::Pass),
        (Check::KernelModules, Verdict::Fail),
    ]);
    let verdicts = |injection| {
        let findings = image.given(injection);
        findings
            .iter()
            .map(|finding| finding.verdict)
            .collect::<Vec<_>>()
    };
    for injection in [Injection::Unknown, Injection::Absent] {
        assert_eq!(
            verdicts(injection),
            [Verdict::Fail, Verdict::Pass, Verdict::Fail]
        );
        assert_eq!(image.broken(injection).len(), 2);
    }
    assert_eq!(
        verdicts(Injection::Present),
        [Verdict::Unknown, Verdict::Pass, Verdict::Fail]
    );
    assert_eq!(image.broken(Injection::Present).len(), 1);
    assert!(
        image.given(Injection::Present)[0]
            .reason
            .ends_with("in the image itself: because")
    );
}

#[test]
fn somebody_is_woken_only_where_boots_show_that_the_image_decides() {
    let broken = image(&[(Check::Agent, Verdict::Fail)]);
    let loud =
        |image: &GoldenImage, injection| image.alarm(injection).map(|(severity, _)| severity);
    assert_eq!(loud(&broken, Injection::Absent), Some(Severity::Page));
    assert_eq!(loud(&broken, Injection::Unknown), Some(Severity::Ticket));
    assert_eq!(loud(&broken, Injection::Present), None);
    let modules = image(&[(Check::KernelModules, Verdict::Fail)]);
    assert_eq!(loud(&modules, Injection::Present), Some(Severity::Ticket));
    let odd = image(&[
        (Check::Vnc, Verdict::Warn),
        (Check::Network, Verdict::Unknown),
    ]);
    assert_eq!(loud(&odd, Injection::Absent), None);
}

#[test]
fn the_whole_is_as_bad_as_its_worst_and_unknown_only_where_the_file_is() {
    for (findings, whole) in [
        (&[][..], Verdict::Unknown),
        (&[(Check::Agent, Verdict::Pass)], Verdict::Pass),
        (
            &[
                (Check::Agent, Verdict::Pass),
                (Check::Network, Verdict::Unknown),
            ],
            Verdict::Pass,
        ),
        (
            &[
                (Check::Vnc, Verdict::Warn),
                (Check::Network, Verdict::Unknown),
            ],
            Verdict::Warn,
        ),
        (
            &[
                (Check::Filesystem, Verdict::Unknown),
                (Check::Vnc, Verdict::Warn),
            ],
            Verdict::Unknown,
        ),
        (
            &[
                (Check::Filesystem, Verdict::Unknown),
                (Check::Unit, Verdict::Fail),
            ],
            Verdict::Fail,
        ),
    ] {
        assert_eq!(overall(&image(findings).findings), whole, "{findings:?}");
    }
}

#[test]
fn a_check_with_several_findings_has_the_worst_verdict() {
    let findings = image(&[
        (Check::Environment, Verdict::Warn),
        (Check::Environment, Verdict::Fail),
        (Check::Vnc, Verdict::Pass),
    ])
    .findings;
    assert_eq!(
        by_check(&findings),
        [
            (Check::Environment, Verdict::Fail),
            (Check::Vnc, Verdict::Pass)
        ]
    );
}

#[test]
fn what_an_image_says_stays_one_bounded_line() {
    let finding = Finding::new(
        Check::Unit,
        Verdict::Fail,
        "/a\n/b\u{1b}[2J",
        "x".repeat(10_000),
    );
    assert_eq!(finding.path, "/a\u{fffd}/b\u{fffd}[2J");
    assert_eq!(finding.reason.chars().count(), MAX_WORDS + 1);
}

/// Nothing seen yet: everything is asked for, and nothing is called wrong.
#[test]
fn without_facts_nothing_is_certain() {
    let facts = Facts {
        generation: Generation {
            inode: 1,
            size: 1_024,
            modified_at: Timestamp(0),
            uuid: None,
        },
        machine: Machine::X86_64,
        disk: Disk::default(),
        host: Host::default(),
        seen: std::collections::BTreeMap::new(),
    };
    let judged = judge(&facts);
    assert!(judged.wanted.len() > 10);
    assert!(
        judged
            .findings
            .iter()
            .all(|finding| finding.verdict != Verdict::Fail),
        "{:#?}",
        judged.findings
    );
}

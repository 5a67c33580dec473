//! What is said beside an incident: that it is many, and what is new.

use super::*;

#[test]
fn a_digest_says_what_they_are_and_what_to_do_first_and_nothing_of_its_first_member_alone() {
    use crate::core::alert::{Digest, Subject};
    use crate::core::diagnosis::{Evidence, Sign, Signs, diagnose};
    let mut story = fixture::incident(VmType::Browser, Failure::AgentRefused);
    let digest = &mut story[0];
    let evidence = Evidence {
        boots: vec![
            Signs::default()
                .with(Sign::RefusedToEnd, true)
                .with(Sign::Injected, false);
            10
        ],
        ..Evidence::default()
    };
    digest.incident.diagnosis = Some(diagnose(&evidence, digest.at));
    let (browser, cli) = (VmType::Browser, VmType::Cli);
    let refused = Cause::Failure(Failure::AgentRefused);
    let counted = |firing, causes| Digest {
        firing,
        resolved: 2,
        causes,
        others: 0,
    };
    digest.remarks.digest = Some(counted(
        12,
        vec![
            (Subject::Boots(browser), refused, 9),
            (Subject::Boots(cli), Cause::Failure(Failure::Unknown), 3),
        ],
    ));
    let page = Page::of(digest, &context());
    let host = &page.host;
    let refusal = "the guest is up, but nothing listens on port 8080 (ECONNREFUSED to the end)";
    assert_eq!(
        page.title,
        format!("12 more incidents at once on {host}, 9 of them of browser boots: {refusal}")
    );
    let body = page.body();
    let told = format!(
        "What they are:\n9 of browser boots: {refusal}\n3 of CLI boots: the log does not say why\n"
    );
    for said in [
        told.as_str(),
        "12 of the 14 told here still fire",
        "Do first: begin with the pages",
    ] {
        assert!(body.contains(said), "{said}: {body}");
    }
    for alone in ["Probable cause", "Rules:", "Boots:", "Runbook"] {
        assert!(!body.contains(alone), "{alone}: {body}");
    }
    digest.remarks.digest = Some(counted(1, vec![(Subject::Boots(browser), refused, 1)]));
    let page = Page::of(digest, &context());
    assert_eq!(
        page.title,
        format!("1 more incident on {host}, browser boots: {refusal}")
    );
    assert!(
        page.summary.contains("1 of the 3 told here still fires."),
        "{}",
        page.summary
    );
}

#[test]
fn an_update_says_what_is_new_but_not_to_whom_all_of_it_is() {
    let mut story = fixture::incident(VmType::Browser, Failure::AgentRefused);
    let first = Page::of(&story[0], &context()).summary;
    let update = &mut story[1];
    update.reason = Reason::FurtherAlert;
    let rules: Vec<&str> = update
        .incident
        .members
        .iter()
        .skip(1)
        .map(|one| one.rule.as_str())
        .collect();
    let news = format!(
        "New since the first message: {} fires, too. ",
        rules.join(" and ")
    );
    let page = Page::of(update, &context());
    assert!(
        !first.contains("New") && page.summary.starts_with(&news),
        "{}",
        page.summary
    );
    let alone = page.clone().first();
    assert_eq!(format!("{news}{}", alone.summary), page.summary);
    let mut drill = update.clone();
    drill.remarks.is_drill = true;
    let drill = Page::of(&drill, &context());
    assert!(drill.summary.contains(&news), "{}", drill.summary);
    assert!(!drill.first().summary.contains("New since"));
    let mut more = update.incident.members[1].clone();
    more.rule = RuleName::BootBudgetBurn;
    update.incident.members.push(more);
    let page = Page::of(update, &context());
    assert!(
        page.summary.contains(" and BootBudgetBurn fire, too. "),
        "{}",
        page.summary
    );
    update.reason = Reason::VerdictChanged;
    let page = Page::of(update, &context());
    assert!(
        page.summary
            .starts_with("New: more is known of its cause. "),
        "{}",
        page.summary
    );
    update.incident.members.truncate(1);
    update.reason = Reason::FurtherAlert;
    assert!(!Page::of(update, &context()).summary.contains("New"));
}

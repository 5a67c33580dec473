//! What the golden image's audit says now.
//!
//! Somebody is woken only where recent boots show that no agent is put into each copy: then the image alone decides. As
//! long as boots do not say, the page's rule is told nothing, and keeps its state; where they show injection, what is
//! left of the faults is a ticket.

use super::{Condition, Fact, Facts};
use crate::core::image::{Finding, GoldenImage, Injection};
use crate::core::rule::RuleName;

/// Findings that one line names.
const NAMED: usize = 6;

/// Adds what an audit says under what is known of injection.
pub fn of_image(image: &GoldenImage, injection: Injection, facts: &mut Facts) {
    let broken = image.broken(injection);
    let fact = |condition, broken: &[Finding]| Fact {
        condition,
        value: u64::try_from(broken.len()).unwrap_or(u64::MAX),
        of: None,
        // When the image became what it is, where it is there at all.
        since: image
            .since
            .or(image.generation.as_ref().map(|known| known.modified_at))
            .filter(|_| !broken.is_empty()),
        settles: true,
        evidence: line(image, broken).into_iter().collect(),
    };
    let (page, ticket): (Option<&[Finding]>, &[Finding]) = match injection {
        Injection::Absent => (Some(&broken), &[]),
        Injection::Files | Injection::Present => (Some(&[]), &broken),
        Injection::Unknown => (None, &broken),
    };
    if let Some(page) = page {
        let fact = fact(Condition::GoldenImageBroken, page);
        facts.insert(RuleName::GoldenImageBroken, fact);
    }
    let fact = fact(Condition::GoldenImageSuspect, ticket);
    facts.insert(RuleName::GoldenImageBrokenTicket, fact);
}

/// All that is wrong, in one line of evidence: what, where, and which image.
fn line(image: &GoldenImage, broken: &[Finding]) -> Option<String> {
    if broken.is_empty() {
        return None;
    }
    let named: Vec<String> = broken
        .iter()
        .take(NAMED)
        .map(|finding| format!("{} ({}: {})", finding.check, finding.path, finding.reason))
        .collect();
    let more = match broken.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let written = image
        .generation
        .as_ref()
        .and_then(|known| known.modified_at.utc())
        .map_or_else(String::new, |at| {
            format!(", written {}", at.strftime("%Y-%m-%d %H:%M:%S UTC"))
        });
    Some(format!(
        "golden image {}{written}: {}{more}",
        image.path,
        named.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::Timestamp;
    use crate::core::image::{Check, Generation, Verdict};

    fn image(findings: Vec<Finding>) -> GoldenImage {
        GoldenImage {
            path: "/snapshots/golden-browser-rootfs.ext4".to_owned(),
            since: None,
            generation: Some(Generation {
                inode: 7,
                size: 8 << 30,
                modified_at: Timestamp(1_760_742_840_000),
                uuid: None,
            }),
            findings,
            audited_at: Timestamp(1_760_742_900_000),
        }
    }

    fn fails(check: Check, path: &str) -> Finding {
        Finding::new(check, Verdict::Fail, path, "is not there")
    }

    fn values(image: &GoldenImage, injection: Injection) -> (Option<u64>, u64) {
        let mut facts = Facts::new();
        of_image(image, injection, &mut facts);
        let value = |rule: RuleName| facts.get(&rule).map(|fact| fact.value);
        let ticket = value(RuleName::GoldenImageBrokenTicket).expect("the audit says something");
        (value(RuleName::GoldenImageBroken), ticket)
    }

    #[test]
    fn only_boots_without_injection_make_a_page_of_it() {
        let agent = image(vec![fails(Check::Agent, "/opt/vm-browser-agent/server.js")]);
        assert_eq!(values(&agent, Injection::Absent), (Some(1), 0));
        assert_eq!(values(&agent, Injection::Unknown), (None, 1));
        // What is injected cannot fail an image; a driver can.
        assert_eq!(values(&agent, Injection::Present), (Some(0), 0));
        let driver = image(vec![fails(Check::KernelModules, "/lib/modules")]);
        assert_eq!(values(&driver, Injection::Present), (Some(0), 1));
        assert_eq!(values(&image(Vec::new()), Injection::Absent), (Some(0), 0));
    }

    #[test]
    fn the_line_names_the_image_its_time_and_the_paths() {
        let broken = image(vec![
            fails(Check::Agent, "/opt/vm-browser-agent/server.js"),
            fails(Check::Unit, "/etc/systemd/system/vm-browser-agent.service"),
        ]);
        let mut facts = Facts::new();
        of_image(&broken, Injection::Absent, &mut facts);
        let fact = &facts[&RuleName::GoldenImageBroken];
        assert_eq!(fact.since, Some(Timestamp(1_760_742_840_000)));
        assert_eq!(
            fact.evidence,
            [
                "golden image /snapshots/golden-browser-rootfs.ext4, written 2025-10-17 23:14:00 UTC: agent \
              (/opt/vm-browser-agent/server.js: is not there); unit (/etc/systemd/system/vm-browser-agent.service: is \
              not there)"
            ]
        );
    }
}

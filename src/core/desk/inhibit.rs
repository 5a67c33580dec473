//! Which troubles are symptoms of which: a table.
//!
//! While a cause fires, its symptoms on the same host are not paged: who is awake already knows. Only what was not sent
//! yet is held back, nothing hides itself, and what is urgent is never hidden by what is not.

use std::cmp::Ordering;

use crate::core::alert::{Incident, Member};
use crate::core::event::VmType;
use crate::core::rule::Severity;

/// A row: what fires, and what follows from it. Rules by their names, so that a rule that is switched off, or that this
/// program does not have, changes nothing.
struct Row {
    cause: Side,
    symptom: Side,
    kinds: Kinds,
}

/// Of which kinds of VM cause and symptom may be.
#[derive(Clone, Copy)]
enum Kinds {
    /// Of the same, or one of them of the host: what fails of one kind hides nothing of the other.
    Alike,
    /// Of any: what both kinds need.
    Any,
    /// A browser VM is begun only once its user's CLI VM is there.
    CliOfBrowser,
}

/// Every word that is set must be one of the incident's.
#[derive(Clone, Copy, Default)]
struct Side {
    rules: &'static [&'static str],
    causes: &'static [&'static str],
}

const BOOTS_FAIL: &[&str] = &[
    "BootFailureRate",
    "ConnectionRefusedSpike",
    "ConnectionErrorSpike",
    "BootBudgetBurn",
];

const TABLE: &[Row] = &[
    // What both kinds of VM need: the second kind's page would say the same again.
    shared(&["ip_pool_exhausted"]),
    shared(&["tap_failed"]),
    shared(&["firecracker_failed"]),
    shared(&["record_failed"]),
    shared(&["not_started"]),
    // Whoever has no CLI VM, and gets none, gets no browser VM either.
    Row {
        kinds: Kinds::CliOfBrowser,
        cause: rules(BOOTS_FAIL),
        symptom: Side {
            rules: BOOTS_FAIL,
            causes: &["not_started"],
        },
    },
    // A controller that is not there boots nothing, and finishes no session.
    Row {
        kinds: Kinds::Alike,
        cause: rules(&["ControllerSilent"]),
        symptom: rules(&[
            "BootFailureRate",
            "BootBudgetBurn",
            "BootStageSlow",
            "ReadinessHeadroomLow",
            "SyntheticFailing",
            "SessionsIncomplete",
        ]),
    },
    // An image without what a VM needs is why its boots fail, which are of one incident with it; other VMs are not.
    Row {
        kinds: Kinds::Alike,
        cause: rules(&["GoldenImageBroken"]),
        symptom: rules(&[
            "SyntheticFailing",
            "ReadinessHeadroomLow",
            "BootStageSlow",
            "SessionsIncomplete",
        ]),
    },
    // An image that is known to be why needs no ticket that it may be.
    Row {
        kinds: Kinds::Alike,
        cause: Side {
            rules: &["GoldenImageBroken"],
            causes: &["golden_image_broken"],
        },
        symptom: Side {
            rules: &["GoldenImageBroken"],
            causes: &["golden_image_suspect"],
        },
    },
    // Boots that fail: so do synthetic ones, and the rest is late, and sessions stay without a VM.
    Row {
        kinds: Kinds::Alike,
        cause: rules(BOOTS_FAIL),
        symptom: rules(&[
            "SyntheticFailing",
            "ReadinessHeadroomLow",
            "BootStageSlow",
            "SessionsIncomplete",
        ]),
    },
    // A pool that is empty was low before.
    Row {
        kinds: Kinds::Alike,
        cause: Side {
            rules: BOOTS_FAIL,
            causes: &["ip_pool_exhausted"],
        },
        symptom: rules(&["IpPoolLow"]),
    },
    // What is counted from rows cannot be trusted while they cannot be read.
    Row {
        kinds: Kinds::Alike,
        cause: rules(&["DatabaseUnreachable"]),
        symptom: rules(&["SessionsIncomplete", "GhostVms", "IpPoolLow"]),
    },
];

const fn rules(rules: &'static [&'static str]) -> Side {
    Side { rules, causes: &[] }
}

const fn shared(causes: &'static [&'static str]) -> Row {
    let side = Side {
        rules: BOOTS_FAIL,
        causes,
    };
    Row {
        cause: side,
        symptom: side,
        kinds: Kinds::Any,
    }
}

impl Kinds {
    fn hold(self, cause: &Incident, symptom: &Incident) -> bool {
        let of = (cause.subject.vm_type(), symptom.subject.vm_type());
        match (self, of) {
            (Kinds::Any, _) => true,
            (Kinds::Alike, (Some(one), Some(other))) => one == other,
            (Kinds::Alike, (None, _) | (_, None)) => true,
            (Kinds::CliOfBrowser, of) => of == (Some(VmType::Cli), Some(VmType::Browser)),
        }
    }
}

impl Side {
    fn holds(&self, incident: &Incident, member: &Member) -> bool {
        let in_list = |list: &[&str], word: &str| list.is_empty() || list.contains(&word);
        in_list(self.rules, member.rule.as_str()) && in_list(self.causes, incident.cause.as_str())
    }
}

/// Whether `cause` explains all of `symptom`. Of two that explain each other the more urgent one does, or the first.
pub(super) fn explains(cause: &Incident, symptom: &Incident) -> bool {
    if cause.key == symptom.key || cause.host != symptom.host || !one_way(cause, symptom) {
        return false;
    }
    match weight(cause.severity()).cmp(&weight(symptom.severity())) {
        Ordering::Less => false,
        Ordering::Greater => true,
        Ordering::Equal => {
            let order = |incident: &Incident| (incident.fired_at, incident.key.clone());
            order(cause) < order(symptom) || !one_way(symptom, cause)
        }
    }
}

fn one_way(cause: &Incident, symptom: &Incident) -> bool {
    let mut members = symptom.firing().peekable();
    members.peek().is_some()
        && members.all(|member| {
            TABLE.iter().any(|row| {
                row.kinds.hold(cause, symptom)
                    && row.symptom.holds(symptom, member)
                    && cause.firing().any(|member| row.cause.holds(cause, member))
            })
        })
}

/// Whether anything in the table could explain it: then a ticket waits a moment for its cause.
pub(super) fn may_be_symptom(incident: &Incident) -> bool {
    incident.firing().all(|member| {
        let mut rows = TABLE.iter();
        rows.any(|row| row.symptom.holds(incident, member))
    })
}

fn weight(severity: Severity) -> u8 {
    match severity {
        Severity::Page => 1,
        Severity::Ticket => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::condition::Condition;
    use crate::core::event::Failure;
    use crate::core::rule::RuleName;

    #[test]
    fn the_table_names_what_there_is() {
        for row in TABLE {
            for side in [row.cause, row.symptom] {
                for rule in side.rules {
                    let known = RuleName::ALL.iter().any(|known| known.as_str() == *rule);
                    assert!(known, "{rule}");
                }
                for cause in side.causes {
                    let known = Failure::from_word(cause).is_some()
                        || Condition::from_word(cause).is_some();
                    assert!(known, "{cause}");
                }
            }
        }
    }
}

//! Whatever comes, in whatever order: what holds of every story.

use super::*;

/// One thing that happens to the engine.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Boot(bool, Option<Failure>),
    /// A boot in flight, of a few, is refused or gets an answer so long after its wait began.
    Attempt(u8, u32, bool),
    Lost(u8),
    Blind(bool),
    Pass(i64),
    /// The log's clock is wrong by so many minutes from here on.
    Skew(i64),
}

/// Boots in flight have numbers from here on.
const FLYING: u128 = 1 << 64;

impl Story {
    pub(super) fn step(&mut self, step: &Step) {
        match *step {
            Step::Boot(cli, failure) => {
                self.boot(if cli { VmType::Cli } else { VmType::Browser }, failure);
            }
            Step::Attempt(vm, waited, refused) => {
                let result = if refused { REFUSED } else { AttemptResult::Ok };
                self.attempt(FLYING + u128::from(vm), waited, result);
            }
            Step::Lost(vm) => self.lost(FLYING + u128::from(vm)),
            Step::Blind(blind) => self.blind(blind),
            Step::Pass(ms) => self.pass(ms),
            Step::Skew(minutes) => self.skew_ms = minutes * 60_000,
        }
    }
}

pub(super) fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    use proptest::prelude::*;
    let failure = prop_oneof![
        4 => Just(None),
        4 => Just(Some(Failure::AgentRefused)),
        2 => Just(Some(Failure::GuestUnreachable)),
        2 => Just(Some(Failure::SnapshotCloneFailed)),
        1 => Just(Some(Failure::NotStarted)),
    ];
    // Runs of the same, as faults are.
    let boots = (any::<bool>(), failure, 1..8usize)
        .prop_map(|(cli, failure, times)| vec![Step::Boot(cli, failure); times]);
    let step = prop_oneof![
        6 => boots,
        3 => (0..6u8, prop_oneof![Just(10_000u32), Just(119_000)], any::<bool>())
            .prop_map(|(vm, waited, refused)| vec![Step::Attempt(vm, waited, refused)]),
        1 => (0..6u8).prop_map(|vm| vec![Step::Lost(vm)]),
        1 => any::<bool>().prop_map(|blind| vec![Step::Blind(blind)]),
        2 => (1_000..4_000_000i64).prop_map(|ms| vec![Step::Pass(ms)]),
        1 => (-600..600i64).prop_map(|minutes| vec![Step::Skew(minutes)]),
    ];
    prop::collection::vec(step, 1..40).prop_map(|steps| steps.concat())
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_incident_begins_once_and_ends_at_most_once(steps in steps()) {
        let mut story = Story::new();
        story.boots(&"r".repeat(25));
        for step in steps {
            let (sent, changed) = (story.sent.len(), story.changes.len());
            story.step(&step);
            for notification in &story.sent[sent..] {
                // An update follows a change that was held back; the others follow one at once.
                proptest::prop_assert!(
                    notification.kind == Kind::Update || story.changes.len() > changed
                );
            }
        }
        let mut open: BTreeMap<(Subject, Family), String> = BTreeMap::new();
        let mut over = Vec::new();
        for notification in &story.sent {
            let incident = &notification.incident;
            let place = (incident.subject, incident.family);
            proptest::prop_assert!(!over.contains(&incident.key), "nothing follows the end");
            match notification.kind {
                Kind::Firing => {
                    proptest::prop_assert!(open.insert(place, incident.key.clone()).is_none());
                }
                Kind::Update => proptest::prop_assert_eq!(open.get(&place), Some(&incident.key)),
                Kind::Resolved => {
                    proptest::prop_assert_eq!(open.remove(&place), Some(incident.key.clone()));
                    proptest::prop_assert!(incident.members.iter().all(|m| m.resolved_at.is_some()));
                    over.push(incident.key.clone());
                }
            }
        }
        let left: Vec<&String> = story.engine.incidents().map(|incident| &incident.key).collect();
        proptest::prop_assert_eq!(left, open.values().collect::<Vec<_>>());
        let firing = story.engine.alerts().any(|alert| alert.firing);
        proptest::prop_assert_eq!(firing, !open.is_empty(), "an alert fires where an incident is open");
        for vm in 0..6 {
            story.lost(FLYING + vm);
        }
        proptest::prop_assert_eq!(story.engine.overdue().count(), 0);
    }

    #[test]
    fn what_is_far_from_a_page_is_not_there_two_bad_boots_later(
        steps in steps(),
        ends in proptest::collection::vec(
            (proptest::bool::ANY, proptest::option::of(0..Failure::ALL.len()), 0..3_usize),
            2,
        ),
    ) {
        let mut story = Story::new();
        story.boots(&"r".repeat(25));
        let mut far = 0;
        // A clock that jumps is another matter: boots may end hours before the newest.
        for step in steps.iter().filter(|step| !matches!(step, Step::Skew(_))) {
            story.step(step);
            if story.engine.is_near_a_page(story.now) {
                continue;
            }
            far += 1;
            let mut then = story.clone();
            for (number, (cli, failure, ready)) in (0..).zip(&ends) {
                let vm_type = if *cli { VmType::Cli } else { VmType::Browser };
                // Nobody waits for the good ones among them.
                for _ in 0..*ready {
                    then.boot_now(vm_type, None);
                }
                match failure {
                    Some(failure) => then.boot_now(vm_type, Some(Failure::ALL[*failure])),
                    None => then.attempt(FLYING + 100 + number, 119_000, REFUSED),
                }
            }
            let (before, after) = (story.paging(), then.paging());
            proptest::prop_assert!(after.is_subset(&before), "{before:?} {after:?}, after {far}");
        }
    }
}

//! What is not affected: how the boots of other kinds do.

use super::per_type::PerType;
use super::{Engine, Incident, Other, Subject};
use crate::core::event::{Timestamp, VmType};
use crate::core::rule::Stretch;
use crate::core::window::Count;

/// How far back boots of the other kinds are counted, and how many where that holds none.
const OTHERS_MS: i64 = 3_600_000;
const OTHERS_LAST: usize = 20;
/// A kind of VM of whose boots no more than this share failed since an incident's end is well again.
const RECOVERED_SHARE: f64 = 0.05;

impl Engine {
    /// Boots of the other kinds, or of all where it is about none, to say what is not affected.
    pub(super) fn others(&self, subject: Subject, now: Timestamp) -> Vec<Other> {
        self.types
            .iter()
            .filter(|(other, of_type)| subject.vm_type() != Some(**other) && of_type.ever_ready)
            .filter_map(|(other, of_type)| {
                let newest_at = of_type.newest?;
                let hour = of_type
                    .window
                    .within(newest_at.max(now), OTHERS_MS, |_| true);
                let (count, stretch) = if hour.of > 0 {
                    (hour, Stretch::Span(OTHERS_MS))
                } else {
                    let last = of_type.window.last(Timestamp::MIN).take(OTHERS_LAST);
                    let count = Count::of(last);
                    (count, Stretch::Last(count.of))
                };
                (count.of > 0).then_some(Other {
                    vm_type: *other,
                    count,
                    stretch,
                    newest_at,
                    recovered: self.has_recovered(*other, of_type),
                })
            })
            .collect()
    }

    /// Whether boots of that kind failed, and do no more: no incident about it is open, and since the end of the last one
    /// hardly any failed.
    fn has_recovered(&self, vm_type: VmType, of_type: &PerType) -> bool {
        let fails = |incident: &&Incident| {
            incident.subject == Subject::Boots(vm_type) && incident.asks_why()
        };
        if self.incidents.values().any(|incident| fails(&incident)) {
            return false;
        }
        let over = self.closed.iter().filter(fails);
        let over = over.filter_map(|incident| Some(incident.over_since(incident.resolved_at?)));
        let Some(over) = over.max() else { return false };
        Count::of(of_type.window.last(over)).share() <= RECOVERED_SHARE
    }
}

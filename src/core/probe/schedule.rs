//! When which VM is looked at, and for what.
//!
//! A VM that boots, that the controller has given up, or that does not pass is looked at quickly, by the two checks
//! that cost it nearly nothing (`connect`, `health`); quickly has an end, so that a VM that stays broken is not knocked
//! at for ever. Everything else comes once an interval. Each VM has a fixed place within the interval, drawn from its
//! id, so that neither VMs nor sidecars move in step; a look that is still under way when the next is due lets that one
//! pass, and nothing is made up for afterwards.
//!
//! VNC is asked a few times a VM and then no more: a server counts connections that never log in, and after five of
//! them shuts out the host from which they came, which is also the host that carries the users' connections. So what is
//! known of a VM is kept when the VM is no longer told of, and stands again if it comes back: while the log cannot be
//! read, nobody is a target.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use super::{Check, Look, ProbeResult, Verdict};
use crate::core::event::{Timestamp, VmId};

/// VMs that are followed at most: more than a controller has addresses.
pub const MOST_TARGETS: usize = 512;
/// Quick looks in a row.
const MOST_QUICK: u32 = 90;
/// Connections to a VM's VNC: TigerVNC shuts out after five that do not log in, and a restart forgets these.
pub const MOST_VNC: u32 = 2;
/// The place within the interval moves by so much, in thousandths, from look to look.
const WANDER: i64 = 50;

const QUICK: &[Check] = &[Check::Connect, Check::Health, Check::Negative];

/// Why a VM is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It has an address and is not ready yet.
    InFlight,
    /// The controller gave it up, and it is still there.
    GivenUp,
    Running,
}

/// A VM that may be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub vm: VmId,
    pub ip: Ipv4Addr,
    pub standing: Standing,
}

/// A look that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub target: Target,
    pub checks: Vec<Check>,
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    pub interval_ms: i64,
    pub quick_ms: i64,
}

#[derive(Clone, Debug)]
struct Entry {
    target: Target,
    due: Timestamp,
    /// When the next look at everything is due.
    whole_due: Timestamp,
    under_way: bool,
    quick: u32,
    vnc: u32,
    looks: u32,
    failing: bool,
}

#[derive(Clone, Debug)]
pub struct Schedule {
    pace: Pace,
    entries: BTreeMap<VmId, Entry>,
    /// VMs that are no targets any more, oldest first.
    gone: VecDeque<Entry>,
    skipped: u64,
}

impl Schedule {
    #[must_use]
    pub fn new(pace: Pace) -> Schedule {
        Schedule {
            pace,
            entries: BTreeMap::new(),
            gone: VecDeque::new(),
            skipped: 0,
        }
    }

    /// The VMs that there are now. One that is gone is not looked at, and goes on where it was if it comes back; one whose
    /// address or standing is another begins anew, but for what its VNC has counted.
    pub fn targets(&mut self, targets: impl IntoIterator<Item = Target>, now: Timestamp) {
        let mut kept = BTreeMap::new();
        for target in targets {
            if kept.len() == MOST_TARGETS {
                break;
            }
            let entry = match self.known(target.vm, now) {
                Some(entry) if entry.target == target => entry,
                Some(before) if before.target.ip == target.ip => Entry {
                    target,
                    due: before.due.min(self.first(target, now)),
                    quick: 0,
                    ..before
                },
                _ => Entry {
                    target,
                    due: self.first(target, now),
                    whole_due: self.first(target, now),
                    under_way: false,
                    quick: 0,
                    vnc: 0,
                    looks: 0,
                    failing: false,
                },
            };
            kept.insert(target.vm, entry);
        }
        for (_, entry) in std::mem::replace(&mut self.entries, kept) {
            self.gone.push_back(entry);
        }
        let surplus = self.gone.len().saturating_sub(MOST_TARGETS);
        self.gone.drain(..surplus);
    }

    fn known(&mut self, vm: VmId, now: Timestamp) -> Option<Entry> {
        if let Some(entry) = self.entries.remove(&vm) {
            return Some(entry);
        }
        let at = self.gone.iter().position(|entry| entry.target.vm == vm)?;
        let mut entry = self.gone.remove(at)?;
        // What fell into its absence was nobody's to do.
        let interval = self.pace.interval_ms.max(1);
        let behind = now.since(entry.whole_due).max(0);
        let missed = behind / interval + i64::from(behind % interval > 0);
        entry.whole_due = entry.whole_due.plus_ms(missed * interval);
        entry.due = match entry.target.standing {
            Standing::InFlight | Standing::GivenUp => now,
            Standing::Running => entry.whole_due,
        };
        Some(entry)
    }

    /// A boot does not wait for its place in the interval.
    fn first(&self, target: Target, now: Timestamp) -> Timestamp {
        match target.standing {
            Standing::InFlight | Standing::GivenUp => now,
            Standing::Running => now.plus_ms(self.place(target.vm, 0)),
        }
    }

    /// A VM's place in the interval, moved a little from look to look.
    fn place(&self, vm: VmId, look: u32) -> i64 {
        let span = self.pace.interval_ms.max(1);
        let fixed = i64::try_from(vm.0 % u128::try_from(span).unwrap_or(1)).unwrap_or(0);
        let turn = (vm.0 >> 64).wrapping_add(u128::from(look).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let thousandths = i64::try_from(turn % 101).unwrap_or(0) * WANDER / 50 - WANDER;
        (fixed + span * thousandths / 1_000).max(0)
    }

    /// Hands out up to `most` looks that are due; each is under way until it is `done` or `dropped`.
    pub fn due(&mut self, now: Timestamp, most: usize) -> Vec<Order> {
        let mut orders = Vec::new();
        let mut late: Vec<(Timestamp, VmId)> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.under_way && entry.due <= now)
            .map(|(vm, entry)| (entry.due, *vm))
            .collect();
        late.sort_unstable();
        for (_, vm) in late.into_iter().take(most) {
            let Some(entry) = self.entries.get_mut(&vm) else {
                continue;
            };
            entry.under_way = true;
            let whole = entry.whole_due <= now;
            let mut checks = QUICK.to_vec();
            if whole {
                checks.push(Check::VncWeb);
                if entry.vnc < MOST_VNC {
                    checks.push(Check::Vnc);
                }
            }
            orders.push(Order {
                target: entry.target,
                checks,
            });
        }
        orders
    }

    /// A look has ended.
    pub fn done(&mut self, target: Target, look: &Look, now: Timestamp) {
        let (pace, quick_end) = (self.pace, MOST_QUICK);
        let next_whole = |entry: &Entry, schedule: &Schedule| {
            let wander =
                schedule.place(entry.target.vm, entry.looks) - schedule.place(entry.target.vm, 0);
            entry.whole_due.plus_ms(
                pace.interval_ms + wander.clamp(-pace.interval_ms / 20, pace.interval_ms / 20),
            )
        };
        let vnc = look.of(Check::Vnc);
        let counted = u32::from(vnc.is_some_and(|vnc| is_counted_by_vnc(vnc.result)));
        let Some(mut entry) = self.entries.remove(&target.vm) else {
            let mut gone = self.gone.iter_mut();
            if let Some(entry) = gone.find(|entry| entry.target.vm == target.vm)
                && entry.target.ip == target.ip
            {
                entry.under_way = false;
                entry.vnc += counted;
            }
            return;
        };
        if entry.target.ip != target.ip {
            self.entries.insert(target.vm, entry);
            return;
        }
        entry.under_way = false;
        entry.looks = entry.looks.wrapping_add(1);
        entry.vnc += counted;
        entry.failing = [Check::Connect, Check::Health]
            .into_iter()
            .filter_map(|check| look.of(check))
            .any(|checked| checked.result.verdict() == Verdict::Failed);
        if look.of(Check::VncWeb).is_some() {
            let mut whole = next_whole(&entry, self);
            if whole <= now {
                // What was overrun is let pass.
                let missed = now.since(whole) / pace.interval_ms.max(1) + 1;
                self.skipped += u64::try_from(missed).unwrap_or(0);
                whole = whole.plus_ms(missed * pace.interval_ms);
            }
            entry.whole_due = whole;
        }
        let eager = entry.failing || entry.target.standing != Standing::Running;
        entry.due = match eager && entry.quick < quick_end {
            true => {
                entry.quick += 1;
                now.plus_ms(pace.quick_ms).min(entry.whole_due)
            }
            false => entry.whole_due.max(now),
        };
        if !eager {
            entry.quick = 0;
        }
        self.entries.insert(target.vm, entry);
    }

    /// When `due` next has something.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.entries
            .values()
            .filter(|entry| !entry.under_way)
            .map(|entry| entry.due)
            .min()
    }

    /// Looks that were let pass because the one before was still under way.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A VNC that took the connection has counted it, whatever it said.
#[must_use]
pub fn is_counted_by_vnc(result: ProbeResult) -> bool {
    !matches!(
        result,
        ProbeResult::Refused
            | ProbeResult::HostUnreachable
            | ProbeResult::NetUnreachable
            | ProbeResult::Foreign
            | ProbeResult::Skipped
    )
}

#[cfg(test)]
mod tests {
    use super::super::Checked;
    use super::*;

    const PACE: Pace = Pace {
        interval_ms: 30_000,
        quick_ms: 2_000,
    };
    const START: Timestamp = Timestamp(1_760_752_327_000);

    fn target(vm: u128, standing: Standing) -> Target {
        Target {
            vm: VmId(vm),
            ip: Ipv4Addr::new(127, 77, 0, 2),
            standing,
        }
    }

    fn look(order: &Order, result: ProbeResult) -> Look {
        let checked = |check: &Check| Checked::without_contact(*check, 1, result);
        Look {
            ip: order.target.ip,
            at: START,
            resolved_in: None,
            checks: order.checks.iter().map(checked).collect(),
            neighbour: None,
        }
    }

    /// Lets every look take `takes_ms`, and says when each began and for what.
    fn play(
        schedule: &mut Schedule,
        results: impl Fn(u32) -> ProbeResult,
        takes_ms: i64,
        span_ms: i64,
    ) -> Vec<(i64, Vec<Check>)> {
        let mut now = START;
        let mut begun = Vec::new();
        while let Some(due) = schedule.next_due() {
            now = now.max(due);
            if now.since(START) >= span_ms {
                break;
            }
            for order in schedule.due(now, 16) {
                begun.push((now.since(START), order.checks.clone()));
                let result = results(u32::try_from(begun.len()).unwrap());
                now = now.plus_ms(takes_ms);
                schedule.done(order.target, &look(&order, result), now);
            }
        }
        begun
    }

    #[test]
    fn a_vm_that_runs_is_looked_at_once_an_interval_at_its_own_place() {
        let mut firsts = Vec::new();
        for vm in 0..200u128 {
            let vm = vm.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            let mut schedule = Schedule::new(PACE);
            schedule.targets([target(vm, Standing::Running)], START);
            let begun = play(&mut schedule, |_| ProbeResult::Ok, 10, 300_000);
            assert!((9..=11).contains(&begun.len()), "{begun:?}");
            for pair in begun.windows(2) {
                let apart = pair[1].0 - pair[0].0;
                assert!((27_000..=33_100).contains(&apart), "{apart}");
            }
            firsts.push(begun[0].0);
        }
        let early = firsts.iter().filter(|first| **first < 15_000).count();
        assert!((60..=140).contains(&early), "half of them: {early}");
    }

    #[test]
    fn a_boot_is_looked_at_at_once_and_quickly_and_not_for_ever() {
        let mut schedule = Schedule::new(PACE);
        schedule.targets([target(7, Standing::InFlight)], START);
        let begun = play(&mut schedule, |_| ProbeResult::Refused, 0, 1_000_000);
        assert_eq!(begun[0].0, 0);
        assert_eq!(begun[1].0, 2_000);
        let late = begun.iter().filter(|(at, _)| *at > 500_000).count();
        assert!(late <= 18, "an interval apart by then: {late}");
        let quick = begun.iter().filter(|(_, checks)| checks == QUICK).count();
        assert!(quick > 50, "most of them by the cheap checks: {quick}");
    }

    #[test]
    fn a_vm_that_passes_again_is_left_in_peace_again() {
        let mut schedule = Schedule::new(PACE);
        schedule.targets([target(0, Standing::Running)], START);
        let result = |look| match look {
            1..=3 => ProbeResult::Refused,
            _ => ProbeResult::Ok,
        };
        let begun = play(&mut schedule, result, 0, 100_000);
        let times: Vec<i64> = begun.iter().map(|(at, _)| *at).collect();
        assert_eq!(times[1] - times[0], 2_000, "{times:?}");
        assert_eq!(times[2] - times[1], 2_000, "{times:?}");
        assert_eq!(times[3] - times[2], 2_000, "{times:?}");
        assert!(times[4] - times[3] > 20_000, "{times:?}");
    }

    #[test]
    fn vnc_is_connected_to_a_few_times_and_no_more() {
        let vnc = |begun: &[(i64, Vec<Check>)]| {
            let with = |checks: &Vec<Check>| checks.contains(&Check::Vnc);
            begun.iter().filter(|(_, checks)| with(checks)).count()
        };
        let mut schedule = Schedule::new(PACE);
        schedule.targets([target(9, Standing::Running)], START);
        let begun = play(&mut schedule, |_| ProbeResult::Ok, 0, 3_000_000);
        assert_eq!(vnc(&begun), 2);
        // A port that refuses counts nothing, and may be asked again.
        let mut schedule = Schedule::new(PACE);
        schedule.targets([target(9, Standing::Running)], START);
        let begun = play(&mut schedule, |_| ProbeResult::Refused, 0, 3_000_000);
        assert!(vnc(&begun) > 50);
    }

    #[test]
    fn looks_that_overrun_let_the_next_pass_and_make_nothing_up() {
        let mut schedule = Schedule::new(PACE);
        schedule.targets([target(3, Standing::Running)], START);
        let begun = play(&mut schedule, |_| ProbeResult::Ok, 89_000, 900_000);
        assert!(begun.len() <= 10, "two of three pass: {begun:?}");
        assert!(schedule.skipped() >= 16, "{}", schedule.skipped());
        for pair in begun.windows(2) {
            assert!(pair[1].0 - pair[0].0 >= 85_000, "{begun:?}");
        }
    }

    #[test]
    fn a_vm_is_never_looked_at_twice_at_a_time_and_forgotten_when_it_is_gone() {
        let mut schedule = Schedule::new(PACE);
        schedule.targets([target(3, Standing::InFlight)], START);
        let orders = schedule.due(START, 16);
        assert_eq!(orders.len(), 1);
        assert!(schedule.due(START.plus_ms(100_000), 16).is_empty());
        assert_eq!(schedule.next_due(), None);
        schedule.targets([], START);
        assert!(schedule.is_empty());
        schedule.done(orders[0].target, &look(&orders[0], ProbeResult::Ok), START);
        assert!(schedule.is_empty(), "a late answer brings nobody back");
    }

    /// While the log cannot be read there are no targets: a server would count us anew each time it can be.
    #[test]
    fn a_vm_that_was_away_goes_on_where_it_was() {
        let mut schedule = Schedule::new(PACE);
        let mut now = START;
        let mut vnc = 0;
        for _ in 0..50 {
            schedule.targets([target(9, Standing::Running)], now);
            now = now.max(schedule.next_due().unwrap());
            for order in schedule.due(now, 16) {
                vnc += usize::from(order.checks.contains(&Check::Vnc));
                // It goes away before the look has ended as often as after.
                if vnc % 2 == 0 {
                    schedule.targets([], now);
                }
                schedule.done(order.target, &look(&order, ProbeResult::Ok), now);
            }
            schedule.targets([], now);
            assert!(schedule.is_empty());
            assert_eq!(schedule.next_due(), None);
            now = now.plus_ms(600_000);
        }
        assert_eq!(vnc, 2);
        assert_eq!(schedule.skipped(), 0, "nothing was overrun");
    }

    #[test]
    fn a_look_that_is_under_way_while_its_vm_is_away_is_not_begun_again() {
        let mut schedule = Schedule::new(PACE);
        schedule.targets([target(3, Standing::InFlight)], START);
        let orders = schedule.due(START, 16);
        schedule.targets([], START);
        schedule.targets([target(3, Standing::InFlight)], START);
        assert!(schedule.due(START.plus_ms(9_000), 16).is_empty());
        schedule.done(orders[0].target, &look(&orders[0], ProbeResult::Ok), START);
        assert_eq!(schedule.due(START.plus_ms(9_000), 16).len(), 1);
    }

    #[test]
    fn those_that_are_gone_are_remembered_up_to_a_bound() {
        let mut schedule = Schedule::new(PACE);
        for vm in 0..5_000u128 {
            schedule.targets([target(vm, Standing::Running)], START);
        }
        assert_eq!(schedule.gone.len(), MOST_TARGETS);
    }

    #[test]
    fn a_boot_that_is_given_up_is_looked_at_quickly_anew() {
        let mut schedule = Schedule::new(PACE);
        schedule.targets([target(3, Standing::InFlight)], START);
        play(&mut schedule, |_| ProbeResult::Refused, 0, 400_000);
        let later = START.plus_ms(400_001);
        schedule.targets([target(3, Standing::GivenUp)], later);
        assert_eq!(schedule.due(later, 16).len(), 1);
    }

    #[test]
    fn more_vms_than_a_controller_can_have_are_not_followed() {
        let mut schedule = Schedule::new(PACE);
        let many = (0..10_000u128).map(|vm| target(vm, Standing::Running));
        schedule.targets(many, START);
        assert_eq!(schedule.len(), MOST_TARGETS);
    }
}

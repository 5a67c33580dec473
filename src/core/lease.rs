//! Which VM owned an address, and which wait a line on that address belongs to.
//!
//! Health lines carry only the address, and addresses are reused: the pool starts again after a restart, and a
//! cancelled boot goes on polling an address that another VM already has. What tells two waits on one address apart is
//! their start: the time of a line minus its `elapsed`. A line's stamp has whole seconds, so each line gives a range
//! for its wait's start; the ranges of one wait overlap, and their intersection soon is narrow.

use std::net::Ipv4Addr;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::core::event::{Timestamp, WaitLimits};
use crate::core::saved::{Changes, RestoreError, Saved, Touched};

/// A boot in the tracker's table.
pub type Slot = u32;

/// Between reading `elapsed` and stamping the line the controller may be busy for this long.
const SLACK_MS: i64 = 400;
/// Times that come from two stamps of whole seconds may seem to be out of order by this much.
pub const GRAIN_MS: i64 = 2_000;
/// A copy of an image freezes the controller for no longer.
pub const FROZEN_MS: i64 = 90_000;
/// A line whose range misses the only open wait by more than this is not its line.
const TOLERANCE_MS: i64 = 4_000;
/// Two lines of one wait are at most an attempt and a pause apart, unless the controller is busy.
const MAX_STEP_MS: u32 = 30_000;
/// Boots remembered per address.
const MAX_HOLDERS: usize = 8;
const MAX_WAITS: usize = 8;
/// The ends of two attempts of one wait are never so close by their stamps: the controller pauses for two seconds between
/// them. What one attempt says at its end may cross a second where stamps are whole seconds.
const APART_MS: i64 = 1_500;
/// The key of a saved address begins so.
const ADDRESS: &str = "address/";
/// So many addresses may have waits whose boot is unknown.
pub const MAX_ADDRESSES: usize = 20_000;

/// One run of the controller's readiness loop on an address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Wait {
    /// `None`: whose wait it is cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// The start lies in this range.
    pub earliest: Timestamp,
    pub latest: Timestamp,
    /// When it started by the clock of the lines before, where the log's clock was set since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    pub limits: WaitLimits,
    /// `elapsed` of the attempt that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempting: Option<u32>,
    /// The status of the answer that the attempt under way got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<u16>,
    /// The last attempt's agent was fine and VNC was not.
    pub vnc_reported: bool,
    pub last_seen: Timestamp,
    /// The last `elapsed` of its lines.
    pub last_elapsed: u32,
    /// The clock was set back behind the wait's beginning, and the controller's own count with it: how long anything took
    /// since, nobody knows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncounted: bool,
    /// The stamp of the line that told how its last attempt ended, if none of a later `elapsed` has come: the same line again
    /// is a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_at: Option<Timestamp>,
    /// The controller has started again since its last line.
    pub orphaned: bool,
}

impl Wait {
    /// The best guess of when the wait started.
    #[must_use]
    pub fn start(&self) -> Timestamp {
        Timestamp(self.earliest.0 + (self.latest.0 - self.earliest.0) / 2)
    }

    /// How far the log's clock was set since the wait started.
    #[must_use]
    pub fn clock_set_ms(&self) -> i64 {
        let start = self.start();
        self.began.map_or(0, |began| start.since(began))
    }

    /// When a line without `elapsed` came. Its stamp tells, unless the clock was set since the last line: nothing comes
    /// before that line's `elapsed`, and no wait goes on long after its deadline. Then it came with that line.
    #[must_use]
    pub fn time_of(&self, stamp: Timestamp) -> Timestamp {
        if self.uncounted {
            return stamp;
        }
        let last_ms = i64::from(self.last_elapsed);
        let most_ms = last_ms.max(self.limits.deadline_ms.map_or(0, i64::from)) + FROZEN_MS;
        match stamp.since(self.start()) {
            after if (last_ms - GRAIN_MS..=most_ms).contains(&after) => stamp,
            _ => self.start().plus_ms(last_ms),
        }
    }

    /// How far the range that a line gives lies outside this wait's; 0 if they overlap.
    fn miss(&self, earliest: Timestamp, latest: Timestamp) -> i64 {
        (earliest.0 - self.latest.0)
            .max(self.earliest.0 - latest.0)
            .max(0)
    }

    /// Whether a line at `stamp` can only tell anew how the last attempt ended, as the next one ends a pause later.
    #[must_use]
    pub fn was_told(&self, stamp: Timestamp) -> bool {
        self.told_at
            .is_some_and(|told| stamp.since(told).abs() < APART_MS)
    }

    fn spoke(&mut self, at: Timestamp, elapsed_ms: u32) {
        self.last_seen = at;
        if elapsed_ms != self.last_elapsed {
            self.told_at = None;
        }
        self.last_elapsed = elapsed_ms;
        self.orphaned = false;
    }

    fn narrow(&mut self, earliest: Timestamp, latest: Timestamp) {
        let (from, to) = (self.earliest.max(earliest), self.latest.min(latest));
        if from <= to {
            self.earliest = from;
            self.latest = to;
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Address {
    /// Who was given the address, newest last.
    pub holders: Vec<Slot>,
    pub waits: Vec<Wait>,
}

#[derive(Clone, Debug, Default)]
pub struct Addresses {
    map: HashMap<Ipv4Addr, Address>,
    /// Addresses that changed since they were last saved.
    touched: Touched<Ipv4Addr>,
}

/// The range of a wait's start that a line at `at` with `elapsed` gives.
fn range(at: Timestamp, elapsed_ms: u32) -> (Timestamp, Timestamp) {
    let elapsed = i64::from(elapsed_ms);
    (
        Timestamp(at.0 - elapsed - SLACK_MS),
        Timestamp(at.0 + 999 - elapsed),
    )
}

impl Addresses {
    /// The address, about to be changed.
    fn get_mut(&mut self, ip: Ipv4Addr) -> Option<&mut Address> {
        let address = self.map.get_mut(&ip)?;
        self.touched.mark(ip);
        Some(address)
    }

    fn entry(&mut self, ip: Ipv4Addr) -> &mut Address {
        self.touched.mark(ip);
        self.map.entry(ip).or_default()
    }

    pub fn lease(&mut self, ip: Ipv4Addr, slot: Slot) {
        let address = self.entry(ip);
        if address.holders.last() == Some(&slot) {
            return;
        }
        address.holders.retain(|holder| *holder != slot);
        if address.holders.len() == MAX_HOLDERS {
            address.holders.remove(0);
        }
        address.holders.push(slot);
    }

    #[must_use]
    pub fn holders(&self, ip: Ipv4Addr) -> &[Slot] {
        self.map.get(&ip).map_or(&[], |address| &address.holders)
    }

    /// Opens a wait that began within the second of `at`, `elapsed_ms` before it.
    pub fn open(
        &mut self,
        ip: Ipv4Addr,
        slot: Option<Slot>,
        at: Timestamp,
        elapsed_ms: u32,
        limits: WaitLimits,
    ) -> &mut Wait {
        let (earliest, latest) = range(at, elapsed_ms);
        let waits = &mut self.entry(ip).waits;
        if waits.len() == MAX_WAITS {
            waits.remove(0);
        }
        waits.push(Wait {
            slot,
            earliest,
            latest,
            began: None,
            limits,
            attempting: None,
            answered: None,
            vnc_reported: false,
            last_seen: at,
            last_elapsed: elapsed_ms,
            uncounted: false,
            told_at: None,
            orphaned: false,
        });
        let last = waits.len() - 1;
        &mut waits[last]
    }

    /// The open wait that a line with `elapsed` belongs to, its range narrowed by the line.
    pub fn by_elapsed(
        &mut self,
        ip: Ipv4Addr,
        at: Timestamp,
        elapsed_ms: u32,
    ) -> Option<&mut Wait> {
        let (earliest, latest) = range(at, elapsed_ms);
        let waits = &mut self.get_mut(ip)?.waits;
        let best = waits
            .iter()
            .enumerate()
            .map(|(index, wait)| {
                (
                    wait.miss(earliest, latest),
                    (wait.start().0 - earliest.0 - 700).abs(),
                    index,
                )
            })
            .min()?;
        if best.0 > TOLERANCE_MS {
            return None;
        }
        let wait = &mut waits[best.2];
        wait.narrow(earliest, latest);
        wait.spoke(at, elapsed_ms);
        Some(wait)
    }

    /// The address' lone wait, if a line with `elapsed` carries it on although its time does not fit: the log's clock
    /// was set. The wait's start is told anew by the line.
    pub fn carried_on(
        &mut self,
        ip: Ipv4Addr,
        at: Timestamp,
        elapsed_ms: u32,
    ) -> Option<&mut Wait> {
        let [wait] = self.get_mut(ip)?.waits.as_mut_slice() else {
            return None;
        };
        let step = elapsed_ms.checked_sub(wait.last_elapsed)?;
        // At first it had to be silent.
        let delay = wait
            .limits
            .initial_delay_ms
            .saturating_sub(wait.last_elapsed);
        if step > MAX_STEP_MS.saturating_add(delay) {
            return None;
        }
        wait.began = wait.began.or(Some(wait.start()));
        (wait.earliest, wait.latest) = range(at, elapsed_ms);
        wait.spoke(at, elapsed_ms);
        Some(wait)
    }

    /// The controller has started again: no wait's next line can be taken for granted.
    pub fn orphan(&mut self) {
        for (ip, address) in &mut self.map {
            for wait in &mut address.waits {
                wait.orphaned = true;
                self.touched.mark(*ip);
            }
        }
    }

    /// The open wait whose attempt is under way: for answers, which carry no `elapsed`.
    pub fn attempting(&mut self, ip: Ipv4Addr, at: Timestamp) -> Option<&mut Wait> {
        let waits = &mut self.get_mut(ip)?.waits;
        // Of several, the one that already has its answer, then the one that waits longest.
        let best = waits
            .iter()
            .enumerate()
            .filter(|(_, wait)| wait.attempting.is_some() || wait.vnc_reported)
            .min_by_key(|(_, wait)| (wait.orphaned, wait.answered.is_none(), wait.last_seen))
            .map(|(index, _)| index)
            .or(if waits.len() == 1 { Some(0) } else { None })?;
        let wait = &mut waits[best];
        wait.last_seen = at;
        Some(wait)
    }

    /// Ends and hands out the wait that ran into its deadline at `at`.
    pub fn take_timed_out(
        &mut self,
        ip: Ipv4Addr,
        at: Timestamp,
        deadline_ms: Option<u32>,
    ) -> Option<Wait> {
        let waits = &mut self.get_mut(ip)?.waits;
        let best = waits
            .iter()
            .enumerate()
            .map(|(index, wait)| {
                let other_limit = deadline_ms.is_some() && wait.limits.deadline_ms != deadline_ms;
                // It ends up to an attempt and a pause after its deadline, never before it.
                let over = at.0 + 999 - wait.start().0 - i64::from(deadline_ms.unwrap_or(0));
                (
                    other_limit || wait.orphaned,
                    over < -1_000,
                    wait.attempting.is_some(),
                    over.abs(),
                    index,
                )
            })
            .min()?;
        // A lone wait far from its deadline is not the one that timed out.
        if best.1 && best.3 > 15_000 {
            return None;
        }
        Some(waits.remove(best.4))
    }

    /// Ends and hands out the wait of a boot.
    pub fn take_wait_of(&mut self, ip: Ipv4Addr, slot: Slot) -> Option<Wait> {
        let waits = &mut self.get_mut(ip)?.waits;
        let index = waits.iter().position(|wait| wait.slot == Some(slot))?;
        Some(waits.remove(index))
    }

    pub fn wait_of(&mut self, ip: Ipv4Addr, slot: Slot) -> Option<&mut Wait> {
        self.get_mut(ip)?
            .waits
            .iter_mut()
            .find(|wait| wait.slot == Some(slot))
    }

    /// Ends and hands out the wait that `attempting` would choose.
    pub fn take_attempting(&mut self, ip: Ipv4Addr, at: Timestamp) -> Option<Wait> {
        let chosen = self.attempting(ip, at)?.earliest;
        let waits = &mut self.get_mut(ip)?.waits;
        let index = waits
            .iter()
            .position(|wait| wait.earliest == chosen && wait.last_seen == at)?;
        Some(waits.remove(index))
    }

    /// The boot is forgotten. A wait of its that goes on stays as nobody's, or its lines would become another's.
    pub fn forget(&mut self, ip: Ipv4Addr, slot: Slot) {
        let room = self.map.len() < MAX_ADDRESSES;
        let Some(address) = self.get_mut(ip) else {
            return;
        };
        address.holders.retain(|holder| *holder != slot);
        address.waits.retain(|wait| room || wait.slot != Some(slot));
        for wait in &mut address.waits {
            wait.slot = wait.slot.filter(|known| *known != slot);
        }
        if address.holders.is_empty() && address.waits.is_empty() {
            self.map.remove(&ip);
        }
    }

    /// Drops waits that no line has touched since `before`: their end was lost.
    pub fn expire(&mut self, before: Timestamp) {
        let touched = &mut self.touched;
        self.map.retain(|ip, address| {
            let waits = address.waits.len();
            address.waits.retain(|wait| wait.last_seen >= before);
            let kept = !(address.holders.is_empty() && address.waits.is_empty());
            if !kept || address.waits.len() < waits {
                touched.mark(*ip);
            }
            kept
        });
    }

    /// Every address is to be saved again.
    pub(in crate::core) fn touch_all(&mut self) {
        self.touched = Touched::default();
    }

    pub(in crate::core) fn all_touched(&self) -> bool {
        self.touched.is_everything()
    }

    /// Hands out the changed addresses.
    pub(in crate::core) fn save(&mut self, changes: &mut Changes) {
        for ip in self.touched.take(self.map.keys().copied()) {
            changes.put_or_remove(format!("{ADDRESS}{ip}"), self.map.get(&ip));
        }
    }

    /// Takes back one saved address; false if the key is not one's. `slots` is the number of slots that there can be.
    pub(in crate::core) fn restore(
        &mut self,
        saved: &Saved,
        key: &str,
        text: &str,
        slots: Slot,
    ) -> Result<bool, RestoreError> {
        let Some(ip) = key.strip_prefix(ADDRESS) else {
            return Ok(false);
        };
        let Ok(ip) = ip.parse() else {
            return Err(saved.contradiction(key, "it names no address"));
        };
        let address: Address = saved.read(key, text)?;
        let waiting = address.waits.iter().filter_map(|wait| wait.slot);
        let known = address
            .holders
            .iter()
            .copied()
            .chain(waiting)
            .all(|slot| slot < slots);
        saved.ensure(known, key, "it belongs to a boot that cannot be")?;
        let bounded = address.holders.len() <= MAX_HOLDERS && address.waits.len() <= MAX_WAITS;
        saved.ensure(bounded, key, "it has more boots than an address can have")?;
        self.map.insert(ip, address);
        Ok(true)
    }

    /// As it was saved: nothing has changed yet.
    pub(in crate::core) fn restored(&mut self) {
        self.touched = Touched::nothing();
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

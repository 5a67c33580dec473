//! The program is killed in the midst of a run, again and again: nothing of ours remains, and nobody else is touched.

use std::collections::BTreeMap;
use std::time::Duration;

use bootwatch::simulator::{Habit, Version};

use super::world::{OTHER, World, account, eventually};

const KILLS: u32 = 50;

/// A small generator, so that a failing moment can be had again.
fn dice(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// In each round the account is used by somebody else as well, before the kill and after it. VMs live for an hour of
/// the controller's time unless somebody cancels their session.
#[test]
fn killed_at_fifty_moments_nothing_of_ours_is_left_and_no_other_vm_is_touched() {
    let accounts = (0..KILLS).map(account).chain([OTHER.to_owned()]).collect();
    let world = World::start_with(Version::Oct, Habit::Usual, "healthy", 3_600_000, accounts);
    let mut seed = 0x5eed_2025_1018_u64;
    let mut foreign = Vec::new();
    let mut states: BTreeMap<String, u32> = BTreeMap::new();
    for round in 0..KILLS {
        let account = account(round);
        let name = format!("round-{round}");
        if round % 10 == 0 {
            foreign.push(world.boots(OTHER));
        }
        let before = world.boots(&account);
        let mut program = world.program(&name, &account);
        program.wants_a_run();
        std::thread::sleep(Duration::from_micros(dice(&mut seed) % 1_500_000));
        program.kill();
        let ours: Vec<String> = world
            .sessions(&account)
            .into_iter()
            .filter(|session| *session != before)
            .collect();
        let after = world.boots(&account);
        let spared = [before.clone(), after.clone()];
        program.start();
        // What the log knows of ours by now is cancelled, and its VM goes.
        eventually("nothing of ours is left", || {
            let ours = world.sessions(&account);
            let cancelled = world.cancelled();
            let done = ours
                .iter()
                .filter(|session| !spared.contains(session))
                .all(|session| cancelled.contains(session));
            done && world.standing(&account, &spared).is_empty()
        });
        let view = program.view();
        let state = if ours.is_empty() {
            "before its session"
        } else {
            view["running"]["state"].as_str().unwrap_or("over")
        };
        *states.entry(state.to_owned()).or_default() += 1;
        foreign.extend(spared);
        // Two in a row would be told apart by nobody: the next one is another account's.
        program.kill();
        let touched: Vec<&String> = foreign
            .iter()
            .filter(|session| world.cancelled().contains(session))
            .collect();
        assert!(
            touched.is_empty(),
            "round {round}: {touched:?}\n{}",
            program.errors()
        );
        for session in [&before, &after] {
            world.cancel(session);
        }
        foreign.retain(|session| *session != before && *session != after);
    }
    println!("killed {KILLS} times; afterwards: {states:?}");
}

//! The same plan gives the same bytes, at any speed.

use std::time::Duration;

use bootwatch::core::event::Timestamp;
use bootwatch::simulator::{Happening, Injection, Phase, Plan};
use bootwatch::simulator::{Player, Simulation, Speed, Version};

use crate::simulator::{Lines, START, order, play, scenario};

#[test]
fn the_same_seed_gives_the_same_bytes_at_any_speed() {
    let order = order(5, Version::Oct, 12);
    let (at_once, _) = play(scenario("mixed"), &order);
    assert!(at_once.len() > 100_000);

    let mut simulation = Simulation::new(scenario("mixed").plan(&order));
    let mut lines = Lines::default();
    let mut waited = Vec::new();
    let played = Player::new(Speed::Times(10.0))
        .play_with(
            &mut simulation,
            &mut [&mut lines],
            &mut |_| Ok(()),
            &mut |until| {
                waited.push(until);
                true
            },
        )
        .unwrap();
    assert!(played.to_the_end);
    assert!(lines.0 == at_once);
    assert!(waited.is_sorted());
    // Ten times as fast: the first boot is asked for after a second.
    assert_eq!(waited[0], Duration::ZERO);
    assert!(waited.contains(&Duration::from_millis(100)));
}

#[test]
fn another_seed_gives_other_boots() {
    let (one, _) = play(scenario("healthy"), &order(1, Version::Oct, 3));
    let (two, _) = play(scenario("healthy"), &order(2, Version::Oct, 3));
    assert!(one != two);
}

#[test]
fn a_play_can_be_ended_by_whoever_waits() {
    let mut simulation = Simulation::new(scenario("healthy").plan(&order(1, Version::Oct, 3)));
    let mut lines = Lines::default();
    let played = Player::new(Speed::Times(1.0))
        .play_with(
            &mut simulation,
            &mut [&mut lines],
            &mut |_| Ok(()),
            &mut |until| until < Duration::from_secs(2),
        )
        .unwrap();
    assert!(!played.to_the_end);
    assert!(played.lines > 10);
}

#[test]
fn time_never_runs_backwards() {
    for name in ["mixed", "restart", "clone-timeout", "database-outage"] {
        let simulation = Simulation::new(scenario(name).plan(&order(3, Version::Oct, 40)));
        let times: Vec<Timestamp> = simulation.map(|moment| moment.at).collect();
        assert!(times.is_sorted(), "{name}");
    }
}

#[test]
fn a_plan_composes_an_incident() {
    let phase = Phase {
        from: 1_000,
        rate: 240,
        boots: None,
        lasts: Some(900_000),
        mix: vec![(1, scenario("healthy"))],
    };
    let plan = Plan::new(7, START)
        .injection(Injection::Never)
        .phase(phase)
        .at(300_000, Happening::ImageRebuilt { with_agent: false })
        .at(600_000, Happening::ImageRebuilt { with_agent: true });
    let mut simulation = Simulation::new(plan);
    let lines = simulation.by_ref().count();
    assert!(lines > 1_000);
    for truth in simulation.take_truths() {
        let at = truth.started_at.since(START);
        // A VM is cloned within a second of its start.
        let without = (301_000..600_000).contains(&at);
        let failed = truth.failure.is_some();
        if !(299_000..301_000).contains(&at) && !(599_000..601_000).contains(&at) {
            assert_eq!(failed, without, "{truth:?}");
        }
    }
}

//! The recorded run's own scenarios, simulated with the same figures, give the same verdicts and the same attempts.
//!
//! The fixture holds what the real controller's log says. An attempt that begins just before or just after the agent
//! listens falls to either side, so refusals and the dominant result may each differ by one; nothing else may, and four
//! boots in five are exactly as recorded.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use bootwatch::simulator::{Figures, Happening, Player, Simulation, Speed, Version};
use serde_json::Value;

use crate::simulator::{Lines, order, scenario};
use crate::simulator_scored::analyse;

const RECORDED: &str = include_str!("../fixtures/sample-boots.txt");
const BOOTS: u32 = 12;

type Attempts = BTreeMap<String, i64>;

/// The boots of a row's simulation as JSON, of the VM type that the row is about.
fn simulated(played_as: &str, agent: &str, vm_type: &str) -> Vec<Value> {
    let (name, befalls) = played_as.split_once('+').unwrap_or((played_as, ""));
    let mut figures = Figures::sample();
    if let Some((from, to)) = agent.split_once("..") {
        figures.agent = (from.parse().unwrap(), to.parse().unwrap());
    }
    let mut order = order(41, Version::Oct, BOOTS);
    order.figures = figures;
    // Far apart: a copy that freezes the controller must not delay the next boot's wait.
    order.rate = Some(60);
    let mut boots = Vec::new();
    let plans = match befalls.split_once(' ') {
        None => vec![scenario(name).plan(&order)],
        Some((what, after)) => (0..4)
            .map(|seed| {
                order.seed = seed;
                order.boots = Some(0);
                let happening = match what {
                    "killed" => Happening::Killed { down: 3_000 },
                    "database-lost" => Happening::DatabaseLost,
                    _ => panic!("what is {what}?"),
                };
                let plan = scenario(name).plan(&order).boot(1_000, scenario(name));
                plan.at(1_000 + after.parse::<i64>().unwrap(), happening)
            })
            .collect(),
    };
    for plan in plans {
        let mut lines = Lines::default();
        Player::new(Speed::Max)
            .play(&mut Simulation::new(plan), &mut [&mut lines], &mut |_| {
                Ok(())
            })
            .unwrap();
        let answer = analyse(&lines.0);
        let list = answer["boot_list"].as_array().unwrap().iter();
        boots.extend(list.filter(|boot| boot["vm_type"] == vm_type).cloned());
    }
    boots
}

fn verdict(boot: &Value) -> String {
    let outcome = boot["outcome"].as_str().unwrap();
    match boot["failure"].as_str() {
        Some(failure) => format!("{outcome}/{failure}"),
        None => outcome.to_owned(),
    }
}

fn recorded(attempts: &str) -> Attempts {
    let words = attempts.split(' ').filter_map(|word| word.split_once('='));
    words
        .map(|(result, n)| (result.to_owned(), n.parse().unwrap()))
        .collect()
}

/// The same results, equally often but for an attempt that the agent's start divides.
fn alike(simulated: &Attempts, recorded: &Attempts) -> bool {
    let dominant = recorded.iter().max_by_key(|(_, n)| **n);
    let Some((dominant, _)) = dominant else {
        return simulated.is_empty();
    };
    let of = |attempts: &Attempts, result: &str| attempts.get(result).copied().unwrap_or(0);
    let results = simulated.keys().chain(recorded.keys());
    results.into_iter().all(|result| {
        let apart = (of(simulated, result) - of(recorded, result)).abs();
        apart <= i64::from(result == dominant || result == "ECONNREFUSED")
    })
}

#[test]
fn the_recorded_scenarios_simulated_give_the_same_verdicts_and_attempts() {
    let mut wrong = Vec::new();
    let (mut exact, mut compared) = (0, 0);
    let rows = RECORDED
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    for row in rows {
        let columns: Vec<_> = row.split('|').collect();
        let [name, _, played_as, agent, vm_type, expected, attempts] = columns[..] else {
            panic!("seven columns: {row}");
        };
        let boots = simulated(played_as, agent, vm_type);
        // That story has two healthy boots for each cancelled one.
        let boots: Vec<_> = boots
            .iter()
            .filter(|boot| attempts != "*" || verdict(boot) != "ready")
            .collect();
        assert!(boots.len() >= 3, "{name}: {} boots", boots.len());
        let known: Vec<_> = attempts.split(" / ").map(recorded).collect();
        let mut met = vec![false; known.len()];
        for boot in boots {
            let found = verdict(boot);
            let made: Attempts = serde_json::from_value(boot["attempts"].clone()).unwrap();
            let near = known.iter().position(|known| alike(&made, known));
            compared += 1;
            exact += i32::from(known.contains(&made));
            for (met, known) in met.iter_mut().zip(&known) {
                *met |= alike(&made, known);
            }
            if found != expected || (attempts != "*" && near.is_none()) {
                wrong.push(format!(
                    "{name} as {played_as}: {found} {made:?}; recorded {expected} {attempts}"
                ));
            }
        }
        if attempts != "*" && !met.iter().all(|met| *met) {
            wrong.push(format!("{name}: not every recorded ladder of {attempts}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        exact * 5 >= compared * 4,
        "only {exact} of {compared} exactly as recorded"
    );
}

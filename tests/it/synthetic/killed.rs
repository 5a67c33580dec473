//! The program is killed in the midst of a run, again and again: nothing of ours remains, and nobody else is touched.

use std::collections::BTreeMap;
use std::time::Duration;

use bootwatch::core::synthetic::TrialState;
use bootwatch::simulator::{Habit, Version};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::world::{self, ACCOUNT, OTHER, Program, World, account};

const KILLS: u32 = 50;
/// As long as a run takes to be cancelled, and a little more.
const LONGEST_US: u64 = 2_500_000;
/// As long as it takes until the request is sent, and from then on until it is answered. Much happens there in little time,
/// so half of the kills are early ones; those before the answer wait for the request, however slow the machine is.
const SENT_US: u64 = 25_000;
const ANSWERED_US: u64 = 12_000;
/// Requests of an account that are accepted within so many seconds cannot be told apart.
const APART: i64 = 5;
/// Another number is another fifty moments.
const SEED: &str = "BOOTWATCH_KILL_SEED";

/// A small generator, so that a failing moment can be had again.
fn dice(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// Where the kill met the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Met {
    /// Nothing had reached the controller, whatever was written down.
    BeforeTheCall,
    /// The controller was at it, and had answered nothing that was on the disk.
    Requested,
    Followed,
    Cancelled,
}

impl Met {
    const ALL: [Met; 4] = [
        Met::BeforeTheCall,
        Met::Requested,
        Met::Followed,
        Met::Cancelled,
    ];

    fn of(written: Option<TrialState>, opened: bool) -> Met {
        match written {
            None | Some(TrialState::Intent | TrialState::Requested | TrialState::Joining) => {
                match opened {
                    true => Met::Requested,
                    false => Met::BeforeTheCall,
                }
            }
            Some(TrialState::Following | TrialState::Checking) => Met::Followed,
            Some(TrialState::Cancelling | TrialState::Verifying | TrialState::Done) => {
                Met::Cancelled
            }
        }
    }
}

/// How far the run had come, by what is on the disk.
fn written(program: &Program) -> Option<TrialState> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let state: Option<String> = runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(program.store());
        let mut raw = options.connect().await.unwrap();
        let state =
            // A wish that came too early was written down as skipped.
            sqlx::query_scalar(
                "SELECT state FROM synthetic WHERE state != 'skipped' ORDER BY started_at DESC LIMIT 1",
            )
                .fetch_optional(&mut raw)
                .await
                .unwrap();
        raw.close().await.unwrap();
        state
    });
    state.map(|word| serde_json::from_value(word.into()).unwrap())
}

/// In each round the account is used by somebody else as well, before the kill and after it; in every fifth round so soon
/// after it that the two cannot be told apart: then both may be left alone. VMs live for an hour of the controller's time
/// unless somebody cancels their session.
#[test]
fn killed_at_fifty_moments_nothing_of_ours_is_left_and_no_other_vm_is_touched() {
    let accounts = (0..KILLS).map(account).chain([OTHER.to_owned()]).collect();
    let world = World::start_with(Version::Oct, Habit::Usual, "healthy", 3_600_000, accounts);
    let mut seed = std::env::var(SEED).map_or(0x5eed_2025_1018, |seed| seed.parse().unwrap());
    println!("{SEED}={seed}");
    let mut foreign = Vec::new();
    let mut met: BTreeMap<Met, u32> = BTreeMap::new();
    let mut alone = 0;
    for round in 0..KILLS {
        let account = account(round);
        let name = format!("round-{round}");
        if round % 10 == 0 {
            foreign.push(world.boots(OTHER));
        }
        let before = world.boots(&account);
        world.passes(APART);
        let mut program = world.program(&name, &account);
        program.wants_a_run();
        let longest = match round % 4 {
            0 => SENT_US,
            2 => ANSWERED_US,
            _ => LONGEST_US,
        };
        let moment = Duration::from_micros(dice(&mut seed) % longest);
        let ours = |others: &[&String]| -> Vec<String> {
            let all = world.sessions(&account).into_iter();
            all.filter(|session| !others.contains(&session)).collect()
        };
        if round % 4 == 2 {
            // The answer follows at once.
            world::eventually_every(Duration::from_millis(1), "the request is there", || {
                !ours(&[&before]).is_empty()
            });
        }
        std::thread::sleep(moment);
        program.kill();
        let state = written(&program);
        let hit = Met::of(state, !ours(&[&before]).is_empty());
        println!("round {round}: {hit:?} after {moment:?}: {state:?}");
        *met.entry(hit).or_default() += 1;
        let crowded = round % 5 == 4;
        if !crowded {
            world.passes(APART);
        }
        let after = world.boots(&account);
        let spared = [before.clone(), after.clone()];
        program.start();
        // What the log knows of ours by now is cancelled, and its VM goes.
        let mut is_left_alone = false;
        program.eventually("nothing of ours is left", |view| {
            let reason = view["running"]["reason"].as_str().unwrap_or_default();
            is_left_alone = reason.contains("cannot be told apart");
            assert!(crowded || !is_left_alone, "round {round}: {view:#}");
            let cancelled = world.cancelled();
            let done = ours(&[&before, &after])
                .iter()
                .all(|session| cancelled.contains(session));
            let gone = done && world.standing(&account, &spared).is_empty();
            (gone || is_left_alone).then_some(())
        });
        alone += u32::from(is_left_alone);
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
        // Their owners make room.
        for session in ours(&[]).iter() {
            world.cancel(session);
        }
        foreign.retain(|session| *session != before && *session != after);
    }
    println!("killed {KILLS} times: {met:?}; left alone {alone} times");
    for place in Met::ALL {
        let hits = met.get(&place).copied().unwrap_or(0);
        assert!(hits >= 3, "{place:?}: {hits} of {met:?}");
    }
}

/// The last place where a kill can meet a run: nothing is left to be done, and nothing is done.
#[test]
fn killed_after_its_end_a_run_is_not_cleaned_up_again() {
    let world = World::start(Version::Oct, Habit::Usual, "healthy", 60_000);
    let mut program = world.program("one", ACCOUNT);
    program.wants_a_run();
    program.eventually("the run is over", |view| {
        (view["runs"][0]["cleaned_up"] == true).then_some(())
    });
    world::eventually("its end is written down", || {
        written(&program) == Some(TrialState::Done)
    });
    program.kill();
    let cancelled = world.cancelled();
    let foreign = world.boots(ACCOUNT);
    program.start();
    let run = program.eventually("it is remembered", |view| {
        assert!(view["running"].is_null(), "{view:#}");
        (!view["runs"][0].is_null()).then(|| view["runs"][0].clone())
    });
    assert_eq!(
        (&run["result"], &run["cleaned_up"]),
        (&"passed".into(), &true.into()),
        "{run}"
    );
    world.passes(APART);
    assert!(program.view()["running"].is_null());
    assert_eq!(world.cancelled(), cancelled, "{foreign} was not touched");
}

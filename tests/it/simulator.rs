//! What the simulator's modules share: plans to play, and their bytes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bootwatch::core::event::Timestamp;
use bootwatch::simulator::player::Face;
use bootwatch::simulator::scenario::{SCENARIOS, find};
use bootwatch::simulator::{
    Figures, Happened, Moment, Order, Player, Scenario, Simulation, Speed, Truth, Version,
};

/// 2026-01-05T07:50:00Z: ten minutes before an hour, so that every clock-driven task runs in a short play.
pub(crate) const START: Timestamp = Timestamp(1_767_599_400_000);

pub(crate) fn scenario(name: &str) -> &'static Scenario {
    find(name).unwrap_or_else(|| panic!("no scenario {name}"))
}

pub(crate) fn order(seed: u64, version: Version, boots: u32) -> Order {
    Order {
        seed,
        start: START,
        version,
        figures: Figures::sample(),
        boots: Some(boots),
        lasts: None,
        rate: None,
    }
}

/// The scenarios that a version can play.
pub(crate) fn scenarios(version: Version) -> impl Iterator<Item = &'static Scenario> {
    SCENARIOS
        .iter()
        .filter(move |row| row.needs.is_none_or(|needs| needs == version))
}

/// The log file's bytes and the truths.
pub(crate) fn play(scenario: &'static Scenario, order: &Order) -> (Vec<u8>, Vec<Truth>) {
    let mut simulation = Simulation::new(scenario.plan(order));
    let mut lines = Lines::default();
    let mut truths = Vec::new();
    Player::new(Speed::Max)
        .play(&mut simulation, &mut [&mut lines], &mut |truth| {
            truths.push(truth);
            Ok(())
        })
        .unwrap();
    (lines.0, truths)
}

/// A face that keeps the plain lines.
#[derive(Default)]
pub(crate) struct Lines(pub(crate) Vec<u8>);

impl Face for Lines {
    fn show(&mut self, moment: &Moment) -> std::io::Result<()> {
        if let Happened::Line(record) = &moment.what {
            let at = jiff::Timestamp::from_millisecond(moment.at.0).unwrap();
            let stamp = at.strftime("%Y-%m-%d %H:%M:%S").to_string();
            record.write_plain(&mut self.0, stamp.as_bytes());
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

//! Shows a simulation's moments on faces, at a chosen speed.
//!
//! The speed changes when bytes are written, never which: the only thing that waits is the function passed in.

use std::io;
use std::thread;
use std::time::Duration;

use super::api::Inbox;
use super::simulation::{Happened, Moment, Simulation};
use super::truth::Truth;
use crate::clock::Stopwatch;

/// Where moments are shown.
pub trait Face {
    fn show(&mut self, moment: &Moment) -> io::Result<()>;

    /// Called before every pause, and at the end.
    fn flush(&mut self) -> io::Result<()>;
}

/// Nobody who wants the end waits longer.
const NAP: Duration = Duration::from_millis(50);

/// How fast simulated time passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many simulated seconds a second.
    Times(f64),
    /// Without a pause.
    Max,
}

/// How much was shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Played {
    pub lines: u64,
    /// False if the waiting function ended it.
    pub to_the_end: bool,
}

/// Plays a simulation on faces.
#[derive(Debug)]
pub struct Player {
    speed: Speed,
}

impl Player {
    #[must_use]
    pub fn new(speed: Speed) -> Player {
        Player { speed }
    }

    /// Plays to the end, sleeping as the speed demands. `truth` is told of each boot that has ended.
    pub fn play(
        &self,
        simulation: &mut Simulation,
        faces: &mut [&mut dyn Face],
        truth: &mut dyn FnMut(Truth) -> io::Result<()>,
    ) -> io::Result<Played> {
        let watch = Stopwatch::start();
        self.play_with(simulation, faces, truth, &mut |until| {
            thread::sleep(until.saturating_sub(watch.elapsed()));
            true
        })
    }

    /// Plays at the speed of the clock, takes what is asked over the API into the same world, and goes on until told
    /// otherwise: `goes_on` is asked several times a second.
    pub fn play_live(
        &self,
        simulation: &mut Simulation,
        faces: &mut [&mut dyn Face],
        truth: &mut dyn FnMut(Truth) -> io::Result<()>,
        inbox: &Inbox,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> io::Result<Played> {
        let times = match self.speed {
            Speed::Times(times) => times,
            Speed::Max => 1.0,
        };
        let watch = Stopwatch::start();
        let start = simulation.start();
        let passed = |watch: &Stopwatch| {
            let ms = watch.elapsed().mul_f64(times).as_millis();
            start.plus_ms(i64::try_from(ms).unwrap_or(i64::MAX))
        };
        let mut played = Played::default();
        while goes_on() {
            let now = passed(&watch);
            while let Some(moment) = simulation.next_until(now) {
                played.lines += u64::from(matches!(moment.what, Happened::Line(_)));
                for face in faces.iter_mut() {
                    face.show(&moment)?;
                }
            }
            for face in faces.iter_mut() {
                face.flush()?;
            }
            for ended in simulation.take_truths() {
                truth(ended)?;
            }
            let nap = simulation.next_due().map_or(NAP, |due| {
                let ms = u64::try_from(due.since(passed(&watch))).unwrap_or(0);
                Duration::from_millis(ms).div_f64(times).min(NAP)
            });
            if let Some(asked) = inbox.next(nap.max(Duration::from_millis(1))) {
                simulation.asked(asked, passed(&watch));
            }
        }
        Ok(played)
    }

    /// The same with somebody else's way of waiting: it is given the time since the start until which to wait, and
    /// returns false to end the play.
    pub fn play_with(
        &self,
        simulation: &mut Simulation,
        faces: &mut [&mut dyn Face],
        truth: &mut dyn FnMut(Truth) -> io::Result<()>,
        wait: &mut dyn FnMut(Duration) -> bool,
    ) -> io::Result<Played> {
        let mut played = Played::default();
        let mut began = None;
        let mut shown_until = None;
        while let Some(moment) = simulation.next() {
            let began = *began.get_or_insert(moment.at);
            if let Speed::Times(times) = self.speed
                && shown_until != Some(moment.at)
            {
                shown_until = Some(moment.at);
                for face in faces.iter_mut() {
                    face.flush()?;
                }
                for ended in simulation.take_truths() {
                    truth(ended)?;
                }
                let passed = u64::try_from(moment.at.since(began)).unwrap_or_default();
                if !wait(Duration::from_millis(passed).div_f64(times)) {
                    return Ok(played);
                }
            }
            played.lines += u64::from(matches!(moment.what, Happened::Line(_)));
            for face in faces.iter_mut() {
                face.show(&moment)?;
            }
            if self.speed == Speed::Max {
                for ended in simulation.take_truths() {
                    truth(ended)?;
                }
            }
        }
        for ended in simulation.take_truths() {
            truth(ended)?;
        }
        for face in faces.iter_mut() {
            face.flush()?;
        }
        played.to_the_end = true;
        Ok(played)
    }
}

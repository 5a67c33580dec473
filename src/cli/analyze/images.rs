//! Boots by the golden image that they were copied from. A log names no image: since when which one stood there is told by
//! the call, as a file or as a time.

use std::io::Write;
use std::path::PathBuf;

use jiff::tz::TimeZone;

use crate::core::boot::Observation;
use crate::core::event::{Timestamp, VmType};
use crate::core::generations::{self, Generation, Generations};
use crate::core::image::Sighting;
use crate::image;

/// What boots before the first known change were copied from.
pub(super) const BEFORE: &str = "before";
/// Changes; the one before them is counted as well.
const MOST: usize = generations::KEPT - 1;

#[derive(Debug, Default)]
pub(super) struct Images {
    /// Since when which image stood there, in order.
    changes: Vec<(Timestamp, String)>,
    generations: Generations,
}

impl Images {
    /// `None`: the call was wrong, and that was said.
    pub(super) fn of(
        files: &[PathBuf],
        times: &[jiff::Timestamp],
        err: &mut dyn Write,
    ) -> anyhow::Result<Option<Images>> {
        let mut changes = Vec::new();
        for file in files {
            let sighting = image::sight(file);
            if sighting.image.is_none() {
                writeln!(err, "{}: no image can be read there", file.display())?;
                return Ok(None);
            }
            changes.push((sighting.since, file.display().to_string()));
        }
        for time in times {
            let Ok(at) = Timestamp::try_from(time.as_millisecond()) else {
                writeln!(err, "{time}: no controller wrote a log then")?;
                return Ok(None);
            };
            changes.push((at, format!("changed {time}")));
        }
        if changes.len() > MOST {
            writeln!(err, "--image, --image-changed: at most {MOST} together")?;
            return Ok(None);
        }
        changes.sort();
        let mut generations = Generations::default();
        let before = (!changes.is_empty()).then(|| (Timestamp::MIN, BEFORE.to_owned()));
        for (since, name) in before.iter().chain(&changes) {
            generations.sighted(&Sighting {
                image: Some(name.clone()),
                since: *since,
            });
        }
        Ok(Some(Images {
            changes,
            generations,
        }))
    }

    pub(super) fn observe(&mut self, observation: &Observation) {
        let Observation::BootEnded(boot) = observation else {
            return;
        };
        if self.changes.is_empty() || boot.kind() != VmType::Browser {
            return;
        }
        let known = self.changes.iter().rev();
        let mut known = known.filter(|(since, _)| *since <= boot.started_at);
        let name = known.next().map_or(BEFORE, |(_, name)| name);
        let mut boot = boot.clone();
        boot.image = Some(name.to_owned());
        self.generations.take(&boot);
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Generation> {
        self.generations.iter()
    }

    pub(super) fn write(&self, zone: &TimeZone, out: &mut dyn Write) -> anyhow::Result<()> {
        if self.changes.is_empty() {
            return Ok(());
        }
        writeln!(out, "Browser boots by golden image:")?;
        for known in self.iter() {
            let count = known.count();
            let since = match known.image.as_str() {
                BEFORE => "before the first of these".to_owned(),
                name => format!(
                    "since {} ({name})",
                    super::text::long_moment(known.changed_at, zone)
                ),
            };
            let failed = match count.of {
                0 => "no boot".to_owned(),
                of => format!(
                    "{} of {of} failed ({})",
                    count.bad,
                    super::text::percent(count.bad.into(), of.into())
                ),
            };
            let first = match to_first_failure_ms(known) {
                Some(ms) => format!(
                    ", first failure {} after the image changed",
                    super::text::span(ms)
                ),
                None => String::new(),
            };
            writeln!(out, "  {since}: {failed}{first}")?;
        }
        writeln!(out)?;
        Ok(())
    }
}

/// From the change to the first failure; `None`: none failed, or nobody knows since when it stood there.
pub(super) fn to_first_failure_ms(known: &Generation) -> Option<i64> {
    let first = known.first_failure_at?;
    (known.image != BEFORE).then(|| first.since(known.changed_at))
}

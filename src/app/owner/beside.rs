//! What others than the log tell: the controller's rows and processes, the golden image and its copies, guests' consoles.

use super::Owner;
use crate::app::database::Told;
use crate::app::image::ImageSeen;
use crate::clock;
use crate::core::console::ConsoleNews;
use crate::core::row::Row;
use crate::source::database::DatabaseEvent;

impl Owner {
    /// Takes what the database and the processes tell.
    pub(super) fn told(&mut self, told: Told) {
        let log = self.log_sight();
        if let (Some(own), Told::Database(DatabaseEvent::Rows { rows, .. })) =
            (&mut self.own, &told)
        {
            own.rows(rows);
        }
        self.rows_say(&told);
        let (apart, mut hearing) = self.apart();
        if let Some(existing) = apart.existing {
            existing.take(told, apart.tracker, log, |observation, live| {
                hearing.live = live;
                hearing.count(observation, None);
            });
            self.gather.touched();
        }
    }

    /// What rows tell of boots that have ended before they were read.
    fn rows_say(&mut self, told: &Told) {
        let Told::Database(DatabaseEvent::Rows { rows, first: false }) = told else {
            return;
        };
        for row in rows {
            if let Row::Vm(row) = row {
                let (signs, now) = (self.reach.homes.row(row), self.clock.now());
                self.engine.learn(row.vm, signs, now, &mut self.effects);
            }
        }
    }

    pub(super) fn image_seen(&mut self, seen: ImageSeen) {
        match seen {
            ImageSeen::Clone(vm, clone) => {
                let signs = self.image.cloned(vm, &clone);
                let now = self.clock.now();
                self.engine.learn(vm, signs, now, &mut self.effects);
                self.gather.touched();
            }
            ImageSeen::Audited(image) => {
                self.engine
                    .image(&image, self.clock.now(), &mut self.effects);
                self.gather.touched();
                self.image.take(image);
                // What it says is told at once.
                self.look_at = clock::monotonic();
            }
            ImageSeen::Sighted(sighting) => {
                self.engine.image_sighted(&sighting);
                self.tracker.image_sighted(sighting, &mut self.observations);
                self.observed();
                self.gather.touched();
            }
        }
    }

    /// Takes what a guest's console says. The log is read to its end, so that the boot is known.
    pub(super) fn console_says(&mut self, news: &ConsoleNews) {
        self.tracker.console(news, &mut self.observations);
        self.observed();
        self.gather.touched();
    }
}

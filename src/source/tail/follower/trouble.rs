//! What cannot be read, or is not there: told once, tried again, and its end told.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Follower;
use crate::source::tail::away::Away;
use crate::source::tail::generation::{Retry, Step};
use crate::source::tail::identity::{Fit, fit};
use crate::source::tail::walk::{Failure, Found, Unreadable, walk};
use crate::source::tail::{LossReason, TailEvent};

/// How long a rotated file that cannot be read may hold up those after it.
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(30);

pub(super) struct Trouble {
    path: PathBuf,
    kind: io::ErrorKind,
    code: Option<i32>,
    since: Duration,
}

impl Follower {
    pub(super) fn unreadable(&self, now: Duration) -> Unreadable {
        match &self.trouble {
            Some(trouble) if now.saturating_sub(trouble.since) >= PATIENCE => Unreadable::PassOver,
            _ => Unreadable::Fail,
        }
    }

    pub(super) fn failed(&mut self, index: usize, error: &io::Error, now: Duration) {
        if let Some(file) = self.generations.get_mut(index) {
            let retry = file.retry.get_or_insert(Retry {
                since: now,
                at: now,
                delay: FIRST_RETRY,
            });
            retry.at = now + retry.delay;
            retry.delay = (retry.delay * 2).min(LAST_RETRY);
        }
        self.troubled(self.options.path().to_owned(), error, now);
    }

    /// Opens the current file anew after it failed, and reads once. The place reached is kept.
    pub(super) fn try_again(&mut self, now: Duration) -> bool {
        let index = self.current;
        let walked = walk(&*self.files, &self.family, |_| false, Unreadable::PassOver);
        let found = match walked {
            Ok(walk) => walk.found,
            Err(Failure { error, .. }) => {
                self.failed(index, &error, now);
                return false;
            }
        };
        let Some(file) = self.generations.get_mut(index) else {
            return false;
        };
        let mark = file.mark();
        let is_it = |candidate: &Found| match &mark {
            Some(mark) => fit(&*candidate.handle, &candidate.stat, mark).map(|fit| fit != Fit::No),
            None => Ok(candidate.stat.id == file.id),
        };
        let (mut seen, mut unsure) = (0, None);
        for candidate in found {
            match is_it(&candidate) {
                Ok(true) => {
                    file.reopened(candidate.handle, &candidate.stat);
                    let step = file.step(&mut self.scratch);
                    if !matches!(step, Step::Failed(_)) {
                        file.retry = None;
                        self.recovered();
                    }
                    return self.take(index, step, now);
                }
                Ok(false) => seen += 1,
                Err(error) => unsure = Some(error),
            }
        }
        // The last file is waited for as long as it takes; one that holds up others, not for ever.
        let waited = file
            .retry
            .is_some_and(|retry| now.saturating_sub(retry.since) >= PATIENCE);
        let given_up = waited && index + 1 < self.generations.len();
        match unsure {
            Some(error) if !given_up => self.failed(index, &error, now),
            // Others are there, but this one is gone.
            _ if seen > 0 || given_up => {
                let gone = self.generations.remove(index);
                self.remember(&gone);
                self.lost(Some(gone.number), LossReason::RotatedAway);
                self.recovered();
                self.next_look = now;
                return true;
            }
            _ => self.failed(index, &io::Error::from(io::ErrorKind::NotFound), now),
        }
        false
    }

    pub(super) fn troubled(&mut self, path: PathBuf, error: &io::Error, now: Duration) {
        let (kind, code) = (error.kind(), error.raw_os_error());
        let since = match &self.trouble {
            Some(known) if known.path == path && known.kind == kind && known.code == code => return,
            Some(known) => known.since,
            None => now,
        };
        self.stats.troubles += 1;
        self.ready.push_back(TailEvent::Trouble {
            path: path.clone(),
            error: error.to_string(),
        });
        self.trouble = Some(Trouble {
            path,
            kind,
            code,
            since,
        });
    }

    /// No file has the log's name. That it is gone is told once nothing comes of the file that had it, either.
    pub(super) fn stays_away(&mut self, base: &Path, error: &io::Error, now: Duration) {
        let Some(newest) = self.generations.last() else {
            // It never was there.
            return;
        };
        if self.has_a_name_here(newest) {
            // It was rotated, and nothing was written since.
            self.comes_back();
            return;
        }
        let away = self.away.get_or_insert_with(|| Away::since(now));
        if away.is_to_be_told(now) {
            self.stats.troubles += 1;
            self.ready.push_back(TailEvent::Trouble {
                path: base.to_owned(),
                error: error.to_string(),
            });
        }
    }

    pub(super) fn comes_back(&mut self) {
        if self.is_gone() && self.trouble.is_none() {
            self.ready.push_back(TailEvent::Recovered);
        }
        self.away = None;
    }

    pub(super) fn is_gone(&self) -> bool {
        self.away.as_ref().is_some_and(Away::is_told)
    }

    pub(super) fn recovered(&mut self) {
        if self.trouble.take().is_some() {
            self.ready.push_back(TailEvent::Recovered);
        }
    }
}

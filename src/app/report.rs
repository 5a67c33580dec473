//! The weekly report: kept, and mailed when it is due; `reckoning` says what is in it.
//!
//! It reads through connections of its own, beside the one that writes, and never waits in the way of a page. A week is
//! reckoned from the boots that began in it; what the store has forgotten (`store.keep_boots`) it cannot tell any more.
//!
//! One that is due is made once it is due, or at the next start after that, when the log is read to its end; each
//! recipient gets it once, and again only where a late outcome changes its head. A server that refuses it is tried again,
//! ever more rarely, for two days.

mod reckoning;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::clock::{self, Stopwatch};
use crate::config::Config;
use crate::core::event::Timestamp;
use crate::core::report::Report;
use crate::core::report::week::Week;
use crate::notify::{Letter, NotifyError, Postman};
use crate::report::{self, Voice};
use crate::store::{Archive, History, StoredReport};

pub(super) use reckoning::objective;
pub use reckoning::{is_unknown, reckon, reckon_fleet, zone_of};

/// After a report was made late outcomes may still change it; it is looked at again this long.
const REVISED_FOR_MS: i64 = 2 * 86_400_000;
/// One that could not be made or sent is tried again after this long, at first and at last.
const FIRST_WAIT: Duration = Duration::from_secs(60);
const LAST_WAIT: Duration = Duration::from_secs(3_600);
/// A moment that lies far away is waited for in pieces, so that a clock that is set meanwhile is noticed.
const NAP: Duration = Duration::from_secs(600);
/// After a start the log is read to its end first. One that cannot be in this time is reported on as far as it was read.
const READ_WITHIN: Duration = Duration::from_secs(1_800);
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Nobody is sent a report that is this late.
const GIVEN_UP_MS: i64 = 2 * 86_400_000;

/// How a configuration's reports speak.
#[must_use]
pub fn voice_of(config: &Config) -> Voice {
    Voice {
        host: config.host.clone(),
        zone: zone_of(config).0,
        runbook_base: config.links.runbook_base.as_ref().map(ToString::to_string),
    }
}

/// A report as it is kept.
#[must_use]
pub fn stored(report: &Report, voice: &Voice, now: Timestamp) -> StoredReport {
    let zone = &report.zone;
    StoredReport {
        // A host that makes both its own and its fleet's keeps both, and each recipient gets both.
        zone: match report.of_fleet {
            true => format!("{zone}, all hosts"),
            false => zone.clone(),
        },
        week: report.week.to_string(),
        revision: 0,
        made_at: now,
        headline: report::headline(report),
        html: report::html(report, voice),
        markdown: report::markdown(report, voice),
        json: report::json(report),
    }
}

/// What a mail of it is.
#[must_use]
pub fn letter(report: &Report, voice: &Voice, revision: i64) -> Letter {
    let report::Letter {
        subject,
        text,
        html,
        pictures,
    } = report::letter(report, voice);
    let (revised, suffix) = match revision {
        ..=1 => ("", String::new()),
        _ => ("Revised: ", format!("-{revision}")),
    };
    // Letters of different hosts are different letters, to whoever tells them by their id.
    let whose = match report.of_fleet {
        true => "fleet".to_owned(),
        // As it may stand in an id.
        false => voice
            .host
            .replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
    };
    Letter {
        id: format!("report-{whose}-{}{suffix}", report.week),
        list: "report",
        subject: format!("{revised}{subject}"),
        text,
        html,
        pictures: pictures
            .into_iter()
            .map(|picture| (picture.cid, picture.png))
            .collect(),
    }
}

/// The notifier through which reports are mailed.
///
/// # Errors
/// It cannot be used.
pub fn postman(config: &Config) -> anyhow::Result<Option<Postman>> {
    let Some(channel) = &config.report.channel else {
        return Ok(None);
    };
    let notifier = config.notifiers.iter().find(|one| one.name == *channel);
    let notifier =
        notifier.with_context(|| format!("report.channel: {channel} is not configured"))?;
    Ok(Some(Postman::new(notifier)?))
}

/// What became of mailing one report.
#[derive(Debug, Default)]
pub struct Posted {
    pub sent: Vec<String>,
    /// They had it already.
    pub before: Vec<String>,
    pub failed: Vec<(String, NotifyError)>,
}

/// Mails a kept report to everyone who has not got it, nor any revision from `since` on.
///
/// # Errors
/// The store cannot be read or written.
pub async fn post(
    archive: &mut Archive,
    postman: &mut Postman,
    (stored, revision): (&StoredReport, i64),
    letter: &Letter,
    since: i64,
) -> anyhow::Result<Posted> {
    let mut posted = Posted::default();
    let key = (stored.zone.as_str(), stored.week.as_str());
    for recipient in postman.recipients() {
        let name = recipient.email.to_string();
        let had = archive.sent(key.0, key.1, &name).await?;
        if had.is_some_and(|had| had >= since) {
            posted.before.push(name);
            continue;
        }
        match postman.post(letter, &recipient, clock::now()).await {
            Ok(()) => {
                archive
                    .note_sent(key, &name, revision, clock::now())
                    .await?;
                posted.sent.push(name);
            }
            Err(error) => posted.failed.push((name, error)),
        }
    }
    Ok(posted)
}

/// Makes and mails reports as they fall due, until it is stopped.
pub(super) async fn run(config: Arc<Config>, stop: CancellationToken) {
    let Some(schedule) = config.report.schedule else {
        return;
    };
    let (zone, _) = zone_of(&config);
    let mut failures: u32 = 0;
    let mut done: Option<Week> = None;
    let mut news = News::default();
    let began = Stopwatch::start();
    loop {
        let due = schedule.due(clock::now(), &zone);
        let late = clock::now().since(due.since);
        if done != Some(due.week) && began.elapsed() < READ_WITHIN {
            // After a stop the log holds what happened meanwhile, and the week's end with it.
            let end = due.week.range(&zone).end;
            if !is_read_to(&config.store.path, end).await {
                if stop
                    .run_until_cancelled(tokio::time::sleep(LOOK_AGAIN))
                    .await
                    .is_none()
                {
                    return;
                }
                continue;
            }
        }
        let wait = if done == Some(due.week) && late > REVISED_FOR_MS {
            remaining(due.next)
        } else {
            let is_told = late < GIVEN_UP_MS;
            let told = is_told.then_some(&mut news);
            match make(&config, due.week, told, &stop).await {
                Ok(()) => {
                    if !is_told && done != Some(due.week) {
                        tracing::warn!(week = %due.week, "the weekly report is made, and mailed to nobody: it is more than two days late");
                    }
                    failures = 0;
                    done = Some(due.week);
                    // Late outcomes: every hour as long as there may be some.
                    LAST_WAIT
                }
                Err(error) => {
                    tracing::error!(week = %due.week, error = format!("{error:#}"), "the weekly report failed; it is tried again");
                    failures = failures.saturating_add(1);
                    (FIRST_WAIT * 2u32.saturating_pow(failures.min(10))).min(LAST_WAIT)
                }
            }
        };
        let wait = wait.min(remaining(due.next)).max(Duration::from_secs(1));
        let is_other_week = || schedule.due(clock::now(), &zone).week != due.week;
        if stop
            .run_until_cancelled(rest(wait, is_other_week))
            .await
            .is_none()
        {
            return;
        }
    }
}

/// Whether the log was read beyond this moment, and what it told is in the store.
async fn is_read_to(store: &Path, end: Timestamp) -> bool {
    let Ok(mut history) = History::open(store).await else {
        return false;
    };
    let seen = history.seen().await;
    seen.is_ok_and(|seen| seen.iter().any(|stretch| stretch.end >= end))
}

fn remaining(until: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(until.since(clock::now())).unwrap_or(0))
}

/// Waits so long, or until another week is due by a clock that was set.
async fn rest(wait: Duration, is_other_week: impl Fn() -> bool) {
    let until = clock::monotonic() + wait;
    while clock::monotonic() < until && !is_other_week() {
        let nap = until.min(clock::monotonic() + NAP);
        tokio::time::sleep_until(nap).await;
    }
}

/// The revision of a week that last said something else than the one before it: whoever has an older one is told anew,
/// also by a later try, where the mail server was away at first.
#[derive(Debug, Default)]
struct News(Option<(Week, i64)>);

impl News {
    /// Takes the revision that is kept now; from which on a recipient has heard it all.
    fn since(&mut self, week: Week, revision: i64, is_news: bool) -> i64 {
        if is_news {
            self.0 = Some((week, revision));
        }
        let of_week = self.0.filter(|(known, _)| *known == week);
        of_week.map_or(0, |(_, since)| since)
    }
}

/// Makes one week's report, keeps it where it says something new, and mails it to whoever has not got it; `None`: to
/// nobody.
///
/// A stop ends the reckoning, which may wait for a fleet's database; what is being mailed is mailed and noted first.
async fn make(
    config: &Config,
    week: Week,
    news: Option<&mut News>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let voice = voice_of(config);
    let reckoned = stop.run_until_cancelled(async {
        match config.store.fleet.as_ref().filter(|_| config.report.fleet) {
            None => reckon(config, &config.store.path, week).await,
            Some(url) => reckon_fleet(config, url, week).await,
        }
    });
    let Some(report) = reckoned.await.transpose()? else {
        return Ok(());
    };
    if is_unknown(&report) {
        return Ok(());
    }
    let mut archive = Archive::open(&config.store.path).await?;
    let stored = stored(&report, &voice, clock::now());
    let known = archive.kept(&stored.zone, &stored.week).await?;
    let changed = known
        .as_deref()
        .is_some_and(|json| report::headline_differs(json, &report));
    let revision = archive.keep(&stored).await?;
    let since = news.map(|news| news.since(week, revision, changed));
    let result = match (since, postman(config)?) {
        (Some(since), Some(mut postman)) => {
            let letter = letter(&report, &voice, revision);
            let what = (&stored, revision);
            post(&mut archive, &mut postman, what, &letter, since).await
        }
        _ => Ok(Posted::default()),
    };
    archive.close().await;
    let posted = result?;
    if !posted.sent.is_empty() {
        // How many: addresses stay out of logs.
        tracing::info!(%week, recipients = posted.sent.len(), revision, "the weekly report was mailed");
    }
    match posted.failed.into_iter().next() {
        Some((_, error)) if !error.breaks_receiver() => {
            Err(error).context("mail the weekly report")
        }
        Some((_, error)) => {
            tracing::error!(
                error = error.chain(),
                "the weekly report was refused for good"
            );
            Ok(())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_hour_is_waited_for_in_pieces_and_another_week_ends_it() {
        let hour = Duration::from_secs(3_600);
        let began = clock::monotonic();
        rest(hour, || false).await;
        assert_eq!(began.elapsed(), hour);
        let began = clock::monotonic();
        rest(hour, || began.elapsed() > Duration::from_secs(900)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(1_200));
    }

    #[test]
    fn a_revision_that_could_not_be_mailed_at_first_is_still_news_at_the_next_try() {
        let week = Week::parse("2025-W42").unwrap();
        let mut news = News::default();
        assert_eq!(news.since(week, 1, false), 0, "whoever has any has it all");
        assert_eq!(news.since(week, 2, true), 2);
        assert_eq!(news.since(week, 2, false), 2, "it was not sent");
        assert_eq!(news.since(week, 3, false), 2, "3 says nothing else than 2");
        assert_eq!(news.since(week.previous(), 7, false), 0);
    }
}

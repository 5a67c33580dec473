//! The weekly report: reckoned from the store, kept, and mailed when it is due.
//!
//! It reads through connections of its own, beside the one that writes, and never waits in the way of a page. A week is
//! reckoned from the boots that began in it; what the store has forgotten (`store.keep_boots`) it cannot tell any more.
//!
//! One that is due is made once it is due, or at the next start after that, when the log is read to its end; each recipient gets it once, and again only
//! where a late outcome changes its head. A server that refuses it is tried again, ever more rarely, for two days.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

use super::sight::{HISTORY, SILENT};
use crate::clock::{self, Stopwatch};
use crate::config::{Config, Secret, Zone};
use crate::core::alert::{Incident, Subject};
use crate::core::diagnosis::Diagnosis;
use crate::core::event::{Origin, Outcome, Timestamp, VmType};
use crate::core::fix::Fix;
use crate::core::report::coverage;
use crate::core::report::figures::Figures;
use crate::core::report::incident::IncidentFact;
use crate::core::report::share::Share;
use crate::core::report::week::Week;
use crate::core::report::{Facts, Month, Report, Sight, Silence, Terms};
use crate::core::rule::Severity;
use crate::notify::{Letter, NotifyError, Postman};
use crate::report::{self, Voice};
use crate::store::{Archive, FleetHistory, History, MessageState, StoredReport, Tally};

const MONTH_MS: i64 = 30 * 86_400_000;
/// After a report was made late outcomes may still change it; it is looked at again this long.
const REVISED_FOR_MS: i64 = 2 * 86_400_000;
/// One that could not be made or sent is tried again after this long, at first and at last.
const FIRST_WAIT: Duration = Duration::from_secs(60);
const LAST_WAIT: Duration = Duration::from_secs(3_600);
/// A moment that lies far away is waited for in pieces, so that a clock that is set meanwhile is noticed.
const NAP: Duration = Duration::from_secs(600);
/// A fleet's database that has not told the weeks by then has been lost on the way.
const FLEET_PATIENCE: Duration = Duration::from_secs(1_800);
/// After a start the log is read to its end first. One that cannot be in this time is reported on as far as it was read.
const READ_WITHIN: Duration = Duration::from_secs(1_800);
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Nobody is sent a report that is this late.
const GIVEN_UP_MS: i64 = 2 * 86_400_000;

/// The zone of the report's weeks, and what it is called.
#[must_use]
pub fn zone_of(config: &Config) -> (TimeZone, String) {
    let zone = match &config.report.timezone {
        Zone::Named(zone) => zone.clone(),
        Zone::Auto => TimeZone::system(),
    };
    let name = zone.iana_name().unwrap_or("local time").to_owned();
    (zone, name)
}

/// How a configuration's reports speak.
#[must_use]
pub fn voice_of(config: &Config) -> Voice {
    Voice {
        host: config.host.clone(),
        zone: zone_of(config).0,
        runbook_base: config.links.runbook_base.as_ref().map(ToString::to_string),
    }
}

/// Reckons a week from the store at `path`.
///
/// # Errors
/// The store cannot be read.
pub async fn reckon(config: &Config, path: &Path, week: Week) -> anyhow::Result<Report> {
    let mut history = History::open(path).await.context("open the store")?;
    let mut span = Span::of(config, week);
    let mut hits = Hits::of(incidents(&mut history, &span.range).await?);
    let range = span.range.clone();
    history
        .facts(range.clone(), |boot| {
            hits.boot(boot);
            span.this.add(boot);
        })
        .await
        .context("read the week's boots")?;
    history
        .facts(span.range_before.clone(), |boot| span.before.add(boot))
        .await
        .context("read last week's boots")?;
    let tally = history.tally(span.earlier()).await;
    let tally = tally.context("count the month's boots")?;
    let synthetic_runs = history.synthetic_runs(range.clone()).await;
    let synthetic_runs = synthetic_runs.context("count the week's synthetic runs")?;
    let seen = history.seen().await.context("read what was seen")?;
    let silent = history.stretches(SILENT).await;
    let silent = silent.context("read when the controller was silent")?;
    let unwatched = history.stretches(HISTORY).await;
    let unwatched = unwatched.context("read what was history")?;
    let before = overlapping(&seen, &span.range_before);
    let seen = overlapping(&seen, &range);
    Ok(span.report(Found {
        watched: coverage::without(&seen, &unwatched),
        silences: silences(None, &silent),
        seen: Sight::Own(seen),
        seen_before: Sight::Own(before),
        month: tally,
        incidents: hits.incidents,
        synthetic_runs,
    }))
}

/// Reckons a week over all hosts, from the fleet's database. A host counts as part of the fleet in a week in which
/// something of it was seen or begun, and the week as seen where it was seen of each.
///
/// # Errors
/// The database cannot be read, or has not answered in half an hour.
pub async fn reckon_fleet(config: &Config, url: &Secret, week: Week) -> anyhow::Result<Report> {
    tokio::time::timeout(FLEET_PATIENCE, reckon_hosts(config, url, week))
        .await
        .context("the fleet's database does not answer in time")?
}

async fn reckon_hosts(config: &Config, url: &Secret, week: Week) -> anyhow::Result<Report> {
    let mut history = FleetHistory::open(url).await?;
    let mut span = Span::of(config, week);
    let range = span.range.clone();
    let rows = history.incidents(range.clone()).await;
    let rows = rows.context("the week's incidents")?.into_iter();
    let mut hits = Hits::of(
        rows.map(|row| {
            let fact = incident_fact(&row.incident.0, row.delivered_at, row.acknowledged_at);
            (row.incident.0, fact)
        })
        .collect(),
    );
    history
        .facts(range.clone(), |boot| {
            hits.boot(boot);
            span.this.add(boot);
        })
        .await
        .context("the week's boots")?;
    history
        .facts(span.range_before.clone(), |boot| span.before.add(boot))
        .await
        .context("last week's boots")?;
    let month = history.tally(span.earlier()).await;
    let month = month.context("the month's boots")?;
    let synthetic_runs = history.synthetic_runs(range.clone()).await;
    let synthetic_runs = synthetic_runs.context("the week's synthetic runs")?;
    let seen = history.seen(range.clone()).await;
    let seen = seen.context("what was seen")?;
    let before = history.seen(span.range_before.clone()).await;
    let before = before.context("what was seen of last week")?;
    let both = span.range_before.start..range.end;
    let silent = history.stretches(both, SILENT).await;
    let silent = silent.context("when controllers were silent")?;
    let unwatched = history.stretches(range, HISTORY).await;
    let unwatched = unwatched.context("what was history")?;
    history.close().await;
    let of_host = silent.iter();
    Ok(span.report(Found {
        watched: coverage::together(&less(&seen, &unwatched)),
        silences: of_host
            .flat_map(|(host, silent)| silences(Some(host), silent))
            .collect(),
        seen: Sight::Fleet(seen),
        seen_before: Sight::Fleet(before),
        month,
        incidents: hits.incidents,
        synthetic_runs,
    }))
}

/// A week, and its boots as they are counted.
struct Span {
    week: Week,
    zone: TimeZone,
    zone_name: String,
    objective: f64,
    range: Range<Timestamp>,
    range_before: Range<Timestamp>,
    this: Figures,
    before: Figures,
}

/// What is known of it besides its boots.
struct Found {
    seen: Sight,
    seen_before: Sight,
    watched: Vec<Range<Timestamp>>,
    silences: Vec<Silence>,
    /// The boots of [`Span::earlier`].
    month: Vec<Tally>,
    incidents: Vec<IncidentFact>,
    synthetic_runs: BTreeMap<String, u64>,
}

impl Span {
    fn of(config: &Config, week: Week) -> Span {
        let (zone, zone_name) = zone_of(config);
        let ends = |week: Week| week.days(&zone).map(|(_, day)| day.end);
        Span {
            week,
            objective: objective(config),
            range: week.range(&zone),
            range_before: week.previous().range(&zone),
            this: Figures::new(ends(week)),
            before: Figures::new(ends(week.previous())),
            zone,
            zone_name,
        }
    }

    /// What the budget's period has before the two weeks, whose boots are read anyway.
    fn earlier(&self) -> Range<Timestamp> {
        self.range.end.plus_ms(-MONTH_MS)..self.range_before.start
    }

    fn report(self, found: Found) -> Report {
        let month = month(&self.this, &self.before, &found.month);
        Report::of(Facts {
            week: self.week,
            zone: self.zone,
            zone_name: self.zone_name,
            terms: Terms {
                objective: self.objective,
            },
            this: self.this,
            before: self.before,
            seen: found.seen,
            seen_before: found.seen_before,
            watched: found.watched,
            silences: found.silences,
            month,
            incidents: found.incidents,
            synthetic_runs: found.synthetic_runs,
        })
    }
}

fn overlapping(seen: &[Range<Timestamp>], range: &Range<Timestamp>) -> Vec<Range<Timestamp>> {
    let within = seen
        .iter()
        .filter(|stretch| stretch.end > range.start && stretch.start < range.end);
    within.cloned().collect()
}

fn silences(host: Option<&String>, silent: &[Range<Timestamp>]) -> Vec<Silence> {
    let of = silent.iter().map(|silence| Silence {
        host: host.cloned(),
        from: silence.start,
        to: silence.end,
    });
    of.collect()
}

/// Each host's stretches outside its others.
fn less(
    all: &BTreeMap<String, Vec<Range<Timestamp>>>,
    holes: &BTreeMap<String, Vec<Range<Timestamp>>>,
) -> Vec<Vec<Range<Timestamp>>> {
    let of = |host| holes.get(host).map_or(&[][..], Vec::as_slice);
    let all = all.iter();
    all.map(|(host, stretches)| coverage::without(stretches, of(host)))
        .collect()
}

/// The share of boots that shall succeed, as the rules have it.
pub(super) fn objective(config: &Config) -> f64 {
    let rules = &config.rules;
    let budget = rules.boot_budget_burn.as_ref().map(|rule| rule.objective);
    let rate = rules.boot_failure_rate.as_ref().map(|rule| rule.objective);
    budget.or(rate).unwrap_or(0.95)
}

/// The browser boots that count, of the 30 days that end with the week: those of this week and the last were counted
/// already.
fn month(this: &Figures, before: &Figures, earlier: &[Tally]) -> Month {
    let mut own = Share::default();
    for week in [this, before] {
        if let Some(kind) = week.kinds.get(&VmType::Browser) {
            own += kind.share();
        }
    }
    let mut month = Month {
        failed: own.n - own.k,
        judged: own.n,
    };
    for one in earlier {
        if one.vm_type != VmType::Browser || one.origin != Origin::User {
            continue;
        }
        match one.outcome {
            Some(Outcome::Ready) => month.judged += one.boots,
            Some(Outcome::Failed) => {
                month.judged += one.boots;
                month.failed += one.boots;
            }
            Some(Outcome::Cancelled | Outcome::Lost) | None => {}
        }
    }
    month
}

/// So long after a week somebody may still be told of its incidents, or acknowledge one.
const FOLLOWS_MS: i64 = 86_400_000;

async fn incidents(
    history: &mut History,
    range: &Range<Timestamp>,
) -> anyhow::Result<Vec<(Incident, IncidentFact)>> {
    let rows = history.incidents(range.clone()).await;
    let rows = rows.context("read the week's incidents")?;
    // What follows on the week's end: a page may be on its way for as long as it is worth anything.
    let followed = range.start..range.end.plus_ms(FOLLOWS_MS);
    let messages = history.messages(followed.clone()).await;
    let messages = messages.context("read the week's messages")?;
    let operations = history.operations(followed).await;
    let operations = operations.context("read what operators did")?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let incident = row.0;
            let delivered_at = messages
                .iter()
                .filter(|message| message.incident == incident.key)
                // Whoever was away when it fired was paged by its next state.
                .filter(|message| {
                    message.state == MessageState::Sent && message.transition != "resolved"
                })
                .filter_map(|message| message.ended_at)
                .min();
            let acknowledged_at = operations
                .iter()
                .filter(|one| one.action == "acknowledge" && one.subject == incident.key)
                .map(|one| one.at)
                .min();
            let fact = incident_fact(&incident, delivered_at, acknowledged_at);
            (incident, fact)
        })
        .collect())
}

fn incident_fact(
    incident: &Incident,
    delivered_at: Option<Timestamp>,
    acknowledged_at: Option<Timestamp>,
) -> IncidentFact {
    let mut members = incident.members.iter();
    IncidentFact {
        key: incident.key.clone(),
        host: incident.host.clone(),
        subject: incident.subject.as_str().to_owned(),
        cause: incident.cause.as_str().to_owned(),
        page: members.any(|member| member.severity == Severity::Page),
        first_bad_at: incident.first_bad_at,
        fired_at: incident.fired_at,
        delivered_at,
        acknowledged_at,
        resolved_at: incident.resolved_at,
        boots_hit: 0,
        diagnosis: incident.diagnosis.as_ref().and_then(Diagnosis::summary),
        fix: incident.fix.as_ref().map(Fix::confirmation),
    }
}

/// The week's incidents, and how many boots each hit.
struct Hits {
    spans: Vec<(Option<VmType>, Range<Timestamp>)>,
    incidents: Vec<IncidentFact>,
}

impl Hits {
    fn of(incidents: Vec<(Incident, IncidentFact)>) -> Hits {
        let spans = incidents
            .iter()
            .map(|(incident, _)| {
                let vm_type = match incident.subject {
                    Subject::Boots(vm_type) => Some(vm_type),
                    Subject::Host => None,
                };
                let end = incident.good_since.or(incident.resolved_at);
                (
                    vm_type,
                    incident.first_bad_at..end.unwrap_or(Timestamp(i64::MAX)),
                )
            })
            .collect();
        Hits {
            spans,
            incidents: incidents.into_iter().map(|(_, fact)| fact).collect(),
        }
    }

    fn boot(&mut self, boot: &crate::core::report::BootFact<'_>) {
        if boot.outcome != Some(Outcome::Failed) || boot.origin != Origin::User {
            return;
        }
        for ((vm_type, span), incident) in self.spans.iter().zip(&mut self.incidents) {
            let its = *vm_type == Some(boot.vm_type) && incident.host == boot.host;
            if its && span.contains(&boot.started_at) {
                incident.boots_hit += 1;
            }
        }
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

/// A week of which nothing is known: it was before the first start, or nothing of it was copied yet.
#[must_use]
pub fn is_unknown(report: &Report) -> bool {
    report.kinds.is_empty() && report.coverage.seconds.k == 0
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

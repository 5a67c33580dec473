//! The past, for the web: the store read beside its writer.
//!
//! Each question opens the store anew, reads and closes: after a damaged store was set aside, the next question reads
//! the new one, and what a connection holds of memory is given back. A few questions at a time; the others wait, and
//! give up with whoever asks. The writer waits for none of them (the store's log lets readers be).

use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::synthetic;
use crate::core::alert::Incident;
use crate::core::console::ConsoleEvidence;
use crate::core::diagnosis;
use crate::core::event::{Origin, Stage, StageOutcome, Timestamp, VmType};
use crate::store::{
    BootFilter, BootRow, CellRow, History, OperationRow, StoreError, StoredMessage, TrialPlace,
};
use crate::web::{
    ActLine, Answered, BootFull, BootLine, Cell, MarkLine, MessageLine, Past, ReportFull,
    ReportLine, RunLine, Unread, Wanted,
};

const AT_A_TIME: usize = 2;
/// A disk that does not answer holds up one page, and not for long.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(super) struct StorePast {
    path: PathBuf,
    turns: Arc<Semaphore>,
}

impl StorePast {
    pub(super) fn new(path: PathBuf) -> StorePast {
        StorePast {
            path,
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    fn ask<T, F>(&self, question: impl FnOnce(History) -> F + Send + 'static) -> Answered<T>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
        T: 'static,
    {
        let StorePast { path, turns } = self.clone();
        Box::pin(async move {
            let asked = async {
                let _turn = turns.acquire().await.map_err(|error| said(&error))?;
                let history = History::open(&path).await.map_err(|error| said(&error))?;
                question(history).await.map_err(|error| said(&error))
            };
            let answered = timeout(PATIENCE, asked).await;
            answered.unwrap_or_else(|_| Err(Unread("the store does not answer in time".to_owned())))
        })
    }
}

fn said(error: &dyn std::error::Error) -> Unread {
    tracing::warn!(error = %error, "a page cannot read the store");
    Unread(error.to_string())
}

impl Past for StorePast {
    fn boots(&self, wanted: Wanted) -> Answered<Vec<BootLine>> {
        let filter = BootFilter {
            from: wanted.from,
            to: wanted.to,
            vm_type: wanted.vm_type,
            outcome: wanted.outcome,
            failure: wanted.failure,
            origin: wanted.origin,
            image: wanted.image,
            after: wanted.after,
            limit: wanted.limit,
        };
        self.ask(|mut history| async move {
            let rows = history.newest(&filter).await?;
            Ok(rows.iter().map(line).collect())
        })
    }

    fn boot(&self, boot_id: String) -> Answered<Option<BootFull>> {
        self.ask(|mut history| async move { Ok(history.boot(&boot_id).await?.map(full)) })
    }

    fn cells(&self, range: Range<Timestamp>, width_ms: i64) -> Answered<Vec<Cell>> {
        self.ask(move |mut history| async move {
            let cells = history.cells(range, width_ms).await?;
            // What bootwatch boots by itself is no user's experience.
            let users = cells
                .into_iter()
                .filter(|cell| cell.tally.origin == Origin::User);
            let cells = users.map(
                |CellRow {
                     from,
                     maintained,
                     tally,
                 }| Cell {
                    from,
                    vm_type: tally.vm_type,
                    outcome: tally.outcome,
                    failure: tally.failure,
                    maintained,
                    boots: tally.boots,
                },
            );
            Ok(cells.collect())
        })
    }

    fn ready_times(
        &self,
        range: Range<Timestamp>,
        vm_type: VmType,
        most: u32,
    ) -> Answered<Vec<u32>> {
        self.ask(move |mut history| async move { history.ready_times(range, vm_type, most).await })
    }

    fn incidents(
        &self,
        before: Option<(Timestamp, String)>,
        limit: u16,
    ) -> Answered<Vec<Incident>> {
        self.ask(move |mut history| async move {
            let before = before.as_ref().map(|(at, key)| (*at, key.as_str()));
            let rows = history.newest_incidents(before, limit).await?;
            Ok(rows.into_iter().map(|row| row.0).collect())
        })
    }

    fn incident(&self, key: String) -> Answered<Option<Incident>> {
        self.ask(|mut history| async move { Ok(history.incident(&key).await?.map(|row| row.0)) })
    }

    fn messages(
        &self,
        incident: Option<String>,
        before: Option<i64>,
        limit: u16,
    ) -> Answered<Vec<MessageLine>> {
        self.ask(move |mut history| async move {
            let incident = incident.as_deref();
            let rows = history.newest_messages(incident, before, limit).await?;
            Ok(rows.into_iter().map(message).collect())
        })
    }

    fn acts(&self, subject: Option<String>, limit: u16) -> Answered<Vec<ActLine>> {
        self.ask(move |mut history| async move {
            let rows = history.newest_operations(subject.as_deref(), limit).await?;
            Ok(rows.into_iter().map(act).collect())
        })
    }

    fn runs(&self, place: Option<(Timestamp, u32)>, limit: u16) -> Answered<Vec<RunLine>> {
        self.ask(move |mut history| async move {
            let place = place.map(|(at, behind)| TrialPlace { at, behind });
            let rows = history.newest_trials(place, limit).await?;
            Ok(rows
                .iter()
                .map(|row| RunLine {
                    started_at: row.started_at,
                    shown: synthetic::shown_row(row),
                })
                .collect())
        })
    }

    fn reports(&self) -> Answered<Vec<ReportLine>> {
        self.ask(|mut history| async move {
            let reports = history.reports().await?.into_iter();
            Ok(reports
                .map(|report| ReportLine {
                    week: report.week,
                    zone: report.zone,
                    revision: report.revision,
                    made_at: report.made_at,
                    headline: report.headline,
                })
                .collect())
        })
    }

    fn report(&self, week: String, zone: Option<String>) -> Answered<Option<ReportFull>> {
        self.ask(|mut history| async move {
            let report = history.report(&week, zone.as_deref()).await?;
            Ok(report.map(|report| ReportFull {
                line: ReportLine {
                    week: report.week,
                    zone: report.zone,
                    revision: report.revision,
                    made_at: report.made_at,
                    headline: report.headline,
                },
                html: report.html,
                json: report.json,
            }))
        })
    }
}

/// What a list shows of a row.
pub(super) fn line(row: &BootRow) -> BootLine {
    BootLine {
        boot_id: row.boot_id.clone(),
        vm: row.vm.map(|vm| vm.to_string()),
        session: row.session.map(|session| session.to_string()),
        vm_type: row.vm_type,
        origin: row.origin,
        outcome: row.outcome,
        failure: row.failure,
        failed_stage: row.failed_stage,
        started_at: row.started_at,
        ended_at: row.ended_at,
        ready_ms: row.ready_ms,
        image: row.image.clone(),
    }
}

/// All that a row tells.
pub(super) fn full(row: BootRow) -> BootFull {
    let diagnosis = diagnosis::alone(&record(&row), row.ended_at.unwrap_or(row.started_at));
    let line = line(&row);
    let detail = row.detail;
    BootFull {
        line,
        ip: detail.ip,
        stages: detail.stages,
        attempts: detail.attempts,
        ladder: detail.ladder,
        limits: detail.limits,
        injected: detail.injected,
        error: detail.error,
        evidence: detail.evidence,
        marks: detail.console.as_deref().map_or_else(Vec::new, |console| {
            let marks = console.marks.iter();
            marks
                .map(|marked| MarkLine {
                    mark: marked.mark.as_str(),
                    count: marked.count,
                    first_at: marked.first_at,
                })
                .collect()
        }),
        console: detail
            .console
            .as_deref()
            .map_or_else(Vec::new, said_by_guest),
        maintenance: detail.maintenance,
        build: row.build,
        diagnosis,
    }
}

/// What tells why it failed.
fn record(row: &BootRow) -> diagnosis::Record<'_> {
    let detail = &row.detail;
    diagnosis::Record {
        vm_type: row.vm_type,
        outcome: row.outcome,
        failure: row.failure,
        failed_stage: row.failed_stage,
        ladder: &detail.ladder,
        attempts: &detail.attempts,
        answerer: detail.answerer,
        guest_ahead_ms: detail.guest_ahead_ms,
        error: detail.error.as_deref(),
        console: detail.console.as_deref(),
        injected: detail.injected,
        copied: detail.stages.iter().any(|(stage, span)| {
            *stage == Stage::CloneSnapshot && span.outcome == StageOutcome::Completed
        }),
    }
}

/// The end of its console, and Firecracker's errors behind it.
fn said_by_guest(console: &ConsoleEvidence) -> Vec<String> {
    let errors = console.tail.errors.iter();
    let errors = errors.map(|line| format!("firecracker: {line}"));
    console.tail.console.iter().cloned().chain(errors).collect()
}

fn message(row: StoredMessage) -> MessageLine {
    MessageLine {
        id: row.id,
        incident: row.incident,
        transition: row.transition,
        receiver: row.receiver,
        created_at: row.created_at,
        attempts: row.attempts,
        state: row.state.as_str(),
        last_status: row.last_status,
        ended_at: row.ended_at,
    }
}

fn act(row: OperationRow) -> ActLine {
    ActLine {
        at: row.at,
        action: row.action,
        subject: row.subject,
        author: row.author,
        reason: row.reason,
    }
}

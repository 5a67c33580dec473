//! What one boot's own record says for its verdict, and what against the others.
//!
//! A failure class is where a boot stopped; this says in sentences which observations put it there and which rule its
//! neighbours out, so that a reader can disagree. Nothing here is learnt or guessed: each sentence rests on one figure of
//! the boot. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::boot::StageSpan;
use crate::core::event::{
    AttemptError, AttemptResult, Failure, Outcome, Stage, StageOutcome, words,
};
use crate::core::failure::Rung;

words! {
    /// Which way an observation points.
    Side {
        For = "for",
        Against = "against",
    }
}

/// One observation and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    pub side: Side,
    pub text: String,
}

/// What is weighed.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub outcome: Option<Outcome>,
    pub failure: Option<Failure>,
    pub failed_stage: Option<Stage>,
    pub stages: &'a [(Stage, StageSpan)],
    pub ladder: &'a [Rung],
    pub deadline_ms: Option<u32>,
    pub injected: bool,
    pub has_console: bool,
}

/// The observations for the verdict first, then those against other explanations.
#[must_use]
pub fn weigh(record: &Record<'_>) -> Vec<Weight> {
    let mut weights = Vec::new();
    let mut say = |side, text: String| weights.push(Weight { side, text });
    stages(record, &mut say);
    attempts(record, &mut say);
    if record.outcome == Some(Outcome::Failed) && record.failure == Some(Failure::AgentRefused) {
        match record.injected {
            true => say(
                Side::Against,
                "a broken golden image alone: an agent was put into this copy at clone time"
                    .to_owned(),
            ),
            false => say(
                Side::For,
                "no agent was put into the copy at clone time, so the golden image alone decides"
                    .to_owned(),
            ),
        }
    }
    weights.sort_by_key(|weight| weight.side);
    weights
}

fn stages(record: &Record<'_>, say: &mut impl FnMut(Side, String)) {
    for (stage, span) in record.stages {
        match span.outcome {
            StageOutcome::Failed | StageOutcome::TimedOut => say(
                Side::For,
                format!("{stage} ended {} after {}", span.outcome, seconds(span.ms)),
            ),
            StageOutcome::Abandoned => {
                say(
                    Side::For,
                    format!("{stage} was given up after {}", seconds(span.ms)),
                );
            }
            StageOutcome::Completed => {}
        }
    }
    let created = record.stages.iter().any(|(stage, span)| {
        *stage == Stage::StartFirecracker && span.outcome == StageOutcome::Completed
    });
    if created && record.outcome == Some(Outcome::Failed) {
        say(
            Side::Against,
            "a fault of creation: address, TAP, copy, configuration and Firecracker's start all completed".to_owned(),
        );
    }
}

fn attempts(record: &Record<'_>, say: &mut impl FnMut(Side, String)) {
    let all: u32 = record.ladder.iter().map(|rung| rung.count).sum();
    let Some(last) = record.ladder.last() else {
        if record.failure == Some(Failure::NoAttempt) {
            say(Side::For, "not one health check was tried".to_owned());
        }
        return;
    };
    if record.outcome == Some(Outcome::Ready) {
        say(
            Side::For,
            format!(
                "the health check was answered with 200 after {} ({})",
                seconds(last.last_ms),
                tries(all)
            ),
        );
        return;
    }
    let same: u32 = record
        .ladder
        .iter()
        .filter(|rung| rung.result == last.result)
        .map(|rung| rung.count)
        .sum();
    let limit = record.deadline_ms.map_or_else(String::new, |ms| {
        format!("; the controller gives up after {}", seconds(ms))
    });
    say(
        Side::For,
        format!(
            "{same} of {} ended as {}, the last {} into the wait{limit}",
            tries(all),
            last.result,
            seconds(last.last_ms)
        ),
    );
    let has =
        |wanted: fn(AttemptResult) -> bool| record.ladder.iter().find(|rung| wanted(rung.result));
    match has(is_answer) {
        Some(first) => say(
            Side::Against,
            format!(
                "an unreachable guest: after {} its kernel answered ({})",
                seconds(first.first_ms),
                first.result
            ),
        ),
        None => say(
            Side::For,
            "the guest's kernel never answered, not even with a refusal".to_owned(),
        ),
    }
    match has(is_http) {
        Some(first) => say(
            Side::Against,
            format!(
                "a missing agent: something spoke HTTP after {} ({})",
                seconds(first.first_ms),
                first.result
            ),
        ),
        None if has(is_answer).is_some() => say(
            Side::Against,
            "an agent that is merely slow or unhealthy: nothing on port 8080 ever spoke HTTP"
                .to_owned(),
        ),
        None => {}
    }
    if !record.has_console && record.failure == Some(Failure::GuestUnreachable) {
        say(
            Side::For,
            "what the guest said on its console was not kept, so a panic is not ruled out"
                .to_owned(),
        );
    }
}

/// A refusal is an answer, the guest's kernel gave it.
fn is_answer(result: AttemptResult) -> bool {
    match result {
        AttemptResult::Ok | AttemptResult::VncNotReady | AttemptResult::Http(_) => true,
        AttemptResult::Error(error) => matches!(
            error,
            AttemptError::Refused
                | AttemptError::Reset
                | AttemptError::Pipe
                | AttemptError::BadHttp
                | AttemptError::BadHttpOther
        ),
    }
}

fn is_http(result: AttemptResult) -> bool {
    matches!(
        result,
        AttemptResult::Ok | AttemptResult::VncNotReady | AttemptResult::Http(_)
    )
}

fn tries(number: u32) -> String {
    match number {
        1 => "1 attempt".to_owned(),
        number => format!("{number} attempts"),
    }
}

fn seconds(ms: u32) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::Timestamp;

    fn rung(error: AttemptError, count: u32, first_ms: u32, last_ms: u32) -> Rung {
        Rung {
            result: AttemptResult::Error(error),
            count,
            first_ms,
            last_ms,
        }
    }

    fn span(ms: u32) -> StageSpan {
        StageSpan {
            started_at: Timestamp(0),
            ms,
            outcome: StageOutcome::Completed,
            coarse: false,
            by_console: false,
        }
    }

    fn texts(record: &Record<'_>, side: Side) -> Vec<String> {
        let all = weigh(record).into_iter();
        all.filter(|weight| weight.side == side)
            .map(|weight| weight.text)
            .collect()
    }

    #[test]
    fn a_boot_that_was_refused_speaks_against_its_network_and_its_creation() {
        let ladder = [
            rung(AttemptError::HostUnreachable, 2, 1_000, 4_000),
            rung(AttemptError::Refused, 55, 6_000, 119_000),
        ];
        let record = Record {
            outcome: Some(Outcome::Failed),
            failure: Some(Failure::AgentRefused),
            failed_stage: Some(Stage::AgentStart),
            stages: &[(Stage::StartFirecracker, span(80))],
            ladder: &ladder,
            deadline_ms: Some(120_000),
            injected: false,
            has_console: false,
        };
        let found = texts(&record, Side::For);
        assert!(
            found.contains(
                &"55 of 57 attempts ended as ECONNREFUSED, the last 119.0 s into the wait; the controller gives up after 120.0 s"
                    .to_owned()
            ),
            "{found:?}"
        );
        let against = texts(&record, Side::Against);
        assert!(
            against
                .iter()
                .any(|text| text.contains("after 6.0 s its kernel answered"))
        );
        assert!(
            against
                .iter()
                .any(|text| text.starts_with("a fault of creation"))
        );
        assert!(
            against
                .iter()
                .any(|text| text.contains("nothing on port 8080 ever spoke HTTP"))
        );
    }

    #[test]
    fn a_guest_that_never_answered_rules_nothing_of_the_guest_out() {
        let ladder = [rung(AttemptError::HostUnreachable, 40, 1_000, 119_000)];
        let record = Record {
            outcome: Some(Outcome::Failed),
            failure: Some(Failure::GuestUnreachable),
            failed_stage: Some(Stage::GuestNetwork),
            stages: &[],
            ladder: &ladder,
            deadline_ms: None,
            injected: true,
            has_console: false,
        };
        assert_eq!(texts(&record, Side::Against), Vec::<String>::new());
        assert_eq!(texts(&record, Side::For).len(), 3);
    }
}

//! What a page says of the cause, and of a fix: the verdict, what speaks for it and against, what else it may be.

use super::figures::{bad_of, length, share};
use super::{Context, append};
use crate::core::alert::{Incident, Kind};
use crate::core::diagnosis::{Point, Ranked};
use crate::core::event::Timestamp;
use crate::core::fix::{Fix, Standing, What};

/// Points of a line; the weightiest say enough.
const POINTS: usize = 3;
/// Other verdicts that are named.
const OTHERS: usize = 2;

/// What the boots fail of, where it can be said without "probably" and is more than their class.
pub(super) fn cause(incident: &Incident) -> Option<&'static str> {
    let first = incident.diagnosis.as_ref()?.sure()?;
    first.adds().then(|| first.verdict.meaning())
}

/// At most five lines.
pub(super) fn lines(incident: &Incident, context: &Context) -> Vec<String> {
    let Some(found) = &incident.diagnosis else {
        return Vec::new();
    };
    let others: Vec<&Ranked> = found.others().take(OTHERS).collect();
    let Some(first) = found.verdict() else {
        if !incident.is_firing() {
            return Vec::new();
        }
        let mut line = "Not enough evidence to name the cause.".to_owned();
        if !others.is_empty() {
            append(&mut line, format_args!(" It may be: {}.", named(&others)));
        }
        return vec![line];
    };
    let word = match found.sure() {
        Some(_) => "Cause",
        None => "Probable cause",
    };
    let mut lines = vec![format!(
        "{word} ({}): {}.",
        first.percent(),
        first.verdict.meaning()
    )];
    if !first.speaks_for.is_empty() {
        lines.push(format!("For it: {}.", points(&first.speaks_for)));
    }
    if !first.against.is_empty() {
        lines.push(format!("Against it: {}.", points(&first.against)));
    }
    let mut refuted = format!("Refuted, if {}.", first.verdict.row().refuted_by);
    if !others.is_empty() {
        append(
            &mut refuted,
            format_args!(" Else it may be: {}.", named(&others)),
        );
    }
    lines.push(refuted);
    if let Some(url) = context.runbook("causes") {
        lines.push(format!("What to do: {url}#{}", first.verdict));
    }
    lines
}

fn points(points: &[Point]) -> String {
    let spoken: Vec<String> = points.iter().take(POINTS).map(Point::spoken).collect();
    spoken.join("; ")
}

fn named(others: &[&Ranked]) -> String {
    let named: Vec<String> = others
        .iter()
        .map(|other| format!("{} ({})", other.verdict.meaning(), other.percent()))
        .collect();
    named.join("; ")
}

/// How a fix stands; while it lasts, and at its end.
pub(super) fn fix(
    fix: &Fix,
    kind: Kind,
    since_first: Timestamp,
    moment: impl Fn(Timestamp) -> String,
) -> String {
    let what = match &fix.what {
        What::Marked { author, note } => format!(
            "The fix that {author} marked at {} ({note})",
            moment(fix.at)
        ),
        What::Image => format!("The golden image of {}", moment(fix.at)),
    };
    let mut out = what;
    let count = fix.since;
    if count.of == 0 {
        append(
            &mut out,
            format_args!(
                ", {} after the first failure: no boot has ended since.",
                length(fix.at.since(since_first))
            ),
        );
        return out;
    }
    let (standing, over) = match fix.standing {
        Standing::Confirmed => ("confirmed", ""),
        Standing::NotConfirmed => ("not confirmed", ""),
        Standing::Undecided if kind == Kind::Resolved => ("not confirmed yet", ", too few to tell"),
        Standing::Undecided => ("not decided yet", ""),
    };
    append(
        &mut out,
        format_args!(": {standing}, {} boots failed since{over}", bad_of(count)),
    );
    if count.bad < count.of && fix.standing != Standing::NotConfirmed {
        let bound = (fix.upper_bound() * 100.0).round() / 100.0;
        append(
            &mut out,
            format_args!("; at most {} of boots fail now (95 % sure)", share(bound)),
        );
    }
    append(
        &mut out,
        format_args!("; before it {} failed.", bad_of(fix.before)),
    );
    out
}

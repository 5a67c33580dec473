//! How well the rules detect: a labelled corpus of the simulated controller's logs, read and judged as in production.
//!
//! What is found is written into `docs/detection.md`, which must be true: with BLESS set it is written anew.

mod corpus;
mod page;
mod watch;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bootwatch::core::alert::{Kind, Notification};
use bootwatch::core::event::{Failure, Outcome, Timestamp, VmType};
use bootwatch::core::rule::Severity;
use bootwatch::simulator::Truth;

use corpus::{HARMLESS, MODES, RATES, SLOWER, Span};
use watch::{Watched, watch};

const SAMPLE: &[u8] = include_bytes!("../fixtures/controller/incident.log");

/// What became of one fault at one rate.
pub(super) struct Case {
    pub(super) bad_boots: usize,
    /// Its first page.
    pub(super) page: Option<First>,
    /// Pages about something else.
    pub(super) false_pages: Vec<String>,
    /// Further pages about the same fault, after too early a resolve.
    pub(super) again: usize,
    pub(super) resolved: bool,
}

pub(super) struct First {
    pub(super) rule: &'static str,
    pub(super) cause: Failure,
    /// Bad boots that had ended when it was sent, the one that decided it among them.
    pub(super) after: usize,
    /// From the first bad boot's begin to the page.
    pub(super) seconds: i64,
}

/// Everything that the documentation says.
pub(super) struct Findings {
    /// By mode and rate.
    pub(super) faults: Vec<Vec<Case>>,
    pub(super) harmless: Vec<Vec<usize>>,
    /// The rules that wrote tickets.
    pub(super) slower: Vec<Vec<Vec<&'static str>>>,
    pub(super) quiet: Quiet,
    pub(super) sample: First,
}

impl Findings {
    fn cases(&self) -> impl Iterator<Item = &Case> {
        self.faults.iter().flatten()
    }

    /// Bad boots that had ended when the page was sent, at the median.
    pub(super) fn median_after(&self) -> usize {
        let pages = self.cases().filter_map(|case| case.page.as_ref());
        let mut after: Vec<usize> = pages.map(|page| page.after).collect();
        after.sort_unstable();
        after.get(after.len() / 2).copied().unwrap_or(usize::MAX)
    }

    /// First pages that name the right cause, of how many cases.
    pub(super) fn right(&self) -> (usize, usize) {
        let rows = MODES.iter().zip(&self.faults);
        let right = rows.map(|(mode, row)| {
            let pages = row.iter().filter_map(|case| case.page.as_ref());
            pages.filter(|page| page.cause == mode.cause).count()
        });
        (right.sum(), self.cases().count())
    }

    /// Pages about what is no fault of the boots, or about nothing.
    pub(super) fn false_pages(&self) -> usize {
        let meanwhile: usize = self.cases().map(|case| case.false_pages.len()).sum();
        meanwhile + self.harmless.iter().flatten().sum::<usize>()
    }
}

pub(super) struct Quiet {
    pub(super) boots: usize,
    pub(super) failed: usize,
    pub(super) pages: usize,
    pub(super) tickets: usize,
}

fn is_page(sent: &Notification) -> bool {
    sent.kind == Kind::Firing && sent.incident.severity() == Severity::Page
}

fn is_ticket(sent: &Notification) -> bool {
    sent.kind == Kind::Firing && sent.incident.severity() == Severity::Ticket
}

/// The log has a resolution of a second.
fn second(at: Timestamp) -> i64 {
    at.0.div_euclid(1000)
}

fn judge(watched: &Watched, span: Span, cause: Failure) -> Case {
    let mut bad: Vec<&Truth> = watched
        .truths
        .iter()
        .filter(|truth| truth.outcome == Some(Outcome::Failed) && truth.failure == Some(cause))
        .filter(|truth| truth.started_at >= span.from && truth.started_at < span.until)
        .collect();
    bad.sort_by_key(|truth| truth.ended_at);
    let began = bad.iter().map(|truth| truth.started_at).min();
    let pages: Vec<&Notification> = watched.sent.iter().filter(|sent| is_page(sent)).collect();
    let about = pages
        .iter()
        .find(|page| began.is_some_and(|began| second(page.at) >= second(began)));
    let page = about.zip(began).map(|(page, began)| First {
        rule: page.incident.members[0].rule.as_str(),
        cause: page.incident.cause.failure().unwrap_or(Failure::Unknown),
        after: bad
            .iter()
            .filter(|truth| {
                truth
                    .ended_at
                    .is_some_and(|at| second(at) <= second(page.at))
            })
            .count(),
        seconds: page.at.since(began) / 1000,
    });
    let resolved = about.is_some_and(|page| {
        let key = &page.incident.key;
        let mut ends = watched.sent.iter();
        ends.any(|sent| sent.kind == Kind::Resolved && &sent.incident.key == key)
    });
    let others: Vec<&&Notification> = pages
        .iter()
        .filter(|page| about.is_none_or(|about| about.incident.key != page.incident.key))
        .collect();
    let same = |page: &Notification| {
        began.is_some_and(|began| page.at >= began) && page.incident.cause == cause
    };
    Case {
        bad_boots: bad.len(),
        again: others.iter().filter(|page| same(page)).count(),
        false_pages: others
            .iter()
            .filter(|page| !same(page))
            .map(|page| format!("{} at {}", page.incident.cause, second(page.at)))
            .collect(),
        page,
        resolved,
    }
}

/// Does everything there is to do, on all processors.
fn each<T: Send>(jobs: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    if job >= jobs {
                        return;
                    }
                    let result = work(job);
                    done.lock().unwrap().push((job, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(job, _)| *job);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Rows of one result a rate.
fn by_rate<T: Send>(rows: usize, work: impl Fn(usize, usize, u32) -> T + Sync) -> Vec<Vec<T>> {
    let all = each(rows * RATES.len(), |job| {
        work(job, job / RATES.len(), RATES[job % RATES.len()])
    });
    let mut all = all.into_iter();
    (0..rows)
        .map(|_| all.by_ref().take(RATES.len()).collect())
        .collect()
}

fn seed(job: usize) -> u64 {
    1_000 + job as u64
}

fn find_out() -> Findings {
    let faults = by_rate(MODES.len(), |job, row, rate| {
        let (plan, span) = MODES[row].plan(seed(job), rate);
        judge(&watch(plan), span, MODES[row].cause)
    });
    let harmless = by_rate(HARMLESS.len(), |job, row, rate| {
        let (plan, _) = HARMLESS[row].plan(seed(job), rate);
        watch(plan).sent.iter().filter(|sent| is_page(sent)).count()
    });
    let slower = by_rate(SLOWER.len(), |job, row, rate| {
        let (plan, span) = SLOWER[row].plan(seed(job), rate);
        let sent = watch(plan).sent;
        let later = sent.iter().filter(|sent| sent.at >= span.from);
        let mut rules: Vec<&str> = later
            .filter(|sent| sent.incident.severity() == Severity::Ticket)
            .flat_map(|sent| &sent.incident.members)
            .map(|member| member.rule.as_str())
            .collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    });
    Findings {
        faults,
        harmless,
        slower,
        quiet: quiet(),
        sample: sample(),
    }
}

/// The month in pieces of days, so that every processor has its part.
fn quiet() -> Quiet {
    let watched = watch(corpus::quiet(77, corpus::QUIET_DAYS, corpus::QUIET_RATE));
    let of = |outcome: Outcome| {
        let mut truths = watched.truths.iter();
        truths
            .by_ref()
            .filter(|truth| truth.outcome == Some(outcome))
            .count()
    };
    Quiet {
        boots: watched.truths.len(),
        failed: of(Outcome::Failed),
        pages: watched.sent.iter().filter(|sent| is_page(sent)).count(),
        tickets: watched.sent.iter().filter(|sent| is_ticket(sent)).count(),
    }
}

/// The recorded incident: an image without the agent, a healthy boot among the bad ones, then recovery.
fn sample() -> First {
    let sent = watch::watch_log(SAMPLE);
    let page = sent
        .iter()
        .find(|sent| is_page(sent))
        .expect("the recorded incident pages");
    assert_eq!(page.incident.subject.vm_type(), Some(VmType::Browser));
    First {
        rule: page.incident.members[0].rule.as_str(),
        cause: page.incident.cause.failure().unwrap_or(Failure::Unknown),
        after: page.incident.boots.len(),
        seconds: page.at.since(page.incident.first_bad_at) / 1000,
    }
}

#[test]
fn incidents_are_detected_early_rightly_and_nothing_else_is() {
    let found = find_out();
    page::holds(&found);
    let mut wrong = Vec::new();
    for (mode, row) in MODES.iter().zip(&found.faults) {
        for (case, rate) in row.iter().zip(RATES) {
            let named = format!("{} at {rate}", mode.name);
            if case.bad_boots < 3 {
                wrong.push(format!("{named}: {} bad boots only", case.bad_boots));
            }
            if case.page.is_none() {
                wrong.push(format!("{named}: not detected"));
            }
            if !case.false_pages.is_empty() {
                wrong.push(format!("{named}: false {:?}", case.false_pages));
            }
            if !case.resolved {
                wrong.push(format!("{named}: not resolved"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(found.median_after() <= 3);
    let (right, cases) = found.right();
    assert!(right * 100 >= cases * 95, "{right} of {cases}");
    assert_eq!(found.false_pages(), 0);
    assert!(found.quiet.pages <= 1, "{} pages", found.quiet.pages);
    for (slower, row) in SLOWER.iter().zip(&found.slower) {
        let right = row.iter().all(|rules| rules.contains(&slower.rule));
        assert!(right, "{}: {row:?}", slower.name);
    }
    let sample = (found.sample.cause, found.sample.after);
    assert_eq!(sample, (Failure::AgentRefused, 3));
}

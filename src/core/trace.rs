//! A boot as a trace: what happened when, in the form in which traces are told, by value and without a wire format.
//!
//! ```text
//!   boot ──────────────────────────────────────────────┐  status: ready, or the failure class
//!     allocate_ip ─┐                                   │
//!       create_tap ─┐                                  │
//!         clone_snapshot ────────┐                     │
//!           inject_agent ──────┐                       │
//!             … start_firecracker ─┐                   │
//!                  guest_network ────┐  • health_check │
//!                        agent_start ────────┐ • • • • │
//!                             session_ready ───────────┼──┐
//! ```
//!
//! Times are those at which things happened, never those at which they were read. Every id follows from what the trace
//! is about: the trace's is the boot's own (of a boot with a VM, the VM's UUID), so that whoever has one of the two has
//! the other, and whatever is told again after a crash is the same trace.
//!
//! What links to a session or to an image names it: boots with the same link belong together. No span stands behind it.

use std::net::Ipv4Addr;

use crate::core::boot::{Boot, StageSpan};
use crate::core::event::{Failure, Outcome, SessionId, Stage, StageOutcome, Timestamp, VmType};
use crate::core::image::Generation;

/// The root span of a boot. The others bear their stage's name.
const BOOT: &str = "boot";
const HEALTH_CHECK: &str = "health_check";
/// Of a redacted error text.
const MESSAGE: usize = 400;
/// The golden image is built a few times a day at most, and a boot is told a quarter of an hour after its end.
const GENERATIONS: usize = 16;

/// 128 bits, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// Zero is no id; what would have it gets another, always the same.
    #[must_use]
    pub fn of_number(number: u128) -> TraceId {
        TraceId(match number {
            0 => hash(b"zero").max(1),
            number => number,
        })
    }

    fn of_text(text: &str) -> TraceId {
        TraceId::of_number(hash(text.as_bytes()))
    }

    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

/// 64 bits, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(u64);

impl SpanId {
    /// The span of this name in this trace: there is one.
    #[must_use]
    pub fn of(trace: TraceId, name: &str) -> SpanId {
        let mut text = trace.bytes().to_vec();
        text.extend_from_slice(name.as_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "the halves of a hash")]
        let folded = {
            let hash = hash(&text);
            (hash >> 64) as u64 ^ hash as u64
        };
        SpanId(folded.max(1))
    }

    #[must_use]
    pub fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// FNV-1a, then mixed: a last byte that differs must change the first bit, too.
fn hash(text: &[u8]) -> u128 {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in text {
        hash = (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    hash ^= hash >> 67;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    hash ^ (hash >> 61)
}

#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    pub id: TraceId,
    /// The root first.
    pub spans: Vec<Span>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub id: SpanId,
    pub parent: Option<SpanId>,
    pub name: &'static str,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    pub status: Status,
    pub attributes: Vec<Attribute>,
    pub events: Vec<SpanEvent>,
    pub links: Vec<Link>,
}

pub type Attribute = (&'static str, Value);

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Whole(i64),
    Real(f64),
    Flag(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// Neither well nor failed: cancelled, lost, or not for a span to say.
    Unset,
    Ok,
    /// `error.type` is among the span's attributes.
    Failed(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct SpanEvent {
    pub name: &'static str,
    pub at: Timestamp,
    pub attributes: Vec<Attribute>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    pub trace: TraceId,
    pub span: SpanId,
    pub attributes: Vec<Attribute>,
}

impl Link {
    fn to(kind: &'static str, trace: TraceId, key: &'static str, name: String) -> Link {
        Link {
            trace,
            span: SpanId::of(trace, kind),
            attributes: vec![("bootwatch.link", kind.into()), (key, Value::Text(name))],
        }
    }

    /// A session's own number is its trace.
    fn to_session(session: SessionId) -> Link {
        let trace = TraceId::of_number(session.0);
        Link::to(
            "session",
            trace,
            "bootwatch.session_id",
            session.to_string(),
        )
    }

    fn to_image(generation: &Generation) -> Link {
        let name = generation.to_string();
        let trace = TraceId::of_text(&name);
        Link::to("image", trace, "bootwatch.image_generation", name)
    }
}

impl Span {
    /// Moved, and cut where it is too long.
    fn lie_within(&mut self, from: Timestamp, to: Timestamp) {
        let took = self.ended_at.since(self.started_at);
        self.started_at = self.started_at.min(to.plus_ms(-took)).max(from);
        self.ended_at = self.started_at.plus_ms(took).min(to);
    }
}

/// Which golden image was there when.
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// Since when, oldest first; `None`: the image was gone.
    seen: Vec<(Timestamp, Option<Generation>)>,
}

impl Images {
    /// Takes what is there now. An image is there since it was written; one that is older than its predecessor was put
    /// back, and is there since it was seen.
    pub fn see(&mut self, generation: Option<&Generation>, now: Timestamp) {
        let last = self.seen.last();
        if last.is_some_and(|(_, last)| last.as_ref() == generation) {
            return;
        }
        let written = generation.map_or(now, |generation| generation.modified_at);
        let since = match last {
            Some((before, _)) if written <= *before => now,
            _ => written,
        };
        if self.seen.len() == GENERATIONS {
            self.seen.remove(0);
        }
        self.seen.push((since, generation.cloned()));
    }

    /// What a boot cloned at this time was cloned from; `None`: nobody knows.
    #[must_use]
    pub fn at(&self, time: Timestamp) -> Option<&Generation> {
        let then = self.seen.iter().rev().find(|(since, _)| *since <= time);
        then?.1.as_ref()
    }
}

/// The trace of a boot that has ended; `host` is who watched it.
#[must_use]
pub fn of_boot(boot: &Boot, host: &str, images: &Images) -> Option<Trace> {
    let (outcome, ended_at) = (boot.outcome?, boot.ended_at?);
    let id = TraceId::of_number(boot.number(host));
    let root = SpanId::of(id, BOOT);
    let image = image_of(boot, images);
    let mut spans = vec![Span {
        id: root,
        parent: None,
        name: BOOT,
        started_at: boot.started_at,
        ended_at: ended_at.max(boot.started_at),
        status: status_of(boot, outcome),
        attributes: facts_of(boot, host, outcome, image),
        events: Vec::new(),
        links: boot
            .session
            .map(Link::to_session)
            .into_iter()
            .chain(image.map(Link::to_image))
            .collect(),
    }];
    let clone = SpanId::of(id, Stage::CloneSnapshot.as_str());
    for (stage, took) in boot.stages() {
        let inside_clone =
            stage == Stage::InjectAgent && boot.stage(Stage::CloneSnapshot).is_some();
        let parent = if inside_clone { clone } else { root };
        let mut span = span_of(boot, id, parent, stage, took);
        // Its lines are stamped in whole seconds, what they tell of is not.
        if let Some(parent) = spans.iter().find(|one| inside_clone && one.id == parent) {
            span.lie_within(parent.started_at, parent.ended_at);
        }
        spans.push(span);
    }
    for (at, result) in boot.attempts_in_order() {
        let place = place_of(&spans, at);
        spans[place].events.push(SpanEvent {
            name: HEALTH_CHECK,
            at,
            attributes: vec![("bootwatch.result", Value::Text(result.to_string()))],
        });
    }
    Some(Trace { id, spans })
}

/// The stage of the guest during which something happened, the later one at its edge; else the boot itself.
fn place_of(spans: &[Span], at: Timestamp) -> usize {
    let guest = [Stage::GuestNetwork, Stage::AgentStart].map(Stage::as_str);
    spans
        .iter()
        .rposition(|span| {
            guest.contains(&span.name) && span.started_at <= at && at <= span.ended_at
        })
        .unwrap_or(0)
}

fn image_of<'a>(boot: &Boot, images: &'a Images) -> Option<&'a Generation> {
    // Other kinds have images of their own.
    if boot.kind() != VmType::Browser || boot.vm.is_none() {
        return None;
    }
    let clone = boot.stage(Stage::CloneSnapshot);
    images.at(clone.map_or(boot.started_at, |clone| clone.started_at))
}

fn status_of(boot: &Boot, outcome: Outcome) -> Status {
    match outcome {
        Outcome::Ready => Status::Ok,
        Outcome::Failed => {
            let class = boot.failure.unwrap_or(Failure::Unknown).as_str();
            Status::Failed(match &boot.error {
                Some(error) => format!("{class}: {}", cut(error)),
                None => class.to_owned(),
            })
        }
        Outcome::Cancelled | Outcome::Lost => Status::Unset,
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MESSAGE).collect()
}

fn facts_of(
    boot: &Boot,
    host: &str,
    outcome: Outcome,
    image: Option<&Generation>,
) -> Vec<Attribute> {
    let mut facts: Vec<Attribute> = vec![
        ("bootwatch.boot_id", Value::Text(boot.id(host))),
        ("bootwatch.vm_type", boot.kind().as_str().into()),
        ("bootwatch.origin", boot.origin.as_str().into()),
        ("bootwatch.outcome", outcome.as_str().into()),
    ];
    let mut fact = |key, value: Option<Value>| facts.extend(value.map(|value| (key, value)));
    let text = |text: String| Some(Value::Text(text));
    fact(
        "bootwatch.vm_id",
        boot.vm.map(|vm| vm.to_string()).and_then(text),
    );
    fact(
        "bootwatch.session_id",
        boot.session
            .map(|session| session.to_string())
            .and_then(text),
    );
    fact(
        "bootwatch.vm_ip",
        boot.ip.as_ref().map(Ipv4Addr::to_string).and_then(text),
    );
    fact(
        "bootwatch.image_generation",
        image.map(Generation::to_string).and_then(text),
    );
    fact(
        "bootwatch.failure",
        boot.failure.map(|failure| failure.as_str().into()),
    );
    // A boot that was lost or cancelled is no error.
    if outcome == Outcome::Failed {
        let class = boot.failure.unwrap_or(Failure::Unknown);
        fact("error.type", Some(class.as_str().into()));
    }
    fact(
        "bootwatch.failed_stage",
        boot.failed_stage.map(|stage| stage.as_str().into()),
    );
    fact(
        "bootwatch.ready_seconds",
        boot.ready_ms.map(|ms| Value::Real(f64::from(ms) / 1_000.0)),
    );
    let deadline = boot.limits.and_then(|limits| limits.deadline_ms);
    fact(
        "bootwatch.ready_deadline_seconds",
        deadline.map(|ms| Value::Real(f64::from(ms) / 1_000.0)),
    );
    if boot.limits.is_some() || !boot.attempts.is_empty() {
        let attempts: u32 = boot.attempts.iter().map(|(_, count)| *count).sum();
        fact(
            "bootwatch.health_check_attempts",
            Some(Value::Whole(i64::from(attempts))),
        );
    }
    facts
}

fn span_of(boot: &Boot, trace: TraceId, parent: SpanId, stage: Stage, took: StageSpan) -> Span {
    let failed = matches!(took.outcome, StageOutcome::Failed | StageOutcome::TimedOut);
    let mut attributes: Vec<Attribute> =
        vec![("bootwatch.stage_outcome", took.outcome.as_str().into())];
    if took.coarse {
        attributes.push(("bootwatch.coarse", Value::Flag(true)));
    }
    if took.by_console {
        attributes.push(("bootwatch.by_console", Value::Flag(true)));
    }
    let status = if failed {
        // The class belongs to the stage in which the boot stopped; another one's trouble has no class of its own.
        let class = match (boot.failed_stage == Some(stage), boot.failure) {
            (true, Some(failure)) => failure.as_str(),
            _ => took.outcome.as_str(),
        };
        attributes.push(("error.type", class.into()));
        Status::Failed(class.to_owned())
    } else {
        Status::Unset
    };
    Span {
        id: SpanId::of(trace, stage.as_str()),
        parent: Some(parent),
        name: stage.as_str(),
        started_at: took.started_at,
        ended_at: took.started_at.plus_ms(i64::from(took.ms)),
        status,
        attributes,
        events: Vec::new(),
        links: Vec::new(),
    }
}

#[cfg(test)]
mod tests;

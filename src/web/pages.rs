//! The pages: one for each question, written on the server, readable without script.
//!
//! The first page answers "is it well?", and is asked a thousand times while it is not. So what it needs of the store is
//! read every few seconds at most, and the page is written once a tick, whoever asks; everybody gets the same bytes and
//! their tag. The others are written when asked. All text goes through the templates, which escape it; what came from
//! logs and guests is shown as lines, never as markup, and the policy in `routes` lets no script run but ours.

mod alerts;
mod boot;
mod boots;
mod chart;
mod incidents;
mod layout;
mod now;
mod operate;
mod outcome;
mod public;
mod synthetic;
mod system;
mod text;
mod why;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use maud::{Markup, html};
use tokio::sync::Mutex;
use tokio::time::Instant;

pub(super) use alerts::state as alert_state;
pub(super) use boots::{Asked, MOST, NO_CURSOR, cursor, cursor_behind, limit};
pub(super) use layout::{ICON, SCRIPT, STYLE};
pub use synthetic::took;
pub(super) use system::OfZone;
pub(super) use text::{line as line_of, rfc3339};

use super::Faces;
use super::model::{BootFull, Cell, Live, Past, Unread, Words};
use crate::clock;
use crate::core::alert::{Digest, Incident};
use crate::core::desk::{Standing, View};
use crate::core::event::{Timestamp, UserKey, VmType};
use crate::core::state::{Because, Look, Verdict, judge};

/// Shown to everybody, where that is configured.
pub(super) const PUBLIC: &str = "/public";
const HTML: &str = "text/html; charset=utf-8";
/// The first page is written at most so often.
const TICK: Duration = Duration::from_secs(1);
/// What it needs of the store is read at most so often.
const DAY_AGE: Duration = Duration::from_secs(5);
const MONTH_AGE: Duration = Duration::from_secs(60);
pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;
/// Days are put together of these, since zones differ by quarters of an hour.
const QUARTER_MS: i64 = 15 * 60_000;
pub(super) const DAYS: i64 = 30;
/// Enough for a percentile that does not move.
const MOST_TIMES: u32 = 5_000;

/// What the pages are made of.
pub(super) struct Site {
    pub(super) faces: Faces,
    now: Mutex<Kept>,
}

/// What the first page keeps between two looks.
#[derive(Default)]
struct Kept {
    written: Option<(Instant, Written)>,
    /// The page for everybody.
    public: Option<(Instant, Written)>,
    day: Option<(Instant, Day)>,
    month: Option<(Instant, Month)>,
}

/// A page as it is sent.
#[derive(Clone)]
pub(super) struct Written {
    body: Bytes,
    tag: String,
}

/// The last day, hour by hour, and the times to ready of its boots.
#[derive(Clone, Default)]
pub(super) struct Day {
    pub(super) from: Timestamp,
    pub(super) cells: Vec<Cell>,
    pub(super) times: BTreeMap<VmType, Vec<u32>>,
    /// Why it is not known.
    pub(super) unread: Option<Unread>,
}

/// The last days, and the times to ready of the week before the last day.
#[derive(Clone, Default)]
pub(super) struct Month {
    pub(super) cells: Vec<Cell>,
    pub(super) usual: BTreeMap<VmType, Vec<u32>>,
    /// It could not be read of late: what there is is older.
    pub(super) is_unread: bool,
}

impl Kept {
    /// What cannot be read stays as it was, and says so.
    fn take_day(&mut self, at: Instant, from: Timestamp, read: Result<Day, Unread>) {
        let day = read.unwrap_or_else(|unread| {
            let before = self.day.take().map(|(_, day)| day);
            Day {
                unread: Some(unread),
                ..before.unwrap_or(Day {
                    from,
                    ..Day::default()
                })
            }
        });
        self.day = Some((at, day));
    }

    fn take_month(&mut self, at: Instant, read: Result<Month, Unread>) {
        let month = read.unwrap_or_else(|_| {
            let before = self.month.take().map(|(_, month)| month);
            Month {
                is_unread: true,
                ..before.unwrap_or_default()
            }
        });
        self.month = Some((at, month));
    }
}

/// What every page is given.
pub(super) struct Page<'a> {
    pub(super) host: &'a str,
    pub(super) version: &'a str,
    pub(super) zone: &'a jiff::tz::TimeZone,
    pub(super) now: Timestamp,
    pub(super) live: &'a Live,
    pub(super) view: &'a View,
    /// The boots that bootwatch makes, as `/api/v1/synthetic` shows them.
    pub(super) synthetic: &'a serde_json::Value,
    pub(super) verdict: Verdict,
    pub(super) tell: &'a dyn Fn(&Incident, Option<&Digest>) -> Words,
    /// Where the causes' runbooks are.
    pub(super) causes: Option<&'a str>,
    /// Operators may change something, if they have the token.
    pub(super) operable: bool,
}

impl Page<'_> {
    pub(super) fn moment(&self, at: Timestamp) -> Markup {
        text::moment(at, self.now, self.zone)
    }

    pub(super) fn zone_name(&self) -> String {
        match self.zone.iana_name() {
            Some(name) => name.to_owned(),
            None => self
                .now
                .in_zone(self.zone)
                .map(|at| at.strftime("%Z").to_string())
                .unwrap_or_default(),
        }
    }

    pub(super) fn standing(&self, key: &str) -> Option<&Standing> {
        let mut all = self.view.incidents.iter();
        all.find(|standing| standing.incident.key == key)
    }

    pub(super) fn incident(&self, key: &str) -> Option<&Incident> {
        self.standing(key).map(|standing| &standing.incident)
    }

    /// It in words; what stands for many, in those of all of them.
    pub(super) fn words(&self, incident: &Incident) -> Words {
        let standing = self.standing(&incident.key);
        (self.tell)(
            incident,
            standing.and_then(|standing| standing.digest.as_ref()),
        )
    }
}

type Known = Shared<Arc<Site>>;

impl Site {
    pub(super) fn new(faces: Faces) -> Arc<Site> {
        Arc::new(Site {
            faces,
            now: Mutex::new(Kept::default()),
        })
    }

    /// Lets `work` write with how things stand now.
    pub(super) fn with_page<T>(&self, work: impl FnOnce(&Page<'_>) -> T) -> T {
        let live = Arc::clone(&self.faces.live.borrow());
        let view = Arc::clone(&self.faces.operators.view.borrow());
        let synthetic = Arc::clone(&self.faces.operators.synthetic.view.borrow());
        let now = clock::now();
        work(&Page {
            synthetic: &synthetic,
            host: &self.faces.host,
            version: self.faces.version,
            zone: &self.faces.zone,
            now,
            verdict: verdict(&live, &view, now),
            live: &live,
            view: &view,
            tell: &*self.faces.tell,
            causes: self.faces.causes.as_deref(),
            operable: self.faces.operators.token.is_some(),
        })
    }

    pub(super) fn past(&self) -> &dyn Past {
        &*self.faces.past
    }

    /// A boot that has ended: the store's, or one of the last, which it may not have yet, or cannot tell of.
    pub(super) async fn boot(&self, boot_id: &str) -> Result<Option<BootFull>, Unread> {
        let past = self.past().boot(boot_id.to_owned()).await;
        if let Ok(Some(boot)) = past {
            return Ok(Some(boot));
        }
        // Not borrowed while a boot is told: whoever shows the next state would wait.
        let live = Arc::clone(&self.faces.live.borrow());
        let mut ended = live.ended.iter();
        match ended.find(|boot| boot.line.boot_id == boot_id) {
            Some(boot) => Ok(Some(boot.told().clone())),
            None => past,
        }
    }

    fn whole(&self, title: &str, at: &str, body: impl FnOnce(&Page<'_>) -> Markup) -> String {
        self.with_page(|page| layout::whole(page, title, at, body(page)))
    }

    /// The first page as of this tick. Whoever comes while it is written waits for it, and gets the same.
    async fn first_page(&self) -> Written {
        let mut kept = self.now.lock().await;
        let moment = clock::monotonic();
        let fresh = |at: Instant, age: Duration| moment.duration_since(at) < age;
        if let Some((at, written)) = &kept.written
            && fresh(*at, TICK)
        {
            return written.clone();
        }
        let now = clock::now();
        if !kept.day.as_ref().is_some_and(|(at, _)| fresh(*at, DAY_AGE)) {
            let from = Timestamp(now.0.div_euclid(HOUR_MS) * HOUR_MS + HOUR_MS - DAY_MS);
            let read = self.read_day(from).await;
            kept.take_day(moment, from, read);
        }
        if !kept
            .month
            .as_ref()
            .is_some_and(|(at, _)| fresh(*at, MONTH_AGE))
        {
            let read = self.read_month(now).await;
            kept.take_month(moment, read);
        }
        let none = (Day::default(), Month::default());
        let day = kept.day.as_ref().map_or(&none.0, |(_, day)| day);
        let month = kept.month.as_ref().map_or(&none.1, |(_, month)| month);
        // A tab among many says by its title how things stand.
        let html = self.with_page(|page| {
            let title = layout::word(page.verdict.state);
            layout::whole(page, title, "/", now::body(page, day, month))
        });
        let written = Written::of(html);
        kept.written = Some((moment, written.clone()));
        written
    }

    /// The page for everybody, as of this tick.
    async fn public_page(&self) -> Written {
        let mut kept = self.now.lock().await;
        let moment = clock::monotonic();
        let fresh = |at: Instant, age: Duration| moment.duration_since(at) < age;
        if let Some((at, written)) = &kept.public
            && fresh(*at, TICK)
        {
            return written.clone();
        }
        let month = kept.month.as_ref();
        if !month.is_some_and(|(at, _)| fresh(*at, MONTH_AGE)) {
            let read = self.read_month(clock::now()).await;
            kept.take_month(moment, read);
        }
        let none = Month::default();
        let month = kept.month.as_ref().map_or(&none, |(_, month)| month);
        let written = Written::of(self.with_page(|page| public::body(page, month)));
        kept.public = Some((moment, written.clone()));
        written
    }

    async fn read_day(&self, from: Timestamp) -> Result<Day, Unread> {
        let range = from..from.plus_ms(DAY_MS);
        let cells = self.past().cells(range.clone(), HOUR_MS).await?;
        let times = self.ready_times(range).await?;
        Ok(Day {
            from,
            cells,
            times,
            unread: None,
        })
    }

    async fn read_month(&self, now: Timestamp) -> Result<Month, Unread> {
        let from = Timestamp((now.0 - (DAYS + 1) * DAY_MS).div_euclid(QUARTER_MS) * QUARTER_MS);
        let cells = self.past().cells(from..now.plus_ms(1), QUARTER_MS).await?;
        let day_ago = now.plus_ms(-DAY_MS);
        let usual = self
            .ready_times(day_ago.plus_ms(-7 * DAY_MS)..day_ago)
            .await?;
        Ok(Month {
            cells,
            usual,
            is_unread: false,
        })
    }

    async fn ready_times(
        &self,
        range: Range<Timestamp>,
    ) -> Result<BTreeMap<VmType, Vec<u32>>, Unread> {
        let mut times = BTreeMap::new();
        for vm_type in VmType::ALL {
            let of_type = self.past().ready_times(range.clone(), *vm_type, MOST_TIMES);
            times.insert(*vm_type, of_type.await?);
        }
        Ok(times)
    }
}

/// How things stand.
pub(super) fn verdict(live: &Live, view: &View, now: Timestamp) -> Verdict {
    let incidents: Vec<&Incident> = view
        .incidents
        .iter()
        .filter(|standing| standing.digest.is_none())
        .map(|standing| &standing.incident)
        .filter(|incident| incident.is_firing())
        .collect();
    let by_hand = view.maintenance.iter();
    let by_hand = by_hand.filter(|one| one.starts_at <= now && now < one.ends_at);
    let windows = view.windows.iter().filter_map(|(_, span)| *span);
    let maintenance = by_hand
        .map(|one| one.starts_at)
        .chain(windows.map(|span| span.from))
        .min();
    judge(
        &Look {
            at: live.at,
            sources: &live.sources,
            incidents: &incidents,
            maintenance,
            last_boot: live.last_boot,
        },
        now,
    )
}

/// The state in a sentence, and what goes with it.
pub(super) fn sentence(page: &Page<'_>) -> (String, Option<String>) {
    let verdict = &page.verdict;
    let last = |what: &str| {
        let open = page
            .view
            .incidents
            .iter()
            .find(|one| one.incident.is_firing());
        let open = open.map(|standing| page.words(&standing.incident).title);
        open.map_or_else(
            || what.to_owned(),
            |title| format!("{what} What was last known: {title}."),
        )
    };
    match &verdict.because {
        Because::Well => (
            "VMs boot as they should.".to_owned(),
            Some("No incident is open, and everything that decides can be seen.".to_owned()),
        ),
        Because::Incident(key) => match page.incident(key) {
            Some(incident) => {
                let words = page.words(incident);
                (
                    format!("{}.", capital(&words.title)),
                    Some(words.summary).filter(|text| !text.is_empty()),
                )
            }
            None => ("An incident is open.".to_owned(), None),
        },
        Because::Blind(source) => (
            format!("Nobody knows: the controller's {source} cannot be seen."),
            Some(last("Boots may fail without bootwatch noticing.")),
        ),
        Because::Hung => (
            "Nobody knows: bootwatch itself does not look any more.".to_owned(),
            Some(last("Check its process and its log.")),
        ),
        Because::Quiet => (
            match page.live.last_boot {
                Some(_) => "Nobody knows: no boot ended in the last 24 hours.".to_owned(),
                None => "Nobody knows: no boot was seen to end yet.".to_owned(),
            },
            Some("Without a boot, asked for by a user or synthetic, it is not known whether one would be ready.".to_owned()),
        ),
        Because::Maintenance => {
            let by_hand = page.view.maintenance.iter();
            let reason = by_hand
                .filter(|one| one.starts_at <= page.now && page.now < one.ends_at)
                .map(|one| format!("{} ({}).", capital(&text::line(&one.reason)), text::line(&one.author)))
                .next();
            (
                "Somebody works on it: boots count neither for nor against.".to_owned(),
                reason,
            )
        }
    }
}

/// What to do first about what the banner tells of.
fn first_step(page: &Page<'_>) -> Option<String> {
    let Because::Incident(key) = &page.verdict.because else {
        return None;
    };
    page.words(page.incident(key)?).first_step
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// The banner that says how things stand; the word and the sentence are read out when they change, and not the time that
/// passes.
pub(super) fn banner(page: &Page<'_>) -> Markup {
    let (title, detail) = sentence(page);
    let state = page.verdict.state;
    // What the sentence says of the time is not said twice.
    let since = page.verdict.since;
    let in_title = matches!(page.verdict.because, Because::Incident(_));
    html! {
        section id="state" class={ "state s-" (state.as_str()) } data-live {
            p id="not-live" role="status" {}
            div id="said" data-live role="status" aria-live="polite" aria-atomic="true" {
                div.word { span.dot {} (layout::word(state)) }
                h1 { (title) }
            }
            div id="since" data-live {
                @if let Some(detail) = detail { p { (detail) } }
                @if let Some(since) = since {
                    p.soft {
                        @if in_title { "For " (text::length(page.now.since(since))) }
                        @else { "Since " (page.moment(since)) " (" (text::length(page.now.since(since))) ")" }
                        @if let Because::Incident(key) = &page.verdict.because {
                            " · " a href={ "/incidents/" (key) } { "the incident" }
                            @if page.operable { " · " a href={ "/incidents/" (key) "#h-ack" } { "take it" } }
                        }
                    }
                }
                @if let Some(step) = first_step(page) { p { strong { "Do first: " } (step) } }
            }
        }
    }
}

impl Written {
    /// The footer says as of when, which makes it no other page.
    pub(super) fn of(html: String) -> Written {
        let said = html
            .rsplit_once("<footer>")
            .map_or(&*html, |(said, _)| said);
        let tag = format!("\"{:032x}\"", UserKey::from_text(said.as_bytes()).0);
        Written {
            body: Bytes::from(html),
            tag,
        }
    }

    /// The page, or that it is still the one that the client has.
    pub(super) fn answer(self, headers: &HeaderMap) -> Response {
        let known = headers
            .get(IF_NONE_MATCH)
            .and_then(|tags| tags.to_str().ok());
        let is_same = |tag: &str| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.tag
        };
        if known.is_some_and(|tags| tags.split(',').any(is_same)) {
            return (StatusCode::NOT_MODIFIED, [(ETAG, self.tag)]).into_response();
        }
        (
            [(CONTENT_TYPE, HTML.to_owned()), (ETAG, self.tag)],
            self.body,
        )
            .into_response()
    }
}

pub(super) fn router(site: Arc<Site>) -> Router {
    let public = match site.faces.public {
        true => Router::new().route(PUBLIC, get(anybody)),
        false => Router::new(),
    };
    Router::new()
        .route("/", get(first))
        .merge(public)
        .route("/boots", get(boots::list))
        .route("/boots/{id}", get(boot::one))
        .route("/incidents", get(incidents::list))
        .route("/incidents/{key}", get(incidents::one))
        .route("/alerts", get(alerts::list))
        .route("/reports", get(system::reports))
        .route("/reports/{week}", get(system::report))
        .route("/system", get(system::system))
        .merge(operate::router())
        .with_state(site)
}

async fn anybody(Shared(site): Known, headers: HeaderMap) -> Response {
    site.public_page().await.answer(&headers)
}

async fn first(Shared(site): Known, headers: HeaderMap) -> Response {
    site.first_page().await.answer(&headers)
}

/// A page that says that something is not there, or cannot be read.
pub(super) fn sorry(site: &Site, status: StatusCode, at: &str, title: &str, why: &str) -> Response {
    sorry_and(site, status, at, title, why, &html! {})
}

/// The same with something to do about it.
fn sorry_and(
    site: &Site,
    status: StatusCode,
    at: &str,
    title: &str,
    why: &str,
    remedy: &Markup,
) -> Response {
    let html = site.whole(title, at, |_| {
        html! { h1 { (title) } p { (why) } (remedy) p { a href="/" { "How things stand now" } } }
    });
    (status, [(CONTENT_TYPE, HTML)], html).into_response()
}

pub(super) fn unread(site: &Site, at: &str, unread: &Unread) -> Response {
    let why = format!("{unread}. What happens now is still shown on the first page.");
    sorry(
        site,
        StatusCode::SERVICE_UNAVAILABLE,
        at,
        "The store cannot be read",
        &why,
    )
}

/// A page that was written for one who asked.
fn page(html: String, headers: &HeaderMap) -> Response {
    Written::of(html).answer(headers)
}

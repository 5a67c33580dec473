//! The boots, newest first, a page at a time: a cursor and no page numbers, since new ones come while somebody reads.

use std::sync::Arc;

use axum::extract::{Query, State as Shared};
use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use super::super::model::{BootLine, MOST_FLYING, Wanted};
use super::text::{self, seconds};
use super::{Page, Site, outcome, page, unread};
use crate::core::digits::grouped;
use crate::core::event::{Failure, Origin, Outcome, Timestamp, VmType};

/// Boots on one page.
const PAGE: u16 = 50;
pub(in crate::web) const MOST: u16 = 500;

/// What a query may ask for; what is empty is not asked for, and what is not known holds nothing back.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(in crate::web) struct Asked {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::web) vm_type: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::web) outcome: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::web) failure: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::web) origin: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::web) image: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::web) from: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::web) to: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::web) cursor: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::web) limit: String,
}

/// The cursor behind a boot: opaque to clients.
pub(in crate::web) fn cursor_behind(boot: &BootLine) -> String {
    format!("{}.{}", boot.started_at.0, boot.boot_id)
}

/// What stands for a place in a list that none of ours has: begun anew at the newest, a client would never end.
pub(in crate::web) const NO_CURSOR: &str =
    "cursor: it is no `next` of this list; leave it out to begin at the newest";

/// Where a list goes on; an empty one begins at the newest.
pub(in crate::web) fn cursor(text: &str) -> Result<Option<(Timestamp, String)>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let place = text.split_once('.').and_then(|(at, id)| {
        let at = at.parse().ok().filter(|_| !id.is_empty())?;
        Some((Timestamp(at), id.to_owned()))
    });
    place.map(Some).ok_or_else(|| NO_CURSOR.to_owned())
}

/// How many are wanted.
pub(in crate::web) fn limit(text: &str, usual: u16) -> Result<u16, String> {
    match text {
        "" => Ok(usual),
        text => text
            .parse()
            .ok()
            .filter(|limit| (1..=MOST).contains(limit))
            .ok_or_else(|| format!("limit: write a number from 1 to {MOST}")),
    }
}

/// A date or a time, in this zone where it names none; the words that say what is wrong.
pub(in crate::web) fn moment(
    field: &str,
    text: &str,
    zone: &jiff::tz::TimeZone,
) -> Result<Option<Timestamp>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(Some(Timestamp(at.as_millisecond())));
    }
    let at = text
        .parse::<jiff::civil::DateTime>()
        .ok()
        .or_else(|| {
            text.parse::<jiff::civil::Date>()
                .ok()
                .map(jiff::civil::Date::into)
        })
        .and_then(|at| at.to_zoned_datetime(zone.clone()).ok());
    at.map(|at| Some(Timestamp(at.timestamp().as_millisecond())))
        .ok_or_else(|| {
            format!("{field}: write a date or time such as 2025-10-18 or 2025-10-18T18:00:00Z")
        })
}

fn word<T>(
    field: &str,
    text: &str,
    read: impl Fn(&str) -> Option<T>,
    all: &[&str],
) -> Result<Option<T>, String> {
    match text {
        "" => Ok(None),
        text => read(text).map(Some).ok_or_else(|| {
            format!(
                "{field}: {:?} is none of {}",
                text::line(text),
                all.join(", ")
            )
        }),
    }
}

impl Asked {
    /// What is wanted, or the first thing that cannot be.
    pub(in crate::web) fn wanted(
        &self,
        usual: u16,
        zone: &jiff::tz::TimeZone,
    ) -> Result<Wanted, String> {
        let kinds: Vec<&str> = VmType::ALL.iter().map(|one| one.as_str()).collect();
        let outcomes: Vec<&str> = Outcome::ALL.iter().map(|one| one.as_str()).collect();
        let failures: Vec<&str> = Failure::ALL.iter().map(|one| one.as_str()).collect();
        let origins: Vec<&str> = Origin::ALL.iter().map(|one| one.as_str()).collect();
        Ok(Wanted {
            from: moment("from", &self.from, zone)?,
            to: moment("to", &self.to, zone)?,
            vm_type: word("vm_type", &self.vm_type, VmType::from_word, &kinds)?,
            outcome: word("outcome", &self.outcome, Outcome::from_word, &outcomes)?,
            failure: word("failure", &self.failure, Failure::from_word, &failures)?,
            origin: word("origin", &self.origin, Origin::from_word, &origins)?,
            image: Some(self.image.clone()).filter(|image| !image.is_empty()),
            after: cursor(&self.cursor)?,
            limit: limit(&self.limit, usual)?,
        })
    }
}

/// As an outcome is asked for that is none yet.
const IN_FLIGHT: &str = "in_progress";

pub(super) async fn list(
    Shared(site): Shared<Arc<Site>>,
    Query(mut asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    // Boots in flight are on the first page, not in the store.
    let flying = asked.outcome == IN_FLIGHT;
    if flying {
        asked.outcome.clear();
    }
    let wanted = match asked.wanted(PAGE, &site.faces.zone) {
        Ok(wanted) => wanted,
        Err(problem) => {
            let html = site.whole("Boots", "/boots", |page| {
                body(page, &asked, &[], (0, false), Some(&problem))
            });
            return page(html, &headers);
        }
    };
    if flying {
        asked.outcome.push_str(IN_FLIGHT);
    }
    let limit = wanted.limit;
    let is_first = wanted.after.is_none();
    let found = match flying {
        true => Ok(Vec::new()),
        false => site.past().boots(wanted).await,
    };
    match found {
        Ok(boots) => {
            let html = site.whole("Boots", "/boots", |page| {
                let lists_flying = flying || is_first && asked.is_plain();
                let flying = page.live.flying.iter().rev().filter(|_| lists_flying);
                let flying = flying.filter(|boot| asked.may_be(boot));
                let mut shown: Vec<BootLine> = flying.cloned().collect();
                let unlisted = match lists_flying {
                    true => unlisted(page, &asked, &shown),
                    false => 0,
                };
                let more = boots.len() >= usize::from(limit);
                let ended = page.live.ended.iter().map(|boot| &boot.line);
                shown.extend(match is_first && asked.is_plain() {
                    true => with_lately(boots, ended, more),
                    false => boots,
                });
                body(page, &asked, &shown, (unlisted, more), None)
            });
            page(html, &headers)
        }
        Err(why) => unread(&site, "/boots", &why),
    }
}

/// Users' boots in flight that are asked for and of which there is no line, since there are too many: the newest.
fn unlisted(page: &Page<'_>, asked: &Asked, listed: &[BootLine]) -> usize {
    if page.live.flying.len() < MOST_FLYING {
        return 0;
    }
    let is_asked =
        |vm_type: VmType| [String::new(), vm_type.as_str().to_owned()].contains(&asked.vm_type);
    let kinds = page.live.kinds.iter();
    let kinds =
        kinds.filter(|kind| is_asked(kind.vm_type) && asked.origin != Origin::Synthetic.as_str());
    let all: usize = kinds.map(|kind| kind.in_flight).sum();
    let users = listed.iter().filter(|boot| boot.origin == Origin::User);
    all.saturating_sub(users.count())
}

/// The store's boots, and among them those that ended so lately that it does not have them yet. `more`: the store has more
/// than these, which are for a later page.
fn with_lately<'a>(
    stored: Vec<BootLine>,
    lately: impl Iterator<Item = &'a BootLine>,
    more: bool,
) -> Vec<BootLine> {
    let oldest = stored.last().filter(|_| more).map(|boot| boot.started_at);
    let unknown = |line: &&BootLine| {
        let known = stored.iter().any(|boot| boot.boot_id == line.boot_id);
        !known && oldest.is_none_or(|oldest| line.started_at > oldest)
    };
    let mut all: Vec<BootLine> = lately.filter(unknown).cloned().collect();
    all.extend(stored);
    all.sort_by_key(|boot| std::cmp::Reverse(boot.started_at));
    all
}

impl Asked {
    /// Whether a boot in flight may be one that is asked for.
    fn may_be(&self, boot: &BootLine) -> bool {
        let is = |asked: &str, known: &str| asked.is_empty() || known == asked;
        is(&self.vm_type, boot.vm_type.as_str()) && is(&self.origin, boot.origin.as_str())
    }

    /// Nothing is filtered.
    fn is_plain(&self) -> bool {
        let filters = [
            &self.vm_type,
            &self.outcome,
            &self.failure,
            &self.origin,
            &self.image,
            &self.from,
            &self.to,
        ];
        filters.iter().all(|text| text.is_empty())
    }
}

fn body(
    page: &Page<'_>,
    asked: &Asked,
    boots: &[BootLine],
    (unlisted, more): (usize, bool),
    problem: Option<&str>,
) -> Markup {
    html! {
        h1 { "Boots" }
        (filter(asked))
        @if let Some(problem) = problem { p.notice.bad role="alert" { (problem) } }
        section.card id="boots" aria-label="Boots, newest first" data-live {
            @if unlisted > 0 { p.small.soft { "and " (grouped(unlisted as u64)) " more in flight, which began later" } }
            @if !boots.is_empty() { (table(page, boots)) } @else if unlisted == 0 { p.soft { "No boot fits." } }
            @if more && let Some(last) = boots.last() {
                @let next = Asked { cursor: cursor_behind(last), ..asked.clone() };
                nav.pager aria-label="Pages" {
                    a href={ "/boots?" (serde_urlencoded::to_string(&next).unwrap_or_default()) } rel="next" { "Older boots" }
                }
            }
        }
    }
}

pub(super) fn table(page: &Page<'_>, boots: &[BootLine]) -> Markup {
    html! {
        table.stack.three {
            thead {
                tr {
                    th scope="col" { "boot" } th scope="col" { "began" } th scope="col" { "kind" } th scope="col" { "outcome" }
                    th scope="col" { "failure" } th.num scope="col" { "took" }
                }
            }
            tbody {
                @for boot in boots {
                    tr {
                        th scope="row" { (outcome::name(boot)) }
                        td { (page.moment(boot.started_at)) }
                        td { (boot.vm_type.spoken()) }
                        td { (outcome::mark(boot.outcome)) }
                        td.full { @if let Some(failure) = boot.failure { (why(boot, failure)) } }
                        td.num { (took(page, boot)) }
                    }
                }
            }
        }
    }
}

fn why(boot: &BootLine, failure: Failure) -> Markup {
    html! {
        abbr title=(failure.meaning()) { (failure.as_str()) }
        @if let Some(stage) = boot.failed_stage { span.soft { " in " (stage.as_str()) } }
    }
}

fn took(page: &Page<'_>, boot: &BootLine) -> String {
    match (boot.ready_ms, boot.ended_at) {
        (Some(ms), _) => seconds(ms),
        (None, Some(ended)) => text::length(ended.since(boot.started_at)),
        (None, None) => text::length(page.now.since(boot.started_at)),
    }
}

fn filter(asked: &Asked) -> Markup {
    html! {
        form.filter.card method="get" action="/boots" role="search" aria-label="Which boots" {
            (choice("outcome", "Outcome", &asked.outcome, Outcome::ALL.iter().map(|one| one.as_str()).chain([IN_FLIGHT])))
            (choice("failure", "Failure", &asked.failure, Failure::ALL.iter().map(|one| one.as_str())))
            (choice("vm_type", "Kind", &asked.vm_type, VmType::ALL.iter().map(|one| one.as_str())))
            (choice("origin", "Origin", &asked.origin, Origin::ALL.iter().map(|one| one.as_str())))
            label { "From" input name="from" value=(asked.from) placeholder="2025-10-18T18:00" autocomplete="off"; }
            label { "To" input name="to" value=(asked.to) placeholder="2025-10-19" autocomplete="off"; }
            label { "Image" input name="image" value=(asked.image) autocomplete="off"; }
            button type="submit" { "Show" }
        }
    }
}

fn choice<'a>(
    name: &str,
    label: &str,
    chosen: &str,
    words: impl Iterator<Item = &'a str>,
) -> Markup {
    html! {
        label {
            (label)
            select name=(name) {
                option value="" { "all" }
                @for word in words { option value=(word) selected[word == chosen] { (word) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots_that_the_store_does_not_have_yet_are_among_its_own_once() {
        let line = |boot_id: &str, at: i64| BootLine {
            boot_id: boot_id.to_owned(),
            vm: None,
            session: None,
            vm_type: VmType::Browser,
            origin: Origin::User,
            outcome: Some(Outcome::Failed),
            failure: None,
            failed_stage: None,
            started_at: Timestamp(at),
            ended_at: None,
            ready_ms: None,
            image: None,
        };
        let stored = || vec![line("d", 40), line("b", 20)];
        let ended = [line("c", 30), line("b", 20), line("a", 10)];
        let told = |more| -> Vec<String> {
            let all = with_lately(stored(), ended.iter(), more);
            all.into_iter().map(|line| line.boot_id).collect()
        };
        assert_eq!(told(false), ["d", "c", "b", "a"]);
        // The next page has what began before.
        assert_eq!(told(true), ["d", "c", "b"]);
    }

    #[test]
    fn a_query_is_understood_or_says_what_to_write() {
        let utc = jiff::tz::TimeZone::UTC;
        let asked = Asked {
            outcome: "failed".to_owned(),
            from: "2025-10-18".to_owned(),
            cursor: "1760781730000.abc".to_owned(),
            ..Asked::default()
        };
        let wanted = asked.wanted(50, &utc).unwrap();
        assert_eq!(wanted.outcome, Some(Outcome::Failed));
        assert_eq!(wanted.from, Some(Timestamp(1_760_745_600_000)));
        let after = (Timestamp(1_760_781_730_000), "abc".to_owned());
        assert_eq!(wanted.after, Some(after));
        for (asked, says) in [
            (
                Asked {
                    outcome: "bad".to_owned(),
                    ..Asked::default()
                },
                "ready, failed",
            ),
            (
                Asked {
                    from: "soon".to_owned(),
                    ..Asked::default()
                },
                "2025-10-18T18:00:00Z",
            ),
            (
                Asked {
                    limit: "0".to_owned(),
                    ..Asked::default()
                },
                "from 1 to 500",
            ),
            (
                Asked {
                    cursor: "zzzz".to_owned(),
                    ..Asked::default()
                },
                "cursor: ",
            ),
        ] {
            let problem = asked.wanted(50, &utc).unwrap_err();
            assert!(problem.contains(says), "{problem}");
        }
    }
}

//! A page in Slack's blocks, within Slack's limits.
//!
//! Documented: 50 blocks, 3,000 characters a section, 150 a header. Seen: messages near 13,000 characters are refused, so
//! all together stay under 10,000. Texts are escaped first and counted then, and a cut never halves an escape.

use serde::Serialize;

use crate::notify::Draft;
use crate::notify::page::{Page, Status};
use crate::notify::text::{clipped, lines, one_line};

const HEADER_CHARS: usize = 150;
const SECTION_CHARS: usize = 3_000;
/// The text of lists and of what does not know blocks: a phone's notification.
const FALLBACK_CHARS: usize = 3_000;
const WHOLE_CHARS: usize = 10_000;
/// No part is cut to less.
const LEAST_CHARS: usize = 200;

#[derive(Serialize)]
struct Payload {
    text: String,
    blocks: Vec<Block>,
    unfurl_links: bool,
    unfurl_media: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Header { text: Text },
    Section { text: Text },
    Context { elements: Vec<Text> },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Text {
    PlainText {
        text: String,
        emoji: bool,
    },
    /// Markup of ours around text that is escaped; `verbatim` keeps Slack from finding links and names by itself.
    Mrkdwn {
        text: String,
        verbatim: bool,
    },
}

pub(super) fn render(draft: &Draft<'_>) -> Vec<u8> {
    let page = draft.page;
    let mut most = SECTION_CHARS;
    let mut blocks = whole(page, most);
    while length(&blocks) > WHOLE_CHARS && most > LEAST_CHARS {
        most /= 2;
        blocks = whole(page, most);
    }
    let title = format!("{} {}", sign(page.status), one_line(&page.title));
    let payload = Payload {
        text: escaped(&title, FALLBACK_CHARS),
        blocks,
        unfurl_links: false,
        unfurl_media: false,
    };
    serde_json::to_vec(&payload).expect("strings always have a JSON form")
}

/// At most `most` characters of each part.
fn whole(page: &Page, most: usize) -> Vec<Block> {
    let part = |head: &str, text: &str| section(&format!("{head}{}", escaped(text, most - 100)));
    let headline = format!("{} {}", sign(page.status), one_line(&page.title));
    let header = clipped(&headline, HEADER_CHARS);
    let is_cut = header.len() < headline.len();
    let mut blocks = vec![Block::Header {
        text: Text::PlainText {
            text: header.into_owned(),
            emoji: true,
        },
    }];
    if is_cut {
        let title = escaped(&one_line(&page.title), most - 2);
        blocks.push(section(&format!("*{title}*")));
    }
    blocks.push(section(&escaped(&page.summary, most)));
    if let Some(well) = &page.not_affected {
        blocks.push(part("*Not affected:* ", well));
    }
    if let Some(fix) = &page.fix {
        blocks.push(part("*Fix:* ", fix));
    }
    if !page.diagnosis.is_empty() {
        blocks.push(section(&escaped(&page.diagnosis.join("\n"), most)));
    }
    if !page.evidence.is_empty() {
        // All lines together are one part.
        let each = (most - 100) / page.evidence.len() - 1;
        let quoted = page.evidence.iter().map(|line| code(line, each));
        let quoted: Vec<String> = quoted.collect();
        blocks.push(section(&format!("*Evidence*\n```{}```", quoted.join("\n"))));
    }
    if let Some(step) = page.first_step {
        blocks.push(part("*Do first:* ", step));
    }
    let links: Vec<String> = page
        .links()
        .map(|(name, url)| format!("<{}|{name}>", address(url)))
        .collect();
    if !links.is_empty() {
        blocks.push(section(&links.join("  ·  ")));
    }
    let details: Vec<&str> = page
        .boots
        .iter()
        .chain(&page.figures)
        .map(String::as_str)
        .collect();
    if !details.is_empty() {
        blocks.push(Block::Context {
            elements: vec![markup(escaped(&details.join("\n"), most.min(1_900)))],
        });
    }
    blocks
}

fn sign(status: Status) -> &'static str {
    match status {
        Status::Firing => ":red_circle:",
        Status::Resolved => ":large_green_circle:",
    }
}

fn section(text: &str) -> Block {
    Block::Section {
        text: markup(text.to_owned()),
    }
}

fn markup(text: String) -> Text {
    Text::Mrkdwn {
        text,
        verbatim: true,
    }
}

/// At most `most` characters of what Slack counts: the escaped text, and its signs of emphasis shown as they are.
fn escaped(text: &str, most: usize) -> String {
    let mut out = String::new();
    let mut count = 0;
    for c in lines(text).chars() {
        let piece = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            // Signs that look alike and mean nothing to Slack.
            '*' => "\u{2217}",
            '~' => "\u{223c}",
            '`' => "\u{2cb}",
            _ => "",
        };
        count += piece.chars().count().max(1);
        if count >= most {
            out.push('…');
            return out;
        }
        match piece {
            "" => out.push(c),
            piece => out.push_str(piece),
        }
    }
    out
}

/// A line of a block of code.
fn code(line: &str, most: usize) -> String {
    escaped(&one_line(line), most.min(900))
}

/// A configured URL, which ends at the first sign that would end it in Slack's markup.
fn address(url: &str) -> String {
    url.replace('&', "&amp;")
        .replace('<', "%3C")
        .replace('>', "%3E")
        .replace('|', "%7C")
}

fn length(blocks: &[Block]) -> usize {
    serde_json::to_string(blocks).map_or(usize::MAX, |text| text.chars().count())
}

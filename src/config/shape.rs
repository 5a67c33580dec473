//! The shapes a value may have: each turns TOML into a checked setting, or says what to write instead.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use jiff::tz::{TimeZone, db};
use lettre::Address;
use lettre::message::Mailbox;
use toml::Value;

use super::secret::{Endpoint, Secret};
use super::units;
use crate::core::desk::Recurring;
use crate::core::nearest::nearest;
use crate::core::probe::{Network, Networks};

/// What a key takes, with its range; bounds belong to it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Flag,
    /// One line without control characters.
    Text,
    /// The id of an account: text that pages do not show.
    Account,
    /// An absolute path.
    Path,
    /// A path; where a relative one leads is the reader's to say.
    File,
    Duration {
        min: Duration,
        max: Duration,
    },
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "no key takes a size yet; the store's and the evidence's will"
        )
    )]
    Size {
        min: u64,
        max: u64,
    },
    Count {
        min: u64,
        max: u64,
    },
    Number {
        min: f64,
        max: f64,
    },
    /// A share of the whole: 0.95 for 95 %.
    Share {
        min: f64,
        max: f64,
    },
    Address,
    Zone,
    /// Shown in pages.
    Url,
    /// Where something is sent; may hold a token, so it may also come from a file (`..._file`).
    Endpoint,
    /// Several of them, without credentials.
    Endpoints,
    /// An address of mail, with or without a name.
    Mailbox,
    Mailboxes,
    /// Only from the environment or a file (`..._file`), never from the configuration file itself.
    Secret,
    /// A table of HTTP header names and values.
    Headers,
    /// Times of maintenance that come again.
    Windows,
    /// Networks in which VMs live.
    Networks,
    /// One of a list's names.
    Name(fn() -> Vec<&'static str>, &'static str),
}

/// In which zone the controller writes its local times.
#[derive(Clone, Debug, PartialEq)]
pub enum Zone {
    /// The zone of the machine on which bootwatch runs.
    Auto,
    Named(TimeZone),
}

/// A value that passed its check.
#[derive(Clone, Debug)]
pub(super) enum Setting {
    Flag(bool),
    Text(String),
    Path(PathBuf),
    Duration(Duration),
    Count(u64),
    Number(f64),
    Address(SocketAddr),
    Zone(Zone),
    Url(Uri),
    Endpoint(Endpoint),
    Endpoints(Vec<Endpoint>),
    Mailbox(Box<Mailbox>),
    Mailboxes(Vec<Mailbox>),
    Secret(Secret),
    Headers(Vec<(String, Secret)>),
    Windows(Vec<Recurring>),
    Networks(Networks),
}

impl Setting {
    /// For whoever looks: what may hold a secret shows none.
    pub(super) fn shown(&self) -> String {
        let listed = |texts: Vec<String>| texts.join(", ");
        match self {
            Setting::Flag(flag) => flag.to_string(),
            Setting::Text(text) => text.clone(),
            Setting::Path(path) => path.display().to_string(),
            Setting::Duration(length) => super::units::show_duration(*length),
            Setting::Count(count) => count.to_string(),
            Setting::Number(number) => number.to_string(),
            Setting::Address(address) => address.to_string(),
            Setting::Zone(Zone::Auto) => "auto".to_owned(),
            Setting::Zone(Zone::Named(zone)) => zone.iana_name().unwrap_or("an offset").to_owned(),
            // Whoever writes a token into it is not asked.
            Setting::Url(url) => {
                let host = url.host().unwrap_or_default();
                let port = url
                    .port()
                    .map_or_else(String::new, |port| format!(":{port}"));
                let scheme = url.scheme_str().unwrap_or("?");
                format!("{scheme}://{host}{port}{}", url.path())
            }
            Setting::Endpoint(endpoint) => endpoint.to_string(),
            Setting::Endpoints(all) => listed(all.iter().map(ToString::to_string).collect()),
            Setting::Mailbox(mailbox) => mailbox.to_string(),
            Setting::Mailboxes(all) => listed(all.iter().map(ToString::to_string).collect()),
            Setting::Secret(secret) => secret.to_string(),
            Setting::Headers(all) => listed(
                all.iter()
                    .map(|(name, value)| format!("{name}: {value}"))
                    .collect(),
            ),
            Setting::Networks(networks) => networks.to_string(),
            Setting::Windows(all) => listed(all.iter().map(ToString::to_string).collect()),
        }
    }
}

/// The Rust type behind a kind of setting, so that reading a key is typed by the field it fills.
pub(super) trait Typed: Sized {
    fn of(setting: Setting) -> Option<Self>;
}

macro_rules! typed {
    ($($variant:ident($kind:ty)),* $(,)?) => {
        $(impl Typed for $kind {
            fn of(setting: Setting) -> Option<Self> {
                match setting {
                    Setting::$variant(value) => Some(value),
                    _ => None,
                }
            }
        })*
    };
}

typed!(
    Flag(bool),
    Text(String),
    Path(PathBuf),
    Duration(Duration),
    Count(u64),
    Number(f64),
    Address(SocketAddr),
    Zone(Zone),
    Url(Uri),
    Endpoint(Endpoint),
    Endpoints(Vec<Endpoint>),
    Mailbox(Box<Mailbox>),
    Mailboxes(Vec<Mailbox>),
    Secret(Secret),
    Headers(Vec<(String, Secret)>),
    Windows(Vec<Recurring>),
    Networks(Networks),
);

impl Shape {
    /// May the value come from a file named by the key with `_file` behind it?
    pub(super) fn may_be_in_a_file(self) -> bool {
        matches!(self, Shape::Endpoint | Shape::Secret)
    }

    /// Reads one value. The message says what was found, unless that may be a secret.
    pub(super) fn check(self, value: &Value) -> Result<Setting, String> {
        let found = Found(value);
        match self {
            Shape::Flag => match value {
                Value::Boolean(flag) => Ok(Setting::Flag(*flag)),
                _ => Err(format!("{found} is not a switch; write true or false")),
            },
            Shape::Text | Shape::Account => match value.as_str() {
                Some(text) if is_one_line(text) => Ok(Setting::Text(text.to_owned())),
                _ => Err(format!("{found} is not a name; write one line of text, such as \"name\"")),
            },
            Shape::Path => match value.as_str() {
                Some(text) if text.starts_with('/') && is_one_line(text) => Ok(Setting::Path(text.into())),
                text => {
                    let name = text.filter(|text| is_one_line(text)).and_then(|text| text.rsplit('/').next());
                    let name = name.filter(|name| !name.is_empty() && !name.starts_with('.')).unwrap_or("it");
                    Err(format!("{found} is not an absolute path; write one such as \"/path/to/{name}\""))
                }
            },
            Shape::File => match value.as_str() {
                Some(text) if !text.is_empty() && is_one_line(text) => Ok(Setting::Path(text.into())),
                _ => Err(format!("{found} is not a path; write one such as \"/etc/bootwatch/web.yml\"")),
            },
            Shape::Duration { min, max } => {
                let text = value.as_str().map_or_else(|| found.to_string(), str::to_owned);
                let duration = units::duration(&text).map_err(|message| bare_number(value, &text, message))?;
                let show = units::show_duration;
                between(duration, min, max, &found, || format!("a duration from {} to {}", show(min), show(max)))
                    .map(Setting::Duration)
            }
            Shape::Size { min, max } => {
                let text = value.as_str().map_or_else(|| found.to_string(), str::to_owned);
                let size = units::size(&text).map_err(|message| bare_number(value, &text, message))?;
                let show = units::show_size;
                between(size, min, max, &found, || format!("a size from {} to {}", show(min), show(max)))
                    .map(Setting::Count)
            }
            Shape::Count { min, max } => {
                let range = || format!("a whole number from {min} to {max}");
                match value.as_integer() {
                    Some(count) => match u64::try_from(count) {
                        Ok(count) => between(count, min, max, &found, range).map(Setting::Count),
                        Err(_) => Err(format!("{found} is out of range; write {}", range())),
                    },
                    None => Err(format!("{found} is not a whole number; write {}", range())),
                }
            }
            Shape::Number { min, max } => number(value, min, max, &found, || format!("a number from {min} to {max}")),
            Shape::Share { min, max } => number(value, min, max, &found, || {
                // What was meant, where that can be told and would be taken.
                let text = value.as_str().map(|text| text.trim_end_matches('%').trim());
                let meant = match text {
                    Some(text) => text.parse().ok(),
                    None => value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64)),
                };
                let share = |percent: f64| (percent * 1e4).round() / 1e6;
                let usual = if min > 0.05 { 95.0 } else { 5.0 };
                let percent = meant.filter(|percent| (min..=max).contains(&share(*percent))).unwrap_or(usual);
                format!("a share from {min} to {max} ({percent} % is {})", share(percent))
            }),
            Shape::Address => value
                .as_str()
                .and_then(|text| text.parse().ok())
                .map(Setting::Address)
                .ok_or_else(|| format!("{found} is not an address with its port; write one such as \"127.0.0.1:9644\"")),
            Shape::Zone => zone(value, &found).map(Setting::Zone),
            Shape::Url => value
                .as_str()
                .and_then(Endpoint::parse)
                .map(|url| Setting::Url(url.expose().clone()))
                .ok_or_else(|| {
                    format!("{found} is not an http or https URL; write one such as \"https://wiki.example/runbooks\"")
                }),
            Shape::Endpoint => value
                .as_str()
                .and_then(Endpoint::parse)
                .map(Setting::Endpoint)
                .ok_or_else(|| {
                    "not an http or https URL (not shown, it may hold a secret); write one such as \
                     \"https://alerts.example/hook\""
                        .to_owned()
                }),
            Shape::Endpoints => several(value, |text| {
                Endpoint::parse(text).filter(|url| !url.has_credentials())
            })
            .map(Setting::Endpoints)
            .ok_or_else(|| {
                "not a list of http or https URLs without credentials (not shown, it may hold a secret); write one \
                 such as [\"http://alertmanager-1.example:9093\", \"http://alertmanager-2.example:9093\"]"
                    .to_owned()
            }),
            Shape::Mailbox => value
                .as_str()
                .and_then(mailbox)
                .map(|one| Setting::Mailbox(Box::new(one)))
                .ok_or_else(|| {
                    let ascii = in_ascii(value.as_str().into_iter());
                    format!("{found} is not an address of mail{ascii}; write one such as \"bootwatch <bootwatch@example.org>\"")
                }),
            Shape::Mailboxes => several(value, mailbox)
                .map(Setting::Mailboxes)
                .ok_or_else(|| {
                    let list = value.as_array().into_iter().flatten();
                    let ascii = in_ascii(list.filter_map(Value::as_str));
                    format!("not a list of addresses of mail{ascii}; write one such as [\"oncall@example.org\"]")
                }),
            Shape::Secret => value
                .as_str()
                .filter(|text| is_one_line(text))
                .map(|text| Setting::Secret(Secret::new(text)))
                .ok_or_else(|| "not one line of text (not shown, it is a secret)".to_owned()),
            Shape::Headers => headers(value).map(Setting::Headers),
            Shape::Windows => windows(value, &found).map(Setting::Windows),
            Shape::Networks => networks(value, &found).map(Setting::Networks),
            Shape::Name(names, what) => {
                let names = names();
                match value.as_str() {
                    Some(text) if names.contains(&text) => Ok(Setting::Text(text.to_owned())),
                    _ => Err(format!("unknown {what} {found}; known {what}s: {}", names.join(", "))),
                }
            }
        }
    }

    /// What an environment variable's text stands for.
    pub(super) fn of_text(self, text: &str) -> Value {
        let number = match self {
            Shape::Flag => text.parse().ok().map(Value::Boolean),
            Shape::Count { .. } => text.parse().ok().map(Value::Integer),
            Shape::Number { .. } | Shape::Share { .. } => text.parse().ok().map(Value::Float),
            Shape::Endpoints
            | Shape::Mailboxes
            | Shape::Networks
            | Shape::Windows
            | Shape::Headers
                if text.trim_start().starts_with(['[', '{']) =>
            {
                as_in_the_file(text)
            }
            // Its reason may hold commas.
            Shape::Windows => Some(Value::Array(vec![Value::String(text.to_owned())])),
            Shape::Endpoints | Shape::Mailboxes | Shape::Networks => Some(Value::Array(
                text.split(',')
                    .map(|one| Value::String(one.trim().to_owned()))
                    .collect(),
            )),
            _ => None,
        };
        number.unwrap_or_else(|| Value::String(text.to_owned()))
    }
}

/// A list or table in the words of the file.
fn as_in_the_file(text: &str) -> Option<Value> {
    let mut table: toml::Table = format!("it = {}", text.trim()).parse().ok()?;
    table.remove("it")
}

/// As the documentation names it, with its range.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Flag => f.write_str("`true` or `false`"),
            Shape::Text | Shape::Account => f.write_str("text"),
            Shape::Path => f.write_str("absolute path"),
            Shape::File => f.write_str("path"),
            Shape::Duration { min, max } => {
                write!(
                    f,
                    "duration, {} to {}",
                    units::show_duration(*min),
                    units::show_duration(*max)
                )
            }
            Shape::Size { min, max } => write!(
                f,
                "size, {} to {}",
                units::show_size(*min),
                units::show_size(*max)
            ),
            Shape::Count { min, max } => write!(f, "whole number, {min} to {max}"),
            Shape::Number { min, max } => write!(f, "number, {min} to {max}"),
            Shape::Share { min, max } => write!(f, "share, {min} to {max}"),
            Shape::Address => f.write_str("IP address and port"),
            Shape::Zone => f.write_str("IANA zone name or `auto`"),
            Shape::Url => f.write_str("http or https URL"),
            Shape::Endpoint => f.write_str("http or https URL, or `_file`"),
            Shape::Endpoints => f.write_str("list of http or https URLs"),
            Shape::Mailbox => f.write_str("address of mail"),
            Shape::Mailboxes => f.write_str("list of addresses of mail"),
            Shape::Secret => f.write_str("secret: `_file` or environment only"),
            Shape::Headers => f.write_str("table of header names and values"),
            Shape::Networks => f.write_str("list of private IPv4 networks"),
            Shape::Windows => f.write_str("list of `DAYS HH:MM-HH:MM ZONE REASON`"),
            Shape::Name(names, what) => write!(f, "{what}: {}", names().join(", ")),
        }
    }
}

/// A mailbox whose address every mail server takes: a domain beyond ASCII becomes its form in ASCII. Before the `@` there
/// is no such form; what has other letters there is taken by few servers and refused by the rest, when the page is due.
fn mailbox(text: &str) -> Option<Mailbox> {
    let mailbox: Mailbox = text.parse().ok().filter(|_| is_one_line(text))?;
    let (user, domain) = (mailbox.email.user(), mailbox.email.domain());
    if !user.is_ascii() {
        return None;
    }
    if domain.is_ascii() {
        return Some(mailbox);
    }
    let url = reqwest::Url::parse(&format!("http://{domain}/")).ok()?;
    let host = url.host_str()?;
    if url.as_str() != format!("http://{host}/") {
        return None;
    }
    let email = Address::new(user, host).ok()?;
    Some(Mailbox::new(mailbox.name, email))
}

/// Why an address is none, where that is easily overlooked.
fn is_beyond_ascii(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(before, _)| {
        let user = before.rsplit_once('<').map_or(before, |(_, user)| user);
        !user.is_ascii()
    })
}

/// Behind what an address is not.
fn in_ascii<'a>(mut texts: impl Iterator<Item = &'a str>) -> &'static str {
    match texts.any(is_beyond_ascii) {
        true => " in ASCII before its @",
        false => "",
    }
}

fn windows(value: &Value, found: &Found<'_>) -> Result<Vec<Recurring>, String> {
    const REMEDY: &str = "\"Sun 02:00-04:00 Europe/Berlin rebuild of the golden image\"";
    const MOST: usize = 32;
    let list = value.as_array().filter(|list| list.len() <= MOST);
    let list = list.ok_or_else(|| {
        format!("{found} is not a list of at most {MOST} windows; write one such as [{REMEDY}]")
    })?;
    let window = |value: &Value| {
        let text = value.as_str().filter(|text| is_one_line(text));
        let read = text.map(str::parse::<Recurring>);
        let shown = Found(value);
        match read {
            Some(Ok(window)) => Ok(window),
            Some(Err(error)) => Err(format!("{shown} is no window: {error}")),
            None => Err(format!("{shown} is no window")),
        }
    };
    let (mut windows, mut problems) = (Vec::new(), Vec::new());
    for value in list {
        match window(value) {
            Ok(window) => windows.push(window),
            Err(problem) => problems.push(problem),
        }
    }
    match problems.is_empty() {
        true => Ok(windows),
        false => Err(format!(
            "{}; write one such as {REMEDY}",
            problems.join("; ")
        )),
    }
}

fn networks(value: &Value, found: &Found<'_>) -> Result<Networks, String> {
    const MOST: usize = 32;
    const REMEDY: &str = "[\"192.168.100.0/24\"]";
    let list = value.as_array().filter(|list| list.len() <= MOST);
    let none =
        || format!("{found} does not name 1 to {MOST} networks; write a list such as {REMEDY}");
    let network = |value: &Value| {
        let read = value.as_str().map(str::parse::<Network>);
        let shown = Found(value);
        match read {
            Some(Ok(network)) => Ok(network),
            Some(Err(error)) => Err(format!("{shown} {error}")),
            None => Err(format!("{shown} is no network; write one such as {REMEDY}")),
        }
    };
    let networks: Result<Vec<Network>, String> =
        list.ok_or_else(none)?.iter().map(network).collect();
    Networks::new(networks?).ok_or_else(none)
}

/// A list that is neither empty nor long, all of it sound.
fn several<T>(value: &Value, one: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    const MOST: usize = 32;
    let list = value
        .as_array()
        .filter(|list| (1..=MOST).contains(&list.len()))?;
    list.iter()
        .map(|value| value.as_str().and_then(&one))
        .collect()
}

fn between<T: PartialOrd>(
    value: T,
    min: T,
    max: T,
    found: &Found<'_>,
    range: impl Fn() -> String,
) -> Result<T, String> {
    if value < min || value > max {
        return Err(format!("{found} is out of range; write {}", range()));
    }
    Ok(value)
}

fn number(
    value: &Value,
    min: f64,
    max: f64,
    found: &Found<'_>,
    range: impl Fn() -> String,
) -> Result<Setting, String> {
    let number = match value {
        Value::Float(number) => Some(*number),
        // Whole numbers that a range can hold are exact in a float.
        Value::Integer(whole) => i32::try_from(*whole).ok().map(f64::from),
        _ => None,
    };
    match number {
        Some(number) if number.is_finite() => {
            between(number, min, max, found, range).map(Setting::Number)
        }
        _ => Err(format!("{found} is not a number; write {}", range())),
    }
}

fn zone(value: &Value, found: &Found<'_>) -> Result<Zone, String> {
    match value.as_str() {
        Some("auto") => return Ok(Zone::Auto),
        Some(name) => {
            if let Ok(zone) = TimeZone::get(name) {
                return Ok(Zone::Named(zone));
            }
            let known: Vec<String> = db().available().map(|known| known.to_string()).collect();
            if let Some(meant) = nearest(name, known.iter().map(String::as_str)) {
                return Err(format!(
                    "{found} is not a known time zone; did you mean {meant:?}?"
                ));
            }
        }
        None => {}
    }
    Err(format!(
        "{found} is not a known time zone; write an IANA name such as \"Europe/Berlin\", or \"auto\""
    ))
}

fn headers(value: &Value) -> Result<Vec<(String, Secret)>, String> {
    let table = value.as_table().ok_or(
        "not a table (not shown, it may hold a secret); write { X-Team = \"vm-platform\" }",
    )?;
    let mut headers = Vec::with_capacity(table.len());
    for (name, value) in table {
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Err(format!(
                "{name:?} is not a header name; write one such as X-Team"
            ));
        }
        let text = value
            .as_str()
            .filter(|text| http::HeaderValue::from_str(text).is_ok())
            .ok_or_else(|| format!("the value of {name} (not shown, it may be a secret) is not one line of plain text"))?;
        headers.push((name.clone(), Secret::new(text)));
    }
    Ok(headers)
}

/// A number written without quotes is shown without them.
fn bare_number(value: &Value, text: &str, message: String) -> String {
    if value.is_str() {
        return message;
    }
    message.replacen(&format!("{text:?}"), text, 1)
}

fn is_one_line(text: &str) -> bool {
    !text.is_empty() && text.len() <= 4096 && !text.chars().any(char::is_control)
}

/// A value as a message shows it: short, on one line, without control characters.
pub(super) struct Found<'a>(pub(super) &'a Value);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 60;
        match self.0 {
            Value::Table(_) => f.write_str("a section"),
            Value::Array(_) => f.write_str("a list"),
            Value::String(text) if text.chars().count() > SHOWN => {
                let start: String = text.chars().take(SHOWN).collect();
                write!(f, "{:?}", format!("{start}…"))
            }
            Value::String(text) => write!(f, "{text:?}"),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number}"),
            Value::Boolean(flag) => write!(f, "{flag}"),
            Value::Datetime(time) => write!(f, "{time}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shape: Shape, text: &str) -> Result<Setting, String> {
        shape.check(&super::super::document::literal(text))
    }

    #[test]
    fn sizes_are_checked_for_their_range() {
        let shape = Shape::Size {
            min: 1 << 10,
            max: 1 << 20,
        };
        assert!(matches!(
            check(shape, "\"64KiB\""),
            Ok(Setting::Count(65_536))
        ));
        assert_eq!(
            check(shape, "\"2MiB\"").unwrap_err(),
            "\"2MiB\" is out of range; write a size from 1KiB to 1MiB"
        );
        assert_eq!(
            check(shape, "64").unwrap_err(),
            "64 has no unit; write \"512KiB\", \"10MiB\" or \"1GiB\""
        );
        assert_eq!(shape.to_string(), "size, 1KiB to 1MiB");
    }

    #[test]
    fn the_bounds_belong_to_the_range() {
        let share = Shape::Share {
            min: 0.5,
            max: 0.9999,
        };
        for (text, allowed) in [
            ("0.5", true),
            ("0.9999", true),
            ("0.49", false),
            ("1", false),
            ("nan", false),
            ("inf", false),
        ] {
            assert_eq!(check(share, text).is_ok(), allowed, "{text}");
        }
        let count = Shape::Count { min: 1, max: 3 };
        for (text, allowed) in [
            ("1", true),
            ("3", true),
            ("0", false),
            ("4", false),
            ("-1", false),
            ("1.0", false),
        ] {
            assert_eq!(check(count, text).is_ok(), allowed, "{text}");
        }
    }

    #[test]
    fn what_is_shown_of_a_value_is_short_and_on_one_line() {
        let shown = |text: String| Found(&Value::String(text)).to_string();
        assert_eq!(shown("a\nb\u{1b}[31m".to_owned()), "\"a\\nb\\u{1b}[31m\"");
        assert_eq!(shown("x".repeat(500)).chars().count(), 63);
    }

    #[test]
    fn an_address_is_one_that_every_mail_server_takes() {
        let shown = |text| mailbox(text).map(|one| one.to_string());
        for (text, address) in [
            ("a@example.org", Some("a@example.org")),
            ("a@bücher.example", Some("a@xn--bcher-kva.example")),
            (
                "Ada <a@Bücher.example>",
                Some("Ada <a@xn--bcher-kva.example>"),
            ),
            ("jürgen@example.org", None),
            ("J <jürgen@bücher.example>", None),
            ("a@bü cher.example", None),
            ("a@bü/cher.example", None),
        ] {
            assert_eq!(shown(text).as_deref(), address, "{text}");
        }
        let name = mailbox("Jürgen <j@example.org>").unwrap().name;
        assert_eq!(name.as_deref(), Some("Jürgen"));
        assert!(is_beyond_ascii("Jürgen <jürgen@example.org>"));
        assert!(!is_beyond_ascii("Jürgen <j@bücher.example>"));
    }
}

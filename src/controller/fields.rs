//! One pass over a record's metadata, without allocation: the top-level keys of one JSON object.
//!
//! A scan and not a search for `"vmIP":`, because text from outside stands in these objects; and not a parser into
//! values, because a record has a dozen keys and an event needs two. Nested values are stepped over in a loop, so deep
//! JSON costs no stack. The console's wrapper (`{"metadata":{…}}`) is looked through.

/// A top-level value, raw: strings are still escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Text(&'a [u8]),
    Number(&'a [u8]),
    Bool(bool),
    Null,
    Nested(&'a [u8]),
}

impl<'a> Value<'a> {
    #[must_use]
    pub fn text(self) -> Option<&'a [u8]> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A count of milliseconds or the like: not negative, fits 32 bits, fractions cut.
    #[must_use]
    pub fn whole(self) -> Option<u32> {
        let Value::Number(digits) = self else {
            return None;
        };
        let mut number: u64 = 0;
        for (at, byte) in digits.iter().enumerate() {
            match byte {
                b'0'..=b'9' => {
                    number = (number * 10 + u64::from(byte - b'0')).min(u64::from(u32::MAX) + 1)
                }
                b'.' if at > 0 => break,
                _ => return None,
            }
        }
        u32::try_from(number).ok()
    }

    #[must_use]
    pub fn integer(self) -> Option<i64> {
        let Value::Number(digits) = self else {
            return None;
        };
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

/// Calls `visit` with each top-level key and value. True only if `json` is exactly one object, to its last byte.
pub fn scan<'a>(json: &'a [u8], visit: &mut impl FnMut(&'a [u8], Value<'a>)) -> bool {
    matches!(object(json, 0, true, visit), Some(end) if only_space(json, end))
}

fn only_space(json: &[u8], from: usize) -> bool {
    json.get(from..)
        .is_some_and(|rest| rest.iter().all(u8::is_ascii_whitespace))
}

fn object<'a>(
    json: &'a [u8],
    at: usize,
    unwrap: bool,
    visit: &mut impl FnMut(&'a [u8], Value<'a>),
) -> Option<usize> {
    if *json.get(at)? != b'{' {
        return None;
    }
    let mut at = space(json, at + 1)?;
    if json[at] == b'}' {
        return Some(at + 1);
    }
    let mut first = unwrap;
    loop {
        if json[at] != b'"' {
            return None;
        }
        let key_end = string_end(json, at + 1)?;
        let key = &json[at + 1..key_end];
        at = space(json, key_end + 1)?;
        if json[at] != b':' {
            return None;
        }
        at = space(json, at + 1)?;
        let start = at;
        let value = match json[at] {
            b'"' => {
                at = string_end(json, at + 1)?;
                at += 1;
                Value::Text(&json[start + 1..at - 1])
            }
            b'{' if first && key == b"metadata" && is_only_value(json, at) => {
                at = object(json, at, false, visit)?;
                at = space(json, at)?;
                return (json[at] == b'}').then_some(at + 1);
            }
            b'{' | b'[' => {
                at = nested_end(json, at)?;
                Value::Nested(&json[start..at])
            }
            b't' if json[at..].starts_with(b"true") => {
                at += 4;
                Value::Bool(true)
            }
            b'f' if json[at..].starts_with(b"false") => {
                at += 5;
                Value::Bool(false)
            }
            b'n' if json[at..].starts_with(b"null") => {
                at += 4;
                Value::Null
            }
            b'-' | b'0'..=b'9' => {
                while json.get(at).is_some_and(|byte| {
                    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
                }) {
                    at += 1;
                }
                Value::Number(&json[start..at])
            }
            _ => return None,
        };
        visit(key, value);
        first = false;
        at = space(json, at)?;
        match json[at] {
            b',' => at = space(json, at + 1)?,
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Whether the object at `at` is followed by the end of the one around it: a wrapper has no other key.
fn is_only_value(json: &[u8], at: usize) -> bool {
    nested_end(json, at)
        .and_then(|end| space(json, end))
        .is_some_and(|end| json[end] == b'}')
}

/// The next position that is not white space; `None` at the end.
#[inline]
fn space(json: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match json.get(at)? {
            b' ' | b'\n' | b'\r' | b'\t' => at += 1,
            _ => return Some(at),
        }
    }
}

/// The position of the quote that ends the string whose text starts at `from`.
#[inline]
fn string_end(json: &[u8], from: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let has = |word: u64, byte: u8| {
        let x = word ^ (ONES * byte as u64);
        x.wrapping_sub(ONES) & !x & HIGH
    };
    let mut at = from;
    loop {
        // Eight bytes at a time while none of them ends or escapes.
        while let Some(chunk) = json.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*chunk);
            let hit = has(word, b'"') | has(word, b'\\');
            if hit != 0 {
                at += (hit.trailing_zeros() / 8) as usize;
                break;
            }
            at += 8;
        }
        match json.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The position after the bracket that closes the one at `at`.
fn nested_end(json: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = at;
    loop {
        match json.get(at)? {
            b'"' => at = string_end(json, at + 1)?,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// A JSON string's text, unescaped, at most `limit` characters; what is not valid is replaced, never an error.
#[must_use]
pub fn unescape(raw: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(raw);
    let mut out = String::with_capacity(text.len().min(limit));
    let mut chars = text.chars();
    let mut kept = 0;
    while let Some(c) = chars.next() {
        if kept == limit {
            break;
        }
        kept += 1;
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('u') => out.push(unicode(&mut chars)),
            Some(other) => out.push(other),
            None => break,
        }
    }
    out
}

fn unicode(chars: &mut std::str::Chars<'_>) -> char {
    let mut unit = || {
        let digits: String = chars.by_ref().take(4).collect();
        u32::from_str_radix(&digits, 16).ok()
    };
    let Some(high) = unit() else {
        return char::REPLACEMENT_CHARACTER;
    };
    if !(0xd800..0xdc00).contains(&high) {
        return char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER);
    }
    let mut ahead = chars.clone();
    if ahead.next() == Some('\\') && ahead.next() == Some('u') {
        let digits: String = ahead.by_ref().take(4).collect();
        if let Ok(low @ 0xdc00..0xe000) = u32::from_str_radix(&digits, 16) {
            *chars = ahead;
            return char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
                .unwrap_or(char::REPLACEMENT_CHARACTER);
        }
    }
    char::REPLACEMENT_CHARACTER
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(json: &str) -> Option<Vec<(String, String)>> {
        let mut seen = Vec::new();
        let whole = scan(json.as_bytes(), &mut |key, value| {
            seen.push((
                String::from_utf8_lossy(key).into_owned(),
                format!("{value:?}").chars().take(12).collect(),
            ));
        });
        whole.then_some(seen)
    }

    #[test]
    fn the_consoles_wrapper_is_looked_through() {
        let flat = keys(r#"{"module":"a","elapsed":12}"#);
        assert_eq!(flat, keys(r#"{"metadata":{"module":"a","elapsed":12}}"#));
        assert_eq!(flat.map(|k| k.len()), Some(2));
        assert_eq!(keys(r#"{"metadata":{}}"#), Some(vec![]));
    }

    #[test]
    fn a_whole_object_and_nothing_else_is_accepted() {
        for good in [
            r#"{}"#,
            r#"{"a":[{"b":"}"}],"c":null,"d":-1.5e3,"e":true}"#,
            "{\n  \"a\": 1\n}",
        ] {
            assert!(keys(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "{",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1"#,
            r#"{"a":1}x"#,
            r#"{"a":"b}"#,
            r#"{a:1}"#,
            r#"{"a":1,}"#,
            "[1]",
        ] {
            assert!(keys(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn keys_inside_strings_are_text() {
        let mut ips = Vec::new();
        scan(
            br#"{"body":"{\"vmIP\":\"1.2.3.4\"}","vmIP":"5.6.7.8"}"#,
            &mut |key, value| {
                if key == b"vmIP" {
                    ips.push(value);
                }
            },
        );
        assert_eq!(ips, [Value::Text(b"5.6.7.8")]);
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(300_000), "]".repeat(300_000));
        assert!(scan(deep.as_bytes(), &mut |_, _| {}));
        let open = format!(r#"{{"a":{}"#, "[".repeat(300_000));
        assert!(!scan(open.as_bytes(), &mut |_, _| {}));
    }

    #[test]
    fn whole_numbers_are_not_negative_and_fit() {
        let whole = |digits: &str| Value::Number(digits.as_bytes()).whole();
        assert_eq!(whole("9035"), Some(9035));
        assert_eq!(whole("12.9"), Some(12));
        assert_eq!(whole("-3"), None);
        assert_eq!(whole("99999999999999999999999"), None);
    }

    #[test]
    fn escapes_are_read_and_bad_ones_replaced() {
        assert_eq!(
            unescape(br#"a\nb\u00e9\ud83d\ude00\ud83dx"#, 99),
            "a\nbé😀\u{fffd}x"
        );
        assert_eq!(unescape(b"abc", 2), "ab");
        assert_eq!(unescape(br"abc\", 9), "abc");
    }
}

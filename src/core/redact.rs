//! Text from logs, guests and databases, made safe to store and to send.
//!
//! Masks what may be a secret (credentials in addresses, tokens, `key=value` with a secret-like key) and addresses
//! outside the VM networks, removes control characters and terminal sequences, and bounds the length. What
//! replaces a secret keeps a hint of its length. Works on any text; it does not need to know where it came from.

mod address;
mod key;
mod token;

use std::iter::Peekable;
use std::str::Chars;

pub use address::{Network, VM_NETWORKS};
use address::{is_host, is_mail, mask_addresses, mask_url};
use key::{
    GIVEN_USERS, Key, ends_in_authorization, ends_in_cookie, ends_in_scheme, hides, is_login,
    is_scheme, key_of, may_be_scheme,
};
use token::{holds_token, is_jwt, is_long_random};

/// At most `limit` characters of `text`, safe to show.
#[must_use]
pub fn text(text: &str, limit: usize) -> String {
    // Twice the limit is enough to fill it after masking, and bounds the work on a huge text.
    let mut cut = text.len().min(limit.saturating_mul(4).saturating_add(64));
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    let whole = cut == text.len();
    let clean = without_controls(text.get(..cut).unwrap_or_default());
    let mut words = Words {
        out: String::with_capacity(clean.len()),
        word: String::new(),
        key: Key::Plain,
        next: Key::Plain,
        in_cookie: false,
    };
    let mut chars = clean.chars().peekable();
    while let Some(c) = chars.next() {
        let quote = matches!(c, '"' | '\'');
        let parts = matches!(c, ',' | ';' | '<' | '>' | '(' | ')' | '{' | '}' | '[' | ']');
        if !(c.is_whitespace() || quote || parts) {
            words.word.push(c);
            continue;
        }
        let escaped = words.word.ends_with('\\');
        words.flush(c.is_whitespace());
        words.out.push(if c.is_whitespace() { ' ' } else { c });
        if quote && words.next != Key::Plain {
            // All that is quoted, white space and all, up to the quote that ends it.
            let mut last = ' ';
            while let Some(quoted) = chars.next_if(|next| *next != c || (last == '\\' && !escaped))
            {
                words.word.push(quoted);
                last = quoted;
            }
            words.flush(false);
            words.next = Key::Plain;
            words.out.extend(chars.next());
        } else if matches!(c, '{' | '[') && words.next.hides_all() {
            let length = skip_bracket(&mut chars);
            if length > 0 {
                words.out.push_str(&masked(length));
            }
            words.next = Key::Plain;
        } else if c == ';' && words.in_cookie {
            words.next = Key::Secret;
        } else if !c.is_whitespace() {
            words.in_cookie = false;
        }
    }
    words.flush(false);
    let mut out = words.out;
    if !whole || out.chars().count() > limit {
        out = out.chars().take(limit.saturating_sub(1)).collect();
        out.push('…');
    }
    out
}

/// Passes over all up to the bracket that closes the one before; how much that is. A bracket between quotes closes nothing.
fn skip_bracket(chars: &mut Peekable<Chars<'_>>) -> usize {
    let (mut depth, mut quoted, mut length) = (0_u32, false, 0);
    while let Some(c) = chars.next_if(|c| depth > 0 || quoted || !matches!(c, '}' | ']')) {
        match c {
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth -= 1,
            _ => {}
        }
        length += 1;
    }
    length
}

struct Words {
    out: String,
    word: String,
    /// What the last word would be the key of, were it followed by a colon.
    key: Key,
    /// What the next word is.
    next: Key,
    /// The last key was of cookies: behind each `;` is another.
    in_cookie: bool,
}

impl Words {
    fn flush(&mut self, by_space: bool) {
        if self.word.is_empty() {
            return;
        }
        let mut word = std::mem::take(&mut self.word);
        self.put(&word, by_space);
        // Its room is the next one's.
        word.clear();
        self.word = word;
    }

    fn put(&mut self, word: &str, by_space: bool) {
        // Quotes within quotes are escaped.
        let bare = word.trim_end_matches([':', '=', '\\']);
        if bare.is_empty() {
            if word.contains([':', '=']) {
                self.next = self.key;
            }
            self.out.push_str(word);
            return;
        }
        if hides(self.next, bare) {
            self.out.push_str(&masked(word.len()));
            // `Authorization: Bearer abc` hides two words.
            self.key = Key::Plain;
            let more = self.next == Key::Authorization && by_space && may_be_scheme(bare);
            self.next = match more || is_scheme(bare) {
                true => Key::Secret,
                false => Key::Plain,
            };
            return;
        }
        self.out.push_str(&mask_word(word));
        self.key = key_of(bare);
        let is_key = word.ends_with([':', '=']) || word.ends_with(":\\");
        self.in_cookie = is_key && ends_in_cookie(bare);
        self.next = match self.key {
            _ if ends_in_scheme(bare) || (by_space && ends_in_authorization(bare)) => Key::Secret,
            _ if GIVEN_USERS.contains(&bare) => Key::Login,
            // `--password pw`
            Key::Secret if bare.starts_with("--") && by_space => Key::Secret,
            Key::Word | Key::State if is_key && by_space => Key::State,
            key if is_key => key,
            _ => Key::Plain,
        };
    }
}

fn masked(length: usize) -> String {
    format!("‹{length} hidden›")
}

fn mask_word(word: &str) -> String {
    if let Some(at) = word.find("://") {
        return mask_url(word, at);
    }
    if is_jwt(word) || is_long_random(word) || holds_token(word) {
        return masked(word.len());
    }
    // The rest of an access line's address.
    if word.starts_with('/')
        && let Some((path, query)) = word.split_once('?')
        && query.contains('=')
    {
        return format!("{}?‹query hidden›", mask_addresses(path));
    }
    // `curl -uuser:password`
    if let Some(login) = word.strip_prefix("-u").filter(|login| is_login(login)) {
        return format!("-u{}", masked(login.len()));
    }
    for separator in ['=', ':'] {
        if let Some((key, value)) = word.split_once(separator)
            && !value.is_empty()
        {
            let key_says = match GIVEN_USERS.contains(&key) {
                true => Key::Login,
                false => key_of(key),
            };
            if hides(key_says, value) {
                return format!("{key}{separator}{}", masked(value.len()));
            }
        }
    }
    match word.rsplit_once('@') {
        // `user:password@proxy:10001`
        Some((login, place)) if is_login(login) && is_host(place) => {
            format!("‹credentials hidden›@{}", mask_addresses(place))
        }
        Some((person, place)) if is_mail(person, place) => "‹e-mail hidden›".to_owned(),
        _ => mask_encoded_login(word).unwrap_or_else(|| mask_addresses(word)),
    }
}

/// `proxy=http%3A%2F%2Fuser%3Apassword%40proxy`
fn mask_encoded_login(word: &str) -> Option<String> {
    if !word.contains('%') {
        return None;
    }
    let upper = word.to_ascii_uppercase();
    let begins = upper.find("%3A%2F%2F")? + "%3A%2F%2F".len();
    let rest = upper.get(begins..)?;
    let ends = ["%2F", "%3F", "&", "/"]
        .iter()
        .filter_map(|end| rest.find(end));
    let host = rest.get(..ends.min().unwrap_or(rest.len()))?;
    let login = host.rfind("%40")?;
    let (before, after) = (word.get(..begins)?, word.get(begins + login..)?);
    Some(format!(
        "{before}‹credentials hidden›{}",
        mask_addresses(after)
    ))
}

/// Terminal sequences (with whatever final letter) and control characters go; white space becomes spaces.
fn without_controls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' | '\u{9b}' => {
                if c == '\u{9b}' || chars.peek() == Some(&'[') {
                    if c == '\u{1b}' {
                        chars.next();
                    }
                    while chars
                        .peek()
                        .is_some_and(|c| matches!(c, '0'..='?' | ' '..='/'))
                    {
                        chars.next();
                    }
                    chars.next();
                }
            }
            '\n' | '\r' | '\t' => out.push(' '),
            // Direction overrides and invisible characters can make a line read as another one.
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_survive() {
        let corpus = [
            (
                "proxyURL http://user-1:hunter2@proxy.example:10001/",
                "hunter2",
            ),
            ("Authorization: Bearer abc.def-ghi", "abc.def"),
            ("authorization=Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
            (
                "GET https://auth.example/cb?code=s3cr3tcode&state=xyz",
                "s3cr3t",
            ),
            ("token=tok_12345 rest", "tok_12345"),
            ("access_token: tok_98765", "tok_98765"),
            ("password:hunter2", "hunter2"),
            (
                "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
                "eyJzdWIi",
            ),
            (
                "key 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "9f86d081",
            ),
            ("client 8.8.8.8:443 spoke", "8.8.8.8"),
            (r#"{"refresh_token":"rt_Zm9vYmFy"}"#, "rt_Zm9v"),
            (r#"{"access_token": "ya29.A0short"}"#, "A0short"),
            (r#"{\"refresh_token\":\"rt_Zm9vYmFy\"}"#, "rt_Zm9v"),
            (r#"{"password" : "two words, and more"}"#, "more"),
            (r#""id_token":"abcd1234efgh""#, "abcd1234"),
            (r#"{"code":"abcd1234efgh"}"#, "abcd1234"),
            (r#"{"state":"abcd1234efgh"}"#, "abcd1234"),
            ("{ username: 'u', password: 'hunter2' }", "hunter2"),
            (
                "proxy spuser1:hunter2pw@gate.example:10001 refused",
                "hunter2",
            ),
            ("spuser:hunter2@198.51.100.7:10001", "hunter2"),
            ("curl -u user:hunter2 http://x", "hunter2"),
            ("x-api-key: abcd1234efgh", "abcd1234"),
            ("invalid x-api-key: sk-ant-api03-Ab3_xY9-ZkAb3", "Ab3_xY9"),
            ("provided: sk-proj-abcDEF123456ghiJKL7890mnoPQR.", "abcDEF"),
            ("sk-abcDEF123456ghiJKL78", "abcDEF"),
            ("key=sk-abcDEF123456ghiJKL78", "abcDEF"),
            ("invalid_grant for 4/0AX4XfWhabcdefghijklmnop", "0AX4Xf"),
            ("xoxb-123456789012-abcdefABCDEF", "abcdefABC"),
            ("Set-Cookie: sb=abcd1234efgh; Path=/", "abcd1234"),
            ("user_code ABCD user_code: EFGH-1234", "EFGH-1234"),
            ("Zm9-vYm_Fyb-azQ1-eHh4_eHgx-MjM0-NTY3_ODkw-YWJj", "vYm_Fyb"),
            ("mail of ada@example.org: unknown", "ada"),
            ("to ada@example.org:25", "ada"),
            ("code=482913", "482913"),
            ("`sk-abcDEF123456ghiJKL78`: invalid", "abcDEF"),
            (r#"{\"key\":\"sk-abcDEF123456ghiJKL78\"}"#, "abcDEF"),
            ("error:key:sk-abcDEF123456ghiJKL78", "abcDEF"),
            (r#"{"password":"ab\"cd hunter2"}"#, "hunter2"),
            ("Cookie: _ga=GA1; session=hunter2", "hunter2"),
            ("curl --user=user:hunter2", "hunter2"),
            ("mysql --password hunter2", "hunter2"),
            ("DB_PASS=hunter2 proxy_pass=hunter2 auth=hunter2", "hunter2"),
            ("GET /cb?scope=x&access_token=hunter2", "hunter2"),
            ("http://user:hun/ter2@x", "hun"),
            ("via http://10.1.2.3:8080/x", "10.1.2.3"),
            ("connect ETIMEDOUT 2001:db8::7:443", "2001:db8"),
            (
                "connect ETIMEDOUT 2001:db8:85a3:8d3:1319:8a2e:370:7348:443",
                "2001:db8",
            ),
            ("http://[2001:db8::7]:8080/x", "2001:db8"),
            ("from ::ffff:203.0.113.7, again", "203.0.113"),
            ("to 2001:db8::7.", "2001:db8"),
            (r#"{"token":{"kind":"a}","value":"hunter2"}}"#, "hunter2"),
            (r#"{"tokens":["abc","hunter2"]}"#, "hunter2"),
            (r#"{\"credentials\":{\"a\":{\"b\":\"hunter2\"}}"#, "hunter2"),
            ("password: [one, hunter2", "hunter2"),
            ("curl -uuser:hunter2 x", "hunter2"),
            (r#"{"proxyPass":"hunter2"}"#, "hunter2"),
            (r#"{"secretKey":"hunter2","a":1}"#, "hunter2"),
            (r#"{"accessKey":"hunter2"}"#, "hunter2"),
            (r#"{"secretAccessKey":"hunter2"}"#, "hunter2"),
            (r#"{"privateKey":"hunter2"}"#, "hunter2"),
            (r#"{"encryptionKey":"hunter2"}"#, "hunter2"),
            (r#"{"userCode":"EFGH-1234"}"#, "EFGH"),
            (r#"{"deviceCode":"hunter-two"}"#, "hunter"),
            (r#"{"authCode":"abcd1234efgh"}"#, "abcd1234"),
            (r#"{"authorizationCode":"abcd1234efgh"}"#, "abcd1234"),
            (r#"{"codeVerifier":"hunter2"}"#, "hunter2"),
            (r#"{"oauthState":"abcd1234efgh"}"#, "abcd1234"),
            (r#"{"accessTokenValue":"hunter2"}"#, "hunter2"),
            ("passwordHash: hunter2 PASSWORD_2=hunter2", "hunter2"),
            ("auth_code=abcd1234efgh", "abcd1234"),
            ("authorization_code: abcd1234efgh", "abcd1234"),
            ("signing_key=hunter2 session-key=hunter2", "hunter2"),
            ("proxyAuth=user:hunter2", "hunter2"),
            ("Authorization: Token hunter2", "hunter2"),
            ("proxy-authorization: ApiKey hunter2", "hunter2"),
            ("authorization: AWS4-HMAC-SHA256 hunter2", "hunter2"),
            (
                "proxy=http%3A%2F%2Fuser%3Ahunter2%40gate.example",
                "hunter2",
            ),
            ("p=http%3a%2f%2fuser%3ahunter2%40gate", "hunter2"),
            (
                "GET /cb?access_token=hunter2&redirect_uri=https%3A%2F%2Fapp%2F%3Fu%3Da%40b.org",
                "hunter2",
            ),
            (
                "access_token=hunter2&next=http%3A%2F%2Fu%3Ap%40h",
                "hunter2",
            ),
            ("password=hunter2%3A%2F%2Fx%40hunter3", "hunter"),
            ("Authorization:Token hunter2", "hunter2"),
            ("authorization=ApiKey hunter2", "hunter2"),
        ];
        for (line, secret) in corpus {
            let safe = text(line, 500);
            assert!(!safe.contains(secret), "{line} became {safe}");
        }
    }

    #[test]
    fn what_on_call_needs_survives() {
        for line in [
            "connect ECONNREFUSED 192.168.100.17:8080",
            "VM not ready after 120000ms",
            "[vm-70fa35e6-87ef-44c1-b852-d1de3517af9c] cloneGoldenSnapshot timed out after 15000ms",
            "cp: cannot stat '/var/lib/firecracker/snapshots/base/golden-browser-rootfs.ext4': No such file",
            "session a30944b3-916c-4eec-a152-85f2c6f2e5ac status 503 code 1",
            "http://192.168.100.17:8080/health",
            "read the server's state: the database did not answer",
            "{ code: 'ECONNREFUSED', port: 8080 }",
            r#"{"code":"ECONNREFUSED","status":503}"#,
            r#"{"code":"PGRST001","details":"connect failed"}"#,
            "Got unexpected extra argument -u root",
            "vncserver@1.service: Failed with result 'exit-code'.",
            "token expired",
            "golden-browser-rootfs-2025-10-18T01-52-07Z.ext4",
            "Authentication failed: invalid_grant",
            "Cannot find module '/opt/a/node_modules/@puppeteer/browsers/lib/main.js'",
            "/opt/a/node_modules/.pnpm/express@4.18.2/node_modules/express/index.js",
            "file:/opt/x/node_modules/@a/b npm:chalk@5.0.0 systemd-fsck@dev-vda.device",
            "Failed to retrieve credentials: HTTP 404 Not Found",
            "Failed to get user_code: ECONNREFUSED",
            r#"{"code":"session_not_found","id":"i","state":"Not started"}"#,
            "journalctl -u vncserver@:1.service; useradd -u 1000:1000 a",
            "golden-browser-rootfs-2025-10-18T01-52-07Z",
            "code=exited, status=203/EXEC",
            "code: 'ERR_HTTP2_STREAM_ERROR'",
            r#"{"token":"","error":"timeout"}"#,
            r#"{"token":{},"error":"timeout"}"#,
            "state: 2 rows; read 3 credentials: 2 are old",
            "connect ECONNREFUSED ::1:5432",
            "connect ECONNREFUSED ::ffff:192.168.100.17:8080",
            "std::fmt::Error at 01:52:07 in 02:fc:00:00:00:01",
            r#"{"exitCode":137,"statusCode":"503","errorCode":"E42"}"#,
            "compass: north bypass=2 primaryKey=17 dedup_key: abc",
            r#"{"authCode":"invalid_grant","tries":2}"#,
            "to=http%3A%2F%2F192.168.100.17%3A8080%2Fhealth",
            "to=http%3A%2F%2F192.168.100.17%3A8080%2Fhealth%3Fuser%3Dada%40x",
        ] {
            assert_eq!(text(line, 500), line);
        }
    }

    #[test]
    fn terminal_codes_and_controls_go() {
        assert_eq!(
            text("a\u{1b}[2Jb\u{1b}[33Mc\u{7}\r\nd\u{202e}e", 99),
            "abc  de"
        );
    }

    #[test]
    fn length_is_bounded_in_characters() {
        let safe = text(&"é".repeat(5000), 10);
        assert_eq!(safe.chars().count(), 10);
        assert!(safe.ends_with('…'));
    }
}

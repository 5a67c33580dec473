//! What a key says of its value.

/// A key that ends so names a secret; `-` counts as `_`.
const SECRET_KEYS: &[&str] = &[
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "apikey",
    "api_key",
    "access_key",
    "private_key",
    "secret_key",
    "authorization",
    "cookie",
    "cookies",
    "proxyurl",
    "code_verifier",
    "auth_url",
    "tokens",
    "passwords",
];
/// The same, but a word of sentences as well: `Failed to retrieve credentials: HTTP 404`.
const SECRET_WORDS: &[&str] = &[
    "credential",
    "credentials",
    "user_code",
    "device_code",
    "pass",
    "auth",
];
/// Options of programs that are given `user:password` next.
pub(super) const GIVEN_USERS: &[&str] = &["-u", "-U", "--user", "--proxy-user"];

/// What a key's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Plain,
    Secret,
    /// An authorization code, or the code of an error.
    Code,
    /// Of an OAuth flow, or of anything else.
    State,
    /// Where a sentence goes on behind it, an ordinary word.
    Word,
    /// `user:password`, or something else.
    Login,
}

impl Key {
    /// Of whatever form the value is.
    pub(super) fn hides_all(self) -> bool {
        matches!(self, Key::Secret | Key::Word)
    }
}

/// Whether such a value is hidden.
pub(super) fn hides(key: Key, value: &str) -> bool {
    match key {
        Key::Plain => false,
        Key::Secret | Key::Word => true,
        Key::Code => !is_error_code(value),
        // `Running`, `Not started` and `2` are states, too.
        Key::State => {
            let has_digit = || value.contains(|c: char| c.is_ascii_digit());
            !value.contains(' ') && (value.len() >= 20 || (value.len() >= 6 && has_digit()))
        }
        Key::Login => is_login(value),
    }
}

/// `user:password`; neither `1000:1000` nor a unit's name.
pub(super) fn is_login(value: &str) -> bool {
    value.split_once(':').is_some_and(|(user, password)| {
        user.contains(|c: char| c.is_ascii_alphabetic())
            && !user.contains('@')
            && !password.is_empty()
    })
}

pub(super) fn is_scheme(word: &str) -> bool {
    word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic")
}

/// `authorization=Basic`: what follows is the secret.
pub(super) fn ends_in_scheme(word: &str) -> bool {
    is_scheme(word.rsplit(['=', ':']).next().unwrap_or(word))
}

pub(super) fn key_of(key: &str) -> Key {
    let key = key
        .rsplit(['.', '&', '?', '/'])
        .next()
        .unwrap_or(key)
        .to_ascii_lowercase()
        .replace('-', "_");
    match key.as_str() {
        "code" => Key::Code,
        "state" => Key::State,
        key if SECRET_KEYS.iter().any(|secret| key.ends_with(secret)) => Key::Secret,
        key if SECRET_WORDS.iter().any(|word| {
            key.strip_suffix(word)
                .is_some_and(|before| before.is_empty() || before.ends_with('_'))
        }) =>
        {
            Key::Word
        }
        _ => Key::Plain,
    }
}

/// `ECONNREFUSED`, `ERR_HTTP2_ERROR`, `PGRST001`, `42501`, `invalid_grant` and `1` are no secrets; an authorization code
/// is, and a number of six digits that somebody was sent.
fn is_error_code(value: &str) -> bool {
    let all = |is: fn(char) -> bool| value.chars().all(is);
    let upper = all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let is_name = value.starts_with(|c: char| c.is_ascii_alphabetic());
    let length = value.len();
    (length <= 3 && all(|c| c.is_ascii_alphanumeric() || c == '-'))
        // As the standard of SQL has them.
        || (length == 5 && upper)
        || (length <= 10 && upper && is_name)
        || (length <= 40 && upper && is_name && (value.contains('_') || all(|c| c.is_ascii_uppercase())))
        || (length <= 40 && all(|c| c.is_ascii_lowercase() || c == '_'))
}

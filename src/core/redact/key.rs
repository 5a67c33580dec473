//! What a key says of its value.

/// A key that ends so names a secret, however it is written: `API_KEY`, `api-key` and `apiKey` are `apikey` here.
const SECRET_KEYS: &[&str] = &[
    "token",
    "tokens",
    "secret",
    "secrets",
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "pwd",
    "apikey",
    "accesskey",
    "privatekey",
    "secretkey",
    "signingkey",
    "sessionkey",
    "encryptionkey",
    "cookie",
    "cookies",
    "proxyurl",
    "authurl",
    "codeverifier",
];
/// The same, of codes that somebody was given; a name or a small number behind it is that of an error.
const CODES: &[&str] = &[
    "authcode",
    "authorizationcode",
    "oauthcode",
    "verificationcode",
    "accesscode",
    "onetimecode",
    "otp",
];
/// A secret as well, but part of sentences: `Failed to get user_code: ECONNREFUSED`.
const SPOKEN: &[&str] = &["usercode", "devicecode"];
/// The same as the last word of a key.
const SPOKEN_WORDS: &[&str] = &["credential", "credentials", "pass", "auth"];
/// Last words that say only how a secret is written.
const FORMS: &[&str] = &["value", "hash", "string", "base64", "b64", "raw"];
/// Options of programs that are given `user:password` next.
pub(super) const GIVEN_USERS: &[&str] = &["-u", "-U", "--user", "--proxy-user"];

/// What a key's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Plain,
    Secret,
    /// A scheme, and what belongs to it.
    Authorization,
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
        matches!(self, Key::Secret | Key::Authorization | Key::Word)
    }
}

/// Whether such a value is hidden.
pub(super) fn hides(key: Key, value: &str) -> bool {
    match key {
        Key::Plain => false,
        Key::Secret | Key::Authorization | Key::Word => true,
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

/// `Token`, `AWS4-HMAC-SHA256`: in an authorization it is not the whole. A small word is one of a sentence.
pub(super) fn may_be_scheme(word: &str) -> bool {
    word.len() <= 20
        && word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// `authorization=Token`
pub(super) fn ends_in_authorization(word: &str) -> bool {
    word.rsplit_once(['=', ':'])
        .is_some_and(|(key, scheme)| key_of(key) == Key::Authorization && may_be_scheme(scheme))
}

pub(super) fn ends_in_cookie(word: &str) -> bool {
    const NAME: &[u8] = b"cookie";
    let last = word.as_bytes().last_chunk::<{ NAME.len() }>();
    last.is_some_and(|last| last.eq_ignore_ascii_case(NAME))
}

pub(super) fn key_of(key: &str) -> Key {
    let key = key.rsplit(['.', '&', '?', '/']).next().unwrap_or(key);
    let mut key = key.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '_' | '-'));
    let mut last = last_word(key);
    let is_one_of = |word: &str, names: &[&str]| {
        let mut names = names.iter();
        names.any(|name| word.eq_ignore_ascii_case(name))
    };
    if last.len() < key.len() && is_one_of(last, FORMS) {
        key = key.get(..key.len() - last.len()).unwrap_or(key);
        key = key.trim_end_matches(['_', '-']);
        last = last_word(key);
    }
    let mut squeezed = String::with_capacity(key.len());
    squeezed.extend(key.chars().filter(|c| !matches!(c, '_' | '-')));
    squeezed.make_ascii_lowercase();
    let ends = |names: &[&str]| names.iter().any(|name| squeezed.ends_with(name));
    match squeezed.as_str() {
        "code" => Key::Code,
        "state" | "oauthstate" => Key::State,
        _ if ends(&["authorization"]) => Key::Authorization,
        _ if ends(SECRET_KEYS) => Key::Secret,
        _ if ends(CODES) => Key::Code,
        _ if ends(SPOKEN) || is_one_of(last, SPOKEN_WORDS) => Key::Word,
        _ => Key::Plain,
    }
}

/// `Pass` of `proxyPass`, `PASS` of `DB_PASS`; the whole of `compass`.
fn last_word(key: &str) -> &str {
    let key = key.rsplit(['_', '-']).next().unwrap_or(key);
    let small = key.trim_end_matches(|c: char| !c.is_ascii_uppercase());
    let begins = match small.len() == key.len() {
        true => key.trim_end_matches(|c: char| c.is_ascii_uppercase()).len(),
        false => small.len().saturating_sub(1),
    };
    key.get(begins..).unwrap_or(key)
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

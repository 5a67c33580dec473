//! What looks like a token, without a name before it.

/// What tokens of known issuers begin with; a word that goes on is one.
const TOKENS: &[&str] = &[
    "sk-",
    "rk-",
    "pk-",
    "xoxa-",
    "xoxb-",
    "xoxp-",
    "xoxr-",
    "xoxs-",
    "xapp-",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "ya29.",
    "AIza",
    "AKIA",
    "1//0",
    "4/0",
];
/// Whether a part of the word is a token, whatever stands around it.
pub(super) fn holds_token(word: &str) -> bool {
    let apart = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+'));
    word.split(apart).any(is_token)
}

/// A token by its issuer's beginning.
fn is_token(word: &str) -> bool {
    let rest = TOKENS.iter().find_map(|begins| word.strip_prefix(begins));
    rest.is_some_and(|rest| rest.len() >= 10)
}

/// Three base64url parts, the first an encoded JSON object.
pub(super) fn is_jwt(word: &str) -> bool {
    let mut parts = word.split('.');
    word.starts_with("eyJ")
        && word.len() > 30
        && matches!(
            (parts.next(), parts.next(), parts.next(), parts.next()),
            (Some(_), Some(_), Some(_), None)
        )
}

/// A token without a name: 32 or more letters and digits in one run that is neither a UUID nor a path nor a word, or
/// 40 of both cases and digits in one name, which names that people give are not.
pub(super) fn is_long_random(word: &str) -> bool {
    let has = |is: fn(&char) -> bool| word.chars().any(|c| is(&c));
    let all = |others: &[char]| {
        word.chars()
            .all(|c| c.is_ascii_alphanumeric() || others.contains(&c))
    };
    if word.len() >= 40
        && all(&['-', '_'])
        && has(char::is_ascii_digit)
        && word.chars().filter(char::is_ascii_uppercase).count() >= 4
        && has(char::is_ascii_lowercase)
    {
        return true;
    }
    let longest = word
        .split(['-', '/', '.', ':', '='])
        .map(str::len)
        .max()
        .unwrap_or(0);
    longest >= 32
        && has(char::is_ascii_digit)
        && has(char::is_ascii_alphabetic)
        && all(&['-', '_', '.', '=', '+', '/', ':'])
}

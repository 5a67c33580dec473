//! Which paths a Rust source names, and where: `use` trees, expressions, types, macros and attributes alike.
//!
//! Tokens, not text, so that comments, documentation and strings name nothing. Not a name resolution: a path is as
//! written, except that `crate`, `self` and `super` are made absolute.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// One path, as one line of a source names it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mention {
    /// From the crate's root (`crate`, `core`, `event`) or a foreign crate's name (`std`, `fs`).
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    /// Under `#[cfg(test)]`.
    pub(crate) in_test: bool,
}

/// Every path of two or more segments, and every imported name; `module` is where the file hangs under the root.
pub(crate) fn mentions(source: &str, module: &[&str]) -> Result<Vec<Mention>, String> {
    let tokens: TokenStream = source.parse().map_err(|error| format!("{error}"))?;
    let in_test = module.contains(&"tests");
    let module = module.iter().map(|&name| name.to_owned()).collect();
    let mut found = Vec::new();
    Scope { module, in_test }.walk(tokens, &mut found);
    Ok(found)
}

#[derive(Clone)]
struct Scope {
    module: Vec<String>,
    in_test: bool,
}

impl Scope {
    fn walk(&self, tokens: TokenStream, found: &mut Vec<Mention>) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        // From `#[cfg(test)]` to the end of the item that it stands above.
        let mut item = self.clone();
        let mut importing = false;
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Punct(punct) if punct.as_char() == ';' => {
                    item = self.clone();
                    importing = false;
                }
                // A lifetime is no path.
                TokenTree::Punct(punct) if punct.as_char() == '\'' => at += 1,
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
                TokenTree::Group(group) if importing => {
                    item.import_all(&[], group, found);
                }
                TokenTree::Group(group) => {
                    if follows(&tokens, at, "#") && is_test_attribute(group) {
                        item.in_test = true;
                    }
                    item.walk(group.stream(), found);
                    if group.delimiter() == Delimiter::Brace {
                        item = self.clone();
                    }
                }
                // `use<..>` is what a type captures.
                TokenTree::Ident(ident) if ident == "use" => {
                    importing = tokens
                        .get(at + 1)
                        .is_some_and(|next| next.to_string() != "<");
                }
                TokenTree::Ident(ident) if ident == "mod" => {
                    if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) =
                        (tokens.get(at + 1), tokens.get(at + 2))
                    {
                        let mut inner = item.clone();
                        inner.module.push(name.to_string());
                        inner.walk(body.stream(), found);
                        item = self.clone();
                        at += 2;
                    }
                }
                TokenTree::Ident(_) => {
                    let is_field = follows(&tokens, at, ".") && !follows(&tokens, at - 1, ".");
                    at = item.path(&[], &tokens, at, importing, is_field, found);
                    continue;
                }
            }
            at += 1;
        }
    }

    /// Reads the path that begins at `at` and returns where it ended.
    fn path(
        &self,
        prefix: &[String],
        tokens: &[TokenTree],
        mut at: usize,
        importing: bool,
        is_field: bool,
        found: &mut Vec<Mention>,
    ) -> usize {
        let line = tokens[at].span().start().line;
        let mut segments = prefix.to_vec();
        loop {
            match tokens.get(at) {
                Some(TokenTree::Ident(ident)) => segments.push(ident.to_string()),
                Some(TokenTree::Punct(star)) if importing && star.as_char() == '*' => {
                    segments.push("*".to_owned());
                }
                Some(TokenTree::Group(group)) if importing => {
                    self.import_all(&segments, group, found);
                    return at + 1;
                }
                _ => break,
            }
            at += 1;
            if !is_double_colon(tokens, at) {
                break;
            }
            at += 2;
        }
        // `use a as b`: the new name is no path.
        if importing && matches!(tokens.get(at), Some(TokenTree::Ident(word)) if word == "as") {
            at += 2;
        }
        if (importing || segments.len() > 1) && !is_field {
            found.push(Mention {
                segments: self.absolute(segments),
                line,
                in_test: self.in_test,
            });
        }
        at
    }

    fn import_all(&self, prefix: &[String], group: &Group, found: &mut Vec<Mention>) {
        let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Punct(punct) if punct.as_char() != '*' => at += 1,
                _ => {
                    at = self
                        .path(prefix, &tokens, at, true, false, found)
                        .max(at + 1)
                }
            }
        }
    }

    fn absolute(&self, segments: Vec<String>) -> Vec<String> {
        let mut base: Option<Vec<String>> = None;
        let mut rest = Vec::new();
        for segment in segments {
            match segment.as_str() {
                "crate" => base = Some(Vec::new()),
                // Within a tree, `a::{self}` is `a`.
                "self" if !rest.is_empty() => {}
                "self" => base = Some(base.unwrap_or_else(|| self.module.clone())),
                "super" => {
                    let mut up = base.unwrap_or_else(|| self.module.clone());
                    up.pop();
                    base = Some(up);
                }
                _ => rest.push(segment),
            }
        }
        match base {
            Some(base) => ["crate".to_owned()]
                .into_iter()
                .chain(base)
                .chain(rest)
                .collect(),
            None => rest,
        }
    }
}

/// Is the token before `at` this punctuation?
fn follows(tokens: &[TokenTree], at: usize, punctuation: &str) -> bool {
    at.checked_sub(1)
        .is_some_and(|before| tokens[before].to_string() == punctuation)
}

fn is_double_colon(tokens: &[TokenTree], at: usize) -> bool {
    let is_colon =
        |at| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    is_colon(at) && is_colon(at + 1)
}

fn is_test_attribute(group: &Group) -> bool {
    let text: String = group.stream().to_string().split_whitespace().collect();
    text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

#[test]
fn every_way_to_name_a_path_is_seen_and_nothing_else() {
    let source = r#"
        //! std::fs in documentation
        use std::{fs::{self, File as Handle}, net::Ipv4Addr, io::*};
        use super::sibling::Thing;
        // tokio::spawn in a comment
        #[tokio::test]
        fn name<'tokio>(text: &'tokio str) -> crate::web::Page {
            let a = "sqlx::query";
            self.tracing.x(::axum::Router::new());
            tracing::info!("x {}", reqwest::get(0));
            (1..std::env::MAX, text)
        }
        #[cfg(test)]
        mod tests {
            use super::*;
            use super::super::store;
        }
        fn after() -> super::super::export::Gauge {}
        fn captures_nothing(now: u64) -> impl Sized + use<> { now }
    "#;
    let found = mentions(source, &["probe", "http"]).unwrap();
    let found: Vec<(String, usize, bool)> = found
        .into_iter()
        .map(|m| (m.segments.join("::"), m.line, m.in_test))
        .collect();
    let expected = [
        ("std::fs", 3, false),
        ("std::fs::File", 3, false),
        ("std::net::Ipv4Addr", 3, false),
        ("std::io::*", 3, false),
        ("crate::probe::sibling::Thing", 4, false),
        ("tokio::test", 6, false),
        ("crate::web::Page", 7, false),
        ("axum::Router::new", 9, false),
        ("tracing::info", 10, false),
        ("reqwest::get", 10, false),
        ("std::env::MAX", 11, false),
        ("crate::probe::http::*", 15, true),
        ("crate::probe::store", 16, true),
        ("crate::export::Gauge", 18, false),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|&(path, line, test)| (path.to_owned(), line, test))
        .collect();
    assert_eq!(found, expected);
}

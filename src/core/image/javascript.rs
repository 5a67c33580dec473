//! Is a text JavaScript that could run? Not a parser: it tells what is plainly something else, or plainly cut off, and says
//! nothing of the rest.

/// So many zero bytes in a row are no text: blocks of the file were never written.
const ZEROS: usize = 64;
/// Of a hundred characters, so many that no text has make it no text.
const STRANGE: usize = 10;

/// What it is instead, and nothing of it can answer.
pub(super) fn not_javascript(text: &str) -> Option<String> {
    let begin = text.trim_start_matches('\u{feff}').trim_start();
    if begin.starts_with("version https://git-lfs.github.com/spec/") {
        return Some("a pointer of git-lfs: the file itself was never fetched".to_owned());
    }
    if begin.starts_with('<') && !begin.starts_with("<!--") {
        return Some("a page of HTML or XML, as a failed download leaves it".to_owned());
    }
    if begin.starts_with("\u{7f}ELF") {
        return Some("a program, and no JavaScript".to_owned());
    }
    let zeros = text.matches('\0').count();
    if zeros > 0 && text.contains(&"\0".repeat(ZEROS)) {
        return Some(format!(
            "{zeros} of its bytes are zero: it was not written out whole"
        ));
    }
    let (mut strange, mut all) = (0_usize, 0_usize);
    for character in text.chars() {
        all += 1;
        let is_blank = matches!(character, '\t' | '\n' | '\r' | '\u{b}' | '\u{c}');
        if character == '\u{fffd}' || (character.is_control() && !is_blank) {
            strange += 1;
        }
    }
    (strange * 100 > all * STRANGE).then(|| "no text: its bytes mean nothing".to_owned())
}

/// What is open where a script is read to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Bracket(char),
    /// `${` within a template, closed by `}`.
    Hole,
    Template,
}

/// Does it end within what it began: a bracket, a template, a comment? `false`, too, where the brackets do not match:
/// then it was not understood.
pub(super) fn is_cut_off(text: &str) -> bool {
    let mut open: Vec<Open> = Vec::new();
    let mut rest = text.char_indices().peekable();
    // Decides whether a `/` divides or begins a regular expression.
    let mut before = String::new();
    while let Some((at, character)) = rest.next() {
        if open.last() == Some(&Open::Template) {
            match character {
                '\\' => drop(rest.next()),
                '`' => drop(open.pop()),
                '$' if rest.next_if(|(_, next)| *next == '{').is_some() => open.push(Open::Hole),
                _ => {}
            }
            continue;
        }
        match character {
            '/' if rest.next_if(|(_, next)| *next == '/').is_some() => {
                while rest.next_if(|(_, next)| *next != '\n').is_some() {}
                continue;
            }
            '/' if rest.next_if(|(_, next)| *next == '*').is_some() => {
                let Some(end) = text.get(at + 2..).and_then(|rest| rest.find("*/")) else {
                    return true;
                };
                while rest.next_if(|(place, _)| *place < at + end + 4).is_some() {}
                continue;
            }
            '/' if begins_expression(&before) && !skip_expression(&mut rest) => return false,
            '"' | '\'' => {
                // Nothing but the end of the text, or a line's, ends a string that is not closed.
                loop {
                    match rest.next() {
                        Some((_, '\\')) => drop(rest.next()),
                        Some((_, '\n')) => return false,
                        Some((_, next)) if next == character => break,
                        Some(_) => {}
                        None => return true,
                    }
                }
            }
            '`' => open.push(Open::Template),
            '(' | '[' | '{' => open.push(Open::Bracket(character)),
            ')' | ']' | '}' => {
                let wanted = match character {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                match open.pop() {
                    Some(Open::Bracket(opened)) if opened == wanted => {}
                    Some(Open::Hole) if character == '}' => {}
                    _ => return false,
                }
            }
            _ => {}
        }
        remember(&mut before, character);
    }
    !open.is_empty()
}

/// The last word or sign, without blanks between it and what comes.
fn remember(before: &mut String, character: char) {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$';
    if character.is_whitespace() {
        // A word that ended is kept, and the next one begins anew.
        if !before.is_empty() && !before.ends_with(' ') {
            before.push(' ');
        }
        return;
    }
    let goes_on = is_word(character) && before.ends_with(is_word);
    if !goes_on {
        before.clear();
    }
    before.push(character);
}

/// Behind a value a `/` divides.
fn begins_expression(before: &str) -> bool {
    const WORDS: &[&str] = &[
        "return", "typeof", "case", "in", "of", "do", "else", "void", "delete", "throw", "new",
        "await", "yield",
    ];
    let before = before.trim_end();
    let is_value = before.ends_with(|last: char| {
        last.is_alphanumeric() || matches!(last, '_' | '$' | ')' | ']' | '}' | '"' | '\'' | '`')
    });
    !is_value || WORDS.contains(&before)
}

/// Goes behind a regular expression; `false`: there was none.
fn skip_expression(rest: &mut impl Iterator<Item = (usize, char)>) -> bool {
    let mut in_set = false;
    while let Some((_, character)) = rest.next() {
        match character {
            '\\' => drop(rest.next()),
            '[' => in_set = true,
            ']' => in_set = false,
            '/' if !in_set => return true,
            '\n' => return false,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "#!/usr/bin/env node\n'use strict';\nconst a = {b: [1, 2]}; // it's (open\n/* { */\n\
        const re = /[(\\/]{2}\"/g, half = (a.b[0] + 4) / 2 / 1;\nif (/\\{/.test(`x ${a.b.map((c) => `{${c}`)} (`)) { f('}'); }\n\
        const s = \"(\\\"\"; function f(x) { return /[{]/.test(x) }\n";

    #[test]
    fn a_whole_script_is_not_cut_off_wherever_its_brackets_stand() {
        assert!(!is_cut_off(WHOLE));
        assert!(!is_cut_off(""));
        assert!(!is_cut_off("module.exports = 1"));
        // What is not understood is not called cut off.
        for odd in ["f(]", "'no end\n(", "x }", "x = (/open\n"] {
            assert!(!is_cut_off(odd), "{odd}");
        }
    }

    #[test]
    fn a_script_that_ends_within_what_it_began_is_cut_off() {
        for torn in [
            "const s = http.createServer((q, r) => { if (q.url === '/health') { r.end(JS",
            "f(",
            "const s = 'half",
            "const s = `half ${a}",
            "`${f(",
            "/* never closed",
            "x = { // }\n",
            "x = /[)]/; f(1, /\\)/",
        ] {
            assert!(is_cut_off(torn), "{torn}");
        }
    }

    #[test]
    fn what_is_plainly_no_javascript_is_told() {
        for (text, what) in [
            ("<!DOCTYPE html><html>", Some("HTML")),
            ("\n <html lang=\"en\">", Some("HTML")),
            (
                "version https://git-lfs.github.com/spec/v1\noid sha256:4d\n",
                Some("git-lfs"),
            ),
            ("\u{7f}ELF\u{2}", Some("program")),
            ("\u{fffd}x\u{1}y\u{fffd}", Some("no text")),
            (WHOLE, None),
            ("<!-- a comment, of old -->\nf()", None),
            ("// Grüße 日本語\n", None),
            ("const nul = '\0';", None),
        ] {
            let said = not_javascript(text);
            assert_eq!(said.is_some(), what.is_some(), "{text}: {said:?}");
            assert!(said.unwrap_or_default().contains(what.unwrap_or_default()));
        }
        let torn = format!("const a = 1;{}", "\0".repeat(4_096));
        assert!(not_javascript(&torn).unwrap().starts_with("4096 of"));
    }
}

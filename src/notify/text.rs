//! Text from elsewhere, made harmless for where it goes: each channel picks what its form needs.

use std::borrow::Cow;

/// On one line and as it looks: control characters and those that turn the direction of writing become `\u{fffd}`.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    let odd = |c: char| c.is_control() || turns(c);
    if !text.contains(odd) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace(odd, "\u{fffd}"))
}

/// Several lines, each as [`one_line`].
pub(super) fn lines(text: &str) -> Cow<'_, str> {
    let odd = |c: char| c != '\n' && (c.is_control() || turns(c));
    if !text.contains(odd) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace(odd, "\u{fffd}"))
}

fn turns(c: char) -> bool {
    matches!(
        c,
        '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    )
}

/// At most `most` characters, the last of them an ellipsis where something was cut.
pub(super) fn clipped(text: &str, most: usize) -> Cow<'_, str> {
    if text.chars().nth(most).is_none() {
        return Cow::Borrowed(text);
    }
    let mut cut: String = text.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    Cow::Owned(cut)
}

/// For HTML, in text and in attributes that stand in double quotes.
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in lines(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_terminal_or_a_reader_is_shown_as_unknown() {
        assert_eq!(one_line("a\r\nb\u{1b}[2J\u{202e}c\u{0}"), "a��b�[2J�c�");
        assert_eq!(lines("a\nb\tc"), "a\nb�c");
        assert!(matches!(one_line("plain — text"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_cut_counts_characters_and_says_that_it_cut() {
        assert_eq!(clipped("ééé", 3), "ééé");
        assert_eq!(clipped("éééé", 3), "éé…");
        assert_eq!(clipped("", 0), "");
    }

    #[test]
    fn nothing_leaves_its_element_or_attribute() {
        let hostile = "</td><img src=\"x\" onerror='y'>&amp;";
        let safe = "&lt;/td&gt;&lt;img src=&quot;x&quot; onerror=&#39;y&#39;&gt;&amp;amp;";
        assert_eq!(html(hostile), safe);
    }
}

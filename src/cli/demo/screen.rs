//! The terminal's width, and text that keeps to it.

use console::measure_text_width;

/// Where nobody looks, or nobody knows.
const USUAL: usize = 100;
const LEAST: usize = 40;

/// How a story's lines are laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    /// Colours, and a line of figures that moves.
    pub(super) lively: bool,
    columns: usize,
}

impl Screen {
    /// Standard output's: a terminal of so many columns, or something that keeps every word.
    pub(super) fn of_stdout() -> Screen {
        let terminal = console::Term::stdout();
        match terminal.size_checked() {
            Some((_, columns)) if terminal.is_term() => Screen {
                lively: true,
                columns: usize::from(columns).max(LEAST),
            },
            _ => Screen {
                lively: terminal.is_term(),
                columns: USUAL,
            },
        }
    }

    /// The words in lines that fit beside an indent of so many columns.
    pub(super) fn wrapped(self, text: &str, indent: usize) -> Vec<String> {
        let room = self.columns.saturating_sub(indent).max(LEAST / 2);
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            match lines.last_mut() {
                Some(line) if measure_text_width(line) + 1 + measure_text_width(word) <= room => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines
    }

    /// One line, its end cut off where it would not fit. What is no terminal gets all of it.
    pub(super) fn cut(self, text: &str, indent: usize) -> String {
        if !self.lively {
            return text.to_owned();
        }
        let room = self.columns.saturating_sub(indent);
        console::truncate_str(text, room, "…").into_owned()
    }

    /// A log line of today without its date: on a narrow terminal the end of the line says more.
    pub(super) fn evidence(self, line: &str) -> &str {
        match line.split_once(' ') {
            Some((date, rest)) if self.lively && date.parse::<jiff::civil::Date>().is_ok() => rest,
            _ => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_keeps_to_the_width() {
        let screen = Screen {
            lively: true,
            columns: 50,
        };
        let text = "the guest is up, but nothing listens on port 8080 (ECONNREFUSED to the end)";
        let lines = screen.wrapped(text, 7);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.len() <= 43));
        assert_eq!(lines.join(" "), text);
        assert_eq!(measure_text_width(&screen.cut(text, 7)), 43);
        let piped = Screen {
            lively: false,
            ..screen
        };
        assert_eq!(piped.cut(text, 7), text);
        assert_eq!(
            screen.evidence("2026-11-23 22:27:26 [ERROR]: x"),
            "22:27:26 [ERROR]: x"
        );
        assert_eq!(screen.evidence("vm-1 in flight"), "vm-1 in flight");
        assert!(screen.wrapped("", 7).is_empty());
    }
}

//! What a silence is about: comparisons of an alert's labels, as in Alertmanager.
//!
//! `rule=~"Connection.*"` compares the whole value: a pattern is anchored at both ends. A label that an alert does not
//! have is empty. Patterns come from whoever may silence; they take linear time, and their size is bounded.

use std::fmt;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::core::condition::Condition;
use crate::core::event::{Failure, VmType};
use crate::core::nearest::nearest;
use crate::core::rule::{RuleName, Severity};
use crate::core::slowness::Slowness;

/// A value or pattern, in bytes.
const MOST_VALUE: usize = 512;
const MOST_PATTERN_BYTES: usize = 1 << 18;

/// What can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Label {
    Rule,
    Severity,
    VmType,
    Host,
    Cause,
}

impl Label {
    pub const ALL: &'static [Label] = &[
        Label::Rule,
        Label::Severity,
        Label::VmType,
        Label::Host,
        Label::Cause,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Label::Rule => "rule",
            Label::Severity => "severity",
            Label::VmType => "vm_type",
            Label::Host => "host",
            Label::Cause => "cause",
        }
    }

    /// All that an alert can have there; `None`: any text.
    fn words(self) -> Option<Vec<&'static str>> {
        let causes = || {
            let failures = Failure::ALL.iter().map(|one| one.as_str());
            let conditions = Condition::ALL.iter().map(|one| one.as_str());
            let slowness = Slowness::ALL.iter().map(|one| one.as_str());
            failures.chain(conditions).chain(slowness).collect()
        };
        match self {
            Label::Rule => Some(RuleName::ALL.iter().map(|one| one.as_str()).collect()),
            Label::Severity => Some(
                [Severity::Page, Severity::Ticket]
                    .map(Severity::as_str)
                    .into(),
            ),
            Label::VmType => Some(VmType::ALL.iter().map(|one| one.as_str()).collect()),
            Label::Cause => Some(causes()),
            Label::Host => None,
        }
    }

    fn from_word(word: &str) -> Option<Label> {
        let mut all = Label::ALL.iter().copied();
        all.find(|label| label.as_str() == word)
    }
}

/// What one alert is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Labels<'a> {
    pub rule: &'a str,
    pub severity: &'a str,
    pub vm_type: &'a str,
    pub host: &'a str,
    pub cause: &'a str,
}

impl<'a> Labels<'a> {
    #[must_use]
    pub fn value(&self, label: Label) -> &'a str {
        match label {
            Label::Rule => self.rule,
            Label::Severity => self.severity,
            Label::VmType => self.vm_type,
            Label::Host => self.host,
            Label::Cause => self.cause,
        }
    }
}

#[derive(Clone, Debug)]
enum Test {
    Equal,
    NotEqual,
    Like(Regex),
    NotLike(Regex),
}

impl Test {
    fn sign(&self) -> &'static str {
        match self {
            Test::Equal => "=",
            Test::NotEqual => "!=",
            Test::Like(_) => "=~",
            Test::NotLike(_) => "!~",
        }
    }
}

/// One comparison.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Matcher {
    label: Label,
    test: Test,
    value: String,
}

/// Why a text is no matcher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMatcher {
    #[error(
        "{0:?} compares nothing; write LABEL=VALUE, LABEL!=VALUE, LABEL=~PATTERN or LABEL!~PATTERN"
    )]
    Form(String),
    #[error("{0:?} is no label; labels are rule, severity, vm_type, host and cause")]
    Label(String),
    #[error("the value of {0} is too long; write at most 512 bytes")]
    Long(&'static str),
    #[error("the pattern of {0} cannot be used: {1}")]
    Pattern(&'static str, String),
}

impl Matcher {
    #[must_use]
    pub fn matches(&self, labels: &Labels<'_>) -> bool {
        self.takes(labels.value(self.label))
    }

    fn takes(&self, value: &str) -> bool {
        match &self.test {
            Test::Equal => value == self.value,
            Test::NotEqual => value != self.value,
            Test::Like(pattern) => pattern.is_match(value),
            Test::NotLike(pattern) => !pattern.is_match(value),
        }
    }

    /// What to write instead of a value that no alert can have, or of a pattern that takes none: most often one that was
    /// meant for a part of the value. What was kept is not looked at, whose words an earlier version may have known.
    pub(super) fn misspelt(&self) -> Option<String> {
        let words = self.label.words()?;
        match self.test {
            Test::Equal | Test::NotEqual => {}
            Test::Like(_) => return self.takes_no(&words),
            // What shuts out nothing silences as the others say.
            Test::NotLike(_) => return None,
        }
        // Empty is what an alert lacks.
        if self.value.is_empty() || words.contains(&self.value.as_str()) {
            return None;
        }
        let label = self.label.as_str();
        let written: String = self.value.chars().take(80).collect();
        Some(match nearest(&written, words.iter().copied()) {
            Some(near) => format!("no alert has {label} {written:?}; did you mean {near:?}?"),
            None => format!(
                "no alert has {label} {written:?}; it is one of {}",
                words.join(", ")
            ),
        })
    }

    /// As [`misspelt`](Self::misspelt), of a pattern.
    fn takes_no(&self, words: &[&'static str]) -> Option<String> {
        if self.takes_nothing() || words.iter().any(|word| self.takes(word)) {
            return None;
        }
        let label = self.label.as_str();
        let written: String = self.value.chars().take(80).collect();
        let none = format!("no alert has a {label} that is like {written:?} from end to end");
        let of_a_part = format!("{label}=~(?s:.*)(?:{})(?s:.*)", self.value).parse();
        let part = of_a_part.is_ok_and(|part: Matcher| words.iter().any(|word| part.takes(word)));
        Some(match part {
            true => format!("{none}; did you mean \".*({written}).*\"?"),
            false => format!("{none}; it is one of {}", words.join(", ")),
        })
    }

    /// Whether it is content with an alert that lacks the label: one that only says what something is not.
    #[must_use]
    pub fn takes_nothing(&self) -> bool {
        self.takes("")
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Matcher) -> bool {
        self.label == other.label
            && self.test.sign() == other.test.sign()
            && self.value == other.value
    }
}

impl FromStr for Matcher {
    type Err = NoMatcher;

    fn from_str(text: &str) -> Result<Matcher, NoMatcher> {
        let form = || NoMatcher::Form(text.chars().take(80).collect());
        let at = text.find(['=', '!']).ok_or_else(form)?;
        let (name, rest) = text.split_at(at);
        // The longer signs first: `=` begins `=~`.
        let (sign, value) = ["=~", "!~", "!=", "="]
            .into_iter()
            .find_map(|sign| Some((sign, rest.strip_prefix(sign)?)))
            .ok_or_else(form)?;
        let name = name.trim();
        let label = Label::from_word(name)
            .ok_or_else(|| NoMatcher::Label(name.chars().take(80).collect()))?;
        let value = value.trim();
        let quoted = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        let value = quoted.unwrap_or(value).to_owned();
        if value.len() > MOST_VALUE {
            return Err(NoMatcher::Long(label.as_str()));
        }
        let pattern = || {
            RegexBuilder::new(&format!("^(?:{value})$"))
                .size_limit(MOST_PATTERN_BYTES)
                .build()
                .map_err(|error| {
                    // The last line of several says what is wrong.
                    let said = error.to_string();
                    let last = said.lines().last().unwrap_or_default();
                    NoMatcher::Pattern(label.as_str(), last.to_owned())
                })
        };
        let test = match sign {
            "=~" => Test::Like(pattern()?),
            "!~" => Test::NotLike(pattern()?),
            "!=" => Test::NotEqual,
            _ => Test::Equal,
        };
        Ok(Matcher { label, test, value })
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (label, sign) = (self.label.as_str(), self.test.sign());
        write!(f, "{label}{sign}\"{}\"", self.value)
    }
}

impl TryFrom<String> for Matcher {
    type Error = NoMatcher;

    fn try_from(text: String) -> Result<Matcher, NoMatcher> {
        text.parse()
    }
}

impl From<Matcher> for String {
    fn from(matcher: Matcher) -> String {
        matcher.to_string()
    }
}

/// All of them, or what is wrong with the first that is none.
pub fn matchers_of(texts: &[String]) -> Result<Vec<Matcher>, String> {
    let parsed: Result<Vec<Matcher>, NoMatcher> = texts.iter().map(|text| text.parse()).collect();
    parsed.map_err(|error| format!("matchers: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Labels<'_> = Labels {
        rule: "ConnectionRefusedSpike",
        severity: "page",
        vm_type: "browser",
        host: "controller-1",
        cause: "agent_refused",
    };

    #[test]
    fn a_matcher_compares_the_whole_value() {
        for (text, holds) in [
            ("rule=ConnectionRefusedSpike", true),
            ("rule = \"ConnectionRefusedSpike\"", true),
            ("rule=Connection", false),
            ("rule!=Connection", true),
            ("rule!=ConnectionRefusedSpike", false),
            ("rule=~Connection", false),
            ("rule=~Connection.*", true),
            ("rule=~\"Boot.*|Connection.*\"", true),
            ("rule=~.*Spike|x", true),
            ("rule!~Connection", true),
            ("rule!~Connection.*", false),
            ("severity=page", true),
            ("vm_type=~brow.er", true),
            ("host=~controller-[0-9]+", true),
            ("cause=agent_refused", true),
            ("cause=", false),
            ("cause!=", true),
            ("host=~", false),
        ] {
            let matcher: Matcher = text.parse().unwrap();
            assert_eq!(matcher.matches(&REFUSED), holds, "{text}");
        }
    }

    #[test]
    fn what_is_no_matcher_says_what_to_write() {
        for (text, message) in [
            (
                "rule",
                "\"rule\" compares nothing; write LABEL=VALUE, LABEL!=VALUE, LABEL=~PATTERN or LABEL!~PATTERN",
            ),
            (
                "",
                "\"\" compares nothing; write LABEL=VALUE, LABEL!=VALUE, LABEL=~PATTERN or LABEL!~PATTERN",
            ),
            (
                "rule!x",
                "\"rule!x\" compares nothing; write LABEL=VALUE, LABEL!=VALUE, LABEL=~PATTERN or LABEL!~PATTERN",
            ),
            (
                "alertname=x",
                "\"alertname\" is no label; labels are rule, severity, vm_type, host and cause",
            ),
            (
                "rule=~(",
                "the pattern of rule cannot be used: error: unclosed group",
            ),
        ] {
            let refused = text.parse::<Matcher>().unwrap_err();
            assert_eq!(refused.to_string(), message);
        }
        let long = format!("host={}", "x".repeat(MOST_VALUE + 1));
        assert!(matches!(
            long.parse::<Matcher>(),
            Err(NoMatcher::Long("host"))
        ));
        let huge = "host=~(((x{1000}){1000}){1000})";
        assert!(matches!(
            huge.parse::<Matcher>(),
            Err(NoMatcher::Pattern("host", _))
        ));
    }

    #[test]
    fn a_value_that_no_alert_can_have_is_known_with_the_one_that_was_meant() {
        for (text, said) in [
            (
                "rule=BootFailurRate",
                "no alert has rule \"BootFailurRate\"; did you mean \"BootFailureRate\"?",
            ),
            (
                "vm_type!=brwser",
                "no alert has vm_type \"brwser\"; did you mean \"browser\"?",
            ),
            (
                "severity=critical",
                "no alert has severity \"critical\"; it is one of page, ticket",
            ),
            (
                "cause=agent_refuse",
                "no alert has cause \"agent_refuse\"; did you mean \"agent_refused\"?",
            ),
        ] {
            let matcher: Matcher = text.parse().unwrap();
            assert_eq!(matcher.misspelt().as_deref(), Some(said));
        }
        for (text, said) in [
            (
                "rule=~Connection",
                "no alert has a rule that is like \"Connection\" from end to end; did you mean \".*(Connection).*\"?",
            ),
            (
                "rule=~Spike|Burn",
                "no alert has a rule that is like \"Spike|Burn\" from end to end; did you mean \".*(Spike|Burn).*\"?",
            ),
            (
                "severity=~crit.*",
                "no alert has a severity that is like \"crit.*\" from end to end; it is one of page, ticket",
            ),
        ] {
            let matcher: Matcher = text.parse().unwrap();
            assert_eq!(matcher.misspelt().as_deref(), Some(said));
        }
        for text in [
            "host=anything",
            "rule=~Boot.*",
            "rule!~Boot",
            "host=~anything",
            "vm_type=~",
            "vm_type=",
            "cause!=",
            "severity=page",
        ] {
            assert_eq!(text.parse::<Matcher>().unwrap().misspelt(), None, "{text}");
        }
    }

    #[test]
    fn a_matcher_reads_back_as_it_was_written() {
        for text in [
            "rule=~\"a|b\"",
            "host!=\"x y\"",
            "cause!~\"\"",
            "vm_type=\"=\"",
        ] {
            let matcher: Matcher = text.parse().unwrap();
            assert_eq!(matcher.to_string(), text);
            let kept = serde_json::to_string(&matcher).unwrap();
            assert_eq!(serde_json::from_str::<Matcher>(&kept).unwrap(), matcher);
        }
    }
}

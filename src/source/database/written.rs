//! A statement with its values written into it.
//!
//! PostgreSQL takes a text without values in one turn, where one with values costs two (it is parsed and described, then
//! it is run) and a name or its lack for poolers to trip over. So values go into the text, each as a literal.

use crate::core::query::Statement;

/// The statement as one text. A value is put in place of its `$1`, `$2` and so on, wherever that does not stand within
/// quotes; nothing of a value is looked at again, and a number that no value has stays, for the server to refuse.
pub(super) fn written(statement: &Statement) -> String {
    let Statement { sql, values } = statement;
    let mut text = String::with_capacity(sql.len() + values.iter().map(String::len).sum::<usize>());
    let mut quote = None;
    let mut rest = sql.chars().peekable();
    while let Some(char) = rest.next() {
        match (quote, char) {
            // A doubled quote ends one and begins the next.
            (None, '\'' | '"') => quote = Some(char),
            (Some(open), _) if open == char => quote = None,
            _ => {}
        }
        if quote.is_some() || char != '$' {
            text.push(char);
            continue;
        }
        let mut number = String::new();
        while let Some(digit) = rest.next_if(char::is_ascii_digit) {
            number.push(digit);
        }
        let place = number.parse::<usize>().ok();
        match place.and_then(|place| values.get(place.checked_sub(1)?)) {
            Some(value) => literal(&mut text, value),
            None => text.extend(['$'].into_iter().chain(number.chars())),
        }
    }
    text
}

/// In the form that means the same whatever the server holds of backslashes (`standard_conforming_strings`).
fn literal(text: &mut String, value: &str) {
    text.push_str("E'");
    for char in value.chars() {
        if matches!(char, '\'' | '\\') {
            text.push(char);
        }
        text.push(char);
    }
    text.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str, values: &[&str]) -> String {
        written(&Statement {
            sql: sql.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        })
    }

    #[test]
    fn a_value_stands_in_place_of_its_number() {
        let ten: Vec<String> = (1..=10).map(|n| format!("v{n}")).collect();
        let ten: Vec<&str> = ten.iter().map(String::as_str).collect();
        for (sql, values, wanted) in [
            ("SELECT 1", &[][..], "SELECT 1"),
            ("a >= $1::text", &["5"], "a >= E'5'::text"),
            ("($2, $1, $2)", &["a", "b"], "(E'b', E'a', E'b')"),
            ("$10$1", &ten, "E'v10'E'v1'"),
            ("$1", &[""], "E''"),
            ("$1 = é", &["ü"], "E'ü' = é"),
        ] {
            assert_eq!(of(sql, values), wanted, "{sql}");
        }
    }

    #[test]
    fn no_value_leaves_its_quotes_and_none_is_looked_at_again() {
        for (value, wanted) in [
            ("'; DROP TABLE vms; --", "E'''; DROP TABLE vms; --'"),
            (r"\'; DROP TABLE vms; --", r"E'\\''; DROP TABLE vms; --'"),
            (r"\", r"E'\\'"),
            (r"\\'", r"E'\\\\'''"),
            ("$2 $1", "E'$2 $1'"),
            ("$$", "E'$$'"),
            ("\"", "E'\"'"),
            ("a\nb", "E'a\nb'"),
        ] {
            assert_eq!(of("$1", &[value]), wanted);
        }
        assert_eq!(of("$1 $2", &["'$2'", "x"]), "E'''$2''' E'x'");
    }

    #[test]
    fn what_stands_within_quotes_is_no_place_for_a_value() {
        for (sql, wanted) in [
            (r#""sche$1ma"."vms" $1"#, r#""sche$1ma"."vms" E'v'"#),
            (r#""a""$1" $1"#, r#""a""$1" E'v'"#),
            ("'$1' || $1", "'$1' || E'v'"),
            ("'it''s $1' $1", "'it''s $1' E'v'"),
            (r#"'"' $1 '"'"#, r#"'"' E'v' '"'"#),
            (r#""'" $1"#, r#""'" E'v'"#),
        ] {
            assert_eq!(of(sql, &["v"]), wanted, "{sql}");
        }
    }

    #[test]
    fn a_number_without_a_value_is_left_to_the_server() {
        for sql in ["$2", "$0", "$", "$x", "$99999999999999999999999"] {
            assert_eq!(of(sql, &["v"]), sql);
        }
    }
}

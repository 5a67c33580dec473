//! Numbers as people read them: alike in messages, pages, reports and what the commands print, so that one figure can be
//! found again by its digits.

/// `1234567` as `1,234,567`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The nearest whole number, grouped.
#[must_use]
pub fn rounded(number: f64) -> String {
    let digits = format!("{number:.0}");
    digits.parse().map_or(digits, grouped)
}

/// The same with one digit behind the point: `-3,921.9`.
#[must_use]
pub fn tenths(number: f64) -> String {
    let shown = format!("{:.1}", number.abs());
    let sign = if number < 0.0 { "-" } else { "" };
    match shown
        .split_once('.')
        .map(|(whole, rest)| (whole.parse(), rest))
    {
        Some((Ok(whole), rest)) => format!("{sign}{}.{rest}", grouped(whole)),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_threes() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(grouped(number), text);
        }
        for (number, text) in [
            (0.04, "0.0"),
            (999.96, "1,000.0"),
            (-3921.94, "-3,921.9"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(tenths(number), text);
        }
    }
}

//! The name that somebody most likely meant.

/// The candidate nearest to `written`, if one is near enough to be meant: up to a third of its letters differ.
#[must_use]
pub fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let written = written.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&written, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let names = ["deadline", "listen", "inotify", "url"];
        assert_eq!(nearest("deadlien", names), Some("deadline"));
        assert_eq!(nearest("Inotify", names), Some("inotify"));
        assert_eq!(nearest("ulr", names), Some("url"));
        assert_eq!(nearest("password", names), None);
    }
}

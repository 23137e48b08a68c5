//! "Did you mean …?"

use std::cmp::Reverse;

/// The candidate that was probably meant.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    let scored = candidates.into_iter().filter_map(|candidate| {
        let other = plain(candidate);
        let distance = strsim::damerau_levenshtein(&word, &other);
        let longer = word.chars().count().max(other.chars().count());
        let is_near = distance * 3 <= longer || (word.len() >= 4 && strsim::jaro_winkler(&word, &other) >= 0.9);
        // Of two at the same distance the one that begins alike: `tpc` is `tcp` and not `ipc`.
        let shared = word.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
        is_near.then_some((distance, Reverse(shared), candidate))
    });
    scored.min().map(|(_, _, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn what_was_meant_is_found_by_small_slips_and_by_its_beginning() {
        let keys = ["poll_interval_seconds", "port", "password", "rand_min", "rand_max"];
        let table = [
            ("poll_interval_secs", Some("poll_interval_seconds")),
            ("poll_interval", Some("poll_interval_seconds")),
            ("poll-interval-seconds", Some("poll_interval_seconds")),
            ("PORT", Some("port")),
            ("prot", Some("port")),
            ("rand_mn", Some("rand_min")),
            ("rand_mxa", Some("rand_max")),
            ("voltage", None),
            ("", None),
        ];

        for (word, meant) in table {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
    }
}

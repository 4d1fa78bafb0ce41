//! The known word nearest to a mistyped one, and the message that suggests it. It knows nothing of what the words mean.

/// The known word that was probably meant, if one is reasonably near: every third letter may be wrong, or one is part of the other.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= allowed(&word, candidate) || is_part(&word, candidate))
        .min()
        .map(|(_, candidate)| candidate)
}

fn allowed(word: &str, candidate: &str) -> usize {
    (word.len().max(candidate.len()) / 3).max(1)
}

/// `user` for `username`, `secret_access_key_id` for `access_key_id`. Fewer than three letters are part of anything.
fn is_part(word: &str, candidate: &str) -> bool {
    word.len().min(candidate.len()) >= 3 && (candidate.contains(word) || word.contains(candidate))
}

/// The message for an unknown key: names the nearest known one, or all if none is near.
pub fn unknown_key<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    known.dedup();
    let key_shown = key.escape_debug();
    match nearest(key, known.iter().copied()) {
        Some(nearest) => format!("unknown key `{key_shown}`; did you mean `{nearest}`?"),
        None if known.is_empty() => format!("unknown key `{key_shown}`; no key is known here"),
        None => format!("unknown key `{key_shown}`; the known keys are {}", listed(known.into_iter())),
    }
}

/// Words in backticks, separated by commas.
pub(crate) fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["username", "password", "endpoint", "root"];

    #[test]
    fn suggests_a_key_that_is_near() {
        for (typed, meant) in [
            ("usernme", "username"),
            ("passwrod", "password"),
            ("passwd", "password"),
            ("user", "username"),
            ("Endpoint", "endpoint"),
            ("end-point", "endpoint"),
        ] {
            let message = unknown_key(typed, KEYS.into_iter());
            assert_eq!(message, format!("unknown key `{typed}`; did you mean `{meant}`?"));
        }
    }

    #[test]
    fn lists_the_known_keys_if_none_is_near() {
        assert_eq!(
            unknown_key("colour", KEYS.into_iter()),
            "unknown key `colour`; the known keys are `endpoint`, `password`, `root`, `username`"
        );
        assert_eq!(unknown_key("x", std::iter::empty()), "unknown key `x`; no key is known here");
    }

    #[test]
    fn control_characters_of_a_key_do_not_reach_the_terminal() {
        assert!(unknown_key("a\u{1b}[2J", KEYS.into_iter()).contains(r"a\u{1b}[2J"));
    }
}

//! The configuration: what the TOML file means. (Being written.)

pub mod settings;

use std::path::PathBuf;

/// Keys that every source's table may hold besides its own.
pub const COMMON_KEYS: [&str; 4] = ["type", "fresh_for", "timeout", "offline"];

/// The message for a key that nobody knows: names the nearest known one.
pub fn unknown_key<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.min_by_key(|candidate| strsim::damerau_levenshtein(key, candidate));
    match nearest {
        Some(nearest) => format!("unknown key `{key}`; did you mean `{nearest}`?"),
        None => format!("unknown key `{key}`"),
    }
}

/// Replaces a leading `~/` by the home directory.
pub fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), etcetera::home_dir()) {
        (Some(rest), Ok(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

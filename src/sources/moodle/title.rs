//! `shown`: the name that a course, a section or an activity has as an entry. It knows no directory and no duplicates.

use super::html::decoded;

/// The name for a title as the site writes it: HTML whose entities stand for characters. `fallback` is for a title of nothing.
///
/// A title is no path: what would lead elsewhere as a name gets look-alikes here, where a name of dots and a `//` are still known
/// to mean nothing. Everything else of what Linux forbids is `catalog::localize`'s.
pub(super) fn shown(html: &str, fallback: &str) -> String {
    let text = decoded(html);
    match text.as_str() {
        "" => fallback.to_owned(),
        "." | ".." => text.replace('.', "\u{ff0e}"),
        _ => text.replace('/', "\u{ff0f}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Corpus, Input};

    #[test]
    fn titles_are_decoded_once_and_never_lead_elsewhere() {
        for (html, name) in [
            ("Link &amp; more", "Link & more"),
            ("&amp;amp; a &lt; b", "&amp; a < b"),
            ("\"q\" 's", "\"q\" 's"),
            ("a < b &eacute; &#x41;", "a < b é A"),
            ("a <i>b</i>", "a b"),
            ("..", "\u{ff0e}\u{ff0e}"),
            ("/a//b/../c/", "\u{ff0f}a\u{ff0f}\u{ff0f}b\u{ff0f}..\u{ff0f}c\u{ff0f}"),
            (" 0", " 0"),
            ("", "nothing"),
            ("日本語", "日本語"),
        ] {
            assert_eq!(shown(html, "nothing"), name);
        }
    }

    #[test]
    fn fuzz_title() {
        let corpus = Corpus::of("title");
        bolero::check!()
            .with_type::<Input>()
            .for_each(|input| drop(shown(&String::from_utf8_lossy(&corpus.bytes(input)), "fallback")));
    }
}

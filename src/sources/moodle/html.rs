//! Pieces of HTML as sites write them: their text, their links, and whether anything is to be seen. It knows no site.

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{Token, Tokenizer};

/// The text of a piece of HTML; tags are left out.
pub(super) fn decoded(html: &str) -> String {
    let mut text = Vec::with_capacity(html.len());
    for Ok(token) in Tokenizer::new_with_emitter(html, DefaultEmitter::default()) {
        if let Token::String(part) = token {
            text.extend_from_slice(&part);
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// What the piece shows (`src`) and leads to (`href`), in its order.
pub(super) fn links(html: &str) -> Vec<String> {
    attributes(html, &[b"src", b"href"])
}

/// Whether the piece has neither text nor a picture or the like.
pub(super) fn is_blank(html: &str) -> bool {
    decoded(html).trim().is_empty() && attributes(html, &[b"src"]).is_empty()
}

/// Text as HTML has it.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn attributes(html: &str, names: &[&[u8]]) -> Vec<String> {
    let mut values = Vec::new();
    for Ok(token) in Tokenizer::new_with_emitter(html, DefaultEmitter::default()) {
        let Token::StartTag(tag) = token else { continue };
        let found = names.iter().filter_map(|name| tag.attributes.get(*name));
        values.extend(found.map(|value| String::from_utf8_lossy(value).into_owned()));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_those_of_pictures_and_anchors() {
        let html = r#"<p>a <img alt=x src="b.png?a=1&amp;b=2"> <a href='c'>src="no"</a> <!-- <img src="d"> --></p>"#;
        assert_eq!(links(html), ["b.png?a=1&b=2", "c"]);
    }

    #[test]
    fn tags_without_text_are_nothing_to_see_and_pictures_are() {
        for (html, expected) in
            [("", true), ("<p> <br>&nbsp;</p>", true), ("<p>a</p>", false), ("<img src=\"a\">", false)]
        {
            assert_eq!(is_blank(html), expected, "{html}");
        }
    }
}

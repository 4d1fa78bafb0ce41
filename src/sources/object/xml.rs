//! `Element`: an XML answer as a tree of local names and untrimmed texts. It knows no protocol.

use quick_xml::Reader;
use quick_xml::events::Event;

/// No answer of S3 or WebDAV is nested as deep.
const DEEPEST: usize = 64;

/// One element. Its name is without prefix: no answer that we read has two of the same local name side by side.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// Reads a whole document; one that ends early is an error, since it would look like a shorter listing.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(body).map_err(|_| "the XML is not UTF-8")?;
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Element> = Vec::new();
        loop {
            match reader.read_event().map_err(|e| format!("the XML is malformed: {e}"))? {
                Event::Start(tag) => {
                    if open.len() == DEEPEST {
                        return Err("the XML is nested too deep".into());
                    }
                    open.push(Self { name: local_name(tag.local_name().as_ref()), ..Self::default() });
                }
                Event::Empty(tag) => {
                    let empty = Self { name: local_name(tag.local_name().as_ref()), ..Self::default() };
                    match open.last_mut() {
                        Some(parent) => parent.children.push(empty),
                        None => return Ok(empty),
                    }
                }
                Event::End(_) => {
                    let Some(done) = open.pop() else { return Err("the XML is malformed".into()) };
                    match open.last_mut() {
                        Some(parent) => parent.children.push(done),
                        None => return Ok(done),
                    }
                }
                Event::Text(text) => {
                    if let Some(inner) = open.last_mut() {
                        inner.text.push_str(text.as_ref());
                    }
                }
                Event::CData(text) => {
                    if let Some(inner) = open.last_mut() {
                        inner.text.push_str(text.as_ref());
                    }
                }
                Event::GeneralRef(entity) => {
                    let resolved = entity.resolve_char_ref().map_err(|e| format!("the XML is malformed: {e}"))?;
                    let character = match (resolved, entity.as_ref()) {
                        (Some(character), _) => character,
                        (None, "lt") => '<',
                        (None, "gt") => '>',
                        (None, "amp") => '&',
                        (None, "quot") => '"',
                        (None, "apos") => '\'',
                        (None, _) => return Err("the XML has an unknown entity".into()),
                    };
                    if let Some(inner) = open.last_mut() {
                        inner.text.push(character);
                    }
                }
                Event::Eof => return Err("the XML ends early".into()),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
    }

    /// Whether this is an element of this local name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// All children of this local name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first child of this local name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first child of this local name, blanks and all.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }
}

fn local_name(name: &str) -> String {
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_their_blanks_and_entities() {
        let tree =
            Element::parse(b"<?xml version='1.0'?><r xmlns:D='DAV:'><D:k> a&amp;b &#x41;<![CDATA[<]]> </D:k><e/></r>");
        let tree = tree.expect("it is well-formed");
        assert_eq!(tree.text_of("k"), Some(" a&b A< "));
        assert!(tree.child("e").is_some() && tree.is("r"));
    }

    #[test]
    fn a_document_that_ends_early_is_an_error() {
        for text in ["", "<r><a>1</a>", "<r><a>1</a></", "<r></x></r>", "<r>&bomb;</r>"] {
            assert!(Element::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}

//! `Element`: an XML answer as a tree of local names and untrimmed texts. It knows no protocol.

use std::io::{BufRead, BufReader, Cursor, Read as _};

use encoding_rs::Encoding;
use encoding_rs_io::DecodeReaderBytesBuilder;
use quick_xml::Reader;
use quick_xml::events::Event;

use crate::source::budget::{Exceeded, MAX_ITEM_BYTES};
use crate::sources::arriving::Meter;

/// A document tells its encoding in its first bytes.
const DECLARATION_BYTES: u64 = 256;

/// The most characters that are kept of what follows a document.
const MAX_REST: usize = 60;

/// No answer of S3 or WebDAV is nested as deep.
const MAX_DEPTH: usize = 64;

/// One element. Its name is without prefix: no answer that we read has two of the same local name side by side.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::sources) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
    /// What follows it, if it is a whole document.
    rest: String,
}

impl Element {
    /// Reads a whole document that is in memory; one that ends early is an error.
    pub(in crate::sources) fn parse(body: &[u8]) -> Result<Self, String> {
        Self::read(body, &Meter::default(), &[], |_| Ok(()))
    }

    /// Reads a document while it arrives; one that ends early is an error, since it would look like a shorter listing. What follows the
    /// document is its [`rest`](Self::rest).
    ///
    /// Elements that are called as one of `records` go to `take`, each as it ends, and are no part of the tree that is returned. One
    /// of them, and all the rest, may have [`MAX_ITEM_BYTES`] bytes.
    pub(in crate::sources) fn read(
        mut body: impl BufRead,
        meter: &Meter,
        records: &[&str],
        take: impl FnMut(Element) -> Result<(), String>,
    ) -> Result<Self, String> {
        let mut head = Vec::new();
        body.by_ref().take(DECLARATION_BYTES).read_to_end(&mut head).map_err(|e| e.to_string())?;
        let encoding = encoding_of(&head);
        let whole = Cursor::new(head).chain(body);
        let Some(encoding) = encoding else { return Self::read_utf8(whole, meter, records, take) };
        let decoded = DecodeReaderBytesBuilder::new().encoding(Some(encoding)).build(whole);
        Self::read_utf8(BufReader::new(decoded), meter, records, take)
    }

    fn read_utf8(
        body: impl BufRead,
        meter: &Meter,
        records: &[&str],
        mut take: impl FnMut(Element) -> Result<(), String>,
    ) -> Result<Self, String> {
        let mut reader = Reader::from_reader(body);
        let mut open: Vec<Element> = Vec::new();
        let mut document: Option<Element> = None;
        // The depth at which the record begins that is being read, and the bytes that it and the rest take.
        let mut record: Option<usize> = None;
        let (mut inside, mut outside) = (0, 0);
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            let event = reader.read_event_into(&mut buffer);
            meter.next();
            if let Some(document) = &mut document {
                match event {
                    Ok(Event::Eof) | Err(quick_xml::Error::Io(_)) => return Ok(std::mem::take(document)),
                    Ok(event) => document.add_rest(&event),
                    Err(_) => document.rest.push('<'),
                }
                if document.rest.chars().count() >= MAX_REST {
                    return Ok(std::mem::take(document));
                }
                continue;
            }
            let (mut done, mut text) = (None, None);
            match event.map_err(|e| malformed(&e))? {
                Event::Start(tag) => {
                    if open.len() == MAX_DEPTH {
                        return Err("the XML is nested too deep".into());
                    }
                    open.push(Self { name: local_name(tag.local_name().as_ref()), ..Self::default() });
                    let opened = open.last().map_or("", |element| &element.name);
                    if record.is_none() && open.len() > 1 && records.contains(&opened) {
                        (record, inside) = (Some(open.len()), 0);
                    }
                    *(if record.is_some() { &mut inside } else { &mut outside }) += size_of::<Self>() + opened.len();
                }
                Event::Empty(tag) => {
                    let empty = Self { name: local_name(tag.local_name().as_ref()), ..Self::default() };
                    if record.is_none() && !open.is_empty() && records.contains(&empty.name.as_str()) {
                        take(empty)?;
                        continue;
                    }
                    done = Some(empty);
                    *(if record.is_some() { &mut inside } else { &mut outside }) += size_of::<Self>();
                }
                Event::End(_) => match open.pop() {
                    Some(element) if record == Some(open.len() + 1) => {
                        record = None;
                        take(element)?;
                    }
                    Some(element) => done = Some(element),
                    None => return Err("the XML is malformed".into()),
                },
                Event::Text(part) => text = Some(part.as_ref().to_owned()),
                Event::CData(part) => text = Some(part.as_ref().to_owned()),
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
                    text = Some(character.into());
                }
                Event::Eof => return Err("the XML ends early".into()),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
            if let (Some(text), Some(inner)) = (text, open.last_mut()) {
                *(if record.is_some() { &mut inside } else { &mut outside }) += text.len();
                inner.text.push_str(&text);
            }
            if let Some(done) = done {
                match open.last_mut() {
                    Some(parent) => parent.children.push(done),
                    None => document = Some(done),
                }
            }
            if inside.max(outside) > MAX_ITEM_BYTES {
                return Err(Exceeded::Item.into());
            }
        }
    }

    /// Adds what follows the document, if it is more than blanks and comments.
    fn add_rest(&mut self, event: &Event<'_>) {
        match event {
            Event::Text(text) => self.rest.extend(text.as_ref().trim().chars().take(MAX_REST)),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) | Event::Eof => {}
            Event::Start(_) | Event::Empty(_) | Event::End(_) | Event::CData(_) | Event::GeneralRef(_) => {
                self.rest.push('<');
            }
        }
    }

    /// What follows the document, cut to a few words, if it is more than blanks: a server that fails in the middle of an answer may
    /// close its elements and write why.
    pub(in crate::sources) fn rest(&self) -> Option<&str> {
        Some(self.rest.as_str()).filter(|rest| !rest.is_empty())
    }

    /// Whether this is an element of this local name.
    pub(in crate::sources) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// All children of this local name.
    pub(in crate::sources) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first child of this local name.
    pub(in crate::sources) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first child of this local name, blanks and all.
    pub(in crate::sources) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }
}

/// The encoding of a document that begins so, by its byte order mark, its first characters or its declaration; `None` if it is UTF-8 (XML 1.0,
/// appendix F).
fn encoding_of(head: &[u8]) -> Option<&'static Encoding> {
    match head {
        [0xfe, 0xff, ..] | [0, b'<', 0, ..] => return Some(encoding_rs::UTF_16BE),
        [0xff, 0xfe, ..] | [b'<', 0, _, 0, ..] => return Some(encoding_rs::UTF_16LE),
        _ => {}
    }
    let declaration =
        head.split(|byte| *byte == b'>').next().filter(|text| text.trim_ascii_start().starts_with(b"<?xml"))?;
    let declaration = str::from_utf8(declaration).ok()?;
    let (_, value) = declaration.split_once("encoding")?;
    let name = value.split(['"', '\'']).nth(1)?;
    // A document that can be read so far is not in UTF-16, whatever it says.
    let is_wide =
        |encoding: &&Encoding| [encoding_rs::UTF_16BE, encoding_rs::UTF_16LE, encoding_rs::UTF_8].contains(encoding);
    Encoding::for_label(name.as_bytes()).filter(|encoding| !is_wide(encoding))
}

/// Why an answer cannot be read; that it has reached a limit says more than that it is malformed.
fn malformed(error: &quick_xml::Error) -> String {
    match error {
        quick_xml::Error::Io(error) => error.to_string(),
        error => format!("the XML is malformed: {error}"),
    }
}

fn local_name(name: &str) -> String {
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::arriving::read;

    #[test]
    fn documents_are_read_in_the_encoding_that_they_tell() {
        let document = |encoding: &str| format!("<?xml version=\"1.0\" encoding='{encoding}'?><a><b>m\u{fc}</b></a>");
        let latin: Vec<u8> = document("ISO-8859-1").chars().map(|c| c as u8).collect();
        let wide = |mark: &str, bytes: fn(u16) -> [u8; 2]| {
            let text = format!("{mark}{}", document("UTF-16"));
            text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>()
        };
        let marked = [b"\xef\xbb\xbf".as_slice(), document("utf-8").as_bytes()].concat();
        for body in [
            document("UTF-8").into_bytes(),
            document("utf-16").into_bytes(),
            marked,
            latin,
            wide("\u{feff}", u16::to_le_bytes),
            wide("\u{feff}", u16::to_be_bytes),
            wide("", u16::to_le_bytes),
            wide("", u16::to_be_bytes),
        ] {
            let tree = Element::parse(&body);
            assert_eq!(tree.as_ref().ok().and_then(|tree| tree.text_of("b")), Some("m\u{fc}"), "{tree:?}");
        }
    }

    #[test]
    fn texts_keep_their_blanks_and_entities() {
        let tree =
            Element::parse(b"<?xml version='1.0'?><r xmlns:D='DAV:'><D:k> a&amp;b &#x41;<![CDATA[<]]> </D:k><e/></r>");
        let tree = tree.expect("it is well-formed");
        assert_eq!(tree.text_of("k"), Some(" a&b A< "));
        assert!(tree.child("e").is_some() && tree.is("r"));
    }

    #[test]
    fn records_are_told_one_by_one_and_everything_has_its_limit() {
        let body = b"<r><a><k>1</k></a><x><a><k>2</k><a/></a></x><b/><a/></r>";
        let (mut texts, mut rest) = (Vec::new(), None);
        let read = |body: &[u8], texts: &mut Vec<String>| {
            read(body, |body| {
                let meter = body.meter();
                Element::read(body, &meter, &["a"], |record| {
                    texts.push(record.text_of("k").unwrap_or_default().to_owned());
                    Ok(())
                })
            })
        };
        rest.replace(read(body, &mut texts).expect("it is well-formed"));
        assert_eq!(texts, ["1", "2", ""]);
        let rest = rest.expect("it was read");
        assert!(rest.child("x").is_some() && rest.child("b").is_some());
        /// The bytes that are read before the first item is.
        const HEAD: usize = DECLARATION_BYTES as usize;
        let endless = |part: &str| format!("<r>{}", part.repeat((MAX_ITEM_BYTES + HEAD + 1) / part.len() + 1));
        for part in ["x", "<b/>", "<b>x</b>", "<!-- "] {
            let why = read(endless(part).as_bytes(), &mut texts).expect_err(part);
            assert!(why.contains("1 MiB"), "{part}: {why}");
        }
        let many = format!("<r>{}</r>", "<a><k>1</k></a>".repeat(200_000));
        assert!(many.len() > MAX_ITEM_BYTES && read(many.as_bytes(), &mut texts).is_ok());
    }

    #[test]
    fn what_follows_a_document_is_told() {
        for (rest, told) in [
            ("", None),
            (" \n<!-- the end --><?end?>\n", None),
            ("Internal Server Error", Some("Internal Server Error")),
            ("\n<html>", Some("<")),
            ("</r>", Some("<")),
            ("<", Some("<")),
        ] {
            let document = Element::parse(format!("<r><a>1</a></r>{rest}").as_bytes()).expect("it is whole");
            assert_eq!((document.rest(), document.text_of("a")), (told, Some("1")), "{rest:?}");
        }
        let endless = format!("<r/>{}", "x ".repeat(1 << 20));
        assert!(Element::parse(endless.as_bytes()).is_ok_and(|document| document.rest().is_some()));
    }

    #[test]
    fn a_document_that_ends_early_is_an_error() {
        for text in ["", "<r><a>1</a>", "<r><a>1</a></", "<r></x></r>", "<r>&bomb;</r>"] {
            assert!(Element::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}

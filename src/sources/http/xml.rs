//! `Element`: an XML answer as a tree of local names and untrimmed texts. It knows no protocol.

use std::io::{BufRead, BufReader, Cursor, Read};

use encoding_rs::Encoding;
use encoding_rs_io::DecodeReaderBytesBuilder;
use quick_xml::Reader;
use quick_xml::errors::SyntaxError;
use quick_xml::events::Event;

use crate::source::budget::{Exceeded, MAX_ITEM_BYTES};
use crate::sources::arriving::{Arriving, Meter};

/// A document tells its encoding in its first bytes.
const DECLARATION_BYTES: u64 = 256;

/// The most characters that are kept of what follows a document.
const MAX_REST: usize = 60;

/// No answer of S3 or WebDAV is nested as deep.
const MAX_DEPTH: usize = 64;

/// Elements that are kept for the next ones, and the bytes and the elements for which each may have room.
const MAX_SPARE: usize = 64;
const MAX_SPARE_BYTES: usize = 1024;
const MAX_SPARE_CHILDREN: usize = 16;

/// Why a text cannot be read.
const NO_UTF8: &str = "it holds bytes that are not UTF-8";
const NO_CHARACTER: &str = "it holds an entity that is not known";
/// Why the rest of a document cannot be read.
const CUT: &str = "the XML ends early";
const MALFORMED: &str = "the XML is malformed";

/// One element. Its name is without prefix: no answer that we read has two of the same local name side by side.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::sources) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
    /// Why it cannot be read: a record or a document of which a tag is wrong, or an element of which the text is.
    fault: Option<&'static str>,
    /// What follows it, if it is a whole document.
    rest: String,
    /// Why a document was not read to its end.
    cut: Option<&'static str>,
}

impl Element {
    /// Reads a whole document that is in memory; one that ends early is an error.
    pub(in crate::sources) fn parse(body: &[u8]) -> Result<Self, String> {
        let document = Self::read(body, &Meter::default(), &[], |_| Ok(()))?;
        document.cut.map_or(Ok(()), |why| Err(why.to_owned())).map(|()| document)
    }

    /// Reads a listing while it arrives. What is wrong in it, and what follows it, are its [`faults`](Self::faults).
    ///
    /// Elements that are called as one of `records` go to `take`, each as it ends, and are no part of the tree that is returned. One
    /// of them, and all the rest, may have [`MAX_ITEM_BYTES`] bytes. What is wrong in one of them is no fault of the document.
    ///
    /// # Errors
    /// It ends early, or is malformed so that its end cannot be found, and either not one record could be read, or nothing tells that
    /// all has arrived that the server wrote. Where something does, that is a fault: the server itself breaks off each time.
    pub(in crate::sources) fn listing(
        body: &mut Arriving,
        records: &[&str],
        mut take: impl FnMut(&Element) -> Result<(), String>,
    ) -> Result<Self, String> {
        let (meter, mut are_read) = (body.meter(), false);
        let document = Self::read(&mut *body, &meter, records, |record| {
            are_read |= record.fault.is_none();
            take(record)
        })?;
        match document.cut {
            Some(why) if !are_read || !body.tells_its_end() => Err(why.into()),
            _ => Ok(document),
        }
    }

    /// Reads a document, as far as it goes.
    fn read(
        mut body: impl BufRead,
        meter: &Meter,
        records: &[&str],
        take: impl FnMut(&Element) -> Result<(), String>,
    ) -> Result<Self, String> {
        let mut head = Vec::new();
        body.by_ref().take(DECLARATION_BYTES).read_to_end(&mut head).map_err(|e| e.to_string())?;
        let encoding = encoding_of(&head);
        let whole = Cursor::new(head).chain(body);
        let (open, spare) = (Vec::new(), Vec::new());
        let tree = Tree { records, take, open, spare, record: None, inside: 0, outside: 0, document: None };
        let Some(encoding) = encoding else { return tree.read(BufReader::new(Utf8::new(whole)), meter) };
        let decoded = DecodeReaderBytesBuilder::new().encoding(Some(encoding)).build(whole);
        tree.read(BufReader::new(decoded), meter)
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

    /// What of a document could not be read, and why: something outside of its records, or what follows it, since a server that fails
    /// in the middle of an answer may close its elements and write so.
    pub(in crate::sources) fn faults(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let wrong = self.fault.map(|fault| (self.name.as_str(), fault));
        let rest = Some(self.rest.as_str()).filter(|rest| !rest.is_empty());
        let cut = self.cut.map(|why| (self.name.as_str(), why));
        wrong.into_iter().chain(cut).chain(rest.map(|rest| (rest, "with this the server broke off the listing")))
    }

    /// Whether this is a document that was not read to its end.
    pub(in crate::sources) fn is_cut(&self) -> bool {
        self.cut.is_some()
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

    /// The text of the first child of this local name that can be read, blanks and all.
    pub(in crate::sources) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).filter(|child| child.fault.is_none()).map(|child| child.text.as_str())
    }

    /// The text of the child by which a record is known.
    ///
    /// # Errors
    /// Why the record cannot be read, and what is there of the text.
    pub(in crate::sources) fn known_by(&self, name: &str) -> Result<&str, (&str, &'static str)> {
        let child = self.child(name);
        let text = child.map(|child| child.text.as_str()).filter(|text| !text.trim().is_empty());
        match (self.fault.or(child.and_then(|child| child.fault)), text) {
            (None, Some(text)) => Ok(text),
            (fault, text) => Err((text.unwrap_or_default(), fault.unwrap_or("it has no name"))),
        }
    }
}

/// A document that is being read.
struct Tree<'a, F> {
    records: &'a [&'a str],
    take: F,
    /// The elements that have begun, outermost first.
    open: Vec<Element>,
    /// Elements of records that were taken: the next ones need not allocate.
    spare: Vec<Element>,
    /// The depth at which the record begins that is being read, and the bytes that it and the rest take.
    record: Option<usize>,
    inside: usize,
    outside: usize,
    document: Option<Element>,
}

impl<F: FnMut(&Element) -> Result<(), String>> Tree<'_, F> {
    fn read(mut self, body: impl BufRead, meter: &Meter) -> Result<Element, String> {
        let mut reader = Reader::from_reader(body);
        let config = reader.config_mut();
        (config.check_end_names, config.allow_unmatched_ends, config.allow_dangling_amp) = (false, true, true);
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            let event = reader.read_event_into(&mut buffer);
            meter.next();
            if let Some(document) = &mut self.document {
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
            match event {
                Ok(Event::Start(tag)) => self.start(tag.local_name().as_ref())?,
                Ok(Event::Empty(tag)) => self.empty(tag.local_name().as_ref())?,
                Ok(Event::End(tag)) => self.end(tag.local_name().as_ref())?,
                Ok(Event::Text(part)) => self.text(part.as_ref()),
                Ok(Event::CData(part)) => self.text(part.as_ref()),
                Ok(Event::GeneralRef(entity)) => {
                    match entity.resolve_char_ref().ok().flatten().or_else(|| predefined(entity.as_ref())) {
                        Some(character) => self.text(character.encode_utf8(&mut [0; 4])),
                        None if entity.as_ref() == Utf8::<()>::ENTITY => self.spoil(NO_UTF8),
                        None => self.spoil(NO_CHARACTER),
                    }
                }
                Ok(Event::Eof) => return self.cut(CUT),
                Ok(Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_)) => {}
                Err(quick_xml::Error::IllFormed(_)) => self.blame("its XML is malformed"),
                Err(quick_xml::Error::Syntax(SyntaxError::InvalidBangMarkup)) => return self.cut(MALFORMED),
                Err(quick_xml::Error::Syntax(_)) => return self.cut(CUT),
                Err(error) => return Err(malformed(&error)),
            }
            if self.inside.max(self.outside) > MAX_ITEM_BYTES {
                return Err(Exceeded::Item.into());
            }
        }
    }

    /// The document as far as it was read, if it had begun.
    fn cut(mut self, why: &'static str) -> Result<Element, String> {
        if self.record.is_some() {
            self.blame(why);
        }
        self.close_from(0)?;
        let document = self.document.ok_or(why)?;
        Ok(Element { cut: Some(why), ..document })
    }

    fn start(&mut self, name: &str) -> Result<(), String> {
        let is_record = self.records.contains(&name);
        // No record is within another: that one has not been closed.
        if is_record && let Some(depth) = self.record {
            self.blame("a tag of it is not closed");
            self.close_from(depth - 1)?;
        }
        if self.open.len() == MAX_DEPTH {
            return Err("the XML is nested too deep".into());
        }
        let element = self.element(name);
        self.open.push(element);
        if is_record && self.open.len() > 1 {
            (self.record, self.inside) = (Some(self.open.len()), 0);
        }
        self.count(size_of::<Element>() + name.len());
        Ok(())
    }

    fn empty(&mut self, name: &str) -> Result<(), String> {
        let element = self.element(name);
        if self.record.is_none() && !self.open.is_empty() && self.records.contains(&name) {
            return self.taken(element);
        }
        self.count(size_of::<Element>());
        self.close(element)
    }

    fn end(&mut self, name: &str) -> Result<(), String> {
        let Some(at) = self.open.iter().rposition(|element| element.name == name) else {
            self.blame("a tag of it is closed that was not opened");
            return Ok(());
        };
        if at + 1 < self.open.len() {
            self.blame("a tag of it is not closed");
        }
        self.close_from(at)
    }

    /// Closes the elements from this one on, innermost first.
    fn close_from(&mut self, at: usize) -> Result<(), String> {
        while self.open.len() > at
            && let Some(element) = self.open.pop()
        {
            if self.record == Some(self.open.len() + 1) {
                self.record = None;
                self.taken(element)?;
            } else {
                self.close(element)?;
            }
        }
        Ok(())
    }

    fn element(&mut self, name: &str) -> Element {
        let mut element = self.spare.pop().unwrap_or_default();
        element.name.push_str(name);
        element
    }

    fn taken(&mut self, record: Element) -> Result<(), String> {
        let taken = (self.take)(&record);
        self.spare(record);
        taken
    }

    /// Keeps an element for the next ones, and those in it.
    fn spare(&mut self, mut element: Element) {
        element.children.drain(..).for_each(|child| self.spare(child));
        let bytes = element.name.capacity() + element.text.capacity();
        let is_small = bytes <= MAX_SPARE_BYTES && element.children.capacity() <= MAX_SPARE_CHILDREN;
        if is_small && self.spare.len() < MAX_SPARE {
            element.name.clear();
            element.text.clear();
            element.fault = None;
            self.spare.push(element);
        }
    }

    fn close(&mut self, element: Element) -> Result<(), String> {
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.document = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if let Some(inner) = self.open.last_mut() {
            inner.text.push_str(text);
            self.count(text.len());
        }
    }

    /// Something of the innermost element's text cannot be read.
    fn spoil(&mut self, why: &'static str) {
        self.text("\u{fffd}");
        if let Some(inner) = self.open.last_mut() {
            inner.fault.get_or_insert(why);
        }
        if self.record.is_none() {
            self.blame(why);
        }
    }

    /// A tag is wrong: of the record that is being read, or of the document.
    fn blame(&mut self, why: &'static str) {
        if let Some(element) = self.open.get_mut(self.record.map_or(0, |depth| depth - 1)) {
            element.fault.get_or_insert(why);
        }
    }

    fn count(&mut self, bytes: usize) {
        *(if self.record.is_some() { &mut self.inside } else { &mut self.outside }) += bytes;
    }
}

/// The character of an entity that XML knows.
fn predefined(entity: &str) -> Option<char> {
    Some(match entity {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

/// A text in UTF-8, in which a reference to an entity that nobody knows stands for bytes that are none: they spoil one text of a document,
/// and not all of it.
struct Utf8<R> {
    body: R,
    /// What has been read: text that can be handed on, and the beginning of a character.
    text: Vec<u8>,
    at: usize,
    begun: Vec<u8>,
}

impl<R> Utf8<R> {
    const ENTITY: &'static str = "bytes";

    fn new(body: R) -> Self {
        Self { body, text: Vec::new(), at: 0, begun: Vec::new() }
    }

    /// Takes bytes, the last ones if there are none.
    fn take(&mut self, bytes: &[u8]) {
        let all = [self.begun.as_slice(), bytes].concat();
        self.begun.clear();
        self.text.clear();
        self.at = 0;
        let mut rest = all.as_slice();
        while let Err(error) = str::from_utf8(rest) {
            let (valid, wrong) = rest.split_at(error.valid_up_to());
            self.text.extend_from_slice(valid);
            let length = match error.error_len() {
                Some(length) => length,
                None if bytes.is_empty() => wrong.len(),
                None => {
                    self.begun.extend_from_slice(wrong);
                    return;
                }
            };
            self.text.extend_from_slice(format!("&{};", Self::ENTITY).as_bytes());
            rest = &wrong[length..];
        }
        self.text.extend_from_slice(rest);
    }
}

impl<R: BufRead> Read for Utf8<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.text.len() {
            let bytes = self.body.fill_buf()?.to_vec();
            if bytes.is_empty() && self.begun.is_empty() {
                return Ok(0);
            }
            self.body.consume(bytes.len());
            self.take(&bytes);
        }
        let length = out.len().min(self.text.len() - self.at);
        out[..length].copy_from_slice(&self.text[self.at..self.at + length]);
        self.at += length;
        Ok(length)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::arriving::{read, read_as};

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
                Element::listing(body, &["a"], |record| {
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
    fn a_record_that_is_malformed_costs_no_other() {
        let good = "<a><k>good</k></a>";
        for (odd, name, fault) in [
            ("<a><k>b&amp;c</k></a>", Ok("b&c"), None),
            ("<a><k>AT&T</k></a>", Ok("AT&T"), None),
            ("<a><k>b</k><other>&nbsp;</other></a>", Ok("b"), None),
            ("<a><k>m&uuml;ll</k></a>", Err(("m\u{fffd}ll", NO_CHARACTER)), None),
            ("<a><k>b&#0;</k></a>", Err(("b\u{fffd}", NO_CHARACTER)), None),
            ("<a><k>m\u{fc}ll</k></a>", Ok("m\u{fc}ll"), None),
            ("<a><k>b</kk></a>", Err(("b", "a tag of it is closed that was not opened")), None),
            ("<a><k>b</a>", Err(("b", "a tag of it is not closed")), None),
            ("<a><k>b</k>", Err(("b", "a tag of it is not closed")), None),
            ("<a><x></k></a>", Err(("", "a tag of it is closed that was not opened")), None),
            ("<a/>", Err(("", "it has no name")), None),
            ("<a><k> </k></a>", Err(("", "it has no name")), None),
            ("</k>", Ok("good"), Some("a tag of it is closed that was not opened")),
            ("&foo;", Ok("good"), Some(NO_CHARACTER)),
        ] {
            let mut taken = Vec::new();
            let body = format!("<r>{good}{odd}{good}<n>1</n></r>");
            let told = |name: Result<&str, (&str, &'static str)>| {
                name.map(str::to_owned).map_err(|(text, why)| (text.to_owned(), why))
            };
            let tree = Element::read(body.as_bytes(), &Meter::default(), &["a"], |record| {
                taken.push(told(record.known_by("k")));
                Ok(())
            });
            let tree = tree.expect(odd);
            assert_eq!((&taken[0], &taken[1]), (&told(Ok("good")), &told(name)), "{odd}");
            assert_eq!(taken.last(), Some(&told(Ok("good"))), "{odd}");
            assert_eq!(tree.faults().map(|(_, why)| why).next(), fault, "{odd}");
            assert_eq!(tree.text_of("n"), Some("1"), "{odd}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_spoil_one_text_however_they_arrive() {
        let body = b"<r><a>m\xc3\xbc</a><b>m\xfcll</b><c>\xe2\x82\xac</c><d>\xe2\x82</d></r>\xc3";
        for length in 1..body.len() {
            let mut text = String::new();
            let pieces = BufReader::with_capacity(length, body.as_slice());
            Utf8::new(pieces).read_to_string(&mut text).expect("it is UTF-8 now");
            assert_eq!(text, "<r><a>m\u{fc}</a><b>m&bytes;ll</b><c>\u{20ac}</c><d>&bytes;</d></r>&bytes;", "{length}");
        }
        let tree = Element::parse(body).expect("it is whole");
        assert_eq!(
            ["a", "b", "c", "d"].map(|name| tree.text_of(name)),
            [Some("m\u{fc}"), None, Some("\u{20ac}"), None]
        );
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
            assert_eq!(document.faults().map(|(what, _)| what).next(), told, "{rest:?}");
            assert_eq!(document.text_of("a"), Some("1"), "{rest:?}");
        }
        let endless = format!("<r/>{}", "x ".repeat(1 << 20));
        assert!(Element::parse(endless.as_bytes()).is_ok_and(|document| document.faults().count() == 1));
    }

    #[test]
    fn a_document_that_ends_early_is_an_error() {
        for text in ["", "<r><a>1</a>", "<r><a>1</a></", "<r><!x></r>"] {
            assert!(Element::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_listing_that_the_server_did_not_end_is_read_as_far_as_it_goes() {
        let read = |body: &str, tells_its_end| {
            let mut names = Vec::new();
            let read = read_as(body.as_bytes(), tells_its_end, |body| {
                Element::listing(body, &["a"], |record| {
                    names.push(record.known_by("k").map(str::to_owned).map_err(|(name, _)| name.to_owned()));
                    Ok(())
                })
            });
            (read.map(|document| document.faults().map(|(_, why)| why).next()), names)
        };
        let good = "<r><a><k>1</k></a>";
        for (rest, why, begun) in [
            ("", CUT, None),
            ("</", CUT, None),
            ("<a><k>2</k>", CUT, Some("2")),
            ("<a><k>2", CUT, Some("2")),
            ("<a><k x=\"", CUT, Some("")),
            ("<![CDATA[", CUT, None),
            ("<!x><a><k>2</k></a></r>", MALFORMED, None),
        ] {
            let begun = begun.map(|name| Err(name.to_owned()));
            let names: Vec<_> = [Ok("1".to_owned())].into_iter().chain(begun).collect();
            assert_eq!(read(&format!("{good}{rest}"), true), (Ok(Some(why)), names.clone()), "{rest}");
            assert_eq!(read(&format!("{good}{rest}"), false), (Err(why.into()), names), "{rest}: more may come");
            assert_eq!(read(&format!("<r>{}", rest.replace("</k></a></r>", "")), true).0, Err(why.into()), "{rest}");
        }
        assert_eq!(read(&format!("{good}</r>"), false).0, Ok(None));
    }
}

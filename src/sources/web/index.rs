//! Reading a directory's index, in the form that the server gives it: nginx's JSON, or a page for people. It asks nothing.

use std::io::BufRead as _;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use url::Url;

use super::item::Item;
use super::page;
use crate::source::LeftOut;
use crate::sources::arriving::{Arriving, Meter};
use crate::sources::heap::Heap;
use crate::sources::loose::loose;
use crate::sources::stamp::http_date;

/// Reads the index at `url`. What is none is an error that says what it is: taken for an index, it would look like an empty directory.
pub(super) fn parse(
    url: &Url,
    content_type: &str,
    body: &mut Arriving,
    left_out: &LeftOut,
) -> Result<Heap<Item>, String> {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        "application/json" | "text/json" => json(body, left_out),
        "text/html" | "application/xhtml+xml" => page::parse(url, body, left_out),
        "" if begins(body)? == Some(b'<') => page::parse(url, body, left_out),
        "" => Err("the answer is no index of files".into()),
        other => Err(format!("the answer is of the type {other:?}, no index of files")),
    }
}

/// The first byte that is no blank; blanks are read.
fn begins(body: &mut Arriving) -> Result<Option<u8>, String> {
    loop {
        let here = body.fill_buf().map_err(|e| e.to_string())?;
        let blanks = here.len() - here.trim_ascii_start().len();
        match here.get(blanks) {
            Some(&first) => return Ok(Some(first)),
            None if here.is_empty() => return Ok(None),
            None => body.consume(blanks),
        }
    }
}

/// The index of nginx with `autoindex_format json`.
fn json(body: &mut Arriving, left_out: &LeftOut) -> Result<Heap<Item>, String> {
    let meter = body.meter();
    let mut items = Heap::default();
    let mut reader = serde_json::Deserializer::from_reader(body);
    let all = Listing { items: &mut items, left_out, meter };
    let read = all.deserialize(&mut reader).and_then(|()| reader.end());
    read.map_err(|e| format!("the answer is JSON, but no index of files: {e}"))?;
    Ok(items)
}

/// Takes the items of an index one by one.
struct Listing<'a> {
    items: &'a mut Heap<Item>,
    left_out: &'a LeftOut,
    meter: Meter,
}

impl<'de> DeserializeSeed<'de> for Listing<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Listing<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of files")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut listed: A) -> Result<(), A::Error> {
        while let Some(item) = listed.next_element::<Listed>()? {
            self.meter.next();
            let directory = match item.kind.as_deref() {
                Some("directory") => true,
                Some("file") => false,
                // Devices and sockets.
                Some(_) => {
                    self.left_out.hide();
                    continue;
                }
                None => {
                    self.left_out.add_unreadable(&item.name.0, "the index tells no type");
                    continue;
                }
            };
            let size = item.size.filter(|_| !directory);
            let modified = item.mtime.as_deref().and_then(http_date);
            self.items.push(&Item { name: item.name.0, directory, size, modified }).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Listed {
    name: Name,
    #[serde(rename = "type", default, deserialize_with = "loose")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    mtime: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    size: Option<u64>,
}

/// nginx writes names as they are, which need not be UTF-8.
struct Name(Vec<u8>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Name;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a name")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Name, E> {
                Ok(Name(text.into()))
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Name, E> {
                if bytes.is_empty() { Err(E::custom("an empty name")) } else { Ok(Name(bytes.to_vec())) }
            }
        }
        deserializer.deserialize_bytes(Bytes).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Corpus, Input};
    use crate::sources::arriving::read;

    fn url() -> Url {
        Url::parse("http://h/d/").expect("it is a URL")
    }

    #[test]
    fn nginx_tells_exact_sizes_and_times_and_any_bytes() {
        let body = b"[\r\n{ \"name\":\"a \\\"b\xff\", \"type\":\"directory\", \"mtime\":\"Sun, 06 Nov 1994 08:49:37 GMT\" },\n\
            { \"name\":\"c\", \"type\":\"file\", \"mtime\":\"Sun, 06 Nov 1994 08:49:38 GMT\", \"size\":7 },\n\
            { \"name\":\"socket\", \"type\":\"other\", \"mtime\":\"Sun, 06 Nov 1994 08:49:38 GMT\" }\r\n]";
        let items =
            read(body, |body| parse(&url(), "application/json", body, &LeftOut::default())).expect("it is an index");
        let items: Vec<_> = items.into_iter().collect();
        let (dir, file) = (&items[0], &items[1]);
        assert_eq!((dir.name.as_slice(), dir.directory, dir.size), (b"a \"b\xff".as_slice(), true, None));
        assert_eq!((file.directory, file.size, file.modified), (false, Some(7), Some(784_111_778)));
        assert_eq!(items.len(), 2);
    }

    #[test]
    fn a_field_of_another_form_costs_no_other_name() {
        let good = r#"{"name":"c","type":"file","size":7}"#;
        for (odd, names, incomplete) in [
            (r#"{"name":"a","type":"file","size":-1,"mtime":null}"#, 2, false),
            (r#"{"name":"a","type":"file","size":"7K"}"#, 2, false),
            (r#"{"name":"a"}"#, 1, true),
            (r#"{"name":"a","type":7}"#, 1, true),
            (r#"{"name":"a","type":"other"}"#, 1, false),
        ] {
            let (body, left_out) = (format!("[{odd},{good}]"), LeftOut::default());
            let items = read(body.as_bytes(), |body| parse(&url(), "application/json", body, &left_out));
            assert_eq!((items.expect(odd).iter().count(), left_out.is_incomplete()), (names, incomplete), "{odd}");
        }
    }

    #[test]
    fn what_is_no_index_is_an_error_that_says_what_it_is() {
        for (content_type, body, word) in [
            ("application/json", "{\"error\":\"x\"}", "JSON"),
            ("application/json", "[{\"name\":\"a\",\"type\":\"file\"}", "JSON"),
            ("application/json", "[1]", "JSON"),
            ("image/png", "x", "image/png"),
            ("", "hello", "no index"),
        ] {
            let why =
                read(body.as_bytes(), |body| parse(&url(), content_type, body, &LeftOut::default())).expect_err(body);
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn fuzz_json_index() {
        let corpus = Corpus::of("index_json");
        let url = url();
        bolero::check!().with_type::<Input>().for_each(|input| {
            drop(read(&corpus.bytes(input), |body| parse(&url, "application/json", body, &LeftOut::default())))
        });
    }
}

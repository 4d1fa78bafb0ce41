//! Reading the answer to a PROPFIND. It knows resources, and which of them are in the place that was asked about.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use tokio::sync::oneshot;

use crate::omitted::Omitted;
use crate::source::one_name::LARGE_NAMES;
use crate::source::packed::Reader;
use crate::sources::arriving::Arriving;
use crate::sources::heap::{Heap, Pack};
use crate::sources::http::xml::Element;
use crate::sources::stamp::{Stamp, http_date};

/// The resources of a multistatus, and what of it is left out.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) resources: Heap<Resource>,
    pub(super) left_out: Omitted,
}

/// One `response` of a multistatus: where, and what.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) place: Place,
    pub(super) directory: bool,
    pub(super) stamp: Stamp,
}

/// The place of a resource, seen from the path that was asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// It is what was asked about.
    Itself,
    /// Directly in that, by this name.
    Inside(Vec<u8>),
    /// Elsewhere, at this path.
    Elsewhere(Vec<u8>),
}

impl Place {
    fn of(components: &[Vec<u8>], asked: &[Vec<u8>]) -> Self {
        match components.strip_prefix(asked) {
            Some([]) => Self::Itself,
            Some([name]) => Self::Inside(name.clone()),
            _ => Self::Elsewhere(components.join(b"/".as_slice())),
        }
    }
}

impl Pack for Place {
    fn pack(&self, out: &mut Vec<u8>) {
        match self {
            Self::Itself => out.push(0),
            Self::Inside(name) => {
                out.push(1);
                name.pack(out);
            }
            Self::Elsewhere(path) => {
                out.push(2);
                path.pack(out);
            }
        }
    }

    fn unpack(packed: &mut Reader<'_>) -> Self {
        match packed.number() {
            0 => Self::Itself,
            1 => Self::Inside(Pack::unpack(packed)),
            _ => Self::Elsewhere(Pack::unpack(packed)),
        }
    }
}

impl Pack for Resource {
    fn pack(&self, out: &mut Vec<u8>) {
        self.place.pack(out);
        self.directory.pack(out);
        self.stamp.pack(out);
    }

    fn unpack(packed: &mut Reader<'_>) -> Self {
        Self { place: Pack::unpack(packed), directory: Pack::unpack(packed), stamp: Pack::unpack(packed) }
    }
}

/// Reads the answer to a PROPFIND about what has the components `asked`. Says to `large` when more than [`LARGE_NAMES`] are in that.
pub(super) fn multistatus(
    body: &mut Arriving,
    asked: &[Vec<u8>],
    mut large: Option<oneshot::Sender<()>>,
) -> Result<Listed, String> {
    let Listed { mut resources, mut left_out } = Listed::default();
    let mut names = 0;
    let tree = Element::listing(body, &["response"], |response| {
        let href = match response.known_by("href") {
            Ok(href) => href.trim(),
            Err((href, why)) => {
                left_out.add_unreadable(href.as_bytes(), why);
                return Ok(());
            }
        };
        match resource(response, href, asked) {
            Ok(Some(resource)) => {
                resources.push(&resource)?;
                names += usize::from(matches!(resource.place, Place::Inside(_)));
                if names > LARGE_NAMES
                    && let Some(large) = large.take()
                {
                    // Where nobody waits to hear it, all names are wanted.
                    let _ = large.send(());
                }
            }
            Ok(None) => {}
            Err(why) => left_out.add_unreadable(href.as_bytes(), why),
        }
        Ok(())
    })?;
    if !tree.is("multistatus") {
        return Err("the answer is no WebDAV listing: is this a WebDAV server?".into());
    }
    // Servers in Go (x/net/webdav, rclone) break off when a file disappears under them: they close the listing, and write this.
    for (what, why) in tree.faults() {
        left_out.add_unreadable(what.as_bytes(), why);
    }
    Ok(Listed { resources, left_out })
}

/// One resource; none if the server says in its place that there is none.
///
/// # Errors
/// Why it cannot be read.
fn resource(response: &Element, href: &str, asked: &[Vec<u8>]) -> Result<Option<Resource>, String> {
    let status = |element: &Element| {
        let text = element.text_of("status").unwrap_or("HTTP/1.1 200 OK");
        // Some leave out the version of HTTP.
        text.split_whitespace().take(2).find_map(|code| code.parse::<u16>().ok()).unwrap_or_default()
    };
    if response.child("propstat").is_none() {
        return match status(response) {
            404 | 410 => Ok(None),
            status => Err(format!("the server says {status} of it instead of what it is")),
        };
    }
    let good = response.all("propstat").filter(|propstat| status(propstat) == 200);
    let properties: Vec<_> = good.filter_map(|propstat| propstat.child("prop")).collect();
    // Properties that it has not are 404. Other failures leave open whether it is a file or a directory.
    let failed = response.all("propstat").map(status).find(|status| !matches!(status, 200 | 404));
    if let Some(status) = failed.filter(|_| properties.is_empty()) {
        return Err(format!("the server says {status} of its properties"));
    }
    let text = |name| {
        let texts = properties.iter().find_map(|prop| prop.text_of(name));
        texts.map(str::trim).filter(|text: &&str| !text.is_empty())
    };
    let types = properties.iter().find_map(|prop| prop.child("resourcetype"));
    let directory = types.is_some_and(|types| types.child("collection").is_some());
    // A size that is none, such as -1, is not known.
    let size = text("getcontentlength").and_then(|size| size.parse().ok());
    let stamp = Stamp::new(text("getetag"), size, text("getlastmodified").and_then(http_date));
    let place = place_of(href, asked);
    Ok(Some(Resource { place, directory, stamp }))
}

/// The place to which a reference leads. What begins with two slashes may name a host, or have one too many.
fn place_of(href: &str, asked: &[Vec<u8>]) -> Place {
    let place = Place::of(&components_of(href, asked), asked);
    if matches!(place, Place::Elsewhere(_))
        && let Some(rest) = href.strip_prefix("//")
    {
        return Place::of(&components_of(rest.find('/').map_or("/", |at| &rest[at..]), asked), asked);
    }
    place
}

/// The components of the path of a reference: a whole URL, a path, or what is relative to the collection that was asked about. A `#` is one
/// that the server should have escaped, since a listing has nothing to say of fragments.
fn components_of(href: &str, asked: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let path = match href.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => href,
    };
    let path = path.split('?').next().unwrap_or_default();
    let base = if path.starts_with('/') { &[] } else { asked };
    [base, &decoded_components(path)].concat()
}

pub(super) fn decoded_components(path: &str) -> Vec<Vec<u8>> {
    let components = path.split('/').filter(|component| !matches!(*component, "" | "."));
    components.map(|component| Cow::from(percent_decode_str(component)).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Corpus, Input};
    use crate::sources::arriving::read;

    #[test]
    fn answers_that_the_standard_allows_are_read() {
        let body = br#"<?xml version="1.0"?><d:multistatus xmlns:d="DAV:">
            <d:response><d:href>http://other:8080/dav/a%20b/</d:href><d:propstat><d:prop>
                <d:resourcetype><d:collection/><x:calendar xmlns:x="urn:x"/></d:resourcetype></d:prop>
                <d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>
            <d:response><d:href>/dav/a%20b/%41%2541%ff</d:href>
                <d:propstat><d:prop><d:getcontentlength>3</d:getcontentlength></d:prop>
                    <d:status>HTTP/1.1 200 OK</d:status></d:propstat>
                <d:propstat><d:prop><d:getetag/></d:prop><d:status>HTTP/1.1 404 Not Found</d:status></d:propstat>
            </d:response>
            <d:response><d:href>/dav/gone</d:href><d:status>HTTP/1.1 404 Not Found</d:status></d:response>
        </d:multistatus>"#;
        let asked = decoded_components("/dav/a%20b");
        let found: Vec<_> = read(body, |body| multistatus(body, &asked, None))
            .expect("it is well-formed")
            .resources
            .into_iter()
            .collect();
        assert_eq!(found.len(), 2);
        assert!(found[0].directory);
        let places = |found: &[Resource]| found.iter().map(|resource| resource.place.clone()).collect::<Vec<_>>();
        assert_eq!(places(&found), [Place::Itself, Place::Inside(b"A%41\xff".to_vec())]);
        let elsewhere =
            read(body, |body| multistatus(body, &decoded_components("/dav"), None)).expect("it is well-formed");
        assert_eq!(
            places(&elsewhere.resources.into_iter().collect::<Vec<_>>()),
            [Place::Inside(b"a b".to_vec()), Place::Elsewhere(b"dav/a b/A%41\xff".to_vec())]
        );
        assert_eq!((found[1].directory, found[1].stamp.size), (false, Some(3)));
    }

    #[test]
    fn references_lead_to_the_same_place_however_they_are_written() {
        let asked = decoded_components("/dav/a");
        for (href, place) in [
            ("/dav/a/", Place::Itself),
            ("/dav/a/x%20y", Place::Inside(b"x y".to_vec())),
            ("https://other:8080/dav/a/x", Place::Inside(b"x".to_vec())),
            ("/dav/a/./x", Place::Inside(b"x".to_vec())),
            ("/dav/a//x", Place::Inside(b"x".to_vec())),
            ("/dav/a/No #1", Place::Inside(b"No #1".to_vec())),
            ("x", Place::Inside(b"x".to_vec())),
            ("./x/", Place::Inside(b"x".to_vec())),
            ("./", Place::Itself),
            ("https://other", Place::Elsewhere(Vec::new())),
            ("//other:8080/dav/a/x", Place::Inside(b"x".to_vec())),
            ("//dav//a/x", Place::Inside(b"x".to_vec())),
        ] {
            assert_eq!(place_of(href, &asked), place, "{href}");
        }
    }

    #[test]
    fn an_entry_that_cannot_be_read_makes_a_listing_incomplete_and_costs_no_other() {
        let file = |href: &str, size: &str, status: &str| {
            format!(
                "<response>{href}<propstat><prop><getcontentlength>{size}</getcontentlength></prop>\
                 <status>HTTP/1.1 {status}</status></propstat></response>"
            )
        };
        let good = file("<href>/good</href>", "7", "200 OK");
        for (odd, names, incomplete) in [
            ("<response><href>/odd</href><status>HTTP/1.1 403 Forbidden</status></response>".to_owned(), 1, true),
            (file("<href>/odd</href>", "", "500 Internal Server Error"), 1, true),
            (file("", "3", "200 OK"), 1, true),
            ("<response/>".to_owned(), 1, true),
            (file("<href>/m&uuml;ll</href>", "3", "200 OK"), 1, true),
            (file("<href>/odd", "3", "200 OK"), 1, true),
            (file("<href>/odd</href>", "&nbsp;", "200 OK"), 2, false),
            ("<response><href>/gone</href><status>HTTP/1.1 404 Not Found</status></response>".to_owned(), 1, false),
            (file("<href>/odd</href>", "-1", "200 OK"), 2, false),
            (file("<href>/odd</href>", "1", "200 OK").replace("HTTP/1.1 ", ""), 2, false),
            (file("<href>/odd</href>", "12 bytes", "200 OK"), 2, false),
        ] {
            let body = format!("<multistatus>{odd}{good}</multistatus>");
            let Listed { resources, left_out } =
                read(body.as_bytes(), |body| multistatus(body, &[], None)).expect("it is a listing");
            assert_eq!((resources.iter().count(), left_out.is_incomplete()), (names, incomplete), "{odd}");
            assert_eq!(resources.iter().last().and_then(|resource| resource.stamp.size), Some(7), "{odd}");
        }
    }

    #[test]
    fn a_listing_that_the_server_broke_off_is_incomplete() {
        let whole = "<multistatus><response><href>/a</href><propstat><prop/></propstat></response></multistatus>";
        for (end, incomplete) in [("", false), ("\n", false), ("Internal Server Error", true)] {
            let body = format!("{whole}{end}");
            let listed = read(body.as_bytes(), |body| multistatus(body, &[], None)).expect("it is a listing");
            assert_eq!((listed.resources.iter().count(), listed.left_out.is_incomplete()), (1, incomplete), "{end:?}");
        }
    }

    #[test]
    fn what_is_no_listing_is_an_error() {
        for body in ["<html/>", "", "<multistatus>", "<multistatus><response><href>/a</href>"] {
            assert!(read(body.as_bytes(), |body| multistatus(body, &[], None)).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_listing_that_ends_early_shows_what_it_tells_and_is_incomplete() {
        let file = |name: &str| format!("<response><href>/{name}</href><propstat><prop/></propstat></response>");
        let whole = format!("<multistatus>{}{}</multistatus>", file("a"), file("b"));
        let first = "<multistatus>".len() + file("a").len();
        for end in 0..whole.len() {
            let listed = read(&whole.as_bytes()[..end], |body| multistatus(body, &[], None));
            let told = listed.ok().map(|listed| (listed.resources.iter().count(), listed.left_out.is_incomplete()));
            let wanted = (end >= first).then(|| (1 + usize::from(end >= first + file("b").len()), true));
            assert_eq!(told, wanted, "{}", &whole[..end]);
        }
    }

    #[test]
    fn fuzz_multistatus() {
        let corpus = Corpus::of("multistatus");
        bolero::check!()
            .with_type::<Input>()
            .for_each(|input| drop(read(&corpus.bytes(input), |body| multistatus(body, &[b"dav".to_vec()], None))));
    }
}

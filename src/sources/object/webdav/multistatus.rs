//! Reading the answer to a PROPFIND. It knows resources, and nothing of which directory was asked about.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::super::xml::Element;
use crate::source::budget::Budget;
use crate::sources::arriving::{Arriving, Heap};
use crate::sources::version::{Version, http_date};

/// One `response` of a multistatus: where, and what.
pub(super) struct Resource {
    pub(super) components: Vec<Vec<u8>>,
    pub(super) directory: bool,
    pub(super) version: Version,
}

/// Reads the answer to a PROPFIND.
pub(super) fn multistatus(body: &mut Arriving) -> Result<Heap<Resource>, String> {
    let (meter, mut budget, mut resources) = (body.meter(), Budget::default(), Heap::default());
    let tree = Element::read(body, &meter, &["response"], |response| {
        if let Some(resource) = resource(&response)? {
            budget.item::<Resource>(resource.components.iter().map(|component| COMPONENT + component.len()).sum())?;
            resources.push(resource);
        }
        Ok(())
    })?;
    if !tree.is("multistatus") {
        return Err("the answer is no WebDAV listing: is this a WebDAV server?".into());
    }
    Ok(resources)
}

/// What one component of a path takes in memory beside its bytes.
const COMPONENT: usize = 48;

/// One resource; none if the server says in its place that there is none.
fn resource(response: &Element) -> Result<Option<Resource>, String> {
    let href = response.text_of("href").ok_or("a response without href")?;
    let status = |element: &Element| {
        let text = element.text_of("status").unwrap_or("HTTP/1.1 200 OK");
        text.split_whitespace().nth(1).and_then(|code| code.parse::<u16>().ok()).unwrap_or_default()
    };
    if response.child("propstat").is_none() {
        return match status(response) {
            404 | 410 => Ok(None),
            status => Err(format!("the listing says {status} of an entry instead of what it is")),
        };
    }
    let good = response.all("propstat").filter(|propstat| status(propstat) == 200);
    let properties: Vec<_> = good.filter_map(|propstat| propstat.child("prop")).collect();
    let text = |name| {
        let texts = properties.iter().find_map(|prop| prop.text_of(name));
        texts.map(str::trim).filter(|text: &&str| !text.is_empty())
    };
    let types = properties.iter().find_map(|prop| prop.child("resourcetype"));
    let directory = types.is_some_and(|types| types.child("collection").is_some());
    let size = text("getcontentlength").map(|size| size.parse().map_err(|_| "a size that is no number".to_owned()));
    let version = Version::new(text("getetag"), size.transpose()?, text("getlastmodified").and_then(http_date));
    Ok(Some(Resource { components: decoded_components(path_of(href.trim())), directory, version }))
}

/// The path of a reference, which may be a whole URL.
fn path_of(href: &str) -> &str {
    let path = match href.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("", |at| &rest[at..]),
        _ => href,
    };
    path.split(['?', '#']).next().unwrap_or_default()
}

/// One component, in no more memory than it has bytes.
fn decoded(component: &str) -> Vec<u8> {
    let mut bytes = Cow::from(percent_decode_str(component)).into_owned();
    bytes.shrink_to_fit();
    bytes
}

pub(super) fn decoded_components(path: &str) -> Vec<Vec<u8>> {
    let components = path.split('/').filter(|component| !component.is_empty());
    components.map(decoded).collect()
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
        let found: Vec<_> = read(body, multistatus).expect("it is well-formed").into_iter().collect();
        assert_eq!(found.len(), 2);
        assert!(found[0].directory);
        assert_eq!(found[0].components, [b"dav".to_vec(), b"a b".to_vec()]);
        assert_eq!(found[1].components[2], b"A%41\xff");
        assert_eq!((found[1].directory, found[1].version.size), (false, Some(3)));
    }

    #[test]
    fn what_is_no_listing_is_an_error() {
        for body in ["<html/>", "", "<multistatus><response/></multistatus>"] {
            assert!(read(body.as_bytes(), multistatus).is_err(), "{body:?}");
        }
    }

    #[test]
    fn fuzz_multistatus() {
        let corpus = Corpus::of("multistatus");
        bolero::check!().with_type::<Input>().for_each(|input| drop(read(&corpus.bytes(input), multistatus)));
    }
}

//! Reading an answer to List Blobs.

use std::collections::HashSet;

use crate::source::budget::Budget;
use crate::sources::arriving::Arriving;
use crate::sources::http::xml::Element;
use crate::sources::keys::Page;
use crate::sources::stamp::{Stamp, http_date};

/// Bytes that a name takes in a set beside its own, for a budget that counts three copies of it.
const IN_SET: usize = 24;

/// Reads one answer to List Blobs.
pub(super) fn parse(body: &mut Arriving, observed: i64) -> Result<Page, String> {
    let mut page = Page { observed, ..Page::default() };
    // Accounts with real directories list them as blobs too, so that one may come twice.
    let mut directories = HashSet::new();
    let mut budget = Budget::default();
    // The reader leaves out the byte order mark with which Azure begins.
    let tree = Element::listing(body, &["BlobPrefix", "Blob"], |blob| {
        let name = match blob.known_by("Name") {
            Ok(name) => name.to_owned(),
            Err((name, why)) => {
                page.left_out.add_unreadable(name.as_bytes(), why);
                return Ok(());
            }
        };
        if blob.is("BlobPrefix") {
            budget.packed(IN_SET + name.len())?;
            directories.insert(name);
            return Ok(());
        }
        let Some(properties) = blob.child("Properties") else {
            page.left_out.add_unreadable(name.as_bytes(), "it has no properties");
            return Ok(());
        };
        if properties.text_of("ResourceType") == Some("directory") {
            budget.packed(IN_SET + name.len())?;
            directories.insert(format!("{}/", name.trim_end_matches('/')));
            return Ok(());
        }
        let size = properties.text_of("Content-Length").and_then(|size| size.trim().parse().ok());
        let modified = properties.text_of("Last-Modified").and_then(http_date);
        page.files.push(&(name, Stamp::new(properties.text_of("Etag"), size, modified)))?;
        Ok(())
    })?;
    if !tree.is("EnumerationResults") || tree.child("Blobs").is_none() {
        return Err("the answer is no listing of a container: is this Azure Blob Storage?".into());
    }
    tree.faults().for_each(|(what, why)| page.left_out.add_unreadable(what.as_bytes(), why));
    for directory in directories {
        page.directories.push(&directory)?;
    }
    page.next = tree.text_of("NextMarker").filter(|marker| !marker.is_empty()).map(str::to_owned);
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Corpus, Input};
    use crate::sources::arriving::read;

    #[test]
    fn blobs_prefixes_and_real_directories_are_read() {
        let body = "\u{feff}<?xml version=\"1.0\"?><EnumerationResults ContainerName=\"c\"><Blobs>\
            <Blob><Name> a&amp;b</Name><Properties><Last-Modified>Sun, 06 Nov 1994 08:49:37 GMT</Last-Modified><Etag>0x8D</Etag>\
            <Content-Length>7</Content-Length></Properties></Blob>\
            <Blob><Name>real</Name><Properties><ResourceType>directory</ResourceType></Properties></Blob>\
            <BlobPrefix><Name>dir/</Name></BlobPrefix><BlobPrefix><Name>real/</Name></BlobPrefix></Blobs><NextMarker>m</NextMarker></EnumerationResults>";
        let page = read(body.as_bytes(), |body| parse(body, 0)).expect("it is a listing");
        let mut directories: Vec<_> = page.directories.iter().collect();
        directories.sort();
        assert_eq!(directories, ["dir/", "real/"]);
        let file = (" a&b".to_owned(), Stamp::new(Some("\"0x8D\""), Some(7), Some(784_111_777)));
        assert_eq!(page.files.iter().collect::<Vec<_>>(), [file]);
        assert_eq!(page.next.as_deref(), Some("m"));
    }

    #[test]
    fn a_blob_that_cannot_be_read_makes_a_listing_incomplete_and_costs_no_other() {
        let blob = |name: &str, more: &str| format!("<Blob>{name}<Properties>{more}</Properties></Blob>");
        let good = blob("<Name>good</Name>", "<Content-Length>7</Content-Length>");
        for (odd, files, incomplete) in [
            (blob("<Name>m&uuml;ll</Name>", ""), 1, true),
            (blob("<Name>odd", ""), 1, true),
            (blob("", ""), 1, true),
            ("<Blob><Name>odd</Name></Blob>".to_owned(), 1, true),
            ("<BlobPrefix><Name>&odd;/</Name></BlobPrefix>".to_owned(), 1, true),
            (blob("<Name>odd</Name>", "<Content-Length>7 bytes</Content-Length>"), 2, false),
        ] {
            let body = format!("<EnumerationResults><Blobs>{odd}{good}</Blobs></EnumerationResults>");
            let page = read(body.as_bytes(), |body| parse(body, 0)).expect("it is a listing");
            assert_eq!((page.files.iter().count(), page.left_out.is_incomplete()), (files, incomplete), "{odd}");
            assert_eq!(page.files.iter().last().map(|(name, _)| name).as_deref(), Some("good"), "{odd}");
        }
    }

    #[test]
    fn what_is_no_listing_is_an_error() {
        for body in ["<html/>", "<EnumerationResults/>", "<EnumerationResults><Blobs>", "<ListBucketResult/>"] {
            assert!(read(body.as_bytes(), |body| parse(body, 0)).is_err(), "{body}");
        }
    }

    #[test]
    fn fuzz_azure_listing() {
        let corpus = Corpus::of("azure_listing");
        bolero::check!().with_type::<Input>().for_each(|input| drop(read(&corpus.bytes(input), |body| parse(body, 0))));
    }
}

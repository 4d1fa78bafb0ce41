//! Reading an answer to List Blobs.

use super::super::keys::Page;
use super::super::xml::Element;
use crate::sources::version::{Version, http_date};

/// Reads one answer to List Blobs.
pub(super) fn parse(body: &[u8], observed: i64) -> Result<Page, String> {
    // Azure begins with a byte order mark.
    let tree = Element::parse(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body))?;
    let Some(blobs) = tree.child("Blobs").filter(|_| tree.is("EnumerationResults")) else {
        return Err("the answer is no listing of a container: is this Azure Blob Storage?".into());
    };
    let mut page = Page { observed, ..Page::default() };
    for prefix in blobs.all("BlobPrefix") {
        page.directories.push(prefix.text_of("Name").ok_or("a prefix without a name")?.to_owned());
    }
    for blob in blobs.all("Blob") {
        let name = blob.text_of("Name").ok_or("a blob without a name")?.to_owned();
        let properties = blob.child("Properties").ok_or("a blob without properties")?;
        // Accounts with real directories list them as blobs too.
        if properties.text_of("ResourceType") == Some("directory") {
            let directory = format!("{}/", name.trim_end_matches('/'));
            if !page.directories.contains(&directory) {
                page.directories.push(directory);
            }
            continue;
        }
        let size = properties.text_of("Content-Length").and_then(|size| size.trim().parse().ok());
        let size = size.ok_or("a blob without a size")?;
        let modified = properties.text_of("Last-Modified").and_then(http_date);
        page.files.push((name, Version::new(properties.text_of("Etag"), Some(size), modified)));
    }
    page.next = tree.text_of("NextMarker").filter(|marker| !marker.is_empty()).map(str::to_owned);
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Corpus, Input};

    #[test]
    fn blobs_prefixes_and_real_directories_are_read() {
        let body = "\u{feff}<?xml version=\"1.0\"?><EnumerationResults ContainerName=\"c\"><Blobs>\
            <Blob><Name> a&amp;b</Name><Properties><Last-Modified>Sun, 06 Nov 1994 08:49:37 GMT</Last-Modified><Etag>0x8D</Etag>\
            <Content-Length>7</Content-Length></Properties></Blob>\
            <Blob><Name>real</Name><Properties><ResourceType>directory</ResourceType></Properties></Blob>\
            <BlobPrefix><Name>dir/</Name></BlobPrefix><BlobPrefix><Name>real/</Name></BlobPrefix></Blobs><NextMarker>m</NextMarker></EnumerationResults>";
        let page = parse(body.as_bytes(), 0).expect("it is a listing");
        assert_eq!(page.directories, ["dir/", "real/"]);
        assert_eq!(page.files, [(" a&b".to_owned(), Version::new(Some("\"0x8D\""), Some(7), Some(784_111_777)))]);
        assert_eq!(page.next.as_deref(), Some("m"));
    }

    #[test]
    fn what_is_no_listing_is_an_error() {
        for body in ["<html/>", "<EnumerationResults/>", "<EnumerationResults><Blobs>", "<ListBucketResult/>"] {
            assert!(parse(body.as_bytes(), 0).is_err(), "{body}");
        }
    }

    #[test]
    fn fuzz_azure_listing() {
        let corpus = Corpus::of("azure_listing");
        bolero::check!().with_type::<Input>().for_each(|input| drop(parse(&corpus.bytes(input), 0)));
    }
}

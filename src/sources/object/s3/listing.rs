//! Reading an answer to ListObjectsV2. It knows keys, and nothing of directories' names.

use percent_encoding::percent_decode_str;

use super::super::keys::Page;
use super::super::xml::Element;
use crate::sources::version::{Version, iso_date};

/// Reads one answer to ListObjectsV2.
pub(super) fn parse(body: &[u8], observed: i64) -> Result<Page, String> {
    let tree = Element::parse(body)?;
    if !tree.is("ListBucketResult") {
        return Err("the answer is no listing of a bucket: is this an S3 server?".into());
    }
    let encoded = tree.text_of("EncodingType") == Some("url");
    let key = |element: &Element, name| {
        let text = element.text_of(name).ok_or("an entry without a key")?;
        if !encoded {
            return Ok(text.to_owned());
        }
        // Stores write a blank as `+`, and a plus sign as `%2B`.
        let text = text.replace('+', " ");
        let text = percent_decode_str(&text).decode_utf8().map_err(|_| "a key that is not UTF-8")?;
        Ok::<_, String>(text.into_owned())
    };
    let mut page = Page { observed, ..Page::default() };
    for prefix in tree.all("CommonPrefixes") {
        page.directories.push(key(prefix, "Prefix")?);
    }
    for file in tree.all("Contents") {
        let size = file.text_of("Size").and_then(|size| size.trim().parse().ok()).ok_or("a key without a size")?;
        let modified = file.text_of("LastModified").and_then(iso_date);
        page.files.push((key(file, "Key")?, Version::new(file.text_of("ETag"), Some(size), modified)));
    }
    let more = tree.text_of("IsTruncated").is_some_and(|flag| flag.trim() == "true");
    page.next = tree.text_of("NextContinuationToken").map(str::to_owned).filter(|token| more && !token.is_empty());
    if more && page.next.is_none() {
        return Err("the listing ends early and does not say how to go on".into());
    }
    Ok(page)
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Corpus, Input};

    #[test]
    fn keys_are_decoded_only_where_the_server_encodes() {
        let page = |extra: &str, key: &str| {
            let text = format!(
                "<ListBucketResult>{extra}<Contents><Key>{key}</Key><Size>1</Size><ETag>&quot;ab&quot;</ETag></Contents>\
                 <CommonPrefixes><Prefix>{key}/</Prefix></CommonPrefixes></ListBucketResult>"
            );
            let page = parse(text.as_bytes(), 0).expect("it is a listing");
            (page.files[0].0.clone(), page.directories[0].clone())
        };
        assert_eq!(page("", " a+b%20 "), (" a+b%20 ".into(), " a+b%20 /".into()));
        assert_eq!(page("<EncodingType>url</EncodingType>", "+a%2Bb%0A"), (" a+b\n".into(), " a+b\n/".into()));
    }

    #[test]
    fn a_listing_that_ends_early_is_an_error() {
        for body in [
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
            "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
            "<ListBucketResult>",
            "<html></html>",
        ] {
            assert!(parse(body.as_bytes(), 0).is_err(), "{body}");
        }
    }

    #[test]
    fn fuzz_s3_listing() {
        let corpus = Corpus::of("s3_listing");
        bolero::check!().with_type::<Input>().for_each(|input| drop(parse(&corpus.bytes(input), 0)));
    }
}

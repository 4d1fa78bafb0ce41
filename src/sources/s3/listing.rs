//! Reading an answer to ListObjectsV2. It knows keys, and nothing of directories' names.

use percent_encoding::percent_decode_str;

use crate::sources::arriving::Arriving;
use crate::sources::http::xml::Element;
use crate::sources::keys::Page;
use crate::sources::stamp::{Stamp, iso_date};

/// Reads one answer to ListObjectsV2.
pub(super) fn parse(body: &mut Arriving, observed: i64) -> Result<Page, String> {
    let mut page = Page { observed, ..Page::default() };
    // Most keys are written as they are.
    let mut is_any_encoded = false;
    let tree = Element::listing(body, &["CommonPrefixes", "Contents"], |record| {
        let is_prefix = record.is("CommonPrefixes");
        let key = match record.known_by(if is_prefix { "Prefix" } else { "Key" }) {
            Ok(key) => key.to_owned(),
            Err((key, why)) => {
                page.left_out.add_unreadable(key.as_bytes(), why);
                return Ok(());
            }
        };
        is_any_encoded |= key.contains(['%', '+']);
        if is_prefix {
            page.directories.push(&key)?;
            return Ok(());
        }
        let size = record.text_of("Size").and_then(|size| size.trim().parse().ok());
        let modified = record.text_of("LastModified").and_then(iso_date);
        page.files.push(&(key, Stamp::new(record.text_of("ETag"), size, modified)))?;
        Ok(())
    })?;
    if !tree.is("ListBucketResult") {
        return Err("the answer is no listing of a bucket: is this an S3 server?".into());
    }
    tree.faults().for_each(|(what, why)| page.left_out.add_unreadable(what.as_bytes(), why));
    // Some stores say only at the end how keys are written.
    let is_encoded = tree.text_of("EncodingType") == Some("url");
    let may_be_encoded = tree.is_cut() && tree.child("EncodingType").is_none();
    if is_any_encoded && (is_encoded || may_be_encoded) {
        let left_out = &mut page.left_out;
        let read = |key: &str| match decoded(key) {
            Ok(read) if may_be_encoded && read != key => {
                Err("the listing ends before it says how keys are written".into())
            }
            read => read,
        };
        let mut readable = |key: &str| read(key).inspect_err(|why| left_out.add_unreadable(key.as_bytes(), why)).ok();
        page.directories = page.directories.filter_map(|key| readable(&key))?;
        page.files = page.files.filter_map(|(key, stamp)| Some((readable(&key)?, stamp)))?;
    }
    if tree.text_of("IsTruncated").is_some_and(|flag| flag.trim() == "true") {
        let told = |name: &str| tree.text_of(name).filter(|text| !text.is_empty());
        page.next = match (told("NextContinuationToken"), told("NextMarker")) {
            (Some(token), _) => Some(format!("{TOKEN}{token}")),
            (None, Some(marker)) if is_encoded => Some(format!("{MARKER}{}", decoded(marker)?)),
            (None, Some(marker)) => Some(format!("{MARKER}{marker}")),
            // What goes on elsewhere is told after what is missing.
            (None, None) if tree.is_cut() => None,
            (None, None) => last(&page).map(|key| format!("{MARKER}{key}")),
        };
        if page.next.is_none() && !tree.is_cut() {
            return Err("the listing ends early and does not say how to go on".into());
        }
    }
    Ok(page)
}

/// The beginnings of [`Page::next`]: the server knows ListObjectsV2, or only its first version.
const TOKEN: &str = "token=";
const MARKER: &str = "marker=";

/// The arguments that ask for the page that comes next.
pub(super) fn going_on(next: Option<&str>) -> [(&'static str, Option<&str>); 2] {
    let after = |kind| next.and_then(|next| next.strip_prefix(kind));
    [("continuation-token", after(TOKEN)), ("marker", after(MARKER))]
}

/// The last key or prefix of a page, after which a server of the first version goes on.
fn last(page: &Page) -> Option<String> {
    page.files.iter().last().map(|(key, _)| key).max(page.directories.iter().last())
}

/// Stores write a blank as `+`, and a plus sign as `%2B`.
fn decoded(key: &str) -> Result<String, String> {
    let blank = key.replace('+', " ");
    Ok(percent_decode_str(&blank).decode_utf8().map_err(|_| "a key that is not UTF-8")?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Corpus, Input};
    use crate::sources::arriving::read;

    #[test]
    fn keys_are_decoded_only_where_the_server_encodes() {
        let page = |extra: &str, key: &str| {
            let text = format!(
                "<ListBucketResult>{extra}<Contents><Key>{key}</Key><Size>1</Size><ETag>&quot;ab&quot;</ETag></Contents>\
                 <CommonPrefixes><Prefix>{key}/</Prefix></CommonPrefixes></ListBucketResult>"
            );
            let page = read(text.as_bytes(), |body| parse(body, 0)).expect("it is a listing");
            let (file, directory) = (page.files.iter().next(), page.directories.iter().next());
            (file.expect("it is there").0, directory.expect("it is there"))
        };
        assert_eq!(page("", " a+b%20 "), (" a+b%20 ".into(), " a+b%20 /".into()));
        assert_eq!(page("<EncodingType>url</EncodingType>", "+a%2Bb%0A"), (" a+b\n".into(), " a+b\n/".into()));
    }

    #[test]
    fn a_server_that_knows_only_the_first_version_goes_on_after_a_key() {
        let next = |told: &str| {
            let text = format!(
                "<ListBucketResult>{told}<IsTruncated>true</IsTruncated><Contents><Key>b</Key><Size>1</Size></Contents>\
                 <CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes></ListBucketResult>"
            );
            let next = read(text.as_bytes(), |body| parse(body, 0)).expect("it is a listing").next;
            going_on(next.as_deref()).map(|(name, value)| format!("{name}={}", value.unwrap_or_default()))
        };
        let token = "<NextContinuationToken>marker=t</NextContinuationToken>";
        assert_eq!(next(token), ["continuation-token=marker=t", "marker="]);
        assert_eq!(next(&format!("{token}<NextMarker>m</NextMarker>")), ["continuation-token=marker=t", "marker="]);
        assert_eq!(next("<NextMarker>%2B+</NextMarker>"), ["continuation-token=", "marker=%2B+"]);
        let encoded = "<EncodingType>url</EncodingType><NextMarker>%2B+</NextMarker>";
        assert_eq!(next(encoded), ["continuation-token=", "marker=+ "]);
        assert_eq!(next(""), ["continuation-token=", "marker=b"]);
    }

    #[test]
    fn an_entry_that_cannot_be_read_makes_a_listing_incomplete_and_costs_no_other() {
        let file = |key: &str| format!("<Contents>{key}<Size>1</Size></Contents>");
        let good = file("<Key>good</Key>");
        for (odd, files, incomplete) in [
            (file("<Key>m&uuml;ll</Key>"), 1, true),
            (file(""), 1, true),
            (file("<Key>odd"), 1, true),
            (file("<Key>%FF</Key>"), 1, true),
            ("<CommonPrefixes><Prefix>&odd;/</Prefix></CommonPrefixes>".to_owned(), 1, true),
            ("<Contents><Key>odd</Key><Size>-1</Size></Contents>".to_owned(), 2, false),
            ("<Contents><Key>odd</Key><Size>1</Size><Owner>&nbsp;</Owner></Contents>".to_owned(), 2, false),
            ("<EncodingType>&url;</EncodingType>".to_owned(), 1, true),
        ] {
            let text = format!("<ListBucketResult><EncodingType>url</EncodingType>{odd}{good}</ListBucketResult>");
            let page = read(text.as_bytes(), |body| parse(body, 0)).expect("it is a listing");
            assert_eq!((page.files.iter().count(), page.left_out.is_incomplete()), (files, incomplete), "{odd}");
            assert_eq!(page.files.iter().last().map(|(key, _)| key).as_deref(), Some("good"), "{odd}");
        }
        let broken_off = "<ListBucketResult></ListBucketResult>Internal Server Error";
        let page = read(broken_off.as_bytes(), |body| parse(body, 0)).expect("it is a listing");
        assert!(page.left_out.is_incomplete() && !page.is_empty(), "there may be keys");
    }

    #[test]
    fn a_listing_that_ends_early_is_an_error() {
        for body in [
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
            "<ListBucketResult>",
            "<ListBucketResult><Contents><Key>a</Key>",
            "<html></html>",
        ] {
            assert!(read(body.as_bytes(), |body| parse(body, 0)).is_err(), "{body}");
        }
    }

    #[test]
    fn a_listing_that_ends_early_shows_what_it_tells_and_is_incomplete() {
        let cut = |head: &str, key: &str| {
            let text = format!("<ListBucketResult>{head}<Contents><Key>{key}</Key></Contents><Contents><Key>b");
            let page = read(text.as_bytes(), |body| parse(body, 0)).expect("it tells something");
            assert!(page.left_out.is_incomplete(), "{text}");
            (page.files.iter().next().map(|(key, _)| key), page.next)
        };
        assert_eq!(cut("", "a"), (Some("a".into()), None));
        assert_eq!(cut("", "a%20"), (None, None), "it may be either name");
        assert_eq!(cut("<EncodingType>url</EncodingType>", "a%20"), (Some("a ".into()), None));
        let more = "<IsTruncated>true</IsTruncated>";
        assert_eq!(cut(more, "a"), (Some("a".into()), None));
        let going_on = format!("{more}<NextContinuationToken>t</NextContinuationToken>");
        assert_eq!(cut(&going_on, "a"), (Some("a".into()), Some(format!("{TOKEN}t"))));
    }

    #[test]
    fn fuzz_s3_listing() {
        let corpus = Corpus::of("s3_listing");
        bolero::check!().with_type::<Input>().for_each(|input| drop(read(&corpus.bytes(input), |body| parse(body, 0))));
    }
}

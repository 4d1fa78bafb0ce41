//! `SharedKey`: signs requests to Azure Storage with the account's key ("Authorize with Shared Key"). It knows no blob.

use http::HeaderValue;
use http::header::{AUTHORIZATION, HeaderName, IF_MATCH, RANGE};
use http::request::Parts;
use percent_encoding::percent_decode_str;
use reqsign_core::hash::{base64_decode, base64_hmac_sha256};

use crate::revealed::Revealed;

/// An account and its key, decoded.
pub(super) struct SharedKey {
    account: String,
    key: Vec<u8>,
}

impl std::fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedKey").field("account", &self.account).finish_non_exhaustive()
    }
}

impl SharedKey {
    /// The error never repeats the key.
    pub(super) fn new(account: &str, key: &Revealed) -> Result<Self, &'static str> {
        let key = base64_decode(key.expose().trim()).map_err(|_| "`account_key` is not in Base64")?;
        Ok(Self { account: account.to_owned(), key })
    }

    /// Adds the signature to a request without a body, whose headers are complete.
    pub(super) fn sign(&self, parts: &mut Parts) {
        let signature = base64_hmac_sha256(&self.key, self.text_of(parts).as_bytes());
        let mut value = HeaderValue::try_from(format!("SharedKey {}:{signature}", self.account))
            .expect("an account's name, which is in its URL, and Base64 are plain ASCII");
        value.set_sensitive(true);
        parts.headers.insert(AUTHORIZATION, value);
    }

    /// The text that is signed: a line for each of eleven headers, of which we send two, then Azure's own headers, then the resource.
    fn text_of(&self, parts: &Parts) -> String {
        let header =
            |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut text = format!("{}\n\n\n\n\n\n\n\n{}\n\n\n{}\n", parts.method, header(IF_MATCH), header(RANGE));
        let mut own: Vec<_> = parts.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-ms-")).collect();
        own.sort_by_key(|(name, _)| name.as_str());
        for (name, value) in own {
            text += &format!("{name}:{}\n", value.to_str().unwrap_or_default().trim());
        }
        text += &format!("/{}{}", self.account, parts.uri.path());
        let query = parts.uri.query().unwrap_or_default();
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let mut query: Vec<_> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (decoded(name).to_lowercase(), decoded(value)))
            .collect();
        query.sort();
        for (name, value) in query {
            text += &format!("\n{name}:{value}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_text_is_as_documented() {
        let key = SharedKey::new("acc", &Revealed::new("a2V5")).expect("it is Base64");
        let request =
            http::Request::get("https://acc.blob.core.windows.net/c%20d?restype=container&comp=list&prefix=a%2Fb")
                .header("x-ms-version", "2020-10-02")
                .header("x-ms-date", "Sun, 06 Nov 1994 08:49:37 GMT")
                .header(RANGE, "bytes=0-1");
        let (mut parts, ()) = request.body(()).expect("it is a request").into_parts();
        let expected = "GET\n\n\n\n\n\n\n\n\n\n\nbytes=0-1\nx-ms-date:Sun, 06 Nov 1994 08:49:37 GMT\nx-ms-version:2020-10-02\n\
            /acc/c%20d\ncomp:list\nprefix:a/b\nrestype:container";
        assert_eq!(key.text_of(&parts), expected);
        key.sign(&mut parts);
        assert!(parts.headers[AUTHORIZATION].to_str().is_ok_and(|value| value.starts_with("SharedKey acc:")));
        assert!(SharedKey::new("acc", &Revealed::new("no base64!")).is_err());
    }
}

//! The page: one document with its style and its program in it, which loads nothing else.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use sha2::{Digest as _, Sha256};

/// A document, and what a browser may do with it.
pub(super) struct Page {
    pub(super) html: Bytes,
    pub(super) policy: HeaderValue,
}

const STYLE: &str = include_str!("page.css");
const PROGRAM: &str = include_str!("page.js");

/// The page.
pub(super) fn page() -> &'static Page {
    static PAGE: LazyLock<Page> = LazyLock::new(|| {
        let html = include_str!("page.html").replace("/* style */", STYLE).replace("/* program */", PROGRAM);
        Page { html: html.into(), policy: policy() }
    });
    &PAGE
}

/// The page that asks for the token, which the browser then has in its address.
pub(super) fn asking_for_token() -> &'static Page {
    static PAGE: LazyLock<Page> = LazyLock::new(|| {
        let html = include_str!("token.html").replace("/* style */", STYLE);
        Page { html: html.into(), policy: policy() }
    });
    &PAGE
}

/// Allows the style and the program by their hashes, requests to this server, and nothing else.
fn policy() -> HeaderValue {
    let hash = |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)));
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'",
        hash(STYLE),
        hash(PROGRAM)
    );
    HeaderValue::from_str(&policy).expect("it is plain ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_no_other_host_and_has_its_style_and_program_in_it() {
        for page in [page(), asking_for_token()] {
            let html = std::str::from_utf8(&page.html).expect("text");
            // The name of the language of pictures is no address that is loaded.
            let named = html.replace("http://www.w3.org/2000/svg", "");
            for elsewhere in ["http:", "https:", "//cdn", "src=", "@import", "url("] {
                assert!(!named.contains(elsewhere), "{elsewhere}");
            }
            assert!(html.contains(STYLE) && !html.contains("/* style */") && !html.contains("/* program */"));
        }
        assert!(std::str::from_utf8(&page().html).expect("text").contains(PROGRAM));
    }

    #[test]
    fn the_program_writes_text_and_never_markup() {
        for markup in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "setAttribute(\"on"] {
            assert!(!PROGRAM.contains(markup), "{markup}");
        }
    }
}

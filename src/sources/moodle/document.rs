//! `document`: texts that were written at a site as one HTML file, with links to the files beside it. The same texts make the same bytes.

use std::collections::HashSet;
use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::answer::Content;
use super::html::{escaped, links};
use super::site::Site;

/// What a link to a file beside the document escapes.
const LINK: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

/// One of the texts.
#[derive(Debug, Default)]
pub(super) struct Text {
    /// Tells its files from those of the other texts.
    pub(super) id: u64,
    /// HTML that stands above it.
    pub(super) head: String,
    /// HTML that the site has cleaned.
    pub(super) html: String,
    /// Each with what it is to the text, in the site's words.
    pub(super) files: Vec<(&'static str, Content)>,
}

/// A file of a text, and the name that it has beside the document.
#[derive(Debug)]
pub(super) struct Beside<'a> {
    pub(super) text: u64,
    pub(super) area: &'static str,
    pub(super) content: &'a Content,
    pub(super) name: String,
}

/// The files of all texts. Of several with one name, and of those whose name is `taken`, later ones carry the number of their text.
pub(super) fn beside(texts: &[Text], mut taken: HashSet<String>) -> Vec<Beside<'_>> {
    let mut all = Vec::new();
    for text in texts {
        for (area, content) in &text.files {
            let mut name = content.filename.clone().unwrap_or_default();
            while !taken.insert(name.clone()) {
                name = format!("{} - {name}", text.id);
            }
            all.push(Beside { text: text.id, area, content, name });
        }
    }
    all
}

/// The document of these texts, which links to the files beside it. No script in it runs.
pub(super) fn document(site: &Site, title: &str, texts: &[Text], files: &[Beside<'_>]) -> String {
    let mut html = format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"script-src 'none'; object-src 'none'\">\
         <title>{}</title></head><body>\n",
        escaped(title)
    );
    for text in texts {
        let files: Vec<_> = files.iter().filter(|file| file.text == text.id).collect();
        // Writing to a text does not fail.
        let _ = write!(html, "<article id=\"p{}\">\n{}{}\n</article>\n", text.id, text.head, body(site, text, &files));
    }
    html + "</body></html>\n"
}

/// A text whose links lead to the files beside the document, and links to those that it does not show.
fn body(site: &Site, text: &Text, files: &[&Beside<'_>]) -> String {
    let mut html = text.html.clone();
    let mut shown = HashSet::new();
    for address in links(&text.html) {
        let Some(path) = site.stored(&address) else { continue };
        let is_of = |file: &&&Beside<'_>| {
            file.content.fileurl.as_deref().and_then(|url| site.stored(url)).as_ref() == Some(&path)
        };
        let Some(file) = files.iter().find(is_of) else { continue };
        let link = link(&file.name);
        for written in [&address, &escaped(&address)] {
            for quote in ['"', '\''] {
                html = html.replace(&format!("{quote}{written}{quote}"), &link);
            }
        }
        shown.insert(&file.name);
    }
    for Beside { name, .. } in files.iter().filter(|file| !shown.contains(&file.name)) {
        let _ = write!(html, "\n<p><a href={}>{}</a></p>", link(name), escaped(name));
    }
    html
}

/// The value of an attribute that leads to a file beside the document.
fn link(name: &str) -> String {
    format!("\"{}\"", utf8_percent_encode(name, LINK))
}

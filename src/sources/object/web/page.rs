//! Reading an index page made for people, of Apache, nginx and their like: its links, and whether it is one at all.
//! Sizes and times on such pages are rounded, so they are not read.

use std::collections::BTreeMap;

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{HtmlString, Spanned, StartTag, Token, Tokenizer};
use percent_encoding::{AsciiSet, percent_decode_str, percent_encode};
use url::Url;

use super::index::Item;
use crate::path::Printable;

/// With what the titles and headings of index pages begin: Apache, nginx, lighttpd; Python, rclone; Tomcat; Jetty; PyPI.
const TITLES: [&str; 6] =
    ["index of", "directory listing for", "directory listing of", "directory: ", "links for ", "simple index"];
/// As much of a title as is repeated in a message.
const LONGEST_TITLE: usize = 60;
/// Nothing but what is no ASCII: such bytes mean themselves, whatever the page's character set.
const RAW: &AsciiSet = &AsciiSet::EMPTY;

/// What a page holds that matters here.
#[derive(Debug, Default)]
struct Page {
    title: String,
    headings: Vec<String>,
    base: Option<String>,
    links: Vec<Link>,
    /// Whether the page was read to its end.
    complete: bool,
}

#[derive(Debug)]
struct Link {
    href: String,
    text: String,
}

/// The direct children of `url` to which the index page at `url` links.
pub(super) fn parse(url: &Url, body: &[u8]) -> Result<Vec<Item>, String> {
    let page = Page::read(body);
    let is_titled = page.is_titled();
    let title = if page.title.is_empty() { page.headings.first().cloned().unwrap_or_default() } else { page.title };
    let shown: String = title.trim().chars().take(LONGEST_TITLE).collect();
    let what = match shown.as_str() {
        "" => "a page without a title".to_owned(),
        shown => format!("a page with the title {:?}", Printable(shown.as_bytes()).to_string()),
    };
    if !page.complete {
        return Err(format!("the answer ends in the middle of {what}"));
    }
    let base = page.base.as_deref().and_then(|base| url.join(base).ok());
    let mut items = BTreeMap::new();
    let (mut elsewhere, mut parent) = (0_usize, false);
    for link in &page.links {
        match Target::of(url, base.as_ref().unwrap_or(url), &link.href) {
            Target::Child(item) => {
                let directory = item.directory;
                items.entry(item.name.clone()).or_insert(item).directory |= directory;
            }
            // Links that sort the index, and the one to itself.
            Target::Itself => {}
            Target::Parent => parent |= link.href.starts_with("..") || is_parent_text(&link.text),
            Target::Elsewhere => elsewhere += 1,
        }
    }
    if is_titled || parent || (!items.is_empty() && items.len() >= elsewhere) {
        return Ok(items.into_values().collect());
    }
    Err(format!("the answer is {what}, no index of files"))
}

fn is_parent_text(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    text.starts_with("..") || text.contains("parent directory")
}

/// Where a link of an index leads.
enum Target {
    Child(Item),
    Itself,
    Parent,
    Elsewhere,
}

impl Target {
    fn of(page: &Url, base: &Url, href: &str) -> Self {
        let Ok(url) = base.join(href) else { return Self::Elsewhere };
        if url.origin() != page.origin() {
            return Self::Elsewhere;
        }
        let (here, there) = (decoded(page), decoded(&url));
        match there.strip_prefix(here.as_slice()) {
            Some([]) => Self::Itself,
            Some([name]) if url.query().is_none() => {
                let directory = url.path().ends_with('/');
                Self::Child(Item { name: name.clone(), directory, size: None, modified: None })
            }
            None if here.split_last().is_some_and(|(_, above)| above == there) => Self::Parent,
            _ => Self::Elsewhere,
        }
    }
}

/// The components of a URL's path, as bytes.
pub(super) fn decoded(url: &Url) -> Vec<Vec<u8>> {
    let components = url.path().split('/').filter(|component| !component.is_empty());
    components.map(|component| percent_decode_str(component).collect()).collect()
}

impl Page {
    fn read(body: &[u8]) -> Self {
        let mut emitter = DefaultEmitter::default();
        emitter.naively_switch_states(true);
        let mut page = Self::default();
        // The element whose text is gathered.
        let mut inside: Option<Vec<u8>> = None;
        let (mut begun, mut ended) = (false, false);
        for token in Tokenizer::new_with_emitter(body, emitter) {
            let Ok(token) = token;
            match token {
                Token::StartTag(tag) => {
                    match tag.name.as_slice() {
                        b"html" | b"body" => begun = true,
                        b"base" if page.base.is_none() => page.base = attribute(&tag, b"href"),
                        b"a" => {
                            if let Some(href) = attribute(&tag, b"href") {
                                page.links.push(Link { href, text: String::new() });
                                inside = Some(tag.name.0);
                            }
                        }
                        b"h1" | b"h2" => {
                            page.headings.push(String::new());
                            inside = Some(tag.name.0);
                        }
                        b"title" => inside = Some(tag.name.0),
                        _ => {}
                    };
                }
                Token::EndTag(tag) => {
                    ended |= matches!(tag.name.as_slice(), b"html" | b"body");
                    if inside.as_deref() == Some(tag.name.as_slice()) {
                        inside = None;
                    }
                }
                Token::String(text) => {
                    let place = match inside.as_deref() {
                        Some(b"a") => page.links.last_mut().map(|link| &mut link.text),
                        Some(b"title") => Some(&mut page.title),
                        Some(_) => page.headings.last_mut(),
                        None => None,
                    };
                    if let Some(place) = place {
                        place.push_str(&String::from_utf8_lossy(&text));
                    }
                }
                _ => {}
            }
        }
        // A server that says no length and closes the connection leaves nothing else to tell a half page by.
        page.complete = ended || !begun;
        page
    }

    fn is_titled(&self) -> bool {
        std::iter::once(&self.title).chain(&self.headings).any(|text| {
            let text = text.trim().to_ascii_lowercase();
            TITLES.iter().any(|title| text.starts_with(title))
        })
    }
}

fn attribute(tag: &StartTag<()>, name: &[u8]) -> Option<String> {
    let value: &Spanned<HtmlString, ()> = tag.attributes.get(name)?;
    Some(percent_encode(value.value.trim_ascii(), RAW).to_string())
}

#[cfg(test)]
mod tests;

//! Reading an index page made for people, of Apache, nginx and their like: its links, and whether it is one at all.
//! Sizes and times on such pages are rounded, so they are not read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{HtmlString, IoReader, Spanned, StartTag, Token, Tokenizer};
use percent_encoding::{AsciiSet, percent_decode_str, percent_encode};
use url::Url;

use super::item::Item;
use crate::path::Printable;
use crate::source::LeftOut;
use crate::source::budget::Budget;
use crate::sources::arriving::Arriving;
use crate::sources::heap::Heap;

/// The words that titles and headings of index pages begin with: Apache, nginx, lighttpd; Python, rclone; Tomcat; Jetty; PyPI; Express;
/// webfs; serve.
const TITLES: [&str; 9] = [
    "index of",
    "directory listing for",
    "directory listing of",
    "directory: ",
    "links for ",
    "simple index",
    "listing directory ",
    "listing: ",
    "files within ",
];
/// The site to which Caddy's index pages link, which have no title of their own.
const CADDY: &str = "caddyserver.com";
/// The longest title that a message repeats, in characters.
const MAX_TITLE_CHARACTERS: usize = 60;
/// Nothing but what is no ASCII: such bytes mean themselves, whatever the page's character set.
const RAW: &AsciiSet = &AsciiSet::EMPTY;

/// Bytes of a text that are kept at most: enough to recognize it.
const MAX_TEXT_BYTES: usize = 1024;
/// Bytes that a name takes in a tree beside its own, for a budget that counts three copies of it.
const IN_TREE: usize = 24;
/// How many headings are looked at.
const MAX_HEADINGS: usize = 16;

/// The parts of a page that matter here.
#[derive(Debug)]
struct Page<'a> {
    url: &'a Url,
    title: String,
    headings: Vec<String>,
    /// The address that links are relative to.
    base: Option<Url>,
    /// The children that are linked to, and whether each is a directory.
    children: BTreeMap<Vec<u8>, bool>,
    budget: Budget,
    /// Links that lead elsewhere.
    elsewhere: usize,
    /// Whether a link leads to the directory above, and says so.
    parent: bool,
    /// Whether a link says that a server has made the page.
    is_signed: bool,
    /// Whether it has no more than its links, as the pages of Go's file server.
    is_bare: bool,
    /// Whether the page was read to its end.
    complete: bool,
}

#[derive(Debug)]
struct Link {
    href: String,
    text: String,
}

/// The direct children of `url` to which the index page at `url` links. A page that somebody may have written need not link to all.
pub(super) fn parse(url: &Url, body: &mut Arriving, left_out: &LeftOut) -> Result<Heap<Item>, String> {
    let page = Page::read(url, body)?;
    let is_made = page.is_titled() || page.is_signed || page.is_titled_with_path();
    let title = if page.title.is_empty() { page.headings.first().cloned().unwrap_or_default() } else { page.title };
    let shown: String = title.trim().chars().take(MAX_TITLE_CHARACTERS).collect();
    let what = match shown.as_str() {
        "" => "a page without a title".to_owned(),
        shown => format!("a page with the title {:?}", Printable(shown.as_bytes()).to_string()),
    };
    if !page.complete {
        return Err(format!("the answer ends in the middle of {what}"));
    }
    if is_made || page.parent || (!page.children.is_empty() && page.children.len() >= page.elsewhere) {
        if !(is_made || page.is_bare) {
            left_out.add_unreadable(b"*", format!("the server shows {what} in place of an index of its own"));
        }
        let mut items = Heap::default();
        for (name, directory) in page.children {
            items.push(&Item { name, directory, size: None, modified: None })?;
        }
        return Ok(items);
    }
    Err(format!("the answer is {what}, no index of files"))
}

fn is_parent_text(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    text.starts_with("..") || text.contains("parent directory")
}

/// The target of a link of an index.
enum Target {
    /// Its name, and whether it is a directory.
    Child(Vec<u8>, bool),
    Itself,
    Parent,
    Elsewhere,
}

impl Target {
    fn of(page: &Url, base: &Url, link: &Link) -> Self {
        let Some(url) = address(base, link) else { return Self::Elsewhere };
        if url.origin() != page.origin() {
            return Self::Elsewhere;
        }
        let (here, there) = (decoded(page), decoded(&url));
        match there.strip_prefix(here.as_slice()) {
            Some([]) => Self::Itself,
            // A clone has no more memory than it has bytes.
            Some([name]) if url.query().is_none() => Self::Child(name.clone(), url.path().ends_with('/')),
            None if here.split_last().is_some_and(|(_, above)| above == there) => Self::Parent,
            _ => Self::Elsewhere,
        }
    }
}

/// The address that a link leads to. What looks like the address of another scheme is a name where it is the link's text too: servers that do
/// not escape colons write `a:b` so.
fn address(base: &Url, link: &Link) -> Option<Url> {
    let url = base.join(&link.href).ok()?;
    let is_name = || percent_decode_str(&link.href).eq(link.text.trim().bytes());
    if url.cannot_be_a_base() && is_name() { base.join(&format!("./{}", link.href)).ok() } else { Some(url) }
}

/// The components of a URL's path, as bytes.
pub(super) fn decoded(url: &Url) -> Vec<Vec<u8>> {
    let components = url.path().split('/').filter(|component| !component.is_empty());
    components.map(|component| Cow::from(percent_decode_str(component)).into_owned()).collect()
}

impl<'a> Page<'a> {
    fn read(url: &'a Url, body: &mut Arriving) -> Result<Self, String> {
        let mut emitter = DefaultEmitter::default();
        emitter.naively_switch_states(true);
        let mut page = Self {
            url,
            title: String::new(),
            headings: Vec::new(),
            base: None,
            children: BTreeMap::new(),
            budget: Budget::default(),
            elsewhere: 0,
            parent: false,
            is_signed: false,
            is_bare: true,
            complete: false,
        };
        let mut link: Option<Link> = None;
        let meter = body.meter();
        // The element whose text is gathered.
        let mut inside: Option<Vec<u8>> = None;
        let (mut begun, mut ended) = (false, false);
        for token in Tokenizer::new_with_emitter(IoReader::new(body), emitter) {
            meter.next();
            match token.map_err(|e| e.to_string())? {
                Token::StartTag(tag) => {
                    page.is_bare &= matches!(tag.name.as_slice(), b"meta" | b"pre" | b"a");
                    match tag.name.as_slice() {
                        b"html" | b"body" => begun = true,
                        b"base" if page.base.is_none() => {
                            page.base = attribute(&tag, b"href").and_then(|base| url.join(&base).ok());
                        }
                        b"a" => {
                            if let Some(href) = attribute(&tag, b"href") {
                                page.follow(link.replace(Link { href, text: String::new() }))?;
                                inside = Some(tag.name.0);
                            }
                        }
                        b"h1" | b"h2" if page.headings.len() < MAX_HEADINGS => {
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
                        Some(b"a") => link.as_mut().map(|link| &mut link.text),
                        Some(b"title") => Some(&mut page.title),
                        Some(_) => page.headings.last_mut(),
                        None => None,
                    };
                    if let Some(place) = place.filter(|place| place.len() < MAX_TEXT_BYTES) {
                        place.push_str(&String::from_utf8_lossy(&text[..text.len().min(MAX_TEXT_BYTES)]));
                    }
                }
                _ => {}
            }
        }
        page.follow(link)?;
        // A server that says no length and closes the connection leaves nothing else to tell a half page by.
        page.complete = ended || !begun;
        Ok(page)
    }

    /// Takes a link whose text is known.
    fn follow(&mut self, link: Option<Link>) -> Result<(), String> {
        let Some(link) = link else { return Ok(()) };
        self.is_signed |= is_parent_text(&link.text) || link.href.contains(CADDY);
        match Target::of(self.url, self.base.as_ref().unwrap_or(self.url), &link) {
            Target::Child(name, directory) => {
                if !self.children.contains_key(&name) {
                    self.budget.packed(IN_TREE + name.len())?;
                }
                *self.children.entry(name).or_default() |= directory;
            }
            // Links that sort the index, and the one to itself.
            Target::Itself => {}
            Target::Parent => self.parent |= link.href.starts_with("..") || is_parent_text(&link.text),
            Target::Elsewhere => self.elsewhere += 1,
        }
        Ok(())
    }

    /// Whether its title is its path, as in the pages of rclone.
    fn is_titled_with_path(&self) -> bool {
        let path = decoded(self.url).join(&b"/"[..]);
        self.title.trim().strip_prefix('/').is_some_and(|title| title.trim_end_matches('/').as_bytes() == path)
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

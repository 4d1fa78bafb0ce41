//! `document`: the posts of a discussion as HTML. The same posts make the same bytes. It asks nothing.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::answer::{Post, PostFile};
use super::title::decoded;

/// What a link to a file beside the document escapes.
const LINK: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

/// A file of a post, and the name that it has beside the document.
#[derive(Debug)]
pub(super) struct Beside<'a> {
    pub(super) post: u64,
    /// Whether it is a picture of the text or an attachment, in the site's words.
    pub(super) area: &'static str,
    pub(super) file: &'a PostFile,
    pub(super) name: String,
}

/// The document of these posts, which links to the files beside it. What was written is HTML that the site has cleaned; no script in it runs.
pub(super) fn document(title: &str, posts: &[Post], files: &[Beside<'_>]) -> String {
    let mut html = format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"script-src 'none'; object-src 'none'\">\
         <title>{}</title></head><body>\n",
        escaped(title)
    );
    for post in posts {
        let files: Vec<_> = files.iter().filter(|file| file.post == post.id).collect();
        // Writing to a text does not fail.
        let _ = write!(html, "{}{}\n</article>\n", head(post), message(post, &files));
    }
    html + "</body></html>\n"
}

/// What stands above the text of a post.
fn head(post: &Post) -> String {
    let text = |text: &Option<String>| escaped(&decoded(text.as_deref().unwrap_or_default()));
    let author = post.author.as_ref().map(|author| text(&author.fullname)).unwrap_or_default();
    let time = post.timecreated.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let time = time.map(|time| format!(", <time>{time}</time>")).unwrap_or_default();
    let parent = post.parentid.map(|id| format!(", in reply to <a href=\"#p{id}\">#{id}</a>")).unwrap_or_default();
    let private = if post.isprivatereply == Some(true) { ", to you alone" } else { "" };
    format!(
        "<article id=\"p{id}\">\n<h2>{}</h2>\n<p>#{id}: {author}{time}{parent}{private}</p>\n",
        text(&post.subject),
        id = post.id
    )
}

/// The text of a post with its pictures, and links to its attachments.
fn message(post: &Post, files: &[&Beside<'_>]) -> String {
    let mut message = post.message.clone().unwrap_or_default();
    let mut links = String::new();
    for Beside { file, name, .. } in files {
        let link = format!("\"{}\"", utf8_percent_encode(name, LINK));
        // The text has the address without a query.
        let address = file.address();
        let address = format!("\"{}\"", address.split('?').next().unwrap_or(&address));
        if message.contains(&address) {
            message = message.replace(&address, &link);
        } else {
            let _ = write!(links, "\n<p><a href={link}>{}</a></p>", escaped(name));
        }
    }
    message + &links
}

/// Text as HTML has it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

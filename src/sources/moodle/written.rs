//! `Written`: what is made here of texts, as entries of a directory: a document, and the files of its texts beside it.

use std::collections::HashSet;

use super::answer::Content;
use super::document::{Beside, Text, beside, document};
use super::ledger::Tag;
use super::site::Site;
use super::tree::{Body, File, Tree};
use crate::path::RemotePath;
use crate::source::{Entry, LeftOut};
use crate::sources::stamp;

/// Texts that make one document.
#[derive(Debug)]
pub(super) struct Written<'a> {
    pub(super) site: &'a Site,
    /// The time by the site's clock.
    pub(super) observed: i64,
    /// Also the document's name, without `.html`.
    pub(super) title: String,
    /// Seconds since 1970, where the site tells it.
    pub(super) modified: Option<i64>,
    pub(super) texts: Vec<Text>,
}

impl Written<'_> {
    /// Whether no file stands beside the document.
    pub(super) fn is_alone(&self) -> bool {
        self.texts.iter().all(|text| text.files.is_empty())
    }

    /// Adds the document and the files of its texts to the tree, with paths below `base`. The entries, the document's first, are for a
    /// directory that notes what it leaves out in `left_out`, and in which the names that are `taken` stand already.
    pub(super) fn add_to<'a>(
        &self,
        tree: &mut Tree,
        base: &RemotePath,
        left_out: &LeftOut,
        taken: impl Iterator<Item = &'a Entry>,
    ) -> Vec<Entry> {
        let name = format!("{}.html", self.title);
        let taken = taken.map(|entry| String::from_utf8_lossy(&entry.name).into_owned());
        let beside = beside(&self.texts, taken.chain([name.clone()]).collect::<HashSet<_>>());
        let mut entries = Vec::new();
        if let Some(path) = left_out.child(base, b"text") {
            entries.push(tree.add_file(name, path, self.document(&beside)));
        }
        for Beside { text, area, content, name } in beside {
            let Some(url) = content.fileurl.as_deref().and_then(|url| self.site.file_url(url)) else {
                left_out.refuse(name.as_bytes(), "it is kept elsewhere than at the site");
                continue;
            };
            // Two plugins of a kind may each have a file of one name in one text.
            let areas = (0..).map(|number| match number {
                0 => format!("{area}-{text}"),
                _ => format!("{area}-{text}-{number}"),
            });
            let mut paths = areas.map_while(|area| path(base, &area, content, left_out));
            if let Some(path) = paths.find(|path| tree.file(path).is_none()) {
                let body = Body::Site { url, is_html: false };
                entries.push(tree.add_file(name, path, File::kept(body, content, false, self.observed)));
            }
        }
        entries
    }

    fn document(&self, beside: &[Beside<'_>]) -> File {
        let text = document(self.site, &self.title, &self.texts, beside);
        File {
            size: Some(text.len() as u64),
            modified: self.modified.and_then(stamp::time),
            digest: Some(Tag::measured(text.as_bytes()).digest()),
            body: Body::Made(text),
        }
    }
}

/// The path of a file of a text; one whose name must not be followed is left out.
fn path(base: &RemotePath, area: &str, content: &Content, left_out: &LeftOut) -> Option<RemotePath> {
    let dirs = content.filepath.as_deref().unwrap_or_default().split('/').filter(|name| !name.is_empty());
    let name = content.filename.as_deref().unwrap_or_default();
    let mut names = [area].into_iter().chain(dirs).chain([name]);
    names.try_fold(base.clone(), |path, name| left_out.child(&path, name.as_bytes()))
}

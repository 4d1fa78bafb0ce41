//! `Tree`: directories and files of a course, and the paths that name them. It asks nothing.
//!
//! Paths are made of the site's own numbers, so that a file keeps its path, and with it its copy, when its activity is renamed or
//! moves to another section: `course-2/section-3` is a section, `course-2/module-17/sub/a.txt` a file of an activity,
//! `course-2/page-19` and `course-2/book-24/1` what the site makes of a page and of a chapter, `course-2/link-22` a link. What is made
//! of a discussion is at `course-2/forum-4/discussion-3`, of a glossary at `course-2/glossary-2`, of a submission at `course-2/submission-3`, of the description of an activity at `course-2/intro-17`, and of what stands
//! on the page of the course in a section at `course-2/about-3`.
//! A directory's path is therefore no beginning of the paths of what is in it.

use std::collections::HashMap;
use std::time::SystemTime;

use url::Url;

use super::answer::Content;
use crate::digest::Digest;
use crate::path::RemotePath;
use crate::source::{Entry, EntryKind, LeftOut};
use crate::sources::stamp::{self, Stamp};

/// Begins the digest of a link; the address follows.
pub(super) const LINK: &str = "link:";
/// Begins the digest of what the site makes of a page or a chapter.
pub(super) const HTML: &str = "html:";

/// A course, or those parts of it that were asked for.
#[derive(Debug, Default)]
pub(super) struct Tree {
    directories: HashMap<RemotePath, Vec<Entry>>,
    files: HashMap<RemotePath, File>,
    /// By directory.
    left_out: HashMap<RemotePath, LeftOut>,
}

/// A file as its listing describes it.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) body: Body,
    pub(super) size: Option<u64>,
    pub(super) modified: Option<SystemTime>,
    /// None where listings do not show every change.
    pub(super) digest: Option<Digest>,
}

/// The origin of a file's bytes.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// The site.
    Site { url: Url, is_html: bool },
    /// Made here: a link to a page, or a discussion.
    Made(String),
}

impl File {
    /// A file that the site keeps. Its listing tells its version unless it is an alias or the site may send something else.
    pub(super) fn kept(body: Body, content: &Content, is_filtered: bool, observed: i64) -> Self {
        let is_alias = content.isexternalfile == Some(true);
        let (size, modified) = (content.filesize, content.timemodified);
        let is_told = size.is_some() && modified.is_some() && !is_filtered && !is_alias;
        Self {
            body,
            size: size.filter(|_| is_told),
            modified: modified.and_then(stamp::time),
            digest: is_told.then(|| Stamp::new(None, size, modified).digest(observed)),
        }
    }
}

/// A place in a course, as paths name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) course: u64,
    /// The activity that the path is of, if it is of one.
    pub(super) module: Option<u64>,
    /// What the path is of instead, if that is asked for apart from the course.
    pub(super) apart: Option<Apart>,
}

/// What functions of its own tell when it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Apart {
    Forum(Forum),
    Glossary(u64),
    /// By the number of its assignment.
    Submission(u64),
}

/// A forum, or a discussion in it, by the numbers that its functions take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forum {
    pub(super) id: u64,
    pub(super) discussion: Option<u64>,
}

impl Place {
    /// None for the root and for what is no path of this source's.
    pub(super) fn of(path: &RemotePath) -> Option<Self> {
        let mut components = path.as_str()?.split('/');
        let course = components.next()?.strip_prefix("course-")?.parse().ok()?;
        let (mut module, mut apart) = (None, None);
        match components.next().and_then(|activity| activity.split_once('-')) {
            None | Some(("section" | "about", _)) => {}
            Some(("forum", id)) => {
                let discussion = components.next().and_then(|name| name.strip_prefix("discussion-")?.parse().ok());
                apart = Some(Apart::Forum(Forum { id: id.parse().ok()?, discussion }));
            }
            Some(("submission", id)) => apart = Some(Apart::Submission(id.parse().ok()?)),
            Some(("glossary", id)) => apart = Some(Apart::Glossary(id.parse().ok()?)),
            Some((_, number)) => module = number.parse().ok(),
        }
        Some(Self { course, module, apart })
    }
}

/// The path of a course.
pub(super) fn course_path(id: u64) -> Option<RemotePath> {
    RemotePath::root().child(format!("course-{id}").as_bytes()).ok()
}

pub(super) fn directory(name: impl Into<Vec<u8>>, path: RemotePath) -> Entry {
    Entry {
        name: name.into(),
        path,
        kind: EntryKind::Directory,
        permissions: None,
        size: None,
        modified: None,
        digest: None,
    }
}

impl Tree {
    pub(super) fn directory(&self, path: &RemotePath) -> Option<&[Entry]> {
        self.directories.get(path).map(Vec::as_slice)
    }

    /// What the listing of this directory leaves out.
    pub(super) fn left_out(&self, path: &RemotePath) -> LeftOut {
        self.left_out.get(path).cloned().unwrap_or_default()
    }

    /// Whether anything of the course could not be read, so that what the tree has not may be there all the same.
    pub(super) fn is_incomplete(&self) -> bool {
        self.left_out.values().any(LeftOut::is_incomplete)
    }

    /// The entries of a directory, which is added if it is not there.
    pub(super) fn entries(&mut self, path: &RemotePath) -> &mut Vec<Entry> {
        self.directories.entry(path.clone()).or_default()
    }

    /// Notes what the listing of this directory leaves out.
    pub(super) fn note(&mut self, path: &RemotePath) -> &LeftOut {
        self.left_out.entry(path.clone()).or_default()
    }

    pub(super) fn file(&self, path: &RemotePath) -> Option<&File> {
        self.files.get(path)
    }

    /// All paths.
    #[cfg(test)]
    pub(super) fn paths(&self) -> impl Iterator<Item = &RemotePath> {
        self.directories.keys().chain(self.files.keys())
    }

    /// Adds a directory with these entries.
    pub(super) fn add_directory(&mut self, path: RemotePath, entries: Vec<Entry>, left_out: LeftOut) {
        self.directories.insert(path.clone(), entries);
        self.left_out.insert(path, left_out);
    }

    /// Adds a file, which is in no directory yet, and tells its entry.
    pub(super) fn add_file(&mut self, name: String, path: RemotePath, file: File) -> Entry {
        let entry = Entry {
            name: name.into_bytes(),
            path: path.clone(),
            kind: EntryKind::File,
            permissions: None,
            size: file.size,
            modified: file.modified,
            digest: file.digest.clone(),
        };
        self.files.insert(path, file);
        entry
    }
}

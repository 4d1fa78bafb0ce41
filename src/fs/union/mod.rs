//! `Union`: a folder that is put together from directories of several sources. It keeps nothing itself: every answer is the sources'.
//!
//! Its directories are inodes of its own; its files are the sources' own, with their inodes, copies and freshness. A name that
//! several parts have:
//!
//! | case | earlier part | later part | shown |
//! |---|---|---|---|
//! | U1 | directory | directory | one directory, put together likewise |
//! | U2 | file or link | anything | the earlier one |
//! | U3 | directory | file or link | the directory |
//! | U4 | cannot be asked, nothing known | anything | the later one, for a moment |
//! | U5 | cannot be asked, nothing known | nothing | an error: unreachable is not absent |
//!
//! A listing in case U4 or U5 shows the names that are known and then fails, so that a program that mirrors it learns that it is
//! not all.
//! A name that an earlier part has is never a question to a later one.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use globset::GlobSet;
use tracing::warn;

use super::{FOREVER, FileSystem, Names, Node, OpenDirectory, SourceIndex};
use crate::catalog::Listing;
use crate::error::{Error, ErrorKind, Result};
use crate::name::LocalName;
use crate::path::{Printable, RemotePath};
use crate::source::{Entry, EntryKind};

/// For how long the kernel may keep an answer in which a part is missing: short, so that its return is noticed.
const INCOMPLETE_VALID_FOR: Duration = Duration::from_secs(1);

/// Which of the configured unions.
pub type UnionIndex = usize;

/// One folder put together from parts.
#[derive(Debug)]
pub struct Union {
    /// Its path below the mount's root; not empty.
    pub path: Vec<LocalName>,
    /// The directories that it shows, in the order of precedence; not empty.
    pub parts: Vec<Part>,
}

/// A directory of a source, as one part of a [`Union`].
#[derive(Debug)]
pub struct Part {
    /// The source.
    pub source: SourceIndex,
    /// Which of its directories, by the names that its own directory in the root shows; empty: all of it.
    pub path: Vec<LocalName>,
    /// Names that are left out, in the directory itself and in every one below.
    pub ignore: GlobSet,
    is_missing_told: AtomicBool,
}

impl Part {
    /// A part that shows the directory `path` of a source, without the names that `ignore` matches.
    pub fn new(source: SourceIndex, path: Vec<LocalName>, ignore: GlobSet) -> Self {
        Self { source, path, ignore, is_missing_told: AtomicBool::new(false) }
    }

    /// Whether this name, in a directory `depth` levels below the part's own, is left out.
    fn leaves_out(&self, depth: usize, name: &[u8], kind: &EntryKind) -> bool {
        let leads_out = matches!(kind, EntryKind::Symlink { target } if !stays_below(depth, target));
        leads_out || self.ignore.is_match(OsStr::from_bytes(name))
    }
}

/// Whether a link's text, in a directory `depth` levels below the top, leads to nothing above it, whatever else is linked there:
/// it may go up first, and then only down.
fn stays_below(depth: usize, target: &[u8]) -> bool {
    if target.first() == Some(&b'/') {
        return false;
    }
    let mut components = target.split(|&b| b == b'/').filter(|c| !c.is_empty() && *c != b".").peekable();
    let mut up = 0;
    while components.next_if(|component| *component == b"..").is_some() {
        up += 1;
    }
    up <= depth && components.all(|component| component != b"..")
}

/// A directory of a union.
pub(super) struct UnionDirectory<'a> {
    fs: &'a FileSystem,
    index: UnionIndex,
    /// From the mount's root.
    path: &'a [LocalName],
}

impl<'a> UnionDirectory<'a> {
    pub(super) fn new(fs: &'a FileSystem, index: UnionIndex, path: &'a [LocalName]) -> Self {
        Self { fs, index, path }
    }

    fn union(&self) -> &'a Union {
        self.fs.layout.union(self.index)
    }

    /// The names that lead from the union's own directory to this one.
    fn below(&self) -> &'a [LocalName] {
        &self.path[self.union().path.len()..]
    }

    /// Looks `name` up in this directory: its node, and for how long that counts.
    pub(super) async fn lookup(&self, name: &[u8]) -> Result<(Option<Node>, Duration)> {
        let (mut valid_for, mut failed, mut is_there) = (self.patience(), None, false);
        for part in &self.union().parts {
            let (found, found_valid_for) = match self.find(part, name).await {
                Ok(found) => found,
                Err(error) => {
                    failed.get_or_insert(error);
                    continue;
                }
            };
            valid_for = valid_for.min(found_valid_for);
            let Some((dir, found)) = found else { continue };
            is_there = true;
            if let Some((name, entry)) = found {
                let valid_for = if failed.is_some() { valid_for.min(INCOMPLETE_VALID_FOR) } else { valid_for };
                return Ok((Some(node(self.index, self.path, (part.source, &dir), name, entry)), valid_for));
            }
        }
        match failed {
            Some(error) => Err(error),
            None if is_there => Ok((None, valid_for)),
            None => self.without_parts().map(|()| (None, valid_for)),
        }
    }

    /// Everything that is here.
    pub(super) async fn open(&self) -> Result<OpenDirectory> {
        let listings = join_all(self.union().parts.iter().map(|part| self.list(part))).await;
        let (mut names, mut parts) = (Vec::new(), Vec::new());
        let (mut valid_for, mut incomplete, mut is_there) = (self.patience(), None, false);
        for (part, listing) in self.union().parts.iter().zip(listings) {
            let (listing, listing_valid_for) = match listing {
                Ok(listing) => listing,
                Err(error) => {
                    incomplete.get_or_insert(error);
                    continue;
                }
            };
            valid_for = valid_for.min(listing_valid_for);
            let Some((dir, listing)) = listing else { continue };
            is_there = true;
            let shown = listing.entries().iter().enumerate();
            let shown = shown.filter(|(_, (name, entry))| !part.leaves_out(self.below().len(), name, &entry.kind));
            // No configuration has as many parts as a `u32` counts, and no listing as many names.
            names.extend(shown.map(|(number, _)| (parts.len() as u32, number as u32)));
            parts.push(ListedPart { source: part.source, dir, listing });
        }
        match incomplete {
            Some(error) if !is_there => return Err(error),
            Some(_) => valid_for = valid_for.min(INCOMPLETE_VALID_FOR),
            None if is_there => {}
            None => {
                self.without_parts()?;
                return Err(Error::new("open_dir", ErrorKind::NotFound).on(self.shown()));
            }
        }
        let names = Names::Union(Merged::of(self.index, self.path.into(), parts, names));
        Ok(OpenDirectory { incomplete, ..OpenDirectory::new(names, valid_for) })
    }

    /// The longest that the kernel may keep an answer: a change that a source reports by itself invalidates only its own directory
    /// in the root.
    fn patience(&self) -> Duration {
        let reports = self.union().parts.iter().any(|part| self.fs.sources[part.source].reports_changes);
        if reports { INCOMPLETE_VALID_FOR } else { FOREVER }
    }

    /// The sources that this directory may come from, each once.
    pub(super) fn sources(&self) -> Vec<SourceIndex> {
        let mut sources = Vec::new();
        for part in &self.union().parts {
            if !sources.contains(&part.source) {
                sources.push(part.source);
            }
        }
        sources
    }

    /// The path of this directory at a part's source, and for how long that counts; `None` if the source has no such directory.
    async fn locate(&self, part: &Part) -> Result<(Option<RemotePath>, Duration)> {
        let source = &self.fs.sources[part.source];
        let (catalog, waits) = (&source.catalog, source.waits());
        let (mut dir, mut valid_for) = (RemotePath::root(), FOREVER);
        for (depth, name) in part.path.iter().chain(self.below()).enumerate() {
            let is_configured = depth < part.path.len();
            let next = match waits.during(catalog.find(&dir, name)).await {
                Ok(answer) => {
                    valid_for = valid_for.min(answer.valid_for);
                    answer.value.filter(|(_, entry)| entry.is_directory()).map(|(_, entry)| entry.path)
                }
                // A user who may not list a directory may still be let through it.
                Err(error) if error.kind() == ErrorKind::PermissionDenied && is_configured => dir.child(name).ok(),
                Err(error) if is_absence(&error) => None,
                Err(error) => return Err(error),
            };
            let Some(next) = next else {
                if is_configured {
                    self.tell_once(part, &dir, name);
                }
                return Ok((None, valid_for));
            };
            dir = next;
        }
        Ok((Some(dir), valid_for))
    }

    /// Looks `name` up in a part's directory, and returns that directory with it; `None` if there is no such directory.
    async fn find(&self, part: &Part, name: &[u8]) -> Result<(Option<Found>, Duration)> {
        let (dir, valid_for) = self.locate(part).await?;
        let Some(dir) = dir else { return Ok((None, valid_for)) };
        // A name that is ignored need not be asked for.
        if part.ignore.is_match(OsStr::from_bytes(name)) {
            return Ok((Some((dir, None)), valid_for));
        }
        let source = &self.fs.sources[part.source];
        match source.waits().during(source.catalog.find(&dir, name)).await {
            Ok(found) => {
                let shown = found.value.filter(|(name, entry)| !part.leaves_out(self.below().len(), name, &entry.kind));
                Ok((Some((dir, shown)), valid_for.min(found.valid_for)))
            }
            Err(error) if is_absence(&error) => Ok((None, valid_for)),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, part: &Part) -> Result<(Option<(RemotePath, Arc<Listing>)>, Duration)> {
        let (dir, valid_for) = self.locate(part).await?;
        let Some(dir) = dir else { return Ok((None, valid_for)) };
        match self.fs.sources[part.source].list(&dir).await {
            Ok(listing) => Ok((Some((dir, listing.value)), valid_for.min(listing.valid_for))),
            Err(error) if is_absence(&error) => Ok((None, valid_for)),
            Err(error) => Err(error),
        }
    }

    /// Decides what it means that no part has this directory. Below the union's own directory it is absent. The union's own must
    /// not look empty or gone: a setting is wrong, which is an error.
    fn without_parts(&self) -> Result<()> {
        if !self.below().is_empty() {
            return Ok(());
        }
        let why = "none of the directories that this folder is made of is there; kitovufs check tells more";
        Err(Error::new("open folder", ErrorKind::Other).on(self.shown()).because(why))
    }

    /// Once in a mount's life: a wrong setting, in all likelihood.
    fn tell_once(&self, part: &Part, dir: &RemotePath, name: &[u8]) {
        if !part.is_missing_told.swap(true, Ordering::Relaxed) {
            let (source, name) = (Printable(&self.fs.sources[part.source].name), Printable(name));
            warn!("folder {}: source {source} has no directory {name} in {dir}", self.shown());
        }
    }

    fn shown(&self) -> String {
        shown(self.path)
    }
}

/// The node in the union's directory `path` of an entry of a part's directory.
fn node(
    index: UnionIndex,
    path: &[LocalName],
    (source, dir): (SourceIndex, &RemotePath),
    name: LocalName,
    entry: Entry,
) -> Node {
    if !entry.is_directory() {
        return Node::of_entry(source, dir, name, entry);
    }
    let path = path.iter().cloned().chain([name]).collect();
    Node::Union { index, path, modified: entry.modified }
}

/// The names of an open directory of a union: it shares the listings of its parts.
pub(super) struct Merged {
    index: UnionIndex,
    path: Arc<[LocalName]>,
    parts: Vec<ListedPart>,
    /// In order of names: the part, and the number in its listing.
    names: Vec<(u32, u32)>,
}

/// The directory of a source that is part of a union's directory.
struct ListedPart {
    source: SourceIndex,
    dir: RemotePath,
    listing: Arc<Listing>,
}

impl Merged {
    /// Of a name that several parts have, the first is shown.
    fn of(index: UnionIndex, path: Arc<[LocalName]>, parts: Vec<ListedPart>, mut names: Vec<(u32, u32)>) -> Self {
        let name = |&(part, number): &(u32, u32)| parts[part as usize].listing.entries().name(number as usize);
        names.sort_unstable_by(|a, b| name(a).cmp(name(b)).then(a.0.cmp(&b.0)));
        names.dedup_by(|a, b| name(a) == name(b));
        Self { index, path, parts, names }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn at(&self, number: usize) -> (LocalName, Node) {
        let (part, number) = self.names[number];
        let ListedPart { source, dir, listing } = &self.parts[part as usize];
        let (name, entry) = listing.entries().at(number as usize);
        (name.clone(), node(self.index, &self.path, (*source, dir), name, entry))
    }
}

/// A path from the mount's root, for messages.
pub(super) fn shown(path: &[LocalName]) -> String {
    path.iter().map(|name| format!("/{}", Printable(name))).collect()
}

/// A directory at a source, and the entry that was looked for in it.
type Found = (RemotePath, Option<(LocalName, Entry)>);

/// Whether a source said that there is no such directory.
fn is_absence(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests;

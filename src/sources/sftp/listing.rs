//! Listing one directory: several questions for names are under way at once, attributes come along, and links are judged.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::time::Instant;

use super::client::{Asked, Handle};
use super::codec::{Attrs, FileType, Name};
use super::connection::Connection;
use super::failure::Failure;
use super::links;
use super::stamp::Stamp;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::{Entry, EntryKind, EntryStream, LeftOut, permission_bits};
use crate::sources::alone;
use crate::sources::links::{Links, is_text};
use crate::sources::spelling::in_other_case;

const OP: &str = "list_path";

/// How many questions for names are under way: few at first, since most directories are small, then more.
const QUESTIONS: (usize, usize) = (3, 32);

/// How many names one directory may have. Real ones have fewer: a server that goes on is broken, or malicious.
const MAX_NAMES: usize = 10_000_000;

struct Listing<'a> {
    connection: Arc<Connection>,
    handle: Handle,
    dir: &'a RemotePath,
    /// Where the directories on the way here are, this one included, if links are followed.
    way: Vec<Bytes>,
    asked: VecDeque<Asked<Option<Vec<Name>>>>,
    questions: usize,
    /// How many answers have come.
    answers: usize,
    names: usize,
    left_out: LeftOut,
}

/// The questions about a link that are under way.
enum AboutLink {
    Keep { text: Asked<Bytes> },
    Inside { text: Asked<Bytes>, real: Asked<Bytes> },
    Follow { real: Asked<Bytes>, attrs: Asked<Attrs> },
}

/// Lists a directory, in two round trips if its names come in two answers and no link is among them.
pub(super) async fn list(connection: Arc<Connection>, dir: &RemotePath) -> Result<EntryStream<'_>> {
    let began = Instant::now();
    let way = connection.way(OP, dir).await?;
    let place = connection.real(OP, dir, ErrorKind::NotADirectory).await?;
    let (real, kind) = (connection.client.real_path(&place), connection.client.lstat(&place));
    let opened = connection.client.open_dir(&place).await;
    if let Ok(attrs) = kind.await
        && attrs.file_type() != FileType::Directory
    {
        return Err(Error::new(OP, ErrorKind::NotADirectory).on(dir));
    }
    match opened {
        Ok(handle) => {
            connection.no_links(OP, dir, &place, real, ErrorKind::NotADirectory).await?;
            Ok(entries(began, connection, handle, (dir, place), way))
        }
        Err(failure) => Err(connection.error(OP, dir, &failure).await),
    }
}

/// The entries of an open directory.
fn entries(
    began: Instant,
    connection: Arc<Connection>,
    handle: Handle,
    (dir, place): (&RemotePath, Vec<u8>),
    way: Vec<Bytes>,
) -> EntryStream<'_> {
    let (asked, left_out) = (VecDeque::new(), LeftOut::default());
    let (noted, at) = (left_out.clone(), (connection.clone(), place));
    let (questions, answers, names) = (QUESTIONS.0, 0, 0);
    let listing = Listing { connection, handle, dir, way, asked, questions, answers, names, left_out };
    let batches = futures::stream::try_unfold(listing, |mut listing| async move {
        Ok(listing.next().await?.map(|entries| (entries, listing)))
    });
    let ask = move |name: Vec<u8>| {
        let (connection, place) = at.clone();
        async move { look_up(&connection, dir, &place, &name).await }.boxed()
    };
    alone::listing(began, batches, noted, ask)
}

/// The entry of this name in `dir`, whose place is without links, if there is one; `None` if only the listing can tell.
async fn look_up(connection: &Connection, dir: &RemotePath, place: &[u8], name: &[u8]) -> Option<Vec<Entry>> {
    let path = dir.child(name).ok()?;
    let dir = place.strip_suffix(b"/").unwrap_or(place);
    let place = |name: &[u8]| [dir, b"/", name].concat();
    let (there, elsewhere) = (place(name), place(&in_other_case(name)?));
    let client = &connection.client;
    let (real, attrs, in_other_case) = (client.real_path(&there), client.lstat(&there), client.lstat(&elsewhere));
    let attrs = match attrs.await {
        Ok(attrs) => attrs,
        Err(failure) => {
            let error = connection.error(OP, &path, &failure).await;
            return (error.kind() == ErrorKind::NotFound).then(Vec::new);
        }
    };
    let is_absent = |failure: Failure| failure.error(OP, &path).kind() == ErrorKind::NotFound;
    let is_told_apart = in_other_case.await.is_err_and(is_absent);
    let is_there = connection.no_links(OP, &path, &there, real, ErrorKind::Changed).await.is_ok();
    let kind = match attrs.file_type() {
        FileType::Directory => EntryKind::Directory,
        FileType::Regular => EntryKind::File,
        FileType::Symlink | FileType::Other => return None,
    };
    let name = Name { name: Bytes::copy_from_slice(name), attrs };
    (is_told_apart && is_there).then(|| vec![entry(path, &name, kind, SystemTime::now())])
}

impl Listing<'_> {
    /// The next entries; `None` when these were all.
    async fn next(&mut self) -> Result<Option<Vec<Entry>>> {
        // The second answer is the end of most directories, so that no more is asked for before it has come.
        if self.answers != 1 {
            let more = self.questions.saturating_sub(self.asked.len());
            self.asked.extend((0..more).map(|_| self.connection.client.read_dir(&self.handle)));
            self.questions = (self.questions * 2).min(QUESTIONS.1);
        }
        let Some(answer) = self.asked.pop_front() else { return Ok(None) };
        let Some(names) = answer.await.map_err(|failure| failure.error(OP, self.dir))? else { return Ok(None) };
        self.answers += 1;
        self.names += names.len();
        // An answer without names would be repeated for ever.
        if names.is_empty() || self.names > MAX_NAMES {
            let why = "the server's listing does not come to an end";
            return Err(Error::new(OP, ErrorKind::Protocol).on(self.dir).because(why));
        }
        let mut followed = Vec::with_capacity(names.len());
        for name in names.into_iter().filter(|name| !matches!(&*name.name, b"." | b"..")) {
            if let Some(path) = self.left_out.child(self.dir, &name.name) {
                followed.push((path, name));
            }
        }
        self.shown(followed).await.map(Some)
    }

    async fn shown(&self, names: Vec<(RemotePath, Name)>) -> Result<Vec<Entry>> {
        let now = SystemTime::now();
        let mut entries = Vec::with_capacity(names.len());
        let mut links = Vec::new();
        for (path, name) in names {
            match name.attrs.file_type() {
                FileType::Symlink => {
                    let asked = self.ask_about(&path);
                    links.push((path, name, asked));
                }
                FileType::Other => leave_out(&path, &name, &self.left_out),
                FileType::Directory => entries.push(entry(path, &name, EntryKind::Directory, now)),
                FileType::Regular => entries.push(entry(path, &name, EntryKind::File, now)),
            }
        }
        for (path, name, asked) in links {
            match self.link(&path, name, asked).await.map_err(|failure| failure.error(OP, &path))? {
                Some(entry) => entries.push(entry),
                None => hide(&path, "leads to nothing that is shown", &self.left_out),
            }
        }
        Ok(entries)
    }

    /// Asks about a link what has to be known to show it.
    fn ask_about(&self, path: &RemotePath) -> AboutLink {
        let (client, place) = (&self.connection.client, self.connection.place(path));
        match self.connection.links {
            Links::Keep => AboutLink::Keep { text: client.read_link(&place) },
            Links::Inside => AboutLink::Inside { text: client.read_link(&place), real: client.real_path(&place) },
            Links::Follow => AboutLink::Follow { real: client.real_path(&place), attrs: client.stat(&place) },
        }
    }

    /// What is shown of a link; none if it is left out.
    async fn link(&self, path: &RemotePath, name: Name, asked: AboutLink) -> Result<Option<Entry>, Failure> {
        let now = SystemTime::now();
        // One that was removed meanwhile has no text.
        let text = match asked {
            AboutLink::Keep { text } => known(text).await?.map(|text| links::keep(&self.connection, self.dir, &text)),
            AboutLink::Inside { text, real } => match known(text).await? {
                Some(text) => links::judge(&self.connection, self.dir, &text, known(real).await?.as_deref()),
                None => None,
            },
            AboutLink::Follow { real, attrs } => {
                let (real, attrs) = (known(real).await?, known(attrs).await?);
                let (Some(real), Some(attrs)) = (real, attrs) else { return Ok(None) };
                // In a directory on the way here the tree would have no end.
                if !self.connection.holds(&real) || self.way.contains(&real) {
                    return Ok(None);
                }
                let name = Name { attrs, ..name };
                return Ok(match name.attrs.file_type() {
                    FileType::Directory => Some(entry(path.clone(), &name, EntryKind::Directory, now)),
                    FileType::Regular => Some(entry(path.clone(), &name, EntryKind::File, now)),
                    FileType::Symlink | FileType::Other => None,
                });
            }
        };
        let target = text.filter(|text| is_text(text));
        Ok(target.map(|target| entry(path.clone(), &name, EntryKind::Symlink { target }, now)))
    }
}

/// An answer; none if the server refuses it.
async fn known<T>(asked: Asked<T>) -> Result<Option<T>, Failure> {
    match asked.await {
        Ok(answer) => Ok(Some(answer)),
        Err(failure) if failure.is_status() => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn entry(path: RemotePath, name: &Name, kind: EntryKind, now: SystemTime) -> Entry {
    let stamp = Stamp::of(&name.attrs);
    Entry {
        name: name.name.to_vec(),
        path,
        permissions: name.attrs.permissions.map(permission_bits),
        size: stamp.map(|stamp| stamp.size),
        modified: name.attrs.modified(),
        digest: stamp.map(|stamp| stamp.digest(now)),
        kind,
    }
}

/// Leaves out what is neither a file, nor a directory, nor a link.
fn leave_out(path: &RemotePath, name: &Name, left_out: &LeftOut) {
    match name.attrs.permissions {
        Some(_) => hide(path, "is neither a file nor a directory", left_out),
        None => left_out.add_unreadable(&name.name, "the server does not say whether it is a file or a directory"),
    }
}

fn hide(path: &RemotePath, why: &str, left_out: &LeftOut) {
    tracing::debug!("{path} {why} and is left out");
    left_out.hide();
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, TryStreamExt as _};

    use super::super::client::tests::{answer, pair, whole};
    use super::super::codec::{Attrs, Reply, status};
    use super::*;
    use crate::source::one_name::SLOW_LISTING;

    const CLOSE: u8 = 4;
    const LSTAT: u8 = 7;
    const OPENDIR: u8 = 11;
    const READDIR: u8 = 12;
    const REALPATH: u8 = 16;
    const STAT: u8 = 17;

    /// Lists a directory whose names come in so many answers of two. Returns how many names there were, and the types of the
    /// questions, each round answered only when all `rounds` of it have arrived; the last round gets no answers.
    async fn listed(answers: u32, rounds: &'static [usize]) -> (usize, Vec<Vec<u8>>) {
        let (client, mut server) = pair().await;
        let serving = tokio::spawn(async move {
            let (mut seen, mut told) = (Vec::new(), 0);
            let directory = Attrs { permissions: Some(0o040_755), ..Attrs::default() };
            for questions in rounds {
                let mut round = Vec::new();
                for _ in 0..*questions {
                    round.push(whole(&mut server).await);
                }
                seen.push(round.iter().map(|(_, kind, ..)| *kind).collect());
                for (id, kind, path, _) in round {
                    let reply = match kind {
                        REALPATH => Reply::Names(vec![Name { name: path.into(), attrs: Attrs::default() }]),
                        LSTAT => Reply::Attrs(directory),
                        OPENDIR => Reply::Handle(Bytes::from_static(b"h")),
                        READDIR if told < answers => {
                            told += 1;
                            let name = |part| Name { name: format!("{told}{part}").into(), attrs: directory };
                            Reply::Names(vec![name('a'), name('b')])
                        }
                        READDIR => Reply::Status { code: status::EOF, message: Bytes::new() },
                        _ => Reply::Status { code: 0, message: Bytes::new() },
                    };
                    answer(&mut server, id, reply).await;
                }
            }
            seen
        });
        let connection = Arc::new(Connection::of_test(client));
        let dir = RemotePath::parse(b"dir").expect("a path");
        let entries: Vec<_> =
            list(connection.clone(), &dir).await.expect("it is there").try_collect().await.expect("all");
        (entries.len(), serving.await.expect("served"))
    }

    #[tokio::test]
    async fn a_small_directory_takes_two_round_trips_and_no_question_too_many() {
        let opening = vec![REALPATH, LSTAT, OPENDIR];
        for (answers, names) in [(0, 0), (1, 2)] {
            let (listed, seen) = listed(answers, &[3, 3, 1]).await;
            assert_eq!((listed, seen), (names, vec![opening.clone(), vec![READDIR; 3], vec![CLOSE]]));
        }
    }

    #[tokio::test]
    async fn a_large_directory_is_asked_for_in_ever_more_questions_at_once() {
        // 25 answers and the end of the names take four round trips.
        let (listed, seen) = listed(25, &[3, 3, 12, 32, 11]).await;
        let last = [[READDIR; 10].as_slice(), &[CLOSE]].concat();
        assert_eq!((listed, seen.last()), (50, Some(&last)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_whose_directory_is_listed_slowly_is_asked_for_alone() {
        let (client, mut server) = pair().await;
        tokio::spawn(async move {
            // Questions for names get no answer.
            loop {
                let (id, kind, path, _) = whole(&mut server).await;
                let absent = Reply::Status { code: status::NO_SUCH_FILE, message: Bytes::new() };
                let is = |permissions| Reply::Attrs(Attrs { permissions: Some(permissions), ..Attrs::default() });
                let reply = match kind {
                    REALPATH => Reply::Names(vec![Name { name: path.into(), attrs: Attrs::default() }]),
                    LSTAT if path == b"/srv/dir" => is(0o040_755),
                    LSTAT if path == b"/srv/dir/name" => is(0o100_644),
                    LSTAT => absent,
                    // The root, since a name is absent.
                    STAT => is(0o040_755),
                    OPENDIR => Reply::Handle(Bytes::from_static(b"h")),
                    _ => continue,
                };
                answer(&mut server, id, reply).await;
            }
        });
        let connection = Arc::new(Connection::of_test(client));
        let dir = RemotePath::parse(b"dir").expect("a path");
        for (name, names) in [(&b"name"[..], vec![b"name".to_vec()]), (b"absent", Vec::new())] {
            let began = Instant::now();
            let mut entries = list(connection.clone(), &dir).await.expect("it is there");
            entries.want_only(name);
            assert!(entries.next().await.is_none());
            let told = entries.told_alone().expect("only that name");
            assert_eq!(told.into_iter().map(|entry| entry.name).collect::<Vec<_>>(), names);
            assert_eq!(began.elapsed().as_secs(), SLOW_LISTING.as_secs());
        }
        let mut entries = list(connection.clone(), &dir).await.expect("it is there");
        let waited = tokio::time::timeout(SLOW_LISTING * 60, entries.next()).await;
        assert!(waited.is_err(), "whoever wants all names waits for the listing");
    }

    #[test]
    fn a_name_without_a_type_makes_the_listing_incomplete_and_a_pipe_does_not() {
        for (permissions, incomplete) in [(None, true), (Some(0o010_644), false)] {
            let attrs = Attrs { permissions, ..Attrs::default() };
            assert_eq!(attrs.file_type(), FileType::Other);
            let (name, left_out) = (Name { name: Bytes::from_static(b"odd"), attrs }, LeftOut::default());
            leave_out(&RemotePath::root(), &name, &left_out);
            assert_eq!(left_out.is_incomplete(), incomplete, "{permissions:?}");
        }
    }
}

//! `Session`: the calls to one process of a plugin, from `hello` to its end. It starts nothing anew.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::calls::Event;
use super::connection::Connection;
use super::failure::Failure;
use super::listing::{Listing, path_below};
use super::log::PluginLog;
use super::memo::{Look, Memo, Spelling, absolute};
use super::process::Launch;
use super::tree::Tree;
use super::wire::{Digested, Entry, Hello, Kind, Listed, PROTOCOL, Text};
use crate::duration::Shown;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::LeftOut;
use crate::source::budget::{LARGE_BYTES, await_turn, has_turn};
use crate::source::waits::note_progress;

/// How long a plugin may take to answer `hello`, and `configure`.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a plugin may take to answer `disconnect`.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest digest, in bytes.
const MAX_DIGEST_BYTES: usize = 1024;

/// The children of a directory; one that only longer paths imply has no entry.
pub type Children = Box<dyn Iterator<Item = (RemotePath, Option<Entry>)> + Send>;

/// One process of a plugin.
pub struct Session {
    /// The connection to it.
    pub connection: Arc<Connection>,
    /// Its answer to `hello`.
    pub hello: Hello,
    /// The memo of its listings.
    pub memo: Arc<Memo>,
    log: Arc<PluginLog>,
    fresh_for: Duration,
}

impl Session {
    /// RestartBackoff a process and asks `hello`.
    ///
    /// # Errors
    /// `Unsupported` if there is no such program; `Unreachable` or `Protocol` if it does not say who it is.
    pub async fn start(
        launch: &Launch,
        log: &Arc<PluginLog>,
        changes: mpsc::Sender<RemotePath>,
        fresh_for: Duration,
    ) -> Result<Self> {
        let memo = Arc::new(Memo::default());
        let expiring = Arc::clone(&memo);
        let on_change = move |path| {
            expiring.expire();
            // With so many changes unread, one more says little; what is known ages in any case.
            let _ = changes.try_send(path);
        };
        let connection = Connection::start(launch, log, Box::new(on_change))?;
        let host = concat!("kitovufs ", env!("CARGO_PKG_VERSION"));
        let hello = in_time("hello", connection.ask("hello", json!({"protocol": PROTOCOL, "host": host}))).await;
        let hello: Hello = hello.and_then(understood).map_err(|failure| failure.error("hello", log))?;
        if hello.protocol != PROTOCOL {
            let why = format!("the plugin speaks version {} of the protocol; this is {PROTOCOL}", hello.protocol);
            return Err(Error::new("hello", ErrorKind::Unsupported).because(why));
        }
        connection.set_abilities(&hello.capabilities);
        Ok(Self { connection, hello, memo, log: Arc::clone(log), fresh_for })
    }

    /// The session of a process that has answered `hello`.
    pub fn of(connection: Arc<Connection>, hello: Hello, log: Arc<PluginLog>) -> Self {
        Self { connection, hello, memo: Arc::default(), log, fresh_for: Duration::MAX }
    }

    /// Gives the plugin its settings.
    ///
    /// # Errors
    /// What the plugin has against them.
    pub async fn configure(&self, info: Value) -> Result<(), Failure> {
        in_time("configure", self.connection.ask("configure", json!({ "info": info }))).await.map(drop)
    }

    /// Lets the plugin connect.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn connect(&self) -> Result<(), Failure> {
        match self.connection.ask("connect", json!({})).await {
            Err(failure) if !failure.is_unknown_method() => Err(failure),
            _ => Ok(()),
        }
    }

    /// A call that is no remote operation, and has its time as long as it tells that it gets on.
    ///
    /// # Errors
    /// `Lost` if it has said nothing for `patience`, or has not ended after `most`.
    pub async fn ask_patiently(
        &self,
        method: &'static str,
        params: Value,
        (patience, most): (Duration, Duration),
    ) -> Result<Value, Failure> {
        let mut call = self.connection.call(method, params).await?;
        let end = Instant::now() + most;
        loop {
            match timeout_at(end.min(Instant::now() + patience), call.next()).await {
                Ok(event) => match event? {
                    Event::End(result) => return Ok(result?),
                    Event::Broken(why) => return Err(Failure::Broken(why)),
                    Event::Entries(_) | Event::Progress => {}
                },
                Err(_) if Instant::now() < end => {
                    let limit = Shown(patience);
                    return Err(Failure::Lost(format!("it said nothing for {limit} during `{method}`")));
                }
                Err(_) => {
                    let limit = Shown(most);
                    return Err(Failure::Lost(format!("`{method}` has not ended after {limit}")));
                }
            }
        }
    }

    /// Says goodbye, if `connected`, and ends the process.
    pub async fn end(&self, connected: bool) {
        if connected {
            // The session ends whether or not it answers.
            let _ = timeout(DISCONNECT_TIMEOUT, self.connection.ask("disconnect", json!({}))).await;
        }
        self.connection.end().await;
    }

    /// The version that there is now. The path must have been told ([`Session::reach`]).
    ///
    /// # Errors
    /// What the plugin says; `Broken` for a digest that cannot be one.
    pub async fn digest(&self, file: &RemotePath, written: &Text) -> Result<Digested, Failure> {
        let answer = self.connection.ask("create_remote_digest", json!({ "path": written })).await?;
        let digested: Digested = understood(answer)?;
        if digested.digest.is_empty() || digested.digest.len() > MAX_DIGEST_BYTES {
            return Err(Failure::Broken(format!("a digest of {} bytes", digested.digest.len())));
        }
        self.memo.learn_digest(file);
        Ok(digested)
    }

    /// What is in a directory.
    ///
    /// # Errors
    /// What the plugin says; `NotFound` if complete listings are without the directory.
    pub async fn list(&self, dir: &RemotePath) -> Result<(Children, LeftOut), Failure> {
        if self.hello.capabilities.one_level {
            return self.list_level(dir).await;
        }
        // A second look begins with the root: what is remembered may lead nowhere by now.
        for _ in 0..2 {
            if let Some(children) = self.list_in_tree(dir).await? {
                return Ok(children);
            }
            self.memo.discard();
        }
        Err(Error::new("list_path", ErrorKind::NotFound).on(dir).into())
    }

    /// How a path is written, once a listing in this process has told of it.
    ///
    /// # Errors
    /// Those of listing what leads there.
    pub async fn reach(&self, path: &RemotePath) -> Result<Text, Failure> {
        if path.is_root() {
            return Ok(absolute(path));
        }
        if !self.hello.capabilities.one_level {
            return self.reach_in_tree(path).await;
        }
        let mut dir = RemotePath::root();
        let components: Vec<_> = path.components().collect();
        for (depth, name) in components.iter().enumerate() {
            let inner = dir.child(name).map_err(|bad| Failure::Broken(bad.to_string()))?;
            if self.memo.spelling_in(&dir, &inner).is_none() {
                // The way to `dir` has been gone by now.
                drop(self.list_level_at(&dir, &self.spelling(&dir)).await?);
            }
            if depth + 1 == components.len() {
                break;
            }
            dir = inner;
        }
        Ok(self.spelling(path))
    }

    /// Discards what told of this path, after the plugin said that it does not know it: it is listed anew before it is asked for again.
    pub fn discard_path(&self, path: &RemotePath) {
        if self.hello.capabilities.one_level {
            self.memo.discard_directory(&parent(path));
        } else {
            self.memo.discard();
        }
    }

    /// Whether this path, which was listed without a kind, is a directory.
    pub async fn is_listable(&self, path: &RemotePath, written: &Text) -> bool {
        let leaf = self.memo.leaf(path);
        leaf.is_some_and(|entry| entry.kind.is_none()) && self.gather(path, written).await.is_ok()
    }

    fn spelling(&self, path: &RemotePath) -> Text {
        if path.is_root() {
            return absolute(path);
        }
        self.memo.spelling_in(&parent(path), path).unwrap_or_else(|| absolute(path))
    }

    async fn list_level(&self, dir: &RemotePath) -> Result<(Children, LeftOut), Failure> {
        let written = self.reach(dir).await?;
        self.list_level_at(dir, &written).await
    }

    async fn list_level_at(&self, dir: &RemotePath, written: &Text) -> Result<(Children, LeftOut), Failure> {
        let entries = self.gather(dir, written).await?;
        let spelling = Spelling::learn(entries.iter().map(|(path, entry)| (path, entry.path)));
        self.memo.learn_directory(dir, spelling);
        let left_out = entries.left_out.clone();
        Ok((Box::new(entries.into_entries().map(|(path, entry)| (path, Some(entry)))), left_out))
    }

    /// The children of a directory in the trees; none if it is in none of them.
    async fn list_in_tree(&self, dir: &RemotePath) -> Result<Option<(Children, LeftOut)>, Failure> {
        let began = Instant::now();
        let mut top = RemotePath::root();
        loop {
            let known = self.memo.tree(&top);
            let mut tree = match known {
                Some(tree) => tree,
                None => self.list_tree(&top).await?,
            };
            let tells = top == *dir || tree.has_below(dir);
            if !tells && let Some(way) = tree.way_to(dir, &top) {
                top = way;
                continue;
            }
            if !tells {
                return Ok(None);
            }
            if !self.memo.serve(&tree, dir, self.fresh_for) && tree.told_at < began {
                tree = self.list_tree(&top).await?;
                if top != *dir && !tree.has_below(dir) {
                    return Ok(None);
                }
                self.memo.serve(&tree, dir, self.fresh_for);
            }
            let children = tree.children(dir);
            if top == *dir || !tree.is_directory(dir) {
                return Ok(Some((Box::new(children), tree.left_out())));
            }
            // One name can be a directory that is listed by itself and, as a part of longer names, one that is implied.
            let outer: HashSet<_> = children.clone().map(|(path, _)| path).collect();
            let inner_tree = self.list_tree(dir).await?;
            let inner = inner_tree.children(dir).filter(move |(path, _)| !outer.contains(path));
            return Ok(Some((Box::new(children.chain(inner)), inner_tree.left_out())));
        }
    }

    async fn reach_in_tree(&self, path: &RemotePath) -> Result<Text, Failure> {
        let mut top = RemotePath::root();
        loop {
            let tree = match self.memo.tree(&top) {
                Some(tree) => tree,
                None => self.list_tree(&top).await?,
            };
            if let Some(entry) = tree.leaf(path) {
                return Ok(entry.path);
            }
            match tree.way_to(path, &top) {
                Some(way) => top = way,
                // A file that this process has not told of: the plugin says what it knows.
                None => return Ok(absolute(path)),
            }
        }
    }

    /// Asks for everything below a directory, and finds out what its leaves are.
    async fn list_tree(&self, top: &RemotePath) -> Result<Arc<Tree>, Failure> {
        // A leaf that is a directory is written as its own tree tells.
        let written = if top.is_root() { absolute(top) } else { Box::pin(self.reach_in_tree(top)).await? };
        let Look { entries, told_at } = match self.memo.take_look(top, self.fresh_for) {
            Some(look) => look,
            None => self.look(top, &written).await?,
        };
        let tree = Tree::new(entries, told_at);
        let Some((leaf, written)) = tree.undecided() else { return Ok(self.memo.learn_tree(top, tree)) };
        let kind = match self.digest(&leaf, &written).await {
            Ok(_) => Kind::File,
            Err(failure) if !failure.is_refusal() => return Err(failure),
            Err(_) => match self.look(&leaf, &written).await {
                Ok(look) => {
                    self.memo.keep_look(&leaf, look);
                    Kind::Directory
                }
                Err(failure) if !failure.is_refusal() => return Err(failure),
                Err(_) => Kind::File,
            },
        };
        Ok(self.memo.learn_tree(top, tree.of_kind(kind)))
    }

    async fn look(&self, dir: &RemotePath, written: &Text) -> Result<Look, Failure> {
        let told_at = Instant::now();
        Ok(Look { entries: self.gather(dir, written).await?, told_at })
    }

    /// Every entry that may be shown of one answer, which has come to its end.
    async fn gather(&self, dir: &RemotePath, written: &Text) -> Result<Listing, Failure> {
        loop {
            if let Some(entries) = self.gather_in_turn(dir, written).await? {
                return Ok(entries);
            }
            await_turn(LARGE_BYTES + 1).await;
        }
    }

    /// The same; none if the listing is large and another one has the turn. Waiting for it in the middle of an answer would hold up all
    /// others of this process, that other one perhaps among them: the answer is given up, and asked for again.
    async fn gather_in_turn(&self, dir: &RemotePath, written: &Text) -> Result<Option<Listing>, Failure> {
        let mut call = self.connection.call("list_path", json!({ "path": written })).await?;
        let mut entries = Listing::default();
        loop {
            let (part, last) = match call.next().await? {
                Event::Progress => continue,
                Event::Entries(part) => (part, false),
                Event::End(result) => (understood_or_nothing::<Listed>(result?)?.entries, true),
                Event::Broken(why) => return Err(Failure::Broken(why)),
            };
            let mut has_new = false;
            // Without what was told in confidence.
            entries.left_out.append(part.omitted.rewritten(|words| self.log.redact(words)));
            for entry in part.known {
                match self.place(dir, &entry.path) {
                    Ok(path) => {
                        let pushed = entries.push(&path, &entry);
                        has_new |= pushed.map_err(|exceeded| Failure::Broken(exceeded.to_string()))?;
                    }
                    Err(why) => {
                        let written = entry.path.bytes().unwrap_or_else(|| format!("{:?}", entry.path).into_bytes());
                        let written = self.log.redact(&String::from_utf8_lossy(&written));
                        match entry.path.bytes() {
                            Some(_) => entries.left_out.refuse(written.as_bytes(), why),
                            None => entries.left_out.add_unreadable(written.as_bytes(), why),
                        }
                    }
                }
            }
            if has_new {
                // Repeated entries are no progress.
                note_progress();
            }
            if last {
                return Ok(Some(entries));
            }
            if !has_turn(entries.taken()) {
                return Ok(None);
            }
        }
    }

    /// Where an entry of a listing is, or why it is left out.
    fn place(&self, dir: &RemotePath, written: &Text) -> Result<RemotePath, String> {
        let path = path_below(dir, written)?;
        if self.hello.capabilities.one_level && path.components().count() > dir.components().count() + 1 {
            return Err("it lies deeper than one level".into());
        }
        Ok(path)
    }
}

/// The directory that a path is in.
pub fn parent(path: &RemotePath) -> RemotePath {
    let bytes = path.as_bytes();
    let end = bytes.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    RemotePath::from_stored(&bytes[..end])
}

/// An answer, understood.
///
/// # Errors
/// `Broken` if it is not what the protocol says.
pub fn understood<T: DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|e| Failure::Broken(format!("something unexpected: {e}")))
}

/// The same, for an answer that may be empty.
///
/// # Errors
/// `Broken` if it is not what the protocol says.
pub fn understood_or_nothing<T: DeserializeOwned + Default>(answer: Value) -> Result<T, Failure> {
    if answer.is_null() { Ok(T::default()) } else { understood(answer) }
}

/// Fails a call that takes longer than [`START_TIMEOUT`].
async fn in_time<T>(what: &str, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(START_TIMEOUT, call).await.unwrap_or_else(|_| {
        let limit = Shown(START_TIMEOUT);
        Err(Failure::Lost(format!("it did not answer `{what}` within {limit}")))
    })
}

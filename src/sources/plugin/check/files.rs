//! Checks whether the listings, digests and bytes of a plugin agree with each other.

use std::collections::VecDeque;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde_json::{Value, json};

use super::super::memo::absolute;
use super::super::session::Session;
use super::super::wire::{Digested, Entry, Filled, Kind, Text};
use super::exchange::{Checker, Outcome};
use super::{failed, sorted};
use crate::error::Result;
use crate::path::RemotePath;
use crate::sources::plugin::staging::{begin_anew, read_back};

/// Directories that are looked into, and files that are retrieved, so that a check takes seconds.
const DIRECTORIES: usize = 20;
const FILES: usize = 3;
const LARGEST: u64 = 16 << 20;

/// Whether a rule applies to a plugin, what it wants, and whether an entry keeps it.
type Rule = (bool, &'static str, fn(&Entry) -> bool);

/// A file that the plugin shows.
pub struct Found {
    path: RemotePath,
    written: Text,
    listed: Entry,
}

impl Checker<'_> {
    /// Checks listings, and answers some files of them.
    pub async fn listings(&mut self, session: &Session) -> Vec<Found> {
        let abilities = session.hello.capabilities.clone();
        let (first, second) = (self.list("/").await, self.list("/").await);
        let wanted = "the root can be listed: any number of `entries`, and then a result";
        if self.expect("list_path", wanted, &first, |_| Ok(())).is_none() {
            return Vec::new();
        }
        let same =
            |_: &Value| if sorted(&first) == sorted(&second) { Ok(()) } else { Err("it is another listing".into()) };
        self.expect("list_path", "listed again, the root is the same", &second, same);
        let rules: [Rule; 4] = [
            (true, "every path is below the root, without `.`, `..`, NUL and empty components", |entry| {
                let path = entry.path.bytes().and_then(|bytes| RemotePath::parse(&bytes).ok());
                path.is_some_and(|path| !path.is_root())
            }),
            (
                abilities.one_level,
                "with `one_level`, every entry has its `kind` and lies directly in the directory",
                |entry| {
                    let path = entry.path.bytes().and_then(|bytes| RemotePath::parse(&bytes).ok());
                    entry.kind.is_some() && path.is_some_and(|path| path.components().count() == 1)
                },
            ),
            (abilities.digest_from_listing, "with `digest_from_listing`, every file has its `digest`", |entry| {
                entry.kind == Some(Kind::Directory) || entry.digest.as_ref().is_some_and(|digest| !digest.is_empty())
            }),
            (true, "every `modified` is a time", |entry| {
                entry.modified.as_ref().is_none_or(|time| time.time().is_some())
            }),
        ];
        for (_, wanted, keeps) in rules.into_iter().filter(|(applies, ..)| *applies) {
            let broken = first.entries.iter().find(|entry| !keeps(entry));
            let wrong = broken.map(|entry| serde_json::to_string(entry).unwrap_or_default());
            self.find("list_path", wanted, String::new(), String::new(), wrong);
        }
        self.walk(session).await
    }

    pub async fn list(&mut self, path: &str) -> Outcome {
        self.ask("list_path", json!({ "path": path })).await
    }

    /// Looks for files as the mount does.
    async fn walk(&mut self, session: &Session) -> Vec<Found> {
        let (mut files, mut ways) = (Vec::new(), VecDeque::from([RemotePath::root()]));
        let mut directory = None;
        for _ in 0..DIRECTORIES {
            let Some(dir) = ways.pop_front() else { break };
            let children = match session.list(&dir).await {
                Ok(children) => children,
                Err(failure) => {
                    let wrong = failure.error("list_path", &self.log).to_string();
                    self.find(
                        "list_path",
                        "a directory that was told can be listed",
                        dir.to_string(),
                        String::new(),
                        Some(wrong),
                    );
                    continue;
                }
            };
            for (path, entry) in children.0 {
                match entry {
                    Some(entry) if entry.kind != Some(Kind::Directory) => {
                        // A file with something in it says more than one without.
                        let says_more = entry.size != Some(0);
                        if files.len() < FILES && says_more && entry.size.is_none_or(|size| size <= LARGEST) {
                            files.push(Found { path, written: entry.path.clone(), listed: entry });
                        }
                    }
                    _ => {
                        directory.get_or_insert_with(|| path.clone());
                        ways.push_back(path);
                    }
                }
            }
        }
        if let Some(directory) = directory.filter(|_| session.hello.capabilities.one_level) {
            let written = session.reach(&directory).await.unwrap_or_else(|_| absolute(&directory));
            let outcome = self.ask("create_remote_digest", json!({ "path": written })).await;
            self.refused("create_remote_digest", "a directory has none", &outcome, |_| true);
        }
        files
    }

    /// Checks one file from its digest to the copy of its bytes.
    pub async fn file(&mut self, session: &Session, file: &Found, scratch: &Path) -> Result<()> {
        let abilities = &session.hello.capabilities;
        let Found { path, written, listed } = file;
        let params = json!({ "path": written });
        let (first, second) =
            (self.ask("create_remote_digest", params.clone()).await, self.ask("create_remote_digest", params).await);
        let digested =
            self.expect("create_remote_digest", "a listed file has a digest of 1 to 1,024 bytes", &first, |result| {
                let digested: Digested = serde_json::from_value(result.clone()).map_err(|e| e.to_string())?;
                if (1..=1024).contains(&digested.digest.len()) {
                    Ok(digested)
                } else {
                    Err("its length is wrong".into())
                }
            });
        let Some(Digested { digest, size, .. }) = digested else { return Ok(()) };
        self.expect("create_remote_digest", "asked again, it is the same", &second, |result| {
            if result["digest"] == digest.as_str() { Ok(()) } else { Err("it is another one".into()) }
        });
        if abilities.digest_from_listing {
            let wrong =
                (listed.digest.as_ref() != Some(&digest)).then(|| format!("the listing says {:?}", listed.digest));
            self.find("create_remote_digest", "it is that of the listing", first.sent.clone(), first.came(), wrong);
        }
        if let (Some(listed), Some(size)) = (listed.size, size) {
            let wrong = (listed != size).then(|| format!("the listing says {listed}"));
            self.find(
                "create_remote_digest",
                "its size is that of the listing",
                first.sent.clone(),
                first.came(),
                wrong,
            );
        }
        let size = size.or(listed.size);
        let Some((bytes, filled)) = self.whole(file, &digest, size, scratch).await? else { return Ok(()) };
        self.parts(session, file, &digest, &bytes, scratch).await?;
        self.copy(session, file, &digest, &bytes, &filled, scratch).await?;
        if abilities.conditional {
            let staging = scratch.join("staging");
            begin_anew(&staging).map_err(failed)?;
            let params = json!({"path": written, "digest": format!("no {digest}"), "file": Text::of(staging.as_os_str().as_bytes())});
            let outcome = self.ask("retrieve_file", params).await;
            let wanted = "with `conditional`, a version that there is not is refused with `changed`";
            self.refused("retrieve_file", wanted, &outcome, |refusal| refusal.data.kind == "changed");
        }
        // The memo of the path stays within this process.
        session.memo.learn_digest(path);
        Ok(())
    }

    /// Retrieves all bytes, twice.
    async fn whole(
        &mut self,
        file: &Found,
        digest: &str,
        size: Option<u64>,
        scratch: &Path,
    ) -> Result<Option<(Vec<u8>, Filled)>> {
        let mut results = Vec::new();
        for attempt in 0..2 {
            let staging = scratch.join("staging");
            begin_anew(&staging).map_err(failed)?;
            let place = Text::of(staging.as_os_str().as_bytes());
            let outcome =
                self.ask("retrieve_file", json!({"path": file.written, "digest": digest, "file": place})).await;
            let bytes = read_back(&staging).map_err(failed)?;
            std::fs::remove_file(&staging).map_err(failed)?;
            let wanted =
                ["the bytes are in `file`, as many as the size says", "retrieved again, the bytes are the same"];
            let before = results.pop();
            let filled = self.expect("retrieve_file", wanted[attempt], &outcome, |result| {
                let filled: Option<Filled> = serde_json::from_value(result.clone()).map_err(|e| e.to_string())?;
                let filled = filled.unwrap_or_default();
                let count = bytes.len() as u64;
                match (filled.size.or(size), &before) {
                    (Some(size), _) if size != count => Err(format!("the size is {size}, and there are {count} bytes")),
                    (_, Some((other, _))) if *other != bytes => Err("the bytes are others".into()),
                    _ if filled.modified.as_ref().is_some_and(|time| time.time().is_none()) => {
                        Err("`modified` is no time".into())
                    }
                    _ => Ok(filled),
                }
            });
            let Some(filled) = filled else { return Ok(None) };
            results.push((bytes, filled));
        }
        Ok(results.pop())
    }

    /// With `ranges`, parts are parts of the whole.
    async fn parts(
        &mut self,
        session: &Session,
        file: &Found,
        digest: &str,
        whole: &[u8],
        scratch: &Path,
    ) -> Result<()> {
        if !session.hello.capabilities.ranges || whole.is_empty() {
            return Ok(());
        }
        let middle = whole.len() / 3..(whole.len() * 2 / 3).max(whole.len() / 3 + 1);
        for part in [0..1, middle, whole.len() - 1..whole.len()] {
            let staging = scratch.join("staging");
            begin_anew(&staging).map_err(failed)?;
            let place = Text::of(staging.as_os_str().as_bytes());
            let params = json!({"path": file.written, "digest": digest, "file": place, "offset": part.start, "length": part.len()});
            let outcome = self.ask("retrieve_file", params).await;
            let bytes = read_back(&staging).map_err(failed)?;
            self.expect(
                "retrieve_file",
                "with `ranges`, a part is that of the whole, written from the start of `file`",
                &outcome,
                |_| {
                    if bytes == whole[part] { Ok(()) } else { Err(format!("{} other bytes are there", bytes.len())) }
                },
            );
        }
        Ok(())
    }

    /// The local digest of a copy is the remote one, and that of another copy is not.
    async fn copy(
        &mut self,
        session: &Session,
        file: &Found,
        digest: &str,
        bytes: &[u8],
        filled: &Filled,
        scratch: &Path,
    ) -> Result<()> {
        let abilities = &session.hello.capabilities;
        let place = scratch.join("copy");
        std::fs::create_dir_all(&place).map_err(failed)?;
        let name = if file.path.name().len() > 255 { b"copy" } else { file.path.name() };
        let copy = place.join(std::ffi::OsStr::from_bytes(name));
        let modified = filled.modified.as_ref().or(file.listed.modified.as_ref()).and_then(|time| time.time());
        for (content, wanted) in [(bytes.to_vec(), true), ([bytes, b"more"].concat(), false)] {
            std::fs::write(&copy, &content).map_err(failed)?;
            if let Some(modified) = modified {
                std::fs::File::options()
                    .write(true)
                    .open(&copy)
                    .and_then(|file| file.set_modified(modified))
                    .map_err(failed)?;
            }
            if let Some(algorithm) = abilities.content_digest {
                let local = super::super::hash::of_bytes(algorithm, &content);
                let wrong = ((local == digest) != wanted).then(|| format!("the bytes give {local}"));
                if wanted {
                    let wants = "with `content_digest`, it is that hash of the bytes, in lower-case hexadecimal";
                    self.find("create_remote_digest", wants, file.path.to_string(), digest.into(), wrong);
                }
                continue;
            }
            let params = json!({"file": Text::of(copy.as_os_str().as_bytes()), "path": file.written, "digest": digest});
            let outcome = self.ask("create_local_digest", params).await;
            if matches!(&outcome.end, Some(Err(refusal)) if refusal.is_unknown_method()) {
                continue;
            }
            let wants = if wanted { "a copy has the remote digest" } else { "a longer copy has not" };
            self.expect("create_local_digest", wants, &outcome, |result| {
                let local: Digested = serde_json::from_value(result.clone()).map_err(|e| e.to_string())?;
                if (local.digest == digest) == wanted {
                    Ok(())
                } else {
                    Err(format!("the remote digest is {digest:?}"))
                }
            });
        }
        std::fs::remove_dir_all(&place).map_err(failed)
    }
}

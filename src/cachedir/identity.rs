//! Whether a directory is a cache of ours. It looks, and changes nothing.

use std::io::{self, Read as _};

use rustix::fs::{FileType, OFlags};

use super::{CacheDir, Named, list, open_dir, open_file};
use crate::path::Printable;

/// The file that marks a directory as ours, and what it holds. Programs for backups know the first line
/// (<https://bford.info/cachedir/>) and leave the directory out; the last one is our own.
pub(super) const TAG: (&str, &[u8]) = (
    "CACHEDIR.TAG",
    b"Signature: 8a477f597d28d172789f06886806bc55\n\
      # This directory can be deleted whenever kitovufs is not running: everything in it can be had again.\n\
      # kitovufs cache directory\n",
);

/// The last line of [`TAG`].
const OWN_LINE: &[u8] = b"# kitovufs cache directory";

/// The first bytes of an SQLite database.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// The words that a process may write into the lock file after its number.
const LOCK_WORDS: [&str; 2] = ["", "tidying up"];

/// The number of found names that a refusal tells.
const NAMES_TOLD: usize = 3;

/// `true` if the directory is tagged, `false` if it is ours without a tag; or why it is not ours.
pub(super) fn examine(dir: &CacheDir) -> io::Result<Result<bool, String>> {
    if read(dir, TAG.0, TAG.1.len() * 2)?.split(|&byte| byte == b'\n').any(|line| line == OWN_LINE) {
        return Ok(Ok(true));
    }
    let names = list(dir)?;
    let strange: Vec<&Named> = names.iter().filter(|named| !may_be_ours(named)).collect();
    let is_ours = strange.is_empty() && (is_empty(dir, &names)? || is_of_earlier_version(dir, &names)?);
    if is_ours {
        return Ok(Ok(false));
    }
    let mut told = if strange.is_empty() { names.iter().collect() } else { strange };
    told.sort_by(|a, b| a.name.cmp(&b.name));
    let mut shown: Vec<String> = told.iter().take(NAMES_TOLD).map(|named| Printable(&named.name).to_string()).collect();
    if told.len() > NAMES_TOLD {
        shown.push(format!("{} more", told.len() - NAMES_TOLD));
    }
    Ok(Err(format!(
        "it holds what is not ours ({}), and is no cache of this program; give cache.dir a directory that is empty or does not exist",
        shown.join(", ")
    )))
}

/// Whether nothing is there but what may stand around in an unused directory.
fn is_empty(dir: &CacheDir, names: &[Named]) -> io::Result<bool> {
    for named in names {
        let is_nothing = match named.name.as_slice() {
            // The caches of sources that are mounted by URL lie below the default one; each is looked at by itself.
            b"urls" | b"lost+found" => named.kind == FileType::Directory,
            b"staging" => is_empty_dir(dir, "staging")?,
            // Written half before the power went.
            b"CACHEDIR.TAG" => TAG.1.starts_with(&read(dir, TAG.0, TAG.1.len() + 1)?),
            _ => false,
        };
        if !is_nothing {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the directory is what a version without tags left, or ours with a damaged tag: no name but ours, a lock of our form, and an
/// index that is a database, unless there is nothing to lose.
fn is_of_earlier_version(dir: &CacheDir, names: &[Named]) -> io::Result<bool> {
    if !names.iter().any(|named| named.name == b"lock") || !is_lock(&read(dir, "lock", 64)?) {
        return Ok(false);
    }
    Ok(read(dir, "index.sqlite", SQLITE.len())? == SQLITE || is_empty_dir(dir, "objects")?)
}

fn may_be_ours(named: &Named) -> bool {
    let name = String::from_utf8_lossy(&named.name);
    let known = [
        "index.sqlite",
        "index.sqlite-wal",
        "index.sqlite-shm",
        "index.sqlite-journal",
        "lock",
        "objects",
        "trash",
        "staging",
        "urls",
        "lost+found",
        TAG.0,
    ];
    known.contains(&name.as_ref()) || name.contains(".set-aside-") || name.contains(".damaged")
}

fn is_lock(content: &[u8]) -> bool {
    let Some((number, word)) =
        content.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok()?.split_once(' '))
    else {
        // It is emptied before it is written.
        return content.is_empty();
    };
    number.parse::<u32>().is_ok() && LOCK_WORDS.contains(&word)
}

fn is_empty_dir(dir: &CacheDir, name: &str) -> io::Result<bool> {
    match open_dir(dir, name.as_bytes()) {
        Ok(dir) => Ok(list(dir)?.is_empty()),
        Err(_) => Ok(false),
    }
}

/// The beginning of a file; nothing of what is no regular file.
fn read(dir: &CacheDir, name: &str, most: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    match open_file(dir, name.as_bytes(), OFlags::RDONLY) {
        Ok(file) => file.take(most as u64).read_to_end(&mut content).map(|_| content),
        Err(e) if super::is_other_type(&e) || e.kind() == io::ErrorKind::NotFound => Ok(content),
        Err(e) => Err(e),
    }
}

//! `Ledger`: what answers have shown of versions that listings cannot tell. It asks nothing.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;

use crate::content::{Algorithm, Hasher};
use crate::digest::Digest;
use crate::path::RemotePath;

/// How many files are remembered. The ones retrieved longest ago are forgotten, and asked about anew.
const MAX_REMEMBERED_FILES: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Begins the digest of a file that was asked for its SHA-1 (see `content::Algorithm`).
const SHA1: &str = "sha1:";

/// Identifies the bytes of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tag {
    /// Their SHA-1: said by the site, or measured.
    Sha1(String),
    /// An identity that is not the site's own (of the web server in front of it, of another host).
    Other(Digest),
}

impl Tag {
    /// Whether both tell the same bytes.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sha1(one), Self::Sha1(other)) => one == other,
            // A version that may still change has another text at each observation.
            (Self::Other(one), Self::Other(other)) => one.base() == other.base(),
            _ => false,
        }
    }

    /// The tag of bytes of which nothing is told.
    pub(super) fn measured(bytes: &[u8]) -> Self {
        let mut hash = Hasher::new(Algorithm::Sha1);
        hash.update(bytes);
        Self::Sha1(hash.finish())
    }

    /// The digest of a file that is told by this tag alone.
    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Sha1(hex) => Digest::new(format!("{SHA1}{hex}")),
            Self::Other(digest) => digest.clone(),
        }
    }

    /// The tag that such a digest is of.
    pub(super) fn of(digest: &Digest) -> Self {
        match digest.as_str().strip_prefix(SHA1) {
            Some(hex) => Self::Sha1(hex.to_owned()),
            None => Self::Other(digest.clone()),
        }
    }
}

/// Remembers, per file, the tag under which a version was seen, and whether listings tell its versions apart.
#[derive(Debug)]
pub(super) struct Ledger {
    seen: Mutex<LruCache<RemotePath, (String, Tag)>>,
    doubted: Mutex<LruCache<RemotePath, String>>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            seen: Mutex::new(LruCache::new(MAX_REMEMBERED_FILES)),
            doubted: Mutex::new(LruCache::new(MAX_REMEMBERED_FILES)),
        }
    }
}

impl Ledger {
    /// The tag under which this version was seen, if it was.
    pub(super) fn tag(&self, path: &RemotePath, digest: &Digest) -> Option<Tag> {
        let mut seen = self.seen.lock();
        seen.get(path).filter(|(base, _)| base == digest.base()).map(|(_, tag)| tag.clone())
    }

    /// Remembers the tag of a version whose answer was found to be of it.
    pub(super) fn learn(&self, path: &RemotePath, digest: &Digest, tag: Tag) {
        self.seen.lock().put(path.clone(), (digest.base().to_owned(), tag));
    }

    /// Notes that what is listed as this version had other bytes than it should. From now on, until it is listed as something else,
    /// the file is asked for its version.
    pub(super) fn doubt(&self, path: &RemotePath, listed: &Digest) {
        self.doubted.lock().put(path.clone(), listed.base().to_owned());
    }

    /// The listed digest, if it tells this file's versions apart.
    pub(super) fn trusted<'a>(&self, path: &RemotePath, listed: &'a Digest) -> Option<&'a Digest> {
        let mut doubted = self.doubted.lock();
        let is_doubted = doubted.get(path).is_some_and(|base| base == listed.base());
        (!is_doubted).then_some(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubt_lasts_until_the_file_is_listed_as_something_else() {
        let (ledger, path) = (Ledger::default(), RemotePath::parse(b"course-2/module-1/a").expect("a path"));
        let [listed, later, other] = ["a;unsettled=1", "a", "b"].map(Digest::new);
        assert_eq!(ledger.trusted(&path, &listed), Some(&listed));
        ledger.doubt(&path, &listed);
        assert_eq!((ledger.trusted(&path, &later), ledger.trusted(&path, &other)), (None, Some(&other)));
        ledger.learn(&path, &listed, Tag::Sha1("x".into()));
        assert_eq!(ledger.tag(&path, &later), Some(Tag::Sha1("x".into())));
        assert_eq!(ledger.tag(&path, &other), None);
    }
}

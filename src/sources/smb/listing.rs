//! Listing one directory of a share, answer by answer. It runs as a task of its own, so that its handle is always closed.

use std::sync::Arc;

use smb2::msg::query_directory::{FileInformationClass, QueryDirectoryFlags};
use smb2::types::status::NtStatus;
use smb2::types::{Command, FileId};
use smb2::{CompoundOp, Frame};
use tokio::sync::mpsc;

use super::requests::{self, Access, Listed, SAME};
use super::session::Session;
use super::stamp::Stamp;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::{Entry, EntryKind, LeftOut};
use crate::sources::purpose::Purpose;
use crate::sources::spelling::in_other_case;

/// How many bytes of names one answer may carry: a directory of a thousand files is one answer.
const ANSWER_BYTES: u32 = 256 * 1024;
/// How many bytes the first answer may carry, which comes with the open.
const FIRST_ANSWER_BYTES: u32 = 64 * 1024;

/// The channel that listed entries go to. `None` ends a listing; a channel that is closed without it has lost entries.
pub(super) type Entries = mpsc::Sender<Result<Option<Vec<Entry>>>>;

/// Lists the directory into `out`, until its receiver is dropped.
pub(super) async fn list(session: &Session, purpose: Purpose<'_>, out: &Entries, left_out: &LeftOut) {
    if let Err(error) = list_into(session, purpose, out, left_out).await {
        // It fails if the receiver was dropped, which needs no answer.
        let _ = out.send(Err(error)).await;
    }
}

/// What the directory's listing shows of this name; `None` if only the listing can tell. The question is a task of its own too.
pub(super) async fn look_up(session: Arc<Session>, dir: RemotePath, name: Vec<u8>) -> Option<Vec<Entry>> {
    let asked = tokio::spawn(async move {
        let left_out = LeftOut::default();
        let purpose = Purpose { op: "list_path", path: &dir };
        Reading::new(&session, purpose, &left_out).alone(&name).await
    });
    asked.await.ok().flatten()
}

async fn list_into(session: &Session, purpose: Purpose<'_>, out: &Entries, left_out: &LeftOut) -> Result<()> {
    let reading = Reading::new(session, purpose, left_out);
    let observed = session.now();
    let (handle, first) = reading.open().await?;
    let result = reading.list_into(handle, first, observed, out).await;
    // A handle that cannot be closed ends with the session.
    let _ = session.request(purpose, Command::Close, &requests::close(handle), 1).await;
    result
}

struct Reading<'a> {
    session: &'a Session,
    purpose: Purpose<'a>,
    class: FileInformationClass,
    left_out: &'a LeftOut,
}

impl<'a> Reading<'a> {
    fn new(session: &'a Session, purpose: Purpose<'a>, left_out: &'a LeftOut) -> Self {
        let class = match session.indexed {
            true => FileInformationClass::FileIdBothDirectoryInformation,
            false => FileInformationClass::FileBothDirectoryInformation,
        };
        Self { session, purpose, class, left_out }
    }

    /// The entry of this name, if there is one; `None` if only the listing can tell.
    ///
    /// Servers answer with their own spelling. One whose file system does not tell case apart may repeat the question's instead: it is asked
    /// in other case too, and believed if the spelling stays.
    async fn alone(&self, name: &[u8]) -> Option<Vec<Entry>> {
        let other = in_other_case(name)?;
        let (found, elsewhere) = tokio::join!(self.named(name), self.named(&other));
        let (found, elsewhere) = (found.ok()?, elsewhere.ok()?);
        let is_one_spelling = found.iter().chain(&elsewhere).all(|entry| entry.name == name);
        let is_sure = is_one_spelling && found.len() >= elsewhere.len() && !self.left_out.is_incomplete();
        is_sure.then_some(found)
    }

    /// What the listing has under this name, in the server's spelling.
    async fn named(&self, name: &[u8]) -> Result<Vec<Entry>> {
        let Self { session, purpose, class, left_out } = *self;
        let observed = session.now();
        let room = session.clamp_listing(FIRST_ANSWER_BYTES);
        let name = str::from_utf8(name).map_err(|_| purpose.error(ErrorKind::NotFound))?;
        let open = requests::open(session.place(purpose)?, Access::List);
        let look = requests::look_for(SAME, class, smb2::encode_name(name).into_owned(), room);
        let close = requests::close(SAME);
        let operations: [CompoundOp<'_>; 3] = [
            session.operation(Command::Create, &open, 1),
            session.operation(Command::QueryDirectory, &look, room),
            session.operation(Command::Close, &close, 1),
        ];
        let answers = session.compound(purpose, &operations).await?;
        requests::opened(purpose, &answers[0])?;
        // The server may leave out what follows a failure.
        if !answers[2].header.status.is_success() {
            session.close(purpose, &answers[0]).await;
        }
        if has_no_more(&answers[1]) {
            return Ok(Vec::new());
        }
        requests::accepted(purpose, Command::QueryDirectory, &answers[1])?;
        let listed = requests::entries(class, &answers[1], left_out);
        Ok(listed.into_iter().filter_map(|listed| entry(purpose, listed, observed, left_out)).collect())
    }

    /// Opens the directory; the handle, and the first names.
    async fn open(&self) -> Result<(FileId, Frame)> {
        let Self { session, purpose, class, .. } = *self;
        let room = session.clamp_listing(FIRST_ANSWER_BYTES);
        let open = requests::open(session.place(purpose)?, Access::List);
        let list = requests::list(SAME, class, QueryDirectoryFlags::RESTART_SCANS, room);
        let operations: [CompoundOp<'_>; 2] =
            [session.operation(Command::Create, &open, 1), session.operation(Command::QueryDirectory, &list, room)];
        let mut answers = session.compound(purpose, &operations).await?;
        let handle = match requests::opened(purpose, &answers[0]) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(session.missing(purpose, error).await),
            opened => opened?,
        };
        Ok((handle, answers.remove(1)))
    }

    async fn list_into(&self, handle: FileId, first: Frame, observed: u64, out: &Entries) -> Result<()> {
        let Self { session, purpose, class, left_out } = *self;
        let room = session.clamp_listing(ANSWER_BYTES);
        let (mut answer, mut observed) = (first, observed);
        loop {
            if has_no_more(&answer) {
                let _ = out.send(Ok(None)).await;
                return Ok(());
            }
            requests::accepted(purpose, Command::QueryDirectory, &answer)?;
            let listed = requests::entries(class, &answer, left_out);
            let entries = listed.into_iter().filter_map(|listed| entry(purpose, listed, observed, left_out));
            let entries = entries.collect();
            if out.send(Ok(Some(entries))).await.is_err() {
                return Ok(());
            }
            observed = session.now();
            let list = requests::list(handle, class, 0, room);
            answer = session.request(purpose, Command::QueryDirectory, &list, room).await?;
        }
    }
}

/// Whether an answer ends the names. A directory without even `.` has nothing that matches.
fn has_no_more(answer: &Frame) -> bool {
    matches!(answer.header.status, NtStatus::NO_MORE_FILES | NtStatus::NO_SUCH_FILE)
}

/// An entry of the purpose's directory; none for what is not shown.
fn entry(purpose: Purpose<'_>, listed: Listed, observed: u64, left_out: &LeftOut) -> Option<Entry> {
    let dir = purpose.path;
    let Ok(wire) = String::from_utf16(&listed.name) else {
        left_out.add_unreadable(String::from_utf16_lossy(&listed.name).as_bytes(), "it is no text");
        return None;
    };
    if matches!(wire.as_str(), "." | "..") {
        return None;
    }
    // Names that Windows forbids are stored with substitutes (MS-FSCC knows none; macOS and Linux agree on them).
    let name = smb2::decode_name(&wire).into_owned().into_bytes();
    let path = left_out.child(dir, wire.as_bytes())?;
    let Listed { size, modified, changed, index, .. } = listed;
    let stamp = Stamp { size, modified, changed, index };
    let bare = Entry {
        name,
        path,
        kind: EntryKind::File,
        permissions: (listed.read_only && !listed.directory).then_some(0o444),
        size: None,
        modified: stamp.modified_time(),
        digest: None,
    };
    Some(match listed {
        Listed { directory: true, .. } => Entry { kind: EntryKind::Directory, ..bare },
        Listed { symlink: true, .. } => bare,
        _ => Entry { size: Some(size), digest: Some(stamp.digest(observed)), ..bare },
    })
}

/// The error of a listing whose task ended without an answer.
pub(super) fn lost(purpose: Purpose<'_>) -> Error {
    purpose.error(ErrorKind::Other).because("the listing ended early")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &[u16]) -> Listed {
        let (directory, read_only, symlink, size) = (false, false, false, 3);
        Listed { name: name.to_vec(), directory, read_only, symlink, size, modified: 1, changed: 1, index: None }
    }

    /// A name as it is shown, and as it is asked for.
    type Shown = (Vec<u8>, Vec<u8>);

    /// How a name is shown, and whether it makes the listing incomplete.
    fn shown(name: &[u16]) -> (Option<Shown>, bool) {
        let dir = RemotePath::parse(b"d").expect("a plain path");
        let purpose = Purpose { op: "list_path", path: &dir };
        let left_out = LeftOut::default();
        let entry = entry(purpose, listed(name), u64::MAX / 2, &left_out);
        (entry.map(|entry| (entry.name, entry.path.as_bytes().to_vec())), left_out.is_incomplete())
    }

    fn wide(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn what_leads_elsewhere_or_is_no_text_is_left_out() {
        for name in [wide("."), wide(".."), wide(""), wide("a\0b")] {
            assert_eq!(shown(&name), (None, false), "{name:?} is no name");
        }
        for name in [wide("a/b"), vec![0xd800], vec![0x61, 0xdc00]] {
            assert_eq!(shown(&name), (None, true), "{name:?} cannot be read");
        }
    }

    #[test]
    fn substitutes_are_shown_as_what_they_stand_for_and_asked_for_as_they_are() {
        let wire = "what\u{f025}";
        let known = |name: &str, path: &str| (Some((name.into(), path.into())), false);
        assert_eq!(shown(&wide(wire)), known("what?", &format!("d/{wire}")));
        assert_eq!(shown(&wide("🦀")), known("🦀", "d/🦀"));
    }

    #[test]
    fn a_link_that_clients_must_follow_has_no_digest() {
        let dir = RemotePath::root();
        let purpose = Purpose { op: "list_path", path: &dir };
        let link = Listed { symlink: true, ..listed(&wide("link")) };
        let entry = entry(purpose, link, 0, &LeftOut::default()).expect("it is shown");
        assert_eq!((entry.size, entry.digest), (None, None));
    }

    #[test]
    fn a_read_only_file_is_shown_as_one_and_a_read_only_directory_is_not() {
        let dir = RemotePath::root();
        let purpose = Purpose { op: "list_path", path: &dir };
        for (read_only, directory, expected) in [(true, false, Some(0o444)), (false, false, None), (true, true, None)] {
            let listed = Listed { read_only, directory, ..listed(&wide("a")) };
            let entry = entry(purpose, listed, 0, &LeftOut::default()).expect("it is shown");
            assert_eq!(entry.permissions, expected);
        }
    }
}

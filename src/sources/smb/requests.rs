//! The few requests that are made of a share, and how their answers are read (MS-SMB2, MS-FSCC). They send nothing.

use bytes::Bytes;
use smb2::Frame;
use smb2::msg::close::{CloseRequest, CloseResponse, SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB};
use smb2::msg::create::{CreateDisposition, CreateRequest, CreateResponse, ImpersonationLevel, ShareAccess};
use smb2::msg::query_directory::{
    FileInformationClass, QueryDirectoryFlags, QueryDirectoryRequest, QueryDirectoryResponse,
};
use smb2::msg::query_info::{InfoType, QueryInfoRequest, QueryInfoResponse};
use smb2::msg::read::{ReadRequest, SMB2_CHANNEL_NONE};
use smb2::pack::{ReadCursor, Unpack};
use smb2::types::flags::FileAccessMask;
use smb2::types::{Command, FileId, OplockLevel};

use super::failure::{failed, refused};
use super::stamp::Stamp;
use crate::error::Result;
use crate::source::LeftOut;
use crate::sources::purpose::Purpose;

/// In a chain: what the request before it opened.
pub(super) const SAME: FileId = FileId::SENTINEL;

const DIRECTORY_FILE: u32 = 0x1;
const NON_DIRECTORY_FILE: u32 = 0x40;
const FILE_ALL_INFORMATION: u8 = 18;
const ATTRIBUTE_READONLY: u32 = 0x1;
const ATTRIBUTE_DIRECTORY: u32 = 0x10;
const ATTRIBUTE_REPARSE_POINT: u32 = 0x400;
const TAG_SYMLINK: u32 = 0xa000_000c;
/// Bytes of a header, from whose start an answer counts its offsets.
const HEADER: usize = 64;
/// Bytes of the answer to a query about a file. It has room for the name, which is not used.
const INFORMATION_BYTES: u32 = 4096;

/// The purpose of an open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// To ask about it, whatever it is.
    Ask,
    /// To list it: only a directory opens.
    List,
    /// To read it: only a file opens.
    Read,
}

/// Opens what is there, and denies other clients nothing.
pub(super) fn open(place: String, access: Access) -> CreateRequest {
    let (rights, options) = match access {
        Access::Ask => (0, 0),
        Access::List => (FileAccessMask::FILE_READ_DATA, DIRECTORY_FILE),
        Access::Read => (FileAccessMask::FILE_READ_DATA, NON_DIRECTORY_FILE),
    };
    CreateRequest {
        requested_oplock_level: OplockLevel::None,
        impersonation_level: ImpersonationLevel::Impersonation,
        desired_access: FileAccessMask::new(
            rights | FileAccessMask::FILE_READ_ATTRIBUTES | FileAccessMask::SYNCHRONIZE,
        ),
        file_attributes: 0,
        share_access: ShareAccess(
            ShareAccess::FILE_SHARE_READ | ShareAccess::FILE_SHARE_WRITE | ShareAccess::FILE_SHARE_DELETE,
        ),
        create_disposition: CreateDisposition::FileOpen,
        create_options: options,
        name: place,
        create_contexts: Vec::new(),
    }
}

/// Asks for everything about what is open.
pub(super) fn query(file_id: FileId) -> QueryInfoRequest {
    QueryInfoRequest {
        info_type: InfoType::File,
        file_info_class: FILE_ALL_INFORMATION,
        output_buffer_length: INFORMATION_BYTES,
        additional_information: 0,
        flags: 0,
        file_id,
        input_buffer: Vec::new(),
    }
}

/// Asks for bytes.
pub(super) fn read(file_id: FileId, offset: u64, length: u32) -> ReadRequest {
    ReadRequest {
        padding: 0x50,
        flags: 0,
        length,
        offset,
        file_id,
        minimum_count: 0,
        channel: SMB2_CHANNEL_NONE,
        remaining_bytes: 0,
        read_channel_info: Vec::new(),
    }
}

/// Asks for the next names of a directory.
pub(super) fn list(file_id: FileId, class: FileInformationClass, flags: u8, room: u32) -> QueryDirectoryRequest {
    QueryDirectoryRequest {
        file_information_class: class,
        flags: QueryDirectoryFlags(flags),
        file_index: 0,
        file_id,
        output_buffer_length: room,
        file_name: "*".to_owned(),
    }
}

/// Asks for the names of a directory that a pattern matches: without wildcards, in any case, and their short names too.
pub(super) fn look_for(
    file_id: FileId,
    class: FileInformationClass,
    pattern: String,
    room: u32,
) -> QueryDirectoryRequest {
    QueryDirectoryRequest { file_name: pattern, ..list(file_id, class, QueryDirectoryFlags::RESTART_SCANS, room) }
}

/// Closes what is open, and asks what it was; see [`stamp_from_close`].
pub(super) fn close(file_id: FileId) -> CloseRequest {
    CloseRequest { flags: SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB, file_id }
}

/// Fails unless the server did what was asked.
pub(super) fn accepted(purpose: Purpose<'_>, command: Command, answer: &Frame) -> Result<()> {
    let status = answer.header.status;
    if status.is_success_or_partial() { Ok(()) } else { Err(refused(purpose, command, status)) }
}

/// The handle that an open gave.
pub(super) fn opened(purpose: Purpose<'_>, answer: &Frame) -> Result<FileId> {
    accepted(purpose, Command::Create, answer)?;
    Ok(unpack::<CreateResponse>(purpose, answer)?.file_id)
}

/// The answer to a query: whether it is a directory, and its stamp.
pub(super) fn stamp_from_query(purpose: Purpose<'_>, answer: &Frame, indexed: bool) -> Result<(bool, Stamp)> {
    accepted(purpose, Command::QueryInfo, answer)?;
    let buffer = unpack::<QueryInfoResponse>(purpose, answer)?.output_buffer;
    let number = |at| u64_at(&buffer, at).ok_or_else(|| purpose.protocol("the server tells too little about a file"));
    let stamp = Stamp {
        size: number(48)?,
        modified: number(16)?,
        changed: number(24)?,
        index: if indexed { Some(number(64)?) } else { None },
    };
    let attributes = u32_at(&buffer, 32).unwrap_or_default();
    Ok((attributes & ATTRIBUTE_DIRECTORY != 0, stamp))
}

/// The stamp that a query told, put right by the close after it.
///
/// While a client has a file open, Samba answers queries and listings with the time that the file had when it was opened,
/// so that changes by others than its clients do not show. What it answers to a close is true.
pub(super) fn stamp_from_close(purpose: Purpose<'_>, stamp: Stamp, answer: &Frame) -> Result<Stamp> {
    if !answer.header.status.is_success() {
        return Ok(stamp);
    }
    let close = unpack::<CloseResponse>(purpose, answer)?;
    if close.flags & SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB == 0 {
        return Ok(stamp);
    }
    let (modified, changed) = (close.last_write_time.0, close.change_time.0);
    Ok(Stamp { size: close.end_of_file, modified, changed, index: stamp.index })
}

/// The bytes that a read gave, not copied.
pub(super) fn bytes(purpose: Purpose<'_>, answer: Frame) -> Result<Bytes> {
    accepted(purpose, Command::Read, &answer)?;
    let body = answer.body;
    let range = || {
        let start = usize::from(*body.get(2)?).checked_sub(HEADER)?;
        let length = usize::try_from(u32_at(&body, 4)?).ok()?;
        Some(start..start.checked_add(length)?).filter(|range| range.end <= body.len())
    };
    let range = range().ok_or_else(|| purpose.protocol("an answer with bytes is cut short"))?;
    Ok(Bytes::from(body).slice(range))
}

/// One name of a directory, as the wire has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// UTF-16, and perhaps not even that.
    pub(super) name: Vec<u16>,
    pub(super) directory: bool,
    /// A file that nobody may write; of a directory it says nothing (MS-FSCC 2.6).
    pub(super) read_only: bool,
    /// A link that the server leaves to its clients to follow: its size and times are not those of a file.
    pub(super) symlink: bool,
    pub(super) size: u64,
    pub(super) modified: u64,
    pub(super) changed: u64,
    pub(super) index: Option<u64>,
}

/// The names that an answer to [`list`] has. Those that cannot be read are left out.
pub(super) fn entries(class: FileInformationClass, answer: &Frame, left_out: &LeftOut) -> Vec<Listed> {
    match QueryDirectoryResponse::unpack(&mut ReadCursor::new(&answer.body)) {
        Ok(response) => parse(class, &response.output_buffer, left_out),
        Err(error) => {
            left_out.add_unreadable(b"", format!("an answer of the server cannot be read: {error}"));
            Vec::new()
        }
    }
}

/// MS-FSCC 2.4.8 and, with an index, 2.4.17. The library's own parser gives up at a name that is not text.
fn parse(class: FileInformationClass, buffer: &[u8], left_out: &LeftOut) -> Vec<Listed> {
    let mut entries = Vec::new();
    let mut rest = buffer;
    while !rest.is_empty() {
        let next = u32_at(rest, 0).and_then(|next| usize::try_from(next).ok());
        // None if the next entry cannot be found.
        let split = match next {
            Some(0) => Some((rest, [].as_slice())),
            Some(next) if next >= name_at(class) => rest.split_at_checked(next).filter(|(_, after)| !after.is_empty()),
            _ => None,
        };
        let (entry, after) = split.unwrap_or((rest, &[]));
        if let Some(listed) = listed(class, entry) {
            entries.push(listed);
        } else if split.is_some() {
            left_out.add_unreadable(b"", "an entry in an answer of the server is cut short");
        }
        if split.is_none() {
            left_out.add_unreadable(b"", "an answer of the server is cut short");
        }
        rest = after;
    }
    entries
}

/// Where the name begins in an entry.
fn name_at(class: FileInformationClass) -> usize {
    if class == FileInformationClass::FileIdBothDirectoryInformation { 104 } else { 94 }
}

/// One entry of a listing, in the bytes before the next one.
fn listed(class: FileInformationClass, entry: &[u8]) -> Option<Listed> {
    let indexed = class == FileInformationClass::FileIdBothDirectoryInformation;
    let name_at = name_at(class);
    let attributes = u32_at(entry, 56)?;
    let length = usize::try_from(u32_at(entry, 60)?).ok()?;
    let name = entry.get(name_at..name_at.checked_add(length)?)?;
    Some(Listed {
        name: name.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect(),
        directory: attributes & ATTRIBUTE_DIRECTORY != 0,
        read_only: attributes & ATTRIBUTE_READONLY != 0,
        symlink: attributes & ATTRIBUTE_REPARSE_POINT != 0 && u32_at(entry, 64)? == TAG_SYMLINK,
        size: u64_at(entry, 40)?,
        modified: u64_at(entry, 24)?,
        changed: u64_at(entry, 32)?,
        index: if indexed { Some(u64_at(entry, 96)?) } else { None },
    })
}

fn unpack<T: Unpack>(purpose: Purpose<'_>, answer: &Frame) -> Result<T> {
    T::unpack(&mut ReadCursor::new(&answer.body)).map_err(|error| failed(purpose, error))
}

fn u32_at(buffer: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(buffer.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(buffer: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(buffer.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use smb2::msg::directory_info::{DirectoryInfoEntry, pack_entries};
    use smb2::pack::FileTime;

    use super::*;
    use crate::fuzz::{Corpus, Input};

    const CLASS: FileInformationClass = FileInformationClass::FileIdBothDirectoryInformation;

    fn packed(names: &[&str]) -> Vec<u8> {
        let entry = |name: &&str| DirectoryInfoEntry {
            last_write_time: FileTime(1),
            change_time: FileTime(2),
            end_of_file: 3,
            file_id: Some(4),
            file_name: (*name).to_owned(),
            ..DirectoryInfoEntry::default()
        };
        pack_entries(CLASS, &names.iter().map(entry).collect::<Vec<_>>()).expect("the class is known")
    }

    /// The names in a listing, as text, and whether there may be others.
    fn names(buffer: &[u8]) -> (Vec<String>, bool) {
        let left_out = LeftOut::default();
        let entries = parse(CLASS, buffer, &left_out);
        let names = entries.iter().map(|entry| String::from_utf16_lossy(&entry.name)).collect();
        (names, left_out.is_incomplete())
    }

    #[test]
    fn a_listing_is_read_field_by_field() {
        let entries = parse(CLASS, &packed(&[".", "grün"]), &LeftOut::default());
        let expected = Listed {
            name: "grün".encode_utf16().collect(),
            directory: false,
            read_only: false,
            symlink: false,
            size: 3,
            modified: 1,
            changed: 2,
            index: Some(4),
        };
        assert_eq!((entries.len(), entries.last()), (2, Some(&expected)));
    }

    #[test]
    fn a_name_that_is_no_text_costs_only_itself() {
        let mut buffer = packed(&["a", "b"]);
        buffer[104..106].copy_from_slice(&0xd800_u16.to_le_bytes());
        assert_eq!(names(&buffer), (vec!["\u{fffd}".to_owned(), "b".to_owned()], false));
    }

    #[test]
    fn an_entry_that_cannot_be_read_makes_a_listing_incomplete_and_costs_no_other() {
        let all = ["abc", "defgh", "ijk"];
        let whole = packed(&all);
        assert_eq!(names(&whole), (all.map(str::to_owned).to_vec(), false));
        let with = |at: usize, number: u32| {
            let mut buffer = whole.clone();
            buffer[at..at + 4].copy_from_slice(&number.to_le_bytes());
            names(&buffer)
        };
        let first = vec!["abc".to_owned()];
        assert_eq!(with(60, 10_000), (vec!["defgh".to_owned(), "ijk".to_owned()], true), "a name that is too long");
        let behind = u32::try_from(whole.len()).expect("it is short");
        for offset in [u32::MAX, behind, 16] {
            assert_eq!(with(0, offset), (first.clone(), true), "an offset that leads to no entry: {offset}");
        }
        for length in 1..whole.len() {
            let (found, is_incomplete) = names(&whole[..length]);
            assert!(
                is_incomplete && all.starts_with(&found.iter().map(String::as_str).collect::<Vec<_>>()),
                "{length}: {found:?}"
            );
        }
    }

    #[test]
    fn fuzz_smb_listing() {
        let corpus = Corpus::of("smb_listing");
        bolero::check!().with_type::<Input>().for_each(|input| {
            let bytes = corpus.bytes(input);
            for class in [CLASS, FileInformationClass::FileBothDirectoryInformation] {
                let _ = parse(class, &bytes, &LeftOut::default());
            }
        });
    }
}

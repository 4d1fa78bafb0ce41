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

/// The names that an answer to [`list`] has.
pub(super) fn entries(purpose: Purpose<'_>, class: FileInformationClass, answer: &Frame) -> Result<Vec<Listed>> {
    let buffer = unpack::<QueryDirectoryResponse>(purpose, answer)?.output_buffer;
    parse(class, &buffer).ok_or_else(|| purpose.protocol("a listing is cut short"))
}

/// MS-FSCC 2.4.8 and, with an index, 2.4.17. The library's own parser gives up at a name that is not text.
fn parse(class: FileInformationClass, buffer: &[u8]) -> Option<Vec<Listed>> {
    let indexed = class == FileInformationClass::FileIdBothDirectoryInformation;
    let name_at: usize = if indexed { 104 } else { 94 };
    let mut entries = Vec::new();
    let mut rest = buffer;
    while !rest.is_empty() {
        let attributes = u32_at(rest, 56)?;
        let length = usize::try_from(u32_at(rest, 60)?).ok()?;
        let name = rest.get(name_at..name_at.checked_add(length)?)?;
        entries.push(Listed {
            name: name.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect(),
            directory: attributes & ATTRIBUTE_DIRECTORY != 0,
            read_only: attributes & ATTRIBUTE_READONLY != 0,
            symlink: attributes & ATTRIBUTE_REPARSE_POINT != 0 && u32_at(rest, 64)? == TAG_SYMLINK,
            size: u64_at(rest, 40)?,
            modified: u64_at(rest, 24)?,
            changed: u64_at(rest, 32)?,
            index: if indexed { Some(u64_at(rest, 96)?) } else { None },
        });
        match usize::try_from(u32_at(rest, 0)?).ok()? {
            0 => break,
            next => rest = rest.get(next..).filter(|rest| !rest.is_empty())?,
        }
    }
    Some(entries)
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

    #[test]
    fn a_listing_is_read_field_by_field() {
        let entries = parse(CLASS, &packed(&[".", "grün"])).expect("it is whole");
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
        let entries = parse(CLASS, &buffer).expect("it is whole");
        assert_eq!(entries.iter().map(|entry| entry.name[0]).collect::<Vec<_>>(), [0xd800, u16::from(b'b')]);
    }

    #[test]
    fn a_listing_that_is_cut_anywhere_is_refused() {
        let whole = packed(&["abc", "defgh"]);
        for length in 1..whole.len() {
            assert_eq!(parse(CLASS, &whole[..length]), None, "{length} of {} bytes", whole.len());
        }
        let mut wild = whole;
        wild[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(parse(CLASS, &wild), None);
    }

    #[test]
    fn fuzz_smb_listing() {
        let corpus = Corpus::of("smb_listing");
        bolero::check!().with_type::<Input>().for_each(|input| {
            let bytes = corpus.bytes(input);
            for class in [CLASS, FileInformationClass::FileBothDirectoryInformation] {
                let _ = parse(class, &bytes);
            }
        });
    }
}

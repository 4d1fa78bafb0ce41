//! The bytes of SFTP version 3 (draft-ietf-secsh-filexfer-02): requests become bytes, bytes become replies. It sends nothing.
//!
//! Paths, names and handles are bytes, whatever they hold. Nothing that a server writes is trusted: every length is checked
//! against what is really there, and no count leads to an allocation of its own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, Bytes};

/// The version that is spoken, the only one that OpenSSH knows.
pub(super) const VERSION: u32 = 3;

/// The longest packet that is accepted, in bytes; OpenSSH's own client refuses longer ones.
pub(super) const MAX_PACKET: usize = 256 * 1024;

/// Bytes that every server must be able to send in one answer.
pub(super) const SAFE_READ: u32 = 32 * 1024;

/// OpenSSH's question for what a server can do at once.
pub(super) const LIMITS: &[u8] = b"limits@openssh.com";

/// Packet types.
mod kind {
    pub(super) const INIT: u8 = 1;
    pub(super) const VERSION: u8 = 2;
    pub(super) const OPEN: u8 = 3;
    pub(super) const CLOSE: u8 = 4;
    pub(super) const READ: u8 = 5;
    pub(super) const LSTAT: u8 = 7;
    pub(super) const FSTAT: u8 = 8;
    pub(super) const OPENDIR: u8 = 11;
    pub(super) const READDIR: u8 = 12;
    pub(super) const REALPATH: u8 = 16;
    pub(super) const STAT: u8 = 17;
    pub(super) const READLINK: u8 = 19;
    pub(super) const STATUS: u8 = 101;
    pub(super) const HANDLE: u8 = 102;
    pub(super) const DATA: u8 = 103;
    pub(super) const NAME: u8 = 104;
    pub(super) const ATTRS: u8 = 105;
    pub(super) const EXTENDED: u8 = 200;
    pub(super) const EXTENDED_REPLY: u8 = 201;
}

/// Status codes. Those above 8 belong to later versions; some servers send them all the same.
pub(super) mod status {
    pub(in crate::sources::sftp) const EOF: u32 = 1;
    pub(in crate::sources::sftp) const NO_SUCH_FILE: u32 = 2;
    pub(in crate::sources::sftp) const PERMISSION_DENIED: u32 = 3;
    pub(in crate::sources::sftp) const NO_CONNECTION: u32 = 6;
    pub(in crate::sources::sftp) const CONNECTION_LOST: u32 = 7;
    pub(in crate::sources::sftp) const UNSUPPORTED: u32 = 8;
    pub(in crate::sources::sftp) const NO_SUCH_PATH: u32 = 10;
    pub(in crate::sources::sftp) const NOT_A_DIRECTORY: u32 = 19;
    pub(in crate::sources::sftp) const IS_A_DIRECTORY: u32 = 24;
}

/// Flags of attributes: which of them follow.
mod has {
    pub(super) const SIZE: u32 = 1;
    pub(super) const OWNER: u32 = 2;
    pub(super) const PERMISSIONS: u32 = 4;
    pub(super) const TIMES: u32 = 8;
    pub(super) const EXTENDED: u32 = 0x8000_0000;
}

/// Opens for reading only; there is no other way to open here.
const READ_ONLY: u32 = 1;

/// A request. There are only those that read: none can change anything at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request<'a> {
    Open(&'a [u8]),
    Close(&'a [u8]),
    Read { handle: &'a [u8], offset: u64, len: u32 },
    Lstat(&'a [u8]),
    Fstat(&'a [u8]),
    OpenDir(&'a [u8]),
    ReadDir(&'a [u8]),
    RealPath(&'a [u8]),
    Stat(&'a [u8]),
    ReadLink(&'a [u8]),
    Limits,
}

impl Request<'_> {
    /// The whole packet, length included.
    pub(super) fn encode(&self, id: u32) -> Vec<u8> {
        use Request as R;
        let (kind, text) = match self {
            R::Open(path) => (kind::OPEN, *path),
            R::Close(handle) => (kind::CLOSE, *handle),
            R::Read { handle, .. } => (kind::READ, *handle),
            R::Lstat(path) => (kind::LSTAT, *path),
            R::Fstat(handle) => (kind::FSTAT, *handle),
            R::OpenDir(path) => (kind::OPENDIR, *path),
            R::ReadDir(handle) => (kind::READDIR, *handle),
            R::RealPath(path) => (kind::REALPATH, *path),
            R::Stat(path) => (kind::STAT, *path),
            R::ReadLink(path) => (kind::READLINK, *path),
            R::Limits => (kind::EXTENDED, LIMITS),
        };
        packet(kind, |out| {
            put_u32(out, id);
            put_string(out, text);
            match self {
                R::Open(_) => {
                    put_u32(out, READ_ONLY);
                    put_u32(out, 0); // no attributes
                }
                R::Read { offset, len, .. } => {
                    out.extend_from_slice(&offset.to_be_bytes());
                    put_u32(out, *len);
                }
                _ => {}
            }
        })
    }
}

/// The first packet of a connection.
pub(super) fn init() -> Vec<u8> {
    packet(kind::INIT, |out| put_u32(out, VERSION))
}

fn packet(kind: u8, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![0, 0, 0, 0, kind];
    body(&mut out);
    let len = u32::try_from(out.len() - 4).expect("a request is far below 4 GiB");
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    put_u32(out, u32::try_from(text.len()).expect("a path is far below 4 GiB"));
    out.extend_from_slice(text);
}

/// An answer of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Status { code: u32, message: Bytes },
    Handle(Bytes),
    Data(Bytes),
    Names(Vec<Name>),
    Attrs(Attrs),
    Extended(Bytes),
}

/// A name in a directory, or a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) name: Bytes,
    pub(super) attrs: Attrs,
}

/// The attributes of a file; owners are of no use here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attrs {
    /// Bytes.
    pub(super) size: Option<u64>,
    /// Type and permission bits as in Unix.
    pub(super) permissions: Option<u32>,
    /// Whole seconds since 1970.
    pub(super) modified: Option<u32>,
}

/// The type of file that attributes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileType {
    Regular,
    Directory,
    Symlink,
    /// A device, a socket, a pipe, or something that the server does not tell.
    Other,
}

impl Attrs {
    pub(super) fn file_type(&self) -> FileType {
        match self.permissions.unwrap_or_default() & 0o170_000 {
            0o100_000 => FileType::Regular,
            0o040_000 => FileType::Directory,
            0o120_000 => FileType::Symlink,
            _ => FileType::Other,
        }
    }

    /// The time of the last change.
    pub(super) fn modified(&self) -> Option<SystemTime> {
        self.modified.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds.into()))
    }
}

/// Bytes that are no packet of this protocol, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Reads the answer to `init`: whether the server answers the question for its limits.
pub(super) fn hello(packet: Bytes) -> Result<bool, Malformed> {
    let mut reader = Reader(packet);
    if reader.u8()? != kind::VERSION {
        return Err(Malformed("the server does not begin with its version"));
    }
    if reader.u32()? < VERSION {
        return Err(Malformed("the server speaks an older version of the protocol than 3"));
    }
    let mut limits = false;
    while !reader.0.is_empty() {
        let (name, _) = (reader.string()?, reader.string()?);
        limits |= name == LIMITS;
    }
    Ok(limits)
}

/// How many bytes a server sends in one answer to a read, from its answer to [`Request::Limits`].
pub(super) fn max_read(answer: Bytes) -> Result<u64, Malformed> {
    let mut reader = Reader(answer);
    reader.u64()?;
    reader.u64()
}

impl Reply {
    /// Reads one packet, without its length: the id of the request that it answers, and the answer.
    pub(super) fn decode(packet: Bytes) -> Result<(u32, Self), Malformed> {
        let mut reader = Reader(packet);
        let (kind, id) = (reader.u8()?, reader.u32()?);
        let reply = match kind {
            // The message came with version 3; servers that learnt the protocol earlier leave it out.
            kind::STATUS => Self::Status { code: reader.u32()?, message: reader.string().unwrap_or_default() },
            kind::HANDLE => Self::Handle(reader.string()?),
            kind::DATA => Self::Data(reader.string()?),
            kind::NAME => Self::Names(reader.names()?),
            kind::ATTRS => Self::Attrs(reader.attrs()?),
            kind::EXTENDED_REPLY => Self::Extended(reader.0),
            _ => return Err(Malformed("the server sent a packet of an unknown type")),
        };
        Ok((id, reply))
    }
}

struct Reader(Bytes);

impl Reader {
    fn need(&self, len: usize) -> Result<(), Malformed> {
        if self.0.len() < len { Err(Malformed("the server sent a packet that ends early")) } else { Ok(()) }
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.need(4)?;
        Ok(self.0.get_u32())
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.need(8)?;
        Ok(self.0.get_u64())
    }

    fn string(&mut self) -> Result<Bytes, Malformed> {
        let len = usize::try_from(self.u32()?).map_err(|_| Malformed("the server sent a length beyond all bounds"))?;
        self.need(len)?;
        Ok(self.0.split_to(len))
    }

    fn names(&mut self) -> Result<Vec<Name>, Malformed> {
        let count = self.u32()?;
        let mut names = Vec::new();
        for _ in 0..count {
            let (name, _as_ls_shows_it) = (self.string()?, self.string()?);
            names.push(Name { name, attrs: self.attrs()? });
        }
        Ok(names)
    }

    fn attrs(&mut self) -> Result<Attrs, Malformed> {
        let flags = self.u32()?;
        let mut attrs = Attrs::default();
        if flags & has::SIZE != 0 {
            attrs.size = Some(self.u64()?);
        }
        if flags & has::OWNER != 0 {
            self.u64()?;
        }
        if flags & has::PERMISSIONS != 0 {
            attrs.permissions = Some(self.u32()?);
        }
        if flags & has::TIMES != 0 {
            self.u32()?;
            attrs.modified = Some(self.u32()?);
        }
        if flags & has::EXTENDED != 0 {
            for _ in 0..self.u32()? {
                let _ = (self.string()?, self.string()?);
            }
        }
        Ok(attrs)
    }
}

#[cfg(test)]
pub(super) mod tests;

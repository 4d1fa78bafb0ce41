//! The other end of the codec, for tests only: requests are read, replies are written.

use proptest::prelude::*;

use super::*;

impl Reply {
    /// The whole packet, length included.
    pub(in crate::sources::sftp) fn encode(&self, id: u32) -> Vec<u8> {
        let kind = match self {
            Self::Status { .. } => kind::STATUS,
            Self::Handle(_) => kind::HANDLE,
            Self::Data(_) => kind::DATA,
            Self::Names(_) => kind::NAME,
            Self::Attrs(_) => kind::ATTRS,
            Self::Extended(_) => kind::EXTENDED_REPLY,
        };
        packet(kind, |out| {
            put_u32(out, id);
            match self {
                Self::Status { code, message } => {
                    put_u32(out, *code);
                    put_string(out, message);
                    put_string(out, b"en");
                }
                Self::Handle(bytes) | Self::Data(bytes) => put_string(out, bytes),
                Self::Names(names) => {
                    put_u32(out, u32::try_from(names.len()).expect("few"));
                    for name in names {
                        put_string(out, &name.name);
                        put_string(out, b"-rw-r--r-- 1 a b");
                        put_attrs(out, name.attrs);
                    }
                }
                Self::Attrs(attrs) => put_attrs(out, *attrs),
                Self::Extended(bytes) => out.extend_from_slice(bytes),
            }
        })
    }
}

fn put_attrs(out: &mut Vec<u8>, attrs: Attrs) {
    // Owner and extensions are always there, and always skipped.
    let mut flags = has::OWNER | has::EXTENDED;
    for (there, flag) in [
        (attrs.size.is_some(), has::SIZE),
        (attrs.permissions.is_some(), has::PERMISSIONS),
        (attrs.modified.is_some(), has::TIMES),
    ] {
        flags |= if there { flag } else { 0 };
    }
    put_u32(out, flags);
    out.extend(attrs.size.iter().flat_map(|size| size.to_be_bytes()));
    out.extend([0; 8]);
    out.extend(attrs.permissions.iter().flat_map(|bits| bits.to_be_bytes()));
    out.extend(attrs.modified.iter().flat_map(|time| [time.to_be_bytes(), time.to_be_bytes()].concat()));
    put_u32(out, 1);
    put_string(out, b"name@example.org");
    put_string(out, b"value");
}

/// The answer to `init`, with the question for limits on offer or not.
pub(in crate::sources::sftp) fn version(limits: bool) -> Vec<u8> {
    packet(kind::VERSION, |out| {
        put_u32(out, VERSION);
        if limits {
            put_string(out, LIMITS);
            put_string(out, b"1");
        }
    })
}

/// The content of a request, without its length: id, type, path or handle, and the rest.
pub(in crate::sources::sftp) fn read_request(packet: &[u8]) -> (u32, u8, Vec<u8>, Bytes) {
    let mut reader = Reader(Bytes::copy_from_slice(packet));
    let (kind, id) = (reader.u8().expect("a type"), reader.u32().expect("an id"));
    let text = reader.string().expect("a path or handle");
    (id, kind, text.to_vec(), reader.0)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn attrs() -> impl Strategy<Value = Attrs> {
    (any::<Option<u64>>(), any::<Option<u32>>(), any::<Option<u32>>()).prop_map(|(size, permissions, modified)| Attrs {
        size,
        permissions,
        modified,
    })
}

fn reply() -> impl Strategy<Value = Reply> {
    let name = (bytes(), attrs()).prop_map(|(name, attrs)| Name { name, attrs });
    prop_oneof![
        (any::<u32>(), bytes()).prop_map(|(code, message)| Reply::Status { code, message }),
        bytes().prop_map(Reply::Handle),
        bytes().prop_map(Reply::Data),
        proptest::collection::vec(name, 0..5).prop_map(Reply::Names),
        attrs().prop_map(Reply::Attrs),
        bytes().prop_map(Reply::Extended),
    ]
}

proptest! {
    #[test]
    fn a_reply_is_read_as_it_was_written(id: u32, reply in reply()) {
        let packet = Bytes::from(reply.encode(id)).slice(4..);
        prop_assert_eq!(Reply::decode(packet), Ok((id, reply)));
    }

    #[test]
    fn a_reply_that_is_cut_short_is_refused_or_has_nothing_made_up(id: u32, reply in reply(), cut in 1_usize..60) {
        let packet = Bytes::from(reply.encode(id));
        let end = packet.len().saturating_sub(cut).max(4);
        match Reply::decode(packet.slice(4..end)) {
            Err(_) => {}
            // Cut where the packet's length is the only one, or where a part is optional.
            Ok((_, Reply::Extended(_) | Reply::Status { .. })) => {}
            Ok((_, other)) => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn garbage_is_never_more_than_an_error(packet in proptest::collection::vec(any::<u8>(), 0..200), kind in 100_u8..106) {
        let _ = hello(Bytes::from(packet.clone()));
        let _ = max_read(Bytes::from(packet.clone()));
        let _ = Reply::decode(Bytes::from(packet.clone()));
        let _ = Reply::decode(Bytes::from([&[kind], packet.as_slice()].concat()));
    }
}

#[test]
fn a_count_without_names_allocates_nothing() {
    let packet = [&[kind::NAME, 0, 0, 0, 1], u32::MAX.to_be_bytes().as_slice()].concat();
    assert!(Reply::decode(Bytes::from(packet)).is_err());
    let counts = [has::EXTENDED, u32::MAX].map(u32::to_be_bytes).concat();
    assert!(Reply::decode(Bytes::from([&[kind::ATTRS, 0, 0, 0, 1], counts.as_slice()].concat())).is_err());
}

#[test]
fn requests_are_the_bytes_that_the_draft_wants() {
    let read = Request::Read { handle: b"\xff\0h", offset: 1 << 32, len: 255 }.encode(7);
    assert_eq!(read, b"\0\0\0\x18\x05\0\0\0\x07\0\0\0\x03\xff\0h\0\0\0\x01\0\0\0\0\0\0\0\xff");
    assert_eq!(Request::Open(b"/a").encode(1), b"\0\0\0\x13\x03\0\0\0\x01\0\0\0\x02/a\0\0\0\x01\0\0\0\0");
    assert_eq!(Request::Limits.encode(2)[..10], *b"\0\0\0\x1b\xc8\0\0\0\x02\0");
    assert_eq!(init(), b"\0\0\0\x05\x01\0\0\0\x03");
}

#[test]
fn a_hello_is_understood_or_refused() {
    assert_eq!(hello(Bytes::from(version(true)).slice(4..)), Ok(true));
    assert_eq!(hello(Bytes::from(version(false)).slice(4..)), Ok(false));
    assert!(hello(Bytes::from_static(b"\x02\0\0\0\x02")).is_err(), "version 2");
    assert!(hello(Bytes::from_static(b"This service allows sftp connections only.")).is_err());
}

#[test]
fn fuzz_sftp() {
    let corpus = crate::fuzz::Corpus::of("sftp");
    bolero::check!().with_type::<crate::fuzz::Input>().for_each(|input| {
        let bytes = Bytes::from(corpus.bytes(input));
        let _ = (hello(bytes.clone()), max_read(bytes.clone()));
        if let Ok((_, Reply::Attrs(attrs))) = Reply::decode(bytes) {
            let _ = (attrs.file_type(), attrs.modified());
        }
    });
}

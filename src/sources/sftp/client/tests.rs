//! The client against a server that answers what a test tells it to.

use tokio::io::DuplexStream;

use tokio::io::AsyncReadExt as _;

use super::super::codec::tests::{read_request, version};
use super::*;

const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;

/// A client, and its other end after the exchange of versions.
pub(in crate::sources::sftp) async fn pair() -> (Client, DuplexStream) {
    let (ours, mut theirs) = tokio::io::duplex(1 << 20);
    let (reader, writer) = tokio::io::split(ours);
    let server = tokio::spawn(async move {
        theirs.read_exact(&mut [0; 9]).await.expect("a greeting");
        theirs.write_all(&version(false)).await.expect("an answer");
        theirs
    });
    let client = Client::start(reader, writer).await.expect("a server that greets");
    (client, server.await.expect("the server greets"))
}

/// The next question: number, type, and path or handle.
pub(in crate::sources::sftp) async fn asked(server: &mut DuplexStream) -> (u32, u8, Vec<u8>) {
    let (id, kind, text, _) = whole(server).await;
    (id, kind, text)
}

/// The same, and what follows.
pub(in crate::sources::sftp) async fn whole(server: &mut DuplexStream) -> (u32, u8, Vec<u8>, Bytes) {
    let len = server.read_u32().await.expect("a question");
    let mut packet = vec![0; len as usize];
    server.read_exact(&mut packet).await.expect("a whole question");
    read_request(&packet)
}

pub(in crate::sources::sftp) async fn answer(server: &mut DuplexStream, id: u32, reply: Reply) {
    server.write_all(&reply.encode(id)).await.expect("the client listens");
}

fn handle(bytes: &'static [u8]) -> Reply {
    Reply::Handle(Bytes::from_static(bytes))
}

#[tokio::test]
async fn answers_find_their_questions_in_any_order() {
    let (client, mut server) = pair().await;
    let (first, second) = (client.stat(b"first"), client.stat(b"second"));
    let (one, two) = (asked(&mut server).await, asked(&mut server).await);
    assert_eq!((one.2.as_slice(), two.2.as_slice()), (b"first".as_slice(), b"second".as_slice()));
    let attrs = |size| Attrs { size: Some(size), ..Attrs::default() };
    answer(&mut server, two.0, Reply::Attrs(attrs(2))).await;
    answer(&mut server, one.0, Reply::Attrs(attrs(1))).await;
    assert_eq!(first.await.expect("answered").size, Some(1));
    assert_eq!(second.await.expect("answered").size, Some(2));
}

#[tokio::test]
async fn handles_are_handed_back_byte_for_byte_and_closed_once() {
    let (client, mut server) = pair().await;
    let open = client.open(b"/a");
    let (id, kind, _) = asked(&mut server).await;
    assert_eq!(kind, OPEN);
    answer(&mut server, id, handle(b"\xff\x00\x80")).await;
    let open = open.await.expect("opened");
    let read = client.read(&open, 0, 10);
    let (id, kind, text) = asked(&mut server).await;
    assert_eq!((kind, text.as_slice()), (READ, b"\xff\x00\x80".as_slice()));
    answer(&mut server, id, Reply::Data(Bytes::from_static(b"0123"))).await;
    assert_eq!(read.await.expect("bytes"), b"0123".as_slice());
    drop(open);
    let (_, kind, text) = asked(&mut server).await;
    assert_eq!((kind, text.as_slice()), (CLOSE, b"\xff\x00\x80".as_slice()));
}

#[tokio::test]
async fn a_handle_that_nobody_waits_for_any_more_is_closed() {
    let (client, mut server) = pair().await;
    drop(client.open(b"/a"));
    let (id, ..) = asked(&mut server).await;
    answer(&mut server, id, handle(b"h")).await;
    assert_eq!(asked(&mut server).await.1, CLOSE);
}

#[tokio::test]
async fn a_lost_connection_is_told_to_everybody_who_waits_or_comes_later() {
    let (client, server) = pair().await;
    let waiting = client.stat(b"/a");
    drop(server);
    assert!(matches!(waiting.await, Err(Failure::Lost(_))));
    assert!(client.lost().is_some());
    assert!(matches!(client.stat(b"/b").await, Err(Failure::Lost(_))));
}

#[tokio::test]
async fn a_server_that_breaks_the_protocol_is_not_listened_to_any_longer() {
    let hostile: [&[u8]; 5] = [
        b"\xff\xff\xff\xff",                   // longer than any packet
        b"\0\0\0\0",                           // nothing at all
        b"\0\0\0\x05\x69\0\0\x09\x09",         // an answer to nothing that was asked
        b"\0\0\0\x02\x69\0",                   // too short
        b"\0\0\0\x09\x2a\0\0\0\x01\0\0\0\0\0", // of no known type
    ];
    for bytes in hostile {
        let (client, mut server) = pair().await;
        let waiting = client.stat(b"/a");
        server.write_all(bytes).await.expect("the client listens");
        assert!(matches!(waiting.await, Err(Failure::Broken(_))), "{bytes:?}");
        assert!(client.lost().is_some());
    }
}

#[tokio::test]
async fn what_is_no_sftp_server_is_refused() {
    for greeting in [b"Welcome to this server!".as_slice(), b"", b"\0\0\0\x05\x02\0\0\0\x02"] {
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        let (reader, writer) = tokio::io::split(ours);
        theirs.write_all(greeting).await.expect("the client listens");
        theirs.shutdown().await.expect("it can be ended");
        assert!(Client::start(reader, writer).await.is_err(), "{greeting:?}");
    }
}

#[tokio::test]
async fn an_answer_of_another_kind_is_an_error_of_that_question_alone() {
    let (client, mut server) = pair().await;
    let (stat, other) = (client.stat(b"/a"), client.stat(b"/b"));
    let (one, two) = (asked(&mut server).await.0, asked(&mut server).await.0);
    answer(&mut server, one, Reply::Data(Bytes::new())).await;
    answer(&mut server, two, Reply::Attrs(Attrs::default())).await;
    assert!(matches!(stat.await, Err(Failure::Broken(_))));
    assert!(other.await.is_ok());
}

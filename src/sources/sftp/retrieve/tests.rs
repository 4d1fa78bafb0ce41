//! Reads against a server that answers with less, or with nonsense.

use bytes::Buf as _;
use tokio::io::DuplexStream;

use super::super::client::tests::{answer, asked, pair, whole};
use super::super::codec::{Reply, status};
use super::*;

const READ: u8 = 5;
const FSTAT: u8 = 8;

/// Answers reads of a file, one by one, with at most `most` bytes, until the client has gone; what was asked, in order.
async fn serve(mut server: DuplexStream, content: &'static [u8], most: usize, questions: usize) -> Vec<(u8, u64)> {
    let mut seen = Vec::new();
    for _ in 0..questions {
        let (id, kind, _, mut rest) = whole(&mut server).await;
        let offset = if kind == READ { rest.get_u64() } else { 0 };
        seen.push((kind, offset));
        let reply = match kind {
            FSTAT => Reply::Attrs(Attrs { size: Some(content.len() as u64), ..Attrs::default() }),
            _ => {
                let (from, len) = (offset as usize, rest.get_u32() as usize);
                let end = content.len().min(from + len.min(most));
                match content.get(from..end) {
                    Some(bytes) if !bytes.is_empty() => Reply::Data(Bytes::from_static(bytes)),
                    _ => Reply::Status { code: status::EOF, message: Bytes::new() },
                }
            }
        };
        answer(&mut server, id, reply).await;
    }
    seen
}

async fn opened(client: &Client, server: &mut DuplexStream) -> Handle {
    let open = client.open(b"/a");
    let (id, ..) = asked(server).await;
    answer(server, id, Reply::Handle(Bytes::from_static(b"h"))).await;
    open.await.expect("it is open")
}

async fn all(reads: &mut Reads<'_>) -> Result<Vec<u8>, Failure> {
    reads.ask();
    let mut bytes = Vec::new();
    while let Some(chunk) = reads.next().await {
        bytes.extend(chunk?.0.concat());
    }
    Ok(bytes)
}

#[tokio::test]
async fn what_a_server_leaves_out_is_asked_for_again_and_so_are_the_attributes() {
    let (client, mut server) = pair().await;
    let handle = opened(&client, &mut server).await;
    let serving = tokio::spawn(serve(server, b"0123456789", 4, 6));
    let mut reads = Reads::begin(&client, &handle, 1..10);
    assert_eq!(all(&mut reads).await.expect("the bytes"), b"123456789");
    // After the last byte of every read comes the question for the attributes.
    assert_eq!(serving.await.expect("served"), [(READ, 1), (FSTAT, 0), (READ, 5), (FSTAT, 0), (READ, 9), (FSTAT, 0)]);
}

#[tokio::test]
async fn a_file_that_has_become_shorter_shows() {
    let (client, mut server) = pair().await;
    let handle = opened(&client, &mut server).await;
    tokio::spawn(serve(server, b"01234", 100, 4));
    let mut reads = Reads::begin(&client, &handle, 2..10);
    assert!(all(&mut reads).await.expect_err("the end came early").is_eof());
}

#[tokio::test]
async fn more_or_fewer_bytes_than_possible_are_refused() {
    for bytes in [b"".as_slice(), b"123"] {
        let (client, mut server) = pair().await;
        let handle = opened(&client, &mut server).await;
        let mut reads = Reads::begin(&client, &handle, 0..2);
        reads.ask();
        let (id, ..) = asked(&mut server).await;
        answer(&mut server, id, Reply::Data(Bytes::from_static(bytes))).await;
        assert!(matches!(reads.next().await, Some(Err(Failure::Broken(_)))));
    }
}

#[tokio::test]
async fn retrievals_share_what_may_be_under_way() {
    let (client, mut server) = pair().await;
    let handle = opened(&client, &mut server).await;
    let size = 1 << 40;
    let mut one = Reads::begin(&client, &handle, 0..size);
    one.ask();
    assert_eq!(one.asked.len(), MAX_READS);
    let many: Vec<_> = (0..7).map(|_| Reads::begin(&client, &handle, 0..size)).collect();
    let mut late = Reads::begin(&client, &handle, 0..size);
    late.ask();
    assert_eq!(late.asked.len(), MAX_READS_OF_ALL / 9);
    drop(many);
    late.ask();
    assert_eq!(late.asked.len(), MAX_READS);
}

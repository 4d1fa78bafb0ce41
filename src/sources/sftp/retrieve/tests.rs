//! Reads against a server that answers with less, or with nonsense.

use bytes::Buf as _;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

use super::super::client::tests::{answer, asked, pair, whole};
use super::super::codec::{Name, Reply, status};
use super::super::kept;
use super::*;
use crate::digest::Digest;
use crate::path::RemotePath;

const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const REALPATH: u8 = 16;

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

/// A connection to a server that a test plays.
async fn connected() -> (Arc<Connection>, DuplexStream) {
    let (client, server) = pair().await;
    (Arc::new(Connection::of_test(client)), server)
}

async fn opened(connection: &Connection, server: &mut DuplexStream) -> Arc<Handle> {
    let open = connection.client.open(b"/a");
    let (id, ..) = asked(server).await;
    answer(server, id, Reply::Handle(Bytes::from_static(b"h"))).await;
    Arc::new(open.await.expect("it is open"))
}

async fn all(reads: &mut Reads) -> Result<Vec<u8>, Failure> {
    reads.ask(8);
    let mut bytes = Vec::new();
    while let Some(chunk) = reads.next(8).await {
        bytes.extend(chunk?.0.concat());
    }
    Ok(bytes)
}

#[tokio::test]
async fn what_a_server_leaves_out_is_asked_for_again_and_so_are_the_attributes() {
    let (connection, mut server) = connected().await;
    let handle = opened(&connection, &mut server).await;
    let serving = tokio::spawn(serve(server, b"0123456789", 4, 6));
    let mut reads = Reads::begin(&connection, handle, 1..10);
    assert_eq!(all(&mut reads).await.expect("the bytes"), b"123456789");
    // After the last byte of every read comes the question for the attributes.
    assert_eq!(serving.await.expect("served"), [(READ, 1), (FSTAT, 0), (READ, 5), (FSTAT, 0), (READ, 9), (FSTAT, 0)]);
}

#[tokio::test]
async fn a_file_that_has_become_shorter_shows() {
    let (connection, mut server) = connected().await;
    let handle = opened(&connection, &mut server).await;
    tokio::spawn(serve(server, b"01234", 100, 4));
    let mut reads = Reads::begin(&connection, handle, 2..10);
    assert!(all(&mut reads).await.expect_err("the end came early").is_eof());
}

#[tokio::test]
async fn more_or_fewer_bytes_than_possible_are_refused() {
    for bytes in [b"".as_slice(), b"123"] {
        let (connection, mut server) = connected().await;
        let handle = opened(&connection, &mut server).await;
        let mut reads = Reads::begin(&connection, handle, 0..2);
        reads.ask(8);
        let (id, ..) = asked(&mut server).await;
        answer(&mut server, id, Reply::Data(Bytes::from_static(bytes))).await;
        assert!(matches!(reads.next(8).await, Some(Err(Failure::Broken(_)))));
    }
}

async fn pool() -> (Arc<Pool>, DuplexStream) {
    let (connection, server) = connected().await;
    (Pool::of(connection, None), server)
}

/// A server with files of ten bytes that answers so many questions at once, only when all of them have arrived; what was asked.
fn answering(mut server: DuplexStream, at_once: Vec<usize>, modified: u32) -> JoinHandle<(DuplexStream, Vec<Vec<u8>>)> {
    tokio::spawn(async move {
        let mut seen = Vec::new();
        for questions in at_once {
            let mut batch = Vec::new();
            for _ in 0..questions {
                batch.push(whole(&mut server).await);
            }
            seen.push(batch.iter().map(|(_, kind, ..)| *kind).collect());
            for (id, kind, path, mut rest) in batch {
                let attrs = Attrs { size: Some(10), permissions: Some(0o100_644), modified: Some(modified) };
                let reply = match kind {
                    OPEN => Reply::Handle(Bytes::from_static(b"h")),
                    LSTAT | FSTAT => Reply::Attrs(attrs),
                    REALPATH => Reply::Names(vec![Name { name: path.into(), attrs: Attrs::default() }]),
                    CLOSE => Reply::Status { code: 0, message: Bytes::new() },
                    _ => {
                        let (from, len) = (rest.get_u64() as usize, rest.get_u32() as usize);
                        Reply::Data(Bytes::from_static(&b"0123456789"[from..from + len]))
                    }
                };
                answer(&mut server, id, reply).await;
            }
        }
        (server, seen)
    })
}

async fn part(connections: &Arc<Pool>, name: &str, modified: u32, range: Range<u64>) -> Result<Vec<u8>> {
    let (path, digest) =
        (RemotePath::parse(name.as_bytes()).expect("a path"), Digest::new(format!("stat:10-{modified}")));
    let mut out = Vec::new();
    retrieve(connections, &Retrieval::new(&path, &digest, 10, range), &mut out).await?;
    Ok(out)
}

const THEN: u32 = 1_700_000_000;

#[tokio::test]
async fn a_second_part_of_a_file_takes_one_round_trip() {
    let (connections, server) = pool().await;
    let serving = answering(server, vec![2, 3, 5, 5], THEN);
    assert_eq!(part(&connections, "a", THEN, 0..2).await.expect("opened"), b"01");
    assert_eq!(part(&connections, "a", THEN, 4..6).await.expect("left open"), b"45");
    assert_eq!(part(&connections, "a", THEN, 8..10).await.expect("left open"), b"89");
    let (_, seen) = serving.await.expect("served");
    let again = vec![REALPATH, LSTAT, FSTAT, READ, FSTAT];
    assert_eq!(seen, [vec![REALPATH, OPEN], vec![FSTAT, READ, FSTAT], again.clone(), again]);
}

#[tokio::test]
async fn a_file_read_as_a_whole_is_closed_at_once() {
    let (connections, server) = pool().await;
    let serving = answering(server, vec![2, 3, 1], THEN);
    assert_eq!(part(&connections, "a", THEN, 0..10).await.expect("opened"), b"0123456789");
    assert_eq!(serving.await.expect("served").1[2], [CLOSE]);
}

#[tokio::test]
async fn a_file_left_open_is_not_read_once_its_path_leads_to_another_version() {
    let (connections, server) = pool().await;
    let serving = answering(server, vec![2, 3], THEN);
    part(&connections, "a", THEN, 0..2).await.expect("opened");
    let (server, _) = serving.await.expect("served");
    // The file changes: what is left open is of no more use, and neither is what is opened anew.
    let serving = answering(server, vec![5, 3, 3, 1], THEN + 1);
    let error = part(&connections, "a", THEN, 4..6).await.expect_err("changed");
    assert_eq!(error.kind(), ErrorKind::Changed);
    let (_, seen) = serving.await.expect("served");
    assert_eq!(seen[0], [REALPATH, LSTAT, FSTAT, READ, FSTAT]);
    assert_eq!(seen[1], [CLOSE, REALPATH, OPEN]);
    assert_eq!(seen[3], [CLOSE]);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_nobody_reads_for_a_while_is_closed() {
    let (connections, server) = pool().await;
    let serving = answering(server, vec![2, 3, 1, 2, 3], THEN);
    part(&connections, "a", THEN, 0..2).await.expect("opened");
    tokio::time::sleep(2 * kept::IDLE).await;
    part(&connections, "a", THEN, 2..4).await.expect("opened again");
    let (_, seen) = serving.await.expect("served");
    assert_eq!((&seen[2], &seen[3]), (&vec![CLOSE], &vec![REALPATH, OPEN]));
}

#[tokio::test]
async fn only_so_many_files_are_left_open() {
    let (connections, server) = pool().await;
    let at_once = [2, 3].repeat(kept::MOST + 1).into_iter().chain([1]).collect();
    let serving = answering(server, at_once, THEN);
    for number in 0..=kept::MOST {
        part(&connections, &number.to_string(), THEN, 0..2).await.expect("opened");
    }
    assert_eq!(serving.await.expect("served").1.last(), Some(&vec![CLOSE]));
}

#[tokio::test]
async fn what_a_lost_additional_connection_owes_the_first_one_brings() {
    let (connections, server) = pool().await;
    let (additional, lost) = connected().await;
    connections.connected(vec![Ok(additional)]);
    let other = RemotePath::parse(b"other").expect("a path");
    let stamp = Stamp::parse(&Digest::new(format!("stat:10-{THEN}"))).expect("a stamp");
    let _elsewhere = connections.lease(&other, stamp, 1);
    let (serving, ending) = (answering(server, vec![2, 3], THEN), answering(lost, vec![2], THEN));
    let (read, ended) = tokio::join!(part(&connections, "a", THEN, 2..9), async { ending.await.expect("it ends").1 });
    assert_eq!(ended, [[REALPATH, OPEN]], "it was asked, and ended before it answered");
    assert_eq!(read.expect("the bytes"), b"2345678");
    assert_eq!(serving.await.expect("served").1, [vec![REALPATH, OPEN], vec![FSTAT, READ, FSTAT]]);
}

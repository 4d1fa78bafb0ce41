//! Bytes that are shown before they are confirmed: which, and what comes of them if the file is overwritten in that moment.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use kitovufs::error::{ErrorKind, Result};
use kitovufs::source::{Retrieval, Sink, Source, Urgency};

use crate::kit::liar::{Answer, For, Liar, Speaks};
use crate::kit::proxy::{Link, Proxy};
use crate::kit::servers::{S3, Webdav, with_port};
use crate::kit::web::Web;
use crate::real::served;
use crate::{remote, source};

/// More than is ever shown.
const SIZE: usize = 3 << 20;

/// An hour after everything was changed that this server tells of.
const AN_HOUR_LATER: &str = "Sun, 06 Nov 1994 09:49:37 GMT";

/// Notes what is shown and what is written, and does something in between.
#[derive(Default)]
struct Noting {
    shown: Vec<u8>,
    written: Vec<u8>,
    then: Option<Box<dyn FnOnce() + Send>>,
}

#[async_trait]
impl Sink for Noting {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.written.extend_from_slice(&bytes);
        Ok(())
    }

    fn preview(&mut self, bytes: &mut Vec<Bytes>) -> bool {
        self.shown = bytes.concat();
        if let Some(then) = self.then.take() {
            then();
        }
        true
    }
}

/// Retrieves these bytes of `file`, which has `size`.
async fn retrieve(
    source: &dyn Source,
    size: usize,
    bytes: std::ops::Range<u64>,
    out: &mut Noting,
) -> Result<(), ErrorKind> {
    let path = remote("file");
    let digest = source.create_remote_digest(&path).await.unwrap().digest;
    let wanted = Retrieval::new(&path, &digest, size as u64, bytes);
    source.retrieve_file(&wanted, out).await.map(drop).map_err(|error| error.kind())
}

/// How many bytes are shown of so many, by a server that changes its answers with bytes so; all must arrive.
async fn shown(speaks: Speaks, confirm: &str, bytes: u64, lie: fn(&mut Answer)) -> usize {
    let lie = move |what, answer: &mut Answer| {
        if what == For::Bytes {
            lie(answer);
        }
    };
    shown_by(speaks, confirm, bytes, lie).await
}

/// The same by one that changes any answers.
async fn shown_by(
    speaks: Speaks,
    confirm: &str,
    bytes: u64,
    lie: impl Fn(For, &mut Answer) + Send + Sync + 'static,
) -> usize {
    let content: Vec<u8> = (0..SIZE).map(|at| (at ^ (at >> 8)) as u8).collect();
    let liar = Liar::speaking(speaks, [("file".to_owned(), content.clone())].into());
    liar.lie(move |what, answer| {
        answer.header("Date", Some(AN_HOUR_LATER));
        lie(what, answer);
    });
    let source = source(&format!("{}{confirm}", liar.table())).await;
    let mut out = Noting::default();
    assert_eq!(retrieve(&*source, SIZE, 7..7 + bytes, &mut out).await, Ok(()));
    assert!(out.written == content[7..7 + bytes as usize]);
    assert!(out.shown.is_empty() || out.shown == out.written);
    out.shown.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_answer_about_a_file_that_was_left_alone_is_shown_at_once() {
    for speaks in [Speaks::Webdav, Speaks::Html, Speaks::Json] {
        for bytes in [1, 65_536, 1 << 20] {
            assert_eq!(shown(speaks, "", bytes, |_| ()).await, bytes as usize, "{speaks:?}");
        }
    }
}

/// A name, the setting `confirm`, how many bytes are wanted, and what is done to the answer.
type Case = (&'static str, &'static str, u64, fn(&mut Answer));

#[tokio::test(flavor = "multi_thread")]
async fn other_answers_are_held_until_they_are_confirmed() {
    const MANY: u64 = (1 << 20) + 1;
    let cases: [Case; 6] = [
        ("a strict source", "confirm = \"strict\"\n", 9, |_| ()),
        ("many bytes", "", MANY, |_| ()),
        ("another tag", "", 9, |answer| answer.header("ETag", Some("\"own\""))),
        ("no date", "", 9, |answer| answer.header("Date", None)),
        ("changed a minute ago", "", 9, |answer| answer.header("Date", Some("Sun, 06 Nov 1994 08:50:36 GMT"))),
        ("changed in the future", "", 9, |answer| answer.header("Date", Some("Sun, 06 Nov 1994 07:49:37 GMT"))),
    ];
    for speaks in [Speaks::Webdav, Speaks::Html] {
        for (case, confirm, bytes, lie) in cases {
            assert_eq!(shown(speaks, confirm, bytes, lie).await, 0, "{speaks:?}: {case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tag_vouches_for_in_a_bucket_needs_not_be_shown_early() {
    for confirm in ["", "confirm = \"strict\"\n"] {
        assert_eq!(shown(Speaks::S3, confirm, 9, |_| ()).await, 0, "{confirm:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_without_a_tag_is_shown_like_a_file() {
    const MEBIBYTE: u64 = 1 << 20;
    let cases = [
        ("", MEBIBYTE, AN_HOUR_LATER, MEBIBYTE),
        ("", MEBIBYTE + 1, AN_HOUR_LATER, 0),
        ("", 9, "Sun, 06 Nov 1994 08:50:36 GMT", 0),
        ("confirm = \"strict\"\n", 9, AN_HOUR_LATER, 0),
    ];
    for (confirm, bytes, date, expected) in cases {
        let lie = move |_: For, answer: &mut Answer| {
            answer.header("ETag", None);
            answer.header("Date", Some(date));
        };
        assert_eq!(
            shown_by(Speaks::S3, confirm, bytes, lie).await,
            expected as usize,
            "{confirm:?}, {bytes} bytes, {date}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_overwritten_once_it_was_shown_does_not_arrive_from_a_bucket_without_tags() {
    let dir = served();
    let server = S3::rclone_without_tags(dir.buckets());
    does_not_arrive(dir.path(), &server.table("bucket"), &[1000, 65_536]).await;
}

/// Four requests bring 16 MiB side by side. Their pieces are confirmed together, and by each other's answers.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_bring_one_object_share_their_questions() {
    const PART: u64 = 4 << 20;
    let dir = served();
    let server = S3::rclone_without_tags(dir.buckets());
    put_an_hour_ago(&dir.path().join("file"), &vec![b'1'; 4 * PART as usize]);
    let line = Proxy::to(server.port());
    // So slow that a piece of a MiB takes longer than a question.
    line.set(Link { delay: Duration::from_millis(10), bandwidth: Some(8 << 20), ..Link::default() });
    let source = source(&with_port(&server.table("bucket"), server.port(), line.port())).await;
    let path = remote("file");
    let digest = source.create_remote_digest(&path).await.unwrap().digest;
    let before = line.http_requests();
    let parts = (0..4).map(|part| {
        let (source, path, digest) = (&source, &path, &digest);
        async move {
            let range = part * PART..(part + 1) * PART;
            let wanted = Retrieval { urgency: Urgency::ahead(), ..Retrieval::new(path, digest, 4 * PART, range) };
            let mut out = Noting::default();
            source.retrieve_file(&wanted, &mut out).await.unwrap();
            out.written.len() as u64
        }
    });
    assert_eq!(futures::future::join_all(parts).await, [PART; 4]);
    let questions = line.http_requests() - before - 4;
    println!("{questions} questions about 16 pieces");
    assert!(questions <= 12, "{questions} questions about 16 pieces");
}

/// Writes a file that was left alone for an hour.
fn put_an_hour_ago(file: &Path, bytes: &[u8]) {
    fs::write(file, bytes).unwrap();
    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    File::options().write(true).open(file).unwrap().set_modified(an_hour_ago).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_overwritten_once_it_was_shown_does_not_arrive_over_webdav() {
    for server in [Webdav::apache, Webdav::rclone] {
        let dir = served();
        let server = server(dir.path());
        does_not_arrive(dir.path(), &server.table(), &[1000, 65_536]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_overwritten_once_it_was_shown_does_not_arrive_over_http() {
    for server in [Web::apache, Web::nginx, Web::nginx_json] {
        let dir = served();
        let server = server(dir.path());
        does_not_arrive(dir.path(), &server.table(""), &[1000, 65_536]).await;
    }
    let dir = served();
    let server = Web::python(dir.path());
    does_not_arrive(dir.path(), &server.table(""), &[65_536]).await;
}

async fn does_not_arrive(dir: &Path, table: &str, ends: &[u64]) {
    let source = source(table).await;
    for &end in ends {
        let file = dir.join("file");
        put_an_hour_ago(&file, &[b'1'; 65_536]);
        let overwrite = move || fs::write(&file, [b'2'; 65_536]).unwrap();
        let mut out = Noting { then: Some(Box::new(overwrite)), ..Noting::default() };
        let result = retrieve(&*source, 65_536, 0..end, &mut out).await;
        assert_eq!(result, Err(ErrorKind::Changed), "{table}: {end}");
        assert_eq!(out.shown, vec![b'1'; end as usize], "{table}");
        assert!(out.written.is_empty(), "{table}");
    }
}

//! Bytes that are shown before they are confirmed: which, and what comes of them if the file is overwritten in that moment.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use kitovufs::error::{ErrorKind, Result};
use kitovufs::source::{Retrieval, Sink, Source};

use crate::kit::liar::{Answer, For, Liar, Speaks};
use crate::kit::servers::Webdav;
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

    fn preview(&mut self, bytes: &[Bytes]) {
        self.shown = bytes.concat();
        if let Some(then) = self.then.take() {
            then();
        }
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

/// How many bytes are shown of so many, by a server that changes its answers so; all must arrive.
async fn shown(speaks: Speaks, confirm: &str, bytes: u64, lie: fn(&mut Answer)) -> usize {
    let content: Vec<u8> = (0..SIZE).map(|at| (at ^ (at >> 8)) as u8).collect();
    let liar = Liar::speaking(speaks, [("file".to_owned(), content.clone())].into());
    liar.lie(move |what, answer| {
        answer.header("Date", Some(AN_HOUR_LATER));
        if what == For::Bytes {
            lie(answer);
        }
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
async fn buckets_show_nothing_early() {
    assert_eq!(shown(Speaks::S3, "", 9, |_| ()).await, 0);
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
        fs::write(&file, [b'1'; 65_536]).unwrap();
        let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
        File::options().write(true).open(&file).unwrap().set_modified(an_hour_ago).unwrap();
        let overwrite = move || fs::write(&file, [b'2'; 65_536]).unwrap();
        let mut out = Noting { then: Some(Box::new(overwrite)), ..Noting::default() };
        let result = retrieve(&*source, 65_536, 0..end, &mut out).await;
        assert_eq!(result, Err(ErrorKind::Changed), "{table}: {end}");
        assert_eq!(out.shown, vec![b'1'; end as usize], "{table}");
        assert!(out.written.is_empty(), "{table}");
    }
}

//! Azure Blob Storage: what its emulator shows, and what a server that lies does.

use async_trait::async_trait;
use kitovufs::error::ErrorKind;
use kitovufs::source::conformance::{self, RemoteEditor};

use crate::kit::azurite::Azurite;
use crate::liar::{liar, retrieve};
use crate::real::{list, served};
use crate::{configured, kind, remote, source};

/// Blobs of an Azurite, changed as their owner does.
struct Blobs<'a>(&'a Azurite);

#[async_trait]
impl RemoteEditor for Blobs<'_> {
    async fn put(&self, path: &str, content: &[u8]) -> bool {
        // Azure takes a backslash for a slash, and its protocol has no way to list control characters.
        let fits = !path.chars().any(|c| c == '\\' || c.is_control());
        if fits {
            self.0.put(path, content);
        }
        fits
    }
    async fn remove(&self, path: &str) {
        self.0.delete(path);
    }
    async fn mkdir(&self, _path: &str) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_keeps_the_contract() {
    let own = served();
    let server = Azurite::start(own.path(), false);
    let source = configured(&server.table()).await.unwrap();
    let report = conformance::run(source.as_ref(), &Blobs(&server), own.buckets()).await;
    assert!(report.passed(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_shows_several_pages_a_root_and_nothing_to_strangers() {
    let own = served();
    let server = Azurite::start(own.path(), false);
    std::thread::scope(|scope| {
        for start in 0..4 {
            let numbers = (start..5_100).step_by(4);
            scope.spawn(|| numbers.for_each(|number| server.put(&format!("a b/many/{number:04}"), b"x")));
        }
    });
    let owned = source(&format!("{}root = \"a b\"", server.table())).await;
    assert_eq!(list(owned.as_ref(), "many").await.unwrap().len(), 5_100);
    assert_eq!(kind(owned.create_remote_digest(&remote("none")).await.map(drop)), Err(ErrorKind::NotFound));
    let stranger = source(&server.anonymous()).await;
    let refused = list(stranger.as_ref(), "").await.unwrap_err();
    assert!(
        matches!(refused.kind(), ErrorKind::Unreachable | ErrorKind::PermissionDenied | ErrorKind::Unauthenticated),
        "{refused}"
    );
    let wrong = source(&server.table().replace("Eby8", "AAAA")).await;
    let refused = list(wrong.as_ref(), "").await.unwrap_err();
    // Azure itself says AuthenticationFailed.
    assert!(matches!(refused.kind(), ErrorKind::Unauthenticated | ErrorKind::PermissionDenied), "{refused}");
    let gone = source(&server.table().replace("\"kit\"", "\"gone\"")).await;
    assert_eq!(kind(list(gone.as_ref(), "").await.map(drop)), Err(ErrorKind::Unreachable));
    assert_eq!(kind(gone.create_remote_digest(&remote("x")).await.map(drop)), Err(ErrorKind::Unreachable));
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_shows_a_public_container_to_everybody() {
    let own = served();
    let server = Azurite::start(own.path(), true);
    server.put("dir/a", b"bytes");
    let source = source(&server.anonymous()).await;
    assert_eq!(list(source.as_ref(), "dir").await.unwrap()[0].size, Some(5));
}

#[tokio::test]
async fn a_server_that_lies_is_not_believed() {
    for (answer, expected) in [
        ("206 X\r\nETag: \"v1\"\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\n\r\nabc", Ok(())),
        ("200 X\r\nETag: \"v1\"\r\nContent-Length: 10\r\n\r\n0123456789", Err(ErrorKind::Protocol)),
        (
            "206 X\r\nETag: \"v2\"\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\n\r\nabc",
            Err(ErrorKind::Changed),
        ),
        (
            "403 X\r\nx-ms-error-code: AuthenticationFailed\r\nContent-Length: 0\r\n\r\n",
            Err(ErrorKind::Unauthenticated),
        ),
        ("404 X\r\nx-ms-error-code: ContainerNotFound\r\nContent-Length: 0\r\n\r\n", Err(ErrorKind::Unreachable)),
        ("503 X\r\nx-ms-error-code: ServerBusy\r\nContent-Length: 0\r\n\r\n", Err(ErrorKind::RateLimited)),
    ] {
        let url = liar(Box::leak(format!("HTTP/1.1 {answer}").into_boxed_str())).await;
        let source = source(&format!(
            "type = \"azblob\"\nendpoint = \"{url}\"\ncontainer = \"c\"\nsas_token = \"?sig=hunter2\""
        ))
        .await;
        assert_eq!(retrieve(source.as_ref(), "etag:v1", 2..5).await.0, expected, "{answer}");
        let error = list(source.as_ref(), "").await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn settings_are_checked() {
    for (table, keys) in [
        ("type = \"azblob\"", vec![None, None]),
        ("type = \"azblob\"\ncontainer = \"a/b\"\naccount_name = \"x\"", vec![Some("container")]),
        ("type = \"azblob\"\ncontainer = \"c\"\naccount_name = \"x/y\"", vec![Some("account_name")]),
        ("type = \"azblob\"\ncontainer = \"c\"\nendpoint = \"ftp://x\"", vec![Some("endpoint")]),
        (
            "type = \"azblob\"\ncontainer = \"c\"\naccount_name = \"x\"\naccount_key = \"a\"\nsas_token = \"b\"",
            vec![Some("sas_token")],
        ),
        (
            "type = \"azblob\"\ncontainer = \"c\"\naccount_name = \"x\"\naccount_key = \"a\"\ndisable_config_load = false",
            vec![Some("account_key")],
        ),
        (
            "type = \"azblob\"\ncontainer = \"c\"\naccount_name = \"x\"\nclient_secret = \"a\"",
            vec![Some("client_secret")],
        ),
        ("type = \"azblob\"\ncontainer = \"c\"\naccount_name = \"x\"\nclient_id = \"a\"", vec![Some("client_id")]),
    ] {
        let problems = configured(table).await.err().unwrap_or_default();
        assert_eq!(problems.iter().map(|problem| problem.key.as_deref()).collect::<Vec<_>>(), keys, "{table}");
    }
}

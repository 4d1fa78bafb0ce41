use std::collections::BTreeMap;

use super::*;

/// Wants nothing.
struct Refusing;

#[async_trait]
impl Sink for Refusing {
    async fn write(&mut self, _: Bytes) -> Result<()> {
        Err(Error::new("write", ErrorKind::Cache))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_handle_stays_open_whoever_gives_up() {
    let dir = served();
    let samba = Samba::run(dir.path());
    let source = source(&samba.table("kit")).await;
    std::fs::write(dir.path().join("large"), vec![1; 32 * 1024 * 1024]).unwrap();
    let path = remote("large");
    let now = source.create_remote_digest(&path).await.unwrap();
    let size = now.size.unwrap();
    let request = Retrieval::new(&path, &now.digest, size, 0..size);
    assert_eq!(kind(source.retrieve_file(&request, &mut Refusing).await.map(drop)), Err(ErrorKind::Cache));
    for delay in 0..20 {
        let patience = Duration::from_micros(delay * 400);
        let mut out = Vec::new();
        let _ = tokio::time::timeout(patience, source.retrieve_file(&request, &mut out)).await;
        let root = remote("");
        let _ = tokio::time::timeout(patience, source.list_path(&root)).await;
    }
    // The server answers what it was asked before it closes.
    for _ in 0..600 {
        if samba.open_files().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("handles stay open: {:?}", samba.open_files());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_never_an_absence_and_ends_with_it() {
    let dir = served();
    Directory::new(dir.path()).write("dir/a", b"x");
    let mut samba = Samba::run(dir.path());
    let source = source(&samba.table("kit")).await;
    let digest = source.create_remote_digest(&remote("dir/a")).await.unwrap().digest;
    samba.stop();
    for path in ["", "dir", "nothing"] {
        assert_eq!(kind(list(source.as_ref(), path).await), Err(ErrorKind::Unreachable), "{path}");
        let asked = source.create_remote_digest(&remote("dir/a")).await;
        assert_eq!(kind(asked.map(drop)), Err(ErrorKind::Unreachable));
    }
    source.disconnect().await;
    assert_eq!(kind(source.connect().await), Err(ErrorKind::Unreachable));
    samba.start();
    source.connect().await.unwrap();
    assert_eq!(list(source.as_ref(), "dir").await.unwrap().len(), 1);
    assert_eq!(source.create_remote_digest(&remote("dir/a")).await.unwrap().digest, digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_server_ended_is_replaced_without_anybody_asking() {
    let dir = served();
    Directory::new(dir.path()).write("a", b"x");
    let mut samba = Samba::run(dir.path());
    let source = source(&samba.table("kit")).await;
    samba.start();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(read(source.as_ref(), "a").await.unwrap(), b"x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_loses_its_server_is_an_outage() {
    let dir = served();
    let samba = parking_lot::Mutex::new(Samba::run(dir.path()));
    std::fs::write(dir.path().join("large"), vec![1; 64 * 1024 * 1024]).unwrap();
    let table = samba.lock().table("kit");
    let source = source(&table).await;
    let path = remote("large");
    let now = source.create_remote_digest(&path).await.unwrap();
    let size = now.size.unwrap();
    let request = Retrieval::new(&path, &now.digest, size, 0..size);
    let mut out = Meddling { taken: Vec::new(), meddle: Some(|| samba.lock().stop()) };
    assert_eq!(kind(source.retrieve_file(&request, &mut out).await.map(drop)), Err(ErrorKind::Unreachable));
    samba.lock().start();
    assert!(read(source.as_ref(), "large").await.unwrap().len() as u64 == size);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_use() {
    let dir = served();
    let samba = Samba::run(dir.path());
    let source = source(&samba.table("kit")).await;
    assert_eq!(list(source.as_ref(), "").await.unwrap().len(), 0);
    // The kit's own knock at the door may still be answered.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let connected = samba.processes().len();
    source.disconnect().await;
    assert_eq!(kind(list(source.as_ref(), "").await), Err(ErrorKind::Unreachable));
    for _ in 0..100 {
        if samba.processes().len() < connected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server still has the connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_was_refused_is_not_repeated() {
    let dir = served();
    let mut samba = Samba::run(dir.path());
    let source = source(&samba.table("kit")).await;
    samba.stop();
    samba.forget_user();
    samba.start();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut kinds = BTreeMap::new();
    for _ in 0..5 {
        *kinds.entry(format!("{:?}", kind(list(source.as_ref(), "").await).unwrap_err())).or_insert(0) += 1;
    }
    assert_eq!(kinds, BTreeMap::from([("Unauthenticated".to_owned(), 5)]));
    let refusals = samba.log().matches("NT_STATUS_NO_SUCH_USER").count();
    assert!(refusals <= 2, "{refusals} attempts:\n{}", samba.log());
}

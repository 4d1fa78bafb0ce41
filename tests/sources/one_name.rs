//! One name in a large directory that one answer tells: the source tells it alone, and leaves the listing where it is.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use kitovufs::source::{Entry, Source};

use crate::kit::samba::Samba;
use crate::kit::servers::Webdav;
use crate::kit::sshd::Sshd;
use crate::liar::liar_but_for;
use crate::real::{Directory, list, served};
use crate::{remote, source};

/// What a listing of `many` for the sake of one name tells of it alone; `None` if it has told all names.
async fn alone(source: &dyn Source, name: &str) -> Option<Vec<Entry>> {
    let many = remote("many");
    let mut entries = source.list_path(&many).await.unwrap();
    entries.want_only(name.as_bytes());
    while let Some(entry) = entries.next().await {
        entry.unwrap();
    }
    entries.told_alone()
}

/// Some thousand names in `many`: files that were changed long ago, directories, and one that another name differs from by case only.
fn many(directory: &Directory) {
    directory.write("many/Directory/inner", b"x");
    let long_ago = SystemTime::now() - Duration::from_secs(1_000_000);
    for number in 0..20_000 {
        let file = File::create(directory.root.join(format!("many/File {number:05}"))).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    directory.write("many/twice", b"x");
    directory.write("many/TWICE", b"xx");
    directory.write("many/1", b"x");
    directory.write("many/ü", b"x");
    directory.write("few/a", b"x");
}

/// A WebDAV server that never tells what is in `many`, but that `name` is there, and counts the questions.
async fn slow(questions: Arc<AtomicUsize>) -> String {
    let resource = |path: &str, kind: &str| {
        let multistatus = format!(
            "<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>{path}</D:href><D:propstat><D:prop><D:resourcetype>{kind}\
             </D:resourcetype><D:getcontentlength>1</D:getcontentlength><D:getetag>\"a\"</D:getetag></D:prop></D:propstat>\
             </D:response></D:multistatus>"
        );
        let length = multistatus.len();
        format!("HTTP/1.1 207 X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{multistatus}")
    };
    liar_but_for("HTTP/1.1 404 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", move |request| {
        questions.fetch_add(1, Ordering::SeqCst);
        let text = String::from_utf8_lossy(request);
        match text.split(' ').nth(1).unwrap_or_default() {
            "/" => Some(resource("/", "<D:collection/>")),
            // Silence.
            "/many/" => Some(String::new()),
            "/many/name" => Some(resource("/many/name", "")),
            _ => None,
        }
    })
    .await
}

#[tokio::test]
async fn a_name_whose_directory_is_listed_slowly_is_asked_for_alone_over_webdav() {
    let questions = Arc::new(AtomicUsize::new(0));
    let url = slow(questions.clone()).await;
    let source = source(&format!("type = \"webdav\"\nendpoint = \"{url}\"")).await;
    let told = alone(source.as_ref(), "name").await.expect("that name alone");
    assert_eq!(told.iter().map(|entry| entry.name.as_slice()).collect::<Vec<_>>(), [b"name"]);
    assert_eq!(questions.swap(0, Ordering::SeqCst), 3, "the listing, the name, and the same in other case");
    assert_eq!(alone(source.as_ref(), "absent").await, Some(Vec::new()));
}

/// What every source has to tell, of which only a listing tells `listed`.
async fn tells(source: &dyn Source, listed: &[&str]) {
    let all = list(source, "many").await.unwrap();
    for name in ["File 00000", "File 12345", "File 19999", "Directory"] {
        let found = all.iter().find(|entry| entry.name == name.as_bytes()).cloned();
        assert!(found.is_some());
        assert_eq!(alone(source, name).await, Some(Vec::from_iter(found)), "{name}");
    }
    for name in ["absent", "file 12345", "File 1234", "File 20000", "directory"] {
        let told = alone(source, name).await;
        assert!(told.is_none_or(|told| told.is_empty()), "{name}");
    }
    assert_eq!(alone(source, "absent").await, Some(Vec::new()));
    // Such a file system may have more spellings, or tells no names apart that differ by case: the listing says what there is.
    for name in listed {
        assert_eq!(alone(source, name).await, None, "{name}");
    }
    let few = remote("few");
    let mut entries = source.list_path(&few).await.unwrap();
    entries.want_only(b"a");
    assert_eq!((entries.by_ref().count().await, entries.told_alone()), (1, None), "a small one is listed");
}

/// Names that a file system, a server or a rule may treat in its own way.
const ODD: [&str; 12] = [
    " leading",
    "trailing ",
    "trailing.",
    "a?b*c",
    "a:b",
    "back\\slash",
    "x~1",
    "TRAILI~1",
    ".hidden",
    "e\u{301}",
    "semi; colon",
    "100%",
];

/// Twenty thousand names, the odd ones and these links.
fn many_and_odd(dir: &Path, links: &[(&str, &str)]) {
    let directory = Directory::new(dir);
    many(&directory);
    ODD.iter().for_each(|name| directory.write(&format!("many/{name}"), b"x"));
    for (name, target) in links {
        symlink(target, dir.join("many").join(name)).unwrap();
    }
}

/// Asks for each of these alone: how many are told, each as it is listed.
async fn told_as_listed<'a>(source: &dyn Source, names: impl IntoIterator<Item = &'a str>) -> usize {
    let all = list(source, "many").await.unwrap();
    let mut count = 0;
    for name in names {
        let listed: Vec<_> = all.iter().filter(|entry| entry.name == name.as_bytes()).cloned().collect();
        let told = alone(source, name).await;
        count += usize::from(told.is_some());
        assert!(told.as_ref().is_none_or(|told| *told == listed), "{name:?}: {told:?} instead of {listed:?}");
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_among_twenty_thousand_is_told_alone_of_a_local_directory() {
    let dir = served();
    let links = [
        ("link", "File 00000"),
        ("to a directory", "Directory"),
        ("dangling", "nothing"),
        ("outside", "../../.."),
        ("up", ".."),
        ("round", "round"),
    ];
    many_and_odd(dir.path(), &links);
    // A time of the last tick has no final digest.
    tokio::time::sleep(Duration::from_millis(50)).await;
    for shown in ["keep", "inside", "follow"] {
        let source = source(&format!("type = \"local\"\npath = {:?}\nlinks = \"{shown}\"\n", dir.path())).await;
        tells(source.as_ref(), &[]).await;
        let others = ["twice", "TWICE", "Twice", "1", "2", "ü", "u\u{308}", "\u{e9}", "LINK"];
        let names: Vec<_> = ODD.into_iter().chain(links.map(|(name, _)| name)).chain(others).collect();
        assert_eq!(told_as_listed(source.as_ref(), names.iter().copied()).await, names.len(), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_among_twenty_thousand_is_told_alone_over_smb() {
    let dir = served();
    // Samba follows links.
    many_and_odd(dir.path(), &[("link", "File 00000"), ("dangling", "nothing"), ("outside", "/etc/passwd")]);
    let samba = Samba::run(dir.path());
    let source = source(&samba.table("kit")).await;
    tells(source.as_ref(), &["twice", "TWICE", "Twice", "1", "ü", "FILE 00000", "file 00000"]).await;
    for name in ["link", "dangling", "outside", ".hidden", " leading"] {
        assert_eq!(told_as_listed(source.as_ref(), [name]).await, 1, "{name}");
    }
    // Those that Windows could not name are listed under names that Samba makes.
    let all = list(source.as_ref(), "many").await.unwrap();
    let listed = all.iter().map(|entry| str::from_utf8(&entry.name).unwrap());
    let odd: Vec<_> = listed.filter(|name| !name.starts_with("File ")).collect();
    assert!(odd.len() >= ODD.len() && odd.iter().any(|name| !ODD.contains(name) && name.contains('~')), "{odd:?}");
    told_as_listed(source.as_ref(), odd.into_iter().chain(ODD)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_among_twenty_thousand_costs_two_questions_over_webdav() {
    let dir = served();
    many(&Directory::new(dir.path()));
    let server = Webdav::apache(dir.path());
    let source = source(&server.table()).await;
    tells(source.as_ref(), &["twice", "1", "ü"]).await;
    let before = server.requests().len();
    assert_eq!(alone(source.as_ref(), "File 00777").await.map(|told| told.len()), Some(1));
    let asked = server.requests().split_off(before);
    let about = |what: &str| asked.iter().filter(|request| request.starts_with(what)).count();
    let wanted = ["PROPFIND /many/File 00777 207", "PROPFIND /many/fILE 00777 404"];
    // The server notes the listing that it could not send when it comes to that.
    assert_eq!((wanted.map(about), asked.len() - about("PROPFIND /many/ ")), ([1, 1], 2), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_among_twenty_thousand_is_told_alone_over_sftp() {
    let dir = served();
    many(&Directory::new(dir.path()));
    symlink("File 00000", dir.path().join("many/link")).unwrap();
    let server = Sshd::run(dir.path());
    let source = source(&server.table()).await;
    tells(source.as_ref(), &["twice", "1", "ü", "link"]).await;
}

//! Versions of files: what tells them apart, and what is done where listings do not.

use kitovufs::error::ErrorKind;
use kitovufs::source::Source;

use super::{entry, kind_of, known, list, whole};
use crate::kit::moodle::Moodle;
use crate::{remote, source};

const FOLDER: &str = "course-2/module-17";
const FILE: &str = "course-2/module-17/b.pdf";

/// What a mount sees of a file: it looks it up, and once more if it has changed by then.
async fn read(source: &dyn Source, dir: &str, path: &str) -> Vec<u8> {
    let listed = entry(source, dir, path).await;
    let first = known(source, &listed).await;
    match whole(source, &listed.path, &first).await {
        (Ok(()), bytes) => bytes,
        (Err(error), _) if error.kind() == ErrorKind::Changed => {
            let second = source.create_remote_digest(&listed.path).await.unwrap();
            assert_ne!(first.digest, second.digest, "a change has a digest of its own");
            let (result, bytes) = whole(source, &listed.path, &second).await;
            result.unwrap();
            bytes
        }
        (Err(error), _) => panic!("{error}"),
    }
}

#[tokio::test]
async fn an_edit_of_an_activity_is_no_change_of_its_files() {
    let site = Moodle::start();
    let source = source(&site.table()).await;
    let before = list(source.as_ref(), FOLDER).await.unwrap();
    site.store().rename(17, "Another name");
    site.store().move_to(17, 4);
    assert_eq!(list(source.as_ref(), FOLDER).await.unwrap(), before, "the same paths and digests in another place");
    let folder = entry(source.as_ref(), "course-2/section-4", FOLDER).await;
    assert_eq!(folder.name, b"Another name");
    site.store().put(17, "/b.pdf", b"new");
    assert_ne!(list(source.as_ref(), FOLDER).await.unwrap(), before);
}

#[tokio::test]
async fn a_version_of_this_very_second_may_still_change_unnoticed() {
    let site = Moodle::start();
    let source = source(&site.table()).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    site.store().put_at(17, "/b.pdf", b"first", now);
    let first = entry(source.as_ref(), FOLDER, FILE).await.digest.unwrap();
    site.store().put_at(17, "/b.pdf", b"other", now);
    let second = entry(source.as_ref(), FOLDER, FILE).await.digest.unwrap();
    assert!(first.unsettled_since().is_some() && first != second && first.is_same_observation(&second));
}

#[tokio::test]
async fn two_versions_that_are_listed_alike_are_told_apart_by_their_bytes() {
    let site = Moodle::start();
    let time = 1_700_000_000;
    for accelerated in [false, true] {
        site.store().accelerated = accelerated;
        site.store().put_at(17, "/b.pdf", b"first", time);
        let source = source(&site.table()).await;
        let listed = entry(source.as_ref(), FOLDER, FILE).await;
        let first = known(source.as_ref(), &listed).await;
        assert_eq!(whole(source.as_ref(), &listed.path, &first).await.1, b"first");
        site.store().put_at(17, "/b.pdf", b"other", time);
        // The storage has had these bytes for longer, or not.
        site.store().store_since(b"other", time + 5);
        let (result, bytes) = whole(source.as_ref(), &listed.path, &first).await;
        assert_eq!((kind_of(result), bytes.len()), (Err(ErrorKind::Changed), 0));
        // From now on it is asked itself.
        let listed = entry(source.as_ref(), FOLDER, FILE).await;
        assert_eq!((listed.digest, listed.size), (None, None));
        assert_eq!(read(source.as_ref(), FOLDER, FILE).await, b"other");
        // Until it is listed as something else.
        site.store().put(17, "/b.pdf", b"third");
        assert!(entry(source.as_ref(), FOLDER, FILE).await.digest.is_some());
        assert_eq!(read(source.as_ref(), FOLDER, FILE).await, b"third");
    }
}

#[tokio::test]
async fn an_alias_is_asked_itself_since_its_time_never_moves() {
    let (dir, path) = ("course-2/section-2", "course-2/module-50/alias.txt");
    let site = Moodle::start();
    for accelerated in [false, true] {
        site.store().accelerated = accelerated;
        let source = source(&site.table()).await;
        site.store().change_alias(50, b"original");
        let before = source.create_remote_digest(&remote(path)).await.unwrap();
        assert_eq!(read(source.as_ref(), dir, path).await, b"original");
        site.store().change_alias(50, b"replaced");
        let after = source.create_remote_digest(&remote(path)).await.unwrap();
        assert_eq!((before.size, before.modified), (after.size, after.modified));
        assert_ne!(before.digest, after.digest);
        let (result, bytes) = whole(source.as_ref(), &remote(path), &before).await;
        assert_eq!((kind_of(result), bytes.len()), (Err(ErrorKind::Changed), 0));
        assert_eq!(read(source.as_ref(), dir, path).await, b"replaced");
    }
}

#[tokio::test]
async fn a_page_is_known_by_its_time_and_its_bytes() {
    let (dir, path, key) = ("course-2/section-3", "course-2/page-20", "42/mod_page/content/index.html");
    let site = Moodle::start();
    let source = source(&site.table()).await;
    site.store().edit_page(20, "<p>one</p>");
    let listed = entry(source.as_ref(), dir, path).await;
    assert_eq!((listed.size, listed.name.as_slice()), (None, b"Page.html".as_slice()));
    let first = known(source.as_ref(), &listed).await;
    assert_eq!(whole(source.as_ref(), &listed.path, &first).await.1, b"<p>one</p>");
    site.store().edit_page(20, "<p>two</p>");
    let (result, bytes) = whole(source.as_ref(), &listed.path, &first).await;
    assert_eq!((kind_of(result), bytes.len()), (Err(ErrorKind::Changed), 0));
    assert_eq!(read(source.as_ref(), dir, path).await, b"<p>two</p>");
    // The site's filters link the names of other activities, of which the page's time tells nothing.
    site.store().filter(key, "<p><a>two</a></p>");
    assert_eq!(read(source.as_ref(), dir, path).await, b"<p><a>two</a></p>");
    assert_eq!(entry(source.as_ref(), dir, path).await.digest, None, "asked itself from now on");
    site.store().filter(key, "<p><b>two</b></p>");
    assert_eq!(read(source.as_ref(), dir, path).await, b"<p><b>two</b></p>");
    site.store().edit_page(20, "<p>three</p>");
    assert_eq!(read(source.as_ref(), dir, path).await, b"<p>three</p>");
}

#[tokio::test]
async fn a_stored_file_that_the_site_filters_has_the_size_that_comes() {
    let site = Moodle::start();
    let source = source(&site.table()).await;
    let html = source.create_remote_digest(&remote("course-2/module-12/f.html")).await.unwrap();
    assert_eq!(html.size, Some(111), "52 are listed");
    // A listing is trusted until what comes is something else.
    let (dir, path) = ("course-2/section-2", "course-2/module-2/notes.txt");
    site.store().filter("24/mod_resource/content/notes.txt", "<pre>line 1 and more</pre>");
    assert_eq!(read(source.as_ref(), dir, path).await, b"<pre>line 1 and more</pre>");
    let asked = source.create_remote_digest(&remote(path)).await.unwrap();
    assert!(asked.digest.as_str().starts_with("sha1:") && asked.size == Some(26), "{asked:?}");
}

/// One text in two resources, one of which is set to use filters: `resource_filtered_text.json`.
#[tokio::test]
async fn text_that_the_site_filters_has_the_size_that_comes_before_it_is_read() {
    let recorded: serde_json::Value =
        serde_json::from_str(include_str!("../../fixtures/moodle/resource_filtered_text.json")).unwrap();
    let sent = recorded.as_array().unwrap().iter().find(|case| case["case"] == "Text filtered: sent").unwrap();
    let html = sent["body"].as_str().unwrap();
    let (dir, path) = ("course-2/section-2", "course-2/module-2/notes.txt");
    for is_told in [true, false] {
        let site = Moodle::start();
        if !is_told {
            let functions = site.store().info["functions"].as_array_mut().map(std::mem::take).unwrap();
            let is_other = |function: &serde_json::Value| function["name"] != "mod_resource_get_resources_by_courses";
            site.store().info["functions"] = functions.into_iter().filter(is_other).collect();
        }
        let source = source(&site.table()).await;
        let plain = entry(source.as_ref(), dir, path).await;
        assert_eq!(plain.size.is_some() && plain.digest.is_some(), is_told, "{plain:?}");
        assert_eq!(
            known(source.as_ref(), &plain).await.size,
            Some(site.store().sent("24/mod_resource/content/notes.txt").len() as u64)
        );
        site.store().filter_files(2, html);
        let filtered = entry(source.as_ref(), dir, path).await;
        assert_eq!((&filtered.digest, filtered.size), (&None, None));
        let version = known(source.as_ref(), &filtered).await;
        assert_eq!(version.size, Some(html.len() as u64));
        let (result, bytes) = whole(source.as_ref(), &filtered.path, &version).await;
        result.unwrap();
        assert_eq!(bytes, html.as_bytes());
    }
}

#[tokio::test]
async fn chapters_change_with_the_titles_around_them() {
    let site = Moodle::start();
    let source = source(&site.table()).await;
    let before = entry(source.as_ref(), "course-2/module-24", "course-2/book-24/2").await;
    let renamed =
        include_str!("../../fixtures/moodle/contents_an.json").replace("Chapter &amp; one", "Chapter &amp; 1");
    site.store().replace_contents(2, &renamed);
    let after = entry(source.as_ref(), "course-2/module-24", "course-2/book-24/2").await;
    assert_eq!((before.name, before.modified), (after.name, after.modified));
    assert_ne!(before.digest, after.digest);
}

#[tokio::test]
async fn what_is_gone_is_not_found_and_what_is_there_is_what_it_is() {
    let site = Moodle::start();
    let source = source(&site.table()).await;
    let listed = entry(source.as_ref(), FOLDER, FILE).await;
    let known = known(source.as_ref(), &listed).await;
    site.store().remove(17, "/b.pdf");
    let (result, _) = whole(source.as_ref(), &listed.path, &known).await;
    assert_eq!(kind_of(result), Err(ErrorKind::NotFound));
    for (path, expected) in [
        ("", ErrorKind::IsADirectory),
        ("course-2", ErrorKind::IsADirectory),
        ("course-2/section-3", ErrorKind::IsADirectory),
        ("course-2/module-17/sub", ErrorKind::IsADirectory),
        ("course-2/module-17/nothing", ErrorKind::NotFound),
        ("course-2/module-9999/x", ErrorKind::NotFound),
        ("course-2/section-9999", ErrorKind::NotFound),
        ("course-77/module-1/x", ErrorKind::NotFound),
        ("elsewhere", ErrorKind::NotFound),
    ] {
        let digest = kind_of(source.create_remote_digest(&remote(path)).await.map(drop));
        assert_eq!(digest, Err(expected), "{path}");
    }
    for (path, expected) in [
        ("course-2/module-17/a.txt", ErrorKind::NotADirectory),
        ("course-2/module-17/nothing", ErrorKind::NotFound),
        ("course-77", ErrorKind::NotFound),
        ("elsewhere", ErrorKind::NotFound),
    ] {
        assert_eq!(kind_of(list(source.as_ref(), path).await.map(drop)), Err(expected), "{path}");
    }
}

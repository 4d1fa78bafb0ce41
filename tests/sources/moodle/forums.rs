//! Forums: each discussion is a directory with what was written as one HTML file, and with the files of its posts.

use kitovufs::error::ErrorKind;
use serde_json::Value;

use super::{entry, kind_of, known, list, whole};
use crate::kit::moodle::Moodle;
use crate::source;

const DISCUSSION: &str = "course-46/forum-5/discussion-5";
const TEXT: &str = "course-46/forum-5/discussion-5/text";

fn site() -> Moodle {
    let site = Moodle::start();
    site.store().add_kinds();
    site
}

fn name(entry: &kitovufs::source::Entry) -> &str {
    std::str::from_utf8(&entry.name).unwrap()
}

/// Gives one post of the discussion to be changed.
fn change(site: &Moodle, post: u64, change: impl FnOnce(&mut Value)) {
    let mut store = site.store();
    let posts = store.forums.posts.get_mut(&5).unwrap()["posts"].as_array_mut().unwrap();
    change(posts.iter_mut().find(|it| it["id"] == post).unwrap());
}

#[tokio::test]
async fn a_discussion_is_a_file_with_all_posts_beside_their_files() {
    let site = site();
    let source = source(&site.table()).await;
    let discussions = list(source.as_ref(), "course-46/forum-5").await.unwrap();
    assert_eq!(discussions.iter().map(name).collect::<Vec<_>>(), ["Group A only", "For everyone"]);
    let entries = list(source.as_ref(), DISCUSSION).await.unwrap();
    let names: Vec<_> = entries.iter().map(name).collect();
    assert_eq!(names, ["For everyone.html", "q.png", "question.txt", "answer.pdf", "private.txt"]);
    for entry in &entries {
        let (size, version) = (entry.size.expect("it is known at once"), known(source.as_ref(), entry).await);
        assert_eq!(source.create_remote_digest(&entry.path).await.unwrap().size, Some(size));
        let (result, bytes) = whole(source.as_ref(), &entry.path, &version).await;
        result.unwrap();
        assert_eq!(bytes.len() as u64, size, "{}", name(entry));
        if let Some(area) = entry.path.as_str().unwrap().strip_prefix("course-46/forum-5/discussion-5/attachment-") {
            assert!(bytes == site.store().bytes(&format!("515/mod_forum/attachment/{area}")).unwrap());
        }
    }
    let text = &entries[0];
    let (_, bytes) = whole(source.as_ref(), &text.path, &known(source.as_ref(), text).await).await;
    let html = String::from_utf8(bytes).unwrap();
    for part in [
        "<title>For everyone</title>",
        "#5: Student Two, <time>2026-11-28T11:35:59Z</time>",
        "<p>Who knows? <img src=\"q.png\" alt=\"\" /></p>",
        "<p>An answer</p>\n<p><a href=\"answer.pdf\">answer.pdf</a></p>",
        "in reply to <a href=\"#p7\">#7</a>, to you alone",
        "The content of this forum post has been removed",
    ] {
        assert!(html.contains(part), "{part} is in {html}");
    }
    assert!(!html.contains("pluginfile.php"), "{html}");
}

#[tokio::test]
async fn a_forum_and_a_discussion_are_one_request_each_which_only_reads() {
    let site = site();
    let source = source(&site.table()).await;
    site.requests();
    list(source.as_ref(), "course-46/forum-5").await.unwrap();
    assert_eq!(site.requests(), ["mod_forum_get_forum_discussions 5"]);
    let text = entry(source.as_ref(), DISCUSSION, TEXT).await;
    assert_eq!(site.requests(), ["mod_forum_get_discussion_posts 5"]);
    whole(source.as_ref(), &text.path, &known(source.as_ref(), &text).await).await.0.unwrap();
    assert_eq!(site.requests(), ["mod_forum_get_discussion_posts 5"]);
}

/// The time of a discussion, in the list of discussions, does not move when a reply is edited.
#[tokio::test]
async fn a_discussion_has_another_version_when_a_post_changed_and_only_then() {
    let site = site();
    let source = source(&site.table()).await;
    let before = entry(source.as_ref(), DISCUSSION, TEXT).await;
    site.store().forums.posts.get_mut(&5).unwrap()["posts"].as_array_mut().unwrap().reverse();
    change(&site, 6, |post| post["unread"] = true.into());
    assert_eq!(entry(source.as_ref(), DISCUSSION, TEXT).await, before);
    change(&site, 6, |post| post["message"] = "<p>Another one</p>".into());
    let after = entry(source.as_ref(), DISCUSSION, TEXT).await;
    assert_ne!(after.digest, before.digest);
    let old = whole(source.as_ref(), &before.path, &known(source.as_ref(), &before).await).await.0;
    assert_eq!(kind_of(old), Err(ErrorKind::Changed));
    whole(source.as_ref(), &after.path, &known(source.as_ref(), &after).await).await.0.unwrap();
}

#[tokio::test]
async fn files_of_one_name_in_a_discussion_are_told_apart() {
    let site = site();
    change(&site, 6, |post| {
        let file = &mut post["attachments"][0];
        file["filename"] = "question.txt".into();
    });
    let source = source(&site.table()).await;
    let entries = list(source.as_ref(), DISCUSSION).await.unwrap();
    let names: Vec<_> = entries.iter().map(name).collect();
    assert_eq!(names, ["For everyone.html", "q.png", "question.txt", "6 - question.txt", "private.txt"]);
}

#[tokio::test]
async fn only_a_discussion_that_is_no_longer_listed_is_gone() {
    let site = site();
    let source = source(&site.table()).await;
    site.store().forums.posts.remove(&5);
    assert_eq!(kind_of(list(source.as_ref(), DISCUSSION).await.map(drop)), Err(ErrorKind::Protocol));
    let listed = &mut site.store().forums.discussions.get_mut(&5).unwrap()["discussions"].clone();
    listed.as_array_mut().unwrap().retain(|it| it["discussion"] != 5);
    site.store().forums.discussions.get_mut(&5).unwrap()["discussions"] = listed.clone();
    assert_eq!(kind_of(list(source.as_ref(), DISCUSSION).await.map(drop)), Err(ErrorKind::NotFound));
    assert_eq!(kind_of(source.create_remote_digest(&crate::remote(TEXT)).await.map(drop)), Err(ErrorKind::NotFound));
}

#[tokio::test]
async fn an_older_site_that_tells_of_no_pictures_is_asked_without_them() {
    let site = site();
    site.store().forums.is_old = true;
    let source = source(&site.table()).await;
    let entries = list(source.as_ref(), DISCUSSION).await.unwrap();
    let names: Vec<_> = entries.iter().map(name).collect();
    assert_eq!(names, ["For everyone.html", "question.txt", "answer.pdf", "private.txt"]);
}

//! `tree`: a forum's discussions as directories: what was written as one HTML file, and beside it the files of the posts.
//!
//! Lists of discussions do not show that a reply was edited, so each discussion is asked for with all of its posts when it is looked at:
//! one request. These functions only read; no post counts as read by them.

use super::answer::{Content, Discussion, Discussions, Post, Posts};
use super::document::Text;
use super::html::{decoded, escaped};
use super::refusal::Route;
use super::session::Session;
use super::show::{DISCUSSIONS, POSTS};
use super::site::{Asked, Site};
use super::title::shown;
use super::tree::{Forum, Tree, directory};
use super::written::Written;
use crate::error::{ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::LeftOut;
use crate::sources::purpose::Purpose;

/// The tree of a forum's discussions, or of one of them. `course` is the path of the forum's course.
///
/// # Errors
/// `NotFound` only if the site lists the forum's discussions, and this is none of them.
pub(super) async fn tree(session: &Session, purpose: Purpose<'_>, course: &RemotePath, forum: Forum) -> Result<Tree> {
    let path =
        course.child(format!("forum-{}", forum.id).as_bytes()).map_err(|_| purpose.error(ErrorKind::NotFound))?;
    let Some(id) = forum.discussion else {
        return Ok(overview(&path, &discussions(session, purpose, forum).await?));
    };
    let (posts, observed) = posts(session, purpose, forum, id).await?;
    let dir = discussion_path(&path, id).ok_or_else(|| purpose.error(ErrorKind::NotFound))?;
    Ok(discussion(session.site(), observed, &dir, &posts))
}

fn discussion_path(forum: &RemotePath, id: u64) -> Option<RemotePath> {
    forum.child(format!("discussion-{id}").as_bytes()).ok()
}

async fn discussions(session: &Session, purpose: Purpose<'_>, forum: Forum) -> Result<Vec<Discussion>> {
    let told: Discussions = session.call(purpose, DISCUSSIONS, &[("forumid", &forum.id.to_string())]).await?;
    Ok(told.discussions)
}

/// The posts of a discussion from the oldest on, and when they were told by the site's clock.
async fn posts(session: &Session, purpose: Purpose<'_>, forum: Forum, id: u64) -> Result<(Vec<Post>, i64)> {
    let error = match ask(session, purpose, id).await {
        Ok((Ok(Posts { mut posts }), observed)) if !posts.is_empty() => {
            posts.sort_by_key(|post| post.id);
            return Ok((posts, observed));
        }
        Ok((Ok(_), _)) => purpose.protocol("the site lists this discussion and shows none of its posts"),
        Ok((Err(refused), _)) => return Err(Route::Rest.refusal(purpose, &refused)),
        // What sites answer about a discussion that was deleted is not even a refusal.
        Err(error) if error.kind() == ErrorKind::Protocol => error,
        Err(error) => return Err(error),
    };
    let listed = discussions(session, purpose, forum).await?;
    let may_be_there = listed.iter().any(|listed| listed.discussion.is_none_or(|listed| listed == id));
    Err(if may_be_there { error } else { purpose.error(ErrorKind::NotFound) })
}

async fn ask(session: &Session, purpose: Purpose<'_>, id: u64) -> Result<(Asked<Posts>, i64)> {
    let id = id.to_string();
    let parameters = [("discussionid", id.as_str()), ("includeinlineattachments", "1")];
    let answer = session.try_call(purpose, POSTS, &parameters).await?;
    match &answer.0 {
        // Older sites do not know the second, and tell of no pictures.
        Err(refused) if refused.errorcode == "invalidparameter" => {
            session.try_call(purpose, POSTS, &parameters[..1]).await
        }
        _ => Ok(answer),
    }
}

/// A forum's directory.
fn overview(path: &RemotePath, discussions: &[Discussion]) -> Tree {
    let left_out = LeftOut::default();
    let mut entries = Vec::new();
    for Discussion { discussion, name } in discussions {
        let title = name.as_deref().unwrap_or_default();
        match discussion.and_then(|id| Some((id, discussion_path(path, id)?))) {
            Some((id, path)) => entries.push(directory(shown(title, &format!("Discussion {id}")), path)),
            None => left_out.add_unreadable(title.as_bytes(), "the discussion has no number"),
        }
    }
    let mut tree = Tree::default();
    tree.add_directory(path.clone(), entries, left_out);
    tree
}

/// The tree of a discussion.
fn discussion(site: &Site, observed: i64, dir: &RemotePath, posts: &[Post]) -> Tree {
    let first = posts.iter().find(|post| post.parentid.is_none()).or(posts.first());
    let title = shown(first.and_then(|post| post.subject.as_deref()).unwrap_or_default(), "Discussion");
    let modified = posts.iter().filter_map(|post| post.timemodified.max(post.timecreated)).max();
    let written = Written { site, observed, title, modified, texts: posts.iter().map(text).collect() };
    let (mut tree, left_out) = (Tree::default(), LeftOut::default());
    let entries = written.add_to(&mut tree, dir, &left_out, [].iter());
    tree.add_directory(dir.clone(), entries, left_out);
    tree
}

fn text(post: &Post) -> Text {
    let files = |area, files: &[Content]| files.iter().map(|file| (area, file.clone())).collect::<Vec<_>>();
    Text {
        id: post.id,
        head: head(post),
        html: post.message.clone().unwrap_or_default(),
        files: [files("post", &post.messageinlinefiles), files("attachment", &post.attachments)].concat(),
    }
}

/// What stands above the text of a post.
fn head(post: &Post) -> String {
    let text = |text: &Option<String>| escaped(&decoded(text.as_deref().unwrap_or_default()));
    let author = post.author.as_ref().map(|author| text(&author.fullname)).unwrap_or_default();
    let time = post.timecreated.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let time = time.map(|time| format!(", <time>{time}</time>")).unwrap_or_default();
    let parent = post.parentid.map(|id| format!(", in reply to <a href=\"#p{id}\">#{id}</a>")).unwrap_or_default();
    let private = if post.isprivatereply == Some(true) { ", to you alone" } else { "" };
    format!("<h2>{}</h2>\n<p>#{}: {author}{time}{parent}{private}</p>\n", text(&post.subject), post.id)
}

//! `tree`: what was handed in for an assignment, and the feedback on it, as a document and the files beside it. Asking for it changes
//! something at the site: it begins a submission where there is none, and notes that feedback was seen.

use super::answer::{Content, HandedIn, Plugin, SubmissionStatus};
use super::document::Text;
use super::html::{decoded, escaped};
use super::refusal::Route;
use super::session::Session;
use super::show::SUBMISSION;
use super::tree::Tree;
use super::written::Written;
use crate::error::{ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::LeftOut;
use crate::sources::purpose::Purpose;

/// The tree of the account's submission for an assignment, with all attempts. `course` is the path of the assignment's course.
pub(super) async fn tree(session: &Session, purpose: Purpose<'_>, course: &RemotePath, id: u64) -> Result<Tree> {
    let dir = course.child(format!("submission-{id}").as_bytes()).map_err(|_| purpose.error(ErrorKind::NotFound))?;
    let (asked, observed) = session.try_call(purpose, SUBMISSION, &[("assignid", &id.to_string())]).await?;
    let status: SubmissionStatus = asked.map_err(|refused| Route::Rest.refusal(purpose, &refused))?;
    let modified = status.modified();
    let written =
        Written { site: session.site(), observed, title: "Submission".to_owned(), modified, texts: texts(&status) };
    let (mut tree, left_out) = (Tree::default(), LeftOut::default());
    let entries = written.add_to(&mut tree, &dir, &left_out, [].iter());
    tree.add_directory(dir, entries, left_out);
    Ok(tree)
}

/// Each attempt, the first one first, and the feedback on it.
fn texts(status: &SubmissionStatus) -> Vec<Text> {
    let mut previous: Vec<_> = status.previousattempts.iter().collect();
    previous.sort_by_key(|attempt| attempt.attemptnumber);
    let mut texts = Vec::new();
    for attempt in previous {
        let grade = attempt.grade.as_ref().and_then(|grade| grade.gradefordisplay.as_deref());
        texts.extend(attempt.submission.as_ref().map(handed_in));
        texts.extend(feedback(attempt.attemptnumber, grade, &attempt.feedbackplugins));
    }
    // What a group hands in together stands in place of what its members have.
    let last = status.lastattempt.as_ref().and_then(|last| last.teamsubmission.as_ref().or(last.submission.as_ref()));
    texts.extend(last.map(handed_in));
    if let Some(on_last) = &status.feedback {
        let number = last.map_or(0, |last| last.attemptnumber);
        texts.extend(feedback(number, on_last.gradefordisplay.as_deref(), &on_last.plugins));
    }
    texts
}

fn handed_in(submission: &HandedIn) -> Text {
    let HandedIn { attemptnumber, timemodified, status, plugins } = submission;
    let time = timemodified.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let time = time.map(|time| format!(", <time>{time}</time>")).unwrap_or_default();
    let status = escaped(status.as_deref().unwrap_or("?"));
    let head = format!("<h2>Attempt {}</h2>\n<p>{status}{time}</p>\n", attemptnumber + 1);
    text(2 * attemptnumber + 1, head, plugins)
}

/// None where there is no feedback.
fn feedback(attempt: u64, grade: Option<&str>, plugins: &[Plugin]) -> Option<Text> {
    let grade = grade.map(|grade| format!("<p>{}</p>\n", escaped(&decoded(grade)))).unwrap_or_default();
    let head = format!("<h2>Feedback on attempt {}</h2>\n{grade}", attempt + 1);
    let text = text(2 * attempt + 2, head, plugins);
    (!grade.is_empty() || !text.html.is_empty() || !text.files.is_empty()).then_some(text)
}

fn text(id: u64, head: String, plugins: &[Plugin]) -> Text {
    let fields = plugins.iter().flat_map(|plugin| &plugin.editorfields);
    let html = fields.filter_map(|field| field.text.as_deref()).collect();
    Text { id, head, html, files: plugins.iter().flat_map(files).collect() }
}

/// The files of a part of a submission or of feedback, without those that the site only works with.
fn files(plugin: &Plugin) -> impl Iterator<Item = (&'static str, Content)> {
    let area = match plugin.kind.as_deref() {
        Some("file") => "file",
        Some("onlinetext") => "onlinetext",
        Some("comments") => "comments",
        Some("editpdf") => "editpdf",
        _ => "other",
    };
    let areas = plugin.fileareas.iter().filter(move |it| area != "editpdf" || it.area.as_deref() == Some("download"));
    areas.flat_map(move |it| it.files.iter().map(move |file| (area, file.clone())))
}

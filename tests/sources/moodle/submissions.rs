//! What was handed in, which is shown only to those who ask for it, because asking changes something at the site.

use super::{contents, list, names};
use crate::kit::moodle::Moodle;
use crate::source;

const STATUS: &str = "mod_assign_get_submission_status";

fn site() -> Moodle {
    let site = Moodle::start();
    site.store().add_kinds();
    site
}

#[tokio::test]
async fn nothing_is_asked_about_submissions_unless_the_setting_names_them() {
    let site = site();
    let source = source(&site.table()).await;
    list(source.as_ref(), "course-46").await.unwrap();
    list(source.as_ref(), "course-46/section-460").await.unwrap();
    assert!(!names(source.as_ref(), "course-46/module-446").await.contains(&"Submission".to_owned()));
    let asked = site.requests();
    assert!(!asked.iter().any(|what| what.starts_with(STATUS)), "{asked:?}");
}

#[tokio::test]
async fn what_was_handed_in_and_the_feedback_on_it_are_asked_for_when_they_are_looked_at() {
    let site = site();
    let source = source(&format!("{}show = [\"submissions\"]\n", site.table())).await;
    site.requests();
    list(source.as_ref(), "course-46/section-460").await.unwrap();
    assert_eq!(names(source.as_ref(), "course-46/module-446").await, ["Submission"]);
    assert_eq!(site.requests(), ["core_course_get_contents 46"]);
    list(source.as_ref(), "course-46/submission-2").await.unwrap();
    assert_eq!(site.requests(), [format!("{STATUS} 2")]);
    let files = contents(source.as_ref(), "course-46/submission-2").await;
    // What the site only works with (`combined.pdf`) is left out.
    let expected = [
        "4 - mark.png",
        "Submission.html",
        "corrected.pdf",
        "draft.txt",
        "essay.pdf",
        "mark.png",
        "notes.txt",
        "pic.png",
        "remarks.txt",
        "remarks1.txt",
    ];
    assert_eq!(files.keys().collect::<Vec<_>>(), expected);
    let html = String::from_utf8(files["Submission.html"].clone()).unwrap();
    for part in [
        "<h2>Attempt 2</h2>\n<p>submitted, <time>",
        "<p>My text with <img src=\"pic.png\" alt=\"\" /> a picture</p>",
        "<h2>Feedback on attempt 1</h2>\n<p>40.00\u{a0}/\u{a0}100.00</p>",
        "<p>Good. <img src=\"4%20-%20mark.png\" alt=\"\" /></p>",
        "<a href=\"essay.pdf\">essay.pdf</a>",
    ] {
        assert!(html.contains(part), "{part} is in {html}");
    }
    assert!(
        files["essay.pdf"] == site.store().bytes("509/assignsubmission_file/submission_files/2/essay.pdf").unwrap()
    );
}

#[tokio::test]
async fn a_submission_of_nothing_says_so_and_one_of_a_group_has_the_groups_files() {
    let site = site();
    let source = source(&format!("{}show = [\"submissions\"]\n", site.table())).await;
    for (dir, says, expected) in [
        ("course-46/submission-3", "<h2>Attempt 1</h2>\n<p>new, <time>", &["Submission.html"][..]),
        ("course-46/submission-6", "<p>team</p>", &["Submission.html", "team.txt"]),
    ] {
        let files = contents(source.as_ref(), dir).await;
        assert_eq!(files.keys().collect::<Vec<_>>(), expected);
        let html = String::from_utf8(files["Submission.html"].clone()).unwrap();
        assert!(html.contains(says), "{html}");
    }
}

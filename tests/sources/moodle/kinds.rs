//! Activities whose files other functions than the course's contents tell.

use kitovufs::error::ErrorKind;

use super::{entry, kind_of, known, list, whole};
use crate::kit::moodle::Moodle;
use crate::{configured, source};

const SECTION: &str = "course-46/section-460";

fn site() -> Moodle {
    let site = Moodle::start();
    site.store().add_kinds();
    site
}

#[tokio::test]
async fn assignments_lessons_and_packages_are_folders_with_their_files() {
    let site = site();
    let source = source(&site.table()).await;
    let names = async |dir: &str| {
        let entries = list(source.as_ref(), dir).await.unwrap();
        entries.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()).collect::<Vec<_>>()
    };
    // What is not open yet, and of which nothing is told, is left out.
    let mut shown = names(SECTION).await;
    shown.sort();
    let expected = [
        "Announcements",
        "Attachments only while submitting",
        "Essay",
        "H5P",
        "Lesson",
        "Nothing handed in yet",
        "Q and A",
        "Questions",
        "Scorm",
        "Scorm not open yet",
        "Team work",
        "Terms",
    ];
    assert_eq!(shown, expected);
    assert_eq!(names("course-46/module-446").await, ["sheet.pdf", "data", "Description.html", "task.png"]);
    for (dir, file, key) in [
        ("module-446", "sheet.pdf", "509/mod_assign/introattachment/0/sheet.pdf"),
        ("module-446/data", "values.csv", "509/mod_assign/introattachment/0/data/values.csv"),
        ("module-455", "media.pdf", "518/mod_lesson/mediafile/0/media.pdf"),
        ("module-457", "singlescobasic.zip", "520/mod_scorm/package/0/singlescobasic.zip"),
        ("module-459", "filltheblanks.h5p", "522/mod_h5pactivity/package/0/filltheblanks.h5p"),
    ] {
        let dir = format!("course-46/{dir}");
        let listed = entry(source.as_ref(), &dir, &format!("{dir}/{file}")).await;
        // The packages of SCORM activities have no time, and are asked for themselves.
        assert_eq!(listed.digest.is_none(), file == "singlescobasic.zip", "{file}");
        let version = known(source.as_ref(), &listed).await;
        assert_eq!(source.create_remote_digest(&listed.path).await.unwrap().digest, version.digest, "{file}");
        let (result, bytes) = whole(source.as_ref(), &listed.path, &version).await;
        result.unwrap();
        assert!(bytes == site.store().bytes(key).unwrap(), "{file}");
    }
}

#[tokio::test]
async fn each_kind_is_one_request_a_course_and_can_be_switched_off() {
    let site = site();
    let [contents, assignments, lessons, scorm, h5p, forums, glossaries] = [
        "core_course_get_contents 46",
        "mod_assign_get_assignments 46",
        "mod_lesson_get_lessons_by_courses 46",
        "mod_scorm_get_scorms_by_courses 46",
        "mod_h5pactivity_get_h5pactivities_by_courses 46",
        "mod_forum_get_forums_by_courses 46",
        "mod_glossary_get_glossaries_by_courses 46",
    ];
    for (show, count, asked) in [
        (
            r#"["assignments", "lessons", "scorm", "h5p", "forums", "glossaries"]"#,
            12,
            &[contents, assignments, lessons, scorm, h5p, forums, glossaries][..],
        ),
        (r#"["h5p", "assignments"]"#, 5, &[contents, assignments, h5p]),
        ("[]", 0, &[contents]),
    ] {
        let source = source(&format!("{}show = {show}\n", site.table())).await;
        site.requests();
        assert_eq!(list(source.as_ref(), SECTION).await.unwrap().len(), count, "{show}");
        assert_eq!(site.requests(), asked, "{show}");
    }
    let wrong = configured(&format!("{}show = [\"exams\"]\n", site.table())).await.err().unwrap();
    assert!(
        format!("{wrong:?}")
            .contains("assignments, lessons, scorm, h5p, forums, glossaries, descriptions, submissions"),
        "{wrong:?}"
    );
}

/// Under a policy or a suspended enrolment, these functions answer shorter lists, and no error (`states_activities.json`).
#[tokio::test]
async fn an_activity_of_which_nothing_is_told_makes_its_folder_incomplete() {
    use futures::TryStreamExt as _;
    let site = site();
    let source = source(&site.table()).await;
    let sheet = entry(source.as_ref(), "course-46/module-446", "course-46/module-446/sheet.pdf").await;
    list(source.as_ref(), SECTION).await.unwrap();
    site.store().is_shut_out = true;
    let section = crate::remote(SECTION);
    let mut listing = source.list_path(&section).await.unwrap();
    while listing.try_next().await.unwrap().is_some() {}
    assert!(listing.omitted().is_incomplete());
    let asked = source.create_remote_digest(&sheet.path).await.map(drop);
    assert_eq!(kind_of(asked), Err(ErrorKind::Protocol), "it may be there");
}

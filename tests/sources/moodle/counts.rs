//! How often a site is asked: once for a course, however many folders and files it has.

use kitovufs::path::RemotePath;

use super::{entry, files};
use crate::kit::moodle::Moodle;
use crate::source;

const ABOUT_COURSE: [&str; 3] =
    ["core_course_get_contents 2", "mod_assign_get_assignments 2", "mod_label_get_labels_by_courses 2"];

#[tokio::test]
async fn two_hundred_files_in_five_sections_are_one_request_and_one_about_filters() {
    let site = Moodle::start();
    let source = source(&site.table()).await;
    assert_eq!(site.requests(), ["core_webservice_get_site_info"]);
    let root = RemotePath::root();
    let course = RemotePath::parse(b"course-8").unwrap();
    let found = files(source.as_ref(), &course).await;
    assert_eq!(found.len(), 200);
    assert!(found.iter().all(|file| file.digest.is_some() && file.size == Some(20) && file.modified.is_some()));
    assert_eq!(site.requests(), ["core_course_get_contents 8", "mod_resource_get_resources_by_courses 8"]);

    // Everything that there is: the courses, and each of them.
    files(source.as_ref(), &root).await;
    let mut requests = site.requests();
    requests.sort();
    let course = |id| format!("core_course_get_contents {id}");
    let once = [
        "core_enrol_get_users_courses 3",
        "mod_assign_get_assignments 2",
        "mod_label_get_labels_by_courses 2",
        "mod_resource_get_resources_by_courses 2",
    ];
    let all: Vec<_> = [2, 3, 4, 7, 8, 9].map(course).into_iter().chain(once.map(str::to_owned)).collect();
    assert_eq!(requests, all);
}

#[tokio::test]
async fn a_change_costs_one_request_for_its_course_and_one_for_each_kind_of_activity() {
    let site = Moodle::start();
    let source = source(&site.table()).await;
    let course = RemotePath::parse(b"course-2").unwrap();
    let before = files(source.as_ref(), &course).await;
    assert_eq!(site.requests().len(), 5);
    site.store().put(17, "/sub/a.txt", b"newer");
    let after = files(source.as_ref(), &course).await;
    assert_eq!(site.requests(), ABOUT_COURSE);
    let changed: Vec<_> =
        after.iter().filter(|file| !before.contains(file)).map(|file| file.path.to_string()).collect();
    // The revision of all files of the folder is a new one, and that is no change of theirs.
    assert_eq!(changed, ["/course-2/module-17/sub/a.txt"]);
}

#[tokio::test]
async fn a_folder_that_is_asked_for_twice_is_never_told_from_the_same_answer() {
    let site = Moodle::start();
    let source = source(&site.table()).await;
    for round in 0..3 {
        site.requests();
        for dir in ["course-2/section-3", "course-2/module-17", "course-2/section-2"] {
            super::list(source.as_ref(), dir).await.unwrap();
        }
        let asked = &site.requests()[..];
        let about_filters: &[&str] = if round == 0 { &["mod_resource_get_resources_by_courses 2"] } else { &[] };
        assert_eq!(asked, [&ABOUT_COURSE, about_filters].concat(), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_are_asked_for_at_once_share_an_answer() {
    let site = Moodle::start();
    let source: std::sync::Arc<dyn kitovufs::source::Source> = source(&site.table()).await.into();
    site.requests();
    let dirs = (0..5).map(|topic| format!("course-8/section-{}", 200 + topic));
    let asking: Vec<_> = dirs
        .map(|dir| {
            let source = source.clone();
            tokio::spawn(async move { super::list(source.as_ref(), &dir).await.unwrap().len() })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), 40);
    }
    assert_eq!(site.requests(), ["core_course_get_contents 8", "mod_resource_get_resources_by_courses 8"]);
}

#[tokio::test]
async fn a_files_digest_is_asked_for_with_its_activity_alone() {
    let site = Moodle::start();
    let source = source(&site.table()).await;
    let listed = entry(source.as_ref(), "course-8/section-200", "course-8/module-1007/file1007.txt").await;
    site.requests();
    let asked = source.create_remote_digest(&listed.path).await.unwrap();
    assert_eq!((Some(asked.digest), asked.size, asked.modified), (listed.digest, listed.size, listed.modified));
    assert_eq!(site.requests(), ["core_course_get_contents 8 cmid 1007"]);
}

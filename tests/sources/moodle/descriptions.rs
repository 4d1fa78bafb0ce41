//! Texts that stand on the page of a course, and those of activities, with their pictures.

use std::collections::BTreeMap;
use std::time::Duration;

use kitovufs::error::ErrorKind;
use kitovufs::internals::Limited;

use super::{contents, entry, kind_of, known, list, names, whole};
use crate::kit::moodle::{Moodle, TOKEN};
use crate::source;

const SECTION: &str = "course-46/section-424";
const ABOUT: &str = "course-46/about-424";
const TEXT: &str = "course-46/about-424/text";

fn site() -> Moodle {
    let site = Moodle::start();
    site.store().add_kinds();
    site
}

fn html(files: &BTreeMap<String, Vec<u8>>, name: &str) -> String {
    String::from_utf8(files[name].clone()).unwrap()
}

#[tokio::test]
async fn a_section_is_described_by_its_summary_its_labels_and_what_activities_show() {
    let site = site();
    let source = source(&site.table()).await;
    assert_eq!(names(source.as_ref(), SECTION).await, ["Folder with description", "Description"]);
    let files = contents(source.as_ref(), ABOUT).await;
    assert_eq!(files.keys().collect::<Vec<_>>(), ["Description.html", "desc.png", "map.png", "plan.png"]);
    for (name, key) in [
        ("plan.png", "505/course/section/424/plan.png"),
        ("map.png", "506/mod_label/intro/map.png"),
        ("desc.png", "508/mod_folder/intro/desc.png"),
    ] {
        assert!(files[name] == site.store().bytes(key).unwrap(), "{name}");
    }
    let html = html(&files, "Description.html");
    for part in [
        "<p>Plan: <img src=\"plan.png\" alt=\"plan\">",
        "<img src=\"map.png\" alt=\"map\"> and <a href=\"https://example.org/x\">there</a>",
        "<p>Only text</p>",
        "<h2>Folder with description</h2>\n<div class=\"no-overflow\"><p><img src=\"desc.png\">",
        // The site does not have it.
        "/webservice/pluginfile.php/505/course/section/424/sub/%C3%BC%201.png\">more</a>",
    ] {
        assert!(html.contains(part), "{part} is in {html}");
    }
    assert!(!html.contains(TOKEN), "{html}");
}

#[tokio::test]
async fn labels_are_one_request_and_pictures_that_no_function_lists_are_asked_for_once() {
    let site = site();
    let source = source(&format!("{}show = [\"descriptions\"]\n", site.table())).await;
    let [contents, labels] = ["core_course_get_contents 46", "mod_label_get_labels_by_courses 46"];
    let [plan, broken, folder] =
        ["course/section/424/plan.png", "course/section/424/sub/ü 1.png", "mod_folder/intro/desc.png"];
    let first = |place: &str| {
        let context = if place == folder { 508 } else { 505 };
        format!("file {context}/{place} bytes=0-0")
    };
    site.requests();
    list(source.as_ref(), SECTION).await.unwrap();
    assert_eq!(site.requests(), [contents, labels, &first(plan), &first(broken), &first(folder)]);
    list(source.as_ref(), SECTION).await.unwrap();
    assert_eq!(site.requests(), [contents, labels, &first(broken)], "a picture may come that was not there");
    let source = self::source(&format!("{}show = []\n", site.table())).await;
    site.requests();
    assert_eq!(names(source.as_ref(), SECTION).await, ["Folder with description"]);
    assert_eq!(site.requests(), [contents]);
}

#[tokio::test]
async fn pictures_are_asked_for_side_by_side_within_the_places_of_the_source() {
    const PICTURES: usize = 12;
    let pictures = (0..PICTURES).map(|number| {
        format!("<img src=\"http://moodle.example/webservice/pluginfile.php/505/course/section/424/plan{number}.png\">")
    });
    let text: String = pictures.collect();
    for (places, together) in [(None, 4), (Some(2), 2), (Some(1), 1)] {
        let site = site();
        site.store().describe(443, &text);
        site.store().together = together;
        let source = Limited::new(source(&site.table()).await, places, None, Duration::from_secs(30));
        site.requests();
        list(&source, SECTION).await.unwrap();
        let asked: Vec<_> = site.requests().into_iter().filter(|what| what.starts_with("file ")).collect();
        assert_eq!(asked.iter().filter(|what| what.contains("/plan")).count(), PICTURES + 1, "{asked:?}");
        assert_eq!(site.store().most_at_once, together, "{places:?}");
    }
}

#[tokio::test]
async fn a_picture_whose_server_does_not_answer_stays_listed_and_costs_nothing_else() {
    let site = site();
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    site.store().elsewhere.insert("505/course/section/424/plan.png".into(), format!("http://{closed}/plan.png"));
    let source = source(&format!("{}redirect_hosts = [\"127.0.0.1\"]\n", site.table())).await;
    assert_eq!(names(source.as_ref(), SECTION).await, ["Folder with description", "Description"]);
    let beside = names(source.as_ref(), ABOUT).await;
    assert_eq!(beside, ["Description.html", "plan.png", "map.png", "desc.png"]);
}

#[tokio::test]
async fn a_description_is_another_version_when_a_text_changes_and_only_then() {
    let site = site();
    let source = source(&site.table()).await;
    let before = entry(source.as_ref(), ABOUT, TEXT).await;
    site.store().put(445, "/b.txt", b"another file");
    assert_eq!(entry(source.as_ref(), ABOUT, TEXT).await, before);
    site.store().describe(443, "<p>Another text</p>");
    let after = entry(source.as_ref(), ABOUT, TEXT).await;
    assert_ne!(after.digest, before.digest);
    let (result, bytes) = whole(source.as_ref(), &after.path, &known(source.as_ref(), &after).await).await;
    result.unwrap();
    assert!(String::from_utf8(bytes).unwrap().contains("<p>Another text</p>"));
}

#[tokio::test]
async fn a_description_without_pictures_is_a_file_and_one_of_nothing_is_left_out() {
    let site = site();
    for (id, text) in [(443, "<p>Text</p>"), (444, "<p> </p>"), (445, "")] {
        site.store().describe(id, text);
    }
    site.store().summarize(46, "");
    let source = source(&site.table()).await;
    assert_eq!(names(source.as_ref(), SECTION).await, ["Folder with description", "Description.html"]);
    site.store().describe(443, "<br>");
    assert_eq!(names(source.as_ref(), SECTION).await, ["Folder with description"]);
}

#[tokio::test]
async fn activities_have_their_descriptions_beside_their_files() {
    let site = site();
    let source = source(&site.table()).await;
    for (dir, picture, key) in [
        ("course-46/module-446", "task.png", "509/mod_assign/intro/task.png"),
        ("course-46/module-455", "li.png", "518/mod_lesson/intro/li.png"),
    ] {
        let files = contents(source.as_ref(), dir).await;
        assert!(files[picture] == site.store().bytes(key).unwrap(), "{picture}");
        let html = html(&files, "Description.html");
        assert!(html.contains(&format!("<img src=\"{picture}\">")), "{html}");
    }
}

#[tokio::test]
async fn a_picture_of_the_name_of_another_file_carries_a_number_also_in_the_text() {
    let site = site();
    let source = source(&site.table()).await;
    site.store().rename_in_answers("task.png", "sheet.pdf");
    let files = contents(source.as_ref(), "course-46/module-446").await;
    assert_eq!(files.keys().collect::<Vec<_>>(), ["446 - sheet.pdf", "Description.html", "sheet.pdf"]);
    assert!(html(&files, "Description.html").contains("<img src=\"446%20-%20sheet.pdf\">"));
}

#[tokio::test]
async fn a_glossary_is_a_document_of_its_entries_beside_their_files() {
    let site = site();
    let source = source(&site.table()).await;
    site.requests();
    let files = contents(source.as_ref(), "course-46/glossary-2").await;
    assert_eq!(files.keys().collect::<Vec<_>>(), ["Glossary.html", "ring.pdf", "ring.png"]);
    assert_eq!(site.requests()[0], "mod_glossary_get_entries_by_letter 2");
    assert!(files["ring.pdf"] == site.store().bytes("517/mod_glossary/attachment/2/ring.pdf").unwrap());
    let text = html(&files, "Glossary.html");
    for part in
        ["<h2>Field</h2>\n<p>A field</p>", "<img src=\"ring.png\" alt=\"\" />", "<a href=\"ring.pdf\">ring.pdf</a>"]
    {
        assert!(text.contains(part), "{part} is in {text}");
    }
    // One by one they make the same.
    site.store().entries_at_once = 1;
    assert_eq!(contents(source.as_ref(), "course-46/glossary-2").await, files);
    site.store().entries_at_once = 0;
    let cut = list(source.as_ref(), "course-46/glossary-2").await.map(drop);
    assert_eq!(kind_of(cut), Err(ErrorKind::Protocol));
}

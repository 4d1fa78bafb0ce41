//! Courses as trees of folders and files: the whole of what is shown for what was recorded, compared with trees written by hand.

use futures::TryStreamExt as _;
use kitovufs::internals::{Packed, localize};
use kitovufs::path::{Printable, RemotePath};
use kitovufs::source::{Entry, EntryKind, Omitted, Source};

use crate::kit::moodle::Moodle;
use crate::source;

/// Everything below a directory, as a mount names it: one line each, with the size and what the digest is made of.
async fn tree(source: &dyn Source, dir: &RemotePath, depth: usize) -> String {
    let entries: Vec<Entry> = source.list_path(dir).await.unwrap().try_collect().await.unwrap();
    let mut paths: Vec<_> = entries.iter().map(|entry| entry.path.clone()).collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), entries.len(), "every entry of {dir} has a path of its own");
    let mut packed = Packed::new(dir.clone());
    entries.iter().for_each(|entry| _ = packed.push(entry));
    let localized = localize(packed, Omitted::default(), source.capabilities().verbatim_names);
    assert_eq!(localized.omitted, Omitted::default());
    let mut text = String::new();
    for (name, entry) in localized.named.iter() {
        let name = format!("{:indent$}{}", "", Printable(&name), indent = 4 * depth);
        if entry.kind == EntryKind::Directory {
            text += &format!("{name}/\n{}", Box::pin(tree(source, &entry.path, depth + 1)).await);
            continue;
        }
        let size = entry.size.map_or_else(|| "?".to_owned(), |size| size.to_string());
        let digest = entry.digest.as_ref().map_or("asked", |digest| digest.as_str().split(':').next().unwrap());
        text += &format!("{name}  [{size} {digest}]\n");
    }
    text
}

async fn shown(site: &Moodle, course: &str) -> String {
    let source = source(&site.table()).await;
    tree(source.as_ref(), &RemotePath::parse(course.as_bytes()).unwrap(), 0).await
}

#[tokio::test]
async fn a_course_with_everything_is_the_tree_that_a_student_expects() {
    let site = Moodle::start();
    assert_eq!(shown(&site, "course-2").await, include_str!("../../fixtures/moodle/tree_an.txt"));
    // The same with names as teachers typed them, and from a site whose addresses are queries.
    site.store().replace_contents(2, include_str!("../../fixtures/moodle/contents_an_raw.json"));
    site.store().no_slash_arguments = true;
    assert_eq!(shown(&site, "course-2").await, include_str!("../../fixtures/moodle/tree_an.txt"));
}

#[tokio::test]
async fn a_teacher_sees_what_is_hidden_from_students() {
    let site = Moodle::start();
    site.store().replace_contents(2, include_str!("../../fixtures/moodle/contents_an_teacher.json"));
    assert_eq!(shown(&site, "course-2").await, include_str!("../../fixtures/moodle/tree_an_teacher.txt"));
}

#[tokio::test]
async fn activities_outside_of_the_sections_have_one_of_their_own() {
    let site = Moodle::start();
    site.store().replace_contents(2, include_str!("../../fixtures/moodle/contents_an_stealth.json"));
    let expected = include_str!("../../fixtures/moodle/tree_an.txt").to_owned() + "Other/\n    sh.pdf  [130 stat]\n";
    assert_eq!(shown(&site, "course-2").await, expected);
}

/// So copies, inode numbers and open files stay when sections are numbered, inserted or moved.
#[tokio::test]
async fn the_number_of_a_section_is_part_of_its_name_alone() {
    let site = Moodle::start();
    let listed = async |setting: &str| {
        let source = source(&format!("{}{setting}", site.table())).await;
        super::list(source.as_ref(), "course-2").await.unwrap()
    };
    let [always, if_needed, never] =
        [listed("number_sections = true\n").await, listed("").await, listed("number_sections = false\n").await];
    assert_eq!(always, if_needed);
    let without_number = |mut entry: Entry| {
        entry.name.drain(.."00 - ".len());
        entry
    };
    assert_eq!(always.into_iter().map(without_number).collect::<Vec<_>>(), never);
}

#[tokio::test]
async fn a_subsection_inside_itself_is_shown_once() {
    let site = Moodle::start();
    let inside = |id: u64, name: &str| {
        format!("{{\"id\": {id}, \"name\": \"{name}\", \"modname\": \"subsection\", \"instance\": 1}}")
    };
    let link = r#"{"id": 8, "name": "l", "modname": "url", "contents": [{"type": "url", "fileurl": "x:"}]}"#;
    let sub = "\"component\": \"mod_subsection\", \"itemid\": 1";
    let sections = format!(
        "[{{\"id\": 1, \"name\": \"A\", {sub}, \"modules\": [{}, {link}]}}, {{\"id\": 2, \"name\": \"B\", \"modules\": [{}, {}]}}]",
        inside(5, "loop"),
        inside(6, "in"),
        inside(7, "again")
    );
    site.store().replace_contents(2, &sections);
    assert_eq!(shown(&site, "course-2").await, "B/\n    in/\n        l.url  [28 link]\n");
}

#[tokio::test]
async fn all_courses_are_folders_of_their_names() {
    let site = Moodle::start();
    let all = shown(&site, "").await;
    let many: String = (0..5)
        .map(|topic| {
            let files = (0..40).map(|file| format!("        file{}.txt  [20 stat]\n", 1000 + topic * 40 + file));
            format!("    Topic {topic}/\n{}", files.collect::<String>())
        })
        .collect();
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let expected = include_str!("../../fixtures/moodle/tree_all.txt")
        .replace("    (tree_an.txt)\n", &indented(include_str!("../../fixtures/moodle/tree_an.txt")))
        .replace("    (200 files)\n", &many);
    assert_eq!(all, expected);
}

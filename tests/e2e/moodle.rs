//! A Moodle site through a real mount.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use walkdir::WalkDir;

use crate::kit::home::Home;
use crate::kit::moodle::{Condition, Moodle, PASSWORD, TOKEN, USER};
use crate::kit::mount::{Mount, bytes_retrieved, requests};
use crate::kit::wait::eventually;

const COURSE: &str = "uni/Analysis I: Übungen & \"Grundlagen\" 1／2";

fn mount(site: &Moodle, fresh_for: &str) -> Mount {
    let table = site.table().replace("type =", "[sources.uni]\ntype =");
    Mount::of(&format!("{table}fresh_for = \"{fresh_for}\"\ntimeout = \"10s\"\n"))
}

/// Files below a directory with their sizes as `stat` has them.
fn sizes(dir: &Path) -> BTreeMap<String, u64> {
    let files = WalkDir::new(dir).into_iter().map(|entry| entry.unwrap()).filter(|entry| entry.file_type().is_file());
    let name = |path: &Path| path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
    files.map(|file| (name(file.path()), file.metadata().unwrap().len())).collect()
}

#[test]
fn courses_are_folders_whose_files_programs_can_read() {
    let site = Moodle::start();
    let mount = mount(&site, "1h");
    let course = mount.path(COURSE);
    let sizes = sizes(&course);
    // As many as the tree has that was written by hand.
    assert_eq!(sizes.len(), 38, "{sizes:#?}");
    // What has no size before it is read has the right one nevertheless.
    assert_eq!(sizes["02 - 日本語 セクション/Page/Page.html"], 173);
    assert_eq!(sizes["02 - 日本語 セクション/Book/2 Sub.html"], 87);
    assert_eq!(sizes["01 - Week 1／2: Intro & Basics/f.html"], 111);
    for (name, size) in &sizes {
        assert_eq!(fs::read(course.join(name)).unwrap().len() as u64, *size, "{name}");
    }
    let sent = |key: &str| site.store().sent(key);
    for (name, key) in [
        ("00 - General/syllabus.pdf", "23/mod_resource/content/syllabus.pdf"),
        ("01 - Week 1／2: Intro & Basics/notes.txt", "24/mod_resource/content/notes.txt"),
        ("01 - Week 1／2: Intro & Basics/Slides - slides (2).pdf", "26/mod_resource/content/slides.pdf"),
        ("01 - Week 1／2: Intro & Basics/f.html", "34/mod_resource/content/f.html"),
        ("01 - Week 1／2: Intro & Basics/alias.txt", "72/mod_resource/content/alias.txt"),
        ("02 - 日本語 セクション/Folder/sub/deeper dir/ü.txt", "39/mod_folder/content/sub/deeper dir/ü.txt"),
        ("02 - 日本語 セクション/Page/Page.html", "41/mod_page/content/index.html"),
        ("02 - 日本語 セクション/Page.html", "42/mod_page/content/index.html"),
        ("02 - 日本語 セクション/Book/1 Chapter & one/c.png", "46/mod_book/chapter/1/c.png"),
        ("02 - 日本語 セクション/big.bin", "38/mod_resource/content/big.bin"),
    ] {
        assert!(fs::read(course.join(name)).unwrap() == sent(key), "{name}");
    }
    let tar = Command::new("tar").arg("-cf").arg("/dev/null").arg("-C").arg(&course).arg(".").output().unwrap();
    assert!(tar.status.success() && tar.stderr.is_empty(), "{}", String::from_utf8_lossy(&tar.stderr));
    // Nothing is there that cannot be read.
    let copies = kit::reaper::reachable();
    let copied = Command::new("cp").arg("-r").arg(&course).arg(copies.path()).output().unwrap();
    assert!(copied.status.success() && copied.stderr.is_empty(), "{}", String::from_utf8_lossy(&copied.stderr));
    // All of it was listed once, and retrieved once.
    let before = bytes_retrieved(&mount.status(), "uni");
    site.requests();
    for name in sizes.keys() {
        fs::read(course.join(name)).unwrap();
    }
    assert_eq!(site.requests(), [""; 0]);
    assert_eq!(bytes_retrieved(&mount.status(), "uni"), before);
}

const KINDS: &str = "uni/More kinds";

/// Runs a command, which ends with 0 and complains of nothing; what it prints.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_course_with_everything_is_copied_searched_and_kept_for_an_outage() {
    let mut site = Moodle::start();
    site.store().add_kinds();
    site.store().forums.keep_recorded();
    let mount = mount(&site, "300ms");
    let (course, copy) = (mount.path(KINDS), kit::reaper::reachable());
    run(Command::new("cp").arg("-r").arg(&course).arg(copy.path().join("cp")));
    run(Command::new("find").arg(&course).args(["-type", "f", "-size", "+0"]));
    assert!(run(Command::new("grep").arg("-rl").arg("Who knows").arg(&course)).ends_with("For everyone.html\n"));
    let secret = Command::new("grep").arg("-rlF").arg(TOKEN).arg(&course).output().unwrap();
    assert_eq!((secret.status.code(), secret.stdout), (Some(1), Vec::new()), "the token is in no file");
    let from = format!("{}/", course.display());
    let synchronize = || {
        run(Command::new("rsync")
            .args(["-ai", "--delete", "--no-owner", "--no-group", &from])
            .arg(copy.path().join("rs")))
    };
    assert!(synchronize().contains("Description.html"));
    assert_eq!(synchronize(), "", "nothing is another version that did not change");
    site.stop();
    run(Command::new("diff").arg("-r").arg(copy.path().join("cp")).arg(&course));
}

/// What a browser shows of documents that were made here.
#[test]
fn pictures_of_descriptions_glossaries_and_posts_stand_beside_them() {
    let site = Moodle::start();
    site.store().add_kinds();
    site.store().forums.keep_recorded();
    let mount = mount(&site, "1h");
    let mut shown = Vec::new();
    for entry in WalkDir::new(mount.path(KINDS)).into_iter().map(|entry| entry.unwrap()) {
        if entry.path().extension().is_none_or(|extension| extension != "html") {
            continue;
        }
        let html = fs::read_to_string(entry.path()).unwrap();
        assert_eq!(entry.metadata().unwrap().len(), html.len() as u64, "{entry:?}");
        for picture in html.split("<img src=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            // A post was recorded without its pictures, of which the source therefore knows nothing.
            if picture.ends_with("/mod_forum/post/3/dates.png") {
                continue;
            }
            let name = percent_encoding::percent_decode_str(picture).decode_utf8().unwrap();
            assert!(fs::metadata(entry.path().with_file_name(&*name)).is_ok(), "{picture} of {entry:?}");
            shown.push(name.into_owned());
        }
    }
    shown.sort();
    assert_eq!(shown, ["desc.png", "li.png", "map.png", "plan.png", "q.png", "ring.png", "task.png"]);
}

#[test]
fn two_hundred_files_are_listed_with_one_request_for_their_course_and_one_about_filters() {
    let site = Moodle::start();
    let mount = mount(&site, "1h");
    let course = mount.path("uni/Many modules");
    assert_eq!(sizes(&course).values().collect::<Vec<_>>(), vec![&20; 200]);
    let asked = site.requests();
    let [connected, listed] = ["core_webservice_get_site_info", "core_enrol_get_users_courses 3"];
    let [contents, filters] = ["core_course_get_contents 8", "mod_resource_get_resources_by_courses 8"];
    assert_eq!(asked, [connected, listed, contents, filters]);
    assert_eq!(requests(&mount.status(), "uni").2, 0, "no file was retrieved");
}

#[test]
fn a_change_is_seen_and_an_open_file_stays_what_it_is() {
    let site = Moodle::start();
    let mount = mount(&site, "300ms");
    let file = mount.path(format!("{COURSE}/02 - 日本語 セクション/Folder/b.pdf"));
    let before = fs::read(&file).unwrap();
    let mut open = fs::File::open(&file).unwrap();
    site.store().put(17, "/b.pdf", &vec![b'n'; before.len()]);
    eventually("the change is seen", || fs::read(&file).is_ok_and(|read| read == vec![b'n'; before.len()]));
    let mut still = Vec::new();
    open.read_to_end(&mut still).unwrap();
    assert!(still == before, "who has it open goes on with what it was");
    let page = mount.path(format!("{COURSE}/02 - 日本語 セクション/Page.html"));
    fs::read(&page).unwrap();
    site.store().edit_page(20, "<p>edited, and longer than before, so that a size that was kept would show</p>");
    eventually("the edit is seen", || {
        fs::read_to_string(&page).is_ok_and(|read| read.starts_with("<p>edited") && read.ends_with("</p>"))
    });
    assert_eq!(fs::metadata(&page).unwrap().len(), fs::read(&page).unwrap().len() as u64);
}

#[test]
fn a_blocked_account_keeps_what_it_had() {
    let site = Moodle::start();
    let mount = mount(&site, "300ms");
    let file = mount.path(format!("{COURSE}/00 - General/syllabus.pdf"));
    let bytes = fs::read(&file).unwrap();
    site.store().condition = Condition::Policy;
    eventually("the refusal is noticed", || {
        let _ = fs::read_dir(mount.path("uni"));
        mount.status()["sources"]["uni"]["state"] == "unauthorized"
    });
    assert_eq!(fs::read_dir(mount.path("uni")).unwrap().count(), 6);
    assert_eq!(fs::read(&file).unwrap(), bytes);
    let status = mount.status();
    let told = status["sources"]["uni"]["last_error"].to_string();
    assert!(told.contains("log in to the site in a browser"), "{told}");
}

#[test]
fn a_file_that_the_site_filters_unannounced_is_served_in_an_outage_and_after_a_remount() {
    let mut site = Moodle::start();
    let mut mount = mount(&site, "300ms");
    let file = mount.path(format!("{COURSE}/01 - Week 1／2: Intro & Basics/notes.txt"));
    fs::read_dir(file.parent().unwrap()).unwrap().for_each(drop);
    site.store().filter("24/mod_resource/content/notes.txt", "<pre>filtered</pre>");
    assert_eq!(fs::read_to_string(&file).unwrap(), "<pre>filtered</pre>");
    site.stop();
    let is_served = || fs::read_to_string(&file).is_ok_and(|read| read == "<pre>filtered</pre>");
    eventually("it is served offline", || is_served() && mount.status()["sources"]["uni"]["state"] == "unreachable");
    mount.remount();
    eventually("it is served after a remount", is_served);
}

#[test]
fn check_logs_in_lists_and_proves_a_file() {
    let site = Moodle::start();
    let check = |password: &str| {
        let table = format!("[sources.uni]\ntype = \"moodle\"\nurl = \"{}\"\nusername = \"{USER}\"\n", site.url());
        let home = Home::of(&format!("{table}password = {{ env = \"UNI\" }}\n")).with_env("UNI", password);
        let output = home.kitovufs(["check".as_ref(), "-c".as_ref(), home.config().as_os_str()]);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!said.contains(password), "{said}");
        (output.status.code(), said)
    };
    let (code, said) = check(PASSWORD);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("listed 6 entries") && said.contains("retrieved and verified /course-"), "{said}");
    let (code, said) = check("hunter2");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("FAILED") && said.contains("does not accept `username` and `password`"), "{said}");
}

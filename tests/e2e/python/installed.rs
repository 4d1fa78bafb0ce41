//! Plugins that were installed with pip, and kitovu itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::FIXTURES;
use crate::kit::home::text;
use crate::kit::moodle::{Moodle, TOKEN};
use crate::kit::mount::Mount;
use crate::kit::reaper;
use crate::kit::samba::Samba;
use crate::kit::wait::eventually;
use tempfile::TempDir;

/// A Python with kitovu and what builds packages, which `scripts/test` installs.
const UPSTREAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-upstream/bin");

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

/// A virtual environment with the package of a third party in it, which has never heard of kitovufs.
fn environment_with_notes() -> TempDir {
    let dir = reaper::temporary();
    let package = dir.path().join("notes_plugin");
    fs::create_dir(&package).unwrap();
    for file in ["setup.py", "notes_plugin.py"] {
        fs::copy(Path::new(FIXTURES).join("notes_plugin").join(file), package.join(file)).unwrap();
    }
    let environment = dir.path().join("environment");
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment));
    let wheels = dir.path().join("wheels");
    let offline = ["--quiet", "--no-index", "--no-deps", "--disable-pip-version-check"];
    let build = ["wheel", "--no-build-isolation", "--wheel-dir"];
    run(Command::new(format!("{UPSTREAM}/pip")).args(build).arg(&wheels).args(offline).arg(&package));
    let wheel = fs::read_dir(&wheels).unwrap().next().expect("it was built").unwrap().path();
    run(Command::new(environment.join("bin/pip")).arg("install").args(offline).arg(&wheel));
    dir
}

#[test]
fn a_package_with_an_entry_point_mounts_by_its_name() {
    let dir = environment_with_notes();
    let python = dir.path().join("environment/bin/python");
    let table = format!("[sources.notes]\ntype = \"python\"\npython = {python:?}\nplugin = \"notes\"\n");
    let mut mount = Mount::of(&format!("{table}notes = {{ todo = \"buy milk\", \"b/c\" = \"deep\" }}\n"));
    assert_eq!(mount.sh("cat notes/todo.txt notes/b/c.txt"), "buy milkdeep");
    assert!(mount.log().contains("Connecting"));
    mount.unmount();
}

#[test]
fn kitovus_own_plugin_for_smb_shows_a_share() {
    let served = reaper::temporary();
    fs::create_dir_all(served.path().join("Informatik/Übung 1")).unwrap();
    fs::write(served.path().join("Informatik/Übung 1/task.txt"), "the task").unwrap();
    fs::write(served.path().join("top.txt"), "top").unwrap();
    let samba = Samba::run(served.path());
    // The same keys as those of the native source, but for the type.
    let table = samba.table("kit").replace("type = \"smb\"", "type = \"python\"\nplugin = \"smb\"\nuse_ntlm_v2 = true");
    let python = text(format!("{UPSTREAM}/python"));
    let config = format!("[sources.smb]\n{table}python = {python:?}\nfresh_for = \"300ms\"\n");
    let mut mount = Mount::of(&config);
    assert_eq!(mount.sh("find smb -type f | sort"), "smb/Informatik/Übung 1/task.txt\nsmb/top.txt\n");
    assert_eq!(mount.sh("cat 'smb/Informatik/Übung 1/task.txt'"), "the task");
    assert_eq!(mount.sh("stat -c %s smb/top.txt"), "3\n");
    fs::write(served.path().join("top.txt"), "changed").unwrap();
    eventually("the change is seen", || fs::read(mount.path("smb/top.txt")).is_ok_and(|read| read == b"changed"));
    mount.unmount();
    let wrong = config.replacen("password = \"", "password = \"not-", 1);
    let mount = Mount::of(&wrong);
    assert!(fs::read_dir(mount.path("smb")).is_err_and(|error| error.raw_os_error() == Some(13)), "{}", mount.log());
}

/// A file with everything in its name that addresses must encode.
const WEIRD: &str = "28/mod_resource/content/Übung #1 100% a+bc=d; x (1)?.pdf";

/// The table of kitovu's plugin for a site. It wants the token from `get_password`, and knows no key but `url`.
fn moodle(site: &Moodle, fresh_for: &str) -> String {
    let table = site.table().replace("\"moodle\"", "\"python\"\nplugin = \"moodle\"").replace("token =", "password =");
    format!("[sources.uni]\n{table}python = \"{UPSTREAM}/python\"\nfresh_for = \"{fresh_for}\"\n")
}

/// A course whose name holds a slash, as that plugin makes a path of it.
const COURSE: &str = "uni/Analysis I: Übungen &amp; \"Grundlagen\" 1/2";

#[test]
fn kitovus_own_plugin_for_moodle_shows_courses_and_asks_for_each_thing_once() {
    let site = Moodle::start();
    // A link: kitovu's plugin would ask the linked site, and tell it the token.
    site.store().delete(22);
    let mut mount = Mount::of(&moodle(&site, "1h"));
    let courses =
        "Analysis I: Übungen &amp; \"Grundlagen\" 1\nMany modules\nPhysics\nSingle activity\n微積分 bold a &lt; b\n";
    assert_eq!(mount.sh("LC_ALL=C ls uni"), courses);
    // That courses are directories shows when one of them can be listed.
    let to_begin = ["core_webservice_get_site_info", "core_enrol_get_users_courses 3", "core_course_get_contents 8"];
    assert_eq!(site.requests(), to_begin);
    assert_eq!(mount.sh("find 'uni/Many modules' -type f | wc -l"), "200\n");
    assert_eq!(site.requests(), [""; 0], "what was listed to find out is not listed again");
    assert_eq!(mount.sh("find uni -type f | wc -l"), "232\n");
    let mut listed = site.requests();
    listed.sort();
    assert_eq!(listed, [2, 3, 7, 9].map(|course| format!("core_course_get_contents {course}")));
    let course = mount.path(COURSE);
    let week = "01 - Week 1/2: Intro &amp; Basics";
    for (name, key, times) in [
        ("00 - General/Syllabus/syllabus.pdf", "23/mod_resource/content/syllabus.pdf", 1),
        (&format!("{week}/Notes/notes.txt"), "24/mod_resource/content/notes.txt", 1),
        (&format!("{week}/Empty file/empty.dat"), "31/mod_resource/content/empty.dat", 1),
        (&format!("{week}/Weird file name/Übung #1 100% a+bc=d; x (1)?.pdf"), WEIRD, 1),
        ("02 - 日本語 セクション/Big file/big.bin", "38/mod_resource/content/big.bin", 1),
        ("02 - 日本語 セクション/Page/index.html", "42/mod_page/content/index.html", 1),
        ("02 - 日本語 セクション/Book/c.png", "46/mod_book/chapter/1/c.png", 1),
        // To that plugin the copy of any HTML file has no bytes, but the listed one has: they never agree.
        (&format!("{week}/HTML site/index.html"), "33/mod_resource/content/index.html", 2),
        (&format!("{week}/HTML filtered/f.html"), "34/mod_resource/content/f.html", 2),
        ("04 - Same/Activity imscp/p.html", "62/mod_imscp/content/a/p.html", 2),
    ] {
        let (file, sent) = (course.join(name), site.store().sent(key));
        assert!(fs::read(&file).unwrap() == sent, "{name}");
        assert_eq!(fs::metadata(&file).unwrap().len(), sent.len() as u64, "{name}");
        assert!(fs::read(&file).unwrap() == sent, "{name}, once more");
        assert_eq!(site.requests(), vec![format!("file {key}"); times], "{name}");
    }
    mount.remount();
    fs::read(course.join("04 - Same/Activity imscp/p.html")).unwrap();
    fs::read(course.join("02 - 日本語 セクション/Page/index.html")).unwrap();
    let again = [&to_begin[..], &["core_course_get_contents 2"]].concat();
    assert_eq!(site.requests(), again, "the plugin must know its courses again; the bytes are in the cache");
    mount.unmount();
}

#[test]
fn kitovus_own_plugin_for_moodle_shows_changes_and_what_it_cannot_read_harms_nothing_else() {
    let site = Moodle::start();
    site.store().delete(22);
    let config = moodle(&site, "300ms");
    let mut mount = Mount::of(&config);
    let course = mount.path(COURSE);
    let slides = course.join("00 - General/Syllabus/syllabus.pdf");
    let before = fs::read(&slides).unwrap();
    site.store().put(1, "/syllabus.pdf", &vec![b'n'; before.len()]);
    eventually("a file of the same length is seen", || {
        fs::read(&slides).is_ok_and(|it| it == vec![b'n'; before.len()])
    });
    let page = course.join("02 - 日本語 セクション/Page/index.html");
    fs::read(&page).unwrap();
    site.store().edit_page(20, "<p>edited, and longer than before</p>");
    eventually("the edited page is seen", || {
        fs::read_to_string(&page).is_ok_and(|it| it == "<p>edited, and longer than before</p>")
    });
    // A book's table of contents is listed like a file, without an address: that plugin fails with an exception of a library.
    let structure = fs::read(course.join("02 - 日本語 セクション/Book/structure.html"));
    assert_eq!(structure.unwrap_err().raw_os_error(), Some(5));
    assert!(mount.log().contains("MissingSchema: Invalid URL 'None'"), "{}", mount.log());
    assert_eq!(fs::read(course.join("02 - 日本語 セクション/Book/c.png")).unwrap().len(), 70);
    assert!(!mount.log().contains(TOKEN));
    mount.unmount();
    let mount = Mount::of(&config.replacen(TOKEN, "0123456789abcdef0123456789abcdef", 1));
    assert!(fs::read_dir(mount.path("uni")).is_err_and(|error| error.raw_os_error() == Some(13)), "{}", mount.log());
}

//! What a plugin shows is what programs see.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::{FIXTURES, Service};
use crate::kit::files::tree;
use crate::kit::home::text;
use crate::kit::mount::{Mount, requests};
use crate::kit::wait::eventually;

#[test]
fn real_programs_see_right_sizes_and_bytes_though_the_contract_has_no_sizes() {
    let service = Service::new();
    tree(&service.dir(), 100);
    service.put("empty", "");
    let mut mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", service.share()));
    let sizes = |dir: &Path| {
        let listed = Command::new("ls").args(["-lR", "--time-style=+%s"]).current_dir(dir).output().unwrap();
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let text = String::from_utf8(listed.stdout).unwrap();
        // Size, time and name of files.
        let of_file = |line: &str| line.split_whitespace().skip(4).collect::<Vec<_>>().join(" ");
        text.lines().filter(|line| line.starts_with('-')).map(of_file).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&mount.path("share")), sizes(&service.dir()));
    let archive = |dir: &Path| {
        let command =
            "tar --create --sort=name --owner=0 --group=0 --mode=a=r . | tar --list --verbose --full-time | grep -v ^d";
        String::from_utf8(Command::new("sh").args(["-c", command]).current_dir(dir).output().unwrap().stdout).unwrap()
    };
    assert_eq!(archive(&mount.path("share")), archive(&service.dir()));
    let same = || {
        let output = Command::new("diff").arg("-r").arg(service.dir()).arg(mount.path("share")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    same();
    same();
    assert_eq!(service.calls("list_path"), 1, "one listing tells the whole tree");
    assert_eq!(service.calls("retrieve_file"), 101, "each file once");
    mount.unmount();
    assert_eq!((service.calls("connect"), service.calls("disconnect")), (1, 1));
}

#[test]
fn a_change_at_the_service_is_seen_and_a_remount_retrieves_nothing_again() {
    let service = Service::new();
    service.put("a/changing.txt", "before");
    service.put("a/staying.txt", "the same");
    let mut mount = Mount::of(&format!("{}fresh_for = \"300ms\"\n", service.share()));
    assert_eq!(fs::read(mount.path("share/a/changing.txt")).unwrap(), b"before");
    assert_eq!(fs::read(mount.path("share/a/staying.txt")).unwrap(), b"the same");
    service.put("a/changing.txt", "and after");
    service.put("a/new.txt", "new");
    fs::remove_file(service.dir().join("a/staying.txt")).unwrap();
    eventually("the change is seen", || {
        fs::read(mount.path("share/a/changing.txt")).is_ok_and(|read| read == b"and after")
    });
    eventually("the new file is there, the deleted one is not", || {
        mount.path("share/a/new.txt").exists() && !mount.path("share/a/staying.txt").exists()
    });
    assert_eq!(fs::read(mount.path("share/a/new.txt")).unwrap(), b"new");
    mount.remount();
    assert_eq!(fs::read(mount.path("share/a/changing.txt")).unwrap(), b"and after");
    assert_eq!(requests(&mount.status(), "share").2, 0, "it is in the cache");
}

#[test]
fn five_thousand_files_in_one_recursive_listing() {
    let service = Service::new();
    for number in 0..5000 {
        service.put(&format!("{}/{}/{number}.txt", number % 10, number % 100), number.to_string());
    }
    let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", service.share()));
    assert_eq!(mount.sh("find share -type f | wc -l").trim(), "5000");
    assert_eq!(service.calls("list_path"), 1);
    assert_eq!(service.calls("retrieve_file"), 0, "names need no bytes");
    assert_eq!(fs::read(mount.path("share/7/57/4957.txt")).unwrap(), b"4957");
    assert_eq!(service.calls("retrieve_file"), 1);
}

#[test]
fn courses_are_folders_that_are_listed_when_somebody_looks() {
    let service = Service::new();
    let file = |content: &str| json!({"size": content.len(), "modified": 1_500_000_000, "content": content});
    let page = |content: &str| json!({"size": 0, "modified": 1_500_000_000, "content": content});
    service.write_courses(
        "the-token",
        &json!({
            "Mathe 1": {"00 - Intro/Slides/slides.pdf": file("all the slides"), "00 - Intro/page.html": page("<p>a page</p>")},
            "Info 1 / 2 ": {"01 - C/Task/ü [1].c": file("int main")},
            "Nobody looked": {"x": file("x")},
        }),
    );
    let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", service.courses()));
    let names = mount.sh("ls courses").trim_end().split('\n').map(str::to_owned).collect::<BTreeSet<_>>();
    // A path of kitovu's is one of components: a slash in the name of a course separates two folders.
    assert_eq!(names, ["Info 1 ", "Mathe 1", "Nobody looked"].map(str::to_owned).into());
    assert_eq!(mount.sh("cat 'courses/Info 1 / 2 /01 - C/Task/ü [1].c'"), "int main");
    assert_eq!(
        mount.sh("find 'courses/Mathe 1' -type f | sort"),
        "courses/Mathe 1/00 - Intro/Slides/slides.pdf\ncourses/Mathe 1/00 - Intro/page.html\n"
    );
    let slides = mount.path("courses/Mathe 1/00 - Intro/Slides/slides.pdf");
    assert_eq!(fs::read(&slides).unwrap(), b"all the slides");
    assert_eq!((fs::metadata(&slides).unwrap().len(), fs::metadata(&slides).unwrap().mtime()), (14, 1_500_000_000));
    assert!(!service.asked_of_courses().iter().any(|call| call == "list_path Nobody looked"), "listed for nobody");
}

#[test]
fn a_digest_that_never_converges_costs_one_retrieval_for_each_change() {
    let service = Service::new();
    // An uploaded page: the service says how long it is, and the plugin's local digest says 0.
    let page = |content: &str, modified| json!({"Course": {"00/page.html": {"size": content.len(), "modified": modified, "content": content}}});
    service.write_courses("the-token", &page("one", 1_500_000_000));
    let mut mount = Mount::of(&format!("{}fresh_for = \"300ms\"\n", service.courses()));
    let path = mount.path("courses/Course/00/page.html");
    assert_eq!(fs::read(&path).unwrap(), b"one");
    let retrieved =
        |service: &Service| service.asked_of_courses().iter().filter(|call| call.starts_with("retrieve_file ")).count();
    let once = retrieved(&service);
    assert!(once <= 2, "{:#?}", service.asked_of_courses());
    for _ in 0..5 {
        let asked = service.asked_of_courses().len();
        eventually("the service is asked again", || {
            assert_eq!(fs::read(&path).unwrap(), b"one");
            service.asked_of_courses().len() > asked
        });
    }
    mount.remount();
    assert_eq!(fs::read(&path).unwrap(), b"one");
    assert_eq!(retrieved(&service), once, "and never again");
    service.write_courses("the-token", &page("another", 1_500_000_100));
    eventually("the change is seen", || fs::read(&path).is_ok_and(|read| read == b"another"));
    assert!(retrieved(&service) <= once + 2, "{:#?}", service.asked_of_courses());
}

#[test]
fn names_that_lead_elsewhere_are_left_out() {
    let service = Service::new();
    fs::write(
        service.beside("escaping.py"),
        "import pathlib
import share
class Plugin(share.SharePlugin):
    def list_path(self, path):
        for name in ['/../up', '/a/../../b', '/nul\\0', '/good', '/d/./../good2', '//double', '/d/fine']:
            yield pathlib.PurePosixPath(name) if '\\0' not in name else name
    def _local(self, path): return self._directory / 'good'
",
    )
    .unwrap();
    service.put("good", "good");
    let table = format!("{}directory = {:?}\n", service.table("share", "escaping:Plugin"), service.dir());
    let mount = Mount::of(&table);
    assert_eq!(mount.sh("find share | sort"), "share\nshare/d\nshare/d/fine\nshare/good\n");
    let log = mount.log();
    assert!(log.contains("../up"), "{log}");
}

#[test]
fn the_documents_example_mounts_with_no_line_of_its_frame_changed() {
    let service = Service::new();
    service.put("dir/a.txt", "alpha");
    let frame = fs::read_to_string(Path::new(FIXTURES).join("example_plugin.frame")).unwrap();
    // Every `pass`, in order, gives way to what an author writes there.
    let bodies = [
        "self.root = pathlib.Path(info[\"directory\"])",
        "self.root.stat()",
        "self.root = None",
        "return str(path.stat().st_size)",
        "return str((self.root / path).stat().st_size)",
        "return (file.relative_to(self.root) for file in self.root.rglob(\"*.txt\"))",
        "fileobj.write((self.root / path).read_bytes())",
    ];
    let mut filled = String::new();
    let mut bodies = bodies.into_iter();
    for line in frame.lines() {
        match line.strip_suffix("pass") {
            Some(indentation) => filled.extend([indentation, bodies.next().expect("seven methods")]),
            None => filled.push_str(line),
        }
        filled.push('\n');
    }
    assert_eq!(bodies.next(), None);
    fs::write(service.beside("example.py"), filled).unwrap();
    let table = format!("{}directory = {:?}\n", service.table("example", "example:ExamplePlugin"), service.dir());
    let mut mount = Mount::of(&table);
    assert_eq!(fs::read(mount.path("example/dir/a.txt")).unwrap(), b"alpha");
    mount.unmount();
}

#[test]
fn a_plugin_gets_its_settings_as_they_are_and_its_secrets_resolved() {
    let service = Service::new();
    fs::write(
        service.beside("settings.py"),
        "import json, pathlib, share
class Plugin(share.SharePlugin):
    def configure(self, info):
        super().configure(info)
        print('the token is', info['token'])
        (self._directory / 'info.json').write_text(json.dumps(info, sort_keys=True))
",
    )
    .unwrap();
    fs::write(service.beside("token"), "hunter2\n").unwrap();
    let table = service.table("share", "settings:Plugin");
    let own = format!(
        "directory = {:?}\nnumber = 1.5\nflag = true\nlist = [1, 'two']\nwhen = 2026-01-02\ntoken = {{ file = {:?} }}\nnested = {{ a = 1 }}\n",
        service.dir(),
        service.beside("token"),
    );
    let mount = Mount::of(&format!("{table}{own}"));
    let info: serde_json::Value = serde_json::from_slice(&fs::read(mount.path("share/info.json")).unwrap()).unwrap();
    let expected = json!({"directory": text(service.dir()), "number": 1.5, "flag": true, "list": [1, "two"],
        "when": "2026-01-02", "token": "hunter2", "nested": {"a": 1}});
    assert_eq!(info, expected);
    assert!(mount.log().contains("the token is [secret]"), "{}", mount.log());
}

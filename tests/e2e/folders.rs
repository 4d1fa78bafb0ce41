//! Folders put together from several sources, through a real mount.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;

use crate::kit::home::{Home, text};
use crate::kit::mount::{Mount, bytes_retrieved, requests};
use crate::kit::wait::eventually;
use crate::remote::Remote;

/// A course whose scripts are in one place and whose exercises are in another.
const FOLDER: &str = "[[folders]]\npath = \"HS26/EPJ\"\nignore = [\"Thumbs.db\", \"*.tmp\"]\n\
    from = [ { source = \"scripts\", path = \"Informatik/EPJ\" }, { source = \"courses\" } ]\n";

fn course(courses: &Remote) -> Remote {
    let scripts = Remote::local();
    scripts.put("Informatik/EPJ/lecture.pdf", "lecture");
    scripts.put("Informatik/EPJ/week 1/slides.pdf", "slides");
    scripts.put("Informatik/EPJ/Thumbs.db", "ignored");
    courses.put("week 1/exercise.pdf", "exercise");
    courses.put("week 1/x.tmp", "ignored");
    courses.put("lecture.pdf", "another lecture");
    courses.put("plan.txt", "plan");
    scripts
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_folder_shows_its_sources_as_one_tree_and_costs_nothing_more() {
    let courses = Remote::webdav();
    let scripts = course(&courses);
    let forever = "fresh_for = \"1h\"\n";
    let mut mount =
        Mount::of(&format!("{}{forever}{}{forever}{FOLDER}", scripts.table("scripts"), courses.table("courses")));
    let epj = mount.path("HS26/EPJ");
    assert_eq!(names(&mount.path("")), ["HS26", "courses", "scripts"]);
    assert_eq!(names(&epj), ["lecture.pdf", "plan.txt", "week 1"]);
    assert_eq!(names(&epj.join("week 1")), ["exercise.pdf", "slides.pdf"]);
    let shown = mount.sh("cd HS26/EPJ; find . -type f | sort | xargs -d '\\n' tail -n +1");
    assert_eq!(
        shown,
        "==> ./lecture.pdf <==\nlecture\n==> ./plan.txt <==\nplan\n==> ./week 1/exercise.pdf <==\nexercise\n\
         ==> ./week 1/slides.pdf <==\nslides"
    );
    let status = mount.status();
    let (listings, _, retrievals) = requests(&status, "courses");
    assert_eq!((listings, retrievals, bytes_retrieved(&status, "courses")), (2, 2, 12));

    // The same file, the same inode, the same copy: through the source's own folder it is there already.
    assert_eq!(fs::read(mount.path("courses/week 1/exercise.pdf")).unwrap(), b"exercise");
    assert_eq!(
        fs::metadata(mount.path("courses/plan.txt")).unwrap().ino(),
        fs::metadata(epj.join("plan.txt")).unwrap().ino()
    );
    assert_eq!(requests(&mount.status(), "courses").2, 2);
    let source = mount.sh("getfattr --only-values -n user.kitovufs.source HS26/EPJ/plan.txt");
    assert_eq!(source, "courses");

    let before = fs::metadata(epj.join("week 1")).unwrap().ino();
    mount.remount();
    assert_eq!(fs::metadata(mount.path("HS26/EPJ/week 1")).unwrap().ino(), before);
    assert_eq!(fs::read(mount.path("HS26/EPJ/plan.txt")).unwrap(), b"plan");
    assert_eq!(bytes_retrieved(&mount.status(), "courses"), 0, "the copy outlives the mount");
}

#[test]
fn hidden_sources_are_seen_through_folders_only() {
    let courses = Remote::local();
    let scripts = course(&courses);
    let hidden = "hidden = true\n";
    let config = format!("{}{hidden}{}{hidden}{FOLDER}", scripts.table("scripts"), courses.table("courses"));
    let mount = Mount::of(&config);
    assert_eq!(names(&mount.path("")), ["HS26"]);
    assert_eq!(fs::read(mount.path("HS26/EPJ/plan.txt")).unwrap(), b"plan");
    assert_eq!(fs::metadata(mount.path("courses")).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_source_that_was_never_reached_hides_nothing_and_is_not_taken_for_empty() {
    let mut courses = Remote::webdav();
    let scripts = course(&courses);
    let impatient = "fresh_for = \"300ms\"\ntimeout = \"3s\"\n";
    let (near, far) = (scripts.table("scripts"), courses.table("courses"));
    courses.stop();
    let mount = Mount::of(&format!("{near}{far}{impatient}{FOLDER}"));
    let epj = mount.path("HS26/EPJ");
    assert_eq!(fs::read(epj.join("lecture.pdf")).unwrap(), b"lecture");
    let error = fs::metadata(epj.join("plan.txt")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::HOSTUNREACH.raw_os_error()));
    let ls = mount.home().command("ls").arg(&epj).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ls.stdout), "lecture.pdf\nweek 1\n", "what is known is shown");
    assert_eq!(ls.status.code(), Some(2), "and that it is not all");

    // Who mirrors the folder must not take an outage for a deletion.
    let mirror = mount.home().dir().join("mirror");
    fs::create_dir(&mirror).unwrap();
    fs::write(mirror.join("plan.txt"), "plan").unwrap();
    let mut rsync = Command::new("rsync");
    rsync.args(["-r", "--delete"]).arg(format!("{}/", text(&epj))).arg(&mirror);
    assert_eq!(rsync.output().unwrap().status.code(), Some(23), "partial transfer due to error");
    assert!(mirror.join("plan.txt").exists() && mirror.join("lecture.pdf").exists());

    courses.start();
    eventually("the server is back, and so are its files", || fs::read(epj.join("plan.txt")).is_ok());
    eventually("the listing is complete", || {
        fs::read_dir(&epj).is_ok_and(|entries| entries.filter_map(Result::ok).count() == 3)
    });
    assert!(rsync.output().unwrap().status.success());
}

#[test]
fn check_tells_what_a_folder_is_made_of_and_what_is_missing() {
    let courses = Remote::local();
    let scripts = course(&courses);
    let sources = format!("{}{}", scripts.table("scripts"), courses.table("courses"));
    let check = |config: &str| {
        let home = Home::of(config);
        let output = home.kitovufs(["check", "-c", &text(home.config())]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = check(&format!("{sources}{FOLDER}"));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("HS26/EPJ (folder)\n  ok      scripts:/Informatik/EPJ has 2 names for it"), "{said}");

    let (code, said) = check(&format!("{sources}{}", FOLDER.replace("Informatik/EPJ", "Informatic/EPJ")));
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("FAILED  scripts:/Informatic/EPJ: ") && said.contains("did you mean `Informatik`?"),
        "{said}"
    );
    assert!(said.contains("ok      courses:/ has 3 names for it"), "{said}");
}

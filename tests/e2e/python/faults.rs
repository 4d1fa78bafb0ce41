//! Whatever a plugin does, its own folder alone is affected, and only as long as it does it.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Service, bystander};
use crate::kit::home::{Home, text};
use crate::kit::mount::Mount;
use crate::kit::wait::eventually;

const EIO: i32 = 5;
const EACCES: i32 = 13;

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().map(|error| error.raw_os_error().expect("the kernel says why"))
}

#[test]
fn every_exception_in_every_method_is_an_error_of_this_folder_only() {
    for (raised, expected) in [
        ("raise utils.PluginOperationError('broken')", EIO),
        ("raise utils.AuthenticationError('broken')", EACCES),
        ("raise ValueError('broken')", EIO),
        ("sys.exit(1)", EIO),
    ] {
        for method in ["connect", "list_path", "create_remote_digest", "retrieve_file", "create_local_digest"] {
            let (_dir, other) = bystander();
            let service = Service::new();
            service.put("dir/a.txt", "alpha");
            service.fault(method, raised);
            let mut mount = Mount::of(&format!("{}fresh_for = \"300ms\"\n{other}", service.share()));
            let read = errno(fs::read(mount.path("share/dir/a.txt")));
            assert_eq!(read, Some(expected), "{raised} in {method}:\n{}", mount.log());
            assert!(mount.path("other/here").exists(), "{raised} in {method}");
            service.heal();
            if expected == EACCES {
                // Credentials are not tried again for a long time.
                mount.remount();
            }
            eventually("it works again", || fs::read(mount.path("share/dir/a.txt")).is_ok_and(|read| read == b"alpha"));
            mount.unmount();
        }
    }
}

#[test]
fn an_exception_at_the_end_keeps_nobody_from_unmounting() {
    let service = Service::new();
    service.put("a.txt", "alpha");
    let mut mount = Mount::of(&service.share());
    assert_eq!(fs::read(mount.path("share/a.txt")).unwrap(), b"alpha");
    service.fault("disconnect", "raise ValueError('broken')");
    mount.unmount();
    assert_eq!(service.calls("disconnect"), 1);
}

#[test]
fn a_listing_that_fails_half_way_removes_nothing() {
    let (_dir, other) = bystander();
    let service = Service::new();
    for name in ["a", "b", "c", "d"] {
        service.put(&format!("dir/{name}"), name);
    }
    let mount = Mount::of(&format!("{}fresh_for = \"300ms\"\n{other}", service.share()));
    assert_eq!(mount.sh("ls share/dir"), "a\nb\nc\nd\n");
    assert_eq!(mount.sh("cat share/dir/*"), "abcd");
    service.fault("half of list_path", "raise utils.PluginOperationError('the line broke')");
    let listed = service.calls("list_path");
    eventually("it was listed again, in vain", || {
        // What was known is still shown: an incomplete listing says nothing about what is not in it.
        assert_eq!(mount.sh("ls share/dir"), "a\nb\nc\nd\n");
        service.calls("list_path") > listed
    });
    assert_eq!(mount.sh("cat share/dir/*"), "abcd");
    service.heal();
    service.put("dir/e", "e");
    eventually("it works again", || mount.sh("ls share/dir") == "a\nb\nc\nd\ne\n");
    mount.sh("ls other/here");
}

#[test]
fn a_process_killed_in_the_middle_of_a_retrieval_is_started_again() {
    let (_dir, other) = bystander();
    let service = Service::new();
    service.put("dir/large", "0123456789".repeat(100_000));
    let config = format!("{}fresh_for = \"1h\"\n{other}", service.share());
    let mount = Mount::of(&config);
    mount.sh("ls share/dir");
    // Once only: the fault removes itself.
    service.fault("half of retrieve_file", "os.remove(self._beside / 'faults.json'); os.kill(os.getpid(), 9)");
    assert_eq!(fs::read(mount.path("share/dir/large")).unwrap(), "0123456789".repeat(100_000).as_bytes());
    assert_eq!(service.calls("configure"), 2, "{}", mount.log());
    assert_eq!(service.calls("retrieve_file"), 2);

    // Again and again: an error, of this folder.
    service.put("dir/deadly", "x");
    let mount = Mount::of(&config);
    mount.sh("ls share/dir");
    service.fault("half of retrieve_file", "os.kill(os.getpid(), 9)");
    let read = errno(fs::read(mount.path("share/dir/deadly"))).expect("it cannot be read");
    assert_ne!(read, 2, "what cannot be read is there nevertheless");
    mount.sh("ls other/here");
    service.heal();
    eventually("it works again", || fs::read(mount.path("share/dir/deadly")).is_ok_and(|read| read == b"x"));
}

#[test]
fn after_a_restart_the_plugin_is_asked_again_what_it_must_know() {
    let service = Service::new();
    let file =
        |content: &str| serde_json::json!({"size": content.len(), "modified": 1_500_000_000, "content": content});
    let courses =
        serde_json::json!({"Course / 1": {"00/a": file("alpha"), "00/b": file("beta")}, "Other": {"x": file("x")}});
    service.write_courses("the-token", &courses);
    let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", service.courses()));
    assert_eq!(mount.sh("cat 'courses/Course / 1/00/a'"), "alpha");
    let threads = fs::read_dir(format!("/proc/{}/task", mount.pid())).unwrap();
    let children =
        threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("children")).unwrap_or_default());
    let children: String = children.collect();
    let plugin = children.split_whitespace().next().expect("the plugin runs").parse().unwrap();
    kill_process(Pid::from_raw(plugin).unwrap(), Signal::KILL).unwrap();
    let asked = service.asked_of_courses().len();
    assert_eq!(mount.sh("cat 'courses/Course / 1/00/b'"), "beta");
    // A table that only listings fill, and a digest before the retrieval.
    let again = service.asked_of_courses().split_off(asked);
    let at =
        |call: &str| again.iter().position(|asked| asked == call).unwrap_or_else(|| panic!("{call} not in {again:#?}"));
    assert!(at("list_path /") < at("list_path Course / 1"));
    assert!(at("list_path Course / 1") < at("create_remote_digest Course / 1/00/b"));
    assert!(at("create_remote_digest Course / 1/00/b") < at("retrieve_file Course / 1/00/b"));
}

#[test]
fn a_plugin_that_hangs_delays_nobody_else() {
    let (_dir, other) = bystander();
    let service = Service::new();
    service.put("a.txt", "alpha");
    service.fault("list_path", "time.sleep(3600)");
    let mut mount = Mount::of(&format!("{}timeout = \"2s\"\n{other}", service.share()));
    let begun = Instant::now();
    let hung = std::thread::spawn({
        let path = mount.path("share/a.txt");
        move || errno(fs::read(path))
    });
    for _ in 0..10 {
        mount.sh("ls . other");
    }
    assert!(!hung.is_finished(), "the others were asked while it hung");
    assert!(hung.join().unwrap().is_some_and(|errno| errno != 2));
    assert!(begun.elapsed() < Duration::from_secs(20));
    mount.unmount();
}

/// What `check` says about a configuration; it must not be content.
fn complaint(config: &str) -> String {
    let home = Home::of(config);
    let config = text(home.config());
    let output = home.kitovufs(["check", "-c", &config]);
    assert!(!output.status.success());
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn wrong_settings_are_told_with_their_line() {
    let service = Service::new();
    let share = service.table("share", "share:SharePlugin");
    let courses = service.courses();
    for (config, line, told) in [
        (share.clone(), ":1:", "`directory` is missing"),
        (share.replace("SharePlugin", "Nothing"), ":3:", "there is no Nothing in share (classes there: SharePlugin)"),
        (share.replace("share:SharePlugin", "sharing"), ":3:", "no plugin called sharing is installed"),
        (share.replace("plugin = \"share:SharePlugin\"\n", ""), ":1:", "`plugin` is missing"),
        (format!("{share}python = \"/nonexistent/python\"\n"), ":5:", "/nonexistent/python"),
        (format!("{share}python = \"no-such-python\"\n"), ":5:", "no-such-python"),
        (
            service.table("share", "share:SharePlugin").replace("path = [", "path = [\"/nonexistent\", "),
            ":4:",
            "/nonexistent",
        ),
        (format!("{courses}limit = \"many\"\nlimits = 1\n"), ":7:", "limit"),
        (format!("{courses}limit = \"many\"\nlimits = 1\n"), ":8:", "unknown key `limits`"),
        (courses.replace("service =", "servce ="), ":1:", "`service` is missing"),
        (courses.replace("password = \"the-token\"\n", ""), ":1:", "password"),
    ] {
        let said = complaint(&config);
        assert!(said.contains(told), "{config}\n{said}");
        let complaint = said.lines().find(|line| line.contains(told)).expect("it was told");
        assert!(complaint.contains(line), "{config}\n{said}");
    }
}

#[test]
fn an_author_can_check_a_class() {
    let service = Service::new();
    service.put("dir/a.txt", "alpha");
    let check = |plugin: &str| {
        let [python, directory, path] = [text("python3"), text(service.dir()), text(service.beside(""))];
        let set = [format!("directory={directory}"), format!("path={path}"), format!("python={python}")];
        let set = set.iter().flat_map(|set| ["--set", set]);
        let output = Home::of("").kitovufs(["plugin", "check", "--python", plugin].into_iter().chain(set));
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, said) = check("share:SharePlugin");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the plugin keeps the protocol"), "{said}");
    service.fault("create_remote_digest", "raise ValueError('broken')");
    let (code, said) = check("share:SharePlugin");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("ValueError: broken"), "{said}");
    assert!(said.contains("share.py\", line "), "the traceback: {said}");
    service.fault("list_path", "raise ValueError('broken')");
    let (_, said) = check("share:SharePlugin");
    assert_eq!(said.matches("FAILED  list_path").count(), 1, "one fault is told once: {said}");
    service.heal();
    let document = include_str!("../../../docs/kitovu-plugins.md");
    let lines = document.lines().skip_while(|line| *line != "    # ~/plugins/shelf.py");
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
    let example: String = lines.map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or_default())).collect();
    fs::write(service.beside("shelf.py"), example).unwrap();
    let (code, said) = check("shelf:Shelf");
    assert_eq!(code, Some(0), "the document's example: {said}");
    let (code, said) = check("share:Nothing");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("there is no Nothing in share"), "{said}");
}

#[test]
fn a_wrong_token_is_not_tried_again_and_again() {
    let service = Service::new();
    service.write_courses("another-token", &serde_json::json!({"Course": {}}));
    let mount = Mount::of(&format!("{}fresh_for = \"300ms\"\n", service.courses()));
    for _ in 0..20 {
        assert_eq!(errno(fs::read_dir(mount.path("courses"))), Some(EACCES));
    }
    let status = mount.status();
    assert_eq!(status["sources"]["courses"]["state"], "unauthorized");
    assert_eq!(status["sources"]["courses"]["requests"]["connect"], 1);
    let shown = format!("{status} {}", mount.log());
    assert!(shown.contains("Invalid token") && !shown.contains("the-token"), "{shown}");
}

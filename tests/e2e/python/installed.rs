//! Plugins that were installed with pip, and kitovu itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::FIXTURES;
use crate::kit::mount::{Mount, eventually, text};
use crate::kit::samba::Samba;
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
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
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
    let served = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
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

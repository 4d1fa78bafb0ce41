//! Setting up without an editor: sources are added once they have worked, listed and removed, and what else the file holds stays.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use crate::kit::home::{Home, text};
use crate::kit::mount::Mount;
use crate::kit::reaper;
use crate::kit::servers::Webdav;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A home whose user has no keyring.
fn home(config: &str) -> Home {
    Home::of(config).with_env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus")
}

#[test]
fn a_source_is_written_once_it_has_worked() {
    let dir = reaper::temporary();
    fs::write(dir.path().join("file"), "bytes").unwrap();
    let server = Webdav::rclone_with_password(dir.path());
    let of = |key: &str| {
        let table = server.table();
        let line = table.lines().find(|line| line.starts_with(key)).expect("the table has it");
        line.split('"').nth(1).expect("a text").to_owned()
    };
    let (password, place) = (of("password"), of("endpoint").replace("http://", ""));
    let url = format!("webdav://{}@{place}", of("username"));
    let before = "# mine\n[sources.docs]   # here\ntype='local'\npath = \"/usr/share/common-licenses\"\n";
    let home = home(before);
    let config = text(home.config());
    let add = |url: &str, name: &str, typed: &str| home.kitovufs_told(["add", "-c", &config, url, name], typed);

    let wrong = add(&url, "cloud", "not-the-password\n");
    assert!(wrong.status.code() == Some(1) && said(&wrong).contains("nothing is written"), "{}", said(&wrong));
    assert_eq!(fs::read_to_string(&config).unwrap(), before, "nothing is written");

    let right = add(&url, "cloud", &format!("{password}\n"));
    assert_eq!(right.status.code(), Some(0), "{}", said(&right));
    let now = fs::read_to_string(&config).unwrap();
    assert!(now.starts_with(before) && now.contains("[sources.cloud]\ntype = \"webdav\"\n"), "{now}");
    assert!(!now.contains(&password) && !said(&right).contains(&password), "{now}");
    let secret = home.dir().join("secrets/cloud");
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);

    let twice = add(&url, "cloud", &format!("{password}\n"));
    assert!(twice.status.code() == Some(2) && said(&twice).contains("kitovufs remove cloud"), "{}", said(&twice));

    let listed = home.kitovufs(["sources", "-c", &config]);
    assert_eq!(said(&listed).lines().count(), 2, "{}", said(&listed));
    assert!(said(&listed).contains("docs   local   /usr/share/common-licenses"), "{}", said(&listed));
    let listed = home.kitovufs(["sources", "--json", "-c", &config]);
    let json: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("it is JSON");
    assert_eq!((&json[0]["name"], &json[0]["type"]), (&"cloud".into(), &"webdav".into()));

    let mount: Mount = home.mount();
    assert_eq!(fs::read(mount.path("cloud/file")).unwrap(), b"bytes");
    let removed = mount.home().kitovufs(["remove", "-c", &config, "cloud"]);
    assert_eq!(removed.status.code(), Some(0), "{}", said(&removed));
    assert!(said(&removed).contains(&format!("`password` is still in {}", secret.display())), "{}", said(&removed));
    assert_eq!(fs::read_to_string(&config).unwrap(), before);
}

#[test]
fn a_new_user_gets_from_nothing_to_a_mounted_folder() {
    let home = home("");
    let run = |words: &[&str]| {
        let output = home.kitovufs(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", said(&output));
        said(&output)
    };
    let file = run(&["config", "path"]);
    let told = run(&[]);
    assert!(told.contains(file.trim()) && told.contains("Next: kitovufs add URL"), "{told}");
    let told = run(&["add", "/usr/share/common-licenses"]);
    assert!(told.contains("common-licenses: connected and listed") && told.contains("next: kitovufs mount"), "{told}");
    assert_eq!(fs::metadata(file.trim()).unwrap().permissions().mode() & 0o777, 0o600);
    let told = run(&[]);
    assert!(told.contains("1 source (common-licenses)") && told.contains("Next: kitovufs mount"), "{told}");
    run(&["mount"]);
    let (overview, removed) = (run(&[]), run(&["remove", "common-licenses"]));
    let read = fs::read(home.dir().join("kitovu/common-licenses/BSD")).unwrap();
    run(&["unmount"]);
    assert!(overview.contains("Mounted: ") && overview.contains("Next: kitovufs status"), "{overview}");
    assert_eq!(read, fs::read("/usr/share/common-licenses/BSD").unwrap());
    assert!(removed.contains("there is no source left"), "{removed}");
    let told = run(&[]);
    assert!(told.contains(": 0 sources\n") && told.contains("Next: kitovufs add URL"), "{told}");
    let told = run(&["add", "--untried", "https://anna@nowhere.invalid/pub/", "web"]);
    assert!(told.starts_with("web: not tried; kitovufs login web does\n"), "{told}");
    let told = run(&["config", "example", "sftp"]);
    assert!(told.starts_with("# A directory of an SSH server.\n[sources.lab]\n"), "{told}");
}

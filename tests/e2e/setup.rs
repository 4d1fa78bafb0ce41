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

    let given = home
        .command(home.binary())
        .env("KITOVUFS_PASSWORD", &password)
        .args(["add", "-c", &config, &url, "given"])
        .output();
    let given = given.unwrap();
    assert!(given.status.success() && said(&given).contains("password: that in KITOVUFS_PASSWORD"), "{}", said(&given));
    assert!(!said(&given).contains(&password));
    assert!(home.kitovufs(["remove", "-c", &config, "given"]).status.success());

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

#[test]
fn a_source_that_is_wrong_is_in_nobodys_way() {
    let folder = "[[folders]]\npath = \"all\"\nfrom = [{ source = \"docs\" }]\n";
    let docs = format!("[sources.docs]\ntype = \"local\"\npath = \"/usr/share/common-licenses\"\n\n{folder}");
    let home = home(&format!("[sources.odd]\ntype = \"bogus\"\n\n{docs}"));
    let config = text(home.config());
    let run = |words: &[&str]| {
        let output = home.kitovufs(words.iter().copied().chain(["-c", &config]));
        (output.status.code(), said(&output))
    };
    let before = fs::read_to_string(&config).unwrap();
    let (code, told) = run(&["add", "/usr/share/doc", "more"]);
    assert!(code == Some(2) && told.contains("nothing is written") && told.contains("kitovufs.toml:2:"), "{told}");
    assert_eq!(fs::read_to_string(&config).unwrap(), before);
    let (code, told) = run(&["remove", "docs"]);
    assert!(code == Some(2) && told.contains("the folder `all` shows `docs`"), "{told}");
    let (code, told) = run(&["remove", "od"]);
    assert!(code == Some(2) && told.contains("did you mean `odd`?"), "{told}");
    for words in [&["remove", "odd"][..], &["add", "/usr/share/doc", "more"], &["remove", "more"]] {
        let (code, told) = run(words);
        assert_eq!(code, Some(0), "{told}");
    }
    assert_eq!(fs::read_to_string(&config).unwrap(), docs);
}

#[test]
fn what_is_no_file_is_no_configuration_and_a_link_to_one_stays_a_link() {
    let home = home("");
    let [fifo, link, target] = ["fifo", "link", "target"].map(|name| home.dir().join(name));
    assert!(home.command("mkfifo").arg(&fifo).status().unwrap().success());
    for (place, what) in [(text(&fifo), "a FIFO"), (text(home.dir()), "a directory"), ("/dev/zero".into(), "a device")]
    {
        for words in [&["check"][..], &["sources"], &["add", "/usr/share/doc", "more"]] {
            let output = home.kitovufs(words.iter().copied().chain(["-c", &place]));
            assert!(!output.status.success() && said(&output).contains(what), "{words:?}: {}", said(&output));
        }
    }
    std::os::unix::fs::symlink("target", &link).unwrap();
    let output = home.kitovufs(["add", "-c", &text(&link), "/usr/share/doc", "more"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(link.is_symlink() && fs::read_to_string(&target).unwrap().contains("[sources.more]"));
}

#[test]
fn an_ssh_host_needs_no_variable_that_tells_the_user() {
    let home = home("[sources.lab]\ntype = \"sftp\"\nhost = \"127.0.0.1:1\"\n");
    let mut check = home.command(home.binary());
    let output =
        check.args(["check", "-c", &text(home.config())]).env_remove("USER").env_remove("LOGNAME").output().unwrap();
    assert!(output.status.code() == Some(1) && said(&output).contains("127.0.0.1"), "{}", said(&output));
}

/// Starts `kitovufs` at a terminal of its own and sends what argv[1] names once it asks; prints whether the terminal shows what is typed.
const AT_A_TERMINAL: &str = r#"
import fcntl, os, pty, signal, subprocess, sys, termios, time
terminal, inside = pty.openpty()
control = lambda: fcntl.ioctl(inside, termios.TIOCSCTTY, 0)
words = dict(stdin=inside, stdout=inside, stderr=inside, start_new_session=True, preexec_fn=control)
program = subprocess.Popen(sys.argv[2:], **words)
echoes = lambda: bool(termios.tcgetattr(inside)[3] & termios.ECHO)
said = b""
while b"password: " not in said:
    said += os.read(terminal, 1000)
while echoes():
    time.sleep(0.01)
if sys.argv[1] == "Ctrl-C":
    os.write(terminal, b"\x03")
else:
    program.send_signal(getattr(signal, sys.argv[1]))
print(program.wait(), echoes())
"#;

#[test]
fn a_terminal_shows_what_is_typed_after_a_question_that_was_broken_off() {
    let home = home("");
    for how in ["Ctrl-C", "SIGTERM", "SIGHUP"] {
        let mut python = home.command("python3");
        python.args(["-c", AT_A_TERMINAL, how]).arg(home.binary()).args([
            "add",
            "webdav://anna@127.0.0.1:1/dav",
            "cloud",
        ]);
        let output = python.output().unwrap();
        assert_eq!(said(&output), "1 True\n", "{how}");
    }
}

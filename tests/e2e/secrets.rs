//! Secrets are planted wherever one can be written, servers and plugins repeat them, and nothing that the program writes has one.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::kit::home::{Home, text};
use crate::kit::reaper;
use crate::kit::samba::Samba;
use crate::kit::servers::{Webdav, find, free_port, started};
use crate::kit::sshd::{Sshd, keygen};
use crate::login::with_keyring;
use crate::python::Service;

/// A server on a free port, which every connection of a test leads to; it ends with the test program.
fn serving(serve: fn(TcpStream) -> Option<()>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || serve(client));
        }
    });
    port
}

/// Repeats a request of HTTP in what it refuses it with: in a header, and as the code and the message of S3, Azure and Moodle.
fn http(client: TcpStream) -> Option<()> {
    let mut lines = BufReader::new(client.try_clone().ok()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let from = head.len();
        lines.read_line(&mut head).ok().filter(|length| *length > 0)?;
        let line = head[from..].trim();
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    let told = head.lines().collect::<Vec<_>>().join(" ") + &String::from_utf8_lossy(&body);
    let code = told.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "");
    let answer = match told.starts_with("POST") {
        true => serde_json::json!({"exception": told, "errorcode": told, "message": told, "error": told}).to_string(),
        false => format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"),
    };
    let status = match told.starts_with("POST") {
        true => 200,
        // Before it asks, it gets no password.
        false if !told.to_lowercase().contains("authorization:") => 401,
        false => 403,
    };
    let head =
        format!("HTTP/1.1 {status} {code}\r\nx-ms-error-code: {code}\r\nWWW-Authenticate: Basic realm=\"{code}\"\r\n");
    let head = format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
    (&client).write_all((head + &answer).as_bytes()).ok()
}

/// Repeats every command of FTP.
fn ftp(client: TcpStream) -> Option<()> {
    (&client).write_all(b"220 Hello\r\n").ok()?;
    for line in BufReader::new(client.try_clone().ok()?).lines() {
        let line = line.ok()?;
        let code = if line.starts_with("USER") { 331 } else { 530 };
        (&client).write_all(format!("{code} you said {line}\r\n").as_bytes()).ok()?;
    }
    None
}

fn said(output: &Output) -> Vec<u8> {
    [output.stdout.as_slice(), &output.stderr].concat()
}

/// All files below, without those in which the test has planted something.
fn written(dir: &Path, all: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            written(&entry.path(), all);
        } else if kind.is_file() {
            all.push((text(entry.path()), fs::read(entry.path()).unwrap_or_default()));
        }
    }
}

/// What the system shows of a process and of all that it started: command lines, and the environments of those that it started.
fn shown_by_the_system(pid: u64) -> Vec<(String, Vec<u8>)> {
    let mut all =
        vec![(format!("the command line of {pid}"), fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default())];
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            let environment = fs::read(format!("/proc/{child}/environ")).unwrap_or_default();
            all.push((format!("the environment of {child}"), environment));
            all.extend(shown_by_the_system(child.parse().unwrap()));
        }
    }
    all
}

/// Fails if a secret is in any of what was written.
fn assert_unseen(secrets: &[&str], all: &[(String, Vec<u8>)]) {
    for secret in secrets {
        for (name, bytes) in all {
            let found = bytes.windows(secret.len()).position(|window| window == secret.as_bytes());
            let around =
                found.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(300)..(at + 60).min(bytes.len())]));
            assert!(found.is_none(), "{secret} is in {name}: {around:?}");
        }
    }
}

#[test]
fn nothing_that_is_written_has_a_secret_whoever_repeats_it() {
    let (http, ftp) = (serving(http), serving(ftp));
    let silent = serving(|_| None);
    let service = Service::new();
    let module = "import share, sys
class Plugin(share.SharePlugin):
    def configure(self, info):
        print('told', info, file=sys.stderr)
        self.info = info
    def connect(self):
        raise ValueError(str(self.info))
";
    fs::write(service.beside("leaky.py"), module).unwrap();
    let url = format!("http://127.0.0.1:{http}");
    let account_key = BASE64_STANDARD.encode("planted-azure-key");
    // Says who it is, repeats its settings, and goes.
    let parrot = r#"read a; echo '{"jsonrpc":"2.0","id":1,"result":{"protocol":1,"name":"parrot","capabilities":{}}}'; read a; echo "$a" >&2"#;
    let parrot = toml::Value::from(vec!["sh", "-c", parrot]);
    let config = format!(
        "[sources.dav]\ntype = \"webdav\"\nendpoint = \"{url}/\"\nusername = \"anna\"\npassword = {{ env = \"PLANTED\" }}\n\
         [sources.bearer]\ntype = \"webdav\"\nendpoint = \"{url}/\"\ntoken = {{ file = \"~/planted\" }}\n\
         [sources.web]\ntype = \"http\"\nurl = \"{url}/\"\nusername = \"anna\"\npassword = {{ command = \"echo planted-web\" }}\n\
         [sources.s3]\ntype = \"s3\"\nendpoint = \"{url}\"\nbucket = \"b\"\naccess_key_id = \"AKIDPLANTED\"\n\
         secret_access_key = \"planted-s3-key\"\nsession_token = \"planted-s3-session\"\n\
         [sources.gcs]\ntype = \"gcs\"\nendpoint = \"{url}\"\nbucket = \"b\"\ntoken = \"planted-gcs\"\n\
         [sources.azkey]\ntype = \"azblob\"\nendpoint = \"{url}/a\"\ncontainer = \"b\"\naccount_name = \"a\"\naccount_key = \"{account_key}\"\n\
         [sources.azsas]\ntype = \"azblob\"\nendpoint = \"{url}/a\"\ncontainer = \"b\"\naccount_name = \"a\"\nsas_token = \"sig=planted-sas\"\n\
         [sources.moodle]\ntype = \"moodle\"\nurl = \"{url}\"\ntoken = \"planted-moodle-token\"\n\
         [sources.moodlepw]\ntype = \"moodle\"\nurl = \"{url}\"\nusername = \"anna\"\npassword = \"planted-moodle-pw\"\n\
         [sources.ftp]\ntype = \"ftp\"\nhost = \"127.0.0.1\"\nport = {ftp}\nusername = \"anna\"\npassword = \"planted-ftp\"\n\
         [sources.sftp]\ntype = \"sftp\"\nhost = \"127.0.0.1\"\nport = {silent}\nusername = \"anna\"\npassword = \"planted-sftp\"\n\
         [sources.smb]\ntype = \"smb\"\nhost = \"127.0.0.1\"\nport = {silent}\nshare = \"s\"\nusername = \"anna\"\npassword = \"planted-smb\"\n\
         [sources.plugin]\ntype = \"plugin\"\ncommand = {parrot}\ntimeout = \"2s\"\nsesame = {{ env = \"PLANTED\" }}\n\
         {}sesame = {{ file = \"~/planted\" }}\n",
        service.table("python", "leaky:Plugin")
    );
    let home = Home::of(&config).with_env("PLANTED", "planted-env").with_env("KITOVUFS_LOG", "trace");
    fs::write(home.dir().join("planted"), "planted-file\n").unwrap();
    let (config, mountpoint) = (text(home.config()), text(home.mountpoint()));

    let mut all = Vec::new();
    let tell = |all: &mut Vec<_>, what: &str, output: &Output| all.push((what.to_owned(), said(output)));
    let checked = home.kitovufs(["check", "-c", &config]);
    assert!(checked.stdout.windows(6).filter(|word| word == b"FAILED").count() >= 12, "{checked:?}");
    tell(&mut all, "check", &checked);
    let login = home.kitovufs_told(["login", "-c", &config, "bearer"], "planted-typed\n");
    tell(&mut all, "login", &login);
    fs::remove_file(home.dir().join("in")).unwrap();
    for source in ["plugin", "python"] {
        let check = home.kitovufs(["plugin", "check", "-c", &config, "--source", source]);
        tell(&mut all, "plugin check", &check);
    }
    let mounted = home.kitovufs(["mount", "-c", &config, &mountpoint]);
    tell(&mut all, "mount", &mounted);
    assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
    let folders: Vec<_> = fs::read_dir(&mountpoint).unwrap().flatten().map(|entry| entry.path()).collect();
    for _ in 0..2 {
        for folder in &folders {
            let _ = fs::read_dir(folder);
            let _ = fs::read(folder.join("file"));
        }
    }
    let json = home.kitovufs(["status", "--json", &mountpoint]);
    let status: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    all.extend(shown_by_the_system(status["pid"].as_u64().unwrap()));
    tell(&mut all, "status --json", &json);
    tell(&mut all, "status", &home.kitovufs(["status", &mountpoint]));
    let attributes = home.command("getfattr").args(["-R", "-d", "-m", "-"]).arg(&mountpoint).output();
    all.extend(attributes.map(|output| ("getfattr".to_owned(), said(&output))));
    tell(&mut all, "unmount", &home.kitovufs(["unmount", &mountpoint]));

    for dir in ["state", "cache", "run", "config"] {
        written(&home.dir().join(dir), &mut all);
    }
    let log = all.iter().find(|(name, _)| name.ends_with("kitovufs.log")).expect("the daemon has a log");
    let log = String::from_utf8_lossy(&log.1).into_owned();
    assert!(log.contains("DEBUG") && log.contains("does not answer"), "little was logged:\n{log}");
    let basic = ["anna:planted-env", "anna:planted-web"].map(|login| BASE64_STANDARD.encode(login));
    assert_unseen(&["planted-", "AKIDPLANTED", &account_key, &basic[0], &basic[1]], &all);
}

/// A server that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        reaper::end(&mut self.0);
    }
}

/// `rclone serve sftp` for one user, and the table of a source that knows it, without the password.
fn sftp_for(user: &str, password: &str, own: &Path, dir: &Path) -> (Running, String) {
    keygen(&own.join("host_key"), "");
    let port = free_port();
    let mut command = Command::new(find("rclone", Some("KITOVUFS_RCLONE")));
    command.args(["serve", "sftp"]).arg(dir).args(["--user", user, "--pass", password, "--config", ""]);
    command.args(["--addr", &format!("127.0.0.1:{port}"), "--key"]).arg(own.join("host_key"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = started(command, port, Duration::from_secs(60)).expect("the port was free a moment ago");
    let (known, public) = (own.join("known"), fs::read_to_string(own.join("host_key.pub")).unwrap());
    fs::write(&known, format!("[127.0.0.1]:{port} {public}")).unwrap();
    let table = format!(
        "type = \"sftp\"\nhost = \"127.0.0.1\"\nport = {port}\nusername = \"{user}\"\nknown_hosts = {known:?}\nroot = \"/\"\n"
    );
    (Running(server), table)
}

#[test]
fn logins_that_succeed_leave_no_secret_behind() {
    let served = reaper::temporary();
    fs::write(served.path().join("file"), "bytes").unwrap();
    let (dav, samba, sshd) =
        (Webdav::rclone_with_password(served.path()), Samba::run(served.path()), Sshd::run(served.path()));
    let (_sftp, sftp) = sftp_for("anna", "planted-sftp-pw", served.path(), served.path());
    let (dav, smb) = (dav.table(), samba.table("kit"));
    let password =
        |table: &str| table.lines().find_map(|line| line.strip_prefix("password = ")).unwrap().replace('"', "");
    let (stored, shared) = (password(&dav), password(&smb));
    let dav: Vec<_> = dav.lines().filter(|line| !line.starts_with("password")).collect();
    let locked = sshd.file("locked");
    keygen(&locked, "planted-passphrase");
    let public = fs::read(locked.with_extension("pub")).unwrap();
    fs::OpenOptions::new().append(true).open(sshd.file("authorized_keys")).unwrap().write_all(&public).unwrap();
    // Says who it is, and stays.
    let quiet =
        r#"read a; echo '{"jsonrpc":"2.0","id":1,"result":{"protocol":1,"name":"quiet","capabilities":{}}}'; cat >&2"#;
    let quiet = toml::Value::from(vec!["sh", "-c", quiet]);
    let service = Service::new();
    let config = format!(
        "[sources.stored]\n{}\npassword = {{ keyring = true }}\n\
         [sources.word]\n{sftp}password = {{ env = \"PLANTED\" }}\n\
         [sources.key]\n{}key = {locked:?}\npassphrase = {{ file = \"~/planted\" }}\n\
         [sources.share]\n{smb}\
         [sources.ssh]\n{}\
         [sources.plugin]\ntype = \"plugin\"\ncommand = {quiet}\ntimeout = \"2s\"\npassword = \"planted-plugin\"\n{}directory = {:?}\n",
        dav.join("\n"),
        sshd.table_without_key(),
        sshd.table_with_alias("lab"),
        service.table("python", "share:SharePlugin"),
        service.dir(),
    );
    let home = Home::of(&config).with_env("PLANTED", "planted-sftp-pw").with_env("KITOVUFS_LOG", "trace");
    fs::write(home.dir().join("planted"), "planted-passphrase\n").unwrap();
    fs::write(home.dir().join("right"), &stored).unwrap();
    fs::write(service.beside("remote/file"), "bytes").unwrap();

    // The daemon needs the keyring's bus as long as it lives, so all of its life happens there.
    let kept = home.dir().join("kept");
    fs::create_dir(&kept).unwrap();
    let (mountpoint, kept_at) = (text(home.mountpoint()), text(&kept));
    let script = format!(
        r#"M={mountpoint} K={kept_at}
        $KITOVUFS login -c $CONFIG stored <right
        ! $KITOVUFS check -c $CONFIG
        $KITOVUFS mount -c $CONFIG $M
        ls $M/plugin || true
        for source in stored word key share ssh python; do cat $M/$source/file; echo " of $source"; done
        $KITOVUFS status $M
        $KITOVUFS status --json $M >$K/status
        getfattr -R -d -m - $M || true
        pid=$(tr ',' '\n' <$K/status | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' | head -n 1)
        below() {{ for child in $(cat /proc/$1/task/*/children); do echo $child; below $child; done; }}
        cat /proc/$pid/cmdline >$K/cmdline
        for child in $(below $pid); do
            cp /proc/$child/cmdline $K/cmdline.$child; cp /proc/$child/environ $K/environ.$child || true
        done
        $KITOVUFS unmount $M"#
    );
    let output = with_keyring(&home, &script);
    let told = String::from_utf8_lossy(&said(&output)).into_owned();
    assert!(output.status.success(), "{told}");
    for source in ["stored", "word", "key", "share", "ssh", "python"] {
        assert!(told.contains(&format!("bytes of {source}\n")), "{source} did not let in: {told}");
    }
    let environments = fs::read_dir(&kept).unwrap().flatten();
    let environments = environments.filter(|file| text(file.path()).contains("environ.")).count();
    assert!(environments >= 2, "ssh and a plugin at least have an environment, not {environments}");

    let mut all = vec![("what the commands said".to_owned(), said(&output))];
    for dir in ["state", "cache", "run", "config", "kept"] {
        written(&home.dir().join(dir), &mut all);
    }
    assert!(all.iter().any(|(name, _)| name.ends_with("kitovufs.log")), "the daemon has a log");
    let basic = BASE64_STANDARD.encode(format!("anna:{stored}"));
    assert_unseen(&["planted-", &stored, &shared, &basic], &all);
}

#[test]
fn a_password_that_travels_in_the_clear_is_said_by_check_and_mount_and_a_core_is_not_left() {
    let table = |host: &str| {
        format!(
            "type = \"webdav\"\nendpoint = \"http://{host}:9/\"\nusername = \"anna\"\npassword = \"hunter2\"\ntimeout = \"1s\"\n"
        )
    };
    let config = format!("[sources.far]\n{}[sources.near]\n{}", table("dav.invalid"), table("127.0.0.2"));
    let home = Home::of(&config);
    let (config, mountpoint) = (text(home.config()), text(home.mountpoint()));
    let checked = home.kitovufs(["check", "-c", &config]);
    let mounted = home.kitovufs(["mount", "-c", &config, &mountpoint]);
    let status: serde_json::Value =
        serde_json::from_slice(&home.kitovufs(["status", "--json", &mountpoint]).stdout).unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", status["pid"])).unwrap();
    home.kitovufs(["unmount", &mountpoint]);
    for output in [&checked, &mounted] {
        let said = String::from_utf8_lossy(&said(output)).into_owned();
        let lines: Vec<_> = said.lines().filter(|line| line.contains("unencrypted")).collect();
        assert!(matches!(lines.as_slice(), [line] if line.contains("to dav.invalid")), "{said}");
    }
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert!(matches!(core.split_whitespace().nth(4), Some("0" | "1")), "{core}");
}

//! How fast a mounted file is, as ratios to what a plain client takes for the same bytes in the same run. Run by
//! `scripts/bench clients`.
//!
//! Every figure is a median of several turns in which both sides take part one after the other, so that a machine that grows
//! slow slows both. Ratios count; seconds are shown so that one sees whether they are large enough to mean anything.

#![allow(clippy::unwrap_used, reason = "in a measurement, whatever the world causes ends it")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kit::files::{noise, random};
use kit::mount::Mount;
use kit::proxy::{Link, Proxy};
use kit::remote::Remote;

/// Seconds of our side and of the other, turn by turn.
type Turns = (Vec<f64>, Vec<f64>);

/// Puts a file of a source into a file of its own: from the remote, of which the table tells how to reach it, by name.
type Client = fn(&Remote, &str, &str, &Path);

/// A name, whose bytes are retrieved over what, against whom, and the ratio that is aimed at.
type Race = (&'static str, fn() -> Remote, Line, Client, &'static str);

/// What lies between the mount or the client, and the server.
#[derive(Clone, Copy)]
enum Line {
    /// Nothing.
    Loopback,
    /// 1 Gbit/s.
    Gigabit,
    /// 40 ms of a round trip, and 10 MB/s for every connection.
    Far,
}

/// How often each side takes its turn.
const TURNS: usize = 5;

const MIB: usize = 1 << 20;

const COLD: [Race; 16] = [
    ("local directory, against cp", Remote::local, Line::Loopback, cp, ""),
    ("webdav (Apache), against curl", Remote::apache, Line::Loopback, curl, "<= 1.15"),
    ("webdav (Apache), against rclone copy", Remote::apache, Line::Loopback, rclone_webdav, "<= 1.15"),
    ("http (nginx), against curl", Remote::web, Line::Loopback, curl, "<= 1.15"),
    ("s3 (rclone serve), against rclone copy", Remote::s3, Line::Loopback, rclone_s3, "<= 1.15"),
    ("s3 (rclone serve), against curl", tagged_s3, Line::Loopback, curl_bucket, "<= 1.15"),
    ("s3 (rclone serve, no tags), against curl", untagged_s3, Line::Loopback, curl_bucket, "<= 1.15"),
    ("sftp (OpenSSH), against sftp", Remote::sftp, Line::Loopback, sftp, "<= 1.15"),
    ("smb (Samba), against smbclient", Remote::smb, Line::Loopback, smbclient, "<= 1.15"),
    ("webdav, 1 Gbit/s, against curl", Remote::apache, Line::Gigabit, curl, "<= 1.15"),
    ("s3, 1 Gbit/s, against curl", tagged_s3, Line::Gigabit, curl_bucket, "<= 1.15"),
    ("sftp, 1 Gbit/s, against sftp", Remote::sftp, Line::Gigabit, sftp, "<= 1.15"),
    ("smb, 1 Gbit/s, against smbclient", Remote::smb, Line::Gigabit, smbclient, "<= 1.15"),
    ("webdav, 40 ms and 10 MB/s a connection, curl", Remote::apache, Line::Far, curl, "<= 0.33"),
    ("s3, 40 ms and 10 MB/s a connection, curl", tagged_s3, Line::Far, curl_bucket, "<= 0.33"),
    ("http, 40 ms and 10 MB/s a connection, curl", Remote::web, Line::Far, curl, "<= 0.33"),
];

fn tagged_s3() -> Remote {
    Remote::still_s3(true)
}

fn untagged_s3() -> Remote {
    Remote::still_s3(false)
}

fn main() {
    // `cargo bench` passes arguments of its own; the first other one chooses by name.
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let bytes = noise(1024 * MIB, &mut random());
    println!("{:<52} {:>9} {:>9} {:>7}  target", "", "mount s", "client s", "ratio");
    let show = |name: &str, target: &str, measure: &dyn Fn() -> Turns| {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            return;
        }
        let (ours, theirs) = measure();
        let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
        println!("{name:<52} {:>9.3} {:>9.3} {:>7.2}  {target}", median(ours), median(theirs), median(ratios));
        std::io::stdout().flush().unwrap();
    };
    for (name, remote, line, client, target) in COLD {
        show(&format!("cold, {name}"), target, &|| cold(&remote(), line, &bytes, client));
    }
    show("warm, whole copy, against the file itself", "<= 1.25", &|| warm(&bytes));
    show("list 10,000 files, webdav, against curl PROPFIND", "", &listing);
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// How long this takes on a machine that has nothing else to write, and memory at hand: a virtual machine gives free memory back to its
/// host, and getting it again takes longer than filling it.
fn seconds(work: impl FnOnce()) -> f64 {
    rustix::fs::sync();
    std::hint::black_box(vec![1_u8; 4 * 1024 * MIB]);
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

/// Reads a file as most programs do.
fn read(path: &Path) -> u64 {
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 128 * 1024];
    let mut total = 0;
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return total,
            length => total += length as u64,
        }
    }
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

impl Line {
    /// As many of these bytes as take seconds, not minutes.
    fn enough(self, bytes: &[u8]) -> &[u8] {
        match self {
            Self::Loopback => bytes,
            Self::Gigabit => &bytes[..256 * MIB],
            Self::Far => &bytes[..64 * MIB],
        }
    }

    fn between(self, remote: &Remote) -> (String, Option<Proxy>) {
        let link = match self {
            Self::Loopback => return (remote.table("far"), None),
            Self::Gigabit => Link { line: Some(125_000_000), ..Link::default() },
            Self::Far => Link { delay: Duration::from_millis(20), bandwidth: Some(10_000_000), ..Link::default() },
        };
        let (table, proxy) = remote.table_over("far", Proxy::to);
        proxy.set(link);
        (table, Some(proxy))
    }
}

/// Our side retrieves a file that it has never seen; the other puts the same bytes into a file of its own.
fn cold(remote: &Remote, line: Line, bytes: &[u8], client: Client) -> Turns {
    let bytes = line.enough(bytes);
    let names: Vec<String> = (0..TURNS).map(|turn| format!("file-{turn}")).collect();
    for name in &names {
        remote.put(name, bytes);
    }
    let (table, _line) = line.between(remote);
    let mount = Mount::of(&format!("{table}fresh_for = \"1h\"\n"));
    assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), TURNS);
    let copy = mount.home().dir().join("copy");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for name in &names {
        ours.push(seconds(|| assert_eq!(read(&mount.path(format!("far/{name}"))), bytes.len() as u64)));
        theirs.push(seconds(|| client(remote, &table, name, &copy)));
        assert_eq!(fs::metadata(&copy).unwrap().len(), bytes.len() as u64);
        fs::remove_file(&copy).unwrap();
    }
    (ours, theirs)
}

/// The value of a key in a source's table, without quotes.
fn value<'a>(table: &'a str, key: &str) -> &'a str {
    let rest = table.split(&format!("{key} = ")).nth(1).unwrap();
    rest.lines().next().unwrap().trim_matches('"')
}

fn endpoint(table: &str) -> &str {
    let key = if table.contains("endpoint = ") { "endpoint" } else { "url" };
    value(table, key).trim_end_matches('/')
}

fn cp(remote: &Remote, _: &str, name: &str, to: &Path) {
    run(Command::new("cp").arg("--reflink=never").arg(remote.dir().join(name)).arg(to));
}

fn curl(_: &Remote, table: &str, name: &str, to: &Path) {
    run(Command::new("curl").args(["-sSf", "-o"]).arg(to).arg(format!("{}/{name}", endpoint(table))));
}

fn curl_bucket(remote: &Remote, table: &str, name: &str, to: &Path) {
    curl(remote, table, &format!("{}/{name}", value(table, "bucket")), to);
}

fn rclone(flags: &[&str], from: &str, to: &Path) {
    run(Command::new("rclone").args(["--config", "/dev/null", "copyto"]).args(flags).arg(from).arg(to));
}

fn rclone_webdav(_: &Remote, table: &str, name: &str, to: &Path) {
    rclone(&["--webdav-url", endpoint(table)], &format!(":webdav:{name}"), to);
}

fn rclone_s3(_: &Remote, table: &str, name: &str, to: &Path) {
    let (id, secret) = (value(table, "access_key_id"), value(table, "secret_access_key"));
    let server = ["--s3-provider", "Rclone", "--s3-endpoint", endpoint(table), "--ignore-checksum"];
    let account = ["--s3-access-key-id", id, "--s3-secret-access-key", secret];
    rclone(&[&server[..], &account].concat(), &format!(":s3:bucket/{name}"), to);
}

fn sftp(_: &Remote, table: &str, name: &str, to: &Path) {
    let known_hosts = format!("UserKnownHostsFile={}", value(table, "known_hosts"));
    let from = format!("{}@127.0.0.1:{}/{name}", value(table, "username"), value(table, "root"));
    run(Command::new("sftp")
        .args(["-q", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", &known_hosts, "-i", value(table, "key")])
        .args(["-P", value(table, "port"), &from])
        .arg(to));
}

fn smbclient(_: &Remote, table: &str, name: &str, to: &Path) {
    let user = format!("{}%{}", value(table, "username"), value(table, "password"));
    run(Command::new("smbclient")
        .args(["//127.0.0.1/kit", "-p", value(table, "port"), "-U", &user])
        .args(["-c", &format!("get {name} {}", to.display())]));
}

fn warm(bytes: &[u8]) -> Turns {
    let remote = Remote::local();
    remote.put("file", bytes);
    let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")));
    let (mounted, native) = (mount.path("far/file"), remote.dir().join("file"));
    for path in [&mounted, &native] {
        read(path);
    }
    (0..TURNS).map(|_| (seconds(|| _ = read(&mounted)), seconds(|| _ = read(&native)))).unzip()
}

fn listing() -> Turns {
    let remote = Remote::apache();
    for n in 0..10_000 {
        remote.put(&format!("a file with a name {n}"), "x");
    }
    let table = remote.table("far");
    let url = format!("{}/", endpoint(&table));
    (0..TURNS)
        .map(|_| {
            let mount = Mount::of(&format!("{table}fresh_for = \"1h\"\n"));
            let ours = seconds(|| assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), 10_000));
            let mut client = Command::new("curl");
            client.args(["-sSf", "-X", "PROPFIND", "-H", "Depth: 1", "-o", "/dev/null"]).arg(&url);
            (ours, seconds(|| run(&mut client)))
        })
        .unzip()
}

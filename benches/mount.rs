//! How fast a mounted file is, as ratios to what a plain client takes for the same bytes in the same run. Run by `scripts/bench`.
//!
//! Every figure is a median of several turns in which both sides take part one after the other, so that a machine that grows
//! slow slows both. Ratios count; seconds are shown so that one sees whether they are large enough to mean anything.

#![allow(clippy::unwrap_used, reason = "in a measurement, whatever the world causes ends it")]
#![allow(unreachable_pub, dead_code, reason = "the kit is shared with the tests, and nothing outside reaches it")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[path = "../tests/kit/mod.rs"]
mod kit;
#[path = "../tests/e2e/remote.rs"]
mod remote;

use kit::mount::{Mount, noise, random};
use kit::proxy::{Link, Proxy};
use remote::Remote;

/// Seconds of our side and of the other, turn by turn.
type Turns = (Vec<f64>, Vec<f64>);

/// A name, what it measures, and the ratio that is aimed at.
type Measurement = (&'static str, fn(&[u8]) -> Turns, &'static str);

/// How often each side takes its turn.
const TURNS: usize = 5;

const MIB: usize = 1 << 20;

fn main() {
    // `cargo bench` passes arguments of its own; the first other one chooses by name.
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let size = 1024 * MIB;
    let bytes = noise(size, &mut random());
    println!("{:<52} {:>9} {:>9} {:>7}  target", "", "mount s", "client s", "ratio");
    let all: [Measurement; 14] = [
        ("cold, local directory, against cp", cold_local, ""),
        ("cold, webdav (Apache), against curl", cold_webdav, "<= 1.15"),
        ("cold, webdav (Apache), against rclone copy", cold_webdav_rclone, "<= 1.15"),
        ("cold, http (nginx), against curl", cold_http, "<= 1.15"),
        ("cold, s3 (rclone serve), against rclone copy", cold_s3, "<= 1.15"),
        ("cold, s3 (rclone serve), against curl", cold_s3_curl, "<= 1.15"),
        ("cold, s3 (rclone serve, no tags), against curl", cold_untagged_s3, "<= 1.15"),
        ("cold, sftp (OpenSSH), against sftp", cold_sftp, "<= 1.15"),
        ("cold, smb (Samba), against smbclient", cold_smb, "<= 1.15"),
        ("cold, webdav, 40 ms and 10 MB/s a connection, curl", far_webdav, "<= 0.33"),
        ("cold, s3, 40 ms and 10 MB/s a connection, curl", far_s3, "<= 0.33"),
        ("cold, http, 40 ms and 10 MB/s a connection, curl", far_http, "<= 0.33"),
        ("warm, whole copy, against the file itself", warm, "<= 1.25"),
        ("list 10,000 files, webdav, against curl PROPFIND", listing, ""),
    ];
    for (name, measure, target) in all {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let (ours, theirs) = measure(&bytes);
        let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
        println!("{name:<52} {:>9.3} {:>9.3} {:>7.2}  {target}", median(ours), median(theirs), median(ratios));
        std::io::stdout().flush().unwrap();
    }
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

/// Our side retrieves a file that it has never seen; the other puts the same bytes into a file of its own.
fn cold(remote: &Remote, bytes: &[u8], table: &str, client: impl Fn(&str, &Path)) -> Turns {
    let mount = Mount::of(&format!("{table}fresh_for = \"1h\"\n"));
    let names: Vec<String> = (0..TURNS).map(|turn| format!("file-{turn}")).collect();
    assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), TURNS);
    let copy = mount.home().dir().join("copy");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for name in &names {
        ours.push(seconds(|| assert_eq!(read(&mount.path(format!("far/{name}"))), bytes.len() as u64)));
        theirs.push(seconds(|| client(name, &copy)));
        assert_eq!(fs::metadata(&copy).unwrap().len(), bytes.len() as u64);
        fs::remove_file(&copy).unwrap();
    }
    drop(remote.dir());
    (ours, theirs)
}

fn filled(remote: Remote, bytes: &[u8]) -> Remote {
    for turn in 0..TURNS {
        remote.put(&format!("file-{turn}"), bytes);
    }
    remote
}

fn cold_local(bytes: &[u8]) -> Turns {
    let remote = filled(Remote::local(), bytes);
    let (table, dir) = (remote.table("far"), remote.dir());
    cold(&remote, bytes, &table, |name, to| run(Command::new("cp").arg("--reflink=never").arg(dir.join(name)).arg(to)))
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

fn cold_sftp(bytes: &[u8]) -> Turns {
    let remote = filled(Remote::sftp(), bytes);
    let table = remote.table("far");
    cold(&remote, bytes, &table, |name, to| {
        let known_hosts = format!("UserKnownHostsFile={}", value(&table, "known_hosts"));
        let from = format!("{}@127.0.0.1:{}/{name}", value(&table, "username"), value(&table, "root"));
        run(Command::new("sftp")
            .args(["-q", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", &known_hosts, "-i", value(&table, "key")])
            .args(["-P", value(&table, "port"), &from])
            .arg(to));
    })
}

fn cold_smb(bytes: &[u8]) -> Turns {
    let remote = filled(Remote::smb(), bytes);
    let table = remote.table("far");
    cold(&remote, bytes, &table, |name, to| {
        let user = format!("{}%{}", value(&table, "username"), value(&table, "password"));
        run(Command::new("smbclient")
            .args(["//127.0.0.1/kit", "-p", value(&table, "port"), "-U", &user])
            .args(["-c", &format!("get {name} {}", to.display())]));
    })
}

fn curl(table: &str, name: &str, to: &Path) {
    run(Command::new("curl").args(["-sSf", "-o"]).arg(to).arg(format!("{}/{name}", endpoint(table))));
}

fn near(remote: Remote, bytes: &[u8], client: fn(&str, &str, &Path)) -> Turns {
    let remote = filled(remote, bytes);
    let table = remote.table("far");
    cold(&remote, bytes, &table, |name, to| client(&table, name, to))
}

fn cold_webdav(bytes: &[u8]) -> Turns {
    near(Remote::apache(), bytes, curl)
}

fn cold_http(bytes: &[u8]) -> Turns {
    near(Remote::web(), bytes, curl)
}

fn cold_webdav_rclone(bytes: &[u8]) -> Turns {
    let remote = filled(Remote::apache(), bytes);
    let table = remote.table("far");
    cold(&remote, bytes, &table, |name, to| {
        run(Command::new("rclone")
            .args(["--config", "/dev/null", "copyto", "--webdav-url", endpoint(&table)])
            .arg(format!(":webdav:{name}"))
            .arg(to));
    })
}

fn cold_s3(bytes: &[u8]) -> Turns {
    let remote = filled(Remote::s3(), bytes);
    let table = remote.table("far");
    let (id, secret) = (value(&table, "access_key_id"), value(&table, "secret_access_key"));
    cold(&remote, bytes, &table, |name, to| {
        run(Command::new("rclone")
            .args(["--config", "/dev/null", "copyto", "--s3-provider", "Rclone", "--s3-endpoint", endpoint(&table)])
            .args(["--s3-access-key-id", id, "--s3-secret-access-key", secret, "--ignore-checksum"])
            .arg(format!(":s3:bucket/{name}"))
            .arg(to));
    })
}

/// One request for everything.
fn curl_bucket(table: &str, name: &str, to: &Path) {
    curl(table, &format!("{}/{name}", value(table, "bucket")), to);
}

fn cold_untagged_s3(bytes: &[u8]) -> Turns {
    near(Remote::untagged_s3(), bytes, curl_bucket)
}

fn cold_s3_curl(bytes: &[u8]) -> Turns {
    near(Remote::public_s3(), bytes, curl_bucket)
}

fn far_webdav(bytes: &[u8]) -> Turns {
    far(Remote::apache(), bytes, curl)
}

fn far_http(bytes: &[u8]) -> Turns {
    far(Remote::web(), bytes, curl)
}

fn far_s3(bytes: &[u8]) -> Turns {
    far(Remote::public_s3(), bytes, curl_bucket)
}

fn far(remote: Remote, bytes: &[u8], client: fn(&str, &str, &Path)) -> Turns {
    // Enough for a few seconds, not minutes.
    let bytes = &bytes[..64 * MIB];
    let remote = filled(remote, bytes);
    let (table, proxy) = remote.table_over("far", Proxy::to);
    proxy.set(Link { delay: Duration::from_millis(20), bandwidth: Some(10_000_000), ..Link::default() });
    cold(&remote, bytes, &table, |name, to| client(&table, name, to))
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

fn listing(_: &[u8]) -> Turns {
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

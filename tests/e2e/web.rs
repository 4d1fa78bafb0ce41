//! The page of a mount: who may look, what it tells, and what many or slow clients cost.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::Value;

use crate::kit::home::{Home, is_root, local, text};
use crate::kit::mount::Mount;
use crate::kit::wait::{SOON, eventually, holds_within};

const TOKEN: &str = "a-token-that-nobody-guesses";

fn configured(web: &str) -> String {
    format!("{}[web]\nlisten = \"127.0.0.1:0\"\n{web}", local("near", "/usr/share".as_ref()))
}

/// Where the page of a mount is, as its status tells.
fn address(mount: &Mount) -> SocketAddr {
    let status = mount.status();
    let url = status["web"].as_str().unwrap();
    let address = url.strip_prefix("http://").and_then(|rest| rest.strip_suffix('/'));
    address.unwrap_or_else(|| panic!("no address: {url}")).parse().unwrap()
}

fn connected(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// The status code, the head and the body of an answer.
fn ask(to: SocketAddr, path: &str, headers: &str) -> (u16, String, String) {
    let host = if headers.contains("Host:") { String::new() } else { format!("Host: {to}\r\n") };
    let mut stream = connected(to);
    write!(stream, "GET {path} HTTP/1.1\r\n{host}Connection: close\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.unwrap_or_else(|| panic!("no code: {head}")), head.to_ascii_lowercase(), body.to_owned())
}

/// A client that follows the status, and its next one.
struct Follower(BufReader<TcpStream>);

impl Follower {
    fn of(to: SocketAddr) -> Self {
        Self::at(to, "/events")
    }

    fn at(to: SocketAddr, path: &str) -> Self {
        let mut stream = connected(to);
        // A client too many may be turned away before.
        let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: {to}\r\n\r\n");
        Self(BufReader::new(stream))
    }

    /// `None` where the server does not tell.
    fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(event) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(event).unwrap());
            }
        }
    }
}

#[test]
fn the_page_tells_what_the_status_tells_and_may_not_be_kept_or_framed() {
    for home in [Home::of(&configured("")), Home::of_nobody(&configured(""))] {
        let mount = home.mount();
        // As the mount's user, or as root, who may look too.
        let at = address(&mount);
        mount.sh("ls near >/dev/null");
        let (code, head, page) = ask(at, "/", "");
        assert_eq!(code, 200, "{page}");
        for kept in [
            "cache-control: no-store",
            "content-security-policy: default-src 'none'",
            "frame-ancestors 'none'",
            "nosniff",
        ] {
            assert!(head.contains(kept), "{kept} is not in {head}");
        }
        assert!(page.contains("<h1>kitovufs</h1>"), "{page}");
        let (code, _, json) = ask(at, "/status.json", "");
        let status: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((code, &status["sources"]["near"]["requests"]["list_path"]), (200, &1.into()));
        let mut follower = Follower::of(at);
        assert_eq!(follower.next().unwrap()["mountpoint"], *text(mount.home().mountpoint()));
        mount.sh("ls near/doc >/dev/null");
        eventually("the page is told", || follower.next().unwrap()["sources"]["near"]["requests"]["list_path"] == 2);
        assert_eq!(ask(at, "/passwd", "").0, 404);
    }
}

#[test]
fn other_sites_and_other_names_are_refused() {
    let mount = Mount::of(&configured(""));
    let at = address(&mount);
    for refused in [
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Origin: http://evil.example\r\n",
        "Host: evil.example\r\n",
    ] {
        for path in ["/", "/events", "/status.json", "/metrics"] {
            let (code, _, body) = ask(at, path, refused);
            assert_eq!(code, 403, "{refused} {path}");
            assert!(!body.contains("near"), "{body}");
        }
    }
    assert_eq!(ask(at, "/status.json", "Sec-Fetch-Site: same-origin\r\n").0, 200);
}

/// The status code that a program of this user gets.
fn code_as(user: u32, at: SocketAddr, headers: &str) -> String {
    let script = format!(
        "import socket\ns = socket.create_connection(('{}', {}))\n\
         s.sendall(b'GET /status.json HTTP/1.1\\r\\nHost: {at}\\r\\nConnection: close\\r\\n{headers}\\r\\n')\n\
         print(s.recv(12).decode().split()[1])",
        at.ip(),
        at.port()
    );
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups", "python3", "-c", &script]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn another_user_of_this_machine_is_refused_without_a_token_and_let_in_with_it() {
    if !is_root() {
        println!("only root has programs run as others");
        return;
    }
    // The user as whom the kit mounts, and one more.
    let (owner, other) = (65534, 65533);
    let mount = Home::of_nobody(&configured("")).mount();
    let at = address(&mount);
    assert_eq!((&*code_as(owner, at, ""), &*code_as(0, at, ""), &*code_as(other, at, "")), ("200", "200", "403"));

    let mount = Home::of_nobody(&configured(&format!("token = \"{TOKEN}\"\n"))).mount();
    let at = address(&mount);
    let bearer = format!("Authorization: Bearer {TOKEN}\\r\\n");
    assert_eq!((&*code_as(other, at, ""), &*code_as(other, at, &bearer)), ("403", "200"));
}

#[test]
fn a_token_is_asked_for_of_everybody_and_shown_nowhere() {
    let mount = Mount::of(&configured(&format!("token = \"{TOKEN}\"\n")));
    let at = address(&mount);
    for path in ["/events", "/status.json", "/metrics", "/status.json?token=wrong"] {
        assert_eq!(ask(at, path, "").0, 403, "{path}");
    }
    let (code, _, form) = ask(at, "/", "");
    assert!(code == 403 && form.contains("<form"), "{code} {form}");
    assert_eq!(ask(at, &format!("/?token={TOKEN}"), "").0, 200);
    assert_eq!(ask(at, "/metrics", &format!("Authorization: Bearer {TOKEN}\r\n")).0, 200);
    // A name is no matter where a page that was bent here does not know the token.
    assert_eq!(ask(at, "/metrics", &format!("Host: files.example.org\r\nAuthorization: Bearer {TOKEN}\r\n")).0, 200);
    assert!(!mount.status().to_string().contains(TOKEN) && !mount.log().contains(TOKEN));
}

#[test]
fn a_token_that_cannot_be_had_keeps_everybody_out_and_the_log_says_why() {
    let mount = Mount::of(&configured("token = { file = \"absent\" }\n"));
    let at = address(&mount);
    assert_eq!(ask(at, "/status.json", "").0, 503);
    assert!(mount.log().contains("absent"), "{}", mount.log());
    fs::write(mount.home().dir().join("absent"), "short\n").unwrap();
    assert_eq!(ask(at, "/status.json?token=short", "").0, 503);
    assert!(mount.log().contains("could be guessed"), "{}", mount.log());
    fs::write(mount.home().dir().join("absent"), format!("{TOKEN}\n")).unwrap();
    assert_eq!(ask(at, &format!("/status.json?token={TOKEN}"), "").0, 200);
}

#[test]
fn a_token_that_was_replaced_opens_nothing_any_more() {
    const NEXT: &str = "another-that-nobody-guesses";
    let mount = Mount::of(&configured("token = { file = \"token\" }\n"));
    let (at, file) = (address(&mount), mount.home().dir().join("token"));
    let code = |token: &str| ask(at, &format!("/status.json?token={token}"), "").0;
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    assert_eq!((code(TOKEN), code(NEXT)), (200, 403));
    let mut follower = Follower::at(at, &format!("/events?token={TOKEN}"));
    follower.next().expect("it is told");
    fs::write(&file, format!("{NEXT}\n")).unwrap();
    eventually("the new one opens", || code(NEXT) == 200);
    assert_eq!(code(TOKEN), 403);
    // A page that is open with the old one ends.
    while follower.next().is_some() {}
}

#[test]
fn a_request_says_once_which_host_it_means() {
    let mount = Mount::of(&configured(""));
    let at = address(&mount);
    let code = |request: &str| {
        let mut stream = connected(at);
        stream.write_all(request.replace('\n', "\r\n").as_bytes()).unwrap();
        // It sends no more, and is answered nevertheless.
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {request}")).to_owned()
    };
    let path = "/status.json";
    for (expected, request) in [
        ("200", format!("GET {path} HTTP/1.1\nHost: {at}\n\n")),
        ("400", format!("GET {path} HTTP/1.1\nHost: {at}\nHost: {at}\n\n")),
        ("400", format!("GET {path} HTTP/1.1\nHost: {at}\nHost: evil.example\n\n")),
        ("400", format!("GET {path} HTTP/1.1\n\n")),
        ("403", format!("GET {path} HTTP/1.0\n\n")),
        ("200", format!("GET http://{at}{path} HTTP/1.1\nHost: evil.example\n\n")),
        ("403", format!("GET http://evil.example{path} HTTP/1.1\nHost: {at}\n\n")),
    ] {
        assert_eq!(code(&request), expected, "{request}");
    }
}

#[test]
fn whoever_says_nothing_keeps_nobody_out() {
    let mount = Mount::of(&configured(""));
    let at = address(&mount);
    let mut follower = Follower::of(at);
    follower.next().expect("it is told");
    let silent: Vec<_> = (0..64).map(|_| connected(at)).collect();
    assert_eq!(ask(at, "/status.json", "").0, 200);
    let mut second = Follower::of(at);
    assert!(second.next().is_some() && follower.next().is_some(), "those that follow stay");
    drop(silent);
}

#[test]
fn the_page_of_all_addresses_is_shown_at_one_that_opens() {
    let web = format!("token = \"{TOKEN}\"\n");
    let mount = Mount::of(&configured(&web).replace("127.0.0.1:0", "0.0.0.0:0"));
    let at = address(&mount);
    assert!(at.ip().is_loopback(), "{at}");
    assert_eq!(ask(at, &format!("/status.json?token={TOKEN}"), "").0, 200);
}

#[test]
fn a_port_that_is_taken_is_told_and_does_not_stop_the_mount() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let near = local("near", "/usr/share".as_ref());
    let home = Home::of(&format!("{near}[web]\nlisten = \"{at}\"\n"));
    let mountpoint = text(home.mountpoint());
    let output = home.kitovufs(["mount", "-c", &text(home.config()), &mountpoint]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains(&format!("there is no page on {at}")), "{said}");
    assert!(home.answers());
    let status = home.kitovufs(["status", &mountpoint]);
    let shown = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(shown.contains(&format!("page  off: {at}")), "{shown}");
    assert!(home.kitovufs(["unmount", &mountpoint]).status.success());
}

#[test]
fn one_client_too_many_is_told_so_and_the_end_of_the_mount_ends_the_others() {
    let mut mount = Mount::of(&configured(""));
    let at = address(&mount);
    let mut followers: Vec<_> = (0..32).map(|_| Follower::of(at)).collect();
    for follower in &mut followers {
        follower.next().expect("it is told");
    }
    let mut more = String::new();
    connected(at).read_to_string(&mut more).unwrap();
    assert!(more.starts_with("HTTP/1.1 503 "), "{more}");
    followers.pop();
    eventually("there is room again", || Follower::of(at).next().is_some());
    mount.unmount();
    for follower in &mut followers {
        while follower.next().is_some() {}
    }
}

#[test]
fn a_client_that_does_not_read_is_let_go() {
    // Each makes what is told longer.
    let many: String = (0..20).map(|n| local(&format!("source{n}"), "/usr/share".as_ref())).collect();
    let mount = Mount::of(&format!("{many}[web]\nlisten = \"127.0.0.1:0\"\n"));
    let at = address(&mount);
    let mut idle = connected(at);
    set_socket_recv_buffer_size(&idle, 4096).unwrap();
    write!(idle, "GET /events HTTP/1.1\r\nHost: {at}\r\n\r\n").unwrap();
    let here = format!("{:04X}", idle.local_addr().unwrap().port());
    // proc(5): of the server's end, the third column ends with this port, and 01 is what is established.
    let is_open = || {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .any(|line| line[2].ends_with(&here) && line[3] == "01")
    };
    assert!(is_open());
    assert!(holds_within(2 * SOON, || !is_open()), "it is still connected");
    assert_eq!(ask(at, "/status.json", "").0, 200);
}

#[test]
fn the_parser_of_prometheus_accepts_the_metrics() {
    const CHECK: &str = "
import sys
from prometheus_client.parser import text_string_to_metric_families
families = {family.name: family for family in text_string_to_metric_families(sys.stdin.read())}
for name, family in families.items():
    assert name.startswith('kitovufs_') and family.documentation, name
    for sample in family.samples:
        assert set(sample.labels) <= {'source', 'operation', 'outcome', 'state', 'type', 'version', 'le'}, sample
        assert family.type != 'counter' or sample.name.endswith('_total'), sample
duration = families['kitovufs_source_request_duration_seconds']
assert duration.type == 'histogram'
count = {s.labels['operation']: s.value for s in duration.samples if s.name.endswith('_count')}
asked = {s.labels['operation']: s.value for s in families['kitovufs_source_requests'].samples if s.labels['outcome'] == 'ok'}
assert count['list_path'] == asked['list_path'] == 1, (count, asked)
buckets = [s.value for s in duration.samples if s.name.endswith('_bucket') and s.labels['operation'] == 'list_path']
assert buckets == sorted(buckets) and buckets[-1] == 1, buckets
states = [s.labels['state'] for s in families['kitovufs_source_state'].samples if s.value == 1]
assert states == ['ok'], states
print(len(families))
";
    let mount = Mount::of(&configured(""));
    mount.sh("ls near >/dev/null");
    let (code, head, metrics) = ask(address(&mount), "/metrics", "");
    assert!(code == 200 && head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let mut python = Command::new("python3");
    python.args(["-c", CHECK]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = python.spawn().unwrap();
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{metrics}");
    assert!(String::from_utf8_lossy(&output.stdout).trim().parse::<usize>().unwrap() > 20);
}

//! `Stage`: files on a server behind a line, and the machines that mount it.

use std::fs::{self, File};
use std::io::Read as _;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use kit::files::{noise, random, set_modified};
use kit::home::Home;
use kit::mount::{Mount, bytes_retrieved, number, requests};
use kit::proxy::{Link, Proxy};
use kit::reaper;
use kit::servers::{Webdav, with_port};
use kit::wait::{SOON, settles_within};
use serde_json::Value;
use tempfile::TempDir;

/// The time of a line from one end to the other.
pub const DELAY: Duration = Duration::from_millis(20);

/// Bytes a second of that line, for all machines together: 200 Mbit/s.
pub const BANDWIDTH: u64 = 25_000_000;

/// How long ago the files were changed: their entity tags count for good.
const AGE: Duration = Duration::from_secs(3600);

/// So many small files and large ones, of these sizes.
#[derive(Debug, Clone, Copy)]
pub struct Files {
    pub small: (usize, usize),
    pub large: (usize, usize),
}

/// Apache's mod_dav with files, and the line to it that all machines share.
pub struct Stage {
    line: Proxy,
    server: Webdav,
    files: Files,
    large: Vec<u8>,
    _dir: TempDir,
}

/// The cost of machines that have read everything.
pub struct Told {
    pub bytes: u64,
    pub retrievals: u64,
    pub from_store: u64,
    pub took: Duration,
}

impl Stage {
    pub fn new(files: Files) -> Self {
        let dir = reaper::reachable();
        let mut random = random();
        let put = |name: String, content: &[u8]| {
            let place = dir.path().join(name);
            fs::write(&place, content).unwrap();
            set_modified(&place, SystemTime::now() - AGE);
        };
        fs::create_dir(dir.path().join("small")).unwrap();
        (0..files.small.0).for_each(|number| put(format!("small/{number}"), &noise(files.small.1, &mut random)));
        let large = noise(files.large.1, &mut random);
        (0..files.large.0).for_each(|number| put(format!("large{number}"), &numbered(&large, number)));
        let server = Webdav::apache(dir.path());
        let line = Proxy::to(server.port());
        let link =
            Link { delay: DELAY, line: Some(BANDWIDTH), bandwidth: None, until: None, fate: None, refuses: false };
        line.set(link);
        Self { line, server, files, large, _dir: dir }
    }

    /// A new machine, with an empty cache.
    fn machine(&self, shared: &str) -> Mount {
        let shares = if shared.is_empty() { "" } else { "shared = true\n" };
        let source = with_port(&self.server.table(), self.server.port(), self.line.port());
        Home::of(&format!(
            "[cache]\nmin_free = \"1MiB\"\n{shared}[sources.files]\nfresh_for = \"1h\"\n{shares}{source}"
        ))
        .mount()
    }

    /// So many new machines do the same at once.
    fn machines(&self, machines: usize, shared: &str, work: impl Fn(&Mount) + Sync) -> (Told, Vec<Mount>) {
        let machines: Vec<_> = (0..machines).map(|_| self.machine(shared)).collect();
        let begun = Instant::now();
        thread::scope(|scope| machines.iter().for_each(|machine| _ = scope.spawn(|| work(machine))));
        let took = begun.elapsed();
        let statuses: Vec<_> = machines.iter().map(Mount::status).collect();
        let sum = |of: &dyn Fn(&Value) -> u64| statuses.iter().map(of).sum();
        let from_store = |status: &Value| if shared.is_empty() { 0 } else { number(status, "/shared/bytes_in") };
        let told = Told {
            bytes: sum(&|status| bytes_retrieved(status, "files")),
            retrievals: sum(&|status| requests(status, "files").2),
            from_store: sum(&from_store),
            took,
        };
        (told, machines)
    }

    /// So many new machines read everything at once, each as a copy with four small files and a large one at a time.
    pub fn copy(&self, machines: usize, shared: &str) -> (Told, Vec<Mount>) {
        self.machines(machines, shared, |machine| {
            let small: Vec<usize> = (0..self.files.small.0).collect();
            thread::scope(|scope| {
                for part in small.chunks(small.len().div_ceil(4)) {
                    scope.spawn(|| part.iter().for_each(|&number| self.read_small(machine, number)));
                }
                scope.spawn(|| (0..self.files.large.0).for_each(|number| self.read_large(machine, number)));
            });
        })
    }

    /// The same, each one file after another.
    pub fn walk(&self, machines: usize, shared: &str) -> (Told, Vec<Mount>) {
        self.machines(machines, shared, |machine| {
            (0..self.files.small.0).for_each(|number| self.read_small(machine, number));
            (0..self.files.large.0).for_each(|number| self.read_large(machine, number));
        })
    }

    fn read_small(&self, machine: &Mount, number: usize) {
        let content = fs::read(machine.path(format!("files/small/{number}"))).unwrap();
        assert_eq!(content.len(), self.files.small.1);
    }

    fn read_large(&self, machine: &Mount, number: usize) {
        let mut file = File::open(machine.path(format!("files/large{number}"))).unwrap();
        let mut buffer = vec![0; 1 << 20];
        for part in self.large.chunks(1 << 20) {
            file.read_exact(&mut buffer[..part.len()]).unwrap();
            assert!(buffer[..part.len()] == numbered(part, number), "what is read is right");
        }
    }
}

/// These bytes as they are in the large file of this number.
fn numbered(bytes: &[u8], number: usize) -> Vec<u8> {
    let mut own = bytes.to_vec();
    own.chunks_exact_mut(4096).for_each(|block| block[8..16].copy_from_slice(&number.to_le_bytes()));
    own
}

/// Waits until machines have given what they retrieved.
pub fn settle(machines: &[Mount]) {
    let given = || machines.iter().map(|machine| number(&machine.status(), "/shared/bytes_out")).sum();
    let _ = settles_within(SOON, Duration::from_secs(1), given);
}

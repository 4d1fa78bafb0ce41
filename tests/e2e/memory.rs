//! What the daemon takes of the machine's memory, at its peak (`VmHWM`), however much moves through it.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Barrier;
use std::thread;

use crate::kit::mount::{MEMORY, Mount, bytes_retrieved};
use crate::remote::Remote;

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 128 << 10;

/// A file of zeros, which takes no room where it is.
fn hollow(remote: &Remote, name: &str, size: u64) {
    remote.put(name, "");
    File::options().write(true).open(remote.dir().join(name)).unwrap().set_len(size).unwrap();
}

#[test]
fn ten_gibibytes_stream_through_little_memory() {
    const SIZE: u64 = 10 << 30;
    let remote = Remote::apache();
    hollow(&remote, "large", SIZE);
    // Far too little for the file: everything is read through, by way of memory only.
    let config =
        format!("[cache]\nmax_size = \"64MiB\"\nmin_free = \"1MiB\"\n{}fresh_for = \"1h\"\n", remote.table("far"));
    let mount = Mount::of(&config);
    let mut file = File::open(mount.path("far/large")).unwrap();
    let (mut buffer, mut total) = (vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => break,
            length => total += length as u64,
        }
    }
    assert_eq!(total, SIZE);
    assert!(bytes_retrieved(&mount.status(), "far") >= SIZE);
    let peak = mount.peak_memory();
    assert!(peak <= MEMORY, "{} MiB", peak / MIB);
}

#[test]
fn a_thousand_handles_and_64_readers_stay_within_the_budget() {
    for remote in [Remote::apache(), Remote::smb()] {
        const SIZE: u64 = 8 * MIB;
        for n in 0..1_000 {
            hollow(&remote, &n.to_string(), SIZE);
        }
        let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")));
        let files: Vec<_> = (0..1_000).map(|n| File::open(mount.path(format!("far/{n}"))).unwrap()).collect();
        let together = Barrier::new(64);
        thread::scope(|scope| {
            for file in &files[..64] {
                let together = &together;
                scope.spawn(move || {
                    together.wait();
                    let mut buffer = vec![0; 1 << 20];
                    for at in (0..SIZE).step_by(buffer.len()) {
                        file.read_exact_at(&mut buffer, at).unwrap();
                    }
                });
            }
        });
        // A reader that got no time for a second may have been given up, with the block on its way. The first block comes with every open.
        let moved = bytes_retrieved(&mount.status(), "far") - (1_000 - 64) * BLOCK;
        assert!((64 * SIZE..=64 * (SIZE + MIB)).contains(&moved), "{moved} bytes");
        let peak = mount.peak_memory();
        assert!(peak <= MEMORY + MEMORY / 10, "{} MiB", peak / MIB);
    }
}

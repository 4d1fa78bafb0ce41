//! Members of a circle that have its key and lie: they give other bytes under the right name, those of another place, those of an old version.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use walkdir::WalkDir;

use super::{BLOCK, EXTENT, cost, shared};
use crate::kit::files::{noise, random};
use crate::kit::home::{new_key, new_signing_key, text};
use crate::kit::liar::{End, For, Liar, Speaks};
use crate::kit::mount::{Mount, number};
use crate::kit::reaper;
use crate::kit::redis::Redis;
use crate::kit::wait::holds_within;

/// The bytes of a large file.
const SIZE: usize = 2 * EXTENT + 3 * BLOCK + 77;

/// Waits longer than elsewhere: what is waited for here is a large file each time.
#[track_caller]
fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(Duration::from_secs(120), condition), "still not: {what}");
}

/// A source, and a store of machines that have one key. A member lies by what it takes for the source.
struct Circle {
    source: Liar,
    /// The line that names its key.
    key: String,
    dir: TempDir,
}

impl Circle {
    fn new(speaks: Speaks) -> Self {
        let dir = reaper::temporary();
        fs::create_dir(dir.path().join("store")).unwrap();
        let key = new_key(&dir.path().join("circle.key"));
        Self { source: Liar::speaking(speaks, BTreeMap::new()), key, dir }
    }

    /// A machine with more in `[shared]`, which waits for the store.
    fn machine(&self, more: &str) -> Mount {
        self.machine_of(&format!("patience = \"30s\"\n{more}"))
    }

    fn machine_of(&self, more: &str) -> Mount {
        let (store, key) = (text(self.dir.path().join("store")), &self.key);
        Mount::of(&format!(
            "[cache]\nmin_free = \"1MiB\"\n[shared]\nstore = \"file://{store}\"\n{key}\
             access = \"key\"\n{more}[sources.bucket]\nfresh_for = \"1h\"\nshared = true\n{}",
            self.source.table()
        ))
    }

    /// A new key for signatures: the line of its owner, and what others trust.
    fn signer(&self, name: &str) -> (String, String) {
        new_signing_key(&self.dir.path().join(name))
    }

    fn stored(&self) -> Vec<PathBuf> {
        let all = WalkDir::new(self.dir.path().join("store")).into_iter().map(Result::unwrap);
        all.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).collect()
    }
}

/// Files of which somebody tells something else than the source has.
struct Lies {
    files: Vec<(&'static str, Vec<u8>, Vec<u8>)>,
}

impl Lies {
    fn new() -> Self {
        let mut random = random();
        let truth = noise(SIZE, &mut random);
        let mut other = truth.clone();
        // In the last block of each extent: the file's first block comes from the source.
        [EXTENT - 9, 2 * EXTENT - 9, SIZE - 9].iter().for_each(|at| other[*at] ^= 1);
        let mut swapped = truth.clone();
        let (first, second) = swapped.split_at_mut(EXTENT);
        first[BLOCK..].swap_with_slice(&mut second[BLOCK..EXTENT]);
        let small = noise(70_000, &mut random);
        let other_small = small.iter().map(|byte| byte ^ 0x40).collect();
        let old = noise(SIZE, &mut random);
        let files = vec![
            ("other.bin", truth.clone(), other),
            ("swapped.bin", truth.clone(), swapped),
            ("old.bin", truth, old),
            ("small.bin", small, other_small),
        ];
        Self { files }
    }

    fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, truth, _)| truth.len() as u64).sum()
    }

    /// What the source has from now on. Its tags are the same: they tell only when a file was changed, and its size.
    fn tell(&self, source: &Liar, truth: bool) {
        self.files.iter().for_each(|(name, right, wrong)| source.put(name, if truth { right } else { wrong }));
    }

    /// Reads every file; the names of those that are right, and of those that are as the member tells them.
    fn read(&self, machine: &Mount) -> [Vec<&'static str>; 2] {
        let mut read = [Vec::new(), Vec::new()];
        for (name, right, wrong) in &self.files {
            let bytes = fs::read(machine.path(format!("bucket/{name}"))).unwrap_or_else(|e| panic!("{name}: {e}"));
            // The first block of a large file is the source's.
            let is_wrong = bytes.len() == wrong.len()
                && (bytes == *wrong || bytes.get(BLOCK..).is_some_and(|rest| rest == &wrong[BLOCK..]));
            assert!(bytes == *right || is_wrong, "{name} is neither");
            read[usize::from(is_wrong)].push(*name);
        }
        read
    }

    fn assert_right(&self, machine: &Mount) {
        assert_eq!(self.read(machine)[1], [""; 0], "{:#}", machine.status());
    }
}

/// A circle whose store has the lies of a member, and nothing else.
fn lied(more: impl FnOnce(&Circle) -> String) -> (Circle, Lies) {
    let (circle, lies) = (Circle::new(Speaks::S3), Lies::new());
    lies.tell(&circle.source, false);
    let member = circle.machine(&more(&circle));
    for (name, _, wrong) in &lies.files {
        assert!(fs::read(member.path(format!("bucket/{name}"))).unwrap() == *wrong, "{name}");
    }
    eventually("the lies are given", || shared(&member, "bytes_out") == lies.bytes());
    lies.tell(&circle.source, true);
    (circle, lies)
}

#[test]
fn a_lie_is_ignored_by_who_trusts_others_and_found_by_who_compares() {
    let (circle, lies) = lied(|_| String::new());
    // Nothing proves these bytes to who takes everybody's.
    let believer = circle.machine("role = \"read\"\n");
    let [_, wrong] = lies.read(&believer);
    assert_eq!(wrong.len(), lies.files.len(), "the lies are there: {:#}", believer.status());

    let (own, public) = circle.signer("honest.key");
    let honest = circle.machine(&format!("{own}trusted = [\"{public}\"]\n"));
    lies.assert_right(&honest);
    assert_eq!((shared(&honest, "hits"), cost(&honest).0), (0, lies.bytes()));
    eventually("what is right is given", || shared(&honest, "bytes_out") == lies.bytes());
    let trusting = circle.machine(&format!("trusted = [\"{public}\"]\nrole = \"read\"\n"));
    lies.assert_right(&trusting);
    assert_eq!(shared(&trusting, "bytes_in"), lies.bytes() - 3 * BLOCK as u64, "{:#}", trusting.status());

    let comparing = circle.machine("audit = 1.0\n");
    lies.assert_right(&comparing);
    let status = comparing.status();
    assert!(number(&status, "/shared/lies") >= 1, "{status:#}");
    assert!(cost(&comparing).0 >= lies.bytes(), "from then on, nothing is taken: {status:#}");
    let log = comparing.log();
    assert!(log.contains("has given wrong bytes") && log.contains("other.bin"), "{log}");
    let told = comparing.home().kitovufs(["status", "-v", &text(comparing.home().mountpoint())]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("WRONG BYTES"), "{told}");
    // What it has found is gone, for those too who compare nothing.
    let later = circle.machine("role = \"read\"\n");
    let [right, _] = lies.read(&later);
    assert!(right.contains(&"other.bin"), "{right:?}");
}

#[test]
fn the_lies_of_who_signs_count_for_nobody_who_trusts_others_and_an_audit_names_the_liar() {
    let mut liar = String::new();
    let (circle, lies) = lied(|circle| {
        let (own, public) = circle.signer("liar.key");
        liar = public;
        own
    });
    let (own, honest) = circle.signer("honest.key");
    let before = circle.stored().len();
    let trusting = circle.machine(&format!("trusted = [\"{honest}\"]\nrole = \"read\"\n"));
    lies.assert_right(&trusting);
    assert_eq!((shared(&trusting, "hits"), cost(&trusting).0), (0, lies.bytes()), "{:#}", trusting.status());
    assert!(
        shared(&trusting, "refused") >= lies.files.len() as u64 - 1,
        "what it has signed has the name of what counts"
    );
    assert_eq!(circle.stored().len(), before);
    drop(trusting);
    // Who trusts both and compares believes the other one still.
    let comparing = circle.machine(&format!("trusted = [\"{honest}\", \"{liar}\"]\naudit = 1.0\n"));
    lies.assert_right(&comparing);
    assert!(shared(&comparing, "lies") >= 1, "{:#}", comparing.status());
    drop(comparing);
    // Who trusts one puts its own in the place of what it refuses.
    let writer = circle.machine(&format!("{own}trusted = [\"{honest}\"]\n"));
    lies.assert_right(&writer);
    let reader = || circle.machine(&format!("trusted = [\"{honest}\"]\nrole = \"read\"\n"));
    eventually("what is right is in their place", || {
        let reader = reader();
        lies.assert_right(&reader);
        shared(&reader, "refused") == 0 && shared(&reader, "hits") >= lies.files.len() as u64
    });
}

/// Where the digest is a hash of the content, and others wait (there are leases), parts are given before the whole is proven.
#[test]
fn what_a_hash_proves_is_read_right_whoever_lies() {
    let circle = Circle::new(Speaks::Hashes);
    let dir = circle.dir.path().join("redis");
    fs::create_dir(&dir).unwrap();
    let redis = Redis::start(&dir);
    let truth = noise(SIZE, &mut random());
    circle.source.put("a", &truth);
    // The member has a wrong byte in each part of 64 KiB, and never gets as far as the end, where it would notice.
    circle.source.lie(|what, answer| {
        if what == For::Bytes {
            let range = answer.value("Content-Range").trim_start_matches("bytes ").split_once('-');
            let first = range.and_then(|(first, _)| first.parse::<usize>().ok()).unwrap_or(0);
            answer.body.chunks_mut(1 << 16).for_each(|chunk| chunk[9] ^= 1);
            if first >= 2 * EXTENT {
                answer.end = End::Stall(0);
            }
        }
    });
    let with_leases = |more: &str| circle.machine_of(&format!("redis = \"{}\"\n{more}", redis.url()));
    let mut member = with_leases("patience = \"30s\"\n");
    let (file, mut part) = (File::open(member.path("bucket/a")).unwrap(), vec![0; 1 << 20]);
    for at in (0..EXTENT).step_by(part.len()) {
        file.read_exact_at(&mut part, at as u64).unwrap();
    }
    eventually("lies are given", || shared(&member, "bytes_out") >= EXTENT as u64);
    drop(file);
    member.kill9();
    circle.source.tell_the_truth();

    let reader = with_leases("");
    let (file, mut part) = (File::open(reader.path("bucket/a")).unwrap(), vec![0; 1 << 16]);
    for (number, expected) in truth.chunks(part.len()).enumerate() {
        let (at, part) = (number << 16, &mut part[..expected.len()]);
        file.read_exact_at(part, at as u64).unwrap();
        assert!(part == expected, "a wrong byte was read after {at}");
    }
    let status = reader.status();
    assert!(shared(&reader, "hits") > 0 && shared(&reader, "refused") >= 1, "it has met the lie: {status:#}");
    // The lies are gone: others read what is right, and give that.
    eventually("right values are in their place", || {
        let later = with_leases("patience = \"30s\"\n");
        assert!(fs::read(later.path("bucket/a")).unwrap() == truth);
        shared(&later, "bytes_in") > EXTENT as u64
    });
}

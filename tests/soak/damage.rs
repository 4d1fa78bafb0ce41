//! Somebody damages the cache directory: each file and directory in it, in every way, while it is mounted and while it is not. What is read is
//! right as long as the source answers, nothing waits for ever, and nothing outside is touched.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use kit::files::{noise, random};
use kit::home::Home;
use kit::mount::Mount;
use kit::remote::Remote;
use rand::Rng as _;
use rand::rngs::StdRng;
use sha2::{Digest as _, Sha256};

/// The contents of the folder, each file opened anew and read past the kernel's memory.
const READ: &str = "
import hashlib, os, sys
for name in sorted(os.listdir('mnt/far')):
    fd = os.open('mnt/far/' + name, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    digest = hashlib.sha256()
    while part := os.read(fd, 1 << 20):
        digest.update(part)
    os.close(fd)
    print(name, digest.hexdigest())
";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Flip,
    Zeros,
    Cut,
    Append,
    Delete,
    Fifo,
    Directory,
    Link,
    Forbid,
}

const DAMAGES: [Damage; 9] = [
    Damage::Flip,
    Damage::Zeros,
    Damage::Cut,
    Damage::Append,
    Damage::Delete,
    Damage::Fifo,
    Damage::Directory,
    Damage::Link,
    Damage::Forbid,
];

/// A place with files of others, to which links lead.
struct Outside(PathBuf);

impl Outside {
    fn furnish(home: &Home) -> Self {
        let outside = Self(home.dir().join("outside"));
        fs::create_dir_all(outside.0.join("dir/aa")).unwrap();
        for name in ["file", "dir/file", "dir/aa/file"] {
            fs::write(outside.0.join(name), "somebody's bytes").unwrap();
        }
        for name in ["", "dir", "dir/aa", "file", "dir/file", "dir/aa/file"] {
            give(home, &outside.0.join(name));
        }
        outside
    }

    fn check(&self, after: &str) {
        for name in ["file", "dir/file", "dir/aa/file"] {
            let there = fs::read_to_string(self.0.join(name)).unwrap_or_default();
            assert_eq!(there, "somebody's bytes", "{after}: {name} outside is another");
        }
        for dir in ["", "dir", "dir/aa"] {
            let count = fs::read_dir(self.0.join(dir)).unwrap().count();
            assert_eq!(count, if dir == "dir/aa" { 1 } else { 2 }, "{after}: files appeared or went outside");
        }
    }
}

/// Makes a file one of the home's user.
fn give(home: &Home, path: &Path) {
    let user = fs::metadata(home.dir().join("state")).unwrap();
    lchown(path, Some(user.uid()), Some(user.gid())).unwrap();
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

impl Damage {
    /// Does it, where it can be done to what is there.
    fn inflict(self, path: &Path, home: &Home, outside: &Outside, random: &mut StdRng) -> io::Result<()> {
        let meta = fs::symlink_metadata(path)?;
        let (is_file, is_dir, size) = (meta.is_file(), meta.is_dir(), meta.len());
        let open = || File::options().read(true).write(true).open(path);
        match self {
            Self::Flip if is_file && size > 0 => {
                let (file, at, mut byte) = (open()?, random.random_range(0..size), [0]);
                file.read_exact_at(&mut byte, at)?;
                file.write_all_at(&[byte[0] ^ (1 << random.random_range(0..8))], at)?;
            }
            Self::Zeros if is_file && size > 0 => {
                // Five pages, or all that there are.
                let at = random.random_range(0..size) / 4096 * 4096;
                open()?.write_all_at(&vec![0; (size - at).min(5 * 4096) as usize], at)?;
            }
            Self::Cut if is_file && size > 0 => open()?.set_len(random.random_range(0..size))?,
            Self::Append if is_file => File::options().append(true).open(path)?.write_all(b"more than there was")?,
            Self::Forbid if is_file || is_dir => fs::set_permissions(path, Permissions::from_mode(0o000))?,
            Self::Delete => remove(path)?,
            Self::Fifo => {
                remove(path)?;
                assert!(Command::new("mkfifo").arg(path).status()?.success());
                give(home, path);
            }
            Self::Directory => {
                remove(path)?;
                fs::create_dir(path)?;
                fs::write(path.join("file"), "bytes")?;
                give(home, path);
                give(home, &path.join("file"));
            }
            Self::Link => {
                remove(path)?;
                symlink(outside.0.join(if is_dir { "dir" } else { "file" }), path)?;
                give(home, path);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Every entry of the cache directory below the directory itself.
fn entries(cache: &Path) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(cache).min_depth(1).sort_by_file_name();
    walk.into_iter().filter_map(|entry| Some(entry.ok()?.into_path())).collect()
}

/// How deep a path lies in the cache directory: 1 is what stands in it, 2 a shard in `objects`, 3 a copy's directory, 4 a copy.
fn depth(cache: &Path, path: &Path) -> usize {
    path.strip_prefix(cache).map_or(0, |below| below.components().count())
}

struct Case {
    mount: Mount,
    cache: PathBuf,
    outside: Outside,
    expected: BTreeMap<String, String>,
}

impl Case {
    fn new(remote: &Remote, random: &mut StdRng) -> Self {
        let mut expected = BTreeMap::new();
        for (number, size) in [1, 5_000, 70_000, 300_000, 300_000, 700_000, 1 << 20, 3 << 20, 9].into_iter().enumerate()
        {
            let content = noise(size, random);
            remote.put(&number.to_string(), &content);
            let hash: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
            expected.insert(number.to_string(), hash);
        }
        let config = format!("{}fresh_for = \"1h\"\ntimeout = \"10s\"\n", remote.table("far"));
        let mount = Mount::of_nobody(&config);
        let (cache, outside) = (mount.home().cache(), Outside::furnish(mount.home()));
        let case = Self { mount, cache, outside, expected };
        case.read("nothing has happened");
        case
    }

    /// Reads everything, which must be right, and soon.
    fn read(&self, after: &str) {
        let mut script = self.mount.home().command("timeout");
        let output = script.args(["-s", "KILL", "60", "python3", "-c", READ]).output();
        let output = output.unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let read: BTreeMap<_, _> =
            out.lines().filter_map(|line| line.split_once(' ')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        for (name, hash) in &read {
            assert_eq!(hash, &self.expected[name], "{after}: wrong bytes in {name}");
        }
        assert!(output.status.success(), "{after}: {}: {err}\n{}", output.status, self.mount.log());
        assert_eq!(read.len(), self.expected.len(), "{after}: files are missing");
        self.outside.check(after);
    }

    /// Mounts again. A mount that fails says why, and succeeds when what it names is removed.
    fn mount(&mut self, damaged: &Path, after: &str) {
        if let Err(said) = self.mount.try_remount() {
            let name = self.cache.file_name().unwrap().to_string_lossy().into_owned();
            assert!(said.contains(&name) && !said.contains("panicked"), "{after}: no clear error: {said}");
            println!("{after}: {}", said.trim());
            let _ = fs::set_permissions(damaged, Permissions::from_mode(0o700));
            let _ = remove(damaged);
            self.mount.try_remount().unwrap_or_else(|said| panic!("{after}: still not, after its removal: {said}"));
        }
    }
}

fn every_damage_of_everything(mounted: bool) {
    let mut random = random();
    let remote = Remote::web();
    let mut case = Case::new(&remote, &mut random);
    let (mut round, mut places_damaged, mut copies_damaged) = (0, 0, 0);
    // What stands in the directory, the index and the lock for example, and one directory of each depth.
    let all = entries(&case.cache);
    let one_of = |wanted| all.iter().find(|path| depth(&case.cache, path) == wanted);
    let standing = all.iter().filter(|path| depth(&case.cache, path) == 1);
    let places: Vec<_> = standing.chain(one_of(2)).chain(one_of(3)).cloned().collect();
    assert!(places.len() > 3, "{places:?}");
    for place in &places {
        for damage in DAMAGES {
            let after = format!(
                "{damage:?} of {}, {}",
                place.strip_prefix(&case.cache).unwrap().display(),
                if mounted { "mounted" } else { "not mounted" }
            );
            if !mounted {
                case.mount.unmount();
            }
            // Every copy is damaged too, each in another way.
            let copies = entries(&case.cache).into_iter().filter(|path| depth(&case.cache, path) == 4);
            let damaged = copies.enumerate().filter(|(number, copy)| {
                let damage = DAMAGES[(number + round) % DAMAGES.len()];
                damage.inflict(copy, case.mount.home(), &case.outside, &mut random).is_ok()
            });
            copies_damaged += damaged.count();
            places_damaged += usize::from(damage.inflict(place, case.mount.home(), &case.outside, &mut random).is_ok());
            if mounted {
                case.read(&after);
                case.mount.unmount();
            }
            case.mount(place, &after);
            case.read(&after);
            round += 1;
        }
    }
    case.mount.unmount();
    println!("{round} rounds, {} places: {places_damaged} of them and {copies_damaged} copies damaged", places.len());
    // Not every damage fits a directory, and what an earlier round has taken away is not there in each round.
    assert!(places_damaged * 4 > round * 3 && copies_damaged > round);
}

#[test]
fn no_damage_of_the_cache_directory_while_it_is_mounted_makes_a_wrong_byte() {
    every_damage_of_everything(true);
}

#[test]
fn no_damage_of_the_cache_directory_while_it_is_not_mounted_makes_a_wrong_byte() {
    every_damage_of_everything(false);
}

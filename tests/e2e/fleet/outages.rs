//! What happens to the services of a fleet in the middle of a transfer: they are killed, stopped or slow. Readers go on with the source, and the
//! services are used again when they are back.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{BLOCK, Fleet, SECRET, cost, shared};
use crate::kit::disk::Disk;
use crate::kit::files::{noise, random};
use crate::kit::home::text;
use crate::kit::mount::Mount;
use crate::kit::proxy::{Link, Proxy};
use crate::kit::redis::Redis;
use crate::kit::seaweed::Seaweed;
use crate::kit::servers::Server;
use crate::kit::wait::{eventually, holds_within, settles_within};

/// In which a read ends, whatever happens: a few times the patience with a store that says nothing, on a machine with much to do.
const BOUND: Duration = Duration::from_secs(20);

/// A service is left alone for half a minute after failures; the rest is for a busy machine.
const USED_AGAIN: Duration = Duration::from_secs(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Killed,
    Stopped,
    Slowed,
}

const TROUBLES: [Trouble; 3] = [Trouble::Slowed, Trouble::Stopped, Trouble::Killed];

impl Trouble {
    /// Brings it about.
    fn happen(self, server: &mut Server, line: &Proxy) {
        match self {
            Self::Killed => server.stop(),
            Self::Stopped => server.pause(),
            Self::Slowed => {}
        }
        let bandwidth = (self == Self::Slowed).then_some(1000);
        line.set(Link { bandwidth, ..Link::default() });
    }

    /// It is over.
    fn end(self, server: &mut Server, line: &Proxy) {
        match self {
            Self::Killed => server.start(),
            Self::Stopped => server.go_on(),
            Self::Slowed => {}
        }
        line.set(Link::default());
    }
}

/// Reads a file from there on, in parts; how long the longest one took.
fn read_in_parts(path: &Path, content: &[u8], from: usize) -> Duration {
    const PART: usize = 1 << 20;
    let (file, mut buffer, mut longest) = (File::open(path).unwrap(), vec![0; PART], Duration::ZERO);
    for (number, part) in content[from..].chunks(PART).enumerate() {
        let begun = Instant::now();
        file.read_exact_at(&mut buffer[..part.len()], (from + number * PART) as u64).unwrap();
        longest = longest.max(begun.elapsed());
        assert!(buffer[..part.len()] == *part, "{}: the {number}th MiB is right", path.display());
    }
    longest
}

/// Reads with a machine what it is told, and when so many bytes have come over `line`, in the middle of a value, lets `trouble` happen. How
/// long the longest read took.
fn read_until(line: &Proxy, bytes: u64, reading: impl FnOnce() -> Duration + Send, trouble: impl FnOnce()) -> Duration {
    let until = line.delivered() + bytes;
    line.set(Link { until: Some(until), ..Link::default() });
    std::thread::scope(|scope| {
        let reading = scope.spawn(reading);
        assert!(holds_within(BOUND * 3, || line.delivered() >= until), "it is in the middle");
        trouble();
        reading.join().unwrap()
    })
}

/// What a machine says of the service that is the first or second one.
fn service(machine: &Mount, number: usize) -> (String, String) {
    let status = machine.status();
    let of = |field: &str| {
        let told = status.pointer(&format!("/shared/services/{number}/{field}")).and_then(|told| told.as_str());
        told.unwrap_or_default().to_owned()
    };
    (of("state"), of("why"))
}

#[test]
fn a_store_in_trouble_in_the_middle_of_a_file_is_no_error_and_is_used_again() {
    let (fleet, mut random) = (Fleet::new(), random());
    let large: Vec<_> = ["large", "later"].map(|name| (name, noise(48 << 20, &mut random))).into();
    large.iter().for_each(|(name, content)| fleet.moto.put_in_parts(name, content));
    let dir = fleet.store.with_file_name("weed");
    fs::create_dir(&dir).unwrap();
    let mut weed = Seaweed::start(&dir);
    let line = Proxy::to(weed.port());
    let services = weed.store(line.port());
    let machine = |more: &str| Mount::of(&fleet.config_of(&services, SECRET, more));
    let all: u64 = large.iter().map(|(_, content)| content.len() as u64).sum();
    // Who reads faster than the store takes gives not all of it: another gives the rest.
    let mut given = 0;
    for _ in 0..20 {
        let writer = machine("patience = \"30s\"\n");
        large.iter().for_each(|(name, content)| _ = read_in_parts(&writer.path(format!("bucket/{name}")), content, 0));
        let out = || shared(&writer, "bytes_out");
        given += settles_within(BOUND * 3, Duration::from_secs(2), out).unwrap_or_else(out);
        if given >= all {
            break;
        }
    }
    assert!(given >= all, "{given} of {all} bytes");

    let (name, content) = &large[0];
    let mut machines = Vec::new();
    for trouble in TROUBLES {
        let reader = machine("role = \"read\"\n");
        let path = reader.path(format!("bucket/{name}"));
        let middle = 12 * (1 << 20) + BLOCK as u64 / 2;
        let happens = || trouble.happen(&mut weed, &line);
        let longest = read_until(&line, middle, || read_in_parts(&path, content, 0), happens);
        let (came, retrieved) = (shared(&reader, "bytes_in"), cost(&reader).0);
        println!(
            "{trouble:?}: the longest read of 1 MiB took {longest:?}; {came} bytes of the store, {retrieved} of the source"
        );
        assert!(longest < BOUND, "{trouble:?}: a read took {longest:?}");
        assert!(retrieved > 0 && came < content.len() as u64, "{trouble:?}: the source went on");
        assert!(came + retrieved >= content.len() as u64 && shared(&reader, "refused") == 0, "{trouble:?}");
        let (_, why) = service(&reader, 0);
        let last_error = reader.status().pointer("/shared/last_error").cloned();
        assert!(last_error.is_some_and(|told| told.is_string()), "{trouble:?}: {why}: {:#}", reader.status());
        // Whoever reads on learns that it is left alone.
        let other = reader.path("bucket/later");
        let mut number = 0;
        eventually("it is left alone", || {
            number += 1;
            read_block(&other, &large[1].1, number);
            service(&reader, 0).0 == "resting"
        });
        let told = reader.home().kitovufs(["status", &text(reader.home().mountpoint())]);
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.contains("LEFT ALONE"), "{told}");
        trouble.end(&mut weed, &line);
        machines.push((trouble, reader, number));
    }
    for (trouble, reader, mut number) in machines {
        let before = shared(&reader, "hits");
        let is_used = holds_within(USED_AGAIN, || {
            number += 1;
            read_block(&reader.path("bucket/later"), &large[1].1, number);
            std::thread::sleep(Duration::from_millis(200));
            shared(&reader, "hits") > before
        });
        assert!(is_used, "{trouble:?}: {:#}", reader.status());
        assert_eq!(service(&reader, 0).0, "ok");
    }
}

/// Reads the beginning of a block that nobody has read before, so that no more is asked for; which one, depends on `number`.
fn read_block(path: &Path, content: &[u8], number: usize) {
    let blocks = content.len() / BLOCK;
    // From the end: whoever reads on is not read ahead for.
    let at = (blocks - 1 - number % (blocks - 1)) * BLOCK;
    let mut read = [0; 512];
    File::open(path).unwrap().read_exact_at(&mut read, at as u64).unwrap();
    assert!(read == content[at..at + 512], "block {number} from the end is right");
}

#[test]
fn redis_in_trouble_in_the_middle_of_a_tree_is_no_error_and_is_used_again() {
    let (fleet, mut random) = (Fleet::new(), random());
    let small: Vec<_> = (0..900).map(|number| (format!("small/{number}"), noise(32 << 10, &mut random))).collect();
    small.iter().for_each(|(name, content)| fleet.moto.put(name, content));
    let dir = fleet.store.with_file_name("redis");
    fs::create_dir(&dir).unwrap();
    let mut redis = Redis::start(&dir);
    let line = Proxy::to(redis.port());
    let services = format!("redis = \"redis://127.0.0.1:{}\"\n", line.port());
    let machine = |more: &str| Mount::of(&fleet.config_of(&services, SECRET, more));
    let read = |machine: &Mount, number: usize| {
        let (name, content) = &small[number % small.len()];
        let begun = Instant::now();
        assert!(fs::read(machine.path(format!("bucket/{name}"))).unwrap() == *content, "{name} is right");
        begun.elapsed()
    };
    const TREE: usize = 300;
    let fill = || {
        let writer = machine("patience = \"30s\"\n");
        (0..TREE).for_each(|number| _ = read(&writer, number));
        let most = (TREE as u64 * 9 / 10) << 15;
        let is_given = holds_within(BOUND * 3, || shared(&writer, "bytes_out") >= most);
        assert!(is_given, "{:#}", writer.status());
    };
    fill();
    let mut machines = Vec::new();
    for trouble in TROUBLES {
        let reader = machine("");
        let middle = (40 << 15) + (1 << 14);
        let all = || (0..TREE).map(|number| read(&reader, number)).max().unwrap();
        let longest = read_until(&line, middle, all, || trouble.happen(&mut redis, &line));
        let (came, retrieved) = (shared(&reader, "bytes_in"), cost(&reader).0);
        println!(
            "{trouble:?}: the longest read of a file took {longest:?}; {came} bytes of Redis, {retrieved} of the source"
        );
        assert!(longest < BOUND, "{trouble:?}: a read took {longest:?}");
        assert!(came > 0 && retrieved > 0, "{trouble:?}: the source went on");
        // What the store was late with may have come from both.
        assert!(came + retrieved <= (TREE << 15) as u64 * 5 / 4, "{trouble:?}: little came twice");
        let (state, why) = service(&reader, 0);
        assert!(state == "resting" && !why.is_empty(), "{trouble:?}: {:#}", reader.status());
        trouble.end(&mut redis, &line);
        machines.push((trouble, reader));
    }
    for (trouble, reader) in machines {
        // What was killed has nothing any more.
        let answered = || shared(&reader, "hits") + shared(&reader, "misses");
        let (before, mut number) = (answered(), TREE);
        let is_used = holds_within(USED_AGAIN, || {
            number += 1;
            read(&reader, number);
            std::thread::sleep(Duration::from_millis(150));
            answered() > before && service(&reader, 0).0 == "ok"
        });
        assert!(is_used, "{trouble:?}: {:#}", reader.status());
    }
}

/// As a directory of a server does that says nothing any more.
#[test]
fn a_directory_that_hangs_or_is_gone_in_the_middle_of_a_file_is_no_error() {
    let (fleet, mut random) = (Fleet::new(), random());
    let content = noise(48 << 20, &mut random);
    fleet.moto.put_in_parts("large", &content);
    let disk = Disk::of(1 << 30);
    let store = disk.path().join("store");
    fs::create_dir(&store).unwrap();
    let services = format!("store = \"file://{}\"\n", store.display());
    let machine = |more: &str| Mount::of(&fleet.config_of(&services, SECRET, more));
    let writer = machine("patience = \"30s\"\n");
    read_in_parts(&writer.path("bucket/large"), &content, 0);
    let is_given = || shared(&writer, "bytes_out") == content.len() as u64;
    assert!(holds_within(BOUND * 3, is_given), "{:#}", writer.status());
    drop(writer);
    for hangs in [false, true] {
        let reader = machine("role = \"read\"\n");
        let path = reader.path("bucket/large");
        let begin = &content[..8 << 20];
        read_in_parts(&path, begin, 0);
        let came = shared(&reader, "bytes_in");
        assert!(came > 0, "{:#}", reader.status());
        let away = store.with_extension("away");
        let gate = hangs.then(|| disk.hang());
        if !hangs {
            fs::rename(&store, &away).unwrap();
        }
        let longest = read_in_parts(&path, &content, begin.len());
        println!("hangs: {hangs}: the longest read took {longest:?}");
        assert!(longest < BOUND, "a read took {longest:?}");
        let status = reader.status();
        assert!(status.pointer("/shared/last_error").is_some_and(|told| told.is_string()), "{status:#}");
        assert!(cost(&reader).0 > 0 && shared(&reader, "refused") == 0, "{status:#}");
        drop(gate);
        if !hangs {
            fs::rename(&away, &store).unwrap();
        }
    }
}

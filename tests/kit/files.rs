//! What is in files and trees: random, and the same again for whoever has the seed. It knows no server.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};

/// A source of random numbers that says how to get the same ones again.
pub fn random() -> StdRng {
    const SEED: &str = "KITOVUFS_TEST_SEED";
    let seed = std::env::var(SEED).ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| rand::rng().random());
    println!("to repeat this: {SEED}={seed}");
    StdRng::seed_from_u64(seed)
}

/// Random bytes; never two blocks of 4 KiB alike. Fast enough for a gibibyte.
pub fn noise(length: usize, random: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let (first, rest) = bytes.split_at_mut(length.min(1 << 20));
    random.fill_bytes(first);
    for (number, chunk) in (1_u64..).zip(rest.chunks_mut(1 << 20)) {
        chunk.copy_from_slice(&first[..chunk.len()]);
        for block in chunk.chunks_exact_mut(4096) {
            block[..8].copy_from_slice(&number.to_le_bytes());
        }
    }
    bytes
}

/// So many names, 400 at most, in natural order (`9` before `10`). No three of them are in a row by name, nor as a language sorts them.
pub fn natural_names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("Episode {:02}-{}.mp4", number / 4, number % 4 + 8)).collect()
}

/// So many names, 10,000 at most, in the order of `*` of bash with LC_COLLATE=en_US.UTF-8, where neither case nor punctuation counts. No three of
/// them are in a row by name.
pub fn collated_names(count: usize) -> Vec<String> {
    const FORMS: [(&str, &str); 3] = [("IMG_", ".JPG"), ("img-", ".jpg"), ("Img", ".jpg")];
    let name = |number: usize| {
        let (begin, end) = FORMS[number % FORMS.len()];
        format!("{begin}{number:04}{end}")
    };
    (0..count).map(name).collect()
}

/// Fills `dir` with a random tree of `files` files whose names and sizes a share of documents might have.
///
/// Times are whole seconds in the past, because that is what every protocol can say. No directory is empty, because a bucket
/// knows none, and there are no links, because WebDAV and S3 know none.
pub fn tree(dir: &Path, files: usize) {
    const WORDS: [&str; 12] =
        ["report", "Übung 3", "a b", "100%", "x#1", "q?a", "R&D", "1+1=2", "日本", "it's", "[draft]", "README"];
    let mut random = random();
    let mut dirs = vec![dir.to_owned()];
    fs::create_dir_all(dir).unwrap();
    for number in 0..files {
        if number % 40 == 0 {
            let parent = &dirs[random.random_range(0..dirs.len())];
            // Shallow, so that paths stay short enough for every server.
            let parent = if parent.components().count() > dir.components().count() + 6 { dir } else { parent };
            let made = parent.join(format!("{} {number}", WORDS[random.random_range(0..WORDS.len())]));
            fs::create_dir(&made).unwrap();
            dirs.push(made);
        }
        let word = WORDS[random.random_range(0..WORDS.len())];
        let inside = if number % 40 == 0 { dirs.len() - 1 } else { random.random_range(0..dirs.len()) };
        let path = dirs[inside].join(format!("{word}-{number}.dat"));
        let size = match random.random_range(0..100) {
            0 => 0,
            1..90 => random.random_range(1..8 << 10),
            _ => random.random_range(8 << 10..300 << 10),
        };
        fs::write(&path, noise(size, &mut random)).unwrap();
        let age = Duration::from_secs(random.random_range(60..300_000_000));
        set_modified(&path, whole_seconds(SystemTime::now() - age));
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sets a file's modification time.
pub fn set_modified(path: &Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).expect("the time is after 1970").as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

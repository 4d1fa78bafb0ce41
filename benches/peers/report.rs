//! What the results look like: a table for each case, what was not better, the document that holds them, and the rows of the README.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::case::Case;
use super::figure::{Figure, Value, median, middle, undone};
use super::participant::{DAVFS2, Participant, RCLONE, S3FS};
use super::picture::picture;
use super::results::{Measured, Results, said};
use super::stage::Protocol;
use super::{ROUNDS, SLOW, bounds};

/// What the document says before its tables.
const HEAD: &str = include_str!("head.md.in");

/// A case as a table in Markdown.
pub fn table(case: &Case, Results { turns, day, commit }: &Results) -> String {
    let mut text = format!("### {}: {}\n\nOn {day}, kitovufs {commit}.\n\n", case.name, case.what);
    text += "| server | who | seconds: median (least–greatest) | requests | MiB moved | memory, MiB | core-s |\n";
    text += "|---|---|---|---|---|---|---|\n";
    for ((protocol, participant), figures) in turns {
        writeln!(
            text,
            "| {protocol} | {participant} | {} | {} | {} | {} | {} |",
            seconds(figures),
            shown(figures, Figure::asked, 0),
            shown(figures, Figure::moved, 1),
            shown(figures, Figure::resident, 0),
            shown(figures, Figure::computed, 2),
        )
        .expect("a string takes everything");
    }
    text + "\n"
}

/// A median with so many digits.
fn shown(figures: &[Figure], value: Value, digits: usize) -> String {
    middle(figures, value).map_or("–".into(), |middle| format!("{middle:.digits$}"))
}

fn seconds(figures: &[Figure]) -> String {
    let done: Vec<f64> = figures.iter().filter_map(|figure| figure.seconds).collect();
    let failed = figures.len() - done.len();
    let Some((middle, least, greatest)) = median(done) else { return undone(figures) };
    let told = match figures.len() {
        1 => format!("**{middle:.3}** (one turn)"),
        _ => format!("**{middle:.3}** ({least:.3}–{greatest:.3})"),
    };
    if failed == 0 { told } else { format!("{told}; {failed} of {} not done", figures.len()) }
}

/// The other mounts.
const MOUNTS: [Participant; 4] = [Participant::Rclone, Participant::Sshfs, Participant::Davfs2, Participant::S3fs];

/// The least median of another mount at a server, and whose.
fn best_mount(results: &Results, protocol: Protocol) -> Option<(f64, Participant)> {
    let medians = MOUNTS.into_iter().filter_map(|mount| Some((results.seconds(protocol, mount)?, mount)));
    medians.min_by(|a, b| a.0.total_cmp(&b.0))
}

/// Where another mount, or a plain client by more than a tenth, had less to wait for: a line for each.
fn not_better(measured: &Measured) -> String {
    let mut text = String::new();
    for (case, results) in measured.iter() {
        for &protocol in case.protocols {
            for who in MOUNTS.into_iter().chain([Participant::Client]) {
                let Some(theirs) = results.seconds(protocol, who) else { continue };
                let allowed = if who == Participant::Client { 1.1 } else { 1.0 };
                let mine = match results.seconds(protocol, Participant::Kitovufs) {
                    Some(mine) if mine <= theirs * allowed => continue,
                    Some(mine) => format!("took {mine:.3} s"),
                    None => "was not done".into(),
                };
                writeln!(text, "- {}, {protocol}: {who} took {theirs:.3} s, kitovufs {mine}.", case.name).unwrap();
            }
        }
    }
    if text.is_empty() { "Nowhere.\n".into() } else { text }
}

/// The cases that README shows, each in the words of a reader.
const SHOWN: [(&str, &str); 5] = [
    ("copy-500", "500 of 10,000 small files, 10 ms away"),
    ("find-far", "`find`, 10,000 files, 40 ms away"),
    ("tail", "end of a GiB, 40 ms away"),
    ("stream", "first 256 MiB of a GiB, 40 ms away"),
    ("random", "50 random reads of a GiB, 40 ms away"),
];

/// What stands around the rows in README.
const BEGIN: &str = "<!-- scripts/bench writes from here -->\n";
const END: &str = "<!-- scripts/bench writes to here -->\n";

/// A cell of those rows: the seconds of kitovufs, and of the best of the others.
fn cell(results: &Results, protocol: Protocol) -> String {
    let mine = results.seconds(protocol, Participant::Kitovufs);
    let mine = mine.map_or("not done".into(), |mine| format!("**{mine:.2}**"));
    match best_mount(results, protocol) {
        // Lines of README are short.
        Some((seconds, who)) => format!("{mine}, {seconds:.2} {}", who.to_string().trim_end_matches(" mount")),
        None => format!("{mine}, others not done"),
    }
}

/// The README with the rows of today.
fn with_rows(readme: &str, measured: &Measured) -> String {
    let mut rows = "| | S3 | WebDAV | SFTP |\n|---|---|---|---|\n".to_owned();
    for (name, words) in SHOWN {
        let Some(results) = measured.of(name) else { continue };
        let [s3, webdav, sftp] = [Protocol::S3, Protocol::Webdav, Protocol::Sftp].map(|server| cell(results, server));
        writeln!(rows, "| {words} | {s3} | {webdav} | {sftp} |").unwrap();
    }
    let (before, rest) = readme.split_once(BEGIN).expect("README has the line that begins the rows");
    let (_, after) = rest.split_once(END).expect("README has the line that ends the rows");
    format!("{before}{BEGIN}{rows}{END}{after}")
}

/// Writes `docs/benchmarks.md`, its picture, and the rows of README.
pub fn write((measured, missing): (Measured, Vec<&str>)) {
    if !missing.is_empty() {
        eprintln!("left out, since they are not measured yet: {0}; run: scripts/bench {0}", missing.join(" "));
    }
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = top.join("docs");
    let mut text =
        HEAD.replace("{slow}", &SLOW.as_secs().to_string()).replace("{not better}", not_better(&measured).trim_end());
    text = text.replace("{bounds}", &bounds::table(&measured));
    text = text.replace("{machine}", &machine()).replace("{rounds}", &ROUNDS.to_string());
    text = text.replace("{rclone}", &RCLONE.join(" ")).replace("{s3fs}", S3FS);
    text = text.replace("{davfs2}", &DAVFS2.trim_end().replace('\n', ", "));
    for (case, results) in measured.iter() {
        text += &table(case, results);
    }
    if !missing.is_empty() {
        writeln!(text, "Not measured: {}.", missing.join(", ")).expect("a string takes everything");
    }
    fs::write(docs.join("benchmarks.md"), text.trim_end().to_owned() + "\n").unwrap();
    fs::write(docs.join("benchmarks.svg"), picture(&measured)).unwrap();
    let readme = fs::read_to_string(top.join("README.md")).unwrap();
    fs::write(top.join("README.md"), with_rows(&readme, &measured)).unwrap();
}

/// Kernel, processors, memory, and the versions of everybody.
fn machine() -> String {
    let memory = fs::read_to_string("/proc/meminfo").unwrap();
    let kibibytes: f64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    let mut text = format!(
        "Linux {}, {} processors, {:.0} GiB of memory.\n\n",
        said("uname", &["-r"]),
        std::thread::available_parallelism().unwrap(),
        kibibytes / 1_048_576.0
    );
    for (program, argument) in [
        ("rclone", "--version"),
        ("sshfs", "--version"),
        ("mount.davfs", "--version"),
        ("s3fs", "--version"),
        ("curl", "--version"),
        ("ssh", "-V"),
    ] {
        writeln!(text, "- {}", said(program, &[argument])).expect("a string takes everything");
    }
    text
}

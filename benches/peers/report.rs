//! What the results look like: a table for each case, what was not better, a picture of all, the document that holds them, and the
//! rows of the README.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::case::Case;
use super::figure::{Figure, PATIENCE, mebibytes, median, middle};
use super::participant::{DAVFS2, Participant, RCLONE, S3FS};
use super::results::{Results, said};
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
        let shown =
            |value, digits: usize| middle(figures, value).map_or("–".into(), |middle| format!("{middle:.digits$}"));
        writeln!(
            text,
            "| {protocol} | {participant} | {} | {} | {} | {} | {} |",
            seconds(figures),
            shown(|figure| figure.requests.map(|requests| requests as f64), 0),
            shown(|figure| figure.bytes.map(mebibytes), 1),
            shown(|figure| figure.memory.map(mebibytes), 0),
            shown(|figure| figure.cpu, 2),
        )
        .expect("a string takes everything");
    }
    text + "\n"
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

/// Why there is no time.
fn undone(figures: &[Figure]) -> String {
    match figures.iter().any(|figure| figure.failed) {
        true => "failed".into(),
        false => format!("not done within {} s", PATIENCE.as_secs()),
    }
}

fn middle_seconds(figures: &[Figure]) -> Option<f64> {
    middle(figures, |figure| figure.seconds)
}

/// The median of kitovufs at a server.
fn ours(results: &Results, protocol: Protocol) -> Option<f64> {
    middle_seconds(results.turns.get(&(protocol, Participant::Kitovufs))?)
}

/// The least median of another mount at a server, and whose.
fn best_mount(results: &Results, protocol: Protocol) -> Option<(f64, Participant)> {
    let mounts = [Participant::Rclone, Participant::Sshfs, Participant::Davfs2, Participant::S3fs];
    let of = |mount| Some((middle_seconds(results.turns.get(&(protocol, mount))?)?, mount));
    mounts.into_iter().filter_map(of).min_by(|a, b| a.0.total_cmp(&b.0))
}

/// Where another mount, or a plain client by more than a tenth, had less to wait for: a line for each.
fn not_better(results: &[(&Case, Results)]) -> String {
    let mut text = String::new();
    for (case, results) in results {
        for &protocol in case.protocols {
            let others = results.turns.iter().filter(|((server, who), _)| {
                *server == protocol && !matches!(who, Participant::Kitovufs | Participant::Native)
            });
            for ((_, who), figures) in others {
                let allowed = if *who == Participant::Client { 1.1 } else { 1.0 };
                let (mine, theirs) = (ours(results, protocol), middle_seconds(figures));
                if let Some(theirs) = theirs.filter(|theirs| mine.is_none_or(|mine| mine > theirs * allowed)) {
                    let mine = mine.map_or("was not done".into(), |mine| format!("took {mine:.3} s"));
                    writeln!(text, "- {}, {protocol}: {who} took {theirs:.3} s, kitovufs {mine}.", case.name).unwrap();
                }
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

/// The README with the rows of today.
fn with_rows(readme: &str, results: &[(&Case, Results)]) -> String {
    let mut rows = "| | S3 | WebDAV | SFTP |\n|---|---|---|---|\n".to_owned();
    for (name, words) in SHOWN {
        let Some((_, results)) = results.iter().find(|(case, _)| case.name == name) else { continue };
        let cell = |protocol| {
            let mine = ours(results, protocol).map_or("not done".into(), |mine| format!("**{mine:.2}**"));
            let theirs = match best_mount(results, protocol) {
                // Lines of README are short.
                Some((seconds, who)) => format!("{seconds:.2} {}", who.to_string().trim_end_matches(" mount")),
                None => "others not done".into(),
            };
            format!("{mine}, {theirs}")
        };
        let [s3, webdav, sftp] = [Protocol::S3, Protocol::Webdav, Protocol::Sftp].map(cell);
        writeln!(rows, "| {words} | {s3} | {webdav} | {sftp} |").unwrap();
    }
    let (before, rest) = readme.split_once(BEGIN).expect("README has the line that begins the rows");
    let (_, after) = rest.split_once(END).expect("README has the line that ends the rows");
    format!("{before}{BEGIN}{rows}{END}{after}")
}

/// Writes `docs/benchmarks.md`, its picture, and the rows of README.
pub fn write((results, missing): (Vec<(&Case, Results)>, Vec<&str>)) {
    if !missing.is_empty() {
        eprintln!("left out, since they are not measured yet: {0}; run: scripts/bench {0}", missing.join(" "));
    }
    let results = &results[..];
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = top.join("docs");
    let mut text =
        HEAD.replace("{slow}", &SLOW.as_secs().to_string()).replace("{not better}", not_better(results).trim_end());
    text = text.replace("{bounds}", &bounds::table(results));
    text = text.replace("{machine}", &machine()).replace("{rounds}", &ROUNDS.to_string());
    text = text.replace("{rclone}", &RCLONE.join(" ")).replace("{s3fs}", S3FS);
    text = text.replace("{davfs2}", &DAVFS2.trim_end().replace('\n', ", "));
    for (case, results) in results {
        text += &table(case, results);
    }
    if !missing.is_empty() {
        writeln!(text, "Not measured: {}.", missing.join(", ")).expect("a string takes everything");
    }
    fs::write(docs.join("benchmarks.md"), text.trim_end().to_owned() + "\n").unwrap();
    fs::write(docs.join("benchmarks.svg"), picture(results)).unwrap();
    let readme = fs::read_to_string(top.join("README.md")).unwrap();
    fs::write(top.join("README.md"), with_rows(&readme, results)).unwrap();
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

/// One bar's height and the width of a decade of seconds, in pixels.
const BAR: usize = 14;
const DECADE: f64 = 150.0;
/// Where bars begin: here is a millisecond.
const LEFT: f64 = 200.0;

/// Bars on a logarithmic scale of seconds, grouped by case and server.
fn picture(results: &[(&Case, Results)]) -> String {
    let mut shapes = String::new();
    let mut y = 30;
    for (case, Results { turns, .. }) in results {
        y += BAR;
        writeln!(shapes, "<text x=\"8\" y=\"{y}\" class=\"case\">{}: {}</text>", case.name, plain(case.what)).unwrap();
        y += 6;
        for ((protocol, participant), figures) in turns {
            let (width, told) = match middle_seconds(figures) {
                Some(seconds) => (width(seconds), format!("{seconds:.3} s")),
                None => (width(PATIENCE.as_secs_f64()), undone(figures)),
            };
            let class = if *participant == Participant::Kitovufs { "ours" } else { "other" };
            writeln!(
                shapes,
                "<text x=\"{}\" y=\"{}\" class=\"who\">{protocol}, {participant}</text>\
                 <rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" class=\"{class}\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{told}</text>",
                LEFT - 6.0,
                y + BAR - 4,
                BAR - 3,
                LEFT + width + 5.0,
                y + BAR - 4,
            )
            .unwrap();
            y += BAR;
        }
        y += 10;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1100\" height=\"{height}\" viewBox=\"0 0 1100 {height}\">\n\
         <style>text{{font:11px sans-serif;fill:#222}} .case{{font-weight:bold;font-size:12px}} .who{{text-anchor:end}}\n\
         .ours{{fill:#0a7}} .other{{fill:#aab}} rect.page{{fill:#fff}}</style>\n\
         <rect class=\"page\" width=\"1100\" height=\"{height}\"/>\n\
         <text x=\"8\" y=\"18\">Seconds on a logarithmic scale; shorter is better. Medians of {ROUNDS} rounds, or one of more than {slow} s.</text>\n{shapes}</svg>\n",
        height = y + 10,
        slow = SLOW.as_secs(),
    )
}

fn width(seconds: f64) -> f64 {
    ((seconds.max(0.001) * 1000.0).log10() * DECADE).max(1.0)
}

fn plain(text: &str) -> String {
    text.replace('`', "").replace('&', "&amp;").replace('<', "&lt;")
}

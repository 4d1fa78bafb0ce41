//! What the results look like: a table for each case, a picture of all, and the document that holds both.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::case::Case;
use super::figure::{Figure, PATIENCE, mebibytes, median};
use super::participant::{DAVFS2, Participant, RCLONE, S3FS};
use super::{ROUNDS, Turns};

/// What the document says before its tables.
const HEAD: &str = include_str!("head.md.in");

/// A case as a table in Markdown.
pub fn table(case: &Case, turns: &Turns) -> String {
    let mut text = format!("### {}: {}\n\n", case.name, case.what);
    text += "| server | who | seconds: median (least–greatest) | requests | MiB moved | memory, MiB | core-s |\n";
    text += "|---|---|---|---|---|---|---|\n";
    for ((protocol, participant), figures) in turns {
        let of = |value: fn(&Figure) -> Option<f64>| median(figures.iter().filter_map(value).collect());
        let middle = |value, digits: usize| of(value).map_or("–".into(), |(middle, ..)| format!("{middle:.digits$}"));
        writeln!(
            text,
            "| {protocol} | {participant} | {} | {} | {} | {} | {} |",
            seconds(figures),
            middle(|figure| figure.requests.map(|requests| requests as f64), 0),
            middle(|figure| figure.bytes.map(mebibytes), 1),
            middle(|figure| figure.memory.map(mebibytes), 0),
            middle(|figure| figure.cpu, 2),
        )
        .expect("a string takes everything");
    }
    text + "\n"
}

fn seconds(figures: &[Figure]) -> String {
    let done: Vec<f64> = figures.iter().filter_map(|figure| figure.seconds).collect();
    let failed = figures.len() - done.len();
    let Some((middle, least, greatest)) = median(done) else {
        return format!("not done within {} s", PATIENCE.as_secs());
    };
    let told = format!("**{middle:.3}** ({least:.3}–{greatest:.3})");
    if failed == 0 { told } else { format!("{told}; {failed} of {} not done", figures.len()) }
}

/// Writes `docs/benchmarks.md` and its picture.
pub fn write(results: &[(&Case, Turns)]) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut text = HEAD.replace("{machine}", &machine()).replace("{rounds}", &ROUNDS.to_string());
    text = text.replace("{rclone}", &RCLONE.join(" ")).replace("{s3fs}", S3FS);
    text = text.replace("{davfs2}", &DAVFS2.trim_end().replace('\n', ", "));
    for (case, turns) in results {
        text += &table(case, turns);
    }
    fs::write(docs.join("benchmarks.md"), text.trim_end().to_owned() + "\n").unwrap();
    fs::write(docs.join("benchmarks.svg"), picture(results)).unwrap();
}

/// Kernel, processors, memory, and the versions of everybody.
fn machine() -> String {
    let said = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        text.lines().next().unwrap_or_default().to_owned()
    };
    let memory = fs::read_to_string("/proc/meminfo").unwrap();
    let kibibytes: f64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    let mut text = format!(
        "Linux {}, {} processors, {:.0} GiB of memory.\n\n",
        said("uname", "-r"),
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
        writeln!(text, "- {}", said(program, argument)).expect("a string takes everything");
    }
    text
}

/// One bar's height and the width of a decade of seconds, in pixels.
const BAR: usize = 14;
const DECADE: f64 = 150.0;
/// Where bars begin: here is a millisecond.
const LEFT: f64 = 200.0;

/// Bars on a logarithmic scale of seconds, grouped by case and server.
fn picture(results: &[(&Case, Turns)]) -> String {
    let mut shapes = String::new();
    let mut y = 30;
    for (case, turns) in results {
        y += BAR;
        writeln!(shapes, "<text x=\"8\" y=\"{y}\" class=\"case\">{}: {}</text>", case.name, plain(case.what)).unwrap();
        y += 6;
        for ((protocol, participant), figures) in turns {
            let middle = median(figures.iter().filter_map(|figure| figure.seconds).collect());
            let (width, told) = match middle {
                Some((seconds, ..)) => (width(seconds), format!("{seconds:.3} s")),
                None => (width(PATIENCE.as_secs_f64()), "not done".into()),
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
         <text x=\"8\" y=\"18\">Seconds on a logarithmic scale; shorter is better. Medians of {ROUNDS} rounds.</text>\n{shapes}</svg>\n",
        height = y + 10,
    )
}

fn width(seconds: f64) -> f64 {
    ((seconds.max(0.001) * 1000.0).log10() * DECADE).max(1.0)
}

fn plain(text: &str) -> String {
    text.replace('`', "").replace('&', "&amp;").replace('<', "&lt;")
}

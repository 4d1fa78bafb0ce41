//! The results as a picture.

use std::fmt::Write as _;

use super::figure::{Figure, PATIENCE, middle, undone};
use super::participant::Participant;
use super::results::{Measured, Results};
use super::{ROUNDS, SLOW};

/// One bar's height and the width of a decade of seconds, in pixels.
const BAR: usize = 14;
const DECADE: f64 = 150.0;
/// The beginning of each bar, which stands for a millisecond.
const LEFT: f64 = 200.0;

/// Bars on a logarithmic scale of seconds, grouped by case and server, as SVG.
pub fn picture(measured: &Measured) -> String {
    let mut shapes = String::new();
    let mut y = 30;
    for (case, Results { turns, .. }) in measured.iter() {
        y += BAR;
        writeln!(shapes, "<text x=\"8\" y=\"{y}\" class=\"case\">{}: {}</text>", case.name, plain(case.what)).unwrap();
        y += 6;
        for ((protocol, participant), figures) in turns {
            let (width, told) = match middle(figures, Figure::waited) {
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

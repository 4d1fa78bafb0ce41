//! The live view as a picture of a status, of its past and of a place in its list. It reads nothing, and asks nobody.

use std::collections::VecDeque;

use bytesize::ByteSize;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::history::{History, Past};
use crate::path::Printable;
use crate::status::{CacheStatus, SourceStatus, Status, TransferStatus, WaitingStatus};

/// The most lines of who waits, and of what is transferred, while there are more sources than lines.
const MAX_WAITS: usize = 4;
const MAX_TRANSFERS: usize = 6;

/// From this width on, the latencies of every operation have columns.
const WIDE: u16 = 120;

/// What is shown.
#[derive(Debug, Default)]
pub struct View {
    /// The latest status; `None` before the first.
    pub status: Option<Status>,
    /// What came before it.
    pub history: History,
    /// How many sources are above the first that is shown.
    pub above: usize,
    /// Whether the mount has said nothing for a while.
    pub is_silent: bool,
    /// Why no status comes any more.
    pub ended: Option<String>,
}

/// Draws the view.
pub fn draw(frame: &mut Frame<'_>, view: &View) {
    let Some(status) = &view.status else {
        frame.render_widget(Paragraph::new("asking the mount…"), frame.area());
        return;
    };
    let (waits, transfers) = (waits(status), transfers(status, frame.area().width));
    let [title, sources, waiting, moving, cache, help] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(height(waits.len(), MAX_WAITS)),
        Constraint::Length(height(transfers.len(), MAX_TRANSFERS)),
        Constraint::Length(2),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let place = format!("kitovufs {}  {}", status.version, safe(&status.mountpoint.to_string_lossy()));
    frame.render_widget(Line::from(place).bold(), title);
    draw_sources(frame, sources, status, view);
    draw_list(frame, waiting, "WHO WAITS", waits);
    draw_list(frame, moving, "TRANSFERS", transfers);
    frame.render_widget(Paragraph::new(cache_lines(&status.cache)), cache);
    let help_line = match &view.ended {
        Some(why) => Line::from(safe(why)).fg(Color::Red),
        None if view.is_silent => Line::from("its process does not answer; waiting for it; q quits").fg(Color::Red),
        None => Line::from("q quits, ↑ ↓ scroll").dim(),
    };
    frame.render_widget(help_line, help);
}

/// The lines of a list with its heading; none where there is nothing in it.
fn height(items: usize, most: usize) -> u16 {
    let lines = if items == 0 { 0 } else { items.min(most) + 1 };
    u16::try_from(lines).expect("a few lines")
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, heading: &'static str, mut items: Vec<Line<'_>>) {
    let room = usize::from(area.height.saturating_sub(1));
    if items.len() > room {
        let more = items.len() + 1 - room.max(1);
        items.truncate(room.saturating_sub(1));
        items.push(Line::from(format!("  and {more} more")).dim());
    }
    items.insert(0, Line::from(heading).dim());
    frame.render_widget(Paragraph::new(items), area);
}

fn draw_sources(frame: &mut Frame<'_>, area: Rect, status: &Status, view: &View) {
    if status.sources.is_empty() {
        frame.render_widget(Paragraph::new("no sources").dim(), area);
        return;
    }
    let room = usize::from(area.height.saturating_sub(1)).max(1);
    let above = view.above.min(status.sources.len().saturating_sub(room));
    let shown = status.sources.iter().skip(above).take(room);
    let width = status.sources.keys().map(|name| Span::raw(safe(name)).width()).max().unwrap_or_default();
    let is_wide = area.width >= WIDE;
    let count = status.sources.len();
    let heading = match count > room {
        true => format!("SOURCE {}–{} of {count}", above + 1, (above + room).min(count)),
        false => "SOURCE".to_owned(),
    };
    let name =
        u16::try_from(width.max(heading.chars().count()).min(if is_wide { 40 } else { 20 })).expect("a few columns");
    let latencies: &[&str] = if is_wide { &["LIST", "DIGEST", "READ"] } else { &["LATENCY"] };
    let mut columns = vec![Constraint::Length(name), Constraint::Length(13)];
    columns.extend(latencies.iter().map(|_| Constraint::Length(8)));
    columns.push(Constraint::Length(11));
    if is_wide {
        columns.extend([Constraint::Length(10), Constraint::Length(7)]);
    }
    let taken: u16 = columns.iter().map(|column| if let Constraint::Length(n) = column { n + 1 } else { 0 }).sum();
    let plot = area.width.saturating_sub(taken);
    columns.push(Constraint::Min(0));
    let mut titles = vec![heading.clone(), "STATE".into()];
    titles.extend(latencies.iter().map(|&title| title.to_owned()));
    titles.push("RATE".into());
    if is_wide {
        titles.extend(["IN ALL".into(), "ERRORS".into()]);
    }
    let rows = shown.map(|(name, source)| row(name, source, view.history.of(name), is_wide, plot));
    frame.render_widget(Table::new(rows, columns).header(Row::new(titles).dim()), area);
}

fn row(name: &str, source: &SourceStatus, past: Option<&Past>, is_wide: bool, plot: u16) -> Row<'static> {
    let (words, color) = match &*source.state {
        "idle" => ("○ idle", Color::DarkGray),
        "ok" => ("● works", Color::Green),
        "slow" => ("◐ slow", Color::Yellow),
        "failing" => ("✕ fails", Color::Red),
        "unauthorized" => ("✕ login", Color::Red),
        _ => ("✕ no answer", Color::Red),
    };
    let latency = |operation: &str| past.and_then(|past| past.latencies.get(operation)).copied();
    let operations = ["list_path", "create_remote_digest", "retrieve_file"];
    let mut cells = vec![Cell::from(safe(name)), Cell::from(Span::styled(words, Style::new().fg(color)))];
    if is_wide {
        cells.extend(operations.map(|operation| Cell::from(time(latency(operation)))));
    } else {
        // The slowest is what its user notices.
        cells.push(Cell::from(time(operations.into_iter().filter_map(latency).reduce(f64::max))));
    }
    cells.push(Cell::from(format!("{}/s", ByteSize::b(past.map_or(0, Past::rate)))));
    if is_wide {
        cells.push(Cell::from(ByteSize::b(source.bytes_retrieved).to_string()));
        cells.push(Cell::from(source.errors.to_string()));
    }
    let rates = past.map(|past| sparkline(&past.rates, usize::from(plot))).unwrap_or_default();
    cells.push(Cell::from(Span::styled(rates, Style::new().fg(Color::Cyan))));
    Row::new(cells)
}

fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "–".into(),
        Some(seconds) if seconds < 1.0 => format!("{:.0} ms", (seconds * 1000.0).max(1.0)),
        Some(seconds) => format!("{seconds:.1} s"),
    }
}

/// The latest values as a row of bars, at most so many, the highest as high as one can be.
fn sparkline(values: &VecDeque<u64>, width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let latest = values.iter().skip(values.len().saturating_sub(width));
    let most = latest.clone().copied().max().unwrap_or_default().max(1) as f64;
    latest.map(|&value| BARS[((value as f64 / most) * 7.0).round() as usize]).collect()
}

fn waits(status: &Status) -> Vec<Line<'static>> {
    let waiting = status.sources.iter().filter_map(|(name, source)| Some((name, source.waiting.as_ref()?)));
    let line = |(name, waiting): (&String, &WaitingStatus)| {
        let WaitingStatus { request, seconds, seconds_left, programs, names, .. } = waiting;
        let mut who = names.join(", ");
        match (names.len(), *programs) {
            (_, 0) => who = "no program waits".into(),
            (0, 1) => who = "1 program waits".into(),
            (0, many) => who = format!("{many} programs wait"),
            (1, 1) => who.push_str(" waits"),
            (named, all) if all > named => who.push_str(&format!(" and {} more wait", all - named)),
            _ => who.push_str(" wait"),
        }
        let left = seconds_left.map(|left| format!(", at most {left:.0} s more")).unwrap_or_default();
        let silent = format!(" for {}: silent for {seconds:.0} s{left}: {}", safe(name), safe(request));
        Line::from(vec![Span::raw("  "), Span::styled(safe(&who), Style::new().fg(Color::Yellow)), Span::raw(silent)])
    };
    waiting.map(line).collect()
}

/// The files that are being retrieved, each once: a file may be retrieved by several requests, of which the one that is furthest counts.
fn transfers(status: &Status, width: u16) -> Vec<Line<'static>> {
    let all = status.sources.iter().flat_map(|(name, source)| source.transfers.iter().map(move |one| (name, one)));
    let mut files: Vec<(&String, &TransferStatus)> = Vec::new();
    for (name, one) in all {
        match files.iter_mut().find(|(known, file)| *known == name && file.path == one.path) {
            Some((_, file)) if position(one) > position(file) => *file = one,
            Some(_) => {}
            None => files.push((name, one)),
        }
    }
    // In an order that stays while requests come and go.
    files.sort_by(|(name, one), (other_name, other)| (name, &one.path).cmp(&(other_name, &other.path)));
    files.into_iter().map(|(name, one)| transfer(name, one, usize::from(width))).collect()
}

fn position(one: &TransferStatus) -> u64 {
    one.start + one.arrived
}

fn transfer(source: &str, one: &TransferStatus, width: usize) -> Line<'static> {
    const BAR: usize = 20;
    let at = position(one);
    let (bar, how) = match one.size.or(one.end).filter(|total| *total > 0) {
        Some(total) => {
            let share = (at as f64 / total as f64).clamp(0.0, 1.0);
            let full = (share * BAR as f64).round() as usize;
            let bar = format!("{}{}", "█".repeat(full), "░".repeat(BAR - full));
            (bar, format!("{:3.0} %  {} of {}", share * 100.0, ByteSize::b(at), ByteSize::b(total)))
        }
        None => ("░".repeat(BAR), ByteSize::b(one.arrived).to_string()),
    };
    let how = format!(" {how:<32}");
    let room = width.saturating_sub(2 + BAR + how.chars().count());
    let path = last_columns(&safe(&format!("{source}{}", one.path)), room);
    Line::from(vec![Span::raw("  "), Span::styled(bar, Style::new().fg(Color::Cyan)), Span::raw(how), Span::raw(path)])
}

/// The end of a path, which tells more than its beginning.
fn last_columns(path: &str, room: usize) -> String {
    let long = path.chars().count();
    if long <= room {
        path.to_owned()
    } else {
        format!("…{}", path.chars().skip(long + 1 - room.max(1)).collect::<String>())
    }
}

fn cache_lines(cache: &CacheStatus) -> Vec<Line<'static>> {
    let CacheStatus { bytes, max_bytes, copies, hits, misses, evicted, pinned_bytes, no_room, .. } = cache;
    let opens = hits + misses;
    let share = (hits * 100).checked_div(opens).map(|share| format!(" ({share} %)")).unwrap_or_default();
    let size = format!(
        "{} of {} in {copies} copies, {} pinned{}",
        ByteSize::b(*bytes),
        ByteSize::b(*max_bytes),
        ByteSize::b(*pinned_bytes),
        no_room.as_ref().map(|why| format!(", no room: {}", safe(why))).unwrap_or_default()
    );
    let opened = format!("       {hits} hits{share}, {misses} misses, {evicted} evicted");
    vec![Line::from(vec![Span::raw("CACHE  ").dim(), Span::raw(size)]), Line::from(opened)]
}

/// A text in which nothing steers a terminal.
fn safe(text: &str) -> String {
    Printable(text.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::status::tests::complete;

    /// What a terminal of this size shows.
    fn shown(view: &View, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("it is made of memory");
        terminal.draw(|frame| draw(frame, view)).expect("it can be drawn");
        let cells = terminal.backend().buffer().content();
        let line = |cells: &[ratatui::buffer::Cell]| cells.iter().map(|cell| cell.symbol()).collect::<String>();
        cells.chunks(usize::from(width)).map(|cells| line(cells).trim_end().to_owned()).collect()
    }

    /// A view of so many sources, all alike, after two statuses.
    fn view(sources: usize) -> View {
        let status = || {
            let mut status = complete();
            status.sources = (0..sources)
                .map(|n| (format!("source{n:02}"), complete().sources.remove("NAME").expect("it is there")))
                .collect();
            status
        };
        let (mut history, mut latest) = (History::default(), status());
        history.note(&status(), Duration::ZERO);
        for source in latest.sources.values_mut() {
            (source.bytes_retrieved, source.errors) = (source.bytes_retrieved + (3 << 20), 11);
        }
        history.note(&latest, Duration::from_secs(1));
        View { status: Some(latest), history, ..View::default() }
    }

    #[track_caller]
    fn assert_shows(lines: &[String], words: &[&str]) {
        for word in words {
            assert!(lines.iter().any(|line| line.contains(word)), "{word} is not in\n{}", lines.join("\n"));
        }
    }

    #[test]
    fn without_sources_the_cache_is_left() {
        for width in [80, 200] {
            let lines = shown(&view(0), width, 24);
            assert_shows(
                &lines,
                &[
                    "kitovufs 0.1.0  /mnt",
                    "no sources",
                    "CACHE  1 B of 2 B in 3 copies",
                    "4 hits (44 %), 5 misses, 6 evicted",
                ],
            );
        }
    }

    #[test]
    fn three_sources_are_shown_with_who_waits_and_what_is_moved() {
        let narrow = shown(&view(3), 80, 24);
        assert_shows(&narrow, &["SOURCE", "LATENCY", "source00", "source02", "◐ slow", "3.0 MiB/s", "█"]);
        assert_shows(
            &narrow,
            &["WHO WAITS", "less (4242) waits for source01: silent for 2 s, at most 28 s more: list_path /"],
        );
        assert_shows(&narrow, &["TRANSFERS", "█████████░░░░░░░░░░░  44 %  4 B of 9 B", "source00/a/b", "q quits"]);
        assert!(!narrow.iter().any(|line| line.contains("IN ALL")), "{narrow:?}");
        assert_shows(&shown(&view(3), 200, 24), &["LIST", "DIGEST", "READ", "IN ALL", "ERRORS", "11"]);
    }

    #[test]
    fn a_file_that_several_requests_retrieve_is_one_line_as_far_as_the_furthest() {
        let mut view = view(1);
        let source = view.status.as_mut().expect("it is there").sources.values_mut().next().expect("it is there");
        let part = |path: &str, start| TransferStatus {
            path: path.into(),
            size: Some(8),
            start,
            end: Some(8),
            arrived: 1,
            seconds: 0.5,
        };
        source.transfers = vec![part("/a", 0), part("/b", 1), part("/a", 3), part("/a", 1)];
        let lines = shown(&view, 80, 24);
        let files: Vec<_> = lines.iter().filter(|line| line.contains("source00/")).collect();
        assert_eq!(files.len(), 2, "{lines:#?}");
        assert!(files[0].contains(" 50 %  4 B of 8 B") && files[1].contains(" 25 %"), "{files:?}");
    }

    #[test]
    fn of_many_sources_those_are_shown_that_were_scrolled_to() {
        let mut view = view(50);
        for (width, height) in [(80, 24), (200, 60), (80, 12), (40, 8)] {
            view.above = 0;
            let lines = shown(&view, width, height);
            assert_shows(&lines, &["source00", "SOURCE 1–"]);
            view.above = usize::MAX;
            assert_shows(&shown(&view, width, height), &["source49"]);
        }
        view.above = 0;
        assert_shows(&shown(&view, 80, 24), &["and 47 more", "of 50"]);
    }

    #[test]
    fn the_smallest_terminals_are_drawn_on_too() {
        for width in [1, 2, 10, 19] {
            for height in [1, 2, 5] {
                shown(&view(3), width, height);
                shown(&View::default(), width, height);
            }
        }
    }

    #[test]
    fn the_end_is_told_and_what_was_last_seen_stays() {
        let view = View { ended: Some("the mount has gone".into()), ..view(3) };
        assert_shows(&shown(&view, 80, 24), &["the mount has gone", "source00"]);
    }

    #[test]
    fn a_name_steers_no_terminal() {
        let mut view = view(0);
        let source = complete().sources.remove("NAME").expect("it is there");
        view.status.as_mut().expect("it is there").sources.insert("a\u{1b}[31mb\u{202e}".into(), source);
        let lines = shown(&view, 80, 24).join("\n");
        assert!(!lines.contains('\u{1b}') && !lines.contains('\u{202e}') && lines.contains("[31mb"), "{lines}");
    }
}

//! `log`: shows the log that mounts in the background write, all of it or one source's lines, and goes on as it grows.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::unix::pipe;

use super::output::errln;
use super::runtime::on_runtime;
use super::{Failure, log};
use crate::error::{Error, ErrorKind};
use crate::path::Printable;

/// How often a followed log is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What of the log to show.
#[derive(Debug)]
pub struct LogRequest {
    /// Go on as it grows, until this process is ended.
    pub follow: bool,
    /// So many of the last lines only.
    pub lines: Option<usize>,
    /// The lines of this source only.
    pub source: Option<String>,
}

/// Shows the log. It ends without an error where nobody reads on.
///
/// # Errors
/// There is no log, it cannot be read, or its lines cannot be printed.
pub fn show(request: &LogRequest) -> Result<(), Failure> {
    let path = log::file();
    let failed = |kind| Error::new("log", kind).on(path.display());
    on_runtime(async {
        match print(&path, request).await {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let why = "there is no log yet: mounts in the background write it; `kitovufs mount -f` writes to standard \
                           error, which a unit of systemd shows with journalctl";
                Err(failed(ErrorKind::NotFound).because(why).into())
            }
            printed => Ok(printed.map_err(|e| failed(ErrorKind::Other).caused_by(e))?),
        }
    })
}

async fn print(path: &Path, LogRequest { follow, lines, source }: &LogRequest) -> io::Result<()> {
    let source = source.as_ref().map(|name| Printable(name.as_bytes()).to_string());
    let most = lines.unwrap_or(usize::MAX);
    let (log, last) = read(path, most, &source)?;
    let mut out = BufWriter::new(io::stdout());
    last.iter().try_for_each(|line| out.write_all(line.as_bytes()))?;
    out.flush()?;
    if *follow {
        return follow_on(path, log, out).await;
    }
    if let Some(source) = source.as_ref().filter(|_| last.is_empty() && most > 0) {
        errln!("kitovufs: the log has no line of a source {source}");
    }
    Ok(())
}

/// The last lines of the log.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn last(most: usize) -> io::Result<String> {
    Ok(read(&log::file(), most, &None)?.1.into_iter().collect())
}

/// The last lines of the log at `path`, with what was put aside; and the log behind them.
fn read<'a>(path: &Path, most: usize, source: &'a Option<String>) -> io::Result<(Lines<'a>, VecDeque<String>)> {
    let aside = log::aside(path);
    // In the moment in which a log is put aside, there is no other.
    let log =
        File::open(path).or_else(|e| if e.kind() == io::ErrorKind::NotFound { File::open(&aside) } else { Err(e) })?;
    let older = another(&aside, &log)?;
    let mut log = Lines::of(log, source);
    let mut last = VecDeque::new();
    let mut keep = |line| {
        last.push_back(line);
        if last.len() > most {
            last.pop_front();
        }
        Ok(())
    };
    if let Some(older) = older {
        Lines::of(older, source).each(&mut keep)?;
    }
    log.each(&mut keep)?;
    Ok((log, last))
}

/// Prints what is added to `log`, and to those that come after it at `path`, until nobody reads on.
async fn follow_on(path: &Path, mut log: Lines<'_>, mut out: BufWriter<io::Stdout>) -> io::Result<()> {
    let mut closed = std::pin::pin!(closed());
    while tokio::time::timeout(LOOK_AGAIN, &mut closed).await.is_err() {
        let next = another(path, log.log.get_ref())?;
        // What was added to the old one before it was put aside comes first.
        log.each(|line| out.write_all(line.as_bytes()))?;
        if let Some(next) = next {
            log = Lines::of(next, log.source);
            log.each(|line| out.write_all(line.as_bytes()))?;
        }
        out.flush()?;
    }
    Ok(())
}

/// Returns when nobody reads standard output any longer, as far as that can be known without writing.
async fn closed() {
    let out = io::stdout().as_fd().try_clone_to_owned();
    match out.and_then(pipe::Sender::from_owned_fd_unchecked) {
        Ok(out) => drop(out.ready(Interest::ERROR).await),
        // A file has no reader.
        Err(_) => std::future::pending().await,
    }
}

/// The file at `path`, if there is one and it is not `known`.
fn another(path: &Path, known: &File) -> io::Result<Option<File>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let (there, known) = (file.metadata()?, known.metadata()?);
    Ok(((there.dev(), there.ino()) != (known.dev(), known.ino())).then_some(file))
}

/// The lines of a log, of one source or all.
struct Lines<'a> {
    log: BufReader<File>,
    source: &'a Option<String>,
    /// The line that is not whole yet.
    begun: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn of(log: File, source: &'a Option<String>) -> Self {
        Self { log: BufReader::new(log), source, begun: Vec::new() }
    }

    /// Hands over each whole line that was added since the last call.
    fn each(&mut self, mut take: impl FnMut(String) -> io::Result<()>) -> io::Result<()> {
        while self.log.read_until(b'\n', &mut self.begun)? > 0 && self.begun.ends_with(b"\n") {
            let line = String::from_utf8_lossy(&self.begun).into_owned();
            self.begun.clear();
            if self.source.as_ref().is_none_or(|source| is_of(&line, source)) {
                take(line)?;
            }
        }
        Ok(())
    }
}

/// Whether a line, which begins with time and level, is about `source`.
fn is_of(line: &str, source: &str) -> bool {
    let message = line.split_once(' ').and_then(|(_, rest)| Some(rest.trim_start().split_once(' ')?.1));
    let named = message.and_then(|message| message.strip_prefix("source ")?.strip_prefix(source));
    named.is_some_and(|rest| rest.starts_with(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_source_begin_with_its_name() {
        let line = "2026-11-29T09:00:00Z  WARN source far away: connect: refused";
        assert!(is_of(line, "far away"));
        assert!(!is_of(line, "far") && !is_of(line, "connect") && !is_of("", "far"));
        assert!(!is_of("2026-11-29T09:00:00Z ERROR cache: source far: no", "far"));
    }
}

//! `top`: a live view of a mount on a terminal, of what `status --json --follow` tells. What it looks like is decided in `view`.

mod history;
mod view;

use std::io::{self, IsTerminal as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use serde_json::Value;

use super::runtime::{ENDED, when_signalled};
use super::status::{connected, ours, ours_at, unanswered};
use crate::error::{Error, ErrorKind, Result};
use crate::mount::point::{self, Mounted};
use crate::status::Status;
use view::View;

/// How often to look for a new status while no key is pressed.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How often to look whether the terminal is still there.
const LOOK_AT_TERMINAL: Duration = Duration::from_secs(1);

/// How long a signal lets the view end by itself, which leaves the terminal as it was; a write to the terminal may hang.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// How many sources a page of the list is.
const PAGE: usize = 10;

/// What the mount tells: a status, nothing for a while, or why there will be no more.
enum Told {
    Status(Box<Status>),
    Silence,
    End(Error),
}

/// Shows the mount at `mountpoint`, or the only one of this user's, until a key or a signal ends it.
///
/// # Errors
/// There is no terminal; there is no such mount, or there are several; it does not answer.
pub fn top(mountpoint: Option<&Path>) -> Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let why = "this needs a terminal; `kitovufs status --json --follow` tells the same to programs";
        return Err(Error::new("top", ErrorKind::Unsupported).because(why));
    }
    let mounted = meant(mountpoint)?;
    // Before the terminal is taken: what is wrong at once is told as any command tells it.
    let mut client = connected(&mounted)?;
    let (tell, told) = mpsc::channel();
    let following = move || {
        // A process that was stopped goes on when it continues. After the end of the view there is no receiver.
        let silent = || match point::mounted().contains(&mounted) && tell.send(Told::Silence).is_ok() {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        };
        if let Err(failure) = client.follow("follow", |status| tell_status(&tell, status), silent) {
            let _ = tell.send(Told::End(unanswered("top", &mounted, failure)));
        }
    };
    let failed = |e: io::Error| Error::new("top", ErrorKind::Other).caused_by(e);
    thread::Builder::new().name("follow".into()).spawn(following).map_err(failed)?;
    let is_signalled = Arc::new(AtomicBool::new(false));
    let signalled = is_signalled.clone();
    let before = tcgetattr(stdin()).map_err(|e| failed(e.into()))?;
    let listening = when_signalled(move || {
        signalled.store(true, Ordering::Relaxed);
        thread::sleep(END_TIMEOUT);
        let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
        std::process::exit(ENDED);
    });
    let listening = listening.map_err(failed)?;
    listening.spawn(async {
        end_of_terminal().await;
        // There is nothing to restore.
        std::process::exit(ENDED);
    });
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let shown = show(&mut terminal, &told, &is_signalled);
    if shown.is_err() && terminal.show_cursor().is_err() {
        // A terminal that takes nothing any more is not restored, and nothing is told there.
        std::process::exit(ENDED);
    }
    // It shows the cursor again.
    drop(terminal);
    ratatui::restore();
    if is_signalled.load(Ordering::Relaxed) {
        std::process::exit(ENDED);
    }
    listening.shutdown_background();
    shown.map_err(failed)
}

/// Returns when the terminal is gone. `event::poll` does not: it reads the end of a terminal again and again (crossterm 0.29).
async fn end_of_terminal() {
    while tcgetattr(stdin()).is_ok() {
        tokio::time::sleep(LOOK_AT_TERMINAL).await;
    }
}

fn tell_status(tell: &Sender<Told>, status: Value) {
    let told = serde_json::from_value(status).map(|status| Told::Status(Box::new(status))).unwrap_or_else(|e| {
        let why = "the mount is served by another version of kitovufs";
        Told::End(Error::new("top", ErrorKind::Protocol).because(why).caused_by(e))
    });
    let _ = tell.send(told);
}

fn meant(mountpoint: Option<&Path>) -> Result<Mounted> {
    if let Some(path) = mountpoint {
        return ours_at("top", path);
    }
    let mut mounts = ours("top")?;
    if mounts.len() > 1 {
        let places: Vec<_> = mounts.iter().map(|mounted| mounted.path.display().to_string()).collect();
        let why = format!("several are mounted; name one of {}", places.join(", "));
        return Err(Error::new("top", ErrorKind::Other).because(why));
    }
    Ok(mounts.remove(0))
}

fn show(terminal: &mut DefaultTerminal, told: &Receiver<Told>, is_signalled: &AtomicBool) -> io::Result<()> {
    let (mut view, mut latest) = (View::default(), Instant::now());
    terminal.draw(|frame| view::draw(frame, &view))?;
    while !is_signalled.load(Ordering::Relaxed) {
        let mut is_new = false;
        if event::poll(LOOK_AGAIN)? {
            match event::read()? {
                Event::Key(key) if ends(&key) => return Ok(()),
                Event::Key(key) => scroll(&mut view, &key),
                // Another size, for one: drawing looks at it.
                _ => {}
            }
            is_new = true;
        }
        for told in told.try_iter() {
            is_new = true;
            match told {
                Told::Status(status) => {
                    let after = if view.status.is_some() { latest.elapsed() } else { Duration::ZERO };
                    latest = Instant::now();
                    view.history.note(&status, after);
                    view.status = Some(*status);
                    view.is_silent = false;
                }
                Told::Silence => view.is_silent = true,
                Told::End(error) => view.ended = Some(error.to_string()),
            }
        }
        if is_new {
            terminal.draw(|frame| view::draw(frame, &view))?;
        }
    }
    Ok(())
}

/// Whether a key ends the view.
fn ends(key: &KeyEvent) -> bool {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c' | 'd') => is_control,
        KeyCode::Char('q') | KeyCode::Esc => true,
        _ => false,
    }
}

fn scroll(view: &mut View, key: &KeyEvent) {
    if key.kind == KeyEventKind::Release {
        return;
    }
    let last = view.status.as_ref().map_or(0, |status| status.sources.len().saturating_sub(1));
    view.above = match key.code {
        KeyCode::Up | KeyCode::Char('k') => view.above.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => view.above + 1,
        KeyCode::PageUp => view.above.saturating_sub(PAGE),
        KeyCode::PageDown => view.above + PAGE,
        KeyCode::Home => 0,
        KeyCode::End => last,
        _ => view.above,
    }
    .min(last);
}

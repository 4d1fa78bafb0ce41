//! Questions to the user at the terminal, or to whoever is connected to standard input. It knows no command.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::output::{err, errln};
use super::runtime::{ENDED, endable, when_signalled};

/// The terminal of this process, from which secrets are read (termios(3), tty(4)).
const TERMINAL: &str = "/dev/tty";

/// Asks for a line; `otherwise` tells what an empty one means. `None` for an empty line, or where there is no terminal.
pub(super) fn ask(what: &str, otherwise: &str) -> io::Result<Option<String>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    err!("{what} [{otherwise}]: ");
    io::stderr().flush()?;
    let mut line = String::new();
    endable(|| io::stdin().read_line(&mut line)).map_err(io::Error::other)??;
    let line = line.trim();
    Ok((!line.is_empty()).then(|| line.to_owned()))
}

/// Asks for a secret at the terminal, without showing what is typed; takes a line of standard input where that is no terminal.
pub(super) fn ask_secret(what: &str) -> io::Result<String> {
    if io::stdin().is_terminal() {
        return hidden(what);
    }
    let mut line = String::new();
    endable(|| io::stdin().read_line(&mut line)).map_err(io::Error::other)??;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// A signal that ends the process leaves the terminal as it was: else nothing that is typed later would be shown.
fn hidden(what: &str) -> io::Result<String> {
    let terminal = File::open(TERMINAL)?;
    let before = tcgetattr(&terminal)?;
    let listening = when_signalled(move || {
        // Of a terminal that is gone, nothing need be restored.
        let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
        errln!("");
        std::process::exit(ENDED);
    })?;
    let typed = rpassword::prompt_password(what);
    listening.shutdown_background();
    typed
}

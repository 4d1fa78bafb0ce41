//! Where the user is: whether there is a configuration, what is mounted, and what to do next. It changes nothing.

use std::fmt::Write as _;
use std::path::Path;

use super::output::out;
use crate::config::Config;
use crate::mount::point::{self, Mounted};

/// What a user does who has no source.
const ADD: &str = "kitovufs add URL, for example sftp://me@host/folder or https://host/pub/; --help shows more";

/// What makes a changed configuration hold: mounting, once more if it is mounted.
pub(super) fn next_step(config: &Config) -> String {
    let mount = match &config.file {
        Some(file) if *file != Config::default_path() => format!("kitovufs mount -c {}", file.display()),
        _ => "kitovufs mount".to_owned(),
    };
    match &config.mountpoint {
        Some(place) if is_mounted(place) => {
            format!("the mounted folder shows it after: kitovufs unmount {} && {mount}", place.display())
        }
        Some(place) => format!("next: {mount}, which shows everything in {}", place.display()),
        None => format!("next: {mount} DIRECTORY"),
    }
}

fn is_mounted(place: &Path) -> bool {
    point::mounted_at(place).is_some_and(|mounted| mounted.is_ours())
}

/// Says where the user is.
pub fn show() {
    out!("{}", described(&Config::default_path()));
}

fn described(file: &Path) -> String {
    let mut out = String::new();
    let mut say = |line: String| writeln!(out, "{line}").expect("writing to a string cannot fail");
    let shown = file.display();
    let places = point::mounted().into_iter().filter(Mounted::is_ours).map(|mounted| mounted.path).collect::<Vec<_>>();
    let mut next = "kitovufs mount";
    if file.exists() {
        match Config::examine(file) {
            Ok((config, problems)) if problems.is_empty() || config.sources.is_empty() => {
                let names = config.sources.iter().map(|source| source.name.escape_debug().to_string());
                let names = names.collect::<Vec<_>>().join(", ");
                let names = if names.is_empty() { names } else { format!(" ({names})") };
                say(format!("{shown}: {}{names}", count(config.sources.len(), "source")));
                if config.sources.is_empty() {
                    next = ADD;
                } else if config.mountpoint.as_ref().is_some_and(|place| places.contains(place)) {
                    next = "kitovufs status";
                } else if config.mountpoint.is_none() {
                    next = "kitovufs mount DIRECTORY";
                }
            }
            Ok((_, problems)) | Err(problems) => {
                say(format!("{shown}: {}", count(problems.0.len(), "mistake")));
                next = "kitovufs check";
            }
        }
    } else {
        say(format!("There is no configuration yet ({shown})."));
        next = ADD;
    }
    match places.as_slice() {
        [] => say("Nothing is mounted.".to_owned()),
        places => places.iter().for_each(|place| say(format!("Mounted: {}", place.display()))),
    }
    say(format!("Next: {next}"));
    say("kitovufs --help shows all commands.".to_owned());
    out
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

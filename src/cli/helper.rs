//! The mount helper: this program under the name `mount.kitovufs`, as mount(8) and fstab call it. It turns their words into ours.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use super::output::errln;
use crate::error::{Error, ErrorKind, Result};
use crate::mount::ask::{Answer, Asked};
use crate::mount::point::{self, Mounted};

/// The name under which mount(8) looks for the helper of the type `kitovufs`.
const NAME: &str = "mount.kitovufs";

/// Where the configurations are that fstab and units of the system name.
const CONFIGURATIONS: &str = "/etc/kitovufs";

/// Begins again under the own name if this process is the mount helper. Returns if it is not. What is mounted stays as it is: mount(8) asks
/// for it once more with each `mount -a`.
///
/// # Errors
/// This program cannot be started again.
pub(super) fn become_mount() -> Result<()> {
    let mut words = std::env::args_os();
    let is_helper = words.next().is_some_and(|name| Path::new(&name).file_name() == Some(NAME.as_ref()));
    if !is_helper {
        return Ok(());
    }
    let failed = |e| Error::new("mount", ErrorKind::Other).caused_by(e);
    let Some(Wanted { arguments, place }) = Wanted::of(words) else { std::process::exit(0) };
    if let Some(place) = place.as_deref().map(std::path::absolute).transpose().map_err(failed)?
        && is_mounted(&place)?
    {
        errln!("kitovufs: {}: is mounted already", place.display());
        std::process::exit(0);
    }
    let program = std::env::current_exe().map_err(failed)?;
    Err(failed(Command::new(program).arg0("kitovufs").args(arguments).exec()))
}

/// Whether a mount of ours that lives is there.
fn is_mounted(place: &Path) -> Result<bool> {
    let there = point::mounted_at(place).filter(Mounted::is_ours);
    there.map_or(Ok(false), |there| Ok(Asked::of(&there.path)?.answer() != Answer::Dead))
}

/// What mount(8) wants.
struct Wanted {
    /// Our words for it.
    arguments: Vec<OsString>,
    /// Where it is to be mounted.
    place: Option<OsString>,
}

impl Wanted {
    /// Reads `SOURCE DIRECTORY [-sfnv] [-o OPTIONS] [-t TYPE]`, in any order; `None` if nothing is to be mounted (`-f`).
    fn of(mut words: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut arguments = vec!["mount".into()];
        let mut places = Vec::new();
        while let Some(word) = words.next() {
            match word.to_str() {
                Some("-o") => arguments.extend(["-o".into(), words.next().unwrap_or_default()]),
                Some("-t" | "-N") => _ = words.next(),
                Some(flags) if is_flags(flags) => {
                    if flags.contains('f') {
                        return None;
                    }
                }
                _ => places.push(word),
            }
        }
        let place = places.get(1).cloned();
        let mut places = places.into_iter();
        match places.next().map(Source::of) {
            Some(Source::Default) | None => {}
            Some(Source::File(file)) => arguments.extend(["-c".into(), file]),
            Some(Source::Url(url)) => arguments.push(url),
        }
        arguments.extend(places);
        Some(Self { arguments, place })
    }
}

fn is_flags(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-') && word[1..].chars().all(|flag| "sfnvw".contains(flag))
}

/// The first field of a line of fstab.
enum Source {
    /// `kitovufs` or `none`: the user's own configuration.
    Default,
    /// A configuration: a file, or `NAME` or `kitovufs#NAME` for that of the system.
    File(OsString),
    /// A URL, or a directory.
    Url(OsString),
}

impl Source {
    fn of(word: OsString) -> Self {
        let Some(text) = word.to_str() else { return Self::File(word) };
        let name = text.strip_prefix("kitovufs#").unwrap_or(text);
        match name {
            "" | "kitovufs" | "none" => Self::Default,
            _ if name.contains("://") || Path::new(name).is_dir() => Self::Url(name.into()),
            _ if name.contains('/') => Self::File(name.into()),
            _ => Self::File(format!("{CONFIGURATIONS}/{name}.toml").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_line_of_fstab_becomes_a_command() {
        for (theirs, ours) in [
            ("kitovufs#lab /mnt/lab -o rw,_netdev", "mount -o rw,_netdev -c /etc/kitovufs/lab.toml /mnt/lab"),
            ("lab /mnt/lab -nv -t kitovufs", "mount -c /etc/kitovufs/lab.toml /mnt/lab"),
            ("/home/anna/k.toml /mnt -s -o ro", "mount -o ro -c /home/anna/k.toml /mnt"),
            ("sftp://anna@h/srv /mnt", "mount sftp://anna@h/srv /mnt"),
            ("/usr /mnt", "mount /usr /mnt"),
            ("kitovufs /mnt", "mount /mnt"),
            ("none /mnt -o allow_other", "mount -o allow_other /mnt"),
        ] {
            let wanted = Wanted::of(theirs.split(' ').map(Into::into)).expect("it is to be mounted");
            assert_eq!(wanted.place.as_deref(), theirs.split(' ').nth(1).map(OsStr::new));
            assert_eq!(wanted.arguments.join(" ".as_ref()).to_str(), Some(ours));
        }
        assert!(Wanted::of(["lab", "/mnt", "-f"].into_iter().map(Into::into)).is_none());
    }
}

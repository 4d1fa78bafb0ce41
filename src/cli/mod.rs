//! The command line: from typed arguments to a request. It does nothing but read the configuration that a request needs.

mod add;
mod args;
mod autostart;
mod bundle;
mod candidates;
mod check;
mod doctor;
mod edit;
mod errand;
mod example;
mod fetch;
mod follow;
mod generate;
mod helper;
mod import;
pub mod language;
mod log;
mod login;
mod options;
mod output;
mod overview;
mod pin;
mod place;
mod plugin;
mod progress;
mod prompt;
mod remove;
mod run;
mod runtime;
#[cfg(feature = "shared")]
mod shared;
mod show_log;
mod sources;
mod status;
mod top;
mod unmount;
mod verify;
mod why;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use crate::config::{Config, Diagnostic, Diagnostics};
use crate::mount::request::{Failure, MountRequest};
use login::LoginRequest;
pub use run::run;
use show_log::LogRequest;
use status::Form;

use plugin::PluginRequest;

use add::AddRequest;
use args::{AddArgs, ConfigCommand, LowArgs, LowCommand, MountArgs};
use autostart::Switch;

/// The request of the user.
#[derive(Debug)]
enum Request {
    /// Mount.
    Mount(Box<MountRequest>),
    /// Unmount.
    Unmount {
        /// The mounted folder, absolute; `None` for the only one.
        mountpoint: Option<PathBuf>,
    },
    /// Check a configuration.
    Check {
        /// The configuration file; not read yet, so that everything wrong can be reported together.
        file: PathBuf,
        /// For scripts.
        json: bool,
    },
    /// Check everything that a mount needs.
    Doctor {
        /// The configuration file.
        file: PathBuf,
        /// For scripts.
        json: bool,
        /// The file to write for a report of a bug.
        bundle: Option<PathBuf>,
    },
    /// Say where one is.
    Overview,
    /// Show this help.
    Help(String),
    /// Add a source to a configuration.
    Add(AddRequest),
    /// Remove a source from a configuration.
    Remove {
        /// The configuration file.
        file: PathBuf,
        /// The source's name.
        name: String,
    },
    /// List the sources of a configuration.
    Sources {
        /// The configuration file.
        file: PathBuf,
        /// For scripts.
        json: bool,
    },
    /// Print the path of the configuration.
    Path,
    /// Print an example of a configuration.
    Example {
        /// Of this type of source only.
        type_name: Option<String>,
    },
    /// Mount at login, or not.
    Autostart(Switch),
    /// Store a source's secret.
    Login(LoginRequest),
    /// Turn a configuration of kitovu into ours.
    Import {
        /// The configuration of kitovu.
        file: PathBuf,
        /// The file to write; `None` for standard output.
        output: Option<PathBuf>,
    },
    /// Help the author of a plugin.
    Plugin(PluginRequest),
    /// Make a key, or look after the store that machines have in common.
    #[cfg(feature = "shared")]
    Shared(shared::SharedRequest),
    /// Show what a mount is doing.
    Status {
        /// The mounted folder, absolute; `None` for all of this user.
        mountpoint: Option<PathBuf>,
        /// For whom.
        form: Form,
    },
    /// Show what a mount is doing, again and again.
    Follow {
        /// The mounted folder, absolute; `None` for all of this user's.
        mountpoint: Option<PathBuf>,
    },
    /// Show it live.
    Top {
        /// The mounted folder, absolute; `None` for the only one.
        mountpoint: Option<PathBuf>,
    },
    /// Show the log.
    Log(LogRequest),
    /// Tell why a path is as it is.
    Why {
        /// The path.
        path: PathBuf,
        /// For scripts.
        json: bool,
    },
    /// Retrieve files into the cache.
    Fetch {
        /// Files and folders.
        paths: Vec<PathBuf>,
        /// For scripts.
        json: bool,
    },
    /// Write manual pages and completions.
    Generate {
        /// The directory.
        dir: PathBuf,
    },
    /// Keep places in the cache, or show which are kept.
    Pin {
        /// Files and folders.
        paths: Vec<PathBuf>,
        /// For scripts.
        json: bool,
    },
    /// Keep them no longer.
    Unpin {
        /// Files and folders.
        paths: Vec<PathBuf>,
        /// For scripts.
        json: bool,
    },
    /// Drop what is in the cache of them.
    Evict {
        /// Files and folders.
        paths: Vec<PathBuf>,
        /// Also what is pinned.
        pinned: bool,
        /// For scripts.
        json: bool,
    },
    /// Ask their sources now.
    Refresh {
        /// Files and folders.
        paths: Vec<PathBuf>,
        /// For scripts.
        json: bool,
    },
    /// Hash what is in the cache.
    Verify {
        /// Files and folders; none for everything.
        paths: Vec<PathBuf>,
        /// For scripts.
        json: bool,
    },
    /// Have them without a network.
    Offline {
        /// Files and folders.
        paths: Vec<PathBuf>,
        /// Only say whether they are.
        check: bool,
        /// For scripts.
        json: bool,
    },
    /// Ask a mount, for another process of this program.
    Ask {
        /// The mounted folder, absolute.
        mountpoint: PathBuf,
    },
}

/// Resolves typed arguments to a request. Reads the configuration file if the request is to mount its sources.
///
/// # Errors
/// `Usage` or `Config`.
fn resolve(args: LowArgs) -> Result<Request, Failure> {
    let file = |typed: Option<PathBuf>| typed.unwrap_or_else(Config::default_path);
    let Some(command) = args.command else { return Ok(Request::Overview) };
    Ok(match command {
        LowCommand::Add(AddArgs { config, password, untried, url, name }) => {
            Request::Add(AddRequest { file: file(config), url, name, password, untried })
        }
        LowCommand::Remove { config, name } => Request::Remove { file: file(config), name },
        LowCommand::Sources { config, json } => Request::Sources { file: file(config), json },
        LowCommand::Config { command: ConfigCommand::Path } => Request::Path,
        LowCommand::Config { command: ConfigCommand::Example { type_name } } => Request::Example { type_name },
        LowCommand::Help { command } => Request::Help(help_of(&command)?),
        LowCommand::Autostart { switch } => Request::Autostart(switch),
        LowCommand::Mount(args) => Request::Mount(Box::new(mount(args)?)),
        LowCommand::Unmount { mountpoint } => {
            Request::Unmount { mountpoint: mountpoint.as_deref().map(absolute).transpose()? }
        }
        LowCommand::Check { config, json } => Request::Check { file: file(config), json },
        LowCommand::Doctor { config, bundle, json } => Request::Doctor { file: file(config), bundle, json },
        LowCommand::Login { config, username, source } => {
            Request::Login(LoginRequest { file: config.unwrap_or_else(Config::default_path), source, username })
        }
        LowCommand::Import { file, output } => Request::Import { file, output },
        #[cfg(feature = "shared")]
        LowCommand::Shared { command } => Request::Shared(wanted(command)),
        LowCommand::Plugin { command } => Request::Plugin(plugin::resolve(command)?),
        LowCommand::Ask { mountpoint } => Request::Ask { mountpoint },
        LowCommand::Generate { dir } => Request::Generate { dir },
        LowCommand::Log { follow, lines, source } => Request::Log(LogRequest { follow, lines, source }),
        LowCommand::Why { json, path } => Request::Why { path, json },
        LowCommand::Fetch { paths, json } => Request::Fetch { paths, json },
        LowCommand::Pin { paths, json } => Request::Pin { paths, json },
        LowCommand::Unpin { paths, json } => Request::Unpin { paths, json },
        LowCommand::Evict { paths, pinned, json } => Request::Evict { paths, pinned, json },
        LowCommand::Refresh { paths, json } => Request::Refresh { paths, json },
        LowCommand::Verify { paths, json } => Request::Verify { paths, json },
        LowCommand::Offline { paths, check, json } => Request::Offline { paths, check, json },
        LowCommand::Top { mountpoint } => Request::Top { mountpoint: mountpoint.as_deref().map(absolute).transpose()? },
        LowCommand::Status { follow: true, mountpoint, .. } => {
            Request::Follow { mountpoint: mountpoint.as_deref().map(absolute).transpose()? }
        }
        LowCommand::Status { json, verbose, mountpoint, .. } => {
            let form = if json {
                Form::Json
            } else if verbose {
                Form::Verbose
            } else {
                Form::Short
            };
            Request::Status { form, mountpoint: mountpoint.as_deref().map(absolute).transpose()? }
        }
    })
}

/// The help of a command, named by the words that call it.
fn help_of(words: &[String]) -> Result<String, Failure> {
    let mut all = LowArgs::command();
    all.build();
    let command = words.iter().try_fold(&mut all, |command, word| command.find_subcommand_mut(word));
    let unknown = || format!("there is no command `{}`; kitovufs help shows those there are", words.join(" "));
    Ok(command.ok_or_else(|| Failure::Usage(unknown()))?.render_long_help().to_string())
}

#[cfg(feature = "shared")]
fn wanted(command: args::SharedCommand) -> shared::SharedRequest {
    use args::{KeyCommand, SharedCommand};
    use shared::SharedRequest;
    let file = |typed: Option<PathBuf>| typed.unwrap_or_else(Config::default_path);
    match command {
        SharedCommand::Key { command: KeyCommand::New { file, signing } } => SharedRequest::NewKey { file, signing },
        SharedCommand::Status { config, json } => SharedRequest::Status { file: file(config), json },
        SharedCommand::Gc { config, max_size } => SharedRequest::Shrink { file: file(config), max_size },
        SharedCommand::Forget { config } => SharedRequest::Forget { file: file(config) },
    }
}

fn mount(args: MountArgs) -> Result<MountRequest, Failure> {
    let MountArgs { config, foreground, daemon, first, second, quiet, strict, options } = args;
    let ((mut config, mut problems), mountpoint) = match (first, second) {
        (Some(url), Some(mountpoint)) => {
            ((from_url(&url, &mountpoint, config.as_deref())?, Diagnostics::default()), Some(mountpoint))
        }
        (Some(only), _) if is_url(&only) => return Err(Failure::Usage(without_mountpoint(&only))),
        (mountpoint, _) => (Config::examine(&config.unwrap_or_else(Config::default_path))?, mountpoint),
    };
    let mountpoint = match (mountpoint, &config.mountpoint) {
        (Some(typed), _) => absolute(Path::new(&typed))?,
        (None, Some(configured)) => configured.clone(),
        (None, None) => {
            problems.0.push(nowhere(&config));
            return Err(problems.into());
        }
    };
    if let Some(access) = options::access(&options)? {
        config.access = access;
    }
    Ok(MountRequest { config, problems, mountpoint, foreground, quiet, strict, daemon })
}

fn from_url(url: &OsStr, mountpoint: &OsStr, file: Option<&Path>) -> Result<Config, Failure> {
    if is_url(mountpoint) && !is_url(url) {
        return Err(Failure::Usage("the source comes first: kitovufs mount SOURCE_URL MOUNTPOINT".into()));
    }
    if file.is_some() {
        let instead = "name either a configuration file or SOURCE_URL";
        return Err(Failure::Usage(format!("with -c FILE, the sources are those of the file; {instead}")));
    }
    let url = url
        .to_str()
        .ok_or_else(|| Failure::Usage("SOURCE_URL is not UTF-8; such a source needs a configuration file".into()))?;
    // A wrong URL is wrong usage to the user, but the exit code is the same and so are the words.
    Ok(Config::from_url(url)?)
}

fn is_url(typed: &OsStr) -> bool {
    typed.as_encoded_bytes().windows(3).any(|bytes| bytes == b"://")
}

/// The URL is repeated only if it cannot hold a password.
fn without_mountpoint(url: &OsStr) -> String {
    let shown = url.to_str().filter(|url| !url.contains(['@', '?'])).unwrap_or("SOURCE_URL");
    format!("where to mount? Add a directory: kitovufs mount {shown} MOUNTPOINT")
}

fn nowhere(config: &Config) -> Diagnostic {
    let message =
        "there is no mountpoint; add mountpoint = \"~/kitovu\" at the top, or type: kitovufs mount MOUNTPOINT";
    Diagnostic { file: config.file.clone(), line: None, message: message.into() }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::Usage(format!("MOUNTPOINT {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::error::{Error, ErrorKind};

    fn request(words: &[&str]) -> Result<Request, Failure> {
        let words = std::iter::once("kitovufs").chain(words.iter().copied());
        resolve(LowArgs::try_parse_from(words).expect("clap knows the words"))
    }

    fn mounted(words: &[&str]) -> Result<MountRequest, Failure> {
        match request(words)? {
            Request::Mount(mount) => Ok(*mount),
            other => panic!("not a mount: {other:?}"),
        }
    }

    fn usage(words: &[&str]) -> String {
        match request(words) {
            Err(Failure::Usage(message)) => message,
            other => panic!("no usage error: {other:?}"),
        }
    }

    /// A configuration file with a source, and `text` above it.
    fn file(text: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config.toml");
        std::fs::write(&path, format!("{text}\n[sources.docs]\ntype = 'local'\npath = '/'\n")).expect("written");
        let path = path.to_str().expect("a UTF-8 path").to_owned();
        (dir, path)
    }

    #[test]
    fn the_command_line_is_consistent_and_its_help_teaches() {
        LowArgs::command().debug_assert();
        let help = LowArgs::command().render_long_help().to_string();
        for taught in ["Examples:", "config.toml", "[sources.docs]", "KITOVUFS_LOG", "Exit codes:", "  2  wrong usage"]
        {
            assert!(help.contains(taught), "{taught} is not in:\n{help}");
        }
        for command in LowArgs::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Usage:") && !help.contains("--daemon"), "{help}");
        }
        for line in help.lines().filter(|line| line.starts_with("  kitovufs ")) {
            assert!(line.len() <= 78, "terminals are 80 columns wide: {line}");
        }
        let all = LowArgs::command();
        let shown = all.get_subcommands().filter(|command| !command.is_hide_set());
        let names: Vec<_> = shown.map(|command| command.get_name()).collect();
        assert_eq!(
            names,
            [
                "mount",
                "unmount",
                "check",
                "add",
                "remove",
                "sources",
                "config",
                "autostart",
                "login",
                "import",
                "status",
                "top",
                "why",
                "fetch",
                "offline",
                "pin",
                "unpin",
                "evict",
                "refresh",
                "verify",
                #[cfg(feature = "shared")]
                "shared",
                "log",
                "doctor",
                "help",
                "plugin"
            ]
        );
    }

    #[test]
    fn help_is_a_command_too() {
        let shown = |words: &[&str]| match request(words) {
            Ok(Request::Help(text)) => text,
            other => panic!("no help: {other:?}"),
        };
        assert!(shown(&["help"]).contains("Configuration:"));
        assert!(shown(&["help", "plugin", "check"]).contains("Usage: kitovufs plugin check"));
        assert!(usage(&["help", "ftech"]).contains("there is no command `ftech`"));
    }

    #[test]
    fn the_minimal_configuration_of_the_help_is_right() {
        let help = LowArgs::command().render_long_help().to_string();
        let (_, rest) = help.split_once("A minimal one:").expect("the help shows one");
        let text = rest.split("Types of sources").next().expect("split gives a part");
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).expect("written");
        Config::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
    }

    #[test]
    fn two_places_are_source_and_mountpoint() {
        let mount = mounted(&["mount", "-f", "/", "/mnt/x"]).expect("both are there");
        assert_eq!(mount.mountpoint, Path::new("/mnt/x"));
        assert!(mount.config.at_root && mount.foreground && !mount.daemon);
        assert_eq!(mounted(&["mount", "webdav://h/p", "/m"]).expect("right").config.sources[0].type_name, "webdav");
        assert!(mounted(&["mount", "--daemon", "/", "/mnt/x"]).expect("right").daemon);
    }

    #[test]
    fn one_place_overrides_the_configured_mountpoint() {
        let (_dir, file) = file("mountpoint = '/mnt/configured'");
        let mount = mounted(&["mount", "-c", &file, "/mnt/typed"]).expect("right");
        assert_eq!(mount.mountpoint, Path::new("/mnt/typed"));
        assert!(!mount.config.at_root);
        let relative = mounted(&["mount", "-c", &file, "typed"]).expect("right");
        assert_eq!(relative.mountpoint, std::env::current_dir().expect("a directory").join("typed"));
    }

    #[test]
    fn without_places_all_comes_from_the_configuration() {
        let (_dir, file) = file("mountpoint = '/mnt/configured'");
        assert_eq!(mounted(&["mount", "-c", &file]).expect("right").mountpoint, Path::new("/mnt/configured"));
    }

    #[test]
    fn no_mountpoint_anywhere_is_an_error_that_names_the_file() {
        let (_dir, file) = file("");
        let failure = mounted(&["mount", "-c", &file]).expect_err("there is no mountpoint");
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.to_string().starts_with(&format!("{file}: there is no mountpoint")), "{failure}");
    }

    #[test]
    fn a_url_alone_asks_for_the_mountpoint() {
        assert!(usage(&["mount", "webdav://h/p"]).contains("kitovufs mount webdav://h/p MOUNTPOINT"));
        assert!(!usage(&["mount", "webdav://anna:hunter2@h/p"]).contains("hunter2"));
    }

    #[test]
    fn places_that_contradict_are_refused() {
        assert!(usage(&["mount", "/mnt", "webdav://h"]).contains("mount SOURCE_URL MOUNTPOINT"));
        assert!(usage(&["mount", "-c", "x.toml", "webdav://h", "/mnt"]).contains("either"));
        assert!(LowArgs::try_parse_from(["kitovufs", "mount", "-f", "--daemon"]).is_err());
    }

    #[test]
    fn a_wrong_configuration_or_url_is_a_failure_of_the_configuration() {
        let (_dir, file) = file("mountpont = '/mnt'");
        for words in [vec!["mount", "-c", &file], vec!["mount", "smb://h", "/m"], vec!["mount", "-c", "/none", "/m"]] {
            assert!(matches!(request(&words), Err(Failure::Config(_))), "{words:?}");
        }
        // The sources may have more to say, so this one is only noted.
        assert_eq!(mounted(&["mount", "-c", &file, "/m"]).expect("noted").problems.0.len(), 1);
    }

    #[test]
    fn the_other_commands_mean_what_they_say() {
        assert!(
            matches!(request(&["unmount", "/m"]), Ok(Request::Unmount { mountpoint }) if mountpoint.as_deref() == Some(Path::new("/m")))
        );
        assert!(
            matches!(request(&["check", "-c", "a"]), Ok(Request::Check { file, json: false }) if file == Path::new("a"))
        );
        assert!(matches!(request(&["check"]), Ok(Request::Check { file, .. }) if file == Config::default_path()));
        assert!(matches!(request(&["status", "--json", "-f"]), Ok(Request::Follow { mountpoint: None })));
        assert!(LowArgs::try_parse_from(["kitovufs", "status", "-f"]).is_err(), "--follow is for scripts");
        assert!(matches!(request(&["status"]), Ok(Request::Status { mountpoint: None, form: Form::Short })));
        assert!(matches!(
            request(&["status", "--json", "/m"]),
            Ok(Request::Status { mountpoint: Some(_), form: Form::Json })
        ));
    }

    #[test]
    fn exit_codes_tell_wrong_usage_from_failure() {
        assert_eq!(Failure::Usage(String::new()).exit_code(), 2);
        assert_eq!(Failure::Config(Diagnostics::default()).exit_code(), 2);
        assert_eq!(Failure::Failed(Error::new("mount", ErrorKind::Other)).exit_code(), 1);
    }
}

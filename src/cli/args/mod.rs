//! The command line as clap sees it. `cli` tells what arguments mean.

mod help;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::ArgValueCandidates;

use super::autostart::Switch;
use super::candidates;
use super::language::Language;

/// Shows remote sources as ordinary folders, read-only.
///
/// Every source of the configuration becomes a folder. Files are retrieved when they are opened, kept in a cache, and checked
/// for being current and undamaged before they are served from there.
#[derive(Debug, Parser)]
#[command(name = "kitovufs", version, after_help = help::OVERVIEW, disable_help_subcommand = true)]
pub struct LowArgs {
    /// What to do; without it, where one is and what comes next.
    #[command(subcommand)]
    pub command: Option<LowCommand>,
}

impl LowArgs {
    /// Whether this process is to serve a mount, rather than one that it starts.
    pub fn serves(&self) -> bool {
        matches!(&self.command, Some(LowCommand::Mount(mount)) if mount.foreground || mount.daemon)
    }
}

/// The commands as typed.
#[derive(Debug, Subcommand)]
pub enum LowCommand {
    /// Mount the configured sources, or the one at SOURCE_URL
    ///
    /// Returns when the folder answers and the sources have been asked, at most
    /// two seconds later; says which do not work.
    #[command(after_help = help::MOUNT)]
    Mount(MountArgs),
    /// Unmount a folder (`fusermount3 -u MOUNTPOINT` does the same)
    #[command(after_help = "Examples:\n  kitovufs unmount\n  kitovufs unmount ~/x")]
    Unmount {
        /// The folder that was mounted [default: the configured one, or the only one]
        #[arg(add = ArgValueCandidates::new(candidates::mounts))]
        mountpoint: Option<PathBuf>,
    },
    /// Check the configuration: connect to every source, list it, retrieve and verify one file
    #[command(after_help = help::CHECK)]
    Check {
        /// The configuration file
        #[arg(short, long = "config", value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON, for scripts: a line for each thing that was checked
        #[arg(long)]
        json: bool,
    },
    /// Add a source to the configuration, once it has worked
    ///
    /// Asks for what the URL does not tell. A secret goes into the desktop's
    /// keyring, or where there is none into a file that only you can read.
    #[command(after_help = help::ADD)]
    Add(AddArgs),
    /// Remove a source from the configuration; its secret and its copies stay
    #[command(after_help = "Example:\n  kitovufs remove lab")]
    Remove {
        /// The configuration file
        #[arg(short, long = "config", value_name = "FILE")]
        config: Option<PathBuf>,
        /// The source, as the configuration names it
        #[arg(add = ArgValueCandidates::new(candidates::sources))]
        name: String,
    },
    /// List the configured sources
    #[command(after_help = "Example:\n  kitovufs sources --json | jq -r '.[].name'")]
    Sources {
        /// The configuration file
        #[arg(short, long = "config", value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Show where the configuration is, or an example of it
    #[command(after_help = "Examples:\n  kitovufs config path\n  kitovufs config example sftp")]
    Config {
        /// What to show.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Mount the configured sources at login, or not
    #[command(after_help = "Example:\n  kitovufs autostart on")]
    Autostart {
        /// What to do
        #[arg(value_enum)]
        switch: Switch,
    },
    /// Ask for a source's secret, try it, and store it once it has worked
    ///
    /// It goes where the configuration says: { keyring = true } or { file = "…" }.
    #[command(after_help = help::LOGIN)]
    Login {
        /// The configuration file
        #[arg(short, long = "config", value_name = "FILE")]
        config: Option<PathBuf>,
        /// Moodle: ask for this user's password, and store the token that the site gives for it
        #[arg(short, long, value_name = "NAME")]
        username: Option<String>,
        /// The source, as the configuration names it
        #[arg(add = ArgValueCandidates::new(candidates::sources))]
        source: String,
    },
    /// Turn a configuration of kitovu into one of kitovufs
    ///
    /// What cannot be carried is told on standard error.
    #[command(after_help = help::IMPORT)]
    Import {
        /// Where to write the result, which must not be there yet [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// The configuration of kitovu
        #[arg(value_name = "KITOVU_YAML")]
        file: PathBuf,
    },
    /// Show sources, freshness, cache and counters of a mounted folder
    #[command(after_help = help::STATUS)]
    Status {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
        /// Print counters too
        #[arg(short, long, conflicts_with = "json")]
        verbose: bool,
        /// Go on, with a line of JSON every second or when a source's state changes; Ctrl-C ends that
        #[arg(short, long, requires = "json")]
        follow: bool,
        /// The mounted folder [default: all of yours]
        #[arg(add = ArgValueCandidates::new(candidates::mounts))]
        mountpoint: Option<PathBuf>,
    },
    /// Watch sources, transfers, waits and the cache of a mounted folder live, on a terminal
    #[command(after_help = help::TOP)]
    Top {
        /// The mounted folder [default: the only one]
        #[arg(add = ArgValueCandidates::new(candidates::mounts))]
        mountpoint: Option<PathBuf>,
    },
    /// Tell why a file is as it is: which version, who was asked and when, what an open would cost
    #[command(after_help = help::WHY)]
    Why {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
        /// A file or a folder in a mounted folder
        path: PathBuf,
    },
    /// Retrieve files into the cache, so that they are there without the network
    ///
    /// What is there is not retrieved again: interrupted and begun anew, it
    /// goes on where it was.
    #[command(after_help = help::FETCH)]
    Fetch {
        /// Print JSON, for scripts: a line for each PATH
        #[arg(long)]
        json: bool,
        /// Files, and folders with everything in them, in a mounted folder
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Have files without the network: retrieve, pin and prove them, or say what is missing
    #[command(after_help = help::OFFLINE)]
    Offline {
        /// Only say whether they work, and what is missing
        #[arg(long)]
        check: bool,
        /// Print JSON, for scripts: a line for each PATH
        #[arg(long)]
        json: bool,
        /// Files, and folders with everything in them, in a mounted folder
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Keep files in the cache: retrieved, again when they change, and never evicted
    #[command(after_help = help::PIN)]
    Pin {
        /// Print JSON, for scripts: a line for each PATH
        #[arg(long)]
        json: bool,
        /// Files, and folders with everything in them [default: show what is pinned]
        #[arg(value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Keep files no longer; what the cache has of them may be evicted from now on
    #[command(after_help = "Example:\n  kitovufs unpin ~/kitovu/cloud/talks")]
    Unpin {
        /// Print JSON, for scripts: a line for each PATH
        #[arg(long)]
        json: bool,
        /// Files and folders, with what is pinned in them
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Drop what the cache has of files, but for what is pinned or open
    #[command(after_help = help::EVICT)]
    Evict {
        /// Unpin them first
        #[arg(long)]
        pinned: bool,
        /// Print JSON, for scripts: a line for each PATH
        #[arg(long)]
        json: bool,
        /// Files, and folders with everything in them, in a mounted folder
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Ask the source now about a folder's names or a file's version
    #[command(
        after_help = "Examples:\n  kitovufs refresh ~/kitovu/cloud/talks\n  kitovufs refresh --json ~/kitovu/cloud/a.pdf | jq .changed"
    )]
    Refresh {
        /// Print JSON, for scripts: a line for each PATH
        #[arg(long)]
        json: bool,
        /// Files, and folders without those in them, in a mounted folder
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Prove what is in the cache by its hashes; drop what is damaged, and retrieve it again
    #[command(after_help = help::VERIFY)]
    Verify {
        /// Print JSON, for scripts: a line for each PATH
        #[arg(long)]
        json: bool,
        /// Files and folders [default: everything in the cache, of which damage is dropped only]
        #[arg(value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Make the key of machines that share, or look after the store that they have in common
    #[cfg(feature = "shared")]
    #[command(after_help = help::SHARED)]
    Shared {
        /// What to do.
        #[command(subcommand)]
        command: SharedCommand,
    },
    /// Show the log of the mounts in the background
    #[command(after_help = help::LOG)]
    Log {
        /// Go on as it grows; Ctrl-C ends that
        #[arg(short, long)]
        follow: bool,
        /// Show only so many of the last lines
        #[arg(short = 'n', long, value_name = "LINES")]
        lines: Option<usize>,
        /// Show only the lines of this source, as the configuration names it
        #[arg(add = ArgValueCandidates::new(candidates::sources))]
        source: Option<String>,
    },
    /// Check everything that a mount needs: this machine, the configuration, every source
    #[command(after_help = help::DOCTOR)]
    Doctor {
        /// The configuration file
        #[arg(short, long = "config", value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON, for scripts: a line for each thing that was checked
        #[arg(long, conflicts_with = "bundle")]
        json: bool,
        /// Write what a report of a bug needs, without secrets, into a new file
        #[arg(long, value_name = "FILE")]
        bundle: Option<PathBuf>,
    },
    /// Asks a mount, for the process that started this one; for nobody else.
    #[command(hide = true)]
    Ask {
        /// The mounted folder.
        mountpoint: PathBuf,
    },
    /// Writes the manual pages and the completions of shells into a directory, for packages; for nobody else.
    #[command(hide = true)]
    Generate {
        /// The directory.
        dir: PathBuf,
    },
    /// Show the help of a command
    #[command(after_help = "Examples:\n  kitovufs help\n  kitovufs help fetch\n  kitovufs help plugin check")]
    Help {
        /// The command
        #[arg(value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Help for authors of plugins
    #[command(after_help = "Examples:\n  kitovufs plugin new --lang python\n  kitovufs plugin check ./my-plugin")]
    Plugin {
        /// What to do.
        #[command(subcommand)]
        command: PluginCommand,
    },
}

/// `config` as typed.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print where the configuration is
    #[command(after_help = "Example:\n  $EDITOR \"$(kitovufs config path)\"")]
    Path,
    /// Print an example of a type of source, or of a whole file
    #[command(after_help = "Example:\n  kitovufs config example sftp")]
    Example {
        /// The type of source [default: all of them]
        #[arg(value_name = "TYPE", add = ArgValueCandidates::new(candidates::types))]
        type_name: Option<String>,
    },
}

/// `shared` as typed.
#[cfg(feature = "shared")]
#[derive(Debug, Subcommand)]
pub enum SharedCommand {
    /// Keys of machines that share
    #[command(after_help = "Example:\n  kitovufs shared key new /etc/kitovufs/circle.key")]
    Key {
        /// What to do.
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Count what is in the store, and say when it was last used
    #[command(after_help = "Example:\n  kitovufs shared status --json | jq .bytes")]
    Status {
        /// The configuration file
        #[arg(short, long = "config", value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Remove what has not been used for longest, until the rest is small enough
    #[command(after_help = "Example:\n  kitovufs shared gc --max-size 500GiB")]
    Gc {
        /// The configuration file
        #[arg(short, long = "config", value_name = "FILE")]
        config: Option<PathBuf>,
        /// How much may stay
        #[arg(long, value_name = "SIZE")]
        max_size: bytesize::ByteSize,
    },
    /// Remove everything from the store: machines retrieve it from the sources again
    #[command(after_help = "Example:\n  kitovufs shared forget")]
    Forget {
        /// The configuration file
        #[arg(short, long = "config", value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// `shared key` as typed.
#[cfg(feature = "shared")]
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Write a new key into a new file that only you can read
    #[command(after_help = "Example:\n  kitovufs shared key new /etc/kitovufs/circle.key")]
    New {
        /// A key by which this machine signs what it gives: prints what belongs into `trusted` of the others
        #[arg(long)]
        signing: bool,
        /// The file, which must not be there yet
        file: PathBuf,
    },
}

/// `add` as typed.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The configuration file
    #[arg(short, long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Ask for a password, where there are other ways to log in (sftp)
    #[arg(short, long)]
    pub password: bool,
    /// Write it without trying it
    #[arg(long)]
    pub untried: bool,
    /// Where the source is: a URL as `mount` takes it, or a directory
    pub url: String,
    /// The name of its folder [default: what the URL tells]
    pub name: Option<String>,
}

/// `plugin` as typed.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Check whether a plugin keeps the protocol: what was sent, what came, what is wanted
    #[command(after_help = help::PLUGIN_CHECK)]
    Check(PluginCheckArgs),
    /// Write a small plugin that works, to begin with
    #[command(after_help = "Example:\n  kitovufs plugin new --lang python my-plugin")]
    New {
        /// In which language
        #[arg(long, value_enum)]
        lang: Language,
        /// Where to write it
        #[arg(default_value = "my-plugin")]
        dir: PathBuf,
    },
}

/// `plugin check` as typed. Which plugin is meant is decided in `cli::plugin`.
#[derive(Debug, Args)]
pub struct PluginCheckArgs {
    /// The configuration file
    #[arg(short, long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the plugin of this source of the configuration
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(candidates::sources))]
    pub source: Option<String>,
    /// Check a Python class written for kitovu: module:Class, or an entry point
    #[arg(long, value_name = "PLUGIN")]
    pub python: Option<String>,
    /// A setting for the plugin, as in a configuration file; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The program and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub command: Vec<String>,
}

/// `mount` as typed. Which of the two places is meant when there is only one is decided in `cli`.
#[derive(Debug, Args)]
pub struct MountArgs {
    /// The configuration file
    #[arg(short, long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Stay in the foreground and log to standard error
    #[arg(short, long)]
    pub foreground: bool,
    /// Do not ask the sources, and say nothing of those that do not work
    #[arg(short, long)]
    pub quiet: bool,
    /// Options as in /etc/fstab: allow_other, allow_root; others that mount(8) knows are ignored
    #[arg(short, value_name = "OPTIONS", value_delimiter = ',')]
    pub options: Vec<String>,
    /// Mount only if every source works; waits for their answers for up to 30 seconds
    #[arg(long)]
    pub strict: bool,
    /// Set for the process that `mount` leaves behind; for nobody else.
    #[arg(long, hide = true, conflicts_with = "foreground")]
    pub daemon: bool,
    /// One source to mount instead of the configured ones; see the examples
    #[arg(value_name = "SOURCE_URL")]
    pub first: Option<OsString>,
    /// Where to mount [default: `mountpoint` in the configuration]
    #[arg(value_name = "MOUNTPOINT")]
    pub second: Option<OsString>,
}

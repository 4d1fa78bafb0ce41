//! Carries out a request. It decides nothing.

use std::process::ExitCode;

use clap::Parser as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::args::LowArgs;
use super::output::{errln, out, outln, say};
use super::{
    Failure, Request, add, autostart, bundle, check, doctor, example, fetch, follow, generate, helper, import, log,
    login, overview, pin, plugin, remove, show_log, sources, status, top, unmount, verify, why,
};
use crate::allocator::{keep_freed_buffers, share_one_arena};
use crate::children;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::mount::{self, ask::ask_here};
use crate::path::PrintableLines;

/// The environment variable that leaves core dumps as they are.
const CORE: &str = "KITOVUFS_CORE";

/// Runs the program `kitovufs`: carries out the command line of this process, and prints the error if that fails.
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     kitovufs::cli::run()
/// }
/// ```
pub fn run() -> ExitCode {
    keep_freed_buffers();
    match run_command_line() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            errln!("kitovufs: {}", PrintableLines(&failure.to_string()));
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Carries out the command line. Returns the exit code.
///
/// # Errors
/// If the command line is wrong, or the request fails.
fn run_command_line() -> Result<u8, Failure> {
    generate::answer_shell();
    leave_no_core();
    helper::become_mount()?;
    let typed = LowArgs::parse();
    if typed.serves() {
        share_one_arena();
    }
    let request = super::resolve(typed)?;
    match &request {
        // The file only takes over when the process serves in the background; the process that started it prints failures itself.
        Request::Mount(mount) if mount.daemon => {
            log::to_file().map_err(|e| Error::new("open log", ErrorKind::Other).caused_by(e))?;
        }
        Request::Mount(_) => log::to_stderr("warn"),
        // The other commands print their failures themselves.
        _ => log::to_stderr("error"),
    }
    let done = carry_out(request);
    children::end_all();
    log::finish();
    done
}

fn carry_out(request: Request) -> Result<u8, Failure> {
    match request {
        Request::Mount(request) => mount::mount(&request),
        Request::Unmount { mountpoint } => {
            unmount::unmount(mountpoint.as_deref())?;
            Ok(0)
        }
        Request::Check { file, json } => check::check(&file, json),
        Request::Doctor { file, bundle: None, json } => doctor::doctor(&file, json),
        Request::Doctor { file, bundle: Some(to), .. } => bundle::write(&file, &to),
        Request::Overview => {
            overview::show();
            Ok(0)
        }
        Request::Help(text) => {
            out!("{text}");
            Ok(0)
        }
        Request::Add(request) => add::add(&request),
        Request::Remove { file, name } => remove::remove(&file, &name),
        Request::Sources { file, json } => sources::list(&file, json),
        Request::Path => {
            outln!("{}", Config::default_path().display());
            Ok(0)
        }
        Request::Example { type_name } => example::show(type_name.as_deref()),
        Request::Autostart(switch) => autostart::autostart(switch),
        Request::Login(request) => login::login(&request),
        Request::Import { file, output } => import::import(&file, output.as_deref()),
        Request::Plugin(request) => plugin::run(request),
        #[cfg(feature = "shared")]
        Request::Shared(request) => super::shared::run(request),
        Request::Status { mountpoint, form } => {
            let (shown, failures) = status::show(mountpoint.as_deref(), form)?;
            say(&shown);
            Ok(tell_failures(&failures))
        }
        Request::Follow { mountpoint } => Ok(tell_failures(&follow::follow(mountpoint.as_deref())?)),
        Request::Top { mountpoint } => {
            top::top(mountpoint.as_deref())?;
            Ok(0)
        }
        Request::Log(request) => {
            show_log::show(&request)?;
            Ok(0)
        }
        Request::Why { path, json } => {
            say(&why::why(&path, json)?);
            Ok(0)
        }
        Request::Fetch { paths, json } => Ok(fetch::fetch(&paths, json)),
        Request::Generate { dir } => Ok(generate::generate(&dir)?),
        Request::Pin { paths, json } => Ok(pin::pin(&paths, json)?),
        Request::Unpin { paths, json } => Ok(pin::unpin(&paths, json)),
        Request::Evict { paths, pinned, json } => Ok(pin::evict(&paths, pinned, json)),
        Request::Refresh { paths, json } => Ok(pin::refresh(&paths, json)),
        Request::Verify { paths, json } => Ok(verify::verify(&paths, json)?),
        Request::Offline { paths, check, json } => Ok(verify::offline(&paths, check, json)),
        Request::Ask { mountpoint } => {
            ask_here(&mountpoint).map_err(|e| Error::new("ask", ErrorKind::Other).caused_by(e))?;
            Ok(0)
        }
    }
}

/// Prints what failed while something else worked. Returns the exit code.
fn tell_failures(failures: &[Error]) -> u8 {
    for failure in failures {
        errln!("kitovufs: {}", PrintableLines(&failure.to_string()));
    }
    u8::from(!failures.is_empty())
}

/// The memory of this process, and of those it starts, holds secrets: when one of them crashes, nothing of it is written to a disk.
///
/// The limit is 1 byte and not 0, for a program that collects dumps is given them beyond 0 (core(5), `fs/coredump.c`: "RLIMIT_CORE is set
/// to 1"). The process stays open to its own user's debuggers.
fn leave_no_core() {
    if std::env::var_os(CORE).is_some_and(|value| !value.is_empty()) {
        return;
    }
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    let most = maximum.map_or(1, |maximum| maximum.min(1));
    if let Err(e) = setrlimit(Resource::Core, Rlimit { current: Some(most), maximum }) {
        tracing::warn!("a crash may leave secrets in a core dump: {e}");
    }
}

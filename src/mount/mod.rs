//! Mounting: assembles every layer, serves until the folder is unmounted. It alone knows them all.

pub mod ask;
mod changes;
mod daemon;
pub mod disk;
pub mod point;
pub mod request;
#[cfg_attr(not(feature = "shared"), path = "unshared.rs")]
pub mod share;
pub mod sources;
pub mod stop;
mod supervisor;
mod survey;

use std::fmt;
use std::io::{self, Write as _};
use std::ops::RangeInclusive;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fuser::{MountOption, Session, SessionACL};
use futures::FutureExt as _;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tracing::{error, info, warn};

use crate::cache::{Cache, Limits};
use crate::catalog::{Catalog, Policy, Room};
use crate::children;
use crate::config::{Access, Config, Diagnostic, Diagnostics, PartConfig, identities};
use crate::control;
use crate::control::service::MountService;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Ahead, FileSystem, Layout, MountedSource, Part, SourceIndex, Union, keep_pins};
use crate::fuse::Driver;
use crate::path::PrintableLines;
use crate::source::retry::short_break;
use crate::source::{Changes, Source};
use crate::status::Report;
use crate::version::{Memory, Transfer};
use crate::web;
use changes::Kernel;
use request::{Failure, MountRequest};
use share::Shares;
use sources::Configured;
use stop::Stop;

/// The threads that read requests from the kernel: one for each core, within these. They never wait for a source, and more of them wake each
/// other for nothing: on two cores, with two instead of four, a copy of 10,000 small files over SFTP takes 3.0 s instead of 3.6.
const KERNEL_THREADS: RangeInclusive<usize> = 2..=4;

/// Connections that are opened to a source before somebody needs it: one for a file's beginning, and one for its end, which comes beside it.
const PRECONNECTED: usize = 2;

/// How long programs that have something open may keep a mount that was asked to end. This and the next two make less than 2 s.
const OPEN_FILES_WAIT: Duration = Duration::from_millis(300);

/// How long disconnecting from the sources may take at the end.
const DISCONNECT_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long work that cannot be cancelled may keep the process at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(300);

/// Mounts, and returns when the folder answers, or with `foreground` when it was unmounted. The result is the exit code.
///
/// # Errors
/// `Config` with everything that is wrong; `Failed` if something is in the way.
pub fn mount(request: &MountRequest) -> Result<u8, Failure> {
    if !request.foreground && !request.daemon {
        return Ok(daemon::spawn()?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new("start", ErrorKind::Other).caused_by(e))?;
    let stop = Stop::listen(&runtime);
    if request.daemon {
        daemon::follow_parent()?;
    }
    let served = serve(&runtime, request, stop);
    children::end_all();
    // A source that hangs must not keep the process.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    served.map(|()| 0)
}

fn serve(runtime: &Runtime, request: &MountRequest, mut stop: Stop) -> Result<(), Failure> {
    let MountRequest { config, mountpoint, problems, .. } = request;
    let configured = runtime.block_on(sources::configure(config, problems.clone(), Some(mountpoint)))?;
    tell_notes(config, &configured, request.daemon);
    point::check_prerequisites()?;
    point::check_access(config.access)?;
    point::prepare(mountpoint)?;
    raise_file_limit();

    let connections: Vec<_> = configured.iter().map(|source| source.connection.clone()).collect();
    let early = configured.iter().filter(|source| source.connects_early);
    let early: Vec<_> = early.map(|source| source.connection.clone().connect_early()).collect();
    let shares = Shares::of(config);
    // Within the runtime: the key of a circle may be got in the background.
    let (fs, changes) = runtime.block_on(async { assemble(config, configured, &shares) })?;
    tell(shares.notes(), request.daemon);
    let failed = |e| Error::new("mount", ErrorKind::Other).on(mountpoint.display()).caused_by(e);
    let driver = Driver::new(fs.clone(), runtime.handle().clone()).map_err(failed)?;
    let directories = driver.directories();
    let report = Arc::new(Report::new(fs.clone(), mountpoint.clone(), driver.describe_passthrough(), shares.status()));
    let mut options = fuser::Config::default();
    options.mount_options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::DefaultPermissions,
        MountOption::FSName(point::FS_NAME.into()),
        MountOption::Subtype(point::FS_NAME.into()),
    ];
    options.acl = match config.access {
        Access::Owner => SessionACL::Owner,
        Access::Root => SessionACL::RootAndOwner,
        Access::Everyone => SessionACL::All,
    };
    options.n_threads = Some(kernel_threads());
    options.clone_fd = true;
    stop.hold();
    let session = Session::new(driver, mountpoint, &options).map_err(|e| {
        // Ctrl-C also ends fusermount3, perhaps when it has mounted and not yet told so.
        point::clear(mountpoint);
        point::refused(mountpoint, rustix::process::geteuid().is_root(), e)
    })?;
    early.into_iter().for_each(|connecting| _ = runtime.spawn(connecting));
    runtime.spawn(directories.keep_current(session.notifier()));
    let kernel = Kernel { notifier: session.notifier(), directories };
    changes::follow(runtime, &fs, &kernel, changes);
    // Before the folder answers, so that whoever sees it do so can ask.
    let forget = Box::new(move |names| kernel.clone().forget(names).boxed());
    let page = serve_page(runtime, request, &report);
    let control = listen(runtime, mountpoint, MountService::new(fs.clone(), report, forget));
    runtime.spawn(keep_pins(Arc::downgrade(&fs)));

    let (ended, mut end) = tokio::sync::oneshot::channel();
    let serving = std::thread::Builder::new().name("session".into()).spawn(move || {
        let result = session.run();
        // The receiver is gone only if the process ends anyway.
        let _ = ended.send(result);
    });
    serving.map_err(failed)?;
    info!("{}: mounted", mountpoint.display());
    // An error here means that the parent process is gone, so that no user knows of this mount.
    let works = tell_findings(runtime, &fs, request, &mut stop);
    // After the findings, for which sources were asked that have a connection now.
    for connection in connections {
        runtime.spawn(async move { connection.preconnect(PRECONNECTED).await });
    }
    if request.foreground && works && !stop.is_asked() {
        supervisor::ready(runtime, &format!("{} is mounted", mountpoint.display()));
    }
    let ready = if request.daemon && !stop.is_asked() && works { daemon::ready() } else { Ok(()) };
    let result = runtime.block_on(async {
        let stopped = async {
            match &ready {
                Ok(()) if works => stop.asked().await,
                Ok(()) => {}
                Err(e) => error!("{e}"),
            }
        };
        tokio::select! {
            result = &mut end => result,
            () = stopped => {
                info!("{}: unmounting, as it was asked to end", mountpoint.display());
                let place = mountpoint.clone();
                let unmounted = tokio::task::spawn_blocking(move || point::take_away(&place, false).or_else(|_| point::take_away(&place, true)));
                if let Ok(Err(e)) = unmounted.await {
                    error!("{e}");
                }
                tokio::time::timeout(OPEN_FILES_WAIT, &mut end).await.unwrap_or(Ok(Ok(())))
            }
        }
    });
    if request.foreground {
        supervisor::stopping();
    }
    drop((control, page));
    runtime.block_on(async {
        let mut goodbyes = pin!(fs.disconnect());
        if tokio::time::timeout(DISCONNECT_TIMEOUT, &mut goodbyes).await.is_err() {
            warn!("a source did not let go in time");
        }
        // Before the goodbyes are dropped: they know of processes whose end is to be waited for.
        children::end_all();
    });
    fs.finish();
    info!("{}: unmounted", mountpoint.display());
    ready?;
    if !works {
        let why = "not every source works, which --strict wants";
        return Err(Error::new("mount", ErrorKind::Unreachable).because(why).into());
    }
    match result {
        Ok(Err(e)) => Err(failed(e).into()),
        _ => Ok(()),
    }
}

/// Makes the socket on which commands ask this mount. Without one, the folder works all the same.
fn listen(runtime: &Runtime, mountpoint: &Path, service: MountService) -> Option<control::Server> {
    let number = point::mounted_at(mountpoint).and_then(|mounted| mounted.connection);
    let none = || std::io::Error::other("/proc/self/mountinfo does not show the mount");
    let started =
        number.ok_or_else(none).and_then(|number| control::Server::start(runtime.handle(), number, Arc::new(service)));
    started.inspect_err(|e| warn!("`kitovufs status` cannot ask this mount, for there is no socket: {e}")).ok()
}

/// Serves the page, where one is configured. Without it, the folder works all the same.
fn serve_page(runtime: &Runtime, request: &MountRequest, report: &Arc<Report>) -> Option<web::Server> {
    let config = request.config.web.as_ref()?;
    let started = web::Server::start(runtime.handle(), config, report.clone());
    if let Err(e) = &started {
        let why = format!("{}: {e}", config.listen);
        warn!("there is no page on {why}");
        if request.daemon {
            tell_user(format_args!("there is no page on {}", PrintableLines(&why)));
        }
        report.note_web(format!("off: {why}"));
    }
    started.inspect(|page| report.note_web(page.url())).ok()
}

/// Prints the notes on the settings for the user, who does not read the log of a daemon.
fn tell_notes(config: &Config, configured: &[Configured], is_daemon: bool) {
    let of_sources = configured.iter().flat_map(|Configured { config, notes, .. }| {
        notes.iter().map(|note| format!("source {}: {note}", config.name.escape_debug()))
    });
    tell(disk::shortage(&config.cache).into_iter().chain(of_sources), is_daemon);
}

fn tell(notes: impl IntoIterator<Item = String>, is_daemon: bool) {
    for note in notes {
        warn!("{note}");
        if is_daemon {
            tell_user(format_args!("{}", PrintableLines(&note)));
        }
    }
}

/// Tells the user something on standard error. Where nobody takes it, the mount goes on without.
fn tell_user(what: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "kitovufs: {what}");
}

/// Prints a line for each source that does not work. Whether the mount may go on.
fn tell_findings(runtime: &Runtime, fs: &Arc<FileSystem>, request: &MountRequest, stop: &mut Stop) -> bool {
    let wait = match request {
        MountRequest { strict: true, .. } => survey::STRICT_WAIT,
        MountRequest { daemon: true, quiet: false, .. } => survey::WAIT,
        // The log of one in the foreground tells, and is read.
        _ => return true,
    };
    let findings = runtime.block_on(async {
        tokio::select! {
            findings = survey::survey(fs, wait) => findings,
            () = stop.asked() => Vec::new(),
        }
    });
    if !request.quiet {
        for finding in &findings {
            tell_user(format_args!("{finding}"));
        }
        if !findings.is_empty() && !request.strict {
            tell_user(format_args!("the folder is mounted; {}", next_steps(request)));
        }
    }
    findings.is_empty() || !request.strict
}

/// The commands that tell more of sources that do not work.
fn next_steps(MountRequest { config, mountpoint, .. }: &MountRequest) -> String {
    const STATUS: &str = "`kitovufs status` whether a source works by now";
    match &config.file {
        Some(file) if *file == Config::default_path() => format!("`kitovufs check` tells more, {STATUS}"),
        Some(file) => format!("`kitovufs check -c {}` tells more, {STATUS}", file.display()),
        // There is nothing to check.
        None => format!("`kitovufs unmount {}` takes it away, {STATUS}", mountpoint.display()),
    }
}

type Assembled = (Arc<FileSystem>, Vec<(SourceIndex, Changes)>);

fn assemble(config: &Config, configured: Vec<Configured>, shares: &Shares) -> Result<Assembled> {
    let limits = Limits { max_size: config.cache.max_size, min_free: config.cache.min_free };
    let (cache, db) = Cache::open(&config.cache.dir, limits)?;
    let memory = Arc::new(Memory::default());
    let room = Arc::new(Room::default());
    let mut reported = Vec::new();
    let identities = identities(configured.iter().map(|configured| &configured.config));
    let sources = configured.into_iter().zip(identities).enumerate().map(|(index, (configured, identity))| {
        let Configured { config, connection, counters, changes, names_account, .. } = configured;
        config.settings.rooms.give(cache.clone());
        let source_id: Arc<str> = identity.into();
        let (fresh_for, patience, offline) = (config.fresh_for, config.patience, config.offline);
        let policy = Policy { fresh_for, patience, offline, names_account };
        let (db, room, span) = (db.clone(), room.clone(), connection.span());
        let (content, proven) = shares.wrap(&config, connection.clone() as Arc<dyn Source>);
        let listings = shares.wrap_listings(&config, connection.clone() as Arc<dyn Source>);
        let catalog = Catalog::new(listings, source_id.clone(), policy, db, room, span);
        let transfer = Transfer::new(
            content,
            source_id.clone(),
            counters.clone(),
            cache.clone(),
            memory.clone(),
            short_break(config.timeout),
            proven,
        );
        MountedSource {
            ahead: config.read_ahead.then(|| {
                let (name, is_metered) = (config.name.as_bytes().into(), config.max_bandwidth.is_some());
                Ahead::new(&name, catalog.clone(), transfer.clone(), is_metered)
            }),
            name: config.name.as_bytes().into(),
            source_type: config.type_name,
            catalog,
            transfer,
            source_id,
            connection,
            counters,
            timeout: config.timeout,
            unknown_size: config.unknown_size,
            live: config.live,
            modes: config.modes,
            notes: config.settings.notes.clone(),
            reports_changes: changes.map(|changes| reported.push((index, changes))).is_some(),
        }
    });
    Ok((FileSystem::new(sources.collect(), layout(config), cache), reported))
}

/// The layout of the mount: the places of the sources, which are numbered as configured, and of the folders made of them.
fn layout(config: &Config) -> Layout {
    if config.at_root {
        return Layout::one_source();
    }
    let shown = (0..config.sources.len()).filter(|&index| !config.sources[index].hidden);
    let names = |path: &[String]| path.iter().map(|name| name.as_bytes().into()).collect();
    let number = |name: &str| config.sources.iter().position(|source| source.name == name);
    let unions = config.folders.iter().map(|folder| {
        let part = |part: &PartConfig| Some(Part::new(number(&part.source)?, names(&part.path), part.ignore.clone()));
        Union { path: names(&folder.path), parts: folder.parts.iter().filter_map(part).collect() }
    });
    Layout::of(shown.collect(), unions.collect(), config.modes)
}

fn kernel_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.clamp(*KERNEL_THREADS.start(), *KERNEL_THREADS.end())
}

/// Every open file that the kernel does not read itself needs a descriptor of ours.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(e) = setrlimit(Resource::Nofile, limit) {
        warn!("the limit of open files stays as it is: {e}");
    }
}

/// Whether the configuration could be used, without mounting it.
///
/// # Errors
/// Everything that is wrong.
pub fn examine(
    config: &Config,
    mut problems: Diagnostics,
) -> impl Future<Output = Result<Vec<Configured>, Diagnostics>> {
    // Programs of sources may put files there.
    if let Err(e) = disk::check(&config.cache) {
        problems.0.push(Diagnostic { file: config.file.clone(), line: None, message: e.to_string() });
    }
    sources::configure(config, problems, config.mountpoint.as_deref())
}

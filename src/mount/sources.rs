//! Configured sources: from the configuration to sources that are ready to be asked. It mounts nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "shared")]
use crate::config::SharedConfig;
use crate::config::{Config, Diagnostic, Diagnostics, SourceConfig};
use crate::room::Rooms;
use crate::secret::Secret;
use crate::source::connection::Connection;
use crate::source::count::Counters;
use crate::source::pending::Pending;
use crate::source::stack::{Bounds, stack};
use crate::source::{Changes, Problem, Source};

/// A source with its settings, wrapped in everything that the mount expects of one.
pub struct Configured {
    /// Its place in the configuration.
    pub config: SourceConfig,
    /// Connected when it must be, asked within limits and deadlines, counted.
    pub connection: Arc<Connection>,
    /// The counts of calls to it, and the calls that wait.
    pub counters: Arc<Counters>,
    /// Notes on its settings that concern the user, though they are right.
    pub notes: Vec<String>,
    /// Whether it is connected as soon as it is mounted.
    pub connects_early: bool,
    /// Whether its settings say whose login it is.
    pub names_account: bool,
    /// The changes that it reports by itself, if it does.
    pub changes: Option<Changes>,
}

/// Configures every source of `config`; `problems` are those of the file so far.
///
/// # Errors
/// Everything that is wrong with the file and with every source's settings, at once. If all that is wrong with a source is that something
/// is not there now ([`Problem::may_pass`]), it is configured later.
pub async fn configure(
    config: &Config,
    mut problems: Diagnostics,
    mountpoint: Option<&Path>,
) -> Result<Vec<Configured>, Diagnostics> {
    let mut reserved = Vec::new();
    for place in [Some(config.cache.dir.as_path()), mountpoint].into_iter().flatten() {
        reserved.push(canonical(place));
    }
    if let [cache, mountpoint] = reserved.as_slice()
        && cache.starts_with(mountpoint)
    {
        let message = format!(
            "the cache directory {} lies in the mount point {}; set cache.dir to a place outside of it",
            cache.display(),
            mountpoint.display()
        );
        problems.0.push(Diagnostic { file: config.file.clone(), line: None, message });
    }
    // All at once: one may have to wait for a program that does not answer.
    let rooms = Rooms::within(config.cache.max_size);
    let configuring = config.sources.iter().map(async |source_config| {
        let mut source_config = source_config.clone();
        source_config.settings.rooms = rooms.clone();
        // Those of others that are not in this configuration may be there already, where one source is tried alone.
        source_config.settings.withheld.extend(others_secrets(config, &source_config));
        source_config.settings.reserved.clone_from(&reserved);
        source_config.settings.fresh_for = source_config.fresh_for;
        source_config.settings.scratch.clone_from(&config.cache.dir);
        // The configuration has said so already if there is no such type.
        let kind = crate::sources::kind(&source_config.type_name)?;
        let configured = kind.configure(&source_config.settings).await;
        let ways = Ways {
            connects_early: kind.connects_early(&source_config.settings),
            names_account: kind.names_account(&source_config.settings),
        };
        Some((source_config, kind, ways, configured))
    });
    let (mut configured, mut absences) = (Vec::new(), Vec::new());
    for (source_config, kind, ways, result) in futures::future::join_all(configuring).await.into_iter().flatten() {
        match result {
            Ok(source) => configured.push(wrap(source_config, ways, source)),
            Err(wrong) if wrong.iter().all(|problem| problem.may_pass) => {
                absences.extend(wrong.iter().map(|problem| source_config.locate(problem)));
                let described = source_config.clone();
                let describe = Box::new(move |problem: &Problem| described.locate(problem).to_string());
                let pending = Pending::new(kind, source_config.settings.clone(), describe);
                configured.push(wrap(source_config, ways, Box::new(pending)));
            }
            Err(wrong) => problems.0.extend(wrong.iter().map(|problem| source_config.locate(problem))),
        }
    }
    // Of what is only not there, nothing need be mended before the others can be mounted; but whoever mends wants to hear of all.
    if !problems.0.is_empty() {
        problems.0.append(&mut absences);
    }
    problems.or(configured)
}

/// What the type says of a source with these settings.
struct Ways {
    connects_early: bool,
    names_account: bool,
}

fn wrap(config: SourceConfig, ways: Ways, source: Box<dyn Source>) -> Configured {
    let SourceConfig { timeout, max_requests, max_bandwidth, .. } = config;
    let (connection, counters) = stack(source, &config.name, Bounds { timeout, max_requests, max_bandwidth });
    let (changes, notes) = (connection.changes(), config.settings.notes.take());
    let Ways { connects_early, names_account } = ways;
    Configured { config, connection, counters, notes, connects_early, names_account, changes }
}

/// The environment variables that hold secrets of other sources than this one, of the store that machines share, or that of the page.
pub fn others_secrets(config: &Config, this: &SourceConfig) -> Vec<String> {
    let own = this.settings.variables();
    let others = config.sources.iter().filter(|other| other.name != this.name);
    let kinds = others.filter_map(|other| Some((crate::sources::kind(&other.type_name)?, &other.settings)));
    let mut names: Vec<_> = kinds.flat_map(|(kind, settings)| kind.secret_variables(settings)).collect();
    if let Some(Secret::Env(name)) = config.web.as_ref().and_then(|web| web.token.as_ref()) {
        names.push(name.clone());
    }
    #[cfg(feature = "shared")]
    names.extend(config.shared.iter().flat_map(SharedConfig::variables));
    names.retain(|name| !own.contains(name));
    names
}

/// The real place of a path of which the last components may not exist yet.
fn canonical(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => canonical(parent).join(name),
        _ => path.to_owned(),
    }
}

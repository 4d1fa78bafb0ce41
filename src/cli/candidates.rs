//! What a word of the command line may be, for shells that complete it. It asks no source and no mount.

use clap_complete::CompletionCandidate;

use crate::config::Config;
use crate::mount::point::{self, Mounted};
use crate::sources::KINDS;

/// The names of the configured sources.
pub(super) fn sources() -> Vec<CompletionCandidate> {
    let config = Config::examine(&Config::default_path());
    let sources = config.map(|(config, _)| config.sources).unwrap_or_default();
    sources
        .into_iter()
        .map(|source| CompletionCandidate::new(source.name).help(Some(source.type_name.into())))
        .collect()
}

/// The mounted folders of this user.
pub(super) fn mounts() -> Vec<CompletionCandidate> {
    point::mounted()
        .into_iter()
        .filter(Mounted::is_ours)
        .map(|mounted| CompletionCandidate::new(mounted.path))
        .collect()
}

/// The types of sources.
pub(super) fn types() -> Vec<CompletionCandidate> {
    KINDS.into_iter().map(|kind| CompletionCandidate::new(kind.type_name())).collect()
}

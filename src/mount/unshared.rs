//! `Shares` of a program without what machines have in common: there is nothing. It has the interface of `share.rs`.

use std::sync::Arc;

use crate::config::{Config, SourceConfig};
use crate::source::Source;
use crate::status::SharedStatus;
use crate::version::Proven;

/// Nothing.
pub struct Shares;

impl Shares {
    pub fn of(config: &Config) -> Self {
        match config.shared {
            None => Self,
            Some(never) => match never {},
        }
    }

    pub fn wrap(&self, config: &SourceConfig, source: Arc<dyn Source>) -> (Arc<dyn Source>, Option<Box<Proven>>) {
        match config.sharing {
            None => (source, None),
            Some(never) => match never {},
        }
    }

    pub fn wrap_listings(&self, _: &SourceConfig, connection: Arc<dyn Source>) -> Arc<dyn Source> {
        connection
    }

    pub fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    pub fn status(self) -> impl Fn() -> Option<SharedStatus> + Send + Sync + 'static {
        || None
    }
}

//! `Kind`: a type of source, which makes sources of settings. It knows no other type.

use async_trait::async_trait;

use super::url::Urls;
use super::{Problem, Settings, Source};

/// A type of source: what the word after `type =` stands for.
#[async_trait]
pub trait Kind: Send + Sync + 'static {
    /// Its name in the configuration.
    fn type_name(&self) -> &'static str;

    /// The URLs that mean a source of this type; none if none does.
    fn urls(&self) -> Option<&'static Urls> {
        None
    }

    /// Makes a source of its own table of the configuration: the first of the contract's seven methods, called once for each source and
    /// before anything else. It does no network request.
    ///
    /// # Errors
    /// All problems at once, each naming its key.
    async fn configure(&self, settings: &Settings) -> Result<Box<dyn Source>, Vec<Problem>>;
}

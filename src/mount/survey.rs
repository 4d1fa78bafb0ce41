//! The survey of the sources at the beginning: one line for each that does not work, so that the user hears of it before the first `ls`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::fs::{FileSystem, MountedSource};
use crate::path::{Printable, PrintableLines, RemotePath};
use crate::source::connection::Health;

/// For how long `mount` waits for the sources' answers.
pub const WAIT: Duration = Duration::from_secs(2);

/// For how long `mount --strict` does.
pub const STRICT_WAIT: Duration = Duration::from_secs(30);

/// A source that does not work.
pub struct Finding {
    source: Vec<u8>,
    why: Why,
}

enum Why {
    Error(Error),
    Silence(Duration),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = Printable(&self.source);
        match &self.why {
            Why::Error(error) => write!(f, "source {source} does not work: {}", PrintableLines(&error.to_string())),
            Why::Silence(wait) => write!(f, "source {source} has not answered within {} s", wait.as_secs()),
        }
    }
}

/// How often a source that has not answered yet, while something is known of it, is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Lists the root of every source, all at once. Answers count as any other, so that the first `ls` is served from them; a listing that
/// is known and fresh is not asked for. One that is only known is no answer.
pub async fn survey(fs: &Arc<FileSystem>, wait: Duration) -> Vec<Finding> {
    let asking = fs.sources().iter().map(|source| async move {
        let root = RemotePath::root();
        let answered = async {
            while source.catalog.list(&root).await.is_ok_and(|known| known.unconfirmed) && failure_of(source).is_none()
            {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let why = match tokio::time::timeout(wait, answered).await {
            Ok(()) => Why::Error(failure_of(source)?),
            Err(_) => Why::Silence(wait),
        };
        Some(Finding { source: source.name.to_vec(), why })
    });
    futures::future::join_all(asking).await.into_iter().flatten().collect()
}

/// What is wrong with a source, even if what is known of it could be shown.
fn failure_of(source: &MountedSource) -> Option<Error> {
    match source.connection.health().0 {
        Health::Down(error) | Health::Failing(error) => Some(error),
        Health::Idle | Health::Up => None,
    }
}

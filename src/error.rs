//! The one error type: which operation failed, on what, and what kind of failure it was. It knows no errno.
//!
//! ```
//! use kitovufs::error::{Error, ErrorKind};
//!
//! let error = Error::new("list_path", ErrorKind::TimedOut).on("/courses").because("the server said nothing for 30 s");
//! assert!(error.kind().is_outage());
//! assert_eq!(error.to_string(), "list_path /courses: the server said nothing for 30 s");
//! ```

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::revealed::concealed;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an error, from a closed list: code that handles an error decides by its kind, never by its text.
///
/// `fuse::errno` maps each kind to an errno; that table is the only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A positive answer that the name does not exist. Never used for an outage (docs/architecture.md, decision 5).
    NotFound,
    /// The path exists and is no directory.
    NotADirectory,
    /// The path exists and is a directory where a file was asked for.
    IsADirectory,
    /// The source knows the user and refuses the request.
    PermissionDenied,
    /// The source did not accept the credentials: retrying cannot help until they change.
    Unauthenticated,
    /// The source could not be reached: connection refused, reset, no route, name not resolved.
    Unreachable,
    /// The source did not make progress within its deadline.
    TimedOut,
    /// The source asks for fewer requests (HTTP 429 and 503, FTP 421).
    RateLimited,
    /// The remote file is no longer the version that was asked for.
    Changed,
    /// The remote changed again while it was retrieved, or its bytes never matched its digest.
    ChangedDuringRead,
    /// A setting is missing or wrong.
    InvalidConfig,
    /// The source, the kernel or this build cannot do what was asked.
    Unsupported,
    /// The file is larger than Linux can show (`off_t`).
    TooLarge,
    /// The local cache could not be read or written.
    Cache,
    /// The source answered something that its protocol does not allow.
    Protocol,
    /// Anything else; the cause tells.
    Other,
}

impl ErrorKind {
    /// All kinds, in their order.
    pub(crate) const ALL: [Self; 16] = [
        Self::NotFound,
        Self::NotADirectory,
        Self::IsADirectory,
        Self::PermissionDenied,
        Self::Unauthenticated,
        Self::Unreachable,
        Self::TimedOut,
        Self::RateLimited,
        Self::Changed,
        Self::ChangedDuringRead,
        Self::InvalidConfig,
        Self::Unsupported,
        Self::TooLarge,
        Self::Cache,
        Self::Protocol,
        Self::Other,
    ];

    /// Its name in what programs read: the status, and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NotADirectory => "not_a_directory",
            Self::IsADirectory => "is_a_directory",
            Self::PermissionDenied => "permission_denied",
            Self::Unauthenticated => "unauthenticated",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::RateLimited => "rate_limited",
            Self::Changed => "changed",
            Self::ChangedDuringRead => "changed_during_read",
            Self::InvalidConfig => "invalid_config",
            Self::Unsupported => "unsupported",
            Self::TooLarge => "too_large",
            Self::Cache => "cache",
            Self::Protocol => "protocol",
            Self::Other => "other",
        }
    }

    /// Whether the same request may succeed a moment later without a change by the user.
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Unreachable | Self::TimedOut | Self::RateLimited)
    }

    /// Whether this says that the source as a whole does not answer, rather than that one request was refused.
    pub fn is_outage(self) -> bool {
        matches!(self, Self::Unreachable | Self::TimedOut | Self::Unauthenticated)
    }

    /// A few plain words for a message.
    pub fn describe(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::NotADirectory => "not a directory",
            Self::IsADirectory => "is a directory",
            Self::PermissionDenied => "permission denied",
            Self::Unauthenticated => "credentials not accepted",
            Self::Unreachable => "source unreachable",
            Self::TimedOut => "no answer within the timeout",
            Self::RateLimited => "source asks for fewer requests",
            Self::Changed => "remote file has changed",
            Self::ChangedDuringRead => "remote file changed during read",
            Self::InvalidConfig => "invalid configuration",
            Self::Unsupported => "not supported",
            Self::TooLarge => "file too large",
            Self::Cache => "cache failure",
            Self::Protocol => "unexpected answer",
            Self::Other => "failed",
        }
    }
}

/// The longest time for which a source may ask to be left alone.
const MAX_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Operation, path, kind and cause. Cheap to clone, so that every waiter of one shared request gets it.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    op: &'static str,
    path: Option<String>,
    kind: ErrorKind,
    message: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    remembered: bool,
    retry_after: Option<Duration>,
}

impl Error {
    /// An error of `kind` in the operation `op` (a contract method or a verb: `list_path`, `open cache`).
    pub fn new(op: &'static str, kind: ErrorKind) -> Self {
        Self(Arc::new(Inner {
            op,
            path: None,
            kind,
            message: None,
            source: None,
            remembered: false,
            retry_after: None,
        }))
    }

    /// The error of an operation that has panicked.
    pub(crate) fn of_panic(op: &'static str) -> Self {
        Self::new(op, ErrorKind::Other).because("it failed by a fault of this program; please report it")
    }

    /// Names what the operation was applied to.
    #[must_use]
    pub fn on(self, path: impl fmt::Display) -> Self {
        let path = path.to_string();
        self.change(|inner| inner.path = Some(path))
    }

    /// Adds words for people: what was seen and, where it helps, what to try. Must never contain a secret.
    #[must_use]
    pub fn because(self, message: impl Into<String>) -> Self {
        let message = message.into();
        self.change(|inner| inner.message = Some(message))
    }

    /// What the error says besides its operation and its path.
    pub(crate) fn reason(&self) -> String {
        concealed(self.0.message.clone().unwrap_or_else(|| self.0.kind.describe().to_owned()))
    }

    /// Keeps the cause.
    #[must_use]
    pub fn caused_by(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.change(|inner| inner.source = Some(Arc::new(source)))
    }

    /// Marks an error that is told again without the source having been asked again.
    #[must_use]
    pub fn remembered(self) -> Self {
        self.change(|inner| inner.remembered = true)
    }

    /// Whether the error was remembered from an earlier request, so that asking again at once is useless.
    pub fn is_remembered(&self) -> bool {
        self.0.remembered
    }

    /// The place that the operation was applied to, as it is shown; `None` if it was applied to none.
    pub(crate) fn path(&self) -> Option<&str> {
        self.0.path.as_deref()
    }

    /// Keeps how long the source asks to be left alone; a year at most, so that sums with it are times.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        self.change(|inner| inner.retry_after = Some(wait.min(MAX_WAIT)))
    }

    /// The time for which the source asks to be left alone, if it told one.
    pub fn wait(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The kind, by which callers decide.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that failed.
    pub fn op(&self) -> &'static str {
        self.0.op
    }

    fn change(self, set: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::try_unwrap(self.0).unwrap_or_else(|shared| Inner {
            op: shared.op,
            path: shared.path.clone(),
            kind: shared.kind,
            message: shared.message.clone(),
            source: shared.source.clone(),
            remembered: shared.remembered,
            retry_after: shared.retry_after,
        });
        set(&mut inner);
        Self(Arc::new(inner))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.op.to_owned();
        if let Some(path) = &self.0.path {
            told += &format!(" {path}");
        }
        match &self.0.message {
            Some(message) => told += &format!(": {}", concealed(message.clone())),
            None => told += &format!(": {}", self.0.kind.describe()),
        }
        let mut cause = self.source();
        while let Some(error) = cause {
            let text = concealed(error.to_string());
            // Some errors tell their causes themselves.
            if !told.ends_with(&format!(": {text}")) {
                told += &format!(": {text}");
            }
            cause = error.source();
        }
        f.write_str(&told)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.0.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// An error that tells its cause itself, as those of some libraries do.
    #[derive(Debug)]
    struct Telling(&'static str, io::Error);

    impl fmt::Display for Telling {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}{}", self.0, self.1)
        }
    }

    impl StdError for Telling {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.1)
        }
    }

    #[test]
    fn a_cause_is_told_once() {
        let told = |before, cause| {
            let error = Error::new("ask", ErrorKind::Unreachable).on("store").because("nothing listens there");
            error.caused_by(Telling(before, cause)).to_string()
        };
        let refused = || io::Error::from_raw_os_error(111);
        let once = "ask store: nothing listens there: Connection refused (os error 111)";
        assert_eq!(told("", refused()), once);
        let once = "ask store: nothing listens there: tcp connect: Connection refused (os error 111)";
        assert_eq!(told("tcp connect: ", refused()), once);
        let other = "ask store: nothing listens there: refused: d: d is no directory: refused";
        let apart = Telling("refused: d: ", io::Error::other("d is no directory: refused"));
        let error = Error::new("ask", ErrorKind::Unreachable).on("store").because("nothing listens there");
        assert_eq!(error.caused_by(apart).to_string(), other);
    }
}

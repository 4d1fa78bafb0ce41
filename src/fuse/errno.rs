//! The one errno table: which errno an application sees for each kind of error.

use fuser::Errno;

use crate::error::{Error, ErrorKind};

/// The errno of an error.
///
/// `ENOENT` stands for a positive *not found* only (docs/architecture.md, decision 5). `ESTALE` makes the kernel repeat lookup and open once.
pub fn errno(error: &Error) -> Errno {
    Errno::from_i32(match error.kind() {
        ErrorKind::NotFound => libc::ENOENT,
        ErrorKind::NotADirectory => libc::ENOTDIR,
        ErrorKind::IsADirectory => libc::EISDIR,
        ErrorKind::PermissionDenied | ErrorKind::Unauthenticated => libc::EACCES,
        ErrorKind::Unreachable => libc::EHOSTUNREACH,
        ErrorKind::TimedOut => libc::ETIMEDOUT,
        ErrorKind::RateLimited => libc::EBUSY,
        ErrorKind::Changed => libc::ESTALE,
        ErrorKind::Unsupported => libc::EOPNOTSUPP,
        ErrorKind::TooLarge => libc::EFBIG,
        ErrorKind::ChangedDuringRead
        | ErrorKind::InvalidConfig
        | ErrorKind::Cache
        | ErrorKind::Protocol
        | ErrorKind::Other => libc::EIO,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_positive_answer_is_enoent() {
        let all = [
            ErrorKind::NotADirectory,
            ErrorKind::IsADirectory,
            ErrorKind::PermissionDenied,
            ErrorKind::Unauthenticated,
            ErrorKind::Unreachable,
            ErrorKind::TimedOut,
            ErrorKind::RateLimited,
            ErrorKind::Changed,
            ErrorKind::ChangedDuringRead,
            ErrorKind::InvalidConfig,
            ErrorKind::Unsupported,
            ErrorKind::TooLarge,
            ErrorKind::Cache,
            ErrorKind::Protocol,
            ErrorKind::Other,
        ];
        for kind in all {
            assert_ne!(errno(&Error::new("x", kind)).code(), libc::ENOENT, "{kind:?}");
        }
        assert_eq!(errno(&Error::new("x", ErrorKind::NotFound)).code(), libc::ENOENT);
    }
}

//! The errors that answers of the server and failures of the library mean.

use smb2::Error as Smb2Error;
use smb2::types::Command;
use smb2::types::status::NtStatus;

use crate::error::{Error, ErrorKind};
use crate::sources::purpose::Purpose;

/// The error of a request that the server refused.
pub(super) fn refused(purpose: Purpose<'_>, command: Command, status: NtStatus) -> Error {
    let (kind, words) = meaning(command, status);
    let error = purpose.error(kind);
    match (words, kind) {
        (Some(words), _) => error.because(words),
        (None, ErrorKind::Other) => error.because(format!("the server answers {status} to {command:?}")),
        _ => error,
    }
}

/// The error of a request at which the library failed, or could not reach the server.
pub(super) fn failed(purpose: Purpose<'_>, error: Smb2Error) -> Error {
    let kind = match &error {
        Smb2Error::Protocol { status, command } => return refused(purpose, *command, *status),
        Smb2Error::Auth { .. } | Smb2Error::GuestSessionRefused { .. } => ErrorKind::Unauthenticated,
        Smb2Error::Timeout | Smb2Error::SendTimeout { .. } | Smb2Error::CreditStarvation { .. } => ErrorKind::TimedOut,
        Smb2Error::InvalidData { .. } => ErrorKind::Protocol,
        // A server that has forgotten the session says so without the session's signature.
        Smb2Error::SignatureInvalid { .. } => ErrorKind::Unreachable,
        Smb2Error::Io(_)
        | Smb2Error::Disconnected
        | Smb2Error::SessionExpired
        | Smb2Error::SendFailed { .. }
        | Smb2Error::ServerUnresponsive { .. }
        | Smb2Error::HandleInvalidated { .. }
        | Smb2Error::ReconnectFailed { .. } => ErrorKind::Unreachable,
        Smb2Error::ConnectFailed { host, attempts } => {
            let attempts = attempts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            return purpose
                .error(ErrorKind::Unreachable)
                .because(format!("no connection to {host}: is the server up, and the port right? ({attempts})"));
        }
        Smb2Error::ShareRedirected { .. } => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    };
    purpose.error(kind).because(kind.describe()).caused_by(error)
}

/// Whether an error says that the session, or the share in it, is no more.
pub(super) fn ends_session(error: &Smb2Error) -> bool {
    match error {
        Smb2Error::Protocol { status, .. } => status_ends_session(*status),
        Smb2Error::SignatureInvalid { .. }
        | Smb2Error::Io(_)
        | Smb2Error::Disconnected
        | Smb2Error::SessionExpired
        | Smb2Error::SendFailed { .. }
        | Smb2Error::SendTimeout { .. }
        | Smb2Error::CreditStarvation { .. }
        | Smb2Error::ServerUnresponsive { .. }
        | Smb2Error::HandleInvalidated { .. } => true,
        _ => false,
    }
}

/// The same of an answer.
pub(super) fn status_ends_session(status: NtStatus) -> bool {
    matches!(
        status,
        NtStatus::USER_SESSION_DELETED | NtStatus::NETWORK_SESSION_EXPIRED | NtStatus::NETWORK_NAME_DELETED
    )
}

/// The kind of an answer, and words where the kind's own do not help.
fn meaning(command: Command, status: NtStatus) -> (ErrorKind, Option<&'static str>) {
    use ErrorKind as Kind;
    match (command, status) {
        (_, NtStatus::LOGON_FAILURE) => (Kind::Unauthenticated, Some("the server knows no such user and password")),
        (_, NtStatus::ACCOUNT_LOCKED_OUT) => (Kind::Unauthenticated, Some("the account is locked for now")),
        (_, NtStatus::ACCOUNT_DISABLED) => (Kind::Unauthenticated, Some("the account is disabled")),
        (_, NtStatus::ACCOUNT_EXPIRED) => (Kind::Unauthenticated, Some("the account has expired")),
        (_, NtStatus::PASSWORD_EXPIRED | NtStatus::PASSWORD_MUST_CHANGE) => {
            (Kind::Unauthenticated, Some("the password has expired: change it first"))
        }
        (_, NtStatus::ACCOUNT_RESTRICTION | NtStatus::INVALID_LOGON_HOURS | NtStatus::INVALID_WORKSTATION) => {
            (Kind::Unauthenticated, Some("the server lets this account in only elsewhere or at other times"))
        }
        (Command::SessionSetup, NtStatus::ACCESS_DENIED) => {
            (Kind::Unauthenticated, Some("the server does not let this user in"))
        }
        (Command::SessionSetup, NtStatus::NOT_SUPPORTED) => (
            Kind::Unauthenticated,
            Some("the server takes no passwords (NTLM), perhaps only Kerberos, which is not supported"),
        ),
        (Command::TreeConnect, NtStatus::BAD_NETWORK_NAME) => {
            (Kind::Unreachable, Some("the server has no such share: is `share` right?"))
        }
        (Command::TreeConnect, NtStatus::ACCESS_DENIED) => {
            (Kind::PermissionDenied, Some("the server does not let this user use the share"))
        }
        (
            _,
            NtStatus::OBJECT_NAME_NOT_FOUND
            | NtStatus::OBJECT_PATH_NOT_FOUND
            | NtStatus::OBJECT_NAME_INVALID
            | NtStatus::NO_SUCH_FILE
            | NtStatus::NOT_FOUND
            | NtStatus::DELETE_PENDING,
        ) => (Kind::NotFound, None),
        (_, NtStatus::FILE_IS_A_DIRECTORY) => (Kind::IsADirectory, None),
        (_, NtStatus::NOT_A_DIRECTORY) => (Kind::NotADirectory, None),
        (_, NtStatus::ACCESS_DENIED) => (Kind::PermissionDenied, None),
        (_, NtStatus::SHARING_VIOLATION | NtStatus::FILE_LOCK_CONFLICT) => {
            (Kind::PermissionDenied, Some("another program has locked the file on the server"))
        }
        (_, NtStatus::END_OF_FILE | NtStatus::FILE_CLOSED) => (Kind::Changed, None),
        (_, NtStatus::STOPPED_ON_SYMLINK) => {
            (Kind::Unsupported, Some("a symbolic link that the server leaves to its clients to follow"))
        }
        (_, NtStatus::PATH_NOT_COVERED) => {
            (Kind::Unsupported, Some("this folder is on another server (DFS), which is not followed"))
        }
        (_, status) if status_ends_session(status) => (Kind::Unreachable, Some("the server has ended the session")),
        (_, NtStatus::BAD_NETWORK_PATH) => (Kind::Unreachable, None),
        (_, NtStatus::REQUEST_NOT_ACCEPTED | NtStatus::INSUFF_SERVER_RESOURCES | NtStatus::INSUFFICIENT_RESOURCES) => {
            (Kind::RateLimited, Some("the server has no room for more requests"))
        }
        _ => (Kind::Other, None),
    }
}

//! `Reply` and `Failure`: what an FTP server answered, and what kind of error that is (RFC 959, section 4.2).

use suppaftp::FtpError;
use suppaftp::types::Response;

use super::wire::text_of;
use crate::error::{Error, ErrorKind};
use crate::sources::purpose::Purpose;

/// The longest part of the server's own words that an error repeats, in characters.
const MAX_WORDS_CHARACTERS: usize = 100;

/// One answer, of one line or several.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    code: u16,
    body: Vec<u8>,
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        // The library knows not all codes by name.
        let code = response.body.get(..3).and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
        Self { code: code.unwrap_or_default(), body: response.body }
    }
}

impl Reply {
    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.body.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// The words of the first line.
    pub(super) fn text(&self) -> String {
        text_of(self.lines().next().and_then(|line| line.get(4..)).unwrap_or_default())
    }

    /// The server does not know the command, or not with these arguments.
    pub(super) fn is_unknown_command(&self) -> bool {
        matches!(self.code, 500 | 501 | 502 | 504)
    }

    /// The server does not give what was named: it may not be there, or be forbidden, or be something else.
    pub(super) fn is_about_path(&self) -> bool {
        matches!(self.code, 450 | 501 | 550 | 551 | 553)
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server said no, and listens for the next command.
    Refused(Reply),
    /// The server did not accept the login.
    NoLogin(Reply),
    /// The connection is of no use any more.
    Lost(FtpError),
    /// No connection within its time.
    Silent,
    /// The server answered what cannot be.
    Nonsense(String),
    /// The rest is not wanted; the connection is in the middle of it.
    Unwanted(Error),
}

impl From<FtpError> for Failure {
    fn from(error: FtpError) -> Self {
        match error {
            FtpError::UnexpectedResponse(response) => Self::Refused(response.into()),
            error => Self::Lost(error),
        }
    }
}

impl Failure {
    /// The same, if it happened at the login.
    pub(super) fn of_login(self) -> Self {
        match self {
            Self::Refused(reply) => Self::NoLogin(reply),
            other => other,
        }
    }

    /// Whether the connection can be used again.
    pub(super) fn leaves_connection(&self) -> bool {
        matches!(self, Self::Refused(reply) if reply.code != 421)
    }

    pub(super) fn error(self, purpose: Purpose<'_>) -> Error {
        match self {
            Self::Refused(reply) => {
                let kind = match reply.code {
                    // Too many connections, or the server goes down.
                    421 => ErrorKind::RateLimited,
                    425 | 426 => ErrorKind::Unreachable,
                    530 | 532 => ErrorKind::Unauthenticated,
                    550 | 551 | 553 => ErrorKind::PermissionDenied,
                    500..=504 | 534 => ErrorKind::Unsupported,
                    400..=499 => ErrorKind::Unreachable,
                    _ => ErrorKind::Protocol,
                };
                let words: String = reply.text().trim().chars().take(MAX_WORDS_CHARACTERS).collect();
                let words = format!("{}: the server answered {} {}", kind.describe(), reply.code, words.escape_debug());
                purpose.error(kind).because(words)
            }
            // Its words may repeat what was typed.
            Self::NoLogin(reply) => {
                let kind = if reply.code == 421 { ErrorKind::RateLimited } else { ErrorKind::Unauthenticated };
                purpose.error(kind).because(format!("{}: the server answered {}", kind.describe(), reply.code))
            }
            Self::Lost(FtpError::BadResponse) => {
                purpose.protocol("an answer that is none of FTP: is this an FTP server?")
            }
            Self::Lost(FtpError::SecureError(why)) => {
                purpose.error(ErrorKind::Unreachable).because(format!("no encrypted connection: {why}"))
            }
            Self::Lost(error) => purpose.error(ErrorKind::Unreachable).caused_by(error),
            Self::Silent => purpose.error(ErrorKind::TimedOut),
            Self::Nonsense(why) => purpose.protocol(why),
            Self::Unwanted(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use suppaftp::Status;

    use super::*;
    use crate::fuzz::{Corpus, Input};
    use crate::path::RemotePath;

    #[test]
    fn fuzz_ftp_reply() {
        let corpus = Corpus::of("ftp_reply");
        let path = RemotePath::root();
        bolero::check!().with_type::<Input>().for_each(|input| {
            let reply = Reply::from(Response::new(Status::CommandOk, corpus.bytes(input)));
            let _ = (reply.lines().count(), reply.text(), reply.is_about_path());
            let error = Failure::Refused(reply).error(Purpose { op: "list", path: &path });
            assert!(!error.to_string().contains(char::is_control));
        });
    }
}

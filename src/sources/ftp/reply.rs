//! `Reply` and `Failure`: what an FTP server answered, and what kind of error that is (RFC 959, section 4.2).

use suppaftp::FtpError;
use suppaftp::types::Response;

use super::wire::text_of;
use crate::error::{Error, ErrorKind};
use crate::sources::authorities::TRUST;
use crate::sources::purpose::Purpose;

/// The longest part of the server's own words that an error repeats, in characters.
const MAX_WORDS_CHARACTERS: usize = 100;

/// The code of an answer to PWD, which is refused if its path cannot be read.
const UNREADABLE_PATH: u16 = 257;

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

    /// The path of an answer to PWD, which should stand in quotes and does not.
    pub(super) fn unquoted_path(&self) -> Option<Vec<u8>> {
        let words = self.lines().next()?.get(4..)?;
        let path = words.split(|byte| *byte == b' ').next()?;
        (self.code == 257 && path.starts_with(b"/")).then(|| path.to_vec())
    }

    /// Whether it refuses what was asked for: not if it is good news that nothing has asked for (RFC 959, 4.2).
    pub(super) fn is_refusal(&self) -> bool {
        self.code >= 400
    }

    /// The server does not know the command, or not with these arguments.
    pub(super) fn is_unknown_command(&self) -> bool {
        matches!(self.code, 500 | 501 | 502 | 504)
    }

    /// The server has too many connections, goes down, or wants the TLS session of the control connection for the data too.
    fn is_busy(&self) -> bool {
        let words = self.text().to_ascii_lowercase();
        let is_full = ["too many", "maximum", "limit"].iter().any(|word| words.contains(word));
        // Other answers may repeat a path.
        matches!(self.code, 421 | 522) || is_full && matches!(self.code, 425 | 426 | 530)
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

    /// Whether the connection can be used again: not if a reply to an earlier command has come, since each that follows would be taken for another's.
    pub(super) fn leaves_connection(&self) -> bool {
        matches!(self, Self::Refused(reply) if reply.is_refusal() && !reply.is_busy())
    }

    pub(super) fn error(self, purpose: Purpose<'_>) -> Error {
        match self {
            Self::Refused(reply) => {
                let kind = match reply.code {
                    // It is the reply to an earlier command. On another connection, the one to this command can be had.
                    _ if !reply.is_refusal() && reply.code != UNREADABLE_PATH => ErrorKind::Unreachable,
                    _ if reply.is_busy() => ErrorKind::RateLimited,
                    425 | 426 => ErrorKind::Unreachable,
                    530 | 532 => ErrorKind::Unauthenticated,
                    // 450: another program uses the file.
                    450 | 550 | 551 | 553 => ErrorKind::PermissionDenied,
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
                let kind = if reply.is_busy() { ErrorKind::RateLimited } else { ErrorKind::Unauthenticated };
                purpose.error(kind).because(format!("{}: the server answered {}", kind.describe(), reply.code))
            }
            Self::Lost(FtpError::BadResponse) => {
                purpose.protocol("an answer that is none of FTP: is this an FTP server?")
            }
            Self::Lost(FtpError::SecureError(why)) => {
                let advice = if why.contains("certificate") { format!("; {TRUST}") } else { String::new() };
                purpose.error(ErrorKind::Unreachable).because(format!("no encrypted connection: {why}{advice}"))
            }
            Self::Lost(error) if is_in_clear(&error) => {
                let why = "the server answers in clear text where TLS was agreed upon: it has failed, and its own log says why";
                purpose.error(ErrorKind::Unreachable).because(why)
            }
            Self::Lost(error) => purpose.error(ErrorKind::Unreachable).caused_by(error),
            Self::Silent => purpose.error(ErrorKind::TimedOut),
            Self::Nonsense(why) => purpose.protocol(why),
            Self::Unwanted(error) => error,
        }
    }
}

/// Whether what came over TLS is none of it: vsftpd tells so of its own failures.
fn is_in_clear(error: &FtpError) -> bool {
    let FtpError::ConnectionError(error) = error else { return false };
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)))
}

#[cfg(test)]
mod tests {
    use suppaftp::Status;

    use super::*;
    use crate::fuzz::{Corpus, Input};
    use crate::path::RemotePath;

    #[test]
    fn a_server_that_is_full_is_busy_and_no_refusal_of_the_login() {
        let path = RemotePath::root();
        let purpose = Purpose { op: "list", path: &path };
        let reply = |text: &str| Reply::from(Response::new(Status::NotLoggedIn, text.as_bytes().to_vec()));
        for busy in [
            "421 There are too many connections from your internet address.",
            "530 Sorry, the maximum number of clients (2) from your host are already connected.",
            "530 User limit reached",
        ] {
            let failure = Failure::Refused(reply(busy)).of_login();
            assert_eq!(failure.error(purpose).kind(), ErrorKind::RateLimited, "{busy}");
        }
        let data = Failure::Refused(reply("425 Too many connections"));
        assert!(!data.leaves_connection());
        assert_eq!(data.error(purpose).kind(), ErrorKind::RateLimited);
        let wrong = Failure::Refused(reply("530 Login incorrect.")).of_login();
        assert_eq!(wrong.error(purpose).kind(), ErrorKind::Unauthenticated);
        let named = Failure::Refused(reply("550 too many cooks: no such file"));
        assert_eq!(named.error(purpose).kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_connection_whose_replies_are_out_of_step_is_not_used_again() {
        let path = RemotePath::root();
        let purpose = Purpose { op: "retrieve_file", path: &path };
        let refused = |text: &str| Failure::Refused(Response::new(Status::ClosingDataConnection, text.into()).into());
        let stray = refused("226 Transfer complete.");
        assert!(!stray.leaves_connection() && stray.error(purpose).kind().is_temporary());
        assert!(refused("550 No such file.").leaves_connection());
    }

    #[test]
    fn a_refusal_of_one_place_and_one_of_the_login_have_codes_of_their_own() {
        let path = RemotePath::root();
        let purpose = Purpose { op: "retrieve_file", path: &path };
        for (code, status, kind) in [
            ("550 Permission denied.", Status::FileUnavailable, ErrorKind::PermissionDenied),
            ("553 Not allowed.", Status::BadFilename, ErrorKind::PermissionDenied),
            ("530 Please login with USER and PASS.", Status::NotLoggedIn, ErrorKind::Unauthenticated),
        ] {
            let reply = Reply::from(Response::new(status, code.as_bytes().to_vec()));
            assert_eq!(Failure::Refused(reply).error(purpose).kind(), kind, "{code}");
        }
    }

    #[test]
    fn a_path_without_its_quotes_is_taken_from_an_answer_to_pwd_alone() {
        let path = |text: &str| {
            let reply = Reply::from(Response::new(Status::PathCreated, text.as_bytes().to_vec()));
            reply.unquoted_path().map(|path| String::from_utf8(path).expect("text"))
        };
        assert_eq!(path("257 /home/anna is current\r\n").as_deref(), Some("/home/anna"));
        assert_eq!(path("257 /\n").as_deref(), Some("/"));
        assert_eq!((path("257 \"/a b\""), path("550 /home"), path("257")), (None, None, None));
    }

    #[test]
    fn clear_text_within_tls_is_told_to_be_that() {
        let path = RemotePath::root();
        let purpose = Purpose { op: "connect", path: &path };
        let lost = |kind| {
            let cause = std::io::Error::new(std::io::ErrorKind::InvalidData, rustls::Error::InvalidMessage(kind));
            Failure::Lost(FtpError::ConnectionError(cause)).error(purpose)
        };
        let told = lost(rustls::InvalidMessage::InvalidContentType);
        assert_eq!(told.kind(), ErrorKind::Unreachable);
        assert!(told.to_string().contains("in clear text where TLS was agreed upon"), "{told}");
        assert!(!lost(rustls::InvalidMessage::InvalidCcs).to_string().contains("clear text"));
    }

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

//! `Route::refusal`: what a site's error codes mean, and what to do about them. It asks nothing.

use super::answer::Refused;
use crate::error::{Error, ErrorKind};
use crate::sources::purpose::Purpose;

/// The interface of a site that a request went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// `login/token.php`
    Login,
    /// `webservice/rest/server.php`
    Rest,
    /// `webservice/pluginfile.php`
    Download,
}

const POLICY: &str = "the site has a policy that you have not agreed to yet: log in to the site in a browser";
const PASSWORD: &str = "the site wants you to change your password first: log in to the site in a browser";
const BLOCKED: &str = "the site wants something of you first, such as a new password: log in to the site in a browser";
const SWITCHED_OFF: &str =
    "the site has its web services (those of the mobile app) switched off: its administrators can switch them on";
/// Longer codes, or ones with other characters, are not repeated.
const LONGEST_CODE: usize = 64;

impl Route {
    /// The error that a refusal is. Codes decide: texts are translated, classes are renamed.
    pub(super) fn refusal(self, purpose: Purpose<'_>, refused: &Refused) -> Error {
        use ErrorKind as Kind;
        let (kind, words) = match refused.errorcode.as_str() {
            "invalidtoken" => (
                Kind::Unauthenticated,
                "the site does not know the token, or it has expired: copy a new one (on the site under Preferences, \
                 Security keys), or log in with `username` and `password`",
            ),
            // Said also of an expired token, at its first use.
            "accessexception" if self == Self::Download => (
                Kind::PermissionDenied,
                "the site refuses downloads with this token: its service allows none, or the token has expired or is \
                 for another network address",
            ),
            "accessexception" => (
                Kind::Unauthenticated,
                "the site refuses the token: it has expired, is for another network address, or its service lacks what \
                 is needed here (that of the mobile app has it)",
            ),
            "invalidlogin" => (
                Kind::Unauthenticated,
                "the site does not accept `username` and `password`; who logs in elsewhere (single sign-on) needs `token`",
            ),
            "sitepolicynotagreed" => (Kind::Unauthenticated, POLICY),
            "forcepasswordchangenotice" => (Kind::Unauthenticated, PASSWORD),
            code if code.starts_with("wsaccessuser") => (
                Kind::Unauthenticated,
                "the site refuses this account: it is suspended, has expired, or is not confirmed; ask those who run the site",
            ),
            "sitemaintenance" => (Kind::Unreachable, "the site is closed for maintenance"),
            "enablewsdescription" | "servicenotavailable" => (Kind::Unreachable, SWITCHED_OFF),
            "errorcoursecontextnotvalid" | "requireloginerror" => {
                (Kind::PermissionDenied, "the site does not let this account see the course or the activity")
            }
            "filenotfound" => return purpose.error(Kind::NotFound),
            "redirecterrordetected" => {
                (Kind::Protocol, "`url` is not the address that the site gives itself: copy it from a browser")
            }
            code => {
                let harmless = code.len() <= LONGEST_CODE && code.bytes().all(|b| b.is_ascii_alphanumeric());
                let code = if harmless { code } else { "with a code that is none" };
                return purpose.error(Kind::Other).because(format!("the site refused: {code}"));
            }
        };
        purpose.error(kind).because(words)
    }

    /// The error that a status other than success is; none for those that mean what they mean everywhere.
    pub(super) fn status(self, status: u16) -> Option<(ErrorKind, &'static str)> {
        match status {
            403 if self == Self::Rest => Some((ErrorKind::Unreachable, SWITCHED_OFF)),
            404 if self != Self::Download => {
                Some((ErrorKind::Unreachable, "there is no Moodle site at this address: is `url` right?"))
            }
            503 => Some((ErrorKind::Unreachable, "the site is closed for maintenance")),
            _ => None,
        }
    }
}

/// Why an account that is not even let into the site's home is blocked. The message names a policy by its address, and a password by its code.
pub(super) fn blocked(purpose: Purpose<'_>, refused: &Refused) -> Error {
    let words = if refused.message.contains("forcepasswordchange") {
        PASSWORD
    } else if refused.message.contains("policy") {
        POLICY
    } else {
        BLOCKED
    };
    purpose.error(ErrorKind::Unauthenticated).because(words)
}

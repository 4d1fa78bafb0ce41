//! `Grant`: what a service that gives tokens answers. It knows no service.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use percent_encoding::utf8_percent_encode;
use reqwest::RequestBuilder;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::revealed::Revealed;
use crate::sources::http::COMPONENT;
use crate::sources::http::transport::collect;

/// A token, and the time that it has left.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) token: Revealed,
    pub(super) left: Duration,
}

/// The most bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// The longest error code that is shown.
const MAX_CODE_BYTES: usize = 40;

impl Grant {
    /// Asks a service for a token. `who` is what it is called in messages, `advice` what to do if it refuses.
    ///
    /// # Errors
    /// `Unauthenticated` if it refuses, `Unreachable` if it does not answer. Its answer is not quoted but for its code.
    pub(super) async fn ask(request: RequestBuilder, who: &str, advice: &str) -> Result<Self> {
        // The address may hold what must not be shown.
        let lost = |e: reqwest::Error| {
            error(ErrorKind::Unreachable, format!("{who} does not answer")).caused_by(e.without_url())
        };
        let response = request.send().await.map_err(&lost)?;
        let status = response.status();
        let body = collect(response, MAX_ANSWER_BYTES, || ()).await.map_err(|e| match e {
            Some(e) => lost(e),
            None => error(ErrorKind::Protocol, format!("the answer of {who} is too long")),
        })?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Self::of(&body).ok_or_else(|| error(ErrorKind::Protocol, format!("{who} gives no token")));
        }
        let code = code(&body).map(|code| format!(" ({code})")).unwrap_or_default();
        let told = format!("{who} gives no token: {}{code}", status.as_u16());
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS => error(ErrorKind::RateLimited, told),
            status if status.is_server_error() => error(ErrorKind::Unreachable, told),
            _ => error(ErrorKind::Unauthenticated, format!("{told}; {advice}")),
        })
    }

    /// Reads RFC 6749, 5.1, and what Microsoft makes of it: numbers as text, and the time at which it ends.
    fn of(body: &Value) -> Option<Self> {
        let token = body["access_token"].as_str().filter(|token| !token.is_empty())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let left = number(&body["expires_in"]).or_else(|| Some(number(&body["expires_on"])?.saturating_sub(now)));
        Some(Self { token: Revealed::new(token), left: left.map_or(super::UNTOLD, Duration::from_secs) })
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The code of a refusal: `invalid_grant`, or Microsoft's, as `AADSTS7000215`.
fn code(body: &Value) -> Option<&str> {
    let described = body["error_description"].as_str().and_then(|text| text.split(':').next());
    let described = described.filter(|text| text.starts_with("AADSTS"));
    let error = body["error"].as_str().or_else(|| body["error"]["status"].as_str());
    let is_code = |text: &&str| {
        (1..=MAX_CODE_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    [described, error].into_iter().flatten().find(is_code)
}

/// Names and values as a form or a query has them.
pub(super) fn form<'a>(parts: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let parts = parts.into_iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, COMPONENT)));
    parts.collect::<Vec<_>>().join("&")
}

pub(super) fn error(kind: ErrorKind, why: impl Into<String>) -> Error {
    Error::new("log in", kind).because(why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_tell_how_long_a_token_is_good() {
        let left = |body| Grant::of(&body).map(|grant| grant.left.as_secs());
        assert_eq!(left(json!({"access_token": "t", "expires_in": 3599, "token_type": "Bearer"})), Some(3599));
        assert_eq!(left(json!({"access_token": "t", "expires_in": "86399", "expires_on": "1586984735"})), Some(86399));
        assert_eq!(left(json!({"access_token": "t", "expires_on": "1586984735"})), Some(0));
        assert_eq!(left(json!({"access_token": "t"})), Some(300));
        assert_eq!(left(json!({"access_token": ""})), None);
        assert_eq!(left(json!(null)), None);
    }

    #[test]
    fn of_a_refusal_the_code_is_told_and_nothing_else() {
        let google = json!({"error": "invalid_grant", "error_description": "Token has been expired or revoked."});
        assert_eq!(code(&google), Some("invalid_grant"));
        let entra =
            json!({"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."});
        assert_eq!(code(&entra), Some("AADSTS7000215"));
        assert_eq!(code(&json!({"error": {"status": "NOT_FOUND", "message": "x"}})), Some("NOT_FOUND"));
        assert_eq!(code(&json!({"error": "you said hunter2"})), None);
    }
}

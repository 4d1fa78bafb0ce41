//! The messages as types: JSON-RPC 2.0, a message a line. It sends and receives nothing.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The codes of JSON-RPC for what is wrong with a request, and ours for one that was tried and failed.
pub const PARSE_ERROR: i64 = -32700;
pub const INVALID_REQUEST: i64 = -32600;
pub const UNKNOWN_METHOD: i64 = -32601;
pub const INVALID_PARAMS: i64 = -32602;
pub const FAILED: i64 = -32000;

/// A request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Of the client's choice; the answer has the same.
    #[serde(default)]
    pub id: Value,
    /// The method of [`super::service`].
    pub method: String,
    /// Its arguments by name.
    #[serde(default)]
    pub params: Value,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// One of the codes above.
    pub code: i64,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// A refusal with words for people.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<io::Error> for Refusal {
    /// What could not be told to the client, which does not hear this either.
    fn from(e: io::Error) -> Self {
        Self::new(FAILED, e.to_string())
    }
}

/// What the daemon says: the end of the request, or something on the way to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// The end.
    End(Result<Value, Refusal>),
    /// On the way.
    Told {
        /// What it is.
        method: String,
        /// The rest.
        params: Value,
    },
}

/// A request as a line.
pub fn request(id: u64, method: &str, params: Value) -> Vec<u8> {
    line(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
}

/// The end of a request as a line.
pub fn end(id: &Value, result: Result<Value, Refusal>) -> Vec<u8> {
    line(&match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(refusal) => json!({"jsonrpc": "2.0", "id": id, "error": refusal}),
    })
}

/// Something on the way, as a line.
pub fn told(method: &str, params: &impl Serialize) -> Vec<u8> {
    line(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
}

fn line(message: &Value) -> Vec<u8> {
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Understands a line of the daemon; `None` if it is none.
pub fn read(line: &[u8]) -> Option<Said> {
    #[derive(Deserialize)]
    struct Any {
        method: Option<String>,
        #[serde(default)]
        params: Value,
        #[serde(default)]
        result: Value,
        error: Option<Refusal>,
    }
    Some(match serde_json::from_slice(line).ok()? {
        Any { method: Some(method), params, .. } => Said::Told { method, params },
        Any { error: Some(refusal), .. } => Said::End(Err(refusal)),
        Any { result, .. } => Said::End(Ok(result)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_one_line_and_understood() {
        let refusal = Refusal::new(FAILED, "no\nroom");
        let (id, value) = (json!(7), json!({"a": "line\nbreak"}));
        for (line, said) in [
            (end(&id, Ok(value.clone())), Said::End(Ok(value.clone()))),
            (end(&id, Err(refusal.clone())), Said::End(Err(refusal))),
            (told("progress", &value), Said::Told { method: "progress".into(), params: value.clone() }),
        ] {
            assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            assert_eq!((line.last(), read(&line)), (Some(&b'\n'), Some(said)));
        }
        let asked: Request = serde_json::from_slice(&request(7, "status", value.clone())).expect("it can be read");
        assert_eq!(asked, Request { id, method: "status".into(), params: value });
        assert_eq!((read(b"hello\n"), read(b"[]")), (None, None));
    }
}

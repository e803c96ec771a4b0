//! A JSON-RPC error: a server's own passes as it came, and the gateway's are made here. Codes between -32768 and
//! -32000 belong to JSON-RPC and MCP; the gateway's own lie outside.
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic#error-codes>

use serde::Deserialize;
use serde_json::{Value, json};

use crate::conversation::Json;

pub const PARSE_ERROR: i64 = -32700;
pub const INVALID_REQUEST: i64 = -32600;
pub const METHOD_NOT_FOUND: i64 = -32601;
pub const INVALID_PARAMS: i64 = -32602;
pub const INTERNAL_ERROR: i64 = -32603;
/// Until 2025-11-25; later revisions say [`INVALID_PARAMS`].
pub const RESOURCE_NOT_FOUND: i64 = -32002;
/// The client has to open URLs first (2025-11-25).
pub const URL_ELICITATION_REQUIRED: i64 = -32042;
/// A header does not match the body (2026-07-28).
pub const HEADER_MISMATCH: i64 = -32020;
/// The client lacks a capability that the request needs (2026-07-28).
pub const MISSING_CAPABILITY: i64 = -32021;
/// A protocol version that is not spoken here (2026-07-28).
pub const UNSUPPORTED_VERSION: i64 = -32022;
/// The gateway's own: the server behind it cannot be reached or did not answer.
pub const SERVER_UNAVAILABLE: i64 = 50201;
/// The gateway's own: the server did not answer in time.
pub const SERVER_TIMEOUT: i64 = 50401;
/// The gateway's own: too many calls at once.
pub const SERVER_BUSY: i64 = 50301;

/// The `error` member of an answer, as it is spelled.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcError(Json);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Shape {
    code: i64,
    message: String,
    data: Value,
}

impl RpcError {
    pub fn new(code: i64, message: impl AsRef<str>) -> Self {
        Self(Json::of(&json!({ "code": code, "message": message.as_ref() })))
    }

    /// The same with `data`.
    pub fn with_data(self, data: Value) -> Self {
        let Shape { code, message, .. } = self.shape();
        Self(Json::of(&json!({ "code": code, "message": message, "data": data })))
    }

    /// An error as a server sent it. What is no error object becomes one.
    pub fn of_json(error: Json) -> Self {
        let has_code = error.read::<Shape>().is_some();
        if error.is_object() && has_code {
            return Self(error);
        }
        Self::new(INTERNAL_ERROR, "the server answered with an error that is none")
            .with_data(error.to_value())
    }

    pub fn as_json(&self) -> &Json {
        &self.0
    }

    pub fn code(&self) -> i64 {
        self.shape().code
    }

    pub fn message(&self) -> String {
        self.shape().message
    }

    pub fn data(&self) -> Value {
        self.shape().data
    }

    fn shape(&self) -> Shape {
        self.0.read().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_error_passes_as_it_is_spelled() {
        let text = r#"{"code": -32042, "message":"x", "data":{"n":1.0}, "more":true}"#;
        let error = RpcError::of_json(Json::parse(text).expect("JSON"));
        assert_eq!(error.as_json().as_str(), text);
        assert_eq!((error.code(), error.message().as_str()), (-32042, "x"));
        let none = RpcError::of_json(Json::parse("\"x\"").expect("JSON"));
        assert_eq!((none.code(), none.data()), (INTERNAL_ERROR, json!("x")));
    }
}

//! What the door itself refuses, as a JSON-RPC error under an HTTP status. The gateway's own codes are the status and
//! `01`, outside the range that belongs to JSON-RPC; a malformed request has JSON-RPC's own.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use super::Answer;
use crate::wire::mcp::error::{INVALID_REQUEST, RpcError};
use crate::wire::mcp::message::{Id, answer};

/// One refusal.
#[derive(Debug)]
pub struct Refusal {
    status: u16,
    error: RpcError,
    id: Option<Id>,
    allow: Option<&'static str>,
}

impl Refusal {
    pub fn new(status: u16, message: impl AsRef<str>) -> Self {
        let code = if status == 400 { INVALID_REQUEST } else { i64::from(status) * 100 + 1 };
        Self::coded(status, code, message)
    }

    /// With a code of the protocol's.
    pub fn coded(status: u16, code: i64, message: impl AsRef<str>) -> Self {
        Self { status, error: RpcError::new(code, message), id: None, allow: None }
    }

    /// In answer to a request whose id is known.
    pub fn to(self, id: &Id) -> Self {
        Self { id: Some(id.clone()), ..self }
    }

    pub fn with_data(self, data: Value) -> Self {
        Self { error: self.error.with_data(data), ..self }
    }

    /// Names the methods that are allowed.
    pub fn allowing(self, methods: &'static str) -> Self {
        Self { allow: Some(methods), ..self }
    }

    pub fn answer(self) -> Answer {
        let text = answer(self.id.as_ref(), &Err(self.error));
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut answer = Answer::json(status, Bytes::from(text));
        if let Some(allow) = self.allow {
            answer.headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        answer
    }
}

//! What can go wrong on the request path, as one value: raised where it happens, judged in one
//! table, shaped into JSON only by the client's wire format. The message is written for the caller
//! and says the fix; it never holds a secret, a path or an address of a back-end.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::secret;

/// Every class of failure the gateway answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is malformed or asks for something that makes no sense.
    InvalidRequest,
    /// The endpoint is known but this model's provider cannot do it.
    Unsupported,
    /// No key, or one that is in no list.
    InvalidKey,
    /// A known key past its expiry, or not valid yet.
    ExpiredKey,
    /// A known key that is switched off.
    BlockedKey,
    /// The key may not use this model.
    ModelDenied,
    /// The key may not use this endpoint (an administrator's).
    RouteDenied,
    /// The key may not use an MCP server or tool that the request names, or there is none of that name.
    ToolDenied,
    /// No such model in the configuration.
    ModelNotFound,
    /// No such stored response of this key.
    ResponseNotFound,
    /// No such path.
    RouteNotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The client took too long to send its body.
    RequestTimeout,
    /// The body, or a part of it, is over its bound.
    TooLarge,
    /// A content type the endpoint cannot read.
    UnsupportedMedia,
    /// The gateway is at its bound of work in progress.
    Overloaded,
    /// The gateway is shutting down.
    Draining,
    /// The provider could not be reached, or broke off before its answer began.
    Unreachable,
    /// The provider did not answer in time.
    UpstreamTimeout,
    /// The provider answered with something that is not an answer.
    UpstreamGarbage,
    /// The provider answered with an error of its own; the status is kept.
    Upstream(u16),
    /// The client went away before the answer was complete.
    ClientClosed,
    /// A state the code holds to be impossible.
    Bug,
}

/// One failure, ready to be told to the caller.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    /// For the caller: what is wrong and how to mend it.
    pub message: Cow<'static, str>,
    /// The request field at fault, where there is one.
    pub param: Option<Cow<'static, str>>,
    /// What only some faults have, kept apart so that the many results that may hold a fault stay small.
    details: Option<Box<Details>>,
}

/// What a provider said of a failure in its own words.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// The provider's own `error.code`, which wins over the table's.
    pub code: Option<String>,
    /// The provider's own `error.type`, which wins over the table's.
    pub class: Option<String>,
    /// Seconds, a date or a provider's own text, as `retry-after` carries it.
    pub retry_after: Option<String>,
    /// Further rate-limit headers of the provider.
    pub headers: Vec<(String, String)>,
    /// A provider's error body that already has the client's shape, to be passed on byte for byte.
    pub verbatim: Option<Bytes>,
}

/// How a kind is told to clients: HTTP status, OpenAI `error.type`, OpenAI `error.code`.
///
/// Statuses follow OpenAI's, and LiteLLM's where OpenAI has none (403 for a model that a key may
/// not use, 408 for a provider that does not answer, 499 in the journal for a client that left).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub status: u16,
    pub class: &'static str,
    pub code: Option<&'static str>,
}

impl Kind {
    /// The one kind → status table.
    pub fn row(self) -> Row {
        let (status, class, code) = match self {
            Self::InvalidRequest => (400, "invalid_request_error", None),
            Self::Unsupported => (400, "invalid_request_error", Some("unsupported_operation")),
            Self::InvalidKey => (401, "invalid_request_error", Some("invalid_api_key")),
            Self::ExpiredKey => (401, "invalid_request_error", Some("expired_key")),
            Self::BlockedKey => (401, "invalid_request_error", Some("key_blocked")),
            Self::ModelDenied => (403, "key_model_access_denied", Some("model_access_denied")),
            Self::ToolDenied => (403, "permission_error", Some("tool_access_denied")),
            Self::RouteDenied => (403, "permission_error", Some("route_access_denied")),
            Self::ModelNotFound => (404, "invalid_request_error", Some("model_not_found")),
            Self::ResponseNotFound => (404, "invalid_request_error", Some("response_not_found")),
            Self::RouteNotFound => (404, "invalid_request_error", Some("unknown_url")),
            Self::MethodNotAllowed => (405, "invalid_request_error", Some("method_not_allowed")),
            Self::RequestTimeout => (408, "invalid_request_error", Some("request_timeout")),
            Self::TooLarge => (413, "invalid_request_error", Some("request_too_large")),
            Self::UnsupportedMedia => {
                (415, "invalid_request_error", Some("unsupported_media_type"))
            }
            Self::Overloaded => (503, "server_error", Some("server_is_overloaded")),
            Self::Draining => (503, "server_error", Some("server_shutting_down")),
            Self::Unreachable => (502, "server_error", Some("upstream_unreachable")),
            Self::UpstreamTimeout => (408, "timeout_error", Some("upstream_timeout")),
            Self::UpstreamGarbage => (502, "server_error", Some("upstream_invalid_response")),
            Self::Upstream(status) => return Self::upstream_row(status),
            Self::ClientClosed => (499, "client_closed_request", Some("client_closed_request")),
            Self::Bug => (500, "server_error", Some("internal_error")),
        };
        Row { status, class, code }
    }

    fn upstream_row(status: u16) -> Row {
        let (class, code) = match status {
            401 => ("authentication_error", Some("invalid_api_key")),
            403 => ("permission_error", None),
            404 => ("not_found_error", None),
            429 => ("rate_limit_error", Some("rate_limit_exceeded")),
            400..=499 => ("invalid_request_error", None),
            _ => ("server_error", None),
        };
        Row { status, class, code }
    }
}

impl Fault {
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), param: None, details: None }
    }

    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::InvalidRequest, message)
    }

    /// An impossible state: the caller gets a plain 500, the log gets the text.
    pub fn bug(what: &'static str) -> Self {
        Self::new(Kind::Bug, format!("Tidegate met a state it holds to be impossible: {what}."))
    }

    pub fn with_param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.details_mut().retry_after = Some(seconds.to_string());
        self
    }

    pub fn details(&self) -> Option<&Details> {
        self.details.as_deref()
    }

    pub fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    pub fn retry_after(&self) -> Option<&str> {
        self.details()?.retry_after.as_deref()
    }

    pub fn status(&self) -> u16 {
        self.kind.row().status
    }

    /// Strikes secrets out of all that is told: providers repeat what they were sent, and wherever they like.
    pub fn strike(&mut self, secrets: &[&str]) {
        let strike = |text: &str| secret::strike(text, secrets.iter().copied());
        if let Some(struck) = strike(&self.message) {
            self.message = struck.into();
        }
        if let Some(struck) = self.param.as_deref().and_then(strike) {
            self.param = Some(struck.into());
        }
        let Some(details) = self.details.as_deref_mut() else { return };
        let Details { code, class, retry_after, headers, verbatim } = details;
        let optional = [code, class, retry_after].into_iter().flatten();
        for text in optional.chain(headers.iter_mut().map(|(_, value)| value)) {
            if let Some(struck) = strike(text) {
                *text = struck;
            }
        }
        if let Some(verbatim) = verbatim
            && let Some(struck) = strike(&String::from_utf8_lossy(verbatim))
        {
            *verbatim = struck.into();
        }
    }

    /// `error.type`: the provider's own where it gave one.
    pub fn class(&self) -> &str {
        self.details().and_then(|details| details.class.as_deref()).unwrap_or(self.kind.row().class)
    }

    /// `error.code`: the provider's own where it gave one.
    pub fn code(&self) -> Option<&str> {
        self.details().and_then(|details| details.code.as_deref()).or(self.kind.row().code)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_struck_wherever_a_provider_put_them() {
        let said = || "sent hush-1234".to_owned();
        let mut fault = Fault::invalid(said()).with_param(said());
        *fault.details_mut() = Details {
            code: Some(said()),
            class: Some(said()),
            retry_after: Some(said()),
            headers: vec![("x-ratelimit-a".into(), said())],
            verbatim: Some(said().into()),
        };
        fault.strike(&["hush-1234"]);
        assert!(!format!("{fault:?}").contains("hush-1234"), "{fault:?}");
        assert_eq!(fault.code(), Some("sent [key]"));
    }
}

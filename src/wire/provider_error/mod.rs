//! What providers say when they fail, in every shape they say it, as one `Fault`: its status as clients know
//! it, the message in the provider's own words, a code that clients act on, and when to try again. It serves
//! error answers, and errors that come inside a stream or a body with status 200.
//!
//! The shapes: OpenAI's and Google's `{"error":{…}}`, Google's list of one, Anthropic's `{"type":"error"}`,
//! Mistral's and vLLM's `{"object":"error"}`, Ollama's and TGI's `{"error":"…"}`, Amazon's `{"message"}`
//! beside a header, FastAPI's `{"detail":…}`, problem details, and the pages of proxies.

mod code;
mod retry;
mod said;
mod status;

use bytes::Bytes;
use serde_json::Value;

use crate::ground::fault::{Fault, Kind};
use crate::ground::secret;
use said::Said;

/// Reads an error answer. Header names are in lower case. `secret` is the key that was shown to the provider:
/// should the body repeat it, it is struck out.
///
/// `details.verbatim` is set where the body has the shape of OpenAI or Anthropic and already says all that is
/// known; clients of another shape are told in their own.
pub fn read(status: u16, headers: &[(String, String)], body: &[u8], secret: Option<&str>) -> Fault {
    let text = String::from_utf8_lossy(body);
    let struck = strike(&text, secret);
    let text = struck.as_deref().unwrap_or(&text);
    let mut said = Said::read(text);
    let header = |wanted: &str| {
        headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    };
    if let Some(exception) = header("x-amzn-errortype") {
        said.class = exception.split(':').next().map(str::to_owned);
    }
    let mut fault = fault(status, &said, text);
    let details = fault.details_mut();
    let wait = header("retry-after").map(str::to_owned);
    let wait = wait.or_else(|| header("retry-after-ms").and_then(retry::of_milliseconds));
    details.retry_after = wait.or(details.retry_after.take());
    details.headers = headers.iter().filter(|(name, _)| is_kept(name)).cloned().collect();
    let is_whole =
        said.is_anthropic || said.is_openai && details.code.is_none_or_is(said.code.as_deref());
    if is_whole {
        // As text: what is no UTF-8 is no JSON that a client could read.
        details.verbatim = Some(Bytes::from(text.to_owned()));
    }
    fault
}

/// Reads an error that came inside a stream, or in a body with status 200: the error object itself, or the
/// whole frame that it is in.
pub fn in_stream(text: &str) -> Fault {
    let said = match said::parse(text) {
        Some(Value::String(message)) => Said { message, ..Said::default() },
        _ => Said::read_bare(text),
    };
    fault(status::said(&said).unwrap_or(502), &said, text)
}

/// Whether a JSON text is an error and nothing else.
pub fn is_error(text: &str) -> bool {
    let Some(Value::Object(members)) = said::parse(text) else { return false };
    let is_text = |name: &str| members.get(name).is_some_and(Value::is_string);
    members.get("error").is_some_and(|error| error.is_string() || error.is_object())
        || members.contains_key("detail")
        || is_text("message") && (members.contains_key("code") || is_text("type"))
}

/// The fault that a status and what was said with it come to.
fn fault(status: u16, said: &Said, text: &str) -> Fault {
    let code = code::of(status, said);
    let status = status::out(status, said, code.as_deref());
    let mut fault = Fault::new(Kind::Upstream(status), message(status, said, text));
    fault.param = said.param.clone().map(Into::into);
    let details = fault.details_mut();
    details.class = said.class.as_deref().and_then(|class| code::class(class, said, status));
    details.code = code;
    details.retry_after = said
        .retry_after
        .clone()
        .or_else(|| matches!(status, 429 | 503).then(|| retry::of_words(&said.message)).flatten());
    fault
}

/// The provider's words; else what a page or a plain text says, as far as it is words.
fn message(status: u16, said: &Said, text: &str) -> String {
    if !said.message.trim().is_empty() {
        return said.message.clone();
    }
    let bare = format!("The provider answered with HTTP status {status}");
    if said.is_json || text.trim_start().starts_with('<') {
        return format!("{bare}.");
    }
    let words: String = text.chars().filter(|c| !c.is_control()).take(500).collect();
    match words.trim() {
        "" => format!("{bare}."),
        words => format!("{bare}: {words}"),
    }
}

/// Headers that clients steer by.
fn is_kept(name: &str) -> bool {
    name.starts_with("x-ratelimit-")
        || name.starts_with("anthropic-ratelimit-")
        || matches!(name, "retry-after-ms" | "x-should-retry")
}

/// The text without the key, and without what looks like one; `None` where there was none.
fn strike(text: &str, secret: Option<&str>) -> Option<String> {
    let struck = secret::strike(text, secret);
    let unmasked = without_masked(struck.as_deref().unwrap_or(text));
    unmasked.or(struck)
}

/// OpenAI shows the ends of a wrong key, `sk-proj-****abcd`: words in which stars hide the middle are struck
/// out too.
fn without_masked(text: &str) -> Option<String> {
    if !text.contains("***") {
        return None;
    }
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_key(c)).unwrap_or(rest.len());
        let (word, tail) = rest.split_at_checked(end)?;
        let hides = word.contains("***") && !word.starts_with('*');
        out.push_str(if hides { "[key]" } else { word });
        let next = tail.find(is_key).unwrap_or(tail.len());
        let (between, tail) = tail.split_at_checked(next)?;
        out.push_str(between);
        rest = tail;
    }
    Some(out)
}

/// A provider's own code says the same.
trait Agrees {
    fn is_none_or_is(&self, other: Option<&str>) -> bool;
}

impl Agrees for Option<String> {
    fn is_none_or_is(&self, other: Option<&str>) -> bool {
        self.as_deref().is_none_or(|code| {
            // Azure's word for it, which its clients know.
            other == Some(code) || other == Some("content_filter")
        })
    }
}

#[cfg(test)]
mod tests;

//! An error body taken apart, whatever its shape. Nothing here judges what it means.

use serde_json::{Map, Value};

use super::retry;

/// What a body says.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub message: String,
    /// OpenAI's and Anthropic's `type`, Google's `status`, Amazon's exception.
    pub class: Option<String>,
    pub code: Option<String>,
    pub param: Option<String>,
    /// A status inside the body.
    pub status: Option<u16>,
    /// Seconds.
    pub retry_after: Option<String>,
    /// It is an error object of OpenAI's, for its clients to read as it is.
    pub is_openai: bool,
    /// The same of Anthropic's.
    pub is_anthropic: bool,
    pub is_json: bool,
    /// Google's reasons, such as `API_KEY_INVALID`.
    pub reasons: Vec<String>,
}

/// The text as JSON, where it is that.
pub(super) fn parse(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

impl Said {
    /// Reads a body.
    pub(super) fn read(text: &str) -> Self {
        let mut said = Self::default();
        let Some(value) = parse(text) else { return said };
        said.is_json = true;
        said.take(&value, 0);
        said
    }

    /// Reads an error object, or a body that holds one.
    pub(super) fn read_bare(text: &str) -> Self {
        let mut said = Self::read(text);
        said.is_openai = false;
        said.is_anthropic = false;
        said
    }

    fn take(&mut self, value: &Value, depth: u8) {
        // Errors are wrapped in errors, but not without end.
        if depth > 4 {
            return;
        }
        match value {
            Value::Array(list) => {
                if let Some(first) = list.first() {
                    self.take(first, depth + 1);
                }
            }
            Value::Object(members) => self.members(members, depth),
            Value::String(text) => self.learn_message(text),
            _ => {}
        }
    }

    fn members(&mut self, members: &Map<String, Value>, depth: u8) {
        let is_anthropic = string(members.get("type")).as_deref() == Some("error");
        match members.get("error").or_else(|| members.get("errors")) {
            Some(Value::Object(error)) => {
                self.is_anthropic = depth == 0 && is_anthropic;
                self.is_openai = depth == 0 && !is_anthropic && is_openai(error);
                return self.members(error, depth + 1);
            }
            Some(Value::String(word)) => {
                // OAuth's word and its description; else Ollama's, TGI's and llama.cpp's whole message.
                let description = string(members.get("error_description"));
                self.learn_message(&description.unwrap_or_else(|| word.clone()));
                self.code = string(members.get("code"));
                self.class = string(members.get("error_type"));
                return;
            }
            Some(list @ Value::Array(_)) => return self.take(list, depth + 1),
            _ => {}
        }
        self.code = string(members.get("code")).or(self.code.take());
        self.param = string(members.get("param")).or(self.param.take());
        self.class = ["status", "type", "__type"]
            .into_iter()
            .filter_map(|name| members.get(name)?.as_str())
            .find(|word| *word != "error")
            .map(|word| word.rsplit('#').next().unwrap_or(word).to_owned())
            .or(self.class.take());
        self.status = ["code", "status", "status_code", "http_code"]
            .into_iter()
            .find_map(|name| number(members.get(name)?))
            .filter(|status| (400..600).contains(status))
            .or(self.status);
        self.words(members, depth);
        self.google(members.get("details"));
        self.wrapped(members.get("metadata"), depth);
    }

    fn words(&mut self, members: &Map<String, Value>, depth: u8) {
        let found = ["message", "Message", "detail", "msg", "error_msg", "title"]
            .into_iter()
            .filter_map(|name| members.get(name))
            .find(|value| !value.is_null());
        match found {
            Some(Value::String(text)) => {
                self.learn_message(text);
                // Some gateways pass on a body as text.
                if text.starts_with('{')
                    && let Some(inner) = parse(text)
                {
                    self.take(&inner, depth + 1);
                }
            }
            Some(Value::Array(list)) => self.learn_message(&validation(list)),
            Some(inner @ Value::Object(_)) => self.take(inner, depth + 1),
            _ => {}
        }
    }

    /// Google's `details`: when to try again, and why in one word
    /// (<https://cloud.google.com/apis/design/errors#error_details>).
    fn google(&mut self, details: Option<&Value>) {
        for detail in details.and_then(Value::as_array).into_iter().flatten() {
            let delay = detail.get("retryDelay").and_then(Value::as_str);
            self.retry_after = delay.and_then(retry::of_delay).or(self.retry_after.take());
            self.reasons.extend(string(detail.get("reason")));
        }
    }

    /// OpenRouter's `metadata.raw`: what the provider behind it said
    /// (<https://openrouter.ai/docs/api-reference/errors>).
    fn wrapped(&mut self, metadata: Option<&Value>, depth: u8) {
        let Some(raw) = metadata.and_then(|metadata| metadata.get("raw")) else { return };
        let parsed = raw.as_str().and_then(parse);
        let mut inner = Self::default();
        inner.take(parsed.as_ref().unwrap_or(raw), depth + 1);
        if !inner.message.is_empty() {
            let outer = std::mem::take(&mut self.message);
            self.message = format!("{outer}: {}", inner.message);
        }
        self.reasons.extend(inner.code);
        self.retry_after = self.retry_after.take().or(inner.retry_after);
    }

    fn learn_message(&mut self, text: &str) {
        text.clone_into(&mut self.message);
    }
}

/// OpenAI's own fields with their own types, and none of Google's.
fn is_openai(error: &Map<String, Value>) -> bool {
    let is_text = |name: &str| error.get(name).is_some_and(Value::is_string);
    let text_or_none = |name: &str| error.get(name).is_none_or(|it| it.is_string() || it.is_null());
    is_text("message")
        && (is_text("type") || is_text("code"))
        && text_or_none("code")
        && !error.contains_key("status")
}

/// FastAPI's list of what was wrong where.
fn validation(list: &[Value]) -> String {
    let lines = list.iter().map(|one| {
        let said = string(one.get("msg")).or_else(|| string(one.get("message")));
        let Some(said) = said else { return one.to_string() };
        let places = one.get("loc").and_then(Value::as_array).into_iter().flatten();
        let place: Vec<String> = places.filter_map(|place| string(Some(place))).collect();
        if place.is_empty() { said } else { format!("{}: {said}", place.join(".")) }
    });
    lines.collect::<Vec<_>>().join("; ")
}

fn string(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u16> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    u16::try_from(number).ok()
}

//! The response object: what was asked, how it ended, what came out. The same object stands in a whole answer, in the
//! events that open and end a stream, and in what `GET /v1/responses/{id}` gives back. Every field that the official
//! models or Open Responses require is there, with OpenAI's own default where the request says nothing.
//! Object: <https://platform.openai.com/docs/api-reference/responses/object>, <https://www.openresponses.org>.

use serde_json::value::RawValue;

use super::super::super::codec::{Echo, Stamp, broke_off};
use super::super::super::fields::{Fields, listed};
use super::super::object::Object;
use super::output::{empty_list, is_cut, output_items};
use crate::conversation::{Finish, Head, Json, Reply, Usage};
use crate::ground::fault::{Fault, Kind};

/// How an answer stands.
#[derive(Clone, Debug)]
pub(super) enum Status {
    InProgress,
    Completed {
        /// Seconds since 1970.
        at: i64,
    },
    /// `max_output_tokens` or `content_filter`.
    Incomplete(&'static str),
    Failed(Fault),
}

/// A whole answer's body.
pub(super) fn write(reply: &Reply, echo: &Echo, stamp: &Stamp) -> Vec<u8> {
    response_object(reply, echo, stamp, stamp.created).as_str().as_bytes().to_vec()
}

/// The response object of an answer; `completed_at` in seconds since 1970.
pub fn response_object(reply: &Reply, echo: &Echo, stamp: &Stamp, completed_at: i64) -> Json {
    let finish = reply.choices.first().and_then(|choice| choice.finish.as_ref());
    let status = Status::of(finish, completed_at);
    let output = output_items(reply, echo, stamp);
    object(&status, output, &reply.head, reply.usage, echo, stamp)
}

/// The response object with what it holds.
pub(super) fn object(
    status: &Status,
    output: Vec<Json>,
    head: &Head,
    usage: Option<Usage>,
    echo: &Echo,
    stamp: &Stamp,
) -> Json {
    let object = Object::default()
        .with("id", format!("resp_{}", stamp.id))
        .with("object", "response")
        .with("created_at", stamp.created)
        .with("status", status.word())
        .with("completed_at", status.completed_at())
        .with("error", status.error())
        .with("incomplete_details", status.incomplete_details())
        .with("model", &stamp.model)
        .with("output", &output)
        .with("usage", usage.map(usage_object))
        .with("service_tier", service_tier(head, echo));
    repeated(object, echo).into_json()
}

/// Token counts; both details are complete, as the official models want them.
pub(super) fn usage_object(usage: Usage) -> Object {
    let input = Object::default()
        .with("cached_tokens", usage.cache_read.unwrap_or_default())
        .with("cache_write_tokens", usage.cache_write.unwrap_or_default());
    let output = Object::default().with("reasoning_tokens", usage.reasoning.unwrap_or_default());
    Object::default()
        .with("input_tokens", usage.input.unwrap_or_default())
        .with("input_tokens_details", &input)
        .with("output_tokens", usage.output.unwrap_or_default())
        .with("output_tokens_details", &output)
        .with("total_tokens", usage.total())
}

/// `error` of a failed response. Codex decides by the code whether to try again.
pub(super) fn error_object(fault: &Fault) -> Object {
    let code = error_code(fault);
    let mut message = fault.message.to_string();
    // Codex reads how long to wait out of these words.
    if let Some(seconds) = fault.retry_after().filter(|wait| wait.parse::<f64>().is_ok())
        && code == "rate_limit_exceeded"
        && !message.contains("try again in")
    {
        message = format!("{message} Please try again in {seconds}s.");
    }
    Object::default().with("code", code).with("message", &message)
}

/// The same for whoever closes a stream of OpenAI's own that broke off.
pub fn failure(fault: &Fault) -> Json {
    error_object(fault).into_json()
}

/// The provider's own code, or one that clients know: the gateway's own words for a provider that cannot be
/// reached or read are none of theirs.
fn error_code(fault: &Fault) -> &str {
    let own = fault.details().and_then(|details| details.code.as_deref());
    // Some servers give the status for a code, which tells nobody anything; `overloaded` is chat's word.
    let tells = |code: &&str| code.parse::<u16>().is_err() && *code != "overloaded";
    if let Some(code) = own.filter(tells) {
        return code;
    }
    match fault.status() {
        408 => "server_error",
        429 => "rate_limit_exceeded",
        // What may pass: `server_is_overloaded` would end a turn of Codex for good.
        503 | 529 => "slow_down",
        400 | 402..=428 => "invalid_prompt",
        _ => "server_error",
    }
}

impl Status {
    /// How an answer ended; one that broke off has failed.
    pub(super) fn of(finish: Option<&Finish>, at: i64) -> Self {
        match finish {
            None => Self::Failed(broke_off()),
            Some(Finish::Filtered(_)) => Self::Incomplete("content_filter"),
            Some(finish) if is_cut(finish) => Self::Incomplete("max_output_tokens"),
            Some(Finish::Fault(word)) => {
                let why = format!("The model ended its answer with a fault of its own: {word}.");
                let mut fault = Fault::new(Kind::UpstreamGarbage, why);
                fault.details_mut().code = Some("server_error".into());
                Self::Failed(fault)
            }
            Some(_) => Self::Completed { at },
        }
    }

    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed { .. } => "completed",
            Self::Incomplete(_) => "incomplete",
            Self::Failed(_) => "failed",
        }
    }

    fn completed_at(&self) -> Option<i64> {
        match self {
            Self::Completed { at } => Some(*at),
            _ => None,
        }
    }

    fn error(&self) -> Option<Object> {
        match self {
            Self::Failed(fault) => Some(error_object(fault)),
            _ => None,
        }
    }

    fn incomplete_details(&self) -> Option<Object> {
        match self {
            Self::Incomplete(reason) => Some(Object::default().with("reason", reason)),
            _ => None,
        }
    }
}

/// What the provider served it as, else what was asked; `auto` was never served.
fn service_tier(head: &Head, echo: &Echo) -> String {
    let asked = || echo.get("service_tier").and_then(Json::read::<String>);
    let tier = head.service_tier.clone().or_else(asked).filter(|tier| tier != "auto");
    tier.unwrap_or_else(|| "default".into())
}

/// The fields that repeat the request, in their order, each with what stands where the request says nothing.
const REPEATED: [(&str, &str); 21] = [
    ("previous_response_id", "null"),
    ("instructions", "null"),
    ("tools", "[]"),
    ("tool_choice", "\"auto\""),
    ("parallel_tool_calls", "true"),
    ("text", "{}"),
    ("reasoning", "{}"),
    ("temperature", "1.0"),
    ("top_p", "1.0"),
    ("presence_penalty", "0.0"),
    ("frequency_penalty", "0.0"),
    ("top_logprobs", "0"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("truncation", "\"disabled\""),
    ("store", "true"),
    ("background", "false"),
    ("metadata", "{}"),
    ("safety_identifier", "null"),
    ("prompt_cache_key", "null"),
    ("user", "null"),
];

fn repeated(mut object: Object, echo: &Echo) -> Object {
    for (name, default) in REPEATED {
        object.put(
            name,
            match name {
                "tools" => tools(echo),
                "text" => text(echo),
                "reasoning" => reasoning(echo),
                _ => echo.get(name).cloned().or_else(|| Json::parse(default)).unwrap_or_else(null),
            },
        );
    }
    let object = object.with_some("conversation", conversation(echo).as_ref());
    let object = object.with_some("prompt", echo.get("prompt"));
    object.with_some("prompt_cache_retention", echo.get("prompt_cache_retention"))
}

fn null() -> Json {
    Json::of(&())
}

/// The tools as they were sent; a function's optional fields are there as `null`, and what a block of `mcp` says to its
/// server is nobody else's.
fn tools(echo: &Echo) -> Json {
    let Some(list) = echo.get("tools") else { return empty_list() };
    let full = |tool: &RawValue| {
        let Some(mut fields) = Fields::of(tool) else { return Json::of_raw(tool) };
        match fields.peek("type").map(RawValue::get) {
            Some("\"function\"") => {
                filled(&fields, &["description", "parameters", "strict"]).into_json()
            }
            Some("\"mcp\"") if fields.has("headers") || fields.has("authorization") => {
                fields.take("headers");
                fields.take("authorization");
                filled(&fields, &[]).into_json()
            }
            _ => Json::of_raw(tool),
        }
    };
    let sent = listed(list.as_raw()).unwrap_or_default();
    Json::of(&sent.into_iter().map(full).collect::<Vec<_>>())
}

fn text(echo: &Echo) -> Json {
    let sent = echo.get("text").and_then(|text| Fields::of(text.as_raw())).unwrap_or_default();
    let format = match sent.peek("format") {
        Some(format) if format.get().contains("\"json_schema\"") => {
            let format = Fields::of(format).unwrap_or_default();
            let mut format = filled(&format, &["description"]);
            if !format.has("strict") {
                format.put("strict", Json::of(&false));
            }
            format.into_json()
        }
        Some(format) => Json::of_raw(format),
        None => Object::of_type("text").into_json(),
    };
    let mut object = filled(&sent, &[]);
    object.put("format", format);
    object.into_json()
}

fn reasoning(echo: &Echo) -> Json {
    let sent = echo.get("reasoning").and_then(|sent| Fields::of(sent.as_raw()));
    filled(&sent.unwrap_or_default(), &["effort", "summary"]).into_json()
}

/// A conversation is asked for by its id, or by an object that holds it; it is repeated as the object.
fn conversation(echo: &Echo) -> Option<Json> {
    let sent = echo.get("conversation")?;
    match sent.read::<String>() {
        Some(id) => Some(Object::default().with("id", &id).into_json()),
        None => Some(sent.clone()),
    }
}

/// The members that were sent, and `null` for those that were not.
fn filled(sent: &Fields<'_>, wanted: &[&'static str]) -> Object {
    let mut object = Object::default();
    for (name, value) in sent.iter() {
        object.put(name.to_owned(), Json::of_raw(value));
    }
    for name in wanted {
        if !object.has(name) {
            object.put(*name, Json::of(&()));
        }
    }
    object
}

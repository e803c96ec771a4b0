//! The body of a chat request, field by field, read into an `Ask`. What OpenAI takes is taken, and what
//! LiteLLM, OpenRouter and Anthropic's users are used to send beside it; the rest rides along.

use super::{CHAT, messages, tools};
use crate::conversation::{Ask, Effort, Json, Reasoned, Sampling, TextFormat};
use crate::ground::fault::Fault;
use crate::wire::codec::{Asked, Echo};
use crate::wire::fields::{Fields, as_string};

/// In `Echo::fields` where the request had the older `functions`: the answer then has `function_call`.
pub(super) const LEGACY: &str = "functions";

/// Reads a request.
///
/// Errors: `InvalidRequest` with the path of the field and what it must be.
pub(super) fn read(body: &[u8]) -> Result<Asked, Fault> {
    let mut fields = top(body)?;
    let mut echo = Echo::default();
    if fields.has("functions") && !fields.has("tools") {
        echo.fields.push((LEGACY.to_owned(), Json::of(&true)));
    }
    let mut ask = Ask::new(CHAT);
    let list = fields.list("messages")?;
    let list = fields.required("messages", list)?;
    if list.is_empty() {
        return Err(fields.wrong("messages", "a list of at least one message"));
    }
    ask.turns = messages::read(list)?;
    ask.tools = tools::read(&mut fields)?;
    ask.tool_choice = tools::choice(&mut fields)?;
    ask.parallel_tool_calls = fields.boolean("parallel_tool_calls")?;
    let newer = fields.count("max_completion_tokens")?;
    ask.max_tokens = newer.or(fields.count("max_tokens")?);
    ask.text_format = text_format(&mut fields)?;
    ask.reasoning = reasoning(&mut fields)?;
    ask.verbosity = fields.string("verbosity")?;
    ask.sampling.logprobs = fields.boolean("logprobs")?;
    ask.sampling.top_logprobs = fields.count("top_logprobs")?;
    common(&mut ask, &mut echo, &mut fields)?;
    ask.extras = fields.rest(CHAT);
    Ok((ask, echo))
}

/// The members of a body. The model is the gateway's matter, and has been read.
pub(super) fn top(body: &[u8]) -> Result<Fields<'_>, Fault> {
    let mut fields = Fields::of_bytes(body).ok_or_else(|| {
        Fault::invalid("The request body is not a JSON object. Send one, as application/json.")
    })?;
    fields.take("model");
    Ok(fields)
}

/// What chat and the legacy completions have in common.
pub(super) fn common(ask: &mut Ask, echo: &mut Echo, fields: &mut Fields<'_>) -> Result<(), Fault> {
    ask.sampling = Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.number("top_k")?,
        min_p: fields.number("min_p")?,
        seed: fields.number("seed")?,
        presence_penalty: fields.number("presence_penalty")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        stop: stop(fields)?,
        n: answers(fields)?,
        logit_bias: object(fields, "logit_bias")?,
        ..std::mem::take(&mut ask.sampling)
    };
    // `user` is the older name of `safety_identifier`; where both stand, it rides along.
    ask.user = fields.string("safety_identifier")?;
    if ask.user.is_none() {
        ask.user = fields.string("user")?;
    }
    ask.metadata = object(fields, "metadata")?;
    ask.service_tier = fields.string("service_tier")?;
    ask.stream = fields.boolean("stream")?.unwrap_or_default();
    if let Some(mut options) = fields.object("stream_options")? {
        echo.include_usage = options.boolean("include_usage")?.unwrap_or_default();
    }
    Ok(())
}

/// One string, or a list of them.
fn stop(fields: &mut Fields<'_>) -> Result<Vec<String>, Fault> {
    match fields.peek("stop").and_then(as_string) {
        Some(stop) => {
            fields.take("stop");
            Ok(vec![stop])
        }
        None => Ok(fields.typed("stop", "a string or a list of strings")?.unwrap_or_default()),
    }
}

fn answers(fields: &mut Fields<'_>) -> Result<Option<u64>, Fault> {
    match fields.count("n")? {
        // 128 is OpenAI's own bound.
        Some(n) if !(1..=128).contains(&n) => Err(fields.wrong("n", "a number from 1 to 128")),
        n => Ok(n),
    }
}

fn object(fields: &mut Fields<'_>, name: &str) -> Result<Option<Json>, Fault> {
    match fields.json(name) {
        Some(json) if !json.is_object() => Err(fields.wrong(name, "an object")),
        json => Ok(json),
    }
}

/// `response_format`. A schema may also stand beside `json_object`, as LiteLLM has it for Gemini
/// (`response_schema`) and Together (`schema`).
pub(super) fn text_format(fields: &mut Fields<'_>) -> Result<Option<TextFormat>, Fault> {
    let Some(raw) = fields.take("response_format") else { return Ok(None) };
    let mut format = Fields::within(raw, fields.path("response_format"))?;
    let kind = format.word("type")?;
    let kind = format.required("type", kind)?;
    let read = match &*kind {
        "text" => return Ok(None),
        "json_schema" => {
            let inner = format.object("json_schema")?;
            named_schema(format.required("json_schema", inner)?)?
        }
        "json_object" => {
            let schema = object(&mut format, "response_schema")?;
            match schema.or(object(&mut format, "schema")?) {
                Some(schema) => TextFormat::JsonSchema {
                    name: "response".to_owned(),
                    description: None,
                    schema,
                    strict: None,
                },
                None => TextFormat::JsonObject,
            }
        }
        _ => TextFormat::Foreign { format: CHAT, value: Json::of_raw(raw) },
    };
    Ok(Some(read))
}

fn named_schema(mut fields: Fields<'_>) -> Result<TextFormat, Fault> {
    let schema = object(&mut fields, "schema")?;
    Ok(TextFormat::JsonSchema {
        // Servers that do not ask for a name have clients that do not send one.
        name: fields.string("name")?.unwrap_or_else(|| "response".to_owned()),
        description: fields.string("description")?,
        schema: schema.unwrap_or_else(|| serde_json::json!({ "type": "object" }).into()),
        strict: fields.boolean("strict")?,
    })
}

/// OpenAI's `reasoning_effort`, OpenRouter's `reasoning` and Anthropic's `thinking`. A word for effort that
/// is not known here (Groq's `default`) rides along.
pub(super) fn reasoning(fields: &mut Fields<'_>) -> Result<Option<Reasoned>, Fault> {
    let mut reasoned: Option<Reasoned> = None;
    if let Some(thinking) = fields.object("thinking")? {
        thought(thinking, reasoned.get_or_insert_default())?;
    }
    if let Some(object) = fields.object("reasoning")? {
        openrouter(object, reasoned.get_or_insert_default())?;
    }
    let raw = fields.peek("reasoning_effort");
    if raw.is_some_and(|raw| raw.get().starts_with('{')) {
        // LiteLLM takes the object of responses here too.
        if let Some(object) = fields.object("reasoning_effort")? {
            openrouter(object, reasoned.get_or_insert_default())?;
        }
    } else if let Some(raw) = raw {
        let word = as_string(raw).ok_or_else(|| fields.wrong("reasoning_effort", "a string"))?;
        if let Some(effort) = Effort::parse(&word) {
            fields.take("reasoning_effort");
            reasoned.get_or_insert_default().effort = Some(effort);
        }
    }
    Ok(reasoned)
}

/// <https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking>; DeepSeek, Z.ai and Moonshot have
/// the same object without a budget.
fn thought(mut fields: Fields<'_>, reasoned: &mut Reasoned) -> Result<(), Fault> {
    reasoned.budget_tokens = fields.count("budget_tokens")?;
    match fields.word("type")?.as_deref() {
        Some("disabled") => reasoned.disabled = true,
        Some("enabled") => reasoned.adaptive = reasoned.budget_tokens.is_none(),
        Some("adaptive" | "auto") => reasoned.adaptive = true,
        _ => return Err(fields.wrong("type", "`enabled`, `adaptive` or `disabled`")),
    }
    reasoned.show = fields.string("display")?.map(|display| display != "omitted");
    Ok(())
}

/// <https://openrouter.ai/docs/use-cases/reasoning-tokens>, and `reasoning` as responses have it.
fn openrouter(mut fields: Fields<'_>, reasoned: &mut Reasoned) -> Result<(), Fault> {
    if let Some(word) = fields.string("effort")? {
        let wanted = "one of none, minimal, low, medium, high, xhigh, max";
        let effort = Effort::parse(&word).ok_or_else(|| fields.wrong("effort", wanted))?;
        reasoned.effort = Some(effort);
    }
    reasoned.budget_tokens = fields.count("max_tokens")?.or(reasoned.budget_tokens);
    reasoned.summary = fields.string("summary")?;
    reasoned.show = fields.boolean("exclude")?.map(|exclude| !exclude).or(reasoned.show);
    match fields.boolean("enabled")? {
        Some(false) => reasoned.disabled = true,
        Some(true) if reasoned.effort.is_none() && reasoned.budget_tokens.is_none() => {
            // What OpenRouter makes of it.
            reasoned.effort = Some(Effort::Medium);
        }
        _ => {}
    }
    Ok(())
}

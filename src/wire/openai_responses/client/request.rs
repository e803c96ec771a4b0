//! A request body: its top-level fields, read into an `Ask`, and those of them that the response object repeats.
//! Knows nothing of what items and tools look like inside, nor which provider the request is for.
//! Fields: <https://platform.openai.com/docs/api-reference/responses/create>.

use serde_json::value::RawValue;

use super::super::super::codec::{Asked, Echo};
use super::super::super::fields::{Fields, as_string, wrong};
use super::FORMAT;
use super::{items, tools};
use crate::conversation::{Ask, Effort, Extras, Json, Part, Reasoned, Role, TextFormat, Turn};
use crate::ground::fault::Fault;

/// The fields that the response object repeats, or that say how it is to be shaped.
const ECHOED: [&str; 25] = [
    "background",
    "conversation",
    "frequency_penalty",
    "include",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "presence_penalty",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
];

/// Reads a request body.
///
/// # Errors
/// `InvalidRequest` with the path of the field and what it must be.
pub(super) fn read(body: &[u8]) -> Result<Asked, Fault> {
    let mut fields = whole(body)?;
    let echo = echo(&fields);
    refuse_background(&mut fields)?;
    let mut ask = Ask::new(FORMAT);
    // Which model it is for has been decided before.
    fields.string("model")?;
    read_turns(&mut fields, &mut ask)?;
    read_tools(&mut fields, &mut ask)?;
    read_limits(&mut fields, &mut ask)?;
    read_text(&mut fields, &mut ask)?;
    read_reasoning(&mut fields, &mut ask)?;
    read_labels(&mut fields, &mut ask)?;
    ask.stream = fields.boolean("stream")?.unwrap_or_default();
    ask.extras = with_rest(ask.extras, fields);
    Ok((ask, echo))
}

/// The members of the body.
///
/// # Errors
/// `InvalidRequest`: it is not one JSON object.
pub(super) fn whole(body: &[u8]) -> Result<Fields<'_>, Fault> {
    Fields::of_bytes(body)
        .ok_or_else(|| Fault::invalid("The request body must be one JSON object, and it is not."))
}

fn echo(fields: &Fields<'_>) -> Echo {
    let kept = ECHOED.iter().filter_map(|name| {
        let value = fields.peek(name)?;
        Some(((*name).to_owned(), Json::of_raw(value)))
    });
    // `user` is both repeated and often long; it stands last as the field OpenAI is giving up.
    let user = fields.peek("user").map(|user| ("user".to_owned(), Json::of_raw(user)));
    Echo { fields: kept.chain(user).collect(), include_usage: false }
}

fn refuse_background(fields: &mut Fields<'_>) -> Result<(), Fault> {
    if fields.boolean("background")? != Some(true) {
        return Ok(());
    }
    let why = "`background: true` is not supported: nothing here goes on working once the request has ended. Leave \
               `background` out, and stream the answer with `stream: true` if it takes long.";
    Err(Fault::invalid(why).with_param("background"))
}

fn read_turns(fields: &mut Fields<'_>, ask: &mut Ask) -> Result<(), Fault> {
    if let Some(instructions) = fields.string("instructions")?
        && !instructions.is_empty()
    {
        ask.turns.push(Turn::new(Role::System, vec![Part::text(instructions)]));
    }
    let elsewhere = ["previous_response_id", "conversation", "prompt"];
    match fields.take("input") {
        Some(input) if input.get().starts_with('"') => {
            let text = as_string(input).unwrap_or_default();
            ask.turns.push(Turn::new(Role::User, vec![Part::text(text)]));
        }
        Some(input) => {
            if !input.get().starts_with('[') {
                return Err(wrong("input", "a string or a list of items"));
            }
            let read = items::read(input, "input")?;
            ask.turns.extend(read.turns);
            ask.tools = read.tools;
        }
        None if elsewhere.iter().any(|name| fields.has(name)) || !ask.turns.is_empty() => {}
        None => return fields.required::<()>("input", None),
    }
    Ok(())
}

fn read_tools(fields: &mut Fields<'_>, ask: &mut Ask) -> Result<(), Fault> {
    let lifted = std::mem::take(&mut ask.tools);
    if let Some(list) = fields.list("tools")? {
        ask.tools = tools::read(list)?;
    }
    tools::join(&mut ask.tools, lifted);
    if let Some(choice) = fields.take("tool_choice") {
        ask.tool_choice = Some(tools::choice(choice)?);
    }
    ask.parallel_tool_calls = fields.boolean("parallel_tool_calls")?;
    Ok(())
}

fn read_limits(fields: &mut Fields<'_>, ask: &mut Ask) -> Result<(), Fault> {
    ask.max_tokens = fields.count("max_output_tokens")?;
    let sampling = &mut ask.sampling;
    sampling.temperature = fields.number("temperature")?;
    sampling.top_p = fields.number("top_p")?;
    sampling.presence_penalty = fields.number("presence_penalty")?;
    sampling.frequency_penalty = fields.number("frequency_penalty")?;
    sampling.top_logprobs = fields.count("top_logprobs")?;
    let wanted = fields
        .peek("include")
        .is_some_and(|include| include.get().contains("\"message.output_text.logprobs\""));
    if wanted || sampling.top_logprobs.is_some_and(|most| most > 0) {
        sampling.logprobs = Some(true);
    }
    Ok(())
}

fn read_text(fields: &mut Fields<'_>, ask: &mut Ask) -> Result<(), Fault> {
    let Some(mut text) = fields.object("text")? else { return Ok(()) };
    ask.verbosity = text.string("verbosity")?;
    if let Some(format) = text.take("format") {
        ask.text_format = text_format(format)?;
    }
    keep_rest(&mut ask.extras, "text", text);
    Ok(())
}

fn text_format(raw: &RawValue) -> Result<Option<TextFormat>, Fault> {
    let mut format = Fields::within(raw, "text.format".into())?;
    let kind = format.word("type")?;
    Ok(match &*format.required("type", kind)? {
        "text" => None,
        "json_object" => Some(TextFormat::JsonObject),
        "json_schema" => {
            let name = format.string("name")?;
            let schema = format.json("schema");
            Some(TextFormat::JsonSchema {
                name: format.required("name", name)?,
                description: format.string("description")?,
                schema: format.required("schema", schema)?,
                strict: format.boolean("strict")?,
            })
        }
        _ => Some(TextFormat::Foreign { format: FORMAT, value: Json::of_raw(raw) }),
    })
}

fn read_reasoning(fields: &mut Fields<'_>, ask: &mut Ask) -> Result<(), Fault> {
    let Some(mut reasoning) = fields.object("reasoning")? else { return Ok(()) };
    let mut reasoned = Reasoned::default();
    if let Some(word) = reasoning.string("effort")? {
        let effort = Effort::parse(&word).ok_or_else(|| {
            reasoning.wrong("effort", "one of none, minimal, low, medium, high, xhigh, max")
        })?;
        reasoned.effort = Some(effort);
        reasoned.disabled = effort == Effort::None;
    }
    // `generate_summary` is the older name.
    let older = reasoning.string("generate_summary")?;
    reasoned.summary = reasoning.string("summary")?.or(older);
    keep_rest(&mut ask.extras, "reasoning", reasoning);
    ask.reasoning = Some(reasoned);
    Ok(())
}

fn read_labels(fields: &mut Fields<'_>, ask: &mut Ask) -> Result<(), Fault> {
    if fields.peek("metadata").is_some_and(|metadata| !metadata.get().starts_with('{')) {
        return Err(fields.wrong("metadata", "an object of strings"));
    }
    ask.metadata = fields.json("metadata");
    ask.service_tier = fields.string("service_tier")?;
    // With both, `user` rides along for those that have both.
    ask.user = match fields.string("safety_identifier")? {
        Some(identifier) => Some(identifier),
        None => fields.string("user")?,
    };
    Ok(())
}

/// Keeps what is left of a nested object, under its own name.
fn keep_rest(extras: &mut Extras, name: &str, left: Fields<'_>) {
    let left = left.rest(FORMAT);
    if left.is_empty() {
        return;
    }
    let mut object = super::super::object::Object::default();
    for (name, value) in left.of(FORMAT) {
        object.put(name.clone(), value.clone());
    }
    let mut kept = extras.of(FORMAT).to_vec();
    kept.push((name.to_owned(), object.into_json()));
    *extras = Extras::new(FORMAT, kept);
}

fn with_rest(extras: Extras, fields: Fields<'_>) -> Extras {
    let mut kept = extras.of(FORMAT).to_vec();
    kept.extend_from_slice(fields.rest(FORMAT).of(FORMAT));
    Extras::new(FORMAT, kept)
}

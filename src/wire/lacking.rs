//! What requests hold that providers without OpenAI's breadth have no field for: which functions are left to
//! offer after the client's choice, which knobs are lost, and where the client wrote them. It knows the
//! names clients use, not how any provider spells anything.

use serde::Serialize;

use crate::conversation::{Ask, Format, Json, Losses, ToolChoice, ToolKind};
use crate::ground::fault::Fault;

/// The functions a model may call, after the client's `tool_choice`.
#[derive(Debug, Default)]
pub struct Offer<'a> {
    pub functions: Vec<Function<'a>>,
    pub choice: Choice,
}

/// One function.
#[derive(Debug, Serialize)]
pub struct Function<'a> {
    pub name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<&'a str>,
    /// A JSON Schema object.
    pub parameters: Json,
}

/// Whether a function has to be called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    #[default]
    Free,
    /// One of them must be.
    Must,
    /// None may be.
    Never,
}

/// The functions to offer. Tools that providers run themselves are losses; what a choice rules out is left
/// away, which is how it is kept where a format has no word for it.
///
/// # Errors
/// `InvalidRequest`: the choice names a tool that is not there.
pub fn offer<'a>(ask: &'a Ask, losses: &mut Losses) -> Result<Offer<'a>, Fault> {
    let mut functions = Vec::with_capacity(ask.tools.len());
    for (at, tool) in ask.tools.iter().enumerate() {
        let ToolKind::Function { schema, strict } = &tool.kind else {
            losses.add(format!("tools[{at}]"), "the provider has no tools of this type");
            continue;
        };
        if *strict == Some(true) {
            losses
                .add(format!("tools[{at}].strict"), "the provider cannot hold a call to a schema");
        }
        let parameters = schema.clone().unwrap_or_else(no_parameters);
        let description = tool.description.as_deref();
        functions.push(Function { name: &tool.name, description, parameters });
    }
    let choice = match &ask.tool_choice {
        None | Some(ToolChoice::Auto) => Choice::Free,
        Some(ToolChoice::None) => Choice::Never,
        Some(ToolChoice::Required) => Choice::Must,
        Some(ToolChoice::Named { name, .. }) => {
            functions.retain(|function| function.name == name);
            if functions.is_empty() {
                let what = format!("`tool_choice` names `{name}`, which is not among `tools`.");
                return Err(Fault::invalid(what).with_param("tool_choice"));
            }
            Choice::Must
        }
        Some(ToolChoice::Allowed { names, required }) => {
            functions.retain(|function| names.iter().any(|name| name == function.name));
            if *required { Choice::Must } else { Choice::Free }
        }
        Some(ToolChoice::Foreign { .. }) => {
            losses.add("tool_choice", "the provider has no such choice");
            Choice::Free
        }
    };
    Ok(Offer { functions, choice })
}

/// The knobs that neither Ollama nor Cohere has.
pub fn knobs(ask: &Ask, losses: &mut Losses) {
    const WHY: &str = "the provider has no such parameter";
    let sampling = &ask.sampling;
    losses.add_if(sampling.n.filter(|n| *n > 1), "n", "the provider gives one answer");
    losses.add_if(sampling.logit_bias.as_ref(), "logit_bias", WHY);
    let parallel = place(ask.format, Knob::ParallelToolCalls);
    losses.add_if(ask.parallel_tool_calls.filter(|allowed| !allowed), parallel, WHY);
    losses.add_if(ask.verbosity.as_ref(), place(ask.format, Knob::Verbosity), WHY);
    losses.add_if(ask.user.as_ref(), place(ask.format, Knob::User), WHY);
    losses.add_if(ask.metadata.as_ref(), "metadata", WHY);
    let tier = ask.service_tier.as_deref().filter(|tier| !matches!(*tier, "auto" | "default"));
    losses.add_if(tier, "service_tier", WHY);
}

/// What clients' formats name differently.
#[derive(Clone, Copy, Debug)]
pub enum Knob {
    ParallelToolCalls,
    Verbosity,
    User,
    Reasoning,
    TextFormat,
    Stop,
}

/// Where a knob stands in a client's request.
pub fn place(format: Format, knob: Knob) -> &'static str {
    match (format, knob) {
        (Format::Anthropic, Knob::ParallelToolCalls) => "tool_choice.disable_parallel_tool_use",
        (_, Knob::ParallelToolCalls) => "parallel_tool_calls",
        (Format::OpenAiResponses, Knob::Verbosity) => "text.verbosity",
        (_, Knob::Verbosity) => "verbosity",
        (Format::Anthropic, Knob::User) => "metadata.user_id",
        (_, Knob::User) => "user",
        (Format::OpenAiResponses, Knob::Reasoning) => "reasoning",
        (Format::Anthropic, Knob::Reasoning) => "thinking",
        (_, Knob::Reasoning) => "reasoning_effort",
        (Format::OpenAiResponses, Knob::TextFormat) => "text.format",
        (Format::Anthropic, Knob::TextFormat) => "output_config.format",
        (_, Knob::TextFormat) => "response_format",
        (Format::Anthropic, Knob::Stop) => "stop_sequences",
        (_, Knob::Stop) => "stop",
    }
}

/// A schema that takes nothing.
fn no_parameters() -> Json {
    Json::of(&serde_json::json!({ "type": "object", "properties": {} }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::{CallKind, Extras, Tool};

    fn ask(names: &[&str], choice: ToolChoice) -> Ask {
        let tool = |name: &&str| Tool {
            name: (*name).to_owned(),
            namespace: None,
            description: None,
            kind: ToolKind::Function { schema: None, strict: Some(*name == "strict") },
            cache_control: None,
            extras: Extras::default(),
        };
        let tools = names.iter().map(tool).collect();
        Ask { tools, tool_choice: Some(choice), ..Ask::new(Format::OpenAiChat) }
    }

    #[track_caller]
    fn check(choice: ToolChoice, names: &[&str], expected: Choice) {
        let ask = ask(&["a", "b", "strict"], choice);
        let mut losses = Losses::default();
        let offer = offer(&ask, &mut losses).expect("an offer");
        let found: Vec<_> = offer.functions.iter().map(|function| function.name).collect();
        assert_eq!((&*found, offer.choice), (names, expected));
        assert_eq!(losses.paths(), "tools[2].strict");
    }

    #[test]
    fn a_choice_is_kept_by_what_is_offered() {
        let named = |name: &str| ToolChoice::Named {
            name: name.into(),
            namespace: None,
            kind: CallKind::Function,
        };
        let all = ["a", "b", "strict"];
        check(ToolChoice::Auto, &all, Choice::Free);
        check(ToolChoice::None, &all, Choice::Never);
        check(ToolChoice::Required, &all, Choice::Must);
        check(named("b"), &["b"], Choice::Must);
        let allowed = ToolChoice::Allowed { names: vec!["a".into(), "x".into()], required: false };
        check(allowed, &["a"], Choice::Free);
        let ask = ask(&["a"], named("z"));
        let fault = offer(&ask, &mut Losses::default()).expect_err("no such tool");
        assert_eq!(fault.param.as_deref(), Some("tool_choice"));
    }
}

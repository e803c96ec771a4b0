//! What an answer comes to, whatever format carried it: formats differ in how they part texts and where
//! thoughts stand, but not in what is said, thought and called.

use tidegate::conversation::{Choice, Content, Finish, Reply};

/// What one answer says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Gist {
    pub(super) text: String,
    pub(super) refusal: String,
    pub(super) thoughts: String,
    /// Id, name, arguments.
    pub(super) calls: Vec<(String, String, String)>,
    pub(super) finish: &'static str,
}

/// The first of its answers: not every format has more.
pub(super) fn of(reply: &Reply) -> Gist {
    reply.choices.first().map(of_choice).unwrap_or_default()
}

fn of_choice(choice: &Choice) -> Gist {
    let mut gist =
        Gist { finish: choice.finish.as_ref().map_or("none", finish), ..Gist::default() };
    for part in &choice.parts {
        match &part.content {
            Content::Text { text, .. } => gist.text.push_str(text),
            Content::Refusal(text) => gist.refusal.push_str(text),
            Content::Reasoning(reasoning) => {
                reasoning.summary.iter().for_each(|text| gist.thoughts.push_str(text));
                gist.thoughts.push_str(&reasoning.text);
            }
            Content::ToolCall(call) => {
                let arguments = match call.arguments.trim() {
                    "" => "{}",
                    arguments => arguments,
                };
                let parsed = serde_json::from_str::<serde_json::Value>(arguments);
                let arguments = parsed.map_or(arguments.to_owned(), |value| value.to_string());
                gist.calls.push((call.id.clone(), call.name.clone(), arguments));
            }
            Content::Media(_)
            | Content::ToolResult(_)
            | Content::Served(_)
            | Content::Foreign { .. } => {}
        }
    }
    if gist.finish == "stop" && !gist.calls.is_empty() {
        gist.finish = "calls";
    }
    // Formats part thoughts in their own ways.
    gist.thoughts.retain(|c| !c.is_whitespace());
    gist
}

fn finish(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::Pause | Finish::Fault(_) => "stop",
        Finish::Length | Finish::ContextWindow => "length",
        Finish::ToolCalls => "calls",
        Finish::Filtered(_) => "filtered",
    }
}

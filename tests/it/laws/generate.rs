//! Made-up conversations and answers: small, but with what makes formats stumble.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tidegate::conversation::{
    Annotation, Ask, CallKind, Choice, Content, Delta, Effort, Event, Finish, Format, Head, Json,
    Media, MediaKind, Part, Reasoned, Reasoning, Reply, Role, Sampling, Seal, Source, TextFormat,
    Tool, ToolCall, ToolChoice, ToolKind, ToolResult, Turn, Usage,
};

const TOOLS: [&str; 4] = [
    "get_weather",
    "now",
    "mcp.docs/search",
    "a_name_far_longer_than_the_sixty_four_characters_that_OpenAI_takes_of_it",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zé \n]{1,12}",
        1 => Just(String::new()),
        1 => Just(" \n".to_owned()),
        1 => Just("\u{2028}🙂\u{85}\r\ndata: x\n\n".to_owned()),
        1 => Just("\"\\{}[]\u{0}</think>".to_owned()),
    ]
}

fn some_text() -> impl Strategy<Value = String> {
    text().prop_map(|text| format!("{text}."))
}

fn arguments() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("{}".to_owned()),
        Just(String::new()),
        Just(r#"{"city": "Zürich", "n": 1.0e2}"#.to_owned()),
        Just(r#"{"a":{"b":[1,null,"\u2028"]}}"#.to_owned()),
    ]
}

fn seal() -> impl Strategy<Value = Option<Seal>> {
    let format = prop_oneof![
        Just(Format::Anthropic),
        Just(Format::Gemini),
        Just(Format::OpenAiResponses),
        Just(Format::Bedrock),
    ];
    option::of((format, "[a-zA-Z0-9+/]{4,12}").prop_map(|(format, data)| Seal { format, data }))
}

fn reasoning() -> impl Strategy<Value = Part> {
    (some_text(), vec(some_text(), 0..3), seal(), any::<bool>()).prop_map(
        |(text, summary, seal, both)| {
            let redacted = seal.is_some() && !both && summary.is_empty();
            let text =
                if redacted || (!both && !summary.is_empty()) { String::new() } else { text };
            Part::reasoning(Reasoning { text, summary, seal, redacted, id: None })
        },
    )
}

/// A part of an answer; calls are numbered afterwards.
fn said() -> impl Strategy<Value = Part> {
    prop_oneof![
        4 => some_text().prop_map(Part::text),
        1 => some_text().prop_map(cited),
        1 => some_text().prop_map(|text| Part::new(Content::Refusal(text))),
        2 => reasoning(),
        3 => call(),
    ]
}

fn cited(text: String) -> Part {
    let end = u64::try_from(text.chars().count()).ok();
    let url = "https://example.com".to_owned();
    let annotation = Annotation::Url { url, title: Some("t".into()), start: Some(0), end };
    Part::new(Content::Text { text, annotations: vec![annotation], logprobs: None })
}

fn call() -> impl Strategy<Value = Part> {
    (0..2_usize, arguments(), seal()).prop_map(|(name, arguments, seal)| {
        let name = TOOLS[name].to_owned();
        Part::new(Content::ToolCall(ToolCall { name, arguments, seal, ..ToolCall::default() }))
    })
}

/// An answer that any client's format can hold.
pub(super) fn reply() -> impl Strategy<Value = Reply> {
    let finish = prop_oneof![
        3 => Just(Finish::Stop),
        1 => Just(Finish::Length),
        1 => Just(Finish::StopSequence(Some("END".into()))),
        1 => Just(Finish::ContextWindow),
    ];
    let count = || option::of(0_u64..1000);
    let usage = (count(), count(), count(), count(), count());
    (vec(said(), 0..5), finish, usage).prop_map(|(mut parts, finish, usage)| {
        number(&mut parts, "call_");
        let calls = parts.iter().any(|part| part.as_call().is_some());
        let (input, output, cache_read, cache_write, reasoning) = usage;
        let usage = Usage { input, output, cache_read, cache_write, reasoning, ..Usage::default() };
        let choice = Choice { parts, finish: Some(finish.with_calls(calls)) };
        Reply { head: Head::default(), choices: vec![choice], usage: Some(usage) }
    })
}

fn number(parts: &mut [Part], prefix: &str) {
    for (at, part) in parts.iter_mut().enumerate() {
        if let Content::ToolCall(call) = &mut part.content {
            call.id = format!("{prefix}{at}");
        }
    }
}

/// The answer's events with blocks side by side, as calls come from some providers.
pub(super) fn interleaved(reply: Reply, order: &[u8]) -> Vec<Event> {
    let mut events = reply.into_events();
    let ends = |event: &Event| matches!(event, Event::Finish { .. } | Event::Usage(_));
    let end = events.iter().position(ends).unwrap_or(events.len());
    let tail = events.split_off(end);
    let mut out = vec![events.remove(0)];
    let mut blocks: Vec<VecDeque<Event>> = Vec::new();
    for event in events {
        match event {
            Event::Open { .. } => blocks.push(VecDeque::from([event])),
            event => blocks.last_mut().unwrap().push_back(event),
        }
    }
    // Blocks open in their order; from then on it is anybody's turn.
    let mut waiting: VecDeque<VecDeque<Event>> = blocks.into();
    let mut running: Vec<VecDeque<Event>> = Vec::new();
    let mut order = order.iter().cycle();
    while !(waiting.is_empty() && running.is_empty()) {
        let pick = usize::from(*order.next().unwrap());
        // Only calls run side by side: texts of one kind would be told in another order.
        let may_open =
            waiting.front().is_some_and(|next| is_call(next) || running.iter().all(is_call));
        let sides = running.len() + usize::from(may_open);
        match pick % sides {
            at if at < running.len() => {
                out.extend(running[at].pop_front());
                if running[at].is_empty() {
                    running.remove(at);
                }
            }
            _ => {
                let mut block = waiting.pop_front().unwrap();
                out.extend(block.pop_front());
                if !block.is_empty() {
                    running.push(block);
                }
            }
        }
    }
    out.extend(tail);
    out
}

/// Whether what is left of a block shows that it is a call.
fn is_call(block: &VecDeque<Event>) -> bool {
    block.iter().any(|event| match event {
        Event::Open { part, .. } => part.as_call().is_some(),
        Event::Delta { delta, .. } => matches!(delta, Delta::Arguments(_)),
        _ => false,
    })
}

fn picture() -> impl Strategy<Value = Part> {
    let source = prop_oneof![
        2 => Just(Source::Base64 { media_type: "image/png".into(), data: "iVBORw0KGgo=".into() }),
        1 => Just(Source::Url("https://example.com/a.png".into())),
    ];
    source.prop_map(|source| {
        let media = Media { kind: MediaKind::Image, source, name: None, detail: None };
        Part::new(Content::Media(media))
    })
}

fn result() -> impl Strategy<Value = Part> {
    let parts = vec(prop_oneof![3 => text().prop_map(Part::text), 1 => picture()], 0..3);
    // Some results answer calls that nobody made.
    ("call_[0-9]_[0-5]", parts, any::<bool>()).prop_map(|(call_id, parts, is_error)| {
        let result = ToolResult { call_id, parts, is_error, ..ToolResult::default() };
        Part::new(Content::ToolResult(result))
    })
}

fn turn() -> impl Strategy<Value = Turn> {
    let asked =
        vec(prop_oneof![4 => text().prop_map(Part::text), 1 => picture(), 3 => result()], 0..4);
    prop_oneof![
        4 => asked.prop_map(|parts| Turn::new(Role::User, parts)),
        4 => vec(said(), 0..4).prop_map(|parts| Turn::new(Role::Assistant, parts)),
        1 => text().prop_map(|text| Turn::new(Role::System, vec![Part::text(text)])),
        1 => text().prop_map(|text| Turn::new(Role::Developer, vec![Part::text(text)])),
    ]
}

fn tools() -> impl Strategy<Value = Vec<Tool>> {
    let schemas = [
        None,
        Some(r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#),
        Some(
            r##"{"$schema":"x","type":"object","properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"type":["integer","null"],"exclusiveMinimum":0}}}"##,
        ),
        Some(
            r#"{"type":"object","additionalProperties":true,"properties":{"x":{"anyOf":[{"const":1},{"type":"array"}]}}}"#,
        ),
    ];
    vec((0..TOOLS.len(), 0..schemas.len(), option::of(any::<bool>()), any::<bool>()), 0..4)
        .prop_map(move |tools| {
            let make = |(name, schema, strict, custom): (usize, usize, _, bool)| Tool {
                name: TOOLS[name].to_owned(),
                namespace: None,
                description: Some("Does.".into()),
                kind: if custom && name > 1 {
                    ToolKind::Custom { format: None }
                } else {
                    let schema = schemas[schema].and_then(Json::parse);
                    ToolKind::Function { schema, strict }
                },
                cache_control: None,
                extras: Default::default(),
            };
            tools.into_iter().map(make).collect()
        })
}

fn choice() -> impl Strategy<Value = Option<ToolChoice>> {
    let name = || TOOLS[0].to_owned();
    option::of(prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::None),
        Just(ToolChoice::Required),
        Just(ToolChoice::Named { name: name(), namespace: None, kind: CallKind::Function }),
        any::<bool>()
            .prop_map(move |required| ToolChoice::Allowed { names: vec![name()], required }),
    ])
}

fn sampling() -> impl Strategy<Value = Sampling> {
    let number = || {
        option::of(prop_oneof![Just("0"), Just("1.0e0"), Just("0.70"), Just("2")])
            .prop_map(|text| text.and_then(Json::parse))
    };
    let stop = vec(prop_oneof![Just("END"), Just("\n"), Just("")], 0..6);
    (number(), number(), number(), number(), stop, option::of(1_u64..3), option::of(any::<bool>()))
        .prop_map(|(temperature, top_p, top_k, seed, stop, n, logprobs)| Sampling {
            temperature,
            top_p,
            top_k,
            seed,
            stop: stop.into_iter().map(str::to_owned).collect(),
            n,
            logprobs,
            top_logprobs: logprobs.filter(|wanted| *wanted).map(|_| 2),
            ..Sampling::default()
        })
}

fn reasoned() -> impl Strategy<Value = Option<Reasoned>> {
    let effort = prop_oneof![
        Just(Effort::None),
        Just(Effort::Minimal),
        Just(Effort::Low),
        Just(Effort::High),
        Just(Effort::Max),
    ];
    option::of(
        (option::of(effort), option::of(0_u64..9000), any::<bool>(), option::of(any::<bool>()))
            .prop_map(|(effort, budget_tokens, adaptive, show)| Reasoned {
                effort,
                budget_tokens,
                adaptive,
                show,
                ..Reasoned::default()
            }),
    )
}

fn text_format() -> impl Strategy<Value = Option<TextFormat>> {
    let schema =
        Json::parse(r#"{"type":"object","properties":{"a":{"type":"integer","minimum":0}}}"#);
    let schema = TextFormat::JsonSchema {
        name: "answer".into(),
        description: None,
        schema: schema.unwrap(),
        strict: Some(true),
    };
    option::weighted(0.3, prop_oneof![Just(TextFormat::JsonObject), Just(schema)])
}

/// A request as a client's half might have read it, or worse.
pub(super) fn ask() -> impl Strategy<Value = Ask> {
    let format = prop_oneof![
        Just(Format::OpenAiChat),
        Just(Format::OpenAiResponses),
        Just(Format::Anthropic),
    ];
    let settings = (sampling(), reasoned(), text_format(), option::of(0_u64..9000));
    let flags = (any::<bool>(), option::of(any::<bool>()));
    (format, vec(turn(), 0..7), tools(), choice(), settings, flags).prop_map(
        |(format, mut turns, tools, tool_choice, settings, (stream, parallel_tool_calls))| {
            for (at, turn) in turns.iter_mut().enumerate() {
                number(&mut turn.parts, &format!("call_{at}_"));
            }
            let (sampling, reasoning, text_format, max_tokens) = settings;
            Ask {
                turns,
                tools,
                tool_choice,
                parallel_tool_calls,
                max_tokens,
                sampling,
                text_format,
                reasoning,
                stream,
                ..Ask::new(format)
            }
        },
    )
}

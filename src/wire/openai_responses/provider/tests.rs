//! What this half promises: a stream folded is the answer whole, cuts make no difference, and requests carry what
//! OpenAI takes and name what it does not.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::super::catalogue::PROVIDERS;
use super::super::super::codec::{Options, Outbound, ReplyContext, Target};
use super::super::super::framing::Frames;
use super::PROVIDER;
use crate::conversation::{
    Annotation, Ask, CallKind, Content, Effort, Event, Extras, Finish, Fold, Format, Json, Losses,
    Media, MediaKind, Part, Reasoned, Reasoning, Reply, Role, Seal, Source, TextFormat, Tool,
    ToolCall, ToolChoice, ToolKind, ToolResult, Turn,
};
use crate::ground::fault::Fault;

macro_rules! golden {
    ($($name:tt)*) => {
        include_str!(concat!("../../../../tests/golden/answers/openai_responses/", $($name)*))
    };
}

macro_rules! pairs {
    ($($name:literal),* $(,)?) => {
        &[$(($name, golden!($name, ".sse"), golden!($name, ".json"))),*]
    };
}

/// Streams with the same answers whole.
const BOTH: &[(&str, &str, &str)] = pairs![
    "text",
    "tool",
    "no_arguments",
    "parallel",
    "custom",
    "reasoning",
    "refusal",
    "length",
    "filtered",
    "citations",
    "image",
    "mcp",
    "client_tools",
    "sparse_deltas_only",
    "sparse_arguments_done",
    "sparse_last_event_only",
];

fn whole(body: &str) -> Result<Reply, Fault> {
    (PROVIDER.reply)(body.as_bytes(), &mut ReplyContext::default())
}

/// The events of a stream that comes in these pieces.
fn events(pieces: impl IntoIterator<Item = Bytes>) -> Vec<Event> {
    let (mut frames, mut out) = (Frames::new(PROVIDER.framing), Vec::new());
    let mut decode = (PROVIDER.stream)(ReplyContext::default());
    for piece in pieces {
        frames.push(piece, |frame| decode.frame(frame, &mut out)).expect("readable");
    }
    frames.end(|frame| decode.frame(frame, &mut out));
    decode.end(&mut out);
    out
}

fn streamed(text: &'static str) -> Vec<Event> {
    events([Bytes::from_static(text.as_bytes())])
}

fn fold(events: &[Event]) -> Result<Reply, Fault> {
    let mut fold = Fold::default();
    events.iter().cloned().for_each(|event| fold.push(event));
    fold.finish()
}

/// Every block is opened once, in order, and closed before the end.
fn assert_orderly(name: &str, events: &[Event]) {
    let mut open: BTreeMap<u32, bool> = BTreeMap::new();
    let mut finished = false;
    for event in events {
        match event {
            Event::Open { block, .. } => {
                assert_eq!(*block as usize, open.len(), "{name}");
                open.insert(*block, true);
            }
            Event::Delta { block, .. } => assert!(open[block], "{name}: grows when closed"),
            Event::Close { block, .. } => {
                assert_eq!(open.insert(*block, false), Some(true), "{name}");
            }
            Event::Finish { .. } => {
                assert!(!finished && open.values().all(|is_open| !is_open), "{name}");
                finished = true;
            }
            _ => {}
        }
    }
    assert!(matches!(events.first(), Some(Event::Begin(_))), "{name}");
    assert!(finished, "{name}");
}

#[test]
fn a_stream_folded_is_the_answer_whole() {
    for (name, stream, body) in BOTH {
        let events = streamed(stream);
        assert_orderly(name, &events);
        let expected = whole(body).expect(name);
        assert_eq!(fold(&events).expect(name), expected, "{name}");
        assert!(expected.usage.is_some(), "{name}");
    }
}

fn parts(body: &str) -> (Vec<Part>, Finish) {
    let mut reply = whole(body).expect("an answer");
    let choice = reply.choices.remove(0);
    (choice.parts, choice.finish.expect("a finish"))
}

#[test]
fn answers_are_read() {
    let reply = whole(golden!("text.json")).expect("an answer");
    assert_eq!(reply.head.created, Some(1_741_290_958));
    let usage = reply.usage.expect("usage");
    assert_eq!(
        (usage.input, usage.output, usage.cache_read, usage.cache_write, usage.reasoning),
        (Some(37), Some(11), Some(12), Some(0), Some(4))
    );
    let (texts, finish) = parts(golden!("text.json"));
    assert_eq!(texts[0].as_text(), Some("Hi there! How can I assist you today? 👋\u{2028}"));
    assert_eq!(finish, Finish::Stop);
    let kept: Vec<&str> =
        texts[0].extras.of(PROVIDER.format).iter().map(|(name, _)| &**name).collect();
    assert_eq!(kept, ["id", "phase"]);

    let (tool, finish) = parts(golden!("tool.json"));
    assert_eq!(finish, Finish::ToolCalls);
    let call = tool[1].as_call().expect("a call");
    assert_eq!(call.arguments, r#"{"location":"Boston, MA","unit":"celsius"}"#);
    assert_eq!(call.id, "call_unDCBxsFAKLoGlsp3xmYYDP1");
    let Content::Reasoning(reasoning) = &tool[0].content else { panic!("a thought") };
    assert_eq!(reasoning.summary, ["**Looking up** the weather"]);
    assert_eq!(reasoning.seal.as_ref().expect("sealed").data, "gAAAAABoiPbS");

    let (custom, _) = parts(golden!("custom.json"));
    let call = custom[1].as_call().expect("a call");
    assert_eq!((call.kind, call.name.as_str()), (CallKind::Custom, "apply_patch"));
    assert!(call.arguments.starts_with("*** Begin Patch\n"));
    assert_eq!(custom[2].as_call().expect("a call").namespace.as_deref(), Some("mcp__docs"));

    let (tools, _) = parts(golden!("client_tools.json"));
    let calls: Vec<(CallKind, &str, &str)> = tools
        .iter()
        .filter_map(Part::as_call)
        .map(|call| (call.kind, &*call.name, &*call.arguments))
        .collect();
    assert_eq!(
        calls[1],
        (
            CallKind::LocalShell,
            "shell",
            r#"{"commands":["ls -l"],"timeout_ms":120000,"max_output_length":4096}"#
        )
    );
    assert_eq!(calls[2].0, CallKind::ApplyPatch);
    assert_eq!(
        calls[3],
        (CallKind::ToolSearch, "tool_search", r#"{"goal":"Find the shipping tool"}"#)
    );
    assert_eq!(tools.len(), 6, "the provider's own calls are carried");

    let (cited, _) = parts(golden!("citations.json"));
    assert!(matches!(cited[0].content, Content::Foreign { .. }));
    let Content::Text { annotations, .. } = &cited[1].content else { panic!("a text") };
    assert!(matches!(&annotations[0], Annotation::Url { start: Some(0), end: Some(15), .. }));
    assert!(matches!(&annotations[1], Annotation::Foreign { .. }));

    let (image, _) = parts(golden!("image.json"));
    let Content::Media(media) = &image[0].content else { panic!("a picture") };
    let source = Source::Base64 { media_type: "image/png".into(), data: "iVBORw0KGgo=".into() };
    assert_eq!(media.source, source);

    assert_eq!(parts(golden!("length.json")).1, Finish::Length);
    assert_eq!(parts(golden!("filtered.json")).1, Finish::Filtered(None));
    assert!(matches!(&parts(golden!("refusal.json")).0[0].content, Content::Refusal(_)));
    let (thought, _) = parts(golden!("reasoning.json"));
    let Content::Reasoning(reasoning) = &thought[0].content else { panic!("a thought") };
    assert_eq!(reasoning.text, "We think.\n\nAnd think again.");
}

#[test]
fn an_empty_output_at_the_end_takes_nothing_away() {
    let events = streamed(golden!("sparse_empty_output.sse"));
    assert_orderly("sparse_empty_output", &events);
    let reply = fold(&events).expect("an answer");
    let expected = parts(golden!("sparse_last_event_only.json"));
    assert_eq!(reply.choices[0].parts, expected.0);
    assert_eq!(reply.choices[0].finish, Some(Finish::ToolCalls));
}

#[track_caller]
fn check_failure(stream: &'static str, status: u16, code: Option<&str>) -> Fault {
    let events = streamed(stream);
    assert!(matches!(events.last(), Some(Event::Fail(_))), "nothing follows");
    let fault = fold(&events).expect_err("a failure");
    assert_eq!((fault.status(), fault.code()), (status, code));
    fault
}

#[test]
fn failures_are_told_as_such() {
    let fault = check_failure(golden!("failed.sse"), 429, Some("rate_limit_exceeded"));
    assert_eq!(fault.message, "Rate limit reached. Please try again in 2.5s.");
    assert_eq!(whole(golden!("failed.json")).expect_err("failed").message, fault.message);
    let fault = check_failure(golden!("error.sse"), 400, Some("context_length_exceeded"));
    assert_eq!(fault.param.as_deref(), Some("input"));
    check_failure(golden!("truncated.sse"), 502, Some("upstream_invalid_response"));
    check_failure("", 502, Some("upstream_invalid_response"));
    check_failure("data: [DONE]\n\n", 502, Some("upstream_invalid_response"));
    check_failure("data: {\"ty\n\n", 502, Some("upstream_invalid_response"));
    check_failure("data: {\"error\":{\"message\":\"x\",\"code\":503}}\n\n", 503, Some("503"));
    check_failure(
        "event: error\ndata: {\"error\":{\"message\":\"x\",\"type\":\"invalid_request_error\"}}\n\n",
        400,
        None,
    );
    let nameless = "data: {\"type\":\"response.function_call_arguments.delta\",\"delta\":\"{}\"}\n\n\
                    data: {\"type\":\"response.completed\",\"response\":{\"output\":[]}}\n\n";
    check_failure(nameless, 502, Some("upstream_invalid_response"));
    for body in ["", "[]", "{", "{}", r#"{"status":"in_progress","output":[]}"#] {
        assert_eq!(whole(body).expect_err(body).status(), 502, "{body}");
    }
}

#[test]
fn wild_values_do_no_harm() {
    let wild = r#"{"output":[1,null,{"type":7},{"type":"message","content":"x"},{"type":"function_call","arguments":{"a":1},"name":"f"},{"type":"reasoning","summary":{},"content":[3]}],"usage":[],"id":4}"#;
    let (parts, finish) = parts(wild);
    let call = parts.iter().find_map(Part::as_call).expect("a call");
    assert_eq!(call.arguments, r#"{"a":1}"#);
    assert!(call.id.starts_with("call_"));
    assert_eq!(finish, Finish::ToolCalls);
    let stream = "data: {\"type\":\"response.output_text.delta\",\"output_index\":-1,\"delta\":7}\n\n\
        data: {\"type\":\"response.reasoning_summary_text.delta\",\"summary_index\":99999999999,\"delta\":\"x\"}\n\n\
        data: {\"type\":\"response.output_item.added\",\"item\":[]}\n\n\
        data: {\"type\":\"response.completed\",\"response\":7}\n\n";
    let events = streamed(stream);
    assert!(matches!(events.last(), Some(Event::Finish { .. })));
}

#[test]
fn names_without_types_are_read_by_the_events_name() {
    let stream = "event: response.output_text.delta\ndata: {\"delta\":\"hi\"}\n\n\
                  event: response.completed\ndata: {}\n\n";
    let reply = fold(&streamed(stream)).expect("an answer");
    assert_eq!(reply.choices[0].parts[0].as_text(), Some("hi"));
}

proptest! {
    #[test]
    fn cuts_make_no_difference(which in 0..BOTH.len(), cuts in proptest::collection::vec(0_usize..8000, 0..6)) {
        let (_, stream, _) = BOTH[which];
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.sort_unstable();
        cuts.push(stream.len());
        let mut from = 0;
        let pieces: Vec<Bytes> = cuts
            .into_iter()
            .map(|to| {
                let piece = Bytes::from_static(&stream.as_bytes()[from..to]);
                from = to;
                piece
            })
            .collect();
        prop_assert_eq!(format!("{:?}", events(pieces)), format!("{:?}", streamed(stream)));
    }
}

fn write(ask: &Ask, model: &str, losses: &mut Losses) -> Result<Outbound, Fault> {
    let provider = &PROVIDERS[0];
    let (info, options) = (serde_json::Map::new(), Options::default());
    let base = "https://api.openai.com/v1";
    let (info, options) = (&info, &options);
    let target = Target { model, provider, base, info, options, stream: ask.stream };
    (PROVIDER.request)(ask, &target, losses)
}

#[track_caller]
fn check_request(ask: &Ask, model: &str, expected: Value, losses: &str) {
    let mut lost = Losses::default();
    let outbound = write(ask, model, &mut lost).expect("writable");
    assert_eq!(outbound.path, "/responses");
    let body: Value = serde_json::from_slice(&outbound.body).expect("JSON");
    assert_eq!(body, expected, "{}", String::from_utf8_lossy(&outbound.body));
    assert_eq!(lost.paths(), losses);
}

fn user(text: &str) -> Turn {
    Turn::new(Role::User, vec![Part::text(text)])
}

fn call(id: &str, kind: CallKind, name: &str, arguments: &str) -> Part {
    Part::new(Content::ToolCall(ToolCall {
        id: id.into(),
        name: name.into(),
        kind,
        arguments: arguments.into(),
        ..ToolCall::default()
    }))
}

fn result(id: &str, kind: CallKind, parts: Vec<Part>) -> Part {
    let call_id = id.into();
    Part::new(Content::ToolResult(ToolResult { call_id, kind, parts, ..ToolResult::default() }))
}

fn picture() -> Part {
    let source = Source::Base64 { media_type: "image/png".into(), data: "AAAA".into() };
    let kind = MediaKind::Image;
    Part::new(Content::Media(Media { kind, source, name: None, detail: None }))
}

#[test]
fn a_chat_becomes_items() {
    let mut ask = Ask::new(Format::OpenAiChat);
    let foreign = Seal { format: Format::Anthropic, data: "sig".into() };
    let thought = Reasoning { text: "hm".into(), seal: Some(foreign), ..Reasoning::default() };
    ask.turns = vec![
        Turn::new(Role::System, vec![Part::text("Be brief."), Part::text("Be kind.")]),
        Turn {
            name: Some("ann".into()),
            ..Turn::new(Role::User, vec![Part::text("Look"), picture()])
        },
        Turn::new(
            Role::Assistant,
            vec![
                Part::reasoning(thought),
                Part::text(""),
                Part::text("Yes"),
                call("call_1", CallKind::Function, "f", ""),
                call(&"x".repeat(300), CallKind::Function, "f", "{\"a\":1.50}"),
            ],
        ),
        Turn::new(
            Role::User,
            vec![
                result("call_1", CallKind::Function, vec![Part::text("3 < 4")]),
                result(&"x".repeat(300), CallKind::Function, vec![Part::text("see"), picture()]),
                Part::text("So?"),
            ],
        ),
        Turn::new(Role::Developer, vec![Part::text("Now in French.")]),
    ];
    ask.sampling.stop = vec!["\n".into()];
    ask.sampling.n = Some(2);
    ask.sampling.seed = Json::parse("7");
    ask.sampling.logit_bias = Json::parse("{}");
    ask.sampling.temperature = Json::parse("0.70");
    ask.max_tokens = Some(4);
    ask.user = Some("u".repeat(150));
    ask.stream = true;
    ask.parallel_tool_calls = Some(true);
    ask.tool_choice = Some(ToolChoice::Auto);
    ask.extras = Extras::new(
        Format::OpenAiChat,
        vec![
            ("stream_options".into(), Json::parse("{}").expect("valid")),
            ("prompt_cache_key".into(), Json::parse("\"k\"").expect("valid")),
            ("modalities".into(), Json::parse("[]").expect("valid")),
        ],
    );
    let long = crate::conversation::stand_in::Abilities::RESPONSES.call_id.legal(&"x".repeat(300));
    let image =
        json!({"type":"input_image","image_url":"data:image/png;base64,AAAA","detail":"auto"});
    let mut lost = Losses::default();
    let outbound = write(&ask, "gpt-4.1", &mut lost).expect("writable");
    let body = String::from_utf8(outbound.body).expect("text");
    assert!(body.contains("\"temperature\":0.70"), "numbers keep their spelling: {body}");
    let mut body: Value = serde_json::from_str(&body).expect("JSON");
    let user = body["safety_identifier"].take();
    assert_eq!(user.as_str().map(str::len), Some(64));
    assert_eq!(
        body,
        json!({
            "model": "gpt-4.1",
            "instructions": "Be brief.\n\nBe kind.",
            "input": [
                {"type":"message","role":"user","content":[{"type":"input_text","text":"Look"}, image]},
                {"type":"message","role":"assistant","content":[{"type":"output_text","text":"Yes","annotations":[]}]},
                {"type":"function_call","call_id":"call_1","name":"f","arguments":"{}"},
                {"type":"function_call","call_id":long,"name":"f","arguments":"{\"a\":1.50}"},
                {"type":"function_call_output","call_id":"call_1","output":"3 < 4"},
                {"type":"function_call_output","call_id":long,"output":[{"type":"input_text","text":"see"}, image]},
                {"type":"message","role":"user","content":[{"type":"input_text","text":"So?"}]},
                {"type":"message","role":"developer","content":[{"type":"input_text","text":"Now in French."}]},
            ],
            "max_output_tokens": 16,
            "temperature": 0.7,
            "safety_identifier": null,
            "store": false,
            "stream": true,
            "prompt_cache_key": "k",
        })
    );
    assert_eq!(lost.paths(), "messages[1].name, seed, logit_bias, stop, n, modalities");
}

#[test]
fn codex_items_go_as_they_are() {
    let own = |fields: &[(&str, &str)]| {
        let field = |(name, value): &(&str, &str)| {
            ((*name).to_owned(), Json::parse(*value).expect("valid"))
        };
        Extras::new(Format::OpenAiResponses, fields.iter().map(field).collect())
    };
    let seal = Seal { format: Format::OpenAiResponses, data: "gAAA".into() };
    let thought = Reasoning {
        text: "must not go back".into(),
        summary: vec!["s".into()],
        seal: Some(seal),
        id: Some("rs_1".into()),
        ..Reasoning::default()
    };
    let message = |text: &str, id: &str| Part {
        extras: own(&[("id", id), ("status", "\"completed\"")]),
        ..Part::text(text)
    };
    let mut patch = call("call_p", CallKind::Custom, "apply_patch", "*** Begin");
    patch.extras = own(&[("status", "\"completed\"")]);
    if let Content::ToolCall(call) = &mut patch.content {
        (call.item_id, call.namespace) = (Some("ctc_1".into()), Some("functions".into()));
    }
    let found = r#"[{"type":"namespace","name":"crm","description":"d","tools":[{"type":"function","name":"found","parameters":{}}]}]"#;
    let searched = json!({"type":"web_search_call","id":"ws_1","status":"completed"});
    let kinds =
        ["local_shell", "shell"].map(|name| call(name, CallKind::LocalShell, name, r#"{"x":1.0}"#));
    let mut ask = Ask::new(Format::OpenAiResponses);
    let mut said = vec![
        Part::reasoning(Reasoning { text: "unsealed".into(), ..Reasoning::default() }),
        Part::reasoning(thought),
        message("one", "\"msg_1\""),
        message("two", "\"019f-foreign\""),
        Part::new(Content::Foreign { format: Format::OpenAiResponses, value: Json::of(&searched) }),
        patch,
        call("ts", CallKind::ToolSearch, "tool_search", r#"{"q":"x"}"#),
        call("ap", CallKind::ApplyPatch, "apply_patch", r#"{"type":"delete_file","path":"a"}"#),
    ];
    said.extend(kinds);
    let mut failed = result("ap", CallKind::ApplyPatch, vec![Part::text("no")]);
    if let Content::ToolResult(result) = &mut failed.content {
        result.is_error = true;
    }
    ask.turns = vec![
        Turn::new(Role::Developer, vec![Part::text("Rules")]),
        Turn::new(Role::Assistant, said),
        Turn::new(
            Role::User,
            vec![
                result("call_p", CallKind::Custom, vec![Part::text("Done")]),
                result("ts", CallKind::ToolSearch, vec![Part::text(found)]),
                failed,
                result("local_shell", CallKind::LocalShell, vec![Part::text("a.txt")]),
                result("shell", CallKind::LocalShell, vec![Part::text(r#"[{"stdout":"a"}]"#)]),
            ],
        ),
    ];
    let tool = |name: &str, namespace: Option<&str>, kind: ToolKind| Tool {
        name: name.into(),
        namespace: namespace.map(Into::into),
        description: None,
        kind,
        cache_control: None,
        extras: Extras::default(),
    };
    let value = |value: Value| Json::of(&value);
    let grammar = value(json!({"type":"grammar","syntax":"lark","definition":"start: x"}));
    let mut described =
        tool("wait", Some("functions"), ToolKind::Function { schema: None, strict: None });
    described.extras =
        own(&[("namespace_description", "\"All of them\""), ("defer_loading", "true")]);
    ask.tools = vec![
        described,
        tool("apply_patch", Some("functions"), ToolKind::Custom { format: Some(grammar) }),
        tool(
            "shell",
            None,
            ToolKind::LocalShell {
                value: value(json!({"type":"shell","environment":{"type":"local"}})),
            },
        ),
        tool(
            "web_search",
            None,
            ToolKind::Hosted {
                format: Format::OpenAiResponses,
                value: value(json!({"type":"web_search"})),
            },
        ),
        tool("found", Some("crm"), ToolKind::Function { schema: None, strict: None }),
    ];
    ask.tool_choice = Some(ToolChoice::Allowed {
        names: vec!["apply_patch".into(), "web_search".into()],
        required: true,
    });
    ask.parallel_tool_calls = Some(false);
    ask.reasoning = Some(Reasoned {
        effort: Some(Effort::Max),
        summary: Some("auto".into()),
        ..Reasoned::default()
    });
    ask.verbosity = Some("low".into());
    ask.sampling.temperature = Json::parse("1");
    ask.max_tokens = Some(3);
    ask.extras = own(&[
        ("text", r#"{"later":1}"#),
        ("reasoning", r#"{"context":"auto"}"#),
        ("include", r#"["reasoning.encrypted_content"]"#),
        ("prompt_cache_key", "\"k\""),
        ("client_metadata", "{}"),
    ]);
    check_request(
        &ask,
        "gpt-5.2-codex",
        json!({
            "model": "gpt-5.2-codex",
            "input": [
                {"type":"message","role":"developer","content":[{"type":"input_text","text":"Rules"}]},
                {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"s"}],"encrypted_content":"gAAA"},
                {"type":"message","role":"assistant","content":[{"type":"output_text","text":"one","annotations":[]}],"id":"msg_1","status":"completed"},
                {"type":"message","role":"assistant","content":[{"type":"output_text","text":"two","annotations":[]}],"status":"completed"},
                searched,
                {"type":"custom_tool_call","id":"ctc_1","call_id":"call_p","name":"apply_patch","namespace":"functions","input":"*** Begin","status":"completed"},
                {"type":"tool_search_call","call_id":"ts","execution":"client","arguments":{"q":"x"},"status":"completed"},
                {"type":"apply_patch_call","call_id":"ap","operation":{"type":"delete_file","path":"a"},"status":"completed"},
                {"type":"local_shell_call","call_id":"local_shell","action":{"x":1.0},"status":"completed"},
                {"type":"shell_call","call_id":"shell","action":{"x":1.0},"status":"completed"},
                {"type":"custom_tool_call_output","call_id":"call_p","output":"Done"},
                {"type":"tool_search_output","call_id":"ts","execution":"client","status":"completed","tools":serde_json::from_str::<Value>(found).expect("valid")},
                {"type":"apply_patch_call_output","call_id":"ap","status":"failed","output":"no"},
                {"type":"local_shell_call_output","call_id":"local_shell","output":"a.txt"},
                {"type":"shell_call_output","call_id":"shell","output":[{"stdout":"a"}]},
            ],
            "tools": [
                {"type":"namespace","name":"functions","description":"All of them","tools":[
                    {"type":"function","name":"wait","parameters":{"type":"object","properties":{}},"defer_loading":true},
                    {"type":"custom","name":"apply_patch","format":{"type":"grammar","syntax":"lark","definition":"start: x"}},
                ]},
                {"type":"shell","environment":{"type":"local"}},
                {"type":"web_search"},
            ],
            "tool_choice": {"type":"allowed_tools","mode":"required","tools":[{"type":"custom","name":"apply_patch"},{"type":"web_search"}]},
            "parallel_tool_calls": false,
            "max_output_tokens": 3,
            "temperature": 1,
            "text": {"verbosity":"low","later":1},
            "reasoning": {"effort":"max","summary":"auto","context":"auto"},
            "include": ["reasoning.encrypted_content"],
            "store": false,
            "prompt_cache_key": "k",
            "client_metadata": {},
        }),
        "",
    );
}

#[test]
fn messages_of_anthropic_lose_what_is_only_theirs() {
    let mut ask = Ask::new(Format::Anthropic);
    let hosted = Content::Foreign { format: Format::Anthropic, value: Json::empty_object() };
    ask.turns =
        vec![user("Hi"), Turn::new(Role::Assistant, vec![Part::new(hosted), Part::text("x")])];
    ask.turns[0].parts[0].cache_control = Some(Json::empty_object());
    ask.tools = vec![Tool {
        name: "web_search".into(),
        namespace: None,
        description: None,
        kind: ToolKind::Hosted { format: Format::Anthropic, value: Json::empty_object() },
        cache_control: None,
        extras: Extras::default(),
    }];
    ask.tool_choice = Some(ToolChoice::Auto);
    ask.sampling.top_k = Json::parse("5");
    ask.sampling.temperature = Json::parse("1");
    ask.sampling.stop = vec!["x".into()];
    ask.reasoning = Some(Reasoned { budget_tokens: Some(4000), ..Reasoned::default() });
    ask.text_format = Some(TextFormat::JsonSchema {
        name: "answer".into(),
        description: None,
        schema: Json::parse(r#"{"const":1.0}"#).expect("valid"),
        strict: Some(true),
    });
    ask.extras =
        Extras::new(Format::Anthropic, vec![("context_management".into(), Json::empty_object())]);
    let body = |reasoning: Value, include: Option<&str>, temperature: Option<u8>, model: &str| {
        let mut body = json!({
            "model": model,
            "input": [
                {"type":"message","role":"user","content":[{"type":"input_text","text":"Hi"}]},
                {"type":"message","role":"assistant","content":[{"type":"output_text","text":"x","annotations":[]}]},
            ],
            "text": {"format":{"type":"json_schema","name":"answer","schema":{"const":1.0},"strict":true}},
            "store": false,
        });
        if !reasoning.is_null() {
            body["reasoning"] = reasoning;
        }
        if let Some(include) = include {
            body["include"] = json!([include]);
        }
        if let Some(temperature) = temperature {
            body["temperature"] = json!(temperature);
        }
        body
    };
    check_request(
        &ask,
        "o4-mini",
        body(
            json!({"effort":"medium","summary":"auto"}),
            Some("reasoning.encrypted_content"),
            None,
            "o4-mini",
        ),
        "messages[1].content[0], tools[0], temperature, top_k, stop_sequences, context_management, cache_control",
    );
    check_request(
        &ask,
        "gpt-4o",
        body(Value::Null, None, Some(1), "gpt-4o"),
        "messages[1].content[0], tools[0], top_k, stop_sequences, reasoning_effort, context_management, cache_control",
    );
}

#[test]
fn what_cannot_be_carried_is_refused_with_the_fix() {
    let media = |kind, source| {
        let mut ask = Ask::new(Format::Anthropic);
        let media = Media { kind, source, name: None, detail: None };
        ask.turns = vec![Turn::new(Role::User, vec![Part::new(Content::Media(media))])];
        write(&ask, "gpt-5", &mut Losses::default())
    };
    let foreign = Source::FileId { format: Format::Anthropic, id: "file_1".into() };
    let fault = media(MediaKind::Image, foreign).expect_err("another's file");
    assert_eq!(fault.param.as_deref(), Some("messages[0].content[0]"));
    media(MediaKind::Audio, Source::Url("https://x/y.mp3".into())).expect_err("no address");
    let text = Source::Text("plain".into());
    let outbound = media(MediaKind::Document, text).expect("text is text");
    assert!(String::from_utf8_lossy(&outbound.body).contains(r#""input_text","text":"plain""#));
}

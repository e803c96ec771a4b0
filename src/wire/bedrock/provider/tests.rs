//! Requests as they leave: one test for each rule of Converse. The settings are in a file of their own.

mod settings;

use serde_json::{Map, Value, json};

use super::*;
use crate::conversation::{
    Content, Effort, Extras, Json, Media, MediaKind, Part, Reasoned, Reasoning, Role, Seal, Source,
    Tool, ToolCall, ToolChoice, ToolKind, ToolResult, Turn,
};
use crate::wire::catalogue;
use crate::wire::codec::Options;

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const OLD_CLAUDE: &str = "anthropic.claude-3-7-sonnet-20250219-v1:0";
const NEW_CLAUDE: &str = "anthropic.claude-opus-4-7";
const NOVA: &str = "us.amazon.nova-2-lite-v1:0";
const LLAMA: &str = "us.meta.llama3-3-70b-instruct-v1:0";

fn json(value: Value) -> Json {
    Json::from(value)
}

fn ask(turns: Vec<Turn>) -> Ask {
    Ask { turns, ..Ask::new(Format::OpenAiChat) }
}

fn says(role: Role, text: &str) -> Turn {
    Turn::new(role, vec![Part::text(text)])
}

fn call(id: &str, name: &str, arguments: &str) -> Part {
    let (id, name, arguments) = (id.into(), name.into(), arguments.into());
    Part::new(Content::ToolCall(ToolCall { id, name, arguments, ..ToolCall::default() }))
}

fn result(id: &str, parts: Vec<Part>) -> Part {
    let call_id = id.into();
    Part::new(Content::ToolResult(ToolResult { call_id, parts, ..ToolResult::default() }))
}

fn media(kind: MediaKind, name: Option<&str>, source: Source) -> Part {
    let name = name.map(Into::into);
    Part::new(Content::Media(Media { kind, source, name, detail: None }))
}

fn base64(media_type: &str) -> Source {
    Source::Base64 { media_type: media_type.into(), data: "aGk=".into() }
}

fn function(name: &str) -> Tool {
    Tool {
        name: name.into(),
        namespace: None,
        description: Some("Does it.".into()),
        kind: ToolKind::Function { schema: None, strict: None },
        cache_control: None,
        extras: Extras::default(),
    }
}

struct Sent {
    outbound: Outbound,
    body: Value,
    losses: String,
}

fn try_send(ask: &Ask, model: &str, info: Value, options: &Options) -> Result<Sent, Fault> {
    let Value::Object(info) = info else { panic!("an object") };
    let target = Target {
        model,
        provider: &catalogue::PROVIDERS[0],
        base: "https://bedrock-runtime.us-east-1.amazonaws.com",
        info: &info,
        options,
        stream: ask.stream,
    };
    let mut losses = Losses::default();
    let outbound = (PROVIDER.request)(ask, &target, &mut losses)?;
    let body = serde_json::from_slice(&outbound.body).expect("JSON");
    Ok(Sent { outbound, body, losses: losses.paths() })
}

#[track_caller]
fn send(ask: &Ask, model: &str) -> Sent {
    try_send(ask, model, json!({}), &Options::default()).expect("a request")
}

fn hello() -> Ask {
    ask(vec![says(Role::User, "Hello")])
}

/// A call, its result, and what the user says to it.
fn looped() -> Ask {
    let results = vec![Part::text("And?"), result("c1", vec![Part::text("sunny")])];
    ask(vec![
        says(Role::User, "Weather?"),
        Turn::new(Role::Assistant, vec![call("c1", "weather", "{\"n\":1.50}")]),
        Turn::new(Role::User, results),
    ])
}

#[track_caller]
fn check_messages(turns: Vec<Turn>, expected: Value) {
    assert_eq!(send(&ask(turns), CLAUDE).body["messages"], expected);
}

#[test]
fn the_model_is_one_segment_of_the_path() {
    let path = |model: &str, stream: bool| send(&Ask { stream, ..hello() }, model).outbound.path;
    assert_eq!(
        path(CLAUDE, false),
        "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
    );
    assert_eq!(
        path("converse/arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.x", true),
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.x/converse-stream"
    );
    assert_eq!(path("us-west-2/anthropic.claude-v2", false), "/model/anthropic.claude-v2/converse");
}

#[test]
fn a_plain_request() {
    let mut ask = ask(vec![says(Role::System, "Be brief."), says(Role::User, "Hello")]);
    ask.max_tokens = Some(100);
    ask.sampling.temperature = Json::parse("0.50");
    ask.sampling.top_p = Json::parse("0.9");
    ask.sampling.stop = vec!["\n".into(), "END".into()];
    ask.sampling.seed = Json::parse("7");
    ask.metadata = Some(json(json!({"run": "a-1", "bad": "<>", "n": 1})));
    ask.service_tier = Some("flex".into());
    ask.user = Some("u1".into());
    let sent = send(&ask, LLAMA);
    assert_eq!(
        String::from_utf8(sent.outbound.body).expect("text"),
        concat!(
            r#"{"messages":[{"role":"user","content":[{"text":"Hello"}]}],"system":[{"text":"Be brief."}],"#,
            r#""inferenceConfig":{"maxTokens":100,"temperature":0.50,"topP":0.9,"stopSequences":["END"]},"#,
            r#""requestMetadata":{"run":"a-1"},"serviceTier":{"type":"flex"}}"#
        )
    );
    assert_eq!(sent.losses, "stop, seed, user, metadata");
}

#[test]
fn turns_alternate_and_begin_with_a_user() {
    check_messages(
        vec![
            says(Role::Assistant, "Hi."),
            says(Role::User, "a"),
            says(Role::User, "  "),
            says(Role::Developer, "Now in French."),
            says(Role::User, "b"),
            says(Role::Assistant, " "),
        ],
        json!([
            {"role": "user", "content": [{"text": "Please continue."}]},
            {"role": "assistant", "content": [{"text": "Hi."}]},
            {"role": "user", "content": [
                {"text": "a"}, {"text": "<system>\nNow in French.\n</system>"}, {"text": "b"},
            ]},
        ]),
    );
    check_messages(vec![], json!([{"role": "user", "content": [{"text": "Please continue."}]}]));
}

#[test]
fn results_follow_their_calls_whatever_the_client_did() {
    let parallel = vec![call("c1", "f", ""), call("c2", "g", "{\"a\":1}{\"b\":2}")];
    check_messages(
        vec![
            says(Role::User, "Go"),
            Turn::new(Role::Assistant, parallel),
            Turn::new(Role::User, vec![result("c2", vec![])]),
            Turn::new(Role::User, vec![Part::text("Well?"), result("c1", vec![Part::text("1")])]),
        ],
        json!([
            {"role": "user", "content": [{"text": "Go"}]},
            {"role": "assistant", "content": [
                {"toolUse": {"toolUseId": "c1", "name": "f", "input": {}}},
                {"toolUse": {"toolUseId": "c2", "name": "g",
                    "input": {"arguments": "{\"a\":1}{\"b\":2}"}}},
            ]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "c2", "content": [{"text": "(no output)"}]}},
                {"toolResult": {"toolUseId": "c1", "content": [{"text": "1"}]}},
                {"text": "Well?"},
            ]},
        ]),
    );
}

#[test]
fn calls_without_results_and_results_without_calls_are_mended() {
    check_messages(
        vec![
            Turn::new(Role::User, vec![result("lost", vec![Part::text("42")])]),
            Turn::new(Role::Assistant, vec![call("c1", "f", "{}")]),
        ],
        json!([
            {"role": "user", "content": [{"text": "42"}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1", "name": "f", "input": {}}}]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "c1", "content": [{"text": "(no output)"}]}},
            ]},
        ]),
    );
}

#[test]
fn what_the_operator_does_not_want_mended_is_left() {
    let options = Options { modify_params: Some(false), ..Options::default() };
    let ask = ask(vec![says(Role::Assistant, "Hi ")]);
    let sent = try_send(&ask, CLAUDE, json!({}), &options).expect("a request");
    let expected = json!([{"role": "assistant", "content": [{"text": "Hi "}]}]);
    assert_eq!(sent.body["messages"], expected);
}

#[test]
fn the_assistants_words_are_continued_where_the_model_does() {
    let ask = ask(vec![says(Role::User, "JSON"), says(Role::Assistant, "{ \n")]);
    let body = send(&ask, CLAUDE).body;
    assert_eq!(body["messages"][1]["content"][0]["text"], "{");
    for model in [NEW_CLAUDE, LLAMA] {
        let sent = send(&ask, model);
        assert_eq!(sent.body["messages"][2]["role"], "user");
        assert_eq!(sent.losses, "messages[1]");
    }
}

#[test]
fn media_travel_as_bytes_with_a_format() {
    let failed = ToolResult {
        call_id: "c1".into(),
        parts: vec![Part::text("no"), media(MediaKind::Image, None, base64("image/webp"))],
        is_error: true,
        ..ToolResult::default()
    };
    let document = |name, source| media(MediaKind::Document, name, source);
    let mut cited = document(None, Source::Text("Grass.".into()));
    cited.extras =
        Extras::new(Format::Anthropic, vec![("citations".into(), json(json!({"enabled": true})))]);
    let turns = vec![
        Turn::new(
            Role::User,
            vec![
                media(MediaKind::Image, None, base64("image/jpg")),
                media(MediaKind::Video, None, Source::Url("s3://bucket/a.mp4".into())),
                media(MediaKind::Audio, None, base64("audio/mpeg")),
                document(Some("Q3 report.pdf"), base64("application/pdf")),
                document(Some("Q3 report.pdf"), base64("application/octet-stream")),
                document(None, Source::Text("hi".into())),
                cited,
            ],
        ),
        Turn::new(Role::Assistant, vec![call("c1", "f", "{}")]),
        Turn::new(Role::User, vec![Part::new(Content::ToolResult(failed))]),
    ];
    check_messages(
        turns,
        json!([
            {"role": "user", "content": [
                {"image": {"format": "jpeg", "source": {"bytes": "aGk="}}},
                {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://bucket/a.mp4"}}}},
                {"audio": {"format": "mp3", "source": {"bytes": "aGk="}}},
                {"document": {"format": "pdf", "name": "Q3 report", "source": {"bytes": "aGk="}}},
                {"document": {"format": "pdf", "name": "Q3 report 2", "source": {"bytes": "aGk="}}},
                {"document": {"format": "txt", "name": "document", "source": {"bytes": "aGk="}}},
                {"document": {"format": "txt", "name": "document 2", "source": {"text": "Grass."},
                    "citations": {"enabled": true}}},
                {"text": "."},
            ]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1", "name": "f", "input": {}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "status": "error", "content": [
                {"text": "no"}, {"image": {"format": "webp", "source": {"bytes": "aGk="}}},
            ]}}]},
        ]),
    );
}

#[test]
fn media_that_cannot_travel_are_refused_with_what_to_send() {
    #[track_caller]
    fn check(part: Part, expected: &str) {
        let ask = ask(vec![says(Role::System, "s"), Turn::new(Role::User, vec![part])]);
        let fault = try_send(&ask, CLAUDE, json!({}), &Options::default()).err().expect("a fault");
        assert_eq!(fault.param.as_deref(), Some("messages[1].content[0]"));
        assert!(fault.message.contains(expected), "{}", fault.message);
    }
    let url = Source::Url("https://example.com/a.png".into());
    check(media(MediaKind::Image, None, url), "data URL");
    check(media(MediaKind::Image, None, base64("image/bmp")), "gif, jpeg, png, webp");
    let file = Source::FileId { format: Format::OpenAiChat, id: "file-1".into() };
    check(media(MediaKind::Document, None, file), "base64");
    let sound = media(MediaKind::Audio, None, base64("audio/wav"));
    let ask = ask(vec![Turn::new(Role::User, vec![result("c1", vec![sound])])]);
    let fault = try_send(&ask, CLAUDE, json!({}), &Options::default()).err().expect("a fault");
    assert_eq!(fault.param.as_deref(), Some("messages[0].content[0].content[0]"));
}

#[test]
fn thoughts_return_to_their_maker_only() {
    let thought = |format, data: &str, redacted| {
        let seal = Some(Seal { format, data: data.into() });
        let text = if redacted { String::new() } else { "hm".to_owned() };
        Part::reasoning(Reasoning { text, seal, redacted, ..Reasoning::default() })
    };
    let bare = Part::reasoning(Reasoning { text: "hm".into(), ..Reasoning::default() });
    let parts = vec![
        thought(Format::Anthropic, "sig", false),
        thought(Format::Anthropic, "EqkE", true),
        thought(Format::Bedrock, "b64=", true),
        thought(Format::Gemini, "sig", false),
        bare,
        Part::text("4"),
    ];
    let ask = ask(vec![
        says(Role::User, "2+2"),
        Turn::new(Role::Assistant, parts),
        says(Role::User, "Sure?"),
    ]);
    let content = send(&ask, CLAUDE).body["messages"][1]["content"].clone();
    let own = json!({"reasoningContent": {"redactedContent": "b64="}});
    assert_eq!(
        content,
        json!([
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
            {"reasoningContent": {"redactedContent": "RXFrRQ=="}},
            own,
            {"text": "4"},
        ])
    );
    assert_eq!(send(&ask, LLAMA).body["messages"][1]["content"], json!([own, {"text": "4"}]));
}

#[test]
fn tools_stay_while_there_are_calls() {
    let tools = |ask: &Ask, model: &str| send(ask, model).body["toolConfig"].clone();
    let mut ask = looped();
    let name = |config: &Value| config["tools"][0]["toolSpec"]["name"].clone();
    assert_eq!(name(&tools(&ask, CLAUDE)), "dummy_tool");
    ask.tools = vec![function("weather")];
    ask.tool_choice = Some(ToolChoice::None);
    let sent = send(&ask, CLAUDE);
    assert_eq!(name(&sent.body["toolConfig"]), "weather");
    let none = json!({"tool_choice": {"type": "none"}});
    assert_eq!(sent.body["additionalModelRequestFields"], none);
    assert_eq!(send(&ask, LLAMA).losses, "tool_choice");
    let mut fresh = hello();
    fresh.tools = vec![function("weather")];
    fresh.tool_choice = Some(ToolChoice::None);
    assert_eq!(tools(&fresh, CLAUDE), Value::Null);
    // Arguments keep the spelling of their numbers.
    let body = String::from_utf8(send(&ask, CLAUDE).outbound.body).expect("text");
    assert!(body.contains(r#""input":{"n":1.50}"#));
}

#[test]
fn choices_among_tools() {
    #[track_caller]
    fn check(model: &str, choice: ToolChoice, expected: Value, losses: &str) {
        let mut ask = hello();
        ask.tools = vec![function("f"), function("g")];
        ask.tool_choice = Some(choice);
        let sent = send(&ask, model);
        assert_eq!(sent.body["toolConfig"]["toolChoice"], expected, "{model}");
        assert_eq!(sent.losses, losses);
    }
    let named = |name: &str| ToolChoice::Named {
        name: name.into(),
        namespace: None,
        kind: Default::default(),
    };
    check(CLAUDE, ToolChoice::Auto, json!({"auto": {}}), "");
    check(CLAUDE, ToolChoice::Required, json!({"any": {}}), "");
    check(CLAUDE, named("g"), json!({"tool": {"name": "g"}}), "");
    check("mistral.mistral-large-2407-v1:0", named("g"), json!({"any": {}}), "");
    check(LLAMA, ToolChoice::Auto, Value::Null, "");
    check(LLAMA, ToolChoice::Required, Value::Null, "tool_choice");
    let allowed = ToolChoice::Allowed { names: vec!["g".into()], required: true };
    check(NOVA, allowed, json!({"any": {}}), "");
}

#[test]
fn one_call_at_a_time_is_said_in_anthropics_words() {
    let mut ask = looped();
    ask.tools = vec![function("weather")];
    ask.parallel_tool_calls = Some(false);
    ask.tool_choice = Some(ToolChoice::Required);
    let body = send(&ask, CLAUDE).body;
    assert_eq!(body["toolConfig"]["toolChoice"], Value::Null);
    assert_eq!(
        body["additionalModelRequestFields"]["tool_choice"],
        json!({"type": "any", "disable_parallel_tool_use": true})
    );
    assert_eq!(send(&ask, NOVA).losses, "parallel_tool_calls");
    // Without tools there is nothing to say.
    let single = Ask { parallel_tool_calls: Some(false), ..hello() };
    assert_eq!(send(&single, CLAUDE).body["additionalModelRequestFields"], Value::Null);
}

#[test]
fn cache_points_follow_what_is_to_be_cached() {
    let mut cached = Part::text("Long.");
    cached.cache_control = Some(json(json!({"type": "ephemeral", "ttl": "1h"})));
    let mut ask = ask(vec![
        Turn::new(Role::System, vec![cached.clone()]),
        Turn::new(Role::User, vec![cached.clone(), cached.clone(), cached]),
    ]);
    let mut tool = function("f");
    tool.cache_control = Some(json(json!({"type": "ephemeral"})));
    ask.tools = vec![tool];
    let sent = send(&ask, CLAUDE);
    let hour = json!({"cachePoint": {"type": "default", "ttl": "1h"}});
    assert_eq!(sent.body["system"], json!([{"text": "Long."}, hour]));
    assert_eq!(sent.body["toolConfig"]["tools"][1], json!({"cachePoint": {"type": "default"}}));
    let text = json!({"text": "Long."});
    assert_eq!(sent.body["messages"][0]["content"], json!([text, hour, text, hour, text]));
    assert_eq!(sent.losses, "cache_control");
    let nova = send(&ask, NOVA);
    assert_eq!(nova.losses, "tools[*].cache_control");
    assert_eq!(send(&ask, LLAMA).body["system"], json!([text]));
}

#[test]
fn foreign_tools_are_told_as_losses() {
    let mut ask = hello();
    let hosted = |format, value| Tool {
        kind: ToolKind::Hosted { format, value: json(value) },
        ..function("x")
    };
    let computer = json!({"type": "computer_20250124", "name": "computer"});
    ask.tools = vec![
        hosted(Format::OpenAiResponses, json!({"type": "web_search"})),
        hosted(Format::Anthropic, computer.clone()),
        function("f"),
    ];
    let sent = send(&ask, CLAUDE);
    assert_eq!(sent.losses, "tools[0]");
    assert_eq!(sent.body["additionalModelRequestFields"]["tools"], json!([computer]));
    assert_eq!(send(&ask, LLAMA).losses, "tools[0], tools[1]");
}

#[test]
fn cache_points_of_results_stand_after_them() {
    let mut cached = Part::text("1");
    cached.cache_control = Some(json(json!({"type": "ephemeral"})));
    let mut ask = looped();
    ask.turns[2].parts = vec![result("orphan", vec![cached.clone()]), result("c1", vec![cached])];
    let expected = json!([
        {"toolResult": {"toolUseId": "c1", "content": [{"text": "1"}]}},
        {"cachePoint": {"type": "default"}},
        {"text": "1"},
    ]);
    assert_eq!(send(&ask, CLAUDE).body["messages"][2]["content"], expected);
}

#[test]
fn instructions_go_to_the_user_where_the_model_has_no_place_for_them() {
    let ask = ask(vec![says(Role::System, "Be brief."), says(Role::User, "Hi")]);
    let info = json!({"supports_system_messages": false});
    let sent = try_send(&ask, LLAMA, info, &Options::default()).expect("a request");
    assert_eq!(sent.body.get("system"), None);
    let content = json!([{"text": "<system>\nBe brief.\n</system>"}, {"text": "Hi"}]);
    assert_eq!(sent.body["messages"][0]["content"], content);
}

//! What is written for which server.

use serde_json::{Map, Value, json};

use super::super::PROVIDER;
use crate::conversation::{
    Ask, CallKind, Content, Effort, Extras, Format, Json, Losses, Media, MediaKind, Part, Reasoned,
    Reasoning, Role, Seal, Source, TextFormat, Tool, ToolCall, ToolChoice, ToolKind, ToolResult,
    Turn,
};
use crate::ground::fault::Fault;
use crate::wire::catalogue;
use crate::wire::codec::{Options, Target};

struct Case<'c> {
    model: &'c str,
    base: &'c str,
    options: Options,
    info: Map<String, Value>,
    stream: bool,
}

fn case(model: &str) -> Case<'_> {
    let options = Options::default();
    Case { model, base: "", options, info: Map::new(), stream: false }
}

impl Case<'_> {
    fn write(&self, ask: &Ask) -> Result<(Value, String), Fault> {
        let (provider, model) = catalogue::find(self.model, true).expect("a provider");
        let base = if self.base.is_empty() { provider.base.unwrap_or_default() } else { self.base };
        let (info, options) = (&self.info, &self.options);
        let target = Target { model, provider, base, info, options, stream: self.stream };
        let mut losses = Losses::default();
        let outbound = (PROVIDER.request)(ask, &target, &mut losses)?;
        assert_eq!(outbound.path, "/chat/completions");
        let body = serde_json::from_slice(&outbound.body).expect("JSON");
        Ok((body, losses.paths()))
    }
}

fn write(model: &str, ask: &Ask) -> (Value, String) {
    case(model).write(ask).expect("written")
}

#[track_caller]
fn check(model: &str, ask: &Ask, field: &str, expected: &Value) {
    let (body, _) = write(model, ask);
    assert_eq!(body.pointer(field).unwrap_or(&Value::Null), expected, "{model} {field}: {body}");
}

fn text(text: &str) -> Vec<Part> {
    vec![Part::text(text)]
}

fn call(id: &str, name: &str, arguments: &str) -> Part {
    let (id, name, arguments) = (id.to_owned(), name.to_owned(), arguments.to_owned());
    Part::new(Content::ToolCall(ToolCall { id, name, arguments, ..ToolCall::default() }))
}

fn result(id: &str, parts: Vec<Part>) -> Part {
    let call_id = id.to_owned();
    Part::new(Content::ToolResult(ToolResult { call_id, parts, ..ToolResult::default() }))
}

fn picture() -> Part {
    let source = Source::Base64 { media_type: "image/png".into(), data: "iVBO".into() };
    Part::new(Content::Media(Media { kind: MediaKind::Image, source, name: None, detail: None }))
}

fn thoughts(text: &str) -> Part {
    Part::reasoning(Reasoning { text: text.to_owned(), ..Reasoning::default() })
}

fn function(name: &str) -> Tool {
    Tool {
        name: name.to_owned(),
        namespace: None,
        description: Some("d".to_owned()),
        kind: ToolKind::Function {
            schema: Json::parse(r#"{"type":"object"}"#),
            strict: Some(true),
        },
        cache_control: None,
        extras: Extras::default(),
    }
}

fn ask(turns: Vec<Turn>) -> Ask {
    Ask { turns, ..Ask::new(Format::Anthropic) }
}

fn hello() -> Ask {
    ask(vec![Turn::new(Role::User, text("Hi"))])
}

fn tool_loop() -> Ask {
    let mut ask = ask(vec![
        Turn::new(Role::System, text("Be kind.")),
        Turn::new(Role::User, text("Look.")),
        Turn::new(
            Role::Assistant,
            vec![
                thoughts("Two at once."),
                Part::text("On it."),
                call("toolu_01.a", "look", ""),
                call("toolu_02.b", "read", r#"{"p":1.0}{"q":2}"#),
            ],
        ),
        Turn::new(
            Role::User,
            vec![
                Part::text("And hurry."),
                result("toolu_02.b", vec![Part::text("two"), picture()]),
                result("toolu_01.a", text("one")),
            ],
        ),
    ]);
    ask.tools = vec![function("look"), function("read")];
    ask
}

fn json(text: &str) -> Option<Json> {
    Json::parse(text)
}

#[test]
fn results_follow_their_calls_and_pictures_move() {
    let (body, losses) = write("openai/gpt-4o", &tool_loop());
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let expected = json!([
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": "On it.", "tool_calls": [
            call("toolu_01.a", "look", "{}"),
            call("toolu_02.b", "read", r#"{"p":1.0}{"q":2}"#),
        ]},
        {"role": "tool", "content": "one", "tool_call_id": "toolu_01.a"},
        {"role": "tool", "content": "two", "tool_call_id": "toolu_02.b"},
        {"role": "user", "content": [
            {"type": "text", "text": "What read returned:"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
        ]},
        {"role": "user", "content": "And hurry."},
    ]);
    assert_eq!(body["messages"], expected);
    assert_eq!(losses, "messages[*].reasoning");
    let tool = json!({"type": "function", "function": {"name": "look", "description": "d",
        "parameters": {"type": "object", "properties": {}}, "strict": true}});
    assert_eq!(body["tools"][0], tool);
}

#[test]
fn mistral_has_rules_of_its_own() {
    let mut asked = tool_loop();
    asked.tool_choice = Some(ToolChoice::Required);
    asked.sampling.seed = json("7");
    asked.user = Some("u".to_owned());
    let (body, losses) = write("mistral/mistral-large-latest", &asked);
    let ids: Vec<&str> = body["messages"][2]["tool_calls"]
        .as_array()
        .expect("calls")
        .iter()
        .map(|call| call["id"].as_str().expect("an id"))
        .collect();
    assert!(ids.iter().all(|id| id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric())));
    assert_eq!(body["messages"][3]["tool_call_id"], ids[0]);
    assert_eq!(body["messages"][4]["tool_call_id"], ids[1]);
    assert_eq!(
        body["messages"][2]["tool_calls"][1]["function"]["arguments"],
        r#"{"arguments":"{\"p\":1.0}{\"q\":2}"}"#
    );
    assert_eq!(body["messages"][5], json!({"role": "assistant", "content": "OK."}));
    assert_eq!((&body["tool_choice"], &body["random_seed"]), (&json!("any"), &json!(7)));
    assert!(body.get("user").is_none() && losses.contains("metadata.user_id"), "{losses}");

    let mut asked = ask(vec![
        Turn::new(Role::Assistant, vec![call("D681PevKs", "f", "{}")]),
        Turn::new(Role::User, vec![result("D681PevKs", text("done")), Part::text("Go on.")]),
        Turn::new(Role::Assistant, text("Well")),
    ]);
    asked.turns[1].name = Some("ann".to_owned());
    let (body, _) = write("hosted_vllm/mistralai/Devstral-Small", &asked);
    let tool = json!({"role": "tool", "content": "done\n\nGo on.", "tool_call_id": "D681PevKs"});
    assert_eq!(body["messages"][1], tool);
    let (body, losses) = write("mistral/m", &asked);
    assert_eq!(
        body["messages"][2],
        json!({"role": "assistant", "content": "Well", "prefix": true})
    );
    assert_eq!(losses, "messages[1].name");
}

#[test]
fn thoughts_go_back_to_those_who_want_them() {
    let asked = tool_loop();
    let thinks = json!("Two at once.");
    check("deepseek/deepseek-v4-flash", &asked, "/messages/2/reasoning_content", &thinks);
    check("hosted_vllm/qwen3", &asked, "/messages/2/reasoning", &thinks);
    check("hosted_vllm/qwen3", &asked, "/messages/2/reasoning_content", &thinks);
    check("openai/moonshotai/kimi-k2", &asked, "/messages/2/reasoning_content", &Value::Null);
    let kimi = Case { base: "https://api.moonshot.ai/v1", ..case("openai/kimi-k2-thinking") };
    let (body, _) = kimi.write(&asked).expect("written");
    assert_eq!(body["messages"][2]["reasoning_content"], thinks);
    for model in ["openai/gpt-5", "groq/x", "mistral/x", "cerebras/x"] {
        let (body, _) = write(model, &asked);
        let message = body["messages"][2].as_object().expect("a message");
        let known = ["role", "content", "tool_calls"];
        assert!(message.keys().all(|key| known.contains(&key.as_str())), "{model}: {message:?}");
    }
    check("openrouter/x/y", &asked, "/messages/2/reasoning", &thinks);
    let mut asked = asked;
    let seal = Seal { format: Format::OpenAiChat, data: r#"[{"type":"reasoning.text"}]"#.into() };
    let sealed = Reasoning { seal: Some(seal), ..Reasoning::default() };
    asked.turns[2].parts[0] = Part::reasoning(sealed);
    let details = json!([{"type": "reasoning.text"}]);
    check("openrouter/x/y", &asked, "/messages/2/reasoning_details", &details);
    // Lost on the way: DeepSeek takes an empty one.
    asked.turns[2].parts.remove(0);
    check("deepseek/x", &asked, "/messages/2/reasoning_content", &json!(""));
    asked.reasoning = Some(Reasoned { disabled: true, ..Reasoned::default() });
    check("deepseek/x", &asked, "/messages/2/reasoning_content", &Value::Null);
    check("deepseek/x", &asked, "/thinking", &json!({"type": "disabled"}));
}

#[test]
fn effort_is_said_in_each_servers_words() {
    let mut asked = hello();
    let effort = |effort| Some(Reasoned { effort: Some(effort), ..Reasoned::default() });
    asked.reasoning = effort(Effort::XHigh);
    check("openai/gpt-5", &asked, "/reasoning_effort", &json!("high"));
    check("openai/gpt-5.2", &asked, "/reasoning_effort", &json!("xhigh"));
    check("openai/gpt-4o", &asked, "/reasoning_effort", &Value::Null);
    check("groq/openai/gpt-oss-120b", &asked, "/reasoning_effort", &json!("high"));
    check("groq/llama-3.3-70b-versatile", &asked, "/reasoning_effort", &Value::Null);
    check("xai/grok-4", &asked, "/reasoning_effort", &Value::Null);
    check("xai/grok-3-mini", &asked, "/reasoning_effort", &json!("high"));
    check("openrouter/x/y", &asked, "/reasoning", &json!({"effort": "xhigh"}));
    check("deepseek/x", &asked, "/thinking", &json!({"type": "enabled"}));
    let budget = Reasoned { budget_tokens: Some(4000), ..Reasoned::default() };
    asked.reasoning = Some(budget);
    check("openai/o3", &asked, "/reasoning_effort", &json!("medium"));
    check("openrouter/x/y", &asked, "/reasoning", &json!({"max_tokens": 4000}));
    asked.reasoning = effort(Effort::None);
    check("openai/gpt-5", &asked, "/reasoning_effort", &json!("minimal"));
    check("openai/gpt-5.1", &asked, "/reasoning_effort", &json!("none"));
    let off = json!({"enable_thinking": false, "thinking": false});
    check("hosted_vllm/qwen3", &asked, "/chat_template_kwargs", &off);
}

#[test]
fn what_a_model_refuses_is_dropped_and_said() {
    let mut asked = hello();
    asked.max_tokens = Some(32_000);
    asked.sampling.temperature = json("0.70");
    asked.sampling.presence_penalty = json("0.5");
    asked.sampling.stop = ["a", "", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    asked.sampling.top_k = json("40");
    asked.parallel_tool_calls = Some(false);
    asked.tool_choice = Some(ToolChoice::Auto);
    asked.user = Some("u".repeat(150));
    asked.metadata = json(r#"{"a":"b"}"#);
    let (body, losses) = write("openai/gpt-5", &asked);
    let fields: Vec<&str> = body.as_object().expect("a body").keys().map(String::as_str).collect();
    assert_eq!(fields, ["model", "messages", "max_completion_tokens", "user"]);
    assert_eq!(losses, "temperature, top_k, presence_penalty, stop_sequences, metadata");
    assert_eq!(body["user"].as_str().expect("hashed").len(), 64);
    let mut info = Map::new();
    info.insert("max_output_tokens".to_owned(), json!(16_384));
    let older = Case { info, ..case("azure/gpt-4o") };
    let (body, losses) = older.write(&asked).expect("written");
    assert_eq!(body["max_tokens"], 16_384);
    assert_eq!(body["stop"], json!(["a", "b", "c", "d"]));
    assert_eq!(losses, "top_k, stop_sequences, max_tokens, metadata");
    asked.sampling.temperature = json("1.0");
    let (_, losses) = write("openai/o3", &asked);
    assert!(!losses.contains("temperature"), "{losses}");
}

#[test]
fn dropping_is_the_operators_choice() {
    let mut asked = hello();
    asked.sampling.logit_bias = json(r#"{"50256":-100}"#);
    let strict = Options { drop_params: Some(false), ..Options::default() };
    let fault = Case { options: strict.clone(), ..case("groq/x") }.write(&asked).expect_err("told");
    assert_eq!(fault.param.as_deref(), Some("logit_bias"));
    let allowed = vec!["logit_bias".to_owned()];
    let options = Options { allowed_openai_params: allowed, ..strict };
    let (body, losses) = Case { options, ..case("groq/x") }.write(&asked).expect("written");
    assert_eq!((&body["logit_bias"]["50256"], losses.as_str()), (&json!(-100), ""));
}

#[test]
fn strict_templates_get_turns() {
    let asked = ask(vec![
        Turn::new(Role::System, text("a")),
        Turn::new(Role::Developer, text("b")),
        Turn::new(Role::User, text("c")),
        Turn::new(Role::System, text("d")),
        Turn::new(Role::User, text("e")),
        Turn::new(Role::Assistant, text("f")),
        Turn::new(Role::Assistant, text("g")),
    ]);
    let expected = json!([
        {"role": "system", "content": "a\n\nb"},
        {"role": "user", "content": "c\n\n<system>\nd\n</system>\n\ne"},
        {"role": "assistant", "content": "f\n\ng"},
    ]);
    check("llamafile/x", &asked, "/messages", &expected);
    check("openai/gpt-5", &asked, "/messages/1/role", &json!("developer"));
    check("groq/x", &asked, "/messages/1/role", &json!("system"));
    check("groq/x", &asked, "/messages/3", &json!({"role": "system", "content": "d"}));
}

#[test]
fn a_torn_history_is_mended() {
    let mut asked = ask(vec![
        Turn::new(Role::User, vec![result("gone", text("old news"))]),
        Turn::new(Role::Assistant, vec![call("c1", "f", "{}")]),
        Turn::new(Role::User, text("Never mind.")),
        Turn::new(Role::Assistant, vec![thoughts("hm")]),
    ]);
    let (body, losses) = write("openai/gpt-4o", &asked);
    let messages = body["messages"].as_array().expect("messages");
    let roles: Vec<_> = messages.iter().map(|message| message["role"].as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "user"].map(Some));
    assert_eq!(messages[1]["content"], Value::Null);
    assert_eq!(losses, "messages[0], messages[*].reasoning");
    asked.turns.truncate(2);
    let (body, _) = write("openai/gpt-4o", &asked);
    assert_eq!(body["messages"].as_array().map(Vec::len), Some(2), "an open call stays open");
}

#[test]
fn choices_and_tools_are_told_as_the_server_takes_them() {
    let mut asked = tool_loop();
    let name = "read".to_owned();
    asked.tool_choice = Some(ToolChoice::Named { name, namespace: None, kind: CallKind::Function });
    let named = json!({"type": "function", "function": {"name": "read"}});
    check("openai/gpt-4o", &asked, "/tool_choice", &named);
    check("lm_studio/x", &asked, "/tool_choice", &json!("required"));
    check("lm_studio/x", &asked, "/tools/0/function/name", &json!("read"));
    check("lm_studio/x", &asked, "/tools/1", &Value::Null);
    check("lm_studio/x", &asked, "/tools/0/function/strict", &Value::Null);
    let names = vec!["look".to_owned()];
    asked.tool_choice = Some(ToolChoice::Allowed { names, required: true });
    check("openai/gpt-4o", &asked, "/tool_choice/type", &json!("allowed_tools"));
    check("deepseek/x", &asked, "/tool_choice", &json!("required"));
    check("deepseek/x", &asked, "/tools/1", &Value::Null);
    let grammar = r#"{"type":"grammar","syntax":"lark","definition":"start: x"}"#;
    asked.tools[0].kind = ToolKind::Custom { format: json(grammar) };
    let format =
        json!({"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: x"}});
    check("openai/gpt-5", &asked, "/tools/0/custom/format", &format);
    let value = json(r#"{"type":"web_search"}"#).expect("JSON");
    asked.tools[1].kind = ToolKind::Hosted { format: Format::OpenAiResponses, value };
    asked.tool_choice = None;
    let (body, losses) = write("openai/gpt-5", &asked);
    assert_eq!(body["tools"].as_array().map(Vec::len), Some(1));
    assert!(losses.contains("tools[1]"), "{losses}");
}

#[test]
fn schemas_go_where_they_are_taken() {
    let mut asked = hello();
    asked.text_format = Some(TextFormat::JsonSchema {
        name: "n".to_owned(),
        description: None,
        schema: json(r#"{"type":"object"}"#).expect("JSON"),
        strict: Some(true),
    });
    let schema = json!({"type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}});
    check("openai/gpt-4o", &asked, "/response_format", &schema);
    check("deepseek/x", &asked, "/response_format", &json!({"type": "json_object"}));
    check("deepseek/x", &asked, "/messages/0/role", &json!("system"));
    asked.text_format = Some(TextFormat::JsonObject);
    check("lm_studio/x", &asked, "/response_format/type", &json!("json_schema"));
    check("openai/gpt-4o", &asked, "/response_format", &json!({"type": "json_object"}));
}

#[test]
fn media_have_their_parts_or_a_reason() {
    let part = |kind, source| {
        let content = Content::Media(Media { kind, source, name: None, detail: None });
        ask(vec![Turn::new(Role::User, vec![Part::new(content)])])
    };
    let base64 = |media_type: &str| Source::Base64 {
        media_type: media_type.to_owned(),
        data: "aGk=".to_owned(),
    };
    let first = "/messages/0/content/0";
    let sound = part(MediaKind::Audio, base64("audio/mpeg"));
    let expected = json!({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}});
    check("openai/gpt-4o-audio", &sound, first, &expected);
    let paper = part(MediaKind::Document, base64("application/pdf"));
    let expected = json!("data:application/pdf;base64,aGk=");
    check("openai/gpt-4o", &paper, "/messages/0/content/0/file/file_data", &expected);
    let note = part(MediaKind::Document, base64("text/plain"));
    check("groq/x", &note, "/messages/0/content", &json!("hi"));
    let link = || Source::Url("https://example.com/x".to_owned());
    let linked = part(MediaKind::Document, link());
    check("openrouter/x/y", &linked, "/messages/0/content/0/type", &json!("file"));
    let fault = case("openai/gpt-4o").write(&linked).expect_err("no files by URL");
    assert_eq!((fault.status(), fault.param.as_deref()), (400, Some("messages[0]")));
    assert!(case("openai/gpt-4o").write(&part(MediaKind::Video, link())).is_err());
    assert!(case("hosted_vllm/x").write(&part(MediaKind::Video, link())).is_ok());
}

#[test]
fn what_chat_alone_knows_comes_back_out() {
    let mut asked = hello();
    asked.format = Format::OpenAiChat;
    let extra = |name: &str, value: &str| (name.to_owned(), json(value).expect("JSON"));
    let fields = vec![
        extra("store", "true"),
        extra("provider", r#"{"order":["x"]}"#),
        extra("stream_options", "{}"),
    ];
    asked.extras = Extras::new(Format::OpenAiChat, fields);
    asked.metadata = json(r#"{"a":"b"}"#);
    let echoes = vec![extra("partial", "true"), extra("provider_specific_fields", "{}")];
    asked.turns[0].extras = Extras::new(Format::OpenAiChat, echoes);
    let (body, losses) = write("openai/gpt-4o", &asked);
    assert_eq!((&body["store"], &body["metadata"]["a"]), (&json!(true), &json!("b")));
    assert_eq!(body["provider"], json!({"order": ["x"]}));
    assert_eq!(losses, "messages[0].partial");
    let (body, losses) = write("groq/x", &asked);
    assert!(body.get("store").is_none() && body.get("stream_options").is_none());
    assert_eq!(losses, "messages[0].partial, metadata, store");
    let unknown = Case { base: "http://localhost:9/v1", stream: true, ..case("openai/x") };
    let (body, losses) = unknown.write(&asked).expect("written");
    assert_eq!((&body["store"], losses.as_str()), (&json!(true), ""));
    assert_eq!(body["messages"][0]["partial"], true);
    assert_eq!(body["stream_options"], json!({"include_usage": true}));
    let mistral = Case { stream: true, ..case("mistral/x") };
    let (body, _) = mistral.write(&asked).expect("written");
    assert!(body.get("stream_options").is_none() && body["stream"] == true);
    let mut asked = hello();
    let codex = vec![extra("prompt_cache_key", r#""k""#), extra("client_metadata", "{}")];
    asked.extras = Extras::new(Format::OpenAiResponses, codex);
    let (body, losses) = write("openai/gpt-5", &asked);
    assert_eq!((&body["prompt_cache_key"], losses.as_str()), (&json!("k"), "client_metadata"));
    let (body, losses) = write("deepseek/x", &asked);
    assert!(body.get("prompt_cache_key").is_none());
    assert_eq!(losses, "prompt_cache_key, client_metadata");
}

#[test]
fn cache_marks_stay_where_they_are_understood() {
    let mut asked = hello();
    asked.turns[0].parts[0].cache_control = json(r#"{"type":"ephemeral"}"#);
    let mark = json!({"type": "ephemeral"});
    check("openrouter/x/y", &asked, "/messages/0/content/0/cache_control", &mark);
    let (body, losses) = write("openai/gpt-4o", &asked);
    assert_eq!(
        (&body["messages"][0]["content"], &*losses),
        (&json!("Hi"), "messages[*].cache_control")
    );
}

#[test]
fn gemini_gets_its_signatures_back() {
    let mut asked = tool_loop();
    let Content::ToolCall(call) = &mut asked.turns[2].parts[2].content else { panic!("a call") };
    call.seal = Some(Seal { format: Format::Gemini, data: "CtQB".to_owned() });
    let place = "/messages/2/tool_calls/0/extra_content/google/thought_signature";
    check("gemini/gemini-3-pro", &asked, place, &json!("CtQB"));
    check("openai/gpt-4o", &asked, place, &Value::Null);
    let Content::ToolCall(call) = &mut asked.turns[2].parts[2].content else { panic!("a call") };
    call.seal = None;
    let lost = json!("skip_thought_signature_validator");
    check("gemini/gemini-3-pro", &asked, place, &lost);
    check("gemini/gemini-2.5-pro", &asked, place, &Value::Null);
}

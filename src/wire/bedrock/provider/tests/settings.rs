//! The form of answers, thinking, sampling, and fields that are passed on.

use super::*;

fn schema_format(schema: Value) -> Option<TextFormat> {
    let schema = json(schema);
    Some(TextFormat::JsonSchema {
        name: "city".into(),
        description: None,
        schema,
        strict: Some(true),
    })
}

#[test]
fn structured_answers() {
    let closed = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let mut ask = Ask { text_format: schema_format(closed.clone()), ..hello() };
    let sent = send(&ask, CLAUDE);
    assert_eq!(sent.outbound.json_tool, None);
    assert_eq!(
        sent.body["outputConfig"]["textFormat"],
        json!({"type": "json_schema", "structure": {"jsonSchema":
            {"schema": closed.to_string(), "name": "city"}}})
    );
    let old = send(&ask, OLD_CLAUDE);
    assert_eq!(old.outbound.json_tool.as_deref(), Some("json_tool_call"));
    let named = json!({"tool": {"name": "json_tool_call"}});
    assert_eq!(old.body["toolConfig"]["toolChoice"], named);
    assert_eq!(old.body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"], closed);
    // Beside tools of the client's own the model may choose, but not merely talk.
    ask.tools = vec![function("f")];
    assert_eq!(send(&ask, OLD_CLAUDE).body["toolConfig"]["toolChoice"], json!({"any": {}}));
    // A schema that constrained answers do not take.
    ask.text_format = schema_format(json!({"type": "object", "properties": {"n": {"minimum": 1}}}));
    assert!(send(&ask, CLAUDE).outbound.json_tool.is_some());
    ask.text_format = Some(TextFormat::JsonObject);
    let object = send(&ask, CLAUDE);
    assert_eq!(object.body["system"][0]["text"], crate::wire::bedrock::settings::JSON_OBJECT);
}

fn reasons(effort: Option<Effort>, budget_tokens: Option<u64>) -> Ask {
    let reasoning = Some(Reasoned { effort, budget_tokens, ..Reasoned::default() });
    Ask { reasoning, ..hello() }
}

#[track_caller]
fn check_thinking(ask: &Ask, model: &str, expected: Value, losses: &str) {
    let sent = send(ask, model);
    let mut said = Map::new();
    for (field, place) in [
        ("thinking", "additionalModelRequestFields"),
        ("reasoningConfig", "additionalModelRequestFields"),
        ("reasoning_effort", "additionalModelRequestFields"),
        ("reasoning", "additionalModelRequestFields"),
        ("effort", "outputConfig"),
    ] {
        if let Some(value) = sent.body.get(place).and_then(|place| place.get(field)) {
            said.insert(field.into(), value.clone());
        }
    }
    assert_eq!(Value::Object(said), expected, "{model}");
    assert_eq!(sent.losses, losses, "{model}");
}

#[test]
fn thinking_in_each_vendors_words() {
    let medium = reasons(Some(Effort::Medium), None);
    let budget = |tokens: u64| json!({"thinking": {"type": "enabled", "budget_tokens": tokens}});
    check_thinking(&medium, OLD_CLAUDE, budget(2048), "");
    let adaptive = json!({"type": "adaptive"});
    let shown = json!({"type": "adaptive", "display": "summarized"});
    check_thinking(
        &medium,
        "anthropic.claude-opus-4-6-v1",
        json!({"thinking": adaptive, "effort": "medium"}),
        "",
    );
    check_thinking(&medium, NEW_CLAUDE, json!({"thinking": shown, "effort": "medium"}), "");
    let large = reasons(None, Some(9000));
    check_thinking(&large, "anthropic.claude-opus-4-6-v1", budget(9000), "");
    check_thinking(&large, NEW_CLAUDE, json!({"thinking": shown, "effort": "high"}), "");
    let nova = json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}});
    check_thinking(&medium, NOVA, nova, "");
    let openai = json!({"reasoning_effort": "medium"});
    check_thinking(&medium, "openai.gpt-oss-120b-1:0", openai, "");
    check_thinking(&medium, "us.openai.gpt-5.2", json!({"reasoning": {"effort": "medium"}}), "");
    check_thinking(&medium, LLAMA, json!({}), "reasoning");
    check_thinking(&reasons(Some(Effort::None), None), NEW_CLAUDE, json!({}), "");
}

#[test]
fn thinking_that_would_be_refused_is_left_out() {
    let high = |ask: Ask| Ask { reasoning: reasons(Some(Effort::High), None).reasoning, ..ask };
    let on = |tokens: u64| json!({"thinking": {"type": "enabled", "budget_tokens": tokens}});
    // The thoughts before the last calls are lost.
    let lost = high(looped());
    check_thinking(&lost, OLD_CLAUDE, json!({}), "reasoning");
    let mut kept = lost.clone();
    let seal = Some(Seal { format: Format::Anthropic, data: "sig".into() });
    let thought = Part::reasoning(Reasoning { seal, ..Reasoning::default() });
    kept.turns[1].parts.insert(0, thought);
    check_thinking(&kept, OLD_CLAUDE, on(4096), "");
    let adaptive =
        json!({"thinking": {"type": "adaptive", "display": "summarized"}, "effort": "high"});
    check_thinking(&lost, NEW_CLAUDE, adaptive, "");
    // Too few tokens, and just enough.
    check_thinking(
        &high(Ask { max_tokens: Some(1000), ..hello() }),
        OLD_CLAUDE,
        json!({}),
        "reasoning",
    );
    check_thinking(&high(Ask { max_tokens: Some(3000), ..hello() }), OLD_CLAUDE, on(1500), "");
    // A tool that must be called.
    let mut forced = high(hello());
    forced.text_format = schema_format(json!({"type": "object"}));
    check_thinking(&forced, OLD_CLAUDE, json!({}), "reasoning");
    let mut required = high(hello());
    required.tools = vec![function("f")];
    required.tool_choice = Some(ToolChoice::Required);
    check_thinking(&required, OLD_CLAUDE, on(4096), "tool_choice");
    assert_eq!(send(&required, OLD_CLAUDE).body["toolConfig"]["toolChoice"], json!({"auto": {}}));
    // The bound is above the budget.
    assert_eq!(send(&high(hello()), OLD_CLAUDE).body["inferenceConfig"]["maxTokens"], 8192);
}

#[test]
fn sampling_that_would_be_refused_is_left_out() {
    let mut ask = hello();
    ask.sampling.temperature = Json::parse("1.7");
    ask.sampling.top_p = Json::parse("0.9");
    ask.sampling.top_k = Json::parse("40");
    let config = |sent: &Sent| sent.body["inferenceConfig"].clone();
    let old = send(&ask, OLD_CLAUDE);
    assert_eq!(config(&old), json!({"temperature": 1, "topP": 0.9}));
    assert_eq!(old.body["additionalModelRequestFields"], json!({"top_k": 40}));
    let one = send(&ask, CLAUDE);
    assert_eq!((config(&one), &*one.losses), (json!({"temperature": 1}), "top_p"));
    let none = send(&ask, NEW_CLAUDE);
    assert_eq!((config(&none), &*none.losses), (Value::Null, "temperature, top_p, top_k"));
    let nova = send(&ask, NOVA);
    assert_eq!(nova.body["additionalModelRequestFields"], json!({"inferenceConfig": {"topK": 40}}));
    ask.reasoning = reasons(Some(Effort::High), None).reasoning;
    ask.max_tokens = Some(9000);
    assert_eq!(config(&send(&ask, NOVA)), Value::Null);
    let thinking = send(&ask, OLD_CLAUDE);
    assert_eq!(config(&thinking), json!({"maxTokens": 9000, "temperature": 1}));
    assert_eq!(thinking.losses, "top_p, top_k");
}

#[test]
fn amazons_own_fields_pass_whatever_the_client_speaks() {
    let mut ask = hello();
    ask.sampling.n = Some(2);
    ask.sampling.min_p = Json::parse("0.1");
    ask.extras = Extras::new(
        Format::OpenAiChat,
        vec![
            (
                "guardrailConfig".into(),
                json(json!({"guardrailIdentifier": "g", "guardrailVersion": "1"})),
            ),
            ("performanceConfig".into(), json(json!({"latency": "optimized"}))),
            ("additionalModelRequestFields".into(), json(json!({"top_k": 5}))),
            ("anthropic_beta".into(), json(json!("context-1m-2025-08-07, x"))),
            ("store".into(), json(json!(true))),
        ],
    );
    let options = Options { allowed_openai_params: vec!["min_p".into()], ..Options::default() };
    let sent = try_send(&ask, CLAUDE, json!({}), &options).expect("a request");
    assert_eq!(sent.body["guardrailConfig"]["guardrailVersion"], "1");
    assert_eq!(sent.body["performanceConfig"], json!({"latency": "optimized"}));
    assert_eq!(
        sent.body["additionalModelRequestFields"],
        json!({"min_p": 0.1, "top_k": 5, "anthropic_beta": ["context-1m-2025-08-07", "x"]})
    );
    assert_eq!(sent.losses, "n, store");
}

#[test]
fn what_the_operator_says_of_a_model_wins() {
    let arn = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3";
    let ask = reasons(Some(Effort::Low), None);
    let send = |info| try_send(&ask, arn, info, &Options::default()).expect("a request").body;
    let base = send(json!({"base_model": "anthropic.claude-3-7-sonnet-20250219-v1:0"}));
    assert_eq!(base["additionalModelRequestFields"]["thinking"]["budget_tokens"], 1024);
    assert_eq!(send(json!({}))["additionalModelRequestFields"], Value::Null);
    let adaptive = send(json!({"supports_adaptive_thinking": true}));
    assert_eq!(adaptive["outputConfig"]["effort"], "low");
}

//! How to answer, model by model.

use super::*;
use crate::conversation::Extras;
use crate::wire::catalogue;
use crate::wire::codec::Options;
use serde_json::Map;

fn json(text: &str) -> Json {
    Json::parse(text).expect("valid")
}

fn written(ask: &Ask, model: &str, functions: bool, info: &Value, losses: &mut Losses) -> Value {
    let no_info = Map::new();
    let provider = catalogue::find("gemini/x", false).expect("a row").0;
    let options =
        Options { allowed_openai_params: vec!["let_through".into()], ..Options::default() };
    let info = info.as_object().unwrap_or(&no_info);
    let target = Target { model, provider, base: "", info, options: &options, stream: false };
    let mut body = Object::default();
    write(ask, &target, Model::of(&target), functions, &mut body, losses);
    serde_json::to_value(&body).expect("prints")
}

#[track_caller]
fn check(ask: &Ask, model: &str, expected: Value, lost: &str) {
    let mut losses = Losses::default();
    assert_eq!(written(ask, model, false, &Value::Null, &mut losses), expected);
    assert_eq!(losses.paths(), lost);
}

#[test]
fn sampling_goes_under_googles_names() {
    let mut ask = Ask::new(Format::OpenAiChat);
    ask.max_tokens = Some(100);
    ask.sampling.temperature = Some(json("0.70"));
    ask.sampling.top_p = Some(json("1"));
    ask.sampling.top_k = Some(json("40"));
    ask.sampling.seed = Some(json("7"));
    ask.sampling.presence_penalty = Some(json("0.0"));
    ask.sampling.frequency_penalty = Some(json("0.5"));
    ask.sampling.stop =
        vec!["".into(), "a".into(), "b".into(), "c".into(), "d".into(), "e".into(), "f".into()];
    ask.sampling.n = Some(2);
    ask.sampling.logprobs = Some(true);
    ask.sampling.top_logprobs = Some(3);
    ask.sampling.min_p = Some(json("0.1"));
    ask.sampling.logit_bias = Some(json("{}"));
    let rest = json!({"maxOutputTokens": 100, "frequencyPenalty": 0.5, "seed": 7, "stopSequences": ["a", "b", "c", "d", "e"],
        "candidateCount": 2, "responseLogprobs": true, "logprobs": 3});
    let mut whole = rest.clone();
    for (name, value) in [("temperature", json!(0.70)), ("topP", json!(1)), ("topK", json!(40))] {
        whole[name] = value;
    }
    check(&ask, "gemini-2.5-pro", json!({ "generationConfig": whole }), "stop, min_p, logit_bias");
    check(
        &ask,
        "gemini-3.8-flash",
        json!({ "generationConfig": rest }),
        "temperature, top_p, top_k, stop, min_p, logit_bias",
    );
    let mut ask = Ask::new(Format::OpenAiChat);
    ask.sampling.seed = Some(json("12345678901"));
    ask.sampling.n = Some(1);
    check(&ask, "gemini-2.5-pro", json!({}), "seed");
}

#[test]
fn thinking_by_budget_and_by_level() {
    let check = |model: &str, reasoned: Reasoned, expected: Value, lost: &str| {
        let ask = Ask { reasoning: Some(reasoned), ..Ask::new(Format::OpenAiChat) };
        let expected = match expected {
            Value::Null => json!({}),
            config => json!({"generationConfig": {"thinkingConfig": config}}),
        };
        super::tests::check(&ask, model, expected, lost);
    };
    let effort = |effort| Reasoned { effort: Some(effort), ..Reasoned::default() };
    let budget = |tokens| Reasoned { budget_tokens: Some(tokens), ..Reasoned::default() };
    check(
        "gemini-2.5-flash",
        effort(Effort::Low),
        json!({"thinkingBudget": 1024, "includeThoughts": true}),
        "",
    );
    check("gemini-2.5-flash", effort(Effort::None), json!({"thinkingBudget": 0}), "");
    check(
        "gemini-2.5-pro",
        effort(Effort::None),
        json!({"thinkingBudget": 128}),
        "reasoning_effort",
    );
    check(
        "gemini-2.5-flash",
        budget(100_000),
        json!({"thinkingBudget": 24576, "includeThoughts": true}),
        "",
    );
    check(
        "gemini-2.5-flash-lite",
        budget(5),
        json!({"thinkingBudget": 512, "includeThoughts": true}),
        "",
    );
    let adaptive = Reasoned { adaptive: true, show: Some(false), ..Reasoned::default() };
    check("gemini-2.5-flash", adaptive.clone(), json!({"thinkingBudget": -1}), "");
    check("gemini-3-pro-preview", adaptive, Value::Null, "");
    let summary = Reasoned { summary: Some("auto".into()), ..Reasoned::default() };
    check("gemini-2.5-flash", summary.clone(), json!({"includeThoughts": true}), "");
    check("gemini-3-pro-preview", summary, json!({"includeThoughts": true}), "");
    let level = |level: &str| json!({"thinkingLevel": level, "includeThoughts": true});
    check("gemini-3-pro-preview", effort(Effort::Minimal), level("low"), "");
    check("gemini-3-pro-preview", effort(Effort::Medium), level("high"), "");
    check("gemini-3.1-pro-preview", effort(Effort::Medium), level("medium"), "");
    check("gemini-3-flash-preview", effort(Effort::Minimal), level("minimal"), "");
    check("gemini-3-flash-preview", effort(Effort::None), json!({"thinkingLevel": "minimal"}), "");
    check("gemini-3.8-flash", effort(Effort::None), json!({"thinkingLevel": "low"}), "");
    check("gemini-3.8-flash", effort(Effort::Max), level("high"), "");
    check("gemini-3-flash-preview", budget(1024), level("low"), "");
    check("gemini-3-flash-preview", budget(0), json!({"thinkingLevel": "minimal"}), "");
    check("gemini-2.0-flash", effort(Effort::High), Value::Null, "reasoning_effort");
    check("gemini-2.0-flash", effort(Effort::None), Value::Null, "");
}

#[test]
fn an_operator_knows_better() {
    let reasoning = Some(Reasoned { effort: Some(Effort::Max), ..Reasoned::default() });
    let ask = Ask { reasoning, ..Ask::new(Format::OpenAiChat) };
    let mut losses = Losses::default();
    let info = json!({"supports_xhigh_reasoning_effort": true});
    let told = written(&ask, "gemini-4-pro", false, &info, &mut losses);
    assert_eq!(told["generationConfig"]["thinkingConfig"]["thinkingLevel"], "xhigh");
    let told =
        written(&ask, "gemini-4-pro", false, &json!({"supports_reasoning": false}), &mut losses);
    assert_eq!(told, json!({}));
}

#[test]
fn formats_of_the_text() {
    let schema = json(
        r#"{"type":"object","properties":{"a":{"type":["string","null"]}},"additionalProperties":false}"#,
    );
    let text_format = Some(TextFormat::JsonSchema {
        name: "x".into(),
        description: None,
        schema: schema.clone(),
        strict: Some(true),
    });
    let ask = Ask { text_format, ..Ask::new(Format::OpenAiChat) };
    check(
        &ask,
        "gemini-2.5-pro",
        json!({"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": schema.to_value()}}),
        "",
    );
    check(
        &ask,
        "gemini-2.0-flash",
        json!({"generationConfig": {"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT",
            "properties": {"a": {"type": "STRING", "nullable": true}}, "propertyOrdering": ["a"]}}}),
        "",
    );
    let mut losses = Losses::default();
    assert_eq!(written(&ask, "gemini-2.5-pro", true, &Value::Null, &mut losses), json!({}));
    assert_eq!(losses.paths(), "response_format");
    assert!(format_in_words(&ask, Model::named("gemini-2.5-pro"), true).is_some());
    assert_eq!(format_in_words(&ask, Model::named("gemini-3-pro"), true), None);
    let ask = Ask { text_format: Some(TextFormat::JsonObject), ..Ask::new(Format::OpenAiChat) };
    check(
        &ask,
        "gemini-2.5-pro",
        json!({"generationConfig": {"responseMimeType": "application/json"}}),
        "",
    );
}

#[test]
fn googles_own_fields_are_taken_under_any_spelling() {
    let fields = |fields: &[(&str, &str)]| {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), json(value))).collect();
        Extras::new(Format::OpenAiChat, fields)
    };
    let extras = fields(&[
        ("safety_settings", r#"[{"category":"x"}]"#),
        ("cachedContent", r#""cachedContents/1""#),
        ("modalities", r#"["text","image"]"#),
        ("audio", r#"{"voice":"Kore","format":"pcm16"}"#),
        ("let_through", "1"),
        ("store", "true"),
        ("extra_body", r#"{"google":{"thinking_config":{"thinking_budget":-1}}}"#),
    ]);
    let reasoning = Some(Reasoned { effort: Some(Effort::High), ..Reasoned::default() });
    let ask = Ask { extras, reasoning, ..Ask::new(Format::OpenAiChat) };
    check(
        &ask,
        "gemini-2.5-flash",
        json!({"safetySettings": [{"category": "x"}], "cachedContent": "cachedContents/1", "let_through": 1,
            "generationConfig": {"thinkingConfig": {"thinking_budget": -1}, "responseModalities": ["TEXT", "IMAGE"],
                "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}}}),
        "store",
    );
}

#[test]
fn what_has_no_place_is_told() {
    let mut ask = Ask::new(Format::OpenAiChat);
    ask.user = Some("u".into());
    ask.verbosity = Some("low".into());
    ask.metadata = Some(json(r#"{"team":"a"}"#));
    ask.service_tier = Some("default".into());
    check(&ask, "gemini-2.5-pro", json!({"serviceTier": "standard"}), "metadata, user, verbosity");
    ask.service_tier = Some("scale".into());
    check(&ask, "gemini-2.5-pro", json!({}), "service_tier, metadata, user, verbosity");
}

#[test]
fn labels_are_bounded() {
    let labels = |text: &str| as_labels(&json(text)).map(|labels| labels.len());
    assert_eq!(labels(r#"{"team":"a-1","cost_center":"x"}"#), Some(2));
    for text in ["{}", r#"{"Team":"a"}"#, r#"{"1":"a"}"#, r#"{"a":"B C"}"#, r#"{"a":1}"#, "[]"] {
        assert_eq!(labels(text), None, "{text}");
    }
}

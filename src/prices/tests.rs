//! Prices of real models: sums that were worked out by hand from providers' price pages, and what LiteLLM computes for the same
//! models and usages. Where the built-in table is replaced by a newer one, figures may change; then the page has the word.

use serde::Deserialize;

use super::book::{Facts, Place, Pricing, built_in};
use super::{About, Book, Prices, Table, litellm};
use crate::conversation::Usage;
use crate::conversation::usage::{Service, Tier};
use crate::ground::usd::Usd;

/// 2026-11-26, a Thursday, 08:00 UTC.
const THURSDAY: i64 = 1_795_680_000_000_000;
const HOUR: i64 = 3_600_000_000;

fn used(input: u64, output: u64) -> Usage {
    Usage { input: Some(input), output: Some(output), ..Usage::default() }
}

fn tier(tier: Tier) -> Service {
    Service { tier: Some(tier), ..Service::default() }
}

fn find(name: &str) -> Prices {
    Book::default().find_named(None, name).unwrap_or_else(|| panic!("{name}"))
}

#[track_caller]
fn check(name: &str, usage: Usage, expected: &str) {
    check_at(name, usage, THURSDAY, expected);
}

#[track_caller]
fn check_at(name: &str, usage: Usage, at: i64, expected: &str) {
    let cost = find(name).cost(&usage, at).map(|cost| cost.to_string());
    assert_eq!(cost.as_deref(), Some(expected), "{name}");
}

#[test]
fn the_built_in_table_is_whole_dated_and_small() {
    let packed = include_bytes!("built_in.z");
    assert!(packed.len() <= 300 * 1024);
    let read = Table::read(packed, About::default()).unwrap();
    assert_eq!(&read, built_in());
    assert!(read.len() > 4000, "{}", read.len());
    let About { version, date, source, licence } = &read.about;
    assert!(version.starts_with(date.as_str()) && date.len() == 10 && source.contains("LiteLLM"));
    let notice = include_str!("built_in.licence.txt");
    assert_eq!(licence.join("\n").trim(), notice.trim());
    assert!(notice.contains("MIT License") && notice.contains("Copyright (c) 2023 Berri AI"));
    assert_eq!(Table::read(&read.packed(), About::default()).as_ref(), Ok(&read));
}

/// OpenAI, <https://platform.openai.com/docs/pricing>: for a million tokens.
#[test]
fn openai() {
    // gpt-4o: 2.50 in, 1.25 cached, 10.00 out. 6,000 × 2.50 + 4,000 × 1.25 + 1,000 × 10.
    let cached = Usage { cache_read: Some(4_000), ..used(10_000, 1_000) };
    check("gpt-4o", cached, "0.03");
    // A dated name costs what its model costs.
    check("openai/gpt-4o-2024-08-06", cached, "0.03");
    // In a batch half of it: 1.25 and 5.00. 10,000 × 1.25 + 1,000 × 5.
    check("gpt-4o", Usage { service: tier(Tier::Batch), ..used(10_000, 1_000) }, "0.0175");
    // With priority 4.25 and 17.00.
    check("gpt-4o", Usage { service: tier(Tier::Priority), ..used(10_000, 1_000) }, "0.0595");
    // o3: 2.00 in, 8.00 out; reasoning is output. 1,000 × 2 + 5,000 × 8.
    check("o3", Usage { reasoning: Some(4_800), ..used(1_000, 5_000) }, "0.042");
    // text-embedding-3-small: 0.02.
    let embedded = Usage { input: Some(1_500_000), ..Usage::default() };
    check("text-embedding-3-small", embedded, "0.03");
    // gpt-image-1: text 5.00, pictures in 10.00 and out 40.00. 50 × 5 + 300 × 10 + 1,056 × 40.
    check("gpt-image-1", Usage { image_input: Some(300), ..used(350, 1_056) }, "0.04549");
    // whisper-1: 0.006 for a minute; half a minute.
    let heard = Usage { audio_milliseconds: Some(30_000), ..Usage::default() };
    check("whisper-1", heard, "0.003");
    // tts-1: 15.00 for a million characters.
    let spoken = Usage { characters: Some(2_000), ..Usage::default() };
    check("tts-1", spoken, "0.03");
}

/// Anthropic, <https://docs.anthropic.com/en/docs/about-claude/pricing>: Sonnet 4.5 is 3.00 in and 15.00 out, 3.75 and 6.00 for what
/// is kept five minutes and an hour, 0.30 for what is read again; ten dollars for a thousand searches.
#[test]
fn anthropic() {
    let cached = Usage {
        cache_read: Some(50_000),
        cache_write: Some(10_000),
        cache_write_hour: Some(4_000),
        ..used(61_000, 2_000)
    };
    // 1,000 × 3 + 50,000 × 0.30 + 6,000 × 3.75 + 4,000 × 6 + 2,000 × 15.
    check("anthropic/claude-sonnet-4-5-20250929", cached, "0.0945");
    let searched = Usage { searches: Some(3), ..used(1_000, 1_000) };
    check("anthropic/claude-sonnet-4-5", searched, "0.048");
    let batch = Usage { service: tier(Tier::Batch), ..used(1_000, 1_000) };
    check("anthropic/claude-sonnet-4-5", batch, "0.009");
}

/// Google, <https://ai.google.dev/gemini-api/docs/pricing>: 2.5 Pro is 1.25 in, 10.00 out and 0.125 from the cache, and 2.50, 15.00
/// and 0.25 for prompts above 200,000 tokens; 2.5 Flash 0.30, for sound 1.00, and 2.50 out; 35 dollars for a thousand answers that
/// were searched for.
#[test]
fn google() {
    check("gemini/gemini-2.5-pro", used(200_000, 1_000), "0.26");
    check("gemini/gemini-2.5-pro", used(200_001, 1_000), "0.5150025");
    let cached = Usage { cache_read: Some(200_000), ..used(300_000, 1_000) };
    check("gemini/gemini-2.5-pro", cached, "0.315");
    let heard = Usage { audio_input: Some(3_000), ..used(4_000, 1_000) };
    check("gemini/gemini-2.5-flash", heard, "0.0058");
    let searched = Usage { searches: Some(4), ..used(1_000, 1_000) };
    check("gemini/gemini-2.5-pro", searched, "0.04625");
}

#[test]
fn others() {
    // Cohere, https://cohere.com/pricing: two dollars for a thousand searches.
    check("cohere/rerank-v3.5", Usage { queries: Some(2), ..Usage::default() }, "0.004");
    // DeepSeek, https://api-docs.deepseek.com/quick_start/pricing: half at other hours than its office's.
    let cached = Usage { cache_read: Some(1_000_000), ..used(2_000_000, 1_000_000) };
    check_at("deepseek/deepseek-v4-flash", cached, THURSDAY, "1.506");
    check_at("deepseek/deepseek-v4-flash", cached, THURSDAY + 2 * HOUR, "0.753");
    // Alibaba, https://www.alibabacloud.com/help/en/model-studio/models: all of a request at the price of its size.
    check("dashscope/qwen-plus-2025-07-28", used(256_000, 1_000), "0.1036");
    check("dashscope/qwen-plus-2025-07-28", used(256_001, 1_000), "0.3108012");
    let thought = Usage { reasoning: Some(1_000), ..used(1_000, 2_000) };
    check("dashscope/qwen-plus-2025-07-28", thought, "0.0056");
}

#[test]
fn what_has_no_price_is_unknown_and_not_free() {
    let of = |list: &str| {
        let list: serde_json::Map<_, _> = serde_json::from_str(list).unwrap();
        let own = litellm::entry(&list);
        let facts = Facts {
            provider: "openai",
            model: Some("a-model-of-ones-own"),
            base_model: None,
            region: None,
            place: Place::Anywhere,
        };
        Pricing::new(&Book::default().into(), &facts, own)
    };
    let cost = |list: &str, usage: Usage| of(list).of("m", None)?.cost(&usage, 0);
    let usd = |text: &str| text.parse::<Usd>().ok();
    assert_eq!(cost("{}", used(1, 1)), None);
    assert_eq!(cost(r#"{"input_cost_per_token":1}"#, used(2, 0)), usd("2"));
    assert_eq!(cost(r#"{"input_cost_per_token":1}"#, used(2, 1)), None);
    assert_eq!(
        cost(r#"{"input_cost_per_token":0,"output_cost_per_token":0}"#, used(2, 1)),
        usd("0")
    );
    let both = r#"{"input_cost_per_token":1,"output_cost_per_token":2}"#;
    assert_eq!(cost(both, Usage::default()), None);
    assert_eq!(cost(both, Usage { searches: Some(1), ..used(1, 1) }), None);
    assert_eq!(cost(both, Usage { cache_read: Some(3), ..used(1, 1) }), usd("5"));
    assert_eq!(
        cost(both, Usage { reasoning: Some(9), audio_output: Some(9), ..used(1, 1) }),
        usd("3")
    );
    assert_eq!(cost(both, Usage { images: Some(1), ..Usage::default() }), None);
    assert_eq!(
        cost(r#"{"output_cost_per_image":0.04}"#, Usage { images: Some(2), ..used(9, 9) }),
        usd("0.08")
    );
    assert_eq!(cost(r#"{"input_cost_per_request":0.01}"#, Usage::default()), usd("0.01"));
    // The price of a request alone is the price of all that is in it; beside others it is a part.
    assert_eq!(cost(r#"{"input_cost_per_request":0.01}"#, used(9, 9)), usd("0.01"));
    let with_tokens =
        r#"{"input_cost_per_request":0.01,"input_cost_per_token":1,"output_cost_per_token":2}"#;
    assert_eq!(cost(with_tokens, used(1, 1)), usd("3.01"));
    assert_eq!(cost(with_tokens, Usage::default()), None);
    // Half of the usage is no usage.
    assert_eq!(cost(both, Usage { output: Some(1), ..Usage::default() }), None);
    let said = Usage { output: Some(1), ..Usage::default() };
    assert_eq!(cost(r#"{"input_cost_per_token":0,"output_cost_per_token":2}"#, said), usd("2"));
    assert_eq!(cost(both, used(u64::MAX, 1)), None);
}

#[test]
fn sound_from_a_cache_has_a_price_of_its_own() {
    let of = |list: &str| {
        let list: serde_json::Map<_, _> = serde_json::from_str(list).unwrap();
        let list = litellm::entry(&list).prices.into();
        let prices = Prices { list, off_peak: Box::default(), version: "v".into() };
        let usage = Usage { cache_read: Some(10), cache_read_audio: Some(4), ..used(12, 0) };
        prices.cost(&usage, 0).map(|cost| cost.to_string())
    };
    let told = of(
        r#"{"input_cost_per_token":1,"cache_read_input_token_cost":0.1,"cache_read_input_audio_token_cost":0.3}"#,
    );
    assert_eq!(told.as_deref(), Some("3.8"));
    let told = of(r#"{"input_cost_per_token":1,"cache_read_input_token_cost":0.1}"#);
    assert_eq!(told.as_deref(), Some("3"));
    // Google, https://ai.google.dev/gemini-api/docs/pricing: 2.5 Flash, 0.03 and for sound 0.10.
    let cached =
        Usage { cache_read: Some(3_000), cache_read_audio: Some(3_000), ..used(4_000, 1_000) };
    check("gemini/gemini-2.5-flash", cached, "0.0031");
}

#[test]
fn values_that_are_no_prices_are_told() {
    let read = |text: &str| Table::read(text.as_bytes(), About::default());
    let file = r#"{"m":{"litellm_provider":"openai","input_cost_per_token":-1,"output_cost_per_token":1},
        "n":{"litellm_provider":"openai","input_cost_per_token":"x"}}"#;
    let told = read(file).unwrap().left_out().unwrap();
    assert!(
        told.starts_with("2 values")
            && told.ends_with("m: input_cost_per_token, n: input_cost_per_token"),
        "{told}"
    );
    let none = r#"{"m":{"litellm_provider":"openai","input_cost_per_token":1e300}}"#;
    assert!(read(none).unwrap_err().0.ends_with("as in m: input_cost_per_token"));
    assert!(read(r#"{"m":1}"#).unwrap_err().0.contains("litellm_provider"));
    let models_dev = r#"{"p":{"models":{"m":{"cost":{"input":1,"output":-1}}}}}"#;
    assert!(read(models_dev).unwrap().left_out().unwrap().ends_with(": p/m: output"));
    let marked = "\u{feff}{\"m\":{\"litellm_provider\":\"openai\",\"input_cost_per_token\":1}}";
    assert_eq!(read(marked).unwrap().left_out(), None);
}

#[test]
fn an_entry_goes_before_the_file_and_the_file_before_the_built_in_table() {
    let file = br#"{"gpt-4o":{"litellm_provider":"openai","input_cost_per_token":1,"output_cost_per_token":1},
        "azure/eu/m":{"litellm_provider":"azure","input_cost_per_token":7,"output_cost_per_token":7}}"#;
    let table = Table::read(file, About::default()).unwrap();
    let version = table.about.version.to_string();
    let book = Book::new(Some(table)).into();
    let pricing = |provider, model, base_model, own: &str| {
        let own: serde_json::Map<_, _> = serde_json::from_str(own).unwrap();
        let facts = Facts { provider, model, base_model, region: None, place: Place::Anywhere };
        Pricing::new(&book, &facts, litellm::entry(&own))
    };
    let told = |pricing: &Pricing, model: &str, answered| {
        let prices = pricing.of(model, answered)?;
        Some((prices.cost(&used(1, 1), 0)?.to_string(), prices.version.to_string()))
    };
    let expect = |cost: &str, version: &str| Some((cost.to_owned(), version.to_owned()));
    let filed = pricing("openai", Some("gpt-4o"), None, "{}");
    assert_eq!(told(&filed, "gpt-4o", None), expect("2", &version));
    let own = pricing(
        "openai",
        Some("gpt-4o"),
        None,
        r#"{"input_cost_per_token":5,"output_cost_per_token":0}"#,
    );
    assert_eq!(told(&own, "gpt-4o", None), expect("5", "config"));
    let added = pricing("openai", Some("gpt-4o"), None, r#"{"input_cost_per_audio_token":9}"#);
    assert_eq!(told(&added, "gpt-4o", None), expect("2", &format!("config+{version}")));
    let built_in = pricing("openai", Some("gpt-4.1"), None, "{}");
    assert_eq!(
        told(&built_in, "gpt-4.1", None),
        expect("0.00001", &super::book::built_in().about.version)
    );
    // A name of one's own, with the model whose prices it has; or with the one that the answer names.
    let based = pricing("azure", Some("my-deployment"), Some("azure/eu/m"), "{}");
    assert_eq!(told(&based, "my-deployment", None), expect("14", &version));
    let answered = pricing("azure", Some("my-deployment"), None, "{}");
    assert_eq!(told(&answered, "my-deployment", None), None);
    assert_eq!(told(&answered, "my-deployment", Some("eu/m")), expect("14", &version));
    // What requests name is looked up when they do.
    let wild = pricing("openai", None, None, "{}");
    assert_eq!(told(&wild, "gpt-4o", None), expect("2", &version));
    assert_eq!(told(&wild, "nobody-knows", None), None);
    for number in 0..3000 {
        assert_eq!(told(&wild, &format!("m{number}"), None), None);
    }
}

#[test]
fn where_it_is_served_changes_the_price() {
    let at = |place| {
        let facts = Facts {
            provider: "openai",
            model: Some("gpt-5.4"),
            base_model: None,
            region: None,
            place,
        };
        let pricing = Pricing::new(&Book::default().into(), &facts, litellm::Entry::default());
        pricing.of("gpt-5.4", None).and_then(|prices| prices.cost(&used(1_000, 100), 0))
    };
    let anywhere = at(Place::Anywhere).unwrap();
    assert_eq!(at(Place::HostEu), Some(anywhere.by("1.1".parse().unwrap())));
}

/// What LiteLLM 1.110.2 computes with the same prices (`litellm.cost_per_token`), written down once by `compute.py` beside it.
#[derive(Deserialize)]
struct Case {
    provider: String,
    model: String,
    input: u64,
    output: u64,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_hour: Option<u64>,
    reasoning: Option<u64>,
    audio_input: Option<u64>,
    audio_output: Option<u64>,
    image_input: Option<u64>,
    tier: Option<String>,
    cost: f64,
}

#[test]
fn costs_are_those_that_litellm_computes() {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("../../tests/golden/prices/litellm.json")).unwrap();
    assert!(cases.len() > 400);
    let book = Book::default();
    let mut wrong = Vec::new();
    for case in &cases {
        let usage = Usage {
            input: Some(case.input),
            output: Some(case.output),
            cache_read: case.cache_read,
            cache_write: case.cache_write,
            cache_write_hour: case.cache_write_hour,
            reasoning: case.reasoning,
            audio_input: case.audio_input,
            audio_output: case.audio_output,
            image_input: case.image_input,
            service: Service {
                tier: case.tier.as_deref().and_then(Tier::read),
                ..Service::default()
            },
            ..Usage::default()
        };
        let prices = book.find(&case.provider, &case.model, None);
        let cost = prices.and_then(|prices| prices.cost(&usage, THURSDAY));
        let cost = cost.map(|cost| cost.to_string().parse::<f64>().unwrap());
        let fits = cost.is_some_and(|cost| (cost - case.cost).abs() <= 1e-12 * case.cost.max(1e-3));
        if !fits {
            let Case { provider, model, input, output, cost: expected, .. } = case;
            wrong.push(format!(
                "{provider}/{model} {input} {output} {:?}: {cost:?}, not {expected}",
                usage.service.tier
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), cases.len());
}

//! Every client over every provider, through the real gateway: what is said, what is counted, and what a row
//! holds; answers that come in another way than they were asked for; and the mock on every surface.

use rusqlite::types::Value as Cell;
use serde_json::{Value, json};

use crate::support::clients::{Client, Told};
use crate::support::gateway::{Gateway, KEY};
use crate::support::providers::{self, Provider, TEXT, THOUGHT};
use crate::support::upstream::{self, Upstream, chunk, last_chunk};

/// A gateway before providers that answer as they are asked.
async fn well_behaved() -> (Gateway, Upstream) {
    let upstream = Upstream::start(|seen| {
        let provider = providers::asked(seen);
        provider.answer(provider.wants_stream(seen))
    })
    .await;
    (Gateway::start(&providers::config(upstream.address)), upstream)
}

#[track_caller]
fn check(client: Client, provider: Provider, status: u16, told: &Told) {
    let what = format!("{client:?} over {provider:?}: {told:?}");
    assert_eq!(status, 200, "{what}");
    assert!(told.complete && told.error.is_none(), "{what}");
    assert_eq!(told.text, TEXT, "{what}");
    // The legacy completions have no place for thoughts.
    let thought = if client == Client::Completions { "" } else { THOUGHT };
    assert_eq!(told.thoughts, thought, "{what}");
    assert_eq!(told.usage, Some((11, 7)), "{what}");
}

/// Legacy completions are passed on where the provider may have them.
fn is_verbatim(client: Client, provider: Provider) -> bool {
    matches!(
        (client, provider),
        (Client::Chat, Provider::Chat)
            | (Client::Responses, Provider::Responses)
            | (Client::Messages, Provider::Anthropic)
    )
}

fn pairs() -> impl Iterator<Item = (Client, Provider)> {
    let all = Client::ALL.into_iter();
    all.flat_map(|client| Provider::ALL.into_iter().map(move |provider| (client, provider)))
        .filter(|pair| *pair != (Client::Completions, Provider::Chat))
}

#[tokio::test]
async fn every_client_is_answered_by_every_provider() {
    let (gateway, upstream) = well_behaved().await;
    let mut count = 0;
    for (client, provider) in pairs() {
        for stream in [false, true] {
            let (status, told) = client.tell(&gateway, &client.body(provider.name(), stream)).await;
            check(client, provider, status, &told);
            count += 1;
        }
    }
    let columns = "lane, status, http_status, input_tokens, output_tokens, cache_read_tokens, \
                   cache_write_tokens, reasoning_tokens, usage_source, finish_reason, ttft_us, losses";
    let rows = gateway.rows(columns, count).await;
    assert_eq!(rows.len(), count);
    let asked = pairs().flat_map(|pair| [(pair, false), (pair, true)]);
    for (row, ((client, provider), stream)) in rows.iter().zip(asked) {
        let what = format!("{client:?} over {provider:?}, stream {stream}: {row:?}");
        let lane = if is_verbatim(client, provider) { "verbatim" } else { "hub" };
        assert_eq!(row[0], Cell::from(lane.to_owned()), "{what}");
        assert_eq!(row[1], Cell::from("ok".to_owned()), "{what}");
        assert_eq!(row[2], Cell::from(200), "{what}");
        let tokens = provider.tokens();
        let count = |count: Option<i64>| count.map_or(Cell::Null, Cell::from);
        assert_eq!(row[3], Cell::from(tokens.input), "{what}");
        assert_eq!(row[4], Cell::from(tokens.output), "{what}");
        let is_zero_or = |cell: &Cell, expected: Option<i64>| {
            *cell == count(expected) || expected.is_none() && *cell == Cell::from(0)
        };
        assert!(is_zero_or(&row[5], tokens.cache_read), "{what}");
        assert!(is_zero_or(&row[6], tokens.cache_write), "{what}");
        assert!(is_zero_or(&row[7], tokens.reasoning), "{what}");
        assert_eq!(row[8], Cell::from("provider".to_owned()), "{what}");
        assert_ne!(row[9], Cell::Null, "{what}");
        assert_ne!(row[10], Cell::Null, "{what}");
        assert_eq!(row[11], Cell::Null, "{what}");
    }
    // Every provider was asked for its own model, and with the key, in its own way.
    for seen in upstream.seen() {
        let provider = providers::asked(&seen);
        let shown = match provider {
            Provider::Anthropic => seen.header("x-api-key").map(str::to_owned),
            Provider::Gemini => seen.header("x-goog-api-key").map(str::to_owned),
            _ => seen.header("authorization").map(|value| value.replace("Bearer ", "")),
        };
        assert_eq!(shown.as_deref(), Some(providers::SECRET), "{provider:?}");
        assert!(!seen.headers.iter().any(|(_, value)| value.contains(KEY)), "{provider:?}");
    }
}

/// Some servers stream unasked, and some do not stream though asked.
#[tokio::test]
async fn an_answer_comes_as_it_was_asked_for_however_the_provider_sent_it() {
    let upstream = Upstream::start(|seen| {
        let provider = providers::asked(seen);
        provider.answer(!provider.wants_stream(seen))
    })
    .await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    for (client, provider) in pairs().filter(|(client, provider)| !is_verbatim(*client, *provider))
    {
        for stream in [false, true] {
            let body = client.body(provider.name(), stream);
            let answer = gateway.post(client.path(), &body).send().await.unwrap();
            let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
            let status = answer.status().as_u16();
            let text = answer.text().await.unwrap();
            let what = format!("{client:?} over {provider:?}, stream {stream}: {kind}: {text}");
            assert_eq!(status, 200, "{what}");
            assert_eq!(kind.starts_with("text/event-stream"), stream, "{what}");
            let told = if stream { client.events(&text) } else { client.whole(&text) };
            check(client, provider, status, &told);
        }
    }
}

/// Servers behind proxies that name every answer alike, or none at all.
#[tokio::test]
async fn answers_are_known_by_what_they_are() {
    for kind in ["text/plain", "application/octet-stream", ""] {
        let upstream = Upstream::start(move |seen| {
            let provider = providers::asked(seen);
            let line =
                if kind.is_empty() { String::new() } else { format!("content-type: {kind}\r\n") };
            if !provider.wants_stream(seen) {
                return upstream::whole(200, &line, provider.whole().as_bytes());
            }
            let head = format!("HTTP/1.1 200 OK\r\n{line}transfer-encoding: chunked\r\n\r\n");
            let mut steps = vec![upstream::Step::Write(head.into_bytes())];
            steps.extend(provider.events().iter().map(|event| chunk(event)));
            steps.push(last_chunk());
            steps
        })
        .await;
        let gateway = Gateway::start(&providers::config(upstream.address));
        for (client, provider) in pairs() {
            for stream in [false, true] {
                let body = client.body(provider.name(), stream);
                let (status, told) = client.tell(&gateway, &body).await;
                assert_eq!((status, &told.error), (200, &None), "{kind}: {client:?} {provider:?}");
                check(client, provider, status, &told);
            }
        }
    }
}

/// A chat completion that was not asked to stream but whose server says `text/plain`, and JSON without a name
/// where a stream was asked for.
#[tokio::test]
async fn json_without_a_name_is_an_answer_to_a_stream_too() {
    let upstream =
        Upstream::start(|seen| upstream::whole(200, "", providers::asked(seen).whole().as_bytes()))
            .await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    for (client, provider) in pairs().filter(|(client, provider)| !is_verbatim(*client, *provider))
    {
        let (status, told) = client.tell(&gateway, &client.body(provider.name(), true)).await;
        check(client, provider, status, &told);
    }
}

const MOCK: &str = "\
model_list:
- {model_name: m, litellm_params: {model: mock-response}}
- {model_name: canned, litellm_params: {model: openai/up, mock_response: \"caf\u{e9} \u{1F642}\"}}
virtual_keys:
- {api_key: sk-test-0123456789abcdefghij, key_alias: tester, models: ['*']}
";

#[tokio::test]
async fn the_mock_answers_on_every_surface() {
    let gateway = Gateway::start(MOCK);
    for client in Client::ALL {
        for stream in [false, true] {
            let (status, told) = client.tell(&gateway, &client.body("canned", stream)).await;
            assert_eq!(status, 200, "{client:?}: {told:?}");
            assert!(told.complete && told.error.is_none(), "{client:?}: {told:?}");
            assert_eq!(told.text, "caf\u{e9} \u{1F642}", "{client:?}, {stream}");
            assert!(told.usage.is_some(), "{client:?}, {stream}");
            let (status, told) = client.tell(&gateway, &client.body("m", stream)).await;
            assert_eq!(status, 200, "{client:?}: {told:?}");
            assert!(told.complete && !told.text.is_empty(), "{client:?}: {told:?}");
            let mut body = client.body("m", stream);
            body["mock_response"] = "asked for".into();
            let (_, told) = client.tell(&gateway, &body).await;
            assert_eq!(told.text, "asked for", "{client:?}, {stream}");
        }
    }
    let rows = gateway.rows("lane, status", 24).await;
    assert!(rows.iter().all(|row| row[1] == Cell::from("ok".to_owned())), "{rows:?}");
    for (path, body) in [
        ("/v1/messages/count_tokens", Client::Messages.body("m", false)),
        ("/v1/responses/input_tokens", Client::Responses.body("m", false)),
        ("/v1/embeddings", json!({ "model": "m", "input": "a" })),
    ] {
        let answer = gateway.post(path, &body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert!(answer["input_tokens"].is_u64() || answer["data"].is_array(), "{path}: {answer}");
    }
}

/// Prices, and what the cache saves.
#[tokio::test]
async fn a_row_has_its_cost_on_every_lane() {
    let upstream = Upstream::start(|seen| {
        let provider = providers::asked(seen);
        provider.answer(provider.wants_stream(seen))
    })
    .await;
    let prices = "api_key: sk-upstream-0123456789, input_cost_per_token: 0.001, \
                  output_cost_per_token: 0.01, cache_read_input_token_cost: 0.0001";
    let config = providers::config(upstream.address);
    let gateway = Gateway::start(&config.replace("api_key: sk-upstream-0123456789", prices));
    let mut count = 0;
    for provider in Provider::ALL {
        for stream in [false, true] {
            let (status, _) =
                Client::Chat.tell(&gateway, &Client::Chat.body(provider.name(), stream)).await;
            assert_eq!(status, 200);
            count += 1;
        }
    }
    let rows = gateway.rows("cost_usd, model_requested", count).await;
    for (row, provider) in rows.iter().zip(Provider::ALL.into_iter().flat_map(|one| [one, one])) {
        let tokens = provider.tokens();
        let cached = tokens.cache_read.unwrap_or_default();
        let micros = (tokens.input - cached) * 1000 + cached * 100 + tokens.output * 10_000;
        let Cell::Real(cost) = row[0] else { panic!("{provider:?}: {row:?}") };
        #[expect(clippy::cast_possible_truncation, reason = "a small number")]
        let found = (cost * 1e6).round() as i64;
        assert_eq!(found, micros, "{provider:?}");
    }
}

//! Streams between formats that are cut, broken off, silent, too long or wrong: what reaches the client is a
//! whole answer or an error in its own form, and never what looks like an end.

use std::sync::Arc;

use futures_util::StreamExt;
use rusqlite::types::Value as Cell;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::clients::{Client, Told};
use crate::support::gateway::{Gateway, KEY};
use crate::support::providers::{self, Provider, SECRET, TEXT, head};
use crate::support::upstream::{self, Seen, Step, Upstream, chunk, last_chunk, whole};

/// A number that a test gives its request, and that travels to the provider.
fn number(seen: &Seen) -> usize {
    seen.header("idempotency-key").unwrap().parse().unwrap()
}

async fn tell(
    gateway: &Gateway,
    client: Client,
    provider: Provider,
    number: usize,
) -> (u16, Told, String) {
    let body = client.body(provider.name(), true);
    let request = gateway.post(client.path(), &body).header("idempotency-key", number.to_string());
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    let told = if status == 200 { client.events(&text) } else { client.whole(&text) };
    (status, told, text)
}

fn pairs() -> impl Iterator<Item = (Client, Provider)> {
    let all = Client::ALL.into_iter();
    all.flat_map(|client| Provider::ALL.into_iter().map(move |provider| (client, provider)))
        .filter(|pair| *pair != (Client::Completions, Provider::Chat))
}

/// Another client than the provider's own.
fn stranger(provider: Provider) -> Client {
    match provider {
        Provider::Chat => Client::Messages,
        Provider::Anthropic => Client::Responses,
        _ => Client::Chat,
    }
}

#[tokio::test]
async fn where_the_network_cuts_does_not_matter() {
    let upstream = Upstream::start(|seen| {
        let provider = providers::asked(seen);
        let whole = provider.events().concat();
        let mut steps = vec![provider.stream_head()];
        match number(seen) {
            // A byte at a time.
            0 => steps.extend(whole.iter().map(|byte| chunk(&[*byte]))),
            cut => {
                let (left, right) = whole.split_at(cut);
                steps.extend([chunk(left), chunk(right)]);
            }
        }
        steps.push(last_chunk());
        steps
    })
    .await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    for (at, provider) in Provider::ALL.into_iter().enumerate() {
        let client = stranger(provider);
        let length = provider.events().concat().len();
        for cut in std::iter::once(0).chain((1 + at..length).step_by(7)) {
            let (status, told, text) = tell(&gateway, client, provider, cut).await;
            let what = format!("{provider:?}, cut at {cut}: {text}");
            assert_eq!((status, told.complete, &*told.text), (200, true, TEXT), "{what}");
            assert_eq!(told.usage, Some((11, 7)), "{what}");
        }
    }
}

/// CRLF and CR as line ends, comments, several data lines, a byte order mark.
#[tokio::test]
async fn every_spelling_of_server_sent_events_is_read() {
    let upstream = Upstream::start(|seen| {
        let provider = providers::asked(seen);
        let text = String::from_utf8(provider.events().concat()).unwrap();
        let text = match number(seen) {
            0 => text.replace('\n', "\r\n"),
            1 => text.replace('\n', "\r"),
            2 => format!("\u{feff}{text}"),
            3 => text.replace("data: ", "data:"),
            4 => text.replace("data: ", "id: 7\nretry: 10\n: comment\ndata: "),
            5 => text.replace(
                "\n\n",
                "\n\n: PROCESSING\n\ndata:\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\n",
            ),
            // JSON over two lines of one event.
            _ => text.replace("data: {", "data: {\ndata: "),
        };
        vec![provider.stream_head(), chunk(text.as_bytes()), last_chunk()]
    })
    .await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    let events = [
        Provider::Chat,
        Provider::Responses,
        Provider::Anthropic,
        Provider::Gemini,
        Provider::Cohere,
    ];
    for provider in events {
        for spelling in 0..=6 {
            let (status, told, text) = tell(&gateway, stranger(provider), provider, spelling).await;
            let what = format!("{provider:?}, spelling {spelling}: {text}");
            assert_eq!((status, told.complete, &*told.text), (200, true, TEXT), "{what}");
        }
    }
}

/// Whatever has come when the provider breaks off, and however it does.
#[tokio::test]
async fn a_stream_that_breaks_off_never_looks_complete() {
    let upstream = Upstream::start(|seen| {
        let provider = providers::asked(seen);
        let (count, way) = (number(seen) / 3, number(seen) % 3);
        let mut steps = vec![provider.stream_head()];
        steps.extend(provider.events().iter().take(count).map(|event| chunk(event)));
        match way {
            0 => steps.push(Step::Close),
            1 => steps.push(last_chunk()),
            // Half an event more.
            _ => {
                let next = provider.events().get(count).cloned().unwrap_or_default();
                if next.len() > 1 {
                    steps.push(chunk(&next[..next.len() / 2]));
                }
                steps.push(Step::Close);
            }
        }
        steps
    })
    .await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    let mut broken = Vec::new();
    for (client, provider) in pairs() {
        let total = provider.events().len();
        for number in 0..=3 * total + 1 {
            let (status, told, text) = tell(&gateway, client, provider, number).await;
            let (count, way) = (number / 3, number % 3);
            let what = format!("{client:?} over {provider:?}, {count} events, way {way}: {text}");
            // With the last event, nothing is missing; without what comes behind the finish, only the
            // provider's own end says so.
            // Gemini has no last event: after each chunk another may come.
            let is_last = count == total && (way == 1 || provider != Provider::Gemini);
            if is_last || way == 1 && count + provider.complete_without() >= total {
                assert_eq!((status, told.complete, told.error), (200, true, None), "{what}");
                assert_eq!(told.text, TEXT, "{what}");
            } else if way != 1 && count + provider.complete_without() >= total {
                // Both may be said: all was told, but for the counts.
                assert!(told.complete != told.error.is_some(), "{what}");
            } else {
                assert!(!told.complete, "{what}");
                assert!(told.error.is_some(), "{what}");
                assert!(status == 200 || status == 502, "{what}");
                assert!(TEXT.starts_with(&*told.text), "{what}");
            }
            broken.push((client, provider, count, told.complete, status));
        }
    }
    let columns = "status, http_status, error_type, input_tokens, bytes_out";
    let rows = gateway.rows(columns, broken.len()).await;
    for (row, case) in rows.iter().zip(&broken) {
        let (_, provider, count, complete, status) = *case;
        let expected = if complete { "ok" } else { "error" };
        assert_eq!(row[0], Cell::from(expected.to_owned()), "{case:?}: {row:?}");
        assert_eq!(row[1], Cell::from(i64::from(status)), "{case:?}: {row:?}");
        if !complete {
            let garbage = "upstream_invalid_response".to_owned();
            assert_eq!(row[2], Cell::from(garbage), "{case:?}: {row:?}");
        }
        // Counted is what was told of.
        let early = matches!(provider, Provider::Anthropic | Provider::Gemini);
        if early && count > 0 && status == 200 {
            assert_eq!(row[3], Cell::from(11), "{case:?}: {row:?}");
        }
    }
}

#[tokio::test]
async fn an_error_inside_a_stream_is_told_in_the_clients_form() {
    let words = format!("It burst at {SECRET}.");
    let upstream = Upstream::start({
        let words = words.clone();
        move |seen| {
            let provider = providers::asked(seen);
            let mut events: Vec<Vec<u8>> =
                provider.events().into_iter().take(number(seen)).collect();
            events.push(provider.error_event(&words));
            providers::streamed(provider, &events)
        }
    })
    .await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    let mut told_of = Vec::new();
    for (client, provider) in pairs() {
        for count in 0..provider.events().len() - provider.complete_without() {
            let (status, told, text) = tell(&gateway, client, provider, count).await;
            let what = format!("{client:?} over {provider:?}, after {count}: {status} {text}");
            assert!(!told.complete, "{what}");
            let error = told.error.unwrap_or_else(|| panic!("{what}"));
            assert!(error.contains("It burst at "), "{what}");
            // Where both speak one format, what flows is not looked into.
            let own = matches!(
                (client, provider),
                (Client::Chat, Provider::Chat)
                    | (Client::Responses, Provider::Responses)
                    | (Client::Messages, Provider::Anthropic)
            );
            assert!(own && status == 200 || !text.contains(SECRET), "{what}");
            assert!(count > 0 || status >= 400, "{what}");
            told_of.push((client, provider, count, status));
        }
    }
    let rows = gateway.rows("status, http_status, error_message", told_of.len()).await;
    for (row, case) in rows.iter().zip(&told_of) {
        assert_eq!(row[0], Cell::from("error".to_owned()), "{case:?}");
        assert_eq!(row[1], Cell::from(i64::from(case.3)), "{case:?}");
        let Cell::Text(message) = &row[2] else { panic!("{case:?}: {row:?}") };
        assert!(message.contains("It burst at "), "{case:?}: {row:?}");
        assert!(!message.contains(SECRET), "{case:?}: {row:?}");
    }
}

#[tokio::test]
async fn an_error_with_status_200_is_an_error() {
    let upstream = Upstream::start(|seen| match number(seen) {
        0 => upstream::json(200, "", r#"{"error":{"message":"It burst.","code":429,"type":null}}"#),
        1 => upstream::json(200, "", r#"{"error":"It burst."}"#),
        2 => whole(200, "content-type: text/html\r\n", b"<html>It burst.</html>"),
        3 => upstream::json(200, "", "{"),
        4 => upstream::json(200, "", ""),
        5 => upstream::json(200, "", "[]"),
        _ => upstream::json(200, "", "null"),
    })
    .await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    for (client, provider) in pairs() {
        for (kind, expected) in
            [(0, 429), (1, 502), (2, 502), (3, 502), (4, 502), (5, 502), (6, 502)]
        {
            for stream in [false, true] {
                let body = client.body(provider.name(), stream);
                let request = gateway.post(client.path(), &body);
                let request = request.header("idempotency-key", kind.to_string());
                let answer = request.send().await.unwrap();
                let status = answer.status().as_u16();
                let text = answer.text().await.unwrap();
                let what = format!("{client:?} over {provider:?}, {kind}, {stream}: {text}");
                assert_eq!(status, expected, "{what}");
                let told = client.whole(&text);
                let error = told.error.unwrap_or_else(|| panic!("{what}"));
                assert!(kind > 1 || error.contains("It burst."), "{what}");
                assert!(!text.contains('<'), "{what}");
            }
        }
    }
}

/// Two deployments of one group.
fn group(provider: Provider, first: &Upstream, second: &Upstream) -> String {
    let entry = |upstream: &Upstream, order: u8| {
        let params = provider.params(upstream.address);
        format!("- model_name: m\n  litellm_params: {{{params}, order: {order}}}\n")
    };
    let (first, second) = (entry(first, 1), entry(second, 2));
    format!("model_list:\n{first}{second}virtual_keys:\n- {{api_key: {KEY}, models: ['*']}}\n")
}

#[tokio::test]
async fn before_the_first_byte_another_deployment_is_asked() {
    for provider in Provider::ALL {
        for way in 0..3 {
            let first = Upstream::start(move |seen| {
                let provider = providers::asked(seen);
                match way {
                    0 => providers::streamed(provider, &[provider.error_event("Overloaded.")]),
                    1 => vec![provider.stream_head(), last_chunk()],
                    _ => vec![provider.stream_head(), Step::Close],
                }
            })
            .await;
            let second = Upstream::start(|seen| providers::asked(seen).answer(true)).await;
            let gateway = Gateway::start(&group(provider, &first, &second));
            let own = match provider {
                Provider::Chat => Client::Chat,
                Provider::Anthropic => Client::Messages,
                _ => Client::Responses,
            };
            for client in [stranger(provider), own] {
                let (status, told) = client.tell(&gateway, &client.body("m", true)).await;
                let what = format!("{client:?} over {provider:?}, way {way}: {told:?}");
                assert_eq!((status, told.complete, &*told.text), (200, true, TEXT), "{what}");
            }
            assert_eq!(second.seen().len(), 2);
        }
    }
}

fn impatient(address: std::net::SocketAddr, settings: &str) -> String {
    format!("{}{settings}", providers::config(address))
}

/// The head of the answer comes after one interval, and what keeps it alive is of the client's format.
#[tokio::test]
async fn a_silent_provider_is_bridged_in_the_clients_form() {
    let permits: Arc<Vec<_>> = Arc::new((0..30).map(|_| Arc::new(Semaphore::new(0))).collect());
    let upstream = Upstream::start({
        let permits = permits.clone();
        move |seen| {
            let (provider, permits) = (providers::asked(seen), &permits[number(seen)]);
            let mut events = provider.events();
            let last = events.pop().unwrap();
            let mut steps = vec![provider.stream_head(), Step::Await(permits.clone())];
            steps.extend(events.iter().map(|event| chunk(event)));
            steps.extend([Step::Await(permits.clone()), chunk(&last), last_chunk()]);
            steps
        }
    })
    .await;
    let settings = "litellm_settings: {sse_keepalive_ping_interval_seconds: 1}\n";
    let gateway = Arc::new(Gateway::start(&impatient(upstream.address, settings)));
    let mut all = tokio::task::JoinSet::new();
    for (at, (client, provider)) in pairs().enumerate() {
        let (gateway, permits) = (gateway.clone(), permits[at].clone());
        all.spawn(async move {
            let body = client.body(provider.name(), true);
            let request = gateway.post(client.path(), &body);
            let request = request.header("idempotency-key", at.to_string());
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let mut stream = answer.bytes_stream();
            let mut text = String::new();
            let mut wait_for_pings = async |text: &mut String, count: usize| {
                while client.events(text).pings < count {
                    let bytes = stream.next().await.unwrap().unwrap();
                    text.push_str(std::str::from_utf8(&bytes).unwrap());
                }
            };
            // Nothing has come of the provider: what comes is a sign of life.
            wait_for_pings(&mut text, 1).await;
            let before = client.events(&text);
            assert!(before.text.is_empty() && !before.complete, "{client:?}: {text}");
            permits.add_permits(1);
            wait_for_pings(&mut text, before.pings + 1).await;
            permits.add_permits(1);
            while let Some(bytes) = stream.next().await {
                text += std::str::from_utf8(&bytes.unwrap()).unwrap();
            }
            let told = client.events(&text);
            let what = format!("{client:?} over {provider:?}: {text}");
            assert!(told.complete && told.error.is_none() && told.text == TEXT, "{what}");
            match client {
                Client::Messages => assert!(text.contains("event: ping\n"), "{what}"),
                // Codex counts silence by events and does not see comments; the SDKs want the first event to
                // be `response.created`.
                Client::Responses => {
                    assert!(text.contains("event: keepalive\n"), "{what}");
                    let first = text.find("event: ").map(|at| &text[at..]);
                    assert!(first.unwrap().starts_with("event: response.created\n"), "{what}");
                }
                _ => assert!(text.contains(": ping\n\n"), "{what}"),
            }
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn a_provider_that_falls_silent_is_given_up() {
    let upstream = Upstream::start(|seen| {
        let provider = providers::asked(seen);
        let mut steps = vec![provider.stream_head()];
        let events = provider.events();
        steps.extend(
            events
                .iter()
                .take(events.len() - 1 - provider.complete_without())
                .map(|event| chunk(event)),
        );
        steps.push(Step::Hang);
        steps
    })
    .await;
    let settings = "router_settings: {stream_idle_timeout_seconds: 0.2}\n";
    let gateway = Gateway::start(&impatient(upstream.address, settings));
    for (count, (client, provider)) in pairs().enumerate() {
        let (status, told) = client.tell(&gateway, &client.body(provider.name(), true)).await;
        let what = format!("{client:?} over {provider:?}: {told:?}");
        assert_eq!((status, told.complete), (200, false), "{what}");
        assert!(told.error.is_some_and(|error| error.contains("silent")), "{what}");
        upstream.abandoned(count + 1).await;
    }
    let rows = gateway.rows("status, error_type", pairs().count()).await;
    assert!(rows.iter().all(|row| row[1] == Cell::from("upstream_timeout".to_owned())), "{rows:?}");
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_provider_along() {
    let upstream = Upstream::start(|seen| {
        let provider = providers::asked(seen);
        let mut steps = vec![provider.stream_head()];
        let mut events = provider.events();
        // Something of the text has come, but not the end.
        events.truncate(events.len() - 1 - provider.complete_without());
        steps.extend(events.iter().map(|event| chunk(event)));
        steps.push(Step::Hang);
        steps
    })
    .await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    for (count, (client, provider)) in pairs().enumerate() {
        let body = client.body(provider.name(), true);
        let mut answer = gateway.post(client.path(), &body).send().await.unwrap();
        assert!(answer.chunk().await.unwrap().is_some());
        drop(answer);
        upstream.abandoned(count + 1).await;
    }
    gateway.health_until(|health| health["in_flight"] == 0).await;
    let rows = gateway.rows("status, client_closed", pairs().count()).await;
    assert!(rows.iter().all(|row| row[0] == Cell::from("cancelled".to_owned())), "{rows:?}");
}

/// A client that leaves while nothing has come yet.
#[tokio::test]
async fn a_client_that_leaves_early_takes_the_provider_along() {
    let upstream = Upstream::start(|_| vec![Step::Hang]).await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    let mut count = 0;
    for (client, provider) in pairs() {
        for stream in [false, true] {
            let body = client.body(provider.name(), stream);
            let asking = tokio::spawn(gateway.post(client.path(), &body).send());
            count += 1;
            upstream.arrived(count).await;
            asking.abort();
            upstream.abandoned(count).await;
        }
    }
    let rows = gateway.rows("status", count).await;
    assert!(rows.iter().all(|row| row[0] == Cell::from("cancelled".to_owned())), "{rows:?}");
}

/// Sixty streams and forty requests that hang, beside one that is quick.
#[tokio::test]
async fn many_streams_do_not_hold_up_one_another() {
    let permits = Arc::new(Semaphore::new(0));
    let upstream = Upstream::start({
        let permits = permits.clone();
        move |seen| {
            let provider = providers::asked(seen);
            if !provider.wants_stream(seen) {
                return match seen.header("idempotency-key") {
                    Some("quick") => provider.answer(false),
                    _ => vec![Step::Hang],
                };
            }
            let mut steps = vec![provider.stream_head()];
            for event in provider.events() {
                steps.extend([chunk(&event), Step::Await(permits.clone())]);
            }
            steps.push(last_chunk());
            steps
        }
    })
    .await;
    let gateway = Arc::new(Gateway::start(&providers::config(upstream.address)));
    let provider = |at: usize| Provider::ALL[at % Provider::ALL.len()];
    let mut streams = tokio::task::JoinSet::new();
    for at in 0..60 {
        let gateway = gateway.clone();
        streams.spawn(async move {
            let client = [Client::Chat, Client::Responses, Client::Messages][at % 3];
            (client, client.tell(&gateway, &client.body(provider(at).name(), true)).await)
        });
    }
    let mut hanging = tokio::task::JoinSet::new();
    for at in 0..40 {
        let body = Client::Chat.body(provider(at).name(), false);
        hanging.spawn(gateway.post(Client::Chat.path(), &body).send());
    }
    upstream.arrived(100).await;
    let body = Client::Messages.body("gemini", false);
    let quick = gateway.post("/v1/messages", &body).header("idempotency-key", "quick");
    assert_eq!(quick.send().await.unwrap().status(), 200);
    permits.add_permits(60 * 20);
    while let Some(done) = streams.join_next().await {
        let (client, (status, told)) = done.unwrap();
        assert_eq!((status, told.complete, &*told.text), (200, true, TEXT), "{client:?}: {told:?}");
    }
    hanging.shutdown().await;
    upstream.abandoned(40).await;
    gateway.health_until(|health| health["in_flight"] == 0).await;
}

#[tokio::test]
async fn an_event_without_end_is_not_held() {
    let endless = vec![b'x'; 1024 * 1024];
    let upstream = Upstream::start(move |seen| {
        let provider = providers::asked(seen);
        let mut steps = vec![provider.stream_head()];
        let events = provider.events();
        steps.extend(events.iter().take(events.len() / 2).map(|event| chunk(event)));
        if provider == Provider::Bedrock {
            // A message that says it is longer than may be held.
            let mut prelude = 0x7fff_ffff_u32.to_be_bytes().to_vec();
            prelude.extend_from_slice(&[0; 4]);
            prelude.extend_from_slice(&crc32fast::hash(&prelude).to_be_bytes());
            steps.push(chunk(&prelude));
        } else {
            steps.push(chunk(b"data: {\"type\":\""));
            steps.extend((0..40).map(|_| chunk(&endless)));
        }
        steps.push(Step::Hang);
        steps
    })
    .await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    for provider in [Provider::Chat, Provider::Ollama, Provider::Bedrock] {
        let client = stranger(provider);
        let (status, told) = client.tell(&gateway, &client.body(provider.name(), true)).await;
        assert_eq!((status, told.complete), (200, false), "{provider:?}: {told:?}");
        assert!(told.error.is_some_and(|error| error.contains("16 MiB")), "{provider:?}");
    }
    upstream.abandoned(3).await;
}

/// Ten megabytes of pictures, each way that a client can send them.
#[tokio::test]
async fn pictures_of_ten_megabytes_reach_the_provider() {
    let upstream = Upstream::start(|seen| {
        let provider = providers::asked(seen);
        provider.answer(provider.wants_stream(seen))
    })
    .await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    // The beginning of a PNG, and then whatever.
    let mut picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB".to_owned();
    picture.push_str(&"AAAA".repeat(10 * 1024 * 1024 / 4));
    let url = format!("data:image/png;base64,{picture}");
    let chat = json!([{ "role": "user", "content": [
        { "type": "text", "text": "what is it?" },
        { "type": "image_url", "image_url": { "url": url } },
    ] }]);
    let responses = json!([{ "role": "user", "content": [
        { "type": "input_text", "text": "what is it?" },
        { "type": "input_image", "image_url": url },
    ] }]);
    let messages = json!([{ "role": "user", "content": [
        { "type": "text", "text": "what is it?" },
        { "type": "image", "source": {
            "type": "base64", "media_type": "image/png", "data": picture,
        } },
    ] }]);
    let cases = [
        (Client::Chat, Provider::Anthropic, &chat),
        (Client::Responses, Provider::Gemini, &responses),
        (Client::Messages, Provider::Chat, &messages),
        (Client::Messages, Provider::Bedrock, &messages),
        (Client::Chat, Provider::Ollama, &chat),
        (Client::Responses, Provider::Anthropic, &responses),
        (Client::Messages, Provider::Responses, &messages),
    ];
    for (count, (client, provider, said)) in cases.into_iter().enumerate() {
        let mut body = client.body(provider.name(), true);
        body[if client == Client::Responses { "input" } else { "messages" }] = said.clone();
        let (status, told) = client.tell(&gateway, &body).await;
        assert_eq!((status, &*told.text), (200, TEXT), "{client:?} {provider:?}: {told:?}");
        let seen = &upstream.seen()[count];
        assert!(memchr::memmem::find(&seen.body, picture.as_bytes()).is_some(), "{provider:?}");
    }
    let used = memory(gateway.process());
    assert!(used < 600, "{used} MiB");
}

/// The most memory that a process has used so far, in MiB.
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

/// A provider that says more than is ever read does not fill the gateway's memory.
#[tokio::test]
async fn a_client_that_reads_slowly_slows_the_provider_down() {
    let upstream = Upstream::start(|seen| {
        let provider = providers::asked(seen);
        let events = provider.events();
        let mut steps = vec![head(provider.stream_kind())];
        // The text again and again: 400 MiB of it, should anybody take it.
        let text = "x".repeat(64 * 1024);
        let more = String::from_utf8(events[1].clone()).unwrap().replace("Hello w", &text);
        let more = chunk(more.as_bytes());
        steps.extend(std::iter::repeat_n(more, 6400));
        steps.push(Step::Hang);
        steps
    })
    .await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    let mut open = Vec::new();
    for client in [Client::Chat, Client::Messages, Client::Responses] {
        let body = client.body("gemini", true);
        let mut answer = gateway.post(client.path(), &body).send().await.unwrap();
        assert!(answer.chunk().await.unwrap().is_some());
        open.push(answer);
    }
    // What is in progress is told at once, and the gateway is idle: it waits for its clients.
    assert_eq!(gateway.health().await["in_flight"], 3);
    let used = memory(gateway.process());
    assert!(used < 300, "{used} MiB");
    drop(open);
    upstream.abandoned(3).await;
}

/// The value of one column of the only row.
async fn only(gateway: &Gateway, column: &str) -> Cell {
    let rows = gateway.rows(column, 1).await;
    assert_eq!(rows.len(), 1);
    rows[0][0].clone()
}

/// What a client of a stream sees of a failure that comes before it.
#[tokio::test]
async fn a_broken_connection_before_the_stream_is_a_502() {
    let upstream = Upstream::start(|_| vec![Step::Reset]).await;
    let gateway = Gateway::start(&providers::config(upstream.address));
    let body = Client::Messages.body("cohere", true);
    let answer = gateway.post("/v1/messages", &body).send().await.unwrap();
    assert_eq!(answer.status(), 502);
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!("api_error")));
    assert_eq!(only(&gateway, "error_type").await, Cell::from("upstream_unreachable".to_owned()));
}

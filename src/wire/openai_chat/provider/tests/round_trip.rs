//! Both halves of the format together: what a chat client sends comes out the same for a server that takes it.

use serde_json::Map;

use super::super::PROVIDER;
use crate::conversation::Losses;
use crate::wire::catalogue;
use crate::wire::codec::{Options, Target};
use crate::wire::openai_chat::client::CLIENT;

macro_rules! goldens {
    ($($name:literal),* $(,)?) => {
        [$(($name, &include_bytes!(concat!(
            "../../../../../tests/golden/requests/openai_chat/", $name, ".json"
        ))[..])),*]
    };
}

#[track_caller]
fn check(model: &str, name: &str, body: &[u8]) {
    let (ask, echo) = (CLIENT.request)(body).expect("read");
    let (provider, model) = catalogue::find(model, false).expect("a provider");
    let (info, options) = (Map::new(), Options::default());
    let base = provider.base.unwrap_or_default();
    let target =
        Target { model, provider, base, info: &info, options: &options, stream: ask.stream };
    let mut losses = Losses::default();
    let outbound = (PROVIDER.request)(&ask, &target, &mut losses).expect("written");
    let (again, _) = (CLIENT.request)(&outbound.body).expect("read again");
    assert_eq!(again, ask, "{name} ({echo:?})");
    assert_eq!(losses.paths(), "", "{name}");
}

#[test]
fn what_openrouter_takes_comes_out_the_same() {
    let goldens = goldens![
        "audio",
        "cache_control",
        "images",
        "json_object",
        "length",
        "open_webui",
        "plain",
        "reasoning_content",
        "reasoning_effort",
        "reasoning_openrouter",
        "sampling",
        "stop",
        "stop_list",
        "stream",
        "structured_output",
        "thinking",
        "tool_choice_named",
    ];
    for (name, body) in goldens {
        check("openrouter/openai/gpt-5", name, body);
    }
}

#[test]
fn what_openai_takes_comes_out_the_same() {
    let goldens = goldens![
        "custom_tools",
        "files",
        "images",
        "open_webui",
        "parts",
        "plain",
        "structured_output",
        "tool_choice_allowed",
        "tool_choice_named",
    ];
    for (name, body) in goldens {
        check("openai/gpt-4o", name, body);
    }
}

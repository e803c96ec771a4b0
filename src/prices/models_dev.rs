//! Prices as models.dev publishes them (<https://models.dev/api.json>): providers, their models, US dollars for a million tokens.
//! Turns them into lines of a table; looks nothing up.

use serde_json::{Map, Value};

use super::component::{Component, Price, Slot};
use super::table::{Line, Lines};
use crate::ground::usd::Usd;

/// models.dev's names and the catalogue's, where they differ by more than a hyphen.
const PROVIDERS: &[(&str, &str)] = &[
    ("alibaba", "dashscope"),
    ("amazon-bedrock", "bedrock"),
    ("fireworks-ai", "fireworks_ai"),
    ("google", "gemini"),
    ("google-vertex", "vertex_ai"),
    ("google-vertex-anthropic", "vertex_ai"),
    ("lmstudio", "lm_studio"),
    ("moonshotai", "moonshot"),
    ("nvidia", "nvidia_nim"),
    ("togetherai", "together_ai"),
];

const NAMES: &[(&str, Component)] = &[
    ("input", Component::Input),
    ("output", Component::Output),
    ("reasoning", Component::Reasoning),
    ("cache_read", Component::CacheRead),
    ("cache_write", Component::CacheWrite),
    ("input_audio", Component::AudioInput),
    ("output_audio", Component::AudioOutput),
];

pub(super) fn import(file: &Map<String, Value>) -> Lines {
    let mut lines = Lines::default();
    for (id, provider) in file {
        let renamed = PROVIDERS.iter().find(|(theirs, _)| theirs == id).map(|(_, ours)| *ours);
        let name = renamed.map_or_else(|| id.replace('-', "_"), str::to_owned);
        let models = provider.get("models").and_then(Value::as_object);
        for (model, entry) in models.into_iter().flatten() {
            let Some(cost) = entry.get("cost").and_then(Value::as_object) else { continue };
            let mut prices = Vec::new();
            let large = cost.get("context_over_200k").and_then(Value::as_object);
            let parts = [(Some(cost), 0), (large, 200_000)];
            for (part, above) in parts.into_iter().filter_map(|(part, above)| Some((part?, above)))
            {
                for (key, price) in self::prices(part, above) {
                    match price {
                        Some(price) => prices.push(price),
                        None => lines.left_out.push(format!("{id}/{model}: {key}")),
                    }
                }
            }
            if !prices.is_empty() {
                lines.add(&name, model, Line { prices, off_peak: Vec::new() }, renamed.is_none());
            }
        }
    }
    lines
}

/// Each key that is there, with its price where it is one.
fn prices(cost: &Map<String, Value>, above: u32) -> Vec<(&'static str, Option<Price>)> {
    let price = |(name, component): &(&'static str, Component)| {
        let value = cost.get(*name).filter(|value| !value.is_null())?;
        let usd = value.as_number().and_then(|it| Usd::scaled(&it.to_string(), -6).ok());
        let slot = Slot { above, ..Slot::of(*component) };
        Some((*name, usd.map(|usd| Price { slot, usd })))
    };
    NAMES.iter().filter_map(price).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::table::{About, Table};

    #[test]
    fn millions_become_tokens() {
        let file = json!({
            "google": { "id": "google", "models": { "gemini-2.5-pro": { "cost": {
                "input": 1.25, "output": 10, "cache_read": 0.31,
                "context_over_200k": { "input": 2.5, "output": 15 } } } } },
            "lone-star": { "models": { "a": { "cost": { "input": 0.075, "output": 0 } }, "b": {} } },
        });
        let table = Table::read(file.to_string().as_bytes(), About::default()).unwrap();
        let rows: Vec<&str> = table.text().lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            rows,
            [
                "gemini/gemini-2.5-pro\tin=0.00000125\tin+200000=0.0000025\tout=0.00001\tout+200000=0.000015\tread=0.00000031",
                "lone_star/a\tin=0.000000075\tout=0",
            ]
        );
    }
}

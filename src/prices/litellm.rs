//! Prices as LiteLLM writes them: the keys of an entry of its public price file, which are also those of `litellm_params` and
//! `model_info` (<https://docs.litellm.ai/docs/proxy/custom_pricing>). Turns keys and values into prices; looks nothing up.

use serde_json::{Map, Value};

use super::component::{self, Component, Key, Price, Rate, Slot};
use super::hours::{EVERY_DAY, Window};
use super::table::{Line, Lines};
use crate::ground::usd::{NotAnAmount, Usd};

/// What an entry says of prices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    pub prices: Vec<Price>,
    pub off_peak: Vec<Window>,
    pub faults: Vec<Fault>,
}

/// A key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub key: String,
    pub kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The value is no price.
    Value,
    /// Nobody knows a price of this name.
    Unknown,
    /// LiteLLM knows it, and nothing here computes with it.
    Unused,
}

/// Reads all prices of an entry.
pub fn entry(map: &Map<String, Value>) -> Entry {
    let mut entry = Entry::default();
    for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
        let fault = match component::key(key) {
            None => None,
            Some(Key::Price(slot)) => {
                entry.price(slot, value).is_none().then_some(FaultKind::Value)
            }
            Some(Key::Nested) => entry.nested(key, value).is_none().then_some(FaultKind::Value),
            Some(Key::Unused) => Some(FaultKind::Unused),
            Some(Key::Unknown) => Some(FaultKind::Unknown),
        };
        entry.faults.extend(fault.map(|kind| Fault { key: key.clone(), kind }));
    }
    entry
}

/// Reads a price: a number, or a text with one.
pub fn amount(value: &Value) -> Result<Usd, NotAnAmount> {
    match value {
        Value::Number(number) => number.to_string().parse(),
        Value::String(text) => text.trim().parse(),
        _ => Err(NotAnAmount),
    }
}

impl Entry {
    fn price(&mut self, slot: Slot, value: &Value) -> Option<()> {
        self.set(slot, amount(value).ok()?);
        Some(())
    }

    fn set(&mut self, slot: Slot, usd: Usd) {
        self.prices.retain(|price| price.slot != slot);
        self.prices.push(Price { slot, usd });
    }

    fn nested(&mut self, key: &str, value: &Value) -> Option<()> {
        match key {
            component::BANDS => self.bands(value.as_array()?),
            component::OFF_PEAK => self.cheaper_hours(value.as_object()?),
            _ => {
                for (name, value) in value.as_object()? {
                    self.set(component::slot(name)?, amount(value).ok()?);
                }
                Some(())
            }
        }
    }

    /// `tiered_pricing`: each band has prices for prompts of its range. They replace the entry's own.
    fn bands(&mut self, bands: &[Value]) -> Option<()> {
        use Component::{CacheRead, CacheWrite, Input, Output, Reasoning};
        let mut has_reasoning = false;
        let mut read = Vec::new();
        for band in bands {
            let band = band.as_object()?;
            let start = band.get("range")?.as_array()?.first()?.as_f64()?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
            let above = (0.0..4e9).contains(&start).then_some(start as u32)?;
            let mut prices = Vec::new();
            for component in [Input, Output, CacheRead, CacheWrite, Reasoning] {
                let price = band
                    .iter()
                    .find(|(name, _)| component::slot(name) == Some(Slot::of(component)));
                let Some((_, value)) = price else { continue };
                has_reasoning |= component == Reasoning;
                prices.push((component, amount(value).ok()?));
            }
            read.push((above, prices));
        }
        for (above, prices) in read {
            let of = |wanted| prices.iter().find(|(it, _)| *it == wanted).map(|(_, usd)| *usd);
            // What a band leaves out is its output or input, and not that of another band.
            let fallbacks = [(Reasoning, of(Output).filter(|_| has_reasoning))];
            let more = fallbacks.into_iter().filter(|(it, _)| of(*it).is_none());
            let more: Vec<_> = more.filter_map(|(it, usd)| Some((it, usd?))).collect();
            for (component, usd) in prices.into_iter().chain(more) {
                self.set(Slot { above, ..Slot::of(component) }, usd);
            }
        }
        Some(())
    }

    fn cheaper_hours(&mut self, block: &Map<String, Value>) -> Option<()> {
        let ahead = match block.get("weekday_timezone").and_then(Value::as_str) {
            None | Some("UTC") => 0,
            Some("Asia/Shanghai" | "Asia/Singapore" | "Asia/Hong_Kong") => 8,
            Some(_) => return None,
        };
        if let Some(hours) = block.get("hours_utc") {
            self.windows(hours, EVERY_DAY, ahead)?;
        }
        for rule in block.get("windows").and_then(Value::as_array).into_iter().flatten() {
            let days = rule.get("weekdays").map_or(Some(EVERY_DAY), days)?;
            self.windows(rule.get("hours_utc")?, days, ahead)?;
        }
        for (name, value) in block {
            if let Some(slot) = component::slot(name) {
                self.set(Slot { rate: Rate::OffPeak, ..slot }, amount(value).ok()?);
            }
        }
        Some(())
    }

    fn windows(&mut self, hours: &Value, days: u8, ahead: u8) -> Option<()> {
        let one = std::slice::from_ref(hours);
        for text in hours.as_array().map_or(one, Vec::as_slice) {
            self.off_peak.push(Window::read(text.as_str()?, days, ahead)?);
        }
        Some(())
    }
}

/// Days as numbers from Monday, 1, or as words.
fn days(value: &Value) -> Option<u8> {
    const WORDS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    value.as_array()?.iter().try_fold(0, |days, day| {
        let index = match day.as_u64() {
            Some(number) => number.checked_sub(1)?,
            None => {
                let word = day.as_str()?.get(..3)?.to_ascii_lowercase();
                WORDS.iter().position(|known| *known == word)? as u64
            }
        };
        (index < 7).then_some(days | 1u8 << index)
    })
}

/// Reads LiteLLM's price file into lines of a table. Entries without a price, and prices that nothing here computes with, are
/// left out.
pub(super) fn import(file: &Map<String, Value>) -> Lines {
    let mut lines = Lines::default();
    for (name, map) in named(file) {
        let Some(told) = map.get("litellm_provider").and_then(Value::as_str) else { continue };
        let provider = provider(told);
        let mut entry = entry(map);
        let wrong = entry.faults.iter().filter(|fault| fault.kind == FaultKind::Value);
        lines.left_out.extend(wrong.map(|fault| format!("{name}: {}", fault.key)));
        entry.of_provider(provider, name, map);
        if entry.prices.is_empty() {
            continue;
        }
        let prefixes = [told, provider];
        let bare = prefixes.iter().find_map(|it| name.strip_prefix(it)?.strip_prefix('/'));
        let line = Line { prices: entry.prices, off_peak: entry.off_peak };
        // With the provider's name before it, a model is that provider's own.
        lines.add(provider, bare.unwrap_or(name), line, bare.is_some());
    }
    lines
}

/// Every name with its entry: some only name another one.
fn named(file: &Map<String, Value>) -> impl Iterator<Item = (&String, &Map<String, Value>)> {
    let all = file.iter().filter(|(name, _)| *name != "sample_spec");
    all.filter_map(|(name, value)| {
        let meant = value.get("alias_of").and_then(Value::as_str).and_then(|it| file.get(it));
        Some((name, meant.unwrap_or(value).as_object()?))
    })
}

impl Entry {
    /// What is customary with a provider and stands in none of its entries.
    fn of_provider(&mut self, provider: &str, name: &str, map: &Map<String, Value>) {
        let factors = map.get(component::FACTORS).and_then(Value::as_object);
        for (name, value) in factors.into_iter().flatten() {
            let slot = component::slot(name)
                .filter(|slot| [Component::Fast, Component::UsOnly].contains(&slot.component));
            if let Some((slot, usd)) = slot.zip(amount(value).ok()) {
                self.set(slot, usd);
            }
        }
        // Gemini 2 has a price for each answer that was searched for, later ones for each search.
        let unit = map.get("web_search_billing_unit").and_then(Value::as_str);
        let is_google = ["gemini", "vertex_ai"].contains(&provider) && !name.contains("claude");
        if is_google && unit != Some("per_query") {
            for price in &mut self.prices {
                if price.slot.component == Component::SearchMedium {
                    price.slot.component = Component::SearchedAnswer;
                }
            }
        }
        if provider == "xai" {
            // There a size is reached, not exceeded.
            for price in &mut self.prices {
                price.slot.above = price.slot.above.saturating_sub(1);
            }
        }
        let of = |component| self.prices.iter().find(|it| it.slot == Slot::of(component));
        let half = "0.5".parse().unwrap_or_default();
        if provider == "fireworks_ai"
            && of(Component::CacheRead).is_none()
            && let Some(input) = of(Component::Input).map(|price| price.usd)
        {
            // https://docs.fireworks.ai/serverless/pricing: cached input is half of the input's price.
            self.set(Slot::of(Component::CacheRead), input.by(half));
        }
    }
}

/// The catalogue's name for a provider of the price file.
fn provider(told: &str) -> &str {
    match told {
        "bedrock_converse" => "bedrock",
        "cohere_chat" => "cohere",
        "text-completion-openai" => "openai",
        "azure_text" => "azure",
        "ollama_chat" => "ollama",
        "fireworks_ai-embedding-models" => "fireworks_ai",
        _ if told.starts_with("vertex_ai-") => "vertex_ai",
        _ => told,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_is_read_and_what_is_wrong_is_told() {
        let value = json!({
            "input_cost_per_token": 2.5e-6,
            "output_cost_per_token": "1e-05",
            "input_cost_per_tokn": 1,
            "input_cost_per_image": 0.01,
            "cache_read_input_token_cost": -1,
            "search_context_cost_per_query": { "search_context_size_medium": 0.01 },
            "tiered_pricing": [{ "range": "x" }],
            "mode": "chat",
            "output_cost_per_reasoning_token": null,
        });
        let entry = entry(value.as_object().unwrap());
        let told: Vec<String> =
            entry.prices.iter().map(|it| format!("{}={}", it.slot, it.usd)).collect();
        assert_eq!(told, ["in=0.0000025", "out=0.00001", "search=0.01"]);
        let faults: Vec<_> = entry.faults.iter().map(|it| (it.key.as_str(), it.kind)).collect();
        assert_eq!(
            faults,
            [
                ("input_cost_per_tokn", FaultKind::Unknown),
                ("input_cost_per_image", FaultKind::Unused),
                ("cache_read_input_token_cost", FaultKind::Value),
                ("tiered_pricing", FaultKind::Value),
            ]
        );
    }

    #[test]
    fn bands_and_cheaper_hours_are_prices_too() {
        let value = json!({
            "tiered_pricing": [
                { "range": [0, 256000.0], "input_cost_per_token": 4e-7, "output_cost_per_token": 1.2e-6,
                  "output_cost_per_reasoning_token": 4e-6 },
                { "range": [256000.0, 1000000.0], "input_cost_per_token": 1.2e-6, "output_cost_per_token": 3.6e-6 },
            ],
            "off_peak_pricing": {
                "input_cost_per_token": 1e-7,
                "windows": [{ "hours_utc": ["00:00-01:00"], "weekdays": [1, "fri"] }],
            },
        });
        let entry = entry(value.as_object().unwrap());
        assert_eq!(entry.faults, []);
        let told: Vec<String> =
            entry.prices.iter().map(|it| format!("{}={}", it.slot, it.usd)).collect();
        assert_eq!(
            told,
            [
                "in=0.0000004",
                "out=0.0000012",
                "think=0.000004",
                "in+256000=0.0000012",
                "out+256000=0.0000036",
                "think+256000=0.0000036",
                "in/off-peak=0.0000001",
            ]
        );
        assert_eq!(entry.off_peak[0].write(), "17@0-60+0");
    }
}

//! Carrying one vendor's opaque reasoning through another vendor's field. A client of OpenAI's responses
//! echoes `encrypted_content`, one of Anthropic's messages the `signature` of a thinking block; neither looks
//! inside. What came from elsewhere is wrapped, so that it is known again and returns to its maker only.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::conversation::{Format, Reasoning, Seal};

/// Begins every wrapped text; the number is the version of what follows.
const MARK: &str = "tidegate1.";

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Carried {
    /// The format that issued the seal.
    #[serde(skip_serializing_if = "String::is_empty")]
    format: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    data: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    redacted: bool,
}

/// Reasoning as an opaque text for a field of the format `carrier`: the bare seal where that format issued
/// it, else all of it, wrapped; `None` where there is nothing to prove.
pub fn wrap(reasoning: &Reasoning, carrier: Format) -> Option<String> {
    let seal = reasoning.seal.as_ref()?;
    if seal.format == carrier {
        return Some(seal.data.clone());
    }
    let carried = Carried {
        format: seal.format.as_str().to_owned(),
        data: seal.data.clone(),
        text: reasoning.text.clone(),
        redacted: reasoning.redacted,
    };
    let text = serde_json::to_vec(&carried).ok()?;
    Some(format!("{MARK}{}", URL_SAFE_NO_PAD.encode(text)))
}

/// Thoughts that nothing proves as an opaque text: for a provider that wants them back, through a client that
/// echoes nothing else.
pub fn wrap_text(text: &str) -> String {
    let carried = Carried { text: text.to_owned(), ..Carried::default() };
    let text = serde_json::to_vec(&carried).unwrap_or_default();
    format!("{MARK}{}", URL_SAFE_NO_PAD.encode(text))
}

/// What an opaque text of the format `carrier` stands for: the reasoning that was wrapped (its `id` and
/// summary are the carrier's to add), or a seal of that format itself. An empty text is no seal.
pub fn unwrap(text: &str, carrier: Format) -> Reasoning {
    let own = |text: &str| {
        let seal = Seal { format: carrier, data: text.to_owned() };
        Reasoning { seal: (!text.is_empty()).then_some(seal), ..Reasoning::default() }
    };
    let Some(wrapped) = text.strip_prefix(MARK) else { return own(text) };
    let carried = URL_SAFE_NO_PAD.decode(wrapped).ok();
    let carried = carried.and_then(|json| serde_json::from_slice::<Carried>(&json).ok());
    let Some(carried) = carried else { return Reasoning::default() };
    let seal = Format::parse(&carried.format).map(|format| Seal { format, data: carried.data });
    Reasoning { seal, text: carried.text, redacted: carried.redacted, ..Reasoning::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_returns_to_its_maker() {
        let seal = Seal { format: Format::Anthropic, data: "EqQB==".into() };
        let reasoning =
            Reasoning { text: "hm é".into(), seal: Some(seal), ..Reasoning::default() };
        let own = wrap(&reasoning, Format::Anthropic).expect("sealed");
        assert_eq!(own, "EqQB==");
        let foreign = wrap(&reasoning, Format::OpenAiResponses).expect("sealed");
        assert!(foreign.starts_with(MARK));
        assert_eq!(unwrap(&foreign, Format::OpenAiResponses), reasoning);
        let openai = unwrap("gAAAA", Format::OpenAiResponses);
        let expected = Seal { format: Format::OpenAiResponses, data: "gAAAA".into() };
        assert_eq!(openai.seal, Some(expected));
        assert_eq!(wrap(&Reasoning::default(), Format::Anthropic), None);
        assert_eq!(unwrap("", Format::Anthropic), Reasoning::default());
        let plain = Reasoning { text: "hm".into(), ..Reasoning::default() };
        assert_eq!(unwrap(&wrap_text("hm"), Format::OpenAiResponses), plain);
        assert_eq!(unwrap("tidegate1.%%", Format::Anthropic), Reasoning::default());
    }
}

//! Why an answer ended, and what it cost (<https://ai.google.dev/api/generate-content#FinishReason>).

use serde_json::value::RawValue;

use crate::conversation::usage::{Service, Tier};
use crate::conversation::{Finish, Usage};
use crate::wire::fields::Fields;

/// The finish that a `finishReason` stands for; `None` for one that says nothing.
pub(super) fn of_word(word: &str, message: Option<String>) -> Option<Finish> {
    Some(match word {
        "" | "FINISH_REASON_UNSPECIFIED" => return None,
        "STOP" => Finish::Stop,
        // `CONTINUATION` could be gone on with, by a token that no other format has room for.
        "MAX_TOKENS" | "CONTINUATION" => Finish::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "ESCALATION"
        | "PUP_LIMITED_DISABLED"
        | "MODEL_ARMOR" => filtered(word, message),
        image if image.starts_with("IMAGE_") => filtered(word, message),
        other => Finish::Fault(other.to_owned()),
    })
}

/// A prompt that was blocked has no candidates at all.
pub(super) fn of_prompt(mut feedback: Fields<'_>) -> Option<Finish> {
    let reason = feedback.text("blockReason")?;
    let message = feedback.text("blockReasonMessage");
    Some(filtered(&reason, message))
}

fn filtered(word: &str, message: Option<String>) -> Finish {
    let message = message.filter(|message| !message.is_empty());
    Finish::Filtered(Some(message.unwrap_or_else(|| word.to_owned())))
}

/// Google counts thoughts and the results of its own tools apart.
pub(super) fn usage(mut fields: Fields<'_>) -> Usage {
    let sum = |one: Option<u64>, two: Option<u64>| match (one, two) {
        (None, None) => None,
        (one, two) => Some(one.unwrap_or_default().saturating_add(two.unwrap_or_default())),
    };
    let prompt = fields.whole("promptTokenCount");
    let input = sum(prompt, fields.whole("toolUsePromptTokenCount"));
    let thoughts = fields.whole("thoughtsTokenCount");
    let candidates = fields.whole("candidatesTokenCount");
    let total = fields.whole("totalTokenCount");
    // Some models on Vertex AI count thoughts among the candidates' tokens; the total tells.
    let holds_thoughts = candidates.is_some() && total.is_some() && sum(input, candidates) == total;
    let output = if holds_thoughts { candidates } else { sum(candidates, thoughts) };
    let of = |list: &str, modality: &str| {
        let details = fields
            .peek(list)
            .map(RawValue::get)
            .and_then(|raw| serde_json::from_str::<Vec<ModalityCount>>(raw).ok());
        let fits = |count: &ModalityCount| count.modality.eq_ignore_ascii_case(modality);
        details?.iter().find(|count| fits(count)).map(|count| count.token_count)
    };
    // What was read from the cache is in the prompt's own counts, too.
    let fresh = |whole: Option<u64>, cached: Option<u64>| {
        whole.map(|whole| whole.saturating_sub(cached.unwrap_or_default()))
    };
    let cache_read_audio = of("cacheTokensDetails", "AUDIO");
    let audio_input = fresh(of("promptTokensDetails", "AUDIO"), cache_read_audio);
    let image_input = fresh(of("promptTokensDetails", "IMAGE"), of("cacheTokensDetails", "IMAGE"));
    let (audio_output, image_output) =
        (of("candidatesTokensDetails", "AUDIO"), of("candidatesTokensDetails", "IMAGE"));
    Usage {
        input,
        output,
        cache_read: fields.whole("cachedContentTokenCount"),
        cache_read_audio,
        reasoning: thoughts,
        audio_input,
        image_input,
        audio_output,
        image_output,
        service: Service {
            tier: fields.text("trafficType").as_deref().and_then(Tier::read),
            ..Service::default()
        },
        ..Usage::default()
    }
}

/// An entry of `promptTokensDetails` and its like.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ModalityCount {
    modality: String,
    token_count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_a_finish() {
        let check = |word: &str, expected: Option<Finish>| {
            assert_eq!(of_word(word, None), expected, "{word}");
        };
        check("STOP", Some(Finish::Stop));
        check("MAX_TOKENS", Some(Finish::Length));
        check("SAFETY", Some(Finish::Filtered(Some("SAFETY".into()))));
        check("IMAGE_SAFETY", Some(Finish::Filtered(Some("IMAGE_SAFETY".into()))));
        for word in [
            "MALFORMED_FUNCTION_CALL",
            "UNEXPECTED_TOOL_CALL",
            "TOO_MANY_TOOL_CALLS",
            "MISSING_THOUGHT_SIGNATURE",
            "MALFORMED_RESPONSE",
            "OTHER",
            "NO_IMAGE",
            "TOMORROWS_REASON",
        ] {
            check(word, Some(Finish::Fault(word.into())));
        }
        check("FINISH_REASON_UNSPECIFIED", None);
        let said = of_word("SAFETY", Some("too hot".into()));
        assert_eq!(said, Some(Finish::Filtered(Some("too hot".into()))));
    }

    #[test]
    fn counts_are_openais() {
        let check = |text: &str, expected: [Option<u64>; 4]| {
            let usage = usage(Fields::read(text).expect("an object"));
            let told = [usage.input, usage.output, usage.cache_read, usage.reasoning];
            assert_eq!(told, expected, "{text}");
        };
        let whole = r#"{"promptTokenCount":10,"cachedContentTokenCount":4,"candidatesTokenCount":5,
            "thoughtsTokenCount":7,"toolUsePromptTokenCount":3,"totalTokenCount":25}"#;
        check(whole, [Some(13), Some(12), Some(4), Some(7)]);
        let inclusive = r#"{"promptTokenCount":10,"candidatesTokenCount":12,"thoughtsTokenCount":7,"totalTokenCount":22}"#;
        check(inclusive, [Some(10), Some(12), None, Some(7)]);
        check(r#"{"promptTokenCount":10,"totalTokenCount":10}"#, [Some(10), None, None, None]);
        check(r#"{"promptTokenCount":"x"}"#, [None; 4]);
    }
}

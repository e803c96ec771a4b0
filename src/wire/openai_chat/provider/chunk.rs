//! One chunk of a stream, or a whole answer, which has the same members. Texts are borrowed from the frame and
//! the whole is read in one pass, as this is the work of every token. Every server has its own idea of the
//! types: a member of a wrong one counts as absent, and never spoils the rest.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Chunk<'t> {
    #[serde(borrow, deserialize_with = "lenient")]
    pub id: Option<Cow<'t, str>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub model: Option<Cow<'t, str>>,
    #[serde(deserialize_with = "lenient")]
    pub created: Option<u64>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub system_fingerprint: Option<Cow<'t, str>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub service_tier: Option<Cow<'t, str>>,
    /// `error` where the whole object is one, at Mistral and vLLM.
    #[serde(borrow, deserialize_with = "lenient")]
    pub object: Option<Cow<'t, str>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub choices: Option<Vec<Choice<'t>>>,
    #[serde(borrow)]
    pub usage: Option<&'t RawValue>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub x_groq: Option<Groq<'t>>,
    #[serde(borrow)]
    pub error: Option<&'t RawValue>,
    /// Perplexity's sources.
    #[serde(borrow)]
    pub search_results: Option<&'t RawValue>,
    #[serde(borrow)]
    pub citations: Option<&'t RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Groq<'t> {
    #[serde(borrow)]
    pub usage: Option<&'t RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice<'t> {
    #[serde(deserialize_with = "lenient")]
    pub index: Option<u64>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub delta: Option<Message<'t>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub message: Option<Message<'t>>,
    /// Of the legacy completions.
    #[serde(borrow, deserialize_with = "lenient")]
    pub text: Option<Cow<'t, str>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub logprobs: Option<Logprobs<'t>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub finish_reason: Option<Cow<'t, str>>,
    /// vLLM's: the stop sequence that was met; a number where it was a token.
    #[serde(borrow, deserialize_with = "lenient")]
    pub stop_reason: Option<Cow<'t, str>>,
    /// Moonshot's place for it.
    #[serde(borrow)]
    pub usage: Option<&'t RawValue>,
    /// OpenRouter's.
    #[serde(borrow)]
    pub error: Option<&'t RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message<'t> {
    #[serde(borrow, deserialize_with = "lenient")]
    pub content: Option<Content<'t>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub reasoning_content: Option<Cow<'t, str>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub reasoning: Option<Cow<'t, str>>,
    #[serde(borrow)]
    pub reasoning_details: Option<&'t RawValue>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub refusal: Option<Cow<'t, str>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub tool_calls: Option<Vec<Call<'t>>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub function_call: Option<Function<'t>>,
    #[serde(borrow)]
    pub annotations: Option<&'t RawValue>,
    #[serde(borrow)]
    pub images: Option<&'t RawValue>,
    #[serde(borrow)]
    pub audio: Option<&'t RawValue>,
}

/// A string, or Mistral's list.
#[derive(Debug)]
pub(super) enum Content<'t> {
    Text(Cow<'t, str>),
    Pieces(Vec<Piece<'t>>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Piece<'t> {
    #[serde(borrow, deserialize_with = "lenient")]
    pub text: Option<Cow<'t, str>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub thinking: Option<Content<'t>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub refusal: Option<Cow<'t, str>>,
    #[serde(borrow)]
    pub image_url: Option<&'t RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Call<'t> {
    #[serde(deserialize_with = "lenient")]
    pub index: Option<u64>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub id: Option<Cow<'t, str>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub function: Option<Function<'t>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub custom: Option<Custom<'t>>,
    #[serde(borrow)]
    pub extra_content: Option<&'t RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Function<'t> {
    #[serde(borrow, deserialize_with = "lenient")]
    pub name: Option<Cow<'t, str>>,
    /// A string; an object at older TGI and Ollama.
    #[serde(borrow)]
    pub arguments: Option<&'t RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Custom<'t> {
    #[serde(borrow, deserialize_with = "lenient")]
    pub name: Option<Cow<'t, str>>,
    #[serde(borrow, deserialize_with = "lenient")]
    pub input: Option<Cow<'t, str>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Logprobs<'t> {
    #[serde(borrow)]
    pub content: Option<&'t RawValue>,
}

impl<'t> Chunk<'t> {
    /// Usage, wherever the server puts it.
    pub(super) fn usage(&self) -> Option<&'t RawValue> {
        let groq = || self.x_groq.as_ref()?.usage;
        let inside = || self.choices.iter().flatten().find_map(|choice| choice.usage);
        self.usage.or_else(groq).or_else(inside)
    }
}

impl Content<'_> {
    /// All of its text.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Pieces(pieces) => {
                pieces.iter().filter_map(|piece| piece.text.as_deref()).collect::<String>().into()
            }
        }
    }
}

/// A type that reads the JSON it fits, and passes over the rest.
trait Shape<'de>: Sized {
    fn of_text(_: Cow<'de, str>) -> Option<Self> {
        None
    }

    fn of_number(_: f64) -> Option<Self> {
        None
    }

    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn of_object<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl<'de> Shape<'de> for Cow<'de, str> {
    fn of_text(text: Cow<'de, str>) -> Option<Self> {
        Some(text)
    }
}

impl Shape<'_> for u64 {
    fn of_number(number: f64) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        (number >= 0.0).then_some(number as u64)
    }
}

impl<'de, T: Shape<'de>> Shape<'de> for Vec<T> {
    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut all = Self::new();
        while let Some(element) = list.next_element_seed(Fitting(PhantomData))? {
            all.extend(element);
        }
        Ok(Some(all))
    }
}

impl<'de> Shape<'de> for Content<'de> {
    fn of_text(text: Cow<'de, str>) -> Option<Self> {
        Some(Self::Text(text))
    }

    fn of_list<A: SeqAccess<'de>>(list: A) -> Result<Option<Self>, A::Error> {
        Ok(Vec::of_list(list)?.map(Self::Pieces))
    }
}

macro_rules! objects {
    ($($name:ident),*) => {$(
        impl<'de> Shape<'de> for $name<'de> {
            fn of_object<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
                Self::deserialize(MapAccessDeserializer::new(map)).map(Some)
            }
        }
    )*};
}

objects!(Groq, Choice, Message, Piece, Call, Function, Custom, Logprobs);

fn lenient<'de, D: Deserializer<'de>, T: Shape<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Fitting(PhantomData).deserialize(from)
}

struct Fitting<T>(PhantomData<T>);

impl<'de, T: Shape<'de>> DeserializeSeed<'de> for Fitting<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, T: Shape<'de>> Visitor<'de> for Fitting<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of more than 2^53 is none")]
    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(T::of_number(number as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "negative numbers count for nothing")]
    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(T::of_number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(T::of_number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(T::of_text(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(T::of_text(Cow::Borrowed(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        T::of_list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::of_object(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_types_spoil_nothing() {
        let text = r#"{"id":7,"created":1.9e9,"choices":[null,3,{"index":"x","delta":{"content":
            "a\n","tool_calls":{"no":"list"},"reasoning":[1]},"finish_reason":false,"logprobs":[]},
            {"index":1,"delta":{"content":[{"type":"text","text":"b"},7,{"thinking":[{"text":"c"}]}],
            "tool_calls":[{"index":0,"function":{"name":"f","arguments":{"a":1}}}]}}],"usage":[],
            "x_groq":"none","nobody":{"knows":[1,{}]}}"#;
        let chunk: Chunk<'_> = serde_json::from_str(text).expect("read");
        assert_eq!((chunk.id.as_deref(), chunk.created), (None, Some(1_900_000_000)));
        let choices = chunk.choices.expect("a list");
        assert_eq!(choices.len(), 2);
        let delta = choices[0].delta.as_ref().expect("an object");
        assert_eq!(delta.content.as_ref().expect("text").text(), "a\n");
        assert!(delta.tool_calls.is_none() && delta.reasoning.is_none());
        let delta = choices[1].delta.as_ref().expect("an object");
        let Some(Content::Pieces(pieces)) = &delta.content else { panic!("{delta:?}") };
        assert_eq!(pieces.len(), 2);
        let call = &delta.tool_calls.as_ref().expect("a list")[0];
        let function = call.function.as_ref().expect("an object");
        assert_eq!(function.arguments.expect("raw").get(), r#"{"a":1}"#);
    }

    #[test]
    fn plain_texts_are_borrowed() {
        let chunk: Chunk<'_> = serde_json::from_str(r#"{"id":"x","error":null}"#).expect("read");
        assert!(matches!(chunk.id, Some(Cow::Borrowed("x"))) && chunk.error.is_none());
    }
}

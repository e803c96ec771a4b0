//! The shapes of a Converse request, as far as they are written. Amazon's unions are objects with one
//! member, which is how serde writes an enum. Texts and bytes are borrowed from the conversation: a picture
//! is copied once, into the body.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use crate::conversation::Json;
use crate::wire::fields::Fields;

/// The body of a request.
#[derive(Debug, Serialize)]
pub(super) struct Body<'a> {
    pub(super) messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) system: Vec<Block<'a>>,
    #[serde(rename = "toolConfig", skip_serializing_if = "Option::is_none")]
    pub(super) tools: Option<ToolConfig<'a>>,
    #[serde(flatten)]
    pub(super) rest: Object,
}

#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    pub(super) role: &'static str,
    pub(super) content: Vec<Block<'a>>,
}

/// `ContentBlock`, `SystemContentBlock` and `ToolResultContentBlock`: where they overlap they are alike.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Block<'a> {
    Text(Cow<'a, str>),
    Image(Media<'a>),
    Video(Media<'a>),
    Audio(Media<'a>),
    Document(Document<'a>),
    ToolUse(ToolUse<'a>),
    ToolResult(ToolResult<'a>),
    ReasoningContent(Reasoning<'a>),
    CachePoint(CachePoint),
    /// A block as Bedrock itself once gave it.
    #[serde(untagged)]
    Own(&'a Json),
}

#[derive(Debug, Serialize)]
pub(super) struct Media<'a> {
    pub(super) format: &'static str,
    pub(super) source: Source<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    pub(super) format: &'static str,
    pub(super) name: String,
    pub(super) source: Source<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) citations: Option<&'a Json>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Source<'a> {
    /// In base64.
    Bytes(Cow<'a, str>),
    Text(&'a str),
    S3Location {
        uri: &'a str,
    },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolUse<'a> {
    pub(super) tool_use_id: &'a str,
    pub(super) name: &'a str,
    pub(super) input: Json,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolResult<'a> {
    pub(super) tool_use_id: &'a str,
    pub(super) content: Vec<Block<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Reasoning<'a> {
    ReasoningText {
        text: &'a str,
        signature: &'a str,
    },
    /// In base64.
    RedactedContent(Cow<'a, str>),
}

/// What comes before it is to be kept in the cache.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct CachePoint {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ttl: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolConfig<'a> {
    pub(super) tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_choice: Option<Choice<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Tool<'a> {
    ToolSpec(ToolSpec<'a>),
    CachePoint(CachePoint),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolSpec<'a> {
    pub(super) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<&'a str>,
    pub(super) input_schema: Schema<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) strict: Option<bool>,
}

#[derive(Debug, Serialize)]
pub(super) struct Schema<'a> {
    pub(super) json: Cow<'a, Json>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Choice<'a> {
    Auto {},
    Any {},
    Tool { name: &'a str },
}

/// An object being written: members in order, each as raw text.
#[derive(Debug, Default)]
pub(super) struct Object(Vec<(Cow<'static, str>, Json)>);

impl Object {
    /// Sets a member; a second one of the same name takes the place of the first.
    pub(super) fn set(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        value: &(impl Serialize + ?Sized),
    ) {
        let (name, value) = (name.into(), Json::of(&value));
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// Sets a member where there is a value.
    pub(super) fn set_some(&mut self, name: &'static str, value: Option<&impl Serialize>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// Sets a member that is an object, unless it is empty.
    pub(super) fn set_object(&mut self, name: &'static str, object: &Self) {
        if !object.0.is_empty() {
            self.set(name, object);
        }
    }

    /// Takes over the members of an object, which win; whether it was one.
    pub(super) fn merge(&mut self, object: &Json) -> bool {
        let Some(fields) = Fields::of(object.as_raw()) else { return false };
        for (name, value) in fields.iter() {
            self.set(name.to_owned(), value);
        }
        true
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

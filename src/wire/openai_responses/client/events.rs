//! One event of the ladder on the wire: the payload with its type and its number. Knows nothing of which event
//! comes when.
//! Events: <https://platform.openai.com/docs/api-reference/responses-streaming>.

use serde::Serialize;

use super::super::super::codec::write_event;
use crate::conversation::Json;

/// The fields that events have; each has some of them.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Payload<'e> {
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Set by the writer.
    pub sequence_number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<&'e Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<&'e Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_id: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<&'e Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<&'e Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotation_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotation: Option<&'e Json>,
}

impl Payload<'_> {
    pub(super) fn of(kind: &'static str) -> Self {
        Self { kind, ..Self::default() }
    }
}

/// Numbers the events, from 0 up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Writer {
    next: u64,
}

impl Writer {
    pub(super) fn write(&mut self, payload: Payload<'_>, out: &mut Vec<u8>) {
        write_event(out, payload.kind, &Payload { sequence_number: self.next, ..payload });
        self.next += 1;
    }
}

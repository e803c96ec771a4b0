//! Events about one item: each names the item and its place. Knows nothing of what came before it.

use super::super::events::{Payload, Writer};
use super::super::output;
use super::block::Place;
use crate::conversation::{CallKind, Json, ToolCall};

/// Where the events of one block go.
pub(super) struct Told<'b> {
    pub id: &'b str,
    pub place: Place,
    pub writer: &'b mut Writer,
    pub out: &'b mut Vec<u8>,
}

impl Told<'_> {
    /// An event of the item.
    pub(super) fn item(&mut self, payload: Payload<'_>) {
        let output_index = Some(self.place.item);
        let payload = Payload { item_id: Some(self.id), output_index, ..payload };
        self.writer.write(payload, self.out);
    }

    /// An event of one content part.
    pub(super) fn content(&mut self, payload: Payload<'_>) {
        self.item(Payload { content_index: Some(self.place.content), ..payload });
    }

    pub(super) fn text(&mut self, text: &str, logprobs: &Json) {
        self.content(Payload {
            delta: Some(text),
            logprobs: Some(logprobs),
            ..Payload::of("response.output_text.delta")
        });
    }

    /// More of a call's arguments. Blanks before them are held back: should nothing follow, there are none, which is
    /// written `{}`.
    pub(super) fn arguments(&mut self, call: &ToolCall, more: &str) {
        match call.kind {
            CallKind::Custom => self.grown("response.custom_tool_call_input.delta", more),
            CallKind::Function => {
                let kind = "response.function_call_arguments.delta";
                if !call.arguments.trim().is_empty() {
                    self.grown(kind, more);
                } else if !more.trim().is_empty() {
                    self.grown(kind, &format!("{}{more}", call.arguments));
                }
            }
            CallKind::LocalShell | CallKind::ApplyPatch | CallKind::ToolSearch => {}
        }
    }

    pub(super) fn call_done(&mut self, call: &ToolCall) {
        match call.kind {
            CallKind::Custom => {
                let kind = "response.custom_tool_call_input.done";
                self.item(Payload { input: Some(&call.arguments), ..Payload::of(kind) });
            }
            CallKind::Function => {
                let arguments = output::arguments(call);
                if call.arguments.trim().is_empty() {
                    self.grown("response.function_call_arguments.delta", arguments);
                }
                self.item(Payload {
                    name: Some(&call.name),
                    arguments: Some(arguments),
                    ..Payload::of("response.function_call_arguments.done")
                });
            }
            CallKind::LocalShell | CallKind::ApplyPatch | CallKind::ToolSearch => {}
        }
    }

    fn grown(&mut self, kind: &'static str, delta: &str) {
        if !delta.is_empty() {
            self.item(Payload { delta: Some(delta), ..Payload::of(kind) });
        }
    }
}

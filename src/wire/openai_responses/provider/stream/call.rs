//! A call of a stream: shown as soon as it is known which tool it calls, its arguments as they come.

use super::super::output;
use super::tracked::rest;
use super::{Teller, grow, nameless};
use crate::conversation::{CallKind, Content, Delta, Event, Part, ToolCall};
use crate::ground::fault::Fault;

/// What of a call has been told.
#[derive(Debug, Default)]
pub(super) struct Call {
    block: Option<u32>,
    call: ToolCall,
    named: bool,
    told: usize,
    /// Arguments that came before the name.
    waiting: String,
}

impl Call {
    pub(super) fn new(kind: CallKind) -> Self {
        Self { call: ToolCall { kind, ..ToolCall::default() }, ..Self::default() }
    }

    pub(super) fn kind(&self) -> CallKind {
        self.call.kind
    }

    pub(super) fn is_named(&self) -> bool {
        self.named
    }

    /// The tool's name, of a server that says it beside the arguments.
    pub(super) fn name(
        &mut self,
        name: &str,
        id: Option<&str>,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        if self.named || name.is_empty() {
            return;
        }
        (self.call.name, self.named) = (name.to_owned(), true);
        if self.call.id.is_empty() {
            // Without an item of its own there is no other.
            self.call.id = id.unwrap_or_default().to_owned();
            self.call.item_id = id.map(str::to_owned);
        }
        self.open(teller, out);
    }

    /// Takes over what the item says of the call, but for the arguments.
    pub(super) fn learn(&mut self, head: ToolCall, named: bool) {
        if self.block.is_some() {
            // It has been shown: only arguments can still come.
            self.call.arguments = head.arguments;
            return;
        }
        self.named |= named;
        self.call = ToolCall {
            id: if head.id.is_empty() { std::mem::take(&mut self.call.id) } else { head.id },
            item_id: head.item_id.or(self.call.item_id.take()),
            name: if named { head.name } else { std::mem::take(&mut self.call.name) },
            namespace: head.namespace,
            kind: self.call.kind,
            arguments: head.arguments,
            seal: None,
        };
    }

    /// Shows the call, where it is known which tool it calls.
    pub(super) fn open(&mut self, teller: &mut Teller, out: &mut Vec<Event>) {
        if self.block.is_some() || !self.named {
            return;
        }
        if self.call.id.is_empty() {
            self.call.id = teller.ids.call();
        }
        let block = teller.block();
        self.block = Some(block);
        teller.calls = true;
        let call = ToolCall { arguments: String::new(), ..self.call.clone() };
        let part = Part::new(Content::ToolCall(call));
        out.push(Event::Open { choice: 0, block, part });
        let waiting = std::mem::take(&mut self.waiting);
        self.tell(&waiting, out);
    }

    pub(super) fn tell(&mut self, more: &str, out: &mut Vec<Event>) {
        match self.block {
            _ if more.is_empty() => {}
            Some(block) => {
                self.told += more.len();
                grow(block, Delta::Arguments(more.to_owned()), out);
            }
            None => self.waiting.push_str(more),
        }
    }

    /// All of the arguments: their end may be new.
    pub(super) fn tell_all(&mut self, whole: &str, out: &mut Vec<Event>) {
        let told = if self.block.is_some() { self.told } else { self.waiting.len() };
        let more = rest(whole, told).to_owned();
        self.tell(&more, out);
    }

    pub(super) fn close(&mut self, teller: &mut Teller, out: &mut Vec<Event>) -> Result<(), Fault> {
        self.open(teller, out);
        let Some(block) = self.block else { return Err(nameless()) };
        if self.told == 0 {
            // They may have come with the announcement only.
            let early = std::mem::take(&mut self.call.arguments);
            let none = output::no_arguments(self.call.kind, &early);
            self.tell(none.unwrap_or(&early), out);
        }
        out.push(Event::Close { choice: 0, block });
        Ok(())
    }
}

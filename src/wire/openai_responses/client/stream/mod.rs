//! The answer as the ladder of events, while it comes: items in the order in which they begin, each announced, grown
//! and finished, and at last the whole response once more. An item is finished when the next begins or the answer
//! ends, not sooner: only then it is known whether more of its message comes, or whether it was cut short. Knows
//! nothing of the shape of items.

mod block;
mod served;
mod thoughts;
mod told;

use std::collections::BTreeMap;

use super::super::super::codec::{Echo, Encode, Stamp, broke_off};
use super::events::{Payload, Writer};
use super::output::{self, State, View};
use super::reply::{self, Status};
use crate::conversation::{Choice, Delta, Event, Finish, Head, Json, Part, Reply, Usage};
use crate::ground::fault::Fault;

use block::{Block, Place};

/// Begins a streamed answer.
pub(super) fn begin(echo: Echo, stamp: Stamp) -> Box<dyn Encode> {
    let view = View::of(&echo);
    Box::new(Stream {
        echo,
        stamp,
        view,
        ladder: Ladder::Below,
        writer: Writer::default(),
        head: Head::default(),
        usage: None,
        finish: None,
        blocks: BTreeMap::new(),
        items: Vec::new(),
    })
}

struct Stream {
    echo: Echo,
    stamp: Stamp,
    view: View,
    ladder: Ladder,
    writer: Writer,
    head: Head,
    usage: Option<Usage>,
    finish: Option<Finish>,
    /// What has been opened and not closed.
    blocks: BTreeMap<u32, Block>,
    /// In the order of `output_index`.
    items: Vec<Item>,
}

/// Where on the ladder the stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ladder {
    /// Nothing has been written.
    Below,
    Climbing,
    /// The terminal event has been written.
    Above,
}

/// One output item.
struct Item {
    id: String,
    /// What it is made of; a part that still grows has its place kept by what it began as.
    parts: Vec<Part>,
    /// How many of its parts still grow.
    growing: usize,
    /// The finished item.
    done: Option<Json>,
}

impl Encode for Stream {
    fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.ladder == Ladder::Above {
            return;
        }
        self.climb(out);
        match event {
            Event::Begin(head) => {
                self.head.service_tier = self.head.service_tier.take().or(head.service_tier);
            }
            Event::Usage(usage) => self.usage.get_or_insert_default().learn(usage),
            Event::Fail(fault) => self.fail(fault, out),
            // An answer of this format is one choice.
            Event::Open { choice: 0, block, part } if self.finish.is_none() => {
                self.open(block, part, out);
            }
            Event::Delta { choice: 0, block, delta } if self.finish.is_none() => {
                self.delta(block, delta, out);
            }
            Event::Close { choice: 0, block } if self.finish.is_none() => self.close(block, out),
            Event::Finish { choice: 0, finish } if self.finish.is_none() => {
                self.finish(finish, out);
            }
            Event::Open { .. }
            | Event::Delta { .. }
            | Event::Close { .. }
            | Event::Finish { .. } => {}
        }
    }

    fn end(&mut self, now: i64, out: &mut Vec<u8>) {
        if self.ladder == Ladder::Above {
            return;
        }
        self.climb(out);
        if self.finish.is_none() {
            self.fail(broke_off(), out);
            return;
        }
        let status = Status::of(self.finish.as_ref(), now);
        let output = self.items.iter().filter_map(|item| item.done.clone()).collect();
        self.top(&status, output, out);
    }

    /// An event rather than a comment: Codex's clock for silence hears events only, and passes over types it does
    /// not know. The SDKs want `response.created` before any other, so that is the first sign of life.
    fn ping(&mut self, out: &mut Vec<u8>) {
        match self.ladder {
            Ladder::Below => self.climb(out),
            Ladder::Climbing => self.writer.write(Payload::of("keepalive"), out),
            Ladder::Above => {}
        }
    }
}

impl Stream {
    /// The two events before all others.
    fn climb(&mut self, out: &mut Vec<u8>) {
        if self.ladder == Ladder::Below {
            self.ladder = Ladder::Climbing;
            let response = self.response(&Status::InProgress, Vec::new());
            for kind in ["response.created", "response.in_progress"] {
                let payload = Payload { response: Some(&response), ..Payload::of(kind) };
                self.writer.write(payload, out);
            }
        }
    }

    /// The terminal event.
    fn top(&mut self, status: &Status, output: Vec<Json>, out: &mut Vec<u8>) {
        self.ladder = Ladder::Above;
        let response = self.response(status, output);
        let kind = match status {
            Status::Failed(_) => "response.failed",
            Status::Incomplete(_) => "response.incomplete",
            Status::Completed { .. } | Status::InProgress => "response.completed",
        };
        self.writer.write(Payload { response: Some(&response), ..Payload::of(kind) }, out);
    }

    fn response(&self, status: &Status, output: Vec<Json>) -> Json {
        reply::object(status, output, &self.head, self.usage, &self.echo, &self.stamp)
    }

    /// Nothing more is finished: what stood open is told as incomplete.
    fn fail(&mut self, fault: Fault, out: &mut Vec<u8>) {
        for (_, block) in std::mem::take(&mut self.blocks) {
            self.settle(block);
        }
        let last = self.items.len().saturating_sub(1);
        let view = self.view;
        let output = self.items.iter().enumerate().map(|(at, item)| {
            let cut = at == last || item.growing > 0;
            let state = if cut { State::Incomplete } else { State::Completed };
            item.done.clone().unwrap_or_else(|| output::item(&item.id, &item.parts, state, view))
        });
        let output = output.collect();
        self.top(&Status::Failed(fault), output, out);
    }

    fn open(&mut self, number: u32, part: Part, out: &mut Vec<u8>) {
        let (part, deltas) = unfolded(output::told(part));
        let block = Block::new(part);
        if block.can_begin() {
            self.place(number, block, out);
        } else {
            self.blocks.insert(number, block);
        }
        for delta in deltas {
            self.delta(number, delta, out);
        }
    }

    fn delta(&mut self, number: u32, delta: Delta, out: &mut Vec<u8>) {
        if matches!(&delta, Delta::Text(text) if text.is_empty()) {
            return;
        }
        let waits = |block: &Block| block.place.is_none() && !block.is_told_whole();
        if self.blocks.get(&number).is_some_and(waits)
            && let Some(block) = self.blocks.remove(&number)
        {
            self.place(number, block, out);
        }
        let Some(block) = self.blocks.get_mut(&number) else { return };
        let id = block.place.and_then(|place| self.items.get(place.item)).map(|item| &*item.id);
        block.grow(delta, id.unwrap_or_default(), self.view, &mut self.writer, out);
    }

    fn close(&mut self, number: u32, out: &mut Vec<u8>) {
        let Some(mut block) = self.blocks.remove(&number) else { return };
        if block.place.is_none() {
            if !block.is_told_whole() {
                // It stayed empty.
                return;
            }
            self.place(number, block, out);
            match self.blocks.remove(&number) {
                Some(placed) => block = placed,
                None => return,
            }
        }
        let Some(place) = block.place else { return };
        if let Some(item) = self.items.get(place.item) {
            block.finish(&item.id, &mut self.writer, out);
        }
        // Nothing can join what the gateway did, and how the answer ends is no matter of it.
        let is_over = block.part.as_served().is_some();
        self.settle(block);
        if is_over || place.item + 1 < self.items.len() {
            self.finish_item(place.item, State::Completed, out);
        }
    }

    /// Puts what a block came to into its item.
    fn settle(&mut self, block: Block) {
        let Some(item) = block.place.and_then(|place| self.items.get_mut(place.item)) else {
            return;
        };
        item.growing = item.growing.saturating_sub(1);
        let content = block.place.map(|place| place.content).unwrap_or_default();
        if let Some(part) = item.parts.get_mut(content) {
            *part = block.part;
        }
    }

    /// Gives a block its place: in the message before it, or in an item of its own.
    fn place(&mut self, number: u32, mut block: Block, out: &mut Vec<u8>) {
        let part = block.part.clone();
        let joins = self.items.last().is_some_and(|last| {
            let first = last.parts.first();
            last.done.is_none() && first.is_some_and(|first| output::is_same_message(first, &part))
        });
        if !joins {
            self.finish_closed(State::Completed, out);
            self.announce(&part, out);
        }
        let index = self.items.len().saturating_sub(1);
        let Some(item) = self.items.last_mut() else { return };
        item.growing += 1;
        item.parts.push(part);
        let place = Place { item: index, content: item.parts.len() - 1 };
        block.place = Some(place);
        block.begin(&item.id, &mut self.writer, out);
        self.blocks.insert(number, block);
    }

    fn announce(&mut self, part: &Part, out: &mut Vec<u8>) {
        let index = self.items.len();
        let id = output::id_of(part, &self.stamp, index);
        let opening = output::opening(&id, part, self.view);
        self.told("response.output_item.added", index, &opening, out);
        self.items.push(Item { id, parts: Vec::new(), growing: 0, done: None });
    }

    fn told(&mut self, kind: &'static str, index: usize, item: &Json, out: &mut Vec<u8>) {
        let payload = Payload { output_index: Some(index), item: Some(item), ..Payload::of(kind) };
        self.writer.write(payload, out);
    }

    fn finish(&mut self, finish: Finish, out: &mut Vec<u8>) {
        let open: Vec<u32> = self.blocks.keys().copied().collect();
        for number in open {
            self.close(number, out);
        }
        let state = if output::is_cut(&finish) { State::Incomplete } else { State::Completed };
        self.finish = Some(finish);
        self.finish_closed(state, out);
    }

    /// Finishes every item of which nothing more comes; `state` is that of the last one.
    fn finish_closed(&mut self, state: State, out: &mut Vec<u8>) {
        let count = self.items.len();
        for index in 0..count {
            let state = if index + 1 == count { state } else { State::Completed };
            self.finish_item(index, state, out);
        }
    }

    fn finish_item(&mut self, index: usize, state: State, out: &mut Vec<u8>) {
        let view = self.view;
        let Some(item) = self.items.get_mut(index) else { return };
        if item.growing > 0 || item.done.is_some() {
            return;
        }
        let parts = std::mem::take(&mut item.parts);
        let done = output::item(&item.id, &parts, state, view);
        item.done = Some(done.clone());
        self.told("response.output_item.done", index, &done, out);
        if let Some(part) = parts.first() {
            self.add_seal(part, out);
        }
    }

    /// The item that carries a call's seal is there at once.
    fn add_seal(&mut self, part: &Part, out: &mut Vec<u8>) {
        let index = self.items.len();
        let Some(done) = output::seal_item(part, &self.stamp, index) else { return };
        self.told("response.output_item.added", index, &done, out);
        self.told("response.output_item.done", index, &done, out);
        self.items.push(Item {
            id: String::new(),
            parts: Vec::new(),
            growing: 0,
            done: Some(done),
        });
    }
}

/// A part as it would have been opened, and what it would have grown by: some decoders open a block with all that it
/// holds.
fn unfolded(part: Part) -> (Part, Vec<Delta>) {
    let choice = Choice { parts: vec![part], finish: None };
    let reply = Reply { choices: vec![choice], ..Reply::default() };
    let (mut opened, mut deltas) = (Part::text(""), Vec::new());
    for event in reply.into_events() {
        match event {
            Event::Open { part, .. } => opened = part,
            Event::Delta { delta, .. } => deltas.push(delta),
            _ => {}
        }
    }
    (opened, deltas)
}

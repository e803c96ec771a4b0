//! One output item of a stream: what of it has been told already, so that what comes again, in a `done` event or
//! in the last one, adds only what is missing. It knows nothing of the events' names.

use super::super::output::{self, Item};
use super::{Teller, grow, nameless};
use crate::conversation::{
    Annotation, CallKind, Content, Delta, Event, Extras, Json, Part, Reasoning, ToolCall,
};
use crate::ground::fault::Fault;

/// An item as far as it has come.
#[derive(Debug)]
pub(super) struct Tracked {
    pub index: Option<u64>,
    pub id: Option<String>,
    what: What,
    pub is_done: bool,
}

#[derive(Debug)]
pub(super) enum What {
    Message { extras: Extras, texts: Vec<Text> },
    Reasoning(Thought),
    Call(Call),
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Reasoning,
    Call(CallKind),
    Other,
}

/// One content part of a message, opened with its first words.
#[derive(Debug)]
pub(super) struct Text {
    /// Its place in the content.
    place: u64,
    is_refusal: bool,
    block: u32,
    /// Bytes told so far.
    told: usize,
    annotations: usize,
    measured: bool,
}

#[derive(Debug, Default)]
pub(super) struct Thought {
    block: Option<u32>,
    told: usize,
    /// The content part that spoke last.
    place: Option<u64>,
    /// Bytes told of each summary.
    summaries: Vec<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Call {
    block: Option<u32>,
    call: ToolCall,
    named: bool,
    told: usize,
    /// Arguments that came before the name.
    waiting: String,
}

impl Kind {
    pub(super) fn of(item: &Item) -> Self {
        match &item.what {
            output::What::Message { .. } => Self::Message,
            output::What::Reasoning(_) => Self::Reasoning,
            output::What::Call { call, .. } => Self::Call(call.kind),
            output::What::Other(_) => Self::Other,
        }
    }
}

impl What {
    pub(super) fn of(item: &Item) -> Self {
        Self::new(Kind::of(item))
    }

    pub(super) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Message => Self::Message { extras: Extras::default(), texts: Vec::new() },
            Kind::Reasoning => Self::Reasoning(Thought::default()),
            Kind::Call(kind) => {
                let call = ToolCall { kind, ..ToolCall::default() };
                Self::Call(Call { call, ..Call::default() })
            }
            Kind::Other => Self::Other,
        }
    }
}

impl Tracked {
    pub(super) fn new(index: Option<u64>, id: Option<String>, what: What) -> Self {
        Self { index, id, what, is_done: false }
    }

    pub(super) fn kind(&self) -> Kind {
        match &self.what {
            What::Message { .. } => Kind::Message,
            What::Reasoning(_) => Kind::Reasoning,
            What::Call(call) => Kind::Call(call.call.kind),
            What::Other => Kind::Other,
        }
    }

    /// The item begins: a call is shown at once, the others with their first content.
    pub(super) fn announced(&mut self, item: Item, teller: &mut Teller, out: &mut Vec<Event>) {
        match (&mut self.what, item.what) {
            (What::Message { extras, texts }, output::What::Message { extras: own, .. })
                if texts.is_empty() =>
            {
                *extras = own;
            }
            (What::Call(call), output::What::Call { call: head, named }) => {
                call.learn(head, named);
                call.open(teller, out);
            }
            _ => {}
        }
    }

    /// The item is there as a whole: tells what has not come before, and closes it.
    pub(super) fn completed(&mut self, item: Item, teller: &mut Teller, out: &mut Vec<Event>) {
        if self.is_done {
            return;
        }
        match (&mut self.what, item.what) {
            (What::Message { extras, .. }, output::What::Message { parts, extras: own }) => {
                if extras.is_empty() {
                    *extras = own;
                }
                self.complete_message(parts, teller, out);
            }
            (What::Reasoning(thought), output::What::Reasoning(reasoning)) => {
                thought.complete(reasoning, self.id.as_deref(), teller, out);
            }
            (What::Call(call), output::What::Call { call: head, named }) => {
                let arguments = head.arguments.clone();
                call.learn(head, named);
                call.open(teller, out);
                call.tell_all(&arguments, out);
                if !call.named {
                    // The last event may know the name.
                    return;
                }
            }
            (What::Other, output::What::Other(part)) => {
                let block = teller.block();
                out.push(Event::Open { choice: 0, block, part: *part });
                out.push(Event::Close { choice: 0, block });
            }
            _ => {}
        }
        // Named by now, if it is a call.
        let _ = self.close(teller, out);
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// `UpstreamGarbage`: a call whose tool was never named.
    pub(super) fn close(&mut self, teller: &mut Teller, out: &mut Vec<Event>) -> Result<(), Fault> {
        if std::mem::replace(&mut self.is_done, true) {
            return Ok(());
        }
        let mut close = |block| out.push(Event::Close { choice: 0, block });
        match &mut self.what {
            What::Message { texts, .. } => texts.iter().for_each(|text| close(text.block)),
            What::Reasoning(thought) => thought.block.into_iter().for_each(close),
            What::Call(call) => return call.close(teller, out),
            What::Other => {}
        }
        Ok(())
    }

    /// More of a text or a refusal.
    pub(super) fn say(
        &mut self,
        place: u64,
        is_refusal: bool,
        more: &str,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        let What::Message { extras, texts } = &mut self.what else { return };
        if self.is_done || more.is_empty() {
            return;
        }
        let known =
            texts.iter().position(|text| text.place == place && text.is_refusal == is_refusal);
        let known = known.unwrap_or_else(|| {
            let part = if is_refusal {
                Part::new(Content::Refusal(String::new()))
            } else {
                Part::text("")
            };
            let block = teller.block();
            let part = Part { extras: extras.clone(), ..part };
            out.push(Event::Open { choice: 0, block, part });
            let text = Text { place, is_refusal, block, told: 0, annotations: 0, measured: false };
            texts.push(text);
            texts.len() - 1
        });
        if let Some(text) = texts.get_mut(known) {
            text.told += more.len();
            grow(text.block, Delta::Text(more.to_owned()), out);
        }
    }

    /// The whole of a text or a refusal: its end may be new.
    pub(super) fn say_all(
        &mut self,
        place: u64,
        is_refusal: bool,
        whole: &str,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        let told = self.text(place, is_refusal).map_or(0, |text| text.told);
        self.say(place, is_refusal, rest(whole, told), teller, out);
    }

    pub(super) fn measure(&mut self, place: u64, logprobs: Json, out: &mut Vec<Event>) {
        if let Some(text) = self.text(place, false) {
            text.measured = true;
            grow(text.block, Delta::Logprobs(logprobs), out);
        }
    }

    pub(super) fn cite(&mut self, place: u64, annotation: Annotation, out: &mut Vec<Event>) {
        if let Some(text) = self.text(place, false) {
            text.annotations += 1;
            grow(text.block, Delta::Annotation(annotation), out);
        }
    }

    pub(super) fn summarise(
        &mut self,
        index: u32,
        more: &str,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        let is_done = self.is_done;
        if let What::Reasoning(thought) = &mut self.what
            && !is_done
        {
            thought.summarise(index, more, self.id.as_deref(), teller, out);
        }
    }

    pub(super) fn summarise_all(
        &mut self,
        index: u32,
        whole: &str,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        let What::Reasoning(thought) = &self.what else { return };
        let more = rest(whole, thought.summarised(index)).to_owned();
        if !more.is_empty() {
            self.summarise(index, &more, teller, out);
        }
    }

    pub(super) fn think(
        &mut self,
        place: u64,
        more: &str,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        let is_done = self.is_done;
        if let What::Reasoning(thought) = &mut self.what
            && !is_done
        {
            thought.think(place, more, self.id.as_deref(), teller, out);
        }
    }

    /// The whole of a thought, where nothing of that part has come.
    pub(super) fn think_once(
        &mut self,
        place: u64,
        whole: &str,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        let What::Reasoning(thought) = &self.what else { return };
        if thought.place.is_none_or(|last| last < place) {
            self.think(place, whole, teller, out);
        }
    }

    pub(super) fn named(&mut self, name: &str, teller: &mut Teller, out: &mut Vec<Event>) {
        if let What::Call(call) = &mut self.what
            && !call.named
            && !name.is_empty()
        {
            (call.call.name, call.named) = (name.to_owned(), true);
            if call.call.id.is_empty() {
                // Without an item of its own there is no other.
                call.call.id = self.id.clone().unwrap_or_default();
                call.call.item_id = self.id.clone();
            }
            call.open(teller, out);
        }
    }

    pub(super) fn argue(&mut self, more: &str, out: &mut Vec<Event>) {
        let is_done = self.is_done;
        if let What::Call(call) = &mut self.what
            && !is_done
        {
            call.tell(more, out);
        }
    }

    pub(super) fn argue_all(&mut self, whole: &str, out: &mut Vec<Event>) {
        let is_done = self.is_done;
        if let What::Call(call) = &mut self.what
            && !is_done
        {
            call.tell_all(whole, out);
        }
    }

    fn text(&mut self, place: u64, is_refusal: bool) -> Option<&mut Text> {
        let What::Message { texts, .. } = &mut self.what else { return None };
        texts.iter_mut().find(|text| text.place == place && text.is_refusal == is_refusal)
    }

    fn complete_message(
        &mut self,
        parts: Vec<(u64, Part)>,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        // A server that counts content differently in both places means the only one there is.
        let only = match &self.what {
            What::Message { texts, .. } if texts.len() == 1 && parts.len() == 1 => {
                texts.first().map(|text| text.place)
            }
            _ => None,
        };
        for (place, part) in parts {
            let place = only.unwrap_or(place);
            match part.content {
                Content::Refusal(text) => self.say_all(place, true, &text, teller, out),
                Content::Text { text, annotations, logprobs } => {
                    self.say_all(place, false, &text, teller, out);
                    let told = self.text(place, false);
                    let (told, measured) =
                        told.map_or((0, false), |text| (text.annotations, text.measured));
                    if let Some(logprobs) = logprobs.filter(|_| !measured) {
                        self.measure(place, logprobs, out);
                    }
                    for annotation in annotations.into_iter().skip(told) {
                        self.cite(place, annotation, out);
                    }
                }
                _ => {}
            }
        }
    }
}

impl Thought {
    fn open(&mut self, id: Option<&str>, teller: &mut Teller, out: &mut Vec<Event>) -> u32 {
        if let Some(block) = self.block {
            return block;
        }
        let block = teller.block();
        self.block = Some(block);
        let reasoning = Reasoning { id: id.map(str::to_owned), ..Reasoning::default() };
        out.push(Event::Open { choice: 0, block, part: Part::reasoning(reasoning) });
        block
    }

    fn summarised(&self, index: u32) -> usize {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        self.summaries.get(index).copied().unwrap_or_default()
    }

    fn summarise(
        &mut self,
        index: u32,
        more: &str,
        id: Option<&str>,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        // As many as a reply takes.
        let at = usize::try_from(index).unwrap_or(usize::MAX).min(255);
        if self.summaries.len() <= at {
            self.summaries.resize(at + 1, 0);
        }
        if let Some(told) = self.summaries.get_mut(at) {
            *told += more.len();
        }
        let block = self.open(id, teller, out);
        grow(block, Delta::Summary { index, text: more.to_owned() }, out);
    }

    fn think(
        &mut self,
        place: u64,
        more: &str,
        id: Option<&str>,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        if more.is_empty() {
            return;
        }
        let block = self.open(id, teller, out);
        let between = self.told > 0 && self.place != Some(place);
        let text = if between { format!("\n\n{more}") } else { more.to_owned() };
        self.place = Some(place);
        self.told += text.len();
        grow(block, Delta::Text(text), out);
    }

    fn complete(
        &mut self,
        reasoning: Reasoning,
        id: Option<&str>,
        teller: &mut Teller,
        out: &mut Vec<Event>,
    ) {
        if output::is_empty(&reasoning) && self.block.is_none() {
            return;
        }
        let id = reasoning.id.as_deref().or(id);
        let block = self.open(id, teller, out);
        for (index, text) in (0..).zip(&reasoning.summary) {
            let more = rest(text, self.summarised(index));
            let known = usize::try_from(index).is_ok_and(|at| at < self.summaries.len());
            if !known || !more.is_empty() {
                self.summarise(index, more, id, teller, out);
            }
        }
        let more = rest(&reasoning.text, self.told);
        if !more.is_empty() {
            self.told += more.len();
            grow(block, Delta::Text(more.to_owned()), out);
        }
        if let Some(seal) = reasoning.seal {
            grow(block, Delta::Seal(seal), out);
        }
    }
}

impl Call {
    /// Takes over what the item says of the call, but for the arguments.
    fn learn(&mut self, head: ToolCall, named: bool) {
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
    fn open(&mut self, teller: &mut Teller, out: &mut Vec<Event>) {
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

    fn tell(&mut self, more: &str, out: &mut Vec<Event>) {
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
    fn tell_all(&mut self, whole: &str, out: &mut Vec<Event>) {
        let told = if self.block.is_some() { self.told } else { self.waiting.len() };
        let more = rest(whole, told).to_owned();
        self.tell(&more, out);
    }

    fn close(&mut self, teller: &mut Teller, out: &mut Vec<Event>) -> Result<(), Fault> {
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

/// What of a whole text has not been told.
fn rest(whole: &str, told: usize) -> &str {
    whole.get(told..).unwrap_or_default()
}

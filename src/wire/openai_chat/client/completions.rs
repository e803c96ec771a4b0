//! The legacy completions (<https://platform.openai.com/docs/api-reference/completions>): a prompt is asked as
//! one message of a user, and the text of the answer comes back as `text_completion`. Reasoning and calls have
//! no place here and stay away. `echo` is done here; `suffix` and `best_of` ride along, for who knows them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::said::{self, Answer, Counts};
use super::{CHAT, request};
use crate::conversation::{
    Ask, Content, Delta, Event, Finish, Head, Json, Part, Reply, Role, Turn, Usage,
};
use crate::ground::fault::Fault;
use crate::wire::codec::{self, Asked, Echo, Encode, Stamp};
use crate::wire::fields::{Fields, as_string};
use crate::wire::openai_error;

/// In `Echo::fields` where `echo` was asked: what the answer's text begins with.
const PROMPT: &str = "prompt";
const KIND: (&str, &str) = ("cmpl", "text_completion");

#[derive(Debug, Serialize)]
struct Completion {
    text: String,
    index: u32,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
}

/// The lists run side by side, one entry a token.
#[derive(Debug, Default, Serialize)]
struct Logprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f64>>,
    top_logprobs: Vec<Map<String, Value>>,
    /// Where each token begins, in characters.
    text_offset: Vec<u64>,
}

/// Reads a request.
///
/// Errors: `InvalidRequest` with the path of the field and what it must be; a prompt that is no text, or
/// more than one.
pub(super) fn read(body: &[u8]) -> Result<Asked, Fault> {
    let mut fields = request::top(body)?;
    let mut echo = Echo::default();
    let raw = fields.take("prompt");
    let prompt = prompt(fields.required("prompt", raw)?)?;
    if fields.boolean("echo")?.unwrap_or_default() {
        echo.fields.push((PROMPT.to_owned(), Json::of(&prompt)));
    }
    let mut ask = Ask::new(CHAT);
    ask.turns.push(Turn::new(Role::User, vec![Part::text(prompt)]));
    ask.max_tokens = fields.count("max_tokens")?;
    ask.text_format = request::text_format(&mut fields)?;
    ask.reasoning = request::reasoning(&mut fields)?;
    // Here a number: how many of the most likely tokens to tell beside the one that was drawn.
    let logprobs = fields.count("logprobs")?;
    ask.sampling.logprobs = logprobs.map(|_| true);
    ask.sampling.top_logprobs = logprobs.filter(|most| *most > 0);
    request::common(&mut ask, &mut echo, &mut fields)?;
    drop_defaults(&mut fields);
    ask.extras = fields.rest(CHAT);
    Ok((ask, echo))
}

/// Writes an answer.
pub(super) fn write(reply: &Reply, echo: &Echo, stamp: &Stamp) -> Vec<u8> {
    let mut answer = Answer::new(KIND, stamp, &reply.head);
    answer.usage = reply.usage.as_ref().map(|usage| Some(Counts::new(usage)));
    for (index, choice) in (0..).zip(&reply.choices) {
        let mut text = echoed(echo);
        let mut logprobs: Option<Logprobs> = None;
        for part in &choice.parts {
            if let Content::Text { logprobs: Some(list), .. } = &part.content {
                let offset = text.chars().count() as u64;
                logprobs.get_or_insert_default().extend(list, offset);
            }
            text.push_str(spoken(part));
        }
        let finish = choice.finish.as_ref();
        let reason = finish.map_or("length", |finish| said::finish_reason(finish, false, false));
        answer.choices.push(Completion { text, index, logprobs, finish_reason: Some(reason) });
    }
    serde_json::to_vec(&answer).unwrap_or_default()
}

/// Begins a stream.
pub(super) fn begin(echo: Echo, stamp: Stamp) -> Box<dyn Encode> {
    let prompt = echoed(&echo);
    let include_usage = echo.include_usage;
    let head = Head::default();
    let choices = BTreeMap::new();
    Box::new(Texts { stamp, head, include_usage, prompt, usage: None, choices, over: false })
}

struct Texts {
    stamp: Stamp,
    head: Head,
    include_usage: bool,
    prompt: String,
    usage: Option<Usage>,
    choices: BTreeMap<u32, Choice>,
    over: bool,
}

#[derive(Default)]
struct Choice {
    /// The blocks whose text is the answer's.
    spoken: Vec<u32>,
    /// Characters so far, and where the log probabilities are.
    characters: u64,
    told: u64,
    finished: bool,
}

impl Encode for Texts {
    fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        match event {
            Event::Begin(head) => {
                self.head.system_fingerprint =
                    head.system_fingerprint.or(self.head.system_fingerprint.take());
            }
            Event::Usage(usage) => self.usage.get_or_insert_default().learn(usage),
            Event::Fail(fault) => self.fail(&fault, out),
            Event::Open { choice, block, part } => self.open(choice, block, &part, out),
            Event::Delta { choice, block, delta } => self.delta(choice, block, delta, out),
            Event::Close { .. } => {}
            Event::Finish { choice, finish } => self.finish(choice, &finish, out),
        }
    }

    fn end(&mut self, _now: i64, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        if self.choices.is_empty() || self.choices.values().any(|choice| !choice.finished) {
            return self.fail(&codec::broke_off(), out);
        }
        self.over = true;
        if let Some(usage) = self.usage.filter(|_| self.include_usage) {
            let mut chunk: Answer<'_, Completion> = Answer::new(KIND, &self.stamp, &self.head);
            chunk.usage = Some(Some(Counts::new(&usage)));
            codec::write_data(out, &chunk);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

impl Texts {
    fn fail(&mut self, fault: &Fault, out: &mut Vec<u8>) {
        self.over = true;
        codec::write_data(out, &openai_error::object(fault));
    }

    /// The choice of an event, with the prompt before it where that is wanted.
    fn choice(&mut self, number: u32, out: &mut Vec<u8>) -> &mut Choice {
        if !self.choices.contains_key(&number) && !self.prompt.is_empty() {
            self.write(number, self.prompt.clone(), None, None, out);
        }
        let characters = self.prompt.chars().count() as u64;
        let fresh = || Choice { characters, told: characters, ..Choice::default() };
        self.choices.entry(number).or_insert_with(fresh)
    }

    fn open(&mut self, number: u32, block: u32, part: &Part, out: &mut Vec<u8>) {
        let choice = self.choice(number, out);
        if matches!(part.content, Content::Text { .. } | Content::Refusal(_)) {
            choice.spoken.push(block);
            self.delta(number, block, Delta::Text(spoken(part).to_owned()), out);
        }
    }

    fn delta(&mut self, number: u32, block: u32, delta: Delta, out: &mut Vec<u8>) {
        let Some(choice) = self.choices.get_mut(&number) else { return };
        if choice.finished || !choice.spoken.contains(&block) {
            return;
        }
        match delta {
            Delta::Text(text) if !text.is_empty() => {
                choice.characters += text.chars().count() as u64;
                self.write(number, text, None, None, out);
            }
            Delta::Logprobs(list) => {
                let mut logprobs = Logprobs::default();
                choice.told = logprobs.extend(&list, choice.told);
                self.write(number, String::new(), Some(logprobs), None, out);
            }
            _ => {}
        }
    }

    fn finish(&mut self, number: u32, finish: &Finish, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.choice(number, out).finished, true) {
            return;
        }
        let reason = said::finish_reason(finish, false, false);
        self.write(number, String::new(), None, Some(reason), out);
    }

    fn write(
        &self,
        index: u32,
        text: String,
        logprobs: Option<Logprobs>,
        finish_reason: Option<&'static str>,
        out: &mut Vec<u8>,
    ) {
        let mut chunk = Answer::new(KIND, &self.stamp, &self.head);
        chunk.usage = self.include_usage.then_some(None);
        chunk.choices.push(Completion { text, index, logprobs, finish_reason });
        codec::write_data(out, &chunk);
    }
}

impl Logprobs {
    /// Adds chat's entries; `offset` is where the first token begins. Returns where the next one does.
    fn extend(&mut self, list: &Json, mut offset: u64) -> u64 {
        for entry in list.read::<Vec<Json>>().unwrap_or_default() {
            let Some(mut entry) = Fields::of(entry.as_raw()) else { continue };
            let token = entry.text("token").unwrap_or_default();
            let top = entry.items("top_logprobs").into_iter().filter_map(|likely| {
                let mut likely = Fields::of(likely)?;
                Some((likely.text("token")?, likely.lenient("logprob")?))
            });
            self.top_logprobs.push(top.collect());
            self.token_logprobs.push(entry.lenient("logprob"));
            self.text_offset.push(offset);
            offset += token.chars().count() as u64;
            self.tokens.push(token);
        }
        offset
    }
}

fn prompt(raw: &RawValue) -> Result<String, Fault> {
    let told = |why: &'static str| Err(Fault::invalid(why).with_param("prompt"));
    if let Some(text) = as_string(raw) {
        return Ok(text);
    }
    match serde_json::from_str::<Vec<String>>(raw.get()) {
        Ok(list) if list.len() > 1 => told(
            "`prompt` holds several prompts. Models behind this endpoint answer one conversation at a \
             time: send one prompt per request.",
        ),
        Ok(list) => match list.into_iter().next() {
            Some(text) => Ok(text),
            None => told("`prompt` is an empty list. Send one prompt, as a string."),
        },
        Err(_) if raw.get().starts_with('[') => told(
            "`prompt` holds tokens. Their numbers differ from model to model: send the prompt as text.",
        ),
        Err(_) => told("`prompt` must be a string, and it is not."),
    }
}

/// What says nothing is not carried along.
fn drop_defaults(fields: &mut Fields<'_>) {
    for (name, default) in [("best_of", "1"), ("suffix", "\"\"")] {
        if fields.peek(name).is_some_and(|raw| raw.get() == default) {
            fields.take(name);
        }
    }
}

fn echoed(echo: &Echo) -> String {
    echo.get(PROMPT).and_then(Json::read).unwrap_or_default()
}

fn spoken(part: &Part) -> &str {
    match &part.content {
        Content::Text { text, .. } | Content::Refusal(text) => text,
        _ => "",
    }
}

//! Whether a stream is what the vendors' own clients accept: order, numbers and names of its events.

use std::collections::BTreeMap;

use serde_json::Value;

type Checked = Result<(), String>;

/// How a stream must end.
#[derive(Clone, Copy)]
pub(super) struct End {
    pub(super) failed: bool,
    /// The provider told what it used.
    pub(super) usage: bool,
}

macro_rules! hold {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+));
        }
    };
}

/// One event: its name, which may be empty, and its data.
fn events(stream: &str) -> Result<Vec<(&str, &str)>, String> {
    let mut all = Vec::new();
    for event in stream.split_inclusive("\n\n") {
        let event = event.strip_suffix("\n\n").ok_or("the last event has no end")?;
        let (mut name, mut data) = ("", None);
        for line in event.split('\n') {
            match line.split_once(": ") {
                Some(("event", value)) => name = value,
                Some(("data", value)) if data.is_none() => data = Some(value),
                _ => return Err(format!("a strange line: {line:?}")),
            }
        }
        all.push((name, data.ok_or("an event without data")?));
    }
    Ok(all)
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))
}

fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

#[derive(Default)]
struct ChatChoice {
    begun: bool,
    finished: bool,
    calls: usize,
}

/// Chat completions, asked for usage.
pub(super) fn chat(stream: &str, end: End) -> Checked {
    let failed = end.failed;
    let events = events(stream)?;
    let mut choices: BTreeMap<u64, ChatChoice> = BTreeMap::new();
    let mut head = None;
    let (mut usage, mut error, mut done) = (false, false, false);
    for (name, data) in events {
        hold!(name.is_empty(), "chat events have no names: {name}");
        hold!(!done && !error, "something follows the end: {data}");
        if data == "[DONE]" {
            done = true;
            continue;
        }
        let chunk = json(data)?;
        if chunk.get("error").is_some() {
            hold!(chunk.pointer("/error/message").is_some_and(Value::is_string), "no message");
            error = true;
            continue;
        }
        hold!(!usage, "usage comes last: {data}");
        hold!(chunk["object"] == "chat.completion.chunk", "not a chunk: {data}");
        let its = (chunk["id"].clone(), chunk["created"].clone(), chunk["model"].clone());
        hold!(head.get_or_insert(its.clone()) == &its, "another head: {data}");
        let list = chunk["choices"].as_array().ok_or("no choices")?;
        usage = !chunk["usage"].is_null();
        hold!(usage == list.is_empty(), "usage stands alone: {data}");
        for choice in list {
            let index = choice["index"].as_u64().ok_or("a choice without index")?;
            let seen = choices.entry(index).or_default();
            hold!(!seen.finished, "a choice goes on after its end: {data}");
            let is_first = !std::mem::replace(&mut seen.begun, true);
            let has_role = choice.pointer("/delta/role").is_some();
            hold!(has_role == is_first, "the role belongs into the first delta: {data}");
            chat_calls(choice, &mut seen.calls)?;
            if let Some(reason) = choice["finish_reason"].as_str() {
                let known = ["stop", "length", "tool_calls", "content_filter"];
                hold!(known.contains(&reason), "no such reason: {reason}");
                hold!((reason == "tool_calls") <= (seen.calls > 0), "calls without calls");
                seen.finished = true;
            }
        }
    }
    hold!(error == failed, "an error is told as one, and only an error");
    hold!(failed || done, "no end: {stream}");
    hold!(failed || usage == end.usage, "usage is told where it is known: {stream}");
    hold!(failed || choices.values().all(|choice| choice.finished), "a choice without its end");
    hold!(failed || !choices.is_empty(), "no choice at all");
    Ok(())
}

fn chat_calls(choice: &Value, count: &mut usize) -> Checked {
    for call in choice.pointer("/delta/tool_calls").and_then(Value::as_array).into_iter().flatten()
    {
        let index = call["index"].as_u64().ok_or("a call without index")? as usize;
        hold!(index <= *count, "call {index} comes after {count}");
        if index == *count {
            *count += 1;
            hold!(!text(call, "/id").is_empty(), "a call without id");
            let kind = text(call, "/type");
            hold!(matches!(kind, "function" | "custom"), "a call of type {kind}");
            hold!(call.pointer(&format!("/{kind}/name")).is_some(), "a call without name");
        } else {
            hold!(call.get("id").is_none(), "an id comes once");
        }
    }
    Ok(())
}

/// OpenAI's responses.
pub(super) fn responses(stream: &str, end: End) -> Checked {
    let failed = end.failed;
    let events = events(stream)?;
    let mut items: Vec<Item> = Vec::new();
    let mut ended = false;
    for (at, (name, data)) in events.iter().enumerate() {
        let event = json(data)?;
        hold!(!ended, "something follows the end: {data}");
        hold!(event["type"] == *name, "the name is the type: {name}");
        hold!(event["sequence_number"] == at as u64, "number {at}: {data}");
        match (at, *name) {
            (0, "response.created") | (1, "response.in_progress") => {
                hold!(event.pointer("/response/status") == Some(&"in_progress".into()), "{data}");
            }
            (0 | 1, _) => return Err(format!("a stream begins with created, in_progress: {data}")),
            (_, "response.completed" | "response.incomplete" | "response.failed") => {
                ended = true;
                let status = name.trim_start_matches("response.");
                hold!(text(&event, "/response/status") == status, "the status: {data}");
                hold!((status == "failed") >= failed, "a failure is told: {data}");
                let output = event.pointer("/response/output").and_then(Value::as_array);
                let output = output.ok_or("no output")?;
                if status != "failed" {
                    let done: Vec<&Value> =
                        items.iter().filter_map(|item| item.done.as_ref()).collect();
                    hold!(done.len() == items.len(), "an item without its end");
                    hold!(output.iter().eq(done), "the output is not what was told: {data}");
                    hold!(event.pointer("/response/usage").is_some(), "no usage");
                }
            }
            _ => item_event(name, &event, &mut items).map_err(|why| format!("{why}: {data}"))?,
        }
    }
    hold!(ended, "no end: {stream}");
    Ok(())
}

/// One item of a response, as it grows.
#[derive(Default)]
struct Item {
    id: String,
    /// Deltas since the last `done` of each part.
    deltas: BTreeMap<String, String>,
    done: Option<Value>,
}

fn item_event(name: &str, event: &Value, items: &mut Vec<Item>) -> Checked {
    let index = event["output_index"].as_u64().ok_or("no output_index")? as usize;
    if name == "response.output_item.added" {
        hold!(index == items.len(), "items are numbered in order");
        let id = text(event, "/item/id").to_owned();
        hold!(!id.is_empty(), "an item without id");
        items.push(Item { id, ..Item::default() });
        return Ok(());
    }
    let item = items.get_mut(index).ok_or("no such item")?;
    hold!(item.done.is_none(), "the item is over");
    if name == "response.output_item.done" {
        hold!(text(event, "/item/id") == item.id, "another id");
        hold!(item.deltas.is_empty(), "a part without its end: {:?}", item.deltas);
        item.done = Some(event["item"].clone());
        return Ok(());
    }
    hold!(text(event, "/item_id") == item.id, "another id");
    let Some((kind, phase)) = name.rsplit_once('.') else { return Err("a strange name".into()) };
    let part = ["content_index", "summary_index"].map(|name| event[name].as_u64());
    let key = format!("{kind} {part:?}");
    let said = ["text", "arguments", "input", "refusal"];
    let needs_index = !(kind.contains("function_call") || kind.contains("custom_tool"));
    hold!(!needs_index || part != [None, None], "no index of the part");
    match phase {
        "delta" => item.deltas.entry(key).or_default().push_str(text(event, "/delta")),
        "done" if !kind.ends_with("_part") => {
            let whole = said.iter().find_map(|name| event[*name].as_str());
            let sum = item.deltas.remove(&key).unwrap_or_default();
            hold!(whole == Some(&sum), "the deltas come to {sum:?}");
        }
        _ => {}
    }
    Ok(())
}

/// Anthropic's messages.
pub(super) fn messages(stream: &str, end: End) -> Checked {
    let failed = end.failed;
    let events = events(stream)?;
    let (mut blocks, mut open, mut told, mut ended) = (0_u64, None::<Block>, false, false);
    for (at, (name, data)) in events.iter().enumerate() {
        let event = json(data)?;
        hold!(!ended, "something follows the end: {data}");
        hold!(event["type"] == *name, "the name is the type: {name}");
        hold!((at == 0) == (*name == "message_start") || *name == "error", "begins: {data}");
        match *name {
            "message_start" => {
                let usage = event.pointer("/message/usage/input_tokens");
                hold!(usage.is_some_and(Value::is_u64), "no usage: {data}");
            }
            "content_block_start" => {
                hold!(open.is_none() && !told, "blocks do not overlap: {data}");
                hold!(event["index"] == blocks, "blocks are numbered in order: {data}");
                let kind = text(&event, "/content_block/type").to_owned();
                open = Some(Block { kind, json: String::new(), deltas: 0 });
            }
            "content_block_delta" => {
                let block = open.as_mut().ok_or(format!("no block is open: {data}"))?;
                hold!(event["index"] == blocks, "a delta of another block: {data}");
                block.delta(&event["delta"]).map_err(|why| format!("{why}: {data}"))?;
            }
            "content_block_stop" => {
                let block = open.take().ok_or(format!("no block is open: {data}"))?;
                block.stop().map_err(|why| format!("{why}: {data}"))?;
                blocks += 1;
            }
            "message_delta" => {
                hold!(open.is_none() && !told, "too early, or twice: {data}");
                hold!(event.pointer("/delta/stop_reason").is_some_and(Value::is_string), "{data}");
                told = true;
            }
            "message_stop" => ended = told,
            "error" => ended = true,
            "ping" => {}
            _ => return Err(format!("a strange event: {data}")),
        }
        hold!((*name == "error") <= failed, "an error is told as one, and only an error");
    }
    hold!(ended, "no end: {stream}");
    Ok(())
}

struct Block {
    kind: String,
    json: String,
    deltas: usize,
}

impl Block {
    fn delta(&mut self, delta: &Value) -> Checked {
        let kind = text(delta, "/type");
        let fits = match &*self.kind {
            "text" => matches!(kind, "text_delta" | "citations_delta"),
            "thinking" => matches!(kind, "thinking_delta" | "signature_delta"),
            _ => kind == "input_json_delta",
        };
        hold!(fits, "a {kind} in a block of {}", self.kind);
        hold!(kind != "text_delta" || !text(delta, "/text").is_empty(), "an empty delta");
        self.json.push_str(text(delta, "/partial_json"));
        self.deltas += 1;
        Ok(())
    }

    fn stop(self) -> Checked {
        hold!(self.kind != "text" || self.deltas > 0, "an empty text");
        hold!(self.kind != "thinking" || self.deltas > 0, "thoughts without a signature");
        if self.kind == "tool_use" {
            let input = json(if self.json.is_empty() { "{}" } else { &self.json })?;
            hold!(input.is_object(), "the input is no object");
        }
        Ok(())
    }
}

#[test]
fn faults_are_found() {
    let created = r#"event: response.created
data: {"type":"response.created","sequence_number":0,"response":{"status":"in_progress"}}

"#;
    let well = End { failed: false, usage: false };
    let failed = End { failed: true, usage: false };
    assert!(responses(created, well).is_err());
    assert!(messages("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", well).is_err());
    assert!(chat("data: [DONE]\n\n", well).is_err());
    assert!(chat("data: {\"error\":{\"message\":\"x\"}}\n\n", failed).is_ok());
    assert!(chat("data: {\"error\":{\"message\":\"x\"}}", failed).is_err());
}

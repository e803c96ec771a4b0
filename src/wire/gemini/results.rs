//! Results of tools, found by the calls they answer. Gemini wants as many `functionResponse` parts as there were
//! `functionCall` parts, directly after them; clients send results reversed, split over messages, late or not at
//! all (an interrupted turn). Nothing here knows of turns other than their number.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};

use super::media::{self, Store};
use super::types::{FunctionResponse, Part, Piece};
use crate::conversation::{Ask, Content, Json, Losses, ToolCall, ToolResult};
use crate::ground::fault::Fault;

/// The results of a request that no call has claimed yet.
pub(super) struct Results<'a> {
    by_call: HashMap<&'a str, VecDeque<Place<'a>>>,
    claimed: HashSet<(usize, usize)>,
}

/// A result and where it stood.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) ask: &'a Ask,
    pub(super) turn: usize,
    pub(super) part: usize,
    pub(super) result: &'a ToolResult,
}

/// How results are written for one model.
#[derive(Clone, Copy)]
pub(super) struct Style<'t> {
    pub(super) store: Store<'t>,
    /// Pictures go inside of `functionResponse`.
    pub(super) media_inside: bool,
    /// Calls and results carry their ids.
    pub(super) ids: bool,
}

impl<'a> Results<'a> {
    pub(super) fn of(ask: &'a Ask) -> Self {
        let mut by_call: HashMap<&str, VecDeque<Place<'a>>> = HashMap::new();
        for (turn, said) in ask.turns.iter().enumerate() {
            for (part, content) in said.parts.iter().enumerate() {
                if let Some(result) = content.as_result() {
                    let place = Place { ask, turn, part, result };
                    by_call.entry(&result.call_id).or_default().push_back(place);
                }
            }
        }
        Self { by_call, claimed: HashSet::new() }
    }

    /// The first result after the turn that made the call.
    pub(super) fn claim(&mut self, call: &ToolCall, turn: usize) -> Option<Place<'a>> {
        let waiting = self.by_call.get_mut(call.id.as_str())?;
        let at = waiting.iter().position(|place| place.turn > turn)?;
        let place = waiting.remove(at)?;
        self.claimed.insert((place.turn, place.part));
        Some(place)
    }

    pub(super) fn is_claimed(&self, turn: usize, part: usize) -> bool {
        self.claimed.contains(&(turn, part))
    }
}

/// The `functionResponse` of a call, and the media that must follow all of them.
pub(super) fn response<'a>(
    call: &'a ToolCall,
    place: Option<Place<'a>>,
    style: Style<'_>,
    losses: &mut Losses,
) -> Result<(Piece<'a>, Vec<Piece<'a>>), Fault> {
    let mut inside = Vec::new();
    let mut after = Vec::new();
    let response = match place {
        None => Json::of(&serde_json::json!({ "error": "No result of this call was recorded." })),
        Some(place) => {
            for part in media_of(place, style.store, losses)? {
                if style.media_inside && media::fits_results(&part) {
                    inside.push(part);
                } else {
                    after.push(part.into());
                }
            }
            object(place.result, !inside.is_empty() || !after.is_empty())
        }
    };
    let response = FunctionResponse {
        id: style.ids.then_some(&*call.id),
        name: &call.name,
        response,
        parts: inside,
    };
    Ok((Part { function_response: Some(response), ..Part::default() }.into(), after))
}

/// A result whose call is not in the history, told as text: Gemini refuses it as a `functionResponse`.
pub(super) fn orphan<'a>(
    place: Place<'a>,
    store: Store<'_>,
    losses: &mut Losses,
) -> Result<Vec<Piece<'a>>, Fault> {
    let name = place.result.name.as_deref().unwrap_or("a tool");
    let text = format!("Result of {name}:\n{}", place.result.text());
    let mut pieces = vec![Part::text(text).into()];
    pieces.extend(media_of(place, store, losses)?.into_iter().map(Piece::from));
    Ok(pieces)
}

fn media_of<'a>(
    place: Place<'a>,
    store: Store<'_>,
    losses: &mut Losses,
) -> Result<Vec<Part<'a>>, Fault> {
    let mut parts = Vec::new();
    for part in &place.result.parts {
        let path = || place.ask.part_path(place.turn, place.part);
        match &part.content {
            Content::Media(media) => {
                parts.push(media::part(media, &part.extras, &path(), store)?);
            }
            Content::Text { .. } => {}
            _ => losses.add(path(), "Gemini takes texts and files as results of tools"),
        }
    }
    Ok(parts)
}

/// The answer as an object: one that is JSON already is kept, other text is wrapped as Google's clients do.
fn object(result: &ToolResult, has_media: bool) -> Json {
    let text = result.text();
    if !result.is_error
        && let Some(json) = Json::parse(text.trim())
        && json.is_object()
        && !has_long_number(json.as_str())
    {
        return json;
    }
    let told = match text.as_str() {
        "" if has_media => Cow::Borrowed("See the attached file."),
        _ => Cow::Owned(text),
    };
    let name = if result.is_error { "error" } else { "output" };
    Json::of(&HashMap::from([(name, told)]))
}

/// Numbers become floating-point numbers in Google's `Struct`, so a long id would come to the model changed.
fn has_long_number(json: &str) -> bool {
    let (mut in_string, mut escaped, mut digits) = (false, false, 0u32);
    for byte in json.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else if byte == b'"' {
            in_string = true;
        } else if byte.is_ascii_digit() {
            digits += 1;
            if digits > 15 {
                return true;
            }
        } else {
            digits = 0;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Part as Said;

    #[test]
    fn answers_become_objects() {
        let check = |text: &str, is_error: bool, expected: &str| {
            let parts = vec![Said::text(text)];
            let result = ToolResult { parts, is_error, ..ToolResult::default() };
            assert_eq!(object(&result, false).as_str(), expected);
        };
        check("plain", false, r#"{"output":"plain"}"#);
        check("", false, r#"{"output":""}"#);
        check(" {\"a\": 1.0} ", false, r#"{"a": 1.0}"#);
        check("[1]", false, r#"{"output":"[1]"}"#);
        check("{\"a\":1} x", false, r#"{"output":"{\"a\":1} x"}"#);
        check("{\"a\":1}", true, r#"{"error":"{\"a\":1}"}"#);
        check(r#"{"id":12345678901234567}"#, false, r#"{"output":"{\"id\":12345678901234567}"}"#);
        check(r#"{"id":"\"12345678901234567"}"#, false, r#"{"id":"\"12345678901234567"}"#);
    }
}

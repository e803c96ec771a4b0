//! Responses that outlive their request: going on from one by `previous_response_id`, references to items, and
//! what is asked of a stored one by its id. Where the provider keeps responses itself, only the way back to it
//! is stored here; else the whole is. A response belongs to the key that made it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::Timestamp;
use memchr::memmem;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::admit::Caller;
use super::{Gate, attempt, translated};
use crate::conversation::{Json, Reply};
use crate::ground::fault::{Fault, Kind};
use crate::ground::names::shown;
use crate::journal::responses::{Responses, Stored};
use crate::provider::client::Upstreams;
use crate::provider::{Call, Content};
use crate::wire::codec::{ClientHalf, Echo, Stamp};
use crate::wire::envelope;
use crate::wire::fields::{Fields, elements};
use crate::wire::openai_responses::client::{input_items, missing_call, no_call};

/// Most items of one page of `input_items`.
const MOST_ITEMS: usize = 100;
const TIMEOUT: Duration = Duration::from_secs(60);

/// The thread that a request goes on with, and what is to be kept of it.
pub(super) struct Thread {
    responses: Responses,
    owner: String,
    /// The client wants the response kept (which is the default).
    store: bool,
    previous: Option<String>,
    /// The request's own items, before those of the thread were put in front.
    own: Own,
    /// The deployment that keeps the previous response.
    pub(super) deployment: Option<String>,
    /// The client names a previous response that is not known here: only a provider may know it.
    pub(super) is_unknown: bool,
}

/// The items of a request.
enum Own {
    /// Still in the body: most requests never need them one by one.
    Unread(Bytes),
    Read(Vec<Json>),
}

/// Keeps a response once it is complete.
pub(super) enum Keeper {
    /// The provider keeps it: the way there.
    Way { thread: Thread, deployment: String },
    /// All of it.
    Whole { thread: Thread, client: &'static ClientHalf, echo: Echo, stamp: Stamp },
}

/// Whoever a response belongs to.
pub(super) fn owner(caller: &Caller) -> String {
    match caller {
        Caller::Master => "master".to_owned(),
        Caller::Anyone => String::new(),
        Caller::Key(key) => key.id.clone(),
    }
}

/// Reads what a request says of threads. With a known one, the body comes back with all that was said before
/// in its `input`.
///
/// # Errors
/// `InvalidRequest`: a field has the wrong type, asks for a conversation object, or is a result of a call that
/// was never made; the previous response belongs to another key, or is not whole any more.
pub(super) async fn follow(
    responses: &Responses,
    caller: &Caller,
    body: &Bytes,
) -> Result<(Thread, Option<Bytes>), Fault> {
    let mut fields = Fields::of_bytes(body)
        .ok_or_else(|| Fault::bug("a body that was an object is none any more"))?;
    let mut thread = Thread {
        responses: responses.clone(),
        owner: owner(caller),
        store: fields.boolean("store")?.unwrap_or(true),
        previous: fields.string("previous_response_id")?,
        own: Own::Unread(body.clone()),
        deployment: None,
        is_unknown: false,
    };
    if fields.has("conversation") {
        return Err(Fault::new(
            Kind::Unsupported,
            "Conversation objects are not kept here. Go on with `previous_response_id`, or send the \
             whole input.",
        )
        .with_param("conversation"));
    }
    if thread.previous.is_none() && !fields.take("input").is_some_and(may_refer) {
        return Ok((thread, None));
    }
    let (own, has_references) = thread.refer(own_items(body)).await;
    let before = match &thread.previous {
        None => Vec::new(),
        Some(id) => thread.responses.chain(id, &thread.owner).await,
    };
    if let Some(id) = thread.previous.as_ref().filter(|_| before.is_empty()) {
        // The provider that keeps another key's response knows nothing of our keys.
        if thread.responses.exists(id).await {
            return Err(no_such_previous(gone(id)));
        }
        thread.is_unknown = true;
    }
    thread.deployment = before.last().and_then(|last| last.deployment.clone());
    let is_kept_here = !before.is_empty() && thread.deployment.is_none();
    let expanded = if is_kept_here || has_references {
        let said = before.iter().flat_map(said);
        let input: Vec<Json> = said.chain(own.iter().cloned()).collect();
        // All that was said is known here, so a result of a call that nobody made is a mistake.
        if is_kept_here && let Some(call_id) = missing_call(&input) {
            return Err(Fault::invalid(no_call(&call_id)).with_param("input"));
        }
        Some(with_input(body, &input, is_kept_here))
    } else {
        None
    };
    thread.own = Own::Read(own);
    Ok((thread, expanded))
}

fn own_items(body: &Bytes) -> Vec<Json> {
    // Not the request's own id: the items of its answer are named by that.
    let seed = uuid::Uuid::now_v7().simple().to_string();
    input_items(body, &seed)
}

/// Whether an item of the input may only refer to one that is kept: such an item says so, or says neither its
/// type nor who speaks.
fn may_refer(input: &RawValue) -> bool {
    let has = |item: &RawValue, mark: &str| {
        memmem::find(item.get().as_bytes(), mark.as_bytes()).is_some()
    };
    let items = elements(input, "input").unwrap_or_default();
    items.iter().any(|(_, item)| {
        has(item, "item_reference") || !(has(item, "\"type\"") || has(item, "\"role\""))
    })
}

/// What a stored response adds to a conversation: its request's items and its own.
fn said(stored: &Stored) -> Vec<Json> {
    let mut items: Vec<Json> = serde_json::from_str(&stored.input).unwrap_or_default();
    let mut response = Fields::read(&stored.response).unwrap_or_default();
    items.extend(response.items("output").into_iter().map(Json::of_raw));
    items
}

/// The body with another `input`; without the name of the previous response, where the input has all of it.
fn with_input(body: &Bytes, input: &[Json], is_all: bool) -> Bytes {
    let mut over = Map::new();
    if is_all {
        over.insert("previous_response_id".to_owned(), Value::Null);
    }
    let body = Bytes::from(envelope::overlay(body, &over).concat());
    Bytes::from(envelope::replace(&body, "input", Json::of(&input).as_str()).concat())
}

impl Thread {
    /// Puts the items in place that the client only refers to; whether there were any.
    async fn refer(&self, items: Vec<Json>) -> (Vec<Json>, bool) {
        let mut found_any = false;
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            let reference = item.as_str().contains("item_reference").then(|| {
                let mut fields = Fields::of(item.as_raw())?;
                let is_reference = fields.text("type").as_deref() == Some("item_reference");
                is_reference.then(|| fields.text("id")).flatten()
            });
            let found = match reference.flatten() {
                Some(id) => self.responses.item(&id, &self.owner).await.and_then(Json::parse),
                None => None,
            };
            found_any |= found.is_some();
            out.push(found.unwrap_or(item));
        }
        (out, found_any)
    }

    /// The provider that keeps the previous response is not one of those that the model leads to.
    pub(super) fn kept_elsewhere(&self) -> Fault {
        let shown = shown(self.previous.as_deref().unwrap_or_default());
        no_such_previous(format!(
            "The response '{shown}' is kept by a provider that this model does not lead to any more. Send \
             the whole input instead, or ask the model that it was made with."
        ))
    }

    /// A previous response that nobody here knows cannot be gone on from where the request is translated.
    pub(super) fn check(&self) -> Result<(), Fault> {
        match &self.previous {
            Some(id) if self.is_unknown || self.deployment.is_some() => {
                Err(no_such_previous(gone(id)))
            }
            _ => Ok(()),
        }
    }

    /// The response names the one that it goes on from, which an expanded body does not.
    pub(super) fn note_previous(&self, echo: &mut Echo) {
        let name = "previous_response_id";
        if let Some(id) = self.previous.as_ref().filter(|_| echo.get(name).is_none()) {
            echo.fields.push((name.to_owned(), Json::of(id)));
        }
    }

    /// The client wants the response kept.
    pub(super) fn store(&self) -> bool {
        self.store
    }

    /// Only the way to the response will be kept: what was asked is no longer needed.
    pub(super) fn forget_items(&mut self) {
        self.own = Own::Read(Vec::new());
    }

    fn keep_way(self, response_id: &str, deployment: String) {
        self.responses.put(Stored {
            response_id: response_id.to_owned(),
            owner: self.owner,
            created_us: Timestamp::now().as_microsecond(),
            deployment: Some(deployment),
            previous: self.previous.filter(|_| !self.is_unknown),
            ..Stored::default()
        });
    }

    fn keep_whole(self, response: String) {
        let input = match self.own {
            Own::Unread(body) => own_items(&body),
            Own::Read(items) => items,
        };
        let mut fields = Fields::read(&response).unwrap_or_default();
        let id = fields.text("id").unwrap_or_default();
        let output = fields.items("output").into_iter().map(Json::of_raw);
        let items = input.iter().cloned().chain(output).filter_map(|item| {
            let id = Fields::of(item.as_raw())?.text("id")?;
            Some((id, item.as_str().to_owned()))
        });
        self.responses.put(Stored {
            response_id: id,
            owner: self.owner,
            created_us: Timestamp::now().as_microsecond(),
            deployment: None,
            previous: self.previous,
            items: items.collect(),
            input: Json::of(&input).as_str().to_owned(),
            response,
        });
    }
}

impl Keeper {
    /// The response is complete. `response_id` is what the provider called it, `reply` all of it, where it was
    /// translated.
    pub(super) fn keep(self, response_id: Option<&str>, reply: Option<&Reply>) {
        match (self, response_id, reply) {
            (Self::Way { thread, deployment }, Some(id), _) => thread.keep_way(id, deployment),
            (Self::Whole { thread, client, echo, stamp }, _, Some(reply)) => {
                let response = (client.reply)(reply, &echo, &stamp).ok();
                if let Some(response) = response.and_then(|bytes| String::from_utf8(bytes).ok()) {
                    thread.keep_whole(response);
                }
            }
            _ => {}
        }
    }
}

/// What can be asked of a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Retrieve,
    Delete,
    Cancel,
    InputItems,
}

impl Gate {
    /// Answers a question about a stored response; status and JSON body.
    ///
    /// # Errors
    /// No such response of this key; what the provider that keeps it says.
    pub async fn stored_response(
        &self,
        question: Question,
        id: &str,
        query: Option<&str>,
        headers: &HeaderMap,
        upstreams: &Upstreams,
    ) -> Result<Bytes, Fault> {
        let live = self.live();
        let caller = self.identify(&live, headers)?;
        if question == Question::Retrieve && pairs(query).any(|pair| pair == ("stream", "true")) {
            let message = "A stored response is not streamed again. Leave `stream` out.";
            return Err(Fault::new(Kind::Unsupported, message).with_param("stream"));
        }
        let owner = owner(&caller);
        let mut chain = self.responses.chain(id, &owner).await;
        let stored = chain.pop().ok_or_else(|| not_found(id))?;
        if let Some(deployment) = &stored.deployment {
            let mut all = live.snapshot.models.deployments();
            let deployment =
                all.find(|known| known.id == *deployment).ok_or_else(|| not_found(id))?;
            let (method, suffix) = match question {
                Question::Retrieve => (Method::GET, ""),
                Question::Delete => (Method::DELETE, ""),
                Question::Cancel => (Method::POST, "/cancel"),
                Question::InputItems => (Method::GET, "/input_items"),
            };
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            let call = Call {
                method,
                path: format!("/responses/{id}{suffix}{query}").into(),
                is_native: false,
                model: deployment.model.as_str(),
                headers: translated::typed(translated::JSON),
                body: Content::Pieces(Vec::new()),
                timeout: TIMEOUT,
            };
            let answer = attempt::fetch(upstreams, deployment, call, translated::MAX_REPLY).await?;
            if question == Question::Delete {
                self.responses.delete(id, &owner).await;
            }
            return Ok(answer);
        }
        match question {
            Question::Retrieve => Ok(Bytes::from(stored.response)),
            Question::Delete => {
                self.responses.delete(id, &owner).await;
                let gone = json!({ "id": id, "object": "response", "deleted": true });
                Ok(Bytes::from(gone.to_string()))
            }
            Question::Cancel => Err(Fault::invalid(
                "Only responses made with `background: true` can be cancelled, and this one was not.",
            )),
            Question::InputItems => {
                let items: Vec<Json> = chain
                    .iter()
                    .flat_map(said)
                    .chain(serde_json::from_str::<Vec<Json>>(&stored.input).unwrap_or_default())
                    .collect();
                page(items, query)
            }
        }
    }
}

/// One page of items (<https://platform.openai.com/docs/api-reference/responses/input-items>): the newest
/// first, unless `order=asc`.
fn page(mut items: Vec<Json>, query: Option<&str>) -> Result<Bytes, Fault> {
    let (mut limit, mut after) = (20, None);
    let mut descending = true;
    for (name, value) in pairs(query) {
        match name {
            "limit" => {
                limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=MOST_ITEMS).contains(limit))
                    .ok_or_else(|| {
                        wrong_query("limit", "`limit` must be a number from 1 to 100.")
                    })?;
            }
            "order" => {
                descending = match value {
                    "asc" => false,
                    "desc" => true,
                    _ => return Err(wrong_query("order", "`order` must be `asc` or `desc`.")),
                }
            }
            "after" => after = Some(value),
            _ => {}
        }
    }
    let id = |item: &Json| Fields::of(item.as_raw()).and_then(|mut fields| fields.text("id"));
    if descending {
        items.reverse();
    }
    if let Some(after) = after {
        let at = items.iter().position(|item| id(item).as_deref() == Some(after));
        let at = at.ok_or_else(|| wrong_query("after", "`after` must be the id of an item here."));
        items.drain(..=at?);
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    let (first, last) = (items.first().and_then(id), items.last().and_then(id));
    let head =
        json!({ "object": "list", "first_id": first, "last_id": last, "has_more": has_more });
    let body = Bytes::from(head.to_string());
    Ok(Bytes::from(envelope::replace(&body, "data", Json::of(&items).as_str()).concat()))
}

fn pairs(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='))
}

fn wrong_query(name: &'static str, message: &'static str) -> Fault {
    Fault::invalid(message).with_param(name)
}

/// OpenAI's words for a response that is not there.
fn not_found(id: &str) -> Fault {
    Fault::new(Kind::ResponseNotFound, gone(id))
}

/// The same for one that a request wants to go on from.
fn no_such_previous(message: String) -> Fault {
    let mut fault = Fault::invalid(message).with_param("previous_response_id");
    fault.details_mut().code = Some("previous_response_not_found".to_owned());
    fault
}

fn gone(id: &str) -> String {
    format!(
        "Response with id '{}' not found. It was not stored, has expired, or belongs to another key. \
         Send the whole input instead.",
        shown(id)
    )
}

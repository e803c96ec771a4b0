//! Uploads: a multipart form on its way to a provider, never in memory as a whole. Its beginning is
//! held until the model is known and authorised; the rest flows, and is still watched, so that a second
//! `model` further on cannot be smuggled past.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body::Body;

use super::admit::Caller;
use super::attempt::{self, Miss};
use super::begin::{Begun, Expected};
use super::endpoint::Endpoint;
use super::held::{Held, Replay};
use super::record::Record;
use super::route::Candidate;
use super::{Live, body, scope};
use crate::ground::fault::{Fault, Kind};
use crate::provider::client::{ClientBodyBroken, Upstreams};
use crate::provider::{Call, Content};
use crate::wire::multipart::{Follower, ModelPart};

/// An upload as it arrives.
pub(super) struct Form<'r, B> {
    pub(super) endpoint: &'static Endpoint,
    pub(super) headers: &'r HeaderMap,
    /// Taken once its model may be used; until then it can still be refused.
    pub(super) body: &'r mut Option<B>,
}

/// Reads as much as it takes to know the model, then passes everything on.
pub(super) async fn pass_on<B>(
    live: &Live,
    form: Form<'_, B>,
    caller: &Caller,
    upstreams: &Upstreams,
    record: &mut Record,
) -> Result<Begun, Fault>
where
    B: Body<Data = Bytes, Error: Error + Send + 'static> + Send + Unpin + 'static,
{
    let Form { endpoint, headers, body } = form;
    let twice = || Fault::bug("a body was read twice");
    let incoming = body.as_mut().ok_or_else(twice)?;
    let content_type = body::check_form(headers)?;
    let most = live.snapshot.limits.max_upload;
    let declared = incoming.size_hint();
    if declared.lower() > most {
        return Err(too_large(most));
    }
    let mut watch = Watch {
        follower: Follower::new(content_type.to_str().unwrap_or_default())?,
        passed: 0,
        most,
    };
    let mut held = Held::default();
    let model = loop {
        if let Some(model) = watch.follower.model() {
            break model.clone();
        }
        let Some(bytes) = body::next(incoming).await? else { return Err(no_model()) };
        watch.see(&bytes)?;
        held.push(bytes).await?;
    };
    record.note_model(&model.value, false, None);
    let candidates = scope(live, caller, &model.value)?.plan(live, None);
    let length = declared.exact();
    let mut upload = Upload {
        endpoint,
        content_type: content_type.clone(),
        headers,
        model,
        length,
        upstreams,
        held: Some(held),
        rest: Some((body.take().ok_or_else(twice)?, watch)),
        refused: Arc::default(),
    };
    let begun = attempt::run(live, &mut upload, &candidates, record).await;
    record.note_received(length.unwrap_or_default());
    // The provider saw a body that broke off; the reason is ours to tell.
    let refused = upload.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
    match refused {
        Some(fault) => Err(fault),
        None => begun,
    }
}

/// One upload on its way; it can be sent once.
struct Upload<'r, B> {
    endpoint: &'static Endpoint,
    content_type: HeaderValue,
    headers: &'r HeaderMap,
    model: ModelPart,
    length: Option<u64>,
    upstreams: &'r Upstreams,
    held: Option<Held>,
    rest: Option<(B, Watch)>,
    /// Why the rest was refused on its way.
    refused: Arc<Mutex<Option<Fault>>>,
}

impl<B> attempt::Try for Upload<'_, B>
where
    B: Body<Data = Bytes, Error: Error + Send + 'static> + Send + Unpin + 'static,
{
    fn can_repeat(&self) -> bool {
        self.held.is_some()
    }

    async fn once(
        &mut self,
        live: &Live,
        candidate: &Candidate,
        record: &mut Record,
    ) -> Result<Begun, Miss> {
        let deployment = &candidate.deployment;
        if deployment.provider.is_mock() || deployment.mock_response.is_some() {
            return Err(Miss::refusal(Fault::new(
                Kind::Unsupported,
                "The mock model takes no uploads. Send this to a model of a real provider.",
            )));
        }
        let (Some(held), Some((body, watch))) = (self.held.take(), self.rest.take()) else {
            return Err(Miss::refusal(Fault::bug("an upload was sent twice")));
        };
        let mut headers = attempt::forwarded(self.headers, self.content_type.clone());
        let model = &candidate.model;
        if let Some(length) = self.length {
            let replaced = self.model.at.end - self.model.at.start;
            headers.insert(header::CONTENT_LENGTH, (length - replaced + model.len() as u64).into());
        }
        let replay = held.replay(self.model.at.clone(), model).await.map_err(|error| {
            tracing::error!(%error, "a held upload could not be read back");
            Miss::refusal(Fault::bug("a held upload could not be read back"))
        })?;
        let flow = Flow { replay, body, watch, refused: self.refused.clone() };
        let stream = futures_util::stream::try_unfold(flow, Flow::next);
        let timeout = deployment.timeout.unwrap_or(live.snapshot.routing.timeout);
        let body = Content::Flow(reqwest::Body::wrap_stream(stream));
        let call = Call {
            method: Method::POST,
            path: self.endpoint.path.into(),
            is_native: false,
            model,
            headers,
            body,
            timeout,
        };
        let expected = Expected { family: self.endpoint.family, stream: false };
        attempt::call_verbatim(live, self.upstreams, deployment, call, expected, record).await
    }
}

/// The upload as the provider gets it.
struct Flow<B> {
    replay: Replay,
    body: B,
    watch: Watch,
    refused: Arc<Mutex<Option<Fault>>>,
}

impl<B> Flow<B>
where
    B: Body<Data = Bytes, Error: Error + Send + 'static> + Send + Unpin + 'static,
{
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, ClientBodyBroken> {
        match self.replay.next().await {
            Ok(Some(piece)) => return Ok(Some((piece, self))),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "a held upload could not be read back");
                return Err(self.refuse(Fault::bug("a held upload could not be read back")));
            }
        }
        let outcome = body::next(&mut self.body).await;
        match outcome.and_then(|bytes| {
            if let Some(bytes) = &bytes {
                self.watch.see(bytes)?;
            }
            Ok(bytes)
        }) {
            Ok(bytes) => Ok(bytes.map(|bytes| (bytes, self))),
            Err(fault) => Err(self.refuse(fault)),
        }
    }

    fn refuse(&self, fault: Fault) -> ClientBodyBroken {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
        ClientBodyBroken
    }
}

/// What every byte of an upload is checked for.
struct Watch {
    follower: Follower,
    passed: u64,
    most: u64,
}

impl Watch {
    fn see(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.passed += bytes.len() as u64;
        if self.passed > self.most {
            return Err(too_large(self.most));
        }
        self.follower.push(bytes)
    }
}

fn too_large(most: u64) -> Fault {
    body::too_large(usize::try_from(most).unwrap_or(usize::MAX))
}

fn no_model() -> Fault {
    Fault::invalid("You must provide the form field `model`: one of the ids of GET /v1/models.")
        .with_param("model")
}

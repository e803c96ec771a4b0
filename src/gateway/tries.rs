//! One JSON request tried at one deployment, by the lane that leads there: its own format, another one, the
//! mock, a count. What comes of it is an answer that has begun, or a miss; whether another deployment is
//! tried is decided in `attempt`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};

use super::attempt::{Miss, Try, call_verbatim, forwarded, send};
use super::begin::{Begun, Expected, begin};
use super::lane::{self, Lane};
use super::record::Record;
use super::responses::{Keeper, Thread};
use super::route::Candidate;
use super::{Asked, Live, hub, translated};
use crate::config::snapshot::Deployment;
use crate::conversation::{Format, estimate};
use crate::ground::fault::Fault;
use crate::provider::{self, Call, Reply, mock};
use crate::wire::codec::{ClientHalf, Outbound, Stamp};
use crate::wire::{drop_params, embeddings, envelope, rerank};

impl Try for Asked<'_> {
    fn can_repeat(&self) -> bool {
        true
    }

    async fn once(
        &mut self,
        live: &Live,
        candidate: &Candidate,
        record: &mut Record,
    ) -> Result<Begun, Miss> {
        let deployment = &candidate.deployment;
        let health = live.ward.get(&deployment.id);
        let is_chat_only = health.is_some_and(|health| health.is_chat_only());
        let lane = lane::choose(self, deployment, &candidate.model, is_chat_only);
        record.note_lane(lane.as_str());
        let outcome = self.by(lane, live, candidate, record).await;
        if let Some(client) = lane::without_count(self, deployment, &outcome) {
            record.note_lane("count");
            return self.counted(client);
        }
        let Some(client) = lane::without_responses(self, deployment, lane, &outcome) else {
            return outcome;
        };
        record.note_lane("hub");
        let bridged = self.translated(live, candidate, client, Format::OpenAiChat, record).await;
        // What else is below `/responses` may be missing alone; and a model may be, which is no path.
        if let Some(health) = health.filter(|_| bridged.is_ok() && self.endpoint.stores) {
            health.remember_chat_only();
        }
        bridged
    }
}

impl Asked<'_> {
    async fn by(
        &mut self,
        lane: Lane,
        live: &Live,
        candidate: &Candidate,
        record: &mut Record,
    ) -> Result<Begun, Miss> {
        let deployment = &candidate.deployment;
        match lane {
            Lane::Mock => self.mocked(deployment, record).await,
            Lane::Verbatim => self.verbatim(live, candidate, record).await,
            Lane::Hub { client, format } => {
                self.translated(live, candidate, client, format, record).await
            }
            Lane::Embeddings(format) => {
                let write = |body: &[u8]| embeddings::request(format, body, &candidate.model);
                let written = write(&self.body).map_err(Miss::refusal)?;
                let (outbound, base64) = written;
                let read =
                    move |body: &[u8], model: &str| embeddings::reply(format, body, model, base64);
                self.converted(live, candidate, outbound, read, record).await
            }
            Lane::Rerank(dialect) => {
                let written = rerank::request(dialect, &self.body, &candidate.model);
                let (outbound, asked) = written.map_err(Miss::refusal)?;
                let read =
                    move |body: &[u8], model: &str| rerank::reply(dialect, body, model, &asked);
                self.converted(live, candidate, outbound, read, record).await
            }
            Lane::Count { client } => self.counted(client),
        }
    }

    /// Tidegate's own model, in the client's format.
    async fn mocked(&self, deployment: &Deployment, record: &Record) -> Result<Begun, Miss> {
        let reply = self.mock_reply(deployment, self.endpoint.path, &self.body, record)?;
        begin(reply, Duration::MAX, Duration::MAX, self.expected()).await
    }

    fn mock_reply(
        &self,
        deployment: &Deployment,
        path: &str,
        body: &Bytes,
        record: &Record,
    ) -> Result<Reply, Miss> {
        let canned = self.mock(deployment).flatten();
        let stamp = mock::Stamp {
            id: record.id().simple().to_string(),
            created: jiff::Timestamp::now().as_second(),
        };
        mock::answer(path, body, &self.envelope.model, canned, stamp).map_err(Miss::of_fault)
    }

    fn expected(&self) -> Expected {
        Expected { family: self.endpoint.family, stream: self.envelope.stream }
    }

    /// The client's bytes, with a few words replaced.
    async fn verbatim(
        &mut self,
        live: &Live,
        candidate: &Candidate,
        record: &mut Record,
    ) -> Result<Begun, Miss> {
        let deployment = &candidate.deployment;
        let ask_for_usage =
            self.envelope.stream && self.endpoint.stream_usage && deployment.provider.stream_usage;
        let extra = &deployment.extra_body;
        let pieces = self.envelope.rewrite(&self.body, &candidate.model, ask_for_usage, extra);
        let dropped = &deployment.options.additional_drop_params;
        let pieces = if dropped.is_empty() {
            pieces
        } else {
            vec![Bytes::from(drop_params::without(&pieces.concat(), dropped).into_owned())]
        };
        let is_native = self.endpoint.client().is_some_and(|client| is_native(client.format));
        let mut headers = forwarded(self.headers, HeaderValue::from_static("application/json"));
        if is_native {
            forward_anthropic(self.headers, &mut headers);
        }
        let call = Call {
            method: Method::POST,
            path: self.endpoint.path.into(),
            is_native,
            model: &candidate.model,
            headers,
            body: provider::Content::Pieces(pieces),
            timeout: self.timeout(live, deployment),
        };
        let expected = self.expected();
        let mut begun =
            call_verbatim(live, self.upstreams, deployment, call, expected, record).await?;
        if let Some(mut thread) = self.take_thread() {
            thread.forget_items();
            let deployment = deployment.id.clone();
            begun.keeper = Some(Box::new(Keeper::Way { thread, deployment }));
        }
        Ok(begun)
    }

    /// The thread, where this request's answer is to be kept in it.
    fn take_thread(&mut self) -> Option<Thread> {
        self.thread.take_if(|thread| thread.store()).filter(|_| self.endpoint.stores)
    }

    /// The request in another format, and the answer back.
    async fn translated(
        &mut self,
        live: &Live,
        candidate: &Candidate,
        client: &'static ClientHalf,
        format: Format,
        record: &mut Record,
    ) -> Result<Begun, Miss> {
        let deployment = &candidate.deployment;
        if let Some(thread) = &self.thread {
            thread.check().map_err(Miss::refusal)?;
        }
        let seed = record.id().simple().to_string();
        let mut written =
            hub::write(self, client, format, candidate, &seed).map_err(Miss::refusal)?;
        record.note_losses(&written.losses);
        let timeout = self.timeout(live, deployment);
        let began = Instant::now();
        let reply = if self.mock(deployment).is_some() {
            let body = Bytes::from(written.body.concat());
            self.mock_reply(deployment, &written.path, &body, record)?
        } else {
            let mut headers = forwarded(self.headers, HeaderValue::from_static("application/json"));
            if format == client.format && format == Format::Anthropic {
                forward_anthropic(self.headers, &mut headers);
            }
            written.add_headers(&mut headers)?;
            let call = Call {
                method: Method::POST,
                path: written.path.as_str().into(),
                is_native: is_native(format),
                model: &candidate.model,
                headers,
                body: provider::Content::Pieces(written.body.clone()),
                timeout,
            };
            let sent = send(self.upstreams, deployment, call, record).await;
            sent.map_err(|miss| miss.in_other_words(client.format == format))?
        };
        let stamp = Stamp {
            id: seed,
            created: jiff::Timestamp::now().as_second(),
            model: self.envelope.model.clone(),
        };
        if let Some(thread) = &self.thread {
            thread.note_previous(&mut written.echo);
        }
        let keep = self.endpoint.stores && self.thread.as_ref().is_some_and(Thread::store);
        let kept_echo = keep.then(|| written.echo.clone());
        let shape = translated::Shape {
            client,
            stamp: stamp.clone(),
            deployment,
            stream: self.envelope.stream,
            keep,
        };
        let patience = translated::Patience {
            timeout: timeout.saturating_sub(began.elapsed()),
            ping_interval: live.snapshot.limits.ping_interval,
        };
        let mut begun = match self.served.toolset {
            Some(_) => translated::begin_round(reply, written, shape, patience).await?,
            None => translated::begin(reply, written, shape, patience).await?,
        };
        if let (Some(thread), Some(echo)) = (self.take_thread(), kept_echo) {
            begun.keeper = Some(Box::new(Keeper::Whole { thread, client, echo, stamp }));
        }
        Ok(begun)
    }

    /// A request that has one answer, in a provider's own words, and the answer back.
    async fn converted(
        &mut self,
        live: &Live,
        candidate: &Candidate,
        outbound: Outbound,
        read: impl Fn(&[u8], &str) -> Result<Vec<u8>, Fault>,
        record: &mut Record,
    ) -> Result<Begun, Miss> {
        let deployment = &candidate.deployment;
        let timeout = self.timeout(live, deployment);
        let body = Bytes::from(outbound.body);
        let call = Call {
            method: Method::POST,
            path: outbound.path.into(),
            is_native: true,
            model: &candidate.model,
            headers: forwarded(self.headers, HeaderValue::from_static("application/json")),
            body: provider::Content::Pieces(envelope::overlay(&body, &deployment.extra_body)),
            timeout,
        };
        let reply = send(self.upstreams, deployment, call, record)
            .await
            .map_err(|miss| miss.in_other_words(false))?;
        translated::convert(reply, timeout, |body| read(body, &self.envelope.model)).await
    }

    /// Tokens are counted here, by a rule of thumb: the provider has no endpoint for it.
    fn counted(&mut self, client: &'static ClientHalf) -> Result<Begun, Miss> {
        let (ask, _) = (client.request)(&self.body).map_err(Miss::refusal)?;
        Ok(translated::counted(client, estimate::estimate_tokens(&ask)))
    }

    fn timeout(&self, live: &Live, deployment: &Deployment) -> Duration {
        let routing = &live.snapshot.routing;
        if self.envelope.stream {
            deployment.stream_timeout.or(deployment.timeout).unwrap_or(routing.stream_timeout)
        } else {
            deployment.timeout.unwrap_or(routing.timeout)
        }
    }
}

/// Whether a format's paths are the provider's own, not OpenAI's beside them.
fn is_native(format: Format) -> bool {
    !matches!(format, Format::OpenAiChat | Format::OpenAiResponses)
}

/// What an Anthropic client says of versions and betas, for an Anthropic provider.
fn forward_anthropic(from: &HeaderMap, to: &mut HeaderMap) {
    for name in ["anthropic-version", "anthropic-beta"] {
        for value in from.get_all(name) {
            to.append(name, value.clone());
        }
    }
}

//! Asking a model again, with what its tools answered: the same request to the same candidates, with turns behind it. It owns
//! what a request otherwise borrows, since the client's connection may be waiting elsewhere meanwhile.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use super::begin::Content;
use super::endpoint::Endpoint;
use super::record::Record;
use super::route::Candidate;
use super::tools::{Pending, Served, Toolset};
use super::translated::Round;
use super::{Asked, Live, attempt};
use crate::conversation::Turn;
use crate::ground::fault::Fault;
use crate::provider::client::Upstreams;
use crate::wire::envelope::Envelope;

/// Everything that a round is asked with.
pub(super) struct Rounds {
    pub(super) live: Arc<Live>,
    pub(super) endpoint: &'static Endpoint,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) upstreams: Upstreams,
    pub(super) candidates: Vec<Candidate>,
    pub(super) pending: Arc<Pending>,
    pub(super) owner: String,
    /// Of later rounds; no row of its own.
    pub(super) record: Record,
}

impl Rounds {
    /// The next round.
    ///
    /// # Errors
    /// No candidate answers.
    pub(super) async fn next(&mut self, set: &Toolset, turns: &[Turn]) -> Result<Round, Fault> {
        let served = Served {
            toolset: Some(set),
            turns,
            pending: &self.pending,
            owner: &self.owner,
            headers: &self.headers,
        };
        let mut asked = Asked {
            endpoint: self.endpoint,
            headers: &self.headers,
            envelope: Envelope::read(&self.body)?,
            body: self.body.clone(),
            upstreams: &self.upstreams,
            needs_hub: true,
            thread: None,
            served,
        };
        self.record.notes().begin_round();
        let begun = attempt::run(&self.live, &mut asked, &self.candidates, &mut self.record);
        match Box::pin(begun).await?.content {
            Content::Round(round) => Ok(*round),
            Content::Whole(_) | Content::Flowing { .. } => {
                Err(Fault::bug("a later round of tools did not begin as one"))
            }
        }
    }
}

//! An answer being translated as it comes: frames of the provider become events, events get their names
//! back, and become the client's stream. It is fed bytes and hands out bytes; waiting is the relay's.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::config::snapshot::Deployment;
use crate::conversation::stand_in::Restorer;
use crate::conversation::think::Think;
use crate::conversation::{Event, Fold, Reply};
use crate::ground::fault::{Fault, Kind};
use crate::wire::codec::{Decode, Encode, Frame};
use crate::wire::framing::Frames;
use crate::wire::tap::Tap;

/// One answer on its way from one format to another.
pub(super) struct Translation {
    frames: Frames,
    decoder: Box<dyn Decode>,
    restorer: Restorer,
    think: Option<Think>,
    encoder: Box<dyn Encode>,
    events: Vec<Event>,
    restored: Vec<Event>,
    merged: Vec<Event>,
    out: Vec<u8>,
    /// The whole answer, where somebody wants to keep it.
    fold: Option<Fold>,
    /// The provider failed inside its stream.
    failed: Option<Fault>,
    /// Who answers: its secrets are no part of what it says.
    deployment: Arc<Deployment>,
    /// Something of the answer itself has come, or its end.
    has_begun: bool,
}

impl Translation {
    pub(super) fn new(
        frames: Frames,
        decoder: Box<dyn Decode>,
        restorer: Restorer,
        think: Option<Think>,
        encoder: Box<dyn Encode>,
        deployment: Arc<Deployment>,
        keep: bool,
    ) -> Self {
        Self {
            frames,
            decoder,
            restorer,
            think,
            encoder,
            events: Vec::new(),
            restored: Vec::new(),
            merged: Vec::new(),
            out: Vec::new(),
            fold: keep.then(Fold::default),
            failed: None,
            deployment,
            has_begun: false,
        }
    }

    /// Takes the next bytes of the provider.
    ///
    /// # Errors
    /// The stream cannot be read any further.
    pub(super) fn push(&mut self, bytes: Bytes, tap: &mut Tap) -> Result<(), Fault> {
        let Self { frames, decoder, events, .. } = self;
        let decode = |frame: Frame<'_>| decoder.frame(frame, events);
        let read = frames.push(bytes, decode);
        self.pass(tap);
        read.map_err(|unreadable| Fault::new(Kind::UpstreamGarbage, unreadable.0))
    }

    /// The provider's connection ended properly: what is owed is written, or an error where the answer is
    /// not complete.
    pub(super) fn end(&mut self, tap: &mut Tap) {
        let Self { frames, decoder, events, .. } = self;
        frames.end(|frame| decoder.frame(frame, events));
        decoder.end(events);
        self.pass(tap);
        self.encoder.end(Timestamp::now().as_second(), &mut self.out);
    }

    /// A reply that came whole is told as a stream.
    pub(super) fn tell(&mut self, reply: Reply, tap: &mut Tap) {
        self.events.extend(reply.into_events());
        self.pass(tap);
        self.encoder.end(Timestamp::now().as_second(), &mut self.out);
    }

    /// The answer cannot be completed.
    pub(super) fn fail(&mut self, fault: &Fault) {
        if self.failed.is_none() {
            self.failed = Some(fault.clone());
            self.encoder.event(Event::Fail(fault.clone()), &mut self.out);
        }
    }

    pub(super) fn failed(&self) -> Option<&Fault> {
        self.failed.as_ref()
    }

    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The provider's own last frame has passed.
    pub(super) fn is_terminated(&self) -> bool {
        self.failed.is_some() || self.decoder.is_terminated()
    }

    /// Something to keep a silent stream alive.
    pub(super) fn ping(&mut self) {
        self.encoder.ping(&mut self.out);
    }

    /// What is ready for the client.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        (!self.out.is_empty()).then(|| Bytes::from(std::mem::take(&mut self.out)))
    }

    /// The whole answer, where it was to be kept and came to its end.
    pub(super) fn kept(&mut self) -> Option<Reply> {
        self.fold.take()?.finish().ok()
    }

    fn pass(&mut self, tap: &mut Tap) {
        for event in self.events.drain(..) {
            self.restorer.restore(event, &mut self.restored);
        }
        let ready = match &mut self.think {
            None => &mut self.restored,
            Some(think) => {
                self.restored.drain(..).for_each(|event| think.event(event, &mut self.merged));
                &mut self.merged
            }
        };
        for mut event in ready.drain(..) {
            if self.failed.is_some() {
                continue;
            }
            if let Event::Fail(fault) = &mut event {
                fault.strike(&self.deployment.secrets());
            }
            tap.observe(&event);
            self.has_begun |= !matches!(event, Event::Begin(_) | Event::Usage(_));
            if let Event::Fail(fault) = &event {
                self.failed = Some(fault.clone());
            }
            if let Some(fold) = &mut self.fold {
                fold.push(event.clone());
            }
            self.encoder.event(event, &mut self.out);
        }
    }
}

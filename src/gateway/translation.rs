//! An answer being translated as it comes: frames of the provider become events, events get their names
//! back, and become the client's stream. It is fed bytes, or events, and hands out bytes; waiting is the relay's.

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

/// A provider's answer being read: bytes become events with the client's own names.
pub(super) struct Reading {
    pub(super) frames: Frames,
    pub(super) decoder: Box<dyn Decode>,
    pub(super) restorer: Restorer,
    pub(super) think: Option<Think>,
    /// Who answers: its secrets are no part of what it says.
    pub(super) deployment: Arc<Deployment>,
}

impl Reading {
    /// Takes the next bytes of the provider.
    ///
    /// # Errors
    /// The stream cannot be read any further; what came before it has been added.
    pub(super) fn push(&mut self, bytes: Bytes, out: &mut Vec<Event>) -> Result<(), Fault> {
        let (mut events, decoder) = (Vec::new(), &mut self.decoder);
        let read = self.frames.push(bytes, |frame: Frame<'_>| decoder.frame(frame, &mut events));
        self.restore(events, out);
        read.map_err(|unreadable| Fault::new(Kind::UpstreamGarbage, unreadable.0))
    }

    /// The provider's connection ended properly: what is owed is told, or that the answer is not complete.
    pub(super) fn end(&mut self, out: &mut Vec<Event>) {
        let (mut events, decoder) = (Vec::new(), &mut self.decoder);
        self.frames.end(|frame| decoder.frame(frame, &mut events));
        self.decoder.end(&mut events);
        self.restore(events, out);
    }

    /// A reply that came whole, as the events that it would have been.
    pub(super) fn tell(&mut self, reply: Reply, out: &mut Vec<Event>) {
        self.restore(reply.into_events(), out);
    }

    /// The provider's own last frame has passed.
    pub(super) fn is_terminated(&self) -> bool {
        self.decoder.is_terminated()
    }

    fn restore(&mut self, events: Vec<Event>, out: &mut Vec<Event>) {
        let first = out.len();
        match &mut self.think {
            None => events.into_iter().for_each(|event| self.restorer.restore(event, out)),
            Some(think) => {
                let mut restored = Vec::with_capacity(events.len());
                events.into_iter().for_each(|it| self.restorer.restore(it, &mut restored));
                restored.into_iter().for_each(|event| think.event(event, out));
            }
        }
        for event in out.iter_mut().skip(first) {
            if let Event::Fail(fault) = event {
                fault.strike(&self.deployment.secrets());
            }
        }
    }
}

/// One answer on its way from one format to another.
pub(super) struct Translation {
    /// Absent where events come from elsewhere.
    reading: Option<Reading>,
    encoder: Box<dyn Encode>,
    events: Vec<Event>,
    out: Vec<u8>,
    /// The whole answer, where somebody wants to keep it.
    fold: Option<Fold>,
    /// The provider failed inside its stream.
    failed: Option<Fault>,
    /// Something of the answer itself has come, or its end.
    has_begun: bool,
}

impl Translation {
    pub(super) fn new(reading: Option<Reading>, encoder: Box<dyn Encode>, keep: bool) -> Self {
        Self {
            reading,
            encoder,
            events: Vec::new(),
            out: Vec::new(),
            fold: keep.then(Fold::default),
            failed: None,
            has_begun: false,
        }
    }

    /// Takes the next bytes of the provider.
    ///
    /// # Errors
    /// The stream cannot be read any further.
    pub(super) fn push(&mut self, bytes: Bytes, tap: &mut Tap) -> Result<(), Fault> {
        let Some(reading) = &mut self.reading else { return Ok(()) };
        let read = reading.push(bytes, &mut self.events);
        self.pass(tap);
        read
    }

    /// Takes events that were read elsewhere.
    pub(super) fn hear(&mut self, events: impl IntoIterator<Item = Event>, tap: &mut Tap) {
        self.events.extend(events);
        self.pass(tap);
    }

    /// The provider's connection ended properly: what is owed is written, or an error where the answer is
    /// not complete.
    pub(super) fn end(&mut self, tap: &mut Tap) {
        if let Some(reading) = &mut self.reading {
            reading.end(&mut self.events);
        }
        self.pass(tap);
        self.encoder.end(Timestamp::now().as_second(), &mut self.out);
    }

    /// A reply that came whole is told as a stream.
    pub(super) fn tell(&mut self, reply: Reply, tap: &mut Tap) {
        if let Some(reading) = &mut self.reading {
            reading.tell(reply, &mut self.events);
        }
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
        self.failed.is_some() || self.reading.as_ref().is_some_and(Reading::is_terminated)
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
            if self.failed.is_some() {
                continue;
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

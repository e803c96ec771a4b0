//! What the formats themselves cost, without sockets: a request read, mended, fitted to the provider and
//! written; its answer read and written; a stream translated chunk by chunk; each as the gateway's hub lane
//! does it, for each pair of formats, beside what the verbatim lane does with the same bytes. CPU time of the
//! one thread, so a busy neighbour counts little.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Map;
use tidegate::conversation::stand_in::{self, Names};
use tidegate::conversation::{Event, Format, Losses, repair};
use tidegate::ground::fault::Fault;
use tidegate::wire::catalogue::{self, Provider};
use tidegate::wire::codec::{
    ClientHalf, Echo, Frame, Options, Outbound, ProviderHalf, ReplyContext, Stamp, Target,
};
use tidegate::wire::envelope::Envelope;
use tidegate::wire::formats;
use tidegate::wire::framing::Frames;
use tidegate::wire::sse::Cutter;
use tidegate::wire::tap::{Family, Tap};

use crate::Outcome;
use crate::answers::{self, CHUNKS, PROVIDERS};
use crate::conversation::{self, CLIENTS};

/// How long one measurement takes; the shortest that makes a clock's own cost vanish.
const BATCH: Duration = Duration::from_millis(15);

/// What is measured of a pair.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Work {
    /// A 16 KiB request, in microseconds.
    Request,
    /// A session of Codex of 40 KiB; only for clients of responses.
    Codex,
    /// An answer of 2 KiB.
    Reply,
    /// One chunk of a stream.
    Chunk,
}

impl Work {
    pub(crate) const ALL: [Self; 4] = [Self::Request, Self::Codex, Self::Reply, Self::Chunk];
}

/// Both lanes between a client and a provider.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Lane {
    Verbatim,
    Hub(Format),
}

impl Lane {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let hub = PROVIDERS.iter().map(|(format, _)| Self::Hub(*format));
        std::iter::once(Self::Verbatim).chain(hub)
    }
}

/// Does one kind of work over and over, for a profiler.
pub(crate) fn repeat(client: Format, lane: Lane, work: Work, times: usize) -> Outcome<()> {
    let pair = Pair::new(client, lane)?;
    for _ in 0..times {
        pair.once(work)?;
    }
    Ok(())
}

/// CPU time of one piece of work, in microseconds; `None` where a pair has no such work.
pub(crate) fn cost(client: Format, lane: Lane, work: Work) -> Outcome<Option<f64>> {
    if work == Work::Codex && client != Format::OpenAiResponses {
        return Ok(None);
    }
    let pair = Pair::new(client, lane)?;
    pair.once(work)?;
    let mut times = 1;
    loop {
        let before = cpu();
        for _ in 0..times {
            pair.once(work)?;
        }
        let taken = cpu() - before;
        if taken >= BATCH {
            let pieces = if work == Work::Chunk { times * CHUNKS } else { times };
            return Ok(Some(taken.as_secs_f64() * 1e6 / pieces as f64));
        }
        times *= 2;
    }
}

/// CPU time of this thread so far.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// One lane with its requests and answers.
struct Pair {
    lane: Lane,
    client: &'static ClientHalf,
    provider: &'static Provider,
    options: Options,
    info: Map<String, serde_json::Value>,
    agent: Bytes,
    codex: Bytes,
    whole: Bytes,
    frames: Vec<Bytes>,
    /// What is remembered of the agent's request, to shape its answer by.
    echo: Echo,
    names: Names,
}

impl Pair {
    fn new(client: Format, lane: Lane) -> Outcome<Self> {
        let format = match lane {
            Lane::Verbatim => client,
            Lane::Hub(format) => format,
        };
        let client = match client {
            Format::OpenAiResponses => &formats::RESPONSES,
            Format::Anthropic => &formats::MESSAGES,
            _ => &formats::CHAT,
        };
        let (_, prefix) =
            PROVIDERS.iter().find(|(known, _)| *known == format).ok_or("no prefix")?;
        let found = catalogue::find(&format!("{prefix}/model"), true).map(|(provider, _)| provider);
        let mut pair = Self {
            lane,
            client,
            provider: found.ok_or("no such provider")?,
            options: Options::default(),
            info: Map::new(),
            agent: conversation::agent(client.format, "bench", true).into(),
            codex: conversation::codex("bench", true).into(),
            whole: answers::whole(format),
            frames: answers::stream(format),
            echo: Echo::default(),
            names: Names::default(),
        };
        if let Lane::Hub(format) = lane {
            let (_, echo, names) = pair.sent(format, &pair.agent)?;
            (pair.echo, pair.names) = (echo, names);
        }
        Ok(pair)
    }

    fn once(&self, work: Work) -> Outcome<()> {
        match (self.lane, work) {
            (Lane::Verbatim, Work::Request) => self.spliced(&self.agent),
            (Lane::Verbatim, Work::Codex) => self.spliced(&self.codex),
            (Lane::Verbatim, Work::Reply) => {
                black_box(Tap::new(self.family()).reply(black_box(&self.whole)));
                Ok(())
            }
            (Lane::Verbatim, Work::Chunk) => self.tapped(),
            (Lane::Hub(format), Work::Request) => self.sent(format, &self.agent).map(drop),
            (Lane::Hub(format), Work::Codex) => self.sent(format, &self.codex).map(drop),
            (Lane::Hub(format), Work::Reply) => self.replied(format),
            (Lane::Hub(format), Work::Chunk) => self.streamed(format),
        }
    }

    fn family(&self) -> Family {
        match self.client.format {
            Format::OpenAiResponses => Family::Responses,
            Format::Anthropic => Family::Messages,
            _ => Family::Chat,
        }
    }

    /// The verbatim lane: the body is scanned once and its model replaced.
    fn spliced(&self, body: &Bytes) -> Outcome<()> {
        let envelope = Envelope::read(black_box(body)).map_err(told)?;
        black_box(envelope.rewrite(body, "upstream", false, &self.info));
        Ok(())
    }

    fn tapped(&self) -> Outcome<()> {
        let (mut cutter, mut tap) = (Cutter::default(), Tap::new(self.family()));
        for frame in &self.frames {
            let whole = cutter.push(frame.clone(), |event| !tap.event(event).usage_only);
            black_box(whole.map_err(|_| "an event that is too long")?);
        }
        Ok(())
    }

    /// As `gateway::hub` writes a request.
    fn sent(&self, format: Format, body: &Bytes) -> Outcome<(Outbound, Echo, Names)> {
        let half = provider(format)?;
        let (mut ask, echo) = (self.client.request)(black_box(body)).map_err(told)?;
        let model = answers::model(format);
        let target = Target {
            model,
            provider: self.provider,
            base: "http://127.0.0.1:9/v1",
            info: &self.info,
            options: &self.options,
            stream: ask.stream,
        };
        let mut losses = Losses::default();
        repair::pair_results(&mut ask);
        let abilities = formats::abilities(format, &target);
        let names = stand_in::stand_in(&mut ask, &abilities, &mut losses);
        let outbound = (half.request)(&ask, &target, &mut losses).map_err(told)?;
        Ok(black_box((outbound, echo, names)))
    }

    fn replied(&self, format: Format) -> Outcome<()> {
        let mut context = ReplyContext { model: "upstream".to_owned(), ..ReplyContext::default() };
        let mut reply =
            (provider(format)?.reply)(black_box(&self.whole), &mut context).map_err(told)?;
        self.names.restore_reply(&mut reply);
        let body = (self.client.reply)(&reply, &self.echo, &stamp()).map_err(told)?;
        black_box(body);
        Ok(())
    }

    /// As `gateway::translation` passes a stream on, every chunk by itself.
    fn streamed(&self, format: Format) -> Outcome<()> {
        let half = provider(format)?;
        let context = ReplyContext { model: "upstream".to_owned(), ..ReplyContext::default() };
        let mut decoder = (half.stream)(context);
        let mut restorer = self.names.restorer();
        let mut encoder = (self.client.stream)(self.echo.clone(), stamp());
        let mut frames = Frames::new(half.framing);
        let mut tap = Tap::new(Family::Other);
        let (mut events, mut restored, mut out) = (Vec::new(), Vec::new(), Vec::new());
        let mut failed = false;
        for bytes in &self.frames {
            let decode = |frame: Frame<'_>| decoder.frame(frame, &mut events);
            frames.push(black_box(bytes.clone()), decode).map_err(|unreadable| unreadable.0)?;
            events.drain(..).for_each(|event| restorer.restore(event, &mut restored));
            for event in restored.drain(..) {
                tap.observe(&event);
                failed |= matches!(event, Event::Fail(_));
                encoder.event(event, &mut out);
            }
            black_box(Bytes::from(std::mem::take(&mut out)));
        }
        decoder.end(&mut events);
        for event in events.drain(..) {
            failed |= matches!(event, Event::Fail(_));
            encoder.event(event, &mut out);
        }
        encoder.end(0, &mut out);
        black_box(out);
        if failed { Err("a stream that failed".into()) } else { Ok(()) }
    }
}

fn provider(format: Format) -> Outcome<&'static ProviderHalf> {
    formats::provider(format).ok_or_else(|| "a format without a half".into())
}

fn stamp() -> Stamp {
    Stamp {
        id: "0199a3b2c1d47e58901f2a3b4c5d6e7f".to_owned(),
        created: 1_763_683_200,
        model: "bench".to_owned(),
    }
}

fn told(fault: Fault) -> Box<dyn std::error::Error + Send + Sync> {
    fault.message.into_owned().into()
}

/// The client formats that are measured.
pub(crate) fn clients() -> impl Iterator<Item = Format> {
    CLIENTS.iter().map(|(format, _)| *format)
}

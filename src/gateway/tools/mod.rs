//! Tools that run inside an answer: a client that knows nothing of MCP gets the tools of MCP servers, and the gateway runs
//! what the model calls of them, round after round, until the model has said all. `wanted` reads what a request asks for
//! (`connector` in Anthropic's words),
//! `toolset` is what it gets, `overload` what stands for tools of which there are too many, `apply` puts it into a request,
//! `drive` is the loop, `calls` are those of one turn, `run` makes one of them, `pending` keeps answers that clients
//! know only in part, `kept` is one of them. How any surface tells of it is known below, in `wire`.

mod apply;
mod calls;
mod connector;
mod decisions;
mod drive;
mod kept;
mod overload;
mod pending;
mod run;
mod toolset;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub(super) use self::apply::{Served, apply};
pub(super) use self::drive::Run;
pub(super) use self::pending::Pending;
pub(super) use self::toolset::Toolset;
pub(super) use self::wanted::named_servers;
use super::admit::Caller;
use super::begin::{Begun, Content};
use super::endpoint::Endpoint;
use super::record::Record;
use super::relay::Flow;
use super::translated::{self, Round};
use super::translation::Translation;
use crate::config::snapshot::Snapshot;
use crate::conversation::{Event, Fold};
use crate::ground::fault::Fault;
use crate::mcp::Mcp;
use crate::provider::ReplyBody;
use crate::wire::codec::ClientHalf;
use crate::wire::tap::{Family, Tap};

/// Events that may wait for a client that does not read.
const MAX_WAITING: usize = 256;

/// What a loop may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Budget {
    pub(super) rounds: u32,
    pub(super) calls: u32,
    pub(super) time: Duration,
    /// Of all rounds together.
    pub(super) tokens: Option<u64>,
}

/// Everything that a request with the gateway's tools is asked with.
pub(super) struct Asking<'a> {
    pub(super) mcp: &'a Arc<Mcp>,
    pub(super) snapshot: &'a Arc<Snapshot>,
    pub(super) caller: &'a Caller,
    pub(super) endpoint: &'static Endpoint,
    pub(super) headers: &'a http::HeaderMap,
    pub(super) body: &'a [u8],
    pub(super) pending: &'a Pending,
    /// Whom what is kept belongs to.
    pub(super) owner: &'a str,
    pub(super) record: &'a mut Record,
}

/// The gateway's tools that a request gets; `None` where it asks for none.
///
/// # Errors
/// It names a server that the key may not use, or a block of tools is wrong.
pub(super) async fn gather(asking: Asking<'_>) -> Result<Option<Toolset>, Fault> {
    let Some(client) = asking.endpoint.runs_tools() else { return Ok(None) };
    let wanted = wanted::read(client, &asking)?;
    if wanted.sources.is_empty() {
        return Ok(None);
    }
    Toolset::of(client, asking, wanted).await.map(Some)
}

/// Goes on from the first round: whole, or as a stream that a task of its own feeds.
pub(super) async fn begin(
    client: &'static ClientHalf,
    stream: bool,
    mut begun: Begun,
    run: impl FnOnce(Round, mpsc::Sender<Event>) -> Run,
) -> Result<Begun, Fault> {
    let content = std::mem::replace(&mut begun.content, Content::Whole(Default::default()));
    let Content::Round(round) = content else {
        return Err(Fault::bug("a round of tools did not begin as one"));
    };
    let (echo, stamp, keep) = (round.echo.clone(), round.stamp.clone(), round.keep);
    let (told, mut heard) = mpsc::channel(MAX_WAITING);
    let running = run(*round, told).drive();
    if stream {
        let translation = Translation::new(None, (client.stream)(echo, stamp), keep);
        // The task ends with its client: nobody hears it then.
        tokio::spawn(running);
        let flow = Flow::Told(Box::new(translation), heard);
        let rest = ReplyBody::Local(Default::default());
        begun.content = Content::Flowing { first: Default::default(), rest, flow };
        begun.headers = translated::typed(translated::EVENTS);
        return Ok(begun);
    }
    let folding = async {
        let mut fold = Fold::default();
        while let Some(event) = heard.recv().await {
            fold.push(event);
        }
        fold.finish()
    };
    let ((), reply) = tokio::join!(running, folding);
    let reply = reply?;
    let mut tap = Tap::new(Family::Other);
    tap.observe_reply(&reply);
    let body = (client.reply)(&reply, &echo, &stamp)?;
    begun.kept = keep.then(|| Box::new(reply));
    begun.content = Content::Whole(body.into());
    begun.tap = tap;
    Ok(begun)
}

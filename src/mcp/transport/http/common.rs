//! The common stream of a session: what the server says beside any request. Never more than one; opened again behind
//! the last event when it ends, ever later where that brings nothing; done without where the server has none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::{Shared, is_open, is_passing};
use crate::mcp::transport::answer;
use crate::mcp::transport::client;
use crate::mcp::transport::events::{Ended, Events};
use crate::mcp::transport::{Failure, FailureKind, Incoming, MAX_MESSAGE};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What a server may ask for.
const RETRIES: [Duration; 2] = [Duration::from_millis(100), Duration::from_mins(10)];
/// A stream that lived this long is no failed attempt.
const STEADY: Duration = Duration::from_secs(30);

/// Where the stream stands.
#[derive(Default)]
struct Place {
    last: Option<HeaderValue>,
    retry: Option<Duration>,
    /// Attempts in a row that brought nothing.
    failed: u32,
}

/// Why the stream is not opened again.
enum Over {
    /// The server has none, or will not give it, or nobody listens.
    Without,
    Closed(Failure),
}

/// Keeps the stream until the task is aborted, the session is over or the server has none.
pub(super) async fn listen(shared: Arc<Shared>) {
    let mut place = Place::default();
    loop {
        match once(&shared, &mut place).await {
            Ok(()) => tokio::time::sleep(place.pause()).await,
            Err(Over::Without) => return,
            Err(Over::Closed(failure)) => {
                let _nobody_listens = shared.incoming.send(Incoming::Closed(failure)).await;
                return;
            }
        }
    }
}

/// One connection, from its opening to its end.
async fn once(shared: &Shared, place: &mut Place) -> Result<(), Over> {
    let opened = shared.get(place.last.as_ref()).await;
    place.failed = place.failed.saturating_add(1);
    let mut reply = match opened {
        Ok(reply) => reply,
        // A redirect that may not be followed.
        Err(failure) if failure.kind == FailureKind::Garbage => return Err(Over::Without),
        Err(_) => return Ok(()),
    };
    let status = reply.response.status();
    if is_open(&reply) {
        return read(shared, place, Events::new(reply.response, MAX_MESSAGE)).await;
    }
    if status.is_success() || is_passing(status) {
        return if status.is_success() { Err(Over::Without) } else { Ok(()) };
    }
    let body = client::read_error(&mut reply.response).await.unwrap_or_default();
    let failure = shared.refused(status, reply.response.headers(), &body);
    if failure.kind == FailureKind::SessionExpired {
        return Err(Over::Closed(failure));
    }
    if place.last.take().is_some() {
        // The event may be forgotten, and the stream itself still there.
        return Ok(());
    }
    tracing::debug!(%failure, "an MCP server gives no common stream");
    Err(Over::Without)
}

async fn read(shared: &Shared, place: &mut Place, mut events: Events) -> Result<(), Over> {
    let opened = Instant::now();
    loop {
        let event = match events.next().await {
            Ok(event) => event,
            Err(Ended::Properly | Ended::Broken) => break,
            Err(Ended::TooLong) => {
                let text = format!("{} sent a message that is too long", shared.site.origin());
                return Err(Over::Closed(Failure::new(FailureKind::Garbage, text)));
            }
        };
        // An id or a pause alone counts, too: the server means to be asked again.
        place.failed = 0;
        let is_message = event.is_message();
        place.last = event.id.or(place.last.take());
        place.retry = event.retry.or(place.retry);
        let Some(data) = event.data.filter(|_| is_message) else { continue };
        for text in answer::messages(data) {
            let message = Incoming::Message { of: None, text };
            shared.incoming.send(message).await.map_err(|_| Over::Without)?;
        }
    }
    if opened.elapsed() >= STEADY {
        place.failed = 0;
    }
    Ok(())
}

impl Place {
    /// What the server asks for, or longer where the attempts bring nothing. Spread, so that the clients of a server that
    /// came back do not all come at once.
    fn pause(&self) -> Duration {
        let own = FIRST_PAUSE * 2_u32.pow(self.failed.min(5));
        let own = own.min(LONGEST_PAUSE).mul_f64(0.75 + fastrand::f64() / 4.0);
        let [shortest, longest] = RETRIES;
        match self.retry.map(|asked| asked.clamp(shortest, longest)) {
            Some(asked) if self.failed == 0 => asked,
            Some(asked) => asked.max(own),
            None => own,
        }
    }
}

//! A whole answer, read. It knows nothing of streams.

use super::super::super::codec::{ReplyContext, garbage};
use super::super::super::fields::Fields;
use super::{error, output};
use crate::conversation::{Choice, Reply};
use crate::ground::fault::Fault;

/// Reads a whole answer.
///
/// # Errors
/// What the provider reports in a body with status 200; `UpstreamGarbage` for what is no answer.
pub(super) fn read(body: &[u8], context: &mut ReplyContext) -> Result<Reply, Fault> {
    let mut response = Fields::of_bytes(body)
        .ok_or_else(|| garbage("The provider's answer is not one JSON object."))?;
    // A few servers put the response into an envelope.
    if !response.has("output")
        && let Some(inner) = response.inner("response")
    {
        response = inner;
    }
    if let Some(told) = response.inner("error") {
        return Err(error::read(told));
    }
    let status = response.text("status");
    match status.as_deref() {
        Some("failed" | "cancelled") => return Err(error::unexplained()),
        Some("queued" | "in_progress") => {
            return Err(garbage("The provider's answer is not complete, and it was not streamed."));
        }
        _ if !response.has("output") => {
            return Err(garbage("The provider's answer holds no output."));
        }
        _ => {}
    }
    let searches = output::searches(&response);
    let usage = output::usage(&mut response, searches);
    let mut choice = Choice::default();
    for raw in response.items("output") {
        if let Some(item) = output::item(raw) {
            choice.parts.extend(output::parts(item, &mut context.ids));
        }
    }
    let finish = output::finish(&mut response, status.as_deref() == Some("incomplete"));
    choice.finish = Some(finish.with_calls(choice.has_calls()));
    Ok(Reply { head: output::head(&mut response), choices: vec![choice], usage })
}

//! Reading a client's body: bounded in bytes and in time, refused early where its length is declared. What
//! is refused is read to its end (within reason) and thrown away, because a client that is still sending
//! does not read the refusal.

use std::error::Error;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::Body;
use http_body_util::BodyExt;

use super::load::Room;
use crate::ground::fault::{Fault, Kind};

/// Longest silence of a client that has a body to send.
pub(super) const IDLE: Duration = Duration::from_secs(30);
/// Longest time a JSON body may take as a whole.
const WHOLE: Duration = Duration::from_secs(300);
/// How much of a refused body is read and thrown away, and for how long.
const DISCARD_BYTES: u64 = 128 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(10);
const DISCARD_IDLE: Duration = Duration::from_secs(1);
const MAX_PREALLOCATED: usize = 1024 * 1024;

/// Checks that the headers announce a JSON body the gateway can read.
///
/// # Errors
/// `UnsupportedMedia` for another content type, or for a compressed body.
pub fn check_json(headers: &HeaderMap) -> Result<(), Fault> {
    check_encoding(headers)?;
    let Some(kind) = content_type(headers) else { return Ok(()) };
    if kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        return Ok(());
    }
    Err(Fault::new(
        Kind::UnsupportedMedia,
        format!(
            "The content-type `{kind}` is not supported here. Send `content-type: application/json`."
        ),
    ))
}

/// Checks that the headers announce a form; gives the whole content type.
///
/// # Errors
/// `UnsupportedMedia` for anything else.
pub(super) fn check_form(headers: &HeaderMap) -> Result<&HeaderValue, Fault> {
    check_encoding(headers)?;
    let whole = headers.get(header::CONTENT_TYPE);
    if content_type(headers).as_deref() == Some("multipart/form-data")
        && let Some(whole) = whole
    {
        return Ok(whole);
    }
    Err(Fault::new(
        Kind::UnsupportedMedia,
        "This endpoint takes a file upload. Send `content-type: multipart/form-data`.",
    ))
}

/// Reads the whole body.
///
/// # Errors
/// `TooLarge` over `most` bytes, `RequestTimeout` for a body that does not come, `ClientClosed` for
/// one that breaks off, `Overloaded` when all bodies together would take too much memory.
pub async fn read<B>(body: &mut B, most: usize, room: &mut Room) -> Result<Bytes, Fault>
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    let declared = body.size_hint();
    if declared.lower() > most as u64 {
        return Err(too_large(most));
    }
    room.grow_to(usize::try_from(declared.lower()).unwrap_or(most))?;
    match tokio::time::timeout(WHOLE, collect(body, most, room)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(too_large(most)),
        Ok(Err(fault)) => Err(fault),
        Err(_) => Err(too_slow()),
    }
}

/// The bytes; `None` when there are more than `most`.
async fn collect<B>(body: &mut B, most: usize, room: &mut Room) -> Result<Option<Bytes>, Fault>
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    let Some(first) = next(body).await? else { return Ok(Some(Bytes::new())) };
    if body.is_end_stream() {
        return Ok((first.len() <= most).then_some(first));
    }
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(MAX_PREALLOCATED);
    let mut whole = BytesMut::with_capacity(first.len() + expected);
    whole.extend_from_slice(&first);
    while let Some(bytes) = next(body).await? {
        if whole.len() + bytes.len() > most {
            return Ok(None);
        }
        room.grow_to(whole.len() + bytes.len())?;
        whole.extend_from_slice(&bytes);
    }
    Ok(Some(whole.freeze()))
}

/// The next bytes of a client's body; `None` at its end.
///
/// # Errors
/// `RequestTimeout` after [`IDLE`], `ClientClosed` when the body breaks off.
pub(super) async fn next<B>(body: &mut B) -> Result<Option<Bytes>, Fault>
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    loop {
        match tokio::time::timeout(IDLE, body.frame()).await {
            Err(_) => return Err(too_slow()),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(broken(&error)),
            Ok(Some(Ok(frame))) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

/// Reads what is left and forgets it, so that the client gets to read the answer; says whether the end
/// was reached. A client that waits to be asked for its body (`expect: 100-continue`) is not asked.
pub async fn discard<B>(headers: &HeaderMap, mut body: B) -> bool
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    if body.is_end_stream() {
        return true;
    }
    if headers.contains_key(header::EXPECT) || body.size_hint().lower() > DISCARD_BYTES {
        return false;
    }
    let all = async {
        let mut left = DISCARD_BYTES;
        loop {
            match tokio::time::timeout(DISCARD_IDLE, body.frame()).await {
                Ok(None) => return true,
                Ok(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                    left = left.saturating_sub(bytes);
                    if left == 0 {
                        return false;
                    }
                }
                Ok(Some(Err(_))) | Err(_) => return false,
            }
        }
    };
    tokio::time::timeout(DISCARD_TIME, all).await.unwrap_or(false)
}

/// A body that ended before its end, or whose chunks are not chunks.
fn broken(error: &(dyn Error + 'static)) -> Fault {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if matches!(kind, Some(ErrorKind::InvalidInput | ErrorKind::InvalidData)) {
            return Fault::invalid("The request body's chunked transfer encoding is malformed.");
        }
        cause = error.source();
    }
    Fault::new(Kind::ClientClosed, "The request body broke off before its end.")
}

pub(super) fn too_large(most: usize) -> Fault {
    Fault::new(
        Kind::TooLarge,
        format!(
            "The request body is larger than {} MiB, the most this gateway takes.",
            most / (1024 * 1024)
        ),
    )
}

fn too_slow() -> Fault {
    Fault::new(
        Kind::RequestTimeout,
        "The request body did not come in time. Send it without pauses of 30 seconds or more.",
    )
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?;
    let text = String::from_utf8_lossy(value.as_bytes());
    let kind = text.split(';').next().unwrap_or_default().trim();
    (!kind.is_empty()).then(|| kind.to_ascii_lowercase())
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Fault> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(Fault::new(
                Kind::UnsupportedMedia,
                "Compressed request bodies are not supported. Send it without content-encoding.",
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(kind: &'static str) -> Option<u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        check_json(&headers).err().map(|fault| fault.status())
    }

    #[test]
    fn only_json_is_read_as_json() {
        assert_eq!(status("application/json"), None);
        assert_eq!(status("Application/JSON; charset=utf-8"), None);
        assert_eq!(status("application/vnd.x+json"), None);
        assert_eq!(status("text/plain"), Some(415));
        assert_eq!(status("application/x-www-form-urlencoded"), Some(415));
        assert!(check_json(&HeaderMap::new()).is_ok());
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(check_json(&headers).map_err(|fault| fault.status()), Err(415));
    }
}

//! `application/vnd.amazon.eventstream`: messages with headers and a payload, each guarded by two checksums
//! (<https://smithy.io/2.0/aws/amazon-eventstream.html>). Here they are cut out of a byte stream, wherever
//! the network cut it. What a message says is not known here.

use bytes::{Bytes, BytesMut};

use crate::wire::codec::Frame;
use crate::wire::framing::Unreadable;
use crate::wire::sse::MAX_EVENT;

/// The name of the frame that an unmodelled error becomes; its data is `{"code":…,"message":…}`.
pub const ERROR: &str = "error";

/// A stream of messages being cut.
#[derive(Debug, Default)]
pub struct Messages {
    /// The beginning of a message whose end has not come yet.
    partial: BytesMut,
}

impl Messages {
    /// Takes the next bytes and shows each message that is now whole: its name is its `:event-type` or
    /// `:exception-type`, its data the payload.
    ///
    /// # Errors
    /// A message is longer than 16 MiB, its lengths contradict each other, or a checksum does not fit.
    pub fn push(
        &mut self,
        bytes: Bytes,
        mut each: impl FnMut(Frame<'_>),
    ) -> Result<(), Unreadable> {
        self.partial.extend_from_slice(&bytes);
        while let Some(prelude) = Prelude::read(&self.partial)? {
            if self.partial.len() < prelude.total {
                break;
            }
            let message = self.partial.split_to(prelude.total);
            show(&message, prelude, &mut each)?;
        }
        Ok(())
    }
}

const DAMAGED: Unreadable = Unreadable("The provider's event stream is damaged.");
const TOO_LONG: Unreadable = Unreadable("The provider sent one event of more than 16 MiB.");

/// Two lengths and their checksum.
const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

#[derive(Clone, Copy)]
struct Prelude {
    /// Length of the whole message, prelude and last checksum included.
    total: usize,
    headers: usize,
}

impl Prelude {
    /// `None` where it is not whole yet.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Unreadable> {
        let Some(prelude) = bytes.get(..PRELUDE) else { return Ok(None) };
        let mut reader = Reader(prelude);
        let (total, headers) = (reader.length()?, reader.length()?);
        if reader.number()? != checksum(prelude, PRELUDE - CHECKSUM) {
            return Err(DAMAGED);
        }
        if total > MAX_EVENT {
            return Err(TOO_LONG);
        }
        let payload =
            total.checked_sub(PRELUDE + CHECKSUM).and_then(|rest| rest.checked_sub(headers));
        payload.map(|_| Some(Self { total, headers })).ok_or(DAMAGED)
    }
}

/// Checks a whole message and shows it.
fn show(
    message: &[u8],
    prelude: Prelude,
    each: &mut impl FnMut(Frame<'_>),
) -> Result<(), Unreadable> {
    let end = message.len().saturating_sub(CHECKSUM);
    let mut reader = Reader(message);
    reader.take(PRELUDE)?;
    let headers = Headers::read(reader.take(prelude.headers)?)?;
    let data = reader.take(end.saturating_sub(PRELUDE + prelude.headers))?;
    if reader.number()? != checksum(message, end) {
        return Err(DAMAGED);
    }
    match headers {
        Headers { kind: Some("error"), code, message, .. } => {
            let error = serde_json::json!({ "code": code, "message": message });
            each(Frame { name: ERROR, data: error.to_string().as_bytes() });
        }
        Headers { name, .. } => each(Frame { name: name.unwrap_or_default(), data }),
    }
    Ok(())
}

fn checksum(bytes: &[u8], end: usize) -> u32 {
    crc32fast::hash(bytes.get(..end).unwrap_or_default())
}

/// The headers that say what a message is.
#[derive(Default)]
struct Headers<'m> {
    /// `event`, `exception` or `error`.
    kind: Option<&'m str>,
    name: Option<&'m str>,
    code: Option<&'m str>,
    message: Option<&'m str>,
}

impl<'m> Headers<'m> {
    fn read(bytes: &'m [u8]) -> Result<Self, Unreadable> {
        let mut reader = Reader(bytes);
        let mut headers = Self::default();
        while !reader.0.is_empty() {
            let length = reader.byte()?;
            let name = reader.take(usize::from(length))?;
            let Some(text) = reader.value()? else { continue };
            match name {
                b":message-type" => headers.kind = Some(text),
                b":event-type" | b":exception-type" => headers.name = Some(text),
                b":error-code" => headers.code = Some(text),
                b":error-message" => headers.message = Some(text),
                _ => {}
            }
        }
        Ok(headers)
    }
}

struct Reader<'m>(&'m [u8]);

impl<'m> Reader<'m> {
    fn take(&mut self, length: usize) -> Result<&'m [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(DAMAGED)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Unreadable> {
        self.take(1)?.first().copied().ok_or(DAMAGED)
    }

    fn number(&mut self) -> Result<u32, Unreadable> {
        let bytes = self.take(4)?.try_into().map_err(|_| DAMAGED)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn length(&mut self) -> Result<usize, Unreadable> {
        usize::try_from(self.number()?).map_err(|_| TOO_LONG)
    }

    /// A header's value; only strings are of interest.
    fn value(&mut self) -> Result<Option<&'m str>, Unreadable> {
        let kind = self.byte()?;
        let length = match kind {
            // True and false.
            0 | 1 => 0,
            2 => 1,
            3 => 2,
            4 => 4,
            // 64 bits, and a timestamp.
            5 | 8 => 8,
            // Bytes, and a string.
            6 | 7 => usize::from(self.byte()?) << 8 | usize::from(self.byte()?),
            // A UUID.
            9 => 16,
            _ => return Err(DAMAGED),
        };
        let value = self.take(length)?;
        if kind == 7 { std::str::from_utf8(value).map(Some).map_err(|_| DAMAGED) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with string headers.
    fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut head = Vec::new();
        for (name, value) in headers {
            head.push(u8::try_from(name.len()).expect("short"));
            head.extend_from_slice(name.as_bytes());
            head.push(7);
            head.extend_from_slice(&u16::try_from(value.len()).expect("short").to_be_bytes());
            head.extend_from_slice(value.as_bytes());
        }
        let total = u32::try_from(16 + head.len() + payload.len()).expect("short");
        let mut out = total.to_be_bytes().to_vec();
        out.extend_from_slice(&u32::try_from(head.len()).expect("short").to_be_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(payload);
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out
    }

    fn cut(chunks: &[&[u8]]) -> Result<Vec<(String, String)>, Unreadable> {
        let (mut messages, mut seen) = (Messages::default(), Vec::new());
        for chunk in chunks {
            messages.push(Bytes::copy_from_slice(chunk), |frame| {
                let data = String::from_utf8_lossy(frame.data).into_owned();
                seen.push((frame.name.to_owned(), data));
            })?;
        }
        Ok(seen)
    }

    fn sample() -> Vec<u8> {
        let event = [(":message-type", "event"), (":event-type", "messageStart")];
        let exception =
            [(":exception-type", "throttlingException"), (":message-type", "exception")];
        let error =
            [(":message-type", "error"), (":error-code", "Internal"), (":error-message", "oh")];
        [
            message(&event, "{\"p\":\"é\"}".as_bytes()),
            message(&exception, b"{}"),
            message(&error, b""),
            message(&[], b""),
        ]
        .concat()
    }

    #[test]
    fn cuts_change_nothing() {
        let sample = sample();
        let whole = cut(&[&sample]).expect("undamaged");
        assert_eq!(whole[0], ("messageStart".into(), "{\"p\":\"é\"}".into()));
        assert_eq!(whole[1].0, "throttlingException");
        assert_eq!(whole[2], (ERROR.into(), r#"{"code":"Internal","message":"oh"}"#.into()));
        assert_eq!(whole[3], (String::new(), String::new()));
        for at in 0..sample.len() {
            assert_eq!(cut(&[&sample[..at], &sample[at..]]).expect("undamaged"), whole);
        }
        let bytes: Vec<&[u8]> = sample.chunks(1).collect();
        assert_eq!(cut(&bytes).expect("undamaged"), whole);
    }

    #[test]
    fn damage_is_noticed_at_every_byte() {
        let one = message(&[(":event-type", "messageStop")], b"{\"stopReason\":\"end_turn\"}");
        for at in 0..one.len() {
            let mut damaged = one.clone();
            damaged[at] ^= 1;
            // A length that grew is noticed by its checksum, before the rest is waited for.
            assert!(cut(&[&damaged]).is_err(), "byte {at}");
        }
    }

    #[test]
    fn what_is_too_long_is_not_waited_for() {
        let mut prelude = (MAX_EVENT as u32 + 1).to_be_bytes().to_vec();
        prelude.extend_from_slice(&[0; 4]);
        prelude.extend_from_slice(&crc32fast::hash(&prelude).to_be_bytes());
        assert_eq!(cut(&[&prelude]), Err(TOO_LONG));
    }

    #[test]
    fn every_kind_of_header_is_passed_over() {
        let mut head = Vec::new();
        let values: [(u8, &[u8]); 10] = [
            (0, b""),
            (1, b""),
            (2, b"1"),
            (3, b"12"),
            (4, b"1234"),
            (5, b"12345678"),
            (6, b"\0\x02ab"),
            (7, b"\0\x01c"),
            (8, b"12345678"),
            (9, b"0123456789abcdef"),
        ];
        for (kind, value) in values {
            head.extend_from_slice(&[1, b'x', kind]);
            head.extend_from_slice(value);
        }
        assert!(Headers::read(&head).is_ok_and(|headers| headers.name.is_none()));
        assert!(Headers::read(&[1, b'x', 10]).is_err());
        assert!(Headers::read(&[9, b'x']).is_err());
    }
}

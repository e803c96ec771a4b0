//! Server-sent events as bytes: cutting a stream into whole events without changing one byte of it,
//! and reading the `data` of one event. Line ends are LF, CR or CRLF and nothing else
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>).

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

/// The longest event that is waited for; a longer one is a fault of the provider.
pub const MAX_EVENT: usize = 16 * 1024 * 1024;

/// The event did not end within [`MAX_EVENT`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Cuts a byte stream into events, wherever the network cut it.
#[derive(Debug, Default)]
pub struct Cutter {
    /// The beginning of an event whose end has not come yet.
    partial: BytesMut,
    scan: Scan,
}

impl Cutter {
    /// Takes the next bytes and shows each event that is now whole (its blank line included) to
    /// `keep`. The kept ones are returned, neighbours joined, without a copy where the network
    /// delivered whole events.
    ///
    /// # Errors
    /// [`TooLong`] when an event passes its bound; what was held is dropped.
    pub fn push(
        &mut self,
        chunk: Bytes,
        mut keep: impl FnMut(&[u8]) -> bool,
    ) -> Result<Vec<Bytes>, TooLong> {
        let (buffer, mut next) = if self.partial.is_empty() {
            self.scan.at = 0;
            let next = self.scan.next_end(&chunk);
            (chunk, next)
        } else {
            self.partial.extend_from_slice(&chunk);
            let next = self.scan.next_end(&self.partial);
            if next.is_none() {
                return self.bounded(Vec::new());
            }
            (self.partial.split().freeze(), next)
        };
        let mut out = Vec::with_capacity(1);
        let (mut run, mut start) = (0, 0);
        while let Some(end) = next {
            if !keep(buffer.get(start..end).unwrap_or_default()) {
                if run < start {
                    out.push(buffer.slice(run..start));
                }
                run = end;
            }
            start = end;
            next = self.scan.next_end(&buffer);
        }
        if run < start {
            out.push(buffer.slice(run..start));
        }
        self.partial.extend_from_slice(buffer.get(start..).unwrap_or_default());
        self.scan.at = self.partial.len();
        self.bounded(out)
    }

    /// Whether everything that came was whole events: only then may something be put in between.
    pub fn is_between_events(&self) -> bool {
        self.partial.is_empty()
    }

    /// Bytes after the last whole event, once the stream has ended.
    pub fn remainder(&mut self) -> Bytes {
        self.partial.split().freeze()
    }

    fn bounded(&mut self, out: Vec<Bytes>) -> Result<Vec<Bytes>, TooLong> {
        if self.partial.len() > MAX_EVENT {
            self.partial = BytesMut::new();
            return Err(TooLong);
        }
        Ok(out)
    }
}

/// Finds the ends of events in a buffer that grows at its end.
#[derive(Debug, Default)]
struct Scan {
    at: usize,
    line: Line,
}

/// What is known of the line under the cursor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    /// Nothing of it has come yet: another line end makes it the blank line that ends an event.
    #[default]
    Empty,
    Begun,
    /// As `Empty`, and the last byte was the CR of the line before: an LF now belongs to that one.
    AfterCr,
}

impl Scan {
    /// The offset behind the next blank line.
    fn next_end(&mut self, buffer: &[u8]) -> Option<usize> {
        loop {
            let rest = buffer.get(self.at..)?;
            let Some(run) = memchr::memchr2(b'\n', b'\r', rest) else {
                if !rest.is_empty() {
                    self.line = Line::Begun;
                }
                self.at = buffer.len();
                return None;
            };
            if run > 0 {
                self.line = Line::Begun;
            }
            self.at += run;
            let is_cr = buffer.get(self.at) == Some(&b'\r');
            self.at += 1;
            if !is_cr && self.line == Line::AfterCr {
                self.line = Line::Empty;
                continue;
            }
            let blank = self.line != Line::Begun;
            self.line = Line::Empty;
            if is_cr {
                if buffer.get(self.at) == Some(&b'\n') {
                    self.at += 1;
                } else {
                    self.line = Line::AfterCr;
                }
            }
            if blank {
                return Some(self.at);
            }
        }
    }
}

/// The `data` of one event: its `data:` lines without their field name and one leading space, joined
/// by LF; `None` when it has none (a comment, a lone `event:`).
pub fn data(event: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut found: Option<Cow<'_, [u8]>> = None;
    let mut rest = event;
    while !rest.is_empty() {
        let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let (line, tail) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        rest = tail.get(1..).unwrap_or_default();
        let Some(value) = field(line, b"data") else { continue };
        found = Some(match found {
            None => Cow::Borrowed(value),
            Some(first) => {
                let mut joined = first.into_owned();
                joined.push(b'\n');
                joined.extend_from_slice(value);
                Cow::Owned(joined)
            }
        });
    }
    found
}

/// The name of one event: its last `event:` line, with or without the space; empty where it has none.
pub fn name(event: &[u8]) -> Cow<'_, str> {
    let lines = event.split(|byte| matches!(byte, b'\n' | b'\r'));
    let named = lines.filter_map(|line| field(line, b"event")).next_back();
    String::from_utf8_lossy(named.unwrap_or_default())
}

/// The value of a line of the field `name`.
fn field<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let rest = line.strip_prefix(name)?;
    match rest.split_first() {
        None => Some(rest),
        Some((b':', value)) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(chunks: &[&[u8]]) -> (Vec<String>, String) {
        let mut cutter = Cutter::default();
        let mut events = Vec::new();
        for chunk in chunks {
            let seen = &mut events;
            let out = cutter.push(Bytes::copy_from_slice(chunk), |event| {
                seen.push(String::from_utf8_lossy(event).into_owned());
                true
            });
            assert!(out.is_ok());
        }
        (events, String::from_utf8_lossy(&cutter.remainder()).into_owned())
    }

    #[test]
    fn events_end_at_blank_lines_of_every_kind() {
        let whole = |text: &str| cut(&[text.as_bytes()]).0;
        assert_eq!(whole("data: a\n\ndata: b\n\n"), ["data: a\n\n", "data: b\n\n"]);
        assert_eq!(whole("data: a\r\n\r\ndata: b\r\n\r\n").len(), 2);
        assert_eq!(whole("data: a\r\rdata: b\r\r").len(), 2);
        assert_eq!(whole("a\r\n\nb\n\r\n").len(), 2);
        assert_eq!(whole(": ping\n\n"), [": ping\n\n"]);
        assert_eq!(whole("data: \u{2028}\n\n").len(), 1);
        assert_eq!(cut(&[b"data: a\n"]), (vec![], "data: a\n".to_owned()));
        assert_eq!(cut(&[b"data: a\r", b"\n\r", b"\ndata: b\r\n\r\n"]).0.len(), 2);
    }

    #[test]
    fn dropped_events_leave_their_neighbours_whole() {
        let mut cutter = Cutter::default();
        let text = Bytes::from_static(b"data: a\n\ndata: b\n\ndata: c\n\ndata: d\n\nda");
        let out = cutter.push(text, |event| event != b"data: b\n\n").expect("short");
        assert_eq!(out, [&b"data: a\n\n"[..], b"data: c\n\ndata: d\n\n"]);
        assert!(!cutter.is_between_events());
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut cutter = Cutter::default();
        let mebibyte = Bytes::from(vec![b'x'; 1024 * 1024]);
        let results: Vec<_> = (0..17).map(|_| cutter.push(mebibyte.clone(), |_| true)).collect();
        assert!(results[..16].iter().all(Result::is_ok));
        assert_eq!(results[16], Err(TooLong));
        assert!(cutter.remainder().is_empty());
    }

    #[test]
    fn data_lines_are_read() {
        assert_eq!(data(b"data: a\n\n").as_deref(), Some(&b"a"[..]));
        assert_eq!(data(b"event: x\r\ndata:a\r\ndata:  b\r\n\r\n").as_deref(), Some(&b"a\n b"[..]));
        assert_eq!(data(b"data\n\n").as_deref(), Some(&b""[..]));
        assert_eq!(data(b"database: a\n\n"), None);
        assert_eq!(data(b": ping\n\n"), None);
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            lines in prop::collection::vec("(data: ?[a-zé]{0,6}|:|event:x|)", 0..12),
            ends in prop::collection::vec(prop::sample::select(&["\n", "\r\n", "\r"][..]), 12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let text: String =
                lines.iter().zip(&ends).flat_map(|(line, end)| [line.as_str(), end]).collect();
            let bytes = text.as_bytes();
            let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let mut cutter = Cutter::default();
            let mut out = Vec::new();
            for chunk in &chunks {
                for piece in cutter.push(Bytes::copy_from_slice(chunk), |_| true).expect("short") {
                    out.extend_from_slice(&piece);
                }
            }
            out.extend_from_slice(&cutter.remainder());
            prop_assert_eq!(out, bytes);
            let payloads = |events: &[String]| -> Vec<Vec<u8>> {
                events.iter().filter_map(|event| Some(data(event.as_bytes())?.into_owned())).collect()
            };
            prop_assert_eq!(payloads(&cut(&chunks).0), payloads(&cut(&[bytes]).0));
        }
    }
}

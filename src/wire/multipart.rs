//! Finding the `model` of a multipart upload while it streams by, without holding the upload: where
//! each part begins, which one is named `model`, where its value stands. The bytes themselves are
//! never changed here (<https://www.rfc-editor.org/rfc/rfc7578>, <https://www.rfc-editor.org/rfc/rfc2046#section-5.1>).

use std::ops::Range;

use memchr::memmem;

use super::envelope::MAX_MODEL;
use crate::ground::fault::Fault;

const MAX_HEADERS: usize = 8 * 1024;

/// The `model` part: its value, and where that stands in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPart {
    pub value: String,
    pub at: Range<u64>,
}

/// Follows one multipart body.
#[derive(Debug)]
pub struct Follower {
    /// `\r\n--boundary`.
    delimiter: Vec<u8>,
    /// Bytes not yet decided on; bounded by what each state may hold.
    window: Vec<u8>,
    /// Offset in the body of the window's first byte; begins below zero, as the first delimiter is
    /// found with a line end put before the body.
    base: i64,
    state: State,
    model: Option<ModelPart>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the preamble or a part that does not matter, looking for the next delimiter.
    Content,
    /// Right behind a delimiter.
    Delimited,
    /// In the part named `model`.
    Model,
    /// Behind the closing delimiter.
    Closed,
}

impl Follower {
    /// # Errors
    /// The content type has no usable boundary.
    pub fn new(content_type: &str) -> Result<Self, Fault> {
        let boundary = parameter(content_type, "boundary").ok().flatten().unwrap_or_default();
        if boundary.is_empty() || boundary.len() > 70 {
            return Err(Fault::invalid(
                "The content-type multipart/form-data has no usable boundary. Let the HTTP library \
                 set the header itself.",
            ));
        }
        Ok(Self {
            delimiter: [b"\r\n--", boundary.as_bytes()].concat(),
            window: b"\r\n".to_vec(),
            base: -2,
            state: State::Content,
            model: None,
        })
    }

    /// The `model` part, once it has passed.
    pub fn model(&self) -> Option<&ModelPart> {
        self.model.as_ref()
    }

    /// Follows the next bytes of the body.
    ///
    /// # Errors
    /// A part's headers cannot be read in one way only, `model` stands twice (one could be authorised
    /// and the other be used), or a bound is passed.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if self.state == State::Closed {
            return Ok(());
        }
        self.window.extend_from_slice(bytes);
        loop {
            let before = (self.state, self.window.len());
            match self.state {
                State::Content => self.skip_content(),
                State::Delimited => self.read_headers()?,
                State::Model => self.read_model()?,
                State::Closed => {
                    self.window = Vec::new();
                    return Ok(());
                }
            }
            if before == (self.state, self.window.len()) {
                return Ok(());
            }
        }
    }

    fn consume(&mut self, count: usize) {
        self.window.drain(..count.min(self.window.len()));
        self.base += i64::try_from(count).unwrap_or(i64::MAX);
    }

    fn skip_content(&mut self) {
        match memmem::find(&self.window, &self.delimiter) {
            Some(at) => {
                self.consume(at + self.delimiter.len());
                self.state = State::Delimited;
            }
            None => {
                let keep = self.delimiter.len() - 1;
                self.consume(self.window.len().saturating_sub(keep));
            }
        }
    }

    fn read_headers(&mut self) -> Result<(), Fault> {
        if self.window.starts_with(b"--") {
            self.state = State::Closed;
            return Ok(());
        }
        let padding = self.window.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let rest = self.window.get(padding..).unwrap_or_default();
        if rest.len() >= 2 && !rest.starts_with(b"\r\n") {
            // Only the beginning of a longer line: not a delimiter after all.
            self.state = State::Content;
            return Ok(());
        }
        let Some(end) = memmem::find(&self.window, b"\r\n\r\n") else {
            if self.window.len() > MAX_HEADERS {
                return Err(Fault::invalid("The headers of a form part are longer than 8 KiB."));
            }
            return Ok(());
        };
        let headers = String::from_utf8_lossy(self.window.get(..end).unwrap_or_default());
        let is_model = part_name(&headers)?.is_some_and(|name| name == "model");
        if is_model && self.model.is_some() {
            return Err(Fault::invalid(
                "The form field `model` stands more than once in the request. Send it once.",
            )
            .with_param("model"));
        }
        // The line end before an empty part's delimiter is the one that ends the headers.
        self.consume(end + 4);
        self.state = if is_model { State::Model } else { State::Content };
        if !is_model {
            self.window.splice(..0, *b"\r\n");
            self.base -= 2;
        }
        Ok(())
    }

    fn read_model(&mut self) -> Result<(), Fault> {
        let end = memmem::find(&self.window, &self.delimiter);
        let value = self.window.get(..end.unwrap_or(self.window.len())).unwrap_or_default();
        if value.len() > MAX_MODEL + self.delimiter.len() {
            return Err(Fault::invalid("The form field `model` is longer than 256 bytes.")
                .with_param("model"));
        }
        let Some(end) = end else { return Ok(()) };
        let Ok(text) = std::str::from_utf8(value) else {
            return Err(Fault::invalid("The form field `model` is not UTF-8.").with_param("model"));
        };
        let start = u64::try_from(self.base).unwrap_or_default();
        self.model =
            Some(ModelPart { value: text.to_owned(), at: start..start + text.len() as u64 });
        self.consume(end);
        self.state = State::Content;
        Ok(())
    }
}

/// The `name` of a part, from its header block.
fn part_name(headers: &str) -> Result<Option<String>, Fault> {
    let unclear = || {
        Fault::invalid(
            "A form part's content-disposition can be read in more than one way. Send \
             `Content-Disposition: form-data; name=\"…\"` on one line.",
        )
    };
    let mut name = None;
    for line in headers.split("\r\n") {
        if line.starts_with([' ', '\t']) || line.contains(['\n', '\r']) {
            return Err(unclear());
        }
        let Some((header, value)) = line.split_once(':') else { continue };
        if header.trim().eq_ignore_ascii_case("content-disposition")
            && let Some(found) = parameter(value, "name").map_err(|()| unclear())?
            && name.replace(found).is_some()
        {
            return Err(unclear());
        }
    }
    Ok(name)
}

/// A parameter of a header value, quoted or not; `Err` when it stands twice or in the extended form
/// (`name*=`), which parsers weigh differently.
fn parameter(value: &str, wanted: &str) -> Result<Option<String>, ()> {
    let mut found = None;
    let mut rest = value.split_once(';').map(|(_, rest)| rest);
    while let Some(text) = rest {
        let text = text.trim_start();
        let name_end = text.find(['=', ';']).unwrap_or(text.len());
        let (name, after) = text.split_at_checked(name_end).unwrap_or((text, ""));
        let name = name.trim();
        let (parsed, after) = match after.strip_prefix('=').map(str::trim_start) {
            Some(after) if after.starts_with('"') => quoted(after.get(1..).unwrap_or_default())?,
            Some(after) => {
                let end = after.find(';').unwrap_or(after.len());
                let (word, tail) = after.split_at_checked(end).unwrap_or((after, ""));
                (word.trim().to_owned(), tail)
            }
            None => (String::new(), after),
        };
        if name.strip_suffix('*').is_some_and(|name| name.eq_ignore_ascii_case(wanted)) {
            return Err(());
        }
        if name.eq_ignore_ascii_case(wanted) && found.replace(parsed).is_some() {
            return Err(());
        }
        rest = after.split_once(';').map(|(_, rest)| rest);
    }
    Ok(found)
}

/// The text up to the closing quotation mark, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), ()> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((out, text.get(at + 1..).unwrap_or_default())),
            '\\' => match chars.next() {
                Some((_, escaped @ ('"' | '\\'))) => out.push(escaped),
                Some((_, other)) => out.extend(['\\', other]),
                None => return Err(()),
            },
            other => out.push(other),
        }
    }
    Err(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"XyZ\"";
    const FORM: &[u8] = b"--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a; \
        name=model.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--XyZZ\r\n--Xy\r\n--XyZ\r\n\
        content-disposition: form-data; name=model\r\n\r\nwhisper-1\r\n--XyZ\r\n\
        Content-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--XyZ--\r\nepilogue";

    fn follow(body: &[u8], cuts: &[usize]) -> Result<Option<ModelPart>, String> {
        let mut follower = Follower::new(TYPE).expect("boundary");
        let mut at = vec![0];
        at.extend(cuts);
        at.push(body.len());
        at.sort_unstable();
        for pair in at.windows(2) {
            follower.push(&body[pair[0]..pair[1]]).map_err(|fault| fault.message.into_owned())?;
        }
        Ok(follower.model().cloned())
    }

    #[test]
    fn the_model_is_found_with_its_place() {
        let part = follow(FORM, &[]).expect("clear").expect("found");
        assert_eq!(part.value, "whisper-1");
        assert_eq!(&FORM[part.at.start as usize..part.at.end as usize], b"whisper-1");
    }

    #[test]
    fn an_empty_part_before_it_does_not_hide_it() {
        let body = b"--XyZ\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n\r\n--XyZ\r\n\
            Content-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--XyZ--\r\n";
        assert_eq!(follow(body, &[]).expect("clear").expect("found").value, "m");
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        let part = |disposition: &str| {
            format!(
                "--XyZ\r\n{disposition}\r\n\r\na\r\n--XyZ\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nb\r\n--XyZ--"
            )
        };
        for (disposition, expected) in [
            ("Content-Disposition: form-data; name=\"model\"", "more than once"),
            (
                "Content-Disposition: form-data; name=\"mo\\\"del\"; name=\"model\"",
                "more than one way",
            ),
            ("Content-Disposition: form-data; name*=UTF-8''model", "more than one way"),
            ("Content-Disposition: form-data;\r\n name=\"model\"", "more than one way"),
            ("Content-Disposition: form-data; name=\"model", "more than one way"),
        ] {
            let error = follow(part(disposition).as_bytes(), &[]).expect_err(disposition);
            assert!(error.contains(expected), "{error}");
        }
        let error = Follower::new("multipart/form-data").expect_err("no boundary");
        assert!(error.message.contains("boundary"));
    }

    #[test]
    fn memory_stays_bounded() {
        let mut follower = Follower::new(TYPE).expect("boundary");
        follower
            .push(b"--XyZ\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n")
            .expect("ok");
        for _ in 0..64 {
            follower.push(&[b'x'; 65_536]).expect("content");
            assert!(follower.window.len() < 128);
        }
        let mut follower = Follower::new(TYPE).expect("boundary");
        let endless = format!("--XyZ\r\nX: {}", "y".repeat(MAX_HEADERS));
        assert!(follower.push(endless.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(cuts in prop::collection::vec(0..FORM.len(), 0..5)) {
            prop_assert_eq!(follow(FORM, &cuts), follow(FORM, &[]));
        }
    }
}

//! What the headers say of bodies: which kinds the client reads, and which kind it sent.

use http::{HeaderMap, header};

/// The kinds of answers that a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    pub json: bool,
    pub events: bool,
}

impl Accept {
    /// Reads `Accept`. The specification wants both kinds named; a client that names one, or all by a star, is understood
    /// as well, and one that names nothing reads anything.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut accept = Self { json: false, events: false };
        let mut is_named = false;
        for value in headers.get_all(header::ACCEPT) {
            for range in String::from_utf8_lossy(value.as_bytes()).split(',') {
                let mut parts = range.split(';').map(str::trim);
                let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
                is_named |= !kind.is_empty();
                let is_refused = parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00"));
                if !is_refused {
                    let all = kind == "*/*";
                    accept.json |= all || matches!(&*kind, "application/json" | "application/*");
                    accept.events |= all || matches!(&*kind, "text/event-stream" | "text/*");
                }
            }
        }
        if is_named { accept } else { Self { json: true, events: true } }
    }
}

/// Whether the body is announced as JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(accept: Option<&'static str>, json: bool, events: bool) {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        }
        assert_eq!(Accept::of(&headers), Accept { json, events }, "{accept:?}");
    }

    #[test]
    fn either_kind_is_enough() {
        check(None, true, true);
        check(Some("application/json, text/event-stream"), true, true);
        check(Some("*/*"), true, true);
        check(Some("Application/JSON;charset=utf-8"), true, false);
        check(Some("text/event-stream;q=0.5"), false, true);
        check(Some("text/html, */*;q=0"), false, false);
    }
}

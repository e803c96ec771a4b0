//! What a line looks like: one JSON object with fixed keys, or text for people. Either way it is one line of at most
//! 16 KiB, whatever stands in it: what a client or a provider said forges no second one, and moves no terminal.

use std::fmt::Write as _;
use std::io::Write as _;

use jiff::Timestamp;
use tracing::Level;
use uuid::Uuid;

use crate::entry::{Entry, Status};
use crate::ground::trace::SpanPlace;
use crate::ground::usd::Usd;

/// Bytes of a line: Docker's log drivers cut what is longer.
pub(super) const MAX_LINE: usize = 16 * 1024;
/// Bytes of one text in it, as it is written.
const MAX_TEXT: usize = 4 * 1024;
/// Kept back for what must stand at the end.
const RESERVE: usize = 64;
const SERVICE: &str = "tidegate";

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// An object a line, for Loki and its kin.
    Json,
    /// For people.
    Text { colours: bool },
}

/// What a line says of a request that is over.
#[derive(Debug)]
pub(super) struct Finished {
    at: Timestamp,
    request_id: Uuid,
    /// Of the request's own span, where there are traces.
    place: Option<SpanPlace>,
    key_id: Option<String>,
    model_group: Option<String>,
    provider: Option<&'static str>,
    surface: &'static str,
    status: Status,
    http_status: u16,
    error_type: Option<String>,
    duration_us: u64,
    ttft_us: Option<u64>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cost_usd: Option<f64>,
}

/// A value in a line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'v> {
    Text(&'v str),
    /// As it is spelled in JSON and for people: a number, a truth.
    Plain(&'v str),
}

/// One line while it is written.
pub(super) struct LineWriter {
    style: Style,
    text: String,
    is_cut: bool,
}

/// How much a request that ended so matters.
pub(super) fn level(status: Status) -> Level {
    match status {
        Status::Ok | Status::Cancelled | Status::Denied => Level::INFO,
        Status::Error | Status::Shed => Level::WARN,
    }
}

/// A level as lines and labels spell it.
pub(super) fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// A line that says that others are missing.
pub(super) fn dropped(style: Style, instance: &str, lines: u64, out: &mut Vec<u8>) {
    let message = "lines of this log were lost: nobody read them in time";
    let mut line =
        LineWriter::begin(style, Timestamp::now(), Level::WARN, "log", message, instance);
    line.field("lines", Value::Plain(&lines.to_string()));
    line.end(out);
}

impl Finished {
    pub(super) fn of(entry: &Entry) -> Self {
        let ended = i64::try_from(entry.duration_us).unwrap_or(i64::MAX);
        let ended = entry.started_at_us.saturating_add(ended);
        Self {
            at: Timestamp::from_microsecond(ended).unwrap_or_default(),
            request_id: entry.request_id,
            place: entry.place(),
            key_id: entry.key_id.clone(),
            model_group: entry.model_group.clone(),
            provider: entry.provider,
            surface: entry.surface,
            status: entry.status,
            http_status: entry.http_status,
            error_type: entry.error_type.clone(),
            duration_us: entry.duration_us,
            ttft_us: entry.ttft_us,
            input_tokens: entry.tokens.input,
            output_tokens: entry.tokens.output,
            cost_usd: entry.cost_usd.map(Usd::to_stored),
        }
    }

    pub(super) fn write(&self, style: Style, instance: &str, out: &mut Vec<u8>) {
        let (level, message) = (level(self.status), "request");
        let mut line = LineWriter::begin(style, self.at, level, "request", message, instance);
        let millis = |micros: u64| format!("{}.{:03}", micros / 1000, micros % 1000);
        let mut id = Uuid::encode_buffer();
        line.field("request_id", Value::Text(self.request_id.hyphenated().encode_lower(&mut id)));
        let mut text = |name, text: Option<&str>| {
            if let Some(text) = text {
                line.field(name, Value::Text(text));
            }
        };
        let place = self.place;
        text("trace_id", place.map(SpanPlace::trace_hex).as_deref());
        text("span_id", place.map(SpanPlace::span_hex).as_deref());
        text("key_id", self.key_id.as_deref());
        text("model_group", self.model_group.as_deref());
        text("provider", self.provider);
        text("surface", Some(self.surface));
        text("status", Some(self.status.as_str()));
        let mut plain = |name, value: Option<String>| {
            if let Some(value) = value {
                line.field(name, Value::Plain(&value));
            }
        };
        plain("http_status", Some(self.http_status.to_string()));
        if let Some(error) = &self.error_type {
            line.field("error_type", Value::Text(error));
        }
        let mut plain = |name, value: Option<String>| {
            if let Some(value) = value {
                line.field(name, Value::Plain(&value));
            }
        };
        plain("duration_ms", Some(millis(self.duration_us)));
        plain("ttft_ms", self.ttft_us.map(millis));
        plain("input_tokens", self.input_tokens.map(|tokens| tokens.to_string()));
        plain("output_tokens", self.output_tokens.map(|tokens| tokens.to_string()));
        plain("cost_usd", self.cost_usd.map(|cost| cost.to_string()));
        line.end(out);
    }
}

impl LineWriter {
    pub(super) fn begin(
        style: Style,
        at: Timestamp,
        level: Level,
        event: &str,
        message: &str,
        instance: &str,
    ) -> Self {
        let mut line = Self { style, text: String::with_capacity(512), is_cut: false };
        match style {
            Style::Json => {
                // Writing to a text does not fail, here and below.
                let _ = write!(line.text, "{{\"ts\":\"{at:.6}\",\"level\":\"{}\"", word(level));
                line.field("event", Value::Text(event));
                line.field("msg", Value::Text(message));
                line.field("service", Value::Text(SERVICE));
                line.field("version", Value::Text(env!("CARGO_PKG_VERSION")));
                line.field("instance", Value::Text(instance));
            }
            Style::Text { colours } => {
                let (dim, colour, plain) = match (colours, level) {
                    (false, _) => ("", "", ""),
                    (true, Level::ERROR) => ("\x1b[2m", "\x1b[31m", "\x1b[0m"),
                    (true, Level::WARN) => ("\x1b[2m", "\x1b[33m", "\x1b[0m"),
                    (true, Level::INFO) => ("\x1b[2m", "\x1b[32m", "\x1b[0m"),
                    (true, _) => ("\x1b[2m", "\x1b[34m", "\x1b[0m"),
                };
                let level = word(level).to_ascii_uppercase();
                let _ = write!(line.text, "{dim}{at:.6}{plain} {colour}{level:>5}{plain} ");
                escape(&mut line.text, message, MAX_TEXT);
            }
        }
        line
    }

    /// Adds a fact. One for which there is no room is left out, and the line says so.
    pub(super) fn field(&mut self, name: &str, value: Value<'_>) {
        let before = self.text.len();
        match (self.style, value) {
            (Style::Json, value) => {
                self.text.push_str(",\"");
                escape(&mut self.text, name, MAX_TEXT);
                self.text.push_str("\":");
                match value {
                    Value::Plain(plain) => self.text.push_str(plain),
                    Value::Text(text) => self.quote(text),
                }
            }
            (Style::Text { .. }, value) => {
                self.text.push(' ');
                escape(&mut self.text, name, MAX_TEXT);
                self.text.push('=');
                match value {
                    Value::Plain(plain) => escape(&mut self.text, plain, MAX_TEXT),
                    // Words need no quotes; what has spaces or signs gets them.
                    Value::Text(text) if is_word(text) => self.text.push_str(text),
                    Value::Text(text) => self.quote(text),
                }
            }
        }
        if self.text.len() > MAX_LINE - RESERVE {
            self.text.truncate(before);
            self.is_cut = true;
        }
    }

    pub(super) fn end(mut self, out: &mut Vec<u8>) {
        if self.is_cut {
            self.is_cut = false;
            match self.style {
                Style::Json => self.text.push_str(",\"truncated\":true"),
                Style::Text { .. } => self.text.push_str(" truncated=true"),
            }
        }
        if self.style == Style::Json {
            self.text.push('}');
        }
        self.text.push('\n');
        let _never_fails = out.write_all(self.text.as_bytes());
    }

    fn quote(&mut self, text: &str) {
        self.text.push('"');
        escape(&mut self.text, text, MAX_TEXT);
        self.text.push('"');
    }
}

fn is_word(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+,*".contains(c);
    !text.is_empty() && text.len() < MAX_TEXT && text.chars().all(is_plain)
}

/// Appends a text so that it stays within quotes and within its line: JSON's escapes, also for what JSON allows and
/// terminals or readers obey (C1 controls, line separators, marks of direction). At most `most` bytes.
fn escape(out: &mut String, text: &str, most: usize) {
    /// What the longest character becomes, or the mark of what was cut.
    const ROOM: usize = 12;
    // Most texts are names and numbers.
    let is_plain = |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if text.len() + ROOM <= most && text.bytes().all(is_plain) {
        out.push_str(text);
        return;
    }
    let end = out.len() + most;
    for character in text.chars() {
        if out.len() + ROOM > end {
            out.push('…');
            return;
        }
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_obeyed(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
}

fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061C}'
                | '\u{200E}'
                | '\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2066}'..='\u{2069}'
                | '\u{FEFF}'
                | '\u{E0000}'..='\u{E007F}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(style: Style, fields: &[(&str, Value<'_>)]) -> String {
        let at = Timestamp::from_microsecond(1_700_000_000_000_000).expect("a time");
        let mut line = LineWriter::begin(style, at, Level::INFO, "log", "it\nhappened", "host");
        for (name, value) in fields {
            line.field(name, *value);
        }
        let mut out = Vec::new();
        line.end(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn nothing_said_makes_a_line_of_its_own() {
        let evil = "a\"}\n{\"level\":\"error\"} \u{1b}[31m \u{9b}31m \u{2028} \u{202e} \u{e0041}\\";
        for style in [Style::Json, Style::Text { colours: false }] {
            let line = line(style, &[("evil\n\"", Value::Text(evil))]);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(line.ends_with('\n'));
            assert!(!line.trim_end().chars().any(is_obeyed), "{line}");
        }
        let json = line(Style::Json, &[("evil", Value::Text(evil))]);
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(value["evil"], evil);
        assert_eq!(value["msg"], "it\nhappened");
        assert_eq!(value["ts"], "2023-11-14T22:13:20.000000Z");
        let keys: Vec<&String> = value.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["ts", "level", "event", "msg", "service", "version", "instance", "evil"]);
    }

    #[test]
    fn a_line_is_bounded_and_stays_json() {
        let long = "\u{1}".repeat(100_000);
        let fields: Vec<_> = (0..20).map(|_| ("long", Value::Text(&long))).collect();
        let json = line(Style::Json, &fields);
        assert!(json.len() <= MAX_LINE, "{}", json.len());
        assert!(json.ends_with("\"truncated\":true}\n"));
        serde_json::from_str::<serde_json::Value>(&json).expect("JSON");
    }

    #[test]
    fn text_is_for_people() {
        let fields =
            [("server", Value::Text("db")), ("why", Value::Text("a b")), ("n", Value::Plain("7"))];
        let expected =
            "2023-11-14T22:13:20.000000Z  INFO it\\nhappened server=db why=\"a b\" n=7\n";
        assert_eq!(line(Style::Text { colours: false }, &fields), expected);
    }
}

//! What the code says through `tracing`, on its way into the queue. The libraries below are heard from warnings on only, at
//! whatever level: at their most verbose they tell of headers.

use std::fmt::{self, Write};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::format::{LineWriter, MAX_LINE, Value};
use super::{Line, Log, Shared};

/// The crate's own events begin with its name.
const OWN: &str = env!("CARGO_CRATE_NAME");
const MAX_FIELDS: usize = 32;

/// Writes events as lines.
#[derive(Debug)]
pub struct LogLayer(pub Log);

impl<S: Subscriber> Layer<S> for LogLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with(OWN) || *metadata.level() <= Level::WARN
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(shared) = &self.0.0 else { return };
        let level = *event.metadata().level();
        if shared.writes(level) {
            let line = line(shared, event);
            shared.push(level, line.len(), Line::Text(line));
        }
    }
}

fn line(shared: &Shared, event: &Event<'_>) -> Vec<u8> {
    let mut facts = Facts::default();
    event.record(&mut facts);
    let level = *event.metadata().level();
    let kind = facts.event.as_deref().unwrap_or("log");
    let now = Timestamp::now();
    let mut line =
        LineWriter::begin(shared.style, now, level, kind, &facts.message, &shared.instance);
    for (name, value, is_text) in &facts.others {
        line.field(name, if *is_text { Value::Text(value) } else { Value::Plain(value) });
    }
    let mut out = Vec::new();
    line.end(&mut out);
    out
}

/// What an event says.
#[derive(Default)]
struct Facts {
    message: String,
    event: Option<String>,
    /// Name, value, and whether it is a text.
    others: Vec<(&'static str, String, bool)>,
}

impl Facts {
    fn add(&mut self, field: &Field, value: String, is_text: bool) {
        match field.name() {
            "message" => self.message = value,
            "event" => self.event = Some(value),
            name if self.others.len() < MAX_FIELDS => self.others.push((name, value, is_text)),
            _ => {}
        }
    }
}

impl Visit for Facts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, cut(value), true);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.to_string(), false);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.to_string(), false);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.to_string(), false);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for what is not finite.
        self.add(field, value.to_string(), !value.is_finite());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Bounded(String::new());
        let _what_fits = write!(text, "{value:?}");
        self.add(field, text.0, true);
    }
}

/// A text that takes no more than a line has.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MAX_LINE {
            self.0.push_str(&cut(text));
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(MAX_LINE)).unwrap_or_default().to_owned()
}

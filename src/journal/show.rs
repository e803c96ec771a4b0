//! One row as one line, for a terminal or for a program. Texts in rows come from clients and
//! providers: nothing of them may move a cursor, turn a line around or begin a line of its own.

use std::fmt::Write;

use super::query::LogRow;

/// The row as a JSON object on one line, every control character escaped.
pub(super) fn json(row: &LogRow) -> String {
    let json = serde_json::to_string(&row.0).unwrap_or_default();
    if !json.chars().any(is_unprintable) {
        return json;
    }
    // serde_json has escaped the ASCII ones; what is left stands inside strings, where `\u` is fine.
    let mut escaped = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_unprintable(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// The row for a person: when, how it ended, how long it took, what was asked of whom, by whom.
pub(super) fn text(row: &LogRow) -> String {
    let text = |column| row.text(column).filter(|text| !text.is_empty());
    let mut line = String::with_capacity(200);
    // To the millisecond: the rest is for sorting, not for reading.
    let started = text("started_at").unwrap_or("-");
    line.push_str(started.get(..23).unwrap_or(started));
    _ = write!(line, "Z {:>3}", row.number("http_status").unwrap_or(0.0));
    _ = write!(line, " {:<9}", text("status").unwrap_or("-"));
    _ = write!(line, " {:>9}", milliseconds(row.number("duration_us")));
    field(&mut line, "", text("surface"));
    field(&mut line, "", text("model_requested"));
    field(&mut line, "deployment=", text("deployment"));
    field(&mut line, "key=", text("key_alias").or(text("key_id")));
    if let Some(ttft) = row.number("ttft_us") {
        _ = write!(line, " ttft={}", milliseconds(Some(ttft)));
    }
    for (name, column) in [("in", "input_tokens"), ("out", "output_tokens"), ("cost", "cost_usd")] {
        if let Some(number) = row.number(column) {
            _ = write!(line, " {name}={number}");
        }
    }
    // Each round takes one.
    let rounds = row.number("tool_rounds").unwrap_or(0.0);
    if let Some(attempts) = row.number("attempts").filter(|attempts| *attempts > rounds.max(1.0)) {
        _ = write!(line, " attempts={attempts}");
    }
    if rounds > 1.0 {
        _ = write!(line, " rounds={rounds}");
    }
    if let Some(calls) = row.number("tool_calls").filter(|calls| *calls > 0.0) {
        _ = write!(line, " tools={calls}");
    }
    field(&mut line, "error=", text("error_type"));
    field(&mut line, "message=", text("error_message"));
    field(&mut line, "id=", text("request_id"));
    line
}

fn milliseconds(micros: Option<f64>) -> String {
    match micros {
        Some(micros) => format!("{:.1}ms", micros / 1000.0),
        None => "-".to_owned(),
    }
}

/// Appends ` name=value`, in quotes when the value could be taken for something else.
fn field(line: &mut String, name: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    line.push(' ');
    line.push_str(name);
    let is_plain = |c: char| !c.is_whitespace() && !is_unprintable(c) && c != '"' && c != '\\';
    if value.chars().all(is_plain) {
        line.push_str(value);
        return;
    }
    line.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => line.extend(['\\', character]),
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            character if is_unprintable(character) => {
                _ = write!(line, "\\u{{{:x}}}", u32::from(character));
            }
            character => line.push(character),
        }
    }
    line.push('"');
}

/// Control characters of both blocks, and those that break lines or change the direction of writing
/// (<https://trojansource.codes>).
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: serde_json::Value) -> LogRow {
        LogRow(value.as_object().cloned().unwrap())
    }

    #[test]
    fn a_line_says_what_matters() {
        let row = row(json!({
            "started_at": "2026-02-03T04:05:06.789012Z", "http_status": 200, "status": "ok",
            "duration_us": 1234567, "surface": "/v1/chat/completions", "model_requested": "gpt-5",
            "deployment": "d1", "key_alias": null, "key_id": "0123456789ab", "ttft_us": 250000,
            "input_tokens": 10, "output_tokens": 20, "cost_usd": 0.0125, "attempts": 2,
            "error_type": null, "request_id": "0194c-1",
        }));
        assert_eq!(
            text(&row),
            "2026-02-03T04:05:06.789Z 200 ok         1234.6ms /v1/chat/completions gpt-5 \
             deployment=d1 key=0123456789ab ttft=250.0ms in=10 out=20 cost=0.0125 attempts=2 id=0194c-1"
        );
    }

    #[test]
    fn tools_are_counted() {
        let line = |attempts: u32| {
            text(&row(json!({ "attempts": attempts, "tool_rounds": 3, "tool_calls": 4 })))
        };
        assert!(line(3).ends_with(" rounds=3 tools=4"), "{}", line(3));
        assert!(!line(3).contains("attempts="));
        assert!(line(4).ends_with(" attempts=4 rounds=3 tools=4"), "{}", line(4));
        let plain = text(&row(json!({ "attempts": 1, "tool_rounds": 0, "tool_calls": 0 })));
        assert!(!plain.contains("rounds") && !plain.contains("tools"), "{plain}");
    }

    #[test]
    fn no_text_forges_a_line() {
        let forged = "x\n2026 200 ok\u{1b}[2J\u{9b}31m\u{202e}\"\\\u{7f}";
        let row = row(json!({ "model_requested": forged, "error_message": "a b" }));
        let line = text(&row);
        assert!(!line.chars().any(is_unprintable), "{line}");
        assert!(
            line.contains(r#" "x\n2026 200 ok\u{1b}[2J\u{9b}31m\u{202e}\"\\\u{7f}""#),
            "{line}"
        );
        assert!(line.contains(r#"message="a b""#));
        let line = json(&row);
        assert!(!line.chars().any(is_unprintable), "{line}");
        let back: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(back["model_requested"], forged);
    }
}

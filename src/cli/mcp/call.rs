//! `mcp tools` and `mcp call`: one server, as a person looks at it.

use std::io::Read;

use serde_json::{Map, Value};

use super::{Bench, Failed, print};
use crate::conversation::Json;
use crate::wire::mcp::{edit, hidden};

pub(super) async fn tools(bench: &Bench, server: &str, as_json: bool) -> Result<(), Failed> {
    let asker = bench.single(server);
    let tools = bench.mcp.tools(&asker).await.map_err(|denied| Some(bench.unknown(&denied.0)))?;
    for tool in &tools.tools {
        if as_json {
            print(&format!("{}\n", tool.definition.as_str().replace('\n', " ")));
        } else {
            print(&described(&tool.name, &tool.definition));
        }
    }
    match tools.unavailable.first() {
        Some((_, error)) => Err(Some(error.clone())),
        None => Ok(()),
    }
}

/// A tool's name, its description and its parameters, those that must be given first.
fn described(name: &str, definition: &Json) -> String {
    let mut text = format!("{name}\n");
    let told = edit::text(definition, &["description"]).unwrap_or_default();
    // A server's words are not to steer the terminal.
    for line in told.trim().lines().map(hidden::made_visible) {
        text.push_str(&format!("    {line}\n"));
    }
    let properties: Map<String, Value> =
        edit::read(definition, &["inputSchema", "properties"]).unwrap_or_default();
    let required: Vec<String> =
        edit::read(definition, &["inputSchema", "required"]).unwrap_or_default();
    let (needed, others): (Vec<_>, Vec<_>) =
        properties.iter().partition(|(name, _)| required.contains(name));
    for ((name, schema), is_needed) in
        needed.into_iter().map(|it| (it, true)).chain(others.into_iter().map(|it| (it, false)))
    {
        let kind = schema.get("type").map(Value::to_string).unwrap_or_default();
        let about = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        let about = about.lines().next().unwrap_or_default();
        let mark = if is_needed { "" } else { "?" };
        let line = format!("{name}{mark}  {}  {about}", kind.replace('"', ""));
        text.push_str(&format!("      {}\n", hidden::made_visible(&line)));
    }
    text
}

pub(super) async fn call(
    bench: &Bench,
    server: &str,
    tool: &str,
    arguments: &str,
    as_json: bool,
) -> Result<(), Failed> {
    let text = if arguments == "-" { standard_input()? } else { arguments.to_owned() };
    let arguments = Json::parse(text)
        .filter(Json::is_object)
        .ok_or_else(|| Some("the arguments are to be one JSON object".to_owned()))?;
    let asker = bench.single(server);
    bench.mcp.view(&asker).map_err(|denied| Some(bench.unknown(&denied.0)))?;
    let result = bench.mcp.call_tool(&asker, tool, Some(&arguments)).await;
    let result = result.map_err(|error| Some(error.message()))?;
    if as_json {
        print(&format!("{}\n", result.as_str()));
    } else {
        let content: Vec<Value> = edit::read(&result, &["content"]).unwrap_or_default();
        content.iter().for_each(|part| print(&format!("{}\n", said(part))));
    }
    match edit::read::<bool>(&result, &["isError"]) {
        Some(true) => Err(Some("the tool says that it failed".to_owned())),
        _ => Ok(()),
    }
}

fn said(part: &Value) -> String {
    let text = |name: &str| part.get(name).and_then(Value::as_str);
    match (text("type"), text("text")) {
        (Some("text"), Some(text)) => text.to_owned(),
        (Some(kind @ ("image" | "audio")), _) => {
            let size = text("data").map_or(0, |data| data.len() / 4 * 3);
            format!("[{kind}, {}, about {size} bytes]", text("mimeType").unwrap_or_default())
        }
        _ => part.to_string(),
    }
}

fn standard_input() -> Result<String, Failed> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| Some(error.to_string()))?;
    Ok(text)
}

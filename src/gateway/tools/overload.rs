//! More tools than a request has room for: the model gets two functions in their place. One finds tools by words, the other
//! calls one by its name; what it calls is run, asked for, counted and told of as if the model had called it itself.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::run::{self, failed};
use super::toolset::{GatewayTool, Toolset};
use crate::conversation::served::ServedOutcome;
use crate::conversation::{Json, Part, ToolCall, estimate};
use crate::wire::mcp::search::{Described, Index};

/// What clients are told of as the server of the two functions.
const LABEL: &str = "tidegate";
const SEARCH: &str = "search_tools";
const CALL: &str = "call_tool";
/// Tools in one answer of the search, unless the model asks for another number.
const FOUND: usize = 8;
const MOST_FOUND: usize = 50;
/// Bytes of one answer of the search. The first tool is told of whole, for it could not be called otherwise.
const MAX_BYTES: usize = 32 * 1024;
/// Servers that are named in the description.
const NAMED_SERVERS: usize = 50;

/// What a function of the gateway is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// It is a tool of a server.
    Tool,
    Search,
    Call,
}

/// What stands for all tools.
pub(super) struct Overload {
    pub stand_ins: [GatewayTool; 2],
    /// Made when it is first asked.
    index: OnceLock<Index>,
}

#[derive(Deserialize)]
struct Query {
    query: String,
    #[serde(default)]
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct ByName {
    name: String,
    #[serde(default)]
    arguments: Option<Json>,
}

#[derive(Serialize)]
struct Found<'t> {
    name: &'t str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'t str>,
    input_schema: &'t Json,
}

impl Overload {
    /// What stands for the tools, if their definitions cost more than they may.
    pub(super) fn of(
        tools: &[GatewayTool],
        most: u64,
        is_taken: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        let mut sum = 0_u64;
        let is_over = tools.iter().any(|tool| {
            let description = tool.description.as_deref();
            sum += estimate::function_tokens(&tool.function, description, &tool.schema);
            sum > most
        });
        if !is_over {
            return None;
        }
        let mut labels: Vec<&str> = tools.iter().map(|tool| tool.label.as_str()).collect();
        labels.dedup();
        let more = labels.len().saturating_sub(NAMED_SERVERS);
        labels.truncate(NAMED_SERVERS);
        let mut servers = labels.join(", ");
        if more > 0 {
            servers.push_str(" and more");
        }
        let (search, call) = (free(SEARCH, &is_taken), free(CALL, &is_taken));
        let finds = format!(
            "Finds tools by words. There are tools of these servers: {servers}. Search before you say that something \
             cannot be done; call what you find with `{call}`."
        );
        let calls = format!(
            "Calls a tool that `{search}` found, by its name, with arguments that fit its `input_schema`."
        );
        let stand_in =
            |function: String, own: &str, description: String, schema, does| GatewayTool {
                function,
                label: LABEL.into(),
                own: own.into(),
                server: LABEL.into(),
                asker: 0,
                in_order: false,
                description: Some(description),
                schema: Json::of(&schema),
                needs_approval: false,
                does,
            };
        let query = json!({ "type": "object", "properties": {
            "query": { "type": "string", "description": "Words for what the tool should do" },
            "limit": { "type": "integer", "description": format!("Tools to tell of at most; {FOUND} if left out"),
                "minimum": 1, "maximum": MOST_FOUND },
        }, "required": ["query"] });
        let by_name = json!({ "type": "object", "properties": {
            "name": { "type": "string", "description": "The tool's name, exactly as it was found" },
            "arguments": { "type": "object", "description": "The tool's arguments" },
        }, "required": ["name", "arguments"] });
        let stand_ins = [
            stand_in(search, SEARCH, finds, query, Does::Search),
            stand_in(call, CALL, calls, by_name, Does::Call),
        ];
        Some(Self { stand_ins, index: OnceLock::new() })
    }
}

impl Toolset {
    /// The call that a call by name is for; itself, where it names no tool.
    pub(super) fn called_by_name(&self, call: &ToolCall) -> ToolCall {
        self.meant_by(call).unwrap_or_else(|| call.clone())
    }

    fn meant_by(&self, call: &ToolCall) -> Option<ToolCall> {
        let ByName { name, arguments } = serde_json::from_str(&call.arguments).ok()?;
        let tool = named(self.tools(), &name)?;
        let arguments = arguments.filter(|arguments| !arguments.is_null());
        // Some models write JSON into a string.
        let text = arguments.map(|given| given.read::<String>().unwrap_or(given.as_str().into()));
        Some(ToolCall {
            name: tool.function.clone(),
            arguments: text.unwrap_or_else(|| "{}".into()),
            ..call.clone()
        })
    }
}

/// What one of the two functions answers by itself; `None` for a tool of a server.
pub(super) fn answer(set: &Toolset, tool: &GatewayTool, given: &Json) -> Option<ServedOutcome> {
    let overload = set.overload.as_ref()?;
    match tool.does {
        Does::Tool => None,
        Does::Search => {
            let Some(Query { query, limit }) = given.read() else {
                return Some(failed("Give a `query`: words for what the tool should do."));
            };
            let tools = set.tools();
            let index = overload.index.get_or_init(|| Index::of(tools.iter().map(described)));
            let most = limit.unwrap_or(FOUND).clamp(1, MOST_FOUND);
            let found = index.search(&query, most);
            Some(told(found.iter().filter_map(|number| tools.get(*number)), MAX_BYTES))
        }
        // What names a tool never comes here.
        Does::Call => Some(unknown(set, given)),
    }
}

fn described(tool: &GatewayTool) -> Described<'_> {
    Described {
        name: &tool.function,
        description: tool.description.as_deref(),
        schema: &tool.schema,
    }
}

/// The tools as JSON, the best first, as many as fit.
fn told<'t>(found: impl Iterator<Item = &'t GatewayTool>, room: usize) -> ServedOutcome {
    let mut texts: Vec<String> = Vec::new();
    let mut bytes = 0;
    for tool in found {
        let shown = Found {
            name: &tool.function,
            description: tool.description.as_deref(),
            input_schema: &tool.schema,
        };
        let text = Json::of(&shown).as_str().to_owned();
        bytes += text.len();
        if bytes > room && !texts.is_empty() {
            break;
        }
        texts.push(text);
    }
    let text = match texts.is_empty() {
        true => "No tool fits these words. Try others.".into(),
        false => format!("{{\"tools\":[{}]}}", texts.join(",")),
    };
    ServedOutcome { parts: vec![Part::text(text)], is_error: false }
}

fn unknown(set: &Toolset, given: &Json) -> ServedOutcome {
    let Some(ByName { name, .. }) = given.read() else {
        return failed("Give the tool's `name` as a string, and its `arguments` as an object.");
    };
    run::unknown(set, &name)
}

/// The tool of a name; the server's own name does where only one tool has it.
fn named<'t>(tools: &'t [GatewayTool], name: &str) -> Option<&'t GatewayTool> {
    let exact = tools.iter().find(|tool| tool.function == name);
    exact.or_else(|| {
        let mut own = tools.iter().filter(|tool| tool.own == name);
        own.next().filter(|_| own.next().is_none())
    })
}

/// The first name that nothing else has.
fn free(name: &str, is_taken: &impl Fn(&str) -> bool) -> String {
    let names = [name.to_owned(), format!("{LABEL}_{name}")];
    let numbered = (2_u32..).map(|number| format!("{LABEL}_{name}_{number}"));
    let mut all = names.into_iter().chain(numbered);
    all.find(|name| !is_taken(name)).unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(label: &str, own: &str, schema: &str) -> GatewayTool {
        GatewayTool {
            function: format!("{label}-{own}"),
            label: label.into(),
            own: own.into(),
            server: label.into(),
            asker: 0,
            in_order: false,
            description: None,
            schema: Json::parse(schema).expect("JSON"),
            needs_approval: false,
            does: Does::Tool,
        }
    }

    #[test]
    fn only_too_many_tools_are_stood_in_for() {
        let tools = [tool("a", "x", "{}"), tool("a", "y", "{}"), tool("b", "x", "{}")];
        // Each costs 12 for its frame, and one for its name and its schema each.
        assert!(Overload::of(&tools, 42, |_| false).is_none());
        let overload = Overload::of(&tools, 41, |_| false).expect("two functions");
        let [search, call] = &overload.stand_ins;
        assert_eq!((&*search.function, &*call.function), ("search_tools", "call_tool"));
        assert!(search.description.as_ref().expect("a text").contains("servers: a, b."));
        assert!(Overload::of(&[], 0, |_| false).is_none());
    }

    #[test]
    fn names_that_are_taken_are_not_used() {
        let tools = [tool("a", "x", "{}")];
        let taken = ["search_tools", "tidegate_search_tools", "call_tool"];
        let overload = Overload::of(&tools, 0, |name| taken.contains(&name)).expect("functions");
        let [search, call] = &overload.stand_ins;
        assert_eq!(search.function, "tidegate_search_tools_2");
        assert_eq!(call.function, "tidegate_call_tool");
        assert_eq!((&*search.own, &*call.own), (SEARCH, CALL));
    }

    #[test]
    fn a_tool_has_the_name_that_only_it_has() {
        let tools = [tool("a", "x", "{}"), tool("b", "x", "{}"), tool("b", "y", "{}")];
        let function = |name: &str| named(&tools, name).map(|tool| tool.function.as_str());
        assert_eq!(function("b-x"), Some("b-x"));
        assert_eq!(function("y"), Some("b-y"));
        assert_eq!(function("x"), None);
    }

    #[test]
    fn what_is_found_is_told_as_far_as_there_is_room() {
        let tools = [tool("a", "x", r#"{"n":1.0}"#), tool("a", "y", "{}"), tool("a", "z", "{}")];
        let text = |room| told(tools.iter(), room).text();
        let first = r#"{"name":"a-x","input_schema":{"n":1.0}}"#;
        assert_eq!(text(0), format!(r#"{{"tools":[{first}]}}"#));
        assert_eq!(
            text(75),
            format!(r#"{{"tools":[{first},{{"name":"a-y","input_schema":{{}}}}]}}"#)
        );
        assert!(told([].into_iter(), 0).text().starts_with("No tool"));
    }
}

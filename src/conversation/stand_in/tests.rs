//! What stand-ins promise: a provider meets plain functions only, and a client gets back what it declared.

use proptest::prelude::*;

use super::*;
use crate::conversation::{
    Choice, Delta, Event, Fold, Part, Reply, Role, ToolCall, ToolResult, Turn,
};

fn tool(name: &str, namespace: Option<&str>, kind: ToolKind) -> Tool {
    Tool {
        name: name.into(),
        namespace: namespace.map(Into::into),
        description: Some(format!("Does {name}.")),
        kind,
        cache_control: None,
        extras: Default::default(),
    }
}

fn function(name: &str, namespace: Option<&str>) -> Tool {
    tool(name, namespace, ToolKind::Function { schema: None, strict: None })
}

fn json(text: &str) -> Json {
    Json::parse(text).expect("valid")
}

fn call(id: &str, name: &str, namespace: Option<&str>, kind: CallKind, arguments: &str) -> Part {
    Part::new(Content::ToolCall(ToolCall {
        id: id.into(),
        name: name.into(),
        namespace: namespace.map(Into::into),
        kind,
        arguments: arguments.into(),
        ..ToolCall::default()
    }))
}

fn result(id: &str, kind: CallKind, text: &str) -> Part {
    let parts = vec![Part::text(text)];
    let call_id = id.into();
    Part::new(Content::ToolResult(ToolResult { call_id, kind, parts, ..ToolResult::default() }))
}

fn ask(tools: Vec<Tool>, parts: Vec<Part>) -> Ask {
    let mut ask = Ask::new(Format::OpenAiResponses);
    ask.tools = tools;
    ask.turns = vec![Turn::new(Role::Assistant, parts)];
    ask
}

fn names(ask: &Ask) -> Vec<&str> {
    ask.tools.iter().map(|tool| &*tool.name).collect()
}

fn played(ask: &mut Ask) -> (Names, Losses) {
    let mut losses = Losses::default();
    let names = stand_in(ask, &Abilities::FUNCTIONS, &mut losses);
    for tool in &ask.tools {
        assert!(matches!(tool.kind, ToolKind::Function { .. }) && tool.namespace.is_none());
        assert!(tool.name.len() <= 64, "{}", tool.name);
    }
    (names, losses)
}

/// The answer of a model that calls tools just as its history does, restored, streamed and whole.
fn echoed(ask: &Ask, names: &Names) -> Vec<Part> {
    let parts = ask.turns[0].parts.iter().filter(|part| part.as_call().is_some());
    let choices = vec![Choice { parts: parts.cloned().collect(), finish: None }];
    let mut reply = Reply { choices, ..Reply::default() };
    let (mut restorer, mut out, mut fold) = (names.restorer(), Vec::new(), Fold::default());
    for event in reply.clone().into_events() {
        for event in cut(event) {
            restorer.restore(event, &mut out);
        }
    }
    out.into_iter().for_each(|event| fold.push(event));
    names.restore_reply(&mut reply);
    assert_eq!(fold.reply(), &reply, "streamed and whole");
    reply.choices.remove(0).parts
}

/// Arguments come in pieces.
fn cut(event: Event) -> Vec<Event> {
    match event {
        Event::Delta { choice, block, delta: Delta::Arguments(text) } => text
            .chars()
            .map(|c| Event::Delta { choice, block, delta: Delta::Arguments(c.to_string()) })
            .collect(),
        other => vec![other],
    }
}

#[test]
fn plain_functions_need_nothing() {
    let before = ask(
        vec![function("a", None), function("mcp__x__y", None)],
        vec![call("c1", "a", None, CallKind::Function, "{}")],
    );
    let mut after = before.clone();
    let (names, losses) = played(&mut after);
    assert!(names.is_empty() && losses.is_empty());
    assert_eq!(before, after);
}

#[test]
fn a_custom_tool_keeps_its_grammar_as_text() {
    let format = json(r#"{"type":"grammar","syntax":"lark","definition":"start: \"x\"\n"}"#);
    let chat = json(r#"{"type":"grammar","grammar":{"syntax":"regex","definition":"a+"}}"#);
    let custom = |format: &Json| ToolKind::Custom { format: Some(format.clone()) };
    let patch = "*** Begin Patch\n\"é\" \\";
    let mut ask = ask(
        vec![
            tool("apply_patch", Some("functions"), custom(&format)),
            tool("exec", None, custom(&chat)),
        ],
        vec![
            call("c1", "apply_patch", Some("functions"), CallKind::Custom, patch),
            result("c1", CallKind::Custom, "Done"),
        ],
    );
    ask.tool_choice =
        Some(ToolChoice::Named { name: "exec".into(), namespace: None, kind: CallKind::Custom });
    let before = ask.clone();
    let (names, losses) = played(&mut ask);
    assert!(losses.is_empty());
    assert_eq!(self::names(&ask), ["functions__apply_patch", "exec"]);
    assert_eq!(
        ask.tools[0].description.as_deref(),
        Some(
            "Does apply_patch.\n\nGive the tool's whole input as plain text in `input`. It must \
             match this grammar (syntax: lark):\n```\nstart: \"x\"\n```"
        )
    );
    assert!(ask.tools[1].description.as_deref().expect("told").contains("a+"));
    let ToolKind::Function { schema: Some(schema), .. } = &ask.tools[0].kind else { panic!() };
    assert!(schema.as_str().contains(r#""required":["input"]"#));
    let sent = ask.turns[0].parts[0].as_call().expect("a call");
    assert_eq!(sent.kind, CallKind::Function);
    assert_eq!(sent.arguments, r#"{"input":"*** Begin Patch\n\"é\" \\"}"#);
    assert_eq!(ask.turns[0].parts[1].as_result().expect("a result").kind, CallKind::Function);
    let named =
        ToolChoice::Named { name: "exec".into(), namespace: None, kind: CallKind::Function };
    assert_eq!(ask.tool_choice, Some(named));
    assert_eq!(echoed(&ask, &names), before.turns[0].parts[..1]);
}

#[test]
fn namespaces_are_flattened_and_come_back() {
    let long = "a_namespace_that_is_really_rather_long_for_what_it_does";
    let mut ask = ask(
        vec![
            function("search", Some("mcp__docs")),
            function("mcp__docs__search", None),
            function("a_function_with_a_long_name", Some(long)),
            function("search", None),
            function("only", Some("mcp__docs")),
        ],
        vec![
            call("c1", "search", Some("mcp__docs"), CallKind::Function, "{}"),
            call("c2", "a_function_with_a_long_name", Some(long), CallKind::Function, "{\"a\":1}"),
            call("c3", "gone", Some("mcp__docs"), CallKind::Function, "{}"),
            call("c4", "gone.tool", None, CallKind::Function, "{}"),
        ],
    );
    let before = ask.clone();
    let mut again = ask.clone();
    let (names, _) = played(&mut ask);
    played(&mut again);
    assert_eq!(ask, again, "the same names every time");
    let all = self::names(&ask);
    assert_eq!((all[1], all[3], all[4]), ("mcp__docs__search", "search", "mcp__docs__only"));
    assert!(all[0].starts_with("mcp__docs__search_"), "{}", all[0]);
    assert_eq!(all[2].len(), 64);
    assert_eq!(ask.turns[0].parts[2].as_call().expect("a call").name, "mcp__docs__gone");
    assert_eq!(ask.turns[0].parts[3].as_call().expect("a call").name, "gone_tool");
    assert_eq!(echoed(&ask, &names), before.turns[0].parts);
    // A model that forgets the namespace.
    let mut forgot = ask.clone();
    forgot.turns[0].parts = vec![call("x", "only", None, CallKind::Function, "{}")];
    let meant = call("x", "only", Some("mcp__docs"), CallKind::Function, "{}");
    assert_eq!(echoed(&forgot, &names), [meant]);
}

#[test]
fn names_with_foreign_characters_are_restored() {
    let mut ask = ask(
        vec![function("fs.read", None), function("fs_read", None), function("天気", None)],
        vec![call("c", "fs.read", None, CallKind::Function, "{}")],
    );
    ask.tool_choice =
        Some(ToolChoice::Allowed { names: vec!["fs.read".into(), "x".into()], required: true });
    let before = ask.clone();
    let (names, _) = played(&mut ask);
    let all = self::names(&ask);
    assert!(all[0].starts_with("fs_read_") && all[1] == "fs_read" && all[2] == "__", "{all:?}");
    let allowed = vec![all[0].to_owned()];
    assert_eq!(ask.tool_choice, Some(ToolChoice::Allowed { names: allowed, required: true }));
    assert_eq!(echoed(&ask, &names), before.turns[0].parts);
    let mut dotted = before.clone();
    let abilities = Abilities { dotted_names: true, ..Abilities::FUNCTIONS };
    stand_in(&mut dotted, &abilities, &mut Losses::default());
    assert_eq!(dotted.tools[0].name, "fs.read");
}

#[test]
fn shells_patches_and_searches_are_played() {
    let kind = |text: &str| json(text);
    let action = r#"{"type":"exec","command":["ls"],"env":{},"timeout_ms":1000}"#;
    let operation = r#"{"type":"update_file","path":"a","diff":"@@"}"#;
    let search = r#"{"type":"tool_search","execution":"client","description":"Finds.","parameters":{"type":"object","properties":{"q":{"type":"string"}}}}"#;
    let mut ask = ask(
        vec![
            tool(
                "local_shell",
                None,
                ToolKind::LocalShell { value: kind(r#"{"type":"local_shell"}"#) },
            ),
            tool("", None, ToolKind::LocalShell { value: kind(r#"{"type":"shell"}"#) }),
            tool(
                "apply_patch",
                None,
                ToolKind::ApplyPatch { value: kind(r#"{"type":"apply_patch"}"#) },
            ),
            tool("tool_search", None, ToolKind::ToolSearch { value: kind(search) }),
            function("found", Some("crm")),
        ],
        vec![
            call("1", "local_shell", None, CallKind::LocalShell, action),
            call("2", "shell", None, CallKind::LocalShell, r#"{"commands":["ls", "pwd"]}"#),
            call("3", "apply_patch", None, CallKind::ApplyPatch, operation),
            call("4", "tool_search", None, CallKind::ToolSearch, r#"{"q":"x"}"#),
            result(
                "4",
                CallKind::ToolSearch,
                r#"[{"type":"namespace","name":"crm","tools":[{"type":"function","name":"found"}]}]"#,
            ),
        ],
    );
    let before = ask.clone();
    let (names, losses) = played(&mut ask);
    assert!(losses.is_empty(), "{losses:?}");
    assert_eq!(
        self::names(&ask),
        ["local_shell", "shell", "apply_patch", "tool_search", "crm__found"]
    );
    let ToolKind::Function { schema: Some(schema), .. } = &ask.tools[3].kind else { panic!() };
    assert!(schema.as_str().contains(r#""q""#));
    let found = ask.turns[0].parts[4].as_result().expect("a result");
    assert_eq!(found.text(), "These tools can be called now: crm__found");
    assert_eq!(echoed(&ask, &names), before.turns[0].parts[..4]);
    // What a model makes of it.
    let mut loose = ask.clone();
    loose.turns[0].parts = vec![
        call("1", "local_shell", None, CallKind::Function, r#"{"command":"ls -l"}"#),
        call("2", "shell", None, CallKind::Function, r#"{"command":["ls"]}"#),
        call(
            "3",
            "apply_patch",
            None,
            CallKind::Function,
            &format!(r#"{{"operation":{operation}}}"#),
        ),
        call("4", "tool_search", None, CallKind::Function, ""),
    ];
    let restored = echoed(&loose, &names);
    let arguments: Vec<&str> =
        restored.iter().map(|part| &*part.as_call().expect("a call").arguments).collect();
    assert_eq!(arguments[0], r#"{"type":"exec","command":["bash","-lc","ls -l"],"env":{}}"#);
    assert_eq!(arguments[1..], [r#"{"commands":["ls"]}"#, operation, "{}"]);
}

#[test]
fn what_nobody_can_run_is_a_loss() {
    let hosted = |name: &str, format| ToolKind::Hosted {
        format,
        value: json(&format!(r#"{{"type":"{name}"}}"#)),
    };
    let mut ask = ask(
        vec![
            function("a", Some("n")),
            function("b", Some("n")),
            tool("web_search", None, hosted("web_search", Format::OpenAiResponses)),
            tool(
                "tool_search",
                None,
                ToolKind::ToolSearch { value: json(r#"{"type":"tool_search"}"#) },
            ),
            tool(
                "shell",
                None,
                ToolKind::LocalShell {
                    value: json(r#"{"type":"shell","environment":{"type":"container_auto"}}"#),
                },
            ),
        ],
        Vec::new(),
    );
    ask.tool_choice = Some(ToolChoice::Foreign {
        format: Format::OpenAiResponses,
        value: json(r#"{"type":"web_search"}"#),
    });
    let mut native = ask.clone();
    let (_, losses) = played(&mut ask);
    assert_eq!(losses.paths(), "tools[1], tools[2], tools[3], tool_choice");
    assert_eq!(ask.tool_choice, Some(ToolChoice::Auto));
    let before = native.clone();
    let mut losses = Losses::default();
    assert!(stand_in(&mut native, &Abilities::RESPONSES, &mut losses).is_empty());
    assert!(losses.is_empty());
    assert_eq!(native, before, "OpenAI takes all of it");
}

#[test]
fn a_hosted_tool_takes_no_name_from_one_that_has_a_type_only() {
    let value = || json(r#"{"type":"shell"}"#);
    let hosted = ToolKind::Hosted { format: Format::OpenAiResponses, value: value() };
    let own = ToolKind::LocalShell { value: value() };
    let calls = vec![call("1", "shell", None, CallKind::LocalShell, "{}")];
    let mut ask = ask(vec![tool("shell", None, own), tool("shell", None, hosted)], calls);
    ask.tool_choice =
        Some(ToolChoice::Allowed { names: vec!["shell".into(), "found".into()], required: true });
    let before = ask.clone();
    stand_in(&mut ask, &Abilities::RESPONSES, &mut Losses::default());
    assert_eq!(ask, before);
}

#[test]
fn of_the_allowed_tools_those_that_can_be_called_stay() {
    let hosted = |format| ToolKind::Hosted { format, value: json(r#"{"type":"web_search"}"#) };
    let search = || tool("web_search", None, hosted(Format::OpenAiResponses));
    let allowed = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Some(ToolChoice::Allowed { names, required: true })
    };
    let mut ask = ask(vec![function("a", Some("n")), function("b", None), search()], Vec::new());
    ask.tool_choice = allowed(&["web_search", "n"]);
    let (mut native, mut nothing) = (ask.clone(), ask.clone());
    played(&mut ask);
    assert_eq!(ask.tool_choice, allowed(&["n__a"]));
    stand_in(&mut native, &Abilities::RESPONSES, &mut Losses::default());
    assert_eq!(native.tool_choice, allowed(&["web_search", "a"]));
    nothing.tool_choice = allowed(&["web_search"]);
    let (_, losses) = played(&mut nothing);
    assert_eq!(nothing.tool_choice, Some(ToolChoice::None));
    assert_eq!(losses.paths(), "tools[2], tool_choice");
}

#[test]
fn tools_declared_again_replace_the_first() {
    let mut newer = function("a", None);
    newer.description = Some("newer".into());
    let mut ask = ask(vec![function("a", None), function("b", None), newer], Vec::new());
    played(&mut ask);
    assert_eq!(names(&ask), ["a", "b"]);
    assert_eq!(ask.tools[0].description.as_deref(), Some("newer"));
}

#[test]
fn ids_are_rewritten_at_both_ends() {
    let id = format!("call.{}", "x".repeat(1319));
    let make = |charset, length, exact| {
        let mut ask = ask(
            Vec::new(),
            vec![
                call(&id, "f", None, CallKind::Function, "{}"),
                result(&id, CallKind::Function, "x"),
                call("ok", "f", None, CallKind::Function, "{}"),
            ],
        );
        let call_id = CallIds { length, charset, exact };
        let abilities = Abilities { call_id, ..Abilities::FUNCTIONS };
        stand_in(&mut ask, &abilities, &mut Losses::default());
        let parts = &ask.turns[0].parts;
        let first = parts[0].as_call().expect("a call").id.clone();
        assert_eq!(first, parts[1].as_result().expect("a result").call_id);
        assert!(call_id.is_legal(&first), "{first}");
        (first, parts[2].as_call().expect("a call").id.clone())
    };
    let (long, short) = make(IdCharset::Any, 64, false);
    assert!(long.starts_with("call_") && long.len() == 29, "{long}");
    assert_eq!(short, "ok");
    assert_eq!(make(IdCharset::Word, 64, false).1, "ok");
    let (mistral, short) = make(IdCharset::Alphanumeric, 9, true);
    assert_eq!((mistral.len(), short.len()), (9, 9));
}

fn any_tool() -> impl Strategy<Value = (String, Option<String>, bool, String)> {
    let name = "[a-zA-Z_.é-]{0,3}([a-z_]{60,70})?";
    (name, proptest::option::of("[a-z_.]{1,3}"), any::<bool>(), any::<String>())
}

proptest! {
    #[test]
    fn an_echo_restored_is_what_it_was(tools in proptest::collection::vec(any_tool(), 1..8)) {
        let mut declared = Vec::new();
        let mut calls = Vec::new();
        for (at, (name, namespace, is_custom, input)) in tools.iter().enumerate() {
            let name = format!("{name}{}", if name.is_empty() { "f" } else { "" });
            let (tool_kind, kind) = if *is_custom {
                (ToolKind::Custom { format: None }, CallKind::Custom)
            } else {
                (ToolKind::Function { schema: None, strict: None }, CallKind::Function)
            };
            // Every other call is of a tool that is no longer declared.
            if at % 2 == 0 {
                declared.push(tool(&name, namespace.as_deref(), tool_kind));
            }
            calls.push(call(&at.to_string(), &name, namespace.as_deref(), kind, input));
        }
        let mut ask = ask(declared, calls);
        // The same name with another kind is taken for the declared one: left out here.
        let kinds: HashMap<_, _> = ask.tools.iter().map(|tool| ((tool.namespace.clone(), tool.name.clone()), Key::of_tool(tool).map(|key| key.kind))).collect();
        ask.turns[0].parts.retain(|part| part.as_call().is_some_and(|call| {
            kinds.get(&(call.namespace.clone(), call.name.clone())).is_none_or(|kind| *kind == Some(call.kind))
        }));
        let before = ask.clone();
        let (names, _) = played(&mut ask);
        let mut distinct: Vec<&str> = self::names(&ask);
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(distinct.len(), ask.tools.len());
        prop_assert_eq!(echoed(&ask, &names), before.turns[0].parts.clone());
    }
}

//! `mcp.lock` as a value: the tools that were accepted, each with the digest and the whole of its definition. It is a
//! file that people keep under version control and compare, so it has one form only, sorted and over many lines. Where
//! the file lies is not known here.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::canonical::{pretty, quoted};
use super::{edit, pin};
use crate::conversation::Json;

/// The only form there is yet.
const VERSION: u64 = 1;

/// All accepted tools, by server and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lock {
    servers: BTreeMap<String, BTreeMap<String, Pin>>,
}

/// One accepted tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Pin {
    /// The digest of `definition`, as [`pin::digest`] has it.
    pub sha256: String,
    /// As [`pin::definition`] has it.
    pub definition: Json,
}

/// How a tool stands to the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what was accepted.
    Pinned,
    /// Nothing was accepted under this name.
    New,
    /// Something else was.
    Changed,
}

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLock {
    version: u64,
    servers: BTreeMap<String, RawServer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServer {
    tools: BTreeMap<String, RawPin>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPin {
    sha256: String,
    definition: Json,
}

impl Lock {
    /// Reads the text of a lock. An empty text is an empty lock.
    ///
    /// # Errors
    /// What is wrong with it, in words: no JSON, an unknown version or member, or a definition that does not have the
    /// digest beside it, as after a bad merge.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let unknown =
            |version| format!("the lock has version {version}, and only {VERSION} is known");
        // First the version: another one may have other members.
        match serde_json::from_str(text) {
            Ok(Versioned { version }) if version != VERSION => return Err(unknown(version)),
            _ => {}
        }
        let raw: RawLock = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if raw.version != VERSION {
            return Err(unknown(raw.version));
        }
        let mut lock = Self::default();
        for (server, RawServer { tools }) in raw.servers {
            let mut pins = BTreeMap::new();
            for (tool, RawPin { sha256, definition }) in tools {
                let pin = Pin::of(&definition);
                if pin.sha256 != sha256 {
                    return Err(format!(
                        "the definition of the tool {} of the server {} does not have the SHA-256 beside it; pin it again",
                        quoted(&tool),
                        quoted(&server),
                    ));
                }
                pins.insert(tool, pin);
            }
            lock.servers.insert(server, pins);
        }
        Ok(lock)
    }

    /// The text of the lock: sorted, two spaces a level, a line end at the end. Reading and writing it again changes
    /// nothing.
    pub fn write(&self) -> String {
        let servers = self.servers.iter().map(|(name, tools)| {
            let tools = tools.iter().map(|(name, Pin { sha256, definition })| {
                let members =
                    [("sha256", quoted(sha256)), ("definition", pretty(definition.as_raw(), 5))];
                (name.as_str(), object(members.into_iter(), 4))
            });
            (name.as_str(), object([("tools", object(tools, 3))].into_iter(), 2))
        });
        let members = [("version", VERSION.to_string()), ("servers", object(servers, 1))];
        object(members.into_iter(), 0) + "\n"
    }

    /// How a tool, as its server lists it, stands to the lock.
    pub fn verdict(&self, server: &str, tool: &Json) -> Verdict {
        let name = edit::text(tool, &["name"]).unwrap_or_default();
        match self.pin(server, &name) {
            None => Verdict::New,
            Some(pin) if pin.sha256 == pin::digest(tool) => Verdict::Pinned,
            Some(_) => Verdict::Changed,
        }
    }

    /// Accepts what a server lists now, in place of all that was accepted of it before. Of two tools with one name the
    /// first counts; what has no name is passed over.
    pub fn accept(&mut self, server: &str, tools: &[Json]) {
        let mut pins = BTreeMap::new();
        for tool in tools {
            if let Some(name) = edit::text(tool, &["name"]) {
                pins.entry(name).or_insert_with(|| Pin::of(tool));
            }
        }
        self.servers.insert(server.to_owned(), pins);
    }

    /// Accepts one tool and leaves the others of its server as they are. What has no name is passed over.
    pub fn accept_one(&mut self, server: &str, tool: &Json) {
        if let Some(name) = edit::text(tool, &["name"]) {
            self.servers.entry(server.to_owned()).or_default().insert(name, Pin::of(tool));
        }
    }

    /// Forgets a server. Whether it was known.
    pub fn forget(&mut self, server: &str) -> bool {
        self.servers.remove(server).is_some()
    }

    /// What was accepted under a name.
    pub fn pin(&self, server: &str, tool: &str) -> Option<&Pin> {
        self.servers.get(server)?.get(tool)
    }

    /// The names of the accepted tools of a server, sorted; none where it is unknown.
    pub fn tools(&self, server: &str) -> impl Iterator<Item = &str> {
        self.servers.get(server).into_iter().flat_map(|tools| tools.keys().map(String::as_str))
    }

    /// What this lock has that another had not, a line each: `+` for a tool that is new, `~` for one with another definition,
    /// `-` for one that is gone, with its server and its name.
    pub fn changes(&self, old: &Self) -> Vec<String> {
        let line = |sign: char, server: &str, tool: &str| format!("{sign} {server} {tool}");
        let mut lines = Vec::new();
        for (server, tools) in &self.servers {
            for (tool, pin) in tools {
                match old.pin(server, tool) {
                    None => lines.push(line('+', server, tool)),
                    Some(known) if known.sha256 != pin.sha256 => {
                        lines.push(line('~', server, tool))
                    }
                    Some(_) => {}
                }
            }
        }
        for server in old.servers() {
            let gone = old.tools(server).filter(|tool| self.pin(server, tool).is_none());
            lines.extend(gone.map(|tool| line('-', server, tool)));
        }
        lines
    }

    /// The names of all servers, sorted.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.servers.keys().map(String::as_str)
    }
}

impl Pin {
    fn of(tool: &Json) -> Self {
        let definition = pin::definition(tool);
        Self { sha256: super::canonical::sha256(definition.as_str()), definition }
    }
}

/// An object over several lines, its members `indent + 1` levels in.
fn object<'n>(members: impl Iterator<Item = (&'n str, String)>, indent: usize) -> String {
    let line = ["\n", &"  ".repeat(indent + 1)].concat();
    let members: Vec<String> =
        members.map(|(name, value)| [&line, &quoted(name), ": ", &value].concat()).collect();
    if members.is_empty() {
        return "{}".to_owned();
    }
    ["{", &members.join(","), "\n", &"  ".repeat(indent), "}"].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tool(text: &str) -> Json {
        Json::parse(text).expect("JSON")
    }

    #[test]
    fn the_file_is_what_people_compare() {
        let mut lock = Lock::default();
        assert_eq!(lock.write(), "{\n  \"version\": 1,\n  \"servers\": {}\n}\n");
        lock.accept(
            "db",
            &[tool(r#"{"name":"q","inputSchema":{"type":"object","maximum":1.0},"_meta":{}}"#)],
        );
        lock.accept("air", &[]);
        let digest =
            pin::digest(&tool(r#"{"name":"q","inputSchema":{"type":"object","maximum":1.0}}"#));
        let expected = [
            "{",
            r#"  "version": 1,"#,
            r#"  "servers": {"#,
            r#"    "air": {"#,
            r#"      "tools": {}"#,
            r#"    },"#,
            r#"    "db": {"#,
            r#"      "tools": {"#,
            r#"        "q": {"#,
            &format!("          \"sha256\": \"{digest}\","),
            r#"          "definition": {"#,
            r#"            "inputSchema": {"#,
            r#"              "maximum": 1.0,"#,
            r#"              "type": "object""#,
            r#"            },"#,
            r#"            "name": "q""#,
            r#"          }"#,
            r#"        }"#,
            r#"      }"#,
            r#"    }"#,
            r#"  }"#,
            "}\n",
        ];
        assert_eq!(lock.write(), expected.join("\n"));
        assert_eq!(Lock::read(&lock.write()), Ok(lock));
    }

    #[test]
    fn a_tool_is_new_pinned_or_changed() {
        let mut lock = Lock::default();
        let one = tool(r#"{"name":"a","description":"x"}"#);
        assert_eq!(lock.verdict("s", &one), Verdict::New);
        lock.accept("s", &[one.clone(), tool(r#"{"name":"a","description":"second"}"#), tool("3")]);
        assert_eq!(lock.verdict("s", &one), Verdict::Pinned);
        assert_eq!(
            lock.verdict("s", &tool(r#"{"description":"x", "name":"a","icons":[]}"#)),
            Verdict::Pinned
        );
        assert_eq!(lock.verdict("s", &tool(r#"{"name":"a","description":"y"}"#)), Verdict::Changed);
        assert_eq!(lock.verdict("s", &tool(r#"{"name":"b"}"#)), Verdict::New);
        assert_eq!(lock.verdict("other", &one), Verdict::New);
        assert_eq!(lock.verdict("s", &tool("{}")), Verdict::New);
        lock.accept_one("s", &tool(r#"{"name":"b"}"#));
        assert_eq!(lock.tools("s").collect::<Vec<_>>(), ["a", "b"]);
        lock.accept("s", &[tool(r#"{"name":"b"}"#)]);
        assert_eq!(lock.verdict("s", &one), Verdict::New);
        assert!(lock.forget("s") && !lock.forget("s"));
        assert_eq!(lock.servers().count(), 0);
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let error = Lock::read(text).expect_err("refused");
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_is_no_lock_is_refused_with_its_reason() {
        assert_eq!(Lock::read(" \n"), Ok(Lock::default()));
        refused("{", "line 1");
        refused("[]", "line 1");
        refused(r#"{"servers":{}}"#, "version");
        refused(r#"{"version":2,"things":{}}"#, "version 2");
        refused(r#"{"version":1,"servers":{},"more":1}"#, "more");
        let mut lock = Lock::default();
        lock.accept("s", &[tool(r#"{"name":"a","description":"x"}"#)]);
        let merged = lock.write().replace("\"x\"", "\"y\"");
        refused(&merged, r#"the tool "a" of the server "s""#);
    }

    proptest! {
        #[test]
        fn reading_and_writing_changes_nothing(
            tools in prop::collection::vec((".{0,4}", ".{0,4}", any::<String>()), 0..6),
        ) {
            let mut lock = Lock::default();
            for (server, name, description) in tools {
                let tool = Json::of(&serde_json::json!({"name": name, "description": description}));
                lock.accept_one(&server, &tool);
                prop_assert_eq!(lock.verdict(&server, &tool), Verdict::Pinned);
            }
            let text = lock.write();
            let again = Lock::read(&text).map_err(TestCaseError::fail)?;
            prop_assert_eq!(again.write(), text);
            prop_assert_eq!(again, lock);
        }
    }
}

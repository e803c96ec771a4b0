//! The gateway's tools of one request: under which name the model calls each, which server runs it, whether the client has
//! to approve. Where there are too many, `overload` says what the model gets instead.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use memchr::memmem;
use serde_json::{Value, json};

use super::overload::{Does, Overload};
use super::wanted::{Source, Wanted};
use super::{Asking, Budget, run};
use crate::config::snapshot::{Key, Snapshot};
use crate::conversation::served::{self, Served, ServedCall, ServedTools};
use crate::conversation::{Ask, CallKind, Json, Part, ToolCall, ToolChoice};
use crate::entry::CallStatus;
use crate::gateway::notes::Notes;
use crate::ground::fault::{Fault, Kind};
use crate::ground::names;
use crate::mcp::Mcp;
use crate::mcp::serve::ask::{Asker, Scope};
use crate::mcp::toolbox::Tool;
use crate::wire::codec::ClientHalf;
use crate::wire::mcp::edit;

/// All tools of one request.
pub(in crate::gateway) struct Toolset {
    pub(in crate::gateway) mcp: Arc<Mcp>,
    pub(super) asker: Asker,
    /// Where its calls are noted.
    pub(super) notes: Notes,
    tools: Vec<GatewayTool>,
    by_function: HashMap<String, usize>,
    /// Two functions stand for all tools.
    pub(super) overload: Option<Overload>,
    /// What is told of lists: one for each label that the client named.
    pub(super) lists: Vec<ServedTools>,
    pub(super) budget: Budget,
    /// The names of the client's own tools.
    own: HashSet<String>,
    /// Calls that the client has decided on, with what came of them.
    pub(super) decided: Vec<Decided>,
}

/// A call that waited for the client's word.
#[derive(Clone)]
pub(super) struct Decided {
    /// The approval that was asked for.
    pub approval: String,
    /// The call, with what came of it.
    pub call: ServedCall,
    pub is_approved: bool,
}

/// One tool.
pub(super) struct GatewayTool {
    /// What the model calls it.
    pub function: String,
    pub label: String,
    /// The server's own name for it.
    pub own: String,
    pub server: String,
    /// No two calls of its server at once.
    pub in_order: bool,
    pub description: Option<String>,
    pub schema: Json,
    pub needs_approval: bool,
    pub does: Does,
}

impl Toolset {
    /// Asks the servers that are meant for their tools.
    ///
    /// # Errors
    /// One of them is not the key's.
    pub(super) async fn of(
        client: &ClientHalf,
        asking: Asking<'_>,
        wanted: Wanted,
    ) -> Result<Self, Fault> {
        let Wanted { sources, ask } = wanted;
        let ask = ask.map_or_else(|| (client.request)(asking.body).map(|(ask, _)| ask), Ok);
        let key = asking.caller.key().cloned();
        let headers = Arc::new(asking.headers.clone());
        let asker = |scope: Scope| {
            Asker::plain(asking.snapshot.clone(), key.clone(), scope, headers.clone())
        };
        let mut set = Self {
            mcp: asking.mcp.clone(),
            asker: asker(Scope::default()),
            notes: asking.record.notes(),
            tools: Vec::new(),
            by_function: HashMap::new(),
            overload: None,
            lists: Vec::new(),
            budget: budget(asking.snapshot, key.as_deref()),
            own: ask.as_ref().map(own_tools).unwrap_or_default(),
            decided: Vec::new(),
        };
        for source in &sources {
            let found = asking.mcp.tools_awaited(&asker(source.scope.clone())).await;
            let found = found.map_err(|denied| Fault::new(Kind::ToolDenied, denied.message()))?;
            let missing = found
                .unavailable
                .iter()
                .map(|(server, error)| format!("{}: {error}", server.display_name()));
            let missing: Vec<String> = missing.collect();
            set.add(source, &found.tools, &missing);
        }
        set.settle(definition_tokens(asking.snapshot, key.as_deref()));
        if memmem::find(asking.body, b"\"mcp_approval_response\"").is_some() {
            set.decide(&ask?).await?;
        }
        Ok(set)
    }

    /// Runs the calls that the client has approved, and notes those that it has not. One whose call stands in the history
    /// has been run before.
    async fn decide(&mut self, ask: &Ask) -> Result<(), Fault> {
        let served: Vec<&Served> =
            ask.turns.iter().flat_map(|turn| &turn.parts).filter_map(Part::as_served).collect();
        for answer in served.iter().filter_map(|served| match served {
            Served::Answer(answer) => Some(answer),
            _ => None,
        }) {
            let asked = served.iter().find_map(|served| match served {
                Served::Approval(approval) if approval.id == answer.id => Some(approval),
                _ => None,
            });
            let is_done = served.iter().any(|served| {
                matches!(served, Served::Call(call) if call.approval.as_ref() == Some(&answer.id))
            });
            if is_done {
                continue;
            }
            let Some(asked) = asked else {
                let text = format!(
                    "No approval with the id `{}` was asked for in this conversation. Send the `mcp_approval_request` \
                     item too, or `previous_response_id`.",
                    names::shown(&answer.id)
                );
                return Err(Fault::invalid(text).with_param("input"));
            };
            let tool =
                self.tools.iter().find(|it| it.label == asked.server && it.own == asked.name);
            if tool.is_none() || !answer.approve {
                let status = if answer.approve { CallStatus::NotRun } else { CallStatus::Denied };
                let function = self.function(&asked.server, &asked.name);
                let server = tool.map_or(&asked.server, |tool| &tool.server);
                let call =
                    self.notes.begin_call(server, &asked.name, &function, &asked.arguments, None);
                call.end(status, None);
            }
            let outcome = match tool {
                None => run::failed("There is no such tool any more."),
                Some(_) if !answer.approve => {
                    let why = answer.reason.as_deref().unwrap_or_default();
                    run::failed(format!("The user did not approve this call. {why}").trim())
                }
                Some(tool) => run::run(self, tool, &asked.arguments, self.budget.time).await,
            };
            let call = ServedCall {
                id: format!("{}mcp_{}", served::OWN_ID, served::call_id(&asked.id)),
                call_id: served::call_id(&asked.id),
                server: asked.server.clone(),
                name: asked.name.clone(),
                function: self.function(&asked.server, &asked.name),
                arguments: asked.arguments.clone(),
                approval: Some(asked.id.clone()),
                outcome: Some(outcome),
            };
            let (approval, is_approved) = (asked.id.clone(), answer.approve);
            self.decided.push(Decided { approval, call, is_approved });
        }
        Ok(())
    }

    /// What came of an approval.
    pub(super) fn decided_on(&self, approval: &str) -> Option<&Decided> {
        self.decided.iter().find(|decided| decided.approval == approval)
    }

    fn add(&mut self, source: &Source, tools: &[Tool], missing: &[String]) {
        let mut listed = Vec::new();
        for tool in tools.iter().filter(|tool| is_allowed(source, tool)) {
            let label = source.label.clone();
            let label = label.unwrap_or_else(|| tool.server.display_name().to_owned());
            let schema = tool.input_schema();
            listed.push(json!({
                "name": tool.own,
                "description": edit::text(&tool.definition, &["description"]),
                "input_schema": schema,
                "annotations": edit::get(&tool.definition, &["annotations"]).map(Json::of_raw),
            }));
            let needs_approval = source.approval.is_needed(&tool.own);
            let known = self.by_function.get(&tool.name).and_then(|at| self.tools.get_mut(*at));
            if let Some(known) = known {
                // Asked for twice, the stricter way counts, and the client's own name for it.
                known.needs_approval |= needs_approval;
                if source.label.is_some() {
                    known.label = label;
                }
                continue;
            }
            self.by_function.insert(tool.name.clone(), self.tools.len());
            self.tools.push(GatewayTool {
                function: tool.name.clone(),
                label,
                own: tool.own.clone(),
                server: tool.server.name.clone(),
                in_order: !tool.server.parallel,
                description: tool.description(),
                schema,
                needs_approval,
                does: Does::Tool,
            });
        }
        if let Some(label) = &source.label {
            self.lists.push(ServedTools {
                id: String::new(),
                server: label.clone(),
                tools: Some(Json::of(&Value::Array(listed))),
                error: (!missing.is_empty()).then(|| missing.join("; ")),
            });
        }
    }

    /// Puts the tools into their order, which is the same for every request, and counts what they cost. A function of the
    /// client's counts more than a tool of the same name.
    fn settle(&mut self, most: Option<u64>) {
        self.tools.retain(|tool| !self.own.contains(&tool.function));
        self.tools.sort_by(|one, other| one.server.cmp(&other.server));
        let functions = self.tools.iter().enumerate();
        self.by_function = functions.map(|(at, tool)| (tool.function.clone(), at)).collect();
        let is_taken = |name: &str| self.own.contains(name) || self.by_function.contains_key(name);
        self.overload = most.and_then(|most| Overload::of(&self.tools, most, is_taken));
    }

    /// All tools, also those that the model has to find first.
    pub(super) fn tools(&self) -> &[GatewayTool] {
        &self.tools
    }

    /// What the model is offered: all tools, or what stands for them and those that the request names itself.
    pub(super) fn offered(&self, choice: Option<&ToolChoice>) -> Vec<&GatewayTool> {
        let Some(overload) = &self.overload else { return self.tools.iter().collect() };
        let named: &[String] = match choice {
            Some(ToolChoice::Named { name, .. }) => std::slice::from_ref(name),
            Some(ToolChoice::Allowed { names, .. }) => names,
            _ => &[],
        };
        let named = self.tools.iter().filter(|tool| named.contains(&tool.function));
        overload.stand_ins.iter().chain(named).collect()
    }

    /// The tool that the model means.
    pub(super) fn find(&self, function: &str) -> Option<&GatewayTool> {
        let stand_ins = self.overload.as_ref().map(|overload| &overload.stand_ins);
        let stand_in = stand_ins.into_iter().flatten().find(|tool| tool.function == function);
        stand_in.or_else(|| self.tools.get(*self.by_function.get(function)?))
    }

    /// Whether a call is of a tool that nobody offered.
    pub(super) fn is_invented(&self, call: &ToolCall) -> bool {
        // Tools of other kinds are the client's, and have names of their own.
        call.kind == CallKind::Function
            && call.namespace.is_none()
            && !self.own.contains(&call.name)
    }

    /// The name under which the model knows a tool of a label.
    pub(super) fn function(&self, label: &str, own: &str) -> String {
        let stand_ins = self.overload.iter().flat_map(|overload| &overload.stand_ins);
        let mut all = self.tools.iter().chain(stand_ins);
        let known = all.find(|tool| tool.label == label && tool.own == own);
        known.map_or_else(|| format!("{label}-{own}"), |tool| tool.function.clone())
    }
}

/// The names of the client's own tools; of blocks and tools that a provider runs there are none.
fn own_tools(ask: &Ask) -> HashSet<String> {
    ask.tools.iter().map(|tool| tool.name.clone()).collect()
}

fn is_allowed(source: &Source, tool: &Tool) -> bool {
    let is_named =
        |names: &Vec<String>| names.iter().any(|name| *name == tool.own || *name == tool.name);
    let is_read_only =
        || edit::read::<bool>(&tool.definition, &["annotations", "readOnlyHint"]) == Some(true);
    source.allowed.names.as_ref().is_none_or(is_named)
        && (!source.allowed.read_only || is_read_only())
}

/// What the definitions may cost: the key's own word counts more.
fn definition_tokens(snapshot: &Snapshot, key: Option<&Key>) -> Option<u64> {
    let own = key.and_then(|key| key.tool_limits.definition_tokens);
    own.or(snapshot.tool_limits.definition_tokens)
}

/// The key's own limits count more than those of all.
fn budget(snapshot: &Snapshot, key: Option<&Key>) -> Budget {
    let all = snapshot.tool_limits;
    let own = key.map(|key| key.tool_limits).unwrap_or_default();
    Budget {
        rounds: own.rounds.or(all.rounds).unwrap_or(16),
        calls: own.calls.or(all.calls).unwrap_or(64),
        time: own.time.or(all.time).unwrap_or(std::time::Duration::from_secs(600)),
        tokens: own.tokens.or(all.tokens),
    }
}

//! The gateway's tools of one request: under which name the model calls each, which server runs it, whether the client has
//! to approve. Where there are too many, `overload` says what the model gets instead.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use memchr::memmem;
use serde_json::{Value, json};

use super::overload::{Does, Overload};
use super::wanted::{self, Source, Wanted};
use super::{Asking, Budget, Pending, connector, run};
use crate::config::snapshot::{Key, Snapshot};
use crate::conversation::served::{
    self, Served, ServedAnswer, ServedApproval, ServedCall, ServedOutcome, ServedTools,
};
use crate::conversation::{Ask, CallKind, Format, Json, Part, ToolCall, ToolChoice};
use crate::entry::CallStatus;
use crate::gateway::notes::Notes;
use crate::ground::fault::{Fault, Kind};
use crate::mcp::Mcp;
use crate::mcp::serve::ask::Asker;
use crate::mcp::toolbox::Tool;
use crate::wire::codec::ClientHalf;
use crate::wire::mcp::edit;

/// All tools of one request.
pub(in crate::gateway) struct Toolset {
    pub(in crate::gateway) mcp: Arc<Mcp>,
    /// As whom servers are asked: one for each way in which tools got in.
    askers: Vec<Asker>,
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
    /// By its number among the askers.
    pub asker: usize,
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
        let asker = |source: &Source| {
            let mut headers = headers.clone();
            for (name, value) in &source.headers {
                Arc::make_mut(&mut headers).insert(name, value.clone());
            }
            Asker::plain(asking.snapshot.clone(), key.clone(), source.scope.clone(), headers)
        };
        let mut set = Self {
            mcp: asking.mcp.clone(),
            askers: sources.iter().map(asker).collect(),
            notes: asking.record.notes(),
            tools: Vec::new(),
            by_function: HashMap::new(),
            overload: None,
            lists: Vec::new(),
            budget: budget(asking.snapshot, key.as_deref()),
            own: ask.as_ref().map(own_tools).unwrap_or_default(),
            decided: Vec::new(),
        };
        for (number, source) in sources.iter().enumerate() {
            let Some(asker) = set.askers.get(number) else { continue };
            let found = asking.mcp.tools_awaited(asker).await;
            let found = found.map_err(|denied| Fault::new(Kind::ToolDenied, denied.message()))?;
            let missing = found
                .unavailable
                .iter()
                .map(|(server, error)| format!("{}: {error}", server.display_name()));
            let missing: Vec<String> = missing.collect();
            set.add(number, source, &found.tools, &missing);
        }
        set.settle(definition_tokens(asking.snapshot, key.as_deref()));
        if client.format != Format::OpenAiResponses {
            set.check_approvals()?;
        }
        if memmem::find(asking.body, b"\"mcp_approval_response\"").is_some() {
            set.decide(&ask?, asking.pending, asking.owner).await?;
        }
        Ok(set)
    }

    /// Only one surface has words for asking.
    fn check_approvals(&self) -> Result<(), Fault> {
        let Some(tool) = self.tools.iter().find(|tool| tool.needs_approval) else { return Ok(()) };
        let text = format!(
            "The tool `{}` of `{}` needs the client's approval, for which only /v1/responses has words. Set \
             \"require_approval\": \"never\", or ask there.",
            tool.own, tool.label
        );
        Err(Fault::invalid(text).with_param("tools"))
    }

    /// Runs the calls that the client has approved, and notes those that it has not. One whose call stands in the history
    /// has been run before; one that was decided before stays as it was.
    async fn decide(&mut self, ask: &Ask, pending: &Pending, owner: &str) -> Result<(), Fault> {
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
            if is_done || self.decided_on(&answer.id).is_some() {
                continue;
            }
            let asked = asked.ok_or_else(|| wanted::nothing_asked(&answer.id))?;
            // Boxed: most requests have none, and would all be larger by it.
            let deciding = Box::pin(self.decision(asked, answer, pending, owner));
            let (is_approved, outcome) = deciding.await;
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
            self.decided.push(Decided { approval: asked.id.clone(), call, is_approved });
        }
        Ok(())
    }

    /// What becomes of a call with a word on it: whether it was approved, and what came of that.
    async fn decision(
        &self,
        asked: &ServedApproval,
        answer: &ServedAnswer,
        pending: &Pending,
        owner: &str,
    ) -> (bool, ServedOutcome) {
        let tool = self.tools.iter().find(|it| it.label == asked.server && it.own == asked.name);
        let note = |status| {
            let function = self.function(&asked.server, &asked.name);
            let server = tool.map_or(&asked.server, |tool| &tool.server);
            let call =
                self.notes.begin_call(server, &asked.name, &function, &asked.arguments, None);
            call.end(status, None);
        };
        let decision = pending.decisions.on(owner, &asked.id);
        if tool.is_none() && answer.approve && !decision.initialized() {
            // It may come back: nothing is decided.
            note(CallStatus::NotRun);
            return (true, run::failed("There is no such tool any more."));
        }
        let deciding = async {
            match tool.filter(|_| answer.approve) {
                Some(tool) => {
                    (true, run::run(self, tool, &asked.arguments, self.budget.time).await)
                }
                None => {
                    note(CallStatus::Denied);
                    let why = answer.reason.as_deref().unwrap_or_default();
                    let text = format!("The user did not approve this call. {why}");
                    (false, run::failed(text.trim()))
                }
            }
        };
        let decided = decision.get_or_init(|| Box::pin(deciding)).await.clone();
        pending.decisions.weigh(owner, &asked.id, &decided.1);
        decided
    }

    /// What came of an approval.
    pub(super) fn decided_on(&self, approval: &str) -> Option<&Decided> {
        self.decided.iter().find(|decided| decided.approval == approval)
    }

    fn add(&mut self, asker: usize, source: &Source, tools: &[Tool], missing: &[String]) {
        let mut listed = Vec::new();
        for tool in tools.iter().filter(|tool| is_allowed(source, tool)) {
            let label = source.label.clone();
            let label = label.unwrap_or_else(|| tool.server.display_name().to_owned());
            let schema = tool.input_schema();
            // Told only where the client has a name for the list.
            if source.label.is_some() {
                listed.push(json!({
                    "name": tool.own,
                    "description": edit::text(&tool.definition, &["description"]),
                    "input_schema": schema,
                    "annotations": edit::get(&tool.definition, &["annotations"]).map(Json::of_raw),
                }));
            }
            let needs_approval = source.approval.is_needed(&tool.own);
            let known = self.by_function.get(&tool.name).and_then(|at| self.tools.get_mut(*at));
            if let Some(known) = known {
                // Asked for twice, the stricter way counts, and the client's own name for it.
                known.needs_approval |= needs_approval;
                if source.label.is_some() {
                    (known.label, known.asker) = (label, asker);
                }
                continue;
            }
            self.by_function.insert(tool.name.clone(), self.tools.len());
            self.tools.push(GatewayTool {
                function: tool.name.clone(),
                label,
                own: tool.own.clone(),
                server: tool.server.name.clone(),
                asker,
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

    /// As whom a tool's server is asked.
    pub(super) fn asker(&self, tool: &GatewayTool) -> Option<&Asker> {
        self.askers.get(tool.asker)
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
    let own = ask.tools.iter().filter(|tool| !connector::is_toolset(tool));
    own.map(|tool| tool.name.clone()).collect()
}

fn is_allowed(source: &Source, tool: &Tool) -> bool {
    let is_named =
        |names: &Vec<String>| names.iter().any(|name| *name == tool.own || *name == tool.name);
    let is_read_only =
        || edit::read::<bool>(&tool.definition, &["annotations", "readOnlyHint"]) == Some(true);
    source.allowed.names.as_ref().is_none_or(is_named)
        && !is_named(&source.allowed.except)
        && (!source.allowed.read_only || is_read_only())
}

/// What the definitions may cost: the key's own word counts more.
fn definition_tokens(snapshot: &Snapshot, key: Option<&Key>) -> Option<u64> {
    let own = key.and_then(|key| key.tool_limits.definition_tokens);
    own.or(snapshot.tool_limits.definition_tokens)
}

/// The key's own limits count more than those of all.
fn budget(snapshot: &Snapshot, key: Option<&Key>) -> Budget {
    let own = key.map(|key| key.tool_limits).unwrap_or_default();
    let limits = own.over(snapshot.tool_limits);
    Budget {
        rounds: limits.max_rounds(),
        calls: limits.max_calls(),
        time: limits.max_time(),
        tokens: limits.tokens,
    }
}

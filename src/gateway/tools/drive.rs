//! The loop: a round of the model is read, its calls of the gateway's tools are run side by side, and with their results
//! the next round begins, until the model has said all, calls tools of the client, or a budget is used up. All of it is
//! told as the events of one answer. Nothing here knows of formats or of the client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::mpsc;

use super::calls::{Captured, Fate, in_rows};
use super::pending::Pending;
use super::run;
use super::toolset::{GatewayTool, Toolset};
use crate::conversation::served::{Served, ServedApproval, ServedCall, ServedOutcome};
use crate::conversation::{
    Content, Delta, Event, Finish, Fold, Part, Role, ToolCall, ToolResult, Turn, Usage, served,
};
use crate::entry::Status;
use crate::gateway::notes::Notes;
use crate::gateway::rounds::Rounds;
use crate::gateway::translated::Round;
use crate::ground::fault::Fault;
use crate::wire::codec::broke_off;

/// Calls of one turn that run at once.
const AT_ONCE: usize = 16;
/// How long a provider that has said all may take to end its stream: then its connection can be used again.
const LINGER: Duration = Duration::from_millis(200);

/// One request's loop.
pub(in crate::gateway) struct Run {
    pub(in crate::gateway) set: Arc<Toolset>,
    pub(in crate::gateway) first: Round,
    pub(in crate::gateway) told: mpsc::Sender<Event>,
    pub(in crate::gateway) rounds: Rounds,
    pub(in crate::gateway) pending: Arc<Pending>,
    pub(in crate::gateway) owner: String,
    /// Longest silence of a provider.
    pub(in crate::gateway) idle: Duration,
    /// What no other answer has: ids are made of it.
    pub(in crate::gateway) seed: String,
}

/// Nobody listens any more, or the answer has been ended.
struct Over;

/// What became of a block of a round.
#[derive(Clone, Copy)]
enum Block {
    /// It is one of the answer's, under this number.
    Passed(u32),
    /// It is a call that the gateway runs.
    Captured(usize),
}

/// What a round came to.
struct Heard {
    /// All that the model said.
    said: Vec<Part>,
    captured: Vec<Captured>,
    finish: Finish,
}

struct Telling {
    told: mpsc::Sender<Event>,
    next: u32,
    usage: Usage,
    has_begun: bool,
    items: u32,
    seed: String,
    notes: Notes,
}

impl Run {
    /// Runs until the answer is complete, or nobody listens any more.
    pub(in crate::gateway) async fn drive(self) {
        let told = self.told.clone();
        tokio::select! {
            () = told.closed() => {}
            _ = self.rounds() => {}
        }
    }

    async fn rounds(self) -> Result<(), Over> {
        let Self { set, first, told, mut rounds, pending, owner, idle, seed } = self;
        let telling = &mut Telling {
            told,
            next: 0,
            usage: Usage::default(),
            has_begun: false,
            items: 0,
            seed,
            notes: set.notes.clone(),
        };
        let deadline = Instant::now() + set.budget.time;
        for mut list in set.lists.clone() {
            list.id = telling.id("mcpl");
            telling.whole(Part::served(Served::Tools(list))).await?;
        }
        for decided in set.decided.iter().filter(|decided| decided.is_approved) {
            telling.whole(Part::served(Served::Call(decided.call.clone()))).await?;
        }
        let (mut turns, mut calls) = (Vec::new(), 0_u32);
        let mut round = first;
        for number in 1.. {
            let heard = telling.hear(&set, &mut round, idle).await?;
            let Heard { mut said, captured, finish } = heard;
            if captured.is_empty() {
                turns.push(Turn::new(Role::Assistant, said));
                pending.keep(&owner, &telling.seed, turns);
                return telling.finish(finish).await;
            }
            calls += u32::try_from(captured.len()).unwrap_or(u32::MAX);
            let is_over = |what: &str| format!("stopped: {what}");
            let budget = &set.budget;
            let over = if number >= budget.rounds {
                Some(is_over(&format!("the model called tools in {} rounds", budget.rounds)))
            } else if calls > budget.calls {
                Some(is_over(&format!("the model called more than {} tools", budget.calls)))
            } else if budget.tokens.is_some_and(|most| telling.usage.total() > most) {
                Some(is_over("the rounds together used more tokens than they may"))
            } else if Instant::now() >= deadline {
                Some(is_over("the tools took longer than they may"))
            } else {
                None
            };
            // Its calls may be half of what the model meant.
            let is_cut =
                matches!(finish, Finish::Length | Finish::ContextWindow | Finish::Filtered(_));
            if is_cut || over.is_some() {
                said.retain(|part| !captured.iter().any(|captured| captured.is(part)));
                turns.push(Turn::new(Role::Assistant, said));
                pending.keep(&owner, &telling.seed, turns);
                if let Some(why) = over.filter(|_| !is_cut) {
                    return telling.stop(&set, captured, &why).await;
                }
                telling.leave(&set, captured, "the model's answer was cut short").await?;
                return telling.finish(finish).await;
            }
            let is_own = |part: &Part| captured.iter().any(|captured| captured.is(part));
            let has_clients = said.iter().any(|part| part.as_call().is_some() && !is_own(part));
            let (asked, ready): (Vec<_>, Vec<_>) =
                captured.into_iter().partition(|captured| captured.fate == Fate::Ask);
            let results = telling.run(&set, ready, deadline).await?;
            // What the client is asked for comes back as an item of its own.
            said.retain(|part| !asked.iter().any(|captured| captured.is(part)));
            turns.push(Turn::new(Role::Assistant, said));
            turns.push(Turn::new(Role::User, results));
            let has_approvals = !asked.is_empty();
            for captured in asked {
                telling.ask_for_approval(&set, captured).await?;
            }
            // Also if it goes no further: what the client has of it by now may come back.
            pending.keep(&owner, &telling.seed, turns.clone());
            if has_clients || has_approvals {
                let finish = if has_clients { Finish::ToolCalls } else { Finish::Stop };
                return telling.finish(finish).await;
            }
            match rounds.next(&set, &turns).await {
                Ok(next) => round = next,
                Err(fault) => return telling.fail(fault).await,
            }
        }
        Err(Over)
    }
}

impl Telling {
    async fn say(&self, event: Event) -> Result<(), Over> {
        self.told.send(event).await.map_err(|_| Over)
    }

    /// An id of something that the gateway did.
    fn id(&mut self, kind: &str) -> String {
        self.items += 1;
        format!("{}{kind}_{}{:x}", served::OWN_ID, self.seed, self.items)
    }

    fn block(&mut self) -> u32 {
        let block = self.next;
        self.next += 1;
        block
    }

    /// A part that is known as a whole.
    async fn whole(&mut self, mut part: Part) -> Result<(), Over> {
        let block = self.block();
        let deltas = part.split();
        self.say(Event::Open { choice: 0, block, part }).await?;
        for delta in deltas {
            self.say(Event::Delta { choice: 0, block, delta }).await?;
        }
        self.say(Event::Close { choice: 0, block }).await
    }

    async fn finish(&mut self, finish: Finish) -> Result<(), Over> {
        self.say(Event::Finish { choice: 0, finish }).await
    }

    async fn fail(&mut self, fault: Fault) -> Result<(), Over> {
        self.notes.end_round(Status::Error);
        self.say(Event::Fail(fault)).await?;
        Err(Over)
    }

    /// What was called is not run.
    async fn leave(&mut self, set: &Toolset, calls: Vec<Captured>, why: &str) -> Result<(), Over> {
        calls.iter().for_each(|captured| run::pass_over(set, &captured.call));
        for block in calls.into_iter().filter_map(|captured| captured.block) {
            self.settle(block, run::failed(&format!("not run; {why}"))).await?;
        }
        Ok(())
    }

    /// The budget is used up, and the answer says why it ends.
    async fn stop(&mut self, set: &Toolset, calls: Vec<Captured>, why: &str) -> Result<(), Over> {
        self.leave(set, calls, why).await?;
        self.whole(Part::text(format!("({why})"))).await?;
        self.finish(Finish::Length).await
    }

    async fn settle(&mut self, block: u32, outcome: ServedOutcome) -> Result<(), Over> {
        let delta = Delta::Outcome(Box::new(outcome));
        self.say(Event::Delta { choice: 0, block, delta }).await?;
        self.say(Event::Close { choice: 0, block }).await
    }

    /// Reads one round and passes on what is the client's.
    async fn hear(
        &mut self,
        set: &Toolset,
        round: &mut Round,
        idle: Duration,
    ) -> Result<Heard, Over> {
        let mut blocks: HashMap<u32, Block> = HashMap::new();
        let mut captured: Vec<Captured> = Vec::new();
        let mut fold = Fold::default();
        let before = self.usage;
        let mut own = Usage::default();
        let mut finish = None;
        while let Some(events) = next(round, idle).await {
            for event in events {
                match &event {
                    Event::Fail(fault) => {
                        self.fail(fault.clone()).await?;
                    }
                    Event::Usage(usage) => {
                        own.learn(*usage);
                        self.usage = before.plus(own);
                        self.notes.note_usage(own);
                        self.say(Event::Usage(self.usage)).await?;
                        continue;
                    }
                    Event::Open { choice, .. }
                    | Event::Delta { choice, .. }
                    | Event::Close { choice, .. }
                    | Event::Finish { choice, .. }
                        if *choice > 0 =>
                    {
                        continue;
                    }
                    _ => {}
                }
                fold.push(event.clone());
                self.pass(set, event, &mut blocks, &mut captured, &mut finish).await?;
            }
        }
        let Ok(reply) = fold.finish() else { return Err(Over) };
        let said = reply.choices.into_iter().next().unwrap_or_default().parts;
        // Arguments were still to come when a call began.
        for captured in &mut captured {
            let whole =
                said.iter().filter_map(Part::as_call).find(|call| call.id == captured.call.id);
            if let Some(whole) = whole {
                captured.call = whole.clone();
            }
            if captured.fate == Fate::ByName {
                captured.call = set.called_by_name(&captured.call);
                self.begin_by_name(set, captured).await?;
            }
        }
        match finish {
            Some(finish) => {
                self.notes.end_round(Status::Ok);
                Ok(Heard { said, captured, finish })
            }
            None => {
                self.fail(broke_off()).await?;
                Err(Over)
            }
        }
    }

    /// What calls a tool by its name is told of as a call of that tool.
    async fn begin_by_name(&mut self, set: &Toolset, captured: &mut Captured) -> Result<(), Over> {
        let Some(tool) = set.find(&captured.call.name) else { return Ok(()) };
        captured.fate = if tool.needs_approval { Fate::Ask } else { Fate::Run };
        if captured.fate == Fate::Ask {
            return Ok(());
        }
        let block = self.block();
        captured.block = Some(block);
        self.open(block, tool, &captured.call).await?;
        self.say(Event::Delta { choice: 0, block, delta: Delta::Called }).await
    }

    /// Begins to tell of a call.
    async fn open(&mut self, block: u32, tool: &GatewayTool, call: &ToolCall) -> Result<(), Over> {
        let served = ServedCall {
            id: self.id("mcp"),
            call_id: call.id.clone(),
            server: tool.label.clone(),
            name: tool.own.clone(),
            function: tool.function.clone(),
            ..ServedCall::default()
        };
        let part = Part::served(Served::Call(served));
        self.say(Event::Open { choice: 0, block, part }).await?;
        if call.arguments.is_empty() {
            return Ok(());
        }
        let delta = Delta::Arguments(call.arguments.clone());
        self.say(Event::Delta { choice: 0, block, delta }).await
    }

    async fn pass(
        &mut self,
        set: &Toolset,
        event: Event,
        blocks: &mut HashMap<u32, Block>,
        captured: &mut Vec<Captured>,
        finish: &mut Option<Finish>,
    ) -> Result<(), Over> {
        match event {
            Event::Begin(head) => {
                if !std::mem::replace(&mut self.has_begun, true) {
                    self.say(Event::Begin(head)).await?;
                }
                Ok(())
            }
            Event::Open { block, part, .. } => {
                let call = part.as_call();
                let Some((call, fate)) = call.and_then(|call| Some((call, set.fate(call)?))) else {
                    let new = self.block();
                    blocks.insert(block, Block::Passed(new));
                    return self.say(Event::Open { choice: 0, block: new, part }).await;
                };
                blocks.insert(block, Block::Captured(captured.len()));
                let function = call.name.clone();
                // One that needs approval is told as what is asked.
                let tool = set.find(&call.name).filter(|_| fate == Fate::Run);
                let told = tool.map(|tool| (self.block(), tool));
                let block = told.map(|(block, _)| block);
                captured.push(Captured { block, call: call.clone(), function, fate });
                match told {
                    Some((block, tool)) => self.open(block, tool, call).await,
                    None => Ok(()),
                }
            }
            Event::Delta { block, delta, .. } => match blocks.get(&block) {
                Some(Block::Passed(block)) => {
                    self.say(Event::Delta { choice: 0, block: *block, delta }).await
                }
                Some(Block::Captured(index)) => {
                    let told = captured.get(*index).and_then(|captured| captured.block);
                    match told.filter(|_| matches!(delta, Delta::Arguments(_))) {
                        Some(block) => self.say(Event::Delta { choice: 0, block, delta }).await,
                        None => Ok(()),
                    }
                }
                None => Ok(()),
            },
            Event::Close { block, .. } => match blocks.get(&block) {
                Some(Block::Passed(block)) => {
                    self.say(Event::Close { choice: 0, block: *block }).await
                }
                // It is closed with its outcome.
                Some(Block::Captured(index)) => {
                    let told = captured.get(*index).and_then(|captured| captured.block);
                    let Some(block) = told else { return Ok(()) };
                    self.say(Event::Delta { choice: 0, block, delta: Delta::Called }).await
                }
                None => Ok(()),
            },
            Event::Finish { finish: reason, .. } => {
                *finish = Some(reason);
                Ok(())
            }
            Event::Usage(_) | Event::Fail(_) => Ok(()),
        }
    }

    /// Runs calls side by side, and tells of each as it ends. Gives their results in the order of the calls.
    async fn run(
        &mut self,
        set: &Toolset,
        calls: Vec<Captured>,
        deadline: Instant,
    ) -> Result<Vec<Part>, Over> {
        let rows = in_rows(set, calls);
        let (ended, mut outcomes) = mpsc::channel(AT_ONCE);
        let running = async {
            let mut rows = stream::iter(rows.into_iter().map(|row| {
                let ended = ended.clone();
                async move {
                    for (index, captured) in row {
                        let outcome = run::one(set, &captured.call, deadline).await;
                        let _nobody_waits = ended.send((index, captured, outcome)).await;
                    }
                }
            }))
            .buffer_unordered(AT_ONCE);
            while rows.next().await.is_some() {}
            drop(rows);
            drop(ended);
        };
        let mut results: Vec<(usize, Part)> = Vec::new();
        let telling = async {
            while let Some((index, captured, outcome)) = outcomes.recv().await {
                let result = ToolResult {
                    call_id: captured.call.id.clone(),
                    name: Some(captured.function.clone()),
                    parts: outcome.parts.clone(),
                    is_error: outcome.is_error,
                    ..ToolResult::default()
                };
                results.push((index, Part::new(Content::ToolResult(result))));
                if let Some(block) = captured.block {
                    self.settle(block, outcome).await?;
                }
            }
            Ok(())
        };
        let ((), told) = tokio::join!(running, telling);
        told?;
        results.sort_by_key(|(index, _)| *index);
        Ok(results.into_iter().map(|(_, result)| result).collect())
    }

    async fn ask_for_approval(&mut self, set: &Toolset, captured: Captured) -> Result<(), Over> {
        let Some(tool) = set.find(&captured.call.name) else { return Ok(()) };
        let approval = ServedApproval {
            id: self.id("mcpr"),
            server: tool.label.clone(),
            name: tool.own.clone(),
            arguments: captured.call.arguments,
        };
        let part = Part::served(Served::Approval(approval));
        let block = self.block();
        self.say(Event::Open { choice: 0, block, part }).await?;
        self.say(Event::Close { choice: 0, block }).await
    }
}

/// The next events of a round; `None` at its end.
async fn next(round: &mut Round, idle: Duration) -> Option<Vec<Event>> {
    if !round.ready.is_empty() {
        return Some(std::mem::take(&mut round.ready));
    }
    let rest = round.rest.as_mut()?;
    let is_terminated = round.reading.is_terminated();
    let patience = if is_terminated { LINGER } else { idle };
    let mut events = Vec::new();
    match tokio::time::timeout(patience, rest.next()).await {
        Ok(Some(Ok(bytes))) => {
            if let Err(fault) = round.reading.push(bytes, &mut events) {
                events.push(Event::Fail(fault));
            }
        }
        Ok(Some(Err(_))) if !is_terminated => events.push(Event::Fail(broke_off())),
        Err(_) if !is_terminated => events.push(Event::Fail(broke_off())),
        Ok(None) | Ok(Some(Err(_))) | Err(_) => {
            round.reading.end(&mut events);
            round.rest = None;
        }
    }
    Some(events)
}

//! What a request with the gateway's own tools comes to, noted as it happens: the rounds of its models, what each used, and
//! the calls of tools. The record and the loop share it, so that a client that goes away leaves a row that says what was done
//! until then. Nothing here decides anything, and nothing knows how rows are kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::cost;
use super::record::uuid_at;
use super::route::Candidate;
use super::tracing::Tells;
use crate::config::snapshot::Deployment;
use crate::config::telemetry::new_span_id;
use crate::conversation::Usage;
use crate::entry::{Attempt, CallStatus, Entry, Round, Status, ToolCall, UsageSource};
use crate::ground::span::micros;
use crate::ground::usd::Usd;
use crate::mcp::traced::ToolSpan;

/// Calls that get a row of their own; a model may call many at once that are all refused.
const MAX_CALLS: usize = 1024;

/// Cheap to clone; all clones are the same notes.
#[derive(Clone)]
pub(super) struct Notes(Arc<Mutex<State>>);

struct State {
    /// The request's beginning, by the clock that never goes back and by the one that people read.
    begun: Instant,
    started_at_us: i64,
    /// Spans are to be made of the calls.
    tells: Option<Tells>,
    rounds: Vec<Asked>,
    /// Tries of the rounds behind the first.
    attempts: Vec<Attempt>,
    calls: Vec<Made>,
    /// Also those that have no row.
    all_calls: u64,
}

/// A round, and what is only known while it lasts.
struct Asked {
    round: Round,
    begun: Instant,
    tried: Option<Arc<Deployment>>,
    has_ended: bool,
}

struct Made {
    call: ToolCall,
    begun: Instant,
    /// Of one that is answered.
    price: Option<Usd>,
    /// Where there is a trace.
    span: Option<Arc<ToolSpan>>,
    has_ended: bool,
}

/// A call while it runs. Dropped before its end, it was cancelled.
pub(super) struct Running {
    notes: Notes,
    /// Absent: it has no row.
    index: Option<usize>,
}

impl Notes {
    pub(super) fn new(begun: Instant, started_at_us: i64, tells: Option<Tells>) -> Self {
        Self(Arc::new(Mutex::new(State {
            begun,
            started_at_us,
            tells,
            rounds: Vec::new(),
            attempts: Vec::new(),
            calls: Vec::new(),
            all_calls: 0,
        })))
    }

    /// A model is about to be asked.
    pub(super) fn begin_round(&self) {
        let mut state = self.lock();
        let began_us = micros(state.begun.elapsed());
        state.rounds.push(Asked {
            round: Round { began_us, ..Round::default() },
            begun: Instant::now(),
            tried: None,
            has_ended: false,
        });
    }

    /// The candidate that is tried for the round.
    pub(super) fn try_candidate(&self, candidate: &Candidate) {
        if let Some(asked) = self.lock().rounds.last_mut() {
            asked.round.deployment.clone_from(&candidate.deployment.id);
            asked.round.model.clone_from(&candidate.model);
            asked.tried = Some(candidate.deployment.clone());
        }
    }

    /// What came of a try in a round behind the first.
    pub(super) fn note_attempt(&self, attempt: Attempt) {
        let mut state = self.lock();
        let round = u32::try_from(state.rounds.len()).ok();
        state.attempts.push(Attempt { round, ..attempt });
    }

    /// All that the round has used so far.
    pub(super) fn note_usage(&self, usage: Usage) {
        if let Some(asked) = self.lock().rounds.last_mut() {
            asked.round.tokens = usage;
        }
    }

    /// The model has said all, or failed; what has ended already stays as it is.
    pub(super) fn end_round(&self, status: Status) {
        let mut state = self.lock();
        let at_us = state.started_at_us;
        if let Some(asked) = state.rounds.last_mut() {
            asked.end(status, at_us);
        }
    }

    /// A tool is about to be called; `arguments` are the model's own text, `price` is what it costs if it is answered.
    pub(super) fn begin_call(
        &self,
        server: &str,
        tool: &str,
        function: &str,
        arguments: &str,
        price: Option<Usd>,
    ) -> Running {
        let mut state = self.lock();
        state.all_calls += 1;
        let index = (state.calls.len() < MAX_CALLS).then_some(state.calls.len());
        if index.is_some() {
            let since = state.begun.elapsed();
            let started_at_us = state.started_at_us.saturating_add_unsigned(micros(since));
            let since_1970 =
                Duration::from_micros(u64::try_from(started_at_us).unwrap_or_default());
            let call = ToolCall {
                id: uuid_at(since_1970),
                started_at_us,
                duration_us: 0,
                round: u32::try_from(state.rounds.len()).unwrap_or(u32::MAX),
                server: server.to_owned(),
                tool: tool.to_owned(),
                function: function.to_owned(),
                status: CallStatus::Cancelled,
                arguments_bytes: arguments.len() as u64,
                result_bytes: None,
                arguments_digest: digest(arguments),
                cost_usd: None,
                span_id: state.tells.as_ref().map_or(0, |_| new_span_id()),
                said: state.tells.as_mut().and_then(|it| it.said(arguments)),
                asked: None,
            };
            let trace = state.tells.as_ref().map(|it| it.trace_of(call.span_id));
            let span = trace.map(|trace| Arc::new(ToolSpan::new(trace)));
            state.calls.push(Made { call, begun: Instant::now(), price, span, has_ended: false });
        }
        Running { notes: self.clone(), index }
    }

    /// Hands all of it over to the request's row; what still goes on ends with it.
    pub(super) fn close(&self, entry: &mut Entry) {
        let mut state = self.lock();
        let unfinished = match entry.status {
            Status::Ok => Status::Cancelled,
            status => status,
        };
        let at_us = state.started_at_us;
        state.rounds.iter_mut().for_each(|asked| asked.end(unfinished, at_us));
        state.calls.iter_mut().for_each(|made| made.end(CallStatus::Cancelled, None));
        if let Some((cost, version)) = state.cost() {
            (entry.cost_usd, entry.price_version) = (cost, version);
        }
        entry.attempts.append(&mut state.attempts);
        entry.tool_calls = state.all_calls;
        entry.tool_call_logs = state.calls.drain(..).map(Made::into_call).collect();
        entry.rounds = state.rounds.drain(..).map(|asked| asked.round).collect();
        let rounds = &entry.rounds;
        if rounds.is_empty() {
            return;
        }
        entry.upstream_us = Some(rounds.iter().map(|round| round.duration_us).sum());
        let tokens = rounds.iter().fold(Usage::default(), |sum, round| sum.plus(round.tokens));
        if !tokens.is_empty() {
            entry.tokens = tokens;
            entry.usage_source = UsageSource::Provider;
        }
    }

    /// What all rounds and calls have cost together, and by which prices; `None` where there was no round. Unknown where a round used
    /// something of unknown price.
    pub(super) fn cost(&self) -> Option<(Option<Usd>, Option<Arc<str>>)> {
        self.lock().cost()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn cost(&self) -> Option<(Option<Usd>, Option<Arc<str>>)> {
        if self.rounds.is_empty() {
            return None;
        }
        let used = self.rounds.iter().map(|asked| &asked.round);
        // An answer whose size nobody said costs what nobody knows; a try that failed costs nothing.
        let used = used.filter(|it| it.status == Status::Ok || !it.tokens.is_empty());
        let calls = self.calls.iter().filter_map(|made| made.call.cost_usd);
        let models: Option<Vec<Usd>> = used.clone().map(|round| round.cost_usd).collect();
        let models = models.filter(|costs| !costs.is_empty());
        let cost = models.map(|costs| costs.into_iter().chain(calls).sum());
        let mut versions: Vec<&Arc<str>> = Vec::new();
        for version in used.filter_map(|round| round.price_version.as_ref()) {
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
        let version = match versions.as_slice() {
            [] => None,
            [one] => Some(Arc::clone(one)),
            several => {
                let names: Vec<&str> = several.iter().map(|version| &***version).collect();
                Some(names.join(",").into())
            }
        };
        Some((cost, version.filter(|_| cost.is_some())))
    }
}

impl Asked {
    /// `at_us`: when the request began.
    fn end(&mut self, status: Status, at_us: i64) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        let round = &mut self.round;
        round.status = status;
        round.duration_us = micros(self.begun.elapsed());
        let tried = self.tried.as_deref();
        let tried = tried.filter(|_| status == Status::Ok || !round.tokens.is_empty());
        let cost =
            tried.and_then(|tried| cost::of(tried, &round.model, None, &round.tokens, at_us));
        (round.cost_usd, round.price_version) = cost.map(|it| (it.usd, it.version)).unzip();
    }
}

impl Made {
    fn end(&mut self, status: CallStatus, result_bytes: Option<u64>) {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.call.status = status;
            self.call.result_bytes = result_bytes;
            self.call.cost_usd = self.price.filter(|_| result_bytes.is_some());
            self.call.duration_us = micros(self.begun.elapsed());
        }
    }

    fn into_call(self) -> ToolCall {
        let asked = self.span.and_then(|span| span.asked()).map(Box::new);
        ToolCall { asked, ..self.call }
    }
}

impl Running {
    /// The call is over; `result_bytes` where the server answered with a result.
    pub(super) fn end(self, status: CallStatus, result_bytes: Option<u64>) {
        self.settle(status, result_bytes);
    }

    /// The call's span, of which the server is told.
    pub(super) fn span(&self) -> Option<Arc<ToolSpan>> {
        self.index.and_then(|index| self.notes.lock().calls.get(index)?.span.clone())
    }

    /// What the server answered, where spans are to hold it.
    pub(super) fn note_result(&self, result: &str) {
        let mut state = self.notes.lock();
        let kept = state.tells.as_mut().and_then(|tells| tells.excerpt(result));
        let said = self.index.and_then(|index| state.calls.get_mut(index)?.call.said.as_mut());
        if let Some(said) = said {
            said.1 = kept;
        }
    }

    fn settle(&self, status: CallStatus, result_bytes: Option<u64>) {
        let mut state = self.notes.lock();
        // After the row was written there is nothing left to be changed.
        if let Some(made) = self.index.and_then(|index| state.calls.get_mut(index)) {
            made.end(status, result_bytes);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.settle(CallStatus::Cancelled, None);
    }
}

fn digest(text: &str) -> [u8; 16] {
    let whole = Sha256::digest(text.as_bytes());
    let mut half = [0; 16];
    half.iter_mut().zip(whole).for_each(|(half, byte)| *half = byte);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes() -> Notes {
        Notes::new(Instant::now(), 1_770_091_506_789_000, None)
    }

    fn used(input: u64, output: u64) -> Usage {
        Usage { input: Some(input), output: Some(output), ..Usage::default() }
    }

    #[test]
    fn rounds_and_calls_are_summed_in_one_row() {
        let notes = notes();
        notes.begin_call("db", "drop", "db-drop", "{}", None).end(CallStatus::Denied, None);
        notes.begin_round();
        notes.note_usage(used(1, 1));
        notes.note_usage(used(10, 2));
        notes.end_round(Status::Ok);
        notes.end_round(Status::Error);
        notes.begin_call("db", "list", "db-list", "abc", None).end(CallStatus::Ok, Some(7));
        notes.begin_round();
        let attempt = Attempt {
            deployment: "d".into(),
            status: None,
            error: None,
            duration_us: 1,
            round: None,
            ..Attempt::default()
        };
        notes.note_attempt(attempt.clone());
        notes.note_usage(used(20, 3));
        notes.end_round(Status::Ok);
        let mut entry = Entry { attempts: vec![attempt], ..Entry::default() };
        notes.close(&mut entry);
        assert_eq!(entry.tokens, used(30, 5));
        assert_eq!((entry.rounds.len(), entry.tool_calls), (2, 2));
        assert_eq!(entry.rounds[0].tokens, used(10, 2));
        assert!(entry.rounds.iter().all(|round| round.status == Status::Ok));
        let rounds: Vec<_> = entry.attempts.iter().map(|attempt| attempt.round).collect();
        assert_eq!(rounds, [None, Some(2)]);
        let calls: Vec<_> =
            entry.tool_call_logs.iter().map(|it| (it.round, it.status, it.result_bytes)).collect();
        assert_eq!(calls, [(0, CallStatus::Denied, None), (1, CallStatus::Ok, Some(7))]);
        let call = &entry.tool_call_logs[1];
        // The SHA-256 of `abc`: FIPS 180-2, appendix B.1.
        assert_eq!(call.arguments_digest[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(call.arguments_bytes, 3);
        assert_eq!(call.id.get_version_num(), 7);
    }

    #[test]
    fn what_goes_on_when_the_row_is_written_was_cancelled() {
        let notes = notes();
        notes.begin_round();
        let running = notes.begin_call("db", "hang", "db-hang", "{}", None);
        drop(notes.begin_call("db", "hang", "db-hang", "{}", None));
        let mut entry = Entry { status: Status::Cancelled, ..Entry::default() };
        notes.close(&mut entry);
        assert_eq!(entry.rounds[0].status, Status::Cancelled);
        assert_eq!(entry.tool_call_logs.len(), 2);
        assert!(entry.tool_call_logs.iter().all(|it| it.status == CallStatus::Cancelled));
        // Too late to matter, and no harm.
        running.end(CallStatus::Ok, Some(1));
        assert_eq!(entry.tokens, Usage::default());
        assert_eq!(entry.usage_source, UsageSource::None);
    }

    #[test]
    fn rows_of_calls_are_bounded_and_all_are_counted() {
        let notes = notes();
        for _ in 0..MAX_CALLS + 5 {
            notes.begin_call("db", "list", "db-list", "{}", None).end(CallStatus::NotRun, None);
        }
        let mut entry = Entry::default();
        notes.close(&mut entry);
        assert_eq!(entry.tool_call_logs.len(), MAX_CALLS);
        assert_eq!(entry.tool_calls, MAX_CALLS as u64 + 5);
    }
}

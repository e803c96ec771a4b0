//! The body of a request, field by field. What the server lacks is left out and said, or refused where the
//! deployment wants that (`drop_params: false`).

use sha2::{Digest, Sha256};

use super::super::quirks::{self, Quirks};
use super::model::Model;
use super::tree::{Node, Object};
use super::{CHAT, messages, reasoning, tools};
use crate::conversation::{Ask, Effort, Format, Json, Losses};
use crate::ground::fault::Fault;
use crate::wire::codec::{Outbound, Target};
use crate::wire::lacking::{self, Knob};

/// The longest `user` that OpenAI takes.
const LONGEST_USER: usize = 64;

/// What writing a request needs to know.
pub(super) struct Writer<'a, 'l> {
    pub ask: &'a Ask,
    pub target: &'a Target<'a>,
    pub quirks: &'static Quirks,
    pub model: Model,
    /// It runs on Mistral's tokenizer, with its rules.
    pub mistral: bool,
    /// What the server would refuse is mended.
    pub mends: bool,
    /// The effort that will be asked for.
    pub effort: Option<Effort>,
    pub losses: &'l mut Losses,
}

/// Writes a request.
///
/// Errors: `InvalidRequest`: something without which an answer would be wrong, or a field that the server
/// lacks where those are not to be dropped.
pub(super) fn write(
    ask: &Ask,
    target: &Target<'_>,
    losses: &mut Losses,
) -> Result<Outbound, Fault> {
    let quirks = quirks::of(target);
    let mut writer = Writer {
        ask,
        target,
        quirks,
        model: if quirks.openai_models { Model::of(target) } else { Model::Plain },
        mistral: quirks::is_mistral(quirks, target.model),
        mends: target.options.modify_params != Some(false),
        effort: None,
        losses,
    };
    let mut body = Object::default().with("model", Node::text(target.model));
    let messages = messages::write(&mut writer)?;
    body.put("messages", Node::List(messages));
    tools::write(&mut writer, &mut body)?;
    tools::text_format(&mut writer, &mut body);
    reasoning::write(&mut writer, &mut body)?;
    writer.sampling(&mut body)?;
    writer.account(&mut body)?;
    writer.extras(&mut body)?;
    if target.stream {
        body.put("stream", Node::Flag(true));
        if target.provider.stream_usage {
            let usage = Object::default().with("include_usage", Node::Flag(true));
            body.put("stream_options", usage.node());
        }
    }
    let body =
        serde_json::to_vec(&body).map_err(|_| Fault::bug("a chat request has no JSON form"))?;
    Ok(Outbound { path: "/chat/completions".to_owned(), body, ..Outbound::default() })
}

impl<'a> Writer<'a, '_> {
    /// Whether a field may be sent. If not, that is said or refused.
    pub(super) fn may(&mut self, field: &'static str) -> Result<bool, Fault> {
        if self.takes(field) {
            return Ok(true);
        }
        self.lacks(field)?;
        Ok(false)
    }

    fn takes(&self, field: &str) -> bool {
        self.target.allows(field)
            || self.quirks.takes(field, self.ask)
                && !(self.quirks.openai_models && self.model.refuses(field, self.effort))
                && !self.thinks_too_much_for(field)
    }

    /// What the client calls the list of turns.
    pub(super) fn list(&self) -> &'static str {
        if self.ask.format == Format::OpenAiResponses { "input" } else { "messages" }
    }

    /// What the client calls a field of chat completions.
    fn told<'f>(&self, field: &'f str) -> &'f str {
        let knob = match field {
            "parallel_tool_calls" => Knob::ParallelToolCalls,
            "verbosity" => Knob::Verbosity,
            "user" | "safety_identifier" => Knob::User,
            "reasoning_effort" => Knob::Reasoning,
            "stop" => Knob::Stop,
            "max_tokens" if self.ask.format == Format::OpenAiResponses => {
                return "max_output_tokens";
            }
            other => return other,
        };
        lacking::place(self.ask.format, knob)
    }

    /// xAI's reasoning models refuse these (<https://docs.x.ai/docs/guides/reasoning>).
    fn thinks_too_much_for(&self, field: &str) -> bool {
        let model = self.target.model;
        self.quirks.name == "xai"
            && matches!(field, "stop" | "presence_penalty" | "frequency_penalty")
            && (model.starts_with("grok-4") || model.contains("mini") || model.contains("code"))
            && !model.contains("non-reasoning")
    }

    /// A field of the request that the server lacks.
    pub(super) fn lacks(&mut self, field: &str) -> Result<(), Fault> {
        let (model, server) = (self.target.model, self.quirks.shown());
        let told = self.told(field);
        if self.target.options.drop_params == Some(false) {
            let why = format!(
                "`{told}` is not taken by `{model}` at {server}. Leave it out, or let the \
                 deployment drop it (`drop_params: true`) or send it all the same \
                 (`allowed_openai_params: [{field}]`)."
            );
            return Err(Fault::invalid(why).with_param(told.to_owned()));
        }
        self.losses.add(told.to_owned(), format!("`{model}` at {server} does not take it"));
        Ok(())
    }

    fn sampling(&mut self, body: &mut Object<'a>) -> Result<(), Fault> {
        let sampling = &self.ask.sampling;
        // 1 is what reasoning models have anyway.
        let is_default = sampling.temperature.as_ref().and_then(Json::read::<f64>) == Some(1.0);
        if !(is_default && self.model.refuses("temperature", self.effort)) {
            self.number(body, "temperature", sampling.temperature.as_ref())?;
        }
        self.number(body, "top_p", sampling.top_p.as_ref())?;
        self.number(body, "top_k", sampling.top_k.as_ref())?;
        self.number(body, "min_p", sampling.min_p.as_ref())?;
        self.number(body, "seed", sampling.seed.as_ref())?;
        self.number(body, "presence_penalty", sampling.presence_penalty.as_ref())?;
        self.number(body, "frequency_penalty", sampling.frequency_penalty.as_ref())?;
        self.number(body, "logit_bias", sampling.logit_bias.as_ref())?;
        self.logprobs(body)?;
        self.stops(body)?;
        if let Some(n) = sampling.n.filter(|n| *n > 1)
            && self.may("n")?
        {
            body.put("n", Node::Count(n));
        }
        self.limit(body);
        Ok(())
    }

    fn number(
        &mut self,
        body: &mut Object<'a>,
        field: &'static str,
        value: Option<&'a Json>,
    ) -> Result<(), Fault> {
        if let Some(value) = value
            && self.may(field)?
        {
            // https://docs.mistral.ai/api/endpoint/chat
            let renamed = field == "seed" && self.quirks.name == "mistral";
            body.put(if renamed { "random_seed" } else { field }, Node::raw(value));
        }
        Ok(())
    }

    fn logprobs(&mut self, body: &mut Object<'a>) -> Result<(), Fault> {
        let sampling = &self.ask.sampling;
        let wanted = sampling.logprobs == Some(true) || sampling.top_logprobs.is_some();
        if !wanted || !self.may("logprobs")? {
            return Ok(());
        }
        if self.quirks.name == "together_ai" {
            // A number here: https://docs.together.ai/docs/logprobs.
            body.put("logprobs", Node::Count(sampling.top_logprobs.unwrap_or(1).max(1)));
            return Ok(());
        }
        body.put("logprobs", Node::Flag(true));
        if let Some(top) = sampling.top_logprobs
            && self.may("top_logprobs")?
        {
            body.put("top_logprobs", Node::Count(top));
        }
        Ok(())
    }

    fn stops(&mut self, body: &mut Object<'a>) -> Result<(), Fault> {
        let stops: Vec<_> = self.ask.sampling.stop.iter().filter(|stop| !stop.is_empty()).collect();
        if stops.is_empty() || !self.may("stop")? {
            return Ok(());
        }
        let most = self.quirks.most_stops;
        if stops.len() > most {
            self.losses.add(
                self.told("stop").to_owned(),
                format!("only the first {most} stop sequences are taken"),
            );
        }
        let stops = stops.into_iter().take(most).map(|stop| Node::text(stop.as_str()));
        body.put("stop", Node::List(stops.collect()));
        Ok(())
    }

    fn limit(&mut self, body: &mut Object<'a>) {
        let Some(wanted) = self.ask.max_tokens else { return };
        let mut limit = wanted;
        // Claude Code asks for 32000 of any model; OpenAI's older ones answer that with 400.
        if let Some(most) = self.target.number("max_output_tokens").filter(|most| *most > 0)
            && self.mends
            && wanted > most
        {
            limit = most;
            self.losses.add(
                self.told("max_tokens").to_owned(),
                format!("the model gives at most {most} tokens"),
            );
        }
        // Reasoning models refuse `max_tokens`, behind somebody's proxy too; older servers do not know the
        // newer name.
        let newer = Model::of(self.target).reasons() || self.quirks.name == "openai";
        body.put(if newer { "max_completion_tokens" } else { "max_tokens" }, Node::Count(limit));
    }

    /// Who asks, and how it is billed.
    fn account(&mut self, body: &mut Object<'a>) -> Result<(), Fault> {
        if let Some(user) = &self.ask.user {
            // The newer name only where the older one says something else.
            let both = self.ask.extras.of(CHAT).iter().any(|(name, _)| name == "user");
            let field = if both { "safety_identifier" } else { "user" };
            if self.may(field)? {
                body.put_text(field, short_user(user));
            }
        }
        if let Some(metadata) = &self.ask.metadata
            && self.may("metadata")?
        {
            let stored = self.ask.extras.get("store").is_some_and(|store| store.as_str() == "true");
            if self.quirks.openai_models && !stored {
                // A 400 otherwise: https://github.com/tmc/langchaingo/issues/1484.
                self.losses.add("metadata", "OpenAI takes it only together with `store: true`");
            } else {
                body.put("metadata", Node::raw(metadata));
            }
        }
        if let Some(tier) = &self.ask.service_tier
            && self.may("service_tier")?
        {
            // https://console.groq.com/docs/service-tiers
            let tier = match (self.quirks.name, tier.as_str()) {
                ("groq", "default") => "on_demand",
                (_, tier) => tier,
            };
            body.put_text("service_tier", tier);
        }
        if let Some(verbosity) = &self.ask.verbosity
            && self.may("verbosity")?
        {
            body.put_text("verbosity", verbosity.as_str());
        }
        Ok(())
    }

    fn extras(&mut self, body: &mut Object<'a>) -> Result<(), Fault> {
        for (name, value) in self.ask.extras.of(CHAT) {
            let known = match name.as_str() {
                // Written by us, or not at all.
                "stream_options" | "model" | "messages" => continue,
                // A word of the server's own, such as Groq's `default`.
                "reasoning_effort" => body.has("reasoning_effort"),
                _ => false,
            };
            if known {
                continue;
            }
            if self.takes(name) {
                body.put_extra(name, value);
            } else {
                self.lacks(name)?;
            }
        }
        for name in self.ask.extras.foreign_to(CHAT) {
            // The two OpenAI formats share their cache.
            let shared = self.quirks.name == "openai" && name.starts_with("prompt_cache_");
            match self.ask.extras.get(name) {
                Some(value) if shared => body.put_extra(name, value),
                _ => self.losses.add(name.to_owned(), "chat completions have no such field"),
            }
        }
        Ok(())
    }
}

/// A `user` that is taken: Claude Code's is a text of some 150 characters, so it becomes its SHA-256 in 64
/// hexadecimal digits (<https://github.com/looplj/axonhub/issues/1669>).
fn short_user(user: &str) -> String {
    if user.chars().count() <= LONGEST_USER {
        return user.to_owned();
    }
    Sha256::digest(user.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

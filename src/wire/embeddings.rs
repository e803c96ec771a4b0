//! Embeddings: OpenAI's request and answer, and what Ollama, Gemini and Cohere make of them. A request is
//! read once, here; each vendor's own file writes it in its words and reads its answer.
//! (<https://platform.openai.com/docs/api-reference/embeddings>)

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use super::codec::{Outbound, garbage};
use super::fields::{self, Fields};
use super::members::Members;
use super::{cohere, gemini, ollama};
use crate::conversation::{Format, Json};
use crate::ground::fault::{Fault, Kind};

/// An OpenAI embeddings request.
#[derive(Debug)]
pub struct Wanted<'b> {
    input: &'b RawValue,
    pub dimensions: Option<u64>,
    /// The vectors are wanted as base64 of little-endian 32-bit floats, which OpenAI's SDKs ask for unasked.
    pub base64: bool,
    rest: Fields<'b>,
}

/// What a vendor answered: each vector a JSON list of numbers.
#[derive(Debug)]
pub struct Vectors<'b> {
    pub list: Vec<&'b RawValue>,
    /// Tokens of the input, where the vendor says.
    pub tokens: Option<u64>,
}

/// Writes an OpenAI embeddings request for a provider of another format. The second value says that the
/// client wants base64.
///
/// # Errors
/// `InvalidRequest`: what is wrong with the request; `Unsupported`: the format has no embeddings.
pub fn request(format: Format, body: &[u8], model: &str) -> Result<(Outbound, bool), Fault> {
    let base64 = Wanted::read(body)?.base64;
    let outbound = match format {
        Format::Ollama => ollama::embed::request(body, model),
        Format::Cohere => cohere::embed::request(body, model),
        Format::Gemini => gemini::embed::request(body, model),
        _ => Err(no_embeddings()),
    };
    Ok((outbound?, base64))
}

/// Reads a provider's answer and writes OpenAI's. `model` is the name the client asked for.
///
/// # Errors
/// `UpstreamGarbage`: it holds no vectors.
pub fn reply(format: Format, body: &[u8], model: &str, base64: bool) -> Result<Vec<u8>, Fault> {
    match format {
        Format::Ollama => ollama::embed::reply(body, model, base64),
        Format::Cohere => cohere::embed::reply(body, model, base64),
        Format::Gemini => gemini::embed::reply(body, model, base64),
        _ => Err(no_embeddings()),
    }
}

impl<'b> Wanted<'b> {
    /// Reads a request.
    ///
    /// # Errors
    /// `InvalidRequest`: which field is wrong.
    pub fn read(body: &'b [u8]) -> Result<Self, Fault> {
        let mut fields = Fields::of_bytes(body)
            .ok_or_else(|| Fault::invalid("The body must be a JSON object, and it is not."))?;
        let input = fields.take("input");
        let input = fields.required("input", input)?;
        let dimensions = fields.count("dimensions")?;
        let base64 = match fields.string("encoding_format")?.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => return Err(fields.wrong("encoding_format", "`float` or `base64`")),
        };
        Ok(Self { input, dimensions, base64, rest: fields })
    }

    /// The texts of the input, which is one text or a list of them.
    ///
    /// # Errors
    /// `InvalidRequest`: it is neither, or empty, or tokens, which only their own tokenizer can read.
    pub fn texts(&self) -> Result<Vec<String>, Fault> {
        if let Some(text) = fields::as_string(self.input) {
            return Ok(vec![text]);
        }
        let wrong = || fields::wrong("input", "a string or a list of strings");
        let items: Vec<&RawValue> = serde_json::from_str(self.input.get()).map_err(|_| wrong())?;
        if items.is_empty() {
            return Err(Fault::invalid("`input` is an empty list: there is nothing to embed.")
                .with_param("input"));
        }
        if items.iter().any(|item| item.get().starts_with(|c: char| c == '[' || c.is_ascii_digit()))
        {
            return Err(Fault::invalid(
                "`input` holds tokens, which this model's provider cannot read. Send the text itself (LangChain: \
                 check_embedding_ctx_length=False).",
            )
            .with_param("input"));
        }
        items.into_iter().map(|item| fields::as_string(item).ok_or_else(wrong)).collect()
    }

    /// Copies the vendor's own parameters.
    pub fn own(&self, names: &[&str], members: &mut Members) {
        for name in names {
            members.set(name, self.rest.peek(name).map(Json::of_raw));
        }
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    object: &'static str,
    data: Vec<Embedding<'a>>,
    model: &'a str,
    usage: Counts,
}

#[derive(Serialize)]
struct Embedding<'a> {
    object: &'static str,
    index: usize,
    embedding: Vector<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector<'a> {
    /// As the provider spelled it.
    Numbers(&'a RawValue),
    Base64(String),
}

#[derive(Serialize)]
struct Counts {
    prompt_tokens: u64,
    total_tokens: u64,
}

impl Vectors<'_> {
    /// Writes OpenAI's answer.
    ///
    /// # Errors
    /// `UpstreamGarbage`: one is no list of numbers.
    pub fn write(&self, model: &str, base64: bool) -> Result<Vec<u8>, Fault> {
        let mut data = Vec::with_capacity(self.list.len());
        for (index, numbers) in self.list.iter().enumerate() {
            let floats: Vec<f32> = serde_json::from_str(numbers.get()).map_err(|_| {
                garbage("The provider sent an embedding that is no list of numbers.")
            })?;
            let embedding = if base64 {
                let bytes: Vec<u8> = floats.into_iter().flat_map(f32::to_le_bytes).collect();
                Vector::Base64(STANDARD.encode(bytes))
            } else {
                Vector::Numbers(numbers)
            };
            data.push(Embedding { object: "embedding", index, embedding });
        }
        // OpenAI's clients want the counts; what the provider does not say is 0.
        let tokens = self.tokens.unwrap_or_default();
        let usage = Counts { prompt_tokens: tokens, total_tokens: tokens };
        let answer = Answer { object: "list", data, model, usage };
        serde_json::to_vec(&answer).map_err(|_| Fault::bug("an answer that has no JSON"))
    }
}

fn no_embeddings() -> Fault {
    Fault::new(Kind::Unsupported, "This model's provider has no embeddings in its own format.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(format: Format, body: &str, expected: &str) {
        let (outbound, _) = request(format, body.as_bytes(), "m").expect("a request");
        assert_eq!(String::from_utf8_lossy(&outbound.body), expected);
    }

    #[track_caller]
    fn check_fault(body: &str, expected: &str) {
        let fault = request(Format::Ollama, body.as_bytes(), "m").expect_err("a fault");
        assert_eq!(fault.status(), 400);
        assert!(fault.message.contains(expected), "{}", fault.message);
    }

    #[test]
    fn requests_are_written_in_the_vendors_words() {
        let body = r#"{"model":"x","input":"hi","encoding_format":"base64","user":"u"}"#;
        check(Format::Ollama, body, r#"{"model":"m","input":["hi"]}"#);
        let cohere = r#"{"model":"m","texts":["hi"],"input_type":"search_document","embedding_types":["float"]}"#;
        check(Format::Cohere, body, cohere);
        let body =
            r#"{"input":["a","b"],"dimensions":256,"keep_alive":"5m","input_type":"search_query"}"#;
        let ollama = r#"{"model":"m","input":["a","b"],"dimensions":256,"keep_alive":"5m"}"#;
        check(Format::Ollama, body, ollama);
        let cohere = r#"{"model":"m","texts":["a","b"],"input_type":"search_query","embedding_types":["float"],"output_dimension":256}"#;
        check(Format::Cohere, body, cohere);
        let (_, base64) =
            request(Format::Ollama, br#"{"input":"a","encoding_format":"base64"}"#, "m")
                .expect("a request");
        assert!(base64);
    }

    #[test]
    fn wrong_requests_are_told_so() {
        check_fault("[]", "must be a JSON object");
        check_fault("{}", "`input` is missing");
        check_fault(r#"{"input":[]}"#, "empty list");
        check_fault(r#"{"input":[1,2]}"#, "holds tokens");
        check_fault(r#"{"input":[[1,2],[3]]}"#, "holds tokens");
        check_fault(r#"{"input":{"a":1}}"#, "a string or a list of strings");
        check_fault(r#"{"input":["a",null]}"#, "a string or a list of strings");
        check_fault(r#"{"input":"a","encoding_format":"int8"}"#, "`float` or `base64`");
        check_fault(r#"{"input":"a","dimensions":-1}"#, "`dimensions`");
        let fault = request(Format::Bedrock, br#"{"input":"a"}"#, "m").expect_err("none");
        assert_eq!(fault.kind, Kind::Unsupported);
    }

    #[test]
    fn answers_become_openais() {
        let ollama = br#"{"model":"x","embeddings":[[0.5,-1e-3],[1,2]],"prompt_eval_count":8}"#;
        let answer = reply(Format::Ollama, ollama, "mine", false).expect("an answer");
        assert_eq!(
            String::from_utf8_lossy(&answer),
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,-1e-3]},{"object":"embedding","index":1,"embedding":[1,2]}],"model":"mine","usage":{"prompt_tokens":8,"total_tokens":8}}"#
        );
        let cohere = include_bytes!("../../tests/golden/answers/cohere/embed.json");
        let answer = reply(Format::Cohere, cohere, "mine", true).expect("an answer");
        let answer: serde_json::Value = serde_json::from_slice(&answer).expect("json");
        let text = answer["data"][0]["embedding"].as_str().expect("base64");
        let bytes = STANDARD.decode(text).expect("base64");
        assert_eq!(bytes.get(..4), Some(&0.016_296_387_f32.to_le_bytes()[..]));
        assert_eq!(answer["usage"]["prompt_tokens"], 2);
    }

    #[test]
    fn what_is_no_answer_is_garbage() {
        for body in [&b""[..], b"{}", b"[]", br#"{"embeddings":[["a"]]}"#, br#"{"embeddings":{}}"#]
        {
            for format in [Format::Ollama, Format::Cohere] {
                let fault = reply(format, body, "m", false).expect_err("no answer");
                assert_eq!(fault.kind, Kind::UpstreamGarbage);
            }
        }
    }
}

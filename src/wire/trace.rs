//! Traces in headers and in MCP's `_meta`: what a caller claims there, and what is put there for others. Nothing here decides
//! who is believed or told.
//! <https://www.w3.org/TR/trace-context/>; MCP: SEP-414, members without a prefix

use http::{HeaderMap, HeaderName, HeaderValue};

use super::mcp::edit;
use crate::conversation::Json;
use crate::ground::trace::{Carrier, Claim, Trace};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
/// <https://www.w3.org/TR/trace-context-2/#traceresponse-header>
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");
const META: &str = "_meta";

/// What a caller claims in the headers of its request.
pub fn claim_of(headers: &HeaderMap) -> Option<Claim> {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let parent = parents.next()?.to_str().ok()?;
    // Of two nobody knows which is meant.
    if parents.next().is_some() {
        return None;
    }
    let list = |name: HeaderName| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let values: Vec<&str> = values.collect();
        (!values.is_empty()).then(|| values.join(","))
    };
    Claim::read(Some(parent), list(TRACESTATE).as_deref(), list(BAGGAGE).as_deref())
}

/// What a client claims in the params of an MCP request.
pub fn claim_of_meta(params: &Json) -> Option<Claim> {
    let text = |name: &str| edit::text(params, &[META, name]);
    let (state, baggage) = (text("tracestate"), text("baggage"));
    Claim::read(text("traceparent").as_deref(), state.as_deref(), baggage.as_deref())
}

/// Puts what is passed on into headers; what they said of traces is gone.
pub fn inject(carrier: &Carrier, headers: &mut HeaderMap) {
    for (name, text) in members(carrier) {
        let name = HeaderName::from_static(name);
        match text.map(HeaderValue::try_from) {
            Some(Ok(value)) => drop(headers.insert(name, value)),
            _ => drop(headers.remove(name)),
        }
    }
}

/// Puts what is passed on into the params of an MCP request; what they said of traces is gone.
pub fn inject_meta(carrier: &Carrier, params: &Json) -> Json {
    // It is taken out, changed and put back: it is short, and what stands beside it may be long.
    let meta = edit::get(params, &[META]).map(Json::of_raw).filter(Json::is_object);
    let mut meta = meta.unwrap_or_else(Json::empty_object);
    for (name, text) in members(carrier) {
        meta = match text {
            Some(text) => edit::set(&meta, &[name], Json::of(&text).as_str()),
            None => edit::without(meta, &[name]),
        };
    }
    edit::set(params, &[META], meta.as_str())
}

/// Tells the caller which trace it was, where that is kept.
pub fn tell_caller(trace: &Trace, headers: &mut HeaderMap) {
    if trace.sampled
        && let Ok(value) = HeaderValue::try_from(trace.place.traceparent(true))
    {
        headers.insert(TRACERESPONSE, value);
    }
}

fn members(carrier: &Carrier) -> [(&'static str, Option<&str>); 3] {
    [
        ("traceparent", Some(carrier.traceparent.as_str())),
        ("tracestate", carrier.state.as_deref()),
        ("baggage", carrier.baggage.as_deref()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn headers_and_meta_say_the_same() {
        let mut headers = HeaderMap::new();
        assert_eq!(claim_of(&headers), None);
        headers.insert("traceparent", HeaderValue::from_static(PARENT));
        headers.append("tracestate", HeaderValue::from_static("a=1"));
        headers.append("tracestate", HeaderValue::from_static("b=2"));
        headers.insert("baggage", HeaderValue::from_static("k=v"));
        let claim = claim_of(&headers).expect("a claim");
        assert_eq!(claim.state.as_deref(), Some("a=1,b=2"));
        let params = Json::parse(format!(
            r#"{{"_meta":{{"traceparent":"{PARENT}","tracestate":"a=1,b=2","baggage":"k=v"}}}}"#
        ));
        assert_eq!(claim_of_meta(&params.expect("JSON")), Some(claim));
        headers.append("traceparent", HeaderValue::from_static(PARENT));
        assert_eq!(claim_of(&headers), None, "two");
    }

    #[test]
    fn what_was_claimed_is_replaced_and_the_rest_stays() {
        let carrier =
            Carrier { traceparent: PARENT.into(), state: None, baggage: Some("k=v".into()) };
        let params = Json::parse(
            r#"{"name":"x","_meta":{"progressToken":1.0,"traceparent":"old","tracestate":"t=1"},"n":1e2}"#,
        );
        let injected = inject_meta(&carrier, &params.expect("JSON"));
        let expected = format!(
            r#"{{"name":"x","_meta":{{"progressToken":1.0,"traceparent":"{PARENT}","baggage":"k=v"}},"n":1e2}}"#
        );
        assert_eq!(injected.as_str(), expected);
        let bare =
            inject_meta(&Carrier { baggage: None, ..carrier.clone() }, &Json::empty_object());
        assert_eq!(bare.as_str(), format!(r#"{{"_meta":{{"traceparent":"{PARENT}"}}}}"#));
        let mut headers = HeaderMap::new();
        headers.insert("tracestate", HeaderValue::from_static("t=1"));
        inject(&carrier, &mut headers);
        assert_eq!(headers.len(), 2);
        assert_eq!(headers.get("baggage").expect("baggage"), "k=v");
    }
}

//! Who is calling: a key from the headers, looked up by its digest in the snapshot. No I/O, no SQL,
//! and before the body is read.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};
use jiff::Timestamp;

use crate::config::snapshot::{Key, Keys};
use crate::ground::fault::{Fault, Kind};
use crate::ground::secret::KeyHash;

/// Whoever was let in.
#[derive(Clone, Debug)]
pub enum Caller {
    /// The master key: sees everything.
    Master,
    Key(Arc<Key>),
    /// The configuration has no key at all, which it may on loopback only.
    Anyone,
}

const LITELLM_KEY: HeaderName = HeaderName::from_static("x-litellm-api-key");
const ANTHROPIC_KEY: HeaderName = HeaderName::from_static("x-api-key");
const AZURE_KEY: HeaderName = HeaderName::from_static("api-key");

/// Finds the caller.
///
/// # Errors
/// `InvalidKey` for no key or an unknown one, in the same words for both kinds of unknown;
/// `ExpiredKey`, `BlockedKey`.
pub fn identify(keys: &Keys, headers: &HeaderMap) -> Result<Caller, Fault> {
    if keys.is_open() {
        return Ok(Caller::Anyone);
    }
    let Some(key) = presented(headers) else {
        return Err(Fault::new(
            Kind::InvalidKey,
            "You did not provide an API key. Send it as `Authorization: Bearer KEY` (or in the header \
             x-api-key, api-key or x-litellm-api-key).",
        ));
    };
    let hash = KeyHash::of(key);
    if keys.master == Some(hash) {
        return Ok(Caller::Master);
    }
    let Some(key) = keys.virtual_keys.get(&hash) else {
        return Err(Fault::new(
            Kind::InvalidKey,
            "Incorrect API key provided. Use one of the keys in the gateway's configuration.",
        ));
    };
    if key.blocked {
        return Err(Fault::new(Kind::BlockedKey, "This API key is blocked. Ask the operator."));
    }
    if key.expires.is_some() && key.is_expired(Timestamp::now()) {
        return Err(Fault::new(
            Kind::ExpiredKey,
            "This API key has expired. Ask the operator for a new one.",
        ));
    }
    Ok(Caller::Key(key.clone()))
}

impl Caller {
    /// The virtual key; none for those who see everything.
    pub fn key(&self) -> Option<&Arc<Key>> {
        match self {
            Self::Key(key) => Some(key),
            Self::Master | Self::Anyone => None,
        }
    }

    /// Whether a key was shown.
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Anyone)
    }

    /// Whether the caller may use the model, under the name it asked for or the one that stands for.
    pub fn may_use(&self, asked: &str, meant: &str) -> bool {
        match self {
            Self::Master | Self::Anyone => true,
            Self::Key(key) => key.allows_model(asked) || key.allows_model(meant),
        }
    }

    /// The model a name means to this caller.
    pub fn meaning<'n>(&'n self, name: &'n str) -> &'n str {
        match self {
            Self::Key(key) => key.aliases.get(name).map_or(name, String::as_str),
            Self::Master | Self::Anyone => name,
        }
    }

    pub fn is_administrator(&self) -> bool {
        matches!(self, Self::Master)
    }
}

/// The key as sent. LiteLLM's own header comes first: with it, `authorization` may carry something
/// meant for a server behind the gateway.
pub(super) fn presented(headers: &HeaderMap) -> Option<&str> {
    let plain = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let bearer = |text: &str| -> Option<usize> {
        let scheme = text.get(..7)?;
        scheme.eq_ignore_ascii_case("bearer ").then_some(7)
    };
    let stripped = |text: &'_ str| -> usize { bearer(text).unwrap_or(0) };
    plain(LITELLM_KEY)
        .and_then(|text| text.get(stripped(text)..))
        .or_else(|| {
            let text = plain(header::AUTHORIZATION)?;
            text.get(bearer(text)?..)
        })
        .or_else(|| plain(ANTHROPIC_KEY))
        .or_else(|| plain(AZURE_KEY))
        .map(str::trim)
        .filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(headers: &[(&str, &str)], expected: Option<&str>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).expect("name");
            map.insert(name, HeaderValue::try_from(*value).expect("value"));
        }
        assert_eq!(presented(&map), expected);
    }

    #[test]
    fn the_key_is_read_from_four_headers() {
        check(&[("authorization", "Bearer sk-1")], Some("sk-1"));
        check(&[("authorization", "bearer  sk-1 ")], Some("sk-1"));
        check(&[("authorization", "Basic eDp5")], None);
        check(&[("authorization", "Bearer ")], None);
        check(&[("x-api-key", "sk-2")], Some("sk-2"));
        check(&[("api-key", "sk-3")], Some("sk-3"));
        check(&[("x-litellm-api-key", "Bearer sk-4")], Some("sk-4"));
        check(&[("authorization", "Bearer up"), ("x-litellm-api-key", "sk-4")], Some("sk-4"));
        check(&[], None);
    }
}

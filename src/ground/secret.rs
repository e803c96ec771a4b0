//! Secrets from the first parse to the header they end in: redacted in `Debug`, without `Serialize`
//! or `Display`, wiped when dropped. Virtual keys are kept as SHA-256 digests only.

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Text that must never be printed: a provider key, a database URL, an MCP credential.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

/// The SHA-256 digest of a key, the only form in which virtual keys are stored or looked up.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

/// The text with every one of the secrets struck out; `None` where it holds none. What is shorter than four
/// characters is no secret but a word that occurs.
pub fn strike<'s>(text: &str, secrets: impl IntoIterator<Item = &'s str>) -> Option<String> {
    let mut struck: Option<String> = None;
    for secret in secrets.into_iter().filter(|secret| secret.len() >= 4) {
        let known = struck.as_deref().unwrap_or(text);
        if known.contains(secret) {
            struck = Some(known.replace(secret, "[key]"));
        }
    }
    struck
}

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that puts it on the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The digest under which a virtual key is looked up.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.expose())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl KeyHash {
    /// Hashes the key's bytes as they are sent (UTF-8, no trimming).
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Reads 64 hexadecimal digits, in either case; `None` for anything else.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let text = std::str::from_utf8(pair).ok()?;
            if !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            *byte = u8::from_str_radix(text, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// 64 lower-case hexadecimal digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The first 12 digits: the only form of a key in logs, rows and metrics.
    pub fn id(self) -> String {
        let mut hex = self.to_hex();
        hex.truncate(12);
        hex
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}…", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_struck_out_of_a_text() {
        assert_eq!(strike("no key here", ["sk-1234"]), None);
        let text = "sk-1234 and Bearer abcdef, sk-1234";
        assert_eq!(
            strike(text, ["sk-1234", "abcdef", "and"]).as_deref(),
            Some("[key] and Bearer [key], [key]")
        );
    }

    #[test]
    fn a_secret_never_prints_itself() {
        let secret = Secret::new("sk-canary-0123456789");
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert!(!format!("{:?}", secret.hash()).contains("canary"));
    }

    #[test]
    fn hex_round_trips_and_refuses_what_is_not_a_digest() {
        let hash = KeyHash::of("abc");
        assert_eq!(
            hash.to_hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(KeyHash::from_hex(&hash.to_hex().to_uppercase()), Some(hash));
        assert_eq!(KeyHash::from_hex("ba78"), None);
        assert_eq!(KeyHash::from_hex(&"+1".repeat(32)), None);
        assert_eq!(KeyHash::from_hex(&"é".repeat(32)), None);
    }
}

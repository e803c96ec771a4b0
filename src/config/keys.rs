//! New virtual keys: made from the operating system's randomness, shown once, kept as a digest. The
//! checksum at a key's end lets scanners of leaked secrets tell a key from a text that looks like one.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::ground::secret::Secret;

/// The key of the shipped configuration and the README: known to everyone, so no key at all.
pub const QUICKSTART_KEY: &str = "sk-tidegate-quickstart-change-me-0001";

const PREFIX: &str = "sk-";
const RANDOM_BYTES: usize = 32;
/// 62^43 is just above 2^256.
const RANDOM_DIGITS: usize = 43;
const CHECKSUM_DIGITS: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Makes a key: `sk-`, 256 random bits as 43 digits of base 62, and 6 digits of a checksum over
/// everything before them.
///
/// # Errors
/// The operating system gives no randomness.
pub fn new_key() -> Result<Secret, getrandom::Error> {
    let mut random = Zeroizing::new([0u8; RANDOM_BYTES]);
    getrandom::fill(random.as_mut())?;
    let mut text = Zeroizing::new(PREFIX.to_owned());
    text.push_str(&base62(random.as_ref(), RANDOM_DIGITS));
    let checksum = checksum(&text);
    text.push_str(&checksum);
    Ok(Secret::new(text.as_str()))
}

/// Whether a text is a whole key of ours: one that lost or changed a character is not.
pub fn is_intact(key: &str) -> bool {
    let Some(body) = key.strip_prefix(PREFIX) else { return false };
    let Some(start) = key.len().checked_sub(CHECKSUM_DIGITS) else { return false };
    body.len() == RANDOM_DIGITS + CHECKSUM_DIGITS
        && key.split_at_checked(start).is_some_and(|(text, end)| *checksum(text) == *end)
}

/// The entry of `virtual_keys` for a key: its digest, not the key itself. Two spaces deep, as it is
/// to stand below `virtual_keys:`.
pub fn entry(key: &Secret, alias: Option<&str>, models: &[String]) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let models: Vec<String> = models.iter().map(|model| quoted(model)).collect();
    let mut entry = format!("  - api_key: sha256:{}\n", key.hash().to_hex());
    if let Some(alias) = alias {
        entry.push_str(&format!("    key_alias: {}\n", quoted(alias)));
    }
    entry.push_str(&format!("    models: [{}]", models.join(", ")));
    // A key without models is of no use, and the empty list does not say so.
    let hint = "   # none yet: names, patterns such as \"gpt-*\", or \"*\" for all";
    entry.push_str(if models.is_empty() { hint } else { "" });
    entry.push('\n');
    entry
}

fn checksum(text: &str) -> Zeroizing<String> {
    let digest = Sha256::digest(text.as_bytes());
    base62(digest.get(..4).unwrap_or_default(), CHECKSUM_DIGITS)
}

/// The bytes as one big-endian number in base 62, with zeros in front.
fn base62(bytes: &[u8], digits: usize) -> Zeroizing<String> {
    let mut number = Zeroizing::new(bytes.to_vec());
    let mut out = Zeroizing::new(Vec::<u8>::with_capacity(digits));
    for _ in 0..digits {
        let mut remainder = 0u16;
        for byte in number.iter_mut() {
            let value = (remainder << 8) | u16::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or_default();
            remainder = value % 62;
        }
        out.extend(DIGITS.get(usize::from(remainder)));
    }
    Zeroizing::new(out.iter().rev().map(|digit| char::from(*digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_different_and_checked() -> Result<(), getrandom::Error> {
        let (one, other) = (new_key()?, new_key()?);
        assert_ne!(one, other);
        assert_eq!(one.expose().len(), 3 + 43 + 6);
        assert!(is_intact(one.expose()));
        let mut broken = one.expose().to_owned();
        broken.replace_range(10..11, if broken.get(10..11) == Some("a") { "b" } else { "a" });
        assert!(!is_intact(&broken));
        assert!(!is_intact("sk-1234"));
        assert!(!is_intact("sk-é"));
        Ok(())
    }

    #[test]
    fn base62_is_a_number_with_zeros_in_front() {
        assert_eq!(*base62(&[0, 0], 3), "000");
        assert_eq!(*base62(&[61], 2), "0z");
        assert_eq!(*base62(&[1, 0], 2), "48");
        assert!(!base62(&[255; 32], 43).starts_with('0'));
    }

    #[test]
    fn the_entry_holds_the_digest_and_not_the_key() {
        let key = Secret::new("sk-canary");
        let models = ["gpt-4o-mock".to_owned(), "house-*".to_owned()];
        let entry = entry(&key, Some("web: ui"), &models);
        let digest = key.hash().to_hex();
        assert_eq!(
            entry,
            format!(
                "  - api_key: sha256:{digest}\n    key_alias: \"web: ui\"\n    models: \
                 [\"gpt-4o-mock\", \"house-*\"]\n"
            )
        );
    }
}

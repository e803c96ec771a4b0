//! The revisions of the protocol, and the two eras they form: until 2025-11-25 a client initialises a session; from
//! 2026-07-28 on every request stands alone. <https://modelcontextprotocol.io/specification/versioning>

use std::fmt;

/// One revision that is spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    V2026_07_28,
}

/// All of them, the oldest first.
pub const REVISIONS: [Revision; 5] = [
    Revision::V2024_11_05,
    Revision::V2025_03_26,
    Revision::V2025_06_18,
    Revision::V2025_11_25,
    Revision::V2026_07_28,
];

/// The newest that has sessions: what is offered to servers and answered to clients that ask for something unknown.
pub const NEWEST_WITH_SESSIONS: Revision = Revision::V2025_11_25;
/// The newest of all.
pub const NEWEST: Revision = Revision::V2026_07_28;

/// The members of `_meta` with which a request of the modern era says what it is.
pub const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
pub const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
pub const META_LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
pub const META_SERVER: &str = "io.modelcontextprotocol/serverInfo";
pub const META_SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

impl Revision {
    /// The revision of a name, exactly.
    pub fn of(name: &str) -> Option<Self> {
        REVISIONS.into_iter().find(|revision| revision.as_str() == name)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Without sessions: every request carries its version and capabilities.
    pub fn is_modern(self) -> bool {
        self >= Self::V2026_07_28
    }

    /// What an `initialize` that asks for `name` is answered with: the same where it has sessions and is known, else the
    /// newest that has sessions.
    pub fn negotiate(name: &str) -> Self {
        Self::of(name).filter(|revision| !revision.is_modern()).unwrap_or(NEWEST_WITH_SESSIONS)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_known_by_name_and_ordered() {
        for revision in REVISIONS {
            assert_eq!(Revision::of(revision.as_str()), Some(revision));
        }
        assert!(REVISIONS.is_sorted());
        assert_eq!(Revision::negotiate("2025-03-26"), Revision::V2025_03_26);
        assert_eq!(Revision::negotiate("2026-07-28"), NEWEST_WITH_SESSIONS);
        assert_eq!(Revision::negotiate("1999"), NEWEST_WITH_SESSIONS);
    }
}

//! What a server offers: its lists, whole. All pages are fetched, but no endless ones; an entry that has no name is passed
//! over, and the others stay.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;

use crate::conversation::Json;
use crate::mcp::connection::{Connection, Owner};
use crate::mcp::era::{self, Identity};
use crate::mcp::transport::Failure;
use crate::wire::fields;
use crate::wire::mcp::edit;

/// Entries of one list; further ones are left out.
const MAX_ENTRIES: usize = 20_000;
const MAX_PAGES: usize = 1_000;
/// Bytes of one list; entries beyond are left out.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// The longest cursor that is sent back.
const MAX_CURSOR: usize = 64 * 1024;
/// How long a list holds that the server does not say changes of.
const HOLDS: Duration = Duration::from_secs(60);

/// The lists that servers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

pub const KINDS: [Kind; 4] = [Kind::Tools, Kind::Prompts, Kind::Resources, Kind::Templates];

/// One list of one server.
#[derive(Debug, Default)]
pub struct Listing {
    pub entries: Vec<Entry>,
    /// Until when it holds; `None`: until the server says that it changed.
    until: Option<Instant>,
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What the server calls it: a name, a URI, a URI template.
    pub name: String,
    /// The whole entry as the server wrote it.
    pub definition: Json,
}

impl Kind {
    pub fn index(self) -> usize {
        self as usize
    }

    pub fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// The member of the result that holds the list.
    pub fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The capability of servers that have such a list.
    pub fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }

    /// What names an entry.
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }
}

impl Listing {
    pub fn is_fresh(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

/// Fetches one list. A server without such a list has an empty one.
///
/// # Errors
/// The server does not answer, or answers with an error.
pub async fn fetch(
    connection: &Arc<Connection>,
    kind: Kind,
    identity: &Identity,
) -> Result<Listing, Failure> {
    let peer = connection.peer();
    let tells_changes = peer.has(&[kind.capability(), "listChanged"]);
    let mut listing = Listing::default();
    if !peer.has(&[kind.capability()]) {
        return Ok(listing);
    }
    let mut holds = HOLDS;
    let mut cursor: Option<String> = None;
    let mut seen = HashSet::new();
    let mut bytes = 0;
    'pages: for _ in 0..MAX_PAGES {
        let params = cursor
            .as_ref()
            .map(|cursor| edit::set(&Json::empty_object(), &["cursor"], Json::of(cursor).as_str()));
        let params = match connection.is_modern() {
            true => Some(era::modern(params, identity, peer.revision)),
            false => params,
        };
        let asked =
            connection.call(kind.method(), params, Owner::Gateway, HeaderMap::new()).await?;
        let page = match asked.end().await? {
            Ok(page) => page,
            // Some servers declare what they do not have.
            Err(error) if error.code() == crate::wire::mcp::error::METHOD_NOT_FOUND => break,
            Err(error) => {
                let text = format!("`{}` failed: {}", kind.method(), error.message());
                return Err(Failure::new(crate::mcp::transport::FailureKind::Garbage, text));
            }
        };
        if let Some(milliseconds) = edit::read::<u64>(&page, &["ttlMs"]) {
            holds = Duration::from_millis(milliseconds.max(1_000));
        }
        let items = edit::get(&page, &[kind.member()]).and_then(fields::listed);
        for item in items.unwrap_or_default() {
            bytes += item.get().len();
            if bytes > MAX_BYTES || listing.entries.len() >= MAX_ENTRIES {
                tracing::warn!(
                    list = kind.method(),
                    "an MCP server's list is too long, and was cut"
                );
                break 'pages;
            }
            let definition = Json::of_raw(item);
            if let Some(name) = edit::text(&definition, &[kind.key()]) {
                listing.entries.push(Entry { name, definition });
            }
        }
        cursor = edit::text(&page, &["nextCursor"]).filter(|cursor| cursor.len() <= MAX_CURSOR);
        let goes_on = cursor.as_ref().is_some_and(|cursor| seen.insert(cursor.clone()));
        if !goes_on {
            break;
        }
    }
    listing.until = (!tells_changes).then(|| Instant::now() + holds);
    Ok(listing)
}

//! Getting to know a server: which era it speaks, and what it can do. The newest era is tried first where the way allows
//! it, as the specification advises; what a server turned out to be is remembered by the pool, so that it is asked once.
//! <https://modelcontextprotocol.io/specification/2026-07-28/basic/versioning>

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde_json::json;
use tokio::sync::mpsc;

use super::{Connection, News, Owner, Peer, deal};
use crate::config::snapshot::{McpServer, McpTransport};
use crate::conversation::Json;
use crate::mcp::transport::{self, Failure, FailureKind, Transport};
use crate::wire::mcp::edit;
use crate::wire::mcp::message::Outcome;
use crate::wire::mcp::revision::{
    META_CAPABILITIES, META_CLIENT, META_SERVER, META_VERSION, NEWEST, NEWEST_WITH_SESSIONS,
    Revision,
};

/// How long a child may leave `server/discover` unanswered before it is taken for one of the older era.
const PROBE: Duration = Duration::from_secs(3);

/// The longest introduction: what stands in it is told to every client.
const MAX_INTRODUCTION: usize = 1024 * 1024;

/// What a server is told of whom it talks to.
#[derive(Clone, Debug)]
pub struct Introduction {
    pub capabilities: Json,
    pub client_info: Json,
    /// What the server turned out to speak before; `None`: unknown.
    pub known: Option<Revision>,
}

/// Opens the way to a server and gets to know it. What is not about a request goes to `news`. Takes as long as the server
/// does: the caller decides for how long.
///
/// # Errors
/// The server cannot be reached, or does not speak a revision that is spoken here.
pub async fn establish(
    server: &McpServer,
    headers: &HeaderMap,
    introduction: &Introduction,
    news: mpsc::Sender<News>,
) -> Result<Arc<Connection>, Failure> {
    let open = || open(server, headers, news.clone());
    let wanted = server.revision.or(introduction.known);
    let may_be_modern = !matches!(server.transport, McpTransport::Sse(_));
    if wanted.map_or(may_be_modern, Revision::is_modern) {
        let connection = open().await?;
        match connection.discover(server, introduction).await {
            Ok(Some(peer)) => {
                connection.agree(peer);
                return Ok(connection);
            }
            Ok(None) if server.revision.is_some() => {
                let text = "the server does not speak revision 2026-07-28, which its entry demands";
                connection.close(text).await;
                return Err(Failure::new(FailureKind::Garbage, text));
            }
            // The same connection can go on, unless the server took the question for its end.
            Ok(None) if !connection.is_closed() => {
                return connection.initialize_or_discover(server, introduction).await;
            }
            Ok(None) => {}
            Err(failure) => {
                connection.close("it could not be asked what it speaks").await;
                return Err(failure);
            }
        }
    }
    let revision = wanted.filter(|wanted| !wanted.is_modern()).unwrap_or(NEWEST_WITH_SESSIONS);
    open().await?.initialize(introduction, revision).await
}

async fn open(
    server: &McpServer,
    headers: &HeaderMap,
    news: mpsc::Sender<News>,
) -> Result<Arc<Connection>, Failure> {
    let (sender, incoming) = mpsc::channel(transport::MAX_WAITING);
    let transport = Transport::open(server, headers.clone(), sender).await?;
    let connection = Arc::new(Connection::new(transport, news));
    connection.handle.spawn(deal::run(connection.clone(), incoming));
    Ok(connection)
}

impl Connection {
    fn agree(&self, peer: Peer) {
        self.transport.agreed(peer.revision);
        let _is_the_first = self.peer.set(peer);
    }

    /// Asks a server of the newest era what it is; `None` where it is of the older one.
    async fn discover(
        self: &Arc<Self>,
        server: &McpServer,
        introduction: &Introduction,
    ) -> Result<Option<Peer>, Failure> {
        let params = json!({ "_meta": {
            META_VERSION: NEWEST.as_str(),
            META_CAPABILITIES: introduction.capabilities,
            META_CLIENT: introduction.client_info,
        }});
        let params = Json::of(&params);
        let mut headers = HeaderMap::new();
        super::modern_headers(&mut headers, "server/discover", Some(&params), NEWEST);
        let asked = self.call("server/discover", Some(params), Owner::Gateway, headers).await;
        let answer = async {
            match asked {
                Ok(exchange) => exchange.end().await,
                Err(failure) => Err(failure),
            }
        };
        let is_child = matches!(server.transport, McpTransport::Stdio(_));
        let patience = if is_child && server.revision.is_none() { PROBE } else { server.timeout };
        let answer: Result<Outcome, Failure> = match tokio::time::timeout(patience, answer).await {
            Ok(answer) => answer,
            // Silence is what some give that do not know the method.
            Err(_) => return Ok(None),
        };
        match answer {
            Ok(Ok(result)) => short(result).map(|result| introduced(&result)),
            Ok(Err(_)) => Ok(None),
            // Neither a missing key nor a missing server says anything of eras.
            Err(failure) => match failure.kind {
                FailureKind::Unreachable | FailureKind::Timeout | FailureKind::Closed => {
                    Err(failure)
                }
                FailureKind::Refused(status) if matches!(status.as_u16(), 401 | 403 | 429) => {
                    Err(failure)
                }
                FailureKind::Refused(status) if status.is_server_error() && !is_child => {
                    Err(failure)
                }
                _ => Ok(None),
            },
        }
    }

    /// Opens a session with a server that did not say that it is of the newest era; one that refuses may have been too slow
    /// to say so.
    async fn initialize_or_discover(
        self: Arc<Self>,
        server: &McpServer,
        introduction: &Introduction,
    ) -> Result<Arc<Self>, Failure> {
        let Err(failure) = self.try_initialize(introduction, NEWEST_WITH_SESSIONS).await else {
            return Ok(self);
        };
        if !self.is_closed()
            && let Ok(Some(peer)) = self.discover(server, introduction).await
        {
            self.agree(peer);
            return Ok(self);
        }
        self.close(&failure.text).await;
        Err(failure)
    }

    /// Opens a session.
    async fn initialize(
        self: Arc<Self>,
        introduction: &Introduction,
        revision: Revision,
    ) -> Result<Arc<Self>, Failure> {
        let agreed = self.try_initialize(introduction, revision).await;
        if let Err(failure) = &agreed {
            self.close(&failure.text).await;
        }
        agreed.map(|()| self)
    }

    async fn try_initialize(
        self: &Arc<Self>,
        introduction: &Introduction,
        revision: Revision,
    ) -> Result<(), Failure> {
        let params = Json::of(&json!({
            "protocolVersion": revision.as_str(),
            "capabilities": introduction.capabilities,
            "clientInfo": introduction.client_info,
        }));
        let asked = self.call("initialize", Some(params), Owner::Gateway, HeaderMap::new()).await?;
        let result = asked.end().await?.map_err(|error| {
            let text = format!("the server refused `initialize`: {}", error.message());
            Failure::new(FailureKind::Garbage, text)
        })?;
        let result = short(result)?;
        let named = edit::text(&result, &["protocolVersion"]).unwrap_or_default();
        let Some(revision) = Revision::of(&named).filter(|revision| !revision.is_modern()) else {
            let text = format!(
                "the server answers with the protocol revision `{named}`, which is unknown here"
            );
            return Err(Failure::new(FailureKind::Garbage, text));
        };
        self.agree(Peer { revision, ..peer(&result) });
        self.notify("notifications/initialized", None).await
    }
}

fn short(introduction: Json) -> Result<Json, Failure> {
    if introduction.as_str().len() <= MAX_INTRODUCTION {
        return Ok(introduction);
    }
    let text = "the server introduces itself at too great a length";
    Err(Failure::new(FailureKind::Garbage, text))
}

/// What a server of the newest era said of itself; `None` where it does not speak that revision.
fn introduced(result: &Json) -> Option<Peer> {
    let versions: Vec<String> = edit::read(result, &["supportedVersions"])?;
    let newest = versions.iter().filter_map(|name| Revision::of(name)).max()?;
    newest.is_modern().then(|| Peer { revision: newest, ..peer(result) })
}

fn peer(result: &Json) -> Peer {
    let object = |path: &[&str]| edit::get(result, path).map(Json::of_raw);
    Peer {
        revision: Revision::V2024_11_05,
        capabilities: object(&["capabilities"]).unwrap_or_else(Json::empty_object),
        info: object(&["serverInfo"])
            .or_else(|| object(&["_meta", META_SERVER]))
            .unwrap_or_else(Json::empty_object),
        instructions: edit::text(result, &["instructions"]),
    }
}

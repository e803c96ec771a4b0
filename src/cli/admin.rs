//! A running gateway asked over its operator's API: where it is, and with which key. The key comes from the configuration, a variable or a
//! file, never from the command line, which others can read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::config::outline::shown_url;
use crate::config::snapshot::Snapshot;
use crate::config::{Environment, ProcessEnvironment, show};
use crate::ground::secret::{KeyHash, Secret};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Where a gateway listens that was told nothing.
const DEFAULT: ([u8; 4], u16) = ([127, 0, 0, 1], 4000);

/// How a running gateway is found.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Running {
    /// The running gateway; by default where the configuration says that the operator is answered.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A file with the master key. By default it is the configuration's, or LITELLM_MASTER_KEY.
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<PathBuf>,
}

/// Whom to ask, and with what.
pub(super) struct Asker {
    client: reqwest::Client,
    base: String,
    /// The same without what may be secret in it.
    shown: String,
    key: Option<Secret>,
}

/// Why there is no answer.
pub(super) enum Unanswered {
    /// No gateway is there.
    NotReached(String),
    /// There is no such path: the operator is answered elsewhere, or it is another program.
    NotThere(String),
    /// It wants another key, or fails.
    Refused(String),
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotReached(text) | Self::NotThere(text) | Self::Refused(text) => {
                f.write_str(text)
            }
        }
    }
}

impl Running {
    /// The gateway at an address that is given as a URL.
    pub(super) fn at(url: &str) -> Self {
        Self { url: Some(url.to_owned()), master_key_file: None }
    }

    /// The same at an address, where no URL was given.
    pub(super) fn or_at(self, address: SocketAddr) -> Self {
        let url = self.url.or_else(|| Some(format!("http://{}", reachable(address))));
        Self { url, ..self }
    }

    /// The same with another file for the key, where one is named.
    pub(super) fn with_key_file(self, file: Option<PathBuf>) -> Self {
        Self { master_key_file: file.or(self.master_key_file), ..self }
    }

    /// The same with the key of another.
    pub(super) fn with_key_of(self, other: &Self) -> Self {
        self.with_key_file(other.master_key_file.clone())
    }

    /// Finds the gateway and asks it for a path. Without a URL it is looked for where each of the configurations says that the operator
    /// is answered, and where it is by default: an edit may have moved it, and the one that runs does not know yet.
    ///
    /// # Errors
    /// No gateway answers, or it refuses; in words.
    pub(super) async fn find(
        &self,
        config: &Path,
        snapshots: &[Option<&Snapshot>],
        path: &str,
    ) -> Result<(Asker, Value), String> {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        let of = |snapshot: &&Snapshot| [snapshot.admin_listen, Some(snapshot.listen)];
        let said = snapshots.iter().flatten().flat_map(of).flatten();
        for address in said.chain([SocketAddr::from(DEFAULT)]) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let mut first = None;
        for address in addresses {
            let asker = self.asker(config, Some(address))?;
            match asker.get(path).await {
                Ok(answer) => return Ok((asker, answer)),
                Err(Unanswered::Refused(text)) => return Err(text),
                Err(other) => first = first.or(Some(other.to_string())),
            }
            if self.url.is_some() {
                break;
            }
        }
        Err(first.unwrap_or_default())
    }

    /// Gets ready to ask. `address` is where the configuration says that the operator is answered.
    ///
    /// # Errors
    /// The file with the key cannot be read.
    pub(super) fn asker(
        &self,
        config: &Path,
        address: Option<SocketAddr>,
    ) -> Result<Asker, String> {
        let key = match &self.master_key_file {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| format!("{}: {error}", file.display()))?;
                Some(Secret::new(text.trim()))
            }
            None => show::master_key(config, &ProcessEnvironment),
        };
        let address = address.unwrap_or(SocketAddr::from(DEFAULT));
        let base = self.url.clone().unwrap_or_else(|| format!("http://{}", reachable(address)));
        let base = base.trim_end_matches('/').to_owned();
        let shown = base.parse().map_or_else(|_| base.clone(), |url| shown_url(&url));
        let shown = shown.trim_end_matches('/').to_owned();
        Ok(Asker { client: client()?, base, shown, key })
    }
}

impl Asker {
    /// Where it is, for people to read.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Where a path of it is, as it is asked for.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// The digest of the key that is shown.
    pub(super) fn master(&self) -> Option<KeyHash> {
        self.key.as_ref().map(Secret::hash)
    }

    /// Shows the key with a request.
    pub(super) fn authorize(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    }

    /// Asks for a path's JSON.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Unanswered> {
        let request = self.authorize(self.client.get(self.at(path)));
        let not_reached = |error: reqwest::Error| {
            Unanswered::NotReached(format!(
                "no gateway answers at {}: {}",
                self.shown,
                innermost(&error.without_url())
            ))
        };
        let response = request.send().await.map_err(not_reached)?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(not_reached)?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|_| {
                Unanswered::NotThere(format!("what answers at {} is no Tidegate", self.shown))
            });
        }
        let advice = match (status.as_u16(), self.key.is_some()) {
            (401 | 403, true) => {
                "it has another master key: pass --master-key-file with the one in force"
            }
            (401 | 403, false) => {
                "it wants its master key: set LITELLM_MASTER_KEY, or pass --master-key-file"
            }
            (404, _) => "operators are answered at another address there: pass --url",
            _ => "see its log",
        };
        let text = format!("{} answers {path} with {status}: {advice}", self.shown);
        let is_elsewhere = status.as_u16() == 404;
        Err(if is_elsewhere { Unanswered::NotThere(text) } else { Unanswered::Refused(text) })
    }
}

/// A client for a few questions: no proxy of the environment, no redirects, bounded in time.
pub(super) fn client() -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .build()
        .map_err(|error| error.to_string())
}

/// What an error comes down to.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// An address to listen on everywhere is reached on this machine.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let here = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(here, address.port())
}

/// A variable of the environment, for what no configuration says.
pub(super) fn variable(name: &str) -> Option<String> {
    ProcessEnvironment.variable(name)?.into_string().ok().filter(|text| !text.is_empty())
}

//! Ports, names, and what stands between clients and the gateway.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use url::Url;

use super::{Report, tls};
use crate::cli::admin::{Running, client, innermost, reachable};
use crate::config::show;
use crate::config::snapshot::{McpTransport, Snapshot};

/// For a name, a connection or a first event.
const PATIENCE: Duration = Duration::from_secs(5);
/// A certificate that ends within so many days should be renewed.
const DAYS_LEFT: i64 = 14;

/// Whether the gateway can listen where it should, or already does.
pub(super) async fn ports(
    snapshot: &Snapshot,
    running: &Running,
    config: &Path,
    report: &mut Report,
) {
    for address in [Some(snapshot.listen), snapshot.admin_listen].into_iter().flatten() {
        match TcpListener::bind(address) {
            Ok(_) => report.ok("ports", format!("{address} is free")),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                held(address, running, config, snapshot, report).await;
            }
            Err(error) => {
                let fix = match error.kind() {
                    ErrorKind::PermissionDenied => {
                        "a port below 1024 wants a right: AmbientCapabilities=CAP_NET_BIND_SERVICE"
                    }
                    _ => "choose an address of this machine for `general_settings.listen`",
                };
                report.fail("ports", format!("cannot listen on {address}: {error}"), fix);
            }
        }
    }
}

async fn held(
    address: SocketAddr,
    running: &Running,
    config: &Path,
    snapshot: &Snapshot,
    report: &mut Report,
) {
    let running = Running::at(&format!("http://{}", reachable(address))).with_key_of(running);
    let asker = running.asker(config, Some(show::admin_address(snapshot)));
    let Ok(asker) = asker else { return };
    let health = match asker.get("/health").await {
        Ok(health) if health.get("request_log").is_some() => health,
        Ok(_) | Err(_) => {
            let text = format!("{address} is held by another program");
            let fix = format!("see which: ss -ltnp 'sport = :{}'", address.port());
            return report.fail("ports", text, fix);
        }
    };
    let text = |path: &str| health.pointer(path).and_then(|value| value.as_str()).unwrap_or("?");
    report.ok("ports", format!("a tidegate {} answers at {address}", text("/version")));
    if text("/version") != env!("CARGO_PKG_VERSION") {
        let text = format!(
            "the gateway at {address} is version {}, this is {}",
            text("/version"),
            env!("CARGO_PKG_VERSION")
        );
        report.warn("version", text, "restart the gateway with the binary that is installed");
    }
    if health.pointer("/config/last_error").is_some_and(|error| !error.is_null()) {
        let text = format!("the gateway at {address} refused the edit that is in the file");
        report.fail("config", text, "tidegate status, tidegate check");
    }
}

/// One address that the gateway talks to.
struct Host {
    name: String,
    port: u16,
    is_https: bool,
    /// Who is there, for people.
    who: Vec<String>,
}

/// Whether every name that the gateway needs can be resolved and, with `live`, reached; how long certificates last.
pub(super) async fn hosts(snapshot: &Snapshot, live: bool, report: &mut Report) {
    let mut hosts: BTreeMap<(String, u16), Host> = BTreeMap::new();
    let mut add = |url: &Url, who: String| {
        let (Some(name), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return;
        };
        let host = hosts.entry((name.to_owned(), port)).or_insert_with(|| Host {
            name: name.trim_matches(['[', ']']).to_owned(),
            port,
            is_https: url.scheme() == "https",
            who: Vec::new(),
        });
        if !host.who.contains(&who) {
            host.who.push(who);
        }
    };
    for deployment in snapshot.models.deployments().filter(|it| !it.provider.is_mock()) {
        add(&deployment.base, format!("model {}", deployment.group));
    }
    for server in snapshot.mcp_servers.values() {
        if let McpTransport::Http(url) | McpTransport::Sse(url) = &server.transport {
            add(url, format!("MCP server {}", server.display_name()));
        }
    }
    let looked = join_all(hosts.values().map(|host| look(host, live))).await;
    let mut fine = 0;
    for (host, looked) in hosts.values().zip(looked) {
        let who = host.who.join(", ");
        match looked {
            Ok(None) => fine += 1,
            Ok(Some((text, days))) if days >= DAYS_LEFT => {
                fine += 1;
                report.ok("tls", format!("{}: the certificate is good until {text}", host.name));
            }
            Ok(Some((text, _))) => report.warn(
                "tls",
                format!("{}:{} ({who}): the certificate ends {text}", host.name, host.port),
                "renew it, or tell whoever runs the server",
            ),
            Err((about, text)) => {
                let text = format!("{}:{} ({who}): {text}", host.name, host.port);
                let fix = if about == "dns" {
                    "correct the name, or see /etc/resolv.conf; in compose, both must share a network"
                } else {
                    "see whether the server runs, and whether a firewall is in between"
                };
                report.fail(about, text, fix);
            }
        }
    }
    if fine > 0 {
        let word = if live { "are reached" } else { "have an address" };
        report.ok("dns", format!("{fine} of {} hosts {word}", hosts.len()));
    }
}

/// Resolves a name and, with `live`, connects; how long its certificate lasts, where it has one.
async fn look(host: &Host, live: bool) -> Result<Option<(String, i64)>, (&'static str, String)> {
    let dns = |text: String| ("dns", text);
    let found = timeout(PATIENCE, lookup_host((host.name.as_str(), host.port))).await;
    let found = found.map_err(|_| dns("no answer to the question for its address".to_owned()))?;
    let addresses: Vec<SocketAddr> =
        found.map_err(|error| dns(format!("it has no address: {error}")))?.collect();
    if addresses.is_empty() {
        return Err(dns("it has no address".to_owned()));
    }
    if !live {
        return Ok(None);
    }
    let reach = |text: String| ("reach", text);
    let mut stream = Err(reach("no connection in time".to_owned()));
    for address in addresses.iter().take(4) {
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(connected)) => {
                stream = Ok(connected);
                break;
            }
            Ok(Err(error)) => stream = Err(reach(error.to_string())),
            Err(_) => {}
        }
    }
    let stream = stream?;
    if !host.is_https {
        return Ok(None);
    }
    let end = tls::end_of_certificate(stream, &host.name, PATIENCE).await;
    let end = end.map_err(|text| ("tls", text))?;
    let days = (end.as_second() - jiff::Timestamp::now().as_second()) / 86_400;
    Ok(Some((format!("{end:.0}, in {days} days"), days)))
}

/// Whether a proxy in front passes streams on as they come: the first event of a stream of MCP's, which has no end, must arrive.
pub(super) async fn proxy(url: &str, running: &Running, config: &Path, report: &mut Report) {
    let about = "proxy";
    let running = Running::at(url).with_key_of(running);
    let asker = match running.asker(config, None) {
        Ok(asker) => asker,
        Err(error) => return report.fail(about, error, "pass another --master-key-file"),
    };
    if let Err(error) = asker.get("/health/ready").await {
        let fix = "see whether the proxy passes everything on: /v1, /mcp, /sse, /health";
        return report.fail(about, error.to_string(), fix);
    }
    let Ok(client) = client() else { return };
    let request = client.get(asker.at("/sse")).header("accept", "text/event-stream");
    let request = asker.authorize(request);
    let first = async {
        let mut response = request.send().await.map_err(|error| innermost(&error.without_url()))?;
        if !response.status().is_success() {
            return Err(format!("/sse is answered with {}", response.status()));
        }
        response.chunk().await.map_err(|error| innermost(&error.without_url()))
    };
    match timeout(PATIENCE, first).await {
        Ok(Ok(Some(_))) => report.ok(about, format!("{url} passes streams on as they come")),
        Ok(Ok(None)) => {
            report.fail(about, format!("{url} ends streams at once"), "see the proxy's log");
        }
        Ok(Err(error)) => {
            let fix = "pass the master key (--master-key-file), and let the proxy pass /sse on";
            report.fail(about, format!("{url}: {error}"), fix);
        }
        Err(_) => report.fail(
            about,
            format!("{url} holds streams back: no event came within {} s", PATIENCE.as_secs()),
            "switch buffering off: `proxy_buffering off;` (nginx), `flush_interval -1` (Caddy)",
        ),
    }
}

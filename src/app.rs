//! The composition root: everything is made here, in order, and taken down in the reverse order. Nothing
//! below knows how many listeners there are, or where the signals come from.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::config::{LoadOptions, ProcessEnvironment};
use crate::gateway::observers::Observers;
use crate::gateway::sampling::Models;
use crate::gateway::{Gate, Live, discovery};
use crate::http::server::{self, Accepted};
use crate::http::status::Status;
use crate::http::{Door, Side, Workers, sweep_mcp_sessions};
use crate::journal::Journal;
use crate::journal::audit::{Act, Source};
use crate::mcp::{self, Mcp};
use crate::provider::auth::Authority;
use crate::provider::client::Upstreams;
use crate::reload::{self, Corridor};
use crate::service::Service;
use crate::telemetry::log::Log;
use crate::telemetry::traces::work::WORK;

/// How long the last rows may take to reach the disk and the database.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long MCP servers may take to end: a child gets two times two seconds.
const MCP_TIMEOUT: Duration = Duration::from_secs(8);

/// How long collectors may take for the last spans.
const TRACES_TIMEOUT: Duration = Duration::from_secs(4);

/// Connections of clients at once; more are closed.
const MAX_CONNECTIONS: usize = 10_000;
/// Open files that are no connections: the log, the request log, watches, listeners.
const RESERVED_FILES: usize = 64;

/// Why the gateway did not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration has errors; they have been printed.
    Config,
    /// Something else, told in words.
    Other(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config => f.write_str("the configuration has errors"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StartError {}

/// Serves until SIGTERM or SIGINT, then lets what is in progress finish.
///
/// # Errors
/// See [`StartError`]; once the gateway listens it ends without error.
pub async fn serve(path: PathBuf, listen: Option<SocketAddr>) -> Result<(), StartError> {
    let options = LoadOptions { listen, ..LoadOptions::default() };
    let loaded = reload::load(path.clone(), options).await.ok_or(StartError::Config)?;
    let Some(snapshot) = loaded.snapshot else {
        for problem in &loaded.problems {
            let _nobody_listens = writeln!(std::io::stderr(), "{problem}");
        }
        return Err(StartError::Config);
    };
    let instance = instance();
    let (log, _writing) = crate::cli::log::start(&snapshot.diagnostics, &instance)
        .map_err(|error| StartError::Other(format!("the log: {error}; see `log_file`")))?;
    let warnings: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    for warning in &warnings {
        tracing::warn!("{warning}");
    }

    let listener = bind(snapshot.listen).await?;
    let admin_listener = match snapshot.admin_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let journal = Journal::open(&snapshot.request_log, &instance)
        .map_err(|error| StartError::Other(format!("the request log: {error}")))?;
    let journal = Arc::new(journal);
    journal.audit(Act {
        after: Some(serde_json::json!({ "path": path, "listen": snapshot.listen })),
        config_sha256: Some(snapshot.hash.clone()),
        ..Act::new("start", Source::Gateway, version())
    });
    let mcp_thread = mcp::Thread::start().map_err(other)?;
    let mcp = Mcp::new(mcp_thread.handle().clone());
    let live = Live::build(snapshot, None);
    let observers = Observers { log: log.clone(), ..Observers::new(journal.recorder()) };
    let traces = observers.traces.clone();
    traces.retarget(&live.snapshot.telemetry, &instance).map_err(other)?;
    crate::cli::log::tell_work(&traces);
    mcp.set_observer(Arc::new(observers.clone()));
    let gate = Gate::new(live, observers, journal.responses(), mcp.clone());
    let gate = Arc::new(gate);
    let (reload, signalled) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let service = Arc::new(Service::from_environment(&ProcessEnvironment));
    let authority = Authority::default();
    mcp.reconcile(&gate.live().snapshot);
    mcp.announce(&gate.live().snapshot);
    let status = Arc::new(Status::new(journal.clone(), mcp.clone(), warnings));
    mcp.set_sampler(Arc::new(Models { gate: gate.clone(), upstreams: upstreams(&authority)? }));
    let door = |side| {
        let upstreams = upstreams(&authority)?;
        let (gate, status, reload) = (gate.clone(), status.clone(), reload.clone());
        Ok(Arc::new(Door::new(side, gate, status, reload, upstreams, mcp.clone())))
    };

    let stop = CancellationToken::new();
    let side = if admin_listener.is_some() { Side::Clients } else { Side::Both };
    let count = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let doors = (0..count).map(|_| door(side)).collect::<Result<Vec<_>, StartError>>()?;
    let workers = Workers::start(doors, most_connections(), &stop).map_err(other)?;
    let workers = Arc::new(workers);
    let address = listener.local_addr().map_err(other)?;
    let accepting = tokio::spawn({
        let workers = workers.clone();
        server::accept(listener, stop.clone(), move |accepted| workers.deal(accepted))
    });
    if let Some(listener) = admin_listener {
        tokio::spawn(serve_admin(listener, door(Side::Admin)?, stop.clone()));
    }
    let corridor = Corridor {
        path,
        options,
        gate: gate.clone(),
        status,
        journal: journal.clone(),
        mcp: mcp.clone(),
        service: service.clone(),
        traces: traces.clone(),
        instance,
        asked: reload,
        signalled: signalled.clone(),
    };
    let state = corridor.state();
    let corridor = tokio::spawn(corridor.follow(loaded.stamps, stop.clone()));
    let mut signals = Signals::listen(log)?;
    tokio::spawn(discovery::follow(gate.clone(), upstreams(&authority)?, stop.clone()));
    tokio::spawn(sweep_mcp_sessions(gate.clone(), mcp.clone(), stop.clone()));
    let alive = tokio::spawn(keep_alive(service.clone(), workers.clone()));
    crate::cli::banner::print(&mut std::io::stdout(), address, &gate.live().snapshot);
    service.ready(&state);

    signals.end(&signalled).await;
    journal.audit(Act {
        config_sha256: Some(gate.live().snapshot.hash.clone()),
        ..Act::new("stop", Source::Signal, version())
    });
    tracing::info!("shutting down: no new requests, those in progress may finish");
    service.stopping();
    gate.drain();
    stop.cancel();
    mcp.sessions.stop();
    let _ended = accepting.await;
    let patience = gate.live().snapshot.limits.drain_timeout;
    let draining = async {
        tokio::select! {
            () = workers.idle() => {}
            () = tokio::time::sleep(patience) => {
                tracing::warn!(connections = workers.connections(), "some did not finish in time");
            }
            () = signals.end(&signalled) => tracing::warn!("stopping at once"),
        }
    };
    draining.instrument(tracing::info_span!(target: WORK, "shutdown.drain")).await;
    let _ended = corridor.await;
    alive.abort();
    let _ended = alive.await;
    if let Some(workers) = Arc::into_inner(workers) {
        workers.end();
    }
    mcp.close(MCP_TIMEOUT).await;
    mcp_thread.end();
    journal.close(JOURNAL_TIMEOUT).await;
    traces.close(TRACES_TIMEOUT).await;
    Ok(())
}

/// The operator's own listener: few requests, so the main thread answers them.
async fn serve_admin(listener: TcpListener, door: Arc<Door>, stop: CancellationToken) {
    let until = stop.clone();
    let deal = move |Accepted { stream, peer }| {
        tokio::spawn(server::converse(stream, peer, door.clone(), stop.clone()));
    };
    server::accept(listener, until, deal).await;
}

/// Tells the service manager that the gateway is alive, as long as this thread and every worker moves.
async fn keep_alive(service: Arc<Service>, workers: Arc<Workers>) {
    service.keep_alive(|| workers.beat()).await;
}

/// The signals that are listened for: from before the banner on, which tells others to send them.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user_defined: Signal,
    log: Log,
}

impl Signals {
    fn listen(log: Log) -> Result<Self, StartError> {
        let listen = |kind| signal(kind).map_err(other);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
            user_defined: listen(SignalKind::user_defined1())?,
            log,
        })
    }

    /// Returns at SIGTERM or SIGINT; SIGHUP asks for a reload, SIGUSR1 for a new log file where the old one was moved.
    async fn end(&mut self, reload: &Notify) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => reload.notify_one(),
                _ = self.user_defined.recv() => self.log.reopen(),
            }
        }
    }
}

/// Connections to providers.
fn upstreams(authority: &Authority) -> Result<Upstreams, StartError> {
    Upstreams::build(authority.clone())
        .map_err(|error| StartError::Other(format!("the HTTP client: {error}")))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| {
        StartError::Other(format!(
            "cannot listen on {address}: {error}; choose another with --listen"
        ))
    })
}

/// What was started or stopped, for the audit log.
fn version() -> &'static str {
    concat!("tidegate ", env!("CARGO_PKG_VERSION"))
}

/// A name for this process in the rows it writes.
fn instance() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_else(|_| "tidegate".to_owned())
}

/// Raises the limit on open files to what the system allows, and leaves half of it for connections to
/// providers: a gateway that accepts more than it can pass on would stop altogether.
fn most_connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files could not be raised");
            limit.current
        }
    };
    let files = current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    (files.saturating_sub(RESERVED_FILES) / 2).clamp(1, MAX_CONNECTIONS)
}

fn other(error: std::io::Error) -> StartError {
    StartError::Other(error.to_string())
}

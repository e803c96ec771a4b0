//! Floor 4: every MCP server behind one endpoint. `transport` carries messages to one server; `connection` is one
//! session with one, whatever its era; `pool` keeps those alive, one slot for each server and credential; `view` and
//! `offers` are what one caller sees of it all; `serve` answers the clients of `/mcp`. Nothing here knows of models or of
//! the gate.

pub mod connection;
pub mod era;
mod figures;
pub mod locked;
pub mod offers;
pub mod pool;
pub mod rest;
mod roots;
pub mod serve;
pub mod status;
#[cfg(test)]
mod tests;
mod thread;
pub mod toolbox;
pub mod traced;
pub mod transport;
pub mod view;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use self::pool::Pool;
use self::serve::parked::ParkingLot;
use self::serve::questions::Sampler;
use self::serve::sessions::Sessions;
pub use self::thread::Thread;
use self::traced::Observer;
use crate::config::snapshot::Snapshot;

/// How often what waited too long is dropped.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// All that lives of MCP between requests.
pub struct Mcp {
    pub pool: Pool,
    pub parked: ParkingLot,
    /// Those of clients.
    pub sessions: Arc<Sessions>,
    /// The configuration in force, for what happens between requests.
    configured: watch::Sender<Option<Arc<Snapshot>>>,
    sampler: OnceLock<Arc<dyn Sampler>>,
    observer: OnceLock<Arc<dyn Observer>>,
    handle: Handle,
}

impl Mcp {
    /// Everything runs on the runtime of the handle.
    pub fn new(handle: Handle) -> Arc<Self> {
        let mcp = Arc::new(Self {
            pool: Pool::new(handle.clone()),
            parked: ParkingLot::default(),
            sessions: Arc::default(),
            configured: watch::channel(None).0,
            sampler: OnceLock::new(),
            observer: OnceLock::new(),
            handle: handle.clone(),
        });
        handle.spawn(sweep(mcp.clone()));
        mcp
    }

    /// A new configuration comes into force: connections are brought in line with it, in the background. Before requests see
    /// it, so that none of them finds what it replaces.
    pub fn reconcile(&self, snapshot: &Snapshot) {
        self.pool.reconcile(snapshot);
    }

    /// The configuration is in force: sessions are told of what changed for them.
    pub fn announce(&self, snapshot: &Arc<Snapshot>) {
        self.configured.send_replace(Some(snapshot.clone()));
    }

    /// Who answers `sampling/createMessage` for clients that cannot. Set once, at the start.
    pub fn set_sampler(&self, sampler: Arc<dyn Sampler>) {
        let _is_the_first = self.sampler.set(sampler);
    }

    /// Who is told of requests that are over. Set once, at the start.
    pub fn set_observer(&self, observer: Arc<dyn Observer>) {
        let _is_the_first = self.observer.set(observer);
    }

    /// Ends every connection, and returns when they are, within `patience`.
    pub async fn close(&self, patience: Duration) {
        self.sessions.stop();
        self.pool.close(patience).await;
    }

    /// Returns when the gateway is shutting down.
    pub async fn closing(&self) {
        self.sessions.stopping().cancelled().await;
    }

    /// Where MCP runs.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    fn observer(&self) -> Option<Arc<dyn Observer>> {
        self.observer.get().cloned()
    }

    fn sampler(&self) -> Option<Arc<dyn Sampler>> {
        self.sampler.get().cloned()
    }

    fn configured(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.configured.subscribe()
    }
}

async fn sweep(mcp: Arc<Mcp>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {
                mcp.parked.sweep();
                mcp.pool.sweep();
            }
            () = mcp.closing() => return,
        }
    }
}

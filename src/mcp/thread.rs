//! The thread that MCP runs on: connections to servers, and the calls that clients make. It has a runtime of its own, so
//! that a large result or a busy server holds up no request to a model.

use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// The running thread.
pub struct Thread {
    handle: Handle,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Thread {
    /// # Errors
    /// The system gives no thread or no runtime.
    pub fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let until = stop.clone();
        let thread = std::thread::Builder::new().name("mcp".into()).spawn(move || {
            runtime.block_on(until.cancelled());
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, stop, thread })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends the thread; what still runs on it is dropped.
    pub fn end(self) {
        self.stop.cancel();
        if self.thread.join().is_err() {
            tracing::error!("the MCP thread had panicked");
        }
    }
}

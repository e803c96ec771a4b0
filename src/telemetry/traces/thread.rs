//! The thread that spans are exported on: encoding them holds up no request. It starts with the first collector.

use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// The running thread.
#[derive(Debug)]
pub(super) struct Thread {
    handle: Handle,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Thread {
    /// # Errors
    /// The system gives no thread or no runtime.
    pub(super) fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let until = stop.clone();
        let thread = std::thread::Builder::new().name("traces".into()).spawn(move || {
            runtime.block_on(until.cancelled());
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, stop, thread })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends the thread; what still runs on it is dropped.
    pub(super) fn end(self) {
        self.stop.cancel();
        if self.thread.join().is_err() {
            tracing::error!("the thread of traces had panicked");
        }
    }
}

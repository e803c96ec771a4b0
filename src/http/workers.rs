//! The worker threads: each has a runtime of its own, its own door and its own connections to providers,
//! so that a request never crosses from one thread to another on its way. New connections are dealt to
//! the worker that has the fewest.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Door;
use super::server::{self, Accepted};

/// Connections that may wait to be taken over by one worker.
const WAITING: usize = 1024;

/// All workers.
pub struct Workers {
    workers: Vec<Worker>,
    connections: TaskTracker,
    /// Connections at once; more are closed.
    most: usize,
}

struct Worker {
    hand_over: mpsc::Sender<Handed>,
    busy: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

enum Handed {
    Connection {
        stream: std::net::TcpStream,
        peer: IpAddr,
        counted: Counted,
    },
    /// To be answered by whoever still moves.
    Beat(oneshot::Sender<()>),
}

/// One connection more on a worker, until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    /// Starts one thread for each door. `stop` tells connections to finish.
    ///
    /// # Errors
    /// The system gives no thread or no runtime.
    pub fn start(
        doors: Vec<Arc<Door>>,
        most: usize,
        stop: &CancellationToken,
    ) -> std::io::Result<Self> {
        let connections = TaskTracker::new();
        let start = |(index, door): (usize, Arc<Door>)| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (hand_over, handed) = mpsc::channel(WAITING);
            let busy = Arc::new(AtomicUsize::new(0));
            let (connections, stop) = (connections.clone(), stop.clone());
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || runtime.block_on(take_over(handed, door, connections, stop)))?;
            Ok(Worker { hand_over, busy, thread })
        };
        let workers: std::io::Result<Vec<Worker>> =
            doors.into_iter().enumerate().map(start).collect();
        Ok(Self { workers: workers?, connections: connections.clone(), most })
    }

    /// Gives a new connection to the worker that has the fewest; closes it if even that one does not
    /// keep up.
    pub fn deal(&self, accepted: Accepted) {
        if self.connections.len() >= self.most {
            tracing::debug!(most = self.most, "a connection was closed: too many are open");
            return;
        }
        let least = self.workers.iter().min_by_key(|worker| worker.busy.load(Ordering::Relaxed));
        let Some(worker) = least else { return };
        worker.busy.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(worker.busy.clone());
        let Ok(stream) = accepted.stream.into_std() else { return };
        let handed = Handed::Connection { stream, peer: accepted.peer, counted };
        if worker.hand_over.try_send(handed).is_err() {
            tracing::warn!("a connection was closed: its worker does not keep up");
        }
    }

    /// Returns when every worker has come round to answering.
    pub async fn beat(&self) {
        for worker in &self.workers {
            let (answer, answered) = oneshot::channel();
            // A worker that has ended cannot be waited for: that is a stop, or a panic that the log has told.
            if worker.hand_over.send(Handed::Beat(answer)).await.is_ok() {
                let _ended = answered.await;
            }
        }
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Returns when the last connection has ended.
    pub async fn idle(&self) {
        self.connections.close();
        self.connections.wait().await;
    }

    /// Ends the threads; what is still open is cut.
    pub fn end(self) {
        for Worker { hand_over, thread, .. } in self.workers {
            drop(hand_over);
            if thread.join().is_err() {
                tracing::error!("a worker thread had panicked");
            }
        }
    }
}

/// A worker's life: until nobody hands over any more.
async fn take_over(
    mut handed: mpsc::Receiver<Handed>,
    door: Arc<Door>,
    connections: TaskTracker,
    stop: CancellationToken,
) {
    while let Some(handed) = handed.recv().await {
        let (stream, peer, counted) = match handed {
            Handed::Connection { stream, peer, counted } => (stream, peer, counted),
            Handed::Beat(answer) => {
                let _nobody_waits = answer.send(());
                continue;
            }
        };
        let Ok(stream) = TcpStream::from_std(stream) else { continue };
        let (door, stop) = (door.clone(), stop.clone());
        connections.spawn(async move {
            server::converse(stream, peer, door, stop).await;
            drop(counted);
        });
    }
}

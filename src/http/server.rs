//! Accepting connections: how many, how slow, how long they may go on when the gateway stops. HTTP/1.1
//! and HTTP/2 with prior knowledge on one port; TLS is the business of a proxy in front.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{Door, websocket};
use crate::gateway::outgoing::Outgoing;

/// Room for a header block, and the most read at once of a body.
const MAX_BUFFER: usize = 32 * 1024;
const MAX_HEADERS: usize = 128;
/// For a request's headers to come, counted from the previous answer: it is the keep-alive time, too.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// For a client that has stopped reading, or is gone without a word.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection that has just been made.
pub struct Accepted {
    pub stream: TcpStream,
    pub peer: IpAddr,
}

/// Accepts until `stop`, handing each connection to `deal`.
pub async fn accept(
    listener: TcpListener,
    stop: CancellationToken,
    mut deal: impl FnMut(Accepted),
) {
    let mut complained: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => deal(Accepted { stream, peer: peer.ip().to_canonical() }),
            Err(error) => {
                // Out of file descriptors, most often: wait for some to come free, without spinning.
                if complained.is_none_or(|at| at.elapsed() > COMPLAIN_EVERY) {
                    tracing::warn!(%error, "connections cannot be accepted");
                    complained = Some(Instant::now());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Serves one connection to its end; after `stop`, to the end of its current request.
pub async fn converse(stream: TcpStream, peer: IpAddr, door: Arc<Door>, stop: CancellationToken) {
    let _best_effort = stream.set_nodelay(true);
    let socket = socket2::SockRef::from(&stream);
    let _best_effort = socket.set_tcp_user_timeout(Some(UNREAD_TIMEOUT));
    let asked = Arc::new(AtomicBool::new(false));
    // hyper-util waits without a timer for the bytes that tell HTTP/1 from HTTP/2, and HTTP/2 for its
    // first request: who asks nothing in time has to go.
    let silence = {
        let asked = asked.clone();
        async move {
            tokio::time::sleep(HEADER_TIMEOUT).await;
            if asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        }
    };
    let switched: Arc<Mutex<Option<Switched>>> = Arc::default();
    let service = service_fn({
        let (door, switched) = (door.clone(), switched.clone());
        move |request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let (door, switched) = (door.clone(), switched.clone());
            async move { Ok::<_, Infallible>(answer(request, &door, peer, &switched).await) }
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_BUFFER)
        .max_headers(MAX_HEADERS)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(32 * 1024)
        .keep_alive_interval(Duration::from_secs(30));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = silence => return,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(error = %error, "a connection ended early");
    }
    let switched = switched.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Switched { upgrade, headers }) = switched
        && let Ok(upgraded) = upgrade.await
    {
        websocket::converse(upgraded, headers, &door, peer, &stop).await;
    }
}

/// A connection that goes on as a WebSocket.
struct Switched {
    upgrade: OnUpgrade,
    headers: HeaderMap,
}

async fn answer(
    mut request: Request<Incoming>,
    door: &Door,
    peer: IpAddr,
    switched: &Mutex<Option<Switched>>,
) -> Response<Outgoing> {
    if !request.headers().contains_key(header::UPGRADE) {
        return door.answer(request, peer).await;
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let headers = request.headers().clone();
    let response = door.answer(request, peer).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let wanted = Switched { upgrade, headers };
        *switched.lock().unwrap_or_else(PoisonError::into_inner) = Some(wanted);
    }
    response
}

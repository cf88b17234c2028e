//! HTTP servers of a process's own: one router, HTTP/1.1 and HTTP/2, with deadlines for whatever a client leaves unfinished.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio_stream::StreamExt;
use tower::ServiceExt;

use crate::accept::{self, Plain, Watched};
use crate::listen;
use crate::shutdown::Shutdown;

/// Connections of one server at once; one more waits.
const CONNECTIONS_MAX: usize = 4096;

/// A connection on which nothing moves for so long is closed, whatever it is in the middle of. Longer than the pauses of those who
/// scrape metrics, who keep theirs.
const STALL_TIMEOUT: Duration = Duration::from_secs(90);

/// From the end of an answer to the last byte of the next head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);

/// Streams of one HTTP/2 connection at once.
const STREAMS_MAX: u32 = 128;

/// Binds `listen` and serves `router` until `shutdown` starts. Returns the bound address at once.
pub fn http(
    name: &'static str,
    listen: SocketAddr,
    router: Router,
    shutdown: &Shutdown,
) -> std::io::Result<SocketAddr> {
    let (listener, addr) = listen::open(name, listen)?;
    let mut connections = accept::incoming(listener, shutdown);
    let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let owner = shutdown.clone();
    shutdown.spawn(async move {
        while let Some(connection) = connections.next().await {
            let (Ok(connection), Ok(turn)) = (connection, turns.clone().acquire_owned().await) else {
                continue;
            };
            let (router, stop) = (router.clone(), owner.clone());
            owner.spawn(async move {
                let _turn = turn;
                if let Err(error) = serve(connection, router, &stop).await {
                    tracing::debug!(name, %error, "connection ended");
                }
            });
        }
    });
    Ok(addr)
}

/// Serves one connection until it ends, or has answered what it was asked when the process stops.
async fn serve(connection: Plain, router: Router, stop: &Shutdown) -> hyper::Result<()> {
    let peer = connection.peer;
    let service = service_fn(move |request| answer(router.clone(), peer, request));
    let is_http2 = connection.is_http2();
    let io = TokioIo::new(Watched::new(connection, STALL_TIMEOUT));
    if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(STALL_TIMEOUT / 3);
        let mut serving = std::pin::pin!(builder.serve_connection(io, service));
        tokio::select! {
            served = serving.as_mut() => served,
            () = stop.started() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        let mut serving = std::pin::pin!(builder.serve_connection(io, service));
        tokio::select! {
            served = serving.as_mut() => served,
            () = stop.started() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    }
}

async fn answer(router: Router, peer: SocketAddr, mut request: Request<Incoming>) -> Result<Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request.map(axum::body::Body::new)).await
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn requests_are_answered_and_clients_known() {
        let shutdown = Shutdown::new();
        let router = Router::new().route(
            "/",
            get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }),
        );
        let addr = http("test", "127.0.0.1:0".parse().unwrap(), router, &shutdown).unwrap();
        let mut client = TcpStream::connect(addr).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let own = client.local_addr().unwrap().to_string();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&own), "{answer}");
        shutdown.drain(Duration::from_secs(5)).await;
    }
}

//! Connections of a pool as they are made.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use super::connection::{Facts, Http1};
use super::queue::Slot;
use super::request_body::RequestBody;
use super::{Pool, Shared};
use crate::error::{ErrorKind, ProxyError};
use crate::executor::Executor;
use crate::http1::client::ClientConnection;
use crate::model::cluster::UpstreamProtocol;
use crate::model::http::Http2Options;
use crate::stream::Stream;
use crate::stream_info::identity::Identity;
use crate::tls::client::server_uri_san;
use crate::upstream::cluster::Cluster;
use crate::upstream::connect;

/// A connection that many requests share.
type Http2 = http2::Connection<TokioIo<Stream>, RequestBody, Executor>;

impl Pool {
    /// Makes a connection: gives one of HTTP/1.1, keeps one of HTTP/2 for all. It has the slot until it is closed; one that fails gives
    /// it back.
    pub(super) async fn open(
        self: &Rc<Self>,
        cluster: &Arc<Cluster>,
        slot: Slot,
    ) -> Result<Option<Http1>, (ProxyError, Slot)> {
        let stream = match connect::to_endpoint(&cluster.model, &self.endpoint, self.asked.as_deref()).await {
            Ok(stream) => stream,
            Err(error) => return Err((error, slot)),
        };
        if self.http2 {
            return self.share(cluster, stream, slot).await.map(|()| None);
        }
        let local = stream.socket().and_then(|socket| socket.local_addr().ok());
        let identity = self.identity(&stream);
        let facts = Box::new(Facts {
            local,
            requests: 0,
            opened_at: Instant::now(),
            identity,
            _slot: slot,
        });
        let connection = ClientConnection::new(stream);
        Ok(Some(Http1 { connection, facts }))
    }

    /// Begins HTTP/2 and keeps the connection.
    async fn share(self: &Rc<Self>, cluster: &Cluster, stream: Stream, slot: Slot) -> Result<(), (ProxyError, Slot)> {
        let options = http2_options(&cluster.model.protocol);
        let local = stream.socket().and_then(|socket| socket.local_addr().ok());
        let identity = self.identity(&stream);
        let mut builder = http2::Builder::new(self.executor.clone());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(options.stream_window_bytes)
            .initial_connection_window_size(options.connection_window_bytes)
            .max_concurrent_reset_streams(64)
            .max_header_list_size(60 << 10);
        if let Some(interval) = options.keepalive_interval {
            builder
                .keep_alive_interval(interval)
                .keep_alive_timeout(options.keepalive_timeout)
                .keep_alive_while_idle(true);
        }
        let (sender, mut connection) = match builder.handshake(TokioIo::new(stream)).await {
            Ok(both) => both,
            Err(error) => return Err((ProxyError::because(ErrorKind::ConnectFailed, error), slot)),
        };
        let allowed = Rc::new(Cell::new(streams_allowed(&connection)));
        let (pool, follows) = (Rc::downgrade(self), allowed.clone());
        self.executor.spawn(async move {
            let _slot = slot;
            let ended = poll_fn(|cx| {
                let polled = Pin::new(&mut connection).poll(cx);
                let before = follows.replace(streams_allowed(&connection));
                if follows.get() > before
                    && let Some(pool) = pool.upgrade()
                {
                    pool.serve_streams(true);
                }
                polled
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        self.shared.borrow_mut().push(Shared {
            sender,
            local,
            identity,
            streams: Rc::default(),
            requests: Cell::new(0),
            opened_at: Instant::now(),
            allowed,
        });
        Ok(())
    }

    fn identity(&self, stream: &Stream) -> Option<Rc<Identity>> {
        let context = self.endpoint.tls.as_ref()?;
        self.identities.of(context.local_uri_san(), server_uri_san(stream))
    }
}

/// What the server has said of its streams so far (RFC 9113, SETTINGS_MAX_CONCURRENT_STREAMS).
fn streams_allowed(connection: &Http2) -> u32 {
    u32::try_from(connection.current_max_send_streams()).unwrap_or(u32::MAX)
}

/// What a cluster says of HTTP/2 to its endpoints.
pub(super) fn http2_options(protocol: &UpstreamProtocol) -> &Http2Options {
    static DEFAULT: std::sync::LazyLock<Http2Options> = std::sync::LazyLock::new(Http2Options::default);
    match protocol {
        UpstreamProtocol::Http2(options)
        | UpstreamProtocol::Auto { http2: options, .. }
        | UpstreamProtocol::Downstream { http2: options, .. } => options,
        UpstreamProtocol::Http1(_) => &DEFAULT,
    }
}

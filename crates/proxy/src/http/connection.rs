//! One downstream HTTP connection: codec, limits, idle time, drain.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{request, respond};
use crate::model::http::Codec;
use crate::runtime::ChainRef;
use crate::runtime::connection_manager::HttpChain;
use crate::stream::Stream;
use crate::stream_info::connection::ConnectionInfo;
use crate::worker::Worker;

/// Most buffered bytes of a connection that sends HTTP/1 headers.
const HTTP1_BUFFER_BYTES: usize = 64 << 10;

/// A connection that serves requests.
#[derive(Debug)]
pub struct HttpConnection {
    /// Its facts.
    pub info: Rc<ConnectionInfo>,
    /// Its thread.
    pub worker: Rc<Worker>,
    /// Whether it speaks HTTP/2.
    pub http2: bool,
    at: ChainRef,
    current: RefCell<(u64, Arc<HttpChain>)>,
    served: Cell<u32>,
    active: Cell<u32>,
    last_active: Cell<Instant>,
    /// Wakes [`Self::end`] after each answer of a connection that drains.
    answered: Notify,
}

/// Why a connection should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The process or listener drains, or the connection is old or has served enough.
    Gracefully,
    /// Nothing was asked for too long.
    Now,
}

// === impl HttpConnection ===

impl HttpConnection {
    /// The connection manager of the next request: that of the running configuration, or the last one there was.
    pub fn chain(&self) -> Arc<HttpChain> {
        let runtime = self.worker.runtime.load();
        let mut current = self.current.borrow_mut();
        if current.0 != runtime.generation {
            if let Some(chain) = runtime.http_chain(&self.at) {
                current.1 = chain;
            }
            current.0 = runtime.generation;
        }
        current.1.clone()
    }

    fn spent(&self, chain: &HttpChain) -> bool {
        let most = chain.manager.requests_per_connection_max;
        let longest = chain.manager.connection_duration_max;
        (most > 0 && self.served.get() >= most)
            || longest.is_some_and(|longest| self.info.accepted_at.elapsed() >= longest)
    }

    async fn answer(
        self: Rc<Self>,
        message: Request<Incoming>,
    ) -> Result<http::Response<super::body::ResponseBody>, Infallible> {
        self.served.set(self.served.get() + 1);
        self.active.set(self.active.get() + 1);
        let version = message.version();
        let unfinished = !message.body().is_end_stream();
        let closes_itself = version == Version::HTTP_10 && !asks_to_stay(message.headers());
        let switches = message.headers().contains_key(header::UPGRADE) || message.method() == Method::CONNECT;
        let mut response = request::serve(self.clone(), message).await;
        self.active.set(self.active.get() - 1);
        self.last_active.set(Instant::now());
        let draining =
            self.worker.drain.token(self.info.direction).is_cancelled() || self.spent(&self.current.borrow().1);
        if draining {
            self.answered.notify_one();
        }
        // An answer that does not wait for the request's end leaves the connection in no usable state, and so does an
        // upgrade that was asked for and not made.
        let early = unfinished && response.body().is_before_request_end();
        let status = response.status();
        let switched = status == StatusCode::SWITCHING_PROTOCOLS || (switches && status.is_success());
        let broken = version <= Version::HTTP_11 && (early || closes_itself || (switches && !switched));
        // What comes after an upgrade is no HTTP/1.1 that a field could end.
        if broken || (!switched && respond::close_after(version, draining)) {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    /// Resolves when the connection should end. Timers are armed only for what is configured.
    async fn end(&self) -> End {
        let sent_away = self.sent_away();
        tokio::pin!(sent_away);
        loop {
            let chain = self.current.borrow().1.clone();
            let idle = chain.manager.idle_timeout;
            let mut due = None;
            if !idle.is_zero() && self.active.get() == 0 {
                due = Some(self.last_active.get() + idle);
            }
            let longest = chain
                .manager
                .connection_duration_max
                .map(|longest| self.info.accepted_at + longest);
            let next = due.into_iter().chain(longest).min();
            let next = next.unwrap_or_else(|| Instant::now() + idle.max(Duration::from_secs(60)));
            tokio::select! {
                () = &mut sent_away => return End::Gracefully,
                () = tokio::time::sleep_until(next) => {}
            }
            if self.spent(&chain) {
                return End::Gracefully;
            }
            if !idle.is_zero() && self.active.get() == 0 && self.last_active.get().elapsed() >= idle {
                return End::Now;
            }
        }
    }

    /// Resolves when the client is to be told to open no more requests. Over HTTP/1 the next answer tells it; without one the
    /// connection stays until the process ends, since to close it could cross a request. Over HTTP/2 a frame does (GOAWAY, RFC 9113, section
    /// 6.8), after the first answer: a client that came just now would otherwise have come for nothing.
    async fn sent_away(&self) {
        let over = self.worker.shutdown.token();
        let drains = self.worker.drain.token(self.info.direction);
        if !self.http2 || over.run_until_cancelled(drains.cancelled()).await.is_none() {
            return over.cancelled().await;
        }
        while self.served.get() == 0 && over.run_until_cancelled(self.answered.notified()).await.is_some() {}
    }
}

/// HTTP/1.0 keeps a connection only where the client asks for it (RFC 9112, section 9.3).
fn asks_to_stay(headers: &HeaderMap) -> bool {
    let connection = headers.get(header::CONNECTION).map(HeaderValue::as_bytes);
    connection.is_some_and(|value| value.eq_ignore_ascii_case(b"keep-alive"))
}

/// Serves a connection to its end. Its chain was chosen in a generation of the configuration; each request takes the newest.
pub async fn serve(
    stream: Stream,
    info: Rc<ConnectionInfo>,
    at: ChainRef,
    (generation, chain): (u64, Arc<HttpChain>),
    preface: bool,
    worker: Rc<Worker>,
) {
    let http2 = match chain.manager.codec {
        Codec::Http1 => false,
        Codec::Http2 => true,
        Codec::Auto => preface || stream.alpn().is_some_and(|protocol| protocol.ends_with(b"h2")),
    };
    let connection = Rc::new(HttpConnection {
        http2,
        at,
        current: RefCell::new((generation, chain.clone())),
        served: Cell::new(0),
        active: Cell::new(0),
        last_active: Cell::new(info.accepted_at),
        answered: Notify::new(),
        info,
        worker,
    });
    chain.stats.connection_opened();
    let served = if http2 {
        serve_http2(stream, &connection, &chain).await
    } else {
        serve_http1(stream, &connection, &chain).await
    };
    if let Err(error) = served {
        tracing::debug!(peer = %connection.info.remote_addr, %error, "downstream connection ended");
    }
    chain.stats.connection_closed();
}

async fn serve_http1(stream: Stream, connection: &Rc<HttpConnection>, chain: &HttpChain) -> hyper::Result<()> {
    let mut builder = http1::Builder::new();
    builder
        .half_close(false)
        .keep_alive(true)
        .max_buf_size(
            chain
                .manager
                .header_bytes_max
                .clamp(8192, HTTP1_BUFFER_BYTES.max(chain.manager.header_bytes_max)),
        )
        .max_headers(chain.manager.header_count_max as usize)
        .timer(TokioTimer::new());
    let timeout = chain.manager.request_headers_timeout;
    builder.header_read_timeout((!timeout.is_zero()).then_some(timeout));
    let service = connection.clone();
    let service = service_fn(move |message| service.clone().answer(message));
    let served = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(served);
    let ending = connection.end();
    tokio::pin!(ending);
    tokio::select! {
        result = served.as_mut() => result,
        end = ending => {
            if end == End::Now {
                return Ok(());
            }
            served.as_mut().graceful_shutdown();
            served.await
        }
    }
}

async fn serve_http2(stream: Stream, connection: &Rc<HttpConnection>, chain: &HttpChain) -> hyper::Result<()> {
    let options = &chain.manager.http2;
    let mut builder = http2::Builder::new(connection.worker.executor.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.concurrent_streams_max)
        .initial_stream_window_size(options.stream_window_bytes)
        .initial_connection_window_size(options.connection_window_bytes)
        .max_header_list_size(u32::try_from(chain.manager.header_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(64);
    if let Some(interval) = options.keepalive_interval {
        builder
            .keep_alive_interval(interval)
            .keep_alive_timeout(options.keepalive_timeout);
    }
    let service = connection.clone();
    let service = service_fn(move |message| service.clone().answer(message));
    let served = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    let ending = connection.end();
    tokio::pin!(ending);
    tokio::select! {
        result = served.as_mut() => result,
        end = ending => {
            if end == End::Now {
                return Ok(());
            }
            served.as_mut().graceful_shutdown();
            served.await
        }
    }
}

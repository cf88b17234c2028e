//! Serving a downstream HTTP connection to its end: codec, limits, idle time, drain.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::body::ResponseBody;
use super::connection::{End, HttpConnection};
use super::{request, respond};
use crate::journal::say;
use crate::model::http::Codec;
use crate::network_filters::NetworkFilters;
use crate::runtime::ChainRef;
use crate::runtime::connection_manager::ConnectionManager;
use crate::stream::Stream;
use crate::stream_info::connection::ConnectionInfo;
use crate::worker::Worker;

/// Most buffered bytes of a connection that sends HTTP/1 headers.
const HTTP1_BUFFER_BYTES: usize = 64 << 10;

/// Serves a connection to its end. Its chain was chosen in a generation of the configuration; each request takes the newest.
pub async fn serve(
    stream: Stream,
    info: Rc<ConnectionInfo>,
    at: ChainRef,
    (generation, manager): (u64, Arc<ConnectionManager>),
    filters: &NetworkFilters,
    preface: bool,
    worker: Rc<Worker>,
) {
    let http2 = match manager.model.codec {
        Codec::Http1 => false,
        Codec::Http2 => true,
        Codec::Auto => preface || stream.alpn().is_some_and(|protocol| protocol.ends_with(b"h2")),
    };
    let connection = HttpConnection::new(info, at, (generation, manager.clone()), filters, http2, worker);
    manager.stats.connection_opened();
    say!(connection.info.journal, http2, "http is served");
    let served = if http2 {
        serve_http2(stream, &connection, &manager).await
    } else {
        serve_http1(stream, &connection, &manager).await
    };
    if let Err(error) = served {
        say!(connection.info.journal, %error, "downstream connection ended");
    }
    manager.stats.connection_closed();
}

async fn serve_http1(
    stream: Stream,
    connection: &Rc<HttpConnection>,
    manager: &ConnectionManager,
) -> hyper::Result<()> {
    let mut builder = http1::Builder::new();
    builder
        .half_close(false)
        .keep_alive(true)
        .max_buf_size(
            manager
                .model
                .header_bytes_max
                .clamp(8192, HTTP1_BUFFER_BYTES.max(manager.model.header_bytes_max)),
        )
        .max_headers(manager.model.header_count_max as usize)
        .timer(TokioTimer::new());
    let timeout = manager.model.request_headers_timeout;
    builder.header_read_timeout((!timeout.is_zero()).then_some(timeout));
    let service = connection.clone();
    let service = service_fn(move |message| answer(service.clone(), message));
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

async fn serve_http2(
    stream: Stream,
    connection: &Rc<HttpConnection>,
    manager: &ConnectionManager,
) -> hyper::Result<()> {
    let options = &manager.model.http2;
    let mut builder = http2::Builder::new(connection.worker.executor.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.concurrent_streams_max)
        .initial_stream_window_size(options.stream_window_bytes)
        .initial_connection_window_size(options.connection_window_bytes)
        .max_header_list_size(u32::try_from(manager.model.header_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(64);
    if let Some(interval) = options.keepalive_interval {
        builder
            .keep_alive_interval(interval)
            .keep_alive_timeout(options.keepalive_timeout);
    }
    let service = connection.clone();
    let service = service_fn(move |message| answer(service.clone(), message));
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

/// Answers one request, and says so where the connection ends with it.
async fn answer(
    connection: Rc<HttpConnection>,
    message: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    connection.asked();
    let version = message.version();
    let unfinished = !message.body().is_end_stream();
    let closes_itself = version == Version::HTTP_10 && !asks_to_stay(message.headers());
    let switches = message.headers().contains_key(header::UPGRADE) || message.method() == Method::CONNECT;
    let mut response = request::serve(connection.clone(), message).await;
    let draining = connection.answered();
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

/// HTTP/1.0 keeps a connection only where the client asks for it (RFC 9112, section 9.3).
fn asks_to_stay(headers: &HeaderMap) -> bool {
    let connection = headers.get(header::CONNECTION).map(HeaderValue::as_bytes);
    connection.is_some_and(|value| value.eq_ignore_ascii_case(b"keep-alive"))
}

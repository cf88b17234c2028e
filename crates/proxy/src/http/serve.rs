//! Serving a downstream HTTP connection to its end: codec, limits, idle time, drain.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::body::ResponseBody;
use super::connection::{End, HttpConnection};
use super::received::ReceivedHead;
use super::request::{self, Received};
use super::serve_http1;
use super::upgrade::ClientSwitch;
use crate::body::client::ComingBody;
use crate::journal::say;
use crate::model::http::Codec;
use crate::network_filters::NetworkFilters;
use crate::runtime::ChainRef;
use crate::runtime::connection_manager::ConnectionManager;
use crate::stream::Stream;
use crate::stream_info::connection::ConnectionInfo;
use crate::worker::Worker;

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
    if http2 {
        if let Err(error) = serve_http2(stream, &connection, &manager).await {
            say!(connection.info.journal, %error, "downstream connection ended");
        }
    } else {
        serve_http1::serve(stream, &connection, &manager).await;
    }
    manager.stats.connection_closed();
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
        // What is too long by little is answered and logged by us, the rest by h2 without a line in the log.
        .max_header_list_size(u32::try_from(manager.model.header_bytes_max * 2).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(64);
    if options.allow_connect {
        builder.enable_connect_protocol();
    }
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

/// Answers one request of an HTTP/2 connection.
async fn answer(
    connection: Rc<HttpConnection>,
    mut message: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    connection.asked();
    let switch = if message.method() == Method::CONNECT {
        ClientSwitch::Http2(hyper::upgrade::on(&mut message))
    } else {
        ClientSwitch::None
    };
    let (parts, body) = message.into_parts();
    let received = Received {
        interim: None,
        head: ReceivedHead::from(parts),
        body: ComingBody::Http2(body),
        switch,
    };
    let response = request::serve(connection.clone(), received).await;
    connection.answered();
    Ok(response)
}

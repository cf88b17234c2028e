//! Serving a downstream HTTP connection to its end: codec, limits, idle time, drain.

use std::rc::Rc;
use std::sync::Arc;

use super::connection::HttpConnection;
use super::{serve_http1, serve_http2};
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
    let current = (generation, manager.clone());
    let Some(connection) = HttpConnection::new(info, at, current, filters, http2, worker) else {
        return;
    };
    manager.stats.connection_opened();
    say!(connection.info.journal, http2, "http is served");
    if http2 {
        serve_http2::serve(stream, &connection, &manager).await;
    } else {
        serve_http1::serve(stream, &connection, &manager).await;
    }
    manager.stats.connection_closed();
}

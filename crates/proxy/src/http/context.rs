//! What belongs to a request from its beginning to its end: its facts and what it holds. Its end, whichever way it comes, writes the access
//! log and the counters.

use std::rc::Rc;
use std::sync::Arc;

use http::HeaderMap;
use tokio::time::Instant;

use super::connection::ActiveRequest;
use super::own_answers::AnsweringRoute;
use crate::body::Progress;
use crate::body::client::{ClientFault, Interim};
use crate::error::{BadRequest, ErrorKind, ResponseFlags};
use crate::filters::istio_stats::MessageMeter;
use crate::filters::{End, Passage};
use crate::http2::stream::{StreamFault, StreamRef};
use crate::journal::say;
use crate::runtime::connection_manager::ConnectionManager;
use crate::stream_info::request::RequestHead;
use crate::stream_info::{Captured, RequestFacts, StreamInfo};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::limits::Guard;
use crate::worker::Worker;

/// Records a request when it is dropped.
#[derive(Debug)]
pub struct RequestContext {
    pub info: StreamInfo,
    /// The connection manager.
    pub manager: Arc<ConnectionManager>,
    pub worker: Rc<Worker>,
    /// The request body.
    pub progress: Rc<Progress>,
    /// Its way through the filters.
    pub filters: Passage,
    /// Its route, where that forwards it.
    pub route: Option<AnsweringRoute>,
    /// Circuit-breaker units of the request, given back with it.
    pub guards: Vec<Guard>,
    /// Keeps a connection of several requests from being taken for idle.
    pub active: Option<ActiveRequest>,
    /// The client's stream, where it has one.
    pub stream: Option<StreamRef>,
    /// Sends interim answers to the client, until it gets its answer.
    pub interim: Option<Interim>,
    /// The endpoint whose requests in flight this is one of.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Whether the attempt on that endpoint has a connection. Before, that endpoint cannot be what is slow.
    pub has_connection: bool,
    completed: bool,
}

// === impl RequestContext ===

impl RequestContext {
    /// A record of a request that goes on.
    pub fn new(
        info: StreamInfo,
        manager: Arc<ConnectionManager>,
        worker: Rc<Worker>,
        progress: Rc<Progress>,
    ) -> Box<Self> {
        Box::new(Self {
            info,
            manager,
            worker,
            progress,
            filters: Passage::default(),
            route: None,
            guards: Vec::new(),
            active: None,
            stream: None,
            interim: None,
            endpoint: None,
            has_connection: false,
            completed: false,
        })
    }

    /// The answer went out whole, or failed for a reason already recorded.
    pub fn complete(&mut self) {
        self.completed = true;
    }

    /// Whether all of the answer went out.
    pub fn is_complete(&self) -> bool {
        self.completed
    }

    /// Takes what the log and the counters want of the trailers.
    pub fn trailers(&mut self, trailers: &HeaderMap) {
        if self.info.grpc_status.is_none() {
            self.info.grpc_status = grpc_status(trailers);
        }
        let wanted = self.manager.kept.response_trailers.iter();
        let found = wanted.filter_map(|name| Some((name.clone(), trailers.get(name)?.clone())));
        self.info.response_trailers.extend(found);
    }

    /// What counts the gRPC messages of Istio's metrics; call it when the endpoint is known.
    pub fn meter(&self) -> Option<MessageMeter> {
        let stats = self.manager.filters.istio_stats(&self.filters)?;
        let series = self.worker.istio.messages(stats, &self.info);
        Some(MessageMeter::new(series, self.progress.clone()))
    }

    /// Counts the request on its endpoint until it ends.
    pub fn on_endpoint(&mut self, endpoint: Arc<Endpoint>) {
        self.leave_endpoint();
        say!(self.info.journal, attempt = self.info.attempts, endpoint = %endpoint.text, "endpoint chosen");
        endpoint.state.active.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.endpoint = Some(endpoint);
    }

    /// The attempt on its endpoint is over.
    pub fn leave_endpoint(&mut self) {
        self.has_connection = false;
        if let Some(endpoint) = self.endpoint.take() {
            endpoint.state.active.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        self.leave_endpoint();
        // Whatever was on its way: nobody has got it.
        let is_unanswered = self.stream.as_ref().and_then(StreamRef::unanswered).is_some();
        if is_unanswered {
            self.info.response_code = 0;
            self.info.bytes_sent = 0;
        }
        if is_unanswered || !self.completed {
            let malformed = ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR;
            let (flag, details) = match self.stream.as_ref().and_then(StreamRef::fault) {
                Some(StreamFault::Malformed) => (malformed, "http2.invalid.header.field"),
                Some(StreamFault::Reset) => (ResponseFlags::DOWNSTREAM_REMOTE_RESET, "http2.remote_reset"),
                Some(StreamFault::TooMany) => (ResponseFlags::DOWNSTREAM_REMOTE_RESET, "http2.too_many_headers"),
                Some(StreamFault::TooLarge) => {
                    let details = "http2.header_list_size_too_large";
                    (ResponseFlags::DOWNSTREAM_REMOTE_RESET, details)
                }
                Some(StreamFault::Gone | StreamFault::GivenUp) | None => {
                    let flag = ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION;
                    (flag, "downstream_remote_disconnect")
                }
            };
            self.info.flags.insert(flag);
            self.info.details = Some(details.into());
        }
        self.info.bytes_received = self.progress.received.get();
        self.info.request_done_at = self.info.request_done_at.or_else(|| self.progress.done_at.get());
        self.info.finished_at = Some(Instant::now());
        self.manager.stats.finish(&self.info);
        let mut end = End {
            info: &mut self.info,
            progress: &self.progress,
            istio: &self.worker.istio,
        };
        self.manager.filters.on_end(&mut self.filters, &mut end);
        self.info.end_journal();
        self.manager.log(&self.info, &self.worker.log, &self.worker.random);
    }
}

impl From<ClientFault> for ErrorKind {
    fn from(fault: ClientFault) -> Self {
        match fault {
            ClientFault::Malformed => Self::BadRequest(BadRequest::Protocol),
            ClientFault::Gone => Self::ClientGone,
        }
    }
}

/// `grpc-status` of an answer's headers or trailers.
pub fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// Notes the request's facts for the log, as they are now.
pub fn note(
    head: &RequestHead,
    manager: &Arc<ConnectionManager>,
    mut context: Box<RequestContext>,
) -> Box<RequestContext> {
    let mut kept = Captured::new();
    let traced = manager
        .tracer
        .as_ref()
        .map(|tracer| tracer.kept_headers(context.info.trace.as_ref()));
    let traced = traced
        .unwrap_or_default()
        .iter()
        .filter(|name| !manager.kept.request.contains(name));
    for name in manager.kept.request.iter().chain(traced) {
        if let Some(value) = head.headers.get(name) {
            kept.push((name.clone(), value.clone()));
        }
    }
    context.info.request = Some(RequestFacts {
        method: head.method.clone(),
        path: head.path.clone(),
        authority: head.authority.clone(),
        scheme: head.scheme,
        version: head.version,
        grpc: head.grpc_upstream,
        headers: kept,
    });
    context
}

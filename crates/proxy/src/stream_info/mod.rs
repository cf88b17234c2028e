//! Everything of one request or connection that logs, header values and metrics read.

pub(crate) mod connection;
mod digits;
pub(crate) mod header_names;
pub(crate) mod identity;
pub(crate) mod notes;
pub(crate) mod operators;
pub(crate) mod path;
pub(crate) mod request;
mod stream_id;
pub(crate) mod time_format;
pub(crate) mod trace_context;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, Method, Version};
use smallvec::SmallVec;
use tokio::time::Instant;

use self::connection::ConnectionInfo;
use self::notes::Notes;
use self::path::RequestPath;
use self::request::Scheme;
use self::trace_context::TraceContext;
use crate::error::ResponseFlags;
use crate::journal::{Journal, say};
use crate::model::cluster::Cluster;
use crate::model::metadata::{Origin, WorkloadRef};
use crate::stream_info::identity::Identity;

/// Headers kept for the log; only those that a format names.
pub(crate) type Captured = SmallVec<[(HeaderName, HeaderValue); 4]>;

/// The facts of one request, filled in as it goes.
#[derive(Clone, Debug)]
pub struct StreamInfo {
    pub connection: Rc<ConnectionInfo>,
    /// When it began.
    pub started_at: Instant,
    /// The same by the wall clock.
    pub start_time: SystemTime,
    /// Request facts; `None` for a TCP connection, and for what is no request.
    pub request: Option<RequestFacts>,
    /// What the connection speaks; `None` for a TCP connection.
    pub protocol: Option<Version>,
    /// The client, as trusted headers tell.
    pub remote_addr: SocketAddr,
    /// Bytes of request bodies (or from the client).
    pub bytes_received: u64,
    /// Bytes of response bodies (or to the client).
    pub bytes_sent: u64,
    /// Status sent to the client; 0 where none was.
    pub response_code: u16,
    /// gRPC status of the answer.
    pub grpc_status: Option<u32>,
    /// Why the answer is what it is.
    pub details: Option<Cow<'static, str>>,
    /// Why the connection was ended, where that was done here.
    pub termination: Option<Cow<'static, str>>,
    pub flags: ResponseFlags,
    /// Whether it asks for this proxy's own health.
    pub health_check: bool,
    /// Response headers that a log names.
    pub response_headers: Captured,
    /// Response trailers that a log names.
    pub response_trailers: Captured,
    /// Address of the endpoint.
    pub upstream_host: Option<Arc<str>>,
    /// Our side of the upstream connection.
    pub upstream_local: Option<SocketAddr>,
    /// Protocol spoken upstream.
    pub upstream_protocol: Option<Version>,
    pub upstream_cluster: Option<Arc<Cluster>>,
    /// Workload behind the endpoint.
    pub upstream_workload: Option<Arc<WorkloadRef>>,
    /// Certificates of the connection to the endpoint.
    pub upstream_identity: Option<Rc<Identity>>,
    /// Workload of the client, where it told.
    pub client_workload: Option<Arc<WorkloadRef>>,
    /// Why the transport to the endpoint failed.
    pub transport_failure: Option<Box<str>>,
    pub attempts: u32,
    /// Name of the route.
    pub route_name: Option<Arc<str>>,
    /// Name of the virtual host.
    pub virtual_host: Option<Arc<str>>,
    /// Where the route comes from.
    pub route_origin: Option<Origin>,
    /// What filters leave for later ones and for the log; `None` where that is nothing.
    pub notes: Option<Box<Notes>>,
    /// Its place in a trace, where the connection manager traces.
    pub trace: Option<TraceContext>,
    /// What is said of it stage by stage, where that is wanted.
    pub journal: Journal,
    /// When the request had arrived whole.
    pub request_done_at: Option<Instant>,
    /// When the answer began.
    pub response_began_at: Option<Instant>,
    /// When all was over.
    pub finished_at: Option<Instant>,
}

/// Facts of the request head, after normalisation and rewriting.
#[derive(Clone, Debug)]
pub struct RequestFacts {
    pub method: Method,
    /// Path with query.
    pub path: RequestPath,
    pub authority: HeaderValue,
    pub scheme: Scheme,
    pub version: Version,
    /// Whether it is gRPC.
    pub grpc: bool,
    /// Headers that a log names.
    pub headers: Captured,
}

// === impl StreamInfo ===

impl StreamInfo {
    /// A request or connection that begins now.
    pub fn new(connection: Rc<ConnectionInfo>, started_at: Instant, start_time: SystemTime) -> Self {
        let remote_addr = connection.remote_addr;
        let journal = connection.journal.clone();
        Self {
            journal,
            connection,
            started_at,
            start_time,
            request: None,
            protocol: None,
            remote_addr,
            bytes_received: 0,
            bytes_sent: 0,
            response_code: 0,
            grpc_status: None,
            details: None,
            termination: None,
            flags: ResponseFlags::default(),
            health_check: false,
            response_headers: Captured::new(),
            response_trailers: Captured::new(),
            upstream_host: None,
            upstream_local: None,
            upstream_protocol: None,
            upstream_cluster: None,
            upstream_workload: None,
            upstream_identity: None,
            client_workload: None,
            transport_failure: None,
            attempts: 0,
            route_name: None,
            virtual_host: None,
            route_origin: None,
            notes: None,
            trace: None,
            request_done_at: None,
            response_began_at: None,
            finished_at: None,
        }
    }

    /// Where filters leave something.
    pub fn notes(&mut self) -> &mut Notes {
        self.notes.get_or_insert_default()
    }

    /// Says how it ended in its journal.
    pub fn end_journal(&self) {
        say!(
            self.journal,
            status = self.response_code,
            flags = %self.flags,
            details = self.details.as_deref(),
            received = self.bytes_received,
            sent = self.bytes_sent,
            attempts = self.attempts,
            millis = self.millis_to(self.finished_at),
            "over"
        );
    }

    /// Milliseconds from the beginning to `at`.
    pub fn millis_to(&self, at: Option<Instant>) -> Option<u64> {
        at.map(|at| millis(at.saturating_duration_since(self.started_at)))
    }
}

/// A time in whole milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    time.as_secs() * 1000 + u64::from(time.subsec_millis())
}

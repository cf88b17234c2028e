//! What filters ask services for, which are clusters of the running configuration: one question, one answer.
//!
//! Filters know no connections: whoever runs them brings a [`Services`].

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::error::ErrorKind;
use crate::stream_info::path::RequestPath;

/// A question: a request of the proxy's own.
#[derive(Clone, Debug)]
pub struct Question {
    /// Name of the cluster.
    pub cluster: Arc<str>,
    pub method: Method,
    pub path: RequestPath,
    pub authority: HeaderValue,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// For all of the answer; zero is without bound.
    pub timeout: Duration,
    /// Longest body of an answer that is taken, in bytes.
    pub answer_bytes_max: usize,
    /// It is gRPC, for which HTTP/2 is needed.
    pub grpc: bool,
}

/// An answer that has come whole.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    #[error("its cluster does not exist")]
    NoCluster,
    #[error("its cluster does not speak HTTP/2, which gRPC needs")]
    NoHttp2,
    #[error("it fails: {}", .0.details())]
    Failed(ErrorKind),
    #[error("it does not answer in time")]
    TimedOut,
    #[error("its answer is longer than what is taken")]
    TooLarge,
    #[error("its answer breaks off")]
    Broken,
}

/// An answer on its way.
pub(crate) type Asking<'a> = Pin<Box<dyn Future<Output = Result<Answered, NoAnswer>> + 'a>>;

/// Brings questions to services.
pub trait Services: std::fmt::Debug {
    /// Asks one endpoint of the cluster.
    fn ask(&self, question: Question) -> Asking<'_>;
}

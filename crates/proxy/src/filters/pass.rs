//! What filters are given of a request and its answer, and what they say.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::ask::Services;
use super::client_body::{ClientBody, NotWhole, Patience};
use super::stages::Stages;
use crate::body::Progress;
use crate::body::client::ClientFault;
use crate::error::ResponseFlags;
use crate::observe::istio::shard::Shard;
use crate::random::Random;
use crate::stats::Scope;
use crate::stats::counters::{Counter, Counters};
use crate::stream_info::StreamInfo;
use crate::stream_info::request::RequestHead;
use crate::upstream::cluster::Cluster;

/// What the filters of a configuration are made with.
#[derive(Debug)]
pub struct Making<'a> {
    /// The connection manager's `stat_prefix`.
    pub prefix: &'a Arc<str>,
    /// Where they count.
    pub counters: &'a Arc<Counters>,
    /// What the bootstrap calls the proxies of this one's kind (`node.cluster`).
    pub node_cluster: &'a Arc<str>,
    /// Clusters by name.
    pub clusters: &'a HashMap<Arc<str>, Arc<Cluster>>,
}

/// A request that passes a filter.
#[derive(Debug)]
pub struct RequestPass<'a> {
    pub head: &'a mut RequestHead,
    pub info: &'a mut StreamInfo,
    pub body: &'a mut ClientBody,
    /// How long the body may take.
    pub patience: Patience,
    /// How far its body has come.
    pub progress: &'a Rc<Progress>,
    /// Istio's metrics and peers of this thread.
    pub istio: &'a Shard,
    pub random: &'a Random,
    /// Services that may be asked.
    pub services: &'a dyn Services,
}

/// An answer that passes a filter.
#[derive(Debug)]
pub struct AnswerPass<'a> {
    pub status: &'a mut StatusCode,
    pub headers: &'a mut HeaderMap,
    /// Whether a body follows.
    pub has_body: bool,
    /// What changes the body as it streams. What a filter adds sees what those before it on the way up made.
    pub stages: &'a mut Stages,
    /// The body is no body of the answer but the message of its gRPC status.
    pub body_is_message: bool,
    /// The facts of the request.
    pub info: &'a mut StreamInfo,
}

/// A request that is over.
#[derive(Debug)]
pub struct End<'a> {
    pub info: &'a mut StreamInfo,
    pub progress: &'a Progress,
    /// Istio's metrics of this thread.
    pub istio: &'a Shard,
}

/// What becomes of a request that passed a filter.
#[derive(Debug)]
pub(crate) struct Next<S> {
    /// What the filter remembers until the answer.
    pub keep: Option<S>,
    /// What it is answered here; without it the request goes on.
    pub answer: Option<Answer>,
}

/// A filter's own answer.
#[derive(Debug)]
pub enum Answer {
    /// As the proxy's own errors are told: a gRPC client gets `grpc` and the text as its status.
    Told {
        status: StatusCode,
        /// gRPC status; where there is none, the one that stands for the status.
        grpc: Option<u32>,
        text: String,
        headers: HeaderMap,
    },
    /// As it stands.
    Plain {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
}

// === impl Making ===

impl Making<'_> {
    /// A counter of the connection manager's (`http.<stat_prefix>.<name>`).
    pub fn counter(&self, name: &str) -> Arc<Counter> {
        self.counters.get(&Scope::Http(self.prefix.clone()), name)
    }
}

// === impl RequestPass ===

impl RequestPass<'_> {
    /// Whether it has a body that filters may keep or change: what follows an upgrade is none.
    pub fn has_body(&self) -> bool {
        self.head.upgrade.is_none() && !self.body.is_end_stream()
    }

    /// Waits for all of the body, so that it goes on only when it is there. Gives its length, or the answer to a request whose body is not.
    pub async fn collect(&mut self, bytes_max: usize) -> Result<usize, Answer> {
        let collected = self.body.collect(bytes_max, self.progress, self.patience).await;
        collected.map_err(|reason| self.not_whole(reason))
    }

    /// Waits for the first bytes of the body. Gives them, and whether they are all of it; or the answer to a request whose body is broken.
    pub async fn begin(&mut self, bytes_max: usize) -> Result<(Vec<u8>, bool), Answer> {
        let begun = self.body.begin(bytes_max, self.progress, self.patience).await;
        begun.map_err(|reason| self.not_whole(reason))
    }

    fn not_whole(&mut self, reason: NotWhole) -> Answer {
        let (status, text, details) = match reason {
            NotWhole::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "Payload Too Large",
                "request_payload_too_large",
            ),
            NotWhole::TimedOut => (
                StatusCode::REQUEST_TIMEOUT,
                "request timeout",
                "request_overall_timeout",
            ),
            NotWhole::Idle => {
                self.info.flags.insert(ResponseFlags::STREAM_IDLE_TIMEOUT);
                (StatusCode::REQUEST_TIMEOUT, "stream timeout", "stream_idle_timeout")
            }
            // As without a filter that waits for it.
            NotWhole::Failed(_) if self.progress.fault.get() == Some(ClientFault::Malformed) => {
                self.info.flags.insert(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR);
                (StatusCode::BAD_REQUEST, "Bad Request", "http1.codec_error")
            }
            NotWhole::Failed(error) => {
                tracing::debug!(%error, "a request body that a filter waits for does not come");
                (StatusCode::BAD_REQUEST, "", "request_body_failed")
            }
        };
        self.info.details = Some(details.into());
        Answer::told(status, text)
    }
}

// === impl Answer ===

impl Answer {
    /// A status with a text.
    pub fn told(status: StatusCode, text: &str) -> Self {
        Self::Told {
            status,
            grpc: None,
            text: text.to_owned(),
            headers: HeaderMap::new(),
        }
    }
}

// === impl Next ===

impl<S> Next<S> {
    /// The request goes on.
    pub(crate) fn go() -> Self {
        Self {
            keep: None,
            answer: None,
        }
    }

    /// It goes on, and this is remembered.
    pub(crate) fn keep(state: S) -> Self {
        Self {
            keep: Some(state),
            answer: None,
        }
    }

    /// It is answered.
    pub(crate) fn answer(answer: Answer) -> Self {
        Self {
            keep: None,
            answer: Some(answer),
        }
    }

    /// The same with another form of what is remembered.
    pub(super) fn map<T>(self, into: impl FnOnce(S) -> T) -> Next<T> {
        Next {
            keep: self.keep.map(into),
            answer: self.answer,
        }
    }
}

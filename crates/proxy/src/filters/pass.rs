//! What filters are given of a request and its answer, and what they say.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::body::Progress;
use crate::observe::counters::Counters;
use crate::observe::istio::shard::Shard;
use crate::observe::stream_info::StreamInfo;
use crate::random::Random;
use crate::request::RequestHead;

/// What the filters of a configuration are made with.
#[derive(Debug)]
pub struct Making<'a> {
    /// The connection manager's `stat_prefix`.
    pub prefix: &'a Arc<str>,
    /// Where they count.
    pub counters: &'a Arc<Counters>,
}

/// A request that passes a filter.
#[derive(Debug)]
pub struct RequestPass<'a> {
    /// Its head.
    pub head: &'a mut RequestHead,
    /// Its facts.
    pub info: &'a mut StreamInfo,
    /// How far its body has come.
    pub progress: &'a Rc<Progress>,
    /// Istio's metrics and peers of this thread.
    pub istio: &'a Shard,
    /// Random numbers.
    pub random: &'a Random,
}

/// An answer that passes a filter.
#[derive(Debug)]
pub struct AnswerPass<'a> {
    /// Its status.
    pub status: &'a mut StatusCode,
    /// Its headers.
    pub headers: &'a mut HeaderMap,
    /// The facts of the request.
    pub info: &'a mut StreamInfo,
}

/// A request that is over.
#[derive(Debug)]
pub struct End<'a> {
    /// Its facts.
    pub info: &'a mut StreamInfo,
    /// What passed.
    pub progress: &'a Progress,
    /// Istio's metrics of this thread.
    pub istio: &'a Shard,
}

/// What becomes of a request that passed a filter.
#[derive(Debug)]
pub struct Next<S> {
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
        /// Status.
        status: StatusCode,
        /// gRPC status; where there is none, the one that stands for the status.
        grpc: Option<u32>,
        /// Body.
        text: String,
    },
    /// As it stands.
    Plain {
        /// Status.
        status: StatusCode,
        /// Headers.
        headers: HeaderMap,
        /// Body.
        body: Bytes,
    },
}

// === impl Next ===

impl<S> Next<S> {
    /// The request goes on.
    pub fn go() -> Self {
        Self {
            keep: None,
            answer: None,
        }
    }

    /// It goes on, and this is remembered.
    pub fn keep(state: S) -> Self {
        Self {
            keep: Some(state),
            answer: None,
        }
    }

    /// It is answered.
    pub fn answer(answer: Answer) -> Self {
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

//! What is said of one connection or request, stage by stage, at debug level: why it went where it went.
//!
//! A journal is a `tracing` span with events in it. One that is not wanted is `None` and costs a look at it; who is wanted is switched
//! at `/logging` of the admin page.

mod switches;

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Span;

pub(crate) use self::switches::{Journals, Subject};

/// Target of journals: `weft_proxy::journal=debug` as log level switches all of them on.
pub(crate) const TARGET: &str = "weft_proxy::journal";

/// The header with a request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The journal of one connection or request; says nothing unless it is wanted.
#[derive(Clone, Debug, Default)]
pub struct Journal(Option<Box<Span>>);

/// The connection that a journal is about, or that brought its request.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// Its number within the process.
    pub connection: u64,
    /// The listener that took it.
    pub listener: &'a str,
    /// Address of the client.
    pub peer: SocketAddr,
}

/// Says a stage in a journal: `say!(journal, field = %value, "what happened")`. Fields are computed only where it is wanted.
macro_rules! say {
    ($journal:expr, $($what:tt)+) => {
        if let Some(span) = $journal.span() {
            tracing::debug!(target: $crate::journal::TARGET, parent: span, $($what)+);
        }
    };
}
pub(crate) use say;

// === impl Journal ===

impl Journal {
    fn of_connection(whose: Whose<'_>) -> Self {
        Self::wanted(tracing::debug_span!(
            target: TARGET,
            parent: None,
            "connection",
            connection = whose.connection,
            listener = whose.listener,
            peer = %whose.peer,
        ))
    }

    fn of_request(whose: Whose<'_>) -> Self {
        Self::wanted(tracing::debug_span!(
            target: TARGET,
            parent: None,
            "request",
            connection = whose.connection,
            listener = whose.listener,
            peer = %whose.peer,
            id = tracing::field::Empty,
            route = tracing::field::Empty,
        ))
    }

    /// A subscriber that drops the span drops its events, too.
    fn wanted(span: Span) -> Self {
        Self((!span.is_disabled()).then(|| Box::new(span)))
    }

    /// The span to say something in, where it is wanted; for [`say!`].
    pub(crate) fn span(&self) -> Option<&Span> {
        self.0.as_deref()
    }

    /// The id that a request came with, where somebody listens.
    pub(crate) fn id_of(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        self.0.as_ref().and_then(|_| headers.get(REQUEST_ID).cloned())
    }

    /// The request's id is known.
    pub(crate) fn identify(&self, id: Option<&HeaderValue>) {
        if let (Some(span), Some(id)) = (&self.0, id) {
            span.record("id", id.to_str().unwrap_or_default());
        }
    }

    /// The request's id is the one in its headers.
    pub(crate) fn identify_by(&self, headers: &HeaderMap) {
        self.identify(headers.get(REQUEST_ID).filter(|_| self.0.is_some()));
    }

    /// The request's route is known.
    pub(crate) fn route(&self, name: &str) {
        if let Some(span) = &self.0 {
            span.record("route", name);
        }
    }
}

//! The body of an answer on its way from an endpoint. Its connection is a part of it, and goes back to the pool with its end.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::Pool;
use super::connection::{Facts, Http1, StreamGuard};
use super::request_body::RequestBody;
use super::switched::Switched;
use crate::body::BodyError;
use crate::http1::client::{Exchange, ExchangeError};
use crate::http1::decode::BodyFault;
use crate::stream::Rewound;
use crate::upstream::cluster::Cluster;
use crate::upstream::limits::Guard;

/// What follows the head of an endpoint's answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// Over HTTP/1.
    Http1(Box<Http1Answer>),
    /// Over HTTP/2.
    Http2(Incoming, Option<(Guard, StreamGuard)>),
    /// None: the endpoint has switched to another protocol, over HTTP/2.
    Switched(Switched),
}

/// An exchange whose answer has begun.
#[derive(Debug)]
pub struct Http1Answer {
    /// `None` once it is over.
    under_way: Option<(Exchange<RequestBody>, Box<Facts>)>,
    /// The request's unit of what the cluster allows.
    counted: Option<Guard>,
    pool: Rc<Pool>,
    cluster: Arc<Cluster>,
}

// === impl AnswerBody ===

impl AnswerBody {
    /// Whether nothing (more) comes.
    pub fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(answer) => answer
                .under_way
                .as_ref()
                .is_none_or(|(exchange, _)| exchange.is_answered()),
            Self::Http2(incoming, _) => incoming.is_end_stream(),
            Self::Switched(_) => true,
        }
    }

    /// How much comes.
    pub fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(answer) => match &answer.under_way {
                Some((exchange, _)) => exchange.size_hint(),
                None => SizeHint::with_exact(0),
            },
            Self::Http2(incoming, _) => incoming.size_hint(),
            Self::Switched(_) => SizeHint::with_exact(0),
        }
    }

    /// Whether trailers go on to the client: those of HTTP/1.1 only where that is switched on (Envoy API, Http1ProtocolOptions).
    pub fn passes_trailers(&self) -> bool {
        matches!(self, Self::Http2(..))
    }

    /// The next frame.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Http1(answer) => {
                let Some((exchange, _)) = &mut answer.under_way else {
                    return Poll::Ready(None);
                };
                let frame = ready!(exchange.poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
            }
            Self::Http2(incoming, _) => Pin::new(incoming).poll_frame(cx).map_err(BodyError::from),
            Self::Switched(_) => Poll::Ready(None),
        }
    }

    /// All of it has come: the connection may serve another request.
    pub fn ended(&mut self) {
        match self {
            Self::Http1(answer) => {
                let over = answer.under_way.take();
                // Before another request gets the connection, which needs a unit itself.
                answer.counted = None;
                let whole = over.and_then(|(exchange, facts)| Some((exchange.finish()?, facts)));
                if let Some((connection, facts)) = whole {
                    answer.pool.give_back(&answer.cluster, Http1 { connection, facts });
                }
            }
            Self::Http2(_, counted) => *counted = None,
            Self::Switched(_) => {}
        }
    }

    /// The endpoint's side, where it has switched to another protocol, else what the answer is.
    #[expect(
        clippy::result_large_err,
        reason = "the other case is the answer itself, which goes on"
    )]
    pub fn into_switched(self) -> Result<Switched, Self> {
        match self {
            Self::Http1(mut answer) => answer.switched().ok_or(Self::Http1(answer)),
            Self::Switched(switched) => Ok(switched),
            Self::Http2(..) => Err(self),
        }
    }
}

// === impl Http1Answer ===

impl Http1Answer {
    /// The connection, where it speaks another protocol now. Nothing is moved where it does not, as with nearly every answer.
    fn switched(&mut self) -> Option<Switched> {
        let (exchange, facts) = self.under_way.take_if(|(exchange, _)| exchange.has_switched())?;
        let (stream, ahead) = exchange.into_switched()?;
        let counted = self.counted.take().map(|guard| (guard, facts));
        Some(Switched::Connection(Rewound::new(ahead, stream), counted))
    }

    /// An answer whose head has come. Its connection goes back to `pool`, if it can serve `cluster` any longer.
    pub fn new(
        exchange: Exchange<RequestBody>,
        facts: Box<Facts>,
        counted: Guard,
        pool: Rc<Pool>,
        cluster: Arc<Cluster>,
    ) -> Self {
        Self {
            under_way: Some((exchange, facts)),
            counted: Some(counted),
            pool,
            cluster,
        }
    }
}

impl From<ExchangeError<Self>> for BodyError {
    fn from(error: ExchangeError<Self>) -> Self {
        match error {
            ExchangeError::Request(error) => error,
            ExchangeError::RequestLength => Self::Length,
            ExchangeError::Body(fault) => Self::Fault(fault),
            ExchangeError::Lost => Self::Lost,
            ExchangeError::Closed
            | ExchangeError::HeadCutShort
            | ExchangeError::Head(_)
            | ExchangeError::Framing(_)
            | ExchangeError::Unexpected(_) => Self::Fault(BodyFault::Incomplete),
        }
    }
}

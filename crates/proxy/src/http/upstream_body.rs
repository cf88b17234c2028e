//! An upstream's answer on its way to the client, and what must happen when it ends.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep};

use super::context::{RequestContext, grpc_status};
use crate::body::BodyError;
use crate::body::messages::MessageCounter;
use crate::error::{ErrorKind, ResponseFlags};
use crate::filters::istio_stats::MessageMeter;
use crate::filters::stages::Stages;
use crate::journal::say;
use crate::pool::answer_body::AnswerBody;
use crate::upstream::cluster::Cluster;
use crate::upstream::outlier::Report;

/// An upstream's answer with what must happen when it ends.
#[derive(Debug)]
pub struct UpstreamBody {
    pub(super) incoming: AnswerBody,
    /// It has no content, whatever comes.
    barren: bool,
    pub(super) context: Box<RequestContext>,
    limits: BodyLimits,
    idle: Option<Pin<Box<Sleep>>>,
    deadline: Option<Pin<Box<Sleep>>>,
    silence: Option<Silence>,
    /// Where the endpoint's health is watched, or its silence counted.
    cluster: Option<Arc<Cluster>>,
    grpc: Option<Box<(MessageCounter, Option<MessageMeter>)>>,
    /// What filters do to it, where they do.
    pub(super) stages: Option<Box<Stages>>,
}

/// How long an answer may take once its head has come; zero is without bound.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Without a byte.
    pub idle: Duration,
    /// When all of it must have gone, and what it means if it has not.
    pub due: Option<(Instant, ErrorKind)>,
    /// Without a byte, once the request has been sent: the limit of one try.
    pub silence: Duration,
}

/// The time since the last byte, where a try may not be silent.
#[derive(Debug)]
struct Silence {
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

// === impl UpstreamBody ===

impl UpstreamBody {
    /// The body of an answer of `cluster` whose head was received; a `barren` one has no content.
    pub fn new(
        incoming: AnswerBody,
        context: Box<RequestContext>,
        limits: BodyLimits,
        cluster: &Arc<Cluster>,
        barren: bool,
    ) -> Box<Self> {
        let counted = context.progress.grpc.get().is_some();
        let grpc = counted.then(|| Box::new((MessageCounter::default(), context.meter())));
        let mut body = Box::new(Self {
            grpc,
            incoming,
            barren,
            context,
            limits,
            idle: None,
            deadline: None,
            silence: None,
            cluster: (cluster.is_watched() || !limits.silence.is_zero()).then(|| cluster.clone()),
            stages: None,
        });
        if body.incoming.is_end_stream() {
            body.ended();
        }
        body
    }

    /// The next frame as filters leave it.
    pub(super) fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Some(stages) = &mut self.stages else {
                return Poll::Ready(None);
            };
            match stages.pull() {
                Err(error) => {
                    self.fail(ResponseFlags::LOCAL_RESET, "response_body_failed");
                    return Poll::Ready(Some(Err(error)));
                }
                Ok(Some(chunk)) => {
                    self.context.info.bytes_sent += chunk.len() as u64;
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                Ok(None) if stages.is_over() => {
                    let trailers = stages.take_trailers();
                    if let Some(trailers) = &trailers {
                        self.context.trailers(trailers);
                    }
                    self.context.complete();
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Ok(None) => {}
            }
            let frame = ready!(self.poll_frame(cx));
            let Some(stages) = &mut self.stages else {
                return Poll::Ready(None);
            };
            match frame {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => stages.end(None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => stages.push(chunk),
                    Err(frame) => stages.end(frame.into_trailers().ok()),
                },
            }
        }
    }

    /// The next frame as the upstream sent it.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.incoming.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.idle = None;
                self.silence = None;
                if let Some(data) = frame.data_ref() {
                    if self.barren && !data.is_empty() {
                        return Poll::Ready(Some(Err(self.broke(BodyError::Length))));
                    }
                    if self.stages.is_none() {
                        self.context.info.bytes_sent += data.len() as u64;
                    }
                    if let Some(grpc) = &mut self.grpc {
                        grpc.0.feed(data);
                    }
                    self.report_messages();
                } else if let Some(trailers) = frame.trailers_ref() {
                    if self.stages.is_none() {
                        self.context.trailers(trailers);
                    } else {
                        self.context.progress.status.set(grpc_status(trailers));
                    }
                    let passes = self.incoming.passes_trailers();
                    // Nothing follows trailers, and the codec does not ask again.
                    self.ended();
                    return Poll::Ready(passes.then_some(Ok(frame)));
                }
                if self.incoming.is_end_stream() {
                    self.ended();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.ended();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.broke(error)))),
            Poll::Pending => self.poll_timers(cx),
        }
    }

    /// Notes whose fault it is that no more of it comes.
    fn broke(&mut self, error: BodyError) -> BodyError {
        let fault = self.context.progress.fault.get();
        let (flag, details) = if let Some(fault) = fault {
            let kind = ErrorKind::from(fault);
            (kind.flag(), kind.details())
        } else if breaks_protocol(&error) {
            let details = "upstream_reset_after_response_started{protocol_error}";
            (ResponseFlags::UPSTREAM_PROTOCOL_ERROR, details)
        } else {
            let details = "upstream_reset_after_response_started{connection_termination}";
            (ResponseFlags::UPSTREAM_CONNECTION_TERMINATION, details)
        };
        if fault.is_none() {
            self.report(Report::Failed);
        }
        self.fail(flag, details);
        error
    }

    /// How long the client may take nothing of it; zero is without bound.
    pub(super) fn patience(&self) -> Duration {
        self.limits.idle
    }

    /// The client took nothing of it for too long.
    pub(super) fn give_up(&mut self) {
        self.fail(ResponseFlags::STREAM_IDLE_TIMEOUT, ErrorKind::IdleTimeout.details());
    }

    /// Ready when all of it should have gone.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((due, kind)) = self.limits.due else {
            return Poll::Pending;
        };
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        ready!(deadline.as_mut().poll(cx));
        self.fail(kind.flag(), kind.details());
        Poll::Ready(())
    }

    fn poll_timers(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.poll_due(cx).is_ready() {
            return Poll::Ready(Some(Err(BodyError::TimedOut)));
        }
        if self.poll_silence(cx).is_ready() {
            let kind = ErrorKind::PerTryIdleTimeout;
            if let Some(cluster) = &self.cluster {
                cluster.state.stats().fell_silent();
            }
            self.report(Report::TimedOut);
            self.fail(kind.flag(), kind.details());
            return Poll::Ready(Some(Err(BodyError::TimedOut)));
        }
        if !self.limits.idle.is_zero() {
            let timeout = self.limits.idle;
            let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
            if idle.as_mut().poll(cx).is_ready() {
                self.fail(ResponseFlags::STREAM_IDLE_TIMEOUT, ErrorKind::IdleTimeout.details());
                return Poll::Ready(Some(Err(BodyError::TimedOut)));
            }
        }
        Poll::Pending
    }

    /// Ready when the endpoint has been silent for longer than a try may be, since the request has all been sent.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limits.silence;
        if limit.is_zero() {
            return Poll::Pending;
        }
        let silence = self.silence.get_or_insert_with(|| Silence {
            since: Instant::now(),
            timer: Box::pin(tokio::time::sleep(limit)),
        });
        loop {
            ready!(silence.timer.as_mut().poll(cx));
            let now = Instant::now();
            let since = self.context.progress.done_at.get().unwrap_or(now).max(silence.since);
            if since + limit <= now {
                return Poll::Ready(());
            }
            silence.timer.as_mut().reset(since + limit);
        }
    }

    /// Says how the endpoint has done, where that is of interest.
    fn report(&self, report: Report) {
        if let (Some(cluster), Some(endpoint)) = (&self.cluster, &self.context.endpoint) {
            let worker = &self.context.worker;
            cluster.report(endpoint, report, Instant::now(), || worker.random());
        }
    }

    fn report_messages(&mut self) {
        let Some(grpc) = &mut self.grpc else {
            return;
        };
        let messages = grpc.0.messages;
        self.context.progress.answered.set(messages);
        if let Some(meter) = &mut grpc.1 {
            meter.report(messages);
        }
    }

    fn ended(&mut self) {
        self.incoming.ended();
        // What filters change is over when they have let go of the last of it.
        if self.stages.is_none() {
            self.context.complete();
        }
    }

    fn fail(&mut self, flag: ResponseFlags, details: &'static str) {
        say!(
            self.context.info.journal,
            reason = details,
            "the body of the answer is cut off"
        );
        self.context.info.flags.insert(flag);
        self.context.info.details = Some(details.into());
        self.context.complete();
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        self.report_messages();
    }
}

/// Whether an answer is not what its head has announced.
fn breaks_protocol(error: &BodyError) -> bool {
    if let BodyError::Transport(error) = error {
        let h2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
        return h2.is_some_and(h2::Error::is_library);
    }
    matches!(error, BodyError::Fault(_) | BodyError::Length)
}

//! Bodies of answers on their way to the client, with back-pressure from end to end.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use super::context::RequestContext;
use super::upstream_body::UpstreamBody;
use crate::body::BodyError;
use crate::filters::stages::Stages;
use crate::http1::outgoing::Outgoing;

/// An answer on its way to the client.
#[derive(Debug)]
pub enum ResponseBody {
    /// The proxy's own.
    Local {
        bytes: Option<Bytes>,
        /// Their number is told ahead: filters have not changed them.
        sized: bool,
        /// Ends the request's record on drop.
        context: Option<Box<RequestContext>>,
    },
    Upstream(Box<UpstreamBody>),
}

// === impl ResponseBody ===

impl ResponseBody {
    /// A body of the proxy's own, without a record.
    pub fn bare(bytes: Bytes) -> Self {
        Self::Local {
            bytes: Some(bytes).filter(|bytes| !bytes.is_empty()),
            sized: true,
            context: None,
        }
    }
}

impl ResponseBody {
    /// The record of the request, where it is kept here.
    pub fn context(&mut self) -> Option<&mut Box<RequestContext>> {
        match self {
            Self::Local { context, .. } => context.as_mut(),
            Self::Upstream(body) => Some(&mut body.context),
        }
    }

    /// Has filters change it. A body of the proxy's own is there, and changed at once.
    pub fn through(&mut self, mut stages: Stages) -> Result<(), BodyError> {
        match self {
            Self::Local { bytes, sized, .. } => {
                *sized = stages.keeps_length();
                let mut out = BytesMut::new();
                stages.push(bytes.take().unwrap_or_default());
                stages.end(None);
                while let Some(chunk) = stages.pull()? {
                    out.extend_from_slice(&chunk);
                }
                *bytes = Some(out.freeze()).filter(|bytes| !bytes.is_empty());
            }
            Self::Upstream(body) => body.stages = Some(Box::new(stages)),
        }
        Ok(())
    }

    /// Reads all of it and gives its beginning.
    pub async fn gather(&mut self, bytes_max: usize) -> Vec<u8> {
        if let Self::Local { bytes, .. } = self {
            return bytes.take().map(Vec::from).unwrap_or_default();
        }
        let mut gathered = Vec::new();
        while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await {
            if let Some(data) = frame.data_ref() {
                let more = data.len().min(bytes_max.saturating_sub(gathered.len()));
                gathered.extend_from_slice(&data[..more]);
            }
            if self.is_end_stream() {
                break;
            }
        }
        // None of it is sent.
        if let Some(context) = self.context() {
            context.info.bytes_sent = 0;
        }
        gathered
    }

    /// Whether nothing follows the head.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Local { bytes, .. } => bytes.is_none(),
            Self::Upstream(body) => body.incoming.is_end_stream(),
        }
    }
}

impl Outgoing for ResponseBody {
    fn patience(&self) -> Duration {
        match self {
            Self::Local { context, .. } => context
                .as_ref()
                .map_or(Duration::ZERO, |context| context.manager.model.stream_idle_timeout),
            Self::Upstream(body) => body.patience(),
        }
    }

    fn head_alone(mut self: Pin<&mut Self>) -> bool {
        match &mut *self {
            Self::Local { context, .. } => {
                if let Some(context) = context {
                    context.complete();
                }
                true
            }
            // It may say yet that its answer is none.
            Self::Upstream(_) => self.is_end_stream(),
        }
    }

    fn give_up(mut self: Pin<&mut Self>) {
        if let Self::Upstream(body) = &mut *self {
            body.give_up();
        }
    }

    fn poll_due(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self {
            Self::Local { .. } => Poll::Pending,
            Self::Upstream(body) => body.poll_due(cx),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Local { bytes, context, .. } => {
                let taken = bytes.take();
                if let Some(context) = context {
                    context.info.bytes_sent += taken.as_ref().map_or(0, |bytes| bytes.len() as u64);
                    context.complete();
                }
                Poll::Ready(taken.map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Upstream(body) if body.stages.is_some() => body.poll_changed(cx),
            Self::Upstream(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Local { bytes, .. } => bytes.is_none(),
            Self::Upstream(body) if body.stages.is_some() => body.context.is_complete(),
            Self::Upstream(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Local {
                bytes: Some(_),
                sized: false,
                ..
            } => SizeHint::default(),
            Self::Local { bytes, .. } => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Upstream(body) if body.stages.as_ref().is_some_and(|stages| !stages.keeps_length()) => {
                SizeHint::default()
            }
            Self::Upstream(body) => body.incoming.size_hint(),
        }
    }
}

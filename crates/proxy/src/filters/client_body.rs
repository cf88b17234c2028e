//! The body of a request on its way through the filters: as it comes, kept by a filter that wanted all of it, or changed by some.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::Stage;
use super::stages::Stages;
use crate::body::client::ComingBody;
use crate::body::{BodyError, Progress, chunks};

/// A frame of a body, or its failure.
type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

/// The body of a request.
#[derive(Debug)]
pub enum ClientBody {
    /// As it comes.
    Direct(ComingBody),
    /// With something that filters did to it.
    Staged(Box<Staged>),
}

/// A body that filters keep or change.
#[derive(Debug, Default)]
pub struct Staged {
    /// What a filter has waited for; it comes first.
    kept: VecDeque<Bytes>,
    kept_trailers: Option<HeaderMap>,
    /// What still comes; `None` when all is kept.
    incoming: Option<Box<ClientBody>>,
    stages: Stages,
    hides_length: bool,
    done: bool,
}

/// How long a filter waits for a body; zero is without bound.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// When the request began.
    pub begun: Instant,
    /// From then on for all of it.
    pub arrival: Duration,
    /// Without a byte.
    pub idle: Duration,
}

/// Why a filter did not get a whole body.
#[derive(Debug)]
pub enum NotWhole {
    /// It is longer than the limit.
    TooLarge,
    /// It did not come in time.
    TimedOut,
    /// Nothing of it came for too long.
    Idle,
    /// The client failed, or a filter before this one.
    Failed(BodyError),
}

// === impl ClientBody ===

impl ClientBody {
    /// Whether nothing (more) comes.
    pub fn is_end_stream(&self) -> bool {
        match self {
            Self::Direct(incoming) => incoming.is_end_stream(),
            Self::Staged(staged) => staged.is_end(),
        }
    }

    /// How much comes.
    pub fn size_hint(&self) -> SizeHint {
        match self {
            Self::Direct(incoming) => incoming.size_hint(),
            Self::Staged(staged) => staged.size_hint(),
        }
    }

    /// The next frame; `progress` learns of what the client sent.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>, progress: &Progress) -> Polled {
        match self {
            Self::Direct(incoming) => incoming.poll_frame(cx, progress),
            Self::Staged(staged) => staged.poll_frame(cx, progress),
        }
    }

    /// Somebody here wants it, whatever the upstream will say.
    pub fn is_wanted(&self) {
        match self {
            Self::Direct(incoming) => incoming.is_wanted(),
            Self::Staged(staged) => {
                if let Some(incoming) = &staged.incoming {
                    incoming.is_wanted();
                }
            }
        }
    }

    /// Has a stage change what comes from here on.
    pub fn through(&mut self, stage: Stage) {
        self.staged().stages.add(stage);
    }

    /// Has the body go on without its length being told ahead.
    pub fn hide_length(&mut self) {
        self.staged().hides_length = true;
    }

    /// Waits for the first bytes of the body, as many as there are up to a limit, and keeps them: they come first, the rest behind them
    /// as it comes. Gives them, and whether they are all of it.
    pub async fn begin(
        &mut self,
        bytes_max: usize,
        progress: &Progress,
        patience: Patience,
    ) -> Result<(Vec<u8>, bool), NotWhole> {
        self.is_wanted();
        let mut kept = VecDeque::new();
        let mut first = Vec::new();
        let mut trailers = None;
        while first.len() < bytes_max && trailers.is_none() && !self.is_end_stream() {
            match self.next(progress, patience).await? {
                None => break,
                Some(frame) => match frame.into_data() {
                    Ok(data) => {
                        first.extend_from_slice(&data[..data.len().min(bytes_max - first.len())]);
                        chunks::keep(&mut kept, &data);
                    }
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
        }
        let length: usize = kept.iter().map(Bytes::len).sum();
        let is_whole = length == first.len() && (trailers.is_some() || self.is_end_stream());
        let rest = std::mem::replace(self, Self::Staged(Box::default()));
        *self.staged() = Staged {
            kept,
            kept_trailers: trailers,
            incoming: (!rest.is_end_stream()).then(|| Box::new(rest)),
            ..Staged::default()
        };
        Ok((first, is_whole))
    }

    /// What is kept of it, in one piece.
    pub fn kept(&self) -> Vec<u8> {
        match self {
            Self::Direct(_) => Vec::new(),
            Self::Staged(staged) => staged.kept.iter().flatten().copied().collect(),
        }
    }

    /// How many bytes are kept of it.
    pub fn kept_bytes(&self) -> usize {
        match self {
            Self::Direct(_) => 0,
            Self::Staged(staged) => staged.kept.iter().map(Bytes::len).sum(),
        }
    }

    /// The next frame, as long as anybody waits for it.
    async fn next(&mut self, progress: &Progress, patience: Patience) -> Result<Option<Frame<Bytes>>, NotWhole> {
        let next = poll_fn(|cx| self.poll_frame(cx, progress));
        let frame = match patience.due(Instant::now()) {
            None => next.await,
            Some(due) => match tokio::time::timeout_at(due, next).await {
                Ok(frame) => frame,
                Err(_) if patience.is_over(Instant::now()) => return Err(NotWhole::TimedOut),
                Err(_) => return Err(NotWhole::Idle),
            },
        };
        frame.transpose().map_err(NotWhole::Failed)
    }

    /// Waits for all of the body and keeps it; what comes after this filter is what was kept. A body that is not whole is of no use any
    /// more: the filter has to answer. Gives its length.
    pub async fn collect(
        &mut self,
        bytes_max: usize,
        progress: &Progress,
        patience: Patience,
    ) -> Result<usize, NotWhole> {
        self.is_wanted();
        let mut kept = VecDeque::new();
        let mut length = 0;
        let mut trailers = None;
        loop {
            match self.next(progress, patience).await? {
                None => break,
                Some(frame) => match frame.into_data() {
                    Ok(data) => {
                        length += data.len();
                        if length > bytes_max {
                            // Whether or not more comes, nobody reads it: the request does not end.
                            progress.done_at.set(None);
                            return Err(NotWhole::TooLarge);
                        }
                        chunks::keep(&mut kept, &data);
                    }
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
            if self.is_end_stream() {
                break;
            }
        }
        *self.staged() = Staged {
            kept,
            kept_trailers: trailers,
            ..Staged::default()
        };
        Ok(length)
    }

    /// The form in which filters do something to it.
    fn staged(&mut self) -> &mut Staged {
        if let Self::Direct(_) = self {
            let before = std::mem::replace(self, Self::Staged(Box::default()));
            if let (Self::Direct(incoming), Self::Staged(staged)) = (before, &mut *self) {
                staged.incoming = Some(Box::new(Self::Direct(incoming)));
            }
        }
        match self {
            Self::Staged(staged) => staged,
            Self::Direct(_) => unreachable!("it was given another form above"),
        }
    }
}

// === impl Staged ===

impl Staged {
    fn is_end(&self) -> bool {
        if !self.stages.is_empty() {
            return self.done;
        }
        let more = self.incoming.as_ref().is_some_and(|incoming| !incoming.is_end_stream());
        !more && self.kept.is_empty() && self.kept_trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.hides_length || !self.stages.keeps_length() {
            return SizeHint::default();
        }
        let kept: u64 = self.kept.iter().map(|chunk| chunk.len() as u64).sum();
        match self.incoming.as_ref().map(|incoming| incoming.size_hint()) {
            None => SizeHint::with_exact(kept),
            Some(coming) => coming
                .exact()
                .map_or_else(SizeHint::default, |rest| SizeHint::with_exact(kept + rest)),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>, progress: &Progress) -> Polled {
        if self.stages.is_empty() {
            return self.poll_source(cx, progress);
        }
        loop {
            match self.stages.pull() {
                Err(error) => {
                    if let BodyError::Filter(reason) = &error {
                        progress.refused.set(Some(*reason));
                    }
                    return Poll::Ready(Some(Err(error)));
                }
                Ok(Some(chunk)) => return Poll::Ready(Some(Ok(Frame::data(chunk)))),
                Ok(None) if self.stages.is_over() => {
                    self.done = true;
                    let trailers = self.stages.take_trailers();
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Ok(None) => {}
            }
            match std::task::ready!(self.poll_source(cx, progress)) {
                None => self.stages.end(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => self.stages.push(chunk),
                    Err(frame) => self.stages.end(frame.into_trailers().ok()),
                },
            }
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>, progress: &Progress) -> Polled {
        if let Some(chunk) = self.kept.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if let Some(incoming) = &mut self.incoming {
            return incoming.poll_frame(cx, progress);
        }
        Poll::Ready(self.kept_trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

// === impl Patience ===

impl Patience {
    /// When it is over, if nothing comes from now on.
    fn due(&self, now: Instant) -> Option<Instant> {
        [after(self.begun, self.arrival), after(now, self.idle)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether all of it should have come by now.
    fn is_over(&self, now: Instant) -> bool {
        after(self.begun, self.arrival).is_some_and(|due| due <= now)
    }
}

/// A limit's end; `None` for a limit of zero, which is none.
fn after(start: Instant, limit: Duration) -> Option<Instant> {
    (!limit.is_zero()).then(|| start + limit)
}

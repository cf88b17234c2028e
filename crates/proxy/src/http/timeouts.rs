//! How long a request may take: for all of it to arrive, for the answer, in silence, and from beginning to end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::tunnel::TunnelLimits;
use super::upgrade::CONNECT;
use crate::body::Progress;
use crate::error::ErrorKind;
use crate::model::http::HttpConnectionManager;
use crate::model::route::{Forward, RetryPolicy};
use crate::stream_info::request::RequestHead;

/// The limits of one request; zero is without bound.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// From the request's arrival to the end of the answer (route `timeout`).
    pub answer: Duration,
    /// For the request to arrive (`request_timeout`).
    arrival: Duration,
    /// Without a byte from the client before the answer begins, and from upstream after it (`idle_timeout`).
    pub idle: Duration,
    /// From beginning to end (`max_stream_duration`, or what a gRPC client asks for).
    stream: Duration,
    /// What the client wants instead of an answer.
    wants: Wants,
}

/// What a client wants; a request that wants a tunnel has no end before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    Answer,
    /// Another protocol behind an answer.
    Upgrade,
    /// A tunnel, for which no answer is timed.
    Connect,
}

/// The limits of one try; zero is without bound. They run from when the try has a connection and all of the request has arrived (Envoy
/// API, `RetryPolicy.per_try_idle_timeout`).
#[derive(Clone, Copy, Debug, Default)]
pub struct TryLimits {
    /// For the answer to begin (`per_try_timeout`).
    answer: Duration,
    /// Without a byte of the answer, before it begins and in its body (`per_try_idle_timeout`).
    pub idle: Duration,
}

// === impl TimeLimits ===

impl TimeLimits {
    /// The limits of a request on a route.
    pub fn of(action: &Forward, manager: &HttpConnectionManager, head: &RequestHead) -> Self {
        let asked = action
            .grpc_timeout_max
            .filter(|_| head.grpc_upstream)
            .and_then(|longest| {
                let asked = grpc_timeout(head.headers.get("grpc-timeout")?.as_bytes())?;
                Some(if longest.is_zero() { asked } else { asked.min(longest) })
            });
        let route = asked.or(action.stream_duration_max);
        // A route with a stream duration has no answer timeout (Envoy API, RouteAction.max_stream_duration).
        let by_duration = action.grpc_timeout_max.is_some() || action.stream_duration_max.is_some();
        Self {
            answer: if by_duration { Duration::ZERO } else { action.timeout },
            arrival: manager.request_timeout,
            idle: action.idle_timeout.unwrap_or(manager.stream_idle_timeout),
            stream: route.or(manager.stream_duration_max).unwrap_or_default(),
            wants: match head.upgrade.as_deref() {
                None => Wants::Answer,
                Some(CONNECT) => Wants::Connect,
                Some(_) => Wants::Upgrade,
            },
        }
    }

    /// The limits of a try under `policy`. One that is no shorter than that of the whole answer is none, as in Envoy.
    pub fn tries(&self, policy: Option<&Arc<RetryPolicy>>) -> TryLimits {
        let Some(policy) = policy else {
            return TryLimits::default();
        };
        let answer = policy.per_try_timeout.unwrap_or_default();
        TryLimits {
            answer: if !self.answer.is_zero() && answer >= self.answer {
                Duration::ZERO
            } else {
                answer
            },
            idle: policy.per_try_idle_timeout.unwrap_or_default(),
        }
    }

    /// When the answer must have gone out, of a request that had arrived at `arrived`, and what it means if it has not.
    pub fn answer_due(&self, begun: Instant, arrived: Instant) -> Option<(Instant, ErrorKind)> {
        let answer = after(arrived, self.answer).map(|due| (due, ErrorKind::UpstreamTimeout));
        let stream = after(begun, self.stream).map(|due| (due, ErrorKind::StreamDurationExceeded));
        answer.into_iter().chain(stream).min_by_key(|(due, _)| *due)
    }

    /// What holds for a tunnel: the answer has come, and what follows it is timed by silence and as a whole alone.
    pub fn of_tunnel(&self, begun: Instant) -> TunnelLimits {
        TunnelLimits {
            idle: self.idle,
            due: after(begun, self.stream),
        }
    }

    /// Resolves when a limit is exceeded before the answer begins. One timer is armed for the earliest of them.
    pub async fn exceeded(&self, begun: Instant, progress: &Progress) -> ErrorKind {
        loop {
            let now = Instant::now();
            let done = progress.done_at.get();
            let arrived = done.filter(|_| self.wants == Wants::Answer);
            let stream = after(begun, self.stream);
            let arrival = after(begun, self.arrival).filter(|_| arrived.is_none());
            // The answer's time runs from arrival; until then it cannot be over earlier than this.
            let answer = after(done.unwrap_or(now), self.answer).filter(|_| self.wants != Wants::Connect);
            let idle = after(progress.active_at.get().unwrap_or(begun), self.idle);
            let is_over = |due: Option<Instant>| due.is_some_and(|due| due <= now);
            if is_over(stream) {
                return if arrived.is_some() {
                    ErrorKind::StreamDurationExceeded
                } else {
                    ErrorKind::RequestDurationExceeded
                };
            } else if is_over(arrival) {
                return ErrorKind::RequestTimeout;
            } else if done.is_some() && is_over(answer) {
                return ErrorKind::UpstreamTimeout;
            } else if is_over(idle) {
                return if arrived.is_some() {
                    ErrorKind::IdleTimeout
                } else {
                    ErrorKind::IdleRequest
                };
            }
            match [stream, arrival, answer, idle].into_iter().flatten().min() {
                Some(next) => tokio::time::sleep_until(next).await,
                None => return std::future::pending().await,
            }
        }
    }
}

// === impl TryLimits ===

impl TryLimits {
    /// Waits for what a try does, within its limits.
    pub async fn hold<T>(
        &self,
        work: impl Future<Output = T>,
        connected: Instant,
        progress: &Progress,
    ) -> Result<T, ErrorKind> {
        if self.is_none() {
            return Ok(work.await);
        }
        tokio::select! {
            biased;
            done = work => Ok(done),
            kind = self.exceeded(connected, progress) => Err(kind),
        }
    }

    /// Whether there is any.
    pub fn is_none(&self) -> bool {
        self.answer.is_zero() && self.idle.is_zero()
    }

    /// Resolves when a limit is exceeded before the answer begins, of a try that has had its connection since `connected`.
    pub async fn exceeded(&self, connected: Instant, progress: &Progress) -> ErrorKind {
        loop {
            let now = Instant::now();
            let arrived = progress.done_at.get();
            // Until the request has arrived, no limit can be over earlier than this.
            let begun = arrived.map_or(now, |arrived| arrived.max(connected));
            let (answer, idle) = (after(begun, self.answer), after(begun, self.idle));
            let is_over = |due: Option<Instant>| arrived.is_some() && due.is_some_and(|due| due <= now);
            if is_over(idle) {
                return ErrorKind::PerTryIdleTimeout;
            } else if is_over(answer) {
                return ErrorKind::PerTryTimeout;
            }
            match [answer, idle].into_iter().flatten().min() {
                Some(next) => tokio::time::sleep_until(next).await,
                None => return std::future::pending().await,
            }
        }
    }
}

/// A limit's end; `None` for a limit of zero, which is none.
fn after(start: Instant, limit: Duration) -> Option<Instant> {
    (!limit.is_zero()).then(|| start + limit)
}

/// `grpc-timeout`: at most eight digits and a unit (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: TimeLimits = TimeLimits {
        answer: Duration::ZERO,
        arrival: Duration::ZERO,
        idle: Duration::ZERO,
        stream: Duration::ZERO,
        wants: Wants::Answer,
    };
    const SECOND: Duration = Duration::from_secs(1);

    async fn check(limits: TimeLimits, arrived: bool, kind: ErrorKind, millis: u128) {
        let begun = Instant::now();
        let progress = Progress::default();
        progress.done_at.set(arrived.then_some(begun));
        assert_eq!(limits.exceeded(begun, &progress).await, kind, "{limits:?}");
        assert_eq!(begun.elapsed().as_millis(), millis, "{limits:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_limit_to_be_exceeded_counts() {
        check(
            TimeLimits { answer: SECOND, ..NONE },
            true,
            ErrorKind::UpstreamTimeout,
            1000,
        )
        .await;
        check(TimeLimits { idle: SECOND, ..NONE }, true, ErrorKind::IdleTimeout, 1000).await;
        check(TimeLimits { idle: SECOND, ..NONE }, false, ErrorKind::IdleRequest, 1000).await;
        let lasts = TimeLimits {
            stream: SECOND,
            answer: SECOND * 2,
            ..NONE
        };
        check(lasts, true, ErrorKind::StreamDurationExceeded, 1000).await;
        check(lasts, false, ErrorKind::RequestDurationExceeded, 1000).await;
        check(
            TimeLimits {
                arrival: SECOND * 3,
                answer: SECOND,
                ..NONE
            },
            false,
            ErrorKind::RequestTimeout,
            3000,
        )
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_for_a_tunnel_has_no_end() {
        let wants = |wants| TimeLimits {
            answer: SECOND,
            idle: SECOND * 2,
            wants,
            ..NONE
        };
        check(wants(Wants::Upgrade), true, ErrorKind::UpstreamTimeout, 1000).await;
        check(wants(Wants::Connect), true, ErrorKind::IdleRequest, 2000).await;
        let arrives = TimeLimits {
            arrival: SECOND,
            ..wants(Wants::Connect)
        };
        check(arrives, true, ErrorKind::RequestTimeout, 1000).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_answers_time_runs_from_the_requests_arrival() {
        let begun = Instant::now();
        let progress = Progress::default();
        let limits = TimeLimits { answer: SECOND, ..NONE };
        let arrival = async {
            tokio::time::sleep(SECOND * 5).await;
            progress.done_at.set(Some(Instant::now()));
        };
        let (kind, ()) = tokio::join!(limits.exceeded(begun, &progress), arrival);
        assert_eq!((kind, begun.elapsed()), (ErrorKind::UpstreamTimeout, SECOND * 6));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trys_time_runs_from_its_connection_and_the_requests_arrival() {
        let check = async |limits: TryLimits, arrived: u32, connected: u32, kind, seconds: u32| {
            let begun = Instant::now();
            let progress = Progress::default();
            let arrival = async {
                tokio::time::sleep(SECOND * arrived).await;
                progress.done_at.set(Some(Instant::now()));
            };
            let (exceeded, ()) = tokio::join!(limits.exceeded(begun + SECOND * connected, &progress), arrival);
            assert_eq!((exceeded, begun.elapsed()), (kind, SECOND * seconds), "{limits:?}");
        };
        let answer = TryLimits {
            answer: SECOND,
            ..TryLimits::default()
        };
        check(answer, 0, 0, ErrorKind::PerTryTimeout, 1).await;
        check(answer, 5, 0, ErrorKind::PerTryTimeout, 6).await;
        check(answer, 0, 3, ErrorKind::PerTryTimeout, 4).await;
        let both = TryLimits {
            answer: SECOND * 3,
            idle: SECOND * 2,
        };
        check(both, 1, 0, ErrorKind::PerTryIdleTimeout, 3).await;
    }

    #[test]
    fn grpc_timeouts_are_bounded() {
        for (text, expected) in [
            ("5S", Some(Duration::from_secs(5))),
            ("100m", Some(Duration::from_millis(100))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("999999999S", None),
            ("S", None),
            ("5", None),
            ("-5S", None),
            ("", None),
        ] {
            assert_eq!(grpc_timeout(text.as_bytes()), expected, "{text}");
        }
    }
}
